/* SPDX-License-Identifier: Apache-2.0 */

/* What choosing keys on the device refuses, and that nothing is then recorded: on a device that
 * only takes notes. */

#include "plan_bench.h"

#include <rapt/sparse.h>

static const rapt_buffer big = {(VkBuffer)(uintptr_t)3, 0, 1u << 26};

static void bad_objects(void **state)
{
    struct bench b;
    (void)state;
    rapt_plan_params params = sound_params();
    open_bench(&b, &gpu, &params);
    uint32_t n_made = fake.n_made, n_gone = fake.n_gone;
    rapt_moba *moba = NULL;
    rapt_indexer *indexer = NULL;
#define REFUSE_MOBA(word, ...)                                                                     \
    do {                                                                                           \
        rapt_moba_params p = {.struct_size = sizeof p, .chunk = 64, .top_k = 3};                   \
        __VA_ARGS__;                                                                               \
        expect(rapt_moba_create(b.plan, &p, &moba), RAPT_ERROR_ARGUMENT, word);                    \
        assert_null(moba);                                                                         \
    } while (0)
    REFUSE_MOBA("struct_size", p.struct_size = 0);
    REFUSE_MOBA("chunk is 0", p.chunk = 0);
    REFUSE_MOBA("chunk is 24: expected a multiple of 16", p.chunk = 24);
    REFUSE_MOBA("chunk is 2097152", p.chunk = 1u << 21);
    REFUSE_MOBA("top_k is 0", p.top_k = 0);
    REFUSE_MOBA("top_k is 65537", p.top_k = 65537);
    REFUSE_MOBA("max_records is 65537", p.max_records = 65537);
#define REFUSE_INDEXER(word, ...)                                                                  \
    do {                                                                                           \
        rapt_indexer_params p = {                                                                  \
            .struct_size = sizeof p, .n_heads = 4, .head_dim = 64, .top_k = 32};                   \
        __VA_ARGS__;                                                                               \
        expect(rapt_indexer_create(b.plan, &p, &indexer), RAPT_ERROR_ARGUMENT, word);              \
        assert_null(indexer);                                                                      \
    } while (0)
    REFUSE_INDEXER("n_heads is 0", p.n_heads = 0);
    REFUSE_INDEXER("n_heads is 1025", p.n_heads = 1025);
    REFUSE_INDEXER("head_dim is 12", p.head_dim = 12);
    REFUSE_INDEXER("head_dim is 264", p.head_dim = 264);
    REFUSE_INDEXER("top_k is 0", p.top_k = 0);
    REFUSE_INDEXER("k_type is int8", p.k_type = RAPT_TYPE_INT8);
    REFUSE_INDEXER("q.token_stride is 257: 16-bit", p.q.token_stride = 257);
    REFUSE_INDEXER("k.token_stride is 4294967296", p.k.token_stride = 1ull << 32);
    expect(rapt_moba_create(NULL, NULL, &moba), RAPT_ERROR_ARGUMENT, "plan is NULL");
    expect(rapt_indexer_create(b.plan, NULL, NULL), RAPT_ERROR_ARGUMENT, "out_indexer is NULL");
    assert_int_equal(fake.n_made - n_made, fake.n_gone - n_gone);
    rapt_moba_destroy(NULL);
    rapt_indexer_destroy(&indexer);
    close_bench(&b);
}

static void room_for_lists(void **state)
{
    (void)state;
    rapt_moba_params p = {.struct_size = sizeof p, .chunk = 128, .top_k = 3};
    rapt_device_lists lists = {.struct_size = sizeof lists};
    uint32_t n_spans = 0;
    /* 8 blocks of 64 queries and a rest of each of 2 sequences, 8 heads; no more than 32 chunks */
    assert_int_equal(rapt_moba_device_lists(&p, 8, 2, 512, 4096, 64, &lists, &n_spans), RAPT_OK);
    assert_int_equal(lists.list_capacity, 32);
    assert_int_equal(lists.n_sets, 8);
    assert_int_equal(lists.bit_words, 10 * 8 * 32 * 2);
    assert_int_equal(n_spans, 10 * 8 * 33);
    expect(rapt_moba_device_lists(&p, 8, 2, 512, 4096, 48, &lists, &n_spans), RAPT_ERROR_ARGUMENT,
           "block_q is 48");
    expect(rapt_moba_device_lists(&p, 65535, 65535, 1u << 30, 1u << 30, 16, &lists, &n_spans),
           RAPT_ERROR_CAPACITY, "more than a step holds");
    assert_int_equal(rapt_moba_workspace_bytes(NULL, 1, 1, 1, 1), 0);
}

/* A plan with room for lists, its step prepared, and a MoBA record that is sound. */
struct moba_bench {
    struct bench b;
    rapt_moba *moba;
    rapt_mask *causal;
    rapt_device_lists lists;
    rapt_moba_record_params record;
};

static void open_moba(struct moba_bench *m, const rapt_caps *caps, uint32_t capacity)
{
    memset(m, 0, sizeof *m);
    const rapt_moba_params p = {
        .struct_size = sizeof p, .chunk = 128, .top_k = 3, .max_records = 1};
    uint32_t n_spans = 0;
    m->lists.struct_size = sizeof m->lists;
    assert_int_equal(rapt_moba_device_lists(&p, 8, 3, 101, 2000, 64, &m->lists, &n_spans), RAPT_OK);
    m->lists.list_capacity = capacity ? capacity : m->lists.list_capacity;
    rapt_plan_params params = sound_params();
    params.flags |= RAPT_PLAN_BLOCKS;
    params.head_group = 1;
    params.max_spans = n_spans;
    params.max_bit_words = m->lists.bit_words;
    open_bench(&m->b, caps, &params);
    assert_int_equal(rapt_mask_parse(NULL, "causal", NULL, &m->causal), RAPT_OK);
    m->b.step.mask = m->causal;
    m->b.step.device_lists = &m->lists;
    assert_int_equal(rapt_plan_prepare(m->b.plan, &m->b.step, &m->b.out), RAPT_OK);
    assert_int_equal(rapt_moba_create(m->b.plan, &p, &m->moba), RAPT_OK);
    m->record = (rapt_moba_record_params){.struct_size = sizeof m->record,
                                          .command_buffer = (VkCommandBuffer)(uintptr_t)1,
                                          .step = &m->b.out,
                                          .q = big,
                                          .k = big,
                                          .workspace = big,
                                          .lists = 1};
}

static void close_moba(struct moba_bench *m)
{
    rapt_mask_destroy(&m->causal);
    rapt_moba_destroy(&m->moba);
    close_bench(&m->b);
}

#define REFUSE_RECORD(want, word, ...)                                                             \
    do {                                                                                           \
        struct moba_bench m;                                                                       \
        open_moba(&m, &gpu, 0);                                                                    \
        __VA_ARGS__;                                                                               \
        expect(rapt_moba_record(m.moba, &m.record), want, word);                                   \
        assert_int_equal(fake.n_commands, 0);                                                      \
        assert_int_equal(m.b.plan->slots[0].recorded, 0);                                          \
        close_moba(&m);                                                                            \
    } while (0)

static void bad_moba_records(void **state)
{
    (void)state;
    assert_int_equal(rapt_moba_record(NULL, NULL), RAPT_ERROR_ARGUMENT);
    REFUSE_RECORD(RAPT_ERROR_ARGUMENT, "command_buffer is NULL", m.record.command_buffer = NULL);
    REFUSE_RECORD(RAPT_ERROR_ARGUMENT, "step is NULL", m.record.step = NULL);
    REFUSE_RECORD(RAPT_ERROR_ARGUMENT, "last made of slot 0", m.b.out.generation++);
    REFUSE_RECORD(RAPT_ERROR_ARGUMENT, "k.buffer is NULL: the step needs 547840 bytes",
                  m.record.k.buffer = VK_NULL_HANDLE);
    REFUSE_RECORD(RAPT_ERROR_ARGUMENT, "q.offset is 2", m.record.q.offset = 2);
    REFUSE_RECORD(RAPT_ERROR_ARGUMENT, "workspace.offset is 64", m.record.workspace.offset = 64);
    REFUSE_RECORD(RAPT_ERROR_SHAPE, "workspace.size is 1000", m.record.workspace.size = 1000);
    REFUSE_RECORD(RAPT_ERROR_SHAPE, "gate_stride is 15: the longest sequence has 16 chunks",
                  m.record.gates = big, m.record.gate_stride = 15);
    REFUSE_RECORD(RAPT_ERROR_SHAPE, "choices.size is 100", m.record.choices = big,
                  m.record.choices.size = 100);
    REFUSE_RECORD(RAPT_ERROR_ARGUMENT, "prepared without device_lists",
                  m.b.step.device_lists = NULL,
                  assert_int_equal(rapt_plan_prepare(m.b.plan, &m.b.step, &m.b.out), RAPT_OK));
    struct moba_bench small;
    open_moba(&small, &gpu, 15);
    expect(rapt_moba_record(small.moba, &small.record), RAPT_ERROR_CAPACITY,
           "list_capacity is 15: a list may have 16 spans");
    assert_int_equal(fake.n_commands, 0);
    close_moba(&small);
}

static void moba_records_are_counted(void **state)
{
    struct moba_bench m;
    (void)state;
    rapt_caps poor = gpu; /* with push descriptors nothing would run out */
    poor.features &= ~RAPT_FEATURE_PUSH_DESCRIPTOR;
    open_moba(&m, &poor, 0);
    assert_int_equal(rapt_moba_record(m.moba, &m.record), RAPT_OK);
    uint32_t n_commands = fake.n_commands;
    assert_true(n_commands > 0);
    expect(rapt_moba_record(m.moba, &m.record), RAPT_ERROR_CAPACITY, "max_records");
    assert_int_equal(fake.n_commands, n_commands);
    rapt_plan_slot_done(m.b.plan, 0);
    assert_int_equal(rapt_moba_record(m.moba, &m.record), RAPT_OK);
    close_moba(&m);
}

static void bad_token_lists(void **state)
{
    struct bench b;
    (void)state;
    rapt_plan_params params = sound_params();
    open_bench(&b, &gpu, &params);
    assert_int_equal(rapt_plan_prepare(b.plan, &b.step, &b.out), RAPT_OK);
    b.record.token_lists = b.record.token_counts = big;
    b.record.token_list_stride = 32;
    expect(rapt_plan_record(b.plan, &b.record), RAPT_ERROR_ARGUMENT, "no RAPT_PLAN_TOKEN_LISTS");
    assert_int_equal(fake.n_commands, 0);
    close_bench(&b);
    params.flags |= RAPT_PLAN_TOKEN_LISTS;
    open_bench(&b, &gpu, &params);
    assert_int_equal(rapt_plan_prepare(b.plan, &b.step, &b.out), RAPT_OK);
    const rapt_record_params plain = b.record;
#define REFUSE_LISTS(want, word, ...)                                                              \
    do {                                                                                           \
        b.record = plain;                                                                          \
        b.record.token_lists = b.record.token_counts = big;                                        \
        b.record.token_list_stride = 32;                                                           \
        __VA_ARGS__;                                                                               \
        expect(rapt_plan_record(b.plan, &b.record), want, word);                                   \
        assert_int_equal(fake.n_commands, 0);                                                      \
    } while (0)
    REFUSE_LISTS(RAPT_ERROR_ARGUMENT, "token_list_stride is 0", b.record.token_list_stride = 0);
    REFUSE_LISTS(RAPT_ERROR_ARGUMENT, "no items to take a slice of", b.record.no_merge = 1);
    REFUSE_LISTS(RAPT_ERROR_SHAPE, "the kernels index 2^32", b.record.token_list_stride = 1u << 30);
    REFUSE_LISTS(RAPT_ERROR_SHAPE, "token_lists.size is 4", b.record.token_lists.size = 4);
    REFUSE_LISTS(RAPT_ERROR_ARGUMENT, "token_counts.buffer is NULL",
                 b.record.token_counts.buffer = VK_NULL_HANDLE);
    b.record = plain;
    b.record.token_lists = b.record.token_counts = big;
    b.record.token_list_stride = 32;
    assert_int_equal(rapt_plan_record(b.plan, &b.record), RAPT_OK);
    close_bench(&b);
}

int main(void)
{
    if (!read_snapshots())
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_objects),      cmocka_unit_test(room_for_lists),
        cmocka_unit_test(bad_moba_records), cmocka_unit_test(moba_records_are_counted),
        cmocka_unit_test(bad_token_lists),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
