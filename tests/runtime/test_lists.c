/* SPDX-License-Identifier: Apache-2.0 */

/* Steps that bring lists of key blocks, on a device that only takes notes: what is refused and why,
 * and what the slot then says. */

#include "plan_bench.h"

/* A table for plan_bench.h's batch (100, 1 and 0 queries over 100, 2000 and 40 keys) in blocks of
 * 64 queries and 32 keys, with a set of lists for each of the two KV heads. */
struct table {
    struct rapt_table_parts parts;
    uint32_t row_first[4], head_set[8], indptr[7], indices[9], tiles[9], bits[2 * 64];
    uint8_t kinds[9];
    int32_t cu_q[4], cu_kv[4];
};

static void make_table(struct table *t, const struct bench *b)
{
    static const uint32_t indptr[] = {0, 2, 3, 5, 8, 8, 9},
                          indices[] = {0, 2, 3, 0, 62, 0, 1, 2, 61},
                          tiles[] = {0, 0, 1, 0, 0, 0, 0, 0, 0};
    static const uint8_t kinds[] = {0, 1, 2, 0, 0, 0, 0, 0, 2};
    memset(t, 0, sizeof *t);
    memcpy(t->cu_q, b->cu_q, sizeof t->cu_q);
    memcpy(t->cu_kv, b->cu_kv, sizeof t->cu_kv);
    memcpy(t->row_first, (uint32_t[]){0, 2, 3, 3}, sizeof t->row_first);
    memcpy(t->indptr, indptr, sizeof indptr);
    memcpy(t->indices, indices, sizeof indices);
    memcpy(t->tiles, tiles, sizeof tiles);
    memcpy(t->kinds, kinds, sizeof kinds);
    for (uint32_t i = 0; i < 128; i++)
        t->bits[i] = 1000 + i;
    for (uint32_t h = 4; h < 8; h++)
        t->head_set[h] = 1;
    const struct rapt_spans_source source = {.n_seqs = 3,
                                             .n_sets = 2,
                                             .n_rows = 3,
                                             .block_kv = 32,
                                             .row_first = t->row_first,
                                             .indptr = t->indptr,
                                             .indices = t->indices,
                                             .kinds = t->kinds,
                                             .tiles = t->tiles,
                                             .cu_kv = t->cu_kv};
    t->parts = (struct rapt_table_parts){.n_seqs = 3,
                                         .n_q_heads = 8,
                                         .block_q = 64,
                                         .block_kv = 32,
                                         .n_sets = 2,
                                         .n_rows = 3,
                                         .row_first = t->row_first,
                                         .head_set = t->head_set,
                                         .cu_q = t->cu_q,
                                         .cu_kv = t->cu_kv,
                                         .n_tiles = 2,
                                         .tile_words = 64,
                                         .bits = t->bits};
    assert_int_equal(rapt_spans_build(&source, NULL, &t->parts.spans), RAPT_OK);
    rapt_mask_lower(NULL, &t->parts.closed);
}

static rapt_plan_params block_params(void)
{
    rapt_plan_params params = sound_params();
    params.flags |= RAPT_PLAN_BLOCKS;
    return params;
}

static void open_table(struct bench *b, struct table *t, const rapt_caps *caps,
                       const rapt_plan_params *params)
{
    open_bench(b, caps, params);
    make_table(t, b);
    b->step.block_table = (const struct rapt_block_table *)(const void *)&t->parts;
}

static void close_table(struct bench *b, struct table *t)
{
    rapt_spans_finish(&t->parts.spans, NULL);
    close_bench(b);
}

/* The step as it is changed is refused, and the slot stays as it was. */
#define REFUSE_STEP(want, word, ...)                                                               \
    do {                                                                                           \
        struct bench b;                                                                            \
        struct table t;                                                                            \
        rapt_plan_params params = block_params();                                                  \
        open_table(&b, &t, &gpu, &params);                                                         \
        rapt_device_lists lists = {.struct_size = sizeof lists,                                    \
                                   .block_q = 64,                                                  \
                                   .block_kv = 64,                                                 \
                                   .n_sets = 1,                                                    \
                                   .list_capacity = 8};                                            \
        (void)lists;                                                                               \
        __VA_ARGS__;                                                                               \
        memset(b.tables, 0x5a, b.sizes.table_bytes);                                               \
        expect(rapt_plan_prepare(b.plan, &b.step, &b.out), want, word);                            \
        for (size_t i = 0; i < b.sizes.table_bytes / 4; i++)                                       \
            assert_int_equal(b.tables[i], 0x5a5a5a5a);                                             \
        close_table(&b, &t);                                                                       \
    } while (0)

#define ON_DEVICE (b.step.block_table = NULL, b.step.device_lists = &lists)

static void bad_lists(void **state)
{
    rapt_mask *mask = NULL;
    (void)state;
    assert_int_equal(rapt_mask_parse(NULL, "causal", NULL, &mask), RAPT_OK);
    REFUSE_STEP(RAPT_ERROR_SHAPE, "99 queries and 100 keys of sequence 0", t.cu_q[1] = 99);
    REFUSE_STEP(RAPT_ERROR_SHAPE, "of sequence 2", t.cu_kv[3]++);
    REFUSE_STEP(RAPT_ERROR_SHAPE, "2 sequences: the step has 3", t.parts.n_seqs = 2);
    REFUSE_STEP(RAPT_ERROR_SHAPE, "16 query heads", t.parts.n_q_heads = 16);
    REFUSE_STEP(RAPT_ERROR_SHAPE, "heads 4 and 6", t.head_set[6] = 0);
    REFUSE_STEP(RAPT_ERROR_ARGUMENT, "block_q is 32", t.parts.block_q = 32);
    REFUSE_STEP(RAPT_ERROR_ARGUMENT, "the whole mask", b.step.mask = mask);
    REFUSE_STEP(RAPT_ERROR_ARGUMENT, "prefix is NULL", t.parts.closed.uses_prefix = 1);
    REFUSE_STEP(RAPT_ERROR_ARGUMENT, "both set", b.step.device_lists = &lists);
    REFUSE_STEP(RAPT_ERROR_ARGUMENT, "device_lists.block_q is 96", ON_DEVICE, lists.block_q = 96);
    REFUSE_STEP(RAPT_ERROR_ARGUMENT, "device_lists.block_kv is 8", ON_DEVICE, lists.block_kv = 8);
    REFUSE_STEP(RAPT_ERROR_SHAPE, "device_lists.n_sets is 3", ON_DEVICE, lists.n_sets = 3);
    REFUSE_STEP(RAPT_ERROR_ARGUMENT, "list_capacity is 0", ON_DEVICE, lists.list_capacity = 0);
    REFUSE_STEP(RAPT_ERROR_ARGUMENT, "struct_size", ON_DEVICE, lists.struct_size = 0);
    REFUSE_STEP(RAPT_ERROR_CAPACITY, "max_spans", ON_DEVICE, lists.list_capacity = UINT32_MAX);
    REFUSE_STEP(RAPT_ERROR_CAPACITY, "max_bit_words", ON_DEVICE, lists.bit_words = UINT32_MAX);
    rapt_mask_destroy(&mask);
    struct bench b;
    struct table t;
    rapt_plan_params params = sound_params();
    open_table(&b, &t, &gpu, &params);
    expect(rapt_plan_prepare(b.plan, &b.step, &b.out), RAPT_ERROR_ARGUMENT, "RAPT_PLAN_BLOCKS");
    close_table(&b, &t);
}

static void bad_params(void **state)
{
    rapt_plan *plan = NULL;
    rapt_plan_params params = sound_params();
    (void)state;
    fake_device_init(&gpu, &device);
    params.head_group = 3;
    expect(rapt_plan_create(&device, &params, &plan), RAPT_ERROR_ARGUMENT, "head_group is 3");
    params = sound_params();
    params.max_spans = 8;
    expect(rapt_plan_create(&device, &params, &plan), RAPT_ERROR_ARGUMENT,
           "max_spans is set without");
    params = block_params();
    params.list_block_q = 48;
    expect(rapt_plan_create(&device, &params, &plan), RAPT_ERROR_ARGUMENT, "list_block_q is 48");
    params = block_params();
    params.max_bit_words = 1u << 30;
    expect(rapt_plan_create(&device, &params, &plan), RAPT_ERROR_ARGUMENT, "max_bit_words");
}

static void capacity_is_told(void **state)
{
    struct bench b;
    struct table t;
    rapt_plan_params params = block_params();
    (void)state;
    params.max_spans = 6;
    params.max_bit_words = 127;
    open_table(&b, &t, &gpu, &params);
    expect(rapt_plan_prepare(b.plan, &b.step, &b.out), RAPT_ERROR_CAPACITY, "max_spans");
    assert_int_equal(b.out.n_spans, 7);
    assert_int_equal(b.out.n_bit_words, 128);
    close_table(&b, &t);
    params.max_spans = 7;
    params.max_bit_words = 128;
    open_table(&b, &t, &gpu, &params);
    assert_int_equal(rapt_plan_prepare(b.plan, &b.step, &b.out), RAPT_OK);
    close_table(&b, &t);
}

/* Of the item with these rows: its first span and how many. */
static const struct rapt_step_span *item_spans(const struct bench *b, uint32_t seq, uint32_t head,
                                               uint32_t row, uint32_t *out_n)
{
    const struct rapt_step_header *header = (const void *)b->tables;
    for (uint32_t k = 0; k < b->out.n_items; k++) {
        const struct rapt_step_item *item =
            (const void *)(b->tables + header->items_word + k * RAPT_STEP_ITEM_WORDS);
        if (item->seq != seq || item->head_first != head || item->row_first > row ||
            item->row_first + item->n_rows <= row)
            continue;
        *out_n = item->n_blocks;
        assert_int_equal(item->kv_head, head / 4);
        return (const void *)(b->tables + item->block_first);
    }
    fail_msg("no item has row %u of sequence %u, head %u", row, seq, head);
    return NULL;
}

static void a_table_becomes_spans(void **state)
{
    const rapt_caps *all[] = {&gpu, &cpu, &old_cpu};
    (void)state;
    for (int i = 0; i < 3; i++) {
        struct bench b;
        struct table t;
        rapt_plan_params params = block_params();
        uint32_t n;
        open_table(&b, &t, all[i], &params);
        assert_int_equal(rapt_plan_prepare(b.plan, &b.step, &b.out), RAPT_OK);
        const struct rapt_step_header *header = (const void *)b.tables;
        assert_true(header->features & RAPT_FEAT_BLOCKS);
        assert_int_equal(header->block_q_shift, 6);
        assert_int_equal(header->block_kv_shift, 5);
        assert_memory_equal(b.tables + header->bits_word, t.bits, sizeof t.bits);
        const struct rapt_step_span *spans = item_spans(&b, 0, 0, 0, &n);
        assert_int_equal(n, 2);
        assert_memory_equal(spans, ((uint32_t[]){0, 32, RAPT_SPAN_FULL, 64, 96, RAPT_SPAN_CLOSED}),
                            24);
        spans = item_spans(&b, 0, 0, 64 * 4, &n);
        assert_int_equal(n, 1);
        assert_int_equal(spans->kv_begin, 96);
        assert_int_equal(spans->kv_end, 100);
        assert_int_equal(spans->test, 4 * (header->bits_word + 64) + RAPT_SPAN_BITS);
        spans = item_spans(&b, 0, 4, 0, &n);
        assert_int_equal(n, 1);
        assert_memory_equal(spans, ((uint32_t[]){0, 96, RAPT_SPAN_FULL}), 12);
        item_spans(&b, 0, 4, 64 * 4, &n);
        assert_int_equal(n, 0);
        /* a plan for lists takes steps without them */
        b.step.block_table = NULL;
        assert_int_equal(rapt_plan_prepare(b.plan, &b.step, &b.out), RAPT_OK);
        assert_false(header->features & RAPT_FEAT_BLOCKS);
        assert_int_equal(b.out.n_spans | b.out.n_bit_words, 0);
        close_table(&b, &t);
    }
}

static void heads_apart(void **state)
{
    struct bench b;
    struct table t;
    rapt_plan_params params = block_params();
    uint32_t n;
    (void)state;
    params.head_group = 2;
    open_table(&b, &t, &gpu, &params);
    t.head_set[2] = t.head_set[3] = 1;
    assert_int_equal(rapt_plan_prepare(b.plan, &b.step, &b.out), RAPT_OK);
    const struct rapt_step_header *header = (const void *)b.tables;
    assert_int_equal(header->group, 2);
    item_spans(&b, 0, 0, 0, &n);
    assert_int_equal(n, 2);
    item_spans(&b, 0, 2, 0, &n);
    assert_int_equal(n, 1);
    for (uint32_t h = 0; h < 8; h += 2)
        assert_non_null(item_spans(&b, 1, h, 0, &n));
    close_table(&b, &t);
}

static void room_for_lists_made_on_the_device(void **state)
{
    rapt_device_lists lists = {.struct_size = sizeof lists,
                               .block_q = 64,
                               .block_kv = 128,
                               .n_sets = 2,
                               .list_capacity = 5,
                               .bit_words = 100};
    struct bench b;
    rapt_plan_params params = block_params();
    (void)state;
    open_bench(&b, &gpu, &params);
    b.step.device_lists = &lists;
    assert_int_equal(rapt_plan_prepare(b.plan, &b.step, &b.out), RAPT_OK);
    const struct rapt_step_header *header = (const void *)b.tables;
    assert_true(header->features & RAPT_FEAT_BLOCKS);
    assert_int_equal(header->counts_word, 16);
    assert_int_equal(header->block_kv_shift, 7);
    assert_int_equal(b.out.n_spans, 3 * 2 * 16 / 3 + 1);
    assert_int_equal(b.out.n_bit_words, 100);
    for (uint32_t k = 0; k < b.out.n_items; k++) {
        const struct rapt_step_item *item =
            (const void *)(b.tables + header->items_word + k * RAPT_STEP_ITEM_WORDS);
        uint32_t row = item->seq == 0 ? item->row_first / (64 * 4) : 2;
        uint32_t list = item->head_first / 4 * 3 + row;
        assert_int_equal(item->n_blocks, RAPT_LIST_ON_DEVICE);
        assert_int_equal(item->block_first, header->blocks_word + list * 16 + 1);
    }
    close_bench(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_params),       cmocka_unit_test(bad_lists),
        cmocka_unit_test(capacity_is_told), cmocka_unit_test(a_table_becomes_spans),
        cmocka_unit_test(heads_apart),      cmocka_unit_test(room_for_lists_made_on_the_device),
    };
    if (!read_snapshots())
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
