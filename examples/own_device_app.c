/* SPDX-License-Identifier: Apache-2.0 */
/* The part of own_device that any Vulkan program has: a mapped buffer, a pipeline of its own.
 * Nothing of rapt in here but one struct that says which piece of a buffer is meant. */
#define VOLK_IMPLEMENTATION
#include "own_device_app.h"

#include <stdio.h>
#include <stdlib.h>

static const uint32_t fill_words[] = {
#include "own_device.spv.h"
};

/* All that was made here, for app_close. */
static VkBuffer buffers[8];
static VkDeviceMemory memories[8];
static uint32_t n_buffers;
static VkDescriptorSetLayout set_layout;
static VkDescriptorPool descriptor_pool;
static VkCommandPool command_pool;

void app_check(VkResult result, const char *what)
{
    if (result != VK_SUCCESS)
        exit((fprintf(stderr, "%s: VkResult %d\n", what, (int)result), 4));
}

rapt_buffer app_buffer(VkPhysicalDevice gpu, VkDevice device, VkBufferUsageFlags usage,
                       VkMemoryAllocateFlags allocate_flags, uint64_t n_bytes, void **out_mapped)
{
    VkBufferCreateInfo info = {.sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
                               .size = n_bytes ? n_bytes : 4,
                               .usage = usage};
    VkBuffer buffer;
    VK(vkCreateBuffer(device, &info, NULL, &buffer));
    VkMemoryRequirements memory_needs;
    vkGetBufferMemoryRequirements(device, buffer, &memory_needs);
    VkPhysicalDeviceMemoryProperties types;
    vkGetPhysicalDeviceMemoryProperties(gpu, &types);
    const VkMemoryPropertyFlags want =
        VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
    uint32_t type = 0; /* Vulkan promises a coherent type for every buffer */
    while (!(memory_needs.memoryTypeBits >> type & 1) ||
           (types.memoryTypes[type].propertyFlags & want) != want)
        type++;
    VkMemoryAllocateFlagsInfo flags = {.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_FLAGS_INFO,
                                       .flags = allocate_flags};
    VkMemoryAllocateInfo allocate = {.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
                                     .pNext = &flags,
                                     .allocationSize = memory_needs.size,
                                     .memoryTypeIndex = type};
    VkDeviceMemory memory;
    VK(vkAllocateMemory(device, &allocate, NULL, &memory));
    VK(vkBindBufferMemory(device, buffer, memory, 0));
    VK(vkMapMemory(device, memory, 0, VK_WHOLE_SIZE, 0, out_mapped));
    buffers[n_buffers] = buffer; /* a program with more than eight would grow these */
    memories[n_buffers++] = memory;
    return (rapt_buffer){buffer, 0, n_bytes};
}

/* One storage buffer, two push constants. */
void app_fill_create(VkDevice device, rapt_buffer target, struct app_fill *out_fill)
{
    VkDescriptorSetLayoutBinding binding = {0, VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, 1,
                                            VK_SHADER_STAGE_COMPUTE_BIT, NULL};
    VkDescriptorSetLayoutCreateInfo set_info = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO,
        .bindingCount = 1,
        .pBindings = &binding};
    VK(vkCreateDescriptorSetLayout(device, &set_info, NULL, &set_layout));
    VkPushConstantRange range = {VK_SHADER_STAGE_COMPUTE_BIT, 0, 8};
    VkPipelineLayoutCreateInfo layout_info = {.sType =
                                                  VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO,
                                              .setLayoutCount = 1,
                                              .pSetLayouts = &set_layout,
                                              .pushConstantRangeCount = 1,
                                              .pPushConstantRanges = &range};
    VK(vkCreatePipelineLayout(device, &layout_info, NULL, &out_fill->layout));
    VkShaderModuleCreateInfo module_info = {.sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO,
                                            .codeSize = sizeof fill_words,
                                            .pCode = fill_words};
    VkShaderModule module;
    VK(vkCreateShaderModule(device, &module_info, NULL, &module));
    VkComputePipelineCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
        .layout = out_fill->layout,
        .stage = {.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
                  .stage = VK_SHADER_STAGE_COMPUTE_BIT,
                  .module = module,
                  .pName = "main"}};
    VK(vkCreateComputePipelines(device, VK_NULL_HANDLE, 1, &info, NULL, &out_fill->pipeline));
    vkDestroyShaderModule(device, module, NULL);

    VkDescriptorPoolSize size = {VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, 1};
    VkDescriptorPoolCreateInfo pool_info = {.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO,
                                            .maxSets = 1,
                                            .poolSizeCount = 1,
                                            .pPoolSizes = &size};
    VK(vkCreateDescriptorPool(device, &pool_info, NULL, &descriptor_pool));
    VkDescriptorSetAllocateInfo sets = {.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO,
                                        .descriptorPool = descriptor_pool,
                                        .descriptorSetCount = 1,
                                        .pSetLayouts = &set_layout};
    VK(vkAllocateDescriptorSets(device, &sets, &out_fill->set));
    VkDescriptorBufferInfo buffer = {target.buffer, target.offset, target.size};
    VkWriteDescriptorSet write = {.sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET,
                                  .dstSet = out_fill->set,
                                  .descriptorCount = 1,
                                  .descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
                                  .pBufferInfo = &buffer};
    vkUpdateDescriptorSets(device, 1, &write, 0, NULL);
}

void app_fill_record(const struct app_fill *fill, VkCommandBuffer commands, uint32_t n_elements,
                     uint32_t seed)
{
    uint32_t push[2] = {n_elements, seed};
    vkCmdBindPipeline(commands, VK_PIPELINE_BIND_POINT_COMPUTE, fill->pipeline);
    vkCmdBindDescriptorSets(commands, VK_PIPELINE_BIND_POINT_COMPUTE, fill->layout, 0, 1,
                            &fill->set, 0, NULL);
    vkCmdPushConstants(commands, fill->layout, VK_SHADER_STAGE_COMPUTE_BIT, 0, sizeof push, push);
    vkCmdDispatch(commands, (n_elements + 63) / 64, 1, 1);
}

VkCommandBuffer app_begin(VkDevice device, uint32_t queue_family)
{
    VkCommandPoolCreateInfo pool_info = {.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
                                         .queueFamilyIndex = queue_family};
    VK(vkCreateCommandPool(device, &pool_info, NULL, &command_pool));
    VkCommandBufferAllocateInfo info = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
                                        .commandPool = command_pool,
                                        .commandBufferCount = 1};
    VkCommandBuffer commands;
    VK(vkAllocateCommandBuffers(device, &info, &commands));
    VkCommandBufferBeginInfo begin = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO};
    VK(vkBeginCommandBuffer(commands, &begin));
    return commands;
}

void app_submit_wait(VkQueue queue, VkCommandBuffer commands)
{
    VK(vkEndCommandBuffer(commands));
    VkSubmitInfo info = {.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
                         .commandBufferCount = 1,
                         .pCommandBuffers = &commands};
    VK(vkQueueSubmit(queue, 1, &info, VK_NULL_HANDLE));
    VK(vkQueueWaitIdle(queue));
}

void app_close(VkDevice device, struct app_fill *fill)
{
    vkDestroyCommandPool(device, command_pool, NULL);
    vkDestroyPipeline(device, fill->pipeline, NULL);
    vkDestroyPipelineLayout(device, fill->layout, NULL);
    vkDestroyDescriptorPool(device, descriptor_pool, NULL);
    vkDestroyDescriptorSetLayout(device, set_layout, NULL);
    for (uint32_t i = 0; i < n_buffers; i++) {
        vkDestroyBuffer(device, buffers[i], NULL);
        vkFreeMemory(device, memories[i], NULL);
    }
}
