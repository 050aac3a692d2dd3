/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_KV_SHADOW_H
#define RUNTIME_KV_SHADOW_H

/* A small model over rapt_easy_cache, and what the tests know of its sequences: their tokens. K, V
 * and Q of a token follow from layer, position and token id, as in a model whose layers see nothing
 * else; so the whole history can be made again, and the float64 reference says what every step has
 * to give. Include cmocka's headers before. */

#include "random.h"

#include <rapt/easy.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SHADOW_MAX_TOKENS = 600, SHADOW_MAX_GROUPS = 3, SHADOW_MAX_BATCH = 8 };

/* The params of the cache under test, kept alive. */
struct shadow_model {
    rapt_easy_cache_params params;
    rapt_easy_cache_group groups[SHADOW_MAX_GROUPS];
    rapt_mask *masks[SHADOW_MAX_GROUPS];
    rapt_bound_kind bound;
};

struct shadow_seq {
    rapt_seq seq;
    uint32_t n;
    int32_t tokens[SHADOW_MAX_TOKENS];
};

static inline void shadow_ok(rapt_status status)
{
    if (status != RAPT_OK)
        fprintf(stderr, "%s\n", rapt_last_error());
    assert_int_equal(status, RAPT_OK);
}

/* N(0, 1), nearly: the sum of 4 uniform numbers. */
static inline float shadow_number(uint64_t key)
{
    uint64_t z = random_mix(key * RANDOM_STEP);
    int32_t sum = (int32_t)(z & 0xffff) + (int32_t)(z >> 16 & 0xffff) +
                  (int32_t)(z >> 32 & 0xffff) + (int32_t)(z >> 48);
    return (float)(sum - 2 * 0xffff) * (1.7320508f / 0xffff);
}

static inline uint64_t shadow_key(int what, uint32_t layer, uint32_t position, int32_t token)
{
    return ((((uint64_t)what * 64 + layer) * 65536 + position) * 65536 + (uint32_t)token) * 8192;
}

static inline void shadow_rows(int what, uint32_t layer, uint32_t position, int32_t token,
                               uint32_t n, float *out)
{
    for (uint32_t i = 0; i < n; i++)
        out[i] = shadow_number(shadow_key(what, layer, position, token) + i);
}

static inline uint32_t shadow_group(const struct shadow_model *model, uint32_t layer)
{
    return model->params.layer_groups ? model->params.layer_groups[layer] : 0;
}

static inline const rapt_rope *shadow_rope(const struct shadow_model *model, uint32_t group)
{
    return model->groups[group].rope ? model->groups[group].rope : model->params.rope;
}

static inline void shadow_model_finish(struct shadow_model *model)
{
    for (int g = 0; g < SHADOW_MAX_GROUPS; g++)
        rapt_mask_destroy(&model->masks[g]);
}

/* Sets pointers and makes masks; the rest of params and groups is the test's. */
static inline void shadow_model_init(struct shadow_model *model)
{
    model->params.struct_size = sizeof model->params;
    model->params.groups = model->groups;
    model->params.integer_dot = RAPT_CHOICE_NEVER;
    if (model->params.max_kv_len == 0)
        model->params.max_kv_len = SHADOW_MAX_TOKENS;
    for (uint32_t g = 0; g < model->params.n_groups; g++) {
        const rapt_easy_cache_group *group = &model->groups[g];
        char text[64] = "causal";
        if (group->window && group->sink_tokens)
            snprintf(text, sizeof text, "causal & (window(%u, 0) | sink_tokens(%u))",
                     group->window - 1, group->sink_tokens);
        else if (group->window)
            snprintf(text, sizeof text, "causal & window(%u, 0)", group->window - 1);
        shadow_ok(rapt_mask_parse(NULL, text, NULL, &model->masks[g]));
    }
}

struct shadow_step {
    const struct shadow_model *model;
    uint32_t n_seqs;
    struct shadow_seq *const *seqs; /* with the step's tokens in them */
    const uint32_t *n_new;
    int32_t cu_q[SHADOW_MAX_BATCH + 1], cu_kv[SHADOW_MAX_BATCH + 1];
};

/* Floats of one layer: Q and K, V of the new tokens alone or of all. */
static inline float *shadow_tensor(const struct shadow_step *step, int what, uint32_t layer,
                                   uint32_t per_token, int all)
{
    const int32_t *cu = all ? step->cu_kv : step->cu_q;
    float *data = malloc(((size_t)cu[step->n_seqs] * per_token + 1) * sizeof *data);
    assert_non_null(data);
    for (uint32_t b = 0; b < step->n_seqs; b++) {
        const struct shadow_seq *seq = step->seqs[b];
        uint32_t n = (uint32_t)(cu[b + 1] - cu[b]), first = seq->n - n;
        for (uint32_t i = 0; i < n; i++)
            shadow_rows(what, layer, first + i, seq->tokens[first + i], per_token,
                        data + ((size_t)cu[b] + i) * per_token);
    }
    return data;
}

/* One layer of an open step: runs it, and compares with the reference. */
static inline void shadow_layer(rapt_easy_cache *cache, const struct shadow_step *step,
                                uint32_t layer, float *out)
{
    const struct shadow_model *model = step->model;
    const rapt_easy_cache_params *params = &model->params;
    uint32_t g = shadow_group(model, layer);
    const rapt_easy_cache_group *group = &model->groups[g];
    uint32_t heads = group->n_kv_heads ? group->n_kv_heads : params->n_kv_heads;
    uint32_t dim = group->head_dim ? group->head_dim : params->head_dim;
    uint32_t dim_v = group->head_dim_v    ? group->head_dim_v
                     : group->head_dim    ? dim
                     : params->head_dim_v ? params->head_dim_v
                                          : dim;
    size_t total_q = (size_t)step->cu_q[step->n_seqs], total_kv = (size_t)step->cu_kv[step->n_seqs];
    float *q = shadow_tensor(step, 0, layer, params->n_q_heads * dim, 0);
    float *k_new = shadow_tensor(step, 1, layer, heads * dim, 0);
    float *v_new = shadow_tensor(step, 2, layer, heads * dim_v, 0);
    float *k = shadow_tensor(step, 1, layer, heads * dim, 1);
    float *v = shadow_tensor(step, 2, layer, heads * dim_v, 1);
    for (size_t i = 0; i < total_q * params->n_q_heads * dim_v; i++)
        out[i] = NAN;
    shadow_ok(rapt_easy_cache_step_layer(cache, layer, q, k_new, v_new, out));
    rapt_problem problem = {
        .struct_size = sizeof problem,
        .n_seqs = step->n_seqs,
        .n_q_heads = params->n_q_heads,
        .n_kv_heads = heads,
        .head_dim = dim,
        .head_dim_v = dim_v,
        .q = {.data = q, .n_elements = total_q * params->n_q_heads * dim},
        .k = {.data = k, .n_elements = total_kv * heads * dim},
        .v = {.data = v, .n_elements = total_kv * heads * dim_v},
        .q_type = params->q_type,
        .kv_type = params->kv_type ? params->kv_type : RAPT_TYPE_F16,
        .cu_q = step->cu_q,
        .cu_kv = step->cu_kv,
        .scale = params->scale,
        .softcap = params->softcap,
        .sinks = params->sinks ? params->sinks + layer * params->n_q_heads : NULL,
        .mask = model->masks[g],
        .scale_type = params->scale_type,
        .scale_kind = params->scale_kind,
        .k_scale = params->k_scale ? params->k_scale + layer * heads : NULL,
        .v_scale = params->v_scale ? params->v_scale + layer * heads : NULL,
        .n_k_scale = params->k_scale ? heads : 0,
        .n_v_scale = params->v_scale ? heads : 0,
        .rope = shadow_rope(model, g),
    };
    rapt_result result = {.struct_size = sizeof result, .out = out};
    rapt_error error = {.struct_size = sizeof error};
    shadow_ok(rapt_reference_check(&problem, NULL, &result, model->bound, &error));
    if (!error.ok)
        fprintf(stderr, "layer %u: e %g of %g, max %g of %g, %d NaN\n", layer, error.e,
                error.bound_e, error.max_ratio, error.bound_max, error.n_nan);
    assert_true(error.ok);
    free(q);
    free(k_new);
    free(v_new);
    free(k);
    free(v);
}

/* Lengths of a step whose tokens are in the sequences already. */
static inline struct shadow_step shadow_step_of(const struct shadow_model *model, uint32_t n_seqs,
                                                struct shadow_seq *const *seqs,
                                                const uint32_t *n_new)
{
    struct shadow_step step = {.model = model, .n_seqs = n_seqs, .seqs = seqs, .n_new = n_new};
    for (uint32_t b = 0; b < n_seqs; b++) {
        step.cu_q[b + 1] = step.cu_q[b] + (int32_t)n_new[b];
        step.cu_kv[b + 1] = step.cu_kv[b] + (int32_t)seqs[b]->n;
    }
    return step;
}

static inline size_t shadow_out_floats(const struct shadow_model *model, uint32_t n_tokens)
{
    return (size_t)n_tokens * model->params.n_q_heads * 128;
}

/* A whole step: n_new[b] more tokens of each sequence, ids first_token, first_token + 1, ... or
 * those that follow in its array where first_token is negative. out (may be NULL) receives the last
 * layer's output. */
static inline void shadow_run(rapt_easy_cache *cache, const struct shadow_model *model,
                              uint32_t n_seqs, struct shadow_seq *const *seqs,
                              const uint32_t *n_new, int32_t first_token, float *out)
{
    int32_t tokens[SHADOW_MAX_BATCH * SHADOW_MAX_TOKENS];
    rapt_seq handles[SHADOW_MAX_BATCH];
    uint32_t total = 0;
    for (uint32_t b = 0; b < n_seqs; b++) {
        handles[b] = seqs[b]->seq;
        for (uint32_t i = 0; i < n_new[b]; i++) {
            int32_t *token = &seqs[b]->tokens[seqs[b]->n++];
            if (first_token >= 0)
                *token = first_token + (int32_t)total;
            tokens[total++] = *token;
        }
    }
    struct shadow_step step = shadow_step_of(model, n_seqs, seqs, n_new);
    float *own = out ? out : malloc(shadow_out_floats(model, total) * sizeof *own);
    assert_non_null(own);
    shadow_ok(rapt_easy_cache_step_begin(cache, n_seqs, handles, n_new, tokens));
    for (uint32_t layer = model->params.n_layers; layer-- > 0;)
        shadow_layer(cache, &step, layer, own);
    shadow_ok(rapt_easy_cache_step_end(cache));
    shadow_ok(rapt_pager_check(rapt_easy_cache_pager(cache)));
    if (!out)
        free(own);
}

/* One sequence. */
static inline void shadow_run_one(rapt_easy_cache *cache, const struct shadow_model *model,
                                  struct shadow_seq *seq, uint32_t n_new, int32_t first_token,
                                  float *out)
{
    shadow_run(cache, model, 1, &seq, &n_new, first_token, out);
}

/* Opens a sequence whose prompt lies in seq->tokens; returns how much of it was cached, which
 * counts as appended. */
static inline uint32_t shadow_open(rapt_easy_cache *cache, struct shadow_seq *seq,
                                   uint32_t n_prompt)
{
    rapt_seq_params params = {
        .struct_size = sizeof params, .tokens = seq->tokens, .n_tokens = n_prompt};
    seq->n = 0;
    shadow_ok(rapt_pager_open(rapt_easy_cache_pager(cache), n_prompt ? &params : NULL, &seq->seq,
                              &seq->n));
    return seq->n;
}

static inline void shadow_fork(rapt_easy_cache *cache, const struct shadow_seq *seq,
                               struct shadow_seq *out_child)
{
    *out_child = *seq;
    shadow_ok(rapt_pager_fork(rapt_easy_cache_pager(cache), seq->seq, &out_child->seq));
}

static inline void shadow_truncate(rapt_easy_cache *cache, struct shadow_seq *seq, uint32_t n)
{
    shadow_ok(rapt_pager_truncate(rapt_easy_cache_pager(cache), seq->seq, n));
    seq->n = n;
}

static inline void shadow_close(rapt_easy_cache *cache, struct shadow_seq *seq)
{
    shadow_ok(rapt_pager_close(rapt_easy_cache_pager(cache), seq->seq));
    seq->seq = 0;
}

static inline rapt_pager_stats shadow_stats(rapt_easy_cache *cache, uint32_t group)
{
    rapt_pager_stats stats = {.struct_size = sizeof stats};
    shadow_ok(rapt_pager_get_stats(rapt_easy_cache_pager(cache), group, &stats));
    return stats;
}

#endif
