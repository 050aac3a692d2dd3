/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MASKS_TABLE_H
#define MASKS_TABLE_H

/* Block tables inside the room: the object, the checked parameters, and the builder. */

#include "expr.h"
#include "input.h"
#include "spans.h"

/* Heads that share lists: one mask, and if that reads arrays by head, one head. */
struct rapt_table_set {
    const rapt_mask *mask; /* the caller's: only while the table is built */
    uint32_t head;
    int per_head;
};

/* What a table was made from, as far as a later one is compared with it. */
struct rapt_table_origin {
    struct rapt_mask_term *terms; /* of all sets, in turn */
    uint32_t *term_first;         /* [n_sets + 1] */
};

struct rapt_block_table {
    struct rapt_table_parts parts; /* first: what plans read */
    const rapt_allocator *allocator;
    rapt_allocator allocator_copy;
    uint32_t *indptr, *indices, *tiles;
    uint8_t *kinds;
    int closed, all_bits;
    uint64_t n_entries, n_full, n_partial, n_pairs;
};

/* Parameters, read and checked. */
struct rapt_table_request {
    rapt_block_table_params params;
    struct rapt_mask_input input;
    uint32_t needs; /* of all masks */
};
rapt_status rapt_table_request_open(const rapt_block_table_params *params,
                                    struct rapt_table_request *out_request);

/* Builds into `table`, whose allocator is set and whose arrays are NULL; what it has made on
 * failure is freed with rapt_table_clear. */
rapt_status rapt_table_build(const struct rapt_table_request *request,
                             struct rapt_block_table *table);
void rapt_table_clear(struct rapt_block_table *table);

#endif
