/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_SELECT_MATRIX_H
#define RUNTIME_SELECT_MATRIX_H

/* Shapes and tiles of the kernels on matrix units (shaders/tiles.h), for select.c. Pure. */

#include "select.h"

/* Fills workgroup_size, required_subgroup_size, rows, block_kv, shared_bytes and the tile constants
 * of spec, leaving the rest of the choice alone. Returns NULL, or why no tile of them does what is
 * asked: static text. */
const char *rapt_select_matrix_tile(const rapt_caps *caps,
                                    const struct rapt_select_request *request,
                                    struct rapt_kernel_choice *choice);

/* The size subgroups will have: the only one there is, or (out_ask) one to ask for. 0 where neither. */
uint32_t rapt_select_matrix_subgroup(const rapt_caps *caps, int *out_ask);

#endif
