/* SPDX-License-Identifier: Apache-2.0 */
/* A decode step of 64 sequences with one prompt of 8192 tokens and 64 to 300 of their own each,
 * over pages: with the prompt read once for all of them, by turns with the same step without. */
#include "bench.h"
#include "cli.h"

#include <stdlib.h>
#include <string.h>

#define PAGE 16
#define N_SEQS 64
#define PROMPT 8192
#define MAX_TIMES 40
#define SECONDS 3.0 /* of both kinds of step together, when their number is not given */

struct shared {
    int32_t cu_q[N_SEQS + 1];
    uint32_t indptr[N_SEQS + 1], last[N_SEQS], *indices, n_pool_pages;
    float *q, *k, *v, *out;
    rapt_problem problem;
    rapt_result result;
    rapt_easy_job *jobs[2]; /* without sharing, with it */
};

/* Own tokens of sequence b: 64 to 300. */
static uint32_t own_tokens(uint32_t b)
{
    return 64 + b * 173 % 237;
}

/* The prompt's pages come first; which page of the pool is which makes no difference to a kernel.
 */
static int make_tables(struct shared *shared)
{
    uint32_t prompt = PROMPT / PAGE, n = 0;
    shared->indices = malloc(N_SEQS * (prompt + 300 / PAGE + 1) * sizeof *shared->indices);
    if (!shared->indices)
        return 0;
    shared->n_pool_pages = prompt;
    for (uint32_t b = 0; b < N_SEQS; b++) {
        for (uint32_t i = 0; i < prompt; i++)
            shared->indices[n++] = i * 301 % prompt;
        uint32_t own = own_tokens(b);
        for (uint32_t i = 0; i < (own + PAGE - 1) / PAGE; i++)
            shared->indices[n++] = shared->n_pool_pages++;
        shared->indptr[b + 1] = n;
        shared->last[b] = (own - 1) % PAGE + 1;
        shared->cu_q[b + 1] = (int32_t)b + 1;
    }
    return 1;
}

static int make(const struct case_spec *shape, struct shared *shared)
{
    if (!make_tables(shared))
        return 0;
    size_t n_q = (size_t)N_SEQS * shape->n_q_heads * shape->head_dim;
    size_t n_kv = (size_t)shared->n_pool_pages * PAGE * shape->n_kv_heads * shape->head_dim;
    shared->q = malloc(n_q * sizeof *shared->q);
    shared->k = malloc(n_kv * sizeof *shared->k);
    shared->v = malloc(n_kv * sizeof *shared->v);
    shared->out = malloc(n_q * sizeof *shared->out);
    if (!shared->q || !shared->k || !shared->v || !shared->out)
        return 0;
    case_random(7, shared->q, n_q);
    case_random(8, shared->k, n_kv);
    case_random(9, shared->v, n_kv);
    shared->problem = (rapt_problem){.struct_size = sizeof shared->problem,
                                     .n_seqs = N_SEQS,
                                     .n_q_heads = shape->n_q_heads,
                                     .n_kv_heads = shape->n_kv_heads,
                                     .head_dim = shape->head_dim,
                                     .q = {.data = shared->q, .n_elements = n_q},
                                     .k = {.data = shared->k, .n_elements = n_kv},
                                     .v = {.data = shared->v, .n_elements = n_kv},
                                     .q_type = shape->q_type,
                                     .kv_type = shape->kv_type,
                                     .cu_q = shared->cu_q,
                                     .page_size = PAGE,
                                     .n_pool_pages = shared->n_pool_pages,
                                     .page_indptr = shared->indptr,
                                     .page_indices = shared->indices,
                                     .last_page_len = shared->last};
    shared->result = (rapt_result){.struct_size = sizeof shared->result, .out = shared->out};
    return 1;
}

static void finish(struct shared *shared)
{
    for (int i = 0; i < 2; i++)
        rapt_easy_job_destroy(&shared->jobs[i]);
    free(shared->indices);
    free(shared->q);
    free(shared->k);
    free(shared->v);
    free(shared->out);
}

static rapt_status time_jobs(const struct bench *bench, struct shared *shared,
                             struct bench_row *row)
{
    double seconds[2][MAX_TIMES], ratios[MAX_TIMES], start = cli_seconds();
    uint32_t most = bench->n_repeats && bench->n_repeats < MAX_TIMES ? bench->n_repeats : MAX_TIMES;
    rapt_status status = RAPT_OK;
    uint32_t n = 0;
    for (int i = 0; i < 2 && status == RAPT_OK; i++)
        status = rapt_easy_job_run(shared->jobs[i], NULL); /* warm */
    while (status == RAPT_OK && n < most) {
        for (int i = 0; i < 2 && status == RAPT_OK; i++)
            status = rapt_easy_job_run(shared->jobs[i], &seconds[i][n]);
        if (status == RAPT_OK)
            ratios[n] = seconds[0][n] / seconds[1][n];
        n++;
        if (!bench->n_repeats && n >= 3 && cli_seconds() - start > SECONDS)
            break;
    }
    if (status != RAPT_OK)
        return status;
    row->times = bench_times_of(seconds[1], n);
    row->of_unshared = bench_times_of(ratios, n).median;
    return RAPT_OK;
}

/* Both results, in some rows. */
static rapt_status check(struct shared *shared, struct bench_row *row)
{
    const rapt_reference_params params = {
        .struct_size = sizeof params, .n_threads = 4, .row_step = 13, .row_first = 5};
    row->ok = 1;
    rapt_status status = RAPT_OK;
    for (int i = 0; i < 2 && status == RAPT_OK; i++) {
        rapt_error error = {.struct_size = sizeof error};
        status = rapt_easy_job_read(shared->jobs[i], &shared->result);
        if (status == RAPT_OK)
            status = rapt_reference_check(&shared->problem, &params, &shared->result,
                                          RAPT_BOUND_PORTABLE, &error);
        row->e = error.e;
        row->bound_e = error.bound_e;
        row->ok &= status == RAPT_OK && error.ok;
    }
    return status;
}

static rapt_status measure(struct bench *bench, struct shared *shared, struct bench_row *row)
{
    rapt_easy_options options = {.struct_size = sizeof options};
    rapt_status status = RAPT_OK;
    for (int i = 0; i < 2 && status == RAPT_OK; i++) {
        options.share_prefixes = i;
        double start = cli_seconds();
        status = rapt_easy_job_create(bench->easy, &shared->problem, &options, &shared->result,
                                      &shared->jobs[i]);
        if (status == RAPT_OK)
            status = rapt_easy_job_run(shared->jobs[i], NULL);
        row->first_seconds = cli_seconds() - start;
    }
    if (status == RAPT_OK)
        status = time_jobs(bench, shared, row);
    if (status != RAPT_OK)
        return status;
    rapt_easy_job_info info = {.struct_size = sizeof info};
    rapt_easy_job_get_info(shared->jobs[1], &info);
    row->cost = info.cost;
    row->tokens = N_SEQS;
    row->moved_bytes = info.shared_kv_bytes;
    snprintf(row->kernels, sizeof row->kernels, "%s %s", info.plan.prefill_kernel,
             info.plan.decode_kernel ? info.plan.decode_kernel : "");
    snprintf(row->why, sizeof row->why, "%s", info.plan.why ? info.plan.why : "");
    return check(shared, row);
}

int bench_run_shared(struct bench *bench, struct bench_row *row)
{
    struct shared *shared = calloc(1, sizeof *shared);
    int code = 0;
    if (!shared || !make(&row->spec.shape, shared)) {
        code = cli_fail(CLI_DEVICE, "out of memory");
    } else {
        rapt_easy_peak_bytes(bench->easy, 1);
        rapt_status status = measure(bench, shared, row);
        row->peak_bytes = rapt_easy_peak_bytes(bench->easy, 0);
        if (rapt_status_group(status) == RAPT_STATUS_GROUP_CAPABILITY ||
            status == RAPT_ERROR_DEVICE_MEMORY)
            snprintf(row->skipped, sizeof row->skipped, "%s", rapt_last_error());
        else if (status != RAPT_OK)
            code = cli_fail_status(status, row->spec.name);
    }
    if (shared)
        finish(shared);
    free(shared);
    return code;
}
