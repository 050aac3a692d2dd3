#version 450
/* SPDX-License-Identifier: Apache-2.0 */
/* Staging on the CPU driver: one record of stages = keys of one sequence and KV head, K and V read
 * from the pool or the packed tensor, converted to f32 and laid out as prefill_lp.comp reads them:
 * blocks of 8 keys, [dim / 4][8 keys][4 dims]. Keys at or past kv_limit become zeros. Lane = key, or
 * (LP_WORDS) lane = word of a key's row: loads at uniform addresses, each kept by one lane, are
 * merged into one vector load on that driver, and pairs of floats halve the number of scatters. */
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_basic : require
#include "lp_common.glsl"
#include "lp_kv.glsl"

#ifdef LP_WORDS
layout(buffer_reference, std430, buffer_reference_align = 8) buffer Longs { uint64_t at[]; };
const uint AHEAD = 8; /* keys whose cache lines are asked for at once: other heads lie between */

uint touched = 0;

void stage_row(uint64_t from, bool there, uint64_t to, uint dims)
{
    uint n_words = dims / PER_WORD;
    [[unroll]] for (uint w = 0; w < n_words; w += gl_WorkGroupSize.x) {
        uint x = load_words(from, w, n_words), d = (w + LANE) * PER_WORD;
        x = there ? x : 0;
        uint64_t at = to + (d / 4 * 32 + d % 4) * 4;
        if (PER_WORD == 1) {
            if (d < dims)
                Floats(at).at[0] = uintBitsToFloat(x);
        } else if (d < dims)
            Longs(at).at[0] = packUint2x32(floatBitsToUint(vec2(low_of(x), high_of(x))));
    }
}

void ask_for(uint64_t row, uint dims)
{
    [[unroll]] for (uint w = 0; w < dims / PER_WORD; w += LINE)
        touched ^= Words(row).at[w];
}

void stage_keys(lp_kv kv, uint kv_begin, uint n_keys, uint row, uint limit)
{
    uint64_t k_start = packUint2x32(uvec2(push.k_lo, push.k_hi));
    uint64_t v_start = packUint2x32(uvec2(push.v_lo, push.v_hi));
    uint64_t work = packUint2x32(uvec2(push.work_lo, push.work_hi));
    uint64_t k_to = work + 4 * uint64_t(HEADER(stage_k_word));
    uint64_t v_to = work + 4 * uint64_t(HEADER(stage_v_word));
    uint n = 0, last = max(limit, 1) - 1;
    if (n < n_keys)
        do {
            if (n % AHEAD == 0)
                [[unroll]] for (uint i = 0; i < AHEAD; i++) {
                    uint ahead = min(kv_begin + n + AHEAD + i, last);
                    ask_for(k_start + key_index(kv, ahead, true) * (4 / PER_WORD), D);
                    ask_for(v_start + key_index(kv, ahead, false) * (4 / PER_WORD), DV);
                }
            bool there = kv_begin + n < limit;
            uint j = min(kv_begin + n, last);
            uint block = (row + n) / 8 * 8, within = (row + n) % 8 * 16;
            stage_row(k_start + key_index(kv, j, true) * (4 / PER_WORD), there,
                      k_to + uint64_t(block * D) * 4 + within, D);
            stage_row(v_start + key_index(kv, j, false) * (4 / PER_WORD), there,
                      v_to + uint64_t(block * DV) * 4 + within, DV);
        } while (++n < n_keys);
    if (touched == 1 && push.count == 0) /* never, but the compiler keeps the loads */
        WORK(0) = 0.0;
}
#else
void store_staged(uint word, uint row, uint dims, uint d, vec4 x)
{
    uint w = word + (row / 8) * 8 * dims + d / 4 * 32 + row % 8 * 4;
#ifdef LP_SSBO
    work_quads[(push.work_base + w) / 4] = x;
#else
    Quads(packUint2x32(uvec2(push.work_lo, push.work_hi)) + uint64_t(w) * 4).at[0] = x;
#endif
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
            LP_INDEX at = key_index(kv, there ? kv_begin + n : 0, true);
            uint d = 0;
            do {
                vec4 x = there ? load_k(at + d) : vec4(0.0);
                store_staged(k_word, row + n, D, d, x);
                d += 4;
            } while (d < D);
            at = key_index(kv, there ? kv_begin + n : 0, false);
            d = 0;
            do {
                vec4 x = there ? load_v(at + d) : vec4(0.0);
                store_staged(v_word, row + n, DV, d, x);
                d += 4;
            } while (d < DV);
            n += gl_WorkGroupSize.x;
        } while (n < n_keys);
#endif
}
