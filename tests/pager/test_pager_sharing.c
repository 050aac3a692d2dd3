/* SPDX-License-Identifier: Apache-2.0 */
/* Pages that sequences share: forks and their copies, prefixes found again, pins. */
#include "pager_case.h"

static void test_fork(void **state)
{
    (void)state;
    rapt_pager *pager = make_plain(8);
    uint32_t ours[MAX_PAGES], theirs[MAX_PAGES];
    rapt_page_copy copies[MAX_PAGES];
    rapt_seq seq = open_with(pager, 6), child;
    OK(rapt_pager_fork(pager, seq, &child));
    table(pager, 0, seq, ours);
    assert_int_equal(table(pager, 0, child, theirs), 2);
    assert_memory_equal(ours, theirs, 2 * sizeof *ours);
    assert_int_equal(stats_of(pager, 0).n_shared, 2);
    assert_int_equal(take_copies(pager, copies), 0);

    OK(rapt_pager_append(pager, child, 1, ids));
    table(pager, 0, child, theirs);
    assert_true(ours[0] == theirs[0] && ours[1] != theirs[1]);
    uint32_t n = 0;
    FAILS(rapt_pager_take_copies(pager, 0, NULL, &n), RAPT_ERROR_CAPACITY, "there are 1 copies");
    assert_int_equal(n, 1);
    assert_int_equal(take_copies(pager, copies), 1);
    assert_true(copies[0].group == 0 && copies[0].n_tokens == 2 && !copies[0].chained);
    assert_true(copies[0].from_page == ours[1] && copies[0].to_page == theirs[1]);
    assert_true(copies[0].from_token == 0 && copies[0].to_token == 0);

    /* Now both have a last page of their own. */
    OK(rapt_pager_append(pager, seq, 1, ids));
    assert_int_equal(take_copies(pager, copies), 0);
    assert_int_equal(stats_of(pager, 0).n_copies, 1);
    rapt_pager_destroy(&pager);
}

/* Until copies are taken their source stays; nobody copies to a page that was given back. */
static void test_pending_copies(void **state)
{
    (void)state;
    rapt_pager *pager = make_plain(4);
    rapt_page_copy copies[MAX_PAGES];
    rapt_seq seq = open_with(pager, 2), child;
    OK(rapt_pager_fork(pager, seq, &child));
    OK(rapt_pager_append(pager, child, 1, NULL));
    OK(rapt_pager_close(pager, seq));
    assert_int_equal(stats_of(pager, 0).n_used, 2);
    assert_int_equal(take_copies(pager, copies), 1);
    assert_int_equal(stats_of(pager, 0).n_used, 1);

    OK(rapt_pager_fork(pager, child, &seq));
    OK(rapt_pager_append(pager, seq, 1, NULL));
    OK(rapt_pager_close(pager, seq));
    assert_int_equal(take_copies(pager, copies), 0);

    /* A copy of a copy comes after it, whatever was asked for in between. */
    rapt_seq third, other = open_with(pager, 1), fifth;
    OK(rapt_pager_fork(pager, child, &seq));
    OK(rapt_pager_append(pager, seq, 1, NULL));
    OK(rapt_pager_close(pager, child));
    OK(rapt_pager_fork(pager, other, &fifth));
    OK(rapt_pager_append(pager, fifth, 1, NULL));
    OK(rapt_pager_close(pager, other));
    FAILS(rapt_pager_append(pager, fifth, 4, NULL), RAPT_ERROR_PAGES, "0 free");
    OK(rapt_pager_truncate(pager, fifth, 0));
    OK(rapt_pager_fork(pager, seq, &third));
    OK(rapt_pager_append(pager, third, 0, NULL));
    OK(rapt_pager_truncate(pager, third, 2));
    OK(rapt_pager_append(pager, third, 1, NULL));
    assert_int_equal(take_copies(pager, copies), 2);
    assert_true(copies[0].to_page == copies[1].from_page && copies[1].chained);
    rapt_pager_destroy(&pager);
}

static void test_prefix(void **state)
{
    (void)state;
    rapt_pager *pager = make_plain(8);
    rapt_seq_params params = {.struct_size = sizeof params, .tokens = ids, .n_tokens = 12};
    rapt_seq first = open_with(pager, 12), second, third;
    uint32_t n = 99, ours[MAX_PAGES], theirs[MAX_PAGES];
    OK(rapt_pager_match(pager, &params, &n)); /* one token is left to compute */
    assert_int_equal(n, 8);
    OK(rapt_pager_open(pager, &params, &second, &n));
    assert_int_equal(n, 8);
    table(pager, 0, first, ours);
    table(pager, 0, second, theirs);
    assert_memory_equal(ours, theirs, 2 * sizeof *ours);
    assert_int_equal(info_of(pager, second).n_known, 8);
    rapt_pager_stats stats = stats_of(pager, 0);
    assert_true(stats.n_lookup_pages == 2 && stats.n_hit_pages == 2);

    params.extra_key = 1;
    OK(rapt_pager_match(pager, &params, &n));
    assert_int_equal(n, 0);
    OK(rapt_pager_open(pager, &params, &third, &n));
    assert_int_equal(n, 0);
    assert_int_equal(stats_of(pager, 0).n_lookup_pages, 4);
    params.extra_key = 0;

    OK(rapt_pager_close(pager, first));
    OK(rapt_pager_close(pager, second));
    stats = stats_of(pager, 0);
    assert_true(stats.n_cached == 3 && stats.n_used == 0 && stats.n_free == 5);
    params.n_tokens = 13;
    params.tokens = ids;
    OK(rapt_pager_match(pager, &params, &n));
    assert_int_equal(n, 12);
    OK(rapt_pager_append(pager, third, 24, ids)); /* 6 pages: the tail of the cached ones goes */
    OK(rapt_pager_match(pager, &params, &n));
    assert_int_equal(n, 8);
    assert_int_equal(stats_of(pager, 0).n_evicted, 1);
    rapt_pager_drop_cache(pager);
    OK(rapt_pager_match(pager, &params, &n));
    assert_int_equal(n, 0);
    assert_int_equal(stats_of(pager, 0).n_free, 2);
    params.tokens = NULL;
    FAILS(rapt_pager_match(pager, &params, &n), RAPT_ERROR_ARGUMENT, "params.tokens is NULL");
    rapt_pager_destroy(&pager);
}

/* Equal hashes are not equal prefixes: with no bit of a hash left only words tell them apart. */
static void test_collisions(void **state)
{
    (void)state;
    for (int meet = 0; meet < 2; meet++) {
        rapt_pager *pager = make_plain(32);
        if (meet)
            rapt_pager_mask_hashes(pager, 0);
        for (int32_t s = 0; s < 6; s++) {
            int32_t tokens[9] = {s / 2, 1, 2, 3, s, 5, 6, 7, 8};
            rapt_seq seq;
            uint32_t n = 99;
            rapt_seq_params params = {.struct_size = sizeof params,
                                      .tokens = tokens,
                                      .n_tokens = 9,
                                      .extra_key = (uint64_t)s / 4};
            OK(rapt_pager_open(pager, &params, &seq, &n));
            assert_int_equal(n, s % 2 ? 4 : 0);
            OK(rapt_pager_append(pager, seq, 9 - n, tokens + n));
            OK(rapt_pager_match(pager, &params, &n));
            assert_int_equal(n, 8);
            OK(rapt_pager_close(pager, seq));
        }
        rapt_pager_destroy(&pager);
    }
}

static void test_pin(void **state)
{
    (void)state;
    rapt_pager *pager = make_plain(4);
    rapt_seq_params params = {.struct_size = sizeof params, .tokens = ids, .n_tokens = 9};
    rapt_seq seq = open_with(pager, 10), pin, other;
    uint32_t n = 99;
    FAILS(rapt_pager_pin(pager, seq, 11, &pin), RAPT_ERROR_ARGUMENT,
          "n_tokens is 11, the sequence has 10");
    OK(rapt_pager_pin(pager, seq, 7, &pin));
    OK(rapt_pager_close(pager, seq));
    rapt_pager_stats stats = stats_of(pager, 0);
    assert_true(stats.n_used == 1 && stats.n_cached == 1 && stats.n_seqs == 1);
    OK(rapt_pager_open(pager, NULL, &other, NULL));
    OK(rapt_pager_append(pager, other, 12, NULL));
    FAILS(rapt_pager_append(pager, other, 1, NULL), RAPT_ERROR_PAGES, "0 cached");
    OK(rapt_pager_match(pager, &params, &n));
    assert_int_equal(n, 4);
    OK(rapt_pager_unpin(pager, pin));
    OK(rapt_pager_append(pager, other, 1, NULL));
    OK(rapt_pager_match(pager, &params, &n));
    assert_int_equal(n, 0);
    rapt_pager_destroy(&pager);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fork),   cmocka_unit_test(test_pending_copies),
        cmocka_unit_test(test_prefix), cmocka_unit_test(test_collisions),
        cmocka_unit_test(test_pin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
