#version 450
/* SPDX-License-Identifier: Apache-2.0 */
/* Appends new rows of K and V to the cache: K is rotated, both are converted or quantized to KV_TYPE
 * and written through the block table or into packed rows.
 *
 * A *unit* is up to SPAN KV heads of one new token, or, for one scale per token, all its heads. A team
 * of TEAM lanes works on a unit, chunk by chunk: 8 elements, 32 where 32 share a scale. A lane goes
 * through the heads with eight dims, so that the turns of those are computed once for all heads. What
 * it has to keep for every head of them, and the largest magnitude of what shares a scale, stands in
 * shared memory. The first groups of the dispatch work on K, the rest on V.
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
layout(constant_id = RAPT_SPEC_TILE_C) const uint SPAN = 1;
layout(constant_id = RAPT_SPEC_TILE_D) const uint IN_STEP = 0; /* lanes of a workgroup go in step */
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
/* bytes of a chunk, words that eight elements make, bits that precede those */
#if KV_TYPE == RAPT_STORE_F32
#define CHUNK_BYTES 32u
#define EIGHT_WORDS 8u
#elif KV_TYPE == RAPT_STORE_F16 || KV_TYPE == RAPT_STORE_BF16
#define CHUNK_BYTES 16u
#define EIGHT_WORDS 4u
#elif KV_TYPE == RAPT_STORE_INT8 || KV_TYPE == RAPT_STORE_FP8_E4M3
#define CHUNK_BYTES 8u
#define EIGHT_WORDS 2u
#define PREFIX 0u
#elif KV_TYPE == RAPT_STORE_INT4
#define CHUNK_BYTES 16u
#define EIGHT_WORDS 1u
#define PREFIX 0u
#elif KV_TYPE == RAPT_STORE_Q8_0
#define CHUNK_BYTES 34u
#define EIGHT_WORDS 2u
#define PREFIX 16u
#elif KV_TYPE == RAPT_STORE_Q4_0
#define CHUNK_BYTES 18u
#define EIGHT_WORDS 1u
#define PREFIX 16u
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

#include "append_new.glsl"

/* ---- what is kept in shared memory */

#if defined(ROW_SCALES) || defined(OWN_SCALES)
/* A lane's largest magnitudes, one per head, or one; of groups with the sign of the first of equals.
 * Then the scales. */
shared uint scales[WG_SIZE * SPAN];
#endif
#ifdef OWN_SCALES
shared uint held_bits[WG_SIZE * SPAN]; /* of the last word, which the next codes fill up */
shared uint code_flags[WG_SIZE * SPAN];
#endif

/* A lane's place for a head. */
uint own_place(uint head)
{
    return head * WG_SIZE + gl_LocalInvocationIndex;
}

/* ---- codes of eight elements */

struct coding {
    uint scale;   /* bits: of the row, of int4's group; 1 / d of ggml's blocks */
    float middle; /* q4_0 */
    bool tiny;    /* q8_0, q4_0 */
};

void encode(uint x[8], coding code, out uint words[EIGHT_WORDS])
{
#if KV_TYPE == RAPT_STORE_F32
    words = x;
#elif KV_TYPE == RAPT_STORE_F16
    [[unroll]] for (uint i = 0; i < 4; i++)
        words[i] = half_from_float(x[2 * i]) | half_from_float(x[2 * i + 1]) << 16;
#elif KV_TYPE == RAPT_STORE_BF16
    [[unroll]] for (uint i = 0; i < 4; i++)
        words[i] = bf16_from_float(x[2 * i]) | bf16_from_float(x[2 * i + 1]) << 16;
#else
    [[unroll]] for (uint i = 0; i < EIGHT_WORDS; i++)
        words[i] = 0;
    [[unroll]] for (uint e = 0; e < 8; e++) {
#if KV_TYPE == RAPT_STORE_INT8
        words[e / 4] |= int8_code(x[e], code.scale) << (8 * (e & 3u));
#elif KV_TYPE == RAPT_STORE_FP8_E4M3
        words[e / 4] |= fp8_quantized(x[e], code.scale) << (8 * (e & 3u));
#elif KV_TYPE == RAPT_STORE_INT4
        words[0] |= int4_code(x[e], code.scale) << (4 * e);
#elif KV_TYPE == RAPT_STORE_Q8_0
        words[e / 4] |= q8_0_code(x[e], code.scale, code.tiny) << (8 * (e & 3u));
#else
        words[0] |= q4_0_code(x[e], code.scale, code.middle, code.tiny)
                    << (8 * (e & 3u) + e / 4 * 4);
#endif
    }
#if KV_TYPE == RAPT_STORE_INT8 || KV_TYPE == RAPT_STORE_INT4
    [[unroll]] for (uint i = 0; i < EIGHT_WORDS; i++)
        words[i] = code.scale == 0 ? 0u : words[i];
#endif
#endif
}

/* ---- a chunk: where its elements are and where it goes */

struct new_chunk {
    uint from, d; /* its first head, its first dim there */
    uint byte;    /* of the cache, in the first head */
    uint scale;   /* of its own: element, in the first head */
};

const uint UNIT_BYTES = KV_TYPE == RAPT_STORE_F32 ? 4 : KV_TYPE <= RAPT_STORE_BF16 ? 2 : 1;

new_chunk find_chunk(new_unit unit, uint c)
{
    new_chunk chunk;
    chunk.from = unit.from;
    chunk.d = c * CHUNK;
    chunk.byte = unit.to * UNIT_BYTES + c * CHUNK_BYTES;
    chunk.scale = unit.scale + c;
    return chunk;
}

/* Eight `j` of a chunk whose codes begin PREFIX bits into it. */
void store_eight(new_unit unit, uint byte, uint head, uint j, uint words[EIGHT_WORDS])
{
    uint word = (byte >> 2) + j * EIGHT_WORDS;
#if WHOLE_WORDS
    [[unroll]] for (uint i = 0; i < EIGHT_WORDS; i++)
        put_word(unit.k, word + i, words[i], 0xffffffffu);
#else
    uint first = (byte & 3u) * 8u, shift = (first + PREFIX) & 31u, held = 0;
    uint mask = j == 0 && first + PREFIX < 32u ? 0xffffffffu << first : 0xffffffffu;
    word += (first + PREFIX) >> 5;
#ifdef OWN_SCALES
    held = held_bits[own_place(head)];
#endif
    [[unroll]] for (uint i = 0; i < EIGHT_WORDS; i++) {
        put_word(unit.k, word + i, held | words[i] << shift, mask);
        held = shift > 0 ? words[i] >> (32u - shift) : 0u;
        mask = 0xffffffffu;
    }
#ifdef OWN_SCALES
    held_bits[own_place(head)] = held;
#endif
    if (shift > 0 && j + 1 == CHUNK / 8)
        put_word(unit.k, word + EIGHT_WORDS, held, (1u << shift) - 1u);
#endif
}

/* ---- scales */

#if defined(ROW_SCALES) || defined(OWN_SCALES)
/* The one of larger magnitude, `a` of equals. */
uint larger(uint a, uint b)
{
    return (b & 0x7fffffffu) > (a & 0x7fffffffu) ? b : a;
}

uint largest_of(uint x[8])
{
    uint most = finite_of(x[0]);
    [[unroll]] for (uint e = 1; e < 8; e++)
        most = larger(most, finite_of(x[e]));
    return most;
}
#endif

#ifdef ROW_SCALES
uint scale_kind()
{
    return HEADER(scale_kind) >> 8 & 0xffu; /* 1: one per token, 2: static */
}

/* The team's place for a head; largest magnitudes stand in the lanes' own places first. */
uint scale_place(uint head)
{
    uint lane = gl_LocalInvocationIndex;
    return (scale_kind() == 1u ? 0u : head) * WG_SIZE + (TEAM == WG_SIZE ? 0u : lane - lane % TEAM);
}

uint find_scale(uint most)
{
    uint scale = divide(normal_of(most), KV_TYPE == RAPT_STORE_INT8 ? 0x42fe0000u : 0x43e00000u);
    if (half_scales())
        return float_from_half(half_scale(scale));
    return scale < F32_LEAST_NORMAL ? 0u : scale;
}

/* A barrier makes the CPU driver save and restore everything, and compile for long. */
void meet()
{
    if (IN_STEP != 0)
        memoryBarrierShared();
    else
        barrier();
}

/* The scales of a workgroup's units, from the largest magnitudes its lanes have seen; written where
 * they are not the caller's. Every lane of the workgroup comes here. */
void find_scales(new_unit unit, bool there, uint first)
{
    uint n_scales = scale_kind() == 1u ? 1u : unit.n_heads, head = first;
    meet();
    if (head < n_scales)
        do {
            uint at = unit.scale + head * scale_head_stride(unit.k), place = scale_place(head);
            uint scale = 0, i = 0;
            if (scale_kind() == 2u) {
                scale = get_scale(unit.k, at);
            } else {
                do {
                    scale = max(scale, scales[place + i]);
                } while (++i < TEAM);
                scale = find_scale(scale);
                if (there)
                    put_scale(unit.k, at, half_scales() ? half_from_float(scale) : scale);
            }
            scales[place] = scale;
            head += TEAM;
        } while (head < n_scales);
    meet();
}

coding coding_of(uint head)
{
    return coding(scales[scale_place(head)], 0.0, false);
}
#elif defined(OWN_SCALES)
/* The scale of a group of one head, which stands before it or is a tensor's element. */
void start_group(new_unit unit, new_chunk chunk, uint byte, uint head)
{
    uint place = own_place(head), extreme = scales[place], most = extreme & 0x7fffffffu;
#if KV_TYPE == RAPT_STORE_INT4
    uint bits = half_scale(divide(normal_of(most), 0x40e00000u)); /* 7 */
    scales[place] = float_from_half(bits);
    held_bits[place] = 0;
    put_scale(unit.k, chunk.scale + head * scale_head_stride(unit.k), bits);
#else
    bool tiny = most < TINY;
#if KV_TYPE == RAPT_STORE_Q8_0
    uint scale = divide(most, 0x42fe0000u), sign = 0; /* 127 */
#else
    uint scale = divide(most, 0x41000000u); /* of extreme / -8 */
    uint sign = most == 0 ? 0x80000000u : ~extreme & 0x80000000u;
#endif
    uint id = block_inverse(scale, tiny), half_bits = half_scale(sign | scale);
    scales[place] = sign | id;
    code_flags[place] = (tiny ? 1u : 0u) | (scale != 0 && id == 0 ? 2u : 0u);
    uint first = (byte & 3u) * 8u;
    if (first + PREFIX >= 32u)
        put_word(unit.k, byte >> 2, half_bits << first, 0xffffffffu << first);
    held_bits[place] = first + PREFIX < 32u ? half_bits << first
                       : first > 16u        ? half_bits >> (32u - first)
                                            : 0u;
#endif
}

/* Those of a chunk in all heads. */
void start_groups(new_unit unit, new_chunk chunk)
{
    uint head = 0, byte = chunk.byte;
    do {
        start_group(unit, chunk, byte, head);
        byte += head_stride(unit.k);
    } while (++head < unit.n_heads);
}

coding coding_of(uint head)
{
    uint place = own_place(head), flags = code_flags[place];
    return coding(scales[place], (flags & 2u) != 0 ? 0.0 : 8.5, (flags & 1u) != 0);
}
#else
coding coding_of(uint head)
{
    return coding(0u, 0.0, false);
}
#endif

/* ---- a unit */

/* Eight elements of a chunk in all heads. Those that share a scale are gone through twice: `look` for
 * the largest, then with that. */
void do_eight(new_unit unit, new_chunk chunk, uint j, bool look)
{
    /* q4_0: codes of a word lie 16 dims apart */
    bool apart = KV_TYPE == RAPT_STORE_Q4_0 && !look;
    eight_dims dims = find_dims(unit, chunk.d + j * (apart ? 4u : 8u), apart ? 16u : 4u);
    uint head = 0, from = chunk.from, byte = chunk.byte;
    do {
        uint x[8], words[EIGHT_WORDS];
        load_eight(unit.k, from, dims, x);
        from += new_head_stride(unit.k);
#if defined(ROW_SCALES) || defined(OWN_SCALES)
        if (look) {
#ifdef ROW_SCALES
            uint place = own_place(scale_kind() == 1u ? 0u : head);
            scales[place] = larger(scales[place], largest_of(x)) & 0x7fffffffu;
#else
            uint place = own_place(head), most = largest_of(x);
            scales[place] = j == 0 ? most : larger(scales[place], most);
#endif
            continue;
        }
#endif
        encode(x, coding_of(head), words);
        store_eight(unit, byte, head, j, words);
        byte += head_stride(unit.k) * UNIT_BYTES;
    } while (++head < unit.n_heads);
}

#ifdef ROW_SCALES
void do_unit(new_unit unit, bool there, uint first, uint n_chunks)
{
    uint head = 0, pass = scale_kind() == 2u ? 1u : 0u;
    do {
        scales[own_place(head)] = 0;
    } while (++head < SPAN);
    do {
        uint c = first;
        if (pass == 1)
            find_scales(unit, there, first);
        if (there && c < n_chunks)
            do {
                do_eight(unit, find_chunk(unit, c), 0, pass == 0);
                c += TEAM;
            } while (c < n_chunks);
    } while (++pass < 2);
}
#else
void do_unit(new_unit unit, bool there, uint c, uint n_chunks)
{
    if (there && c < n_chunks)
        do {
            new_chunk chunk = find_chunk(unit, c);
            uint j = 0;
#ifdef OWN_SCALES
            do {
                do_eight(unit, chunk, j & (CHUNK / 8 - 1), j < CHUNK / 8);
                if (j + 1 == CHUNK / 8)
                    start_groups(unit, chunk);
            } while (++j < CHUNK / 4);
#else
            do_eight(unit, chunk, 0, false);
#endif
            c += TEAM;
        } while (c < n_chunks);
}
#endif

void append(bool k, uint group)
{
    uint heads = HEADER(n_kv_heads), span = SPAN;
#ifdef ROW_SCALES
    span = scale_kind() == 1u ? heads : span;
#endif
    uint per_token = (heads + span - 1) / span;
    uint lane = gl_LocalInvocationIndex, n_units = HEADER(total_q) * per_token;
    uint index = TEAM == WG_SIZE ? group : group * (WG_SIZE / TEAM) + lane / TEAM;
    bool there = index < n_units;
    index = min(index, n_units - 1);
    uint token = index / per_token, head = (index - token * per_token) * span;
    new_unit unit = find_unit(k, token, head);
    unit.n_heads = min(span, heads - head);
    there = there && unit.here;
    do_unit(unit, there, lane % TEAM, (k ? D : DV) / CHUNK);
}

void main()
{
    uint group = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x;
    if (group >= push.count)
        return;
    if (group < push.rapt_append_k_groups)
        append(true, group);
    else
        append(false, group - push.rapt_append_k_groups);
}
