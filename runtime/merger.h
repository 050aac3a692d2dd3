/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_MERGER_H
#define RUNTIME_MERGER_H

/* A merger whose records are counted per slot, and a merge in two halves: everything that can be
 * refused, then the dispatch. */

#include "pipeline.h"

struct rapt_merge {
    struct rapt_bindings bindings;
    struct rapt_push push; /* count 0 = there are no rows */
};

rapt_status rapt_merger_create_slots(rapt_device *device, uint32_t n_slots, uint32_t max_records,
                                     rapt_merger **out_merger);
rapt_status rapt_merger_check(const rapt_merger *merger, uint32_t slot,
                              const rapt_merge_params *params, struct rapt_merge *out_merge);
rapt_status rapt_merger_dispatch(rapt_merger *merger, uint32_t slot, VkCommandBuffer commands,
                                 const struct rapt_merge *merge);
void rapt_merger_reset_slot(rapt_merger *merger, uint32_t slot);

#endif
