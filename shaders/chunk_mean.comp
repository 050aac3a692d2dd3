#version 450
/* SPDX-License-Identifier: Apache-2.0 */
/* The mean of K over each chunk of keys of a KV head, in f32. A workgroup takes a chunk: a lane a word of
 * the rows and every n-th key, so that neighbours read neighbouring words. Means are stored by dims,
 * chunks of all sequences side by side, as those who multiply by them read them. */
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "step.glsl"
#include "kv.glsl"
#include "lp_stored.glsl"
#include "sparse.glsl"

const uint WORDS = D / PER_WORD;
const uint STRIPES = WORDS < WG_SIZE ? WG_SIZE / WORDS : 1; /* lanes that share a word */
const uint FOLD_KEYS = 32; /* a long sum is one of short ones */

shared float parts[WG_SIZE * PER_WORD];

uint load_word(uint element, uint w)
{
#if KV_TYPE == RAPT_STORE_F32
    return k_words[element + w];
#elif KV_TYPE == RAPT_STORE_F16 || KV_TYPE == RAPT_STORE_BF16
    return k_words[(element >> 1) + w];
#else /* at any byte; nothing past the word of the last one is read */
    uint at = element + byte_of_word(w), shift = (at & 3u) * 8;
    uint low = k_words[at >> 2], high = k_words[(at + 3) >> 2];
    return shift == 0 ? low : low >> shift | high << (32 - shift);
#endif
}

float scale_of(key_place place, uint w)
{
#if HAS_SCALES
    uint at = place.scale.x + (BLOCK_SCALES ? w / BLOCK_WORDS : 0);
    bool halves = BLOCK_SCALES || (header.scale_kind & 0xffu) == RAPT_STORE_F16;
    uint word = k_scale_words[halves ? at >> 1 : at];
    if (!halves)
        return uintBitsToFloat(word);
    vec2 pair = unpackHalf2x16(word);
    return (at & 1u) == 0 ? pair.x : pair.y;
#elif BLOCK_SCALES
    uint at = place.element.x + w / BLOCK_WORDS * (KV_TYPE == RAPT_STORE_Q8_0 ? 34 : 18);
    vec2 pair = unpackHalf2x16(k_words[at >> 2]);
    return (at & 2u) == 0 ? pair.x : pair.y;
#else
    return 1.0;
#endif
}

void main()
{
    uint index = group_index();
    if (index >= push.count)
        return;
    uint kv_head = index % header.n_kv_heads, chunk = index / header.n_kv_heads;
    if (chunk >= work_words[chunks_before() + header.n_seqs])
        return;
    uint b = find_in(chunks_before(), chunk), seq = header.seqs_word + b * RAPT_STEP_SEQ_WORDS;
    uint begin = (chunk - work_words[chunks_before() + b]) * push.rapt_sparse_chunk;
    uint end = min(begin + push.rapt_sparse_chunk, step_words[seq + SEQ_KV_LEN]);
    uint lane = gl_LocalInvocationIndex;
    for (uint first = 0; first < WORDS; first += WG_SIZE) {
        uint w = WORDS < WG_SIZE ? lane % WORDS : first + lane;
        uint stripe = WORDS < WG_SIZE ? lane / WORDS : 0;
        float whole[PER_WORD], part[PER_WORD];
        [[unroll]] for (uint e = 0; e < PER_WORD; e++)
            whole[e] = part[e] = 0.0;
        uint since_fold = 0;
        if (w < WORDS && stripe < STRIPES)
            for (uint j = begin + stripe; j < end; j += STRIPES) {
                key_place place = find_key(seq, kv_head, j);
                float x[PER_WORD], scale = scale_of(place, w);
                unpack_word(load_word(place.element.x, w), x);
                [[unroll]] for (uint e = 0; e < PER_WORD; e++)
                    part[e] += x[e] * scale;
                if (++since_fold == FOLD_KEYS) {
                    since_fold = 0;
                    [[unroll]] for (uint e = 0; e < PER_WORD; e++) {
                        whole[e] += part[e];
                        part[e] = 0.0;
                    }
                }
            }
        [[unroll]] for (uint e = 0; e < PER_WORD; e++)
            parts[lane * PER_WORD + e] = whole[e] + part[e];
        barrier();
        if (w < WORDS && stripe == 0)
            [[unroll]] for (uint e = 0; e < PER_WORD; e++) {
                float sum = 0.0;
                for (uint s = 0; s < STRIPES; s++)
                    sum += parts[(s * WORDS + lane) * PER_WORD + e];
                uint to = (kv_head * D + dim_of(w, e)) * push.rapt_sparse_pitch + chunk;
                work_floats[push.work_base + push.rapt_sparse_means + to] =
                    sum * STORED_UNIT / float(end - begin);
            }
        barrier();
    }
}
