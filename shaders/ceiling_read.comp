#version 450
/* SPDX-License-Identifier: Apache-2.0 */
/* Reads push.n quads per workgroup, sixteen an iteration, and reduces them to one number per
 * invocation. Through a descriptor or (BY_ADDRESS) an address; lanes side by side or (UNIFORM) all at
 * the same place, which is what the CPU driver does best. */
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
    /* a stretch of its own for every workgroup: the prefetchers of CPUs follow it */
#ifdef UNIFORM
    uint lanes = 1, i = gl_WorkGroupID.x * push.n;
#else
    uint lanes = gl_WorkGroupSize.x, i = gl_WorkGroupID.x * push.n + gl_LocalInvocationIndex;
#endif
    uint end = i + push.n;
    do {
        [[unroll]] for (uint k = 0; k < 16; k++)
            sum ^= FROM(i + k * lanes);
        i += 16 * lanes;
    } while (i < end);
    results[gl_GlobalInvocationID.x] = sum.x ^ sum.y ^ sum.z ^ sum.w;
}
