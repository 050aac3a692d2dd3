/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HARNESS_SNAPSHOT_CASE_H
#define HARNESS_SNAPSHOT_CASE_H

/* A snapshot of made-up sequences, without a pager: three conversations in two groups, the second
 * windowed. Pages of the first two are shared up to the fork. Contents follow from a number. */

#include <rapt/pager.h>

#include "snapshot_format.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { SNAPSHOT_SEQS = 3, SNAPSHOT_GROUPS = 2, SNAPSHOT_PAGE_SIZE = 4 };

struct snapshot_case {
    uint64_t number;
    rapt_snapshot_geometry geometry;
    int32_t tokens[SNAPSHOT_SEQS][16];
    rapt_seq_image images[SNAPSHOT_SEQS];
    uint32_t indptr[SNAPSHOT_SEQS + 1];
    uint32_t indices[SNAPSHOT_GROUPS][12];
    uint32_t last_len[SNAPSHOT_SEQS];
    rapt_block_tables tables[SNAPSHOT_GROUPS];
};

/* n_tokens 10, 12 and 3: three, three and one page. Pages 7 and 9 of group 0 are shared; the
 * windowed group has given its first page back. page_bytes scales the stream. */
static inline void snapshot_case_make(uint64_t number, uint64_t page_bytes, struct snapshot_case *c)
{
    static const uint32_t pages[SNAPSHOT_GROUPS][7] = {{7, 9, 2, 7, 9, 4, 30},
                                                       {0, 3, 1, 0, 3, 2, 5}};
    static const uint32_t n_tokens[SNAPSHOT_SEQS] = {10, 12, 3}, n_known[] = {10, 8, 0};
    static const uint32_t indptr[] = {0, 3, 6, 7};
    memset(c, 0, sizeof *c);
    c->number = number;
    c->geometry = (rapt_snapshot_geometry){
        .struct_size = sizeof c->geometry,
        .model_key = 0x1234567890abcdefu,
        .page_size = SNAPSHOT_PAGE_SIZE,
        .undo_tokens = 1,
        .kv_type = RAPT_TYPE_F16,
        .n_groups = SNAPSHOT_GROUPS,
        .groups = {{.n_layers = 1,
                    .n_kv_heads = 1,
                    .head_dim = 8,
                    .head_dim_v = 8,
                    .k_row_bytes = 16,
                    .v_row_bytes = 16,
                    .page_bytes = page_bytes},
                   {.window = 5,
                    .n_layers = 1,
                    .n_kv_heads = 1,
                    .head_dim = 8,
                    .head_dim_v = 8,
                    .k_row_bytes = 16,
                    .v_row_bytes = 16,
                    .page_bytes = page_bytes + 3}},
    };
    memcpy(c->indptr, indptr, sizeof indptr);
    for (int s = 0; s < SNAPSHOT_SEQS; s++) {
        for (int t = 0; t < 16; t++)
            c->tokens[s][t] = 100 * (s == 1 && t < 8 ? 0 : s) + t + (int32_t)(number % 1000) * 1000;
        c->images[s] = (rapt_seq_image){.struct_size = sizeof c->images[s],
                                        .n_tokens = n_tokens[s],
                                        .n_known = n_known[s],
                                        .extra_key = number + (uint64_t)s / 2,
                                        .tokens = n_known[s] ? c->tokens[s] : NULL};
        c->last_len[s] = (n_tokens[s] - 1) % SNAPSHOT_PAGE_SIZE + 1;
    }
    for (int g = 0; g < SNAPSHOT_GROUPS; g++) {
        memcpy(c->indices[g], pages[g], sizeof pages[g]);
        c->tables[g] = (rapt_block_tables){.struct_size = sizeof c->tables[g],
                                           .page_indptr = c->indptr,
                                           .page_indices = c->indices[g],
                                           .last_page_len = c->last_len,
                                           .capacity = 12,
                                           .n_pages = 7};
    }
}

static inline uint64_t snapshot_page_bytes(const struct snapshot_case *c, uint32_t group)
{
    return c->geometry.groups[group].page_bytes;
}

/* What a page of the made-up pool holds. */
static inline void snapshot_page_fill(const struct snapshot_case *c, uint32_t group, uint32_t page,
                                      uint8_t *out)
{
    uint64_t state = c->number * 1000003 + group * 4099 + page;
    for (uint64_t i = 0; i < snapshot_page_bytes(c, group); i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        out[i] = (uint8_t)(state >> 56);
    }
}

static inline rapt_status snapshot_read_pages(void *user, uint32_t group, uint32_t n_pages,
                                              const uint32_t *pages, const uint32_t *n_tokens,
                                              void *out_contents)
{
    const struct snapshot_case *c = user;
    uint8_t *out = out_contents;
    (void)n_tokens;
    for (uint32_t i = 0; i < n_pages; i++)
        snapshot_page_fill(c, group, pages[i], out + i * snapshot_page_bytes(c, group));
    return RAPT_OK;
}

/* Whether an opened snapshot holds exactly what the case wrote. */
static inline int snapshot_case_equal(const struct snapshot_case *c, const rapt_snapshot *snapshot)
{
    int same = rapt_snapshot_n_seqs(snapshot) == SNAPSHOT_SEQS;
    uint64_t most = snapshot_page_bytes(c, 1);
    uint8_t *has = malloc((size_t)most), *expected = malloc((size_t)most);
    for (uint32_t s = 0; same && has && expected && s < SNAPSHOT_SEQS; s++) {
        rapt_seq_image image = {.struct_size = sizeof image};
        const rapt_seq_image *wrote = &c->images[s];
        same = rapt_snapshot_seq(snapshot, s, &image) == RAPT_OK &&
               image.n_tokens == wrote->n_tokens && image.n_known == wrote->n_known &&
               image.extra_key == wrote->extra_key &&
               memcmp(image.tokens, c->tokens[s], image.n_known * sizeof *image.tokens) == 0;
        for (uint32_t g = 0; same && g < SNAPSHOT_GROUPS; g++) {
            for (uint32_t i = c->indptr[s]; same && i < c->indptr[s + 1]; i++) {
                uint32_t page = 0, pool = c->indices[g][i];
                same = rapt_snapshot_find_page(snapshot, s, g, i - c->indptr[s], &page) == RAPT_OK;
                if (g == 1 && pool == 0) {
                    same = same && page == RAPT_SNAPSHOT_NO_PAGE;
                    continue;
                }
                same = same && rapt_snapshot_read_page(snapshot, g, page, has) == RAPT_OK;
                snapshot_page_fill(c, g, pool, expected);
                same = same && memcmp(has, expected, (size_t)snapshot_page_bytes(c, g)) == 0;
            }
        }
    }
    same = same && has && expected;
    free(has);
    free(expected);
    return same;
}

/* Makes every checksum and size of the frame right again, as somebody would who wants a damaged
 * snapshot to be believed. */
static inline void snapshot_reseal(uint8_t *data, size_t n_bytes)
{
    struct snapshot_header header;
    struct snapshot_end end;
    if (n_bytes < sizeof header + sizeof end)
        return;
    memcpy(&header, data, sizeof header);
    header.n_bytes = n_bytes;
    if (header.contents_bytes > n_bytes - sizeof header - sizeof end)
        header.contents_bytes = n_bytes - sizeof header - sizeof end;
    uint8_t *contents = data + sizeof header;
    size_t n = (size_t)header.contents_bytes, at = sizeof header + n;
    header.contents_hash = XXH3_64bits(contents, n);
    header.header_hash = XXH3_64bits(&header, offsetof(struct snapshot_header, header_hash));
    memcpy(data, &header, sizeof header);
    uint32_t n_groups = 0, n_pages = 0;
    if (n >= 32)
        memcpy(&n_groups, contents + 28, 4);
    for (uint32_t g = 0; g < n_groups && n_groups <= 16 && n >= 36 + 44 * (size_t)n_groups; g++) {
        uint64_t page_bytes = 0;
        memcpy(&page_bytes, contents + 32 + 40 * (size_t)g + 32, 8);
        memcpy(&n_pages, contents + 36 + 40 * (size_t)n_groups + 4 * (size_t)g, 4);
        for (uint32_t i = 0; i < n_pages && at < n_bytes && page_bytes < n_bytes - at &&
                             n_bytes - at - (size_t)page_bytes >= 8 + sizeof end;
             i++) {
            uint64_t hash = XXH3_64bits(data + at, (size_t)page_bytes);
            memcpy(data + at + page_bytes, &hash, 8);
            at += (size_t)page_bytes + 8;
        }
    }
    memcpy(end.magic, SNAPSHOT_END_MAGIC, sizeof end.magic);
    end.hash = XXH3_64bits(data, n_bytes - sizeof end);
    memcpy(data + n_bytes - sizeof end, &end, sizeof end);
}

#endif
