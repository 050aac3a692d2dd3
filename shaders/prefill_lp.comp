#version 450
/* SPDX-License-Identifier: Apache-2.0 */
/* Prefill on the CPU driver. Lane = query row (R rows per lane), workgroup = one subgroup, Q and O
 * in registers, K and V from rows staged by stage_lp.comp. One step is N keys of a staged block
 * of 8, in straight-line code: K and V elements are broadcast to the lanes, by
 *   LP_UNIFORM    loads at a uniform address (they become broadcast memory operands),
 *   LP_BROADCAST  one load with lanes = keys, then a broadcast from registers (uniform loads by
 *                 address are gathers on that driver),
 *   LP_SSBO       uniform loads of vec4 from a descriptor.
 * TILE_A = N (LP_BROADCAST: always 8, and the subgroup must have 8 lanes), TILE_B = R. LP_UNIFORM:
 * TILE_C = KEPT, 0 or the keys whose weights are kept: a loop of steps then makes the weights of so many
 * keys, and further loops add V to some dims of o each. The processor keeps some 25 KiB of decoded
 * instructions: a step with more than 256 dims in one piece has more, two loops by turns have not. */
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#extension GL_KHR_shader_subgroup_ballot : require
#include "lp_common.glsl"
#include "lp_rows.glsl"
#include "lp_spans.glsl"

const uint R = TILE_B;
#ifdef LP_BROADCAST
const uint N = 8;
#else
const uint N = TILE_A;
#endif
#ifdef LP_UNIFORM
layout(constant_id = RAPT_SPEC_TILE_C) const uint KEPT = 0; /* a multiple of 8; if not 0, R = 1 */
const uint PASS_DIMS = 128, PASS_KEYS = 8;
float kept[KEPT + 1];
#else
const uint KEPT = 0;
#endif
const uint FOLD = 64 * N; /* keys whose sums are kept apart: a long sum of floats drifts */

/* The maximum that o and l are relative to lags behind the true one by up to this: a pass over o then
 * is rare. Weights grow to exp(SLACK) at most, which floats hold as exactly; a fold ends in step. */
const float SLACK = 8.0;

/* from one block of keys to the next, per dim, and from one key to the next */
#ifdef LP_SSBO
const uint BLOCK = 2, KEY = 1;
#elif defined(LP_BROADCAST)
const uint BLOCK = HALVES ? 16 : 32, KEY = BLOCK / 2;
#else
const uint BLOCK = 32, KEY = 16;
#endif

float q[R * D], o[R * DV], o_sum[R * DV], s[R * N];
float m[R], top[R], l[R]; /* what o is relative to, the true maximum, the sum of weights */
bool has_const;

#if defined(LP_UNIFORM)
/* Every 1024 bytes of a block get a base of their own, through a number the compiler cannot see to be
 * zero, so that no index register and no long displacement makes an instruction longer: the loop is
 * bound by how fast its bytes are fetched. */
uint64_t none;
#define STAGED(base, i) \
    Floats(((base) + uint64_t((i) / 256 * 1024 + 512)) ^ none).at[int((i) % 256) - 128]
#define LOAD4(name, base, d)
#define ELEMENT(name, base, d, c, n) STAGED(base, (d) * 8 + (n) * 4 + (c))
#elif defined(LP_BROADCAST)
float spread[32]; /* [4 dims][8 keys] */
void spread_keys(vec4 x) /* before SPIR-V 1.5 the lane must be a literal */
{
    [[unroll]] for (uint c = 0; c < 4; c++) {
        spread[c * 8 + 0] = subgroupBroadcast(x[c], 0);
        spread[c * 8 + 1] = subgroupBroadcast(x[c], 1);
        spread[c * 8 + 2] = subgroupBroadcast(x[c], 2);
        spread[c * 8 + 3] = subgroupBroadcast(x[c], 3);
        spread[c * 8 + 4] = subgroupBroadcast(x[c], 4);
        spread[c * 8 + 5] = subgroupBroadcast(x[c], 5);
        spread[c * 8 + 6] = subgroupBroadcast(x[c], 6);
        spread[c * 8 + 7] = subgroupBroadcast(x[c], 7);
    }
}
vec4 load_four(uint64_t base, uint d)
{
    if (!HALVES)
        return Quads(base).at[d * 2];
    /* a gather costs by its elements, not by their width */
    uvec2 x = unpackUint2x32(Longs(base + uint64_t(d * BLOCK)).at[0]);
    if (STAGED_TYPE == RAPT_STORE_BF16)
        return uintBitsToFloat(uvec4(x.x << 16, x.x & 0xffff0000u, x.y << 16, x.y & 0xffff0000u));
    return vec4(unpackHalf2x16(x.x), unpackHalf2x16(x.y));
}

/* While a block of K is multiplied, one word of every cache line of V's is asked for, and so on; eight
 * lines a gather. Without it the loop waits at the gathers half of its time. */
const uint ASKED = 512; /* bytes */
uint touched = 0;
uint64_t ahead; /* the block whose lines are asked for */

void ask_for(uint d, uint dims) /* dims: of that block */
{
    if (d >= dims || d * BLOCK % ASKED != 0)
        return;
    uint at = d * BLOCK + gl_LocalInvocationIndex * 64;
    if (dims * BLOCK % ASKED != 0) /* not past the block: it may be the workspace's last */
        at = min(at, dims * BLOCK - 4);
    touched ^= Words(ahead + uint64_t(at)).at[0];
}
#define LOAD4(name, base, d) spread_keys(load_four(base, d));
#define ASK_FOR(d, dims) ask_for(d, dims);
#define ELEMENT(name, base, d, c, n) spread[(c) * 8 + (n)]
#else
#define LOAD4(name, base, d) \
    vec4 name[N]; \
    [[unroll]] for (uint n = 0; n < N; n++) name[n] = work_quads[(base) + (d) * 2 + n];
#define ELEMENT(name, base, d, c, n) name[n][c]
#endif

#ifndef LP_BROADCAST
#define ASK_FOR(d, dims)
#endif

void dot_products(LP_INDEX base)
{
    [[unroll]] for (uint i = 0; i < R * N; i++)
        s[i] = 0.0;
    [[unroll]] for (uint d4 = 0; d4 < D; d4 += 4) {
        LOAD4(quad, base, d4)
        ASK_FOR(d4, DV)
        [[unroll]] for (uint c = 0; c < 4; c++)
            [[unroll]] for (uint n = 0; n < N; n++) {
                float k = ELEMENT(quad, base, d4, c, n);
                [[unroll]] for (uint r = 0; r < R; r++)
                    s[r * N + n] += q[r * D + d4 + c] * k;
            }
    }
}

void add_values(LP_INDEX base)
{
    [[unroll]] for (uint d4 = 0; d4 < DV; d4 += 4) {
        LOAD4(quad, base, d4)
        ASK_FOR(d4, D)
        [[unroll]] for (uint c = 0; c < 4; c++) {
            float step_sum[R]; /* added as one: fewer roundings of the long sum */
            [[unroll]] for (uint n = 0; n < N; n++) {
                float v = ELEMENT(quad, base, d4, c, n);
                [[unroll]] for (uint r = 0; r < R; r++)
                    step_sum[r] = n == 0 ? s[r * N] * v : step_sum[r] + s[r * N + n] * v;
            }
            [[unroll]] for (uint r = 0; r < R; r++)
                o[r * DV + d4 + c] += step_sum[r];
        }
    }
}

#ifdef LP_UNIFORM
/* V of the keys whose weights are kept, into PASS_DIMS of o. Where a loop ends is left to the lanes: then
 * its next turn need not wait for the counter to come out of a register of lanes. */
void add_kept(uint64_t base, uint first_dim, uint n_keys, uint lane_zero)
{
    uint n0 = 0, left = n_keys + lane_zero;
    do {
        uint64_t at = base + uint64_t(n0 * (DV * 4));
        float w[PASS_KEYS];
        [[unroll]] for (uint n = 0; n < PASS_KEYS; n++)
            w[n] = kept[n0 + n];
        [[unroll]] for (uint i = 0; i < PASS_DIMS; i++)
            if (first_dim + i < DV) {
                uint d = first_dim + i;
                float step_sum;
                [[unroll]] for (uint n = 0; n < PASS_KEYS; n++) {
                    float v = STAGED(at, d / 4 * 32 + n * 4 + d % 4);
                    step_sum = n == 0 ? w[0] * v : step_sum + w[n] * v;
                }
                o[d] += step_sum;
            }
        n0 += PASS_KEYS;
        left -= PASS_KEYS;
    } while (left != 0);
}

/* A number that two loops use is made where the first one does; the driver then passes it to the second
 * in a register of lanes, and addresses become gathers. So all offsets are used once before the loops. */
void make_offsets()
{
    uint64_t work = long_of(uvec2(push.work_lo, push.work_hi));
    uint64_t k = work + 4 * uint64_t(HEADER(stage_k_word));
    uint64_t v = work + 4 * uint64_t(HEADER(stage_v_word));
    float touched = 0.0;
    [[unroll]] for (uint i = 0; i < 256; i++)
        touched += STAGED(k, i);
    [[unroll]] for (uint i = 256; i < D * 8; i += 256)
        touched += STAGED(k, i);
    [[unroll]] for (uint i = 256; i < DV * 8; i += 256)
        touched += STAGED(v, i);
    if (touched == 1.0 && push.count == 0) /* never, but the compiler keeps the loads */
        WORK(0) = 0.0;
}
#endif

/* By descriptor every access is a loop over lanes, and those of all of a row in a straight line would
 * take a minute to compile. */
#ifdef LP_SSBO
const uint CHUNK_Q = 8, CHUNK_O = 8;
#else
const uint CHUNK_Q = D, CHUNK_O = DV;
#endif
/* Scores of N keys from j on, and their weights into s; o and what is kept follow a new maximum. */
void weigh_keys(lp_item item, LP_INDEX k_at, uint j, uint n_kept)
{
    dot_products(k_at);
    if ((FEATURES & SCORE_FEATURES) != 0)
        [[unroll]] for (uint i = 0; i < R * N; i++)
            s[i] = finish_score(s[i], item, rows[i / N], j + i % N);
    if (int(j) < all_lo || int(j + N - 1) > all_hi)
        [[unroll]] for (uint i = 0; i < R * N; i++) {
            int key = int(j + i % N);
            s[i] = key >= lo[i / N] && key <= hi[i / N] ? s[i] : -INFINITY_F;
        }
    if (LISTS && SPAN_HAS_BITS)
        [[unroll]] for (uint r = 0; r < R; r++) {
            uint bits = step_bits(r, j);
            [[unroll]] for (uint n = 0; n < N; n++)
                s[r * N + n] = (bits & 1u << n) != 0u ? s[r * N + n] : -INFINITY_F;
        }
    [[unroll]] for (uint r = 0; r < R; r++) {
        [[unroll]] for (uint n = 0; n < N; n++)
            top[r] = max(top[r], s[r * N + n]);
        if (!has_const && top[r] > m[r] + SLACK) {
            float keep = weight(m[r], top[r]);
            m[r] = top[r];
            l[r] *= keep;
            [[unroll]] for (uint d = 0; d < DV; d++)
                o[r * DV + d] *= keep;
#ifdef LP_UNIFORM
            uint n = 0;
            if (KEPT != 0 && n_kept > 0)
                do {
                    kept[n] *= keep;
                } while (++n < n_kept);
#endif
        }
        float step_l;
        [[unroll]] for (uint n = 0; n < N; n++) {
            s[r * N + n] = weight(s[r * N + n], m[r]);
            step_l = n == 0 ? s[r * N] : step_l + s[r * N + n];
        }
        l[r] += step_l;
    }
}

void main()
{
    uint index = group_index();
#ifdef LP_UNIFORM
    none = uint64_t(push.count >> 31);
    if (KEPT != 0)
        make_offsets();
#endif
    lp_item item = load_item(push.first + min(index, push.count - 1)); /* see lp_common.glsl */
    float l_sum[R];
    has_const = wants(RAPT_FEAT_CONST_MAX);
    float scale = uintBitsToFloat(HEADER(scale));
    item_lo = 0;
    item_hi = 0x7fffffff;
    [[unroll]] for (uint i = 0; i < R * D; i++)
        q[i] = 0.0;
    [[unroll]] for (uint i = 0; i < R * DV; i++)
        o_sum[i] = 0.0;
    [[unroll]] for (uint r = 0; r < R; r++) {
        /* lanes past the last row repeat it and write nothing */
        rows[r] = load_row(item, min(r * gl_WorkGroupSize.x + gl_LocalInvocationIndex,
                                     item.n_rows - 1));
        item_lo = max(item_lo, rows[r].lo);
        item_hi = min(item_hi, rows[r].hi);
        top[r] = -INFINITY_F;
        m[r] = has_const ? uintBitsToFloat(HEADER(max_logit_const)) : -INFINITY_F;
        l_sum[r] = 0.0;
    }
    uint at = 0;
    do {
        uint packed = at / D * gl_WorkGroupSize.x + gl_LocalInvocationIndex;
        lp_row row = load_row(item, min(packed, item.n_rows - 1));
        LP_INDEX i = q_index(item, row) + at % D;
        [[unroll]] for (uint c = 0; c < CHUNK_Q; c++)
            q[c] = load_q(i + c) * scale;
        ROTATE(q, R * D, CHUNK_Q)
        at += CHUNK_Q;
    } while (at < R * D);
    item_lo = subgroupMax(item_lo);
    item_hi = subgroupMin(item_hi);

#ifdef LP_SSBO
    uint k_base = (push.work_base + HEADER(stage_k_word) + item.stage_row * D) / 4;
    uint v_base = (push.work_base + HEADER(stage_v_word) + item.stage_row * DV) / 4;
#else
    uint64_t work = long_of(uvec2(push.work_lo, push.work_hi));
    uint64_t k_base = work + 4 * (HEADER(stage_k_word) + uint64_t(item.stage_row * D));
    uint64_t v_base = work + 4 * (HEADER(stage_v_word) + uint64_t(item.stage_row * DV));
#ifdef LP_UNIFORM
    uint lane_zero = rows[0].token >> 31; /* 0, which the compiler does not know */
#else
    if (HALVES) {
        k_base = work + 4 * uint64_t(HEADER(stage_k_word)) + 2 * uint64_t(item.stage_row * D);
        v_base = work + 4 * uint64_t(HEADER(stage_v_word)) + 2 * uint64_t(item.stage_row * DV);
    }
    uint64_t k_start = k_base, v_start = v_base;
    k_base += gl_LocalInvocationIndex * KEY;
    v_base += gl_LocalInvocationIndex * KEY;
#endif
#endif

    uint j = first_keys(item);
    if (j < span_end)
        do {
            float m_before[R];
            [[unroll]] for (uint r = 0; r < R; r++) {
                m_before[r] = m[r];
                l[r] = 0.0;
            }
            [[unroll]] for (uint i = 0; i < R * DV; i++)
                o[i] = 0.0;
            start_fold(j, FOLD);
            do {
                uint at_key = j - item.kv_begin; /* a multiple of N; blocks are of 8 */
#ifdef LP_UNIFORM
                if (KEPT != 0) {
                    uint n_kept = 0;
                    do {
                        uint key = at_key + n_kept;
                        weigh_keys(item, k_base + LP_INDEX(key / 8 * (BLOCK * D)) + key % 8 * KEY,
                                   j + n_kept, n_kept);
                        [[unroll]] for (uint n = 0; n < N; n++)
                            kept[n_kept + n] = s[n];
                        n_kept += N;
                    } while (n_kept < KEPT && j + n_kept < stop);
                    uint n_keys = n_kept;
                    if (n_keys % PASS_KEYS != 0)
                        do
                            kept[n_keys] = 0.0;
                        while (++n_keys % PASS_KEYS != 0);
                    uint64_t v_at = v_base + uint64_t(at_key / 8 * (BLOCK * DV));
                    add_kept(v_at, 0, n_keys, lane_zero);
                    if (DV > PASS_DIMS)
                        add_kept(v_at, PASS_DIMS, n_keys, lane_zero);
                    if (DV > 2 * PASS_DIMS)
                        add_kept(v_at, 2 * PASS_DIMS, n_keys, lane_zero);
                    if (DV > 3 * PASS_DIMS)
                        add_kept(v_at, 3 * PASS_DIMS, n_keys, lane_zero);
                    next_keys(item, j, n_kept);
                    continue;
                }
#endif
#ifdef LP_BROADCAST
                ahead = v_start + LP_INDEX(at_key / 8 * (BLOCK * DV));
#endif
                weigh_keys(item, k_base + LP_INDEX(at_key / 8 * (BLOCK * D)) + at_key % 8 * KEY, j,
                           0);
#ifdef LP_BROADCAST
                ahead = k_start + LP_INDEX((at_key / 8 + 1) * (BLOCK * D)); /* or V's first */
#endif
                add_values(v_base + LP_INDEX(at_key / 8 * (BLOCK * DV)) + at_key % 8 * KEY);
                next_keys(item, j, N);
            } while (j < stop);
            [[unroll]] for (uint r = 0; r < R; r++) {
                float new_m = has_const ? m[r] : top[r];
                float keep = has_const ? 1.0 : weight(m_before[r], new_m);
                float late = has_const ? 1.0 : weight(m[r], new_m);
                m[r] = new_m;
                l_sum[r] = l_sum[r] * keep + l[r] * late;
                [[unroll]] for (uint d = 0; d < DV; d++)
                    o_sum[r * DV + d] = o_sum[r * DV + d] * keep + o[r * DV + d] * late;
            }
        } while (j < span_end);

#ifdef LP_BROADCAST
    if (touched == 1 && push.count == 0) /* never, but the compiler keeps the loads */
        WORK(0) = 0.0;
#endif

    uint r = 0;
    do {
        uint packed = r * gl_WorkGroupSize.x + gl_LocalInvocationIndex;
        bool mine = packed < item.n_rows && index < push.count;
        lp_row row = load_row(item, min(packed, item.n_rows - 1));
        lp_end end = end_row(item, row, packed, mine, m[0], top[0], l_sum[0]);
        at = 0;
        do {
            float x[CHUNK_O];
            [[unroll]] for (uint c = 0; c < CHUNK_O; c++)
                x[c] = o_sum[c] * end.keep;
            if (end.more)
                [[unroll]] for (uint c = 0; c < CHUNK_O; c++)
                    x[c] += WORK(end.partial_o + at + c) * end.add;
            if (mine && end.direct)
                [[unroll]] for (uint c = 0; c < CHUNK_O; c += 4)
                    store_out4(end.out_index + at + c, vec4(x[c], x[c + 1], x[c + 2], x[c + 3]));
            else if (mine)
                [[unroll]] for (uint c = 0; c < CHUNK_O; c += 4)
                    store_work4(end.partial_o + at + c, vec4(x[c], x[c + 1], x[c + 2], x[c + 3]));
            ROTATE(o_sum, R * DV, CHUNK_O)
            at += CHUNK_O;
        } while (at < DV);
        ROTATE(m, R, 1)
        ROTATE(top, R, 1)
        ROTATE(l_sum, R, 1)
    } while (++r < R);
}
