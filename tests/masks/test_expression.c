/* SPDX-License-Identifier: Apache-2.0 */
/* The whole language: text, element test, arrays and their checks, equality and hash. */
#include <rapt/mask.h>

#include "scene.h"

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

static void random_text_means_what_the_tree_means(void **state)
{
    (void)state;
    static struct scene scene;
    uint64_t seed = 4;
    const int n = 600;
    print_message("%d expressions\n", n);
    for (int k = 0; k < n; k++) {
        const uint64_t own = random_u64(&seed);
        uint64_t rng = own;
        scene_make(&scene, random_u64(&rng));
        struct expr expr;
        expr_random(&expr, &rng, k < 100 ? 1 : 8);
        static char text[8192];
        expr_text(&expr, expr.root, 0, &rng, text);
        rapt_mask *mask = parsed(text), *created;
        rapt_mask_node nodes[TREE_NODES];
        size_t n_nodes = expr_postfix(&expr, expr.root, nodes);
        assert_int_equal(rapt_mask_create(NULL, nodes, n_nodes, &created), RAPT_OK);
        assert_true(rapt_mask_equal(mask, created));
        assert_int_equal(rapt_mask_hash(mask), rapt_mask_hash(created));
        if (rapt_mask_batch_check(mask, &scene.batch) != RAPT_OK)
            fail_msg("seed %llu: %s: %s", (unsigned long long)own, text, rapt_last_error());
        for (uint32_t b = 0; b < scene.batch.n_seqs; b++)
            for (uint32_t i = 0; i < scene_q_len(&scene, b); i += 1 + random_below(&rng, 3))
                for (uint32_t j = 0; j < scene_kv_len(&scene, b); j++) {
                    uint32_t h = random_below(&rng, scene.batch.n_q_heads);
                    int want = scene_allows(&scene, &expr, expr.root, b, h, i, j);
                    if (rapt_mask_allows_element(mask, &scene.batch, b, h, i, j) != want)
                        fail_msg("seed %llu: %s, sequence %u, head %u, query %u, key %u: not %d",
                                 (unsigned long long)own, text, b, h, i, j, want);
                }
        rapt_mask_destroy(&mask);
        rapt_mask_destroy(&created);
    }
}

/* A closed mask's interval is the mask; any other's holds it. */
static void intervals_hold_what_is_allowed(void **state)
{
    (void)state;
    static struct scene scene;
    uint64_t rng = 5;
    int n_closed = 0;
    for (int k = 0; k < 1500; k++) {
        scene_make(&scene, random_u64(&rng));
        struct expr expr;
        expr_random(&expr, &rng, 4);
        rapt_mask_node nodes[TREE_NODES];
        rapt_mask *mask;
        size_t n_nodes = expr_postfix(&expr, expr.root, nodes);
        assert_int_equal(rapt_mask_create(NULL, nodes, n_nodes, &mask), RAPT_OK);
        int closed = rapt_mask_is_closed(mask);
        n_closed += closed;
        for (uint32_t i = 0; i < scene_q_len(&scene, 0); i += 3) {
            int32_t lo, hi;
            rapt_mask_interval(mask, (int32_t)scene_q_pos(&scene, 0, i), scene.prefix[0], &lo, &hi);
            for (uint32_t j = 0; j < scene_kv_len(&scene, 0); j++) {
                int inside = lo <= scene_kv_pos(&scene, 0, j) && scene_kv_pos(&scene, 0, j) <= hi;
                int want = scene_allows(&scene, &expr, expr.root, 0, 0, i, j);
                assert_true(closed ? inside == want : inside || !want);
            }
        }
        rapt_mask_destroy(&mask);
    }
    assert_in_range(n_closed, 200, 1000);
}

static void needs_are_what_is_mentioned(void **state)
{
    (void)state;
    const struct {
        const char *text;
        uint32_t needs;
        int closed;
    } cases[] = {
        {"full", 0, 1},
        {"causal & window(3, 0) & chunked(8) & sink_tokens(4)", 0, 1},
        {"causal & prefix", RAPT_MASK_NEEDS_PREFIX, 1},
        {"causal | prefix", RAPT_MASK_NEEDS_PREFIX, 0},
        {"!causal", 0, 0},
        {"!!causal", 0, 1},
        {"!(!causal | !window(3, 3))", 0, 1},
        {"!full", 0, 0},
        {"causal | full", 0, 1},
        {"causal | !causal", 0, 1},
        {"segments", RAPT_MASK_NEEDS_SEGMENTS, 0},
        {"causal & segments", RAPT_MASK_NEEDS_SEGMENTS, 0},
        {"bidirectional | causal", RAPT_MASK_NEEDS_BIDIRECTIONAL, 0},
        {"bitmap & blocks", RAPT_MASK_NEEDS_BITMAP | RAPT_MASK_NEEDS_BLOCKS, 0},
        {"tree & (segments | full)", RAPT_MASK_NEEDS_PARENTS | RAPT_MASK_NEEDS_SEGMENTS, 0},
        {"dilated(4, 2)", 0, 0},
        {"dilated(4, 1)", 0, 1},
        {"dilated(1, 4)", 0, 1},
        {"chunked(6) & chunked(4)", 0, 0},
        {"chunked(6) & chunked(12) & chunked(24)", 0, 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        rapt_mask *mask = parsed(cases[i].text);
        if (rapt_mask_needs(mask) != cases[i].needs || rapt_mask_is_closed(mask) != cases[i].closed)
            fail_msg("%s: needs %u, closed %d", cases[i].text, rapt_mask_needs(mask),
                     rapt_mask_is_closed(mask));
        rapt_mask_destroy(&mask);
    }
    assert_int_equal(rapt_mask_needs(NULL), 0);
    assert_true(rapt_mask_is_closed(NULL));
}

static void equality_sees_through_rewriting(void **state)
{
    (void)state;
    const struct {
        const char *a, *b;
        int equal;
    } pairs[] = {
        {"!!segments", "segments", 1},
        {"causal | prefix", "prefix | causal", 1},
        {"causal | (prefix | segments)", "(segments | causal) | prefix | causal", 1},
        {"!(causal & prefix)", "!prefix | !causal", 1},
        {"!(causal | tree) & bitmap", "bitmap & !tree & !causal", 1},
        {"(causal & window(3, 9)) | tree", "tree | window(3, 0)", 1},
        {"!(causal & window(3, -1))", "!window(3, 0)", 1},
        {"!(chunked(4) & chunked(8))", "!chunked(4)", 1},
        {"chunked(4) | chunked(8)", "chunked(8)", 0},
        {"full | tree", "full", 1},
        {"!full | tree", "tree", 1},
        {"!full & tree", "!full", 1},
        {"tree & !tree", "!full", 1},
        {"tree | !tree", "full", 1},
        {"dilated(9, 1)", "window(8, 0)", 1},
        {"dilated(9, 2)", "dilated(2, 9)", 0},
        {"(causal | tree) & (causal | tree)", "tree | causal", 1},
        {"(causal | tree) & (causal | bitmap)", "causal | tree", 0},
        {"causal & tree | bitmap", "(causal & tree) | bitmap", 1},
        {"causal & tree | bitmap", "causal & (tree | bitmap)", 0},
        {"!causal & tree", "!(causal & tree)", 0},
        {"sink_tokens(2000000000)", "full", 1},
        {"segments", "bidirectional", 0},
        {"bitmap", "blocks", 0},
        {"!bitmap", "bitmap", 0},
        {"prefix", "!prefix", 0},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        rapt_mask *a = parsed(pairs[i].a), *b = parsed(pairs[i].b);
        if (rapt_mask_equal(a, b) != pairs[i].equal || rapt_mask_equal(b, a) != pairs[i].equal)
            fail_msg("%s and %s", pairs[i].a, pairs[i].b);
        assert_int_equal(rapt_mask_hash(a) == rapt_mask_hash(b), pairs[i].equal);
        assert_int_equal(rapt_mask_equal(a, NULL),
                         strcmp(pairs[i].b, "full") == 0 && pairs[i].equal);
        rapt_mask_destroy(&a);
        rapt_mask_destroy(&b);
    }
}

/* Shuffles operands, doubles some, negates twice or by De Morgan's rules: never told apart. And
 * equal masks see the same. */
static size_t rewritten(const struct expr *e, int at, int negate, uint64_t *rng,
                        rapt_mask_node *out)
{
    const struct expr_node *node = &e->nodes[at];
    size_t n = 0;
    if (node->op == RAPT_MASK_NOT)
        return rewritten(e, node->left, !negate, rng, out);
    if (node->op == RAPT_MASK_AND || node->op == RAPT_MASK_OR) {
        int push = negate && random_below(rng, 2), swap = (int)random_below(rng, 2);
        const int other = node->op == RAPT_MASK_AND ? RAPT_MASK_OR : RAPT_MASK_AND;
        n = rewritten(e, swap ? node->right : node->left, push, rng, out);
        n += rewritten(e, swap ? node->left : node->right, push, rng, out + n);
        out[n++].op = (rapt_mask_op)(push ? other : (int)node->op);
        negate = negate && !push;
    } else {
        out[n++] = (rapt_mask_node){node->op, node->a, node->b};
        if (random_below(rng, 4) == 0) {
            out[n++] = (rapt_mask_node){node->op, node->a, node->b};
            out[n++].op = random_below(rng, 2) ? RAPT_MASK_AND : RAPT_MASK_OR;
        }
    }
    if (negate)
        out[n++].op = RAPT_MASK_NOT;
    if (random_below(rng, 6) == 0) {
        out[n++].op = RAPT_MASK_NOT;
        out[n++].op = RAPT_MASK_NOT;
    }
    return n;
}

static void rewriting_is_never_told_apart(void **state)
{
    (void)state;
    uint64_t rng = 6;
    for (int k = 0; k < 3000; k++) {
        struct expr expr;
        expr_random(&expr, &rng, 10);
        static rapt_mask_node nodes[16 * TREE_NODES];
        size_t n_nodes = expr_postfix(&expr, expr.root, nodes);
        rapt_mask *plain, *other;
        assert_int_equal(rapt_mask_create(NULL, nodes, n_nodes, &plain), RAPT_OK);
        memset(nodes, 0, sizeof nodes);
        n_nodes = rewritten(&expr, expr.root, 0, &rng, nodes);
        assert_int_equal(rapt_mask_create(NULL, nodes, n_nodes, &other), RAPT_OK);
        if (!rapt_mask_equal(plain, other) || rapt_mask_hash(plain) != rapt_mask_hash(other))
            fail_msg("expression %d", k);
        rapt_mask_destroy(&plain);
        rapt_mask_destroy(&other);
    }
}

/* Random expressions whose canonical forms are equal see the same keys: over few leaves many are.
 */
static void equal_masks_see_the_same(void **state)
{
    (void)state;
    static struct scene scene;
    uint64_t rng = 7;
    static const rapt_mask_op few[] = {RAPT_MASK_CAUSAL, RAPT_MASK_PREFIX, RAPT_MASK_FULL};
    int n_equal = 0;
    for (int k = 0; k < 3000; k++) {
        struct expr expr[2];
        rapt_mask *mask[2];
        for (int m = 0; m < 2; m++) {
            rapt_mask_node nodes[TREE_NODES];
            expr[m].n_nodes = 0;
            expr[m].root = expr_grow(&expr[m], &rng, few, 3, 1 + (int)random_below(&rng, 4));
            size_t n_nodes = expr_postfix(&expr[m], expr[m].root, nodes);
            assert_int_equal(rapt_mask_create(NULL, nodes, n_nodes, &mask[m]), RAPT_OK);
        }
        if (rapt_mask_equal(mask[0], mask[1])) {
            n_equal++;
            scene_make(&scene, random_u64(&rng));
            for (uint32_t i = 0; i < scene_q_len(&scene, 0); i += 5)
                for (uint32_t j = 0; j < scene_kv_len(&scene, 0); j += 3)
                    assert_int_equal(scene_allows(&scene, &expr[0], expr[0].root, 0, 0, i, j),
                                     scene_allows(&scene, &expr[1], expr[1].root, 0, 0, i, j));
        }
        rapt_mask_destroy(&mask[0]);
        rapt_mask_destroy(&mask[1]);
    }
    assert_in_range(n_equal, 300, 2000);
}

/* --------------------------------------------------------------------------------- checks */
struct checked {
    rapt_mask *mask;
    int32_t cu_q[3], cu_kv[3], prefix[2], ids[10], parents[10], tree_indptr[3];
    uint8_t flags[10], bits[64], map[4];
    uint64_t offsets[2];
    rapt_mask_data data;
    rapt_mask_batch batch;
};

static void checked_init(struct checked *c)
{
    *c = (struct checked){.cu_q = {0, 2, 5},
                          .cu_kv = {0, 4, 10},
                          .ids = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1},
                          .parents = {-1, 0, -1, 0, -1, 0, 0, 0, 0, 0},
                          .tree_indptr = {0, 4, 10},
                          .offsets = {0, 8}};
    c->data = (rapt_mask_data){.struct_size = sizeof c->data,
                               .prefix = c->prefix,
                               .segments_q = c->ids,
                               .segments_kv = c->ids,
                               .bidirectional = c->flags,
                               .bitmap = c->bits,
                               .bitmap_offsets = c->offsets,
                               .bitmap_bits = 26,
                               .blocks = c->map,
                               .n_block_heads = 1,
                               .n_q_blocks = 2,
                               .n_k_blocks = 2,
                               .map_block_q = 16,
                               .map_block_kv = 5,
                               .parents = c->parents};
    c->batch = (rapt_mask_batch){.struct_size = sizeof c->batch,
                                 .n_seqs = 2,
                                 .cu_q = c->cu_q,
                                 .cu_kv = c->cu_kv,
                                 .n_q_heads = 2,
                                 .data = &c->data};
}

static void expect(const struct checked *c, const char *text, rapt_status status, const char *part,
                   int line)
{
    rapt_mask *mask = parsed(text);
    rapt_status got = rapt_mask_batch_check(mask, &c->batch);
    if (got != status || (part && !strstr(rapt_last_error(), part)))
        fail_msg("line %d, %s: status %d, \"%s\"; expected %d, ...%s...", line, text, got,
                 rapt_last_error(), status, part ? part : "");
    rapt_mask_destroy(&mask);
}

#define EXPECT(text, change, status, part)                                                         \
    do {                                                                                           \
        struct checked c;                                                                          \
        checked_init(&c);                                                                          \
        change;                                                                                    \
        expect(&c, text, status, part, __LINE__);                                                  \
    } while (0)
#define ARGUMENT RAPT_ERROR_ARGUMENT
#define SHAPE RAPT_ERROR_SHAPE

static void arrays_are_checked_and_named(void **state)
{
    (void)state;
    static const char *const all = "prefix|segments|bidirectional|bitmap|blocks|tree";
    EXPECT(all, (void)0, RAPT_OK, NULL);
    EXPECT("full", c.batch.data = NULL, RAPT_OK, NULL);
    EXPECT("full", c.batch.n_q_heads = 0, RAPT_OK, NULL);
    EXPECT("full", c.batch.n_q_heads = 65536, ARGUMENT, "n_q_heads is 65536");
    EXPECT("full", c.batch.struct_size = 0, ARGUMENT, "rapt_mask_batch.struct_size");
    EXPECT("full", c.data.struct_size = 0, ARGUMENT, "rapt_mask_data.struct_size");
    EXPECT("full", c.batch.n_seqs = 0, ARGUMENT, "n_seqs is 0");
    EXPECT("full", c.batch.cu_q = NULL, ARGUMENT, "cu_q is NULL");
    EXPECT("full", c.batch.cu_kv = NULL, ARGUMENT, "cu_kv is NULL");
    EXPECT("full", c.cu_kv[1] = 11, ARGUMENT, "cu_kv[1] is 11");
    EXPECT("full", c.cu_q[0] = 1, ARGUMENT, "cu_q[0] is 1");
    EXPECT("full", (c.batch.q_pos = c.ids, c.batch.q_pos0 = c.prefix), ARGUMENT,
           "q_pos and q_pos0");
    EXPECT("full", (c.prefix[1] = 1 << 30, c.batch.kv_pos0 = c.prefix), ARGUMENT, "kv_pos0[1]");
    EXPECT("prefix", c.batch.data = NULL, ARGUMENT, "data.prefix is NULL");
    EXPECT("prefix", c.data.prefix = NULL, ARGUMENT, "data.prefix is NULL");
    EXPECT("!segments", c.data.segments_q = NULL, ARGUMENT, "data.segments_q is NULL");
    EXPECT("segments", c.data.segments_kv = NULL, ARGUMENT, "data.segments_kv is NULL");
    EXPECT("segments", (c.data.segments_q = NULL, c.cu_q[1] = c.cu_q[2] = 0), RAPT_OK, NULL);
    EXPECT("segments", (c.data.segments_kv = NULL, c.cu_kv[1] = c.cu_kv[2] = 0), RAPT_OK, NULL);
    EXPECT("bidirectional", c.data.bidirectional = NULL, ARGUMENT, "data.bidirectional is NULL");
    EXPECT("bitmap", c.data.bitmap = NULL, ARGUMENT, "data.bitmap is NULL");
    EXPECT("bitmap", c.data.bitmap_bits = 25, SHAPE,
           "data.bitmap_bits is 25: sequence 1 reaches to bit 26");
    EXPECT("bitmap", c.data.bitmap_row_stride = 5, SHAPE,
           "data.bitmap_row_stride is 5: sequence 1 has 6");
    EXPECT("bitmap", (c.data.bitmap_row_stride = 6, c.offsets[1] = 12), SHAPE, "reaches to bit 30");
    EXPECT("bitmap", c.data.bitmap_head_stride = 26, SHAPE, "reaches to bit 34");
    EXPECT("bitmap", (c.data.bitmap_head_stride = 26, c.data.bitmap_bits = 52), RAPT_OK, NULL);
    EXPECT("bitmap", c.data.bitmap_head_stride = UINT64_MAX, SHAPE, "reaches to bit");
    EXPECT("bitmap", c.offsets[0] = UINT64_MAX - 3, SHAPE, "sequence 0 reaches to bit");
    EXPECT("bitmap", (c.data.bitmap_offsets = NULL, c.data.bitmap_bits = 18), RAPT_OK, NULL);
    EXPECT("bitmap", (c.data.bitmap_offsets = NULL, c.data.bitmap_bits = 17), SHAPE, "bit 18");
    EXPECT("blocks", c.data.blocks = NULL, ARGUMENT, "data.blocks is NULL");
    EXPECT("blocks", c.data.n_q_blocks = 0, ARGUMENT, "data.n_q_blocks is 0");
    EXPECT("blocks", c.data.n_k_blocks = 0, ARGUMENT, "data.n_k_blocks is 0");
    EXPECT("blocks", c.data.map_block_q = 0, ARGUMENT, "data.map_block_q is 0");
    EXPECT("blocks", c.data.map_block_kv = 0, ARGUMENT, "data.map_block_kv is 0");
    EXPECT("blocks", c.data.n_block_heads = 3, SHAPE, "data.n_block_heads is 3");
    EXPECT("blocks", c.data.n_block_heads = 0, SHAPE, "data.n_block_heads is 0");
    EXPECT("tree", c.data.parents = NULL, ARGUMENT, "data.parents is NULL");
    EXPECT("tree", c.parents[1] = 2, ARGUMENT, "data.parents: node 1 of sequence 0 has parent 2");
    EXPECT("tree", c.parents[3] = -2, ARGUMENT, "node 1 of sequence 1 has parent -2");
    EXPECT("tree", c.parents[1] = 1, ARGUMENT, "node 1 of sequence 0 never reaches a root");
    EXPECT("tree", (c.parents[2] = 2, c.parents[4] = 0), ARGUMENT, "sequence 1 never reaches");
    EXPECT("tree", (c.parents[2] = 2, c.parents[4] = -1), RAPT_OK, NULL);
    EXPECT("tree", c.cu_kv[1] = 1, SHAPE,
           "data.parents: sequence 0 has a tree of 2 nodes and 1 keys");
    EXPECT("tree", c.data.tree_indptr = c.tree_indptr, RAPT_OK, NULL);
    EXPECT("tree", (c.data.tree_indptr = c.tree_indptr, c.tree_indptr[0] = 1), ARGUMENT,
           "data.tree_indptr[0] is 1");
    EXPECT("tree", (c.data.tree_indptr = c.tree_indptr, c.tree_indptr[2] = 3), ARGUMENT,
           "data.tree_indptr[1] is 4, tree_indptr[2] is 3");
    EXPECT("tree", (c.data.tree_indptr = c.tree_indptr, c.tree_indptr[1] = 5), SHAPE,
           "data.tree_indptr: sequence 0 has a tree of 5 nodes and 4 keys");
}

/* What the words of the specification say of each leaf, in cases small enough to read. */
static void leaves_by_example(void **state)
{
    (void)state;
    struct checked c;
    checked_init(&c);
    c.cu_q[1] = c.cu_q[2] = 4;
    c.cu_kv[1] = c.cu_kv[2] = 6;
    c.data.tree_indptr = NULL;
    const int32_t ids_q[4] = {3, 0, 4, 4}, ids_kv[6] = {3, 3, 0, 0, 4, 3};
    const int32_t parents[4] = {-1, 0, 0, 2};
    memcpy(c.parents, parents, sizeof parents);
    memcpy(c.flags, "\1\0\1\1\1\0", 6);
    c.bits[0] = 0x41; /* (0, 0), (1, 0) */
    c.bits[1] = 0x08; /* (1, 5) */
    memcpy(c.map, "\0\1\1\0", 4);
    c.data.segments_q = ids_q;
    c.data.segments_kv = ids_kv;
    c.data.map_block_q = 4;
    c.data.map_block_kv = 3;
    c.prefix[0] = 4;
    /* queries stand at 2, 3, 4, 5 */
    static const struct {
        const char *text;
        const char *rows[4];
    } cases[] = {
        {"causal", {"111000", "111100", "111110", "111111"}},
        {"window(1, 2)", {"011110", "001111", "000111", "000011"}},
        {"chunked(3)", {"111000", "000111", "000111", "000111"}},
        {"prefix", {"111100", "111100", "111100", "111100"}},
        {"sink_tokens(1)", {"100000", "100000", "100000", "100000"}},
        {"segments", {"110001", "000000", "000010", "000010"}},
        {"bidirectional", {"001110", "001110", "001110", "000000"}},
        {"dilated(2, 2)", {"101000", "010100", "001010", "000101"}},
        {"bitmap", {"100000", "100001", "000000", "000000"}},
        {"blocks", {"000111", "000111", "111000", "111000"}},
        {"tree", {"111000", "111100", "111010", "111011"}},
        {"causal & (window(1, 0) | sink_tokens(1))", {"111000", "101100", "100110", "100011"}},
        {"causal & !segments", {"001000", "111100", "111100", "111101"}},
        {"!full", {"000000", "000000", "000000", "000000"}},
    };
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        rapt_mask *mask = parsed(cases[k].text);
        if (rapt_mask_batch_check(mask, &c.batch) != RAPT_OK)
            fail_msg("%s: %s", cases[k].text, rapt_last_error());
        for (uint32_t i = 0; i < 4; i++)
            for (uint32_t j = 0; j < 6; j++)
                if (rapt_mask_allows_element(mask, &c.batch, 0, 0, i, j) !=
                    (cases[k].rows[i][j] == '1'))
                    fail_msg("%s, query %u, key %u", cases[k].text, i, j);
        rapt_mask_destroy(&mask);
    }
    rapt_mask *mask = parsed("segments | causal");
    assert_true(rapt_mask_allows_element(NULL, &c.batch, 0, 0, 0, 5));
    assert_true(rapt_mask_allows(mask, 3, 2, 0));
    assert_false(rapt_mask_allows(mask, 2, 3, 0));
    c.batch.struct_size = 0;
    assert_false(rapt_mask_allows_element(mask, &c.batch, 0, 0, 0, 0));
    rapt_mask_destroy(&mask);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(leaves_by_example),
        cmocka_unit_test(random_text_means_what_the_tree_means),
        cmocka_unit_test(intervals_hold_what_is_allowed),
        cmocka_unit_test(needs_are_what_is_mentioned),
        cmocka_unit_test(equality_sees_through_rewriting),
        cmocka_unit_test(rewriting_is_never_told_apart),
        cmocka_unit_test(equal_masks_see_the_same),
        cmocka_unit_test(arrays_are_checked_and_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
