/* SPDX-License-Identifier: Apache-2.0 */
/* Introduces: a K/V cache. What a chat program does to one, at Llama-3-8B's head geometry and two
 * layers: a prompt, answers token by token, three branches of an answer at once, tokens taken back,
 * and a second conversation that finds the system prompt's pages already there. The model is a
 * stand-in: Q, K and V of a token follow from its id and place, so that they can be made again for
 * the check. */
#include <rapt/easy.h>

#include <stdio.h>
#include <stdlib.h>

enum { LAYERS = 2, Q_HEADS = 32, KV_HEADS = 8, DIM = 128, MAX_TOKENS = 1024, MAX_STEP = 600 };
enum { SYSTEM_PROMPT = 512, QUESTION = 61, BRANCHES = 3 };

struct conversation {
    rapt_seq seq;
    uint32_t n;
    int32_t tokens[MAX_TOKENS];
};

static const rapt_rope rope = {
    .struct_size = sizeof rope, .pairing = RAPT_ROPE_NEOX, .theta = 500000};

struct chat {
    rapt_easy *easy;
    rapt_easy_cache *cache;
    rapt_pager *pager;
    int failed;
};

static float q[MAX_STEP * Q_HEADS * DIM], out[MAX_STEP * Q_HEADS * DIM]; /* of a step */
static float k[MAX_STEP * KV_HEADS * DIM], v[MAX_STEP * KV_HEADS * DIM];

/* Numbers the model would have computed: `what` is 0 for Q, 1 for K, 2 for V. */
static void stand_in(int what, uint32_t layer, uint32_t place, int32_t token, uint32_t n,
                     float *row)
{
    uint32_t state = (uint32_t)token * 2654435761u + place * 97u + layer * 31u + (uint32_t)what;
    for (uint32_t i = 0; i < n; i++) {
        state = state * 1664525u + 1013904223u;
        row[i] = (float)(state >> 8) / 8388608.0f - 1.0f;
    }
}

static void try(struct chat *chat, rapt_status status)
{
    if (status && !chat->failed)
        fprintf(stderr, "%s: %s\n", rapt_status_string(status), rapt_last_error());
    chat->failed |= status != RAPT_OK;
}

/* Appends `n` tokens to each of `n_seqs` conversations, one step for all of them. */
static void step(struct chat *chat, const char *what, uint32_t n_seqs, struct conversation **all,
                 uint32_t n)
{
    rapt_seq seqs[BRANCHES];
    uint32_t n_new[BRANCHES];
    int32_t tokens[MAX_STEP];
    for (uint32_t b = 0; b < n_seqs; b++) {
        seqs[b] = all[b]->seq;
        n_new[b] = n;
        for (uint32_t i = 0; i < n; i++)
            tokens[b * n + i] = all[b]->tokens[all[b]->n + i];
    }
    try(chat, rapt_easy_cache_step_begin(chat->cache, n_seqs, seqs, n_new, tokens));
    for (uint32_t layer = 0; layer < LAYERS && !chat->failed; layer++) {
        for (uint32_t row = 0; row < n_seqs * n; row++) {
            uint32_t place = all[row / n]->n + row % n;
            stand_in(0, layer, place, tokens[row], Q_HEADS * DIM, q + row * Q_HEADS * DIM);
            stand_in(1, layer, place, tokens[row], KV_HEADS * DIM, k + row * KV_HEADS * DIM);
            stand_in(2, layer, place, tokens[row], KV_HEADS * DIM, v + row * KV_HEADS * DIM);
        }
        try(chat, rapt_easy_cache_step_layer(chat->cache, layer, q, k, v, out));
    }
    if (!chat->failed)
        try(chat, rapt_easy_cache_step_end(chat->cache));
    for (uint32_t b = 0; b < n_seqs; b++)
        all[b]->n += n;
    rapt_pager_stats stats = {.struct_size = sizeof stats};
    rapt_easy_cache_info info = {.struct_size = sizeof info};
    try(chat, rapt_pager_get_stats(chat->pager, 0, &stats));
    rapt_easy_cache_get_info(chat->cache, &info);
    if (what)
        printf("%-36s %6u %6u %7u %7u %7u %9.2f\n", what, n_seqs * n, stats.n_used, stats.n_shared,
               stats.n_cached, info.n_copies, 1e3 * (info.copy_seconds + info.layer_seconds));
}

/* The ids a tokenizer and a sampler would have given. */
static void write_tokens(struct conversation *talk, uint32_t from, uint32_t n, int32_t id)
{
    for (uint32_t i = 0; i < n; i++)
        talk->tokens[from + i] = id + (int32_t)i;
}

/* The last token of the last step, in its last layer, against the reference over the conversation's
 * whole history. */
static void check(struct chat *chat, const struct conversation *talk, float *last)
{
    for (uint32_t i = 0; i < talk->n; i++) {
        stand_in(1, LAYERS - 1, i, talk->tokens[i], KV_HEADS * DIM, k + i * KV_HEADS * DIM);
        stand_in(2, LAYERS - 1, i, talk->tokens[i], KV_HEADS * DIM, v + i * KV_HEADS * DIM);
    }
    stand_in(0, LAYERS - 1, talk->n - 1, talk->tokens[talk->n - 1], Q_HEADS * DIM, q);
    const int32_t cu_q[] = {0, 1}, cu_kv[] = {0, (int32_t)talk->n};
    rapt_problem problem = {.struct_size = sizeof problem,
                            .n_seqs = 1,
                            .n_q_heads = Q_HEADS,
                            .n_kv_heads = KV_HEADS,
                            .head_dim = DIM,
                            .q = {.data = q, .n_elements = Q_HEADS * DIM},
                            .k = {.data = k, .n_elements = (size_t)talk->n * KV_HEADS * DIM},
                            .v = {.data = v, .n_elements = (size_t)talk->n * KV_HEADS * DIM},
                            .kv_type = RAPT_TYPE_F16,
                            .cu_q = cu_q,
                            .cu_kv = cu_kv,
                            .rope = &rope};
    rapt_result result = {.struct_size = sizeof result, .out = last};
    rapt_error error = {.struct_size = sizeof error};
    if (!chat->failed)
        try(chat, rapt_reference_check(&problem, NULL, &result, RAPT_BOUND_PORTABLE, &error));
    if (!chat->failed) {
        printf("its last token over %u keys: error %.1e, bound %.0e, %s\n", talk->n, error.e,
               error.bound_e, error.ok ? "ok" : "WRONG");
        chat->failed = !error.ok;
    }
}

static void talk(struct chat *chat)
{
    static struct conversation first, second, branches[BRANCHES];
    struct conversation *one = &first, *all[BRANCHES];
    printf("%-36s %6s %6s %7s %7s %7s %9s\n", "step", "tokens", "used", "shared", "cached",
           "copies", "ms");
    write_tokens(&first, 0, SYSTEM_PROMPT, 1000);
    write_tokens(&first, SYSTEM_PROMPT, QUESTION, 5000);
    try(chat, rapt_pager_open(chat->pager, NULL, &first.seq, NULL));
    step(chat, "prefill: system prompt and question", 1, &one, SYSTEM_PROMPT + QUESTION);
    for (int i = 0; i < 16 && !chat->failed; i++) {
        write_tokens(&first, first.n, 1, 6000 + i);
        step(chat, i == 15 ? "decode, the last of 16" : NULL, 1, &one, 1);
    }
    for (int b = 0; b < BRANCHES; b++) {
        branches[b] = first;
        all[b] = &branches[b];
        try(chat, rapt_pager_fork(chat->pager, first.seq, &branches[b].seq));
    }
    for (int i = 0; i < 8 && !chat->failed; i++) {
        for (int b = 0; b < BRANCHES; b++)
            write_tokens(all[b], all[b]->n, 1, 7000 + 100 * b + i);
        step(chat, i % 7 == 0 ? "three branches, a token each" : NULL, BRANCHES, all, 1);
    }
    branches[2].n -= 6;
    try(chat, rapt_pager_truncate(chat->pager, branches[2].seq, branches[2].n));
    write_tokens(&branches[2], branches[2].n, 2, 8000);
    step(chat, "six tokens taken back, two others", 1, &all[2], 2);
    try(chat, rapt_pager_close(chat->pager, first.seq));
    for (int b = 0; b < BRANCHES; b++)
        try(chat, rapt_pager_close(chat->pager, branches[b].seq));

    write_tokens(&second, 0, SYSTEM_PROMPT, 1000);
    write_tokens(&second, SYSTEM_PROMPT, QUESTION, 9000);
    rapt_seq_params prompt = {.struct_size = sizeof prompt,
                              .tokens = second.tokens,
                              .n_tokens = SYSTEM_PROMPT + QUESTION};
    try(chat, rapt_pager_open(chat->pager, &prompt, &second.seq, &second.n));
    uint32_t left = SYSTEM_PROMPT + QUESTION - second.n;
    printf("second conversation: %u of %u tokens are there already\n", second.n, second.n + left);
    chat->failed |= second.n != SYSTEM_PROMPT;
    one = &second;
    step(chat, "prefill: the rest of it", 1, &one, left);
    check(chat, &second, out + (size_t)(left - 1) * Q_HEADS * DIM);
}

int main(void)
{
    struct chat chat = {0};
    rapt_easy_cache_group group = {.n_pages = 128};
    rapt_easy_cache_params params = {.struct_size = sizeof params,
                                     .n_layers = LAYERS,
                                     .n_q_heads = Q_HEADS,
                                     .n_kv_heads = KV_HEADS,
                                     .head_dim = DIM,
                                     .groups = &group,
                                     .n_groups = 1,
                                     .rope = &rope,
                                     .max_total_q = MAX_STEP};
    try(&chat, rapt_easy_create(NULL, &chat.easy));
    if (!chat.failed)
        try(&chat, rapt_easy_cache_create(chat.easy, &params, &chat.cache));
    chat.pager = rapt_easy_cache_pager(chat.cache);
    if (!chat.failed)
        talk(&chat);
    rapt_easy_cache_destroy(&chat.cache);
    rapt_easy_destroy(&chat.easy);
    return chat.failed;
}
