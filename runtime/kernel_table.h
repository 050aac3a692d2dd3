/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_KERNEL_TABLE_H
#define RUNTIME_KERNEL_TABLE_H

/* The columns of kernels.def for C: what each compiled kernel is called, needs and binds. */

#include <rapt/attention.h>

#include "kernels.h"

/* A row's name; NULL outside the table. */
const char *rapt_kernel_name(int kernel);
/* RAPT_KERNEL_* of a name, -1 if there is none. */
int rapt_kernel_find(const char *name);
/* Whether its name ends so; 0 outside the table. */
int rapt_kernel_name_ends(int kernel, const char *end);
/* RAPT_FEATURE_* bits a device must have. */
rapt_features rapt_kernel_features(int kernel);
/* A bit for every RAPT_BIND_* it declares. */
uint32_t rapt_kernel_bindings(int kernel);
/* NULL if the kernel is in this build, else a static reason ("glslang 12 has no ..."). */
const char *rapt_kernel_absent_reason(int kernel);
/* Its SPIR-V; NULL when absent. */
const uint32_t *rapt_kernel_words(int kernel, size_t *out_n_bytes);

#endif
