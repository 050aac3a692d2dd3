/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RAPT_DEVICE_H
#define RAPT_DEVICE_H

/* Devices of the explicit tier (attention.h): what to enable on the app's own, what one can do, and which
 * kernels run on it. */

#include <rapt/common.h>

#include <vulkan/vulkan_core.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ------------------------------------------------------------------------------------ features */

/* Optional device features the library can use. Each has a name (rapt_feature_name) that
 * `disable` lists and the RAPT_DISABLE variable of the easy tier use. None is required. */
typedef uint64_t rapt_features;
#define RAPT_FEATURE_F16 (1ull << 0)                   /* "f16": shaderFloat16 */
#define RAPT_FEATURE_INT8 (1ull << 1)                  /* "int8": shaderInt8 */
#define RAPT_FEATURE_STORAGE_16BIT (1ull << 2)         /* "storage16": storageBuffer16BitAccess */
#define RAPT_FEATURE_STORAGE_8BIT (1ull << 3)          /* "storage8": storageBuffer8BitAccess */
#define RAPT_FEATURE_INT64 (1ull << 4)                 /* "int64": shaderInt64 */
#define RAPT_FEATURE_SUBGROUP (1ull << 5)              /* "subgroup": arithmetic, ballot, quad, shuffle, vote */
#define RAPT_FEATURE_SUBGROUP_SIZE_CONTROL (1ull << 6) /* "subgroup_size_control" */
#define RAPT_FEATURE_BUFFER_DEVICE_ADDRESS (1ull << 7) /* "buffer_device_address" */
#define RAPT_FEATURE_PUSH_DESCRIPTOR (1ull << 8)       /* "push_descriptor": VK_KHR_push_descriptor */
#define RAPT_FEATURE_INTEGER_DOT (1ull << 9)           /* "integer_dot": shaderIntegerDotProduct */
#define RAPT_FEATURE_COOPMAT (1ull << 10)              /* "coopmat": VK_KHR_cooperative_matrix */
/* "coopmat2": VK_NV_cooperative_matrix2 with reductions, conversions and per-element operations; used where
 * instance and device are of Vulkan 1.3 */
#define RAPT_FEATURE_COOPMAT2 (1ull << 11)
#define RAPT_FEATURE_BF16 (1ull << 12)                 /* "bf16": VK_KHR_shader_bfloat16 */
#define RAPT_FEATURE_MEMORY_MODEL (1ull << 13)         /* "memory_model": vulkanMemoryModel */
#define RAPT_FEATURE_PRIORITY (1ull << 14)             /* "priority": VK_*_global_priority */
#define RAPT_FEATURE_DEBUG_UTILS (1ull << 15)          /* "debug_utils": names and labels */
#define RAPT_FEATURE_CPU_ROWS (1ull << 16) /* "cpu_rows": not Vulkan's: the CPU driver's own kernels */
/* "coopmat2_tensor": the rest of coopmat2: workgroup scope, flexible dimensions, tensor addressing and
 * block loads */
#define RAPT_FEATURE_COOPMAT2_TENSOR (1ull << 17)
#define RAPT_N_FEATURES 18

/* Name of the feature with bit number `bit`, NULL past the last. Thread-safety: any thread. */
RAPT_API const char *rapt_feature_name(uint32_t bit);
/* Parses "f16,subgroup,..." ("" = none). RAPT_ERROR_SYNTAX names the unknown word.
 * Thread-safety: any thread. */
RAPT_API rapt_status rapt_features_parse(const char *text, rapt_features *out_features);

/* An immutable snapshot of what a device is and may use: supported, enabled, and not disabled.
 * Kernel selection is a pure function of it. Sizes are bytes. */
typedef struct rapt_caps {
    size_t struct_size;
    char device_name[256];
    char driver_name[256]; /* VkPhysicalDeviceDriverProperties, "" if unknown */
    char driver_info[256];
    uint32_t api_version; /* of the device, VK_MAKE_API_VERSION */
    uint32_t vendor_id, device_id, driver_version;
    uint32_t driver_id;   /* VkDriverId, 0 = unknown */
    uint32_t driver_major, driver_minor; /* read from driver_info where it has a version, else 0 */
    uint32_t device_type; /* VkPhysicalDeviceType */
    uint8_t device_uuid[16], pipeline_cache_uuid[16];

    rapt_features supported; /* before `enabled` and `disable` cut it */
    rapt_features features;  /* what kernels may use */

    uint32_t subgroup_size, min_subgroup_size, max_subgroup_size;
    uint32_t subgroup_operations; /* VkSubgroupFeatureFlags in compute */
    uint32_t max_shared_memory;
    uint32_t max_workgroup_invocations;
    uint32_t max_workgroup_size[3];
    uint32_t max_workgroup_count[3];
    uint32_t max_push_constants;
    uint32_t max_storage_buffers; /* per stage */
    uint64_t max_storage_buffer_range;
    uint32_t storage_buffer_alignment; /* minStorageBufferOffsetAlignment */
    uint64_t max_memory_allocation;
    uint32_t max_push_descriptors;
    uint32_t timestamp_valid_bits; /* of the chosen queue family; 0 = no timestamps */
    float timestamp_period;        /* ns per tick */
    uint64_t device_memory;        /* largest device-local heap */
    int portability_subset;        /* VK_KHR_portability_subset device (MoltenVK) */

    int integer_dot_accelerated; /* of packed signed bytes: integer4x8BitPackedSigned */

    /* cooperative-matrix shapes the device enumerates (KHR, subgroup scope, not saturating), the
     * first 32 */
    uint32_t n_coopmat_shapes;
    struct {
        uint16_t m, n, k;
        uint8_t a, b, c, r; /* VkComponentTypeKHR below 64, else RAPT_COMPONENT_* */
    } coopmat_shapes[32];

    uint32_t max_workgroup_subgroups; /* where kernels ask for a subgroup size; 0 = unknown */

    /* Matrices of flexible dimensions the device enumerates (NV, workgroup scope, not saturating), the
     * first 16: multiples of what, in workgroups of how many. Then their largest dimension and
     * workgroup, and the shared memory the driver keeps for them; 0 = unknown. */
    uint32_t n_coopmat2_shapes;
    struct {
        uint16_t m, n, k;
        uint8_t a, b, c, r; /* as above */
        uint16_t workgroup;
    } coopmat2_shapes[16];
    uint32_t coopmat2_max_dimension, coopmat2_max_workgroup, coopmat2_shared_bytes;
} rapt_caps;

/* Component types whose VkComponentTypeKHR does not fit a byte. */
#define RAPT_COMPONENT_BF16 64
#define RAPT_COMPONENT_FP8_E4M3 65
#define RAPT_COMPONENT_FP8_E5M2 66
#define RAPT_COMPONENT_OTHER 255

/* -------------------------------------------------------------------------------- requirements */

/* What the app's device should enable so that every kernel the hardware can run may run. All of it
 * optional: leave out what the app cannot afford and say so in rapt_device_params. */
typedef struct rapt_requirements {
    size_t struct_size;
    uint32_t api_version; /* lowest VkApplicationInfo::apiVersion: VK_API_VERSION_1_1 */
    const char *const *device_extensions; /* static strings; array owned by this struct */
    uint32_t n_device_extensions;
    /* A VkPhysicalDeviceFeatures2 chain with exactly the useful features set, owned by this
     * struct: use it as VkDeviceCreateInfo::pNext, or OR its members into the app's own chain. */
    const VkPhysicalDeviceFeatures2 *features;
    rapt_features useful; /* the same as bits */
    VkBufferUsageFlags buffer_usage; /* for every buffer handed to record */
    VkMemoryAllocateFlags memory_allocate_flags; /* for the memory under those buffers */
    void *internal;
} rapt_requirements;

/* Reads the physical device; creates nothing in Vulkan. `disable`: features not to ask for.
 * Errors: ARGUMENT (a NULL handle), UNSUPPORTED (below Vulkan 1.1, no compute queue), HOST_MEMORY.
 * Thread-safety: any thread. */
RAPT_API rapt_status rapt_requirements_get(PFN_vkGetInstanceProcAddr get_instance_proc_addr,
                                           VkInstance instance, VkPhysicalDevice physical_device,
                                           rapt_features disable,
                                           rapt_requirements *out_requirements);
RAPT_API void rapt_requirements_finish(rapt_requirements *requirements);

/* -------------------------------------------------------------------------------------- device */

typedef struct rapt_device rapt_device;

typedef struct rapt_device_params {
    size_t struct_size;
    const rapt_allocator *allocator; /* NULL = malloc/free; copied */
    rapt_log log;
    rapt_features disable; /* never use these */

    /* NULL: the platform's Vulkan loader is opened and closed by the device. */
    PFN_vkGetInstanceProcAddr get_instance_proc_addr;

    /* Adopting the app's device: set all of instance, physical_device, device. They must outlive
     * the rapt_device and are not destroyed with it. queue_family is the family of the command
     * buffers given to record; queue is used by the easy tier only and may be NULL. */
    VkInstance instance;
    VkPhysicalDevice physical_device;
    VkDevice device;
    uint32_t queue_family;
    VkQueue queue;
    uint32_t api_version; /* the apiVersion the app's instance was created with; 0 = 1.1 */
    const char *const *enabled_extensions; /* device extensions the app enabled */
    uint32_t n_enabled_extensions;
    const void *enabled_features; /* the pNext chain of the app's VkDeviceCreateInfo, or a
                                     VkPhysicalDeviceFeatures2 chain; NULL = nothing enabled */
    int debug_utils; /* the app's instance has VK_EXT_debug_utils: names and labels are set */

    /* Own device (instance == NULL): which one. NULL or "" = the best: discrete, integrated,
     * virtual, CPU. A number is an index into rapt_devices_list, other text a substring of the
     * name, ignoring case. */
    const char *select;
    int low_priority; /* ask for the lowest global queue priority where the driver offers it */
    int validation;   /* 1: enable VK_LAYER_KHRONOS_validation with synchronization validation if it
                         is installed; messages go to the log as errors and are counted. 2: newer
                         layers also guess from the shaders what a dispatch accesses, and take
                         dispatches that write different parts of one buffer for a hazard */

    /* A blob of rapt_device_pipeline_cache_get, or NULL. A blob of another device or driver, or a
     * damaged one, is ignored with a warning. */
    const void *pipeline_cache;
    size_t pipeline_cache_bytes;
} rapt_device_params;

/* Errors: ARGUMENT, NO_DEVICE (no loader, no device, none matches), UNSUPPORTED, HOST_MEMORY,
 * DEVICE. On failure nothing is left behind. */
RAPT_API rapt_status rapt_device_create(const rapt_device_params *params, rapt_device **out_device);
/* All plans of the device must be gone. */
RAPT_API void rapt_device_destroy(rapt_device **device);

/* Valid as long as the device. Thread-safety: any thread. */
RAPT_API const rapt_caps *rapt_device_caps(const rapt_device *device);

/* Names of the devices an own device could be made on, in the order indices count.
 * `out_caps` receives up to `capacity` snapshots; out_n the number there are. */
RAPT_API rapt_status rapt_devices_list(const rapt_device_params *params, rapt_caps *out_caps,
                                       uint32_t capacity, uint32_t *out_n);

/* The pipeline cache as a blob, self-describing (device, driver, checksum). With data NULL only the
 * size is returned. Thread-safety: any thread. */
RAPT_API rapt_status rapt_device_pipeline_cache_get(rapt_device *device, void *data,
                                                    size_t *inout_bytes);

/* Adds what a blob holds to the device's cache: for blobs that are looked up by the device's caps, and
 * so after it is there. Errors: ARGUMENT (another device or driver, damaged; says which),
 * HOST_MEMORY, DEVICE_MEMORY, DEVICE. No plan may be created meanwhile. */
RAPT_API rapt_status rapt_device_pipeline_cache_add(rapt_device *device, const void *data,
                                                    size_t n_bytes);

/* Vulkan objects of the device, for callers who let the library make it. */
typedef struct rapt_device_handles {
    size_t struct_size;
    PFN_vkGetInstanceProcAddr get_instance_proc_addr;
    PFN_vkGetDeviceProcAddr get_device_proc_addr;
    VkInstance instance;
    VkPhysicalDevice physical_device;
    VkDevice device;
    uint32_t queue_family;
    VkQueue queue;
    VkBufferUsageFlags buffer_usage;             /* as in rapt_requirements */
    VkMemoryAllocateFlags memory_allocate_flags;
} rapt_device_handles;
RAPT_API void rapt_device_get_handles(const rapt_device *device, rapt_device_handles *out_handles);

/* Validation messages counted so far (own device with `validation`); 0 otherwise. */
RAPT_API uint32_t rapt_device_validation_messages(const rapt_device *device);
/* 1 if `validation` was asked for and the layer is really active. */
RAPT_API int rapt_device_validation_active(const rapt_device *device);

/* ------------------------------------------------------------------------------------- kernels */

/* One row of the library's kernel table as this build and a device see it, for people and logs. */
typedef struct rapt_kernel_info {
    size_t struct_size;
    const char *name;               /* op_kvtype_path: "prefill_f16_pt". Static strings, all three */
    const char *absent_reason;      /* why it was not compiled into this build; NULL = it is there */
    const char *unsupported_reason; /* what the device lacks to run it; NULL = it can, or caps NULL */
} rapt_kernel_info;

/* Rows in the table; their indices count from 0. Thread-safety: any thread. */
RAPT_API uint32_t rapt_kernel_count(void);
/* caps may be NULL. Errors: ARGUMENT (no such row). Thread-safety: any thread. */
RAPT_API rapt_status rapt_kernel_get_info(const rapt_caps *caps, uint32_t index,
                                          rapt_kernel_info *out_info);

#ifdef __cplusplus
}
#endif

#endif
