/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_SELECT_CPU_H
#define RUNTIME_SELECT_CPU_H

/* The rows for Mesa's CPU driver, for select.c: which of them run well follows the version
 * (docs/lavapipe.md). Pure. */

#include "select.h"

struct rapt_cpu_family {
    const char *path;
    uint32_t major_min, major_max;
    uint32_t rows_per_lane; /* at head dims up to 128 */
    uint32_t rows_shared;   /* the same where rows share keys and are many; 0 = no others */
    uint32_t keys_min;      /* per step */
    uint32_t step_limit;    /* rows per lane * keys per step * (D + Dv), unrolled */
    uint32_t subgroup_size; /* 0 = any */
};

/* The family a row belongs to, NULL for portable ones. */
const struct rapt_cpu_family *rapt_select_cpu_family(int kernel);
/* That of a version of the driver, NULL if there is none. */
const struct rapt_cpu_family *rapt_select_cpu_version(uint32_t major);

/* Rows per lane and keys per step, by the knobs where they are given; 0 if those are impossible. */
int rapt_select_cpu_tile(const struct rapt_cpu_family *family, const rapt_caps *caps,
                         const struct rapt_select_request *request, uint32_t *out_rows,
                         uint32_t *out_keys);
/* block_q for plans whose rows share keys, 0 = what the rules say. */
uint32_t rapt_select_cpu_shared(const rapt_caps *caps, const struct rapt_select_request *request);
/* Fill the tile of a choice, for a request that rapt_select_cpu_tile takes. */
void rapt_select_cpu_prefill(const struct rapt_cpu_family *family, const rapt_caps *caps,
                             const struct rapt_select_request *request,
                             struct rapt_kernel_choice *choice);
void rapt_select_cpu_decode(const rapt_caps *caps, const struct rapt_select_request *request,
                            struct rapt_kernel_choice *choice);

#endif
