/* SPDX-License-Identifier: Apache-2.0 */

/* Work lists against the definition: random batches are built, then executed by a machine that
 * keeps track of which key reached which row, and how often. */

#include "random.h"
#include "work.h"
#include "work_parts.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MAX_SEQS 12
#define MAX_TOKENS 4096

struct scene {
    struct rapt_selection selection;
    struct rapt_work_params params;
    struct rapt_batch batch;
    struct rapt_mask_closed closed;
    rapt_mask *mask;
    int32_t cu_q[MAX_SEQS + 1], cu_kv[MAX_SEQS + 1], q_pos0[MAX_SEQS], kv_pos0[MAX_SEQS];
    int32_t prefix[MAX_SEQS], q_pos[MAX_TOKENS];
    uint32_t max_kv;
    struct rapt_work work;
};

static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 31)) * 0x7fb5d329728ea185ull;
    x = (x ^ (x >> 27)) * 0x81dadef4bc2dd44dull;
    return x ^ (x >> 33);
}

/* What has reached a row: a sum that tells keys and their multiplicity apart. */
struct sum {
    uint64_t n, hash;
};

struct state {
    uint64_t owner; /* 1 + index of row and head, 0 = never written */
    struct sum sum;
    uint32_t read_round, write_round; /* + 1 */
};

/* ------------------------------------------------------------------------------------- scenes */

static void random_mask(uint64_t *rng, struct scene *s)
{
    static const char *const texts[] = {
        "full",
        "causal",
        "causal & window(100, 0)",
        "window(37, 20)",
        "chunked(64) & causal",
        "chunked(100)",
        "prefix & causal",
        "causal & sink_tokens(50)",
        "window(0, 0)",
        "causal & prefix & window(500, 0) & chunked(512)",
    };
    uint32_t i = random_below(rng, sizeof texts / sizeof texts[0]);
    s->mask = NULL;
    assert_int_equal(rapt_mask_parse(NULL, texts[i], NULL, &s->mask), RAPT_OK);
    s->batch.mask = s->mask;
    s->batch.prefix = rapt_mask_needs_prefix(s->mask) ? s->prefix : NULL;
    rapt_mask_lower(s->mask, &s->closed);
}

static uint32_t random_length(uint64_t *rng, uint32_t most)
{
    switch (random_below(rng, 5)) {
    case 0:
        return 0;
    case 1:
        return 1;
    case 2:
        return random_below(rng, 20);
    default:
        return random_below(rng, most + 1);
    }
}

static void random_batch(uint64_t *rng, struct scene *s)
{
    uint32_t n = 1 + random_below(rng, MAX_SEQS);
    s->batch = (struct rapt_batch){.n_seqs = n, .cu_q = s->cu_q, .cu_kv = s->cu_kv};
    s->max_kv = 0;
    for (uint32_t b = 0; b < n; b++) {
        uint32_t kv = random_length(rng, 1500);
        s->cu_q[b + 1] = s->cu_q[b] + (int32_t)random_length(rng, 200);
        s->cu_kv[b + 1] = s->cu_kv[b] + (int32_t)kv;
        s->max_kv = s->max_kv > kv ? s->max_kv : kv;
        s->q_pos0[b] = (int32_t)random_below(rng, 1200) - 100;
        s->kv_pos0[b] = (int32_t)random_below(rng, 300) - 100;
        s->prefix[b] = (int32_t)random_below(rng, 600) - 20;
    }
    for (int32_t i = 0; i < s->cu_q[n]; i++)
        s->q_pos[i] = (int32_t)random_below(rng, 1600) - 50;
    uint32_t how = random_below(rng, 4);
    s->batch.q_pos0 = how == 1 ? s->q_pos0 : NULL;
    s->batch.q_pos = how == 2 ? s->q_pos : NULL;
    s->batch.kv_pos0 = random_below(rng, 3) == 0 ? s->kv_pos0 : NULL;
    random_mask(rng, s);
}

static void random_selection(uint64_t *rng, struct scene *s)
{
    static const uint32_t rows[] = {8, 16, 32, 64}, blocks[] = {8, 16, 32, 64};
    struct rapt_selection *sel = &s->selection;
    memset(sel, 0, sizeof *sel);
    sel->prefill.rows = rows[random_below(rng, 4)];
    sel->prefill.block_kv = blocks[random_below(rng, 4)];
    sel->decode.rows = 1u << random_below(rng, 5);
    sel->decode.block_kv = blocks[random_below(rng, 4)];
    sel->decode_rows = sel->decode.rows * (1 + random_below(rng, 3));
    sel->target_items = 1 + random_below(rng, 300);
    sel->max_keys_per_item = random_below(rng, 2) ? 65536 : 64 + random_below(rng, 500);
    uint32_t kind = random_below(rng, 8);
    sel->prefill.kernel = kind == 0 ? -1 : 0;
    sel->decode.kernel = kind == 1 ? -1 : 1;
    if (kind != 0 && random_below(rng, 2)) {
        sel->staged = 1;
        sel->stage_rows = random_below(rng, 2) ? 8 * (8 + random_below(rng, 64)) : 8192;
    }
    s->params = (struct rapt_work_params){
        .selection = sel,
        .n_kv_heads = 1 + random_below(rng, 4),
        .group = 1 + random_below(rng, 6),
    };
    uint32_t split = random_below(rng, 4);
    if (split == 1)
        s->params.n_splits = 1 + random_below(rng, 9);
    uint32_t fixed = 8 * (1 + random_below(rng, 40));
    if (split == 2 && fixed <= sel->max_keys_per_item)
        s->params.fixed_split = fixed;
}

static void build(struct scene *s)
{
    struct rapt_work *w = &s->work;
    struct rapt_work count = {0};
    memset(w, 0, sizeof *w);
    assert_int_equal(rapt_work_build(&s->params, &s->batch, &count), RAPT_OK);
    w->items = calloc(count.n_items + 1, sizeof *w->items);
    w->merges = calloc(count.n_merges + 1, sizeof *w->merges);
    w->stages = calloc(count.n_stages + 1, sizeof *w->stages);
    w->rounds = calloc(count.n_rounds + 1, sizeof *w->rounds);
    w->items_capacity = count.n_items;
    w->merges_capacity = count.n_merges;
    w->stages_capacity = count.n_stages;
    w->rounds_capacity = count.n_rounds;
    w->partial_rows_capacity = count.n_partial_rows;
    assert_int_equal(rapt_work_build(&s->params, &s->batch, w), RAPT_OK);
    assert_int_equal(w->n_items, count.n_items);
    assert_int_equal(w->n_merges, count.n_merges);
    assert_int_equal(w->n_stages, count.n_stages);
    assert_int_equal(w->n_rounds, count.n_rounds);
    assert_int_equal(w->n_partial_rows, count.n_partial_rows);
    if (w->n_items) {
        w->items_capacity = w->n_items - 1;
        assert_int_equal(rapt_work_build(&s->params, &s->batch, w), RAPT_ERROR_CAPACITY);
        assert_int_equal(w->n_items, count.n_items);
        w->items_capacity = w->n_items;
        assert_int_equal(rapt_work_build(&s->params, &s->batch, w), RAPT_OK);
    }
}

static void drop(struct scene *s)
{
    free(s->work.items);
    free(s->work.merges);
    free(s->work.stages);
    free(s->work.rounds);
    rapt_mask_destroy(&s->mask);
}

/* ------------------------------------------------------------------------------------ machine */

struct machine {
    const struct scene *s;
    struct state *partials;
    struct sum *out;
    uint8_t *written;
    struct {
        uint32_t seq, head, key, round;
    } * staged;
};

static uint64_t row_index(const struct scene *s, uint32_t seq, uint32_t head, uint32_t row)
{
    uint64_t token = (uint64_t)s->cu_q[seq] + row / s->params.group;
    return (token * s->params.n_kv_heads + head) * s->params.group + row % s->params.group;
}

static int allowed(const struct scene *s, uint32_t seq, uint32_t row, uint32_t key)
{
    return rapt_mask_allows(s->mask, rapt_batch_q_pos(&s->batch, seq, row / s->params.group),
                            rapt_batch_kv_pos0(&s->batch, seq) + (int32_t)key, s->prefix[seq]);
}

static struct sum sum_keys(const struct scene *s, uint32_t seq, uint32_t row, uint32_t begin,
                           uint32_t end)
{
    struct sum sum = {0, 0};
    for (uint32_t key = begin; key < end; key++)
        if (allowed(s, seq, row, key)) {
            sum.n++;
            sum.hash += mix(key + 1);
        }
    return sum;
}

static void finish_row(struct machine *m, uint64_t row, struct sum sum)
{
    assert_false(m->written[row]);
    m->written[row] = 1;
    m->out[row] = sum;
}

static void run_item(struct machine *m, const struct rapt_step_item *item, uint32_t round)
{
    const struct scene *s = m->s;
    uint32_t q_rows = rapt_batch_q_len(&s->batch, item->seq) * s->params.group;
    assert_true(item->seq < s->batch.n_seqs && item->kv_head < s->params.n_kv_heads);
    assert_true(item->n_rows > 0 && item->row_first + item->n_rows <= q_rows);
    assert_true(item->kv_begin <= item->kv_end);
    assert_true(item->kv_end <= rapt_batch_kv_len(&s->batch, item->seq));
    for (uint32_t r = 0; r < item->n_rows; r++) {
        uint32_t row = item->row_first + r;
        uint64_t index = row_index(s, item->seq, item->kv_head, row);
        struct sum sum = sum_keys(s, item->seq, row, item->kv_begin, item->kv_end);
        if (item->partial == RAPT_DIRECT) {
            assert_int_equal(item->flags, 0);
            finish_row(m, index, sum);
            continue;
        }
        assert_true(item->partial + r < s->work.n_partial_rows);
        struct state *state = &m->partials[item->partial + r];
        if (item->flags & RAPT_ITEM_CONTINUE) {
            assert_int_equal(state->owner, index + 1);
            assert_true(state->write_round < round + 1);
            sum.n += state->sum.n;
            sum.hash += state->sum.hash;
            state->read_round = round + 1;
        }
        if (item->flags & RAPT_ITEM_FINISH) {
            finish_row(m, index, sum);
            continue;
        }
        assert_true(state->write_round < round + 1);
        assert_true(state->owner == index + 1 || state->read_round < round + 1);
        *state = (struct state){index + 1, sum, state->read_round, round + 1};
    }
}

static void run_stage(struct machine *m, const struct rapt_step_stage *stage, uint32_t round)
{
    const struct scene *s = m->s;
    assert_true(stage->n_keys > 0 && stage->n_keys % 8 == 0 && stage->kv_begin % 8 == 0);
    assert_int_equal(stage->stage_row % 8, 0);
    assert_true(stage->stage_row + stage->n_keys <= s->selection.stage_rows);
    for (uint32_t i = 0; i < stage->n_keys; i++) {
        uint32_t row = stage->stage_row + i;
        assert_int_not_equal(m->staged[row].round, round + 1);
        m->staged[row].seq = stage->seq;
        m->staged[row].head = stage->kv_head;
        m->staged[row].key = stage->kv_begin + i;
        m->staged[row].round = round + 1;
    }
}

static void check_staged(const struct machine *m, const struct rapt_step_item *item, uint32_t round)
{
    if (item->kv_begin == item->kv_end)
        return;
    assert_int_equal(item->kv_begin % 8, 0);
    /* kernels read whole groups of eight rows */
    for (uint32_t key = item->kv_begin; key < work_align_up(item->kv_end, 8); key++) {
        uint32_t row = item->stage_row + key - item->kv_begin;
        assert_true(row < m->s->selection.stage_rows);
        assert_int_equal(m->staged[row].round, round + 1);
        assert_int_equal(m->staged[row].seq, item->seq);
        assert_int_equal(m->staged[row].head, item->kv_head);
        assert_int_equal(m->staged[row].key, key);
    }
}

static void run_merge(struct machine *m, const struct rapt_step_merge *merge)
{
    assert_true(merge->n_parts > 1);
    for (uint32_t r = 0; r < merge->n_rows; r++) {
        uint64_t index = row_index(m->s, merge->seq, merge->kv_head, merge->row_first + r);
        struct sum sum = {0, 0};
        for (uint32_t p = 0; p < merge->n_parts; p++) {
            uint32_t at = merge->first_partial + p * merge->part_stride + r;
            assert_true(at < m->s->work.n_partial_rows);
            assert_int_equal(m->partials[at].owner, index + 1);
            sum.n += m->partials[at].sum.n;
            sum.hash += m->partials[at].sum.hash;
        }
        finish_row(m, index, sum);
    }
}

static void run(const struct scene *s)
{
    const struct rapt_work *w = &s->work;
    uint64_t n_rows = (uint64_t)s->cu_q[s->batch.n_seqs] * s->params.n_kv_heads * s->params.group;
    struct machine m = {.s = s};
    m.partials = calloc(w->n_partial_rows + 1, sizeof *m.partials);
    m.out = calloc(n_rows + 1, sizeof *m.out);
    m.written = calloc(n_rows + 1, 1);
    m.staged = calloc(s->selection.stage_rows + 1, sizeof *m.staged);
    uint32_t next = 0;
    for (uint32_t i = 0; i < w->n_rounds; i++) {
        const struct rapt_work_round *round = &w->rounds[i];
        assert_int_equal(round->item_first, next);
        next += round->n_items;
        assert_true(round->n_items > 0);
        assert_int_equal(round->decode, round->item_first >= w->n_prefill_items);
        for (uint32_t k = 0; k < round->n_stages; k++)
            run_stage(&m, &w->stages[round->stage_first + k], i);
        for (uint32_t k = 0; k < round->n_items; k++) {
            const struct rapt_step_item *item = &w->items[round->item_first + k];
            if (s->selection.staged && !round->decode)
                check_staged(&m, item, i);
            assert_true(item->kv_begin <= item->kv_end);
            assert_true(item->kv_end - item->kv_begin <= s->selection.max_keys_per_item);
            run_item(&m, item, i);
        }
    }
    assert_int_equal(next, w->n_items);
    for (uint32_t i = 0; i < w->n_merges; i++)
        run_merge(&m, &w->merges[i]);
    for (uint32_t b = 0; b < s->batch.n_seqs; b++)
        for (uint32_t h = 0; h < s->params.n_kv_heads; h++)
            for (uint32_t r = 0; r < rapt_batch_q_len(&s->batch, b) * s->params.group; r++) {
                uint64_t index = row_index(s, b, h, r);
                struct sum want = sum_keys(s, b, r, 0, rapt_batch_kv_len(&s->batch, b));
                assert_true(m.written[index]);
                assert_int_equal(m.out[index].n, want.n);
                assert_true(m.out[index].hash == want.hash);
            }
    free(m.partials);
    free(m.out);
    free(m.written);
    free(m.staged);
}

/* -------------------------------------------------------------------------------------- tests */

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
            if (i != s.work.n_prefill_items)
                assert_true(rapt_work_bucket(a->kv_end - a->kv_begin) >=
                            rapt_work_bucket(b->kv_end - b->kv_begin));
        }
        drop(&s);
    }
}

/* A plain scene: causal, packed, 4 KV heads of 2. */
static void plain(struct scene *s, uint32_t n, const uint32_t *q_len, const uint32_t *kv_len)
{
    memset(s, 0, sizeof *s);
    s->batch = (struct rapt_batch){.n_seqs = n, .cu_q = s->cu_q, .cu_kv = s->cu_kv};
    for (uint32_t b = 0; b < n; b++) {
        s->cu_q[b + 1] = s->cu_q[b] + (int32_t)q_len[b];
        s->cu_kv[b + 1] = s->cu_kv[b] + (int32_t)kv_len[b];
    }
    s->selection.prefill = (struct rapt_kernel_choice){.kernel = 0, .rows = 64, .block_kv = 32};
    s->selection.decode = (struct rapt_kernel_choice){.kernel = 1, .rows = 8, .block_kv = 32};
    s->selection.decode_rows = 8;
    s->selection.target_items = 128;
    s->selection.max_keys_per_item = 65536;
    s->params = (struct rapt_work_params){.selection = &s->selection, .n_kv_heads = 4, .group = 2};
    assert_int_equal(rapt_mask_parse(NULL, "causal", NULL, &s->mask), RAPT_OK);
    s->batch.mask = s->mask;
    rapt_mask_lower(s->mask, &s->closed);
}

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
        cmocka_unit_test(one_sequence_fills_the_device),
        cmocka_unit_test(the_longest_does_not_decide),
        cmocka_unit_test(equal_sequences_stay_whole),
        cmocka_unit_test(sharers_lie_side_by_side),
        cmocka_unit_test(rows_without_keys_get_an_item),
        cmocka_unit_test(fixed_split_ignores_the_batch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
