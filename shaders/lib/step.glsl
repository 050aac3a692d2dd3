/* SPDX-License-Identifier: Apache-2.0 */
/* The step block and the specialization constants, as every portable kernel reads them: header,
 * work items, packed rows with their interval of keys. */
#include "args.h"

layout(local_size_x_id = RAPT_SPEC_WG_SIZE) in;
layout(constant_id = RAPT_SPEC_WG_SIZE) const uint WG_SIZE = 64;
layout(constant_id = RAPT_SPEC_HEAD_DIM) const uint D = 128;
layout(constant_id = RAPT_SPEC_HEAD_DIM_V) const uint DV = 128;
layout(constant_id = RAPT_SPEC_BLOCK_Q) const uint BLOCK_Q = 32;
layout(constant_id = RAPT_SPEC_BLOCK_KV) const uint BLOCK_KV = 32;
layout(constant_id = RAPT_SPEC_FEATURES) const uint FEATURES = 0;
layout(constant_id = RAPT_SPEC_Q_TYPE) const uint Q_TYPE = RAPT_STORE_F32;
layout(constant_id = RAPT_SPEC_OUT_TYPE) const uint OUT_TYPE = RAPT_STORE_F32;
layout(constant_id = RAPT_SPEC_TILE_A) const uint TILE_A = 16;
layout(constant_id = RAPT_SPEC_TILE_B) const uint TILE_B = 8;
layout(constant_id = RAPT_SPEC_TILE_C) const uint TILE_C = 8;
layout(constant_id = RAPT_SPEC_TILE_D) const uint TILE_D = 0;

layout(push_constant) uniform Push { rapt_push push; };
layout(set = 0, binding = RAPT_BIND_STEP, std430) readonly buffer Step { uint step_words[]; };
layout(set = 0, binding = RAPT_BIND_STEP, std430) readonly buffer Header
{
    rapt_step_header header;
};

const float LOG2E = 1.44269504088896341;
const float LN2 = 0.693147180559945309;
#define NEG_INF uintBitsToFloat(0xff800000u)

/* word offsets in struct rapt_step_seq */
const uint SEQ_Q_ROW = 0, SEQ_Q_LEN = 1, SEQ_KV_LEN = 2, SEQ_KV_LIMIT = 3, SEQ_Q_POS0 = 4,
           SEQ_KV_POS0 = 5, SEQ_PAGE_FIRST = 6, SEQ_N_PAGES = 7, SEQ_Q_BASE = 8, SEQ_K_BASE = 10,
           SEQ_V_BASE = 12, SEQ_OUT_BASE = 14, SEQ_BIAS_BASE = 16;

/* what this pipeline can do and this step wants */
bool wants(uint feature)
{
    return (FEATURES & feature) != 0 && (header.features & feature) != 0;
}

uint group_index()
{
    return gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x;
}

/* exp(x), which the hardware has as a power of two */
float exp_of(float x)
{
    return exp2(x * LOG2E);
}

/* exp(a - b): 0 where a is -inf, also when both are */
float weight_of(float a, float b)
{
    return a == NEG_INF ? 0.0 : exp_of(a - b);
}

/* One packed row R of a sequence and of the query heads from head_first on. */
struct packed_row {
    uint token, head;
};

packed_row find_row(uint head_first, uint r)
{
    uint token = r / header.group;
    return packed_row(token, head_first + (r - token * header.group));
}

int row_position(uint seq, uint token)
{
    if (wants(RAPT_FEAT_Q_POS))
        return int(step_words[header.q_pos_word + step_words[seq + SEQ_Q_ROW] + token]);
    return int(step_words[seq + SEQ_Q_POS0]) + int(token);
}

/* Keys [x, y] of the sequence that a row at a position may see, cut to those of an item;
 * empty: x > y. */
ivec2 row_keys(uint seq, int position, uint kv_begin, uint kv_end)
{
    int first = header.left < RAPT_UNBOUNDED ? position - header.left : -RAPT_UNBOUNDED;
    int last = header.right < RAPT_UNBOUNDED ? position + header.right : RAPT_UNBOUNDED;
    if (header.chunk > 0) {
        /* floor, where division rounds towards zero */
        int lower = position < 0 ? position - (header.chunk - 1) : position;
        int start = lower / header.chunk * header.chunk;
        first = max(first, start);
        last = min(last, start + (header.chunk - 1));
    }
    /* |kv_pos0| < 2^30, so neither difference leaves 32 bits */
    int pos0 = int(step_words[seq + SEQ_KV_POS0]);
    uint end = min(kv_end, step_words[seq + SEQ_KV_LIMIT]);
    return ivec2(max(max(first, -RAPT_UNBOUNDED) - pos0, int(kv_begin)),
                 min(min(last, RAPT_UNBOUNDED) - pos0, int(end) - 1));
}
