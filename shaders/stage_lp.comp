#version 450
/* SPDX-License-Identifier: Apache-2.0 */
/* Staging on the CPU driver: one record of stages = keys of one sequence and KV head, K and V read
 * from the pool or the packed tensor, converted to f32 and laid out as prefill_lp.comp reads them:
 * blocks of 8 keys, [dim / 4][8 keys][4 dims]. Keys at or past kv_limit become zeros. Lane = key. */
#extension GL_GOOGLE_include_directive : require
#include "lp_common.glsl"
#include "lp_kv.glsl"

void store_staged(uint word, uint row, uint dims, uint d, vec4 x)
{
    uint w = word + (row / 8) * 8 * dims + d / 4 * 32 + row % 8 * 4;
#ifdef LP_SSBO
    work_quads[(push.work_base + w) / 4] = x;
#else
    Quads(packUint2x32(uvec2(push.work_lo, push.work_hi)) + uint64_t(w) * 4).at[0] = x;
#endif
}

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
    uint k_word = HEADER(stage_k_word), v_word = HEADER(stage_v_word);
    lp_kv kv = load_kv(seq_word, kv_head);

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
}
