/* SPDX-License-Identifier: Apache-2.0 */
#ifndef EXAMPLES_OWN_DEVICE_APP_H
#define EXAMPLES_OWN_DEVICE_APP_H

/* What own_device needs of an app around it. The app's Vulkan loader is volk. */

#include <volk.h>

#include <rapt/attention.h>

#define VK(call) app_check((call), #call)
void app_check(VkResult result, const char *what); /* says what failed and exits with 4 */

/* A host-visible, coherent, mapped buffer. */
rapt_buffer app_buffer(VkPhysicalDevice gpu, VkDevice device, VkBufferUsageFlags usage,
                       VkMemoryAllocateFlags allocate_flags, uint64_t n_bytes, void **out_mapped);

/* A dispatch of the app's own, where a model would compute its projections. */
struct app_fill {
    VkPipelineLayout layout;
    VkPipeline pipeline;
    VkDescriptorSet set;
};
void app_fill_create(VkDevice device, rapt_buffer target, struct app_fill *out_fill);
void app_fill_record(const struct app_fill *fill, VkCommandBuffer commands, uint32_t n_elements,
                     uint32_t seed);

/* A command buffer in the recording state; its submission. */
VkCommandBuffer app_begin(VkDevice device, uint32_t queue_family);
void app_submit_wait(VkQueue queue, VkCommandBuffer commands);
/* Destroys all that the functions above made. */
void app_close(VkDevice device, struct app_fill *fill);

#endif
