/* SPDX-License-Identifier: Apache-2.0 */
/* Slices of K and V from memory through registers into a half of `stage`: f16 as it is stored, eight dims
 * at a time. For matrix.glsl. */

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

/* dims past the last are zero */
void commit(uint slice, uint dims, uint half_at)
{
    [[unroll]] for (uint n = 0; n < LOADS; n++) {
        uvec4 x = dim_of(n, slice) < dims ? next[n] : uvec4(0);
        uint t = n * WG_SIZE + lane, to = half_at + t / EIGHTS * PITCH + t % EIGHTS * 2;
        if (t < BLOCK_KV * EIGHTS) {
            stage[to] = f16vec4(unpackFloat2x16(x.x), unpackFloat2x16(x.y));
            stage[to + 1] = f16vec4(unpackFloat2x16(x.z), unpackFloat2x16(x.w));
        }
    }
}
