/* SPDX-License-Identifier: Apache-2.0 */
/* Slices of K and V from memory through registers into a half of `stage`, eight dims at a time, where they
 * are f16. For matrix.glsl.
 *
 *   f16                as it is stored
 *   bf16               times a power of two, found from the slice's largest
 *   int8, fp8          codes; the scales of keys go to the scores and to the weights (KEYED)
 *   int4, q8_0, q4_0   of K codes, the scales of blocks go to the sums over 32 dims (BLOCKED); of V codes
 *                      times scales, times a power of two as above */

/* The key and the dims of the n-th eight of a lane; lanes without one repeat the last. */
uint key_of(uint n)
{
    return min(n * WG_SIZE + lane, BLOCK_KV * EIGHTS - 1) / EIGHTS;
}

uint dim_of(uint n, uint slice)
{
    return slice * SLICE + min(n * WG_SIZE + lane, BLOCK_KV * EIGHTS - 1) % EIGHTS * 8;
}

/* ---- memory to registers */

#if KV_TYPE <= RAPT_STORE_BF16
const uvec2 LOW_BITS = uvec2(7); /* of an element on 16 bytes: 0 */
uvec4 next[LOADS];

#define FETCH_FOUR(words, next, to, at, n) \
    { \
        uint w = (at) >> 1; \
        next[to] = uvec4(words[w], words[w + 1], words[w + 2], words[w + 3]); \
    }

void fetch_k(uint slice, uint turn)
{
    [[unroll]] for (uint n = 0; n < LOADS; n++) {
        uint key = turn * BLOCK_KV + key_of(n), i = key_at[key].x + min(dim_of(n, slice), D - 8);
#ifndef SEGMENTS
        if (aligned.x)
            next[n] = k_quads[i >> 3];
        else
#endif
            FETCH_FROM(FETCH_FOUR, k, key, next, n, i, 8)
    }
}

void fetch_v(uint slice, uint turn)
{
    [[unroll]] for (uint n = 0; n < LOADS; n++) {
        uint key = turn * BLOCK_KV + key_of(n), i = key_at[key].y + min(dim_of(n, slice), DV - 8);
#ifndef SEGMENTS
        if (aligned.y)
            next[n] = v_quads[i >> 3];
        else
#endif
            FETCH_FROM(FETCH_FOUR, v, key, next, n, i, 8)
    }
}
#else
const uint BYTES = KV_TYPE == RAPT_STORE_INT4 ? 4 : 8; /* of codes; q4_0: halves of them */
const uint RAW = BYTES / 4 + (IS_BLOCKS ? 1 : 0);
const uvec2 LOW_BITS = uvec2(BYTES - 1);
uint next[LOADS * RAW], next_scale[LOADS];

uint k_scale_of(uint key, uint d)
{
#if HAS_SCALES && !KEYED
    return scale_of(0, scale_at[key].x, d);
#else
    return scale_of(key_at[key].x, 0, d);
#endif
}

uint v_scale_of(uint key, uint d)
{
#if HAS_SCALES && !KEYED
    return scale_of(0, scale_at[key].y, d);
#else
    return scale_of(key_at[key].y, 0, d);
#endif
}

void fetch_k(uint slice, uint turn)
{
    [[unroll]] for (uint n = 0; n < LOADS; n++) {
        uint key = turn * BLOCK_KV + key_of(n), d = min(dim_of(n, slice), D - 8);
        uint at = key_at[key].x + byte_of(d);
#if IS_BLOCKS
        FETCH_FROM(FETCH_WORD, k, key, next_scale, n, scale_word(k_scale_of(key, d)), 1)
        FETCH_FROM(FETCH_BLOCK, k, key, next, n * RAW, at, BYTES)
#else
#if BLOCKED
        next_scale[n] = k_scale_words[scale_word(k_scale_of(key, d))];
#endif
#ifndef SEGMENTS
        if (aligned.x)
            FETCH_WIDE(k_words, k_quads, next, n * RAW, at, BYTES)
        else
#endif
            FETCH_FROM(FETCH_BYTES, k, key, next, n * RAW, at, BYTES)
#endif
    }
}

void fetch_v(uint slice, uint turn)
{
    [[unroll]] for (uint n = 0; n < LOADS; n++) {
        uint key = turn * BLOCK_KV + key_of(n), d = min(dim_of(n, slice), DV - 8);
        uint at = key_at[key].y + byte_of(d);
#if IS_BLOCKS
        FETCH_FROM(FETCH_WORD, v, key, next_scale, n, scale_word(v_scale_of(key, d)), 1)
        FETCH_FROM(FETCH_BLOCK, v, key, next, n * RAW, at, BYTES)
#else
#if BLOCKED
        next_scale[n] = v_scale_words[scale_word(v_scale_of(key, d))];
#endif
#ifndef SEGMENTS
        if (aligned.y)
            FETCH_WIDE(v_words, v_quads, next, n * RAW, at, BYTES)
        else
#endif
            FETCH_FROM(FETCH_BYTES, v, key, next, n * RAW, at, BYTES)
#endif
    }
}

/* The n-th eight as it is counted by its codes; x: of K or V, the row's first byte and the dim. */
void unpack_next(uint n, uint row, uint d, out vec4 a, out vec4 b)
{
    uint at = row + byte_of(d);
    unpack_codes(CODES(next, n * RAW, at, 0, d), a, b);
}
#endif

/* ---- powers of two */

/* A power of two that brings numbers of at most this magnitude (as bits of a float) below 2^15, the same for
 * the workgroup; and its inverse. Slots take turns: one is emptied while the other is in use. */
shared uint largest[2];
uint largest_turn = 0;

float common_scale(uint bits, out float inverse)
{
    bits = subgroupMax(bits);
    if (subgroupElect())
        atomicMax(largest[largest_turn], bits, gl_ScopeWorkgroup, 0, gl_SemanticsRelaxed);
    barrier();
    bits = largest[largest_turn];
    largest_turn ^= 1;
    if (lane == 0)
        largest[largest_turn] = 0;
    int power = min(14 - (int(bits >> 23) - 127), 126);
    inverse = uintBitsToFloat(uint(127 - power) << 23);
    return uintBitsToFloat(uint(127 + power) << 23);
}

/* ---- registers to shared memory, visible after the next barrier; dims past the last are zero */

void stage_eight(uint n, uint half_at, vec4 a, vec4 b)
{
    uint t = n * WG_SIZE + lane, to = half_at + t / EIGHTS * PITCH + t % EIGHTS * 2;
    if (t < BLOCK_KV * EIGHTS) {
        stage[to] = f16vec4(a);
        stage[to + 1] = f16vec4(b);
    }
}

#if KV_TYPE == RAPT_STORE_F16
void stage_next(uint slice, uint dims, uint half_at)
{
    [[unroll]] for (uint n = 0; n < LOADS; n++) {
        uint t = n * WG_SIZE + lane, to = half_at + t / EIGHTS * PITCH + t % EIGHTS * 2;
        uvec4 w = dim_of(n, slice) < dims ? next[n] : uvec4(0);
        if (t < BLOCK_KV * EIGHTS) {
            stage[to] = f16vec4(unpackFloat2x16(w.x), unpackFloat2x16(w.y));
            stage[to + 1] = f16vec4(unpackFloat2x16(w.z), unpackFloat2x16(w.w));
        }
    }
}

void stage_k(uint slice, uint half_at, uint turn)
{
    stage_next(slice, D, half_at);
}

void stage_v(uint slice, uint half_at, uint turn)
{
    stage_next(slice, DV, half_at);
}
#elif KV_TYPE == RAPT_STORE_BF16
void stage_next(uint slice, uint dims, uint half_at)
{
    uint most = 0;
    [[unroll]] for (uint n = 0; n < LOADS; n++) {
        next[n] = dim_of(n, slice) < dims ? next[n] : uvec4(0);
        [[unroll]] for (uint y = 0; y < 4; y++)
            most = max(most, max(next[n][y] << 16 & 0x7fff0000u, next[n][y] & 0x7fff0000u));
    }
    float scale = common_scale(most, next_unit);
    [[unroll]] for (uint n = 0; n < LOADS; n++) {
        vec4 a, b;
        unpack_bf16(next[n], a, b);
        stage_eight(n, half_at, a * scale, b * scale);
    }
}

void stage_k(uint slice, uint half_at, uint turn)
{
    stage_next(slice, D, half_at);
}

void stage_v(uint slice, uint half_at, uint turn)
{
    stage_next(slice, DV, half_at);
}
#elif KEYED
void stage_k(uint slice, uint half_at, uint turn)
{
    [[unroll]] for (uint n = 0; n < LOADS; n++) {
        vec4 a, b;
        unpack_next(n, 0, 0, a, b);
        bool inside = dim_of(n, slice) < D;
        stage_eight(n, half_at, inside ? a : vec4(0.0), inside ? b : vec4(0.0));
    }
}

void stage_v(uint slice, uint half_at, uint turn)
{
    [[unroll]] for (uint n = 0; n < LOADS; n++) {
        vec4 a, b;
        unpack_next(n, 0, 0, a, b);
        bool inside = dim_of(n, slice) < DV;
        stage_eight(n, half_at, inside ? a : vec4(0.0), inside ? b : vec4(0.0));
    }
}
#else
/* Scales of blocks lie by blocks of the slice, then by keys, in the half that goes with stage's. */
void stage_k(uint slice, uint half_at, uint turn)
{
    uint factors_at = half_at == 0 ? 0 : BLOCKS * BLOCK_KV;
    [[unroll]] for (uint n = 0; n < LOADS; n++) {
        uint t = n * WG_SIZE + lane, key = key_of(n), first = dim_of(n, slice), d = min(first, D - 8);
        vec4 a, b;
        unpack_next(n, key_at[turn * BLOCK_KV + key].x, d, a, b);
        stage_eight(n, half_at, first < D ? a : vec4(0.0), first < D ? b : vec4(0.0));
        uint to = factors_at + t % EIGHTS / 4 * BLOCK_KV + key;
        if (t < BLOCK_KV * EIGHTS && t % 4 == 0)
            k_factors[to >> 2][to & 3] = scale_in(next_scale[n], k_scale_of(turn * BLOCK_KV + key, d));
    }
}

void stage_v(uint slice, uint half_at, uint turn)
{
    float scales[LOADS], most = 0.0;
    [[unroll]] for (uint n = 0; n < LOADS; n++) {
        uint first = dim_of(n, slice), d = min(first, DV - 8);
        scales[n] = scale_in(next_scale[n], v_scale_of(turn * BLOCK_KV + key_of(n), d));
        scales[n] = first < DV ? scales[n] : 0.0;
        most = max(most, abs(scales[n]));
    }
    float scale = common_scale(floatBitsToUint(most * 128.0), next_unit);
    [[unroll]] for (uint n = 0; n < LOADS; n++) {
        vec4 a, b;
        unpack_next(n, key_at[turn * BLOCK_KV + key_of(n)].y, min(dim_of(n, slice), DV - 8), a, b);
        stage_eight(n, half_at, a * (scales[n] * scale), b * (scales[n] * scale));
    }
}
#endif
