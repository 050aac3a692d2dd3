/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_PAGER_CASE_H
#define TESTS_PAGER_CASE_H

/* Small pagers with pages of four tokens, and what a test asks of them. */

#include "inside.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define OK(call)                                                                                   \
    do {                                                                                           \
        rapt_status status_ = (call);                                                              \
        if (status_ != RAPT_OK)                                                                    \
            fail_msg("%s: %s", #call, rapt_last_error());                                          \
    } while (0)

/* The call fails with this status and these words in its message. */
#define FAILS(call, expected, words)                                                               \
    do {                                                                                           \
        assert_int_equal((call), (expected));                                                      \
        if (!strstr(rapt_last_error(), words))                                                     \
            fail_msg("%s: \"%s\" lacks \"%s\"", #call, rapt_last_error(), words);                  \
    } while (0)

enum { PAGE = 4, MAX_PAGES = 64 };
static const int32_t ids[] = {10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25,
                              26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41};

static inline rapt_pager *make(const rapt_pager_group *groups, uint32_t n_groups, uint32_t max_seqs,
                               uint32_t undo_tokens)
{
    rapt_pager *pager = NULL;
    OK(rapt_pager_create(&(rapt_pager_params){.struct_size = sizeof(rapt_pager_params),
                                              .page_size = PAGE,
                                              .groups = groups,
                                              .n_groups = n_groups,
                                              .max_seqs = max_seqs,
                                              .undo_tokens = undo_tokens},
                         &pager));
    rapt_pager_check_every(pager, 1);
    return pager;
}

static inline rapt_pager *make_plain(uint32_t n_pages)
{
    return make(&(rapt_pager_group){.n_pages = n_pages}, 1, 8, 0);
}

static inline rapt_seq open_with(rapt_pager *pager, uint32_t n_tokens)
{
    rapt_seq seq = 0;
    OK(rapt_pager_open(pager, NULL, &seq, NULL));
    OK(rapt_pager_append(pager, seq, n_tokens, ids));
    return seq;
}

/* The table of a sequence; returns its length in pages. */
static inline uint32_t table(const rapt_pager *pager, uint32_t group, rapt_seq seq,
                             uint32_t out_pages[MAX_PAGES])
{
    uint32_t indptr[2], last;
    rapt_block_tables tables = {.struct_size = sizeof tables,
                                .page_indptr = indptr,
                                .page_indices = out_pages,
                                .last_page_len = &last,
                                .capacity = MAX_PAGES};
    OK(rapt_pager_tables(pager, group, 1, &seq, &tables));
    return tables.n_pages;
}

static inline rapt_pager_stats stats_of(const rapt_pager *pager, uint32_t group)
{
    rapt_pager_stats stats = {.struct_size = sizeof stats};
    OK(rapt_pager_get_stats(pager, group, &stats));
    return stats;
}

static inline rapt_seq_info info_of(const rapt_pager *pager, rapt_seq seq)
{
    rapt_seq_info info = {.struct_size = sizeof info};
    OK(rapt_pager_seq_get_info(pager, seq, &info));
    return info;
}

static inline uint32_t take_copies(rapt_pager *pager, rapt_page_copy *out_copies)
{
    uint32_t n = 0;
    OK(rapt_pager_take_copies(pager, MAX_PAGES, out_copies, &n));
    return n;
}

#endif
