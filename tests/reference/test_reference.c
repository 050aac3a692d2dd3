/* SPDX-License-Identifier: Apache-2.0 */
/* The float64 reference against the formula written down naively: two passes over every key, the
 * mask asked element by element, values taken from plain arrays. */
#include <rapt/reference.h>

#include "convert.h"
#include "fail_alloc.h"
#include "platform.h"
#include "random.h"
#include "random_problem.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define MAX_ROWS (MAX_SEQS * MAX_LEN * MAX_HEADS)

struct answer {
    double o[MAX_ROWS][MAX_DIM], lse[MAX_ROWS], max_logit[MAX_ROWS];
    float reduced[MAX_SEQS][MAX_HEADS];
};

static rapt_type stored(rapt_type wanted, rapt_type given)
{
    return wanted != RAPT_TYPE_DEFAULT ? wanted : given;
}

static double value(const struct random_problem *r, const rapt_array *array, rapt_type wanted,
                    float x)
{
    if (r->is_stored)
        return (double)x;
    return (double)rapt_round_to(stored(wanted, array->type), rapt_round_to(array->type, x));
}

static int32_t position(const struct random_problem *r, uint32_t b, uint32_t i)
{
    const rapt_problem *p = &r->problem;
    if (p->q_pos)
        return r->q_pos[r->cu_q[b] + (int32_t)i];
    int32_t first = (int32_t)r->kv_len[b] - (int32_t)r->q_len[b] + (p->kv_pos0 ? r->kv_pos0[b] : 0);
    return (p->q_pos0 ? r->q_pos0[b] : first) + (int32_t)i;
}

static int sees(const struct random_problem *r, uint32_t b, uint32_t h, uint32_t i, uint32_t j)
{
    const rapt_problem *p = &r->problem;
    const rapt_mask_data prefix = {.struct_size = sizeof prefix, .prefix = r->prefix};
    const rapt_mask_batch batch = {.struct_size = sizeof batch,
                                   .n_seqs = p->n_seqs,
                                   .cu_q = r->cu_q,
                                   .cu_kv = r->cu_kv, /* also of pools */
                                   .q_pos0 = p->q_pos0,
                                   .q_pos = p->q_pos,
                                   .kv_pos0 = p->kv_pos0,
                                   .n_q_heads = p->n_q_heads,
                                   .data = p->mask_data ? p->mask_data : &prefix};
    const rapt_mask *mask = p->mask_heads && p->mask_heads[h] ? p->mask_heads[h] : p->mask;
    return rapt_mask_allows_element(mask, &batch, b, h, i, j);
}

/* -inf where forbidden. */
static double naive_score(const struct random_problem *r, uint32_t b, uint32_t h, uint32_t i,
                          uint32_t j)
{
    const rapt_problem *p = &r->problem;
    int32_t pos = position(r, b, i), key = (p->kv_pos0 ? r->kv_pos0[b] : 0) + (int32_t)j;
    if (!sees(r, b, h, i, j))
        return -INFINITY;
    uint32_t kv_head = h / (p->n_q_heads / p->n_kv_heads);
    double dot = 0;
    for (uint32_t d = 0; d < p->head_dim; d++)
        dot += (r->is_stored ? r->q_used[b][i][h][d]
                             : value(r, &p->q, p->q_type, r->q[b][i][h][d])) *
               value(r, &p->k, p->kv_type, r->k[b][j][kv_head][d]);
    double s = dot * (p->scale != 0 ? (double)p->scale : 1 / sqrt(p->head_dim));
    if (p->softcap > 0)
        s = (double)p->softcap * tanh(s / (double)p->softcap);
    if (p->slopes)
        s += (double)r->slopes[h] * (key - pos);
    if (p->bias.data)
        s += (double)r->bias_value[b][h][i][j];
    return s;
}

static void naive_row(const struct random_problem *r, uint32_t b, uint32_t h, uint32_t i,
                      struct answer *answer)
{
    const rapt_problem *p = &r->problem;
    uint32_t dim_v = p->head_dim_v ? p->head_dim_v : p->head_dim;
    uint32_t row = ((uint32_t)r->cu_q[b] + i) * p->n_q_heads + h;
    double s[MAX_LEN], most = -INFINITY, l = 0;
    for (uint32_t j = 0; j < r->kv_len[b]; j++) {
        s[j] = naive_score(r, b, h, i, j);
        most = fmax(most, s[j]);
    }
    double m = p->sinks ? fmax(most, (double)r->sinks[h]) : most;
    if (p->use_max_logit_const)
        m = (double)p->max_logit_const;
    if (p->sinks && r->sinks[h] != -INFINITY)
        l = exp((double)r->sinks[h] - m);
    memset(answer->o[row], 0, sizeof answer->o[row]);
    for (uint32_t j = 0; j < r->kv_len[b]; j++) {
        if (s[j] == -INFINITY)
            continue;
        double weight = exp(s[j] - m);
        l += weight;
        for (uint32_t d = 0; d < dim_v; d++)
            answer->o[row][d] += weight * value(r, &p->v, p->kv_type,
                                                r->v[b][j][h / (p->n_q_heads / p->n_kv_heads)][d]);
    }
    for (uint32_t d = 0; d < dim_v && l > 0 && !p->unnormalised; d++)
        answer->o[row][d] /= l;
    answer->lse[row] = l > 0 ? m + log(l) : -INFINITY;
    answer->max_logit[row] = most;
    answer->reduced[b][h] = fmaxf(answer->reduced[b][h], (float)most);
}

static void naive(const struct random_problem *r, struct answer *answer)
{
    for (uint32_t b = 0; b < r->problem.n_seqs; b++)
        for (uint32_t h = 0; h < r->problem.n_q_heads; h++) {
            answer->reduced[b][h] = -INFINITY;
            for (uint32_t i = 0; i < r->q_len[b]; i++)
                naive_row(r, b, h, i, answer);
        }
}

static void near(const struct random_problem *r, const char *what, uint32_t row, double got,
                 double want, double relative)
{
    if (got == want)
        return;
    if (!(fabs(got - want) <= relative * fmax(1, fabs(want))))
        fail_msg("%s of row %u is %.17g, not %.17g:%s", what, row, got, want, r->text);
}

struct outputs {
    double out64[MAX_ROWS * MAX_DIM], lse64[MAX_ROWS], max_logit64[MAX_ROWS];
    float out[MAX_ROWS * MAX_DIM], lse[MAX_ROWS], max_logit[MAX_ROWS];
    float reduced[MAX_SEQS * MAX_HEADS];
};
static struct outputs outputs, again;
static struct answer answer;

static rapt_status run(const struct random_problem *r, const rapt_reference_params *params,
                       struct outputs *to)
{
    const rapt_result result = {sizeof result, to->out, to->lse, to->max_logit, to->reduced};
    return rapt_reference_attention(&r->problem, params, &result, to->out64, to->lse64,
                                    to->max_logit64);
}

static void compare(const struct random_problem *r)
{
    const rapt_problem *p = &r->problem;
    uint32_t dim_v = p->head_dim_v ? p->head_dim_v : p->head_dim;
    uint32_t n_rows = (uint32_t)r->cu_q[p->n_seqs] * p->n_q_heads;
    for (uint32_t row = 0; row < n_rows; row++) {
        for (uint32_t d = 0; d < dim_v; d++) {
            near(r, "out64", row, outputs.out64[row * dim_v + d], answer.o[row][d], 1e-12);
            near(r, "out", row, (double)outputs.out[row * dim_v + d], answer.o[row][d], 1e-6);
        }
        near(r, "lse64", row, outputs.lse64[row], answer.lse[row], 1e-12);
        near(r, "max_logit64", row, outputs.max_logit64[row], answer.max_logit[row], 1e-12);
        near(r, "lse", row, (double)outputs.lse[row], answer.lse[row], 1e-7);
        near(r, "max_logit", row, (double)outputs.max_logit[row], answer.max_logit[row], 1e-7);
    }
    for (uint32_t b = 0; b < p->n_seqs; b++)
        for (uint32_t h = 0; h < p->n_q_heads; h++)
            near(r, "max_logit_reduced", b, (double)outputs.reduced[b * p->n_q_heads + h],
                 (double)answer.reduced[b][h], 1e-7);
}

static void random_problems_agree_with_the_formula(void **state)
{
    (void)state;
    for (uint64_t number = 0; number < RANDOM_MASKED + 200; number++) {
        struct random_problem *r = random_problem_create(number);
        memset(&outputs, 0xff, sizeof outputs); /* NaN */
        const rapt_reference_params params = {.struct_size = sizeof params,
                                              .n_threads = (uint32_t)(number % 4)};
        if (run(r, number % 4 ? &params : NULL, &outputs) != RAPT_OK)
            fail_msg("%s:%s", rapt_last_error(), r->text);
        assert_int_equal(rapt_problem_check(&r->problem), RAPT_OK);
        assert_int_equal(rapt_problem_total_q(&r->problem), r->cu_q[r->problem.n_seqs]);
        naive(r, &answer);
        compare(r);
        random_problem_destroy(r);
    }
}

static void threads_do_not_change_a_bit(void **state)
{
    (void)state;
    for (uint64_t number = RANDOM_STORED - 20; number < RANDOM_STORED + 20; number++) {
        struct random_problem *r = random_problem_create(number);
        rapt_reference_params params = {.struct_size = sizeof params, .n_threads = 1};
        memset(&outputs, 0, sizeof outputs);
        memset(&again, 0, sizeof again);
        assert_int_equal(run(r, &params, &outputs), RAPT_OK);
        params.n_threads = 7;
        assert_int_equal(run(r, &params, &again), RAPT_OK);
        assert_memory_equal(&outputs, &again, sizeof outputs);
        random_problem_destroy(r);
    }
}

static void a_subset_of_rows_is_those_rows(void **state)
{
    (void)state;
    for (uint64_t number = 0; number < 60; number++) {
        struct random_problem *r = random_problem_create(number);
        const rapt_problem *p = &r->problem;
        uint32_t dim_v = p->head_dim_v ? p->head_dim_v : p->head_dim;
        uint32_t n_rows = (uint32_t)r->cu_q[p->n_seqs] * p->n_q_heads;
        const rapt_reference_params params = {
            .struct_size = sizeof params, .row_first = number % 5, .row_step = 1 + number % 7};
        assert_int_equal(run(r, NULL, &outputs), RAPT_OK);
        double untouched;
        memset(&untouched, 0x7f, sizeof untouched); /* a large number, larger than any maximum */
        memset(&again, 0x7f, sizeof again);
        assert_int_equal(run(r, &params, &again), RAPT_OK);
        for (uint32_t row = 0; row < n_rows; row++) {
            int wanted = row >= params.row_first && (row - params.row_first) % params.row_step == 0;
            for (uint32_t d = 0; d < dim_v; d++)
                assert_true(wanted ? again.out64[row * dim_v + d] == outputs.out64[row * dim_v + d]
                                   : again.out64[row * dim_v + d] == untouched);
            assert_true(wanted ? again.lse64[row] == outputs.lse64[row]
                               : again.lse64[row] == untouched);
        }
        /* The reduced maximum is that of the rows that were computed. */
        for (uint32_t b = 0; b < p->n_seqs; b++)
            for (uint32_t h = 0; h < p->n_q_heads; h++) {
                float most = -INFINITY;
                for (int32_t i = r->cu_q[b]; i < r->cu_q[b + 1]; i++) {
                    uint32_t row = (uint32_t)i * p->n_q_heads + h;
                    if (row >= params.row_first && (row - params.row_first) % params.row_step == 0)
                        most = fmaxf(most, outputs.max_logit[row]);
                }
                assert_true(again.reduced[b * p->n_q_heads + h] == most);
            }
        random_problem_destroy(r);
    }
}

#define N_CALLERS 6

struct shared {
    const struct random_problem *r;
    double lse64[N_CALLERS][MAX_ROWS];
    rapt_status status[N_CALLERS];
    char error[N_CALLERS][64];
};

/* Even callers ask for the problem they all share, odd ones make a mistake of their own. */
static void call(void *user, uint32_t i)
{
    struct shared *shared = user;
    if (i % 2 == 0) {
        const rapt_reference_params params = {.struct_size = sizeof params, .n_threads = 2};
        shared->status[i] = rapt_reference_attention(&shared->r->problem, &params, NULL, NULL,
                                                     shared->lse64[i], NULL);
        return;
    }
    rapt_problem wrong = shared->r->problem;
    wrong.head_dim = 1000 + i;
    shared->status[i] = rapt_problem_check(&wrong);
    snprintf(shared->error[i], sizeof shared->error[i], "%s", rapt_last_error());
}

/* For the thread sanitizer above all. */
static void problems_and_masks_are_shared_by_threads(void **state)
{
    (void)state;
    static struct shared shared;
    for (uint64_t number = 0; number < 10; number++) {
        struct random_problem *r = random_problem_create(number);
        memset(&shared, 0, sizeof shared);
        shared.r = r;
        rapt_parallel(N_CALLERS, N_CALLERS, call, &shared);
        for (uint32_t i = 0; i < N_CALLERS; i++) {
            char want[64];
            snprintf(want, sizeof want, "head_dim is %u:", 1000 + i);
            assert_int_equal(shared.status[i], i % 2 ? RAPT_ERROR_ARGUMENT : RAPT_OK);
            if (i % 2)
                assert_int_equal(strncmp(shared.error[i], want, strlen(want)), 0);
            else
                assert_memory_equal(shared.lse64[i], shared.lse64[0], sizeof shared.lse64[0]);
        }
        random_problem_destroy(r);
    }
}

/* The output is rounded to its type, from the float64 value. */
static void outputs_are_rounded_to_their_type(void **state)
{
    (void)state;
    struct random_problem *r = random_problem_create(3);
    const rapt_type types[] = {RAPT_TYPE_F16, RAPT_TYPE_BF16, RAPT_TYPE_F32};
    uint32_t dim_v = r->problem.head_dim_v ? r->problem.head_dim_v : r->problem.head_dim;
    uint32_t n = (uint32_t)r->cu_q[r->problem.n_seqs] * r->problem.n_q_heads * dim_v;
    assert_true(n > 0);
    for (int t = 0; t < 3; t++) {
        r->problem.out_type = types[t];
        assert_int_equal(run(r, NULL, &outputs), RAPT_OK);
        for (uint32_t i = 0; i < n; i++)
            assert_true(outputs.out[i] == rapt_round_to(types[t], (float)outputs.out64[i]));
    }
    random_problem_destroy(r);
}

/* One row against a sum that can be done in the head. */
static void a_known_answer(void **state)
{
    (void)state;
    float q[8] = {1}, k[2 * 8] = {0}, v[2 * 8];
    k[0] = (float)log(3) * 2; /* scale 0.5: weights 3 to 1 */
    for (int d = 0; d < 8; d++) {
        v[d] = 4;
        v[8 + d] = 8;
    }
    const int32_t cu_q[] = {0, 1}, cu_kv[] = {0, 2};
    rapt_problem p = {.struct_size = sizeof p,
                      .n_seqs = 1,
                      .n_q_heads = 1,
                      .n_kv_heads = 1,
                      .head_dim = 8,
                      .q = {.data = q, .n_elements = 8},
                      .k = {.data = k, .n_elements = 16},
                      .v = {.data = v, .n_elements = 16},
                      .cu_q = cu_q,
                      .cu_kv = cu_kv,
                      .scale = 0.5f};
    double out[8], lse, max_logit;
    assert_int_equal(rapt_reference_attention(&p, NULL, NULL, out, &lse, &max_logit), RAPT_OK);
    assert_true(fabs(out[7] - 5) < 1e-6 && fabs(lse - log(4)) < 1e-6);
    assert_true(fabs(max_logit - log(3)) < 1e-6);
    const float sink = 0; /* weight 1 of 5 */
    p.sinks = &sink;
    assert_int_equal(rapt_reference_attention(&p, NULL, NULL, out, &lse, &max_logit), RAPT_OK);
    assert_true(fabs(out[0] - 4) < 1e-6 && fabs(lse - log(5)) < 1e-6);
    assert_true(fabs(max_logit - log(3)) < 1e-6);
}

/* Many blocks of keys, with a maximum that keeps growing, or shrinking, along them. */
static void long_rows(void **state)
{
    (void)state;
    enum { N = 2000, DIM = 8 };
    static float k[N * DIM], v[N * DIM];
    uint64_t seed = 9;
    float q[DIM] = {1};
    const int32_t cu_q[] = {0, 1}, cu_kv[] = {0, N};
    for (int direction = -1; direction <= 1; direction++) {
        for (int i = 0; i < N * DIM; i++) {
            k[i] = random_normal(&seed) + (float)(direction * (i / DIM)) * 0.01f;
            v[i] = random_normal(&seed);
        }
        const rapt_problem p = {.struct_size = sizeof p,
                                .n_seqs = 1,
                                .n_q_heads = 1,
                                .n_kv_heads = 1,
                                .head_dim = DIM,
                                .q = {.data = q, .n_elements = DIM},
                                .k = {.data = k, .n_elements = N * DIM},
                                .v = {.data = v, .n_elements = N * DIM},
                                .cu_q = cu_q,
                                .cu_kv = cu_kv,
                                .scale = 2};
        double out[DIM], lse, max_logit, want[DIM] = {0}, m = -INFINITY, l = 0;
        assert_int_equal(rapt_reference_attention(&p, NULL, NULL, out, &lse, &max_logit), RAPT_OK);
        for (int j = 0; j < N; j++)
            m = fmax(m, 2 * (double)k[j * DIM]);
        for (int j = 0; j < N; j++) {
            double weight = exp(2 * (double)k[j * DIM] - m);
            l += weight;
            for (int d = 0; d < DIM; d++)
                want[d] += weight * (double)v[j * DIM + d];
        }
        for (int d = 0; d < DIM; d++)
            assert_true(fabs(out[d] - want[d] / l) < 1e-12);
        assert_true(fabs(lse - m - log(l)) < 1e-12 && max_logit == m);
    }
}

/* What a forbidden key holds does not show, whoever forbids it. */
static void forbidden_keys_do_not_count(void **state)
{
    (void)state;
    enum { N = 40, DIM = 8 };
    static float q[4 * DIM], k[N * DIM], v[N * DIM], bias[4 * N];
    const int32_t cu_q[] = {0, 4}, cu_kv[] = {0, N};
    rapt_mask *mask;
    for (int i = 0; i < N * DIM; i++) {
        k[i] = (float)(i % 7) - 3;
        v[i] = (float)(i % 5);
    }
    for (int i = 0; i < 4 * DIM; i++)
        q[i] = (float)(i % 3) - 1;
    rapt_problem p = {.struct_size = sizeof p,
                      .n_seqs = 1,
                      .n_q_heads = 1,
                      .n_kv_heads = 1,
                      .head_dim = DIM,
                      .q = {.data = q, .n_elements = 4 * DIM},
                      .k = {.data = k, .n_elements = N * DIM},
                      .v = {.data = v, .n_elements = N * DIM},
                      .cu_q = cu_q,
                      .cu_kv = cu_kv};
    assert_int_equal(rapt_mask_parse(NULL, "causal & window(20, 0)", NULL, &mask), RAPT_OK);
    p.mask = mask;
    p.bias = (rapt_array){.data = bias, .n_elements = 4 * N};
    for (int i = 0; i < 4; i++)
        bias[i * N + 30] = -INFINITY;
    double want[4 * DIM], got[4 * DIM];
    assert_int_equal(rapt_reference_attention(&p, NULL, NULL, want, NULL, NULL), RAPT_OK);
    const int forbidden[] = {30, 3, 15}; /* by the bias, by the window */
    for (int i = 0; i < 3; i++)
        for (int d = 0; d < DIM; d++) {
            v[forbidden[i] * DIM + d] = d % 2 ? NAN : INFINITY;
            k[forbidden[i] * DIM + d] = i ? NAN : k[forbidden[i] * DIM + d];
        }
    assert_int_equal(rapt_reference_attention(&p, NULL, NULL, got, NULL, NULL), RAPT_OK);
    assert_memory_equal(got, want, sizeof got);
    rapt_mask_destroy(&mask);
}

/* What quantizing costs: attention over what is stored against attention over what was given. */
static void quantizing_stays_within_its_limits(void **state)
{
    (void)state;
    enum { N_Q = 32, N_KV = 600, HQ = 4, HKV = 2, DIM = 128 };
    static float q[N_Q * HQ * DIM], k[N_KV * HKV * DIM], v[N_KV * HKV * DIM];
    static double want[N_Q * HQ * DIM], got[N_Q * HQ * DIM];
    const int32_t cu_q[] = {0, N_Q}, cu_kv[] = {0, N_KV};
    const float scale = 5.0f / 127, fp8_scales[HKV] = {0.02f, 0.011f};
    const struct {
        rapt_type type;
        rapt_scale_kind kind;
        const float *scale;
        uint32_t n;
        double limit;
    } cases[] = {{RAPT_TYPE_INT8, RAPT_SCALE_TOKEN_HEAD, NULL, 0, 1.5e-2},
                 {RAPT_TYPE_INT8, RAPT_SCALE_TOKEN, NULL, 0, 1.5e-2},
                 {RAPT_TYPE_Q8_0, RAPT_SCALE_TOKEN_HEAD, NULL, 0, 1.5e-2},
                 {RAPT_TYPE_INT8, RAPT_SCALE_STATIC, &scale, 1, 2.5e-2},
                 {RAPT_TYPE_FP8_E4M3, RAPT_SCALE_TOKEN_HEAD, NULL, 0, 5e-2},
                 {RAPT_TYPE_FP8_E4M3, RAPT_SCALE_STATIC, fp8_scales, HKV, 5e-2},
                 {RAPT_TYPE_INT4, RAPT_SCALE_TOKEN_HEAD, NULL, 0, 2e-1},
                 {RAPT_TYPE_Q4_0, RAPT_SCALE_TOKEN_HEAD, NULL, 0, 2e-1}};
    uint64_t seed = 77;
    for (size_t i = 0; i < sizeof q / sizeof *q; i++)
        q[i] = random_normal(&seed);
    for (size_t i = 0; i < sizeof k / sizeof *k; i++) {
        k[i] = random_normal(&seed);
        v[i] = random_normal(&seed);
    }
    rapt_problem p = {.struct_size = sizeof p,
                      .n_seqs = 1,
                      .n_q_heads = HQ,
                      .n_kv_heads = HKV,
                      .head_dim = DIM,
                      .q = {.data = q, .n_elements = sizeof q / sizeof *q},
                      .k = {.data = k, .n_elements = sizeof k / sizeof *k},
                      .v = {.data = v, .n_elements = sizeof v / sizeof *v},
                      .cu_q = cu_q,
                      .cu_kv = cu_kv};
    assert_int_equal(rapt_reference_attention(&p, NULL, NULL, want, NULL, NULL), RAPT_OK);
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        p.kv_type = cases[c].type;
        p.scale_kind = cases[c].kind;
        p.k_scale = p.v_scale = cases[c].scale;
        p.n_k_scale = p.n_v_scale = cases[c].n;
        assert_int_equal(rapt_reference_attention(&p, NULL, NULL, got, NULL, NULL), RAPT_OK);
        double diff2 = 0, want2 = 0;
        for (size_t i = 0; i < sizeof got / sizeof *got; i++) {
            diff2 += (got[i] - want[i]) * (got[i] - want[i]);
            want2 += want[i] * want[i];
        }
        double e = sqrt(diff2 / want2);
        if (!(e > cases[c].limit / 10 && e < cases[c].limit))
            fail_msg("%s, scales %d: %g of %g", rapt_type_name(p.kv_type), p.scale_kind, e,
                     cases[c].limit);
    }
}

static void hard_logits_stay_finite(void **state)
{
    (void)state;
    struct random_problem *r = random_problem_create(0);
    uint32_t dim_v = r->problem.head_dim_v ? r->problem.head_dim_v : r->problem.head_dim;
    uint32_t n = (uint32_t)r->cu_q[r->problem.n_seqs] * r->problem.n_q_heads * dim_v;
    r->problem.use_max_logit_const = r->problem.unnormalised = 0;
    const float scales[] = {10000, -10000, 1e30f, 1e-30f};
    for (int i = 0; i < 4; i++) {
        r->problem.scale = scales[i];
        assert_int_equal(run(r, NULL, &outputs), RAPT_OK);
        for (uint32_t at = 0; at < n; at++)
            assert_true(isfinite(outputs.out64[at]));
    }
    random_problem_destroy(r);
}

static void failing_allocators_are_survived(void **state)
{
    (void)state;
    struct random_problem *r = random_problem_create(RANDOM_STORED + 5);
    struct fail_alloc counts;
    rapt_allocator allocator = fail_allocator(&counts);
    const rapt_reference_params params = {
        .struct_size = sizeof params, .allocator = &allocator, .n_threads = 3};
    assert_int_equal(run(r, NULL, &outputs), RAPT_OK);
    const rapt_result result = {sizeof result, outputs.out, outputs.lse, NULL, outputs.reduced};
    rapt_error error = {.struct_size = sizeof error};
    for (int which = 0; which < 2; which++) {
        long n_failed = 0;
        for (;; n_failed++) {
            counts = (struct fail_alloc){.budget = n_failed};
            rapt_status status =
                which ? rapt_reference_check(&r->problem, &params, &result, RAPT_BOUND_PORTABLE,
                                             &error)
                      : rapt_reference_attention(&r->problem, &params, &result, NULL, NULL, NULL);
            assert_int_equal(counts.n_alive, 0);
            if (status == RAPT_OK)
                break;
            assert_int_equal(status, RAPT_ERROR_HOST_MEMORY);
            assert_non_null(strstr(rapt_last_error(), "no memory for"));
        }
        assert_true(n_failed >= 3);
    }
    assert_true(error.ok);
    random_problem_destroy(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_known_answer),
        cmocka_unit_test(random_problems_agree_with_the_formula),
        cmocka_unit_test(threads_do_not_change_a_bit),
        cmocka_unit_test(a_subset_of_rows_is_those_rows),
        cmocka_unit_test(problems_and_masks_are_shared_by_threads),
        cmocka_unit_test(outputs_are_rounded_to_their_type),
        cmocka_unit_test(long_rows),
        cmocka_unit_test(forbidden_keys_do_not_count),
        cmocka_unit_test(quantizing_stays_within_its_limits),
        cmocka_unit_test(hard_logits_stay_finite),
        cmocka_unit_test(failing_allocators_are_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
