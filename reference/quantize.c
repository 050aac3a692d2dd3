/* SPDX-License-Identifier: Apache-2.0 */
/* The public edge of quantized rows: checks, and which scale belongs to which row. */
#include "quantized.h"

#include "convert.h"
#include "error.h"
#include "row_codec.h"

#include <math.h>

int rapt_type_has_scales(rapt_type type)
{
    return type == RAPT_TYPE_INT8 || type == RAPT_TYPE_FP8_E4M3;
}

rapt_status rapt_static_scales_check(const char *name, const float *scales, uint32_t n,
                                     uint32_t n_heads, rapt_type scale_type)
{
    if (!scales)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s is NULL: static scales need it", name);
    if (n != 1 && n != n_heads)
        return rapt_fail(RAPT_ERROR_SHAPE, "n_%s is %u: expected 1 or one per head, %u", name, n,
                         n_heads);
    for (uint32_t h = 0; h < n; h++) {
        float stored = rapt_round_to(scale_type, scales[h]);
        if (!(stored >= 0x1p-126f) || !isfinite(stored))
            return rapt_fail(RAPT_ERROR_ARGUMENT,
                             "%s[%u] is %g: expected a finite number above 0 that %s can hold",
                             name, h, (double)scales[h], rapt_type_name(scale_type));
    }
    return RAPT_OK;
}

rapt_status rapt_scales_check(rapt_type type, rapt_type *scale_type, rapt_scale_kind kind)
{
    if (*scale_type == RAPT_TYPE_DEFAULT)
        *scale_type = RAPT_TYPE_F32;
    if (*scale_type != RAPT_TYPE_F32 && *scale_type != RAPT_TYPE_F16)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "scale_type is %d: expected f32 or f16",
                         (int)*scale_type);
    if ((unsigned)kind > RAPT_SCALE_STATIC)
        return rapt_fail(RAPT_ERROR_ARGUMENT,
                         "scale_kind is %d: expected RAPT_SCALE_TOKEN_HEAD, TOKEN or STATIC",
                         (int)kind);
    if (kind == RAPT_SCALE_TOKEN && type != RAPT_TYPE_INT8)
        return rapt_fail(RAPT_ERROR_ARGUMENT,
                         "scale_kind is RAPT_SCALE_TOKEN, the type %s: one scale per token is "
                         "for int8",
                         rapt_type_name(type));
    if (kind == RAPT_SCALE_STATIC && !rapt_type_has_scales(type))
        return rapt_fail(RAPT_ERROR_ARGUMENT,
                         "scale_kind is RAPT_SCALE_STATIC, the type %s: static scales are for int8 "
                         "and fp8_e4m3",
                         rapt_type_name(type));
    return RAPT_OK;
}

static rapt_status read_params(const rapt_quantize_params *caller, rapt_quantize_params *out_params)
{
    rapt_quantize_params *p = out_params;
    rapt_status status = rapt_params_read("rapt_quantize_params", caller, p, sizeof *p);
    if (status != RAPT_OK)
        return status;
    if (!rapt_type_name(p->type))
        return rapt_fail(RAPT_ERROR_ARGUMENT, "type is %d: no such type", (int)p->type);
    if (rapt_row_bytes(p->type, p->head_dim) == 0)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "head_dim is %u: expected %s for %s", p->head_dim,
                         p->head_dim ? "a multiple of 32" : "1 or more", rapt_type_name(p->type));
    if (p->n_heads == 0)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "n_heads is 0: expected 1 or more");
    status = rapt_scales_check(p->type, &p->scale_type, p->scale_kind);
    if (status == RAPT_OK && p->scale_kind == RAPT_SCALE_STATIC)
        status = rapt_static_scales_check("static_scale", p->static_scale, p->n_static_scale,
                                          p->n_heads, p->scale_type);
    return status;
}

static size_t n_scales(const rapt_quantize_params *p)
{
    if (p->type == RAPT_TYPE_INT4)
        return (size_t)p->n_heads * (p->head_dim / RAPT_QUANT_GROUP);
    if (!rapt_type_has_scales(p->type) || p->scale_kind == RAPT_SCALE_STATIC)
        return 0;
    return p->scale_kind == RAPT_SCALE_TOKEN ? 1 : p->n_heads;
}

size_t rapt_quantize_n_scales(const rapt_quantize_params *params)
{
    rapt_quantize_params p;
    return read_params(params, &p) == RAPT_OK ? n_scales(&p) : 0;
}

static float static_scale(const rapt_quantize_params *p, uint32_t head)
{
    return rapt_round_to(p->scale_type, p->static_scale[p->n_static_scale == 1 ? 0 : head]);
}

/* Quantizes the heads of one token. */
static void quantize_token(const rapt_quantize_params *p, const float *heads, uint8_t *out_row,
                           void *out_scales, size_t first_scale)
{
    size_t row_bytes = rapt_row_bytes(p->type, p->head_dim);
    uint32_t n_groups = p->head_dim / RAPT_QUANT_GROUP;
    int scaled = rapt_type_has_scales(p->type);
    float scale = 0;
    if (scaled && p->scale_kind == RAPT_SCALE_TOKEN) {
        scale = rapt_quant_scale(p->type, p->scale_type,
                                 rapt_quant_absmax(heads, p->n_heads * p->head_dim));
        rapt_store(out_scales, p->scale_type, first_scale, scale);
    }
    for (uint32_t h = 0; h < p->n_heads; h++) {
        const float *row = heads + (size_t)h * p->head_dim;
        uint16_t *groups = p->type == RAPT_TYPE_INT4
                               ? (uint16_t *)out_scales + first_scale + (size_t)h * n_groups
                               : NULL;
        if (scaled && p->scale_kind == RAPT_SCALE_STATIC)
            scale = static_scale(p, h);
        if (scaled && p->scale_kind == RAPT_SCALE_TOKEN_HEAD) {
            scale = rapt_quant_scale(p->type, p->scale_type, rapt_quant_absmax(row, p->head_dim));
            rapt_store(out_scales, p->scale_type, first_scale + h, scale);
        }
        rapt_quant_encode_row(p->type, p->head_dim, row, scale, out_row + h * row_bytes, groups);
    }
}

static rapt_status check_memory(const rapt_quantize_params *p, size_t n_rows, const void *from,
                                const char *from_name, const void *to, const char *to_name,
                                const void *scales, const char *scales_name)
{
    if (n_rows == 0)
        return RAPT_OK;
    if (!from || !to)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s is NULL", from ? to_name : from_name);
    if (!scales && n_scales(p) > 0)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s is NULL: %s has %zu scales per row", scales_name,
                         rapt_type_name(p->type), n_scales(p));
    return RAPT_OK;
}

rapt_status rapt_quantize_rows(const rapt_quantize_params *params, size_t n_rows, const float *rows,
                               void *out_rows, void *out_scales)
{
    rapt_quantize_params p;
    rapt_status status = read_params(params, &p);
    if (status == RAPT_OK)
        status =
            check_memory(&p, n_rows, rows, "rows", out_rows, "out_rows", out_scales, "out_scales");
    if (status != RAPT_OK)
        return status;
    size_t token_bytes = p.n_heads * rapt_row_bytes(p.type, p.head_dim), per_token = n_scales(&p);
    for (size_t i = 0; i < n_rows; i++)
        quantize_token(&p, rows + i * p.n_heads * p.head_dim, (uint8_t *)out_rows + i * token_bytes,
                       out_scales, i * per_token);
    return RAPT_OK;
}

rapt_status rapt_dequantize_rows(const rapt_quantize_params *params, size_t n_rows,
                                 const void *rows, const void *scales, float *out_rows)
{
    rapt_quantize_params p;
    rapt_status status = read_params(params, &p);
    if (status == RAPT_OK)
        status = check_memory(&p, n_rows, rows, "rows", out_rows, "out_rows", scales, "scales");
    if (status != RAPT_OK)
        return status;
    size_t row_bytes = rapt_row_bytes(p.type, p.head_dim), per_token = n_scales(&p);
    uint32_t n_groups = p.head_dim / RAPT_QUANT_GROUP;
    for (size_t i = 0; i < n_rows; i++)
        for (uint32_t h = 0; h < p.n_heads; h++) {
            size_t at = i * p.n_heads + h;
            float scale = 0;
            if (rapt_type_has_scales(p.type))
                scale =
                    p.scale_kind == RAPT_SCALE_STATIC
                        ? static_scale(&p, h)
                        : rapt_load(scales, p.scale_type, i * per_token + (per_token > 1 ? h : 0));
            const uint16_t *groups =
                p.type == RAPT_TYPE_INT4 ? (const uint16_t *)scales + at * n_groups : NULL;
            rapt_quant_decode_row(p.type, p.head_dim, (const uint8_t *)rows + at * row_bytes, scale,
                                  groups, out_rows + at * p.head_dim);
        }
    return RAPT_OK;
}
