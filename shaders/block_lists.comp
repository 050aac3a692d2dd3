#version 450
/* SPDX-License-Identifier: Apache-2.0 */
/* Lists of key blocks: a workgroup makes that of a block of queries, TILE blocks of keys at a time. What
 * the blocks are is found out first, then neighbours of one kind are joined to spans.
 *
 * FROM_SCORES: blocks chosen by scores; the closed form tests what it cuts. FROM_SEGMENTS, FROM_BITMAP:
 * blocks in which a query sees a key, with a tile of bits where one does not see all of them. */
#extension GL_GOOGLE_include_directive : require
#include "step.glsl"
#include "sparse.glsl"
#include "sparse_rows.glsl"
#include "scan.glsl"
#include "block_rows.glsl"
#if defined(FROM_SCORES)
#include "block_choice.glsl"
#elif defined(FROM_SEGMENTS) || defined(FROM_BITMAP)
#include "block_bits.glsl"
#else
#error "what the lists are made from"
#endif

layout(set = 0, binding = RAPT_BIND_STEP, std430) buffer Lists { uint list_words[]; };
layout(set = 0, binding = RAPT_BIND_BLOCKS, std430) writeonly buffer Listed { uint listed[]; };
layout(set = 0, binding = RAPT_BIND_COUNTS, std430) writeonly buffer Overflow { uint overflow[]; };

const uint TILE = 256;

shared uint kinds[TILE];
shared uint shared_seen;

/* The same in every lane. */
uint n_spans = 0, n_tiles = 0, last_kind = BLOCK_EMPTY, last_end = 0;

uint capacity()
{
    return (header.counts_word - 1) / RAPT_STEP_SPAN_WORDS;
}

#ifdef FROM_SCORES
uint n_equal_before = 0;

void classify_tile(uint first, uvec2 reach)
{
    uint part = (TILE + WG_SIZE - 1) / WG_SIZE;
    uint begin = min(gl_LocalInvocationIndex * part, TILE), end = min(begin + part, TILE);
    uvec2 own = uvec2(0), all;
    for (uint c = begin; c < end; c++) {
        uint block = first + c, kind = BLOCK_EMPTY;
        if (block >= reach.x && block < reach.y)
            kind = closed_kind(block);
        if (kind != BLOCK_EMPTY) {
            uint order = order_at(block);
            own.x += order == chosen_threshold ? 1 : 0;
            kind = order > chosen_threshold ? kind : order == chosen_threshold ? kind + 8 : BLOCK_EMPTY;
        }
        kinds[c] = kind;
    }
    uint n = n_equal_before + sum_before(own, all).x;
    for (uint c = begin; c < end; c++)
        if (kinds[c] >= 8) {
            kinds[c] = n < chosen_n_equal ? kinds[c] - 8 : BLOCK_EMPTY;
            n++;
        }
    n_equal_before += all.x;
    barrier();
}
#else
uint tile_words()
{
    return max(1u << header.block_kv_shift, 32u) >> 5 << header.block_q_shift;
}

/* Writes the bits of an open block, and finds out what it is. */
uint test_block(uint block, uint to)
{
    uint words = max(1u << header.block_kv_shift, 32u) >> 5;
    uint begin = block << header.block_kv_shift, end = min(begin + (1u << header.block_kv_shift), at.kv_len);
    uint seen = 0;
    if (gl_LocalInvocationIndex == 0)
        shared_seen = 0;
    barrier();
    for (uint i = gl_LocalInvocationIndex; i < tile_words(); i += WG_SIZE) {
        uint t = i / words, key = begin + ((i - t * words) << 5), bits = 0;
        if (t < at.n_tokens && key < end) {
            uint there = low_bits(int(end - key));
            bits = bits_of_row(t, key, min(end - key, 32)) & interval_bits(t, key) & there;
            seen |= (bits != 0 ? 1u : 0u) | (bits != there ? 2u : 0u);
        }
        list_words[to + i] = bits;
    }
    atomicOr(shared_seen, seen);
    barrier();
    seen = shared_seen;
    barrier();
    return seen == 1 ? RAPT_SPAN_FULL : seen == 3 ? RAPT_SPAN_BITS : BLOCK_EMPTY;
}

void classify_tile(uint first, uvec2 reach)
{
    for (uint c = gl_LocalInvocationIndex; c < TILE; c += WG_SIZE) {
        uint block = first + c;
        kinds[c] = block >= reach.x && block < reach.y ? first_look(block) : BLOCK_EMPTY;
    }
    barrier();
    for (uint c = 0; c < TILE; c++)
        if (kinds[c] == BLOCK_OPEN) {
            uint tile = header.bits_word + (at.list * capacity() + n_tiles) * tile_words();
            uint kind = test_block(first + c, tile);
            if (kind == RAPT_SPAN_BITS)
                kind |= n_tiles++ << 3;
            if (gl_LocalInvocationIndex == 0)
                kinds[c] = kind;
        }
    barrier();
}
#endif

bool joins(uint c)
{
    return kinds[c] == (c == 0 ? last_kind : kinds[c - 1]) && kinds[c] <= RAPT_SPAN_CLOSED;
}

uint word_of(uint span)
{
    return header.blocks_word + at.list * header.counts_word + 1 + span * RAPT_STEP_SPAN_WORDS;
}

void store_end(uint span, uint end)
{
    if (span < capacity())
        list_words[word_of(span) + 1] = end;
}

void store_begin(uint span, uint begin, uint kind)
{
    uint test = kind;
#ifndef FROM_SCORES
    if ((kind & 7u) == RAPT_SPAN_BITS)
        test += 4 * (header.bits_word + (at.list * capacity() + (kind >> 3)) * tile_words()) - (kind & ~7u);
#endif
    if (span >= capacity())
        return;
    list_words[word_of(span)] = begin;
    list_words[word_of(span) + 2] = test;
}

uint end_of(uint block)
{
    return min((block + 1) << header.block_kv_shift, at.kv_len);
}

/* A span's end is stored when the block behind it is known, and so once. */
void write_tile(uint first)
{
    uint part = (TILE + WG_SIZE - 1) / WG_SIZE, lane = gl_LocalInvocationIndex;
    uint begin = min(lane * part, TILE), end = min(begin + part, TILE);
    uvec2 own = uvec2(0), all;
    for (uint c = begin; c < end; c++)
        own.x += kinds[c] != BLOCK_EMPTY && !joins(c) ? 1 : 0;
    uint span = n_spans + sum_before(own, all).x;
    if (lane == 0 && last_kind != BLOCK_EMPTY && !joins(0))
        store_end(n_spans - 1, last_end);
    for (uint c = begin; c < end; c++) {
        if (kinds[c] == BLOCK_EMPTY)
            continue;
        if (!joins(c))
            store_begin(span++, (first + c) << header.block_kv_shift, kinds[c]);
        if (c + 1 < TILE && !joins(c + 1))
            store_end(span - 1, end_of(first + c));
    }
    n_spans += all.x;
    last_kind = kinds[TILE - 1];
    last_end = end_of(first + TILE - 1);
    if (push.rapt_blocks_listed_stride != 0)
        for (uint w = lane; w < TILE / 32; w += WG_SIZE) {
            uint bits = 0, word = (first >> 5) + w;
            for (uint i = 0; i < 32; i++)
                bits |= kinds[32 * w + i] != BLOCK_EMPTY ? 1u << i : 0u;
            if (word < push.rapt_blocks_listed_stride)
                listed[push.rapt_sparse_lists_base + at.list * push.rapt_blocks_listed_stride + word] = bits;
        }
    barrier();
}

void finish_list(uint from, uint to)
{
    uint lane = gl_LocalInvocationIndex, stride = push.rapt_blocks_listed_stride;
    for (uint w = lane; w < stride; w += WG_SIZE)
        if (w < from >> 5 || w >= to >> 5)
            listed[push.rapt_sparse_lists_base + at.list * stride + w] = 0;
    bool dense = n_spans > capacity();
    if (dense) { /* other lanes wrote spans where lane 0 writes now */
        memoryBarrierBuffer();
        barrier();
    }
    if (lane != 0)
        return;
    if (dense) {
        store_begin(0, 0, RAPT_SPAN_CLOSED);
        store_end(0, at.kv_len);
    } else if (last_kind != BLOCK_EMPTY) {
        store_end(n_spans - 1, last_end);
    }
    list_words[word_of(0) - 1] = dense ? 1 : n_spans;
    if (push.rapt_blocks_tell_overflow != 0)
        overflow[push.rapt_sparse_counts_base + at.list] = dense ? n_spans : 0;
}

void main()
{
    uint list = group_index();
    if (list >= push.count)
        return;
    find_list(list);
#if defined(FROM_SCORES)
    choose_blocks();
#elif defined(FROM_SEGMENTS)
    read_ids();
#endif
    uvec2 reach = blocks_in_reach();
    uint from = reach.x & ~31u, first = from;
    for (; first < reach.y; first += TILE) {
        classify_tile(first, reach);
        write_tile(first);
    }
    finish_list(from, first);
}
