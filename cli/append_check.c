/* SPDX-License-Identifier: Apache-2.0 */
/* The same append on the host, byte by byte: what a device must have written. */
#include "append.h"

#include "cli.h"

#include <stdlib.h>
#include <string.h>

static float element(const struct array *array, uint64_t i)
{
    uint16_t half;
    float value;
    if (array->dtype == ARRAY_F4) {
        memcpy(&value, (const char *)array->data + 4 * i, 4);
        return value;
    }
    memcpy(&half, (const char *)array->data + 2 * i, 2);
    return array->dtype == ARRAY_F2 ? rapt_f32_from_f16(half) : rapt_f32_from_bf16(half);
}

/* The rows of one new token as the cache stores them. */
struct token {
    float *values; /* [heads, dim] */
    int32_t *positions;
    uint8_t *rows, *scales;
};

static int make_token(const struct append *append, int v, uint32_t t, int32_t position,
                      struct token *token)
{
    const struct append_side *side = &append->sides[v];
    uint32_t n_heads = append->problem.n_kv_heads;
    uint64_t n = (uint64_t)n_heads * side->dim;
    for (uint64_t i = 0; i < n; i++)
        token->values[i] = element(side->rows, t * n + i);
    for (uint32_t h = 0; h < n_heads; h++)
        token->positions[h] = position;
    rapt_status status = RAPT_OK;
    if (!v && append->problem.rope)
        status = rapt_rope_apply(append->problem.rope, side->dim, n_heads, token->positions,
                                 token->values, token->values);
    if (!status)
        status = rapt_quantize_rows(&side->quantize, 1, token->values, token->rows, token->scales);
    return status ? cli_fail_status(status, "--check") : 0;
}

static void put_token(const struct append *append, int v, uint64_t page, uint32_t slot,
                      const struct token *token, const struct append_before *before)
{
    const struct append_side *side = &append->sides[v];
    /* K and V of an interleaved pool share it: V's rows lie behind K's. */
    int shares = v && !side->pool;
    uint8_t *pool = before->pool[shares ? 0 : v] + (shares ? append->sides[0].row_bytes : 0);
    for (uint32_t h = 0; h < append->problem.n_kv_heads; h++)
        memcpy(pool + page * side->layout.outer_stride + slot * side->layout.token_stride +
                   h * side->layout.head_stride,
               token->rows + h * side->row_bytes, side->row_bytes);
    uint64_t n_bytes = side->n_row_scales * append->scale_bytes;
    if (n_bytes)
        memcpy(before->scales[v] + (page * append->problem.page_size + slot) * n_bytes,
               token->scales, n_bytes);
}

static int append_side(const struct append *append, int v, const struct append_before *before)
{
    const rapt_problem *problem = &append->problem;
    const struct append_side *side = &append->sides[v];
    uint64_t n = (uint64_t)problem->n_kv_heads * side->dim;
    struct token token = {.values = calloc(n, sizeof *token.values),
                          .positions = calloc(problem->n_kv_heads, sizeof *token.positions),
                          .rows = calloc(problem->n_kv_heads, side->row_bytes),
                          .scales = calloc(side->n_row_scales + 1, 4)};
    int code = token.values && token.positions && token.rows && token.scales
                   ? 0
                   : cli_fail(CLI_DEVICE, "out of memory");
    for (uint32_t b = 0; b < problem->n_seqs; b++) {
        uint32_t n_new = (uint32_t)(problem->cu_q[b + 1] - problem->cu_q[b]);
        for (uint32_t i = 0; i < n_new && !code; i++) {
            uint32_t t = (uint32_t)problem->cu_q[b] + i, j = append_kv_len(append, b) - n_new + i;
            int32_t position = (problem->kv_pos0 ? problem->kv_pos0[b] : 0) + (int32_t)j;
            if (problem->rope_pos)
                position = problem->rope_pos[t];
            code = make_token(append, v, t, position, &token);
            if (!code)
                put_token(append, v,
                          problem->page_indices[problem->page_indptr[b] + j / problem->page_size],
                          j % problem->page_size, &token, before);
        }
    }
    free(token.values);
    free(token.positions);
    free(token.rows);
    free(token.scales);
    return code;
}

static uint64_t differences(const uint8_t *a, const uint8_t *b, uint64_t n)
{
    uint64_t n_wrong = 0;
    for (uint64_t i = 0; i < n; i++)
        n_wrong += a[i] != b[i];
    return n_wrong;
}

int append_compare(const struct append *append, struct append_before *before,
                   uint64_t out_n_wrong[4])
{
    for (int v = 0; v < 2; v++) {
        int code = append_side(append, v, before);
        if (code)
            return code;
    }
    for (int v = 0; v < 2; v++) {
        const struct append_side *side = &append->sides[v];
        out_n_wrong[v] = side->pool ? differences(side->pool, before->pool[v], side->n_bytes) : 0;
        out_n_wrong[2 + v] =
            side->scales ? differences(side->scales, before->scales[v], side->n_scale_bytes) : 0;
    }
    return 0;
}
