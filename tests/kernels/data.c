/* SPDX-License-Identifier: Apache-2.0 */

/* Problems of a case in device memory. Everything is poison (bytes 0xff: NaN in every type) until a
 * value that may be read is written. */

#include "check.h"

#include "random.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <stdlib.h>
#include <string.h>

/* -------------------------------------------------------------------------------------- buffers */

rapt_status check_buffer_create(rapt_easy *easy, const char *name, uint64_t bytes, uint64_t shift,
                                struct check_buffer *out_buffer)
{
    struct check_buffer *b = out_buffer;
    memset(b, 0, sizeof *b);
    b->first = CHECK_GUARD + shift;
    b->bytes = bytes;
    uint64_t all = (b->first + bytes + CHECK_GUARD + 3) / 4 * 4;
    rapt_status status = rapt_easy_buffer_create(easy, all, name, 1, &b->buffer);
    if (status != RAPT_OK)
        return status;
    b->map = rapt_easy_buffer_mapped(b->buffer);
    memset(b->map, 0xa5, all);
    memset(b->map + b->first, 0xff, bytes);
    return RAPT_OK;
}

void check_buffer_destroy(struct check_buffer *buffer)
{
    if (buffer->buffer)
        rapt_easy_buffer_destroy(&buffer->buffer);
}

rapt_buffer check_buffer_range(const struct check_buffer *buffer)
{
    rapt_buffer range = {0};
    if (!buffer->buffer)
        return range;
    range = rapt_easy_buffer_range(buffer->buffer);
    range.offset += buffer->first;
    range.size = buffer->bytes;
    return range;
}

int check_buffer_guarded(const struct check_buffer *buffer)
{
    if (!buffer->buffer)
        return 1;
    for (uint64_t i = 0; i < buffer->first; i++)
        if (buffer->map[i] != 0xa5)
            return 0;
    for (uint64_t i = 0; i < CHECK_GUARD; i++)
        if (buffer->map[buffer->first + buffer->bytes + i] != 0xa5)
            return 0;
    return 1;
}

uint64_t check_buffer_hash(const struct check_buffer *buffer)
{
    return buffer->buffer ? XXH3_64bits(buffer->map + buffer->first, buffer->bytes) : 0;
}

rapt_status check_plan_bind(rapt_easy *easy, rapt_plan *plan, struct check_buffer *out_tables,
                            struct check_buffer *out_workspace)
{
    rapt_plan_sizes_info sizes = {.struct_size = sizeof sizes};
    rapt_plan_sizes(plan, &sizes);
    uint64_t t = sizes.table_alignment, w = sizes.workspace_alignment;
    rapt_status status = check_buffer_create(easy, "tables", sizes.table_bytes,
                                             (t - CHECK_GUARD % t) % t, out_tables);
    if (status == RAPT_OK)
        status = check_buffer_create(easy, "workspace", sizes.workspace_bytes,
                                     (w - CHECK_GUARD % w) % w, out_workspace);
    if (status != RAPT_OK)
        return status;
    rapt_plan_memory memory = {
        .struct_size = sizeof memory,
        .tables = check_buffer_range(out_tables),
        .tables_mapped = out_tables->map + out_tables->first,
        .workspace = check_buffer_range(out_workspace),
    };
    return rapt_plan_bind(plan, &memory);
}

/* -------------------------------------------------------------------------------------- lengths */

static void fill_lengths(struct check_problem *p)
{
    static const int32_t usual_q[CHECK_MAX_SEQS] = {37, 0, 64, 129, 33, 18};
    static const int32_t usual_kv[CHECK_MAX_SEQS] = {37, 20, 131, 129, 0, 193};
    const struct check_case *c = &p->c;
    uint32_t group = c->heads / c->kv_heads;
    p->n_seqs = c->n_seqs ? c->n_seqs : CHECK_MAX_SEQS;
    for (int b = 0; b < p->n_seqs; b++) {
        int32_t q = c->n_seqs ? c->q_len[b] : usual_q[b];
        int32_t kv = c->n_seqs ? c->kv_len[b] : usual_kv[b];
        if (p->decode_rows && q > 0) {
            int32_t most = group >= p->decode_rows ? 1 : (int32_t)(p->decode_rows / group);
            q = q > most ? 1 + (int32_t)random_below(&p->random, (uint32_t)most) : q;
        }
        p->cu_q[b + 1] = p->cu_q[b] + q;
        p->cu_kv[b + 1] = p->cu_kv[b] + kv;
        p->prefix[b] = kv / 2;
        p->kv_pos0[b] =
            c->positions == CHECK_POS_KV_POS0 ? random_between(&p->random, -50, 500) : 0;
        p->q_pos0[b] = kv + random_between(&p->random, -40, 20);
    }
}

static rapt_status fill_positions(struct check_problem *p)
{
    if (p->c.positions != CHECK_POS_SHUFFLED)
        return RAPT_OK;
    p->q_pos = calloc((size_t)p->cu_q[p->n_seqs] + 1, sizeof *p->q_pos);
    if (!p->q_pos)
        return RAPT_ERROR_HOST_MEMORY;
    for (int b = 0; b < p->n_seqs; b++)
        for (int32_t i = p->cu_q[b]; i < p->cu_q[b + 1]; i++)
            p->q_pos[i] = random_between(&p->random, -5, p->cu_kv[b + 1] - p->cu_kv[b] + 10);
    return RAPT_OK;
}

/* Pages in a pool with holes: a third of it belongs to nobody. */
static rapt_status fill_pages(struct check_problem *p)
{
    uint32_t size = p->c.page_size, n = 0;
    for (int b = 0; size && b < p->n_seqs; b++) {
        uint32_t kv = (uint32_t)(p->cu_kv[b + 1] - p->cu_kv[b]);
        n += (kv + size - 1) / size;
        p->indptr[b + 1] = n;
        p->last_len[b] = kv ? (kv - 1) % size + 1 : 0;
    }
    p->n_pool = n + n / 2 + 1;
    check_pieces_fill(p);
    p->pages = calloc(p->n_pool, sizeof *p->pages);
    if (!p->pages)
        return RAPT_ERROR_HOST_MEMORY;
    for (uint32_t i = 0; i < p->n_pool; i++) {
        uint32_t j = random_below(&p->random, i + 1);
        p->pages[i] = p->pages[j];
        p->pages[j] = i;
    }
    return RAPT_OK;
}

/* -------------------------------------------------------------------------------------- layouts */

static uint32_t longest(const struct check_problem *p)
{
    int32_t most = 1;
    for (int b = 0; b < p->n_seqs; b++) {
        most = p->cu_kv[b + 1] - p->cu_kv[b] > most ? p->cu_kv[b + 1] - p->cu_kv[b] : most;
        most = p->cu_q[b + 1] - p->cu_q[b] > most ? p->cu_q[b + 1] - p->cu_q[b] : most;
    }
    return (uint32_t)most;
}

static void lay_out(struct check_problem *p, enum check_tensor t, uint64_t outer, uint64_t token,
                    uint64_t head)
{
    p->layout[t] = (rapt_layout){.outer_stride = outer, .token_stride = token, .head_stride = head};
}

/* One tensor alone: n tokens (of all sequences, or of a page when `outer`) of `heads` rows. */
static void lay_out_alone(struct check_problem *p, enum check_tensor t, int pages, uint64_t n,
                          uint64_t heads, uint64_t dim)
{
    int bytes = p->type[t] == RAPT_TYPE_INT8 || p->type[t] == RAPT_TYPE_FP8_E4M3 ||
                p->type[t] == RAPT_TYPE_INT4;
    uint64_t row = p->c.layout == CHECK_PADDED ? dim + (bytes ? 1 : 2) : dim;
    if (p->c.layout == CHECK_HND)
        lay_out(p, t, pages ? heads * n * row : 0, row, n * row);
    else
        lay_out(p, t, pages ? heads * n * row : 0, heads * row, row);
}

static void fill_layouts(struct check_problem *p)
{
    const struct check_case *c = &p->c;
    uint64_t hq = c->heads, hk = c->kv_heads, d = check_row(p, CHECK_K), n = longest(p);
    uint64_t kv_tokens = c->page_size ? c->page_size : (uint64_t)p->cu_kv[p->n_seqs] + 1;
    int pages = c->page_size != 0;
    for (int t = 0; t < CHECK_N_TENSORS; t++)
        p->shares[t] = t;
    lay_out_alone(p, CHECK_Q, 0, (uint64_t)p->cu_q[p->n_seqs] + 1, hq, c->d);
    lay_out_alone(p, CHECK_OUT, 0, (uint64_t)p->cu_q[p->n_seqs] + 1, hq, c->dv);
    lay_out_alone(p, CHECK_K, pages, kv_tokens, hk, d);
    lay_out_alone(p, CHECK_V, pages, kv_tokens, hk, check_row(p, CHECK_V));
    if (c->layout < CHECK_INTERLEAVED)
        return;
    p->shares[CHECK_V] = CHECK_K;
    p->element[CHECK_V] = c->layout == CHECK_INTERLEAVED ? d : hk * d;
    uint64_t token = 2 * hk * d, head = c->layout == CHECK_INTERLEAVED ? 2 * d : d;
    uint64_t outer = pages ? kv_tokens * token : c->layout == CHECK_BS2HD ? n * token : 0;
    if (c->layout == CHECK_T3HD || c->layout == CHECK_BS3HD) {
        token = 3 * hk * d;
        outer = c->layout == CHECK_BS3HD ? n * token : 0;
        p->shares[CHECK_K] = p->shares[CHECK_V] = CHECK_Q;
        p->element[CHECK_K] = hk * d;
        p->element[CHECK_V] = 2 * hk * d;
        lay_out(p, CHECK_Q, outer, token, d);
    }
    lay_out(p, CHECK_K, outer, token, head);
    lay_out(p, CHECK_V, outer, token, head);
}

uint64_t check_element(const struct check_problem *p, enum check_tensor t, int seq, uint32_t token,
                       uint32_t head)
{
    const rapt_layout *l = &p->layout[t];
    uint64_t at = head * l->head_stride;
    int kv = t == CHECK_K || t == CHECK_V;
    if (kv && p->c.page_size) {
        uint32_t page = p->pages[p->indptr[seq] + token / p->c.page_size];
        return at + page * l->outer_stride + token % p->c.page_size * l->token_stride;
    }
    if (l->outer_stride)
        return at + (uint64_t)seq * l->outer_stride + token * l->token_stride;
    return at + ((uint64_t)(kv ? p->cu_kv : p->cu_q)[seq] + token) * l->token_stride;
}

/* ----------------------------------------------------------------------------------------- data */

static void store(const struct check_problem *p, enum check_tensor t, uint64_t element, float x)
{
    uint8_t *place = check_place(p, t, element);
    if (p->type[t] == RAPT_TYPE_F32) {
        *(float *)(void *)place = x;
    } else {
        uint16_t bits = p->type[t] == RAPT_TYPE_F16 ? rapt_f16_from_f32(x) : rapt_bf16_from_f32(x);
        *(uint16_t *)(void *)place = bits;
    }
}

static float tiny(uint64_t *random)
{
    switch (random_below(random, 4)) {
    case 0:
        return -0.0f;
    case 1:
        return 6e-8f; /* a denormal f16 */
    case 2:
        return 1e-39f; /* a denormal f32 and bf16 */
    default:
        return random_normal(random);
    }
}

/* Most cases need not 24 million logarithms. */
static float quick_normal(uint64_t *random)
{
    uint64_t x = random_u64(random);
    int32_t sum = (int32_t)(x & 0xffff) + (int32_t)(x >> 16 & 0xffff) +
                  (int32_t)(x >> 32 & 0xffff) + (int32_t)(x >> 48);
    return ((float)sum - 131070.0f) * (1.0f / 37837.0f);
}

/* Dim i of a row of K: `common` is the row shared by all keys where the case has one. */
static float key_value(struct check_problem *p, uint32_t token, uint32_t kv_len,
                       const float *common, uint32_t i)
{
    float x;
    switch (p->c.data) {
    case CHECK_EQUAL:
        return common[i];
    case CHECK_OFFSET:
        return 20.0f * (common[i] < 0 ? -1.0f : 1.0f) + quick_normal(&p->random);
    case CHECK_DOMINANT:
        return token == kv_len / 3 ? common[i] : quick_normal(&p->random);
    case CHECK_PEAKS: /* Q is (1, 0, ...): the first dim is the logit before the scale */
        if (i > 0)
            return common[i];
        return (token == kv_len / 3 ? 12.0f : token == kv_len / 2 ? 16.0f : 0.0f) / p->scale;
    case CHECK_LARGE:
        x = quick_normal(&p->random);
        return x * 1e4f / (p->scale * 16 * (float)p->c.d);
    case CHECK_TINY:
        return tiny(&p->random);
    case CHECK_WIDE:
        return quick_normal(&p->random) * 1e34f;
    case CHECK_TIES:
        return (float)((token / 16 * 7 + i) % 3) - 1;
    default:
        return quick_normal(&p->random);
    }
}

static float value_value(struct check_problem *p)
{
    if (p->c.data == CHECK_LIMIT)
        return 65504.0f;
    if (p->c.data == CHECK_WIDE)
        return quick_normal(&p->random) * 1e36f;
    return p->c.data == CHECK_TINY ? tiny(&p->random) : quick_normal(&p->random);
}

static float query_value(struct check_problem *p, const float *common, uint32_t i)
{
    switch (p->c.data) {
    case CHECK_PEAKS:
        return i == 0 ? 1.0f : 0.0f;
    case CHECK_DOMINANT:
        return common[i];
    case CHECK_LARGE:
        return 16 * (quick_normal(&p->random) < 0 ? -1.0f : 1.0f);
    case CHECK_TINY:
        return tiny(&p->random);
    case CHECK_WIDE:
        /* all as small as that: scores of whole numbers by either's unit alone are past floats */
        return quick_normal(&p->random) < 0 ? -1e-34f : 1e-34f;
    case CHECK_TIES:
        return (float)random_between(&p->random, -2, 2);
    default:
        return quick_normal(&p->random);
    }
}

/* One token of K or V, quantized: all heads at once, as the scale may be theirs together. */
static rapt_status fill_quantized(struct check_problem *p, int b, uint32_t token, uint32_t kv_len,
                                  const float *common)
{
    float rows[8 * 576];
    for (uint32_t i = 0; i < p->c.kv_heads * p->c.d; i++)
        rows[i] = key_value(p, token, kv_len, common, i % p->c.d);
    rapt_status status = check_stored_token(p, CHECK_K, b, token, rows);
    for (uint32_t i = 0; i < p->c.kv_heads * p->c.dv; i++)
        rows[i] = value_value(p);
    return status == RAPT_OK ? check_stored_token(p, CHECK_V, b, token, rows) : status;
}

static rapt_status fill_values(struct check_problem *p)
{
    float common[576];
    for (uint32_t i = 0; i < 576; i++)
        common[i] = quick_normal(&p->random);
    for (int b = 0; b < p->n_seqs; b++) {
        uint32_t q_len = (uint32_t)(p->cu_q[b + 1] - p->cu_q[b]);
        uint32_t kv_len = (uint32_t)(p->cu_kv[b + 1] - p->cu_kv[b]);
        for (uint32_t t = 0; t < q_len; t++)
            for (uint32_t h = 0; h < p->c.heads; h++) {
                uint64_t at = check_element(p, CHECK_Q, b, t, h);
                for (uint32_t i = 0; i < p->c.d; i++)
                    store(p, CHECK_Q, at + i, query_value(p, common, i));
            }
        for (uint32_t t = 0; p->plain[0] && t < kv_len; t++) {
            rapt_status status = fill_quantized(p, b, t, kv_len, common);
            if (status != RAPT_OK)
                return status;
        }
        for (uint32_t t = 0; !p->plain[0] && t < kv_len; t++)
            for (uint32_t h = 0; h < p->c.kv_heads; h++) {
                uint64_t k = check_element(p, CHECK_K, b, t, h);
                uint64_t v = check_element(p, CHECK_V, b, t, h);
                for (uint32_t i = 0; i < p->c.d; i++)
                    store(p, CHECK_K, k + i, key_value(p, t, kv_len, common, i));
                for (uint32_t i = 0; i < p->c.dv; i++)
                    store(p, CHECK_V, v + i, value_value(p));
            }
    }
    return RAPT_OK;
}

static float bias_value(struct check_problem *p)
{
    uint32_t kind = random_below(&p->random, 16);
    if (p->c.bias == CHECK_BIAS_HOLES && kind < 4)
        return -INFINITY;
    if (p->c.bias == CHECK_BIAS_F16 && kind == 4)
        return -65504.0f;
    return 2 * quick_normal(&p->random);
}

/* [heads, q_len, kv_len] per sequence, with an odd number of elements between sequences. */
static rapt_status fill_bias(rapt_easy *easy, struct check_problem *p)
{
    uint64_t n = 0, head = check_largest_area(p);
    for (int b = 0; b < p->n_seqs; b++) {
        p->bias_offsets[b] = n;
        n += head * p->c.heads + 1;
    }
    int half = p->c.bias == CHECK_BIAS_F16 || p->c.bias == CHECK_BIAS_F16_ODD;
    rapt_status status = check_buffer_create(easy, "bias", n * (half ? 2 : 4), 4, &p->bias);
    if (status != RAPT_OK)
        return status;
    uint8_t *base = p->bias.map + p->bias.first;
    for (uint64_t i = 0; i < n; i++) {
        float x = bias_value(p);
        if (half)
            ((uint16_t *)(void *)base)[i] = rapt_f16_from_f32(x);
        else
            ((float *)(void *)base)[i] = x;
    }
    return RAPT_OK;
}

static rapt_status fill_heads(rapt_easy *easy, const char *name, uint32_t n, uint64_t *random,
                              float scale, struct check_buffer *buffer)
{
    rapt_status status = check_buffer_create(easy, name, 4ull * n, 8, buffer);
    for (uint32_t h = 0; status == RAPT_OK && h < n; h++)
        ((float *)(void *)(buffer->map + buffer->first))[h] = scale * random_normal(random);
    return status;
}

/* ---------------------------------------------------------------------------------------- whole */

static rapt_status create_tensors(rapt_easy *easy, struct check_problem *p)
{
    static const char *const names[CHECK_N_TENSORS] = {"q", "k", "v", "out"};
    uint64_t need[CHECK_N_TENSORS] = {0};
    uint32_t tokens = longest(p);
    const uint32_t heads[] = {p->c.heads, p->c.kv_heads, p->c.kv_heads, p->c.heads};
    const uint32_t dims[] = {p->c.d, check_row(p, CHECK_K), check_row(p, CHECK_V), p->c.dv};
    for (int t = 0; t < CHECK_N_TENSORS; t++) {
        int kv = t == CHECK_K || t == CHECK_V;
        const rapt_layout *l = &p->layout[t];
        uint64_t outer = kv && p->c.page_size ? p->n_pool : (uint64_t)p->n_seqs;
        uint64_t n = kv && p->c.page_size ? p->c.page_size
                     : l->outer_stride    ? tokens
                                          : (uint64_t)(kv ? p->cu_kv : p->cu_q)[p->n_seqs];
        p->n_elements[t] = (l->outer_stride ? (outer - 1) * l->outer_stride : 0) +
                           (n ? (n - 1) * l->token_stride : 0) + (heads[t] - 1) * l->head_stride +
                           dims[t];
        uint64_t end = p->element[t] + p->n_elements[t];
        need[p->shares[t]] = end > need[p->shares[t]] ? end : need[p->shares[t]];
    }
    for (int t = 0; t < CHECK_N_TENSORS; t++) {
        if (p->shares[t] != t)
            continue;
        uint64_t bytes = (need[t] * check_unit(p->type[t]) + 3) / 4 * 4;
        rapt_status status = check_buffer_create(
            easy, names[t], bytes, p->c.layout == CHECK_PADDED ? 12 : 0, &p->memory[t]);
        if (status != RAPT_OK)
            return status;
    }
    return RAPT_OK;
}

static rapt_status create_statistics(rapt_easy *easy, struct check_problem *p)
{
    uint64_t bytes = 4ull * (uint64_t)p->cu_q[p->n_seqs] * p->c.heads;
    rapt_status status = RAPT_OK;
    if (p->c.flags & RAPT_PLAN_LSE)
        status = check_buffer_create(easy, "lse", bytes, 4, &p->lse);
    if (status == RAPT_OK && p->c.flags & RAPT_PLAN_MAX_LOGIT)
        status = check_buffer_create(easy, "max_logit", bytes, 0, &p->max_logit);
    if (status == RAPT_OK && p->c.flags & RAPT_PLAN_MAX_LOGIT_REDUCED)
        status = check_buffer_create(easy, "max_logit_reduced",
                                     4ull * (uint64_t)p->n_seqs * p->c.heads, 12, &p->reduced);
    if (status == RAPT_OK && p->c.flags & RAPT_PLAN_ALIBI)
        status = fill_heads(easy, "slopes", p->c.heads, &p->random, 0.05f, &p->slopes);
    if (status == RAPT_OK && p->c.flags & RAPT_PLAN_SINKS)
        status = fill_heads(easy, "sinks", p->c.heads, &p->random, 1, &p->sinks);
    if (status == RAPT_OK && p->c.bias)
        status = fill_bias(easy, p);
    return status;
}

rapt_status check_problem_create(rapt_easy *easy, const struct check_case *c, rapt_type kv,
                                 uint32_t decode_rows, uint64_t seed,
                                 struct check_problem *out_problem)
{
    struct check_problem *p = out_problem;
    memset(p, 0, sizeof *p);
    p->c = *c;
    if (c->bias)
        p->c.flags |= RAPT_PLAN_BIAS;
    p->kv = kv;
    p->decode_rows = decode_rows;
    p->random = seed;
    p->scale = 1.0f / sqrtf((float)c->d);
    p->type[CHECK_K] = p->type[CHECK_V] = kv;
    p->type[CHECK_Q] = c->q ? c->q : RAPT_TYPE_F32;
    p->type[CHECK_OUT] = c->out ? c->out : RAPT_TYPE_F32;
    if (c->layout == CHECK_T3HD || c->layout == CHECK_BS3HD)
        p->type[CHECK_Q] = kv;
    fill_lengths(p);
    rapt_status status = rapt_mask_parse(NULL, c->mask ? c->mask : "causal", NULL, &p->mask);
    if (status == RAPT_OK)
        status = fill_positions(p);
    if (status == RAPT_OK)
        status = fill_pages(p);
    if (status == RAPT_OK) {
        fill_layouts(p);
        status = create_tensors(easy, p);
    }
    if (status == RAPT_OK)
        status = check_pieces_create(easy, p);
    if (status == RAPT_OK)
        status = check_stored_create(easy, p);
    if (status == RAPT_OK)
        status = create_statistics(easy, p);
    if (status != RAPT_OK)
        return status;
    status = fill_values(p);
    if (status == RAPT_OK)
        status = check_lists_create(p);
    for (int t = 0; t < CHECK_N_TENSORS; t++)
        p->memory[t].hash = check_buffer_hash(&p->memory[t]);
    for (int i = 0; i < 2; i++) {
        p->scales[i].hash = check_buffer_hash(&p->scales[i]);
        for (int j = 0; j < 3; j++)
            p->pieces[i][j].hash = check_buffer_hash(&p->pieces[i][j]);
    }
    return status;
}

void check_problem_destroy(struct check_problem *p)
{
    for (int t = 0; t < CHECK_N_TENSORS; t++)
        check_buffer_destroy(&p->memory[t]);
    check_stored_destroy(p);
    check_buffer_destroy(&p->slopes);
    check_buffer_destroy(&p->sinks);
    check_buffer_destroy(&p->bias);
    check_buffer_destroy(&p->lse);
    check_buffer_destroy(&p->max_logit);
    check_buffer_destroy(&p->reduced);
    rapt_mask_destroy(&p->mask);
    check_lists_destroy(p);
    free(p->q_pos);
    free(p->pages);
}

rapt_buffer check_range(const struct check_problem *p, enum check_tensor t)
{
    const struct check_buffer *memory = &p->memory[p->shares[t]];
    rapt_buffer range = check_buffer_range(memory);
    uint64_t skip = p->element[t] * check_unit(p->type[t]);
    range.offset += skip;
    range.size -= skip;
    return range;
}
