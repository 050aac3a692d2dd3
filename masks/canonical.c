/* SPDX-License-Identifier: Apache-2.0 */
/* Postfix nodes to the canonical form: expr.h says what it is. */
#include "expr.h"

#include "error.h"

/* Links work in place: each node of the input owns one, and no step needs more than there were. */
struct tree {
    struct rapt_mask_link *links;
};

static int is_operator(int32_t op)
{
    return op == RAPT_MASK_AND || op == RAPT_MASK_OR;
}

static int32_t bound(int32_t n)
{
    return n < 0 || n > RAPT_MASK_UNBOUNDED ? RAPT_MASK_UNBOUNDED : n;
}

/* A negated operator becomes the other one over negated operands; theirs wait until they are
 * looked at. */
static void resolve(struct tree *tree, int32_t at)
{
    struct rapt_mask_link *link = &tree->links[at];
    if (!is_operator(link->op) || !link->negated)
        return;
    link->op = link->op == RAPT_MASK_AND ? RAPT_MASK_OR : RAPT_MASK_AND;
    link->negated = 0;
    for (int32_t child = link->first; child >= 0; child = tree->links[child].next)
        tree->links[child].negated ^= 1;
}

static void append(struct tree *tree, int32_t parent, int32_t child)
{
    struct rapt_mask_link *link = &tree->links[parent];
    tree->links[child].next = -1;
    if (link->last >= 0)
        tree->links[link->last].next = child;
    else
        link->first = child;
    link->last = child;
}

/* All operands of `from` to the end of the parent's. */
static void splice(struct tree *tree, int32_t parent, int32_t from)
{
    struct rapt_mask_link *link = &tree->links[parent], *other = &tree->links[from];
    if (other->first < 0)
        return;
    if (link->last >= 0)
        tree->links[link->last].next = other->first;
    else
        link->first = other->first;
    link->last = other->last;
}

static int32_t max_i32(int32_t a, int32_t b)
{
    return a > b ? a : b;
}

/* x op y; long chains of one operator become one link as they come, so depth is that of nesting. */
static int32_t combine(struct tree *tree, int32_t at, int32_t op, int32_t x, int32_t y)
{
    struct rapt_mask_link *link = &tree->links[at];
    *link = (struct rapt_mask_link){.op = op, .first = -1, .last = -1, .next = -1};
    const int32_t operands[2] = {x, y};
    for (int i = 0; i < 2; i++) {
        resolve(tree, operands[i]);
        const struct rapt_mask_link *operand = &tree->links[operands[i]];
        if (operand->op == op) {
            link->depth = max_i32(link->depth, operand->depth);
            splice(tree, at, operands[i]);
        } else {
            link->depth = max_i32(link->depth, operand->depth + 1);
            append(tree, at, operands[i]);
        }
    }
    return at;
}

/* One leaf in its canonical words. */
static void simplify_leaf(struct rapt_mask_link *leaf)
{
    if (leaf->op == RAPT_MASK_CAUSAL) {
        leaf->op = RAPT_MASK_WINDOW;
        leaf->a = RAPT_MASK_UNBOUNDED;
        leaf->b = 0;
    } else if (leaf->op == RAPT_MASK_WINDOW) {
        leaf->a = bound(leaf->a);
        leaf->b = bound(leaf->b);
    } else if (leaf->op == RAPT_MASK_DILATED && (leaf->a == 1 || leaf->b == 1)) {
        leaf->op = RAPT_MASK_WINDOW; /* the query's own key; every key of a window */
        leaf->a = bound(leaf->a - 1);
        leaf->b = 0;
    } else if (leaf->op == RAPT_MASK_CHUNKED || leaf->op == RAPT_MASK_SINK_TOKENS) {
        /* Positions stay below 2^30: a larger chunk only separates negative positions from the
         * rest, as 2^30 does. */
        leaf->a = bound(leaf->a);
        leaf->b = 0;
    } else if (leaf->op != RAPT_MASK_DILATED) {
        leaf->a = leaf->b = 0;
    }
    if ((leaf->op == RAPT_MASK_WINDOW && leaf->a == RAPT_MASK_UNBOUNDED &&
         leaf->b == RAPT_MASK_UNBOUNDED) ||
        (leaf->op == RAPT_MASK_SINK_TOKENS && leaf->a == RAPT_MASK_UNBOUNDED)) {
        leaf->op = RAPT_MASK_FULL;
        leaf->a = leaf->b = 0;
    }
}

/* Order of operands: leaves by their words, a leaf beside its negation, operators after leaves. */
static int compare(const struct tree *tree, int32_t x, int32_t y)
{
    const struct rapt_mask_link *a = &tree->links[x], *b = &tree->links[y];
    const int a_operator = is_operator(a->op), b_operator = is_operator(b->op);
    if (a_operator != b_operator)
        return a_operator - b_operator;
    if (a->op != b->op)
        return a->op < b->op ? -1 : 1;
    if (a->a != b->a)
        return a->a < b->a ? -1 : 1;
    if (a->b != b->b)
        return a->b < b->b ? -1 : 1;
    if (a->negated != b->negated)
        return a->negated - b->negated;
    int32_t i = a->first, j = b->first;
    for (; i >= 0 && j >= 0; i = tree->links[i].next, j = tree->links[j].next) {
        int order = compare(tree, i, j);
        if (order != 0)
            return order;
    }
    return (i >= 0) - (j >= 0);
}

static int32_t merge_sorted(struct tree *tree, int32_t x, int32_t y)
{
    int32_t head = -1, *tail = &head;
    while (x >= 0 && y >= 0) {
        int32_t *least = compare(tree, x, y) <= 0 ? &x : &y;
        *tail = *least;
        tail = &tree->links[*least].next;
        *least = *tail;
    }
    *tail = x >= 0 ? x : y;
    return head;
}

/* Runs of 2^k operands wait in slot k, as a counter carries. */
static int32_t sort(struct tree *tree, int32_t list)
{
    int32_t runs[16]; /* more than enough for RAPT_MASK_MAX_NODES */
    int n = 0;
    uint32_t count = 0;
    while (list >= 0) {
        int32_t run = list;
        list = tree->links[list].next;
        tree->links[run].next = -1;
        for (uint32_t carry = count++; carry & 1; carry >>= 1)
            run = merge_sorted(tree, runs[--n], run);
        runs[n++] = run;
    }
    int32_t sorted = -1;
    while (n > 0)
        sorted = merge_sorted(tree, runs[--n], sorted);
    return sorted;
}

/* Closed-form leaves that a conjunction can state as one: windows, and counts of sink tokens. In a
 * disjunction the same holds for negated ones. */
static void merge_closed(struct tree *tree, int32_t *list, int32_t negated)
{
    struct rapt_mask_link *window = NULL, *sinks = NULL;
    for (int32_t *at = list; *at >= 0;) {
        struct rapt_mask_link *link = &tree->links[*at], **kept = NULL;
        if (link->negated == negated && link->op == RAPT_MASK_WINDOW)
            kept = &window;
        else if (link->negated == negated && link->op == RAPT_MASK_SINK_TOKENS)
            kept = &sinks;
        if (!kept || !*kept) {
            if (kept)
                *kept = link;
            at = &link->next;
            continue;
        }
        (*kept)->a = link->a < (*kept)->a ? link->a : (*kept)->a;
        (*kept)->b = link->b < (*kept)->b ? link->b : (*kept)->b;
        *at = link->next;
    }
}

/* Of a sorted list: chunks that are multiples of another say nothing more. */
static void drop_coarse_chunks(struct tree *tree, int32_t *list, int32_t negated)
{
    for (int32_t *at = list; *at >= 0;) {
        struct rapt_mask_link *link = &tree->links[*at];
        int coarse = 0;
        if (link->op == RAPT_MASK_CHUNKED && link->negated == negated)
            for (int32_t i = *list; i != *at && !coarse; i = tree->links[i].next)
                coarse = tree->links[i].op == RAPT_MASK_CHUNKED &&
                         tree->links[i].negated == negated && link->a % tree->links[i].a == 0;
        if (coarse)
            *at = link->next;
        else
            at = &link->next;
    }
}

/* Of a sorted list: each operand once. 1 if a leaf and its negation are both there. */
static int drop_repeated(struct tree *tree, int32_t list)
{
    int contradiction = 0;
    for (int32_t i = list; i >= 0; i = tree->links[i].next) {
        struct rapt_mask_link *link = &tree->links[i];
        while (link->next >= 0 && compare(tree, i, link->next) == 0)
            link->next = tree->links[link->next].next;
        if (link->next < 0 || is_operator(link->op))
            continue;
        const struct rapt_mask_link *next = &tree->links[link->next];
        contradiction |= next->op == link->op && next->a == link->a && next->b == link->b;
    }
    return contradiction;
}

static void become_constant(struct rapt_mask_link *link, int32_t negated)
{
    *link = (struct rapt_mask_link){
        .op = RAPT_MASK_FULL, .negated = negated, .first = -1, .last = -1, .next = link->next};
}

static void simplify(struct tree *tree, int32_t at)
{
    resolve(tree, at);
    struct rapt_mask_link *link = &tree->links[at];
    if (!is_operator(link->op)) {
        simplify_leaf(link);
        return;
    }
    /* A constant decides the operator (full in |, nothing in &) or says nothing. */
    const int32_t op = link->op, deciding = op == RAPT_MASK_AND;
    int32_t next, child = link->first;
    link->first = link->last = -1;
    for (; child >= 0; child = next) {
        next = tree->links[child].next;
        simplify(tree, child);
        const struct rapt_mask_link *operand = &tree->links[child];
        if (operand->op == RAPT_MASK_FULL && operand->negated == deciding) {
            become_constant(link, deciding);
            return;
        }
        if (operand->op == op)
            splice(tree, at, child);
        else if (operand->op != RAPT_MASK_FULL)
            append(tree, at, child);
    }
    const int32_t negated = op == RAPT_MASK_OR;
    merge_closed(tree, &link->first, negated);
    link->first = sort(tree, link->first);
    drop_coarse_chunks(tree, &link->first, negated);
    if (drop_repeated(tree, link->first)) {
        become_constant(link, deciding);
    } else if (link->first < 0) {
        become_constant(link, !deciding);
    } else if (tree->links[link->first].next < 0) {
        int32_t own_next = link->next;
        *link = tree->links[link->first];
        link->next = own_next;
    } else {
        for (child = link->first; child >= 0; child = tree->links[child].next)
            link->last = child;
    }
}

static size_t emit(const struct tree *tree, int32_t at, struct rapt_mask_term *terms,
                   uint32_t level, uint32_t *depth)
{
    const struct rapt_mask_link *link = &tree->links[at];
    terms[0] = (struct rapt_mask_term){
        .op = link->op, .a = link->a, .b = link->b, .negated = link->negated, .span = 1};
    if (!is_operator(link->op)) {
        *depth = level > *depth ? level : *depth;
        return 1;
    }
    for (int32_t child = link->first; child >= 0; child = tree->links[child].next) {
        terms[0].n_children++;
        terms[0].span += (int32_t)emit(tree, child, terms + terms[0].span, level + 1, depth);
    }
    return (size_t)terms[0].span;
}

/* The postfix program as a tree; its root, or -1 with *out_status set. */
static int32_t build(struct tree *tree, const rapt_mask_node *nodes, size_t n_nodes, int32_t *stack,
                     rapt_status *out_status)
{
    size_t depth = 0;
    for (size_t i = 0; i < n_nodes; i++) {
        const rapt_mask_op op = nodes[i].op;
        const size_t wanted = op == RAPT_MASK_AND || op == RAPT_MASK_OR ? 2 : op == RAPT_MASK_NOT;
        if (depth < wanted) {
            *out_status =
                wanted == 2 ? rapt_fail(RAPT_ERROR_ARGUMENT,
                                        "mask node %zu: %s has fewer than two operands", i,
                                        op == RAPT_MASK_AND ? "&" : "|")
                            : rapt_fail(RAPT_ERROR_ARGUMENT, "mask node %zu: ! has no operand", i);
            return -1;
        }
        if (op == RAPT_MASK_NOT) {
            tree->links[stack[depth - 1]].negated ^= 1;
            continue;
        }
        if (wanted == 2) {
            stack[depth - 2] =
                combine(tree, (int32_t)i, (int32_t)op, stack[depth - 2], stack[depth - 1]);
            depth--;
            if (tree->links[i].depth > RAPT_MASK_MAX_DEPTH) {
                *out_status =
                    rapt_fail(RAPT_ERROR_ARGUMENT, "mask node %zu: & and | nest deeper than %d", i,
                              RAPT_MASK_MAX_DEPTH);
                return -1;
            }
            continue;
        }
        *out_status = rapt_mask_check_leaf(&nodes[i]);
        if (*out_status != RAPT_OK)
            return -1;
        tree->links[i] = (struct rapt_mask_link){.op = (int32_t)op,
                                                 .a = nodes[i].a,
                                                 .b = nodes[i].b,
                                                 .first = -1,
                                                 .last = -1,
                                                 .next = -1};
        stack[depth++] = (int32_t)i;
    }
    if (depth == 1)
        return stack[0];
    *out_status = rapt_fail(RAPT_ERROR_ARGUMENT,
                            "the mask's %zu nodes are %zu expressions, not one", n_nodes, depth);
    return -1;
}

rapt_status rapt_mask_canonical(const rapt_mask_node *nodes, size_t n_nodes,
                                struct rapt_mask_link *links, int32_t *stack,
                                struct rapt_mask_term *terms, size_t *out_n_terms,
                                uint32_t *out_depth)
{
    struct tree tree = {.links = links};
    rapt_status status = RAPT_OK;
    int32_t root = build(&tree, nodes, n_nodes, stack, &status);
    if (root < 0)
        return status;
    simplify(&tree, root);
    *out_depth = 0;
    *out_n_terms = emit(&tree, root, terms, 0, out_depth);
    return RAPT_OK;
}
