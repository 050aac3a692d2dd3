/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MASKS_LOWER_H
#define MASKS_LOWER_H

#include <rapt/mask.h>

/* A conjunction of closed-form leaves: a query at P sees positions
 *   [max(P - left, c), min(P + right, c + chunk - 1, limit - 1)],  c = floor(P / chunk) * chunk
 * where limit is the least of sink_tokens and prefix[b]. */
struct rapt_mask_closed {
    int32_t left, right; /* RAPT_MASK_UNBOUNDED = no bound; may be negative after no leaf */
    int32_t chunk;       /* 0 = not chunked; several chunked leaves: see intersections below */
    int32_t limit;       /* RAPT_MASK_UNBOUNDED = none */
    int uses_prefix;
};
#define RAPT_MASK_UNBOUNDED                                                                        \
    0x40000000 /* beyond every position; what kernels take for unbounded too */

/* NULL mask = full. Several chunked(C) leaves of different C do not lower to one chunk number
 * unless one C divides the other (the smaller then wins); rapt_mask_create refuses such expressions
 * with RAPT_ERROR_UNSUPPORTED, so lowering a created mask cannot fail. */
void rapt_mask_lower(const rapt_mask *mask, struct rapt_mask_closed *out_closed);

/* The largest multiple of `step` (> 0) that is not above x. */
static inline int64_t rapt_floor_multiple(int64_t x, int64_t step)
{
    int64_t rest = x % step;
    return x - rest - (rest < 0 ? step : 0);
}

/* First and last position a query at P may see, before `limit` and the prefix cut the end;
 * INT64_MIN and INT64_MAX: no bound. Both rise with P. */
static inline int64_t rapt_mask_first(const struct rapt_mask_closed *mask, int64_t P)
{
    int64_t first = mask->left >= RAPT_MASK_UNBOUNDED ? INT64_MIN : P - mask->left;
    if (mask->chunk > 0) {
        int64_t start = rapt_floor_multiple(P, mask->chunk);
        first = first > start ? first : start;
    }
    return first;
}

static inline int64_t rapt_mask_last(const struct rapt_mask_closed *mask, int64_t P)
{
    int64_t last = mask->right >= RAPT_MASK_UNBOUNDED ? INT64_MAX : P + mask->right;
    if (mask->chunk > 0) {
        int64_t end = rapt_floor_multiple(P, mask->chunk) + mask->chunk - 1;
        last = last < end ? last : end;
    }
    return last;
}

#endif
