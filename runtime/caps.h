/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_CAPS_H
#define RUNTIME_CAPS_H

/* What a physical device is, read once. */

#include "feature_chain.h"
#include "loader.h"

struct rapt_physical {
    VkPhysicalDevice handle;
    rapt_caps caps;                  /* features == supported & ~disable */
    uint32_t extensions;             /* of the device, as bits of enum rapt_extension_id */
    uint32_t version;                /* the lower of the instance's and the device's */
    struct rapt_feature_chain chain; /* what it supports; not linked to anything outside */
    uint32_t queue_family;           /* the one compute work should go to */
};

/* Reads everything. `queue_family` UINT32_MAX = choose; `dedicated` prefers a family without
 * graphics then. Errors: UNSUPPORTED (below Vulkan 1.1, no compute queue), HOST_MEMORY, DEVICE. */
rapt_status rapt_physical_read(const struct rapt_instance *instance,
                               const rapt_allocator *allocator, VkPhysicalDevice handle,
                               uint32_t queue_family, int dedicated, rapt_features disable,
                               struct rapt_physical *out_physical);

/* "Mesa 25.0.7-2 (LLVM 19)" -> 25, 0; zeros when the text has no version. */
void rapt_driver_version_parse(const char *info, uint32_t *out_major, uint32_t *out_minor);

#endif
