/* SPDX-License-Identifier: Apache-2.0 */
/* Pipelines and descriptor sets: limits that are in the way are named, sets run out as an error,
 * failures leave nothing behind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <rapt/attention.h>

#include "device.h"
#include "kernel_table.h"
#include "pipeline.h"
#include "skip.h"

static rapt_device *device;
static uint32_t allocations_left, n_live;

static void *counted_alloc(void *user, size_t n_bytes)
{
    (void)user;
    if (allocations_left == 0)
        return NULL;
    allocations_left--;
    n_live++;
    return malloc(n_bytes);
}

static void counted_free(void *user, void *memory)
{
    (void)user;
    n_live -= memory != NULL;
    free(memory);
}

/* The merge kernel of a plain problem: it exists on every device and compiles fast. */
static struct rapt_kernel_choice merge_choice(void)
{
    struct rapt_select_request request = {.n_q_heads = 4,
                                          .n_kv_heads = 2,
                                          .head_dim = 32,
                                          .head_dim_v = 32,
                                          .q_type = RAPT_TYPE_F32,
                                          .kv_type = RAPT_TYPE_F32,
                                          .out_type = RAPT_TYPE_F32};
    struct rapt_selection selection;
    rapt_status status = rapt_select(&device->caps, &request, &selection);
    if (status != RAPT_OK)
        fprintf(stderr, "rapt_select: %s\n", rapt_last_error());
    assert_int_equal(status, RAPT_OK);
    assert_true(selection.merge.kernel >= 0);
    return selection.merge;
}

static uint32_t n_bindings(int kernel)
{
    uint32_t n = 0;
    for (uint32_t bits = rapt_kernel_bindings(kernel); bits; bits &= bits - 1)
        n++;
    return n;
}

static int open_device(void **state)
{
    static const rapt_allocator allocator = {NULL, counted_alloc, counted_free};
    (void)state;
    allocations_left = 10000;
    rapt_device_params params = {
        .struct_size = sizeof params, .allocator = &allocator, .disable = RAPT_FEATURE_CPU_ROWS};
    assert_int_equal(rapt_device_create(&params, &device), RAPT_OK);
    return 0;
}

static int close_device(void **state)
{
    (void)state;
    rapt_device_destroy(&device);
    assert_int_equal(n_live, 0);
    return 0;
}

static void expect_unsupported(const struct rapt_kernel_choice *choice, const char *needed,
                               const char *limit)
{
    struct rapt_pipeline pipeline;
    assert_int_equal(rapt_pipeline_create(device, choice, NULL, &pipeline), RAPT_ERROR_UNSUPPORTED);
    assert_null(pipeline.pipeline);
    assert_non_null(strstr(rapt_last_error(), needed));
    assert_non_null(strstr(rapt_last_error(), limit));
}

static void test_limits(void **state)
{
    (void)state;
    const rapt_caps real = device->caps;
    struct rapt_kernel_choice choice = merge_choice();
    char needed[64];
    snprintf(needed, sizeof needed, "binds %u", (unsigned)n_bindings(choice.kernel));
    if (n_bindings(choice.kernel)) {
        device->caps.max_storage_buffers = n_bindings(choice.kernel) - 1;
        snprintf(needed, sizeof needed, "binds %u", (unsigned)n_bindings(choice.kernel));
        expect_unsupported(&choice, needed, "storage buffers");
        device->caps = real;
    }
    device->caps.max_push_constants = 64;
    expect_unsupported(&choice, "128", "64");
    device->caps = real;
    device->caps.max_shared_memory = 12345;
    choice.shared_bytes = 12346;
    expect_unsupported(&choice, "12346", "12345");
    choice.shared_bytes = 0;
    device->caps.max_workgroup_size[0] = choice.workgroup_size - 1;
    expect_unsupported(&choice, "workgroups", real.device_name);
    device->caps = real;

    struct rapt_pipeline pipeline;
    choice.kernel = RAPT_N_KERNELS;
    assert_int_equal(rapt_pipeline_create(device, &choice, NULL, &pipeline), RAPT_ERROR_ABSENT);
    choice.kernel = -1;
    assert_int_equal(rapt_pipeline_create(device, &choice, NULL, &pipeline), RAPT_ERROR_ABSENT);
}

/* Too few push descriptors: sets are used instead. */
static void test_push_descriptors(void **state)
{
    (void)state;
    const rapt_caps real = device->caps;
    struct rapt_kernel_choice choice = merge_choice();
    struct rapt_pipeline pipeline;
    assert_int_equal(rapt_pipeline_create(device, &choice, "test", &pipeline), RAPT_OK);
    assert_int_equal(pipeline.push, n_bindings(choice.kernel) > 0 &&
                                        (real.features & RAPT_FEATURE_PUSH_DESCRIPTOR) != 0);
    rapt_pipeline_finish(device, &pipeline);
    assert_null(pipeline.pipeline);
    device->caps.max_push_descriptors = 1;
    assert_int_equal(rapt_pipeline_create(device, &choice, "test", &pipeline), RAPT_OK);
    assert_int_equal(pipeline.push, 0);
    rapt_pipeline_finish(device, &pipeline);
    device->caps = real;
}

static void test_sets(void **state)
{
    (void)state;
    const rapt_caps real = device->caps;
    device->caps.features &= ~RAPT_FEATURE_PUSH_DESCRIPTOR;
    struct rapt_kernel_choice choice = merge_choice();
    struct rapt_pipeline with = {0}, without = {0};
    struct rapt_pipeline *pipelines[2] = {&without, &with};
    struct rapt_sets sets;
    assert_int_equal(rapt_pipeline_create(device, &choice, "test", &with), RAPT_OK);
    const uint32_t live = n_live;

    /* 100 sets are more than one allocation call takes */
    assert_int_equal(rapt_sets_create(device, pipelines, 2, 3, 100, &sets), RAPT_OK);
    if (with.bindings) {
        for (uint32_t s = 0; s < 3; s++)
            assert_int_equal(rapt_sets_left(&sets, s, 1), 100);
        for (uint32_t i = 0; i < 3 * 2 * 100; i++)
            assert_int_equal(sets.sets[i] != VK_NULL_HANDLE, i / 100 % 2 == 1);
        sets.n_used[1 * 2 + 1] = 99;
        assert_int_equal(rapt_sets_left(&sets, 0, 1), 100);
        assert_int_equal(rapt_sets_left(&sets, 1, 1), 1);
        sets.n_used[1 * 2 + 1] = 100;
        assert_int_equal(rapt_sets_left(&sets, 1, 1), 0);
        rapt_sets_reset(&sets, 1);
        assert_int_equal(rapt_sets_left(&sets, 1, 1), 100);
    }
    assert_int_equal(rapt_sets_left(&sets, 0, 0), UINT32_MAX);
    assert_int_equal(rapt_sets_left(NULL, 0, 0), UINT32_MAX);
    rapt_sets_finish(device, &sets);

    for (uint32_t budget = 0; budget < 2; budget++) {
        allocations_left = budget;
        rapt_status status = rapt_sets_create(device, pipelines, 2, 3, 4, &sets);
        assert_int_equal(status, with.bindings ? RAPT_ERROR_HOST_MEMORY : RAPT_OK);
        assert_null(sets.pool);
        assert_int_equal(n_live, live);
    }
    allocations_left = 10000;
    rapt_pipeline_finish(device, &with);
    device->caps = real;
}

/* An internal error ends a build with debug_abort on the spot. */
#if defined(RAPT_DEBUG_ABORT)
#define ASSERT_INTERNAL(call) ((void)0)
#else
#define ASSERT_INTERNAL(call) assert_int_equal((call), RAPT_ERROR_INTERNAL)
#endif

static void test_bindings(void **state)
{
    (void)state;
    const rapt_caps real = device->caps;
    struct rapt_pipeline pipeline = {.kernel = merge_choice().kernel,
                                     .bindings = 1u << RAPT_BIND_K | 1u << RAPT_BIND_OUT};
    struct rapt_bindings bindings = {{{0}}};
    device->caps.max_storage_buffer_range = 1 << 20;
    device->caps.storage_buffer_alignment = 64;
    ASSERT_INTERNAL(rapt_bindings_check(device, &pipeline, &bindings));
    bindings.fallback = (rapt_buffer){(VkBuffer)(uintptr_t)16, 0, 64};
    assert_int_equal(rapt_bindings_check(device, &pipeline, &bindings), RAPT_OK);
    bindings.buffers[RAPT_BIND_K] = (rapt_buffer){(VkBuffer)(uintptr_t)16, 128, 1 << 20};
    assert_int_equal(rapt_bindings_check(device, &pipeline, &bindings), RAPT_OK);
    bindings.buffers[RAPT_BIND_K].size++;
    assert_int_equal(rapt_bindings_check(device, &pipeline, &bindings), RAPT_ERROR_UNSUPPORTED);
    assert_non_null(strstr(rapt_last_error(), "k has 1048577 bytes"));
    assert_non_null(strstr(rapt_last_error(), "maxStorageBufferRange"));
    bindings.buffers[RAPT_BIND_K].size = 64;
    bindings.buffers[RAPT_BIND_K].offset = 4;
    ASSERT_INTERNAL(rapt_bindings_check(device, &pipeline, &bindings));
    /* By address, what the kernel does not bind may be as large as it likes. */
    pipeline.bindings = 1u << RAPT_BIND_OUT;
    bindings.buffers[RAPT_BIND_K].size = 1ull << 40;
    assert_int_equal(rapt_bindings_check(device, &pipeline, &bindings), RAPT_OK);
    device->caps = real;
}

int main(void)
{
    rapt_device *probe = NULL;
    if (rapt_device_create(NULL, &probe) == RAPT_ERROR_NO_DEVICE)
        return skip_no_device(rapt_last_error());
    rapt_device_destroy(&probe);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_push_descriptors),
        cmocka_unit_test(test_sets),
        cmocka_unit_test(test_bindings),
    };
    return cmocka_run_group_tests_name("pipeline", tests, open_device, close_device);
}
