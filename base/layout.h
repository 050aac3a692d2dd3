/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_LAYOUT_H
#define BASE_LAYOUT_H

#include <rapt/common.h>

/* Zero strides mean dense; outer_stride stays 0 for packed tensors (page_size 0). */
static inline void rapt_layout_fill(rapt_layout *layout, uint32_t n_heads, uint32_t dim,
                                    uint32_t page_size)
{
    if (layout->token_stride == 0)
        layout->token_stride = (uint64_t)n_heads * dim;
    if (layout->head_stride == 0)
        layout->head_stride = dim;
    if (layout->outer_stride == 0)
        layout->outer_stride = page_size * layout->token_stride;
}

#endif
