/* SPDX-License-Identifier: Apache-2.0 */
#include "tier.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void rapt_easy_log(const rapt_easy *easy, rapt_log_level level, const char *format, ...)
{
    if (!easy->log.write || level > easy->log.max_level)
        return;
    char line[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    easy->log.write(easy->log.user, level, line);
}

rapt_status rapt_easy_result(rapt_easy *easy, VkResult result, const char *what)
{
    switch (result) {
    case VK_SUCCESS:
        return RAPT_OK;
    case VK_ERROR_OUT_OF_HOST_MEMORY:
        return rapt_fail(RAPT_ERROR_HOST_MEMORY, "%s: out of host memory", what);
    case VK_ERROR_OUT_OF_DEVICE_MEMORY:
    case VK_ERROR_OUT_OF_POOL_MEMORY:
    case VK_ERROR_TOO_MANY_OBJECTS:
        return rapt_fail(RAPT_ERROR_DEVICE_MEMORY, "%s: out of device memory", what);
    case VK_ERROR_DEVICE_LOST:
        easy->lost = 1;
        return rapt_fail(RAPT_ERROR_DEVICE_LOST,
                         "%s: the device was lost; destroy the easy object and make a new one",
                         what);
    default:
        return rapt_fail(RAPT_ERROR_DEVICE, "%s: VkResult %d", what, (int)result);
    }
}

rapt_status rapt_easy_alive(const rapt_easy *easy)
{
    if (easy->lost)
        return rapt_fail(RAPT_ERROR_DEVICE_LOST, "the device was lost earlier; destroy the easy "
                                                 "object and make a new one");
    return RAPT_OK;
}

static rapt_status load_functions(rapt_easy *easy)
{
    rapt_device_handles *handles = &easy->handles;
#define FUNCTION(name)                                                                             \
    easy->vk.name = (PFN_##name)handles->get_device_proc_addr(handles->device, #name);             \
    if (!easy->vk.name)                                                                            \
        return rapt_fail(RAPT_ERROR_DEVICE, "the device has no " #name);
    EASY_FUNCTIONS(FUNCTION)
#undef FUNCTION
    if (easy->caps->features & RAPT_FEATURE_BUFFER_DEVICE_ADDRESS) {
        /* core since 1.2, the extension's name before; a driver may resolve one and not the other
         */
        easy->get_address = (PFN_vkGetBufferDeviceAddress)handles->get_device_proc_addr(
            handles->device, "vkGetBufferDeviceAddress");
        if (!easy->get_address)
            easy->get_address = (PFN_vkGetBufferDeviceAddress)handles->get_device_proc_addr(
                handles->device, "vkGetBufferDeviceAddressKHR");
    }
    if (easy->caps->features & RAPT_FEATURE_DEBUG_UTILS)
        easy->set_name = (PFN_vkSetDebugUtilsObjectNameEXT)handles->get_instance_proc_addr(
            handles->instance, "vkSetDebugUtilsObjectNameEXT");
    PFN_vkGetPhysicalDeviceMemoryProperties get_memory =
        (PFN_vkGetPhysicalDeviceMemoryProperties)handles->get_instance_proc_addr(
            handles->instance, "vkGetPhysicalDeviceMemoryProperties");
    if (!get_memory)
        return rapt_fail(RAPT_ERROR_DEVICE,
                         "the instance has no vkGetPhysicalDeviceMemoryProperties");
    get_memory(handles->physical_device, &easy->memory);
    return RAPT_OK;
}

static rapt_status open_device(rapt_easy *easy, const rapt_easy_params *params)
{
    if (params->adopt) {
        if (params->disable)
            return rapt_fail(RAPT_ERROR_ARGUMENT,
                             "disable is 0x%llx, but what an adopted device may use is decided "
                             "where it is made",
                             (unsigned long long)params->disable);
        easy->device = params->adopt;
    } else {
        rapt_device_params device = {.struct_size = sizeof device,
                                     .allocator = easy->allocator,
                                     .log = easy->log,
                                     .select = params->device,
                                     .disable = params->disable,
                                     .validation = params->validation,
                                     .low_priority = params->low_priority};
        rapt_status status = rapt_easy_environment(params, &device);
        if (status == RAPT_OK)
            status = rapt_device_create(&device, &easy->device);
        if (status != RAPT_OK)
            return status;
        easy->owns_device = 1;
    }
    easy->caps = rapt_device_caps(easy->device);
    easy->handles.struct_size = sizeof easy->handles;
    rapt_device_get_handles(easy->device, &easy->handles);
    if (!easy->handles.queue)
        return rapt_fail(RAPT_ERROR_ARGUMENT,
                         "adopt has no queue: set rapt_device_params.queue when making it");
    return load_functions(easy);
}

static rapt_status create(const rapt_easy_params *params, rapt_easy *easy)
{
    rapt_status status = RAPT_OK;
    if (params->log.write) {
        easy->log = params->log;
    } else {
        easy->log.write = rapt_easy_log_stderr;
        easy->log.max_level = rapt_easy_log_level(params->ignore_environment, &status);
    }
    if (status == RAPT_OK)
        status = open_device(easy, params);
    if (status == RAPT_OK)
        status = rapt_easy_queue_create(easy);
    if (status == RAPT_OK)
        rapt_easy_pipelines_load(easy, params);
    if (status == RAPT_OK &&
        rapt_easy_tiles_load(params, easy->caps, NULL, 0, &easy->tiles) != RAPT_OK)
        rapt_easy_log(easy, RAPT_LOG_WARNING, "%s", rapt_last_error());
    return status;
}

rapt_status rapt_easy_create(const rapt_easy_params *params, rapt_easy **out_easy)
{
    if (!out_easy)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "out_easy is NULL");
    *out_easy = NULL;
    rapt_easy_params own = {.struct_size = sizeof own};
    if (params) {
        rapt_status status = rapt_params_read("rapt_easy_params", params, &own, sizeof own);
        if (status != RAPT_OK)
            return status;
    }
    if (own.allocator && (!own.allocator->alloc || !own.allocator->free))
        return rapt_fail(RAPT_ERROR_ARGUMENT, "allocator.%s is NULL: give both callbacks or none",
                         own.allocator->alloc ? "free" : "alloc");
    rapt_easy *easy = rapt_alloc(own.allocator, 1, sizeof *easy);
    if (!easy)
        return rapt_fail(RAPT_ERROR_HOST_MEMORY, "out of host memory for the easy object");
    if (own.allocator) {
        easy->allocator_copy = *own.allocator;
        easy->allocator = &easy->allocator_copy;
    }
    rapt_status status = create(&own, easy);
    if (status != RAPT_OK) {
        rapt_easy_destroy(&easy);
        return status;
    }
    *out_easy = easy;
    return RAPT_OK;
}

void rapt_easy_destroy(rapt_easy **easy_handle)
{
    if (!easy_handle || !*easy_handle)
        return;
    rapt_easy *easy = *easy_handle;
    *easy_handle = NULL;
    if (easy->pool && !easy->lost)
        easy->vk.vkDeviceWaitIdle(easy->handles.device);
    rapt_easy_pipelines_save(easy);
    rapt_easy_buffer_destroy(&easy->staging);
    rapt_easy_queue_destroy(easy);
    if (easy->owns_device)
        rapt_device_destroy(&easy->device);
    rapt_free(easy->allocator, easy->cache_path);
    rapt_tiles_destroy(&easy->tiles);
    /* The allocator lies in what it frees. */
    rapt_allocator allocator = easy->allocator_copy;
    rapt_free(easy->allocator ? &allocator : NULL, easy);
}

rapt_device *rapt_easy_device(rapt_easy *easy)
{
    return easy ? easy->device : NULL;
}

uint64_t rapt_easy_peak_bytes(rapt_easy *easy, int reset)
{
    if (!easy)
        return 0;
    uint64_t peak = easy->peak_bytes;
    if (reset)
        easy->peak_bytes = easy->live_bytes;
    return peak;
}
