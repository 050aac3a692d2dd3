#version 450
/* SPDX-License-Identifier: Apache-2.0 */
/* The k largest scores of each row, exactly; of equal ones those of the lower indices. A workgroup takes a
 * row: four passes over it find the k-th largest by the digits of its ordered bits (radix select), a fifth
 * counts what every lane's part of the row holds, the last writes the indices in ascending order.
 *
 * TILE_A says what a row is (SELECT_*), TILE_B whether it has a count. NaN is less than anything, -0
 * equals 0. */
#extension GL_GOOGLE_include_directive : require
#include "step.glsl"
#include "sparse_rows.glsl"
#include "scan.glsl"
#include "order.glsl"

layout(set = 0, binding = RAPT_BIND_OUT, std430) readonly buffer Scores { float scores[]; };
layout(set = 0, binding = RAPT_BIND_BLOCKS, std430) writeonly buffer Lists { uint lists[]; };
layout(set = 0, binding = RAPT_BIND_COUNTS, std430) writeonly buffer Counts { uint counts[]; };

const uint NO_INDEX = 0xffffffffu;
const uint BINS = 256;

shared uint bins[BINS];
shared uint shared_digit, shared_above;

/* What a row may choose: indices [first, first + n); one of them, if any, is chosen in any case. */
struct candidates_of_row {
    uint first, n, forced;
};

candidates_of_row find_candidates(uint row)
{
    bool chunks = TILE_A == RAPT_SELECT_CHUNKS;
    uint token = chunks ? row / header.n_q_heads : row;
    uint seq = seq_word(find_seq(token));
    int position = row_position(seq, token - step_words[seq + SEQ_Q_ROW]);
    if (chunks) {
        int own = chunk_of(seq, position);
        uint n = n_candidates(seq, position);
        return candidates_of_row(0, n, own >= 0 && uint(own) < n ? uint(own) : NO_INDEX);
    }
    ivec2 keys = row_keys(seq, position, 0, step_words[seq + SEQ_KV_LEN]);
    return candidates_of_row(uint(max(keys.x, 0)), keys.x <= keys.y ? uint(keys.y - keys.x) + 1 : 0,
                             NO_INDEX);
}

candidates_of_row row_candidates;
uint row_scores;

uint order_at(uint i)
{
    return i == row_candidates.forced ? 0xffffffffu : order_of(scores[row_scores + i]);
}

/* The digit of the k-th largest among the scores counted in the bins; k becomes its rank among those with
 * this digit. Lane 0 has the highest bins. */
uint find_digit(inout uint k)
{
    uint part = (BINS + WG_SIZE - 1) / WG_SIZE, lane = gl_LocalInvocationIndex, own = 0;
    uint from = min(lane * part, BINS), to = min(from + part, BINS);
    for (uint i = from; i < to; i++)
        own += bins[BINS - 1 - i];
    uvec2 all;
    uint above = sum_before(uvec2(own, 0), all).x;
    if (above < k && k <= above + own)
        for (uint i = from; i < to; i++) {
            uint n = bins[BINS - 1 - i];
            if (above < k && k <= above + n) {
                shared_digit = BINS - 1 - i;
                shared_above = above;
            }
            above += n;
        }
    barrier();
    k -= shared_above;
    return shared_digit;
}

/* The k-th largest's order; k becomes its rank among the scores equal to it. */
uint find_kth(uint n, inout uint k)
{
    uint lane = gl_LocalInvocationIndex, found = 0;
    for (int shift = 24; shift >= 0; shift -= 8) {
        barrier();
        for (uint i = lane; i < BINS; i += WG_SIZE)
            bins[i] = 0;
        barrier();
        uint mask = shift == 24 ? 0 : 0xffffffffu << (shift + 8);
        for (uint i = lane; i < n; i += WG_SIZE) {
            uint order = order_at(row_candidates.first + i);
            if (((order ^ found) & mask) == 0)
                atomicAdd(bins[(order >> shift) & 0xffu], 1);
        }
        barrier();
        found |= find_digit(k) << shift;
    }
    return found;
}

void main()
{
    uint group = group_index();
    if (group >= push.count)
        return;
    uint row = push.rapt_sparse_first_row + group, lane = gl_LocalInvocationIndex;
    row_candidates = find_candidates(row);
    row_scores = push.out_base + group * push.rapt_sparse_stride;
    uint n = row_candidates.n, k = min(push.rapt_sparse_top_k, n), order = 0, n_equal = n;
    if (k < n) {
        n_equal = k;
        order = find_kth(n, n_equal);
    }
    /* Lane i writes what the i-th part of the row has: larger ones, and the first n_equal equal ones. */
    uint part = (n + WG_SIZE - 1) / WG_SIZE;
    uint begin = row_candidates.first + min(lane * part, n);
    uint end = row_candidates.first + min(lane * part + part, n);
    uvec2 own = uvec2(0), all;
    for (uint i = begin; i < end; i++) {
        uint x = order_at(i);
        own += uvec2(x > order, x == order);
    }
    uvec2 before = sum_before(own, all);
    uint list = push.rapt_sparse_lists_base + row * push.rapt_sparse_top_k;
    for (uint i = begin; i < end; i++) {
        uint x = order_at(i);
        if (x > order || (x == order && before.y < n_equal))
            lists[list + before.x + min(before.y, n_equal)] = i;
        before += uvec2(x > order, x == order);
    }
    for (uint i = k + lane; i < push.rapt_sparse_top_k; i += WG_SIZE)
        lists[list + i] = NO_INDEX;
    if (TILE_B != 0 && lane == 0)
        counts[push.rapt_sparse_counts_base + row] = k;
}
