/* SPDX-License-Identifier: Apache-2.0 */
/* The work item of a workgroup, its queries and the places of its keys: what the kernels of tiles share.
 * After step.glsl, spans.glsl, storage.glsl, kv.glsl and output.glsl. */

layout(set = 0, binding = RAPT_BIND_Q, std430) readonly buffer Q1 { uint q_words[]; };
layout(set = 0, binding = RAPT_BIND_WORK, std430) buffer Work { float work_floats[]; };

shared uvec2 key_at[2 * BLOCK_KV]; /* of this tile and of the next, by turns */
#if defined(COOPMAT) && KEYED
#include "matrix_scales.glsl"
#elif HAS_SCALES
shared uvec2 scale_at[2 * BLOCK_KV];
#endif
#ifdef SEGMENTS
shared uint piece_at[2 * BLOCK_KV];
#endif
shared ivec2 keys_of_row[BLOCK_Q];
shared int latest_first, earliest_last; /* keys between these all rows may see */

struct work_item {
    uint seq, kv_head, row_first, n_rows, kv_begin, kv_end, partial, head_first;
};

#ifdef TOKEN_LISTS
#include "token_lists.glsl"
#endif

uint lane;
work_item item;

void load_item(uint index)
{
#ifdef TOKEN_LISTS
    item = find_item(index);
#else
    uint w = header.items_word + index * RAPT_STEP_ITEM_WORDS;
    item = work_item(header.seqs_word + step_words[w] * RAPT_STEP_SEQ_WORDS, step_words[w + 1],
                     step_words[w + 2], step_words[w + 3], step_words[w + 4], step_words[w + 5],
                     step_words[w + 6], step_words[w + 11]);
#endif
    lane = gl_LocalInvocationIndex;
}

/* Row r of the tile; those past the last repeat it. */
packed_row row_in_item(uint r)
{
    return find_row(item.head_first, item.row_first + min(r, item.n_rows - 1));
}

/* Dims [d, d + 4) of row r: of the output, or of the item's part. */
void store_row4(uint r, uint d, vec4 x)
{
    if (item.partial == RAPT_DIRECT) {
        store_out4(out_index(item.seq, row_in_item(r)) + d, x);
    } else {
        uint to = push.work_base + header.partial_o_word + (item.partial + r) * DV + d;
        [[unroll]] for (uint y = 0; y < 4; y++)
            work_floats[to + y] = x[y];
    }
}

/* What the rows see; visible after the next barrier. */
void find_intervals()
{
    if (lane == 0) {
        latest_first = int(item.kv_begin);
        earliest_last = int(item.kv_end) - 1;
    }
    barrier();
    for (uint r = lane; r < BLOCK_Q; r += WG_SIZE) {
        packed_row row = row_in_item(r);
#ifdef TOKEN_LISTS
        ivec2 keys = row_keys(item.seq, row_position(item.seq, row.token), 0,
                              step_words[item.seq + SEQ_KV_LEN]);
#else
        ivec2 keys = row_keys(item.seq, row_position(item.seq, row.token), item.kv_begin, item.kv_end);
#endif
        keys_of_row[r] = keys;
#ifdef COOPMAT /* with the memory model a plain atomic would be the device's */
        atomicMax(latest_first, keys.x, gl_ScopeWorkgroup, 0, gl_SemanticsRelaxed);
        atomicMin(earliest_last, keys.y, gl_ScopeWorkgroup, 0, gl_SemanticsRelaxed);
#else
        atomicMax(latest_first, keys.x);
        atomicMin(earliest_last, keys.y);
#endif
    }
}

/* Where the keys of a tile lie. Keys past the last repeat it: what lies behind the sequence, or in keys
 * no list names, is never read, and the mask drops them. */
void find_keys(key_tile keys, uint turn)
{
    for (uint i = lane; i < BLOCK_KV; i += WG_SIZE) {
        uint key = min(keys.begin + i, keys.end - 1);
#ifdef TOKEN_LISTS
        key = key_that_exists(item.seq, listed_key(key));
#endif
        key_place place = find_key(item.seq, item.kv_head, key);
        key_at[turn * BLOCK_KV + i] = place.element;
#if defined(COOPMAT) && KEYED
        keep_scales(i, turn, place.scale);
#elif HAS_SCALES
        scale_at[turn * BLOCK_KV + i] = place.scale;
#endif
#ifdef SEGMENTS
        piece_at[turn * BLOCK_KV + i] = place.piece;
#endif
    }
}

#include "rope_q.glsl"

/* Eight dims of a row of Q. */
void read_q(packed_row row, uint d, out vec4 a, out vec4 b)
{
    uint first = push.q_base + step_words[item.seq + SEQ_Q_BASE] +
                 row.token * header.q_token_stride + row.head * header.q_head_stride;
    d = min(d, D - 8);
    uint i = first + d;
    if (Q_TYPE == RAPT_STORE_F32) {
        a = uintBitsToFloat(uvec4(q_words[i], q_words[i + 1], q_words[i + 2], q_words[i + 3]));
        b = uintBitsToFloat(uvec4(q_words[i + 4], q_words[i + 5], q_words[i + 6], q_words[i + 7]));
    } else {
        uint w = i >> 1;
        uvec4 x = uvec4(q_words[w], q_words[w + 1], q_words[w + 2], q_words[w + 3]);
        if (Q_TYPE == RAPT_STORE_BF16)
            unpack_bf16(x, a, b);
        else
            unpack_f16(x, a, b);
    }
#ifdef TOKEN_LISTS /* a step of rows that find Q rotated does not say that these rotate it */
    if ((FEATURES & RAPT_FEAT_ROPE_Q) != 0)
#else
    if (wants(RAPT_FEAT_ROPE_Q))
#endif
        rotate_eight(item.seq, row.token, first, d, a, b);
}
