/* SPDX-License-Identifier: Apache-2.0 */
/* The stored forms of K and V, a 32-bit word of a row at a time: how many dims it holds, which, where it
 * lies in the row, and their values without the scale. KV_TYPE is a RAPT_STORE_* of the row. */

#if KV_TYPE == RAPT_STORE_F32
const uint PER_WORD = 1;
#elif KV_TYPE == RAPT_STORE_F16 || KV_TYPE == RAPT_STORE_BF16
const uint PER_WORD = 2;
#elif KV_TYPE == RAPT_STORE_INT8 || KV_TYPE == RAPT_STORE_FP8_E4M3 || KV_TYPE == RAPT_STORE_Q8_0
const uint PER_WORD = 4;
#elif KV_TYPE == RAPT_STORE_INT4 || KV_TYPE == RAPT_STORE_Q4_0
const uint PER_WORD = 8;
#else
#error "KV_TYPE must be a RAPT_STORE_*"
#endif

/* Scales: one for a row, or one for 32 dims (in the row before the words they belong to, or apart). */
#define ROW_SCALES (KV_TYPE == RAPT_STORE_INT8 || KV_TYPE == RAPT_STORE_FP8_E4M3)
#define BLOCK_SCALES \
    (KV_TYPE == RAPT_STORE_INT4 || KV_TYPE == RAPT_STORE_Q8_0 || KV_TYPE == RAPT_STORE_Q4_0)
const uint BLOCK_WORDS = 32 / PER_WORD;

/* Bytes of the row before word w. */
uint byte_of_word(uint w)
{
#if KV_TYPE == RAPT_STORE_Q8_0
    return w / 8 * 34 + 2 + w % 8 * 4;
#elif KV_TYPE == RAPT_STORE_Q4_0
    return w / 4 * 18 + 2 + w % 4 * 4;
#else
    return w * 4;
#endif
}

/* The dim of element e of word w. Nibbles: first the low ones of the four bytes, then the high ones. */
uint dim_of(uint w, uint e)
{
#if KV_TYPE == RAPT_STORE_INT4
    return w * 8 + e % 4 * 2 + e / 4;
#elif KV_TYPE == RAPT_STORE_Q4_0
    return w / 4 * 32 + w % 4 * 4 + e % 4 + e / 4 * 16;
#else
    return w * PER_WORD + e;
#endif
}

/* fp8's exponent is 8 less than an f16 of the same bits would have; taken back by this factor. */
#if KV_TYPE == RAPT_STORE_FP8_E4M3
const float STORED_UNIT = 256.0;
#else
const float STORED_UNIT = 1.0;
#endif

/* fp8's NaN are told apart from numbers by themselves: bit 7 of a byte of nan_bytes is set where the
 * byte is one. unpack_numbers takes them for 480. */
const bool HAS_NAN = KV_TYPE == RAPT_STORE_FP8_E4M3;

uint nan_bytes(uint x)
{
    return (x & 0x7f7f7f7fu) + 0x01010101u;
}

float nan_or(uint nans, uint byte, float x)
{
    return (nans & 0x80u << 8 * byte) != 0 ? uintBitsToFloat(0x7fc00000u) : x;
}

void unpack_numbers(uint x, out float values[PER_WORD])
{
#if KV_TYPE == RAPT_STORE_F32
    values[0] = uintBitsToFloat(x);
#elif KV_TYPE == RAPT_STORE_F16
    vec2 halves = unpackHalf2x16(x);
    values[0] = halves.x;
    values[1] = halves.y;
#elif KV_TYPE == RAPT_STORE_BF16
    values[0] = uintBitsToFloat(x << 16);
    values[1] = uintBitsToFloat(x & 0xffff0000u);
#elif KV_TYPE == RAPT_STORE_FP8_E4M3
    /* as halves with the exponent's upper bit clear: bytes 1 and 3 where they stand, then 0 and 2 */
    uint odd = (x & 0x80008000u) | (x >> 1 & 0x3f803f80u), y = x << 8;
    uint even = (y & 0x80008000u) | (y >> 1 & 0x3f803f80u);
    vec2 odds = unpackHalf2x16(odd), evens = unpackHalf2x16(even);
    values[0] = evens.x;
    values[1] = odds.x;
    values[2] = evens.y;
    values[3] = odds.y;
#elif KV_TYPE == RAPT_STORE_INT8 || KV_TYPE == RAPT_STORE_Q8_0
    [[unroll]] for (uint e = 0; e < 4; e++)
        values[e] = float(int(x << (24 - 8 * e)) >> 24);
#else
#if KV_TYPE == RAPT_STORE_Q4_0
    x ^= 0x88888888u; /* n - 8 for n = 0 .. 15, as two's complement */
#endif
    [[unroll]] for (uint e = 0; e < 8; e++)
        values[e] = float(int(x << (28 - 8 * (e % 4) - 4 * (e / 4))) >> 28);
#endif
}

void unpack_word(uint x, out float values[PER_WORD])
{
    unpack_numbers(x, values);
    if (HAS_NAN)
        [[unroll]] for (uint e = 0; e < PER_WORD; e++)
            values[e] = nan_or(nan_bytes(x), e, values[e]);
}
