/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_SELECT_MATRIX_H
#define RUNTIME_SELECT_MATRIX_H

/* Shapes and tiles of the kernels on matrix units (shaders/tiles.h), for select.c. Pure. */

#include "select.h"
#include "select_tuned.h"

/* VkComponentTypeKHR */
#define COMPONENT_F16 0u
#define COMPONENT_F32 1u

/* Fills workgroup_size, required_subgroup_size, rows, block_kv, shared_bytes and the tile constants
 * of spec, leaving the rest of the choice alone. Returns NULL, or why no tile of them does what is
 * asked: static text. */
const char *rapt_select_matrix_tile(const rapt_caps *caps,
                                    const struct rapt_select_request *request,
                                    struct rapt_kernel_choice *choice);

/* The same for decode_*_cm: the same kernel with tiles of 16 rows, or 8. It waits for K and V
 * rather than for products, so lanes, whose loads are on their way at once, come before work for
 * each of them. */
const char *rapt_select_few_rows_tile(const rapt_caps *caps,
                                      const struct rapt_select_request *request,
                                      struct rapt_kernel_choice *choice);

/* Tiles of both that are worth measuring, of at most so many rows. */
void rapt_select_matrix_candidates(const rapt_caps *caps, uint32_t most_rows,
                                   struct rapt_tile_source *source);

/* The size subgroups will have: the only one there is, or (out_ask) one to ask for. 0 where
 * neither. */
uint32_t rapt_select_matrix_subgroup(const rapt_caps *caps, int *out_ask);

/* Lanes a workgroup of such subgroups may have. */
uint32_t rapt_select_matrix_lanes(const rapt_caps *caps, uint32_t subgroup);

/* Whether a subgroup has matrices of f16 with sums of f32 in this shape. */
int rapt_select_has_matrix(const rapt_caps *caps, uint32_t m, uint32_t n, uint32_t k);

#endif
