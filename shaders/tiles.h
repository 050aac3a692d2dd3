/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SHADERS_TILES_H
#define SHADERS_TILES_H

/* What the tile numbers of prefill_*_pt and decode_*_pt cost. Both are lib/tiled.glsl, whose head
 * says how they are used: a workgroup is a grid of TX x TY lanes, TY = WG_SIZE / TX.
 *
 *   TILE_A  dims per slice of Q and K in shared memory, a multiple of 8
 *   TILE_B  TX, lanes side by side over keys (scores) and dims (output), a power of two, at least 4
 *   TILE_C  keys per slice of V in shared memory, a multiple of 4 that divides BLOCK_KV
 *   TILE_D  1 = the whole Q tile stays in shared memory, 0 = its slices are read again
 *
 * BLOCK_Q is a multiple of TY, BLOCK_KV of TX and of 4. A lane holds BLOCK_Q / TY rows times
 * BLOCK_KV / TX keys of the scores and twice BLOCK_Q / TY rows times 4 * ceil(DV / (4 TX)) dims of
 * the output in registers. */

#include "args.h"

static inline uint32_t rapt_tile_lane_dims(uint32_t head_dim_v, uint32_t tx)
{
    return 4 * ((head_dim_v + 4 * tx - 1) / (4 * tx));
}

/* What a key takes besides its row, of this tile and of the next: where it lies, where its scales lie,
 * its piece of the pool. */
static inline uint32_t rapt_tile_key_bytes(int scales, int pieces)
{
    return 16u + (scales ? 16u : 0) + (pieces ? 8u : 0);
}

/* Bytes of shared memory a pipeline with these specialization constants takes. */
static inline uint32_t rapt_tile_shared_bytes(const uint32_t spec[RAPT_N_SPECS], uint32_t key_bytes)
{
    uint32_t d = spec[RAPT_SPEC_HEAD_DIM], dv = spec[RAPT_SPEC_HEAD_DIM_V];
    uint32_t block_q = spec[RAPT_SPEC_BLOCK_Q], block_kv = spec[RAPT_SPEC_BLOCK_KV];
    uint32_t slice = spec[RAPT_SPEC_TILE_A], tx = spec[RAPT_SPEC_TILE_B];
    uint32_t whole_q = spec[RAPT_SPEC_TILE_D];
    uint32_t scores = (slice / 4 + 1) * (block_kv + (1 - whole_q) * block_q);
    uint32_t weights = block_q * (block_kv / 4 + 1);
    uint32_t q = 1 + whole_q * block_q * ((d + slice - 1) / slice * (slice / 4) + 1);
    uint32_t v = spec[RAPT_SPEC_TILE_C] * tx * (rapt_tile_lane_dims(dv, tx) / 4);
    uint32_t vec4s = (scores > weights ? scores : weights) + q + v + block_q * tx / 4;
    return 16 * vec4s + key_bytes * block_kv + 8 * block_q + 8;
}

/* The same where keys are multiplied in integers (lib/tile_dot.glsl): TILE_A is 32, TILE_D 1. */
static inline uint32_t rapt_tile_dot_shared_bytes(const uint32_t spec[RAPT_N_SPECS],
                                                  uint32_t key_bytes)
{
    uint32_t slices = spec[RAPT_SPEC_HEAD_DIM] / 32, dv = spec[RAPT_SPEC_HEAD_DIM_V];
    uint32_t block_q = spec[RAPT_SPEC_BLOCK_Q], block_kv = spec[RAPT_SPEC_BLOCK_KV];
    uint32_t tx = spec[RAPT_SPEC_TILE_B];
    uint32_t weights = block_q * (block_kv / 4 + 1);
    uint32_t codes = 3 * block_kv + block_q * (2 * slices + 1);
    uint32_t v = spec[RAPT_SPEC_TILE_C] * tx * (rapt_tile_lane_dims(dv, tx) / 4);
    uint32_t vec4s = weights + codes + v + block_q * tx / 4;
    return 16 * vec4s + (key_bytes + 4) * block_kv + 4 * block_q * slices + 8 * block_q + 8;
}

/* decode_*_sg (lib/key_lanes.glsl): a workgroup is whole subgroups of SUBGROUP lanes.
 *
 *   TILE_A  keys a lane group takes at a time, a power of two up to 16; in pages, at most a page
 *   TILE_B  lanes that share a key, a power of two, at least 4
 *   TILE_C  1 = the driver makes wide loads of words, 0 = vectors where rows are aligned
 *
 * BLOCK_Q is a power of two up to 8, BLOCK_Q * TILE_A at least 4, BLOCK_KV WG_SIZE / TILE_B * TILE_A. A lane
 * holds BLOCK_Q rows times DV / TILE_B dims of the output, and fetches eight at a time. */
static inline uint32_t rapt_tile_group_dims(uint32_t dims, uint32_t lanes)
{
    return (dims + lanes * 8 - 1) / (lanes * 8) * 8;
}

static inline uint32_t rapt_tile_lanes_shared_bytes(const uint32_t spec[RAPT_N_SPECS])
{
    uint32_t lanes = spec[RAPT_SPEC_TILE_B], block_q = spec[RAPT_SPEC_BLOCK_Q];
    uint32_t subgroups = spec[RAPT_SPEC_WG_SIZE] / spec[RAPT_SPEC_SUBGROUP];
    uint32_t q = lanes * rapt_tile_group_dims(spec[RAPT_SPEC_HEAD_DIM], lanes);
    uint32_t out = lanes * rapt_tile_group_dims(spec[RAPT_SPEC_HEAD_DIM_V], lanes);
    return 4 * block_q * (q + subgroups * (out + 2));
}

/* prefill_*_cm (lib/matrix.glsl): a workgroup is BLOCK_Q / (STRIPS * M) groups of COLUMNS subgroups.
 *
 *   TILE_A  the shape of the matrices: M | N << 8 | K << 16
 *   TILE_B  STRIPS | COLUMNS << 8: rows of matrices a group owns, subgroups that share their columns
 *   TILE_C  dims per slice of K and V, a multiple of COLUMNS * N and of K; of 32 where K is multiplied
 *           by scales of blocks (blocked)
 *   TILE_D  1 = lean: room for one slice instead of two; where COLUMNS * N is more than BLOCK_KV, that
 *           many parts of the subgroups share dims of K, and SLICE is a multiple of K for each of them
 *           (blocked: of 32, or a part of it)
 *
 * BLOCK_KV is a multiple of K and N, of COLUMNS * N or a part of it, and a multiple of four times the lanes
 * that share a row in the softmax: SUBGROUP / (STRIPS * M / COLUMNS), at least 1, at most a lane per four
 * keys. */
static inline uint32_t rapt_tile_matrix_shared_bytes(const uint32_t spec[RAPT_N_SPECS],
                                                     uint32_t key_bytes, int blocked)
{
    uint32_t block_q = spec[RAPT_SPEC_BLOCK_Q], block_kv = spec[RAPT_SPEC_BLOCK_KV];
    uint32_t slice = spec[RAPT_SPEC_TILE_C], halves = spec[RAPT_SPEC_TILE_D] ? 1 : 2;
    uint32_t columns = (spec[RAPT_SPEC_TILE_B] >> 8) * (spec[RAPT_SPEC_TILE_A] >> 8 & 0xff);
    uint32_t width = block_kv > columns ? block_kv : columns;
    uint32_t k_slices = (spec[RAPT_SPEC_HEAD_DIM] + slice - 1) / slice;
    uint32_t q = block_q * (k_slices * slice / 4 + 2), stage = halves * block_kv * (slice / 4 + 2);
    uint32_t scores = block_q * (width / 4 + 1), weights = block_q * (block_kv / 4 + 2);
    uint32_t factors = blocked ? 4 * halves * (slice / 32) * block_kv : 0;
    return 8 * (q + stage + weights) + 16 * scores + 4 * block_q + key_bytes * block_kv +
           8 * block_q + factors + 24;
}

#endif
