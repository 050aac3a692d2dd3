/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MASKS_CLASSIFY_H
#define MASKS_CLASSIFY_H

/* Whole expressions over the blocks of one query block. */

#include "key_sets.h"
#include "leaf.h"

struct rapt_classify_level {
    struct rapt_key_set may, full, spare;
    uint32_t *bits; /* block_q rows of a block */
};

struct rapt_classifier {
    struct rapt_leaves leaves;
    const struct rapt_mask_term *terms; /* of the mask at hand */
    size_t n_terms;
    struct rapt_leaf_range *ranges;     /* of its leaves, for the query block at hand */
    struct rapt_classify_level *levels; /* what recursion stores, by depth */
    uint32_t n_levels;
    uint32_t *memory;
};

/* Sized for masks of up to `depth` and `n_terms`. RAPT_ERROR_HOST_MEMORY, then nothing is held. */
rapt_status rapt_classifier_init(struct rapt_classifier *classifier,
                                 const rapt_allocator *allocator,
                                 const struct rapt_mask_input *input, uint32_t needs,
                                 uint32_t depth, size_t n_terms, uint32_t block_q,
                                 uint32_t block_kv);
void rapt_classifier_finish(struct rapt_classifier *classifier, const rapt_allocator *allocator);

/* The mask for head h, for the query block that starts at `first` of leaves' sequence: fills the
 * sets of blocks that may allow a pair, and that certainly allow all (a subset). Both are the
 * classifier's, until its next call. */
void rapt_classifier_set_rows(struct rapt_classifier *classifier,
                              const struct rapt_mask_term *terms, size_t n_terms, uint32_t h,
                              uint32_t first, uint32_t n_rows, const struct rapt_key_set **out_may,
                              const struct rapt_key_set **out_full);

/* What the mask says about one block, exactly. If PARTIAL, *out_bits has its bits, zeros where rows
 * or keys do not exist: block_q rows of leaves.row_words. */
enum rapt_block_state rapt_classifier_block(struct rapt_classifier *classifier, uint32_t block,
                                            const uint32_t **out_bits);

/* What decides the bits of a block, as words that are the same for blocks that look the same: where
 * positions matter, only their distance. 0 words = not known, the block has to be looked at. */
#define RAPT_CLASSIFY_KEY_WORDS 24
uint32_t rapt_classifier_key(struct rapt_classifier *classifier, uint32_t block,
                             int64_t out_words[RAPT_CLASSIFY_KEY_WORDS]);

#endif
