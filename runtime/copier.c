/* SPDX-License-Identifier: Apache-2.0 */

/* Page copies: a list in a mapped slot, one dispatch per tensor, a chain of copies to a workgroup. */

#include "copier.h"

#include "pipeline.h"
#include "plan.h"

#include <rapt/pager.h>

#include "checked.h"
#include "error.h"
#include "kernel_table.h"

#include <string.h>

struct rapt_copier {
    rapt_device *device;
    struct rapt_kernel_choice choice;
    struct rapt_pipeline pipeline;
    struct rapt_sets sets; /* a slot's: one per tensor */
    uint32_t max_copies, max_tensors, n_slots;
    uint64_t slot_bytes;
    int by_address;
    rapt_buffer tables;
    char *mapped;
};

rapt_status rapt_copier_create_forced(rapt_device *device, const rapt_copier_params *params,
                                      int force, rapt_copier **out_copier)
{
    rapt_copier_params p;
    if (!device || !out_copier)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s is NULL", device ? "out_copier" : "device");
    *out_copier = NULL;
    rapt_status status = rapt_params_read("rapt_copier_params", params, &p, sizeof p);
    if (status != RAPT_OK)
        return status;
    if (p.n_steps_in_flight == 0)
        p.n_steps_in_flight = 3;
    if (p.max_copies == 0 || p.max_copies > 1u << 24)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "max_copies is %u: expected 1 to %u", p.max_copies,
                         1u << 24);
    if (p.max_tensors == 0 || p.max_tensors > 65536)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "max_tensors is %u: expected 1 to 65536",
                         p.max_tensors);
    if (p.n_steps_in_flight > 64)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "n_steps_in_flight is %u: at most 64",
                         p.n_steps_in_flight);
    rapt_copier *copier = rapt_alloc(device->allocator, 1, sizeof *copier);
    if (!copier)
        return rapt_fail(RAPT_ERROR_HOST_MEMORY, "no memory for a copier");
    copier->device = device;
    copier->max_copies = p.max_copies;
    copier->max_tensors = p.max_tensors;
    copier->n_slots = p.n_steps_in_flight;
    uint64_t alignment = device->caps.storage_buffer_alignment;
    alignment = alignment > 64 ? alignment : 64;
    uint64_t bytes = 4 * (1 + (1 + RAPT_COPY_WORDS) * (uint64_t)p.max_copies);
    copier->slot_bytes = (bytes + alignment - 1) / alignment * alignment;
    status = rapt_select_copier(&device->caps, force, &copier->choice);
    if (status == RAPT_OK)
        status = rapt_pipeline_create(device, &copier->choice,
                                      rapt_kernel_name(copier->choice.kernel), &copier->pipeline);
    struct rapt_pipeline *pipelines[1] = {&copier->pipeline};
    if (status == RAPT_OK)
        status = rapt_sets_create(device, pipelines, 1, copier->n_slots, p.max_tensors,
                                  &copier->sets);
    if (status != RAPT_OK) {
        rapt_copier_destroy(&copier);
        return status;
    }
    copier->by_address = !copier->pipeline.bindings;
    *out_copier = copier;
    return RAPT_OK;
}

rapt_status rapt_copier_create(rapt_device *device, const rapt_copier_params *params,
                               rapt_copier **out_copier)
{
    return rapt_copier_create_forced(device, params, 0, out_copier);
}

void rapt_copier_destroy(rapt_copier **copier)
{
    if (!copier || !*copier)
        return;
    rapt_device *device = (*copier)->device;
    rapt_sets_finish(device, &(*copier)->sets);
    rapt_pipeline_finish(device, &(*copier)->pipeline);
    rapt_free(device->allocator, *copier);
    *copier = NULL;
}

uint64_t rapt_copier_table_bytes(const rapt_copier *copier)
{
    return copier ? copier->slot_bytes * copier->n_slots : 0;
}

rapt_status rapt_copier_bind(rapt_copier *copier, const rapt_buffer *tables, void *tables_mapped)
{
    if (!copier || !tables || !tables->buffer)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s is NULL", copier ? "tables.buffer" : "copier");
    uint32_t alignment = copier->device->caps.storage_buffer_alignment;
    alignment = alignment > 4 ? alignment : 4;
    if (tables->offset % alignment != 0)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "tables.offset is %llu: expected a multiple of %u",
                         (unsigned long long)tables->offset, alignment);
    if (tables->size < rapt_copier_table_bytes(copier))
        return rapt_fail(RAPT_ERROR_SHAPE,
                         "tables.size is %llu: rapt_copier_table_bytes asks for %llu",
                         (unsigned long long)tables->size,
                         (unsigned long long)rapt_copier_table_bytes(copier));
    if (!tables_mapped || (uintptr_t)tables_mapped % 4 != 0)
        return rapt_fail(RAPT_ERROR_ARGUMENT,
                         "tables_mapped is %p: expected the host address of tables.offset",
                         tables_mapped);
    copier->tables = *tables;
    copier->mapped = tables_mapped;
    return RAPT_OK;
}

/* --------------------------------------------------------------------------------------- checks */


static rapt_status check_tensor(const rapt_copier *copier, uint32_t index,
                                const rapt_copy_tensor *t)
{
    const struct {
        const char *name;
        uint64_t value;
    } sizes[] = {{"page_stride", t->page_stride},
                 {"token_stride", t->token_stride},
                 {"head_stride", t->head_stride},
                 {"layer_stride", t->layer_stride},
                 {"row_bytes", t->row_bytes}};
    uint64_t most = copier->by_address ? 1ull << 32 : copier->device->caps.max_storage_buffer_range;
    if (!t->buffer.buffer || t->buffer.offset % 4 != 0)
        return rapt_fail(RAPT_ERROR_ARGUMENT,
                         "tensors[%u].buffer is NULL or not at a multiple of 4 bytes", index);
    if (t->n_heads == 0 || t->n_layers == 0 || t->row_bytes == 0)
        return rapt_fail(RAPT_ERROR_ARGUMENT,
                         "tensors[%u] has %u heads, %u layers, rows of %u bytes: expected 1 or "
                         "more of each",
                         index, t->n_heads, t->n_layers, t->row_bytes);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        if (sizes[i].value % 2 != 0)
            return rapt_fail(RAPT_ERROR_ARGUMENT, "tensors[%u].%s is %llu: expected an even number",
                             index, sizes[i].name, (unsigned long long)sizes[i].value);
        if (sizes[i].value / 2 > UINT32_MAX)
            return rapt_fail(RAPT_ERROR_ARGUMENT, "tensors[%u].%s is %llu: at most 2^33", index,
                             sizes[i].name, (unsigned long long)sizes[i].value);
    }
    if (!copier->by_address && t->buffer.size > most)
        return rapt_fail(RAPT_ERROR_UNSUPPORTED,
                         "tensors[%u] has %llu bytes: %s allows %llu in a storage buffer binding "
                         "(maxStorageBufferRange)",
                         index, (unsigned long long)t->buffer.size,
                         copier->device->caps.device_name, (unsigned long long)most);
    return RAPT_OK;
}

static rapt_status check_reach(uint32_t index, const rapt_copy_tensor *t, uint64_t page,
                               uint64_t token)
{
    uint64_t end = rapt_add_sat(rapt_mul_sat(t->n_layers - 1, t->layer_stride),
                                rapt_mul_sat(t->n_heads - 1, t->head_stride));
    end = rapt_add_sat(end, rapt_mul_sat(page, t->page_stride));
    end = rapt_add_sat(end, rapt_mul_sat(token, t->token_stride));
    end = rapt_add_sat(end, t->row_bytes);
    end = rapt_add_sat(end, (4 - end % 4) % 4); /* its last word is read and written whole */
    if (end > t->buffer.size)
        return rapt_fail(RAPT_ERROR_SHAPE,
                         "tensors[%u].buffer has %llu bytes: the copies reach to byte %llu", index,
                         (unsigned long long)t->buffer.size, (unsigned long long)end);
    return RAPT_OK;
}

static rapt_status check(const rapt_copier *copier, uint32_t slot, uint32_t n_copies,
                         const rapt_page_copy *copies, uint32_t group, uint32_t n_tensors,
                         const rapt_copy_tensor *tensors, uint32_t *out_n)
{
    uint32_t n = 0;
    if (!copier->mapped)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "the copier has no memory yet: rapt_copier_bind first");
    if (slot >= copier->n_slots)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "slot is %u: the copier has %u (n_steps_in_flight)",
                         slot, copier->n_slots);
    if ((n_copies && !copies) || (n_tensors && !tensors))
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s is NULL",
                         n_copies && !copies ? "copies" : "tensors");
    if (n_tensors > copier->max_tensors)
        return rapt_fail(RAPT_ERROR_CAPACITY, "n_tensors is %u: the copier holds %u (max_tensors)",
                         n_tensors, copier->max_tensors);
    for (uint32_t i = 0; i < n_copies; i++)
        n += copies[i].group == group;
    if (n > copier->max_copies)
        return rapt_fail(RAPT_ERROR_CAPACITY, "%u copies: the copier holds %u (max_copies)", n,
                         copier->max_copies);
    for (uint32_t t = 0; t < n_tensors; t++) {
        rapt_status status = check_tensor(copier, t, &tensors[t]);
        for (uint32_t i = 0; status == RAPT_OK && i < n_copies; i++) {
            const rapt_page_copy *c = &copies[i];
            if (c->group != group || c->n_tokens == 0)
                continue;
            status = check_reach(t, &tensors[t], c->from_page,
                                 (uint64_t)c->from_token + c->n_tokens - 1);
            if (status == RAPT_OK)
                status = check_reach(t, &tensors[t], c->to_page,
                                     (uint64_t)c->to_token + c->n_tokens - 1);
        }
        if (status != RAPT_OK)
            return status;
    }
    *out_n = n;
    return RAPT_OK;
}

/* ---------------------------------------------------------------------------------------- record */

static uint32_t count_chains(uint32_t group, uint32_t n_copies, const rapt_page_copy *copies)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < n_copies; i++)
        if (copies[i].group == group)
            n += n == 0 || !copies[i].chained;
    return n;
}

/* The first copy of every chain, the number of copies, then the copies. */
static void write_list(uint32_t *words, uint32_t n_chains, uint32_t group, uint32_t n_copies,
                       const rapt_page_copy *copies)
{
    uint32_t n = 0, chain = 0, *list = words + n_chains + 1;
    for (uint32_t i = 0; i < n_copies; i++) {
        const rapt_page_copy *c = &copies[i];
        if (c->group != group)
            continue;
        if (n == 0 || !c->chained)
            words[chain++] = n;
        const uint32_t row[RAPT_COPY_WORDS] = {c->from_page, c->from_token, c->to_page, c->to_token,
                                               c->n_tokens};
        memcpy(list + (size_t)n * RAPT_COPY_WORDS, row, sizeof row);
        n++;
    }
    words[chain] = n;
}

static void fill_push(const rapt_copy_tensor *t, uint32_t n_chains, struct rapt_push *push)
{
    int by_words = ((t->page_stride | t->token_stride | t->head_stride | t->layer_stride |
                     t->row_bytes) & 3) == 0;
    uint32_t unit = by_words ? 4 : 2;
    push->rapt_copy_by_words = (uint32_t)by_words;
    push->rapt_copy_chains = n_chains;
    push->rapt_copy_page_stride = (uint32_t)(t->page_stride / unit);
    push->rapt_copy_token_stride = (uint32_t)(t->token_stride / unit);
    push->rapt_copy_head_stride = (uint32_t)(t->head_stride / unit);
    push->rapt_copy_layer_stride = (uint32_t)(t->layer_stride / unit);
    push->rapt_copy_row = t->row_bytes / unit;
    push->rapt_copy_heads = t->n_heads;
    push->count = n_chains * t->n_layers;
}

static rapt_status dispatch(rapt_copier *copier, VkCommandBuffer commands, uint32_t slot,
                            const rapt_copy_tensor *t, uint32_t n_chains)
{
    struct rapt_bindings bindings;
    struct rapt_push push;
    memset(&bindings, 0, sizeof bindings);
    memset(&push, 0, sizeof push);
    rapt_buffer list = copier->tables;
    list.offset += slot * copier->slot_bytes;
    list.size = copier->slot_bytes;
    fill_push(t, n_chains, &push);
    if (copier->by_address) {
        uint64_t step = rapt_plan_address(copier->device, &list);
        uint64_t tensor = rapt_plan_address(copier->device, &t->buffer);
        push.step_lo = (uint32_t)step;
        push.step_hi = (uint32_t)(step >> 32);
        push.k_lo = (uint32_t)tensor;
        push.k_hi = (uint32_t)(tensor >> 32);
    } else {
        uint32_t alignment = copier->device->caps.storage_buffer_alignment;
        uint32_t rest = alignment > 1 ? (uint32_t)(t->buffer.offset % alignment) : 0;
        bindings.buffers[RAPT_BIND_STEP] = list;
        bindings.buffers[RAPT_BIND_K] =
            (rapt_buffer){t->buffer.buffer, t->buffer.offset - rest, t->buffer.size + rest};
        push.k_base = rest / (push.rapt_copy_by_words ? 4 : 2);
    }
    return rapt_pipeline_dispatch(copier->device, &copier->pipeline, &copier->sets, slot, 0,
                                  commands, &bindings, &push, push.count);
}

rapt_status rapt_copier_record(rapt_copier *copier, VkCommandBuffer command_buffer, uint32_t slot,
                               uint32_t group, uint32_t n_copies,
                               const struct rapt_page_copy *copies, uint32_t n_tensors,
                               const rapt_copy_tensor *tensors)
{
    uint32_t n = 0;
    if (!copier || !command_buffer)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s is NULL", copier ? "command_buffer" : "copier");
    rapt_status status = check(copier, slot, n_copies, copies, group, n_tensors, tensors, &n);
    if (status != RAPT_OK || n == 0 || n_tensors == 0)
        return status;
    uint32_t n_chains = count_chains(group, n_copies, copies);
    uint64_t most = (uint64_t)RAPT_GRID_X * copier->device->caps.max_workgroup_count[1];
    for (uint32_t t = 0; t < n_tensors; t++)
        if (rapt_mul_sat(n_chains, tensors[t].n_layers) > (most < UINT32_MAX ? most : UINT32_MAX))
            return rapt_fail(RAPT_ERROR_CAPACITY,
                             "%u copies in %u layers are more than a dispatch of %s can hold",
                             n_chains, tensors[t].n_layers, copier->device->caps.device_name);
    write_list((uint32_t *)(void *)(copier->mapped + slot * copier->slot_bytes), n_chains, group,
               n_copies, copies);
    rapt_sets_reset(&copier->sets, slot);
    rapt_device_begin_label(copier->device, command_buffer, "rapt page copies");
    rapt_device_barrier(copier->device, command_buffer);
    for (uint32_t t = 0; status == RAPT_OK && t < n_tensors; t++)
        status = dispatch(copier, command_buffer, slot, &tensors[t], n_chains);
    rapt_device_barrier(copier->device, command_buffer);
    rapt_device_end_label(copier->device, command_buffer);
    return status;
}
