/* SPDX-License-Identifier: Apache-2.0 */
/* K and V beyond what a descriptor of the device binds: the easy tier's jobs take them in pieces.
 * The device's limit is lowered for it. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <rapt/easy.h>

#include "device.h"
#include "job.h"
#include "open_easy.h"
#include "random.h"

enum { N_SEQS = 3, Q_HEADS = 4, KV_HEADS = 2, DIM = 32, N_Q = 6, N_KV = 3700, PAGE = 16 };
#define RANGE (200u << 10) /* K of f16 has 462 KiB */

static rapt_easy *easy;
static const int32_t cu_q[N_SEQS + 1] = {0, 4, 5, 6}, cu_kv[N_SEQS + 1] = {0, 700, 3699, 3700};
static float *q, *k, *v, out[N_Q * Q_HEADS * DIM];
static rapt_mask *causal;

static void expect_ok(rapt_status status)
{
    if (status != RAPT_OK)
        fprintf(stderr, "%s\n", rapt_last_error());
    assert_int_equal(status, RAPT_OK);
}

static void lower_limit(uint64_t bytes)
{
    rapt_easy_device(easy)->caps.max_storage_buffer_range = bytes;
}

static rapt_problem a_problem(void)
{
    return (rapt_problem){.struct_size = sizeof(rapt_problem),
                          .n_seqs = N_SEQS,
                          .n_q_heads = Q_HEADS,
                          .n_kv_heads = KV_HEADS,
                          .head_dim = DIM,
                          .q = {.data = q, .n_elements = N_Q * Q_HEADS * DIM},
                          .k = {.data = k, .n_elements = N_KV * KV_HEADS * DIM},
                          .v = {.data = v, .n_elements = N_KV * KV_HEADS * DIM},
                          .kv_type = RAPT_TYPE_F16,
                          .cu_q = cu_q,
                          .cu_kv = cu_kv,
                          .mask = causal};
}

static void run(const char *what, const rapt_problem *problem, const rapt_easy_options *options,
                uint32_t n_pieces)
{
    rapt_result result = {.struct_size = sizeof result, .out = out};
    rapt_error error = {.struct_size = sizeof error};
    rapt_easy_job *job = NULL;
    printf("%s\n", what);
    for (size_t i = 0; i < sizeof out / sizeof out[0]; i++)
        out[i] = NAN;
    expect_ok(rapt_easy_job_create(easy, problem, options, &result, &job));
    assert_int_equal(job->plan_params.n_kv_segments, n_pieces);
    expect_ok(rapt_easy_job_run(job, NULL));
    expect_ok(rapt_easy_job_read(job, &result));
    rapt_easy_job_destroy(&job);
    expect_ok(rapt_reference_check(problem, NULL, &result, RAPT_BOUND_PORTABLE, &error));
    if (!error.ok)
        fprintf(stderr, "e %g of %g, %d NaN\n", error.e, error.bound_e, error.n_nan);
    assert_true(error.ok);
}

static void pools(void **state)
{
    (void)state;
    rapt_easy_options options = {.struct_size = sizeof options, .path = RAPT_PATH_PORTABLE};
    rapt_problem problem = a_problem();
    problem.page_size = PAGE;
    problem.page_seed = 7;
    run("pages, shuffled", &problem, &options, 4);
    problem.kv_type = RAPT_TYPE_INT8;
    run("pages of int8", &problem, &options, 2);
    problem = a_problem();
    problem.page_size = PAGE;
    options.kv_one_buffer = 1;
    options.k_pool = options.v_pool = (rapt_layout){.head_stride = DIM,
                                                    .token_stride = KV_HEADS * DIM,
                                                    .outer_stride = 2 * PAGE * KV_HEADS * DIM};
    lower_limit(2 * RANGE); /* it is twice as far from page to page */
    run("pages of K beside pages of V", &problem, &options, 4);
    lower_limit(RANGE);
}

static void packed(void **state)
{
    (void)state;
    rapt_easy_options options = {.struct_size = sizeof options, .path = RAPT_PATH_PORTABLE};
    rapt_problem problem = a_problem();
    run("packed", &problem, &options, 4);
    /* heads before tokens: one sequence of all keys */
    static const int32_t one_q[2] = {0, 4}, one_kv[2] = {0, N_KV};
    problem.n_seqs = 1;
    problem.cu_q = one_q;
    problem.cu_kv = one_kv;
    problem.k.layout = problem.v.layout =
        (rapt_layout){.token_stride = DIM, .head_stride = N_KV * DIM};
    run("packed, heads first", &problem, &options, 4);
}

/* Appending binds K and V whatever kernels read them. */
static void append(int from, int step)
{
    const rapt_rope rope = {.struct_size = sizeof rope, .pairing = RAPT_ROPE_NEOX};
    for (int i = from; i < 4; i += step) {
        rapt_easy_options options = {.struct_size = sizeof options,
                                     .plan_flags = i < 2 ? RAPT_PLAN_APPEND : 0};
        rapt_problem problem = a_problem();
        problem.rope = i < 2 ? NULL : &rope;
        problem.page_size = i % 2 ? PAGE : 0;
        run(i < 2 ? "appended" : "rotated", &problem, &options, 4);
    }
}

static void appended(void **state)
{
    (void)state;
    append(0, 3);
}

static void appended_for_any_row(void **state)
{
    rapt_easy *narrow = easy;
    (void)state;
    expect_ok(rapt_easy_create(NULL, &easy));
    lower_limit(RANGE);
    append(1, 1);
    rapt_easy_destroy(&easy);
    easy = narrow;
}

/* A pool that is there already; the second sequence begins with the pages of the first. */
static void ready_pools(void **state)
{
    (void)state;
    enum { N_PAGES = N_KV / PAGE, SHARED = 150 };
    static uint32_t indices[2 * N_PAGES];
    const int32_t three_each[3] = {0, 3, 6};
    const uint32_t indptr[3] = {0, 200, 200 + SHARED + N_PAGES - 200}, last_len[2] = {PAGE, 5};
    for (uint32_t i = 0; i < indptr[2]; i++) {
        uint32_t page = i < 200 ? i : i < 200 + SHARED ? i - 200 : i - SHARED;
        indices[i] = page * 37 % N_PAGES; /* from all pieces */
    }
    rapt_problem problem = a_problem();
    problem.n_seqs = 2;
    problem.cu_q = three_each;
    problem.cu_kv = NULL;
    problem.k.n_elements = problem.v.n_elements = N_PAGES * PAGE * KV_HEADS * DIM;
    problem.page_size = PAGE;
    problem.n_pool_pages = N_PAGES;
    problem.page_indptr = indptr;
    problem.page_indices = indices;
    problem.last_page_len = last_len;
    rapt_easy_options options = {.struct_size = sizeof options, .path = RAPT_PATH_PORTABLE};
    run("a ready pool", &problem, &options, 4);
    options.share_prefixes = 1;
    run("with a prefix that is shared", &problem, &options, 4);
}

/* What one descriptor binds stays as it is; what four do not is refused with a reason. */
static void otherwise(void **state)
{
    (void)state;
    rapt_easy_options options = {.struct_size = sizeof options, .path = RAPT_PATH_PORTABLE};
    rapt_problem problem = a_problem();
    rapt_easy_job *job = NULL;
    rapt_result result = {.struct_size = sizeof result, .out = out};
    problem.page_size = PAGE;
    lower_limit(8 * RANGE);
    run("within the limit", &problem, &options, 0);
    lower_limit(100u << 10);
    rapt_status status = rapt_easy_job_create(easy, &problem, &options, &result, &job);
    if (status == RAPT_OK)
        status = rapt_easy_job_run(job, NULL);
    rapt_easy_job_destroy(&job);
    lower_limit(RANGE);
    assert_int_equal(status, RAPT_ERROR_UNSUPPORTED);
    assert_non_null(strstr(rapt_last_error(), "maxStorageBufferRange"));
}

static float *numbers(uint64_t seed, size_t n)
{
    float *x = malloc(n * sizeof *x);
    for (size_t i = 0; x && i < n; i++)
        x[i] = random_normal(&seed);
    return x;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pools),
        cmocka_unit_test(packed),
        cmocka_unit_test(ready_pools),
        cmocka_unit_test(appended),
        cmocka_unit_test(appended_for_any_row),
        cmocka_unit_test(otherwise),
    };
    /* the CPU driver's own rows go by address */
    const rapt_easy_params by_binding = {.struct_size = sizeof by_binding,
                                         .disable = RAPT_FEATURE_CPU_ROWS};
    int unopened = open_easy(&by_binding, &easy);
    if (unopened)
        return unopened;
    q = numbers(1, N_Q * Q_HEADS * DIM);
    k = numbers(2, N_KV * KV_HEADS * DIM);
    v = numbers(3, N_KV * KV_HEADS * DIM);
    if (!q || !k || !v || rapt_mask_parse(NULL, "causal", NULL, &causal) != RAPT_OK)
        return EXIT_FAILURE;
    lower_limit(RANGE);
    int failed = cmocka_run_group_tests_name("easy pieces", tests, NULL, NULL);
    free(q);
    free(k);
    free(v);
    rapt_mask_destroy(&causal);
    rapt_easy_destroy(&easy);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
