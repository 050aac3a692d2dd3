/* SPDX-License-Identifier: Apache-2.0 */
/* Four consecutive elements of a tensor of any storage type, from a view as vec4 (f32) or as uvec2
 * (f16, bf16) of the same buffer. */
layout(constant_id = RAPT_SPEC_Q_TYPE) const uint Q_TYPE = RAPT_STORE_F32;
layout(constant_id = RAPT_SPEC_OUT_TYPE) const uint OUT_TYPE = RAPT_STORE_F32;
layout(constant_id = RAPT_SPEC_TILE_B) const uint KV_TYPE = RAPT_STORE_F32;

vec4 quad_of(uvec2 bits, uint type)
{
    if (type == RAPT_STORE_BF16)
        return uintBitsToFloat(uvec4(bits.x << 16, bits.x & 0xffff0000u, bits.y << 16,
                                     bits.y & 0xffff0000u));
    return vec4(unpackHalf2x16(bits.x), unpackHalf2x16(bits.y));
}

#define LOAD_QUAD(name, element, type) \
    ((type) == RAPT_STORE_F32 ? name##_quads[(element) / 4] : quad_of(name##_pairs[(element) / 4], type))
