/* SPDX-License-Identifier: Apache-2.0 */
/* Packed K/V into a page pool: block tables, where V lies beside K, the pool's contents. */
#include "job.h"

#include "checked.h"

#include <string.h>

static uint64_t next_random(uint64_t *state) /* splitmix64 (Steele, Lea, Flood 2014) */
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static void shuffle(uint32_t *indices, uint32_t n, uint64_t seed)
{
    for (uint32_t i = n; i > 1; i--) {
        uint32_t j = (uint32_t)(next_random(&seed) % i), swap = indices[i - 1];
        indices[i - 1] = indices[j];
        indices[j] = swap;
    }
}

rapt_status rapt_job_pages_make(rapt_easy_job *job, struct job_pages *pages)
{
    const rapt_problem *problem = &job->problem;
    const rapt_allocator *allocator = job->easy->allocator;
    uint32_t size = problem->page_size, n_seqs = problem->n_seqs;
    memset(pages, 0, sizeof *pages);
    uint64_t n = 0;
    for (uint32_t b = 0; b < n_seqs; b++)
        n += ((uint64_t)(problem->cu_kv[b + 1] - problem->cu_kv[b]) + size - 1) / size;
    pages->n_pages = (uint32_t)n; /* lengths are int32, so this fits */
    pages->indptr = rapt_alloc(allocator, (size_t)n_seqs + 1, sizeof *pages->indptr);
    pages->indices = rapt_alloc(allocator, pages->n_pages, sizeof *pages->indices);
    pages->last_len = rapt_alloc(allocator, n_seqs, sizeof *pages->last_len);
    if (!pages->indptr || !pages->indices || !pages->last_len) {
        rapt_job_pages_finish(job, pages);
        return rapt_fail(RAPT_ERROR_HOST_MEMORY, "out of host memory for block tables");
    }
    for (uint32_t b = 0; b < n_seqs; b++) {
        uint32_t len = (uint32_t)(problem->cu_kv[b + 1] - problem->cu_kv[b]);
        pages->indptr[b + 1] = pages->indptr[b] + (len + size - 1) / size;
        pages->last_len[b] = len == 0 ? 0 : (len - 1) % size + 1;
    }
    for (uint32_t i = 0; i < pages->n_pages; i++)
        pages->indices[i] = i;
    if (problem->page_order == RAPT_PAGE_ORDER_SHUFFLED)
        shuffle(pages->indices, pages->n_pages, problem->page_seed);
    return RAPT_OK;
}

void rapt_job_pages_finish(rapt_easy_job *job, struct job_pages *pages)
{
    rapt_free(job->easy->allocator, pages->indptr);
    rapt_free(job->easy->allocator, pages->indices);
    rapt_free(job->easy->allocator, pages->last_len);
    memset(pages, 0, sizeof *pages);
}

/* The strides of a pool with their counts, the smallest stride first. */
struct axis {
    uint64_t stride, count;
};

static void sort_axes(struct axis axes[3])
{
    for (int i = 1; i < 3; i++) {
        for (int j = i; j > 0 && axes[j].stride < axes[j - 1].stride; j--) {
            struct axis swap = axes[j];
            axes[j] = axes[j - 1];
            axes[j - 1] = swap;
        }
    }
}

static uint64_t pool_elements(const struct axis axes[3], uint64_t dim)
{
    uint64_t last = 0;
    for (int i = 0; i < 3; i++) {
        if (axes[i].count == 0)
            return 0;
        last = rapt_add_sat(last, rapt_mul_sat(axes[i].count - 1, axes[i].stride));
    }
    return rapt_add_sat(last, dim);
}

/* Where V's rows begin when they share K's buffer: behind K's in the innermost axis whose stride
 * leaves room for both. Beside each other there are rows [K head, V head], heads [K heads, V
 * heads] and whole pages. */
static rapt_status find_v_offset(const struct axis k[3], const struct axis v[3], uint64_t k_dim,
                                 uint64_t v_dim, uint64_t *out_offset)
{
    uint64_t k_extent = k_dim, v_extent = v_dim;
    for (int i = 0; i < 3; i++) {
        if (k[i].stride != v[i].stride)
            break;
        if (k[i].stride >= rapt_add_sat(k_extent, v_extent)) {
            *out_offset = k_extent;
            return RAPT_OK;
        }
        k_extent = v_extent = rapt_mul_sat(k[i].count, k[i].stride);
    }
    return rapt_fail(RAPT_ERROR_ARGUMENT,
                     "kv_one_buffer: the strides of k_pool and v_pool leave no room for V's rows "
                     "beside K's");
}

static void put_nan(uint8_t *data, uint64_t n_elements, rapt_type type)
{
    uint16_t nan16 = type == RAPT_TYPE_F16 ? 0x7e00u : 0x7fc0u;
    uint32_t nan32 = 0x7fc00000u;
    for (uint64_t i = 0; i < n_elements; i++) {
        if (type == RAPT_TYPE_F32)
            memcpy(data + 4 * i, &nan32, 4);
        else
            memcpy(data + 2 * i, &nan16, 2);
    }
}

/* One of K and V: every row of the packed array to its place in the pool. */
static void scatter(const rapt_easy_job *job, const struct job_pages *pages,
                    const rapt_array *array, const rapt_layout *pool, uint32_t dim, uint8_t *data)
{
    const rapt_problem *problem = &job->problem;
    const rapt_layout *from = &array->layout;
    for (uint32_t b = 0; b < problem->n_seqs; b++) {
        uint32_t len = (uint32_t)(problem->cu_kv[b + 1] - problem->cu_kv[b]);
        uint64_t base = from->outer_stride ? b * from->outer_stride
                                           : (uint64_t)problem->cu_kv[b] * from->token_stride;
        for (uint32_t j = 0; j < len; j++) {
            uint64_t page = pages->indices[pages->indptr[b] + j / problem->page_size];
            for (uint32_t h = 0; h < problem->n_kv_heads; h++) {
                uint64_t source = base + j * from->token_stride + h * from->head_stride;
                uint64_t target = page * pool->outer_stride +
                                  j % problem->page_size * pool->token_stride +
                                  h * pool->head_stride;
                rapt_job_convert(data, problem->kv_type, target, array, source, dim);
            }
        }
    }
}

struct pool {
    uint64_t n_elements;
    uint8_t *data;
};

static rapt_status pool_make(rapt_easy_job *job, const char *name, struct pool *pool,
                             enum job_buffer which)
{
    size_t bytes = rapt_type_bytes(job->problem.kv_type);
    uint64_t n_bytes = rapt_mul_sat(pool->n_elements, bytes);
    if (n_bytes > SIZE_MAX / 2)
        return rapt_fail(RAPT_ERROR_DEVICE_MEMORY, "%s: the pool has %llu elements", name,
                         (unsigned long long)pool->n_elements);
    rapt_easy *easy = job->easy;
    rapt_status status =
        rapt_easy_buffer_create(easy, n_bytes, name, 0, &job->buffers[which]);
    if (status != RAPT_OK)
        return status;
    pool->data = rapt_alloc(easy->allocator, (size_t)pool->n_elements, bytes);
    if (!pool->data)
        return rapt_fail(RAPT_ERROR_HOST_MEMORY, "out of host memory for the pool of %s", name);
    put_nan(pool->data, pool->n_elements, job->problem.kv_type);
    return RAPT_OK;
}

static rapt_status pool_upload(rapt_easy_job *job, const struct pool *pool, enum job_buffer which)
{
    return rapt_easy_upload(job->easy, job->buffers[which], 0, pool->data,
                            pool->n_elements * rapt_type_bytes(job->problem.kv_type));
}

rapt_status rapt_job_pages_upload(rapt_easy_job *job, const struct job_pages *pages)
{
    const rapt_problem *problem = &job->problem;
    const rapt_layout *k = &job->plan_params.k, *v = &job->plan_params.v;
    struct axis k_axes[3] = {{k->outer_stride, pages->n_pages},
                             {k->token_stride, problem->page_size},
                             {k->head_stride, problem->n_kv_heads}};
    struct axis v_axes[3] = {{v->outer_stride, pages->n_pages},
                             {v->token_stride, problem->page_size},
                             {v->head_stride, problem->n_kv_heads}};
    sort_axes(k_axes);
    sort_axes(v_axes);
    struct pool k_pool = {.n_elements = pool_elements(k_axes, problem->head_dim)};
    struct pool v_pool = {.n_elements = pool_elements(v_axes, problem->head_dim_v)};
    uint64_t v_offset = 0;
    int one = job->options.kv_one_buffer;
    rapt_status status = RAPT_OK;
    if (one) {
        status = find_v_offset(k_axes, v_axes, problem->head_dim, problem->head_dim_v, &v_offset);
        uint64_t end = v_pool.n_elements ? rapt_add_sat(v_offset, v_pool.n_elements) : 0;
        k_pool.n_elements = end > k_pool.n_elements ? end : k_pool.n_elements;
    }
    if (status == RAPT_OK)
        status = pool_make(job, one ? "K and V" : "K", &k_pool, JOB_K);
    if (status == RAPT_OK && !one)
        status = pool_make(job, "V", &v_pool, JOB_V);
    if (status == RAPT_OK) {
        size_t bytes = rapt_type_bytes(problem->kv_type);
        job->v_offset = v_offset * bytes;
        job->v_span = v_pool.n_elements * bytes;
        scatter(job, pages, &problem->k, k, problem->head_dim, k_pool.data);
        scatter(job, pages, &problem->v, v, problem->head_dim_v,
                one ? k_pool.data + job->v_offset : v_pool.data);
        status = pool_upload(job, &k_pool, JOB_K);
    }
    if (status == RAPT_OK && !one)
        status = pool_upload(job, &v_pool, JOB_V);
    rapt_free(job->easy->allocator, k_pool.data);
    rapt_free(job->easy->allocator, v_pool.data);
    return status;
}
