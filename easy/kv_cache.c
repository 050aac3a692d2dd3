/* SPDX-License-Identifier: Apache-2.0 */
#include "kv_cache.h"

#include "checked.h"

#include <stdio.h>
#include <string.h>

/* ---------------------------------------------------------------------------------- parameters */

static void fill_defaults(rapt_easy_cache_params *params)
{
    if (params->head_dim_v == 0)
        params->head_dim_v = params->head_dim;
    if (params->page_size == 0)
        params->page_size = 16;
    if (params->q_type == RAPT_TYPE_DEFAULT)
        params->q_type = RAPT_TYPE_F32;
    if (params->kv_type == RAPT_TYPE_DEFAULT)
        params->kv_type = RAPT_TYPE_F16;
    if (params->scale_type == RAPT_TYPE_DEFAULT)
        params->scale_type = params->kv_type == RAPT_TYPE_INT4 ? RAPT_TYPE_F16 : RAPT_TYPE_F32;
    if (params->max_batch == 0)
        params->max_batch = 16;
    if (params->max_total_q == 0)
        params->max_total_q = 512;
}

#define MAX_LAYERS 4096
#define MAX_STEP (1u << 20) /* sequences or tokens of a step */

static rapt_status check_numbers(const rapt_easy_cache_params *params)
{
    if (params->n_layers < 1 || params->n_layers > MAX_LAYERS)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "n_layers is %u: expected 1 to %d", params->n_layers,
                         MAX_LAYERS);
    if (params->n_groups < 1 || params->n_groups > RAPT_PAGER_MAX_GROUPS || !params->groups)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "n_groups is %u%s: expected 1 to %d",
                         params->n_groups, params->groups ? "" : ", and groups is NULL",
                         RAPT_PAGER_MAX_GROUPS);
    if (params->page_size > 256 || (params->page_size & (params->page_size - 1)) != 0)
        return rapt_fail(RAPT_ERROR_ARGUMENT,
                         "page_size is %u: expected a power of two from 1 to 256",
                         params->page_size);
    if (rapt_type_bytes(params->q_type) == 0)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "q_type is %s: expected f32, f16 or bf16",
                         rapt_type_name(params->q_type) ? rapt_type_name(params->q_type)
                                                        : "no type");
    if (!rapt_type_name(params->kv_type))
        return rapt_fail(RAPT_ERROR_ARGUMENT, "kv_type is %d: no type", (int)params->kv_type);
    if (params->scale_type != RAPT_TYPE_F32 && params->scale_type != RAPT_TYPE_F16)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "scale_type is %d: expected f32 or f16",
                         (int)params->scale_type);
    if (params->max_batch > MAX_STEP || params->max_total_q > MAX_STEP)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s is %u: expected at most %u",
                         params->max_batch > MAX_STEP ? "max_batch" : "max_total_q",
                         params->max_batch > MAX_STEP ? params->max_batch : params->max_total_q,
                         MAX_STEP);
    int is_static = params->scale_kind == RAPT_SCALE_STATIC &&
                    (params->kv_type == RAPT_TYPE_INT8 || params->kv_type == RAPT_TYPE_FP8_E4M3);
    if (is_static != (params->k_scale != NULL) || is_static != (params->v_scale != NULL))
        return rapt_fail(RAPT_ERROR_ARGUMENT,
                         is_static ? "%s is NULL: RAPT_SCALE_STATIC needs both"
                                   : "%s is set: scale_kind is not RAPT_SCALE_STATIC "
                                     "of int8 or fp8_e4m3",
                         is_static != (params->k_scale != NULL) ? "k_scale" : "v_scale");
    for (uint32_t i = 0; params->layer_groups && i < params->n_layers; i++) {
        if (params->layer_groups[i] >= params->n_groups)
            return rapt_fail(RAPT_ERROR_ARGUMENT, "layer_groups[%u] is %u: there are %u groups", i,
                             params->layer_groups[i], params->n_groups);
    }
    return RAPT_OK;
}

/* Group g: its own numbers or the cache's; which layers are its own. */
static rapt_status read_group(rapt_easy_cache *cache, uint32_t g)
{
    const rapt_easy_cache_params *params = &cache->params;
    const rapt_easy_cache_group *from = &params->groups[g];
    struct kv_group *group = &cache->groups[g];
    group->n_pages = from->n_pages;
    group->window = from->window;
    group->sink_tokens = from->sink_tokens;
    group->n_kv_heads = from->n_kv_heads ? from->n_kv_heads : params->n_kv_heads;
    group->head_dim = from->head_dim ? from->head_dim : params->head_dim;
    group->head_dim_v = from->head_dim_v ? from->head_dim_v
                        : from->head_dim ? from->head_dim
                                         : params->head_dim_v;
    const rapt_rope *rope = from->rope ? from->rope : params->rope;
    group->rotates = rope && rope->pairing != RAPT_ROPE_NONE;
    if (group->n_pages < 1)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "groups[%u].n_pages is 0: expected at least 1", g);
    if (group->n_kv_heads < 1 || params->n_q_heads < 1 || params->n_q_heads > 65535 ||
        params->n_q_heads % group->n_kv_heads != 0)
        return rapt_fail(RAPT_ERROR_ARGUMENT,
                         "n_q_heads is %u, groups[%u].n_kv_heads %u: expected a multiple of it, up "
                         "to 65535",
                         params->n_q_heads, g, group->n_kv_heads);
    if (params->k_scale && group->n_kv_heads != params->n_kv_heads)
        return rapt_fail(
            RAPT_ERROR_ARGUMENT,
            "groups[%u].n_kv_heads is %u: with RAPT_SCALE_STATIC it must be the cache's "
            "%u",
            g, group->n_kv_heads, params->n_kv_heads);
    for (uint32_t i = 0; i < params->n_layers; i++)
        group->n_layers += cache->layer_groups[i] == g;
    if (group->n_layers == 0)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "no layer is in groups[%u]", g);
    group->layers = rapt_alloc(cache->allocator, group->n_layers, sizeof *group->layers);
    if (!group->layers)
        return rapt_fail(RAPT_ERROR_HOST_MEMORY, "out of host memory for a cache");
    for (uint32_t i = 0, n = 0; i < params->n_layers; i++) {
        if (cache->layer_groups[i] == g) {
            cache->layer_indices[i] = n;
            group->layers[n++] = i;
        }
    }
    return RAPT_OK;
}

static rapt_status read_groups(rapt_easy_cache *cache)
{
    rapt_easy_cache_params *params = &cache->params;
    cache->layer_groups = rapt_alloc(cache->allocator, params->n_layers, 1);
    cache->layer_indices =
        rapt_alloc(cache->allocator, params->n_layers, sizeof *cache->layer_indices);
    cache->layer_done = rapt_alloc(cache->allocator, params->n_layers, 1);
    if (!cache->layer_groups || !cache->layer_indices || !cache->layer_done)
        return rapt_fail(RAPT_ERROR_HOST_MEMORY, "out of host memory for a cache");
    if (params->layer_groups)
        memcpy(cache->layer_groups, params->layer_groups, params->n_layers);
    uint64_t longest = 0;
    for (uint32_t g = 0; g < params->n_groups; g++) {
        rapt_status status = read_group(cache, g);
        if (status != RAPT_OK)
            return status;
        uint64_t holds = (uint64_t)cache->groups[g].n_pages * params->page_size;
        longest = holds > longest ? holds : longest;
    }
    if (params->max_kv_len == 0)
        params->max_kv_len = longest < 1u << 29 ? (uint32_t)longest : 1u << 29;
    uint64_t range = cache->easy->caps->max_storage_buffer_range;
    if (params->max_range_bytes == 0 || params->max_range_bytes > range)
        params->max_range_bytes = range;
    return RAPT_OK;
}

static void fill_geometry(rapt_easy_cache *cache)
{
    const rapt_easy_cache_params *params = &cache->params;
    rapt_snapshot_geometry *geometry = &cache->geometry;
    memset(geometry, 0, sizeof *geometry); /* images compare it whole */
    geometry->struct_size = sizeof *geometry;
    geometry->model_key = params->model_key;
    geometry->page_size = params->page_size;
    geometry->undo_tokens = params->undo_tokens;
    geometry->kv_type = params->kv_type;
    geometry->scale_type = params->scale_type;
    geometry->scale_kind = params->scale_kind;
    geometry->n_groups = params->n_groups;
    for (uint32_t g = 0; g < params->n_groups; g++) {
        const struct kv_group *group = &cache->groups[g];
        geometry->groups[g] = (rapt_snapshot_group){
            .window = group->window,
            .sink_tokens = group->sink_tokens,
            .n_layers = group->n_layers,
            .n_kv_heads = group->n_kv_heads,
            .head_dim = group->head_dim,
            .head_dim_v = group->head_dim_v,
            .k_row_bytes = group->planes[KV_K].row_bytes,
            .v_row_bytes = group->planes[KV_V].row_bytes,
            .page_bytes = group->page_bytes,
        };
    }
}

/* ---------------------------------------------------------------------------------------- pager */

static rapt_status make_pager(rapt_easy_cache *cache)
{
    const rapt_easy_cache_params *params = &cache->params;
    rapt_pager_group groups[RAPT_PAGER_MAX_GROUPS] = {{0}};
    for (uint32_t g = 0; g < params->n_groups; g++) {
        groups[g].n_pages = cache->groups[g].n_pages;
        groups[g].window = cache->groups[g].window;
        groups[g].sink_tokens = cache->groups[g].sink_tokens;
    }
    rapt_pager_params pager = {
        .struct_size = sizeof pager,
        .allocator = cache->allocator,
        .page_size = params->page_size,
        .groups = groups,
        .n_groups = params->n_groups,
        .max_seqs = params->max_seqs,
        .undo_tokens = params->undo_tokens,
        .no_prefix_cache = params->no_prefix_cache,
    };
    return rapt_pager_create(&pager, &cache->pager);
}

/* ---------------------------------------------------------------------------------------- plans */

static rapt_status make_plan(rapt_easy_cache *cache, uint32_t g)
{
    const rapt_easy_cache_params *params = &cache->params;
    struct kv_group *group = &cache->groups[g];
    const rapt_rope *rope = params->groups[g].rope ? params->groups[g].rope : params->rope;
    uint64_t pages = ((uint64_t)params->max_kv_len + params->page_size - 1) / params->page_size;
    pages = rapt_mul_sat(pages, params->max_batch);
    if (pages > UINT32_MAX / 8)
        return rapt_fail(RAPT_ERROR_ARGUMENT,
                         "max_batch is %u, max_kv_len %u: tables of %llu pages are too many",
                         params->max_batch, params->max_kv_len, (unsigned long long)pages);
    rapt_plan_params plan = {
        .struct_size = sizeof plan,
        .n_q_heads = params->n_q_heads,
        .n_kv_heads = group->n_kv_heads,
        .head_dim = group->head_dim,
        .head_dim_v = group->head_dim_v,
        .q_type = params->q_type,
        .kv_type = params->kv_type,
        .out_type = RAPT_TYPE_F32,
        .flags = RAPT_PLAN_PAGED | RAPT_PLAN_APPEND | (group->rotates ? RAPT_PLAN_ROPE_Q : 0u) |
                 (params->sinks ? RAPT_PLAN_SINKS : 0u),
        .scale = params->scale,
        .softcap = params->softcap,
        .page_size = params->page_size,
        .max_batch = params->max_batch,
        .max_total_q = params->max_total_q,
        .max_pages = (uint32_t)pages,
        .max_kv_len = params->max_kv_len,
        .n_steps_in_flight = 1,
        .max_records_per_step = 2 * group->n_layers,
        .fixed_split = params->fixed_split,
        .scale_type = params->scale_type,
        .scale_kind = params->scale_kind,
        .integer_dot = params->integer_dot,
        .n_kv_segments = group->n_segments,
        .pages_per_segment = group->n_segments > 1 ? group->pages_per_segment : 0,
        .rope = group->rotates ? rope : NULL,
        .new_type = RAPT_TYPE_F32,
        .tiles = cache->easy->tiles,
    };
    rapt_kv_mask_plan(cache, group, &plan);
    group->block_tables = (rapt_block_tables){
        .struct_size = sizeof group->block_tables,
        .page_indptr = rapt_alloc(cache->allocator, (size_t)params->max_batch + 1, 4),
        .page_indices = rapt_alloc(cache->allocator, (size_t)pages, 4),
        .last_page_len = rapt_alloc(cache->allocator, params->max_batch, 4),
        .capacity = (uint32_t)pages,
    };
    if (!group->block_tables.page_indptr || !group->block_tables.page_indices ||
        !group->block_tables.last_page_len)
        return rapt_fail(RAPT_ERROR_HOST_MEMORY, "out of host memory for block tables");
    return rapt_plan_create(cache->easy->device, &plan, &group->plan);
}

/* The caller's cosines and sines, if that is how a group rotates. */
static rapt_status upload_rope(rapt_easy_cache *cache, uint32_t g)
{
    struct kv_group *group = &cache->groups[g];
    const rapt_rope *rope =
        cache->params.groups[g].rope ? cache->params.groups[g].rope : cache->params.rope;
    if (!group->rotates || rope->n_table_positions == 0)
        return RAPT_OK;
    if (!rope->table)
        return rapt_fail(RAPT_ERROR_ARGUMENT,
                         "groups[%u]: rope.table is NULL, n_table_positions %u", g,
                         rope->n_table_positions);
    uint32_t dim = rope->rotary_dim ? rope->rotary_dim : group->head_dim;
    uint64_t n_bytes = (uint64_t)rope->n_table_positions * dim * sizeof(float);
    rapt_status status =
        rapt_easy_buffer_create(cache->easy, n_bytes, "rope table", 0, &group->rope_table);
    cache->other_bytes += n_bytes;
    return status == RAPT_OK
               ? rapt_easy_upload(cache->easy, group->rope_table, 0, rope->table, n_bytes)
               : status;
}

/* Tables are each plan's own; plans run one after the other and so share a workspace. */
static rapt_status bind_plans(rapt_easy_cache *cache)
{
    uint64_t workspace_bytes = 0;
    rapt_status status = RAPT_OK;
    for (uint32_t g = 0; status == RAPT_OK && g < cache->params.n_groups; g++) {
        rapt_plan_sizes_info sizes = {.struct_size = sizeof sizes};
        rapt_plan_sizes(cache->groups[g].plan, &sizes);
        if (sizes.workspace_bytes > workspace_bytes)
            workspace_bytes = sizes.workspace_bytes;
        cache->other_bytes += sizes.table_bytes;
        status = rapt_easy_buffer_create(cache->easy, sizes.table_bytes, "step tables", 1,
                                         &cache->groups[g].tables);
    }
    cache->other_bytes += workspace_bytes;
    if (status == RAPT_OK)
        status = rapt_easy_buffer_create(cache->easy, workspace_bytes, "workspace", 0,
                                         &cache->workspace);
    for (uint32_t g = 0; status == RAPT_OK && g < cache->params.n_groups; g++) {
        struct kv_group *group = &cache->groups[g];
        rapt_plan_memory memory = {
            .struct_size = sizeof memory,
            .tables = rapt_easy_buffer_range(group->tables),
            .tables_mapped = rapt_easy_buffer_mapped(group->tables),
            .workspace = rapt_easy_buffer_range(cache->workspace),
        };
        status = rapt_plan_bind(group->plan, &memory);
    }
    return status;
}

/* -------------------------------------------------------------------------------------- buffers */

static rapt_status make_host_buffer(rapt_easy_cache *cache, const char *name, uint64_t n_elements,
                                    rapt_type type, rapt_easy_buffer **out_buffer)
{
    uint64_t n_bytes = rapt_mul_sat(n_elements, rapt_type_bytes(type));
    cache->other_bytes = rapt_add_sat(cache->other_bytes, n_bytes);
    return rapt_easy_buffer_create(cache->easy, n_bytes, name, 1, out_buffer);
}

static rapt_status upload_floats(rapt_easy_cache *cache, const char *name, const float *values,
                                 uint64_t n, rapt_easy_buffer **out_buffer)
{
    if (!values)
        return RAPT_OK;
    cache->other_bytes += n * sizeof *values;
    rapt_status status =
        rapt_easy_buffer_create(cache->easy, n * sizeof *values, name, 0, out_buffer);
    return status == RAPT_OK
               ? rapt_easy_upload(cache->easy, *out_buffer, 0, values, n * sizeof *values)
               : status;
}

static rapt_status make_step_buffers(rapt_easy_cache *cache)
{
    const rapt_easy_cache_params *params = &cache->params;
    uint64_t q = 0, k = 0, v = 0, out = 0, tokens = params->max_total_q;
    for (uint32_t g = 0; g < params->n_groups; g++) {
        const struct kv_group *group = &cache->groups[g];
        uint64_t sizes[] = {(uint64_t)params->n_q_heads * group->head_dim,
                            (uint64_t)group->n_kv_heads * group->head_dim,
                            (uint64_t)group->n_kv_heads * group->head_dim_v,
                            (uint64_t)params->n_q_heads * group->head_dim_v};
        q = sizes[0] > q ? sizes[0] : q;
        k = sizes[1] > k ? sizes[1] : k;
        v = sizes[2] > v ? sizes[2] : v;
        out = sizes[3] > out ? sizes[3] : out;
    }
    rapt_status status = make_host_buffer(cache, "Q", tokens * q, params->q_type, &cache->q);
    if (status == RAPT_OK)
        status = make_host_buffer(cache, "new K", tokens * k, RAPT_TYPE_F32, &cache->k_new);
    if (status == RAPT_OK)
        status = make_host_buffer(cache, "new V", tokens * v, RAPT_TYPE_F32, &cache->v_new);
    if (status == RAPT_OK)
        status = make_host_buffer(cache, "out", tokens * out, RAPT_TYPE_F32, &cache->out);
    uint64_t layers = params->n_layers;
    if (status == RAPT_OK)
        status =
            upload_floats(cache, "sinks", params->sinks, layers * params->n_q_heads, &cache->sinks);
    if (status == RAPT_OK)
        status = upload_floats(cache, "K scales", params->k_scale, layers * params->n_kv_heads,
                               &cache->k_scale);
    if (status == RAPT_OK)
        status = upload_floats(cache, "V scales", params->v_scale, layers * params->n_kv_heads,
                               &cache->v_scale);
    cache->seqs = rapt_alloc(cache->allocator, params->max_batch, sizeof *cache->seqs);
    cache->n_new = rapt_alloc(cache->allocator, params->max_batch, sizeof *cache->n_new);
    cache->n_before = rapt_alloc(cache->allocator, params->max_batch, sizeof *cache->n_before);
    cache->cu_q = rapt_alloc(cache->allocator, (size_t)params->max_batch + 1, sizeof *cache->cu_q);
    cache->cu_kv =
        rapt_alloc(cache->allocator, (size_t)params->max_batch + 1, sizeof *cache->cu_kv);
    if (status == RAPT_OK &&
        (!cache->seqs || !cache->n_new || !cache->n_before || !cache->cu_q || !cache->cu_kv))
        status = rapt_fail(RAPT_ERROR_HOST_MEMORY, "out of host memory for a cache's steps");
    return status;
}

#define COPIES_PER_CALL 1024 /* as many as kv_step.c runs at once */

static rapt_status make_copier(rapt_easy_cache *cache)
{
    uint32_t most = 0;
    for (uint32_t g = 0; g < cache->params.n_groups; g++)
        most = cache->groups[g].n_copy_tensors > most ? cache->groups[g].n_copy_tensors : most;
    if (most == 0)
        return RAPT_OK; /* vkCmdCopyBuffer does it */
    rapt_copier_params params = {.struct_size = sizeof params,
                                 .max_copies = COPIES_PER_CALL,
                                 .max_tensors = most,
                                 .n_steps_in_flight = cache->params.n_groups};
    rapt_status status = rapt_copier_create(cache->easy->device, &params, &cache->copier);
    if (status != RAPT_OK)
        return status;
    uint64_t n_bytes = rapt_copier_table_bytes(cache->copier);
    cache->other_bytes += n_bytes;
    status = rapt_easy_buffer_create(cache->easy, n_bytes, "page copies", 1, &cache->copy_tables);
    if (status != RAPT_OK)
        return status;
    rapt_buffer tables = rapt_easy_buffer_range(cache->copy_tables);
    return rapt_copier_bind(cache->copier, &tables, rapt_easy_buffer_mapped(cache->copy_tables));
}

/* ------------------------------------------------------------------------------ create, destroy */

static rapt_status create(rapt_easy_cache *cache)
{
    rapt_status status = read_groups(cache);
    if (status == RAPT_OK)
        status = rapt_kv_pool_plan(cache);
    if (status == RAPT_OK)
        status = make_pager(cache);
    for (uint32_t g = 0; status == RAPT_OK && g < cache->params.n_groups; g++) {
        status = rapt_kv_mask_create(cache, &cache->groups[g]);
        if (status == RAPT_OK)
            status = make_plan(cache, g);
        if (status == RAPT_OK)
            status = upload_rope(cache, g);
    }
    if (status == RAPT_OK)
        rapt_easy_pipelines_save(cache->easy);
    if (status == RAPT_OK)
        status = bind_plans(cache);
    if (status == RAPT_OK)
        status = rapt_kv_pool_create(cache);
    if (status == RAPT_OK)
        status = make_step_buffers(cache);
    if (status == RAPT_OK)
        status = make_copier(cache);
    if (status == RAPT_OK)
        fill_geometry(cache);
    return status;
}

rapt_status rapt_easy_cache_create(rapt_easy *easy, const rapt_easy_cache_params *params,
                                   rapt_easy_cache **out_cache)
{
    if (!easy || !out_cache)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s is NULL", easy ? "out_cache" : "easy");
    *out_cache = NULL;
    rapt_easy_cache_params own;
    rapt_status status = rapt_easy_alive(easy);
    if (status == RAPT_OK)
        status = rapt_params_read("rapt_easy_cache_params", params, &own, sizeof own);
    if (status != RAPT_OK)
        return status;
    fill_defaults(&own);
    status = check_numbers(&own);
    if (status != RAPT_OK)
        return status;
    rapt_easy_cache *cache = rapt_alloc(easy->allocator, 1, sizeof *cache);
    if (!cache)
        return rapt_fail(RAPT_ERROR_HOST_MEMORY, "out of host memory for a cache");
    cache->easy = easy;
    cache->allocator = easy->allocator;
    cache->params = own;
    status = create(cache);
    /* What the caller's pointers point at is the caller's again. */
    cache->params.groups = NULL;
    cache->params.layer_groups = NULL;
    cache->params.k_scale = cache->params.v_scale = cache->params.sinks = NULL;
    cache->params.rope = NULL;
    if (status != RAPT_OK)
        rapt_easy_cache_destroy(&cache);
    *out_cache = cache;
    return status;
}

void rapt_easy_cache_destroy(rapt_easy_cache **handle)
{
    if (!handle || !*handle)
        return;
    rapt_easy_cache *cache = *handle;
    *handle = NULL;
    for (uint32_t g = 0; g < RAPT_PAGER_MAX_GROUPS; g++) {
        struct kv_group *group = &cache->groups[g];
        rapt_plan_destroy(&group->plan);
        rapt_kv_mask_destroy(group);
        rapt_easy_buffer_destroy(&group->tables);
        rapt_easy_buffer_destroy(&group->rope_table);
        rapt_free(cache->allocator, group->layers);
        rapt_free(cache->allocator, group->block_tables.page_indptr);
        rapt_free(cache->allocator, group->block_tables.page_indices);
        rapt_free(cache->allocator, group->block_tables.last_page_len);
    }
    rapt_copier_destroy(&cache->copier);
    rapt_easy_buffer **buffers[] = {&cache->workspace, &cache->copy_tables, &cache->q,
                                    &cache->k_new,     &cache->v_new,       &cache->out,
                                    &cache->sinks,     &cache->k_scale,     &cache->v_scale};
    for (size_t i = 0; i < sizeof buffers / sizeof buffers[0]; i++)
        rapt_easy_buffer_destroy(buffers[i]);
    rapt_kv_pool_destroy(cache);
    rapt_pager_destroy(&cache->pager);
    void *arrays[] = {cache->layer_groups, cache->layer_indices, cache->layer_done,
                      cache->seqs,         cache->n_new,         cache->n_before,
                      cache->cu_q,         cache->cu_kv,         cache->copies};
    for (size_t i = 0; i < sizeof arrays / sizeof arrays[0]; i++)
        rapt_free(cache->allocator, arrays[i]);
    rapt_free(cache->allocator, cache);
}

rapt_pager *rapt_easy_cache_pager(rapt_easy_cache *cache)
{
    return cache ? cache->pager : NULL;
}

void rapt_easy_cache_get_info(const rapt_easy_cache *cache, rapt_easy_cache_info *out_info)
{
    if (!cache || !out_info)
        return;
    rapt_easy_cache_info info = {.struct_size = sizeof info,
                                 .other_bytes = cache->other_bytes,
                                 .n_buffers = cache->n_pools,
                                 .n_copies = cache->n_copies,
                                 .copy_seconds = cache->copy_seconds,
                                 .layer_seconds = cache->layer_seconds,
                                 .transfer_bytes = cache->transfer_bytes,
                                 .transfer_seconds = cache->transfer_seconds};
    for (uint32_t i = 0; i < cache->n_pools; i++)
        info.pool_bytes += cache->pool_bytes[i];
    for (uint32_t g = 0; g < cache->params.n_groups; g++)
        info.page_bytes[g] = cache->groups[g].page_bytes;
    info.plan.struct_size = sizeof info.plan;
    rapt_plan_get_info(cache->groups[0].plan, &info.plan);
    rapt_params_write(out_info, &info, sizeof info);
}
