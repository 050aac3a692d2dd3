/* SPDX-License-Identifier: Apache-2.0 */

/* Attention over shared prefixes against the reference, which knows nothing of them. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <rapt/easy.h>

#include "open_easy.h"
#include "random.h"

static rapt_easy *easy;

enum { SEQS = 9, PAGE = 8, MAX_PAGES = 24, N_POOL = 96, DIM = 32 };

/* Prompts of 12 pages for everyone and 4 more for the sequences of each family, then their own. */
struct shared_case {
    uint32_t n_q_heads, n_kv_heads;
    uint32_t indptr[SEQS + 1], indices[SEQS * MAX_PAGES], last[SEQS];
    int32_t cu_q[SEQS + 1], kv_pos0[SEQS], prefix[SEQS], q_pos[256];
    float *q, *k, *v, *out, *lse, *alone, *alone_lse, sinks[8], slopes[8];
    size_t n_q, n_kv;
    rapt_mask *mask;
    rapt_problem problem;
    rapt_result result;
};

/* own: pages of its own; last: keys in the last page; family: -1 = shares nothing; q_len */
static const struct {
    int32_t family;
    uint32_t own, last;
    int32_t q_len;
} sequences[SEQS] = {
    {0, 2, 3, 1},    {0, 0, PAGE, 1}, {0, 1, 1, 5},  {1, 3, PAGE, 0}, {1, 1, 4, 3},
    {1, 0, PAGE, 1}, {-1, 5, 2, 17},  {-1, 0, 0, 2}, {-1, 1, 7, 1},
};

static float *numbers(uint64_t seed, size_t n)
{
    float *data = malloc(n * sizeof *data);
    for (size_t i = 0; data && i < n; i++)
        data[i] = random_normal(&seed);
    return data;
}

static void fill_tables(struct shared_case *c)
{
    uint32_t next = 20; /* pages 0 to 11 are everyone's, 12 to 15 and 16 to 19 the families' */
    for (uint32_t b = 0; b < SEQS; b++) {
        uint32_t *pages = c->indices + c->indptr[b], n = 0;
        for (uint32_t i = 0; sequences[b].family >= 0 && i < 16; i++)
            pages[n++] = i < 12 ? i : i + 4 * (uint32_t)sequences[b].family;
        for (uint32_t i = 0; i < sequences[b].own; i++)
            pages[n++] = next++;
        for (uint32_t i = 0; i < n; i++)
            pages[i] = pages[i] * 37 % N_POOL; /* anywhere */
        c->indptr[b + 1] = c->indptr[b] + n;
        c->last[b] = sequences[b].last;
        c->cu_q[b + 1] = c->cu_q[b] + sequences[b].q_len;
        c->prefix[b] = 90 + 20 * (int32_t)(b % 3);
    }
}

static void make(uint64_t seed, const char *mask, struct shared_case *c)
{
    memset(c, 0, sizeof *c);
    c->n_q_heads = 4;
    c->n_kv_heads = 2;
    fill_tables(c);
    c->n_q = (size_t)c->cu_q[SEQS] * c->n_q_heads * DIM;
    c->n_kv = (size_t)N_POOL * PAGE * c->n_kv_heads * DIM;
    c->q = numbers(seed, c->n_q);
    c->k = numbers(seed + 1, c->n_kv);
    c->v = numbers(seed + 2, c->n_kv);
    c->out = malloc(c->n_q * sizeof(float));
    c->alone = malloc(c->n_q * sizeof(float));
    c->lse = malloc(c->n_q / DIM * sizeof(float));
    c->alone_lse = malloc(c->n_q / DIM * sizeof(float));
    assert_true(c->q && c->k && c->v && c->out && c->alone && c->lse && c->alone_lse);
    for (int h = 0; h < 8; h++) {
        c->sinks[h] = (float)h - 2;
        c->slopes[h] = 0.01f * (float)(h + 1);
    }
    assert_int_equal(rapt_mask_parse(NULL, mask, NULL, &c->mask), RAPT_OK);
    c->problem = (rapt_problem){.struct_size = sizeof c->problem,
                                .n_seqs = SEQS,
                                .n_q_heads = c->n_q_heads,
                                .n_kv_heads = c->n_kv_heads,
                                .head_dim = DIM,
                                .q = {.data = c->q, .n_elements = c->n_q},
                                .k = {.data = c->k, .n_elements = c->n_kv},
                                .v = {.data = c->v, .n_elements = c->n_kv},
                                .kv_type = RAPT_TYPE_F16,
                                .cu_q = c->cu_q,
                                .page_size = PAGE,
                                .n_pool_pages = N_POOL,
                                .page_indptr = c->indptr,
                                .page_indices = c->indices,
                                .last_page_len = c->last,
                                .prefix = c->prefix,
                                .mask = c->mask};
    c->result = (rapt_result){.struct_size = sizeof c->result, .out = c->out, .lse = c->lse};
}

static void finish(struct shared_case *c)
{
    float *arrays[] = {c->q, c->k, c->v, c->out, c->lse, c->alone, c->alone_lse};
    for (size_t i = 0; i < sizeof arrays / sizeof arrays[0]; i++)
        free(arrays[i]);
    rapt_mask_destroy(&c->mask);
}

static void expect_ok(rapt_status status)
{
    if (status != RAPT_OK)
        fprintf(stderr, "%s\n", rapt_last_error());
    assert_int_equal(status, RAPT_OK);
}

/* A result's distance from the reference. */
static void expect_within_bounds(const struct shared_case *c, const char *what)
{
    rapt_error error = {.struct_size = sizeof error};
    expect_ok(rapt_reference_check(&c->problem, NULL, &c->result, RAPT_BOUND_PORTABLE, &error));
    if (!error.ok)
        fprintf(stderr, "%s: e %g of %g, max %g of %g, lse %g, %d NaN\n", what, error.e,
                error.bound_e, error.max_ratio, error.bound_max, error.lse_abs, error.n_nan);
    assert_true(error.ok);
}

/* Shared and not: both within the bound; `levels` and `groups` are what must have been found. */
static void attend(struct shared_case *c, const rapt_easy_options *given, const char *what,
                   uint32_t levels, uint32_t groups)
{
    rapt_easy_options options = {.struct_size = sizeof options};
    if (given)
        options = *given;
    options.share_prefixes = 1;
    options.min_shared_tokens = options.min_shared_tokens ? options.min_shared_tokens : 16;
    for (size_t i = 0; i < c->n_q; i++)
        c->out[i] = NAN;
    for (size_t i = 0; c->result.lse && i < c->n_q / DIM; i++)
        c->lse[i] = NAN;
    rapt_easy_job *job = NULL;
    rapt_easy_job_info info = {.struct_size = sizeof info};
    expect_ok(rapt_easy_job_create(easy, &c->problem, &options, &c->result, &job));
    for (int i = 0; i < 2; i++) /* twice: nothing of the first run may be left over */
        expect_ok(rapt_easy_job_run(job, NULL));
    expect_ok(rapt_easy_job_read(job, &c->result));
    rapt_easy_job_get_info(job, &info);
    rapt_easy_job_destroy(&job);
    if (info.cascade.n_levels != levels || info.cascade.n_groups != groups)
        fprintf(stderr, "%s: %u levels, %u groups\n", what, info.cascade.n_levels,
                info.cascade.n_groups);
    assert_int_equal(info.cascade.n_levels, levels);
    assert_int_equal(info.cascade.n_groups, groups);
    assert_true(info.shared_kv_bytes <= info.cost.kv_bytes);
    assert_int_equal(info.shared_kv_bytes<info.cost.kv_bytes, groups> 0);
    expect_within_bounds(c, what);
    memcpy(c->alone, c->out, c->n_q * sizeof(float));
    options.share_prefixes = 0;
    expect_ok(rapt_easy_attention(easy, &c->problem, &options, &c->result));
    expect_within_bounds(c, what);
    double difference = 0, norm = 1e-300;
    for (size_t i = 0; i < c->n_q; i++) {
        difference += pow((double)c->out[i] - (double)c->alone[i], 2);
        norm += pow((double)c->out[i], 2);
    }
    assert_true(sqrt(difference / norm) < 1e-5);
}

/* The trie's pages for all, for each family of those with queries, and what is left. */
static void two_depths(void **state)
{
    (void)state;
    static const char *const masks[] = {"causal", "full"};
    for (uint64_t seed = 0; seed < 2; seed++) {
        struct shared_case c;
        make(seed, masks[seed], &c);
        attend(&c, NULL, masks[seed], 3, 3);
        rapt_easy_options options = {.struct_size = sizeof options, .max_levels = 2};
        attend(&c, &options, "two levels", 2, 1);
        options.max_levels = 1;
        attend(&c, &options, "one level", 1, 0);
        options = (rapt_easy_options){.struct_size = sizeof options, .min_shared_tokens = 1000};
        attend(&c, &options, "nothing is long enough", 1, 0);
        options = (rapt_easy_options){.struct_size = sizeof options, .n_slices = 5};
        attend(&c, &options, "slices", 3, 3);
        options = (rapt_easy_options){.struct_size = sizeof options, .n_splits = 3};
        attend(&c, &options, "splits", 3, 3);
        finish(&c);
    }
}

/* Positions decide for every row what it sees of a shared piece. */
static void masks_of_every_closed_form(void **state)
{
    (void)state;
    static const struct {
        const char *mask;
        uint32_t levels, groups;
    } masks[] = {
        /* little of the prompt is in sight: the families share, each for itself */
        {"causal & window(60, 0)", 2, 2},
        {"causal & window(100, 0)", 2, 2},
        {"window(40, 30)", 2, 2},
        {"window(20, 30)", 1, 0},
        {"causal & chunked(64)", 2, 2},
        {"causal & sink_tokens(50)", 2, 1},
        /* 90, 110 and 130 keys: what the shortest sees is everyone's */
        {"prefix", 2, 1},
        {"causal & prefix & window(100, -1)", 2, 1},
    };
    for (size_t i = 0; i < sizeof masks / sizeof masks[0]; i++) {
        struct shared_case c;
        make(10 + i, masks[i].mask, &c);
        attend(&c, NULL, masks[i].mask, masks[i].levels, masks[i].groups);
        finish(&c);
    }
}

static void everything_a_step_brings(void **state)
{
    (void)state;
    struct shared_case c;
    make(30, "causal", &c);
    c.problem.sinks = c.sinks;
    attend(&c, NULL, "sinks", 3, 3);
    rapt_easy_options options = {.struct_size = sizeof options, .max_levels = 1};
    attend(&c, &options, "sinks, nothing shared", 1, 0);
    c.result.lse = NULL;
    attend(&c, NULL, "no lse", 3, 3);
    attend(&c, &options, "no lse, nothing shared", 1, 0);
    c.result.lse = c.lse;
    c.problem.sinks = NULL;
    attend(&c, &options, "nothing shared", 1, 0);
    c.result.lse = NULL;
    attend(&c, &options, "nothing shared, no lse", 1, 0);
    c.result.lse = c.lse;
    c.problem.slopes = c.slopes;
    c.problem.softcap = 20;
    attend(&c, NULL, "slopes and softcap", 3, 3);
    c.problem.softcap = 0;
    for (int32_t t = 0; t < c.cu_q[SEQS]; t++)
        c.q_pos[t] = (t * 53 + 90) % 170;
    c.problem.q_pos = c.q_pos;
    attend(&c, NULL, "positions in any order", 3, 3);
    for (int b = 0; b < SEQS; b++)
        c.kv_pos0[b] = 40;
    c.problem.kv_pos0 = c.kv_pos0;
    attend(&c, NULL, "keys from 40 on", 3, 3);
    c.kv_pos0[0] = 41; /* its pages stand elsewhere */
    attend(&c, NULL, "one from 41 on", 3, 2);
    finish(&c);

    make(31, "causal", &c);
    rapt_rope rope = {.struct_size = sizeof rope, .pairing = RAPT_ROPE_NEOX};
    c.problem.rope = &rope;
    attend(&c, NULL, "rotated queries", 3, 3);
    c.problem.rope_pos = c.q_pos;
    for (int32_t t = 0; t < c.cu_q[SEQS]; t++)
        c.q_pos[t] = (t * 31) % 100;
    attend(&c, NULL, "rotated queries, positions of their own", 3, 3);
    c.problem.rope = NULL;
    c.problem.rope_pos = NULL;
    c.problem.use_max_logit_const = 1;
    c.problem.max_logit_const = 3;
    attend(&c, NULL, "a fixed maximum", 3, 3);
    finish(&c);
}

static void every_kind_of_cache(void **state)
{
    (void)state;
    static const rapt_type types[] = {RAPT_TYPE_F32,      RAPT_TYPE_BF16, RAPT_TYPE_INT8,
                                      RAPT_TYPE_FP8_E4M3, RAPT_TYPE_INT4, RAPT_TYPE_Q8_0,
                                      RAPT_TYPE_Q4_0};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        struct shared_case c;
        make(40 + i, "causal", &c);
        c.problem.kv_type = types[i];
        c.problem.q_type = i % 2 ? RAPT_TYPE_F16 : RAPT_TYPE_F32;
        rapt_easy_options options = {.struct_size = sizeof options, .max_levels = 2};
        attend(&c, &options, rapt_type_name(types[i]), 2, 1);
        finish(&c);
    }
}

/* A batch of decoding sequences, one of prefill chunks, one without a query. */
static void decode_and_prefill(void **state)
{
    (void)state;
    for (int32_t q_len = 0; q_len <= 9; q_len += q_len ? 8 : 1) {
        struct shared_case c;
        make(50 + (uint64_t)q_len, "causal", &c);
        for (int b = 0; b < SEQS; b++)
            c.cu_q[b + 1] = c.cu_q[b] + q_len;
        c.n_q = (size_t)c.cu_q[SEQS] * c.n_q_heads * DIM;
        float *q = numbers(7, c.n_q + 1), *out = malloc(c.n_q * sizeof(float) + 4);
        float *alone = malloc(c.n_q * sizeof(float) + 4), *lse = malloc(c.n_q / 4 + 4);
        assert_true(q && out && alone && lse);
        free(c.q), free(c.out), free(c.alone), free(c.lse);
        c.q = q, c.out = out, c.alone = alone, c.lse = lse;
        c.problem.q.data = q;
        c.problem.q.n_elements = c.n_q;
        c.result.out = out;
        c.result.lse = lse;
        rapt_easy_options options = {.struct_size = sizeof options, .max_levels = 2};
        attend(&c, &options, "decode and prefill", q_len ? 2 : 1, q_len ? 2 : 0);
        finish(&c);
    }
}

static void heads(void **state)
{
    (void)state;
    static const uint32_t groups[] = {1, 2, 4};
    for (int i = 0; i < 3; i++) {
        struct shared_case c;
        make(60, "causal", &c);
        c.problem.n_kv_heads = 4 / groups[i];
        c.problem.n_pool_pages = N_POOL;
        size_t n_kv = (size_t)N_POOL * PAGE * c.problem.n_kv_heads * DIM;
        free(c.k), free(c.v);
        c.k = numbers(61, n_kv), c.v = numbers(62, n_kv);
        assert_true(c.k && c.v);
        c.problem.k = (rapt_array){.data = c.k, .n_elements = n_kv};
        c.problem.v = (rapt_array){.data = c.v, .n_elements = n_kv};
        rapt_easy_options options = {.struct_size = sizeof options, .max_levels = 2};
        attend(&c, &options, "heads", 2, 1);
        finish(&c);
    }
}

static void refuse(const struct shared_case *c, const rapt_problem *problem, rapt_status want,
                   const char *word)
{
    rapt_easy_options options = {.struct_size = sizeof options, .share_prefixes = 1};
    assert_int_equal(rapt_easy_attention(easy, problem, &options, &c->result), want);
    if (!strstr(rapt_last_error(), word))
        fprintf(stderr, "'%s' does not say '%s'\n", rapt_last_error(), word);
    assert_non_null(strstr(rapt_last_error(), word));
}

static void what_it_does_not_do(void **state)
{
    (void)state;
    struct shared_case c;
    make(70, "causal", &c);
    rapt_problem p = c.problem;
    p.unnormalised = 1;
    refuse(&c, &p, RAPT_ERROR_ARGUMENT, "UNNORMALISED");
    p = c.problem;
    p.out_type = RAPT_TYPE_F16;
    refuse(&c, &p, RAPT_ERROR_ARGUMENT, "out_type");
    p = c.problem;
    c.result.max_logit = c.lse;
    refuse(&c, &p, RAPT_ERROR_ARGUMENT, "MAX_LOGIT");
    c.result.max_logit = NULL;
    p.page_indptr = p.page_indices = p.last_page_len = NULL;
    p.page_size = 0;
    p.n_pool_pages = 0;
    int32_t cu_kv[SEQS + 1] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
    p.cu_kv = cu_kv;
    refuse(&c, &p, RAPT_ERROR_ARGUMENT, "share_prefixes");
    finish(&c);
}

int main(void)
{
    int code = open_easy(NULL, &easy);
    if (code)
        return code;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_depths),
        cmocka_unit_test(masks_of_every_closed_form),
        cmocka_unit_test(everything_a_step_brings),
        cmocka_unit_test(every_kind_of_cache),
        cmocka_unit_test(decode_and_prefill),
        cmocka_unit_test(heads),
        cmocka_unit_test(what_it_does_not_do),
    };
    int failed = cmocka_run_group_tests_name("cascade", tests, NULL, NULL);
    rapt_easy_destroy(&easy);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
