/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VENDOR_STATISTICS_H
#define VENDOR_STATISTICS_H

/* A device whose pipelines tell what their compiler made of them
 * (VK_KHR_pipeline_executable_properties). */

#include "device.h"
#include "select.h"

/* -1 where a driver does not tell. Registers are per lane, as the driver counts them: vector
 * registers of AMD, 32-bit ones of NVIDIA, vec4s of Qualcomm, most live at once of Intel (of 32
 * bytes). */
struct statistics {
    long long subgroup, registers, spills, fills; /* to and from memory */
    long long moved; /* from registers of one sort to another: AMD's scalars, NVIDIA's predicates */
    long long scratch_bytes, shared_bytes;
    long long waves; /* AMD: per SIMD, on RDNA one of 64 lanes counts as two; NVIDIA: per
                        multiprocessor; Qualcomm: per core */
    long long instructions, cycles;
};

struct vendor_device {
    rapt_device *device;
    void *library;
    PFN_vkGetPipelineExecutablePropertiesKHR get_executables;
    PFN_vkGetPipelineExecutableStatisticsKHR get_statistics;
};

/* One at a time. Errors: NO_DEVICE, UNSUPPORTED (the driver tells nothing of pipelines). */
rapt_status vendor_device_open(int validation, rapt_log log, struct vendor_device *out_vendor);
void vendor_device_close(struct vendor_device *vendor);

/* Compiles the pipeline and reads its statistics. With `raw` every number the driver names is
 * printed. */
rapt_status vendor_device_compile(struct vendor_device *vendor,
                                  const struct rapt_kernel_choice *choice, int raw,
                                  struct statistics *out_statistics);

#endif
