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

struct vendor_reader {
    VkDevice device;
    PFN_vkGetPipelineExecutablePropertiesKHR get_executables;
    PFN_vkGetPipelineExecutableStatisticsKHR get_statistics;
    PFN_vkGetPipelineExecutableInternalRepresentationsKHR get_texts;
};

struct vendor_device {
    rapt_device *device;
    void *library;
    struct vendor_reader reader;
};

/* One at a time. Errors: NO_DEVICE, UNSUPPORTED (the driver tells nothing of pipelines). */
rapt_status vendor_device_open(int validation, rapt_log log, struct vendor_device *out_vendor);
void vendor_device_close(struct vendor_device *vendor);

/* Where the driver's text of the code goes, in a file named after chip and key, under a heading. */
struct vendor_text {
    const char *folder; /* NULL = nowhere */
    const char *chip, *key, *heading;
};

/* Compiles the pipeline and reads its statistics. With `raw` every number the driver names is
 * printed. */
rapt_status vendor_device_compile(struct vendor_device *vendor,
                                  const struct rapt_kernel_choice *choice, int raw,
                                  const struct vendor_text *text,
                                  struct statistics *out_statistics);

/* The rest of a line. */
void vendor_print_numbers(const struct statistics *statistics);

/* The same of pipelines that somebody else makes: device and pipelines pass through these. */
VkResult vendor_create_device(PFN_vkCreateDevice theirs, VkPhysicalDevice physical_device,
                              const VkDeviceCreateInfo *info,
                              const VkAllocationCallbacks *allocator, VkDevice *out_device);
VkResult vendor_create_pipelines(PFN_vkCreateComputePipelines theirs, VkDevice device,
                                 uint32_t n_pipelines, const VkComputePipelineCreateInfo *infos,
                                 const VkAllocationCallbacks *allocator, VkPipeline *out_pipelines);
rapt_status vendor_reader_open(PFN_vkGetDeviceProcAddr get, VkDevice device,
                               struct vendor_reader *out_reader);
rapt_status vendor_read_pipeline(const struct vendor_reader *reader, VkPipeline pipeline, int raw,
                                 const struct vendor_text *text, struct statistics *out_statistics);

#endif
