/* SPDX-License-Identifier: Apache-2.0 */

/* The work of a step whose mask is a block table: pairs counted from its spans and bits. */

#include "cost_lists.h"

#include "args.h"
#include "checked.h"
#include "error.h"

#include <stdlib.h>

static uint32_t n_bits(uint32_t x)
{
    uint32_t n = 0;
    for (; x; x &= x - 1)
        n++;
    return n;
}

/* What one query token sees of a span. */
static uint64_t seen(const struct rapt_cost_lists *in, uint32_t b, uint32_t token,
                     const struct rapt_span *span)
{
    const struct rapt_table_parts *table = in->table;
    uint64_t n = 0;
    uint32_t begin, end;
    switch (span->kind) {
    case RAPT_SPAN_FULL:
        return span->end - span->begin;
    case RAPT_SPAN_CLOSED:
        rapt_work_key_range(in->batch, &table->closed, b, token, 1, &begin, &end);
        begin = begin > span->begin ? begin : span->begin;
        end = end < span->end ? end : span->end;
        return end > begin ? end - begin : 0;
    default: {
        uint32_t row_words = (table->block_kv + 31) / 32;
        const uint32_t *row = table->bits + (size_t)span->tile * table->tile_words +
                              (size_t)(token % table->block_q) * row_words;
        for (uint32_t w = 0; w < row_words; w++)
            n += n_bits(row[w]);
        return n;
    }
    }
}

static uint32_t heads_of_set(const struct rapt_table_parts *table, uint32_t set, uint32_t first,
                             uint32_t n_heads)
{
    uint32_t n = 0;
    for (uint32_t h = first; h < first + n_heads; h++)
        n += table->head_set[h] == set;
    return n;
}

static void add_rows(const struct rapt_cost_lists *in, uint32_t b, struct rapt_cost_totals *totals)
{
    const struct rapt_table_parts *table = in->table;
    uint32_t q_len = rapt_batch_q_len(in->batch, b);
    for (uint32_t set = 0; set < table->n_sets; set++) {
        uint32_t n_heads = heads_of_set(table, set, 0, table->n_q_heads);
        for (uint32_t i = 0; n_heads && i < q_len; i++) {
            uint32_t list = set * table->n_rows + table->row_first[b] + i / table->block_q;
            uint64_t n = 0;
            for (uint32_t k = table->spans.indptr[list]; k < table->spans.indptr[list + 1]; k++)
                n += seen(in, b, i, &table->spans.spans[k]);
            totals->head_pairs = rapt_add_sat(totals->head_pairs, rapt_mul_sat(n, n_heads));
            totals->head_rows += n ? n_heads : 0;
        }
    }
}

/* Keys that the lists of a KV head name. `scratch` has room for all spans. */
static void add_keys(const struct rapt_cost_lists *in, uint32_t b, uint32_t kv_head,
                     struct rapt_cost_span *scratch, struct rapt_cost_totals *totals)
{
    const struct rapt_table_parts *table = in->table;
    uint32_t group = table->n_q_heads / in->n_kv_heads, n = 0;
    for (uint32_t set = 0; set < table->n_sets; set++) {
        if (!heads_of_set(table, set, kv_head * group, group))
            continue;
        uint32_t first = set * table->n_rows + table->row_first[b];
        uint32_t end = set * table->n_rows + table->row_first[b + 1];
        for (uint32_t k = table->spans.indptr[first]; k < table->spans.indptr[end]; k++)
            scratch[n++] =
                (struct rapt_cost_span){table->spans.spans[k].begin, table->spans.spans[k].end};
    }
    totals->head_keys += rapt_cost_covered(scratch, n);
}

rapt_status rapt_cost_lists(const struct rapt_cost_lists *in, struct rapt_cost_totals *out_totals)
{
    struct rapt_cost_span *scratch =
        rapt_alloc(NULL, (size_t)in->table->spans.n_spans + 1, sizeof *scratch);
    if (!scratch)
        return rapt_fail(RAPT_ERROR_HOST_MEMORY, "no memory for %u spans",
                         in->table->spans.n_spans);
    *out_totals = (struct rapt_cost_totals){0};
    for (uint32_t b = 0; b < in->batch->n_seqs; b++) {
        add_rows(in, b, out_totals);
        for (uint32_t h = 0; h < in->n_kv_heads; h++)
            add_keys(in, b, h, scratch, out_totals);
    }
    rapt_free(NULL, scratch);
    out_totals->pairs = out_totals->head_pairs / in->table->n_q_heads;
    return RAPT_OK;
}
