/* SPDX-License-Identifier: Apache-2.0 */

/* rapt_plan_record_append: checks the buffers of a layer's new rows and of its cache, then appends
 * one dispatch for each piece of the pools and a barrier. Everything that can fail is asked before
 * the first command. */

#include "append.h"

#include "checked.h"
#include "error.h"
#include "kernel_table.h"
#include "plan.h"
#include "step_inputs.h"

#include <string.h>

/* ------------------------------------------------------------------------------------- creation */

static uint32_t n_pieces(const rapt_plan_params *params)
{
    return params->n_kv_segments > 1 ? params->n_kv_segments : 1;
}

rapt_status rapt_append_create(rapt_device *device, const rapt_plan_params *params, int force,
                               struct rapt_append *out_append)
{
    memset(out_append, 0, sizeof *out_append);
    out_append->choice.kernel = -1;
    if (!(params->flags & RAPT_PLAN_APPEND))
        return RAPT_OK;
    struct rapt_kernel_choice *choice = &out_append->choice;
    rapt_status status = rapt_select_append(&device->caps, params, force, choice);
    if (status != RAPT_OK)
        return status;
    status = rapt_pipeline_create(device, choice, rapt_kernel_name(choice->kernel),
                                  &out_append->pipeline);
    struct rapt_pipeline *pipelines[1] = {&out_append->pipeline};
    if (status == RAPT_OK)
        status = rapt_sets_create(device, pipelines, 1, params->n_steps_in_flight,
                                  params->max_records_per_step * n_pieces(params),
                                  &out_append->sets);
    return status;
}

void rapt_append_finish(rapt_device *device, struct rapt_append *append)
{
    rapt_sets_finish(device, &append->sets);
    rapt_pipeline_finish(device, &append->pipeline);
}

/* --------------------------------------------------------------------------------------- checks */

/* What one tensor of the record has to hold. */
struct part {
    const char *name;
    const rapt_buffer *buffer;
    uint64_t n_bytes;
    uint32_t unit; /* bytes of what the kernel counts in */
    uint32_t bind; /* RAPT_BIND_* */
    int written;
};

#define N_PARTS 7

/* `piece`: of the pools. */
static void list_parts(const rapt_plan *plan, const struct rapt_plan_needs *needs,
                       const rapt_append_params *a, uint32_t piece, struct part parts[N_PARTS])
{
    static const char *const names[2][4] = {
        {"k", "k_segments[0]", "k_segments[1]", "k_segments[2]"},
        {"v", "v_segments[0]", "v_segments[1]", "v_segments[2]"},
    };
    const rapt_buffer *k = piece ? &a->k_segments[piece - 1] : &a->k;
    const rapt_buffer *v = piece ? &a->v_segments[piece - 1] : &a->v;
    uint64_t k_needs = piece ? needs->k_pieces[piece - 1] : needs->k;
    uint64_t v_needs = piece ? needs->v_pieces[piece - 1] : needs->v;
    const rapt_plan_params *p = &plan->params;
    uint32_t new_bytes = (uint32_t)rapt_type_bytes(p->new_type);
    uint32_t kv_bytes = (uint32_t)rapt_type_bytes(p->kv_type);
    uint32_t scale_bytes = p->kv_type == RAPT_TYPE_INT4 ? 2u : (uint32_t)rapt_type_bytes(p->scale_type);
    uint64_t table = (uint64_t)plan->rotation.rope.n_table_positions * plan->rotation.rope.rotary_dim;
    kv_bytes = kv_bytes ? kv_bytes : 1; /* quantized kinds are counted in bytes */
    scale_bytes = scale_bytes ? scale_bytes : 4;
    const struct part all[N_PARTS] = {
        {"k_new", &a->k_new, rapt_mul_sat(needs->k_new, new_bytes), new_bytes, RAPT_BIND_K_NEW, 0},
        {"v_new", &a->v_new, rapt_mul_sat(needs->v_new, new_bytes), new_bytes, RAPT_BIND_V_NEW, 0},
        {names[0][piece], k, rapt_mul_sat(k_needs, kv_bytes), kv_bytes, RAPT_BIND_K, 1},
        {names[1][piece], v, rapt_mul_sat(v_needs, kv_bytes), kv_bytes, RAPT_BIND_V, 1},
        {"k_scale", &a->k_scale, rapt_mul_sat(needs->k_scale, scale_bytes), scale_bytes,
         RAPT_BIND_K_SCALE, 1},
        {"v_scale", &a->v_scale, rapt_mul_sat(needs->v_scale, scale_bytes), scale_bytes,
         RAPT_BIND_V_SCALE, 1},
        {"rope_table", &a->rope_table, table * 4, 4, RAPT_BIND_ROPE, 0},
    };
    memcpy(parts, all, sizeof all);
}

static rapt_status check_part(const rapt_plan *plan, const struct part *part)
{
    uint32_t alignment = part->bind == RAPT_BIND_ROPE ? plan->device->caps.storage_buffer_alignment
                                                      : 4;
    if (part->n_bytes == 0)
        return RAPT_OK;
    if (!part->buffer->buffer)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s.buffer is NULL: the step needs %llu bytes of it",
                         part->name, (unsigned long long)part->n_bytes);
    if (part->buffer->offset % (alignment ? alignment : 1) != 0 || part->buffer->offset % 4 != 0)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s.offset is %llu: expected a multiple of %u bytes",
                         part->name, (unsigned long long)part->buffer->offset,
                         alignment > 4 ? alignment : 4);
    if (part->buffer->size < part->n_bytes)
        return rapt_fail(RAPT_ERROR_SHAPE, "%s.size is %llu: the step reaches to byte %llu",
                         part->name, (unsigned long long)part->buffer->size,
                         (unsigned long long)part->n_bytes);
    /* Rows are written as words: the one the last byte lies in must be there as a whole. */
    if (part->written && part->n_bytes % 4 != 0 &&
        part->buffer->size < part->n_bytes + 4 - part->n_bytes % 4)
        return rapt_fail(RAPT_ERROR_SHAPE,
                         "%s.size is %llu: its last word is written, so it must be %llu", part->name,
                         (unsigned long long)part->buffer->size,
                         (unsigned long long)(part->n_bytes + 4 - part->n_bytes % 4));
    if (part->n_bytes / part->unit > UINT32_MAX)
        return rapt_fail(RAPT_ERROR_SHAPE, "%s reaches to element %llu: this plan's kernels index "
                                           "2^32",
                         part->name, (unsigned long long)(part->n_bytes / part->unit));
    return RAPT_OK;
}

static rapt_status check_step(const rapt_plan *plan, const rapt_append_params *a)
{
    if (plan->append.choice.kernel < 0)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "the plan has no RAPT_PLAN_APPEND");
    rapt_status status = rapt_step_check(plan, a->command_buffer, a->step);
    uint32_t no_append = status ? 0 : plan->slots[a->step->slot].needs.no_append;
    if (no_append)
        return rapt_fail(RAPT_ERROR_SHAPE,
                         "sequence %u has more queries than keys: every query's key is appended, so "
                         "it is counted in kv_len",
                         no_append - 1);
    return status;
}

/* ---------------------------------------------------------------------------------- the dispatch */

static uint64_t words_of(const struct part *part)
{
    uint64_t n_bytes = part->n_bytes + (4 - part->n_bytes % 4) % 4;
    return n_bytes <= part->buffer->size ? n_bytes : part->n_bytes;
}

static uint32_t bind(const rapt_plan *plan, const struct part *part, rapt_buffer *out_bound)
{
    uint32_t alignment = plan->device->caps.storage_buffer_alignment;
    if (part->n_bytes == 0)
        return 0;
    uint32_t rest = alignment > 1 ? (uint32_t)(part->buffer->offset % alignment) : 0;
    *out_bound = (rapt_buffer){part->buffer->buffer, part->buffer->offset - rest,
                               words_of(part) + rest};
    return rest / part->unit;
}

static void fill_bindings(const rapt_plan *plan, const struct part *parts, uint32_t slot,
                          struct rapt_bindings *bindings, struct rapt_push *push)
{
    rapt_buffer tables = rapt_step_tables(plan, slot);
    bindings->buffers[RAPT_BIND_STEP] = tables;
    bindings->fallback = tables; /* what is not there is neither read nor written */
    uint32_t bases[N_PARTS];
    for (int i = 0; i < N_PARTS; i++)
        bases[i] = bind(plan, &parts[i], &bindings->buffers[parts[i].bind]);
    push->q_base = bases[0];
    push->out_base = bases[1];
    push->k_base = bases[2];
    push->v_base = bases[3];
    push->k_scale_lo = bases[4];
    push->v_scale_lo = bases[5];
}

static void fill_strides(const rapt_plan_params *p, struct rapt_push *push)
{
    push->rapt_append_k_token_stride = (uint32_t)p->k_new.token_stride;
    push->rapt_append_k_head_stride = (uint32_t)p->k_new.head_stride;
    push->rapt_append_k_outer_stride = (uint32_t)p->k_new.outer_stride;
    push->rapt_append_v_token_stride = (uint32_t)p->v_new.token_stride;
    push->rapt_append_v_head_stride = (uint32_t)p->v_new.head_stride;
    push->rapt_append_v_outer_stride = (uint32_t)p->v_new.outer_stride;
}

/* Workgroups that K, or V, takes: units in teams. */
static uint64_t n_groups(const rapt_plan *plan, uint32_t total_q)
{
    const struct rapt_kernel_choice *choice = &plan->append.choice;
    int whole = plan->params.scale_kind == RAPT_SCALE_TOKEN &&
                plan->params.kv_type == RAPT_TYPE_INT8; /* a unit is a token */
    uint32_t span = choice->spec[RAPT_SPEC_TILE_C];
    uint64_t units = (uint64_t)total_q * (whole ? 1 : (plan->params.n_kv_heads + span - 1) / span);
    return (units + choice->rows - 1) / choice->rows;
}

/* One piece's dispatch, ready. */
struct piece {
    struct part parts[N_PARTS];
    struct rapt_bindings bindings;
    struct rapt_push push;
};

static rapt_status make_piece(const rapt_plan *plan, const rapt_append_params *a, uint32_t n_piece,
                              uint32_t groups, struct piece *piece)
{
    const struct rapt_append *append = &plan->append;
    memset(piece, 0, sizeof *piece);
    list_parts(plan, &plan->slots[a->step->slot].needs, a, n_piece, piece->parts);
    for (int i = 0; i < N_PARTS; i++) {
        rapt_status status = check_part(plan, &piece->parts[i]);
        if (status != RAPT_OK)
            return status;
    }
    fill_bindings(plan, piece->parts, a->step->slot, &piece->bindings, &piece->push);
    fill_strides(&plan->params, &piece->push);
    piece->push.rapt_append_piece = n_piece;
    piece->push.rapt_append_k_groups = groups;
    piece->push.count = 2 * groups;
    return rapt_bindings_check(plan->device, &append->pipeline, &piece->bindings);
}

rapt_status rapt_plan_record_append(rapt_plan *plan, const rapt_append_params *params)
{
    rapt_append_params a;
    struct piece pieces[4];
    if (!plan)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "plan is NULL");
    rapt_status status = rapt_params_read("rapt_append_params", params, &a, sizeof a);
    if (status == RAPT_OK)
        status = check_step(plan, &a);
    if (status != RAPT_OK)
        return status;
    struct rapt_plan_slot *slot = &plan->slots[a.step->slot];
    struct rapt_append *append = &plan->append;
    uint32_t n = n_pieces(&plan->params);
    uint64_t groups = n_groups(plan, slot->step.total_q);
    if (2 * groups > (uint64_t)RAPT_GRID_X * plan->device->caps.max_workgroup_count[1])
        return rapt_fail(RAPT_ERROR_CAPACITY,
                         "%u new tokens are more than a dispatch of %s can hold",
                         slot->step.total_q, plan->device->caps.device_name);
    for (uint32_t i = 0; i < n && status == RAPT_OK; i++)
        status = make_piece(plan, &a, i, (uint32_t)groups, &pieces[i]);
    if (status != RAPT_OK || groups == 0)
        return status;
    if (rapt_sets_left(&append->sets, a.step->slot, 0) < n)
        return rapt_fail(RAPT_ERROR_CAPACITY,
                         "this is append %u of the step: the plan was made for %u "
                         "(max_records_per_step)",
                         plan->params.max_records_per_step + 1, plan->params.max_records_per_step);
    rapt_device_begin_label(plan->device, a.command_buffer, "rapt append");
    slot->recorded = 1;
    for (uint32_t i = 0; i < n && status == RAPT_OK; i++)
        status = rapt_pipeline_dispatch(plan->device, &append->pipeline, &append->sets, a.step->slot,
                                        0, a.command_buffer, &pieces[i].bindings, &pieces[i].push,
                                        pieces[i].push.count);
    rapt_device_barrier(plan->device, a.command_buffer);
    rapt_device_end_label(plan->device, a.command_buffer);
    return status;
}
