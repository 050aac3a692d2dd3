#version 450
/* SPDX-License-Identifier: Apache-2.0 */
/* Joins the parts a split range of keys left in the workspace; adds the sink, writes the result.
 * A workgroup takes one merge entry; a lane takes four dims of one row at a time. Sums over the parts
 * are compensated (Kahan 1965): there may be thousands. */
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "step.glsl"
#include "storage.glsl"
#include "output.glsl"

layout(set = 0, binding = RAPT_BIND_WORK, std430) readonly buffer Work { float work_floats[]; };

void main()
{
    uint index = group_index();
    if (index >= push.count)
        return;
    uint w = header.merges_word + (push.first + index) * RAPT_STEP_MERGE_WORDS;
    uint seq = header.seqs_word + step_words[w] * RAPT_STEP_SEQ_WORDS;
    uint head_first = step_words[w + 1] * header.group, row_first = step_words[w + 2];
    uint n_rows = step_words[w + 3];
    uint first_partial = step_words[w + 4], n_parts = step_words[w + 5], stride = step_words[w + 6];
    bool has_const = wants(RAPT_FEAT_CONST_MAX);
    uint ml_base = push.work_base + header.partial_ml_word;
    uint o_base = push.work_base + header.partial_o_word;

    for (uint t = gl_LocalInvocationIndex; t < n_rows * (DV / 4); t += WG_SIZE) {
        uint r = t / (DV / 4), d = t % (DV / 4) * 4;
        float top = NEG_INF;
        for (uint p = 0; p < n_parts; p++)
            top = max(top, work_floats[ml_base + 2 * (first_partial + p * stride + r)]);
        float l = 0.0;
        vec4 o = vec4(0.0);
        precise float l_lost = 0.0;
        precise vec4 o_lost = vec4(0.0);
        for (uint p = 0; p < n_parts; p++) {
            uint partial = first_partial + p * stride + r;
            uint ml = ml_base + 2 * partial, i = o_base + partial * DV + d;
            float weight = has_const ? 1.0 : weight_of(work_floats[ml], top);
            precise float dl = weight * work_floats[ml + 1] - l_lost;
            precise float l_next = l + dl;
            l_lost = (l_next - l) - dl;
            l = l_next;
            precise vec4 part = vec4(work_floats[i], work_floats[i + 1], work_floats[i + 2],
                                     work_floats[i + 3]) * weight - o_lost;
            precise vec4 o_next = o + part;
            o_lost = (o_next - o) - part;
            o = o_next;
        }
        packed_row row = find_row(head_first, row_first + r);
        float m = has_const ? header.max_logit_const : top;
        float factor = finish_row(row.head, m, l);
        store_out4(out_index(seq, row) + d, o * factor);
        if (d == 0)
            store_statistics(seq, row, m, l, top);
    }
}
