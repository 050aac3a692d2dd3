/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_MASKS_SCENE_H
#define TESTS_MASKS_SCENE_H

/* Random batches with every array a mask can read, random expressions as trees, and what they mean
 * from the words of the specification: nothing of the library's is used for that. */

#include <rapt/mask.h>

#include "random.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define SCENE_SEQS 4
#define SCENE_LEN 96 /* most queries, most keys of a sequence */
#define SCENE_HEADS 4
#define SCENE_MAP 24
#define SCENE_TOTAL (SCENE_SEQS * SCENE_LEN)

struct scene {
    uint64_t seed;
    int32_t cu_q[SCENE_SEQS + 1], cu_kv[SCENE_SEQS + 1];
    int32_t q_pos0[SCENE_SEQS], kv_pos0[SCENE_SEQS], q_pos[SCENE_TOTAL], prefix[SCENE_SEQS];
    int32_t segments_q[SCENE_TOTAL], segments_kv[SCENE_TOTAL], parents[SCENE_TOTAL];
    int32_t tree_indptr[SCENE_SEQS + 1];
    uint8_t bidirectional[SCENE_TOTAL];
    uint8_t bitmap[SCENE_TOTAL * SCENE_HEADS * (SCENE_LEN + 8) / 8 + 64];
    uint64_t bitmap_offsets[SCENE_SEQS];
    uint8_t blocks[SCENE_HEADS * SCENE_MAP * SCENE_MAP];
    rapt_mask_data data;
    rapt_mask_batch batch;
};

static inline uint32_t scene_q_len(const struct scene *s, uint32_t b)
{
    return (uint32_t)(s->cu_q[b + 1] - s->cu_q[b]);
}

static inline uint32_t scene_kv_len(const struct scene *s, uint32_t b)
{
    return (uint32_t)(s->cu_kv[b + 1] - s->cu_kv[b]);
}

static inline int64_t scene_kv_pos(const struct scene *s, uint32_t b, uint32_t j)
{
    return (s->batch.kv_pos0 ? s->kv_pos0[b] : 0) + (int64_t)j;
}

static inline int64_t scene_q_pos(const struct scene *s, uint32_t b, uint32_t i)
{
    if (s->batch.q_pos)
        return s->q_pos[s->cu_q[b] + (int32_t)i];
    if (s->batch.q_pos0)
        return s->q_pos0[b] + (int64_t)i;
    return scene_kv_pos(s, b, scene_kv_len(s, b)) - scene_q_len(s, b) + i;
}

/* Runs of equal ids, rising (packed documents, padding at the end) or in any order. */
static inline void scene_segments(struct scene *s, int32_t *ids, uint32_t n, int kind)
{
    int32_t id = (int32_t)random_below(&s->seed, 3);
    for (uint32_t at = 0; at < n;) {
        uint32_t length = 1 + random_below(&s->seed, kind == 2 ? 3 : 40);
        for (; length > 0 && at < n; length--)
            ids[at++] = id;
        id = kind == 0 ? id + (int32_t)random_below(&s->seed, 3) : random_between(&s->seed, -1, 4);
        if (kind == 0 && n - at < 10 && random_below(&s->seed, 2))
            id = 0;
    }
}

static inline void scene_tree(struct scene *s, uint32_t b, int32_t *n_nodes)
{
    uint32_t kv_len = scene_kv_len(s, b), q_len = scene_q_len(s, b);
    uint32_t n = s->data.tree_indptr ? random_below(&s->seed, kv_len + 1) : q_len;
    int32_t *parents = s->parents + *n_nodes;
    int backwards = (int)random_below(&s->seed, 3) == 0;
    for (uint32_t t = 0; t < n; t++) {
        parents[t] = backwards ? random_between(&s->seed, (int32_t)t + 1, (int32_t)n)
                               : random_between(&s->seed, -1, (int32_t)t - 1);
        if (parents[t] == (int32_t)n)
            parents[t] = -1;
        if (!backwards && t > 0 && random_below(&s->seed, 2))
            parents[t] = (int32_t)t - 1;
    }
    *n_nodes += (int32_t)n;
    s->tree_indptr[b + 1] = *n_nodes;
}

static inline void scene_lengths(struct scene *s, uint32_t n_seqs)
{
    s->data.tree_indptr = random_below(&s->seed, 2) ? s->tree_indptr : NULL;
    for (uint32_t b = 0; b < n_seqs; b++) {
        uint32_t kv_len = random_below(&s->seed, 8) ? random_below(&s->seed, SCENE_LEN + 1) : 0;
        uint32_t q_len = random_below(&s->seed, 8) ? random_below(&s->seed, SCENE_LEN + 1) : 1;
        if (random_below(&s->seed, 2))
            q_len = kv_len;
        if (!s->data.tree_indptr && q_len > kv_len)
            q_len = kv_len; /* the queries are the tree */
        s->cu_q[b + 1] = s->cu_q[b] + (int32_t)q_len;
        s->cu_kv[b + 1] = s->cu_kv[b] + (int32_t)kv_len;
        s->kv_pos0[b] = random_between(&s->seed, -40, 100);
        s->q_pos0[b] = s->kv_pos0[b] + random_between(&s->seed, -40, 100);
        s->prefix[b] = s->kv_pos0[b] + random_between(&s->seed, -5, SCENE_LEN);
    }
}

static inline void scene_bitmap(struct scene *s, uint32_t n_seqs, uint32_t n_heads)
{
    rapt_mask_data *data = &s->data;
    uint64_t bits = random_below(&s->seed, 70), row = 0;
    int per_head = (int)random_below(&s->seed, 2);
    if (random_below(&s->seed, 2))
        row = SCENE_LEN + random_below(&s->seed, 8);
    data->bitmap_head_stride = 0;
    for (uint32_t b = 0; b < n_seqs; b++) {
        s->bitmap_offsets[b] = bits;
        bits += (uint64_t)scene_q_len(s, b) * (row ? row : scene_kv_len(s, b));
    }
    if (per_head) {
        data->bitmap_head_stride = bits;
        bits *= n_heads;
    }
    data->bitmap = s->bitmap;
    data->bitmap_offsets = s->bitmap_offsets;
    data->bitmap_row_stride = row;
    data->bitmap_bits = bits;
    uint32_t kind = random_below(&s->seed, 4), byte = 0;
    for (size_t i = 0; i < sizeof s->bitmap; i++) {
        if (kind == 0 || i % 40 == 0)
            byte = random_below(&s->seed, 256);
        if (kind == 1 && i % 40 == 0)
            byte = random_below(&s->seed, 2) ? 0xff : 0;
        s->bitmap[i] = (uint8_t)byte;
    }
}

/* A batch of 1 to 4 sequences; what it is made of depends on the seed alone. */
static inline void scene_make(struct scene *s, uint64_t seed)
{
    memset(s, 0, sizeof *s);
    s->seed = seed;
    rapt_mask_data *data = &s->data;
    data->struct_size = sizeof *data;
    uint32_t n_seqs = 1 + random_below(&s->seed, SCENE_SEQS);
    uint32_t n_heads = 1 + random_below(&s->seed, SCENE_HEADS);
    scene_lengths(s, n_seqs);
    int32_t total_q = s->cu_q[n_seqs], total_kv = s->cu_kv[n_seqs], n_nodes = 0;
    for (uint32_t b = 0; b < n_seqs; b++) {
        scene_tree(s, b, &n_nodes);
        int kind = (int)random_below(&s->seed, 3);
        uint32_t q_len = scene_q_len(s, b), kv_len = scene_kv_len(s, b);
        scene_segments(s, s->segments_kv + s->cu_kv[b], kv_len, kind);
        if (q_len <= kv_len && random_below(&s->seed, 4))
            memcpy(s->segments_q + s->cu_q[b], s->segments_kv + s->cu_kv[b + 1] - q_len,
                   q_len * sizeof(int32_t));
        else
            scene_segments(s, s->segments_q + s->cu_q[b], q_len, kind);
    }
    uint8_t flag = 0;
    for (int32_t j = 0; j < total_kv; j++) {
        if (random_below(&s->seed, 12) == 0)
            flag ^= 1;
        s->bidirectional[j] = flag ? (uint8_t)(1 + random_below(&s->seed, 255)) : 0;
    }
    int32_t step = (int32_t)random_below(&s->seed, 4);
    for (int32_t i = 0; i < total_q; i++)
        s->q_pos[i] = step == 0 ? random_between(&s->seed, -20, 150) : 30 + (i * 7 * step) % 90;
    scene_bitmap(s, n_seqs, n_heads);
    data->prefix = s->prefix;
    data->segments_q = s->segments_q;
    data->segments_kv = s->segments_kv;
    data->bidirectional = s->bidirectional;
    data->parents = s->parents;
    data->blocks = s->blocks;
    data->n_block_heads = random_below(&s->seed, 2) ? n_heads : 1;
    data->n_q_blocks = 1 + random_below(&s->seed, SCENE_MAP);
    data->n_k_blocks = 1 + random_below(&s->seed, SCENE_MAP);
    data->map_block_q = 1 + random_below(&s->seed, 40);
    data->map_block_kv = random_below(&s->seed, 2) ? 16 : 1 + random_below(&s->seed, 40);
    for (size_t i = 0; i < sizeof s->blocks; i++)
        s->blocks[i] = (uint8_t)(random_below(&s->seed, 3) ? 0 : 1 + random_below(&s->seed, 9));
    uint32_t positions = random_below(&s->seed, 4);
    s->batch = (rapt_mask_batch){.struct_size = sizeof s->batch,
                                 .n_seqs = n_seqs,
                                 .cu_q = s->cu_q,
                                 .cu_kv = s->cu_kv,
                                 .q_pos0 = positions == 1 ? s->q_pos0 : NULL,
                                 .q_pos = positions == 2 ? s->q_pos : NULL,
                                 .kv_pos0 = random_below(&s->seed, 2) ? s->kv_pos0 : NULL,
                                 .n_q_heads = n_heads,
                                 .data = data};
}

/* ------------------------------------------------------------------------------- expressions */
#define TREE_NODES 64

struct expr_node {
    rapt_mask_op op;
    int32_t a, b;
    int left, right;
};

struct expr {
    struct expr_node nodes[TREE_NODES];
    int n_nodes, root;
};

static inline int expr_leaf(struct expr *e, uint64_t *seed, const rapt_mask_op *ops, uint32_t n_ops)
{
    struct expr_node node = {.op = ops[random_below(seed, n_ops)]};
    if (node.op == RAPT_MASK_WINDOW) {
        node.a = random_between(seed, -1, 60);
        node.b = random_between(seed, -1, 60);
    }
    if (node.op == RAPT_MASK_CHUNKED)
        node.a = random_between(seed, 1, 60);
    if (node.op == RAPT_MASK_SINK_TOKENS)
        node.a = random_between(seed, 0, 90);
    if (node.op == RAPT_MASK_DILATED) {
        node.a = random_between(seed, 1, 12);
        node.b = random_between(seed, 1, 9);
    }
    e->nodes[e->n_nodes] = node;
    return e->n_nodes++;
}

static inline int expr_grow(struct expr *e, uint64_t *seed, const rapt_mask_op *ops, uint32_t n_ops,
                            int n_leaves)
{
    int at;
    if (n_leaves > 1) {
        int left = 1 + (int)random_below(seed, (uint32_t)n_leaves - 1);
        struct expr_node node = {.op = random_below(seed, 2) ? RAPT_MASK_AND : RAPT_MASK_OR};
        node.left = expr_grow(e, seed, ops, n_ops, left);
        node.right = expr_grow(e, seed, ops, n_ops, n_leaves - left);
        at = e->n_nodes++;
        e->nodes[at] = node;
    } else {
        at = expr_leaf(e, seed, ops, n_ops);
    }
    if (random_below(seed, 5) == 0) {
        e->nodes[e->n_nodes] = (struct expr_node){.op = RAPT_MASK_NOT, .left = at};
        at = e->n_nodes++;
    }
    return at;
}

static const rapt_mask_op expr_all_leaves[] = {
    RAPT_MASK_FULL,          RAPT_MASK_CAUSAL,  RAPT_MASK_WINDOW,      RAPT_MASK_CHUNKED,
    RAPT_MASK_PREFIX,        RAPT_MASK_TREE,    RAPT_MASK_SINK_TOKENS, RAPT_MASK_SEGMENTS,
    RAPT_MASK_BIDIRECTIONAL, RAPT_MASK_DILATED, RAPT_MASK_BITMAP,      RAPT_MASK_BLOCKS};
#define EXPR_N_LEAVES (sizeof expr_all_leaves / sizeof expr_all_leaves[0])

/* A tree over 1 to max_leaves leaves (at most 12). */
static inline void expr_random(struct expr *e, uint64_t *seed, uint32_t max_leaves)
{
    e->n_nodes = 0;
    e->root =
        expr_grow(e, seed, expr_all_leaves, EXPR_N_LEAVES, 1 + (int)random_below(seed, max_leaves));
}

/* Postfix nodes of the subtree; returns how many. */
static inline size_t expr_postfix(const struct expr *e, int at, rapt_mask_node *nodes)
{
    const struct expr_node *node = &e->nodes[at];
    size_t n = 0;
    if (node->op == RAPT_MASK_AND || node->op == RAPT_MASK_OR || node->op == RAPT_MASK_NOT)
        n = expr_postfix(e, node->left, nodes);
    if (node->op == RAPT_MASK_AND || node->op == RAPT_MASK_OR)
        n += expr_postfix(e, node->right, nodes + n);
    nodes[n++] = (rapt_mask_node){node->op, node->a, node->b};
    return n;
}

/* As text, with no more parentheses than precedence asks for but for a few, and spaces at random.
 */
static inline char *expr_text(const struct expr *e, int at, int level, uint64_t *seed, char *out)
{
    static const char *const names[] = {
        [RAPT_MASK_FULL] = "full",         [RAPT_MASK_CAUSAL] = "causal",
        [RAPT_MASK_WINDOW] = "window",     [RAPT_MASK_CHUNKED] = "chunked",
        [RAPT_MASK_PREFIX] = "prefix",     [RAPT_MASK_SINK_TOKENS] = "sink_tokens",
        [RAPT_MASK_SEGMENTS] = "segments", [RAPT_MASK_BIDIRECTIONAL] = "bidirectional",
        [RAPT_MASK_DILATED] = "dilated",   [RAPT_MASK_BITMAP] = "bitmap",
        [RAPT_MASK_BLOCKS] = "blocks",     [RAPT_MASK_TREE] = "tree"};
    const struct expr_node *node = &e->nodes[at];
    const int own = node->op == RAPT_MASK_OR ? 0 : node->op == RAPT_MASK_AND ? 1 : 2;
    const int closed = own < level || random_below(seed, 8) == 0;
    out += sprintf(out, "%s%s", random_below(seed, 4) ? "" : " ", closed ? "(" : "");
    if (node->op == RAPT_MASK_NOT) {
        out += sprintf(out, "!");
        out = expr_text(e, node->left, 2, seed, out);
    } else if (own < 2) {
        /* The right side needs parentheses for its own operator, if the tree is to be the same. */
        out = expr_text(e, node->left, own, seed, out);
        out += sprintf(out, own ? "&" : " |");
        out = expr_text(e, node->right, own, seed, out);
    } else {
        out += sprintf(out, "%s", names[node->op]);
        if (node->op == RAPT_MASK_WINDOW || node->op == RAPT_MASK_DILATED)
            out += sprintf(out, "(%d,%d)", node->a, node->b);
        if (node->op == RAPT_MASK_CHUNKED || node->op == RAPT_MASK_SINK_TOKENS)
            out += sprintf(out, "( %d )", node->a);
    }
    return out + sprintf(out, "%s", closed ? ")" : "");
}

static inline int scene_ancestor(const struct scene *s, uint32_t b, uint32_t i, uint32_t j)
{
    int32_t first = s->data.tree_indptr ? s->tree_indptr[b] : s->cu_q[b];
    int32_t last = s->data.tree_indptr ? s->tree_indptr[b + 1] : s->cu_q[b + 1];
    int32_t n = last - first, before = (int32_t)scene_kv_len(s, b) - n;
    if ((int32_t)j < before)
        return 1;
    int32_t node = n - (int32_t)scene_q_len(s, b) + (int32_t)i;
    for (; node >= 0; node = s->parents[first + node])
        if (node == (int32_t)j - before)
            return 1;
    return 0;
}

static inline int scene_same_run(const struct scene *s, uint32_t b, uint32_t i, uint32_t j)
{
    int64_t at = scene_q_pos(s, b, i) - scene_kv_pos(s, b, 0), other = j;
    if (at < 0 || at >= scene_kv_len(s, b))
        return 0;
    int64_t from = at < other ? at : other, to = at < other ? other : at;
    for (; from <= to; from++)
        if (!s->bidirectional[s->cu_kv[b] + from])
            return 0;
    return 1;
}

static inline int scene_leaf(const struct scene *s, const struct expr_node *leaf, uint32_t b,
                             uint32_t h, uint32_t i, uint32_t j)
{
    const rapt_mask_data *data = &s->data;
    const int64_t P = scene_q_pos(s, b, i), J = scene_kv_pos(s, b, j);
    switch (leaf->op) {
    case RAPT_MASK_CAUSAL:
        return J <= P;
    case RAPT_MASK_WINDOW:
        return (leaf->a == -1 || P - leaf->a <= J) && (leaf->b == -1 || J <= P + leaf->b);
    case RAPT_MASK_CHUNKED:
        return floor((double)P / leaf->a) == floor((double)J / leaf->a);
    case RAPT_MASK_PREFIX:
        return J < s->prefix[b];
    case RAPT_MASK_SINK_TOKENS:
        return J < leaf->a;
    case RAPT_MASK_DILATED:
        for (int32_t k = 0; k < leaf->a; k++)
            if (P - J == (int64_t)k * leaf->b)
                return 1;
        return 0;
    case RAPT_MASK_SEGMENTS:
        return s->segments_q[s->cu_q[b] + (int32_t)i] == s->segments_kv[s->cu_kv[b] + (int32_t)j] &&
               s->segments_q[s->cu_q[b] + (int32_t)i] != 0;
    case RAPT_MASK_BIDIRECTIONAL:
        return scene_same_run(s, b, i, j);
    case RAPT_MASK_BITMAP: {
        uint64_t stride = data->bitmap_row_stride ? data->bitmap_row_stride : scene_kv_len(s, b);
        uint64_t bit = (data->bitmap_offsets ? data->bitmap_offsets[b] : 0) +
                       h * data->bitmap_head_stride + i * stride + j;
        return (s->bitmap[bit / 8] & (1 << bit % 8)) != 0;
    }
    case RAPT_MASK_BLOCKS: {
        double row = floor((double)P / data->map_block_q);
        double column = floor((double)J / data->map_block_kv);
        if (row < 0 || column < 0 || row >= data->n_q_blocks || column >= data->n_k_blocks)
            return 0;
        uint32_t head = data->n_block_heads > 1 ? h : 0;
        return s->blocks[(head * data->n_q_blocks + (uint32_t)row) * data->n_k_blocks +
                         (uint32_t)column] != 0;
    }
    case RAPT_MASK_TREE:
        return scene_ancestor(s, b, i, j);
    default:
        return 1;
    }
}

static inline int scene_allows(const struct scene *s, const struct expr *e, int at, uint32_t b,
                               uint32_t h, uint32_t i, uint32_t j)
{
    const struct expr_node *node = &e->nodes[at];
    switch (node->op) {
    case RAPT_MASK_AND:
        return scene_allows(s, e, node->left, b, h, i, j) &&
               scene_allows(s, e, node->right, b, h, i, j);
    case RAPT_MASK_OR:
        return scene_allows(s, e, node->left, b, h, i, j) ||
               scene_allows(s, e, node->right, b, h, i, j);
    case RAPT_MASK_NOT:
        return !scene_allows(s, e, node->left, b, h, i, j);
    default:
        return scene_leaf(s, node, b, h, i, j);
    }
}

#endif
