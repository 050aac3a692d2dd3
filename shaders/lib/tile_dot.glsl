/* SPDX-License-Identifier: Apache-2.0 */
/* Scores in integers, for int8 and q8_0 keys: a slice of K is 32 dims as they are stored, Q is quantized
 * per 32 dims to multiples of absmax / 127, eight packed dot products make the sum of a slice, and its
 * scales are applied to that. Slices are 32 dims, the whole of Q stays in shared memory (TILE_A = 32,
 * TILE_D = 1; shaders/tiles.h has what that takes). For tiled.glsl. */

spirv_instruction(extensions = ["SPV_KHR_integer_dot_product"], capabilities = [6018, 6019], id = 4450)
int packed_dot(uint a, uint b, spirv_literal int format); /* OpSDot; 0 = four signed bytes a word */

const uint K_PITCH = 3, QC_PITCH = 2 * N_SLICES + 1; /* uvec4s; odd, so that rows change banks */

shared uvec4 k_codes[BLOCK_KV * K_PITCH];
shared uvec4 q_codes[BLOCK_Q * QC_PITCH];
shared float k_scales[BLOCK_KV];
shared float q_scales[BLOCK_Q * N_SLICES];

void commit_k(uint slice, uint turn)
{
    [[unroll]] for (uint n = 0; n < K_LOADS; n++) {
        uint t = n * WG_SIZE + lane;
        unit_place p = k_place(n, slice, turn);
        uint at = p.row + byte_of(dim_of(p.unit, 0, K_UNIT));
        if (t < BLOCK_KV * K_UNITS) {
            k_codes[t / K_UNITS * K_PITCH + t % K_UNITS] =
                uvec4(CODE_WORD(next_k, n * K_RAW, at, 0), CODE_WORD(next_k, n * K_RAW, at, 1),
                      CODE_WORD(next_k, n * K_RAW, at, 2), CODE_WORD(next_k, n * K_RAW, at, 3));
            if (t % K_UNITS == 0)
                k_scales[t / K_UNITS] = scale_in(next_k_scale[n], p.scale);
        }
    }
}

uint four_codes(vec4 x)
{
    ivec4 c = ivec4(roundEven(x));
    return (uint(c.x) & 0xffu) | (uint(c.y) & 0xffu) << 8 | (uint(c.z) & 0xffu) << 16 |
           uint(c.w) << 24;
}

/* A slice of Q: a lane takes all of a row's 32 dims, and reads them twice. */
void load_q(uint slice)
{
    float scale = header.scale * (PLAIN_LOGITS ? LOG2E : 1.0);
    for (uint r = lane; r < BLOCK_Q; r += WG_SIZE) {
        packed_row row = find_row(item.head_first, item.row_first + min(r, item.n_rows - 1));
        vec4 a, b, most = vec4(0.0);
        bool finite = true;
        [[dont_unroll]] for (uint e = 0; e < 4; e++) {
            read_q(row, slice * 32 + e * 8, a, b);
            a = max(abs(a), abs(b)) + (a - a) + (b - b); /* NaN and infinity become NaN */
            finite = finite && a.x + a.y + a.z + a.w < 3.0e38;
            most = max(most, a);
        }
        float absmax = max(max(most.x, most.y), max(most.z, most.w));
        float inverse = finite && absmax > 1.0e-30 ? 127.0 / absmax : 0.0;
        [[dont_unroll]] for (uint e = 0; e < 4; e++) {
            read_q(row, slice * 32 + e * 8, a, b);
            uint to = r * QC_PITCH + 2 * slice + e / 2;
            q_codes[to][e % 2 * 2] = inverse == 0.0 ? 0 : four_codes(a * inverse);
            q_codes[to][e % 2 * 2 + 1] = inverse == 0.0 ? 0 : four_codes(b * inverse);
        }
        q_scales[r * N_SLICES + slice] =
            finite ? absmax * (1.0 / 127.0) * scale : uintBitsToFloat(0x7fc00000u);
    }
}

void add_scores(uint slice)
{
    uvec4 q[2 * RM];
    float q_scale[RM];
    [[unroll]] for (uint i = 0; i < RM; i++) {
        q[2 * i] = q_codes[row_of(i) * QC_PITCH + 2 * slice];
        q[2 * i + 1] = q_codes[row_of(i) * QC_PITCH + 2 * slice + 1];
        q_scale[i] = q_scales[row_of(i) * N_SLICES + slice];
    }
    [[unroll]] for (uint n = 0; n < RN; n++) {
        uint key = n * TX + tx;
        uvec4 k[2] = {k_codes[key * K_PITCH], k_codes[key * K_PITCH + 1]};
        float k_scale = k_scales[key];
        [[unroll]] for (uint i = 0; i < RM; i++) {
            int sum = 0;
            [[unroll]] for (uint w = 0; w < 8; w++)
                sum += packed_dot(q[2 * i + w / 4][w % 4], k[w / 4][w % 4], 0);
            score[i * RN + n] += float(sum) * (q_scale[i] * k_scale);
        }
    }
}
