#version 450
/* SPDX-License-Identifier: Apache-2.0 */
/* Split-KV decode on any device: the few packed rows of a KV head (the heads of a GQA group side by
 * side, times the tokens of a speculative step) share every load of K and V. The same code as prefill
 * with other tiles: TX spans all lanes or most of them, slices are large so that many loads are on
 * their way at once. */
#extension GL_GOOGLE_include_directive : require
#include "tiled.glsl"
