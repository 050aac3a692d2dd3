/* SPDX-License-Identifier: Apache-2.0 */
/* Sums over the lanes of a workgroup. */

shared uvec2 lane_sums[WG_SIZE];

/* What the lanes before this one hold, and all. Every lane must come. */
uvec2 sum_before(uvec2 own, out uvec2 all)
{
    uint lane = gl_LocalInvocationIndex;
    barrier();
    lane_sums[lane] = own;
    barrier();
    for (uint step = 1; step < WG_SIZE; step *= 2) {
        uvec2 other = lane >= step ? lane_sums[lane - step] : uvec2(0);
        barrier();
        lane_sums[lane] += other;
        barrier();
    }
    all = lane_sums[WG_SIZE - 1];
    return lane_sums[lane] - own;
}
