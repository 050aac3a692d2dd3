/* SPDX-License-Identifier: Apache-2.0 */
/* An indexer's scores and choices in float64 (sparse.h). */
#include "error.h"
#include "selection.h"
#include "view.h"

#include <math.h>
#include <string.h>

struct indexer {
    struct view view;
    rapt_reference_params params;
    rapt_index_problem index;
    uint32_t top_k;
    uint32_t *out_lists;
    const uint32_t *lists; /* to be compared */
    rapt_choice_error error;
    /* scratch */
    double *scores;
    float *q;
    uint32_t *order, *chosen;
};

static double score(struct indexer *x, uint32_t b, uint32_t j, const float *weights)
{
    const rapt_index_problem *p = &x->index;
    float k[RAPT_MAX_DIM];
    double sum = 0;
    rapt_view_load_row(&p->k, p->k.type, rapt_view_kv_index(&x->view, &p->k.layout, b, j, 0),
                       p->head_dim, k);
    for (uint32_t h = 0; h < p->n_heads; h++) {
        const float *q = x->q + (size_t)h * p->head_dim;
        double dot = 0;
        for (uint32_t d = 0; d < p->head_dim; d++)
            dot += (double)q[d] * (double)k[d];
        if (!(dot <= 0))
            sum += (double)weights[h] * dot;
    }
    return sum;
}

static void take_token(struct indexer *x, uint32_t b, uint32_t i)
{
    const rapt_index_problem *p = &x->index;
    uint64_t token = (uint32_t)x->view.problem.cu_q[b] + i;
    uint32_t begin, end;
    for (uint32_t h = 0; h < p->n_heads; h++)
        rapt_view_load_row(&p->q, p->q.type,
                           token * p->q.layout.token_stride + h * p->q.layout.head_stride,
                           p->head_dim, x->q + (size_t)h * p->head_dim);
    rapt_view_key_range(&x->view, b, 0, i, &begin, &end);
    for (uint32_t j = begin; j < end; j++)
        x->scores[j - begin] = score(x, b, j, p->weights + token * p->n_heads);
    const struct rapt_selection_row row = {
        .scores = x->scores, .first = begin, .n = end - begin, .forced = RAPT_NO_INDEX};
    rapt_selection_choose(&row, x->top_k, x->order, x->chosen);
    if (x->out_lists)
        memcpy(x->out_lists + token * x->top_k, x->chosen, x->top_k * sizeof *x->chosen);
    if (x->lists)
        rapt_selection_compare(&row, x->top_k, token, x->chosen, x->lists + token * x->top_k,
                               &x->error);
}

static rapt_status check_type(const char *name, rapt_array *array)
{
    if (array->type == RAPT_TYPE_DEFAULT)
        array->type = RAPT_TYPE_F32;
    if (rapt_type_bytes(array->type) == 0)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s.type is %d: expected f32, f16 or bf16", name,
                         (int)array->type);
    return RAPT_OK;
}

/* The last element that the lengths reach. */
static rapt_status check_reach(const char *name, const rapt_array *array, uint64_t needed)
{
    if (needed > 0 && !array->data)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s.data is NULL", name);
    if (needed > array->n_elements)
        return rapt_fail(RAPT_ERROR_SHAPE,
                         "%s has %llu elements: its lengths and strides reach to element %llu",
                         name, (unsigned long long)array->n_elements, (unsigned long long)needed);
    return RAPT_OK;
}

static rapt_status check(struct indexer *x)
{
    rapt_index_problem *p = &x->index;
    const rapt_problem *problem = &x->view.problem;
    if (p->n_heads == 0 || p->n_heads > 1024 || x->top_k == 0)
        return rapt_fail(RAPT_ERROR_ARGUMENT,
                         "index.n_heads is %u, top_k is %u: expected 1 to 1024, "
                         "and at least 1",
                         p->n_heads, x->top_k);
    if (p->head_dim == 0 || p->head_dim > RAPT_MAX_DIM)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "index.head_dim is %u: expected 1 to %u", p->head_dim,
                         RAPT_MAX_DIM);
    if (problem->mask_heads || !rapt_mask_is_closed(problem->mask))
        return rapt_fail(RAPT_ERROR_UNSUPPORTED,
                         "mask or mask_heads: an indexer chooses from what a closed form allows");
    rapt_status status = check_type("index.q", &p->q);
    if (status == RAPT_OK)
        status = check_type("index.k", &p->k);
    if (status == RAPT_OK && x->view.total_q && !p->weights)
        status = rapt_fail(RAPT_ERROR_ARGUMENT, "index.weights is NULL");
    if (status != RAPT_OK)
        return status;
    rapt_layout *q = &p->q.layout, *k = &p->k.layout;
    q->head_stride = q->head_stride ? q->head_stride : p->head_dim;
    q->token_stride = q->token_stride ? q->token_stride : (uint64_t)p->n_heads * p->head_dim;
    k->token_stride = k->token_stride ? k->token_stride : p->head_dim;
    if (x->view.pool && k->outer_stride == 0)
        k->outer_stride = problem->page_size * k->token_stride;
    uint64_t total = x->view.total_q;
    status = check_reach("index.q", &p->q,
                         total ? (total - 1) * q->token_stride + (p->n_heads - 1) * q->head_stride +
                                     p->head_dim
                               : 0);
    uint64_t n = x->view.pool ? problem->page_size : (uint64_t)problem->cu_kv[problem->n_seqs];
    uint64_t pages = x->view.pool ? problem->n_pool_pages : 1;
    if (status == RAPT_OK && n && pages)
        status =
            check_reach("index.k", &p->k,
                        (pages - 1) * k->outer_stride + (n - 1) * k->token_stride + p->head_dim);
    return status;
}

static void take_all(struct indexer *x)
{
    uint64_t first = x->params.row_first, step = x->params.row_step ? x->params.row_step : 1;
    for (uint32_t b = 0; b < x->view.problem.n_seqs; b++)
        for (uint32_t i = 0; i < rapt_batch_q_len(&x->view.batch, b); i++) {
            uint64_t token = (uint32_t)x->view.problem.cu_q[b] + i;
            if (token >= first && (token - first) % step == 0)
                take_token(x, b, i);
        }
}

static rapt_status run(struct indexer *x, const rapt_problem *problem,
                       const rapt_reference_params *params, const rapt_index_problem *index)
{
    rapt_status status = rapt_view_open(problem, &x->view);
    x->params.struct_size = sizeof x->params;
    if (status == RAPT_OK && params)
        status = rapt_params_read("rapt_reference_params", params, &x->params, sizeof x->params);
    if (status == RAPT_OK)
        status = rapt_params_read("rapt_index_problem", index, &x->index, sizeof x->index);
    if (status == RAPT_OK)
        status = check(x);
    if (status != RAPT_OK)
        return status;
    size_t n = 1;
    for (uint32_t b = 0; b < x->view.problem.n_seqs; b++) {
        uint32_t kv_len = rapt_batch_kv_len(&x->view.batch, b);
        n = kv_len > n ? kv_len : n;
    }
    const rapt_allocator *allocator = x->params.allocator;
    x->scores = rapt_alloc(allocator, n, sizeof *x->scores);
    x->order = rapt_alloc(allocator, n, sizeof *x->order);
    x->chosen = rapt_alloc(allocator, x->top_k, sizeof *x->chosen);
    x->q = rapt_alloc(allocator, (size_t)x->index.n_heads * x->index.head_dim, sizeof *x->q);
    if (x->scores && x->order && x->chosen && x->q)
        take_all(x);
    else
        status = rapt_fail(RAPT_ERROR_HOST_MEMORY, "no memory for the scores of %zu keys", n);
    rapt_free(allocator, x->q);
    rapt_free(allocator, x->chosen);
    rapt_free(allocator, x->order);
    rapt_free(allocator, x->scores);
    return status;
}

rapt_status rapt_reference_indexer(const rapt_problem *problem, const rapt_reference_params *params,
                                   const rapt_index_problem *index, uint32_t top_k,
                                   uint32_t *out_lists)
{
    struct indexer x = {.top_k = top_k, .out_lists = out_lists};
    return run(&x, problem, params, index);
}

rapt_status rapt_reference_indexer_check(const rapt_problem *problem,
                                         const rapt_reference_params *params,
                                         const rapt_index_problem *index, uint32_t top_k,
                                         const uint32_t *lists, rapt_choice_error *out_error)
{
    struct indexer x = {.top_k = top_k, .lists = lists};
    if (!lists || !out_error)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s is NULL", lists ? "out_error" : "lists");
    x.error = (rapt_choice_error){.struct_size = sizeof x.error, .first_wrong = UINT64_MAX};
    rapt_status status = run(&x, problem, params, index);
    if (status != RAPT_OK)
        return status;
    x.error.ok = x.error.n_wrong == 0;
    rapt_params_write(out_error, &x.error, sizeof x.error);
    return RAPT_OK;
}
