/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_PLAN_H
#define RUNTIME_PLAN_H

/* The inside of a plan, for plan.c, prepare.c, record.c and tests. */

#include "append.h"
#include "device.h"
#include "lists.h"
#include "pipeline.h"
#include "rotate_q.h"
#include "rotation.h"
#include "select.h"
#include "work.h"

enum plan_pipeline {
    PLAN_PREFILL,
    PLAN_DECODE,
    PLAN_MERGE,
    PLAN_STAGE,
    PLAN_REDUCE,
    PLAN_LISTS,
    PLAN_FEW,
    PLAN_N_PIPELINES
};

/* Elements a step reads or writes, counted from each tensor's buffer offset: what record checks the
 * buffers against. Those of quantized K and V are bytes. */
struct rapt_plan_needs {
    uint64_t q, k, v, out, bias;
    uint64_t k_scale, v_scale;
    uint64_t k_pieces[3], v_pieces[3]; /* pieces 1 to 3 of the pools; k and v are piece 0 */
    uint64_t k_new, v_new;
    uint32_t no_append; /* 1 + the first sequence with more queries than keys, 0 = none */
};

/* Descriptor sets of an object that stands beside the plan (rapt/sparse.h) and records its steps. */
struct rapt_plan_guest {
    struct rapt_plan_guest *next;
    struct rapt_sets sets; /* a slot each */
};

struct rapt_plan_slot {
    rapt_step step;
    uint64_t total_kv; /* keys of all sequences */
    uint32_t max_kv_len, max_q_len, n_pool_pages;
    struct rapt_work_round *rounds;
    struct rapt_plan_needs needs;
    uint32_t n_stages;
    struct rapt_plan_lists lists; /* `table` is not kept */
    int recorded; /* since the last rapt_plan_slot_done */
};

/* Where things lie in a slot and in the workspace, in 32-bit words. */
struct rapt_plan_places {
    uint32_t seqs, items, merges, stages, q_pos, pages, rope, rope_pos, q_bases, spans, bits;
    uint64_t slot_bytes, table_bytes, workspace_bytes;
    uint32_t partial_o, partial_ml, stage_k, stage_v, rotated_q;
    uint32_t alignment; /* of slots and of the workspace */
};

struct rapt_plan {
    rapt_device *device;
    rapt_plan_params params; /* defaults filled in, layouts too */
    struct rapt_selection selection;
    struct rapt_work_params work;
    struct rapt_work_bounds bounds;
    struct rapt_plan_places places;
    uint32_t features; /* RAPT_FEAT_* every step wants */
    int narrow;        /* attention reads tensors through descriptors: 32-bit element indices */
    int narrow_out;    /* some kernel writes the output through a descriptor */
    int wide;          /* some kernel goes by address */
    int rotates_first; /* queries are rotated into the workspace, ahead of attention */

    struct rapt_pipeline pipelines[PLAN_N_PIPELINES];
    /* The pipeline whose buffers serve this one too, because their layouts are compatible and they
     * bind the same: itself, or an earlier one. Only those have sets. */
    uint32_t bound_with[PLAN_N_PIPELINES];
    struct rapt_sets sets;
    struct rapt_append append, rotate_q;
    struct rapt_rotation rotation;
    struct rapt_plan_slot *slots;
    struct rapt_plan_guest *guests;
    uint32_t *list_rows, *list_sets; /* RAPT_PLAN_BLOCKS: [max_batch], [n_groups], of the step that is
                                        prepared */

    rapt_plan_memory memory;
    uint64_t tables_address, workspace_address;
    uint32_t generation;
};

/* Reads, checks and completes a caller's params: pure. Messages name the members. */
rapt_status rapt_plan_params_check(const rapt_plan_params *caller, rapt_plan_params *out_params);
/* The checked params' RAPT_FEAT_* bits and the question for rapt_select. */
uint32_t rapt_plan_features(const rapt_plan_params *params);
void rapt_plan_request(const rapt_plan_params *params, struct rapt_select_request *out_request);

/* As rapt_plan_create, with the prefill and decode kernels named (RAPT_KERNEL_* + 1, 0 = choose):
 * how the kernel checks reach every row. force_prefill -1: none of attention's pipelines is
 * made, for checks of the rest. */
rapt_status rapt_plan_create_forced(rapt_device *device, const rapt_plan_params *params,
                                    int force_prefill, int force_decode, rapt_plan **out_plan);

void rapt_plan_add_guest(rapt_plan *plan, struct rapt_plan_guest *guest);
/* One that was never added may be removed too. */
void rapt_plan_remove_guest(rapt_plan *plan, struct rapt_plan_guest *guest);
/* Nothing pending uses the slot's sets any more: the plan's and its guests'. */
void rapt_plan_reset_sets(rapt_plan *plan, uint32_t slot);

/* Address of a buffer's byte `offset`, 0 for a NULL buffer. */
uint64_t rapt_plan_address(const rapt_device *device, const rapt_buffer *buffer);

#endif
