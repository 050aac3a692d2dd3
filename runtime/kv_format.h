/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_KV_FORMAT_H
#define RUNTIME_KV_FORMAT_H

/* How K/V of a type are counted: elements of the type, bytes where it is quantized. */

#include <rapt/attention.h>

static inline int rapt_kv_quantized(rapt_type type)
{
    return rapt_type_bytes(type) == 0;
}

/* Bytes of what offsets and strides of K and V count. */
static inline uint32_t rapt_kv_unit(rapt_type type)
{
    return rapt_kv_quantized(type) ? 1 : (uint32_t)rapt_type_bytes(type);
}

/* A row in those units. */
static inline uint32_t rapt_kv_row(rapt_type type, uint32_t dim)
{
    return rapt_kv_quantized(type) ? (uint32_t)rapt_row_bytes(type, dim) : dim;
}

/* Strides and offsets are multiples of this many units: blocks have 16-bit scales in them. */
static inline uint32_t rapt_kv_granule(rapt_type type)
{
    return type == RAPT_TYPE_F16 || type == RAPT_TYPE_BF16 || type == RAPT_TYPE_Q8_0 ||
                   type == RAPT_TYPE_Q4_0
               ? 2
               : 1;
}

/* Scales in a tensor of their own that belong to one row; 0 = none. */
static inline uint32_t rapt_kv_row_scales(rapt_type type, uint32_t dim)
{
    return type == RAPT_TYPE_INT8 || type == RAPT_TYPE_FP8_E4M3 ? 1
           : type == RAPT_TYPE_INT4                             ? dim / 32
                                                                : 0;
}

/* Type, scales and pieces of the pool of a plan's parameters, with their defaults: pure. */
rapt_status rapt_kv_params_check(rapt_plan_params *params);

#endif
