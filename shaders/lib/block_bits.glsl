/* SPDX-License-Identifier: Apache-2.0 */
/* Which keys of a block a query sees, 32 at a time: by the ids of both, or in the caller's bitmap. After
 * block_rows.glsl. */

uint low_bits(int n)
{
    return n <= 0 ? 0 : n >= 32 ? 0xffffffffu : (1u << n) - 1;
}

/* Keys from `key` on that a query may see in closed form. */
uint interval_bits(uint t, uint key)
{
    ivec2 keys = interval_of[t] - int(key);
    return low_bits(keys.y + 1) & ~low_bits(keys.x);
}

#ifdef FROM_SEGMENTS
layout(set = 0, binding = RAPT_BIND_Q, std430) readonly buffer IdsQ { int ids_q[]; };
layout(set = 0, binding = RAPT_BIND_K, std430) readonly buffer IdsKv { int ids_kv[]; };

shared int id_of[MOST_TOKENS];
shared int shared_least, shared_most;

/* Every lane must come. */
void read_ids()
{
    if (gl_LocalInvocationIndex == 0) {
        shared_least = 0x7fffffff;
        shared_most = -0x7fffffff - 1;
    }
    barrier();
    for (uint t = gl_LocalInvocationIndex; t < at.n_tokens; t += WG_SIZE) {
        int id = ids_q[push.q_base + step_words[at.seq + SEQ_Q_ROW] + at.token + t];
        id_of[t] = id;
        atomicMin(shared_least, id);
        atomicMax(shared_most, id);
    }
    barrier();
}

uint first_look(uint block)
{
    uint word = push.rapt_sparse_means + 2 * (work_words[chunks_before() + at.b] + block);
    int least = int(work_words[word]), most = int(work_words[word + 1]);
    uint kind = closed_kind(block);
    if (kind == BLOCK_EMPTY || most < shared_least || least > shared_most)
        return BLOCK_EMPTY;
    if (least == most && shared_least == shared_most) {
        if (least == 0)
            return BLOCK_EMPTY;
        if (kind == RAPT_SPAN_FULL)
            return kind;
    }
    return BLOCK_OPEN;
}

uint bits_of_row(uint t, uint key, uint n)
{
    int id = id_of[t];
    uint bits = 0, first = push.k_base + work_words[keys_before() + at.b] + key;
    if (id != 0)
        for (uint j = 0; j < n; j++)
            bits |= ids_kv[first + j] == id ? 1u << j : 0u;
    return bits;
}
#else
layout(set = 0, binding = RAPT_BIND_Q, std430) readonly buffer Offsets { uint offsets[]; };
layout(set = 0, binding = RAPT_BIND_K, std430) readonly buffer Bitmap { uint bitmap[]; };

uint first_look(uint block)
{
    return closed_kind(block) == BLOCK_EMPTY ? BLOCK_EMPTY : BLOCK_OPEN;
}

/* Numbers of bits, in two words, the lower one first. */
uvec2 sum_of(uvec2 a, uvec2 b)
{
    uint carry, low = uaddCarry(a.x, b.x, carry);
    return uvec2(low, a.y + b.y + carry);
}

uvec2 times(uint a, uvec2 b)
{
    uint high, low;
    umulExtended(a, b.x, high, low);
    return uvec2(low, high + a * b.y);
}

uint word_at(uint word)
{
    return word < push.rapt_blocks_bitmap_words ? bitmap[push.k_base + word] : 0;
}

uint bits_of_row(uint t, uint key, uint n)
{
    uint token = at.token + t, head = at.set * header.group;
    uint stride = push.rapt_sparse_stride != 0 ? push.rapt_sparse_stride : at.kv_len;
    uvec2 bit = times(token, uvec2(stride, 0));
    if (push.rapt_blocks_offsets != 0) {
        uint word = push.q_base + 2 * at.b;
        bit = sum_of(bit, uvec2(offsets[word], offsets[word + 1]));
    } else {
        bit = sum_of(bit, times(step_words[at.seq + SEQ_Q_ROW], uvec2(stride, 0)));
    }
    bit = sum_of(bit, times(head, uvec2(push.rapt_blocks_head_stride_lo, push.rapt_blocks_head_stride_hi)));
    bit = sum_of(bit, uvec2(key, 0));
    if (bit.y >= 32)
        return 0;
    uint word = bit.y << 27 | bit.x >> 5, shift = bit.x & 31u;
    uint low = word_at(word) >> shift;
    return shift + n > 32 ? low | word_at(word + 1) << (32 - shift) : low;
}
#endif
