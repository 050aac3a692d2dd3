/* SPDX-License-Identifier: Apache-2.0 */
#include "loader.h"

#include "device.h"
#include "error.h"
#include "platform.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define VALIDATION_LAYER "VK_LAYER_KHRONOS_validation"

void rapt_log_line(const rapt_log *log, rapt_log_level level, const char *format, ...)
{
    if (!log->write || level > log->max_level)
        return;
    char line[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    log->write(log->user, level, line);
}

/* ------------------------------------------------------------------------- what the loader has */

struct global_functions {
    PFN_vkEnumerateInstanceVersion EnumerateInstanceVersion; /* NULL on Vulkan 1.0 */
    PFN_vkEnumerateInstanceExtensionProperties EnumerateInstanceExtensionProperties;
    PFN_vkEnumerateInstanceLayerProperties EnumerateInstanceLayerProperties;
    PFN_vkCreateInstance CreateInstance;
};

#if defined(_WIN32)
static const char *const library_names[] = {"vulkan-1.dll"};
#elif defined(__APPLE__)
static const char *const library_names[] = {"libvulkan.1.dylib", "libvulkan.dylib",
                                            "libMoltenVK.dylib"};
#else
static const char *const library_names[] = {"libvulkan.so.1", "libvulkan.so"};
#endif

rapt_status rapt_loader_open(void **out_library,
                             PFN_vkGetInstanceProcAddr *out_get_instance_proc_addr)
{
    for (size_t i = 0; i < sizeof library_names / sizeof library_names[0]; i++) {
        void *library = rapt_library_open(library_names[i]);
        if (!library)
            continue;
        *out_get_instance_proc_addr =
            (PFN_vkGetInstanceProcAddr)rapt_library_find(library, "vkGetInstanceProcAddr");
        if (*out_get_instance_proc_addr) {
            *out_library = library;
            return RAPT_OK;
        }
        rapt_library_close(library);
    }
    return rapt_fail(RAPT_ERROR_NO_DEVICE,
                     "no Vulkan loader: %s cannot be opened; install the system's Vulkan loader "
                     "and a driver",
                     library_names[0]);
}

static rapt_status find_loader(const rapt_device_params *params, struct rapt_instance *instance)
{
    if (params->get_instance_proc_addr) {
        instance->get_instance_proc_addr = params->get_instance_proc_addr;
        return RAPT_OK;
    }
    return rapt_loader_open(&instance->library, &instance->get_instance_proc_addr);
}

static rapt_status load_global(const struct rapt_instance *instance, struct global_functions *vk)
{
#define GLOBAL(name) vk->name = (PFN_vk##name)instance->get_instance_proc_addr(NULL, "vk" #name)
    GLOBAL(EnumerateInstanceVersion);
    GLOBAL(EnumerateInstanceExtensionProperties);
    GLOBAL(EnumerateInstanceLayerProperties);
    GLOBAL(CreateInstance);
#undef GLOBAL
    if (!vk->EnumerateInstanceExtensionProperties || !vk->EnumerateInstanceLayerProperties ||
        !vk->CreateInstance)
        return rapt_fail(RAPT_ERROR_NO_DEVICE,
                         "get_instance_proc_addr does not know vkCreateInstance");
    return RAPT_OK;
}

static rapt_status load_instance(struct rapt_instance *instance)
{
#define FUNCTION(name)                                                                             \
    instance->name = (PFN_vk##name)instance->get_instance_proc_addr(instance->handle, "vk" #name); \
    if (!instance->name)                                                                           \
        return rapt_fail(RAPT_ERROR_NO_DEVICE,                                                     \
                         "the Vulkan loader has no vk%s: Vulkan 1.1 is needed", #name);
    RAPT_INSTANCE_FUNCTIONS(FUNCTION)
#undef FUNCTION
    instance->GetCoopmatProperties =
        (rapt_vk_get_coopmat_properties)instance->get_instance_proc_addr(
            instance->handle, "vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR");
    instance->GetCoopmat2Flexible = (rapt_vk_get_coopmat2_flexible)instance->get_instance_proc_addr(
        instance->handle, "vkGetPhysicalDeviceCooperativeMatrixFlexibleDimensionsPropertiesNV");
    return RAPT_OK;
}

/* What an instance may ask for. */
struct instance_offer {
    int debug_utils, portability_enumeration;
    int layer, layer_settings, validation_features;
};

static void read_extensions(const VkExtensionProperties *extensions, uint32_t n,
                            struct instance_offer *offer)
{
    for (uint32_t i = 0; i < n; i++) {
        const char *name = extensions[i].extensionName;
        if (strcmp(name, VK_EXT_DEBUG_UTILS_EXTENSION_NAME) == 0)
            offer->debug_utils = 1;
        if (strcmp(name, VK_KHR_PORTABILITY_ENUMERATION_EXTENSION_NAME) == 0)
            offer->portability_enumeration = 1;
        if (strcmp(name, RAPT_VK_LAYER_SETTINGS_EXTENSION) == 0)
            offer->layer_settings = 1;
        if (strcmp(name, VK_EXT_VALIDATION_FEATURES_EXTENSION_NAME) == 0)
            offer->validation_features = 1;
    }
}

static rapt_status query_extensions(const struct global_functions *vk,
                                    const rapt_allocator *allocator, const char *layer,
                                    struct instance_offer *offer)
{
    uint32_t n = 0;
    VkResult result = vk->EnumerateInstanceExtensionProperties(layer, &n, NULL);
    if (result != VK_SUCCESS)
        return rapt_device_result(result, "vkEnumerateInstanceExtensionProperties");
    if (n == 0)
        return RAPT_OK;
    VkExtensionProperties *extensions = rapt_alloc(allocator, n, sizeof *extensions);
    if (!extensions)
        return rapt_fail(RAPT_ERROR_HOST_MEMORY, "no memory for the list of instance extensions");
    result = vk->EnumerateInstanceExtensionProperties(layer, &n, extensions);
    if (result == VK_SUCCESS || result == VK_INCOMPLETE)
        read_extensions(extensions, n, offer);
    rapt_free(allocator, extensions);
    return RAPT_OK;
}

static rapt_status query_layer(const struct global_functions *vk, const rapt_allocator *allocator,
                               struct instance_offer *offer)
{
    uint32_t n = 0;
    VkResult result = vk->EnumerateInstanceLayerProperties(&n, NULL);
    if (result != VK_SUCCESS || n == 0)
        return RAPT_OK;
    VkLayerProperties *layers = rapt_alloc(allocator, n, sizeof *layers);
    if (!layers)
        return rapt_fail(RAPT_ERROR_HOST_MEMORY, "no memory for the list of instance layers");
    result = vk->EnumerateInstanceLayerProperties(&n, layers);
    for (uint32_t i = 0; (result == VK_SUCCESS || result == VK_INCOMPLETE) && i < n; i++)
        offer->layer |= strcmp(layers[i].layerName, VALIDATION_LAYER) == 0;
    rapt_free(allocator, layers);
    return offer->layer ? query_extensions(vk, allocator, VALIDATION_LAYER, offer) : RAPT_OK;
}

/* ---------------------------------------------------------------------------------- validation */

static VKAPI_ATTR VkBool32 VKAPI_CALL on_message(VkDebugUtilsMessageSeverityFlagBitsEXT severity,
                                                 VkDebugUtilsMessageTypeFlagsEXT types,
                                                 const VkDebugUtilsMessengerCallbackDataEXT *data,
                                                 void *user)
{
    const struct rapt_validation_sink *sink = user;
    (void)severity;
    (void)types;
    __atomic_fetch_add(sink->n_messages, 1, __ATOMIC_RELAXED);
    rapt_log_line(sink->log, RAPT_LOG_ERROR, "validation: %s",
                  data->pMessage ? data->pMessage : data->pMessageIdName);
    return VK_FALSE;
}

/* Everything the validation pNext chain of an instance points at. */
struct validation_chain {
    VkDebugUtilsMessengerCreateInfoEXT messenger;
    VkValidationFeaturesEXT features;
    VkValidationFeatureEnableEXT enables[1];
    VkBool32 on;
    struct rapt_vk_layer_setting settings[2];
    struct rapt_vk_layer_settings layer_settings;
};

static const void *fill_validation(struct validation_chain *chain,
                                   const struct instance_offer *offer,
                                   const struct rapt_validation_sink *sink, int level)
{
    memset(chain, 0, sizeof *chain);
    const void *next = NULL;
    if (offer->layer_settings) {
        chain->on = VK_TRUE;
        static const char *const names[] = {"validate_sync", "syncval_shader_accesses_heuristic"};
        for (int i = 0; i < 2; i++)
            chain->settings[i] = (struct rapt_vk_layer_setting){
                VALIDATION_LAYER, names[i], RAPT_VK_LAYER_SETTING_BOOL32, 1, &chain->on};
        chain->layer_settings.sType = RAPT_VK_TYPE_LAYER_SETTINGS;
        chain->layer_settings.n_settings = level > 1 ? 2 : 1;
        chain->layer_settings.settings = chain->settings;
        next = &chain->layer_settings;
    } else if (offer->validation_features) {
        chain->enables[0] = VK_VALIDATION_FEATURE_ENABLE_SYNCHRONIZATION_VALIDATION_EXT;
        chain->features.sType = VK_STRUCTURE_TYPE_VALIDATION_FEATURES_EXT;
        chain->features.enabledValidationFeatureCount = 1;
        chain->features.pEnabledValidationFeatures = chain->enables;
        next = &chain->features;
    }
    chain->messenger.sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT;
    chain->messenger.messageSeverity = VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT |
                                       VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT;
    chain->messenger.messageType = VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT;
    chain->messenger.pfnUserCallback = on_message;
    chain->messenger.pUserData = (void *)sink;
    chain->messenger.pNext = next;
    return &chain->messenger;
}

static void create_messenger(struct rapt_instance *instance, const struct validation_chain *chain)
{
    PFN_vkCreateDebugUtilsMessengerEXT create =
        (PFN_vkCreateDebugUtilsMessengerEXT)instance->get_instance_proc_addr(
            instance->handle, "vkCreateDebugUtilsMessengerEXT");
    VkDebugUtilsMessengerCreateInfoEXT info = chain->messenger;
    info.pNext = NULL;
    if (!create || create(instance->handle, &info, NULL, &instance->messenger) != VK_SUCCESS)
        instance->messenger = VK_NULL_HANDLE;
}

/* ------------------------------------------------------------------------------------ instance */

static rapt_status create_instance(const rapt_device_params *params,
                                   const struct rapt_validation_sink *sink,
                                   const struct global_functions *vk,
                                   struct rapt_instance *instance)
{
    uint32_t version = VK_API_VERSION_1_0;
    if (vk->EnumerateInstanceVersion)
        vk->EnumerateInstanceVersion(&version);
    if (version < VK_API_VERSION_1_1)
        return rapt_fail(RAPT_ERROR_NO_DEVICE,
                         "the Vulkan loader offers version 1.0: 1.1 or later is needed");
    instance->api_version = version < VK_API_VERSION_1_3 ? version : VK_API_VERSION_1_3;

    struct instance_offer offer = {0};
    rapt_status status = query_extensions(vk, params->allocator, NULL, &offer);
    if (status == RAPT_OK && sink)
        status = query_layer(vk, params->allocator, &offer);
    if (status != RAPT_OK)
        return status;
    instance->debug_utils = offer.debug_utils;
    instance->validation = sink && offer.layer && offer.debug_utils;
    if (sink && !instance->validation)
        rapt_log_line(&params->log, RAPT_LOG_WARNING,
                      "validation was asked for, but %s is not installed", VALIDATION_LAYER);

    const char *extensions[4];
    uint32_t n = 0;
    if (offer.debug_utils)
        extensions[n++] = VK_EXT_DEBUG_UTILS_EXTENSION_NAME;
    if (offer.portability_enumeration)
        extensions[n++] = VK_KHR_PORTABILITY_ENUMERATION_EXTENSION_NAME;
    if (instance->validation && offer.layer_settings)
        extensions[n++] = RAPT_VK_LAYER_SETTINGS_EXTENSION;
    else if (instance->validation && offer.validation_features)
        extensions[n++] = VK_EXT_VALIDATION_FEATURES_EXTENSION_NAME;

    static const char *const layers[] = {VALIDATION_LAYER};
    struct validation_chain chain;
    VkApplicationInfo app = {
        .sType = VK_STRUCTURE_TYPE_APPLICATION_INFO,
        .pEngineName = "rapt",
        .engineVersion =
            VK_MAKE_API_VERSION(0, RAPT_VERSION_MAJOR, RAPT_VERSION_MINOR, RAPT_VERSION_PATCH),
        .apiVersion = instance->api_version,
    };
    VkInstanceCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO,
        .pNext =
            instance->validation ? fill_validation(&chain, &offer, sink, params->validation) : NULL,
        .flags =
            offer.portability_enumeration ? VK_INSTANCE_CREATE_ENUMERATE_PORTABILITY_BIT_KHR : 0,
        .pApplicationInfo = &app,
        .enabledLayerCount = instance->validation ? 1 : 0,
        .ppEnabledLayerNames = layers,
        .enabledExtensionCount = n,
        .ppEnabledExtensionNames = extensions,
    };
    VkResult result = vk->CreateInstance(&info, NULL, &instance->handle);
    if (result == VK_ERROR_INCOMPATIBLE_DRIVER || result == VK_ERROR_INITIALIZATION_FAILED)
        return rapt_fail(RAPT_ERROR_NO_DEVICE, "no Vulkan driver is installed: vkCreateInstance "
                                               "found none that works");
    if (result != VK_SUCCESS) {
        instance->handle = VK_NULL_HANDLE;
        return rapt_device_result(result, "vkCreateInstance");
    }
    instance->owned = 1;
    status = load_instance(instance);
    if (status == RAPT_OK && instance->validation)
        create_messenger(instance, &chain);
    return status;
}

rapt_status rapt_instance_create(const rapt_device_params *params,
                                 const struct rapt_validation_sink *validation,
                                 struct rapt_instance *out_instance)
{
    memset(out_instance, 0, sizeof *out_instance);
    struct global_functions vk;
    rapt_status status = find_loader(params, out_instance);
    if (status == RAPT_OK)
        status = load_global(out_instance, &vk);
    if (status == RAPT_OK)
        status = create_instance(params, validation, &vk, out_instance);
    if (status != RAPT_OK)
        rapt_instance_finish(out_instance);
    return status;
}

rapt_status rapt_instance_adopt(const rapt_device_params *params,
                                struct rapt_instance *out_instance)
{
    memset(out_instance, 0, sizeof *out_instance);
    rapt_status status = find_loader(params, out_instance);
    if (status != RAPT_OK)
        return status;
    out_instance->handle = params->instance;
    out_instance->api_version = params->api_version ? params->api_version : VK_API_VERSION_1_1;
    out_instance->debug_utils = params->debug_utils;
    status = load_instance(out_instance);
    if (status != RAPT_OK)
        rapt_instance_finish(out_instance);
    return status;
}

void rapt_instance_finish(struct rapt_instance *instance)
{
    if (instance->owned && instance->handle) {
        PFN_vkDestroyDebugUtilsMessengerEXT destroy_messenger =
            (PFN_vkDestroyDebugUtilsMessengerEXT)instance->get_instance_proc_addr(
                instance->handle, "vkDestroyDebugUtilsMessengerEXT");
        PFN_vkDestroyInstance destroy = (PFN_vkDestroyInstance)instance->get_instance_proc_addr(
            instance->handle, "vkDestroyInstance");
        if (instance->messenger && destroy_messenger)
            destroy_messenger(instance->handle, instance->messenger, NULL);
        if (destroy)
            destroy(instance->handle, NULL);
    }
    rapt_library_close(instance->library);
    memset(instance, 0, sizeof *instance);
}

rapt_status rapt_instance_devices(const struct rapt_instance *instance,
                                  const rapt_allocator *allocator, VkPhysicalDevice **out_devices,
                                  uint32_t *out_n)
{
    *out_devices = NULL;
    *out_n = 0;
    uint32_t n = 0;
    VkResult result = instance->EnumeratePhysicalDevices(instance->handle, &n, NULL);
    if (result == VK_ERROR_INITIALIZATION_FAILED)
        return RAPT_OK; /* how some loaders say that no driver found a device */
    if (result != VK_SUCCESS)
        return rapt_device_result(result, "vkEnumeratePhysicalDevices");
    if (n == 0)
        return RAPT_OK;
    VkPhysicalDevice *devices = rapt_alloc(allocator, n, sizeof *devices);
    if (!devices)
        return rapt_fail(RAPT_ERROR_HOST_MEMORY, "no memory for the list of devices");
    result = instance->EnumeratePhysicalDevices(instance->handle, &n, devices);
    if (result != VK_SUCCESS && result != VK_INCOMPLETE) {
        rapt_free(allocator, devices);
        return rapt_device_result(result, "vkEnumeratePhysicalDevices");
    }
    *out_devices = devices;
    *out_n = n;
    return RAPT_OK;
}
