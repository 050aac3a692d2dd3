#version 450
/* SPDX-License-Identifier: Apache-2.0 */
/* Reads push.n quads, sixteen an iteration, and reduces them to one number per invocation, through
 * a descriptor or (BY_ADDRESS) an address. */
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "baseline_args.h"
layout(local_size_x_id = RAPT_SPEC_WG_SIZE) in;
layout(set = 0, binding = RAPT_BIND_OUT, std430) writeonly buffer Out { uint results[]; };
layout(push_constant) uniform Push { rapt_ceiling_push push; };
#ifdef BY_ADDRESS
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference_uvec2 : require
layout(buffer_reference, std430, buffer_reference_align = 16) readonly buffer Quads { uvec4 at[]; };
#define FROM(i) Quads(uvec2(push.from_lo, push.from_hi)).at[i]
#else
layout(set = 0, binding = RAPT_BIND_K, std430) readonly buffer From { uvec4 from[]; };
#define FROM(i) from[i]
#endif

void main()
{
    uvec4 sum = uvec4(0);
    uint i = gl_GlobalInvocationID.x;
    do {
        [[unroll]] for (uint k = 0; k < 16; k++)
            sum ^= FROM(i + k * push.stride);
        i += 16 * push.stride;
    } while (i < push.n);
    results[gl_GlobalInvocationID.x] = sum.x ^ sum.y ^ sum.z ^ sum.w;
}
