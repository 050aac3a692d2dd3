/* SPDX-License-Identifier: Apache-2.0 */
#ifndef REFERENCE_QUANTIZED_H
#define REFERENCE_QUANTIZED_H

/* What a problem and rapt_quantize_params have in common: which scales a type has, and whether they
 * make sense. */

#include <rapt/reference.h>

/* int8 and fp8_e4m3: scale tensors of scale_type, taken from rows or static. */
int rapt_type_has_scales(rapt_type type);

/* Fills scale_type's default in. */
rapt_status rapt_scales_check(rapt_type type, rapt_type *scale_type, rapt_scale_kind kind);
rapt_status rapt_static_scales_check(const char *name, const float *scales, uint32_t n,
                                     uint32_t n_heads, rapt_type scale_type);

#endif
