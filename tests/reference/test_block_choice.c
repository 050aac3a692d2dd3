/* SPDX-License-Identifier: Apache-2.0 */

/* The reference's choice of blocks against the definition in float64: a choice by mass is one from
 * the top of the scores, holds its share, and would not without its last block. And the cases with
 * words. */

#include <rapt/reference.h>

#include "random.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define BLOCKS 600

static rapt_block_table *make_table(uint32_t n_keys)
{
    const int32_t cu_q[] = {0, 16}, cu_kv[] = {0, (int32_t)n_keys};
    const rapt_block_table_params params = {
        .struct_size = sizeof params,
        .batch = {.struct_size = sizeof params.batch, .n_seqs = 1, .cu_q = cu_q, .cu_kv = cu_kv},
        .block_q = 16,
        .block_kv = 16,
    };
    rapt_block_table *table = NULL;
    assert_int_equal(rapt_block_table_create(&params, &table), RAPT_OK);
    return table;
}

static void choose(uint32_t n, const rapt_block_choice *choice, const float *scores,
                   uint32_t *listed)
{
    rapt_block_table *table = make_table(16 * n);
    assert_int_equal(
        rapt_reference_block_choice(table, choice, 1, scores, n, listed, BLOCKS / 32 + 1), RAPT_OK);
    rapt_block_table_destroy(&table);
}

static double weight_of(float score, double largest, int plain)
{
    return plain ? fmax(score, 0) : exp(score - largest);
}

static void is_the_definition(void **state)
{
    uint64_t random = 7;
    (void)state;
    for (int round = 0; round < 400; round++) {
        float scores[BLOCKS];
        uint32_t listed[BLOCKS / 32 + 1], n = 1 + random_below(&random, BLOCKS), n_chosen = 0;
        const int plain = round & 1, whole = round % 4 >= 2;
        const float spread = (float)exp(4 * random_unit(&random));
        const rapt_block_choice choice = {
            .struct_size = sizeof choice,
            .mass = (float)(0.02 + 0.98 * random_unit(&random)),
            .plain_mass = plain,
        };
        double largest = -INFINITY, sum = 0, got = 0, worst_in = INFINITY, best_out = -INFINITY;
        for (uint32_t i = 0; i < n; i++) {
            scores[i] =
                whole ? (float)random_between(&random, -3, 9) : spread * random_normal(&random);
            largest = fmax(largest, scores[i]);
        }
        for (uint32_t i = 0; i < n; i++)
            sum += weight_of(scores[i], largest, plain);
        choose(n, &choice, scores, listed);
        for (uint32_t i = 0; i < n; i++) {
            if (listed[i >> 5] >> (i & 31) & 1) {
                n_chosen++;
                got += weight_of(scores[i], largest, plain);
                worst_in = fmin(worst_in, scores[i]);
            } else {
                best_out = fmax(best_out, scores[i]);
            }
        }
        if (sum == 0) {
            assert_int_equal(n_chosen, n);
            continue;
        }
        assert_true(worst_in >= best_out);
        if (got < (choice.mass - 1e-6) * sum ||
            got - weight_of((float)worst_in, largest, plain) >= (choice.mass + 3e-5) * sum)
            fail_msg("round %d: %u of %u blocks hold %.7f, %.7f was asked for", round, n_chosen, n,
                     got / sum, (double)choice.mass);
    }
}

static uint32_t first_word(const rapt_block_choice *choice, uint32_t n, const float *scores)
{
    uint32_t listed[BLOCKS / 32 + 1];
    choose(n, choice, scores, listed);
    return listed[0];
}

static void ties_and_strange_scores(void **state)
{
    const float scores[] = {1, 2, NAN, 2, -INFINITY, 2, 0, -0.0f};
    rapt_block_choice c = {.struct_size = sizeof c, .top_k = 2};
    (void)state;
    assert_int_equal(first_word(&c, 8, scores), 0x0a); /* of equal ones the lower */
    c.top_k = 5;
    assert_int_equal(first_word(&c, 8, scores), 0x6b); /* -0 is 0 */
    c.top_k = 7;
    assert_int_equal(first_word(&c, 8, scores), 0xfb); /* NaN last */
    c.top_k = 100;
    assert_int_equal(first_word(&c, 8, scores), 0xff);
    c = (rapt_block_choice){.struct_size = sizeof c, .top_k = 1, .keep_first = 1, .keep_last = 2};
    assert_int_equal(first_word(&c, 8, scores), 0xc1);
    c = (rapt_block_choice){.struct_size = sizeof c, .mass = 0.5f, .plain_mass = 1};
    assert_int_equal(first_word(&c, 8, scores), 0x0a); /* 4 of 7 */
    c.mass = 4.0f / 7 + 1e-4f;
    assert_int_equal(first_word(&c, 8, scores), 0x2a);
    c.mass = 1;
    assert_int_equal(first_word(&c, 8, scores), 0x2b);
    const float nothing[] = {-1, NAN, 0, -INFINITY};
    assert_int_equal(first_word(&c, 4, nothing), 0x0f); /* no score says anything */
    const float infinite[] = {3, INFINITY, 5, INFINITY};
    c = (rapt_block_choice){.struct_size = sizeof c, .mass = 0.6f};
    assert_int_equal(first_word(&c, 4, infinite), 0x0a);
    c.mass = 0.5f;
    assert_int_equal(first_word(&c, 4, infinite), 0x02);
}

static void bad_input(void **state)
{
    const float scores[4] = {0};
    uint32_t listed[1];
    rapt_block_table *table = make_table(64);
    rapt_block_choice c = {.struct_size = sizeof c, .top_k = 1};
    (void)state;
#define REFUSE(want, table, scores, stride, words)                                                 \
    assert_int_equal(rapt_reference_block_choice(table, &c, 1, scores, stride, listed, words), want)
    REFUSE(RAPT_ERROR_ARGUMENT, NULL, scores, 4, 1);
    REFUSE(RAPT_ERROR_ARGUMENT, table, NULL, 4, 1);
    REFUSE(RAPT_ERROR_SHAPE, table, scores, 3, 1);
    REFUSE(RAPT_ERROR_SHAPE, table, scores, 4, 0);
    c.top_k = 0;
    REFUSE(RAPT_ERROR_ARGUMENT, table, scores, 4, 1);
    assert_non_null(strstr(rapt_last_error(), "mass is 0"));
    rapt_block_table_destroy(&table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(is_the_definition),
        cmocka_unit_test(ties_and_strange_scores),
        cmocka_unit_test(bad_input),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
