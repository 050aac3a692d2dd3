// SPDX-License-Identifier: Apache-2.0
// The app's own dispatch: fills a buffer with repeatable noise, where a model would put its
// projections.
#version 450
layout(local_size_x = 64) in;
layout(std430, binding = 0) writeonly buffer Data { float data[]; };
layout(push_constant) uniform Push { uint count; uint seed; };

void main()
{
    uint i = gl_GlobalInvocationID.x;
    if (i >= count)
        return;
    uint x = (i + 1u) * 2654435769u + seed * 0x85ebca6bu;
    x = (x ^ (x >> 16)) * 0x7feb352du;
    x = (x ^ (x >> 15)) * 0x846ca68bu;
    data[i] = float((x ^ (x >> 16)) >> 8) / 8388608.0 - 1.0; // [-1, 1)
}
