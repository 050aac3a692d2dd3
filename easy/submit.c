/* SPDX-License-Identifier: Apache-2.0 */
/* One command buffer, one fence, two timestamps: record, submit, wait. */
#include "tier.h"

#include "platform.h"

rapt_status rapt_easy_queue_create(rapt_easy *easy)
{
    VkDevice device = easy->handles.device;
    VkCommandPoolCreateInfo pool = {.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
                                    .flags = VK_COMMAND_POOL_CREATE_TRANSIENT_BIT,
                                    .queueFamilyIndex = easy->handles.queue_family};
    VkResult result = easy->vk.vkCreateCommandPool(device, &pool, NULL, &easy->pool);
    if (result != VK_SUCCESS) {
        easy->pool = VK_NULL_HANDLE;
        return rapt_easy_result(easy, result, "vkCreateCommandPool");
    }
    VkCommandBufferAllocateInfo commands = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
        .commandPool = easy->pool,
        .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
        .commandBufferCount = 1,
    };
    result = easy->vk.vkAllocateCommandBuffers(device, &commands, &easy->commands);
    if (result != VK_SUCCESS)
        return rapt_easy_result(easy, result, "vkAllocateCommandBuffers");
    VkFenceCreateInfo fence = {.sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO};
    result = easy->vk.vkCreateFence(device, &fence, NULL, &easy->fence);
    if (result != VK_SUCCESS) {
        easy->fence = VK_NULL_HANDLE;
        return rapt_easy_result(easy, result, "vkCreateFence");
    }
    if (easy->caps->timestamp_valid_bits == 0)
        return RAPT_OK;
    VkQueryPoolCreateInfo queries = {.sType = VK_STRUCTURE_TYPE_QUERY_POOL_CREATE_INFO,
                                     .queryType = VK_QUERY_TYPE_TIMESTAMP,
                                     .queryCount = 2};
    result = easy->vk.vkCreateQueryPool(device, &queries, NULL, &easy->queries);
    if (result != VK_SUCCESS) {
        easy->queries = VK_NULL_HANDLE;
        return rapt_easy_result(easy, result, "vkCreateQueryPool");
    }
    return RAPT_OK;
}

void rapt_easy_queue_destroy(rapt_easy *easy)
{
    VkDevice device = easy->handles.device;
    if (easy->queries)
        easy->vk.vkDestroyQueryPool(device, easy->queries, NULL);
    if (easy->fence)
        easy->vk.vkDestroyFence(device, easy->fence, NULL);
    if (easy->pool)
        easy->vk.vkDestroyCommandPool(device, easy->pool, NULL);
}

void rapt_easy_barrier(rapt_easy *easy, VkCommandBuffer commands)
{
    const VkPipelineStageFlags stages =
        VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT;
    VkMemoryBarrier barrier = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
        .srcAccessMask = VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT,
        .dstAccessMask = VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT |
                         VK_ACCESS_TRANSFER_READ_BIT | VK_ACCESS_TRANSFER_WRITE_BIT,
    };
    easy->vk.vkCmdPipelineBarrier(commands, stages, stages, 0, 1, &barrier, 0, NULL, 0, NULL);
}

rapt_status rapt_easy_begin(rapt_easy *easy, VkCommandBuffer *out_commands)
{
    if (!easy || !out_commands)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s is NULL", easy ? "out_commands" : "easy");
    rapt_status status = rapt_easy_alive(easy);
    if (status != RAPT_OK)
        return status;
    /* An earlier begin that was never submitted is forgotten here. */
    easy->recording = 0;
    VkResult result = easy->vk.vkResetCommandPool(easy->handles.device, easy->pool, 0);
    if (result != VK_SUCCESS)
        return rapt_easy_result(easy, result, "vkResetCommandPool");
    VkCommandBufferBeginInfo begin = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
                                      .flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT};
    result = easy->vk.vkBeginCommandBuffer(easy->commands, &begin);
    if (result != VK_SUCCESS)
        return rapt_easy_result(easy, result, "vkBeginCommandBuffer");
    rapt_easy_barrier(easy, easy->commands);
    if (easy->queries) {
        easy->vk.vkCmdResetQueryPool(easy->commands, easy->queries, 0, 2);
        easy->vk.vkCmdWriteTimestamp(easy->commands, VK_PIPELINE_STAGE_TOP_OF_PIPE_BIT,
                                     easy->queries, 0);
    }
    easy->recording = 1;
    *out_commands = easy->commands;
    return RAPT_OK;
}

/* Device seconds between the two timestamps; `host` where they cannot be read. */
static double device_seconds(rapt_easy *easy, double host)
{
    uint64_t ticks[2] = {0, 0};
    if (!easy->queries ||
        easy->vk.vkGetQueryPoolResults(easy->handles.device, easy->queries, 0, 2, sizeof ticks,
                                       ticks, sizeof ticks[0],
                                       VK_QUERY_RESULT_64_BIT) != VK_SUCCESS)
        return host;
    uint32_t bits = easy->caps->timestamp_valid_bits;
    uint64_t mask = bits >= 64 ? UINT64_MAX : ((uint64_t)1 << bits) - 1;
    double seconds =
        (double)((ticks[1] - ticks[0]) & mask) * (double)easy->caps->timestamp_period * 1e-9;
    /* The device's work lies within the host's wait; a clock that says otherwise is not one. */
    return seconds > 0 && seconds <= host * 1.01 + 1e-6 ? seconds : host;
}

rapt_status rapt_easy_submit_wait(rapt_easy *easy, double *out_seconds)
{
    if (!easy)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "easy is NULL");
    rapt_status status = rapt_easy_alive(easy);
    if (status != RAPT_OK)
        return status;
    if (!easy->recording)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "rapt_easy_submit_wait without rapt_easy_begin");
    easy->recording = 0;
    if (easy->queries)
        easy->vk.vkCmdWriteTimestamp(easy->commands, VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT,
                                     easy->queries, 1);
    VkMemoryBarrier to_host = {.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
                               .srcAccessMask =
                                   VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT,
                               .dstAccessMask = VK_ACCESS_HOST_READ_BIT};
    easy->vk.vkCmdPipelineBarrier(
        easy->commands, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT,
        VK_PIPELINE_STAGE_HOST_BIT, 0, 1, &to_host, 0, NULL, 0, NULL);
    VkResult result = easy->vk.vkEndCommandBuffer(easy->commands);
    if (result != VK_SUCCESS)
        return rapt_easy_result(easy, result, "vkEndCommandBuffer");
    result = easy->vk.vkResetFences(easy->handles.device, 1, &easy->fence);
    if (result != VK_SUCCESS)
        return rapt_easy_result(easy, result, "vkResetFences");
    VkSubmitInfo submit = {.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
                           .commandBufferCount = 1,
                           .pCommandBuffers = &easy->commands};
    double start = rapt_now_seconds();
    result = easy->vk.vkQueueSubmit(easy->handles.queue, 1, &submit, easy->fence);
    if (result != VK_SUCCESS)
        return rapt_easy_result(easy, result, "vkQueueSubmit");
    result = easy->vk.vkWaitForFences(easy->handles.device, 1, &easy->fence, VK_TRUE, UINT64_MAX);
    if (result != VK_SUCCESS) {
        /* What was submitted may still run and use everything: nothing is safe to touch again. */
        easy->lost = 1;
        return rapt_easy_result(easy, result, "vkWaitForFences");
    }
    double host = rapt_now_seconds() - start;
    if (out_seconds)
        *out_seconds = device_seconds(easy, host);
    return RAPT_OK;
}
