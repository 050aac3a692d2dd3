/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_MASKS_TABLE_CASE_H
#define TESTS_MASKS_TABLE_CASE_H

/* A block table against the meaning of its masks, pair by pair. */

#include "scene.h"

/* Whether head h sees the pair; `user` is the test's. */
typedef int table_case_allows(const void *user, uint32_t b, uint32_t h, uint32_t i, uint32_t j);

static inline uint32_t table_bit(const rapt_block_table_view *view, uint32_t tile, uint32_t i,
                                 uint32_t j)
{
    const uint32_t row_words = (view->block_kv + 31) / 32;
    return view->bits[(size_t)tile * view->tile_words + i * row_words + j / 32] >> (j % 32) & 1;
}

/* One block: listed or not, as what, and its bits, rows and keys that do not exist included. NULL
 * if all is as it must be, else what is not. */
static inline const char *table_check_block(const rapt_block_table_view *view, uint32_t entry,
                                            int listed, table_case_allows *allows, const void *user,
                                            uint32_t b, uint32_t h, uint32_t first, uint32_t key)
{
    const uint32_t q_len = (uint32_t)(view->cu_q[b + 1] - view->cu_q[b]);
    const uint32_t kv_len = (uint32_t)(view->cu_kv[b + 1] - view->cu_kv[b]);
    const int kind = listed ? view->kinds[entry] : -1;
    uint32_t n_allowed = 0, n_pairs = 0;
    for (uint32_t i = 0; i < view->block_q; i++)
        for (uint32_t j = 0; j < view->block_kv; j++) {
            int exists = first + i < q_len && key + j < kv_len;
            int want = exists && allows(user, b, h, first + i, key + j);
            n_pairs += (uint32_t)exists;
            n_allowed += (uint32_t)want;
            if (kind == RAPT_BLOCK_BITS &&
                table_bit(view, view->tiles[entry], i, j) != (uint32_t)want)
                return "a bit is wrong";
        }
    if (!listed)
        return n_allowed ? "a block with allowed pairs is not listed" : NULL;
    if (n_allowed == 0)
        return "an empty block is listed";
    if ((kind == RAPT_BLOCK_FULL) != (n_allowed == n_pairs))
        return "full or not is wrong";
    if (kind == RAPT_BLOCK_CLOSED && !view->closed)
        return "a closed block in a table that is not";
    return kind != RAPT_BLOCK_BITS && view->tiles[entry] ? "a tile without bits" : NULL;
}

static inline const char *table_check_row(const rapt_block_table_view *view,
                                          table_case_allows *allows, const void *user, uint32_t b,
                                          uint32_t h, uint32_t row)
{
    const uint32_t at = view->head_set[h] * view->n_rows + row;
    const uint32_t kv_len = (uint32_t)(view->cu_kv[b + 1] - view->cu_kv[b]);
    uint32_t entry = view->indptr[at];
    for (uint32_t block = 0; block * view->block_kv < kv_len; block++) {
        int listed = entry < view->indptr[at + 1] && view->indices[entry] == block;
        const char *what =
            table_check_block(view, entry, listed, allows, user, b, h,
                              (row - view->row_first[b]) * view->block_q, block * view->block_kv);
        if (what)
            return what;
        entry += (uint32_t)listed;
    }
    return entry == view->indptr[at + 1] ? NULL : "indices do not ascend, or do not exist";
}

/* All of it; NULL, or what is wrong. */
static inline const char *table_check(const rapt_block_table *table, table_case_allows *allows,
                                      const void *user)
{
    rapt_block_table_view view = {.struct_size = sizeof view};
    rapt_block_table_get_view(table, &view);
    uint64_t n_full = 0, n_pairs = 0;
    if (view.indptr[0] != 0 || view.row_first[0] != 0)
        return "does not start at 0";
    for (uint32_t b = 0; b < view.n_seqs; b++) {
        const uint32_t q_len = (uint32_t)(view.cu_q[b + 1] - view.cu_q[b]);
        const uint32_t kv_len = (uint32_t)(view.cu_kv[b + 1] - view.cu_kv[b]);
        if (view.row_first[b + 1] - view.row_first[b] != (q_len + view.block_q - 1) / view.block_q)
            return "wrong rows of a sequence";
        for (uint32_t row = view.row_first[b]; row < view.row_first[b + 1]; row++) {
            for (uint32_t h = 0; h < view.n_q_heads; h++) {
                const char *what = table_check_row(&view, allows, user, b, h, row);
                if (what)
                    return what;
            }
            for (uint32_t s = 0; s < view.n_sets; s++)
                for (uint32_t e = view.indptr[s * view.n_rows + row];
                     e < view.indptr[s * view.n_rows + row + 1]; e++) {
                    uint32_t first = (row - view.row_first[b]) * view.block_q;
                    uint32_t key = view.indices[e] * view.block_kv;
                    uint64_t n_rows = q_len - first < view.block_q ? q_len - first : view.block_q;
                    n_pairs +=
                        n_rows * (kv_len - key < view.block_kv ? kv_len - key : view.block_kv);
                    n_full += view.kinds[e] == RAPT_BLOCK_FULL;
                }
        }
    }
    if (view.row_first[view.n_seqs] != view.n_rows ||
        view.indptr[view.n_sets * view.n_rows] != view.n_entries)
        return "wrong number of rows or entries";
    if (view.n_full != n_full || view.n_partial != view.n_entries - n_full ||
        view.n_pairs != n_pairs)
        return "wrong counts";
    for (uint32_t t = 0; t < view.n_tiles; t++)
        for (uint32_t u = 0; u < t; u++)
            if (memcmp(view.bits + (size_t)t * view.tile_words,
                       view.bits + (size_t)u * view.tile_words,
                       view.tile_words * sizeof *view.bits) == 0)
                return "two tiles are the same";
    return NULL;
}

#endif
