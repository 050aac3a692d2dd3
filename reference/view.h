/* SPDX-License-Identifier: Apache-2.0 */
#ifndef REFERENCE_VIEW_H
#define REFERENCE_VIEW_H

/* A checked problem with its defaults filled in, and access to its stored values. */

#include <rapt/reference.h>

#include "batch.h"
#include "block.h"
#include "input.h"
#include "rotate.h"

struct view {
    rapt_problem problem; /* own copy, defaults resolved: types, layouts, head_dim_v, scale */
    struct rapt_batch batch;
    struct rapt_mask_input masked; /* what masks are evaluated over */
    int masks_differ;              /* from head to head */
    int32_t *kv_first;             /* own: where a sequence's keys start, of a pool */
    int pool;                      /* k and v are a page pool */
    double scale;
    uint32_t group; /* query heads per KV head */
    uint32_t total_q;
    int quantized;  /* kv_type was, before rapt_view_store */
    rapt_rope rope; /* own copy, defaults resolved; pairing NONE = nothing is rotated */
    long double frequencies[RAPT_MAX_DIM / 2]; /* of the rope, radians per position */
    float *k_stored, *v_stored;
};

/* Checks the problem and fills the view. Holds no memory yet. */
rapt_status rapt_view_open(const rapt_problem *problem, struct view *out_view);
/* Parts of it: quantized K/V with its scales, rotation. */
rapt_status rapt_view_check_quantized(struct view *view);
rapt_status rapt_view_check_rope(struct view *view);
rapt_status rapt_view_check_masks(struct view *view);
void rapt_view_fill_frequencies(struct view *view);

/* Where k and v are quantized, or k is rotated: computes what is stored and makes the view's
 * tensors those, in memory of its own. Keys and values are to be loaded after this only. */
rapt_status rapt_view_store(struct view *view, const rapt_allocator *allocator);
void rapt_view_finish(struct view *view, const rapt_allocator *allocator);

/* The reference on a view whose tensors are stored. */
rapt_status rapt_view_attention(const struct view *view, const rapt_reference_params *params,
                                const rapt_result *result, double *out64, double *lse64,
                                double *max_logit64);

/* The positions query i of sequence b, and key j, are rotated at. */
int32_t rapt_view_q_rope_pos(const struct view *view, uint32_t b, uint32_t i);
int32_t rapt_view_k_rope_pos(const struct view *view, uint32_t b, uint32_t j);

/* Element index of token 0's head `head` of sequence b, query or key side. */
uint64_t rapt_view_q_index(const struct view *view, uint32_t b, uint32_t i, uint32_t head);
uint64_t rapt_view_kv_index(const struct view *view, const rapt_layout *layout, uint32_t b,
                            uint32_t j, uint32_t head);
/* dim values of a row as the device stores them. */
void rapt_view_load_row(const rapt_array *array, rapt_type stored, uint64_t index, uint32_t dim,
                        float *out_row);
/* A query as it is used: the stored one, rotated in float64. */
void rapt_view_load_q(const struct view *view, uint32_t b, uint32_t i, uint32_t head, double *out);
float rapt_view_bias(const struct view *view, uint32_t b, uint32_t head, uint32_t i, uint32_t j);

/* The mask of a head; NULL = full. */
const rapt_mask *rapt_view_mask(const struct view *view, uint32_t head);
/* Keys [out_begin, out_end) among which are all that query i of sequence b may see in `head`.
 * Returns whether it sees each of them; if not, rapt_view_allows tells. Needs a stored view. */
int rapt_view_key_range(const struct view *view, uint32_t b, uint32_t head, uint32_t i,
                        uint32_t *out_begin, uint32_t *out_end);
int rapt_view_allows(const struct view *view, uint32_t b, uint32_t head, uint32_t i, uint32_t j);
/* Part of rapt_view_store. */
rapt_status rapt_view_store_masks(struct view *view, const rapt_allocator *allocator);

#endif
