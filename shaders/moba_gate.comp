#version 450
/* SPDX-License-Identifier: Apache-2.0 */
/* MoBA's gates: the dot product of every query with the mean of every chunk that begins at or before it.
 * A workgroup takes TILE_B tokens of the batch and the heads of one KV head, eight (token, head) rows at a
 * time, so that eight rows share each mean that is read; a lane takes every n-th chunk. */
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "step.glsl"
#include "storage.glsl"
#include "sparse.glsl"
#include "sparse_rows.glsl"

layout(set = 0, binding = RAPT_BIND_Q, std430) readonly buffer Q { uint q_words[]; };
layout(set = 0, binding = RAPT_BIND_OUT, std430) writeonly buffer Scores { float scores[]; };
#include "rope_q.glsl"

const uint ROWS = 8, EIGHTS = D / 8;

shared vec4 q_tile[ROWS * EIGHTS * 2];
shared uint candidates[ROWS];

/* Tokens [token, stop) of one sequence. */
struct tokens {
    uint seq, token, q_row, kv_head, group, n_rows;
};

packed_row row_of(tokens t, uint r)
{
    r = min(r, t.n_rows - 1);
    return packed_row(t.token + r / t.group, t.kv_head * t.group + r % t.group);
}

void load_q(tokens t, packed_row row, uint d, out vec4 a, out vec4 b)
{
    uint token = row.token - t.q_row;
    uint first = push.q_base + step_words[t.seq + SEQ_Q_BASE] + token * header.q_token_stride +
                 row.head * header.q_head_stride;
    uint i = first + d;
    if (Q_TYPE == RAPT_STORE_F32) {
        a = uintBitsToFloat(uvec4(q_words[i], q_words[i + 1], q_words[i + 2], q_words[i + 3]));
        b = uintBitsToFloat(uvec4(q_words[i + 4], q_words[i + 5], q_words[i + 6], q_words[i + 7]));
    } else {
        uint w = i >> 1;
        uvec4 x = uvec4(q_words[w], q_words[w + 1], q_words[w + 2], q_words[w + 3]);
        if (Q_TYPE == RAPT_STORE_BF16)
            unpack_bf16(x, a, b);
        else
            unpack_f16(x, a, b);
    }
    if ((FEATURES & RAPT_FEAT_ROPE_Q) != 0) /* steps of rows that find Q rotated do not say so */
        rotate_eight(t.seq, token, first, d, a, b);
}

void gate_rows(tokens t, uint first_row, uint first_chunk)
{
    uint lane = gl_LocalInvocationIndex;
    barrier();
    for (uint i = lane; i < ROWS * EIGHTS; i += WG_SIZE) {
        vec4 a, b;
        load_q(t, row_of(t, first_row + i / EIGHTS), i % EIGHTS * 8, a, b);
        q_tile[2 * i] = a;
        q_tile[2 * i + 1] = b;
    }
    for (uint r = lane; r < ROWS; r += WG_SIZE) {
        uint token = row_of(t, first_row + r).token - t.q_row;
        candidates[r] = n_candidates(t.seq, row_position(t.seq, token));
    }
    barrier();
    uint most = 0, last = n_chunks(t.seq);
    [[unroll]] for (uint r = 0; r < ROWS; r++)
        most = max(most, candidates[r]);
    uint stop = push.rapt_sparse_fill != 0 ? push.rapt_sparse_stride : most;
    for (uint c = lane; c < stop; c += WG_SIZE) {
        vec4 sum[ROWS];
        [[unroll]] for (uint r = 0; r < ROWS; r++)
            sum[r] = vec4(0.0);
        uint at = push.work_base + push.rapt_sparse_means + t.kv_head * D * push.rapt_sparse_pitch +
                  first_chunk + c;
        if (c < most)
            for (uint d = 0; d < D / 4; d++) {
                vec4 mean;
                [[unroll]] for (uint i = 0; i < 4; i++) {
                    mean[i] = work_floats[at];
                    at += push.rapt_sparse_pitch;
                }
                [[unroll]] for (uint r = 0; r < ROWS; r++)
                    sum[r] += q_tile[r * (D / 4) + d] * mean;
            }
        [[unroll]] for (uint r = 0; r < ROWS; r++) {
            packed_row row = row_of(t, first_row + r);
            uint to = row.token * header.n_q_heads + row.head - push.rapt_sparse_first_row;
            float gate = sum[r].x + sum[r].y + (sum[r].z + sum[r].w);
            if (first_row + r < t.n_rows && (push.rapt_sparse_fill != 0 || c < candidates[r]))
                scores[push.out_base + to * push.rapt_sparse_stride + c] =
                    c < candidates[r] ? gate : NEG_INF;
        }
    }
}

void main()
{
    uint index = group_index();
    if (index >= push.count)
        return;
    tokens t;
    t.kv_head = index % header.n_kv_heads;
    t.group = header.n_q_heads / header.n_kv_heads;
    t.token = push.rapt_sparse_first_row / header.n_q_heads + index / header.n_kv_heads * TILE_B;
    uint end = min(t.token + TILE_B, header.total_q);
    while (t.token < end) {
        uint b = find_seq(t.token);
        t.seq = seq_word(b);
        t.q_row = step_words[t.seq + SEQ_Q_ROW];
        uint stop = min(end, t.q_row + step_words[t.seq + SEQ_Q_LEN]);
        t.n_rows = (stop - t.token) * t.group;
        for (uint r = 0; r < t.n_rows; r += ROWS)
            gate_rows(t, r, work_words[chunks_before() + b]);
        t.token = stop;
    }
}
