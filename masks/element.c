/* SPDX-License-Identifier: Apache-2.0 */
/* The element test by definition: leaf by leaf over the caller's nodes, and so independent of the
 * canonical form, of closed forms and of block tables, which checks compare with it. */
#include "error.h"
#include "expr.h"
#include "input.h"

struct element {
    const struct rapt_mask_input *input; /* NULL: there are no arrays but `prefix` */
    int32_t prefix;
    uint32_t b, h, i, j;
    int64_t P, J;
};

static int unbounded(int32_t side)
{
    return side < 0 || side >= RAPT_MASK_UNBOUNDED;
}

static int64_t chunk_of(int64_t pos, int64_t size)
{
    return pos / size - (pos % size < 0);
}

static int segments_allow(const struct element *e)
{
    const struct rapt_mask_input *input = e->input;
    int32_t q = input->data.segments_q[(uint32_t)input->batch.cu_q[e->b] + e->i];
    int32_t kv = input->data.segments_kv[(uint32_t)input->kv_first[e->b] + e->j];
    return q == kv && q != 0;
}

static int bidirectional_allows(const struct element *e)
{
    const struct rapt_mask_input *input = e->input;
    const uint8_t *flags = input->data.bidirectional + input->kv_first[e->b];
    int64_t query = e->P - rapt_batch_kv_pos0(&input->batch, e->b), key = e->j;
    if (query < 0 || query >= rapt_batch_kv_len(&input->batch, e->b))
        return 0;
    int64_t step = query < key ? 1 : -1;
    for (int64_t at = query; at != key; at += step)
        if (!flags[at])
            return 0;
    return flags[key] != 0;
}

static int bitmap_allows(const struct element *e)
{
    uint64_t bit = rapt_mask_bitmap_row(e->input, e->b, e->h, e->i) + e->j;
    return e->input->data.bitmap[bit >> 3] >> (bit & 7) & 1;
}

static int blocks_allow(const struct element *e)
{
    const rapt_mask_data *data = &e->input->data;
    if (e->P < 0 || e->J < 0)
        return 0;
    uint64_t row = (uint64_t)e->P / data->map_block_q, column = (uint64_t)e->J / data->map_block_kv;
    if (row >= data->n_q_blocks || column >= data->n_k_blocks)
        return 0;
    uint64_t head = data->n_block_heads == 1 ? 0 : e->h;
    return data->blocks[(head * data->n_q_blocks + row) * data->n_k_blocks + column] != 0;
}

static int tree_allows(const struct element *e)
{
    const int32_t *parents;
    int64_t n = rapt_mask_tree(e->input, e->b, &parents);
    int64_t key = (int64_t)e->j - (rapt_batch_kv_len(&e->input->batch, e->b) - n);
    int64_t at = n - rapt_batch_q_len(&e->input->batch, e->b) + e->i;
    if (key < 0)
        return 1;
    while (at >= 0 && at != key)
        at = parents[at];
    return at >= 0;
}

static int leaf_allows(const rapt_mask_node *leaf, const struct element *e)
{
    const int64_t P = e->P, J = e->J;
    if (!e->input && (rapt_mask_leaf_needs(leaf->op) & ~RAPT_MASK_NEEDS_PREFIX))
        return 0;
    switch (leaf->op) {
    case RAPT_MASK_CAUSAL:
        return J <= P;
    case RAPT_MASK_WINDOW:
        return (unbounded(leaf->a) || J >= P - leaf->a) && (unbounded(leaf->b) || J <= P + leaf->b);
    case RAPT_MASK_CHUNKED:
        return chunk_of(P, leaf->a) == chunk_of(J, leaf->a);
    case RAPT_MASK_PREFIX:
        return J < e->prefix;
    case RAPT_MASK_SINK_TOKENS:
        return J < leaf->a;
    case RAPT_MASK_DILATED:
        return P >= J && P - J < (int64_t)leaf->a * leaf->b && (P - J) % leaf->b == 0;
    case RAPT_MASK_SEGMENTS:
        return segments_allow(e);
    case RAPT_MASK_BIDIRECTIONAL:
        return bidirectional_allows(e);
    case RAPT_MASK_BITMAP:
        return bitmap_allows(e);
    case RAPT_MASK_BLOCKS:
        return blocks_allow(e);
    case RAPT_MASK_TREE:
        return tree_allows(e);
    default:
        return 1; /* full */
    }
}

static int allows(const rapt_mask *mask, const struct element *e)
{
    uint8_t stack[RAPT_MASK_MAX_NODES];
    size_t depth = 0;
    for (size_t n = 0; n < mask->n_nodes; n++) {
        const rapt_mask_node *node = &mask->nodes[n];
        switch (node->op) {
        case RAPT_MASK_AND:
            depth--;
            stack[depth - 1] &= stack[depth];
            break;
        case RAPT_MASK_OR:
            depth--;
            stack[depth - 1] |= stack[depth];
            break;
        case RAPT_MASK_NOT:
            stack[depth - 1] ^= 1;
            break;
        default:
            stack[depth++] = (uint8_t)leaf_allows(node, e);
        }
    }
    return stack[0];
}

int rapt_mask_allows(const rapt_mask *mask, int32_t pos, int32_t key, int32_t prefix)
{
    const struct element element = {.prefix = prefix, .P = pos, .J = key};
    return mask ? allows(mask, &element) : 1;
}

int rapt_mask_input_allows(const rapt_mask *mask, const struct rapt_mask_input *input, uint32_t b,
                           uint32_t h, uint32_t i, uint32_t j)
{
    if (!mask)
        return 1;
    const struct element element = {
        .input = input,
        .prefix = input->data.prefix ? input->data.prefix[b] : 0,
        .b = b,
        .h = h,
        .i = i,
        .j = j,
        .P = rapt_batch_q_pos(&input->batch, b, i),
        .J = (int64_t)rapt_batch_kv_pos0(&input->batch, b) + j,
    };
    return allows(mask, &element);
}

int rapt_mask_allows_element(const rapt_mask *mask, const rapt_mask_batch *batch, uint32_t b,
                             uint32_t h, uint32_t i, uint32_t j)
{
    struct rapt_mask_input input = {.kv_first = batch->cu_kv};
    rapt_mask_batch own;
    if (rapt_params_read("rapt_mask_batch", batch, &own, sizeof own) != RAPT_OK ||
        (own.data &&
         rapt_params_read("rapt_mask_data", own.data, &input.data, sizeof input.data) != RAPT_OK))
        return 0;
    input.batch = (struct rapt_batch){.n_seqs = own.n_seqs,
                                      .cu_q = own.cu_q,
                                      .cu_kv = own.cu_kv,
                                      .q_pos0 = own.q_pos0,
                                      .q_pos = own.q_pos,
                                      .kv_pos0 = own.kv_pos0};
    return rapt_mask_input_allows(mask, &input, b, h, i, j);
}
