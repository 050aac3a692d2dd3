#version 450
/* SPDX-License-Identifier: Apache-2.0 */
/* Split-KV decode on the CPU driver: the packed rows of an item (R = TILE_B of them, the query heads
 * of one KV head) share every load of K and V. Lane = word of a row of K or V: loads at uniform
 * addresses, each kept by one lane, are several times faster than a gather. Scores of eight keys are
 * turned into lane = key; their weights come back by broadcasts from registers. A step is 8 keys.
 * Needs 8 lanes, or 16: then both halves of them hold the same keys. */
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#extension GL_KHR_shader_subgroup_ballot : require
#extension GL_KHR_shader_subgroup_shuffle : require
#define LP_WORDS
#include "lp_common.glsl"
#include "lp_rows.glsl"
#include "lp_spans.glsl"
#include "lp_stored.glsl"
#include "lp_kv.glsl"

const uint R = TILE_B;
const uint WORDS_K = D / PER_WORD, WORDS_V = DV / PER_WORD;
const uint LANES = gl_WorkGroupSize.x;
const uint VECTORS_K = (WORDS_K + 7) / 8, VECTORS_V = (WORDS_V + LANES - 1) / LANES;
const uint O_SIZE = VECTORS_V * PER_WORD;
/* Whether K's and V's lines are asked for at one place: better where rows are short. */
const bool TOGETHER = PER_WORD == 4;
const uint FOLD = 512; /* keys whose sums are kept apart: a long sum of floats drifts */

/* Words of memory that a row of n words and its scales fill. */
uint whole_words(uint n)
{
    return KV_TYPE == RAPT_STORE_Q8_0 || KV_TYPE == RAPT_STORE_Q4_0 ? (byte_of_word(n - 1) + 4) / 4 : n;
}

/* One half of a transpose: lanes with `bit` set go on with b, the others with a. */
float join(float a, float b, uint bit)
{
    bool upper = (LANE & bit) != 0;
    return (upper ? b : a) + subgroupShuffleXor(upper ? a : b, bit);
}

float lanes_max(float x)
{
    x = max(x, subgroupShuffleXor(x, 1));
    x = max(x, subgroupShuffleXor(x, 2));
    return max(x, subgroupShuffleXor(x, 4));
}

/* x of every lane, before SPIR-V 1.5 by literals only */
#define FIRST_LANES(x) \
    { subgroupBroadcast(x, 0), subgroupBroadcast(x, 1), subgroupBroadcast(x, 2), \
      subgroupBroadcast(x, 3), subgroupBroadcast(x, 4), subgroupBroadcast(x, 5), \
      subgroupBroadcast(x, 6), subgroupBroadcast(x, 7) }
#define LAST_LANES(x) \
    { subgroupBroadcast(x, 8), subgroupBroadcast(x, 9), subgroupBroadcast(x, 10), \
      subgroupBroadcast(x, 11), subgroupBroadcast(x, 12), subgroupBroadcast(x, 13), \
      subgroupBroadcast(x, 14), subgroupBroadcast(x, 15) }

float sum_of(float x[8])
{
    return ((x[0] + x[1]) + (x[2] + x[3])) + ((x[4] + x[5]) + (x[6] + x[7]));
}

float max_of(float x[8])
{
    return max(max(max(x[0], x[1]), max(x[2], x[3])), max(max(x[4], x[5]), max(x[6], x[7])));
}

float q[R * VECTORS_K * PER_WORD];
float dots[R]; /* of score_key's key or keys, parts of the sum in the lanes */
uint nans;
uint touched = 0;

/* Rows that are read in the step to come, one word a cache line: heads interleaved with others' are not
 * guessed by the machine's prefetcher. */
void ask_for(lp_kv kv, uint64_t k_start, uint64_t v_start, uint j)
{
    Words next = Words(k_start + key_index(kv, j, true) * INDEX_BYTES);
    [[unroll]] for (uint w = 0; w < whole_words(WORDS_K); w += LINE)
        touched ^= next.at[w];
    if (!TOGETHER)
        return;
    next = Words(v_start + key_index(kv, j, false) * INDEX_BYTES);
    [[unroll]] for (uint w = 0; w < whole_words(WORDS_V); w += LINE)
        touched ^= next.at[w];
}

/* x: the words of K from 8 * w on that the lanes hold, of a key or of two. */
void add_products(uint x, uint w, float by)
{
    float k[PER_WORD];
    unpack_numbers(x, k);
    if (HAS_NAN)
        nans |= nan_bytes(x);
    [[unroll]] for (uint r = 0; r < R; r++) {
        float dot = BLOCK_SCALES ? 0.0 : dots[r];
        [[unroll]] for (uint e = 0; e < PER_WORD; e++)
            dot += q[(r * VECTORS_K + w) * PER_WORD + e] * k[e];
        dots[r] = BLOCK_SCALES ? dots[r] + dot * by : dot;
    }
}

/* With 16 lanes the upper eight take key `other`; with 8 it is not looked at. */
void score_key(lp_kv kv, uint64_t k_start, uint j, uint other)
{
    uint64_t row = key_index(kv, j, true) * INDEX_BYTES;
    uint64_t scales = BLOCK_SCALES ? scale_index(kv, j, true) : 0;
    nans = 0;
    [[unroll]] for (uint r = 0; r < R; r++)
        dots[r] = 0.0;
    if (LANES == 16) {
        uint64_t row2 = key_index(kv, other, true) * INDEX_BYTES;
        uint64_t scales2 = BLOCK_SCALES ? scale_index(kv, other, true) : 0;
        [[unroll]] for (uint w = 0; w < VECTORS_K; w++)
            add_products(load_words_of_two(k_start + row, k_start + row2, w * 8, WORDS_K), w,
                         words_scale_of_two(row, scales, row2, scales2, w * 8, WORDS_K, true));
    } else {
        [[unroll]] for (uint w = 0; w < VECTORS_K; w++)
            add_products(load_words(k_start + row, w * 8, WORDS_K), w,
                         words_scale(row, scales, w * 8, WORDS_K, true));
    }
    if (HAS_NAN) {
        bool has = (nans & 0x80808080u) != 0;
        [[unroll]] for (uint r = 0; r < R; r++)
            dots[r] = has ? uintBitsToFloat(0x7fc00000u) : dots[r];
    }
}

void main()
{
    uint index = group_index();
    if (index >= push.count)
        return;
    lp_item item = load_item(push.first + min(index, push.count - 1)); /* see lp_common.glsl */
    float o[R * O_SIZE], sum[R * O_SIZE], lost[R * O_SIZE];
    float m[R], top[R], l[R], l_sum[R], p[R];
    bool has_const = wants(RAPT_FEAT_CONST_MAX);
    float scale = uintBitsToFloat(HEADER(scale));
    [[unroll]] for (uint r = 0; r < R; r++) {
        rows[r] = load_row(item, min(r, item.n_rows - 1));
        LP_INDEX i = q_index(item, rows[r]);
        [[unroll]] for (uint w = 0; w < VECTORS_K; w++)
            [[unroll]] for (uint e = 0; e < PER_WORD; e++) {
                uint d = dim_of(w * 8 + LANE % 8, e);
                bool there = d < D;
                q[(r * VECTORS_K + w) * PER_WORD + e] = there ? load_q(i + (there ? d : 0)) * scale : 0.0;
            }
        [[unroll]] for (uint i = 0; i < O_SIZE; i++)
            sum[r * O_SIZE + i] = lost[r * O_SIZE + i] = 0.0;
        top[r] = -INFINITY_F;
        m[r] = has_const ? uintBitsToFloat(HEADER(max_logit_const)) : -INFINITY_F;
        l_sum[r] = 0.0;
    }

    lp_kv kv = load_kv(item.seq_word, item.kv_head);
    uint64_t k_start = long_of(uvec2(push.k_lo, push.k_hi));
    uint64_t v_start = long_of(uvec2(push.v_lo, push.v_hi));
    uint first = first_keys(item), v_nans[VECTORS_V];
    [[unroll]] for (uint w = 0; w < VECTORS_V; w++)
        v_nans[w] = 0;
    if (first < span_end)
        do {
            float m_before[R];
            [[unroll]] for (uint r = 0; r < R; r++) {
                m_before[r] = m[r];
                l[r] = 0.0;
                [[unroll]] for (uint i = 0; i < O_SIZE; i++)
                    o[r * O_SIZE + i] = 0.0;
            }
            start_fold(first, FOLD);
            do {
                float s[R * 8];
                uint ahead = keys_ahead(first, 8);
                if (LANES == 16) { /* a shuffle is a loop over lanes there, a broadcast an instruction */
                    [[unroll]] for (uint r = 0; r < R; r++)
                        s[r * 8] = 0.0;
                    [[unroll]] for (uint n = 0; n < 8; n += 2) {
                        ask_for(kv, k_start, v_start, min(ahead + n, item.kv_end - 1));
                        ask_for(kv, k_start, v_start, min(ahead + n + 1, item.kv_end - 1));
                        score_key(kv, k_start, min(first + n, span_end - 1),
                                  min(first + n + 1, span_end - 1));
                        [[unroll]] for (uint r = 0; r < R; r++) {
                            float a[8] = FIRST_LANES(dots[r]);
                            float b[8] = LAST_LANES(dots[r]);
                            s[r * 8] = LANE == n || LANE == n + 8 ? sum_of(a) : s[r * 8];
                            s[r * 8] = LANE == n + 1 || LANE == n + 9 ? sum_of(b) : s[r * 8];
                        }
                    }
                } else {
                    [[unroll]] for (uint n = 0; n < 8; n++) {
                        ask_for(kv, k_start, v_start, min(ahead + n, item.kv_end - 1));
                        score_key(kv, k_start, min(first + n, span_end - 1), 0);
                        [[unroll]] for (uint r = 0; r < R; r++)
                            s[r * 8 + n] = dots[r];
                    }
                }
                uint j = first + LANE % 8;
                float k_by = 1.0, v_by = 1.0;
                if (ROW_SCALES) {
                    k_by = row_scale(kv, min(j, span_end - 1), true);
                    v_by = row_scale(kv, min(j, span_end - 1), false);
                }
                float weights[R * 8];
                [[unroll]] for (uint r = 0; r < R; r++) {
                    float x = s[r * 8];
                    if (LANES == 8) {
                        [[unroll]] for (uint n = 0; n < 8; n += 2)
                            s[r * 8 + n] = join(s[r * 8 + n], s[r * 8 + n + 1], 1);
                        [[unroll]] for (uint n = 0; n < 8; n += 4)
                            s[r * 8 + n] = join(s[r * 8 + n], s[r * 8 + n + 2], 2);
                        x = join(s[r * 8], s[r * 8 + 4], 4);
                    }
                    if (ROW_SCALES)
                        x *= k_by;
                    if ((FEATURES & SCORE_FEATURES) != 0)
                        x = finish_score(x, item, rows[r], j);
                    x = sees(r, j) ? x : -INFINITY_F;
                    float all[8] = FIRST_LANES(x);
                    top[r] = max(top[r], LANES == 16 ? max_of(all) : lanes_max(x));
                    if (!has_const) {
                        float keep = weight(m[r], top[r]);
                        m[r] = top[r];
                        l[r] *= keep;
                        [[unroll]] for (uint i = 0; i < O_SIZE; i++)
                            o[r * O_SIZE + i] *= keep;
                    }
                    x = weight(x, m[r]);
                    l[r] += LANE < 8 ? x : 0.0;
                    if (ROW_SCALES)
                        x *= v_by;
                    float all_weights[8] = FIRST_LANES(x);
                    [[unroll]] for (uint n = 0; n < 8; n++)
                        weights[r * 8 + n] = all_weights[n];
                }
                uint64_t v_rows[8], v_next[8], v_scales[8];
                [[unroll]] for (uint n = 0; n < 8; n++) {
                    uint j = min(first + n, span_end - 1);
                    v_rows[n] = key_index(kv, j, false) * INDEX_BYTES;
                    v_next[n] = key_index(kv, min(ahead + n, item.kv_end - 1), false) * INDEX_BYTES;
                    v_scales[n] = BLOCK_SCALES ? scale_index(kv, j, false) : 0;
                }
                [[unroll]] for (uint w = 0; w < VECTORS_V; w++) {
                    float part[R * PER_WORD]; /* added as one: fewer roundings */
                    [[unroll]] for (uint n = 0; n < 8; n++) {
                        if (!TOGETHER && w * LANES % LINE == 0)
                            touched ^= Words(v_start + v_next[n]).at[w * LANES];
                        if (!TOGETHER && w + 1 == VECTORS_V && VECTORS_V * LANES < whole_words(WORDS_V))
                            touched ^= Words(v_start + v_next[n]).at[VECTORS_V * LANES];
                        float v[PER_WORD];
                        uint x = load_words(v_start + v_rows[n], w * LANES, WORDS_V);
                        unpack_numbers(x, v);
                        if (HAS_NAN)
                            v_nans[w] |= nan_bytes(x);
                        float by = words_scale(v_rows[n], v_scales[n], w * LANES, WORDS_V, false);
                        [[unroll]] for (uint r = 0; r < R; r++) {
                            float a = weights[r * 8 + n];
                            if (BLOCK_SCALES)
                                a *= by;
                            [[unroll]] for (uint e = 0; e < PER_WORD; e++) {
                                uint at = r * PER_WORD + e;
                                part[at] = n == 0 ? a * v[e] : part[at] + a * v[e];
                            }
                        }
                    }
                    [[unroll]] for (uint r = 0; r < R; r++)
                        [[unroll]] for (uint e = 0; e < PER_WORD; e++)
                            o[r * O_SIZE + w * PER_WORD + e] += part[r * PER_WORD + e];
                }
                next_keys(item, first, 8);
            } while (first < stop);
            [[unroll]] for (uint r = 0; r < R; r++) {
                float keep = has_const ? 1.0 : weight(m_before[r], m[r]);
                l_sum[r] = l_sum[r] * keep + l[r];
                [[unroll]] for (uint i = 0; i < O_SIZE; i++) {
                    /* compensated: a million keys are thousands of folds */
                    uint at = r * O_SIZE + i;
                    precise float before = sum[at] * keep;
                    precise float more = o[at] - lost[at] * keep;
                    precise float after = before + more;
                    precise float gone = after - before;
                    lost[at] = gone - more;
                    sum[at] = after;
                }
            }
        } while (first < span_end);

    if (touched == 1 && push.count == 0) /* never, but the compiler keeps the loads */
        WORK(0) = 0.0;
    [[unroll]] for (uint r = 0; r < R; r++) {
        bool mine = r < item.n_rows;
        float all = subgroupAdd(l_sum[r]);
        lp_end end = end_row(item, rows[r], r, mine && LANE == 0, m[r], top[r], all);
        [[unroll]] for (uint i = 0; i < VECTORS_V * PER_WORD; i++) {
            uint d = dim_of(i / PER_WORD * LANES + LANE, i % PER_WORD);
            if (mine && d < DV) {
                float x = sum[r * O_SIZE + i] * end.keep;
                if (HAS_NAN)
                    x = nan_or(v_nans[i / PER_WORD], i % PER_WORD, x);
                if (end.more)
                    x += WORK(end.partial_o + d) * end.add;
                if (end.direct)
                    store_out(end.out_index + d, x);
                else
                    WORK(end.partial_o + d) = x;
            }
        }
    }
}
