/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_PLAN_H
#define RUNTIME_PLAN_H

/* The inside of a plan, for plan.c, prepare.c, record.c and tests. */

#include "device.h"
#include "pipeline.h"
#include "select.h"
#include "work.h"

/* As rapt_plan_create, with the prefill and decode kernels named (RAPT_KERNEL_* + 1, 0 = choose):
 * how the kernel checks reach every row. */
rapt_status rapt_plan_create_forced(rapt_device *device, const rapt_plan_params *params,
                                    int force_prefill, int force_decode, rapt_plan **out_plan);

#endif
