/* SPDX-License-Identifier: Apache-2.0 */
#ifndef EASY_JOB_H
#define EASY_JOB_H

/* A problem on its way to the device: what plan and prepare are told, the page pool, the buffers.
 */

#include "tier.h"

enum job_buffer {
    JOB_Q,
    JOB_K,
    JOB_V,
    JOB_OUT,
    JOB_LSE,
    JOB_MAX_LOGIT,
    JOB_REDUCED,
    JOB_SLOPES,
    JOB_SINKS,
    JOB_BIAS,
    JOB_K_SCALE,
    JOB_V_SCALE,
    JOB_ROPE,
    JOB_TABLES,
    JOB_WORKSPACE,
    JOB_N_BUFFERS
};

/* Where the packed K/V of a problem go when they are put into pages. */
struct job_pages {
    uint32_t n_pages;
    uint32_t *indptr, *indices, *last_len; /* of the tier's allocator */
};

struct three_pass;

struct rapt_easy_job {
    rapt_easy *easy;
    rapt_problem problem; /* defaults filled in; its arrays are read during create only */
    rapt_easy_options options;
    rapt_plan_params plan_params;
    rapt_plan *plan;
    rapt_block_table *table; /* NULL = the mask is in closed form */
    struct three_pass *three_pass; /* instead of a plan */
    rapt_cascade *cascade;         /* likewise */
    rapt_cascade_info cascade_info;
    uint64_t shared_kv_bytes;
    rapt_step step;
    rapt_cost cost;
    rapt_easy_buffer *buffers[JOB_N_BUFFERS]; /* V is NULL where K's buffer holds both */
    uint64_t v_offset;                        /* bytes, in K's buffer */
    uint64_t v_span;                          /* bytes from there on */
    uint32_t total_q;
    int kv_one_buffer;     /* V lies in K's buffer */
    int appends;           /* K and V are written by kv_append */
    uint32_t append_chunk; /* tokens of one step of that */
    int done; /* run has been called */
    double create_seconds, plan_seconds, prepare_seconds, record_seconds;
};

/* problem.c: checks the problem, fills job->problem and job->plan_params. */
rapt_status rapt_job_read_problem(rapt_easy_job *job, const rapt_problem *problem,
                             const rapt_result *want);
/* job_table.c: the block table of a mask that needs one, and what the plan must be for it. */
rapt_status rapt_job_make_table(rapt_easy_job *job);
/* Makes the buffers of the tensors and fills those that go in. */
rapt_status rapt_job_upload(rapt_easy_job *job, const struct job_pages *pages,
                       const rapt_result *want);
/* n elements of an array from `source` on, as `type`, to element `target` of data. */
void rapt_job_convert(void *data, rapt_type type, uint64_t target, const rapt_array *array,
                 uint64_t source, uint64_t n);
/* What prepare is told; bias_offsets is u64[n_seqs] of scratch. */
void rapt_job_step_params(const rapt_easy_job *job, const struct job_pages *pages,
                     uint64_t *bias_offsets, rapt_step_params *out_params);

/* pages.c */
rapt_status rapt_job_pages_make(rapt_easy_job *job, struct job_pages *pages);
void rapt_job_pages_finish(rapt_easy_job *job, struct job_pages *pages);

/* kv.c */
/* What a row of dim elements takes in the units layouts count in. */
uint64_t rapt_job_row_units(rapt_type type, uint32_t dim);
/* Makes the buffers of K and V in job->plan_params' layouts, with their scales, and fills them unless
 * the device will; places no token uses hold NaN. */
rapt_status rapt_job_kv_upload(rapt_easy_job *job, const struct job_pages *pages);

/* Where K and V would lie in their buffers: fills job->v_offset and v_span. */
rapt_status rapt_job_kv_measure(rapt_easy_job *job, uint64_t n_pages);

/* pieces.c */
/* Whether K and V, packed, are more than the plan's kernels can bind. */
int rapt_job_wants_pages(const rapt_easy_job *job);
/* Has the plan take a pool that is more than its kernels can bind in pieces, if that does. */
void rapt_job_cut_pool(rapt_easy_job *job);
/* K and V and their scales, as record and append take them. */
struct job_kv_ranges {
    rapt_buffer k, v, k_scale, v_scale;
    rapt_buffer k_segments[3], v_segments[3];
};
void rapt_job_kv_ranges(const rapt_easy_job *job, struct job_kv_ranges *out_ranges);

/* append.c */
uint32_t rapt_job_append_chunk(const rapt_easy_job *job, uint32_t longest);
/* Runs kv_append over all of K and V; the plan must be bound. */
rapt_status rapt_job_append(rapt_easy_job *job, const struct job_pages *pages);

/* job_cascade.c: share_prefixes */
rapt_status rapt_job_cascade_create(rapt_easy_job *job, rapt_plan_sizes_info *out_sizes);
/* Fills job->shared_kv_bytes. */
rapt_status rapt_job_cascade_count(rapt_easy_job *job, const rapt_step_params *params);

/* three_pass.c */
rapt_status rapt_three_pass_create(rapt_easy_job *job);
void rapt_three_pass_destroy(rapt_easy_job *job);
rapt_status rapt_three_pass_record(rapt_easy_job *job, VkCommandBuffer commands);
uint64_t rapt_three_pass_bytes(const rapt_easy_job *job); /* of the stored scores */

#endif
