/* SPDX-License-Identifier: Apache-2.0 */
/* Block tables against the definition, every pair of every block. */
#include <rapt/mask.h>

#include "fail_alloc.h"
#include "table_case.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

/* A scene with a mask for all heads, or one for each. */
struct per_head {
    struct scene scene;
    struct expr exprs[SCENE_HEADS];
    int n_exprs;
};

static int per_head_allows(const void *user, uint32_t b, uint32_t h, uint32_t i, uint32_t j)
{
    const struct per_head *p = user;
    const struct expr *expr = &p->exprs[p->n_exprs > 1 ? h : 0];
    return scene_allows(&p->scene, expr, expr->root, b, h, i, j);
}

static rapt_mask *mask_of(const struct expr *expr)
{
    rapt_mask_node nodes[TREE_NODES];
    rapt_mask *mask;
    size_t n_nodes = expr_postfix(expr, expr->root, nodes);
    assert_int_equal(rapt_mask_create(NULL, nodes, n_nodes, &mask), RAPT_OK);
    return mask;
}

static void check_scene(struct per_head *p, uint64_t seed, uint64_t *rng)
{
    static const uint32_t sizes[] = {16, 32, 64, 128, 256};
    rapt_mask *masks[SCENE_HEADS] = {0};
    rapt_block_table_params params = {.struct_size = sizeof params,
                                      .batch = p->scene.batch,
                                      .block_q = sizes[random_below(rng, 5)],
                                      .block_kv = sizes[random_below(rng, 5)],
                                      .all_bits = (int)random_below(rng, 2)};
    for (int m = 0; m < p->n_exprs; m++)
        masks[m] = mask_of(&p->exprs[m]);
    params.mask = masks[0];
    if (p->n_exprs > 1)
        params.mask_heads = (const rapt_mask *const *)masks;
    rapt_block_table *table;
    if (rapt_block_table_create(&params, &table) != RAPT_OK)
        fail_msg("seed %llu: %s", (unsigned long long)seed, rapt_last_error());
    const char *what = table_check(table, per_head_allows, p);
    if (what) {
        static char text[8192];
        expr_text(&p->exprs[0], p->exprs[0].root, 0, rng, text);
        fail_msg("seed %llu: %s (%s)", (unsigned long long)seed, what, text);
    }
    rapt_block_table_view view = {.struct_size = sizeof view};
    rapt_block_table_get_view(table, &view);
    for (uint64_t e = 0; e < view.n_entries && params.all_bits; e++)
        assert_int_not_equal(view.kinds[e], RAPT_BLOCK_CLOSED);
    rapt_block_table_destroy(&table);
    assert_null(table);
    for (int m = 0; m < p->n_exprs; m++)
        rapt_mask_destroy(&masks[m]);
}

/* Each leaf alone, negated, and with each combinator beside each other leaf. */
static void every_leaf_in_every_place(void **state)
{
    (void)state;
    static struct per_head p;
    uint64_t seed = 30;
    p.n_exprs = 1;
    int n = 0;
    for (uint32_t x = 0; x < EXPR_N_LEAVES; x++)
        for (uint32_t y = 0; y < EXPR_N_LEAVES; y++)
            for (int form = 0; form < 8; form++, n++) {
                const uint64_t own = random_u64(&seed);
                uint64_t rng = own;
                struct expr *e = &p.exprs[0];
                scene_make(&p.scene, random_u64(&rng));
                e->n_nodes = 0;
                int left = expr_leaf(e, &rng, &expr_all_leaves[x], 1);
                int right = expr_leaf(e, &rng, &expr_all_leaves[y], 1);
                if (form & 1) {
                    e->nodes[e->n_nodes] = (struct expr_node){.op = RAPT_MASK_NOT, .left = right};
                    right = e->n_nodes++;
                }
                e->nodes[e->n_nodes] = (struct expr_node){
                    .op = form & 2 ? RAPT_MASK_AND : RAPT_MASK_OR, .left = left, .right = right};
                e->root = e->n_nodes++;
                if (form & 4) {
                    e->nodes[e->n_nodes] = (struct expr_node){.op = RAPT_MASK_NOT, .left = e->root};
                    e->root = e->n_nodes++;
                }
                check_scene(&p, own, &rng);
            }
    print_message("%d pairs of leaves\n", n);
}

static void random_expressions(void **state)
{
    (void)state;
    static struct per_head p;
    uint64_t seed = 31;
    const int n = 1500;
    print_message("%d expressions\n", n);
    for (int k = 0; k < n; k++) {
        const uint64_t own = random_u64(&seed);
        uint64_t rng = own;
        scene_make(&p.scene, random_u64(&rng));
        p.n_exprs = k % 3 == 0 ? (int)p.scene.batch.n_q_heads : 1;
        for (int m = 0; m < p.n_exprs; m++)
            expr_random(&p.exprs[m], &rng, k % 2 ? 3 : 8);
        check_scene(&p, own, &rng);
    }
}

/* Runs of flags and ids against query blocks that begin and end anywhere on them. */
static void ends_of_runs(void **state)
{
    (void)state;
    static struct per_head p;
    static const rapt_mask_op leaves[] = {RAPT_MASK_BIDIRECTIONAL, RAPT_MASK_SEGMENTS};
    for (int32_t at = -20; at < 70; at++)
        for (int32_t q_len = 1; q_len <= 17; q_len += 4)
            for (int op = 0; op < 2; op++) {
                struct scene *s = &p.scene;
                uint64_t rng = (uint64_t)(at + 20) * 64 + (uint64_t)q_len * 2 + (uint64_t)op;
                scene_make(s, 1);
                s->batch.n_seqs = 1;
                s->batch.q_pos = s->batch.kv_pos0 = NULL;
                s->batch.q_pos0 = s->q_pos0;
                s->q_pos0[0] = at;
                s->cu_q[1] = q_len;
                s->cu_kv[1] = 61;
                for (int32_t j = 0; j < 61; j++) {
                    s->bidirectional[j] = j > 2 && j < 34;
                    s->segments_kv[j] = 1 + (j > 19) + (j > 40);
                }
                for (int32_t i = 0; i < q_len; i++)
                    s->segments_q[i] = at + i < 0 || at + i > 60 ? 0 : s->segments_kv[at + i];
                p.n_exprs = 1;
                p.exprs[0].n_nodes = 0;
                p.exprs[0].root = expr_leaf(&p.exprs[0], &rng, &leaves[op], 1);
                check_scene(&p, (uint64_t)at, &rng);
            }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_leaf_in_every_place),
        cmocka_unit_test(random_expressions),
        cmocka_unit_test(ends_of_runs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
