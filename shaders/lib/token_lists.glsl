/* SPDX-License-Identifier: Apache-2.0 */
/* Items whose keys are those that a list names: the heads of one token, or as many of them as a tile holds.
 * Where attention counts keys, here it counts entries of the list; what they name is asked of listed_key().
 * For tiled.glsl. */
#include "sparse_rows.glsl"

layout(set = 0, binding = RAPT_BIND_BLOCKS, std430) readonly buffer Lists { uint list_keys[]; };
layout(set = 0, binding = RAPT_BIND_COUNTS, std430) readonly buffer Counts { uint list_counts[]; };

uint list_first; /* the item's, in list_keys */

work_item find_item(uint index)
{
    uint tiles = (header.group + BLOCK_Q - 1) / BLOCK_Q, groups = header.n_q_heads / header.group;
    uint token = index / (tiles * groups), rest = index - token * tiles * groups;
    uint group = rest / tiles, first = (rest - group * tiles) * BLOCK_Q;
    work_item found;
    found.seq = seq_word(find_seq(token));
    found.head_first = group * header.group;
    found.kv_head = found.head_first / (header.n_q_heads / header.n_kv_heads);
    found.row_first = (token - step_words[found.seq + SEQ_Q_ROW]) * header.group + first;
    found.n_rows = min(BLOCK_Q, header.group - first);
    found.kv_begin = 0;
    found.kv_end = min(list_counts[push.rapt_lists_counts_base + token], push.rapt_lists_stride);
    if (step_words[found.seq + SEQ_KV_LEN] == 0)
        found.kv_end = 0;
    found.partial = RAPT_DIRECT;
    list_first = push.rapt_lists_base + token * push.rapt_lists_stride;
    return found;
}

/* A key that no sequence has is left to the mask. */
uint listed_key(uint entry)
{
    return list_keys[list_first + entry];
}

uint key_that_exists(uint seq, uint key)
{
    return min(key, step_words[seq + SEQ_KV_LEN] - 1);
}
