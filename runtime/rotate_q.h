/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_ROTATE_Q_H
#define RUNTIME_ROTATE_Q_H

/* The CPU driver's rows read queries that were rotated ahead of them: one dispatch, which writes
 * f32 [total_q, Hq, D] into the workspace. */

#include "append.h"

/* Whether a plan with this choice of kernels rotates its queries first. */
int rapt_rotate_q_is_used(const rapt_plan_params *params, const struct rapt_selection *selection);

/* Words of the workspace, and of a step: where its sequences begin in the caller's Q. */
uint64_t rapt_rotate_q_words(const rapt_plan_params *params);
uint64_t rapt_rotate_q_step_words(const rapt_plan_params *params);

struct rapt_plan;
rapt_status rapt_rotate_q_create(struct rapt_plan *plan);
/* The queries as the attention kernels find them, for a step. */
rapt_buffer rapt_rotate_q_range(const struct rapt_plan *plan, uint32_t total_q);

struct rapt_rotate_q {
    struct rapt_bindings bindings;
    struct rapt_push push;
};
/* Fills in one dispatch and asks whether it can be recorded. */
rapt_status rapt_rotate_q_check(struct rapt_plan *plan, const rapt_record_params *params,
                                struct rapt_rotate_q *out_dispatch);
rapt_status rapt_rotate_q_record(struct rapt_plan *plan, const rapt_record_params *params,
                                 const struct rapt_rotate_q *dispatch);

#endif
