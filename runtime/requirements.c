/* SPDX-License-Identifier: Apache-2.0 */
#include "caps.h"

#include "error.h"

#include <string.h>

struct internal {
    struct rapt_feature_chain chain;
    const char *extensions[RAPT_N_EXTENSIONS];
};

rapt_status rapt_requirements_get(PFN_vkGetInstanceProcAddr get_instance_proc_addr,
                                  VkInstance instance, VkPhysicalDevice physical_device,
                                  rapt_features disable, rapt_requirements *out_requirements)
{
    if (!out_requirements)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "out_requirements is NULL");
    const size_t struct_size = out_requirements->struct_size;
    if (struct_size < sizeof *out_requirements) /* `internal` must come back to finish */
        return rapt_fail(RAPT_ERROR_ARGUMENT,
                         "out_requirements.struct_size is %zu: expected sizeof(rapt_requirements)",
                         struct_size);
    if (!get_instance_proc_addr || !instance || !physical_device)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s is NULL",
                         !get_instance_proc_addr ? "get_instance_proc_addr"
                         : !instance             ? "instance"
                                                 : "physical_device");

    /* As if the instance were of version 1.1: what an extension offers too is then asked for by the
     * extension's name, which is right whatever version the app's instance has. */
    rapt_device_params params = {
        .struct_size = sizeof params,
        .get_instance_proc_addr = get_instance_proc_addr,
        .instance = instance,
        .api_version = VK_API_VERSION_1_1,
    };
    struct rapt_instance vk;
    rapt_status status = rapt_instance_adopt(&params, &vk);
    struct rapt_physical physical;
    if (status == RAPT_OK)
        status = rapt_physical_read(&vk, NULL, physical_device, UINT32_MAX, 0, disable, &physical);
    if (status != RAPT_OK)
        return status;

    struct internal *internal = rapt_alloc(NULL, 1, sizeof *internal);
    if (!internal)
        return rapt_fail(RAPT_ERROR_HOST_MEMORY, "no memory for the requirements");
    /* Priorities are set where queues are made, which is the app's business. */
    const rapt_features useful = physical.caps.features & ~RAPT_FEATURE_PRIORITY;
    internal->chain = physical.chain;
    rapt_feature_chain_keep(&internal->chain, useful);
    uint32_t needed = rapt_extensions_needed(physical.extensions, useful);
    uint32_t n = 0;
    for (uint32_t i = 0; i < RAPT_N_EXTENSIONS; i++) {
        if (needed & 1u << i)
            internal->extensions[n++] = rapt_extension_name(i);
    }

    rapt_requirements own = {
        .struct_size = sizeof own,
        .api_version = VK_API_VERSION_1_1,
        .device_extensions = internal->extensions,
        .n_device_extensions = n,
        .features = &internal->chain.base,
        .useful = useful,
        .buffer_usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT,
        .internal = internal,
    };
    if (useful & RAPT_FEATURE_BUFFER_DEVICE_ADDRESS) {
        own.buffer_usage |= VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT;
        own.memory_allocate_flags |= VK_MEMORY_ALLOCATE_DEVICE_ADDRESS_BIT;
    }
    rapt_params_write(out_requirements, &own, sizeof own);
    return RAPT_OK;
}

void rapt_requirements_finish(rapt_requirements *requirements)
{
    if (!requirements)
        return;
    rapt_free(NULL, requirements->internal);
    size_t struct_size = requirements->struct_size;
    memset(requirements, 0,
           struct_size < sizeof *requirements ? struct_size : sizeof *requirements);
    requirements->struct_size = struct_size;
}
