/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SHADERS_TILES2_H
#define SHADERS_TILES2_H

/* What the tile numbers of prefill_*_cm2 and prefill_*_cm2s (lib/matrix2.glsl) cost.
 *
 *   TILE_A  M | N_S << 8: rows of a matrix, keys of a matrix of scores
 *   TILE_B  N_O | K_S << 8: dims of a matrix of output, dims of Q and K that are multiplied at once
 *
 * BLOCK_KV is a multiple of N_S. cm2: M is BLOCK_Q, all multiples of what the device enumerates for WG_SIZE.
 * cm2s: a subgroup for every M rows, and M, N_S = N_O = K_S one of its shapes. */

#include "args.h"

static inline uint32_t rapt_tile_matrix2_shared_bytes(const uint32_t spec[RAPT_N_SPECS],
                                                      uint32_t key_bytes)
{
    uint32_t block_q = spec[RAPT_SPEC_BLOCK_Q], n_s = spec[RAPT_SPEC_TILE_A] >> 8 & 0xff;
    uint32_t n_o = spec[RAPT_SPEC_TILE_B] & 0xff, k_s = spec[RAPT_SPEC_TILE_B] >> 8 & 0xff;
    uint32_t steps = (spec[RAPT_SPEC_HEAD_DIM] + k_s - 1) / k_s;
    uint32_t q = block_q * (steps * k_s / 4 + 2);
    uint32_t out = block_q * ((n_o > n_s ? n_o : n_s) / 4 + 1);
    uint32_t row_bytes = 8 + 8 + 12 + 12; /* factors and tops, interval, what lists say, logits */
    return 8 * q + 16 * out + row_bytes * block_q + key_bytes * spec[RAPT_SPEC_BLOCK_KV] + 64;
}

#endif
