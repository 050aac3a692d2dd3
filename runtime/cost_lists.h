/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_COST_LISTS_H
#define RUNTIME_COST_LISTS_H

#include "spans.h"
#include "work.h"

/* Summed over heads: query heads for pairs and rows, key/value heads for keys. */
struct rapt_cost_totals {
    uint64_t head_pairs, head_rows, head_keys;
    uint64_t pairs; /* mean over the query heads */
};

struct rapt_cost_span {
    uint32_t begin, end;
};
/* Keys that at least one of the spans holds. Sorts them. */
uint64_t rapt_cost_covered(struct rapt_cost_span *spans, uint32_t n);

struct rapt_cost_lists {
    const struct rapt_batch *batch;
    const struct rapt_table_parts *table;
    uint32_t n_kv_heads;
};
/* Errors: HOST_MEMORY. */
rapt_status rapt_cost_lists(const struct rapt_cost_lists *in, struct rapt_cost_totals *out_totals);

#endif
