/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_ROW_CODEC_H
#define BASE_ROW_CODEC_H

/* One row of K or V in its quantized form and back. What the bits are is said at rapt_quantize_rows
 * (reference.h); these are the pure loops, whose arguments somebody else has checked. */

#include <rapt/common.h>

/* Dims that share a scale in int4, q8_0 and q4_0. */
#define RAPT_QUANT_GROUP 32

/* OCP E4M3 (1 sign, 4 exponent bits of bias 7, 3 mantissa bits; no infinity, 0x7f and 0xff are
 * NaN): round to nearest even, saturating at 448. */
uint8_t rapt_fp8_from_f32(float value);
float rapt_f32_from_fp8(uint8_t code);

/* The largest magnitude of n values as the scales see them. */
float rapt_quant_absmax(const float *values, uint32_t n);
/* Scale of int8 or fp8_e4m3 values up to absmax, rounded to scale_type (f32 or f16). */
float rapt_quant_scale(rapt_type type, rapt_type scale_type, float absmax);

/* A row of dim values to its rapt_row_bytes bytes. `scale` is that of int8 and fp8_e4m3; int4
 * writes its dim / 32 scales, f16 bits, to out_scales; others use neither. */
void rapt_quant_encode_row(rapt_type type, uint32_t dim, const float *row, float scale,
                           void *out_row, uint16_t *out_scales);
void rapt_quant_decode_row(rapt_type type, uint32_t dim, const void *row, float scale,
                           const uint16_t *scales, float *out_row);

#endif
