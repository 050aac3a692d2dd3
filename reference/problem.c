/* SPDX-License-Identifier: Apache-2.0 */
/* Checks of a problem, once and for everybody, and the view the reference works on. */
#include "view.h"

#include "checked.h"
#include "convert.h"
#include "error.h"
#include "layout.h"

#include <math.h>
#include <string.h>

static int is_float_type(rapt_type type)
{
    return type == RAPT_TYPE_F32 || type == RAPT_TYPE_F16 || type == RAPT_TYPE_BF16;
}

static rapt_status check_type(const char *name, rapt_type type)
{
    if (is_float_type(type))
        return RAPT_OK;
    if (rapt_type_name(type))
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s is %s: expected f32, f16 or bf16", name,
                         rapt_type_name(type));
    return rapt_fail(RAPT_ERROR_ARGUMENT, "%s is %d: expected f32, f16 or bf16", name, (int)type);
}

static rapt_status check_kv_type(rapt_type type)
{
    if (rapt_type_name(type))
        return RAPT_OK;
    return rapt_fail(RAPT_ERROR_ARGUMENT, "kv_type is %d: no such type", (int)type);
}

static rapt_status check_dim(const char *name, uint32_t dim)
{
    if (dim < 8 || dim > 576 || dim % 8 != 0)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s is %u: expected a multiple of 8 from 8 to 576",
                         name, dim);
    return RAPT_OK;
}

static rapt_status check_shape(rapt_problem *p)
{
    if (p->n_q_heads == 0 || p->n_q_heads > 65535)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "n_q_heads is %u: expected 1 to 65535", p->n_q_heads);
    if (p->n_kv_heads == 0 || p->n_q_heads % p->n_kv_heads != 0)
        return rapt_fail(RAPT_ERROR_SHAPE,
                         "n_kv_heads is %u: it must divide n_q_heads, which is %u", p->n_kv_heads,
                         p->n_q_heads);
    if (p->head_dim_v == 0)
        p->head_dim_v = p->head_dim;
    rapt_status status = check_dim("head_dim", p->head_dim);
    return status != RAPT_OK ? status : check_dim("head_dim_v", p->head_dim_v);
}

static rapt_status check_finite(const char *name, float value)
{
    return isfinite(value)
               ? RAPT_OK
               : rapt_fail(RAPT_ERROR_ARGUMENT, "%s is %g: it must be finite", name, (double)value);
}

static rapt_status check_numbers(const rapt_problem *p)
{
    rapt_status status = check_finite("scale", p->scale);
    if (status == RAPT_OK)
        status = check_finite("softcap", p->softcap);
    if (status == RAPT_OK && p->softcap < 0)
        status = rapt_fail(RAPT_ERROR_ARGUMENT, "softcap is %g: it must not be negative",
                           (double)p->softcap);
    if (status == RAPT_OK && p->use_max_logit_const)
        status = check_finite("max_logit_const", p->max_logit_const);
    for (uint32_t h = 0; status == RAPT_OK && p->slopes && h < p->n_q_heads; h++)
        if (!isfinite(p->slopes[h]))
            status = rapt_fail(RAPT_ERROR_ARGUMENT, "slopes[%u] is %g: it must be finite", h,
                               (double)p->slopes[h]);
    for (uint32_t h = 0; status == RAPT_OK && p->sinks && h < p->n_q_heads; h++)
        if (isnan(p->sinks[h]) || p->sinks[h] == INFINITY)
            status = rapt_fail(RAPT_ERROR_ARGUMENT, "sinks[%u] is %g: finite, or -inf for none", h,
                               (double)p->sinks[h]);
    return status;
}

static rapt_status check_layout(const char *name, const rapt_array *array, rapt_type stored)
{
    const rapt_layout *l = &array->layout;
    if (l->dim_stride > 1)
        return rapt_fail(RAPT_ERROR_UNSUPPORTED,
                         "%s.layout.dim_stride is %llu: the head dim must be contiguous", name,
                         (unsigned long long)l->dim_stride);
    if (stored != RAPT_TYPE_F32 && ((l->token_stride | l->head_stride | l->outer_stride) & 1))
        return rapt_fail(RAPT_ERROR_ARGUMENT,
                         "%s.layout has an odd stride (outer %llu, token %llu, head %llu): 16-bit "
                         "tensors need even strides",
                         name, (unsigned long long)l->outer_stride,
                         (unsigned long long)l->token_stride, (unsigned long long)l->head_stride);
    return RAPT_OK;
}

/* The last element the lengths reach lies within the array. */
static rapt_status check_extent(const char *name, const rapt_array *array, uint64_t needed)
{
    if (needed > 0 && !array->data)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s.data is NULL", name);
    if (needed > INT64_MAX)
        return rapt_fail(RAPT_ERROR_SHAPE,
                         "%s has %llu elements: its lengths and strides reach past element 2^63",
                         name, (unsigned long long)array->n_elements);
    if (needed > array->n_elements)
        return rapt_fail(RAPT_ERROR_SHAPE,
                         "%s has %llu elements: its lengths and strides reach to element %llu",
                         name, (unsigned long long)array->n_elements, (unsigned long long)needed);
    return RAPT_OK;
}

static uint64_t extent(const rapt_layout *l, uint64_t outer, uint64_t n_tokens, uint32_t n_heads,
                       uint32_t dim)
{
    if (n_tokens == 0)
        return 0;
    uint64_t last = rapt_mul_sat(outer, l->outer_stride);
    last = rapt_add_sat(last, rapt_mul_sat(n_tokens - 1, l->token_stride));
    last = rapt_add_sat(last, rapt_mul_sat(n_heads - 1, l->head_stride));
    return rapt_add_sat(last, dim);
}

static uint64_t extent_of_cu(const rapt_layout *l, const int32_t *cu, uint32_t n_seqs,
                             uint32_t n_heads, uint32_t dim)
{
    if (l->outer_stride == 0)
        return extent(l, 0, (uint64_t)cu[n_seqs], n_heads, dim);
    uint64_t most = 0;
    for (uint32_t b = 0; b < n_seqs; b++) {
        uint64_t end = extent(l, b, (uint64_t)(cu[b + 1] - cu[b]), n_heads, dim);
        most = end > most ? end : most;
    }
    return most;
}

static rapt_status check_tensor(struct view *view, const char *name, rapt_array *array,
                                rapt_type *stored, uint32_t n_heads, uint32_t dim, int is_kv)
{
    if (array->type == RAPT_TYPE_DEFAULT)
        array->type = RAPT_TYPE_F32;
    if (*stored == RAPT_TYPE_DEFAULT)
        *stored = array->type;
    char what[32] = "";
    strcat(strcpy(what, name), ".type");
    rapt_status status = check_type(what, array->type);
    if (status == RAPT_OK)
        status = is_kv ? check_kv_type(*stored) : check_type("q_type", *stored);
    if (status == RAPT_OK)
        status = check_layout(name, array, array->type);
    if (status != RAPT_OK)
        return status;
    const rapt_problem *p = &view->problem;
    int pool = is_kv && view->pool;
    rapt_layout_fill(&array->layout, n_heads, dim, pool ? p->page_size : 0);
    uint64_t needed;
    if (!pool)
        needed = extent_of_cu(&array->layout, is_kv ? p->cu_kv : p->cu_q, p->n_seqs, n_heads, dim);
    else
        needed = p->n_pool_pages
                     ? extent(&array->layout, p->n_pool_pages - 1, p->page_size, n_heads, dim)
                     : 0;
    return check_extent(name, array, needed);
}

static rapt_status check_bias(struct view *view)
{
    rapt_problem *p = &view->problem;
    rapt_array *bias = &p->bias;
    if (!bias->data)
        return RAPT_OK;
    if (bias->type == RAPT_TYPE_DEFAULT)
        bias->type = RAPT_TYPE_F32;
    if (bias->type != RAPT_TYPE_F32 && bias->type != RAPT_TYPE_F16)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "bias.type is %d: expected f32 or f16",
                         (int)bias->type);
    if (bias->layout.dim_stride > 1)
        return rapt_fail(RAPT_ERROR_UNSUPPORTED,
                         "bias.layout.dim_stride is %llu: keys of a row "
                         "must be contiguous",
                         (unsigned long long)bias->layout.dim_stride);
    for (uint32_t b = 0; b < p->n_seqs; b++) {
        uint64_t q_len = rapt_batch_q_len(&view->batch, b);
        uint64_t kv_len = rapt_batch_kv_len(&view->batch, b);
        if (q_len == 0 || kv_len == 0)
            continue;
        uint64_t row = bias->layout.token_stride ? bias->layout.token_stride : kv_len;
        uint64_t base =
            p->bias_offsets ? p->bias_offsets[b] : rapt_mul_sat(b, bias->layout.outer_stride);
        uint64_t end = rapt_add_sat(base, rapt_mul_sat(p->n_q_heads - 1, bias->layout.head_stride));
        end = rapt_add_sat(end, rapt_mul_sat(q_len - 1, row));
        rapt_status status = check_extent("bias", bias, rapt_add_sat(end, kv_len));
        if (status != RAPT_OK)
            return status;
    }
    return RAPT_OK;
}

static void fill_batch(struct view *view)
{
    const rapt_problem *p = &view->problem;
    view->pool = p->page_indptr || p->page_indices || p->last_page_len;
    view->batch = (struct rapt_batch){.n_seqs = p->n_seqs,
                                      .cu_q = p->cu_q,
                                      .cu_kv = p->cu_kv,
                                      .page_size = view->pool ? p->page_size : 0,
                                      .page_indptr = p->page_indptr,
                                      .page_indices = p->page_indices,
                                      .last_page_len = p->last_page_len,
                                      .n_pool_pages = p->n_pool_pages,
                                      .q_pos0 = p->q_pos0,
                                      .q_pos = p->q_pos,
                                      .kv_pos0 = p->kv_pos0,
                                      .mask = p->mask,
                                      .any_mask = 1};
}

/* Kernels count rows in 31 bits. */
static rapt_status check_rows(const rapt_problem *p)
{
    int32_t total_q = p->cu_q[p->n_seqs];
    if ((uint64_t)total_q * p->n_q_heads >= 1u << 31)
        return rapt_fail(RAPT_ERROR_ARGUMENT,
                         "cu_q[%u] is %d: with %u query heads that is 2^31 rows or more", p->n_seqs,
                         total_q, p->n_q_heads);
    return RAPT_OK;
}

static rapt_status check_page_size(const struct view *view)
{
    uint32_t size = view->problem.page_size;
    if (view->pool && size == 0)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "page_size is 0: block tables need it");
    if (size > 256 || (size & (size - 1)) != 0)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "page_size is %u: a power of two from 1 to 256",
                         size);
    return RAPT_OK;
}

rapt_status rapt_view_open(const rapt_problem *problem, struct view *out_view)
{
    struct view *view = out_view;
    memset(view, 0, sizeof *view);
    rapt_problem *p = &view->problem;
    rapt_status status = rapt_params_read("rapt_problem", problem, p, sizeof *p);
    if (status == RAPT_OK)
        status = check_shape(p);
    if (status == RAPT_OK)
        status = check_numbers(p);
    if (status != RAPT_OK)
        return status;
    fill_batch(view);
    status = check_page_size(view);
    if (status == RAPT_OK)
        status = rapt_batch_check(&view->batch);
    if (status == RAPT_OK)
        status = rapt_view_check_masks(view);
    if (status == RAPT_OK)
        status = check_rows(p);
    if (status == RAPT_OK)
        status = check_tensor(view, "q", &p->q, &p->q_type, p->n_q_heads, p->head_dim, 0);
    if (status == RAPT_OK)
        status = check_tensor(view, "k", &p->k, &p->kv_type, p->n_kv_heads, p->head_dim, 1);
    if (status == RAPT_OK)
        status = check_tensor(view, "v", &p->v, &p->kv_type, p->n_kv_heads, p->head_dim_v, 1);
    if (status == RAPT_OK)
        status = check_bias(view);
    if (status == RAPT_OK)
        status = rapt_view_check_quantized(view);
    if (status == RAPT_OK)
        status = rapt_view_check_rope(view);
    if (p->out_type == RAPT_TYPE_DEFAULT)
        p->out_type = RAPT_TYPE_F32;
    if (status == RAPT_OK)
        status = check_type("out_type", p->out_type);
    if (status != RAPT_OK)
        return status;
    view->scale = p->scale != 0 ? (double)p->scale : 1 / sqrt((double)p->head_dim);
    view->group = p->n_q_heads / p->n_kv_heads;
    view->total_q = (uint32_t)p->cu_q[p->n_seqs];
    return RAPT_OK;
}

rapt_status rapt_problem_check(const rapt_problem *problem)
{
    struct view view;
    return rapt_view_open(problem, &view);
}

uint64_t rapt_problem_total_q(const rapt_problem *problem)
{
    struct view view;
    return rapt_view_open(problem, &view) == RAPT_OK ? view.total_q : 0;
}

uint64_t rapt_view_q_index(const struct view *view, uint32_t b, uint32_t i, uint32_t head)
{
    const rapt_layout *l = &view->problem.q.layout;
    uint64_t base =
        l->outer_stride ? b * l->outer_stride : (uint64_t)view->problem.cu_q[b] * l->token_stride;
    return base + i * l->token_stride + head * l->head_stride;
}

uint64_t rapt_view_kv_index(const struct view *view, const rapt_layout *l, uint32_t b, uint32_t j,
                            uint32_t head)
{
    const rapt_problem *p = &view->problem;
    uint64_t base;
    if (view->pool) {
        uint32_t page = p->page_indices[p->page_indptr[b] + j / p->page_size];
        base = page * l->outer_stride;
        j %= p->page_size;
    } else {
        base = l->outer_stride ? b * l->outer_stride : (uint64_t)p->cu_kv[b] * l->token_stride;
    }
    return base + j * l->token_stride + head * l->head_stride;
}

void rapt_view_load_row(const rapt_array *array, rapt_type stored, uint64_t index, uint32_t dim,
                        float *out_row)
{
    rapt_load_row(array->data, array->type, index, dim, out_row);
    for (uint32_t d = 0; stored != array->type && d < dim; d++)
        out_row[d] = rapt_round_to(stored, out_row[d]);
}

float rapt_view_bias(const struct view *view, uint32_t b, uint32_t head, uint32_t i, uint32_t j)
{
    const rapt_problem *p = &view->problem;
    const rapt_layout *l = &p->bias.layout;
    uint64_t row = l->token_stride ? l->token_stride : rapt_batch_kv_len(&view->batch, b);
    uint64_t base = p->bias_offsets ? p->bias_offsets[b] : b * l->outer_stride;
    return rapt_load(p->bias.data, p->bias.type, base + head * l->head_stride + i * row + j);
}
