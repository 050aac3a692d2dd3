/* SPDX-License-Identifier: Apache-2.0 */
#include "random_problem.h"

#include "convert.h"
#include "random.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef float tokens[MAX_LEN][MAX_HEADS][MAX_DIM];

static int one_in(uint64_t *seed, uint32_t n)
{
    return random_below(seed, n) == 0;
}

static void *allocate(size_t n, size_t size)
{
    void *memory = calloc(n ? n : 1, size);
    if (!memory)
        abort();
    return memory;
}

/* Strides of a storage whose longest sequence has `longest` tokens. */
static rapt_layout layout_of(enum random_storage storage, uint64_t longest, uint64_t n_heads,
                             uint64_t dim)
{
    switch (storage) {
    case STORAGE_PADDED:
        return (rapt_layout){(longest + 3) * n_heads * (dim + 8), n_heads * (dim + 8), dim + 8, 1};
    case STORAGE_HEADS_FIRST:
        return (rapt_layout){(longest + 1) * n_heads * dim, dim, (longest + 1) * dim, 1};
    case STORAGE_FUSED:
        return (rapt_layout){0, (n_heads + 2) * dim, dim, 0};
    case STORAGE_PAGES_HND: /* longest = page_size */
        return (rapt_layout){longest * n_heads * dim, dim, longest * dim, 0};
    default:
        return (rapt_layout){0};
    }
}

/* Stores logical values; what no token covers holds NaN, so that reading it shows. */
static void store(struct random_problem *r, rapt_array *array, enum random_storage storage,
                  const tokens *values, const uint32_t *len, const int32_t *cu, uint32_t n_heads,
                  uint32_t dim, void **out_memory)
{
    const rapt_problem *p = &r->problem;
    int pages = storage == STORAGE_PAGES || storage == STORAGE_PAGES_HND;
    uint32_t longest = pages ? p->page_size : 0;
    for (uint32_t b = 0; b < p->n_seqs && !pages; b++)
        longest = len[b] > longest ? len[b] : longest;
    array->layout = layout_of(storage, longest, n_heads, dim);
    rapt_layout l = array->layout;
    if (l.token_stride == 0) {
        l = (rapt_layout){0, (uint64_t)n_heads * dim, dim, 1};
        if (pages)
            l.outer_stride = p->page_size * l.token_stride;
    }
    uint64_t n_outer = pages ? p->n_pool_pages : l.outer_stride ? p->n_seqs : 0;
    array->n_elements =
        n_outer ? n_outer * l.outer_stride : (uint64_t)cu[p->n_seqs] * l.token_stride;
    *out_memory = allocate(array->n_elements, rapt_type_bytes(array->type));
    for (uint64_t i = 0; i < array->n_elements; i++)
        rapt_store(*out_memory, array->type, i, NAN);
    for (uint32_t b = 0; b < p->n_seqs; b++)
        for (uint32_t t = 0; t < len[b]; t++) {
            uint64_t outer = l.outer_stride ? b : 0,
                     token = l.outer_stride ? t : (uint64_t)cu[b] + t;
            if (pages) {
                outer = r->page_indices[r->page_indptr[b] + t / p->page_size];
                token = t % p->page_size;
            }
            for (uint32_t h = 0; h < n_heads; h++)
                for (uint32_t d = 0; d < dim; d++)
                    rapt_store(*out_memory, array->type,
                               outer * l.outer_stride + token * l.token_stride + h * l.head_stride +
                                   d,
                               values[b][t][h][d]);
        }
    array->data = *out_memory;
}

static void make_lengths(struct random_problem *r, uint64_t *seed)
{
    rapt_problem *p = &r->problem;
    p->n_seqs = 1 + random_below(seed, MAX_SEQS);
    for (uint32_t b = 0; b < p->n_seqs; b++) {
        r->q_len[b] = one_in(seed, 6) ? 0 : one_in(seed, 3) ? 1 : 1 + random_below(seed, MAX_LEN);
        r->kv_len[b] = one_in(seed, 6) ? 0 : 1 + random_below(seed, MAX_LEN);
        r->cu_q[b + 1] = r->cu_q[b] + (int32_t)r->q_len[b];
        r->cu_kv[b + 1] = r->cu_kv[b] + (int32_t)r->kv_len[b];
        r->kv_pos0[b] = random_between(seed, -20, 20);
        r->q_pos0[b] = random_between(seed, -30, 60);
        r->prefix[b] = random_between(seed, -3, MAX_LEN);
    }
    for (int32_t i = 0; i < r->cu_q[p->n_seqs]; i++)
        r->q_pos[i] = random_between(seed, -30, 60);
    p->cu_q = r->cu_q;
    p->cu_kv = r->cu_kv;
    if (one_in(seed, 3))
        p->kv_pos0 = r->kv_pos0;
    if (one_in(seed, 4))
        p->q_pos0 = r->q_pos0;
    else if (one_in(seed, 4))
        p->q_pos = r->q_pos;
}

/* Pages of all sequences, in random places of a pool that is larger than it need be. */
static void make_pages(struct random_problem *r, uint64_t *seed)
{
    rapt_problem *p = &r->problem;
    p->page_size = 1u << random_below(seed, 6);
    uint32_t order[MAX_SEQS * MAX_LEN + 3], n_pages = 0;
    for (uint32_t b = 0; b < p->n_seqs; b++) {
        uint32_t n = (r->kv_len[b] + p->page_size - 1) / p->page_size;
        r->page_indptr[b] = n_pages;
        r->last_page_len[b] = n ? r->kv_len[b] - (n - 1) * p->page_size : 0;
        n_pages += n;
    }
    r->page_indptr[p->n_seqs] = n_pages;
    p->n_pool_pages = n_pages + random_below(seed, 4);
    for (uint32_t i = 0; i < p->n_pool_pages; i++) {
        uint32_t j = random_below(seed, i + 1);
        order[i] = order[j];
        order[j] = i;
    }
    memcpy(r->page_indices, order, n_pages * sizeof order[0]);
    p->page_indptr = r->page_indptr;
    p->page_indices = r->page_indices;
    p->last_page_len = r->last_page_len;
    p->cu_kv = NULL;
}

static void make_bias(struct random_problem *r, uint64_t *seed)
{
    rapt_problem *p = &r->problem;
    int per_head = one_in(seed, 2);
    uint64_t n = 5, row_stride = one_in(seed, 2) ? MAX_LEN + 2 : 0;
    uint64_t head_stride = per_head ? (MAX_LEN + 2) * MAX_LEN : 0;
    p->bias.type = one_in(seed, 2) ? RAPT_TYPE_F16 : RAPT_TYPE_F32;
    for (uint32_t b = 0; b < p->n_seqs; b++) {
        r->bias_offsets[b] = n;
        n += (uint64_t)(MAX_LEN + 2) * MAX_LEN * MAX_HEADS;
    }
    r->memory[3] = allocate(n, 4);
    p->bias.data = r->memory[3];
    p->bias.n_elements = n;
    p->bias.layout = (rapt_layout){0, row_stride, head_stride, 0};
    p->bias_offsets = r->bias_offsets;
    for (uint32_t b = 0; b < p->n_seqs; b++)
        for (uint32_t h = 0; h < p->n_q_heads; h++)
            for (uint32_t i = 0; i < r->q_len[b]; i++)
                for (uint32_t j = 0; j < r->kv_len[b]; j++) {
                    float value = random_normal(seed);
                    if (one_in(seed, 5))
                        value = -INFINITY;
                    if (one_in(seed, 25))
                        value = p->bias.type == RAPT_TYPE_F16 ? -65504 : -3.40282347e38f;
                    if (h > 0 && !per_head)
                        value = r->bias_value[b][0][i][j];
                    value = rapt_round_to(p->bias.type, value);
                    r->bias_value[b][h][i][j] = value;
                    uint64_t row = row_stride ? row_stride : r->kv_len[b];
                    rapt_store(r->memory[3], p->bias.type,
                               r->bias_offsets[b] + h * head_stride + i * row + j, value);
                }
}

static void make_logits(struct random_problem *r, uint64_t *seed)
{
    rapt_problem *p = &r->problem;
    if (one_in(seed, 3))
        p->scale = 0.3f;
    if (one_in(seed, 3))
        p->softcap = 2.5f;
    for (uint32_t h = 0; h < p->n_q_heads; h++) {
        r->slopes[h] = 0.25f / (float)(h + 1);
        r->sinks[h] = one_in(seed, 5) ? -INFINITY : 2 * random_normal(seed);
    }
    if (one_in(seed, 3))
        p->slopes = r->slopes;
    if (one_in(seed, 3))
        p->sinks = r->sinks;
    if (one_in(seed, 3))
        make_bias(r, seed);
    if (one_in(seed, 5)) {
        p->use_max_logit_const = 1;
        p->max_logit_const = 1.5f;
    }
    p->unnormalised = one_in(seed, 5);
}

static void make_mask(struct random_problem *r, uint64_t *seed)
{
    static const char *const leaves[] = {"causal",         "window(9, 0)", "window(-1, 3)",
                                         "window(4, 4)",   "chunked(7)",   "prefix",
                                         "sink_tokens(5)", "full"};
    const uint32_t n_leaves = sizeof leaves / sizeof leaves[0];
    char text[128] = "";
    for (uint32_t i = 0, n = random_below(seed, 4); i < n; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s", i ? " & " : "",
                 leaves[random_below(seed, n_leaves)]);
    r->problem.prefix = r->prefix;
    if (*text && rapt_mask_parse(NULL, text, NULL, &r->mask) != RAPT_OK)
        abort();
    r->problem.mask = r->mask;
    snprintf(r->text + strlen(r->text), sizeof r->text - strlen(r->text), " mask '%s'", text);
}

static void make_mask_data(struct random_problem *r, uint64_t *seed)
{
    rapt_problem *p = &r->problem;
    int32_t n_bits = 0;
    for (uint32_t b = 0; b < p->n_seqs; b++) {
        uint32_t n_nodes = random_below(seed, r->kv_len[b] + 1);
        r->tree_indptr[b + 1] = r->tree_indptr[b] + (int32_t)n_nodes;
        for (uint32_t t = 0; t < n_nodes; t++)
            r->parents[r->tree_indptr[b] + (int32_t)t] = (int32_t)random_below(seed, t + 1) - 1;
        r->bit_offsets[b] = (uint64_t)n_bits;
        n_bits += (int32_t)(r->q_len[b] * r->kv_len[b]);
    }
    for (uint32_t i = 0; i < MAX_SEQS * MAX_LEN; i++) {
        r->ids_q[i] = (int32_t)(i / 9 % 3);
        r->ids_kv[i] = (int32_t)(i / 7 % 3);
        r->flags[i] = i % 11 > 4;
    }
    for (uint32_t i = 0; i < sizeof r->bits; i++)
        r->bits[i] = (uint8_t)random_u64(seed);
    for (uint32_t i = 0; i < sizeof r->map; i++)
        r->map[i] = (uint8_t)random_below(seed, 2);
    r->mask_data = (rapt_mask_data){.struct_size = sizeof r->mask_data,
                                    .prefix = r->prefix,
                                    .segments_q = r->ids_q,
                                    .segments_kv = r->ids_kv,
                                    .bidirectional = r->flags,
                                    .bitmap = r->bits,
                                    .bitmap_offsets = r->bit_offsets,
                                    .bitmap_head_stride = one_in(seed, 2) ? (uint64_t)n_bits : 0,
                                    .bitmap_bits = 8 * sizeof r->bits,
                                    .blocks = r->map,
                                    .n_block_heads = one_in(seed, 2) ? p->n_q_heads : 1,
                                    .n_q_blocks = 8,
                                    .n_k_blocks = 8,
                                    .map_block_q = 5,
                                    .map_block_kv = 9,
                                    .parents = r->parents,
                                    .tree_indptr = r->tree_indptr};
    p->mask_data = &r->mask_data;
    p->prefix = one_in(seed, 2) ? r->prefix : NULL;
}

/* Masks of any kind, for all heads or for some of them another. */
static void make_any_mask(struct random_problem *r, uint64_t *seed)
{
    static const char *const texts[] = {"causal | prefix",
                                        "segments & causal",
                                        "causal | bidirectional",
                                        "dilated(5, 3)",
                                        "bitmap",
                                        "blocks | window(3, 3)",
                                        "tree & !bitmap",
                                        "!(causal & segments)",
                                        "chunked(6) & chunked(4)",
                                        "window(9, 2) & prefix"};
    const uint32_t n = sizeof texts / sizeof texts[0];
    const char *text = texts[random_below(seed, n)], *other = texts[random_below(seed, n)];
    rapt_problem *p = &r->problem;
    rapt_mask_destroy(&r->mask);
    if (rapt_mask_parse(NULL, text, NULL, &r->mask) != RAPT_OK ||
        rapt_mask_parse(NULL, other, NULL, &r->other_mask) != RAPT_OK)
        abort();
    p->mask = one_in(seed, 8) ? NULL : r->mask;
    for (uint32_t h = 0; h < p->n_q_heads; h++)
        r->mask_heads[h] = one_in(seed, 2) ? r->other_mask : NULL;
    p->mask_heads = one_in(seed, 2) ? r->mask_heads : NULL;
    make_mask_data(r, seed);
    snprintf(r->text + strlen(r->text), sizeof r->text - strlen(r->text), ", masks '%s' '%s'%s",
             text, other, p->mask_heads ? " by head" : "");
}

static void make_values(struct random_problem *r, uint64_t *seed)
{
    const rapt_problem *p = &r->problem;
    for (uint32_t b = 0; b < p->n_seqs; b++) {
        for (uint32_t i = 0; i < r->q_len[b]; i++)
            for (uint32_t h = 0; h < p->n_q_heads; h++)
                for (uint32_t d = 0; d < p->head_dim; d++)
                    r->q[b][i][h][d] = random_normal(seed);
        for (uint32_t j = 0; j < r->kv_len[b]; j++)
            for (uint32_t h = 0; h < p->n_kv_heads; h++)
                for (uint32_t d = 0; d < MAX_DIM; d++) {
                    r->k[b][j][h][d] = random_normal(seed);
                    r->v[b][j][h][d] = random_normal(seed);
                }
    }
}

/* ------------------------------------------------------------------ what quantizes and rotates */

static void make_scales(struct random_problem *r, uint64_t *seed)
{
    rapt_problem *p = &r->problem;
    const rapt_type types[] = {RAPT_TYPE_INT8, RAPT_TYPE_FP8_E4M3, RAPT_TYPE_INT4, RAPT_TYPE_Q8_0,
                               RAPT_TYPE_Q4_0};
    uint32_t dim_v = p->head_dim_v ? p->head_dim_v : p->head_dim;
    p->kv_type = types[random_below(seed, p->head_dim % 32 || dim_v % 32 ? 2 : 5)];
    p->scale_type = one_in(seed, 2) ? RAPT_TYPE_F16 : RAPT_TYPE_DEFAULT;
    if (p->kv_type == RAPT_TYPE_INT8 && one_in(seed, 3))
        p->scale_kind = RAPT_SCALE_TOKEN;
    else if (p->kv_type <= RAPT_TYPE_FP8_E4M3 && one_in(seed, 3)) {
        p->scale_kind = RAPT_SCALE_STATIC;
        p->k_scale = r->k_scale;
        p->v_scale = r->v_scale;
        p->n_k_scale = one_in(seed, 2) ? 1 : p->n_kv_heads;
        p->n_v_scale = one_in(seed, 2) ? 1 : p->n_kv_heads;
        for (uint32_t h = 0; h < p->n_kv_heads; h++) {
            r->k_scale[h] = 0.01f * (float)(1 + random_unit(seed));
            r->v_scale[h] = 0.02f * (float)(1 + random_unit(seed));
        }
    }
}

static void make_rope(struct random_problem *r, uint64_t *seed)
{
    rapt_problem *p = &r->problem;
    rapt_rope *rope = &r->rope;
    rope->struct_size = sizeof *rope;
    rope->pairing = one_in(seed, 2) ? RAPT_ROPE_NEOX : RAPT_ROPE_GPTJ;
    if (one_in(seed, 2)) {
        rope->rotary_dim = 2 * (1 + random_below(seed, p->head_dim / 2));
        rope->rotary_offset = random_below(seed, p->head_dim - rope->rotary_dim + 1);
    }
    uint32_t dim = rope->rotary_dim ? rope->rotary_dim : p->head_dim;
    float *table = &r->table[0][0];
    rope->theta = one_in(seed, 2) ? 500000 : 0;
    rope->attention_factor = one_in(seed, 3) ? 1.25f : 0;
    for (uint32_t i = 0; i < MAX_DIM; i++)
        r->frequency_scale[i] = (float)random_unit(seed);
    if (one_in(seed, 3))
        rope->frequency_scale = r->frequency_scale;
    int32_t low = -1000000, high = 1000000;
    if (one_in(seed, 4)) { /* not even cosines: a table is taken as it is */
        for (uint32_t i = 0; i < RANDOM_TABLE * dim; i++)
            table[i] = random_normal(seed);
        rope->table = table;
        rope->n_table_positions = RANDOM_TABLE;
        low = 0;
        high = RANDOM_TABLE - 1;
    }
    for (uint32_t i = 0; i < MAX_SEQS * MAX_LEN; i++) {
        r->rope_pos[i] = random_between(seed, low, high);
        r->k_rope_pos[i] = random_between(seed, low, high);
    }
    if (rope->table || one_in(seed, 2))
        p->rope_pos = r->rope_pos;
    if (!p->page_indices && (rope->table || one_in(seed, 2)))
        p->k_rope_pos = r->k_rope_pos;
    p->rope = rope;
}

/* The definition, in long double. */
static void rotate(const struct random_problem *r, int32_t position, double *row)
{
    const rapt_rope *rope = &r->rope;
    uint32_t dim = rope->rotary_dim ? rope->rotary_dim : r->problem.head_dim;
    for (uint32_t i = 0; i < dim / 2; i++) {
        long double a = powl(rope->theta != 0 ? (long double)rope->theta : 10000, -2.0L * i / dim);
        a *= position * (rope->frequency_scale ? (long double)rope->frequency_scale[i] : 1);
        long double c = cosl(a), s = sinl(a), factor = (long double)rope->attention_factor;
        if (rope->table) {
            c = (long double)rope->table[(uint32_t)position * dim + i];
            s = (long double)rope->table[(uint32_t)position * dim + dim / 2 + i];
        }
        if (rope->table || factor == 0)
            factor = 1;
        int neox = rope->pairing == RAPT_ROPE_NEOX;
        double *x0 = row + rope->rotary_offset + (neox ? i : 2 * i);
        double *x1 = row + rope->rotary_offset + (neox ? i + dim / 2 : 2 * i + 1);
        long double y0 = (*x0 * c - *x1 * s) * factor, y1 = (*x1 * c + *x0 * s) * factor;
        *x0 = (double)y0;
        *x1 = (double)y1;
    }
}

static int32_t q_rope_pos(const struct random_problem *r, uint32_t b, uint32_t i)
{
    const rapt_problem *p = &r->problem;
    int32_t first = (int32_t)r->kv_len[b] - (int32_t)r->q_len[b] + (p->kv_pos0 ? r->kv_pos0[b] : 0);
    if (p->rope_pos)
        return r->rope_pos[r->cu_q[b] + (int32_t)i];
    if (p->q_pos)
        return r->q_pos[r->cu_q[b] + (int32_t)i];
    return (p->q_pos0 ? r->q_pos0[b] : first) + (int32_t)i;
}

/* One token's rows become what the cache holds of them. */
static void store_token(struct random_problem *r, float heads[MAX_HEADS][MAX_DIM],
                        const rapt_array *array, uint32_t dim, const float *scale, uint32_t n_scale,
                        const int32_t *position)
{
    const rapt_problem *p = &r->problem;
    float rows[MAX_HEADS * MAX_DIM];
    uint8_t bytes[MAX_HEADS * MAX_DIM * 4], scales[MAX_HEADS * MAX_DIM * 4];
    int32_t positions[MAX_HEADS];
    rapt_quantize_params params = {.struct_size = sizeof params,
                                   .type = p->kv_type ? p->kv_type : array->type,
                                   .head_dim = dim,
                                   .n_heads = p->n_kv_heads,
                                   .scale_type = p->scale_type,
                                   .scale_kind = p->scale_kind,
                                   .static_scale = scale,
                                   .n_static_scale = n_scale};
    for (uint32_t h = 0; h < p->n_kv_heads; h++) {
        positions[h] = position ? *position : 0;
        for (uint32_t d = 0; d < dim; d++)
            rows[h * dim + d] = rapt_round_to(array->type, heads[h][d]);
    }
    if (position && rapt_rope_apply(p->rope, dim, p->n_kv_heads, positions, rows, rows) != RAPT_OK)
        abort();
    if (rapt_quantize_rows(&params, 1, rows, bytes, scales) != RAPT_OK ||
        rapt_dequantize_rows(&params, 1, bytes, scales, rows) != RAPT_OK)
        abort();
    for (uint32_t h = 0; h < p->n_kv_heads; h++)
        memcpy(heads[h], rows + h * dim, dim * sizeof *rows);
}

static void make_stored(struct random_problem *r, uint64_t *seed)
{
    rapt_problem *p = &r->problem;
    uint32_t dim_v = p->head_dim_v ? p->head_dim_v : p->head_dim;
    int rotates = one_in(seed, 2), quantizes = !rotates || one_in(seed, 2);
    if (quantizes)
        make_scales(r, seed);
    if (rotates)
        make_rope(r, seed);
    r->is_stored = 1;
    for (uint32_t b = 0; b < p->n_seqs; b++) {
        for (uint32_t i = 0; i < r->q_len[b]; i++)
            for (uint32_t h = 0; h < p->n_q_heads; h++) {
                double *row = r->q_used[b][i][h];
                for (uint32_t d = 0; d < p->head_dim; d++)
                    row[d] = (double)rapt_round_to(p->q_type ? p->q_type : p->q.type,
                                                   rapt_round_to(p->q.type, r->q[b][i][h][d]));
                if (rotates)
                    rotate(r, q_rope_pos(r, b, i), row);
            }
        for (uint32_t j = 0; j < r->kv_len[b]; j++) {
            int32_t position = (p->kv_pos0 ? r->kv_pos0[b] : 0) + (int32_t)j;
            if (p->k_rope_pos)
                position = r->k_rope_pos[r->cu_kv[b] + (int32_t)j];
            store_token(r, r->k[b][j], &p->k, p->head_dim, p->k_scale, p->n_k_scale,
                        rotates && !p->page_indices ? &position : NULL);
            store_token(r, r->v[b][j], &p->v, dim_v, p->v_scale, p->n_v_scale, NULL);
        }
    }
    snprintf(r->text + strlen(r->text), sizeof r->text - strlen(r->text),
             ", scales %d of type %d, rope %d of %u at %u, theta %g%s", p->scale_kind,
             p->scale_type, r->rope.pairing, r->rope.rotary_dim, r->rope.rotary_offset,
             (double)r->rope.theta, r->rope.table ? ", table" : "");
}

struct random_problem *random_problem_create(uint64_t number)
{
    struct random_problem *r = allocate(1, sizeof *r);
    uint64_t state = number * 77 + 1, *seed = &state;
    rapt_problem *p = &r->problem;
    const rapt_type types[] = {RAPT_TYPE_F32, RAPT_TYPE_F16, RAPT_TYPE_BF16};
    p->struct_size = sizeof *p;
    p->n_kv_heads = 1 + random_below(seed, 3);
    p->n_q_heads = p->n_kv_heads * (1 + random_below(seed, MAX_HEADS / p->n_kv_heads));
    p->head_dim = 8 * (1 + random_below(seed, MAX_DIM / 8));
    p->head_dim_v = one_in(seed, 2) ? 0 : 8 * (1 + random_below(seed, MAX_DIM / 8));
    make_lengths(r, seed);
    r->q_storage = (enum random_storage)random_below(seed, STORAGE_PAGES);
    r->kv_storage = (enum random_storage)random_below(seed, N_STORAGES);
    if (r->kv_storage >= STORAGE_PAGES)
        make_pages(r, seed);
    make_logits(r, seed);
    make_mask(r, seed);
    make_values(r, seed);
    p->q.type = types[random_below(seed, 3)];
    p->k.type = p->v.type = types[random_below(seed, 3)];
    if (one_in(seed, 3)) /* rounded on the way in */
        p->q_type = types[random_below(seed, 3)];
    if (one_in(seed, 3))
        p->kv_type = types[random_below(seed, 3)];
    uint32_t dim_v = p->head_dim_v ? p->head_dim_v : p->head_dim;
    store(r, &p->q, r->q_storage, r->q, r->q_len, r->cu_q, p->n_q_heads, p->head_dim,
          &r->memory[0]);
    store(r, &p->k, r->kv_storage, r->k, r->kv_len, r->cu_kv, p->n_kv_heads, p->head_dim,
          &r->memory[1]);
    store(r, &p->v, r->kv_storage, r->v, r->kv_len, r->cu_kv, p->n_kv_heads, dim_v, &r->memory[2]);
    snprintf(r->text + strlen(r->text), sizeof r->text - strlen(r->text),
             " number %llu, B %u, heads %u/%u, D %u/%u, storage %d/%d, page size %u, types %d>%d "
             "%d>%d",
             (unsigned long long)number, p->n_seqs, p->n_q_heads, p->n_kv_heads, p->head_dim, dim_v,
             r->q_storage, r->kv_storage, p->page_size, p->q.type, p->q_type, p->k.type,
             p->kv_type);
    if (number >= RANDOM_STORED)
        make_stored(r, seed);
    if (number >= RANDOM_MASKED)
        make_any_mask(r, seed);
    return r;
}

void random_problem_destroy(struct random_problem *r)
{
    rapt_mask_destroy(&r->mask);
    rapt_mask_destroy(&r->other_mask);
    for (int i = 0; i < 4; i++)
        free(r->memory[i]);
    free(r);
}
