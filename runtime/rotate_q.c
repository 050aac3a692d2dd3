/* SPDX-License-Identifier: Apache-2.0 */
#include "rotate_q.h"

#include "checked.h"
#include "error.h"
#include "kernel_table.h"
#include "plan.h"
#include "step_inputs.h"

#include <string.h>

int rapt_rotate_q_is_used(const rapt_plan_params *params, const struct rapt_selection *selection)
{
    return selection->cpu && (params->flags & RAPT_PLAN_ROPE_Q);
}

uint64_t rapt_rotate_q_words(const rapt_plan_params *params)
{
    return (uint64_t)params->max_total_q * params->n_q_heads * params->head_dim;
}

uint64_t rapt_rotate_q_step_words(const rapt_plan_params *params)
{
    return 2ull * params->max_batch;
}

rapt_status rapt_rotate_q_create(rapt_plan *plan)
{
    rapt_device *device = plan->device;
    const rapt_plan_params *p = &plan->params;
    struct rapt_append *rotate = &plan->rotate_q;
    memset(rotate, 0, sizeof *rotate);
    rotate->choice.kernel = -1;
    if (!plan->rotates_first)
        return RAPT_OK;
    rapt_status status = rapt_select_rotate_q(&device->caps, p, &rotate->choice);
    if (status != RAPT_OK)
        return status;
    rotate->by_address =
        !(rapt_kernel_bindings(rotate->choice.kernel) & 1u << RAPT_BIND_STEP);
    status = rapt_pipeline_create(device, &rotate->choice, rapt_kernel_name(rotate->choice.kernel),
                                  &rotate->pipeline);
    struct rapt_pipeline *pipelines[1] = {&rotate->pipeline};
    if (status == RAPT_OK)
        status = rapt_sets_create(device, pipelines, 1, p->n_steps_in_flight,
                                  p->max_records_per_step, &rotate->sets);
    return status;
}

rapt_buffer rapt_rotate_q_range(const rapt_plan *plan, uint32_t total_q)
{
    rapt_buffer range = plan->memory.workspace;
    range.offset += 4ull * plan->places.rotated_q;
    range.size = 4ull * total_q * plan->params.n_q_heads * plan->params.head_dim;
    return range;
}

static rapt_buffer bound(const rapt_plan *plan, const rapt_buffer *buffer, uint64_t n_bytes,
                         uint32_t *out_rest)
{
    uint32_t alignment = plan->device->caps.storage_buffer_alignment;
    *out_rest = alignment > 1 ? (uint32_t)(buffer->offset % alignment) : 0;
    n_bytes += (4 - n_bytes % 4) % 4;
    n_bytes = n_bytes < buffer->size ? n_bytes : buffer->size;
    return (rapt_buffer){buffer->buffer, buffer->offset - *out_rest, n_bytes + *out_rest};
}

static void put_address(const rapt_plan *plan, const rapt_buffer *buffer, RAPT_U *lo, RAPT_U *hi)
{
    uint64_t address = rapt_plan_address(plan->device, buffer);
    *lo = (uint32_t)address;
    *hi = (uint32_t)(address >> 32);
}

rapt_status rapt_rotate_q_check(rapt_plan *plan, const rapt_record_params *params,
                                struct rapt_rotate_q *out_dispatch)
{
    const rapt_plan_params *p = &plan->params;
    const struct rapt_append *rotate = &plan->rotate_q;
    const struct rapt_plan_slot *slot = &plan->slots[params->step->slot];
    const rapt_rope *rope = &plan->rotation.rope;
    struct rapt_push *push = &out_dispatch->push;
    struct rapt_bindings *b = &out_dispatch->bindings;
    memset(out_dispatch, 0, sizeof *out_dispatch);
    rapt_buffer tables = rapt_step_tables(plan, params->step->slot);
    rapt_buffer rotated = rapt_rotate_q_range(plan, slot->step.total_q);
    uint64_t lanes = (uint64_t)slot->step.total_q * (p->head_dim - rope->rotary_dim / 2);
    uint64_t groups = (lanes + rotate->choice.workgroup_size - 1) / rotate->choice.workgroup_size;
    if (groups > (uint64_t)RAPT_GRID_X * plan->device->caps.max_workgroup_count[1])
        return rapt_fail(RAPT_ERROR_CAPACITY, "%u queries are more than a dispatch of %s can hold",
                         slot->step.total_q, plan->device->caps.device_name);
    push->count = (uint32_t)groups;
    push->rapt_append_k_token_stride = (uint32_t)p->q.token_stride;
    push->rapt_append_k_head_stride = (uint32_t)p->q.head_stride;
    push->rapt_rotate_bases_word = plan->places.q_bases;
    if (rotate->by_address) {
        put_address(plan, &tables, &push->step_lo, &push->step_hi);
        put_address(plan, &params->q, &push->q_lo, &push->q_hi);
        put_address(plan, &rotated, &push->out_lo, &push->out_hi);
        put_address(plan, &params->rope_table, &push->rapt_rotate_rope_lo,
                    &push->rapt_rotate_rope_hi);
    } else {
        uint32_t q_bytes = (uint32_t)rapt_type_bytes(p->q_type), rest, work_rest;
        b->fallback = b->buffers[RAPT_BIND_STEP] = tables;
        b->buffers[RAPT_BIND_Q] =
            bound(plan, &params->q, rapt_mul_sat(slot->needs.q, q_bytes), &rest);
        b->buffers[RAPT_BIND_WORK] = bound(plan, &rotated, rotated.size, &work_rest);
        if (rope->n_table_positions)
            b->buffers[RAPT_BIND_ROPE] = params->rope_table;
        push->q_base = rest / q_bytes;
        push->out_base = work_rest / 4;
    }
    rapt_status status = rapt_bindings_check(plan->device, &rotate->pipeline, b);
    if (status == RAPT_OK && rapt_sets_left(&rotate->sets, params->step->slot, 0) == 0)
        status = rapt_fail(RAPT_ERROR_CAPACITY,
                           "this is record %u of the step: the plan was made for %u "
                           "(max_records_per_step)",
                           p->max_records_per_step + 1, p->max_records_per_step);
    return status;
}

rapt_status rapt_rotate_q_record(rapt_plan *plan, const rapt_record_params *params,
                                 const struct rapt_rotate_q *dispatch)
{
    return rapt_pipeline_dispatch(plan->device, &plan->rotate_q.pipeline, &plan->rotate_q.sets,
                                  params->step->slot, 0, params->command_buffer,
                                  &dispatch->bindings, &dispatch->push, dispatch->push.count);
}
