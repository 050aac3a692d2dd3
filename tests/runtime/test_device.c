/* SPDX-License-Identifier: Apache-2.0 */
/* Own and adopted devices, on whatever device the machine has. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <rapt/attention.h>

#include "app_device.h"
#include "caps.h"
#include "checked_device.h"
#include "device.h"
#include "platform.h"
#include "skip.h"

/* ------------------------------------------------------------------------------- own device */

static void test_own(void **state)
{
    (void)state;
    char log[4096] = "";
    rapt_device_params params = {.struct_size = sizeof params,
                                 .log = {log, collect, RAPT_LOG_INFO}};
    rapt_device *device = create(&params);
    const rapt_caps *caps = rapt_device_caps(device);
    assert_true(caps->device_name[0]);
    assert_true(caps->api_version >= VK_API_VERSION_1_1);
    assert_true(caps->max_push_constants >= 128);
    assert_true(caps->max_storage_buffers >= 4);
    assert_true(caps->subgroup_size > 0);
    assert_true(caps->min_subgroup_size <= caps->subgroup_size);
    assert_true(caps->max_subgroup_size >= caps->subgroup_size);
    assert_int_equal(caps->features & ~caps->supported, 0);
    assert_int_equal(caps->features & RAPT_FEATURE_PRIORITY, 0); /* not asked for */
    assert_non_null(strstr(log, caps->device_name));

    rapt_device_handles handles = {.struct_size = sizeof handles};
    rapt_device_get_handles(device, &handles);
    assert_non_null(handles.device);
    assert_non_null(handles.queue);
    assert_true(handles.buffer_usage & VK_BUFFER_USAGE_STORAGE_BUFFER_BIT);
    assert_int_equal(!!(caps->features & RAPT_FEATURE_BUFFER_DEVICE_ADDRESS),
                     !!(handles.buffer_usage & VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT));
    assert_int_equal(rapt_device_validation_active(device), 0);
    rapt_device_destroy(&device);
    assert_null(device);
    rapt_device_destroy(&device); /* nothing to do */
    rapt_device_destroy(NULL);
}

static void test_list_and_select(void **state)
{
    (void)state;
    rapt_caps all[16];
    uint32_t n = 0, counted = 0;
    assert_int_equal(rapt_devices_list(NULL, NULL, 0, &counted), RAPT_OK);
    assert_int_equal(rapt_devices_list(NULL, all, 16, &n), RAPT_OK);
    assert_true(n > 0);
    assert_int_equal(n, counted);
    for (uint32_t i = 0; i < n && i < 16; i++) {
        char index[16], upper[256];
        snprintf(index, sizeof index, "%u", (unsigned)i);
        rapt_device_params params = {.struct_size = sizeof params, .select = index};
        rapt_device *device = create(&params);
        assert_string_equal(rapt_device_caps(device)->device_name, all[i].device_name);
        assert_memory_equal(rapt_device_caps(device)->device_uuid, all[i].device_uuid, 16);
        rapt_device_destroy(&device);

        /* a part of its name, in the wrong case */
        snprintf(upper, sizeof upper, "%.4s", all[i].device_name + 1);
        for (char *c = upper; *c; c++)
            *c = (char)(*c >= 'a' && *c <= 'z' ? *c - 'a' + 'A' : *c);
        params.select = upper;
        device = create(&params);
        rapt_device_destroy(&device);
    }
    const char *wrong[] = {"no device is called this", "4000", "99999999999999999999"};
    for (int i = 0; i < 3; i++) {
        rapt_device_params params = {.struct_size = sizeof params, .select = wrong[i]};
        rapt_device *device = NULL;
        assert_int_equal(rapt_device_create(&params, &device), RAPT_ERROR_NO_DEVICE);
        assert_null(device);
        assert_non_null(strstr(rapt_last_error(), wrong[i]));
    }
}

static void test_disable(void **state)
{
    (void)state;
    rapt_device_params params = {.struct_size = sizeof params};
    rapt_device *device = create(&params);
    const rapt_caps all = *rapt_device_caps(device);
    rapt_device_destroy(&device);
    for (uint32_t bit = 0; bit < RAPT_N_FEATURES; bit++) {
        if (!(all.features >> bit & 1))
            continue;
        params.disable = 1ull << bit;
        device = create(&params);
        const rapt_caps *caps = rapt_device_caps(device);
        rapt_features gone = params.disable;
        if (gone == RAPT_FEATURE_COOPMAT)
            gone |= RAPT_FEATURE_COOPMAT2 | RAPT_FEATURE_COOPMAT2_TENSOR;
        if (gone == RAPT_FEATURE_COOPMAT2)
            gone |= RAPT_FEATURE_COOPMAT2_TENSOR;
        assert_int_equal(caps->features, all.features & ~gone);
        assert_int_equal(caps->supported, all.supported);
        rapt_device_destroy(&device);
    }
    params.disable = ~0ull;
    device = create(&params);
    assert_int_equal(rapt_device_caps(device)->features, 0);
    rapt_device_handles handles = {.struct_size = sizeof handles};
    rapt_device_get_handles(device, &handles);
    assert_int_equal(handles.buffer_usage, VK_BUFFER_USAGE_STORAGE_BUFFER_BIT);
    assert_int_equal(handles.memory_allocate_flags, 0);
    rapt_device_destroy(&device);
}

static void test_names(void **state)
{
    (void)state;
    char text[1024] = "";
    for (uint32_t bit = 0; bit < RAPT_N_FEATURES; bit++) {
        rapt_features one = 0;
        assert_non_null(rapt_feature_name(bit));
        assert_int_equal(rapt_features_parse(rapt_feature_name(bit), &one), RAPT_OK);
        assert_int_equal(one, 1ull << bit);
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s", bit ? ", " : "",
                 rapt_feature_name(bit));
    }
    rapt_features features = 7;
    assert_null(rapt_feature_name(RAPT_N_FEATURES));
    assert_int_equal(rapt_features_parse(text, &features), RAPT_OK);
    assert_int_equal(features, (1ull << RAPT_N_FEATURES) - 1);
    assert_int_equal(rapt_features_parse("", &features), RAPT_OK);
    assert_int_equal(features, 0);
    const char *wrong[] = {"f16,subgrup", "f1", "f166", "F16", "int8;f16"};
    for (int i = 0; i < 5; i++)
        assert_int_equal(rapt_features_parse(wrong[i], &features), RAPT_ERROR_SYNTAX);
    rapt_features_parse("f16, subgrup", &features);
    assert_non_null(strstr(rapt_last_error(), "'subgrup'"));
}

static void test_arguments(void **state)
{
    (void)state;
    rapt_device *device = (rapt_device *)1;
    rapt_device_params params = {.struct_size = 0};
    assert_int_equal(rapt_device_create(&params, &device), RAPT_ERROR_ARGUMENT);
    assert_null(device);
    assert_int_equal(rapt_device_create(NULL, NULL), RAPT_ERROR_ARGUMENT);
    params = (rapt_device_params){.struct_size = sizeof params, .device = (VkDevice)(uintptr_t)16};
    assert_int_equal(rapt_device_create(&params, &device), RAPT_ERROR_ARGUMENT);
    rapt_allocator half = {0};
    params = (rapt_device_params){.struct_size = sizeof params, .allocator = &half};
    assert_int_equal(rapt_device_create(&params, &device), RAPT_ERROR_ARGUMENT);
    assert_int_equal(rapt_devices_list(NULL, NULL, 0, NULL), RAPT_ERROR_ARGUMENT);
    uint32_t n = 0;
    assert_int_equal(rapt_devices_list(NULL, NULL, 3, &n), RAPT_ERROR_ARGUMENT);
    rapt_requirements requirements = {.struct_size = sizeof requirements};
    assert_int_equal(rapt_requirements_get(NULL, NULL, NULL, 0, &requirements),
                     RAPT_ERROR_ARGUMENT);
    rapt_requirements_finish(&requirements);
    rapt_requirements_finish(NULL);
}

/* ---------------------------------------------------------------------------------- adopted */

static void test_adopt_nothing_enabled(void **state)
{
    (void)state;
    struct app_device app;
    assert_int_equal(app_device_init(VK_API_VERSION_1_1, &app), RAPT_OK);
    assert_int_equal(app_device_open(&app, NULL, 0, NULL), RAPT_OK);
    rapt_device_params params = {.struct_size = sizeof params};
    app_device_adopt(&app, &params);
    rapt_device *device = create(&params);
    const rapt_features without = RAPT_FEATURE_SUBGROUP | RAPT_FEATURE_CPU_ROWS;
    assert_int_equal(rapt_device_caps(device)->features & ~without, 0);
    rapt_device_handles handles = {.struct_size = sizeof handles};
    rapt_device_get_handles(device, &handles);
    assert_ptr_equal(handles.device, app.device);
    assert_ptr_equal(handles.queue, app.queue);
    rapt_device_destroy(&device);
    /* The app's device is still the app's. */
    params.physical_device = VK_NULL_HANDLE;
    assert_int_equal(rapt_device_create(&params, &device), RAPT_ERROR_ARGUMENT);
    app_device_adopt(&app, &params);
    params.queue_family = 77;
    assert_int_equal(rapt_device_create(&params, &device), RAPT_ERROR_ARGUMENT);
    assert_non_null(strstr(rapt_last_error(), "queue_family is 77"));
    app_device_finish(&app);
}

static void adopt_requirements(uint32_t api_version, rapt_features disable)
{
    struct app_device app;
    assert_int_equal(app_device_init(api_version, &app), RAPT_OK);
    rapt_requirements needs = {.struct_size = sizeof needs};
    assert_int_equal(rapt_requirements_get(app.get_instance_proc_addr, app.instance,
                                           app.physical_device, disable, &needs),
                     RAPT_OK);
    assert_int_equal(needs.api_version, VK_API_VERSION_1_1);
    assert_int_equal(needs.useful & disable, 0);
    assert_int_equal(
        app_device_open(&app, needs.device_extensions, needs.n_device_extensions, needs.features),
        RAPT_OK);
    rapt_device_params params = {.struct_size = sizeof params, .disable = disable};
    app_device_adopt(&app, &params);
    params.enabled_extensions = needs.device_extensions;
    params.n_enabled_extensions = needs.n_device_extensions;
    params.enabled_features = needs.features;
    rapt_device *device = create(&params);
    rapt_device_handles handles = {.struct_size = sizeof handles};
    rapt_device_get_handles(device, &handles);
    rapt_features usable = needs.useful;
    if (api_version < VK_API_VERSION_1_3)
        usable &= ~(RAPT_FEATURE_COOPMAT2 | RAPT_FEATURE_COOPMAT2_TENSOR);
    assert_int_equal(rapt_device_caps(device)->features, usable);
    assert_int_equal(handles.buffer_usage, needs.buffer_usage);
    assert_int_equal(handles.memory_allocate_flags, needs.memory_allocate_flags);
    rapt_device_destroy(&device);

    /* The chain without the extension list: extensions are not enabled by their structs. */
    params.n_enabled_extensions = 0;
    device = create(&params);
    assert_int_equal(rapt_device_caps(device)->features & RAPT_FEATURE_PUSH_DESCRIPTOR, 0);
    assert_int_equal(rapt_device_caps(device)->features & RAPT_FEATURE_COOPMAT, 0);
    rapt_device_destroy(&device);
    rapt_requirements_finish(&needs);
    assert_null(needs.internal);
    app_device_finish(&app);
}

static void test_adopt_requirements(void **state)
{
    (void)state;
    adopt_requirements(VK_API_VERSION_1_1, 0);
    adopt_requirements(VK_API_VERSION_1_3, 0);
    adopt_requirements(VK_API_VERSION_1_2,
                       RAPT_FEATURE_BUFFER_DEVICE_ADDRESS | RAPT_FEATURE_PUSH_DESCRIPTOR);
    adopt_requirements(VK_API_VERSION_1_1, ~0ull);
}

/* An app that enables by Vulkan 1.1/1.2/1.3 structs has the same features. */
static void test_adopt_versioned(void **state)
{
    (void)state;
    rapt_caps caps[1];
    uint32_t n = 0;
    assert_int_equal(rapt_devices_list(NULL, caps, 1, &n), RAPT_OK);
    if (caps[0].api_version < VK_API_VERSION_1_3)
        skip();
    struct app_device app;
    assert_int_equal(app_device_init(VK_API_VERSION_1_3, &app), RAPT_OK);
    VkPhysicalDeviceVulkan13Features v13 = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_3_FEATURES};
    VkPhysicalDeviceVulkan12Features v12 = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES, .pNext = &v13};
    VkPhysicalDeviceVulkan11Features v11 = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES, .pNext = &v12};
    VkPhysicalDeviceFeatures2 all = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2,
                                     .pNext = &v11};
    PFN_vkGetPhysicalDeviceFeatures2 vkGetPhysicalDeviceFeatures2 =
        (PFN_vkGetPhysicalDeviceFeatures2)app.get_instance_proc_addr(
            app.instance, "vkGetPhysicalDeviceFeatures2");
    vkGetPhysicalDeviceFeatures2(app.physical_device, &all);
    assert_int_equal(app_device_open(&app, NULL, 0, &all), RAPT_OK);
    rapt_device_params params = {.struct_size = sizeof params, .enabled_features = &all};
    app_device_adopt(&app, &params);
    rapt_device *device = create(&params);
    const rapt_features extensions = RAPT_FEATURE_PUSH_DESCRIPTOR | RAPT_FEATURE_COOPMAT |
                                     RAPT_FEATURE_COOPMAT2 | RAPT_FEATURE_BF16 |
                                     RAPT_FEATURE_PRIORITY | RAPT_FEATURE_DEBUG_UTILS;
    assert_int_equal(rapt_device_caps(device)->features, caps[0].supported & ~extensions);
    rapt_device_destroy(&device);
    /* and without the head of the chain, from the middle */
    params.enabled_features = &v12;
    device = create(&params);
    assert_int_equal(rapt_device_caps(device)->features & RAPT_FEATURE_STORAGE_16BIT, 0);
    assert_int_equal(!(rapt_device_caps(device)->features & RAPT_FEATURE_BUFFER_DEVICE_ADDRESS),
                     !v12.bufferDeviceAddress);
    rapt_device_destroy(&device);
    app_device_finish(&app);
}

/* ------------------------------------------------------------------------- memory and threads */

struct budget {
    uint32_t left; /* allocations that still succeed */
    uint32_t n_live, n_total;
};

static void *budget_alloc(void *user, size_t n_bytes)
{
    struct budget *budget = user;
    if (budget->left == 0)
        return NULL;
    budget->left--;
    budget->n_live++;
    budget->n_total++;
    return malloc(n_bytes);
}

static void budget_free(void *user, void *memory)
{
    struct budget *budget = user;
    if (memory)
        budget->n_live--;
    free(memory);
}

static void test_allocation_failure(void **state)
{
    (void)state;
    uint32_t n_failures = 0;
    for (uint32_t limit = 0;; limit++) {
        assert_true(limit < 1000);
        struct budget budget = {.left = limit};
        rapt_allocator allocator = {&budget, budget_alloc, budget_free};
        rapt_device_params params = {.struct_size = sizeof params, .allocator = &allocator};
        rapt_device *device = NULL;
        rapt_status status = rapt_device_create(&params, &device);
        if (status == RAPT_OK) {
            assert_true(budget.n_live > 0);
            rapt_device_destroy(&device);
            assert_int_equal(budget.n_live, 0);
            break;
        }
        assert_int_equal(status, RAPT_ERROR_HOST_MEMORY);
        assert_null(device);
        assert_int_equal(budget.n_live, 0);
        n_failures++;
    }
    assert_true(n_failures > 3);
}

struct thread_result {
    rapt_status status;
    char error[256];
    rapt_features features;
};

static void thread_work(void *user, uint32_t i)
{
    struct thread_result *result = (struct thread_result *)user + i;
    rapt_device_params params = {.struct_size = sizeof params,
                                 .disable = i ? RAPT_FEATURE_INT64 : 0};
    for (int k = 0; k < 3 && result->status == RAPT_OK; k++) {
        rapt_device *device = NULL;
        result->status = rapt_device_create(&params, &device);
        if (result->status != RAPT_OK)
            snprintf(result->error, sizeof result->error, "%s", rapt_last_error());
        else
            result->features = rapt_device_caps(device)->features;
        rapt_device_destroy(&device);
    }
}

static void test_two_threads(void **state)
{
    (void)state;
    struct thread_result results[2] = {{0}};
    rapt_parallel(2, 2, thread_work, results);
    for (int i = 0; i < 2; i++) {
        if (results[i].status != RAPT_OK)
            fprintf(stderr, "thread %d: %s\n", i, results[i].error);
        assert_int_equal(results[i].status, RAPT_OK);
    }
    assert_int_equal(results[1].features, results[0].features & ~RAPT_FEATURE_INT64);
}

static void test_validation(void **state)
{
    (void)state;
    char log[4096] = "";
    rapt_device_params params = {
        .struct_size = sizeof params, .validation = 1, .log = {log, collect, RAPT_LOG_WARNING}};
    rapt_device *device = create(&params);
    const int active = rapt_device_validation_active(device);
    const uint32_t n_messages = rapt_device_validation_messages(device);
    if (active && n_messages)
        fprintf(stderr, "%s", log);
    if (active) {
        assert_int_equal(n_messages, 0);
        /* The counter counts. The message is handed in, as a layer would, for a real mistake would
         * stand in the log of every test run. */
        PFN_vkSubmitDebugUtilsMessageEXT submit =
            (PFN_vkSubmitDebugUtilsMessageEXT)device->get_instance_proc_addr(
                device->instance, "vkSubmitDebugUtilsMessageEXT");
        VkDebugUtilsMessengerCallbackDataEXT data = {
            .sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CALLBACK_DATA_EXT,
            .pMessageIdName = "test",
            .pMessage = "made up by test_device"};
        submit(device->instance, VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT,
               VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT, &data);
        assert_true(rapt_device_validation_messages(device) > 0);
        assert_non_null(strstr(log, "validation: made up by test_device"));
    } else {
        assert_non_null(strstr(log, "not installed"));
    }
    rapt_device_destroy(&device);
    if (!active) {
        print_message("SKIP: the Khronos validation layer is not installed\n");
        skip();
    }
}

static void test_driver_version(void **state)
{
    (void)state;
    const struct {
        const char *info;
        uint32_t major, minor;
    } cases[] = {
        {"Mesa 25.0.7-2 (LLVM 19.1.7)", 25, 0},
        {"Mesa 26.1.6-1 (LLVM 21.1.8)", 26, 1},
        {"550.54.14", 550, 54},
        {"", 0, 0},
        {"no version", 0, 0},
        {"SwiftShader 5", 0, 0},
        {"Driver Build: 0808, 512.762.12", 512, 762},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint32_t major = 7, minor = 7;
        rapt_driver_version_parse(cases[i].info, &major, &minor);
        assert_int_equal(major, cases[i].major);
        assert_int_equal(minor, cases[i].minor);
    }
}

int main(void)
{
    rapt_device *device = NULL;
    if (rapt_device_create(NULL, &device) == RAPT_ERROR_NO_DEVICE)
        return skip_no_device(rapt_last_error());
    rapt_device_destroy(&device);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_own),
        cmocka_unit_test(test_list_and_select),
        cmocka_unit_test(test_disable),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_arguments),
        cmocka_unit_test(test_adopt_nothing_enabled),
        cmocka_unit_test(test_adopt_requirements),
        cmocka_unit_test(test_adopt_versioned),
        cmocka_unit_test(test_allocation_failure),
        cmocka_unit_test(test_two_threads),
        cmocka_unit_test(test_validation),
        cmocka_unit_test(test_driver_version),
    };
    return cmocka_run_group_tests_name("device", tests, NULL, NULL);
}
