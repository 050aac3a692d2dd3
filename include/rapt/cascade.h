/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RAPT_CASCADE_H
#define RAPT_CASCADE_H

/* Shared prefixes: sequences of a batch whose block tables begin with the same pages (one system
 * prompt for many conversations, a document many questions are asked about, the branches of a
 * search) have those pages read once for all of them instead of once for each.
 *
 * The batch is cut into levels. On a level a sequence has some of its keys: pages it shares with its
 * neighbours, or the rest, which is its own. Neighbours that share are one sequence there, whose
 * queries are all of theirs. Attention over a level gives a partial result for every query, and the
 * parts of all levels are merged exactly (rapt_merger). Who shares what is found in the block tables
 * alone, to any depth.
 *
 *   rapt_cascade_split    the cut, by itself: pure arithmetic, for those who plan and merge
 *                         themselves
 *   rapt_cascade_order    in which order the sequences of a batch share most
 *   rapt_cascade_create   a plan and a merge that do it: sizes, bind, prepare and record as with
 *                         rapt_plan, and drop-in for it
 *
 * Only neighbours share: sequences with equal prefixes must lie next to each other in the batch,
 * and their queries next to each other in memory. Only full pages are shared, and only where
 * positions (kv_pos0) and, under a mask with `prefix`, the visible keys agree. Windows, chunks and
 * the like are no obstacle: every row is masked by its own position. */

#include <rapt/attention.h>

#ifdef __cplusplus
extern "C" {
#endif

#define RAPT_CASCADE_MAX_LEVELS 16

/* When sharing is worth its merge. */
typedef struct rapt_cascade_rule {
    size_t struct_size;
    uint32_t page_size;         /* a power of two, 1 to 256 */
    uint32_t max_levels;        /* of a sequence, its own keys counted: 1 (share nothing) to
                                   RAPT_CASCADE_MAX_LEVELS [4] */
    uint32_t min_shared_tokens; /* shorter pieces are not shared [256] */
    /* What one more partial result of one query token costs (Q read again, the part written and read),
     * in keys that could be read meanwhile. A group shares a piece of n keys if the keys not read
     * again outnumber that of all its queries. [8] */
    uint32_t merge_tokens;
    rapt_layout q;              /* of Q, in elements: token_stride, and outer_stride if sequences are
                                   padded; 0 = 1 and 0, when q_offsets counts in rows */
} rapt_cascade_rule;

typedef struct rapt_cascade_info {
    size_t struct_size;
    uint32_t n_levels;  /* 1 = nothing is shared */
    uint32_t n_groups;  /* pieces that several sequences share */
    uint32_t n_sharing; /* sequences that share some piece */
    uint32_t total_q;   /* query tokens of the batch */
    uint64_t kv_tokens; /* keys the batch would read without sharing: kv_len of all its sequences that
                           have queries */
    uint64_t kv_tokens_read; /* and with it */
} rapt_cascade_info;

/* Bytes of memory rapt_cascade_split takes for batches up to these numbers; UINT64_MAX if there is
 * no such number. rule may be NULL. Thread-safety: any thread. */
RAPT_API uint64_t rapt_cascade_split_bytes(const rapt_cascade_rule *rule, uint32_t max_batch,
                                           uint32_t max_total_q, uint32_t max_pages);

/* Cuts a batch with block tables. out_step is what the whole cascade is to an ordinary plan with room
 * for it (rapt_plan_prepare, paged, f32 output with RAPT_PLAN_LSE, no sinks): its sequences are those of
 * level 0, then those of level 1 and so on; every level has all total_q query tokens in the batch's
 * order, so that the output is parts f32[n_levels, total_q * Hq, Dv] and parts_lse
 * f32[n_levels, total_q * Hq], as rapt_merger_record wants them. Tokens that have no keys on a level
 * get there what every row without keys gets, lse -inf, which counts for nothing. q_offsets point at
 * the rows of the one Q; positions are those of the batch, by q_pos (and rope_pos where given).
 * Everything else is as in `step`.
 *
 * memory: rapt_cascade_split_bytes, aligned to 8 bytes; out_step's arrays lie in it. Nothing else is
 * allocated. out_info may be NULL. Errors: ARGUMENT (what prepare refuses, and packed K/V, and a
 * bias, whose rows have no such places), CAPACITY (memory_bytes). Thread-safety: any thread. */
RAPT_API rapt_status rapt_cascade_split(const rapt_cascade_rule *rule, const rapt_step_params *step,
                                        void *memory, uint64_t memory_bytes,
                                        rapt_step_params *out_step, rapt_cascade_info *out_info);

/* The order of a batch's sequences that brings equal prefixes together: out_order[i] is the sequence
 * that should come i-th, u32[n_seqs]. Sequences with equal tables keep theirs. scratch:
 * u32[n_seqs]. Reads n_seqs, block tables and kv_pos0 of `step`. Errors: ARGUMENT.
 * Thread-safety: any thread. */
RAPT_API rapt_status rapt_cascade_order(const rapt_step_params *step, uint32_t *scratch,
                                        uint32_t *out_order);

/* -------------------------------------------------------------------------------- attend and merge */

/* A plan whose steps are cut into levels, and the merge of their parts. */
typedef struct rapt_cascade rapt_cascade;

typedef struct rapt_cascade_params {
    size_t struct_size;
    /* As rapt_plan_create takes them, capacities those of the batch before it is cut. Wanted:
     * RAPT_PLAN_PAGED. The output is f32 and dense (out_type f32 or default), written by the merge.
     * LSE and SINKS are honoured; refused are BIAS, MAX_LOGIT, UNNORMALISED and APPEND (rows are
     * appended with an ordinary plan). */
    const rapt_plan_params *plan;
    uint32_t max_levels;        /* as in rapt_cascade_rule [4] */
    uint32_t min_shared_tokens; /* [256] */
    uint32_t merge_tokens;      /* [by the plan's heads, dims and types] */
} rapt_cascade_params;

/* A cascade takes max_levels times the tables of a plan, and as much more workspace as the parts of
 * max_levels levels have: 4 * max_levels * max_total_q * n_q_heads * (head_dim_v + 1) bytes.
 * Errors: as rapt_plan_create. Thread-safety: as rapt_plan. */
RAPT_API rapt_status rapt_cascade_create(rapt_device *device, const rapt_cascade_params *params,
                                         rapt_cascade **out_cascade);
/* No command buffer that records it may be pending. */
RAPT_API void rapt_cascade_destroy(rapt_cascade **cascade);
/* The plan inside, for rapt_plan_get_info; it is the cascade's. */
RAPT_API const rapt_plan *rapt_cascade_plan(const rapt_cascade *cascade);

/* The rule it cuts by, merge_tokens and all. */
RAPT_API void rapt_cascade_get_rule(const rapt_cascade *cascade, rapt_cascade_rule *out_rule);

/* As rapt_plan_sizes and rapt_plan_bind. The workspace holds the parts too: it is exclusive from the
 * first item of a record to its merge. */
RAPT_API void rapt_cascade_sizes(const rapt_cascade *cascade, rapt_plan_sizes_info *out_sizes);
RAPT_API rapt_status rapt_cascade_bind(rapt_cascade *cascade, const rapt_plan_memory *memory);

/* As rapt_plan_prepare, for the batch before it is cut: out_step's n_seqs, total_q and n_items are
 * those of all levels. out_info may be NULL. Allocates nothing. Errors: as rapt_plan_prepare and
 * rapt_cascade_split. */
RAPT_API rapt_status rapt_cascade_prepare(rapt_cascade *cascade, const rapt_step_params *params,
                                          rapt_step *out_step, rapt_cascade_info *out_info);
RAPT_API void rapt_cascade_slot_done(rapt_cascade *cascade, uint32_t slot);

/* As rapt_plan_record, with the plan's accesses and ownership: all levels at once, a barrier, the
 * merge, which writes out f32[total_q, Hq, Dv] and lse f32[total_q, Hq] of the batch and adds the
 * sinks. Where nothing is shared and there are no sinks, attention writes out and lse itself.
 * Slices: the merge is recorded with the slice that ends the list, as a plan's is. Last access:
 * COMPUTE_SHADER writes out, lse, workspace. */
RAPT_API rapt_status rapt_cascade_record(rapt_cascade *cascade, const rapt_record_params *params);

#ifdef __cplusplus
}
#endif
#endif
