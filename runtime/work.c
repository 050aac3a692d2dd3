/* SPDX-License-Identifier: Apache-2.0 */

/* Flat work lists: ranges of keys in closed form, parts, longest first. */

#include "work.h"

#include "error.h"
#include "work_parts.h"

#include <string.h>

/* ------------------------------------------------------------------------------------ key ranges
 */

_Static_assert(RAPT_MASK_UNBOUNDED == RAPT_UNBOUNDED, "masks and kernels agree");

struct work_range rapt_work_scattered_range(const struct rapt_mask_closed *mask,
                                            const struct work_seq *seq, uint32_t first,
                                            uint32_t last)
{
    struct work_range all = {0, 0};
    for (uint32_t i = first; i <= last; i++) {
        int64_t P = seq->q_pos[i];
        struct work_range one = work_clip(seq, rapt_mask_first(mask, P), rapt_mask_last(mask, P));
        if (one.begin == one.end)
            continue;
        if (all.begin == all.end) {
            all = one;
            continue;
        }
        all.begin = work_min(all.begin, one.begin);
        all.end = work_max(all.end, one.end);
    }
    return all;
}

uint32_t rapt_work_kv_limit(const struct rapt_batch *batch, const struct rapt_mask_closed *mask,
                            uint32_t b)
{
    int64_t keys = rapt_batch_kv_len(batch, b);
    int64_t kv_pos0 = rapt_batch_kv_pos0(batch, b);
    if (mask->limit < RAPT_MASK_UNBOUNDED && mask->limit - kv_pos0 < keys)
        keys = mask->limit - kv_pos0;
    if (mask->uses_prefix && batch->prefix && batch->prefix[b] - kv_pos0 < keys)
        keys = batch->prefix[b] - kv_pos0;
    return keys < 0 ? 0 : (uint32_t)keys;
}

static void seq_positions(const struct rapt_batch *batch, const struct rapt_mask_closed *mask,
                          uint32_t b, struct work_seq *seq)
{
    seq->b = b;
    seq->kv_limit = rapt_work_kv_limit(batch, mask, b);
    seq->kv_pos0 = rapt_batch_kv_pos0(batch, b);
    seq->q_pos = batch->q_pos ? batch->q_pos + batch->cu_q[b] : NULL;
    seq->q_pos0 = seq->q_pos ? 0 : rapt_batch_q_pos(batch, b, 0);
}

void rapt_work_key_range(const struct rapt_batch *batch, const struct rapt_mask_closed *mask,
                         uint32_t b, uint32_t token_first, uint32_t n_tokens, uint32_t *out_begin,
                         uint32_t *out_end)
{
    struct work_seq seq = {0};
    struct work_range range = {0, 0};
    seq_positions(batch, mask, b, &seq);
    if (n_tokens > 0)
        range = work_token_range(mask, &seq, token_first, token_first + n_tokens - 1);
    *out_begin = range.begin;
    *out_end = range.end;
}

/* Which kernel takes a sequence of so many rows: from the sequence alone, never from the batch, as
 * fixed_split promises equal bits. */
static int class_of(const struct rapt_selection *selection, uint32_t n_rows)
{
    if (selection->few_least && n_rows >= selection->few_least && n_rows <= selection->few_most)
        return RAPT_WORK_FEW;
    return selection->decode.kernel >= 0 &&
                   (n_rows <= selection->decode_rows || selection->prefill.kernel < 0)
               ? RAPT_WORK_DECODE
               : RAPT_WORK_PREFILL;
}

static void count_classes(struct work_context *context)
{
    for (uint32_t b = 0; b < context->batch->n_seqs; b++) {
        uint32_t n_rows = rapt_batch_q_len(context->batch, b) * context->params->group;
        if (n_rows)
            context->n_seqs[class_of(context->params->selection, n_rows)]++;
    }
}

int rapt_work_seq_read(const struct work_context *context, uint32_t b, int kind,
                       struct work_seq *out_seq)
{
    const struct rapt_selection *selection = context->params->selection;
    out_seq->n_tokens = rapt_batch_q_len(context->batch, b);
    out_seq->n_rows = out_seq->n_tokens * context->params->group;
    if (out_seq->n_rows == 0 || class_of(selection, out_seq->n_rows) != kind)
        return 0;
    out_seq->kind = kind;
    out_seq->tile_rows = work_kernel(selection, kind)->rows;
    out_seq->n_tiles = work_ceil_div(out_seq->n_rows, out_seq->tile_rows);
    out_seq->block_rows = 0;
    out_seq->tile_tokens = context->tile_tokens[kind];
    if (context->lists) {
        uint32_t block_rows = context->lists->block_q * context->params->group;
        out_seq->block_rows = block_rows;
        out_seq->tile_tokens = 0;
        out_seq->tiles_of_block = work_ceil_div(block_rows, out_seq->tile_rows);
        out_seq->n_tiles = out_seq->n_rows / block_rows * out_seq->tiles_of_block +
                           work_ceil_div(out_seq->n_rows % block_rows, out_seq->tile_rows);
    }
    seq_positions(context->batch, &context->mask, b, out_seq);
    return 1;
}

/* ---------------------------------------------------------------------------------------- chunks
 */

static uint32_t log2_floor(uint32_t x)
{
#if defined(__GNUC__)
    return 31u - (uint32_t)__builtin_clz(x);
#else
    uint32_t n = 0;
    while (x >>= 1)
        n++;
    return n;
#endif
}

uint32_t rapt_work_bucket(uint32_t length)
{
    if (length < 16)
        return length;
    uint32_t e = log2_floor(length);
    return (e - 3) * 16 + ((length >> (e - 4)) & 15);
}

void rapt_work_histogram_add(struct work_histogram *histogram, uint32_t length, uint64_t n)
{
    uint32_t i = rapt_work_bucket(length);
    histogram->n[i] += n;
    histogram->longest[i] = work_max(histogram->longest[i], length);
}

static uint64_t count_items(const struct work_histogram *histogram, uint32_t chunk)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < WORK_N_BUCKETS; i++)
        if (histogram->n[i])
            n += histogram->n[i] * work_max(1, work_ceil_div(histogram->longest[i], chunk));
    return n;
}

uint32_t rapt_work_choose_chunk(const struct work_histogram *histogram, uint32_t target,
                                uint32_t block)
{
    uint64_t n_items = 0, n_keys = 0;
    uint32_t longest = 0;
    for (uint32_t i = 0; i < WORK_N_BUCKETS; i++) {
        if (!histogram->n[i])
            continue;
        n_items += histogram->n[i];
        n_keys += histogram->n[i] * histogram->longest[i];
        longest = work_max(longest, histogram->longest[i]);
    }
    /* No part is shorter than an even share of all keys: more parts than that shorten nothing. */
    uint64_t share = n_keys / target + 1;
    if (longest <= WORK_MIN_CHUNK || share >= longest)
        return UINT32_MAX;
    uint64_t allowed = n_items < target ? target : n_items + target;
    uint32_t lo = work_ceil_div(work_max((uint32_t)share, WORK_MIN_CHUNK), block);
    uint32_t hi = work_max(lo, work_ceil_div(longest, block)); /* in blocks; hi splits nothing */
    while (lo < hi) {
        uint32_t middle = lo + (hi - lo) / 2;
        if (count_items(histogram, middle * block) <= allowed)
            hi = middle;
        else
            lo = middle + 1;
    }
    return lo > UINT32_MAX / block ? UINT32_MAX : lo * block;
}

/* ---------------------------------------------------------------------------- direct work (no
 * stages) */

struct work_cut rapt_work_cut(const struct work_context *context, struct work_range range, int kind)
{
    const struct rapt_work_params *params = context->params;
    const struct rapt_selection *selection = params->selection;
    uint32_t block = work_kernel(selection, kind)->block_kv;
    struct work_cut cut = {0, UINT32_MAX, 1};
    if (range.begin == range.end)
        return cut;
    if (params->fixed_split) {
        cut.size = params->fixed_split;
        cut.origin = work_align_down(range.begin, cut.size);
        cut.n = work_ceil_div(range.end - cut.origin, cut.size);
        return cut;
    }
    uint32_t align = params->n_splits ? WORK_SPLIT_ALIGN : block;
    cut.origin = work_align_down(range.begin, align);
    uint32_t length = range.end - cut.origin;
    uint32_t chunk = context->chunk[kind];
    if (params->n_splits) {
        chunk = work_align_up(work_ceil_div(length, params->n_splits), align);
        chunk = work_min(chunk, selection->max_keys_per_item);
    }
    if (length > chunk) {
        /* even parts, not full ones and a crumb */
        uint32_t even = work_ceil_div(length, work_ceil_div(length, chunk));
        cut.size = work_min(chunk, work_align_up(even, align));
        cut.n = work_ceil_div(length, cut.size);
    }
    return cut;
}

struct work_range rapt_work_cut_part(struct work_cut cut, struct work_range range, uint32_t part)
{
    struct work_range out = range;
    if (cut.n > 1) {
        out.begin = work_max(range.begin, cut.origin + part * cut.size);
        if (part + 1 < cut.n)
            out.end = cut.origin + (part + 1) * cut.size;
    }
    return out;
}

/* The items of a part for all heads: from one to the next `n` of the bucket lie between. */
static void emit_part(const struct work_context *context, const struct work_seq *seq,
                      const struct work_placement *placement, uint32_t bucket, uint32_t k,
                      struct rapt_step_item item, uint32_t partial_step)
{
    uint32_t n_heads = context->params->n_groups, n = placement->n[bucket];
    uint32_t groups_per_kv = work_max(1, context->params->groups_per_kv);
    for (uint32_t first = 0; first < n_heads; first += placement->at_once) {
        uint32_t end = work_min(n_heads, first + placement->at_once);
        struct rapt_step_item *out = context->work->items + placement->first +
                                     first * placement->n_all +
                                     placement->base[bucket] * (end - first) + k;
        for (uint32_t h = first; h < end; h++, out += n) {
            item.kv_head = h / groups_per_kv;
            item.head_first = h * context->params->group;
            *out = item;
            if (item.partial != RAPT_DIRECT)
                item.partial += partial_step;
            if (context->lists)
                rapt_work_list_attach(context, seq, out);
        }
    }
}

static void place_tile(struct work_context *context, const struct work_seq *seq, uint32_t tile,
                       struct work_placement *placement)
{
    struct rapt_work *work = context->work;
    uint32_t n_heads = context->params->n_groups;
    struct work_range range = work_tile_range(context, seq, tile);
    struct work_cut cut = rapt_work_cut(context, range, seq->kind);
    uint32_t n_rows = work_tile_rows(seq, tile);
    uint32_t partial = work->n_partial_rows;
    for (uint32_t p = 0; p < cut.n; p++) {
        struct work_range part = rapt_work_cut_part(cut, range, p);
        uint32_t i = rapt_work_bucket(part.end - part.begin);
        uint32_t k = placement->taken[i]++;
        const struct rapt_step_item item = {
            .seq = seq->b,
            .row_first = work_tile_row(seq, tile),
            .n_rows = n_rows,
            .kv_begin = part.begin,
            .kv_end = part.end,
            .partial = cut.n > 1 ? partial + p * n_rows : RAPT_DIRECT,
        };
        if (context->emit)
            emit_part(context, seq, placement, i, k, item, cut.n * n_rows);
    }
    work->n_items += cut.n * n_heads;
    if (cut.n == 1)
        return;
    for (uint32_t h = 0; context->emit && h < n_heads; h++) {
        work->merges[work->n_merges + h] = (struct rapt_step_merge){
            .seq = seq->b,
            .kv_head = h,
            .row_first = work_tile_row(seq, tile),
            .n_rows = n_rows,
            .first_partial = partial + h * cut.n * n_rows,
            .n_parts = cut.n,
            .part_stride = n_rows,
        };
    }
    work->n_merges += n_heads;
    work->n_partial_rows += cut.n * n_heads * n_rows;
}

void rapt_work_place_seq(struct work_context *context, const struct work_seq *seq,
                         struct work_placement *placement)
{
    for (uint32_t tile = 0; tile < seq->n_tiles; tile++)
        place_tile(context, seq, tile, placement);
}

static void place_class(struct work_context *context, int kind, struct work_placement *placement)
{
    if (context->n_seqs[kind] == 0)
        return;
    if (work_has_spans(context)) {
        rapt_work_list_place(context, kind, placement);
        return;
    }
    if (context->emit && kind == RAPT_WORK_PREFILL && context->grouped) {
        rapt_work_place_groups(context, placement);
        return;
    }
    for (uint32_t b = 0; b < context->batch->n_seqs; b++) {
        struct work_seq seq;
        if (rapt_work_seq_read(context, b, kind, &seq))
            rapt_work_place_seq(context, &seq, placement);
    }
}

void rapt_work_placement_finish(struct work_placement *placement, uint32_t first, uint32_t at_once)
{
    uint32_t n = 0;
    for (uint32_t i = WORK_N_BUCKETS; i-- > 0;) {
        placement->n[i] = placement->taken[i];
        placement->taken[i] = 0;
        placement->base[i] = n;
        n += placement->n[i];
    }
    placement->first = first;
    placement->n_all = n;
    placement->at_once = at_once;
}

static void range_histogram(const struct work_context *context, int kind,
                            struct work_histogram *histogram)
{
    const struct rapt_selection *selection = context->params->selection;
    uint32_t block = work_kernel(selection, kind)->block_kv;
    for (uint32_t b = 0; b < context->batch->n_seqs; b++) {
        struct work_seq seq;
        if (!rapt_work_seq_read(context, b, kind, &seq))
            continue;
        for (uint32_t tile = 0; tile < seq.n_tiles; tile++) {
            struct work_range range = work_tile_range(context, &seq, tile);
            uint32_t length = range.end - work_align_down(range.begin, block);
            rapt_work_histogram_add(histogram, range.begin == range.end ? 0 : length,
                                    context->params->n_groups);
        }
    }
}

static void measure_tiles(struct work_context *context)
{
    for (int kind = 0; kind < RAPT_WORK_N_CLASSES; kind++) {
        uint32_t rows = work_kernel(context->params->selection, kind)->rows;
        context->tile_tokens[kind] =
            rows % context->params->group == 0 ? rows / context->params->group : 0;
    }
}

static void choose_chunks(struct work_context *context)
{
    const struct rapt_work_params *params = context->params;
    const struct rapt_selection *selection = params->selection;
    for (int kind = 0; kind < RAPT_WORK_N_CLASSES; kind++) {
        const struct rapt_kernel_choice *kernel = work_kernel(selection, kind);
        int staged = kind == RAPT_WORK_PREFILL && selection->staged;
        context->chunk[kind] = UINT32_MAX;
        if (context->n_seqs[kind] == 0 || params->fixed_split || params->n_splits)
            continue;
        struct work_histogram histogram;
        memset(&histogram, 0, sizeof histogram);
        if (staged)
            rapt_work_staged_histogram(context, &histogram);
        else if (work_has_spans(context))
            rapt_work_list_histogram(context, kind, &histogram);
        else
            range_histogram(context, kind, &histogram);
        uint32_t chunk =
            rapt_work_choose_chunk(&histogram, selection->target_items, kernel->block_kv);
        uint32_t most = work_align_down(selection->max_keys_per_item, kernel->block_kv);
        if (!staged) /* staged segments bound their items themselves */
            chunk = work_min(chunk, work_max(most, kernel->block_kv));
        context->chunk[kind] = chunk;
    }
}

/* ----------------------------------------------------------------------------------------- build
 */

static void add_round(struct work_context *context, uint32_t item_first, uint32_t kind)
{
    struct rapt_work *work = context->work;
    if (work->n_items == item_first)
        return;
    if (context->emit)
        work->rounds[work->n_rounds] = (struct rapt_work_round){
            .stage_first = work->n_stages,
            .item_first = item_first,
            .n_items = work->n_items - item_first,
            .kind = kind,
        };
    work->n_rounds++;
}

static void build_all(struct work_context *context, struct work_placement *placements,
                      uint32_t *scratch_rows)
{
    struct rapt_work *work = context->work;
    uint32_t *const counts[] = {&work->n_prefill_items, &work->n_decode_items, &work->n_few_items};
    work->n_items = work->n_merges = work->n_stages = work->n_rounds = 0;
    work->n_partial_rows = 0;
    for (int kind = 0; kind < RAPT_WORK_N_CLASSES; kind++) {
        uint32_t first = work->n_items;
        if (kind == RAPT_WORK_PREFILL && context->params->selection->staged) {
            rapt_work_staged_build(context, scratch_rows);
        } else {
            place_class(context, kind, &placements[kind]);
            add_round(context, first, (uint32_t)kind);
        }
        *counts[kind] = work->n_items - first;
    }
}

rapt_status rapt_work_build(const struct rapt_work_params *params, const struct rapt_batch *batch,
                            const struct rapt_mask_closed *mask, struct rapt_work *work)
{
    struct work_context context = {
        .params = params, .batch = batch, .mask = *mask, .work = work, .lists = work->lists};
    struct work_placement placements[RAPT_WORK_N_CLASSES];
    uint32_t scratch_rows = 0;
    /* lists place the heads one by one */
    uint32_t n_heads = work->lists && work->lists->spans ? 1 : params->n_groups;
    measure_tiles(&context);
    count_classes(&context);
    choose_chunks(&context);
    memset(placements, 0, sizeof placements);
    build_all(&context, placements, &scratch_rows);
    if (!work->items)
        return RAPT_OK;
    if (work->n_items > work->items_capacity || work->n_merges > work->merges_capacity ||
        work->n_stages > work->stages_capacity || work->n_rounds > work->rounds_capacity ||
        work->n_partial_rows > work->partial_rows_capacity)
        return rapt_fail(RAPT_ERROR_CAPACITY,
                         "the step needs %u work items and %u partial rows: the plan holds %u "
                         "and %u (max_work_items, max_partial_rows, max_batch, max_total_q, "
                         "max_kv_len)",
                         work->n_items, work->n_partial_rows, work->items_capacity,
                         work->partial_rows_capacity);
    context.grouped = rapt_work_wants_groups(&context);
    rapt_work_placement_finish(&placements[RAPT_WORK_PREFILL], 0, n_heads);
    rapt_work_placement_finish(&placements[RAPT_WORK_DECODE], work->n_prefill_items, n_heads);
    rapt_work_placement_finish(&placements[RAPT_WORK_FEW],
                               work->n_prefill_items + work->n_decode_items, n_heads);
    context.emit = 1;
    build_all(&context, placements, &scratch_rows);
    return RAPT_OK;
}
