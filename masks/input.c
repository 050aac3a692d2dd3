/* SPDX-License-Identifier: Apache-2.0 */
/* Checks of everything a mask reads but the mask itself. */
#include "input.h"

#include "checked.h"
#include "error.h"

static rapt_status missing(const char *name, const char *member, const char *leaf,
                           const char *shape)
{
    return rapt_fail(RAPT_ERROR_ARGUMENT, "%s.%s is NULL: the mask mentions %s, which needs %s",
                     name, member, leaf, shape);
}

static rapt_status check_bitmap(const struct rapt_mask_input *input, const char *name)
{
    const rapt_mask_data *data = &input->data;
    for (uint32_t b = 0; b < input->batch.n_seqs; b++) {
        uint64_t q_len = rapt_batch_q_len(&input->batch, b);
        uint64_t kv_len = rapt_batch_kv_len(&input->batch, b);
        if (q_len == 0 || kv_len == 0)
            continue;
        if (!data->bitmap)
            return missing(name, "bitmap", "bitmap", "a bit per query and key");
        uint64_t row = data->bitmap_row_stride ? data->bitmap_row_stride : kv_len;
        if (row < kv_len)
            return rapt_fail(RAPT_ERROR_SHAPE,
                             "%s.bitmap_row_stride is %llu: sequence %u has %llu keys", name,
                             (unsigned long long)row, b, (unsigned long long)kv_len);
        uint64_t end = data->bitmap_offsets ? data->bitmap_offsets[b] : 0;
        end = rapt_add_sat(end, rapt_mul_sat(input->n_q_heads - 1, data->bitmap_head_stride));
        end = rapt_add_sat(end, rapt_mul_sat(q_len - 1, row));
        end = rapt_add_sat(end, kv_len);
        if (end > data->bitmap_bits)
            return rapt_fail(RAPT_ERROR_SHAPE,
                             "%s.bitmap_bits is %llu: sequence %u reaches to bit %llu", name,
                             (unsigned long long)data->bitmap_bits, b, (unsigned long long)end);
    }
    return RAPT_OK;
}

static rapt_status check_blocks(const struct rapt_mask_input *input, const char *name)
{
    const rapt_mask_data *data = &input->data;
    const struct {
        const char *name;
        uint32_t value;
    } sizes[] = {{"n_q_blocks", data->n_q_blocks},
                 {"n_k_blocks", data->n_k_blocks},
                 {"map_block_q", data->map_block_q},
                 {"map_block_kv", data->map_block_kv}};
    if (!data->blocks)
        return missing(name, "blocks", "blocks", "u8[heads][n_q_blocks][n_k_blocks]");
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        if (sizes[i].value == 0)
            return rapt_fail(RAPT_ERROR_ARGUMENT, "%s.%s is 0: expected 1 or more", name,
                             sizes[i].name);
    if (data->n_block_heads != 1 && data->n_block_heads != input->n_q_heads)
        return rapt_fail(RAPT_ERROR_SHAPE, "%s.n_block_heads is %u: expected 1 or n_q_heads, %u",
                         name, data->n_block_heads, input->n_q_heads);
    return RAPT_OK;
}

/* Parents lead to a root. Where each comes before its children, as trees are commonly written, that
 * is seen at a glance; a loop must climb somewhere, so only what climbs is followed. */
static rapt_status check_parents(const int32_t *parents, uint32_t n, uint32_t b, const char *name)
{
    for (uint32_t t = 0; t < n; t++)
        if (parents[t] < -1 || parents[t] >= (int32_t)n)
            return rapt_fail(RAPT_ERROR_ARGUMENT,
                             "%s.parents: node %u of sequence %u has parent %d: expected -1 to %d",
                             name, t, b, parents[t], (int32_t)n - 1);
    for (uint32_t t = 0; t < n; t++) {
        if (parents[t] < (int32_t)t)
            continue;
        uint32_t n_steps = 0;
        for (int32_t at = (int32_t)t; at >= 0; at = parents[at])
            if (n_steps++ == n)
                return rapt_fail(RAPT_ERROR_ARGUMENT,
                                 "%s.parents: node %u of sequence %u never reaches a root", name, t,
                                 b);
    }
    return RAPT_OK;
}

static rapt_status check_tree(const struct rapt_mask_input *input, const char *name)
{
    const int32_t *indptr = input->data.tree_indptr;
    if (indptr && indptr[0] != 0)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s.tree_indptr[0] is %d: it must be 0", name,
                         indptr[0]);
    for (uint32_t b = 0; b < input->batch.n_seqs; b++) {
        if (indptr && indptr[b + 1] < indptr[b])
            return rapt_fail(
                RAPT_ERROR_ARGUMENT,
                "%s.tree_indptr[%u] is %d, tree_indptr[%u] is %d: it must not decrease", name, b,
                indptr[b], b + 1, indptr[b + 1]);
        const int32_t *parents;
        uint32_t n = rapt_mask_tree(input, b, &parents);
        uint32_t kv_len = rapt_batch_kv_len(&input->batch, b);
        if (n > kv_len)
            return rapt_fail(RAPT_ERROR_SHAPE,
                             "%s.%s: sequence %u has a tree of %u nodes and %u keys, of which they "
                             "are the last",
                             name, indptr ? "tree_indptr" : "parents", b, n, kv_len);
        if (n > 0 && !parents)
            return missing(name, "parents", "tree", "the index of each node's parent");
        rapt_status status = check_parents(parents, n, b, name);
        if (status != RAPT_OK)
            return status;
    }
    return RAPT_OK;
}

rapt_status rapt_mask_input_check(const struct rapt_mask_input *input, uint32_t needs,
                                  const char *name)
{
    const rapt_mask_data *data = &input->data;
    int has_q = 0, has_kv = 0;
    for (uint32_t b = 0; b < input->batch.n_seqs; b++) {
        has_q |= rapt_batch_q_len(&input->batch, b) > 0;
        has_kv |= rapt_batch_kv_len(&input->batch, b) > 0;
    }
    if ((needs & RAPT_MASK_NEEDS_PREFIX) && !data->prefix)
        return missing(name, "prefix", "prefix", "one int32 per sequence");
    if ((needs & RAPT_MASK_NEEDS_SEGMENTS) && has_q && !data->segments_q)
        return missing(name, "segments_q", "segments", "one int32 per query");
    if ((needs & RAPT_MASK_NEEDS_SEGMENTS) && has_kv && !data->segments_kv)
        return missing(name, "segments_kv", "segments", "one int32 per key");
    if ((needs & RAPT_MASK_NEEDS_BIDIRECTIONAL) && has_kv && !data->bidirectional)
        return missing(name, "bidirectional", "bidirectional", "one flag per key");
    rapt_status status = RAPT_OK;
    if (needs & RAPT_MASK_NEEDS_BITMAP)
        status = check_bitmap(input, name);
    if (status == RAPT_OK && (needs & RAPT_MASK_NEEDS_BLOCKS))
        status = check_blocks(input, name);
    if (status == RAPT_OK && (needs & RAPT_MASK_NEEDS_PARENTS))
        status = check_tree(input, name);
    return status;
}

rapt_status rapt_mask_input_open(const rapt_mask_batch *batch, struct rapt_mask_input *out_input)
{
    rapt_mask_batch own;
    *out_input = (struct rapt_mask_input){0};
    rapt_status status = rapt_params_read("rapt_mask_batch", batch, &own, sizeof own);
    if (status == RAPT_OK && own.data)
        status =
            rapt_params_read("rapt_mask_data", own.data, &out_input->data, sizeof out_input->data);
    if (status != RAPT_OK)
        return status;
    if (own.n_q_heads > 65535)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "n_q_heads is %u: expected 1 to 65535 (0 = 1)",
                         own.n_q_heads);
    out_input->n_q_heads = own.n_q_heads ? own.n_q_heads : 1;
    out_input->kv_first = own.cu_kv;
    out_input->batch = (struct rapt_batch){.n_seqs = own.n_seqs,
                                           .cu_q = own.cu_q,
                                           .cu_kv = own.cu_kv,
                                           .q_pos0 = own.q_pos0,
                                           .q_pos = own.q_pos,
                                           .kv_pos0 = own.kv_pos0};
    return rapt_batch_check(&out_input->batch);
}

rapt_status rapt_mask_batch_check(const rapt_mask *mask, const rapt_mask_batch *batch)
{
    struct rapt_mask_input input;
    rapt_status status = rapt_mask_input_open(batch, &input);
    return status != RAPT_OK ? status
                             : rapt_mask_input_check(&input, rapt_mask_needs(mask), "data");
}
