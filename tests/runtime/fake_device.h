/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_RUNTIME_FAKE_DEVICE_H
#define TESTS_RUNTIME_FAKE_DEVICE_H

/* A rapt_device of any snapshot whose Vulkan functions only take notes: plans are made, prepared
 * and recorded on it without a driver. Included by one test program; one fake at a time. */

#include "args.h"
#include "device.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum fake_command_kind { FAKE_DISPATCH, FAKE_BARRIER };

struct fake_command {
    enum fake_command_kind kind;
    uint64_t pipeline; /* number of its making, from 1 */
    uint32_t x, y;     /* of a barrier x: whether what was written is made visible */
    uint32_t n_writes; /* descriptors bound for it */
    struct rapt_push push;
};

#define FAKE_MAX_COMMANDS 4096
static struct {
    uint64_t n_made, n_gone; /* objects */
    uint64_t pipeline;       /* bound now */
    struct rapt_push push;
    uint32_t n_writes, n_set_updates, n_bound; /* n_bound: binds and pushes */
    uint32_t n_pushed;                         /* constants, by times */
    VkBuffer bound[RAPT_N_BINDINGS];
    uint64_t offset[RAPT_N_BINDINGS], range[RAPT_N_BINDINGS];
    struct fake_command commands[FAKE_MAX_COMMANDS];
    uint32_t n_commands;
    int fail_pipelines;
} fake;

#define FAKE_CREATE(name, info, handle)                                                            \
    static VKAPI_ATTR VkResult VKAPI_CALL fake_create_##name(                                      \
        VkDevice device, const info *create, const VkAllocationCallbacks *callbacks, handle *out)  \
    {                                                                                              \
        (void)device, (void)create, (void)callbacks;                                               \
        *out = (handle)(uintptr_t)++fake.n_made;                                                   \
        return VK_SUCCESS;                                                                         \
    }                                                                                              \
    static VKAPI_ATTR void VKAPI_CALL fake_destroy_##name(VkDevice device, handle object,          \
                                                          const VkAllocationCallbacks *callbacks)  \
    {                                                                                              \
        (void)device, (void)object, (void)callbacks;                                               \
        fake.n_gone++;                                                                             \
    }
FAKE_CREATE(module, VkShaderModuleCreateInfo, VkShaderModule)
FAKE_CREATE(set_layout, VkDescriptorSetLayoutCreateInfo, VkDescriptorSetLayout)
FAKE_CREATE(layout, VkPipelineLayoutCreateInfo, VkPipelineLayout)
FAKE_CREATE(pool, VkDescriptorPoolCreateInfo, VkDescriptorPool)

static VKAPI_ATTR VkResult VKAPI_CALL fake_create_pipelines(
    VkDevice device, VkPipelineCache cache, uint32_t n, const VkComputePipelineCreateInfo *infos,
    const VkAllocationCallbacks *callbacks, VkPipeline *out)
{
    (void)device, (void)cache, (void)infos, (void)callbacks;
    if (fake.fail_pipelines)
        return VK_ERROR_OUT_OF_DEVICE_MEMORY;
    for (uint32_t i = 0; i < n; i++)
        out[i] = (VkPipeline)(uintptr_t)++fake.n_made;
    return VK_SUCCESS;
}

static VKAPI_ATTR void VKAPI_CALL fake_destroy_pipeline(VkDevice device, VkPipeline pipeline,
                                                        const VkAllocationCallbacks *callbacks)
{
    (void)device, (void)pipeline, (void)callbacks;
    fake.n_gone++;
}

static VKAPI_ATTR VkResult VKAPI_CALL fake_allocate_sets(VkDevice device,
                                                         const VkDescriptorSetAllocateInfo *info,
                                                         VkDescriptorSet *out)
{
    (void)device;
    for (uint32_t i = 0; i < info->descriptorSetCount; i++)
        out[i] = (VkDescriptorSet)(uintptr_t)(1000 + i);
    return VK_SUCCESS;
}

static void fake_bind(uint32_t n, const VkWriteDescriptorSet *writes)
{
    fake.n_writes = n;
    for (uint32_t i = 0; i < n; i++) {
        fake.bound[writes[i].dstBinding] = writes[i].pBufferInfo->buffer;
        fake.offset[writes[i].dstBinding] = writes[i].pBufferInfo->offset;
        fake.range[writes[i].dstBinding] = writes[i].pBufferInfo->range;
    }
}

static VKAPI_ATTR void VKAPI_CALL fake_update_sets(VkDevice device, uint32_t n,
                                                   const VkWriteDescriptorSet *writes,
                                                   uint32_t n_copies,
                                                   const VkCopyDescriptorSet *copies)
{
    (void)device, (void)n_copies, (void)copies;
    fake.n_set_updates++;
    fake_bind(n, writes);
}

static VKAPI_ATTR void VKAPI_CALL fake_push_descriptors(VkCommandBuffer commands,
                                                        VkPipelineBindPoint point,
                                                        VkPipelineLayout layout, uint32_t set,
                                                        uint32_t n,
                                                        const VkWriteDescriptorSet *writes)
{
    (void)commands, (void)point, (void)layout, (void)set;
    fake.n_bound++;
    fake_bind(n, writes);
}

static VKAPI_ATTR void VKAPI_CALL fake_bind_sets(VkCommandBuffer commands,
                                                 VkPipelineBindPoint point, VkPipelineLayout layout,
                                                 uint32_t first, uint32_t n,
                                                 const VkDescriptorSet *sets, uint32_t n_offsets,
                                                 const uint32_t *offsets)
{
    (void)commands, (void)point, (void)layout, (void)first, (void)n, (void)sets;
    (void)n_offsets, (void)offsets;
    fake.n_bound++;
}

static VKAPI_ATTR void VKAPI_CALL fake_bind_pipeline(VkCommandBuffer commands,
                                                     VkPipelineBindPoint point, VkPipeline pipeline)
{
    (void)commands, (void)point;
    fake.pipeline = (uint64_t)(uintptr_t)pipeline;
}

static VKAPI_ATTR void VKAPI_CALL fake_push_constants(VkCommandBuffer commands,
                                                      VkPipelineLayout layout,
                                                      VkShaderStageFlags stages, uint32_t offset,
                                                      uint32_t n_bytes, const void *bytes)
{
    (void)commands, (void)layout, (void)stages;
    fake.n_pushed++;
    memcpy((char *)&fake.push + offset, bytes, n_bytes);
}

static void fake_note(enum fake_command_kind kind, uint32_t x, uint32_t y)
{
    if (fake.n_commands == FAKE_MAX_COMMANDS)
        return;
    fake.commands[fake.n_commands++] =
        (struct fake_command){kind, fake.pipeline, x, y, fake.n_writes, fake.push};
}

static VKAPI_ATTR void VKAPI_CALL fake_dispatch(VkCommandBuffer commands, uint32_t x, uint32_t y,
                                                uint32_t z)
{
    (void)commands, (void)z;
    fake_note(FAKE_DISPATCH, x, y);
}

/* Noted as if first and count had been pushed for it. */
static VKAPI_ATTR void VKAPI_CALL fake_dispatch_base(VkCommandBuffer commands, uint32_t x0,
                                                     uint32_t y0, uint32_t z0, uint32_t x,
                                                     uint32_t y, uint32_t z)
{
    (void)commands, (void)z0, (void)z;
    const struct rapt_push push = fake.push;
    assert_int_equal(push.first | y0, 0);
    assert_true((uint64_t)x0 + x <= push.count && push.count < 1u << 31 && y == 1);
    fake.push.first = x0;
    fake.push.count = x;
    fake_note(FAKE_DISPATCH, x, y);
    fake.push = push;
}

static VKAPI_ATTR void VKAPI_CALL fake_barrier(
    VkCommandBuffer commands, VkPipelineStageFlags from, VkPipelineStageFlags to,
    VkDependencyFlags flags, uint32_t n, const VkMemoryBarrier *memory, uint32_t n_buffers,
    const VkBufferMemoryBarrier *buffers, uint32_t n_images, const VkImageMemoryBarrier *images)
{
    (void)commands, (void)from, (void)to, (void)flags, (void)memory, (void)n_buffers;
    (void)buffers, (void)n_images, (void)images;
    fake_note(FAKE_BARRIER, n, 0);
}

static VKAPI_ATTR VkDeviceAddress VKAPI_CALL fake_address(VkDevice device,
                                                          const VkBufferDeviceAddressInfo *info)
{
    (void)device;
    return (uint64_t)(uintptr_t)info->buffer << 32;
}

static inline void fake_device_init(const rapt_caps *caps, struct rapt_device *out_device)
{
    memset(&fake, 0, sizeof fake);
    memset(out_device, 0, sizeof *out_device);
    out_device->caps = *caps;
    out_device->caps.max_push_descriptors = 32;
    struct VolkDeviceTable *vk = &out_device->vk;
    vk->vkCreateShaderModule = fake_create_module;
    vk->vkDestroyShaderModule = fake_destroy_module;
    vk->vkCreateDescriptorSetLayout = fake_create_set_layout;
    vk->vkDestroyDescriptorSetLayout = fake_destroy_set_layout;
    vk->vkCreatePipelineLayout = fake_create_layout;
    vk->vkDestroyPipelineLayout = fake_destroy_layout;
    vk->vkCreateComputePipelines = fake_create_pipelines;
    vk->vkDestroyPipeline = fake_destroy_pipeline;
    vk->vkCreateDescriptorPool = fake_create_pool;
    vk->vkDestroyDescriptorPool = fake_destroy_pool;
    vk->vkAllocateDescriptorSets = fake_allocate_sets;
    vk->vkUpdateDescriptorSets = fake_update_sets;
    vk->vkCmdBindPipeline = fake_bind_pipeline;
    vk->vkCmdBindDescriptorSets = fake_bind_sets;
    vk->vkCmdPushConstants = fake_push_constants;
    vk->vkCmdDispatch = fake_dispatch;
    vk->vkCmdDispatchBase = fake_dispatch_base;
    vk->vkCmdPipelineBarrier = fake_barrier;
    if (caps->features & RAPT_FEATURE_PUSH_DESCRIPTOR)
        vk->vkCmdPushDescriptorSetKHR = fake_push_descriptors;
    if (caps->features & RAPT_FEATURE_BUFFER_DEVICE_ADDRESS)
        vk->vkGetBufferDeviceAddress = fake_address;
}

#endif
