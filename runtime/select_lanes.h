/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_SELECT_LANES_H
#define RUNTIME_SELECT_LANES_H

/* Tiles of decode_*_sg (shaders/lib/key_lanes.glsl), for select.c. Pure. */

#include "select.h"
#include "select_tuned.h"

/* Most packed rows of a tile. */
#define RAPT_LANES_MOST_ROWS 8u

/* Fills what rapt_select_tile fills, and the size of subgroups. NULL, or why there is no tile; it
 * does not ask whether portable tiles are better (rapt_select_lanes_reason). */
const char *rapt_select_lanes_tile(const rapt_caps *caps, const struct rapt_select_request *request,
                                   struct rapt_kernel_choice *choice);

/* Why decode is better left to portable rows on this device; NULL if it is not. */
const char *rapt_select_lanes_reason(const rapt_caps *caps,
                                     const struct rapt_select_request *request);

/* Tiles in the list behind request->listed. */
uint32_t rapt_select_n_lanes_tiles(void);

#endif
