/* SPDX-License-Identifier: Apache-2.0 */
/* What the kernels that select keys share: the workspace with its sums over sequences, which sequence
 * something belongs to, which chunks a query may choose. */

#include "search.glsl"

layout(set = 0, binding = RAPT_BIND_WORK, std430) buffer WorkWords { uint work_words[]; };
layout(set = 0, binding = RAPT_BIND_WORK, std430) buffer WorkFloats { float work_floats[]; };

/* word offsets in the workspace */
uint keys_before()
{
    return push.work_base;
}

uint chunks_before()
{
    return push.work_base + header.n_seqs + 1;
}

uint blocks_before()
{
    return push.work_base + 2 * (header.n_seqs + 1);
}

/* The last sequence whose sum is at most x: the one x lies in, as others with this sum are empty. */
#define SUM_BEFORE(b) work_words[sums + (b)]
uint find_in(uint sums, uint x)
{
    FIND_LAST(found, header.n_seqs, SUM_BEFORE, x)
    return found;
}
