/* SPDX-License-Identifier: Apache-2.0 */
/* Slices of K and V from memory through registers into a half of `stage`: eight dims at a time, f16 as it
 * is stored. For matrix.glsl. */

const uvec2 LOW_BITS = uvec2(7); /* of an element on 16 bytes: 0 */

/* The key and the dims of the n-th eight of a lane; lanes without one repeat the last. */
uint key_of(uint n)
{
    return min(n * WG_SIZE + lane, BLOCK_KV * EIGHTS - 1) / EIGHTS;
}

uint dim_of(uint n, uint slice)
{
    return slice * SLICE + min(n * WG_SIZE + lane, BLOCK_KV * EIGHTS - 1) % EIGHTS * 8;
}

void fetch_k(uint slice, uint turn)
{
    [[unroll]] for (uint n = 0; n < LOADS; n++) {
        uint i = key_at[turn * BLOCK_KV + key_of(n)].x + min(dim_of(n, slice), D - 8);
        if (aligned.x) {
            next[n] = k_quads[i >> 3];
        } else {
            uint w = i >> 1;
            next[n] = uvec4(k_words[w], k_words[w + 1], k_words[w + 2], k_words[w + 3]);
        }
    }
}

void fetch_v(uint slice, uint turn)
{
    [[unroll]] for (uint n = 0; n < LOADS; n++) {
        uint i = key_at[turn * BLOCK_KV + key_of(n)].y + min(dim_of(n, slice), DV - 8);
        if (aligned.y) {
            next[n] = v_quads[i >> 3];
        } else {
            uint w = i >> 1;
            next[n] = uvec4(v_words[w], v_words[w + 1], v_words[w + 2], v_words[w + 3]);
        }
    }
}

/* A power of two that brings numbers of at most this magnitude (as bits of a float) below 2^15, the same for
 * the workgroup; and its inverse. Slots take turns: one is emptied while the other is in use. */
shared uint largest[2];

float common_scale(uint bits, uint slot, out float inverse)
{
#if KV_TYPE == RAPT_STORE_BF16
    bits = subgroupMax(bits);
    if (subgroupElect())
        atomicMax(largest[slot], bits, gl_ScopeWorkgroup, 0, gl_SemanticsRelaxed);
    barrier();
    bits = largest[slot];
    if (lane == 0)
        largest[1 - slot] = 0;
    int power = min(14 - (int(bits >> 23) - 127), 126);
    inverse = uintBitsToFloat(uint(127 - power) << 23);
    return uintBitsToFloat(uint(127 + power) << 23);
#else
    inverse = 1.0;
    return 1.0;
#endif
}

/* What was fetched, into a half of `stage`; visible after the next barrier. Dims past the last are zero. */
void stage_next(uint slice, uint dims, uint half_at, uint slot)
{
    float scale = 1.0;
    uint most = 0;
    [[unroll]] for (uint n = 0; n < LOADS; n++) {
        next[n] = dim_of(n, slice) < dims ? next[n] : uvec4(0);
        if (SCALED)
            [[unroll]] for (uint y = 0; y < 4; y++)
                most = max(most, max(next[n][y] << 16 & 0x7fff0000u, next[n][y] & 0x7fff0000u));
    }
    if (SCALED)
        scale = common_scale(most, slot, next_unit);
    [[unroll]] for (uint n = 0; n < LOADS; n++) {
        uint t = n * WG_SIZE + lane, to = half_at + t / EIGHTS * PITCH + t % EIGHTS * 2;
        vec4 a, b;
        if (t < BLOCK_KV * EIGHTS) {
#if KV_TYPE == RAPT_STORE_BF16
            unpack_bf16(next[n], a, b);
            stage[to] = f16vec4(a * scale);
            stage[to + 1] = f16vec4(b * scale);
#else
            stage[to] = f16vec4(unpackFloat2x16(next[n].x), unpackFloat2x16(next[n].y));
            stage[to + 1] = f16vec4(unpackFloat2x16(next[n].z), unpackFloat2x16(next[n].w));
#endif
        }
    }
}
