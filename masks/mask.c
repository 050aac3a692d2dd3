/* SPDX-License-Identifier: Apache-2.0 */
/* Mask objects: postfix nodes kept for the element test, and their canonical and closed forms for
 * everything else. */
#include "expr.h"

#include "error.h"

#include <string.h>

static const struct rapt_mask_closed closed_full = {
    .left = RAPT_MASK_UNBOUNDED, .right = RAPT_MASK_UNBOUNDED, .limit = RAPT_MASK_UNBOUNDED};
static const struct rapt_mask_term full_term = {.op = RAPT_MASK_FULL, .span = 1};

static rapt_status check_numbers(const rapt_mask_node *node)
{
    switch (node->op) {
    case RAPT_MASK_WINDOW:
        if (node->a < -1 || node->b < -1)
            return rapt_fail(RAPT_ERROR_ARGUMENT,
                             "window(%d, %d): each side is a count of keys, or -1 for unbounded",
                             node->a, node->b);
        return RAPT_OK;
    case RAPT_MASK_CHUNKED:
        if (node->a < 1)
            return rapt_fail(RAPT_ERROR_ARGUMENT, "chunked(%d): the chunk is at least 1 key",
                             node->a);
        return RAPT_OK;
    case RAPT_MASK_SINK_TOKENS:
        if (node->a < 0)
            return rapt_fail(RAPT_ERROR_ARGUMENT, "sink_tokens(%d): a count, 0 or more", node->a);
        return RAPT_OK;
    case RAPT_MASK_DILATED:
        if (node->a < 1 || node->b < 1)
            return rapt_fail(RAPT_ERROR_ARGUMENT,
                             "dilated(%d, %d): a count of keys and their distance, each at least 1",
                             node->a, node->b);
        return RAPT_OK;
    default:
        return RAPT_OK;
    }
}

rapt_status rapt_mask_check_leaf(const rapt_mask_node *node)
{
    switch (node->op) {
    case RAPT_MASK_FULL:
    case RAPT_MASK_CAUSAL:
    case RAPT_MASK_WINDOW:
    case RAPT_MASK_CHUNKED:
    case RAPT_MASK_PREFIX:
    case RAPT_MASK_SINK_TOKENS:
    case RAPT_MASK_SEGMENTS:
    case RAPT_MASK_BIDIRECTIONAL:
    case RAPT_MASK_DILATED:
    case RAPT_MASK_BITMAP:
    case RAPT_MASK_BLOCKS:
    case RAPT_MASK_TREE:
        return check_numbers(node);
    case RAPT_MASK_AND:
    case RAPT_MASK_OR:
    case RAPT_MASK_NOT:
        break;
    }
    return rapt_fail(RAPT_ERROR_ARGUMENT, "mask node %d is not a leaf this version knows",
                     (int)node->op);
}

uint32_t rapt_mask_leaf_needs(rapt_mask_op op)
{
    switch (op) {
    case RAPT_MASK_PREFIX:
        return RAPT_MASK_NEEDS_PREFIX;
    case RAPT_MASK_SEGMENTS:
        return RAPT_MASK_NEEDS_SEGMENTS;
    case RAPT_MASK_BIDIRECTIONAL:
        return RAPT_MASK_NEEDS_BIDIRECTIONAL;
    case RAPT_MASK_BITMAP:
        return RAPT_MASK_NEEDS_BITMAP;
    case RAPT_MASK_BLOCKS:
        return RAPT_MASK_NEEDS_BLOCKS;
    case RAPT_MASK_TREE:
        return RAPT_MASK_NEEDS_PARENTS;
    default:
        return 0;
    }
}

static int32_t min_i32(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

/* Takes a leaf of the outermost conjunction into the closed form; 0 if it has none. Chunks that do
 * not divide each other are two sets of boundaries, which the form has no room for: the smaller
 * then stands, and sees more than both. */
static int close_leaf(struct rapt_mask_closed *closed, const struct rapt_mask_term *leaf)
{
    if (leaf->negated)
        return 0;
    switch (leaf->op) {
    case RAPT_MASK_FULL:
        return 1;
    case RAPT_MASK_WINDOW:
        closed->left = min_i32(closed->left, leaf->a);
        closed->right = min_i32(closed->right, leaf->b);
        return 1;
    case RAPT_MASK_CHUNKED:
        if (closed->chunk)
            return 0;
        closed->chunk = leaf->a;
        return 1;
    case RAPT_MASK_PREFIX:
        closed->uses_prefix = 1;
        return 1;
    case RAPT_MASK_SINK_TOKENS:
        closed->limit = min_i32(closed->limit, leaf->a);
        return 1;
    default:
        return 0;
    }
}

static void close_mask(rapt_mask *mask)
{
    const struct rapt_mask_term *root = mask->terms;
    mask->closed = closed_full;
    if (root->op != RAPT_MASK_AND) {
        mask->is_closed = close_leaf(&mask->closed, root);
        return;
    }
    mask->is_closed = 1;
    for (size_t i = 1; i < mask->n_terms; i += (size_t)mask->terms[i].span)
        mask->is_closed &= close_leaf(&mask->closed, &mask->terms[i]);
}

static uint64_t hash_terms(const struct rapt_mask_term *terms, size_t n_terms)
{
    const uint8_t *bytes = (const uint8_t *)terms;
    uint64_t hash = 0xcbf29ce484222325u; /* FNV-1a */
    for (size_t i = 0; i < n_terms * sizeof terms[0]; i++)
        hash = (hash ^ bytes[i]) * 0x100000001b3u;
    return hash;
}

/* One block of memory: the object, its canonical form, its nodes. */
static rapt_mask *allocate(const rapt_allocator *allocator, size_t n_nodes)
{
    rapt_mask *mask = rapt_alloc(
        allocator, 1, sizeof *mask + n_nodes * (sizeof mask->terms[0] + sizeof mask->nodes[0]));
    if (!mask)
        return NULL;
    if (allocator) {
        mask->allocator_copy = *allocator;
        mask->allocator = &mask->allocator_copy;
    }
    mask->n_nodes = n_nodes;
    mask->terms = (struct rapt_mask_term *)(mask + 1);
    mask->nodes = (rapt_mask_node *)(mask->terms + n_nodes);
    return mask;
}

static rapt_status fill(rapt_mask *mask, const rapt_allocator *allocator,
                        const rapt_mask_node *nodes, size_t n_nodes)
{
    struct rapt_mask_link *links =
        rapt_alloc(allocator, n_nodes, sizeof links[0] + sizeof(int32_t));
    if (!links)
        return rapt_fail(RAPT_ERROR_HOST_MEMORY, "no memory for a mask of %zu nodes", n_nodes);
    rapt_status status = rapt_mask_canonical(nodes, n_nodes, links, (int32_t *)(links + n_nodes),
                                             mask->terms, &mask->n_terms, &mask->depth);
    rapt_free(allocator, links);
    if (status != RAPT_OK)
        return status;
    memcpy(mask->nodes, nodes, n_nodes * sizeof nodes[0]);
    for (size_t i = 0; i < n_nodes; i++)
        mask->needs |= rapt_mask_leaf_needs(nodes[i].op);
    mask->hash = hash_terms(mask->terms, mask->n_terms);
    close_mask(mask);
    return RAPT_OK;
}

rapt_status rapt_mask_create(const rapt_allocator *allocator, const rapt_mask_node *nodes,
                             size_t n_nodes, rapt_mask **out_mask)
{
    if (!out_mask)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "out_mask is NULL");
    *out_mask = NULL;
    if (!nodes || n_nodes == 0 || n_nodes > RAPT_MASK_MAX_NODES)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "n_nodes is %zu: expected 1 to %d",
                         nodes ? n_nodes : 0, RAPT_MASK_MAX_NODES);
    rapt_mask *mask = allocate(allocator, n_nodes);
    if (!mask)
        return rapt_fail(RAPT_ERROR_HOST_MEMORY, "no memory for a mask of %zu nodes", n_nodes);
    rapt_status status = fill(mask, allocator, nodes, n_nodes);
    if (status != RAPT_OK)
        rapt_mask_destroy(&mask);
    *out_mask = mask;
    return status;
}

void rapt_mask_destroy(rapt_mask **mask)
{
    if (!mask || !*mask)
        return;
    if ((*mask)->allocator) {
        rapt_allocator allocator = (*mask)->allocator_copy; /* outlives the memory it lies in */
        rapt_free(&allocator, *mask);
    } else {
        rapt_free(NULL, *mask);
    }
    *mask = NULL;
}

void rapt_mask_lower(const rapt_mask *mask, struct rapt_mask_closed *out_closed)
{
    *out_closed = mask ? mask->closed : closed_full;
}

int rapt_mask_is_closed(const rapt_mask *mask)
{
    return !mask || mask->is_closed;
}

uint32_t rapt_mask_needs(const rapt_mask *mask)
{
    return mask ? mask->needs : 0;
}

int rapt_mask_needs_prefix(const rapt_mask *mask)
{
    return (rapt_mask_needs(mask) & RAPT_MASK_NEEDS_PREFIX) != 0;
}

const struct rapt_mask_term *rapt_mask_terms(const rapt_mask *mask, size_t *out_n_terms)
{
    *out_n_terms = mask ? mask->n_terms : 1;
    return mask ? mask->terms : &full_term;
}

uint32_t rapt_mask_reads(const rapt_mask *mask)
{
    size_t n_terms;
    const struct rapt_mask_term *terms = rapt_mask_terms(mask, &n_terms);
    uint32_t needs = 0;
    for (size_t i = 0; i < n_terms; i++)
        needs |= rapt_mask_leaf_needs((rapt_mask_op)terms[i].op);
    return needs;
}

int rapt_mask_equal(const rapt_mask *a, const rapt_mask *b)
{
    size_t n_a, n_b;
    const struct rapt_mask_term *x = rapt_mask_terms(a, &n_a), *y = rapt_mask_terms(b, &n_b);
    return n_a == n_b && memcmp(x, y, n_a * sizeof x[0]) == 0;
}

uint64_t rapt_mask_hash(const rapt_mask *mask)
{
    return mask ? mask->hash : hash_terms(&full_term, 1);
}

static int32_t narrow(int64_t x)
{
    return x <= INT32_MIN ? INT32_MIN : x >= INT32_MAX ? INT32_MAX : (int32_t)x;
}

void rapt_mask_interval(const rapt_mask *mask, int32_t pos, int32_t prefix, int32_t *out_lo,
                        int32_t *out_hi)
{
    struct rapt_mask_closed closed;
    rapt_mask_lower(mask, &closed);
    int64_t lo = rapt_mask_first(&closed, pos), hi = rapt_mask_last(&closed, pos);
    if (closed.limit != RAPT_MASK_UNBOUNDED && hi > (int64_t)closed.limit - 1)
        hi = (int64_t)closed.limit - 1;
    if (closed.uses_prefix && hi > (int64_t)prefix - 1)
        hi = (int64_t)prefix - 1;
    *out_lo = narrow(lo);
    *out_hi = narrow(hi);
}
