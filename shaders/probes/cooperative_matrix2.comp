// needs: GL_NV_cooperative_matrix2
// options: --target-env=vulkan1.3
/* SPDX-License-Identifier: Apache-2.0 */
#version 450
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_NV_cooperative_matrix2 : require
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
layout(local_size_x = 128) in;
layout(set = 0, binding = 0, std430) buffer Floats { float floats[]; };
layout(set = 0, binding = 1, std430) readonly buffer Words { uint words[]; };
layout(buffer_reference, std430, buffer_reference_align = 4) readonly buffer Stored { uint word; };

float16_t decode(const in Stored at, const in uint block[2], const in uint inside[2])
{
    return float16_t(words[block[0] + block[1]]);
}

float twice(const in uint row, const in uint col, const in float x)
{
    return x + x;
}

float sum(const in float a, const in float b)
{
    return a + b;
}

void main()
{
    coopmat<float, gl_ScopeWorkgroup, 64, 64, gl_MatrixUseAccumulator> c, rows;
    coopmat<float16_t, gl_ScopeWorkgroup, 64, 64, gl_MatrixUseB> b;
    c = coopmat<float, gl_ScopeWorkgroup, 64, 64, gl_MatrixUseAccumulator>(1.0);
    tensorLayoutNV<2, gl_CooperativeMatrixClampModeConstantNV> at =
        createTensorLayoutNV(2, gl_CooperativeMatrixClampModeConstantNV);
    at = setTensorLayoutDimensionNV(at, 64, 64);
    coopMatLoadTensorNV(b, words, 0, at, createTensorViewNV(2, false, 1, 0), decode);
    coopMatPerElementNV(c, c, twice);
    coopMatReduceNV(rows, c, gl_CooperativeMatrixReduceRowNV, sum);
    c = coopMatMulAdd(coopmat<float16_t, gl_ScopeWorkgroup, 64, 64, gl_MatrixUseA>(rows), b, c);
    coopMatStore(c, floats, 0, 64, gl_CooperativeMatrixLayoutRowMajor);
}
