/* SPDX-License-Identifier: Apache-2.0 */
/* Tables that go on, tables from a cache, and tables without memory. */
#include <rapt/mask.h>

#include "fail_alloc.h"
#include "scene.h"
#include "table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

static rapt_mask *parsed(const char *text)
{
    rapt_mask *mask = NULL;
    if (rapt_mask_parse(NULL, text, NULL, &mask) != RAPT_OK)
        fail_msg("%s: %s", text, rapt_last_error());
    return mask;
}

static rapt_mask *random_mask(uint64_t *rng, uint32_t max_leaves)
{
    struct expr expr;
    rapt_mask_node nodes[TREE_NODES];
    rapt_mask *mask;
    expr_random(&expr, rng, max_leaves);
    size_t n_nodes = expr_postfix(&expr, expr.root, nodes);
    assert_int_equal(rapt_mask_create(NULL, nodes, n_nodes, &mask), RAPT_OK);
    return mask;
}

static rapt_block_table *created(const rapt_block_table_params *params)
{
    rapt_block_table *table = NULL;
    if (rapt_block_table_create(params, &table) != RAPT_OK)
        fail_msg("%s", rapt_last_error());
    return table;
}

static rapt_block_table_view view_of(const rapt_block_table *table)
{
    rapt_block_table_view view = {.struct_size = sizeof view};
    rapt_block_table_get_view(table, &view);
    return view;
}

#define SAME(a, b, n) ((n) == 0 || memcmp(a, b, (size_t)(n) * sizeof *(a)) == 0)

/* What differs between two tables; NULL = nothing, spans for plans included. */
static const char *difference(const rapt_block_table *x, const rapt_block_table *y)
{
    const rapt_block_table_view a = view_of(x), b = view_of(y);
    const struct rapt_table_parts *p = &x->parts, *q = &y->parts;
    if (a.n_seqs != b.n_seqs || a.block_q != b.block_q || a.block_kv != b.block_kv ||
        a.n_sets != b.n_sets || a.n_rows != b.n_rows || a.n_q_heads != b.n_q_heads ||
        a.closed != b.closed || !SAME(a.head_set, b.head_set, a.n_q_heads) ||
        !SAME(a.row_first, b.row_first, a.n_seqs + 1) || !SAME(a.cu_q, b.cu_q, a.n_seqs + 1) ||
        !SAME(a.cu_kv, b.cu_kv, a.n_seqs + 1))
        return "shape";
    if (a.n_entries != b.n_entries || a.n_full != b.n_full || a.n_partial != b.n_partial ||
        a.n_pairs != b.n_pairs || !SAME(a.indptr, b.indptr, a.n_sets * a.n_rows + 1))
        return "counts";
    if (!SAME(a.indices, b.indices, a.n_entries) || !SAME(a.kinds, b.kinds, a.n_entries) ||
        !SAME(a.tiles, b.tiles, a.n_entries))
        return "entries";
    if (a.n_tiles != b.n_tiles || a.tile_words != b.tile_words ||
        !SAME(a.bits, b.bits, (size_t)a.n_tiles * a.tile_words))
        return "tiles";
    if (p->spans.n_spans != q->spans.n_spans ||
        !SAME(p->spans.spans, q->spans.spans, p->spans.n_spans) ||
        memcmp(&p->closed, &q->closed, sizeof p->closed) != 0)
        return "spans";
    return NULL;
}

/* The scene as it was some tokens ago: arrays packed for the shorter lengths. */
static void earlier(const struct scene *now, uint64_t *rng, struct scene *then)
{
    *then = *now;
    then->data.segments_q = then->segments_q;
    then->data.segments_kv = then->segments_kv;
    then->data.bidirectional = then->bidirectional;
    then->data.prefix = then->prefix;
    then->data.bitmap = then->bitmap;
    then->data.bitmap_offsets = then->bitmap_offsets;
    then->data.blocks = then->blocks;
    then->data.parents = then->parents;
    then->data.tree_indptr = then->tree_indptr;
    then->batch.data = &then->data;
    then->batch.cu_q = then->cu_q;
    then->batch.cu_kv = then->cu_kv;
    then->batch.q_pos = now->batch.q_pos ? then->q_pos : NULL;
    then->batch.q_pos0 = now->batch.q_pos0 ? then->q_pos0 : NULL;
    then->batch.kv_pos0 = now->batch.kv_pos0 ? then->kv_pos0 : NULL;
    for (uint32_t b = 0; b < now->batch.n_seqs; b++) {
        uint32_t q_len = scene_q_len(now, b), kv_len = scene_kv_len(now, b);
        uint32_t cut = random_below(rng, 3) ? random_below(rng, 40) : 0;
        uint32_t q_cut = random_below(rng, 2) && !now->batch.q_pos0 ? cut : random_below(rng, 30);
        cut = cut < kv_len ? cut : kv_len;
        q_cut = q_cut < q_len ? q_cut : q_len;
        q_len -= q_cut;
        kv_len -= cut;
        then->cu_q[b + 1] = then->cu_q[b] + (int32_t)q_len;
        then->cu_kv[b + 1] = then->cu_kv[b] + (int32_t)kv_len;
        memcpy(then->q_pos + then->cu_q[b], now->q_pos + now->cu_q[b], q_len * sizeof(int32_t));
        memcpy(then->segments_q + then->cu_q[b], now->segments_q + now->cu_q[b],
               q_len * sizeof(int32_t));
        memcpy(then->segments_kv + then->cu_kv[b], now->segments_kv + now->cu_kv[b],
               kv_len * sizeof(int32_t));
        memcpy(then->bidirectional + then->cu_kv[b], now->bidirectional + now->cu_kv[b], kv_len);
        then->tree_indptr[b + 1] = then->tree_indptr[b] + (int32_t)(kv_len / 3);
        for (uint32_t t = 0; t < kv_len / 3; t++)
            then->parents[then->tree_indptr[b] + (int32_t)t] = (int32_t)t - 1;
    }
}

static void extending_is_creating(void **state)
{
    (void)state;
    static struct scene now, then;
    static const uint32_t sizes[] = {16, 32, 64};
    uint64_t seed = 40, n_kept = 0, n_rows = 0;
    const int n = 3000;
    print_message("%d extensions\n", n);
    for (int k = 0; k < n; k++) {
        const uint64_t own = random_u64(&seed);
        uint64_t rng = own;
        scene_make(&now, random_u64(&rng));
        earlier(&now, &rng, &then);
        rapt_mask *masks[SCENE_HEADS] = {0}, *other = random_mask(&rng, 2);
        for (uint32_t h = 0; h < SCENE_HEADS; h++)
            masks[h] = random_mask(&rng, 3);
        rapt_block_table_params params = {.struct_size = sizeof params,
                                          .mask = masks[0],
                                          .batch = then.batch,
                                          .block_q = sizes[random_below(&rng, 3)],
                                          .block_kv = sizes[random_below(&rng, 3)],
                                          .all_bits = (int)random_below(&rng, 2)};
        if (k % 4 == 0)
            params.mask_heads = (const rapt_mask *const *)masks;
        rapt_block_table *table = created(&params);
        /* The same, then what came of it, then something else altogether. */
        rapt_block_table *fresh = created(&params);
        assert_int_equal(rapt_block_table_extend(table, &params), RAPT_OK);
        const char *what = difference(table, fresh);
        rapt_block_table_destroy(&fresh);
        if (!what) {
            params.batch = now.batch;
            if (random_below(&rng, 8) == 0)
                params.mask = other;
            if (random_below(&rng, 8) == 0)
                params.block_q = 16;
            if (random_below(&rng, 8) == 0)
                params.all_bits ^= 1;
            if (random_below(&rng, 8) == 0) /* and not as it was */
                now.segments_kv[0] ^= 1, now.segments_q[0] ^= 1, now.bidirectional[0] ^= 1;
            if (random_below(&rng, 8) == 0)
                now.prefix[0] += 3, now.blocks[1] ^= 1, now.q_pos[2] += 1;
            if (random_below(&rng, 8) == 0)
                now.kv_pos0[0] += 1;
            assert_int_equal(rapt_block_table_extend(table, &params), RAPT_OK);
            fresh = created(&params);
            what = difference(table, fresh);
            n_kept += table->n_kept;
            n_rows += table->parts.n_sets * (uint64_t)table->parts.n_rows;
            assert_int_equal(fresh->n_kept, 0);
        }
        if (what)
            fail_msg("seed %llu: %s", (unsigned long long)own, what);
        rapt_block_table_destroy(&fresh);
        rapt_block_table_destroy(&table);
        rapt_mask_destroy(&other);
        for (uint32_t h = 0; h < SCENE_HEADS; h++)
            rapt_mask_destroy(&masks[h]);
    }
    print_message("%llu of %llu rows kept\n", (unsigned long long)n_kept,
                  (unsigned long long)n_rows);
    assert_in_range(n_kept, n_rows / 20, n_rows);
}

/* What is kept is what the mask says cannot have changed. */
static void rows_that_went_on_are_kept(void **state)
{
    (void)state;
    const struct {
        const char *text;
        int32_t q[2], kv[2]; /* before, after */
        uint64_t n_kept;
        int32_t first_pos; /* of query 0; 0 also where that is the default */
    } cases[] = {
        {"causal", {64, 96}, {64, 96}, 4},
        {"causal", {70, 96}, {70, 96}, 4}, /* the fifth row was short */
        {"causal & window(20, 0)", {64, 96}, {64, 96}, 4},
        {"full", {64, 96}, {64, 96}, 0},
        {"window(20, 5)", {64, 96}, {64, 96}, 3},
        {"window(20, 5)", {64, 64}, {64, 64}, 4},
        {"sink_tokens(4)", {64, 96}, {64, 96}, 4},
        {"causal | sink_tokens(4)", {60, 96}, {60, 96}, 3},
        {"causal | sink_tokens(100)", {64, 96}, {64, 96}, 0},
        {"bidirectional & sink_tokens(4)", {64, 96}, {64, 96}, 4},
        {"segments & causal", {64, 96}, {64, 96}, 4},
        {"bitmap & causal", {64, 96}, {64, 96}, 0},
        {"causal", {1, 1}, {64, 65}, 0, -1}, /* another query each time */
        {"causal", {16, 16}, {64, 65}, 1, 40},
        {"bidirectional & sink_tokens(4)", {16, 16}, {64, 80}, 1, 48},
        {"bidirectional & sink_tokens(4)",
         {16, 16},
         {64, 80},
         0,
         49}, /* one stood behind the keys */
    };
    static int32_t ids[96];
    static uint8_t flags[96], bits[96 * 96 / 8];
    for (int i = 0; i < 96; i++) {
        ids[i] = 1 + i / 30;
        flags[i] = 1;
    }
    rapt_mask_data data = {.struct_size = sizeof data,
                           .segments_q = ids,
                           .segments_kv = ids,
                           .bidirectional = flags,
                           .bitmap = bits,
                           .bitmap_bits = 8 * sizeof bits};
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        rapt_mask *mask = parsed(cases[k].text);
        rapt_block_table *table = NULL;
        for (int step = 0; step < 2; step++) {
            const int32_t cu_q[2] = {0, cases[k].q[step]}, cu_kv[2] = {0, cases[k].kv[step]};
            const rapt_block_table_params params = {
                .struct_size = sizeof params,
                .mask = mask,
                .batch = {.struct_size = sizeof params.batch,
                          .n_seqs = 1,
                          .cu_q = cu_q,
                          .cu_kv = cu_kv,
                          .q_pos0 = cases[k].first_pos >= 0 ? &cases[k].first_pos : NULL,
                          .data = &data},
                .block_q = 16,
                .block_kv = 16};
            if (step == 0) {
                table = created(&params);
                continue;
            }
            assert_int_equal(rapt_block_table_extend(table, &params), RAPT_OK);
            rapt_block_table *fresh = created(&params);
            assert_null(difference(table, fresh));
            rapt_block_table_destroy(&fresh);
        }
        if (table->n_kept != cases[k].n_kept)
            fail_msg("%s: %llu rows kept, not %llu", cases[k].text,
                     (unsigned long long)table->n_kept, (unsigned long long)cases[k].n_kept);
        rapt_block_table_destroy(&table);
        rapt_mask_destroy(&mask);
    }
}

/* ---------------------------------------------------------------------------------------- cache */

struct cached_case {
    struct scene scene;
    rapt_block_table_params params;
    rapt_mask *mask;
};

/* A scene in which every array has something in it. */
static void rich_scene(struct scene *s)
{
    for (uint64_t seed = 77;; seed++) {
        scene_make(s, seed);
        int rich = s->batch.n_seqs >= 2 && s->batch.n_q_heads >= 2 && s->data.n_k_blocks >= 2 &&
                   s->bitmap_offsets[0] > 0 && s->data.tree_indptr;
        for (uint32_t b = 0; b < s->batch.n_seqs; b++)
            rich = rich && scene_q_len(s, b) > 20 && scene_kv_len(s, b) > 20 &&
                   s->tree_indptr[b + 1] - s->tree_indptr[b] > 5;
        if (rich)
            return;
    }
}

static void cached_init(struct cached_case *c, const char *text)
{
    rich_scene(&c->scene);
    c->scene.batch.q_pos0 = c->scene.q_pos0;
    c->scene.batch.q_pos = NULL;
    c->scene.batch.kv_pos0 = c->scene.kv_pos0;
    c->mask = parsed(text);
    c->params = (rapt_block_table_params){.struct_size = sizeof c->params,
                                          .mask = c->mask,
                                          .batch = c->scene.batch,
                                          .block_q = 32,
                                          .block_kv = 16};
}

#define EVERYTHING "prefix | segments | bidirectional | bitmap | blocks & tree"

/* Whether the table of the case is found, with `change` made to it after it was put in. */
#define EXPECT_HIT(text, hit, change)                                                              \
    do {                                                                                           \
        static struct cached_case c;                                                               \
        cached_init(&c, text);                                                                     \
        struct scene *s = &c.scene;                                                                \
        rapt_block_table_params *p = &c.params;                                                    \
        rapt_block_table_cache *cache;                                                             \
        const rapt_block_table *first, *second;                                                    \
        uint64_t n_hits, n_misses;                                                                 \
        assert_int_equal(rapt_block_table_cache_create(NULL, 3, &cache), RAPT_OK);                 \
        if (rapt_block_table_cache_get(cache, p, &first) != RAPT_OK)                               \
            fail_msg("%s", rapt_last_error());                                                     \
        (void)s;                                                                                   \
        change;                                                                                    \
        if (rapt_block_table_cache_get(cache, p, &second) != RAPT_OK)                              \
            fail_msg("%s", rapt_last_error());                                                     \
        rapt_block_table_cache_counts(cache, &n_hits, &n_misses);                                  \
        if ((first == second) != (hit) || n_hits != (hit) || n_misses != 2 - (hit))                \
            fail_msg("line %d: %llu hits, %llu misses", __LINE__, (unsigned long long)n_hits,      \
                     (unsigned long long)n_misses);                                                \
        rapt_block_table *fresh = created(p);                                                      \
        assert_null(difference(second, fresh));                                                    \
        rapt_block_table_destroy(&fresh);                                                          \
        rapt_block_table_cache_destroy(&cache);                                                    \
        assert_null(cache);                                                                        \
        rapt_mask_destroy(&c.mask);                                                                \
    } while (0)

static void the_cache_knows_what_decides_a_table(void **state)
{
    (void)state;
    static struct scene copy;
    static const rapt_mask *heads[SCENE_HEADS];
    rapt_mask *other = parsed("causal | segments"), *same = parsed("segments | causal | causal");
    EXPECT_HIT(EVERYTHING, 1, (void)0);
    /* the same arrays elsewhere */
    EXPECT_HIT(EVERYTHING, 1, {
        copy = *s;
        copy.data.prefix = copy.prefix;
        copy.data.segments_kv = copy.segments_kv;
        copy.data.bitmap = copy.bitmap;
        copy.data.blocks = copy.blocks;
        p->batch.data = &copy.data;
        p->batch.cu_kv = copy.cu_kv;
        p->batch.q_pos0 = copy.q_pos0;
    });
    EXPECT_HIT("causal | segments", 1, p->mask = same);
    EXPECT_HIT("causal & segments", 0, p->mask = other);
    EXPECT_HIT(EVERYTHING, 0, p->mask = NULL);
    EXPECT_HIT("full", 1, p->mask = NULL);
    EXPECT_HIT(EVERYTHING, 0, p->block_q = 64);
    EXPECT_HIT(EVERYTHING, 0, p->block_kv = 32);
    EXPECT_HIT("causal", 1, (p->block_q = 0, p->block_q = 32));
    EXPECT_HIT("causal", 0, p->all_bits = 1);
    EXPECT_HIT(EVERYTHING, 0, s->prefix[0]++);
    EXPECT_HIT("causal", 1, s->prefix[0]++);
    EXPECT_HIT(EVERYTHING, 0, s->segments_q[1]++);
    EXPECT_HIT(EVERYTHING, 0, s->segments_kv[s->cu_kv[p->batch.n_seqs] - 1]++);
    EXPECT_HIT("causal | prefix", 1, s->segments_kv[0]++);
    EXPECT_HIT(EVERYTHING, 0, s->bidirectional[2] ^= 1);
    EXPECT_HIT("segments", 1, s->bidirectional[2] ^= 1);
    EXPECT_HIT(EVERYTHING, 0, s->bitmap[s->data.bitmap_bits / 8 - 1] ^= 1);
    EXPECT_HIT("segments", 1, s->bitmap[0] ^= 1);
    EXPECT_HIT(EVERYTHING, 0, s->bitmap_offsets[0]--);
    EXPECT_HIT(EVERYTHING, 0, s->data.bitmap_offsets = NULL);
    EXPECT_HIT(EVERYTHING, 0, s->blocks[0] ^= 1);
    EXPECT_HIT("!blocks", 0, s->data.map_block_q++);
    EXPECT_HIT("!blocks", 0, s->data.map_block_kv++);
    EXPECT_HIT("!blocks", 0, s->data.n_k_blocks--);
    EXPECT_HIT("tree", 1, s->blocks[0] ^= 1);
    EXPECT_HIT("tree", 0, s->parents[1] = s->parents[1] ? 0 : -1);
    EXPECT_HIT("causal", 0, s->q_pos0[0]++);
    EXPECT_HIT("causal", 0, s->kv_pos0[0]++);
    EXPECT_HIT("causal", 0, p->batch.kv_pos0 = NULL);
    EXPECT_HIT("causal", 0, (p->batch.q_pos0 = NULL, p->batch.q_pos = s->q_pos));
    EXPECT_HIT("causal", 0, p->batch.n_seqs--);
    EXPECT_HIT("causal", 0, s->cu_kv[p->batch.n_seqs]--);
    EXPECT_HIT("causal", 0, s->cu_q[p->batch.n_seqs]--);
    EXPECT_HIT("causal", 0, p->batch.n_q_heads++);
    EXPECT_HIT("causal", 0, p->mask_heads = heads); /* all of them NULL */
    rapt_mask_destroy(&other);
    rapt_mask_destroy(&same);
}

static void the_cache_drops_what_was_not_used(void **state)
{
    (void)state;
    const int32_t cu[2] = {0, 40};
    rapt_block_table_cache *cache;
    const rapt_block_table *tables[5], *again;
    rapt_mask *masks[5];
    rapt_block_table_params params = {
        .struct_size = sizeof params,
        .batch = {.struct_size = sizeof params.batch, .n_seqs = 1, .cu_q = cu, .cu_kv = cu}};
    static const char *const texts[] = {"causal", "window(3, 0)", "window(4, 0)", "window(5, 0)",
                                        "window(6, 0)"};
    assert_int_equal(rapt_block_table_cache_create(NULL, 3, &cache), RAPT_OK);
    for (int k = 0; k < 5; k++)
        masks[k] = parsed(texts[k]);
    for (int k = 0; k < 3; k++) {
        params.mask = masks[k];
        assert_int_equal(rapt_block_table_cache_get(cache, &params, &tables[k]), RAPT_OK);
    }
    static const int order[] = {0, 3, 0, 2, 4, 0, 3, 1};
    static const int hits[] = {1, 0, 1, 1,
                               0, 1, 0, 0}; /* 1 goes for 3, 3 for 4, 2 for 3, 4 for 1 */
    for (int k = 0; k < 8; k++) {
        uint64_t before, after, n_misses;
        rapt_block_table_cache_counts(cache, &before, &n_misses);
        params.mask = masks[order[k]];
        assert_int_equal(rapt_block_table_cache_get(cache, &params, &again), RAPT_OK);
        rapt_block_table_cache_counts(cache, &after, &n_misses);
        if ((int)(after - before) != hits[k])
            fail_msg("get %d of table %d: hit %d", k, order[k], (int)(after - before));
        if (hits[k])
            assert_ptr_equal(again, tables[order[k]]);
        tables[order[k]] = again;
    }
    rapt_block_table_cache_destroy(&cache);
    for (int k = 0; k < 5; k++)
        rapt_mask_destroy(&masks[k]);
}

/* --------------------------------------------------------------------------- refusals, no memory
 */

static void parameters_are_checked(void **state)
{
    (void)state;
    const int32_t cu[2] = {0, 4};
    rapt_block_table *table = NULL;
    rapt_block_table_cache *cache = NULL;
    const rapt_block_table *got;
    rapt_mask *prefix = parsed("prefix");
    const rapt_mask *heads[2] = {NULL, prefix};
    const rapt_block_table_params good = {
        .struct_size = sizeof good,
        .batch = {.struct_size = sizeof good.batch, .n_seqs = 1, .cu_q = cu, .cu_kv = cu}};
    static const uint32_t sizes[] = {1, 8, 17, 24, 48, 255, 512, UINT32_MAX};
#define REFUSED(change, part)                                                                      \
    do {                                                                                           \
        rapt_block_table_params p = good;                                                          \
        change;                                                                                    \
        table = (rapt_block_table *)&table;                                                        \
        assert_int_equal(rapt_block_table_create(&p, &table), RAPT_ERROR_ARGUMENT);                \
        assert_null(table);                                                                        \
        if (!strstr(rapt_last_error(), part))                                                      \
            fail_msg("\"%s\", expected ...%s...", rapt_last_error(), part);                        \
    } while (0)
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        REFUSED(p.block_q = sizes[i], "block_q is ");
        REFUSED(p.block_kv = sizes[i], "block_kv is ");
    }
    REFUSED(p.struct_size = 0, "rapt_block_table_params.struct_size");
    REFUSED(p.batch.struct_size = 0, "rapt_mask_batch.struct_size");
    REFUSED(p.batch.cu_q = NULL, "cu_q is NULL");
    REFUSED(p.mask = prefix, "batch.data.prefix is NULL");
    REFUSED((p.mask_heads = heads, p.batch.n_q_heads = 2), "batch.data.prefix is NULL");
    assert_int_equal(rapt_block_table_create(NULL, &table), RAPT_ERROR_ARGUMENT);
    assert_int_equal(rapt_block_table_create(&good, NULL), RAPT_ERROR_ARGUMENT);
    assert_int_equal(rapt_block_table_extend(NULL, &good), RAPT_ERROR_ARGUMENT);
    table = created(&good);
    assert_int_equal(view_of(table).block_q, 64);
    assert_int_equal(view_of(table).block_kv, 64);
    assert_int_equal(rapt_block_table_extend(table, NULL), RAPT_ERROR_ARGUMENT);
    assert_int_equal(view_of(table).n_entries, 1);
    assert_int_equal(rapt_block_table_cache_create(NULL, 0, &cache), RAPT_ERROR_ARGUMENT);
    assert_int_equal(rapt_block_table_cache_create(NULL, 65537, &cache), RAPT_ERROR_ARGUMENT);
    assert_int_equal(rapt_block_table_cache_create(NULL, 1, NULL), RAPT_ERROR_ARGUMENT);
    assert_int_equal(rapt_block_table_cache_create(NULL, 65536, &cache), RAPT_OK);
    assert_int_equal(rapt_block_table_cache_get(cache, &good, NULL), RAPT_ERROR_ARGUMENT);
    assert_int_equal(rapt_block_table_cache_get(cache, NULL, &got), RAPT_ERROR_ARGUMENT);
    assert_int_equal(rapt_block_table_cache_get(NULL, &good, &got), RAPT_ERROR_ARGUMENT);
    rapt_block_table_cache_destroy(&cache);
    rapt_block_table_cache_destroy(&cache);
    rapt_block_table_cache_destroy(NULL);
    rapt_block_table_destroy(&table);
    rapt_block_table_destroy(&table);
    rapt_block_table_destroy(NULL);
    rapt_mask_destroy(&prefix);
}

/* Every allocation of create, extend and a cache's get fails once. */
static void failing_allocators_are_survived(void **state)
{
    (void)state;
    static struct scene now, then;
    uint64_t rng = 50;
    static const char *const texts[] = {EVERYTHING, "causal", "causal & segments | bidirectional"};
    for (size_t k = 0; k < sizeof texts / sizeof texts[0]; k++) {
        rich_scene(&now);
        earlier(&now, &rng, &then);
        struct fail_alloc counts = {.budget = -1};
        rapt_allocator allocator = fail_allocator(&counts);
        rapt_mask *mask = parsed(texts[k]);
        rapt_block_table_params before = {.struct_size = sizeof before,
                                          .allocator = &allocator,
                                          .mask = mask,
                                          .batch = then.batch,
                                          .block_q = 16,
                                          .block_kv = 16};
        rapt_block_table_params after = before;
        after.batch = now.batch;
        rapt_block_table *table = NULL, *plain;
        long n_failed = 0;
        for (; table == NULL; n_failed++) {
            counts.budget = n_failed;
            rapt_status status = rapt_block_table_create(&before, &table);
            assert_int_equal(status, table ? RAPT_OK : RAPT_ERROR_HOST_MEMORY);
            if (!table)
                assert_int_equal(counts.n_alive, 0);
        }
        assert_in_range(n_failed, 15, 60);
        before.allocator = after.allocator = NULL;
        plain = created(&before);
        assert_null(difference(table, plain));
        rapt_status status = RAPT_ERROR_HOST_MEMORY;
        const long n_alive = counts.n_alive;
        for (n_failed = 0; status != RAPT_OK; n_failed++) {
            counts.budget = n_failed;
            status = rapt_block_table_extend(table, &after);
            if (status == RAPT_OK)
                break;
            assert_int_equal(status, RAPT_ERROR_HOST_MEMORY);
            assert_int_equal(counts.n_alive, n_alive);
            assert_null(difference(table, plain));
        }
        rapt_block_table_destroy(&plain);
        plain = created(&after);
        assert_null(difference(table, plain));
        memset(&allocator, 0, sizeof allocator); /* the table keeps its own copy */
        rapt_block_table_destroy(&table);
        assert_int_equal(counts.n_alive, 0);

        allocator = fail_allocator(&counts);
        rapt_block_table_cache *cache = NULL;
        const rapt_block_table *first, *got = NULL;
        counts.budget = 0;
        assert_int_equal(rapt_block_table_cache_create(&allocator, 1, &cache),
                         RAPT_ERROR_HOST_MEMORY);
        assert_null(cache);
        counts.budget = -1;
        assert_int_equal(rapt_block_table_cache_create(&allocator, 1, &cache), RAPT_OK);
        assert_int_equal(rapt_block_table_cache_get(cache, &before, &first), RAPT_OK);
        for (n_failed = 0; !got; n_failed++) {
            counts.budget = n_failed;
            status = rapt_block_table_cache_get(cache, &after, &got);
            assert_int_equal(status, got ? RAPT_OK : RAPT_ERROR_HOST_MEMORY);
            if (got)
                break;
            assert_int_equal(rapt_block_table_cache_get(cache, &before, &got), RAPT_OK);
            assert_ptr_equal(got, first);
            got = NULL;
        }
        assert_null(difference(got, plain));
        rapt_block_table_cache_destroy(&cache);
        assert_int_equal(counts.n_alive, 0);
        rapt_block_table_destroy(&plain);
        rapt_mask_destroy(&mask);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(extending_is_creating),
        cmocka_unit_test(rows_that_went_on_are_kept),
        cmocka_unit_test(the_cache_knows_what_decides_a_table),
        cmocka_unit_test(the_cache_drops_what_was_not_used),
        cmocka_unit_test(parameters_are_checked),
        cmocka_unit_test(failing_allocators_are_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
