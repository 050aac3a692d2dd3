/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_NUMBERS_H
#define BASE_NUMBERS_H

#include <stdint.h>

static inline uint32_t rapt_min_u32(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static inline uint32_t rapt_max_u32(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

#endif
