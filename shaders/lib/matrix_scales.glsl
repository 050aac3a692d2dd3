/* SPDX-License-Identifier: Apache-2.0 */
/* One scale of K and one of V for each key of this tile and of the next. For matrix.glsl. */

shared vec4 k_scales[2 * BLOCK_KV / 4], v_scales[2 * BLOCK_KV / 4];
shared uint largest_scale[2]; /* of V's, as bits of a float */

void keep_scales(uint i, uint turn, uvec2 at)
{
    float k = scale_in(k_scale_words[scale_word(at.x)], at.x);
    float v = scale_in(v_scale_words[scale_word(at.y)], at.y);
    uint to = turn * BLOCK_KV + i;
    k_scales[to >> 2][to & 3] = k;
    v_scales[to >> 2][to & 3] = v;
    atomicMax(largest_scale[turn], floatBitsToUint(abs(v)), gl_ScopeWorkgroup, 0, gl_SemanticsRelaxed);
}

/* A power of two none of V's scales exceeds. */
float unit_of_scales(uint turn)
{
    uint power = min(largest_scale[turn] >> 23, 252u) + 1u;
    return uintBitsToFloat(power << 23);
}
