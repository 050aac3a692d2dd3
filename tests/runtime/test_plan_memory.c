/* SPDX-License-Identifier: Apache-2.0 */

/* Plans and mergers when memory runs out, what they give back, and the merger's refusals. */

#include "fail_alloc.h"
#include "fake_device.h"
#include "plan.h"
#include "snapshot.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static struct rapt_device device;
static rapt_caps gpu, cpu;

static void plans_survive_want_of_memory(void **state)
{
    (void)state;
    const rapt_caps *all[] = {&gpu, &cpu};
    for (int i = 0; i < 2; i++) {
        rapt_caps caps = *all[i];
        caps.features &= ~RAPT_FEATURE_PUSH_DESCRIPTOR; /* so that sets are made */
        rapt_plan_params params = {
            .struct_size = sizeof params, .n_q_heads = 8, .n_kv_heads = 2, .head_dim = 64};
        rapt_status status = RAPT_ERROR_HOST_MEMORY;
        for (long budget = 0; status != RAPT_OK; budget++) {
            struct fail_alloc memory = {.budget = budget};
            rapt_allocator allocator = fail_allocator(&memory);
            rapt_plan *plan = NULL;
            fake_device_init(&caps, &device);
            device.allocator = &allocator;
            status = rapt_plan_create(&device, &params, &plan);
            assert_true(budget < 50);
            if (status == RAPT_OK) {
                assert_true(budget >= 4);
                rapt_plan_destroy(&plan);
            } else {
                assert_int_equal(status, RAPT_ERROR_HOST_MEMORY);
            }
            assert_null(plan);
            assert_int_equal(memory.n_alive, 0);
            assert_int_equal(fake.n_made, fake.n_gone);
        }
    }
}

static void steps_allocate_nothing(void **state)
{
    (void)state;
    struct fail_alloc memory = {.budget = -1};
    rapt_allocator allocator = fail_allocator(&memory);
    rapt_plan_params params = {.struct_size = sizeof params,
                               .n_q_heads = 8,
                               .n_kv_heads = 2,
                               .head_dim = 64,
                               .max_total_q = 64};
    rapt_plan *plan = NULL;
    rapt_plan_sizes_info sizes = {.struct_size = sizeof sizes};
    fake_device_init(&cpu, &device);
    device.allocator = &allocator;
    assert_int_equal(rapt_plan_create(&device, &params, &plan), RAPT_OK);
    rapt_plan_sizes(plan, &sizes);
    void *tables = calloc(sizes.table_bytes, 1);
    rapt_buffer big = {(VkBuffer)(uintptr_t)3, 0, 1u << 30};
    rapt_plan_memory bound = {
        .struct_size = sizeof bound, .tables = big, .tables_mapped = tables, .workspace = big};
    assert_int_equal(rapt_plan_bind(plan, &bound), RAPT_OK);
    int32_t cu_q[2] = {0, 50}, cu_kv[2] = {0, 100000};
    rapt_step_params step = {.struct_size = sizeof step, .n_seqs = 1, .cu_q = cu_q, .cu_kv = cu_kv};
    rapt_step out = {.struct_size = sizeof out};
    rapt_record_params record = {.struct_size = sizeof record,
                                 .command_buffer = (VkCommandBuffer)(uintptr_t)1,
                                 .step = &out,
                                 .q = big,
                                 .k = big,
                                 .v = big,
                                 .out = big};
    memory.budget = 0;
    long n_calls = memory.n_calls;
    assert_int_equal(rapt_plan_prepare(plan, &step, &out), RAPT_OK);
    assert_int_equal(rapt_plan_record(plan, &record), RAPT_OK);
    assert_int_equal(memory.n_calls, n_calls);
    rapt_plan_destroy(&plan);
    free(tables);
    assert_int_equal(memory.n_alive, 0);
}

/* Attention by address reaches everything, but the merge binds the workspace. */
static void workspaces_can_be_bound(void **state)
{
    (void)state;
    static const char *const drivers[] = {"lavapipe-25.0.txt", "lavapipe-26.1.txt", "navi31.txt"};
    for (int i = 0; i < 3; i++) {
        rapt_caps caps;
        rapt_plan *plan = NULL;
        assert_true(snapshot_read(RAPT_TEST_DEVICES, drivers[i], &caps));
        caps.max_storage_buffer_range = 128u << 20;
        rapt_plan_params params = {.struct_size = sizeof params,
                                   .n_q_heads = 32,
                                   .n_kv_heads = 4,
                                   .head_dim = 512,
                                   .max_total_q = 64,
                                   .max_kv_len = 4096,
                                   .n_splits = 64};
        rapt_plan_sizes_info sizes = {.struct_size = sizeof sizes};
        fake_device_init(&caps, &device);
        assert_int_equal(rapt_plan_create(&device, &params, &plan), RAPT_OK);
        rapt_plan_sizes(plan, &sizes);
        assert_true(sizes.workspace_bytes > 64u << 20);
        assert_true(sizes.workspace_bytes <= caps.max_storage_buffer_range);
        rapt_plan_destroy(&plan);
    }
}

static void bad_binds_are_refused(void **state)
{
    (void)state;
    rapt_plan_params params = {
        .struct_size = sizeof params, .n_q_heads = 8, .n_kv_heads = 2, .head_dim = 64};
    rapt_plan *plan = NULL;
    rapt_plan_sizes_info sizes = {.struct_size = sizeof sizes};
    fake_device_init(&gpu, &device);
    assert_int_equal(rapt_plan_create(&device, &params, &plan), RAPT_OK);
    rapt_plan_sizes(plan, &sizes);
    uint32_t word = 0;
    const rapt_plan_memory sound = {
        .struct_size = sizeof sound,
        .tables = {(VkBuffer)(uintptr_t)1, 0, sizes.table_bytes},
        .tables_mapped = &word,
        .workspace = {(VkBuffer)(uintptr_t)2, 0, sizes.workspace_bytes}};
    rapt_plan_memory memory = sound;
    memory.tables.size--;
    assert_int_equal(rapt_plan_bind(plan, &memory), RAPT_ERROR_SHAPE);
    assert_non_null(strstr(rapt_last_error(), "tables.size"));
    memory = sound;
    memory.workspace.offset = sizes.workspace_alignment / 2;
    assert_int_equal(rapt_plan_bind(plan, &memory), RAPT_ERROR_ARGUMENT);
    assert_non_null(strstr(rapt_last_error(), "workspace.offset"));
    memory = sound;
    memory.tables_mapped = NULL;
    assert_int_equal(rapt_plan_bind(plan, &memory), RAPT_ERROR_ARGUMENT);
    memory = sound;
    memory.workspace.buffer = NULL;
    assert_int_equal(rapt_plan_bind(plan, &memory), RAPT_ERROR_ARGUMENT);
    rapt_step_params step = {.struct_size = sizeof step, .n_seqs = 1};
    rapt_step out = {.struct_size = sizeof out};
    assert_int_equal(rapt_plan_prepare(plan, &step, &out), RAPT_ERROR_ARGUMENT);
    assert_non_null(strstr(rapt_last_error(), "rapt_plan_bind"));
    rapt_plan_destroy(&plan);
}

static void merger_numbers(void **state)
{
    (void)state;
    fake_device_init(&gpu, &device);
    rapt_merger *merger = NULL;
    assert_int_equal(rapt_merger_create(&device, 0, &merger), RAPT_ERROR_ARGUMENT);
    assert_int_equal(rapt_merger_create(&device, 2, &merger), RAPT_OK);
    rapt_buffer big = {(VkBuffer)(uintptr_t)3, 64, 1u << 20}, none = {0};
    const rapt_merge_params sound = {.struct_size = sizeof sound,
                                     .command_buffer = (VkCommandBuffer)(uintptr_t)1,
                                     .n_parts = 3,
                                     .n_rows = 40,
                                     .n_q_heads = 8,
                                     .head_dim_v = 64,
                                     .parts = big,
                                     .parts_lse = big,
                                     .out = big};
#define REFUSE(want, word, ...)                                                                    \
    do {                                                                                           \
        rapt_merge_params p = sound;                                                               \
        __VA_ARGS__;                                                                               \
        assert_int_equal(rapt_merger_record(merger, &p), want);                                    \
        assert_non_null(strstr(rapt_last_error(), word));                                          \
        assert_int_equal(fake.n_commands, 0);                                                      \
    } while (0)
    REFUSE(RAPT_ERROR_ARGUMENT, "command_buffer", p.command_buffer = NULL);
    REFUSE(RAPT_ERROR_ARGUMENT, "n_parts", p.n_parts = 0);
    REFUSE(RAPT_ERROR_ARGUMENT, "head_dim_v", p.head_dim_v = 0);
    REFUSE(RAPT_ERROR_SHAPE, "n_rows", p.n_q_heads = 7);
    REFUSE(RAPT_ERROR_SHAPE, "2^32", p.n_parts = 1u << 30);
    REFUSE(RAPT_ERROR_ARGUMENT, "out.buffer", p.out = none);
    REFUSE(RAPT_ERROR_SHAPE, "parts.size", p.parts.size = 3 * 40 * 64 * 4 - 1);
    REFUSE(RAPT_ERROR_ARGUMENT, "parts_lse.offset", p.parts_lse.offset = 2);
    REFUSE(RAPT_ERROR_ARGUMENT, "struct_size", p.struct_size = 0);
    for (int i = 0; i < 2; i++)
        assert_int_equal(rapt_merger_record(merger, &sound), RAPT_OK);
    assert_int_equal(fake.commands[0].push.count, 40);
    assert_int_equal(fake.commands[0].push.rapt_combine_n_parts, 3);
    assert_int_equal(rapt_merger_record(merger, &sound), RAPT_ERROR_CAPACITY);
    rapt_merger_reset(merger);
    assert_int_equal(rapt_merger_record(merger, &sound), RAPT_OK);
    rapt_merge_params no_rows = sound;
    no_rows.n_rows = 0;
    uint32_t n = fake.n_commands;
    assert_int_equal(rapt_merger_record(merger, &no_rows), RAPT_OK);
    assert_int_equal(fake.n_commands, n);
    rapt_merger_destroy(&merger);
    assert_null(merger);
    assert_int_equal(fake.n_made, fake.n_gone);
}

int main(void)
{
    if (!snapshot_read(RAPT_TEST_DEVICES, "navi31.txt", &gpu) ||
        !snapshot_read(RAPT_TEST_DEVICES, "lavapipe-26.1.txt", &cpu)) {
        fprintf(stderr, "cannot read the snapshots in %s\n", RAPT_TEST_DEVICES);
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plans_survive_want_of_memory),
        cmocka_unit_test(steps_allocate_nothing),
        cmocka_unit_test(workspaces_can_be_bound),
        cmocka_unit_test(bad_binds_are_refused),
        cmocka_unit_test(merger_numbers),
    };
    return cmocka_run_group_tests_name("plan memory", tests, NULL, NULL);
}
