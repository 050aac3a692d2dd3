/* SPDX-License-Identifier: Apache-2.0 */
/* The attention kernels' side of lp_common.glsl: Q, scores, the running softmax's end, outputs. */

#ifdef LP_SSBO
layout(set = 0, binding = RAPT_BIND_Q, std430) readonly buffer Q32 { float q_floats[]; };
layout(set = 0, binding = RAPT_BIND_Q, std430) readonly buffer Q16 { uint16_t q_halves[]; };
layout(set = 0, binding = RAPT_BIND_OUT, std430) writeonly buffer O32 { float out_floats[]; };
layout(set = 0, binding = RAPT_BIND_OUT, std430) writeonly buffer O16 { uint16_t out_halves[]; };
layout(set = 0, binding = RAPT_BIND_LSE, std430) writeonly buffer Lse { float lse_floats[]; };
layout(set = 0, binding = RAPT_BIND_MAX_LOGIT, std430) writeonly buffer Max { float max_floats[]; };
#define Q_FLOAT(i) q_floats[push.q_base + (i)]
#define Q_HALF(i) q_halves[push.q_base + (i)]
#define OUT_FLOAT(i) out_floats[push.out_base + (i)]
#define OUT_HALF(i) out_halves[push.out_base + (i)]
#define LSE(i) lse_floats[push.lse_base + (i)]
#define MAX_LOGIT(i) max_floats[push.max_logit_base + (i)]
#else
#define BY_ADDRESS(type, name, i) \
    type(long_of(uvec2(push.name##_lo, push.name##_hi)) + (i)).at[0]
#define Q_FLOAT(i) BY_ADDRESS(Floats, q, (i) * 4)
#define Q_HALF(i) BY_ADDRESS(Halves, q, (i) * 2)
#define OUT_FLOAT(i) BY_ADDRESS(Floats, out, (i) * 4)
#define OUT_HALF(i) BY_ADDRESS(Halves, out, (i) * 2)
#define LSE(i) Floats(uvec2(push.lse_lo, push.lse_hi)).at[i]
#define MAX_LOGIT(i) Floats(uvec2(push.max_logit_lo, push.max_logit_hi)).at[i]
#endif
layout(set = 0, binding = RAPT_BIND_SINKS, std430) readonly buffer Sinks { float sinks[]; };
layout(set = 0, binding = RAPT_BIND_SLOPES, std430) readonly buffer Slopes { float slopes[]; };
layout(set = 0, binding = RAPT_BIND_BIAS, std430) readonly buffer Bias32 { float bias_floats[]; };
layout(set = 0, binding = RAPT_BIND_BIAS, std430) readonly buffer Bias16
{
    uint16_t bias_halves[];
};

/* what this pipeline can do and this step wants */
bool wants(uint feature)
{
    return (FEATURES & feature) != 0 && (HEADER(features) & feature) != 0;
}

struct lp_item {
    uint seq_word, kv_head, row_first, n_rows, kv_begin, kv_end, partial, stage_row, flags;
    uint block_first, n_blocks, head_first;
};

lp_item load_item(uint index)
{
    uint w = HEADER(items_word) + index * RAPT_STEP_ITEM_WORDS;
    uint seq_word = HEADER(seqs_word) + STEP(w) * RAPT_STEP_SEQ_WORDS;
    return lp_item(seq_word, STEP(w + 1), STEP(w + 2), STEP(w + 3), STEP(w + 4), STEP(w + 5),
                   STEP(w + 6), STEP(w + 7), STEP(w + 8), STEP(w + 9), STEP(w + 10),
                   STEP(w + 11));
}

/* One packed row. Keys lo <= j <= hi of the item are its own; lo > hi: none. */
struct lp_row {
    uint token, head;
    int pos, lo, hi;
};

lp_row load_row(lp_item item, uint packed)
{
    lp_row row;
    uint r = item.row_first + packed, group = HEADER(group);
    row.token = r / group;
    row.head = item.head_first + (r - row.token * group);
    row.pos = int(STEP(item.seq_word + SEQ_Q_POS0)) + int(row.token);
    if (wants(RAPT_FEAT_Q_POS))
        row.pos = int(STEP(HEADER(q_pos_word) + STEP(item.seq_word + SEQ_Q_ROW) + row.token));
    int first = row.pos - int(HEADER(left)), last = row.pos + int(HEADER(right));
    int chunk = int(HEADER(chunk));
    if (chunk > 0) {
        int up = row.pos < 0 ? row.pos - (chunk - 1) : row.pos; /* division rounds towards zero */
        int start = up / chunk * chunk;
        first = max(first, start);
        last = min(last, start + (chunk - 1));
    }
    int pos0 = int(STEP(item.seq_word + SEQ_KV_POS0));
    uint end = min(item.kv_end, STEP(item.seq_word + SEQ_KV_LIMIT));
    row.lo = max(max(first, -RAPT_UNBOUNDED) - pos0, int(item.kv_begin));
    row.hi = min(min(last, RAPT_UNBOUNDED) - pos0, int(end) - 1);
    return row;
}

LP_INDEX q_index(lp_item item, lp_row row)
{
    return index_at(item.seq_word + SEQ_Q_BASE) + LP_INDEX(row.token) * HEADER(q_token_stride) +
           row.head * HEADER(q_head_stride);
}

float load_q(LP_INDEX i)
{
    if (Q_TYPE == RAPT_STORE_F32)
        return Q_FLOAT(i);
    return half_to_float(uint(Q_HALF(i)), Q_TYPE);
}

/* Softcap, ALiBi and bias on a scaled dot product; j is clamped by the caller to existing keys. */
float finish_score(float s, lp_item item, lp_row row, uint j)
{
    if (wants(RAPT_FEAT_SOFTCAP)) {
        float cap = uintBitsToFloat(HEADER(softcap));
        /* tanh(x) = 1 - 2 / (exp(2x) + 1) */
        s = cap - 2.0 * cap / (exp2(s * (2.0 * LOG2E / cap)) + 1.0);
    }
    if (wants(RAPT_FEAT_ALIBI)) {
        int key_pos = int(STEP(item.seq_word + SEQ_KV_POS0)) + int(j);
        s += slopes[push.slopes_base + row.head] * float(key_pos - row.pos);
    }
    if (wants(RAPT_FEAT_BIAS_F32 | RAPT_FEAT_BIAS_F16)) {
        uint kv_len = STEP(item.seq_word + SEQ_KV_LEN), stride = HEADER(bias_row_stride);
        uint i = push.bias_base + STEP(item.seq_word + SEQ_BIAS_BASE) +
                 row.head * HEADER(bias_head_stride) +
                 row.token * (stride == 0 ? kv_len : stride) + min(j, kv_len - 1);
        if (wants(RAPT_FEAT_BIAS_F32))
            s += bias_floats[i];
        else
            s += unpackHalf2x16(uint(bias_halves[i])).x;
    }
    return s;
}

const uint SCORE_FEATURES =
    RAPT_FEAT_SOFTCAP | RAPT_FEAT_ALIBI | RAPT_FEAT_BIAS_F32 | RAPT_FEAT_BIAS_F16;

/* exp(a - b), 0 where a is -inf, also when both are */
float weight(float a, float b)
{
    return exp2((a - (b == -INFINITY_F ? 0.0 : b)) * LOG2E);
}

/* Rounding to nearest even by hand: the driver's packHalf2x16 truncates. */
uint float_to_half(float x)
{
    uint u = floatBitsToUint(x), sign = (u >> 16) & 0x8000u, a = u & 0x7fffffffu;
    if (a > 0x7f800000u)
        return 0x7e00u;
    if (a >= 0x477ff000u)
        return sign | 0x7c00u;
    if (a < 0x38800000u) /* half denormal: adding 0.5 rounds at 2^-24 */
        return sign | (floatBitsToUint(uintBitsToFloat(a) + 0.5) - 0x3f000000u);
    return sign | ((a - 0x38000000u + 0xfffu + ((a >> 13) & 1u)) >> 13);
}

uint float_to_bf16(float x)
{
    uint u = floatBitsToUint(x);
    if ((u & 0x7fffffffu) > 0x7f800000u)
        return 0x7fc0u;
    return (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
}

void store_out(LP_INDEX i, float x)
{
    if (OUT_TYPE == RAPT_STORE_F32)
        OUT_FLOAT(i) = x;
    else if (OUT_TYPE == RAPT_STORE_F16)
        OUT_HALF(i) = uint16_t(float_to_half(x));
    else
        OUT_HALF(i) = uint16_t(float_to_bf16(x));
}

void store_out4(LP_INDEX i, vec4 x)
{
#ifdef LP_SSBO
    [[unroll]] for (uint c = 0; c < 4; c++)
        store_out(i + c, x[c]);
#else
    uint64_t base = long_of(uvec2(push.out_lo, push.out_hi));
    if (OUT_TYPE == RAPT_STORE_F32) {
        store_eight(base + i * 4, floatBitsToUint(x.xy));
        store_eight(base + i * 4 + 8, floatBitsToUint(x.zw));
        return;
    }
    uvec4 bits;
    [[unroll]] for (uint c = 0; c < 4; c++)
        bits[c] = OUT_TYPE == RAPT_STORE_F16 ? float_to_half(x[c]) : float_to_bf16(x[c]);
    store_eight(base + i * 2, bits.xz | bits.yw << 16);
#endif
}

/* Four words of the workspace from an even one on. */
void store_work4(uint word, vec4 x)
{
#ifdef LP_SSBO
    [[unroll]] for (uint c = 0; c < 4; c++)
        WORK(word + c) = x[c];
#else
    uint64_t base = long_of(uvec2(push.work_lo, push.work_hi));
    store_eight(base + uint64_t(word) * 4, floatBitsToUint(x.xy));
    store_eight(base + uint64_t(word) * 4 + 8, floatBitsToUint(x.zw));
#endif
}

/* How the running state of a row becomes what is written: o_new * keep + o_earlier * add. Writes
 * lse, max_logit or the partial (m, l) on the way. `m` is relative-to, `top` the true maximum; they
 * differ only with a constant maximum. */
struct lp_end {
    bool direct;      /* to the output, else to the partial row */
    bool more;        /* there is an earlier state */
    float keep, add;
    uint partial_o;   /* workspace word of the partial row */
    LP_INDEX out_index;
};

lp_end end_row(lp_item item, lp_row row, uint packed, bool mine, float m, float top, float l)
{
    lp_end end;
    uint partial = item.partial + packed;
    bool has_const = wants(RAPT_FEAT_CONST_MAX);
    end.direct = item.partial == RAPT_DIRECT || (item.flags & RAPT_ITEM_FINISH) != 0;
    end.more = item.partial != RAPT_DIRECT && (item.flags & RAPT_ITEM_CONTINUE) != 0;
    end.keep = 1.0;
    end.add = 0.0;
    end.partial_o = HEADER(partial_o_word) + partial * DV;
    uint ml = HEADER(partial_ml_word) + partial * 2;
    if (end.more) {
        float earlier_top = mine ? WORK(ml) : -INFINITY_F;
        float earlier_l = mine ? WORK(ml + 1) : 0.0;
        top = max(top, earlier_top);
        if (!has_const) {
            end.keep = weight(m, top);
            end.add = weight(earlier_top, top);
            m = top;
        } else {
            end.add = 1.0;
        }
        l = l * end.keep + earlier_l * end.add;
    }
    if (!end.direct) {
        if (mine) {
            WORK(ml) = top;
            WORK(ml + 1) = l;
        }
        return end;
    }
    if (wants(RAPT_FEAT_SINKS)) {
        float sink = sinks[push.sinks_base + row.head];
        float with = has_const ? m : max(m, sink), shrink = has_const ? 1.0 : weight(m, with);
        l = l * shrink + weight(sink, with);
        end.keep *= shrink;
        end.add *= shrink;
        m = with;
    }
    if (!wants(RAPT_FEAT_UNNORMALISED)) {
        float inverse = l > 0.0 ? 1.0 / l : 0.0;
        end.keep *= inverse;
        end.add *= inverse;
    }
    end.out_index = index_at(item.seq_word + SEQ_OUT_BASE) +
                    LP_INDEX(row.token) * HEADER(out_token_stride) +
                    row.head * HEADER(out_head_stride);
    if (mine) {
        uint i = (STEP(item.seq_word + SEQ_Q_ROW) + row.token) * HEADER(n_q_heads) + row.head;
        if (wants(RAPT_FEAT_LSE))
            LSE(i) = l > 0.0 ? m + log2(l) * LN2 : -INFINITY_F;
        if (wants(RAPT_FEAT_MAX_LOGIT))
            MAX_LOGIT(i) = top;
    }
    return end;
}

/* Rows go between memory and registers some dims a turn. Registers have no index: a loop works on the
 * first ones and rotates the array by as many. */
#define ROTATE(array, n, by) \
    { \
        float front[by]; \
        [[unroll]] for (uint i = 0; i < by; i++) front[i] = array[i]; \
        [[unroll]] for (uint i = by; i < n; i++) array[i - by] = array[i]; \
        [[unroll]] for (uint i = 0; i < by; i++) array[n - by + i] = front[i]; \
    }
