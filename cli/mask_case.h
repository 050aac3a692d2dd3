/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_MASK_CASE_H
#define CLI_MASK_CASE_H

/* One sequence under a mask, as its block table: for `rapt mask` and its picture. */

#include "mask_options.h"

struct mask_case {
    const char *expression;
    uint32_t n_q, n_kv, n_heads;
    int32_t cu_q[2], cu_kv[2], q_pos0, kv_pos0;
    uint64_t n_bytes; /* that the table holds */
    rapt_mask *mask; /* of heads without one of their own */
    struct mask_input input;
    rapt_block_table *table;
    rapt_block_table_view view;
    double seconds; /* to build it */
};

/* Of all heads (a set counts once for each of its heads), or of one set once. */
struct mask_counts {
    uint64_t n_listed, n_full, n_partial, n_bits; /* blocks; n_bits of the partial ones */
    uint64_t listed_pairs, allowed_pairs, dense_pairs;
};

/* Builds the table of what the members before `table` say. 0 or an exit code after a line. */
int mask_case_build(struct mask_case *mask_case, uint32_t block_q, uint32_t block_kv);
void mask_case_finish(struct mask_case *mask_case);

struct mask_counts mask_case_count_set(const struct mask_case *mask_case, uint32_t set);
struct mask_counts mask_case_count(const struct mask_case *mask_case);
/* "h0-h3, h8": the heads of a set, cut to what `text` holds. */
char *mask_case_heads(const struct mask_case *mask_case, uint32_t set, char *text,
                      size_t text_bytes);
/* What the mask of a set was given as. */
const char *mask_case_text(const struct mask_case *mask_case, uint32_t set);
/* How many of keys [first, end) query i may see; all of them keys of the block of `entry`, which is
 * in i's row of `set`. */
uint32_t mask_case_allowed(const struct mask_case *mask_case, uint32_t set, uint32_t entry,
                           uint32_t i, uint32_t first, uint32_t end);

#endif
