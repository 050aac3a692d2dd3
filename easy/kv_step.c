/* SPDX-License-Identifier: Apache-2.0 */
/* A step: tokens admitted, pages copied, tables prepared; then layer by layer. */
#include "kv_cache.h"

#include "convert.h"

#include <string.h>

rapt_status rapt_kv_idle(rapt_easy_cache *cache)
{
    if (!cache)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "cache is NULL");
    if (cache->in_step)
        return rapt_fail(RAPT_ERROR_ARGUMENT,
                         "a step is open: end it with rapt_easy_cache_step_end or step_cancel");
    return rapt_easy_alive(cache->easy);
}

/* ---------------------------------------------------------------------------------- page copies */

rapt_status rapt_kv_copies_reserve(rapt_easy_cache *cache, uint32_t n_more)
{
    uint32_t n = 0;
    rapt_status status = rapt_pager_take_copies(cache->pager, 0, NULL, &n);
    if (status != RAPT_OK && status != RAPT_ERROR_CAPACITY)
        return status;
    if (n > UINT32_MAX / 2 - n_more)
        return rapt_fail(RAPT_ERROR_HOST_MEMORY, "%u page copies are waiting", n);
    if (n + n_more <= cache->copy_capacity)
        return RAPT_OK;
    rapt_page_copy *copies = rapt_alloc(cache->allocator, n + n_more, sizeof *copies);
    if (!copies)
        return rapt_fail(RAPT_ERROR_HOST_MEMORY, "out of host memory for %u page copies",
                         n + n_more);
    rapt_free(cache->allocator, cache->copies);
    cache->copies = copies;
    cache->copy_capacity = n + n_more;
    return RAPT_OK;
}

/* Without the copier, for planes that no single binding reaches: a region for each row of layers
 * and planes. A chained copy waits for the one before it, token by token. */
static void copy_by_transfer(rapt_easy_cache *cache, VkCommandBuffer commands,
                             const rapt_page_copy *copy)
{
    rapt_easy *easy = cache->easy;
    const struct kv_group *group = &cache->groups[copy->group];
    uint32_t n_pieces = copy->chained ? copy->n_tokens : 1;
    uint32_t n_tokens = copy->chained ? 1 : copy->n_tokens;
    for (uint32_t piece = 0; piece < n_pieces; piece++) {
        if (copy->chained)
            rapt_easy_barrier(easy, commands);
        for (uint32_t layer = 0; layer < group->n_layers; layer++) {
            for (uint32_t i = 0; i < KV_N_PLANES; i++) {
                const struct kv_plane *plane = &group->planes[i];
                const struct kv_place *place = &group->places[layer * KV_N_PLANES + i];
                uint64_t token_bytes = (uint64_t)plane->n_rows * plane->row_bytes;
                VkBuffer pool = cache->pools[place->buffer]->buffer;
                VkBufferCopy region = {
                    .srcOffset = place->offset + copy->from_page * plane->page_bytes +
                                 (copy->from_token + piece) * token_bytes,
                    .dstOffset = place->offset + copy->to_page * plane->page_bytes +
                                 (copy->to_token + piece) * token_bytes,
                    .size = n_tokens * token_bytes,
                };
                if (region.size > 0)
                    easy->vk.vkCmdCopyBuffer(commands, pool, pool, 1, &region);
            }
        }
    }
}

#define MAX_COPIES 1024 /* of one submission */

static rapt_status run_copies(rapt_easy_cache *cache, rapt_page_copy *copies, uint32_t n)
{
    VkCommandBuffer commands;
    rapt_status status = rapt_easy_begin(cache->easy, &commands);
    /* What a submission before did needs no chain. */
    copies[0].chained = 0;
    for (uint32_t g = 0; status == RAPT_OK && g < cache->params.n_groups; g++) {
        struct kv_group *group = &cache->groups[g];
        if (group->n_copy_tensors > 0)
            status = rapt_copier_record(cache->copier, commands, g, g, n, copies,
                                        group->n_copy_tensors, group->copy_tensors);
    }
    for (uint32_t i = 0; status == RAPT_OK && i < n; i++) {
        if (cache->groups[copies[i].group].n_copy_tensors == 0)
            copy_by_transfer(cache, commands, &copies[i]);
    }
    double seconds = 0;
    if (status == RAPT_OK)
        status = rapt_easy_submit_wait(cache->easy, &seconds);
    cache->copy_seconds += seconds;
    return status;
}

rapt_status rapt_kv_copies_run(rapt_easy_cache *cache)
{
    uint32_t n = 0;
    cache->n_copies = 0;
    cache->copy_seconds = 0;
    rapt_status status =
        rapt_pager_take_copies(cache->pager, cache->copy_capacity, cache->copies, &n);
    for (uint32_t i = 0; status == RAPT_OK && i < n; i += MAX_COPIES)
        status = run_copies(cache, cache->copies + i, n - i < MAX_COPIES ? n - i : MAX_COPIES);
    if (status == RAPT_OK) {
        cache->n_copies = n;
    } else if (n > 0) {
        /* The pager believes these pages are copied; nothing read from them would be right. */
        cache->easy->lost = 1;
    }
    return status;
}

/* -------------------------------------------------------------------------------------- begin */

static rapt_status check_lengths(rapt_easy_cache *cache, uint32_t n_seqs, const rapt_seq *seqs,
                                 const uint32_t *n_new)
{
    const rapt_easy_cache_params *params = &cache->params;
    uint64_t total = 0;
    if (n_seqs < 1 || !seqs || !n_new)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s",
                         n_seqs < 1 ? "n_seqs is 0: expected at least 1"
                         : seqs     ? "n_new is NULL"
                                    : "seqs is NULL");
    if (n_seqs > params->max_batch)
        return rapt_fail(RAPT_ERROR_CAPACITY, "n_seqs is %u: the cache was made for max_batch %u",
                         n_seqs, params->max_batch);
    for (uint32_t i = 0; i < n_seqs; i++) {
        rapt_seq_info info = {.struct_size = sizeof info};
        rapt_status status = rapt_pager_seq_get_info(cache->pager, seqs[i], &info);
        if (status != RAPT_OK)
            return status;
        if (n_new[i] > params->max_kv_len || info.n_tokens > params->max_kv_len - n_new[i])
            return rapt_fail(
                RAPT_ERROR_CAPACITY,
                "seqs[%u] has %u tokens, %u more: the cache was made for max_kv_len %u", i,
                info.n_tokens, n_new[i], params->max_kv_len);
        cache->seqs[i] = seqs[i];
        cache->n_new[i] = n_new[i];
        cache->n_before[i] = info.n_tokens;
        cache->cu_q[i] = (int32_t)total;
        total += n_new[i];
        if (total > params->max_total_q)
            return rapt_fail(RAPT_ERROR_CAPACITY,
                             "n_new sums up to more than %u tokens, for which the cache was made "
                             "(max_total_q)",
                             params->max_total_q);
    }
    if (total == 0)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "n_new is 0 for every sequence");
    cache->cu_q[n_seqs] = (int32_t)total;
    cache->n_seqs = n_seqs;
    cache->total_q = (uint32_t)total;
    return RAPT_OK;
}

static rapt_status prepare_group(rapt_easy_cache *cache, uint32_t g)
{
    struct kv_group *group = &cache->groups[g];
    rapt_status status =
        rapt_pager_tables(cache->pager, g, cache->n_seqs, cache->seqs, &group->block_tables);
    if (status != RAPT_OK)
        return status;
    rapt_step_params params = {
        .struct_size = sizeof params,
        .n_seqs = cache->n_seqs,
        .cu_q = cache->cu_q,
        .page_indptr = group->block_tables.page_indptr,
        .page_indices = group->block_tables.page_indices,
        .last_page_len = group->block_tables.last_page_len,
        .n_pool_pages = group->n_pages,
    };
    status = rapt_kv_mask_step(cache, group, &params);
    if (status != RAPT_OK)
        return status;
    group->step = (rapt_step){.struct_size = sizeof group->step};
    return rapt_plan_prepare(group->plan, &params, &group->step);
}

/* Takes the tokens of the step back. What the prefix cache made of them never got its keys, so it
 * is emptied. Returns the first error. */
static rapt_status take_back(rapt_easy_cache *cache)
{
    rapt_status first = RAPT_OK;
    for (uint32_t i = 0; i < cache->n_seqs; i++) {
        rapt_status status =
            cache->n_new[i] ? rapt_pager_truncate(cache->pager, cache->seqs[i], cache->n_before[i])
                            : RAPT_OK;
        if (first == RAPT_OK)
            first = status;
    }
    rapt_pager_drop_cache(cache->pager);
    return first;
}

rapt_status rapt_easy_cache_step_begin(rapt_easy_cache *cache, uint32_t n_seqs,
                                       const rapt_seq *seqs, const uint32_t *n_new,
                                       const int32_t *tokens)
{
    rapt_status status = rapt_kv_idle(cache);
    if (status == RAPT_OK)
        status = check_lengths(cache, n_seqs, seqs, n_new);
    /* All that can fail for want of memory comes before anything is changed. */
    if (status == RAPT_OK)
        status = rapt_kv_copies_reserve(cache, n_seqs * cache->params.n_groups);
    if (status == RAPT_OK)
        status = rapt_pager_append_batch(cache->pager, n_seqs, seqs, n_new, tokens);
    if (status != RAPT_OK)
        return status;
    status = rapt_kv_copies_run(cache);
    for (uint32_t g = 0; status == RAPT_OK && g < cache->params.n_groups; g++)
        status = prepare_group(cache, g);
    if (status != RAPT_OK) {
        char why[512];
        strncpy(why, rapt_last_error(), sizeof why - 1);
        why[sizeof why - 1] = 0;
        take_back(cache);
        return rapt_fail(status, "%s", why);
    }
    memset(cache->layer_done, 0, cache->params.n_layers);
    cache->layer_seconds = 0;
    cache->in_step = 1;
    return RAPT_OK;
}

/* -------------------------------------------------------------------------------------- layers */

static rapt_status check_layer(const rapt_easy_cache *cache, uint32_t layer)
{
    if (!cache)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "cache is NULL");
    if (!cache->in_step)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "no step is open: begin one with "
                                              "rapt_easy_cache_step_begin");
    if (layer >= cache->params.n_layers)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "layer is %u: the cache has %u", layer,
                         cache->params.n_layers);
    if (cache->layer_done[layer])
        return rapt_fail(RAPT_ERROR_ARGUMENT, "layer %u has been computed in this step", layer);
    return rapt_easy_alive(cache->easy);
}

static void put_inputs(rapt_easy_cache *cache, const struct kv_group *group, const float *q,
                       const float *k_new, const float *v_new)
{
    size_t rows = (size_t)cache->total_q * group->n_kv_heads;
    size_t n_q = (size_t)cache->total_q * cache->params.n_q_heads * group->head_dim;
    memcpy(cache->k_new->mapped, k_new, rows * group->head_dim * sizeof *k_new);
    memcpy(cache->v_new->mapped, v_new, rows * group->head_dim_v * sizeof *v_new);
    if (cache->params.q_type == RAPT_TYPE_F32) {
        memcpy(cache->q->mapped, q, n_q * sizeof *q);
        return;
    }
    for (size_t i = 0; i < n_q; i++)
        rapt_store(cache->q->mapped, cache->params.q_type, i, q[i]);
}

static rapt_buffer part_of(const rapt_easy_buffer *buffer, uint64_t offset, uint64_t n_bytes)
{
    rapt_buffer range = rapt_easy_buffer_range(buffer);
    if (range.buffer) {
        range.offset = offset;
        range.size = n_bytes;
    }
    return range;
}

static rapt_status record_layer(rapt_easy_cache *cache, struct kv_group *group, uint32_t layer,
                                VkCommandBuffer commands)
{
    uint32_t at = cache->layer_indices[layer], Hq = cache->params.n_q_heads;
    rapt_append_params append = {
        .struct_size = sizeof append,
        .command_buffer = commands,
        .step = &group->step,
        .k_new = rapt_easy_buffer_range(cache->k_new),
        .v_new = rapt_easy_buffer_range(cache->v_new),
        .k = rapt_kv_pool_range(cache, group, at, KV_K, 0),
        .v = rapt_kv_pool_range(cache, group, at, KV_V, 0),
        .k_scale = rapt_kv_pool_range(cache, group, at, KV_K_SCALE, 0),
        .v_scale = rapt_kv_pool_range(cache, group, at, KV_V_SCALE, 0),
        .rope_table = rapt_easy_buffer_range(group->rope_table),
    };
    if (cache->k_scale) { /* static: rows of the cache's own head count */
        uint64_t row = (uint64_t)cache->params.n_kv_heads * sizeof(float);
        append.k_scale = part_of(cache->k_scale, layer * row, row);
        append.v_scale = part_of(cache->v_scale, layer * row, row);
    }
    for (uint32_t i = 1; i < group->n_segments; i++) {
        append.k_segments[i - 1] = rapt_kv_pool_range(cache, group, at, KV_K, i);
        append.v_segments[i - 1] = rapt_kv_pool_range(cache, group, at, KV_V, i);
    }
    rapt_record_params record = {
        .struct_size = sizeof record,
        .command_buffer = commands,
        .step = &group->step,
        .q = rapt_easy_buffer_range(cache->q),
        .k = append.k,
        .v = append.v,
        .out = rapt_easy_buffer_range(cache->out),
        .sinks = part_of(cache->sinks, (uint64_t)layer * Hq * sizeof(float), Hq * sizeof(float)),
        .k_scale = append.k_scale,
        .v_scale = append.v_scale,
        .rope_table = append.rope_table,
    };
    memcpy(record.k_segments, append.k_segments, sizeof record.k_segments);
    memcpy(record.v_segments, append.v_segments, sizeof record.v_segments);
    rapt_status status = rapt_plan_record_append(group->plan, &append);
    return status == RAPT_OK ? rapt_plan_record(group->plan, &record) : status;
}

rapt_status rapt_easy_cache_step_layer(rapt_easy_cache *cache, uint32_t layer, const float *q,
                                       const float *k_new, const float *v_new, float *out)
{
    rapt_status status = check_layer(cache, layer);
    if (status == RAPT_OK && (!q || !k_new || !v_new || !out))
        status = rapt_fail(RAPT_ERROR_ARGUMENT, "%s is NULL",
                           !q       ? "q"
                           : !k_new ? "k_new"
                           : !v_new ? "v_new"
                                    : "out");
    if (status != RAPT_OK)
        return status;
    struct kv_group *group = &cache->groups[cache->layer_groups[layer]];
    VkCommandBuffer commands;
    double seconds = 0;
    put_inputs(cache, group, q, k_new, v_new);
    status = rapt_easy_begin(cache->easy, &commands);
    if (status == RAPT_OK)
        status = record_layer(cache, group, layer, commands);
    if (status == RAPT_OK)
        status = rapt_easy_submit_wait(cache->easy, &seconds);
    if (status != RAPT_OK)
        return status;
    memcpy(out, cache->out->mapped,
           (size_t)cache->total_q * cache->params.n_q_heads * group->head_dim_v * sizeof *out);
    cache->layer_done[layer] = 1;
    cache->layer_seconds += seconds;
    return RAPT_OK;
}

/* ----------------------------------------------------------------------------------------- end */

static rapt_status check_step(const rapt_easy_cache *cache)
{
    if (!cache)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "cache is NULL");
    if (!cache->in_step)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "no step is open");
    return RAPT_OK;
}

static void close_step(rapt_easy_cache *cache)
{
    for (uint32_t g = 0; g < cache->params.n_groups; g++)
        rapt_plan_slot_done(cache->groups[g].plan, 0);
    cache->in_step = 0;
}

rapt_status rapt_easy_cache_step_end(rapt_easy_cache *cache)
{
    rapt_status status = check_step(cache);
    for (uint32_t i = 0; status == RAPT_OK && i < cache->params.n_layers; i++) {
        if (!cache->layer_done[i])
            status =
                rapt_fail(RAPT_ERROR_ARGUMENT, "layer %u has not been computed in this step", i);
    }
    if (status == RAPT_OK)
        close_step(cache);
    return status;
}

rapt_status rapt_easy_cache_step_cancel(rapt_easy_cache *cache)
{
    rapt_status status = check_step(cache);
    if (status != RAPT_OK)
        return status;
    close_step(cache);
    return take_back(cache);
}
