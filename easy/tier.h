/* SPDX-License-Identifier: Apache-2.0 */
#ifndef EASY_TIER_H
#define EASY_TIER_H

/* The inside of the easy tier: the object, its Vulkan functions, buffers, jobs. */

#include <rapt/easy.h>

#include "error.h"

/* Device-level Vulkan functions the tier calls. */
#define EASY_FUNCTIONS(FUNCTION)                                                                   \
    FUNCTION(vkAllocateCommandBuffers)                                                             \
    FUNCTION(vkAllocateDescriptorSets)                                                             \
    FUNCTION(vkAllocateMemory)                                                                     \
    FUNCTION(vkBeginCommandBuffer)                                                                 \
    FUNCTION(vkBindBufferMemory)                                                                   \
    FUNCTION(vkCmdBindDescriptorSets)                                                              \
    FUNCTION(vkCmdBindPipeline)                                                                    \
    FUNCTION(vkCmdCopyBuffer)                                                                      \
    FUNCTION(vkCmdDispatch)                                                                        \
    FUNCTION(vkCmdFillBuffer)                                                                      \
    FUNCTION(vkCmdPipelineBarrier)                                                                 \
    FUNCTION(vkCmdPushConstants)                                                                   \
    FUNCTION(vkCmdResetQueryPool)                                                                  \
    FUNCTION(vkCmdWriteTimestamp)                                                                  \
    FUNCTION(vkCreateBuffer)                                                                       \
    FUNCTION(vkCreateCommandPool)                                                                  \
    FUNCTION(vkCreateComputePipelines)                                                             \
    FUNCTION(vkCreateDescriptorPool)                                                               \
    FUNCTION(vkCreateDescriptorSetLayout)                                                          \
    FUNCTION(vkCreateFence)                                                                        \
    FUNCTION(vkCreatePipelineLayout)                                                               \
    FUNCTION(vkCreateQueryPool)                                                                    \
    FUNCTION(vkCreateShaderModule)                                                                 \
    FUNCTION(vkDestroyBuffer)                                                                      \
    FUNCTION(vkDestroyCommandPool)                                                                 \
    FUNCTION(vkDestroyDescriptorPool)                                                              \
    FUNCTION(vkDestroyDescriptorSetLayout)                                                         \
    FUNCTION(vkDestroyFence)                                                                       \
    FUNCTION(vkDestroyPipeline)                                                                    \
    FUNCTION(vkDestroyPipelineLayout)                                                              \
    FUNCTION(vkDestroyQueryPool)                                                                   \
    FUNCTION(vkDestroyShaderModule)                                                                \
    FUNCTION(vkDeviceWaitIdle)                                                                     \
    FUNCTION(vkEndCommandBuffer)                                                                   \
    FUNCTION(vkFreeMemory)                                                                         \
    FUNCTION(vkGetBufferMemoryRequirements)                                                        \
    FUNCTION(vkGetQueryPoolResults)                                                                \
    FUNCTION(vkMapMemory)                                                                          \
    FUNCTION(vkQueueSubmit)                                                                        \
    FUNCTION(vkResetCommandPool)                                                                   \
    FUNCTION(vkResetFences)                                                                        \
    FUNCTION(vkUpdateDescriptorSets)                                                               \
    FUNCTION(vkWaitForFences)

struct rapt_easy {
    const rapt_allocator *allocator; /* points at allocator_copy, or NULL */
    rapt_allocator allocator_copy;
    rapt_log log;
    rapt_device *device;
    int owns_device;
    const rapt_caps *caps;
    rapt_device_handles handles;
    struct {
#define FUNCTION(name) PFN_##name name;
        EASY_FUNCTIONS(FUNCTION)
#undef FUNCTION
    } vk;
    PFN_vkGetBufferDeviceAddress get_address; /* with buffer_device_address, else NULL */
    PFN_vkSetDebugUtilsObjectNameEXT set_name; /* may be NULL */
    VkPhysicalDeviceMemoryProperties memory;

    VkCommandPool pool;
    VkCommandBuffer commands;
    VkFence fence;
    VkQueryPool queries; /* two timestamps, or none */
    int recording;       /* between begin and submit_wait */
    int lost;            /* the device was lost: only destroy is left */
    rapt_easy_buffer *staging; /* for memory the host cannot map; made when first needed */

    uint64_t live_bytes, peak_bytes;
    char *cache_path;        /* file of the pipeline cache, NULL = none */
    uint64_t cache_on_disk; /* bytes of the blob last read or written */
    rapt_tiles *tiles;       /* the user's, NULL = none */
};

struct rapt_easy_buffer {
    rapt_easy *easy;
    VkBuffer buffer;
    VkDeviceMemory memory;
    uint64_t n_bytes, memory_bytes;
    void *mapped;
};

/* RAPT_OK, or the status of a VkResult with the last error set to what failed; notes a lost device.
 */
rapt_status rapt_easy_result(rapt_easy *easy, VkResult result, const char *what);
/* DEVICE_LOST when the device was lost before. */
rapt_status rapt_easy_alive(const rapt_easy *easy);
#if defined(__GNUC__)
__attribute__((format(printf, 3, 4)))
#endif
void rapt_easy_log(const rapt_easy *easy, rapt_log_level level, const char *format, ...);

/* environment.c: what the tier takes from the environment. NULL when unset. */
rapt_status rapt_easy_environment(const rapt_easy_params *params,
                                  rapt_device_params *device_params);
rapt_log_level rapt_easy_log_level(int ignore_environment, rapt_status *out_status);
void rapt_easy_log_stderr(void *user, rapt_log_level level, const char *line);

/* cache_file.c: the pipeline cache on disk. Failures are logged, never errors. */
void rapt_easy_pipelines_load(rapt_easy *easy, const rapt_easy_params *params);
void rapt_easy_pipelines_save(rapt_easy *easy); /* if it grew since */
/* The path of a cache's file for a device, of the params' allocator; NULL for nowhere. */
char *rapt_easy_cache_file(const rapt_easy_params *params, const rapt_caps *caps, const char *kind,
                           const char *ending);
/* Puts the file in its place at once, making folders. Nonzero if it did; `path` is changed meanwhile. */
int rapt_easy_cache_store(const rapt_allocator *allocator, char *path, const void *data,
                          size_t n_bytes);

/* submit.c */
rapt_status rapt_easy_queue_create(rapt_easy *easy);
void rapt_easy_queue_destroy(rapt_easy *easy);
/* Everything written before is visible to everything after. */
void rapt_easy_barrier(rapt_easy *easy, VkCommandBuffer commands);
uint64_t rapt_easy_buffer_address(const rapt_easy_buffer *buffer);

#endif
