#version 450
/* SPDX-License-Identifier: Apache-2.0 */
/* Split-KV decode on the CPU driver where decode_lp.comp cannot run: uniform loads are gathers there,
 * or a subgroup has not 8 lanes. The packed rows of an item (R = TILE_B of them, the query heads of
 * one KV head) share every load of K and V. Lane = key for both, so every lane keeps a running
 * maximum, sum and output of its own, and the loop needs no subgroup operation. A step is TILE_A
 * keys per lane. */
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#extension GL_KHR_shader_subgroup_shuffle : require
#include "lp_common.glsl"
#include "lp_rows.glsl"
#include "lp_spans.glsl"
#include "lp_stored.glsl"
#include "lp_kv.glsl"

const uint R = TILE_B;
const uint BLOCKS = TILE_A;
const uint WORDS_K = D / PER_WORD, WORDS_V = DV / PER_WORD; /* even, a gather takes two */
const uint FOLD = 512 * BLOCKS; /* steps' keys whose sums are kept apart */
const uint LINE = 16;           /* words of a cache line */
const uint STEP_KEYS = BLOCKS * gl_WorkGroupSize.x;
const uint DEPTH = PER_WORD < 4 ? 1 : 2; /* steps whose lines are asked for at once */

uint touched = 0;

const uint CHUNK_Q = D % 32 == 0 ? 32 : 8, CHUNK_O = DV % 32 == 0 ? 32 : 8;

/* The values of words w and w + 1 of each lane's row, without their scale; NaN are noted in nans. */
void load_two(uint64_t row, uint w, out float values[2 * PER_WORD], inout uint nans[2])
{
    uvec2 x = Pairs(row + byte_of_word(w)).at[0];
    [[unroll]] for (uint i = 0; i < 2; i++) {
        float some[PER_WORD];
        unpack_numbers(x[i], some);
        if (HAS_NAN)
            nans[i] |= nan_bytes(x[i]);
        [[unroll]] for (uint e = 0; e < PER_WORD; e++)
            values[i * PER_WORD + e] = some[e];
    }
}

/* One word of every cache line of a row of n words. */
void ask_for(uint64_t row, uint n)
{
    [[unroll]] for (uint w = 0; w < n; w += LINE)
        touched ^= Words(row).at[w];
    if (KV_TYPE == RAPT_STORE_Q8_0 || KV_TYPE == RAPT_STORE_Q4_0)
        touched ^= Words(row + byte_of_word(n - 1)).at[0];
}

/* subgroupAdd is a loop over lanes here; hundreds of them take long to compile. */
float lanes_sum(float x)
{
    [[unroll]] for (uint step = 1; step < gl_WorkGroupSize.x; step *= 2)
        x += subgroupShuffleXor(x, step);
    return x;
}

/* block_scale; int4's of neighbours are loaded together. */
float scale_of(uint64_t row, uint64_t scales, uint block, bool k, inout uint pair)
{
#if KV_TYPE == RAPT_STORE_INT4
    if (block % 2 == 0)
        pair = scale_pair(scales, block, (k ? D : DV) / 32, k);
    return unpackHalf2x16(block % 2 == 0 ? pair : pair >> 16).x;
#else
    return block_scale(row, scales, block, k);
#endif
}

void main()
{
    uint index = group_index();
    if (index >= push.count)
        return;
    lp_item item = load_item(push.first + min(index, push.count - 1)); /* see lp_common.glsl */
    float q[R * D], o[R * DV], o_sum[R * DV], p[R * BLOCKS];
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
        LP_INDEX i = q_index(item, load_row(item, min(at / D, item.n_rows - 1))) + at % D;
        [[unroll]] for (uint c = 0; c < CHUNK_Q; c++)
            q[c] = load_q(i + c) * scale;
        ROTATE(q, R * D, CHUNK_Q)
        at += CHUNK_Q;
    } while (at < R * D);

    lp_kv kv = load_kv(item.seq_word, item.kv_head);
    uint64_t k_start = long_of(uvec2(push.k_lo, push.k_hi));
    uint64_t v_start = long_of(uvec2(push.v_lo, push.v_hi));
    uint first = first_keys(item), v_nans[WORDS_V / 2][2];
    [[unroll]] for (uint w = 0; w < WORDS_V / 2; w++)
        v_nans[w][0] = v_nans[w][1] = 0;
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
                /* Rows of steps to come are asked for now, one word a cache line. */
                uint ahead = keys_ahead(first, DEPTH * STEP_KEYS);
                if (DEPTH == 1 || first / STEP_KEYS % DEPTH == 0)
                    [[unroll]] for (uint b = 0; b < BLOCKS * DEPTH; b++) {
                        uint j = ahead + b * gl_WorkGroupSize.x + gl_LocalInvocationIndex;
                        j = min(j, item.kv_end - 1);
                        ask_for(k_start + key_index(kv, j, true) * INDEX_BYTES, WORDS_K);
                        ask_for(v_start + key_index(kv, j, false) * INDEX_BYTES, WORDS_V);
                    }
                uint64_t k_at[BLOCKS], v_at[BLOCKS], k_scales[BLOCKS], v_scales[BLOCKS];
                float k_by[BLOCKS], v_by[BLOCKS];
                uint pairs[BLOCKS]; /* of scales */
                [[unroll]] for (uint b = 0; b < BLOCKS; b++) {
                    uint j = first + b * gl_WorkGroupSize.x + gl_LocalInvocationIndex;
                    j = min(j, span_end - 1);
                    k_at[b] = key_index(kv, j, true) * INDEX_BYTES;
                    v_at[b] = key_index(kv, j, false) * INDEX_BYTES;
                    k_scales[b] = BLOCK_SCALES ? scale_index(kv, j, true) : 0;
                    v_scales[b] = BLOCK_SCALES ? scale_index(kv, j, false) : 0;
                    k_by[b] = row_scale(kv, j, true);
                    v_by[b] = row_scale(kv, j, false);
                    [[unroll]] for (uint r = 0; r < R; r++)
                        p[r * BLOCKS + b] = 0.0;
                }
                float dot[R * BLOCKS]; /* of what shares a scale */
                uint nans[BLOCKS][2];
                [[unroll]] for (uint b = 0; b < BLOCKS; b++)
                    nans[b][0] = nans[b][1] = 0;
                [[unroll]] for (uint w = 0; w < WORDS_K; w += 2)
                    [[unroll]] for (uint b = 0; b < BLOCKS; b++) {
                        float k[2 * PER_WORD];
                        load_two(k_start + k_at[b], w, k, nans[b]);
                        bool begins = BLOCK_SCALES && w % BLOCK_WORDS == 0;
                        if (begins)
                            k_by[b] = scale_of(k_at[b], k_scales[b], w / BLOCK_WORDS, true, pairs[b]);
                        [[unroll]] for (uint r = 0; r < R; r++) {
                            uint i = r * BLOCKS + b;
                            float sum = begins ? 0.0 : BLOCK_SCALES ? dot[i] : p[i];
                            [[unroll]] for (uint e = 0; e < 2 * PER_WORD; e++)
                                sum += q[r * D + dim_of(w + e / PER_WORD, e % PER_WORD)] * k[e];
                            if (!BLOCK_SCALES)
                                p[i] = sum;
                            else if ((w + 2) % BLOCK_WORDS == 0)
                                p[i] += sum * k_by[b];
                            else
                                dot[i] = sum;
                        }
                    }
                [[unroll]] for (uint r = 0; r < R; r++) {
                    [[unroll]] for (uint b = 0; b < BLOCKS; b++) {
                        uint j = first + b * gl_WorkGroupSize.x + gl_LocalInvocationIndex;
                        float s = p[r * BLOCKS + b];
                        if (HAS_NAN && ((nans[b][0] | nans[b][1]) & 0x80808080u) != 0)
                            s = uintBitsToFloat(0x7fc00000u);
                        if (ROW_SCALES)
                            s *= k_by[b];
                        if ((FEATURES & SCORE_FEATURES) != 0)
                            s = finish_score(s, item, rows[r], j);
                        p[r * BLOCKS + b] = sees(r, j) ? s : -INFINITY_F;
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
                        if (ROW_SCALES)
                            p[r * BLOCKS + b] *= v_by[b];
                    }
                }
                [[unroll]] for (uint w = 0; w < WORDS_V; w += 2) {
                    [[unroll]] for (uint r = 0; r < R; r++)
                        [[unroll]] for (uint e = 0; e < 2 * PER_WORD; e++)
                            o[r * DV + dim_of(w + e / PER_WORD, e % PER_WORD)] *= keep[r];
                    [[unroll]] for (uint b = 0; b < BLOCKS; b++) {
                        float v[2 * PER_WORD];
                        load_two(v_start + v_at[b], w, v, v_nans[w / 2]);
                        if (BLOCK_SCALES && w % BLOCK_WORDS == 0)
                            v_by[b] = scale_of(v_at[b], v_scales[b], w / BLOCK_WORDS, false, pairs[b]);
                        [[unroll]] for (uint r = 0; r < R; r++) {
                            float a = p[r * BLOCKS + b];
                            if (BLOCK_SCALES)
                                a *= v_by[b];
                            [[unroll]] for (uint e = 0; e < 2 * PER_WORD; e++)
                                o[r * DV + dim_of(w + e / PER_WORD, e % PER_WORD)] += a * v[e];
                        }
                    }
                }
                next_keys(item, first, BLOCKS * gl_WorkGroupSize.x);
            } while (first < stop);
            [[unroll]] for (uint r = 0; r < R; r++) {
                float scale_by = has_const ? 1.0 : weight(m_before[r], m[r]);
                l_sum[r] = l_sum[r] * scale_by + l[r];
                [[unroll]] for (uint d = 0; d < DV; d++)
                    o_sum[r * DV + d] = o_sum[r * DV + d] * scale_by + o[r * DV + d];
            }
        } while (first < span_end);
    [[unroll]] for (uint i = 0; HAS_NAN && i < R * DV; i++) {
        uint d = i % DV;
        o_sum[i] = nan_or(v_nans[d / PER_WORD / 2][d / PER_WORD % 2], d % PER_WORD, o_sum[i]);
    }
    if (touched == 1 && push.count == 0) /* never, but the compiler keeps the loads */
        WORK(0) = 0.0;

    uint r = 0;
    do {
        lp_row row = load_row(item, min(r, item.n_rows - 1));
        float most = subgroupMax(top[0]);
        float share = has_const ? 1.0 : weight(m[0], most);
        float all_l = subgroupAdd(l_sum[0] * share);
        bool mine = r < item.n_rows, writer = mine && gl_LocalInvocationIndex == 0;
        lp_end end = end_row(item, row, r, writer, has_const ? m[0] : most, most, all_l);
        at = 0;
        do {
            [[unroll]] for (uint d = 0; d < CHUNK_O; d += 4) {
                float x = 0.0;
                [[unroll]] for (uint c = 0; c < 4; c++) {
                    float all = lanes_sum(o_sum[d + c] * share);
                    x = gl_LocalInvocationIndex == c ? all * end.keep : x;
                }
                if (mine && gl_LocalInvocationIndex < 4) {
                    uint to = at + d + gl_LocalInvocationIndex;
                    if (end.more)
                        x += WORK(end.partial_o + to) * end.add;
                    if (end.direct)
                        store_out(end.out_index + to, x);
                    else
                        WORK(end.partial_o + to) = x;
                }
            }
            ROTATE(o_sum, R * DV, CHUNK_O)
            at += CHUNK_O;
        } while (at < DV);
        ROTATE(m, R, 1)
        ROTATE(top, R, 1)
        ROTATE(l_sum, R, 1)
    } while (++r < R);
}
