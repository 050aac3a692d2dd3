/* SPDX-License-Identifier: Apache-2.0 */
/* What a result is measured against: the errors, the bounds, and merging partial results. */
#include <rapt/reference.h>

#include "random.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define N_Q 6
#define N_KV 40
#define HEADS 2
#define DIM 16
#define N_ROWS (N_Q * HEADS)

struct fixture {
    rapt_problem p;
    int32_t cu_q[2], cu_kv[2];
    float q[N_Q * HEADS * DIM], k[N_KV * HEADS * DIM], v[N_KV * HEADS * DIM];
    float slopes[HEADS], sinks[HEADS], bias[N_Q * N_KV];
    float out[N_ROWS * DIM], lse[N_ROWS], max_logit[N_ROWS], reduced[HEADS];
    rapt_result result;
    rapt_mask *mask;
};

static void fill(struct fixture *f)
{
    uint64_t seed = 5;
    *f = (struct fixture){.cu_q = {0, N_Q}, .cu_kv = {0, N_KV}};
    for (int i = 0; i < N_Q * HEADS * DIM; i++)
        f->q[i] = random_normal(&seed);
    for (int i = 0; i < N_KV * HEADS * DIM; i++) {
        f->k[i] = random_normal(&seed);
        f->v[i] = random_normal(&seed);
    }
    f->p = (rapt_problem){.struct_size = sizeof f->p,
                          .n_seqs = 1,
                          .n_q_heads = HEADS,
                          .n_kv_heads = HEADS,
                          .head_dim = DIM,
                          .q = {.data = f->q, .n_elements = N_Q * HEADS * DIM},
                          .k = {.data = f->k, .n_elements = N_KV * HEADS * DIM},
                          .v = {.data = f->v, .n_elements = N_KV * HEADS * DIM},
                          .cu_q = f->cu_q,
                          .cu_kv = f->cu_kv};
    f->result = (rapt_result){sizeof f->result, f->out, f->lse, f->max_logit, f->reduced};
}

static void solve(struct fixture *f)
{
    assert_int_equal(rapt_reference_attention(&f->p, NULL, &f->result, NULL, NULL, NULL), RAPT_OK);
}

static rapt_error checked(const struct fixture *f, rapt_bound_kind kind)
{
    rapt_error error = {.struct_size = sizeof error};
    assert_int_equal(rapt_reference_check(&f->p, NULL, &f->result, kind, &error), RAPT_OK);
    return error;
}

static struct fixture fixture;
static struct fixture *const f = &fixture;

static void the_reference_is_within_its_own_bounds(void **state)
{
    (void)state;
    fill(f);
    solve(f);
    rapt_error error = checked(f, RAPT_BOUND_PORTABLE);
    assert_true(error.ok && error.n_nan == 0);
    assert_true(error.e > 0 && error.e < 1e-7 && error.max_ratio < 1e-7 && error.lse_abs < 1e-6);
}

/* An error put in on purpose is the error found. */
static void errors_are_measured(void **state)
{
    (void)state;
    fill(f);
    solve(f);
    double norm2 = 0, most = 0;
    for (int i = 0; i < N_ROWS * DIM; i++) {
        norm2 += (double)f->out[i] * (double)f->out[i];
        most = fmax(most, fabs((double)f->out[i]));
    }
    f->out[37] += 0.01f;
    f->lse[3] += 0.25f;
    f->max_logit[4] -= 0.5f;
    rapt_error error = checked(f, RAPT_BOUND_PORTABLE);
    assert_true(fabs(error.e - 0.01 / sqrt(norm2)) < 1e-6);
    assert_true(fabs(error.max_ratio - 0.01 / most) < 1e-6);
    assert_true(fabs(error.lse_abs - 0.25) < 1e-6);
    assert_true(fabs(error.max_logit_abs - 0.5) < 1e-6);
    assert_false(error.ok);
}

/* Each output alone decides. */
static void each_fault_fails(void **state)
{
    (void)state;
    fill(f);
    solve(f);
    const struct fixture sound = *f;
    float *const places[] = {&f->out[0], &f->out[N_ROWS * DIM - 1], &f->lse[N_ROWS - 1],
                             &f->max_logit[0], &f->reduced[1]};
    const float faults[] = {NAN, INFINITY, -INFINITY, 1e30f};
    for (size_t place = 0; place < sizeof places / sizeof places[0]; place++)
        for (size_t fault = 0; fault < sizeof faults / sizeof faults[0]; fault++) {
            *f = sound;
            *places[place] = faults[fault];
            rapt_error error = checked(f, RAPT_BOUND_MATRIX_BF16);
            if (error.ok || (isnan(faults[fault]) && error.n_nan != 1))
                fail_msg("place %zu, %g: taken for right", place, (double)faults[fault]);
        }
    *f = sound;
    f->lse[0] += 3e-5f; /* just past the absolute bound of 2e-5 */
    assert_false(checked(f, RAPT_BOUND_PORTABLE).ok);
    assert_true(checked(f, RAPT_BOUND_MATRIX_F16).ok);
    /* Every element off by 4e-6 is inside, by 6e-6 outside. */
    for (int sign = 0; sign < 2; sign++) {
        *f = sound;
        for (int i = 0; i < N_ROWS * DIM; i++)
            f->out[i] *= 1 + (sign ? 6e-6f : 4e-6f);
        assert_int_equal(checked(f, RAPT_BOUND_PORTABLE).ok, !sign);
    }
}

/* One element far off is too much although the norm hardly notices. */
static void one_element_alone_fails(void **state)
{
    (void)state;
    fill(f);
    for (int i = 0; i < N_KV * HEADS * DIM; i++)
        f->v[i] = 1; /* so that all of the output is 1 */
    solve(f);
    f->out[5] += 5e-5f;
    rapt_error error = checked(f, RAPT_BOUND_PORTABLE);
    assert_true(error.e < error.bound_e && error.max_ratio > error.bound_max && !error.ok);
}

static void rows_without_keys(void **state)
{
    (void)state;
    fill(f);
    assert_int_equal(rapt_mask_parse(NULL, "sink_tokens(0)", NULL, &f->mask), RAPT_OK);
    f->p.mask = f->mask;
    solve(f);
    for (int i = 0; i < N_ROWS * DIM; i++)
        assert_true(f->out[i] == 0);
    for (int i = 0; i < N_ROWS; i++)
        assert_true(f->lse[i] == -INFINITY && f->max_logit[i] == -INFINITY);
    assert_true(f->reduced[0] == -INFINITY);
    assert_true(checked(f, RAPT_BOUND_PORTABLE).ok);
    f->lse[2] = -3e38f; /* nearly infinite is not infinite */
    assert_false(checked(f, RAPT_BOUND_PORTABLE).ok);
    f->lse[2] = -INFINITY;
    f->out[0] = 1e-3f; /* zero is meant absolutely */
    assert_false(checked(f, RAPT_BOUND_PORTABLE).ok);
    f->sinks[0] = 1.5f;
    f->sinks[1] = -2;
    f->p.sinks = f->sinks;
    solve(f);
    assert_true(f->out[0] == 0 && f->lse[0] == 1.5f && f->lse[1] == -2);
    assert_true(f->max_logit[0] == -INFINITY);
    rapt_mask_destroy(&f->mask);
}

static void near(double got, double want)
{
    if (!(fabs(got - want) <= 1e-6 * fabs(want)))
        fail_msg("%.9g, not %.9g", got, want);
}

/* F = max(1, S / 64), S = max(softcap, scale * max||q|| * max||k|| + max|slope*(J-P)| + max|bias|)
 */
static void bounds_follow_the_scores(void **state)
{
    (void)state;
    fill(f);
    memset(f->q, 0, sizeof f->q);
    memset(f->k, 0, sizeof f->k);
    f->q[3 * DIM] = 6;
    f->q[3 * DIM + 5] = 8; /* norm 10 */
    f->k[7 * DIM + 2] = -20;
    f->p.scale = 0.5f; /* scale * 10 * 20 = 100 */
    solve(f);
    rapt_error error = checked(f, RAPT_BOUND_PORTABLE);
    near(error.bound_e, 5e-6 * 100 / 64);
    near(error.bound_stat, 2e-5 * 100 / 64);
    near(error.bound_max, 8 * error.bound_e);
    near(checked(f, RAPT_BOUND_MATRIX_F16).bound_e, 6e-4);
    near(checked(f, RAPT_BOUND_MATRIX_F16).bound_stat, 2e-3);
    near(checked(f, RAPT_BOUND_MATRIX_BF16).bound_e, 5e-3);
    f->p.scale = -0.5f;
    near(checked(f, RAPT_BOUND_PORTABLE).bound_e, 5e-6 * 100 / 64);
    f->p.softcap = 640;
    near(checked(f, RAPT_BOUND_PORTABLE).bound_e, 5e-6 * 10);
    f->p.softcap = 0;
    f->p.scale = 0.1f; /* 20: below 64 */
    near(checked(f, RAPT_BOUND_PORTABLE).bound_e, 5e-6);
    /* Queries are at 34..39 and keys at 0..39: the farthest pair is 39 apart. */
    f->slopes[0] = 0.25f;
    f->slopes[1] = 4;
    f->p.slopes = f->slopes;
    near(checked(f, RAPT_BOUND_PORTABLE).bound_e, 5e-6 * (20 + 4 * 39) / 64);
    f->bias[3] = -INFINITY;
    f->bias[4] = -500;
    f->p.bias = (rapt_array){.data = f->bias, .n_elements = N_Q * N_KV};
    near(checked(f, RAPT_BOUND_PORTABLE).bound_e, 5e-6 * (20 + 4 * 39 + 500) / 64);
    /* What the mask hides counts for nothing: key 4 is before every window. */
    assert_int_equal(rapt_mask_parse(NULL, "window(2, 0)", NULL, &f->mask), RAPT_OK);
    f->p.mask = f->mask;
    near(checked(f, RAPT_BOUND_PORTABLE).bound_e, 5e-6);
    rapt_mask_destroy(&f->mask);
    /* A mask with holes: keys 20 and more apart are every 20th, biases lie between two of them. */
    assert_int_equal(rapt_mask_parse(NULL, "dilated(2, 20)", NULL, &f->mask), RAPT_OK);
    f->p.mask = f->mask;
    near(checked(f, RAPT_BOUND_PORTABLE).bound_e, 5e-6 * (20 + 4 * 20) / 64);
    rapt_mask_destroy(&f->mask);
    f->p.mask = NULL;
    f->p.bias = (rapt_array){0};
    f->p.slopes = NULL;
    f->p.out_type = RAPT_TYPE_F16;
    near(checked(f, RAPT_BOUND_PORTABLE).bound_e, 5e-6 + 4e-4);
    f->p.out_type = RAPT_TYPE_BF16;
    near(checked(f, RAPT_BOUND_PORTABLE).bound_e, 5e-6 + 3e-3);
}

/* The statistics may be off by what rounding Q to 8 bits can move a logit. */
static void the_bound_of_integer_dots(void **state)
{
    (void)state;
    fill(f);
    memset(f->q, 0, sizeof f->q);
    memset(f->k, 0, sizeof f->k);
    f->q[3 * DIM] = 6; /* 95.25 steps of 8 / 127: a quarter of one is lost */
    f->q[3 * DIM + 5] = 8;
    f->k[7 * DIM + 2] = -20;
    f->p.scale = 0.5f;
    solve(f);
    rapt_error error = checked(f, RAPT_BOUND_INTEGER_DOT);
    near(error.bound_e, 1e-2);
    near(error.bound_stat, 2e-5 * 100 / 64 + 0.5 * (0.25 * 8 / 127) * 20);
    f->p.scale = 2000; /* where the portable bound is the wider one */
    near(checked(f, RAPT_BOUND_INTEGER_DOT).bound_e, 5e-6 * 400000 / 64);
    /* Q as such a kernel has it is inside, and needs the bound. */
    fill(f);
    solve(f);
    float q[N_Q * HEADS * DIM], scales[N_Q * HEADS];
    int8_t codes[N_Q * HEADS * DIM];
    const rapt_quantize_params params = {.struct_size = sizeof params,
                                         .type = RAPT_TYPE_INT8,
                                         .head_dim = DIM,
                                         .n_heads = 1};
    const struct fixture sound = *f;
    assert_int_equal(rapt_quantize_rows(&params, N_Q * HEADS, f->q, codes, scales), RAPT_OK);
    assert_int_equal(rapt_dequantize_rows(&params, N_Q * HEADS, codes, scales, q), RAPT_OK);
    memcpy(f->q, q, sizeof q);
    solve(f);
    memcpy(f->q, sound.q, sizeof q);
    error = checked(f, RAPT_BOUND_INTEGER_DOT);
    assert_true(error.ok && error.e > 1e-4 && error.lse_abs > 1e-4);
    assert_false(checked(f, RAPT_BOUND_PORTABLE).ok);
}

static void only_the_chosen_rows_are_compared(void **state)
{
    (void)state;
    fill(f);
    solve(f);
    f->out[4 * DIM] = NAN;
    f->lse[4] = 7;
    f->reduced[0] = 7;
    rapt_reference_params params = {.struct_size = sizeof params, .row_first = 1, .row_step = 2};
    rapt_error error = {.struct_size = sizeof error};
    assert_int_equal(rapt_reference_check(&f->p, &params, &f->result, RAPT_BOUND_PORTABLE, &error),
                     RAPT_OK);
    assert_true(error.ok && error.e > 0);
    params.row_first = 0;
    assert_int_equal(rapt_reference_check(&f->p, &params, &f->result, RAPT_BOUND_PORTABLE, &error),
                     RAPT_OK);
    assert_true(!error.ok && error.n_nan == 1);
}

/* Parts of a random problem over disjoint keys merge into the whole. */
static void parts_merge_into_the_whole(void **state)
{
    (void)state;
    enum { N_PARTS = 4 };
    static const int32_t cuts[N_PARTS + 1] = {0, 7, 7, 30, N_KV}; /* one part has no keys */
    static float parts[N_PARTS][N_ROWS * DIM], parts_lse[N_PARTS][N_ROWS];
    static float out[N_ROWS * DIM], lse[N_ROWS];
    for (int with_sinks = 0; with_sinks < 2; with_sinks++) {
        fill(f);
        f->sinks[0] = 2;
        f->sinks[1] = -INFINITY;
        f->p.sinks = with_sinks ? f->sinks : NULL;
        assert_int_equal(rapt_mask_parse(NULL, "causal & window(30, 0)", NULL, &f->mask), RAPT_OK);
        f->p.mask = f->mask;
        solve(f);
        struct fixture part = *f;
        int32_t kv_pos0, q_pos0 = N_KV - N_Q;
        for (int i = 0; i < N_PARTS; i++) {
            kv_pos0 = cuts[i];
            part.p.sinks = NULL;
            part.cu_kv[1] = cuts[i + 1] - cuts[i];
            part.p.cu_kv = part.cu_kv;
            part.p.kv_pos0 = &kv_pos0;
            part.p.q_pos0 = &q_pos0;
            part.p.k.data = f->k + cuts[i] * HEADS * DIM;
            part.p.v.data = f->v + cuts[i] * HEADS * DIM;
            part.p.k.n_elements = part.p.v.n_elements = (size_t)part.cu_kv[1] * HEADS * DIM;
            part.result = (rapt_result){sizeof part.result, parts[i], parts_lse[i], NULL, NULL};
            solve(&part);
        }
        assert_int_equal(rapt_reference_merge(N_PARTS, N_ROWS, HEADS, DIM, parts[0], parts_lse[0],
                                              f->p.sinks, out, lse),
                         RAPT_OK);
        memcpy(f->out, out, sizeof out);
        memcpy(f->lse, lse, sizeof lse);
        rapt_error error = checked(f, RAPT_BOUND_PORTABLE);
        assert_true(error.ok && error.e < 3e-7);
        assert_int_equal(rapt_reference_merge(N_PARTS, N_ROWS, HEADS, DIM, parts[0], parts_lse[0],
                                              f->p.sinks, out, NULL),
                         RAPT_OK);
        assert_memory_equal(out, f->out, sizeof out);
        rapt_mask_destroy(&f->mask);
    }
}

static void merging_nothing_is_zero(void **state)
{
    (void)state;
    float parts[2 * DIM], lses[2] = {-INFINITY, -INFINITY}, out[DIM], lse, sink = 3;
    for (int i = 0; i < 2 * DIM; i++)
        parts[i] = NAN; /* a part without keys counts for nothing, whatever it holds */
    assert_int_equal(rapt_reference_merge(2, 1, 1, DIM, parts, lses, NULL, out, &lse), RAPT_OK);
    assert_true(lse == -INFINITY && out[0] == 0 && out[DIM - 1] == 0);
    assert_int_equal(rapt_reference_merge(2, 1, 1, DIM, parts, lses, &sink, out, &lse), RAPT_OK);
    assert_true(lse == 3 && out[0] == 0);
    for (int d = 0; d < DIM; d++)
        parts[DIM + d] = (float)d;
    lses[1] = 10000; /* no exponential of it can be taken */
    assert_int_equal(rapt_reference_merge(2, 1, 1, DIM, parts, lses, NULL, out, &lse), RAPT_OK);
    assert_true(lse == 10000 && out[5] == 5);
}

static void bad_merges_are_refused(void **state)
{
    (void)state;
    float one[8] = {0};
    assert_int_equal(rapt_reference_merge(0, 1, 1, 8, one, one, NULL, one, NULL),
                     RAPT_ERROR_ARGUMENT);
    assert_int_equal(rapt_reference_merge(1, 1, 1, 8, NULL, one, NULL, one, NULL),
                     RAPT_ERROR_ARGUMENT);
    assert_string_equal(rapt_last_error(), "parts is NULL");
    assert_int_equal(rapt_reference_merge(1, 1, 1, 8, one, NULL, NULL, one, NULL),
                     RAPT_ERROR_ARGUMENT);
    assert_int_equal(rapt_reference_merge(1, 1, 1, 8, one, one, NULL, NULL, NULL),
                     RAPT_ERROR_ARGUMENT);
    assert_int_equal(rapt_reference_merge(1, 3, 2, 8, one, one, NULL, one, NULL), RAPT_ERROR_SHAPE);
    assert_string_equal(rapt_last_error(), "n_q_heads is 2: it must divide n_rows, which is 3");
    assert_int_equal(rapt_reference_merge(1, 3, 0, 8, one, one, NULL, one, NULL), RAPT_ERROR_SHAPE);
    assert_int_equal(rapt_reference_merge(1, 0, 1, 8, NULL, NULL, NULL, NULL, NULL), RAPT_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_reference_is_within_its_own_bounds),
        cmocka_unit_test(errors_are_measured),
        cmocka_unit_test(each_fault_fails),
        cmocka_unit_test(one_element_alone_fails),
        cmocka_unit_test(rows_without_keys),
        cmocka_unit_test(bounds_follow_the_scores),
        cmocka_unit_test(the_bound_of_integer_dots),
        cmocka_unit_test(only_the_chosen_rows_are_compared),
        cmocka_unit_test(parts_merge_into_the_whole),
        cmocka_unit_test(merging_nothing_is_zero),
        cmocka_unit_test(bad_merges_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
