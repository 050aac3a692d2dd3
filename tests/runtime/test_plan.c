/* SPDX-License-Identifier: Apache-2.0 */

/* Plans and steps on a device that only takes notes: what is refused and why, what a step writes, how
 * memory grows. */

#include "plan_bench.h"

#include <math.h>

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
            assert_int_equal(item->block_first | item->n_blocks, 0);
            assert_int_equal(item->head_first, item->kv_head * header->group);
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
    if (!read_snapshots())
        return 1;
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
        cmocka_unit_test(memory_grows_with_length_not_its_square),
    };
    return cmocka_run_group_tests_name("plan", tests, NULL, NULL);
}
