/* SPDX-License-Identifier: Apache-2.0 */
/* Quantized K and V: how words of codes are fetched, and what they stand for. For tile_quantized.glsl and
 * matrix_kv.glsl. */

#include "code_places.glsl"

/* ---- words */

/* Codes from byte `at` on, n bytes of them, into next[to], ...: as they lie, with the word they end in;
 * aligned; at any byte. */
#define FETCH_BLOCK(words, next, to, at, n) \
    { \
        uint word = (at) >> 2, last = (n) / 4 - 1 + (((at) >> 1) & 1u); \
        [[unroll]] for (uint i = 0; i <= (n) / 4; i++) \
            next[(to) + i] = words[word + min(i, last)]; \
    }
#define FETCH_WIDE(words, quads, next, to, at, n) \
    { \
        if ((n) == 16) { \
            uvec4 quad = quads[(at) >> 4]; \
            [[unroll]] for (uint i = 0; i < (n) / 4; i++) \
                next[(to) + i] = quad[i]; \
        } else { \
            [[unroll]] for (uint i = 0; i < (n) / 4; i++) \
                next[(to) + i] = words[((at) >> 2) + i]; \
        } \
    }
#define FETCH_BYTES(words, next, to, at, n) \
    { \
        uint word = (at) >> 2, shift = ((at) & 3u) * 8, low = words[word]; \
        [[unroll]] for (uint i = 0; i < (n) / 4; i++) { \
            uint high = words[word + (shift == 0 && i + 1 == (n) / 4 ? i : i + 1)]; \
            next[(to) + i] = low >> shift | (high << 1) << (31 - shift); \
            low = high; \
        } \
    }
#define FETCH_WORD(words, next, to, at, n) next[to] = words[at];

/* ---- values */

vec4 signed_bytes(uint w)
{
    return vec4(int(w << 24) >> 24, int(w << 16) >> 24, int(w << 8) >> 24, int(w) >> 24);
}

float fp8_value(uint code)
{
    uint a = code & 0x7fu;
    float x = a < 8 ? float(a) * 0.001953125 : uintBitsToFloat((a << 20) + 0x3c000000u);
    return uintBitsToFloat(floatBitsToUint(a == 0x7fu ? uintBitsToFloat(0x7fc00000u) : x) |
                           (code & 0x80u) << 24);
}

/* Eight codes, not yet times their scale: of two words, of one where they are nibbles. */
void unpack_codes(uint x, uint y, out vec4 a, out vec4 b)
{
#if KV_TYPE == RAPT_STORE_FP8_E4M3
    a = vec4(fp8_value(x), fp8_value(x >> 8), fp8_value(x >> 16), fp8_value(x >> 24));
    b = vec4(fp8_value(y), fp8_value(y >> 8), fp8_value(y >> 16), fp8_value(y >> 24));
#elif KV_TYPE == RAPT_STORE_INT4
    a = vec4(int(x << 28) >> 28, int(x << 24) >> 28, int(x << 20) >> 28, int(x << 16) >> 28);
    b = vec4(int(x << 12) >> 28, int(x << 8) >> 28, int(x << 4) >> 28, int(x) >> 28);
#elif KV_TYPE == RAPT_STORE_Q4_0
    a = vec4(x & 15u, x >> 8 & 15u, x >> 16 & 15u, x >> 24 & 15u) - 8.0;
    b = vec4(y & 15u, y >> 8 & 15u, y >> 16 & 15u, y >> 24 & 15u) - 8.0;
#else
    a = signed_bytes(x);
    b = signed_bytes(y);
#endif
}

/* Word i of the codes from byte `at` on, of those kept at next[to], ... */
#if IS_BLOCKS
#define CODE_WORD(next, to, at, i) \
    (((at) & 2u) == 0 ? next[(to) + (i)] : next[(to) + (i)] >> 16 | next[(to) + (i) + 1] << 16)
#else
#define CODE_WORD(next, to, at, i) next[(to) + (i)]
#endif
/* The words of the e-th eight of them; d is its first dim. */
#if KV_TYPE == RAPT_STORE_INT4
#define CODES(next, to, at, e, d) CODE_WORD(next, to, at, e), 0
#elif KV_TYPE == RAPT_STORE_Q4_0
#define CODES(next, to, at, e, d) \
    CODE_WORD(next, to, at, 0) >> ((d) / 16 % 2 * 4), CODE_WORD(next, to, at, 1) >> ((d) / 16 % 2 * 4)
#else
#define CODES(next, to, at, e, d) CODE_WORD(next, to, at, 2 * (e)), CODE_WORD(next, to, at, 2 * (e) + 1)
#endif
