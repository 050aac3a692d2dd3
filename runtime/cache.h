/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_CACHE_H
#define RUNTIME_CACHE_H

/* The pipeline cache as a self-describing blob: a header of ours before what the driver gives. */

#include "device.h"

/* Makes device->pipeline_cache, from the blob if it is one of this device and driver and whole;
 * else it is ignored with a warning and the cache begins empty. */
rapt_status rapt_cache_create(rapt_device *device, const void *blob, size_t n_bytes);

/* NULL if the blob may go to this driver, else why not. `out_payload` points into the blob. */
const char *rapt_cache_check(const rapt_caps *caps, const void *blob, size_t n_bytes,
                             const void **out_payload, size_t *out_payload_bytes);

#endif
