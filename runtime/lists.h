/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_LISTS_H
#define RUNTIME_LISTS_H

/* The lists of keys a step brings: checked, and written into its slot. */

#include "spans.h"
#include "work.h"

struct rapt_plan;

/* A step's lists; all zero = none. */
struct rapt_plan_lists {
    const struct rapt_table_parts *table; /* NULL with `used`: made on the device */
    int used;
    uint32_t block_q, block_kv, n_sets, list_capacity;
    uint32_t n_spans, n_bit_words; /* what they take */
    struct rapt_work_lists work;
};

/* Errors: ARGUMENT, SHAPE (another batch than the table was made for), CAPACITY: n_spans and
 * n_bit_words then hold what is needed. */
rapt_status rapt_lists_read(struct rapt_plan *plan, const rapt_step_params *step,
                            const struct rapt_batch *batch, struct rapt_plan_lists *out_lists);
/* The closed form that bounds lists and tests CLOSED spans. */
void rapt_lists_mask(const struct rapt_plan_lists *lists, const rapt_mask *step_mask,
                     struct rapt_mask_closed *out_mask);
void rapt_lists_write(const struct rapt_plan *plan, const struct rapt_plan_lists *lists,
                      struct rapt_step_header *header, uint32_t *words);

#endif
