/* SPDX-License-Identifier: Apache-2.0 */
/* K and V of type f32, f16 and bf16 from memory through registers to shared memory, eight dims at a
 * time: one or two vectors of words. For tiled.glsl. */

#if KV_TYPE == RAPT_STORE_F32
#define QUADS_PER_EIGHT 2
#define WORD_OF_ELEMENT(i) (i)
#else
#define QUADS_PER_EIGHT 1
#define WORD_OF_ELEMENT(i) ((i) >> 1)
#endif

const uint K_LOADS = (BLOCK_KV * K_EIGHTS + WG_SIZE - 1) / WG_SIZE;
const uint V_LOADS = (V_KEYS * V_EIGHTS + WG_SIZE - 1) / WG_SIZE;
const uvec2 LOW_BITS = uvec2(8 / QUADS_PER_EIGHT - 1); /* of an element on 16 bytes: 0 */

uvec4 next_k[K_LOADS * QUADS_PER_EIGHT];
uvec4 next_v[V_LOADS * QUADS_PER_EIGHT];

/* Key whose n-th eight this lane fetches, its place in key_at; lanes without one repeat the last. */
uint k_key(uint n, uint turn)
{
    return turn * BLOCK_KV + min(n * WG_SIZE + lane, BLOCK_KV * K_EIGHTS - 1) / K_EIGHTS;
}

uint v_key(uint n, uint first, uint turn)
{
    return turn * BLOCK_KV + first + min(n * WG_SIZE + lane, V_KEYS * V_EIGHTS - 1) / V_EIGHTS;
}

/* Word of that eight of a slice of K, of a row of V. */
uint k_word(uint n, uint slice, uint turn)
{
    uint t = min(n * WG_SIZE + lane, BLOCK_KV * K_EIGHTS - 1);
    uint d = min(slice * SLICE + t % K_EIGHTS * 8, D - 8);
    return WORD_OF_ELEMENT(key_at[turn * BLOCK_KV + t / K_EIGHTS].x + d);
}

uint v_word(uint n, uint first, uint turn)
{
    uint t = min(n * WG_SIZE + lane, V_KEYS * V_EIGHTS - 1);
    return WORD_OF_ELEMENT(key_at[turn * BLOCK_KV + first + t / V_EIGHTS].y + t % V_EIGHTS * 8);
}

#define FOUR_WORDS(words, next, to, w, n) \
    next[to] = uvec4(words[w], words[w + 1], words[w + 2], words[w + 3]);

#ifdef SEGMENTS
#define WIDE(is_aligned) false
#else
#define WIDE(is_aligned) is_aligned
#endif

void fetch_k(uint slice, uint turn)
{
    if (WIDE(aligned.x)) {
        [[unroll]] for (uint n = 0; n < K_LOADS * QUADS_PER_EIGHT; n++)
            next_k[n] = k_quads[(k_word(n / QUADS_PER_EIGHT, slice, turn) >> 2) + n % QUADS_PER_EIGHT];
    } else {
        [[unroll]] for (uint n = 0; n < K_LOADS * QUADS_PER_EIGHT; n++) {
            uint w = k_word(n / QUADS_PER_EIGHT, slice, turn) + n % QUADS_PER_EIGHT * 4;
            FETCH_FROM(FOUR_WORDS, k, k_key(n / QUADS_PER_EIGHT, turn), next_k, n, w, 4)
        }
    }
}

void fetch_v(uint first, uint turn)
{
    if (WIDE(aligned.y)) {
        [[unroll]] for (uint n = 0; n < V_LOADS * QUADS_PER_EIGHT; n++)
            next_v[n] = v_quads[(v_word(n / QUADS_PER_EIGHT, first, turn) >> 2) + n % QUADS_PER_EIGHT];
    } else {
        [[unroll]] for (uint n = 0; n < V_LOADS * QUADS_PER_EIGHT; n++) {
            uint w = v_word(n / QUADS_PER_EIGHT, first, turn) + n % QUADS_PER_EIGHT * 4;
            FETCH_FROM(FOUR_WORDS, v, v_key(n / QUADS_PER_EIGHT, first, turn), next_v, n, w, 4)
        }
    }
}

/* dims past the last are zero */
void commit_k(uint slice, uint turn)
{
    [[unroll]] for (uint n = 0; n < K_LOADS; n++) {
        uint t = n * WG_SIZE + lane;
        vec4 a, b;
        unpack_eight(next_k[n * QUADS_PER_EIGHT], next_k[n * QUADS_PER_EIGHT + QUADS_PER_EIGHT - 1],
                     a, b);
        bool inside = slice * SLICE + t % K_EIGHTS * 8 < D;
        uint to = Q_PART + t / K_EIGHTS * PITCH + t % K_EIGHTS * 2;
        if (t < BLOCK_KV * K_EIGHTS) {
            tile[to] = inside ? a : vec4(0.0);
            tile[to + 1] = inside ? b : vec4(0.0);
        }
    }
}

void commit_v(uint first, uint turn)
{
    [[unroll]] for (uint n = 0; n < V_LOADS; n++) {
        uint t = n * WG_SIZE + lane;
        vec4 a, b;
        unpack_eight(next_v[n * QUADS_PER_EIGHT], next_v[n * QUADS_PER_EIGHT + QUADS_PER_EIGHT - 1],
                     a, b);
        uint to = t / V_EIGHTS * V_PITCH + t % V_EIGHTS * 2;
        if (t < V_KEYS * V_EIGHTS) {
            v_tile[to] = a;
            v_tile[to + 1] = b;
        }
    }
}
