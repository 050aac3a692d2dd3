/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_SELECT_TILES_H
#define RUNTIME_SELECT_TILES_H

/* Tiles of the portable attention kernels (shaders/tiles.h), for select.c. Pure. */

#include "select.h"

/* Fills workgroup_size, rows, block_kv, shared_bytes and the tile constants of spec, leaving the rest
 * of the choice alone. Knobs of the request replace what would be chosen; the lanes follow. Errors:
 * ARGUMENT (a knob is too large, or block_kv no multiple of 4), UNSUPPORTED (no tile fits). */
rapt_status rapt_select_tile(const rapt_caps *caps, const struct rapt_select_request *request,
                             int decode, struct rapt_kernel_choice *choice);

/* Whether a lane of such a tile wants more registers than compilers like to give. */
int rapt_select_tile_spills(const struct rapt_kernel_choice *choice,
                            const struct rapt_select_request *request);

#endif
