/* SPDX-License-Identifier: Apache-2.0 */
/* Jobs whose sequences share the pages they have in common. */
#include "job.h"

rapt_status rapt_job_cascade_create(rapt_easy_job *job, rapt_plan_sizes_info *out_sizes)
{
    if (!job->problem.page_indptr)
        return rapt_fail(RAPT_ERROR_ARGUMENT,
                         "share_prefixes is set: it wants a ready pool (page_indptr), in which "
                         "sequences can have pages in common");
    rapt_cascade_params params = {.struct_size = sizeof params,
                                  .plan = &job->plan_params,
                                  .max_levels = job->options.max_levels,
                                  .min_shared_tokens = job->options.min_shared_tokens};
    rapt_status status = rapt_cascade_create(job->easy->device, &params, &job->cascade);
    rapt_cascade_sizes(job->cascade, out_sizes);
    return status;
}

/* What the levels read, counted as rapt_plan_cost counts the batch: the cut is made once more. */
rapt_status rapt_job_cascade_count(rapt_easy_job *job, const rapt_step_params *params)
{
    const rapt_problem *problem = &job->problem;
    rapt_cascade_rule rule = {.struct_size = sizeof rule};
    rapt_cascade_get_rule(job->cascade, &rule);
    uint64_t n_bytes = rapt_cascade_split_bytes(&rule, problem->n_seqs, job->total_q,
                                                problem->page_indptr[problem->n_seqs]);
    void *memory = rapt_alloc(job->easy->allocator, 1, (size_t)n_bytes);
    if (!memory)
        return rapt_fail(RAPT_ERROR_HOST_MEMORY, "out of host memory to count what is shared");
    rapt_step_params levels = {.struct_size = sizeof levels};
    rapt_cost cost = {.struct_size = sizeof cost};
    rapt_status status = rapt_cascade_split(&rule, params, memory, n_bytes, &levels, NULL);
    if (status == RAPT_OK)
        status = rapt_plan_cost(&job->plan_params, &levels, &cost);
    job->shared_kv_bytes = cost.kv_bytes;
    rapt_free(job->easy->allocator, memory);
    return status;
}
