/* SPDX-License-Identifier: Apache-2.0 */
/* Which cached page goes first, and what never goes: told by what a prompt still finds. */
#include <rapt/pager.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

enum { PAGE = 4, PROMPT_PAGES = 3, PROMPT = PROMPT_PAGES * PAGE, N_PAGES = 12 };

static rapt_pager *make_pager(void)
{
    const rapt_pager_group group = {.n_pages = N_PAGES};
    const rapt_pager_params params = {
        .struct_size = sizeof params, .page_size = PAGE, .groups = &group, .n_groups = 1};
    rapt_pager *pager = NULL;
    assert_int_equal(rapt_pager_create(&params, &pager), RAPT_OK);
    return pager;
}

/* One token more than the pages, so that all of them can be found. */
static rapt_seq_params prompt(int32_t which, uint64_t extra_key, int32_t tokens[PROMPT + 1])
{
    for (int32_t i = 0; i <= PROMPT; i++)
        tokens[i] = which * 1000 + i;
    return (rapt_seq_params){.struct_size = sizeof(rapt_seq_params),
                             .tokens = tokens,
                             .n_tokens = PROMPT + 1,
                             .extra_key = extra_key};
}

static uint32_t pages_found(rapt_pager *pager, int32_t which, uint64_t extra_key)
{
    int32_t tokens[PROMPT + 1];
    rapt_seq_params params = prompt(which, extra_key, tokens);
    uint32_t n = 99;
    assert_int_equal(rapt_pager_match(pager, &params, &n), RAPT_OK);
    return n / PAGE;
}

/* A conversation of exactly the prompt's pages. */
static rapt_seq talk(rapt_pager *pager, int32_t which, uint64_t extra_key)
{
    int32_t tokens[PROMPT + 1];
    rapt_seq_params params = prompt(which, extra_key, tokens);
    rapt_seq seq = 0;
    uint32_t n_cached = 99;
    assert_int_equal(rapt_pager_open(pager, &params, &seq, &n_cached), RAPT_OK);
    if (n_cached < PROMPT)
        assert_int_equal(rapt_pager_append(pager, seq, PROMPT - n_cached, tokens + n_cached),
                         RAPT_OK);
    return seq;
}

static rapt_seq take_pages(rapt_pager *pager, uint32_t n)
{
    rapt_seq seq = 0;
    assert_int_equal(rapt_pager_open(pager, NULL, &seq, NULL), RAPT_OK);
    assert_int_equal(rapt_pager_append(pager, seq, n * PAGE, NULL), RAPT_OK);
    return seq;
}

static rapt_pager_stats stats_of(rapt_pager *pager)
{
    rapt_pager_stats stats = {.struct_size = sizeof stats};
    assert_int_equal(rapt_pager_get_stats(pager, 0, &stats), RAPT_OK);
    assert_int_equal(rapt_pager_check(pager), RAPT_OK);
    return stats;
}

static void test_least_recently_used_goes_first(void **state)
{
    (void)state;
    rapt_pager *pager = make_pager();
    for (int32_t which = 0; which < 3; which++)
        assert_int_equal(rapt_pager_close(pager, talk(pager, which, 0)), RAPT_OK);
    /* 0 is used again, so that 1 is the oldest. */
    assert_int_equal(rapt_pager_close(pager, talk(pager, 0, 0)), RAPT_OK);
    assert_int_equal(stats_of(pager).n_cached, 3 * PROMPT_PAGES);
    assert_int_equal(stats_of(pager).n_evicted, 0);
    /* What is free goes before what is cached. */
    take_pages(pager, N_PAGES - 3 * PROMPT_PAGES);
    assert_int_equal(stats_of(pager).n_evicted, 0);
    static const uint32_t left[][3] = {{3, 2, 3}, {3, 1, 3}, {3, 0, 3}, {3, 0, 2}, {3, 0, 1},
                                       {3, 0, 0}, {2, 0, 0}, {1, 0, 0}, {0, 0, 0}};
    for (uint32_t i = 0; i < 9; i++) {
        take_pages(pager, 1);
        for (int32_t which = 0; which < 3; which++)
            assert_int_equal(pages_found(pager, which, 0), left[i][which]);
        assert_int_equal(stats_of(pager).n_evicted, i + 1);
        assert_int_equal(stats_of(pager).n_cached, 8 - i);
    }
    rapt_seq seq = 0;
    assert_int_equal(rapt_pager_open(pager, NULL, &seq, NULL), RAPT_OK);
    assert_int_equal(rapt_pager_append(pager, seq, 1, NULL), RAPT_ERROR_PAGES);
    rapt_pager_destroy(&pager);
}

static void test_asking_is_not_using(void **state)
{
    (void)state;
    rapt_pager *pager = make_pager();
    for (int32_t which = 0; which < 2; which++)
        assert_int_equal(rapt_pager_close(pager, talk(pager, which, 0)), RAPT_OK);
    assert_int_equal(pages_found(pager, 0, 0), 3);
    take_pages(pager, N_PAGES - 2 * PROMPT_PAGES + 1);
    assert_int_equal(pages_found(pager, 0, 0), 2);
    assert_int_equal(pages_found(pager, 1, 0), 3);
    rapt_pager_destroy(&pager);
}

/* Who computed the same tokens again used them, though the cache keeps the first pages. */
static void test_computing_again_is_using(void **state)
{
    (void)state;
    rapt_pager *pager = make_pager();
    int32_t tokens[PROMPT + 1];
    rapt_seq again = 0;
    for (int32_t which = 0; which < 2; which++)
        assert_int_equal(rapt_pager_close(pager, talk(pager, which, 0)), RAPT_OK);
    prompt(0, 0, tokens);
    assert_int_equal(rapt_pager_open(pager, NULL, &again, NULL), RAPT_OK);
    assert_int_equal(rapt_pager_append(pager, again, PROMPT, tokens), RAPT_OK);
    assert_int_equal(rapt_pager_close(pager, again), RAPT_OK);
    assert_int_equal(stats_of(pager).n_cached, 2 * PROMPT_PAGES);
    take_pages(pager, N_PAGES - 2 * PROMPT_PAGES + 1);
    assert_int_equal(pages_found(pager, 0, 0), 3);
    assert_int_equal(pages_found(pager, 1, 0), 2);
    rapt_pager_destroy(&pager);
}

/* Pages computed twice take the place of the first ones when those are gone. */
static void test_second_pages_are_cached_too(void **state)
{
    (void)state;
    rapt_pager *pager = make_pager();
    int32_t tokens[PROMPT + 1];
    rapt_seq again = 0;
    assert_int_equal(rapt_pager_close(pager, talk(pager, 0, 0)), RAPT_OK);
    prompt(0, 0, tokens);
    assert_int_equal(rapt_pager_open(pager, NULL, &again, NULL), RAPT_OK);
    assert_int_equal(rapt_pager_append(pager, again, PROMPT, tokens), RAPT_OK);
    take_pages(pager, N_PAGES - PROMPT_PAGES);
    assert_int_equal(stats_of(pager).n_evicted, PROMPT_PAGES);
    assert_int_equal(rapt_pager_close(pager, again), RAPT_OK);
    assert_int_equal(stats_of(pager).n_cached, PROMPT_PAGES);
    assert_int_equal(pages_found(pager, 0, 0), PROMPT_PAGES);
    rapt_pager_destroy(&pager);
}

static void test_pins_and_holders_stay(void **state)
{
    (void)state;
    rapt_pager *pager = make_pager();
    rapt_seq pinned = talk(pager, 0, 0), pin = 0, held = talk(pager, 1, 0);
    /* 9 tokens are two whole pages. */
    assert_int_equal(rapt_pager_pin(pager, pinned, 9, &pin), RAPT_OK);
    assert_int_equal(rapt_pager_close(pager, pinned), RAPT_OK);
    assert_int_equal(stats_of(pager).n_cached, 1);
    assert_int_equal(stats_of(pager).n_used, 5);
    rapt_seq seq = take_pages(pager, N_PAGES - 5);
    assert_int_equal(pages_found(pager, 0, 0), 2);
    assert_int_equal(pages_found(pager, 1, 0), 3);
    assert_int_equal(rapt_pager_append(pager, seq, 1, NULL), RAPT_ERROR_PAGES);
    assert_int_equal(rapt_pager_unpin(pager, pin), RAPT_OK);
    assert_int_equal(pages_found(pager, 0, 0), 2);
    assert_int_equal(rapt_pager_append(pager, seq, 1, NULL), RAPT_OK);
    assert_int_equal(pages_found(pager, 0, 0), 1);
    assert_int_equal(rapt_pager_close(pager, held), RAPT_OK);
    assert_int_equal(pages_found(pager, 1, 0), 3);
    rapt_pager_destroy(&pager);
}

static void test_extra_keys_keep_apart(void **state)
{
    (void)state;
    rapt_pager *pager = make_pager();
    rapt_seq seq = talk(pager, 0, 7);
    assert_int_equal(pages_found(pager, 0, 7), 3);
    assert_int_equal(pages_found(pager, 0, 0), 0);
    assert_int_equal(pages_found(pager, 0, 8), 0);
    assert_int_equal(rapt_pager_close(pager, seq), RAPT_OK);
    assert_int_equal(pages_found(pager, 0, 7), 3);
    assert_int_equal(pages_found(pager, 0, 6), 0);
    rapt_pager_drop_cache(pager);
    assert_int_equal(pages_found(pager, 0, 7), 0);
    assert_int_equal(stats_of(pager).n_free, N_PAGES);
    rapt_pager_destroy(&pager);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_least_recently_used_goes_first),
        cmocka_unit_test(test_asking_is_not_using),
        cmocka_unit_test(test_computing_again_is_using),
        cmocka_unit_test(test_second_pages_are_cached_too),
        cmocka_unit_test(test_pins_and_holders_stay),
        cmocka_unit_test(test_extra_keys_keep_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
