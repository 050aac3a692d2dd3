/* SPDX-License-Identifier: Apache-2.0 */
#include "rotation.h"

#include "batch.h"
#include "error.h"

#include <string.h>

#define MAX_POSITION (1 << 30)

void rapt_rotation_init(const rapt_plan_params *params, struct rapt_rotation *out_rotation)
{
    memset(out_rotation, 0, sizeof *out_rotation);
    rapt_rope *rope = &out_rotation->rope;
    if (rapt_rope_read("rope", params->rope, params->head_dim, rope) != RAPT_OK)
        return; /* the parameters are checked */
    if (rope->pairing != RAPT_ROPE_NONE && !rope->n_table_positions)
        rapt_rope_turns(rope, out_rotation->turns);
    rope->frequency_scale = rope->table = NULL; /* the caller's */
}

static int rotates(const rapt_plan_params *params)
{
    return params->rope && params->rope->pairing != RAPT_ROPE_NONE;
}

uint32_t rapt_rotation_words(const rapt_plan_params *params)
{
    rapt_rope rope;
    if (!rotates(params) || params->rope->n_table_positions ||
        rapt_rope_read("rope", params->rope, params->head_dim, &rope) != RAPT_OK)
        return 0;
    return rope.rotary_dim; /* two words for each of rotary_dim / 2 frequencies */
}

uint32_t rapt_rotation_pos_words(const rapt_plan_params *params)
{
    return rotates(params) ? params->max_total_q : 0;
}

static rapt_status check_position(const struct rapt_rotation *rotation, const char *name,
                                  uint32_t i, int32_t position)
{
    uint32_t n = rotation->rope.n_table_positions;
    if (position <= -MAX_POSITION || position >= MAX_POSITION)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s[%u] is %d: its magnitude must stay below 2^30",
                         name, i, position);
    if (n && (position < 0 || (uint32_t)position >= n))
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s[%u] is %d: the table of cosines and sines has "
                                              "positions 0 to %u",
                         name, i, position, n - 1);
    return RAPT_OK;
}

rapt_status rapt_rotation_check(const struct rapt_rotation *rotation,
                                const struct rapt_batch *batch, const int32_t *rope_pos)
{
    rapt_status status = RAPT_OK;
    if (rotation->rope.pairing == RAPT_ROPE_NONE) {
        if (rope_pos)
            return rapt_fail(RAPT_ERROR_ARGUMENT, "rope_pos is set: the plan has no rope");
        return RAPT_OK;
    }
    uint32_t total_q = (uint32_t)batch->cu_q[batch->n_seqs];
    if (rope_pos) {
        for (uint32_t i = 0; status == RAPT_OK && i < total_q; i++)
            status = check_position(rotation, "rope_pos", i, rope_pos[i]);
        return status;
    }
    if (!rotation->rope.n_table_positions)
        return RAPT_OK; /* the batch's positions are checked already */
    for (uint32_t i = 0; batch->q_pos && status == RAPT_OK && i < total_q; i++)
        status = check_position(rotation, "q_pos", i, batch->q_pos[i]);
    for (uint32_t b = 0; !batch->q_pos && status == RAPT_OK && b < batch->n_seqs; b++) {
        uint32_t n = rapt_batch_q_len(batch, b);
        if (n) /* the first and the last row's */
            status = check_position(rotation, "q_pos0", b, rapt_batch_q_pos(batch, b, 0));
        if (n && status == RAPT_OK)
            status = check_position(rotation, "q_pos0 + q_len - 1 of sequence", b,
                                    rapt_batch_q_pos(batch, b, n - 1));
    }
    return status;
}

void rapt_rotation_write(const struct rapt_rotation *rotation, uint32_t turns_word,
                         uint32_t pos_word, uint32_t total_q, const int32_t *rope_pos,
                         struct rapt_step_header *header, uint32_t *words)
{
    const rapt_rope *rope = &rotation->rope;
    if (rope->pairing == RAPT_ROPE_NONE)
        return;
    header->rope_dim = rope->rotary_dim;
    header->rope_offset = rope->rotary_offset;
    header->rope_kind =
        (uint32_t)rope->pairing | (rope->n_table_positions ? RAPT_ROPE_BY_TABLE : 0);
    header->rope_word = turns_word;
    header->rope_attention_factor = rope->attention_factor;
    header->rope_pos_word = rope_pos ? pos_word : 0;
    header->rope_n_positions = rope->n_table_positions;
    for (uint32_t i = 0; !rope->n_table_positions && i < rope->rotary_dim / 2; i++) {
        words[turns_word + 2 * i] = (uint32_t)rotation->turns[i];
        words[turns_word + 2 * i + 1] = (uint32_t)(rotation->turns[i] >> 32);
    }
    if (rope_pos && total_q)
        memcpy(words + pos_word, rope_pos, total_q * sizeof *rope_pos);
}
