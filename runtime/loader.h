/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_LOADER_H
#define RUNTIME_LOADER_H

/* The Vulkan loader and an instance, ours or the app's, with the functions of that level. */

#include <rapt/attention.h>

#include "error.h"
#include "vk_newer.h"

#define RAPT_INSTANCE_FUNCTIONS(FUNCTION)                                                          \
    FUNCTION(EnumeratePhysicalDevices)                                                             \
    FUNCTION(GetPhysicalDeviceProperties)                                                          \
    FUNCTION(GetPhysicalDeviceProperties2)                                                         \
    FUNCTION(GetPhysicalDeviceFeatures2)                                                           \
    FUNCTION(GetPhysicalDeviceQueueFamilyProperties)                                               \
    FUNCTION(GetPhysicalDeviceMemoryProperties)                                                    \
    FUNCTION(EnumerateDeviceExtensionProperties)                                                   \
    FUNCTION(CreateDevice)                                                                         \
    FUNCTION(GetDeviceProcAddr)

struct rapt_instance {
    void *library; /* of the platform, NULL if the caller brought the loader */
    PFN_vkGetInstanceProcAddr get_instance_proc_addr;
    VkInstance handle;
    int owned;
    uint32_t api_version; /* it was created with */
    int debug_utils, validation;
    VkDebugUtilsMessengerEXT messenger;
#define FUNCTION(name) PFN_vk##name name;
    RAPT_INSTANCE_FUNCTIONS(FUNCTION)
#undef FUNCTION
    rapt_vk_get_coopmat_properties GetCoopmatProperties; /* may be NULL */
    rapt_vk_get_coopmat2_flexible GetCoopmat2Flexible;   /* may be NULL */
};

/* Where validation messages go; must stay in place while the instance lives. */
struct rapt_validation_sink {
    const rapt_log *log;
    uint32_t *n_messages; /* atomic access */
};

/* Opens the platform's Vulkan loader. Errors: NO_DEVICE, with the reason. */
rapt_status rapt_loader_open(void **out_library,
                             PFN_vkGetInstanceProcAddr *out_get_instance_proc_addr);

/* Makes an own instance of the highest version up to 1.3. With `validation`, the layer is enabled
 * if it is installed. Errors: NO_DEVICE, HOST_MEMORY, DEVICE. */
rapt_status rapt_instance_create(const rapt_device_params *params,
                                 const struct rapt_validation_sink *validation,
                                 struct rapt_instance *out_instance);
/* Takes the app's (params->instance) and looks up functions. Errors: NO_DEVICE, ARGUMENT. */
rapt_status rapt_instance_adopt(const rapt_device_params *params,
                                struct rapt_instance *out_instance);
/* Destroys what is ours of it. */
void rapt_instance_finish(struct rapt_instance *instance);

/* The handles as an array of the caller's allocator; 0 devices is no error here. */
rapt_status rapt_instance_devices(const struct rapt_instance *instance,
                                  const rapt_allocator *allocator, VkPhysicalDevice **out_devices,
                                  uint32_t *out_n);

RAPT_PRINTF(3, 4)
void rapt_log_line(const rapt_log *log, rapt_log_level level, const char *format, ...);

#endif
