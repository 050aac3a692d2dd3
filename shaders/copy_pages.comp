#version 450
/* SPDX-License-Identifier: Apache-2.0 */
/* Page copies: rows of tokens from one page to another, in every layer and head of one tensor. A group
 * is one chain of copies (a copy and the chained ones after it) in one layer; its lanes share out the
 * halfwords of a token's heads, and go through the chain token by token, each always with the same
 * bytes of a row: what a lane reads of a later copy, it wrote itself or nobody did.
 *
 * Rows at 4-byte distances are copied by whole words. Others have a halfword at a time put under a
 * mask: the other half may be another lane's. */
#extension GL_GOOGLE_include_directive : require
#ifdef BY_ADDRESS
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference_uvec2 : require
#extension GL_EXT_shader_explicit_arithmetic_types_int64 : require
#endif
#include "args.h"

layout(local_size_x_id = RAPT_SPEC_WG_SIZE) in;
layout(constant_id = RAPT_SPEC_WG_SIZE) const uint WG_SIZE = 64;

layout(push_constant) uniform Push { rapt_push push; };
#ifdef BY_ADDRESS
#define AT uint64_t
layout(buffer_reference, std430, buffer_reference_align = 4) buffer Words { uint at[]; };
#define LIST(i) Words(uvec2(push.step_lo, push.step_hi)).at[i]
#define WORD(i) Words(packUint2x32(uvec2(push.k_lo, push.k_hi)) + (i) * 4).at[0]
#define BASE AT(0)
#else
#define AT uint
layout(set = 0, binding = RAPT_BIND_STEP, std430) readonly buffer Lists { uint lists[]; };
layout(set = 0, binding = RAPT_BIND_K, std430) buffer Tensor { uint words[]; };
#define LIST(i) lists[i]
#define WORD(i) words[i]
#define BASE push.k_base
#endif

void copy_half(AT from, AT to)
{
    uint x = (WORD(from >> 1) >> (uint(from & 1u) * 16u)) & 0xffffu;
    uint shift = uint(to & 1u) * 16u;
    atomicAnd(WORD(to >> 1), ~(0xffffu << shift));
    atomicOr(WORD(to >> 1), x << shift);
}

void main()
{
    uint group = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x;
    if (group >= push.count)
        return;
    /* strides and rows are in halfwords; where everything is even, in words */
    bool by_words = push.rapt_copy_by_words != 0;
    uint per_head = push.rapt_copy_row, n = per_head * push.rapt_copy_heads;
    uint layer = group / push.rapt_copy_chains, chain = group - layer * push.rapt_copy_chains;
    AT base = BASE + AT(layer) * push.rapt_copy_layer_stride;
    uint copy = LIST(chain), end = LIST(chain + 1);
    if (copy < end)
        do {
            uint w = push.rapt_copy_chains + 1 + copy * RAPT_COPY_WORDS;
            AT from = base + AT(LIST(w)) * push.rapt_copy_page_stride +
                      AT(LIST(w + 1)) * push.rapt_copy_token_stride;
            AT to = base + AT(LIST(w + 2)) * push.rapt_copy_page_stride +
                    AT(LIST(w + 3)) * push.rapt_copy_token_stride;
            uint tokens = LIST(w + 4), token = 0;
            if (tokens > 0)
                do {
                    uint i = gl_LocalInvocationIndex;
                    if (i < n)
                        do {
                            uint head = i / per_head;
                            AT at = AT(head) * push.rapt_copy_head_stride + (i - head * per_head);
                            if (by_words)
                                WORD(to + at) = WORD(from + at);
                            else
                                copy_half(from + at, to + at);
                            i += gl_WorkGroupSize.x;
                        } while (i < n);
                    from += push.rapt_copy_token_stride;
                    to += push.rapt_copy_token_stride;
                    token++;
                } while (token < tokens);
            copy++;
        } while (copy < end);
}
