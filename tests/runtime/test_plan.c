/* SPDX-License-Identifier: Apache-2.0 */

/* Plans, steps and records on a device that only takes notes: what is refused and why, what a step
 * writes, what a record dispatches, how memory grows. */

#include "fake_device.h"
#include "plan.h"
#include "snapshot.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static struct rapt_device device;
static rapt_caps gpu, cpu;

static rapt_plan_params sound_params(void)
{
    return (rapt_plan_params){
        .struct_size = sizeof(rapt_plan_params),
        .n_q_heads = 8,
        .n_kv_heads = 2,
        .head_dim = 64,
        .kv_type = RAPT_TYPE_F16,
        .flags = RAPT_PLAN_LSE,
        .max_batch = 4,
        .max_total_q = 512,
        .max_kv_len = 4096,
        .max_pages = 1024,
    };
}

/* A plan with memory, and a batch of three for it. */
struct bench {
    rapt_plan *plan;
    rapt_plan_sizes_info sizes;
    uint32_t *tables;
    int32_t cu_q[4], cu_kv[4];
    uint32_t indptr[4], last[3], indices[64];
    rapt_step_params step;
    rapt_step out;
    rapt_record_params record;
};

static void open_bench(struct bench *b, const rapt_caps *caps, const rapt_plan_params *params)
{
    memset(b, 0, sizeof *b);
    fake_device_init(caps, &device);
    assert_int_equal(rapt_plan_create(&device, params, &b->plan), RAPT_OK);
    b->sizes.struct_size = sizeof b->sizes;
    rapt_plan_sizes(b->plan, &b->sizes);
    b->tables = calloc(b->sizes.table_bytes / 4, 4);
    rapt_plan_memory memory = {
        .struct_size = sizeof memory,
        .tables = {(VkBuffer)(uintptr_t)1, 0, b->sizes.table_bytes},
        .tables_mapped = b->tables,
        .workspace = {(VkBuffer)(uintptr_t)2, 0, b->sizes.workspace_bytes},
    };
    assert_int_equal(rapt_plan_bind(b->plan, &memory), RAPT_OK);
    memcpy(b->cu_q, (int32_t[]){0, 100, 101, 101}, sizeof b->cu_q);
    memcpy(b->cu_kv, (int32_t[]){0, 100, 2100, 2140}, sizeof b->cu_kv);
    b->step = (rapt_step_params){
        .struct_size = sizeof b->step, .n_seqs = 3, .cu_q = b->cu_q, .cu_kv = b->cu_kv};
    b->out.struct_size = sizeof b->out;
    rapt_buffer big = {(VkBuffer)(uintptr_t)3, 0, 1u << 26};
    b->record = (rapt_record_params){
        .struct_size = sizeof b->record,
        .command_buffer = (VkCommandBuffer)(uintptr_t)1,
        .step = &b->out,
        .q = big,
        .k = big,
        .v = big,
        .out = big,
        .lse = big,
        .max_logit = big,
        .max_logit_reduced = big,
        .slopes = big,
        .sinks = big,
        .bias = big,
    };
}

static void close_bench(struct bench *b)
{
    rapt_plan_destroy(&b->plan);
    free(b->tables);
    assert_true(fake.n_made >= fake.n_gone);
    assert_int_equal(fake.n_made, fake.n_gone);
}

static void expect(rapt_status got, rapt_status want, const char *word)
{
    if (got != want || !strstr(rapt_last_error(), word))
        fail_msg("status %d, expected %d with \"%s\": %s", got, want, word, rapt_last_error());
}

/* ------------------------------------------------------------------------------------ bad plans */

static void refuse(rapt_plan_params params, rapt_status want, const char *word)
{
    rapt_plan *plan = (rapt_plan *)(uintptr_t)1;
    expect(rapt_plan_create(&device, &params, &plan), want, word);
    assert_null(plan);
    assert_int_equal(fake.n_made, fake.n_gone);
}
#define REFUSE(want, word, ...)                                                                    \
    do {                                                                                           \
        rapt_plan_params p = sound_params();                                                       \
        __VA_ARGS__;                                                                               \
        refuse(p, want, word);                                                                     \
    } while (0)

static void bad_shapes(void **state)
{
    (void)state;
    fake_device_init(&gpu, &device);
    REFUSE(RAPT_ERROR_ARGUMENT, "n_q_heads", p.n_q_heads = 0);
    REFUSE(RAPT_ERROR_ARGUMENT, "n_q_heads", p.n_q_heads = UINT32_MAX);
    REFUSE(RAPT_ERROR_SHAPE, "n_kv_heads", p.n_kv_heads = 0);
    REFUSE(RAPT_ERROR_SHAPE, "n_kv_heads", p.n_kv_heads = 3);
    REFUSE(RAPT_ERROR_ARGUMENT, "head_dim is 0", p.head_dim = 0);
    REFUSE(RAPT_ERROR_ARGUMENT, "head_dim is 100", p.head_dim = 100);
    REFUSE(RAPT_ERROR_ARGUMENT, "head_dim is 584", p.head_dim = 584);
    REFUSE(RAPT_ERROR_ARGUMENT, "head_dim_v is 4", p.head_dim_v = 4);
    REFUSE(RAPT_ERROR_ARGUMENT, "q_type is int8", p.q_type = RAPT_TYPE_INT8);
    REFUSE(RAPT_ERROR_ARGUMENT, "kv_type is 9: no such type", p.kv_type = (rapt_type)9);
    REFUSE(RAPT_ERROR_ARGUMENT, "q_type is 77", p.q_type = (rapt_type)77);
    REFUSE(RAPT_ERROR_ARGUMENT, "bias_type", p.bias_type = RAPT_TYPE_BF16);
    REFUSE(RAPT_ERROR_ARGUMENT, "flags", p.flags = 1u << 30);
    REFUSE(RAPT_ERROR_ARGUMENT, "MAX_LOGIT", p.flags = RAPT_PLAN_MAX_LOGIT_REDUCED);
    REFUSE(RAPT_ERROR_ARGUMENT, "scale is nan", p.scale = NAN);
    REFUSE(RAPT_ERROR_ARGUMENT, "scale is inf", p.scale = INFINITY);
    REFUSE(RAPT_ERROR_ARGUMENT, "softcap", p.softcap = -1);
    REFUSE(RAPT_ERROR_ARGUMENT, "softcap is nan", p.softcap = NAN);
    REFUSE(RAPT_ERROR_ARGUMENT, "page_size is 16", p.page_size = 16);
    REFUSE(RAPT_ERROR_ARGUMENT, "page_size is 24", p.page_size = 24, p.flags = RAPT_PLAN_PAGED);
    REFUSE(RAPT_ERROR_ARGUMENT, "page_size is 512", p.page_size = 512, p.flags = RAPT_PLAN_PAGED);
    REFUSE(RAPT_ERROR_ARGUMENT, "page_size is 0", p.flags = RAPT_PLAN_PAGED);
    REFUSE(RAPT_ERROR_ARGUMENT, "path", p.path = (rapt_path)9);
    REFUSE(RAPT_ERROR_UNSUPPORTED, "coopmat", p.path = RAPT_PATH_COOPMAT);
    REFUSE(RAPT_ERROR_ARGUMENT, "struct_size", p.struct_size = 0);
}

static void bad_layouts(void **state)
{
    (void)state;
    fake_device_init(&gpu, &device);
    REFUSE(RAPT_ERROR_ARGUMENT, "k.dim_stride is 2", p.k.dim_stride = 2);
    REFUSE(RAPT_ERROR_SHAPE, "q.token_stride is 8", p.q.token_stride = 8, p.q.head_stride = 64);
    REFUSE(RAPT_ERROR_SHAPE, "v.head_stride is 0", p.v.token_stride = 512);
    REFUSE(RAPT_ERROR_ARGUMENT, "even", p.k.token_stride = 129, p.k.head_stride = 64);
    REFUSE(RAPT_ERROR_ARGUMENT, "2^32", p.q.token_stride = 1ull << 62, p.q.head_stride = 64);
    REFUSE(RAPT_ERROR_ARGUMENT, "2^32", p.out.token_stride = 64, p.out.head_stride = 1u << 30);
    REFUSE(RAPT_ERROR_SHAPE, "pages would overlap", p.flags = RAPT_PLAN_PAGED, p.page_size = 16,
           p.k.token_stride = 128, p.k.head_stride = 64);
}

static void bad_capacities(void **state)
{
    (void)state;
    fake_device_init(&gpu, &device);
    REFUSE(RAPT_ERROR_ARGUMENT, "max_batch", p.max_batch = 65536);
    REFUSE(RAPT_ERROR_ARGUMENT, "max_total_q", p.max_total_q = 1u << 30);
    REFUSE(RAPT_ERROR_ARGUMENT, "max_kv_len", p.max_kv_len = 1u << 30);
    REFUSE(RAPT_ERROR_ARGUMENT, "max_pages", p.max_pages = UINT32_MAX);
    REFUSE(RAPT_ERROR_ARGUMENT, "n_steps_in_flight", p.n_steps_in_flight = 1000);
    REFUSE(RAPT_ERROR_ARGUMENT, "max_records_per_step", p.max_records_per_step = 1u << 20);
    REFUSE(RAPT_ERROR_ARGUMENT, "max_work_items", p.max_work_items = UINT32_MAX);
    REFUSE(RAPT_ERROR_ARGUMENT, "max_partial_rows", p.max_partial_rows = UINT32_MAX);
    REFUSE(RAPT_ERROR_ARGUMENT, "n_splits", p.n_splits = 2, p.fixed_split = 64);
    REFUSE(RAPT_ERROR_ARGUMENT, "n_splits", p.n_splits = 1u << 20);
    REFUSE(RAPT_ERROR_ARGUMENT, "fixed_split is 100", p.fixed_split = 100);
    REFUSE(RAPT_ERROR_ARGUMENT, "fixed_split", p.fixed_split = 1024, p.max_keys_per_item = 512);
    REFUSE(RAPT_ERROR_ARGUMENT, "block_kv", p.block_kv = 16, p.pages_per_block = 2);
    REFUSE(RAPT_ERROR_ARGUMENT, "pages_per_block", p.pages_per_block = 2);
    REFUSE(RAPT_ERROR_ARGUMENT, "shared_memory_limit", p.shared_memory_limit = 1u << 30);
    REFUSE(RAPT_ERROR_ARGUMENT, "2^32", p.fixed_split = 8, p.max_kv_len = 1u << 29,
           p.max_work_items = 1000, p.max_partial_rows = 1000);
    fake.fail_pipelines = 1;
    REFUSE(RAPT_ERROR_DEVICE_MEMORY, "vkCreateComputePipelines", (void)p);
    expect(rapt_plan_create(&device, NULL, &(rapt_plan *){NULL}), RAPT_ERROR_ARGUMENT, "NULL");
}

/* ------------------------------------------------------------------------------------ bad steps */

static void refuse_step(struct bench *b, rapt_status want, const char *word)
{
    uint32_t *before = malloc(b->sizes.table_bytes);
    memcpy(before, b->tables, b->sizes.table_bytes);
    expect(rapt_plan_prepare(b->plan, &b->step, &b->out), want, word);
    assert_memory_equal(before, b->tables, b->sizes.table_bytes);
    free(before);
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
    refuse_step(&b, want, word)
    REFUSE_STEP(RAPT_ERROR_ARGUMENT, "n_seqs", b.step.n_seqs = 0);
    REFUSE_STEP(RAPT_ERROR_ARGUMENT, "cu_q", b.step.cu_q = NULL);
    REFUSE_STEP(RAPT_ERROR_ARGUMENT, "cu_kv", b.step.cu_kv = NULL);
    REFUSE_STEP(RAPT_ERROR_ARGUMENT, "cu_q[0]", b.step.cu_q = b.cu_q + 1);
    REFUSE_STEP(RAPT_ERROR_ARGUMENT, "slot is 3", b.step.slot = 3);
    REFUSE_STEP(RAPT_ERROR_ARGUMENT, "RAPT_PLAN_PAGED", b.step.page_indptr = b.indptr);
    REFUSE_STEP(RAPT_ERROR_ARGUMENT, "RAPT_PLAN_BIAS", b.step.bias_row_stride = 4);
    uint64_t odd[3] = {0, 7, 0}, huge[3] = {0, 1ull << 62, 0};
    REFUSE_STEP(RAPT_ERROR_ARGUMENT, "k_offsets[1] is 7", b.step.k_offsets = odd);
    REFUSE_STEP(RAPT_ERROR_SHAPE, "v reaches to element", b.step.v_offsets = huge);
    REFUSE_STEP(RAPT_ERROR_ARGUMENT, "struct_size", b.step.struct_size = 0);
    b.step = sound;
    b.out.struct_size = 0;
    expect(rapt_plan_prepare(b.plan, &b.step, &b.out), RAPT_ERROR_ARGUMENT, "struct_size");
    close_bench(&b);
}

static void capacity_is_told_and_the_slot_kept(void **state)
{
    (void)state;
    struct bench b;
    rapt_plan_params params = sound_params();
    open_bench(&b, &gpu, &params);
    int32_t many[6] = {0, 1, 2, 3, 4, 5}, long_q[2] = {0, 513}, long_kv[2] = {0, 4097};
    int32_t one[2] = {0, 1};
    assert_int_equal(rapt_plan_prepare(b.plan, &b.step, &b.out), RAPT_OK);
    b.step.n_seqs = 5;
    b.step.cu_q = b.step.cu_kv = many;
    refuse_step(&b, RAPT_ERROR_CAPACITY, "max_batch");
    assert_int_equal(b.out.n_seqs, 5);
    b.step.n_seqs = 1;
    b.step.cu_q = long_q;
    refuse_step(&b, RAPT_ERROR_CAPACITY, "max_total_q");
    assert_int_equal(b.out.total_q, 513);
    b.step.cu_q = one;
    b.step.cu_kv = long_kv;
    refuse_step(&b, RAPT_ERROR_CAPACITY, "max_kv_len");
    close_bench(&b);

    params.max_work_items = 5;
    open_bench(&b, &gpu, &params);
    refuse_step(&b, RAPT_ERROR_CAPACITY, "max_work_items");
    assert_true(b.out.n_items > 5);
    close_bench(&b);
}

static void few_partial_rows_mean_fewer_parts(void **state)
{
    (void)state;
    struct bench b;
    rapt_plan_params params = sound_params();
    open_bench(&b, &gpu, &params);
    assert_int_equal(rapt_plan_prepare(b.plan, &b.step, &b.out), RAPT_OK);
    assert_true(b.out.n_merges > 0);
    close_bench(&b);
    params.max_partial_rows = 1;
    open_bench(&b, &gpu, &params);
    assert_int_equal(rapt_plan_prepare(b.plan, &b.step, &b.out), RAPT_OK);
    assert_int_equal(b.out.n_merges, 0);
    close_bench(&b);
    params.n_splits = 4; /* asked for, so not given up silently */
    open_bench(&b, &gpu, &params);
    refuse_step(&b, RAPT_ERROR_CAPACITY, "max_partial_rows");
    assert_true(b.out.n_partial_rows > 1);
    close_bench(&b);
}

static void a_slot_in_use_is_busy(void **state)
{
    (void)state;
    struct bench b;
    rapt_plan_params params = sound_params();
    open_bench(&b, &gpu, &params);
    assert_int_equal(rapt_plan_prepare(b.plan, &b.step, &b.out), RAPT_OK);
    assert_int_equal(rapt_plan_prepare(b.plan, &b.step, &b.out), RAPT_OK); /* nothing recorded */
    assert_int_equal(rapt_plan_record(b.plan, &b.record), RAPT_OK);
#ifndef NDEBUG
    expect(rapt_plan_prepare(b.plan, &b.step, &b.out), RAPT_ERROR_BUSY, "slot 0");
#endif
    rapt_plan_slot_done(b.plan, 0);
    assert_int_equal(rapt_plan_prepare(b.plan, &b.step, &b.out), RAPT_OK);
    close_bench(&b);
}

/* ---------------------------------------------------------------------------------- step block */

static void reserved_members_are_zero(void **state)
{
    (void)state;
    const rapt_caps *all[] = {&gpu, &cpu};
    for (int i = 0; i < 2; i++) {
        struct bench b;
        rapt_plan_params params = sound_params();
        params.flags |= RAPT_PLAN_FEW_PIPELINES;
        open_bench(&b, all[i], &params);
        memset(b.tables, 0xff, b.sizes.table_bytes);
        assert_int_equal(rapt_plan_prepare(b.plan, &b.step, &b.out), RAPT_OK);
        const struct rapt_step_header *header = (const void *)b.tables;
        const uint32_t *words = b.tables;
        for (size_t w = offsetof(struct rapt_step_header, blocks_word) / 4;
             w < RAPT_STEP_HEADER_WORDS; w++)
            assert_int_equal(words[w], 0);
        assert_int_equal(header->version, RAPT_STEP_VERSION);
        assert_int_equal(header->features, RAPT_FEAT_LSE); /* what the step wants, not all bits */
        for (uint32_t s = 0; s < 3; s++) {
            const struct rapt_step_seq *seq =
                (const void *)(words + header->seqs_word + s * RAPT_STEP_SEQ_WORDS);
            assert_int_equal(seq->tree_first | seq->rows_first, 0);
            assert_int_equal(seq->k_scale_base_lo | seq->k_scale_base_hi, 0);
            assert_int_equal(seq->v_scale_base_lo | seq->v_scale_base_hi, 0);
        }
        for (uint32_t k = 0; k < b.out.n_items; k++) {
            const struct rapt_step_item *item =
                (const void *)(words + header->items_word + k * RAPT_STEP_ITEM_WORDS);
            assert_int_equal(item->block_first | item->n_blocks | item->head_first, 0);
        }
        for (uint32_t k = 0; k < header->n_merges; k++) {
            const struct rapt_step_merge *merge =
                (const void *)(words + header->merges_word + k * RAPT_STEP_MERGE_WORDS);
            assert_int_equal(merge->reserved, 0);
        }
        for (uint32_t k = 0; k < header->n_stages; k++) {
            const struct rapt_step_stage *stage =
                (const void *)(words + header->stages_word + k * RAPT_STEP_STAGE_WORDS);
            assert_int_equal(stage->reserved[0] | stage->reserved[1] | stage->reserved[2], 0);
        }
        assert_int_equal(header->n_stages > 0, i == 1);
        assert_int_equal(rapt_plan_record(b.plan, &b.record), RAPT_OK);
        for (uint32_t k = 0; k < fake.n_commands; k++) {
            const struct rapt_push *push = &fake.commands[k].push;
            if (fake.commands[k].kind == FAKE_DISPATCH)
                assert_int_equal(
                    push->k_scale_lo | push->k_scale_hi | push->v_scale_lo | push->v_scale_hi, 0);
        }
        close_bench(&b);
    }
}

static void the_block_says_where_things_lie(void **state)
{
    (void)state;
    struct bench b;
    rapt_plan_params params = sound_params();
    params.flags |= RAPT_PLAN_PAGED | RAPT_PLAN_BIAS;
    params.page_size = 16;
    params.q = (rapt_layout){.outer_stride = 1u << 20, .token_stride = 64, .head_stride = 8192};
    open_bench(&b, &gpu, &params);
    memcpy(b.indptr, (uint32_t[]){0, 7, 10, 13}, sizeof b.indptr);
    memcpy(b.last, (uint32_t[]){4, 16, 1}, sizeof b.last);
    for (uint32_t i = 0; i < 13; i++)
        b.indices[i] = 20 - i;
    uint64_t bias[3] = {5, 1000, 9};
    int32_t pos0[3] = {-3, 100, 7};
    rapt_mask *mask = NULL;
    assert_int_equal(rapt_mask_parse(NULL, "causal & window(12, 0) & sink_tokens(60)", NULL, &mask),
                     RAPT_OK);
    b.step.cu_kv = NULL;
    b.step.page_indptr = b.indptr;
    b.step.page_indices = b.indices;
    b.step.last_page_len = b.last;
    b.step.n_pool_pages = 21;
    b.step.kv_pos0 = pos0;
    b.step.bias_offsets = bias;
    b.step.mask = mask;
    b.step.slot = 2;
    assert_int_equal(rapt_plan_prepare(b.plan, &b.step, &b.out), RAPT_OK);
    const uint32_t *words = b.tables + b.sizes.table_bytes / 4 / 3 * 2;
    const struct rapt_step_header *h = (const void *)words;
    assert_int_equal(h->n_q_heads, 8);
    assert_int_equal(h->group, 4);
    assert_int_equal(h->total_q, 101);
    assert_int_equal(h->page_shift, 4);
    assert_int_equal(h->page_mask, 15);
    assert_int_equal(h->n_pages, 21);
    assert_int_equal(h->q_token_stride, 64);
    assert_int_equal(h->q_head_stride, 8192);
    assert_int_equal(h->k_token_stride, 128);
    assert_int_equal(h->k_page_stride_lo, 16 * 128);
    assert_int_equal(h->left, 12);
    assert_int_equal(h->right, 0);
    assert_true(h->scale == 0.125f);
    const struct rapt_step_seq *seq = (const void *)(words + h->seqs_word);
    assert_int_equal(seq[0].kv_len, 100);
    assert_int_equal(seq[0].kv_limit, 63); /* keys at positions below 60 */
    assert_int_equal(seq[0].q_pos0, -3);
    assert_int_equal(seq[1].kv_limit, 0);
    assert_int_equal(seq[1].page_first, 7);
    assert_int_equal(seq[1].n_seq_pages, 3);
    assert_int_equal(seq[1].q_base_lo, 1u << 20);
    assert_int_equal(seq[1].bias_base_lo, 1000);
    assert_int_equal(seq[1].out_base_lo, 100 * 512);
    assert_memory_equal(words + h->pages_word, b.indices, 13 * 4);
    rapt_mask_destroy(&mask);
    close_bench(&b);
}

/* -------------------------------------------------------------------------------------- record */

static void bad_records(void **state)
{
    (void)state;
    struct bench b;
    rapt_plan_params params = sound_params();
    open_bench(&b, &gpu, &params);
    assert_int_equal(rapt_plan_prepare(b.plan, &b.step, &b.out), RAPT_OK);
    const rapt_record_params sound = b.record;
    const rapt_step step = b.out;
#define REFUSE_RECORD(want, word, ...)                                                             \
    b.record = sound;                                                                              \
    b.out = step;                                                                                  \
    __VA_ARGS__;                                                                                   \
    expect(rapt_plan_record(b.plan, &b.record), want, word);                                       \
    assert_int_equal(fake.n_commands, 0)
    REFUSE_RECORD(RAPT_ERROR_ARGUMENT, "command_buffer", b.record.command_buffer = NULL);
    REFUSE_RECORD(RAPT_ERROR_ARGUMENT, "step is NULL", b.record.step = NULL);
    REFUSE_RECORD(RAPT_ERROR_ARGUMENT, "slot 0", b.out.generation++);
    REFUSE_RECORD(RAPT_ERROR_ARGUMENT, "slot 1", b.out.slot = 1);
    REFUSE_RECORD(RAPT_ERROR_ARGUMENT, "q.buffer", b.record.q.buffer = NULL);
    REFUSE_RECORD(RAPT_ERROR_SHAPE, "q.size", b.record.q.size = 101 * 512 * 4 - 1);
    REFUSE_RECORD(RAPT_ERROR_SHAPE, "k.size", b.record.k.size = 2140 * 128 * 2 - 1);
    REFUSE_RECORD(RAPT_ERROR_SHAPE, "lse.size", b.record.lse.size = 101 * 8 * 4 - 1);
    REFUSE_RECORD(RAPT_ERROR_ARGUMENT, "out.offset", b.record.out.offset = 2);
    REFUSE_RECORD(RAPT_ERROR_ARGUMENT, "the step has", b.record.first_item = step.n_items + 1);
    REFUSE_RECORD(RAPT_ERROR_ARGUMENT, "the step has", b.record.n_items = step.n_items + 1);
    REFUSE_RECORD(RAPT_ERROR_ARGUMENT, "only_merge", b.record.only_merge = b.record.no_merge = 1);
    b.record = sound;
    b.out = step;
    b.record.max_logit.buffer = NULL; /* not this plan's */
    b.record.q.size = 101 * 512 * 4;
    assert_int_equal(rapt_plan_record(b.plan, &b.record), RAPT_OK);
    close_bench(&b);
}

static void offsets_reach_the_kernels(void **state)
{
    (void)state;
    struct bench b;
    rapt_plan_params params = sound_params();
    open_bench(&b, &gpu, &params);
    device.caps.storage_buffer_alignment = 64;
    assert_int_equal(rapt_plan_prepare(b.plan, &b.step, &b.out), RAPT_OK);
    b.record.q.offset = 64 * 5 + 12;
    b.record.k.offset = 64 * 9 + 20;
    b.record.out.offset = 60;
    assert_int_equal(rapt_plan_record(b.plan, &b.record), RAPT_OK);
    const struct fake_command *dispatch = &fake.commands[0];
    while (dispatch->kind != FAKE_DISPATCH)
        dispatch++;
    assert_int_equal(dispatch->push.q_base, 3);  /* f32 */
    assert_int_equal(dispatch->push.k_base, 10); /* f16 */
    assert_int_equal(dispatch->push.out_base, 15);
    assert_int_equal(fake.offset[RAPT_BIND_Q], 64 * 5);
    assert_int_equal(fake.offset[RAPT_BIND_K], 64 * 9);
    assert_int_equal(fake.range[RAPT_BIND_Q], 101 * 512 * 4 + 12);
    close_bench(&b);

    open_bench(&b, &cpu, &params);
    assert_int_equal(rapt_plan_prepare(b.plan, &b.step, &b.out), RAPT_OK);
    b.record.q.offset = 12;
    assert_int_equal(rapt_plan_record(b.plan, &b.record), RAPT_OK);
    dispatch = &fake.commands[0];
    while (dispatch->kind != FAKE_DISPATCH)
        dispatch++;
    assert_int_equal(dispatch->push.q_lo, 12);
    assert_int_equal(dispatch->push.q_hi, 3);
    assert_int_equal(dispatch->push.work_hi, 2);
    assert_int_equal(dispatch->push.step_hi, 1);
    close_bench(&b);
}

static void records_are_counted_without_push_descriptors(void **state)
{
    (void)state;
    struct bench b;
    rapt_plan_params params = sound_params();
    rapt_caps caps = gpu;
    caps.features &= ~RAPT_FEATURE_PUSH_DESCRIPTOR;
    params.max_records_per_step = 5;
    open_bench(&b, &caps, &params);
    assert_int_equal(rapt_plan_prepare(b.plan, &b.step, &b.out), RAPT_OK);
    for (int i = 0; i < 5; i++)
        assert_int_equal(rapt_plan_record(b.plan, &b.record), RAPT_OK);
    uint32_t n = fake.n_commands;
    expect(rapt_plan_record(b.plan, &b.record), RAPT_ERROR_CAPACITY, "max_records_per_step");
    assert_int_equal(fake.n_commands, n);
    rapt_plan_slot_done(b.plan, 0);
    assert_int_equal(rapt_plan_prepare(b.plan, &b.step, &b.out), RAPT_OK);
    assert_int_equal(rapt_plan_record(b.plan, &b.record), RAPT_OK);
    close_bench(&b);
}

/* Which items, merges and stages the notes hold; a barrier lies between what depends. */
static void count_slices(const struct bench *b, uint8_t *items, uint32_t *n_merged)
{
    const struct rapt_plan *plan = b->plan;
    for (uint32_t i = 0; i < fake.n_commands; i++) {
        const struct fake_command *c = &fake.commands[i];
        if (c->kind != FAKE_DISPATCH)
            continue;
        assert_int_equal(c->x, c->push.count < RAPT_GRID_X ? c->push.count : RAPT_GRID_X);
        assert_true((uint64_t)c->x * c->y >= c->push.count);
        uint64_t prefill = (uint64_t)(uintptr_t)plan->pipelines[PLAN_PREFILL].pipeline;
        uint64_t decode = (uint64_t)(uintptr_t)plan->pipelines[PLAN_DECODE].pipeline;
        uint64_t merge = (uint64_t)(uintptr_t)plan->pipelines[PLAN_MERGE].pipeline;
        if (c->pipeline == merge) {
            *n_merged += c->push.count;
            assert_int_equal(fake.commands[i - 1].kind, FAKE_BARRIER);
        }
        if (c->pipeline != prefill && c->pipeline != decode)
            continue;
        for (uint32_t k = 0; k < c->push.count; k++) {
            uint32_t item = c->push.first + k;
            assert_int_equal(item >= b->out.n_prefill_items, c->pipeline == decode);
            items[item]++;
        }
        if (plan->selection.staged && c->pipeline == prefill) {
            uint64_t stage = (uint64_t)(uintptr_t)plan->pipelines[PLAN_STAGE].pipeline;
            assert_true(i >= 2 && fake.commands[i - 1].kind == FAKE_BARRIER);
            assert_int_equal(fake.commands[i - 2].pipeline, stage);
        }
    }
}

static void slices_cover_the_list_once(void **state)
{
    (void)state;
    const rapt_caps *all[] = {&gpu, &cpu};
    for (int i = 0; i < 2; i++)
        for (uint32_t n_slices = 1; n_slices < 9; n_slices++) {
            struct bench b;
            rapt_plan_params params = sound_params();
            open_bench(&b, all[i], &params);
            if (i == 1)
                b.plan->selection.stage_rows = 128; /* several rounds */
            assert_int_equal(rapt_plan_prepare(b.plan, &b.step, &b.out), RAPT_OK);
            uint8_t items[4096] = {0};
            uint32_t n = b.out.n_items, n_merged = 0;
            for (uint32_t s = 0; s < n_slices; s++) {
                b.record.first_item = n * s / n_slices;
                b.record.n_items = n * (s + 1) / n_slices - b.record.first_item;
                b.record.no_merge = n_slices % 2;
                assert_int_equal(rapt_plan_record(b.plan, &b.record), RAPT_OK);
            }
            if (b.record.no_merge) {
                b.record.first_item = b.record.n_items = 0;
                b.record.no_merge = 0;
                b.record.only_merge = 1;
                assert_int_equal(rapt_plan_record(b.plan, &b.record), RAPT_OK);
            }
            count_slices(&b, items, &n_merged);
            for (uint32_t k = 0; k < n; k++)
                assert_int_equal(items[k], 1);
            assert_int_equal(n_merged, b.out.n_merges);
            close_bench(&b);
        }
}

static void an_empty_step_records_nothing(void **state)
{
    (void)state;
    struct bench b;
    rapt_plan_params params = sound_params();
    params.flags |= RAPT_PLAN_MAX_LOGIT | RAPT_PLAN_MAX_LOGIT_REDUCED;
    open_bench(&b, &gpu, &params);
    int32_t none[4] = {0};
    b.step.cu_q = none;
    assert_int_equal(rapt_plan_prepare(b.plan, &b.step, &b.out), RAPT_OK);
    assert_int_equal(b.out.n_items, 0);
    b.record.q = b.record.out = b.record.lse = b.record.max_logit = (rapt_buffer){0};
    assert_int_equal(rapt_plan_record(b.plan, &b.record), RAPT_OK);
    uint32_t n_dispatches = 0; /* but the maxima of no rows, which are -inf */
    for (uint32_t i = 0; i < fake.n_commands; i++)
        n_dispatches += fake.commands[i].kind == FAKE_DISPATCH;
    assert_int_equal(n_dispatches, 1);
    close_bench(&b);
}

/* -------------------------------------------------------------------------------------- memory */

/* Exponent of bytes against length, fitted through the suite's lengths and beyond. */
static double exponent(const rapt_caps *caps, rapt_plan_params params, int decode)
{
    double sx = 0, sy = 0, sxx = 0, sxy = 0, n = 0;
    for (uint32_t length = 512; length <= 65536; length *= 2) {
        rapt_plan *plan = NULL;
        rapt_plan_sizes_info sizes = {.struct_size = sizeof sizes};
        params.max_total_q = decode ? 1 : length;
        params.max_kv_len = length;
        params.max_pages = length / 16;
        fake_device_init(caps, &device);
        assert_int_equal(rapt_plan_create(&device, &params, &plan), RAPT_OK);
        rapt_plan_sizes(plan, &sizes);
        rapt_plan_destroy(&plan);
        double bytes = (double)sizes.table_bytes + (double)sizes.workspace_bytes;
        /* and the tensors, which the caller holds */
        bytes += 4.0 * params.max_total_q * params.n_q_heads * 2 * params.head_dim;
        bytes += 2.0 * length * params.n_kv_heads * 2 * params.head_dim;
        double x = log((double)length), y = log(bytes);
        sx += x;
        sy += y;
        sxx += x * x;
        sxy += x * y;
        n += 1;
    }
    return (n * sxy - sx * sy) / (n * sxx - sx * sx);
}

static void memory_grows_with_length_not_its_square(void **state)
{
    (void)state;
    const rapt_caps *all[] = {&gpu, &cpu};
    for (int i = 0; i < 2; i++)
        for (int decode = 0; decode < 2; decode++)
            for (uint32_t group = 1; group <= 4; group *= 4) {
                rapt_plan_params params = sound_params();
                params.n_q_heads = 8 * group;
                params.n_kv_heads = 8;
                params.head_dim = 128;
                params.max_batch = 1;
                double e = exponent(all[i], params, decode);
                if (e > 1.05)
                    fail_msg("%s, decode %d, group %u: exponent %.3f", all[i]->device_name, decode,
                             group, e);
            }
}

int main(void)
{
    if (!snapshot_read(RAPT_TEST_DEVICES, "navi31.txt", &gpu) ||
        !snapshot_read(RAPT_TEST_DEVICES, "lavapipe-26.1.txt", &cpu)) {
        fprintf(stderr, "cannot read the snapshots in %s\n", RAPT_TEST_DEVICES);
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_shapes),
        cmocka_unit_test(bad_layouts),
        cmocka_unit_test(bad_capacities),
        cmocka_unit_test(bad_steps),
        cmocka_unit_test(capacity_is_told_and_the_slot_kept),
        cmocka_unit_test(few_partial_rows_mean_fewer_parts),
        cmocka_unit_test(a_slot_in_use_is_busy),
        cmocka_unit_test(reserved_members_are_zero),
        cmocka_unit_test(the_block_says_where_things_lie),
        cmocka_unit_test(bad_records),
        cmocka_unit_test(offsets_reach_the_kernels),
        cmocka_unit_test(records_are_counted_without_push_descriptors),
        cmocka_unit_test(slices_cover_the_list_once),
        cmocka_unit_test(an_empty_step_records_nothing),
        cmocka_unit_test(memory_grows_with_length_not_its_square),
    };
    return cmocka_run_group_tests_name("plan", tests, NULL, NULL);
}
