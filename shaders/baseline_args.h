/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SHADERS_BASELINE_ARGS_H
#define SHADERS_BASELINE_ARGS_H

/* Push constants of the kernels that measure a device and of the three-pass baseline: for
 * comparison only, never part of a plan. Read by C and GLSL, like args.h. */

#include "args.h"

/* Three passes over one sequence and `n_heads` query heads from head_first on. Bases and strides in
 * elements. Scores: [head][query][key] f32; row_stride has four elements more than the keys rounded
 * up to four, the first of which takes 1 / l. */
struct rapt_three_pass_push {
    RAPT_U n_q, n_kv;
    RAPT_U head_first;
    RAPT_U group; /* query heads per KV head */
    RAPT_U q_base, q_token_stride, q_head_stride;
    RAPT_U k_base, k_token_stride, k_head_stride;
    RAPT_U v_base, v_token_stride, v_head_stride;
    RAPT_U out_base, out_token_stride, out_head_stride;
    RAPT_U row_stride, head_stride; /* of the scores */
    RAPT_I shift; /* query i sees keys j <= i + shift */
    RAPT_F scale;
};

/* n is iterations (multiply-adds) or 16-byte elements of a workgroup (copy, read): a multiple of 16
 * times its invocations. */
struct rapt_ceiling_push {
    RAPT_U n;
    RAPT_F x, y;
    RAPT_U from_lo, from_hi; /* by address */
};

#endif
