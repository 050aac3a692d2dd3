// needs: GL_KHR_cooperative_matrix
#version 450
/* SPDX-License-Identifier: Apache-2.0 */
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
layout(local_size_x = 32) in;
layout(constant_id = 0) const uint SHAPE = 0x101010;
const uint M = SHAPE & 0xff, N = SHAPE >> 8 & 0xff, K = SHAPE >> 16;
layout(set = 0, binding = 0, std430) buffer Floats { float floats[]; };
shared f16vec4 tile[256];

void main()
{
    coopmat<float16_t, gl_ScopeSubgroup, M, K, gl_MatrixUseA> a;
    coopmat<float16_t, gl_ScopeSubgroup, K, N, gl_MatrixUseB> b;
    coopmat<float, gl_ScopeSubgroup, M, N, gl_MatrixUseAccumulator> c =
        coopmat<float, gl_ScopeSubgroup, M, N, gl_MatrixUseAccumulator>(0.0);
    coopMatLoad(a, tile, 0, 4, gl_CooperativeMatrixLayoutRowMajor);
    coopMatLoad(b, tile, 0, 4, gl_CooperativeMatrixLayoutColumnMajor);
    c = coopMatMulAdd(a, b, c * c);
    coopMatStore(c, floats, 0, 16, gl_CooperativeMatrixLayoutRowMajor);
}
