/* SPDX-License-Identifier: Apache-2.0 */
/* K and V where they are stored: where a key's row lies (packed or paged), its words and its scales.
 * After lp_stored.glsl, which says what is in a word. */

/* Strides count elements, of quantized kinds bytes. */
const uint INDEX_BYTES = KV_TYPE == RAPT_STORE_F32   ? 4
                         : KV_TYPE <= RAPT_STORE_BF16 ? 2
                                                      : 1;

#ifdef LP_SSBO
layout(set = 0, binding = RAPT_BIND_K, std430) readonly buffer K { uint k_stored[]; };
layout(set = 0, binding = RAPT_BIND_V, std430) readonly buffer V { uint v_stored[]; };
/* The word that begins at a byte, which need not be a word of the buffer. */
uint word_at(uint byte, bool k)
{
    byte += (k ? push.k_base : push.v_base) * INDEX_BYTES;
    uint w = byte >> 2, shift = (byte & 3) * 8;
    uint low = k ? k_stored[w] : v_stored[w];
    if (INDEX_BYTES != 1 || shift == 0)
        return low;
    return low >> shift | (k ? k_stored[w + 1] : v_stored[w + 1]) << (32 - shift);
}
#else
/* A row may start at any element; this driver's loads do not mind. */
uint word_at(uint64_t byte, bool k)
{
    uint64_t start = k ? long_of(uvec2(push.k_lo, push.k_hi))
                       : long_of(uvec2(push.v_lo, push.v_hi));
    return Words(start + byte).at[0];
}
#endif

#if ROW_SCALES || KV_TYPE == RAPT_STORE_INT4
#ifdef LP_SSBO
layout(set = 0, binding = RAPT_BIND_K_SCALE, std430) readonly buffer KS32 { float k_scale_floats[]; };
layout(set = 0, binding = RAPT_BIND_K_SCALE, std430) readonly buffer KS16
{
    uint16_t k_scale_halves[];
};
layout(set = 0, binding = RAPT_BIND_V_SCALE, std430) readonly buffer VS32 { float v_scale_floats[]; };
layout(set = 0, binding = RAPT_BIND_V_SCALE, std430) readonly buffer VS16
{
    uint16_t v_scale_halves[];
};
float scale_at(uint i, bool k)
{
    i += k ? push.k_scale_lo : push.v_scale_lo;
    if (KV_TYPE != RAPT_STORE_INT4 && (HEADER(scale_kind) & 0xffu) == RAPT_STORE_F32)
        return k ? k_scale_floats[i] : v_scale_floats[i];
    /* chosen as words: a choice of 16-bit values would take a capability */
    return unpackHalf2x16(k ? uint(k_scale_halves[i]) : uint(v_scale_halves[i])).x;
}
#else
float scale_at(uint64_t i, bool k)
{
    uint64_t start = k ? long_of(uvec2(push.k_scale_lo, push.k_scale_hi))
                       : long_of(uvec2(push.v_scale_lo, push.v_scale_hi));
    if (KV_TYPE != RAPT_STORE_INT4 && (HEADER(scale_kind) & 0xffu) == RAPT_STORE_F32)
        return Floats(start + i * 4).at[0];
    return unpackHalf2x16(uint(Halves(start + i * 2).at[0])).x;
}
#endif
#endif

struct lp_kv {
    LP_INDEX k_base, v_base; /* of the head in token 0, or in a page's token 0 */
    LP_INDEX k_page, v_page;
    LP_INDEX k_scale_base, v_scale_base;
    uint k_token, v_token, page_shift, page_mask, table, last_page, last_entry;
    uint k_scale_page, v_scale_page, k_scale_token, v_scale_token;
};

lp_kv load_kv(uint seq_word, uint kv_head)
{
    lp_kv kv;
    kv.k_token = HEADER(k_token_stride);
    kv.v_token = HEADER(v_token_stride);
    kv.k_base = LP_INDEX(kv_head) * HEADER(k_head_stride);
    kv.v_base = LP_INDEX(kv_head) * HEADER(v_head_stride);
    kv.k_page = kv.v_page = 0;
    kv.k_scale_base = kv.v_scale_base = 0;
    kv.k_scale_page = kv.v_scale_page = kv.k_scale_token = kv.v_scale_token = 0;
    kv.page_shift = kv.page_mask = kv.table = kv.last_page = kv.last_entry = 0;
    bool paged = (FEATURES & HEADER(features) & RAPT_FEAT_PAGED) != 0;
#if ROW_SCALES || KV_TYPE == RAPT_STORE_INT4
    kv.k_scale_base = LP_INDEX(kv_head) * HEADER(k_scale_head_stride);
    kv.v_scale_base = LP_INDEX(kv_head) * HEADER(v_scale_head_stride);
    kv.k_scale_token = HEADER(k_scale_token_stride);
    kv.v_scale_token = HEADER(v_scale_token_stride);
    if (paged) {
        kv.k_scale_page = HEADER(k_scale_page_stride);
        kv.v_scale_page = HEADER(v_scale_page_stride);
    } else {
        kv.k_scale_base += index_at(seq_word + SEQ_K_SCALE_BASE);
        kv.v_scale_base += index_at(seq_word + SEQ_V_SCALE_BASE);
    }
#endif
    if (paged) {
        kv.k_page = index_at(offset_of_k_page_stride_lo);
        kv.v_page = index_at(offset_of_v_page_stride_lo);
        kv.page_shift = HEADER(page_shift);
        kv.page_mask = HEADER(page_mask);
        kv.table = HEADER(pages_word) + STEP(seq_word + SEQ_PAGE_FIRST);
        kv.last_page = max(HEADER(n_pages), 1) - 1;
        kv.last_entry = max(STEP(seq_word + SEQ_N_PAGES), 1) - 1;
    } else {
        kv.k_base += index_at(seq_word + SEQ_K_BASE);
        kv.v_base += index_at(seq_word + SEQ_V_BASE);
    }
    return kv;
}

/* The page of key j and its token there; packed tensors are one page, number 0. */
uvec2 find_page(lp_kv kv, uint j)
{
    if ((FEATURES & RAPT_FEAT_PAGED) != 0 && kv.page_mask + kv.table != 0)
        return uvec2(min(STEP(kv.table + min(j >> kv.page_shift, kv.last_entry)), kv.last_page),
                     j & kv.page_mask);
    return uvec2(0, j);
}

/* Index of dim 0 of key j, which the caller has clamped to existing keys. Table entries are clamped
 * to the table, page ids to the pool. */
LP_INDEX key_index(lp_kv kv, uint j, bool k)
{
    uvec2 at = find_page(kv, j);
    return (k ? kv.k_base : kv.v_base) + LP_INDEX(at.x) * (k ? kv.k_page : kv.v_page) +
           LP_INDEX(at.y) * (k ? kv.k_token : kv.v_token);
}

/* Of the first scale of key j's row. */
LP_INDEX scale_index(lp_kv kv, uint j, bool k)
{
    uvec2 at = find_page(kv, j);
    return (k ? kv.k_scale_base : kv.v_scale_base) +
           LP_INDEX(at.x) * (k ? kv.k_scale_page : kv.v_scale_page) +
           LP_INDEX(at.y) * (k ? kv.k_scale_token : kv.v_scale_token);
}

/* What a key's values are multiplied by: the whole row ... */
float row_scale(lp_kv kv, uint j, bool k)
{
#if ROW_SCALES
    return scale_at(scale_index(kv, j, k), k) * STORED_UNIT;
#else
    return 1.0;
#endif
}

/* ... or the 32 dims from 32 * block on, of the row at byte `row` whose scales begin at `scales`. */
float block_scale(LP_INDEX row, LP_INDEX scales, uint block, bool k)
{
#if KV_TYPE == RAPT_STORE_INT4
    return scale_at(scales + block, k);
#elif KV_TYPE == RAPT_STORE_Q8_0 || KV_TYPE == RAPT_STORE_Q4_0
    return unpackHalf2x16(word_at(row + byte_of_word(block * BLOCK_WORDS) - 2, k) & 0xffffu).x;
#else
    return 1.0;
#endif
}

/* The scales of blocks `block` and `block` + 1 of n, as halves of a word: 16-bit loads with lanes = keys
 * go lane by lane. */
#if KV_TYPE == RAPT_STORE_INT4 && !defined(LP_SSBO)
uint scale_pair(uint64_t scales, uint block, uint n, bool k)
{
    uint64_t at = (k ? long_of(uvec2(push.k_scale_lo, push.k_scale_hi))
                     : long_of(uvec2(push.v_scale_lo, push.v_scale_hi))) +
                  (scales + block) * 2;
    if (block + 1 < n)
        return Words(at).at[0];
    return uint(Halves(at).at[0]);
}
#endif

#ifdef LP_WORDS
/* ---- rows as 32-bit words, lanes = words: loads at uniform addresses, each kept by one lane
 * through a constant comparison, are merged into one vector load */
const uint LINE = 16; /* words of a cache line */

#define LANE gl_SubgroupInvocationID

/* Words [first, first + lanes) of a row of n, lane i keeping word first + i. */
uint load_words(uint64_t row, uint first, uint n)
{
    uint x = Words(row + byte_of_word(first)).at[0];
    [[unroll]] for (uint i = 1; i < gl_WorkGroupSize.x; i++) {
        if (first + i < n) {
            uint word = Words(row + byte_of_word(first + i)).at[0]; /* loaded by every lane: in a
                                                branch it is no uniform load any more */
            x = LANE == i ? word : x;
        }
    }
    return x;
}

/* With 16 lanes: words [first, first + 8) of two rows of n, lanes i and i + 8 keeping word first + i. */
uint load_words_of_two(uint64_t row, uint64_t other, uint first, uint n)
{
    uint x = Words(row + byte_of_word(first)).at[0];
    [[unroll]] for (uint i = 1; i < 16; i++) {
        if (first + i % 8 < n) {
            uint word = Words((i < 8 ? row : other) + byte_of_word(first + i % 8)).at[0];
            x = LANE == i || (i == 8 && LANE > 8) ? word : x; /* lanes past n: a word of their own row */
        }
    }
    return x;
}

/* What the words are multiplied by that load_words(row, first, n) gives a lane, in kinds with a scale
 * for every 32 dims. `row` and `scales` are indices, as block_scale takes them. */
float words_scale(uint64_t row, uint64_t scales, uint first, uint n, bool k)
{
    uint block = first / BLOCK_WORDS;
    float x = block_scale(row, scales, block, k);
    [[unroll]] for (uint i = BLOCK_WORDS; i < gl_WorkGroupSize.x; i += BLOCK_WORDS) {
        if (BLOCK_SCALES && first + i < n) {
            float y = block_scale(row, scales, block + i / BLOCK_WORDS, k);
            x = LANE < i ? x : y;
        }
    }
    return x;
}

/* The same for load_words_of_two. */
float words_scale_of_two(uint64_t row, uint64_t scales, uint64_t other, uint64_t other_scales,
                         uint first, uint n, bool k)
{
    uint block = first / BLOCK_WORDS;
    float x = block_scale(row, scales, block, k);
    float y = block_scale(other, other_scales, block, k);
    [[unroll]] for (uint i = BLOCK_WORDS; i < 8; i += BLOCK_WORDS) {
        if (BLOCK_SCALES && first + i < n) {
            float next = block_scale(row, scales, block + i / BLOCK_WORDS, k);
            x = LANE < i ? x : next;
            next = block_scale(other, other_scales, block + i / BLOCK_WORDS, k);
            y = LANE < 8 + i ? y : next;
        }
    }
    return LANE < 8 ? x : y;
}
#endif
