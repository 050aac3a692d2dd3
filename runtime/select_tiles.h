/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_SELECT_TILES_H
#define RUNTIME_SELECT_TILES_H

/* Tiles of the portable attention kernels (shaders/tiles.h), for select.c. Pure. */

#include "select.h"

/* Fills workgroup_size, rows, block_kv, shared_bytes, required_subgroup_size and the tile constants
 * of spec, leaving the rest of the choice alone. Knobs of the request replace what would be chosen;
 * the lanes follow. Errors: ARGUMENT (a knob is too large, or block_kv no multiple of 4),
 * UNSUPPORTED (no tile fits). */
rapt_status rapt_select_tile(const rapt_caps *caps, const struct rapt_select_request *request,
                             int decode, struct rapt_kernel_choice *choice);

/* Tiles in the list behind request->listed. */
uint32_t rapt_select_n_tiles(int decode);

/* What a device gives a lane: registers of 32 bits that a tile may take without spilling; and in
 * decode, which waits for memory and hides that by numbers, those registers and bytes of shared
 * memory with which several subgroups run at once. prefill_registers: likewise, where tiles of 16
 * rows and more have it; 0 = the largest tile that does not spill is best. */
struct rapt_tile_budget {
    uint32_t registers, prefill_registers, decode_registers, decode_shared_bytes;
    uint32_t subgroup_size;         /* to ask for; 0 = any */
    uint32_t matrix_registers;      /* of kernels on matrix units, as select_matrix.c counts them */
    uint32_t matrix_subgroup_size;  /* theirs, to ask for where there are several */
    uint32_t few_rows_shared_bytes; /* of a lane in decode on matrix units; 0 = any */
    /* decode_*_sg with 1, 2, 4 and 8 rows: dims of the output in a lane, 0 = portable tiles are
     * better; keys of a lane group */
    uint8_t lane_dims[4], lane_keys[4];
    uint32_t lane_subgroup_size; /* theirs, to ask for where there are several */
    uint32_t most_lanes_of_a_key;
    uint32_t wide_words;         /* the driver makes wide loads of words at any place */
};
struct rapt_tile_budget rapt_select_budget(const rapt_caps *caps); /* select_budget.c */
/* Keys of one KV head whose K and V half of the device's last cache holds; 0 = CPU drivers. */
uint32_t rapt_select_cache_keys(const rapt_caps *caps, const struct rapt_select_request *request);

/* Keys of a tile that the knobs ask for, 0 = any; shared memory it may take. */
uint32_t rapt_select_keys_asked(const struct rapt_select_request *request);
uint32_t rapt_select_shared_limit(const rapt_caps *caps, const struct rapt_select_request *request);

/* Lanes a workgroup may have, with subgroups of the size to ask for; 0 = any. */
uint32_t rapt_select_most_lanes(const rapt_caps *caps, uint32_t subgroup_size);

/* The sizes of a tile in a choice, as every attention kernel is told them. */
void rapt_select_fill_sizes(const struct rapt_select_request *request, uint32_t lanes,
                            uint32_t rows, uint32_t keys, struct rapt_kernel_choice *choice);
/* Shared memory that a key's place takes. */
uint32_t rapt_select_key_bytes(const struct rapt_select_request *request);

/* Whether a lane of such a tile wants more registers than it is given. */
int rapt_select_tile_spills(const rapt_caps *caps, const struct rapt_kernel_choice *choice,
                            const struct rapt_select_request *request);

#endif
