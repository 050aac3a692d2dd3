/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MASKS_KEY_SETS_H
#define MASKS_KEY_SETS_H

/* Sets of key blocks as the ascending numbers where they begin and end, in turn: {3, 5, 9, 10}
 * holds blocks 3, 4 and 9. A set over n blocks has at most n + 1 numbers. */

#include <stdint.h>

struct rapt_key_set {
    uint32_t *bounds;
    uint32_t n; /* even */
};

enum rapt_key_set_op { RAPT_KEY_SET_AND, RAPT_KEY_SET_OR, RAPT_KEY_SET_DIFFERENT };

/* Two sets joined into a third's memory; DIFFERENT: what is in one of them only. */
static inline void rapt_key_set_join(const struct rapt_key_set *a, const struct rapt_key_set *b,
                                     enum rapt_key_set_op op, struct rapt_key_set *out)
{
    uint32_t i = 0, j = 0, n = 0;
    while (i < a->n || j < b->n) {
        const uint32_t at_a = i < a->n ? a->bounds[i] : UINT32_MAX;
        const uint32_t at_b = j < b->n ? b->bounds[j] : UINT32_MAX;
        const uint32_t at = at_a < at_b ? at_a : at_b;
        i += at_a == at;
        j += at_b == at;
        const uint32_t in = op == RAPT_KEY_SET_AND  ? i & j & 1
                            : op == RAPT_KEY_SET_OR ? (i | j) & 1
                                                    : (i ^ j) & 1;
        if ((n & 1) != in)
            out->bounds[n++] = at;
    }
    out->n = n;
}

/* Adds [begin, end), which does not begin before the set's end. */
static inline void rapt_key_set_append(struct rapt_key_set *set, uint32_t begin, uint32_t end)
{
    if (begin >= end)
        return;
    if (set->n > 0 && set->bounds[set->n - 1] == begin) {
        set->bounds[set->n - 1] = end;
        return;
    }
    set->bounds[set->n++] = begin;
    set->bounds[set->n++] = end;
}

#endif
