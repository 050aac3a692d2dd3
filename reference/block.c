/* SPDX-License-Identifier: Apache-2.0 */
#include "block.h"

#include "wide.h"

#define LANES 32 /* sums that run side by side; divides RAPT_KEY_BLOCK */

RAPT_WIDE static void transpose(const rapt_value_rows *rows, uint32_t first, uint32_t dim,
                                rapt_key_columns *k)
{
    for (uint32_t d = 0; d < dim; d++) {
        float *column = &k[d][first];
        for (int c = 0; c < RAPT_TRANSPOSE_ROWS; c++)
            column[c] = rows[c][d];
    }
}

RAPT_WIDE static void dots(const double *q, const rapt_key_columns *k, uint32_t begin, uint32_t end,
                           uint32_t dim, double *s)
{
    for (uint32_t j = begin / LANES * LANES; j < end; j += LANES) {
        double sums[LANES] = {0};
        for (uint32_t d = 0; d < dim; d++) {
            const float *column = &k[d][j];
            for (int c = 0; c < LANES; c++)
                sums[c] += q[d] * (double)column[c];
        }
        for (int c = 0; c < LANES; c++)
            s[j + (uint32_t)c] = sums[c];
    }
}

RAPT_WIDE static void add(const double *weights, const rapt_value_rows *v, uint32_t begin,
                          uint32_t end, uint32_t dim, double *o)
{
    for (uint32_t j = begin; j < end; j++) {
        const double weight = weights[j];
        for (uint32_t d = 0; d < dim; d++)
            o[d] += weight * (double)v[j][d];
    }
}

void rapt_block_transpose(const rapt_value_rows *rows, uint32_t first, uint32_t dim,
                          rapt_key_columns *k)
{
    transpose(rows, first, dim, k);
}

void rapt_block_dots(const double *q, const rapt_key_columns *k, uint32_t begin, uint32_t end,
                     uint32_t dim, double *s)
{
    dots(q, k, begin, end, dim, s);
}

void rapt_block_add(const double *weights, const rapt_value_rows *v, uint32_t begin, uint32_t end,
                    uint32_t dim, double *o)
{
    add(weights, v, begin, end, dim, o);
}
