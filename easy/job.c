/* SPDX-License-Identifier: Apache-2.0 */
#include "job.h"

#include "convert.h"
#include "platform.h"

#include <string.h>

/* Plans, lays out memory and prepares: what the device tier asks of a caller. */
static rapt_status make_plan(rapt_easy_job *job)
{
    rapt_easy *easy = job->easy;
    double start = rapt_now_seconds();
    rapt_plan_sizes_info sizes = {.struct_size = sizeof sizes};
    rapt_status status = job->options.share_prefixes
                             ? rapt_job_cascade_create(job, &sizes)
                             : rapt_plan_create(easy->device, &job->plan_params, &job->plan);
    job->plan_seconds = rapt_now_seconds() - start;
    if (status != RAPT_OK)
        return status;
    rapt_easy_pipelines_save(easy);
    rapt_plan_sizes(job->plan, &sizes); /* not of a cascade, which has no plan of the job's */
    status =
        rapt_easy_buffer_create(easy, sizes.table_bytes, "tables", 1, &job->buffers[JOB_TABLES]);
    if (status == RAPT_OK)
        status = rapt_easy_buffer_create(easy, sizes.workspace_bytes, "workspace", 0,
                                         &job->buffers[JOB_WORKSPACE]);
    if (status != RAPT_OK)
        return status;
    rapt_plan_memory memory = {
        .struct_size = sizeof memory,
        .tables = rapt_easy_buffer_range(job->buffers[JOB_TABLES]),
        .tables_mapped = rapt_easy_buffer_mapped(job->buffers[JOB_TABLES]),
        .workspace = rapt_easy_buffer_range(job->buffers[JOB_WORKSPACE]),
    };
    return job->cascade ? rapt_cascade_bind(job->cascade, &memory)
                        : rapt_plan_bind(job->plan, &memory);
}

static rapt_status prepare(rapt_easy_job *job, const struct job_pages *pages)
{
    rapt_easy *easy = job->easy;
    uint64_t *bias_offsets = rapt_alloc(easy->allocator, job->problem.n_seqs, sizeof *bias_offsets);
    if (!bias_offsets)
        return rapt_fail(RAPT_ERROR_HOST_MEMORY, "out of host memory for bias offsets");
    rapt_step_params params;
    rapt_job_step_params(job, pages, bias_offsets, &params);
    rapt_status status = RAPT_OK;
    if (job->plan || job->cascade) {
        job->step.struct_size = sizeof job->step;
        job->cascade_info.struct_size = sizeof job->cascade_info;
        double start = rapt_now_seconds();
        status = job->cascade
                     ? rapt_cascade_prepare(job->cascade, &params, &job->step, &job->cascade_info)
                     : rapt_plan_prepare(job->plan, &params, &job->step);
        job->prepare_seconds = rapt_now_seconds() - start;
    }
    if (status == RAPT_OK && job->cascade)
        status = rapt_job_cascade_count(job, &params);
    if (status == RAPT_OK) {
        job->cost.struct_size = sizeof job->cost;
        status = rapt_plan_cost(&job->plan_params, &params, &job->cost);
    }
    rapt_free(easy->allocator, bias_offsets);
    return status;
}

static rapt_status create(rapt_easy_job *job, const rapt_problem *problem, const rapt_result *want)
{
    struct job_pages pages = {0};
    rapt_status status = rapt_job_read_problem(job, problem, want);
    if (status != RAPT_OK)
        return status;
    if (job->problem.page_size > 0 && !problem->page_indptr)
        status = rapt_job_pages_make(job, &pages);
    if (status == RAPT_OK)
        status = rapt_job_make_table(job);
    if (status == RAPT_OK)
        status = job->options.three_pass ? rapt_three_pass_create(job) : make_plan(job);
    if (status == RAPT_OK)
        status = rapt_job_upload(job, &pages, want);
    if (status == RAPT_OK && job->appends)
        status = rapt_job_append(job, &pages);
    if (status == RAPT_OK)
        status = prepare(job, &pages);
    rapt_job_pages_finish(job, &pages);
    job->plan_params.rope = NULL; /* the caller's */
    return status;
}

rapt_status rapt_easy_job_create(rapt_easy *easy, const rapt_problem *problem,
                                 const rapt_easy_options *options, const rapt_result *want,
                                 rapt_easy_job **out_job)
{
    if (!easy || !out_job)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s is NULL", easy ? "out_job" : "easy");
    *out_job = NULL;
    double start = rapt_now_seconds();
    rapt_easy_options own_options = {.struct_size = sizeof own_options};
    rapt_result own_want = {.struct_size = sizeof own_want};
    rapt_status status = rapt_easy_alive(easy);
    if (status == RAPT_OK && options)
        status = rapt_params_read("rapt_easy_options", options, &own_options, sizeof own_options);
    if (status == RAPT_OK && want)
        status = rapt_params_read("rapt_result", want, &own_want, sizeof own_want);
    if (status == RAPT_OK && own_options.n_slices > 65536)
        status = rapt_fail(RAPT_ERROR_ARGUMENT, "n_slices is %u: expected at most 65536",
                           own_options.n_slices);
    if (status != RAPT_OK)
        return status;
    rapt_easy_job *job = rapt_alloc(easy->allocator, 1, sizeof *job);
    if (!job)
        return rapt_fail(RAPT_ERROR_HOST_MEMORY, "out of host memory for a job");
    job->easy = easy;
    job->options = own_options;
    status = create(job, problem, &own_want);
    if (status != RAPT_OK) {
        rapt_easy_job_destroy(&job);
        return status;
    }
    job->create_seconds = rapt_now_seconds() - start;
    *out_job = job;
    return RAPT_OK;
}

void rapt_easy_job_destroy(rapt_easy_job **handle)
{
    if (!handle || !*handle)
        return;
    rapt_easy_job *job = *handle;
    *handle = NULL;
    rapt_plan_destroy(&job->plan);
    rapt_cascade_destroy(&job->cascade);
    rapt_block_table_destroy(&job->table);
    rapt_three_pass_destroy(job);
    for (int i = 0; i < JOB_N_BUFFERS; i++)
        rapt_easy_buffer_destroy(&job->buffers[i]);
    rapt_free(job->easy->allocator, job);
}

static void record_params(const rapt_easy_job *job, rapt_record_params *out_params)
{
    rapt_easy_buffer *const *buffers = job->buffers;
    struct job_kv_ranges kv;
    rapt_job_kv_ranges(job, &kv);
    rapt_record_params params = {
        .struct_size = sizeof params,
        .step = &job->step,
        .q = rapt_easy_buffer_range(buffers[JOB_Q]),
        .k = kv.k,
        .v = kv.v,
        .k_scale = kv.k_scale,
        .v_scale = kv.v_scale,
        .out = rapt_easy_buffer_range(buffers[JOB_OUT]),
        .lse = rapt_easy_buffer_range(buffers[JOB_LSE]),
        .max_logit = rapt_easy_buffer_range(buffers[JOB_MAX_LOGIT]),
        .max_logit_reduced = rapt_easy_buffer_range(buffers[JOB_REDUCED]),
        .slopes = rapt_easy_buffer_range(buffers[JOB_SLOPES]),
        .sinks = rapt_easy_buffer_range(buffers[JOB_SINKS]),
        .bias = rapt_easy_buffer_range(buffers[JOB_BIAS]),
        .rope_table = rapt_easy_buffer_range(buffers[JOB_ROPE]),
    };
    memcpy(params.k_segments, kv.k_segments, sizeof params.k_segments);
    memcpy(params.v_segments, kv.v_segments, sizeof params.v_segments);
    *out_params = params;
}

/* One submission: slice `slice` of `n_slices` of the work list. */
static rapt_status run_slice(rapt_easy_job *job, uint32_t slice, uint32_t n_slices,
                             double *inout_seconds)
{
    rapt_easy *easy = job->easy;
    rapt_record_params params;
    record_params(job, &params);
    if (n_slices > 1) {
        uint64_t n = job->step.n_items;
        params.first_item = (uint32_t)(n * slice / n_slices);
        params.n_items = (uint32_t)(n * (slice + 1) / n_slices) - params.first_item;
    }
    VkCommandBuffer commands;
    rapt_status status = rapt_easy_begin(easy, &commands);
    if (status != RAPT_OK)
        return status;
    params.command_buffer = commands;
    double start = rapt_now_seconds(), seconds = 0;
    status = job->three_pass ? rapt_three_pass_record(job, commands)
             : job->cascade  ? rapt_cascade_record(job->cascade, &params)
                             : rapt_plan_record(job->plan, &params);
    job->record_seconds += rapt_now_seconds() - start;
    if (status == RAPT_OK)
        status = rapt_easy_submit_wait(easy, &seconds);
    *inout_seconds += seconds;
    return status;
}

rapt_status rapt_easy_job_run(rapt_easy_job *job, double *out_seconds)
{
    if (!job)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "job is NULL");
    uint32_t n_slices = job->options.n_slices ? job->options.n_slices : 1;
    if (job->three_pass || job->step.n_items == 0)
        n_slices = 1;
    else if (n_slices > job->step.n_items)
        n_slices = job->step.n_items; /* an empty slice would mean all */
    rapt_status status = rapt_easy_alive(job->easy);
    double seconds = 0;
    job->record_seconds = 0;
    for (uint32_t slice = 0; status == RAPT_OK && slice < n_slices; slice++)
        status = run_slice(job, slice, n_slices, &seconds);
    if (status != RAPT_OK)
        return status;
    if (job->plan)
        rapt_plan_slot_done(job->plan, job->step.slot);
    rapt_cascade_slot_done(job->cascade, job->step.slot);
    job->done = 1;
    if (out_seconds)
        *out_seconds = seconds;
    return RAPT_OK;
}

static rapt_status read_floats(rapt_easy_job *job, enum job_buffer which, const char *name,
                               float *out, uint64_t n)
{
    if (!out)
        return RAPT_OK;
    if (!job->buffers[which])
        return rapt_fail(RAPT_ERROR_ARGUMENT,
                         "out_result.%s is set, but the job was made without it", name);
    return rapt_easy_download(job->easy, job->buffers[which], 0, out, n * sizeof *out);
}

static rapt_status read_out(rapt_easy_job *job, float *out)
{
    rapt_type type = job->problem.out_type;
    uint64_t n = (uint64_t)job->total_q * job->problem.n_q_heads * job->problem.head_dim_v;
    if (!out || type == RAPT_TYPE_F32)
        return read_floats(job, JOB_OUT, "out", out, n);
    size_t bytes = rapt_type_bytes(type);
    void *data = rapt_alloc(job->easy->allocator, (size_t)n, bytes);
    if (!data)
        return rapt_fail(RAPT_ERROR_HOST_MEMORY, "out of host memory to read the output");
    rapt_status status = rapt_easy_download(job->easy, job->buffers[JOB_OUT], 0, data, n * bytes);
    for (uint64_t i = 0; status == RAPT_OK && i < n; i++)
        out[i] = rapt_load(data, type, i);
    rapt_free(job->easy->allocator, data);
    return status;
}

rapt_status rapt_easy_job_read(rapt_easy_job *job, const rapt_result *out_result)
{
    if (!job)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "job is NULL");
    rapt_result result;
    rapt_status status = rapt_params_read("rapt_result", out_result, &result, sizeof result);
    if (status == RAPT_OK && !job->done)
        status = rapt_fail(RAPT_ERROR_ARGUMENT, "rapt_easy_job_read before rapt_easy_job_run");
    uint64_t rows = (uint64_t)job->total_q * job->problem.n_q_heads;
    if (status == RAPT_OK)
        status = read_floats(job, JOB_LSE, "lse", result.lse, rows);
    if (status == RAPT_OK)
        status = read_floats(job, JOB_MAX_LOGIT, "max_logit", result.max_logit, rows);
    if (status == RAPT_OK)
        status = read_floats(job, JOB_REDUCED, "max_logit_reduced", result.max_logit_reduced,
                             (uint64_t)job->problem.n_seqs * job->problem.n_q_heads);
    if (status == RAPT_OK)
        status = read_out(job, result.out);
    return status;
}

void rapt_easy_job_get_info(const rapt_easy_job *job, rapt_easy_job_info *out_info)
{
    if (!job || !out_info)
        return;
    rapt_easy_job_info info = {.struct_size = sizeof info,
                               .step = job->step,
                               .cost = job->cost,
                               .create_seconds = job->create_seconds,
                               .plan_seconds = job->plan_seconds,
                               .prepare_seconds = job->prepare_seconds,
                               .record_seconds = job->record_seconds,
                               .cascade = job->cascade_info,
                               .shared_kv_bytes = job->shared_kv_bytes};
    info.plan.struct_size = sizeof info.plan;
    rapt_plan_get_info(job->plan ? job->plan : rapt_cascade_plan(job->cascade), &info.plan);
    for (int i = 0; i < JOB_N_BUFFERS; i++) {
        uint64_t n = job->buffers[i] ? job->buffers[i]->memory_bytes : 0;
        if (i == JOB_TABLES)
            info.table_bytes = n;
        else if (i == JOB_WORKSPACE)
            info.workspace_bytes = n;
        else
            info.tensor_bytes += n;
    }
    if (job->three_pass)
        info.workspace_bytes = rapt_three_pass_bytes(job);
    rapt_params_write(out_info, &info, sizeof info);
}

rapt_status rapt_easy_attention(rapt_easy *easy, const rapt_problem *problem,
                                const rapt_easy_options *options, const rapt_result *out_result)
{
    if (!out_result)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "out_result is NULL");
    rapt_easy_job *job = NULL;
    rapt_status status = rapt_easy_job_create(easy, problem, options, out_result, &job);
    if (status == RAPT_OK)
        status = rapt_easy_job_run(job, NULL);
    if (status == RAPT_OK)
        status = rapt_easy_job_read(job, out_result);
    rapt_easy_job_destroy(&job);
    return status;
}
