/* SPDX-License-Identifier: Apache-2.0 */

/* Work lists over lists of keys. Where ranges count keys from the first to the last, here only
 * listed keys count: a part is a stretch of a list, and so many keys long. */

#include "work_parts.h"

static uint32_t set_of(const struct work_context *context, uint32_t group)
{
    return context->lists->group_set[group];
}

/* The list of a packed row. */
static uint32_t list_of(const struct work_context *context, const struct work_seq *seq,
                        uint32_t row, uint32_t set)
{
    const struct rapt_work_lists *lists = context->lists;
    return set * lists->n_rows + lists->row_first[seq->b] + row / seq->block_rows;
}

static struct work_range list_hull(const struct rapt_spans *spans, uint32_t list)
{
    uint32_t first = spans->indptr[list], end = spans->indptr[list + 1];
    if (first == end)
        return (struct work_range){0, 0};
    return (struct work_range){spans->spans[first].begin, spans->spans[end - 1].end};
}

static struct work_range join(struct work_range a, struct work_range b)
{
    if (a.begin == a.end)
        return b;
    if (b.begin == b.end)
        return a;
    return (struct work_range){work_min(a.begin, b.begin), work_max(a.end, b.end)};
}

struct work_range rapt_work_list_hull(const struct work_context *context,
                                      const struct work_seq *seq, uint32_t tile)
{
    struct work_range all = {0, 0};
    uint32_t row = work_tile_row(seq, tile), before = UINT32_MAX;
    for (uint32_t g = 0; g < context->params->n_groups; g++) {
        uint32_t set = set_of(context, g);
        if (set != before)
            all = join(all, list_hull(context->lists->spans, list_of(context, seq, row, set)));
        before = set;
    }
    return all;
}

struct work_range rapt_work_list_seq_hull(const struct work_context *context,
                                          const struct work_seq *seq)
{
    struct work_range all = {0, 0};
    for (uint32_t tile = 0; tile < seq->n_tiles; tile += seq->tiles_of_block)
        all = join(all, rapt_work_list_hull(context, seq, tile));
    return all;
}

/* The first span from `first` on that ends after a key. */
static uint32_t find_span(const struct rapt_spans *spans, uint32_t first, uint32_t end,
                          uint32_t key)
{
    while (first < end) {
        uint32_t middle = first + (end - first) / 2;
        if (spans->spans[middle].end > key)
            end = middle;
        else
            first = middle + 1;
    }
    return first;
}

void rapt_work_list_attach(const struct work_context *context, const struct work_seq *seq,
                           struct rapt_step_item *item)
{
    const struct rapt_work_lists *lists = context->lists;
    uint32_t set = set_of(context, item->head_first / context->params->group);
    uint32_t list = list_of(context, seq, item->row_first, set);
    if (!lists->spans) {
        item->block_first = lists->first_word + list * lists->list_words + 1;
        item->n_blocks = RAPT_LIST_ON_DEVICE;
        return;
    }
    uint32_t first = lists->spans->indptr[list], end = lists->spans->indptr[list + 1];
    first = find_span(lists->spans, first, end, item->kv_begin);
    while (end > first && lists->spans->spans[end - 1].begin >= item->kv_end)
        end--;
    item->block_first = lists->first_word + first * RAPT_STEP_SPAN_WORDS;
    item->n_blocks = end - first;
}

void rapt_work_list_histogram(const struct work_context *context, int kind,
                              struct work_histogram *histogram)
{
    for (uint32_t b = 0; b < context->batch->n_seqs; b++) {
        struct work_seq seq;
        if (!rapt_work_seq_read(context, b, kind, &seq))
            continue;
        for (uint32_t tile = 0; tile < seq.n_tiles; tile++)
            for (uint32_t g = 0; g < context->params->n_groups; g++) {
                uint32_t list =
                    list_of(context, &seq, work_tile_row(&seq, tile), set_of(context, g));
                rapt_work_histogram_add(histogram, context->lists->spans->keys[list], 1);
            }
    }
}

/* Walks a list: what listed key number n is. */
struct walk {
    const struct rapt_spans *spans;
    uint32_t at;     /* span */
    uint32_t before; /* listed keys before it */
};

/* Numbers never fall from call to call. */
static uint32_t key_number(struct walk *walk, uint32_t n)
{
    const struct rapt_span *span = &walk->spans->spans[walk->at];
    while (n - walk->before >= span->end - span->begin) {
        walk->before += span->end - span->begin;
        span++;
        walk->at++;
    }
    return span->begin + (n - walk->before);
}

static void place_tile(struct work_context *context, const struct work_seq *seq, uint32_t tile,
                       uint32_t g, struct work_placement *placement)
{
    struct rapt_work *work = context->work;
    const struct rapt_spans *spans = context->lists->spans;
    uint32_t row = work_tile_row(seq, tile), n_rows = work_tile_rows(seq, tile);
    uint32_t list = list_of(context, seq, row, set_of(context, g));
    struct work_range range = {0, spans->keys[list]};
    struct work_cut cut = rapt_work_cut(context, range, seq->kind);
    struct walk walk = {.spans = spans, .at = spans->indptr[list]};
    uint32_t partial = cut.n > 1 ? work->n_partial_rows : RAPT_DIRECT;
    for (uint32_t p = 0; p < cut.n; p++) {
        struct work_range part = rapt_work_cut_part(cut, range, p);
        uint32_t bucket = rapt_work_bucket(part.end - part.begin);
        uint32_t k = placement->taken[bucket]++;
        if (!context->emit)
            continue;
        struct rapt_step_item item = {
            .seq = seq->b,
            .kv_head = g / work_max(1, context->params->groups_per_kv),
            .head_first = g * context->params->group,
            .row_first = row,
            .n_rows = n_rows,
            .partial = cut.n > 1 ? partial + p * n_rows : RAPT_DIRECT,
        };
        if (part.begin < part.end) {
            item.kv_begin = key_number(&walk, part.begin);
            item.kv_end = key_number(&walk, part.end - 1) + 1;
        }
        rapt_work_list_attach(context, seq, &item);
        work->items[placement->first + placement->base[bucket] + k] = item;
    }
    work->n_items += cut.n;
    if (cut.n == 1)
        return;
    if (context->emit)
        work->merges[work->n_merges] = (struct rapt_step_merge){
            .seq = seq->b,
            .kv_head = g,
            .row_first = row,
            .n_rows = n_rows,
            .first_partial = partial,
            .n_parts = cut.n,
            .part_stride = n_rows,
        };
    work->n_merges++;
    work->n_partial_rows += cut.n * n_rows;
}

void rapt_work_list_place(struct work_context *context, int kind, struct work_placement *placement)
{
    for (uint32_t g = 0; g < context->params->n_groups; g++)
        for (uint32_t b = 0; b < context->batch->n_seqs; b++) {
            struct work_seq seq;
            if (!rapt_work_seq_read(context, b, kind, &seq))
                continue;
            for (uint32_t tile = 0; tile < seq.n_tiles; tile++)
                place_tile(context, &seq, tile, g, placement);
        }
}
