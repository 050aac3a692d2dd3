/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SHADERS_ARGS_H
#define SHADERS_ARGS_H

/* Everything the host and the kernels agree on: binding numbers, specialization constants, feature
 * bits, the push constants of a record, and the step block. Read by C11 and by GLSL, so it holds
 * nothing but #defines and structs of uint, int and float members (std430 scalars, no padding).
 *
 * A *step* is one call of prepare: the lengths and tables of a batch. Its block lies in one slot
 * of the caller's table memory and starts with rapt_step_header; all offsets in it count 32-bit
 * words from the start of the slot. A *record* is one call of record: one layer's buffers.
 *
 * The layout is versioned and must not move: members marked "reserved" belong to features that
 * come later, are zero until then, and tests assert every offset. */

#define RAPT_STEP_VERSION 1

#ifdef __cplusplus
#error "internal C/GLSL header"
#endif
#ifdef GL_core_profile /* every desktop GLSL compiler defines it */
#define RAPT_U uint
#define RAPT_I int
#define RAPT_F float
#else
#include <stdint.h>
#define RAPT_U uint32_t
#define RAPT_I int32_t
#define RAPT_F float
#endif

/* ---- bindings of descriptor set 0: storage buffers all. A kernel declares the ones it uses. */
#define RAPT_BIND_STEP 0
#define RAPT_BIND_Q 1
#define RAPT_BIND_K 2
#define RAPT_BIND_V 3
#define RAPT_BIND_OUT 4
#define RAPT_BIND_LSE 5
#define RAPT_BIND_MAX_LOGIT 6
#define RAPT_BIND_WORK 7   /* workspace: partials, staged K/V */
#define RAPT_BIND_SINKS 8  /* f32[Hq] */
#define RAPT_BIND_SLOPES 9 /* f32[Hq] */
#define RAPT_BIND_BIAS 10
#define RAPT_BIND_PAGES 11   /* reserved: page tables written by the GPU */
#define RAPT_BIND_BLOCKS 12  /* reserved: block lists, CSR */
#define RAPT_BIND_BITS 13    /* reserved: bit tiles, bitmaps */
#define RAPT_BIND_HEADS 14   /* reserved: per-head tables */
#define RAPT_BIND_COUNTS 15  /* reserved: item counts that live on the device */
#define RAPT_BIND_ROWS 16    /* reserved: gathered query rows */
#define RAPT_BIND_K_SCALE 17
#define RAPT_BIND_V_SCALE 18
#define RAPT_BIND_ROPE 19    /* the caller's cosines and sines, f32[positions][rotary_dim] */
#define RAPT_BIND_TREE 20    /* reserved: tree parents */
#define RAPT_BIND_K_SEG1 21  /* second to fourth segment of a K pool, then of V's */
#define RAPT_BIND_V_SEG1 24
#define RAPT_N_BINDINGS 27
/* kv_append */
#define RAPT_BIND_K_NEW 1
#define RAPT_BIND_V_NEW 4

/* sets of bindings, as bits, for the BINDINGS column of kernels.def */
/* step, q, k, v, out, lse, max_logit, work, sinks, slopes, bias, rope */
#define RAPT_BINDS_ATTENTION 0x807ffu
#define RAPT_BINDS_SCALES (RAPT_BINDS_ATTENTION | 0x60000u) /* k_scale, v_scale */
#define RAPT_BINDS_PIECES (RAPT_BINDS_ATTENTION | 0x7e00000u) /* k_seg1.., v_seg1.. */
#define RAPT_BINDS_PIECES_SCALES (RAPT_BINDS_PIECES | RAPT_BINDS_SCALES)
#define RAPT_BINDS_MERGE 0x1f1u     /* step, out, lse, max_logit, work, sinks */
#define RAPT_BINDS_STAGE 0x8du      /* step, k, v, work */
#define RAPT_BINDS_STAGE_SCALES 0x6008du /* with k_scale, v_scale */
#define RAPT_BINDS_SMALL 0x700u     /* by address otherwise: sinks, slopes, bias */
#define RAPT_BINDS_SINKS 0x100u     /* by address otherwise: sinks */
#define RAPT_BINDS_REDUCE 0x51u     /* step, out (the reduced maxima), max_logit */
#define RAPT_BINDS_COMBINE 0x136u   /* parts as q, their lse as k; out, lse, sinks */
#define RAPT_BINDS_APPEND 0x8001fu  /* step, k_new, k, v, v_new, rope */
#define RAPT_BINDS_APPEND_SCALES 0xe001fu /* with k_scale, v_scale */
#define RAPT_BINDS_ROTATE 0x80083u /* step, q, work, rope */
#define RAPT_BINDS_COPY 0x5u /* lists as step, the tensor as k */
#define RAPT_BINDS_SCAN 0x81u /* step, work */
#define RAPT_BINDS_MEAN 0x85u /* step, k, work */
#define RAPT_BINDS_MEAN_SCALES 0x20085u /* with k_scale */
#define RAPT_BINDS_GATE 0x80093u /* step, q, out (scores), work, rope */
#define RAPT_BINDS_SELECT 0x9011u /* step, out (scores), blocks (lists), counts */
#define RAPT_BINDS_INDEX 0x197u /* step, q, k, out (scores), work, sinks (weights) */
#define RAPT_BINDS_LISTS 0x1081u /* step (written), work, blocks (choices) */
#define RAPT_BINDS_SCORE_LISTS 0x9091u /* step (written), out (scores), work, blocks, counts */
#define RAPT_BINDS_BIT_LISTS 0x9087u /* step (written), q, k (ids; offsets, bits), work, blocks, counts */
#define RAPT_BINDS_TOKENS (RAPT_BINDS_ATTENTION | 0x9000u) /* blocks (lists), counts */
#define RAPT_BINDS_TOKENS_SCALES (RAPT_BINDS_TOKENS | RAPT_BINDS_SCALES)
#define RAPT_BINDS_NONE 0x0u

/* ---- specialization constants: what fixes array sizes, types and code paths */
#define RAPT_SPEC_WG_SIZE 0 /* local_size_x */
#define RAPT_SPEC_HEAD_DIM 1
#define RAPT_SPEC_HEAD_DIM_V 2
#define RAPT_SPEC_BLOCK_Q 3  /* most packed rows an item holds */
#define RAPT_SPEC_BLOCK_KV 4 /* keys per tile */
#define RAPT_SPEC_FEATURES 5 /* RAPT_FEAT_* this pipeline may need */
#define RAPT_SPEC_Q_TYPE 6   /* RAPT_STORE_* */
#define RAPT_SPEC_OUT_TYPE 7
#define RAPT_SPEC_SUBGROUP 8 /* subgroup size the kernel may count on, 0 = none */
#define RAPT_SPEC_TILE_A 9   /* four numbers whose meaning is the kernel's own */
#define RAPT_SPEC_TILE_B 10
#define RAPT_SPEC_TILE_C 11
#define RAPT_SPEC_TILE_D 12
#define RAPT_SPEC_STAGED 13 /* RAPT_STORE_* of staged K and V, 0 = RAPT_STORE_F32 */
#define RAPT_N_SPECS 14

/* storage types as the kernels count them; equal to enum rapt_type */
#define RAPT_STORE_F32 1
#define RAPT_STORE_F16 2
#define RAPT_STORE_BF16 3
#define RAPT_STORE_INT8 4
#define RAPT_STORE_FP8_E4M3 5
#define RAPT_STORE_INT4 6
#define RAPT_STORE_Q8_0 7
#define RAPT_STORE_Q4_0 8

/* ---- feature bits: in the specialization constant (what the pipeline can do) and in the step
 * header (what this step wants). A kernel does a thing only where both say so. */
#define RAPT_FEAT_SOFTCAP 0x1u
#define RAPT_FEAT_ALIBI 0x2u
#define RAPT_FEAT_BIAS_F32 0x4u
#define RAPT_FEAT_BIAS_F16 0x8u
#define RAPT_FEAT_SINKS 0x10u
#define RAPT_FEAT_LSE 0x20u
#define RAPT_FEAT_MAX_LOGIT 0x40u
#define RAPT_FEAT_UNNORMALISED 0x80u
#define RAPT_FEAT_CONST_MAX 0x100u /* fixed m from the header */
#define RAPT_FEAT_Q_POS 0x200u     /* explicit position per query row */
#define RAPT_FEAT_PAGED 0x400u
#define RAPT_FEAT_BLOCKS 0x1000u /* items have lists of spans of keys */
#define RAPT_FEAT_BITS 0x2000u   /* reserved */
#define RAPT_FEAT_HEAD_TABLE 0x4000u
#define RAPT_FEAT_DEVICE_COUNTS 0x8000u
#define RAPT_FEAT_GATHER_ROWS 0x10000u
#define RAPT_FEAT_SEGMENTS 0x20000u
#define RAPT_FEAT_ROPE_Q 0x40000u
#define RAPT_FEAT_TREE 0x80000u
#define RAPT_FEAT_TOKEN_LISTS 0x100000u

/* ---- the step header, 128 words */
struct rapt_step_header {
    RAPT_U version;  /* RAPT_STEP_VERSION */
    RAPT_U features; /* RAPT_FEAT_* */
    RAPT_U n_q_heads;
    RAPT_U n_kv_heads;
    RAPT_U group; /* query heads packed into the rows of one item, a divisor of those of a KV head */
    RAPT_U n_seqs;
    RAPT_U total_q;
    RAPT_U page_shift; /* log2(page_size) */
    RAPT_U page_mask;  /* page_size - 1 */
    RAPT_U n_pages;    /* pages in the pool; page ids are clamped to n_pages - 1 */

    /* strides in elements; page/sequence bases come from the sequence table or 64-bit strides */
    RAPT_U q_token_stride;
    RAPT_U q_head_stride;
    RAPT_U k_token_stride;
    RAPT_U k_head_stride;
    RAPT_U v_token_stride;
    RAPT_U v_head_stride;
    RAPT_U out_token_stride;
    RAPT_U out_head_stride;
    RAPT_U k_page_stride_lo; /* paged only */
    RAPT_U k_page_stride_hi;
    RAPT_U v_page_stride_lo;
    RAPT_U v_page_stride_hi;

    RAPT_F scale;
    RAPT_F softcap;
    RAPT_F max_logit_const; /* the caller's fixed m, natural-log units */

    /* closed-form mask: a row at position P sees positions
     * [max(P - left, c), min(P + right, c + chunk - 1)], c = floor(P / chunk) * chunk */
    RAPT_I left;  /* RAPT_UNBOUNDED = no bound */
    RAPT_I right; /* 0 for causal */
    RAPT_I chunk; /* 0 = not chunked */

    /* word offsets of the tables in this slot */
    RAPT_U seqs_word;   /* struct rapt_step_seq[n_seqs] */
    RAPT_U items_word;  /* struct rapt_step_item[n_prefill_items + n_decode_items] */
    RAPT_U merges_word; /* struct rapt_step_merge[n_merges] */
    RAPT_U q_pos_word;  /* int[total_q], RAPT_FEAT_Q_POS */
    RAPT_U pages_word;  /* uint[...]: page ids, RAPT_FEAT_PAGED */
    RAPT_U stages_word; /* struct rapt_step_stage[n_stages], CPU rows */
    RAPT_U n_prefill_items;
    RAPT_U n_decode_items;
    RAPT_U n_merges;
    RAPT_U n_stages;

    /* workspace regions, in words from the workspace binding */
    RAPT_U partial_o_word;  /* float[partial rows][head_dim_v] */
    RAPT_U partial_ml_word; /* float[partial rows][2]: running max m (natural log), sum l */
    RAPT_U stage_k_word;    /* float[staged rows][head_dim] */
    RAPT_U stage_v_word;    /* float[staged rows][head_dim_v] */

    RAPT_U bias_head_stride; /* elements; 0 = shared by the heads */
    RAPT_U bias_row_stride;  /* elements between rows p; 0 = the sequence's kv_len */

    /* lists of keys, RAPT_FEAT_BLOCKS. Those made on the device: list i has its length in word
     * blocks_word + i * counts_word and its spans behind that; bit tiles lie from bits_word on. */
    RAPT_U blocks_word, bits_word;
    RAPT_U heads_word, rows_word, tree_word; /* reserved: zero in this version */
    RAPT_U block_q_shift, block_kv_shift; /* log2 of query tokens, keys of a block */
    RAPT_U counts_word;

    /* pools in pieces: page p is page p & ((1 << shift) - 1) of piece p >> shift */
    RAPT_U seg_pages_shift, n_segments;
    /* scales, in elements; a stride of 0 shares them */
    RAPT_U k_scale_page_stride, k_scale_token_stride, k_scale_head_stride;
    RAPT_U v_scale_page_stride, v_scale_token_stride, v_scale_head_stride;
    RAPT_U scale_kind;  /* RAPT_STORE_F32 or _F16 in the low byte, rapt_scale_kind in the next */
    RAPT_U rope_dim, rope_offset;
    RAPT_U rope_kind;   /* rapt_rope_pairing in the low byte; RAPT_ROPE_BY_TABLE */
    RAPT_U rope_word;   /* uint[rope_dim / 2][2]: turns per position, 0.64 fixed point, low word first */
    RAPT_F rope_theta;  /* reserved: what it would say lies in the words above */
    RAPT_F rope_attention_factor;
    RAPT_U tree_start_word; /* reserved */
    RAPT_U rope_pos_word;    /* int[total_q], or 0: rows are rotated at their positions */
    RAPT_U rope_n_positions; /* rows of the caller's table; positions are clamped to it */
    RAPT_U reserved[58];
};
#define RAPT_STEP_HEADER_WORDS 128
#define RAPT_ROPE_BY_TABLE 0x100u
#define RAPT_UNBOUNDED 0x40000000 /* positions are smaller than this in magnitude */

/* one sequence, 24 words */
struct rapt_step_seq {
    RAPT_U q_row;    /* first row in lse, max_logit, q_pos: cu_q[b] */
    RAPT_U q_len;
    RAPT_U kv_len;
    RAPT_U kv_limit; /* keys j < kv_limit may be seen: kv_len cut by prefix and sink_tokens */
    RAPT_I q_pos0;
    RAPT_I kv_pos0;
    RAPT_U page_first; /* index of its first page id in the page table */
    RAPT_U n_seq_pages;
    RAPT_U q_base_lo; /* element offset of token 0, head 0 */
    RAPT_U q_base_hi;
    RAPT_U k_base_lo; /* packed only */
    RAPT_U k_base_hi;
    RAPT_U v_base_lo;
    RAPT_U v_base_hi;
    RAPT_U out_base_lo;
    RAPT_U out_base_hi;
    RAPT_U bias_base_lo;
    RAPT_U bias_base_hi;
    RAPT_U tree_first; /* reserved */
    RAPT_U rows_first; /* reserved */
    RAPT_U k_scale_base_lo; /* packed only: element offset of token 0's scales */
    RAPT_U k_scale_base_hi;
    RAPT_U v_scale_base_lo;
    RAPT_U v_scale_base_hi;
};
#define RAPT_STEP_SEQ_WORDS 24

/* One work item: up to BLOCK_Q packed rows of one sequence and KV head against a range of keys.
 * Packed row r of the item is row R = row_first + r of the sequence: token R / group, query head
 * head_first + R % group. */
struct rapt_step_item {
    RAPT_U seq;
    RAPT_U kv_head;
    RAPT_U row_first;
    RAPT_U n_rows;
    RAPT_U kv_begin; /* keys of the sequence; every key any row may see lies in here */
    RAPT_U kv_end;   /* may equal kv_begin: rows without keys, which must still be written */
    RAPT_U partial;  /* first partial row, or RAPT_DIRECT: write the final result */
    RAPT_U stage_row; /* CPU rows: staged row of key kv_begin */
    RAPT_U flags;     /* RAPT_ITEM_* */
    RAPT_U block_first; /* RAPT_FEAT_BLOCKS: word of its first span */
    RAPT_U n_blocks;    /* its spans, or RAPT_LIST_ON_DEVICE: word block_first - 1 tells */
    RAPT_U head_first;  /* query head of its rows R % group == 0 */
};
#define RAPT_STEP_ITEM_WORDS 12
#define RAPT_LIST_ON_DEVICE 0xffffffffu
#define RAPT_DIRECT 0xffffffffu
/* The item takes up the running state (o, m, l) its partial rows hold, instead of starting empty.
 * Long key ranges on the CPU driver are worked off in rounds of staged keys this way. */
#define RAPT_ITEM_CONTINUE 0x1u
/* With CONTINUE or a partial slot: this item is the last of its rows and writes the final result
 * (normalised, sink added) to the output, reading the earlier state from its partial rows. */
#define RAPT_ITEM_FINISH 0x2u

/* With RAPT_FEAT_BLOCKS an item works off the part of its spans that lies in [kv_begin, kv_end): keys of
 * the sequence, ascending, disjoint, kv_begin a multiple of 16. A list may be empty, and its spans may lie
 * outside the item; the item writes its rows all the same. */
struct rapt_step_span {
    RAPT_U kv_begin;
    RAPT_U kv_end;
    RAPT_U test; /* 4 * word + RAPT_SPAN_*: how a row finds out which of the keys it sees */
};
#define RAPT_STEP_SPAN_WORDS 3
#define RAPT_SPAN_FULL 0u   /* all of them */
#define RAPT_SPAN_CLOSED 1u /* those in its interval, by the closed form above */
/* Within one key block. Row of token t and key j: bit j & 31 of step word
 *   word + (t & (block_q - 1)) * max(1, block_kv / 32) + ((j & (block_kv - 1)) >> 5)
 * (j & 15 where block_kv is 16). */
#define RAPT_SPAN_BITS 2u
/* Rows of token t whose bit t & 31 of step word word + ((t & (block_q - 1)) >> 5) is set see the keys in
 * their interval, the others none. */
#define RAPT_SPAN_ROWS 3u

/* One merge: n_rows packed rows whose result lies in n_parts partial slots, part p of row r at
 * partial row first_partial + p * part_stride + r. Adds the sink, writes the output. */
struct rapt_step_merge {
    RAPT_U seq;
    RAPT_U kv_head; /* counts groups of packed heads: the first query head is kv_head * group */
    RAPT_U row_first;
    RAPT_U n_rows;
    RAPT_U first_partial;
    RAPT_U n_parts;
    RAPT_U part_stride;
    RAPT_U reserved;
};
#define RAPT_STEP_MERGE_WORDS 8

/* CPU rows: convert keys [kv_begin, kv_begin + n_keys) of one sequence and KV head to f32 into
 * staged rows [stage_row, stage_row + n_keys). Keys at or past kv_limit are written as zeros, so
 * garbage in page tails never enters a product. n_keys is a multiple of 8 and kv_begin of 8. */
struct rapt_step_stage {
    RAPT_U seq;
    RAPT_U kv_head;
    RAPT_U kv_begin;
    RAPT_U n_keys;
    RAPT_U stage_row;
    RAPT_U reserved[3];
};
#define RAPT_STEP_STAGE_WORDS 8

/* ---- push constants of one dispatch: 128 bytes, per-record values only.
 * Addresses are for kernels that use buffer_reference; bases (in elements of the tensor's type,
 * words for workspace and step) are for descriptors, whose offsets must be aligned. Kernels by
 * address take addresses that already include the offset and ignore the bases. */
struct rapt_push {
    RAPT_U step_lo, step_hi;
    RAPT_U q_lo, q_hi;
    RAPT_U k_lo, k_hi;
    RAPT_U v_lo, v_hi;
    RAPT_U out_lo, out_hi;
    RAPT_U work_lo, work_hi;
    RAPT_U lse_lo, lse_hi;
    RAPT_U max_logit_lo, max_logit_hi;
    RAPT_U first;   /* first item, merge or stage of this dispatch */
    RAPT_U count;   /* workgroups wanted; the 2-D grid may hold more */
    RAPT_U q_base;
    RAPT_U k_base;
    RAPT_U v_base;
    RAPT_U out_base;
    RAPT_U lse_base;
    RAPT_U max_logit_base;
    RAPT_U work_base;
    RAPT_U sinks_base;
    RAPT_U slopes_base;
    RAPT_U bias_base;
    RAPT_U k_scale_lo; /* by descriptor: the base, in elements */
    RAPT_U k_scale_hi;
    RAPT_U v_scale_lo;
    RAPT_U v_scale_hi;
};
#define RAPT_PUSH_BYTES 128
/* combine has no tensors with scales: what these words say to it */
#define rapt_combine_features k_scale_lo /* RAPT_FEAT_SINKS, RAPT_FEAT_LSE */
#define rapt_combine_n_parts k_scale_hi
#define rapt_combine_n_rows v_scale_lo
#define rapt_combine_n_q_heads v_scale_hi
/* kv_append finds K's new rows as q, V's as out, and nothing of attention's other tensors */
#define rapt_append_k_groups first /* workgroups that work on K; the rest work on V */
#define rapt_append_k_token_stride lse_lo
#define rapt_append_k_head_stride lse_hi
#define rapt_append_k_outer_stride lse_base /* 0: tokens of all sequences are counted through */
#define rapt_append_v_token_stride max_logit_lo
#define rapt_append_v_head_stride max_logit_hi
#define rapt_append_v_outer_stride max_logit_base
#define rapt_append_piece sinks_base /* of the pool: rows of other pieces are another dispatch's */
/* copy_pages: strides and rows in halfwords, or all of them in words */
#define rapt_copy_by_words out_base
#define rapt_copy_chains v_base
#define rapt_copy_page_stride lse_lo
#define rapt_copy_token_stride lse_hi
#define rapt_copy_head_stride max_logit_lo
#define rapt_copy_layer_stride max_logit_hi
#define rapt_copy_row lse_base
#define rapt_copy_heads max_logit_base
#define RAPT_COPY_WORDS 5 /* of a copy: from page, from token, to page, to token, tokens */
/* rotate_q finds the caller's Q as q, its strides as k_new's, the workspace's part for it as out */
#define rapt_rotate_rope_lo work_lo
#define rapt_rotate_rope_hi work_hi
#define rapt_rotate_bases_word lse_base /* uint[n_seqs][2]: where the sequences begin in Q */

/* Selection (include/rapt/sparse.h). The workspace begins with uint[3][n_seqs + 1]: keys, chunks and
 * query blocks before each sequence, and of all. */
#define rapt_sparse_chunk lse_lo /* keys of a chunk */
#define rapt_sparse_top_k lse_hi
#define rapt_sparse_stride max_logit_lo /* scores of a row lie this far apart */
#define rapt_sparse_first_row max_logit_hi /* whose scores lie at 0 */
#define rapt_sparse_fill lse_base /* 1: scores that are none become -inf */
#define rapt_sparse_means sinks_base /* word of the workspace: float[Hkv][D][pitch] */
#define rapt_sparse_pitch max_logit_base
#define rapt_sparse_block_q_shift slopes_base
#define rapt_sparse_k_token_stride k_lo /* of an indexer's keys and queries, elements */
#define rapt_sparse_k_page_stride k_hi
#define rapt_sparse_q_token_stride q_lo
#define rapt_sparse_q_head_stride q_hi
#define rapt_lists_base q_lo /* attention to token lists, by descriptor */
#define rapt_lists_counts_base q_hi
#define rapt_lists_stride k_lo
#define rapt_sparse_lists_base v_base
/* Lists of key blocks; rapt_sparse_stride is that of a row of scores, or of bits */
#define rapt_blocks_share q_lo /* of the mass, in 65536ths; 0 = rapt_sparse_top_k blocks */
#define rapt_blocks_softmax q_hi
#define rapt_blocks_keep_first k_lo
#define rapt_blocks_keep_last k_hi
#define rapt_blocks_listed_stride v_lo /* words; 0 = what is listed is not told */
#define rapt_blocks_tell_overflow v_hi
#define rapt_blocks_head_stride_lo out_lo /* bits */
#define rapt_blocks_head_stride_hi out_hi
#define rapt_blocks_bitmap_words work_lo
#define rapt_blocks_offsets work_hi /* 1: each sequence has one */
#define rapt_sparse_counts_base bias_base
#define RAPT_SELECT_CHUNKS 0u /* rows of select_top_k are (token, head), indices are chunks */
#define RAPT_SELECT_KEYS 1u   /* rows are tokens, indices keys */

/* A dispatch of n groups becomes a grid of min(n, GRID_X) x ceil(n / GRID_X); the index of a group
 * is y * min(n, GRID_X) + x, and groups at or past `count` return at once. */
#define RAPT_GRID_X 32768u

#endif
