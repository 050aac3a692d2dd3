/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MASKS_LEAF_H
#define MASKS_LEAF_H

/* What the leaves of a mask say about the blocks of one query block: where they may allow a key,
 * where they allow all, and bit by bit. */

#include "expr.h"
#include "input.h"

enum rapt_block_state {
    RAPT_BLOCK_STATE_EMPTY = 0,
    RAPT_BLOCK_STATE_PARTIAL = 1,
    RAPT_BLOCK_STATE_FULL = 2
};

/* Keys [may_begin, may_end) hold every key that a row of the query block may see; all rows see all
 * of [full_begin, full_end). `dense`: more is known block by block, see rapt_leaf_state. */
struct rapt_leaf_range {
    int64_t may_begin, may_end, full_begin, full_end;
    int dense;
};

/* A maximal run of keys of one id; of flags: id 1. */
struct rapt_leaf_run {
    int32_t id;
    uint32_t begin, end;
};
struct rapt_leaf_runs {
    struct rapt_leaf_run *runs;  /* by their keys; id 0 is left out */
    struct rapt_leaf_run *by_id; /* by id, then keys (segments) */
    uint32_t n_runs;
};

struct rapt_leaves {
    const struct rapt_mask_input *input;
    uint32_t needs; /* of all masks */
    uint32_t block_q, block_kv, row_words;

    /* the sequence */
    uint32_t b, kv_len, n_blocks;
    int64_t kv_pos0;
    struct rapt_leaf_runs segments, flags;
    uint32_t tree_nodes, tree_first; /* key of its first node */
    const int32_t *parents;

    /* the query block */
    uint32_t h, first, n_rows;
    int64_t low, high; /* its positions lie in [low, high] */
    int consecutive;   /* they are low, low + 1, ... high */
    int segments_ready, tree_ready;

    /* scratch */
    uint8_t *segment_states; /* of each key block */
    uint32_t *ancestors;     /* a bit per row and key of the tree's part, see tree_base */
    uint32_t ancestor_words, tree_base;
};

/* Scratch for a batch; RAPT_ERROR_HOST_MEMORY, then nothing is held. */
rapt_status rapt_leaves_init(struct rapt_leaves *leaves, const rapt_allocator *allocator,
                             const struct rapt_mask_input *input, uint32_t needs, uint32_t block_q,
                             uint32_t block_kv);
void rapt_leaves_finish(struct rapt_leaves *leaves, const rapt_allocator *allocator);

void rapt_leaves_set_sequence(struct rapt_leaves *leaves, uint32_t b);
/* Query tokens [first, first + n_rows) of the sequence, n_rows > 0. */
void rapt_leaves_set_rows(struct rapt_leaves *leaves, uint32_t h, uint32_t first, uint32_t n_rows);

/* Of a leaf, its negation set aside. */
void rapt_leaf_range(struct rapt_leaves *leaves, const struct rapt_mask_term *leaf,
                     struct rapt_leaf_range *out_range);
enum rapt_block_state rapt_leaf_state(struct rapt_leaves *leaves, const struct rapt_mask_term *leaf,
                                      const struct rapt_leaf_range *range, uint32_t block);
/* Bits of the block, row_words words for each of the n_rows rows; keys that do not exist:
 * undefined. */
void rapt_leaf_bits(struct rapt_leaves *leaves, const struct rapt_mask_term *leaf, uint32_t block,
                    uint32_t *out_bits);

/* Keys of a block that exist. */
static inline uint32_t rapt_leaves_n_keys(const struct rapt_leaves *leaves, uint32_t block)
{
    uint32_t begin = block * leaves->block_kv;
    return leaves->kv_len - begin < leaves->block_kv ? leaves->kv_len - begin : leaves->block_kv;
}

/* The low n bits. */
static inline uint32_t rapt_low_bits(int64_t n)
{
    return n <= 0 ? 0 : n >= 32 ? UINT32_MAX : ((uint32_t)1 << n) - 1;
}

#endif
