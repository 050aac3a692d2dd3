/* SPDX-License-Identifier: Apache-2.0 */
/* New rows of K and V: where a unit of them lies, where it goes in the cache, and its elements, rotated.
 * The includer says what kv_append.comp says above the inclusion. */

#include "search.glsl"

/* ---- where a unit's rows lie */

/* word offsets in struct rapt_step_seq */
const uint SEQ_Q_ROW = 0, SEQ_Q_LEN = 1, SEQ_KV_LEN = 2, SEQ_Q_POS0 = 4, SEQ_PAGE_FIRST = 6,
           SEQ_N_PAGES = 7, SEQ_K_BASE = 10, SEQ_V_BASE = 12, SEQ_K_SCALE_BASE = 20,
           SEQ_V_SCALE_BASE = 22;

struct new_unit {
    bool k;        /* or V */
    uint n_heads;
    uint from;     /* element of its first head in the new rows */
    uint to;       /* of that in the cache: element, byte of quantized kinds */
    uint scale;    /* element of that head's scale */
    int position;  /* K is rotated at */
    bool here;     /* its page lies in this dispatch's piece of the pool */
};

/* The sequence a new token belongs to: the last that begins at or before it. */
#define SEQ_BEGIN(b) STEP(HEADER(seqs_word) + (b) * RAPT_STEP_SEQ_WORDS + SEQ_Q_ROW)
uint find_seq(uint token)
{
    FIND_LAST(found, HEADER(n_seqs), SEQ_BEGIN, token)
    return found;
}

uint new_head_stride(bool k)
{
    return k ? push.rapt_append_k_head_stride : push.rapt_append_v_head_stride;
}

uint head_stride(bool k)
{
    return k ? HEADER(k_head_stride) : HEADER(v_head_stride);
}

uint scale_head_stride(bool k)
{
    return k ? HEADER(k_scale_head_stride) : HEADER(v_scale_head_stride);
}

/* Table entries are clamped to the table and page ids to the pool, whatever a table says. */
new_unit find_unit(bool k, uint token, uint head)
{
    new_unit unit;
    uint b = find_seq(token);
    uint seq = HEADER(seqs_word) + b * RAPT_STEP_SEQ_WORDS;
    uint i = token - STEP(seq + SEQ_Q_ROW);
    uint key = STEP(seq + SEQ_KV_LEN) - STEP(seq + SEQ_Q_LEN) + i;
    unit.k = k;
    unit.here = true;
    uint outer = k ? push.rapt_append_k_outer_stride : push.rapt_append_v_outer_stride;
    uint token_stride = k ? push.rapt_append_k_token_stride : push.rapt_append_v_token_stride;
    unit.from = (outer != 0 ? b * outer + i * token_stride : token * token_stride) +
                head * new_head_stride(k);
    unit.to = head * head_stride(k);
    unit.scale = head * scale_head_stride(k);
    unit.from += k ? push.q_base : push.out_base;
    unit.to += k ? push.k_base : push.v_base;
    unit.scale += k ? push.k_scale_lo : push.v_scale_lo;
    if ((FEATURES & RAPT_FEAT_PAGED) != 0) {
        uint entry = min(key >> HEADER(page_shift), max(STEP(seq + SEQ_N_PAGES), 1u) - 1u);
        uint page = STEP(HEADER(pages_word) + STEP(seq + SEQ_PAGE_FIRST) + entry);
        page = min(page, max(HEADER(n_pages), 1u) - 1u);
        unit.scale += page * (k ? HEADER(k_scale_page_stride) : HEADER(v_scale_page_stride));
        if (HEADER(n_segments) > 1) {
            uint shift = HEADER(seg_pages_shift);
            unit.here = page >> shift == push.rapt_append_piece;
            page &= (1u << shift) - 1u;
        }
        unit.to += page * (k ? HEADER(k_page_stride_lo) : HEADER(v_page_stride_lo));
        key &= HEADER(page_mask);
    } else {
        unit.to += STEP(seq + (k ? SEQ_K_BASE : SEQ_V_BASE));
        unit.scale += STEP(seq + (k ? SEQ_K_SCALE_BASE : SEQ_V_SCALE_BASE));
    }
    unit.to += key * (k ? HEADER(k_token_stride) : HEADER(v_token_stride));
    unit.scale += key * (k ? HEADER(k_scale_token_stride) : HEADER(v_scale_token_stride));
    unit.position = 0;
    if ((FEATURES & RAPT_FEAT_ROPE_Q) != 0) {
        if (HEADER(rope_pos_word) != 0)
            unit.position = int(STEP(HEADER(rope_pos_word) + token));
        else if ((HEADER(features) & RAPT_FEAT_Q_POS) != 0)
            unit.position = int(STEP(HEADER(q_pos_word) + token));
        else
            unit.position = int(STEP(seq + SEQ_Q_POS0)) + int(i);
    }
    return unit;
}

/* ---- eight new elements, as the bits of floats: two fours, the second `GAP` after the first */

struct eight_dims {
    uint d[8];
    bool turns;      /* any of them */
    bool pairs;      /* partners of neighbours are neighbours, in one word */
    uint partner[8]; /* the dim each is turned with, itself if it stays as it is */
    vec2 turn[8];    /* cosine; sine with the sign of the partner's product */
    float factor;
};

eight_dims find_dims(new_unit unit, uint d, uint gap)
{
    eight_dims dims;
    [[unroll]] for (uint e = 0; e < 8; e++)
        dims.d[e] = d + (e < 4 ? e : e - 4 + gap);
    dims.turns = (FEATURES & RAPT_FEAT_ROPE_Q) != 0 && unit.k;
    if (dims.turns) {
        rope_place rope = load_rope();
        bool neox = (rope.kind & 0xffu) != 2u;
        dims.pairs = neox && ((rope.first | rope.dim >> 1) & 1u) == 0;
        [[unroll]] for (uint e = 0; e < 8; e++)
            dims.turn[e] = vec2(0.0);
        dims.factor = (rope.kind & RAPT_ROPE_BY_TABLE) != 0 ? 1.0 : rope.factor;
        [[unroll]] for (uint e = 0; e < 8; e++)
            dims.partner[e] = rope_partner(rope, dims.d[e]);
        /* in a loop: drivers that take loads lane by lane compile for long */
        [[dont_unroll]] for (uint e = 0; e < 8; e++) {
            uint r = d + (e < 4 ? e : e - 4 + gap) - rope.first;
            r = r < rope.dim ? r : 0u; /* which does not turn: any turn */
            bool first = neox ? r < (rope.dim >> 1) : (r & 1u) == 0;
            vec2 turn = rope_cos_sin(rope, unit.position,
                                     neox ? (first ? r : r - (rope.dim >> 1)) : r >> 1);
            turn.y = first ? -turn.y : turn.y;
            [[unroll]] for (uint i = 0; i < 8; i++)
                dims.turn[i] = i == e ? turn : dims.turn[i];
        }
    }
    return dims;
}

uint new_element(bool k, uint i)
{
    if (NEW_TYPE == RAPT_STORE_F32)
        return new_word(k, i);
    uint bits = (new_word(k, i >> 1) >> ((i & 1u) * 16u)) & 0xffffu;
    return NEW_TYPE == RAPT_STORE_BF16 ? bits << 16 : float_from_half(bits);
}

/* Two neighbours, the first at an even place. */
uvec2 new_pair(bool k, uint i)
{
    if (NEW_TYPE == RAPT_STORE_F32)
        return uvec2(new_word(k, i), new_word(k, i + 1));
    uint w = new_word(k, i >> 1);
    return NEW_TYPE == RAPT_STORE_BF16
               ? uvec2(w << 16, w & 0xffff0000u)
               : uvec2(float_from_half(w & 0xffffu), float_from_half(w >> 16));
}

/* `from`: the head's first element. */
void load_eight(bool k, uint from, eight_dims dims, out uint x[8])
{
    [[unroll]] for (uint e = 0; e < 8; e += 2) {
        uvec2 pair = new_pair(k, from + dims.d[e]);
        x[e] = pair.x;
        x[e + 1] = pair.y;
    }
    if (!dims.turns)
        return;
    uint y[8];
    [[unroll]] for (uint e = 0; e < 8; e++)
        y[e] = x[e];
    if (dims.pairs) {
        [[unroll]] for (uint e = 0; e < 8; e += 2) {
            uvec2 pair = new_pair(k, from + dims.partner[e]);
            y[e] = pair.x;
            y[e + 1] = pair.y;
        }
    } else {
        [[dont_unroll]] for (uint e = 0; e < 8; e++) {
            uint partner = dims.partner[0];
            [[unroll]] for (uint i = 1; i < 8; i++)
                partner = i == e ? dims.partner[i] : partner;
            uint z = new_element(k, from + partner);
            [[unroll]] for (uint i = 0; i < 8; i++)
                y[i] = i == e ? z : y[i];
        }
    }
    [[unroll]] for (uint e = 0; e < 8; e++) {
        precise float along = uintBitsToFloat(x[e]) * dims.turn[e].x;
        precise float across = uintBitsToFloat(y[e]) * dims.turn[e].y;
        precise float turned = along + across;
        precise float scaled = turned * dims.factor;
        x[e] = dims.partner[e] != dims.d[e] ? floatBitsToUint(scaled) : x[e];
    }
}
