/* SPDX-License-Identifier: Apache-2.0 */

/* What work lists of known batches look like: split enough, not too much, neighbours share K/V. */

#include "work_machine.h"

static uint32_t longest_item(const struct rapt_work *work)
{
    uint32_t longest = 0;
    for (uint32_t i = 0; i < work->n_items; i++)
        longest = work_max(longest, work->items[i].kv_end - work->items[i].kv_begin);
    return longest;
}

static void one_sequence_fills_the_device(void **state)
{
    (void)state;
    struct scene s;
    plain(&s, 1, (const uint32_t[]){1}, (const uint32_t[]){32768});
    build(&s);
    assert_in_range(s.work.n_items, 100, 128);
    assert_int_equal(s.work.n_merges, 4);
    assert_in_range(longest_item(&s.work), 1024, 1100);
    drop(&s);
}

static void the_longest_does_not_decide(void **state)
{
    (void)state;
    struct scene s;
    uint32_t q[MAX_SEQS], kv[MAX_SEQS];
    for (uint32_t b = 0; b < MAX_SEQS; b++) {
        q[b] = 1;
        kv[b] = b == 5 ? 60000 : 600;
    }
    plain(&s, MAX_SEQS, q, kv);
    s.selection.target_items = 16; /* fewer than there are sequences and heads */
    build(&s);
    /* an even share of all keys for each of 16 */
    assert_in_range(longest_item(&s.work), 256, (60000 + 11 * 600) * 4 / 16 + 64);
    run(&s);
    drop(&s);
}

static void equal_sequences_stay_whole(void **state)
{
    (void)state;
    struct scene s;
    uint32_t q[MAX_SEQS], kv[MAX_SEQS];
    for (uint32_t b = 0; b < MAX_SEQS; b++) {
        q[b] = 1;
        kv[b] = 4096;
    }
    plain(&s, MAX_SEQS, q, kv);
    s.selection.target_items = MAX_SEQS * 4;
    build(&s);
    assert_int_equal(s.work.n_items, MAX_SEQS * 4);
    assert_int_equal(s.work.n_merges, 0);
    drop(&s);
}

static void sharers_lie_side_by_side(void **state)
{
    (void)state;
    struct scene s;
    plain(&s, 2, (const uint32_t[]){400, 300}, (const uint32_t[]){700, 700});
    rapt_mask_destroy(&s.mask);
    s.batch.mask = NULL;
    rapt_mask_lower(NULL, &s.closed);
    build(&s);
    assert_int_equal(s.work.n_merges, 0);
    uint32_t n_changes = 0; /* of sequence or head along the list */
    for (uint32_t i = 1; i < s.work.n_items; i++)
        n_changes += s.work.items[i].kv_head != s.work.items[i - 1].kv_head ||
                     s.work.items[i].seq != s.work.items[i - 1].seq;
    assert_int_equal(n_changes, 2 * 4 - 1);
    drop(&s);
}

static void rows_without_keys_get_an_item(void **state)
{
    (void)state;
    struct scene s;
    plain(&s, 3, (const uint32_t[]){5, 0, 300}, (const uint32_t[]){0, 100, 0});
    build(&s);
    for (uint32_t i = 0; i < s.work.n_items; i++) {
        assert_int_equal(s.work.items[i].kv_begin, s.work.items[i].kv_end);
        assert_int_equal(s.work.items[i].partial, RAPT_DIRECT);
        assert_int_not_equal(s.work.items[i].seq, 1);
    }
    run(&s);
    drop(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_sequence_fills_the_device),
        cmocka_unit_test(the_longest_does_not_decide),
        cmocka_unit_test(equal_sequences_stay_whole),
        cmocka_unit_test(sharers_lie_side_by_side),
        cmocka_unit_test(rows_without_keys_get_an_item),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
