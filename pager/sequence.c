/* SPDX-License-Identifier: Apache-2.0 */
/* Sequences: open, close, fork, truncate, pin. */
#include "inside.h"

static const char *const kind_names[] = {"closed", "a sequence", "a pin"};

rapt_status rapt_seqs_find(const rapt_pager *pager, rapt_seq handle, const char *name,
                           uint32_t kind, struct sequence **out_seq)
{
    uint32_t slot = (uint32_t)handle - 1, generation = (uint32_t)(handle >> 32);
    if (handle == 0)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s is 0, which is no sequence", name);
    if (slot >= pager->max_seqs || generation == 0 || generation > pager->seqs[slot].generation)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s is 0x%llx: not a sequence of this pager", name,
                         (unsigned long long)handle);
    if (generation < pager->seqs[slot].generation || pager->seqs[slot].kind == SEQUENCE_CLOSED)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s is 0x%llx, which was closed", name,
                         (unsigned long long)handle);
    if (pager->seqs[slot].kind != kind)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s is 0x%llx, %s: it must be %s", name,
                         (unsigned long long)handle, kind_names[pager->seqs[slot].kind],
                         kind_names[kind]);
    *out_seq = &pager->seqs[slot];
    return RAPT_OK;
}

rapt_status rapt_seqs_get_closed(const rapt_pager *pager, struct sequence **out_seq)
{
    if (pager->closed_first == PAGER_NONE)
        return rapt_fail(RAPT_ERROR_CAPACITY,
                         "%u sequences and pins are open: params.max_seqs allows no more",
                         pager->n_open);
    *out_seq = &pager->seqs[pager->closed_first];
    return RAPT_OK;
}

rapt_seq rapt_seqs_open(rapt_pager *pager, struct sequence *seq, uint32_t kind, uint64_t extra_key)
{
    pager->closed_first = seq->next_closed;
    pager->n_open++;
    seq->kind = kind;
    seq->extra_key = extra_key;
    seq->generation++;
    for (uint32_t g = 0; g < pager->n_groups; g++)
        *seat_of(pager, seq, g) = (struct seat){.null_end = pager->pools[g].n_sink_pages};
    return (rapt_seq)seq->generation << 32 | (slot_of(pager, seq) + 1);
}

rapt_status rapt_seqs_grow(rapt_pager *pager, struct sequence *seq, uint64_t n_pages)
{
    if (n_pages <= seq->capacity)
        return RAPT_OK;
    uint64_t capacity = 2 * (uint64_t)seq->capacity;
    capacity = ((capacity < n_pages ? n_pages : capacity) + 7) & ~(uint64_t)7;
    uint32_t *memory = NULL;
    if (capacity < PAGER_NONE)
        memory =
            rapt_alloc(pager->allocator, (size_t)capacity, (1 + pager->n_groups) * sizeof *memory);
    if (!memory)
        return rapt_fail(RAPT_ERROR_HOST_MEMORY, "no memory for a block table of %llu pages",
                         (unsigned long long)capacity);
    for (uint32_t t = 0; seq->memory && t < 1 + pager->n_groups; t++) {
        uint32_t n = t == 0 ? seq->n_links : seat_of(pager, seq, t - 1)->n_held;
        memcpy(memory + t * capacity, seq->memory + (size_t)t * seq->capacity, n * sizeof *memory);
    }
    rapt_free(pager->allocator, seq->memory);
    seq->memory = memory;
    seq->capacity = (uint32_t)capacity;
    return RAPT_OK;
}

void rapt_seqs_drop_page(rapt_pager *pager, struct sequence *seq, uint32_t g, uint32_t index)
{
    struct pool *pool = &pager->pools[g];
    uint32_t p = table_of(seq, g)[index];
    if (!is_page(pool, p))
        return;
    if (pager->caches && index < seq->n_links) {
        uint32_t l = links_of(seq)[index], q = link_at(pager, l)->words[g];
        if (q == PAGER_NONE && pool->pages[p].link == PAGER_NONE)
            rapt_links_register(pager, l, g, p);
        else if (q != PAGER_NONE && q != p)
            rapt_pool_touch(pager, g, q);
    }
    rapt_pool_release(pager, g, p);
}

void rapt_seqs_cut(rapt_pager *pager, struct sequence *seq, uint32_t n_pages)
{
    for (uint32_t g = 0; g < pager->n_groups; g++) {
        struct seat *seat = seat_of(pager, seq, g);
        while (seat->n_held > n_pages)
            rapt_seqs_drop_page(pager, seq, g, --seat->n_held);
        uint32_t n_sinks = pager->pools[g].n_sink_pages;
        if (seat->null_end > n_pages)
            seat->null_end = n_pages > n_sinks ? n_pages : n_sinks;
    }
}

static uint32_t last_link(const struct sequence *seq)
{
    return seq->n_links > 0 ? links_of(seq)[seq->n_links - 1] : PAGER_NONE;
}

void rapt_seqs_push_link(rapt_pager *pager, struct sequence *seq, uint32_t l)
{
    uint32_t before = last_link(seq), index = seq->n_links++;
    links_of(seq)[index] = l;
    rapt_links_release(pager, before);
    for (uint32_t g = 0; g < pager->n_groups && pager->caches; g++) {
        uint32_t p = table_of(seq, g)[index];
        if (is_page(&pager->pools[g], p) && link_at(pager, l)->words[g] == PAGER_NONE &&
            pager->pools[g].pages[p].link == PAGER_NONE)
            rapt_links_register(pager, l, g, p);
    }
}

/* Stands on fewer links. */
static void cut_links(rapt_pager *pager, struct sequence *seq, uint32_t n_links)
{
    if (n_links >= seq->n_links)
        return;
    uint32_t before = last_link(seq);
    seq->n_links = n_links;
    if (n_links > 0)
        link_at(pager, last_link(seq))->n_refs++;
    rapt_links_release(pager, before);
}

static void close_sequence(rapt_pager *pager, struct sequence *seq)
{
    rapt_seqs_cut(pager, seq, 0);
    cut_links(pager, seq, 0);
    rapt_free(pager->allocator, seq->memory);
    rapt_free(pager->allocator, seq->tree);
    *seq = (struct sequence){
        .generation = seq->generation, .stamp = seq->stamp, .next_closed = pager->closed_first};
    pager->closed_first = slot_of(pager, seq);
    pager->n_open--;
}

/* ----------------------------------------------------------------------------- open and close */

static rapt_status read_params(const rapt_seq_params *caller, rapt_seq_params *out_params)
{
    *out_params = (rapt_seq_params){.struct_size = sizeof *out_params};
    if (!caller)
        return RAPT_OK;
    rapt_status status =
        rapt_params_read("rapt_seq_params", caller, out_params, sizeof *out_params);
    if (status != RAPT_OK)
        return status;
    if (out_params->n_tokens > 0 && !out_params->tokens)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "params.tokens is NULL, params.n_tokens is %u",
                         out_params->n_tokens);
    if (out_params->n_tokens > PAGER_MAX_TOKENS)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "params.n_tokens is %u: at most %u",
                         out_params->n_tokens, PAGER_MAX_TOKENS);
    return RAPT_OK;
}

/* At least one token is left to compute. */
static uint32_t n_lookups(const rapt_pager *pager, const rapt_seq_params *params)
{
    return params->n_tokens > 0 ? (params->n_tokens - 1) >> pager->page_shift : 0;
}

rapt_status rapt_pager_match(const rapt_pager *pager, const rapt_seq_params *caller,
                             uint32_t *out_n_cached)
{
    rapt_seq_params params;
    if (!pager || !out_n_cached)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s is NULL", !pager ? "pager" : "out_n_cached");
    rapt_status status = read_params(caller, &params);
    if (status != RAPT_OK)
        return status;
    *out_n_cached =
        rapt_links_match(pager, params.extra_key, params.tokens, n_lookups(pager, &params), NULL)
        << pager->page_shift;
    return RAPT_OK;
}

/* A new sequence takes over the first n_pages pages of the links in its memory. */
static void take_over(rapt_pager *pager, struct sequence *seq, uint32_t n_pages)
{
    seq->n_links = n_pages;
    seq->n_tokens = n_pages << pager->page_shift;
    if (n_pages > 0)
        link_at(pager, last_link(seq))->n_refs++;
    for (uint32_t g = 0; g < pager->n_groups; g++) {
        struct pool *pool = &pager->pools[g];
        struct seat *seat = seat_of(pager, seq, g);
        uint32_t first = window_first(pager, pool, seq->n_tokens), *table = table_of(seq, g);
        if (first > seat->null_end)
            seat->null_end = first;
        seat->n_held = n_pages;
        for (uint32_t i = 0; i < n_pages; i++) {
            int seen = i < pool->n_sink_pages || i >= first;
            table[i] = seen ? link_at(pager, links_of(seq)[i])->words[g] : 0;
            if (seen)
                rapt_pool_hold(pager, g, table[i]);
        }
    }
}

rapt_status rapt_pager_open(rapt_pager *pager, const rapt_seq_params *caller, rapt_seq *out_seq,
                            uint32_t *out_n_cached)
{
    rapt_seq_params params;
    struct sequence *seq = NULL;
    if (!pager || !out_seq)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s is NULL", !pager ? "pager" : "out_seq");
    rapt_status status = read_params(caller, &params);
    if (status == RAPT_OK)
        status = rapt_seqs_get_closed(pager, &seq);
    if (status != RAPT_OK)
        return rapt_pager_end(pager, status);
    uint32_t n_pages = pager->caches ? n_lookups(pager, &params) : 0, n_hits = 0;
    if (n_pages > 0) {
        status = rapt_seqs_grow(pager, seq, pages_of(pager, params.n_tokens));
        if (status != RAPT_OK)
            return rapt_pager_end(pager, status);
        n_hits = rapt_links_match(pager, params.extra_key, params.tokens, n_pages, links_of(seq));
    }
    *out_seq = rapt_seqs_open(pager, seq, SEQUENCE_OPEN, params.extra_key);
    if (n_hits > 0)
        take_over(pager, seq, n_hits);
    pager->n_lookup_pages += n_pages;
    pager->n_hit_pages += n_hits;
    if (out_n_cached)
        *out_n_cached = seq->n_tokens;
    return rapt_pager_end(pager, RAPT_OK);
}

static rapt_status close_kind(rapt_pager *pager, rapt_seq handle, const char *name, uint32_t kind)
{
    struct sequence *seq = NULL;
    if (!pager)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "pager is NULL");
    rapt_status status = rapt_seqs_find(pager, handle, name, kind, &seq);
    if (status == RAPT_OK)
        close_sequence(pager, seq);
    return rapt_pager_end(pager, status);
}

rapt_status rapt_pager_close(rapt_pager *pager, rapt_seq seq)
{
    return close_kind(pager, seq, "seq", SEQUENCE_OPEN);
}

rapt_status rapt_pager_unpin(rapt_pager *pager, rapt_seq pin)
{
    return close_kind(pager, pin, "pin", SEQUENCE_PIN);
}

/* ----------------------------------------------------------------------------------- truncate */

/* May the sequence end at n_tokens, with nothing it then needs given back? */
static int can_end_at(const rapt_pager *pager, const struct sequence *seq, uint32_t n_tokens)
{
    for (uint32_t g = 0; g < pager->n_groups; g++) {
        const struct pool *pool = &pager->pools[g];
        uint32_t null_end = seat_of(pager, seq, g)->null_end;
        uint32_t end = pages_of(pager, n_tokens);
        uint32_t first = pool->window == 0 || n_tokens < pool->window
                             ? 0
                             : (n_tokens - pool->window + 1) >> pager->page_shift;
        first = first < pool->n_sink_pages ? pool->n_sink_pages : first;
        if (first < null_end && first < end)
            return 0;
    }
    return 1;
}

static rapt_status cannot_undo(const rapt_pager *pager, const struct sequence *seq,
                               uint32_t n_tokens)
{
    uint64_t least = 0;
    for (uint32_t g = 0; g < pager->n_groups; g++) {
        const struct pool *pool = &pager->pools[g];
        uint32_t null_end = seat_of(pager, seq, g)->null_end;
        uint64_t end = ((uint64_t)null_end << pager->page_shift) + pool->window - 1;
        if (pool->window > 0 && null_end > pool->n_sink_pages && end > least)
            least = end;
    }
    uint32_t n_undo = least < seq->n_tokens ? (uint32_t)(seq->n_tokens - least) : 0;
    return rapt_fail(RAPT_ERROR_ARGUMENT,
                     "n_tokens is %u, the sequence has %u: keys of a window were given back, %u "
                     "tokens can be undone (params.undo_tokens is %u)",
                     n_tokens, seq->n_tokens, n_undo, pager->undo_tokens);
}

rapt_status rapt_pager_truncate(rapt_pager *pager, rapt_seq handle, uint32_t n_tokens)
{
    struct sequence *seq = NULL;
    if (!pager)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "pager is NULL");
    rapt_status status = rapt_seqs_find(pager, handle, "seq", SEQUENCE_OPEN, &seq);
    if (status == RAPT_OK && seq->n_tree > 0)
        status = rapt_fail(RAPT_ERROR_ARGUMENT, "seq has a tree of %u nodes: commit it first",
                           seq->n_tree);
    if (status == RAPT_OK && n_tokens > seq->n_tokens)
        status = rapt_fail(RAPT_ERROR_ARGUMENT, "n_tokens is %u, the sequence has %u", n_tokens,
                           seq->n_tokens);
    if (status == RAPT_OK && n_tokens < seq->n_tokens && !can_end_at(pager, seq, n_tokens))
        status = cannot_undo(pager, seq, n_tokens);
    if (status != RAPT_OK)
        return rapt_pager_end(pager, status);
    rapt_seqs_cut(pager, seq, pages_of(pager, n_tokens));
    uint32_t n_links = n_tokens >> pager->page_shift, n_rest = n_tokens & (pager->page_size - 1);
    if (n_links < seq->n_links) {
        memcpy(tail_of(pager, seq), link_tokens(pager, link_at(pager, links_of(seq)[n_links])),
               n_rest * sizeof(int32_t));
        seq->n_tail = n_rest;
    } else if (n_links == seq->n_links && n_rest < seq->n_tail) {
        seq->n_tail = n_rest;
    }
    cut_links(pager, seq, n_links);
    seq->n_tokens = n_tokens;
    return rapt_pager_end(pager, RAPT_OK);
}

/* ------------------------------------------------------------------------------- fork and pin */

rapt_status rapt_pager_fork(rapt_pager *pager, rapt_seq handle, rapt_seq *out_child)
{
    struct sequence *seq, *child = NULL;
    if (!pager || !out_child)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s is NULL", !pager ? "pager" : "out_child");
    rapt_status status = rapt_seqs_find(pager, handle, "seq", SEQUENCE_OPEN, &seq);
    if (status == RAPT_OK && seq->n_tree > 0)
        status = rapt_fail(RAPT_ERROR_ARGUMENT, "seq has a tree of %u nodes: commit it first",
                           seq->n_tree);
    if (status == RAPT_OK)
        status = rapt_seqs_get_closed(pager, &child);
    uint32_t n_pages = status == RAPT_OK ? pages_of(pager, seq->n_tokens) : 0;
    if (status == RAPT_OK)
        status = rapt_seqs_grow(pager, child, n_pages);
    if (status != RAPT_OK)
        return rapt_pager_end(pager, status);
    *out_child = rapt_seqs_open(pager, child, SEQUENCE_OPEN, seq->extra_key);
    child->n_tokens = seq->n_tokens;
    child->n_links = seq->n_links;
    child->n_tail = seq->n_tail;
    memcpy(tail_of(pager, child), tail_of(pager, seq), seq->n_tail * sizeof(int32_t));
    if (n_pages > 0)
        memcpy(links_of(child), links_of(seq), seq->n_links * sizeof(uint32_t));
    if (seq->n_links > 0)
        link_at(pager, last_link(seq))->n_refs++;
    for (uint32_t g = 0; g < pager->n_groups && n_pages > 0; g++) {
        struct pool *pool = &pager->pools[g];
        struct seat *seat = seat_of(pager, child, g);
        uint32_t *table = table_of(child, g), n_shared = 0;
        seat->null_end = seat_of(pager, seq, g)->null_end;
        seat->n_held = n_pages;
        memcpy(table, table_of(seq, g), n_pages * sizeof *table);
        for (uint32_t i = 0; i < n_pages; i++) {
            if (!is_page(pool, table[i]))
                continue;
            uint32_t n_refs = ++pool->refs[table[i]];
            n_shared += n_refs == 2 && pool->pages[table[i]].copies_from == 0;
        }
        pool->n_shared += n_shared;
    }
    return rapt_pager_end(pager, RAPT_OK);
}

/* Entry `index` of a pin: the page a match would find, or else the sequence's own. */
static void pin_page(rapt_pager *pager, struct sequence *pin, const struct sequence *seq,
                     uint32_t g, uint32_t index)
{
    uint32_t own = table_of(seq, g)[index], p = own, *entry = &table_of(pin, g)[index];
    int is_own = is_page(&pager->pools[g], own);
    *entry = 0;
    if (pager->caches && index < pin->n_links) {
        uint32_t l = links_of(pin)[index], known = link_at(pager, l)->words[g];
        if (known != PAGER_NONE)
            p = known;
        else if (is_own && pager->pools[g].pages[own].link == PAGER_NONE)
            rapt_links_register(pager, l, g, own);
    }
    if (!is_page(&pager->pools[g], p))
        return;
    *entry = p;
    rapt_pool_hold(pager, g, p);
}

rapt_status rapt_pager_pin(rapt_pager *pager, rapt_seq handle, uint32_t n_tokens, rapt_seq *out_pin)
{
    struct sequence *seq, *pin = NULL;
    if (!pager || !out_pin)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s is NULL", !pager ? "pager" : "out_pin");
    rapt_status status = rapt_seqs_find(pager, handle, "seq", SEQUENCE_OPEN, &seq);
    if (status == RAPT_OK && n_tokens > seq->n_tokens)
        status = rapt_fail(RAPT_ERROR_ARGUMENT, "n_tokens is %u, the sequence has %u", n_tokens,
                           seq->n_tokens);
    if (status == RAPT_OK)
        status = rapt_seqs_get_closed(pager, &pin);
    uint32_t n_pages = n_tokens >> pager->page_shift;
    if (status == RAPT_OK)
        status = rapt_seqs_grow(pager, pin, n_pages);
    if (status != RAPT_OK)
        return rapt_pager_end(pager, status);
    *out_pin = rapt_seqs_open(pager, pin, SEQUENCE_PIN, seq->extra_key);
    pin->n_tokens = n_pages << pager->page_shift;
    pin->n_links = n_pages < seq->n_links ? n_pages : seq->n_links;
    if (pin->n_links > 0) {
        memcpy(links_of(pin), links_of(seq), pin->n_links * sizeof(uint32_t));
        link_at(pager, last_link(pin))->n_refs++;
    }
    for (uint32_t g = 0; g < pager->n_groups && n_pages > 0; g++) {
        struct pool *pool = &pager->pools[g];
        uint32_t first = window_first(pager, pool, pin->n_tokens);
        memset(table_of(pin, g), 0, n_pages * sizeof(uint32_t));
        for (uint32_t i = 0; i < n_pages; i++)
            if (i < pool->n_sink_pages || i >= first)
                pin_page(pager, pin, seq, g, i);
        seat_of(pager, pin, g)->n_held = n_pages;
    }
    return rapt_pager_end(pager, RAPT_OK);
}

/* ----------------------------------------------------------------------------------- questions */

static uint32_t count_reserved(const rapt_pager *pager, const struct sequence *seq)
{
    uint32_t n_slots = n_slots_of(seq), n_used = pages_of(pager, n_slots), least = PAGER_NONE;
    uint32_t room = (n_used << pager->page_shift) - n_slots;
    for (uint32_t g = 0; g < pager->n_groups; g++) {
        const struct pool *pool = &pager->pools[g];
        uint32_t spare = seat_of(pager, seq, g)->n_held - n_used, n = room;
        if (room > 0 && pool->refs[table_of(seq, g)[n_used - 1]] > 1) {
            n = spare > 0 ? room : 0;
            spare -= spare > 0;
        }
        n += spare << pager->page_shift;
        least = n < least ? n : least;
    }
    return least;
}

rapt_status rapt_pager_seq_get_info(const rapt_pager *pager, rapt_seq handle,
                                    rapt_seq_info *out_info)
{
    struct sequence *seq = NULL;
    if (!pager)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "pager is NULL");
    rapt_seq_info info;
    rapt_status status = rapt_params_read("rapt_seq_info", out_info, &info, sizeof info);
    if (status == RAPT_OK)
        status = rapt_seqs_find(pager, handle, "seq", SEQUENCE_OPEN, &seq);
    if (status != RAPT_OK)
        return status;
    info.n_tokens = seq->n_tokens;
    info.n_tree = seq->n_tree;
    info.n_reserved = count_reserved(pager, seq);
    info.n_known = n_known_of(pager, seq);
    info.extra_key = seq->extra_key;
    rapt_params_write(out_info, &info, sizeof info);
    return RAPT_OK;
}

rapt_status rapt_pager_seq_tokens(const rapt_pager *pager, rapt_seq handle, uint32_t capacity,
                                  int32_t *out_tokens, uint32_t *out_n)
{
    struct sequence *seq = NULL;
    if (!pager || !out_n || (capacity > 0 && !out_tokens))
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s is NULL",
                         !pager   ? "pager"
                         : !out_n ? "out_n"
                                  : "out_tokens");
    rapt_status status = rapt_seqs_find(pager, handle, "seq", SEQUENCE_OPEN, &seq);
    if (status != RAPT_OK)
        return status;
    *out_n = n_known_of(pager, seq);
    uint32_t n = *out_n < capacity ? *out_n : capacity;
    for (uint32_t at = 0, i = 0; at < n; i++) {
        const int32_t *tokens = i < seq->n_links
                                    ? link_tokens(pager, link_at(pager, links_of(seq)[i]))
                                    : tail_of(pager, seq);
        uint32_t n_here = n - at < pager->page_size ? n - at : pager->page_size;
        memcpy(out_tokens + at, tokens, n_here * sizeof *tokens);
        at += n_here;
    }
    return RAPT_OK;
}
