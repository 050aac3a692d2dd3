/* SPDX-License-Identifier: Apache-2.0 */

/* Work lists over lists of key blocks: the same machine as test_work.c, which now goes through an
 * item's spans, against the blocks the lists were made of. */

#include "work_machine.h"

static void check_bounds(const struct scene *s)
{
    struct rapt_work_bounds bounds;
    rapt_work_bound(&s->params, s->batch.n_seqs, (uint32_t)s->cu_q[s->batch.n_seqs], s->max_kv,
                    &bounds);
    assert_true(s->work.n_items <= bounds.items);
    assert_true(s->work.n_merges <= bounds.merges);
    assert_true(s->work.n_stages <= bounds.stages);
    assert_true(s->work.n_rounds <= bounds.rounds);
    assert_true(s->work.n_partial_rows <= bounds.partial_rows);
}

static void every_listed_key_once(void **state)
{
    struct list_scene *lists = calloc(1, sizeof *lists);
    (void)state;
    for (uint64_t seed = 1; seed <= 400; seed++) {
        uint64_t rng = seed + 77000;
        struct scene s;
        memset(&s, 0, sizeof s);
        random_batch(&rng, &s);
        rapt_mask_destroy(&s.mask);
        s.batch.mask = NULL;
        s.batch.prefix = NULL;
        rapt_mask_lower(NULL, &s.closed);
        random_selection(&rng, &s);
        random_lists(&rng, &s, lists);
        build(&s);
        run(&s);
        check_bounds(&s);
        drop(&s);
    }
    free(lists);
}

/* Sink blocks at the front and a window at the end: parts are cut by what is listed, not by where.
 */
static void parts_are_even(void **state)
{
    const uint32_t q_len = 1, kv_len = 65536;
    struct list_scene *l = calloc(1, sizeof *l);
    struct scene s;
    (void)state;
    plain(&s, 1, &q_len, &kv_len);
    s.params.n_splits = 4;
    s.listed = l;
    for (uint32_t i = 0; i < 64; i++)
        l->indices[i] = i < 4 ? i : 1024 - 64 + i;
    l->indptr[1] = 64;
    l->row_first[1] = 1;
    l->source = (struct rapt_spans_source){.n_seqs = 1,
                                           .n_sets = 1,
                                           .n_rows = 1,
                                           .block_kv = 64,
                                           .row_first = l->row_first,
                                           .indptr = l->indptr,
                                           .indices = l->indices,
                                           .kinds = l->kinds,
                                           .tiles = l->tiles,
                                           .cu_kv = s.cu_kv};
    assert_int_equal(rapt_spans_build(&l->source, NULL, &l->spans), RAPT_OK);
    assert_int_equal(l->spans.n_spans, 2);
    assert_int_equal(l->spans.keys[0], 64 * 64);
    l->lists = (struct rapt_work_lists){.block_q = 64,
                                        .n_rows = 1,
                                        .row_first = l->row_first,
                                        .group_set = l->group_set,
                                        .spans = &l->spans,
                                        .first_word = 7};
    build(&s);
    assert_int_equal(s.work.n_items, 4 * 4);
    for (uint32_t i = 0; i < s.work.n_items; i++)
        assert_int_equal(sum_spans(&s, &s.work.items[i]).n, 1024);
    run(&s);
    drop(&s);
    free(l);
}

static void neighbours_join(void **state)
{
    const uint32_t row_first[] = {0, 2, 2, 3}, indptr[] = {0, 5, 5, 8};
    const uint32_t indices[] = {0, 1, 2, 4, 5, 0, 1, 2}, tiles[] = {0, 0, 0, 3, 1, 0, 0, 0};
    const uint8_t kinds[] = {0, 0, 1, 2, 2, 1, 1, 0};
    const int32_t cu_kv[] = {0, 96, 96, 136};
    const struct rapt_spans_source source = {.n_seqs = 3,
                                             .n_sets = 1,
                                             .n_rows = 3,
                                             .block_kv = 16,
                                             .row_first = row_first,
                                             .indptr = indptr,
                                             .indices = indices,
                                             .kinds = kinds,
                                             .tiles = tiles,
                                             .cu_kv = cu_kv};
    const struct rapt_span want[] = {{0, 32, 0, 0},  {32, 48, 1, 0}, {64, 80, 2, 3},
                                     {80, 96, 2, 1}, {0, 32, 1, 0},  {32, 40, 0, 0}};
    struct rapt_spans spans;
    (void)state;
    assert_int_equal(rapt_spans_build(&source, NULL, &spans), RAPT_OK);
    assert_int_equal(spans.n_spans, 6);
    assert_memory_equal(spans.spans, want, sizeof want);
    assert_int_equal(spans.indptr[1], 4);
    assert_int_equal(spans.indptr[2], 4);
    assert_int_equal(spans.indptr[3], 6);
    assert_int_equal(spans.keys[0], 80);
    assert_int_equal(spans.keys[1], 0);
    assert_int_equal(spans.keys[2], 40);
    rapt_spans_finish(&spans, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(neighbours_join),
        cmocka_unit_test(every_listed_key_once),
        cmocka_unit_test(parts_are_even),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
