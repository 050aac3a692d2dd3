/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_SELECT_MATRIX2_H
#define RUNTIME_SELECT_MATRIX2_H

/* Tiles of the kernels by VK_NV_cooperative_matrix2 (shaders/tiles2.h), for select.c. Pure. */

#include "select.h"

/* Fills workgroup_size, required_subgroup_size, rows, block_kv, shared_bytes and the tile constants
 * of spec, leaving the rest of the choice alone: for matrices of a workgroup, loaded as tensors, or
 * for those of a subgroup. Returns NULL, or why no tile of them does what is asked: static text. */
const char *rapt_select_tensor_tile(const rapt_caps *caps,
                                    const struct rapt_select_request *request,
                                    struct rapt_kernel_choice *choice);
const char *rapt_select_matrix2_tile(const rapt_caps *caps,
                                     const struct rapt_select_request *request,
                                     struct rapt_kernel_choice *choice);

#endif
