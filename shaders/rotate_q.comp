#version 450
/* SPDX-License-Identifier: Apache-2.0 */
/* Rotates the queries of a step ahead of attention, into the workspace, as f32 [total_q, Hq, D]: for
 * the CPU driver, whose attention kernels keep Q in registers and read it dim by dim. A lane takes a
 * pair of dims of a token, or a dim that stays as it is, and goes through the heads with it. */
#extension GL_GOOGLE_include_directive : require
#ifdef BY_ADDRESS
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference_uvec2 : require
#extension GL_EXT_shader_explicit_arithmetic_types_int64 : require
#endif
#include "args.h"

layout(local_size_x_id = RAPT_SPEC_WG_SIZE) in;
layout(constant_id = RAPT_SPEC_WG_SIZE) const uint WG_SIZE = 8;
layout(constant_id = RAPT_SPEC_HEAD_DIM) const uint D = 128;
layout(constant_id = RAPT_SPEC_Q_TYPE) const uint Q_TYPE = RAPT_STORE_F32;

layout(push_constant) uniform Push { rapt_push push; };

#ifdef BY_ADDRESS
#define AT uint64_t
layout(buffer_reference, std430, buffer_reference_align = 4) readonly buffer Words { uint at[]; };
layout(buffer_reference, std430, buffer_reference_align = 4) buffer Floats { float at[]; };
layout(buffer_reference, std430, buffer_reference_align = 4) readonly buffer Header
{
    rapt_step_header header;
};
#define STEP(word) Words(uvec2(push.step_lo, push.step_hi)).at[word]
#define HEADER(member) Header(uvec2(push.step_lo, push.step_hi)).header.member
#define ROPE_TABLE(i) Floats(uvec2(push.rapt_rotate_rope_lo, push.rapt_rotate_rope_hi)).at[i]
#define Q_WORD(i) Words(packUint2x32(uvec2(push.q_lo, push.q_hi)) + (i) * 4).at[0]
#define ROTATED(i) Floats(packUint2x32(uvec2(push.out_lo, push.out_hi)) + AT(i) * 4).at[0]
#else
#define AT uint
layout(set = 0, binding = RAPT_BIND_STEP, std430) readonly buffer Step { uint step_words[]; };
layout(set = 0, binding = RAPT_BIND_STEP, std430) readonly buffer Header
{
    rapt_step_header header;
};
layout(set = 0, binding = RAPT_BIND_Q, std430) readonly buffer Q { uint q_words[]; };
layout(set = 0, binding = RAPT_BIND_WORK, std430) writeonly buffer Work { float work_floats[]; };
layout(set = 0, binding = RAPT_BIND_ROPE, std430) readonly buffer Rope { float rope_table[]; };
#define STEP(word) step_words[word]
#define HEADER(member) header.member
#define ROPE_TABLE(i) rope_table[i]
#define Q_WORD(i) q_words[i]
#define ROTATED(i) work_floats[push.out_base + (i)]
#endif
#define ROPE_WORD(i) STEP(i)
#define ROPE_HEADER(member) HEADER(member)
#include "rope.glsl"
#include "search.glsl"

/* word offsets in struct rapt_step_seq */
const uint SEQ_Q_ROW = 0, SEQ_Q_POS0 = 4;

float load_q(AT i)
{
    if (Q_TYPE == RAPT_STORE_F32)
        return uintBitsToFloat(Q_WORD(i));
    uint bits = (Q_WORD(i >> 1) >> (uint(i & 1u) * 16u)) & 0xffffu;
    return Q_TYPE == RAPT_STORE_BF16 ? uintBitsToFloat(bits << 16) : unpackHalf2x16(bits).x;
}

/* The sequence a token belongs to: the last that begins at or before it. */
#define SEQ_BEGIN(b) STEP(HEADER(seqs_word) + (b) * RAPT_STEP_SEQ_WORDS + SEQ_Q_ROW)
uint find_seq(uint token)
{
    FIND_LAST(found, HEADER(n_seqs), SEQ_BEGIN, token)
    return found;
}

int rope_position(uint token, uint seq)
{
    if (HEADER(rope_pos_word) != 0)
        return int(STEP(HEADER(rope_pos_word) + token));
    if ((HEADER(features) & RAPT_FEAT_Q_POS) != 0)
        return int(STEP(HEADER(q_pos_word) + token));
    return int(STEP(seq + SEQ_Q_POS0)) + int(token - STEP(seq + SEQ_Q_ROW));
}

void main()
{
    uint group = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x;
    if (group >= push.count)
        return;
    rope_place rope = load_rope();
    uint n_pairs = rope.dim >> 1, per_token = D - n_pairs;
    uint index = group * WG_SIZE + gl_LocalInvocationIndex, n = HEADER(total_q) * per_token;
    if (index >= n)
        return;
    uint token = index / per_token, i = index - token * per_token;
    uint b = find_seq(token), seq = HEADER(seqs_word) + b * RAPT_STEP_SEQ_WORDS;
    uint base_word = push.rapt_rotate_bases_word + 2 * b;
    uint d = i - n_pairs, partner; /* a dim that stays as it is */
    d += d >= rope.first ? rope.dim : 0u;
    partner = d;
    vec2 turn = vec2(1.0, 0.0);
    if (i < n_pairs) {
        bool neighbours = (rope.kind & 0xffu) == 2u;
        d = rope.first + (neighbours ? 2 * i : i);
        partner = d + (neighbours ? 1 : n_pairs);
        turn = rope_cos_sin(rope, rope_position(token, seq), i);
    }
    bool scaled = i < n_pairs && (rope.kind & RAPT_ROPE_BY_TABLE) == 0;
    AT from = AT(token - STEP(seq + SEQ_Q_ROW)) * push.rapt_append_k_token_stride;
#ifdef BY_ADDRESS
    /* not packUint2x32: lp_common.glsl's long_of */
    from += uint64_t(STEP(base_word)) + (uint64_t(STEP(base_word + 1)) << 32);
#else
    from += push.q_base + STEP(base_word);
#endif
    uint size = HEADER(n_q_heads) * D, at = 0; /* of a token's rotated heads, of one of them */
    AT to = AT(token) * size;
    do {
        float x = load_q(from + d), y = load_q(from + partner);
        precise float first = x * turn.x - y * turn.y;
        precise float second = y * turn.x + x * turn.y;
        precise float first_scaled = first * rope.factor;
        precise float second_scaled = second * rope.factor;
        if (i < n_pairs)
            ROTATED(to + (at + partner)) = scaled ? second_scaled : second;
        ROTATED(to + (at + d)) = i < n_pairs ? (scaled ? first_scaled : first) : x;
        from += push.rapt_append_k_head_stride;
        at += D;
    } while (at < size);
}
