/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RAPT_TILES_H
#define RAPT_TILES_H

/* Tables of tiles that were measured on a device. Which tile of a kernel is fastest follows from
 * rules that guess; a table overrides them, kernel by kernel and shape by shape. `rapt tune` makes
 * one (docs/tuning.md), rapt_plan_params.tiles takes it; the easy tier loads the user's by itself.
 *
 * A table can make a plan slower, never wrong: its numbers only name one of the candidates that
 * the library itself would offer for the plan, and one that names none of them is not used. */

#include <rapt/attention.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What a table says of one kernel and shape. */
typedef struct rapt_tile {
    size_t struct_size;
    char kernel[64]; /* rapt_plan_info.prefill_kernel, decode_kernel or few_rows_kernel */
    uint32_t head_dim, head_dim_v;
    uint32_t
        group; /* of a decode kernel: query heads packed side by side (head_group); of others 0 */
    uint32_t numbers[RAPT_TILE_NUMBERS]; /* as rapt_plan_info tells them; all 0 = none */
} rapt_tile;

/* An empty table for a device and its driver. Errors: ARGUMENT, HOST_MEMORY. */
RAPT_API rapt_status rapt_tiles_create(const rapt_allocator *allocator, const rapt_caps *caps,
                                       rapt_tiles **out_tiles);
/* Reads what rapt_tiles_write wrote. Errors: ARGUMENT (damaged, of another device, driver or
 * version of the library, another format: says which), HOST_MEMORY. */
RAPT_API rapt_status rapt_tiles_read(const rapt_allocator *allocator, const rapt_caps *caps,
                                     const void *text, size_t n_bytes, rapt_tiles **out_tiles);
/* Lines of ASCII with a checksum, the same bytes for the same entries. With text NULL only the size
 * is returned. Errors: ARGUMENT, CAPACITY (*inout_bytes is too small and becomes what is needed).
 */
RAPT_API rapt_status rapt_tiles_write(const rapt_tiles *tiles, void *text, size_t *inout_bytes);
RAPT_API void rapt_tiles_destroy(rapt_tiles **tiles);

/* Adds an entry, or replaces the one of the same kernel and shape; numbers that are all 0 remove
 * it. Errors: ARGUMENT (no such kernel), CAPACITY (more than 4096), HOST_MEMORY. */
RAPT_API rapt_status rapt_tiles_put(rapt_tiles *tiles, const rapt_tile *tile);
RAPT_API uint32_t rapt_tiles_count(const rapt_tiles *tiles);
/* Sorted by kernel and shape. Errors: ARGUMENT (no such index). */
RAPT_API rapt_status rapt_tiles_get(const rapt_tiles *tiles, uint32_t index, rapt_tile *out_tile);

/* Thread-safety: any number of threads may read a table at once, by rapt_plan_create too, while
 * none changes it. */

#ifdef __cplusplus
}
#endif

#endif
