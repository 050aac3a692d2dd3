/* SPDX-License-Identifier: Apache-2.0 */
/* Device time of rapt_plan_record_append: 2048 new tokens of four sequences, rotated and written into
 * pages in each kind of storage. */
#include "bench.h"
#include "cli.h"

#include <stdlib.h>
#include <string.h>

#define PAGE 16
#define N_SEQS 4
#define N_NEW 512 /* per sequence */
#define N_PAGES (N_SEQS * N_NEW / PAGE)
#define N_KV_HEADS 8
#define DIM 128
#define MAX_TIMES 100

enum { TABLES, WORKSPACE, K_NEW, V_NEW, K, V, K_SCALE, V_SCALE, N_BUFFERS };

struct appending {
    rapt_easy *easy;
    rapt_plan *plan;
    rapt_step step;
    rapt_easy_buffer *buffers[N_BUFFERS];
    double seconds[MAX_TIMES];
};

static rapt_status make_plan(struct appending *a, rapt_type kv_type)
{
    const rapt_rope rope = {.struct_size = sizeof rope, .pairing = RAPT_ROPE_NEOX};
    const rapt_plan_params params = {
        .struct_size = sizeof params,
        .n_q_heads = N_KV_HEADS,
        .n_kv_heads = N_KV_HEADS,
        .head_dim = DIM,
        .q_type = RAPT_TYPE_F16,
        .kv_type = kv_type,
        .flags = RAPT_PLAN_PAGED | RAPT_PLAN_APPEND,
        .page_size = PAGE,
        .max_batch = N_SEQS,
        .max_total_q = N_SEQS * N_NEW,
        .max_pages = N_PAGES,
        .max_kv_len = N_NEW,
        .max_records_per_step = MAX_TIMES + 1,
        .n_steps_in_flight = 1,
        .rope = &rope,
    };
    return rapt_plan_create(rapt_easy_device(a->easy), &params, &a->plan);
}

static rapt_status make_memory(struct appending *a, rapt_type kv_type)
{
    rapt_plan_sizes_info sizes = {.struct_size = sizeof sizes};
    rapt_plan_sizes(a->plan, &sizes);
    const uint64_t n_rows = (uint64_t)N_SEQS * N_NEW * N_KV_HEADS;
    const uint64_t rows = n_rows * DIM * 2, pool = n_rows * rapt_row_bytes(kv_type, DIM);
    const uint64_t scales = n_rows * 16; /* int4's, the most */
    const uint64_t bytes[N_BUFFERS] = {sizes.table_bytes, sizes.workspace_bytes, rows,   rows,
                                       pool,              pool,                  scales, scales};
    rapt_status status = RAPT_OK;
    for (int i = 0; i < N_BUFFERS && status == RAPT_OK; i++)
        status = rapt_easy_buffer_create(a->easy, bytes[i] ? bytes[i] : 4, "bench append", i == TABLES,
                                         &a->buffers[i]);
    float *numbers = malloc(rows / 2 * sizeof *numbers);
    uint16_t *halves = malloc(rows);
    if (status == RAPT_OK && (!numbers || !halves))
        status = RAPT_ERROR_HOST_MEMORY;
    for (int i = K_NEW; i <= V_NEW && status == RAPT_OK; i++) {
        case_random((uint64_t)i, numbers, rows / 2);
        for (uint64_t n = 0; n < rows / 2; n++)
            halves[n] = rapt_f16_from_f32(numbers[n]);
        status = rapt_easy_upload(a->easy, a->buffers[i], 0, halves, rows);
    }
    free(numbers);
    free(halves);
    if (status != RAPT_OK)
        return status;
    const rapt_plan_memory memory = {
        .struct_size = sizeof memory,
        .tables = rapt_easy_buffer_range(a->buffers[TABLES]),
        .tables_mapped = rapt_easy_buffer_mapped(a->buffers[TABLES]),
        .workspace = rapt_easy_buffer_range(a->buffers[WORKSPACE]),
    };
    return rapt_plan_bind(a->plan, &memory);
}

static rapt_status prepare(struct appending *a)
{
    int32_t cu_q[N_SEQS + 1];
    uint32_t indptr[N_SEQS + 1], indices[N_PAGES], last_len[N_SEQS];
    for (uint32_t b = 0; b <= N_SEQS; b++) {
        cu_q[b] = (int32_t)(b * N_NEW);
        indptr[b] = b * (N_NEW / PAGE);
    }
    for (uint32_t b = 0; b < N_SEQS; b++)
        last_len[b] = PAGE;
    for (uint32_t i = 0; i < N_PAGES; i++)
        indices[i] = i * 37 % N_PAGES; /* scattered: 37 and the number of pages share no factor */
    const rapt_step_params params = {.struct_size = sizeof params,
                                     .n_seqs = N_SEQS,
                                     .cu_q = cu_q,
                                     .page_indptr = indptr,
                                     .page_indices = indices,
                                     .last_page_len = last_len,
                                     .n_pool_pages = N_PAGES};
    a->step.struct_size = sizeof a->step;
    return rapt_plan_prepare(a->plan, &params, &a->step);
}

static rapt_status run_once(struct appending *a, double *out_seconds)
{
    rapt_append_params params = {.struct_size = sizeof params,
                                 .step = &a->step,
                                 .k_new = rapt_easy_buffer_range(a->buffers[K_NEW]),
                                 .v_new = rapt_easy_buffer_range(a->buffers[V_NEW]),
                                 .k = rapt_easy_buffer_range(a->buffers[K]),
                                 .v = rapt_easy_buffer_range(a->buffers[V]),
                                 .k_scale = rapt_easy_buffer_range(a->buffers[K_SCALE]),
                                 .v_scale = rapt_easy_buffer_range(a->buffers[V_SCALE])};
    rapt_status status = rapt_easy_begin(a->easy, &params.command_buffer);
    if (status == RAPT_OK)
        status = rapt_plan_record_append(a->plan, &params);
    return status == RAPT_OK ? rapt_easy_submit_wait(a->easy, out_seconds) : status;
}

static rapt_status measure(struct bench *bench, struct appending *a, struct bench_row *row)
{
    rapt_type kv_type = row->spec.shape.kv_type;
    a->easy = bench->easy;
    double start = cli_seconds();
    rapt_status status = make_plan(a, kv_type);
    if (status == RAPT_OK)
        status = make_memory(a, kv_type);
    if (status == RAPT_OK)
        status = prepare(a);
    if (status == RAPT_OK)
        status = run_once(a, NULL);
    row->first_seconds = cli_seconds() - start;
    uint32_t n = 0, most = bench->n_repeats ? bench->n_repeats : 30;
    while (n < most && status == RAPT_OK)
        status = run_once(a, &a->seconds[n++]);
    if (status != RAPT_OK)
        return status;
    row->times = bench_times_of(a->seconds, n);
    row->tokens = N_SEQS * N_NEW;
    row->moved_bytes = 2ull * N_SEQS * N_NEW * N_KV_HEADS * (DIM * 2 + rapt_row_bytes(kv_type, DIM));
    row->ok = 1;
    rapt_plan_info info = {.struct_size = sizeof info};
    rapt_plan_get_info(a->plan, &info);
    snprintf(row->kernels, sizeof row->kernels, "%s", info.append_kernel ? info.append_kernel : "?");
    return RAPT_OK;
}

int bench_run_append(struct bench *bench, struct bench_row *row)
{
    struct appending *a = calloc(1, sizeof *a);
    if (!a)
        return cli_fail(CLI_DEVICE, "out of memory");
    int code = 0;
    rapt_status status = measure(bench, a, row);
    if (rapt_status_group(status) == RAPT_STATUS_GROUP_CAPABILITY)
        snprintf(row->skipped, sizeof row->skipped, "%s", rapt_last_error());
    else if (status != RAPT_OK)
        code = cli_fail_status(status, row->spec.name);
    rapt_plan_destroy(&a->plan);
    for (int i = 0; i < N_BUFFERS; i++)
        rapt_easy_buffer_destroy(&a->buffers[i]);
    free(a);
    return code;
}
