/* SPDX-License-Identifier: Apache-2.0 */
#include "tier.h"

#include <string.h>

#define STAGING_BYTES (4u << 20)

uint64_t rapt_easy_buffer_address(const rapt_easy_buffer *buffer)
{
    VkBufferDeviceAddressInfo info = {.sType = VK_STRUCTURE_TYPE_BUFFER_DEVICE_ADDRESS_INFO,
                                      .buffer = buffer->buffer};
    return buffer->easy->get_address(buffer->easy->handles.device, &info);
}

/* Property sets to try in order, the last one must be there on every device. */
static uint32_t memory_wishes(const rapt_easy *easy, int mapped, VkMemoryPropertyFlags wishes[3])
{
    const VkMemoryPropertyFlags host =
        VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
    uint32_t n = 0;
    if (mapped) {
        wishes[n++] = host | VK_MEMORY_PROPERTY_HOST_CACHED_BIT;
        wishes[n++] = host;
        return n;
    }
    /* Where host and device share memory, mapping it saves every copy. */
    if (easy->caps->device_type == VK_PHYSICAL_DEVICE_TYPE_CPU ||
        easy->caps->device_type == VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU)
        wishes[n++] = host | VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT;
    wishes[n++] = VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT;
    wishes[n++] = 0;
    return n;
}

/* Tries every memory type that fits, best first. Device memory runs out per heap, so the next type
 * may still do. */
static VkResult allocate(rapt_easy_buffer *buffer, const VkMemoryRequirements *needs, int mapped,
                         VkMemoryPropertyFlags *out_flags)
{
    rapt_easy *easy = buffer->easy;
    VkMemoryAllocateFlagsInfo flags = {.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_FLAGS_INFO,
                                       .flags = easy->handles.memory_allocate_flags};
    VkMemoryPropertyFlags wishes[3];
    uint32_t n = memory_wishes(easy, mapped, wishes), tried = 0;
    VkResult result = VK_ERROR_OUT_OF_DEVICE_MEMORY;
    for (uint32_t w = 0; w < n; w++) {
        for (uint32_t i = 0; i < easy->memory.memoryTypeCount; i++) {
            VkMemoryPropertyFlags has = easy->memory.memoryTypes[i].propertyFlags;
            if (!(needs->memoryTypeBits >> i & 1) || (has & wishes[w]) != wishes[w] ||
                (has & VK_MEMORY_PROPERTY_PROTECTED_BIT) || (tried >> i & 1))
                continue;
            tried |= 1u << i;
            VkMemoryAllocateInfo info = {.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
                                         .pNext = flags.flags ? &flags : NULL,
                                         .allocationSize = needs->size,
                                         .memoryTypeIndex = i};
            result = easy->vk.vkAllocateMemory(easy->handles.device, &info, NULL, &buffer->memory);
            *out_flags = has;
            if (result == VK_SUCCESS)
                return result;
            buffer->memory = VK_NULL_HANDLE;
            if (result != VK_ERROR_OUT_OF_DEVICE_MEMORY)
                return result;
        }
    }
    return result;
}

/* Asked before a buffer is made too: drivers are not to be asked for one beyond their limits. */
static rapt_status check_bytes(const rapt_easy *easy, const char *name, uint64_t n_bytes)
{
    const uint64_t most = easy->caps->max_memory_allocation;
    if (most == 0 || n_bytes <= most)
        return RAPT_OK;
    return rapt_fail(RAPT_ERROR_DEVICE_MEMORY,
                     "%s needs %llu bytes: the device allocates at most %llu at once", name,
                     (unsigned long long)n_bytes, (unsigned long long)most);
}

static rapt_status make(rapt_easy_buffer *buffer, const char *name, int mapped)
{
    rapt_easy *easy = buffer->easy;
    VkDevice device = easy->handles.device;
    VkBufferCreateInfo info = {.sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
                               .size = buffer->n_bytes,
                               .usage = easy->handles.buffer_usage |
                                        VK_BUFFER_USAGE_STORAGE_BUFFER_BIT |
                                        VK_BUFFER_USAGE_TRANSFER_SRC_BIT |
                                        VK_BUFFER_USAGE_TRANSFER_DST_BIT};
    rapt_status status = check_bytes(easy, name, buffer->n_bytes);
    if (status != RAPT_OK)
        return status;
    VkResult result = easy->vk.vkCreateBuffer(device, &info, NULL, &buffer->buffer);
    if (result != VK_SUCCESS) {
        buffer->buffer = VK_NULL_HANDLE;
        return rapt_easy_result(easy, result, name);
    }
    VkMemoryRequirements needs;
    easy->vk.vkGetBufferMemoryRequirements(device, buffer->buffer, &needs);
    status = check_bytes(easy, name, needs.size);
    if (status != RAPT_OK)
        return status;
    VkMemoryPropertyFlags flags = 0;
    result = allocate(buffer, &needs, mapped, &flags);
    if (result == VK_ERROR_OUT_OF_DEVICE_MEMORY)
        return rapt_fail(RAPT_ERROR_DEVICE_MEMORY,
                         "%s: %llu bytes of device memory are not to be had", name,
                         (unsigned long long)needs.size);
    if (result != VK_SUCCESS)
        return rapt_easy_result(easy, result, name);
    buffer->memory_bytes = needs.size;
    easy->live_bytes += needs.size;
    if (easy->live_bytes > easy->peak_bytes)
        easy->peak_bytes = easy->live_bytes;
    result = easy->vk.vkBindBufferMemory(device, buffer->buffer, buffer->memory, 0);
    const VkMemoryPropertyFlags host =
        VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
    int shared = easy->caps->device_type == VK_PHYSICAL_DEVICE_TYPE_CPU ||
                 easy->caps->device_type == VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU;
    if (result == VK_SUCCESS && (flags & host) == host && (mapped || shared))
        result = easy->vk.vkMapMemory(device, buffer->memory, 0, VK_WHOLE_SIZE, 0, &buffer->mapped);
    if (result != VK_SUCCESS)
        return rapt_easy_result(easy, result, name);
    if (easy->set_name) {
        VkDebugUtilsObjectNameInfoEXT label = {
            .sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_OBJECT_NAME_INFO_EXT,
            .objectType = VK_OBJECT_TYPE_BUFFER,
            .objectHandle = (uint64_t)buffer->buffer,
            .pObjectName = name,
        };
        easy->set_name(device, &label);
    }
    return RAPT_OK;
}

rapt_status rapt_easy_buffer_create(rapt_easy *easy, uint64_t n_bytes, const char *name, int mapped,
                                    rapt_easy_buffer **out_buffer)
{
    if (!easy || !out_buffer)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s is NULL", easy ? "out_buffer" : "easy");
    *out_buffer = NULL;
    rapt_status status = rapt_easy_alive(easy);
    if (status != RAPT_OK)
        return status;
    if (!name)
        name = "buffer";
    if (n_bytes > UINT64_MAX / 2)
        return rapt_fail(RAPT_ERROR_DEVICE_MEMORY, "%s: %llu bytes cannot be had", name,
                         (unsigned long long)n_bytes);
    rapt_easy_buffer *buffer = rapt_alloc(easy->allocator, 1, sizeof *buffer);
    if (!buffer)
        return rapt_fail(RAPT_ERROR_HOST_MEMORY, "out of host memory for a buffer");
    buffer->easy = easy;
    /* Never empty: Vulkan has no buffers of no bytes. Whole quads: kernels load up to 16 bytes. */
    buffer->n_bytes = n_bytes ? (n_bytes + 15) / 16 * 16 : 16;
    status = make(buffer, name, mapped);
    if (status != RAPT_OK) {
        rapt_easy_buffer_destroy(&buffer);
        return status;
    }
    *out_buffer = buffer;
    return RAPT_OK;
}

void rapt_easy_buffer_destroy(rapt_easy_buffer **handle)
{
    if (!handle || !*handle)
        return;
    rapt_easy_buffer *buffer = *handle;
    *handle = NULL;
    rapt_easy *easy = buffer->easy;
    if (buffer->buffer)
        easy->vk.vkDestroyBuffer(easy->handles.device, buffer->buffer, NULL);
    if (buffer->memory)
        easy->vk.vkFreeMemory(easy->handles.device, buffer->memory, NULL); /* unmaps as well */
    easy->live_bytes -= buffer->memory_bytes;
    rapt_free(easy->allocator, buffer);
}

rapt_buffer rapt_easy_buffer_range(const rapt_easy_buffer *buffer)
{
    rapt_buffer range = {0};
    if (buffer) {
        range.buffer = buffer->buffer;
        range.size = buffer->n_bytes;
    }
    return range;
}

void *rapt_easy_buffer_mapped(const rapt_easy_buffer *buffer)
{
    return buffer ? buffer->mapped : NULL;
}

static rapt_status check_transfer(rapt_easy *easy, const rapt_easy_buffer *buffer, uint64_t offset,
                                  const void *data, uint64_t n_bytes)
{
    if (!easy || !buffer || (!data && n_bytes))
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s is NULL",
                         !easy ? "easy" : !buffer ? "the buffer" : "data");
    if (offset > buffer->n_bytes || n_bytes > buffer->n_bytes - offset)
        return rapt_fail(RAPT_ERROR_ARGUMENT,
                         "bytes [%llu, +%llu) lie outside the buffer's %llu bytes",
                         (unsigned long long)offset, (unsigned long long)n_bytes,
                         (unsigned long long)buffer->n_bytes);
    if (easy->recording)
        return rapt_fail(RAPT_ERROR_ARGUMENT,
                         "a transfer between rapt_easy_begin and rapt_easy_submit_wait");
    return rapt_easy_alive(easy);
}

/* Through the staging buffer, a piece at a time. */
static rapt_status copy_pieces(rapt_easy *easy, rapt_easy_buffer *buffer, uint64_t offset,
                               uint8_t *data, uint64_t n_bytes, int up)
{
    rapt_status status = RAPT_OK;
    if (!easy->staging)
        status = rapt_easy_buffer_create(easy, STAGING_BYTES, "staging", 1, &easy->staging);
    while (status == RAPT_OK && n_bytes > 0) {
        uint64_t piece = n_bytes < STAGING_BYTES ? n_bytes : STAGING_BYTES;
        VkCommandBuffer commands;
        if (up)
            memcpy(easy->staging->mapped, data, (size_t)piece);
        status = rapt_easy_begin(easy, &commands);
        if (status != RAPT_OK)
            break;
        VkBufferCopy region = {.srcOffset = up ? 0 : offset,
                               .dstOffset = up ? offset : 0,
                               .size = piece};
        easy->vk.vkCmdCopyBuffer(commands, up ? easy->staging->buffer : buffer->buffer,
                                 up ? buffer->buffer : easy->staging->buffer, 1, &region);
        status = rapt_easy_submit_wait(easy, NULL);
        if (status == RAPT_OK && !up)
            memcpy(data, easy->staging->mapped, (size_t)piece);
        data += piece;
        offset += piece;
        n_bytes -= piece;
    }
    return status;
}

rapt_status rapt_easy_upload(rapt_easy *easy, rapt_easy_buffer *to, uint64_t offset,
                             const void *data, uint64_t n_bytes)
{
    rapt_status status = check_transfer(easy, to, offset, data, n_bytes);
    if (status != RAPT_OK || n_bytes == 0)
        return status;
    if (!to->mapped)
        return copy_pieces(easy, to, offset, (uint8_t *)data, n_bytes, 1);
    memcpy((uint8_t *)to->mapped + offset, data, (size_t)n_bytes);
    return RAPT_OK;
}

rapt_status rapt_easy_download(rapt_easy *easy, rapt_easy_buffer *from, uint64_t offset, void *data,
                               uint64_t n_bytes)
{
    rapt_status status = check_transfer(easy, from, offset, data, n_bytes);
    if (status != RAPT_OK || n_bytes == 0)
        return status;
    if (!from->mapped)
        return copy_pieces(easy, from, offset, data, n_bytes, 0);
    memcpy(data, (const uint8_t *)from->mapped + offset, (size_t)n_bytes);
    return RAPT_OK;
}
