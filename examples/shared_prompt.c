/* SPDX-License-Identifier: Apache-2.0 */

/* Introduces: shared prefixes. A game's 64 characters talk with one system prompt of 8192 tokens
 * and 64 to 300 tokens of their own each. Their block tables begin with the same pages; a cascade
 * finds that out by itself and reads the prompt once for all of them. One decode step without and
 * with sharing: bytes, time, and the same result. (Who shares must stand side by side in the batch:
 * where several prompts are in use, rapt_cascade_order tells the order.) */

#include <rapt/easy.h>

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    N_CHARACTERS = 64,
    PROMPT = 8192,
    PAGE = 16,
    PROMPT_PAGES = PROMPT / PAGE,
    MOST_PAGES = PROMPT_PAGES + 300 / PAGE + 1,
    N_Q_HEADS = 4,
    N_KV_HEADS = 2,
    DIM = 64
};

/* Random, but the same on every machine. */
static float number(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return (float)(*state >> 8) / 8388608.0f - 1.0f;
}

static float *numbers(uint32_t seed, size_t n)
{
    float *data = malloc(n * sizeof *data);
    for (size_t i = 0; data && i < n; i++)
        data[i] = number(&seed);
    return data;
}

struct tables {
    uint32_t indptr[N_CHARACTERS + 1], indices[N_CHARACTERS * MOST_PAGES], last[N_CHARACTERS];
};

/* What a pager gives (rapt_pager_tables): the prompt's pages, then the character's. */
static uint32_t fill_tables(struct tables *t)
{
    uint32_t n = 0, next_page = PROMPT_PAGES;
    for (uint32_t c = 0; c < N_CHARACTERS; c++) {
        uint32_t own = 64 + c * 173 % 237;
        for (uint32_t i = 0; i < PROMPT_PAGES; i++)
            t->indices[n++] = i;
        for (uint32_t i = 0; i < (own + PAGE - 1) / PAGE; i++)
            t->indices[n++] = next_page++;
        t->indptr[c + 1] = n;
        t->last[c] = (own - 1) % PAGE + 1;
    }
    return next_page;
}

/* Least time of five runs; 0 after a line on stderr. */
static int run(rapt_easy *easy, const rapt_problem *problem, int share, const rapt_result *result,
               double *out_seconds, rapt_easy_job_info *out_info)
{
    rapt_easy_options options = {.struct_size = sizeof options, .share_prefixes = share};
    rapt_easy_job *job = NULL;
    rapt_status status = rapt_easy_job_create(easy, problem, &options, result, &job);
    *out_seconds = 1e9;
    for (int i = 0; status == RAPT_OK && i < 5; i++) {
        double seconds;
        status = rapt_easy_job_run(job, &seconds);
        *out_seconds = status == RAPT_OK ? fmin(*out_seconds, seconds) : *out_seconds;
    }
    if (status == RAPT_OK)
        status = rapt_easy_job_read(job, result);
    rapt_easy_job_get_info(job, out_info);
    rapt_easy_job_destroy(&job);
    if (status != RAPT_OK)
        fprintf(stderr, "%s\n", rapt_last_error());
    return status == RAPT_OK;
}

static double distance(const float *a, const float *b, size_t n)
{
    double difference = 0, norm = 0;
    for (size_t i = 0; i < n; i++) {
        difference += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
        norm += (double)b[i] * (double)b[i];
    }
    return sqrt(difference / norm);
}

static int compare(rapt_easy *easy, const rapt_problem *problem, float *alone, float *shared)
{
    const rapt_result results[] = {{.struct_size = sizeof(rapt_result), .out = alone},
                                   {.struct_size = sizeof(rapt_result), .out = shared}};
    double seconds[2];
    rapt_easy_job_info info = {.struct_size = sizeof info};
    for (int share = 0; share < 2; share++)
        if (!run(easy, problem, share, &results[share], &seconds[share], &info))
            return 0;
    size_t n_out = (size_t)N_CHARACTERS * N_Q_HEADS * DIM;
    double e = distance(shared, alone, n_out);
    printf("%u of %d characters share a prompt of %d tokens\n", info.cascade.n_sharing,
           N_CHARACTERS, PROMPT);
    printf("without sharing: %8.1f KiB of keys and values, %7.2f ms\n",
           (double)info.cost.kv_bytes / 1024, seconds[0] * 1e3);
    printf("with it:         %8.1f KiB, %26.2f ms: %.1f times as fast\n",
           (double)info.shared_kv_bytes / 1024, seconds[1] * 1e3, seconds[0] / seconds[1]);
    /* some rows against the float64 reference, which knows nothing of sharing */
    const rapt_reference_params some = {.struct_size = sizeof some, .row_step = 7};
    rapt_error error = {.struct_size = sizeof error};
    if (rapt_reference_check(problem, &some, &results[1], RAPT_BOUND_PORTABLE, &error) != RAPT_OK)
        fprintf(stderr, "%s\n", rapt_last_error());
    printf("the results differ by %.1e; error %.1e (at most %.1e)\n", e, error.e, error.bound_e);
    return error.ok && e < 1e-5 && info.cascade.n_sharing == N_CHARACTERS;
}

int main(void)
{
    static struct tables batch;
    static float alone[N_CHARACTERS * N_Q_HEADS * DIM], shared[N_CHARACTERS * N_Q_HEADS * DIM];
    int32_t cu_q[N_CHARACTERS + 1];
    uint32_t n_pages = fill_tables(&batch);
    for (int32_t c = 0; c <= N_CHARACTERS; c++)
        cu_q[c] = c; /* one token each */
    size_t n_q = (size_t)N_CHARACTERS * N_Q_HEADS * DIM;
    size_t n_kv = (size_t)n_pages * PAGE * N_KV_HEADS * DIM;
    float *q = numbers(1, n_q), *k = numbers(2, n_kv), *v = numbers(3, n_kv);
    const rapt_problem problem = {.struct_size = sizeof problem,
                                  .n_seqs = N_CHARACTERS,
                                  .n_q_heads = N_Q_HEADS,
                                  .n_kv_heads = N_KV_HEADS,
                                  .head_dim = DIM,
                                  .q = {.data = q, .n_elements = n_q},
                                  .k = {.data = k, .n_elements = n_kv},
                                  .v = {.data = v, .n_elements = n_kv},
                                  .kv_type = RAPT_TYPE_F16,
                                  .cu_q = cu_q,
                                  .page_size = PAGE,
                                  .n_pool_pages = n_pages,
                                  .page_indptr = batch.indptr,
                                  .page_indices = batch.indices,
                                  .last_page_len = batch.last};
    rapt_easy *easy = NULL;
    int ok = q && k && v;
    if (ok && rapt_easy_create(NULL, &easy) != RAPT_OK) {
        fprintf(stderr, "%s\n", rapt_last_error());
        ok = 0;
    }
    ok = ok && compare(easy, &problem, alone, shared);
    rapt_easy_destroy(&easy);
    free(q);
    free(k);
    free(v);
    return ok ? 0 : 1;
}
