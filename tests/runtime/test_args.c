/* SPDX-License-Identifier: Apache-2.0 */

/* The layout that host and kernels share, written down a second time: nothing in it may move once
 * kernels are built against it, the members that later features reserved included. */

#include "args.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

struct member {
    const char *name;
    size_t offset, want;
};
#define MEMBER(type, name, want)                                                                   \
    {                                                                                              \
#type "." #name, offsetof(struct type, name), want                                         \
    }

static void check(const struct member *members, size_t n, size_t size, size_t want_size)
{
    for (size_t i = 0; i < n; i++) {
        if (members[i].offset != members[i].want)
            fail_msg("%s lies at byte %zu, not at %zu", members[i].name, members[i].offset,
                     members[i].want);
    }
    assert_int_equal(size, want_size);
}
#define CHECK(members, type, size)                                                                 \
    check(members, sizeof members / sizeof members[0], sizeof(struct type), size)

static void rapt_step_header_stays(void **state)
{
    (void)state;
    static const struct member members[] = {
        MEMBER(rapt_step_header, version, 0),
        MEMBER(rapt_step_header, features, 4),
        MEMBER(rapt_step_header, n_q_heads, 8),
        MEMBER(rapt_step_header, n_kv_heads, 12),
        MEMBER(rapt_step_header, group, 16),
        MEMBER(rapt_step_header, n_seqs, 20),
        MEMBER(rapt_step_header, total_q, 24),
        MEMBER(rapt_step_header, page_shift, 28),
        MEMBER(rapt_step_header, page_mask, 32),
        MEMBER(rapt_step_header, n_pages, 36),
        MEMBER(rapt_step_header, q_token_stride, 40),
        MEMBER(rapt_step_header, q_head_stride, 44),
        MEMBER(rapt_step_header, k_token_stride, 48),
        MEMBER(rapt_step_header, k_head_stride, 52),
        MEMBER(rapt_step_header, v_token_stride, 56),
        MEMBER(rapt_step_header, v_head_stride, 60),
        MEMBER(rapt_step_header, out_token_stride, 64),
        MEMBER(rapt_step_header, out_head_stride, 68),
        MEMBER(rapt_step_header, k_page_stride_lo, 72),
        MEMBER(rapt_step_header, k_page_stride_hi, 76),
        MEMBER(rapt_step_header, v_page_stride_lo, 80),
        MEMBER(rapt_step_header, v_page_stride_hi, 84),
        MEMBER(rapt_step_header, scale, 88),
        MEMBER(rapt_step_header, softcap, 92),
        MEMBER(rapt_step_header, max_logit_const, 96),
        MEMBER(rapt_step_header, left, 100),
        MEMBER(rapt_step_header, right, 104),
        MEMBER(rapt_step_header, chunk, 108),
        MEMBER(rapt_step_header, seqs_word, 112),
        MEMBER(rapt_step_header, items_word, 116),
        MEMBER(rapt_step_header, merges_word, 120),
        MEMBER(rapt_step_header, q_pos_word, 124),
        MEMBER(rapt_step_header, pages_word, 128),
        MEMBER(rapt_step_header, stages_word, 132),
        MEMBER(rapt_step_header, n_prefill_items, 136),
        MEMBER(rapt_step_header, n_decode_items, 140),
        MEMBER(rapt_step_header, n_merges, 144),
        MEMBER(rapt_step_header, n_stages, 148),
        MEMBER(rapt_step_header, partial_o_word, 152),
        MEMBER(rapt_step_header, partial_ml_word, 156),
        MEMBER(rapt_step_header, stage_k_word, 160),
        MEMBER(rapt_step_header, stage_v_word, 164),
        MEMBER(rapt_step_header, bias_head_stride, 168),
        MEMBER(rapt_step_header, bias_row_stride, 172),
        MEMBER(rapt_step_header, blocks_word, 176),
        MEMBER(rapt_step_header, bits_word, 180),
        MEMBER(rapt_step_header, heads_word, 184),
        MEMBER(rapt_step_header, rows_word, 188),
        MEMBER(rapt_step_header, tree_word, 192),
        MEMBER(rapt_step_header, block_q_shift, 196),
        MEMBER(rapt_step_header, block_kv_shift, 200),
        MEMBER(rapt_step_header, counts_word, 204),
        MEMBER(rapt_step_header, seg_pages_shift, 208),
        MEMBER(rapt_step_header, n_segments, 212),
        MEMBER(rapt_step_header, k_scale_page_stride, 216),
        MEMBER(rapt_step_header, k_scale_token_stride, 220),
        MEMBER(rapt_step_header, k_scale_head_stride, 224),
        MEMBER(rapt_step_header, v_scale_page_stride, 228),
        MEMBER(rapt_step_header, v_scale_token_stride, 232),
        MEMBER(rapt_step_header, v_scale_head_stride, 236),
        MEMBER(rapt_step_header, scale_kind, 240),
        MEMBER(rapt_step_header, rope_dim, 244),
        MEMBER(rapt_step_header, rope_offset, 248),
        MEMBER(rapt_step_header, rope_kind, 252),
        MEMBER(rapt_step_header, rope_word, 256),
        MEMBER(rapt_step_header, rope_theta, 260),
        MEMBER(rapt_step_header, rope_attention_factor, 264),
        MEMBER(rapt_step_header, tree_start_word, 268),
        MEMBER(rapt_step_header, rope_pos_word, 272),
        MEMBER(rapt_step_header, rope_n_positions, 276),
        MEMBER(rapt_step_header, reserved, 280),
    };
    CHECK(members, rapt_step_header, 512);
}

static void rapt_step_seq_stays(void **state)
{
    (void)state;
    static const struct member members[] = {
        MEMBER(rapt_step_seq, q_row, 0),         MEMBER(rapt_step_seq, q_len, 4),
        MEMBER(rapt_step_seq, kv_len, 8),        MEMBER(rapt_step_seq, kv_limit, 12),
        MEMBER(rapt_step_seq, q_pos0, 16),       MEMBER(rapt_step_seq, kv_pos0, 20),
        MEMBER(rapt_step_seq, page_first, 24),   MEMBER(rapt_step_seq, n_seq_pages, 28),
        MEMBER(rapt_step_seq, q_base_lo, 32),    MEMBER(rapt_step_seq, q_base_hi, 36),
        MEMBER(rapt_step_seq, k_base_lo, 40),    MEMBER(rapt_step_seq, k_base_hi, 44),
        MEMBER(rapt_step_seq, v_base_lo, 48),    MEMBER(rapt_step_seq, v_base_hi, 52),
        MEMBER(rapt_step_seq, out_base_lo, 56),  MEMBER(rapt_step_seq, out_base_hi, 60),
        MEMBER(rapt_step_seq, bias_base_lo, 64), MEMBER(rapt_step_seq, bias_base_hi, 68),
        MEMBER(rapt_step_seq, tree_first, 72),   MEMBER(rapt_step_seq, rows_first, 76),
        MEMBER(rapt_step_seq, k_scale_base_lo, 80), MEMBER(rapt_step_seq, k_scale_base_hi, 84),
        MEMBER(rapt_step_seq, v_scale_base_lo, 88), MEMBER(rapt_step_seq, v_scale_base_hi, 92),
    };
    CHECK(members, rapt_step_seq, 96);
}

static void rapt_step_item_stays(void **state)
{
    (void)state;
    static const struct member members[] = {
        MEMBER(rapt_step_item, seq, 0),       MEMBER(rapt_step_item, kv_head, 4),
        MEMBER(rapt_step_item, row_first, 8), MEMBER(rapt_step_item, n_rows, 12),
        MEMBER(rapt_step_item, kv_begin, 16), MEMBER(rapt_step_item, kv_end, 20),
        MEMBER(rapt_step_item, partial, 24),  MEMBER(rapt_step_item, stage_row, 28),
        MEMBER(rapt_step_item, flags, 32),    MEMBER(rapt_step_item, block_first, 36),
        MEMBER(rapt_step_item, n_blocks, 40), MEMBER(rapt_step_item, head_first, 44),
    };
    CHECK(members, rapt_step_item, 48);
}

static void rapt_step_merge_stays(void **state)
{
    (void)state;
    static const struct member members[] = {
        MEMBER(rapt_step_merge, seq, 0),
        MEMBER(rapt_step_merge, kv_head, 4),
        MEMBER(rapt_step_merge, row_first, 8),
        MEMBER(rapt_step_merge, n_rows, 12),
        MEMBER(rapt_step_merge, first_partial, 16),
        MEMBER(rapt_step_merge, n_parts, 20),
        MEMBER(rapt_step_merge, part_stride, 24),
        MEMBER(rapt_step_merge, reserved, 28),
    };
    CHECK(members, rapt_step_merge, 32);
}

static void rapt_step_stage_stays(void **state)
{
    (void)state;
    static const struct member members[] = {
        MEMBER(rapt_step_stage, seq, 0),        MEMBER(rapt_step_stage, kv_head, 4),
        MEMBER(rapt_step_stage, kv_begin, 8),   MEMBER(rapt_step_stage, n_keys, 12),
        MEMBER(rapt_step_stage, stage_row, 16), MEMBER(rapt_step_stage, reserved, 20),
    };
    CHECK(members, rapt_step_stage, 32);
}

static void rapt_push_stays(void **state)
{
    (void)state;
    static const struct member members[] = {
        MEMBER(rapt_push, step_lo, 0),       MEMBER(rapt_push, step_hi, 4),
        MEMBER(rapt_push, q_lo, 8),          MEMBER(rapt_push, q_hi, 12),
        MEMBER(rapt_push, k_lo, 16),         MEMBER(rapt_push, k_hi, 20),
        MEMBER(rapt_push, v_lo, 24),         MEMBER(rapt_push, v_hi, 28),
        MEMBER(rapt_push, out_lo, 32),       MEMBER(rapt_push, out_hi, 36),
        MEMBER(rapt_push, work_lo, 40),      MEMBER(rapt_push, work_hi, 44),
        MEMBER(rapt_push, lse_lo, 48),       MEMBER(rapt_push, lse_hi, 52),
        MEMBER(rapt_push, max_logit_lo, 56), MEMBER(rapt_push, max_logit_hi, 60),
        MEMBER(rapt_push, first, 64),        MEMBER(rapt_push, count, 68),
        MEMBER(rapt_push, q_base, 72),       MEMBER(rapt_push, k_base, 76),
        MEMBER(rapt_push, v_base, 80),       MEMBER(rapt_push, out_base, 84),
        MEMBER(rapt_push, lse_base, 88),     MEMBER(rapt_push, max_logit_base, 92),
        MEMBER(rapt_push, work_base, 96),    MEMBER(rapt_push, sinks_base, 100),
        MEMBER(rapt_push, slopes_base, 104), MEMBER(rapt_push, bias_base, 108),
        MEMBER(rapt_push, k_scale_lo, 112),  MEMBER(rapt_push, k_scale_hi, 116),
        MEMBER(rapt_push, v_scale_lo, 120),  MEMBER(rapt_push, v_scale_hi, 124),
    };
    CHECK(members, rapt_push, 128);
}

static void numbers_stay(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        unsigned value, want;
    } numbers[] = {
        {"RAPT_STEP_VERSION", RAPT_STEP_VERSION, 1u},
        {"RAPT_BIND_STEP", RAPT_BIND_STEP, 0u},
        {"RAPT_BIND_Q", RAPT_BIND_Q, 1u},
        {"RAPT_BIND_K", RAPT_BIND_K, 2u},
        {"RAPT_BIND_V", RAPT_BIND_V, 3u},
        {"RAPT_BIND_OUT", RAPT_BIND_OUT, 4u},
        {"RAPT_BIND_LSE", RAPT_BIND_LSE, 5u},
        {"RAPT_BIND_MAX_LOGIT", RAPT_BIND_MAX_LOGIT, 6u},
        {"RAPT_BIND_WORK", RAPT_BIND_WORK, 7u},
        {"RAPT_BIND_SINKS", RAPT_BIND_SINKS, 8u},
        {"RAPT_BIND_SLOPES", RAPT_BIND_SLOPES, 9u},
        {"RAPT_BIND_BIAS", RAPT_BIND_BIAS, 10u},
        {"RAPT_BIND_PAGES", RAPT_BIND_PAGES, 11u},
        {"RAPT_BIND_BLOCKS", RAPT_BIND_BLOCKS, 12u},
        {"RAPT_BIND_BITS", RAPT_BIND_BITS, 13u},
        {"RAPT_BIND_HEADS", RAPT_BIND_HEADS, 14u},
        {"RAPT_BIND_COUNTS", RAPT_BIND_COUNTS, 15u},
        {"RAPT_BIND_ROWS", RAPT_BIND_ROWS, 16u},
        {"RAPT_BIND_K_SCALE", RAPT_BIND_K_SCALE, 17u},
        {"RAPT_BIND_V_SCALE", RAPT_BIND_V_SCALE, 18u},
        {"RAPT_BIND_ROPE", RAPT_BIND_ROPE, 19u},
        {"RAPT_BIND_TREE", RAPT_BIND_TREE, 20u},
        {"RAPT_BIND_K_SEG1", RAPT_BIND_K_SEG1, 21u},
        {"RAPT_BIND_V_SEG1", RAPT_BIND_V_SEG1, 24u},
        {"RAPT_N_BINDINGS", RAPT_N_BINDINGS, 27u},
        {"RAPT_BINDS_ATTENTION", RAPT_BINDS_ATTENTION, 0x807ffu},
        {"RAPT_BINDS_MERGE", RAPT_BINDS_MERGE, 0x1f1u},
        {"RAPT_BINDS_STAGE", RAPT_BINDS_STAGE, 0x8du},
        {"RAPT_BINDS_SMALL", RAPT_BINDS_SMALL, 0x700u},
        {"RAPT_BINDS_SINKS", RAPT_BINDS_SINKS, 0x100u},
        {"RAPT_BINDS_REDUCE", RAPT_BINDS_REDUCE, 0x51u},
        {"RAPT_BINDS_COMBINE", RAPT_BINDS_COMBINE, 0x136u},
        {"RAPT_BINDS_NONE", RAPT_BINDS_NONE, 0x0u},
        {"RAPT_SPEC_WG_SIZE", RAPT_SPEC_WG_SIZE, 0u},
        {"RAPT_SPEC_HEAD_DIM", RAPT_SPEC_HEAD_DIM, 1u},
        {"RAPT_SPEC_HEAD_DIM_V", RAPT_SPEC_HEAD_DIM_V, 2u},
        {"RAPT_SPEC_BLOCK_Q", RAPT_SPEC_BLOCK_Q, 3u},
        {"RAPT_SPEC_BLOCK_KV", RAPT_SPEC_BLOCK_KV, 4u},
        {"RAPT_SPEC_FEATURES", RAPT_SPEC_FEATURES, 5u},
        {"RAPT_SPEC_Q_TYPE", RAPT_SPEC_Q_TYPE, 6u},
        {"RAPT_SPEC_OUT_TYPE", RAPT_SPEC_OUT_TYPE, 7u},
        {"RAPT_SPEC_SUBGROUP", RAPT_SPEC_SUBGROUP, 8u},
        {"RAPT_SPEC_TILE_A", RAPT_SPEC_TILE_A, 9u},
        {"RAPT_SPEC_TILE_B", RAPT_SPEC_TILE_B, 10u},
        {"RAPT_SPEC_TILE_C", RAPT_SPEC_TILE_C, 11u},
        {"RAPT_SPEC_TILE_D", RAPT_SPEC_TILE_D, 12u},
        {"RAPT_SPEC_STAGED", RAPT_SPEC_STAGED, 13u},
        {"RAPT_N_SPECS", RAPT_N_SPECS, 14u},
        {"RAPT_STORE_F32", RAPT_STORE_F32, 1u},
        {"RAPT_STORE_F16", RAPT_STORE_F16, 2u},
        {"RAPT_STORE_BF16", RAPT_STORE_BF16, 3u},
        {"RAPT_STORE_INT8", RAPT_STORE_INT8, 4u},
        {"RAPT_STORE_FP8_E4M3", RAPT_STORE_FP8_E4M3, 5u},
        {"RAPT_STORE_INT4", RAPT_STORE_INT4, 6u},
        {"RAPT_STORE_Q8_0", RAPT_STORE_Q8_0, 7u},
        {"RAPT_STORE_Q4_0", RAPT_STORE_Q4_0, 8u},
        {"RAPT_FEAT_SOFTCAP", RAPT_FEAT_SOFTCAP, 0x1u},
        {"RAPT_FEAT_ALIBI", RAPT_FEAT_ALIBI, 0x2u},
        {"RAPT_FEAT_BIAS_F32", RAPT_FEAT_BIAS_F32, 0x4u},
        {"RAPT_FEAT_BIAS_F16", RAPT_FEAT_BIAS_F16, 0x8u},
        {"RAPT_FEAT_SINKS", RAPT_FEAT_SINKS, 0x10u},
        {"RAPT_FEAT_LSE", RAPT_FEAT_LSE, 0x20u},
        {"RAPT_FEAT_MAX_LOGIT", RAPT_FEAT_MAX_LOGIT, 0x40u},
        {"RAPT_FEAT_UNNORMALISED", RAPT_FEAT_UNNORMALISED, 0x80u},
        {"RAPT_FEAT_CONST_MAX", RAPT_FEAT_CONST_MAX, 0x100u},
        {"RAPT_FEAT_Q_POS", RAPT_FEAT_Q_POS, 0x200u},
        {"RAPT_FEAT_PAGED", RAPT_FEAT_PAGED, 0x400u},
        {"RAPT_FEAT_BLOCKS", RAPT_FEAT_BLOCKS, 0x1000u},
        {"RAPT_FEAT_BITS", RAPT_FEAT_BITS, 0x2000u},
        {"RAPT_FEAT_HEAD_TABLE", RAPT_FEAT_HEAD_TABLE, 0x4000u},
        {"RAPT_FEAT_DEVICE_COUNTS", RAPT_FEAT_DEVICE_COUNTS, 0x8000u},
        {"RAPT_FEAT_GATHER_ROWS", RAPT_FEAT_GATHER_ROWS, 0x10000u},
        {"RAPT_FEAT_SEGMENTS", RAPT_FEAT_SEGMENTS, 0x20000u},
        {"RAPT_FEAT_ROPE_Q", RAPT_FEAT_ROPE_Q, 0x40000u},
        {"RAPT_FEAT_TREE", RAPT_FEAT_TREE, 0x80000u},
        {"RAPT_FEAT_TOKEN_LISTS", RAPT_FEAT_TOKEN_LISTS, 0x100000u},
        {"RAPT_STEP_HEADER_WORDS", RAPT_STEP_HEADER_WORDS, 128u},
        {"RAPT_UNBOUNDED", RAPT_UNBOUNDED, 0x40000000u},
        {"RAPT_STEP_SEQ_WORDS", RAPT_STEP_SEQ_WORDS, 24u},
        {"RAPT_STEP_ITEM_WORDS", RAPT_STEP_ITEM_WORDS, 12u},
        {"RAPT_DIRECT", RAPT_DIRECT, 0xffffffffu},
        {"RAPT_ITEM_CONTINUE", RAPT_ITEM_CONTINUE, 0x1u},
        {"RAPT_ITEM_FINISH", RAPT_ITEM_FINISH, 0x2u},
        {"RAPT_STEP_MERGE_WORDS", RAPT_STEP_MERGE_WORDS, 8u},
        {"RAPT_STEP_STAGE_WORDS", RAPT_STEP_STAGE_WORDS, 8u},
        {"RAPT_PUSH_BYTES", RAPT_PUSH_BYTES, 128u},
        {"RAPT_GRID_X", RAPT_GRID_X, 32768u},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        if (numbers[i].value != numbers[i].want)
            fail_msg("%s is 0x%x, not 0x%x", numbers[i].name, numbers[i].value, numbers[i].want);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rapt_step_header_stays), cmocka_unit_test(rapt_step_seq_stays),
        cmocka_unit_test(rapt_step_item_stays),   cmocka_unit_test(rapt_step_merge_stays),
        cmocka_unit_test(rapt_step_stage_stays),  cmocka_unit_test(rapt_push_stays),
        cmocka_unit_test(numbers_stay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
