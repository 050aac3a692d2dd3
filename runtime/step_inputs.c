/* SPDX-License-Identifier: Apache-2.0 */
#include "step_inputs.h"

#include "error.h"
#include "plan.h"

struct rapt_batch rapt_step_batch(const rapt_step_params *step, uint32_t page_size)
{
    return (struct rapt_batch){
        .n_seqs = step->n_seqs,
        .cu_q = step->cu_q,
        .cu_kv = step->cu_kv,
        .page_size = page_size,
        .page_indptr = step->page_indptr,
        .page_indices = step->page_indices,
        .last_page_len = step->last_page_len,
        .n_pool_pages = page_size ? step->n_pool_pages : 0,
        .q_pos0 = step->q_pos0,
        .q_pos = step->q_pos,
        .kv_pos0 = step->kv_pos0,
        .mask = step->mask,
        .prefix = step->prefix,
    };
}

rapt_status rapt_step_check(const rapt_plan *plan, VkCommandBuffer commands, const rapt_step *step)
{
    if (!commands)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "command_buffer is NULL");
    if (!step)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "step is NULL");
    if (step->slot >= plan->params.n_steps_in_flight || step->generation == 0 ||
        step->generation != plan->slots[step->slot].step.generation)
        return rapt_fail(RAPT_ERROR_ARGUMENT,
                         "step is not what rapt_plan_prepare last made of slot %u", step->slot);
    return RAPT_OK;
}

rapt_buffer rapt_step_tables(const rapt_plan *plan, uint32_t slot)
{
    rapt_buffer tables = plan->memory.tables;
    tables.offset += slot * plan->places.slot_bytes;
    tables.size = plan->places.slot_bytes;
    return tables;
}

rapt_status rapt_step_buffer_check(const char *name, const rapt_buffer *buffer, uint64_t n_bytes)
{
    if (n_bytes == 0)
        return RAPT_OK;
    if (!buffer->buffer)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s.buffer is NULL: the step needs %llu bytes of it",
                         name, (unsigned long long)n_bytes);
    if (buffer->offset % 4 != 0)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s.offset is %llu: expected a multiple of 4 bytes",
                         name, (unsigned long long)buffer->offset);
    if (buffer->size < n_bytes)
        return rapt_fail(RAPT_ERROR_SHAPE, "%s.size is %llu: the step reaches to byte %llu", name,
                         (unsigned long long)buffer->size, (unsigned long long)n_bytes);
    return RAPT_OK;
}
