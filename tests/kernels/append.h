/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KERNELS_APPEND_H
#define KERNELS_APPEND_H

/* A cache and rows to append to it, and the bytes the cache must hold afterwards. */

#include "check.h"

enum { APPEND_SEQS = 6, APPEND_POOL = 40, APPEND_HEADS = 11, APPEND_ELEMENTS = 1024 };

enum append_layout { NHD, HND, PADDED, INTERLEAVED };
enum append_positions { BY_KEY, BY_Q_POS, BY_ROPE_POS };

struct append_case {
    const char *name;
    uint32_t d, dv, heads, page_size; /* page_size 0 = packed */
    enum append_layout layout;
    rapt_type from;
    rapt_rope rope;
    enum append_positions positions;
    rapt_type scale_type;
    rapt_scale_kind scale_kind;
    int odd_new;  /* new rows: padded, heads outside tokens */
    int specials; /* NaN, infinities, denormals, zeros, ties */
    int table;    /* the caller's cosines and sines */
};

struct append_run {
    const struct check_target *target;
    const struct append_case *c;
    uint64_t random;
    rapt_plan *plan;
    rapt_plan_params params;
    rapt_rope rope;
    float *frequency_scale, *table;
    int32_t cu_q[APPEND_SEQS + 1], cu_kv[APPEND_SEQS + 1], *q_pos, *rope_pos;
    uint32_t indptr[APPEND_SEQS + 1], last_len[APPEND_SEQS], pages[APPEND_POOL * 64];
    uint32_t n_pool;
    struct check_buffer new_rows[2], cache[2], scales[2], tables, workspace, rope_table;
    uint64_t cache_first[2];                   /* byte of K and of V in their buffer */
    uint8_t *expected[2], *expected_scales[2]; /* images of the buffers */
    char why[256];
};

/* Batch, params, buffers and the expected images of run->c. 0: run->why says why not. */
int check_append_make(struct append_run *run);
void check_append_finish(struct append_run *run);
/* The buffer that K's (0) or V's (1) cache lies in; interleaved, both lie in K's. */
struct check_buffer *check_append_cache(struct append_run *run, int v);

#endif
