/* SPDX-License-Identifier: Apache-2.0 */
/* Tables by everything that decides them, least recently used first out. */
#include "table.h"

#include "error.h"

#define MAX_CAPACITY 65536u

struct cached {
    rapt_block_table *table; /* NULL: free */
    struct rapt_digest digest;
    uint64_t last_used;
};

struct rapt_block_table_cache {
    const rapt_allocator *allocator; /* points at allocator_copy or is NULL */
    rapt_allocator allocator_copy;
    uint32_t capacity;
    uint64_t clock, n_hits, n_misses;
    struct cached entries[];
};

rapt_status rapt_block_table_cache_create(const rapt_allocator *allocator, uint32_t capacity,
                                          rapt_block_table_cache **out_cache)
{
    if (!out_cache)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "out_cache is NULL");
    *out_cache = NULL;
    if (capacity == 0 || capacity > MAX_CAPACITY)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "capacity is %u: expected 1 to %u tables", capacity,
                         MAX_CAPACITY);
    rapt_block_table_cache *cache =
        rapt_alloc(allocator, 1, sizeof *cache + capacity * sizeof cache->entries[0]);
    if (!cache)
        return rapt_fail(RAPT_ERROR_HOST_MEMORY, "no memory for a cache of %u block tables",
                         capacity);
    if (allocator) {
        cache->allocator_copy = *allocator;
        cache->allocator = &cache->allocator_copy;
    }
    cache->capacity = capacity;
    *out_cache = cache;
    return RAPT_OK;
}

void rapt_block_table_cache_destroy(rapt_block_table_cache **cache)
{
    if (!cache || !*cache)
        return;
    for (uint32_t i = 0; i < (*cache)->capacity; i++)
        rapt_block_table_destroy(&(*cache)->entries[i].table);
    if ((*cache)->allocator) {
        rapt_allocator allocator = (*cache)->allocator_copy; /* outlives the memory it lies in */
        rapt_free(&allocator, *cache);
    } else {
        rapt_free(NULL, *cache);
    }
    *cache = NULL;
}

/* The digest holds hashes of masks; the masks themselves are compared. */
static int same_masks(const rapt_block_table *table, const struct rapt_table_request *request)
{
    const uint32_t n = request->params.mask_heads ? request->input.n_q_heads : 1;
    for (uint32_t h = 0; h < n; h++)
        if (!rapt_origin_has_mask(&table->origin, table->parts.head_set[h],
                                  rapt_request_mask(request, h)))
            return 0;
    return 1;
}

rapt_status rapt_block_table_cache_get(rapt_block_table_cache *cache,
                                       const rapt_block_table_params *params,
                                       const rapt_block_table **out_table)
{
    if (!cache || !out_table)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s is NULL", cache ? "out_table" : "cache");
    *out_table = NULL;
    struct rapt_table_request request;
    rapt_status status = rapt_table_request_open(params, &request);
    if (status != RAPT_OK)
        return status;
    const struct rapt_digest digest = rapt_request_digest(&request);
    struct cached *oldest = &cache->entries[0];
    for (uint32_t i = 0; i < cache->capacity; i++) {
        struct cached *entry = &cache->entries[i];
        if (entry->table && rapt_digest_equal(entry->digest, digest) &&
            same_masks(entry->table, &request)) {
            entry->last_used = ++cache->clock;
            cache->n_hits++;
            *out_table = entry->table;
            return RAPT_OK;
        }
        if (entry->last_used < oldest->last_used) /* 0: never used */
            oldest = entry;
    }
    rapt_block_table *table;
    request.params.allocator = cache->allocator;
    status = rapt_block_table_create(&request.params, &table);
    if (status != RAPT_OK)
        return status;
    rapt_block_table_destroy(&oldest->table);
    *oldest = (struct cached){table, digest, ++cache->clock};
    cache->n_misses++;
    *out_table = table;
    return RAPT_OK;
}

void rapt_block_table_cache_counts(const rapt_block_table_cache *cache, uint64_t *out_hits,
                                   uint64_t *out_misses)
{
    *out_hits = cache->n_hits;
    *out_misses = cache->n_misses;
}
