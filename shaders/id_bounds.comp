#version 450
/* SPDX-License-Identifier: Apache-2.0 */
/* The least and the largest segment id of every block of keys: most blocks need no more than that. A lane
 * takes a block. */
#extension GL_GOOGLE_include_directive : require
#include "step.glsl"
#include "sparse.glsl"
#include "sparse_rows.glsl"

layout(set = 0, binding = RAPT_BIND_K, std430) readonly buffer IdsKv { int ids_kv[]; };

void main()
{
    uint index = group_index();
    if (index >= push.count)
        return;
    uint block = index * WG_SIZE + gl_LocalInvocationIndex;
    uint n_blocks = work_words[chunks_before() + header.n_seqs];
    if (block >= n_blocks)
        return;
    uint b = find_in(chunks_before(), block);
    uint first = (block - work_words[chunks_before() + b]) * push.rapt_sparse_chunk;
    uint n = min(push.rapt_sparse_chunk, step_words[seq_word(b) + SEQ_KV_LEN] - first);
    uint key = push.k_base + work_words[keys_before() + b] + first;
    int least = ids_kv[key], most = least;
    for (uint i = 1; i < n; i++) {
        int id = ids_kv[key + i];
        least = min(least, id);
        most = max(most, id);
    }
    work_words[push.rapt_sparse_means + 2 * block] = uint(least);
    work_words[push.rapt_sparse_means + 2 * block + 1] = uint(most);
}
