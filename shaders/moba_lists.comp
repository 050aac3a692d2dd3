#version 450
/* SPDX-License-Identifier: Apache-2.0 */
/* From the chunks that every query of a head chose to the lists that attention goes through: the list of a
 * block of queries has a span for each chunk that one of them chose, and bits that tell which did. A
 * workgroup makes a list, TILE chunks at a time. */
#extension GL_GOOGLE_include_directive : require
#include "step.glsl"
#include "sparse.glsl"
#include "sparse_rows.glsl"
#include "scan.glsl"

layout(set = 0, binding = RAPT_BIND_BLOCKS, std430) readonly buffer Choices { uint choices[]; };
layout(set = 0, binding = RAPT_BIND_STEP, std430) buffer Lists { uint list_words[]; };

const uint TILE = 256, MOST_WORDS = 8; /* of a block of 256 queries */

shared uint row_bits[TILE * MOST_WORDS];

uint n_words() /* of a span's bits */
{
    return max(1u << header.block_q_shift, 32u) >> 5;
}

/* Which queries chose the chunks [first, first + TILE). */
void gather(uint head, uint token, uint n_tokens, uint first)
{
    uint words = n_words(), k = push.rapt_sparse_top_k;
    barrier();
    for (uint i = gl_LocalInvocationIndex; i < TILE * words; i += WG_SIZE)
        row_bits[i] = 0;
    barrier();
    for (uint i = gl_LocalInvocationIndex; i < n_tokens * k; i += WG_SIZE) {
        uint t = i / k, row = (token + t) * header.n_q_heads + head;
        uint chunk = choices[push.rapt_sparse_lists_base + row * k + (i - t * k)] - first;
        if (chunk < TILE)
            atomicOr(row_bits[chunk * words + (t >> 5)], 1u << (t & 31u));
    }
    barrier();
}

bool any_row(uint chunk)
{
    uint all = 0;
    for (uint w = 0; w < n_words(); w++)
        all |= row_bits[chunk * n_words() + w];
    return all != 0;
}

bool every_row(uint chunk, uint n_tokens)
{
    bool all = true;
    for (uint w = 0; w < n_words(); w++) {
        uint n = n_tokens - min(n_tokens, w << 5);
        all = all && row_bits[chunk * n_words() + w] == (n < 32 ? (1u << n) - 1u : 0xffffffffu);
    }
    return all;
}

void store_span(uint list, uint at, uint first, uint chunk, uint n_tokens, uint kv_len)
{
    uint capacity = (header.counts_word - 1) / RAPT_STEP_SPAN_WORDS;
    uint to = header.blocks_word + list * header.counts_word + 1 + at * RAPT_STEP_SPAN_WORDS;
    uint bits = header.bits_word + (list * capacity + at) * n_words();
    if (at >= capacity) /* there is room for all that can be chosen */
        return;
    uint begin = (first + chunk) * push.rapt_sparse_chunk;
    list_words[to] = begin;
    list_words[to + 1] = min(begin + push.rapt_sparse_chunk, kv_len);
    if (every_row(chunk, n_tokens)) {
        list_words[to + 2] = RAPT_SPAN_CLOSED;
        return;
    }
    list_words[to + 2] = 4 * bits + RAPT_SPAN_ROWS;
    for (uint w = 0; w < n_words(); w++)
        list_words[bits + w] = row_bits[chunk * n_words() + w];
}

void main()
{
    uint list = group_index();
    if (list >= push.count)
        return;
    uint n_rows = work_words[blocks_before() + header.n_seqs], head = list / n_rows;
    uint row = list - head * n_rows;
    uint b = find_in(blocks_before(), row), seq = seq_word(b);
    uint token = (row - work_words[blocks_before() + b]) << header.block_q_shift;
    uint n_tokens = min(1u << header.block_q_shift, step_words[seq + SEQ_Q_LEN] - token);
    token += step_words[seq + SEQ_Q_ROW];
    uint n = n_chunks(seq), at = 0, lane = gl_LocalInvocationIndex;
    uint part = (TILE + WG_SIZE - 1) / WG_SIZE;
    uint begin = min(lane * part, TILE), end = min(begin + part, TILE);
    for (uint first = 0; first < n; first += TILE) {
        gather(head, token, n_tokens, first);
        uint own = 0;
        for (uint c = begin; c < end; c++)
            own += any_row(c) ? 1 : 0;
        uvec2 all;
        uint to = at + sum_before(uvec2(own, 0), all).x;
        for (uint c = begin; c < end; c++)
            if (any_row(c))
                store_span(list, to++, first, c, n_tokens, step_words[seq + SEQ_KV_LEN]);
        at += all.x;
    }
    if (lane == 0)
        list_words[header.blocks_word + list * header.counts_word] =
            min(at, (header.counts_word - 1) / RAPT_STEP_SPAN_WORDS);
}
