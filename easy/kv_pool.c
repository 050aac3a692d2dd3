/* SPDX-License-Identifier: Apache-2.0 */
/* Where pages lie. Planes are laid out layer by layer, so that what a kernel binds is one layer's
 * plane alone: that reaches furthest where bindings are small. */
#include "kv_cache.h"

#include "checked.h"

#include <string.h>

#define PLANE_ALIGNMENT 256u /* what any device asks of a binding's offset */

/* Stored scales of a row, bytes; 0 where the kind has none or they are the caller's. */
static void plan_scales(const rapt_easy_cache_params *params, struct kv_group *group)
{
    struct kv_plane *k = &group->planes[KV_K_SCALE], *v = &group->planes[KV_V_SCALE];
    uint32_t bytes = (uint32_t)rapt_type_bytes(params->scale_type);
    if (params->kv_type == RAPT_TYPE_INT4) {
        k->row_bytes = 2 * (group->head_dim / 32);
        v->row_bytes = 2 * (group->head_dim_v / 32);
        k->n_rows = v->n_rows = group->n_kv_heads;
    } else if ((params->kv_type == RAPT_TYPE_INT8 || params->kv_type == RAPT_TYPE_FP8_E4M3) &&
               params->scale_kind != RAPT_SCALE_STATIC) {
        k->row_bytes = v->row_bytes = bytes;
        k->n_rows = v->n_rows = params->scale_kind == RAPT_SCALE_TOKEN ? 1 : group->n_kv_heads;
    }
}

static rapt_status plan_planes(const rapt_easy_cache_params *params, struct kv_group *group,
                               uint32_t g)
{
    uint32_t dims[] = {group->head_dim, group->head_dim_v};
    for (int i = 0; i < 2; i++) {
        size_t row_bytes = rapt_row_bytes(params->kv_type, dims[i]);
        if (row_bytes == 0 || dims[i] > 576)
            return rapt_fail(RAPT_ERROR_ARGUMENT,
                             "groups[%u]: rows of %u elements cannot be stored as %s", g, dims[i],
                             rapt_type_name(params->kv_type));
        group->planes[i].row_bytes = (uint32_t)row_bytes;
        group->planes[i].n_rows = group->n_kv_heads;
    }
    plan_scales(params, group);
    for (int i = 0; i < KV_N_PLANES; i++) {
        struct kv_plane *plane = &group->planes[i];
        plane->page_bytes = (uint64_t)params->page_size * plane->n_rows * plane->row_bytes;
        group->page_bytes += group->n_layers * plane->page_bytes;
    }
    return RAPT_OK;
}

/* In how many pieces a plane is bound. */
static rapt_status plan_segments(const rapt_easy_cache *cache, struct kv_group *group, uint32_t g)
{
    uint64_t range = cache->params.max_range_bytes;
    uint64_t largest = group->planes[KV_K].page_bytes > group->planes[KV_V].page_bytes
                           ? group->planes[KV_K].page_bytes
                           : group->planes[KV_V].page_bytes;
    group->n_segments = 1;
    group->pages_per_segment = group->n_pages;
    if (group->n_pages * largest <= range)
        return RAPT_OK;
    uint32_t alignment = cache->easy->caps->storage_buffer_alignment;
    uint32_t pages = 1;
    while (pages < 1u << 31 && 2 * (uint64_t)pages * largest <= range)
        pages *= 2;
    uint64_t n = ((uint64_t)group->n_pages + pages - 1) / pages;
    int aligned = alignment == 0 || (pages * group->planes[KV_K].page_bytes % alignment == 0 &&
                                     pages * group->planes[KV_V].page_bytes % alignment == 0);
    if (n > 4 || !aligned || pages * largest > range)
        return rapt_fail(
            RAPT_ERROR_DEVICE_MEMORY,
            "groups[%u].n_pages is %u: a layer's plane of %llu bytes cannot be bound in "
            "4 pieces of %llu",
            g, group->n_pages, (unsigned long long)(group->n_pages * largest),
            (unsigned long long)range);
    group->n_segments = (uint32_t)n;
    group->pages_per_segment = pages;
    return RAPT_OK;
}

/* Puts a group's planes one after the other, into as many buffers as the device's largest
 * allocation asks for. */
static rapt_status place_planes(rapt_easy_cache *cache, struct kv_group *group, uint32_t g,
                                uint64_t most)
{
    for (uint32_t layer = 0; layer < group->n_layers; layer++) {
        for (uint32_t i = 0; i < KV_N_PLANES; i++) {
            uint64_t bytes = rapt_mul_sat(group->n_pages, group->planes[i].page_bytes);
            bytes = rapt_add_sat(bytes, PLANE_ALIGNMENT - 1) / PLANE_ALIGNMENT * PLANE_ALIGNMENT;
            if (bytes > most)
                return rapt_fail(RAPT_ERROR_DEVICE_MEMORY,
                                 "groups[%u].n_pages is %u: a layer's plane of %llu bytes does not "
                                 "fit into an allocation of %llu",
                                 g, group->n_pages, (unsigned long long)bytes,
                                 (unsigned long long)most);
            if (cache->n_pools == 0 || bytes > most - cache->pool_bytes[cache->n_pools - 1])
                cache->n_pools++;
            uint32_t pool = cache->n_pools - 1;
            group->places[layer * KV_N_PLANES + i] =
                (struct kv_place){pool, cache->pool_bytes[pool]};
            cache->pool_bytes[pool] += bytes;
        }
    }
    return RAPT_OK;
}

rapt_status rapt_kv_pool_plan(rapt_easy_cache *cache)
{
    const rapt_easy_cache_params *params = &cache->params;
    uint64_t most = cache->easy->caps->max_memory_allocation;
    if (most == 0)
        most = (uint64_t)1 << 30; /* what every device offers */
    /* No plane is larger than four bindings; where those are small, allocations need not be huge.
     */
    if (params->max_range_bytes < most / 4 - PLANE_ALIGNMENT)
        most = 4 * params->max_range_bytes + PLANE_ALIGNMENT;
    /* At the worst a buffer for each plane. */
    size_t n_planes = (size_t)params->n_layers * KV_N_PLANES;
    cache->pools = rapt_alloc(cache->allocator, n_planes, sizeof(rapt_easy_buffer *));
    cache->pool_bytes = rapt_alloc(cache->allocator, n_planes, sizeof *cache->pool_bytes);
    if (!cache->pools || !cache->pool_bytes)
        return rapt_fail(RAPT_ERROR_HOST_MEMORY, "out of host memory for a cache");
    rapt_status status = RAPT_OK;
    for (uint32_t g = 0; status == RAPT_OK && g < params->n_groups; g++) {
        struct kv_group *group = &cache->groups[g];
        group->places = rapt_alloc(cache->allocator, (size_t)group->n_layers * KV_N_PLANES,
                                   sizeof *group->places);
        if (!group->places)
            return rapt_fail(RAPT_ERROR_HOST_MEMORY, "out of host memory for a cache");
        status = plan_planes(params, group, g);
        if (status == RAPT_OK)
            status = plan_segments(cache, group, g);
        if (status == RAPT_OK)
            status = place_planes(cache, group, g, most);
    }
    return status;
}

/* Tensors for the copier: runs of layers whose planes lie at even distances in one buffer and
 * within one binding. */
static rapt_status make_copy_tensors(rapt_easy_cache *cache, struct kv_group *group)
{
    uint64_t range = cache->params.max_range_bytes;
    if (group->n_segments > 1)
        return RAPT_OK;
    group->copy_tensors = rapt_alloc(cache->allocator, (size_t)group->n_layers * KV_N_PLANES,
                                     sizeof *group->copy_tensors);
    if (!group->copy_tensors)
        return rapt_fail(RAPT_ERROR_HOST_MEMORY, "out of host memory for a cache");
    for (uint32_t i = 0; i < KV_N_PLANES; i++) {
        const struct kv_plane *plane = &group->planes[i];
        uint64_t plane_bytes = group->n_pages * plane->page_bytes;
        uint32_t layer = 0;
        while (plane->row_bytes > 0 && layer < group->n_layers) {
            const struct kv_place *first = &group->places[layer * KV_N_PLANES + i];
            uint64_t stride = 0;
            uint32_t n = 1;
            for (; layer + n < group->n_layers; n++) {
                const struct kv_place *next = &group->places[(layer + n) * KV_N_PLANES + i];
                uint64_t distance = next->offset - first->offset;
                if (next->buffer != first->buffer || distance + plane_bytes > range ||
                    (n > 1 && distance != n * stride))
                    break;
                if (n == 1)
                    stride = distance;
            }
            group->copy_tensors[group->n_copy_tensors++] = (rapt_copy_tensor){
                .buffer = {.buffer = rapt_easy_buffer_range(cache->pools[first->buffer]).buffer,
                           .offset = first->offset,
                           .size = (n - 1) * stride + plane_bytes},
                .page_stride = plane->page_bytes,
                .token_stride = (uint64_t)plane->n_rows * plane->row_bytes,
                .head_stride = plane->row_bytes,
                .layer_stride = stride,
                .n_heads = plane->n_rows,
                .n_layers = n,
                .row_bytes = plane->row_bytes,
            };
            layer += n;
        }
    }
    return RAPT_OK;
}

/* All zeros: null pages are read as such, and a page's unused rows hold nobody's data. */
static rapt_status clear(rapt_easy_cache *cache)
{
    rapt_easy *easy = cache->easy;
    VkCommandBuffer commands;
    rapt_status status = rapt_easy_begin(easy, &commands);
    if (status != RAPT_OK)
        return status;
    for (uint32_t i = 0; i < cache->n_pools; i++)
        easy->vk.vkCmdFillBuffer(commands, cache->pools[i]->buffer, 0, VK_WHOLE_SIZE, 0);
    return rapt_easy_submit_wait(easy, NULL);
}

rapt_status rapt_kv_pool_create(rapt_easy_cache *cache)
{
    rapt_status status = RAPT_OK;
    for (uint32_t i = 0; status == RAPT_OK && i < cache->n_pools; i++)
        status = rapt_easy_buffer_create(cache->easy, cache->pool_bytes[i], "K/V pages", 0,
                                         &cache->pools[i]);
    for (uint32_t g = 0; status == RAPT_OK && g < cache->params.n_groups; g++)
        status = make_copy_tensors(cache, &cache->groups[g]);
    return status == RAPT_OK ? clear(cache) : status;
}

void rapt_kv_pool_destroy(rapt_easy_cache *cache)
{
    for (uint32_t i = 0; cache->pools && i < cache->n_pools; i++)
        rapt_easy_buffer_destroy(&cache->pools[i]);
    for (uint32_t g = 0; g < RAPT_PAGER_MAX_GROUPS; g++) {
        rapt_free(cache->allocator, cache->groups[g].places);
        rapt_free(cache->allocator, cache->groups[g].copy_tensors);
    }
    rapt_free(cache->allocator, cache->pools);
    rapt_free(cache->allocator, cache->pool_bytes);
}

rapt_buffer rapt_kv_pool_range(const rapt_easy_cache *cache, const struct kv_group *group,
                               uint32_t layer, enum kv_plane_kind plane, uint32_t segment)
{
    uint64_t page_bytes = group->planes[plane].page_bytes;
    uint32_t first = segment * group->pages_per_segment;
    if (page_bytes == 0 || first >= group->n_pages)
        return (rapt_buffer){0};
    const struct kv_place *place = &group->places[layer * KV_N_PLANES + plane];
    uint32_t n = group->n_pages - first;
    /* Scales are bound whole: they are a small part of what they scale. */
    if (plane < KV_K_SCALE && n > group->pages_per_segment)
        n = group->pages_per_segment;
    return (rapt_buffer){.buffer = rapt_easy_buffer_range(cache->pools[place->buffer]).buffer,
                         .offset = place->offset + first * page_bytes,
                         /* whole words: kernels write them */
                         .size = (n * page_bytes + 3) / 4 * 4};
}
