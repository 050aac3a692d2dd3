/* SPDX-License-Identifier: Apache-2.0 */
#include "device.h"

#include "cache.h"
#include "caps.h"
#include "error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* --------------------------------------------------------------------------- names, logs, errors
 */

void rapt_device_log(const rapt_device *device, rapt_log_level level, const char *format, ...)
{
    if (!device->log.write || level > device->log.max_level)
        return;
    char line[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    device->log.write(device->log.user, level, line);
}

void rapt_device_name(rapt_device *device, VkObjectType type, uint64_t handle, const char *name)
{
    if (!device->set_object_name || !handle || !name)
        return;
    VkDebugUtilsObjectNameInfoEXT info = {
        .sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_OBJECT_NAME_INFO_EXT,
        .objectType = type,
        .objectHandle = handle,
        .pObjectName = name,
    };
    device->set_object_name(device->device, &info);
}

void rapt_device_begin_label(rapt_device *device, VkCommandBuffer commands, const char *name)
{
    if (!device->cmd_begin_label)
        return;
    VkDebugUtilsLabelEXT label = {
        .sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_LABEL_EXT,
        .pLabelName = name,
    };
    device->cmd_begin_label(commands, &label);
}

void rapt_device_end_label(rapt_device *device, VkCommandBuffer commands)
{
    if (device->cmd_end_label)
        device->cmd_end_label(commands);
}

void rapt_device_barrier(const rapt_device *device, VkCommandBuffer commands)
{
    VkMemoryBarrier memory = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
        .srcAccessMask = VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT,
        .dstAccessMask = VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT,
    };
    device->vk.vkCmdPipelineBarrier(commands, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT,
                                    VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, 0, 1, &memory, 0, NULL, 0,
                                    NULL);
}

void rapt_device_barrier_order(const rapt_device *device, VkCommandBuffer commands)
{
    device->vk.vkCmdPipelineBarrier(commands, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT,
                                    VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, 0, 0, NULL, 0, NULL, 0,
                                    NULL);
}

static const char *result_name(VkResult result)
{
    switch (result) {
#define RESULT(name)                                                                               \
    case name:                                                                                     \
        return #name
        RESULT(VK_NOT_READY);
        RESULT(VK_TIMEOUT);
        RESULT(VK_INCOMPLETE);
        RESULT(VK_ERROR_OUT_OF_HOST_MEMORY);
        RESULT(VK_ERROR_OUT_OF_DEVICE_MEMORY);
        RESULT(VK_ERROR_INITIALIZATION_FAILED);
        RESULT(VK_ERROR_DEVICE_LOST);
        RESULT(VK_ERROR_MEMORY_MAP_FAILED);
        RESULT(VK_ERROR_LAYER_NOT_PRESENT);
        RESULT(VK_ERROR_EXTENSION_NOT_PRESENT);
        RESULT(VK_ERROR_FEATURE_NOT_PRESENT);
        RESULT(VK_ERROR_INCOMPATIBLE_DRIVER);
        RESULT(VK_ERROR_TOO_MANY_OBJECTS);
        RESULT(VK_ERROR_FRAGMENTED_POOL);
        RESULT(VK_ERROR_OUT_OF_POOL_MEMORY);
        RESULT(VK_ERROR_FRAGMENTATION);
        RESULT(VK_ERROR_INVALID_SHADER_NV);
        RESULT(VK_ERROR_NOT_PERMITTED_KHR);
        RESULT(VK_ERROR_UNKNOWN);
#undef RESULT
    default:
        return "VkResult";
    }
}

rapt_status rapt_device_result(VkResult result, const char *what)
{
    if (result == VK_SUCCESS)
        return RAPT_OK;
    rapt_status status = RAPT_ERROR_DEVICE;
    if (result == VK_ERROR_OUT_OF_HOST_MEMORY)
        status = RAPT_ERROR_HOST_MEMORY;
    else if (result == VK_ERROR_OUT_OF_DEVICE_MEMORY || result == VK_ERROR_OUT_OF_POOL_MEMORY ||
             result == VK_ERROR_FRAGMENTED_POOL)
        status = RAPT_ERROR_DEVICE_MEMORY;
    else if (result == VK_ERROR_DEVICE_LOST)
        status = RAPT_ERROR_DEVICE_LOST;
    return rapt_fail(status, "%s: %s (%d)", what, result_name(result), (int)result);
}

/* ------------------------------------------------------------------------------------ selection */

static int rank(uint32_t device_type)
{
    switch (device_type) {
    case VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU:
        return 0;
    case VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU:
        return 1;
    case VK_PHYSICAL_DEVICE_TYPE_VIRTUAL_GPU:
        return 2;
    case VK_PHYSICAL_DEVICE_TYPE_CPU:
        return 4;
    default:
        return 3;
    }
}

static int lower(int c)
{
    return c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c;
}

static int contains(const char *text, const char *part)
{
    for (; *text; text++) {
        size_t i = 0;
        while (part[i] && lower((unsigned char)text[i]) == lower((unsigned char)part[i]))
            i++;
        if (!part[i])
            return 1;
    }
    return 0;
}

/* -1 if the text is no number. */
static int64_t parse_index(const char *text)
{
    int64_t value = 0;
    for (const char *p = text; *p; p++) {
        if (*p < '0' || *p > '9' || value > 1000000)
            return -1;
        value = value * 10 + (*p - '0');
    }
    return *text ? value : -1;
}

static rapt_status none_matches(const char *select, uint32_t n_usable, const char *first_reason)
{
    if (n_usable == 0 && first_reason[0])
        return rapt_fail(RAPT_ERROR_NO_DEVICE, "no usable Vulkan device: %s", first_reason);
    if (n_usable == 0)
        return rapt_fail(RAPT_ERROR_NO_DEVICE,
                         "no Vulkan device: the loader found no driver with one");
    return rapt_fail(RAPT_ERROR_NO_DEVICE,
                     "no device matches '%s': expected an index below %u or a part of a name",
                     select, (unsigned)n_usable);
}

/* Reads the device that params->select means; indices count usable devices only. */
static rapt_status select_physical(const struct rapt_instance *instance,
                                   const rapt_device_params *params,
                                   struct rapt_physical *out_physical)
{
    const char *select = params->select ? params->select : "";
    const int64_t index = parse_index(select);
    VkPhysicalDevice *handles = NULL;
    uint32_t n = 0, n_usable = 0, best = UINT32_MAX;
    int best_rank = 0, best_exact = 0;
    char reason[256] = "";
    rapt_status status = rapt_instance_devices(instance, params->allocator, &handles, &n);
    for (uint32_t i = 0; status == RAPT_OK && i < n; i++) {
        struct rapt_physical physical;
        status = rapt_physical_read(instance, params->allocator, handles[i], UINT32_MAX, 0, 0,
                                    &physical);
        if (status == RAPT_ERROR_UNSUPPORTED) {
            if (!reason[0])
                snprintf(reason, sizeof reason, "%s", rapt_last_error());
            status = RAPT_OK;
            continue;
        }
        if (status != RAPT_OK)
            break;
        int exact = index >= 0 && index == (int64_t)n_usable;
        n_usable++;
        if (!exact && select[0] && !contains(physical.caps.device_name, select))
            continue;
        int this_rank = rank(physical.caps.device_type);
        if (best == UINT32_MAX || exact > best_exact ||
            (exact == best_exact && this_rank < best_rank)) {
            best = i;
            best_rank = this_rank;
            best_exact = exact;
        }
    }
    if (status == RAPT_OK && best == UINT32_MAX)
        status = none_matches(select, n_usable, reason);
    if (status == RAPT_OK)
        status = rapt_physical_read(instance, params->allocator, handles[best], UINT32_MAX,
                                    params->low_priority, params->disable, out_physical);
    rapt_free(params->allocator, handles);
    return status;
}

rapt_status rapt_devices_list(const rapt_device_params *params, rapt_caps *out_caps,
                              uint32_t capacity, uint32_t *out_n)
{
    if (!out_n)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "out_n is NULL");
    if (capacity > 0 && !out_caps)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "out_caps is NULL with a capacity of %u",
                         (unsigned)capacity);
    *out_n = 0;
    rapt_device_params own = {.struct_size = sizeof own};
    rapt_status status = RAPT_OK;
    if (params)
        status = rapt_params_read("params", params, &own, sizeof own);
    if (status != RAPT_OK)
        return status;
    struct rapt_instance instance;
    status = own.instance ? rapt_instance_adopt(&own, &instance)
                          : rapt_instance_create(&own, NULL, &instance);
    if (status != RAPT_OK)
        return status;
    VkPhysicalDevice *handles = NULL;
    uint32_t n = 0, n_usable = 0;
    status = rapt_instance_devices(&instance, own.allocator, &handles, &n);
    for (uint32_t i = 0; status == RAPT_OK && i < n; i++) {
        struct rapt_physical physical;
        status = rapt_physical_read(&instance, own.allocator, handles[i], UINT32_MAX, 0,
                                    own.disable, &physical);
        if (status == RAPT_ERROR_UNSUPPORTED) {
            status = RAPT_OK;
            continue;
        }
        if (status == RAPT_OK && n_usable < capacity)
            out_caps[n_usable] = physical.caps;
        n_usable += status == RAPT_OK;
    }
    rapt_free(own.allocator, handles);
    rapt_instance_finish(&instance);
    if (status == RAPT_OK)
        *out_n = n_usable;
    return status;
}

/* ------------------------------------------------------------------------------------- creation */

static rapt_status load_functions(rapt_device *device)
{
#define FUNCTION(name)                                                                             \
    device->vk.name = (PFN_##name)device->get_device_proc_addr(device->device, #name);             \
    if (!device->vk.name)                                                                          \
        return rapt_fail(RAPT_ERROR_DEVICE, "the driver has no " #name);
    RAPT_DEVICE_FUNCTIONS(FUNCTION)
#undef FUNCTION
    return RAPT_OK;
}

/* A feature whose function is missing is not there, whatever was enabled. */
static void load_optional(rapt_device *device, uint32_t version)
{
    rapt_features *features = &device->caps.features;
    if (*features & RAPT_FEATURE_PUSH_DESCRIPTOR)
        device->vk.vkCmdPushDescriptorSetKHR =
            (PFN_vkCmdPushDescriptorSetKHR)device->get_device_proc_addr(
                device->device, "vkCmdPushDescriptorSetKHR");
    if (!device->vk.vkCmdPushDescriptorSetKHR)
        *features &= ~RAPT_FEATURE_PUSH_DESCRIPTOR;

    if (*features & RAPT_FEATURE_BUFFER_DEVICE_ADDRESS)
        device->vk.vkGetBufferDeviceAddress =
            (PFN_vkGetBufferDeviceAddress)device->get_device_proc_addr(
                device->device, version >= VK_API_VERSION_1_2 ? "vkGetBufferDeviceAddress"
                                                              : "vkGetBufferDeviceAddressKHR");
    if (!device->vk.vkGetBufferDeviceAddress)
        *features &= ~RAPT_FEATURE_BUFFER_DEVICE_ADDRESS;

    if (*features & RAPT_FEATURE_DEBUG_UTILS) {
#define LABEL(member, name)                                                                        \
    device->member = (PFN_##name)device->get_instance_proc_addr(device->instance, #name)
        LABEL(set_object_name, vkSetDebugUtilsObjectNameEXT);
        LABEL(cmd_begin_label, vkCmdBeginDebugUtilsLabelEXT);
        LABEL(cmd_end_label, vkCmdEndDebugUtilsLabelEXT);
#undef LABEL
    }
    if (!device->set_object_name || !device->cmd_begin_label || !device->cmd_end_label)
        *features &= ~RAPT_FEATURE_DEBUG_UTILS;
    device->debug_utils = (*features & RAPT_FEATURE_DEBUG_UTILS) != 0;
}

static VkResult create_vk_device(rapt_device *device, struct rapt_physical *physical,
                                 rapt_features features)
{
    struct rapt_feature_chain chain = physical->chain;
    rapt_feature_chain_keep(&chain, features);
    const uint32_t needed = rapt_extensions_needed(physical->extensions, features);
    const char *extensions[RAPT_N_EXTENSIONS];
    uint32_t n = 0;
    for (uint32_t i = 0; i < RAPT_N_EXTENSIONS; i++) {
        if (needed & 1u << i)
            extensions[n++] = rapt_extension_name(i);
    }
    VkDeviceQueueGlobalPriorityCreateInfoKHR low = {
        .sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_GLOBAL_PRIORITY_CREATE_INFO_KHR,
        .globalPriority = VK_QUEUE_GLOBAL_PRIORITY_LOW_KHR,
    };
    const float one = 1.0f;
    VkDeviceQueueCreateInfo queue = {
        .sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
        .pNext = features & RAPT_FEATURE_PRIORITY ? &low : NULL,
        .queueFamilyIndex = physical->queue_family,
        .queueCount = 1,
        .pQueuePriorities = &one,
    };
    VkDeviceCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
        .pNext = &chain.base,
        .queueCreateInfoCount = 1,
        .pQueueCreateInfos = &queue,
        .enabledExtensionCount = n,
        .ppEnabledExtensionNames = extensions,
    };
    VkResult result = device->loader.CreateDevice(physical->handle, &info, NULL, &device->device);
    if (result != VK_SUCCESS)
        device->device = VK_NULL_HANDLE;
    return result;
}

static rapt_status make_own(rapt_device *device, const rapt_device_params *params,
                            struct rapt_physical *physical)
{
    device->sink.log = &device->log;
    device->sink.n_messages = &device->n_validation_messages;
    rapt_status status =
        rapt_instance_create(params, params->validation ? &device->sink : NULL, &device->loader);
    if (status == RAPT_OK)
        status = select_physical(&device->loader, params, physical);
    if (status != RAPT_OK)
        return status;

    rapt_features features = physical->caps.features;
    if (!params->low_priority)
        features &= ~RAPT_FEATURE_PRIORITY;
    else if (!(features & RAPT_FEATURE_PRIORITY))
        rapt_device_log(device, RAPT_LOG_WARNING,
                        "low_priority: %s has no global queue priorities, or they are disabled",
                        physical->caps.device_name);
    VkResult result = create_vk_device(device, physical, features);
    if (result != VK_SUCCESS && features & RAPT_FEATURE_PRIORITY) {
        rapt_device_log(device, RAPT_LOG_WARNING, "low_priority: the driver refuses it (%d)",
                        (int)result);
        features &= ~RAPT_FEATURE_PRIORITY;
        result = create_vk_device(device, physical, features);
    }
    if (result != VK_SUCCESS)
        return rapt_device_result(result, "vkCreateDevice");
    device->owned = 1;
    device->queue_family = physical->queue_family;
    physical->caps.features = features;
    return RAPT_OK;
}

/* What the app enabled, of what its device supports. */
static rapt_features enabled_features(const rapt_device_params *params,
                                      const struct rapt_physical *physical)
{
    uint32_t enabled = 0, versioned = 0;
    for (uint32_t i = 0; i < params->n_enabled_extensions; i++)
        enabled |= rapt_extension_bit(params->enabled_extensions[i]);
    struct rapt_feature_chain chain;
    rapt_feature_chain_read(params->enabled_features, &chain, &versioned);
    enabled = rapt_extensions_usable(enabled, physical->version) | versioned;

    rapt_features features = rapt_feature_chain_bits(&chain);
    /* What is a property, the library's own idea or checked elsewhere needs no enabling. */
    features |= RAPT_FEATURE_SUBGROUP | RAPT_FEATURE_CPU_ROWS | RAPT_FEATURE_DEBUG_UTILS |
                RAPT_FEATURE_PUSH_DESCRIPTOR;
    for (uint32_t bit = 0; bit < RAPT_N_FEATURES; bit++) {
        if (!rapt_extensions_allow(enabled, 1ull << bit))
            features &= ~(1ull << bit);
    }
    return features;
}

static rapt_status adopt(rapt_device *device, const rapt_device_params *params,
                         struct rapt_physical *physical)
{
    if (!params->physical_device || !params->device)
        return rapt_fail(RAPT_ERROR_ARGUMENT,
                         "%s is NULL: an adopted device needs instance, "
                         "physical_device and device",
                         params->physical_device ? "device" : "physical_device");
    if (params->n_enabled_extensions && !params->enabled_extensions)
        return rapt_fail(RAPT_ERROR_ARGUMENT,
                         "enabled_extensions is NULL, n_enabled_extensions is %u",
                         (unsigned)params->n_enabled_extensions);
    rapt_status status = rapt_instance_adopt(params, &device->loader);
    if (status == RAPT_OK)
        status = rapt_physical_read(&device->loader, params->allocator, params->physical_device,
                                    params->queue_family, 0, params->disable, physical);
    if (status != RAPT_OK)
        return status;
    device->device = params->device;
    device->queue_family = params->queue_family;
    device->queue = params->queue;
    physical->caps.features =
        rapt_features_close(physical->caps.features & enabled_features(params, physical));
    return RAPT_OK;
}

static rapt_status fill_device(rapt_device *device, const rapt_device_params *params)
{
    struct rapt_physical physical;
    rapt_status status =
        params->instance ? adopt(device, params, &physical) : make_own(device, params, &physical);
    if (status != RAPT_OK)
        return status;
    device->get_instance_proc_addr = device->loader.get_instance_proc_addr;
    device->get_device_proc_addr = device->loader.GetDeviceProcAddr;
    device->instance = device->loader.handle;
    device->physical_device = physical.handle;
    device->validation = device->loader.validation;
    device->caps = physical.caps;
    if (physical.version < VK_API_VERSION_1_3) /* its shaders are SPIR-V 1.6 */
        device->caps.features =
            rapt_features_close(device->caps.features & ~RAPT_FEATURE_COOPMAT2);
    status = load_functions(device);
    if (status != RAPT_OK)
        return status;
    load_optional(device, physical.version);
    if (device->owned)
        device->vk.vkGetDeviceQueue(device->device, device->queue_family, 0, &device->queue);
    if (device->caps.max_push_constants < 128)
        return rapt_fail(RAPT_ERROR_UNSUPPORTED,
                         "%s allows %u bytes of push constants: 128 are needed, as Vulkan requires",
                         device->caps.device_name, (unsigned)device->caps.max_push_constants);
    status = rapt_cache_create(device, params->pipeline_cache, params->pipeline_cache_bytes);
    if (status != RAPT_OK)
        return status;
    if (device->owned) {
        rapt_device_name(device, VK_OBJECT_TYPE_DEVICE, (uint64_t)(uintptr_t)device->device,
                         "rapt device");
        rapt_device_name(device, VK_OBJECT_TYPE_QUEUE, (uint64_t)(uintptr_t)device->queue,
                         "rapt queue");
    }
    rapt_device_log(device, RAPT_LOG_INFO, "device: %s, %s %s", device->caps.device_name,
                    device->caps.driver_name, device->caps.driver_info);
    return RAPT_OK;
}

rapt_status rapt_device_create(const rapt_device_params *params, rapt_device **out_device)
{
    if (!out_device)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "out_device is NULL");
    *out_device = NULL;
    rapt_device_params own = {.struct_size = sizeof own};
    rapt_status status = RAPT_OK;
    if (params)
        status = rapt_params_read("params", params, &own, sizeof own);
    if (status != RAPT_OK)
        return status;
    if (!own.instance && (own.device || own.physical_device))
        return rapt_fail(RAPT_ERROR_ARGUMENT,
                         "instance is NULL: an adopted device needs instance, physical_device and "
                         "device");
    if (own.allocator && (!own.allocator->alloc || !own.allocator->free))
        return rapt_fail(RAPT_ERROR_ARGUMENT, "allocator.%s is NULL: both callbacks are needed",
                         own.allocator->alloc ? "free" : "alloc");

    rapt_device *device = rapt_alloc(own.allocator, 1, sizeof *device);
    if (!device)
        return rapt_fail(RAPT_ERROR_HOST_MEMORY, "no memory for a device (%zu bytes)",
                         sizeof *device);
    if (own.allocator) {
        device->allocator_copy = *own.allocator;
        device->allocator = &device->allocator_copy;
    }
    own.allocator = device->allocator;
    device->log = own.log;
    status = fill_device(device, &own);
    if (status != RAPT_OK) {
        rapt_device_destroy(&device);
        return status;
    }
    *out_device = device;
    return RAPT_OK;
}

void rapt_device_destroy(rapt_device **device_pointer)
{
    if (!device_pointer || !*device_pointer)
        return;
    rapt_device *device = *device_pointer;
    *device_pointer = NULL;
    if (device->pipeline_cache)
        device->vk.vkDestroyPipelineCache(device->device, device->pipeline_cache, NULL);
    if (device->owned && device->device) {
        /* Looked up again: creation may have failed before the table was filled. */
        PFN_vkDestroyDevice destroy = (PFN_vkDestroyDevice)device->loader.GetDeviceProcAddr(
            device->device, "vkDestroyDevice");
        if (destroy)
            destroy(device->device, NULL);
    }
    rapt_instance_finish(&device->loader);
    rapt_allocator allocator = device->allocator_copy;
    rapt_free(device->allocator ? &allocator : NULL, device);
}

/* ----------------------------------------------------------------------------------- what it is */

const rapt_caps *rapt_device_caps(const rapt_device *device)
{
    return device ? &device->caps : NULL;
}

void rapt_device_get_handles(const rapt_device *device, rapt_device_handles *out_handles)
{
    if (!device || !out_handles)
        return;
    rapt_device_handles own = {
        .struct_size = sizeof own,
        .get_instance_proc_addr = device->get_instance_proc_addr,
        .get_device_proc_addr = device->get_device_proc_addr,
        .instance = device->instance,
        .physical_device = device->physical_device,
        .device = device->device,
        .queue_family = device->queue_family,
        .queue = device->queue,
        .buffer_usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT,
    };
    if (device->caps.features & RAPT_FEATURE_BUFFER_DEVICE_ADDRESS) {
        own.buffer_usage |= VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT;
        own.memory_allocate_flags |= VK_MEMORY_ALLOCATE_DEVICE_ADDRESS_BIT;
    }
    rapt_params_write(out_handles, &own, sizeof own);
}

uint32_t rapt_device_validation_messages(const rapt_device *device)
{
    return device ? __atomic_load_n(&device->n_validation_messages, __ATOMIC_RELAXED) : 0;
}

int rapt_device_validation_active(const rapt_device *device)
{
    return device && device->validation;
}
