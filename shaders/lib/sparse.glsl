/* SPDX-License-Identifier: Apache-2.0 */
/* What the kernels that select keys share: the workspace with its sums over sequences, which sequence
 * something belongs to, which chunks a query may choose. */

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
uint find_in(uint sums, uint x)
{
    uint low = 0, high = header.n_seqs - 1;
    while (low < high) {
        uint middle = (low + high + 1) >> 1;
        if (work_words[sums + middle] <= x)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}
