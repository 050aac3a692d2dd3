/* SPDX-License-Identifier: Apache-2.0 */
/* Quantized rows. Kernels make the same bits, so every result here is one correctly rounded
 * operation after another: compiled without contraction, and no loop sums. */
#include "row_codec.h"

#include "convert.h"
#include "wide.h"

#include <rapt/reference.h>

#include <float.h>
#include <math.h>
#include <string.h>

#define Q8_0_BYTES (2 + RAPT_QUANT_GROUP)
#define Q4_0_BYTES (2 + RAPT_QUANT_GROUP / 2)
#define FP8_NAN 0x7fu
#define FP8_MAX 0x7eu /* 448 */
#define F16_MAX 65504.0f
#define LARGEST 0x1p127f

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

/* What is quantized in place of NaN, infinity and numbers so large that code * scale might
 * overflow. */
RAPT_INLINE float finite(float value)
{
    value = value == value ? value : 0;
    value = value > LARGEST ? LARGEST : value;
    return value < -LARGEST ? -LARGEST : value;
}

/* The same, and denormals are zeros of their sign: for formats whose scales no f32 denormal can
 * have. */
RAPT_INLINE float normal(float value)
{
    value = finite(value);
    return float_of(bits_of(value) & 0x7f800000u ? bits_of(value) : bits_of(value) & 0x80000000u);
}

/* Nearest whole number, ties to even; |x| far below 2^22. */
RAPT_INLINE float round_even(float x)
{
    return (x + 0x1.8p23f) - 0x1.8p23f;
}

/* ------------------------------------------------------------------------------------------- fp8
 */

uint8_t rapt_fp8_from_f32(float value)
{
    uint32_t bits = bits_of(value), magnitude = bits & 0x7fffffffu;
    uint32_t sign = bits >> 24 & 0x80u, code;
    if (magnitude > 0x7f800000u)
        return (uint8_t)(sign | FP8_NAN);
    if (magnitude >= 0x43e00000u) /* 448 and more, infinity */
        return (uint8_t)(sign | FP8_MAX);
    if (magnitude < 0x3c800000u) { /* below 2^-6: whole multiples of 2^-9 */
        code = (uint32_t)round_even(float_of(magnitude) * 512.0f);
    } else { /* rebias the exponent, 20 mantissa bits go */
        uint32_t rebased = magnitude - (120u << 23);
        code = (rebased + 0x7ffffu + (rebased >> 20 & 1)) >> 20;
    }
    return (uint8_t)(sign | code);
}

float rapt_f32_from_fp8(uint8_t code)
{
    uint32_t sign = (uint32_t)(code & 0x80u) << 24, magnitude = code & 0x7fu;
    if (magnitude == FP8_NAN)
        return float_of(sign | 0x7fc00000u);
    if (magnitude < 8)
        return float_of(sign | bits_of((float)magnitude * 0x1p-9f));
    return float_of(sign | ((magnitude << 20) + (120u << 23)));
}

/* ---------------------------------------------------------------------------------------- scales
 */

RAPT_WIDE static uint32_t largest_bits(const float *values, uint32_t n)
{
    uint32_t most = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t magnitude = bits_of(values[i]) & 0x7fffffffu;
        magnitude = magnitude > 0x7f800000u ? 0 : magnitude;
        most = magnitude > most ? magnitude : most;
    }
    return most;
}

float rapt_quant_absmax(const float *values, uint32_t n)
{
    return normal(float_of(largest_bits(values, n)));
}

/* As f16, but never infinite. */
static uint16_t f16_scale(float value)
{
    value = value > F16_MAX ? F16_MAX : value;
    return rapt_f16_from_f32(value < -F16_MAX ? -F16_MAX : value);
}

float rapt_quant_scale(rapt_type type, rapt_type scale_type, float absmax)
{
    float scale = absmax / (type == RAPT_TYPE_FP8_E4M3 ? 448.0f : 127.0f);
    if (scale_type == RAPT_TYPE_F16)
        return rapt_f32_from_f16(f16_scale(scale));
    return scale < FLT_MIN ? 0 : scale;
}

/* -------------------------------------------------------------------------------- int8, fp8, int4
 */

RAPT_WIDE static void encode_int8(const float *row, uint32_t dim, float scale, int8_t *out)
{
    for (uint32_t d = 0; d < dim; d++) {
        float x = normal(row[d]) / scale;
        x = x > 127 ? 127 : x;
        x = x < -127 ? -127 : x;
        out[d] = (int8_t)round_even(x);
    }
}

static void encode_fp8(const float *row, uint32_t dim, float scale, uint8_t *out)
{
    for (uint32_t d = 0; d < dim; d++) {
        float x = row[d];
        if (x == x) /* NaN is kept, even where all else is 0 */
            x = scale > 0 ? normal(x) / scale : 0;
        out[d] = rapt_fp8_from_f32(x);
    }
}

static void encode_int4(const float *row, uint32_t dim, uint8_t *out, uint16_t *out_scales)
{
    for (uint32_t first = 0; first < dim; first += RAPT_QUANT_GROUP) {
        uint16_t half = f16_scale(rapt_quant_absmax(row + first, RAPT_QUANT_GROUP) / 7.0f);
        float scale = rapt_f32_from_f16(half);
        uint32_t nibbles[RAPT_QUANT_GROUP];
        for (uint32_t i = 0; i < RAPT_QUANT_GROUP; i++) {
            float x = scale > 0 ? normal(row[first + i]) / scale : 0;
            x = x > 7 ? 7 : x;
            x = x < -7 ? -7 : x;
            nibbles[i] = (uint32_t)(int32_t)round_even(x) & 15u;
        }
        for (uint32_t i = 0; i < RAPT_QUANT_GROUP; i += 2)
            out[(first + i) / 2] = (uint8_t)(nibbles[i] | nibbles[i + 1] << 4);
        out_scales[first / RAPT_QUANT_GROUP] = half;
    }
}

RAPT_WIDE static void decode_int8(const int8_t *row, uint32_t dim, float scale, float *out)
{
    for (uint32_t d = 0; d < dim; d++)
        out[d] = (float)row[d] * scale;
}

static void decode_fp8(const uint8_t *row, uint32_t dim, float scale, float *out)
{
    for (uint32_t d = 0; d < dim; d++)
        out[d] = rapt_f32_from_fp8(row[d]) * scale;
}

static void decode_int4(const uint8_t *row, uint32_t dim, const uint16_t *scales, float *out)
{
    for (uint32_t d = 0; d < dim; d++) {
        int nibble = row[d / 2] >> (d % 2 * 4) & 15;
        out[d] = (float)(nibble < 8 ? nibble : nibble - 16) *
                 rapt_f32_from_f16(scales[d / RAPT_QUANT_GROUP]);
    }
}

/* --------------------------------------------------------------------------------- ggml's blocks
 */

static void put_f16(uint8_t *to, uint16_t half)
{
    to[0] = (uint8_t)half; /* little endian on every host, as the kernels read it */
    to[1] = (uint8_t)(half >> 8);
}

static float get_f16(const uint8_t *from)
{
    return rapt_f32_from_f16((uint16_t)(from[0] | from[1] << 8));
}

/* 1 / d, or 0 where that is no number: d is 0, or so small that the block reads as zeros anyway. */
static float inverse(float d)
{
    float id = d != 0 ? 1.0f / d : 0;
    return isfinite(id) ? id : 0;
}

static void encode_q8_0(const float *x, uint8_t *out)
{
    float most = 0;
    for (int i = 0; i < RAPT_QUANT_GROUP; i++) {
        float magnitude = fabsf(finite(x[i]));
        most = magnitude > most ? magnitude : most;
    }
    float d = most / 127.0f, id = inverse(d);
    put_f16(out, f16_scale(d));
    for (int i = 0; i < RAPT_QUANT_GROUP; i++)
        out[2 + i] = (uint8_t)(int8_t)roundf(finite(x[i]) * id);
}

static void encode_q4_0(const float *x, uint8_t *out)
{
    float most = 0, extreme = 0; /* the first of equal magnitudes counts */
    for (int i = 0; i < RAPT_QUANT_GROUP; i++) {
        float value = finite(x[i]);
        if (fabsf(value) > most) {
            most = fabsf(value);
            extreme = value;
        }
    }
    float d = extreme / -8.0f, id = inverse(d);
    /* Where there is no 1 / d the codes are 0 for a block of denormals, 8 for one of zeros. */
    float middle = d != 0 && id == 0 ? 0 : 8.5f;
    put_f16(out, f16_scale(d));
    for (int i = 0; i < RAPT_QUANT_GROUP / 2; i++) {
        int low = (int)(finite(x[i]) * id + middle);
        int high = (int)(finite(x[i + RAPT_QUANT_GROUP / 2]) * id + middle);
        low = low > 15 ? 15 : low;
        high = high > 15 ? 15 : high;
        out[2 + i] = (uint8_t)(low | high << 4);
    }
}

static void decode_q8_0(const uint8_t *block, float *out)
{
    float d = get_f16(block);
    for (int i = 0; i < RAPT_QUANT_GROUP; i++)
        out[i] = (float)(int8_t)block[2 + i] * d;
}

static void decode_q4_0(const uint8_t *block, float *out)
{
    float d = get_f16(block);
    for (int i = 0; i < RAPT_QUANT_GROUP / 2; i++) {
        out[i] = (float)((block[2 + i] & 15) - 8) * d;
        out[i + RAPT_QUANT_GROUP / 2] = (float)((block[2 + i] >> 4) - 8) * d;
    }
}

/* ------------------------------------------------------------------------------------------ rows
 */

void rapt_quant_encode_row(rapt_type type, uint32_t dim, const float *row, float scale,
                           void *out_row, uint16_t *out_scales)
{
    uint8_t *out = out_row;
    switch (type) {
    case RAPT_TYPE_INT8:
        if (scale > 0)
            encode_int8(row, dim, scale, out_row);
        else
            memset(out, 0, dim);
        return;
    case RAPT_TYPE_FP8_E4M3:
        encode_fp8(row, dim, scale, out);
        return;
    case RAPT_TYPE_INT4:
        encode_int4(row, dim, out, out_scales);
        return;
    case RAPT_TYPE_Q8_0:
        for (uint32_t d = 0; d < dim; d += RAPT_QUANT_GROUP, out += Q8_0_BYTES)
            encode_q8_0(row + d, out);
        return;
    case RAPT_TYPE_Q4_0:
        for (uint32_t d = 0; d < dim; d += RAPT_QUANT_GROUP, out += Q4_0_BYTES)
            encode_q4_0(row + d, out);
        return;
    default:
        for (uint32_t d = 0; d < dim; d++)
            rapt_store(out_row, type, d, row[d]);
    }
}

void rapt_quant_decode_row(rapt_type type, uint32_t dim, const void *row, float scale,
                           const uint16_t *scales, float *out_row)
{
    const uint8_t *from = row;
    switch (type) {
    case RAPT_TYPE_INT8:
        decode_int8(row, dim, scale, out_row);
        return;
    case RAPT_TYPE_FP8_E4M3:
        decode_fp8(row, dim, scale, out_row);
        return;
    case RAPT_TYPE_INT4:
        decode_int4(row, dim, scales, out_row);
        return;
    case RAPT_TYPE_Q8_0:
        for (uint32_t d = 0; d < dim; d += RAPT_QUANT_GROUP, from += Q8_0_BYTES)
            decode_q8_0(from, out_row + d);
        return;
    case RAPT_TYPE_Q4_0:
        for (uint32_t d = 0; d < dim; d += RAPT_QUANT_GROUP, from += Q4_0_BYTES)
            decode_q4_0(from, out_row + d);
        return;
    default:
        rapt_load_row(row, type, 0, dim, out_row);
    }
}
