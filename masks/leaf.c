/* SPDX-License-Identifier: Apache-2.0 */
/* Leaves over blocks. Those that are an interval per row answer from the two ends of the query
 * block's positions; those made of arrays answer block by block. */
#include "leaf.h"

#include "numbers.h"

#include <string.h>

#define NOWHERE (INT64_MAX / 4) /* beyond every key, and far from overflow */

static void interval(struct rapt_leaf_range *range, int64_t may_begin, int64_t may_end,
                     int64_t full_begin, int64_t full_end)
{
    *range = (struct rapt_leaf_range){may_begin, may_end, full_begin, full_end, 0};
}

/* ---------------------------------------------------------------------------------- runs of keys
 */

/* The first run that ends behind `key`. */
static uint32_t find_run(const struct rapt_leaf_runs *runs, int64_t key)
{
    uint32_t low = 0, high = runs->n_runs;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if ((int64_t)runs->runs[middle].end <= key)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The first run of by_id whose id is not below `id`. */
static uint32_t find_id(const struct rapt_leaf_runs *runs, int32_t id)
{
    uint32_t low = 0, high = runs->n_runs;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (runs->by_id[middle].id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void flags_range(struct rapt_leaves *leaves, struct rapt_leaf_range *range)
{
    const struct rapt_leaf_runs *runs = &leaves->flags;
    const int64_t low = leaves->low - leaves->kv_pos0, high = leaves->high - leaves->kv_pos0;
    const uint32_t first = find_run(runs, low);
    uint32_t last = find_run(runs, high);
    if (last == runs->n_runs || runs->runs[last].begin > high)
        last--; /* the last run that begins at or before `high`, or first - 1 */
    if (first == runs->n_runs || last == UINT32_MAX || last < first) {
        interval(range, 0, 0, 0, 0);
        return;
    }
    const struct rapt_leaf_run *from = &runs->runs[first], *to = &runs->runs[last];
    if (first == last && (int64_t)from->begin <= low && high < (int64_t)from->end)
        interval(range, from->begin, from->end, from->begin, from->end);
    else
        interval(range, from->begin, to->end, 0, 0);
}

/* Of one id: its keys, if they are one run. The ids of a query block are read in runs; where each
 * has one run of keys and these touch, they are an interval together. */
static void segments_range(struct rapt_leaves *leaves, struct rapt_leaf_range *range)
{
    const struct rapt_leaf_runs *runs = &leaves->segments;
    const int32_t *ids = leaves->input->data.segments_q +
                         (uint32_t)leaves->input->batch.cu_q[leaves->b] + leaves->first;
    uint32_t n_ids = 0;
    interval(range, 0, 0, 0, 0);
    leaves->segments_ready = 0;
    for (uint32_t i = 0; i < leaves->n_rows; i++) {
        if (i > 0 && ids[i] == ids[i - 1])
            continue;
        n_ids++;
        uint32_t at = ids[i] ? find_id(runs, ids[i]) : runs->n_runs;
        if (at == runs->n_runs || runs->by_id[at].id != ids[i])
            continue;
        const struct rapt_leaf_run *run = &runs->by_id[at];
        int alone = at + 1 == runs->n_runs || run[1].id != ids[i];
        int touches = range->may_begin == range->may_end || (int64_t)run->begin == range->may_end;
        if (!alone || !touches) {
            range->dense = 1;
            return;
        }
        if (range->may_begin == range->may_end)
            range->may_begin = run->begin;
        range->may_end = run->end;
    }
    if (n_ids == 1) {
        range->full_begin = range->may_begin;
        range->full_end = range->may_end;
    }
}

static void fill_segment_states(struct rapt_leaves *leaves)
{
    const struct rapt_leaf_runs *runs = &leaves->segments;
    const int32_t *ids = leaves->input->data.segments_q +
                         (uint32_t)leaves->input->batch.cu_q[leaves->b] + leaves->first;
    uint8_t *states = leaves->segment_states;
    memset(states, RAPT_BLOCK_STATE_EMPTY, leaves->n_blocks);
    leaves->segments_ready = 1;
    int one_id = 1;
    for (uint32_t i = 1; i < leaves->n_rows; i++)
        one_id &= ids[i] == ids[0];
    for (uint32_t i = 0; i < leaves->n_rows; i++) {
        if (ids[i] == 0 || (i > 0 && ids[i] == ids[i - 1]))
            continue;
        for (uint32_t at = find_id(runs, ids[i]); at < runs->n_runs && runs->by_id[at].id == ids[i];
             at++) {
            const struct rapt_leaf_run *run = &runs->by_id[at];
            uint32_t block = run->begin / leaves->block_kv;
            for (; block * (uint64_t)leaves->block_kv < run->end; block++) {
                uint32_t begin = block * leaves->block_kv;
                int covered = one_id && run->begin <= begin &&
                              begin + rapt_leaves_n_keys(leaves, block) <= run->end;
                states[block] = covered ? RAPT_BLOCK_STATE_FULL : RAPT_BLOCK_STATE_PARTIAL;
            }
        }
    }
}

static void segment_bits(const struct rapt_leaves *leaves, uint32_t block, uint32_t *out_bits)
{
    const struct rapt_mask_input *input = leaves->input;
    const uint32_t begin = block * leaves->block_kv, n_keys = rapt_leaves_n_keys(leaves, block);
    const uint32_t words = leaves->row_words;
    const int32_t *ids_q =
        input->data.segments_q + (uint32_t)input->batch.cu_q[leaves->b] + leaves->first;
    const int32_t *ids_kv = input->data.segments_kv + (uint32_t)input->kv_first[leaves->b] + begin;
    for (uint32_t r = 0; r < leaves->n_rows; r++) {
        uint32_t *row = out_bits + (size_t)r * words;
        if (r > 0 && ids_q[r] == ids_q[r - 1]) {
            memcpy(row, row - words, words * sizeof *row);
            continue;
        }
        memset(row, 0, words * sizeof *row);
        for (uint32_t j = 0; ids_q[r] != 0 && j < n_keys; j++)
            row[j >> 5] |= (uint32_t)(ids_q[r] == ids_kv[j]) << (j & 31);
    }
}

/* ------------------------------------------------------------------------- bits of the caller's */

/* n bits, 1 to 32, from bit `at` on; no byte is read that lies behind the array. */
static uint32_t bitmap_bits_at(const rapt_mask_data *data, uint64_t at, uint32_t n)
{
    const uint8_t *byte = data->bitmap + (at >> 3);
    const uint32_t shift = at & 7;
    uint64_t all = 0;
    if ((at >> 3) + 8 <= data->bitmap_bits >> 3) { /* one load, to compilers */
        all = (uint64_t)byte[0] | (uint64_t)byte[1] << 8 | (uint64_t)byte[2] << 16 |
              (uint64_t)byte[3] << 24 | (uint64_t)byte[4] << 32 | (uint64_t)byte[5] << 40 |
              (uint64_t)byte[6] << 48 | (uint64_t)byte[7] << 56;
    } else {
        for (uint32_t i = 0; i < (shift + n + 7) >> 3; i++)
            all |= (uint64_t)byte[i] << (8 * i);
    }
    return (uint32_t)(all >> shift) & rapt_low_bits(n);
}

/* Row r's bits of keys [key, key + n), n up to 32. */
static uint32_t row_bits(const struct rapt_leaves *leaves, int32_t op, uint32_t r, uint32_t key,
                         uint32_t n)
{
    if (op == RAPT_MASK_BITMAP) {
        uint64_t row = rapt_mask_bitmap_row(leaves->input, leaves->b, leaves->h, leaves->first + r);
        return bitmap_bits_at(&leaves->input->data, row + key, n);
    }
    if (key + n <= leaves->tree_first)
        return rapt_low_bits(n);
    /* Blocks begin at multiples of 16 keys and bits are asked for within 32: they lie in one word.
     */
    const uint32_t at = key - leaves->tree_base;
    return leaves->ancestors[(size_t)r * leaves->ancestor_words + (at >> 5)] >> (at & 31) &
           rapt_low_bits(n);
}

/* A row's ancestors: those of its parent, where that is a row of this block too, and itself. */
static void fill_ancestors(struct rapt_leaves *leaves)
{
    const uint32_t q_len = rapt_batch_q_len(&leaves->input->batch, leaves->b);
    const int64_t first = (int64_t)leaves->tree_nodes - q_len + leaves->first;
    const uint32_t words = leaves->ancestor_words = (leaves->kv_len - leaves->tree_base + 31) / 32;
    const uint32_t shift = leaves->tree_first - leaves->tree_base;
    leaves->tree_ready = 1;
    for (uint32_t r = 0; r < leaves->n_rows; r++) {
        uint32_t *row = leaves->ancestors + (size_t)r * words;
        int64_t node = first + r;
        memset(row, 0, words * sizeof *row);
        row[0] = rapt_low_bits(shift);
        while (node >= 0) {
            row[(node + shift) >> 5] |= (uint32_t)1 << ((node + shift) & 31);
            node = leaves->parents[node];
            if (node >= first && node < first + r) {
                const uint32_t *parent = leaves->ancestors + (size_t)(node - first) * words;
                for (uint32_t w = 0; w < words; w++)
                    row[w] |= parent[w];
                break;
            }
        }
    }
}

static enum rapt_block_state bits_state(const struct rapt_leaves *leaves, int32_t op,
                                        uint32_t block)
{
    const uint32_t begin = block * leaves->block_kv, n_keys = rapt_leaves_n_keys(leaves, block);
    uint32_t any = 0, missing = 0;
    if (op == RAPT_MASK_TREE && begin + n_keys <= leaves->tree_first)
        return RAPT_BLOCK_STATE_FULL;
    for (uint32_t r = 0; r < leaves->n_rows; r++) {
        for (uint32_t at = 0; at < n_keys; at += 32) {
            uint32_t n = rapt_min_u32(n_keys - at, 32);
            uint32_t bits = row_bits(leaves, op, r, begin + at, n);
            any |= bits;
            missing |= bits ^ rapt_low_bits(n);
        }
        if (any && missing)
            return RAPT_BLOCK_STATE_PARTIAL;
    }
    return any ? RAPT_BLOCK_STATE_FULL : RAPT_BLOCK_STATE_EMPTY;
}

/* ------------------------------------------------------------------------------ the caller's map
 */

static int map_byte(const struct rapt_leaves *leaves, int64_t row, int64_t column)
{
    const rapt_mask_data *data = &leaves->input->data;
    if (row < 0 || column < 0 || row >= data->n_q_blocks || column >= data->n_k_blocks)
        return 0;
    uint64_t head = data->n_block_heads == 1 ? 0 : leaves->h;
    return data->blocks[(head * data->n_q_blocks + (uint64_t)row) * data->n_k_blocks +
                        (uint64_t)column] != 0;
}

static int64_t floor_div(int64_t x, int64_t step)
{
    return rapt_floor_multiple(x, step) / step;
}

static enum rapt_block_state map_state(const struct rapt_leaves *leaves, uint32_t block)
{
    const rapt_mask_data *data = &leaves->input->data;
    const int64_t begin = leaves->kv_pos0 + (int64_t)block * leaves->block_kv;
    const int64_t end = begin + rapt_leaves_n_keys(leaves, block) - 1;
    const int64_t last_row = floor_div(leaves->high, data->map_block_q);
    const int64_t last_column = floor_div(end, data->map_block_kv);
    int any = 0, missing = 0;
    int64_t row = floor_div(leaves->low, data->map_block_q);
    /* All that lies outside the map is alike. */
    missing |= row < 0 || last_row >= data->n_q_blocks;
    row = row < 0 ? 0 : row;
    for (; row <= last_row && row < data->n_q_blocks && !(any && missing); row++) {
        int64_t column = floor_div(begin, data->map_block_kv);
        missing |= column < 0 || last_column >= data->n_k_blocks;
        column = column < 0 ? 0 : column;
        for (; column <= last_column && column < data->n_k_blocks; column++) {
            int set = map_byte(leaves, row, column);
            any |= set;
            missing |= !set;
        }
    }
    if (!any)
        return RAPT_BLOCK_STATE_EMPTY;
    return missing ? RAPT_BLOCK_STATE_PARTIAL : RAPT_BLOCK_STATE_FULL;
}

/* --------------------------------------------------------------------------------------- ranges */

static void window_range(const struct rapt_leaves *leaves, int32_t left, int32_t right,
                         struct rapt_leaf_range *range)
{
    const int64_t low = leaves->low - leaves->kv_pos0, high = leaves->high - leaves->kv_pos0;
    interval(range, left >= RAPT_MASK_UNBOUNDED ? 0 : low - left,
             right >= RAPT_MASK_UNBOUNDED ? NOWHERE : high + right + 1,
             left >= RAPT_MASK_UNBOUNDED ? 0 : high - left,
             right >= RAPT_MASK_UNBOUNDED ? NOWHERE : low + right + 1);
}

void rapt_leaf_range(struct rapt_leaves *leaves, const struct rapt_mask_term *leaf,
                     struct rapt_leaf_range *range)
{
    const int64_t kv_pos0 = leaves->kv_pos0;
    int64_t limit, first, last;
    switch (leaf->op) {
    case RAPT_MASK_WINDOW:
        window_range(leaves, leaf->a, leaf->b, range);
        break;
    case RAPT_MASK_CHUNKED:
        first = rapt_floor_multiple(leaves->low, leaf->a) - kv_pos0;
        last = rapt_floor_multiple(leaves->high, leaf->a) - kv_pos0;
        interval(range, first, last + leaf->a, last, first + leaf->a);
        break;
    case RAPT_MASK_PREFIX:
    case RAPT_MASK_SINK_TOKENS:
        limit = leaf->op == RAPT_MASK_PREFIX ? leaves->input->data.prefix[leaves->b] : leaf->a;
        interval(range, 0, limit - kv_pos0, 0, limit - kv_pos0);
        break;
    case RAPT_MASK_DILATED:
        interval(range, leaves->low - kv_pos0 - (int64_t)(leaf->a - 1) * leaf->b,
                 leaves->high - kv_pos0 + 1, 0, 0);
        break;
    case RAPT_MASK_SEGMENTS:
        segments_range(leaves, range);
        break;
    case RAPT_MASK_BIDIRECTIONAL:
        flags_range(leaves, range);
        break;
    case RAPT_MASK_BITMAP:
    case RAPT_MASK_BLOCKS:
    case RAPT_MASK_TREE:
        interval(range, 0, leaves->kv_len, 0, 0);
        range->dense = 1;
        break;
    default: /* full */
        interval(range, 0, NOWHERE, 0, NOWHERE);
    }
    if (range->dense)
        return;
    const int64_t kv_len = leaves->kv_len;
    range->may_begin = range->may_begin < 0 ? 0 : range->may_begin;
    range->full_begin = range->full_begin < 0 ? 0 : range->full_begin;
    range->may_end = range->may_end > kv_len ? kv_len : range->may_end;
    range->full_end = range->full_end > kv_len ? kv_len : range->full_end;
}

enum rapt_block_state rapt_leaf_state(struct rapt_leaves *leaves, const struct rapt_mask_term *leaf,
                                      const struct rapt_leaf_range *range, uint32_t block)
{
    if (!range->dense) {
        const int64_t begin = (int64_t)block * leaves->block_kv;
        const int64_t end = begin + rapt_leaves_n_keys(leaves, block);
        if (range->may_end <= begin || range->may_begin >= end ||
            range->may_begin >= range->may_end)
            return RAPT_BLOCK_STATE_EMPTY;
        return range->full_begin <= begin && range->full_end >= end ? RAPT_BLOCK_STATE_FULL
                                                                    : RAPT_BLOCK_STATE_PARTIAL;
    }
    if (leaf->op == RAPT_MASK_SEGMENTS) {
        if (!leaves->segments_ready)
            fill_segment_states(leaves);
        return (enum rapt_block_state)leaves->segment_states[block];
    }
    if (leaf->op == RAPT_MASK_TREE && !leaves->tree_ready)
        fill_ancestors(leaves);
    return leaf->op == RAPT_MASK_BLOCKS ? map_state(leaves, block)
                                        : bits_state(leaves, leaf->op, block);
}

/* ----------------------------------------------------------------------------------------- bits */

/* Keys [begin, end) of the block, as a row. */
static void interval_bits(int64_t begin, int64_t end, uint32_t words, uint32_t *row)
{
    for (uint32_t w = 0; w < words; w++)
        row[w] = rapt_low_bits(end - 32 * (int64_t)w) & ~rapt_low_bits(begin - 32 * (int64_t)w);
}

static void map_bits(const struct rapt_leaves *leaves, int64_t P, int64_t J, uint32_t n_keys,
                     uint32_t words, uint32_t *row)
{
    const rapt_mask_data *data = &leaves->input->data;
    const int64_t map_row = floor_div(P, data->map_block_q);
    memset(row, 0, words * sizeof *row);
    for (uint32_t j = 0; j < n_keys;) {
        int64_t column = floor_div(J + j, data->map_block_kv);
        int64_t end = (column + 1) * data->map_block_kv - J;
        uint32_t stop = end < n_keys ? (uint32_t)end : n_keys;
        if (map_byte(leaves, map_row, column))
            for (uint32_t w = j >> 5; w <= (stop - 1) >> 5; w++)
                row[w] |=
                    rapt_low_bits((int64_t)stop - 32 * w) & ~rapt_low_bits((int64_t)j - 32 * w);
        j = stop;
    }
}

static void dilated_bits(const struct rapt_mask_term *leaf, int64_t query, uint32_t n_keys,
                         uint32_t words, uint32_t *row)
{
    /* keys of the block `query`, `query` - r, ... down to `lowest` */
    int64_t lowest = query - (int64_t)(leaf->a - 1) * leaf->b, j = query;
    memset(row, 0, words * sizeof *row);
    if (j >= n_keys)
        j -= (j - n_keys + leaf->b) / leaf->b * leaf->b;
    for (; j >= 0 && j >= lowest; j -= leaf->b)
        row[j >> 5] |= (uint32_t)1 << (j & 31);
}

static void flag_bits(const struct rapt_leaves *leaves, int64_t query, int64_t begin,
                      uint32_t words, uint32_t *row)
{
    const struct rapt_leaf_runs *runs = &leaves->flags;
    uint32_t at = find_run(runs, query);
    int inside = at < runs->n_runs && (int64_t)runs->runs[at].begin <= query;
    interval_bits(inside ? (int64_t)runs->runs[at].begin - begin : 0,
                  inside ? (int64_t)runs->runs[at].end - begin : 0, words, row);
}

static void one_row(const struct rapt_leaves *leaves, const struct rapt_mask_term *leaf, uint32_t r,
                    uint32_t block, uint32_t *row)
{
    const uint32_t begin = block * leaves->block_kv, n_keys = rapt_leaves_n_keys(leaves, block);
    const uint32_t words = leaves->row_words;
    const int64_t P = rapt_batch_q_pos(&leaves->input->batch, leaves->b, leaves->first + r);
    const int64_t J = leaves->kv_pos0 + begin; /* of the block's first key */
    int64_t from = P - J, limit;
    switch (leaf->op) {
    case RAPT_MASK_WINDOW:
        interval_bits(leaf->a >= RAPT_MASK_UNBOUNDED ? 0 : from - leaf->a,
                      leaf->b >= RAPT_MASK_UNBOUNDED ? n_keys : from + leaf->b + 1, words, row);
        break;
    case RAPT_MASK_CHUNKED:
        from = rapt_floor_multiple(P, leaf->a) - J;
        interval_bits(from, from + leaf->a, words, row);
        break;
    case RAPT_MASK_PREFIX:
    case RAPT_MASK_SINK_TOKENS:
        limit = leaf->op == RAPT_MASK_PREFIX ? leaves->input->data.prefix[leaves->b] : leaf->a;
        interval_bits(0, limit - J, words, row);
        break;
    case RAPT_MASK_DILATED:
        dilated_bits(leaf, from, n_keys, words, row);
        break;
    case RAPT_MASK_BIDIRECTIONAL:
        flag_bits(leaves, P - leaves->kv_pos0, begin, words, row);
        break;
    case RAPT_MASK_BLOCKS:
        map_bits(leaves, P, J, n_keys, words, row);
        break;
    default: /* bitmap, tree */
        for (uint32_t w = 0; w < words; w++)
            row[w] = 32 * w < n_keys ? row_bits(leaves, leaf->op, r, begin + 32 * w,
                                                rapt_min_u32(n_keys - 32 * w, 32))
                                     : 0;
    }
}

void rapt_leaf_bits(struct rapt_leaves *leaves, const struct rapt_mask_term *leaf, uint32_t block,
                    uint32_t *out_bits)
{
    if (leaf->op == RAPT_MASK_SEGMENTS) {
        segment_bits(leaves, block, out_bits);
        return;
    }
    if (leaf->op == RAPT_MASK_TREE && !leaves->tree_ready)
        fill_ancestors(leaves);
    for (uint32_t r = 0; r < leaves->n_rows; r++)
        one_row(leaves, leaf, r, block, out_bits + (size_t)r * leaves->row_words);
}
