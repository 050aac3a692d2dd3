/* SPDX-License-Identifier: Apache-2.0 */
/* Introduces: block-sparse attention. A long prompt whose queries see the tokens just before them, the
 * first ones, and a few blocks that were chosen for them by their means. What is not listed is neither
 * loaded nor computed, so time and bytes follow the blocks that are kept. */
#include <rapt/easy.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { TOKENS = 4096, BLOCK = 64, N_BLOCKS = TOKENS / BLOCK, HEADS = 4, DIM = 64, TOPICS = 12, CHOSEN = 5 };
enum { ROW = HEADS * DIM, N = TOKENS * ROW };

struct prompt {
    float q[N], k[N], v[N]; /* [token][head][dim] */
    float dense[N], sparse[N];
    uint8_t chosen[N_BLOCKS * N_BLOCKS]; /* [query block][key block]: 1 = looked at */
};

static float noise(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return (float)(*state >> 8) / 8388608.0f - 1.0f;
}

/* Blocks have topics that come back, and queries look for what is of their topic. */
static void make_prompt(struct prompt *prompt)
{
    static float topics[TOPICS][ROW];
    uint32_t state = 3;
    for (int i = 0; i < TOPICS * ROW; i++)
        topics[i / ROW][i % ROW] = noise(&state);
    for (int t = 0; t < TOKENS; t++) {
        const float *topic = topics[(t / BLOCK * 7 + t / BLOCK / 5) % TOPICS];
        for (int d = 0; d < ROW; d++) {
            prompt->q[t * ROW + d] = 1.6f * topic[d] + noise(&state);
            prompt->k[t * ROW + d] = 1.6f * topic[d] + noise(&state);
            prompt->v[t * ROW + d] = topic[d] + noise(&state);
        }
    }
}

static void block_mean(const float *rows, int block, float mean[ROW])
{
    for (int d = 0; d < ROW; d++) {
        mean[d] = 0;
        for (int t = 0; t < BLOCK; t++)
            mean[d] += rows[(block * BLOCK + t) * ROW + d] / BLOCK;
    }
}

/* For every block of queries the blocks of earlier keys whose mean its own mean likes best. */
static void choose_blocks(struct prompt *prompt)
{
    static float keys[N_BLOCKS][ROW];
    for (int i = 0; i < N_BLOCKS; i++)
        block_mean(prompt->k, i, keys[i]);
    for (int i = 0; i < N_BLOCKS; i++) {
        float query[ROW], score[N_BLOCKS];
        block_mean(prompt->q, i, query);
        for (int j = 0; j < i; j++) {
            score[j] = 0;
            for (int d = 0; d < ROW; d++)
                score[j] += query[d] * keys[j][d];
        }
        for (int n = 0; n < CHOSEN && n < i; n++) {
            int best = 0;
            for (int j = 1; j < i; j++)
                best = score[j] > score[best] ? j : best;
            prompt->chosen[i * N_BLOCKS + best] = 1;
            score[best] = -INFINITY;
        }
    }
}

struct measured {
    double seconds, megabytes; /* time of a run; K/V that blocks of queries load, one after the other */
    uint64_t pairs;
};

/* What the mask lists, asked of the block table that attention runs on. */
static double listed_megabytes(const rapt_problem *problem)
{
    rapt_block_table *table = NULL;
    rapt_block_table_view view = {.struct_size = sizeof view};
    const rapt_block_table_params params = {
        .struct_size = sizeof params, .mask = problem->mask, .block_q = BLOCK, .block_kv = BLOCK,
        .batch = {.struct_size = sizeof params.batch, .n_seqs = 1, .cu_q = problem->cu_q,
                  .cu_kv = problem->cu_kv, .n_q_heads = HEADS, .data = problem->mask_data},
    };
    if (rapt_block_table_create(&params, &table))
        return 0;
    rapt_block_table_get_view(table, &view);
    double n_blocks = (double)view.n_entries * HEADS; /* one list, which all heads share */
    rapt_block_table_destroy(&table);
    return n_blocks * BLOCK * 2 * DIM * sizeof(float) / 1048576;
}

/* Runs the problem under `mask` and checks a sample of its rows against the float64 reference. */
static rapt_status attend(rapt_easy *easy, const rapt_problem *without_mask, const char *name,
                          const rapt_mask *mask, float *out, struct measured *measured, int *all_ok)
{
    rapt_problem problem = *without_mask;
    rapt_easy_job *job = NULL;
    rapt_result result = {.struct_size = sizeof result, .out = out};
    rapt_reference_params sample = {
        .struct_size = sizeof sample, .n_threads = 2, .row_first = 11, .row_step = 61};
    rapt_error error = {.struct_size = sizeof error};
    rapt_easy_job_info info = {.struct_size = sizeof info};
    problem.mask = mask;
    rapt_status status = rapt_easy_job_create(easy, &problem, NULL, &result, &job);
    measured->seconds = 1e9;
    for (int i = 0; i < 3 && !status; i++) {
        double seconds = 0;
        status = rapt_easy_job_run(job, &seconds);
        measured->seconds = fmin(measured->seconds, seconds);
    }
    if (!status)
        status = rapt_easy_job_read(job, &result);
    if (!status)
        status = rapt_reference_check(&problem, &sample, &result, RAPT_BOUND_PORTABLE, &error);
    if (status)
        fprintf(stderr, "%s: %s\n", name, rapt_last_error());
    else
        rapt_easy_job_get_info(job, &info);
    rapt_easy_job_destroy(&job);
    measured->pairs = info.cost.pairs;
    measured->megabytes = listed_megabytes(&problem);
    *all_ok &= !status && error.ok;
    if (!status)
        printf("%-8s %9llu pairs %9.1f ms, loads %6.1f MiB of K/V, error %.1e (at most %.0e) %s\n", name,
               (unsigned long long)measured->pairs, measured->seconds * 1e3, measured->megabytes,
               error.e, error.bound_e, error.ok ? "ok" : "WRONG");
    return status;
}

/* How far the sparse result is from the dense one: what the mask leaves out counts for that little. */
static double difference(const struct prompt *prompt)
{
    double apart = 0, whole = 0;
    for (int i = 0; i < N; i++) {
        apart += pow(prompt->sparse[i] - prompt->dense[i], 2);
        whole += pow(prompt->dense[i], 2);
    }
    return sqrt(apart / whole);
}

int main(void)
{
    static const int32_t lengths[] = {0, TOKENS};
    struct prompt *prompt = calloc(1, sizeof *prompt);
    rapt_mask *dense = NULL, *sparse = NULL;
    rapt_easy *easy = NULL;
    struct measured all, kept;
    int ok = 1;
    if (!prompt) {
        fprintf(stderr, "out of memory\n");
        return 1;
    }
    make_prompt(prompt);
    choose_blocks(prompt);
    const rapt_mask_data data = {
        .struct_size = sizeof data, .blocks = prompt->chosen, .n_block_heads = 1,
        .n_q_blocks = N_BLOCKS, .n_k_blocks = N_BLOCKS, .map_block_q = BLOCK, .map_block_kv = BLOCK,
    };
    const rapt_problem problem = {
        .struct_size = sizeof problem, .n_seqs = 1, .n_q_heads = HEADS, .n_kv_heads = HEADS,
        .head_dim = DIM, .q = {prompt->q, N}, .k = {prompt->k, N}, .v = {prompt->v, N},
        .cu_q = lengths, .cu_kv = lengths, .mask_data = &data,
    };
    rapt_status status = rapt_mask_parse(NULL, "causal", NULL, &dense);
    if (!status)
        status = rapt_mask_parse(NULL, "causal & (window(191, 0) | sink_tokens(16) | blocks)", NULL,
                                 &sparse);
    if (!status)
        status = rapt_easy_create(NULL, &easy);
    if (status)
        fprintf(stderr, "%s\n", rapt_last_error());
    else
        printf("%d tokens, %d heads of %d dims on %s\n", TOKENS, HEADS, DIM,
               rapt_device_caps(rapt_easy_device(easy))->device_name);
    if (!status)
        status = attend(easy, &problem, "dense", dense, prompt->dense, &all, &ok);
    if (!status)
        status = attend(easy, &problem, "sparse", sparse, prompt->sparse, &kept, &ok);
    if (!status)
        printf("The mask keeps %.0f %% of the pairs: %.0f %% of the time, %.0f %% of the bytes; the "
               "result moves by %.1f %%.\n",
               100 * (double)kept.pairs / (double)all.pairs, 100 * kept.seconds / all.seconds,
               100 * kept.megabytes / all.megabytes, 100 * difference(prompt));
    rapt_easy_destroy(&easy);
    rapt_mask_destroy(&dense);
    rapt_mask_destroy(&sparse);
    free(prompt);
    return status || !ok;
}
