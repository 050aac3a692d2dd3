/* SPDX-License-Identifier: Apache-2.0 */
/* Mask objects: postfix nodes kept for the element test, and their closed form for everything else.
 */
#include <rapt/mask.h>

#include "error.h"
#include "lower.h"

#include <string.h>

#define MAX_NODES 4096

struct rapt_mask {
    const rapt_allocator *allocator; /* points at allocator_copy or is NULL */
    rapt_allocator allocator_copy;
    struct rapt_mask_closed closed;
    size_t n_nodes;
    rapt_mask_node nodes[];
};

static const struct rapt_mask_closed closed_full = {
    .left = RAPT_MASK_UNBOUNDED, .right = RAPT_MASK_UNBOUNDED, .limit = RAPT_MASK_UNBOUNDED};

static int32_t min_i32(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

static int32_t bound(int32_t n)
{
    return n < 0 || n > RAPT_MASK_UNBOUNDED ? RAPT_MASK_UNBOUNDED : n;
}

/* A leaf's closed form; RAPT_ERROR_ARGUMENT for numbers out of range. */
static rapt_status lower_leaf(const rapt_mask_node *node, struct rapt_mask_closed *closed)
{
    *closed = closed_full;
    switch (node->op) {
    case RAPT_MASK_FULL:
        return RAPT_OK;
    case RAPT_MASK_CAUSAL:
        closed->right = 0;
        return RAPT_OK;
    case RAPT_MASK_WINDOW:
        if (node->a < -1 || node->b < -1)
            return rapt_fail(RAPT_ERROR_ARGUMENT,
                             "window(%d, %d): each side is a count of keys, or -1 for unbounded",
                             node->a, node->b);
        closed->left = bound(node->a);
        closed->right = bound(node->b);
        return RAPT_OK;
    case RAPT_MASK_CHUNKED:
        if (node->a < 1)
            return rapt_fail(RAPT_ERROR_ARGUMENT, "chunked(%d): the chunk is at least 1 key",
                             node->a);
        /* Positions stay below 2^30, so a larger chunk only separates negative positions from
         * the rest, as 2^30 does. */
        closed->chunk = min_i32(node->a, RAPT_MASK_UNBOUNDED);
        return RAPT_OK;
    case RAPT_MASK_PREFIX:
        closed->uses_prefix = 1;
        return RAPT_OK;
    case RAPT_MASK_SINK_TOKENS:
        if (node->a < 0)
            return rapt_fail(RAPT_ERROR_ARGUMENT, "sink_tokens(%d): a count, 0 or more", node->a);
        closed->limit = min_i32(node->a, RAPT_MASK_UNBOUNDED);
        return RAPT_OK;
    case RAPT_MASK_AND:
        break;
    }
    return rapt_fail(RAPT_ERROR_ARGUMENT, "mask node %d is not a leaf this version knows",
                     (int)node->op);
}

static rapt_status intersect(struct rapt_mask_closed *a, const struct rapt_mask_closed *b)
{
    if (a->chunk && b->chunk) {
        int32_t small = min_i32(a->chunk, b->chunk);
        int32_t large = a->chunk + b->chunk - small;
        if (large % small != 0)
            return rapt_fail(RAPT_ERROR_UNSUPPORTED,
                             "chunked(%d) & chunked(%d): neither divides the other, which is not "
                             "in this build yet",
                             a->chunk, b->chunk);
        a->chunk = small;
    } else if (b->chunk) {
        a->chunk = b->chunk;
    }
    a->left = min_i32(a->left, b->left);
    a->right = min_i32(a->right, b->right);
    a->limit = min_i32(a->limit, b->limit);
    a->uses_prefix |= b->uses_prefix;
    return RAPT_OK;
}

/* Conjunction is associative and commutative, so the closed form needs no stack, only a check that
 * the postfix program is one expression. */
static rapt_status lower_nodes(const rapt_mask_node *nodes, size_t n_nodes,
                               struct rapt_mask_closed *closed)
{
    size_t depth = 0;
    *closed = closed_full;
    for (size_t i = 0; i < n_nodes; i++) {
        if (nodes[i].op == RAPT_MASK_AND) {
            if (depth < 2)
                return rapt_fail(RAPT_ERROR_ARGUMENT,
                                 "mask node %zu: & has fewer than two operands", i);
            depth--;
            continue;
        }
        struct rapt_mask_closed leaf;
        rapt_status status = lower_leaf(&nodes[i], &leaf);
        if (status == RAPT_OK)
            status = intersect(closed, &leaf);
        if (status != RAPT_OK)
            return status;
        depth++;
    }
    if (depth != 1)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "the mask's %zu nodes are %zu expressions, not one",
                         n_nodes, depth);
    return RAPT_OK;
}

rapt_status rapt_mask_create(const rapt_allocator *allocator, const rapt_mask_node *nodes,
                             size_t n_nodes, rapt_mask **out_mask)
{
    if (!out_mask)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "out_mask is NULL");
    *out_mask = NULL;
    if (!nodes || n_nodes == 0 || n_nodes > MAX_NODES)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "n_nodes is %zu: expected 1 to %d",
                         nodes ? n_nodes : 0, MAX_NODES);
    struct rapt_mask_closed closed;
    rapt_status status = lower_nodes(nodes, n_nodes, &closed);
    if (status != RAPT_OK)
        return status;
    rapt_mask *mask = rapt_alloc(allocator, 1, sizeof *mask + n_nodes * sizeof nodes[0]);
    if (!mask)
        return rapt_fail(RAPT_ERROR_HOST_MEMORY, "no memory for a mask of %zu nodes", n_nodes);
    if (allocator) {
        mask->allocator_copy = *allocator;
        mask->allocator = &mask->allocator_copy;
    }
    mask->closed = closed;
    mask->n_nodes = n_nodes;
    memcpy(mask->nodes, nodes, n_nodes * sizeof nodes[0]);
    *out_mask = mask;
    return RAPT_OK;
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

int rapt_mask_needs_prefix(const rapt_mask *mask)
{
    return mask && mask->closed.uses_prefix;
}

int rapt_mask_equal(const rapt_mask *a, const rapt_mask *b)
{
    struct rapt_mask_closed x, y;
    rapt_mask_lower(a, &x);
    rapt_mask_lower(b, &y);
    return x.left == y.left && x.right == y.right && x.chunk == y.chunk && x.limit == y.limit &&
           x.uses_prefix == y.uses_prefix;
}

uint64_t rapt_mask_hash(const rapt_mask *mask)
{
    struct rapt_mask_closed closed;
    rapt_mask_lower(mask, &closed);
    const uint32_t words[] = {(uint32_t)closed.left, (uint32_t)closed.right, (uint32_t)closed.chunk,
                              (uint32_t)closed.limit, (uint32_t)closed.uses_prefix};
    uint64_t hash = 0xcbf29ce484222325u; /* FNV-1a, a byte at a time */
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        for (int shift = 0; shift < 32; shift += 8)
            hash = (hash ^ (words[i] >> shift & 0xff)) * 0x100000001b3u;
    return hash;
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

/* of its own: what is checked against the closed form shares nothing with it */
static int64_t chunk_of(int64_t pos, int64_t size)
{
    return pos / size - (pos % size < 0);
}

static int leaf_allows(const rapt_mask_node *node, int64_t p, int64_t j, int32_t prefix)
{
    switch (node->op) {
    case RAPT_MASK_CAUSAL:
        return j <= p;
    case RAPT_MASK_WINDOW:
        return (bound(node->a) == RAPT_MASK_UNBOUNDED || j >= p - node->a) &&
               (bound(node->b) == RAPT_MASK_UNBOUNDED || j <= p + node->b);
    case RAPT_MASK_CHUNKED:
        return chunk_of(p, node->a) == chunk_of(j, node->a);
    case RAPT_MASK_PREFIX:
        return j < prefix;
    case RAPT_MASK_SINK_TOKENS:
        return j < node->a;
    case RAPT_MASK_FULL:
    case RAPT_MASK_AND:
        break;
    }
    return 1;
}

/* By definition, leaf by leaf, and so independent of the closed form that checks compare it with.
 */
int rapt_mask_allows(const rapt_mask *mask, int32_t pos, int32_t key, int32_t prefix)
{
    if (!mask)
        return 1;
    for (size_t i = 0; i < mask->n_nodes; i++)
        if (!leaf_allows(&mask->nodes[i], pos, key, prefix))
            return 0;
    return 1;
}
