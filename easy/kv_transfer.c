/* SPDX-License-Identifier: Apache-2.0 */
/* Pages between the pools and host memory: one submission with as many regions as it takes. */
#include "kv_cache.h"

#include <string.h>

/* More than that is moved in several submissions, so that a long conversation does not need as much
 * staging memory again as it has in the pools. */
#define MOST_STAGING ((uint64_t)64 << 20)
#define MAX_REGIONS 256

struct regions {
    rapt_easy *easy;
    VkCommandBuffer commands;
    VkBuffer staging, pool;
    int up;
    uint32_t n;
    VkBufferCopy list[MAX_REGIONS];
};

static void flush(struct regions *regions)
{
    if (regions->n > 0)
        regions->easy->vk.vkCmdCopyBuffer(
            regions->commands, regions->up ? regions->staging : regions->pool,
            regions->up ? regions->pool : regions->staging, regions->n, regions->list);
    regions->n = 0;
}

static void add(struct regions *regions, VkBuffer pool, uint64_t in_pool, uint64_t in_staging,
                uint64_t n_bytes)
{
    if (regions->n == MAX_REGIONS || regions->pool != pool)
        flush(regions);
    regions->pool = pool;
    regions->list[regions->n++] = (VkBufferCopy){.srcOffset = regions->up ? in_staging : in_pool,
                                                 .dstOffset = regions->up ? in_pool : in_staging,
                                                 .size = n_bytes};
}

/* All pieces of a page; in_staging is where it begins there. */
static void add_page(const rapt_easy_cache *cache, const struct kv_page *page, uint64_t in_staging,
                     struct regions *regions)
{
    const struct kv_group *group = &cache->groups[page->group];
    for (uint32_t layer = 0; layer < group->n_layers; layer++) {
        for (uint32_t i = 0; i < KV_N_PLANES; i++) {
            uint64_t n_bytes = group->planes[i].page_bytes;
            const struct kv_place *place = &group->places[layer * KV_N_PLANES + i];
            if (n_bytes > 0)
                add(regions, cache->pools[place->buffer]->buffer,
                    place->offset + page->page * n_bytes, in_staging, n_bytes);
            in_staging += n_bytes;
        }
    }
}

rapt_status rapt_kv_transfer_begin(rapt_easy_cache *cache, uint64_t n_bytes,
                                   struct kv_transfer *out_transfer)
{
    uint64_t least = 0;
    for (uint32_t g = 0; g < cache->params.n_groups; g++)
        least = cache->groups[g].page_bytes > least ? cache->groups[g].page_bytes : least;
    *out_transfer = (struct kv_transfer){.cache = cache};
    cache->transfer_bytes = 0;
    cache->transfer_seconds = 0;
    if (n_bytes > MOST_STAGING)
        n_bytes = MOST_STAGING;
    return rapt_easy_buffer_create(cache->easy, n_bytes > least ? n_bytes : least, "page staging",
                                   1, &out_transfer->staging);
}

/* One submission: as many pages as fit. */
static rapt_status run_batch(struct kv_transfer *transfer, uint32_t n, const struct kv_page *pages,
                             uint64_t n_bytes, int up)
{
    rapt_easy_cache *cache = transfer->cache;
    rapt_easy *easy = cache->easy;
    uint8_t *staging = transfer->staging->mapped;
    VkCommandBuffer commands;
    rapt_status status = rapt_easy_begin(easy, &commands);
    if (status != RAPT_OK)
        return status;
    struct regions regions = {.easy = easy, .commands = commands, .up = up};
    regions.staging = transfer->staging->buffer;
    uint64_t at = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint64_t page_bytes = cache->groups[pages[i].group].page_bytes;
        if (up)
            memcpy(staging + at, pages[i].contents, (size_t)page_bytes);
        add_page(cache, &pages[i], at, &regions);
        at += page_bytes;
    }
    flush(&regions);
    double seconds = 0;
    status = rapt_easy_submit_wait(easy, &seconds);
    if (status != RAPT_OK)
        return status;
    at = 0;
    for (uint32_t i = 0; !up && i < n; i++) {
        uint64_t page_bytes = cache->groups[pages[i].group].page_bytes;
        memcpy(pages[i].contents, staging + at, (size_t)page_bytes);
        at += page_bytes;
    }
    cache->transfer_bytes += n_bytes;
    cache->transfer_seconds += seconds;
    return RAPT_OK;
}

rapt_status rapt_kv_transfer_run(struct kv_transfer *transfer, uint32_t n,
                                 const struct kv_page *pages, int up)
{
    rapt_easy_cache *cache = transfer->cache;
    rapt_status status = RAPT_OK;
    for (uint32_t first = 0; status == RAPT_OK && first < n;) {
        uint64_t n_bytes = 0;
        uint32_t end = first;
        while (end < n &&
               n_bytes + cache->groups[pages[end].group].page_bytes <= transfer->staging->n_bytes)
            n_bytes += cache->groups[pages[end++].group].page_bytes;
        status = run_batch(transfer, end - first, pages + first, n_bytes, up);
        first = end;
    }
    return status;
}

void rapt_kv_transfer_end(struct kv_transfer *transfer)
{
    rapt_easy_buffer_destroy(&transfer->staging);
}
