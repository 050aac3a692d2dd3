/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_EASY_CASE_H
#define RUNTIME_EASY_CASE_H

/* A small ragged problem for the tests of the easy tier: prefill, decode, an idle and an empty
 * sequence, grouped heads. Small dims, so that software drivers compile its kernels soon. */

#include <rapt/easy.h>

#include <stdlib.h>

#include "random.h"

enum { CASE_SEQS = 5, CASE_Q_HEADS = 4, CASE_KV_HEADS = 2, CASE_DIM = 32 };

struct easy_case {
    int32_t cu_q[CASE_SEQS + 1], cu_kv[CASE_SEQS + 1];
    float *q, *k, *v, *out;
    size_t n_out;
    rapt_mask *mask;
    rapt_problem problem;
    rapt_result result;
};

static inline float *easy_case_numbers(uint64_t seed, size_t n)
{
    float *numbers = malloc(n * sizeof *numbers);
    for (size_t i = 0; numbers && i < n; i++)
        numbers[i] = random_normal(&seed);
    return numbers;
}

/* 1 if memory and mask could be had. */
static inline int easy_case_make(uint64_t seed, const char *mask, struct easy_case *out_case)
{
    static const int32_t q_len[CASE_SEQS] = {9, 1, 0, 1, 17}, kv_len[CASE_SEQS] = {9, 70, 12, 0, 41};
    struct easy_case *c = out_case;
    *c = (struct easy_case){0};
    for (int b = 0; b < CASE_SEQS; b++) {
        c->cu_q[b + 1] = c->cu_q[b] + q_len[b];
        c->cu_kv[b + 1] = c->cu_kv[b] + kv_len[b];
    }
    size_t n_q = (size_t)c->cu_q[CASE_SEQS] * CASE_Q_HEADS * CASE_DIM;
    size_t n_kv = (size_t)c->cu_kv[CASE_SEQS] * CASE_KV_HEADS * CASE_DIM;
    c->q = easy_case_numbers(seed, n_q);
    c->k = easy_case_numbers(seed + 1, n_kv);
    c->v = easy_case_numbers(seed + 2, n_kv);
    c->out = malloc(n_q * sizeof *c->out);
    c->n_out = n_q;
    if (rapt_mask_parse(NULL, mask, NULL, &c->mask) != RAPT_OK)
        return 0;
    c->problem = (rapt_problem){.struct_size = sizeof c->problem,
                                .n_seqs = CASE_SEQS,
                                .n_q_heads = CASE_Q_HEADS,
                                .n_kv_heads = CASE_KV_HEADS,
                                .head_dim = CASE_DIM,
                                .q = {.data = c->q, .n_elements = n_q},
                                .k = {.data = c->k, .n_elements = n_kv},
                                .v = {.data = c->v, .n_elements = n_kv},
                                .kv_type = RAPT_TYPE_F16,
                                .cu_q = c->cu_q,
                                .cu_kv = c->cu_kv,
                                .mask = c->mask};
    c->result = (rapt_result){.struct_size = sizeof c->result, .out = c->out};
    return c->q && c->k && c->v && c->out;
}

/* NaN everywhere: what a run does not write shows. */
static inline void easy_case_poison(struct easy_case *c)
{
    for (size_t i = 0; i < c->n_out; i++)
        c->out[i] = NAN;
}

static inline void easy_case_finish(struct easy_case *c)
{
    free(c->q);
    free(c->k);
    free(c->v);
    free(c->out);
    rapt_mask_destroy(&c->mask);
}

#endif
