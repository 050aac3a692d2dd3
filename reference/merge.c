/* SPDX-License-Identifier: Apache-2.0 */
#include <rapt/reference.h>

#include "error.h"

#include <math.h>

/* One row: maximum over parts and sink, then the weighted mean. */
static void merge_row(uint32_t n_parts, uint64_t n_rows, uint64_t row, uint32_t dim,
                      const float *parts, const float *parts_lse, double sink, float *out,
                      float *out_lse)
{
    double m = sink, l = 0;
    for (uint64_t i = 0; i < n_parts; i++)
        m = fmax(m, (double)parts_lse[i * n_rows + row]);
    if (m != -INFINITY) {
        l = sink == -INFINITY ? 0 : exp(sink - m);
        for (uint64_t i = 0; i < n_parts; i++)
            l += exp((double)parts_lse[i * n_rows + row] - m);
    }
    for (uint32_t d = 0; d < dim; d++) {
        double sum = 0;
        for (uint64_t i = 0; i < n_parts; i++) {
            double lse = parts_lse[i * n_rows + row];
            if (lse != -INFINITY)
                sum += exp(lse - m) * (double)parts[(i * n_rows + row) * dim + d];
        }
        out[row * dim + d] = (float)(l == 0 ? 0 : sum / l);
    }
    if (out_lse)
        out_lse[row] = (float)(l == 0 ? -INFINITY : m + log(l));
}

rapt_status rapt_reference_merge(uint32_t n_parts, uint32_t n_rows, uint32_t n_q_heads,
                                 uint32_t head_dim_v, const float *parts, const float *parts_lse,
                                 const float *sinks, float *out, float *out_lse)
{
    if (n_parts == 0)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "n_parts is 0: there is nothing to merge");
    if (n_rows > 0 && (!parts || !parts_lse || !out))
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s is NULL",
                         !parts       ? "parts"
                         : !parts_lse ? "parts_lse"
                                      : "out");
    if (n_q_heads == 0 || n_rows % n_q_heads != 0)
        return rapt_fail(RAPT_ERROR_SHAPE, "n_q_heads is %u: it must divide n_rows, which is %u",
                         n_q_heads, n_rows);
    for (uint32_t row = 0; row < n_rows; row++)
        merge_row(n_parts, n_rows, row, head_dim_v, parts, parts_lse,
                  sinks ? (double)sinks[row % n_q_heads] : -INFINITY, out, out_lse);
    return RAPT_OK;
}
