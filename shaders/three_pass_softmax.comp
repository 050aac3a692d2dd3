#version 450
/* SPDX-License-Identifier: Apache-2.0 */
/* Second of three passes: exp(s - max) in place, 1 / sum behind the row. A workgroup per row. */
#extension GL_GOOGLE_include_directive : require
#include "baseline_args.h"
layout(local_size_x_id = RAPT_SPEC_WG_SIZE) in;
layout(constant_id = RAPT_SPEC_WG_SIZE) const uint LANES = 64;
layout(constant_id = RAPT_SPEC_TILE_A) const uint M = 4; /* of the other passes */
layout(set = 0, binding = RAPT_BIND_WORK, std430) buffer Scores { float scores[]; };
layout(push_constant) uniform Push { rapt_three_pass_push push; };

shared float shared_values[LANES];

float reduce(float value, bool is_max)
{
    uint lane = gl_LocalInvocationIndex;
    shared_values[lane] = value;
    barrier();
    for (uint step = LANES / 2; step > 0; step /= 2) {
        if (lane < step) {
            float other = shared_values[lane + step];
            shared_values[lane] =
                is_max ? max(shared_values[lane], other) : shared_values[lane] + other;
        }
        barrier();
    }
    float result = shared_values[0];
    barrier();
    return result;
}

void main()
{
    uint row = gl_WorkGroupID.x, lane = gl_LocalInvocationIndex;
    uint base = gl_WorkGroupID.z * push.head_stride + row * push.row_stride;
    uint n = uint(clamp(int(row) + push.shift + 1, 0, int(push.n_kv)));
    /* the third pass reads whole quads up to where the last query of its tile sees */
    uint end = uint(clamp(int(row + M) + push.shift, 0, int(push.n_kv)) + 3) / 4 * 4;
    float top = uintBitsToFloat(0xff800000u);
    for (uint j = lane; j < n; j += LANES)
        top = max(top, scores[base + j]);
    top = reduce(top, true);
    float sum = 0.0;
    for (uint j = lane; j < end; j += LANES) {
        float p = j < n ? exp(scores[base + j] - top) : 0.0;
        scores[base + j] = p;
        sum += p;
    }
    sum = reduce(sum, false);
    if (lane == 0)
        scores[base + push.row_stride - 4] = sum > 0.0 ? 1.0 / sum : 0.0;
}
