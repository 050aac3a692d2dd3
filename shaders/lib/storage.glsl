/* SPDX-License-Identifier: Apache-2.0 */
/* Elements in memory: everything is read and written as 32-bit words, so that devices without 16-bit
 * storage run the same kernels. Rows are multiples of 8 elements at even offsets. */

/* Eight 16-bit elements of a row as f32. */
void unpack_f16(uvec4 w, out vec4 a, out vec4 b)
{
    a = vec4(unpackHalf2x16(w.x), unpackHalf2x16(w.y));
    b = vec4(unpackHalf2x16(w.z), unpackHalf2x16(w.w));
}

void unpack_bf16(uvec4 w, out vec4 a, out vec4 b)
{
    a = uintBitsToFloat(uvec4(w.x << 16, w.x & 0xffff0000u, w.y << 16, w.y & 0xffff0000u));
    b = uintBitsToFloat(uvec4(w.z << 16, w.z & 0xffff0000u, w.w << 16, w.w & 0xffff0000u));
}

#if defined(KV_TYPE) && KV_TYPE <= RAPT_STORE_BF16
/* Eight elements of K or V as they are loaded: f32 fill both, halves x alone. */
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
#endif

/* Rounding to nearest even by hand: packHalf2x16 may round either way, and some drivers truncate. */
uint float_to_half(float x)
{
    uint u = floatBitsToUint(x), sign = (u >> 16) & 0x8000u, a = u & 0x7fffffffu;
    if (a > 0x7f800000u)
        return 0x7e00u;
    if (a >= 0x477ff000u)
        return sign | 0x7c00u;
    if (a < 0x38800000u) /* half denormal: the sum with 0.5 has steps of 2^-24 */
        return sign | (floatBitsToUint(uintBitsToFloat(a) + 0.5) - 0x3f000000u);
    return sign | ((a - 0x38000000u + 0xfffu + ((a >> 13) & 1u)) >> 13);
}

uint float_to_bf16(float x)
{
    uint u = floatBitsToUint(x);
    if ((u & 0x7fffffffu) > 0x7f800000u)
        return 0x7fc0u;
    return (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
}

uint pack_pair(float x, float y, uint type)
{
    if (type == RAPT_STORE_BF16)
        return float_to_bf16(x) | (float_to_bf16(y) << 16);
    return float_to_half(x) | (float_to_half(y) << 16);
}
