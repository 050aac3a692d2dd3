/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_CHECKED_H
#define BASE_CHECKED_H

/* Sums and products of sizes that callers may have made absurd: they saturate, never wrap. */

#include <stdint.h>

static inline uint64_t rapt_mul_sat(uint64_t a, uint64_t b)
{
    return b != 0 && a > UINT64_MAX / b ? UINT64_MAX : a * b;
}

static inline uint64_t rapt_add_sat(uint64_t a, uint64_t b)
{
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

#endif
