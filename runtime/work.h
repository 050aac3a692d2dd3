/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_WORK_H
#define RUNTIME_WORK_H

/* Batch lengths -> flat work list. Pure: plain structs in, plain structs out, no Vulkan calls. */

#include "args.h"
#include "select.h"

#include "batch.h"
#include "lower.h"
#include "spans.h"

/* Kernels of attention, in the order of their items. */
enum rapt_work_class { RAPT_WORK_PREFILL, RAPT_WORK_DECODE, RAPT_WORK_FEW, RAPT_WORK_N_CLASSES };

/* Items [item_first, item_first + n_items) that may run at once after stages [stage_first, ...).
 * Only staged selections have more than one round of prefill; decode items form the next, those of
 * few rows the last. */
struct rapt_work_round {
    uint32_t stage_first, n_stages;
    uint32_t item_first, n_items;
    uint32_t kind; /* enum rapt_work_class */
};

struct rapt_work_params {
    const struct rapt_selection *selection;
    uint32_t n_groups;      /* of query heads that are packed into one tile */
    uint32_t group;         /* heads of one */
    uint32_t groups_per_kv; /* 0 = 1: more where the heads of a KV head have different masks */
    uint32_t list_block_q;  /* least query tokens of a block that has lists; 0 = no lists */
    uint32_t n_splits, fixed_split; /* knobs */
};

/* Lists of keys instead of closed-form ranges: one for every set and block of query tokens, numbered
 * set by set and in a set as the blocks of the sequences follow one another. */
struct rapt_work_lists {
    uint32_t block_q;          /* query tokens of a block */
    uint32_t n_rows;           /* lists of a set */
    const uint32_t *row_first; /* [n_seqs]: first list of a sequence */
    const uint32_t *group_set; /* [n_groups] */
    const struct rapt_spans *spans; /* NULL: made on the device */
    /* Where they lie in the slot: spans[0]; or, made on the device, the first list's length, and words
     * from one list to the next. */
    uint32_t first_word, list_words;
};

/* Arrays the caller owns (the slot's memory); capacities in entries. With NULL arrays only counts. */
struct rapt_work {
    const struct rapt_work_lists *lists; /* NULL = ranges in closed form */
    struct rapt_step_item *items;
    struct rapt_step_merge *merges;
    struct rapt_step_stage *stages;
    struct rapt_work_round *rounds;
    uint32_t items_capacity, merges_capacity, stages_capacity, rounds_capacity,
        partial_rows_capacity;
    uint32_t n_items, n_prefill_items, n_decode_items, n_few_items; /* all, and by class */
    uint32_t n_merges, n_stages, n_rounds, n_partial_rows;
};

/* Items are ordered prefill, decode, few rows; within each the longest first, so that the longest
 * sequence does not decide the time, and items that share K/V next to each other. Prefill whose K/V
 * do not fit in the device's last cache (selection.cache_keys) comes in groups that do, longest
 * first within each. CAPACITY when an array is too small: the counts then hold what is needed and
 * the arrays' contents are undefined. Allocates nothing. The batch must have passed
 * rapt_batch_check; `mask` stands for batch->mask. */
rapt_status rapt_work_build(const struct rapt_work_params *params, const struct rapt_batch *batch,
                            const struct rapt_mask_closed *mask, struct rapt_work *work);

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
