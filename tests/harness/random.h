/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HARNESS_RANDOM_H
#define HARNESS_RANDOM_H

/* Seeded numbers, the same on every machine (SplitMix64, Steele et al. 2014). */

#include <math.h>
#include <stdint.h>

#define RANDOM_STEP UINT64_C(0x9e3779b97f4a7c15)

/* Every bit of z decides about every bit of the result; one to one. */
static inline uint64_t random_mix(uint64_t z)
{
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static inline uint64_t random_u64(uint64_t *state)
{
    return random_mix(*state += RANDOM_STEP);
}

/* [0, n), n > 0 */
static inline uint32_t random_below(uint64_t *state, uint32_t n)
{
    return (uint32_t)(random_u64(state) % n);
}

/* [low, high] */
static inline int32_t random_between(uint64_t *state, int32_t low, int32_t high)
{
    return (int32_t)(low + (int64_t)(random_u64(state) % (uint64_t)((int64_t)high - low + 1)));
}

/* [0, 1) */
static inline double random_unit(uint64_t *state)
{
    return (double)(random_u64(state) >> 11) * 0x1p-53;
}

/* N(0, 1) */
static inline float random_normal(uint64_t *state)
{
    double u = 1 - random_unit(state), angle = 6.283185307179586 * random_unit(state);
    return (float)(sqrt(-2 * log(u)) * cos(angle));
}

#endif
