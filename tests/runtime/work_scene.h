/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_RUNTIME_WORK_SCENE_H
#define TESTS_RUNTIME_WORK_SCENE_H

/* Batches for the tests of work lists: random ones, and plain ones of given lengths. */

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
    struct list_scene *listed; /* NULL = ranges in closed form */
};

/* Random lists of key blocks. */
#define MAX_LISTS 2048
#define MAX_ENTRIES (MAX_LISTS * 96)
struct list_scene {
    struct rapt_spans_source source;
    uint32_t row_first[MAX_SEQS + 1], indptr[MAX_LISTS + 1], group_set[64];
    uint32_t indices[MAX_ENTRIES], tiles[MAX_ENTRIES];
    uint8_t kinds[MAX_ENTRIES];
    struct rapt_spans spans;
    struct rapt_work_lists lists;
};

static inline void random_mask(uint64_t *rng, struct scene *s)
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

static inline uint32_t random_length(uint64_t *rng, uint32_t most)
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

static inline void random_batch(uint64_t *rng, struct scene *s)
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

static inline void random_selection(uint64_t *rng, struct scene *s)
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
    sel->few.kernel = -1;
    if (random_below(rng, 2)) {
        sel->few.kernel = 2;
        sel->few.rows = 8u << random_below(rng, 2);
        sel->few.block_kv = blocks[random_below(rng, 4)];
        sel->few_least = 1 + random_below(rng, 12);
        sel->few_most = 2 * sel->few.rows;
    }
    uint32_t kind = random_below(rng, 8);
    sel->prefill.kernel = kind == 0 ? -1 : 0;
    sel->decode.kernel = kind == 1 ? -1 : 1;
    if (kind != 0 && random_below(rng, 2)) {
        sel->staged = 1;
        sel->stage_rows = random_below(rng, 2) ? 8 * (8 + random_below(rng, 64)) : 8192;
    }
    s->params = (struct rapt_work_params){
        .selection = sel,
        .n_groups = 1 + random_below(rng, 4),
        .group = 1 + random_below(rng, 6),
    };
    uint32_t split = random_below(rng, 4);
    if (split == 1)
        s->params.n_splits = 1 + random_below(rng, 9);
    uint32_t fixed = 8 * (1 + random_below(rng, 40));
    if (split == 2 && fixed <= sel->max_keys_per_item)
        s->params.fixed_split = fixed;
}

static inline void random_list(uint64_t *rng, struct list_scene *l, uint32_t n_keys, uint32_t *n)
{
    uint32_t n_blocks = (n_keys + l->source.block_kv - 1) / l->source.block_kv;
    uint32_t keep = random_below(rng, 101), kind = random_below(rng, 4);
    for (uint32_t i = 0; i < n_blocks; i++) {
        if (random_below(rng, 100) >= keep)
            continue;
        l->indices[*n] = i;
        l->kinds[*n] = (uint8_t)(kind < 3 ? kind : random_below(rng, 3));
        l->tiles[*n] = *n;
        ++*n;
    }
}

/* Of the scene's batch. Call after random_selection; `l` lives as long as the scene. */
static inline void random_lists(uint64_t *rng, struct scene *s, struct list_scene *l)
{
    uint32_t n_rows = 0, n_entries = 0;
    s->listed = l;
    l->source = (struct rapt_spans_source){
        .n_seqs = s->batch.n_seqs,
        .n_sets = 1 + random_below(rng, 3),
        .block_kv = 16u << random_below(rng, 5),
        .row_first = l->row_first,
        .indptr = l->indptr,
        .indices = l->indices,
        .kinds = l->kinds,
        .tiles = l->tiles,
        .cu_kv = s->cu_kv,
    };
    l->lists.block_q = 16u << random_below(rng, 5);
    for (uint32_t b = 0; b < s->batch.n_seqs; b++) {
        l->row_first[b] = n_rows;
        n_rows += (rapt_batch_q_len(&s->batch, b) + l->lists.block_q - 1) / l->lists.block_q;
    }
    l->row_first[s->batch.n_seqs] = n_rows;
    l->source.n_rows = n_rows;
    for (uint32_t set = 0; set < l->source.n_sets; set++)
        for (uint32_t b = 0; b < s->batch.n_seqs; b++)
            for (uint32_t row = l->row_first[b]; row < l->row_first[b + 1]; row++) {
                l->indptr[set * n_rows + row] = n_entries;
                random_list(rng, l, rapt_batch_kv_len(&s->batch, b), &n_entries);
            }
    l->indptr[l->source.n_sets * n_rows] = n_entries;
    assert_int_equal(rapt_spans_build(&l->source, NULL, &l->spans), RAPT_OK);
    s->params.list_block_q = 16;
    if (random_below(rng, 2)) {
        s->params.groups_per_kv = 1 + random_below(rng, 3);
        s->params.n_groups *= s->params.groups_per_kv;
    }
    for (uint32_t g = 0; g < s->params.n_groups; g++)
        l->group_set[g] = random_below(rng, l->source.n_sets);
    l->lists.n_rows = n_rows;
    l->lists.row_first = l->row_first;
    l->lists.group_set = l->group_set;
    l->lists.spans = &l->spans;
    l->lists.first_word = 7;
}

static inline void build(struct scene *s)
{
    struct rapt_work *w = &s->work;
    struct rapt_work count = {0};
    memset(w, 0, sizeof *w);
    count.lists = w->lists = s->listed ? &s->listed->lists : NULL;
    assert_int_equal(rapt_work_build(&s->params, &s->batch, &s->closed, &count), RAPT_OK);
    w->items = calloc(count.n_items + 1, sizeof *w->items);
    w->merges = calloc(count.n_merges + 1, sizeof *w->merges);
    w->stages = calloc(count.n_stages + 1, sizeof *w->stages);
    w->rounds = calloc(count.n_rounds + 1, sizeof *w->rounds);
    w->items_capacity = count.n_items;
    w->merges_capacity = count.n_merges;
    w->stages_capacity = count.n_stages;
    w->rounds_capacity = count.n_rounds;
    w->partial_rows_capacity = count.n_partial_rows;
    assert_int_equal(rapt_work_build(&s->params, &s->batch, &s->closed, w), RAPT_OK);
    assert_int_equal(w->n_items, count.n_items);
    assert_int_equal(w->n_merges, count.n_merges);
    assert_int_equal(w->n_stages, count.n_stages);
    assert_int_equal(w->n_rounds, count.n_rounds);
    assert_int_equal(w->n_partial_rows, count.n_partial_rows);
    if (w->n_items) {
        w->items_capacity = w->n_items - 1;
        assert_int_equal(rapt_work_build(&s->params, &s->batch, &s->closed, w), RAPT_ERROR_CAPACITY);
        assert_int_equal(w->n_items, count.n_items);
        w->items_capacity = w->n_items;
        assert_int_equal(rapt_work_build(&s->params, &s->batch, &s->closed, w), RAPT_OK);
    }
}

static inline void drop(struct scene *s)
{
    if (s->listed)
        rapt_spans_finish(&s->listed->spans, NULL);
    free(s->work.items);
    free(s->work.merges);
    free(s->work.stages);
    free(s->work.rounds);
    rapt_mask_destroy(&s->mask);
}

/* A plain scene: causal, packed, 4 KV heads of 2. */
static inline void plain(struct scene *s, uint32_t n, const uint32_t *q_len, const uint32_t *kv_len)
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
    s->params = (struct rapt_work_params){.selection = &s->selection, .n_groups = 4, .group = 2};
    assert_int_equal(rapt_mask_parse(NULL, "causal", NULL, &s->mask), RAPT_OK);
    s->batch.mask = s->mask;
    rapt_mask_lower(s->mask, &s->closed);
}

#endif
