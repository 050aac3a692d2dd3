/* SPDX-License-Identifier: Apache-2.0 */
/* Host time of prepare and record, as a server would call them: a plan for 256 sequences over pages,
 * other lengths every step. Nothing is submitted. The first few sequences may bring many query tokens
 * each (chunks of prompts), the rest bring one. */
#include "bench.h"
#include "cli.h"

#include <stdlib.h>
#include <string.h>

#define N_SEQS 256
#define PAGE 16
#define MAX_LEN 2048
#define N_POOL_PAGES 1024 /* shared by the sequences: the host looks at ids only */
#define N_STEPS 200
#define N_RECORDS 16 /* per step, timed together: one takes less than the clock's grain */

enum { TABLES, WORKSPACE, Q, K, V, OUT, N_BUFFERS };

struct host {
    rapt_easy *easy;
    uint32_t n_chunks, chunk, total_q; /* sequences with `chunk` query tokens; tokens of a step */
    rapt_plan *plan;
    rapt_easy_buffer *buffers[N_BUFFERS];
    int32_t cu_q[N_SEQS + 1];
    uint32_t indptr[N_SEQS + 1], last_len[N_SEQS];
    uint32_t indices[N_SEQS * (MAX_LEN / PAGE)];
    rapt_mask *mask;
    double prepare[N_STEPS], record[N_STEPS];
};

static rapt_status make(struct host *host)
{
    const uint64_t row = 128 * 2;
    rapt_plan_params params = {
        .struct_size = sizeof params,
        .n_q_heads = 32,
        .n_kv_heads = 8,
        .head_dim = 128,
        .q_type = RAPT_TYPE_F16,
        .kv_type = RAPT_TYPE_F16,
        .flags = RAPT_PLAN_PAGED,
        .page_size = PAGE,
        .max_batch = N_SEQS,
        .max_total_q = host->total_q,
        .max_pages = N_SEQS * (MAX_LEN / PAGE),
        .max_kv_len = MAX_LEN,
        .n_steps_in_flight = 1,
    };
    rapt_status status = rapt_mask_parse(NULL, "causal", NULL, &host->mask);
    if (status == RAPT_OK)
        status = rapt_plan_create(rapt_easy_device(host->easy), &params, &host->plan);
    if (status != RAPT_OK)
        return status;
    rapt_plan_sizes_info sizes = {.struct_size = sizeof sizes};
    rapt_plan_sizes(host->plan, &sizes);
    uint64_t bytes[N_BUFFERS] = {sizes.table_bytes,           sizes.workspace_bytes,
                                 host->total_q * 32 * row,    N_POOL_PAGES * PAGE * 8 * row,
                                 N_POOL_PAGES * PAGE * 8 * row, host->total_q * 32 * row};
    for (int i = 0; i < N_BUFFERS && status == RAPT_OK; i++)
        status = rapt_easy_buffer_create(host->easy, bytes[i], "bench host", i == TABLES,
                                         &host->buffers[i]);
    if (status != RAPT_OK)
        return status;
    rapt_plan_memory memory = {
        .struct_size = sizeof memory,
        .tables = rapt_easy_buffer_range(host->buffers[TABLES]),
        .tables_mapped = rapt_easy_buffer_mapped(host->buffers[TABLES]),
        .workspace = rapt_easy_buffer_range(host->buffers[WORKSPACE]),
    };
    return rapt_plan_bind(host->plan, &memory);
}

/* Other lengths each step, the same on every machine. */
static void fill(struct host *host, uint32_t step)
{
    uint32_t state = 12345 + step;
    for (uint32_t b = 0; b < N_SEQS; b++) {
        state = state * 1664525u + 1013904223u;
        uint32_t q_len = b < host->n_chunks ? host->chunk : 1;
        uint32_t length = q_len + (state >> 8) % (MAX_LEN - q_len + 1);
        uint32_t n_pages = (length + PAGE - 1) / PAGE;
        host->cu_q[b + 1] = host->cu_q[b] + (int32_t)q_len;
        host->indptr[b + 1] = host->indptr[b] + n_pages;
        host->last_len[b] = (length - 1) % PAGE + 1;
        for (uint32_t i = 0; i < n_pages; i++)
            host->indices[host->indptr[b] + i] = (b * 37 + i * 11) % N_POOL_PAGES;
    }
}

static rapt_status step(struct host *host, uint32_t i)
{
    fill(host, i);
    rapt_step_params params = {.struct_size = sizeof params,
                               .n_seqs = N_SEQS,
                               .cu_q = host->cu_q,
                               .page_indptr = host->indptr,
                               .page_indices = host->indices,
                               .last_page_len = host->last_len,
                               .n_pool_pages = N_POOL_PAGES,
                               .mask = host->mask};
    rapt_step made = {.struct_size = sizeof made};
    double start = cli_seconds();
    rapt_status status = rapt_plan_prepare(host->plan, &params, &made);
    host->prepare[i] = cli_seconds() - start;
    rapt_record_params record = {.struct_size = sizeof record,
                                 .step = &made,
                                 .q = rapt_easy_buffer_range(host->buffers[Q]),
                                 .k = rapt_easy_buffer_range(host->buffers[K]),
                                 .v = rapt_easy_buffer_range(host->buffers[V]),
                                 .out = rapt_easy_buffer_range(host->buffers[OUT])};
    if (status == RAPT_OK)
        status = rapt_easy_begin(host->easy, &record.command_buffer);
    if (status != RAPT_OK)
        return status;
    start = cli_seconds();
    for (int n = 0; n < N_RECORDS && status == RAPT_OK; n++)
        status = rapt_plan_record(host->plan, &record);
    host->record[i] = (cli_seconds() - start) / N_RECORDS;
    rapt_plan_slot_done(host->plan, 0);
    return status;
}

int bench_run_host(struct bench *bench, struct bench_row *row)
{
    struct host *host = calloc(1, sizeof *host);
    if (!host)
        return cli_fail(CLI_DEVICE, "out of memory");
    host->easy = bench->easy;
    host->n_chunks = row->spec.n_chunks;
    host->chunk = row->spec.chunk;
    host->total_q = N_SEQS - host->n_chunks + host->n_chunks * host->chunk;
    rapt_status status = make(host);
    for (uint32_t i = 0; i < N_STEPS && status == RAPT_OK; i++)
        status = step(host, i);
    /* What was recorded is dropped: an empty command buffer takes its place. */
    VkCommandBuffer commands;
    if (status == RAPT_OK)
        status = rapt_easy_begin(bench->easy, &commands);
    if (status == RAPT_OK)
        status = rapt_easy_submit_wait(bench->easy, NULL);
    int code = 0;
    if (status == RAPT_OK) {
        row->times = bench_times_of(host->prepare, N_STEPS);
        row->record_times = bench_times_of(host->record, N_STEPS);
        row->tokens = host->total_q;
        row->ok = 1;
    } else if (rapt_status_group(status) == RAPT_STATUS_GROUP_CAPABILITY) {
        snprintf(row->skipped, sizeof row->skipped, "%s", rapt_last_error());
    } else {
        code = cli_fail_status(status, row->spec.name);
    }
    rapt_plan_destroy(&host->plan);
    for (int i = 0; i < N_BUFFERS; i++)
        rapt_easy_buffer_destroy(&host->buffers[i]);
    rapt_mask_destroy(&host->mask);
    free(host);
    return code;
}
