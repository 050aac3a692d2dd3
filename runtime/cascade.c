/* SPDX-License-Identifier: Apache-2.0 */

/* A plan with room for a batch in levels, and the merge of what they give. */

#include <rapt/cascade.h>

#include "merger.h"
#include "plan.h"
#include "select_cpu.h"

#include "checked.h"
#include "error.h"
#include "kv_format.h"

#include <string.h>

struct slot {
    uint32_t n_levels, generation; /* of the plan's step; 0 = none */
};

struct rapt_cascade {
    rapt_device *device;
    rapt_plan *plan; /* of all levels */
    rapt_merger *merger;
    rapt_cascade_rule rule;
    uint32_t max_batch, max_total_q, max_pages;
    int sinks, lse; /* the caller's flags */
    void *memory;   /* of the split */
    uint64_t memory_bytes;
    uint64_t parts_offset, parts_bytes; /* in the workspace, behind the plan's own */
    rapt_buffer parts;
    struct slot *slots;
};

/* ------------------------------------------------------------------------------------- creation */

static rapt_status check_params(const rapt_plan_params *plan, uint32_t max_levels)
{
    static const struct {
        uint32_t flag;
        const char *why;
    } refused[] = {
        {RAPT_PLAN_BIAS, "RAPT_PLAN_BIAS: rows that share keys have no common place in a bias"},
        {RAPT_PLAN_BLOCKS, "RAPT_PLAN_BLOCKS: lists of key blocks are made for whole sequences"},
        {RAPT_PLAN_MAX_LOGIT, "RAPT_PLAN_MAX_LOGIT: the merge has no maxima"},
        {RAPT_PLAN_UNNORMALISED, "RAPT_PLAN_UNNORMALISED: the merge takes normalised parts"},
        {RAPT_PLAN_APPEND, "RAPT_PLAN_APPEND: rows are appended with an ordinary plan"},
    };
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++)
        if (plan->flags & refused[i].flag)
            return rapt_fail(RAPT_ERROR_ARGUMENT, "plan.flags has %s", refused[i].why);
    if (!(plan->flags & RAPT_PLAN_PAGED))
        return rapt_fail(RAPT_ERROR_ARGUMENT,
                         "plan.flags lacks RAPT_PLAN_PAGED: prefixes are found in block tables");
    if (plan->out_type != RAPT_TYPE_DEFAULT && plan->out_type != RAPT_TYPE_F32)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "plan.out_type is not f32, which the merge writes");
    const rapt_layout *out = &plan->out;
    if (out->outer_stride || out->token_stride || out->head_stride)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "plan.out has strides: the merge's output is dense");
    if (max_levels > RAPT_CASCADE_MAX_LEVELS)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "max_levels is %u: expected 1 to %u", max_levels,
                         RAPT_CASCADE_MAX_LEVELS);
    return RAPT_OK;
}

static uint32_t times(uint32_t a, uint32_t b)
{
    uint64_t product = (uint64_t)a * b;
    return product > UINT32_MAX ? UINT32_MAX : (uint32_t)product;
}

/* The plan of all levels: capacities grow, the output becomes parts. */
static void widen(rapt_plan_params *plan, uint32_t max_levels)
{
    plan->out_type = RAPT_TYPE_F32;
    plan->flags = (plan->flags & ~(uint32_t)RAPT_PLAN_SINKS) | RAPT_PLAN_LSE;
    plan->max_batch = plan->max_batch ? plan->max_batch : 1;
    plan->max_total_q = plan->max_total_q ? plan->max_total_q : plan->max_batch;
    plan->max_batch = times(plan->max_batch, max_levels);
    plan->max_total_q = times(plan->max_total_q, max_levels);
    plan->max_work_items = times(plan->max_work_items, max_levels);
    plan->max_partial_rows = times(plan->max_partial_rows, max_levels);
}

/* Keys whose rows take as many bytes as a partial result of a query token: Q read once more, the
 * part and its lse written and read. */
static uint32_t merge_tokens(const rapt_plan_params *p)
{
    uint64_t unit = rapt_kv_unit(p->kv_type), q_bytes = rapt_type_bytes(p->q_type);
    uint64_t key = p->n_kv_heads * unit *
                   (rapt_kv_row(p->kv_type, p->head_dim) + rapt_kv_row(p->kv_type, p->head_dim_v));
    uint64_t part = p->n_q_heads * (8ull * p->head_dim_v + 8 + q_bytes * p->head_dim);
    return (uint32_t)((part + key - 1) / key);
}

static rapt_status place_parts(rapt_cascade *cascade)
{
    const rapt_plan_params *p = &cascade->plan->params;
    const rapt_caps *caps = &cascade->device->caps;
    uint64_t rows = (uint64_t)p->max_total_q * p->n_q_heads;
    uint64_t bytes = rapt_mul_sat(rows, 4 * (uint64_t)p->head_dim_v);
    uint64_t alignment = cascade->plan->places.alignment;
    if (bytes > caps->max_storage_buffer_range || bytes / 4 > UINT32_MAX)
        return rapt_fail(RAPT_ERROR_ARGUMENT,
                         "the parts of %u query tokens on %u levels take %llu bytes, more than the "
                         "%llu a merge can reach: lower max_total_q or max_levels",
                         cascade->max_total_q, cascade->rule.max_levels, (unsigned long long)bytes,
                         (unsigned long long)caps->max_storage_buffer_range);
    cascade->parts_offset =
        (cascade->plan->places.workspace_bytes + alignment - 1) / alignment * alignment;
    cascade->parts_bytes = bytes + rows * 4;
    return RAPT_OK;
}

/* Rows that share a prefix fill larger tiles. */
static rapt_status choose_tile(const rapt_device *device, rapt_plan_params *wide)
{
    rapt_plan_params checked;
    struct rapt_select_request request;
    rapt_status status = rapt_plan_params_check(wide, &checked);
    if (status != RAPT_OK)
        return status;
    rapt_plan_request(&checked, &request);
    uint32_t block_q = rapt_select_cpu_shared(&device->caps, &request);
    wide->block_q = block_q ? block_q : wide->block_q;
    return RAPT_OK;
}

static rapt_status create(rapt_cascade *cascade, const rapt_plan_params *plan)
{
    const rapt_allocator *allocator = cascade->device->allocator;
    rapt_plan_params wide = *plan;
    widen(&wide, cascade->rule.max_levels);
    rapt_status status = choose_tile(cascade->device, &wide);
    if (status == RAPT_OK)
        status = rapt_plan_create(cascade->device, &wide, &cascade->plan);
    if (status != RAPT_OK)
        return status;
    const rapt_plan_params *checked = &cascade->plan->params;
    cascade->max_batch = checked->max_batch / cascade->rule.max_levels;
    cascade->max_total_q = checked->max_total_q / cascade->rule.max_levels;
    cascade->max_pages = checked->max_pages;
    cascade->rule.page_size = checked->page_size;
    cascade->rule.q = checked->q;
    if (cascade->rule.merge_tokens == 0)
        cascade->rule.merge_tokens = merge_tokens(checked);
    status = place_parts(cascade);
    if (status != RAPT_OK)
        return status;
    cascade->memory_bytes = rapt_cascade_split_bytes(&cascade->rule, cascade->max_batch,
                                                     cascade->max_total_q, cascade->max_pages);
    cascade->memory = rapt_alloc(allocator, 1, (size_t)cascade->memory_bytes);
    cascade->slots = rapt_alloc(allocator, checked->n_steps_in_flight, sizeof *cascade->slots);
    if (!cascade->memory || !cascade->slots)
        return rapt_fail(RAPT_ERROR_HOST_MEMORY, "no memory for a batch of %u in levels",
                         cascade->max_batch);
    return rapt_merger_create_slots(cascade->device, checked->n_steps_in_flight,
                                    checked->max_records_per_step, &cascade->merger);
}

rapt_status rapt_cascade_create(rapt_device *device, const rapt_cascade_params *params,
                                rapt_cascade **out_cascade)
{
    rapt_cascade_params p;
    rapt_plan_params plan;
    if (!device || !out_cascade)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s is NULL", device ? "out_cascade" : "device");
    *out_cascade = NULL;
    rapt_status status = rapt_params_read("rapt_cascade_params", params, &p, sizeof p);
    if (status == RAPT_OK)
        status = rapt_params_read("rapt_plan_params", p.plan, &plan, sizeof plan);
    if (status == RAPT_OK)
        status = check_params(&plan, p.max_levels);
    if (status != RAPT_OK)
        return status;
    rapt_cascade *cascade = rapt_alloc(device->allocator, 1, sizeof *cascade);
    if (!cascade)
        return rapt_fail(RAPT_ERROR_HOST_MEMORY, "no memory for a cascade");
    cascade->device = device;
    cascade->sinks = (plan.flags & RAPT_PLAN_SINKS) != 0;
    cascade->lse = (plan.flags & RAPT_PLAN_LSE) != 0;
    cascade->rule = (rapt_cascade_rule){.struct_size = sizeof cascade->rule,
                                        .max_levels = p.max_levels ? p.max_levels : 4,
                                        .min_shared_tokens =
                                            p.min_shared_tokens ? p.min_shared_tokens : 256,
                                        .merge_tokens = p.merge_tokens};
    status = create(cascade, &plan);
    if (status != RAPT_OK) {
        rapt_cascade_destroy(&cascade);
        return status;
    }
    *out_cascade = cascade;
    return RAPT_OK;
}

void rapt_cascade_destroy(rapt_cascade **cascade)
{
    if (!cascade || !*cascade)
        return;
    rapt_cascade *c = *cascade;
    rapt_merger_destroy(&c->merger);
    rapt_plan_destroy(&c->plan);
    rapt_free(c->device->allocator, c->memory);
    rapt_free(c->device->allocator, c->slots);
    rapt_free(c->device->allocator, c);
    *cascade = NULL;
}

const rapt_plan *rapt_cascade_plan(const rapt_cascade *cascade)
{
    return cascade ? cascade->plan : NULL;
}

void rapt_cascade_get_rule(const rapt_cascade *cascade, rapt_cascade_rule *out_rule)
{
    if (cascade && out_rule)
        rapt_params_write(out_rule, &cascade->rule, sizeof cascade->rule);
}

/* --------------------------------------------------------------------------------------- memory */

void rapt_cascade_sizes(const rapt_cascade *cascade, rapt_plan_sizes_info *out_sizes)
{
    if (!cascade || !out_sizes)
        return;
    rapt_plan_sizes_info sizes = {.struct_size = sizeof sizes};
    rapt_plan_sizes(cascade->plan, &sizes);
    sizes.workspace_bytes = cascade->parts_offset + cascade->parts_bytes;
    rapt_params_write(out_sizes, &sizes, sizeof sizes);
}

rapt_status rapt_cascade_bind(rapt_cascade *cascade, const rapt_plan_memory *memory)
{
    if (!cascade)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "cascade is NULL");
    rapt_plan_memory own;
    rapt_status status = rapt_params_read("rapt_plan_memory", memory, &own, sizeof own);
    if (status != RAPT_OK)
        return status;
    uint64_t needed = cascade->parts_offset + cascade->parts_bytes;
    if (own.workspace.buffer && own.workspace.size < needed)
        return rapt_fail(RAPT_ERROR_SHAPE,
                         "workspace.size is %llu: rapt_cascade_sizes asks for %llu",
                         (unsigned long long)own.workspace.size, (unsigned long long)needed);
    own.workspace.size = cascade->parts_offset;
    status = rapt_plan_bind(cascade->plan, &own);
    if (status != RAPT_OK)
        return status;
    cascade->parts = (rapt_buffer){
        own.workspace.buffer, own.workspace.offset + cascade->parts_offset, cascade->parts_bytes};
    return RAPT_OK;
}

/* ---------------------------------------------------------------------------------------- steps */

rapt_status rapt_cascade_prepare(rapt_cascade *cascade, const rapt_step_params *params,
                                 rapt_step *out_step, rapt_cascade_info *out_info)
{
    rapt_step_params step, cut = {.struct_size = sizeof cut};
    rapt_cascade_info info = {.struct_size = sizeof info};
    if (!cascade || !out_step)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s is NULL", cascade ? "out_step" : "cascade");
    rapt_status status = rapt_params_read("rapt_step_params", params, &step, sizeof step);
    if (status != RAPT_OK)
        return status;
    if (step.n_seqs > cascade->max_batch)
        return rapt_fail(RAPT_ERROR_CAPACITY, "n_seqs is %u: the plan holds %u (max_batch)",
                         step.n_seqs, cascade->max_batch);
    /* what the split asks for is checked there; this is what it says when the memory is too small
     */
    status = rapt_cascade_split(&cascade->rule, &step, cascade->memory, cascade->memory_bytes, &cut,
                                &info);
    if (status == RAPT_ERROR_CAPACITY)
        return rapt_fail(status,
                         "the step has %d query tokens and %u page ids: the plan holds %u and %u "
                         "(max_total_q, max_pages)",
                         step.cu_q[step.n_seqs], step.page_indptr[step.n_seqs],
                         cascade->max_total_q, cascade->max_pages);
    if (status != RAPT_OK)
        return status;
    if (info.total_q > cascade->max_total_q)
        return rapt_fail(RAPT_ERROR_CAPACITY,
                         "the step has %u query tokens: the plan holds %u (max_total_q)",
                         info.total_q, cascade->max_total_q);
    status = rapt_plan_prepare(cascade->plan, &cut, out_step);
    if (status != RAPT_OK)
        return status;
    struct slot *slot = &cascade->slots[cut.slot];
    slot->n_levels = info.n_levels;
    slot->generation = cascade->plan->slots[cut.slot].step.generation;
    rapt_merger_reset_slot(cascade->merger, cut.slot);
    if (out_info)
        rapt_params_write(out_info, &info, sizeof info);
    return RAPT_OK;
}

void rapt_cascade_slot_done(rapt_cascade *cascade, uint32_t slot)
{
    if (!cascade || slot >= cascade->plan->params.n_steps_in_flight)
        return;
    rapt_plan_slot_done(cascade->plan, slot);
    rapt_merger_reset_slot(cascade->merger, slot);
}

/* Whether this record ends the step's list, as rapt_plan_record has it. */
static int ends(const rapt_record_params *r, const rapt_step *step)
{
    if (r->only_merge)
        return 1;
    int all = r->first_item == 0 && r->n_items == 0;
    return !r->no_merge && (all || (uint64_t)r->first_item + r->n_items == step->n_items);
}

/* The parts of a step: [n_levels, total_q * Hq, Dv], their lse behind them. */
static void describe_merge(const rapt_cascade *cascade, const rapt_record_params *r,
                           const struct slot *slot, rapt_merge_params *out_merge)
{
    const rapt_plan_params *p = &cascade->plan->params;
    uint64_t rows = (uint64_t)cascade->plan->slots[r->step->slot].step.total_q * p->n_q_heads;
    rapt_buffer parts = cascade->parts, lse = cascade->parts;
    parts.size = rows * p->head_dim_v * 4;
    lse.offset += parts.size;
    lse.size = rows * 4;
    *out_merge = (rapt_merge_params){
        .struct_size = sizeof *out_merge,
        .command_buffer = r->command_buffer,
        .n_parts = slot->n_levels,
        .n_rows = (uint32_t)(rows / slot->n_levels),
        .n_q_heads = p->n_q_heads,
        .head_dim_v = p->head_dim_v,
        .parts = parts,
        .parts_lse = lse,
        .out = r->out,
    };
    if (cascade->sinks)
        out_merge->sinks = r->sinks;
    if (cascade->lse)
        out_merge->lse = r->lse;
}

rapt_status rapt_cascade_record(rapt_cascade *cascade, const rapt_record_params *params)
{
    rapt_record_params r;
    if (!cascade)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "cascade is NULL");
    rapt_plan *plan = cascade->plan;
    rapt_status status = rapt_params_read("rapt_record_params", params, &r, sizeof r);
    if (status != RAPT_OK)
        return status;
    const rapt_step *step = r.step;
    if (!step || step->slot >= plan->params.n_steps_in_flight || step->generation == 0 ||
        step->generation != cascade->slots[step->slot].generation ||
        step->generation != plan->slots[step->slot].step.generation)
        return rapt_fail(RAPT_ERROR_ARGUMENT,
                         "step is not what rapt_cascade_prepare last made of a slot");
    const struct slot *slot = &cascade->slots[step->slot];
    if (cascade->sinks && !r.sinks.buffer)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "sinks.buffer is NULL");
    if (cascade->lse && !r.lse.buffer && plan->slots[step->slot].step.total_q)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "lse.buffer is NULL");
    struct rapt_merge merge = {0};
    rapt_merge_params merged;
    describe_merge(cascade, &r, slot, &merged);
    /* one level is the result, unless the sinks are missing; its lse is written somewhere */
    int direct = slot->n_levels == 1 && !cascade->sinks;
    if (!direct) {
        status = rapt_merger_check(cascade->merger, step->slot, &merged, &merge);
        r.out = merged.parts;
    }
    if (!direct || !cascade->lse)
        r.lse = merged.parts_lse;
    if (status == RAPT_OK)
        status = rapt_plan_record(plan, &r);
    if (status != RAPT_OK || !ends(&r, &plan->slots[step->slot].step))
        return status;
    if (!direct) {
        rapt_device_barrier(cascade->device, r.command_buffer);
        status = rapt_merger_dispatch(cascade->merger, step->slot, r.command_buffer, &merge);
    }
    if (!direct || !cascade->lse) /* the next record writes there again */
        rapt_device_barrier(cascade->device, r.command_buffer);
    return status;
}
