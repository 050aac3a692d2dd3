#version 450
/* SPDX-License-Identifier: Apache-2.0 */
/* Third of three passes: the weights in memory times V, TILE_A queries times four dims per
 * invocation, four keys a step. */
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "baseline_args.h"
layout(local_size_x_id = RAPT_SPEC_WG_SIZE) in;
layout(constant_id = RAPT_SPEC_HEAD_DIM_V) const uint DV = 128;
layout(constant_id = RAPT_SPEC_TILE_A) const uint M = 4;
#include "baseline_types.glsl"
layout(set = 0, binding = RAPT_BIND_V, std430) readonly buffer V4 { vec4 v_quads[]; };
layout(set = 0, binding = RAPT_BIND_V, std430) readonly buffer V2 { uvec2 v_pairs[]; };
layout(set = 0, binding = RAPT_BIND_WORK, std430) readonly buffer Scores { vec4 weights[]; };
layout(set = 0, binding = RAPT_BIND_OUT, std430) writeonly buffer Out { float out_floats[]; };
layout(push_constant) uniform Push { rapt_three_pass_push push; };

void main()
{
    uint column = gl_GlobalInvocationID.x % (DV / 4) * 4;
    uint query = gl_GlobalInvocationID.x / (DV / 4) * M, head = push.head_first + gl_WorkGroupID.z;
    if (query >= push.n_q)
        return;
    uint last = min(query + M, push.n_q) - 1;
    uint n = uint(clamp(int(last) + push.shift + 1, 0, int(push.n_kv)));
    uint v_at = push.v_base + head / push.group * push.v_head_stride + column;
    uint row[M];
    vec4 o[M];
    [[unroll]] for (uint m = 0; m < M; m++) {
        row[m] = (gl_WorkGroupID.z * push.head_stride + min(query + m, last) * push.row_stride) / 4;
        o[m] = vec4(0.0);
    }
    uint j = 0;
    if (n > 0)
        do {
            vec4 p[M];
            [[unroll]] for (uint m = 0; m < M; m++)
                p[m] = weights[row[m] + j / 4];
            [[unroll]] for (uint i = 0; i < 4; i++) {
                vec4 v = LOAD_QUAD(v, v_at + min(j + i, push.n_kv - 1) * push.v_token_stride, KV_TYPE);
                [[unroll]] for (uint m = 0; m < M; m++)
                    o[m] += p[m][i] * v;
            }
            j += 4;
        } while (j < n);
    [[unroll]] for (uint m = 0; m < M; m++) {
        if (query + m > last)
            continue;
        vec4 result = o[m] * weights[row[m] + (push.row_stride - 4) / 4].x;
        uint at = push.out_base + (query + m) * push.out_token_stride + head * push.out_head_stride +
                  column;
        [[unroll]] for (uint c = 0; c < 4; c++)
            out_floats[at + c] = result[c];
    }
}
