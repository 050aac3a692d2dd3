/* SPDX-License-Identifier: Apache-2.0 */
/* Quantized K and V from memory through registers to shared memory, where they are floats. A unit is
 * what a lane fetches at once: 16 dims (8 where a slice or the head dim leaves no other way), their
 * codes and the word their scale lies in. For tiled.glsl.
 *
 * Everything is read as words, at any byte: rows of int8, fp8 and int4 by wide loads where all of them
 * are aligned. Blocks of q8_0 and q4_0 are 34 and 18 bytes, so every other one starts in the middle of
 * a word: their words stay as they are until they are unpacked. Nothing past the word of the last
 * byte is read. */

#include "codes.glsl"

#define WIDE_SLICE (KV_TYPE == RAPT_STORE_Q4_0 ? 32 : 16)
const uint K_UNIT = 16 - (SLICE % WIDE_SLICE + D % 16 + 63) / 64 * 8; /* 16 if both are 0 */
const uint V_UNIT = 16 - DV % 16;
const uint K_UNITS = SLICE / K_UNIT, V_UNITS = DV / V_UNIT;
const uint K_LOADS = (BLOCK_KV * K_UNITS + WG_SIZE - 1) / WG_SIZE;
const uint V_LOADS = (V_KEYS * V_UNITS + WG_SIZE - 1) / WG_SIZE;

/* bytes of codes in a unit, words kept of it */
#if KV_TYPE == RAPT_STORE_Q4_0
const uint K_BYTES = 8, V_BYTES = 8; /* eight dims are the low or the high halves of eight bytes */
#elif KV_TYPE == RAPT_STORE_INT4
const uint K_BYTES = K_UNIT / 2, V_BYTES = V_UNIT / 2;
#else
const uint K_BYTES = K_UNIT, V_BYTES = V_UNIT;
#endif
const uint K_RAW = K_BYTES / 4 + (IS_BLOCKS ? 1 : 0), V_RAW = V_BYTES / 4 + (IS_BLOCKS ? 1 : 0);
const uvec2 LOW_BITS = uvec2(K_BYTES - 1, V_BYTES - 1); /* of a byte wide loads may start at: 0 */

uint next_k[K_LOADS * K_RAW], next_k_scale[K_LOADS];
uint next_v[V_LOADS * V_RAW], next_v_scale[V_LOADS];

/* ---- places */

/* First dim of the e-th eight of a unit of a row. Of a q4_0 block the bytes of a unit hold eight dims
 * of its first half and eight of its second. */
uint dim_of(uint unit, uint e, uint dims)
{
    if (KV_TYPE == RAPT_STORE_Q4_0 && dims == 16)
        return unit / 2 * 32 + unit % 2 * 8 + e * 16;
    return unit * dims + e * 8;
}

struct unit_place {
    uint key, unit; /* of the tile; unit counts from dim 0 of the row */
    uint row, scale;
};

unit_place k_place(uint n, uint slice, uint turn)
{
    uint t = min(n * WG_SIZE + lane, BLOCK_KV * K_UNITS - 1);
    unit_place p;
    p.key = turn * BLOCK_KV + t / K_UNITS;
    p.unit = min(slice * K_UNITS + t % K_UNITS, D / K_UNIT - 1);
    p.row = key_at[p.key].x;
#if HAS_SCALES
    p.scale = scale_of(p.row, scale_at[p.key].x, dim_of(p.unit, 0, K_UNIT));
#else
    p.scale = scale_of(p.row, 0, dim_of(p.unit, 0, K_UNIT));
#endif
    return p;
}

unit_place v_place(uint n, uint first, uint turn)
{
    uint t = min(n * WG_SIZE + lane, V_KEYS * V_UNITS - 1);
    unit_place p;
    p.key = turn * BLOCK_KV + first + t / V_UNITS;
    p.unit = t % V_UNITS;
    p.row = key_at[p.key].y;
#if HAS_SCALES
    p.scale = scale_of(p.row, scale_at[p.key].y, dim_of(p.unit, 0, V_UNIT));
#else
    p.scale = scale_of(p.row, 0, dim_of(p.unit, 0, V_UNIT));
#endif
    return p;
}

/* ---- memory to registers */

void fetch_k(uint slice, uint turn)
{
    [[unroll]] for (uint n = 0; n < K_LOADS; n++) {
        unit_place p = k_place(n, slice, turn);
        uint at = p.row + byte_of(dim_of(p.unit, 0, K_UNIT));
#if IS_BLOCKS
        FETCH_FROM(FETCH_WORD, k, p.key, next_k_scale, n, scale_word(p.scale), 1)
        FETCH_FROM(FETCH_BLOCK, k, p.key, next_k, n * K_RAW, at, K_BYTES)
#else
        next_k_scale[n] = k_scale_words[scale_word(p.scale)];
#ifndef SEGMENTS
        if (aligned.x)
            FETCH_WIDE(k_words, k_quads, next_k, n * K_RAW, at, K_BYTES)
        else
#endif
            FETCH_FROM(FETCH_BYTES, k, p.key, next_k, n * K_RAW, at, K_BYTES)
#endif
    }
}

void fetch_v(uint first, uint turn)
{
    [[unroll]] for (uint n = 0; n < V_LOADS; n++) {
        unit_place p = v_place(n, first, turn);
        uint at = p.row + byte_of(dim_of(p.unit, 0, V_UNIT));
#if IS_BLOCKS
        FETCH_FROM(FETCH_WORD, v, p.key, next_v_scale, n, scale_word(p.scale), 1)
        FETCH_FROM(FETCH_BLOCK, v, p.key, next_v, n * V_RAW, at, V_BYTES)
#else
        next_v_scale[n] = v_scale_words[scale_word(p.scale)];
#ifndef SEGMENTS
        if (aligned.y)
            FETCH_WIDE(v_words, v_quads, next_v, n * V_RAW, at, V_BYTES)
        else
#endif
            FETCH_FROM(FETCH_BYTES, v, p.key, next_v, n * V_RAW, at, V_BYTES)
#endif
    }
}

/* ---- registers to shared memory */

#ifndef INTEGER_DOT
/* dims past the last are zero */
void commit_k(uint slice, uint turn)
{
    [[unroll]] for (uint n = 0; n < K_LOADS; n++) {
        uint t = n * WG_SIZE + lane;
        unit_place p = k_place(n, slice, turn);
        uint at = p.row + byte_of(dim_of(p.unit, 0, K_UNIT));
        float scale = scale_in(next_k_scale[n], p.scale);
        uint to = Q_PART + t / K_UNITS * PITCH;
        bool inside = slice * K_UNITS + t % K_UNITS < D / K_UNIT;
        [[unroll]] for (uint e = 0; e < K_UNIT / 8; e++) {
            uint d = dim_of(t % K_UNITS, e, K_UNIT);
            vec4 a, b;
            unpack_codes(CODES(next_k, n * K_RAW, at, e, d + slice * SLICE), a, b);
            if (t < BLOCK_KV * K_UNITS) {
                tile[to + d / 4] = inside ? a * scale : vec4(0.0);
                tile[to + d / 4 + 1] = inside ? b * scale : vec4(0.0);
            }
        }
    }
}
#endif

void commit_v(uint first, uint turn)
{
    [[unroll]] for (uint n = 0; n < V_LOADS; n++) {
        uint t = n * WG_SIZE + lane;
        unit_place p = v_place(n, first, turn);
        uint at = p.row + byte_of(dim_of(p.unit, 0, V_UNIT));
        float scale = scale_in(next_v_scale[n], p.scale);
        uint to = t / V_UNITS * V_PITCH;
        [[unroll]] for (uint e = 0; e < V_UNIT / 8; e++) {
            uint d = dim_of(t % V_UNITS, e, V_UNIT);
            vec4 a, b;
            unpack_codes(CODES(next_v, n * V_RAW, at, e, d), a, b);
            if (t < V_KEYS * V_UNITS) {
                v_tile[to + d / 4] = a * scale;
                v_tile[to + d / 4 + 1] = b * scale;
            }
        }
    }
}
