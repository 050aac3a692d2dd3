/* SPDX-License-Identifier: Apache-2.0 */
/* Pages of a group: references, the free list, the LRU list. */
#include "inside.h"

rapt_status rapt_pool_init(rapt_pager *pager, uint32_t group, const rapt_pager_group *params)
{
    struct pool *pool = &pager->pools[group];
    pool->n_pages = params->n_pages;
    pool->first_page = params->window ? 1 : 0;
    pool->window = params->window;
    pool->n_sink_pages = pages_of(pager, params->sink_tokens);
    pool->lru_oldest = pool->lru_newest = pool->free_first = PAGER_NONE;
    pool->refs = rapt_alloc(pager->allocator, pool->n_pages, sizeof *pool->refs);
    pool->pages = rapt_alloc(pager->allocator, pool->n_pages, sizeof *pool->pages);
    if (!pool->refs || !pool->pages)
        return rapt_fail(RAPT_ERROR_HOST_MEMORY, "no memory for the %u pages of group %u",
                         pool->n_pages, group);
    for (uint32_t p = pool->n_pages; p-- > 0;) {
        pool->pages[p] = (struct page){
            .link = PAGER_NONE, .prev = PAGER_NONE, .next = PAGER_NONE, .copy_to = PAGER_NONE};
        if (p >= pool->first_page) {
            pool->pages[p].next = pool->free_first;
            pool->free_first = p;
            pool->n_free++;
        }
    }
    return RAPT_OK;
}

static void lru_remove(struct pool *pool, uint32_t p)
{
    struct page *page = &pool->pages[p];
    if (page->prev == PAGER_NONE)
        pool->lru_oldest = page->next;
    else
        pool->pages[page->prev].next = page->next;
    if (page->next == PAGER_NONE)
        pool->lru_newest = page->prev;
    else
        pool->pages[page->next].prev = page->prev;
    pool->n_cached--;
}

static void lru_push(struct pool *pool, uint32_t p)
{
    struct page *page = &pool->pages[p];
    page->prev = pool->lru_newest;
    page->next = PAGER_NONE;
    if (pool->lru_newest == PAGER_NONE)
        pool->lru_oldest = p;
    else
        pool->pages[pool->lru_newest].next = p;
    pool->lru_newest = p;
    pool->n_cached++;
}

void rapt_pool_touch(rapt_pager *pager, uint32_t group, uint32_t p)
{
    struct pool *pool = &pager->pools[group];
    if (page_holds(pool, p) > 0)
        return;
    lru_remove(pool, p);
    lru_push(pool, p);
}

/* Drops one hold of a copy. Nonzero if the page now has nobody and is not on a list yet. */
static int unhold_copy(struct pool *pool, uint32_t p)
{
    uint32_t n_holds = page_holds(pool, p);
    pool->n_shared -= n_holds == 2;
    pool->pages[p].copies_from--;
    return n_holds == 1;
}

/* A page without holds and without a link becomes free. Pending copies to it are cancelled; sources
 * that only those held follow, one after the other. */
static void make_free(rapt_pager *pager, uint32_t group, uint32_t p)
{
    struct pool *pool = &pager->pools[group];
    struct page *pages = pool->pages;
    pages[p].next = PAGER_NONE;
    for (uint32_t todo = p; todo != PAGER_NONE;) {
        p = todo;
        todo = pages[p].next;
        for (uint32_t c = pages[p].copy_to; c != PAGER_NONE;) {
            struct copy *copy = &pager->copies[c];
            uint32_t from = copy->what.from_page;
            copy->what.n_tokens = 0;
            pager->n_live_copies--;
            if (from != p && unhold_copy(pool, from)) {
                if (pages[from].link != PAGER_NONE) {
                    lru_push(pool, from);
                } else {
                    pages[from].next = todo;
                    todo = from;
                }
            }
            c = copy->next_to;
        }
        pages[p].copy_to = PAGER_NONE;
        pages[p].prev = PAGER_NONE;
        pages[p].next = pool->free_first;
        pool->free_first = p;
        pool->n_free++;
    }
}

static void retire(rapt_pager *pager, uint32_t group, uint32_t p)
{
    struct pool *pool = &pager->pools[group];
    if (pool->pages[p].link != PAGER_NONE)
        lru_push(pool, p);
    else
        make_free(pager, group, p);
}

void rapt_pool_hold(rapt_pager *pager, uint32_t group, uint32_t p)
{
    struct pool *pool = &pager->pools[group];
    uint32_t n_holds = page_holds(pool, p);
    if (n_holds == 0)
        lru_remove(pool, p);
    pool->n_shared += n_holds == 1;
    pool->refs[p]++;
}

void rapt_pool_release(rapt_pager *pager, uint32_t group, uint32_t p)
{
    struct pool *pool = &pager->pools[group];
    uint32_t n_holds = page_holds(pool, p);
    assert(pool->refs[p] > 0);
    pool->n_shared -= n_holds == 2;
    pool->refs[p]--;
    if (n_holds == 1)
        retire(pager, group, p);
}

void rapt_pool_hold_for_copy(rapt_pager *pager, uint32_t group, uint32_t p)
{
    struct pool *pool = &pager->pools[group];
    assert(page_holds(pool, p) > 0);
    pool->n_shared += page_holds(pool, p) == 1;
    pool->pages[p].copies_from++;
}

void rapt_pool_release_from_copy(rapt_pager *pager, uint32_t group, uint32_t p)
{
    if (unhold_copy(&pager->pools[group], p))
        retire(pager, group, p);
}

static void forget(rapt_pager *pager, uint32_t group, uint32_t p)
{
    lru_remove(&pager->pools[group], p);
    rapt_links_unregister(pager, group, p);
    make_free(pager, group, p);
}

void rapt_pool_forget_oldest(rapt_pager *pager, uint32_t group)
{
    forget(pager, group, pager->pools[group].lru_oldest);
}

static void evict(rapt_pager *pager, uint32_t group)
{
    uint32_t p = pager->pools[group].lru_oldest, l = pager->pools[group].pages[p].link;
    struct link *link = link_at(pager, l);
    link->n_refs++; /* it must outlive its last page */
    forget(pager, group, p);
    pager->pools[group].n_evicted++;
    /* Without this page no sequence takes over the prefix, nor its pages of other groups. */
    for (uint32_t g = 0; g < pager->n_groups && pager->pools[group].window == 0; g++) {
        p = link->words[g];
        if (p == PAGER_NONE || page_holds(&pager->pools[g], p) > 0)
            continue;
        forget(pager, g, p);
        pager->pools[g].n_evicted++;
    }
    rapt_links_release(pager, l);
}

uint32_t rapt_pool_take(rapt_pager *pager, uint32_t group)
{
    struct pool *pool = &pager->pools[group];
    if (pool->n_free == 0)
        evict(pager, group);
    uint32_t p = pool->free_first;
    assert(p != PAGER_NONE);
    pool->free_first = pool->pages[p].next;
    pool->n_free--;
    pool->refs[p] = 1;
    return p;
}
