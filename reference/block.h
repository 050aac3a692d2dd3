/* SPDX-License-Identifier: Apache-2.0 */
#ifndef REFERENCE_BLOCK_H
#define REFERENCE_BLOCK_H

/* The loops that decide the reference's time: a query row against a block of keys. Sums are
 * float64 and each in one fixed order, wherever in a block they begin. */

#include <stdint.h>

#define RAPT_MAX_DIM 576
#define RAPT_KEY_BLOCK 256

/* Keys lie transposed, so that the sums of many keys run side by side: k[d][j]. */
typedef float rapt_key_columns[RAPT_KEY_BLOCK];
typedef float rapt_value_rows[RAPT_MAX_DIM];

#define RAPT_TRANSPOSE_ROWS 16
/* k[d][first + c] = rows[c][d] for c below RAPT_TRANSPOSE_ROWS. */
void rapt_block_transpose(const rapt_value_rows *rows, uint32_t first, uint32_t dim,
                          rapt_key_columns *k);
/* s[j] = dot(q, key j) for begin <= j < end. Some more before and after are written, too. */
void rapt_block_dots(const double *q, const rapt_key_columns *k, uint32_t begin, uint32_t end,
                     uint32_t dim, double *s);
/* o += sum of weights[j] * v[j]. */
void rapt_block_add(const double *weights, const rapt_value_rows *v, uint32_t begin, uint32_t end,
                    uint32_t dim, double *o);

#endif
