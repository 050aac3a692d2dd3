#version 450
/* SPDX-License-Identifier: Apache-2.0 */
/* Split-KV decode on Mesa's CPU driver before version 24, by descriptor. A load costs one turn of a
 * loop per lane there, so no lane may load what another has: lane = key for both K and V, 32 bits a
 * load, each serving all packed rows of the item (R = TILE_B of them, the query heads of one KV
 * head). Every lane keeps a running maximum, sum and output of its own; the loop over keys needs no
 * subgroup operation. */
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#extension GL_KHR_shader_subgroup_shuffle : require
#include "lp_common.glsl"
#include "lp_rows.glsl"
#include "lp_spans.glsl"
#include "lp_stored.glsl"
#include "lp_kv.glsl"

layout(set = 0, binding = RAPT_BIND_K, std430) readonly buffer KQuads { uvec4 k_quads[]; };
layout(set = 0, binding = RAPT_BIND_V, std430) readonly buffer VQuads { uvec4 v_quads[]; };

const uint R = TILE_B;
const uint FOLD = 512; /* steps' keys whose sums are kept apart */
const uint CHUNK_Q = 8, CHUNK_O = 4;

/* Four words from a row that may begin at any word: out of the quads at and after it. */
uvec4 shifted(uvec4 low, uvec4 high, uint by)
{
    uvec4 a = (by & 2) != 0 ? uvec4(low.zw, high.xy) : low;
    uint b = (by & 2) != 0 ? high.z : high.x;
    return (by & 1) != 0 ? uvec4(a.yzw, b) : a;
}

float values[4 * PER_WORD];
void unpack_quad(uvec4 quad)
{
    float of_word[PER_WORD];
    [[unroll]] for (uint w = 0; w < 4; w++) {
        unpack_word(quad[w], of_word);
        [[unroll]] for (uint e = 0; e < PER_WORD; e++)
            values[w * PER_WORD + e] = of_word[e];
    }
}

void main()
{
    uint index = group_index();
    lp_item item = load_item(push.first + min(index, push.count - 1)); /* see lp_common.glsl */
    float q[R * D], o[R * DV], o_sum[R * DV], p[R];
    float m[R], top[R], l[R], l_sum[R], keep[R];
    bool has_const = wants(RAPT_FEAT_CONST_MAX);
    float scale = uintBitsToFloat(HEADER(scale));
    [[unroll]] for (uint r = 0; r < R; r++) {
        rows[r] = load_row(item, min(r, item.n_rows - 1));
        top[r] = -INFINITY_F;
        m[r] = has_const ? uintBitsToFloat(HEADER(max_logit_const)) : -INFINITY_F;
        l_sum[r] = 0.0;
    }
    [[unroll]] for (uint i = 0; i < R * DV; i++)
        o_sum[i] = 0.0;
    [[unroll]] for (uint i = 0; i < R * D; i++)
        q[i] = 0.0;
    uint at = 0;
    do {
        uint i = q_index(item, load_row(item, min(at / D, item.n_rows - 1))) + at % D;
        [[unroll]] for (uint c = 0; c < CHUNK_Q; c++)
            q[c] = load_q(i + c) * scale;
        ROTATE(q, R * D, CHUNK_Q)
        at += CHUNK_Q;
    } while (at < R * D);

    lp_kv kv = load_kv(item.seq_word, item.kv_head);
    uint first = first_keys(item);
    if (first < span_end)
        do {
            float m_before[R];
            [[unroll]] for (uint r = 0; r < R; r++) {
                m_before[r] = m[r];
                l[r] = 0.0;
            }
            [[unroll]] for (uint i = 0; i < R * DV; i++)
                o[i] = 0.0;
            start_fold(first, FOLD * gl_WorkGroupSize.x);
            do {
                uint j = min(first + gl_LocalInvocationIndex, span_end - 1);
                uint k_at = (push.k_base + key_index(kv, j, true)) / PER_WORD;
                uint v_at = (push.v_base + key_index(kv, j, false)) / PER_WORD;
                uint k_last = (k_at + D / PER_WORD - 1) / 4, v_last = (v_at + DV / PER_WORD - 1) / 4;
                [[unroll]] for (uint r = 0; r < R; r++)
                    p[r] = 0.0;
                uvec4 next = k_quads[k_at / 4];
                [[unroll]] for (uint w = 0; w < D / PER_WORD; w += 4) {
                    uvec4 quad = next;
                    next = k_quads[min(k_at / 4 + w / 4 + 1, k_last)];
                    quad = shifted(quad, next, k_at & 3);
                    unpack_quad(quad);
                    [[unroll]] for (uint c = 0; c < 4 * PER_WORD; c++) {
                        float k = values[c];
                        [[unroll]] for (uint r = 0; r < R; r++)
                            p[r] += q[r * D + w * PER_WORD + c] * k;
                    }
                }
                [[unroll]] for (uint r = 0; r < R; r++) {
                    if ((FEATURES & SCORE_FEATURES) != 0)
                        p[r] = finish_score(p[r], item, rows[r], j);
                    p[r] = sees(r, first + gl_LocalInvocationIndex) ? p[r] : -INFINITY_F;
                    top[r] = max(top[r], p[r]);
                    keep[r] = 1.0;
                    if (!has_const) {
                        keep[r] = weight(m[r], top[r]);
                        m[r] = top[r];
                    }
                    l[r] *= keep[r];
                    p[r] = weight(p[r], m[r]);
                    l[r] += p[r];
                }
                next = v_quads[v_at / 4];
                [[unroll]] for (uint w = 0; w < DV / PER_WORD; w += 4) {
                    uvec4 quad = next;
                    next = v_quads[min(v_at / 4 + w / 4 + 1, v_last)];
                    quad = shifted(quad, next, v_at & 3);
                    unpack_quad(quad);
                    [[unroll]] for (uint c = 0; c < 4 * PER_WORD; c++) {
                        float v = values[c];
                        [[unroll]] for (uint r = 0; r < R; r++) {
                            uint i = r * DV + w * PER_WORD + c;
                            o[i] = o[i] * keep[r] + p[r] * v;
                        }
                    }
                }
                next_keys(item, first, gl_WorkGroupSize.x);
            } while (first < stop);
            [[unroll]] for (uint r = 0; r < R; r++) {
                float scale_by = has_const ? 1.0 : weight(m_before[r], m[r]);
                l_sum[r] = l_sum[r] * scale_by + l[r];
                [[unroll]] for (uint d = 0; d < DV; d++)
                    o_sum[r * DV + d] = o_sum[r * DV + d] * scale_by + o[r * DV + d];
            }
        } while (first < span_end);

    uint r = 0;
    do {
        lp_row row = load_row(item, min(r, item.n_rows - 1));
        float most = subgroupMax(top[0]);
        float share = has_const ? 1.0 : weight(m[0], most);
        float all_l = subgroupAdd(l_sum[0] * share);
        bool mine = r < item.n_rows && index < push.count;
        bool writer = mine && gl_LocalInvocationIndex == 0;
        lp_end end = end_row(item, row, r, writer, has_const ? m[0] : most, most, all_l);
        bool writes = mine && gl_LocalInvocationIndex < CHUNK_O;
        uint to = min(gl_LocalInvocationIndex, CHUNK_O - 1);
        at = 0;
        do {
            float x = 0.0;
            [[unroll]] for (uint c = 0; c < CHUNK_O; c++) {
                float all = subgroupAdd(o_sum[c] * share);
                x = gl_LocalInvocationIndex == c ? all : x;
            }
            x *= end.keep;
            if (end.more)
                x += WORK(end.partial_o + to) * end.add;
            if (writes && end.direct)
                store_out(end.out_index + to, x);
            else if (writes)
                WORK(end.partial_o + to) = x;
            to += CHUNK_O;
            ROTATE(o_sum, R * DV, CHUNK_O)
            at += CHUNK_O;
        } while (at < DV);
        ROTATE(m, R, 1)
        ROTATE(top, R, 1)
        ROTATE(l_sum, R, 1)
    } while (++r < R);
}
