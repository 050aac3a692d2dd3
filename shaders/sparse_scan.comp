#version 450
/* SPDX-License-Identifier: Apache-2.0 */
/* Sums over the sequences of a step, by one workgroup: keys, chunks and query blocks before each of them,
 * and of all. Lane i takes the i-th part of the sequences. */
#extension GL_GOOGLE_include_directive : require
#include "step.glsl"
#include "sparse.glsl"

shared uvec3 sums[WG_SIZE];

uvec3 counts_of(uint b)
{
    uint seq = header.seqs_word + b * RAPT_STEP_SEQ_WORDS;
    uint kv_len = step_words[seq + SEQ_KV_LEN], chunk = push.rapt_sparse_chunk;
    uint shift = push.rapt_sparse_block_q_shift;
    return uvec3(kv_len, (kv_len + chunk - 1) / chunk,
                 (step_words[seq + SEQ_Q_LEN] + (1u << shift) - 1) >> shift);
}

void store(uint b, uvec3 before)
{
    work_words[keys_before() + b] = before.x;
    work_words[chunks_before() + b] = before.y;
    work_words[blocks_before() + b] = before.z;
}

void main()
{
    if (group_index() >= push.count)
        return;
    uint lane = gl_LocalInvocationIndex, n = header.n_seqs, part = (n + WG_SIZE - 1) / WG_SIZE;
    uint first = min(lane * part, n), end = min(first + part, n);
    uvec3 sum = uvec3(0);
    for (uint b = first; b < end; b++)
        sum += counts_of(b);
    sums[lane] = sum;
    barrier();
    sum = uvec3(0);
    for (uint i = 0; i < lane; i++)
        sum += sums[i];
    for (uint b = first; b < end; b++) {
        store(b, sum);
        sum += counts_of(b);
    }
    if (lane == WG_SIZE - 1)
        store(n, sum);
}
