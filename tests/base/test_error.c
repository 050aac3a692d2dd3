/* SPDX-License-Identifier: Apache-2.0 */
#include "error.h"
#include "fail_alloc.h"
#include "platform.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void last_error_is_the_line(void **state)
{
    (void)state;
    assert_int_equal(rapt_fail(RAPT_ERROR_SHAPE, "k is %d, q is %u", -3, 7u), RAPT_ERROR_SHAPE);
    assert_string_equal(rapt_last_error(), "k is -3, q is 7");
    rapt_fail(RAPT_ERROR_ARGUMENT, "wrapped: %s", rapt_last_error());
    assert_string_equal(rapt_last_error(), "wrapped: k is -3, q is 7");
}

static void long_lines_are_cut(void **state)
{
    (void)state;
    char text[2000];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = 0;
    rapt_fail(RAPT_ERROR_ARGUMENT, "%s", text);
    assert_in_range(strlen(rapt_last_error()), 200, sizeof text - 2);
}

#define N_THREADS 8
static atomic_int n_wrong;

static void fail_often(void *user, uint32_t i)
{
    (void)user;
    char want[64];
    for (int n = 0; n < 2000; n++) {
        snprintf(want, sizeof want, "thread %u, call %d", i, n);
        rapt_fail(RAPT_ERROR_ARGUMENT, "thread %u, call %d", i, n);
        if (strcmp(rapt_last_error(), want) != 0)
            atomic_fetch_add(&n_wrong, 1);
    }
}

static void last_error_is_the_threads_own(void **state)
{
    (void)state;
    rapt_parallel(N_THREADS, N_THREADS, fail_often, NULL);
    assert_int_equal(atomic_load(&n_wrong), 0);
}

static atomic_int seen[1000];

static void count(void *user, uint32_t i)
{
    (void)user;
    atomic_fetch_add(&seen[i], 1);
}

static void parallel_runs_each_once(void **state)
{
    (void)state;
    for (uint32_t n_threads = 0; n_threads < 100; n_threads += 33) {
        memset(seen, 0, sizeof seen);
        rapt_parallel(n_threads, 999, count, NULL);
        for (int i = 0; i < 1000; i++)
            assert_int_equal(seen[i], i < 999);
    }
    rapt_parallel(4, 0, count, NULL);
}

static void statuses_have_names_and_groups(void **state)
{
    (void)state;
    const struct {
        rapt_status status;
        rapt_status_group_id group;
    } all[] = {{RAPT_OK, RAPT_STATUS_GROUP_OK},
               {RAPT_ERROR_ARGUMENT, RAPT_STATUS_GROUP_ARGUMENT},
               {RAPT_ERROR_SHAPE, RAPT_STATUS_GROUP_ARGUMENT},
               {RAPT_ERROR_CAPACITY, RAPT_STATUS_GROUP_ARGUMENT},
               {RAPT_ERROR_BUSY, RAPT_STATUS_GROUP_ARGUMENT},
               {RAPT_ERROR_SYNTAX, RAPT_STATUS_GROUP_ARGUMENT},
               {RAPT_ERROR_NO_DEVICE, RAPT_STATUS_GROUP_CAPABILITY},
               {RAPT_ERROR_UNSUPPORTED, RAPT_STATUS_GROUP_CAPABILITY},
               {RAPT_ERROR_ABSENT, RAPT_STATUS_GROUP_CAPABILITY},
               {RAPT_ERROR_HOST_MEMORY, RAPT_STATUS_GROUP_MEMORY},
               {RAPT_ERROR_DEVICE_MEMORY, RAPT_STATUS_GROUP_MEMORY},
               {RAPT_ERROR_PAGES, RAPT_STATUS_GROUP_MEMORY},
               {RAPT_ERROR_DEVICE_LOST, RAPT_STATUS_GROUP_DEVICE},
               {RAPT_ERROR_DEVICE, RAPT_STATUS_GROUP_DEVICE},
               {RAPT_ERROR_IO, RAPT_STATUS_GROUP_DEVICE},
               {RAPT_ERROR_INTERNAL, RAPT_STATUS_GROUP_INTERNAL}};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        assert_int_equal(rapt_status_group(all[i].status), all[i].group);
        assert_string_not_equal(rapt_status_string(all[i].status), "unknown status");
        for (size_t j = 0; j < i; j++)
            assert_string_not_equal(rapt_status_string(all[i].status),
                                    rapt_status_string(all[j].status));
    }
    assert_string_equal(rapt_status_string((rapt_status)-99), "unknown status");
}

static void types_have_names(void **state)
{
    (void)state;
    for (int type = RAPT_TYPE_F32; type <= RAPT_TYPE_Q4_0; type++)
        assert_int_equal(rapt_type_parse(rapt_type_name((rapt_type)type)), type);
    assert_null(rapt_type_name(RAPT_TYPE_DEFAULT));
    assert_null(rapt_type_name((rapt_type)99));
    assert_int_equal(rapt_type_parse("f64"), RAPT_TYPE_DEFAULT);
    assert_int_equal(rapt_type_parse(""), RAPT_TYPE_DEFAULT);
    assert_int_equal(rapt_type_parse(NULL), RAPT_TYPE_DEFAULT);
    assert_int_equal(rapt_type_bytes(RAPT_TYPE_Q4_0), 0);
    char version[32];
    snprintf(version, sizeof version, "%d.%d.%d", RAPT_VERSION_MAJOR, RAPT_VERSION_MINOR,
             RAPT_VERSION_PATCH);
    assert_string_equal(rapt_version(), version);
}

static void memory_comes_zeroed_or_not_at_all(void **state)
{
    (void)state;
    struct fail_alloc counts = {.budget = 2};
    rapt_allocator allocator = fail_allocator(&counts);
    unsigned char *memory = rapt_alloc(&allocator, 10, 10);
    assert_non_null(memory);
    for (int i = 0; i < 100; i++)
        assert_int_equal(memory[i], 0);
    assert_null(rapt_alloc(&allocator, SIZE_MAX / 2, 3)); /* would wrap */
    assert_null(rapt_alloc(NULL, SIZE_MAX, SIZE_MAX));
    assert_int_equal(counts.n_calls, 1);
    void *none = rapt_alloc(&allocator, 0, 8);
    assert_non_null(none);
    assert_null(rapt_alloc(&allocator, 1, 1)); /* the budget is used up */
    rapt_free(&allocator, none);
    rapt_free(&allocator, memory);
    rapt_free(&allocator, NULL);
    assert_int_equal(counts.n_alive, 0);
    memory = rapt_alloc(NULL, 4, 4);
    assert_non_null(memory);
    rapt_free(NULL, memory);
}

struct params {
    size_t struct_size;
    int a, b;
    double c;
};
struct older {
    size_t struct_size;
    int a, b;
};
struct newer {
    struct params known;
    int d[4];
};

static void older_and_newer_callers_are_read(void **state)
{
    (void)state;
    struct params own = {1, 2, 3, 4};
    struct older older = {sizeof older, 5, 6};
    assert_int_equal(rapt_params_read("params", &older, &own, sizeof own), RAPT_OK);
    assert_int_equal(own.struct_size, sizeof own);
    assert_true(own.a == 5 && own.b == 6 && own.c == 0);

    struct newer newer = {.known = {sizeof newer, 7, 8, 9}};
    assert_int_equal(rapt_params_read("params", &newer, &own, sizeof own), RAPT_OK);
    assert_true(own.struct_size == sizeof own && own.a == 7 && own.b == 8 && own.c == 9);
    newer.d[2] = 1;
    own.a = 77;
    assert_int_equal(rapt_params_read("params", &newer, &own, sizeof own), RAPT_ERROR_ARGUMENT);
    assert_int_equal(own.a, 77); /* nothing is written on failure */
    assert_non_null(strstr(rapt_last_error(), "params sets a member at byte"));
}

static void sizes_that_cannot_be_are_refused(void **state)
{
    (void)state;
    struct params own, caller = {.a = 1};
    const size_t sizes[] = {0, 1, sizeof(size_t) - 1, 65537, (size_t)1 << 30, SIZE_MAX};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        caller.struct_size = sizes[i];
        assert_int_equal(rapt_params_read("params", &caller, &own, sizeof own),
                         RAPT_ERROR_ARGUMENT);
        assert_non_null(strstr(rapt_last_error(), "params.struct_size is "));
    }
    assert_int_equal(rapt_params_read("params", NULL, &own, sizeof own), RAPT_ERROR_ARGUMENT);
    assert_string_equal(rapt_last_error(), "params is NULL");
}

static void outputs_fill_what_the_caller_has(void **state)
{
    (void)state;
    const struct params own = {sizeof own, 1, 2, 3};
    struct older older = {sizeof older, -1, -1};
    rapt_params_write(&older, &own, sizeof own);
    assert_true(older.struct_size == sizeof older && older.a == 1 && older.b == 2);
    struct newer newer = {.known = {.struct_size = sizeof newer}, .d = {5, 5, 5, 5}};
    rapt_params_write(&newer, &own, sizeof own);
    assert_true(newer.known.struct_size == sizeof newer && newer.known.c == 3 && newer.d[0] == 5);
    older = (struct older){0, -1, -1};
    rapt_params_write(&older, &own, sizeof own);
    assert_int_equal(older.a, -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(last_error_is_the_line),
        cmocka_unit_test(long_lines_are_cut),
        cmocka_unit_test(last_error_is_the_threads_own),
        cmocka_unit_test(parallel_runs_each_once),
        cmocka_unit_test(statuses_have_names_and_groups),
        cmocka_unit_test(types_have_names),
        cmocka_unit_test(memory_comes_zeroed_or_not_at_all),
        cmocka_unit_test(older_and_newer_callers_are_read),
        cmocka_unit_test(sizes_that_cannot_be_are_refused),
        cmocka_unit_test(outputs_fill_what_the_caller_has),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
