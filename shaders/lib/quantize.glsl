/* SPDX-License-Identifier: Apache-2.0 */
/* Stored forms of K and V, the same bits as the host's (base/row_codec.c). Devices divide with an error
 * of 2.5 units, may flush denormals and round as they like in some conversions, so everything that
 * decides a bit is done on the bits of a float, or in single products and sums that are `precise`.
 * EXACT_DIVIDE: the device's own division of normal numbers is correctly rounded. */

const uint F32_INFINITY = 0x7f800000u, F32_MAX = 0x7f7fffffu, F32_LEAST_NORMAL = 0x00800000u,
           F32_LARGEST = 0x7f000000u; /* 2^127 */

/* x >> shift to nearest even; `more` says that something follows below x. shift 1 to 31 */
uint shift_round(uint x, uint shift, bool more)
{
    uint rest = x & ((1u << shift) - 1u), middle = 1u << (shift - 1u), whole = x >> shift;
    bool up = rest > middle || (rest == middle && (more || (whole & 1u) != 0));
    return up ? whole + 1u : whole;
}

/* ---- floats */

uint half_from_float(uint u)
{
    uint sign = (u >> 16) & 0x8000u, a = u & 0x7fffffffu;
    uint x = (a - 0x38000000u + 0xfffu + ((a >> 13) & 1u)) >> 13;
    /* denormal: the sum with 0.5 has steps of 2^-24 */
    x = a < 0x38800000u ? floatBitsToUint(uintBitsToFloat(a) + 0.5) - 0x3f000000u : x;
    x = a >= 0x47800000u ? 0x7c00u : x;
    return sign | (a > F32_INFINITY ? 0x7e00u | ((a >> 13) & 0x1ffu) : x);
}

uint float_from_half(uint h)
{
    uint a = h & 0x7fffu, x = (a << 13) + ((a >= 0x7c00u ? 224u : 112u) << 23);
    return (h & 0x8000u) << 16 |
           (a < 0x400u ? floatBitsToUint(float(a) * 5.9604644775390625e-08) : x);
}

uint bf16_from_float(uint u)
{
    if ((u & 0x7fffffffu) > F32_INFINITY)
        return (u >> 16) | 0x40u;
    return (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
}

/* ---- what is quantized in place of NaN, of infinity and what comes near it, and, for `normal_of`, of
 * denormals */

uint finite_of(uint u)
{
    uint a = u & 0x7fffffffu, sign = u & 0x80000000u;
    return a > F32_INFINITY ? 0u : sign | min(a, F32_LARGEST);
}

uint normal_of(uint u)
{
    u = finite_of(u);
    return (u & F32_INFINITY) != 0 ? u : u & 0x80000000u;
}

/* ---- whole numbers: drivers convert floats to integers lane by lane */

const uint WHOLE_ZERO = 0x4b400000u;

/* A number far below 2^22 in magnitude, rounded to nearest even, plus WHOLE_ZERO. */
uint whole_bits(float x)
{
    precise float moved = x + 12582912.0;
    return floatBitsToUint(moved);
}

/* ---- division */

/* Magnitudes: mantissa in [2^23, 2^24) and exponent, denormals too. Not for 0. */
void split_float(uint a, out uint mantissa, out int exponent)
{
    exponent = int(a >> 23);
    mantissa = a & 0x7fffffu;
    if (exponent == 0) {
        int up = 23 - findMSB(mantissa);
        mantissa <<= up;
        exponent = 1 - up;
    } else {
        mantissa |= 0x800000u;
    }
}

/* x / y, magnitudes of finite numbers, y > 0, rounded to nearest even: the device's quotient, corrected
 * by the remainder, which is exact in integers. */
uint divide(uint x, uint y)
{
    if (x == 0)
        return 0;
    uint mx, my;
    int ex, ey;
    split_float(x, mx, ex);
    split_float(y, my, ey);
    int exponent = ex - ey + 127;
    if (mx < my) {
        mx <<= 1;
        exponent--;
    }
    float ratio = float(mx) / float(my);
    uint q = floatBitsToUint(ratio * 8388608.0) - 0x4a800000u; /* near 2^23 to 2^24: whole */
    int rest = int((mx << 23) - q * my); /* some multiples of y at most: modulo 2^32 is enough */
    int off = int(whole_bits(floor(float(rest) / float(my))) - WHOLE_ZERO);
    q += uint(off);
    rest -= off * int(my);
    if (rest < 0) {
        q--;
        rest += int(my);
    }
    if (rest >= int(my)) {
        q++;
        rest -= int(my);
    }
    if (exponent > 254)
        return F32_INFINITY;
    if (exponent <= 0) {
        int shift = 1 - exponent;
        return shift > 25 ? 0u : shift_round(q, uint(shift), rest != 0);
    }
    uint twice = 2u * uint(rest);
    bool up = twice > my || (twice == my && (q & 1u) != 0);
    return (uint(exponent - 1) << 23) + q + (up ? 1u : 0u); /* a carry lands in the exponent */
}

/* x / y for normal x or 0 and y > 0, as a float; beyond every limit there is to x where it is large */
float quotient(uint x, uint y)
{
    if (EXACT_DIVIDE)
        return uintBitsToFloat(x) / uintBitsToFloat(y);
    uint q = divide(x & 0x7fffffffu, y);
    return uintBitsToFloat((x & 0x80000000u) | min(q, F32_MAX));
}

/* 1 / y for y > 0; infinity becomes 0 */
uint inverse(uint y)
{
    uint q = divide(0x3f800000u, y);
    return q >= F32_INFINITY ? 0u : q;
}

/* f16, but never infinite */
uint half_scale(uint u)
{
    return half_from_float((u & 0x80000000u) | min(u & 0x7fffffffu, 0x477fe000u));
}

/* ---- int8, fp8, int4 */

uint int8_code(uint x, uint scale)
{
    return whole_bits(clamp(quotient(normal_of(x), scale), -127.0, 127.0)) & 0xffu;
}

uint fp8_code(uint u)
{
    uint a = u & 0x7fffffffu, sign = (u >> 24) & 0x80u;
    uint x = shift_round(a - (120u << 23), 20, false);
    x = a < 0x3c800000u ? whole_bits(uintBitsToFloat(a) * 512.0) & 0xffu : x;
    x = a >= 0x43e00000u ? 0x7eu : x;
    return sign | (a > F32_INFINITY ? 0x7fu : x);
}

/* scale 0: what is not NaN is 0 */
uint fp8_quantized(uint x, uint scale)
{
    uint code = scale == 0 ? 0u : fp8_code(floatBitsToUint(quotient(normal_of(x), scale)));
    return (x & 0x7fffffffu) > F32_INFINITY ? (x >> 24 & 0x80u) | 0x7fu : code;
}

uint int4_code(uint x, uint scale)
{
    return whole_bits(clamp(quotient(normal_of(x), scale), -7.0, 7.0)) & 15u;
}

/* ---- ggml's blocks. They know denormals: blocks that small are computed 2^64 times larger. */

const uint TINY = 0x21800000u; /* 2^-60 */

uint lifted(uint u)
{
    uint sign = u & 0x80000000u, a = u & 0x7fffffffu;
    if (a < F32_LEAST_NORMAL)
        return sign | floatBitsToUint(float(a) * 2.5849394142282115e-26); /* 2^(64 - 149) */
    return sign | (a + (64u << 23));
}

/* 1 / d, magnitudes; 0 where that is 0 or infinite. Times 2^-64 for tiny blocks. */
uint block_inverse(uint d, bool tiny)
{
    if (d <= 0x00200000u) /* 2^-128 */
        return 0u;
    return inverse(tiny ? lifted(d) : d);
}

uint q8_0_code(uint x, uint id, bool tiny)
{
    x = finite_of(x);
    precise float y = uintBitsToFloat((tiny ? lifted(x) : x) & 0x7fffffffu) * uintBitsToFloat(id);
    float whole = trunc(y);
    uint code = whole_bits(y - whole >= 0.5 ? whole + 1.0 : whole); /* half away from zero */
    return ((x & 0x80000000u) != 0 ? 0u - code : code) & 0xffu;
}

/* id has a sign here */
uint q4_0_code(uint x, uint id, float middle, bool tiny)
{
    x = finite_of(x);
    precise float y = uintBitsToFloat(tiny ? lifted(x) : x) * uintBitsToFloat(id);
    precise float z = y + middle;
    return whole_bits(min(trunc(z), 15.0)) & 0xffu;
}
