/* SPDX-License-Identifier: Apache-2.0 */
#include "app_device.h"

#include "error.h"
#include "loader.h"
#include "platform.h"

#include <string.h>

#define INSTANCE_FUNCTION(app, name)                                                               \
    PFN_##name name = (PFN_##name)(app)->get_instance_proc_addr((app)->instance, #name)

static rapt_status find_queue_family(struct app_device *app)
{
    INSTANCE_FUNCTION(app, vkGetPhysicalDeviceQueueFamilyProperties);
    VkQueueFamilyProperties families[16];
    uint32_t n = 16;
    vkGetPhysicalDeviceQueueFamilyProperties(app->physical_device, &n, families);
    for (uint32_t i = 0; i < n; i++) {
        if (families[i].queueFlags & VK_QUEUE_COMPUTE_BIT) {
            app->queue_family = i;
            return RAPT_OK;
        }
    }
    return rapt_fail(RAPT_ERROR_NO_DEVICE, "the first device has no compute queue");
}

rapt_status app_device_init(uint32_t api_version, struct app_device *out_app)
{
    memset(out_app, 0, sizeof *out_app);
    out_app->api_version = api_version;
    rapt_status status = rapt_loader_open(&out_app->library, &out_app->get_instance_proc_addr);
    if (status != RAPT_OK)
        return status;
    PFN_vkCreateInstance vkCreateInstance =
        (PFN_vkCreateInstance)out_app->get_instance_proc_addr(NULL, "vkCreateInstance");
    VkApplicationInfo info = {
        .sType = VK_STRUCTURE_TYPE_APPLICATION_INFO,
        .pApplicationName = "rapt tests",
        .apiVersion = api_version,
    };
    VkInstanceCreateInfo create = {
        .sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO,
        .pApplicationInfo = &info,
    };
    if (vkCreateInstance(&create, NULL, &out_app->instance) != VK_SUCCESS) {
        app_device_finish(out_app);
        return rapt_fail(RAPT_ERROR_NO_DEVICE, "vkCreateInstance failed");
    }
    INSTANCE_FUNCTION(out_app, vkEnumeratePhysicalDevices);
    uint32_t n = 1;
    VkResult result = vkEnumeratePhysicalDevices(out_app->instance, &n, &out_app->physical_device);
    if ((result != VK_SUCCESS && result != VK_INCOMPLETE) || n == 0)
        status = rapt_fail(RAPT_ERROR_NO_DEVICE, "no device was found");
    if (status == RAPT_OK)
        status = find_queue_family(out_app);
    if (status != RAPT_OK)
        app_device_finish(out_app);
    return status;
}

rapt_status app_device_open(struct app_device *app, const char *const *extensions,
                            uint32_t n_extensions, const void *features)
{
    INSTANCE_FUNCTION(app, vkCreateDevice);
    const float priority = 1.0f;
    VkDeviceQueueCreateInfo queue = {
        .sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
        .queueFamilyIndex = app->queue_family,
        .queueCount = 1,
        .pQueuePriorities = &priority,
    };
    VkDeviceCreateInfo create = {
        .sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
        .pNext = features,
        .queueCreateInfoCount = 1,
        .pQueueCreateInfos = &queue,
        .enabledExtensionCount = n_extensions,
        .ppEnabledExtensionNames = extensions,
    };
    VkResult result = vkCreateDevice(app->physical_device, &create, NULL, &app->device);
    if (result != VK_SUCCESS) {
        app->device = VK_NULL_HANDLE;
        return rapt_fail(RAPT_ERROR_DEVICE, "vkCreateDevice: %d", (int)result);
    }
    app->get_device_proc_addr =
        (PFN_vkGetDeviceProcAddr)app->get_instance_proc_addr(app->instance, "vkGetDeviceProcAddr");
    PFN_vkGetDeviceQueue vkGetDeviceQueue =
        (PFN_vkGetDeviceQueue)app->get_device_proc_addr(app->device, "vkGetDeviceQueue");
    vkGetDeviceQueue(app->device, app->queue_family, 0, &app->queue);
    return RAPT_OK;
}

void app_device_adopt(const struct app_device *app, rapt_device_params *params)
{
    params->get_instance_proc_addr = app->get_instance_proc_addr;
    params->instance = app->instance;
    params->physical_device = app->physical_device;
    params->device = app->device;
    params->queue_family = app->queue_family;
    params->queue = app->queue;
    params->api_version = app->api_version;
}

void app_device_finish(struct app_device *app)
{
    if (app->device) {
        PFN_vkDestroyDevice vkDestroyDevice =
            (PFN_vkDestroyDevice)app->get_device_proc_addr(app->device, "vkDestroyDevice");
        vkDestroyDevice(app->device, NULL);
    }
    if (app->instance) {
        INSTANCE_FUNCTION(app, vkDestroyInstance);
        vkDestroyInstance(app->instance, NULL);
    }
    rapt_library_close(app->library);
    memset(app, 0, sizeof *app);
}
