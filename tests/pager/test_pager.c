/* SPDX-License-Identifier: Apache-2.0 */
/* The pager call by call: what each does to tables and counts, what it refuses and with which
 * words. */
#include "fail_alloc.h"
#include "pager_case.h"

static void test_params(void **state)
{
    (void)state;
    const rapt_pager_group group = {.n_pages = 4};
    rapt_pager *pager = NULL;
    rapt_pager_params params = {.struct_size = sizeof params, .groups = &group, .n_groups = 1};
    FAILS(rapt_pager_create(NULL, &pager), RAPT_ERROR_ARGUMENT, "rapt_pager_params is NULL");
    params.page_size = 24;
    FAILS(rapt_pager_create(&params, &pager), RAPT_ERROR_ARGUMENT, "params.page_size is 24");
    params.page_size = 512;
    FAILS(rapt_pager_create(&params, &pager), RAPT_ERROR_ARGUMENT, "from 1 to 256");
    params.page_size = 0;
    params.n_groups = 17;
    FAILS(rapt_pager_create(&params, &pager), RAPT_ERROR_ARGUMENT, "params.n_groups is 17");
    params.n_groups = 1;
    params.groups = NULL;
    FAILS(rapt_pager_create(&params, &pager), RAPT_ERROR_ARGUMENT, "params.groups is NULL");
    params.groups = &(rapt_pager_group){.n_pages = 0};
    FAILS(rapt_pager_create(&params, &pager), RAPT_ERROR_ARGUMENT, "params.groups[0].n_pages is 0");
    params.groups = &(rapt_pager_group){.n_pages = 4, .sink_tokens = 1};
    FAILS(rapt_pager_create(&params, &pager), RAPT_ERROR_ARGUMENT, "sink_tokens is 1, window is 0");
    params.groups = &group;
    OK(rapt_pager_create(&params, &pager));
    assert_int_equal(rapt_pager_page_size(pager), 16);
    assert_int_equal(rapt_pager_n_groups(pager), 1);
    rapt_pager_destroy(&pager);
    assert_null(pager);
    rapt_pager_destroy(&pager);
    rapt_pager_destroy(NULL);
}

static void test_handles(void **state)
{
    (void)state;
    rapt_pager *pager = make(&(rapt_pager_group){.n_pages = 8}, 1, 2, 0);
    rapt_seq first, second, third, pin;
    FAILS(rapt_pager_close(pager, 0), RAPT_ERROR_ARGUMENT, "seq is 0, which is no sequence");
    FAILS(rapt_pager_close(pager, 77), RAPT_ERROR_ARGUMENT, "not a sequence of this pager");
    OK(rapt_pager_open(pager, NULL, &first, NULL));
    OK(rapt_pager_open(pager, NULL, &second, NULL));
    FAILS(rapt_pager_open(pager, NULL, &third, NULL), RAPT_ERROR_CAPACITY, "2 sequences and pins");
    FAILS(rapt_pager_fork(pager, first, &third), RAPT_ERROR_CAPACITY, "max_seqs");
    OK(rapt_pager_close(pager, first));
    FAILS(rapt_pager_close(pager, first), RAPT_ERROR_ARGUMENT, "which was closed");
    OK(rapt_pager_open(pager, NULL, &third, NULL));
    assert_true(third != first && third != 0);
    FAILS(rapt_pager_append(pager, first, 1, ids), RAPT_ERROR_ARGUMENT, "which was closed");
    OK(rapt_pager_close(pager, third));
    OK(rapt_pager_pin(pager, second, 0, &pin));
    FAILS(rapt_pager_append(pager, pin, 1, ids), RAPT_ERROR_ARGUMENT,
          "a pin: it must be a sequence");
    FAILS(rapt_pager_close(pager, pin), RAPT_ERROR_ARGUMENT, "a pin: it must be a sequence");
    FAILS(rapt_pager_unpin(pager, second), RAPT_ERROR_ARGUMENT, "a sequence: it must be a pin");
    OK(rapt_pager_unpin(pager, pin));
    FAILS(rapt_pager_unpin(pager, pin), RAPT_ERROR_ARGUMENT, "pin is 0x");
    rapt_pager_destroy(&pager);
}

static void test_append(void **state)
{
    (void)state;
    rapt_pager *pager = make_plain(4);
    uint32_t pages[MAX_PAGES];
    rapt_seq seq = open_with(pager, 5), other;
    assert_int_equal(table(pager, 0, seq, pages), 2);
    assert_true(pages[0] != pages[1] && pages[0] < 4 && pages[1] < 4);
    OK(rapt_pager_append(pager, seq, 0, NULL));
    OK(rapt_pager_append(pager, seq, 3, ids + 5));
    assert_int_equal(table(pager, 0, seq, pages), 2);
    FAILS(rapt_pager_append(pager, seq, 9, ids), RAPT_ERROR_PAGES,
          "group 0 lacks 1 pages: 3 needed, 2 free");
    FAILS(rapt_pager_append(pager, seq, 0x80000000u, ids), RAPT_ERROR_ARGUMENT,
          "at most 2147483647");
    assert_int_equal(info_of(pager, seq).n_tokens, 8);
    OK(rapt_pager_append(pager, seq, 8, ids + 8));
    rapt_pager_stats stats = stats_of(pager, 0);
    assert_int_equal(stats.n_used, 4);
    assert_int_equal(stats.n_tokens, 16);
    assert_true(stats.fragmentation == 0);

    OK(rapt_pager_open(pager, NULL, &other, NULL));
    FAILS(rapt_pager_append(pager, other, 1, ids), RAPT_ERROR_PAGES, "group 0 lacks 1 pages");
    OK(rapt_pager_truncate(pager, seq, 7));
    OK(rapt_pager_append(pager, other, 1, ids));
    stats = stats_of(pager, 0);
    assert_int_equal(stats.n_used, 3);
    assert_int_equal(stats.n_tokens, 8);
    assert_true(stats.fragmentation > 0.33 && stats.fragmentation < 0.34);
    rapt_pager_destroy(&pager);
}

static void test_batch(void **state)
{
    (void)state;
    rapt_pager *pager = make_plain(5);
    rapt_seq seqs[3] = {open_with(pager, 3), open_with(pager, 4), 0};
    rapt_pager_fit fit = {.struct_size = sizeof fit};
    uint32_t pages[MAX_PAGES];
    OK(rapt_pager_can_fit(pager, 3, seqs, (const uint32_t[]){2, 1, 4}, &fit));
    assert_true(fit.fits && fit.n_needed[0] == 3 && fit.n_available[0] == 3);
    OK(rapt_pager_can_fit(pager, 3, seqs, (const uint32_t[]){2, 1, 5}, &fit));
    assert_true(!fit.fits && fit.n_needed[0] == 4 && fit.n_available[0] == 3);
    FAILS(rapt_pager_append_batch(pager, 3, seqs, (const uint32_t[]){2, 1, 4}, NULL),
          RAPT_ERROR_ARGUMENT, "seqs[2]: seq is 0");
    OK(rapt_pager_open(pager, NULL, &seqs[2], NULL));
    FAILS(rapt_pager_append_batch(pager, 3, seqs, (const uint32_t[]){2, 1, 5}, ids),
          RAPT_ERROR_PAGES, "lacks 1 pages");
    assert_int_equal(info_of(pager, seqs[0]).n_tokens, 3);
    FAILS(rapt_pager_append_batch(pager, 2, (const rapt_seq[]){seqs[1], seqs[1]},
                                  (const uint32_t[]){1, 1}, ids),
          RAPT_ERROR_ARGUMENT, "seqs[1]: it is in the batch twice");
    FAILS(rapt_pager_append_batch(pager, 1, NULL, NULL, NULL), RAPT_ERROR_ARGUMENT, "seqs is NULL");
    OK(rapt_pager_append_batch(pager, 0, NULL, NULL, NULL));
    OK(rapt_pager_append_batch(pager, 3, seqs, (const uint32_t[]){2, 1, 4}, ids + 20));
    int32_t tokens[8];
    uint32_t n = 0;
    OK(rapt_pager_seq_tokens(pager, seqs[0], 8, tokens, &n));
    assert_int_equal(n, 5);
    assert_memory_equal(tokens, ((const int32_t[]){10, 11, 12, 30, 31}), 5 * sizeof *tokens);
    OK(rapt_pager_seq_tokens(pager, seqs[2], 2, tokens, &n));
    assert_int_equal(n, 4);
    assert_memory_equal(tokens, ((const int32_t[]){33, 34}), 2 * sizeof *tokens);
    assert_int_equal(table(pager, 0, seqs[1], pages), 2);
    rapt_pager_destroy(&pager);
}

static void test_reserve(void **state)
{
    (void)state;
    rapt_pager *pager = make_plain(4);
    uint32_t pages[MAX_PAGES];
    rapt_seq seq = open_with(pager, 3), other = open_with(pager, 4), child;
    assert_int_equal(info_of(pager, seq).n_reserved, 1);
    FAILS(rapt_pager_reserve(pager, seq, 10), RAPT_ERROR_PAGES, "lacks 1 pages");
    OK(rapt_pager_reserve(pager, seq, 9));
    assert_int_equal(info_of(pager, seq).n_reserved, 9);
    assert_int_equal(table(pager, 0, seq, pages), 1);
    assert_int_equal(stats_of(pager, 0).n_used, 4);
    FAILS(rapt_pager_append(pager, other, 1, ids), RAPT_ERROR_PAGES, "lacks 1 pages");

    /* A fork makes the next append copy the last page: one reserved page is for that. */
    OK(rapt_pager_fork(pager, seq, &child));
    assert_int_equal(info_of(pager, seq).n_reserved, 5);
    assert_int_equal(info_of(pager, child).n_reserved, 0);
    OK(rapt_pager_append(pager, seq, 5, ids + 3));
    assert_int_equal(info_of(pager, child).n_reserved, 1);
    OK(rapt_pager_truncate(pager, seq, 8));
    assert_int_equal(stats_of(pager, 0).n_free, 0);
    OK(rapt_pager_truncate(pager, seq, 4));
    OK(rapt_pager_append(pager, other, 1, ids));
    rapt_pager_destroy(&pager);
}

/* Keys seen: 6, itself included; 3 sink tokens; 2 tokens can be undone. */
static void test_window(void **state)
{
    (void)state;
    const rapt_pager_group groups[] = {{.n_pages = 8},
                                       {.n_pages = 6, .window = 6, .sink_tokens = 3}};
    rapt_pager *pager = make(groups, 2, 4, 2);
    uint32_t full[MAX_PAGES], windowed[MAX_PAGES];
    rapt_seq seq = open_with(pager, 15);
    assert_int_equal(table(pager, 1, seq, windowed), 4);
    for (uint32_t i = 0; i < 4; i++)
        assert_true(windowed[i] != 0);
    OK(rapt_pager_append(pager, seq, 1, ids + 15)); /* token 15, less 2, sees from 8 on */
    assert_int_equal(table(pager, 1, seq, windowed), 4);
    assert_true(windowed[0] != 0 && windowed[1] == 0 && windowed[2] != 0);
    assert_int_equal(stats_of(pager, 1).n_cached, 1);
    assert_int_equal(stats_of(pager, 1).n_pages, 5);
    assert_int_equal(stats_of(pager, 0).n_used, 4);

    /* Tokens 13 and on see no key before 8. */
    FAILS(rapt_pager_truncate(pager, seq, 12), RAPT_ERROR_ARGUMENT, "3 tokens can be undone");
    OK(rapt_pager_truncate(pager, seq, 13));
    OK(rapt_pager_append(pager, seq, 3, ids + 13));

    /* Five pages but for the null one: each append gives back before it takes. */
    for (uint32_t i = 16; i < 32; i++)
        OK(rapt_pager_append(pager, seq, 1, ids + i));
    assert_int_equal(table(pager, 0, seq, full), 8);
    assert_int_equal(table(pager, 1, seq, windowed), 8);
    assert_true(windowed[0] != 0 && windowed[5] == 0 && windowed[6] != 0);
    FAILS(rapt_pager_append(pager, seq, 1, ids), RAPT_ERROR_PAGES, "group 0 lacks 1 pages");
    OK(rapt_pager_truncate(pager, seq, 0)); /* nothing is needed of nothing */
    rapt_pager_destroy(&pager);
}

static void test_tree(void **state)
{
    (void)state;
    rapt_pager *pager = make_plain(8);
    rapt_page_copy copies[MAX_PAGES];
    rapt_seq seq = open_with(pager, 6), child;
    uint32_t pages[MAX_PAGES], n = 0;
    /* 0 - 1 - 4, 0 - 2, 3 - 5 */
    const int32_t parents[6] = {-1, 0, 0, -1, 1, 3}, drafted[6] = {50, 51, 52, 53, 54, 55};
    FAILS(rapt_pager_tree_append(pager, seq, 2, (const int32_t[]){-1, 1}, NULL),
          RAPT_ERROR_ARGUMENT, "parents[1] is 1");
    FAILS(rapt_pager_tree_append(pager, seq, 0, parents, NULL), RAPT_ERROR_ARGUMENT,
          "n_nodes is 0");
    FAILS(rapt_pager_tree_commit(pager, seq, 0, NULL), RAPT_ERROR_ARGUMENT, "no tree");
    OK(rapt_pager_tree_append(pager, seq, 6, parents, drafted));
    rapt_seq_info info = info_of(pager, seq);
    assert_true(info.n_tokens == 6 && info.n_tree == 6);
    assert_int_equal(table(pager, 0, seq, pages), 3);
    FAILS(rapt_pager_append(pager, seq, 1, ids), RAPT_ERROR_ARGUMENT, "a tree of 6 nodes");
    FAILS(rapt_pager_truncate(pager, seq, 1), RAPT_ERROR_ARGUMENT, "a tree of 6 nodes");
    FAILS(rapt_pager_fork(pager, seq, &child), RAPT_ERROR_ARGUMENT, "a tree of 6 nodes");
    FAILS(rapt_pager_tree_commit(pager, seq, 2, (const uint32_t[]){0, 3}), RAPT_ERROR_ARGUMENT,
          "path[1] is 3, a child of -1");
    FAILS(rapt_pager_tree_commit(pager, seq, 1, (const uint32_t[]){6}), RAPT_ERROR_ARGUMENT,
          "path[0] is 6");
    OK(rapt_pager_tree_commit(pager, seq, 3, (const uint32_t[]){0, 1, 4}));
    assert_int_equal(info_of(pager, seq).n_tokens, 9);
    assert_int_equal(take_copies(pager, copies), 1); /* slot 10 to slot 8 */
    assert_true(copies[0].from_page == pages[2] && copies[0].from_token == 2);
    assert_true(copies[0].to_page == pages[2] && copies[0].to_token == 0);
    int32_t tokens[9];
    OK(rapt_pager_seq_tokens(pager, seq, 9, tokens, &n));
    assert_int_equal(n, 9);
    assert_memory_equal(tokens + 6, ((const int32_t[]){50, 51, 54}), 3 * sizeof *tokens);

    /* Slots 12, 14, 15 of 9..15 become 9, 10, 11: a chain, and no copy overlaps itself. */
    OK(rapt_pager_tree_append(pager, seq, 7, (const int32_t[]){-1, 0, 1, -1, 2, 3, 5}, NULL));
    OK(rapt_pager_tree_commit(pager, seq, 3, (const uint32_t[]){3, 5, 6}));
    n = take_copies(pager, copies);
    assert_int_equal(n, 2);
    assert_true(!copies[0].chained && copies[1].chained && copies[1].n_tokens == 2);
    assert_int_equal(table(pager, 0, seq, pages), 3);
    assert_int_equal(info_of(pager, seq).n_known, 9);

    OK(rapt_pager_reserve(pager, seq, 5));
    OK(rapt_pager_tree_append(pager, seq, 6, parents, NULL));
    OK(rapt_pager_tree_commit(pager, seq, 0, NULL));
    assert_int_equal(info_of(pager, seq).n_reserved, 8);
    rapt_pager_destroy(&pager);
}

static void test_import(void **state)
{
    (void)state;
    const rapt_pager_group groups[] = {{.n_pages = 8}, {.n_pages = 8, .window = 5}};
    rapt_pager *pager = make(groups, 2, 4, 0);
    rapt_page_fill fills[16];
    rapt_seq seq = open_with(pager, 5), back;
    OK(rapt_pager_close(pager, seq));
    rapt_seq_image image = {
        .struct_size = sizeof image, .n_tokens = 14, .n_known = 13, .tokens = ids};
    uint32_t n = 0, pages[MAX_PAGES];
    FAILS(rapt_pager_import(pager, &image, 0, NULL, &n, &back), RAPT_ERROR_CAPACITY,
          "5 pages must be filled");
    assert_int_equal(n, 5); /* entries 1 to 3 of the full group, 2 and 3 of the other */
    OK(rapt_pager_import(pager, &image, 16, fills, &n, &back));
    assert_int_equal(n, 5);
    assert_true(fills[0].group == 0 && fills[0].index == 1 && fills[3].index == 2);
    assert_int_equal(table(pager, 1, back, pages), 4);
    assert_true(pages[0] == 0 && pages[1] == 0 && pages[2] == fills[3].page);
    assert_int_equal(info_of(pager, back).n_known, 13);
    image.n_known = 15;
    FAILS(rapt_pager_import(pager, &image, 16, fills, &n, &seq), RAPT_ERROR_ARGUMENT,
          "image.n_known is 15, image.n_tokens 14");
    image.n_known = 0;
    image.n_tokens = 40;
    FAILS(rapt_pager_import(pager, &image, 16, fills, &n, &seq), RAPT_ERROR_PAGES, "group 0 lacks");
    OK(rapt_pager_close(pager, back));
    rapt_pager_destroy(&pager);
}

static void test_tables(void **state)
{
    (void)state;
    rapt_pager *pager = make_plain(8);
    uint32_t indptr[4], indices[8], last[3];
    rapt_seq seqs[3] = {open_with(pager, 6), open_with(pager, 0), open_with(pager, 4)};
    rapt_block_tables tables = {.struct_size = sizeof tables,
                                .page_indptr = indptr,
                                .page_indices = indices,
                                .last_page_len = last,
                                .capacity = 2};
    FAILS(rapt_pager_tables(pager, 1, 3, seqs, &tables), RAPT_ERROR_ARGUMENT, "group is 1");
    FAILS(rapt_pager_tables(pager, 0, 3, seqs, &tables), RAPT_ERROR_CAPACITY, "there are 3 pages");
    assert_int_equal(tables.n_pages, 3);
    tables.capacity = 8;
    OK(rapt_pager_tables(pager, 0, 3, seqs, &tables));
    assert_memory_equal(indptr, ((const uint32_t[]){0, 2, 2, 3}), sizeof indptr);
    assert_memory_equal(last, ((const uint32_t[]){2, 0, 4}), sizeof last);

    int32_t padded[9], kv_len[3];
    OK(rapt_block_tables_to_padded(PAGE, 3, 3, &tables, -7, padded, kv_len));
    assert_memory_equal(kv_len, ((const int32_t[]){6, 0, 4}), sizeof kv_len);
    assert_true(padded[0] == (int32_t)indices[0] && padded[2] == -7 && padded[3] == -7);
    uint32_t indptr2[4], indices2[8], last2[3];
    rapt_block_tables again = {.struct_size = sizeof again,
                               .page_indptr = indptr2,
                               .page_indices = indices2,
                               .last_page_len = last2,
                               .capacity = 8};
    OK(rapt_block_tables_from_padded(PAGE, 3, 3, padded, kv_len, &again));
    assert_int_equal(again.n_pages, 3);
    assert_memory_equal(indptr, indptr2, sizeof indptr);
    assert_memory_equal(indices, indices2, 3 * sizeof *indices);
    assert_memory_equal(last, last2, sizeof last);

    FAILS(rapt_block_tables_to_padded(PAGE, 3, 1, &tables, 0, padded, kv_len), RAPT_ERROR_CAPACITY,
          "sequence 0 has 2 pages");
    kv_len[2] = 13;
    FAILS(rapt_block_tables_from_padded(PAGE, 3, 3, padded, kv_len, &again), RAPT_ERROR_SHAPE,
          "kv_len[2] is 13, 4 pages");
    kv_len[2] = 5; /* reaches the filler */
    FAILS(rapt_block_tables_from_padded(PAGE, 3, 3, padded, kv_len, &again), RAPT_ERROR_ARGUMENT,
          "padded[2][1] is -7");
    kv_len[2] = -1;
    FAILS(rapt_block_tables_from_padded(PAGE, 3, 3, padded, kv_len, &again), RAPT_ERROR_ARGUMENT,
          "kv_len[2] is -1");
    FAILS(rapt_block_tables_from_padded(3, 3, 3, padded, kv_len, &again), RAPT_ERROR_ARGUMENT,
          "page_size is 3");
    last[0] = 5;
    FAILS(rapt_block_tables_to_padded(PAGE, 3, 3, &tables, 0, padded, kv_len), RAPT_ERROR_SHAPE,
          "last_page_len[0] is 5");
    rapt_pager_destroy(&pager);
}

static void test_memory(void **state)
{
    (void)state;
    const rapt_pager_group groups[] = {{.n_pages = 8}, {.n_pages = 8, .window = 5}};
    struct fail_alloc alloc = {.budget = -1};
    rapt_allocator allocator = fail_allocator(&alloc);
    rapt_pager_params params = {.struct_size = sizeof params,
                                .allocator = &allocator,
                                .page_size = PAGE,
                                .groups = groups,
                                .n_groups = 2};
    rapt_pager *pager = NULL;
    for (long budget = 0;; budget++) {
        alloc.budget = budget;
        rapt_status status = rapt_pager_create(&params, &pager);
        if (status == RAPT_OK)
            break;
        assert_int_equal(status, RAPT_ERROR_HOST_MEMORY);
        assert_null(pager);
        assert_int_equal(alloc.n_alive, 0);
        assert_true(budget < 50);
    }
    rapt_seq seq = 0;
    alloc.budget = 0;
    OK(rapt_pager_open(pager, NULL, &seq, NULL));
    FAILS(rapt_pager_append(pager, seq, 9, ids), RAPT_ERROR_HOST_MEMORY, "no memory for");
    assert_int_equal(info_of(pager, seq).n_tokens, 0);
    OK(rapt_pager_check(pager));
    alloc.budget = -1;
    OK(rapt_pager_append(pager, seq, 9, ids));
    rapt_pager_destroy(&pager);
    assert_int_equal(alloc.n_alive, 0);
}

/* What is broken on purpose is found. */
static void test_check(void **state)
{
    (void)state;
    rapt_pager *pager = make_plain(8);
    rapt_seq seq = open_with(pager, 6);
    uint32_t pages[MAX_PAGES];
    table(pager, 0, seq, pages);
    rapt_pager_check_every(pager, 0);
    struct pool *pool = &pager->pools[0];
#if !defined(RAPT_DEBUG_ABORT)
    pool->refs[pages[1]]++;
    FAILS(rapt_pager_check(pager), RAPT_ERROR_INTERNAL, "is in 1 tables, 2 counted");
    pool->refs[pages[1]]--;
    pool->n_free--;
    FAILS(rapt_pager_check(pager), RAPT_ERROR_INTERNAL, "more than 5 pages are free");
    pool->n_free++;
    uint32_t first = pool->free_first;
    pool->free_first = pages[0];
    FAILS(rapt_pager_check(pager), RAPT_ERROR_INTERNAL, "is held");
    pool->free_first = first;
    table_of(&pager->seqs[0], 0)[1] = pages[0];
    FAILS(rapt_pager_check(pager), RAPT_ERROR_INTERNAL, "tables");
    table_of(&pager->seqs[0], 0)[1] = pages[1];
    link_at(pager, links_of(&pager->seqs[0])[0])->n_refs++;
    FAILS(rapt_pager_check(pager), RAPT_ERROR_INTERNAL, "1 stand on it, 2 counted");
    link_at(pager, links_of(&pager->seqs[0])[0])->n_refs--;
    link_tokens(pager, link_at(pager, links_of(&pager->seqs[0])[0]))[0]++;
    FAILS(rapt_pager_check(pager), RAPT_ERROR_INTERNAL, "is not found");
    link_tokens(pager, link_at(pager, links_of(&pager->seqs[0])[0]))[0]--;
#endif
    OK(rapt_pager_check(pager));
    assert_int_equal(pool->n_pages, 8);
    rapt_pager_destroy(&pager);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_params),  cmocka_unit_test(test_handles),
        cmocka_unit_test(test_append),  cmocka_unit_test(test_batch),
        cmocka_unit_test(test_reserve), cmocka_unit_test(test_window),
        cmocka_unit_test(test_tree),    cmocka_unit_test(test_import),
        cmocka_unit_test(test_tables),  cmocka_unit_test(test_memory),
        cmocka_unit_test(test_check),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
