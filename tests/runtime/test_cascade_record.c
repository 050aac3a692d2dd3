/* SPDX-License-Identifier: Apache-2.0 */

/* Cascades on a device that only takes notes: what is refused and why, what is recorded in which
 * order, what memory running out leaves behind. */

#include <rapt/cascade.h>

#include "fail_alloc.h"
#include "fake_device.h"
#include "plan.h"
#include "snapshot.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "expect.h"

static struct rapt_device device;
static rapt_caps gpu, cpu;

static rapt_plan_params sound_params(void)
{
    return (rapt_plan_params){.struct_size = sizeof(rapt_plan_params),
                              .n_q_heads = 8,
                              .n_kv_heads = 2,
                              .head_dim = 64,
                              .flags = RAPT_PLAN_PAGED | RAPT_PLAN_LSE,
                              .page_size = 16,
                              .max_batch = 4,
                              .max_total_q = 8,
                              .max_kv_len = 4096,
                              .max_pages = 256,
                              .max_records_per_step = 2};
}

/* Four sequences of one query: 60 pages they share, and one of its own for each. */
struct bench {
    rapt_cascade *cascade;
    void *tables;
    int32_t cu_q[5];
    uint32_t indptr[5], indices[244], last[4];
    rapt_step_params step;
    rapt_step out;
    rapt_cascade_info info;
    rapt_record_params record;
};

static void fill_bench(struct bench *b)
{
    for (uint32_t s = 0; s < 4; s++) {
        for (uint32_t i = 0; i < 61; i++)
            b->indices[61 * s + i] = i < 60 ? i : 60 + s;
        b->indptr[s + 1] = 61 * (s + 1);
        b->last[s] = 1 + s;
        b->cu_q[s + 1] = (int32_t)s + 1;
    }
    rapt_buffer big = {(VkBuffer)(uintptr_t)3, 0, 1u << 26};
    b->step = (rapt_step_params){.struct_size = sizeof b->step,
                                 .n_seqs = 4,
                                 .cu_q = b->cu_q,
                                 .page_indptr = b->indptr,
                                 .page_indices = b->indices,
                                 .last_page_len = b->last,
                                 .n_pool_pages = 64};
    b->out.struct_size = sizeof b->out;
    b->info.struct_size = sizeof b->info;
    b->record = (rapt_record_params){.struct_size = sizeof b->record,
                                     .command_buffer = (VkCommandBuffer)(uintptr_t)1,
                                     .step = &b->out,
                                     .q = big,
                                     .k = big,
                                     .v = big,
                                     .out = big,
                                     .lse = big,
                                     .sinks = big};
}

static void open_bench(struct bench *b, const rapt_caps *caps, const rapt_plan_params *plan)
{
    memset(b, 0, sizeof *b);
    fake_device_init(caps, &device);
    rapt_cascade_params params = {.struct_size = sizeof params, .plan = plan};
    assert_int_equal(rapt_cascade_create(&device, &params, &b->cascade), RAPT_OK);
    rapt_plan_sizes_info sizes = {.struct_size = sizeof sizes};
    rapt_cascade_sizes(b->cascade, &sizes);
    b->tables = calloc(sizes.table_bytes, 1);
    assert_non_null(b->tables);
    rapt_plan_memory memory = {
        .struct_size = sizeof memory,
        .tables = {(VkBuffer)(uintptr_t)1, 0, sizes.table_bytes},
        .tables_mapped = b->tables,
        .workspace = {(VkBuffer)(uintptr_t)2, 0, sizes.workspace_bytes - 1},
    };
    expect(rapt_cascade_bind(b->cascade, &memory), RAPT_ERROR_SHAPE, "workspace.size");
    memory.workspace.size++;
    assert_int_equal(rapt_cascade_bind(b->cascade, &memory), RAPT_OK);
    fill_bench(b);
}

static void close_bench(struct bench *b)
{
    rapt_cascade_destroy(&b->cascade);
    assert_null(b->cascade);
    free(b->tables);
    assert_int_equal(fake.n_made, fake.n_gone);
}

static void bad_params(void **state)
{
    (void)state;
    fake_device_init(&gpu, &device);
    rapt_cascade *cascade = NULL;
#define REFUSE(want, word, ...)                                                                    \
    do {                                                                                           \
        rapt_plan_params p = sound_params();                                                       \
        rapt_cascade_params c = {.struct_size = sizeof c, .plan = &p};                             \
        __VA_ARGS__;                                                                               \
        expect(rapt_cascade_create(&device, &c, &cascade), want, word);                            \
        assert_null(cascade);                                                                      \
        assert_int_equal(fake.n_made, fake.n_gone);                                                \
    } while (0)
    REFUSE(RAPT_ERROR_ARGUMENT, "struct_size", c.struct_size = 0);
    REFUSE(RAPT_ERROR_ARGUMENT, "rapt_plan_params", c.plan = NULL);
    REFUSE(RAPT_ERROR_ARGUMENT, "RAPT_PLAN_PAGED", p.flags &= ~(uint32_t)RAPT_PLAN_PAGED);
    REFUSE(RAPT_ERROR_ARGUMENT, "RAPT_PLAN_BIAS", p.flags |= RAPT_PLAN_BIAS);
    REFUSE(RAPT_ERROR_ARGUMENT, "RAPT_PLAN_BLOCKS", p.flags |= RAPT_PLAN_BLOCKS);
    REFUSE(RAPT_ERROR_ARGUMENT, "RAPT_PLAN_MAX_LOGIT", p.flags |= RAPT_PLAN_MAX_LOGIT);
    REFUSE(RAPT_ERROR_ARGUMENT, "RAPT_PLAN_UNNORMALISED", p.flags |= RAPT_PLAN_UNNORMALISED);
    REFUSE(RAPT_ERROR_ARGUMENT, "RAPT_PLAN_APPEND", p.flags |= RAPT_PLAN_APPEND);
    REFUSE(RAPT_ERROR_ARGUMENT, "out_type", p.out_type = RAPT_TYPE_F16);
    REFUSE(RAPT_ERROR_ARGUMENT, "plan.out", p.out.token_stride = 1024);
    REFUSE(RAPT_ERROR_ARGUMENT, "max_levels is 17", c.max_levels = 17);
    REFUSE(RAPT_ERROR_ARGUMENT, "head_dim is 60", p.head_dim = 60);
    REFUSE(RAPT_ERROR_ARGUMENT, "max_batch is 80000", p.max_batch = 20000);
    REFUSE(RAPT_ERROR_ARGUMENT, "the parts of 4000000 query tokens", p.max_total_q = 4000000,
           p.max_kv_len = 64);
    expect(rapt_cascade_create(NULL, NULL, &cascade), RAPT_ERROR_ARGUMENT, "device is NULL");
}

static void bad_steps(void **state)
{
    (void)state;
    struct bench b;
    rapt_plan_params params = sound_params();
    open_bench(&b, &gpu, &params);
    const rapt_step_params sound = b.step;
#define REFUSE_STEP(want, word, ...)                                                               \
    b.step = sound;                                                                                \
    __VA_ARGS__;                                                                                   \
    expect(rapt_cascade_prepare(b.cascade, &b.step, &b.out, &b.info), want, word)
    REFUSE_STEP(RAPT_ERROR_ARGUMENT, "struct_size", b.step.struct_size = 0);
    REFUSE_STEP(RAPT_ERROR_CAPACITY, "max_batch", b.step.n_seqs = 5);
    REFUSE_STEP(RAPT_ERROR_ARGUMENT, "page_indices[60] is 60", b.step.n_pool_pages = 60);
    REFUSE_STEP(RAPT_ERROR_ARGUMENT, "slot is 3", b.step.slot = 3);
    int32_t many[5] = {0, 5, 6, 8, 9};
    REFUSE_STEP(RAPT_ERROR_CAPACITY, "9 query tokens", b.step.cu_q = many);
    REFUSE_STEP(RAPT_ERROR_ARGUMENT, "bias", b.step.bias_row_stride = 1);
    expect(rapt_cascade_prepare(b.cascade, &sound, NULL, NULL), RAPT_ERROR_ARGUMENT, "out_step");
    /* nothing of that is a step */
    expect(rapt_cascade_record(b.cascade, &b.record), RAPT_ERROR_ARGUMENT, "rapt_cascade_prepare");
    b.step = sound;
    assert_int_equal(rapt_cascade_prepare(b.cascade, &b.step, &b.out, &b.info), RAPT_OK);
    assert_int_equal(b.info.n_levels, 2);
    assert_int_equal(b.info.kv_tokens_read, 960 + 1 + 2 + 3 + 4);
    assert_int_equal(b.out.total_q, 8);
    close_bench(&b);
}

static void bad_records(void **state)
{
    (void)state;
    struct bench b;
    rapt_plan_params params = sound_params();
    params.flags |= RAPT_PLAN_SINKS;
    open_bench(&b, &gpu, &params);
    assert_int_equal(rapt_cascade_prepare(b.cascade, &b.step, &b.out, NULL), RAPT_OK);
    const rapt_record_params sound = b.record;
    const rapt_step step = b.out;
#define REFUSE_RECORD(want, word, ...)                                                             \
    b.record = sound;                                                                              \
    b.out = step;                                                                                  \
    __VA_ARGS__;                                                                                   \
    expect(rapt_cascade_record(b.cascade, &b.record), want, word);                                 \
    assert_int_equal(fake.n_commands, 0)
    REFUSE_RECORD(RAPT_ERROR_ARGUMENT, "struct_size", b.record.struct_size = 0);
    REFUSE_RECORD(RAPT_ERROR_ARGUMENT, "command_buffer", b.record.command_buffer = NULL);
    REFUSE_RECORD(RAPT_ERROR_ARGUMENT, "step", b.record.step = NULL);
    REFUSE_RECORD(RAPT_ERROR_ARGUMENT, "step", b.out.generation++);
    REFUSE_RECORD(RAPT_ERROR_ARGUMENT, "sinks.buffer", b.record.sinks.buffer = NULL);
    REFUSE_RECORD(RAPT_ERROR_ARGUMENT, "lse.buffer", b.record.lse.buffer = NULL);
    REFUSE_RECORD(RAPT_ERROR_ARGUMENT, "out.buffer", b.record.out.buffer = NULL);
    REFUSE_RECORD(RAPT_ERROR_SHAPE, "out.size", b.record.out.size = 4 * 8 * 64 * 4 - 1);
    REFUSE_RECORD(RAPT_ERROR_SHAPE, "q.size", b.record.q.size = 4 * 8 * 64 * 4 - 1);
    REFUSE_RECORD(RAPT_ERROR_ARGUMENT, "the step has", b.record.n_items = step.n_items + 1);
    b.record = sound;
    b.record.out.size = b.record.q.size = 4 * 8 * 64 * 4;
    b.record.lse.size = 4 * 8 * 4;
    for (int i = 0; i < 2; i++)
        assert_int_equal(rapt_cascade_record(b.cascade, &b.record), RAPT_OK);
    uint32_t n = fake.n_commands;
    expect(rapt_cascade_record(b.cascade, &b.record), RAPT_ERROR_CAPACITY, "max_records");
    assert_int_equal(fake.n_commands, n);
    rapt_cascade_slot_done(b.cascade, 0);
    assert_int_equal(rapt_cascade_record(b.cascade, &b.record), RAPT_OK);
    close_bench(&b);
}

static const struct fake_command *last_dispatch(void)
{
    for (uint32_t i = fake.n_commands; i-- > 0;)
        if (fake.commands[i].kind == FAKE_DISPATCH)
            return &fake.commands[i];
    return NULL;
}

/* The merge comes behind a barrier, and another keeps the next record off the parts. */
static void the_merge_is_last(void **state)
{
    (void)state;
    const rapt_caps *all[] = {&gpu, &cpu};
    for (int i = 0; i < 2; i++) {
        struct bench b;
        rapt_plan_params params = sound_params();
        open_bench(&b, all[i], &params);
        assert_int_equal(rapt_cascade_prepare(b.cascade, &b.step, &b.out, NULL), RAPT_OK);
        assert_true(b.out.n_items > 3);
        for (int slices = 0; slices < 3; slices++) {
            uint32_t n = fake.n_commands, cut = b.out.n_items / 2;
            if (slices) { /* two slices; then their merge by itself */
                b.record.n_items = cut;
                assert_int_equal(rapt_cascade_record(b.cascade, &b.record), RAPT_OK);
                assert_true(last_dispatch()->push.rapt_combine_n_parts != 2 ||
                            last_dispatch()->push.count != 32);
                b.record.first_item = cut;
                b.record.n_items = b.out.n_items - cut;
                b.record.no_merge = slices == 2;
            }
            assert_int_equal(rapt_cascade_record(b.cascade, &b.record), RAPT_OK);
            b.record.first_item = b.record.n_items = 0;
            if (slices == 2) {
                b.record.no_merge = 0;
                b.record.only_merge = 1;
                assert_int_equal(rapt_cascade_record(b.cascade, &b.record), RAPT_OK);
            }
            const struct fake_command *end = &fake.commands[fake.n_commands - 3];
            assert_true(fake.n_commands >= n + 4);
            assert_int_equal(end[0].kind, FAKE_BARRIER);
            assert_int_equal(end[1].kind, FAKE_DISPATCH);
            assert_int_equal(end[2].kind, FAKE_BARRIER);
            assert_int_equal(end[1].push.count, 4 * 8);
            assert_int_equal(end[1].push.rapt_combine_n_parts, 2);
            rapt_cascade_slot_done(b.cascade, 0);
        }
        close_bench(&b);
    }
}

/* Without anything shared there is no merge, and the caller's buffers are written by attention. */
static void nothing_shared_is_written_at_once(void **state)
{
    (void)state;
    struct bench b;
    rapt_plan_params params = sound_params();
    open_bench(&b, &gpu, &params);
    b.step.n_seqs = 1;
    assert_int_equal(rapt_cascade_prepare(b.cascade, &b.step, &b.out, &b.info), RAPT_OK);
    assert_int_equal(b.info.n_levels, 1);
    b.record.out.buffer = (VkBuffer)(uintptr_t)77;
    assert_int_equal(rapt_cascade_record(b.cascade, &b.record), RAPT_OK);
    assert_true(fake.bound[RAPT_BIND_OUT] == b.record.out.buffer);
    assert_true(last_dispatch()->push.rapt_combine_n_parts != 1 ||
                last_dispatch()->push.count != 8);
    close_bench(&b);
}

static void creation_survives_want_of_memory(void **state)
{
    (void)state;
    rapt_plan_params plan = sound_params();
    rapt_caps caps = gpu;
    caps.features &= ~RAPT_FEATURE_PUSH_DESCRIPTOR; /* so that sets are made */
    rapt_status status = RAPT_ERROR_HOST_MEMORY;
    for (long budget = 0; status != RAPT_OK; budget++) {
        struct fail_alloc memory = {.budget = budget};
        rapt_allocator allocator = fail_allocator(&memory);
        rapt_cascade_params params = {.struct_size = sizeof params, .plan = &plan};
        rapt_cascade *cascade = NULL;
        fake_device_init(&caps, &device);
        device.allocator = &allocator;
        status = rapt_cascade_create(&device, &params, &cascade);
        assert_true(budget < 60);
        assert_true(status == RAPT_OK || status == RAPT_ERROR_HOST_MEMORY);
        assert_int_equal(status == RAPT_OK, cascade != NULL);
        rapt_cascade_destroy(&cascade);
        assert_int_equal(memory.n_alive, 0);
        assert_int_equal(fake.n_made, fake.n_gone);
        assert_true(status != RAPT_OK || budget >= 8);
    }
}

static void steps_allocate_nothing(void **state)
{
    (void)state;
    struct fail_alloc memory = {.budget = -1};
    rapt_allocator allocator = fail_allocator(&memory);
    struct bench b;
    rapt_plan_params params = sound_params();
    memset(&b, 0, sizeof b);
    fake_device_init(&gpu, &device);
    device.allocator = &allocator;
    rapt_cascade_params c = {.struct_size = sizeof c, .plan = &params};
    assert_int_equal(rapt_cascade_create(&device, &c, &b.cascade), RAPT_OK);
    rapt_plan_sizes_info sizes = {.struct_size = sizeof sizes};
    rapt_cascade_sizes(b.cascade, &sizes);
    b.tables = calloc(sizes.table_bytes, 1);
    rapt_buffer big = {(VkBuffer)(uintptr_t)2, 0, 1u << 30};
    rapt_plan_memory bound = {
        .struct_size = sizeof bound, .tables = big, .tables_mapped = b.tables, .workspace = big};
    assert_int_equal(rapt_cascade_bind(b.cascade, &bound), RAPT_OK);
    fill_bench(&b);
    memory.budget = 0;
    long n_calls = memory.n_calls;
    assert_int_equal(rapt_cascade_prepare(b.cascade, &b.step, &b.out, &b.info), RAPT_OK);
    assert_int_equal(rapt_cascade_record(b.cascade, &b.record), RAPT_OK);
    assert_int_equal(memory.n_calls, n_calls);
    close_bench(&b);
    assert_int_equal(memory.n_alive, 0);
}

int main(void)
{
    if (!snapshot_read(RAPT_TEST_DEVICES, "navi31.txt", &gpu) ||
        !snapshot_read(RAPT_TEST_DEVICES, "lavapipe-26.1.txt", &cpu)) {
        fprintf(stderr, "cannot read the snapshots in %s\n", RAPT_TEST_DEVICES);
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_params),
        cmocka_unit_test(bad_steps),
        cmocka_unit_test(bad_records),
        cmocka_unit_test(the_merge_is_last),
        cmocka_unit_test(nothing_shared_is_written_at_once),
        cmocka_unit_test(creation_survives_want_of_memory),
        cmocka_unit_test(steps_allocate_nothing),
    };
    return cmocka_run_group_tests_name("cascade record", tests, NULL, NULL);
}
