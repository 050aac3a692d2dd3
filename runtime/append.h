/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_APPEND_H
#define RUNTIME_APPEND_H

/* The part of a plan that writes new rows of K and V: one pipeline with sets of its own. */

#include "pipeline.h"
#include "select.h"

struct rapt_append {
    struct rapt_kernel_choice choice;
    struct rapt_pipeline pipeline;
    struct rapt_sets sets;
    int by_address; /* rotate_q: append rows go by descriptor */
};

/* Checks and completes what a plan's parameters say of rotation and new rows: pure. */
rapt_status rapt_append_params_check(rapt_plan_params *params);

/* Under RAPT_PLAN_APPEND; choice.kernel stays -1 otherwise. Tests name the kernel: RAPT_KERNEL_* + 1,
 * 0 = choose. */
rapt_status rapt_append_create(rapt_device *device, const rapt_plan_params *params, int force,
                               struct rapt_append *out_append);
void rapt_append_finish(rapt_device *device, struct rapt_append *append);

#endif
