/* SPDX-License-Identifier: Apache-2.0 */

/* Prefill on the CPU driver: K/V are converted once into a bounded slice of f32 rows, and the work
 * runs in rounds of what fits there. A sequence's keys are cut into parts (merged at the end, for
 * parallelism) and a part longer than the slice into segments (worked off one after another, the
 * running state kept in partial rows). Where the cuts lie depends on the sequence alone as long as
 * the parts do: a step's other sequences never change its bits. */

#include "work.h"

#include "work_parts.h"

#include <string.h>

#define STAGE_ALIGN 8 /* rows; args.h promises it of stage entries */

struct stager {
    struct work_context *context;
    uint32_t item_first, stage_first; /* of the open round */
    uint32_t rows_used;
    uint32_t scratch_rows; /* running states, at the front of the partial rows */
};

/* Keys [begin, end) of one part, or of one segment of it, for n_heads heads from head_first on. */
struct span {
    uint32_t begin, end;
};

struct group {
    struct span part, segment;
    uint32_t part_index, part_size, origin;
    uint32_t head_first, n_heads, n_parts;
    uint32_t all_end; /* of the last part */
    uint32_t partial; /* first permanent partial row of the sequence */
    int first;        /* tiles without keys are written here */
};

uint32_t rapt_work_staged_segment(const struct rapt_work_params *params, uint32_t n_tiles,
                                  uint32_t *out_heads)
{
    const struct rapt_selection *selection = params->selection;
    /* Few tiles keep few threads busy: take several heads to a round, but not in crumbs. */
    uint32_t heads = work_min(params->n_groups, work_ceil_div(selection->target_items, n_tiles));
    heads = work_max(1, work_min(heads, selection->stage_rows / WORK_STAGE_MIN_SEGMENT));
    uint32_t most = work_min(selection->stage_rows / heads, selection->max_keys_per_item);
    *out_heads = heads;
    return work_max(STAGE_ALIGN, work_align_down(most, STAGE_ALIGN));
}

uint32_t rapt_work_staged_most(const struct rapt_selection *selection)
{
    uint32_t most = work_min(selection->stage_rows, selection->max_keys_per_item);
    return work_max(STAGE_ALIGN, work_align_down(most, STAGE_ALIGN));
}

/* Every key some row of the sequence may see, from a multiple of 8 on. */
static struct span hull(const struct work_context *context, const struct work_seq *seq)
{
    struct work_range range = work_seq_range(context, seq);
    struct span all = {range.begin, range.end};
    all.begin = work_align_down(all.begin, STAGE_ALIGN);
    return all;
}

void rapt_work_staged_histogram(const struct work_context *context,
                                struct work_histogram *histogram)
{
    for (uint32_t b = 0; b < context->batch->n_seqs; b++) {
        struct work_seq seq;
        if (!rapt_work_seq_read(context, b, 0, &seq))
            continue;
        struct span all = hull(context, &seq);
        rapt_work_histogram_add(histogram, all.end - all.begin,
                                (uint64_t)seq.n_tiles * context->params->n_groups);
    }
}

static void close_round(struct stager *stager)
{
    struct rapt_work *work = stager->context->work;
    if (work->n_items > stager->item_first) {
        if (stager->context->emit)
            work->rounds[work->n_rounds] = (struct rapt_work_round){
                .stage_first = stager->stage_first,
                .n_stages = work->n_stages - stager->stage_first,
                .item_first = stager->item_first,
                .n_items = work->n_items - stager->item_first,
            };
        work->n_rounds++;
    }
    stager->item_first = work->n_items;
    stager->stage_first = work->n_stages;
    stager->rows_used = 0;
}

/* Staged rows of a segment: whole groups of eight keys. */
static uint32_t segment_rows(struct span segment)
{
    return work_align_up(segment.end - segment.begin, STAGE_ALIGN);
}

static void add_stages(struct stager *stager, uint32_t b, const struct group *group)
{
    struct rapt_work *work = stager->context->work;
    uint32_t n_rows = segment_rows(group->segment);
    uint32_t n_entries = work_min(WORK_STAGE_ENTRIES, work_ceil_div(n_rows, WORK_STAGE_KEYS));
    if (n_entries == 0)
        return;
    uint32_t size =
        n_entries > 1 ? work_align_up(work_ceil_div(n_rows, n_entries), STAGE_ALIGN) : n_rows;
    uint32_t groups_per_kv = work_max(1, stager->context->params->groups_per_kv);
    uint32_t first = work->n_stages;
    work->n_stages += group->n_heads * (n_entries > 1 ? work_ceil_div(n_rows, size) : 1);
    uint32_t kv_head = group->head_first / groups_per_kv;
    uint32_t left = groups_per_kv - (group->head_first - kv_head * groups_per_kv);
    uint32_t stage_row = stager->rows_used;
    if (!stager->context->emit)
        return;
    struct rapt_step_stage *out = work->stages + first;
    for (uint32_t h = 0; h < group->n_heads; h++, stage_row += n_rows) {
        for (uint32_t at = 0; at < n_rows; at += size)
            *out++ = (struct rapt_step_stage){
                .seq = b,
                .kv_head = kv_head,
                .kv_begin = group->segment.begin + at,
                .n_keys = work_min(size, n_rows - at),
                .stage_row = stage_row + at,
            };
        if (--left == 0) {
            kv_head++;
            left = groups_per_kv;
        }
    }
}

enum tile_kind { TILE_NONE, TILE_DIRECT, TILE_PART, TILE_STATE };

/* The item of one tile in a group's segment, for the group's first head. */
static enum tile_kind tile_item(const struct work_context *context, const struct work_seq *seq,
                                uint32_t tile, const struct group *group,
                                struct rapt_step_item *out_item)
{
    struct work_range range = work_tile_range(context, seq, tile);
    uint32_t n_rows = work_tile_rows(seq, tile);
    *out_item = (struct rapt_step_item){
        .seq = seq->b,
        .row_first = work_tile_row(seq, tile),
        .n_rows = n_rows,
        .partial = RAPT_DIRECT,
    };
    if (range.begin == range.end)
        return group->first ? TILE_DIRECT : TILE_NONE;
    uint32_t begin = work_max(range.begin, group->part.begin);
    uint32_t end = work_min(range.end, group->part.end);
    uint32_t from = work_max(begin, group->segment.begin);
    uint32_t to = work_min(end, group->segment.end);
    if (from >= to)
        return TILE_NONE;
    /* Staged rows begin at multiples of eight keys; the row's own mask rules out the few before. */
    out_item->kv_begin = from - (from - group->segment.begin) % STAGE_ALIGN;
    out_item->kv_end = to;
    out_item->stage_row = out_item->kv_begin - group->segment.begin;
    int starts = from == begin, ends = to == end;
    if (group->n_parts > 1 && (range.begin - group->origin) / group->part_size !=
                                  (range.end - 1 - group->origin) / group->part_size) {
        /* by part, then row: [head][part][row of the sequence] */
        out_item->partial = group->partial + out_item->row_first +
                            (group->head_first * group->n_parts + group->part_index) * seq->n_rows;
        out_item->flags = starts ? 0 : RAPT_ITEM_CONTINUE;
        return TILE_PART;
    }
    if (starts && ends)
        return TILE_DIRECT;
    out_item->partial = out_item->row_first; /* of the scratch rows */
    out_item->flags = (starts ? 0 : RAPT_ITEM_CONTINUE) | (ends ? RAPT_ITEM_FINISH : 0);
    return TILE_STATE;
}

/* Items of up to so many tiles are made once and copied for every head. */
#define TILES_AT_ONCE 32

struct tile_items {
    struct rapt_step_item items[TILES_AT_ONCE]; /* of the head whose turn it is */
    uint32_t partial_steps[TILES_AT_ONCE];      /* from one head to the next */
    uint32_t n;
    int direct; /* all steps are 0 */
};

/* The items of the tiles before `end`, last first, that have some in the group; returns the first
 * tile that was looked at. */
static uint32_t make_items(const struct stager *stager, const struct work_seq *seq,
                           const struct group *group, uint32_t end, struct tile_items *out)
{
    out->n = 0;
    out->direct = 1;
    while (end > 0 && out->n < TILES_AT_ONCE) {
        struct rapt_step_item *item = &out->items[out->n];
        enum tile_kind kind = tile_item(stager->context, seq, --end, group, item);
        if (kind == TILE_NONE)
            continue;
        item->head_first = group->head_first * stager->context->params->group;
        item->kv_head = group->head_first / work_max(1, stager->context->params->groups_per_kv);
        item->stage_row += stager->rows_used;
        out->direct &= kind == TILE_DIRECT;
        out->partial_steps[out->n++] = kind == TILE_PART    ? group->n_parts * seq->n_rows
                                       : kind == TILE_STATE ? seq->n_rows
                                                            : 0;
    }
    return end;
}

/* make_items where that is a few additions: one part in one segment, and of every tile the tokens
 * and the keys they see lie in a row. */
static uint32_t make_plain_items(const struct stager *stager, const struct work_seq *seq,
                                 const struct group *group, uint32_t end, struct tile_items *out)
{
    const struct work_context *context = stager->context;
    const struct rapt_mask_closed *mask = &context->mask;
    int64_t offset = (int64_t)seq->q_pos0 - seq->kv_pos0;
    int64_t begin0 = mask->left >= RAPT_MASK_UNBOUNDED ? INT64_MIN / 2 : offset - mask->left;
    int64_t end0 = mask->right >= RAPT_MASK_UNBOUNDED ? INT64_MAX / 2 : offset + mask->right + 1;
    struct rapt_step_item item = {
        .seq = seq->b,
        .kv_head = group->head_first / work_max(1, context->params->groups_per_kv),
        .partial = RAPT_DIRECT,
        .head_first = group->head_first * context->params->group,
    };
    out->n = 0;
    out->direct = 1;
    for (; end > 0 && out->n < TILES_AT_ONCE; end--) {
        int64_t token = (int64_t)(end - 1) * seq->tile_tokens;
        int64_t next =
            token + seq->tile_tokens < seq->n_tokens ? token + seq->tile_tokens : seq->n_tokens;
        int64_t from = begin0 + token > 0 ? begin0 + token : 0;
        int64_t to = end0 + next - 1 < seq->kv_limit ? end0 + next - 1 : seq->kv_limit;
        item.row_first = (end - 1) * seq->tile_rows;
        item.n_rows = work_min(seq->tile_rows, seq->n_rows - item.row_first);
        item.kv_begin = item.kv_end = 0;
        item.stage_row = stager->rows_used;
        if (from < to) { /* the segment begins at a multiple too */
            item.kv_begin = work_align_down((uint32_t)from, STAGE_ALIGN);
            item.kv_end = (uint32_t)to;
            item.stage_row += item.kv_begin - group->segment.begin;
        }
        out->items[out->n++] = item;
    }
    return end;
}

static int makes_plain_items(const struct work_context *context, const struct work_seq *seq,
                             const struct group *group)
{
    return seq->tile_tokens && !seq->q_pos && context->mask.chunk == 0 && group->n_parts == 1 &&
           group->first && group->segment.end == group->all_end &&
           group->segment.begin == group->part.begin;
}

/* The items of the head after the one whose turn it was. */
static void next_head(struct tile_items *tiles, uint32_t group, uint32_t kv_head, uint32_t n_staged)
{
    for (uint32_t i = 0; i < tiles->n; i++) {
        tiles->items[i].kv_head = kv_head;
        tiles->items[i].head_first += group;
        tiles->items[i].stage_row += n_staged;
    }
    for (uint32_t i = 0; !tiles->direct && i < tiles->n; i++)
        tiles->items[i].partial += tiles->partial_steps[i];
}

static void add_items(struct stager *stager, const struct work_seq *seq, const struct group *group)
{
    struct work_context *context = stager->context;
    struct rapt_work *work = context->work;
    uint32_t n_rows = segment_rows(group->segment);
    struct rapt_step_item item;
    uint32_t n_items = 0, k = 0;
    if (group->first && group->segment.end == group->all_end &&
        group->segment.begin == group->part.begin)
        n_items = seq->n_tiles; /* everything at once */
    else
        for (uint32_t tile = 0; tile < seq->n_tiles; tile++)
            n_items += tile_item(context, seq, tile, group, &item) != TILE_NONE;
    /* heads one after another, so that the items of one head find its rows in the cache; the last
     * tiles first: under a causal mask they are the longest */
    int plain = makes_plain_items(context, seq, group);
    uint32_t groups_per_kv = work_max(1, context->params->groups_per_kv);
    for (uint32_t end = seq->n_tiles; context->emit && end > 0;) {
        struct tile_items tiles; /* the slot itself is never read */
        end = plain ? make_plain_items(stager, seq, group, end, &tiles)
                    : make_items(stager, seq, group, end, &tiles);
        for (uint32_t h = 0; h < group->n_heads; h++) {
            for (uint32_t i = 0; context->lists && i < tiles.n; i++)
                rapt_work_list_attach(context, seq, &tiles.items[i]);
            memcpy(work->items + work->n_items + h * n_items + k, tiles.items,
                   tiles.n * sizeof tiles.items[0]);
            next_head(&tiles, context->params->group, (group->head_first + h + 1) / groups_per_kv,
                      n_rows);
        }
        k += tiles.n;
    }
    work->n_items += n_items * group->n_heads;
}

static void add_group(struct stager *stager, const struct work_seq *seq, const struct group *group)
{
    uint32_t before = stager->context->work->n_items;
    uint32_t stages = stager->context->work->n_stages;
    add_stages(stager, seq->b, group);
    add_items(stager, seq, group);
    if (stager->context->work->n_items > before)
        stager->rows_used += segment_rows(group->segment) * group->n_heads;
    else
        stager->context->work->n_stages = stages; /* a hole no row looks into */
}

/* A part that fits the slice: as many heads to a round as there is room for. */
static void add_whole_part(struct stager *stager, const struct work_seq *seq, struct group *group)
{
    uint32_t n_heads = stager->context->params->n_groups;
    uint32_t stage_rows = stager->context->params->selection->stage_rows;
    uint32_t need = segment_rows(group->part);
    group->segment = group->part;
    for (uint32_t h = 0; h < n_heads; h += group->n_heads) {
        if (need > stage_rows - stager->rows_used)
            close_round(stager);
        uint32_t room = need ? (stage_rows - stager->rows_used) / need : n_heads;
        group->head_first = h;
        group->n_heads = work_min(room, n_heads - h);
        add_group(stager, seq, group);
    }
}

/* A part longer than the slice: segment after segment, each a round, the state carried over. */
static void add_long_part(struct stager *stager, const struct work_seq *seq, struct group *group)
{
    uint32_t n_heads = stager->context->params->n_groups, per_round;
    uint32_t size = rapt_work_staged_segment(stager->context->params, seq->n_tiles, &per_round);
    int first = group->first;
    for (uint32_t h = 0; h < n_heads; h += per_round) {
        group->head_first = h;
        group->n_heads = work_min(per_round, n_heads - h);
        group->first = first;
        for (uint32_t at = group->part.begin; at < group->part.end; at += size) {
            close_round(stager);
            group->segment.begin = at;
            group->segment.end = work_min(group->part.end, at + size);
            add_group(stager, seq, group);
            group->first = 0;
        }
    }
    close_round(stager);
    if (!stager->context->emit)
        stager->scratch_rows =
            work_max(stager->scratch_rows, work_min(per_round, n_heads) * seq->n_rows);
}

static void add_merges(struct stager *stager, const struct work_seq *seq, const struct group *group)
{
    struct work_context *context = stager->context;
    struct rapt_work *work = context->work;
    for (uint32_t tile = 0; tile < seq->n_tiles; tile++) {
        struct work_range range = work_tile_range(context, seq, tile);
        if (range.begin == range.end)
            continue;
        uint32_t first = (range.begin - group->origin) / group->part_size;
        uint32_t last = (range.end - 1 - group->origin) / group->part_size;
        if (first == last)
            continue;
        for (uint32_t h = 0; h < context->params->n_groups; h++) {
            if (context->emit)
                work->merges[work->n_merges] = (struct rapt_step_merge){
                    .seq = seq->b,
                    .kv_head = h,
                    .row_first = work_tile_row(seq, tile),
                    .n_rows = work_tile_rows(seq, tile),
                    .first_partial = group->partial + (h * group->n_parts + first) * seq->n_rows +
                                     work_tile_row(seq, tile),
                    .n_parts = last - first + 1,
                    .part_stride = seq->n_rows,
                };
            work->n_merges++;
        }
    }
}

static void add_sequence(struct stager *stager, const struct work_seq *seq)
{
    const struct work_context *context = stager->context;
    const struct rapt_work_params *params = context->params;
    struct rapt_work *work = context->work;
    struct span all = hull(context, seq);
    struct group group = {
        .origin = all.begin, .n_parts = 1, .part_size = UINT32_MAX, .all_end = all.end, .first = 1};
    uint32_t length = all.end - all.begin;
    if (params->fixed_split) {
        group.origin = work_align_down(all.begin, params->fixed_split);
        group.part_size = params->fixed_split;
        group.n_parts = work_max(1, work_ceil_div(all.end - group.origin, group.part_size));
    } else {
        uint32_t n_parts =
            params->n_splits ? params->n_splits : work_ceil_div(length, context->chunk[0]);
        if (n_parts > 1 && length > STAGE_ALIGN) {
            group.part_size = work_align_up(work_ceil_div(length, n_parts), STAGE_ALIGN);
            group.n_parts = work_ceil_div(length, group.part_size);
        }
    }
    if (group.n_parts > 1) {
        group.partial = stager->scratch_rows + work->n_partial_rows;
        work->n_partial_rows += group.n_parts * params->n_groups * seq->n_rows;
    }
    uint32_t most = rapt_work_staged_most(params->selection);
    for (uint32_t p = 0; p < group.n_parts; p++) {
        group.part_index = p;
        group.part.begin =
            group.n_parts > 1 ? work_max(all.begin, group.origin + p * group.part_size) : all.begin;
        group.part.end = p + 1 < group.n_parts ? group.origin + (p + 1) * group.part_size : all.end;
        if (segment_rows(group.part) <= most)
            add_whole_part(stager, seq, &group);
        else
            add_long_part(stager, seq, &group);
        group.first = 0;
    }
    if (group.n_parts > 1)
        add_merges(stager, seq, &group);
}

void rapt_work_staged_build(struct work_context *context, uint32_t *inout_scratch_rows)
{
    struct stager stager = {.context = context};
    /* While counting, permanent rows are counted from 0; they follow the scratch rows. */
    if (context->emit)
        stager.scratch_rows = *inout_scratch_rows;
    for (uint32_t b = 0; context->n_seqs[0] && b < context->batch->n_seqs; b++) {
        struct work_seq seq;
        if (rapt_work_seq_read(context, b, 0, &seq))
            add_sequence(&stager, &seq);
    }
    close_round(&stager);
    *inout_scratch_rows = stager.scratch_rows;
    context->work->n_partial_rows += stager.scratch_rows;
}
