#version 450
/* SPDX-License-Identifier: Apache-2.0 */
/* Split-KV decode of few packed rows where subgroups exchange values: K and V go from memory to
 * registers, and no lane waits for another subgroup before the end. */
#extension GL_GOOGLE_include_directive : require
#include "key_lanes.glsl"
