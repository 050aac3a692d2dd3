/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_DEVICE_H
#define RUNTIME_DEVICE_H

#include <rapt/attention.h>

#include <volk.h> /* for struct VolkDeviceTable only; compiled with VK_NO_PROTOTYPES */

#include "error.h"
#include "loader.h"

/* Functions of device level the library calls, by name as VolkDeviceTable has them. */
#define RAPT_DEVICE_FUNCTIONS(FUNCTION)                                                            \
    FUNCTION(vkDestroyDevice)                                                                      \
    FUNCTION(vkGetDeviceQueue)                                                                     \
    FUNCTION(vkCreateShaderModule)                                                                 \
    FUNCTION(vkDestroyShaderModule)                                                                \
    FUNCTION(vkCreateDescriptorSetLayout)                                                          \
    FUNCTION(vkDestroyDescriptorSetLayout)                                                         \
    FUNCTION(vkCreatePipelineLayout)                                                               \
    FUNCTION(vkDestroyPipelineLayout)                                                              \
    FUNCTION(vkCreateComputePipelines)                                                             \
    FUNCTION(vkDestroyPipeline)                                                                    \
    FUNCTION(vkCreatePipelineCache)                                                                \
    FUNCTION(vkDestroyPipelineCache)                                                               \
    FUNCTION(vkGetPipelineCacheData)                                                               \
    FUNCTION(vkMergePipelineCaches)                                                                \
    FUNCTION(vkCreateDescriptorPool)                                                               \
    FUNCTION(vkDestroyDescriptorPool)                                                              \
    FUNCTION(vkAllocateDescriptorSets)                                                             \
    FUNCTION(vkUpdateDescriptorSets)                                                               \
    FUNCTION(vkCmdBindPipeline)                                                                    \
    FUNCTION(vkCmdBindDescriptorSets)                                                              \
    FUNCTION(vkCmdPushConstants)                                                                   \
    FUNCTION(vkCmdDispatch)                                                                        \
    FUNCTION(vkCmdDispatchBase)                                                                    \
    FUNCTION(vkCmdPipelineBarrier)                                                                 \
    FUNCTION(vkCmdFillBuffer)
/* Those of optional features, vkCmdPushDescriptorSetKHR and vkGetBufferDeviceAddress, are there
 * exactly when caps.features has the feature. */

struct rapt_device {
    rapt_caps caps;
    const rapt_allocator *allocator; /* points at allocator_copy, or NULL */
    rapt_allocator allocator_copy;
    rapt_log log;

    PFN_vkGetInstanceProcAddr get_instance_proc_addr;
    PFN_vkGetDeviceProcAddr get_device_proc_addr;
    VkInstance instance;
    VkPhysicalDevice physical_device;
    VkDevice device;
    uint32_t queue_family;
    VkQueue queue;
    int owned; /* instance and device are ours to destroy */
    int debug_utils;
    int validation;
    struct rapt_instance loader; /* the loader and what it knows of the instance above */
    struct rapt_validation_sink sink;
    uint32_t n_validation_messages; /* atomic access */

    struct VolkDeviceTable vk; /* the functions the library uses; others stay NULL */
    PFN_vkSetDebugUtilsObjectNameEXT set_object_name;
    PFN_vkCmdBeginDebugUtilsLabelEXT cmd_begin_label;
    PFN_vkCmdEndDebugUtilsLabelEXT cmd_end_label;
    VkPipelineCache pipeline_cache;
};

RAPT_PRINTF(3, 4)
void rapt_device_log(const rapt_device *device, rapt_log_level level, const char *format, ...);
/* Names an object for RenderDoc and validation; no-op without debug_utils. */
void rapt_device_name(rapt_device *device, VkObjectType type, uint64_t handle, const char *name);
/* A label around commands, for RenderDoc and validation; no-op without debug_utils. */
void rapt_device_begin_label(rapt_device *device, VkCommandBuffer commands, const char *name);
void rapt_device_end_label(rapt_device *device, VkCommandBuffer commands);
/* What kernels before it wrote is there for kernels after it, and what those read may be overwritten. */
void rapt_device_barrier(const rapt_device *device, VkCommandBuffer commands);
/* The second alone: what they wrote need not be there. */
void rapt_device_barrier_order(const rapt_device *device, VkCommandBuffer commands);
/* rapt_status of a VkResult, with the last error set to "what: VK_ERROR_...". */
rapt_status rapt_device_result(VkResult result, const char *what);

#endif
