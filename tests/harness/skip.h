/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HARNESS_SKIP_H
#define HARNESS_SKIP_H

/* What a test program returns when the machine lacks what it needs. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SKIP_EXIT_CODE 77

/* Skips for any reason but a missing device: `return skip_test("no python3");` */
static inline int skip_test(const char *reason)
{
    printf("SKIP: %s\n", reason);
    return SKIP_EXIT_CODE;
}

/* For "no Vulkan device here". RAPT_REQUIRE_DEVICE=1 says that there must be one, so that a broken
 * driver installation cannot turn a whole suite into silence. */
static inline int skip_no_device(const char *reason)
{
    const char *required = getenv("RAPT_REQUIRE_DEVICE");
    if (required && strcmp(required, "") != 0 && strcmp(required, "0") != 0) {
        fprintf(stderr, "FAIL: no Vulkan device, and RAPT_REQUIRE_DEVICE is set: %s\n", reason);
        return EXIT_FAILURE;
    }
    printf("SKIP: no Vulkan device: %s\n", reason);
    return SKIP_EXIT_CODE;
}

/* RAPT_TEST_QUICK=1: on slow drivers, and where the point is another one than the shapes (feature
 * masks, validation layers, sanitizers), a kernel check runs a small selection of its cases. 2: where
 * kernels differ in the type of K and V alone, one case for all types but f16. */
static inline int test_quick(void)
{
    const char *quick = getenv("RAPT_TEST_QUICK");
    if (!quick || strcmp(quick, "") == 0 || strcmp(quick, "0") == 0)
        return 0;
    return strcmp(quick, "2") == 0 ? 2 : 1;
}

#endif
