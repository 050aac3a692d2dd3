/* SPDX-License-Identifier: Apache-2.0 */

/* The merge a caller asks for: partial results over disjoint keys, in f32. One dispatch of the
 * combine kernel, which finds the parts where attention finds Q, their lse where it finds K, and
 * its numbers in the push constants: v_base = head_dim_v, reserved = {n_parts, n_rows, n_q_heads},
 * flags = RAPT_FEAT_SINKS | LSE */

#include "merger.h"

#include "select.h"

#include "checked.h"
#include "error.h"
#include "kernel_table.h"

#include <string.h>

struct rapt_merger {
    rapt_device *device;
    struct rapt_pipeline pipeline;
    struct rapt_sets sets;
    uint32_t n_slots, max_records; /* of each slot */
    uint32_t *n_records;
};

rapt_status rapt_merger_create_slots(rapt_device *device, uint32_t n_slots, uint32_t max_records,
                                     rapt_merger **out_merger)
{
    struct rapt_kernel_choice choice;
    rapt_status status = rapt_select_combine(&device->caps, &choice);
    if (status != RAPT_OK)
        return status;
    rapt_merger *merger = rapt_alloc(device->allocator, 1, sizeof *merger);
    if (!merger)
        return rapt_fail(RAPT_ERROR_HOST_MEMORY, "no memory for a merger");
    merger->device = device;
    merger->n_slots = n_slots;
    merger->max_records = max_records;
    merger->n_records = rapt_alloc(device->allocator, n_slots, sizeof *merger->n_records);
    if (!merger->n_records)
        status = rapt_fail(RAPT_ERROR_HOST_MEMORY, "no memory for a merger");
    if (status == RAPT_OK)
        status = rapt_pipeline_create(device, &choice, NULL, &merger->pipeline);
    struct rapt_pipeline *pipelines[1] = {&merger->pipeline};
    if (status == RAPT_OK)
        status = rapt_sets_create(device, pipelines, 1, n_slots, max_records, &merger->sets);
    if (status != RAPT_OK) {
        rapt_merger_destroy(&merger);
        return status;
    }
    *out_merger = merger;
    return RAPT_OK;
}

rapt_status rapt_merger_create(rapt_device *device, uint32_t max_records, rapt_merger **out_merger)
{
    if (!device || !out_merger)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s is NULL", device ? "out_merger" : "device");
    *out_merger = NULL;
    if (max_records == 0 || max_records > 65536)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "max_records is %u: expected 1 to 65536",
                         max_records);
    return rapt_merger_create_slots(device, 1, max_records, out_merger);
}

void rapt_merger_destroy(rapt_merger **merger)
{
    if (!merger || !*merger)
        return;
    rapt_device *device = (*merger)->device;
    rapt_sets_finish(device, &(*merger)->sets);
    rapt_pipeline_finish(device, &(*merger)->pipeline);
    rapt_free(device->allocator, (*merger)->n_records);
    rapt_free(device->allocator, *merger);
    *merger = NULL;
}

static rapt_status check_numbers(const rapt_merge_params *p)
{
    if (!p->command_buffer)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "command_buffer is NULL");
    if (p->n_parts == 0)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "n_parts is 0: expected at least 1");
    if (p->head_dim_v == 0 || p->head_dim_v > 65536)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "head_dim_v is %u: expected 1 to 65536",
                         p->head_dim_v);
    if (p->n_q_heads == 0 || p->n_rows % p->n_q_heads != 0)
        return rapt_fail(RAPT_ERROR_SHAPE,
                         "n_rows is %u, n_q_heads is %u: rows are tokens times heads", p->n_rows,
                         p->n_q_heads);
    if (rapt_mul_sat((uint64_t)p->n_parts * p->n_rows, p->head_dim_v) > UINT32_MAX)
        return rapt_fail(RAPT_ERROR_SHAPE,
                         "%u parts of %u rows of %u elements: the kernel indexes 2^32", p->n_parts,
                         p->n_rows, p->head_dim_v);
    return RAPT_OK;
}

/* Binds at an aligned offset; *out_base are the floats between that and the caller's offset. */
static rapt_status bind(const rapt_merger *merger, const char *name, const rapt_buffer *buffer,
                        uint64_t n_floats, rapt_buffer *out_bound, uint32_t *out_base)
{
    uint32_t alignment = merger->device->caps.storage_buffer_alignment;
    if (!buffer->buffer)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s.buffer is NULL", name);
    if (buffer->offset % 4 != 0)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s.offset is %llu: expected a multiple of 4 bytes",
                         name, (unsigned long long)buffer->offset);
    if (buffer->size < n_floats * 4)
        return rapt_fail(RAPT_ERROR_SHAPE, "%s.size is %llu: the merge reaches to byte %llu", name,
                         (unsigned long long)buffer->size, (unsigned long long)(n_floats * 4));
    uint32_t rest = alignment > 1 ? (uint32_t)(buffer->offset % alignment) : 0;
    *out_bound = (rapt_buffer){buffer->buffer, buffer->offset - rest, n_floats * 4 + rest};
    *out_base = rest / 4;
    return RAPT_OK;
}

rapt_status rapt_merger_check(const rapt_merger *merger, uint32_t slot,
                              const rapt_merge_params *params, struct rapt_merge *out_merge)
{
    rapt_merge_params p;
    struct rapt_push *push = &out_merge->push;
    rapt_buffer *bound = out_merge->bindings.buffers;
    memset(out_merge, 0, sizeof *out_merge);
    rapt_status status = rapt_params_read("rapt_merge_params", params, &p, sizeof p);
    if (status == RAPT_OK)
        status = check_numbers(&p);
    if (status != RAPT_OK || p.n_rows == 0)
        return status;
    uint64_t n_lse = (uint64_t)p.n_parts * p.n_rows;
    status =
        bind(merger, "parts", &p.parts, n_lse * p.head_dim_v, &bound[RAPT_BIND_Q], &push->q_base);
    if (status == RAPT_OK)
        status = bind(merger, "parts_lse", &p.parts_lse, n_lse, &bound[RAPT_BIND_K], &push->k_base);
    if (status == RAPT_OK)
        status = bind(merger, "out", &p.out, (uint64_t)p.n_rows * p.head_dim_v,
                      &bound[RAPT_BIND_OUT], &push->out_base);
    if (status == RAPT_OK && p.lse.buffer)
        status = bind(merger, "lse", &p.lse, p.n_rows, &bound[RAPT_BIND_LSE], &push->lse_base);
    if (status == RAPT_OK && p.sinks.buffer)
        status = bind(merger, "sinks", &p.sinks, p.n_q_heads, &bound[RAPT_BIND_SINKS],
                      &push->sinks_base);
    out_merge->bindings.fallback = bound[RAPT_BIND_OUT];
    if (status == RAPT_OK)
        status = rapt_bindings_check(merger->device, &merger->pipeline, &out_merge->bindings);
    if (status != RAPT_OK)
        return status;
    if (merger->n_records[slot] == merger->max_records)
        return rapt_fail(RAPT_ERROR_CAPACITY,
                         "%u merges are recorded already (max_records): rapt_merger_reset when "
                         "they have finished",
                         merger->max_records);
    push->count = p.n_rows;
    push->v_base = p.head_dim_v;
    push->rapt_combine_features =
        (p.lse.buffer ? RAPT_FEAT_LSE : 0) | (p.sinks.buffer ? RAPT_FEAT_SINKS : 0);
    push->rapt_combine_n_parts = p.n_parts;
    push->rapt_combine_n_rows = p.n_rows;
    push->rapt_combine_n_q_heads = p.n_q_heads;
    return RAPT_OK;
}

rapt_status rapt_merger_dispatch(rapt_merger *merger, uint32_t slot, VkCommandBuffer commands,
                                 const struct rapt_merge *merge)
{
    if (merge->push.count == 0)
        return RAPT_OK;
    rapt_status status =
        rapt_pipeline_dispatch(merger->device, &merger->pipeline, &merger->sets, slot, 0, commands,
                               &merge->bindings, &merge->push, merge->push.count);
    if (status == RAPT_OK)
        merger->n_records[slot]++;
    return status;
}

rapt_status rapt_merger_record(rapt_merger *merger, const rapt_merge_params *params)
{
    struct rapt_merge merge;
    if (!merger)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "merger is NULL");
    rapt_status status = rapt_merger_check(merger, 0, params, &merge);
    if (status != RAPT_OK)
        return status;
    return rapt_merger_dispatch(merger, 0, params->command_buffer, &merge);
}

void rapt_merger_reset_slot(rapt_merger *merger, uint32_t slot)
{
    rapt_sets_reset(&merger->sets, slot);
    merger->n_records[slot] = 0;
}

void rapt_merger_reset(rapt_merger *merger)
{
    if (merger)
        rapt_merger_reset_slot(merger, 0);
}
