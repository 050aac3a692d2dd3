/* SPDX-License-Identifier: Apache-2.0 */

/* Quantized K/V and pools in pieces, without a device: what plans, steps and records refuse, what the
 * kernels are told and given, which kernels are taken. */

#include "plan_bench.h"

#include "kernel_table.h"

#define MIB (1u << 20)

static void refuse(rapt_plan_params params, rapt_status want, const char *word)
{
    rapt_plan *plan = NULL;
    expect(rapt_plan_create(&device, &params, &plan), want, word);
    assert_null(plan);
}
#define REFUSE(want, word, ...)                                                                    \
    do {                                                                                           \
        rapt_plan_params p = sound_params();                                                       \
        p.kv_type = RAPT_TYPE_INT8;                                                                \
        __VA_ARGS__;                                                                               \
        refuse(p, want, word);                                                                     \
    } while (0)

static void bad_kinds(void **state)
{
    (void)state;
    fake_device_init(&gpu, &device);
    REFUSE(RAPT_ERROR_ARGUMENT, "head_dim is 40: kv_type q8_0 needs a multiple of 32",
           p.kv_type = RAPT_TYPE_Q8_0, p.head_dim = 40);
    REFUSE(RAPT_ERROR_ARGUMENT, "head_dim_v is 8: kv_type int4 needs a multiple of 32",
           p.kv_type = RAPT_TYPE_INT4, p.head_dim_v = 8);
    REFUSE(RAPT_ERROR_ARGUMENT, "scale_type is bf16", p.scale_type = RAPT_TYPE_BF16);
    REFUSE(RAPT_ERROR_ARGUMENT, "scale_type is f32: scales of int4 are f16",
           p.kv_type = RAPT_TYPE_INT4, p.scale_type = RAPT_TYPE_F32);
    REFUSE(RAPT_ERROR_ARGUMENT, "scale_kind is 3", p.scale_kind = (rapt_scale_kind)3);
    REFUSE(RAPT_ERROR_ARGUMENT, "one scale per token is for int8", p.kv_type = RAPT_TYPE_FP8_E4M3,
           p.scale_kind = RAPT_SCALE_TOKEN);
    REFUSE(RAPT_ERROR_ARGUMENT, "RAPT_SCALE_STATIC: int4", p.kv_type = RAPT_TYPE_INT4,
           p.scale_kind = RAPT_SCALE_STATIC);
    REFUSE(RAPT_ERROR_ARGUMENT, "shared_scale", p.shared_scale = 1);
    REFUSE(RAPT_ERROR_ARGUMENT, "q4_0 K/V have no scales of their own", p.kv_type = RAPT_TYPE_Q4_0,
           p.k_scale.token_stride = 2);
    REFUSE(RAPT_ERROR_ARGUMENT, "v_scale.token_stride is 2: expected 0",
           p.scale_kind = RAPT_SCALE_STATIC, p.v_scale.token_stride = 2);
    REFUSE(RAPT_ERROR_SHAPE, "rows of 2 scales would overlap", p.kv_type = RAPT_TYPE_INT4,
           p.k_scale.token_stride = 4, p.k_scale.head_stride = 1);
    REFUSE(RAPT_ERROR_ARGUMENT, "k_scale.head_stride is 4294967296", p.k_scale.head_stride = 1ull << 32);
    REFUSE(RAPT_ERROR_SHAPE, "rows of 64 bytes would overlap", p.k.token_stride = 128,
           p.k.head_stride = 63);
    REFUSE(RAPT_ERROR_ARGUMENT, "rows of blocks need even strides", p.kv_type = RAPT_TYPE_Q8_0,
           p.k.token_stride = 136, p.k.head_stride = 69);
    REFUSE(RAPT_ERROR_ARGUMENT, "integer_dot is 7", p.integer_dot = (rapt_choice)7);
    REFUSE(RAPT_ERROR_ARGUMENT, "n_kv_segments is 2 without RAPT_PLAN_PAGED", p.n_kv_segments = 2);
    REFUSE(RAPT_ERROR_ARGUMENT, "n_kv_segments is 5", p.n_kv_segments = 5);
    REFUSE(RAPT_ERROR_ARGUMENT, "pages_per_segment is 24", p.flags |= RAPT_PLAN_PAGED,
           p.page_size = 16, p.n_kv_segments = 2, p.pages_per_segment = 24);
}

/* What the header says, what is bound, what is too small. */
static void scales_reach_the_kernels(void **state)
{
    (void)state;
    struct bench b;
    rapt_plan_params params = sound_params();
    params.kv_type = RAPT_TYPE_INT8;
    params.scale_type = RAPT_TYPE_F16;
    open_bench(&b, &gpu, &params);
    rapt_plan_info info = {.struct_size = sizeof info};
    rapt_plan_get_info(b.plan, &info);
    assert_string_equal(info.prefill_kernel, "prefill_int8_pt");
    assert_string_equal(info.decode_kernel, "decode_int8_pt");
    assert_int_equal(info.integer_dot, 0);
    assert_int_equal(rapt_plan_prepare(b.plan, &b.step, &b.out), RAPT_OK);
    const struct rapt_step_header *header = (const void *)b.tables;
    const struct rapt_step_seq *seq = (const void *)(b.tables + header->seqs_word);
    assert_int_equal(header->scale_kind, RAPT_STORE_F16);
    assert_int_equal(header->k_token_stride, 128); /* bytes */
    assert_int_equal(header->k_scale_token_stride, 2);
    assert_int_equal(header->v_scale_head_stride, 1);
    assert_int_equal(seq[1].k_base_lo, 100 * 128);
    assert_int_equal(seq[1].v_scale_base_lo, 100 * 2);
    expect(rapt_plan_record(b.plan, &b.record), RAPT_ERROR_ARGUMENT, "k_scale.buffer is NULL");
    rapt_buffer scale = {(VkBuffer)(uintptr_t)9, 12, 2140 * 2 * 2};
    b.record.k_scale = b.record.v_scale = scale;
    b.record.v_scale.size--;
    expect(rapt_plan_record(b.plan, &b.record), RAPT_ERROR_SHAPE, "v_scale.size is 8559");
    b.record.v_scale.size++;
    b.record.k.size = 2140 * 128 - 1;
    expect(rapt_plan_record(b.plan, &b.record), RAPT_ERROR_SHAPE, "k.size is 273919");
    b.record.k.size++;
    assert_int_equal(rapt_plan_record(b.plan, &b.record), RAPT_OK);
    assert_int_equal(fake.range[RAPT_BIND_K_SCALE], scale.size + 12);
    assert_int_equal(fake.push.k_scale_lo, 12 / 2);
    b.step.k_scale_offsets = (uint64_t[]){7, 8, 9000};
    assert_int_equal(rapt_plan_prepare(b.plan, &b.step, &b.out), RAPT_ERROR_BUSY);
    rapt_plan_slot_done(b.plan, 0);
    assert_int_equal(rapt_plan_prepare(b.plan, &b.step, &b.out), RAPT_OK);
    assert_int_equal(seq[2].k_scale_base_lo, 9000);
    expect(rapt_plan_record(b.plan, &b.record), RAPT_ERROR_SHAPE, "k_scale.size");
    close_bench(&b);
}

static void page(struct bench *b, uint32_t n_pool_pages)
{
    memcpy(b->indptr, (uint32_t[]){0, 7, 20, 23}, sizeof b->indptr);
    memcpy(b->last, (uint32_t[]){4, 16, 8}, sizeof b->last);
    for (uint32_t i = 0; i < 23; i++)
        b->indices[i] = (i * 37) % n_pool_pages;
    b->step.cu_kv = NULL;
    b->step.page_indptr = b->indptr;
    b->step.page_indices = b->indices;
    b->step.last_page_len = b->last;
    b->step.n_pool_pages = n_pool_pages;
}

static rapt_plan_params paged_params(uint32_t n_segments)
{
    rapt_plan_params params = sound_params();
    params.flags |= RAPT_PLAN_PAGED;
    params.page_size = 16;
    params.n_kv_segments = n_segments;
    params.pages_per_segment = 16384; /* of 16 * 2 * 64 * 2 = 4096 bytes: 64 MiB */
    return params;
}

/* Drivers that bind 128 MiB at most. */
static void a_pool_too_large_goes_into_pieces(void **state)
{
    (void)state;
    struct bench b;
    rapt_caps small = gpu;
    small.max_storage_buffer_range = 128 * MIB;
    rapt_plan_params params = paged_params(1);
    const uint32_t n_pages = 3 * 16384 + 100;
    rapt_buffer whole = {(VkBuffer)(uintptr_t)5, 0, (uint64_t)n_pages * 4096};
    open_bench(&b, &small, &params);
    page(&b, n_pages);
    assert_int_equal(rapt_plan_prepare(b.plan, &b.step, &b.out), RAPT_OK);
    b.record.k = b.record.v = whole;
    expect(rapt_plan_record(b.plan, &b.record), RAPT_ERROR_UNSUPPORTED, "n_kv_segments");
    assert_int_equal(fake.n_commands, 0);
    close_bench(&b);

    params = paged_params(4);
    open_bench(&b, &small, &params);
    rapt_plan_info info = {.struct_size = sizeof info};
    rapt_plan_get_info(b.plan, &info);
    assert_string_equal(info.prefill_kernel, "tiled_f16_pts");
    assert_string_equal(info.decode_kernel, "tiled_f16_pts");
    page(&b, 4 * 16384 + 1);
    expect(rapt_plan_prepare(b.plan, &b.step, &b.out), RAPT_ERROR_SHAPE, "n_pool_pages is 65537");
    page(&b, n_pages);
    assert_int_equal(rapt_plan_prepare(b.plan, &b.step, &b.out), RAPT_OK);
    const struct rapt_step_header *header = (const void *)b.tables;
    assert_int_equal(header->n_segments, 4);
    assert_int_equal(header->seg_pages_shift, 14);
    b.record.k = b.record.v = whole;
    b.record.k.size = b.record.v.size = 64 * MIB;
    expect(rapt_plan_record(b.plan, &b.record), RAPT_ERROR_ARGUMENT, "k_segments[0].buffer is NULL");
    for (uint32_t i = 0; i < 3; i++) {
        uint64_t offset = (i + 1) * 64ull * MIB;
        uint64_t bytes = i < 2 ? 64 * MIB : 100 * 4096;
        b.record.k_segments[i] = (rapt_buffer){whole.buffer, offset, bytes}; /* ranges of one buffer */
        b.record.v_segments[i] = (rapt_buffer){(VkBuffer)(uintptr_t)(6 + i), 0, bytes};
    }
    b.record.v_segments[2].size--;
    expect(rapt_plan_record(b.plan, &b.record), RAPT_ERROR_SHAPE, "v_segments[2].size is 409599");
    b.record.v_segments[2].size++;
    b.record.k_segments[1].offset += 4;
    expect(rapt_plan_record(b.plan, &b.record), RAPT_ERROR_ARGUMENT, "k_segments[1].offset");
    b.record.k_segments[1].offset -= 4;
    assert_int_equal(rapt_plan_record(b.plan, &b.record), RAPT_OK);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(fake.offset[RAPT_BIND_K_SEG1 + i], (i + 1) * 64ull * MIB);
        assert_ptr_equal(fake.bound[RAPT_BIND_V_SEG1 + i], (VkBuffer)(uintptr_t)(6 + i));
    }
    assert_int_equal(fake.range[RAPT_BIND_K_SEG1 + 2], 100 * 4096);
    close_bench(&b);
}

/* A pool that reaches into two of its four pieces: the others are bound to something harmless. */
static void empty_pieces_need_no_buffer(void **state)
{
    (void)state;
    struct bench b;
    rapt_plan_params params = paged_params(4);
    params.pages_per_segment = 16;
    open_bench(&b, &gpu, &params);
    page(&b, 24);
    assert_int_equal(rapt_plan_prepare(b.plan, &b.step, &b.out), RAPT_OK);
    b.record.k_segments[0] = b.record.v_segments[0] = (rapt_buffer){(VkBuffer)(uintptr_t)7, 0, 8 * 4096};
    assert_int_equal(rapt_plan_record(b.plan, &b.record), RAPT_OK);
    assert_int_equal(fake.range[RAPT_BIND_V_SEG1], 8 * 4096);
    close_bench(&b);
}

static rapt_plan_info explain(const rapt_caps *caps, const rapt_plan_params *params, char why[256])
{
    rapt_plan_info info = {.struct_size = sizeof info};
    if (rapt_plan_explain(caps, params, why, 256, &info) != RAPT_OK)
        fail_msg("%s", rapt_last_error());
    return info;
}

static void integers_where_they_are_fast(void **state)
{
    (void)state;
    char why[256];
    int row = rapt_kernel_find("tiled_int8_ptd");
    rapt_caps fast = gpu, slow = gpu;
    fast.features |= RAPT_FEATURE_INTEGER_DOT;
    fast.integer_dot_accelerated = 1;
    slow.integer_dot_accelerated = 0;
    slow.features |= RAPT_FEATURE_INTEGER_DOT;
    rapt_caps none = fast, driver = cpu;
    none.features &= ~RAPT_FEATURE_INTEGER_DOT;
    driver.features |= RAPT_FEATURE_INTEGER_DOT;
    driver.integer_dot_accelerated = 1;
    int there = !rapt_kernel_absent_reason(row);
    rapt_plan_params params = sound_params();
    params.kv_type = RAPT_TYPE_INT8;
    const struct {
        const rapt_caps *caps;
        rapt_choice choice;
        int dot;
    } table[] = {
        {&fast, RAPT_CHOICE_AUTO, 1},    {&fast, RAPT_CHOICE_NEVER, 0},
        {&fast, RAPT_CHOICE_ALWAYS, 1},  {&slow, RAPT_CHOICE_AUTO, 0},
        {&slow, RAPT_CHOICE_ALWAYS, 1},  {&none, RAPT_CHOICE_ALWAYS, 0},
        {&driver, RAPT_CHOICE_AUTO, 0},  {&driver, RAPT_CHOICE_ALWAYS, 1},
        {&driver, RAPT_CHOICE_NEVER, 0},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        params.integer_dot = table[i].choice;
        rapt_plan_info info = explain(table[i].caps, &params, why);
        assert_int_equal(info.integer_dot, table[i].dot && there);
        assert_int_equal(strcmp(info.decode_kernel ? info.decode_kernel : "", "tiled_int8_ptd") == 0,
                         table[i].dot && there);
        if (table[i].choice == RAPT_CHOICE_ALWAYS && !table[i].dot)
            assert_non_null(strstr(why, "no integer dot products: needs integer_dot"));
    }
    params.integer_dot = RAPT_CHOICE_ALWAYS;
    params.head_dim = 72;
    assert_int_equal(explain(&fast, &params, why).integer_dot, 0);
    assert_non_null(strstr(why, "head_dim is no multiple of 32"));
    params = paged_params(2);
    params.kv_type = RAPT_TYPE_Q8_0;
    params.integer_dot = RAPT_CHOICE_ALWAYS;
    assert_int_equal(explain(&fast, &params, why).integer_dot, 0);
    assert_non_null(strstr(why, "one piece"));
    params.kv_type = RAPT_TYPE_F16;
    params.integer_dot = RAPT_CHOICE_AUTO;
    assert_string_equal(explain(&cpu, &params, why).prefill_kernel, "tiled_f16_pts");
    assert_non_null(strstr(why, "one piece"));
}

static void cost_counts_codes_and_scales(void **state)
{
    (void)state;
    static const struct {
        rapt_type type;
        rapt_scale_kind kind;
        uint64_t token; /* bytes of K and V of a token, 2 heads of 64 */
    } kinds[] = {
        {RAPT_TYPE_INT8, RAPT_SCALE_TOKEN_HEAD, 2 * (64 + 64 + 4 + 4)},
        {RAPT_TYPE_INT8, RAPT_SCALE_TOKEN, 2 * (64 + 64) + 4 + 4},
        {RAPT_TYPE_FP8_E4M3, RAPT_SCALE_STATIC, 2 * (64 + 64)},
        {RAPT_TYPE_INT4, RAPT_SCALE_TOKEN_HEAD, 2 * (32 + 32 + 4 + 4)},
        {RAPT_TYPE_Q8_0, RAPT_SCALE_TOKEN_HEAD, 2 * (68 + 68)},
        {RAPT_TYPE_Q4_0, RAPT_SCALE_TOKEN_HEAD, 2 * (36 + 36)},
    };
    const int32_t cu_q[] = {0, 1}, cu_kv[] = {0, 1000};
    rapt_step_params step = {
        .struct_size = sizeof step, .n_seqs = 1, .cu_q = cu_q, .cu_kv = cu_kv};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        rapt_plan_params params = sound_params();
        rapt_cost cost = {.struct_size = sizeof cost};
        params.kv_type = kinds[i].type;
        params.scale_kind = kinds[i].kind;
        assert_int_equal(rapt_plan_cost(&params, &step, &cost), RAPT_OK);
        assert_int_equal(cost.kv_bytes, 1000 * kinds[i].token);
    }
}

int main(void)
{
    if (!read_snapshots())
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_kinds),
        cmocka_unit_test(scales_reach_the_kernels),
        cmocka_unit_test(a_pool_too_large_goes_into_pieces),
        cmocka_unit_test(empty_pieces_need_no_buffer),
        cmocka_unit_test(integers_where_they_are_fast),
        cmocka_unit_test(cost_counts_codes_and_scales),
    };
    return cmocka_run_group_tests_name("kv plans", tests, NULL, NULL);
}
