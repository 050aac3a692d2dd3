/* SPDX-License-Identifier: Apache-2.0 */
/* Rotary embedding, the same bits as the host's (base/rope.c). The includer says where things lie:
 *   ROPE_WORD(i)    word i of the step
 *   ROPE_TABLE(i)   float i of the caller's table of cosines and sines
 *   ROPE_HEADER(m)  member m of the step's header */
#include "turns.h"

struct rope_place {
    uint kind, dim, first, words, n_positions;
    float factor;
};

rope_place load_rope()
{
    return rope_place(ROPE_HEADER(rope_kind), ROPE_HEADER(rope_dim), ROPE_HEADER(rope_offset),
                      ROPE_HEADER(rope_word), ROPE_HEADER(rope_n_positions),
                      ROPE_HEADER(rope_attention_factor));
}

/* cos and sin of a position times a 64-bit fraction of a turn */
vec2 turn_cos_sin(int position, uvec2 turns)
{
    uint count = uint(abs(position));
    uint carry, low;
    umulExtended(count, turns.x, carry, low);
    uint top = count * turns.y + carry + (low >> 31);
    uint quarter = (top + 0x20000000u) >> 30;
    uint rest = top - (quarter << 30) + 0x20000010u;
    precise float t = float(int(rest >> 5) - 0x1000000) * RAPT_TURN_STEP;
    precise float z = t * t;
    precise float s =
        t * RAPT_TURN_S1 +
        (t * z) * (RAPT_TURN_S3 + z * (RAPT_TURN_S5 + z * RAPT_TURN_S7));
    precise float c =
        1.0 + z * (RAPT_TURN_C2 +
                   z * (RAPT_TURN_C4 + z * (RAPT_TURN_C6 + z * RAPT_TURN_C8)));
    bool odd = (quarter & 1u) != 0;
    float along = odd ? s : c, across = odd ? c : s;
    return vec2(((quarter + 1u) & 2u) != 0 ? -along : along,
                ((quarter & 2u) != 0) != (position < 0) ? -across : across);
}

vec2 rope_cos_sin(rope_place rope, int position, uint i)
{
    if ((rope.kind & RAPT_ROPE_BY_TABLE) != 0) {
        uint row = min(uint(max(position, 0)), max(rope.n_positions, 1u) - 1u);
        uint at = row * rope.dim + i;
        return vec2(ROPE_TABLE(at), ROPE_TABLE(at + (rope.dim >> 1)));
    }
    uint w = rope.words + 2 * i;
    return turn_cos_sin(position, uvec2(ROPE_WORD(w), ROPE_WORD(w + 1)));
}

/* Dim d of a head: which frequency turns it, and the dim it is paired with; itself if it stays as it
 * is. */
uint rope_frequency(rope_place rope, uint d)
{
    uint r = d - rope.first, halfway = rope.dim >> 1;
    return (rope.kind & 0xffu) == 2u ? r >> 1 : r < halfway ? r : r - halfway;
}

bool rope_is_first(rope_place rope, uint d)
{
    uint r = d - rope.first;
    return (rope.kind & 0xffu) == 2u ? (r & 1u) == 0 : r < (rope.dim >> 1);
}

uint rope_partner(rope_place rope, uint d)
{
    if (d - rope.first >= rope.dim) /* below it too: unsigned */
        return d;
    uint apart = (rope.kind & 0xffu) == 2u ? 1u : rope.dim >> 1;
    return rope_is_first(rope, d) ? d + apart : d - apart;
}

/* Dim d, x, rotated with its partner, y. */
float rope_rotate(rope_place rope, int position, uint d, float x, float y)
{
    if (d - rope.first >= rope.dim)
        return x;
    vec2 cs = rope_cos_sin(rope, position, rope_frequency(rope, d));
    bool first = rope_is_first(rope, d);
    precise float along = x * cs.x;
    precise float across = y * cs.y;
    precise float turned = first ? along - across : along + across;
    precise float scaled = turned * rope.factor;
    return (rope.kind & RAPT_ROPE_BY_TABLE) != 0 ? turned : scaled;
}
