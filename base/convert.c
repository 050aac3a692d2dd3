/* SPDX-License-Identifier: Apache-2.0 */
#include "convert.h"

#include <rapt/reference.h>

#include <string.h>

static uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static float float_of(uint32_t bits)
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

float rapt_f32_from_f16(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000u) << 16, exponent = half >> 10 & 31,
             mantissa = half & 0x3ffu;
    if (exponent == 31)
        return float_of(sign | 0x7f800000u | mantissa << 13);
    if (exponent != 0)
        return float_of(sign | (exponent + 112) << 23 | mantissa << 13);
    float value = (float)mantissa * 0x1p-24f;
    return sign ? -value : value;
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

void rapt_store(void *data, rapt_type type, uint64_t i, float value)
{
    if (type == RAPT_TYPE_F16)
        ((uint16_t *)data)[i] = rapt_f16_from_f32(value);
    else if (type == RAPT_TYPE_BF16)
        ((uint16_t *)data)[i] = rapt_bf16_from_f32(value);
    else
        ((float *)data)[i] = value;
}
