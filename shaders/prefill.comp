#version 450
/* SPDX-License-Identifier: Apache-2.0 */
/* Prefill on any device: tiles of many packed rows, math in f32. */
#extension GL_GOOGLE_include_directive : require
#include "tiled.glsl"
