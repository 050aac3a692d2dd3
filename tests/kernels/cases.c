/* SPDX-License-Identifier: Apache-2.0 */

/* The cases every attention kernel runs. Compiling takes longer than running on a CPU driver, so head
 * dims are few; features share pipelines (RAPT_PLAN_FEW_PIPELINES) at D = 64. */

#include "check.h"

#define STATS (RAPT_PLAN_LSE | RAPT_PLAN_MAX_LOGIT)
#define FEW (STATS | RAPT_PLAN_FEW_PIPELINES)
#define D64 .d = 64, .dv = 64, .heads = 8, .kv_heads = 2
#define SPLIT                                                                                      \
    .n_seqs = 3, .q_len = {24, 40, 36}, .kv_len = {700, 1025, 0}

const struct check_case check_cases[] = {
    /* shapes: head dims, groups, storage of Q and the output */
    {.name = "d64", D64, .flags = STATS},
    {.name = "d64 full", D64, .flags = STATS, .mask = "full"},
    {.name = "d128 gqa8", .d = 128, .dv = 128, .heads = 8, .kv_heads = 1, .flags = STATS},
    {.name = "d8 mha", .d = 8, .dv = 8, .heads = 2, .kv_heads = 2, .flags = STATS, .shapes = 1},
    {.name = "d80 group 3", .d = 80, .dv = 80, .heads = 6, .kv_heads = 2, .flags = STATS,
     .shapes = 2},
    {.name = "d192/128", .d = 192, .dv = 128, .heads = 4, .kv_heads = 1, .flags = STATS,
     .shapes = 2},
    {.name = "d256", .d = 256, .dv = 256, .heads = 4, .kv_heads = 1, .flags = STATS, .shapes = 3},
    {.name = "d576/512", .d = 576, .dv = 512, .heads = 8, .kv_heads = 1, .flags = STATS,
     .shapes = 3, .n_seqs = 3, .q_len = {20, 35, 18}, .kv_len = {20, 101, 0}},
    {.name = "d72/40 odd", .d = 72, .dv = 40, .heads = 4, .kv_heads = 4, .flags = STATS,
     .shapes = 3},
    {.name = "q f16, out f16", D64, .q = RAPT_TYPE_F16, .out = RAPT_TYPE_F16, .flags = STATS,
     .shapes = 1},
    {.name = "q bf16, out bf16", D64, .q = RAPT_TYPE_BF16, .out = RAPT_TYPE_BF16, .flags = STATS,
     .shapes = 2},
    {.name = "q bf16, unaligned", D64, .q = RAPT_TYPE_BF16, .out = RAPT_TYPE_F16,
     .layout = CHECK_PADDED, .flags = STATS, .shapes = 2},

    /* masks and positions */
    {.name = "window", D64, .flags = FEW, .mask = "causal & window(30,0)"},
    {.name = "window both", D64, .flags = FEW, .mask = "window(17,9)"},
    {.name = "chunked", D64, .flags = FEW, .mask = "causal & chunked(48)",
     .positions = CHECK_POS_Q_POS0},
    {.name = "prefix, sink tokens", D64, .flags = FEW, .mask = "prefix & sink_tokens(70)"},
    {.name = "q_pos0", D64, .flags = FEW, .positions = CHECK_POS_Q_POS0},
    {.name = "q_pos in any order", D64, .flags = FEW, .positions = CHECK_POS_SHUFFLED,
     .mask = "causal & window(50,-1)"},
    {.name = "kv_pos0", D64, .flags = FEW, .positions = CHECK_POS_KV_POS0,
     .mask = "causal & chunked(33) & window(40,-1)"},

    /* logits and outputs */
    {.name = "softcap", D64, .flags = FEW, .softcap = 5},
    {.name = "alibi", D64, .flags = FEW | RAPT_PLAN_ALIBI, .positions = CHECK_POS_KV_POS0},
    {.name = "bias", D64, .flags = FEW, .bias = CHECK_BIAS_F32, .mask = "full"},
    {.name = "bias f16", D64, .flags = FEW, .bias = CHECK_BIAS_F16},
    {.name = "bias -inf", D64, .flags = FEW, .bias = CHECK_BIAS_HOLES},
    {.name = "sinks", D64, .flags = FEW | RAPT_PLAN_SINKS, .mask = "causal & window(3,0)",
     .positions = CHECK_POS_Q_POS0},
    {.name = "reduced maxima", D64, .flags = FEW | RAPT_PLAN_MAX_LOGIT_REDUCED},
    {.name = "unnormalised", D64, .flags = FEW | RAPT_PLAN_UNNORMALISED},
    {.name = "unnormalised, sinks", D64,
     .flags = FEW | RAPT_PLAN_UNNORMALISED | RAPT_PLAN_SINKS},
    {.name = "constant maximum", D64, .flags = FEW | RAPT_PLAN_CONST_MAX, .const_max = 3},
    {.name = "constant maximum, sinks", D64,
     .flags = FEW | RAPT_PLAN_CONST_MAX | RAPT_PLAN_SINKS, .const_max = 2, .n_splits = 3, SPLIT},
    {.name = "everything", D64, .softcap = 20, .bias = CHECK_BIAS_HOLES, .page_size = 16,
     .flags = FEW | RAPT_PLAN_ALIBI | RAPT_PLAN_SINKS, .positions = CHECK_POS_KV_POS0,
     .mask = "causal & window(100,-1)"},

    /* pages and layouts */
    {.name = "pages of 1", D64, .flags = FEW, .page_size = 1},
    {.name = "pages of 16", D64, .flags = FEW, .page_size = 16, .mask = "full"},
    {.name = "pages of 256", D64, .flags = FEW, .page_size = 256},
    {.name = "pages, HND", D64, .flags = FEW, .page_size = 16, .layout = CHECK_HND},
    {.name = "pages, interleaved", D64, .flags = FEW, .page_size = 16,
     .layout = CHECK_INTERLEAVED},
    {.name = "pages, 2HD", D64, .flags = FEW, .page_size = 8, .layout = CHECK_T2HD},
    {.name = "pages, unaligned", D64, .flags = FEW, .page_size = 4, .layout = CHECK_PADDED},
    {.name = "HND", D64, .flags = FEW, .layout = CHECK_HND},
    {.name = "unaligned", D64, .flags = FEW, .layout = CHECK_PADDED},
    {.name = "interleaved", D64, .flags = FEW, .layout = CHECK_INTERLEAVED},
    {.name = "T2HD", D64, .flags = FEW, .layout = CHECK_T2HD},
    {.name = "BS2HD", D64, .flags = FEW, .layout = CHECK_BS2HD},
    {.name = "T3HD", .d = 64, .dv = 64, .heads = 4, .kv_heads = 4, .flags = FEW,
     .layout = CHECK_T3HD, .n_seqs = 3, .q_len = {37, 64, 21}, .kv_len = {37, 64, 21},
     .shapes = 1},
    {.name = "BS3HD", .d = 64, .dv = 64, .heads = 4, .kv_heads = 4, .flags = FEW,
     .layout = CHECK_BS3HD, .n_seqs = 3, .q_len = {37, 64, 21}, .kv_len = {37, 64, 21},
     .shapes = 1},

    /* lengths round the tiles, splits, slices */
    {.name = "tile edges", D64, .flags = FEW, .mask = "full", .n_seqs = 6,
     .q_len = {17, 18, 19, 17, 18, 19}, .kv_len = {1, 31, 32, 33, 63, 65}},
    {.name = "tile edges, causal", D64, .flags = FEW, .n_seqs = 6,
     .q_len = {31, 32, 33, 63, 64, 65}, .kv_len = {255, 256, 257, 127, 128, 129}},
    {.name = "splits", D64, .flags = FEW | RAPT_PLAN_SINKS, .n_splits = 4, SPLIT,
     .mask = "full"},
    {.name = "short items", D64, .flags = FEW, .max_keys = 128, SPLIT},
    {.name = "fixed split", D64, .flags = FEW, .fixed_split = 128, SPLIT},
    {.name = "fixed split, pages", D64, .flags = FEW, .fixed_split = 256, .page_size = 16, SPLIT},
    {.name = "slices", D64, .flags = FEW, .n_slices = 5, .n_splits = 3, SPLIT},
    {.name = "no keys", D64, .flags = FEW | RAPT_PLAN_SINKS, .n_seqs = 2, .q_len = {40, 20},
     .kv_len = {0, 0}},
    {.name = "no queries", D64, .flags = FEW, .n_seqs = 2, .q_len = {0, 0}, .kv_len = {30, 0}},

    /* hard values */
    {.name = "equal keys", D64, .flags = FEW, .data = CHECK_EQUAL, SPLIT, .mask = "full"},
    {.name = "offset keys", D64, .flags = FEW, .data = CHECK_OFFSET},
    {.name = "values at the f16 limit", D64, .flags = FEW, .data = CHECK_LIMIT, SPLIT},
    {.name = "logits of 10000", D64, .flags = FEW, .data = CHECK_LARGE},
    {.name = "one key dominates", D64, .flags = FEW, .data = CHECK_DOMINANT, SPLIT},
    {.name = "denormals, -0", D64, .flags = FEW, .data = CHECK_TINY},
    {.name = "long, peaks", D64, .flags = FEW, .data = CHECK_PEAKS, .n_seqs = 1, .q_len = {20},
     .kv_len = {40000}, .mask = "full", .shapes = 2},
};
const int check_n_cases = (int)(sizeof check_cases / sizeof check_cases[0]);
