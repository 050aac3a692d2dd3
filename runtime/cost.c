/* SPDX-License-Identifier: Apache-2.0 */

/* Exact work of a step. Masks are intervals of keys per row, so a row costs a few comparisons,
 * whatever its length. */

#include "plan.h"

#include "batch.h"
#include "checked.h"
#include "cost_lists.h"
#include "error.h"
#include "kv_format.h"
#include "step_inputs.h"

#include <stdlib.h>

static int by_begin(const void *a, const void *b)
{
    uint32_t x = ((const struct rapt_cost_span *)a)->begin,
             y = ((const struct rapt_cost_span *)b)->begin;
    return (x > y) - (x < y);
}

uint64_t rapt_cost_covered(struct rapt_cost_span *spans, uint32_t n)
{
    uint64_t keys = 0;
    uint32_t reached = 0;
    qsort(spans, n, sizeof *spans, by_begin);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t begin = spans[i].begin > reached ? spans[i].begin : reached;
        if (spans[i].end <= begin)
            continue;
        keys += spans[i].end - begin;
        reached = spans[i].end;
    }
    return keys;
}

struct totals {
    uint64_t pairs, rows, keys;
};

/* One sequence. `spans` has room for its rows when positions come in any order. */
static void add_sequence(const struct rapt_batch *batch, const struct rapt_mask_closed *mask,
                         uint32_t b, struct rapt_cost_span *spans, struct totals *totals)
{
    uint32_t q_len = rapt_batch_q_len(batch, b), n_spans = 0;
    for (uint32_t i = 0; i < q_len; i++) {
        struct rapt_cost_span span;
        rapt_work_key_range(batch, mask, b, i, 1, &span.begin, &span.end);
        if (span.begin == span.end)
            continue;
        totals->pairs = rapt_add_sat(totals->pairs, span.end - span.begin);
        totals->rows++;
        if (spans)
            spans[n_spans++] = span;
    }
    if (spans) {
        totals->keys += rapt_cost_covered(spans, n_spans);
    } else if (q_len) {
        /* consecutive positions: their intervals touch */
        struct rapt_cost_span all;
        rapt_work_key_range(batch, mask, b, 0, q_len, &all.begin, &all.end);
        totals->keys += all.end - all.begin;
    }
}

static rapt_status read_batch(const rapt_plan_params *plan, const rapt_step_params *step,
                              struct rapt_batch *out_batch)
{
    *out_batch = rapt_step_batch(step, plan->flags & RAPT_PLAN_PAGED ? plan->page_size : 0);
    return rapt_batch_check(out_batch);
}

static rapt_status count_ranges(const rapt_plan_params *p, const struct rapt_batch *batch,
                                struct rapt_cost_totals *out_totals)
{
    struct rapt_cost_span *spans = NULL;
    if (batch->q_pos) {
        spans = rapt_alloc(NULL, (size_t)batch->cu_q[batch->n_seqs], sizeof *spans);
        if (!spans)
            return rapt_fail(RAPT_ERROR_HOST_MEMORY, "no memory for %d rows",
                             batch->cu_q[batch->n_seqs]);
    }
    struct rapt_mask_closed mask;
    struct totals totals = {0};
    rapt_mask_lower(batch->mask, &mask);
    for (uint32_t b = 0; b < batch->n_seqs; b++)
        add_sequence(batch, &mask, b, spans, &totals);
    rapt_free(NULL, spans);
    out_totals->pairs = totals.pairs;
    out_totals->head_pairs = rapt_mul_sat(totals.pairs, p->n_q_heads);
    out_totals->head_rows = rapt_mul_sat(totals.rows, p->n_q_heads);
    out_totals->head_keys = rapt_mul_sat(totals.keys, p->n_kv_heads);
    return RAPT_OK;
}

/* Of K and V of one token, all heads, with the scales that are kept for it. */
static uint64_t kv_token_bytes(const rapt_plan_params *p)
{
    uint32_t unit = rapt_kv_unit(p->kv_type);
    uint64_t rows = (uint64_t)unit *
                    (rapt_kv_row(p->kv_type, p->head_dim) + rapt_kv_row(p->kv_type, p->head_dim_v));
    uint64_t scales =
        rapt_type_bytes(p->scale_type) * ((uint64_t)rapt_kv_row_scales(p->kv_type, p->head_dim) +
                                          rapt_kv_row_scales(p->kv_type, p->head_dim_v));
    if (p->scale_kind == RAPT_SCALE_STATIC)
        scales = 0;
    return p->n_kv_heads * rows + (p->scale_kind == RAPT_SCALE_TOKEN ? 1 : p->n_kv_heads) * scales;
}

rapt_status rapt_plan_cost(const rapt_plan_params *params, const rapt_step_params *step,
                           rapt_cost *out_cost)
{
    if (!out_cost || out_cost->struct_size < sizeof out_cost->struct_size)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s",
                         out_cost ? "out_cost.struct_size is 0: set it to sizeof(rapt_cost)"
                                  : "out_cost is NULL");
    rapt_plan_params p;
    rapt_step_params s;
    struct rapt_batch batch;
    rapt_status status = rapt_plan_params_check(params, &p);
    if (status == RAPT_OK)
        status = rapt_params_read("rapt_step_params", step, &s, sizeof s);
    if (status == RAPT_OK)
        status = read_batch(&p, &s, &batch);
    if (status != RAPT_OK)
        return status;
    struct rapt_cost_totals totals = {0};
    const struct rapt_cost_lists lists = {&batch, rapt_table_parts_of(s.block_table), p.n_kv_heads};
    status = s.block_table ? rapt_cost_lists(&lists, &totals) : count_ranges(&p, &batch, &totals);
    if (status != RAPT_OK)
        return status;
    uint64_t dims = (uint64_t)p.head_dim + p.head_dim_v;
    rapt_cost cost = {
        .struct_size = sizeof cost,
        .pairs = totals.pairs,
        .flops = rapt_mul_sat(totals.head_pairs, 2 * dims),
        .exponentials = totals.head_pairs,
        .q_bytes = rapt_mul_sat(totals.head_rows, p.head_dim * (uint64_t)rapt_type_bytes(p.q_type)),
        .kv_bytes = rapt_mul_sat(totals.head_keys, kv_token_bytes(&p)) / p.n_kv_heads,
        .out_bytes =
            rapt_mul_sat(totals.head_rows, p.head_dim_v * (uint64_t)rapt_type_bytes(p.out_type)),
    };
    rapt_params_write(out_cost, &cost, sizeof cost);
    return RAPT_OK;
}
