/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_PLATFORM_H
#define RUNTIME_PLATFORM_H

/* What differs between operating systems: finding the Vulkan loader. */

#include <rapt/common.h>

#include <vulkan/vulkan_core.h>

/* Opens the platform's Vulkan loader. Errors: NO_DEVICE, with the reason. */
rapt_status rapt_platform_open_vulkan(void **out_library,
                                      PFN_vkGetInstanceProcAddr *out_get_instance_proc_addr);
void rapt_platform_close(void *library);

#endif
