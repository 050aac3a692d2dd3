/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_PIPELINE_H
#define RUNTIME_PIPELINE_H

/* Kernel choice -> VkPipeline with its layouts, and descriptors for one dispatch. */

#include "device.h"
#include "select.h"

struct rapt_pipeline {
    int kernel;
    uint32_t bindings;        /* bit per RAPT_BIND_* the kernel declares (kernels.def) */
    uint32_t layout_bindings; /* of its layout: those and what it shares with others */
    VkDescriptorSetLayout set_layout;
    VkPipelineLayout layout;
    VkPipeline pipeline;
    int push;  /* push descriptors */
    int bases; /* made for dispatches whose groups are numbered from elsewhere than 0 */
};

rapt_status rapt_pipeline_create(rapt_device *device, const struct rapt_kernel_choice *choice,
                                 const char *name, struct rapt_pipeline *out_pipeline);
/* The same with more bindings in its layout than the kernel declares: pipelines with one mask have
 * compatible layouts, so that one binding of buffers serves them all. `bases`: the kernel numbers its
 * groups row by row from the first on and is dispatched many times over with other `first`. */
rapt_status rapt_pipeline_create_sharing(rapt_device *device,
                                         const struct rapt_kernel_choice *choice, const char *name,
                                         uint32_t bindings, int bases,
                                         struct rapt_pipeline *out_pipeline);
void rapt_pipeline_finish(rapt_device *device, struct rapt_pipeline *pipeline);

/* Sets for devices without push descriptors: one pool, n_sets sets of each pipeline, handed out in
 * order per slot; exhausted = RAPT_ERROR_CAPACITY. Pipelines that share a layout can share the sets of
 * one of them: the others are NULL in `pipelines`, and dispatches name that one's index. */
struct rapt_sets {
    VkDescriptorPool pool;
    VkDescriptorSet *sets; /* [slot][pipeline][set] */
    uint32_t *n_used;      /* [slot][pipeline] */
    uint32_t n_slots, n_pipelines, n_sets;
};
rapt_status rapt_sets_create(rapt_device *device, struct rapt_pipeline *const *pipelines,
                             uint32_t n_pipelines, uint32_t n_slots, uint32_t n_sets,
                             struct rapt_sets *out_sets);
void rapt_sets_finish(rapt_device *device, struct rapt_sets *sets);
void rapt_sets_reset(struct rapt_sets *sets, uint32_t slot);

/* What a dispatch binds, by RAPT_BIND_*; a binding the kernel declares but the caller leaves empty
 * gets `fallback` (never read by the kernel, but descriptors must be valid). */
struct rapt_bindings {
    rapt_buffer buffers[RAPT_N_BINDINGS]; /* offsets already aligned down; see push bases */
    rapt_buffer fallback;
};

/* Whether rapt_pipeline_dispatch could bind these: UNSUPPORTED names a buffer whose range exceeds
 * maxStorageBufferRange. To be asked before anything is recorded. */
rapt_status rapt_bindings_check(const rapt_device *device, const struct rapt_pipeline *pipeline,
                                const struct rapt_bindings *bindings);

/* Binds pipeline and buffers, pushes constants, dispatches n_groups as a folded 2-D grid. `sets`
 * may be NULL when the pipeline uses push descriptors. */
rapt_status rapt_pipeline_dispatch(rapt_device *device, struct rapt_pipeline *pipeline,
                                   struct rapt_sets *sets, uint32_t slot, uint32_t pipeline_index,
                                   VkCommandBuffer commands, const struct rapt_bindings *bindings,
                                   const struct rapt_push *push, uint32_t n_groups);
/* The same with the buffers of this index's last dispatch in the slot: takes no further set. */
rapt_status rapt_pipeline_dispatch_again(rapt_device *device, struct rapt_pipeline *pipeline,
                                         struct rapt_sets *sets, uint32_t slot,
                                         uint32_t pipeline_index, VkCommandBuffer commands,
                                         const struct rapt_bindings *bindings,
                                         const struct rapt_push *push, uint32_t n_groups);
/* The same right after a dispatch through a compatible layout whose buffers and constants stay, but
 * for `first` and `count`: binds no buffers. count is the number of groups too. `pushed`: those two
 * stay as well, for the last dispatch numbered its groups itself and so does this one. */
rapt_status rapt_pipeline_dispatch_bound(rapt_device *device, const struct rapt_pipeline *pipeline,
                                         VkCommandBuffer commands, uint32_t first, uint32_t count,
                                         int pushed);
/* Whether a dispatch of items [first, first + count) numbers its groups itself. The constants then
 * are the same for all such: nothing is pushed from one to the next. */
int rapt_pipeline_numbers(const rapt_device *device, const struct rapt_pipeline *pipeline,
                          uint32_t first, uint32_t count);
/* How many sets rapt_pipeline_dispatch could still take; UINT32_MAX with push descriptors. */
uint32_t rapt_sets_left(const struct rapt_sets *sets, uint32_t slot, uint32_t pipeline_index);

#endif
