/* SPDX-License-Identifier: Apache-2.0 */
/* K and V as they are stored: where a key's row lies (packed or paged), four dims of it as f32.
 * KV_TYPE is a RAPT_STORE_* of the row. */

#ifdef LP_SSBO
#if KV_TYPE == RAPT_STORE_F32
#define KV_ELEMENT float
#else
#define KV_ELEMENT uint16_t
#endif
layout(set = 0, binding = RAPT_BIND_K, std430) readonly buffer K { KV_ELEMENT k_at[]; };
layout(set = 0, binding = RAPT_BIND_V, std430) readonly buffer V { KV_ELEMENT v_at[]; };
#if KV_TYPE == RAPT_STORE_F32
#define KV_VALUE(x) (x)
#else
#define KV_VALUE(x) half_to_float(uint(x), KV_TYPE)
#endif
vec4 load_k(uint i)
{
    i += push.k_base;
    return vec4(KV_VALUE(k_at[i]), KV_VALUE(k_at[i + 1]), KV_VALUE(k_at[i + 2]),
                KV_VALUE(k_at[i + 3]));
}
vec4 load_v(uint i)
{
    i += push.v_base;
    return vec4(KV_VALUE(v_at[i]), KV_VALUE(v_at[i + 1]), KV_VALUE(v_at[i + 2]),
                KV_VALUE(v_at[i + 3]));
}
#else
/* A row may start at any element; this driver's loads do not mind. */
vec4 load_four(uint64_t base, uint64_t i)
{
#if KV_TYPE == RAPT_STORE_F32
    Pairs x = Pairs(base + i * 4);
    return vec4(uintBitsToFloat(x.at[0]), uintBitsToFloat(x.at[1]));
#else
    uint64_t address = base + i * 2;
    uvec2 x = Pairs(address).at[0];
#if KV_TYPE == RAPT_STORE_F16
    return vec4(unpackHalf2x16(x.x), unpackHalf2x16(x.y));
#else
    return vec4(uintBitsToFloat(x.x << 16), uintBitsToFloat(x.x & 0xffff0000u),
                uintBitsToFloat(x.y << 16), uintBitsToFloat(x.y & 0xffff0000u));
#endif
#endif
}
vec4 load_k(uint64_t i)
{
    return load_four(packUint2x32(uvec2(push.k_lo, push.k_hi)), i);
}
vec4 load_v(uint64_t i)
{
    return load_four(packUint2x32(uvec2(push.v_lo, push.v_hi)), i);
}
#endif

struct lp_kv {
    LP_INDEX k_base, v_base; /* of the head in token 0, or in a page's token 0 */
    LP_INDEX k_page, v_page;
    uint k_token, v_token, page_shift, page_mask, table, last_page, last_entry;
};

lp_kv load_kv(uint seq_word, uint kv_head)
{
    lp_kv kv;
    kv.k_token = HEADER(k_token_stride);
    kv.v_token = HEADER(v_token_stride);
    kv.k_base = LP_INDEX(kv_head) * HEADER(k_head_stride);
    kv.v_base = LP_INDEX(kv_head) * HEADER(v_head_stride);
    kv.k_page = kv.v_page = 0;
    kv.page_shift = kv.page_mask = kv.table = kv.last_page = kv.last_entry = 0;
    if ((FEATURES & HEADER(features) & RAPT_FEAT_PAGED) != 0) {
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

/* Element of dim 0 of key j, which the caller has clamped to existing keys. Table entries are clamped
 * to the table, page ids to the pool. */
LP_INDEX key_index(lp_kv kv, uint j, bool k)
{
    LP_INDEX i = k ? kv.k_base : kv.v_base;
    if ((FEATURES & RAPT_FEAT_PAGED) != 0 && kv.page_mask + kv.table != 0) {
        uint page = min(STEP(kv.table + min(j >> kv.page_shift, kv.last_entry)), kv.last_page);
        i += LP_INDEX(page) * (k ? kv.k_page : kv.v_page);
        j &= kv.page_mask;
    }
    return i + LP_INDEX(j) * (k ? kv.k_token : kv.v_token);
}

#ifdef LP_WORDS
/* ---- rows as 32-bit words, lanes = words: loads at uniform addresses, each kept by one lane
 * through a constant comparison, are merged into one vector load */
const uint PER_WORD = KV_TYPE == RAPT_STORE_F32 ? 1 : 2; /* elements */
const uint LINE = 16;                                    /* words of a cache line */

#define LANE gl_SubgroupInvocationID

/* Words [first, first + lanes) of a row of n, lane i keeping word first + i. */
uint load_words(uint64_t row, uint first, uint n)
{
    Words words = Words(row);
    uint x = words.at[first];
    [[unroll]] for (uint i = 1; i < gl_WorkGroupSize.x; i++) {
        if (first + i < n) {
            uint word = words.at[first + i]; /* loaded by every lane: in a branch it is no
                                                uniform load any more */
            x = LANE == i ? word : x;
        }
    }
    return x;
}

float low_of(uint x)
{
    return KV_TYPE == RAPT_STORE_F32   ? uintBitsToFloat(x)
           : KV_TYPE == RAPT_STORE_F16 ? unpackHalf2x16(x).x
                                       : uintBitsToFloat(x << 16);
}

float high_of(uint x)
{
    return KV_TYPE == RAPT_STORE_F32   ? 0.0
           : KV_TYPE == RAPT_STORE_F16 ? unpackHalf2x16(x).y
                                       : uintBitsToFloat(x & 0xffff0000u);
}
#endif
