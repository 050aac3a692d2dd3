/* SPDX-License-Identifier: Apache-2.0 */
/* Sequences come back from swap or a file. */
#include "inside.h"

static rapt_status read_image(const rapt_seq_image *caller, rapt_seq_image *out_image)
{
    rapt_status status = rapt_params_read("rapt_seq_image", caller, out_image, sizeof *out_image);
    if (status != RAPT_OK)
        return status;
    if (out_image->n_tokens > PAGER_MAX_TOKENS)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "image.n_tokens is %u: at most %u",
                         out_image->n_tokens, PAGER_MAX_TOKENS);
    if (out_image->n_known > out_image->n_tokens)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "image.n_known is %u, image.n_tokens %u",
                         out_image->n_known, out_image->n_tokens);
    if (out_image->n_known > 0 && !out_image->tokens)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "image.tokens is NULL, image.n_known is %u",
                         out_image->n_known);
    return RAPT_OK;
}

static int is_seen(const rapt_pager *pager, uint32_t g, uint32_t n_tokens, uint32_t index)
{
    const struct pool *pool = &pager->pools[g];
    return index < pool->n_sink_pages || index >= window_first(pager, pool, n_tokens);
}

/* Pages of every group that must be fresh or are cached and held by nobody; how many are fresh. */
static uint64_t count_pages(const rapt_pager *pager, const rapt_seq_image *image,
                            struct needs *out_needs)
{
    uint32_t n_pages = pages_of(pager, image->n_tokens), parent = PAGER_NONE;
    uint32_t n_known = pager->caches ? image->n_known >> pager->page_shift : 0;
    uint64_t n_fills = 0;
    *out_needs = (struct needs){{0}, {0}};
    for (uint32_t i = 0; i < n_pages; i++) {
        uint32_t l = PAGER_NONE;
        if (i < n_known && (i == 0 || parent != PAGER_NONE))
            l = rapt_links_find(pager, parent, image->extra_key,
                                image->tokens + ((size_t)i << pager->page_shift));
        parent = l;
        for (uint32_t g = 0; g < pager->n_groups; g++) {
            if (!is_seen(pager, g, image->n_tokens, i))
                continue;
            uint32_t p = l != PAGER_NONE ? link_at(pager, l)->words[g] : PAGER_NONE;
            n_fills += p == PAGER_NONE;
            out_needs->n_needed[g] += p == PAGER_NONE || page_holds(&pager->pools[g], p) == 0;
        }
    }
    return n_fills;
}

/* The links of the image's whole pages, made or found. */
static void take_links(rapt_pager *pager, struct sequence *seq, const rapt_seq_image *image)
{
    uint32_t n_links = image->n_known >> pager->page_shift, before = PAGER_NONE;
    for (uint32_t i = 0; i < n_links; i++) {
        uint32_t l = rapt_links_take(pager, before, image->extra_key,
                                     image->tokens + ((size_t)i << pager->page_shift));
        rapt_links_release(pager, before);
        links_of(seq)[i] = before = l;
    }
    seq->n_links = n_links;
    seq->n_tail = image->n_known & (pager->page_size - 1);
    if (seq->n_tail > 0)
        memcpy(tail_of(pager, seq), image->tokens + ((size_t)n_links << pager->page_shift),
               seq->n_tail * sizeof(int32_t));
}

static uint32_t known_page(const rapt_pager *pager, const struct sequence *seq, uint32_t g,
                           uint32_t index)
{
    return pager->caches && index < seq->n_links ? link_at(pager, links_of(seq)[index])->words[g]
                                                 : PAGER_NONE;
}

/* First what is cached is held, so that no fresh page is taken from it. */
static void take_pages(rapt_pager *pager, struct sequence *seq, rapt_page_fill *out_fills)
{
    uint32_t n_pages = pages_of(pager, seq->n_tokens);
    for (uint32_t g = 0; g < pager->n_groups; g++) {
        struct seat *seat = seat_of(pager, seq, g);
        uint32_t first = window_first(pager, &pager->pools[g], seq->n_tokens);
        seat->n_held = n_pages;
        seat->null_end = first > seat->null_end ? first : seat->null_end;
        for (uint32_t i = 0; i < n_pages; i++) {
            uint32_t p = known_page(pager, seq, g, i), *entry = &table_of(seq, g)[i];
            *entry = is_seen(pager, g, seq->n_tokens, i) ? p : 0;
            if (*entry == p && p != PAGER_NONE && is_page(&pager->pools[g], p))
                rapt_pool_hold(pager, g, p);
        }
    }
    for (uint32_t g = 0; g < pager->n_groups; g++) {
        for (uint32_t i = 0; i < n_pages; i++) {
            uint32_t *entry = &table_of(seq, g)[i];
            if (*entry != PAGER_NONE)
                continue;
            *entry = rapt_pool_take(pager, g);
            *out_fills++ = (rapt_page_fill){g, i, *entry};
            if (pager->caches && i < seq->n_links && known_page(pager, seq, g, i) == PAGER_NONE)
                rapt_links_register(pager, links_of(seq)[i], g, *entry);
        }
    }
}

rapt_status rapt_pager_import(rapt_pager *pager, const rapt_seq_image *caller, uint32_t capacity,
                              rapt_page_fill *out_fills, uint32_t *out_n, rapt_seq *out_seq)
{
    rapt_seq_image image;
    struct sequence *seq = NULL;
    struct needs needs;
    uint64_t n_fills = 0;
    if (!pager || !out_n || !out_seq)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s is NULL",
                         !pager   ? "pager"
                         : !out_n ? "out_n"
                                  : "out_seq");
    rapt_status status = read_image(caller, &image);
    if (status == RAPT_OK)
        status = rapt_seqs_get_closed(pager, &seq);
    if (status == RAPT_OK) {
        n_fills = count_pages(pager, &image, &needs);
        status = rapt_grow_afford(pager, &needs);
    }
    if (status == RAPT_OK) {
        *out_n = (uint32_t)n_fills; /* that many pages there are */
        if (n_fills > capacity)
            status = rapt_fail(RAPT_ERROR_CAPACITY, "capacity is %u: %u pages must be filled",
                               capacity, *out_n);
        else if (n_fills > 0 && !out_fills)
            status = rapt_fail(RAPT_ERROR_ARGUMENT, "out_fills is NULL");
    }
    if (status == RAPT_OK)
        status = rapt_seqs_grow(pager, seq, pages_of(pager, image.n_tokens));
    if (status == RAPT_OK)
        status = rapt_links_reserve(pager, image.n_known >> pager->page_shift);
    if (status != RAPT_OK)
        return rapt_pager_end(pager, status);
    *out_seq = rapt_seqs_open(pager, seq, SEQUENCE_OPEN, image.extra_key);
    seq->n_tokens = image.n_tokens;
    take_links(pager, seq, &image);
    take_pages(pager, seq, out_fills);
    return rapt_pager_end(pager, RAPT_OK);
}
