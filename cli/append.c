/* SPDX-License-Identifier: Apache-2.0 */
/* `rapt append`: new rows into a page pool by the library's kernel, through the explicit tier. */
#include "append.h"

#include "cli.h"
#include "device.h"
#include "output.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum buffer { TABLES, WORKSPACE, K_NEW, V_NEW, K, V, K_SCALE, V_SCALE, ROPE, N_BUFFERS };

struct run {
    struct append *append;
    rapt_easy *easy;
    rapt_plan *plan;
    uint32_t n_pieces, pages_per_piece; /* of the pool; 0: it is bound whole */
    rapt_step step;
    rapt_easy_buffer *buffers[N_BUFFERS];
    char device[600];
    const char *kernel;
    double seconds;
};

static int given(const struct append *append, enum append_option option)
{
    return append->values[option].given;
}

/* Strides of float pools count elements. */
static rapt_layout plan_layout(const struct append *append, const struct append_side *side)
{
    rapt_layout layout = side->layout;
    uint64_t unit = rapt_type_bytes(append->problem.kv_type);
    if (unit) {
        layout.outer_stride /= unit;
        layout.token_stride /= unit;
        layout.head_stride /= unit;
    }
    return layout;
}

static rapt_layout scale_layout(const struct append *append, const struct append_side *side)
{
    rapt_layout layout = {0};
    if (side->n_row_scales == 0)
        return layout;
    layout.token_stride = side->n_row_scales;
    layout.outer_stride = append->problem.page_size * layout.token_stride;
    if (append->problem.scale_kind != RAPT_SCALE_TOKEN)
        layout.head_stride = side->n_row_scales / append->problem.n_kv_heads;
    return layout;
}

/* A pool beyond what a descriptor binds goes in pieces, where four of them do. */
static void cut_pool(const struct run *run, rapt_plan_params *params)
{
    const struct append *append = run->append;
    const rapt_caps *caps = rapt_device_caps(rapt_easy_device(run->easy));
    uint64_t range = caps->max_storage_buffer_range, n_pages = append->n_pages;
    uint64_t alignment = caps->storage_buffer_alignment ? caps->storage_buffer_alignment : 1;
    uint64_t k = append->sides[0].layout.outer_stride, v = append->sides[1].layout.outer_stride;
    uint64_t largest = k > v ? k : v, pages = 1;
    uint64_t v_first = append->sides[1].pool ? 0 : append->sides[0].row_bytes;
    if (largest == 0 || n_pages <= range / largest)
        return;
    while (pages < 1u << 31 && 2 * pages <= range / largest)
        pages *= 2;
    uint64_t n = (n_pages + pages - 1) / pages;
    if (n > 4 || largest > range || pages * k % alignment || (pages * v + v_first) % alignment)
        return;
    params->n_kv_segments = (uint32_t)n;
    params->pages_per_segment = (uint32_t)pages;
}

static rapt_status make_plan(struct run *run)
{
    const struct append *append = run->append;
    const rapt_problem *problem = &append->problem;
    uint32_t longest = 1;
    for (uint32_t b = 0; b < problem->n_seqs; b++) {
        uint32_t len = append_kv_len(append, b);
        longest = len > longest ? len : longest;
    }
    rapt_plan_params params = {
        .struct_size = sizeof params,
        .n_q_heads = problem->n_kv_heads,
        .n_kv_heads = problem->n_kv_heads,
        .head_dim = append->sides[0].dim,
        .head_dim_v = append->sides[1].dim,
        .q_type = array_type(append->sides[0].rows),
        .kv_type = problem->kv_type,
        .flags = RAPT_PLAN_PAGED | RAPT_PLAN_APPEND,
        .page_size = problem->page_size,
        .k = plan_layout(append, &append->sides[0]),
        .v = plan_layout(append, &append->sides[1]),
        .max_batch = problem->n_seqs,
        .max_total_q = append->total ? append->total : 1,
        .max_pages = problem->page_indptr[problem->n_seqs],
        .max_kv_len = longest,
        .n_steps_in_flight = 1,
        .max_records_per_step = 1,
        .n_splits = 1, /* nothing attends */
        .scale_type = problem->scale_type,
        .scale_kind = problem->scale_kind,
        .k_scale = scale_layout(append, &append->sides[0]),
        .v_scale = scale_layout(append, &append->sides[1]),
        .shared_scale = problem->n_k_scale == 1 && problem->n_v_scale == 1,
        .integer_dot = RAPT_CHOICE_NEVER,
        .rope = problem->rope,
    };
    cut_pool(run, &params);
    run->n_pieces = params.n_kv_segments;
    run->pages_per_piece = params.pages_per_segment;
    return rapt_plan_create(rapt_easy_device(run->easy), &params, &run->plan);
}

/* A buffer with `n_bytes` of data in it, in whole words. */
static rapt_status put(struct run *run, enum buffer which, const char *name, const void *data,
                       uint64_t n_bytes)
{
    uint64_t whole = n_bytes / 4 * 4 + (n_bytes % 4 ? 4 : 0);
    rapt_status status =
        rapt_easy_buffer_create(run->easy, whole ? whole : 4, name, 0, &run->buffers[which]);
    if (status || n_bytes == 0)
        return status;
    return rapt_easy_upload(run->easy, run->buffers[which], 0, data, n_bytes);
}

/* Static scales, one or one per head; both tensors have as many. */
static rapt_status put_static(struct run *run, int v, const float *scale, uint32_t n, int shared)
{
    const rapt_problem *problem = &run->append->problem;
    uint32_t count = shared ? 1 : problem->n_kv_heads;
    uint8_t *data = calloc(count, 4);
    if (!data)
        return RAPT_ERROR_HOST_MEMORY;
    for (uint32_t h = 0; h < count; h++) {
        uint16_t half = rapt_f16_from_f32(scale[n == 1 ? 0 : h]);
        if (problem->scale_type == RAPT_TYPE_F16)
            memcpy(data + 2 * h, &half, 2);
        else
            memcpy(data + 4 * h, &scale[n == 1 ? 0 : h], 4);
    }
    rapt_status status =
        put(run, v ? V_SCALE : K_SCALE, "scales", data, count * run->append->scale_bytes);
    free(data);
    return status;
}

static rapt_status make_buffers(struct run *run)
{
    const struct append *append = run->append;
    const rapt_problem *problem = &append->problem;
    rapt_plan_sizes_info sizes = {.struct_size = sizeof sizes};
    rapt_plan_sizes(run->plan, &sizes);
    rapt_status status =
        rapt_easy_buffer_create(run->easy, sizes.table_bytes, "tables", 1, &run->buffers[TABLES]);
    if (!status)
        status = put(run, WORKSPACE, "workspace", NULL, 0);
    if (!status && sizes.workspace_bytes > 4) {
        rapt_easy_buffer_destroy(&run->buffers[WORKSPACE]);
        status = rapt_easy_buffer_create(run->easy, sizes.workspace_bytes, "workspace", 0,
                                         &run->buffers[WORKSPACE]);
    }
    for (int v = 0; v < 2 && !status; v++) {
        const struct append_side *side = &append->sides[v];
        const struct array *rows = side->rows;
        status = put(run, v ? V_NEW : K_NEW, "new rows", rows->data,
                     rows->n_elements * array_dtype_bytes(rows->dtype));
        if (!status && side->pool)
            status = put(run, v ? V : K, "pool", side->pool, side->n_bytes);
        if (!status && side->scales)
            status = put(run, v ? V_SCALE : K_SCALE, "scales", side->scales, side->n_scale_bytes);
        else if (!status && problem->scale_kind == RAPT_SCALE_STATIC)
            status = put_static(run, v, v ? problem->v_scale : problem->k_scale,
                                v ? problem->n_v_scale : problem->n_k_scale,
                                problem->n_k_scale == 1 && problem->n_v_scale == 1);
    }
    if (!status && problem->rope && problem->rope->table)
        status = put(run, ROPE, "rope table", problem->rope->table,
                     (uint64_t)problem->rope->n_table_positions * problem->rope->rotary_dim * 4);
    if (status)
        return status;
    const rapt_plan_memory memory = {
        .struct_size = sizeof memory,
        .tables = rapt_easy_buffer_range(run->buffers[TABLES]),
        .tables_mapped = rapt_easy_buffer_mapped(run->buffers[TABLES]),
        .workspace = rapt_easy_buffer_range(run->buffers[WORKSPACE]),
    };
    return rapt_plan_bind(run->plan, &memory);
}

static rapt_status prepare(struct run *run)
{
    const rapt_problem *problem = &run->append->problem;
    const rapt_step_params params = {
        .struct_size = sizeof params,
        .n_seqs = problem->n_seqs,
        .cu_q = problem->cu_q,
        .page_indptr = problem->page_indptr,
        .page_indices = problem->page_indices,
        .last_page_len = problem->last_page_len,
        .n_pool_pages = problem->n_pool_pages,
        .kv_pos0 = problem->kv_pos0,
        .rope_pos = problem->rope_pos,
    };
    run->step.struct_size = sizeof run->step;
    return rapt_plan_prepare(run->plan, &params, &run->step);
}

static rapt_buffer range_of(const struct run *run, enum buffer which)
{
    return run->buffers[which] ? rapt_easy_buffer_range(run->buffers[which]) : (rapt_buffer){0};
}

static rapt_buffer range_from(rapt_buffer range, uint64_t skip)
{
    range.offset += skip;
    range.size -= skip;
    return range;
}

static rapt_status execute(struct run *run)
{
    rapt_append_params params = {
        .struct_size = sizeof params,
        .step = &run->step,
        .k_new = range_of(run, K_NEW),
        .v_new = range_of(run, V_NEW),
        .k = range_of(run, K),
        .v = range_of(run, run->buffers[V] ? V : K),
        .k_scale = range_of(run, K_SCALE),
        .v_scale = range_of(run, V_SCALE),
        .rope_table = range_of(run, ROPE),
    };
    if (!run->buffers[V]) /* interleaved: V's rows lie behind K's */
        params.v = range_from(params.v, run->append->sides[0].row_bytes);
    for (uint32_t i = 1; i < run->n_pieces; i++) {
        uint64_t first = (uint64_t)i * run->pages_per_piece;
        params.k_segments[i - 1] =
            range_from(params.k, first * run->append->sides[0].layout.outer_stride);
        params.v_segments[i - 1] =
            range_from(params.v, first * run->append->sides[1].layout.outer_stride);
    }
    rapt_status status = rapt_easy_begin(run->easy, &params.command_buffer);
    if (status)
        return status;
    status = rapt_plan_record_append(run->plan, &params);
    rapt_status submitted = rapt_easy_submit_wait(run->easy, &run->seconds);
    return status ? status : submitted;
}

static rapt_status read_back(struct run *run)
{
    rapt_status status = RAPT_OK;
    for (int v = 0; v < 2 && !status; v++) {
        struct append_side *side = &run->append->sides[v];
        if (side->pool)
            status = rapt_easy_download(run->easy, run->buffers[v ? V : K], 0, side->pool,
                                        side->n_bytes);
        if (!status && side->scales)
            status = rapt_easy_download(run->easy, run->buffers[v ? V_SCALE : K_SCALE], 0,
                                        side->scales, side->n_scale_bytes);
    }
    return status;
}

static int run_device(struct run *run)
{
    const struct append *append = run->append;
    int code = device_open(append->values[APPEND_DEVICE].text, append->values[APPEND_DISABLE].text,
                           &run->easy);
    if (code)
        return code;
    device_text(rapt_device_caps(rapt_easy_device(run->easy)), run->device, sizeof run->device);
    rapt_status status = make_plan(run);
    if (!status) {
        rapt_plan_info info = {.struct_size = sizeof info};
        rapt_plan_get_info(run->plan, &info);
        run->kernel = info.append_kernel;
        status = make_buffers(run);
    }
    if (!status)
        status = prepare(run);
    if (!status)
        status = execute(run);
    if (!status)
        status = read_back(run);
    code = status ? cli_fail_status(status, NULL) : 0;
    rapt_plan_destroy(&run->plan);
    for (int i = 0; i < N_BUFFERS; i++)
        rapt_easy_buffer_destroy(&run->buffers[i]);
    return device_close(&run->easy, code);
}

static int write_one(const struct append *append, struct output *output, enum append_option option,
                     enum array_dtype dtype, const void *data, const uint64_t *shape, uint32_t rank)
{
    if (!given(append, option))
        return 0;
    FILE *file = output_open(output, append_options[option].name, append->values[option].text);
    if (!file)
        return CLI_USAGE;
    return output_close(output, file, array_write_npy_as(file, dtype, data, shape, rank));
}

static int write_outputs(const struct append *append, struct output *output)
{
    rapt_type type = append->problem.kv_type;
    enum array_dtype pool = type == RAPT_TYPE_F32   ? ARRAY_F4
                            : type == RAPT_TYPE_F16 ? ARRAY_F2
                                                    : ARRAY_U1;
    enum array_dtype scales = append->scale_bytes == 2 ? ARRAY_F2 : ARRAY_F4;
    int code = 0;
    for (int v = 0; v < 2 && !code; v++) {
        const struct append_side *side = &append->sides[v];
        code = write_one(append, output, v ? APPEND_V_POOL_OUT : APPEND_K_POOL_OUT, pool,
                         side->pool, side->shape, 4);
        if (!code)
            code = write_one(append, output, v ? APPEND_V_SCALE_OUT : APPEND_K_SCALE_OUT, scales,
                             side->scales, side->scale_shape, side->scale_rank);
    }
    return code;
}

static int copy_before(const struct append *append, struct append_before *before)
{
    for (int v = 0; v < 2; v++) {
        const struct append_side *side = &append->sides[v];
        before->pool[v] = calloc((size_t)side->n_bytes + 4, 1);
        before->scales[v] = calloc((size_t)side->n_scale_bytes + 4, 1);
        if (!before->pool[v] || !before->scales[v])
            return cli_fail(CLI_DEVICE, "out of memory");
        if (side->pool)
            memcpy(before->pool[v], side->pool, (size_t)side->n_bytes);
        if (side->scales)
            memcpy(before->scales[v], side->scales, (size_t)side->n_scale_bytes);
    }
    return 0;
}

/* n_wrong: bytes that differ, of K, V and their scales; NULL = not compared. */
static void print_lines(const struct run *run, const uint64_t *n_wrong)
{
    const struct append *append = run->append;
    char text[64];
    printf("%u new tokens of %u sequence%s, %u heads, head dim %u, into %s pages of %u on %s\n",
           append->total, append->problem.n_seqs, append->problem.n_seqs == 1 ? "" : "s",
           append->problem.n_kv_heads, append->sides[0].dim,
           rapt_type_name(append->problem.kv_type), append->problem.page_size, run->device);
    printf("kernel: %s, %s\n", run->kernel ? run->kernel : "?",
           cli_format_seconds(run->seconds, text, sizeof text));
    if (n_wrong)
        printf("check: bytes that differ: K %llu, V %llu, scales %llu and %llu: %s\n",
               (unsigned long long)n_wrong[0], (unsigned long long)n_wrong[1],
               (unsigned long long)n_wrong[2], (unsigned long long)n_wrong[3],
               n_wrong[0] + n_wrong[1] + n_wrong[2] + n_wrong[3] ? "FAILED" : "ok");
}

static int append_files(struct append *append)
{
    static const enum append_option outputs[] = {APPEND_K_POOL_OUT, APPEND_V_POOL_OUT,
                                                 APPEND_K_SCALE_OUT, APPEND_V_SCALE_OUT};
    struct append_before before = {0};
    struct run run = {.append = append};
    struct output output = {0};
    uint64_t n_wrong[4] = {0};
    int code = append_options_check(append), check = given(append, APPEND_CHECK);
    code = code ? code : append_input(append);
    for (size_t i = 0; i < 4 && !code; i++) {
        if (given(append, outputs[i]))
            code = output_probe(append_options[outputs[i]].name, append->values[outputs[i]].text);
    }
    if (!code && check)
        code = copy_before(append, &before);
    code = code ? code : run_device(&run);
    if (!code && check)
        code = append_compare(append, &before, n_wrong);
    code = code ? code : write_outputs(append, &output);
    for (int v = 0; v < 2; v++) {
        free(before.pool[v]);
        free(before.scales[v]);
    }
    if (!code)
        print_lines(&run, check ? n_wrong : NULL);
    code = code ? code : output_commit(&output);
    output_finish(&output);
    uint64_t n = n_wrong[0] + n_wrong[1] + n_wrong[2] + n_wrong[3];
    if (!code && n)
        code = cli_fail(CLI_CHECK, "--check: %llu bytes are not the host's", (unsigned long long)n);
    return code;
}

static const char append_head[] =
    "usage: rapt append --k-new K.npy --v-new V.npy --page-indptr F --page-indices F\n"
    "       --last-page-len F [--k-pool F --v-pool F] [--k-pool-out F --v-pool-out F] [OPTIONS]\n"
    "\n"
    "Appends new keys and values to a page pool on the device: rotates the keys, converts or\n"
    "quantizes both, writes them through the block tables. The new tokens are the last ones of "
    "each\n"
    "sequence. Exit status: 0 done, 2 bad input, 3 no usable device, 4 the device failed, 5 "
    "--check\n"
    "failed. Files are written whole, and only when the status is 0 or 5.\n";

int append_main(int argc, char **argv)
{
    struct append *append = calloc(1, sizeof *append);
    if (!append)
        return cli_fail(CLI_DEVICE, "out of memory");
    int code = options_parse(append_options, APPEND_N_OPTIONS, argc, argv, append->values);
    if (code == OPTIONS_HELP) {
        options_help(append_head, append_options, APPEND_N_OPTIONS);
        code = CLI_DONE;
    } else if (!code) {
        code = append_files(append);
        append_finish(append);
    }
    free(append);
    return code;
}
