/* SPDX-License-Identifier: Apache-2.0 */
#include "mass.h"

#include "mass_numbers.h"

#include <math.h>
#include <string.h>

#define LARGEST_FINITE 0x7f7fffffu

static uint32_t bits_of(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

static float float_of(uint32_t u)
{
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

uint32_t rapt_score_order(float score)
{
    uint32_t u = bits_of(score);
    if ((u & 0x7fffffffu) > 0x7f800000u)
        return 0;
    if (u == 0x80000000u)
        u = 0;
    return u >> 31 ? ~u : u | 0x80000000u;
}

static float score_of(uint32_t order)
{
    return float_of(order >> 31 ? order & 0x7fffffffu : ~order);
}

static uint32_t upper(uint32_t a, uint32_t b)
{
    return (uint32_t)((uint64_t)a * b >> 32);
}

/* exp(-x) * 2^31 */
static uint32_t fall(float x)
{
    static const uint32_t terms[] = {RAPT_MASS_C9, RAPT_MASS_C8, RAPT_MASS_C7,
                                     RAPT_MASS_C6, RAPT_MASS_C5, RAPT_MASS_C4,
                                     RAPT_MASS_C3, RAPT_MASS_C2, RAPT_MASS_C1};
    if (!(x < (float)RAPT_MASS_FAR))
        return 0;
    const uint32_t y = upper((uint32_t)(x * 134217728.0f), RAPT_MASS_LOG2E);
    const uint32_t h = 0u - (y << 6);
    uint32_t p = 0;
    if (h == 0)
        return 0x80000000u >> (y >> 26);
    for (int i = 0; i < 9; i++)
        p = upper(h, terms[i] + p);
    return (0x80000000u + (p >> 1)) >> 1 >> (y >> 26);
}

/* The score's bits as a number, moved as the largest's exponent says. */
static uint32_t plain(uint32_t bits, uint32_t top)
{
    bits = bits > LARGEST_FINITE ? LARGEST_FINITE : bits;
    top = top > LARGEST_FINITE ? LARGEST_FINITE : top;
    const uint32_t shift = (top >> 23) - (bits >> 23);
    if (bits >> 23 == 0 || shift > 31)
        return 0;
    return ((bits & 0x7fffffu) | 0x800000u) << 7 >> shift;
}

uint32_t rapt_score_weight(float score, uint32_t top, int softmax)
{
    const uint32_t order = rapt_score_order(score);
    if (order == 0)
        return 0;
    if (softmax)
        return order == top ? 0x80000000u : fall(score_of(top) - score);
    return order > 0x80000000u ? plain(bits_of(score), top & 0x7fffffffu) : 0;
}

uint32_t rapt_mass_share(float mass)
{
    return (uint32_t)ceil((double)mass * RAPT_MASS_ONE);
}

uint64_t rapt_mass_of(uint64_t sum, uint32_t share)
{
    return (sum * share + (RAPT_MASS_ONE - 1)) / RAPT_MASS_ONE;
}
