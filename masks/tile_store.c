/* SPDX-License-Identifier: Apache-2.0 */
#include "tile_store.h"

#include "error.h"

#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

void *rapt_alloc_unset(const rapt_allocator *allocator, size_t n, size_t size)
{
    if (size != 0 && n > SIZE_MAX / size)
        return NULL;
    const size_t n_bytes = n > 0 && size > 0 ? n * size : 1;
    return allocator ? allocator->alloc(allocator->user, n_bytes) : malloc(n_bytes);
}

void rapt_tile_store_finish(struct rapt_tile_store *store)
{
    rapt_free(store->allocator, store->bits);
    rapt_free(store->allocator, store->hashes);
    rapt_free(store->allocator, store->slots);
    rapt_tile_store_init(store, store->allocator, store->tile_words);
}

static uint32_t find_slot(const struct rapt_tile_store *store, uint64_t hash, const uint32_t *bits)
{
    const uint32_t mask = store->n_slots - 1;
    const size_t n_bytes = store->tile_words * sizeof *bits;
    uint32_t slot = (uint32_t)hash & mask;
    for (; store->slots[slot]; slot = (slot + 1) & mask) {
        const uint32_t tile = store->slots[slot] - 1;
        if (bits && store->hashes[tile] == hash &&
            memcmp(store->bits + (size_t)tile * store->tile_words, bits, n_bytes) == 0)
            break;
    }
    return slot;
}

/* Twice the room; nothing changes if there is no memory for it. */
static rapt_status grow(struct rapt_tile_store *store)
{
    if (store->capacity >= 1u << 30)
        return rapt_fail(RAPT_ERROR_CAPACITY, "the block table has more than 2^30 bit tiles");
    struct rapt_tile_store larger = *store;
    larger.capacity = store->capacity ? 2 * store->capacity : 64;
    larger.n_slots = 2 * larger.capacity;
    larger.bits = rapt_alloc_unset(store->allocator, larger.capacity,
                                   store->tile_words * sizeof *store->bits);
    larger.hashes = rapt_alloc_unset(store->allocator, larger.capacity, sizeof *store->hashes);
    larger.slots = rapt_alloc(store->allocator, larger.n_slots, sizeof *store->slots);
    if (!larger.bits || !larger.hashes || !larger.slots) {
        rapt_tile_store_finish(&larger);
        return rapt_fail(RAPT_ERROR_HOST_MEMORY, "no memory for more than %u bit tiles",
                         store->capacity);
    }
    if (store->n_tiles > 0) {
        memcpy(larger.bits, store->bits,
               (size_t)store->n_tiles * store->tile_words * sizeof *store->bits);
        memcpy(larger.hashes, store->hashes, store->n_tiles * sizeof *store->hashes);
    }
    for (uint32_t tile = 0; tile < store->n_tiles; tile++)
        larger.slots[find_slot(&larger, larger.hashes[tile], NULL)] = tile + 1;
    rapt_tile_store_finish(store);
    *store = larger;
    return RAPT_OK;
}

rapt_status rapt_tile_store_add(struct rapt_tile_store *store, const uint32_t *bits,
                                uint32_t *out_tile)
{
    if (store->n_tiles == store->capacity) {
        rapt_status status = grow(store);
        if (status != RAPT_OK)
            return status;
    }
    const size_t n_bytes = store->tile_words * sizeof *bits;
    const uint64_t hash = XXH3_64bits(bits, n_bytes);
    const uint32_t slot = find_slot(store, hash, bits);
    if (!store->slots[slot]) {
        memcpy(store->bits + (size_t)store->n_tiles * store->tile_words, bits, n_bytes);
        store->hashes[store->n_tiles] = hash;
        store->slots[slot] = ++store->n_tiles;
    }
    *out_tile = store->slots[slot] - 1;
    return RAPT_OK;
}
