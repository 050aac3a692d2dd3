#version 450
/* SPDX-License-Identifier: Apache-2.0 */
/* Prefill on matrix units: VK_KHR_cooperative_matrix, f16 in, f32 sums. */
#extension GL_GOOGLE_include_directive : require
#define COOPMAT
#include "matrix.glsl"
