/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_WORK_H
#define RUNTIME_WORK_H

/* Batch lengths -> flat work list. Pure: plain structs in, plain structs out, no Vulkan calls. */

#include "args.h"
#include "select.h"

#include "batch.h"
#include "lower.h"

/* Items [item_first, item_first + n_items) that may run at once after stages [stage_first, ...).
 * Only staged selections have more than one round; the decode items form the last round. */
struct rapt_work_round {
    uint32_t stage_first, n_stages;
    uint32_t item_first, n_items;
    uint32_t decode; /* which kernel */
};

struct rapt_work_params {
    const struct rapt_selection *selection;
    uint32_t n_kv_heads, group;
    uint32_t n_splits, fixed_split; /* knobs */
};

/* Arrays the caller owns (the slot's memory); capacities in entries. With NULL arrays only counts. */
struct rapt_work {
    struct rapt_step_item *items;
    struct rapt_step_merge *merges;
    struct rapt_step_stage *stages;
    struct rapt_work_round *rounds;
    uint32_t items_capacity, merges_capacity, stages_capacity, rounds_capacity,
        partial_rows_capacity;
    uint32_t n_items, n_prefill_items, n_decode_items, n_merges, n_stages, n_rounds, n_partial_rows;
};

/* Items are ordered prefill first, decode last; within each the longest first, so that the longest
 * sequence does not decide the time, and items that share K/V next to each other. CAPACITY when an
 * array is too small: the counts then hold what is needed and the arrays' contents are undefined.
 * Allocates nothing. The batch must have passed rapt_batch_check. */
rapt_status rapt_work_build(const struct rapt_work_params *params, const struct rapt_batch *batch,
                            struct rapt_work *work);

/* Keys [out_begin, out_end) of sequence b that the packed tokens [token_first, token_first + n) can see
 * between them; empty = equal. */
void rapt_work_key_range(const struct rapt_batch *batch, const struct rapt_mask_closed *mask,
                         uint32_t b, uint32_t token_first, uint32_t n_tokens, uint32_t *out_begin,
                         uint32_t *out_end);

/* Upper bounds for plan_sizes: what any batch within these capacities can need. */
struct rapt_work_bounds {
    uint32_t items, merges, stages, rounds, partial_rows;
};
void rapt_work_bound(const struct rapt_work_params *params, uint32_t max_batch,
                     uint32_t max_total_q, uint32_t max_kv_len, struct rapt_work_bounds *out_bounds);

#endif
