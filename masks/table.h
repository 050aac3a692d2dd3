/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MASKS_TABLE_H
#define MASKS_TABLE_H

/* Block tables inside the room: the object, the checked parameters, and the builder. */

#include "origin.h"
#include "spans.h"

struct rapt_block_table {
    struct rapt_table_parts parts; /* first: what plans read */
    const rapt_allocator *allocator;
    rapt_allocator allocator_copy;
    uint32_t *indptr, *indices, *tiles;
    uint8_t *kinds;
    int closed, all_bits;
    uint64_t n_entries, n_full, n_partial, n_pairs;
    struct rapt_table_origin origin;
    uint64_t n_kept; /* rows taken over from the table it goes on from */
};

/* Builds into `table`, whose allocator is set and whose arrays are NULL; what it has made on
 * failure is freed with rapt_table_clear. Rows of `old`, if not NULL, that cannot have changed are
 * copied. */
rapt_status rapt_table_build(const struct rapt_table_request *request,
                             const struct rapt_block_table *old, struct rapt_block_table *table);
void rapt_table_clear(struct rapt_block_table *table);

#endif
