/* SPDX-License-Identifier: Apache-2.0 */
/* Walks everything and compares it with everything else. */
#include "inside.h"

#define SOUND(condition, ...)                                                                      \
    do {                                                                                           \
        if (!(condition))                                                                          \
            return rapt_fail(RAPT_ERROR_INTERNAL, __VA_ARGS__);                                    \
    } while (0)

static rapt_status check_lists(const rapt_pager *pager, uint32_t g)
{
    const struct pool *pool = &pager->pools[g];
    uint32_t n = 0, before = PAGER_NONE;
    for (uint32_t p = pool->free_first; p != PAGER_NONE; p = pool->pages[p].next) {
        SOUND(p < pool->n_pages && is_page(pool, p), "group %u: page %u is free", g, p);
        SOUND(n++ < pool->n_free, "group %u: more than %u pages are free", g, pool->n_free);
        SOUND(page_holds(pool, p) == 0, "group %u: free page %u is held", g, p);
        SOUND(pool->pages[p].link == PAGER_NONE, "group %u: free page %u is in the cache", g, p);
        SOUND(pool->pages[p].copy_to == PAGER_NONE, "group %u: free page %u awaits a copy", g, p);
    }
    SOUND(n == pool->n_free, "group %u: %u pages are free, %u counted", g, n, pool->n_free);
    n = 0;
    for (uint32_t p = pool->lru_oldest; p != PAGER_NONE; p = pool->pages[p].next) {
        SOUND(p < pool->n_pages && is_page(pool, p), "group %u: page %u is cached", g, p);
        SOUND(n++ < pool->n_cached, "group %u: more than %u pages are cached", g, pool->n_cached);
        SOUND(page_holds(pool, p) == 0, "group %u: cached page %u is held", g, p);
        SOUND(pool->pages[p].link != PAGER_NONE, "group %u: cached page %u has no link", g, p);
        SOUND(pool->pages[p].prev == before, "group %u: page %u follows %u, not %u", g, p, before,
              pool->pages[p].prev);
        before = p;
    }
    SOUND(n == pool->n_cached, "group %u: %u pages are cached, %u counted", g, n, pool->n_cached);
    SOUND(pool->lru_newest == before, "group %u: %u is the newest page, not %u", g, before,
          pool->lru_newest);
    return RAPT_OK;
}

/* Occurrences of held pages are counted in their prev (tables) and next (copies): scratch. */
static rapt_status count_table(const rapt_pager *pager, const struct sequence *seq, uint32_t g)
{
    const struct pool *pool = &pager->pools[g];
    const struct seat *seat = seat_of(pager, seq, g);
    uint32_t s = slot_of(pager, seq), n_used = pages_of(pager, n_slots_of(seq));
    SOUND(seat->n_held >= n_used && seat->n_held <= seq->capacity,
          "sequence %u, group %u: holds %u pages, uses %u, has room for %u", s, g, seat->n_held,
          n_used, seq->capacity);
    SOUND(seq->kind == SEQUENCE_PIN || pool->window > 0 || seat->null_end == 0,
          "sequence %u, group %u: no window, %u entries given back", s, g, seat->null_end);
    for (uint32_t i = 0; i < seat->n_held; i++) {
        uint32_t p = table_of(seq, g)[i];
        int given = i >= pool->n_sink_pages && i < seat->null_end;
        if (!is_page(pool, p)) {
            SOUND(given || seq->kind == SEQUENCE_PIN,
                  "sequence %u, group %u: entry %u is the null page", s, g, i);
            continue;
        }
        SOUND(!given || seq->kind == SEQUENCE_PIN,
              "sequence %u, group %u: entry %u was given back and is page %u", s, g, i, p);
        SOUND(p < pool->n_pages, "sequence %u, group %u: entry %u is page %u of %u", s, g, i, p,
              pool->n_pages);
        SOUND(pool->refs[p] > 0, "sequence %u, group %u: entry %u is page %u, which is not held", s,
              g, i, p);
        uint32_t l = pool->pages[p].link;
        SOUND(l == PAGER_NONE || i >= seq->n_links || l == links_of(seq)[i],
              "sequence %u, group %u: page %u of entry %u is cached as another", s, g, p, i);
        SOUND(i < n_used || (pool->refs[p] == 1 && l == PAGER_NONE),
              "sequence %u, group %u: reserved page %u is not its own", s, g, p);
        pool->pages[p].prev++;
    }
    return RAPT_OK;
}

static rapt_status check_sequence(const rapt_pager *pager, const struct sequence *seq)
{
    uint32_t s = slot_of(pager, seq), parent = PAGER_NONE;
    SOUND(n_known_of(pager, seq) <= seq->n_tokens && seq->n_tail < pager->page_size,
          "sequence %u: %u tokens are known of %u", s, n_known_of(pager, seq), seq->n_tokens);
    SOUND((seq->n_tree > 0) == (seq->tree != NULL), "sequence %u: a tree of %u nodes", s,
          seq->n_tree);
    for (uint32_t i = 0; i < seq->n_links; i++) {
        uint32_t l = links_of(seq)[i];
        SOUND(l < pager->links.n_chunks * LINKS_PER_CHUNK, "sequence %u: link %u of page %u", s, l,
              i);
        const struct link *link = link_at(pager, l);
        SOUND(link->parent == parent && link->extra_key == seq->extra_key,
              "sequence %u: link %u of page %u follows %u, not %u", s, l, i, link->parent, parent);
        SOUND(link->n_refs > 0, "sequence %u: link %u of page %u is free", s, l, i);
        parent = l;
    }
    if (parent != PAGER_NONE)
        link_at(pager, parent)->mark++;
    return RAPT_OK;
}

static rapt_status check_copies(const rapt_pager *pager)
{
    uint32_t n_live = 0;
    for (uint32_t c = 0; c < pager->n_copies; c++) {
        const rapt_page_copy *what = &pager->copies[c].what;
        if (what->n_tokens == 0)
            continue;
        n_live++;
        struct pool *pool = (struct pool *)&pager->pools[what->group];
        SOUND(is_page(pool, what->from_page) && is_page(pool, what->to_page),
              "copy %u: from page %u to page %u", c, what->from_page, what->to_page);
        if (what->from_page != what->to_page) {
            SOUND(page_holds(pool, what->from_page) > 0,
                  "copy %u: reads page %u, which is not held", c, what->from_page);
            pool->pages[what->from_page].next++;
        }
        uint32_t at = pool->pages[what->to_page].copy_to;
        while (at != c && at != PAGER_NONE && at < pager->n_copies)
            at = pager->copies[at].next_to;
        SOUND(at == c, "copy %u: page %u does not know of it", c, what->to_page);
    }
    SOUND(n_live == pager->n_live_copies, "%u copies are pending, %u counted", n_live,
          pager->n_live_copies);
    return RAPT_OK;
}

static rapt_status compare_counts(const rapt_pager *pager, uint32_t g)
{
    const struct pool *pool = &pager->pools[g];
    uint32_t n_used = 0, n_shared = 0;
    for (uint32_t p = pool->first_page; p < pool->n_pages; p++) {
        const struct page *page = &pool->pages[p];
        uint32_t l = page->link;
        SOUND(l == PAGER_NONE ||
                  (l < pager->links.n_chunks * LINKS_PER_CHUNK && link_at(pager, l)->words[g] == p),
              "group %u: link %u does not know page %u", g, l, p);
        if (page_holds(pool, p) == 0)
            continue;
        SOUND(page->prev == pool->refs[p], "group %u: page %u is in %u tables, %u counted", g, p,
              page->prev, pool->refs[p]);
        SOUND(page->next == page->copies_from, "group %u: page %u is read by %u copies, %u counted",
              g, p, page->next, page->copies_from);
        n_used++;
        n_shared += page_holds(pool, p) > 1;
    }
    SOUND(n_used + pool->n_free + pool->n_cached == pool->n_pages - pool->first_page,
          "group %u: %u pages used, %u free, %u cached of %u", g, n_used, pool->n_free,
          pool->n_cached, pool->n_pages - pool->first_page);
    SOUND(n_shared == pool->n_shared, "group %u: %u pages are shared, %u counted", g, n_shared,
          pool->n_shared);
    return RAPT_OK;
}

static rapt_status check_link(const rapt_pager *pager, uint32_t l)
{
    struct link *link = link_at(pager, l);
    uint32_t n_pages = 0;
    for (uint32_t g = 0; g < pager->n_groups; g++) {
        uint32_t p = link->words[g];
        if (p == PAGER_NONE)
            continue;
        n_pages++;
        SOUND(p < pager->pools[g].n_pages && pager->pools[g].pages[p].link == l,
              "link %u: page %u of group %u is not registered with it", l, p, g);
    }
    SOUND(n_pages == link->n_pages, "link %u: %u pages, %u counted", l, n_pages, link->n_pages);
    SOUND(link->mark == link->n_refs, "link %u: %u stand on it, %u counted", l, link->mark,
          link->n_refs);
    SOUND(rapt_links_find(pager, link->parent, link->extra_key, link_tokens(pager, link)) == l,
          "link %u is not found, or there are two", l);
    return RAPT_OK;
}

/* Links in use are those in the buckets; who stands on them is counted in their marks. */
static rapt_status check_links(const rapt_pager *pager, int again)
{
    const struct links *links = &pager->links;
    uint32_t n = 0;
    for (uint32_t b = 0; b <= links->bucket_mask; b++) {
        for (uint32_t l = links->buckets[b]; l != PAGER_NONE; l = link_at(pager, l)->next) {
            SOUND(n++ < links->n_used, "more than %u links are in use", links->n_used);
            if (again) {
                rapt_status status = check_link(pager, l);
                if (status != RAPT_OK)
                    return status;
            } else if (link_at(pager, l)->parent != PAGER_NONE) {
                link_at(pager, link_at(pager, l)->parent)->mark++;
            }
        }
    }
    SOUND(n == links->n_used, "%u links are in use, %u counted", n, links->n_used);
    n = 0;
    for (uint32_t l = links->free_first; l != PAGER_NONE; l = link_at(pager, l)->next)
        SOUND(n++ < links->n_free, "more than %u links are free", links->n_free);
    SOUND(n == links->n_free && n + links->n_used == links->n_chunks * LINKS_PER_CHUNK,
          "%u links are free, %u counted, %u used", n, links->n_free, links->n_used);
    return RAPT_OK;
}

static void clear_scratch(const rapt_pager *pager)
{
    for (uint32_t l = 0; l < pager->links.n_chunks * LINKS_PER_CHUNK; l++)
        link_at(pager, l)->mark = 0;
    for (uint32_t g = 0; g < pager->n_groups; g++) {
        const struct pool *pool = &pager->pools[g];
        for (uint32_t p = pool->first_page; p < pool->n_pages; p++)
            if (page_holds(pool, p) > 0)
                pool->pages[p].prev = pool->pages[p].next = 0;
    }
}

rapt_status rapt_pager_check(const rapt_pager *pager)
{
    rapt_status status = RAPT_OK;
    if (!pager)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "pager is NULL");
    for (uint32_t g = 0; g < pager->n_groups && status == RAPT_OK; g++)
        status = check_lists(pager, g);
    if (status != RAPT_OK)
        return status;
    clear_scratch(pager);
    uint32_t n_open = 0;
    for (uint32_t s = 0; s < pager->max_seqs && status == RAPT_OK; s++) {
        const struct sequence *seq = &pager->seqs[s];
        if (seq->kind == SEQUENCE_CLOSED)
            continue;
        n_open++;
        status = check_sequence(pager, seq);
        for (uint32_t g = 0; g < pager->n_groups && status == RAPT_OK; g++)
            status = count_table(pager, seq, g);
    }
    if (status == RAPT_OK && n_open != pager->n_open)
        status = rapt_fail(RAPT_ERROR_INTERNAL, "%u sequences are open, %u counted", n_open,
                           pager->n_open);
    if (status == RAPT_OK)
        status = check_copies(pager);
    for (uint32_t g = 0; g < pager->n_groups && status == RAPT_OK; g++)
        status = compare_counts(pager, g);
    for (int again = 0; again < 2 && status == RAPT_OK; again++)
        status = check_links(pager, again);
    return status;
}
