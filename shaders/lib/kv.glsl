/* SPDX-License-Identifier: Apache-2.0 */
/* K and V where they are stored, packed or in pages. KV_TYPE is a RAPT_STORE_* of the row. Elements
 * are those of the type; of quantized types they are bytes. SEGMENTS: the pools lie in pieces. */

layout(set = 0, binding = RAPT_BIND_K, std430) readonly buffer K1 { uint k_words[]; };
layout(set = 0, binding = RAPT_BIND_K, std430) readonly buffer K4 { uvec4 k_quads[]; };
layout(set = 0, binding = RAPT_BIND_V, std430) readonly buffer V1 { uint v_words[]; };
layout(set = 0, binding = RAPT_BIND_V, std430) readonly buffer V4 { uvec4 v_quads[]; };

#define HAS_SCALES \
    (KV_TYPE == RAPT_STORE_INT8 || KV_TYPE == RAPT_STORE_FP8_E4M3 || KV_TYPE == RAPT_STORE_INT4)
#if HAS_SCALES
layout(set = 0, binding = RAPT_BIND_K_SCALE, std430) readonly buffer KScale { uint k_scale_words[]; };
layout(set = 0, binding = RAPT_BIND_V_SCALE, std430) readonly buffer VScale { uint v_scale_words[]; };
const uint SEQ_K_SCALE_BASE = 20, SEQ_V_SCALE_BASE = 22; /* in struct rapt_step_seq */
#endif

/* FETCH(words, next, to, at, n) takes words of K or V from one of the pool's pieces. Pools in pieces are
 * rare: their rows are kept small, with words alone. */
#ifdef SEGMENTS
#define PIECE(i, kv, KV) \
    layout(set = 0, binding = RAPT_BIND_##KV##_SEG1 + i - 1, std430) readonly buffer KV##words##i \
    { \
        uint kv##_words_##i[]; \
    };
PIECE(1, k, K)
PIECE(2, k, K)
PIECE(3, k, K)
PIECE(1, v, V)
PIECE(2, v, V)
PIECE(3, v, V)
#define FETCH_FROM(FETCH, kv, key, next, to, at, n) \
    { \
        uint piece = piece_at[key]; \
        if (piece == 0) \
            FETCH(kv##_words, next, to, at, n) \
        else if (piece == 1) \
            FETCH(kv##_words_1, next, to, at, n) \
        else if (piece == 2) \
            FETCH(kv##_words_2, next, to, at, n) \
        else \
            FETCH(kv##_words_3, next, to, at, n) \
    }
#else
#define FETCH_FROM(FETCH, kv, key, next, to, at, n) FETCH(kv##_words, next, to, at, n)
#endif

/* Where a key lies; x: in K, y: in V. */
struct key_place {
    uvec2 element; /* of dim 0 */
#if HAS_SCALES
    uvec2 scale; /* its first scale */
#endif
#ifdef SEGMENTS
    uint piece;
#endif
};

/* The page of key j of a sequence, which exists (the caller clamps); 0 where there are none. Table entries
 * are clamped to the table and page ids to the pool, whatever a table says. */
uint page_of(uint seq, uint j)
{
    if (!wants(RAPT_FEAT_PAGED))
        return 0;
    uint entry = min(j >> header.page_shift, max(step_words[seq + SEQ_N_PAGES], 1u) - 1u);
    uint page = step_words[header.pages_word + step_words[seq + SEQ_PAGE_FIRST] + entry];
    return min(page, max(header.n_pages, 1u) - 1u);
}

key_place place_in(uint seq, uint kv_head, uint page, uint j)
{
    key_place at;
    at.element = uvec2(push.k_base, push.v_base) +
                 kv_head * uvec2(header.k_head_stride, header.v_head_stride);
#if HAS_SCALES
    at.scale = uvec2(push.k_scale_lo, push.v_scale_lo) +
               kv_head * uvec2(header.k_scale_head_stride, header.v_scale_head_stride);
#endif
#ifdef SEGMENTS
    at.piece = 0;
#endif
    if (wants(RAPT_FEAT_PAGED)) {
#if HAS_SCALES
        at.scale += page * uvec2(header.k_scale_page_stride, header.v_scale_page_stride);
#endif
#ifdef SEGMENTS
        at.piece = page >> header.seg_pages_shift;
        page -= at.piece << header.seg_pages_shift;
        if (at.piece != 0) /* the others are bound where they begin */
            at.element -= uvec2(push.k_base, push.v_base);
#endif
        at.element += page * uvec2(header.k_page_stride_lo, header.v_page_stride_lo);
        j &= header.page_mask;
    } else {
        at.element += uvec2(step_words[seq + SEQ_K_BASE], step_words[seq + SEQ_V_BASE]);
#if HAS_SCALES
        at.scale += uvec2(step_words[seq + SEQ_K_SCALE_BASE], step_words[seq + SEQ_V_SCALE_BASE]);
#endif
    }
#if HAS_SCALES
    at.scale += j * uvec2(header.k_scale_token_stride, header.v_scale_token_stride);
#endif
    at.element += j * uvec2(header.k_token_stride, header.v_token_stride);
    return at;
}

/* Key j, which exists. */
key_place find_key(uint seq, uint kv_head, uint j)
{
    return place_in(seq, kv_head, page_of(seq, j), j);
}

/* Whether in the elements all of K's rows (x) and all of V's (y) start at these bits are 0. */
bvec2 rows_aligned(uint seq, uint kv_head, uvec2 low_bits)
{
    uvec2 bits = uvec2(push.k_base, push.v_base) | uvec2(header.k_token_stride, header.v_token_stride) |
                 kv_head * uvec2(header.k_head_stride, header.v_head_stride);
    if (wants(RAPT_FEAT_PAGED))
        bits |= uvec2(header.k_page_stride_lo, header.v_page_stride_lo);
    else
        bits |= uvec2(step_words[seq + SEQ_K_BASE], step_words[seq + SEQ_V_BASE]);
    return equal(bits & low_bits, uvec2(0));
}
