/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_ROTATION_H
#define RUNTIME_ROTATION_H

/* Rotary embedding in a plan and its steps: what the kernels are told. */

#include <rapt/attention.h>

#include "args.h"
#include "rotate.h"

struct rapt_rotation {
    rapt_rope rope; /* defaults filled in; pairing NONE = nothing is rotated */
    uint64_t turns[RAPT_ROPE_MAX_DIM / 2];
};

/* Of checked plan parameters, whose rope it copies. */
void rapt_rotation_init(const rapt_plan_params *params, struct rapt_rotation *out_rotation);

/* Words of a step: the frequencies, and the positions of total_q rows. */
uint32_t rapt_rotation_words(const rapt_plan_params *params);
uint32_t rapt_rotation_pos_words(const rapt_plan_params *params);

struct rapt_batch;
/* Positions of a step, where they are the caller's; with a table, all of them. */
rapt_status rapt_rotation_check(const struct rapt_rotation *rotation,
                                const struct rapt_batch *batch, const int32_t *rope_pos);
/* The header's members and the words behind them; rope_pos NULL = the rows' own positions. */
void rapt_rotation_write(const struct rapt_rotation *rotation, uint32_t turns_word,
                         uint32_t pos_word, uint32_t total_q, const int32_t *rope_pos,
                         struct rapt_step_header *header, uint32_t *words);

#endif
