/* SPDX-License-Identifier: Apache-2.0 */
/* The arrays of leaves made ready for block after block: once per sequence, in one pass. */
#include "leaf.h"

#include "error.h"
#include "numbers.h"

static int32_t id_at(const struct rapt_leaves *leaves, int of_flags, uint32_t row)
{
    return of_flags ? leaves->input->data.bidirectional[row] != 0
                    : leaves->input->data.segments_kv[row];
}

/* Runs of keys of one id in a sequence; with `out` NULL they are only counted. */
static uint32_t find_runs(const struct rapt_leaves *leaves, int of_flags, uint32_t b,
                          struct rapt_leaf_run *out)
{
    const uint32_t first = (uint32_t)leaves->input->kv_first[b];
    const uint32_t kv_len = rapt_batch_kv_len(&leaves->input->batch, b);
    uint32_t n = 0;
    for (uint32_t j = 0; j < kv_len;) {
        const int32_t id = id_at(leaves, of_flags, first + j);
        const uint32_t begin = j;
        while (j < kv_len && id_at(leaves, of_flags, first + j) == id)
            j++;
        if (id == 0)
            continue;
        if (out)
            out[n] = (struct rapt_leaf_run){id, begin, j};
        n++;
    }
    return n;
}

static int comes_first(const struct rapt_leaf_run *a, const struct rapt_leaf_run *b)
{
    return a->id != b->id ? a->id < b->id : a->begin < b->begin;
}

static void sift(struct rapt_leaf_run *runs, uint32_t at, uint32_t n)
{
    const struct rapt_leaf_run moved = runs[at];
    for (uint32_t child; (child = 2 * at + 1) < n; at = child) {
        if (child + 1 < n && comes_first(&runs[child], &runs[child + 1]))
            child++;
        if (!comes_first(&moved, &runs[child]))
            break;
        runs[at] = runs[child];
    }
    runs[at] = moved;
}

/* Heap sort: the C library's may take memory of its own. Packed documents come sorted. */
static void sort_by_id(struct rapt_leaf_run *runs, uint32_t n)
{
    uint32_t sorted = 1;
    while (sorted < n && comes_first(&runs[sorted - 1], &runs[sorted]))
        sorted++;
    if (sorted >= n)
        return;
    for (uint32_t at = n / 2; at-- > 0;)
        sift(runs, at, n);
    for (uint32_t end = n - 1; end > 0; end--) {
        const struct rapt_leaf_run last = runs[end];
        runs[end] = runs[0];
        runs[0] = last;
        sift(runs, 0, end);
    }
}

static rapt_status allocate(struct rapt_leaves *leaves, const rapt_allocator *allocator)
{
    const struct rapt_batch *batch = &leaves->input->batch;
    uint32_t most_segments = 0, most_flags = 0, most_keys = 0, most_nodes = 0;
    for (uint32_t b = 0; b < batch->n_seqs; b++) {
        const int32_t *parents;
        most_keys = rapt_max_u32(most_keys, rapt_batch_kv_len(batch, b));
        if (leaves->needs & RAPT_MASK_NEEDS_SEGMENTS)
            most_segments = rapt_max_u32(most_segments, find_runs(leaves, 0, b, NULL));
        if (leaves->needs & RAPT_MASK_NEEDS_BIDIRECTIONAL)
            most_flags = rapt_max_u32(most_flags, find_runs(leaves, 1, b, NULL));
        if (leaves->needs & RAPT_MASK_NEEDS_PARENTS)
            most_nodes = rapt_max_u32(most_nodes, rapt_mask_tree(leaves->input, b, &parents));
    }
    leaves->segments.runs =
        rapt_alloc(allocator, 2 * (size_t)most_segments, sizeof *leaves->segments.runs);
    leaves->flags.runs = rapt_alloc(allocator, most_flags, sizeof *leaves->flags.runs);
    leaves->segment_states = rapt_alloc(allocator, most_keys / leaves->block_kv + 1, 1);
    /* the tree's part starts up to 31 keys before it */
    leaves->ancestors =
        rapt_alloc(allocator, (size_t)leaves->block_q * (most_nodes / 32 + 2),
                   leaves->needs & RAPT_MASK_NEEDS_PARENTS ? sizeof *leaves->ancestors : 0);
    if (leaves->segments.runs && leaves->flags.runs && leaves->segment_states && leaves->ancestors)
        return RAPT_OK;
    return rapt_fail(RAPT_ERROR_HOST_MEMORY, "no memory to read the arrays of a mask");
}

rapt_status rapt_leaves_init(struct rapt_leaves *leaves, const rapt_allocator *allocator,
                             const struct rapt_mask_input *input, uint32_t needs, uint32_t block_q,
                             uint32_t block_kv)
{
    *leaves = (struct rapt_leaves){.input = input,
                                   .needs = needs,
                                   .block_q = block_q,
                                   .block_kv = block_kv,
                                   .row_words = (block_kv + 31) / 32};
    rapt_status status = allocate(leaves, allocator);
    if (status != RAPT_OK)
        rapt_leaves_finish(leaves, allocator);
    return status;
}

void rapt_leaves_finish(struct rapt_leaves *leaves, const rapt_allocator *allocator)
{
    rapt_free(allocator, leaves->segments.runs);
    rapt_free(allocator, leaves->flags.runs);
    rapt_free(allocator, leaves->segment_states);
    rapt_free(allocator, leaves->ancestors);
    *leaves = (struct rapt_leaves){0};
}

void rapt_leaves_set_sequence(struct rapt_leaves *leaves, uint32_t b)
{
    const struct rapt_batch *batch = &leaves->input->batch;
    leaves->b = b;
    leaves->kv_len = rapt_batch_kv_len(batch, b);
    leaves->n_blocks = leaves->kv_len / leaves->block_kv + (leaves->kv_len % leaves->block_kv != 0);
    leaves->kv_pos0 = rapt_batch_kv_pos0(batch, b);
    if (leaves->needs & RAPT_MASK_NEEDS_SEGMENTS) {
        struct rapt_leaf_runs *runs = &leaves->segments;
        runs->n_runs = find_runs(leaves, 0, b, runs->runs);
        runs->by_id = runs->runs + runs->n_runs;
        for (uint32_t i = 0; i < runs->n_runs; i++)
            runs->by_id[i] = runs->runs[i];
        sort_by_id(runs->by_id, runs->n_runs);
    }
    if (leaves->needs & RAPT_MASK_NEEDS_BIDIRECTIONAL)
        leaves->flags.n_runs = find_runs(leaves, 1, b, leaves->flags.runs);
    if (leaves->needs & RAPT_MASK_NEEDS_PARENTS) {
        leaves->tree_nodes = rapt_mask_tree(leaves->input, b, &leaves->parents);
        leaves->tree_first = leaves->kv_len - leaves->tree_nodes;
        leaves->tree_base = leaves->tree_first & ~31u;
    }
}

void rapt_leaves_set_rows(struct rapt_leaves *leaves, uint32_t h, uint32_t first, uint32_t n_rows)
{
    const struct rapt_batch *batch = &leaves->input->batch;
    leaves->h = h;
    leaves->first = first;
    leaves->n_rows = n_rows;
    leaves->segments_ready = leaves->tree_ready = 0;
    leaves->low = rapt_batch_q_pos(batch, leaves->b, first);
    leaves->high = leaves->low + n_rows - 1;
    leaves->consecutive = 1;
    if (!batch->q_pos)
        return;
    int64_t start = leaves->high = leaves->low;
    for (uint32_t r = 1; r < n_rows; r++) {
        int64_t P = rapt_batch_q_pos(batch, leaves->b, first + r);
        leaves->consecutive &= P == start + r;
        leaves->low = P < leaves->low ? P : leaves->low;
        leaves->high = P > leaves->high ? P : leaves->high;
    }
}
