#version 450
/* SPDX-License-Identifier: Apache-2.0 */
/* Staging on the CPU driver: one record of stages = keys of one sequence and KV head, K and V read
 * from the pool or the packed tensor, converted to f32 and laid out as prefill_lp.comp reads them:
 * blocks of 8 keys, [dim / 4][8 keys][4 dims], or in that order as they are (HALVES, where lane = key
 * and loads go by address). Keys at or past kv_limit become zeros. Lane = key, or
 * (LP_WORDS) lane = word of a key's row: loads at uniform addresses, each kept by one lane, are
 * merged into one vector load on that driver, and pairs of floats halve the number of scatters. */
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_basic : require
#include "lp_common.glsl"
#include "lp_stored.glsl"
#include "lp_kv.glsl"

/* The dims of a word of four or eight as fours; the second begin at second_quad(word). */
struct quad_pair {
    vec4 a, b;
};

quad_pair quads_of(float x[PER_WORD])
{
    uint last = PER_WORD - 1;
    vec4 a = vec4(x[0], x[min(1, last)], x[min(2, last)], x[min(3, last)]);
    vec4 b = vec4(x[min(4, last)], x[min(5, last)], x[min(6, last)], x[min(7, last)]);
    if (KV_TYPE == RAPT_STORE_INT4) /* even dims, then odd ones */
        return quad_pair(vec4(a.x, b.x, a.y, b.y), vec4(a.z, b.z, a.w, b.w));
    return quad_pair(a, b);
}

uint second_quad(uint w)
{
    return KV_TYPE == RAPT_STORE_INT4 ? w * 8 + 4 : dim_of(w, 4);
}

#ifdef LP_WORDS
const uint AHEAD = 8; /* keys whose cache lines are asked for at once: other heads lie between */

uint touched = 0;

/* Four dims from d on; `to` is where the key's first four go. */
void store_quad(uint64_t to, uint d, uint dims, vec4 x)
{
    if (d < dims)
        Quads(to + d / 4 * 128).at[0] = x;
}

void stage_row(lp_kv kv, uint j, bool there, bool k, uint64_t from, uint64_t to, uint dims)
{
    uint n_words = dims / PER_WORD;
    uint64_t row = key_index(kv, j, k) * INDEX_BYTES;
    uint64_t scales = BLOCK_SCALES ? scale_index(kv, j, k) : 0;
    float by = row_scale(kv, j, k);
    [[unroll]] for (uint first = 0; first < n_words; first += gl_WorkGroupSize.x) {
        float x[PER_WORD];
        unpack_word(load_words(from + row, first, n_words), x);
        if (BLOCK_SCALES)
            by = words_scale(row, scales, first, n_words, k);
        [[unroll]] for (uint e = 0; e < PER_WORD; e++)
            x[e] = !there ? 0.0 : ROW_SCALES || BLOCK_SCALES ? x[e] * by : x[e];
        uint w = first + LANE, d = dim_of(w, 0);
        uint64_t at = to + (d / 4 * 32 + d % 4) * 4;
        if (PER_WORD == 1) {
            if (d < dims)
                Floats(at).at[0] = x[0];
        } else if (PER_WORD == 2) {
            if (d < dims)
                store_eight(at, floatBitsToUint(vec2(x[0], x[1 % x.length()])));
        } else {
            quad_pair quads = quads_of(x);
            store_quad(to, d, dims, quads.a);
            if (PER_WORD == 8)
                store_quad(to, second_quad(w), dims, quads.b);
        }
    }
}

void ask_for(uint64_t row, uint dims)
{
    [[unroll]] for (uint w = 0; w < dims / PER_WORD; w += LINE)
        touched ^= Words(row).at[w];
}

void stage_keys(lp_kv kv, uint kv_begin, uint n_keys, uint row, uint limit)
{
    uint64_t k_start = long_of(uvec2(push.k_lo, push.k_hi));
    uint64_t v_start = long_of(uvec2(push.v_lo, push.v_hi));
    uint64_t work = long_of(uvec2(push.work_lo, push.work_hi));
    uint64_t k_to = work + 4 * uint64_t(HEADER(stage_k_word));
    uint64_t v_to = work + 4 * uint64_t(HEADER(stage_v_word));
    uint n = 0, last = max(limit, 1) - 1;
    if (n < n_keys)
        do {
            if (n % AHEAD == 0)
                [[unroll]] for (uint i = 0; i < AHEAD; i++) {
                    uint ahead = min(kv_begin + n + AHEAD + i, last);
                    ask_for(k_start + key_index(kv, ahead, true) * INDEX_BYTES, D);
                    ask_for(v_start + key_index(kv, ahead, false) * INDEX_BYTES, DV);
                }
            bool there = kv_begin + n < limit;
            uint j = min(kv_begin + n, last);
            uint block = (row + n) / 8 * 8, within = (row + n) % 8 * 16;
            stage_row(kv, j, there, true, k_start, k_to + uint64_t(block * D) * 4 + within, D);
            stage_row(kv, j, there, false, v_start, v_to + uint64_t(block * DV) * 4 + within, DV);
        } while (++n < n_keys);
    if (touched == 1 && push.count == 0) /* never, but the compiler keeps the loads */
        WORK(0) = 0.0;
}
#else
const uint STEP_WORDS = PER_WORD < 4 ? 4 / PER_WORD : 1; /* whole fours of dims */

void store_staged(uint word, uint row, uint dims, uint d, vec4 x)
{
    uint w = word + (row / 8) * 8 * dims + d / 4 * 32 + row % 8 * 4;
#ifdef LP_SSBO
    work_quads[(push.work_base + w) / 4] = x;
#else
    Quads(long_of(uvec2(push.work_lo, push.work_hi)) + uint64_t(w) * 4).at[0] = x;
#endif
}

#ifndef LP_SSBO
uint touched = 0;

/* One word of every cache line of a row: the copy below would wait for each in turn. */
void ask_for_key(lp_kv kv, uint j, bool k, uint dims)
{
    uint64_t from = (k ? long_of(uvec2(push.k_lo, push.k_hi))
                       : long_of(uvec2(push.v_lo, push.v_hi))) +
                    key_index(kv, j, k) * 2;
    [[unroll]] for (uint d = 0; d < dims; d += 32)
        touched ^= Words(from + uint64_t(d * 2)).at[0];
}

/* As stage_key, of 16-bit floats: a gather and a scatter cost by their elements, not by their width. */
void copy_key(lp_kv kv, uint j, bool there, bool k, uint word, uint row, uint dims)
{
    uint64_t from = (k ? long_of(uvec2(push.k_lo, push.k_hi))
                       : long_of(uvec2(push.v_lo, push.v_hi))) +
                    key_index(kv, j, k) * 2;
    uint64_t to = long_of(uvec2(push.work_lo, push.work_hi)) + uint64_t(word) * 4 +
                  uint64_t(row / 8 * 8 * dims + row % 8 * 4) * 2;
    uint d = 0;
    do {
        uint64_t x = Longs(from + uint64_t(d * 2)).at[0];
        Longs(to + uint64_t(d * 16)).at[0] = there ? x : 0;
        d += 4;
    } while (d < dims);
}
#endif

/* Key j of the sequence, or zeros, as staged row `row` of the region that starts at `word`. */
void stage_key(lp_kv kv, uint j, bool there, bool k, uint word, uint row, uint dims)
{
#ifndef LP_SSBO
    if (HALVES) {
        copy_key(kv, j, there, k, word, row, dims);
        return;
    }
#endif
    LP_INDEX at = key_index(kv, j, k) * INDEX_BYTES;
    LP_INDEX scales = BLOCK_SCALES ? scale_index(kv, j, k) : 0;
    float by = row_scale(kv, j, k);
    uint w = 0;
    do {
        float x[STEP_WORDS * PER_WORD];
        [[unroll]] for (uint i = 0; i < STEP_WORDS; i++) {
            float values[PER_WORD];
            unpack_word(word_at(at + byte_of_word(w + i), k), values);
            [[unroll]] for (uint e = 0; e < PER_WORD; e++)
                x[i * PER_WORD + e] = values[e];
        }
        if (BLOCK_SCALES)
            by = block_scale(at, scales, w / BLOCK_WORDS, k);
        vec4 a = vec4(x[0], x[1], x[2], x[3]);
        if (PER_WORD >= 4) {
            float one[PER_WORD];
            [[unroll]] for (uint e = 0; e < PER_WORD; e++)
                one[e] = x[e];
            quad_pair quads = quads_of(one);
            a = quads.a;
            if (PER_WORD == 8)
                store_staged(word, row, dims, second_quad(w), there ? quads.b * by : vec4(0.0));
        }
        store_staged(word, row, dims, dim_of(w, 0), there ? a * by : vec4(0.0));
        w += STEP_WORDS;
    } while (w < dims / PER_WORD);
}

#endif

void main()
{
    uint index = group_index();
    if (index >= push.count)
        return;
    uint w = HEADER(stages_word) +
             (push.first + min(index, push.count - 1)) * RAPT_STEP_STAGE_WORDS;
    uint seq_word = HEADER(seqs_word) + STEP(w) * RAPT_STEP_SEQ_WORDS;
    uint kv_head = STEP(w + 1), kv_begin = STEP(w + 2), n_keys = STEP(w + 3), row = STEP(w + 4);
    uint limit = STEP(seq_word + SEQ_KV_LIMIT);
    lp_kv kv = load_kv(seq_word, kv_head);

#ifdef LP_WORDS
    stage_keys(kv, kv_begin, n_keys, row, limit);
#else
    uint k_word = HEADER(stage_k_word), v_word = HEADER(stage_v_word);
    uint n = gl_LocalInvocationIndex;
    if (n < n_keys)
        do {
            bool there = kv_begin + n < limit;
            uint j = there ? kv_begin + n : 0;
#ifndef LP_SSBO
            if (HALVES) {
                ask_for_key(kv, j, true, D);
                ask_for_key(kv, j, false, DV);
            }
#endif
            stage_key(kv, j, there, true, k_word, row + n, D);
            stage_key(kv, j, there, false, v_word, row + n, DV);
            n += gl_WorkGroupSize.x;
        } while (n < n_keys);
#ifndef LP_SSBO
    if (touched == 1 && push.count == 0) /* never, but the compiler keeps the loads */
        WORK(0) = 0.0;
#endif
#endif
}
