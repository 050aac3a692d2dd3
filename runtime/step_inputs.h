/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_STEP_INPUTS_H
#define RUNTIME_STEP_INPUTS_H

/* What several calls read of a step's parameters and check of its buffers. */

#include <rapt/attention.h>

#include "batch.h"

/* The step's lengths and tables, unchecked; page_size 0 = packed. */
struct rapt_batch rapt_step_batch(const rapt_step_params *step, uint32_t page_size);

/* Whether `step` is what the plan's slot holds, for a call that records into `commands`. */
rapt_status rapt_step_check(const rapt_plan *plan, VkCommandBuffer commands, const rapt_step *step);

/* A slot of the plan's table memory. */
rapt_buffer rapt_step_tables(const rapt_plan *plan, uint32_t slot);

/* Whether a buffer holds n_bytes from its offset on; 0 bytes want none. Errors: ARGUMENT, SHAPE. */
rapt_status rapt_step_buffer_check(const char *name, const rapt_buffer *buffer, uint64_t n_bytes);

#endif
