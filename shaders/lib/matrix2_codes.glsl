/* SPDX-License-Identifier: Apache-2.0 */
/* One element of quantized K or V, for matrix2_kv.glsl. Rows begin at any byte, blocks at even ones. */

#include "code_places.glsl"

#if KV_TYPE == RAPT_STORE_INT8 || KV_TYPE == RAPT_STORE_FP8_E4M3
const uint SCALE_DIMS = 1024; /* that share a scale: the whole row */
#else
const uint SCALE_DIMS = 32;
#endif
#if KV_TYPE == RAPT_STORE_FP8_E4M3
const float LARGEST_CODE = 448.0;
#elif KV_TYPE == RAPT_STORE_INT4 || KV_TYPE == RAPT_STORE_Q4_0
const float LARGEST_CODE = 8.0;
#else
const float LARGEST_CODE = 128.0;
#endif

/* Out of the word in which byte `at` lies. */
float code_in(uint word, uint at, uint d)
{
    uint code = word >> 8 * (at & 3u) & 0xffu;
#if KV_TYPE == RAPT_STORE_FP8_E4M3
    /* an f16 of the same bits has an exponent 8 larger; NaN is 0x7f or 0xff */
    float x = unpackHalf2x16((code & 0x7fu) << 7 | (code & 0x80u) << 8).x * 256.0;
    return (code & 0x7fu) == 0x7fu ? uintBitsToFloat(0x7fc00000u) : x;
#elif KV_TYPE == RAPT_STORE_INT4
    return float(int(code << ((d & 1u) == 0u ? 28 : 24)) >> 28);
#elif KV_TYPE == RAPT_STORE_Q4_0
    return float(int((d & 16u) == 0u ? code & 15u : code >> 4) - 8);
#else
    return float(int(code << 24) >> 24);
#endif
}

/* The scale of dim d. */
#if IS_BLOCKS
#define SCALE_OF(words, scale_words, row, scales, d) \
    scale_in(words[scale_word(scale_of(row, 0, d))], scale_of(row, 0, d))
#else
#define SCALE_OF(words, scale_words, row, scales, d) \
    scale_in(scale_words[scale_word(scale_of(0, scales, d))], scale_of(0, scales, d))
#endif

#define VALUE_OF(words, scale_words, row, scales, d) \
    code_in(words[(row) + byte_of(d) >> 2], (row) + byte_of(d), d) * \
        SCALE_OF(words, scale_words, row, scales, d)
