/* SPDX-License-Identifier: Apache-2.0 */
/* `rapt moba` and `rapt topk`: attention to what the device chooses, in one submission. */
#include "sparse.h"

#include "device.h"
#include "output.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---------------------------------------------------------------------------------------- input */

/* A tensor's file as the device stores it. */
static void *convert(const rapt_array *array, rapt_type type, uint64_t *out_bytes)
{
    rapt_type stored = type ? type : array->type;
    uint64_t n = array->n_elements, size = rapt_type_bytes(stored);
    *out_bytes = n * size;
    uint8_t *data = malloc((size_t)(n * size) + 4);
    for (uint64_t i = 0; data && i < n; i++) {
        const uint16_t *halves = array->data;
        float x = array->type == RAPT_TYPE_F32   ? ((const float *)array->data)[i]
                  : array->type == RAPT_TYPE_F16 ? rapt_f32_from_f16(halves[i])
                                                 : rapt_f32_from_bf16(halves[i]);
        uint16_t bits = stored == RAPT_TYPE_F16 ? rapt_f16_from_f32(x) : rapt_bf16_from_f32(x);
        if (stored == RAPT_TYPE_F32)
            memcpy(data + 4 * i, &x, 4);
        else
            memcpy(data + 2 * i, &bits, 2);
    }
    return data;
}

rapt_status sparse_put(struct sparse_run *run, enum sparse_buffer which, const void *data,
                       uint64_t n_bytes)
{
    uint64_t whole = n_bytes ? (n_bytes + 3) / 4 * 4 : 4;
    rapt_status status =
        rapt_easy_buffer_create(run->easy, whole, "tensor", 0, &run->buffers[which]);
    if (!status && data && n_bytes)
        status = rapt_easy_upload(run->easy, run->buffers[which], 0, data, n_bytes);
    return status;
}

static rapt_status put_array(struct sparse_run *run, enum sparse_buffer which,
                             const rapt_array *array, rapt_type type)
{
    uint64_t n_bytes;
    void *data = convert(array, type, &n_bytes);
    rapt_status status = data ? sparse_put(run, which, data, n_bytes) : RAPT_ERROR_HOST_MEMORY;
    free(data);
    return status;
}

uint32_t sparse_kv_len(const rapt_problem *p, uint32_t b)
{
    if (p->cu_kv)
        return (uint32_t)(p->cu_kv[b + 1] - p->cu_kv[b]);
    uint32_t n = p->page_indptr[b + 1] - p->page_indptr[b];
    return n ? (n - 1) * p->page_size + p->last_page_len[b] : 0;
}

rapt_buffer sparse_range(const struct sparse_run *run, enum sparse_buffer which)
{
    return run->buffers[which] ? rapt_easy_buffer_range(run->buffers[which]) : (rapt_buffer){0};
}

/* ------------------------------------------------------------------------------------------ plan
 */

rapt_status sparse_plan(struct sparse_run *run, uint32_t flags, const rapt_device_lists *lists,
                        uint32_t max_spans)
{
    const rapt_problem *p = &run->attend.problem;
    run->max_kv_len = 1;
    for (uint32_t b = 0; b < p->n_seqs; b++) {
        uint32_t kv_len = sparse_kv_len(p, b);
        run->total_kv += kv_len;
        run->max_kv_len = kv_len > run->max_kv_len ? kv_len : run->max_kv_len;
    }
    run->total_q = (uint32_t)p->cu_q[p->n_seqs];
    const rapt_plan_params params = {
        .struct_size = sizeof params,
        .n_q_heads = p->n_q_heads,
        .n_kv_heads = p->n_kv_heads,
        .head_dim = p->head_dim,
        .head_dim_v = p->head_dim_v,
        .q_type = p->q_type ? p->q_type : p->q.type,
        .kv_type = p->kv_type ? p->kv_type : p->k.type,
        .out_type = RAPT_TYPE_F32,
        .flags = flags | (p->cu_kv ? 0u : RAPT_PLAN_PAGED),
        .scale = p->scale,
        .page_size = p->cu_kv ? 0 : p->page_size,
        .q = p->q.layout,
        .k = p->k.layout,
        .v = p->v.layout,
        .max_batch = p->n_seqs,
        .max_total_q = run->total_q ? run->total_q : 1,
        .max_pages = p->cu_kv ? 0 : p->page_indptr[p->n_seqs],
        .max_kv_len = run->max_kv_len,
        .n_steps_in_flight = 1,
        .head_group = lists && lists->n_sets == p->n_q_heads ? 1 : 0,
        .list_block_q = lists ? lists->block_q : 0,
        .max_spans = max_spans,
        .max_bit_words = lists ? lists->bit_words : 0,
    };
    return rapt_plan_create(rapt_easy_device(run->easy), &params, &run->plan);
}

/* Memory and tensors of the plan, and its step. */
rapt_status sparse_prepare(struct sparse_run *run, const rapt_device_lists *lists)
{
    const rapt_problem *p = &run->attend.problem;
    rapt_plan_sizes_info sizes = {.struct_size = sizeof sizes};
    rapt_plan_sizes(run->plan, &sizes);
    rapt_status status =
        rapt_easy_buffer_create(run->easy, sizes.table_bytes, "tables", 1, &run->buffers[S_TABLES]);
    if (!status)
        status = sparse_put(run, S_WORK, NULL, sizes.workspace_bytes);
    if (!status)
        status = put_array(run, S_Q, &p->q, p->q_type);
    if (!status)
        status = put_array(run, S_K, &p->k, p->kv_type);
    if (!status)
        status = put_array(run, S_V, &p->v, p->kv_type);
    if (!status)
        status = sparse_put(run, S_OUT, NULL, 4ull * run->total_q * p->n_q_heads * p->head_dim_v);
    if (!status)
        status = sparse_put(run, S_LSE, NULL, 4ull * run->total_q * p->n_q_heads);
    if (status)
        return status;
    const rapt_plan_memory memory = {
        .struct_size = sizeof memory,
        .tables = sparse_range(run, S_TABLES),
        .tables_mapped = rapt_easy_buffer_mapped(run->buffers[S_TABLES]),
        .workspace = sparse_range(run, S_WORK),
    };
    const rapt_step_params step = {
        .struct_size = sizeof step,
        .n_seqs = p->n_seqs,
        .cu_q = p->cu_q,
        .cu_kv = p->cu_kv,
        .page_indptr = p->page_indptr,
        .page_indices = p->page_indices,
        .last_page_len = p->last_page_len,
        .n_pool_pages = p->n_pool_pages,
        .q_pos0 = p->q_pos0,
        .q_pos = p->q_pos,
        .kv_pos0 = p->kv_pos0,
        .mask = p->mask,
        .prefix = p->prefix,
        .device_lists = lists,
    };
    run->step.struct_size = sizeof run->step;
    status = rapt_plan_bind(run->plan, &memory);
    return status ? status : rapt_plan_prepare(run->plan, &step, &run->step);
}

/* What rapt_plan_record is given, but for the lists. */
rapt_record_params sparse_record(const struct sparse_run *run, VkCommandBuffer commands)
{
    return (rapt_record_params){
        .struct_size = sizeof(rapt_record_params),
        .command_buffer = commands,
        .step = &run->step,
        .q = sparse_range(run, S_Q),
        .k = sparse_range(run, S_K),
        .v = sparse_range(run, S_V),
        .out = sparse_range(run, S_OUT),
        .lse = sparse_range(run, S_LSE),
    };
}

/* --------------------------------------------------------------------------------------- results
 */

/* Results that were asked for, or that --check needs. */
rapt_status sparse_read(struct sparse_run *run, enum sparse_buffer which, uint64_t n_elements,
                        void **out_data)
{
    *out_data = calloc((size_t)n_elements + 1, 4);
    if (!*out_data)
        return RAPT_ERROR_HOST_MEMORY;
    return n_elements
               ? rapt_easy_download(run->easy, run->buffers[which], 0, *out_data, 4 * n_elements)
               : RAPT_OK;
}

int sparse_write(struct output *output, const struct option_spec *spec,
                 const struct option_value *value, enum array_dtype dtype, const void *data,
                 const uint64_t *shape, uint32_t rank)
{
    if (!value->given)
        return 0;
    FILE *file = output_open(output, spec->name, value->text);
    if (!file)
        return CLI_USAGE;
    return output_close(output, file, array_write_npy_as(file, dtype, data, shape, rank));
}

/* One bit per (head or 0, query, key), by sequences. */
struct bits {
    uint8_t *data;
    uint64_t *offsets, head_stride, n;
};

static int make_bits(const struct sparse_run *run, struct bits *bits)
{
    const rapt_problem *p = &run->attend.problem;
    uint64_t n = 0;
    bits->offsets = calloc(p->n_seqs, sizeof *bits->offsets);
    for (uint32_t b = 0; bits->offsets && b < p->n_seqs; b++) {
        bits->offsets[b] = n;
        n += (uint64_t)(p->cu_q[b + 1] - p->cu_q[b]) * sparse_kv_len(p, b);
    }
    const int by_head = run->chunk || run->n_sets > 1;
    bits->head_stride = by_head ? n : 0;
    bits->n = by_head ? n * p->n_q_heads : n;
    if (bits->n > 1ull << 37)
        return cli_fail(CLI_USAGE, "--check: the reference's bitmap of this problem would take "
                                   "more than 16 GiB");
    bits->data = calloc((size_t)(bits->n / 8) + 8, 1);
    return bits->data && bits->offsets ? 0 : cli_fail(CLI_DEVICE, "out of memory");
}

static void set_bits(const struct bits *bits, uint64_t first, uint64_t n)
{
    for (uint64_t i = first; i < first + n; i++)
        bits->data[i / 8] |= (uint8_t)(1u << i % 8);
}

static void choose_bits(const struct sparse_run *run, const struct bits *bits)
{
    const rapt_problem *p = &run->attend.problem;
    uint32_t heads = run->chunk ? p->n_q_heads : 1, width = run->chunk ? run->chunk : 1;
    for (uint32_t b = 0; b < p->n_seqs; b++) {
        uint32_t kv_len = sparse_kv_len(p, b);
        for (int32_t t = p->cu_q[b]; t < p->cu_q[b + 1]; t++)
            for (uint32_t h = 0; h < heads; h++) {
                const uint32_t *row =
                    run->choices + ((uint64_t)(uint32_t)t * heads + h) * run->top_k;
                uint64_t at =
                    bits->offsets[b] + h * bits->head_stride + (uint64_t)(t - p->cu_q[b]) * kv_len;
                for (uint32_t i = 0; i < run->top_k && row[i] != UINT32_MAX; i++) {
                    uint64_t first = (uint64_t)row[i] * width;
                    if (first < kv_len)
                        set_bits(bits, at + first, kv_len - first < width ? kv_len - first : width);
                }
            }
    }
}

static int64_t position_of(const rapt_problem *p, uint32_t b, uint32_t t)
{
    const int64_t pos0 = p->kv_pos0 ? p->kv_pos0[b] : 0;
    const uint32_t q_len = (uint32_t)(p->cu_q[b + 1] - p->cu_q[b]);
    if (p->q_pos)
        return p->q_pos[(uint32_t)p->cu_q[b] + t];
    return (p->q_pos0 ? p->q_pos0[b] : (int64_t)sparse_kv_len(p, b) - q_len + pos0) + t;
}

/* What a query may see of listed blocks. */
static void list_bits(const struct sparse_run *run, const struct bits *bits)
{
    const rapt_problem *p = &run->attend.problem;
    const uint32_t heads = run->n_sets > 1 ? p->n_q_heads : 1, group = heads / run->n_sets;
    uint32_t first_row = 0;
    for (uint32_t b = 0; b < p->n_seqs; b++) {
        const uint32_t kv_len = sparse_kv_len(p, b),
                       q_len = (uint32_t)(p->cu_q[b + 1] - p->cu_q[b]);
        for (uint32_t t = 0; t < q_len; t++)
            for (uint32_t h = 0; h < heads; h++) {
                const uint64_t list =
                    (uint64_t)(h / group) * run->n_block_rows + first_row + t / run->block_q;
                const uint32_t *listed = run->listed + list * run->listed_stride;
                const uint64_t at = bits->offsets[b] + h * bits->head_stride + (uint64_t)t * kv_len;
                const int32_t P = (int32_t)position_of(p, b, t), J = p->kv_pos0 ? p->kv_pos0[b] : 0;
                for (uint32_t j = 0; j < kv_len; j++)
                    if (listed[j / run->block_kv >> 5] >> (j / run->block_kv & 31) & 1 &&
                        rapt_mask_allows(p->mask, P, J + (int32_t)j, 0))
                        set_bits(bits, at + j, 1);
            }
        first_row += (q_len + run->block_q - 1) / run->block_q;
    }
}

/* Token lists have kernels of their own, which are portable ones. */
static rapt_bound_kind bound_of(const struct sparse_run *run)
{
    rapt_plan_info info = {.struct_size = sizeof info};
    rapt_plan_get_info(run->plan, &info);
    return run->by_blocks ? device_bound(&info) : RAPT_BOUND_PORTABLE;
}

/* Attention against the reference on what was chosen. */
int sparse_check(struct sparse_run *run, rapt_error *out_error)
{
    struct bits bits = {0};
    rapt_mask *mask = NULL;
    int code = make_bits(run, &bits);
    if (!code && rapt_mask_parse(NULL, run->chunk ? "causal & bitmap" : "bitmap", NULL, &mask))
        code = cli_fail_status(RAPT_ERROR_HOST_MEMORY, NULL);
    if (!code) {
        if (run->listed)
            list_bits(run, &bits);
        else
            choose_bits(run, &bits);
        rapt_problem problem = run->attend.problem;
        const rapt_mask_data data = {
            .struct_size = sizeof data,
            .bitmap = bits.data,
            .bitmap_offsets = bits.offsets,
            .bitmap_head_stride = bits.head_stride,
            .bitmap_bits = bits.n,
        };
        problem.mask = mask;
        problem.mask_data = &data;
        problem.out_type = RAPT_TYPE_F32;
        const rapt_result result = {.struct_size = sizeof result, .out = run->out, .lse = run->lse};
        const rapt_reference_params params = {.struct_size = sizeof params, .n_threads = 8};
        out_error->struct_size = sizeof *out_error;
        rapt_status status =
            rapt_reference_check(&problem, &params, &result, bound_of(run), out_error);
        code = status ? cli_fail_status(status, "--check") : 0;
    }
    rapt_mask_destroy(&mask);
    free(bits.data);
    free(bits.offsets);
    return code;
}

/* ------------------------------------------------------------------------------------------- run
 */

int sparse_report(const struct sparse_run *run, const char *what, const rapt_choice_error *choice,
                  const rapt_error *error)
{
    const rapt_problem *p = &run->attend.problem;
    char text[64];
    char number[16] = "";
    if (run->top_k)
        snprintf(number, sizeof number, "%u ", run->top_k);
    printf("%u queries of %u sequence%s, %u heads, head dim %u: %s%s each, on %s, %s\n",
           run->total_q, p->n_seqs, p->n_seqs == 1 ? "" : "s", p->n_q_heads, p->head_dim, number,
           what, run->device, cli_format_seconds(run->seconds, text, sizeof text));
    if (!choice->struct_size)
        return 0;
    printf("check: %llu of %llu choices are the reference's, %llu wrong; attention %.1e of %.1e: "
           "%s\n",
           (unsigned long long)choice->n_same, (unsigned long long)choice->n_rows,
           (unsigned long long)choice->n_wrong, error->e, error->bound_e,
           choice->ok && error->ok ? "ok" : "FAILED");
    if (!choice->ok)
        return cli_fail(CLI_CHECK, "--check: %llu choices are wrong, the first of row %llu",
                        (unsigned long long)choice->n_wrong,
                        (unsigned long long)choice->first_wrong);
    return error->ok
               ? 0
               : cli_fail(CLI_CHECK, "--check: error %.2e, limit %.2e", error->e, error->bound_e);
}

int sparse_open(struct sparse_run *run)
{
    const struct attend *attend = &run->attend;
    int code = device_open(attend->values[ATTEND_DEVICE].text, attend->values[ATTEND_DISABLE].text,
                           &run->easy);
    if (!code)
        device_text(rapt_device_caps(rapt_easy_device(run->easy)), run->device, sizeof run->device);
    return code;
}

int sparse_close_device(struct sparse_run *run, int code)
{
    rapt_plan_destroy(&run->plan);
    for (int i = 0; i < S_N_BUFFERS; i++)
        rapt_easy_buffer_destroy(&run->buffers[i]);
    return device_close(&run->easy, code);
}

int sparse_close(struct sparse_run *run, int code)
{
    code = sparse_close_device(run, code);
    free(run->out);
    free(run->lse);
    free(run->gates);
    free(run->choices);
    free(run->listed);
    attend_finish(&run->attend);
    return code;
}

int sparse_parse(const struct sparse_command *command, int argc, char **argv,
                 struct option_value *values, struct sparse_run *run)
{
    int code = options_parse(command->specs, command->n_specs, argc, argv, values);
    if (code == OPTIONS_HELP)
        options_help(command->head, command->specs, command->n_specs);
    if (code)
        return code;
    for (size_t i = 0; i < command->n_specs; i++)
        for (int o = 0; o < ATTEND_N_OPTIONS; o++)
            if (command->specs[i].kind != OPTION_HEADING && attend_options[o].name &&
                attend_options[o].kind == command->specs[i].kind &&
                strcmp(attend_options[o].name, command->specs[i].name) == 0)
                run->attend.values[o] = values[i];
    return 0;
}
