/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_WORK_PARTS_H
#define RUNTIME_WORK_PARTS_H

/* What work.c and work_staged.c share: tiles of a sequence, their key ranges, and how long key
 * ranges are cut into parts. */

#include "work.h"

struct work_context {
    const struct rapt_work_params *params;
    const struct rapt_batch *batch;
    struct rapt_mask_closed mask;
    struct rapt_work *work;
    const struct rapt_work_lists *lists; /* NULL = ranges in closed form */
    uint32_t chunk[RAPT_WORK_N_CLASSES]; /* most keys of a part */
    uint32_t n_seqs[RAPT_WORK_N_CLASSES]; /* sequences of a class */
    uint32_t tile_tokens[RAPT_WORK_N_CLASSES]; /* 0 where a token's rows may lie in two tiles */
    int grouped;       /* prefill is placed in groups */
    int emit;          /* write the arrays; otherwise count */
};

static inline const struct rapt_kernel_choice *work_kernel(const struct rapt_selection *selection,
                                                           int kind)
{
    return kind == RAPT_WORK_PREFILL  ? &selection->prefill
           : kind == RAPT_WORK_DECODE ? &selection->decode
                                      : &selection->few;
}

/* A sequence as one kernel sees it: packed rows in tiles. */
struct work_seq {
    uint32_t b;
    uint32_t n_rows; /* q_len * group */
    uint32_t n_tokens;
    uint32_t tile_rows, n_tiles;
    uint32_t tile_tokens; /* of a tile, where tiles are whole tokens and pay no heed to blocks; or 0 */
    uint32_t block_rows, tiles_of_block; /* tiles stay within a block that has lists; 0 = none */
    uint32_t kv_limit;
    int kind; /* enum rapt_work_class */
    int32_t kv_pos0, q_pos0;
    const int32_t *q_pos; /* of its tokens, or NULL */
};

struct work_range {
    uint32_t begin, end; /* equal: no keys */
};

/* Lengths counted by size class, 16 classes to the octave: enough to sort by and to search a chunk
 * size with, and small enough for the stack. */
#define WORK_N_BUCKETS 464
struct work_histogram {
    uint64_t n[WORK_N_BUCKETS];
    uint32_t longest[WORK_N_BUCKETS];
};
uint32_t rapt_work_bucket(uint32_t length);
void rapt_work_histogram_add(struct work_histogram *histogram, uint32_t length, uint64_t n);
/* Smallest chunk with which the lengths just fill `target` items, or UINT32_MAX for no split. */
uint32_t rapt_work_choose_chunk(const struct work_histogram *histogram, uint32_t target,
                                uint32_t block);

#define WORK_MIN_CHUNK 256 /* keys: shorter parts cost more in the merge than they win */
/* granularity of splits a caller asks for by number */
#define WORK_SPLIT_ALIGN 8

/* 0 if the sequence has no rows, or goes to another kernel. */
int rapt_work_seq_read(const struct work_context *context, uint32_t b, int kind,
                       struct work_seq *out_seq);
/* How a tile's range is cut: cells [origin + i * size, ...) for i in [0, n). */
struct work_cut {
    uint32_t origin, size, n;
};
struct work_cut rapt_work_cut(const struct work_context *context, struct work_range range,
                              int kind);
struct work_range rapt_work_cut_part(struct work_cut cut, struct work_range range, uint32_t part);

/* Where the items of a class or group go: buckets of descending length, in each the heads one after
 * another, in each head the sequences in order, so that items that read the same K/V lie side by
 * side. With fewer heads at once than there are, all buckets of those come first. */
struct work_placement {
    uint32_t n[WORK_N_BUCKETS];     /* items per head */
    uint32_t base[WORK_N_BUCKETS];  /* items per head in longer buckets */
    uint32_t taken[WORK_N_BUCKETS]; /* placed so far, per head */
    uint32_t first;                 /* item of all */
    uint32_t n_all;                 /* items per head */
    uint32_t at_once;               /* heads */
};

/* Places the items of a sequence's tiles, and merges and partial rows behind those there are. */
void rapt_work_place_seq(struct work_context *context, const struct work_seq *seq,
                         struct work_placement *placement);
/* From counting to writing. */
void rapt_work_placement_finish(struct work_placement *placement, uint32_t first, uint32_t at_once);

/* work_groups.c: whether prefill is worth placing in groups; places it so, which is for writing alone. */
int rapt_work_wants_groups(const struct work_context *context);
void rapt_work_place_groups(struct work_context *context, struct work_placement *placement);

/* work_blocks.c: lists that the host made. */
/* From the first to the last key of a tile's lists, over all heads; of all tiles of a sequence. */
struct work_range rapt_work_list_hull(const struct work_context *context, const struct work_seq *seq,
                                      uint32_t tile);
struct work_range rapt_work_list_seq_hull(const struct work_context *context,
                                          const struct work_seq *seq);
/* Gives an item whose heads and keys are known the part of its list that it needs. */
void rapt_work_list_attach(const struct work_context *context, const struct work_seq *seq,
                           struct rapt_step_item *item);
/* As work.c does it for ranges, with lengths that count listed keys alone. Heads are not placed
 * together: n counts the items of all. */
void rapt_work_list_histogram(const struct work_context *context, int kind,
                              struct work_histogram *histogram);
void rapt_work_list_place(struct work_context *context, int kind, struct work_placement *placement);

/* Of tokens whose positions are listed. */
struct work_range rapt_work_scattered_range(const struct rapt_mask_closed *mask,
                                            const struct work_seq *seq, uint32_t first,
                                            uint32_t last);

/* Keys j < this may be seen at all: kv_len cut by sink_tokens and prefix. */
uint32_t rapt_work_kv_limit(const struct rapt_batch *batch, const struct rapt_mask_closed *mask,
                            uint32_t b);

/* Prefill through staged K/V: fills items, stages, rounds and merges from their current counts on.
 * Twice: with emit 0 it counts, with emit 1 it writes. scratch_rows are the partial rows at the
 * front that hold running states between rounds; the counting call finds their number. */
void rapt_work_staged_histogram(const struct work_context *context,
                                struct work_histogram *histogram);
void rapt_work_staged_build(struct work_context *context, uint32_t *inout_scratch_rows);
/* Keys of a segment when the units of `n_tiles` tiles are worked off in rounds, and how many heads
 * a round then holds. */
uint32_t rapt_work_staged_segment(const struct rapt_work_params *params, uint32_t n_tiles,
                                  uint32_t *out_heads);
/* Keys of a part that is worked off in one round. */
uint32_t rapt_work_staged_most(const struct rapt_selection *selection);
#define WORK_STAGE_MIN_SEGMENT 4096
#define WORK_STAGE_ENTRIES 16 /* most stage entries of one head's segment */
#define WORK_STAGE_KEYS 512   /* least keys of such an entry, as long as there are that many */

static inline uint32_t work_min(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}
static inline uint32_t work_max(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}
static inline uint32_t work_ceil_div(uint32_t a, uint32_t b)
{
    return a / b + (a % b != 0);
}
/* to a multiple; `down` of a value cannot overflow, `up` saturates at the largest multiple */
static inline uint32_t work_align_down(uint32_t a, uint32_t multiple)
{
    return a - a % multiple;
}
static inline uint32_t work_align_up(uint32_t a, uint32_t multiple)
{
    uint32_t rest = a % multiple;
    if (rest == 0)
        return a;
    return a > UINT32_MAX - (multiple - rest) ? a - rest : a + (multiple - rest);
}

/* Key ranges: asked for every tile, several times a step. */

/* Positions [lo, hi] as keys of a sequence. */
static inline struct work_range work_clip(const struct work_seq *seq, int64_t lo, int64_t hi)
{
    struct work_range range = {0, 0};
    int64_t begin = lo == INT64_MIN ? 0 : lo - seq->kv_pos0;
    int64_t end = hi == INT64_MAX ? (int64_t)seq->kv_limit : hi - seq->kv_pos0 + 1;
    begin = begin < 0 ? 0 : begin;
    end = end > (int64_t)seq->kv_limit ? (int64_t)seq->kv_limit : end;
    if (begin < end) {
        range.begin = (uint32_t)begin;
        range.end = (uint32_t)end;
    }
    return range;
}

/* Of tokens first to last. */
static inline struct work_range work_token_range(const struct rapt_mask_closed *mask,
                                                 const struct work_seq *seq, uint32_t first,
                                                 uint32_t last)
{
    if (seq->q_pos)
        return rapt_work_scattered_range(mask, seq, first, last);
    /* consecutive positions: their intervals touch, so the hull is the union */
    int64_t P = (int64_t)seq->q_pos0;
    return work_clip(seq, rapt_mask_first(mask, P + first), rapt_mask_last(mask, P + last));
}

static inline int work_has_spans(const struct work_context *context)
{
    return context->lists && context->lists->spans;
}

/* Of all tiles of a sequence. */
static inline struct work_range work_seq_range(const struct work_context *context,
                                               const struct work_seq *seq)
{
    if (work_has_spans(context))
        return rapt_work_list_seq_hull(context, seq);
    return work_token_range(&context->mask, seq, 0, seq->n_tokens - 1);
}

/* First packed row of a tile. */
static inline uint32_t work_tile_row(const struct work_seq *seq, uint32_t tile)
{
    if (!seq->block_rows)
        return tile * seq->tile_rows;
    uint32_t block = tile / seq->tiles_of_block;
    return block * seq->block_rows + (tile - block * seq->tiles_of_block) * seq->tile_rows;
}

static inline uint32_t work_tile_rows(const struct work_seq *seq, uint32_t tile)
{
    uint32_t row = work_tile_row(seq, tile), rest = seq->n_rows - row;
    if (seq->block_rows)
        rest = work_min(rest, seq->block_rows - row % seq->block_rows);
    return work_min(seq->tile_rows, rest);
}

static inline struct work_range work_tile_range(const struct work_context *context,
                                                const struct work_seq *seq, uint32_t tile)
{
    if (work_has_spans(context))
        return rapt_work_list_hull(context, seq, tile);
    if (seq->tile_tokens) { /* the common case, without a division */
        uint32_t first = tile * seq->tile_tokens;
        return work_token_range(&context->mask, seq, first,
                                work_min(first + seq->tile_tokens, seq->n_tokens) - 1);
    }
    uint32_t row = work_tile_row(seq, tile);
    uint32_t last = row + work_tile_rows(seq, tile) - 1;
    return work_token_range(&context->mask, seq, row / context->params->group,
                            last / context->params->group);
}

#endif
