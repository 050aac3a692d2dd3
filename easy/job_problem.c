/* SPDX-License-Identifier: Apache-2.0 */
/* rapt_problem -> plan and step params, buffers filled with what the device stores. */
#include "job.h"

#include "checked.h"
#include "convert.h"
#include "layout.h"

#include <string.h>

#define PAGE_SIZE 256 /* of packed K and V that are put into pages: the largest there is */

void rapt_job_convert(void *data, rapt_type type, uint64_t target, const rapt_array *array,
                      uint64_t source, uint64_t n)
{
    size_t bytes = rapt_type_bytes(type);
    if (array->type == type) {
        memcpy((uint8_t *)data + target * bytes, (const uint8_t *)array->data + source * bytes,
               (size_t)n * bytes);
        return;
    }
    for (uint64_t i = 0; i < n; i++)
        rapt_store(data, type, target + i, rapt_load(array->data, array->type, source + i));
}

static void fill_types(rapt_problem *problem)
{
    rapt_array *arrays[] = {&problem->q, &problem->k, &problem->v, &problem->bias};
    for (int i = 0; i < 4; i++) {
        if (arrays[i]->type == RAPT_TYPE_DEFAULT)
            arrays[i]->type = RAPT_TYPE_F32;
    }
    if (problem->q_type == RAPT_TYPE_DEFAULT)
        problem->q_type = problem->q.type;
    if (problem->kv_type == RAPT_TYPE_DEFAULT)
        problem->kv_type = problem->k.type;
    if (problem->out_type == RAPT_TYPE_DEFAULT)
        problem->out_type = RAPT_TYPE_F32;
    if (problem->head_dim_v == 0)
        problem->head_dim_v = problem->head_dim;
    if (problem->scale_type == RAPT_TYPE_DEFAULT)
        problem->scale_type = RAPT_TYPE_F32;
}

static int in_pages(const rapt_problem *problem)
{
    return problem->page_size > 0;
}

static int is_quantized(const rapt_problem *problem)
{
    return rapt_type_bytes(problem->kv_type) == 0;
}

/* K or V on the device. */
static rapt_layout kv_layout(const rapt_easy_job *job, int v)
{
    const rapt_problem *problem = &job->problem;
    int ready = problem->page_indptr != NULL, own = in_pages(problem) && !ready;
    uint32_t dim = v ? problem->head_dim_v : problem->head_dim;
    if (!own && !is_quantized(problem) && !job->appends)
        return v ? problem->v.layout : problem->k.layout;
    rapt_layout layout = {0};
    if (own)
        layout = v ? job->options.v_pool : job->options.k_pool;
    rapt_layout_fill(&layout, problem->n_kv_heads,
                     (uint32_t)rapt_job_row_units(problem->kv_type, dim), problem->page_size);
    return layout;
}

static rapt_layout scale_layout(const rapt_problem *problem, uint32_t dim)
{
    uint32_t per_head = problem->kv_type == RAPT_TYPE_INT4 ? dim / 32 : 1;
    rapt_layout layout = {0};
    if (problem->scale_kind == RAPT_SCALE_STATIC ||
        (problem->kv_type != RAPT_TYPE_INT8 && problem->kv_type != RAPT_TYPE_FP8_E4M3 &&
         problem->kv_type != RAPT_TYPE_INT4))
        return layout;
    if (problem->scale_kind == RAPT_SCALE_TOKEN) {
        layout.token_stride = 1;
    } else {
        layout.head_stride = per_head;
        layout.token_stride = (uint64_t)problem->n_kv_heads * per_head;
    }
    layout.outer_stride = problem->page_size * layout.token_stride;
    return layout;
}

static void fill_layouts(rapt_easy_job *job)
{
    rapt_problem *problem = &job->problem;
    rapt_plan_params *plan = &job->plan_params;
    int ready = problem->page_indptr != NULL;
    rapt_layout_fill(&problem->q.layout, problem->n_q_heads, problem->head_dim, 0);
    rapt_layout_fill(&problem->k.layout, problem->n_kv_heads, problem->head_dim,
                     ready ? problem->page_size : 0);
    rapt_layout_fill(&problem->v.layout, problem->n_kv_heads, problem->head_dim_v,
                     ready ? problem->page_size : 0);
    plan->q = problem->q.layout;
    plan->k = kv_layout(job, 0);
    plan->v = kv_layout(job, 1);
    plan->k_scale = scale_layout(problem, problem->head_dim);
    plan->v_scale = scale_layout(problem, problem->head_dim_v);
    job->kv_one_buffer = job->options.kv_one_buffer && in_pages(problem) && !ready;
}

static int rotates(const rapt_problem *problem)
{
    return problem->rope && problem->rope->pairing != RAPT_ROPE_NONE;
}

static uint32_t plan_flags(const rapt_easy_job *job, const rapt_result *want)
{
    const rapt_problem *problem = &job->problem;
    uint32_t flags = job->options.plan_flags & ~(uint32_t)RAPT_PLAN_APPEND;
    flags |= problem->slopes ? RAPT_PLAN_ALIBI : 0;
    flags |= problem->sinks ? RAPT_PLAN_SINKS : 0;
    flags |= problem->bias.data ? RAPT_PLAN_BIAS : 0;
    flags |= want->lse ? RAPT_PLAN_LSE : 0;
    flags |= want->max_logit || want->max_logit_reduced ? RAPT_PLAN_MAX_LOGIT : 0;
    flags |= want->max_logit_reduced ? RAPT_PLAN_MAX_LOGIT_REDUCED : 0;
    flags |= problem->unnormalised ? RAPT_PLAN_UNNORMALISED : 0;
    flags |= problem->use_max_logit_const ? RAPT_PLAN_CONST_MAX : 0;
    flags |= in_pages(problem) ? RAPT_PLAN_PAGED : 0;
    flags |= rotates(problem) ? RAPT_PLAN_ROPE_Q : 0;
    flags |= job->appends ? RAPT_PLAN_APPEND : 0;
    return flags;
}

/* Capacity for exactly this problem. */
static void fill_capacity(rapt_easy_job *job)
{
    const rapt_problem *problem = &job->problem;
    rapt_plan_params *plan = &job->plan_params;
    uint64_t n_pages = 0, longest = 1;
    for (uint32_t b = 0; b < problem->n_seqs; b++) {
        uint64_t len;
        if (problem->page_indptr) {
            uint64_t n = problem->page_indptr[b + 1] - problem->page_indptr[b];
            len = n == 0 ? 0 : (n - 1) * problem->page_size + problem->last_page_len[b];
        } else {
            len = (uint64_t)(problem->cu_kv[b + 1] - problem->cu_kv[b]);
        }
        n_pages += in_pages(problem) ? (len + problem->page_size - 1) / problem->page_size : 0;
        longest = len > longest ? len : longest;
    }
    plan->max_batch = problem->n_seqs;
    plan->max_total_q = job->total_q ? job->total_q : 1;
    if (job->appends) {
        job->append_chunk = rapt_job_append_chunk(job, (uint32_t)longest);
        if (job->append_chunk > plan->max_total_q)
            plan->max_total_q = job->append_chunk;
    }
    plan->max_pages = (uint32_t)n_pages;
    plan->max_kv_len = (uint32_t)longest;
    plan->n_steps_in_flight = 1;
    plan->max_records_per_step = job->options.n_slices + 1;
}

rapt_status rapt_job_read_problem(rapt_easy_job *job, const rapt_problem *problem,
                                  const rapt_result *want)
{
    rapt_status status = rapt_problem_check(problem);
    if (status == RAPT_OK)
        status = rapt_params_read("rapt_problem", problem, &job->problem, sizeof job->problem);
    if (status != RAPT_OK)
        return status;
    rapt_problem *own = &job->problem;
    const rapt_easy_options *options = &job->options;
    fill_types(own);
    job->total_q = (uint32_t)own->cu_q[own->n_seqs];
    /* Keys that are rotated are appended, so that the kernel that does it in earnest does it here.
     */
    job->appends = !own->page_indptr && (rotates(own) || (options->plan_flags & RAPT_PLAN_APPEND));
    job->plan_params = (rapt_plan_params){
        .struct_size = sizeof job->plan_params,
        .n_q_heads = own->n_q_heads,
        .n_kv_heads = own->n_kv_heads,
        .head_dim = own->head_dim,
        .head_dim_v = own->head_dim_v,
        .q_type = own->q_type,
        .kv_type = own->kv_type,
        .out_type = own->out_type,
        .bias_type = own->bias.type,
        .flags = plan_flags(job, want),
        .scale = own->scale,
        .softcap = own->softcap,
        .page_size = own->page_size,
        .path = options->path,
        .block_q = options->block_q,
        .block_kv = options->block_kv,
        .pages_per_block = options->pages_per_block,
        .n_splits = options->n_splits,
        .fixed_split = options->fixed_split,
        .max_keys_per_item = options->max_keys_per_item,
        .shared_memory_limit = options->shared_memory_limit,
        .tiles = job->easy->tiles,
        .tile_prefill = options->tile_prefill,
        .tile_decode = options->tile_decode,
        .tile_few_rows = options->tile_few_rows,
        .scale_type = own->kv_type == RAPT_TYPE_INT4 ? RAPT_TYPE_F16 : own->scale_type,
        .scale_kind = own->scale_kind,
        .shared_scale =
            own->scale_kind == RAPT_SCALE_STATIC && own->n_k_scale == 1 && own->n_v_scale == 1,
        .integer_dot = own->integer_dot,
        .rope = rotates(own) ? own->rope : NULL,
        .new_type = own->k.type == own->v.type ? own->k.type : RAPT_TYPE_F32,
    };
    fill_layouts(job);
    fill_capacity(job);
    if (rapt_job_wants_pages(job)) {
        own->page_size = job->plan_params.page_size = PAGE_SIZE;
        own->page_order = RAPT_PAGE_ORDER_LINEAR;
        job->plan_params.flags |= RAPT_PLAN_PAGED;
        fill_layouts(job);
        fill_capacity(job);
    }
    rapt_job_cut_pool(job);
    return RAPT_OK;
}

void rapt_job_step_params(const rapt_easy_job *job, const struct job_pages *pages,
                          uint64_t *bias_offsets, rapt_step_params *out_params)
{
    const rapt_problem *problem = &job->problem;
    const rapt_layout *bias = &problem->bias.layout;
    rapt_step_params params = {
        .struct_size = sizeof params,
        .n_seqs = problem->n_seqs,
        .cu_q = problem->cu_q,
        .q_pos0 = problem->q_pos0,
        .q_pos = problem->q_pos,
        .kv_pos0 = problem->kv_pos0,
        .mask = job->table ? NULL : problem->mask,
        .block_table = job->table,
        .prefix = problem->prefix      ? problem->prefix
                  : problem->mask_data ? problem->mask_data->prefix
                                       : NULL,
        .max_logit_const = problem->use_max_logit_const ? problem->max_logit_const : 0,
        .bias_head_stride = (uint32_t)bias->head_stride,
        .bias_row_stride = (uint32_t)bias->token_stride,
        .rope_pos = problem->rope_pos,
    };
    if (problem->page_indptr) {
        params.page_indptr = problem->page_indptr;
        params.page_indices = problem->page_indices;
        params.last_page_len = problem->last_page_len;
        params.n_pool_pages = problem->n_pool_pages;
    } else if (in_pages(problem)) {
        params.page_indptr = pages->indptr;
        params.page_indices = pages->indices;
        params.last_page_len = pages->last_len;
        params.n_pool_pages = pages->n_pages;
    } else {
        params.cu_kv = problem->cu_kv;
    }
    if (problem->bias.data && problem->bias_offsets) {
        params.bias_offsets = problem->bias_offsets;
    } else if (problem->bias.data && bias->outer_stride) {
        for (uint32_t b = 0; b < problem->n_seqs; b++)
            bias_offsets[b] = b * bias->outer_stride;
        params.bias_offsets = bias_offsets;
    }
    *out_params = params;
}

/* A whole array as it is, in the type the device stores. */
static rapt_status upload_array(rapt_easy_job *job, enum job_buffer which, const char *name,
                                const rapt_array *array, rapt_type type)
{
    rapt_easy *easy = job->easy;
    size_t bytes = rapt_type_bytes(type);
    rapt_status status = rapt_easy_buffer_create(easy, rapt_mul_sat(array->n_elements, bytes), name,
                                                 0, &job->buffers[which]);
    if (status != RAPT_OK || array->n_elements == 0)
        return status;
    if (array->type == type)
        return rapt_easy_upload(easy, job->buffers[which], 0, array->data,
                                array->n_elements * bytes);
    void *data = rapt_alloc(easy->allocator, array->n_elements, bytes);
    if (!data)
        return rapt_fail(RAPT_ERROR_HOST_MEMORY, "out of host memory to convert %s", name);
    rapt_job_convert(data, type, 0, array, 0, array->n_elements);
    status = rapt_easy_upload(easy, job->buffers[which], 0, data, array->n_elements * bytes);
    rapt_free(easy->allocator, data);
    return status;
}

static rapt_status upload_heads(rapt_easy_job *job, enum job_buffer which, const char *name,
                                const float *values)
{
    rapt_array array = {
        .data = values, .n_elements = job->problem.n_q_heads, .type = RAPT_TYPE_F32};
    return values ? upload_array(job, which, name, &array, RAPT_TYPE_F32) : RAPT_OK;
}

static rapt_status upload_table(rapt_easy_job *job)
{
    const rapt_rope *rope = job->plan_params.rope;
    if (!rope || !rope->table)
        return RAPT_OK;
    uint32_t dim = rope->rotary_dim ? rope->rotary_dim : job->problem.head_dim;
    rapt_array array = {.data = rope->table,
                        .n_elements = (size_t)rope->n_table_positions * dim,
                        .type = RAPT_TYPE_F32};
    return upload_array(job, JOB_ROPE, "rope table", &array, RAPT_TYPE_F32);
}

static rapt_status make_results(rapt_easy_job *job, const rapt_result *want)
{
    const rapt_problem *problem = &job->problem;
    rapt_easy *easy = job->easy;
    uint64_t rows = (uint64_t)job->total_q * problem->n_q_heads;
    uint64_t out_bytes =
        rapt_mul_sat(rows, problem->head_dim_v) * rapt_type_bytes(problem->out_type);
    rapt_status status = rapt_easy_buffer_create(easy, out_bytes, "out", 0, &job->buffers[JOB_OUT]);
    if (status == RAPT_OK && want->lse)
        status = rapt_easy_buffer_create(easy, rows * 4, "lse", 0, &job->buffers[JOB_LSE]);
    if (status == RAPT_OK && (want->max_logit || want->max_logit_reduced))
        status =
            rapt_easy_buffer_create(easy, rows * 4, "max_logit", 0, &job->buffers[JOB_MAX_LOGIT]);
    if (status == RAPT_OK && want->max_logit_reduced)
        status = rapt_easy_buffer_create(easy, (uint64_t)problem->n_seqs * problem->n_q_heads * 4,
                                         "max_logit_reduced", 0, &job->buffers[JOB_REDUCED]);
    return status;
}

rapt_status rapt_job_upload(rapt_easy_job *job, const struct job_pages *pages,
                            const rapt_result *want)
{
    const rapt_problem *problem = &job->problem;
    rapt_status status = upload_array(job, JOB_Q, "Q", &problem->q, problem->q_type);
    if (status == RAPT_OK && (pages->indptr || is_quantized(problem) || job->appends)) {
        status = rapt_job_kv_upload(job, pages);
    } else if (status == RAPT_OK) {
        status = upload_array(job, JOB_K, "K", &problem->k, problem->kv_type);
        if (status == RAPT_OK)
            status = upload_array(job, JOB_V, "V", &problem->v, problem->kv_type);
    }
    if (status == RAPT_OK)
        status = upload_heads(job, JOB_SLOPES, "slopes", problem->slopes);
    if (status == RAPT_OK)
        status = upload_heads(job, JOB_SINKS, "sinks", problem->sinks);
    if (status == RAPT_OK && problem->bias.data)
        status = upload_array(job, JOB_BIAS, "bias", &problem->bias, problem->bias.type);
    if (status == RAPT_OK)
        status = upload_table(job);
    if (status == RAPT_OK)
        status = make_results(job, want);
    return status;
}
