/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_COPIER_H
#define RUNTIME_COPIER_H

#include <rapt/attention.h>

/* As rapt_copier_create, with the kernel named (RAPT_KERNEL_* + 1, 0 = choose). */
rapt_status rapt_copier_create_forced(rapt_device *device, const rapt_copier_params *params,
                                      int force, rapt_copier **out_copier);

#endif
