/* SPDX-License-Identifier: Apache-2.0 */
#include "batch.h"

#include "error.h"

#define MAX_SEQS 65535u
#define MAX_POSITION (1 << 30)

static rapt_status check_cu(const char *name, const int32_t *cu, uint32_t n_seqs)
{
    if (!cu)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s is NULL: cumulative lengths int32[%u] are needed",
                         name, n_seqs + 1);
    if (cu[0] != 0)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s[0] is %d: it must be 0", name, cu[0]);
    for (uint32_t b = 0; b < n_seqs; b++)
        if (cu[b + 1] < cu[b])
            return rapt_fail(RAPT_ERROR_ARGUMENT,
                             "%s[%u] is %d, %s[%u] is %d: cumulative lengths must not decrease",
                             name, b, cu[b], name, b + 1, cu[b + 1]);
    return RAPT_OK;
}

/* Many ids are looked at every step: four at a time, and which one is wrong only if one is. */
static uint32_t first_outside(const uint32_t *ids, uint32_t begin, uint32_t end, uint32_t n_pages)
{
    uint32_t i = begin;
    for (; end - i >= 4; i += 4)
        if ((ids[i] >= n_pages) | (ids[i + 1] >= n_pages) | (ids[i + 2] >= n_pages) |
            (ids[i + 3] >= n_pages))
            break;
    while (i < end && ids[i] < n_pages)
        i++;
    return i;
}

/* last_page_len and the span of pages of one sequence. */
static rapt_status check_pages_of(const struct rapt_batch *batch, uint32_t b)
{
    uint32_t begin = batch->page_indptr[b], end = batch->page_indptr[b + 1];
    uint32_t last = batch->last_page_len[b];
    if (end < begin)
        return rapt_fail(RAPT_ERROR_ARGUMENT,
                         "page_indptr[%u] is %u, page_indptr[%u] is %u: it must not decrease", b,
                         begin, b + 1, end);
    if (end == begin && last != 0)
        return rapt_fail(RAPT_ERROR_ARGUMENT,
                         "last_page_len[%u] is %u: sequence %u has no pages, so it must be 0", b,
                         last, b);
    if (end > begin && (last == 0 || last > batch->page_size))
        return rapt_fail(RAPT_ERROR_ARGUMENT, "last_page_len[%u] is %u: expected 1 to %u", b, last,
                         batch->page_size);
    if ((uint64_t)(end - begin) * batch->page_size >= MAX_POSITION)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "sequence %u has %u pages of %u tokens: too long", b,
                         end - begin, batch->page_size);
    uint32_t wrong = first_outside(batch->page_indices, begin, end, batch->n_pool_pages);
    if (wrong < end)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "page_indices[%u] is %u: the pool has %u pages",
                         wrong, batch->page_indices[wrong], batch->n_pool_pages);
    return RAPT_OK;
}

static rapt_status check_pages(const struct rapt_batch *batch)
{
    uint32_t size = batch->page_size;
    if (size > 256 || (size & (size - 1)) != 0)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "page_size is %u: a power of two from 1 to 256",
                         size);
    if (!batch->page_indptr || !batch->last_page_len)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s is NULL: paged K/V need it",
                         batch->page_indptr ? "last_page_len" : "page_indptr");
    if (batch->page_indptr[0] != 0)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "page_indptr[0] is %u: it must be 0",
                         batch->page_indptr[0]);
    for (uint32_t b = 0; b < batch->n_seqs; b++) {
        if (batch->page_indptr[b + 1] > batch->page_indptr[b] && !batch->page_indices)
            return rapt_fail(RAPT_ERROR_ARGUMENT, "page_indices is NULL: paged K/V need it");
        rapt_status status = check_pages_of(batch, b);
        if (status != RAPT_OK)
            return status;
    }
    return RAPT_OK;
}

static int position_bad(int64_t pos)
{
    return pos <= -(int64_t)MAX_POSITION || pos >= (int64_t)MAX_POSITION;
}

static rapt_status check_positions_of(const struct rapt_batch *batch, uint32_t b)
{
    int64_t kv_pos0 = rapt_batch_kv_pos0(batch, b), kv_len = rapt_batch_kv_len(batch, b);
    if (position_bad(kv_pos0) || position_bad(kv_pos0 + kv_len))
        return rapt_fail(RAPT_ERROR_ARGUMENT,
                         "kv_pos0[%u] is %lld with %lld keys: positions must stay below 2^30", b,
                         (long long)kv_pos0, (long long)kv_len);
    int64_t q_len = rapt_batch_q_len(batch, b);
    if (batch->q_pos) {
        for (int32_t i = batch->cu_q[b]; i < batch->cu_q[b + 1]; i++)
            if (position_bad(batch->q_pos[i]))
                return rapt_fail(RAPT_ERROR_ARGUMENT,
                                 "q_pos[%d] is %d: magnitudes must be below 2^30", i,
                                 batch->q_pos[i]);
        return RAPT_OK;
    }
    int64_t q_pos0 = batch->q_pos0 ? batch->q_pos0[b] : kv_len - q_len + kv_pos0;
    if (position_bad(q_pos0) || position_bad(q_pos0 + q_len))
        return rapt_fail(RAPT_ERROR_ARGUMENT,
                         "q_pos0[%u] is %lld with %lld queries: positions must stay below 2^30", b,
                         (long long)q_pos0, (long long)q_len);
    return RAPT_OK;
}

rapt_status rapt_batch_check(const struct rapt_batch *batch)
{
    if (batch->n_seqs == 0 || batch->n_seqs > MAX_SEQS)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "n_seqs is %u: expected 1 to %u", batch->n_seqs,
                         MAX_SEQS);
    rapt_status status = check_cu("cu_q", batch->cu_q, batch->n_seqs);
    if (status != RAPT_OK)
        return status;
    if (batch->page_size == 0)
        status = check_cu("cu_kv", batch->cu_kv, batch->n_seqs);
    else if (batch->cu_kv)
        status = rapt_fail(RAPT_ERROR_ARGUMENT,
                           "cu_kv is set: with block tables the lengths come from last_page_len");
    else
        status = check_pages(batch);
    if (status != RAPT_OK)
        return status;
    if (batch->q_pos && batch->q_pos0)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "q_pos and q_pos0 are both set: give one of them");
    for (uint32_t b = 0; b < batch->n_seqs; b++) {
        status = check_positions_of(batch, b);
        if (status != RAPT_OK)
            return status;
    }
    if (!batch->any_mask && !rapt_mask_is_closed(batch->mask))
        return rapt_fail(
            RAPT_ERROR_UNSUPPORTED,
            "mask is not one interval of keys per query (full, causal, window, chunked, "
            "prefix and sink_tokens joined by &): it needs a block table");
    if (!batch->any_mask && rapt_mask_needs_prefix(batch->mask) && !batch->prefix)
        return rapt_fail(RAPT_ERROR_ARGUMENT,
                         "prefix is NULL: the mask mentions prefix, which needs int32[%u]",
                         batch->n_seqs);
    return RAPT_OK;
}
