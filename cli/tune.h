/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_TUNE_H
#define CLI_TUNE_H

/* Shapes that `rapt tune` measures tiles for. */

#include "case.h"

#define TUNE_MAX_SHAPES 256

/* Which kernel of a plan: decode of one token, of some (rapt_plan_info.few_rows_kernel, or
 * decode's). */
enum tune_use { TUNE_PREFILL, TUNE_DECODE, TUNE_SPECULATE };

struct tune_shape {
    char name[160]; /* the line they were told in, or its like */
    enum tune_use use;
    struct case_spec spec;
};

/* The shapes of a file, or those that come with the command where path is NULL. `shapes` has room
 * for TUNE_MAX_SHAPES. 0 or CLI_USAGE after a line that names file and line. */
int tune_read_shapes(const char *path, struct tune_shape *shapes, size_t *out_n);

#endif
