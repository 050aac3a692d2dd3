/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_BATCH_H
#define BASE_BATCH_H

/* The lengths and tables of a batch, checked once for every door they come in by (problem, step).
 */

#include <rapt/common.h>
#include <rapt/mask.h>

struct rapt_batch {
    uint32_t n_seqs;
    const int32_t *cu_q, *cu_kv;
    uint32_t page_size; /* 0 = packed */
    const uint32_t *page_indptr, *page_indices, *last_page_len;
    uint32_t n_pool_pages;
    const int32_t *q_pos0, *q_pos, *kv_pos0;
    const rapt_mask *mask;
    const int32_t *prefix;
};

/* Every way lengths and tables can be wrong; messages name the array and index. */
rapt_status rapt_batch_check(const struct rapt_batch *batch);

/* Of a checked batch: keys of sequence b, position of its query i. */
uint32_t rapt_batch_kv_len(const struct rapt_batch *batch, uint32_t b);
static inline uint32_t rapt_batch_q_len(const struct rapt_batch *batch, uint32_t b)
{
    return (uint32_t)(batch->cu_q[b + 1] - batch->cu_q[b]);
}
int32_t rapt_batch_q_pos(const struct rapt_batch *batch, uint32_t b, uint32_t i);
static inline int32_t rapt_batch_kv_pos0(const struct rapt_batch *batch, uint32_t b)
{
    return batch->kv_pos0 ? batch->kv_pos0[b] : 0;
}

#endif
