/* SPDX-License-Identifier: Apache-2.0 */

/* Work lists against the definition: random batches are built, then executed by a machine that
 * keeps track of which key reached which row, and how often. */

#include "work_machine.h"

static void check_bounds(const struct scene *s, uint32_t max_batch, uint32_t max_q, uint32_t max_kv)
{
    struct rapt_work_bounds bounds;
    rapt_work_bound(&s->params, max_batch, max_q, max_kv, &bounds);
    assert_true(s->work.n_items <= bounds.items);
    assert_true(s->work.n_merges <= bounds.merges);
    assert_true(s->work.n_stages <= bounds.stages);
    assert_true(s->work.n_rounds <= bounds.rounds);
    assert_true(s->work.n_partial_rows <= bounds.partial_rows);
}

static void every_key_once(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 250; seed++) {
        uint64_t rng = seed;
        struct scene s;
        memset(&s, 0, sizeof s);
        random_batch(&rng, &s);
        random_selection(&rng, &s);
        build(&s);
        run(&s);
        uint32_t total = (uint32_t)s.cu_q[s.batch.n_seqs];
        check_bounds(&s, s.batch.n_seqs, total, s.max_kv);
        check_bounds(&s, MAX_SEQS, MAX_TOKENS, 2000);
        drop(&s);
    }
}

static void longest_first(void **state)
{
    (void)state;
    for (uint64_t seed = 1000; seed < 1100; seed++) {
        uint64_t rng = seed;
        struct scene s;
        memset(&s, 0, sizeof s);
        random_batch(&rng, &s);
        random_selection(&rng, &s);
        s.selection.staged = 0;
        build(&s);
        for (uint32_t i = 1; i < s.work.n_items; i++) {
            const struct rapt_step_item *a = &s.work.items[i - 1], *b = a + 1;
            if (i != s.work.n_prefill_items && i != s.work.n_prefill_items + s.work.n_decode_items)
                assert_true(rapt_work_bucket(a->kv_end - a->kv_begin) >=
                            rapt_work_bucket(b->kv_end - b->kv_begin));
        }
        drop(&s);
    }
}

/* Items of one sequence as the kernels see them, in an order of their own. */
static int compare_items(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct rapt_step_item));
}

static uint32_t items_of(const struct scene *s, uint32_t seq, struct rapt_step_item *out)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->work.n_items; i++) {
        struct rapt_step_item item = s->work.items[i];
        if (item.seq != seq)
            continue;
        item.seq = item.stage_row = 0; /* where it lies, not what it computes */
        item.partial = item.partial == RAPT_DIRECT;
        out[n++] = item;
    }
    qsort(out, n, sizeof *out, compare_items);
    return n;
}

static void fixed_split_ignores_the_batch(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        uint64_t rng = seed + 5000;
        struct scene s, alone;
        memset(&s, 0, sizeof s);
        random_batch(&rng, &s);
        random_selection(&rng, &s);
        s.params.n_splits = 0;
        s.params.fixed_split = 64;
        build(&s);
        struct rapt_step_item *a = calloc(s.work.n_items + 1, sizeof *a);
        struct rapt_step_item *c = calloc(s.work.n_items + 1, sizeof *c);
        for (uint32_t b = 0; b < s.batch.n_seqs; b++) {
            alone = s;
            alone.params.selection = &alone.selection;
            int32_t cu_q[2] = {0, s.cu_q[b + 1] - s.cu_q[b]};
            int32_t cu_kv[2] = {0, s.cu_kv[b + 1] - s.cu_kv[b]};
            alone.batch.n_seqs = 1;
            alone.batch.cu_q = cu_q;
            alone.batch.cu_kv = cu_kv;
            alone.batch.q_pos0 = s.batch.q_pos0 ? s.q_pos0 + b : NULL;
            alone.batch.kv_pos0 = s.batch.kv_pos0 ? s.kv_pos0 + b : NULL;
            alone.batch.prefix = s.batch.prefix ? s.prefix + b : NULL;
            alone.batch.q_pos = s.batch.q_pos ? s.q_pos + s.cu_q[b] : NULL;
            build(&alone);
            uint32_t n = items_of(&s, b, a);
            assert_int_equal(n, items_of(&alone, 0, c));
            assert_memory_equal(a, c, n * sizeof *a);
            alone.mask = NULL;
            drop(&alone);
        }
        free(a);
        free(c);
        drop(&s);
    }
}

static void key_ranges_are_exact(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        uint64_t rng = seed + 9000;
        struct scene s;
        memset(&s, 0, sizeof s);
        random_batch(&rng, &s);
        s.params.group = 1;
        for (uint32_t b = 0; b < s.batch.n_seqs; b++) {
            uint32_t q_len = rapt_batch_q_len(&s.batch, b);
            if (!q_len)
                continue;
            uint32_t first = random_below(&rng, q_len);
            uint32_t n = 1 + random_below(&rng, q_len - first);
            uint32_t lo = UINT32_MAX, hi = 0, begin, end;
            for (uint32_t i = first; i < first + n; i++)
                for (uint32_t j = 0; j < rapt_batch_kv_len(&s.batch, b); j++)
                    if (allowed(&s, b, i, j)) {
                        lo = work_min(lo, j);
                        hi = work_max(hi, j + 1);
                    }
            rapt_work_key_range(&s.batch, &s.closed, b, first, n, &begin, &end);
            assert_int_equal(end - begin, hi ? hi - lo : 0);
            if (hi)
                assert_int_equal(begin, lo);
        }
        rapt_mask_destroy(&s.mask);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(key_ranges_are_exact),
        cmocka_unit_test(every_key_once),
        cmocka_unit_test(longest_first),
        cmocka_unit_test(fixed_split_ignores_the_batch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
