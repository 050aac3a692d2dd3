/* SPDX-License-Identifier: Apache-2.0 */
#include "caps.h"

#include "select.h"

#include "device.h"
#include "error.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

void rapt_driver_version_parse(const char *info, uint32_t *out_major, uint32_t *out_minor)
{
    *out_major = *out_minor = 0;
    for (const char *p = info; *p; p++) {
        if (*p < '0' || *p > '9')
            continue;
        uint32_t numbers[2] = {0, 0};
        int n = 0;
        while (n < 2 && *p >= '0' && *p <= '9') {
            for (; *p >= '0' && *p <= '9'; p++)
                numbers[n] = numbers[n] < 100000000 ? numbers[n] * 10 + (uint32_t)(*p - '0') : 0;
            n++;
            if (n < 2 && *p == '.')
                p++;
            else
                break;
        }
        if (n == 2) {
            *out_major = numbers[0];
            *out_minor = numbers[1];
            return;
        }
        if (!*p)
            return;
    }
}

static rapt_status read_extensions(const struct rapt_instance *vk, const rapt_allocator *allocator,
                                   struct rapt_physical *physical)
{
    uint32_t n = 0;
    VkResult result = vk->EnumerateDeviceExtensionProperties(physical->handle, NULL, &n, NULL);
    if (result != VK_SUCCESS)
        return rapt_device_result(result, "vkEnumerateDeviceExtensionProperties");
    if (n == 0)
        return RAPT_OK;
    VkExtensionProperties *list = rapt_alloc(allocator, n, sizeof *list);
    if (!list)
        return rapt_fail(RAPT_ERROR_HOST_MEMORY, "no memory for the list of device extensions");
    result = vk->EnumerateDeviceExtensionProperties(physical->handle, NULL, &n, list);
    for (uint32_t i = 0; (result == VK_SUCCESS || result == VK_INCOMPLETE) && i < n; i++)
        physical->extensions |= rapt_extension_bit(list[i].extensionName);
    rapt_free(allocator, list);
    return RAPT_OK;
}

/* The property structs, linked where the device has them. */
struct property_chain {
    VkPhysicalDeviceProperties2 base;
    VkPhysicalDeviceSubgroupProperties subgroup;
    VkPhysicalDeviceMaintenance3Properties maintenance3;
    VkPhysicalDeviceIDProperties id;
    VkPhysicalDeviceDriverProperties driver;
    VkPhysicalDeviceSubgroupSizeControlProperties subgroup_size;
    VkPhysicalDevicePushDescriptorPropertiesKHR push;
    VkPhysicalDeviceShaderIntegerDotProductProperties integer_dot;
    struct rapt_vk_coopmat2_properties coopmat2;
};

static void read_property_chain(const struct rapt_instance *vk, VkPhysicalDevice handle,
                                uint32_t usable, struct property_chain *chain)
{
    memset(chain, 0, sizeof *chain);
    chain->base.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2;
    chain->subgroup.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_PROPERTIES;
    chain->maintenance3.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_3_PROPERTIES;
    chain->id.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_ID_PROPERTIES;
    chain->driver.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_DRIVER_PROPERTIES;
    chain->subgroup_size.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_PROPERTIES;
    chain->push.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PUSH_DESCRIPTOR_PROPERTIES_KHR;
    chain->integer_dot.sType =
        VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_PROPERTIES;

    chain->base.pNext = &chain->subgroup;
    chain->subgroup.pNext = &chain->maintenance3;
    chain->maintenance3.pNext = &chain->id;
    void **link = &chain->id.pNext;
    if (usable & 1u << RAPT_EXTENSION_DRIVER_PROPERTIES) {
        *link = &chain->driver;
        link = &chain->driver.pNext;
    }
    if (usable & 1u << RAPT_EXTENSION_SUBGROUP_SIZE) {
        *link = &chain->subgroup_size;
        link = &chain->subgroup_size.pNext;
    }
    if (usable & 1u << RAPT_EXTENSION_PUSH_DESCRIPTOR) {
        *link = &chain->push;
        link = &chain->push.pNext;
    }
    if (usable & 1u << RAPT_EXTENSION_INTEGER_DOT) {
        *link = &chain->integer_dot;
        link = &chain->integer_dot.pNext;
    }
    chain->coopmat2.sType = RAPT_VK_TYPE_COOPMAT2_PROPERTIES;
    if (usable & 1u << RAPT_EXTENSION_COOPMAT2)
        *link = &chain->coopmat2;
    vk->GetPhysicalDeviceProperties2(handle, &chain->base);
}

static void copy_limits(const struct property_chain *chain, rapt_caps *caps)
{
    const VkPhysicalDeviceLimits *limits = &chain->base.properties.limits;
    caps->max_shared_memory = limits->maxComputeSharedMemorySize;
    caps->max_workgroup_invocations = limits->maxComputeWorkGroupInvocations;
    for (int i = 0; i < 3; i++) {
        caps->max_workgroup_size[i] = limits->maxComputeWorkGroupSize[i];
        caps->max_workgroup_count[i] = limits->maxComputeWorkGroupCount[i];
    }
    caps->max_push_constants = limits->maxPushConstantsSize;
    caps->max_storage_buffers = limits->maxPerStageDescriptorStorageBuffers;
    if (caps->max_storage_buffers > limits->maxDescriptorSetStorageBuffers)
        caps->max_storage_buffers = limits->maxDescriptorSetStorageBuffers;
    if (caps->max_storage_buffers > limits->maxPerStageResources)
        caps->max_storage_buffers = limits->maxPerStageResources;
    caps->max_storage_buffer_range = limits->maxStorageBufferRange;
    caps->storage_buffer_alignment = (uint32_t)limits->minStorageBufferOffsetAlignment;
    caps->max_memory_allocation = chain->maintenance3.maxMemoryAllocationSize;
    caps->max_push_descriptors = chain->push.maxPushDescriptors;
    caps->timestamp_period = limits->timestampPeriod;
    caps->integer_dot_accelerated =
        chain->integer_dot.integerDotProduct4x8BitPackedSignedAccelerated != VK_FALSE;
    caps->coopmat2_max_dimension = chain->coopmat2.flexible_dimensions_max_dimension;
    caps->coopmat2_max_workgroup = chain->coopmat2.workgroup_scope_max_workgroup_size;
    caps->coopmat2_shared_bytes = chain->coopmat2.workgroup_scope_reserved_shared_memory;
}

static void copy_identity(const struct property_chain *chain, rapt_caps *caps)
{
    const VkPhysicalDeviceProperties *properties = &chain->base.properties;
    snprintf(caps->device_name, sizeof caps->device_name, "%s", properties->deviceName);
    snprintf(caps->driver_name, sizeof caps->driver_name, "%s", chain->driver.driverName);
    snprintf(caps->driver_info, sizeof caps->driver_info, "%s", chain->driver.driverInfo);
    caps->api_version = properties->apiVersion;
    caps->vendor_id = properties->vendorID;
    caps->device_id = properties->deviceID;
    caps->driver_version = properties->driverVersion;
    caps->driver_id = (uint32_t)chain->driver.driverID;
    caps->device_type = (uint32_t)properties->deviceType;
    rapt_driver_version_parse(caps->driver_info, &caps->driver_major, &caps->driver_minor);
    memcpy(caps->device_uuid, chain->id.deviceUUID, sizeof caps->device_uuid);
    memcpy(caps->pipeline_cache_uuid, properties->pipelineCacheUUID,
           sizeof caps->pipeline_cache_uuid);
}

/* Returns whether kernels may ask for a subgroup size. */
static int copy_subgroup(const struct property_chain *chain, rapt_caps *caps)
{
    caps->subgroup_size = chain->subgroup.subgroupSize;
    caps->min_subgroup_size = caps->max_subgroup_size = caps->subgroup_size;
    if (chain->subgroup_size.maxSubgroupSize) {
        caps->min_subgroup_size = chain->subgroup_size.minSubgroupSize;
        caps->max_subgroup_size = chain->subgroup_size.maxSubgroupSize;
        caps->max_workgroup_subgroups = chain->subgroup_size.maxComputeWorkgroupSubgroups;
    }
    if (chain->subgroup.supportedStages & VK_SHADER_STAGE_COMPUTE_BIT)
        caps->subgroup_operations = chain->subgroup.supportedOperations;
    return (chain->subgroup_size.requiredSubgroupSizeStages & VK_SHADER_STAGE_COMPUTE_BIT) != 0;
}

static int is_cpu_driver(const rapt_caps *caps)
{
    if (caps->device_type != VK_PHYSICAL_DEVICE_TYPE_CPU)
        return 0;
    if (caps->driver_id)
        return caps->driver_id == VK_DRIVER_ID_MESA_LLVMPIPE;
    return strstr(caps->device_name, "llvmpipe") != NULL;
}

static rapt_features supported_features(const struct rapt_physical *physical, int size_control,
                                        int debug_utils)
{
    const VkSubgroupFeatureFlags subgroup =
        VK_SUBGROUP_FEATURE_BASIC_BIT | VK_SUBGROUP_FEATURE_VOTE_BIT |
        VK_SUBGROUP_FEATURE_ARITHMETIC_BIT | VK_SUBGROUP_FEATURE_BALLOT_BIT |
        VK_SUBGROUP_FEATURE_SHUFFLE_BIT | VK_SUBGROUP_FEATURE_QUAD_BIT;
    const rapt_caps *caps = &physical->caps;
    rapt_features features = rapt_feature_chain_bits(&physical->chain);
    if (!size_control)
        features &= ~RAPT_FEATURE_SUBGROUP_SIZE_CONTROL;
    if ((caps->subgroup_operations & subgroup) == subgroup)
        features |= RAPT_FEATURE_SUBGROUP;
    if (physical->extensions & 1u << RAPT_EXTENSION_PUSH_DESCRIPTOR)
        features |= RAPT_FEATURE_PUSH_DESCRIPTOR;
    if (physical->extensions &
        (1u << RAPT_EXTENSION_PRIORITY_KHR | 1u << RAPT_EXTENSION_PRIORITY_EXT))
        features |= RAPT_FEATURE_PRIORITY;
    if (debug_utils)
        features |= RAPT_FEATURE_DEBUG_UTILS;
    if (is_cpu_driver(caps)) {
        features |= RAPT_FEATURE_CPU_ROWS;
        /* Told to use vectors of 512 bits, its compiler dies of any matrix (seen: Mesa 26.1). */
        if (caps->subgroup_size > 8)
            features &= ~RAPT_MATRIX_FEATURES;
    }
    return rapt_features_close(features);
}

static rapt_status read_queue_family(const struct rapt_instance *vk,
                                     const rapt_allocator *allocator, uint32_t wanted,
                                     int dedicated, struct rapt_physical *physical)
{
    uint32_t n = 0;
    vk->GetPhysicalDeviceQueueFamilyProperties(physical->handle, &n, NULL);
    VkQueueFamilyProperties *families = n ? rapt_alloc(allocator, n, sizeof *families) : NULL;
    if (n && !families)
        return rapt_fail(RAPT_ERROR_HOST_MEMORY, "no memory for the list of queue families");
    if (n)
        vk->GetPhysicalDeviceQueueFamilyProperties(physical->handle, &n, families);

    uint32_t best = UINT32_MAX;
    int best_dedicated = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (!(families[i].queueFlags & VK_QUEUE_COMPUTE_BIT) || families[i].queueCount == 0)
            continue;
        int here = !(families[i].queueFlags & VK_QUEUE_GRAPHICS_BIT);
        if (wanted == i || (wanted == UINT32_MAX &&
                            (best == UINT32_MAX || (dedicated && here && !best_dedicated)))) {
            best = i;
            best_dedicated = here;
        }
    }
    if (best != UINT32_MAX) {
        physical->queue_family = best;
        physical->caps.timestamp_valid_bits = families[best].timestampValidBits;
    }
    rapt_free(allocator, families);
    if (best != UINT32_MAX)
        return RAPT_OK;
    if (wanted == UINT32_MAX)
        return rapt_fail(RAPT_ERROR_UNSUPPORTED, "%s has no compute queue",
                         physical->caps.device_name);
    return rapt_fail(
        RAPT_ERROR_ARGUMENT,
        "queue_family is %u: expected a family of %s with compute (it has %u families)",
        (unsigned)wanted, physical->caps.device_name, (unsigned)n);
}

static uint8_t component_type(uint32_t type)
{
    switch (type) {
    case RAPT_VK_COMPONENT_BFLOAT16:
        return RAPT_COMPONENT_BF16;
    case RAPT_VK_COMPONENT_FLOAT8_E4M3:
        return RAPT_COMPONENT_FP8_E4M3;
    case RAPT_VK_COMPONENT_FLOAT8_E5M2:
        return RAPT_COMPONENT_FP8_E5M2;
    default:
        return type < RAPT_COMPONENT_BF16 ? (uint8_t)type : RAPT_COMPONENT_OTHER;
    }
}

static rapt_status read_coopmat_shapes(const struct rapt_instance *vk,
                                       const rapt_allocator *allocator,
                                       struct rapt_physical *physical)
{
    rapt_caps *caps = &physical->caps;
    uint32_t n = 0;
    if (!(caps->supported & RAPT_FEATURE_COOPMAT) || !vk->GetCoopmatProperties ||
        vk->GetCoopmatProperties(physical->handle, &n, NULL) != VK_SUCCESS || n == 0)
        return RAPT_OK;
    struct rapt_vk_coopmat_properties *shapes = rapt_alloc(allocator, n, sizeof *shapes);
    if (!shapes)
        return rapt_fail(RAPT_ERROR_HOST_MEMORY, "no memory for the cooperative-matrix shapes");
    for (uint32_t i = 0; i < n; i++)
        shapes[i].sType = RAPT_VK_TYPE_COOPMAT_PROPERTIES;
    VkResult result = vk->GetCoopmatProperties(physical->handle, &n, shapes);
    const uint32_t capacity = sizeof caps->coopmat_shapes / sizeof caps->coopmat_shapes[0];
    for (uint32_t i = 0; (result == VK_SUCCESS || result == VK_INCOMPLETE) && i < n; i++) {
        if (shapes[i].scope != RAPT_VK_SCOPE_SUBGROUP || shapes[i].saturating_accumulation ||
            caps->n_coopmat_shapes == capacity)
            continue;
        uint32_t at = caps->n_coopmat_shapes++;
        caps->coopmat_shapes[at].m = (uint16_t)shapes[i].m_size;
        caps->coopmat_shapes[at].n = (uint16_t)shapes[i].n_size;
        caps->coopmat_shapes[at].k = (uint16_t)shapes[i].k_size;
        caps->coopmat_shapes[at].a = component_type(shapes[i].a_type);
        caps->coopmat_shapes[at].b = component_type(shapes[i].b_type);
        caps->coopmat_shapes[at].c = component_type(shapes[i].c_type);
        caps->coopmat_shapes[at].r = component_type(shapes[i].result_type);
    }
    rapt_free(allocator, shapes);
    return RAPT_OK;
}

/* Those of workgroups: what subgroups can do is among the shapes of the other extension. */
static rapt_status read_flexible_shapes(const struct rapt_instance *vk,
                                        const rapt_allocator *allocator,
                                        struct rapt_physical *physical)
{
    rapt_caps *caps = &physical->caps;
    uint32_t n = 0;
    if (!(caps->supported & RAPT_FEATURE_COOPMAT2_TENSOR) || !vk->GetCoopmat2Flexible ||
        vk->GetCoopmat2Flexible(physical->handle, &n, NULL) != VK_SUCCESS || n == 0)
        return RAPT_OK;
    struct rapt_vk_coopmat2_flexible *shapes = rapt_alloc(allocator, n, sizeof *shapes);
    if (!shapes)
        return rapt_fail(RAPT_ERROR_HOST_MEMORY, "no memory for the flexible matrix dimensions");
    for (uint32_t i = 0; i < n; i++)
        shapes[i].sType = RAPT_VK_TYPE_COOPMAT2_FLEXIBLE;
    VkResult result = vk->GetCoopmat2Flexible(physical->handle, &n, shapes);
    const uint32_t capacity = sizeof caps->coopmat2_shapes / sizeof caps->coopmat2_shapes[0];
    for (uint32_t i = 0; (result == VK_SUCCESS || result == VK_INCOMPLETE) && i < n; i++) {
        const struct rapt_vk_coopmat2_flexible *s = &shapes[i];
        if (s->scope != RAPT_VK_SCOPE_WORKGROUP || s->saturating_accumulation ||
            caps->n_coopmat2_shapes == capacity)
            continue;
        uint32_t at = caps->n_coopmat2_shapes++;
        caps->coopmat2_shapes[at].m = (uint16_t)s->m_granularity;
        caps->coopmat2_shapes[at].n = (uint16_t)s->n_granularity;
        caps->coopmat2_shapes[at].k = (uint16_t)s->k_granularity;
        caps->coopmat2_shapes[at].a = component_type(s->a_type);
        caps->coopmat2_shapes[at].b = component_type(s->b_type);
        caps->coopmat2_shapes[at].c = component_type(s->c_type);
        caps->coopmat2_shapes[at].r = component_type(s->result_type);
        caps->coopmat2_shapes[at].workgroup = (uint16_t)s->workgroup_invocations;
    }
    rapt_free(allocator, shapes);
    return RAPT_OK;
}

static void read_memory(const struct rapt_instance *vk, struct rapt_physical *physical)
{
    VkPhysicalDeviceMemoryProperties memory;
    vk->GetPhysicalDeviceMemoryProperties(physical->handle, &memory);
    for (uint32_t i = 0; i < memory.memoryHeapCount; i++) {
        if (memory.memoryHeaps[i].flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT &&
            memory.memoryHeaps[i].size > physical->caps.device_memory)
            physical->caps.device_memory = memory.memoryHeaps[i].size;
    }
}

rapt_status rapt_physical_read(const struct rapt_instance *instance,
                               const rapt_allocator *allocator, VkPhysicalDevice handle,
                               uint32_t queue_family, int dedicated, rapt_features disable,
                               struct rapt_physical *out_physical)
{
    struct rapt_physical *physical = out_physical;
    memset(physical, 0, sizeof *physical);
    physical->handle = handle;
    rapt_caps *caps = &physical->caps;
    caps->struct_size = sizeof *caps;

    /* A 1.0 device must not be asked anything of 1.1. */
    VkPhysicalDeviceProperties properties;
    instance->GetPhysicalDeviceProperties(handle, &properties);
    if (properties.apiVersion < VK_API_VERSION_1_1)
        return rapt_fail(RAPT_ERROR_UNSUPPORTED, "%s offers Vulkan %u.%u: 1.1 is needed",
                         properties.deviceName,
                         (unsigned)VK_API_VERSION_MAJOR(properties.apiVersion),
                         (unsigned)VK_API_VERSION_MINOR(properties.apiVersion));
    physical->version = properties.apiVersion < instance->api_version ? properties.apiVersion
                                                                      : instance->api_version;
    rapt_status status = read_extensions(instance, allocator, physical);
    if (status != RAPT_OK)
        return status;
    uint32_t usable = rapt_extensions_usable(physical->extensions, physical->version);

    struct property_chain chain;
    read_property_chain(instance, handle, usable, &chain);
    copy_identity(&chain, caps);
    copy_limits(&chain, caps);
    int size_control = copy_subgroup(&chain, caps);
    caps->portability_subset = (physical->extensions & 1u << RAPT_EXTENSION_PORTABILITY) != 0;

    rapt_feature_chain_init(&physical->chain, usable);
    instance->GetPhysicalDeviceFeatures2(handle, &physical->chain.base);
    caps->supported = supported_features(physical, size_control, instance->debug_utils);
    caps->features = rapt_features_close(caps->supported & ~disable);

    read_memory(instance, physical);
    status = read_queue_family(instance, allocator, queue_family, dedicated, physical);
    if (status == RAPT_OK)
        status = read_coopmat_shapes(instance, allocator, physical);
    if (status == RAPT_OK)
        status = read_flexible_shapes(instance, allocator, physical);
    return status;
}
