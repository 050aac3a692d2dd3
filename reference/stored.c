/* SPDX-License-Identifier: Apache-2.0 */
/* K and V as the device stores them, where that takes more than rounding one element: rotated as
 * kv_append rotates, quantized and read back. */
#include "block.h"
#include "convert.h"
#include "error.h"
#include "view.h"

#include <math.h>

#define CHUNK 64 /* tokens handled at once */

#define TWO_PI 6.283185307179586476925286766559005768L

/* One tensor on its way. */
struct storing {
    const struct view *view;
    const rapt_array *from;
    rapt_quantize_params params;
    uint32_t n_heads, dim;
    int rotate;
    uint64_t n_tokens; /* of the pool, or packed */
    uint32_t b;        /* the sequence of the token at hand, packed */
    int32_t *positions;
    float *values; /* of a chunk */
    void *rows, *scales;
};

/* Element index of head 0 of token t, and the position of its key. */
static uint64_t token_index(struct storing *s, uint64_t t, int32_t *out_position)
{
    const rapt_problem *p = &s->view->problem;
    const rapt_layout *l = &s->from->layout;
    *out_position = 0;
    if (s->view->pool)
        return t / p->page_size * l->outer_stride + t % p->page_size * l->token_stride;
    while ((uint64_t)p->cu_kv[s->b + 1] <= t)
        s->b++;
    uint64_t j = t - (uint64_t)p->cu_kv[s->b];
    if (s->rotate)
        *out_position = rapt_view_k_rope_pos(s->view, s->b, (uint32_t)j);
    return l->outer_stride ? s->b * l->outer_stride + j * l->token_stride : t * l->token_stride;
}

static rapt_status store_chunk(struct storing *s, uint64_t first, uint32_t n, float *out)
{
    const rapt_problem *p = &s->view->problem;
    uint64_t per_token = (uint64_t)s->n_heads * s->dim;
    rapt_status status = RAPT_OK;
    for (uint32_t i = 0; i < n; i++) {
        int32_t position;
        uint64_t index = token_index(s, first + i, &position);
        for (uint32_t h = 0; h < s->n_heads; h++) {
            rapt_load_row(s->from->data, s->from->type, index + h * s->from->layout.head_stride,
                          s->dim, s->values + i * per_token + (uint64_t)h * s->dim);
            s->positions[i * s->n_heads + h] = position;
        }
    }
    if (s->rotate)
        status = rapt_rope_apply(&s->view->rope, s->dim, n * s->n_heads, s->positions, s->values,
                                 s->values);
    if (status == RAPT_OK && s->view->quantized) {
        status = rapt_quantize_rows(&s->params, n, s->values, s->rows, s->scales);
        return status != RAPT_OK ? status
                                 : rapt_dequantize_rows(&s->params, n, s->rows, s->scales, out);
    }
    for (uint64_t i = 0; i < n * per_token; i++)
        out[i] = rapt_round_to(p->kv_type, s->values[i]);
    return status;
}

static rapt_status store_all(struct storing *s, const rapt_allocator *allocator, float *out)
{
    size_t per_token = (size_t)s->n_heads * s->dim;
    s->positions = rapt_alloc(allocator, (size_t)CHUNK * s->n_heads, sizeof *s->positions);
    s->values = rapt_alloc(allocator, CHUNK * per_token, sizeof *s->values);
    s->rows = rapt_alloc(allocator, CHUNK * per_token, 4);
    s->scales = rapt_alloc(allocator, (size_t)CHUNK * s->n_heads * (s->dim / 32 + 1), 4);
    rapt_status status = RAPT_OK;
    if (!s->positions || !s->values || !s->rows || !s->scales)
        status = rapt_fail(RAPT_ERROR_HOST_MEMORY, "no memory for rows that are stored");
    for (uint64_t t = 0; status == RAPT_OK && t < s->n_tokens; t += CHUNK) {
        uint32_t n = s->n_tokens - t < CHUNK ? (uint32_t)(s->n_tokens - t) : CHUNK;
        status = store_chunk(s, t, n, out + t * per_token);
    }
    rapt_free(allocator, s->scales);
    rapt_free(allocator, s->rows);
    rapt_free(allocator, s->values);
    rapt_free(allocator, s->positions);
    return status;
}

/* Replaces a tensor of the view by what is stored of it, dense f32. */
static rapt_status store_tensor(struct view *view, rapt_array *array, uint32_t dim, int is_k,
                                const rapt_allocator *allocator, float **out_memory)
{
    const rapt_problem *p = &view->problem;
    struct storing s = {.view = view,
                        .from = array,
                        .n_heads = p->n_kv_heads,
                        .dim = dim,
                        .rotate = is_k && !view->pool && view->rope.pairing != RAPT_ROPE_NONE,
                        .n_tokens = view->pool ? (uint64_t)p->n_pool_pages * p->page_size
                                               : (uint64_t)p->cu_kv[p->n_seqs]};
    if (!s.rotate && !view->quantized)
        return RAPT_OK;
    s.params = (rapt_quantize_params){.struct_size = sizeof s.params,
                                      .type = p->kv_type,
                                      .head_dim = dim,
                                      .n_heads = p->n_kv_heads,
                                      .scale_type = p->scale_type,
                                      .scale_kind = p->scale_kind,
                                      .static_scale = is_k ? p->k_scale : p->v_scale,
                                      .n_static_scale = is_k ? p->n_k_scale : p->n_v_scale};
    uint64_t row = (uint64_t)s.n_heads * dim;
    if (s.n_tokens <= SIZE_MAX / sizeof(float) / row)
        *out_memory = rapt_alloc(allocator, (size_t)(s.n_tokens * row), sizeof **out_memory);
    if (!*out_memory)
        return rapt_fail(RAPT_ERROR_HOST_MEMORY, "no memory for %llu stored tokens",
                         (unsigned long long)s.n_tokens);
    rapt_status status = store_all(&s, allocator, *out_memory);
    *array = (rapt_array){
        .data = *out_memory,
        .n_elements = (size_t)(s.n_tokens * row),
        .type = RAPT_TYPE_F32,
        .layout = {.token_stride = row,
                   .head_stride = dim,
                   .outer_stride = view->pool ? p->page_size * row : 0},
    };
    return status;
}

rapt_status rapt_view_store(struct view *view, const rapt_allocator *allocator)
{
    rapt_problem *p = &view->problem;
    rapt_status status = store_tensor(view, &p->k, p->head_dim, 1, allocator, &view->k_stored);
    if (status == RAPT_OK)
        status = store_tensor(view, &p->v, p->head_dim_v, 0, allocator, &view->v_stored);
    if (status == RAPT_OK)
        status = rapt_view_store_masks(view, allocator);
    if (status != RAPT_OK)
        rapt_view_finish(view, allocator);
    else if (view->quantized)
        p->kv_type = RAPT_TYPE_F32;
    return status;
}

void rapt_view_finish(struct view *view, const rapt_allocator *allocator)
{
    rapt_free(allocator, view->k_stored);
    rapt_free(allocator, view->v_stored);
    rapt_free(allocator, view->kv_first);
    view->k_stored = view->v_stored = NULL;
    view->kv_first = NULL;
}

/* ------------------------------------------------------------------------------------- queries */

void rapt_view_fill_frequencies(struct view *view)
{
    const rapt_rope *rope = &view->rope;
    for (uint32_t i = 0; i < rope->rotary_dim / 2; i++) {
        view->frequencies[i] = powl((long double)rope->theta, -2.0L * i / rope->rotary_dim);
        if (rope->frequency_scale)
            view->frequencies[i] *= (long double)rope->frequency_scale[i];
    }
}

static void rotate_exactly(const rapt_rope *rope, const long double *frequencies, int32_t position,
                           double *row)
{
    uint32_t half = rope->rotary_dim / 2;
    int neox = rope->pairing == RAPT_ROPE_NEOX;
    for (uint32_t i = 0; i < half; i++) {
        double c, s;
        if (rope->table) {
            const float *table = rope->table + (size_t)position * rope->rotary_dim;
            c = (double)table[i];
            s = (double)table[half + i];
        } else {
            double angle = (double)fmodl(position * frequencies[i], TWO_PI);
            c = cos(angle) * (double)rope->attention_factor;
            s = sin(angle) * (double)rope->attention_factor;
        }
        double *x0 = row + rope->rotary_offset + (neox ? i : 2 * i);
        double *x1 = x0 + (neox ? half : 1);
        double y0 = *x0 * c - *x1 * s, y1 = *x1 * c + *x0 * s;
        *x0 = y0;
        *x1 = y1;
    }
}

void rapt_view_load_q(const struct view *view, uint32_t b, uint32_t i, uint32_t head, double *out)
{
    const rapt_problem *p = &view->problem;
    float row[RAPT_MAX_DIM];
    rapt_view_load_row(&p->q, p->q_type, rapt_view_q_index(view, b, i, head), p->head_dim, row);
    for (uint32_t d = 0; d < p->head_dim; d++)
        out[d] = (double)row[d];
    if (view->rope.pairing != RAPT_ROPE_NONE)
        rotate_exactly(&view->rope, view->frequencies, rapt_view_q_rope_pos(view, b, i), out);
}
