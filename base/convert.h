/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_CONVERT_H
#define BASE_CONVERT_H

#include <rapt/common.h>

/* The value as stored in `type` (f32, f16, bf16): rounded to nearest even and widened again. */
float rapt_round_to(rapt_type type, float value);
/* Element i of an array of f32, f16 or bf16. */
float rapt_load(const void *data, rapt_type type, uint64_t i);
/* Elements first .. first + n - 1. */
void rapt_load_row(const void *data, rapt_type type, uint64_t first, uint32_t n, float *out_row);
/* Stores `value` as element i, rounded to nearest even. */
void rapt_store(void *data, rapt_type type, uint64_t i, float value);

#endif
