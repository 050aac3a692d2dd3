/* SPDX-License-Identifier: Apache-2.0 */
/* Introduces: ragged batches over pages. One step of a server at Llama-3-8B's head geometry: 32 query
 * heads on 8 KV heads of 128 dims, K/V in f16 pages of 16 tokens. Sequences at different stages share
 * one call: fresh prompts, a chunk of a long prompt, speculative tokens, decoding, an idle one. The
 * block tables here are what a server's pager would keep. */
#include <rapt/easy.h>

#include <stdio.h>
#include <stdlib.h>

enum { Q_HEADS = 32, KV_HEADS = 8, DIM = 128, PAGE = 16, N_SEQS = 10 };

static const struct {
    const char *what;
    int32_t q_len, kv_len; /* tokens of this step; tokens in the cache, these included */
} sequences[N_SEQS] = {
    {"prompt", 200, 200}, {"decode", 1, 513},     {"decode", 1, 2047},
    {"chunk", 128, 640},  {"decode", 1, 16},      {"speculation", 5, 900},
    {"decode", 1, 1},     {"idle", 0, 321},       {"prompt", 33, 33},
    {"decode", 1, 1500},
};

struct batch {
    int32_t cu_q[N_SEQS + 1];
    uint32_t indptr[N_SEQS + 1], last_len[N_SEQS];
    uint32_t *pages; /* of all sequences, one after the other */
    uint32_t n_pages;
    float *q, *out;
    uint16_t *k, *v; /* f16 [pages][PAGE][KV_HEADS][DIM] */
};

static float noise(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return (float)(*state >> 8) / 8388608.0f - 1.0f;
}

/* Gives every sequence pages, scattered over the pool as in a server that has run for a while. */
static int make_batch(struct batch *batch)
{
    for (int b = 0; b < N_SEQS; b++) {
        uint32_t length = (uint32_t)sequences[b].kv_len;
        batch->cu_q[b + 1] = batch->cu_q[b] + sequences[b].q_len;
        batch->indptr[b + 1] = batch->indptr[b] + (length + PAGE - 1) / PAGE;
        batch->last_len[b] = (length - 1) % PAGE + 1;
    }
    batch->n_pages = batch->indptr[N_SEQS];
    size_t n_q = (size_t)batch->cu_q[N_SEQS] * Q_HEADS * DIM;
    size_t n_kv = (size_t)batch->n_pages * PAGE * KV_HEADS * DIM;
    batch->pages = calloc(batch->n_pages, sizeof *batch->pages);
    batch->q = calloc(n_q, sizeof *batch->q);
    batch->out = calloc(n_q, sizeof *batch->out);
    batch->k = calloc(n_kv, sizeof *batch->k);
    batch->v = calloc(n_kv, sizeof *batch->v);
    if (!batch->pages || !batch->q || !batch->out || !batch->k || !batch->v)
        return 0;
    uint32_t state = 1;
    for (uint32_t i = 0; i < batch->n_pages; i++)
        batch->pages[i] = i;
    for (uint32_t i = batch->n_pages; i > 1; i--) {
        uint32_t j = (uint32_t)((noise(&state) + 1) * 0.5f * (float)(i - 1));
        uint32_t swap = batch->pages[i - 1];
        batch->pages[i - 1] = batch->pages[j];
        batch->pages[j] = swap;
    }
    for (size_t i = 0; i < n_q; i++)
        batch->q[i] = noise(&state);
    for (size_t i = 0; i < n_kv; i++) {
        batch->k[i] = rapt_f16_from_f32(noise(&state));
        batch->v[i] = rapt_f16_from_f32(noise(&state));
    }
    return 1;
}

static rapt_problem make_problem(const struct batch *batch, const rapt_mask *causal)
{
    size_t n_q = (size_t)batch->cu_q[N_SEQS] * Q_HEADS * DIM;
    size_t n_kv = (size_t)batch->n_pages * PAGE * KV_HEADS * DIM;
    return (rapt_problem){
        .struct_size = sizeof(rapt_problem),
        .n_seqs = N_SEQS,
        .n_q_heads = Q_HEADS,
        .n_kv_heads = KV_HEADS,
        .head_dim = DIM,
        .q = {.data = batch->q, .n_elements = n_q},
        .k = {.data = batch->k, .n_elements = n_kv, .type = RAPT_TYPE_F16},
        .v = {.data = batch->v, .n_elements = n_kv, .type = RAPT_TYPE_F16},
        .cu_q = batch->cu_q,
        .page_size = PAGE,
        .n_pool_pages = batch->n_pages,
        .page_indptr = batch->indptr,
        .page_indices = batch->pages,
        .last_page_len = batch->last_len,
        .mask = causal,
    };
}

/* Every sequence against the float64 reference, as a problem of its own: the same pool, its pages
 * alone. */
static int check(const struct batch *batch, const rapt_problem *whole)
{
    int all_ok = 1;
    printf("%-12s %6s %6s %10s %8s\n", "sequence", "q", "kv", "error", "bound");
    for (int b = 0; b < N_SEQS; b++) {
        size_t row = (size_t)batch->cu_q[b] * Q_HEADS * DIM;
        int32_t cu_q[] = {0, sequences[b].q_len};
        uint32_t indptr[] = {0, batch->indptr[b + 1] - batch->indptr[b]};
        rapt_problem one = *whole;
        one.n_seqs = 1;
        one.q.data = batch->q + row;
        one.q.n_elements = (size_t)sequences[b].q_len * Q_HEADS * DIM;
        one.cu_q = cu_q;
        one.page_indptr = indptr;
        one.page_indices = batch->pages + batch->indptr[b];
        one.last_page_len = batch->last_len + b;
        rapt_result result = {.struct_size = sizeof result, .out = batch->out + row};
        rapt_reference_params params = {.struct_size = sizeof params, .n_threads = 2};
        rapt_error error = {.struct_size = sizeof error};
        if (rapt_reference_check(&one, &params, &result, RAPT_BOUND_PORTABLE, &error)) {
            fprintf(stderr, "%s\n", rapt_last_error());
            return 0;
        }
        printf("%-12s %6d %6d %10.1e %8.0e %s\n", sequences[b].what, (int)sequences[b].q_len,
               (int)sequences[b].kv_len, error.e, error.bound_e, error.ok ? "ok" : "WRONG");
        all_ok &= error.ok;
    }
    return all_ok;
}

static rapt_status run(rapt_easy *easy, const rapt_problem *problem, struct batch *batch)
{
    rapt_easy_job *job = NULL;
    rapt_result result = {.struct_size = sizeof result, .out = batch->out};
    rapt_status status = rapt_easy_job_create(easy, problem, NULL, &result, &job);
    double seconds = 0, best = 1e9;
    for (int i = 0; i < 5 && !status; i++) {
        status = rapt_easy_job_run(job, &seconds);
        best = seconds < best ? seconds : best;
    }
    if (!status)
        status = rapt_easy_job_read(job, &result);
    if (!status) {
        rapt_easy_job_info info = {.struct_size = sizeof info};
        rapt_easy_job_get_info(job, &info);
        printf("%s: %u work items and %u merges, %.2f ms, %.1f GFLOP/s\n",
               rapt_device_caps(rapt_easy_device(easy))->device_name, (unsigned)info.step.n_items,
               (unsigned)info.step.n_merges, best * 1e3, (double)info.cost.flops / best * 1e-9);
    }
    rapt_easy_job_destroy(&job);
    return status;
}

int main(void)
{
    struct batch batch = {0};
    rapt_mask *causal = NULL;
    rapt_easy *easy = NULL;
    int ok = 0;
    rapt_status status = rapt_mask_parse(NULL, "causal", NULL, &causal);
    if (!make_batch(&batch)) {
        fprintf(stderr, "out of memory\n");
        return 1;
    }
    rapt_problem problem = make_problem(&batch, causal);
    if (!status)
        status = rapt_easy_create(NULL, &easy);
    if (!status)
        status = run(easy, &problem, &batch);
    if (status)
        fprintf(stderr, "%s\n", rapt_last_error());
    else
        ok = check(&batch, &problem);
    rapt_easy_destroy(&easy);
    rapt_mask_destroy(&causal);
    free(batch.pages);
    free(batch.q);
    free(batch.out);
    free(batch.k);
    free(batch.v);
    return !ok;
}
