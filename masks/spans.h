/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MASKS_SPANS_H
#define MASKS_SPANS_H

/* Block tables as kernels read them: neighbouring blocks that need no test, or the same closed
 * form, joined to spans of keys. */

#include "lower.h"

#include <rapt/common.h>

/* The arrays of a block table (mask.h has their layout). */
struct rapt_spans_source {
    uint32_t n_seqs, n_sets, n_rows, block_kv;
    const uint32_t *row_first; /* [n_seqs + 1] */
    const uint32_t *indptr, *indices;
    const uint8_t *kinds; /* 0 full, 1 closed form, 2 bits */
    const uint32_t *tiles;
    const int32_t *cu_kv;
};

struct rapt_span {
    uint32_t begin, end; /* keys of the sequence */
    uint32_t kind;       /* as the blocks' */
    uint32_t tile;       /* of bits */
};

struct rapt_spans {
    uint32_t *indptr;        /* [n_sets * n_rows + 1] */
    uint32_t *keys;          /* [n_sets * n_rows]: listed keys */
    struct rapt_span *spans; /* [n_spans] */
    uint32_t n_spans;
};

/* Errors: HOST_MEMORY; then *out_spans is empty. Finish it with the same allocator. */
rapt_status rapt_spans_build(const struct rapt_spans_source *source,
                             const rapt_allocator *allocator, struct rapt_spans *out_spans);
void rapt_spans_finish(struct rapt_spans *spans, const rapt_allocator *allocator);

/* What plans read of a block table; its first member. Arrays as in mask.h. */
struct rapt_table_parts {
    uint32_t n_seqs, n_q_heads, block_q, block_kv, n_sets, n_rows;
    const uint32_t *row_first; /* [n_seqs + 1] */
    const uint32_t *head_set;  /* [n_q_heads] */
    const int32_t *cu_q, *cu_kv;
    struct rapt_spans spans;
    uint32_t n_tiles, tile_words;
    const uint32_t *bits;
    struct rapt_mask_closed
        closed; /* of the blocks of kind 1; without such blocks all of it unbounded */
};
struct rapt_block_table;
static inline const struct rapt_table_parts *
rapt_table_parts_of(const struct rapt_block_table *table)
{
    return (const struct rapt_table_parts *)(const void *)table;
}

#endif
