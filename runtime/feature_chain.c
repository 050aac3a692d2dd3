/* SPDX-License-Identifier: Apache-2.0 */
#include "feature_chain.h"

#include "error.h"

#include <stddef.h>
#include <string.h>

static const char *const feature_names[RAPT_N_FEATURES] = {
    "f16",
    "int8",
    "storage16",
    "storage8",
    "int64",
    "subgroup",
    "subgroup_size_control",
    "buffer_device_address",
    "push_descriptor",
    "integer_dot",
    "coopmat",
    "coopmat2",
    "bf16",
    "memory_model",
    "priority",
    "debug_utils",
    "cpu_rows",
    "coopmat2_tensor",
};

const char *rapt_feature_name(uint32_t bit)
{
    return bit < RAPT_N_FEATURES ? feature_names[bit] : NULL;
}

rapt_status rapt_features_parse(const char *text, rapt_features *out_features)
{
    if (!text)
        return rapt_fail(RAPT_ERROR_ARGUMENT,
                         "text is NULL: expected feature names, \"\" for none");
    if (!out_features)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "out_features is NULL");
    rapt_features features = 0;
    while (*text) {
        while (*text == ' ' || *text == '\t')
            text++;
        size_t n = strcspn(text, ",");
        size_t word = n;
        while (word > 0 && (text[word - 1] == ' ' || text[word - 1] == '\t'))
            word--;
        uint32_t bit = 0;
        while (bit < RAPT_N_FEATURES &&
               (strlen(feature_names[bit]) != word || memcmp(feature_names[bit], text, word) != 0))
            bit++;
        if (word > 0 && bit == RAPT_N_FEATURES)
            return rapt_fail(
                RAPT_ERROR_SYNTAX,
                "'%.*s' is no feature name: expected a comma-separated list of f16, int8, "
                "storage16, storage8, int64, subgroup, subgroup_size_control, "
                "buffer_device_address, push_descriptor, integer_dot, coopmat, coopmat2, "
                "bf16, memory_model, priority, debug_utils, cpu_rows, coopmat2_tensor",
                (int)(word < 64 ? word : 64), text);
        if (word > 0)
            features |= 1ull << bit;
        text += n;
        if (*text == ',')
            text++;
    }
    *out_features = features;
    return RAPT_OK;
}

rapt_features rapt_features_close(rapt_features features)
{
    if (!(features & RAPT_FEATURE_COOPMAT)) /* VK_NV_cooperative_matrix2 extends the other */
        features &= ~RAPT_FEATURE_COOPMAT2;
    if (!(features & RAPT_FEATURE_COOPMAT2))
        features &= ~RAPT_FEATURE_COOPMAT2_TENSOR;
    return features;
}

struct extension {
    const char *name;
    uint32_t core;
    rapt_features bits;
};

static const struct extension extensions[RAPT_N_EXTENSIONS] = {
#define EXTENSION(id, name, core, bits) {name, core, bits},
    RAPT_EXTENSIONS(EXTENSION)
#undef EXTENSION
};

const char *rapt_extension_name(uint32_t extension)
{
    return extensions[extension].name;
}

uint32_t rapt_extension_bit(const char *name)
{
    for (uint32_t i = 0; i < RAPT_N_EXTENSIONS; i++) {
        if (strcmp(extensions[i].name, name) == 0)
            return 1u << i;
    }
    return 0;
}

uint32_t rapt_extensions_usable(uint32_t available, uint32_t version)
{
    for (uint32_t i = 0; i < RAPT_N_EXTENSIONS; i++) {
        if (extensions[i].core && version >= extensions[i].core)
            available |= 1u << i;
    }
    return available;
}

int rapt_extensions_allow(uint32_t enabled, rapt_features feature)
{
    const uint32_t coopmat2 = 1u << RAPT_EXTENSION_COOPMAT2; /* maintenance4 alone is not it */
    int needs_one = 0;
    if ((extensions[RAPT_EXTENSION_COOPMAT2].bits & feature) && !(enabled & coopmat2))
        return 0;
    for (uint32_t i = 0; i < RAPT_N_EXTENSIONS; i++) {
        if (!(extensions[i].bits & feature))
            continue;
        if (enabled & 1u << i)
            return 1;
        needs_one = 1;
    }
    return !needs_one;
}

uint32_t rapt_extensions_needed(uint32_t available, rapt_features features)
{
    /* VK_KHR_portability_subset must be enabled wherever it is offered. */
    uint32_t needed = available & (1u << RAPT_EXTENSION_PORTABILITY);
    for (uint32_t i = 0; i < RAPT_N_EXTENSIONS; i++) {
        if (extensions[i].bits & features)
            needed |= available & (1u << i);
    }
    if (needed & (1u << RAPT_EXTENSION_PRIORITY_KHR))
        needed &= ~(1u << RAPT_EXTENSION_PRIORITY_EXT); /* the same thing under its first name */
    return needed;
}

/* Every struct of the chain behind the base, with the extension it comes from (-1: Vulkan 1.1). */
#define CHAIN_STRUCTS(STRUCT)                                                                      \
    STRUCT(storage16, -1, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_16BIT_STORAGE_FEATURES)                \
    STRUCT(storage8, RAPT_EXTENSION_STORAGE8,                                                      \
           VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_8BIT_STORAGE_FEATURES)                                \
    STRUCT(float16_int8, RAPT_EXTENSION_FLOAT16_INT8,                                              \
           VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_FLOAT16_INT8_FEATURES)                         \
    STRUCT(subgroup_size, RAPT_EXTENSION_SUBGROUP_SIZE,                                            \
           VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES)                       \
    STRUCT(address, RAPT_EXTENSION_ADDRESS,                                                        \
           VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_BUFFER_DEVICE_ADDRESS_FEATURES)                       \
    STRUCT(integer_dot, RAPT_EXTENSION_INTEGER_DOT,                                                \
           VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_FEATURES)                  \
    STRUCT(memory_model, RAPT_EXTENSION_MEMORY_MODEL,                                              \
           VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_MEMORY_MODEL_FEATURES)                         \
    STRUCT(coopmat, RAPT_EXTENSION_COOPMAT, RAPT_VK_TYPE_COOPMAT_FEATURES)                         \
    STRUCT(coopmat2, RAPT_EXTENSION_COOPMAT2, RAPT_VK_TYPE_COOPMAT2_FEATURES)                      \
    STRUCT(maintenance4, RAPT_EXTENSION_MAINTENANCE4,                                              \
           VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_4_FEATURES)                               \
    STRUCT(bfloat16, RAPT_EXTENSION_BFLOAT16, RAPT_VK_TYPE_BFLOAT16_FEATURES)

/* MEMBER(bit it stands for, is the bit itself or goes along with it, struct, member). A bit is
 * there when all its own members are; the companions are enabled with it where the device has them.
 */
#define CHAIN_MEMBERS(MEMBER)                                                                      \
    MEMBER(RAPT_FEATURE_INT64, 1, base.features, shaderInt64)                                      \
    MEMBER(RAPT_FEATURE_STORAGE_16BIT, 1, storage16, storageBuffer16BitAccess)                     \
    MEMBER(RAPT_FEATURE_STORAGE_8BIT, 1, storage8, storageBuffer8BitAccess)                        \
    MEMBER(RAPT_FEATURE_F16, 1, float16_int8, shaderFloat16)                                       \
    MEMBER(RAPT_FEATURE_INT8, 1, float16_int8, shaderInt8)                                         \
    MEMBER(RAPT_FEATURE_SUBGROUP_SIZE_CONTROL, 1, subgroup_size, subgroupSizeControl)              \
    MEMBER(RAPT_FEATURE_SUBGROUP_SIZE_CONTROL, 0, subgroup_size, computeFullSubgroups)             \
    MEMBER(RAPT_FEATURE_BUFFER_DEVICE_ADDRESS, 1, address, bufferDeviceAddress)                    \
    MEMBER(RAPT_FEATURE_INTEGER_DOT, 1, integer_dot, shaderIntegerDotProduct)                      \
    MEMBER(RAPT_FEATURE_MEMORY_MODEL, 1, memory_model, vulkanMemoryModel)                          \
    MEMBER(RAPT_FEATURE_MEMORY_MODEL, 0, memory_model, vulkanMemoryModelDeviceScope)               \
    MEMBER(RAPT_FEATURE_COOPMAT, 1, coopmat, cooperativeMatrix)                                    \
    MEMBER(RAPT_FEATURE_COOPMAT2, 1, maintenance4, maintenance4)                                   \
    MEMBER(RAPT_FEATURE_COOPMAT2, 1, coopmat2, cooperativeMatrixReductions)                        \
    MEMBER(RAPT_FEATURE_COOPMAT2, 1, coopmat2, cooperativeMatrixConversions)                       \
    MEMBER(RAPT_FEATURE_COOPMAT2, 1, coopmat2, cooperativeMatrixPerElementOperations)              \
    MEMBER(RAPT_FEATURE_COOPMAT2_TENSOR, 1, coopmat2, cooperativeMatrixFlexibleDimensions)         \
    MEMBER(RAPT_FEATURE_COOPMAT2_TENSOR, 1, coopmat2, cooperativeMatrixWorkgroupScope)             \
    MEMBER(RAPT_FEATURE_COOPMAT2_TENSOR, 1, coopmat2, cooperativeMatrixTensorAddressing)           \
    MEMBER(RAPT_FEATURE_COOPMAT2_TENSOR, 1, coopmat2, cooperativeMatrixBlockLoads)                 \
    MEMBER(RAPT_FEATURE_BF16, 1, bfloat16, shaderBFloat16Type)                                     \
    MEMBER(RAPT_FEATURE_BF16, 0, bfloat16, shaderBFloat16DotProduct)                               \
    MEMBER(RAPT_FEATURE_BF16, 0, bfloat16, shaderBFloat16CooperativeMatrix)

static void link_structs(struct rapt_feature_chain *chain, uint32_t usable)
{
    void **link = &chain->base.pNext;
#define STRUCT(member, extension, type)                                                            \
    if ((extension) < 0 || (usable & (1u << ((extension)&31)))) {                                  \
        *link = &chain->member;                                                                    \
        link = &chain->member.pNext;                                                               \
    }
    CHAIN_STRUCTS(STRUCT)
#undef STRUCT
    *link = NULL;
}

void rapt_feature_chain_init(struct rapt_feature_chain *chain, uint32_t usable)
{
    memset(chain, 0, sizeof *chain);
    chain->base.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2;
#define STRUCT(member, extension, type) chain->member.sType = (type);
    CHAIN_STRUCTS(STRUCT)
#undef STRUCT
    link_structs(chain, usable);
}

rapt_features rapt_feature_chain_mask(void)
{
    rapt_features mask = 0;
#define MEMBER(bit, own, in, member) mask |= (bit);
    CHAIN_MEMBERS(MEMBER)
#undef MEMBER
    return mask;
}

rapt_features rapt_feature_chain_bits(const struct rapt_feature_chain *chain)
{
    rapt_features bits = rapt_feature_chain_mask();
#define MEMBER(bit, own, in, member)                                                               \
    if ((own) && !chain->in.member)                                                                \
        bits &= ~(rapt_features)(bit);
    CHAIN_MEMBERS(MEMBER)
#undef MEMBER
    return bits;
}

void rapt_feature_chain_keep(struct rapt_feature_chain *chain, rapt_features features)
{
    struct rapt_feature_chain kept;
    rapt_feature_chain_init(&kept, 0);
#define MEMBER(bit, own, in, member)                                                               \
    kept.in.member = (features & (bit)) ? chain->in.member : VK_FALSE;
    CHAIN_MEMBERS(MEMBER)
#undef MEMBER
    *chain = kept;

    /* A struct whose bits are all left out may belong to an extension that is not enabled. */
    uint32_t usable = 0;
    for (uint32_t i = 0; i < RAPT_N_EXTENSIONS; i++) {
        if (extensions[i].bits & features)
            usable |= 1u << i;
    }
    link_structs(chain, usable);
}

/* Vulkan's chains are untyped: this is the head every struct begins with. */
static const VkBaseInStructure *chain_next(const VkBaseInStructure *in)
{
    return in->pNext;
}

static void read_vulkan12(const VkPhysicalDeviceVulkan12Features *from,
                          struct rapt_feature_chain *chain, uint32_t *versioned)
{
    chain->storage8.storageBuffer8BitAccess |= from->storageBuffer8BitAccess;
    chain->float16_int8.shaderFloat16 |= from->shaderFloat16;
    chain->float16_int8.shaderInt8 |= from->shaderInt8;
    chain->address.bufferDeviceAddress |= from->bufferDeviceAddress;
    chain->memory_model.vulkanMemoryModel |= from->vulkanMemoryModel;
    chain->memory_model.vulkanMemoryModelDeviceScope |= from->vulkanMemoryModelDeviceScope;
    *versioned |= 1u << RAPT_EXTENSION_STORAGE8 | 1u << RAPT_EXTENSION_FLOAT16_INT8 |
                  1u << RAPT_EXTENSION_ADDRESS | 1u << RAPT_EXTENSION_MEMORY_MODEL;
}

static void read_vulkan13(const VkPhysicalDeviceVulkan13Features *from,
                          struct rapt_feature_chain *chain, uint32_t *versioned)
{
    chain->subgroup_size.subgroupSizeControl |= from->subgroupSizeControl;
    chain->subgroup_size.computeFullSubgroups |= from->computeFullSubgroups;
    chain->integer_dot.shaderIntegerDotProduct |= from->shaderIntegerDotProduct;
    chain->maintenance4.maintenance4 |= from->maintenance4;
    *versioned |= 1u << RAPT_EXTENSION_SUBGROUP_SIZE | 1u << RAPT_EXTENSION_INTEGER_DOT |
                  1u << RAPT_EXTENSION_MAINTENANCE4;
}

void rapt_feature_chain_read(const void *app_chain, struct rapt_feature_chain *out_chain,
                             uint32_t *out_versioned)
{
    rapt_feature_chain_init(out_chain, 0);
    *out_versioned = 0;
    for (const VkBaseInStructure *in = app_chain; in; in = chain_next(in)) {
        const void *from = in;
        switch ((uint32_t)in->sType) {
        case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2:
            out_chain->base.features = ((const VkPhysicalDeviceFeatures2 *)from)->features;
            break;
        case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES:
            out_chain->storage16.storageBuffer16BitAccess |=
                ((const VkPhysicalDeviceVulkan11Features *)from)->storageBuffer16BitAccess;
            break;
        case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES:
            read_vulkan12(from, out_chain, out_versioned);
            break;
        case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_3_FEATURES:
            read_vulkan13(from, out_chain, out_versioned);
            break;
#define STRUCT(member, extension, type)                                                            \
    case (uint32_t)(type): {                                                                       \
        void *next = out_chain->member.pNext;                                                      \
        memcpy(&out_chain->member, from, sizeof out_chain->member);                                \
        out_chain->member.pNext = next;                                                            \
        break;                                                                                     \
    }
            CHAIN_STRUCTS(STRUCT)
#undef STRUCT
        default:
            break;
        }
    }
}
