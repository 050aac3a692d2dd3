/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_CASCADE_H
#define RUNTIME_CASCADE_H

/* Who shares which pages: the tree of common prefixes of a batch, and which of its pieces are worth
 * sharing. Pure: plain numbers in, plain numbers out. */

#include <stdint.h>

#define CASCADE_NONE UINT32_MAX

/* Neighbours [first, end) whose block tables agree in their first `pages` pages, and not with those
 * beside them. Children stand before their parent, a node's whole subtree in [subtree, node]. */
struct cascade_node {
    uint32_t first, end, pages, subtree;
    uint32_t seen_first, seen_end; /* keys some row of them may see */
    uint32_t readers; /* how many would read the node's own pages if they are not shared */
    uint32_t from;    /* first page that no level above has */
    uint32_t level;   /* pages [from, pages) are shared on; CASCADE_NONE = on none */
    uint64_t gain;    /* scratch */
};

struct cascade_stack {
    uint32_t pages, first, subtree, seen_first, seen_end;
};

struct cascade_tree {
    uint32_t n_seqs;
    /* of each sequence */
    const uint32_t *common; /* full pages it has in common with the one before; [0] unused */
    const uint32_t *seen_first, *seen_end; /* keys */
    const uint32_t *row_first;             /* u32[n_seqs + 1]: query tokens */
    uint32_t page_size, max_levels, min_tokens, merge_tokens;
    struct cascade_node *nodes;  /* room for n_seqs */
    struct cascade_stack *stack; /* room for n_seqs + 1 */
    uint32_t n_nodes;
    uint32_t *own_level, *own_from; /* out: where each sequence's own keys begin, and their level */
};

/* Fills nodes, n_nodes and the outputs. Time proportional to n_seqs * max_levels. */
void rapt_cascade_tree_build(struct cascade_tree *tree);

#endif
