/* SPDX-License-Identifier: Apache-2.0 */

/* What the append checks append to, and by the host alone what must come out of it. */

#include "append.h"

#include "random.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------------------------------------- the problem
 */

static const int32_t q_lens[APPEND_SEQS] = {5, 0, 1, 33, 0, 18};
static const int32_t kv_lens[APPEND_SEQS] = {9, 20, 1, 33, 0, 51};

static void fill_batch(struct append_run *run)
{
    uint32_t size = run->c->page_size, n = 0;
    for (int b = 0; b < APPEND_SEQS; b++) {
        run->cu_q[b + 1] = run->cu_q[b] + q_lens[b];
        run->cu_kv[b + 1] = run->cu_kv[b] + kv_lens[b];
        n += size ? ((uint32_t)kv_lens[b] + size - 1) / size : 0;
        run->indptr[b + 1] = n;
        run->last_len[b] = size && kv_lens[b] ? ((uint32_t)kv_lens[b] - 1) % size + 1 : 0;
    }
    run->n_pool = size ? n + 3 : 0;
    for (uint32_t i = 0; i < run->n_pool; i++) {
        uint32_t j = random_below(&run->random, i + 1);
        run->pages[i] = run->pages[j];
        run->pages[j] = i;
    }
    int32_t total = run->cu_q[APPEND_SEQS], last = 1 << 20;
    if (run->c->positions == BY_Q_POS)
        run->q_pos = malloc((size_t)total * sizeof(int32_t));
    if (run->c->positions == BY_ROPE_POS)
        run->rope_pos = malloc((size_t)total * sizeof(int32_t));
    for (int32_t i = 0; i < total; i++) {
        if (run->q_pos)
            run->q_pos[i] = random_between(&run->random, -1000, last);
        if (run->rope_pos)
            run->rope_pos[i] = random_between(&run->random, 1 - (1 << 30), (1 << 30) - 1);
    }
}

static uint64_t row_units(rapt_type type, uint32_t dim)
{
    return rapt_type_bytes(type) ? dim : rapt_row_bytes(type, dim);
}

static uint64_t unit_bytes(rapt_type type)
{
    return rapt_type_bytes(type) ? rapt_type_bytes(type) : 1;
}

/* K's (0) or V's (1) cache, in the type's units. */
static rapt_layout cache_layout(const struct append_run *run, int v)
{
    const struct append_case *c = run->c;
    rapt_type type = run->target->kv;
    uint64_t row = row_units(type, v ? c->dv : c->d), other = row_units(type, v ? c->d : c->dv);
    uint64_t tokens = c->page_size ? c->page_size : (uint64_t)run->cu_kv[APPEND_SEQS];
    uint64_t pad = rapt_type_bytes(type) ? 2 : 4;
    rapt_layout l = {.head_stride = row, .token_stride = row * c->heads, .dim_stride = 1};
    l.outer_stride = tokens * l.token_stride;
    if (c->layout == HND) {
        l.token_stride = row;
        l.head_stride = row * tokens;
    } else if (c->layout == PADDED) {
        l.head_stride = row + pad;
        l.token_stride = l.head_stride * c->heads + pad;
        l.outer_stride = l.token_stride * tokens + pad;
    } else if (c->layout == INTERLEAVED) {
        l.head_stride = row + other;
        l.token_stride = l.head_stride * c->heads;
        l.outer_stride = tokens * l.token_stride;
    }
    if (!c->page_size)
        l.outer_stride = 0;
    return l;
}

static int has_scales(rapt_type type)
{
    return type == RAPT_TYPE_INT8 || type == RAPT_TYPE_FP8_E4M3 || type == RAPT_TYPE_INT4;
}

static uint32_t scales_per_row(const struct append_run *run, int v)
{
    return run->target->kv == RAPT_TYPE_INT4 ? (v ? run->c->dv : run->c->d) / 32 : 1;
}

static rapt_type scale_type(const struct append_run *run)
{
    if (run->target->kv == RAPT_TYPE_INT4)
        return RAPT_TYPE_F16;
    return run->c->scale_type ? run->c->scale_type : RAPT_TYPE_F32;
}

/* Padded caches have padded scales; the others the dense default, which this says in words. */
static rapt_layout scale_layout(const struct append_run *run, int v)
{
    const struct append_case *c = run->c;
    uint64_t tokens = c->page_size ? c->page_size : (uint64_t)run->cu_kv[APPEND_SEQS];
    rapt_layout l = {.head_stride = scales_per_row(run, v), .dim_stride = 1};
    if (c->scale_kind == RAPT_SCALE_STATIC)
        return l;
    l.token_stride = l.head_stride * c->heads;
    if (c->scale_kind == RAPT_SCALE_TOKEN) {
        l.head_stride = 0;
        l.token_stride = 1;
    }
    if (c->layout == PADDED)
        l.token_stride += 1;
    l.outer_stride = c->page_size ? tokens * l.token_stride + (c->layout == PADDED) : 0;
    return l;
}

static rapt_layout new_layout(const struct append_run *run, int v)
{
    uint64_t dim = v ? run->c->dv : run->c->d, heads = run->c->heads;
    rapt_layout l = {.head_stride = dim, .token_stride = dim * heads, .dim_stride = 1};
    if (run->c->odd_new) {
        l.token_stride = dim + 2;
        l.head_stride = l.token_stride * (uint64_t)run->cu_q[APPEND_SEQS] + 4;
    }
    return l;
}

static int has_table(const struct append_run *run)
{
    return run->c->table;
}

static int make_params(struct append_run *run)
{
    const struct append_case *c = run->c;
    rapt_plan_params *p = &run->params;
    run->rope = c->rope;
    uint32_t dim = c->rope.rotary_dim ? c->rope.rotary_dim : c->d;
    if (has_table(run)) {
        run->table = malloc((size_t)c->rope.n_table_positions * dim * sizeof(float));
        for (uint32_t i = 0; i < c->rope.n_table_positions * dim; i++)
            run->table[i] = random_normal(&run->random);
        run->rope.table = run->table;
    } else if (c->rope.pairing == RAPT_ROPE_GPTJ) {
        run->frequency_scale = malloc(dim / 2 * sizeof(float));
        for (uint32_t i = 0; i < dim / 2; i++)
            run->frequency_scale[i] = (float)random_unit(&run->random);
        run->rope.frequency_scale = run->frequency_scale;
    }
    *p = (rapt_plan_params){
        .struct_size = sizeof *p,
        .n_q_heads = c->heads,
        .n_kv_heads = c->heads,
        .head_dim = c->d,
        .head_dim_v = c->dv,
        .q_type = RAPT_TYPE_F32,
        .kv_type = run->target->kv,
        .flags = RAPT_PLAN_APPEND | (c->page_size ? RAPT_PLAN_PAGED : 0u),
        .page_size = c->page_size,
        .k = cache_layout(run, 0),
        .v = cache_layout(run, 1),
        .max_batch = APPEND_SEQS,
        .max_total_q = (uint32_t)run->cu_q[APPEND_SEQS],
        .max_pages = run->indptr[APPEND_SEQS],
        .max_kv_len = 64,
        .n_steps_in_flight = 2,
        .max_records_per_step = 2,
        .rope = c->rope.pairing ? &run->rope : NULL,
        .new_type = c->from,
        .k_new = new_layout(run, 0),
        .v_new = new_layout(run, 1),
    };
    if (has_scales(run->target->kv)) {
        p->scale_type = scale_type(run);
        p->scale_kind = c->scale_kind;
        if (c->layout == PADDED || c->scale_kind == RAPT_SCALE_TOKEN) {
            p->k_scale = scale_layout(run, 0);
            p->v_scale = scale_layout(run, 1);
        }
    }
    return 1;
}

/* ------------------------------------------------------------------------------------------ data
 */

/* A value of the row's kind: rows of different sizes, and what is awkward to quantize. */
static float make_value(struct append_run *run, int row_kind, uint32_t d)
{
    static const float sizes[] = {1, 1e-3f, 300, 6e4f, 1e-7f};
    float x = random_normal(&run->random);
    if (!run->c->specials)
        return x * sizes[row_kind % 5];
    switch (row_kind % 12) {
    case 0:
        return 0;
    case 1: /* ties: whole and half multiples of absmax / 127 */
        return d == 0 ? 127.0f : (float)random_between(&run->random, -253, 253) / 2;
    case 2: /* of absmax / 7 */
        return d % 32 == 0 ? -7.0f : (float)random_between(&run->random, -13, 13) / 2;
    case 3:
        return d % 7 == 3 ? NAN : x;
    case 4:
        return d % 7 == 3 ? (d & 1 ? INFINITY : -INFINITY) : x;
    case 5:
        return d % 3 == 0 ? -0.0f : 1e-41f * x;
    case 6: /* whose scales are denormal, or nearly */
        return x * 3e-37f;
    case 7:
        return x * 1e38f;
    case 8: /* equal magnitudes */
        return random_below(&run->random, 2) ? 3.25f : -3.25f;
    case 9:
        return x * 0x1p-120f;
    case 10:
        return ldexpf(x, random_between(&run->random, -30, 15));
    default:
        return x;
    }
}

static float rounded(rapt_type type, float x)
{
    if (type == RAPT_TYPE_F16)
        return rapt_f32_from_f16(rapt_f16_from_f32(x));
    if (type == RAPT_TYPE_BF16)
        return rapt_f32_from_bf16(rapt_bf16_from_f32(x));
    return x;
}

static void store_new(uint8_t *to, rapt_type type, uint64_t i, float x)
{
    uint16_t half = type == RAPT_TYPE_F16 ? rapt_f16_from_f32(x) : rapt_bf16_from_f32(x);
    if (type == RAPT_TYPE_F32)
        memcpy(to + 4 * i, &x, 4);
    else
        memcpy(to + 2 * i, &half, 2);
}

static uint64_t reach_of(const rapt_layout *l, uint64_t outer, uint64_t tokens, uint64_t heads,
                         uint64_t row)
{
    return (outer - 1) * l->outer_stride + (tokens - 1) * l->token_stride +
           (heads - 1) * l->head_stride + row;
}

static int make_buffers(struct append_run *run)
{
    rapt_easy *easy = run->target->easy;
    const struct append_case *c = run->c;
    rapt_type type = run->target->kv;
    uint64_t n_outer = c->page_size ? run->n_pool : 1;
    uint64_t tokens = c->page_size ? c->page_size : (uint64_t)run->cu_kv[APPEND_SEQS];
    rapt_status status = RAPT_OK;
    for (int v = 0; status == RAPT_OK && v < 2; v++) {
        rapt_layout from = new_layout(run, v), to = cache_layout(run, v), sc = scale_layout(run, v);
        uint32_t dim = v ? c->dv : c->d;
        uint64_t row = row_units(type, dim) * unit_bytes(type), scale = unit_bytes(scale_type(run));
        uint64_t bytes = reach_of(&from, 1, (uint64_t)run->cu_q[APPEND_SEQS], c->heads, dim);
        status = check_buffer_create(easy, "new rows", bytes * unit_bytes(c->from), v ? 0 : 4,
                                     &run->new_rows[v]);
        int shared = v && c->layout == INTERLEAVED;
        run->cache_first[v] = shared ? row_units(type, c->d) * unit_bytes(type) : 0;
        bytes = reach_of(&to, n_outer, tokens, c->heads, 0) * unit_bytes(type) + row;
        if (c->layout == INTERLEAVED) /* a head of K, a head of V */
            bytes =
                (reach_of(&to, n_outer, tokens, c->heads, 0) + to.head_stride) * unit_bytes(type);
        bytes = (bytes + 3) / 4 * 4;
        if (status == RAPT_OK && !shared)
            status = check_buffer_create(easy, "cache", bytes, v ? 8 : 0, &run->cache[v]);
        bytes = c->scale_kind == RAPT_SCALE_STATIC
                    ? c->heads
                    : reach_of(&sc, n_outer, tokens, c->heads, scales_per_row(run, v));
        if (status == RAPT_OK && has_scales(type))
            status = check_buffer_create(easy, "scales", (bytes * scale + 3) / 4 * 4, v ? 4 : 0,
                                         &run->scales[v]);
    }
    if (status == RAPT_OK && has_table(run)) {
        uint64_t a = rapt_device_caps(rapt_easy_device(easy))->storage_buffer_alignment;
        uint64_t n = (uint64_t)c->rope.n_table_positions *
                     (c->rope.rotary_dim ? c->rope.rotary_dim : c->d) * sizeof(float);
        status = check_buffer_create(easy, "rope", n, a ? (a - CHECK_GUARD % a) % a : 0,
                                     &run->rope_table);
        if (status == RAPT_OK)
            memcpy(run->rope_table.map + run->rope_table.first, run->table, n);
    }
    return status == RAPT_OK;
}

struct check_buffer *check_append_cache(struct append_run *run, int v)
{
    return &run->cache[v && run->c->layout == INTERLEAVED ? 0 : v];
}

/* Everything the cache holds before is random; expected images begin as copies of it. */
static void fill_cache(struct append_run *run)
{
    for (int v = 0; v < 2; v++) {
        struct check_buffer *both[2] = {&run->cache[v], &run->scales[v]};
        uint8_t **images[2] = {&run->expected[v], &run->expected_scales[v]};
        for (int i = 0; i < 2; i++) {
            if (!both[i]->buffer)
                continue;
            uint8_t *bytes = both[i]->map + both[i]->first;
            for (uint64_t j = 0; j < both[i]->bytes; j++)
                bytes[j] = (uint8_t)random_u64(&run->random);
            *images[i] = malloc(both[i]->bytes + 1);
            if (run->c->scale_kind == RAPT_SCALE_STATIC && i == 1)
                for (uint32_t h = 0; h < run->c->heads; h++)
                    store_new(bytes, scale_type(run), h, 0.01f + (float)h / 32);
            memcpy(*images[i], bytes, both[i]->bytes);
        }
    }
}

/* --------------------------------------------------------------------------------- what must come
 * out */

static void expect_token(struct append_run *run, int v, int seq, int32_t i, const float *heads)
{
    const struct append_case *c = run->c;
    rapt_type type = run->target->kv;
    uint32_t dim = v ? c->dv : c->d, key = (uint32_t)(kv_lens[seq] - q_lens[seq] + i);
    rapt_layout l = cache_layout(run, v), sc = scale_layout(run, v);
    size_t row_bytes = rapt_row_bytes(type, dim), scale_bytes = unit_bytes(scale_type(run));
    float static_scale[APPEND_HEADS];
    uint8_t rows[APPEND_ELEMENTS * 4], scales[APPEND_ELEMENTS * 4];
    rapt_quantize_params q = {.struct_size = sizeof q,
                              .type = type,
                              .head_dim = dim,
                              .n_heads = c->heads,
                              .scale_type = scale_type(run),
                              .scale_kind = has_scales(type) ? c->scale_kind : 0};
    if (type == RAPT_TYPE_INT4)
        q.scale_kind = RAPT_SCALE_TOKEN_HEAD;
    for (uint32_t h = 0; h < c->heads; h++)
        static_scale[h] = 0.01f + (float)h / 32;
    if (q.scale_kind == RAPT_SCALE_STATIC) {
        q.static_scale = static_scale;
        q.n_static_scale = c->heads;
    }
    if (rapt_quantize_rows(&q, 1, heads, rows, scales) != RAPT_OK) {
        printf("rapt_quantize_rows: %s\n", rapt_last_error());
        abort();
    }
    uint64_t at = 0, scale_at = 0, token = (uint64_t)run->cu_kv[seq] + key;
    if (c->page_size) {
        uint32_t page = run->pages[run->indptr[seq] + key / c->page_size];
        at = page * l.outer_stride;
        scale_at = page * sc.outer_stride;
        token = key % c->page_size;
    }
    for (uint32_t h = 0; h < c->heads; h++) {
        uint64_t to = (at + token * l.token_stride + h * l.head_stride) * unit_bytes(type);
        memcpy(run->expected[check_append_cache(run, v) == &run->cache[1]] + run->cache_first[v] +
                   to,
               rows + h * row_bytes, row_bytes);
        if (!has_scales(type) || q.scale_kind == RAPT_SCALE_STATIC)
            continue;
        size_t n = scales_per_row(run, v) * scale_bytes;
        memcpy(run->expected_scales[v] +
                   (scale_at + token * sc.token_stride + h * sc.head_stride) * scale_bytes,
               scales + (q.scale_kind == RAPT_SCALE_TOKEN ? 0 : h * n), n);
    }
}

static int make_rows(struct append_run *run, int v)
{
    const struct append_case *c = run->c;
    uint32_t dim = v ? c->dv : c->d;
    rapt_layout l = new_layout(run, v);
    float heads[APPEND_ELEMENTS];
    for (int seq = 0; seq < APPEND_SEQS; seq++)
        for (int32_t i = 0; i < q_lens[seq]; i++) {
            int32_t row = run->cu_q[seq] + i, positions[8];
            for (uint32_t h = 0; h < c->heads; h++) {
                positions[h] = run->rope_pos ? run->rope_pos[row]
                               : run->q_pos  ? run->q_pos[row]
                                             : kv_lens[seq] - q_lens[seq] + i;
                for (uint32_t d = 0; d < dim; d++) {
                    float x = make_value(run, row * (int)c->heads + (int)h, d);
                    heads[h * dim + d] = rounded(c->from, x);
                    store_new(run->new_rows[v].map + run->new_rows[v].first, c->from,
                              (uint64_t)row * l.token_stride + h * l.head_stride + d, x);
                }
            }
            if (!v && c->rope.pairing &&
                rapt_rope_apply(&run->rope, dim, c->heads, positions, heads, heads) != RAPT_OK) {
                snprintf(run->why, sizeof run->why, "rapt_rope_apply: %s", rapt_last_error());
                return 0;
            }
            expect_token(run, v, seq, i, heads);
        }
    return 1;
}

int check_append_make(struct append_run *run)
{
    fill_batch(run);
    if (!make_params(run) || !make_buffers(run)) {
        snprintf(run->why, sizeof run->why, "buffers: %s", rapt_last_error());
        return 0;
    }
    fill_cache(run);
    return make_rows(run, 0) && make_rows(run, 1);
}

void check_append_finish(struct append_run *run)
{
    for (int v = 0; v < 2; v++) {
        check_buffer_destroy(&run->new_rows[v]);
        check_buffer_destroy(&run->cache[v]);
        check_buffer_destroy(&run->scales[v]);
        free(run->expected[v]);
        free(run->expected_scales[v]);
    }
    check_buffer_destroy(&run->tables);
    check_buffer_destroy(&run->workspace);
    check_buffer_destroy(&run->rope_table);
    free(run->q_pos);
    free(run->rope_pos);
    free(run->table);
    free(run->frequency_scale);
}
