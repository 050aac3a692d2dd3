/* SPDX-License-Identifier: Apache-2.0 */

/* The plan's parameters that say how K/V are stored: type, scales, pieces of the pool. */

#include "kv_format.h"

#include "error.h"

static rapt_status check_rows(const rapt_plan_params *p)
{
    const struct {
        const char *name;
        uint32_t dim;
    } dims[] = {{"head_dim", p->head_dim}, {"head_dim_v", p->head_dim_v}};
    for (int i = 0; i < 2; i++)
        if (rapt_row_bytes(p->kv_type, dims[i].dim) == 0)
            return rapt_fail(RAPT_ERROR_ARGUMENT, "%s is %u: kv_type %s needs a multiple of 32",
                             dims[i].name, dims[i].dim, rapt_type_name(p->kv_type));
    return RAPT_OK;
}

static rapt_status check_kind(rapt_plan_params *p)
{
    const char *type = rapt_type_name(p->kv_type);
    int is_int4 = p->kv_type == RAPT_TYPE_INT4;
    if (p->scale_type == RAPT_TYPE_DEFAULT)
        p->scale_type = is_int4 ? RAPT_TYPE_F16 : RAPT_TYPE_F32;
    if (p->scale_type != RAPT_TYPE_F16 && (is_int4 || p->scale_type != RAPT_TYPE_F32))
        return rapt_fail(RAPT_ERROR_ARGUMENT, "scale_type is %s: scales of %s are %s",
                         rapt_type_name(p->scale_type) ? rapt_type_name(p->scale_type) : "no type",
                         type, is_int4 ? "f16" : "f32 or f16");
    if ((unsigned)p->scale_kind > RAPT_SCALE_STATIC)
        return rapt_fail(RAPT_ERROR_ARGUMENT,
                         "scale_kind is %d: expected RAPT_SCALE_TOKEN_HEAD, TOKEN or STATIC",
                         (int)p->scale_kind);
    if (p->scale_kind == RAPT_SCALE_TOKEN && p->kv_type != RAPT_TYPE_INT8)
        return rapt_fail(RAPT_ERROR_ARGUMENT,
                         "scale_kind is RAPT_SCALE_TOKEN, kv_type %s: one scale per token is for "
                         "int8",
                         type);
    if (p->scale_kind == RAPT_SCALE_STATIC && is_int4)
        return rapt_fail(RAPT_ERROR_ARGUMENT,
                         "scale_kind is RAPT_SCALE_STATIC: int4 has a scale per 32 dims of a row");
    if (p->shared_scale && p->scale_kind != RAPT_SCALE_STATIC)
        return rapt_fail(RAPT_ERROR_ARGUMENT,
                         "shared_scale is set: it goes with RAPT_SCALE_STATIC");
    return RAPT_OK;
}

/* page_size 0: packed or padded tokens */
static rapt_status complete_scales(const char *name, const rapt_plan_params *p, uint32_t dim,
                                   uint32_t page_size, rapt_layout *layout)
{
    uint32_t n = rapt_kv_row_scales(p->kv_type, dim), heads = p->n_kv_heads;
    if (layout->dim_stride > 1)
        return rapt_fail(RAPT_ERROR_ARGUMENT,
                         "%s.dim_stride is %llu: the scales of a row must be contiguous (1)", name,
                         (unsigned long long)layout->dim_stride);
    layout->dim_stride = 1;
    if (!layout->outer_stride && !layout->token_stride && !layout->head_stride) {
        int per_token = p->scale_kind == RAPT_SCALE_TOKEN;
        layout->head_stride = per_token || p->shared_scale ? 0 : n;
        if (p->scale_kind != RAPT_SCALE_STATIC)
            layout->token_stride = per_token ? 1 : (uint64_t)heads * n;
        layout->outer_stride = page_size * layout->token_stride;
    }
    const struct {
        const char *name;
        uint64_t value;
        int none; /* the kind has no such scales */
    } strides[] = {
        {"outer_stride", layout->outer_stride, p->scale_kind == RAPT_SCALE_STATIC},
        {"token_stride", layout->token_stride, p->scale_kind == RAPT_SCALE_STATIC},
        {"head_stride", layout->head_stride, p->scale_kind == RAPT_SCALE_TOKEN || p->shared_scale},
    };
    for (int i = 0; i < 3; i++) {
        if (strides[i].none && strides[i].value)
            return rapt_fail(RAPT_ERROR_ARGUMENT,
                             "%s.%s is %llu: expected 0, the scale is shared there", name,
                             strides[i].name, (unsigned long long)strides[i].value);
        if (strides[i].value && strides[i].value < n)
            return rapt_fail(RAPT_ERROR_SHAPE,
                             "%s.%s is %llu: rows of %u scales would overlap", name,
                             strides[i].name, (unsigned long long)strides[i].value, n);
        if (strides[i].value > UINT32_MAX)
            return rapt_fail(RAPT_ERROR_ARGUMENT, "%s.%s is %llu: strides must stay below 2^32",
                             name, strides[i].name, (unsigned long long)strides[i].value);
    }
    return RAPT_OK;
}

static rapt_status check_scales(rapt_plan_params *p)
{
    uint32_t page = p->flags & RAPT_PLAN_PAGED ? p->page_size : 0;
    if (!rapt_kv_row_scales(p->kv_type, p->head_dim)) {
        const rapt_layout *k = &p->k_scale, *v = &p->v_scale;
        if (p->scale_kind != RAPT_SCALE_TOKEN_HEAD || p->shared_scale || k->outer_stride ||
            k->token_stride || k->head_stride || v->outer_stride || v->token_stride ||
            v->head_stride)
            return rapt_fail(RAPT_ERROR_ARGUMENT,
                             "scale_kind, shared_scale, k_scale or v_scale is set: %s K/V have no "
                             "scales of their own",
                             rapt_type_name(p->kv_type));
        return RAPT_OK;
    }
    rapt_status status = check_kind(p);
    if (status == RAPT_OK)
        status = complete_scales("k_scale", p, p->head_dim, page, &p->k_scale);
    if (status == RAPT_OK)
        status = complete_scales("v_scale", p, p->head_dim_v, page, &p->v_scale);
    return status;
}

static rapt_status check_segments(rapt_plan_params *p)
{
    if (p->n_kv_segments <= 1) {
        p->n_kv_segments = 1;
        return RAPT_OK;
    }
    if (p->n_kv_segments > 4)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "n_kv_segments is %u: at most 4", p->n_kv_segments);
    if (!(p->flags & RAPT_PLAN_PAGED))
        return rapt_fail(RAPT_ERROR_ARGUMENT, "n_kv_segments is %u without RAPT_PLAN_PAGED",
                         p->n_kv_segments);
    if (p->pages_per_segment == 0 || (p->pages_per_segment & (p->pages_per_segment - 1)) != 0)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "pages_per_segment is %u: expected a power of two",
                         p->pages_per_segment);
    return RAPT_OK;
}

rapt_status rapt_kv_params_check(rapt_plan_params *p)
{
    rapt_status status = check_rows(p);
    if (status == RAPT_OK)
        status = check_scales(p);
    if (status == RAPT_OK)
        status = check_segments(p);
    if (status == RAPT_OK && (unsigned)p->integer_dot > RAPT_CHOICE_ALWAYS)
        status = rapt_fail(RAPT_ERROR_ARGUMENT, "integer_dot is %d: not one of RAPT_CHOICE_*",
                           (int)p->integer_dot);
    return status;
}
