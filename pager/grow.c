/* SPDX-License-Identifier: Apache-2.0 */
/* Sequences grow: what it takes is counted, then reserved, then done. */
#include "inside.h"

static struct growth growth_at(const struct batch *batch, uint32_t i)
{
    struct growth growth = {NULL, batch->n_tokens[i]};
    if (batch->seqs[i] != 0)
        growth.seq = &batch->pager->seqs[(uint32_t)batch->seqs[i] - 1];
    return growth;
}

static rapt_status check_one(const struct sequence *seq, uint32_t n_tokens)
{
    if (seq && seq->n_tree > 0)
        return rapt_fail(RAPT_ERROR_ARGUMENT,
                         "the sequence has a tree of %u nodes: commit it first", seq->n_tree);
    uint32_t n_have = seq ? seq->n_tokens : 0;
    if (n_tokens > PAGER_MAX_TOKENS - n_have)
        return rapt_fail(RAPT_ERROR_ARGUMENT,
                         "n_tokens is %u, the sequence has %u: a sequence has at most %u", n_tokens,
                         n_have, PAGER_MAX_TOKENS);
    return RAPT_OK;
}

rapt_status rapt_grow_check(const struct batch *batch, int with_new)
{
    rapt_pager *pager = (rapt_pager *)batch->pager; /* but for the stamps nothing changes */
    uint32_t stamp = ++pager->stamp;
    for (uint32_t i = 0; stamp == 0 && i < pager->max_seqs; i++)
        pager->seqs[i].stamp = UINT32_MAX; /* once in four billion batches */
    for (uint32_t i = 0; i < batch->n_seqs; i++) {
        struct sequence *seq = NULL;
        rapt_status status = RAPT_OK;
        if (!with_new || batch->seqs[i] != 0)
            status = rapt_seqs_find(pager, batch->seqs[i], "seq", SEQUENCE_OPEN, &seq);
        if (status == RAPT_OK)
            status = check_one(seq, batch->n_tokens[i]);
        if (status == RAPT_OK && seq && seq->stamp == stamp)
            status = rapt_fail(RAPT_ERROR_ARGUMENT, "it is in the batch twice");
        if (status != RAPT_OK && batch->n_seqs > 1)
            return rapt_fail(status, "seqs[%u]: %s", i, rapt_last_error());
        if (status != RAPT_OK)
            return status;
        if (seq)
            seq->stamp = stamp;
    }
    return RAPT_OK;
}

/* ------------------------------------------------------------------------------------- counting */

/* Pages the sequence's next token cannot see lose a reference, or get it back. */
static void try_release(const rapt_pager *pager, const struct sequence *seq, uint32_t g, int undo,
                        uint64_t *inout_n_given)
{
    const struct pool *pool = &pager->pools[g];
    uint32_t end = window_first(pager, pool, seq->n_tokens);
    for (uint32_t i = seat_of(pager, seq, g)->null_end; i < end; i++) {
        uint32_t p = table_of(seq, g)[i];
        if (undo)
            pool->refs[p]++;
        else
            pool->refs[p]--;
        *inout_n_given += !undo && page_holds(pool, p) == 0;
    }
}

/* The page of the next token if it is partial, else PAGER_NONE. */
static uint32_t partial_page(const rapt_pager *pager, const struct sequence *seq, uint32_t g)
{
    uint32_t n_slots = n_slots_of(seq);
    return n_slots & (pager->page_size - 1) ? table_of(seq, g)[n_slots >> pager->page_shift]
                                            : PAGER_NONE;
}

/* Pages sequence and tokens need beside those reserved; it leaves its last page if that is shared.
 */
static uint64_t try_take(const rapt_pager *pager, const struct growth *growth, uint32_t g)
{
    const struct sequence *seq = growth->seq;
    if (!seq)
        return pages_of(pager, growth->n_tokens);
    const struct pool *pool = &pager->pools[g];
    struct seat *seat = seat_of(pager, seq, g);
    uint32_t p = partial_page(pager, seq, g);
    seat->left = p != PAGER_NONE && pool->refs[p] > 1;
    if (seat->left)
        pool->refs[p]--;
    uint64_t n_pages = (uint64_t)pages_of(pager, n_slots_of(seq) + growth->n_tokens) + seat->left;
    return n_pages > seat->n_held ? n_pages - seat->n_held : 0;
}

void rapt_grow_count(const struct batch *batch, struct needs *out_needs)
{
    const rapt_pager *pager = batch->pager;
    for (uint32_t g = 0; g < pager->n_groups; g++) {
        const struct pool *pool = &pager->pools[g];
        uint64_t n_given = 0, n_needed = 0;
        /* As the work itself goes: all give, then one after the other takes. Then references are
         * put back as they were. */
        for (int undo = 0; undo < 2; undo++) {
            for (uint32_t i = 0; pool->window > 0 && i < batch->n_seqs; i++) {
                struct growth growth = growth_at(batch, i);
                if (growth.seq && growth.n_tokens > 0)
                    try_release(pager, growth.seq, g, undo, &n_given);
            }
            for (uint32_t i = 0; i < batch->n_seqs; i++) {
                struct growth growth = growth_at(batch, i);
                if (growth.n_tokens == 0)
                    continue;
                if (!undo)
                    n_needed += try_take(pager, &growth, g);
                else if (growth.seq && seat_of(pager, growth.seq, g)->left)
                    pool->refs[partial_page(pager, growth.seq, g)]++;
            }
        }
        out_needs->n_needed[g] = n_needed;
        out_needs->n_given[g] = n_given;
    }
}

rapt_status rapt_grow_afford(const rapt_pager *pager, const struct needs *needs)
{
    for (uint32_t g = 0; g < pager->n_groups; g++) {
        const struct pool *pool = &pager->pools[g];
        uint64_t n_available = (uint64_t)pool->n_free + pool->n_cached + needs->n_given[g];
        if (needs->n_needed[g] > n_available)
            return rapt_fail(RAPT_ERROR_PAGES,
                             "group %u lacks %llu pages: %llu needed, %u free, %u cached, %llu "
                             "given back",
                             g, (unsigned long long)(needs->n_needed[g] - n_available),
                             (unsigned long long)needs->n_needed[g], pool->n_free, pool->n_cached,
                             (unsigned long long)needs->n_given[g]);
    }
    return RAPT_OK;
}

/* ---------------------------------------------------------------------------------------- doing */

void rapt_grow_release(rapt_pager *pager, struct sequence *seq)
{
    for (uint32_t g = 0; g < pager->n_groups && pager->has_windows; g++) {
        uint32_t end = window_first(pager, &pager->pools[g], seq->n_tokens);
        struct seat *seat = seat_of(pager, seq, g);
        for (; seat->null_end < end; seat->null_end++) {
            rapt_seqs_drop_page(pager, seq, g, seat->null_end);
            table_of(seq, g)[seat->null_end] = 0;
        }
    }
}

/* A page for the sequence: one it reserved, or a new one. */
static uint32_t take_page(rapt_pager *pager, struct sequence *seq, uint32_t g, uint32_t n_used)
{
    struct seat *seat = seat_of(pager, seq, g);
    if (seat->n_held > n_used)
        return table_of(seq, g)[--seat->n_held];
    return rapt_pool_take(pager, g);
}

void rapt_grow_take(rapt_pager *pager, struct sequence *seq, uint32_t n_tokens)
{
    uint32_t n_slots = n_slots_of(seq), n_used = pages_of(pager, n_slots);
    uint32_t n_pages = pages_of(pager, n_slots + n_tokens);
    for (uint32_t g = 0; g < pager->n_groups; g++) {
        struct pool *pool = &pager->pools[g];
        struct seat *seat = seat_of(pager, seq, g);
        uint32_t *table = table_of(seq, g), p = partial_page(pager, seq, g);
        if (p != PAGER_NONE && pool->refs[p] > 1) {
            uint32_t copy = take_page(pager, seq, g, n_used);
            rapt_copies_add(pager,
                            &(rapt_page_copy){.group = g,
                                              .from_page = p,
                                              .to_page = copy,
                                              .n_tokens = n_slots & (pager->page_size - 1)},
                            PAGER_NONE);
            rapt_pool_release(pager, g, p);
            table[n_used - 1] = copy;
        } else if (p != PAGER_NONE && pool->pages[p].link != PAGER_NONE) {
            rapt_links_unregister(pager, g, p);
        }
        while (seat->n_held < n_pages)
            table[seat->n_held++] = rapt_pool_take(pager, g);
    }
}

void rapt_grow_tokens(rapt_pager *pager, struct sequence *seq, uint32_t n_tokens,
                      const int32_t *tokens)
{
    uint32_t page_size = pager->page_size;
    int known = tokens && n_known_of(pager, seq) == seq->n_tokens;
    seq->n_tokens += n_tokens;
    while (known && n_tokens > 0) {
        const int32_t *page = tokens;
        uint32_t n = page_size - seq->n_tail;
        n = n < n_tokens ? n : n_tokens;
        if (n < page_size) {
            int32_t *tail = tail_of(pager, seq);
            memcpy(tail + seq->n_tail, tokens, n * sizeof *tail);
            page = tail;
        }
        tokens += n;
        n_tokens -= n;
        seq->n_tail += n;
        if (seq->n_tail < page_size)
            break;
        seq->n_tail = 0;
        uint32_t before = seq->n_links > 0 ? links_of(seq)[seq->n_links - 1] : PAGER_NONE;
        rapt_seqs_push_link(pager, seq, rapt_links_take(pager, before, seq->extra_key, page));
    }
}

rapt_status rapt_grow_reserve_links(rapt_pager *pager, uint64_t n_tokens, uint32_t n_seqs)
{
    return rapt_links_reserve(pager, (n_tokens >> pager->page_shift) + n_seqs);
}

/* Everything the work on the batch will write to gets room. */
static rapt_status reserve_batch(rapt_pager *pager, const struct batch *batch, int with_tokens)
{
    uint64_t n_copies = 0, n_links = 0;
    rapt_status status = RAPT_OK;
    for (uint32_t i = 0; i < batch->n_seqs && status == RAPT_OK; i++) {
        struct growth growth = growth_at(batch, i);
        const struct sequence *seq = growth.seq;
        uint32_t n_slots = seq->n_tokens + growth.n_tokens;
        for (uint32_t g = 0; g < pager->n_groups; g++) {
            uint32_t p = partial_page(pager, seq, g);
            n_copies += p != PAGER_NONE && pager->pools[g].refs[p] > 1;
        }
        if (with_tokens)
            n_links += (n_slots >> pager->page_shift) - (seq->n_tokens >> pager->page_shift);
        status = rapt_seqs_grow(pager, growth.seq, pages_of(pager, n_slots));
    }
    if (status == RAPT_OK)
        status = rapt_links_reserve(pager, n_links);
    if (status == RAPT_OK)
        status = rapt_copies_reserve(pager, n_copies);
    return status;
}

static rapt_status append(rapt_pager *pager, const struct batch *batch, const int32_t *tokens)
{
    struct needs needs;
    rapt_status status = rapt_grow_check(batch, 0);
    if (status != RAPT_OK)
        return status;
    rapt_grow_count(batch, &needs);
    status = rapt_grow_afford(pager, &needs);
    if (status == RAPT_OK)
        status = reserve_batch(pager, batch, tokens != NULL);
    if (status != RAPT_OK)
        return status;
    for (uint32_t i = 0; i < batch->n_seqs && pager->has_windows; i++)
        if (batch->n_tokens[i] > 0)
            rapt_grow_release(pager, growth_at(batch, i).seq);
    for (uint32_t i = 0; i < batch->n_seqs; i++) {
        struct growth growth = growth_at(batch, i);
        if (growth.n_tokens == 0)
            continue;
        rapt_grow_take(pager, growth.seq, growth.n_tokens);
        rapt_grow_tokens(pager, growth.seq, growth.n_tokens, tokens);
        tokens = tokens ? tokens + growth.n_tokens : NULL;
    }
    return RAPT_OK;
}

rapt_status rapt_pager_append(rapt_pager *pager, rapt_seq seq, uint32_t n_tokens,
                              const int32_t *tokens)
{
    if (!pager)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "pager is NULL");
    const struct batch batch = {pager, 1, &seq, &n_tokens};
    return rapt_pager_end(pager, append(pager, &batch, tokens));
}

static rapt_status check_batch(const rapt_pager *pager, const struct batch *batch)
{
    if (!pager)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "pager is NULL");
    if (batch->n_seqs > 0 && (!batch->seqs || !batch->n_tokens))
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s is NULL", !batch->seqs ? "seqs" : "n_tokens");
    return RAPT_OK;
}

rapt_status rapt_pager_append_batch(rapt_pager *pager, uint32_t n_seqs, const rapt_seq *seqs,
                                    const uint32_t *n_tokens, const int32_t *tokens)
{
    const struct batch batch = {pager, n_seqs, seqs, n_tokens};
    rapt_status status = check_batch(pager, &batch);
    if (status != RAPT_OK)
        return status;
    return rapt_pager_end(pager, append(pager, &batch, tokens));
}

rapt_status rapt_pager_reserve(rapt_pager *pager, rapt_seq handle, uint32_t n_tokens)
{
    struct needs needs = {{0}, {0}};
    struct sequence *seq = NULL;
    if (!pager)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "pager is NULL");
    rapt_status status = rapt_grow_check(&(struct batch){pager, 1, &handle, &n_tokens}, 0);
    if (status == RAPT_OK)
        status = rapt_seqs_find(pager, handle, "seq", SEQUENCE_OPEN, &seq);
    if (status != RAPT_OK)
        return rapt_pager_end(pager, status);
    uint64_t n_pages[RAPT_PAGER_MAX_GROUPS], most = 0;
    for (uint32_t g = 0; g < pager->n_groups; g++) {
        uint32_t p = partial_page(pager, seq, g), n_held = seat_of(pager, seq, g)->n_held;
        n_pages[g] = pages_of(pager, seq->n_tokens + n_tokens);
        if (n_tokens > 0 && p != PAGER_NONE && pager->pools[g].refs[p] > 1)
            n_pages[g]++; /* for the copy */
        needs.n_needed[g] = n_pages[g] > n_held ? n_pages[g] - n_held : 0;
        most = n_pages[g] > most ? n_pages[g] : most;
    }
    status = rapt_grow_afford(pager, &needs);
    if (status == RAPT_OK)
        status = rapt_seqs_grow(pager, seq, most);
    for (uint32_t g = 0; g < pager->n_groups && status == RAPT_OK; g++)
        while (seat_of(pager, seq, g)->n_held < n_pages[g])
            table_of(seq, g)[seat_of(pager, seq, g)->n_held++] = rapt_pool_take(pager, g);
    return rapt_pager_end(pager, status);
}

static uint32_t saturated(uint64_t n)
{
    return n > UINT32_MAX ? UINT32_MAX : (uint32_t)n;
}

rapt_status rapt_pager_can_fit(const rapt_pager *pager, uint32_t n_seqs, const rapt_seq *seqs,
                               const uint32_t *n_tokens, rapt_pager_fit *out_fit)
{
    const struct batch batch = {pager, n_seqs, seqs, n_tokens};
    struct needs needs;
    rapt_pager_fit fit;
    rapt_status status = check_batch(pager, &batch);
    if (status == RAPT_OK)
        status = rapt_params_read("rapt_pager_fit", out_fit, &fit, sizeof fit);
    if (status == RAPT_OK)
        status = rapt_grow_check(&batch, 1);
    if (status != RAPT_OK)
        return status;
    rapt_grow_count(&batch, &needs);
    fit = (rapt_pager_fit){.struct_size = sizeof fit, .fits = 1};
    for (uint32_t g = 0; g < pager->n_groups; g++) {
        const struct pool *pool = &pager->pools[g];
        fit.n_needed[g] = saturated(needs.n_needed[g]);
        fit.n_available[g] = saturated((uint64_t)pool->n_free + pool->n_cached + needs.n_given[g]);
        fit.fits &= needs.n_needed[g] <= fit.n_available[g];
    }
    rapt_params_write(out_fit, &fit, sizeof fit);
    return RAPT_OK;
}
