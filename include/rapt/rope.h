/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RAPT_ROPE_H
#define RAPT_ROPE_H

/* Rotary position embedding (RoFormer, Su et al. 2021): K is rotated once, when it is appended to the
 * cache; Q is rotated when the attention kernels read it. Host only, no Vulkan.
 *
 *   f[i]  = theta^(-2i / rotary_dim) * frequency_scale[i],   i = 0 .. rotary_dim/2 - 1
 *   a     = position * f[i]
 *   y0    = (x0 cos a - x1 sin a) * attention_factor
 *   y1    = (x1 cos a + x0 sin a) * attention_factor
 *
 * where (x0, x1) are dims rotary_offset + (i, i + rotary_dim/2) in the NeoX pairing and
 * rotary_offset + (2i, 2i + 1) in GPT-J's; the other dims stay as they are. Angles are taken modulo a
 * turn in 64-bit fixed point, so a position of a million is as exact as position one.
 *
 * Thread-safety: every function may be called from any thread. */

#include <rapt/common.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum rapt_rope_pairing {
    RAPT_ROPE_NONE = 0,
    RAPT_ROPE_NEOX = 1, /* halves: Llama in Hugging Face's order, Qwen, Gemma, gpt-oss */
    RAPT_ROPE_GPTJ = 2  /* neighbours: GPT-J, Llama in Meta's order, DeepSeek */
} rapt_rope_pairing;

typedef struct rapt_rope {
    size_t struct_size;
    rapt_rope_pairing pairing; /* NONE = nothing is rotated */
    uint32_t rotary_dim;       /* even; 0 = head_dim */
    uint32_t rotary_offset;    /* first rotated dim; rotary_offset + rotary_dim <= head_dim */
    float theta;               /* 0 = 10000 */
    const float *frequency_scale; /* f32[rotary_dim / 2], see below; NULL = ones */
    float attention_factor;       /* 0 = 1 */
    /* The caller's own cosines and sines instead of theta, frequency_scale and attention_factor:
     * f32[n_table_positions][rotary_dim], per position rotary_dim/2 cosines, then as many sines.
     * Positions must be 0 .. n_table_positions - 1. NULL with n_table_positions > 0: the plan's record
     * brings it as a buffer (attention.h). */
    const float *table;
    uint32_t n_table_positions; /* 0 = no table */
} rapt_rope;

/* Llama 3.1's frequency scaling ("llama3" rope_scaling of its published config): wavelengths
 * above original_context / low_freq_factor are divided by `factor`, those below original_context /
 * high_freq_factor stay, in between the two are blended. Errors: ARGUMENT. */
RAPT_API rapt_status rapt_rope_llama3(uint32_t rotary_dim, float theta, float factor,
                                      float low_freq_factor, float high_freq_factor,
                                      uint32_t original_context, float *out_frequency_scale);
/* YaRN (Peng et al. 2023): dims that turn more than beta_fast times in original_context stay,
 * those below beta_slow are divided by `factor`, a ramp between; attention factor
 * 0.1 ln(factor) + 1. beta_fast 0 = 32, beta_slow 0 = 1. Errors: ARGUMENT. */
RAPT_API rapt_status rapt_rope_yarn(uint32_t rotary_dim, float theta, float factor, float beta_fast,
                                    float beta_slow, uint32_t original_context,
                                    float *out_frequency_scale, float *out_attention_factor);

/* Rotates n_rows rows f32[n_rows][head_dim] (in place is fine) at positions int32[n_rows], as the
 * kernels do: float arithmetic, the same bits. Errors: ARGUMENT, SHAPE (past head_dim). */
RAPT_API rapt_status rapt_rope_apply(const rapt_rope *rope, uint32_t head_dim, uint32_t n_rows,
                                     const int32_t *positions, const float *rows, float *out_rows);

#ifdef __cplusplus
}
#endif
#endif
