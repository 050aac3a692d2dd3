/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_HARNESS_CHECKED_DEVICE_H
#define TESTS_HARNESS_CHECKED_DEVICE_H

/* For tests of devices: one that must come into being, and a log kept as text. Include cmocka's
 * headers before. */

#include <rapt/attention.h>

#include <stdio.h>
#include <string.h>

/* Fails the test, with the library's reason, unless the device is made. */
static inline rapt_device *create(const rapt_device_params *params)
{
    rapt_device *device = NULL;
    rapt_status status = rapt_device_create(params, &device);
    if (status != RAPT_OK)
        fprintf(stderr, "rapt_device_create: %s\n", rapt_last_error());
    assert_int_equal(status, RAPT_OK);
    assert_non_null(device);
    return device;
}

/* rapt_log.write: appends the line to the 4096 bytes of text that `user` points at. */
static inline void collect(void *user, rapt_log_level level, const char *line)
{
    char *text = user;
    (void)level;
    size_t used = strlen(text);
    snprintf(text + used, 4096 - used, "%s\n", line);
}

#endif
