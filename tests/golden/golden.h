/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GOLDEN_GOLDEN_H
#define GOLDEN_GOLDEN_H

/* Reads a golden vector: a problem and the answer another implementation gave; README.md has the
 * file format. */

#include <rapt/reference.h>

#define GOLDEN_MAX_HEADS 8 /* with a mask of their own */

struct golden {
    rapt_problem problem; /* points into this struct and `bytes` */
    const double *o, *lse, *max_logit;
    uint64_t n_o, n_rows;
    rapt_mask *mask, *mask_heads[GOLDEN_MAX_HEADS];
    rapt_mask_data mask_data;
    rapt_rope rope;
    float frequency_scale[288], attention_factor; /* by this library's own Llama 3 and YaRN */
    int has_formula;
    void *bytes;
};

/* Nonzero on success; otherwise a line on stderr says what is wrong with the file. */
int golden_read(const char *path, struct golden *out_golden);
void golden_finish(struct golden *golden);

#endif
