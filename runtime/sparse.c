/* SPDX-License-Identifier: Apache-2.0 */
#include "sparse.h"

#include "checked.h"
#include "error.h"
#include "kernel_table.h"
#include "step_inputs.h"

#include <string.h>

/* ------------------------------------------------------------------------------------- creation */

void *rapt_sparse_alloc(rapt_plan *plan, size_t n_bytes, const char *what)
{
    struct rapt_sparse *sparse = rapt_alloc(plan->device->allocator, 1, n_bytes);
    if (!sparse) {
        rapt_fail(RAPT_ERROR_HOST_MEMORY, "no memory for %s", what);
        return NULL;
    }
    memset(sparse, 0, n_bytes);
    sparse->plan = plan;
    return sparse;
}

rapt_status rapt_sparse_create(struct rapt_sparse *sparse, uint32_t max_records)
{
    rapt_plan *plan = sparse->plan;
    struct rapt_pipeline *pipelines[SPARSE_N_PIPELINES] = {0};
    sparse->max_records = max_records ? max_records : 64;
    if (sparse->max_records > 65536)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "max_records is %u: at most 65536",
                         sparse->max_records);
    for (int i = 0; i < SPARSE_N_PIPELINES; i++) {
        const struct rapt_kernel_choice *choice = &sparse->choices[i];
        if (choice->kernel < 0)
            continue;
        rapt_status status = rapt_pipeline_create(
            plan->device, choice, rapt_kernel_name(choice->kernel), &sparse->pipelines[i]);
        if (status != RAPT_OK)
            return status;
        pipelines[i] = &sparse->pipelines[i];
    }
    rapt_status status =
        rapt_sets_create(plan->device, pipelines, SPARSE_N_PIPELINES,
                         plan->params.n_steps_in_flight, sparse->max_records, &sparse->guest.sets);
    if (status == RAPT_OK)
        rapt_plan_add_guest(plan, &sparse->guest);
    return status;
}

void rapt_sparse_destroy(struct rapt_sparse *sparse)
{
    rapt_device *device = sparse->plan->device;
    rapt_plan_remove_guest(sparse->plan, &sparse->guest);
    rapt_sets_finish(device, &sparse->guest.sets);
    for (int i = 0; i < SPARSE_N_PIPELINES; i++)
        rapt_pipeline_finish(device, &sparse->pipelines[i]);
    rapt_free(device->allocator, sparse);
}

/* --------------------------------------------------------------------------------------- checks */

rapt_status rapt_sparse_check_step(const struct rapt_sparse *sparse, VkCommandBuffer commands,
                                   const rapt_step *step, struct rapt_plan_slot **out_slot)
{
    rapt_status status = rapt_step_check(sparse->plan, commands, step);
    if (status == RAPT_OK)
        *out_slot = &sparse->plan->slots[step->slot];
    return status;
}

rapt_status rapt_sparse_bind(const struct rapt_sparse *sparse, const char *name,
                             const rapt_buffer *buffer, uint64_t n_bytes, uint32_t unit,
                             rapt_buffer *out_bound, RAPT_U *out_base)
{
    uint32_t alignment = sparse->plan->device->caps.storage_buffer_alignment;
    *out_base = 0;
    if (n_bytes == 0)
        return RAPT_OK;
    rapt_status status = rapt_step_buffer_check(name, buffer, n_bytes);
    if (status != RAPT_OK)
        return status;
    if (n_bytes / unit > UINT32_MAX)
        return rapt_fail(RAPT_ERROR_SHAPE, "%s reaches to element %llu: the kernels index 2^32",
                         name, (unsigned long long)(n_bytes / unit));
    /* Kernels read whole words: the last byte's goes along where it is there. */
    uint64_t words = n_bytes + (4 - n_bytes % 4) % 4;
    uint32_t rest = alignment > 1 ? (uint32_t)(buffer->offset % alignment) : 0;
    *out_bound = (rapt_buffer){buffer->buffer, buffer->offset - rest,
                               (words <= buffer->size ? words : n_bytes) + rest};
    *out_base = rest / unit;
    return RAPT_OK;
}

uint64_t rapt_sparse_align(uint64_t n_bytes)
{
    uint64_t rest = n_bytes % RAPT_SPARSE_ALIGNMENT;
    return rest ? rapt_add_sat(n_bytes, RAPT_SPARSE_ALIGNMENT - rest) : n_bytes;
}

rapt_buffer rapt_sparse_part(const rapt_buffer *workspace, uint64_t offset, uint64_t n_bytes)
{
    return (rapt_buffer){workspace->buffer, workspace->offset + offset, n_bytes};
}

/* ----------------------------------------------------------------------------------- dispatches */

rapt_status rapt_sparse_check_dispatch(const struct rapt_sparse *sparse, uint32_t slot,
                                       enum sparse_pipeline pipeline,
                                       const struct rapt_bindings *bindings, uint64_t n_groups)
{
    const rapt_device *device = sparse->plan->device;
    uint64_t most = (uint64_t)RAPT_GRID_X * device->caps.max_workgroup_count[1];
    if (n_groups > (most < UINT32_MAX ? most : UINT32_MAX))
        return rapt_fail(RAPT_ERROR_CAPACITY, "%llu groups are more than a dispatch of %s can hold",
                         (unsigned long long)n_groups, device->caps.device_name);
    rapt_status status = rapt_bindings_check(device, &sparse->pipelines[pipeline], bindings);
    if (status == RAPT_OK && rapt_sets_left(&sparse->guest.sets, slot, (uint32_t)pipeline) == 0)
        status = rapt_fail(RAPT_ERROR_CAPACITY,
                           "this is record %u of the step: at most %u were asked for (max_records)",
                           sparse->max_records + 1, sparse->max_records);
    return status;
}

rapt_status rapt_sparse_dispatch(struct rapt_sparse *sparse, VkCommandBuffer commands,
                                 uint32_t slot, enum sparse_pipeline pipeline, int again,
                                 const struct rapt_bindings *bindings, struct rapt_push *push,
                                 uint32_t n_groups)
{
    push->count = n_groups;
    if (n_groups == 0)
        return RAPT_OK;
    return (again ? rapt_pipeline_dispatch_again : rapt_pipeline_dispatch)(
        sparse->plan->device, &sparse->pipelines[pipeline], &sparse->guest.sets, slot,
        (uint32_t)pipeline, commands, bindings, push, n_groups);
}
