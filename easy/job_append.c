/* SPDX-License-Identifier: Apache-2.0 */
/* A problem's keys and values written by kv_append: rotated, converted or quantized on the device,
 * a few hundred tokens at a time, as a server would over many steps. */
#include "job.h"

#include "convert.h"

#include <string.h>

#define CHUNK 256 /* tokens of a step, unless the plan's splits make rows dear */
#define MAX_PARTIALS (1u << 20)

uint32_t rapt_job_append_chunk(const rapt_easy_job *job, uint32_t longest)
{
    const rapt_easy_options *options = &job->options;
    uint64_t total = (uint64_t)job->problem.cu_kv[job->problem.n_seqs], chunk = CHUNK;
    uint64_t parts = options->fixed_split ? longest / options->fixed_split + 1 : 1;
    uint64_t fits = MAX_PARTIALS / (parts * job->problem.n_q_heads);
    chunk = fits < chunk ? fits : chunk;
    chunk = job->total_q > chunk ? job->total_q : chunk;
    chunk = total < chunk ? total : chunk;
    return chunk ? (uint32_t)chunk : 1;
}

/* All tokens of an array, dense, in the plan's new_type. */
static rapt_status upload_new(rapt_easy_job *job, const rapt_array *array, uint32_t dim,
                              const char *name, rapt_easy_buffer **out_buffer)
{
    const rapt_problem *problem = &job->problem;
    rapt_type type = job->plan_params.new_type;
    uint64_t total = (uint64_t)problem->cu_kv[problem->n_seqs];
    uint64_t row = (uint64_t)problem->n_kv_heads * dim, bytes = rapt_type_bytes(type);
    uint8_t *data = rapt_alloc(job->easy->allocator, (size_t)(total * row), bytes);
    if (!data)
        return rapt_fail(RAPT_ERROR_HOST_MEMORY, "out of host memory for %s", name);
    for (uint32_t b = 0; b < problem->n_seqs; b++) {
        uint64_t first = (uint64_t)problem->cu_kv[b], end = (uint64_t)problem->cu_kv[b + 1];
        for (uint64_t t = first; t < end; t++) {
            const rapt_layout *l = &array->layout;
            uint64_t at = l->outer_stride ? b * l->outer_stride + (t - first) * l->token_stride
                                          : t * l->token_stride;
            for (uint32_t h = 0; h < problem->n_kv_heads; h++)
                rapt_job_convert(data, type, t * row + (uint64_t)h * dim, array,
                                 at + h * l->head_stride, dim);
        }
    }
    rapt_status status =
        rapt_easy_buffer_create(job->easy, total * row * bytes, name, 0, out_buffer);
    if (status == RAPT_OK && total > 0)
        status = rapt_easy_upload(job->easy, *out_buffer, 0, data, total * row * bytes);
    rapt_free(job->easy->allocator, data);
    return status;
}

/* The arrays of one step: some tokens of some sequences, behind those that are there already. */
struct step_arrays {
    int32_t *cu_q, *cu_kv;
    uint32_t *indptr, *last_len;
    uint64_t *k_offsets, *v_offsets, *k_scale_offsets, *v_scale_offsets;
};

static rapt_status make_arrays(const rapt_easy_job *job, struct step_arrays *a)
{
    const rapt_allocator *allocator = job->easy->allocator;
    size_t n = (size_t)job->problem.n_seqs + 1;
    *a = (struct step_arrays){
        .cu_q = rapt_alloc(allocator, n, sizeof *a->cu_q),
        .cu_kv = rapt_alloc(allocator, n, sizeof *a->cu_kv),
        .indptr = rapt_alloc(allocator, n, sizeof *a->indptr),
        .last_len = rapt_alloc(allocator, n, sizeof *a->last_len),
        .k_offsets = rapt_alloc(allocator, n, sizeof *a->k_offsets),
        .v_offsets = rapt_alloc(allocator, n, sizeof *a->v_offsets),
        .k_scale_offsets = rapt_alloc(allocator, n, sizeof *a->k_scale_offsets),
        .v_scale_offsets = rapt_alloc(allocator, n, sizeof *a->v_scale_offsets),
    };
    if (!a->cu_q || !a->cu_kv || !a->indptr || !a->last_len || !a->k_offsets || !a->v_offsets ||
        !a->k_scale_offsets || !a->v_scale_offsets)
        return rapt_fail(RAPT_ERROR_HOST_MEMORY, "out of host memory for the steps of an append");
    return RAPT_OK;
}

static void finish_arrays(const rapt_easy_job *job, struct step_arrays *a)
{
    void *all[] = {a->cu_q,      a->cu_kv,     a->indptr,          a->last_len,
                   a->k_offsets, a->v_offsets, a->k_scale_offsets, a->v_scale_offsets};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        rapt_free(job->easy->allocator, all[i]);
}

/* Tokens [first, end) of the packed ones as a step. */
static void fill_step(const rapt_easy_job *job, const struct job_pages *pages,
                      struct step_arrays *a, uint64_t first, uint64_t end, uint32_t *inout_b,
                      rapt_step_params *out_params)
{
    const rapt_problem *problem = &job->problem;
    const rapt_plan_params *plan = &job->plan_params;
    uint32_t size = problem->page_size, n = 0;
    while ((uint64_t)problem->cu_kv[*inout_b + 1] <= first)
        ++*inout_b;
    uint32_t b0 = *inout_b, page0 = size ? pages->indptr[b0] : 0;
    for (uint32_t b = b0; b < problem->n_seqs && (uint64_t)problem->cu_kv[b] < end; b++, n++) {
        uint64_t cu = (uint64_t)problem->cu_kv[b], next = (uint64_t)problem->cu_kv[b + 1];
        uint64_t from = first > cu ? first : cu, to = end < next ? end : next;
        uint64_t len = to > cu ? to - cu : 0;
        a->cu_q[n + 1] = a->cu_q[n] + (int32_t)(to - from);
        a->cu_kv[n + 1] = a->cu_kv[n] + (int32_t)len;
        a->k_offsets[n] = cu * plan->k.token_stride;
        a->v_offsets[n] = cu * plan->v.token_stride;
        a->k_scale_offsets[n] = cu * plan->k_scale.token_stride;
        a->v_scale_offsets[n] = cu * plan->v_scale.token_stride;
        if (size) {
            /* Only the last sequence of a step ends before its last page. */
            a->indptr[n] = pages->indptr[b] - page0;
            a->indptr[n + 1] = a->indptr[n] + (uint32_t)((len + size - 1) / size);
            a->last_len[n] = len ? (uint32_t)((len - 1) % size + 1) : 0;
        }
    }
    *out_params = (rapt_step_params){
        .struct_size = sizeof *out_params,
        .n_seqs = n,
        .cu_q = a->cu_q,
        .kv_pos0 = problem->kv_pos0 ? problem->kv_pos0 + b0 : NULL,
        .rope_pos = problem->k_rope_pos ? problem->k_rope_pos + first : NULL,
    };
    if (size) {
        out_params->page_indptr = a->indptr;
        out_params->page_indices = pages->indices + page0;
        out_params->last_page_len = a->last_len;
        out_params->n_pool_pages = pages->n_pages;
        return;
    }
    out_params->cu_kv = a->cu_kv;
    out_params->k_offsets = a->k_offsets;
    out_params->v_offsets = a->v_offsets;
    if (plan->k_scale.token_stride) {
        out_params->k_scale_offsets = a->k_scale_offsets;
        out_params->v_scale_offsets = a->v_scale_offsets;
    }
}

static rapt_status run_step(rapt_easy_job *job, const rapt_step_params *step_params,
                            const rapt_append_params *append_params)
{
    rapt_step step = {.struct_size = sizeof step};
    rapt_append_params params = *append_params;
    rapt_status status = rapt_plan_prepare(job->plan, step_params, &step);
    if (status == RAPT_OK)
        status = rapt_easy_begin(job->easy, &params.command_buffer);
    if (status != RAPT_OK)
        return status;
    params.step = &step;
    double seconds;
    status = rapt_plan_record_append(job->plan, &params);
    rapt_status submitted = rapt_easy_submit_wait(job->easy, &seconds);
    rapt_plan_slot_done(job->plan, step.slot);
    return status != RAPT_OK ? status : submitted;
}

/* The rows of token `first` on. */
static rapt_buffer rows_from(const rapt_easy_job *job, const rapt_easy_buffer *buffer, uint32_t dim,
                             uint64_t first)
{
    rapt_buffer range = rapt_easy_buffer_range(buffer);
    uint64_t skip =
        first * job->problem.n_kv_heads * dim * rapt_type_bytes(job->plan_params.new_type);
    range.offset += skip;
    range.size -= skip;
    return range;
}

static rapt_status append_all(rapt_easy_job *job, const struct job_pages *pages,
                              const rapt_easy_buffer *k_new, const rapt_easy_buffer *v_new)
{
    const rapt_problem *problem = &job->problem;
    uint64_t total = (uint64_t)problem->cu_kv[problem->n_seqs];
    uint32_t chunk = job->append_chunk, b = 0;
    struct job_kv_ranges kv;
    rapt_job_kv_ranges(job, &kv);
    rapt_append_params params = {.struct_size = sizeof params,
                                 .k = kv.k,
                                 .v = kv.v,
                                 .k_scale = kv.k_scale,
                                 .v_scale = kv.v_scale};
    memcpy(params.k_segments, kv.k_segments, sizeof params.k_segments);
    memcpy(params.v_segments, kv.v_segments, sizeof params.v_segments);
    params.rope_table = rapt_easy_buffer_range(job->buffers[JOB_ROPE]);
    struct step_arrays arrays;
    rapt_status status = make_arrays(job, &arrays);
    for (uint64_t first = 0; status == RAPT_OK && first < total; first += chunk) {
        rapt_step_params step;
        fill_step(job, pages, &arrays, first, first + chunk < total ? first + chunk : total, &b,
                  &step);
        params.k_new = rows_from(job, k_new, problem->head_dim, first);
        params.v_new = rows_from(job, v_new, problem->head_dim_v, first);
        status = run_step(job, &step, &params);
    }
    finish_arrays(job, &arrays);
    return status;
}

rapt_status rapt_job_append(rapt_easy_job *job, const struct job_pages *pages)
{
    const rapt_problem *problem = &job->problem;
    rapt_easy_buffer *k_new = NULL, *v_new = NULL;
    rapt_status status = upload_new(job, &problem->k, problem->head_dim, "new K", &k_new);
    if (status == RAPT_OK)
        status = upload_new(job, &problem->v, problem->head_dim_v, "new V", &v_new);
    if (status == RAPT_OK)
        status = append_all(job, pages, k_new, v_new);
    rapt_easy_buffer_destroy(&k_new);
    rapt_easy_buffer_destroy(&v_new);
    return status;
}
