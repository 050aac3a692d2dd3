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
    int any_mask; /* 0: the mask is lowered to one interval of keys per query, so it must be closed
                   */
};

/* Every way lengths and tables can be wrong; messages name the array and index. */
rapt_status rapt_batch_check(const struct rapt_batch *batch);

/* Of a checked batch: keys of sequence b, position of its query i. */
static inline uint32_t rapt_batch_kv_len(const struct rapt_batch *batch, uint32_t b)
{
    if (batch->page_size == 0)
        return (uint32_t)(batch->cu_kv[b + 1] - batch->cu_kv[b]);
    uint32_t n_pages = batch->page_indptr[b + 1] - batch->page_indptr[b];
    return n_pages == 0 ? 0 : (n_pages - 1) * batch->page_size + batch->last_page_len[b];
}
static inline uint32_t rapt_batch_q_len(const struct rapt_batch *batch, uint32_t b)
{
    return (uint32_t)(batch->cu_q[b + 1] - batch->cu_q[b]);
}
static inline int32_t rapt_batch_kv_pos0(const struct rapt_batch *batch, uint32_t b)
{
    return batch->kv_pos0 ? batch->kv_pos0[b] : 0;
}
static inline int32_t rapt_batch_q_pos(const struct rapt_batch *batch, uint32_t b, uint32_t i)
{
    if (batch->q_pos)
        return batch->q_pos[(uint32_t)batch->cu_q[b] + i];
    if (batch->q_pos0)
        return batch->q_pos0[b] + (int32_t)i;
    int32_t kv_len = (int32_t)rapt_batch_kv_len(batch, b);
    return kv_len - (int32_t)rapt_batch_q_len(batch, b) + rapt_batch_kv_pos0(batch, b) + (int32_t)i;
}

#endif
