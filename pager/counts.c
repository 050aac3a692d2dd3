/* SPDX-License-Identifier: Apache-2.0 */
/* Statistics of a group. */
#include "inside.h"

/* What is known of a page that somebody holds but did not fill: how many such holders (in prev),
 * the most any of them filled (in next). Both are scratch of held pages. */
static void note_partial(struct pool *pool, uint32_t p, uint32_t n_filled, int again)
{
    struct page *page = &pool->pages[p];
    if (!again) {
        page->prev = page->next = 0;
        return;
    }
    page->prev++;
    page->next = n_filled > page->next ? n_filled : page->next;
}

/* Slots of a page left empty by all its holders, once per page. */
static uint32_t take_empty(struct pool *pool, uint32_t page_size, uint32_t p)
{
    struct page *page = &pool->pages[p];
    uint32_t n = page->prev > 0 && page->prev == page_holds(pool, p) ? page_size - page->next : 0;
    page->prev = 0;
    return n;
}

/* Slots of used pages that hold nothing. */
static uint64_t count_empty(const rapt_pager *pager, uint32_t g)
{
    struct pool *pool = (struct pool *)&pager->pools[g]; /* scratch aside nothing changes */
    uint64_t n_empty = 0;
    for (int pass = 0; pass < 3; pass++) {
        for (uint32_t c = 0; c < pager->n_copies; c++) {
            const rapt_page_copy *what = &pager->copies[c].what;
            if (what->n_tokens == 0 || what->group != g || what->from_page == what->to_page)
                continue;
            if (pass < 2)
                note_partial(pool, what->from_page, what->from_token + what->n_tokens, pass);
            else
                n_empty += take_empty(pool, pager->page_size, what->from_page);
        }
        for (uint32_t s = 0; s < pager->max_seqs; s++) {
            const struct sequence *seq = &pager->seqs[s];
            if (seq->kind != SEQUENCE_OPEN)
                continue;
            uint32_t n_slots = n_slots_of(seq), n_filled = n_slots & (pager->page_size - 1);
            uint32_t n_spare = seat_of(pager, seq, g)->n_held - pages_of(pager, n_slots);
            if (pass == 2)
                n_empty += (uint64_t)n_spare << pager->page_shift;
            if (n_filled == 0)
                continue;
            uint32_t p = table_of(seq, g)[n_slots >> pager->page_shift];
            if (pass < 2)
                note_partial(pool, p, n_filled, pass);
            else
                n_empty += take_empty(pool, pager->page_size, p);
        }
    }
    return n_empty;
}

rapt_status rapt_pager_get_stats(const rapt_pager *pager, uint32_t group,
                                 rapt_pager_stats *out_stats)
{
    rapt_pager_stats stats;
    if (!pager)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "pager is NULL");
    if (group >= pager->n_groups)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "group is %u: the pager has %u", group,
                         pager->n_groups);
    rapt_status status = rapt_params_read("rapt_pager_stats", out_stats, &stats, sizeof stats);
    if (status != RAPT_OK)
        return status;
    const struct pool *pool = &pager->pools[group];
    uint32_t n_pages = pool->n_pages - pool->first_page;
    uint32_t n_used = n_pages - pool->n_free - pool->n_cached;
    uint64_t n_slots = (uint64_t)n_used << pager->page_shift;
    stats = (rapt_pager_stats){.struct_size = sizeof stats,
                               .n_pages = n_pages,
                               .n_free = pool->n_free,
                               .n_cached = pool->n_cached,
                               .n_used = n_used,
                               .n_shared = pool->n_shared,
                               .n_seqs = pager->n_open,
                               .n_tokens = n_slots - count_empty(pager, group),
                               .n_lookup_pages = pager->n_lookup_pages,
                               .n_hit_pages = pager->n_hit_pages,
                               .n_evicted = pool->n_evicted,
                               .n_copies = pool->n_copies};
    stats.fragmentation = n_used > 0 ? 1 - (double)stats.n_tokens / (double)n_slots : 0;
    rapt_params_write(out_stats, &stats, sizeof stats);
    return RAPT_OK;
}
