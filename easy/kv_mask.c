/* SPDX-License-Identifier: Apache-2.0 */
/* What the layers of a group see: causal, within its window, and the sink tokens before that. The
 * last is two intervals, for which every step has a block table. */
#include "kv_cache.h"

#include "checked.h"

#include <stdio.h>

#define BLOCK 64
/* Of one list: sinks and the window's start and end, each cut by the edges of blocks and of what
 * the queries of a block see. */
#define MAX_SPANS 8
#define MAX_TILES 6

int rapt_kv_mask_needs_table(const struct kv_group *group)
{
    return group->window > 0 && group->sink_tokens > 0;
}

rapt_status rapt_kv_mask_create(rapt_easy_cache *cache, struct kv_group *group)
{
    char text[96] = "causal";
    if (rapt_kv_mask_needs_table(group))
        snprintf(text, sizeof text, "causal & (window(%u, 0) | sink_tokens(%u))", group->window - 1,
                 group->sink_tokens);
    else if (group->window > 0)
        snprintf(text, sizeof text, "causal & window(%u, 0)", group->window - 1);
    return rapt_mask_parse(cache->allocator, text, NULL, &group->mask);
}

void rapt_kv_mask_plan(const rapt_easy_cache *cache, const struct kv_group *group,
                       rapt_plan_params *inout_plan)
{
    uint64_t lists = (uint64_t)cache->params.max_total_q / BLOCK + cache->params.max_batch;
    uint64_t sinks = group->sink_tokens / BLOCK + MAX_SPANS;
    if (!rapt_kv_mask_needs_table(group))
        return;
    inout_plan->flags |= RAPT_PLAN_BLOCKS;
    inout_plan->list_block_q = BLOCK;
    inout_plan->max_spans = (uint32_t)(lists * sinks < 1u << 29 ? lists * sinks : 1u << 29);
    uint64_t words = rapt_mul_sat(lists, MAX_TILES * BLOCK * BLOCK / 32);
    inout_plan->max_bit_words = (uint32_t)(words < 1u << 29 ? words : 1u << 29);
}

rapt_status rapt_kv_mask_step(rapt_easy_cache *cache, struct kv_group *group,
                              rapt_step_params *inout_step)
{
    if (!rapt_kv_mask_needs_table(group)) {
        inout_step->mask = group->mask;
        return RAPT_OK;
    }
    int64_t total = 0;
    for (uint32_t i = 0; i < cache->n_seqs; i++) {
        cache->cu_kv[i] = (int32_t)total;
        total += (int64_t)cache->n_before[i] + cache->n_new[i];
        if (total > INT32_MAX)
            return rapt_fail(
                RAPT_ERROR_CAPACITY,
                "the step's sequences hold 2^31 tokens and more: too many for layers with "
                "window and sink_tokens");
    }
    cache->cu_kv[cache->n_seqs] = (int32_t)total;
    rapt_block_table_params params = {
        .struct_size = sizeof params,
        .allocator = cache->allocator,
        .mask = group->mask,
        .batch = {.struct_size = sizeof params.batch,
                  .n_seqs = cache->n_seqs,
                  .cu_q = cache->cu_q,
                  .cu_kv = cache->cu_kv,
                  .n_q_heads = cache->params.n_q_heads},
        .block_q = BLOCK,
        .block_kv = BLOCK,
    };
    rapt_status status = group->table ? rapt_block_table_extend(group->table, &params)
                                      : rapt_block_table_create(&params, &group->table);
    inout_step->block_table = group->table;
    return status;
}

void rapt_kv_mask_destroy(struct kv_group *group)
{
    rapt_block_table_destroy(&group->table);
    rapt_mask_destroy(&group->mask);
}
