#version 450
/* SPDX-License-Identifier: Apache-2.0 */
/* Multiply-adds in registers: TILE_A independent chains per invocation, 64 steps each an iteration,
 * so that what a loop itself costs does not count. */
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "baseline_args.h"
layout(local_size_x_id = RAPT_SPEC_WG_SIZE) in;
layout(constant_id = RAPT_SPEC_TILE_A) const uint N_CHAINS = 8;
layout(set = 0, binding = RAPT_BIND_OUT, std430) writeonly buffer Out { float results[]; };
layout(push_constant) uniform Push { rapt_ceiling_push push; };

void main()
{
    float a[N_CHAINS];
    float x = push.x, y = push.y;
    [[unroll]] for (uint i = 0; i < N_CHAINS; i++)
        a[i] = float(gl_LocalInvocationIndex + i);
    uint n = push.n;
    do {
        [[unroll]] for (uint step = 0; step < 64; step++)
            [[unroll]] for (uint i = 0; i < N_CHAINS; i++)
                a[i] = a[i] * x + y;
    } while (--n > 0);
    float sum = 0.0;
    [[unroll]] for (uint i = 0; i < N_CHAINS; i++)
        sum += a[i];
    results[gl_GlobalInvocationID.x] = sum;
}
