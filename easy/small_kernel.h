/* SPDX-License-Identifier: Apache-2.0 */
#ifndef EASY_SMALL_KERNEL_H
#define EASY_SMALL_KERNEL_H

/* The kernels the easy tier runs on its own: ceilings and the three-pass baseline. They belong to
 * no plan, so the tier takes their SPIR-V from the kernel table and makes plain pipelines of them.
 */

#include "tier.h"

#include "args.h"
#include "kernels.h"

#define SMALL_MAX_BINDINGS 4

struct small_kernel {
    uint32_t bindings[SMALL_MAX_BINDINGS]; /* RAPT_BIND_* */
    uint32_t n_bindings;
    uint32_t dynamic; /* the binding whose offset comes with the dispatch, UINT32_MAX = none */
    VkDescriptorSetLayout set_layout;
    VkPipelineLayout layout;
    VkPipeline pipeline;
    VkDescriptorPool pool;
    VkDescriptorSet set;
};

struct small_kernel_params {
    enum rapt_kernel_id id;
    uint32_t spec[RAPT_N_SPECS];
    uint32_t push_bytes;
    uint32_t bindings[SMALL_MAX_BINDINGS], n_bindings;
    uint32_t dynamic;
    /* what each binding is, in the order above; a dynamic one has the size of its window */
    rapt_buffer buffers[SMALL_MAX_BINDINGS];
};

/* Errors: ABSENT, UNSUPPORTED (a buffer beyond maxStorageBufferRange), memory, DEVICE. */
rapt_status rapt_small_kernel_create(rapt_easy *easy, const struct small_kernel_params *params,
                                struct small_kernel *out_kernel);
void rapt_small_kernel_finish(rapt_easy *easy, struct small_kernel *kernel);
void rapt_small_kernel_dispatch(rapt_easy *easy, const struct small_kernel *kernel,
                           VkCommandBuffer commands, uint32_t dynamic_offset, const void *push,
                           uint32_t push_bytes, const uint32_t groups[3]);

#endif
