/* SPDX-License-Identifier: Apache-2.0 */
/* Weights of scores, and sums of them in two words: mass_numbers.h. */
#include "mass_numbers.h"
#include "order.glsl"

uint upper(uint a, uint b)
{
    uint high, low;
    umulExtended(a, b, high, low);
    return high;
}

/* exp(-x) * 2^31 */
uint fall(float x)
{
    if (!(x < RAPT_MASS_FAR))
        return 0;
    uint y = upper(uint(x * 134217728.0), RAPT_MASS_LOG2E), h = 0u - (y << 6);
    if (h == 0)
        return 0x80000000u >> (y >> 26);
    uint p = upper(h, RAPT_MASS_C9);
    p = upper(h, RAPT_MASS_C8 + p);
    p = upper(h, RAPT_MASS_C7 + p);
    p = upper(h, RAPT_MASS_C6 + p);
    p = upper(h, RAPT_MASS_C5 + p);
    p = upper(h, RAPT_MASS_C4 + p);
    p = upper(h, RAPT_MASS_C3 + p);
    p = upper(h, RAPT_MASS_C2 + p);
    p = upper(h, RAPT_MASS_C1 + p);
    return (0x80000000u + (p >> 1)) >> 1 >> (y >> 26);
}

/* The score's bits as a number, moved as the largest's exponent says. */
uint plain_weight(uint bits, uint top)
{
    bits = min(bits, 0x7f7fffffu);
    uint shift = (min(top, 0x7f7fffffu) >> 23) - (bits >> 23);
    if (bits >> 23 == 0 || shift > 31)
        return 0;
    return ((bits & 0x7fffffu) | 0x800000u) << 7 >> shift;
}

/* In a row whose largest score has the order `top`. */
uint weight_in_row(float score, uint top, bool softmax)
{
    uint order = order_of(score);
    if (order == 0)
        return 0;
    if (!softmax)
        return order > 0x80000000u ? plain_weight(floatBitsToUint(score), top & 0x7fffffffu) : 0;
    float largest = uintBitsToFloat((top >> 31) != 0 ? top & 0x7fffffffu : ~top);
    precise float x = largest - score;
    return order == top ? 0x80000000u : fall(x);
}

/* Sums of the upper and the lower halves of weights become a number of two words, the upper one first. */
uvec2 whole(uvec2 halves)
{
    uint carry, low = uaddCarry(halves.x << 16, halves.y, carry);
    return uvec2((halves.x >> 16) + carry, low);
}

uvec2 plus(uvec2 a, uvec2 b)
{
    uint carry, low = uaddCarry(a.y, b.y, carry);
    return uvec2(a.x + b.x + carry, low);
}

uvec2 minus(uvec2 a, uvec2 b)
{
    uint borrow, low = usubBorrow(a.y, b.y, borrow);
    return uvec2(a.x - b.x - borrow, low);
}

bool less(uvec2 a, uvec2 b)
{
    return a.x < b.x || (a.x == b.x && a.y < b.y);
}

uvec2 product(uint a, uint b)
{
    uvec2 p;
    umulExtended(a, b, p.x, p.y);
    return p;
}

/* A share of a sum below 2^48, in 65536ths, rounded up. */
uvec2 share_of(uvec2 sum, uint share)
{
    uvec2 p = plus(product(sum.y, share), uvec2(sum.x * share, 0));
    p = plus(p, uvec2(0, RAPT_MASS_ONE - 1));
    return uvec2(p.x >> 16, p.x << 16 | p.y >> 16);
}
