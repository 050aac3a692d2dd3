/* SPDX-License-Identifier: Apache-2.0 */

/* Lists of key blocks made on the device: what is refused, and that nothing is then recorded; the
 * room they take; want of memory. On a device that only takes notes. */

#include "fail_alloc.h"
#include "kernel_table.h"
#include "plan_bench.h"

#include <rapt/sparse.h>

#include <math.h>

static const rapt_buffer big = {(VkBuffer)(uintptr_t)3, 0, 1u << 26};

static rapt_block_lists_params sound_lists(rapt_blocks_source source)
{
    return (rapt_block_lists_params){
        .struct_size = sizeof(rapt_block_lists_params),
        .source = source,
        .top_k = source == RAPT_BLOCKS_TOP_K ? 8 : 0,
        .mass = source == RAPT_BLOCKS_MASS ? 0.9f : 0,
        .max_records = 1,
    };
}

static void bad_params(void **state)
{
    struct bench b;
    (void)state;
    rapt_plan_params params = sound_params();
    rapt_block_lists *lists = NULL;
    rapt_block_lists_params p = sound_lists(RAPT_BLOCKS_TOP_K);
    open_bench(&b, &gpu, &params);
    expect(rapt_block_lists_create(b.plan, &p, &lists), RAPT_ERROR_ARGUMENT, "no RAPT_PLAN_BLOCKS");
    close_bench(&b);
    params.flags |= RAPT_PLAN_BLOCKS;
    open_bench(&b, &gpu, &params);
    uint32_t n_made = fake.n_made, n_gone = fake.n_gone;
#define REFUSE(kind, word, ...)                                                                    \
    do {                                                                                           \
        p = sound_lists(kind);                                                                     \
        __VA_ARGS__;                                                                               \
        expect(rapt_block_lists_create(b.plan, &p, &lists), RAPT_ERROR_ARGUMENT, word);            \
        assert_null(lists);                                                                        \
    } while (0)
    REFUSE(RAPT_BLOCKS_TOP_K, "struct_size", p.struct_size = 0);
    REFUSE(RAPT_BLOCKS_TOP_K, "source is 0", p.source = 0);
    REFUSE(RAPT_BLOCKS_TOP_K, "source is 5", p.source = 5);
    REFUSE(RAPT_BLOCKS_TOP_K, "top_k is 0: expected 1", p.top_k = 0);
    REFUSE(RAPT_BLOCKS_TOP_K, "top_k is 16777217", p.top_k = (1u << 24) + 1);
    REFUSE(RAPT_BLOCKS_TOP_K, "mass is 0.5: expected 0", p.mass = 0.5f);
    REFUSE(RAPT_BLOCKS_TOP_K, "max_blocks is 3", p.max_blocks = 3);
    REFUSE(RAPT_BLOCKS_TOP_K, "keep_last is 16777217", p.keep_last = (1u << 24) + 1);
    REFUSE(RAPT_BLOCKS_MASS, "top_k is 4: expected 0", p.top_k = 4);
    REFUSE(RAPT_BLOCKS_MASS, "mass is 0: expected a share", p.mass = 0);
    REFUSE(RAPT_BLOCKS_MASS, "mass is 1.5", p.mass = 1.5f);
    REFUSE(RAPT_BLOCKS_MASS, "mass is nan", p.mass = NAN);
    REFUSE(RAPT_BLOCKS_SEGMENTS, "keep_first is set", p.keep_first = 1);
    REFUSE(RAPT_BLOCKS_BITMAP, "max_records is 65537", p.max_records = 65537);
    p = sound_lists(RAPT_BLOCKS_TOP_K);
    expect(rapt_block_lists_create(NULL, &p, &lists), RAPT_ERROR_ARGUMENT, "plan is NULL");
    expect(rapt_block_lists_create(b.plan, &p, NULL), RAPT_ERROR_ARGUMENT, "out_lists is NULL");
    assert_int_equal(fake.n_made - n_made, fake.n_gone - n_gone);
    rapt_block_lists_destroy(NULL);
    rapt_block_lists_destroy(&lists);
    close_bench(&b);
}

static void room(void **state)
{
    (void)state;
    rapt_device_lists lists = {.struct_size = sizeof lists};
    uint32_t n_spans = 0;
    const struct {
        rapt_block_lists_params params;
        uint32_t capacity, bit_words;
    } cases[] = {
        /* 8 blocks of 64 queries and a rest of each of 2 sequences, 4 sets; 128 blocks of 32 keys
         */
        {sound_lists(RAPT_BLOCKS_TOP_K), 8, 0},
        {sound_lists(RAPT_BLOCKS_MASS), 128, 0},
        {sound_lists(RAPT_BLOCKS_SEGMENTS), 128, 40 * 128 * 64},
        {sound_lists(RAPT_BLOCKS_BITMAP), 128, 40 * 128 * 64},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(rapt_block_lists_device_lists(&cases[i].params, 4, 2, 512, 4096, 64, 32,
                                                       &lists, &n_spans),
                         RAPT_OK);
        assert_int_equal(lists.list_capacity, cases[i].capacity);
        assert_int_equal(lists.bit_words, cases[i].bit_words);
        assert_int_equal(lists.n_sets, 4);
        assert_int_equal(lists.block_kv, 32);
        assert_int_equal(n_spans, 40 * (cases[i].capacity + 1));
    }
    rapt_block_lists_params p = sound_lists(RAPT_BLOCKS_MASS);
    p.max_blocks = 20;
    assert_int_equal(rapt_block_lists_device_lists(&p, 1, 1, 64, 4096, 64, 16, &lists, &n_spans),
                     RAPT_OK);
    assert_int_equal(lists.list_capacity, 20);
    p = sound_lists(RAPT_BLOCKS_TOP_K);
    p.keep_first = 4;
    p.keep_last = 7;
    assert_int_equal(rapt_block_lists_device_lists(&p, 1, 1, 64, 4096, 64, 16, &lists, &n_spans),
                     RAPT_OK);
    assert_int_equal(lists.list_capacity, 11);
    expect(rapt_block_lists_device_lists(&p, 1, 1, 64, 4096, 48, 16, &lists, &n_spans),
           RAPT_ERROR_ARGUMENT, "block_q is 48");
    expect(rapt_block_lists_device_lists(&p, 1, 1, 64, 4096, 64, 512, &lists, &n_spans),
           RAPT_ERROR_ARGUMENT, "block_kv is 512");
    expect(rapt_block_lists_device_lists(&p, 0, 1, 64, 4096, 64, 64, &lists, &n_spans),
           RAPT_ERROR_ARGUMENT, "n_sets is 0");
    p = sound_lists(RAPT_BLOCKS_SEGMENTS);
    expect(rapt_block_lists_device_lists(&p, 65535, 65535, 1u << 30, UINT32_MAX, 16, 16, &lists,
                                         &n_spans),
           RAPT_ERROR_CAPACITY, "more than a step holds");
    expect(rapt_block_lists_device_lists(&p, 1, 1, 64, 64, 64, 64, NULL, &n_spans),
           RAPT_ERROR_ARGUMENT, "out_lists is NULL");
    assert_int_equal(rapt_block_lists_workspace_bytes(NULL, 1, 1, 16), 0);
}

/* A plan with room for lists, its step prepared, and a record that is sound. */
struct lists_bench {
    struct bench b;
    rapt_block_lists *lists;
    rapt_mask *causal;
    rapt_device_lists room;
    rapt_block_lists_record_params record;
};

static void open_lists(struct lists_bench *m, const rapt_caps *caps, rapt_blocks_source source,
                       uint32_t fewer_spans, uint32_t fewer_words)
{
    memset(m, 0, sizeof *m);
    const rapt_block_lists_params p = sound_lists(source);
    rapt_plan_params params = sound_params();
    params.flags |= RAPT_PLAN_BLOCKS;
    m->room.struct_size = sizeof m->room;
    assert_int_equal(
        rapt_block_lists_device_lists(&p, 2, 3, 101, 2000, 64, 64, &m->room, &params.max_spans),
        RAPT_OK);
    params.max_bit_words = m->room.bit_words;
    m->room.list_capacity -= fewer_spans;
    m->room.bit_words -= fewer_words;
    open_bench(&m->b, caps, &params);
    assert_int_equal(rapt_mask_parse(NULL, "causal", NULL, &m->causal), RAPT_OK);
    m->b.step.mask = m->causal;
    m->b.step.device_lists = &m->room;
    assert_int_equal(rapt_plan_prepare(m->b.plan, &m->b.step, &m->b.out), RAPT_OK);
    assert_int_equal(rapt_block_lists_create(m->b.plan, &p, &m->lists), RAPT_OK);
    m->record = (rapt_block_lists_record_params){.struct_size = sizeof m->record,
                                                 .command_buffer = (VkCommandBuffer)(uintptr_t)1,
                                                 .step = &m->b.out,
                                                 .workspace = big,
                                                 .scores = big,
                                                 .score_stride = 40,
                                                 .segments_q = big,
                                                 .segments_kv = big,
                                                 .bitmap = big,
                                                 .bitmap_row_stride = 2000,
                                                 .listed = big,
                                                 .listed_stride = 1,
                                                 .overflow = big};
}

static void close_lists(struct lists_bench *m)
{
    rapt_mask_destroy(&m->causal);
    rapt_block_lists_destroy(&m->lists);
    close_bench(&m->b);
}

#define REFUSE_RECORD(source, want, word, ...)                                                     \
    do {                                                                                           \
        struct lists_bench m;                                                                      \
        open_lists(&m, &gpu, source, 0, 0);                                                        \
        __VA_ARGS__;                                                                               \
        expect(rapt_block_lists_record(m.lists, &m.record), want, word);                           \
        assert_int_equal(fake.n_commands, 0);                                                      \
        assert_int_equal(m.b.plan->slots[0].recorded, 0);                                          \
        close_lists(&m);                                                                           \
    } while (0)

static void bad_records(void **state)
{
    (void)state;
    expect(rapt_block_lists_record(NULL, NULL), RAPT_ERROR_ARGUMENT, "lists is NULL");
    REFUSE_RECORD(RAPT_BLOCKS_TOP_K, RAPT_ERROR_ARGUMENT, "command_buffer is NULL",
                  m.record.command_buffer = NULL);
    REFUSE_RECORD(RAPT_BLOCKS_TOP_K, RAPT_ERROR_ARGUMENT, "last made of slot 0",
                  m.b.out.generation++);
    REFUSE_RECORD(RAPT_BLOCKS_TOP_K, RAPT_ERROR_ARGUMENT, "prepared without device_lists",
                  m.b.step.device_lists = NULL,
                  assert_int_equal(rapt_plan_prepare(m.b.plan, &m.b.step, &m.b.out), RAPT_OK));
    REFUSE_RECORD(RAPT_BLOCKS_TOP_K, RAPT_ERROR_SHAPE,
                  "score_stride is 31: the longest sequence has 32 blocks",
                  m.record.score_stride = 31);
    /* 3 lists of 2 sets: rows of 40, the last one of 32 */
    REFUSE_RECORD(RAPT_BLOCKS_MASS, RAPT_ERROR_SHAPE,
                  "scores.size is 100: the step reaches to byte 928", m.record.scores.size = 100);
    REFUSE_RECORD(RAPT_BLOCKS_MASS, RAPT_ERROR_ARGUMENT, "scores.buffer is NULL",
                  m.record.scores.buffer = VK_NULL_HANDLE);
    REFUSE_RECORD(RAPT_BLOCKS_TOP_K, RAPT_ERROR_ARGUMENT, "workspace.offset is 64",
                  m.record.workspace.offset = 64);
    REFUSE_RECORD(RAPT_BLOCKS_SEGMENTS, RAPT_ERROR_SHAPE, "workspace.size is 256",
                  m.record.workspace.size = 256);
    REFUSE_RECORD(RAPT_BLOCKS_TOP_K, RAPT_ERROR_SHAPE, "listed_stride is 0",
                  m.record.listed_stride = 0);
    REFUSE_RECORD(RAPT_BLOCKS_TOP_K, RAPT_ERROR_SHAPE, "overflow.size is 4",
                  m.record.overflow.size = 4);
    REFUSE_RECORD(RAPT_BLOCKS_SEGMENTS, RAPT_ERROR_SHAPE, "segments_q.size is 400",
                  m.record.segments_q.size = 400);
    REFUSE_RECORD(RAPT_BLOCKS_SEGMENTS, RAPT_ERROR_ARGUMENT, "segments_kv.offset is 2",
                  m.record.segments_kv.offset = 2);
    REFUSE_RECORD(RAPT_BLOCKS_BITMAP, RAPT_ERROR_SHAPE, "bitmap_row_stride is 1999",
                  m.record.bitmap_row_stride = 1999);
    REFUSE_RECORD(RAPT_BLOCKS_BITMAP, RAPT_ERROR_ARGUMENT, "need bitmap_offsets",
                  m.record.bitmap_row_stride = 0);
    REFUSE_RECORD(RAPT_BLOCKS_BITMAP, RAPT_ERROR_SHAPE, "bitmap.size is 25248",
                  m.record.bitmap.size = 25248); /* of 202 000 bits: a word too few */
    REFUSE_RECORD(RAPT_BLOCKS_BITMAP, RAPT_ERROR_SHAPE, "bitmap.size is",
                  m.record.bitmap_head_stride = UINT64_MAX);
    REFUSE_RECORD(RAPT_BLOCKS_BITMAP, RAPT_ERROR_SHAPE, "bitmap_offsets.size is 16",
                  m.record.bitmap_offsets = big, m.record.bitmap_offsets.size = 16);
}

static void too_little_room(void **state)
{
    struct lists_bench m;
    (void)state;
    open_lists(&m, &gpu, RAPT_BLOCKS_TOP_K, 1, 0);
    expect(rapt_block_lists_record(m.lists, &m.record), RAPT_ERROR_CAPACITY,
           "list_capacity is 7: a list may have 8 spans");
    close_lists(&m);
    open_lists(&m, &gpu, RAPT_BLOCKS_MASS, 1, 0); /* what does not fit is dense */
    assert_int_equal(rapt_block_lists_record(m.lists, &m.record), RAPT_OK);
    close_lists(&m);
    open_lists(&m, &gpu, RAPT_BLOCKS_SEGMENTS, 1, 0);
    expect(rapt_block_lists_record(m.lists, &m.record), RAPT_ERROR_CAPACITY,
           "list_capacity is 31: a list may have 32 spans");
    close_lists(&m);
    open_lists(&m, &gpu, RAPT_BLOCKS_BITMAP, 0, 20000);
    expect(rapt_block_lists_record(m.lists, &m.record), RAPT_ERROR_CAPACITY,
           "device_lists.bit_words");
    assert_int_equal(fake.n_commands, 0);
    close_lists(&m);
}

static void records_are_counted(void **state)
{
    struct lists_bench m;
    (void)state;
    rapt_caps poor = gpu; /* with push descriptors nothing would run out */
    poor.features &= ~RAPT_FEATURE_PUSH_DESCRIPTOR;
    for (int source = RAPT_BLOCKS_TOP_K; source <= RAPT_BLOCKS_BITMAP; source++) {
        open_lists(&m, &poor, (rapt_blocks_source)source, 0, 0);
        assert_int_equal(rapt_block_lists_record(m.lists, &m.record), RAPT_OK);
        uint32_t n_commands = fake.n_commands;
        assert_true(n_commands > 0);
        expect(rapt_block_lists_record(m.lists, &m.record), RAPT_ERROR_CAPACITY, "max_records");
        assert_int_equal(fake.n_commands, n_commands);
        rapt_plan_slot_done(m.b.plan, 0);
        assert_int_equal(rapt_block_lists_record(m.lists, &m.record), RAPT_OK);
        close_lists(&m);
    }
}

static void creation_survives_want_of_memory(void **state)
{
    (void)state;
    rapt_plan_params params = sound_params();
    params.flags |= RAPT_PLAN_BLOCKS;
    rapt_caps poor = gpu; /* so that sets are made */
    poor.features &= ~RAPT_FEATURE_PUSH_DESCRIPTOR;
    const rapt_block_lists_params p = sound_lists(RAPT_BLOCKS_SEGMENTS);
    rapt_status status = RAPT_ERROR_HOST_MEMORY;
    for (long budget = 0; status != RAPT_OK; budget++) {
        struct fail_alloc memory = {.budget = -1};
        rapt_allocator allocator = fail_allocator(&memory);
        rapt_block_lists *lists = NULL;
        rapt_plan *plan = NULL;
        fake_device_init(&poor, &device);
        device.allocator = &allocator;
        assert_int_equal(rapt_plan_create(&device, &params, &plan), RAPT_OK);
        const long before = memory.n_alive;
        memory.budget = budget;
        status = rapt_block_lists_create(plan, &p, &lists);
        assert_true(budget < 40);
        assert_true(status == RAPT_OK || status == RAPT_ERROR_HOST_MEMORY);
        assert_int_equal(status == RAPT_OK, lists != NULL);
        assert_true(status != RAPT_OK || budget >= 2);
        rapt_block_lists_destroy(&lists);
        assert_int_equal(memory.n_alive, before);
        rapt_plan_destroy(&plan);
        assert_int_equal(memory.n_alive, 0);
        assert_int_equal(fake.n_made, fake.n_gone);
    }
}

static void every_device_has_the_rows(void **state)
{
    static const char *const names[] = {"score_lists", "segment_lists", "bitmap_lists",
                                        "id_bounds"};
    const rapt_caps *const all[] = {&gpu, &cpu, &old_cpu};
    (void)state;
    rapt_plan_params params = sound_params();
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        for (size_t c = 0; c < 3; c++) {
            struct rapt_kernel_choice choice;
            rapt_caps bare = *all[c];
            char row[64];
            snprintf(row, sizeof row, "%s_pt", names[i]);
            bare.features = c == 0 ? 0 : bare.features;
            assert_int_equal(rapt_select_sparse(&bare, &params, names[i], 0, &choice), RAPT_OK);
            assert_string_equal(rapt_kernel_name(choice.kernel), row);
            assert_int_equal(choice.workgroup_size, c == 0 ? 64 : 8);
            assert_true(choice.spec[RAPT_SPEC_FEATURES] & RAPT_FEAT_Q_POS);
        }
}

int main(void)
{
    if (!read_snapshots())
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_params),
        cmocka_unit_test(room),
        cmocka_unit_test(bad_records),
        cmocka_unit_test(too_little_room),
        cmocka_unit_test(records_are_counted),
        cmocka_unit_test(creation_survives_want_of_memory),
        cmocka_unit_test(every_device_has_the_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
