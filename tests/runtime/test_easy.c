/* SPDX-License-Identifier: Apache-2.0 */
/* The easy tier's results against the reference: packed, in pools of every layout, in slices,
 * through the three-pass baseline. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "easy_case.h"
#include "open_easy.h"

static rapt_easy *easy;

static void expect_ok(rapt_status status)
{
    if (status != RAPT_OK)
        fprintf(stderr, "%s\n", rapt_last_error());
    assert_int_equal(status, RAPT_OK);
}

static void expect_within_bounds(const struct easy_case *c)
{
    rapt_error error = {.struct_size = sizeof error};
    expect_ok(rapt_reference_check(&c->problem, NULL, &c->result, RAPT_BOUND_PORTABLE, &error));
    if (!error.ok)
        fprintf(stderr, "e %g of %g, max %g of %g, %d NaN\n", error.e, error.bound_e,
                error.max_ratio, error.bound_max, error.n_nan);
    assert_true(error.ok);
}

static void run(struct easy_case *c, const rapt_easy_options *options)
{
    easy_case_poison(c);
    expect_ok(rapt_easy_attention(easy, &c->problem, options, &c->result));
    expect_within_bounds(c);
}

static void packed(void **state)
{
    (void)state;
    struct easy_case c;
    assert_true(easy_case_make(1, "causal", &c));
    run(&c, NULL);
    /* [B, H, T, D] of one sequence: heads before tokens */
    c.problem.n_seqs = 1;
    c.problem.k.layout = c.problem.v.layout =
        (rapt_layout){.token_stride = CASE_DIM, .head_stride = 9 * CASE_DIM};
    run(&c, NULL);
    easy_case_finish(&c);
}

static void statistics(void **state)
{
    (void)state;
    struct easy_case c;
    float lse[28 * CASE_Q_HEADS], max_logit[28 * CASE_Q_HEADS], reduced[CASE_SEQS * CASE_Q_HEADS];
    assert_true(easy_case_make(2, "causal & window(20, 0)", &c));
    assert_int_equal(c.cu_q[CASE_SEQS], 28);
    c.result.lse = lse;
    c.result.max_logit = max_logit;
    c.result.max_logit_reduced = reduced;
    run(&c, NULL);
    for (int b = 0; b < CASE_SEQS; b++) {
        for (int h = 0; h < CASE_Q_HEADS; h++) {
            float largest = -INFINITY;
            for (int t = c.cu_q[b]; t < c.cu_q[b + 1]; t++)
                largest = fmaxf(largest, max_logit[t * CASE_Q_HEADS + h]);
            assert_true(reduced[b * CASE_Q_HEADS + h] == largest);
        }
    }
    easy_case_finish(&c);
}

/* Masks that are no interval of keys: the easy tier makes their block tables. */
static void any_mask(void **state)
{
    static const char *const texts[] = {
        "causal & (window(5, 0) | sink_tokens(3))",
        "!causal | window(0, 0)",
        "segments & causal",
        "bidirectional | causal",
        "dilated(6, 3)",
        "bitmap",
        "causal & blocks",
        "tree & !bitmap",
        "!full",
    };
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct easy_case c;
        uint64_t rng = i + 40;
        int32_t ids_q[28], ids_kv[132], parents[28];
        uint8_t flags[132], bits[9 * 9 + 70 + 17 * 41], map[4 * 4];
        uint64_t offsets[CASE_SEQS] = {0, 81, 151, 151, 151};
        /* the fourth sequence has a query and no key, so no tree */
        int32_t tree_indptr[CASE_SEQS + 1] = {0, 9, 10, 10, 10, 27};
        assert_true(easy_case_make(50 + i, texts[i], &c));
        for (int t = 0; t < 28; t++) {
            ids_q[t] = (int32_t)random_below(&rng, 4);
            parents[t] = -1;
        }
        for (int b = 0; b < CASE_SEQS; b++)
            for (int32_t t = 1; t < tree_indptr[b + 1] - tree_indptr[b]; t++)
                parents[tree_indptr[b] + t] = (int32_t)random_below(&rng, (uint32_t)t + 1) - 1;
        for (int j = 0; j < 132; j++) {
            ids_kv[j] = (int32_t)random_below(&rng, 4);
            flags[j] = random_below(&rng, 3) > 0;
        }
        for (size_t k = 0; k < sizeof bits; k++)
            bits[k] = (uint8_t)random_below(&rng, 256);
        for (int k = 0; k < 16; k++)
            map[k] = (uint8_t)random_below(&rng, 2);
        rapt_mask_data data = {.struct_size = sizeof data,
                               .segments_q = ids_q,
                               .segments_kv = ids_kv,
                               .bidirectional = flags,
                               .bitmap = bits,
                               .bitmap_offsets = offsets,
                               .bitmap_bits = sizeof bits * 8,
                               .blocks = map,
                               .n_block_heads = 1,
                               .n_q_blocks = 4,
                               .n_k_blocks = 4,
                               .map_block_q = 20,
                               .map_block_kv = 24,
                               .parents = parents,
                               .tree_indptr = tree_indptr};
        c.problem.mask_data = &data;
        rapt_easy_options options = {.struct_size = sizeof options,
                                     .n_slices = i % 2 ? 3 : 1,
                                     .mask_block_q = i % 3 ? 16 : 0,
                                     .mask_block_kv = i % 3 ? 32 : 0};
        printf("%s\n", texts[i]);
        run(&c, &options);
        easy_case_finish(&c);
    }
}

static void masks_by_head(void **state)
{
    struct easy_case c;
    rapt_mask *masks[CASE_Q_HEADS] = {NULL};
    (void)state;
    assert_true(easy_case_make(70, "causal", &c));
    expect_ok(rapt_mask_parse(NULL, "causal & window(7, 0)", NULL, &masks[1]));
    expect_ok(rapt_mask_parse(NULL, "chunked(8) | sink_tokens(2)", NULL, &masks[3]));
    c.problem.mask_heads = (const rapt_mask *const *)masks;
    run(&c, NULL);
    c.problem.page_size = 16;
    run(&c, NULL);
    easy_case_finish(&c);
    for (int h = 0; h < CASE_Q_HEADS; h++)
        rapt_mask_destroy(&masks[h]);
}

/* The unused places of every pool hold NaN, so a result within bounds has read none of them. */
static void pools(void **state)
{
    (void)state;
    enum { H = CASE_KV_HEADS, D = CASE_DIM, P = 8 };
    static const struct {
        const char *what;
        rapt_layout layout;
        int one_buffer;
    } layouts[] = {
        {"NHD by default", {0}, 0},
        {"HND", {P * H * D, D, P * D, 0}, 0},
        {"rows padded", {P * H * (D + 8), H * (D + 8), D + 8, 0}, 0},
        {"pages padded", {P * H * D + 64, H * D, D, 0}, 0},
        {"[pages, 2, tokens, heads, D]", {2 * P * H * D, H * D, D, 0}, 1},
        {"[pages, tokens, 2, heads, D]", {2 * P * H * D, 2 * H * D, D, 0}, 1},
        {"[pages, tokens, K1, V1, K2, V2]", {2 * P * H * D, 2 * H * D, 2 * D, 0}, 1},
        {"[pages, heads, 2, tokens, D]", {2 * P * H * D, D, 2 * P * D, 0}, 1},
    };
    struct easy_case c;
    assert_true(easy_case_make(3, "causal", &c));
    c.problem.page_size = P;
    for (size_t i = 0; i < sizeof layouts / sizeof layouts[0]; i++) {
        printf("%s\n", layouts[i].what);
        rapt_easy_options options = {.struct_size = sizeof options,
                                     .k_pool = layouts[i].layout,
                                     .v_pool = layouts[i].layout,
                                     .kv_one_buffer = layouts[i].one_buffer};
        c.problem.page_seed = i;
        run(&c, &options);
    }
    c.problem.page_order = RAPT_PAGE_ORDER_LINEAR;
    run(&c, NULL);
    /* no room for V in K's buffer */
    rapt_easy_options options = {.struct_size = sizeof options, .kv_one_buffer = 1};
    assert_int_equal(rapt_easy_attention(easy, &c.problem, &options, &c.result),
                     RAPT_ERROR_ARGUMENT);
    assert_non_null(strstr(rapt_last_error(), "kv_one_buffer"));
    easy_case_finish(&c);
}

/* A shuffled pool and a linear one give the same bits; so do slices. */
static void same_bits(void **state)
{
    (void)state;
    struct easy_case c;
    assert_true(easy_case_make(4, "causal", &c));
    c.problem.page_size = 16;
    run(&c, NULL);
    float *first = malloc(c.n_out * sizeof *first);
    assert_non_null(first);
    memcpy(first, c.out, c.n_out * sizeof *first);
    c.problem.page_order = RAPT_PAGE_ORDER_LINEAR;
    run(&c, NULL);
    assert_memory_equal(first, c.out, c.n_out * sizeof *first);
    for (uint32_t n = 2; n <= 1000; n *= 7) {
        rapt_easy_options options = {.struct_size = sizeof options, .n_slices = n};
        run(&c, &options);
        assert_memory_equal(first, c.out, c.n_out * sizeof *first);
    }
    free(first);
    easy_case_finish(&c);
}

static void three_pass(void **state)
{
    (void)state;
    static const rapt_type types[] = {RAPT_TYPE_F32, RAPT_TYPE_F16, RAPT_TYPE_BF16};
    rapt_easy_options options = {.struct_size = sizeof options, .three_pass = 1};
    for (int i = 0; i < 6; i++) {
        struct easy_case c;
        assert_true(easy_case_make(5, i % 2 ? "causal" : "full", &c));
        c.problem.q_type = c.problem.kv_type = types[i / 2];
        run(&c, &options);
        easy_case_finish(&c);
    }
    /* decode alone takes one query per invocation */
    struct easy_case c;
    assert_true(easy_case_make(6, "causal", &c));
    int32_t cu_q[] = {0, 1, 2}, cu_kv[] = {0, 9, 79};
    c.problem.n_seqs = 2;
    c.problem.cu_q = cu_q;
    c.problem.cu_kv = cu_kv;
    run(&c, &options);
    /* what it does not do is refused, not ignored */
    c.problem.softcap = 3;
    assert_int_equal(rapt_easy_attention(easy, &c.problem, &options, &c.result),
                     RAPT_ERROR_UNSUPPORTED);
    c.problem.softcap = 0;
    c.problem.page_size = 16;
    assert_int_equal(rapt_easy_attention(easy, &c.problem, &options, &c.result),
                     RAPT_ERROR_UNSUPPORTED);
    easy_case_finish(&c);
}

/* One job many times, and what it says of itself. */
static void jobs(void **state)
{
    (void)state;
    struct easy_case c;
    assert_true(easy_case_make(7, "causal", &c));
    uint64_t before = rapt_easy_peak_bytes(easy, 1);
    before = rapt_easy_peak_bytes(easy, 1); /* peak = what is held now */
    rapt_easy_job *job = NULL;
    expect_ok(rapt_easy_job_create(easy, &c.problem, NULL, &c.result, &job));
    assert_int_equal(rapt_easy_job_read(job, &c.result), RAPT_ERROR_ARGUMENT); /* before run */
    for (int i = 0; i < 3; i++) {
        double seconds = -1;
        expect_ok(rapt_easy_job_run(job, &seconds));
        assert_true(seconds > 0 && seconds < 600);
    }
    easy_case_poison(&c);
    expect_ok(rapt_easy_job_read(job, &c.result));
    expect_within_bounds(&c);
    float lse[4];
    rapt_result more = {.struct_size = sizeof more, .lse = lse};
    assert_int_equal(rapt_easy_job_read(job, &more), RAPT_ERROR_ARGUMENT); /* not asked for */
    rapt_easy_job_info info = {.struct_size = sizeof info};
    rapt_easy_job_get_info(job, &info);
    /* 45 pairs of the first sequence, 70 of the second, 17 * 24 + 153 of the last */
    assert_true(info.cost.pairs == 45 + 70 + 17 * 24 + 153);
    assert_true(info.cost.flops == 4 * CASE_DIM * info.cost.pairs * CASE_Q_HEADS);
    assert_true(info.plan_seconds > 0 && info.create_seconds >= info.plan_seconds);
    assert_true(info.tensor_bytes >= c.n_out * 8 && info.table_bytes > 0);
    uint64_t peak = rapt_easy_peak_bytes(easy, 0);
    assert_true(peak >= before + info.tensor_bytes + info.table_bytes + info.workspace_bytes);
    rapt_easy_job_destroy(&job);
    assert_null(job);
    rapt_easy_peak_bytes(easy, 1);
    assert_true(rapt_easy_peak_bytes(easy, 0) == before); /* all of it was given back */
    easy_case_finish(&c);
}

static void bad_problems(void **state)
{
    (void)state;
    struct easy_case c;
    assert_true(easy_case_make(8, "causal", &c));
    rapt_easy_job *job = (rapt_easy_job *)&c;
    c.problem.n_seqs = 0;
    assert_int_equal(rapt_easy_job_create(easy, &c.problem, NULL, &c.result, &job),
                     RAPT_ERROR_ARGUMENT);
    assert_null(job);
    c.problem.n_seqs = CASE_SEQS;
    rapt_easy_options options = {.struct_size = sizeof options, .n_slices = UINT32_MAX};
    assert_int_equal(rapt_easy_attention(easy, &c.problem, &options, &c.result),
                     RAPT_ERROR_ARGUMENT);
    options = (rapt_easy_options){.struct_size = 0};
    assert_int_equal(rapt_easy_attention(easy, &c.problem, &options, &c.result),
                     RAPT_ERROR_ARGUMENT);
    assert_int_equal(rapt_easy_attention(easy, &c.problem, NULL, NULL), RAPT_ERROR_ARGUMENT);
    c.problem.k.n_elements--;
    assert_int_equal(rapt_easy_attention(easy, &c.problem, NULL, &c.result), RAPT_ERROR_SHAPE);
    easy_case_finish(&c);
}

/* A NaN among K's dims makes every output of the rows that see its key NaN, one among V's only its
 * own dim. fp8's are told from numbers by hand in some kernels, byte by byte. */
#define NAN_KEYS 70
#define NAN_DIM 64
static void stored_nan(void **state)
{
    (void)state;
    static const rapt_type types[] = {RAPT_TYPE_F16, RAPT_TYPE_BF16, RAPT_TYPE_FP8_E4M3};
    static const int of_v[] = {0, 5, 18, 35, 60, 63}; /* dims, in keys of their own */
    static float q[20 * 2 * NAN_DIM], k[NAN_KEYS * NAN_DIM], v[NAN_KEYS * NAN_DIM];
    static float out[20 * 2 * NAN_DIM];
    for (int turn = 0; turn < 3 * 2 * 2; turn++) {
        int32_t q_len = turn / 3 % 2 ? 20 : 1, cu_q[2] = {0, q_len}, cu_kv[2] = {0, NAN_KEYS};
        int in_v = turn / 6, is_nan[NAN_DIM] = {0}, wrong = 0;
        for (int i = 0; i < NAN_KEYS * NAN_DIM; i++) {
            k[i] = (float)(i * 37 % 101) / 50 - 1;
            v[i] = i % 3 ? 1.0f : -448.0f; /* the largest of fp8, next to its NaN */
            q[i % (20 * 2 * NAN_DIM)] = (float)(i * 29 % 97) / 48 - 1;
        }
        if (!in_v)
            k[(9 + turn * 11) * NAN_DIM + turn * 3 + 1] = NAN;
        for (int i = 0; in_v && i < (int)(sizeof of_v / sizeof of_v[0]); i++) {
            v[(i * 13 + turn % 3) * NAN_DIM + of_v[i]] = i % 2 ? -NAN : NAN;
            is_nan[of_v[i]] = 1;
        }
        rapt_problem problem = {.struct_size = sizeof problem, .n_seqs = 1};
        problem.n_q_heads = 2;
        problem.n_kv_heads = 1;
        problem.head_dim = NAN_DIM;
        problem.q = (rapt_array){.data = q, .n_elements = sizeof q / sizeof q[0]};
        problem.k = (rapt_array){.data = k, .n_elements = sizeof k / sizeof k[0]};
        problem.v = (rapt_array){.data = v, .n_elements = sizeof v / sizeof v[0]};
        problem.kv_type = types[turn % 3];
        problem.cu_q = cu_q;
        problem.cu_kv = cu_kv;
        rapt_result result = {.struct_size = sizeof result, .out = out};
        expect_ok(rapt_easy_attention(easy, &problem, NULL, &result));
        for (int i = 0; i < q_len * 2 * NAN_DIM; i++)
            wrong += (isnan(out[i]) != 0) != (!in_v || is_nan[i % NAN_DIM]);
        if (wrong)
            fprintf(stderr, "type %d, %d queries, NaN in %s: %d of %d outputs wrong\n",
                    (int)problem.kv_type, q_len, in_v ? "V" : "K", wrong, q_len * 2 * NAN_DIM);
        assert_int_equal(wrong, 0);
    }
}

int main(void)
{
    int unopened = open_easy(NULL, &easy);
    if (unopened)
        return unopened;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(packed),     cmocka_unit_test(any_mask), cmocka_unit_test(masks_by_head),
        cmocka_unit_test(statistics), cmocka_unit_test(pools),    cmocka_unit_test(same_bits),
        cmocka_unit_test(three_pass), cmocka_unit_test(jobs),     cmocka_unit_test(bad_problems),
        cmocka_unit_test(stored_nan),
    };
    int failed = cmocka_run_group_tests_name("easy", tests, NULL, NULL);
    rapt_easy_destroy(&easy);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
