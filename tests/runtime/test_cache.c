/* SPDX-License-Identifier: Apache-2.0 */
/* The pipeline cache blob: round trips, and every way it can be wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <rapt/attention.h>

#include "cache.h"
#include "skip.h"

static char log_text[4096];

static void collect(void *user, rapt_log_level level, const char *line)
{
    (void)user;
    (void)level;
    size_t used = strlen(log_text);
    snprintf(log_text + used, sizeof log_text - used, "%s\n", line);
}

static rapt_device *create(const void *blob, size_t n_bytes)
{
    log_text[0] = 0;
    rapt_device_params params = {.struct_size = sizeof params,
                                 .log = {NULL, collect, RAPT_LOG_WARNING},
                                 .pipeline_cache = blob,
                                 .pipeline_cache_bytes = n_bytes};
    rapt_device *device = NULL;
    assert_int_equal(rapt_device_create(&params, &device), RAPT_OK);
    return device;
}

static void *get_blob(rapt_device *device, size_t *out_bytes)
{
    size_t n_bytes = 0;
    assert_int_equal(rapt_device_pipeline_cache_get(device, NULL, &n_bytes), RAPT_OK);
    assert_true(n_bytes > 0);
    void *blob = malloc(n_bytes);
    assert_non_null(blob);
    assert_int_equal(rapt_device_pipeline_cache_get(device, blob, &n_bytes), RAPT_OK);
    *out_bytes = n_bytes;
    return blob;
}

static const char *check(const rapt_caps *caps, const void *blob, size_t n_bytes)
{
    const void *payload = NULL;
    size_t payload_bytes = 0;
    const char *reason = rapt_cache_check(caps, blob, n_bytes, &payload, &payload_bytes);
    if (!reason) {
        assert_non_null(payload);
        assert_true(payload_bytes < n_bytes);
    }
    return reason;
}

static void test_round_trip(void **state)
{
    (void)state;
    rapt_device *device = create(NULL, 0);
    size_t n_bytes = 0, again_bytes = 0;
    void *blob = get_blob(device, &n_bytes);
    assert_null(check(rapt_device_caps(device), blob, n_bytes));

    size_t small = n_bytes - 1;
    assert_int_equal(rapt_device_pipeline_cache_get(device, blob, &small), RAPT_ERROR_CAPACITY);
    assert_int_equal(small, n_bytes);
    assert_int_equal(rapt_device_pipeline_cache_get(NULL, NULL, &small), RAPT_ERROR_ARGUMENT);
    assert_int_equal(rapt_device_pipeline_cache_get(device, NULL, NULL), RAPT_ERROR_ARGUMENT);
    rapt_device_destroy(&device);

    device = create(blob, n_bytes);
    assert_null(strstr(log_text, "pipeline cache"));
    void *again = get_blob(device, &again_bytes);
    assert_null(check(rapt_device_caps(device), again, again_bytes));
    rapt_device_destroy(&device);
    free(again);
    free(blob);
}

static void test_damage(void **state)
{
    (void)state;
    rapt_device *device = create(NULL, 0);
    const rapt_caps caps = *rapt_device_caps(device);
    size_t n_bytes = 0;
    uint8_t *blob = get_blob(device, &n_bytes);
    rapt_device_destroy(&device);

    for (size_t n = 0; n < n_bytes; n++) {
        /* a copy of exactly n bytes, so that reading past it shows under a sanitizer */
        uint8_t *cut = malloc(n ? n : 1);
        assert_non_null(cut);
        memcpy(cut, blob, n);
        assert_non_null(check(&caps, cut, n));
        free(cut);
    }
    const size_t n_flips = n_bytes < 4096 ? n_bytes : 4096;
    for (size_t i = 0; i < n_flips; i++) {
        for (int bit = 0; bit < 8; bit++) {
            blob[i] ^= (uint8_t)(1 << bit);
            assert_non_null(check(&caps, blob, n_bytes));
            blob[i] ^= (uint8_t)(1 << bit);
        }
    }
    assert_null(check(&caps, blob, n_bytes));

    /* A device goes on without it, and says so. */
    blob[n_bytes - 1] ^= 1;
    device = create(blob, n_bytes);
    assert_non_null(strstr(log_text, "pipeline cache is ignored: its checksum"));
    rapt_device_destroy(&device);
    device = create(blob, 5);
    assert_non_null(strstr(log_text, "shorter"));
    rapt_device_destroy(&device);
    device =
        create("not a pipeline cache, whatever its length may suggest, but a line of text that "
               "somebody took for one",
               90);
    assert_non_null(strstr(log_text, "pipeline cache is ignored"));
    rapt_device_destroy(&device);
    free(blob);
}

static void test_other_device(void **state)
{
    (void)state;
    rapt_device *device = create(NULL, 0);
    size_t n_bytes = 0;
    void *blob = get_blob(device, &n_bytes);
    for (int i = 0; i < 5; i++) {
        rapt_caps caps = *rapt_device_caps(device);
        caps.vendor_id += i == 0;
        caps.device_id += i == 1;
        caps.driver_version += i == 2;
        caps.pipeline_cache_uuid[7] ^= (uint8_t)(i == 3);
        caps.device_uuid[0] ^= (uint8_t)(i == 4);
        const char *reason = check(&caps, blob, n_bytes);
        assert_non_null(reason);
        assert_non_null(strstr(reason, "another device or driver"));
    }
    rapt_device_destroy(&device);
    free(blob);
}

int main(void)
{
    rapt_device *device = NULL;
    if (rapt_device_create(NULL, &device) == RAPT_ERROR_NO_DEVICE)
        return skip_no_device(rapt_last_error());
    rapt_device_destroy(&device);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_damage),
        cmocka_unit_test(test_other_device),
    };
    return cmocka_run_group_tests_name("pipeline cache", tests, NULL, NULL);
}
