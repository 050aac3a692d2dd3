/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_TILE_TABLE_H
#define RUNTIME_TILE_TABLE_H

/* Lookups in tables of measured tiles (rapt/tiles.h), and the one in the library. */

#include <rapt/tiles.h>

/* The numbers for a kernel and shape, NULL if the table has none. */
const uint32_t *rapt_tiles_find(const rapt_tiles *tiles, const char *kernel, uint32_t head_dim,
                                uint32_t head_dim_v, uint32_t group);
/* The same in the table that comes with the library, for this device's driver. */
const uint32_t *rapt_tiles_shipped(const rapt_caps *caps, const char *kernel, uint32_t head_dim,
                                   uint32_t head_dim_v, uint32_t group);

#endif
