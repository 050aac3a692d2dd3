/* SPDX-License-Identifier: Apache-2.0 */
#ifndef REFERENCE_VIEW_H
#define REFERENCE_VIEW_H

/* A checked problem with its defaults filled in, and access to its stored values. */

#include <rapt/reference.h>

#include "batch.h"

struct view {
    rapt_problem problem; /* own copy, defaults resolved: types, layouts, head_dim_v, scale */
    struct rapt_batch batch;
    int pool; /* k and v are a page pool */
    double scale;
    uint32_t group; /* query heads per KV head */
    uint32_t total_q;
};

/* Checks the problem and fills the view. */
rapt_status rapt_view_open(const rapt_problem *problem, struct view *out_view);

/* Element index of token 0's head `head` of sequence b, query or key side. */
uint64_t rapt_view_q_index(const struct view *view, uint32_t b, uint32_t i, uint32_t head);
uint64_t rapt_view_kv_index(const struct view *view, const rapt_layout *layout, uint32_t b,
                            uint32_t j, uint32_t head);
/* dim values of a row as the device stores them. */
void rapt_view_load_row(const rapt_array *array, rapt_type stored, uint64_t index, uint32_t dim,
                        float *out_row);
float rapt_view_bias(const struct view *view, uint32_t b, uint32_t head, uint32_t i, uint32_t j);

/* Keys [out_begin, out_end) that query i of sequence b may see. */
void rapt_view_key_range(const struct view *view, uint32_t b, uint32_t i, uint32_t *out_begin,
                         uint32_t *out_end);

#endif
