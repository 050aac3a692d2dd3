/* SPDX-License-Identifier: Apache-2.0 */
/* What a finished row becomes: normalised output in any storage type, lse, max_logit, the sink. For
 * the kernels that write results: attention on unsplit items, and the merge. */

layout(set = 0, binding = RAPT_BIND_OUT, std430) writeonly buffer Out1 { uint out_words[]; };
layout(set = 0, binding = RAPT_BIND_OUT, std430) writeonly buffer Out2 { uvec2 out_pairs[]; };
layout(set = 0, binding = RAPT_BIND_OUT, std430) writeonly buffer Out4 { uvec4 out_quads[]; };
layout(set = 0, binding = RAPT_BIND_LSE, std430) writeonly buffer Lse { float lse_floats[]; };
layout(set = 0, binding = RAPT_BIND_MAX_LOGIT, std430) writeonly buffer Max { float max_floats[]; };
layout(set = 0, binding = RAPT_BIND_SINKS, std430) readonly buffer Sinks { float sinks[]; };

/* A row's state (m, l) completed by the sink: the factor that makes its sum of weighted values the
 * result. `m` is what l is relative to. */
float finish_row(uint head, inout float m, inout float l)
{
    float factor = 1.0;
    if (wants(RAPT_FEAT_SINKS)) {
        float sink = sinks[push.sinks_base + head];
        if (!wants(RAPT_FEAT_CONST_MAX)) {
            float most = max(m, sink);
            factor = weight_of(m, most);
            m = most;
        }
        l = l * factor + weight_of(sink, m);
    }
    if (!wants(RAPT_FEAT_UNNORMALISED))
        factor = l > 0.0 ? factor / l : 0.0;
    return factor;
}

/* `top` is the largest allowed logit, before the sink. */
void store_statistics(uint seq, packed_row row, float m, float l, float top)
{
    uint i = (step_words[seq + SEQ_Q_ROW] + row.token) * header.n_q_heads + row.head;
    if (wants(RAPT_FEAT_LSE))
        lse_floats[push.lse_base + i] = l > 0.0 ? m + log2(l) * LN2 : NEG_INF;
    if (wants(RAPT_FEAT_MAX_LOGIT))
        max_floats[push.max_logit_base + i] = top;
}

/* Element of dim 0, buffer offset included. */
uint out_index(uint seq, packed_row row)
{
    return push.out_base + step_words[seq + SEQ_OUT_BASE] + row.token * header.out_token_stride +
           row.head * header.out_head_stride;
}

/* Four elements at an even index. */
void store_out4(uint i, vec4 x)
{
    if (OUT_TYPE == RAPT_STORE_F32) {
        uvec4 w = floatBitsToUint(x);
        if ((i & 3u) == 0u) {
            out_quads[i >> 2] = w;
        } else {
            for (uint c = 0; c < 4; c++)
                out_words[i + c] = w[c];
        }
    } else {
        uvec2 w = uvec2(pack_pair(x.x, x.y, OUT_TYPE), pack_pair(x.z, x.w, OUT_TYPE));
        if ((i & 3u) == 0u) {
            out_pairs[i >> 2] = w;
        } else {
            out_words[i >> 1] = w.x;
            out_words[(i >> 1) + 1] = w.y;
        }
    }
}
