/* SPDX-License-Identifier: Apache-2.0 */
/* Copies the device has to make, until somebody takes the list. */
#include "inside.h"

/* Which pending copies write a page: lists through the records, made anew after records moved. */
static void relink(rapt_pager *pager)
{
    for (uint32_t c = 0; c < pager->n_copies; c++) {
        const rapt_page_copy *what = &pager->copies[c].what;
        if (what->n_tokens > 0)
            pager->pools[what->group].pages[what->to_page].copy_to = PAGER_NONE;
    }
    for (uint32_t c = 0; c < pager->n_copies; c++) {
        const rapt_page_copy *what = &pager->copies[c].what;
        if (what->n_tokens == 0)
            continue;
        uint32_t *at = &pager->pools[what->group].pages[what->to_page].copy_to;
        pager->copies[c].next_to = *at;
        *at = c;
    }
}

static void drop_cancelled(rapt_pager *pager)
{
    uint32_t n = 0;
    for (uint32_t c = 0; c < pager->n_copies; c++)
        if (pager->copies[c].what.n_tokens > 0)
            pager->copies[n++] = pager->copies[c];
    pager->n_copies = n;
    relink(pager);
}

rapt_status rapt_copies_reserve(rapt_pager *pager, uint64_t n)
{
    if (pager->n_copies + n <= pager->max_copies)
        return RAPT_OK;
    if (pager->n_live_copies <= pager->n_copies / 2)
        drop_cancelled(pager);
    if (pager->n_copies + n <= pager->max_copies)
        return RAPT_OK;
    uint64_t max_copies = pager->n_copies + n > 2 * (uint64_t)pager->max_copies
                              ? pager->n_copies + n
                              : 2 * (uint64_t)pager->max_copies;
    max_copies = max_copies < 16 ? 16 : max_copies;
    struct copy *copies = NULL;
    if (max_copies < PAGER_NONE)
        copies = rapt_alloc(pager->allocator, (size_t)max_copies, sizeof *copies);
    if (!copies)
        return rapt_fail(RAPT_ERROR_HOST_MEMORY, "no memory for %llu page copies",
                         (unsigned long long)max_copies);
    if (pager->n_copies > 0)
        memcpy(copies, pager->copies, pager->n_copies * sizeof *copies);
    rapt_free(pager->allocator, pager->copies);
    pager->copies = copies;
    pager->max_copies = (uint32_t)max_copies;
    return RAPT_OK;
}

static int overlap(uint32_t page_a, uint32_t a, uint32_t n_a, uint32_t page_b, uint32_t b,
                   uint32_t n_b)
{
    return page_a == page_b && a < b + n_b && b < a + n_a;
}

/* One reads or writes what the other writes. */
static int meet(const rapt_page_copy *a, const rapt_page_copy *b)
{
    return b->n_tokens > 0 && a->group == b->group &&
           (overlap(a->from_page, a->from_token, a->n_tokens, b->to_page, b->to_token,
                    b->n_tokens) ||
            overlap(a->to_page, a->to_token, a->n_tokens, b->from_page, b->from_token,
                    b->n_tokens) ||
            overlap(a->to_page, a->to_token, a->n_tokens, b->to_page, b->to_token, b->n_tokens));
}

static void reverse(struct copy *copies, uint32_t first, uint32_t end)
{
    for (; first + 1 < end; first++, end--) {
        struct copy kept = copies[first];
        copies[first] = copies[end - 1];
        copies[end - 1] = kept;
    }
}

/* Chains that the new copy meets go to the end of the list, as one chain with the one it belongs
 * to. Rare: somebody forks, truncates or commits a tree before the copies of the last call were
 * taken. */
static uint32_t merge_chains(rapt_pager *pager, const rapt_page_copy *copy, uint32_t chain)
{
    struct copy *copies = pager->copies;
    int moved = 0;
    for (uint32_t c = 0; c < pager->n_copies;) {
        uint32_t first = c, met = 0, old = copies[c].chain;
        for (; c < pager->n_copies && copies[c].chain == old; c++)
            met |= (uint32_t)meet(copy, &copies[c].what);
        if (!met || old == chain)
            continue;
        if (chain == PAGER_NONE)
            chain = old;
        for (uint32_t i = first; i < c; i++)
            copies[i].chain = chain;
        if (c == pager->n_copies)
            break;
        /* What follows moves down over it, then comes next in this loop. */
        reverse(copies, first, c);
        reverse(copies, c, pager->n_copies);
        reverse(copies, first, pager->n_copies);
        c = first;
        moved = 1;
    }
    if (moved)
        relink(pager);
    return chain;
}

uint32_t rapt_copies_add(rapt_pager *pager, const rapt_page_copy *what, uint32_t chain)
{
    struct pool *pool = &pager->pools[what->group];
    if (pool->pages[what->from_page].copy_to != PAGER_NONE ||
        pool->pages[what->to_page].copy_to != PAGER_NONE ||
        pool->pages[what->to_page].copies_from > 0)
        chain = merge_chains(pager, what, chain);
    if (chain == PAGER_NONE)
        chain = pager->next_chain++;
    assert(pager->n_copies < pager->max_copies);
    uint32_t c = pager->n_copies++;
    pager->copies[c] = (struct copy){*what, chain, pool->pages[what->to_page].copy_to};
    pool->pages[what->to_page].copy_to = c;
    pager->n_live_copies++;
    pool->n_copies++;
    if (what->from_page != what->to_page)
        rapt_pool_hold_for_copy(pager, what->group, what->from_page);
    return chain;
}

rapt_status rapt_pager_take_copies(rapt_pager *pager, uint32_t capacity, rapt_page_copy *out_copies,
                                   uint32_t *out_n)
{
    if (!pager || !out_n)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s is NULL", !pager ? "pager" : "out_n");
    uint32_t n = 0, before = PAGER_NONE;
    *out_n = pager->n_live_copies;
    if (capacity < *out_n)
        return rapt_fail(RAPT_ERROR_CAPACITY, "capacity is %u: there are %u copies", capacity,
                         *out_n);
    if (*out_n > 0 && !out_copies)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "out_copies is NULL");
    uint32_t n_copies = pager->n_copies;
    for (uint32_t c = 0; c < n_copies; c++) {
        const rapt_page_copy *what = &pager->copies[c].what;
        if (what->n_tokens == 0)
            continue;
        out_copies[n] = *what;
        out_copies[n].chained = n > 0 && pager->copies[c].chain == before;
        before = pager->copies[c].chain;
        pager->pools[what->group].pages[what->to_page].copy_to = PAGER_NONE;
        n++;
    }
    pager->n_copies = pager->n_live_copies = pager->next_chain = 0;
    for (uint32_t c = 0; c < n; c++)
        if (out_copies[c].from_page != out_copies[c].to_page)
            rapt_pool_release_from_copy(pager, out_copies[c].group, out_copies[c].from_page);
    return rapt_pager_end(pager, RAPT_OK);
}
