/* SPDX-License-Identifier: Apache-2.0 */

/* Prefill in groups that the last cache holds: what lies between the first and the last item of a
 * sequence's head is of its group, groups are small, and what is computed stays the same. */

#include "work_machine.h"

/* Where the items of a head of a sequence begin and end in the list. */
struct place {
    uint32_t seq, head, first, last, keys;
};

static int by_first(const void *a, const void *b)
{
    const struct place *x = a, *y = b;
    return x->first < y->first ? -1 : x->first > y->first;
}

static uint32_t keys_of(const struct rapt_work *work, uint32_t first, uint32_t last, uint32_t seq)
{
    uint32_t begin = UINT32_MAX, end = 0;
    for (uint32_t i = first; i <= last; i++)
        if (work->items[i].seq == seq && work->items[i].kv_begin < work->items[i].kv_end) {
            begin = work_min(begin, work->items[i].kv_begin);
            end = work_max(end, work->items[i].kv_end);
        }
    return end > begin ? end - begin : 0;
}

static uint32_t find_places(const struct scene *s, struct place *out)
{
    uint32_t n = 0;
    for (uint32_t b = 0; b < s->batch.n_seqs; b++)
        for (uint32_t h = 0; h < s->params.n_groups; h++) {
            struct place place = {.seq = b, .head = h, .first = UINT32_MAX};
            for (uint32_t i = 0; i < s->work.n_prefill_items; i++) {
                const struct rapt_step_item *item = &s->work.items[i];
                if (item->seq != b || item->head_first != h * s->params.group)
                    continue;
                place.first = work_min(place.first, i);
                place.last = i;
            }
            if (place.first == UINT32_MAX)
                continue;
            place.keys = keys_of(&s->work, place.first, place.last, b);
            out[n++] = place;
        }
    qsort(out, n, sizeof *out, by_first);
    return n;
}

struct found_group {
    uint32_t first, end, n_places; /* items; heads of sequences */
    uint64_t keys;
};

/* Groups as they lie in the list: heads whose items are mixed are of one. (Of neighbours that are
 * not, none can be told from none.) */
static uint32_t find_groups(const struct scene *s, struct found_group *out)
{
    static struct place places[MAX_SEQS * 64];
    uint32_t n = 0, n_places = find_places(s, places);
    for (uint32_t i = 0; i < n_places; i++) {
        if (n == 0 || places[i].first >= out[n - 1].end)
            out[n++] = (struct found_group){.first = places[i].first};
        out[n - 1].end = work_max(out[n - 1].end, places[i].last + 1);
        out[n - 1].keys += places[i].keys;
        out[n - 1].n_places++;
    }
    return n;
}

static void check_longest_first(const struct scene *s, const struct found_group *group)
{
    for (uint32_t i = group->first + 1; i < group->end; i++) {
        const struct rapt_step_item *a = &s->work.items[i - 1], *b = a + 1;
        assert_true(rapt_work_bucket(a->kv_end - a->kv_begin) >=
                    rapt_work_bucket(b->kv_end - b->kv_begin));
    }
}

static void heads_of_a_long_sequence(void **state)
{
    (void)state;
    struct scene s;
    struct found_group groups[MAX_SEQS * 64];
    plain(&s, 2, (const uint32_t[]){500, 1}, (const uint32_t[]){500, 200});
    s.selection.prefill.rows = 16;
    s.params.n_groups = 8;
    s.selection.target_items = 32; /* 63 tiles of a head: one is a group */
    build(&s);
    uint32_t n_items = s.work.n_items, n_prefill = s.work.n_prefill_items;
    assert_int_equal(find_groups(&s, groups), 1);
    free(s.work.items), free(s.work.merges), free(s.work.stages), free(s.work.rounds);
    s.selection.cache_keys = 3 * 500 + 250; /* three heads fit: 3, 3 and 2 */
    build(&s);
    assert_int_equal(s.work.n_items, n_items);
    assert_int_equal(s.work.n_prefill_items, n_prefill);
    assert_int_equal(find_groups(&s, groups), 3);
    for (uint32_t g = 0; g < 3; g++) {
        assert_int_equal(groups[g].n_places, g < 2 ? 3 : 2);
        assert_true(groups[g].keys <= s.selection.cache_keys);
        check_longest_first(&s, &groups[g]);
    }
    assert_int_equal(groups[2].end, n_prefill);
    for (uint32_t i = n_prefill; i < n_items; i++)
        assert_int_equal(s.work.items[i].seq, 1); /* decode is last */
    run(&s);
    drop(&s);
}

static void short_sequences_share_a_group(void **state)
{
    (void)state;
    struct scene s;
    struct found_group groups[MAX_SEQS * 64];
    uint32_t q[MAX_SEQS], kv[MAX_SEQS];
    for (uint32_t b = 0; b < MAX_SEQS; b++)
        q[b] = kv[b] = b == 7 ? 256 : 160; /* 20 tiles a head */
    plain(&s, MAX_SEQS, q, kv);
    s.selection.prefill.rows = 16;
    s.selection.target_items = 40;
    s.selection.cache_keys = 3 * 4 * 160; /* three sequences of four heads */
    build(&s);
    uint32_t n = find_groups(&s, groups);
    assert_int_equal(s.work.items[0].seq, 7); /* the longest first */
    assert_int_equal(n, 1 + 4);               /* eleven others by threes */
    for (uint32_t g = 0; g < n; g++) {
        assert_true(groups[g].keys <= s.selection.cache_keys);
        check_longest_first(&s, &groups[g]);
    }
    run(&s);
    drop(&s);
}

static void few_items_stay_together(void **state)
{
    (void)state;
    struct scene s;
    struct found_group groups[MAX_SEQS * 64];
    plain(&s, 1, (const uint32_t[]){2000}, (const uint32_t[]){2000});
    s.selection.cache_keys = 1000;
    s.selection.target_items = 126; /* 252 items: none would wait for another */
    build(&s);
    assert_int_equal(find_groups(&s, groups), 1);
    drop(&s);
}

/* A device that runs so many items at once, each a block of keys a turn, behind a cache that lets
 * go of what was used longest ago: how many blocks come from memory. */
#define BLOCK 64u
#define MAX_BLOCKS 512
static uint32_t blocks_from_memory(const struct scene *s, uint32_t at_once, uint32_t n_cached)
{
    static uint32_t used[MAX_BLOCKS]; /* when, 0 = not in the cache */
    struct rapt_step_item running[64];
    uint32_t n_running = 0, next = 0, now = 0, n_inside = 0, n_misses = 0;
    uint32_t per_head = work_ceil_div(s->max_kv, BLOCK);
    memset(used, 0, sizeof used);
    assert_true(at_once <= 64 && per_head * s->params.n_groups <= MAX_BLOCKS);
    do {
        while (n_running < at_once && next < s->work.n_prefill_items)
            running[n_running++] = s->work.items[next++];
        for (uint32_t i = 0; i < n_running; i++) {
            uint32_t block = running[i].kv_head * per_head + running[i].kv_begin / BLOCK,
                     oldest = 0;
            n_misses += used[block] == 0;
            n_inside += used[block] == 0;
            used[block] = ++now;
            for (uint32_t b = 0; n_inside > n_cached && b < MAX_BLOCKS; b++)
                if (used[b] && (!used[oldest] || used[b] < used[oldest]))
                    oldest = b;
            if (n_inside > n_cached)
                used[oldest] = 0, n_inside--;
            running[i].kv_begin += BLOCK;
        }
        for (uint32_t i = n_running; i-- > 0;)
            if (running[i].kv_begin >= running[i].kv_end)
                running[i] = running[--n_running];
    } while (n_running > 0);
    return n_misses;
}

static void memory_is_read_once(void **state)
{
    (void)state;
    struct scene s;
    plain(&s, 1, (const uint32_t[]){4096}, (const uint32_t[]){4096});
    s.params.n_groups = 8;
    s.max_kv = 4096;
    s.selection.target_items = 64;
    build(&s);
    const uint32_t all = 8 * 4096 / BLOCK, n_cached = all / 4; /* K/V of two heads */
    uint32_t before = blocks_from_memory(&s, 64, n_cached);
    free(s.work.items), free(s.work.merges), free(s.work.stages), free(s.work.rounds);
    s.selection.cache_keys = 4096; /* half of it, as rules have it */
    build(&s);
    uint32_t after = blocks_from_memory(&s, 64, n_cached);
    printf("of %u blocks %u are read in all, %u with groups\n", all, before, after);
    assert_true(after <= all + all / 4);
    assert_true(before > 4 * after);
    drop(&s);
}

/* Any batch: the machine gets what it wants, nothing but the order changes. */
static void any_batch(void **state)
{
    (void)state;
    uint32_t n_grouped = 0;
    for (uint64_t seed = 1; seed <= 120; seed++) {
        uint64_t rng = seed + 20000;
        struct scene s;
        memset(&s, 0, sizeof s);
        random_batch(&rng, &s);
        random_selection(&rng, &s);
        s.selection.staged = 0;
        s.selection.target_items = 1 + random_below(&rng, 8);
        build(&s);
        struct rapt_work whole = s.work;
        s.selection.cache_keys = 1 + random_below(&rng, 4000);
        build(&s);
        n_grouped += memcmp(whole.items, s.work.items, whole.n_items * sizeof *whole.items) != 0;
        if (whole.n_items != s.work.n_items || whole.n_merges != s.work.n_merges ||
            whole.n_partial_rows != s.work.n_partial_rows || whole.n_rounds != s.work.n_rounds)
            fail_msg("seed %llu: other counts with groups", (unsigned long long)seed);
        run(&s);
        free(whole.items), free(whole.merges), free(whole.stages), free(whole.rounds);
        drop(&s);
    }
    printf("%u of 120 batches in groups\n", n_grouped);
    assert_true(n_grouped > 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(heads_of_a_long_sequence),
        cmocka_unit_test(short_sequences_share_a_group),
        cmocka_unit_test(few_items_stay_together),
        cmocka_unit_test(memory_is_read_once),
        cmocka_unit_test(any_batch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
