/* SPDX-License-Identifier: Apache-2.0 */
/* K and V of a problem into what the device reads: a page pool, or packed rows; floats as they are,
 * or quantized with their scales. Layouts count elements of float types, bytes of quantized ones.
 */
#include "job.h"

#include "checked.h"
#include "convert.h"

#include <string.h>

#define CHUNK 64 /* tokens quantized at once */

/* The strides of a tensor with their counts, the smallest stride first. */
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

static uint64_t count_units(const struct axis axes[3], uint64_t row_units)
{
    uint64_t last = 0;
    for (int i = 0; i < 3; i++) {
        if (axes[i].count == 0)
            return 0;
        last = rapt_add_sat(last, rapt_mul_sat(axes[i].count - 1, axes[i].stride));
    }
    return rapt_add_sat(last, row_units);
}

/* Where V's rows begin when they share K's buffer: behind K's in the innermost axis whose stride
 * leaves room for both, at a whole word if that fits (n_word units). Beside each other there are
 * rows [K head, V head], heads [K heads, V heads] and whole pages. */
static rapt_status find_v_offset(const struct axis k[3], const struct axis v[3], uint64_t k_dim,
                                 uint64_t v_dim, uint64_t n_word, uint64_t *out_offset)
{
    uint64_t k_extent = k_dim, v_extent = v_dim;
    for (int i = 0; i < 3; i++) {
        if (k[i].stride != v[i].stride)
            break;
        if (k[i].stride >= rapt_add_sat(k_extent, v_extent)) {
            uint64_t rest = (n_word - k_extent % n_word) % n_word;
            int fits = k[i].stride - k_extent - v_extent >= rest;
            *out_offset = k_extent + (fits ? rest : 0);
            return RAPT_OK;
        }
        k_extent = v_extent = rapt_mul_sat(k[i].count, k[i].stride);
    }
    return rapt_fail(RAPT_ERROR_ARGUMENT,
                     "kv_one_buffer: the strides of k_pool and v_pool leave no room for V's rows "
                     "beside K's");
}

/* ----------------------------------------------------------------------------------------- tokens
 */

/* Walks over the tokens a problem has K/V for: packed ones, or every place of a ready pool. */
struct walk {
    const rapt_easy_job *job;
    const struct job_pages *pages;
    uint64_t n_tokens;
    uint32_t b; /* the sequence at hand, packed */
};

static struct walk walk_begin(const rapt_easy_job *job, const struct job_pages *pages)
{
    const rapt_problem *problem = &job->problem;
    struct walk walk = {.job = job, .pages = pages};
    walk.n_tokens = problem->page_indptr ? (uint64_t)problem->n_pool_pages * problem->page_size
                                         : (uint64_t)problem->cu_kv[problem->n_seqs];
    return walk;
}

/* Where token t (ascending) comes from in `from`, and its page (or 0) and token in the device's. */
static void walk_to(struct walk *walk, uint64_t t, const rapt_layout *from, uint64_t *out_source,
                    uint64_t *out_outer, uint64_t *out_token)
{
    const rapt_problem *problem = &walk->job->problem;
    uint32_t size = problem->page_size;
    if (problem->page_indptr) {
        *out_outer = t / size;
        *out_token = t % size;
        *out_source = *out_outer * from->outer_stride + *out_token * from->token_stride;
        return;
    }
    while ((uint64_t)problem->cu_kv[walk->b + 1] <= t)
        walk->b++;
    uint64_t j = t - (uint64_t)problem->cu_kv[walk->b];
    *out_source = from->outer_stride ? walk->b * from->outer_stride + j * from->token_stride
                                     : t * from->token_stride;
    *out_outer = size ? walk->pages->indices[walk->pages->indptr[walk->b] + j / size] : 0;
    *out_token = size ? j % size : t;
}

/* ---------------------------------------------------------------------------------------- tensors
 */

/* One of K and V on its way. */
struct tensor {
    const char *name, *scale_name;
    const rapt_array *from;
    rapt_layout to;
    rapt_quantize_params params; /* type, dim, heads, scales */
    enum job_buffer which, scale_which;
    uint64_t n_units;  /* of data */
    uint8_t *data;     /* NULL: V lies in K's */
    uint64_t n_scales; /* elements */
    void *scales;
    size_t scale_bytes; /* of one */
};

static size_t unit_bytes(rapt_type type)
{
    size_t n_bytes = rapt_type_bytes(type);
    return n_bytes ? n_bytes : 1;
}

uint64_t rapt_job_row_units(rapt_type type, uint32_t dim)
{
    return rapt_row_bytes(type, dim) / unit_bytes(type);
}

static void describe(rapt_easy_job *job, int v, struct tensor *out_tensor)
{
    const rapt_problem *problem = &job->problem;
    *out_tensor = (struct tensor){
        .name = v ? "V" : "K",
        .scale_name = v ? "V scales" : "K scales",
        .from = v ? &problem->v : &problem->k,
        .to = v ? job->plan_params.v : job->plan_params.k,
        .which = v ? JOB_V : JOB_K,
        .scale_which = v ? JOB_V_SCALE : JOB_K_SCALE,
        .params = {.struct_size = sizeof out_tensor->params,
                   .type = problem->kv_type,
                   .head_dim = v ? problem->head_dim_v : problem->head_dim,
                   .n_heads = problem->n_kv_heads,
                   .scale_type = problem->scale_type,
                   .scale_kind = problem->scale_kind,
                   .static_scale = v ? problem->v_scale : problem->k_scale,
                   .n_static_scale = v ? problem->n_v_scale : problem->n_k_scale},
    };
    int half = problem->kv_type == RAPT_TYPE_INT4 || problem->scale_type == RAPT_TYPE_F16;
    out_tensor->scale_bytes = half ? 2 : 4;
}

/* What no row covers holds NaN: in the elements, in the scales, or in the blocks. */
static void poison(uint8_t *data, uint64_t n_units, rapt_type type)
{
    uint16_t nan16 = type == RAPT_TYPE_F16 ? 0x7e00u : 0x7fc0u;
    uint32_t nan32 = 0x7fc00000u;
    if (rapt_type_bytes(type) == 0)
        memset(data, 0xff, (size_t)n_units);
    for (uint64_t i = 0; rapt_type_bytes(type) == 4 && i < n_units; i++)
        memcpy(data + 4 * i, &nan32, 4);
    for (uint64_t i = 0; rapt_type_bytes(type) == 2 && i < n_units; i++)
        memcpy(data + 2 * i, &nan16, 2);
}

/* Whole words, which is how kernels write rows. */
static uint64_t whole_words(uint64_t n_bytes)
{
    return rapt_add_sat(n_bytes, 3) / 4 * 4;
}

static rapt_status make_data(rapt_easy_job *job, const char *name, struct tensor *tensor)
{
    uint64_t bytes = unit_bytes(tensor->params.type);
    uint64_t n_bytes = whole_words(rapt_mul_sat(tensor->n_units, bytes));
    if (n_bytes > SIZE_MAX / 2)
        return rapt_fail(RAPT_ERROR_DEVICE_MEMORY, "%s: it has %llu elements", name,
                         (unsigned long long)tensor->n_units);
    rapt_status status =
        rapt_easy_buffer_create(job->easy, n_bytes, name, 0, &job->buffers[tensor->which]);
    if (status != RAPT_OK)
        return status;
    tensor->data = rapt_alloc(job->easy->allocator, (size_t)n_bytes, 1);
    if (!tensor->data)
        return rapt_fail(RAPT_ERROR_HOST_MEMORY, "out of host memory for %s", name);
    poison(tensor->data, tensor->n_units, tensor->params.type);
    return RAPT_OK;
}

static rapt_status make_scales(rapt_easy_job *job, uint64_t n_places, struct tensor *tensor)
{
    const rapt_quantize_params *p = &tensor->params;
    int is_static = p->scale_kind == RAPT_SCALE_STATIC;
    tensor->n_scales = is_static ? (job->plan_params.shared_scale ? 1 : p->n_heads)
                                 : rapt_mul_sat(n_places, rapt_quantize_n_scales(p));
    if (tensor->n_scales == 0)
        return RAPT_OK;
    uint64_t n_bytes = whole_words(rapt_mul_sat(tensor->n_scales, tensor->scale_bytes));
    rapt_status status = rapt_easy_buffer_create(job->easy, n_bytes, tensor->scale_name, 0,
                                                 &job->buffers[tensor->scale_which]);
    if (status != RAPT_OK)
        return status;
    tensor->scales = rapt_alloc(job->easy->allocator, (size_t)n_bytes, 1);
    if (!tensor->scales)
        return rapt_fail(RAPT_ERROR_HOST_MEMORY, "out of host memory for %s", tensor->scale_name);
    memset(tensor->scales, 0xff, (size_t)n_bytes); /* NaN */
    for (uint32_t h = 0; is_static && h < tensor->n_scales; h++)
        rapt_store(tensor->scales, p->scale_type, h,
                   p->static_scale[p->n_static_scale == 1 ? 0 : h]);
    return RAPT_OK;
}

/* Rows of float types to their places. */
static void scatter(struct walk walk, const struct tensor *tensor, uint8_t *data)
{
    const rapt_layout *from = &tensor->from->layout, *to = &tensor->to;
    for (uint64_t t = 0; t < walk.n_tokens; t++) {
        uint64_t source, outer, token;
        walk_to(&walk, t, from, &source, &outer, &token);
        uint64_t target = outer * to->outer_stride + token * to->token_stride;
        for (uint32_t h = 0; h < tensor->params.n_heads; h++)
            rapt_job_convert(data, tensor->params.type, target + h * to->head_stride, tensor->from,
                             source + h * from->head_stride, tensor->params.head_dim);
    }
}

/* Scratch of `encode`. */
struct encoding {
    float *values;
    uint8_t *rows, *scales;
};

static rapt_status encode_chunk(struct walk *walk, const struct tensor *tensor, uint8_t *data,
                                const struct encoding *e, uint64_t first, uint32_t n)
{
    const rapt_quantize_params *p = &tensor->params;
    const rapt_layout *from = &tensor->from->layout, *to = &tensor->to;
    size_t row_bytes = rapt_row_bytes(p->type, p->head_dim);
    size_t per_token = rapt_quantize_n_scales(p) * tensor->scale_bytes;
    uint64_t source, outer, token;
    uint32_t b = walk->b; /* the chunk is walked twice */
    for (uint32_t i = 0; i < n; i++) {
        walk_to(walk, first + i, from, &source, &outer, &token);
        for (uint32_t h = 0; h < p->n_heads; h++)
            rapt_load_row(tensor->from->data, tensor->from->type, source + h * from->head_stride,
                          p->head_dim, e->values + ((size_t)i * p->n_heads + h) * p->head_dim);
    }
    rapt_status status = rapt_quantize_rows(p, n, e->values, e->rows, e->scales);
    walk->b = b;
    for (uint32_t i = 0; status == RAPT_OK && i < n; i++) {
        walk_to(walk, first + i, from, &source, &outer, &token);
        uint64_t target = outer * to->outer_stride + token * to->token_stride;
        for (uint32_t h = 0; h < p->n_heads; h++)
            memcpy(data + target + h * to->head_stride,
                   e->rows + ((size_t)i * p->n_heads + h) * row_bytes, row_bytes);
        uint64_t place =
            walk->job->problem.page_size ? outer * walk->job->problem.page_size + token : token;
        if (per_token)
            memcpy((uint8_t *)tensor->scales + place * per_token, e->scales + i * per_token,
                   per_token);
    }
    return status;
}

static rapt_status encode(struct walk walk, const struct tensor *tensor, uint8_t *data)
{
    const rapt_quantize_params *p = &tensor->params;
    const rapt_allocator *allocator = walk.job->easy->allocator;
    size_t heads = (size_t)CHUNK * p->n_heads;
    struct encoding e = {
        .values = rapt_alloc(allocator, heads * p->head_dim, sizeof *e.values),
        .rows = rapt_alloc(allocator, heads, rapt_row_bytes(p->type, p->head_dim)),
        .scales = rapt_alloc(allocator, CHUNK * rapt_quantize_n_scales(p), tensor->scale_bytes),
    };
    rapt_status status = RAPT_OK;
    if (!e.values || !e.rows || !e.scales)
        status =
            rapt_fail(RAPT_ERROR_HOST_MEMORY, "out of host memory to quantize %s", tensor->name);
    for (uint64_t t = 0; status == RAPT_OK && t < walk.n_tokens; t += CHUNK) {
        uint32_t n = walk.n_tokens - t < CHUNK ? (uint32_t)(walk.n_tokens - t) : CHUNK;
        status = encode_chunk(&walk, tensor, data, &e, t, n);
    }
    rapt_free(allocator, e.scales);
    rapt_free(allocator, e.rows);
    rapt_free(allocator, e.values);
    return status;
}

/* Sizes of both, and where V begins when one buffer holds the two. */
static rapt_status size_tensors(rapt_easy_job *job, uint64_t n_outer, uint64_t n_tokens,
                                struct tensor tensors[2], uint64_t *out_v_first)
{
    struct axis axes[2][3];
    uint64_t row_units[2];
    for (int v = 0; v < 2; v++) {
        const rapt_layout *l = &tensors[v].to;
        axes[v][0] = (struct axis){l->outer_stride, n_outer};
        axes[v][1] = (struct axis){l->token_stride, n_tokens};
        axes[v][2] = (struct axis){l->head_stride, tensors[v].params.n_heads};
        sort_axes(axes[v]);
        row_units[v] = rapt_job_row_units(tensors[v].params.type, tensors[v].params.head_dim);
        tensors[v].n_units = count_units(axes[v], row_units[v]);
    }
    *out_v_first = 0;
    if (!job->kv_one_buffer)
        return RAPT_OK;
    uint64_t bytes = unit_bytes(tensors[0].params.type);
    rapt_status status =
        find_v_offset(axes[0], axes[1], row_units[0], row_units[1], 4 / bytes, out_v_first);
    if (status == RAPT_OK && *out_v_first * bytes % 4 != 0)
        return rapt_fail(RAPT_ERROR_ARGUMENT,
                         "kv_one_buffer: V's rows begin at byte %llu, which is no multiple of 4",
                         (unsigned long long)(*out_v_first * bytes));
    uint64_t end = tensors[1].n_units ? rapt_add_sat(*out_v_first, tensors[1].n_units) : 0;
    tensors[0].n_units = end > tensors[0].n_units ? end : tensors[0].n_units;
    job->v_offset = *out_v_first * bytes;
    job->v_span = whole_words(tensors[1].n_units * bytes);
    return status;
}

rapt_status rapt_job_kv_measure(rapt_easy_job *job, uint64_t n_pages)
{
    struct tensor tensors[2];
    uint64_t v_first;
    describe(job, 0, &tensors[0]);
    describe(job, 1, &tensors[1]);
    return size_tensors(job, n_pages, job->problem.page_size, tensors, &v_first);
}

static rapt_status upload(rapt_easy_job *job, const struct tensor *tensor)
{
    uint64_t n_bytes = whole_words(tensor->n_units * unit_bytes(tensor->params.type));
    rapt_status status = RAPT_OK;
    if (tensor->data)
        status = rapt_easy_upload(job->easy, job->buffers[tensor->which], 0, tensor->data, n_bytes);
    if (status == RAPT_OK && tensor->scales)
        status = rapt_easy_upload(job->easy, job->buffers[tensor->scale_which], 0, tensor->scales,
                                  whole_words(tensor->n_scales * tensor->scale_bytes));
    return status;
}

rapt_status rapt_job_kv_upload(rapt_easy_job *job, const struct job_pages *pages)
{
    const rapt_problem *problem = &job->problem;
    struct tensor tensors[2];
    uint64_t n_pages = problem->page_indptr ? problem->n_pool_pages : pages->n_pages, v_first = 0;
    struct walk walk = walk_begin(job, pages);
    int paged = problem->page_size > 0, quantized = rapt_type_bytes(problem->kv_type) == 0;
    uint64_t n_outer = paged ? n_pages : 1;
    uint64_t n_tokens = paged ? problem->page_size : walk.n_tokens;
    describe(job, 0, &tensors[0]);
    describe(job, 1, &tensors[1]);
    rapt_status status = size_tensors(job, n_outer, n_tokens, tensors, &v_first);
    for (int v = 0; status == RAPT_OK && v < 2; v++) {
        struct tensor *tensor = &tensors[v];
        int shares = v && job->kv_one_buffer;
        if (!shares)
            status = make_data(job, job->kv_one_buffer ? "K and V" : tensor->name, tensor);
        if (status == RAPT_OK && quantized)
            status = make_scales(job, n_outer * n_tokens, tensor);
        uint8_t *data = shares ? tensors[0].data + job->v_offset : tensor->data;
        if (status != RAPT_OK || job->appends)
            continue;
        if (quantized)
            status = encode(walk, tensor, data);
        else
            scatter(walk, tensor, data);
    }
    for (int v = 0; status == RAPT_OK && v < 2; v++)
        status = upload(job, &tensors[v]);
    for (int v = 0; v < 2; v++) {
        rapt_free(job->easy->allocator, tensors[v].data);
        rapt_free(job->easy->allocator, tensors[v].scales);
    }
    return status;
}
