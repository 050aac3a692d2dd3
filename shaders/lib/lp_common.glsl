/* SPDX-License-Identifier: Apache-2.0 */
/* What the CPU driver's kernels share: the record's buffers by address (LP_SSBO: by descriptor, for
 * drivers whose loads by address are slow), items, rows and their key intervals, the final write.
 *
 * A workgroup is exactly one subgroup, so nothing here needs shared memory or a barrier. Loops whose
 * trip count may be zero are `if (n > 0) do ... while`: on this driver a `for` runs its body once
 * more with an empty lane mask, and its uniform loads then read past the buffer. */
#extension GL_EXT_control_flow_attributes : require
#extension GL_EXT_shader_16bit_storage : require
#include "args.h"

layout(local_size_x_id = RAPT_SPEC_WG_SIZE) in;
layout(constant_id = RAPT_SPEC_HEAD_DIM) const uint D = 128;
layout(constant_id = RAPT_SPEC_HEAD_DIM_V) const uint DV = 128;
layout(constant_id = RAPT_SPEC_FEATURES) const uint FEATURES = 0;
layout(constant_id = RAPT_SPEC_Q_TYPE) const uint Q_TYPE = RAPT_STORE_F32;
layout(constant_id = RAPT_SPEC_OUT_TYPE) const uint OUT_TYPE = RAPT_STORE_F32;
layout(constant_id = RAPT_SPEC_TILE_A) const uint TILE_A = 8;
layout(constant_id = RAPT_SPEC_TILE_B) const uint TILE_B = 1;
layout(constant_id = RAPT_SPEC_STAGED) const uint STAGED_TYPE = 0;

layout(push_constant) uniform Push { rapt_push push; };

/* Rows of 16-bit floats are staged as they are, which halves what is written and read again; only
 * where prefill loads with lanes = keys (LP_BROADCAST). */
const bool HALVES = STAGED_TYPE == RAPT_STORE_F16 || STAGED_TYPE == RAPT_STORE_BF16;

#define INFINITY_F uintBitsToFloat(0x7f800000u)
const float LOG2E = 1.44269504088896341;
const float LN2 = 0.693147180559945309;

/* ---- buffers: element indices are LP_INDEX, relative to the tensor's first element */
#ifdef LP_SSBO
#define LP_INDEX uint
layout(set = 0, binding = RAPT_BIND_STEP, std430) readonly buffer Step { uint step_words[]; };
layout(set = 0, binding = RAPT_BIND_WORK, std430) buffer Work { float work_floats[]; };
layout(set = 0, binding = RAPT_BIND_WORK, std430) buffer Work4 { vec4 work_quads[]; };
#define STEP(word) step_words[word]
#define WORK(word) work_floats[push.work_base + (word)]
#else
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference_uvec2 : require
#extension GL_EXT_shader_explicit_arithmetic_types_int64 : require
#define LP_INDEX uint64_t
layout(buffer_reference, std430, buffer_reference_align = 4) readonly buffer Words { uint at[]; };
layout(buffer_reference, std430, buffer_reference_align = 4) buffer Floats { float at[]; };
layout(buffer_reference, std430, buffer_reference_align = 2) buffer Halves { uint16_t at[]; };
layout(buffer_reference, std430, buffer_reference_align = 8) buffer Pairs { uvec2 at[]; };
layout(buffer_reference, std430, buffer_reference_align = 8) buffer Longs { uint64_t at[]; };
layout(buffer_reference, std430, buffer_reference_align = 16) buffer Quads { vec4 at[]; };

#define STEP(word) Words(uvec2(push.step_lo, push.step_hi)).at[word]
#define WORK(word) Floats(uvec2(push.work_lo, push.work_hi)).at[word]
#endif
#define HEADER(member) STEP(offset_of_##member)

/* word offsets of the header members these kernels read */
const uint offset_of_features = 1, offset_of_n_q_heads = 2, offset_of_group = 4,
           offset_of_page_shift = 7, offset_of_page_mask = 8, offset_of_n_pages = 9,
           offset_of_q_token_stride = 10, offset_of_q_head_stride = 11,
           offset_of_k_token_stride = 12, offset_of_k_head_stride = 13,
           offset_of_v_token_stride = 14, offset_of_v_head_stride = 15,
           offset_of_out_token_stride = 16, offset_of_out_head_stride = 17,
           offset_of_k_page_stride_lo = 18, offset_of_k_page_stride_hi = 19,
           offset_of_v_page_stride_lo = 20, offset_of_v_page_stride_hi = 21, offset_of_scale = 22,
           offset_of_softcap = 23, offset_of_max_logit_const = 24, offset_of_left = 25,
           offset_of_right = 26, offset_of_chunk = 27, offset_of_seqs_word = 28,
           offset_of_items_word = 29, offset_of_q_pos_word = 31, offset_of_pages_word = 32,
           offset_of_stages_word = 33, offset_of_partial_o_word = 38,
           offset_of_partial_ml_word = 39, offset_of_stage_k_word = 40,
           offset_of_stage_v_word = 41, offset_of_bias_head_stride = 42,
           offset_of_bias_row_stride = 43, offset_of_block_q_shift = 49,
           offset_of_block_kv_shift = 50, offset_of_k_scale_page_stride = 54,
           offset_of_k_scale_token_stride = 55, offset_of_k_scale_head_stride = 56,
           offset_of_v_scale_page_stride = 57, offset_of_v_scale_token_stride = 58,
           offset_of_v_scale_head_stride = 59, offset_of_scale_kind = 60;
/* and of members of struct rapt_step_seq */
const uint SEQ_Q_ROW = 0, SEQ_KV_LEN = 2, SEQ_KV_LIMIT = 3, SEQ_Q_POS0 = 4, SEQ_KV_POS0 = 5,
           SEQ_PAGE_FIRST = 6, SEQ_N_PAGES = 7, SEQ_Q_BASE = 8, SEQ_K_BASE = 10, SEQ_V_BASE = 12,
           SEQ_OUT_BASE = 14, SEQ_BIAS_BASE = 16, SEQ_K_SCALE_BASE = 20, SEQ_V_SCALE_BASE = 22;

#ifndef LP_SSBO
/* packUint2x32. With 16 lanes that overruns the stack of Mesa 26.1's compiler, if lanes may differ. */
uint64_t long_of(uvec2 x)
{
    return gl_WorkGroupSize.x <= 8 ? packUint2x32(x) : uint64_t(x.x) + (uint64_t(x.y) << 32);
}

/* A scatter costs by the number of its elements, whatever their width: eight bytes are stored at once.
 * Addresses need not be multiples of eight on this driver. */
void store_eight(uint64_t address, uvec2 x)
{
    Longs(address).at[0] = long_of(x);
}
#endif

LP_INDEX index_at(uint word)
{
#ifdef LP_SSBO
    return STEP(word);
#else
    return long_of(uvec2(STEP(word), STEP(word + 1)));
#endif
}

uint group_index()
{
    return gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x;
}

float half_to_float(uint bits, uint type)
{
    return type == RAPT_STORE_BF16 ? uintBitsToFloat(bits << 16) : unpackHalf2x16(bits).x;
}
