/* SPDX-License-Identifier: Apache-2.0 */

/* rapt_plan_cost against counting every pair. */

#include "batch.h"
#include "error.h"
#include "random.h"

#include <rapt/attention.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MAX_SEQS 6
#define MAX_TOKENS 300

struct scene {
    int32_t cu_q[MAX_SEQS + 1], cu_kv[MAX_SEQS + 1], q_pos0[MAX_SEQS], kv_pos0[MAX_SEQS];
    int32_t q_pos[MAX_TOKENS], prefix[MAX_SEQS];
    rapt_step_params step;
    rapt_plan_params plan;
};

static void random_scene(uint64_t *rng, struct scene *s)
{
    static const char *const texts[] = {
        "full",           "causal", "causal & window(20, 0)", "window(5, 9)",
        "chunked(16)",    "prefix", "causal & chunked(30)",   "sink_tokens(7) & causal",
        "prefix & causal"};
    memset(s, 0, sizeof *s);
    uint32_t n = 1 + random_below(rng, MAX_SEQS);
    for (uint32_t b = 0; b < n; b++) {
        s->cu_q[b + 1] = s->cu_q[b] + (int32_t)random_below(rng, 40);
        s->cu_kv[b + 1] = s->cu_kv[b] + (int32_t)random_below(rng, 90);
        s->q_pos0[b] = random_between(rng, -20, 80);
        s->kv_pos0[b] = random_between(rng, -10, 30);
        s->prefix[b] = random_between(rng, -5, 60);
    }
    for (int32_t i = 0; i < s->cu_q[n]; i++)
        s->q_pos[i] = random_between(rng, -20, 110);
    rapt_mask *mask = NULL;
    assert_int_equal(rapt_mask_parse(NULL, texts[random_below(rng, 9)], NULL, &mask), RAPT_OK);
    uint32_t how = random_below(rng, 3);
    s->step = (rapt_step_params){
        .struct_size = sizeof s->step,
        .n_seqs = n,
        .cu_q = s->cu_q,
        .cu_kv = s->cu_kv,
        .q_pos0 = how == 1 ? s->q_pos0 : NULL,
        .q_pos = how == 2 ? s->q_pos : NULL,
        .kv_pos0 = random_below(rng, 2) ? s->kv_pos0 : NULL,
        .prefix = s->prefix,
        .mask = mask,
    };
    s->plan = (rapt_plan_params){
        .struct_size = sizeof s->plan,
        .n_q_heads = 6,
        .n_kv_heads = 2,
        .head_dim = 24,
        .head_dim_v = 16,
        .kv_type = RAPT_TYPE_BF16,
        .out_type = RAPT_TYPE_F16,
    };
}

static void count(const struct scene *s, rapt_cost *want)
{
    const struct rapt_batch batch = {.n_seqs = s->step.n_seqs,
                                     .cu_q = s->step.cu_q,
                                     .cu_kv = s->step.cu_kv,
                                     .q_pos0 = s->step.q_pos0,
                                     .q_pos = s->step.q_pos,
                                     .kv_pos0 = s->step.kv_pos0};
    uint64_t rows = 0, keys = 0;
    memset(want, 0, sizeof *want);
    for (uint32_t b = 0; b < batch.n_seqs; b++) {
        char seen[100] = {0};
        for (uint32_t i = 0; i < rapt_batch_q_len(&batch, b); i++) {
            uint64_t before = want->pairs;
            for (uint32_t j = 0; j < rapt_batch_kv_len(&batch, b); j++)
                if (rapt_mask_allows(s->step.mask, rapt_batch_q_pos(&batch, b, i),
                                     rapt_batch_kv_pos0(&batch, b) + (int32_t)j, s->prefix[b])) {
                    want->pairs++;
                    keys += !seen[j];
                    seen[j] = 1;
                }
            rows += want->pairs > before;
        }
    }
    want->flops = want->pairs * 6 * 2 * (24 + 16);
    want->exponentials = want->pairs * 6;
    want->q_bytes = rows * 6 * 24 * 4;
    want->kv_bytes = keys * 2 * (24 + 16) * 2;
    want->out_bytes = rows * 6 * 16 * 2;
}

static void every_pair_is_counted(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 500; seed++) {
        uint64_t rng = seed;
        struct scene s;
        rapt_cost got = {.struct_size = sizeof got}, want;
        random_scene(&rng, &s);
        count(&s, &want);
        assert_int_equal(rapt_plan_cost(&s.plan, &s.step, &got), RAPT_OK);
        want.struct_size = sizeof want;
        assert_memory_equal(&got, &want, sizeof got);
        rapt_mask_destroy((rapt_mask **)&s.step.mask);
    }
}

/* With a table: pairs head by head, keys by listed block. */
static void count_table(const rapt_mask *const *masks, const rapt_mask_batch *batch,
                        uint32_t block_kv, rapt_cost *want)
{
    uint64_t pairs = 0, rows = 0, keys = 0;
    for (uint32_t b = 0; b < batch->n_seqs; b++) {
        uint32_t q_len = (uint32_t)(batch->cu_q[b + 1] - batch->cu_q[b]);
        uint32_t kv_len = (uint32_t)(batch->cu_kv[b + 1] - batch->cu_kv[b]);
        char listed[2][100] = {{0}};
        for (uint32_t h = 0; h < 6; h++)
            for (uint32_t i = 0; i < q_len; i++) {
                uint64_t before = pairs;
                for (uint32_t j = 0; j < kv_len; j++)
                    if (rapt_mask_allows_element(masks[h], batch, b, h, i, j)) {
                        pairs++;
                        listed[h / 3][j / block_kv] = 1;
                    }
                rows += pairs > before;
            }
        for (uint32_t j = 0; j < kv_len; j++)
            keys += (uint64_t)listed[0][j / block_kv] + listed[1][j / block_kv];
    }
    *want = (rapt_cost){.struct_size = sizeof *want,
                        .pairs = pairs / 6,
                        .flops = pairs * 2 * (24 + 16),
                        .exponentials = pairs,
                        .q_bytes = rows * 24 * 4,
                        .kv_bytes = keys * (24 + 16) * 2,
                        .out_bytes = rows * 16 * 2};
}

static void tables_are_counted(void **state)
{
    static const char *const texts[] = {"causal",  "causal & (window(9, 0) | sink_tokens(3))",
                                        "!causal", "dilated(5, 3) | chunked(7)",
                                        "!full",   "causal & !chunked(16)"};
    (void)state;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        uint64_t rng = seed + 600;
        struct scene s;
        rapt_cost got = {.struct_size = sizeof got}, want;
        rapt_mask *masks[6] = {NULL};
        random_scene(&rng, &s);
        rapt_mask_destroy((rapt_mask **)&s.step.mask);
        int same = random_below(&rng, 3) == 0;
        uint32_t first = random_below(&rng, 6);
        for (uint32_t h = 0; h < 6; h++)
            assert_int_equal(
                rapt_mask_parse(NULL, texts[same ? first : random_below(&rng, 6)], NULL, &masks[h]),
                RAPT_OK);
        rapt_block_table_params params = {
            .struct_size = sizeof params,
            .mask_heads = (const rapt_mask *const *)masks,
            .batch = {.struct_size = sizeof params.batch,
                      .n_seqs = s.step.n_seqs,
                      .cu_q = s.cu_q,
                      .cu_kv = s.cu_kv,
                      .q_pos0 = s.step.q_pos0,
                      .q_pos = s.step.q_pos,
                      .kv_pos0 = s.step.kv_pos0,
                      .n_q_heads = 6},
            .block_q = 16,
            .block_kv = 16u << random_below(&rng, 3),
        };
        rapt_block_table *table = NULL;
        assert_int_equal(rapt_block_table_create(&params, &table), RAPT_OK);
        count_table(params.mask_heads, &params.batch, params.block_kv, &want);
        s.plan.flags |= RAPT_PLAN_BLOCKS;
        s.step.block_table = table;
        s.step.prefix = NULL;
        assert_int_equal(rapt_plan_cost(&s.plan, &s.step, &got), RAPT_OK);
        assert_memory_equal(&got, &want, sizeof got);
        rapt_block_table_destroy(&table);
        for (uint32_t h = 0; h < 6; h++)
            rapt_mask_destroy(&masks[h]);
    }
}

static void huge_sums_saturate(void **state)
{
    (void)state;
    int32_t cu_q[2] = {0, 1000000}, cu_kv[2] = {0, 1000000000};
    rapt_plan_params plan = {
        .struct_size = sizeof plan, .n_q_heads = 65536, .n_kv_heads = 1, .head_dim = 576};
    rapt_step_params step = {.struct_size = sizeof step, .n_seqs = 1, .cu_q = cu_q, .cu_kv = cu_kv};
    rapt_cost cost = {.struct_size = sizeof cost};
    assert_int_equal(rapt_plan_cost(&plan, &step, &cost), RAPT_OK);
    assert_true(cost.pairs == 1000000ull * 1000000000ull);
    assert_true(cost.flops == UINT64_MAX);
    assert_true(cost.exponentials == UINT64_MAX);
}

static void bad_input_is_refused(void **state)
{
    (void)state;
    int32_t cu[2] = {0, 4};
    rapt_plan_params plan = {
        .struct_size = sizeof plan, .n_q_heads = 4, .n_kv_heads = 4, .head_dim = 64};
    rapt_step_params step = {.struct_size = sizeof step, .n_seqs = 1, .cu_q = cu};
    rapt_cost cost = {.struct_size = sizeof cost};
    assert_int_equal(rapt_plan_cost(&plan, &step, &cost), RAPT_ERROR_ARGUMENT);
    assert_non_null(strstr(rapt_last_error(), "cu_kv"));
    step.cu_kv = cu;
    assert_int_equal(rapt_plan_cost(NULL, &step, &cost), RAPT_ERROR_ARGUMENT);
    assert_int_equal(rapt_plan_cost(&plan, &step, NULL), RAPT_ERROR_ARGUMENT);
    cost.struct_size = 0;
    assert_int_equal(rapt_plan_cost(&plan, &step, &cost), RAPT_ERROR_ARGUMENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_pair_is_counted),
        cmocka_unit_test(tables_are_counted),
        cmocka_unit_test(huge_sums_saturate),
        cmocka_unit_test(bad_input_is_refused),
    };
    return cmocka_run_group_tests_name("cost", tests, NULL, NULL);
}
