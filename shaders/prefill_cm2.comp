#version 450
/* SPDX-License-Identifier: Apache-2.0 */
/* Prefill on matrix units by VK_NV_cooperative_matrix2. TENSOR: matrices of a whole workgroup, loaded through
 * tensor layouts; else those of a subgroup, filled element by element. */
#extension GL_GOOGLE_include_directive : require
#define COOPMAT
#include "matrix2.glsl"
