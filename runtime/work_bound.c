/* SPDX-License-Identifier: Apache-2.0 */

/* What the largest step can need, so that plan_sizes can say it before any step is known. */

#include "work.h"

#include "work_parts.h"

static uint64_t min64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t max64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static uint64_t ceil64(uint64_t a, uint64_t b)
{
    return a / b + (a % b != 0);
}

static uint64_t times(uint64_t a, uint64_t b)
{
    return a && b > UINT64_MAX / 4 / a ? UINT64_MAX / 4 : a * b;
}

static uint32_t narrow(uint64_t x)
{
    return x > UINT32_MAX ? UINT32_MAX : (uint32_t)x;
}

struct bound {
    uint64_t items, merges, partial_rows, stages, rounds;
};

struct shape {
    uint64_t heads, rows, tiles, tile_rows, n_seqs; /* of one class */
    uint64_t max_kv, target;
    uint64_t blocks; /* that have lists */
};

/* Tiles whose key ranges are cut one by one: decode, and prefill that reads K/V in place. */
static void bound_direct(const struct rapt_work_params *params, const struct shape *shape,
                         uint32_t block, struct bound *out)
{
    uint64_t n = times(shape->tiles, shape->heads);
    uint64_t most = params->selection->max_keys_per_item;
    uint64_t parts = ceil64(shape->max_kv, most);
    int by_number = params->fixed_split || params->n_splits;
    if (params->fixed_split)
        parts = ceil64(shape->max_kv, params->fixed_split);
    else if (params->n_splits)
        parts = max64(parts, params->n_splits);
    else
        parts = ceil64(shape->max_kv, work_max(work_align_down((uint32_t)most, block), block));
    parts = max64(parts, 1);
    uint64_t all_rows = times(times(shape->rows, shape->heads), parts);
    out->items = times(n, parts);
    out->merges = parts > 1 ? n : 0;
    out->partial_rows = parts > 1 ? all_rows : 0;
    if (by_number)
        return;
    /* the search adds at most `target` items, so at most that many tiles are split */
    if (shape->max_kv > WORK_MIN_CHUNK && n > 0) {
        uint64_t smallest = ceil64(shape->max_kv, WORK_MIN_CHUNK);
        out->items = max64(out->items, n + shape->target);
        out->merges = max64(out->merges, min64(n, shape->target));
        out->partial_rows =
            max64(out->partial_rows, min64(times(times(shape->rows, shape->heads), smallest),
                                           times(2 * shape->target, shape->tile_rows)));
    }
}

static void bound_staged(const struct rapt_work_params *params, const struct shape *shape,
                         struct bound *out)
{
    const struct rapt_selection *selection = params->selection;
    uint64_t n = times(shape->tiles, shape->heads), units = times(shape->n_seqs, shape->heads);
    uint64_t parts =
        params->fixed_split ? ceil64(shape->max_kv, params->fixed_split) : params->n_splits;
    int by_number = params->fixed_split || params->n_splits;
    uint64_t part_items = by_number ? times(n, max64(parts, 1)) : n + (n ? shape->target : 0);
    uint64_t part_units =
        by_number ? times(units, max64(parts, 1)) : units + (n ? shape->target : 0);
    out->items = part_items;
    out->merges = by_number ? n : min64(n, shape->target);
    out->partial_rows = by_number ? times(times(shape->rows, shape->heads), parts)
                                  : times(2 * shape->target, shape->tile_rows);
    uint64_t groups = part_units;
    if ((shape->max_kv + 7) / 8 * 8 > rapt_work_staged_most(selection)) {
        /* Segments: at most 8 keys shorter than the slice's share of as many heads as make up
         * `target` items with the sequence's tiles. */
        uint64_t tile_heads = min64(n, times(shape->n_seqs, shape->target) + shape->tiles);
        uint64_t least = min64(min64(selection->stage_rows, selection->max_keys_per_item),
                               WORK_STAGE_MIN_SEGMENT);
        least = least > 16 ? least - 8 : 8;
        uint64_t limited = max64(8, (uint64_t)selection->max_keys_per_item / 8 * 8);
        uint64_t slice = selection->stage_rows > 64 ? selection->stage_rows / 65 * 64 : 8;
        uint64_t cuts = times(tile_heads, ceil64(shape->max_kv, slice) + 1) +
                        times(shape->tiles, ceil64(shape->max_kv, limited) + 1);
        out->items = 2 * part_items + times(shape->heads, cuts);
        groups = 2 * part_units + times(units, ceil64(shape->max_kv, least) + 1);
        uint64_t tiles_of_one = shape->rows / shape->tile_rows + 1 + shape->blocks;
        out->partial_rows += times(shape->tile_rows, min64(times(tiles_of_one, shape->heads),
                                                           shape->target + tiles_of_one));
    }
    out->rounds = groups + 1;
    out->stages = min64(times(groups, WORK_STAGE_ENTRIES),
                        groups + times(units, ceil64(shape->max_kv, WORK_STAGE_KEYS) + 1));
}

/* Sequences of few_least to few_most rows. */
static void bound_few(const struct rapt_work_params *params, uint64_t rows, uint64_t n_seqs,
                      uint64_t max_kv, uint64_t blocks, struct bound *out)
{
    const struct rapt_selection *selection = params->selection;
    uint64_t n = min64(n_seqs, rows / selection->few_least);
    uint64_t most = min64(rows, times(n, selection->few_most));
    struct shape shape = {
        .heads = params->n_groups,
        .rows = most,
        .tiles = n ? most / selection->few.rows + n + blocks : 0,
        .tile_rows = min64(selection->few.rows, max64(most, 1)),
        .n_seqs = n,
        .max_kv = max_kv,
        .target = selection->target_items,
    };
    bound_direct(params, &shape, selection->few.block_kv, out);
    out->rounds = n > 0;
}

void rapt_work_bound(const struct rapt_work_params *params, uint32_t max_batch,
                     uint32_t max_total_q, uint32_t max_kv_len, struct rapt_work_bounds *out_bounds)
{
    const struct rapt_selection *selection = params->selection;
    /* blocks that have lists: tiles do not cross their edges */
    uint64_t blocks = params->list_block_q ? max_total_q / params->list_block_q : 0;
    int have_prefill = selection->prefill.kernel >= 0, have_decode = selection->decode.kernel >= 0;
    uint64_t rows = times(max_total_q, params->group);
    uint64_t n_seqs = work_min(max_batch, max_total_q);
    struct bound prefill = {0}, decode = {0}, few = {0};
    if (have_prefill) {
        uint64_t n =
            have_decode ? min64(n_seqs, rows / ((uint64_t)selection->decode_rows + 1)) : n_seqs;
        struct shape shape = {
            .heads = params->n_groups,
            .rows = n ? rows : 0,
            .tiles = n ? rows / selection->prefill.rows + n + blocks : 0,
            .tile_rows = min64(selection->prefill.rows, max64(rows, 1)),
            .n_seqs = n,
            .blocks = blocks,
            .max_kv = max_kv_len,
            .target = selection->target_items,
        };
        if (selection->staged)
            bound_staged(params, &shape, &prefill);
        else
            bound_direct(params, &shape, selection->prefill.block_kv, &prefill);
        prefill.rounds = selection->staged ? prefill.rounds : 1;
    }
    if (have_decode) {
        uint64_t most = have_prefill ? min64(rows, times(n_seqs, selection->decode_rows)) : rows;
        struct shape shape = {
            .heads = params->n_groups,
            .rows = most,
            .tiles = most / selection->decode.rows + n_seqs + blocks,
            .tile_rows = min64(selection->decode.rows, max64(most, 1)),
            .n_seqs = n_seqs,
            .max_kv = max_kv_len,
            .target = selection->target_items,
        };
        bound_direct(params, &shape, selection->decode.block_kv, &decode);
        decode.rounds = 1;
    }
    if (selection->few_least)
        bound_few(params, rows, n_seqs, max_kv_len, blocks, &few);
    out_bounds->items = narrow(prefill.items + decode.items + few.items);
    out_bounds->merges = narrow(prefill.merges + decode.merges + few.merges);
    out_bounds->partial_rows =
        narrow(prefill.partial_rows + decode.partial_rows + few.partial_rows);
    out_bounds->stages = narrow(prefill.stages);
    out_bounds->rounds = narrow(prefill.rounds + decode.rounds + few.rounds);
}
