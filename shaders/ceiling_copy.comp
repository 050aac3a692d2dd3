#version 450
/* SPDX-License-Identifier: Apache-2.0 */
/* Copies push.n quads per workgroup, eight an iteration. */
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "baseline_args.h"
layout(local_size_x_id = RAPT_SPEC_WG_SIZE) in;
layout(set = 0, binding = RAPT_BIND_K, std430) readonly buffer From { uvec4 from[]; };
layout(set = 0, binding = RAPT_BIND_OUT, std430) writeonly buffer To { uvec4 to[]; };
layout(push_constant) uniform Push { rapt_ceiling_push push; };

void main()
{
    uint lanes = gl_WorkGroupSize.x, i = gl_WorkGroupID.x * push.n + gl_LocalInvocationIndex;
    uint end = i + push.n;
    do {
        [[unroll]] for (uint k = 0; k < 8; k++)
            to[i + k * lanes] = from[i + k * lanes];
        i += 8 * lanes;
    } while (i < end);
}
