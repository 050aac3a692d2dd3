#version 450
/* SPDX-License-Identifier: Apache-2.0 */
/* Scores of an indexer: sum over its heads of weight * max(0, q . k), of a token with every key it may see.
 * A workgroup takes a token and TILE_D keys, a lane a key at a time; eight heads share each word of the
 * key that is read. TILE_B: heads. TILE_C: the keys' RAPT_STORE_* type. */
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "step.glsl"
#include "storage.glsl"
#include "sparse.glsl"
#include "sparse_rows.glsl"

layout(set = 0, binding = RAPT_BIND_Q, std430) readonly buffer Q { uint q_words[]; };
layout(set = 0, binding = RAPT_BIND_K, std430) readonly buffer K { uint k_words[]; };
layout(set = 0, binding = RAPT_BIND_SINKS, std430) readonly buffer Weights { float weights[]; };
layout(set = 0, binding = RAPT_BIND_OUT, std430) buffer Scores { float scores[]; };

const uint HEADS = 8, QUADS = D / 4;

shared vec4 q_tile[HEADS * QUADS];

#define LOAD_QUAD(words, type, i) \
    (type == RAPT_STORE_F32 \
         ? uintBitsToFloat(uvec4(words[i], words[i + 1], words[i + 2], words[i + 3])) \
         : halves_of(uvec2(words[(i) >> 1], words[((i) >> 1) + 1]), type))

vec4 halves_of(uvec2 w, uint type)
{
    if (type == RAPT_STORE_BF16)
        return uintBitsToFloat(uvec4(w.x << 16, w.x & 0xffff0000u, w.y << 16, w.y & 0xffff0000u));
    return vec4(unpackHalf2x16(w.x), unpackHalf2x16(w.y));
}

/* Element of dim 0 of key j, which exists. */
uint key_element(uint b, uint seq, uint j)
{
    if (!wants(RAPT_FEAT_PAGED))
        return push.k_base +
               (work_words[keys_before() + b] + j) * push.rapt_sparse_k_token_stride;
    uint entry = min(j >> header.page_shift, max(step_words[seq + SEQ_N_PAGES], 1u) - 1u);
    uint page = step_words[header.pages_word + step_words[seq + SEQ_PAGE_FIRST] + entry];
    page = min(page, max(header.n_pages, 1u) - 1u);
    return push.k_base + page * push.rapt_sparse_k_page_stride +
           (j & header.page_mask) * push.rapt_sparse_k_token_stride;
}

void load_q(uint token, uint first_head)
{
    barrier();
    for (uint i = gl_LocalInvocationIndex; i < HEADS * QUADS; i += WG_SIZE) {
        uint head = min(first_head + i / QUADS, TILE_B - 1);
        uint at = push.q_base + token * push.rapt_sparse_q_token_stride +
                  head * push.rapt_sparse_q_head_stride + i % QUADS * 4;
        q_tile[i] = LOAD_QUAD(q_words, Q_TYPE, at);
    }
    barrier();
}

/* What eight heads add to the score of a key. */
float score_heads(uint token, uint first_head, uint key)
{
    vec4 sum[HEADS];
    [[unroll]] for (uint h = 0; h < HEADS; h++)
        sum[h] = vec4(0.0);
    for (uint d = 0; d < QUADS; d++) {
        vec4 k = LOAD_QUAD(k_words, TILE_C, key + 4 * d);
        [[unroll]] for (uint h = 0; h < HEADS; h++)
            sum[h] += q_tile[h * QUADS + d] * k;
    }
    float score = 0.0;
    [[unroll]] for (uint h = 0; h < HEADS; h++)
        if (first_head + h < TILE_B) {
            float x = sum[h].x + sum[h].y + (sum[h].z + sum[h].w);
            score += weights[push.sinks_base + token * TILE_B + first_head + h] * max(x, 0.0);
        }
    return score;
}

void main()
{
    uint index = group_index(), tiles = (push.rapt_sparse_stride + TILE_D - 1) / TILE_D;
    if (index >= push.count)
        return;
    uint slab_row = index / tiles, token = push.rapt_sparse_first_row + slab_row;
    uint b = find_seq(token), seq = seq_word(b);
    uint begin = (index - slab_row * tiles) * TILE_D;
    int position = row_position(seq, token - step_words[seq + SEQ_Q_ROW]);
    ivec2 keys = row_keys(seq, position, begin, min(begin + TILE_D, step_words[seq + SEQ_KV_LEN]));
    if (keys.x > keys.y) /* all lanes or none */
        return;
    uint to = push.out_base + slab_row * push.rapt_sparse_stride;
    for (uint head = 0; head < TILE_B; head += HEADS) {
        load_q(token, head);
        for (int j = keys.x + int(gl_LocalInvocationIndex); j <= keys.y; j += int(WG_SIZE)) {
            float score = score_heads(token, head, key_element(b, seq, uint(j)));
            if (head > 0) /* its own of the heads before */
                score += scores[to + uint(j)];
            scores[to + uint(j)] = score;
        }
    }
}
