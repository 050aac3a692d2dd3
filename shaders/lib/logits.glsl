/* SPDX-License-Identifier: Apache-2.0 */
/* From a dot product to a logit: scale, softcap, ALiBi, bias. Without any of the last three in the
 * pipeline logits are kept times log2(e), so that a weight is one exp2; with them in natural units,
 * because a bias may be as large as floats go. LOGIT_LOG2 is log2(e) per unit kept. */

layout(set = 0, binding = RAPT_BIND_SLOPES, std430) readonly buffer Slopes { float slopes[]; };
layout(set = 0, binding = RAPT_BIND_BIAS, std430) readonly buffer Bias { uint bias_words[]; };

const uint LOGIT_FEATURES =
    RAPT_FEAT_SOFTCAP | RAPT_FEAT_ALIBI | RAPT_FEAT_BIAS_F32 | RAPT_FEAT_BIAS_F16;
const bool PLAIN_LOGITS = (FEATURES & LOGIT_FEATURES) == 0;
#define LOGIT_LOG2 (PLAIN_LOGITS ? 1.0 : LOG2E)
#define LOGIT_NATURAL (PLAIN_LOGITS ? LN2 : 1.0)

/* What a row adds to its scores. */
struct logit_row {
    float slope;
    int position; /* minus kv_pos0: key j lies at j - position from it */
    uint bias;    /* element of key 0 */
};

logit_row load_logit_row(uint seq, packed_row row)
{
    logit_row r = logit_row(0.0, 0, 0);
    if (wants(RAPT_FEAT_ALIBI)) {
        r.slope = slopes[push.slopes_base + row.head];
        r.position = row_position(seq, row.token) - int(step_words[seq + SEQ_KV_POS0]);
    }
    if (wants(RAPT_FEAT_BIAS_F32 | RAPT_FEAT_BIAS_F16)) {
        uint stride = header.bias_row_stride;
        stride = stride == 0 ? step_words[seq + SEQ_KV_LEN] : stride;
        r.bias = push.bias_base + step_words[seq + SEQ_BIAS_BASE] +
                 row.head * header.bias_head_stride + row.token * stride;
    }
    return r;
}

/* `s` is a scaled dot product; j a key that exists. */
float finish_logit(float s, logit_row r, uint j)
{
    if (wants(RAPT_FEAT_SOFTCAP)) {
        float t = exp_of(-2.0 * abs(s) / header.softcap);
        s = sign(s) * header.softcap * ((1.0 - t) / (1.0 + t));
    }
    if (wants(RAPT_FEAT_ALIBI))
        s += r.slope * float(int(j) - r.position);
    if (wants(RAPT_FEAT_BIAS_F32)) {
        s += uintBitsToFloat(bias_words[r.bias + j]);
    } else if (wants(RAPT_FEAT_BIAS_F16)) {
        vec2 pair = unpackHalf2x16(bias_words[(r.bias + j) >> 1]);
        s += ((r.bias + j) & 1u) == 0u ? pair.x : pair.y;
    }
    return s;
}
