/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MASKS_TILE_STORE_H
#define MASKS_TILE_STORE_H

/* Bit tiles, each kept once, numbered in the order they first came. */

#include <rapt/common.h>

struct rapt_tile_store {
    const rapt_allocator *allocator;
    uint32_t tile_words;
    uint32_t n_tiles;
    uint32_t *bits;   /* [capacity * tile_words] */
    uint64_t *hashes; /* [capacity] */
    uint32_t capacity;
    uint32_t *slots; /* tile + 1, or 0; open addressing */
    uint32_t n_slots;
};

static inline void rapt_tile_store_init(struct rapt_tile_store *store,
                                        const rapt_allocator *allocator, uint32_t tile_words)
{
    *store = (struct rapt_tile_store){.allocator = allocator, .tile_words = tile_words};
}
void rapt_tile_store_finish(struct rapt_tile_store *store);

/* The number of a tile with these bits. HOST_MEMORY; CAPACITY past 2^31 tiles. */
rapt_status rapt_tile_store_add(struct rapt_tile_store *store, const uint32_t *bits,
                                uint32_t *out_tile);

/* Memory that is not zeroed: for arrays that grow and are written before they are read. */
void *rapt_alloc_unset(const rapt_allocator *allocator, size_t n, size_t size);

#endif
