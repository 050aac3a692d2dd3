/* SPDX-License-Identifier: Apache-2.0 */

/* K and V of a problem where they are stored: units of their type, quantized rows with their scales,
 * pools in pieces. The reference gets the values that the stored bytes stand for. */

#include "check.h"

#include "kv_format.h"

#include <stdlib.h>
#include <string.h>

static uint32_t dim_of(const struct check_problem *p, enum check_tensor t)
{
    return t == CHECK_K || t == CHECK_Q ? p->c.d : p->c.dv;
}

uint32_t check_unit(rapt_type type)
{
    return rapt_kv_unit(type);
}

uint32_t check_row(const struct check_problem *p, enum check_tensor t)
{
    return rapt_kv_row(p->type[t], dim_of(p, t));
}

/* --------------------------------------------------------------------------------------- pieces */

void check_pieces_fill(struct check_problem *p)
{
    p->pages_per_piece = 1;
    if (p->c.n_segments < 2)
        return;
    while (p->pages_per_piece * p->c.n_segments < p->n_pool)
        p->pages_per_piece *= 2;
    uint32_t least = (p->c.n_segments - 1) * p->pages_per_piece + 1; /* all pieces hold a page */
    p->n_pool = p->n_pool < least ? least : p->n_pool;
}

uint8_t *check_place(const struct check_problem *p, enum check_tensor t, uint64_t element)
{
    const struct check_buffer *memory = &p->memory[p->shares[t]];
    uint32_t unit = check_unit(p->type[t]);
    uint64_t piece = 0;
    if ((t == CHECK_K || t == CHECK_V) && p->c.n_segments > 1) {
        uint64_t units = p->pages_per_piece * p->layout[t].outer_stride;
        piece = element / units;
        element -= piece * units;
    }
    if (piece) {
        const struct check_buffer *own = &p->pieces[t == CHECK_V][piece - 1];
        if (own->buffer)
            return own->map + own->first + element * unit;
        return memory->map + memory->first + piece * p->piece_bytes[t] + element * unit;
    }
    return memory->map + memory->first + (p->element[t] + element) * unit;
}

static uint64_t round_up(uint64_t x, uint64_t to)
{
    return (x + to - 1) / to * to;
}

rapt_status check_pieces_create(rapt_easy *easy, struct check_problem *p)
{
    uint64_t alignment = rapt_device_caps(rapt_easy_device(easy))->storage_buffer_alignment;
    alignment = alignment > 16 ? alignment : 16;
    for (int t = CHECK_K; t <= CHECK_V && p->c.n_segments > 1; t++) {
        uint64_t whole = p->pages_per_piece * p->layout[t].outer_stride * check_unit(p->type[t]);
        p->piece_bytes[t] = round_up(whole, alignment);
        rapt_status status = RAPT_OK;
        if (!p->c.own_buffers) { /* ranges of one buffer */
            check_buffer_destroy(&p->memory[t]);
            status = check_buffer_create(easy, t == CHECK_K ? "k" : "v",
                                         p->c.n_segments * p->piece_bytes[t],
                                         alignment - CHECK_GUARD % alignment, &p->memory[t]);
        }
        for (uint32_t i = 1; status == RAPT_OK && p->c.own_buffers && i < p->c.n_segments; i++)
            status = check_buffer_create(easy, "piece", p->piece_bytes[t],
                                         alignment - CHECK_GUARD % alignment,
                                         &p->pieces[t == CHECK_V][i - 1]);
        if (status != RAPT_OK)
            return status;
    }
    return RAPT_OK;
}

void check_pieces_range(const struct check_problem *p, enum check_tensor t, rapt_buffer *out_ranges)
{
    for (uint32_t i = 1; i < p->c.n_segments; i++) {
        const struct check_buffer *own = &p->pieces[t == CHECK_V][i - 1];
        rapt_buffer range = check_buffer_range(own->buffer ? own : &p->memory[t]);
        if (!own->buffer)
            range.offset += i * p->piece_bytes[t];
        range.size = p->piece_bytes[t];
        out_ranges[i - 1] = range;
    }
}

/* --------------------------------------------------------------------------------------- scales */

static uint32_t scales_of_row(const struct check_problem *p, enum check_tensor t)
{
    return rapt_kv_row_scales(p->kv, dim_of(p, t));
}

static uint32_t scale_bytes(const struct check_problem *p)
{
    return p->scale_type == RAPT_TYPE_F16 ? 2 : 4;
}

/* Element of the first scale of a row. */
static uint64_t scale_element(const struct check_problem *p, enum check_tensor t, int seq,
                              uint32_t token, uint32_t head)
{
    const rapt_layout *l = &p->scale_layout[t == CHECK_V];
    uint64_t at = head * l->head_stride;
    if (p->c.page_size) {
        uint32_t page = p->pages[p->indptr[seq] + token / p->c.page_size];
        return at + page * l->outer_stride + token % p->c.page_size * l->token_stride;
    }
    return at + ((uint64_t)p->cu_kv[seq] + token) * l->token_stride;
}

uint64_t check_scale_offset(const struct check_problem *p, enum check_tensor t, int seq)
{
    return scale_element(p, t, seq, 0, 0);
}

/* Dense; by heads in HND layouts; padded rows where nothing is aligned. */
static void lay_out_scales(struct check_problem *p, enum check_tensor t)
{
    rapt_layout *l = &p->scale_layout[t == CHECK_V];
    uint64_t n = scales_of_row(p, t), heads = p->c.scale_kind == RAPT_SCALE_TOKEN ? 1 : p->c.kv_heads;
    uint64_t tokens = p->c.page_size ? p->c.page_size : (uint64_t)p->cu_kv[p->n_seqs] + 1;
    uint64_t row = p->c.layout == CHECK_PADDED ? n + 1 : n;
    int by_head = p->c.layout == CHECK_HND && p->c.scale_kind != RAPT_SCALE_TOKEN;
    l->token_stride = by_head ? row : heads * row;
    l->head_stride = by_head ? tokens * row : row;
    l->outer_stride = p->c.page_size ? heads * tokens * row : 0;
    if (p->c.scale_kind == RAPT_SCALE_TOKEN)
        l->head_stride = 0;
    if (p->c.scale_kind == RAPT_SCALE_STATIC) {
        l->token_stride = l->outer_stride = 0;
        l->head_stride = p->c.shared_scale ? 0 : 1;
    }
}

static void store_scale(const struct check_problem *p, enum check_tensor t, uint64_t at, float x)
{
    const struct check_buffer *memory = &p->scales[t == CHECK_V];
    uint8_t *base = memory->map + memory->first;
    if (p->scale_type == RAPT_TYPE_F16)
        ((uint16_t *)(void *)base)[at] = rapt_f16_from_f32(x);
    else
        ((float *)(void *)base)[at] = x;
}

static rapt_status create_scales(rapt_easy *easy, struct check_problem *p, enum check_tensor t)
{
    struct check_buffer *memory = &p->scales[t == CHECK_V];
    const rapt_layout *l = &p->scale_layout[t == CHECK_V];
    uint64_t outer = p->c.page_size ? p->n_pool : 1;
    uint64_t tokens = p->c.page_size ? p->c.page_size : (uint64_t)p->cu_kv[p->n_seqs] + 1;
    uint64_t n = (outer - 1) * l->outer_stride + (tokens - 1) * l->token_stride +
                 (p->c.kv_heads - 1) * l->head_stride + scales_of_row(p, t);
    rapt_status status = check_buffer_create(easy, t == CHECK_K ? "k_scale" : "v_scale",
                                             round_up(n * scale_bytes(p), 4), 4, memory);
    if (status != RAPT_OK || p->c.scale_kind != RAPT_SCALE_STATIC)
        return status;
    for (uint32_t h = 0; h < p->c.kv_heads; h++) {
        uint32_t at = p->c.shared_scale ? 0 : h;
        float largest = p->kv == RAPT_TYPE_INT8 ? 127 : 448;
        float x = (3.5f + 0.1f * (float)at) / largest;
        if (p->scale_type == RAPT_TYPE_F16)
            x = rapt_f32_from_f16(rapt_f16_from_f32(x));
        p->static_scale[t == CHECK_V][h] = x;
        store_scale(p, t, at, x);
    }
    return RAPT_OK;
}

/* ----------------------------------------------------------------------------------------- rows */

rapt_status check_stored_create(rapt_easy *easy, struct check_problem *p)
{
    if (!rapt_kv_quantized(p->kv) && p->c.n_segments < 2)
        return RAPT_OK;
    p->scale_type = p->kv == RAPT_TYPE_INT4 ? RAPT_TYPE_F16
                    : p->c.scale_type       ? p->c.scale_type
                                            : RAPT_TYPE_F32;
    for (int t = CHECK_K; t <= CHECK_V; t++) {
        uint64_t n = ((uint64_t)p->cu_kv[p->n_seqs] + 1) * p->c.kv_heads * dim_of(p, t);
        p->plain[t == CHECK_V] = malloc(n * sizeof(float));
        if (!p->plain[t == CHECK_V])
            return RAPT_ERROR_HOST_MEMORY;
        if (!scales_of_row(p, t))
            continue;
        lay_out_scales(p, t);
        rapt_status status = create_scales(easy, p, t);
        if (status != RAPT_OK)
            return status;
    }
    return RAPT_OK;
}

void check_stored_destroy(struct check_problem *p)
{
    for (int i = 0; i < 2; i++) {
        for (int j = 0; j < 3; j++)
            check_buffer_destroy(&p->pieces[i][j]);
        check_buffer_destroy(&p->scales[i]);
        free(p->plain[i]);
    }
}

rapt_status check_stored_token(struct check_problem *p, enum check_tensor t, int seq, uint32_t token,
                               const float *rows)
{
    uint32_t heads = p->c.kv_heads, dim = dim_of(p, t), n = scales_of_row(p, t);
    size_t row = rapt_row_bytes(p->kv, dim);
    uint8_t bytes[8 * 576 * 4], scales[4 * 8 * 18];
    if (heads > 8)
        return RAPT_ERROR_INTERNAL;
    const rapt_quantize_params params = {
        .struct_size = sizeof params,
        .type = p->kv,
        .head_dim = dim,
        .n_heads = heads,
        .scale_type = p->scale_type,
        .scale_kind = p->c.scale_kind,
        .static_scale = p->static_scale[t == CHECK_V],
        .n_static_scale = p->c.scale_kind == RAPT_SCALE_STATIC ? heads : 0,
    };
    uint64_t at = ((uint64_t)p->cu_kv[seq] + token) * heads * dim;
    rapt_status status = rapt_quantize_rows(&params, 1, rows, bytes, scales);
    if (status == RAPT_OK) /* a static scale is not among the scales */
        status = rapt_dequantize_rows(&params, 1, bytes, scales, p->plain[t == CHECK_V] + at);
    for (uint32_t h = 0; status == RAPT_OK && h < heads; h++) {
        memcpy(check_place(p, t, check_element(p, t, seq, token, h)), bytes + h * row, row);
        if (!n || p->c.scale_kind == RAPT_SCALE_STATIC)
            continue;
        uint32_t first = p->c.scale_kind == RAPT_SCALE_TOKEN ? 0 : h * n;
        memcpy(p->scales[t == CHECK_V].map + p->scales[t == CHECK_V].first +
                   scale_element(p, t, seq, token, h) * scale_bytes(p),
               scales + first * scale_bytes(p), (size_t)n * scale_bytes(p));
    }
    return status;
}

rapt_array check_stored_array(const struct check_problem *p, enum check_tensor t)
{
    return (rapt_array){
        .data = p->plain[t == CHECK_V],
        .n_elements = (size_t)p->cu_kv[p->n_seqs] * p->c.kv_heads * dim_of(p, t),
        .type = RAPT_TYPE_F32,
    };
}
