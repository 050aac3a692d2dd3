/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MASKS_TABLE_REQUEST_H
#define MASKS_TABLE_REQUEST_H

/* Parameters of a block table, read and checked. */

#include "expr.h"
#include "input.h"

struct rapt_table_request {
    rapt_block_table_params params;
    struct rapt_mask_input input;
    uint32_t needs; /* of all masks, as mentioned */
    uint32_t reads; /* of their canonical forms */
};
rapt_status rapt_table_request_open(const rapt_block_table_params *params,
                                    struct rapt_table_request *out_request);

/* Heads that share lists: one mask, and if that reads arrays by head, one head. */
struct rapt_table_set {
    const rapt_mask *mask; /* the caller's: only while the table is built */
    uint32_t head;
};

static inline const rapt_mask *rapt_request_mask(const struct rapt_table_request *request,
                                                 uint32_t h)
{
    const rapt_block_table_params *params = &request->params;
    return params->mask_heads && params->mask_heads[h] ? params->mask_heads[h] : params->mask;
}

#endif
