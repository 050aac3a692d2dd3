/* SPDX-License-Identifier: Apache-2.0 */

/* Lists of keys of a step: block tables made on the host, or room for lists made on the device. */

#include "lists.h"

#include "error.h"
#include "plan.h"

#include <string.h>

_Static_assert(sizeof(struct rapt_step_span) == 4 * RAPT_STEP_SPAN_WORDS, "args.h");

static uint32_t log2_of(uint32_t power)
{
    uint32_t n = 0;
    while (power >> n > 1)
        n++;
    return n;
}

static rapt_status check_block(const char *name, uint32_t block, uint32_t least)
{
    if (block < least || block > 256 || (block & (block - 1)) != 0)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s is %u: expected a power of two from %u to 256",
                         name, block, least);
    return RAPT_OK;
}

/* Of every head group its set; the heads of one must agree. */
static rapt_status read_sets(rapt_plan *plan, const struct rapt_table_parts *table)
{
    uint32_t group = plan->work.group;
    for (uint32_t g = 0; g < plan->work.n_groups; g++) {
        plan->list_sets[g] = table->head_set[g * group];
        for (uint32_t h = g * group; h < (g + 1) * group; h++)
            if (table->head_set[h] != plan->list_sets[g])
                return rapt_fail(
                    RAPT_ERROR_SHAPE,
                    "block_table has different masks for the query heads %u and %u, which "
                    "the plan packs together: set its head_group",
                    g * group, h);
    }
    return RAPT_OK;
}

static rapt_status check_table(const rapt_plan *plan, const rapt_step_params *step,
                               const struct rapt_batch *batch, const struct rapt_table_parts *table)
{
    if (step->mask)
        return rapt_fail(RAPT_ERROR_ARGUMENT,
                         "mask and block_table are both set: the table is the whole mask");
    if (table->n_seqs != batch->n_seqs)
        return rapt_fail(RAPT_ERROR_SHAPE, "block_table was made for %u sequences: the step has %u",
                         table->n_seqs, batch->n_seqs);
    if (table->n_q_heads != plan->params.n_q_heads)
        return rapt_fail(RAPT_ERROR_SHAPE,
                         "block_table was made for %u query heads: the plan has %u",
                         table->n_q_heads, plan->params.n_q_heads);
    for (uint32_t b = 0; b < batch->n_seqs; b++) {
        uint32_t q_len = (uint32_t)(table->cu_q[b + 1] - table->cu_q[b]);
        uint32_t kv_len = (uint32_t)(table->cu_kv[b + 1] - table->cu_kv[b]);
        if (q_len != rapt_batch_q_len(batch, b) || kv_len != rapt_batch_kv_len(batch, b))
            return rapt_fail(
                RAPT_ERROR_SHAPE,
                "block_table was made for %u queries and %u keys of sequence %u: the step "
                "has %u and %u",
                q_len, kv_len, b, rapt_batch_q_len(batch, b), rapt_batch_kv_len(batch, b));
    }
    if (table->closed.uses_prefix && !step->prefix)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "prefix is NULL: block_table's mask mentions it");
    return check_block("block_table's block_q", table->block_q, plan->params.list_block_q);
}

static rapt_status read_table(rapt_plan *plan, const rapt_step_params *step,
                              const struct rapt_batch *batch, struct rapt_plan_lists *lists)
{
    const struct rapt_table_parts *table = rapt_table_parts_of(step->block_table);
    rapt_status status = check_table(plan, step, batch, table);
    if (status == RAPT_OK)
        status = read_sets(plan, table);
    if (status != RAPT_OK)
        return status;
    uint64_t n_bit_words = (uint64_t)table->n_tiles * table->tile_words;
    lists->table = table;
    lists->block_q = table->block_q;
    lists->block_kv = table->block_kv;
    lists->n_sets = table->n_sets;
    lists->n_spans = table->spans.n_spans;
    lists->n_bit_words = n_bit_words > UINT32_MAX ? UINT32_MAX : (uint32_t)n_bit_words;
    lists->work = (struct rapt_work_lists){
        .block_q = table->block_q,
        .n_rows = table->n_rows,
        .row_first = table->row_first,
        .spans = &table->spans,
        .first_word = plan->places.spans,
    };
    return RAPT_OK;
}

static rapt_status read_device_lists(rapt_plan *plan, const rapt_step_params *step,
                                     const struct rapt_batch *batch, struct rapt_plan_lists *lists)
{
    rapt_device_lists given;
    rapt_status status =
        rapt_params_read("rapt_device_lists", step->device_lists, &given, sizeof given);
    if (status == RAPT_OK)
        status = check_block("device_lists.block_q", given.block_q, plan->params.list_block_q);
    if (status == RAPT_OK)
        status = check_block("device_lists.block_kv", given.block_kv, 16);
    if (status != RAPT_OK)
        return status;
    if (given.n_sets != 1 && given.n_sets != plan->work.n_groups)
        return rapt_fail(
            RAPT_ERROR_SHAPE,
            "device_lists.n_sets is %u: expected 1, or one for each of the %u head groups",
            given.n_sets, plan->work.n_groups);
    if (given.list_capacity == 0)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "device_lists.list_capacity is 0: expected spans");
    uint64_t n_rows = 0;
    for (uint32_t b = 0; b < batch->n_seqs; b++) {
        plan->list_rows[b] = (uint32_t)n_rows;
        n_rows += ((uint64_t)rapt_batch_q_len(batch, b) + given.block_q - 1) / given.block_q;
    }
    for (uint32_t g = 0; g < plan->work.n_groups; g++)
        plan->list_sets[g] = given.n_sets == 1 ? 0 : g;
    /* a list is its length and its spans: a word more than the spans */
    uint64_t list_words = 1 + (uint64_t)given.list_capacity * RAPT_STEP_SPAN_WORDS;
    uint64_t n_lists = n_rows * given.n_sets; /* each below 2^31 */
    uint64_t words =
        n_lists && list_words > UINT64_MAX / n_lists ? UINT64_MAX : n_lists * list_words;
    uint64_t n_spans = words / RAPT_STEP_SPAN_WORDS + 1;
    lists->block_q = given.block_q;
    lists->block_kv = given.block_kv;
    lists->n_sets = given.n_sets;
    lists->list_capacity = given.list_capacity;
    lists->n_spans = n_spans > UINT32_MAX ? UINT32_MAX : (uint32_t)n_spans;
    lists->n_bit_words = given.bit_words;
    lists->work = (struct rapt_work_lists){
        .block_q = given.block_q,
        .n_rows = (uint32_t)n_rows,
        .row_first = plan->list_rows,
        .first_word = plan->places.spans,
        .list_words = (uint32_t)list_words,
    };
    return RAPT_OK;
}

rapt_status rapt_lists_read(rapt_plan *plan, const rapt_step_params *step,
                            const struct rapt_batch *batch, struct rapt_plan_lists *lists)
{
    memset(lists, 0, sizeof *lists);
    if (!step->block_table && !step->device_lists)
        return RAPT_OK;
    if (!(plan->params.flags & RAPT_PLAN_BLOCKS))
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s is set: the plan has no RAPT_PLAN_BLOCKS",
                         step->block_table ? "block_table" : "device_lists");
    if (step->block_table && step->device_lists)
        return rapt_fail(RAPT_ERROR_ARGUMENT,
                         "block_table and device_lists are both set: give one");
    rapt_status status = step->block_table ? read_table(plan, step, batch, lists)
                                           : read_device_lists(plan, step, batch, lists);
    if (status != RAPT_OK)
        return status;
    lists->used = 1;
    lists->work.group_set = plan->list_sets;
    if (lists->n_spans > plan->params.max_spans || lists->n_bit_words > plan->params.max_bit_words)
        return rapt_fail(
            RAPT_ERROR_CAPACITY,
            "the step's lists need %u spans and %u words of bit tiles: the plan holds %u "
            "and %u (max_spans, max_bit_words)",
            lists->n_spans, lists->n_bit_words, plan->params.max_spans, plan->params.max_bit_words);
    return RAPT_OK;
}

void rapt_lists_mask(const struct rapt_plan_lists *lists, const rapt_mask *step_mask,
                     struct rapt_mask_closed *out_mask)
{
    if (lists->table)
        *out_mask = lists->table->closed;
    else
        rapt_mask_lower(step_mask, out_mask);
}

void rapt_lists_write(const struct rapt_plan *plan, const struct rapt_plan_lists *lists,
                      struct rapt_step_header *header, uint32_t *words)
{
    if (!lists->used) {
        header->features &= ~RAPT_FEAT_BLOCKS;
        return;
    }
    header->blocks_word = plan->places.spans;
    header->bits_word = plan->places.bits;
    header->block_q_shift = log2_of(lists->block_q);
    header->block_kv_shift = log2_of(lists->block_kv);
    header->counts_word = lists->work.list_words;
    if (!lists->table)
        return;
    const struct rapt_table_parts *table = lists->table;
    struct rapt_step_span *to = (struct rapt_step_span *)(words + plan->places.spans);
    for (uint32_t i = 0; i < table->spans.n_spans; i++) {
        const struct rapt_span *span = &table->spans.spans[i];
        uint32_t word =
            span->kind == RAPT_SPAN_BITS ? plan->places.bits + span->tile * table->tile_words : 0;
        to[i] = (struct rapt_step_span){span->begin, span->end, word * 4 + span->kind};
    }
    if (table->n_tiles)
        memcpy(words + plan->places.bits, table->bits,
               (size_t)table->n_tiles * table->tile_words * sizeof(uint32_t));
}
