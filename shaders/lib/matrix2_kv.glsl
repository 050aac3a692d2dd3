/* SPDX-License-Identifier: Apache-2.0 */
/* K and V as matrices, for matrix2.glsl: one function gives an element of a tile's keys wherever they lie,
 * whatever they are stored as. Tensor loads call it for every element (a decode function); without them it
 * fills matrices. Only f16 in rows that lie at equal distances on 16 bytes is loaded as it is. */

/* Powers of two that bring a tile's K and V below 2^15, where f16 would not hold them as they are; and
 * the largest, as bits of a float. */
shared float scale_k, scale_v;
shared uint largest[3];

#if KV_TYPE == RAPT_STORE_F16 || KV_TYPE == RAPT_STORE_BF16

uint half_of(uint word, uint i)
{
    return (i & 1u) == 0u ? word & 0xffffu : word >> 16;
}

/* Dim d of a row, its scale included. */
#if KV_TYPE == RAPT_STORE_F16
#define VALUE_OF(words, scale_words, row, scales, d) \
    unpackHalf2x16(half_of(words[(row) + (d) >> 1], (row) + (d))).x
#else
#define VALUE_OF(words, scale_words, row, scales, d) \
    uintBitsToFloat(half_of(words[(row) + (d) >> 1], (row) + (d)) << 16)
#endif
#else
#include "matrix2_codes.glsl"
#endif

#if HAS_SCALES
#define K_SCALES k_scale_words
#define V_SCALES v_scale_words
#define SCALES_AT(key) scale_at[key]
#else
#define K_SCALES k_words /* none */
#define V_SCALES v_words
#define SCALES_AT(key) uvec2(0)
#endif

/* Of a tile's key, times the tile's power of two. */
float16_t key_element(uint key, uint d)
{
    float x = VALUE_OF(k_words, K_SCALES, key_at[key].x, SCALES_AT(key).x, d);
    return float16_t(SCALED ? x * scale_k : x);
}

float16_t value_element(uint key, uint d)
{
    float x = VALUE_OF(v_words, V_SCALES, key_at[key].y, SCALES_AT(key).y, d);
    return float16_t(SCALED ? x * scale_v : x);
}

/* ---- powers of two */

uint larger_pair(uint most, uint pair)
{
    return max(most, max(pair << 16 & 0x7fff0000u, pair & 0x7fff0000u));
}

void note_largest(uint slot, uint bits)
{
    bits = subgroupMax(bits);
    if (subgroupElect())
        atomicMax(largest[slot], bits, gl_ScopeWorkgroup, 0, gl_SemanticsRelaxed);
}

/* What numbers of at most this magnitude are to be multiplied with, and what undoes it. */
float scale_for(uint bits, out float inverse)
{
    int power = min(14 - (int(bits >> 23) - 127), 126);
    inverse = uintBitsToFloat(uint(127 - power) << 23);
    return uintBitsToFloat(uint(127 + power) << 23);
}

/* Of the keys whose places are known. Barriers on both sides are the caller's. */
void note_tile()
{
    uint most_k = 0, most_v = 0;
#if KV_TYPE == RAPT_STORE_F16 || KV_TYPE == RAPT_STORE_BF16
    for (uint t = lane; t < BLOCK_KV * D / 2; t += WG_SIZE)
        most_k = larger_pair(most_k, k_words[(key_at[t / (D / 2)].x >> 1) + t % (D / 2)]);
    for (uint t = lane; t < BLOCK_KV * DV / 2; t += WG_SIZE)
        most_v = larger_pair(most_v, v_words[(key_at[t / (DV / 2)].y >> 1) + t % (DV / 2)]);
#else
    /* codes may be as large as they get: scales alone tell */
    const uint k_groups = (D + SCALE_DIMS - 1) / SCALE_DIMS, v_groups = (DV + SCALE_DIMS - 1) / SCALE_DIMS;
    for (uint t = lane; t < BLOCK_KV * k_groups; t += WG_SIZE) {
        uint key = t / k_groups, d = t % k_groups * SCALE_DIMS;
        float x = SCALE_OF(k_words, K_SCALES, key_at[key].x, SCALES_AT(key).x, d);
        most_k = max(most_k, floatBitsToUint(abs(x) * LARGEST_CODE));
    }
    for (uint t = lane; t < BLOCK_KV * v_groups; t += WG_SIZE) {
        uint key = t / v_groups, d = t % v_groups * SCALE_DIMS;
        float x = SCALE_OF(v_words, V_SCALES, key_at[key].y, SCALES_AT(key).y, d);
        most_v = max(most_v, floatBitsToUint(abs(x) * LARGEST_CODE));
    }
#endif
    note_largest(0, most_k);
    note_largest(1, most_v);
}

/* ---- matrices */

#ifdef TENSOR
layout(buffer_reference, std430, buffer_reference_align = 4) readonly buffer Stored { uint word; };

float16_t decode_key(const in Stored at, const in uint block[2], const in uint inside[2])
{
    return key_element(block[0], block[1]);
}

float16_t decode_value(const in Stored at, const in uint block[2], const in uint inside[2])
{
    return value_element(block[0], block[1]);
}

#define LAYOUT tensorLayoutNV<2, gl_CooperativeMatrixClampModeConstantNV>

/* Keys [n N_S, ..) by dims [k K_S, ..), turned. Dims and keys that are none are zero. */
void load_keys(out K_MATRIX keys, uint n, uint k)
{
    LAYOUT at = createTensorLayoutNV(2, gl_CooperativeMatrixClampModeConstantNV);
    tensorViewNV<2, false, 1, 0> turned = createTensorViewNV(2, false, 1, 0);
    if (direct.x) {
        at = setTensorLayoutDimensionNV(at, tile_keys, D);
        at = setTensorLayoutStrideNV(at, header.k_token_stride & ~7u, 1);
        at = sliceTensorLayoutNV(at, n * N_S, N_S, k * K_S, K_S);
        coopMatLoadTensorNV(keys, k_quads, key_at[0].x >> 3, at, turned);
    } else {
        at = setTensorLayoutDimensionNV(at, BLOCK_KV, D);
        at = sliceTensorLayoutNV(at, n * N_S, N_S, k * K_S, K_S);
        coopMatLoadTensorNV(keys, k_words, 0, at, turned, decode_key);
    }
}

void load_values(out V_MATRIX values, uint n, uint t)
{
    LAYOUT at = createTensorLayoutNV(2, gl_CooperativeMatrixClampModeConstantNV);
    if (direct.y) {
        at = setTensorLayoutDimensionNV(at, tile_keys, DV);
        at = setTensorLayoutStrideNV(at, header.v_token_stride & ~7u, 1);
        at = sliceTensorLayoutNV(at, n * N_S, N_S, t * N_O, N_O);
        coopMatLoadTensorNV(values, v_quads, key_at[0].y >> 3, at);
    } else {
        at = setTensorLayoutDimensionNV(at, BLOCK_KV, DV);
        at = sliceTensorLayoutNV(at, n * N_S, N_S, t * N_O, N_O);
        coopMatLoadTensorNV(values, v_words, 0, at, decode_value);
    }
}
#else
float16_t fill_key(const in uint row, const in uint col, const in float16_t none, const in uint key,
                   const in uint d)
{
    return d + row < D ? key_element(key + col, d + row) : none;
}

float16_t fill_value(const in uint row, const in uint col, const in float16_t none, const in uint key,
                     const in uint d)
{
    return d + col < DV ? value_element(key + row, d + col) : none;
}

void load_keys(out K_MATRIX keys, uint n, uint k)
{
    keys = K_MATRIX(0.0);
    coopMatPerElementNV(keys, keys, fill_key, n * N_S, k * K_S);
}

void load_values(out V_MATRIX values, uint n, uint t)
{
    values = V_MATRIX(0.0);
    coopMatPerElementNV(values, values, fill_value, n * N_S, t * N_O);
}
#endif
