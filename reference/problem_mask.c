/* SPDX-License-Identifier: Apache-2.0 */
/* Masks of a problem: their arrays checked, and what a row may see. */
#include "view.h"

#include "error.h"

#define NEEDS_KEY_ROWS (RAPT_MASK_NEEDS_SEGMENTS | RAPT_MASK_NEEDS_BIDIRECTIONAL)

const rapt_mask *rapt_view_mask(const struct view *view, uint32_t head)
{
    const rapt_problem *p = &view->problem;
    return p->mask_heads && p->mask_heads[head] ? p->mask_heads[head] : p->mask;
}

static uint32_t needs_of(const struct view *view)
{
    uint32_t needs = 0;
    for (uint32_t h = 0; h < view->problem.n_q_heads; h++)
        needs |= rapt_mask_needs(rapt_view_mask(view, h));
    return needs;
}

rapt_status rapt_view_check_masks(struct view *view)
{
    rapt_problem *p = &view->problem;
    struct rapt_mask_input *masked = &view->masked;
    const uint32_t needs = needs_of(view);
    if (p->mask_data) {
        rapt_status status =
            rapt_params_read("rapt_mask_data", p->mask_data, &masked->data, sizeof masked->data);
        if (status != RAPT_OK)
            return status;
    }
    if (!p->prefix)
        p->prefix = masked->data.prefix;
    view->batch.prefix = masked->data.prefix = p->prefix;
    masked->batch = view->batch;
    masked->kv_first = p->cu_kv;
    masked->n_q_heads = p->n_q_heads;
    if ((needs & RAPT_MASK_NEEDS_PREFIX) && !p->prefix)
        return rapt_fail(RAPT_ERROR_ARGUMENT,
                         "prefix is NULL: the mask mentions prefix, which needs int32[%u]",
                         p->n_seqs);
    view->masks_differ =
        p->mask_heads != NULL ||
        ((needs & RAPT_MASK_NEEDS_BITMAP) && masked->data.bitmap_head_stride != 0) ||
        ((needs & RAPT_MASK_NEEDS_BLOCKS) && masked->data.n_block_heads > 1);
    return rapt_mask_input_check(masked, needs, "mask_data");
}

rapt_status rapt_view_store_masks(struct view *view, const rapt_allocator *allocator)
{
    const uint32_t n_seqs = view->problem.n_seqs;
    if (!view->pool || !(needs_of(view) & NEEDS_KEY_ROWS))
        return RAPT_OK;
    view->kv_first = rapt_alloc(allocator, (size_t)n_seqs + 1, sizeof *view->kv_first);
    if (!view->kv_first)
        return rapt_fail(RAPT_ERROR_HOST_MEMORY, "no memory for the lengths of %u sequences",
                         n_seqs);
    for (uint32_t b = 0; b < n_seqs; b++)
        view->kv_first[b + 1] = view->kv_first[b] + (int32_t)rapt_batch_kv_len(&view->batch, b);
    view->masked.kv_first = view->kv_first;
    return RAPT_OK;
}

int rapt_view_key_range(const struct view *view, uint32_t b, uint32_t head, uint32_t i,
                        uint32_t *out_begin, uint32_t *out_end)
{
    const struct rapt_batch *batch = &view->batch;
    const rapt_mask *mask = rapt_view_mask(view, head);
    int32_t lo, hi, prefix = batch->prefix ? batch->prefix[b] : 0;
    rapt_mask_interval(mask, rapt_batch_q_pos(batch, b, i), prefix, &lo, &hi);
    int64_t kv_pos0 = rapt_batch_kv_pos0(batch, b), kv_len = rapt_batch_kv_len(batch, b);
    int64_t begin = lo - kv_pos0, end = (int64_t)hi + 1 - kv_pos0;
    begin = begin < 0 ? 0 : begin;
    end = end > kv_len ? kv_len : end;
    if (end < begin)
        begin = end = 0;
    *out_begin = (uint32_t)begin;
    *out_end = (uint32_t)end;
    return rapt_mask_is_closed(mask);
}

int rapt_view_allows(const struct view *view, uint32_t b, uint32_t head, uint32_t i, uint32_t j)
{
    return rapt_mask_input_allows(rapt_view_mask(view, head), &view->masked, b, head, i, j);
}
