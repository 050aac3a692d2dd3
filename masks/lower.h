/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MASKS_LOWER_H
#define MASKS_LOWER_H

#include <rapt/mask.h>

/* A conjunction of closed-form leaves: a query at P sees positions
 *   [max(P - left, c), min(P + right, c + chunk - 1, limit - 1)],  c = floor(P / chunk) * chunk
 * where limit is the least of sink_tokens and prefix[b]. */
struct rapt_mask_closed {
    int32_t left, right; /* RAPT_UNBOUNDED (2^30) = no bound; may be negative after no leaf */
    int32_t chunk;       /* 0 = not chunked; several chunked leaves: see intersections below */
    int32_t limit;       /* RAPT_UNBOUNDED = none */
    int uses_prefix;
};

/* NULL mask = full. Several chunked(C) leaves of different C do not lower to one chunk number unless
 * one C divides the other (the smaller then wins); rapt_mask_create refuses such expressions with
 * RAPT_ERROR_UNSUPPORTED, so lowering a created mask cannot fail. */
void rapt_mask_lower(const rapt_mask *mask, struct rapt_mask_closed *out_closed);

#endif
