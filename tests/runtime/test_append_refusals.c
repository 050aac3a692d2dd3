/* SPDX-License-Identifier: Apache-2.0 */

/* What appending and page copies refuse, and that they then record nothing: on a device that only
 * takes notes. */

#include "plan_bench.h"

#include <rapt/pager.h>

static rapt_plan_params append_params(void)
{
    rapt_plan_params params = sound_params();
    params.flags |= RAPT_PLAN_APPEND;
    params.new_type = RAPT_TYPE_F16;
    params.max_records_per_step = 2;
    return params;
}

static void refuse_plan(rapt_plan_params params, rapt_status want, const char *word)
{
    rapt_plan *plan = NULL;
    expect(rapt_plan_create(&device, &params, &plan), want, word);
    assert_null(plan);
    assert_int_equal(fake.n_made, fake.n_gone);
}
#define REFUSE_PLAN(want, word, ...)                                                               \
    do {                                                                                           \
        rapt_plan_params p = append_params();                                                      \
        __VA_ARGS__;                                                                               \
        refuse_plan(p, want, word);                                                                \
    } while (0)

static void bad_append_plans(void **state)
{
    const rapt_rope rope = {.struct_size = sizeof rope, .pairing = RAPT_ROPE_NEOX};
    (void)state;
    fake_device_init(&gpu, &device);
    REFUSE_PLAN(RAPT_ERROR_ARGUMENT, "new_type is int8", p.new_type = RAPT_TYPE_INT8);
    REFUSE_PLAN(RAPT_ERROR_ARGUMENT, "new_type is no type", p.new_type = (rapt_type)77);
    REFUSE_PLAN(RAPT_ERROR_ARGUMENT, "k_new.dim_stride is 2", p.k_new.dim_stride = 2);
    REFUSE_PLAN(RAPT_ERROR_SHAPE, "k_new.token_stride is 32", p.k_new.token_stride = 32,
                p.k_new.head_stride = 64);
    REFUSE_PLAN(RAPT_ERROR_SHAPE, "v_new.head_stride is 8", p.v_new.token_stride = 128,
                p.v_new.head_stride = 8);
    REFUSE_PLAN(RAPT_ERROR_ARGUMENT, "v_new.token_stride is 129", p.v_new.token_stride = 129,
                p.v_new.head_stride = 64);
    REFUSE_PLAN(RAPT_ERROR_ARGUMENT, "k_new.outer_stride is 4294967296",
                p.k_new.outer_stride = 1ull << 32, p.k_new.token_stride = 128,
                p.k_new.head_stride = 64);
    REFUSE_PLAN(RAPT_ERROR_ARGUMENT, "rope says nothing", p.flags |= RAPT_PLAN_ROPE_Q);
    REFUSE_PLAN(RAPT_ERROR_ARGUMENT, "nothing is rotated", p.flags &= ~(uint32_t)RAPT_PLAN_APPEND,
                p.rope = &rope);
}

struct append_bench {
    struct bench b;
    rapt_append_params append;
};

static void open_append(struct append_bench *a, rapt_plan_params params)
{
    open_bench(&a->b, &gpu, &params);
    memcpy(a->b.cu_q, (int32_t[]){0, 10, 11, 11}, sizeof a->b.cu_q);
    assert_int_equal(rapt_plan_prepare(a->b.plan, &a->b.step, &a->b.out), RAPT_OK);
    rapt_buffer big = {(VkBuffer)(uintptr_t)3, 0, 1u << 26};
    a->append = (rapt_append_params){.struct_size = sizeof a->append,
                                     .command_buffer = (VkCommandBuffer)(uintptr_t)1,
                                     .step = &a->b.out,
                                     .k_new = big,
                                     .v_new = big,
                                     .k = big,
                                     .v = big};
}

#define REFUSE_APPEND(want, word, ...)                                                             \
    do {                                                                                           \
        struct append_bench a;                                                                     \
        open_append(&a, append_params());                                                          \
        __VA_ARGS__;                                                                               \
        expect(rapt_plan_record_append(a.b.plan, &a.append), want, word);                          \
        assert_int_equal(fake.n_commands, 0);                                                      \
        assert_int_equal(a.b.plan->slots[0].recorded, 0);                                          \
        close_bench(&a.b);                                                                         \
    } while (0)

static void bad_appends(void **state)
{
    (void)state;
    assert_int_equal(rapt_plan_record_append(NULL, NULL), RAPT_ERROR_ARGUMENT);
    REFUSE_APPEND(RAPT_ERROR_ARGUMENT, "command_buffer is NULL", a.append.command_buffer = NULL);
    REFUSE_APPEND(RAPT_ERROR_ARGUMENT, "step is NULL", a.append.step = NULL);
    REFUSE_APPEND(RAPT_ERROR_ARGUMENT, "struct_size", a.append.struct_size = 0);
    REFUSE_APPEND(RAPT_ERROR_ARGUMENT, "last made of slot 7", a.b.out.slot = 7);
    REFUSE_APPEND(RAPT_ERROR_ARGUMENT, "last made of slot 0", a.b.out.generation++);
    REFUSE_APPEND(RAPT_ERROR_ARGUMENT, "k_new.buffer is NULL: the step needs 2816 bytes",
                  a.append.k_new.buffer = VK_NULL_HANDLE);
    REFUSE_APPEND(RAPT_ERROR_ARGUMENT, "v.offset is 2: expected a multiple of 4",
                  a.append.v.offset = 2);
    REFUSE_APPEND(RAPT_ERROR_SHAPE, "v_new.size is 2815: the step reaches to byte 2816",
                  a.append.v_new.size = 2815);
    REFUSE_APPEND(RAPT_ERROR_SHAPE, "k.size is 547839: the step reaches to byte 547840",
                  a.append.k.size = 2140 * 2 * 64 * 2 - 1);
    /* Such a step is good for attention, but there are keys that have no place. */
    REFUSE_APPEND(RAPT_ERROR_SHAPE, "sequence 1 has more queries than keys",
                  a.b.cu_kv[2] = a.b.cu_kv[1],
                  assert_int_equal(rapt_plan_prepare(a.b.plan, &a.b.step, &a.b.out), RAPT_OK));
}

static void appends_are_counted(void **state)
{
    struct append_bench a;
    (void)state;
    rapt_caps poor = gpu; /* with push descriptors nothing would run out */
    poor.features &= ~RAPT_FEATURE_PUSH_DESCRIPTOR;
    rapt_plan_params params = append_params();
    rapt_caps had = gpu;
    gpu = poor;
    open_append(&a, params);
    gpu = had;
    assert_int_equal(rapt_plan_record_append(a.b.plan, &a.append), RAPT_OK);
    assert_int_equal(rapt_plan_record_append(a.b.plan, &a.append), RAPT_OK);
    uint32_t n = fake.n_commands;
    expect(rapt_plan_record_append(a.b.plan, &a.append), RAPT_ERROR_CAPACITY,
           "max_records_per_step");
    assert_int_equal(fake.n_commands, n);
    rapt_plan_slot_done(a.b.plan, 0);
    assert_int_equal(rapt_plan_record_append(a.b.plan, &a.append), RAPT_OK);
    close_bench(&a.b);
    params.flags &= ~(uint32_t)RAPT_PLAN_APPEND;
    params.new_type = RAPT_TYPE_DEFAULT;
    open_append(&a, params);
    expect(rapt_plan_record_append(a.b.plan, &a.append), RAPT_ERROR_ARGUMENT,
           "no RAPT_PLAN_APPEND");
    close_bench(&a.b);
}

static void bad_copiers(void **state)
{
    rapt_copier *copier = NULL;
    rapt_copier_params p = {.struct_size = sizeof p, .max_copies = 8, .max_tensors = 2};
    (void)state;
    fake_device_init(&gpu, &device);
    expect(rapt_copier_create(NULL, &p, &copier), RAPT_ERROR_ARGUMENT, "device is NULL");
    expect(rapt_copier_create(&device, NULL, &copier), RAPT_ERROR_ARGUMENT, "rapt_copier_params");
    p.max_copies = 0;
    expect(rapt_copier_create(&device, &p, &copier), RAPT_ERROR_ARGUMENT, "max_copies is 0");
    p.max_copies = (1u << 24) + 1;
    expect(rapt_copier_create(&device, &p, &copier), RAPT_ERROR_ARGUMENT, "max_copies is 16777217");
    p.max_copies = 8;
    p.max_tensors = 0;
    expect(rapt_copier_create(&device, &p, &copier), RAPT_ERROR_ARGUMENT, "max_tensors is 0");
    p.max_tensors = 2;
    p.n_steps_in_flight = 65;
    expect(rapt_copier_create(&device, &p, &copier), RAPT_ERROR_ARGUMENT,
           "n_steps_in_flight is 65");
    p.n_steps_in_flight = 0;
    fake.fail_pipelines = 1;
    assert_true(rapt_copier_create(&device, &p, &copier) != RAPT_OK);
    fake.fail_pipelines = 0;
    assert_null(copier);
    assert_int_equal(fake.n_made, fake.n_gone);
}

struct copy_bench {
    rapt_copier *copier;
    uint32_t tables[4096];
    rapt_buffer buffer;
    rapt_copy_tensor tensor;
    rapt_page_copy copies[9];
    uint32_t n_copies, n_tensors, slot;
    VkCommandBuffer commands;
};

static void open_copier(struct copy_bench *c)
{
    rapt_copier_params p = {.struct_size = sizeof p, .max_copies = 8, .max_tensors = 1};
    memset(c, 0, sizeof *c);
    fake_device_init(&gpu, &device);
    assert_int_equal(rapt_copier_create(&device, &p, &c->copier), RAPT_OK);
    c->buffer = (rapt_buffer){(VkBuffer)(uintptr_t)1, 0, sizeof c->tables};
    c->tensor = (rapt_copy_tensor){.buffer = {(VkBuffer)(uintptr_t)2, 0, 16 * 4096},
                                   .page_stride = 4096,
                                   .token_stride = 256,
                                   .head_stride = 128,
                                   .n_heads = 2,
                                   .n_layers = 1,
                                   .row_bytes = 128};
    for (uint32_t i = 0; i < 9; i++)
        c->copies[i] = (rapt_page_copy){.from_page = i, .to_page = 15 - i, .n_tokens = 16};
    c->n_copies = c->n_tensors = 1;
    c->commands = (VkCommandBuffer)(uintptr_t)1;
}

#define REFUSE_COPY(want, word, ...)                                                               \
    do {                                                                                           \
        struct copy_bench c;                                                                       \
        open_copier(&c);                                                                           \
        assert_int_equal(rapt_copier_bind(c.copier, &c.buffer, c.tables), RAPT_OK);                \
        __VA_ARGS__;                                                                               \
        expect(rapt_copier_record(c.copier, c.commands, c.slot, 0, c.n_copies, c.copies,           \
                                  c.n_tensors, &c.tensor),                                         \
               want, word);                                                                        \
        assert_int_equal(fake.n_commands, 0);                                                      \
        rapt_copier_destroy(&c.copier);                                                            \
        assert_int_equal(fake.n_made, fake.n_gone);                                                \
    } while (0)

static void bad_copies(void **state)
{
    (void)state;
    REFUSE_COPY(RAPT_ERROR_ARGUMENT, "command_buffer is NULL", c.commands = NULL);
    REFUSE_COPY(RAPT_ERROR_ARGUMENT, "slot is 3: the copier has 3", c.slot = 3);
    REFUSE_COPY(RAPT_ERROR_CAPACITY, "n_tensors is 2: the copier holds 1", c.n_tensors = 2);
    REFUSE_COPY(RAPT_ERROR_CAPACITY, "9 copies: the copier holds 8", c.n_copies = 9);
    REFUSE_COPY(RAPT_ERROR_ARGUMENT, "tensors[0].buffer is NULL",
                c.tensor.buffer.buffer = VK_NULL_HANDLE);
    REFUSE_COPY(RAPT_ERROR_ARGUMENT, "not at a multiple of 4", c.tensor.buffer.offset = 2);
    REFUSE_COPY(RAPT_ERROR_ARGUMENT, "0 heads", c.tensor.n_heads = 0);
    REFUSE_COPY(RAPT_ERROR_ARGUMENT, "0 layers", c.tensor.n_layers = 0);
    REFUSE_COPY(RAPT_ERROR_ARGUMENT, "rows of 0 bytes", c.tensor.row_bytes = 0);
    REFUSE_COPY(RAPT_ERROR_ARGUMENT, "tensors[0].token_stride is 255", c.tensor.token_stride = 255);
    REFUSE_COPY(RAPT_ERROR_ARGUMENT, "at most 2^33", c.tensor.page_stride = 1ull << 34);
    REFUSE_COPY(RAPT_ERROR_SHAPE, "the copies reach to byte 65536", c.tensor.buffer.size = 65535);
}

static void copiers_want_memory(void **state)
{
    struct copy_bench c;
    (void)state;
    open_copier(&c);
    expect(rapt_copier_record(c.copier, c.commands, 0, 0, 1, c.copies, 1, &c.tensor),
           RAPT_ERROR_ARGUMENT, "rapt_copier_bind first");
    rapt_buffer bad = c.buffer;
    bad.buffer = VK_NULL_HANDLE;
    expect(rapt_copier_bind(c.copier, &bad, c.tables), RAPT_ERROR_ARGUMENT,
           "tables.buffer is NULL");
    bad = c.buffer;
    bad.offset = 2;
    expect(rapt_copier_bind(c.copier, &bad, c.tables), RAPT_ERROR_ARGUMENT, "tables.offset is 2");
    bad = c.buffer;
    bad.size = rapt_copier_table_bytes(c.copier) - 1;
    expect(rapt_copier_bind(c.copier, &bad, c.tables), RAPT_ERROR_SHAPE, "rapt_copier_table_bytes");
    expect(rapt_copier_bind(c.copier, &c.buffer, (char *)c.tables + 1), RAPT_ERROR_ARGUMENT,
           "tables_mapped");
    assert_int_equal(rapt_copier_bind(c.copier, &c.buffer, c.tables), RAPT_OK);
    assert_int_equal(rapt_copier_record(c.copier, c.commands, 0, 0, 1, c.copies, 1, &c.tensor),
                     RAPT_OK);
    assert_true(fake.n_commands > 0);
    rapt_copier_destroy(&c.copier);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_append_plans),    cmocka_unit_test(bad_appends),
        cmocka_unit_test(appends_are_counted), cmocka_unit_test(bad_copiers),
        cmocka_unit_test(bad_copies),          cmocka_unit_test(copiers_want_memory),
    };
    if (!read_snapshots())
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
