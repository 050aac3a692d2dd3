/* SPDX-License-Identifier: Apache-2.0 */
#include "pipeline.h"

#include "error.h"
#include "kernel_table.h"
#include "numbers.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

_Static_assert(offsetof(struct rapt_push, count) == offsetof(struct rapt_push, first) + 4,
               "pushed as a pair");

static const char *const binding_names[RAPT_N_BINDINGS] = {
    [RAPT_BIND_STEP] = "tables",
    [RAPT_BIND_Q] = "q",
    [RAPT_BIND_K] = "k",
    [RAPT_BIND_V] = "v",
    [RAPT_BIND_OUT] = "out",
    [RAPT_BIND_LSE] = "lse",
    [RAPT_BIND_MAX_LOGIT] = "max_logit",
    [RAPT_BIND_WORK] = "workspace",
    [RAPT_BIND_SINKS] = "sinks",
    [RAPT_BIND_SLOPES] = "slopes",
    [RAPT_BIND_BIAS] = "bias",
};

static uint32_t count_bits(uint32_t bits)
{
    uint32_t n = 0;
    for (; bits; bits &= bits - 1)
        n++;
    return n;
}

/* ------------------------------------------------------------------------------------- creation */

static rapt_status check_limits(const rapt_caps *caps, const struct rapt_kernel_choice *choice,
                                const struct rapt_pipeline *pipeline)
{
    const char *kernel = rapt_kernel_name(choice->kernel);
    const uint32_t n_buffers = count_bits(pipeline->layout_bindings);
    if (n_buffers > caps->max_storage_buffers)
        return rapt_fail(
            RAPT_ERROR_UNSUPPORTED, "%s binds %u storage buffers: %s allows %u per stage", kernel,
            (unsigned)n_buffers, caps->device_name, (unsigned)caps->max_storage_buffers);
    if (caps->max_push_constants < RAPT_PUSH_BYTES)
        return rapt_fail(
            RAPT_ERROR_UNSUPPORTED, "%s needs %u bytes of push constants: %s allows %u", kernel,
            (unsigned)RAPT_PUSH_BYTES, caps->device_name, (unsigned)caps->max_push_constants);
    if (choice->shared_bytes > caps->max_shared_memory)
        return rapt_fail(RAPT_ERROR_UNSUPPORTED, "%s needs %u bytes of shared memory: %s has %u",
                         kernel, (unsigned)choice->shared_bytes, caps->device_name,
                         (unsigned)caps->max_shared_memory);
    const uint32_t max_size =
        rapt_min_u32(caps->max_workgroup_invocations, caps->max_workgroup_size[0]);
    if (choice->workgroup_size > max_size)
        return rapt_fail(RAPT_ERROR_UNSUPPORTED, "%s needs workgroups of %u: %s allows %u", kernel,
                         (unsigned)choice->workgroup_size, caps->device_name, (unsigned)max_size);
    return RAPT_OK;
}

static rapt_status create_layouts(rapt_device *device, struct rapt_pipeline *pipeline)
{
    VkDescriptorSetLayoutBinding bindings[RAPT_N_BINDINGS];
    uint32_t n = 0;
    for (uint32_t b = 0; b < RAPT_N_BINDINGS; b++) {
        if (!(pipeline->layout_bindings & 1u << b))
            continue;
        bindings[n++] = (VkDescriptorSetLayoutBinding){
            .binding = b,
            .descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
            .descriptorCount = 1,
            .stageFlags = VK_SHADER_STAGE_COMPUTE_BIT,
        };
    }
    VkDescriptorSetLayoutCreateInfo set_info = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO,
        .flags = pipeline->push ? VK_DESCRIPTOR_SET_LAYOUT_CREATE_PUSH_DESCRIPTOR_BIT_KHR : 0,
        .bindingCount = n,
        .pBindings = bindings,
    };
    VkResult result = device->vk.vkCreateDescriptorSetLayout(device->device, &set_info, NULL,
                                                             &pipeline->set_layout);
    if (result != VK_SUCCESS)
        return rapt_device_result(result, "vkCreateDescriptorSetLayout");

    VkPushConstantRange range = {VK_SHADER_STAGE_COMPUTE_BIT, 0, RAPT_PUSH_BYTES};
    VkPipelineLayoutCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO,
        .setLayoutCount = 1,
        .pSetLayouts = &pipeline->set_layout,
        .pushConstantRangeCount = 1,
        .pPushConstantRanges = &range,
    };
    result = device->vk.vkCreatePipelineLayout(device->device, &info, NULL, &pipeline->layout);
    return rapt_device_result(result, "vkCreatePipelineLayout");
}

static rapt_status create_pipeline(rapt_device *device, const struct rapt_kernel_choice *choice,
                                   VkShaderModule module, struct rapt_pipeline *pipeline)
{
    VkSpecializationMapEntry entries[RAPT_N_SPECS];
    for (uint32_t i = 0; i < RAPT_N_SPECS; i++)
        entries[i] = (VkSpecializationMapEntry){i, i * (uint32_t)sizeof choice->spec[0],
                                                sizeof choice->spec[0]};
    VkSpecializationInfo spec = {RAPT_N_SPECS, entries, sizeof choice->spec, choice->spec};
    VkPipelineShaderStageRequiredSubgroupSizeCreateInfo size = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_REQUIRED_SUBGROUP_SIZE_CREATE_INFO,
        .requiredSubgroupSize = choice->required_subgroup_size,
    };
    const int ask_size = choice->required_subgroup_size &&
                         device->caps.features & RAPT_FEATURE_SUBGROUP_SIZE_CONTROL;
    VkComputePipelineCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
        .flags = pipeline->bases ? VK_PIPELINE_CREATE_DISPATCH_BASE : 0,
        .stage =
            {
                .sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
                .pNext = ask_size ? &size : NULL,
                .stage = VK_SHADER_STAGE_COMPUTE_BIT,
                .module = module,
                .pName = "main",
                .pSpecializationInfo = &spec,
            },
        .layout = pipeline->layout,
        .basePipelineIndex = -1,
    };
    VkResult result = device->vk.vkCreateComputePipelines(device->device, device->pipeline_cache, 1,
                                                          &info, NULL, &pipeline->pipeline);
    if (result == VK_SUCCESS)
        return RAPT_OK;
    pipeline->pipeline = VK_NULL_HANDLE;
    char what[128];
    snprintf(what, sizeof what, "vkCreateComputePipelines (%s)", rapt_kernel_name(choice->kernel));
    return rapt_device_result(result, what);
}

static void name_objects(rapt_device *device, const char *name,
                         const struct rapt_pipeline *pipeline)
{
    rapt_device_name(device, VK_OBJECT_TYPE_PIPELINE, (uint64_t)pipeline->pipeline, name);
    rapt_device_name(device, VK_OBJECT_TYPE_PIPELINE_LAYOUT, (uint64_t)pipeline->layout, name);
    rapt_device_name(device, VK_OBJECT_TYPE_DESCRIPTOR_SET_LAYOUT, (uint64_t)pipeline->set_layout,
                     name);
}

rapt_status rapt_pipeline_create_sharing(rapt_device *device,
                                         const struct rapt_kernel_choice *choice, const char *name,
                                         uint32_t bindings, int bases,
                                         struct rapt_pipeline *out_pipeline)
{
    struct rapt_pipeline pipeline = {.kernel = choice->kernel, .bases = bases};
    *out_pipeline = pipeline;
    const char *absent = rapt_kernel_absent_reason(choice->kernel);
    if (absent) {
        const char *kernel = rapt_kernel_name(choice->kernel);
        return rapt_fail(RAPT_ERROR_ABSENT, "kernel %s is not in this build: %s",
                         kernel ? kernel : "(none)", absent);
    }
    pipeline.bindings = rapt_kernel_bindings(choice->kernel);
    pipeline.layout_bindings = pipeline.bindings | bindings;
    pipeline.push = pipeline.layout_bindings &&
                    device->caps.features & RAPT_FEATURE_PUSH_DESCRIPTOR &&
                    count_bits(pipeline.layout_bindings) <= device->caps.max_push_descriptors;
    rapt_status status = check_limits(&device->caps, choice, &pipeline);
    if (status != RAPT_OK)
        return status;

    size_t n_bytes = 0;
    const uint32_t *words = rapt_kernel_words(choice->kernel, &n_bytes);
    VkShaderModuleCreateInfo module_info = {
        .sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO,
        .codeSize = n_bytes,
        .pCode = words,
    };
    VkShaderModule module = VK_NULL_HANDLE;
    VkResult result = device->vk.vkCreateShaderModule(device->device, &module_info, NULL, &module);
    if (result != VK_SUCCESS)
        return rapt_device_result(result, "vkCreateShaderModule");
    status = create_layouts(device, &pipeline);
    if (status == RAPT_OK)
        status = create_pipeline(device, choice, module, &pipeline);
    device->vk.vkDestroyShaderModule(device->device, module, NULL);
    if (status != RAPT_OK) {
        rapt_pipeline_finish(device, &pipeline);
        return status;
    }
    name_objects(device, name ? name : rapt_kernel_name(choice->kernel), &pipeline);
    *out_pipeline = pipeline;
    return RAPT_OK;
}

rapt_status rapt_pipeline_create(rapt_device *device, const struct rapt_kernel_choice *choice,
                                 const char *name, struct rapt_pipeline *out_pipeline)
{
    return rapt_pipeline_create_sharing(device, choice, name, 0, 0, out_pipeline);
}

void rapt_pipeline_finish(rapt_device *device, struct rapt_pipeline *pipeline)
{
    if (pipeline->pipeline)
        device->vk.vkDestroyPipeline(device->device, pipeline->pipeline, NULL);
    if (pipeline->layout)
        device->vk.vkDestroyPipelineLayout(device->device, pipeline->layout, NULL);
    if (pipeline->set_layout)
        device->vk.vkDestroyDescriptorSetLayout(device->device, pipeline->set_layout, NULL);
    memset(pipeline, 0, sizeof *pipeline);
}

/* ------------------------------------------------------------------------------ descriptor sets */

static int needs_sets(const struct rapt_pipeline *pipeline)
{
    return pipeline && pipeline->pipeline && pipeline->layout_bindings && !pipeline->push;
}

static size_t set_index(const struct rapt_sets *sets, uint32_t slot, uint32_t pipeline)
{
    return ((size_t)slot * sets->n_pipelines + pipeline) * sets->n_sets;
}

/* All sets of one pipeline in one slot. */
static rapt_status allocate_sets(rapt_device *device, const struct rapt_pipeline *pipeline,
                                 VkDescriptorPool pool, VkDescriptorSet *sets, uint32_t n_sets)
{
    enum { CHUNK = 64 };
    VkDescriptorSetLayout layouts[CHUNK];
    for (uint32_t i = 0; i < CHUNK; i++)
        layouts[i] = pipeline->set_layout;
    for (uint32_t first = 0; first < n_sets; first += CHUNK) {
        VkDescriptorSetAllocateInfo info = {
            .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO,
            .descriptorPool = pool,
            .descriptorSetCount = rapt_min_u32(CHUNK, n_sets - first),
            .pSetLayouts = layouts,
        };
        VkResult result = device->vk.vkAllocateDescriptorSets(device->device, &info, sets + first);
        if (result != VK_SUCCESS)
            return rapt_device_result(result, "vkAllocateDescriptorSets");
    }
    return RAPT_OK;
}

static rapt_status create_pool(rapt_device *device, uint64_t n_sets, uint64_t n_descriptors,
                               VkDescriptorPool *out_pool)
{
    if (n_sets > UINT32_MAX || n_descriptors > UINT32_MAX)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%llu descriptor sets are more than Vulkan can count",
                         (unsigned long long)n_sets);
    VkDescriptorPoolSize size = {VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, (uint32_t)n_descriptors};
    VkDescriptorPoolCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO,
        .maxSets = (uint32_t)n_sets,
        .poolSizeCount = 1,
        .pPoolSizes = &size,
    };
    VkResult result = device->vk.vkCreateDescriptorPool(device->device, &info, NULL, out_pool);
    if (result != VK_SUCCESS)
        *out_pool = VK_NULL_HANDLE;
    return rapt_device_result(result, "vkCreateDescriptorPool");
}

rapt_status rapt_sets_create(rapt_device *device, struct rapt_pipeline *const *pipelines,
                             uint32_t n_pipelines, uint32_t n_slots, uint32_t n_sets,
                             struct rapt_sets *out_sets)
{
    struct rapt_sets sets = {.n_slots = n_slots, .n_pipelines = n_pipelines, .n_sets = n_sets};
    memset(out_sets, 0, sizeof *out_sets);
    uint64_t total = 0, n_descriptors = 0;
    for (uint32_t p = 0; p < n_pipelines; p++) {
        if (!needs_sets(pipelines[p]))
            continue;
        total += (uint64_t)n_slots * n_sets;
        n_descriptors += (uint64_t)n_slots * n_sets * count_bits(pipelines[p]->layout_bindings);
    }
    if (total == 0) { /* push descriptors everywhere: nothing to keep */
        *out_sets = sets;
        return RAPT_OK;
    }
    const size_t n_entries = (size_t)n_slots * n_pipelines;
    sets.sets = rapt_alloc(device->allocator, n_entries * n_sets, sizeof *sets.sets);
    sets.n_used = rapt_alloc(device->allocator, n_entries, sizeof *sets.n_used);
    rapt_status status = RAPT_OK;
    if (!sets.sets || !sets.n_used)
        status = rapt_fail(RAPT_ERROR_HOST_MEMORY, "no memory for %llu descriptor sets",
                           (unsigned long long)total);
    if (status == RAPT_OK)
        status = create_pool(device, total, n_descriptors, &sets.pool);
    for (uint32_t s = 0; status == RAPT_OK && s < n_slots; s++) {
        for (uint32_t p = 0; status == RAPT_OK && p < n_pipelines; p++) {
            if (needs_sets(pipelines[p]))
                status = allocate_sets(device, pipelines[p], sets.pool,
                                       sets.sets + set_index(&sets, s, p), n_sets);
        }
    }
    if (status != RAPT_OK) {
        rapt_sets_finish(device, &sets);
        return status;
    }
    rapt_device_name(device, VK_OBJECT_TYPE_DESCRIPTOR_POOL, (uint64_t)sets.pool, "rapt sets");
    *out_sets = sets;
    return RAPT_OK;
}

void rapt_sets_finish(rapt_device *device, struct rapt_sets *sets)
{
    if (sets->pool)
        device->vk.vkDestroyDescriptorPool(device->device, sets->pool, NULL);
    rapt_free(device->allocator, sets->sets);
    rapt_free(device->allocator, sets->n_used);
    memset(sets, 0, sizeof *sets);
}

void rapt_sets_reset(struct rapt_sets *sets, uint32_t slot)
{
    if (sets->n_used)
        memset(sets->n_used + (size_t)slot * sets->n_pipelines, 0,
               sets->n_pipelines * sizeof *sets->n_used);
}

uint32_t rapt_sets_left(const struct rapt_sets *sets, uint32_t slot, uint32_t pipeline_index)
{
    if (!sets || !sets->sets || !sets->sets[set_index(sets, slot, pipeline_index)])
        return UINT32_MAX;
    return sets->n_sets - sets->n_used[(size_t)slot * sets->n_pipelines + pipeline_index];
}

/* ------------------------------------------------------------------------------------- dispatch */

static const rapt_buffer *bound_buffer(const struct rapt_bindings *bindings, uint32_t b)
{
    return bindings->buffers[b].buffer && bindings->buffers[b].size ? &bindings->buffers[b]
                                                                    : &bindings->fallback;
}

static const char *binding_name(uint32_t b)
{
    return binding_names[b] ? binding_names[b] : "a reserved binding";
}

rapt_status rapt_bindings_check(const rapt_device *device, const struct rapt_pipeline *pipeline,
                                const struct rapt_bindings *bindings)
{
    const rapt_caps *caps = &device->caps;
    for (uint32_t b = 0; b < RAPT_N_BINDINGS; b++) {
        if (!(pipeline->bindings & 1u << b))
            continue;
        const rapt_buffer *buffer = bound_buffer(bindings, b);
        if (!buffer->buffer || !buffer->size)
            return rapt_fail(RAPT_ERROR_INTERNAL, "%s: nothing to bind for %s",
                             rapt_kernel_name(pipeline->kernel), binding_name(b));
        if (caps->storage_buffer_alignment && buffer->offset % caps->storage_buffer_alignment)
            return rapt_fail(
                RAPT_ERROR_INTERNAL, "%s: %s is bound at offset %llu, no multiple of %u",
                rapt_kernel_name(pipeline->kernel), binding_name(b),
                (unsigned long long)buffer->offset, (unsigned)caps->storage_buffer_alignment);
        if (buffer->size > caps->max_storage_buffer_range)
            return rapt_fail(RAPT_ERROR_UNSUPPORTED,
                             "%s has %llu bytes: %s allows %llu in a storage buffer binding "
                             "(maxStorageBufferRange)",
                             binding_name(b), (unsigned long long)buffer->size, caps->device_name,
                             (unsigned long long)caps->max_storage_buffer_range);
    }
    return RAPT_OK;
}

static uint32_t fill_writes(const rapt_device *device, const struct rapt_pipeline *pipeline,
                            const struct rapt_bindings *bindings, VkDescriptorSet set,
                            VkDescriptorBufferInfo *infos, VkWriteDescriptorSet *writes)
{
    uint32_t n = 0;
    for (uint32_t b = 0; b < RAPT_N_BINDINGS; b++) {
        if (!(pipeline->layout_bindings & 1u << b))
            continue;
        const rapt_buffer *buffer = bound_buffer(bindings, b);
        /* Only a buffer no kernel reads through this binding can be larger. */
        uint64_t most = device->caps.max_storage_buffer_range;
        uint64_t size = buffer->size < most ? buffer->size : most;
        infos[n] = (VkDescriptorBufferInfo){buffer->buffer, buffer->offset, size};
        writes[n] = (VkWriteDescriptorSet){
            .sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET,
            .dstSet = set,
            .dstBinding = b,
            .descriptorCount = 1,
            .descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
            .pBufferInfo = &infos[n],
        };
        n++;
    }
    return n;
}

static void bind_descriptors(rapt_device *device, const struct rapt_pipeline *pipeline,
                             struct rapt_sets *sets, uint32_t slot, uint32_t pipeline_index,
                             VkCommandBuffer commands, const struct rapt_bindings *bindings,
                             int again)
{
    VkDescriptorBufferInfo infos[RAPT_N_BINDINGS];
    VkWriteDescriptorSet writes[RAPT_N_BINDINGS];
    if (pipeline->push) {
        uint32_t n = fill_writes(device, pipeline, bindings, VK_NULL_HANDLE, infos, writes);
        device->vk.vkCmdPushDescriptorSetKHR(commands, VK_PIPELINE_BIND_POINT_COMPUTE,
                                             pipeline->layout, 0, n, writes);
        return;
    }
    uint32_t *n_used = &sets->n_used[(size_t)slot * sets->n_pipelines + pipeline_index];
    VkDescriptorSet set =
        sets->sets[set_index(sets, slot, pipeline_index) + *n_used - (again ? 1 : 0)];
    if (!again) {
        uint32_t n = fill_writes(device, pipeline, bindings, set, infos, writes);
        device->vk.vkUpdateDescriptorSets(device->device, n, writes, 0, NULL);
        ++*n_used;
    }
    device->vk.vkCmdBindDescriptorSets(commands, VK_PIPELINE_BIND_POINT_COMPUTE, pipeline->layout,
                                       0, 1, &set, 0, NULL);
}

static rapt_status check_sets(const struct rapt_pipeline *pipeline, const struct rapt_sets *sets,
                              uint32_t slot, uint32_t pipeline_index, int again)
{
    if (!needs_sets(pipeline))
        return RAPT_OK;
    if (!sets || !sets->sets)
        return rapt_fail(RAPT_ERROR_INTERNAL, "%s needs descriptor sets and none were made",
                         rapt_kernel_name(pipeline->kernel));
    if (!again && rapt_sets_left(sets, slot, pipeline_index) == 0)
        return rapt_fail(RAPT_ERROR_CAPACITY,
                         "the %u descriptor sets of this step are used up: raise "
                         "max_records_per_step",
                         (unsigned)sets->n_sets);
    return RAPT_OK;
}

static rapt_status check_grid(const rapt_device *device, uint32_t n_groups)
{
    if ((n_groups - 1) / RAPT_GRID_X < device->caps.max_workgroup_count[1])
        return RAPT_OK;
    return rapt_fail(RAPT_ERROR_CAPACITY, "%u work items are more than a dispatch of %s can hold",
                     (unsigned)n_groups, device->caps.device_name);
}

/* Kernels read item first + group, for groups below count. Where groups count from the first item
 * on these two can stay the same from dispatch to dispatch; kernels take counts for less than 2^31.
 */
#define NUMBERED_COUNT 0x7fffffffu

int rapt_pipeline_numbers(const rapt_device *device, const struct rapt_pipeline *pipeline,
                          uint32_t first, uint32_t count)
{
    return pipeline->bases && (uint64_t)first + count <= device->caps.max_workgroup_count[0];
}

static void dispatch_groups(const rapt_device *device, const struct rapt_pipeline *pipeline,
                            VkCommandBuffer commands, uint32_t first, uint32_t n_groups)
{
    if (rapt_pipeline_numbers(device, pipeline, first, n_groups)) {
        device->vk.vkCmdDispatchBase(commands, first, 0, 0, n_groups, 1, 1);
        return;
    }
    const uint32_t x = rapt_min_u32(n_groups, RAPT_GRID_X);
    device->vk.vkCmdDispatch(commands, x, (n_groups - 1) / x + 1, 1);
}

static rapt_status bind_and_dispatch(rapt_device *device, const struct rapt_pipeline *pipeline,
                                     struct rapt_sets *sets, uint32_t slot, uint32_t pipeline_index,
                                     VkCommandBuffer commands, const struct rapt_bindings *bindings,
                                     const struct rapt_push *push, uint32_t n_groups, int again)
{
    if (n_groups == 0)
        return RAPT_OK;
    rapt_status status = check_grid(device, n_groups);
    if (status == RAPT_OK)
        status = rapt_bindings_check(device, pipeline, bindings);
    if (status == RAPT_OK)
        status = check_sets(pipeline, sets, slot, pipeline_index, again);
    if (status != RAPT_OK)
        return status;
    device->vk.vkCmdBindPipeline(commands, VK_PIPELINE_BIND_POINT_COMPUTE, pipeline->pipeline);
    if (pipeline->layout_bindings)
        bind_descriptors(device, pipeline, sets, slot, pipeline_index, commands, bindings, again);
    struct rapt_push constants = *push;
    if (rapt_pipeline_numbers(device, pipeline, push->first, n_groups)) {
        constants.first = 0;
        constants.count = NUMBERED_COUNT;
    }
    device->vk.vkCmdPushConstants(commands, pipeline->layout, VK_SHADER_STAGE_COMPUTE_BIT, 0,
                                  RAPT_PUSH_BYTES, &constants);
    dispatch_groups(device, pipeline, commands, push->first, n_groups);
    return RAPT_OK;
}

rapt_status rapt_pipeline_dispatch(rapt_device *device, struct rapt_pipeline *pipeline,
                                   struct rapt_sets *sets, uint32_t slot, uint32_t pipeline_index,
                                   VkCommandBuffer commands, const struct rapt_bindings *bindings,
                                   const struct rapt_push *push, uint32_t n_groups)
{
    return bind_and_dispatch(device, pipeline, sets, slot, pipeline_index, commands, bindings, push,
                             n_groups, 0);
}

rapt_status rapt_pipeline_dispatch_again(rapt_device *device, struct rapt_pipeline *pipeline,
                                         struct rapt_sets *sets, uint32_t slot,
                                         uint32_t pipeline_index, VkCommandBuffer commands,
                                         const struct rapt_bindings *bindings,
                                         const struct rapt_push *push, uint32_t n_groups)
{
    return bind_and_dispatch(device, pipeline, sets, slot, pipeline_index, commands, bindings, push,
                             n_groups, 1);
}

rapt_status rapt_pipeline_dispatch_bound(rapt_device *device, const struct rapt_pipeline *pipeline,
                                         VkCommandBuffer commands, uint32_t first, uint32_t count,
                                         int pushed)
{
    if (count == 0)
        return RAPT_OK;
    rapt_status status = check_grid(device, count);
    if (status != RAPT_OK)
        return status;
    const int numbers = rapt_pipeline_numbers(device, pipeline, first, count);
    const uint32_t words[2] = {numbers ? 0 : first, numbers ? NUMBERED_COUNT : count};
    device->vk.vkCmdBindPipeline(commands, VK_PIPELINE_BIND_POINT_COMPUTE, pipeline->pipeline);
    if (!pushed)
        device->vk.vkCmdPushConstants(commands, pipeline->layout, VK_SHADER_STAGE_COMPUTE_BIT,
                                      offsetof(struct rapt_push, first), sizeof words, words);
    dispatch_groups(device, pipeline, commands, first, count);
    return RAPT_OK;
}
