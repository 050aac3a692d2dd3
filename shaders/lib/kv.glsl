/* SPDX-License-Identifier: Apache-2.0 */
/* K and V where they are stored, packed or in pages. KV_TYPE is a RAPT_STORE_* of the row. */

layout(set = 0, binding = RAPT_BIND_K, std430) readonly buffer K1 { uint k_words[]; };
layout(set = 0, binding = RAPT_BIND_K, std430) readonly buffer K4 { uvec4 k_quads[]; };
layout(set = 0, binding = RAPT_BIND_V, std430) readonly buffer V1 { uint v_words[]; };
layout(set = 0, binding = RAPT_BIND_V, std430) readonly buffer V4 { uvec4 v_quads[]; };

/* Elements (x: of K, y: of V) of dim 0 of key j of a sequence. The key exists (the caller clamps);
 * table entries are clamped to the table and page ids to the pool, whatever a table says. */
uvec2 key_element(uint seq, uint kv_head, uint j)
{
    uvec2 at = uvec2(push.k_base, push.v_base) +
               kv_head * uvec2(header.k_head_stride, header.v_head_stride);
    if (wants(RAPT_FEAT_PAGED)) {
        uint entry = min(j >> header.page_shift, max(step_words[seq + SEQ_N_PAGES], 1u) - 1u);
        uint page = step_words[header.pages_word + step_words[seq + SEQ_PAGE_FIRST] + entry];
        page = min(page, max(header.n_pages, 1u) - 1u);
        at += page * uvec2(header.k_page_stride_lo, header.v_page_stride_lo);
        j &= header.page_mask;
    } else {
        at += uvec2(step_words[seq + SEQ_K_BASE], step_words[seq + SEQ_V_BASE]);
    }
    return at + j * uvec2(header.k_token_stride, header.v_token_stride);
}

/* Eight elements of a row are one or two vectors of words. */
#if KV_TYPE == RAPT_STORE_F32
#define QUADS_PER_EIGHT 2
#define WORD_OF_ELEMENT(i) (i)
#elif KV_TYPE == RAPT_STORE_F16 || KV_TYPE == RAPT_STORE_BF16
#define QUADS_PER_EIGHT 1
#define WORD_OF_ELEMENT(i) ((i) >> 1)
#else
#error "KV_TYPE must be RAPT_STORE_F32, _F16 or _BF16"
#endif

/* Whether all of K's rows (x) and all of V's (y) start at multiples of 16 bytes. */
bvec2 rows_aligned(uint seq, uint kv_head)
{
    uvec2 bits = uvec2(push.k_base, push.v_base) | uvec2(header.k_token_stride, header.v_token_stride) |
                 kv_head * uvec2(header.k_head_stride, header.v_head_stride);
    if (wants(RAPT_FEAT_PAGED))
        bits |= uvec2(header.k_page_stride_lo, header.v_page_stride_lo);
    else
        bits |= uvec2(step_words[seq + SEQ_K_BASE], step_words[seq + SEQ_V_BASE]);
    return equal(bits & (8 / QUADS_PER_EIGHT - 1), uvec2(0));
}

void unpack_eight(uvec4 x, uvec4 y, out vec4 a, out vec4 b)
{
#if KV_TYPE == RAPT_STORE_F32
    a = uintBitsToFloat(x);
    b = uintBitsToFloat(y);
#elif KV_TYPE == RAPT_STORE_F16
    unpack_f16(x, a, b);
#else
    unpack_bf16(x, a, b);
#endif
}
