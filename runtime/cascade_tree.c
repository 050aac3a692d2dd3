/* SPDX-License-Identifier: Apache-2.0 */

/* The tree is that of the longest common prefixes of neighbours, made with a stack in one pass.
 *
 * What to share is decided twice over the tree. Upwards: how many would read a node's pages if it
 * did not share them, namely each child that shares something itself once, any other child as often
 * as its own readers do. Downwards: a node shares what no level above it has, if that saves more
 * keys than its rows' merge costs; a node that does not hands the pages down. Where only one more
 * level can be had, what is best there is found exactly. */

#include "cascade.h"

#include <string.h>

/* ----------------------------------------------------------------------------------------- tree */

static void widen(struct cascade_stack *entry, const struct cascade_stack *by)
{
    if (by->seen_first < entry->seen_first)
        entry->seen_first = by->seen_first;
    if (by->seen_end > entry->seen_end)
        entry->seen_end = by->seen_end;
}

static void make_nodes(struct cascade_tree *tree)
{
    struct cascade_stack *top = tree->stack;
    memset(top, 0, sizeof *top);
    tree->n_nodes = 0;
    for (uint32_t i = 1; i <= tree->n_seqs; i++) {
        uint32_t common = i < tree->n_seqs ? tree->common[i] : 0;
        struct cascade_stack run = {common, i - 1, tree->n_nodes, tree->seen_first[i - 1],
                                    tree->seen_end[i - 1]};
        while (top->pages > common) {
            widen(&run, top);
            run.first = top->first;
            run.subtree = top->subtree;
            tree->nodes[tree->n_nodes++] = (struct cascade_node){.first = top->first,
                                                                 .end = i,
                                                                 .pages = top->pages,
                                                                 .subtree = top->subtree,
                                                                 .seen_first = run.seen_first,
                                                                 .seen_end = run.seen_end,
                                                                 .level = CASCADE_NONE};
            top--;
        }
        if (common > top->pages)
            *++top = run;
        else
            widen(top, &run);
    }
}

/* Children are visited from the last on. */
static uint32_t last_child(const struct cascade_tree *tree, uint32_t node)
{
    return node > tree->nodes[node].subtree ? node - 1 : CASCADE_NONE;
}

static uint32_t child_before(const struct cascade_tree *tree, uint32_t node, uint32_t child)
{
    uint32_t first = tree->nodes[child].subtree;
    return first > tree->nodes[node].subtree ? first - 1 : CASCADE_NONE;
}

/* ------------------------------------------------------------------------------------ decisions */

/* Keys of pages [from, node->pages) that a row of the node may see. */
static uint64_t keys_from(const struct cascade_tree *tree, const struct cascade_node *node,
                          uint32_t from)
{
    uint64_t begin = (uint64_t)from * tree->page_size;
    uint64_t end = (uint64_t)node->pages * tree->page_size;
    begin = begin > node->seen_first ? begin : node->seen_first;
    end = end < node->seen_end ? end : node->seen_end;
    return begin < end ? end - begin : 0;
}

/* Keys saved, less the merge's cost, when `readers` readers of pages [from, node->pages) become
 * one; 0 = not worth it. */
static uint64_t gain(const struct cascade_tree *tree, const struct cascade_node *node,
                     uint32_t from, uint32_t readers)
{
    uint64_t keys = keys_from(tree, node, from), saved = keys * (readers - 1);
    uint64_t rows = tree->row_first[node->end] - tree->row_first[node->first];
    uint64_t cost = rows * tree->merge_tokens;
    return keys > 0 && keys >= tree->min_tokens && saved > cost ? saved - cost : 0;
}

static void count_readers(struct cascade_tree *tree)
{
    for (uint32_t i = 0; i < tree->n_nodes; i++) {
        struct cascade_node *node = &tree->nodes[i];
        node->readers = node->end - node->first;
        for (uint32_t c = last_child(tree, i); c != CASCADE_NONE; c = child_before(tree, i, c)) {
            const struct cascade_node *child = &tree->nodes[c];
            node->readers -= child->end - child->first;
            node->readers += gain(tree, child, node->pages, child->readers) ? 1 : child->readers;
        }
    }
}

static void share(struct cascade_tree *tree, struct cascade_node *node, uint32_t from,
                  uint32_t level)
{
    node->from = from;
    node->level = level;
    for (uint32_t b = node->first; b < node->end; b++) {
        tree->own_level[b] = level + 1;
        tree->own_from[b] = node->pages;
    }
}

/* One level is left for a subtree whose pages before `from` are taken: a node, or what its children
 * gain between them. */
static void share_last(struct cascade_tree *tree, uint32_t root, uint32_t from, uint32_t level)
{
    uint32_t begin = tree->nodes[root].subtree;
    for (uint32_t i = begin; i <= root; i++) {
        struct cascade_node *node = &tree->nodes[i];
        uint64_t below = 0;
        for (uint32_t c = last_child(tree, i); c != CASCADE_NONE; c = child_before(tree, i, c))
            below += tree->nodes[c].gain;
        uint64_t own = gain(tree, node, from, node->end - node->first);
        node->gain = own > below ? own : below;
        node->level = own > 0 && own >= below ? level : CASCADE_NONE;
    }
    for (uint32_t i = root + 1; i-- > begin;) {
        struct cascade_node *node = &tree->nodes[i];
        if (node->level == CASCADE_NONE)
            continue;
        for (uint32_t below = node->subtree; below < i; below++)
            tree->nodes[below].level = CASCADE_NONE;
        share(tree, node, from, level);
        i = node->subtree;
    }
}

void rapt_cascade_tree_build(struct cascade_tree *tree)
{
    make_nodes(tree);
    memset(tree->own_level, 0, tree->n_seqs * sizeof *tree->own_level);
    memset(tree->own_from, 0, tree->n_seqs * sizeof *tree->own_from);
    if (tree->max_levels < 2)
        return;
    count_readers(tree);
    for (uint32_t i = 0; i < tree->n_nodes; i++)
        tree->nodes[i].from = tree->nodes[i].gain = 0;
    /* parents first; `gain` holds the level that is free, until a node is decided */
    for (uint32_t i = tree->n_nodes; i-- > 0;) {
        struct cascade_node *node = &tree->nodes[i];
        uint32_t level = (uint32_t)node->gain, from = node->from;
        if (level + 2 == tree->max_levels) {
            share_last(tree, i, from, level);
            i = node->subtree;
            continue;
        }
        if (gain(tree, node, from, node->readers)) {
            share(tree, node, from, level++);
            from = node->pages;
        }
        for (uint32_t c = last_child(tree, i); c != CASCADE_NONE; c = child_before(tree, i, c)) {
            tree->nodes[c].from = from;
            tree->nodes[c].gain = level;
        }
    }
}
