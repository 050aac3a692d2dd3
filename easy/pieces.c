/* SPDX-License-Identifier: Apache-2.0 */
/* K and V beyond what a descriptor binds: the plan takes their pool in pieces, which here are
 * ranges of one buffer. Packed K and V are put into pages for it. */
#include "job.h"

#include "checked.h"

#include <string.h>

#define MAX_PIECES 4

/* A pool in bytes. */
struct pool {
    uint64_t page;   /* from one to the next */
    uint64_t extent; /* from a page's first to its last */
    uint64_t first;  /* of page 0, in its buffer */
};

static uint64_t unit_bytes(const rapt_easy_job *job)
{
    size_t bytes = rapt_type_bytes(job->problem.kv_type);
    return bytes ? bytes : 1;
}

static uint64_t row_units(const rapt_easy_job *job, int v)
{
    const rapt_problem *problem = &job->problem;
    return rapt_job_row_units(problem->kv_type, v ? problem->head_dim_v : problem->head_dim);
}

static struct pool describe(const rapt_easy_job *job, int v)
{
    const rapt_layout *l = v ? &job->plan_params.v : &job->plan_params.k;
    uint64_t extent = rapt_mul_sat(job->problem.page_size - 1, l->token_stride);
    extent = rapt_add_sat(extent, rapt_mul_sat(job->problem.n_kv_heads - 1, l->head_stride));
    extent = rapt_add_sat(extent, row_units(job, v));
    return (struct pool){.page = rapt_mul_sat(l->outer_stride, unit_bytes(job)),
                         .extent = rapt_mul_sat(extent, unit_bytes(job)),
                         .first = v && job->kv_one_buffer ? job->v_offset : 0};
}

/* Kernels read whole words. */
static uint64_t reach(const struct pool *pool, uint64_t n_pages)
{
    if (n_pages == 0)
        return 0;
    return rapt_add_sat(rapt_mul_sat(n_pages - 1, pool->page), rapt_add_sat(pool->extent, 3));
}

/* The CPU driver's rows find K and V by address; appending binds them whatever reads them. */
static int binds(const rapt_easy_job *job)
{
    char why[256];
    rapt_plan_info info = {.struct_size = sizeof info};
    if (job->appends)
        return 1;
    return rapt_plan_explain(job->easy->caps, &job->plan_params, why, sizeof why, &info) ==
               RAPT_OK &&
           strcmp(info.path, "cpu") != 0;
}

int rapt_job_wants_pages(const rapt_easy_job *job)
{
    const rapt_problem *problem = &job->problem;
    const rapt_array *arrays[2] = {&problem->k, &problem->v};
    uint64_t range = job->easy->caps->max_storage_buffer_range, most = 0;
    if (problem->page_size > 0 || job->options.three_pass)
        return 0;
    for (int v = 0; v < 2; v++) {
        uint64_t tokens = (uint64_t)problem->cu_kv[problem->n_seqs];
        uint64_t n = rapt_mul_sat(tokens * problem->n_kv_heads, row_units(job, v));
        if (rapt_type_bytes(problem->kv_type) && !job->appends)
            n = arrays[v]->n_elements; /* as they are */
        most = n > most ? n : most;
    }
    return rapt_mul_sat(most, unit_bytes(job)) > range && binds(job);
}

/* Pieces of so many pages begin where descriptors may. */
static int aligned(const rapt_easy_job *job, const struct pool *pool, uint64_t n_pages)
{
    uint32_t alignment = job->easy->caps->storage_buffer_alignment;
    return alignment <= 1 || (pool->first + n_pages * pool->page) % alignment == 0;
}

void rapt_job_cut_pool(rapt_easy_job *job)
{
    const rapt_problem *problem = &job->problem;
    rapt_plan_params *plan = &job->plan_params;
    uint64_t range = job->easy->caps->max_storage_buffer_range;
    uint64_t n_pages = problem->page_indptr ? problem->n_pool_pages : plan->max_pages;
    if (problem->page_size == 0 || job->options.three_pass)
        return;
    if (job->kv_one_buffer && rapt_job_kv_measure(job, n_pages) != RAPT_OK)
        return; /* the upload says so */
    const struct pool k = describe(job, 0), v = describe(job, 1);
    if ((reach(&k, n_pages) <= range && reach(&v, n_pages) <= range) || !binds(job))
        return;
    uint64_t pages = 1;
    while (pages < 1u << 31 && reach(&k, 2 * pages) <= range && reach(&v, 2 * pages) <= range)
        pages *= 2;
    uint64_t n = (n_pages + pages - 1) / pages;
    /* Where that does not do, the plan refuses the pool when it is recorded, and says why. */
    if (n > MAX_PIECES || reach(&k, pages) > range || reach(&v, pages) > range ||
        !aligned(job, &k, pages) || !aligned(job, &v, pages))
        return;
    plan->n_kv_segments = (uint32_t)n;
    plan->pages_per_segment = (uint32_t)pages;
}

static rapt_buffer piece_of(const rapt_buffer *whole, uint64_t skip)
{
    rapt_buffer piece = *whole;
    skip = skip < piece.size ? skip : piece.size;
    piece.offset += skip;
    piece.size -= skip;
    return piece;
}

void rapt_job_kv_ranges(const rapt_easy_job *job, struct job_kv_ranges *out_ranges)
{
    rapt_easy_buffer *const *buffers = job->buffers;
    const rapt_plan_params *plan = &job->plan_params;
    struct job_kv_ranges ranges = {
        .k = rapt_easy_buffer_range(buffers[JOB_K]),
        .v = rapt_easy_buffer_range(buffers[buffers[JOB_V] ? JOB_V : JOB_K]),
        .k_scale = rapt_easy_buffer_range(buffers[JOB_K_SCALE]),
        .v_scale = rapt_easy_buffer_range(buffers[JOB_V_SCALE]),
    };
    if (!buffers[JOB_V])
        ranges.v = piece_of(&ranges.v, job->v_offset);
    for (uint32_t i = 1; i < plan->n_kv_segments; i++) {
        uint64_t n = (uint64_t)i * plan->pages_per_segment * unit_bytes(job);
        ranges.k_segments[i - 1] = piece_of(&ranges.k, n * plan->k.outer_stride);
        ranges.v_segments[i - 1] = piece_of(&ranges.v, n * plan->v.outer_stride);
    }
    *out_ranges = ranges;
}
