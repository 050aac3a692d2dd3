#version 450
/* SPDX-License-Identifier: Apache-2.0 */
/* Appends new rows of K and V to the cache: K is rotated, both are converted or quantized to KV_TYPE
 * and written through the block table or into packed rows.
 *
 * A *unit* is what shares a scale: one KV head of one new token, or, for one scale per token, all its
 * heads. A team of TEAM lanes works on a unit, chunk by chunk: 8 elements, 32 where 32 share a scale.
 * The first groups of the dispatch work on K, the rest on V.
 *
 * Stored rows are written in whole words where they fill them; a word that another row has a part in
 * is cleared and set under a mask, by atomics, so that neither sees the other. */
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "args.h"

layout(local_size_x_id = RAPT_SPEC_WG_SIZE) in;
layout(constant_id = RAPT_SPEC_WG_SIZE) const uint WG_SIZE = 64;
layout(constant_id = RAPT_SPEC_HEAD_DIM) const uint D = 128;
layout(constant_id = RAPT_SPEC_HEAD_DIM_V) const uint DV = 128;
layout(constant_id = RAPT_SPEC_FEATURES) const uint FEATURES = 0; /* ROPE_Q: K is rotated */
layout(constant_id = RAPT_SPEC_Q_TYPE) const uint NEW_TYPE = RAPT_STORE_F32;
layout(constant_id = RAPT_SPEC_TILE_A) const uint TEAM = 1;
layout(constant_id = RAPT_SPEC_TILE_B) const uint EXACT = 0;
const bool EXACT_DIVIDE = EXACT != 0;

/* ---- what the type is like */
#if KV_TYPE == RAPT_STORE_INT8 || KV_TYPE == RAPT_STORE_FP8_E4M3
#define ROW_SCALES
#define HAS_SCALES
#elif KV_TYPE == RAPT_STORE_INT4
#define HAS_SCALES
#endif
#if KV_TYPE == RAPT_STORE_INT4 || KV_TYPE == RAPT_STORE_Q8_0 || KV_TYPE == RAPT_STORE_Q4_0
#define OWN_SCALES /* of a chunk */
#define CHUNK 32u
#else
#define CHUNK 8u
#endif
#if KV_TYPE == RAPT_STORE_F32
#define CHUNK_BYTES 32u
#elif KV_TYPE == RAPT_STORE_F16 || KV_TYPE == RAPT_STORE_BF16 || KV_TYPE == RAPT_STORE_INT4
#define CHUNK_BYTES 16u
#elif KV_TYPE == RAPT_STORE_INT8 || KV_TYPE == RAPT_STORE_FP8_E4M3
#define CHUNK_BYTES 8u
#elif KV_TYPE == RAPT_STORE_Q8_0
#define CHUNK_BYTES 34u
#elif KV_TYPE == RAPT_STORE_Q4_0
#define CHUNK_BYTES 18u
#else
#error "KV_TYPE must be a RAPT_STORE_*"
#endif
#define WHOLE_WORDS (KV_TYPE <= RAPT_STORE_BF16) /* rows of these begin and end at words */

layout(push_constant) uniform Push { rapt_push push; };

/* ---- memory */
layout(set = 0, binding = RAPT_BIND_STEP, std430) readonly buffer Step { uint step_words[]; };
layout(set = 0, binding = RAPT_BIND_STEP, std430) readonly buffer Header
{
    rapt_step_header header;
};
layout(set = 0, binding = RAPT_BIND_K_NEW, std430) readonly buffer KNew { uint k_new[]; };
layout(set = 0, binding = RAPT_BIND_V_NEW, std430) readonly buffer VNew { uint v_new[]; };
layout(set = 0, binding = RAPT_BIND_K, std430) buffer K { uint k_words[]; };
layout(set = 0, binding = RAPT_BIND_V, std430) buffer V { uint v_words[]; };
layout(set = 0, binding = RAPT_BIND_ROPE, std430) readonly buffer Rope { float rope_table[]; };
#define STEP(word) step_words[word]
#define HEADER(member) header.member
#define ROPE_TABLE(i) rope_table[i]

uint new_word(bool k, uint i)
{
    if (k)
        return k_new[i];
    return v_new[i];
}

void put_word(bool k, uint word, uint x, uint mask)
{
    if (WHOLE_WORDS || mask == 0xffffffffu) {
        if (k)
            k_words[word] = x;
        else
            v_words[word] = x;
    } else if (k) {
        atomicAnd(k_words[word], ~mask);
        atomicOr(k_words[word], x & mask);
    } else {
        atomicAnd(v_words[word], ~mask);
        atomicOr(v_words[word], x & mask);
    }
}

#define ROPE_WORD(i) STEP(i)
#define ROPE_HEADER(member) HEADER(member)
#include "rope.glsl"
#include "quantize.glsl"

#ifdef HAS_SCALES
layout(set = 0, binding = RAPT_BIND_K_SCALE, std430) buffer KScale { uint k_scales[]; };
layout(set = 0, binding = RAPT_BIND_V_SCALE, std430) buffer VScale { uint v_scales[]; };

bool half_scales()
{
    return KV_TYPE == RAPT_STORE_INT4 || (HEADER(scale_kind) & 0xffu) == RAPT_STORE_F16;
}

uint get_scale(bool k, uint i)
{
    uint word = half_scales() ? i >> 1 : i;
    uint x;
    if (k)
        x = k_scales[word];
    else
        x = v_scales[word];
    return half_scales() ? float_from_half((x >> (uint(i & 1u) * 16u)) & 0xffffu) : x;
}

void put_scale(bool k, uint i, uint x)
{
    uint word = half_scales() ? i >> 1 : i;
    uint mask = half_scales() ? 0xffffu << (uint(i & 1u) * 16u) : 0xffffffffu;
    x <<= half_scales() ? uint(i & 1u) * 16u : 0u;
    if (mask == 0xffffffffu) {
        if (k)
            k_scales[word] = x;
        else
            v_scales[word] = x;
    } else if (k) {
        atomicAnd(k_scales[word], ~mask);
        atomicOr(k_scales[word], x);
    } else {
        atomicAnd(v_scales[word], ~mask);
        atomicOr(v_scales[word], x);
    }
}
#endif

/* ---- where a unit's rows lie */

/* word offsets in struct rapt_step_seq */
const uint SEQ_Q_ROW = 0, SEQ_Q_LEN = 1, SEQ_KV_LEN = 2, SEQ_Q_POS0 = 4, SEQ_PAGE_FIRST = 6,
           SEQ_N_PAGES = 7, SEQ_K_BASE = 10, SEQ_V_BASE = 12, SEQ_K_SCALE_BASE = 20,
           SEQ_V_SCALE_BASE = 22;

struct new_unit {
    bool k;        /* or V */
    uint from;     /* element of its head in the new rows */
    uint to;       /* of its head in the cache: element, byte of quantized kinds */
    uint scale;    /* element of its head's scale */
    int position;  /* K is rotated at */
    bool here;     /* its page lies in this dispatch's piece of the pool */
};

/* The sequence a new token belongs to: the last that begins at or before it. */
uint find_seq(uint token)
{
    uint low = 0, high = HEADER(n_seqs) - 1;
    if (low < high)
        do {
            uint middle = (low + high + 1) >> 1;
            if (STEP(HEADER(seqs_word) + middle * RAPT_STEP_SEQ_WORDS + SEQ_Q_ROW) <= token)
                low = middle;
            else
                high = middle - 1;
        } while (low < high);
    return low;
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
    uint head_stride = k ? push.rapt_append_k_head_stride : push.rapt_append_v_head_stride;
    unit.from = (outer != 0 ? b * outer + i * token_stride : token * token_stride) +
                head * head_stride;
    unit.to = head * (k ? HEADER(k_head_stride) : HEADER(v_head_stride));
    unit.scale = head * (k ? HEADER(k_scale_head_stride) : HEADER(v_scale_head_stride));
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

/* ---- four new elements, as the bits of floats */

uint new_element(bool k, uint i)
{
    if (NEW_TYPE == RAPT_STORE_F32)
        return new_word(k, i);
    uint bits = (new_word(k, i >> 1) >> ((i & 1u) * 16u)) & 0xffffu;
    return NEW_TYPE == RAPT_STORE_BF16 ? bits << 16 : float_from_half(bits);
}

/* Dims d to d + 3 of the head that begins at element `from`. */
uvec4 load_four(bool k, int position, uint from, uint d)
{
    uvec4 x;
    uint i = from + d;
    if (NEW_TYPE == RAPT_STORE_F32) {
        x = uvec4(new_word(k, i), new_word(k, i + 1), new_word(k, i + 2), new_word(k, i + 3));
    } else {
        uint a = new_word(k, i >> 1), b = new_word(k, (i >> 1) + 1);
        if (NEW_TYPE == RAPT_STORE_BF16)
            x = uvec4(a << 16, a & 0xffff0000u, b << 16, b & 0xffff0000u);
        else
            x = uvec4(float_from_half(a & 0xffffu), float_from_half(a >> 16),
                      float_from_half(b & 0xffffu), float_from_half(b >> 16));
    }
    if ((FEATURES & RAPT_FEAT_ROPE_Q) == 0 || !k)
        return x;
    rope_place rope = load_rope();
    [[dont_unroll]] for (uint e = 0; e < 4; e++) { /* unrolled it compiles for long */
        uint partner = rope_partner(rope, d + e);
        if (partner != d + e)
            x[e] = floatBitsToUint(rope_rotate(rope, position, d + e, uintBitsToFloat(x[e]),
                                               uintBitsToFloat(new_element(k, from + partner))));
    }
    return x;
}

uint most_of(uvec4 x)
{
    uint most = 0;
    [[unroll]] for (uint e = 0; e < 4; e++)
        most = max(most, finite_of(x[e]) & 0x7fffffffu);
    return most;
}

/* ---- a chunk: where its elements are, where it goes, and what its words are made with */

struct new_chunk {
    uint from, d; /* its head, its first dim there */
    uint to, scale; /* its head in the cache */
};

struct coding {
    uint scale;   /* bits: of the row, of int4's group; 1 / d of ggml's blocks */
    uint carry;   /* q8_0, q4_0: the half of a word that comes before the next codes */
    float middle; /* q4_0 */
    bool tiny;    /* q8_0, q4_0 */
};

#ifdef OWN_SCALES
/* The scale of a chunk of its own, which stands before it or is a tensor's element. */
coding start_chunk(new_unit unit, new_chunk chunk, uint row_scale)
{
    coding code = coding(0u, 0u, 8.5, false);
    uint most = 0, extreme = 0, d = chunk.d, end = d + CHUNK;
    do {
        uvec4 x = load_four(unit.k, unit.position, chunk.from, d);
        [[unroll]] for (uint e = 0; e < 4; e++) {
            uint u = finite_of(x[e]), a = u & 0x7fffffffu;
            extreme = a > most ? u : extreme; /* the first of equal magnitudes */
            most = max(most, a);
        }
        d += 4;
    } while (d < end);
#if KV_TYPE == RAPT_STORE_INT4
    uint bits = half_scale(divide(normal_of(most), 0x40e00000u)); /* 7 */
    code.scale = float_from_half(bits);
    put_scale(unit.k, chunk.scale + chunk.d / CHUNK, bits);
#else
    code.tiny = most < TINY;
#if KV_TYPE == RAPT_STORE_Q8_0
    uint scale = divide(most, 0x42fe0000u), sign = 0; /* 127 */
#else
    uint scale = divide(most, 0x41000000u); /* of extreme / -8 */
    uint sign = most == 0 ? 0x80000000u : ~extreme & 0x80000000u;
#endif
    uint id = block_inverse(scale, code.tiny);
    code.scale = sign | id;
    code.carry = half_scale(sign | scale);
    code.middle = scale != 0 && id == 0 ? 0.0 : 8.5;
#endif
    return code;
}
#else
coding start_chunk(new_unit unit, new_chunk chunk, uint row_scale)
{
    return coding(row_scale, 0u, 0.0, false);
}
#endif

/* Word i of a chunk; words come in order. */
uint chunk_word(new_unit unit, new_chunk chunk, uint i, inout coding code)
{
#if KV_TYPE == RAPT_STORE_F32
    return load_four(unit.k, unit.position, chunk.from, chunk.d + (i & ~3u))[i & 3u];
#elif KV_TYPE == RAPT_STORE_F16
    uvec4 x = load_four(unit.k, unit.position, chunk.from, chunk.d + 2 * i);
    return half_from_float(x.x) | half_from_float(x.y) << 16;
#elif KV_TYPE == RAPT_STORE_BF16
    uvec4 x = load_four(unit.k, unit.position, chunk.from, chunk.d + 2 * i);
    return bf16_from_float(x.x) | bf16_from_float(x.y) << 16;
#elif KV_TYPE == RAPT_STORE_INT8 || KV_TYPE == RAPT_STORE_FP8_E4M3
    uvec4 x = load_four(unit.k, unit.position, chunk.from, chunk.d + 4 * i);
    uint word = 0;
    [[unroll]] for (uint e = 0; e < 4; e++)
#if KV_TYPE == RAPT_STORE_INT8
        word |= int8_code(x[e], code.scale) << (8 * e);
    return code.scale == 0 ? 0u : word;
#else
        word |= fp8_quantized(x[e], code.scale) << (8 * e);
    return word;
#endif
#elif KV_TYPE == RAPT_STORE_INT4
    uint word = 0, at = 0;
    do {
        uvec4 x = load_four(unit.k, unit.position, chunk.from, chunk.d + 8 * i + at);
        uint nibbles = 0;
        [[dont_unroll]] for (uint e = 0; e < 4; e++)
            nibbles |= int4_code(x[e], code.scale) << (4 * e);
        word |= nibbles << (4 * at);
        at += 4;
    } while (at < 8);
    return code.scale == 0 ? 0u : word;
#else
    /* codes of 4 bytes, half of them in the word that follows */
    uint codes = 0, before = code.carry;
    if (i < CHUNK_BYTES / 4) {
#if KV_TYPE == RAPT_STORE_Q8_0
        uvec4 x = load_four(unit.k, unit.position, chunk.from, chunk.d + 4 * i);
        [[unroll]] for (uint e = 0; e < 4; e++)
            codes |= q8_0_code(x[e], code.scale, code.tiny) << (8 * e);
#else
        uint upper = 0;
        do {
            uvec4 x = load_four(unit.k, unit.position, chunk.from, chunk.d + 4 * i + 16 * upper);
            uint nibbles = 0;
            [[dont_unroll]] for (uint e = 0; e < 4; e++)
                nibbles |= q4_0_code(x[e], code.scale, code.middle, code.tiny) << (8 * e);
            codes |= nibbles << (4 * upper);
            upper++;
        } while (upper < 2);
#endif
    }
    code.carry = codes >> 16;
    return before | codes << 16;
#endif
}

/* Byte of the cache a chunk begins at. */
uint chunk_byte(new_chunk chunk)
{
    uint unit_bytes = KV_TYPE == RAPT_STORE_F32 ? 4 : KV_TYPE <= RAPT_STORE_BF16 ? 2 : 1;
    return chunk.to * unit_bytes + chunk.d / CHUNK * CHUNK_BYTES;
}

void store_chunk(new_unit unit, new_chunk chunk, uint row_scale)
{
    coding code = start_chunk(unit, chunk, row_scale);
    uint byte = chunk_byte(chunk);
    uint shift = WHOLE_WORDS ? 0u : uint(byte & 3u) * 8u, end = shift + CHUNK_BYTES * 8u;
    uint held = 0, i = 0, mask = 0xffffffffu << shift;
    do {
        uint x = 32u * i < CHUNK_BYTES * 8u ? chunk_word(unit, chunk, i, code) : 0u;
        uint rest = end - 32u * i;
        mask &= rest < 32u ? (1u << rest) - 1u : 0xffffffffu;
        put_word(unit.k, (byte >> 2) + i, held | x << shift, mask);
        held = shift > 0 ? x >> (32u - shift) : 0u;
        mask = 0xffffffffu;
        i++;
    } while (32u * i < end);
}

/* ---- a unit */

#ifdef ROW_SCALES
shared uint largest[WG_SIZE];

/* scale of a unit whose largest magnitude is `most` */
uint find_scale(uint most)
{
    uint scale = divide(normal_of(most), KV_TYPE == RAPT_STORE_INT8 ? 0x42fe0000u : 0x43e00000u);
    if (half_scales())
        return float_from_half(half_scale(scale));
    return scale < F32_LEAST_NORMAL ? 0u : scale;
}

uint team_most(uint most)
{
    if (TEAM == 1)
        return most;
    uint team = gl_LocalInvocationIndex / TEAM;
    largest[gl_LocalInvocationIndex] = 0;
    barrier();
    atomicMax(largest[team], most);
    barrier();
    return largest[team];
}
#endif

new_chunk find_chunk(new_unit unit, uint c)
{
    uint per_head = (unit.k ? D : DV) / CHUNK, head = c / per_head;
    new_chunk chunk;
    chunk.d = (c - head * per_head) * CHUNK;
    chunk.from = unit.from + head * (unit.k ? push.rapt_append_k_head_stride
                                            : push.rapt_append_v_head_stride);
    chunk.to = unit.to + head * (unit.k ? HEADER(k_head_stride) : HEADER(v_head_stride));
    chunk.scale = unit.scale;
    return chunk;
}

#ifdef ROW_SCALES
/* The scale of a unit; written where it is not the caller's. Every lane of the workgroup comes here. */
uint unit_scale(new_unit unit, bool there, uint first, uint n_chunks)
{
    if ((HEADER(scale_kind) >> 8 & 0xffu) == 2u) /* static */
        return get_scale(unit.k, unit.scale);
    uint most = 0, c = first;
    if (c < n_chunks)
        do {
            new_chunk chunk = find_chunk(unit, c);
            uint end = chunk.d + CHUNK;
            do {
                most = max(most, most_of(load_four(unit.k, unit.position, chunk.from, chunk.d)));
                chunk.d += 4;
            } while (chunk.d < end);
            c += TEAM;
        } while (c < n_chunks);
    uint scale = find_scale(team_most(most));
    if (there && first == 0)
        put_scale(unit.k, unit.scale, half_scales() ? half_from_float(scale) : scale);
    return scale;
}
#endif

void main()
{
    uint group = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x;
    if (group >= push.count)
        return;
    bool k = group < push.rapt_append_k_groups;
    if (!k)
        group -= push.rapt_append_k_groups;
    uint per_unit = 1, heads = HEADER(n_kv_heads);
#ifdef ROW_SCALES
    if ((HEADER(scale_kind) >> 8 & 0xffu) == 1u) /* one per token */
        per_unit = heads;
#endif
    heads /= per_unit;
    uint lane = gl_LocalInvocationIndex, n_units = HEADER(total_q) * heads;
    uint index = group * (WG_SIZE / TEAM) + lane / TEAM;
    bool there = index < n_units;
    index = min(index, n_units - 1);
    uint token = index / heads;
    new_unit unit = find_unit(k, token, index - token * heads);
    there = there && unit.here;
    uint n_chunks = per_unit * ((k ? D : DV) / CHUNK), c = lane % TEAM, row_scale = 0;
#ifdef ROW_SCALES
    row_scale = unit_scale(unit, there, c, n_chunks);
#endif
    if (there && c < n_chunks)
        do {
            store_chunk(unit, find_chunk(unit, c), row_scale);
            c += TEAM;
        } while (c < n_chunks);
}
