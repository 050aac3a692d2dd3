/* SPDX-License-Identifier: Apache-2.0 */
/* Links: the tokens of full pages, found again by hash and compared word by word. */
#include "inside.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

rapt_status rapt_links_init(rapt_pager *pager)
{
    struct links *links = &pager->links;
    uint32_t n_pages = 1, n_buckets = 16;
    for (uint32_t g = 0; g < pager->n_groups; g++)
        if (pager->pools[g].n_pages > n_pages)
            n_pages = pager->pools[g].n_pages;
    while (n_buckets < n_pages && n_buckets < 1u << 30)
        n_buckets *= 2;
    size_t n_bytes =
        sizeof(struct link) + sizeof(uint32_t) * ((size_t)pager->n_groups + pager->page_size);
    links->stride = (n_bytes + 7) & ~(size_t)7;
    links->free_first = PAGER_NONE;
    links->hash_mask = UINT64_MAX;
    links->bucket_mask = n_buckets - 1;
    links->buckets = rapt_alloc(pager->allocator, n_buckets, sizeof *links->buckets);
    if (!links->buckets)
        return rapt_fail(RAPT_ERROR_HOST_MEMORY, "no memory for a prefix cache of %u pages",
                         n_pages);
    memset(links->buckets, 0xff, n_buckets * sizeof *links->buckets);
    return RAPT_OK;
}

void rapt_links_finish(rapt_pager *pager)
{
    struct links *links = &pager->links;
    for (uint32_t i = 0; i < links->n_chunks; i++)
        rapt_free(pager->allocator, links->chunks[i]);
    rapt_free(pager->allocator, links->chunks);
    rapt_free(pager->allocator, links->buckets);
}

void rapt_pager_mask_hashes(rapt_pager *pager, uint64_t mask)
{
    pager->links.hash_mask = mask;
}

static rapt_status no_memory(const rapt_pager *pager)
{
    return rapt_fail(RAPT_ERROR_HOST_MEMORY, "no memory for the token ids of more than %u pages",
                     pager->links.n_used);
}

static rapt_status add_chunk(rapt_pager *pager)
{
    struct links *links = &pager->links;
    if (links->n_chunks == links->max_chunks) {
        uint32_t max_chunks = links->max_chunks ? 2 * links->max_chunks : 16;
        struct link **chunks = rapt_alloc(pager->allocator, max_chunks, sizeof(struct link *));
        if (!chunks)
            return no_memory(pager);
        if (links->n_chunks > 0)
            memcpy(chunks, links->chunks, links->n_chunks * sizeof(struct link *));
        rapt_free(pager->allocator, links->chunks);
        links->chunks = chunks;
        links->max_chunks = max_chunks;
    }
    struct link *chunk = rapt_alloc(pager->allocator, LINKS_PER_CHUNK, links->stride);
    if (!chunk)
        return no_memory(pager);
    links->chunks[links->n_chunks++] = chunk;
    uint32_t first = (links->n_chunks - 1) * LINKS_PER_CHUNK;
    for (uint32_t l = first + LINKS_PER_CHUNK; l-- > first;) {
        link_at(pager, l)->next = links->free_first;
        links->free_first = l;
    }
    links->n_free += LINKS_PER_CHUNK;
    return RAPT_OK;
}

/* Windows let chains grow longer than pools: then buckets must follow. */
static rapt_status add_buckets(rapt_pager *pager)
{
    struct links *links = &pager->links;
    uint32_t n_buckets = 4 * (links->bucket_mask + 1);
    uint32_t *buckets = rapt_alloc(pager->allocator, n_buckets, sizeof *buckets);
    if (!buckets)
        return no_memory(pager);
    memset(buckets, 0xff, n_buckets * sizeof *buckets);
    for (uint32_t b = 0; b <= links->bucket_mask; b++) {
        for (uint32_t l = links->buckets[b], next; l != PAGER_NONE; l = next) {
            struct link *link = link_at(pager, l);
            uint32_t *bucket = &buckets[link->hash & (n_buckets - 1)];
            next = link->next;
            link->next = *bucket;
            *bucket = l;
        }
    }
    rapt_free(pager->allocator, links->buckets);
    links->buckets = buckets;
    links->bucket_mask = n_buckets - 1;
    return RAPT_OK;
}

rapt_status rapt_links_reserve(rapt_pager *pager, uint64_t n)
{
    struct links *links = &pager->links;
    rapt_status status = RAPT_OK;
    while (links->n_free < n && status == RAPT_OK)
        status = add_chunk(pager);
    while (links->n_used + n > 2 * ((uint64_t)links->bucket_mask + 1) &&
           links->bucket_mask < 1u << 29 && status == RAPT_OK)
        status = add_buckets(pager);
    return status;
}

/* A hash goes on from the one of the page before, the first from the extra key. */
static uint64_t first_seed(const rapt_pager *pager, uint64_t extra_key)
{
    return XXH64(&extra_key, sizeof extra_key, pager->hash_seed);
}

static uint64_t hash_after(const rapt_pager *pager, uint64_t seed, const int32_t *tokens)
{
    return XXH3_64bits_withSeed(tokens, pager->page_size * sizeof *tokens, seed) &
           pager->links.hash_mask;
}

static uint64_t hash_of(const rapt_pager *pager, uint32_t parent, uint64_t extra_key,
                        const int32_t *tokens)
{
    uint64_t seed =
        parent == PAGER_NONE ? first_seed(pager, extra_key) : link_at(pager, parent)->hash;
    return hash_after(pager, seed, tokens);
}

static uint32_t find(const rapt_pager *pager, uint64_t hash, uint32_t parent, uint64_t extra_key,
                     const int32_t *tokens)
{
    uint32_t l = pager->links.buckets[hash & pager->links.bucket_mask];
    while (l != PAGER_NONE) {
        struct link *link = link_at(pager, l);
        if (link->hash == hash && link->parent == parent && link->extra_key == extra_key &&
            memcmp(link_tokens(pager, link), tokens, pager->page_size * sizeof *tokens) == 0)
            break;
        l = link->next;
    }
    return l;
}

uint32_t rapt_links_find(const rapt_pager *pager, uint32_t parent, uint64_t extra_key,
                         const int32_t *tokens)
{
    return find(pager, hash_of(pager, parent, extra_key, tokens), parent, extra_key, tokens);
}

uint32_t rapt_links_take(rapt_pager *pager, uint32_t parent, uint64_t extra_key,
                         const int32_t *tokens)
{
    struct links *links = &pager->links;
    uint64_t hash = hash_of(pager, parent, extra_key, tokens);
    uint32_t l = find(pager, hash, parent, extra_key, tokens);
    if (l != PAGER_NONE) {
        link_at(pager, l)->n_refs++;
        return l;
    }
    l = links->free_first;
    assert(l != PAGER_NONE);
    struct link *link = link_at(pager, l);
    links->free_first = link->next;
    links->n_free--;
    links->n_used++;
    uint32_t *bucket = &links->buckets[hash & links->bucket_mask];
    *link = (struct link){
        .hash = hash, .extra_key = extra_key, .parent = parent, .next = *bucket, .n_refs = 1};
    *bucket = l;
    memset(link->words, 0xff, pager->n_groups * sizeof link->words[0]);
    memcpy(link_tokens(pager, link), tokens, pager->page_size * sizeof *tokens);
    if (parent != PAGER_NONE)
        link_at(pager, parent)->n_refs++;
    return l;
}

/* Frees a link nothing stands on and no page is registered with, and so on towards the root. */
static void collect(rapt_pager *pager, uint32_t l)
{
    struct links *links = &pager->links;
    while (l != PAGER_NONE) {
        struct link *link = link_at(pager, l);
        if (link->n_refs > 0 || link->n_pages > 0)
            return;
        uint32_t *at = &links->buckets[link->hash & links->bucket_mask];
        while (*at != l)
            at = &link_at(pager, *at)->next;
        *at = link->next;
        uint32_t parent = link->parent;
        link->next = links->free_first;
        links->free_first = l;
        links->n_free++;
        links->n_used--;
        if (parent != PAGER_NONE)
            link_at(pager, parent)->n_refs--;
        l = parent;
    }
}

void rapt_links_release(rapt_pager *pager, uint32_t l)
{
    if (l == PAGER_NONE)
        return;
    assert(link_at(pager, l)->n_refs > 0);
    link_at(pager, l)->n_refs--;
    collect(pager, l);
}

void rapt_links_register(rapt_pager *pager, uint32_t l, uint32_t group, uint32_t p)
{
    struct link *link = link_at(pager, l);
    assert(link->words[group] == PAGER_NONE && pager->pools[group].pages[p].link == PAGER_NONE);
    link->words[group] = p;
    link->n_pages++;
    pager->pools[group].pages[p].link = l;
}

void rapt_links_unregister(rapt_pager *pager, uint32_t group, uint32_t p)
{
    struct page *page = &pager->pools[group].pages[p];
    struct link *link = link_at(pager, page->link);
    uint32_t l = page->link;
    page->link = PAGER_NONE;
    link->words[group] = PAGER_NONE;
    link->n_pages--;
    collect(pager, l);
}

/* Hashes of a prompt depend on its tokens alone, so they are known before their links are: memory
 * that will be read is asked for some pages ahead, which matters where a large cache is cold. */
#define AHEAD 8u
struct lookahead {
    const rapt_pager *pager;
    const int32_t *tokens;
    uint32_t n_pages, n_hashed;
    uint64_t last, hashes[AHEAD];
};

static void prefetch(const void *memory)
{
#if defined(__GNUC__)
    __builtin_prefetch(memory);
#else
    (void)memory;
#endif
}

/* The hash of page i; to be asked for pages 0, 1, 2, ... */
static uint64_t look_ahead(struct lookahead *look, uint32_t i)
{
    const rapt_pager *pager = look->pager;
    const struct links *links = &pager->links;
    for (; look->n_hashed < look->n_pages && look->n_hashed < i + AHEAD; look->n_hashed++) {
        look->last = hash_after(pager, look->last,
                                look->tokens + ((size_t)look->n_hashed << pager->page_shift));
        look->hashes[look->n_hashed % AHEAD] = look->last;
        prefetch(&links->buckets[look->last & links->bucket_mask]);
    }
    if (i + AHEAD / 2 < look->n_hashed) {
        uint64_t hash = look->hashes[(i + AHEAD / 2) % AHEAD];
        uint32_t l = links->buckets[hash & links->bucket_mask];
        if (l != PAGER_NONE) {
            prefetch(link_at(pager, l));
            prefetch(link_at(pager, l)->words + 8); /* its next line */
        }
    }
    return look->hashes[i % AHEAD];
}

uint32_t rapt_links_match(const rapt_pager *pager, uint64_t extra_key, const int32_t *tokens,
                          uint32_t max_pages, uint32_t *out_links)
{
    /* Of windowed groups: pages present without a gap, from the first one, and up to this one. */
    uint32_t lead[RAPT_PAGER_MAX_GROUPS] = {0}, run[RAPT_PAGER_MAX_GROUPS] = {0};
    uint32_t best = 0, parent = PAGER_NONE;
    struct lookahead look = {pager, tokens, max_pages, 0, first_seed(pager, extra_key), {0}};
    for (uint32_t i = 0; i < max_pages && pager->caches; i++, tokens += pager->page_size) {
        uint32_t l = find(pager, look_ahead(&look, i), parent, extra_key, tokens), n = i + 1;
        if (l == PAGER_NONE)
            break;
        const struct link *link = link_at(pager, l);
        int usable = 1;
        for (uint32_t g = 0; g < pager->n_groups; g++) {
            const struct pool *pool = &pager->pools[g];
            int present = link->words[g] != PAGER_NONE;
            if (pool->window == 0 && !present)
                return best;
            if (pool->window == 0)
                continue;
            run[g] = present ? run[g] + 1 : 0;
            lead[g] += present && lead[g] == i;
            uint32_t n_sinks = pool->n_sink_pages < n ? pool->n_sink_pages : n;
            uint32_t first = window_first(pager, pool, n << pager->page_shift);
            usable &= run[g] >= n - first && lead[g] >= n_sinks;
        }
        if (out_links)
            out_links[i] = l;
        if (usable)
            best = n;
        parent = l;
    }
    return best;
}
