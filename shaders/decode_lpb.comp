#version 450
/* SPDX-License-Identifier: Apache-2.0 */
/* Split-KV decode on the CPU driver: the packed rows of an item (R = TILE_B of them, the query
 * heads of one KV head) share every load of K and V. Lane = key for both, so every lane keeps a running
 * maximum, sum and output of its own; the loop needs no subgroup operation, and eight cache lines
 * are asked for at a time, which hides memory latency. A step is TILE_A keys per lane. */
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#extension GL_KHR_shader_subgroup_shuffle : require
#include "lp_common.glsl"
#include "lp_rows.glsl"
#include "lp_kv.glsl"

const uint R = TILE_B;
const uint BLOCKS = TILE_A;

/* subgroupAdd is a loop over lanes here; hundreds of them take long to compile. */
float lanes_sum(float x)
{
    [[unroll]] for (uint step = 1; step < gl_WorkGroupSize.x; step *= 2)
        x += subgroupShuffleXor(x, step);
    return x;
}

void main()
{
    uint index = group_index();
    if (index >= push.count)
        return;
    lp_item item = load_item(push.first + min(index, push.count - 1)); /* see lp_common.glsl */
    float q[R * D], o[R * DV], p[R * BLOCKS];
    float m[R], top[R], l[R], keep[R];
    lp_row rows[R];
    bool has_const = wants(RAPT_FEAT_CONST_MAX);
    float scale = uintBitsToFloat(HEADER(scale));
    [[unroll]] for (uint r = 0; r < R; r++) {
        rows[r] = load_row(item, min(r, item.n_rows - 1));
        LP_INDEX i = q_index(item, rows[r]);
        [[unroll]] for (uint d = 0; d < D; d++)
            q[r * D + d] = load_q(i + d) * scale;
        [[unroll]] for (uint d = 0; d < DV; d++)
            o[r * DV + d] = 0.0;
        top[r] = -INFINITY_F;
        m[r] = has_const ? uintBitsToFloat(HEADER(max_logit_const)) : -INFINITY_F;
        l[r] = 0.0;
    }

    lp_kv kv = load_kv(item.seq_word, item.kv_head);
    uint first = item.kv_begin;
    if (first < item.kv_end)
        do {
            uint64_t k_at[BLOCKS], v_at[BLOCKS];
            [[unroll]] for (uint b = 0; b < BLOCKS; b++) {
                uint j = first + b * gl_WorkGroupSize.x + gl_LocalInvocationIndex;
                k_at[b] = key_index(kv, min(j, item.kv_end - 1), true);
                v_at[b] = key_index(kv, min(j, item.kv_end - 1), false);
                [[unroll]] for (uint r = 0; r < R; r++)
                    p[r * BLOCKS + b] = 0.0;
            }
            [[unroll]] for (uint d = 0; d < D; d += 4)
                [[unroll]] for (uint b = 0; b < BLOCKS; b++) {
                    vec4 k = load_k(k_at[b] + d);
                    [[unroll]] for (uint r = 0; r < R; r++)
                        [[unroll]] for (uint c = 0; c < 4; c++)
                            p[r * BLOCKS + b] += q[r * D + d + c] * k[c];
                }
            [[unroll]] for (uint r = 0; r < R; r++) {
                [[unroll]] for (uint b = 0; b < BLOCKS; b++) {
                    uint j = first + b * gl_WorkGroupSize.x + gl_LocalInvocationIndex;
                    float s = p[r * BLOCKS + b];
                    if ((FEATURES & SCORE_FEATURES) != 0)
                        s = finish_score(s, item, rows[r], j);
                    bool seen = int(j) >= rows[r].lo && int(j) <= rows[r].hi;
                    p[r * BLOCKS + b] = seen ? s : -INFINITY_F;
                    top[r] = max(top[r], p[r * BLOCKS + b]);
                }
                keep[r] = 1.0;
                if (!has_const) {
                    keep[r] = weight(m[r], top[r]);
                    m[r] = top[r];
                }
                l[r] *= keep[r];
                [[unroll]] for (uint b = 0; b < BLOCKS; b++) {
                    p[r * BLOCKS + b] = weight(p[r * BLOCKS + b], m[r]);
                    l[r] += p[r * BLOCKS + b];
                }
            }
            [[unroll]] for (uint d = 0; d < DV; d += 4) {
                [[unroll]] for (uint r = 0; r < R; r++)
                    [[unroll]] for (uint c = 0; c < 4; c++)
                        o[r * DV + d + c] *= keep[r];
                [[unroll]] for (uint b = 0; b < BLOCKS; b++) {
                    vec4 v = load_v(v_at[b] + d);
                    [[unroll]] for (uint r = 0; r < R; r++)
                        [[unroll]] for (uint c = 0; c < 4; c++)
                            o[r * DV + d + c] += p[r * BLOCKS + b] * v[c];
                }
            }
            first += BLOCKS * gl_WorkGroupSize.x;
        } while (first < item.kv_end);

    [[unroll]] for (uint r = 0; r < R; r++) {
        float most = subgroupMax(top[r]);
        float share = has_const ? 1.0 : weight(m[r], most);
        l[r] = subgroupAdd(l[r] * share);
        m[r] = has_const ? m[r] : most;
        bool mine = r < item.n_rows;
        bool writer = mine && gl_LocalInvocationIndex == 0;
        lp_end end = end_row(item, rows[r], r, writer, m[r], most, l[r]);
        [[unroll]] for (uint d = 0; d < DV; d += 4) {
            float x = 0.0;
            [[unroll]] for (uint c = 0; c < 4; c++) {
                float all = lanes_sum(o[r * DV + d + c] * share);
                x = gl_LocalInvocationIndex == c ? all * end.keep : x;
            }
            if (mine && gl_LocalInvocationIndex < 4) {
                uint at = d + gl_LocalInvocationIndex;
                if (end.more)
                    x += WORK(end.partial_o + at) * end.add;
                if (end.direct)
                    store_out(end.out_index + at, x);
                else
                    WORK(end.partial_o + at) = x;
            }
        }
    }
}
