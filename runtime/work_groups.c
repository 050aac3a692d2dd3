/* SPDX-License-Identifier: Apache-2.0 */

/* Prefill items in groups whose K/V fit in the device's last cache. Longest first over all heads
 * and sequences would have the K/V of all of them in flight at once, and read it from memory once
 * for every tile; longest first within a group reads it from memory once. */

#include "work_parts.h"

#include <string.h>

/* Sequences [seq_first, seq_end) of an octave of lengths, so many heads of each at once. */
struct group {
    uint32_t seq_first, seq_end, octave, heads;
};

/* Fewer items than this leave lanes idle at the end of a group, and where all run at once anyway
 * their order decides nothing. */
static uint64_t least_items(const struct work_context *context)
{
    return 2 * (uint64_t)context->params->selection->target_items;
}

static uint32_t groups_per_kv(const struct work_context *context)
{
    return work_max(1, context->params->groups_per_kv);
}

/* Keys a sequence's rows see between them. */
static uint32_t length_of(const struct work_context *context, const struct work_seq *seq)
{
    struct work_range range = work_seq_range(context, seq);
    return range.end - range.begin;
}

/* K/V of all heads, in keys of one. */
static uint64_t keys_of(const struct work_context *context, uint32_t length)
{
    return (uint64_t)length * (context->params->n_groups / groups_per_kv(context));
}

static uint64_t items_of(const struct work_context *context, const struct work_seq *seq)
{
    return (uint64_t)seq->n_tiles * context->params->n_groups;
}

static uint32_t octave_of(uint32_t length)
{
    return rapt_work_bucket(length) / 16;
}

/* Where all tiles are about as long, those that share K/V lie side by side as it is; two or three
 * read it little more often than once. */
static int tiles_differ(const struct work_context *context, const struct work_seq *seq)
{
    if (seq->n_tiles < 4)
        return 0;
    struct work_range a = work_tile_range(context, seq, 0);
    struct work_range b = work_tile_range(context, seq, seq->n_tiles - 1);
    uint32_t x = rapt_work_bucket(a.end - a.begin), y = rapt_work_bucket(b.end - b.begin);
    return x > y + 1 || y > x + 1;
}

int rapt_work_wants_groups(const struct work_context *context)
{
    uint64_t keys = 0, items = 0;
    uint32_t cache_keys = context->params->selection->cache_keys;
    if (!cache_keys || context->n_seqs[0] == 0 || context->params->selection->staged ||
        work_has_spans(context))
        return 0;
    for (uint32_t b = 0; b < context->batch->n_seqs; b++) {
        struct work_seq seq;
        if (!rapt_work_seq_read(context, b, 0, &seq) || !tiles_differ(context, &seq))
            continue;
        keys += keys_of(context, length_of(context, &seq));
        items += items_of(context, &seq);
    }
    return keys > cache_keys && items >= 2 * least_items(context);
}

static uint32_t octaves_of(const struct work_context *context)
{
    uint32_t octaves = 0;
    for (uint32_t b = 0; b < context->batch->n_seqs; b++) {
        struct work_seq seq;
        if (rapt_work_seq_read(context, b, 0, &seq))
            octaves |= 1u << octave_of(length_of(context, &seq));
    }
    return octaves;
}

static void place_sequences(struct work_context *context, const struct group *group,
                            struct work_placement *placement)
{
    for (uint32_t b = group->seq_first; b < group->seq_end; b++) {
        struct work_seq seq;
        if (rapt_work_seq_read(context, b, 0, &seq) &&
            octave_of(length_of(context, &seq)) == group->octave)
            rapt_work_place_seq(context, &seq, placement);
    }
}

/* Counts, then writes, behind what there is. */
static void place_group(struct work_context *context, const struct group *group,
                        struct work_placement *placement)
{
    const struct rapt_work before = *context->work;
    memset(placement, 0, sizeof *placement);
    context->emit = 0;
    place_sequences(context, group, placement);
    *context->work = before;
    rapt_work_placement_finish(placement, before.n_items, group->heads);
    context->emit = 1;
    place_sequences(context, group, placement);
}

/* A sequence alone: as many of its heads at a time as fit, or as make enough items. */
static void place_long(struct work_context *context, const struct work_seq *seq, uint32_t length,
                       struct work_placement *placement)
{
    uint32_t per_kv = groups_per_kv(context), n_kv = context->params->n_groups / per_kv;
    uint64_t fit = context->params->selection->cache_keys / work_max(1, length);
    uint64_t items_of_head = (uint64_t)seq->n_tiles * per_kv;
    uint64_t least = (least_items(context) + items_of_head - 1) / items_of_head;
    uint64_t most = fit > least ? fit : least;
    uint32_t at_once = most < 1 ? 1 : most < n_kv ? (uint32_t)most : n_kv;
    /* even groups, not full ones and a crumb */
    at_once = work_ceil_div(n_kv, work_ceil_div(n_kv, at_once));
    const struct group group = {seq->b, seq->b + 1, octave_of(length), at_once * per_kv};
    place_group(context, &group, placement);
}

/* The sequences of an octave, in their order: several to a group, or a group several times. */
static void place_octave(struct work_context *context, uint32_t octave,
                         struct work_placement *placement)
{
    uint64_t cache_keys = context->params->selection->cache_keys, keys = 0, items = 0;
    struct group group = {.octave = octave, .heads = context->params->n_groups};
    for (uint32_t b = 0; b < context->batch->n_seqs; b++) {
        struct work_seq seq;
        if (!rapt_work_seq_read(context, b, 0, &seq))
            continue;
        uint32_t length = length_of(context, &seq);
        if (octave_of(length) != octave)
            continue;
        uint64_t own_keys = keys_of(context, length), own_items = items_of(context, &seq);
        int is_long = own_keys > cache_keys && own_items >= 2 * least_items(context);
        int is_full = keys + own_keys > cache_keys && items >= least_items(context);
        if (items > 0 && (is_long || is_full)) {
            group.seq_end = b;
            place_group(context, &group, placement);
            keys = items = 0;
            group.seq_first = b;
        }
        if (is_long) {
            place_long(context, &seq, length, placement);
            group.seq_first = b + 1;
        } else {
            keys += own_keys;
            items += own_items;
        }
    }
    group.seq_end = context->batch->n_seqs;
    if (items > 0)
        place_group(context, &group, placement);
}

void rapt_work_place_groups(struct work_context *context, struct work_placement *placement)
{
    /* long sequences first, so that the last group has short items */
    uint32_t octaves = octaves_of(context);
    for (uint32_t octave = 32; octave-- > 0;)
        if (octaves & (1u << octave))
            place_octave(context, octave, placement);
}
