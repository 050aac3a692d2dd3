/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_VK_NEWER_H
#define RUNTIME_VK_NEWER_H

/* Structs of Vulkan extensions that are newer than the oldest headers we build against (1.3.239).
 * They have names of our own, so that they stand beside newer headers too; layout and numbers are
 * those of the Vulkan registry. */

#include <vulkan/vulkan_core.h>

/* VK_KHR_cooperative_matrix */
#define RAPT_VK_COOPMAT_EXTENSION "VK_KHR_cooperative_matrix"
#define RAPT_VK_TYPE_COOPMAT_FEATURES ((VkStructureType)1000506000)
#define RAPT_VK_TYPE_COOPMAT_PROPERTIES ((VkStructureType)1000506001)
struct rapt_vk_coopmat_features {
    VkStructureType sType;
    void *pNext;
    VkBool32 cooperativeMatrix;
    VkBool32 cooperativeMatrixRobustBufferAccess;
};
struct rapt_vk_coopmat_properties {
    VkStructureType sType;
    void *pNext;
    uint32_t m_size, n_size, k_size;
    uint32_t a_type, b_type, c_type, result_type; /* VkComponentTypeKHR */
    VkBool32 saturating_accumulation;
    uint32_t scope; /* VkScopeKHR */
};
#define RAPT_VK_SCOPE_SUBGROUP 3u
typedef VkResult(VKAPI_PTR *rapt_vk_get_coopmat_properties)(
    VkPhysicalDevice physical_device, uint32_t *n_properties,
    struct rapt_vk_coopmat_properties *properties);

/* VkComponentTypeKHR of extensions */
#define RAPT_VK_COMPONENT_BFLOAT16 1000141000u
#define RAPT_VK_COMPONENT_FLOAT8_E4M3 1000491002u
#define RAPT_VK_COMPONENT_FLOAT8_E5M2 1000491003u

/* VK_NV_cooperative_matrix2 */
#define RAPT_VK_COOPMAT2_EXTENSION "VK_NV_cooperative_matrix2"
#define RAPT_VK_TYPE_COOPMAT2_FEATURES ((VkStructureType)1000593000)
struct rapt_vk_coopmat2_features {
    VkStructureType sType;
    void *pNext;
    VkBool32 cooperativeMatrixWorkgroupScope;
    VkBool32 cooperativeMatrixFlexibleDimensions;
    VkBool32 cooperativeMatrixReductions;
    VkBool32 cooperativeMatrixConversions;
    VkBool32 cooperativeMatrixPerElementOperations;
    VkBool32 cooperativeMatrixTensorAddressing;
    VkBool32 cooperativeMatrixBlockLoads;
};
#define RAPT_VK_TYPE_COOPMAT2_FLEXIBLE ((VkStructureType)1000593001)
struct rapt_vk_coopmat2_flexible {
    VkStructureType sType;
    void *pNext;
    uint32_t m_granularity, n_granularity, k_granularity;
    uint32_t a_type, b_type, c_type, result_type; /* VkComponentTypeKHR */
    VkBool32 saturating_accumulation;
    uint32_t scope; /* VkScopeKHR */
    uint32_t workgroup_invocations;
};
#define RAPT_VK_SCOPE_WORKGROUP 2u
typedef VkResult(VKAPI_PTR *rapt_vk_get_coopmat2_flexible)(
    VkPhysicalDevice physical_device, uint32_t *n_properties,
    struct rapt_vk_coopmat2_flexible *properties);
#define RAPT_VK_TYPE_COOPMAT2_PROPERTIES ((VkStructureType)1000593002)
struct rapt_vk_coopmat2_properties {
    VkStructureType sType;
    void *pNext;
    uint32_t workgroup_scope_max_workgroup_size;
    uint32_t flexible_dimensions_max_dimension;
    uint32_t workgroup_scope_reserved_shared_memory;
};

/* VK_KHR_shader_bfloat16 */
#define RAPT_VK_BFLOAT16_EXTENSION "VK_KHR_shader_bfloat16"
#define RAPT_VK_TYPE_BFLOAT16_FEATURES ((VkStructureType)1000141000)
struct rapt_vk_bfloat16_features {
    VkStructureType sType;
    void *pNext;
    VkBool32 shaderBFloat16Type;
    VkBool32 shaderBFloat16DotProduct;
    VkBool32 shaderBFloat16CooperativeMatrix;
};

/* VK_EXT_layer_settings */
#define RAPT_VK_LAYER_SETTINGS_EXTENSION "VK_EXT_layer_settings"
#define RAPT_VK_TYPE_LAYER_SETTINGS ((VkStructureType)1000496000)
#define RAPT_VK_LAYER_SETTING_BOOL32 0u
struct rapt_vk_layer_setting {
    const char *layer_name;
    const char *setting_name;
    uint32_t type; /* VkLayerSettingTypeEXT */
    uint32_t n_values;
    const void *values;
};
struct rapt_vk_layer_settings {
    VkStructureType sType;
    const void *pNext;
    uint32_t n_settings;
    const struct rapt_vk_layer_setting *settings;
};

#endif
