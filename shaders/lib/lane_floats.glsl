/* SPDX-License-Identifier: Apache-2.0 */
/* K and V of type f32, f16 and bf16 from memory to registers, for key_lanes.glsl: a unit is eight dims, one
 * or two vectors of words, and lanes side by side have units side by side. */

#if KV_TYPE == RAPT_STORE_F32
#define UNIT_QUADS 2
#define WORD_OF_ELEMENT(i) (i)
#else
#define UNIT_QUADS 1
#define WORD_OF_ELEMENT(i) ((i) >> 1)
#endif

const uvec2 LOW_BITS = uvec2(8 / UNIT_QUADS - 1); /* of an element on 16 bytes: 0 */
const uint QUAD_SHIFT = KV_TYPE == RAPT_STORE_F32 ? 2 : 3;

uvec4 next_k[KEYS * K_UNITS * UNIT_QUADS], next_v[KEYS * V_UNITS * UNIT_QUADS];

uint k_dim(uint unit, uint y)
{
    return unit * 8 + y;
}

uint v_dim(uint unit, uint y)
{
    return unit * 8 + y;
}

/* Where the c-th unit of this lane lies in a row, in vectors of words; past the end, the last. */
uint unit_quad(uint c, uint dims)
{
    uint units = dims / 8, unit = c * LANES + lane % LANES;
    return (units % LANES == 0 ? unit : min(unit, units - 1)) * UNIT_QUADS;
}

#define FOUR_WORDS(words, w) uvec4(words[w], words[(w) + 1], words[(w) + 2], words[(w) + 3])
#define FETCH_RUN(words, quads, next, x, UNITS, DIMS) \
    { \
        const uint shift = QUAD_SHIFT - (WORDS_ALONE ? 2 : 0), wide = WORDS_ALONE ? 4 : 1; \
        uint step = strides.x >> shift, first = run.at.x >> shift, row[KEYS]; \
        [[unroll]] for (uint n = 0; n < KEYS; n++) \
            row[n] = first + n * step; \
        if (run.is_cut) \
            [[unroll]] for (uint n = 0; n < KEYS; n++) \
                row[n] = first + key_in_run(run, n) * step; \
        [[unroll]] for (uint n = 0; n < KEYS; n++) \
            [[unroll]] for (uint c = 0; c < UNITS; c++) \
                [[unroll]] for (uint y = 0; y < UNIT_QUADS; y++) { \
                    uint to = (n * UNITS + c) * UNIT_QUADS + y; \
                    uint at = row[n] + (unit_quad(c, DIMS) + y) * wide; \
                    if (WORDS_ALONE) \
                        next[to] = FOUR_WORDS(words, at); \
                    else \
                        next[to] = quads[at]; \
                } \
        if (!WORDS_ALONE && !aligned.x) \
            [[unroll]] for (uint n = 0; n < KEYS; n++) \
                [[unroll]] for (uint c = 0; c < UNITS; c++) { \
                    uint w = WORD_OF_ELEMENT(run.at.x + key_in_run(run, n) * strides.x) + \
                             unit_quad(c, DIMS) * 4; \
                    [[unroll]] for (uint y = 0; y < UNIT_QUADS; y++) \
                        next[(n * UNITS + c) * UNIT_QUADS + y] = FOUR_WORDS(words, w + 4 * y); \
                } \
    }

void fetch_k(key_run run)
{
    FETCH_RUN(k_words, k_quads, next_k, x, K_UNITS, D)
}

void fetch_v(key_run run)
{
    FETCH_RUN(v_words, v_quads, next_v, y, V_UNITS, DV)
}

void unpack_unit(uvec4 x, uvec4 y, out float value[8])
{
    vec4 a, b;
    unpack_eight(x, y, a, b);
    [[unroll]] for (uint i = 0; i < 4; i++) {
        value[i] = a[i];
        value[4 + i] = b[i];
    }
}

void add_scores(key_run run)
{
    [[unroll]] for (uint i = 0; i < SCORES; i++)
        score[i] = 0.0;
    [[unroll]] for (uint c = 0; c < K_UNITS; c++) {
        float k[KEYS * 8];
        [[unroll]] for (uint n = 0; n < KEYS; n++) {
            float unit[8];
            uint at = (n * K_UNITS + c) * UNIT_QUADS;
            unpack_unit(next_k[at], next_k[at + UNIT_QUADS - 1], unit);
            [[unroll]] for (uint y = 0; y < 8; y++)
                k[n * 8 + y] = unit[y];
        }
        [[unroll]] for (uint y = 0; y < 8; y += 4)
            [[unroll]] for (uint r = 0; r < BLOCK_Q; r++) {
                vec4 x = q_of(r, c, y);
                [[unroll]] for (uint n = 0; n < KEYS; n++)
                    [[unroll]] for (uint z = 0; z < 4; z++)
                        score[r * KEYS + n] += x[z] * k[n * 8 + y + z];
            }
    }
}

void add_values(key_run run)
{
    [[unroll]] for (uint n = 0; n < KEYS; n++) {
        float weight[BLOCK_Q];
        [[unroll]] for (uint r = 0; r < BLOCK_Q; r++)
            weight[r] = weight_of_key(r, n);
        [[unroll]] for (uint c = 0; c < V_UNITS; c++) {
            float v[8];
            uint at = (n * V_UNITS + c) * UNIT_QUADS;
            unpack_unit(next_v[at], next_v[at + UNIT_QUADS - 1], v);
            [[unroll]] for (uint r = 0; r < BLOCK_Q; r++)
                [[unroll]] for (uint y = 0; y < 8; y++)
                    o[(r * V_UNITS + c) * 8 + y] += weight[r] * v[y];
        }
    }
}
