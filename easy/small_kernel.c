/* SPDX-License-Identifier: Apache-2.0 */
#include "small_kernel.h"

#include <string.h>

static VkDescriptorType type_of(const struct small_kernel *kernel, uint32_t i)
{
    return kernel->bindings[i] == kernel->dynamic ? VK_DESCRIPTOR_TYPE_STORAGE_BUFFER_DYNAMIC
                                                  : VK_DESCRIPTOR_TYPE_STORAGE_BUFFER;
}

static VkResult make_layouts(rapt_easy *easy, struct small_kernel *kernel, uint32_t push_bytes)
{
    VkDescriptorSetLayoutBinding bindings[SMALL_MAX_BINDINGS];
    for (uint32_t i = 0; i < kernel->n_bindings; i++)
        bindings[i] = (VkDescriptorSetLayoutBinding){
            .binding = kernel->bindings[i],
            .descriptorType = type_of(kernel, i),
            .descriptorCount = 1,
            .stageFlags = VK_SHADER_STAGE_COMPUTE_BIT,
        };
    VkDescriptorSetLayoutCreateInfo set = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO,
        .bindingCount = kernel->n_bindings,
        .pBindings = bindings,
    };
    VkResult result = easy->vk.vkCreateDescriptorSetLayout(easy->handles.device, &set, NULL,
                                                           &kernel->set_layout);
    if (result != VK_SUCCESS)
        return result;
    VkPushConstantRange range = {.stageFlags = VK_SHADER_STAGE_COMPUTE_BIT, .size = push_bytes};
    VkPipelineLayoutCreateInfo layout = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO,
        .setLayoutCount = 1,
        .pSetLayouts = &kernel->set_layout,
        .pushConstantRangeCount = 1,
        .pPushConstantRanges = &range,
    };
    return easy->vk.vkCreatePipelineLayout(easy->handles.device, &layout, NULL, &kernel->layout);
}

static VkResult make_pipeline(rapt_easy *easy, struct small_kernel *kernel,
                              const struct small_kernel_params *params)
{
    const struct rapt_kernel_blob *blob = &rapt_kernel_blobs[params->id];
    VkShaderModuleCreateInfo module_info = {.sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO,
                                            .codeSize = blob->n_words * 4,
                                            .pCode = blob->words};
    VkShaderModule module = VK_NULL_HANDLE;
    VkResult result =
        easy->vk.vkCreateShaderModule(easy->handles.device, &module_info, NULL, &module);
    if (result != VK_SUCCESS)
        return result;
    VkSpecializationMapEntry entries[RAPT_N_SPECS];
    for (uint32_t i = 0; i < RAPT_N_SPECS; i++)
        entries[i] = (VkSpecializationMapEntry){.constantID = i, .offset = 4 * i, .size = 4};
    VkSpecializationInfo spec = {.mapEntryCount = RAPT_N_SPECS,
                                 .pMapEntries = entries,
                                 .dataSize = sizeof params->spec,
                                 .pData = params->spec};
    VkComputePipelineCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
        .stage = {.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
                  .stage = VK_SHADER_STAGE_COMPUTE_BIT,
                  .module = module,
                  .pName = "main",
                  .pSpecializationInfo = &spec},
        .layout = kernel->layout,
    };
    result = easy->vk.vkCreateComputePipelines(easy->handles.device, VK_NULL_HANDLE, 1, &info, NULL,
                                               &kernel->pipeline);
    easy->vk.vkDestroyShaderModule(easy->handles.device, module, NULL);
    if (result != VK_SUCCESS)
        kernel->pipeline = VK_NULL_HANDLE;
    return result;
}

static VkResult make_set(rapt_easy *easy, struct small_kernel *kernel,
                         const struct small_kernel_params *params)
{
    VkDescriptorPoolSize sizes[2] = {
        {VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, SMALL_MAX_BINDINGS},
        {VK_DESCRIPTOR_TYPE_STORAGE_BUFFER_DYNAMIC, 1},
    };
    VkDescriptorPoolCreateInfo pool = {.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO,
                                       .maxSets = 1,
                                       .poolSizeCount = 2,
                                       .pPoolSizes = sizes};
    VkResult result =
        easy->vk.vkCreateDescriptorPool(easy->handles.device, &pool, NULL, &kernel->pool);
    if (result != VK_SUCCESS)
        return result;
    VkDescriptorSetAllocateInfo info = {.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO,
                                        .descriptorPool = kernel->pool,
                                        .descriptorSetCount = 1,
                                        .pSetLayouts = &kernel->set_layout};
    result = easy->vk.vkAllocateDescriptorSets(easy->handles.device, &info, &kernel->set);
    if (result != VK_SUCCESS)
        return result;
    VkWriteDescriptorSet writes[SMALL_MAX_BINDINGS];
    VkDescriptorBufferInfo buffers[SMALL_MAX_BINDINGS];
    for (uint32_t i = 0; i < kernel->n_bindings; i++) {
        buffers[i] = (VkDescriptorBufferInfo){.buffer = params->buffers[i].buffer,
                                              .offset = params->buffers[i].offset,
                                              .range = params->buffers[i].size};
        writes[i] = (VkWriteDescriptorSet){.sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET,
                                           .dstSet = kernel->set,
                                           .dstBinding = kernel->bindings[i],
                                           .descriptorCount = 1,
                                           .descriptorType = type_of(kernel, i),
                                           .pBufferInfo = &buffers[i]};
    }
    easy->vk.vkUpdateDescriptorSets(easy->handles.device, kernel->n_bindings, writes, 0, NULL);
    return VK_SUCCESS;
}

rapt_status rapt_small_kernel_create(rapt_easy *easy, const struct small_kernel_params *params,
                                struct small_kernel *out_kernel)
{
    struct small_kernel *kernel = out_kernel;
    const struct rapt_kernel_blob *blob = &rapt_kernel_blobs[params->id];
    memset(kernel, 0, sizeof *kernel);
    if (!blob->words)
        return rapt_fail(RAPT_ERROR_ABSENT, "%s: %s", blob->name, blob->absent_reason);
    for (uint32_t i = 0; i < params->n_bindings; i++) {
        if (params->buffers[i].size > easy->caps->max_storage_buffer_range)
            return rapt_fail(RAPT_ERROR_UNSUPPORTED,
                             "%s binds %llu bytes at once: the device allows %llu", blob->name,
                             (unsigned long long)params->buffers[i].size,
                             (unsigned long long)easy->caps->max_storage_buffer_range);
    }
    kernel->n_bindings = params->n_bindings;
    memcpy(kernel->bindings, params->bindings, sizeof kernel->bindings);
    kernel->dynamic = params->dynamic;
    VkResult result = make_layouts(easy, kernel, params->push_bytes);
    if (result == VK_SUCCESS)
        result = make_pipeline(easy, kernel, params);
    if (result == VK_SUCCESS)
        result = make_set(easy, kernel, params);
    if (result == VK_SUCCESS)
        return RAPT_OK;
    rapt_small_kernel_finish(easy, kernel);
    return rapt_easy_result(easy, result, blob->name);
}

void rapt_small_kernel_finish(rapt_easy *easy, struct small_kernel *kernel)
{
    VkDevice device = easy->handles.device;
    if (kernel->pool)
        easy->vk.vkDestroyDescriptorPool(device, kernel->pool, NULL);
    if (kernel->pipeline)
        easy->vk.vkDestroyPipeline(device, kernel->pipeline, NULL);
    if (kernel->layout)
        easy->vk.vkDestroyPipelineLayout(device, kernel->layout, NULL);
    if (kernel->set_layout)
        easy->vk.vkDestroyDescriptorSetLayout(device, kernel->set_layout, NULL);
    memset(kernel, 0, sizeof *kernel);
}

void rapt_small_kernel_dispatch(rapt_easy *easy, const struct small_kernel *kernel,
                           VkCommandBuffer commands, uint32_t dynamic_offset, const void *push,
                           uint32_t push_bytes, const uint32_t groups[3])
{
    uint32_t n_dynamic = 0;
    for (uint32_t i = 0; i < kernel->n_bindings; i++)
        n_dynamic += kernel->bindings[i] == kernel->dynamic;
    easy->vk.vkCmdBindPipeline(commands, VK_PIPELINE_BIND_POINT_COMPUTE, kernel->pipeline);
    easy->vk.vkCmdBindDescriptorSets(commands, VK_PIPELINE_BIND_POINT_COMPUTE, kernel->layout, 0, 1,
                                     &kernel->set, n_dynamic, &dynamic_offset);
    easy->vk.vkCmdPushConstants(commands, kernel->layout, VK_SHADER_STAGE_COMPUTE_BIT, 0,
                                push_bytes, push);
    easy->vk.vkCmdDispatch(commands, groups[0], groups[1], groups[2]);
}
