/* SPDX-License-Identifier: Apache-2.0 */
/* Poor and failing loaders and drivers: the real ones behind functions that lie. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <rapt/attention.h>

#include "checked_device.h"
#include "loader.h"
#include "platform.h"
#include "skip.h"

/* A loader that lies: what the wrapped functions say instead. */
static struct {
    PFN_vkGetInstanceProcAddr real;
    uint32_t version; /* of instance and devices */
    int no_extensions;
    int refuse_priority;
    uint32_t n_refused;
    VkResult instance_result, device_result; /* what creation fails with */
    int no_devices;
} fake;

static VKAPI_ATTR VkResult VKAPI_CALL fake_instance_version(uint32_t *version)
{
    *version = fake.version;
    return VK_SUCCESS;
}

static VkInstance fake_instance;

static VKAPI_ATTR VkResult VKAPI_CALL fake_create_instance(const VkInstanceCreateInfo *info,
                                                           const VkAllocationCallbacks *allocator,
                                                           VkInstance *instance)
{
    PFN_vkCreateInstance real = (PFN_vkCreateInstance)fake.real(NULL, "vkCreateInstance");
    if (fake.instance_result != VK_SUCCESS)
        return fake.instance_result;
    VkResult result = real(info, allocator, instance);
    fake_instance = *instance;
    return result;
}

static VKAPI_ATTR void VKAPI_CALL fake_properties(VkPhysicalDevice device,
                                                  VkPhysicalDeviceProperties *properties)
{
    PFN_vkGetPhysicalDeviceProperties real = (PFN_vkGetPhysicalDeviceProperties)fake.real(
        fake_instance, "vkGetPhysicalDeviceProperties");
    real(device, properties);
    properties->apiVersion = fake.version;
}

static VKAPI_ATTR VkResult VKAPI_CALL fake_extensions(VkPhysicalDevice device, const char *layer,
                                                      uint32_t *n, VkExtensionProperties *list)
{
    PFN_vkEnumerateDeviceExtensionProperties real =
        (PFN_vkEnumerateDeviceExtensionProperties)fake.real(fake_instance,
                                                            "vkEnumerateDeviceExtensionProperties");
    if (!fake.no_extensions)
        return real(device, layer, n, list);
    *n = 0;
    return VK_SUCCESS;
}

static VKAPI_ATTR VkResult VKAPI_CALL fake_create_device(VkPhysicalDevice physical,
                                                         const VkDeviceCreateInfo *info,
                                                         const VkAllocationCallbacks *allocator,
                                                         VkDevice *device)
{
    PFN_vkCreateDevice real = (PFN_vkCreateDevice)fake.real(fake_instance, "vkCreateDevice");
    if (fake.device_result != VK_SUCCESS)
        return fake.device_result;
    if (fake.refuse_priority && info->pQueueCreateInfos[0].pNext) {
        fake.n_refused++;
        return VK_ERROR_NOT_PERMITTED_KHR;
    }
    return real(physical, info, allocator, device);
}

static VKAPI_ATTR VkResult VKAPI_CALL fake_devices(VkInstance instance, uint32_t *n,
                                                   VkPhysicalDevice *devices)
{
    PFN_vkEnumeratePhysicalDevices real =
        (PFN_vkEnumeratePhysicalDevices)fake.real(instance, "vkEnumeratePhysicalDevices");
    if (!fake.no_devices)
        return real(instance, n, devices);
    *n = 0;
    return VK_SUCCESS;
}

static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL fake_proc_addr(VkInstance instance,
                                                               const char *name)
{
    if (fake.version && strcmp(name, "vkEnumerateInstanceVersion") == 0)
        return (PFN_vkVoidFunction)fake_instance_version;
    if (strcmp(name, "vkCreateInstance") == 0)
        return (PFN_vkVoidFunction)fake_create_instance;
    if (fake.version && strcmp(name, "vkGetPhysicalDeviceProperties") == 0)
        return (PFN_vkVoidFunction)fake_properties;
    if (strcmp(name, "vkEnumerateDeviceExtensionProperties") == 0)
        return (PFN_vkVoidFunction)fake_extensions;
    if (strcmp(name, "vkEnumeratePhysicalDevices") == 0)
        return (PFN_vkVoidFunction)fake_devices;
    if (strcmp(name, "vkCreateDevice") == 0)
        return (PFN_vkVoidFunction)fake_create_device;
    return fake.real(instance, name);
}

static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL empty_proc_addr(VkInstance instance,
                                                                const char *name)
{
    (void)instance;
    (void)name;
    return NULL;
}

static void test_vulkan_11_alone(void **state)
{
    (void)state;
    fake.version = VK_API_VERSION_1_1;
    fake.no_extensions = 1;
    rapt_device_params params = {.struct_size = sizeof params,
                                 .get_instance_proc_addr = fake_proc_addr};
    rapt_device *device = create(&params);
    const rapt_features core = RAPT_FEATURE_STORAGE_16BIT | RAPT_FEATURE_INT64 |
                               RAPT_FEATURE_SUBGROUP | RAPT_FEATURE_DEBUG_UTILS |
                               RAPT_FEATURE_CPU_ROWS;
    const rapt_caps *caps = rapt_device_caps(device);
    assert_int_equal(caps->features & ~core, 0);
    assert_int_equal(caps->supported & ~core, 0);
    assert_int_equal(caps->driver_id, 0); /* unknown without VK_KHR_driver_properties */
    assert_int_equal(caps->min_subgroup_size, caps->max_subgroup_size);
    rapt_device_destroy(&device);
    fake.version = 0;
    fake.no_extensions = 0;
}

static void test_poor_loaders(void **state)
{
    (void)state;
    rapt_device *device = NULL;
    rapt_device_params params = {.struct_size = sizeof params,
                                 .get_instance_proc_addr = empty_proc_addr};
    assert_int_equal(rapt_device_create(&params, &device), RAPT_ERROR_NO_DEVICE);
    params.get_instance_proc_addr = fake_proc_addr;
    fake.version = VK_API_VERSION_1_0;
    assert_int_equal(rapt_device_create(&params, &device), RAPT_ERROR_NO_DEVICE);
    assert_non_null(strstr(rapt_last_error(), "1.1"));
    assert_null(device);
    fake.version = 0;
}

static void expect_failure(rapt_status expected, const char *part)
{
    rapt_device *device = NULL;
    rapt_device_params params = {.struct_size = sizeof params,
                                 .get_instance_proc_addr = fake_proc_addr};
    assert_int_equal(rapt_device_create(&params, &device), expected);
    assert_null(device);
    assert_non_null(strstr(rapt_last_error(), part));
}

static void test_failing_drivers(void **state)
{
    (void)state;
    fake.instance_result = VK_ERROR_INCOMPATIBLE_DRIVER;
    expect_failure(RAPT_ERROR_NO_DEVICE, "no Vulkan driver");
    fake.instance_result = VK_ERROR_OUT_OF_HOST_MEMORY;
    expect_failure(RAPT_ERROR_HOST_MEMORY, "VK_ERROR_OUT_OF_HOST_MEMORY");
    fake.instance_result = VK_SUCCESS;
    fake.no_devices = 1;
    expect_failure(RAPT_ERROR_NO_DEVICE, "no Vulkan device");
    uint32_t n = 7;
    rapt_device_params params = {.struct_size = sizeof params,
                                 .get_instance_proc_addr = fake_proc_addr};
    assert_int_equal(rapt_devices_list(&params, NULL, 0, &n), RAPT_OK);
    assert_int_equal(n, 0);
    fake.no_devices = 0;
    fake.device_result = VK_ERROR_OUT_OF_DEVICE_MEMORY;
    expect_failure(RAPT_ERROR_DEVICE_MEMORY, "vkCreateDevice");
    fake.device_result = VK_ERROR_DEVICE_LOST;
    expect_failure(RAPT_ERROR_DEVICE_LOST, "VK_ERROR_DEVICE_LOST");
    fake.device_result = VK_ERROR_FEATURE_NOT_PRESENT;
    expect_failure(RAPT_ERROR_DEVICE, "VK_ERROR_FEATURE_NOT_PRESENT");
    fake.device_result = VK_SUCCESS;
}

static void test_low_priority(void **state)
{
    (void)state;
    rapt_device_params params = {.struct_size = sizeof params, .low_priority = 1};
    rapt_device *device = create(&params);
    const rapt_features supported = rapt_device_caps(device)->supported;
    rapt_device_destroy(&device);
    /* a driver that has the extension and refuses to use it */
    char log[4096] = "";
    params.log = (rapt_log){log, collect, RAPT_LOG_WARNING};
    params.get_instance_proc_addr = fake_proc_addr;
    fake.refuse_priority = 1;
    fake.n_refused = 0;
    device = create(&params);
    assert_int_equal(rapt_device_caps(device)->features & RAPT_FEATURE_PRIORITY, 0);
    assert_non_null(strstr(log, "low_priority"));
    assert_int_equal(fake.n_refused, supported & RAPT_FEATURE_PRIORITY ? 1 : 0);
    rapt_device_destroy(&device);
    fake.refuse_priority = 0;
}

int main(void)
{
    rapt_device *device = NULL;
    void *library = NULL;
    if (rapt_device_create(NULL, &device) == RAPT_ERROR_NO_DEVICE ||
        rapt_loader_open(&library, &fake.real) != RAPT_OK)
        return skip_no_device(rapt_last_error());
    rapt_device_destroy(&device);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vulkan_11_alone),
        cmocka_unit_test(test_poor_loaders),
        cmocka_unit_test(test_failing_drivers),
        cmocka_unit_test(test_low_priority),
    };
    int failed = cmocka_run_group_tests_name("poor drivers", tests, NULL, NULL);
    rapt_library_close(library);
    return failed;
}
