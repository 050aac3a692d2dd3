/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MASKS_INPUT_H
#define MASKS_INPUT_H

/* What a mask is evaluated over: lengths, positions and the leaves' arrays, read and checked once.
 */

#include <rapt/mask.h>

#include "batch.h"

struct rapt_mask_input {
    struct rapt_batch batch; /* packed, or paged: the keys' first rows are then in kv_first */
    const int32_t *kv_first; /* int32[B], the first row of each sequence in arrays packed like K */
    rapt_mask_data data;     /* zeros where the caller has none */
    uint32_t n_q_heads;
};

/* Reads the structs and checks lengths and positions. */
rapt_status rapt_mask_input_open(const rapt_mask_batch *batch, struct rapt_mask_input *out_input);
/* The arrays of the leaves in `needs` (RAPT_MASK_NEEDS_*); `name` is what messages call their
 * struct. kv_first is not looked at. */
rapt_status rapt_mask_input_check(const struct rapt_mask_input *input, uint32_t needs,
                                  const char *name);

/* By definition: query i, key j of sequence b, query head h; of a checked input. */
int rapt_mask_input_allows(const rapt_mask *mask, const struct rapt_mask_input *input, uint32_t b,
                           uint32_t h, uint32_t i, uint32_t j);

/* A bit of the bitmap: where row i of (b, h) starts. */
static inline uint64_t rapt_mask_bitmap_row(const struct rapt_mask_input *input, uint32_t b,
                                            uint32_t h, uint32_t i)
{
    const rapt_mask_data *data = &input->data;
    const uint64_t stride =
        data->bitmap_row_stride ? data->bitmap_row_stride : rapt_batch_kv_len(&input->batch, b);
    return (data->bitmap_offsets ? data->bitmap_offsets[b] : 0) + h * data->bitmap_head_stride +
           i * stride;
}

/* Nodes of sequence b's tree, and where its parents start. */
static inline uint32_t rapt_mask_tree(const struct rapt_mask_input *input, uint32_t b,
                                      const int32_t **out_parents)
{
    const int32_t *indptr = input->data.tree_indptr ? input->data.tree_indptr : input->batch.cu_q;
    *out_parents = input->data.parents ? input->data.parents + indptr[b] : NULL;
    return (uint32_t)(indptr[b + 1] - indptr[b]);
}

#endif
