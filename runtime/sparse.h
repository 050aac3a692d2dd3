/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_SPARSE_H
#define RUNTIME_SPARSE_H

/* What the objects of rapt/sparse.h share: they stand beside a plan, read the steps it prepared,
 * and have pipelines and descriptor sets of their own. */

#include <rapt/sparse.h>

#include "plan.h"

enum sparse_pipeline {
    SPARSE_SCAN,
    SPARSE_MEAN,
    SPARSE_GATE,
    SPARSE_SELECT,
    SPARSE_LISTS,
    SPARSE_INDEX,
    SPARSE_BOUNDS,
    SPARSE_BLOCKS,
    SPARSE_N_PIPELINES,
};

struct rapt_sparse {
    rapt_plan *plan;
    struct rapt_plan_guest guest; /* the sets */
    struct rapt_pipeline pipelines[SPARSE_N_PIPELINES];
    struct rapt_kernel_choice choices[SPARSE_N_PIPELINES]; /* kernel -1 = not used */
    uint32_t max_records;
};

/* Memory for an object of `n_bytes`, zeroed, whose first member is a rapt_sparse; `what` it is, for the
 * message. NULL with the error set. */
void *rapt_sparse_alloc(rapt_plan *plan, size_t n_bytes, const char *what);
/* Pipelines of those choices that name a kernel. On failure the object is still to be destroyed. */
rapt_status rapt_sparse_create(struct rapt_sparse *sparse, uint32_t max_records);
/* And the object it is the first member of. */
void rapt_sparse_destroy(struct rapt_sparse *sparse);

/* The slot of a step that belongs to the plan and is prepared; everything a record asks first. */
rapt_status rapt_sparse_check_step(const struct rapt_sparse *sparse, VkCommandBuffer commands,
                                   const rapt_step *step, struct rapt_plan_slot **out_slot);

/* A range the kernels index in elements of `unit` bytes: checked, bound at an aligned offset.
 * out_base are the elements between that and the caller's offset. n_bytes 0 binds nothing. */
rapt_status rapt_sparse_bind(const struct rapt_sparse *sparse, const char *name,
                             const rapt_buffer *buffer, uint64_t n_bytes, uint32_t unit,
                             rapt_buffer *out_bound, RAPT_U *out_base);
/* Parts of a workspace begin at multiples of this many bytes: what any device asks for. */
#define RAPT_SPARSE_ALIGNMENT 256u
uint64_t rapt_sparse_align(uint64_t n_bytes);
/* The same for a part of a workspace that was checked as a whole. */
rapt_buffer rapt_sparse_part(const rapt_buffer *workspace, uint64_t offset, uint64_t n_bytes);

/* Whether one more record fits; names the buffer that does not. */
rapt_status rapt_sparse_check_dispatch(const struct rapt_sparse *sparse, uint32_t slot,
                                       enum sparse_pipeline pipeline,
                                       const struct rapt_bindings *bindings, uint64_t n_groups);
rapt_status rapt_sparse_dispatch(struct rapt_sparse *sparse, VkCommandBuffer commands,
                                 uint32_t slot, enum sparse_pipeline pipeline, int again,
                                 const struct rapt_bindings *bindings, struct rapt_push *push,
                                 uint32_t n_groups);

#endif
