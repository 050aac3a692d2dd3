/* SPDX-License-Identifier: Apache-2.0 */

/* Who shares what: random tries of page ids against what every query must see, known batches
 * against the best that can be done with them. No device. */

#include <rapt/cascade.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "expect.h"
#include "random.h"

enum { MAX_SEQS = 24, MAX_PAGES = 24, MAX_Q = 4, STRIDE = 40 };

/* A batch with block tables and everything that goes with it. */
struct scene {
    uint32_t n_seqs, page_size, n_page_ids;
    int32_t cu_q[MAX_SEQS + 1], kv_pos0[MAX_SEQS], prefix[MAX_SEQS];
    int32_t q_pos[MAX_SEQS * MAX_Q], rope_pos[MAX_SEQS * MAX_Q];
    uint32_t indptr[MAX_SEQS + 1], indices[MAX_SEQS * MAX_PAGES], last[MAX_SEQS];
    uint64_t q_offsets[MAX_SEQS];
    rapt_mask *mask;
    rapt_cascade_rule rule;
    rapt_step_params step;
};

static uint32_t n_pages_of(const struct scene *s, uint32_t b)
{
    return s->indptr[b + 1] - s->indptr[b];
}

static uint32_t kv_len_of(const struct scene *s, uint32_t b)
{
    uint32_t n = n_pages_of(s, b);
    return n ? (n - 1) * s->page_size + s->last[b] : 0;
}

static uint32_t q_len_of(const struct scene *s, uint32_t b)
{
    return (uint32_t)(s->cu_q[b + 1] - s->cu_q[b]);
}

static void set_step(struct scene *s)
{
    s->rule.struct_size = sizeof s->rule;
    s->rule.page_size = s->page_size;
    s->rule.q.token_stride = STRIDE;
    s->step = (rapt_step_params){.struct_size = sizeof s->step,
                                 .n_seqs = s->n_seqs,
                                 .cu_q = s->cu_q,
                                 .page_indptr = s->indptr,
                                 .page_indices = s->indices,
                                 .last_page_len = s->last,
                                 .n_pool_pages = s->n_page_ids,
                                 .kv_pos0 = s->kv_pos0,
                                 .mask = s->mask};
}

/* Each sequence takes over some pages of one before it, mostly of its neighbour, and adds its own.
 */
static void random_scene(uint64_t seed, const char *mask, struct scene *s)
{
    memset(s, 0, sizeof *s);
    s->n_seqs = 1 + random_below(&seed, MAX_SEQS);
    s->page_size = 1u << random_below(&seed, 4);
    for (uint32_t b = 0; b < s->n_seqs; b++) {
        uint32_t *pages = s->indices + s->indptr[b], n = 0, old = b ? b - 1 : 0;
        if (b && random_below(&seed, 4) == 0)
            old = random_below(&seed, b);
        uint32_t has = b ? n_pages_of(s, old) : 0;
        n = random_below(&seed, 3) ? has - random_below(&seed, has / 2 + 1) : 0;
        memmove(pages, s->indices + s->indptr[old], n * sizeof *pages);
        for (uint32_t more = random_below(&seed, 8); more && n < MAX_PAGES; more--)
            pages[n++] = s->n_page_ids++;
        s->indptr[b + 1] = s->indptr[b] + n;
        s->last[b] = n ? 1 + random_below(&seed, s->page_size) : 0;
        if (random_below(&seed, 2))
            s->last[b] = n ? s->page_size : 0;
        s->cu_q[b + 1] = s->cu_q[b] + (int32_t)random_below(&seed, MAX_Q);
        s->kv_pos0[b] = random_below(&seed, 8) ? 7 : 9;
        s->prefix[b] = 7 + (int32_t)random_below(&seed, 3) * 13;
        s->q_offsets[b] = (uint64_t)s->cu_q[b] * STRIDE + (random_below(&seed, 8) ? 0 : 1000);
    }
    for (uint32_t i = 0; i < MAX_SEQS * MAX_Q; i++) {
        s->q_pos[i] = (int32_t)random_below(&seed, 200);
        s->rope_pos[i] = (int32_t)random_below(&seed, 200);
    }
    assert_int_equal(rapt_mask_parse(NULL, mask, NULL, &s->mask), RAPT_OK);
    set_step(s);
    s->rule.max_levels = 1 + random_below(&seed, 5);
    s->rule.min_shared_tokens = 1 + random_below(&seed, 12);
    s->rule.merge_tokens = 1 + random_below(&seed, 4);
    s->step.prefix = s->prefix;
    if (random_below(&seed, 2))
        s->step.q_pos = s->q_pos;
    if (random_below(&seed, 2))
        s->step.rope_pos = s->rope_pos;
    if (random_below(&seed, 2))
        s->step.q_offsets = s->q_offsets;
}

/* A batch in levels, in memory of exactly the size asked for. */
struct cut {
    unsigned char *memory;
    uint64_t n_bytes;
    rapt_step_params step;
    rapt_cascade_info info;
};

static void split(const struct scene *s, struct cut *cut)
{
    *cut = (struct cut){.step.struct_size = sizeof cut->step, .info.struct_size = sizeof cut->info};
    cut->n_bytes = rapt_cascade_split_bytes(&s->rule, s->n_seqs, (uint32_t)s->cu_q[s->n_seqs],
                                            s->indptr[s->n_seqs]);
    cut->memory = malloc(cut->n_bytes);
    assert_non_null(cut->memory);
    memset(cut->memory, 0xa5, cut->n_bytes);
    rapt_status status =
        rapt_cascade_split(&s->rule, &s->step, cut->memory, cut->n_bytes, &cut->step, &cut->info);
    if (status != RAPT_OK)
        fprintf(stderr, "%s\n", rapt_last_error());
    assert_int_equal(status, RAPT_OK);
}

/* Position of row t of sequence b, as prepare has it. */
static int32_t position(const struct scene *s, uint32_t b, uint32_t t)
{
    if (s->step.q_pos)
        return s->q_pos[(uint32_t)s->cu_q[b] + t];
    return (int32_t)(kv_len_of(s, b) - q_len_of(s, b) + t) + s->kv_pos0[b];
}

/* Sequence n of the cut serves row t of sequence b: marks the keys it brings. */
static void mark_keys(const struct scene *s, const struct cut *cut, uint32_t n, uint32_t b,
                      uint8_t *keys)
{
    const rapt_step_params *c = &cut->step;
    uint32_t n_pages = c->page_indptr[n + 1] - c->page_indptr[n];
    if (n_pages == 0) {
        assert_int_equal(c->last_page_len[n], 0);
        return;
    }
    int32_t start = c->kv_pos0[n] - s->kv_pos0[b];
    assert_true(start >= 0 && (uint32_t)start % s->page_size == 0);
    uint32_t first = (uint32_t)start / s->page_size;
    uint32_t kv_len = (n_pages - 1) * s->page_size + c->last_page_len[n];
    assert_true(first + n_pages <= n_pages_of(s, b));
    assert_true((uint32_t)start + kv_len <= kv_len_of(s, b));
    assert_memory_equal(c->page_indices + c->page_indptr[n], s->indices + s->indptr[b] + first,
                        n_pages * sizeof(uint32_t));
    for (uint32_t j = 0; j < kv_len; j++) {
        keys[(uint32_t)start + j]++;
        int32_t J = c->kv_pos0[n] + (int32_t)j;
        if (rapt_mask_needs_prefix(s->mask))
            assert_int_equal(J < c->prefix[n], J < s->prefix[b]);
    }
}

/* Every level has every row once, in order; every row has every key of its sequence once. */
static void check_cover(const struct scene *s, const struct cut *cut)
{
    const rapt_step_params *c = &cut->step;
    uint32_t total_q = (uint32_t)s->cu_q[s->n_seqs];
    assert_int_equal(c->cu_q[0], 0);
    assert_int_equal(c->cu_q[c->n_seqs], cut->info.n_levels * total_q);
    assert_int_equal(cut->info.total_q, total_q);
    assert_true(cut->info.n_levels <= s->rule.max_levels);
    for (uint32_t b = 0; b < s->n_seqs; b++) {
        for (uint32_t t = 0; t < q_len_of(s, b); t++) {
            uint8_t keys[MAX_PAGES * 8] = {0};
            uint32_t n = 0;
            for (uint32_t level = 0; level < cut->info.n_levels; level++) {
                uint32_t row = level * total_q + (uint32_t)s->cu_q[b] + t;
                while ((uint32_t)c->cu_q[n + 1] <= row)
                    n++;
                uint64_t at = s->step.q_offsets ? s->q_offsets[b] : (uint64_t)s->cu_q[b] * STRIDE;
                assert_int_equal(c->q_offsets[n] + (row - (uint32_t)c->cu_q[n]) * STRIDE,
                                 at + t * STRIDE);
                assert_int_equal(c->q_pos[row], position(s, b, t));
                if (s->step.rope_pos)
                    assert_int_equal(c->rope_pos[row], s->rope_pos[(uint32_t)s->cu_q[b] + t]);
                mark_keys(s, cut, n, b, keys);
            }
            for (uint32_t j = 0; j < kv_len_of(s, b); j++)
                assert_int_equal(keys[j], 1);
        }
    }
}

/* Keys read, merges paid for; no group that does not pay. */
static void check_worth(const struct scene *s, const struct cut *cut)
{
    uint64_t read = 0, all = 0, merges = 0;
    uint32_t n_groups = 0;
    const rapt_step_params *c = &cut->step;
    for (uint32_t b = 0; b < s->n_seqs; b++)
        all += q_len_of(s, b) ? kv_len_of(s, b) : 0;
    for (uint32_t n = 0; n < c->n_seqs; n++) {
        uint32_t n_pages = c->page_indptr[n + 1] - c->page_indptr[n];
        if (n_pages == 0)
            continue;
        uint32_t kv_len = (n_pages - 1) * s->page_size + c->last_page_len[n];
        uint32_t row = (uint32_t)c->cu_q[n] % cut->info.total_q, b = 0, members = 0;
        uint32_t n_rows = (uint32_t)(c->cu_q[n + 1] - c->cu_q[n]);
        while ((uint32_t)s->cu_q[b + 1] <= row)
            b++;
        for (; b < s->n_seqs && (uint32_t)s->cu_q[b] < row + n_rows; b++)
            members += q_len_of(s, b) > 0;
        read += kv_len;
        if (members > 1) {
            n_groups++;
            merges += (uint64_t)n_rows * s->rule.merge_tokens;
            assert_int_equal(c->last_page_len[n], s->page_size);
            assert_true(kv_len >= s->rule.min_shared_tokens);
            assert_true((uint64_t)kv_len * (members - 1) > (uint64_t)n_rows * s->rule.merge_tokens);
        }
    }
    assert_int_equal(cut->info.n_groups, n_groups);
    assert_int_equal(cut->info.kv_tokens, all);
    assert_int_equal(cut->info.kv_tokens_read, read);
    assert_true(read + merges <= all);
}

static void random_tries(void **state)
{
    (void)state;
    enum { N = 20000 };
    static const char *const masks[] = {"full", "causal", "prefix", "causal & prefix"};
    const uint64_t first = 1;
    uint32_t n_shared = 0, deepest = 0;
    printf("%d batches from seed %llu\n", N, (unsigned long long)first);
    for (uint64_t seed = first; seed < first + N; seed++) {
        struct scene s;
        struct cut cut;
        random_scene(seed, masks[seed % 4], &s);
        split(&s, &cut);
        check_cover(&s, &cut);
        if (seed % 4 < 2)
            check_worth(&s, &cut);
        n_shared += cut.info.n_groups > 0;
        deepest = cut.info.n_levels > deepest ? cut.info.n_levels : deepest;
        free(cut.memory);
        rapt_mask_destroy(&s.mask);
    }
    assert_true(n_shared > N / 4 && deepest == 5);
}

/* ----------------------------------------------------------------------------- how good it is */

/* Most that one level of sharing can save: sequences [0, i) best, by the last group's first. Either
 * of any groups, or of such that no neighbour could join. */
static uint64_t best_of_one_level(const struct scene *s, const uint32_t *common, int whole)
{
    uint64_t best[MAX_SEQS + 1] = {0};
    for (uint32_t i = 1; i <= s->n_seqs; i++) {
        uint32_t pages = UINT32_MAX;
        best[i] = best[i - 1];
        for (uint32_t a = i - 1; a-- > 0;) {
            pages = common[a + 1] < pages ? common[a + 1] : pages;
            uint64_t keys = (uint64_t)pages * s->page_size, saved = keys * (i - a - 1);
            uint64_t cost = (uint64_t)(s->cu_q[i] - s->cu_q[a]) * s->rule.merge_tokens;
            if (keys < s->rule.min_shared_tokens || saved <= cost)
                continue;
            if (whole && (common[a] >= pages || (i < s->n_seqs && common[i] >= pages)))
                continue;
            uint64_t total = best[a] + saved - cost;
            best[i] = total > best[i] ? total : best[i];
        }
    }
    return best[s->n_seqs];
}

static void one_level_is_the_best_there_is(void **state)
{
    (void)state;
    uint64_t all_got = 0, all_best = 0;
    for (uint64_t seed = 1; seed <= 5000; seed++) {
        struct scene s;
        struct cut cut;
        uint32_t common[MAX_SEQS] = {0};
        random_scene(seed, "full", &s);
        s.rule.max_levels = 2;
        s.step.q_offsets = NULL;
        /* with rows alike, leaving one out of a group never pays */
        int32_t q_len = 1 + (int32_t)(seed % 3);
        for (uint32_t b = 0; b < s.n_seqs; b++) {
            s.kv_pos0[b] = 0;
            s.cu_q[b + 1] = s.cu_q[b] + q_len;
            uint32_t full_a = b ? kv_len_of(&s, b - 1) / s.page_size : 0;
            uint32_t full_b = kv_len_of(&s, b) / s.page_size;
            while (common[b] < full_a && common[b] < full_b &&
                   s.indices[s.indptr[b - 1] + common[b]] == s.indices[s.indptr[b] + common[b]])
                common[b]++;
        }
        split(&s, &cut);
        check_cover(&s, &cut);
        uint64_t paid = 0;
        for (uint32_t n = 0; n < cut.step.n_seqs; n++) {
            uint32_t row = (uint32_t)cut.step.cu_q[n], b = 0;
            while (row < cut.info.total_q && (uint32_t)s.cu_q[b] < row)
                b++;
            if (row < cut.info.total_q && s.cu_q[b + 1] < cut.step.cu_q[n + 1] &&
                cut.step.page_indptr[n + 1] > cut.step.page_indptr[n])
                paid += (uint64_t)(cut.step.cu_q[n + 1] - cut.step.cu_q[n]) * s.rule.merge_tokens;
        }
        uint64_t got = cut.info.kv_tokens - cut.info.kv_tokens_read - paid;
        assert_int_equal(got, best_of_one_level(&s, common, 1));
        all_got += got;
        all_best += best_of_one_level(&s, common, 0);
        free(cut.memory);
        rapt_mask_destroy(&s.mask);
    }
    printf("%.4f of what any groups could save\n", (double)all_got / (double)all_best);
    assert_true((double)all_got > 0.95 * (double)all_best);
}

/* n_seqs sequences of one query each; their pages by `page`, called until it gives UINT32_MAX. */
static void known_scene(uint32_t n_seqs, uint32_t (*page)(uint32_t seq, uint32_t i),
                        struct scene *s)
{
    memset(s, 0, sizeof *s);
    s->n_seqs = n_seqs;
    s->page_size = 8;
    for (uint32_t b = 0; b < n_seqs; b++) {
        uint32_t n = 0, id;
        while ((id = page(b, n)) != UINT32_MAX) {
            s->indices[s->indptr[b] + n++] = id;
            s->n_page_ids = id >= s->n_page_ids ? id + 1 : s->n_page_ids;
        }
        s->indptr[b + 1] = s->indptr[b] + n;
        s->last[b] = 3;
        s->cu_q[b + 1] = s->cu_q[b] + 1;
    }
    set_step(s);
    s->rule.max_levels = 4;
    s->rule.min_shared_tokens = 8;
    s->rule.merge_tokens = 1;
}

/* a prompt of 10 pages for all, then 5 for each four, then one of its own */
static uint32_t page_of_two_depths(uint32_t seq, uint32_t i)
{
    return i < 10 ? i : i < 15 ? 100 + seq / 4 * 10 + i : i == 15 ? 200 + seq : UINT32_MAX;
}

/* one page for all, then 15 for each half */
static uint32_t page_of_a_thin_root(uint32_t seq, uint32_t i)
{
    return i < 1 ? i : i < 16 ? 100 + seq / 8 * 20 + i : i == 16 ? 200 + seq : UINT32_MAX;
}

/* even and odd sequences take turns */
static uint32_t page_by_turns(uint32_t seq, uint32_t i)
{
    return i < 10 ? seq % 2 * 10 + i : i == 10 ? 100 + seq : UINT32_MAX;
}

static void known_batches(void **state)
{
    (void)state;
    struct scene s;
    struct cut cut;
    known_scene(16, page_of_two_depths, &s);
    split(&s, &cut);
    check_cover(&s, &cut);
    check_worth(&s, &cut);
    assert_int_equal(cut.info.n_levels, 3);
    assert_int_equal(cut.info.n_groups, 5);
    assert_int_equal(cut.info.n_sharing, 16);
    assert_int_equal(cut.info.kv_tokens_read, 80 + 4 * 40 + 16 * 3);
    free(cut.memory);
    s.rule.max_levels = 1;
    split(&s, &cut);
    check_cover(&s, &cut);
    assert_int_equal(cut.info.n_levels, 1);
    assert_int_equal(cut.info.kv_tokens_read, cut.info.kv_tokens);
    free(cut.memory);
    /* a window that leaves nothing of the prompt in sight */
    s.rule.max_levels = 3;
    assert_int_equal(rapt_mask_parse(NULL, "causal & window(41, 0)", NULL, &s.mask), RAPT_OK);
    s.step.mask = s.mask;
    split(&s, &cut);
    check_cover(&s, &cut);
    assert_int_equal(cut.info.n_levels, 2);
    assert_int_equal(cut.info.n_groups, 4);
    free(cut.memory);
    rapt_mask_destroy(&s.mask);

    known_scene(16, page_of_a_thin_root, &s);
    s.rule.merge_tokens = 2; /* the root saves 8 keys and would cost 32 */
    split(&s, &cut);
    check_worth(&s, &cut);
    assert_int_equal(cut.info.n_groups, 2);
    assert_int_equal(cut.info.kv_tokens_read, 2 * 128 + 16 * 3);
    free(cut.memory);

    /* one that has too many rows to share 80 keys stands between two groups that do */
    known_scene(16, page_of_two_depths, &s);
    for (uint32_t b = 9; b <= 16; b++)
        s.cu_q[b] += 400;
    s.rule.max_levels = 2;
    split(&s, &cut);
    check_cover(&s, &cut);
    assert_int_equal(cut.info.n_groups, 4);
    assert_int_equal(cut.info.n_sharing, 15);
    free(cut.memory);

    known_scene(16, page_by_turns, &s);
    split(&s, &cut);
    assert_int_equal(cut.info.n_groups, 0);
    free(cut.memory);
    uint32_t scratch[16], order[16];
    assert_int_equal(rapt_cascade_order(&s.step, scratch, order), RAPT_OK);
    for (uint32_t i = 0; i < 16; i++)
        assert_int_equal(order[i], i < 8 ? 2 * i : 2 * i - 15);
}

/* In the order asked for, every page two sequences have in common is common to neighbours. */
static void orders_bring_prefixes_together(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 2000; seed++) {
        struct scene s;
        uint32_t scratch[MAX_SEQS], order[MAX_SEQS];
        uint8_t seen[MAX_SEQS] = {0};
        random_scene(seed, "full", &s);
        assert_int_equal(rapt_cascade_order(&s.step, scratch, order), RAPT_OK);
        for (uint32_t i = 0; i < s.n_seqs; i++) {
            assert_true(order[i] < s.n_seqs && !seen[order[i]]);
            seen[order[i]] = 1;
        }
        /* whoever begins with a page of a position stands beside the others who do */
        for (uint32_t i = 0; i < s.n_seqs; i++)
            for (uint32_t k = i + 2; k < s.n_seqs; k++) {
                uint32_t a = order[i], b = order[k], m = order[i + 1], n = 0;
                if (s.kv_pos0[a] != s.kv_pos0[b])
                    continue;
                while (n < n_pages_of(&s, a) && n < n_pages_of(&s, b) &&
                       s.indices[s.indptr[a] + n] == s.indices[s.indptr[b] + n])
                    n++;
                assert_true(n_pages_of(&s, m) >= n && s.kv_pos0[m] == s.kv_pos0[a]);
                assert_memory_equal(s.indices + s.indptr[a], s.indices + s.indptr[m],
                                    n * sizeof(uint32_t));
            }
        rapt_mask_destroy(&s.mask);
    }
}

/* ------------------------------------------------------------------------------------- refusals */

static void bad_batches(void **state)
{
    (void)state;
    struct scene sound;
    uint64_t memory[4096], offsets[16] = {0};
    rapt_step_params out = {.struct_size = sizeof out};
    known_scene(16, page_of_two_depths, &sound);
    int32_t many[17] = {0}, cu_kv[17] = {0};
#define REFUSE(want, word, ...)                                                                    \
    do {                                                                                           \
        struct scene s = sound;                                                                    \
        uint64_t n_bytes = sizeof memory;                                                          \
        (void)n_bytes;                                                                             \
        set_step(&s);                                                                              \
        __VA_ARGS__;                                                                               \
        expect(rapt_cascade_split(&s.rule, &s.step, memory, n_bytes, &out, NULL), want, word);     \
        assert_null(out.cu_q);                                                                     \
    } while (0)
    uint64_t needed = rapt_cascade_split_bytes(&sound.rule, 16, 16, sound.indptr[16]);
    assert_true(needed <= sizeof memory);
    REFUSE(RAPT_ERROR_CAPACITY, "memory_bytes is", n_bytes = needed - 1);
    REFUSE(RAPT_ERROR_ARGUMENT, "struct_size", s.rule.struct_size = 0);
    REFUSE(RAPT_ERROR_ARGUMENT, "struct_size", s.step.struct_size = 0);
    REFUSE(RAPT_ERROR_ARGUMENT, "max_levels is 17", s.rule.max_levels = 17);
    REFUSE(RAPT_ERROR_ARGUMENT, "page_size is 0", s.rule.page_size = 0);
    REFUSE(RAPT_ERROR_ARGUMENT, "page_size is 12", s.rule.page_size = 12);
    REFUSE(RAPT_ERROR_ARGUMENT, "cu_kv is set", s.step.cu_kv = cu_kv);
    REFUSE(RAPT_ERROR_ARGUMENT, "page_indptr is NULL", s.step.page_indptr = NULL);
    REFUSE(RAPT_ERROR_ARGUMENT, "packed K/V", s.step.k_offsets = offsets);
    REFUSE(RAPT_ERROR_ARGUMENT, "out_offsets", s.step.out_offsets = offsets);
    REFUSE(RAPT_ERROR_ARGUMENT, "bias", s.step.bias_row_stride = 3);
    REFUSE(RAPT_ERROR_ARGUMENT, "n_seqs is 0", s.step.n_seqs = 0);
    REFUSE(RAPT_ERROR_ARGUMENT, "page_indices[0] is 0", s.step.n_pool_pages = 0);
    for (int i = 1; i <= 16; i++)
        many[i] = 1 << 29;
    REFUSE(RAPT_ERROR_ARGUMENT, "2^31 rows", s.step.cu_q = many);
    expect(rapt_cascade_split(&sound.rule, &sound.step, NULL, 0, &out, NULL), RAPT_ERROR_ARGUMENT,
           "memory is NULL");
    expect(rapt_cascade_split(&sound.rule, &sound.step, (char *)memory + 4, 4096, &out, NULL),
           RAPT_ERROR_ARGUMENT, "aligned");
    expect(rapt_cascade_order(&sound.step, NULL, (uint32_t *)memory), RAPT_ERROR_ARGUMENT,
           "scratch is NULL");
    assert_true(rapt_cascade_split_bytes(NULL, UINT32_MAX, UINT32_MAX, UINT32_MAX) > 1ull << 32);
}

static void nothing_to_attend(void **state)
{
    (void)state;
    struct scene s;
    struct cut cut;
    known_scene(16, page_of_two_depths, &s);
    memset(s.cu_q, 0, sizeof s.cu_q);
    split(&s, &cut);
    assert_int_equal(cut.info.n_levels, 1);
    assert_int_equal(cut.info.kv_tokens, 0);
    assert_int_equal(cut.step.n_seqs, 1);
    assert_int_equal(cut.step.cu_q[1], 0);
    free(cut.memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_tries),  cmocka_unit_test(one_level_is_the_best_there_is),
        cmocka_unit_test(known_batches), cmocka_unit_test(orders_bring_prefixes_together),
        cmocka_unit_test(bad_batches),   cmocka_unit_test(nothing_to_attend),
    };
    return cmocka_run_group_tests_name("cascade split", tests, NULL, NULL);
}
