/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_RUNTIME_WORK_MACHINE_H
#define TESTS_RUNTIME_WORK_MACHINE_H

/* A machine that executes a work list as the kernels would, round by round, and keeps track of which
 * key reached which row, and how often. */

#include "work_scene.h"

static inline uint64_t mix(uint64_t x)
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

struct machine {
    const struct scene *s;
    struct state *partials;
    struct sum *out;
    uint8_t *written;
    struct {
        uint32_t seq, head, key, round;
    } * staged;
};

static inline uint64_t row_index(const struct scene *s, uint32_t seq, uint32_t head, uint32_t row)
{
    uint64_t token = (uint64_t)s->cu_q[seq] + row / s->params.group;
    return (token * s->params.n_groups + head) * s->params.group + row % s->params.group;
}

static inline int allowed(const struct scene *s, uint32_t seq, uint32_t row, uint32_t key)
{
    return rapt_mask_allows(s->mask, rapt_batch_q_pos(&s->batch, seq, row / s->params.group),
                            rapt_batch_kv_pos0(&s->batch, seq) + (int32_t)key, s->prefix[seq]);
}

/* Every key of the blocks that the row's list names. */
static inline struct sum sum_listed(const struct scene *s, uint32_t seq, uint32_t head, uint32_t row)
{
    const struct list_scene *l = s->listed;
    uint32_t list = l->group_set[head] * l->source.n_rows + l->row_first[seq] +
                    row / s->params.group / l->lists.block_q;
    struct sum sum = {0, 0};
    for (uint32_t i = l->indptr[list]; i < l->indptr[list + 1]; i++)
        for (uint32_t k = 0; k < l->source.block_kv; k++) {
            uint32_t key = l->indices[i] * l->source.block_kv + k;
            if (key < rapt_batch_kv_len(&s->batch, seq)) {
                sum.n++;
                sum.hash += mix(key + 1);
            }
        }
    return sum;
}

/* As a kernel goes through an item's spans. */
static inline struct sum sum_spans(const struct scene *s, const struct rapt_step_item *item)
{
    const struct list_scene *l = s->listed;
    struct sum sum = {0, 0};
    uint32_t first = (item->block_first - l->lists.first_word) / RAPT_STEP_SPAN_WORDS, before = 0;
    assert_true(first + item->n_blocks <= l->spans.n_spans);
    for (uint32_t i = first; i < first + item->n_blocks; i++) {
        const struct rapt_span *span = &l->spans.spans[i];
        assert_true(span->begin % 16 == 0 && span->begin < span->end && span->begin >= before);
        assert_true(span->kind != 2 || (span->end - 1) / l->source.block_kv ==
                                           span->begin / l->source.block_kv);
        before = span->end;
        for (uint32_t key = span->begin; key < span->end; key++)
            if (key >= item->kv_begin && key < item->kv_end) {
                sum.n++;
                sum.hash += mix(key + 1);
            }
    }
    return sum;
}

static inline struct sum sum_keys(const struct scene *s, uint32_t seq, uint32_t row, uint32_t begin,
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

static inline void finish_row(struct machine *m, uint64_t row, struct sum sum)
{
    assert_false(m->written[row]);
    m->written[row] = 1;
    m->out[row] = sum;
}

static inline void run_item(struct machine *m, const struct rapt_step_item *item, uint32_t round)
{
    const struct scene *s = m->s;
    uint32_t q_rows = rapt_batch_q_len(&s->batch, item->seq) * s->params.group;
    uint32_t head = item->head_first / s->params.group;
    assert_true(item->seq < s->batch.n_seqs && head < s->params.n_groups);
    assert_int_equal(item->head_first % s->params.group, 0);
    assert_int_equal(item->kv_head, head / work_max(1, s->params.groups_per_kv));
    assert_true(item->n_rows > 0 && item->row_first + item->n_rows <= q_rows);
    if (s->listed) { /* within one block of queries */
        uint32_t block_rows = s->listed->lists.block_q * s->params.group;
        assert_int_equal(item->row_first / block_rows,
                         (item->row_first + item->n_rows - 1) / block_rows);
    }
    assert_true(item->kv_begin <= item->kv_end);
    assert_true(item->kv_end <= rapt_batch_kv_len(&s->batch, item->seq));
    for (uint32_t r = 0; r < item->n_rows; r++) {
        uint32_t row = item->row_first + r;
        uint64_t index = row_index(s, item->seq, head, row);
        struct sum sum = s->listed
                             ? sum_spans(s, item)
                             : sum_keys(s, item->seq, row, item->kv_begin, item->kv_end);
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

static inline void run_stage(struct machine *m, const struct rapt_step_stage *stage, uint32_t round)
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

static inline void check_staged(const struct machine *m, const struct rapt_step_item *item, uint32_t round)
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

static inline void run_merge(struct machine *m, const struct rapt_step_merge *merge)
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

static inline void run(const struct scene *s)
{
    const struct rapt_work *w = &s->work;
    uint64_t n_rows = (uint64_t)s->cu_q[s->batch.n_seqs] * s->params.n_groups * s->params.group;
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
        assert_int_equal(round->kind, round->item_first < w->n_prefill_items ? RAPT_WORK_PREFILL
                                      : round->item_first < w->n_prefill_items + w->n_decode_items
                                          ? RAPT_WORK_DECODE
                                          : RAPT_WORK_FEW);
        for (uint32_t k = 0; k < round->n_stages; k++)
            run_stage(&m, &w->stages[round->stage_first + k], i);
        for (uint32_t k = 0; k < round->n_items; k++) {
            const struct rapt_step_item *item = &w->items[round->item_first + k];
            if (s->selection.staged && round->kind == RAPT_WORK_PREFILL)
                check_staged(&m, item, i);
            assert_true(item->kv_begin <= item->kv_end);
            assert_true((s->listed ? sum_spans(s, item).n : item->kv_end - item->kv_begin) <=
                        s->selection.max_keys_per_item);
            run_item(&m, item, i);
        }
    }
    assert_int_equal(next, w->n_items);
    for (uint32_t i = 0; i < w->n_merges; i++)
        run_merge(&m, &w->merges[i]);
    for (uint32_t b = 0; b < s->batch.n_seqs; b++)
        for (uint32_t h = 0; h < s->params.n_groups; h++)
            for (uint32_t r = 0; r < rapt_batch_q_len(&s->batch, b) * s->params.group; r++) {
                uint64_t index = row_index(s, b, h, r);
                struct sum want = s->listed
                                      ? sum_listed(s, b, h, r)
                                      : sum_keys(s, b, r, 0, rapt_batch_kv_len(&s->batch, b));
                assert_true(m.written[index]);
                assert_int_equal(m.out[index].n, want.n);
                assert_true(m.out[index].hash == want.hash);
            }
    free(m.partials);
    free(m.out);
    free(m.written);
    free(m.staged);
}

#endif
