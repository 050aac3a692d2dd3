/* SPDX-License-Identifier: Apache-2.0 */
/* Where codes and scales of a row of quantized K or V lie. */

#define IS_BLOCKS (KV_TYPE == RAPT_STORE_Q8_0 || KV_TYPE == RAPT_STORE_Q4_0)
#define IS_NIBBLES (KV_TYPE == RAPT_STORE_INT4 || KV_TYPE == RAPT_STORE_Q4_0)

/* Byte of a row where the codes from dim d on lie. */
uint byte_of(uint d)
{
#if KV_TYPE == RAPT_STORE_Q8_0
    return d / 32 * 34 + 2 + d % 32;
#elif KV_TYPE == RAPT_STORE_Q4_0
    return d / 32 * 18 + 2 + d % 16;
#elif KV_TYPE == RAPT_STORE_INT4
    return d / 2;
#else
    return d;
#endif
}

/* Of the scale of dim d: a half-word of the row (x: its byte), or an element of the scales. */
uint scale_of(uint row, uint scales, uint d)
{
#if KV_TYPE == RAPT_STORE_Q8_0
    return row + d / 32 * 34;
#elif KV_TYPE == RAPT_STORE_Q4_0
    return row + d / 32 * 18;
#elif KV_TYPE == RAPT_STORE_INT4
    return scales + d / 32;
#else
    return scales;
#endif
}

bool half_scales()
{
    return KV_TYPE == RAPT_STORE_INT4 || (header.scale_kind & 0xffu) == RAPT_STORE_F16;
}

/* The word a scale lies in, and the scale out of it. */
uint scale_word(uint at)
{
#if IS_BLOCKS
    return at >> 2;
#else
    return half_scales() ? at >> 1 : at;
#endif
}

float scale_in(uint word, uint at)
{
#if IS_BLOCKS
    vec2 halves = unpackHalf2x16(word);
    return (at & 2u) == 0 ? halves.x : halves.y;
#else
    vec2 halves = unpackHalf2x16(word);
    return !half_scales() ? uintBitsToFloat(word) : (at & 1u) == 0 ? halves.x : halves.y;
#endif
}
