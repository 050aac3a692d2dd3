/* SPDX-License-Identifier: Apache-2.0 */
#include "convert.h"

#include "wide.h"

#include <rapt/reference.h>

#include <string.h>

RAPT_INLINE uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

RAPT_INLINE float float_of(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* x >> shift, rounded to nearest even; 1 <= shift <= 31. */
static uint32_t shift_round(uint32_t x, uint32_t shift)
{
    uint32_t half = 1u << (shift - 1), rest = x & ((1u << shift) - 1), whole = x >> shift;
    return whole + (rest > half || (rest == half && (whole & 1)));
}

uint16_t rapt_f16_from_f32(float value)
{
    uint32_t bits = bits_of(value), magnitude = bits & 0x7fffffffu;
    uint16_t sign = (uint16_t)(bits >> 16 & 0x8000u);
    if (magnitude > 0x7f800000u) /* NaN: quiet, and keep what fits of its payload */
        return (uint16_t)(sign | 0x7e00u | (magnitude >> 13 & 0x1ffu));
    if (magnitude >= 0x47800000u) /* 65536 and more, infinity */
        return sign | 0x7c00u;
    if (magnitude >= 0x38800000u) /* normal: rebias the exponent; a carry may reach infinity */
        return (uint16_t)(sign | shift_round(magnitude - 0x38000000u, 13));
    uint32_t exponent = magnitude >> 23;
    if (exponent < 102) /* below half of the least denormal */
        return sign;
    uint32_t mantissa = (magnitude & 0x7fffffu) | 0x800000u;
    return (uint16_t)(sign | shift_round(mantissa, 126 - exponent));
}

/* Without branches, so that loops over it become vectors. */
RAPT_INLINE float widen_f16(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000u) << 16, magnitude = half & 0x7fffu;
    uint32_t rebias = magnitude >= 0x7c00u ? 224u << 23 : 112u << 23; /* infinity and NaN: to 255 */
    uint32_t denormal = bits_of((float)(int32_t)magnitude * 0x1p-24f);
    uint32_t normal = (magnitude << 13) + rebias;
    return float_of(sign | (magnitude < 0x400u ? denormal : normal));
}

float rapt_f32_from_f16(uint16_t half)
{
    return widen_f16(half);
}

uint16_t rapt_bf16_from_f32(float value)
{
    uint32_t bits = bits_of(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)(bits >> 16 | 0x40u);
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1)) >> 16);
}

float rapt_f32_from_bf16(uint16_t bits)
{
    return float_of((uint32_t)bits << 16);
}

float rapt_round_to(rapt_type type, float value)
{
    if (type == RAPT_TYPE_F16)
        return rapt_f32_from_f16(rapt_f16_from_f32(value));
    if (type == RAPT_TYPE_BF16)
        return rapt_f32_from_bf16(rapt_bf16_from_f32(value));
    return value;
}

float rapt_load(const void *data, rapt_type type, uint64_t i)
{
    if (type == RAPT_TYPE_F16)
        return rapt_f32_from_f16(((const uint16_t *)data)[i]);
    if (type == RAPT_TYPE_BF16)
        return rapt_f32_from_bf16(((const uint16_t *)data)[i]);
    return ((const float *)data)[i];
}

RAPT_WIDE static void widen_row_f16(const uint16_t *from, uint32_t n, float *out)
{
    for (uint32_t i = 0; i < n; i++)
        out[i] = widen_f16(from[i]);
}

RAPT_WIDE static void widen_row_bf16(const uint16_t *from, uint32_t n, float *out)
{
    for (uint32_t i = 0; i < n; i++)
        out[i] = float_of((uint32_t)from[i] << 16);
}

void rapt_load_row(const void *data, rapt_type type, uint64_t first, uint32_t n, float *out_row)
{
    if (type == RAPT_TYPE_F16)
        widen_row_f16((const uint16_t *)data + first, n, out_row);
    else if (type == RAPT_TYPE_BF16)
        widen_row_bf16((const uint16_t *)data + first, n, out_row);
    else if (n > 0)
        memcpy(out_row, (const float *)data + first, n * sizeof *out_row);
}

void rapt_store(void *data, rapt_type type, uint64_t i, float value)
{
    if (type == RAPT_TYPE_F16)
        ((uint16_t *)data)[i] = rapt_f16_from_f32(value);
    else if (type == RAPT_TYPE_BF16)
        ((uint16_t *)data)[i] = rapt_bf16_from_f32(value);
    else
        ((float *)data)[i] = value;
}
