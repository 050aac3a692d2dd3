/* SPDX-License-Identifier: Apache-2.0 */
/* Rotation of Q where it is read; q_words and the step are there. */
#define ROPE_WORD(i) step_words[i]
#define ROPE_TABLE(i) rope_table[i]
#define ROPE_HEADER(member) header.member
layout(set = 0, binding = RAPT_BIND_ROPE, std430) readonly buffer Rope { float rope_table[]; };
#include "rope.glsl"

float q_element(uint i)
{
    if (Q_TYPE == RAPT_STORE_F32)
        return uintBitsToFloat(q_words[i]);
    uint bits = (q_words[i >> 1] >> ((i & 1u) * 16u)) & 0xffffu;
    return Q_TYPE == RAPT_STORE_BF16 ? uintBitsToFloat(bits << 16) : unpackHalf2x16(bits).x;
}

/* Dims d to d + 7 of a row of Q whose dim 0 is element `first`. */
void rotate_eight(uint seq, uint token, uint first, uint d, inout vec4 a, inout vec4 b)
{
    rope_place rope = load_rope();
    int position = row_position(seq, token);
    if (header.rope_pos_word != 0)
        position = int(step_words[header.rope_pos_word + step_words[seq + SEQ_Q_ROW] + token]);
    [[dont_unroll]] for (uint e = 0; e < 8; e++) {
        uint partner = rope_partner(rope, d + e);
        if (partner == d + e)
            continue;
        float x = e < 4 ? a[e] : b[e - 4];
        x = rope_rotate(rope, position, d + e, x, q_element(first + partner));
        if (e < 4)
            a[e] = x;
        else
            b[e - 4] = x;
    }
}
