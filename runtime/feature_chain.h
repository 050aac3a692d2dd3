/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_FEATURE_CHAIN_H
#define RUNTIME_FEATURE_CHAIN_H

/* RAPT_FEATURE_* against Vulkan's extensions and feature structs: which extension and which members
 * each bit stands for. Everything that asks, reads or enables goes through this one place. */

#include <rapt/attention.h>

#include "vk_newer.h"

/* Device extensions the library looks at: EXTENSION(id, name, core version it became part of, bits
 * that cannot be used without it). */
#define RAPT_EXTENSIONS(EXTENSION)                                                                 \
    EXTENSION(STORAGE8, "VK_KHR_8bit_storage", VK_API_VERSION_1_2, RAPT_FEATURE_STORAGE_8BIT)      \
    EXTENSION(FLOAT16_INT8, "VK_KHR_shader_float16_int8", VK_API_VERSION_1_2,                      \
              RAPT_FEATURE_F16 | RAPT_FEATURE_INT8)                                                \
    EXTENSION(SUBGROUP_SIZE, "VK_EXT_subgroup_size_control", VK_API_VERSION_1_3,                   \
              RAPT_FEATURE_SUBGROUP_SIZE_CONTROL)                                                  \
    EXTENSION(ADDRESS, "VK_KHR_buffer_device_address", VK_API_VERSION_1_2,                         \
              RAPT_FEATURE_BUFFER_DEVICE_ADDRESS)                                                  \
    EXTENSION(INTEGER_DOT, "VK_KHR_shader_integer_dot_product", VK_API_VERSION_1_3,                \
              RAPT_FEATURE_INTEGER_DOT)                                                            \
    EXTENSION(MEMORY_MODEL, "VK_KHR_vulkan_memory_model", VK_API_VERSION_1_2,                      \
              RAPT_FEATURE_MEMORY_MODEL)                                                           \
    EXTENSION(PUSH_DESCRIPTOR, "VK_KHR_push_descriptor", 0, RAPT_FEATURE_PUSH_DESCRIPTOR)          \
    EXTENSION(COOPMAT, RAPT_VK_COOPMAT_EXTENSION, 0, RAPT_FEATURE_COOPMAT)                         \
    EXTENSION(COOPMAT2, RAPT_VK_COOPMAT2_EXTENSION, 0,                                             \
              RAPT_FEATURE_COOPMAT2 | RAPT_FEATURE_COOPMAT2_TENSOR)                                \
    EXTENSION(MAINTENANCE4, "VK_KHR_maintenance4", VK_API_VERSION_1_3, RAPT_FEATURE_COOPMAT2)      \
    EXTENSION(BFLOAT16, RAPT_VK_BFLOAT16_EXTENSION, 0, RAPT_FEATURE_BF16)                          \
    EXTENSION(PRIORITY_KHR, "VK_KHR_global_priority", 0, RAPT_FEATURE_PRIORITY)                    \
    EXTENSION(PRIORITY_EXT, "VK_EXT_global_priority", 0, RAPT_FEATURE_PRIORITY)                    \
    EXTENSION(DRIVER_PROPERTIES, "VK_KHR_driver_properties", VK_API_VERSION_1_2, 0)                \
    EXTENSION(PORTABILITY, "VK_KHR_portability_subset", 0, 0)

enum rapt_extension_id {
#define EXTENSION(id, name, core, bits) RAPT_EXTENSION_##id,
    RAPT_EXTENSIONS(EXTENSION)
#undef EXTENSION
        RAPT_N_EXTENSIONS
};

const char *rapt_extension_name(uint32_t extension);
/* Bit of an extension name, 0 if the library does not know it. */
uint32_t rapt_extension_bit(const char *name);
/* Extensions (as bits) that are listed in `available` or part of core at `version`. */
uint32_t rapt_extensions_usable(uint32_t available, uint32_t version);
/* Whether the extensions `enabled` (as bits) suffice for one feature bit. */
int rapt_extensions_allow(uint32_t enabled, rapt_features feature);
/* Of the extensions in `available`, those that must be enabled to use `features`. */
uint32_t rapt_extensions_needed(uint32_t available, rapt_features features);

/* Drops what cannot stand without another feature that is not there. */
rapt_features rapt_features_close(rapt_features features);

/* One of each feature struct the library reads or sets. */
struct rapt_feature_chain {
    VkPhysicalDeviceFeatures2 base;
    VkPhysicalDevice16BitStorageFeatures storage16;
    VkPhysicalDevice8BitStorageFeatures storage8;
    VkPhysicalDeviceShaderFloat16Int8Features float16_int8;
    VkPhysicalDeviceSubgroupSizeControlFeatures subgroup_size;
    VkPhysicalDeviceBufferDeviceAddressFeatures address;
    VkPhysicalDeviceShaderIntegerDotProductFeatures integer_dot;
    VkPhysicalDeviceVulkanMemoryModelFeatures memory_model;
    struct rapt_vk_coopmat_features coopmat;
    struct rapt_vk_coopmat2_features coopmat2;
    VkPhysicalDeviceMaintenance4Features maintenance4; /* SPIR-V 1.6 says workgroup sizes by it */
    struct rapt_vk_bfloat16_features bfloat16;
};

/* Zeroes the members and links those structs whose extension is in `usable`. */
void rapt_feature_chain_init(struct rapt_feature_chain *chain, uint32_t usable);
/* The feature bits whose members are set. Bits that are no feature members (subgroup, push
 * descriptors, ...) are not among them. */
rapt_features rapt_feature_chain_bits(const struct rapt_feature_chain *chain);
/* Bits that rapt_feature_chain_bits can tell about. */
rapt_features rapt_feature_chain_mask(void);
/* Clears what `features` does not ask for, down to a chain that may be enabled, and unlinks structs
 * that are empty then. */
void rapt_feature_chain_keep(struct rapt_feature_chain *chain, rapt_features features);
/* Reads an app's pNext chain, the Vulkan11/12/13 structs included, into `out_chain`.
 * `out_versioned`: the extensions whose feature came through one of those, core by definition. */
void rapt_feature_chain_read(const void *app_chain, struct rapt_feature_chain *out_chain,
                             uint32_t *out_versioned);

#endif
