#version 450
/* SPDX-License-Identifier: Apache-2.0 */
/* The largest logit of every sequence and head, f32[B, Hq], from max_logit of its rows (QK-Clip). A
 * workgroup takes one sequence: 16 heads at a time across, tokens along. */
#extension GL_GOOGLE_include_directive : require
#include "step.glsl"

layout(set = 0, binding = RAPT_BIND_MAX_LOGIT, std430) readonly buffer Max { float max_floats[]; };
layout(set = 0, binding = RAPT_BIND_OUT, std430) writeonly buffer Out { float out_floats[]; };

const uint HEADS = WG_SIZE < 16 ? WG_SIZE : 16;
shared float most_of[WG_SIZE];

void main()
{
    uint b = group_index();
    if (b >= push.count)
        return;
    uint seq = header.seqs_word + (push.first + b) * RAPT_STEP_SEQ_WORDS;
    uint lane = gl_LocalInvocationIndex, n_heads = header.n_q_heads;
    uint q_row = step_words[seq + SEQ_Q_ROW], q_len = step_words[seq + SEQ_Q_LEN];
    for (uint first = 0; first < n_heads; first += HEADS) {
        uint head = first + lane % HEADS;
        float most = NEG_INF;
        if (head < n_heads)
            for (uint t = lane / HEADS; t < q_len; t += WG_SIZE / HEADS)
                most = max(most, max_floats[push.max_logit_base + (q_row + t) * n_heads + head]);
        most_of[lane] = most;
        barrier();
        if (lane < HEADS && head < n_heads) {
            for (uint x = lane + HEADS; x < WG_SIZE; x += HEADS)
                most = max(most, most_of[x]);
            out_floats[push.out_base + (push.first + b) * n_heads + head] = most;
        }
        barrier();
    }
}
