#version 450
/* SPDX-License-Identifier: Apache-2.0 */
/* Decode of eight packed rows and more on matrix units (large GQA groups, speculative tokens): the same
 * code as prefill with tiles of few rows. All subgroups of a workgroup share the rows; each has columns
 * of the scores and of the output to itself. */
#extension GL_GOOGLE_include_directive : require
#define COOPMAT
#include "matrix.glsl"
