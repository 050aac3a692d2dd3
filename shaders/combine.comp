#version 450
/* SPDX-License-Identifier: Apache-2.0 */
/* A caller's partial results over disjoint keys (o, lse) combined, f32: rapt_merger_record. The parts
 * [n_parts, n_rows, dim] are bound as Q, their lse [n_parts, n_rows] as K; push.v_base is the dim,
 * the rapt_combine_* words say the rest. A workgroup takes one row. A part that counts for nothing is
 * not read: it may hold anything. */
#extension GL_GOOGLE_include_directive : require
#include "args.h"

layout(local_size_x_id = RAPT_SPEC_WG_SIZE) in;
layout(constant_id = RAPT_SPEC_WG_SIZE) const uint WG_SIZE = 64;
layout(push_constant) uniform Push { rapt_push push; };
layout(set = 0, binding = RAPT_BIND_Q, std430) readonly buffer Parts { float parts[]; };
layout(set = 0, binding = RAPT_BIND_K, std430) readonly buffer PartsLse { float parts_lse[]; };
layout(set = 0, binding = RAPT_BIND_OUT, std430) writeonly buffer Out { float out_floats[]; };
layout(set = 0, binding = RAPT_BIND_LSE, std430) writeonly buffer Lse { float lse_floats[]; };
layout(set = 0, binding = RAPT_BIND_SINKS, std430) readonly buffer Sinks { float sinks[]; };

const float LOG2E = 1.44269504088896341;
const float LN2 = 0.693147180559945309;
#define NEG_INF uintBitsToFloat(0xff800000u)

float weight_of(float a, float b)
{
    return a == NEG_INF ? 0.0 : exp2((a - b) * LOG2E);
}

void main()
{
    uint row = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x;
    if (row >= push.count)
        return;
    uint dim = push.v_base, n_parts = push.rapt_combine_n_parts, n_rows = push.rapt_combine_n_rows;
    float sink = NEG_INF;
    if ((push.rapt_combine_features & RAPT_FEAT_SINKS) != 0)
        sink = sinks[push.sinks_base + row % push.rapt_combine_n_q_heads];
    float m = sink;
    for (uint p = 0; p < n_parts; p++)
        m = max(m, parts_lse[push.k_base + p * n_rows + row]);
    float l = weight_of(sink, m);
    precise float lost = 0.0;
    for (uint p = 0; p < n_parts; p++) {
        precise float dl = weight_of(parts_lse[push.k_base + p * n_rows + row], m) - lost;
        precise float next = l + dl;
        lost = (next - l) - dl;
        l = next;
    }
    if (gl_LocalInvocationIndex == 0 && (push.rapt_combine_features & RAPT_FEAT_LSE) != 0)
        lse_floats[push.lse_base + row] = l > 0.0 ? m + log2(l) * LN2 : NEG_INF;
    float inverse = l > 0.0 ? 1.0 / l : 0.0;
    for (uint d = gl_LocalInvocationIndex; d < dim; d += WG_SIZE) {
        float o = 0.0;
        lost = 0.0;
        for (uint p = 0; p < n_parts; p++) {
            float weight = weight_of(parts_lse[push.k_base + p * n_rows + row], m);
            if (weight > 0.0) {
                precise float part = weight * parts[push.q_base + (p * n_rows + row) * dim + d] - lost;
                precise float next = o + part;
                lost = (next - o) - part;
                o = next;
            }
        }
        out_floats[push.out_base + row * dim + d] = o * inverse;
    }
}
