/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KERNELS_BLOCK_LISTS_H
#define KERNELS_BLOCK_LISTS_H

/* One case of rapt_block_lists_record: what it runs on, and what comes out. */

#include "check.h"

#include <rapt/sparse.h>

enum score_data { NORMAL, WHOLE, STRANGE };

struct list_case {
    struct check_case base; /* its mask is the closed form */
    rapt_block_lists_params params;
    uint32_t block_q, block_kv;
    int by_group; /* lists of their own for every head group */
    enum score_data data;
    int offsets; /* bitmaps: 1 = by offsets, rows as long as the sequence; else rows are padded */
};

struct list_run {
    const struct check_target *target;
    const struct list_case *c;
    struct check_problem problem;
    rapt_problem described;
    rapt_mask *closed, *joined;
    rapt_mask_data data;
    rapt_block_table *table; /* of the closed form, or of what the lists must be */
    rapt_block_table_view view;
    uint64_t bitmap_offsets[CHECK_MAX_SEQS];
    uint8_t *bits; /* what the reference reads of chosen blocks */
    rapt_plan *plan;
    rapt_step step;
    rapt_device_lists lists;
    struct check_buffer tables, own, workspace, input, input2, listed, overflow, lse;
    uint32_t n_blocks, n_sets, n_lists, most_q, score_stride, listed_stride;
    uint64_t bit_stride, head_stride;
    int natural; /* by the kernels the device is given, not the portable ones */
    uint32_t n_dense;
    char why[300];
};

static inline int list_from_scores(const struct list_run *run)
{
    return run->c->params.source <= RAPT_BLOCKS_MASS;
}

static inline uint32_t list_q_len_of(const struct list_run *run, uint32_t b)
{
    return (uint32_t)(run->problem.cu_q[b + 1] - run->problem.cu_q[b]);
}

static inline uint32_t list_kv_len_of(const struct list_run *run, uint32_t b)
{
    return (uint32_t)(run->problem.cu_kv[b + 1] - run->problem.cu_kv[b]);
}

/* block_lists_expect.c: each prints why not. */
int check_block_lists(struct list_run *run);
int check_block_attention(struct list_run *run);

#endif
