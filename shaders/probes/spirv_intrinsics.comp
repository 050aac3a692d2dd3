// needs: GL_EXT_spirv_intrinsics
#version 450
/* SPDX-License-Identifier: Apache-2.0 */
#extension GL_EXT_spirv_intrinsics : require
layout(local_size_x = 1) in;
layout(set = 0, binding = 0, std430) buffer Words { uint words[]; };

spirv_instruction(extensions = ["SPV_KHR_integer_dot_product"], capabilities = [6018, 6019], id = 4450)
int packed_dot(uint a, uint b, spirv_literal int format);

void main()
{
    words[0] = uint(packed_dot(words[0], words[1], 0));
}
