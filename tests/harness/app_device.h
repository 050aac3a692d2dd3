/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HARNESS_APP_DEVICE_H
#define HARNESS_APP_DEVICE_H

/* A VkDevice as an app would make it, for tests that adopt one. */

#include <rapt/attention.h>

struct app_device {
    void *library;
    PFN_vkGetInstanceProcAddr get_instance_proc_addr;
    PFN_vkGetDeviceProcAddr get_device_proc_addr;
    VkInstance instance;
    VkPhysicalDevice physical_device;
    VkDevice device;
    uint32_t queue_family;
    VkQueue queue;
    uint32_t api_version;
    int debug_utils;
};

/* An instance of `api_version` and its first device; RAPT_ERROR_NO_DEVICE if there is none. */
rapt_status app_device_init(uint32_t api_version, struct app_device *out_app);
/* The VkDevice, with these extensions and this pNext chain. */
rapt_status app_device_open(struct app_device *app, const char *const *extensions,
                            uint32_t n_extensions, const void *features);
/* Fills the members of params that adopting needs, but not what was enabled. */
void app_device_adopt(const struct app_device *app, rapt_device_params *params);
void app_device_finish(struct app_device *app);

#endif
