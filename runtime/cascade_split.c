/* SPDX-License-Identifier: Apache-2.0 */

/* A batch -> the same batch in levels: what neighbours share as one sequence, everything else as it
 * was. */

#include <rapt/cascade.h>

#include "cascade.h"
#include "work_parts.h"

#include "batch.h"
#include "checked.h"
#include "error.h"
#include "step_inputs.h"

#include <string.h>

/* What is written, and what it is made of: all of it in the caller's memory. */
struct split {
    rapt_cascade_rule rule;
    rapt_step_params step;
    struct rapt_batch batch;
    uint32_t n_active; /* sequences with queries: the others are left out */
    uint32_t *active;
    uint32_t *common, *seen_first, *seen_end, *row_first; /* of active ones, as in cascade_tree */
    struct cascade_tree tree;
    uint64_t *q_offsets;
    int32_t *cu_q, *kv_pos0, *prefix, *q_pos, *rope_pos;
    uint32_t *page_indptr, *page_indices, *last_page_len;
    uint32_t n_out; /* sequences so far */
};

/* ----------------------------------------------------------------------------------------- sizes
 */

/* Takes n elements of `size` bytes off the memory; without memory it only counts. All numbers are
 * 32-bit ones, a few times over: nothing overflows. */
static void *take(uint64_t *inout_bytes, unsigned char *memory, uint64_t n, uint64_t size)
{
    void *place = memory ? memory + *inout_bytes : NULL;
    *inout_bytes += (n * size + 7) / 8 * 8;
    return place;
}

/* Lays everything out for up to so many sequences, rows and pages; returns the bytes. */
static uint64_t place(struct split *split, unsigned char *memory, uint32_t max_batch,
                      uint32_t max_total_q, uint32_t max_pages)
{
    uint64_t levels = split->rule.max_levels, n = (uint64_t)max_batch, bytes = 0;
    uint64_t n_out = levels * (n ? n : 1), rows = levels * max_total_q;
    split->q_offsets = take(&bytes, memory, n_out, sizeof *split->q_offsets);
    split->cu_q = take(&bytes, memory, n_out + 1, sizeof *split->cu_q);
    split->page_indptr = take(&bytes, memory, n_out + 1, sizeof *split->page_indptr);
    split->last_page_len = take(&bytes, memory, n_out, sizeof *split->last_page_len);
    split->kv_pos0 = take(&bytes, memory, n_out, sizeof *split->kv_pos0);
    split->prefix = take(&bytes, memory, n_out, sizeof *split->prefix);
    split->q_pos = take(&bytes, memory, rows, sizeof *split->q_pos);
    split->rope_pos = take(&bytes, memory, rows, sizeof *split->rope_pos);
    split->page_indices = take(&bytes, memory, max_pages, sizeof *split->page_indices);
    split->active = take(&bytes, memory, n, sizeof *split->active);
    split->common = take(&bytes, memory, n, sizeof *split->common);
    split->seen_first = take(&bytes, memory, n, sizeof *split->seen_first);
    split->seen_end = take(&bytes, memory, n, sizeof *split->seen_end);
    split->row_first = take(&bytes, memory, n + 1, sizeof *split->row_first);
    split->tree.own_level = take(&bytes, memory, n, sizeof *split->tree.own_level);
    split->tree.own_from = take(&bytes, memory, n, sizeof *split->tree.own_from);
    split->tree.nodes = take(&bytes, memory, n, sizeof *split->tree.nodes);
    split->tree.stack = take(&bytes, memory, n + 1, sizeof *split->tree.stack);
    return bytes;
}

static rapt_status read_rule(const rapt_cascade_rule *caller, rapt_cascade_rule *out_rule)
{
    rapt_status status = rapt_params_read("rapt_cascade_rule", caller, out_rule, sizeof *out_rule);
    if (status != RAPT_OK)
        return status;
    if (out_rule->max_levels == 0)
        out_rule->max_levels = 4;
    if (out_rule->min_shared_tokens == 0)
        out_rule->min_shared_tokens = 256;
    if (out_rule->merge_tokens == 0)
        out_rule->merge_tokens = 8;
    if (out_rule->q.token_stride == 0)
        out_rule->q.token_stride = 1;
    if (out_rule->max_levels > RAPT_CASCADE_MAX_LEVELS)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "max_levels is %u: expected 1 to %u",
                         out_rule->max_levels, RAPT_CASCADE_MAX_LEVELS);
    return RAPT_OK;
}

uint64_t rapt_cascade_split_bytes(const rapt_cascade_rule *rule, uint32_t max_batch,
                                  uint32_t max_total_q, uint32_t max_pages)
{
    struct split split = {.rule.max_levels = 4};
    if (rule && read_rule(rule, &split.rule) != RAPT_OK)
        return UINT64_MAX;
    return place(&split, NULL, max_batch, max_total_q, max_pages);
}

/* ---------------------------------------------------------------------------------------- checks
 */

static rapt_status check_step(struct split *split)
{
    const rapt_step_params *step = &split->step;
    if (step->cu_kv || !step->page_indptr)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s: prefixes are found in block tables (paged K/V)",
                         step->cu_kv ? "cu_kv is set" : "page_indptr is NULL");
    if (step->k_offsets || step->v_offsets || step->k_scale_offsets || step->v_scale_offsets)
        return rapt_fail(RAPT_ERROR_ARGUMENT,
                         "offsets of packed K/V are set: paged K/V are found through the block "
                         "tables");
    if (step->bias_offsets || step->bias_head_stride || step->bias_row_stride)
        return rapt_fail(RAPT_ERROR_ARGUMENT,
                         "bias offsets or strides are given: rows that share keys have no common "
                         "place in a bias");
    if (step->block_table || step->device_lists)
        return rapt_fail(RAPT_ERROR_ARGUMENT,
                         "%s is set: lists of key blocks are made for whole sequences",
                         step->block_table ? "block_table" : "device_lists");
    if (step->out_offsets)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "out_offsets is set: parts are dense");
    if (split->rule.page_size == 0)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "page_size is 0: a power of two from 1 to 256");
    split->batch = rapt_step_batch(step, split->rule.page_size);
    rapt_status status = rapt_batch_check(&split->batch);
    if (status == RAPT_OK &&
        (uint64_t)step->cu_q[step->n_seqs] * split->rule.max_levels > INT32_MAX)
        return rapt_fail(RAPT_ERROR_ARGUMENT,
                         "%d query tokens on up to %u levels: more than 2^31 rows",
                         step->cu_q[step->n_seqs], split->rule.max_levels);
    return status;
}

/* -------------------------------------------------------------------------------------- what is
 * common */

static uint64_t q_offset(const struct split *split, uint32_t b)
{
    const rapt_layout *q = &split->rule.q;
    if (split->step.q_offsets)
        return split->step.q_offsets[b];
    if (q->outer_stride)
        return rapt_mul_sat(b, q->outer_stride);
    return (uint64_t)split->batch.cu_q[b] * q->token_stride;
}

/* Whether b's query rows are followed by those of the next active sequence. */
static int adjoins(const struct split *split, uint32_t b, uint32_t next)
{
    uint64_t bytes = (uint64_t)rapt_batch_q_len(&split->batch, b) * split->rule.q.token_stride;
    return rapt_add_sat(q_offset(split, b), bytes) == q_offset(split, next);
}

/* Full pages of a sequence. */
static uint32_t full_pages(const struct rapt_batch *batch, uint32_t b)
{
    return rapt_batch_kv_len(batch, b) / batch->page_size;
}

/* Full pages in which b's table agrees with a's, and in which their rows can be one sequence's. */
static uint32_t common_pages(const struct split *split, int uses_prefix, uint32_t a, uint32_t b)
{
    const struct rapt_batch *batch = &split->batch;
    int32_t kv_pos0 = rapt_batch_kv_pos0(batch, a);
    if (kv_pos0 != rapt_batch_kv_pos0(batch, b) || !adjoins(split, a, b))
        return 0;
    uint32_t most = work_min(full_pages(batch, a), full_pages(batch, b)), n = 0;
    if (uses_prefix && batch->prefix[a] != batch->prefix[b]) {
        /* keys before the shorter prefix are seen by both, those after it are not */
        int64_t seen = batch->prefix[a] < batch->prefix[b] ? batch->prefix[a] : batch->prefix[b];
        int64_t keys = seen - kv_pos0;
        most = work_min(most, keys < 0 ? 0 : (uint32_t)(keys / batch->page_size));
    }
    const uint32_t *pages_a = batch->page_indices + batch->page_indptr[a];
    const uint32_t *pages_b = batch->page_indices + batch->page_indptr[b];
    while (n < most && pages_a[n] == pages_b[n])
        n++;
    /* One with many rows would cost more than it and those it keeps apart save. */
    uint64_t rows = work_max(rapt_batch_q_len(batch, a), rapt_batch_q_len(batch, b));
    return 2ull * n * batch->page_size > rows * split->rule.merge_tokens ? n : 0;
}

/* Keys some row of b may see, as far as the mask's first position and its limits tell. */
static void find_seen(struct split *split, const struct rapt_mask_closed *mask, uint32_t i)
{
    uint32_t b = split->active[i];
    const struct rapt_batch *batch = &split->batch;
    int64_t P = rapt_batch_q_pos(batch, b, 0);
    for (uint32_t t = 1; batch->q_pos && t < rapt_batch_q_len(batch, b); t++) {
        int64_t other = rapt_batch_q_pos(batch, b, t);
        P = other < P ? other : P;
    }
    int64_t first = rapt_mask_first(mask, P);
    first = first == INT64_MIN ? 0 : first - rapt_batch_kv_pos0(batch, b);
    split->seen_end[i] = rapt_work_kv_limit(batch, mask, b);
    split->seen_first[i] = first < 0                    ? 0
                           : first > split->seen_end[i] ? split->seen_end[i]
                                                        : (uint32_t)first;
}

static void compare_neighbours(struct split *split)
{
    struct rapt_mask_closed mask;
    rapt_mask_lower(split->batch.mask, &mask);
    split->n_active = 0;
    split->row_first[0] = 0;
    for (uint32_t b = 0; b < split->batch.n_seqs; b++) {
        uint32_t q_len = rapt_batch_q_len(&split->batch, b), i = split->n_active;
        if (q_len == 0)
            continue;
        split->active[split->n_active++] = b;
        split->row_first[i + 1] = split->row_first[i] + q_len;
        find_seen(split, &mask, i);
        split->common[i] = i ? common_pages(split, mask.uses_prefix, split->active[i - 1], b) : 0;
    }
}

static void find_sharing(struct split *split)
{
    struct cascade_tree *tree = &split->tree;
    compare_neighbours(split);
    tree->n_seqs = split->n_active;
    tree->common = split->common;
    tree->seen_first = split->seen_first;
    tree->seen_end = split->seen_end;
    tree->row_first = split->row_first;
    tree->page_size = split->batch.page_size;
    tree->max_levels = split->rule.max_levels;
    tree->min_tokens = split->rule.min_shared_tokens;
    tree->merge_tokens = split->rule.merge_tokens;
    rapt_cascade_tree_build(tree);
}

/* ----------------------------------------------------------------------------------------- output
 */

/* A sequence of active ones [first, end) with pages [from, until) of the first of them. */
static void add_sequence(struct split *split, uint32_t first, uint32_t end, uint32_t from,
                         uint32_t until)
{
    const struct rapt_batch *batch = &split->batch;
    uint32_t n = split->n_out++, b = split->active[first], n_pages = until - from;
    uint32_t kv_len = rapt_batch_kv_len(batch, b), rest = kv_len - from * batch->page_size;
    uint32_t keys = work_min(rest, n_pages * batch->page_size);
    split->q_offsets[n] = q_offset(split, b);
    split->cu_q[n + 1] =
        split->cu_q[n] + (int32_t)(split->row_first[end] - split->row_first[first]);
    split->kv_pos0[n] =
        n_pages ? rapt_batch_kv_pos0(batch, b) + (int32_t)(from * batch->page_size) : 0;
    split->prefix[n] = batch->prefix ? batch->prefix[b] : 0;
    split->page_indptr[n + 1] = split->page_indptr[n] + n_pages;
    split->last_page_len[n] = n_pages ? keys - (n_pages - 1) * batch->page_size : 0;
    if (n_pages)
        memcpy(split->page_indices + split->page_indptr[n],
               batch->page_indices + batch->page_indptr[b] + from, n_pages * sizeof(uint32_t));
}

static uint32_t n_pages_of(const struct split *split, uint32_t i)
{
    uint32_t b = split->active[i];
    return split->batch.page_indptr[b + 1] - split->batch.page_indptr[b];
}

static int has_own(const struct split *split, uint32_t i)
{
    return split->tree.own_from[i] < n_pages_of(split, i);
}

/* Whoever has no keys on the level: one sequence, as far as the rows adjoin. */
static uint32_t add_keyless(struct split *split, uint32_t level, uint32_t i, uint32_t end)
{
    uint32_t first = i++;
    while (i < end && !(split->tree.own_level[i] == level && has_own(split, i)) &&
           adjoins(split, split->active[i - 1], split->active[i]))
        i++;
    add_sequence(split, first, i, 0, 0);
    return i;
}

static void add_level(struct split *split, uint32_t level)
{
    const struct cascade_tree *tree = &split->tree;
    uint32_t node = 0, i = 0;
    while (i < split->n_active) {
        while (node < tree->n_nodes &&
               (tree->nodes[node].level != level || tree->nodes[node].end <= i))
            node++; /* the nodes of one level stand in the order of their sequences */
        const struct cascade_node *next = node < tree->n_nodes ? &tree->nodes[node] : NULL;
        if (next && next->first == i) {
            add_sequence(split, i, next->end, next->from, next->pages);
            i = next->end;
        } else if (tree->own_level[i] == level && has_own(split, i)) {
            add_sequence(split, i, i + 1, tree->own_from[i], n_pages_of(split, i));
            i++;
        } else {
            i = add_keyless(split, level, i, next ? next->first : split->n_active);
        }
    }
}

static void count(const struct split *split, uint32_t n_levels, rapt_cascade_info *out_info)
{
    const struct cascade_tree *tree = &split->tree;
    rapt_cascade_info info = {.struct_size = sizeof info,
                              .n_levels = n_levels,
                              .total_q = split->row_first[split->n_active]};
    for (uint32_t i = 0; i < tree->n_nodes; i++)
        info.n_groups += tree->nodes[i].level != CASCADE_NONE;
    for (uint32_t i = 0; i < split->n_active; i++) {
        info.n_sharing += tree->own_level[i] > 0;
        info.kv_tokens += rapt_batch_kv_len(&split->batch, split->active[i]);
    }
    for (uint32_t n = 0; n < split->n_out; n++) {
        uint32_t n_pages = split->page_indptr[n + 1] - split->page_indptr[n];
        if (n_pages)
            info.kv_tokens_read +=
                (uint64_t)(n_pages - 1) * split->batch.page_size + split->last_page_len[n];
    }
    rapt_params_write(out_info, &info, sizeof info);
}

static uint32_t write_levels(struct split *split)
{
    const struct cascade_tree *tree = &split->tree;
    uint32_t n_levels = 1;
    for (uint32_t i = 0; i < split->n_active; i++)
        n_levels = work_max(n_levels, tree->own_level[i] + (uint32_t)has_own(split, i));
    split->cu_q[0] = 0;
    split->page_indptr[0] = 0;
    for (uint32_t level = 0; level < n_levels; level++)
        add_level(split, level);
    if (split->n_out == 0) { /* not one query */
        split->q_offsets[0] = 0;
        split->cu_q[1] = split->kv_pos0[0] = split->prefix[0] = 0;
        split->page_indptr[1] = split->last_page_len[0] = 0;
        split->n_out = 1;
    }
    /* rows are in the batch's order, sequences without queries have none */
    uint32_t n_rows = split->row_first[split->n_active];
    for (uint32_t i = 0; i < split->n_active; i++)
        for (uint32_t t = split->row_first[i]; t < split->row_first[i + 1]; t++)
            split->q_pos[t] =
                rapt_batch_q_pos(&split->batch, split->active[i], t - split->row_first[i]);
    for (uint32_t level = 0; level < n_levels && n_rows; level++) {
        if (level)
            memcpy(split->q_pos + level * n_rows, split->q_pos, n_rows * sizeof *split->q_pos);
        if (split->step.rope_pos)
            memcpy(split->rope_pos + level * n_rows, split->step.rope_pos,
                   n_rows * sizeof *split->rope_pos);
    }
    return n_levels;
}

rapt_status rapt_cascade_split(const rapt_cascade_rule *rule, const rapt_step_params *step,
                               void *memory, uint64_t memory_bytes, rapt_step_params *out_step,
                               rapt_cascade_info *out_info)
{
    struct split split;
    memset(&split, 0, sizeof split);
    if (!memory || !out_step || (uintptr_t)memory % 8 != 0)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s",
                         !out_step ? "out_step is NULL"
                         : !memory ? "memory is NULL"
                                   : "memory is not aligned to 8 bytes");
    rapt_status status = read_rule(rule, &split.rule);
    if (status == RAPT_OK)
        status = rapt_params_read("rapt_step_params", step, &split.step, sizeof split.step);
    if (status == RAPT_OK)
        status = check_step(&split);
    if (status != RAPT_OK)
        return status;
    uint32_t n = split.batch.n_seqs;
    uint64_t needed =
        place(&split, memory, n, (uint32_t)split.batch.cu_q[n], split.batch.page_indptr[n]);
    if (needed > memory_bytes)
        return rapt_fail(RAPT_ERROR_CAPACITY,
                         "memory_bytes is %llu: this batch takes %llu (rapt_cascade_split_bytes)",
                         (unsigned long long)memory_bytes, (unsigned long long)needed);
    find_sharing(&split);
    uint32_t n_levels = write_levels(&split);
    rapt_step_params out = split.step;
    out.n_seqs = split.n_out;
    out.cu_q = split.cu_q;
    out.page_indptr = split.page_indptr;
    out.page_indices = split.page_indices;
    out.last_page_len = split.last_page_len;
    out.q_pos0 = NULL;
    out.q_pos = split.q_pos;
    out.kv_pos0 = split.kv_pos0;
    out.q_offsets = split.q_offsets;
    out.prefix = split.step.prefix ? split.prefix : NULL;
    out.rope_pos = split.step.rope_pos ? split.rope_pos : NULL;
    rapt_params_write(out_step, &out, sizeof out);
    if (out_info)
        count(&split, n_levels, out_info);
    return RAPT_OK;
}

/* ------------------------------------------------------------------------------------------ order
 */

/* Below 0: a comes before b. Tables in the order of their words: equal prefixes come together. */
static int compare_tables(const rapt_step_params *step, uint32_t a, uint32_t b)
{
    int32_t pos_a = step->kv_pos0 ? step->kv_pos0[a] : 0,
            pos_b = step->kv_pos0 ? step->kv_pos0[b] : 0;
    if (pos_a != pos_b)
        return pos_a < pos_b ? -1 : 1;
    uint32_t at_a = step->page_indptr[a], n_a = step->page_indptr[a + 1] - at_a;
    uint32_t at_b = step->page_indptr[b], n_b = step->page_indptr[b + 1] - at_b;
    for (uint32_t i = 0; i < n_a && i < n_b; i++) {
        uint32_t page_a = step->page_indices[at_a + i], page_b = step->page_indices[at_b + i];
        if (page_a != page_b)
            return page_a < page_b ? -1 : 1;
    }
    return n_a < n_b ? -1 : n_a > n_b;
}

/* Of runs [first, middle) and [middle, end), the first one's elements before equal ones. */
static void merge_runs(const rapt_step_params *step, const uint32_t *from, uint32_t first,
                       uint32_t middle, uint32_t end, uint32_t *to)
{
    uint32_t a = first, b = middle;
    for (uint32_t i = first; i < end; i++) {
        int take_b = a == middle || (b < end && compare_tables(step, from[b], from[a]) < 0);
        to[i] = take_b ? from[b++] : from[a++];
    }
}

rapt_status rapt_cascade_order(const rapt_step_params *params, uint32_t *scratch,
                               uint32_t *out_order)
{
    rapt_step_params step;
    rapt_status status = rapt_params_read("rapt_step_params", params, &step, sizeof step);
    if (status != RAPT_OK)
        return status;
    if (!scratch || !out_order || !step.page_indptr)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s is NULL",
                         !scratch     ? "scratch"
                         : !out_order ? "out_order"
                                      : "page_indptr");
    for (uint32_t b = 0; b < step.n_seqs; b++) {
        if (step.page_indptr[b + 1] < step.page_indptr[b])
            return rapt_fail(RAPT_ERROR_ARGUMENT,
                             "page_indptr[%u] is %u, page_indptr[%u] is %u: it must not decrease",
                             b, step.page_indptr[b], b + 1, step.page_indptr[b + 1]);
        if (step.page_indptr[b + 1] > step.page_indptr[b] && !step.page_indices)
            return rapt_fail(RAPT_ERROR_ARGUMENT, "page_indices is NULL");
        out_order[b] = b;
    }
    uint32_t *from = out_order, *to = scratch;
    for (uint64_t run = 1; run < step.n_seqs; run *= 2) {
        for (uint64_t at = 0; at < step.n_seqs; at += 2 * run) {
            uint64_t middle = at + run < step.n_seqs ? at + run : step.n_seqs;
            uint64_t end = at + 2 * run < step.n_seqs ? at + 2 * run : step.n_seqs;
            merge_runs(&step, from, (uint32_t)at, (uint32_t)middle, (uint32_t)end, to);
        }
        uint32_t *swap = from;
        from = to;
        to = swap;
    }
    if (from != out_order)
        memcpy(out_order, from, step.n_seqs * sizeof *out_order);
    return RAPT_OK;
}
