/* SPDX-License-Identifier: Apache-2.0 */
/* Which blocks of a list are chosen by their scores: those above a threshold, and the first few of those at
 * it. A number of blocks is a mass in which every block weighs 1, so that one search by the digits of the
 * scores' order serves both. After block_rows.glsl and scan.glsl. */
#include "mass.glsl"

layout(set = 0, binding = RAPT_BIND_OUT, std430) readonly buffer Scores { float scores[]; };

const uint BINS = 256, KEPT = 0xffffffffu; /* above every score */

shared uint bin_high[BINS], bin_low[BINS]; /* sums of the weights' halves */
shared uint shared_top, shared_digit;
shared uvec2 shared_above;

uint chosen_threshold, chosen_n_equal, chosen_top;
uvec2 chosen_reach;

bool by_number()
{
    return push.rapt_blocks_share == 0;
}

float score_at(uint block)
{
    return scores[push.out_base + at.list * push.rapt_sparse_stride + block];
}

bool may_choose(uint block)
{
    return !at.gaps || closed_kind(block) != BLOCK_EMPTY;
}

uint order_at(uint block)
{
    bool kept = block - chosen_reach.x < push.rapt_blocks_keep_first ||
                chosen_reach.y - 1 - block < push.rapt_blocks_keep_last;
    return kept ? KEPT : order_of(score_at(block));
}

uint weight_at(uint block)
{
    if (by_number())
        return 1;
    return weight_in_row(score_at(block), chosen_top, push.rapt_blocks_softmax != 0);
}

/* The largest score's order into chosen_top, then the sum of all weights. */
uvec2 weigh_all()
{
    uint lane = gl_LocalInvocationIndex;
    barrier();
    if (lane == 0)
        shared_top = 0;
    barrier();
    if (!by_number())
        for (uint i = chosen_reach.x + lane; i < chosen_reach.y; i += WG_SIZE)
            if (may_choose(i))
                atomicMax(shared_top, order_of(score_at(i)));
    barrier();
    chosen_top = shared_top;
    uvec2 own = uvec2(0), all;
    for (uint i = chosen_reach.x + lane; i < chosen_reach.y; i += WG_SIZE)
        if (may_choose(i)) {
            uint weight = weight_at(i);
            own += uvec2(weight >> 16, weight & 0xffffu);
        }
    sum_before(own, all);
    return whole(all);
}

/* The digit at which the sum of the bins, from the highest on, comes to `need`, of which what lies above it
 * is then taken off. Lane 0 has the highest bins. */
uint find_digit(inout uvec2 need)
{
    uint part = (BINS + WG_SIZE - 1) / WG_SIZE, lane = gl_LocalInvocationIndex;
    uint from = min(lane * part, BINS), to = min(from + part, BINS);
    uvec2 own = uvec2(0), all;
    for (uint i = from; i < to; i++)
        own += uvec2(bin_high[BINS - 1 - i], bin_low[BINS - 1 - i]);
    uvec2 above = sum_before(own, all);
    if (less(whole(above), need) && !less(whole(above + own), need))
        for (uint i = from; i < to; i++) {
            uvec2 bin = uvec2(bin_high[BINS - 1 - i], bin_low[BINS - 1 - i]);
            if (less(whole(above), need) && !less(whole(above + bin), need)) {
                shared_digit = BINS - 1 - i;
                shared_above = whole(above);
            }
            above += bin;
        }
    barrier();
    need = minus(need, shared_above);
    return shared_digit;
}

/* The order at which the blocks above and at it come to `need`; what those at it must give. */
uint find_threshold(inout uvec2 need)
{
    uint lane = gl_LocalInvocationIndex, found = 0;
    for (int shift = 24; shift >= 0; shift -= 8) {
        barrier();
        for (uint i = lane; i < BINS; i += WG_SIZE)
            bin_high[i] = bin_low[i] = 0;
        barrier();
        uint mask = shift == 24 ? 0 : 0xffffffffu << (shift + 8);
        for (uint i = chosen_reach.x + lane; i < chosen_reach.y; i += WG_SIZE) {
            uint order = order_at(i), weight;
            if (((order ^ found) & mask) != 0 || !may_choose(i))
                continue;
            weight = weight_at(i);
            atomicAdd(bin_high[(order >> shift) & 0xffu], weight >> 16);
            atomicAdd(bin_low[(order >> shift) & 0xffu], weight & 0xffffu);
        }
        barrier();
        found |= find_digit(need) << shift;
    }
    return found;
}

/* Every lane must come. */
void choose_blocks()
{
    chosen_reach = blocks_in_reach();
    chosen_threshold = 0;
    chosen_n_equal = at.n_blocks;
    uvec2 all = weigh_all();
    if (all == uvec2(0)) /* no score says anything: all of them */
        return;
    uvec2 need = by_number() ? uvec2(0, push.rapt_sparse_top_k) : share_of(all, push.rapt_blocks_share);
    if (less(all, need))
        need = all;
    chosen_threshold = find_threshold(need);
    if (chosen_threshold == KEPT)
        return;
    uint bits = (chosen_threshold >> 31) != 0 ? chosen_threshold & 0x7fffffffu : ~chosen_threshold;
    uint weight = 1, low = 1;
    if (!by_number())
        weight =
            weight_in_row(uintBitsToFloat(bits), chosen_top, push.rapt_blocks_softmax != 0);
    while (low < chosen_n_equal) {
        uint middle = (low + chosen_n_equal) >> 1;
        if (less(product(middle, weight), need))
            low = middle + 1;
        else
            chosen_n_equal = middle;
    }
}
