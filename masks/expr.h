/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MASKS_EXPR_H
#define MASKS_EXPR_H

/* A mask object as the rooms's own files see it: the caller's nodes, kept for the element test, and
 * the canonical form that everything else works on. */

#include <rapt/mask.h>

#include "lower.h"

#define RAPT_MASK_MAX_NODES 4096
#define RAPT_MASK_MAX_DEPTH 256 /* of the canonical tree: what recursion over it is bounded by */

/* The canonical form, operators before their operands (preorder).
 *  - negations are pushed down to the leaves (De Morgan), `&` within `&` and `|` within `|` are one
 *  - leaves are full (alone: the constants), window, chunked, prefix, sink_tokens, segments,
 *    bidirectional, dilated, bitmap, blocks, tree; causal is window(-1, 0), bounds are clamped
 *  - closed-form leaves of one conjunction (and, dually, negated ones of one disjunction) are
 * merged
 *  - operands are sorted, each stands once
 * Its members are all words, so that equality is that of memory. */
struct rapt_mask_term {
    int32_t op; /* RAPT_MASK_AND, RAPT_MASK_OR or a leaf */
    int32_t a, b;
    int32_t negated;    /* of leaves */
    int32_t n_children; /* of operators */
    int32_t span;       /* terms of this subtree, this one included */
};

struct rapt_mask {
    const rapt_allocator *allocator; /* points at allocator_copy or is NULL */
    rapt_allocator allocator_copy;
    struct rapt_mask_closed closed; /* of the outermost conjunction's closed leaves */
    int is_closed;                  /* that is all of the mask */
    uint32_t needs;                 /* RAPT_MASK_NEEDS_* of the nodes */
    uint32_t depth;                 /* of the canonical tree; 0 = one leaf */
    uint64_t hash;
    size_t n_nodes, n_terms;
    rapt_mask_node *nodes; /* postfix, as given */
    struct rapt_mask_term *terms;
};

/* The canonical form of a mask; NULL = full. */
const struct rapt_mask_term *rapt_mask_terms(const rapt_mask *mask, size_t *out_n_terms);

/* Numbers of a leaf, or that the op is one: RAPT_ERROR_ARGUMENT otherwise. */
rapt_status rapt_mask_check_leaf(const rapt_mask_node *node);
uint32_t rapt_mask_leaf_needs(rapt_mask_op op);
/* RAPT_MASK_NEEDS_* of the canonical form, which may have lost leaves. */
uint32_t rapt_mask_reads(const rapt_mask *mask);

/* Memory rapt_mask_canonical works in: n_nodes of these. */
struct rapt_mask_link {
    int32_t op, a, b, negated;
    int32_t first, last, next; /* children as a list; -1 ends it */
    int32_t depth;
};
/* Writes the canonical form of checked postfix nodes into `terms`, which has room for n_nodes;
 * RAPT_ERROR_ARGUMENT if they are not one expression or it is nested too deep. `stack` has room for
 * n_nodes numbers. */
rapt_status rapt_mask_canonical(const rapt_mask_node *nodes, size_t n_nodes,
                                struct rapt_mask_link *links, int32_t *stack,
                                struct rapt_mask_term *terms, size_t *out_n_terms,
                                uint32_t *out_depth);

#endif
