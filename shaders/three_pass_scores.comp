#version 450
/* SPDX-License-Identifier: Apache-2.0 */
/* First of three passes: scale * Q K^T to memory, TILE_A queries times four keys per invocation.
 * Tiles that lie wholly above the causal diagonal are skipped. */
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "baseline_args.h"
layout(local_size_x_id = RAPT_SPEC_WG_SIZE) in;
layout(constant_id = RAPT_SPEC_HEAD_DIM) const uint D = 128;
layout(constant_id = RAPT_SPEC_TILE_A) const uint M = 4;
const uint N = 4;
#include "baseline_types.glsl"
layout(set = 0, binding = RAPT_BIND_Q, std430) readonly buffer Q4 { vec4 q_quads[]; };
layout(set = 0, binding = RAPT_BIND_Q, std430) readonly buffer Q2 { uvec2 q_pairs[]; };
layout(set = 0, binding = RAPT_BIND_K, std430) readonly buffer K4 { vec4 k_quads[]; };
layout(set = 0, binding = RAPT_BIND_K, std430) readonly buffer K2 { uvec2 k_pairs[]; };
layout(set = 0, binding = RAPT_BIND_WORK, std430) writeonly buffer Scores { float scores[]; };
layout(push_constant) uniform Push { rapt_three_pass_push push; };

void main()
{
    uint lanes = gl_WorkGroupSize.x, query = gl_WorkGroupID.y * M;
    uint key_first = gl_WorkGroupID.x * lanes * N, key = key_first + gl_LocalInvocationIndex;
    if (int(key_first) > int(query + M - 1) + push.shift)
        return;
    uint head = push.head_first + gl_WorkGroupID.z;
    uint q_at[M], k_at[N];
    float s[M * N];
    [[unroll]] for (uint m = 0; m < M; m++)
        q_at[m] = push.q_base + min(query + m, push.n_q - 1) * push.q_token_stride +
                  head * push.q_head_stride;
    [[unroll]] for (uint n = 0; n < N; n++)
        k_at[n] = push.k_base + min(key + n * lanes, push.n_kv - 1) * push.k_token_stride +
                  head / push.group * push.k_head_stride;
    [[unroll]] for (uint i = 0; i < M * N; i++)
        s[i] = 0.0;
    uint d = 0;
    do {
        [[unroll]] for (uint part = 0; part < 8; part += 4) {
            vec4 k[N];
            [[unroll]] for (uint n = 0; n < N; n++)
                k[n] = LOAD_QUAD(k, k_at[n] + d + part, KV_TYPE);
            [[unroll]] for (uint m = 0; m < M; m++) {
                vec4 q = LOAD_QUAD(q, q_at[m] + d + part, Q_TYPE);
                [[unroll]] for (uint n = 0; n < N; n++)
                    [[unroll]] for (uint c = 0; c < 4; c++)
                        s[m * N + n] += q[c] * k[n][c];
            }
        }
        d += 8;
    } while (d < D);
    [[unroll]] for (uint m = 0; m < M; m++)
        [[unroll]] for (uint n = 0; n < N; n++)
            if (query + m < push.n_q && key + n * lanes < push.n_kv)
                scores[gl_WorkGroupID.z * push.head_stride + (query + m) * push.row_stride + key +
                       n * lanes] = s[m * N + n] * push.scale;
}
