/* SPDX-License-Identifier: Apache-2.0 */

/* Block tables become spans: what is joined, and what is not. */

#include "spans.h"

#include <rapt/mask.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define FULL RAPT_BLOCK_FULL
#define CLOSED RAPT_BLOCK_CLOSED
#define BITS RAPT_BLOCK_BITS

static void only_like_neighbours_join(void **state)
{
    /* a list of each sequence, of 200 and 150 keys in blocks of 16, and an empty one */
    static const uint32_t row_first[] = {0, 2, 3}, indptr[] = {0, 10, 10, 12};
    static const uint32_t indices[] = {0, 1, 2, 3, 5, 6, 7, 8, 9, 12, 8, 9};
    static const uint8_t kinds[] = {FULL, FULL, CLOSED, CLOSED, CLOSED, FULL, BITS, BITS, FULL, FULL,
                                    FULL, CLOSED};
    static const uint32_t tiles[] = {0, 0, 0, 0, 0, 0, 4, 4, 0, 0, 0, 0};
    static const int32_t cu_kv[] = {0, 200, 350};
    static const struct rapt_span want[] = {
        {0, 32, FULL, 0},    {32, 64, CLOSED, 0}, {80, 96, CLOSED, 0},
        {96, 112, FULL, 0},  {112, 128, BITS, 4}, {128, 144, BITS, 4},
        {144, 160, FULL, 0}, {192, 200, FULL, 0}, {128, 144, FULL, 0},
        {144, 150, CLOSED, 0}};
    static const uint32_t want_indptr[] = {0, 8, 8, 10}, want_keys[] = {152, 0, 22};
    const struct rapt_spans_source source = {.n_seqs = 2,
                                             .n_sets = 1,
                                             .n_rows = 3,
                                             .block_kv = 16,
                                             .row_first = row_first,
                                             .indptr = indptr,
                                             .indices = indices,
                                             .kinds = kinds,
                                             .tiles = tiles,
                                             .cu_kv = cu_kv};
    struct rapt_spans spans;
    (void)state;
    assert_int_equal(rapt_spans_build(&source, NULL, &spans), RAPT_OK);
    assert_int_equal(spans.n_spans, 10);
    assert_memory_equal(spans.indptr, want_indptr, sizeof want_indptr);
    assert_memory_equal(spans.keys, want_keys, sizeof want_keys);
    assert_memory_equal(spans.spans, want, sizeof want);
    rapt_spans_finish(&spans, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(only_like_neighbours_join)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
