/* SPDX-License-Identifier: Apache-2.0 */
#include "case.h"

#include "cli.h"
#include "device.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* splitmix64 */
static uint64_t next(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* The sum of twelve 16-bit uniforms: normal enough, and unlike log and cos the same on every
 * machine. */
void case_random(uint64_t seed, float *out_numbers, size_t n)
{
    uint64_t state = seed;
    for (size_t i = 0; i < n; i++) {
        uint32_t sum = 0;
        for (int word = 0; word < 3; word++) {
            uint64_t bits = next(&state);
            sum += (uint32_t)(bits & 0xffff) + (uint32_t)(bits >> 16 & 0xffff) +
                   (uint32_t)(bits >> 32 & 0xffff) + (uint32_t)(bits >> 48);
        }
        out_numbers[i] = ((float)sum - 6 * 65535.0f) / 65536.0f;
    }
}

static float *random_array(uint64_t seed, uint64_t n)
{
    float *numbers = n < SIZE_MAX / 8 ? malloc(((size_t)n + 1) * sizeof *numbers) : NULL;
    if (numbers)
        case_random(seed, numbers, (size_t)n);
    return numbers;
}

static rapt_array dense(const float *data, uint64_t n)
{
    return (rapt_array){.data = data, .n_elements = (size_t)n, .type = RAPT_TYPE_F32};
}

static int make_extras(const struct case_spec *spec, uint64_t seed, struct case_data *data)
{
    rapt_problem *problem = &data->problem;
    uint64_t n_bias = (uint64_t)spec->q_len[0] * (uint64_t)spec->kv_len[0] * spec->n_q_heads;
    int32_t total_q = data->cu_q[spec->n_seqs];
    data->slopes = random_array(seed + 5, spec->n_q_heads);
    data->sinks = random_array(seed + 6, spec->n_q_heads);
    data->bias = random_array(seed + 7, n_bias);
    data->bias16 = calloc((size_t)n_bias + 1, sizeof *data->bias16);
    data->q_pos = calloc((size_t)total_q + 1, sizeof *data->q_pos);
    if (!data->slopes || !data->sinks || !data->bias || !data->bias16 || !data->q_pos)
        return cli_fail(CLI_DEVICE, "out of memory");
    for (uint32_t h = 0; h < spec->n_q_heads; h++)
        data->slopes[h] = 1.0f / (float)(2u << (h % 8));
    for (uint64_t i = 0; i < n_bias; i++) {
        /* Every 13th pair is forbidden the way a bias can say it. */
        if (i % 13 == 5)
            data->bias[i] = -INFINITY;
        data->bias16[i] = rapt_f16_from_f32(data->bias[i]);
    }
    for (uint32_t b = 0; b < spec->n_seqs; b++) {
        for (int32_t i = 0; i < spec->q_len[b]; i++) {
            /* Load-balanced order: first, last, second, last but one, ... */
            int32_t turned = i % 2 ? spec->q_len[b] - 1 - i / 2 : i / 2;
            data->q_pos[data->cu_q[b] + i] = spec->kv_len[b] - spec->q_len[b] + turned;
        }
    }
    data->rope =
        (rapt_rope){.struct_size = sizeof data->rope, .pairing = RAPT_ROPE_NEOX, .theta = 500000};
    if (spec->flags & CASE_ROPE)
        problem->rope = &data->rope;
    data->scale[0] = 0.02f; /* of 448 steps and more */
    if (spec->flags & CASE_STATIC) {
        problem->scale_kind = RAPT_SCALE_STATIC;
        problem->k_scale = problem->v_scale = data->scale;
        problem->n_k_scale = problem->n_v_scale = 1;
    }
    if (spec->flags & CASE_ALIBI)
        problem->slopes = data->slopes;
    if (spec->flags & CASE_SINKS)
        problem->sinks = data->sinks;
    if (spec->flags & CASE_POSITIONS)
        problem->q_pos = data->q_pos;
    if (spec->flags & (CASE_BIAS_F32 | CASE_BIAS_F16)) {
        int half = (spec->flags & CASE_BIAS_F16) != 0;
        problem->bias.data = half ? (const void *)data->bias16 : (const void *)data->bias;
        problem->bias.type = half ? RAPT_TYPE_F16 : RAPT_TYPE_F32;
        problem->bias.n_elements = (size_t)n_bias;
        problem->bias.layout.token_stride = (uint64_t)spec->kv_len[0];
        problem->bias.layout.head_stride = (uint64_t)spec->q_len[0] * (uint64_t)spec->kv_len[0];
    }
    return 0;
}

/* Rows of the map keep as many blocks, give or take one, wherever they are. */
static int make_map(const struct case_spec *spec, uint64_t seed, struct case_data *data)
{
    uint32_t n = ((uint32_t)spec->kv_len[0] + spec->map_block - 1) / spec->map_block;
    data->map = calloc(n, n);
    if (!data->map)
        return cli_fail(CLI_DEVICE, "out of memory");
    for (uint32_t row = 0; row < n; row++) {
        uint32_t kept = (row + 1) * n * spec->map_kept / 100 - row * n * spec->map_kept / 100;
        for (uint32_t k = 0; k < kept;) {
            uint8_t *block = &data->map[(size_t)row * n + next(&seed) % n];
            k += !*block;
            *block = 1;
        }
    }
    data->mask_data = (rapt_mask_data){.struct_size = sizeof data->mask_data,
                                       .blocks = data->map,
                                       .n_block_heads = 1,
                                       .n_q_blocks = n,
                                       .n_k_blocks = n,
                                       .map_block_q = spec->map_block,
                                       .map_block_kv = spec->map_block};
    data->problem.mask_data = &data->mask_data;
    return 0;
}

static int make_result(const struct case_spec *spec, struct case_data *data)
{
    uint64_t n_rows = (uint64_t)data->cu_q[spec->n_seqs] * spec->n_q_heads;
    rapt_result *result = &data->result;
    result->struct_size = sizeof *result;
    result->out = calloc((size_t)(n_rows * data->problem.head_dim_v) + 1, sizeof(float));
    if (spec->flags & CASE_STATS) {
        result->lse = calloc((size_t)n_rows + 1, sizeof(float));
        result->max_logit = calloc((size_t)n_rows + 1, sizeof(float));
        result->max_logit_reduced =
            calloc((size_t)spec->n_seqs * spec->n_q_heads + 1, sizeof(float));
        if (!result->lse || !result->max_logit || !result->max_logit_reduced)
            return cli_fail(CLI_DEVICE, "out of memory");
    }
    return result->out ? 0 : cli_fail(CLI_DEVICE, "out of memory");
}

int case_make(const struct case_spec *spec, uint64_t seed, struct case_data *data)
{
    memset(data, 0, sizeof *data);
    data->spec = spec;
    rapt_problem *problem = &data->problem;
    for (uint32_t b = 0; b < spec->n_seqs; b++) {
        data->cu_q[b + 1] = data->cu_q[b] + spec->q_len[b];
        data->cu_kv[b + 1] = data->cu_kv[b] + spec->kv_len[b];
        data->prefix[b] = spec->kv_len[b] / 3;
    }
    *problem = (rapt_problem){
        .struct_size = sizeof *problem,
        .n_seqs = spec->n_seqs,
        .n_q_heads = spec->n_q_heads,
        .n_kv_heads = spec->n_kv_heads,
        .head_dim = spec->head_dim,
        .head_dim_v = spec->head_dim_v ? spec->head_dim_v : spec->head_dim,
        .q_type = spec->q_type,
        .kv_type = spec->kv_type,
        .out_type = spec->out_type,
        .cu_q = data->cu_q,
        .cu_kv = data->cu_kv,
        .page_size = spec->page_size,
        .page_seed = seed,
        .scale = spec->scale,
        .softcap = spec->softcap,
        .use_max_logit_const = (spec->flags & CASE_CONST_MAX) != 0,
        .max_logit_const = 4,
        .unnormalised = (spec->flags & CASE_UNNORMALISED) != 0,
    };
    uint64_t n_q = (uint64_t)data->cu_q[spec->n_seqs] * spec->n_q_heads * spec->head_dim;
    uint64_t n_kv_rows = (uint64_t)data->cu_kv[spec->n_seqs] * spec->n_kv_heads;
    uint64_t n_k = n_kv_rows * spec->head_dim, n_v = n_kv_rows * problem->head_dim_v;
    data->q = random_array(seed, n_q);
    data->k = random_array(seed + 1, n_k);
    data->v = random_array(seed + 2, n_v);
    if (!data->q || !data->k || !data->v)
        return cli_fail(CLI_DEVICE, "out of memory");
    problem->q = dense(data->q, n_q);
    problem->k = dense(data->k, n_k);
    problem->v = dense(data->v, n_v);
    data->options = (rapt_easy_options){
        .struct_size = sizeof data->options,
        .n_splits = spec->n_splits,
        .fixed_split = spec->fixed_split,
        .plan_flags = spec->plan_flags | (spec->flags & CASE_APPEND ? RAPT_PLAN_APPEND : 0),
        .three_pass = (spec->flags & CASE_THREE_PASS) != 0,
    };
    if (spec->flags & CASE_HND) {
        uint64_t rows = (uint64_t)spec->page_size * spec->n_kv_heads;
        data->options.k_pool = (rapt_layout){rows * spec->head_dim, spec->head_dim,
                                             (uint64_t)spec->page_size * spec->head_dim, 0};
        data->options.v_pool = (rapt_layout){rows * problem->head_dim_v, problem->head_dim_v,
                                             (uint64_t)spec->page_size * problem->head_dim_v, 0};
    }
    if (spec->mask) {
        rapt_status status = rapt_mask_parse(NULL, spec->mask, NULL, &data->mask);
        if (status)
            return cli_fail_status(status, spec->mask);
        problem->mask = data->mask;
        if (rapt_mask_needs_prefix(data->mask))
            problem->prefix = data->prefix;
    }
    int code = make_extras(spec, seed, data);
    if (!code && spec->map_block)
        code = make_map(spec, seed + 9, data);
    return code ? code : make_result(spec, data);
}

void case_finish(struct case_data *data)
{
    free(data->q);
    free(data->k);
    free(data->v);
    free(data->bias);
    free(data->bias16);
    free(data->slopes);
    free(data->sinks);
    free(data->q_pos);
    free(data->map);
    free(data->result.out);
    free(data->result.lse);
    free(data->result.max_logit);
    free(data->result.max_logit_reduced);
    rapt_mask_destroy(&data->mask);
    memset(data, 0, sizeof *data);
}

static int reduction_agrees(const struct case_data *data)
{
    const rapt_result *result = &data->result;
    uint32_t n_heads = data->spec->n_q_heads;
    if (!result->max_logit_reduced)
        return 1;
    for (uint32_t b = 0; b < data->spec->n_seqs; b++) {
        for (uint32_t h = 0; h < n_heads; h++) {
            float largest = -INFINITY;
            for (int32_t t = data->cu_q[b]; t < data->cu_q[b + 1]; t++)
                largest = fmaxf(largest, result->max_logit[(size_t)t * n_heads + h]);
            if (!(result->max_logit_reduced[(size_t)b * n_heads + h] == largest))
                return 0;
        }
    }
    return 1;
}

rapt_status case_check(const struct case_data *data, rapt_bound_kind kind, rapt_error *out_error)
{
    rapt_reference_params params = {.struct_size = sizeof params, .n_threads = 4};
    uint64_t n_rows = (uint64_t)data->cu_q[data->spec->n_seqs] * data->spec->n_q_heads;
    if (data->spec->check_rows && n_rows > data->spec->check_rows) {
        /* An odd step meets every head. */
        params.row_step = (n_rows / data->spec->check_rows) | 1;
        params.row_first = params.row_step / 2;
    }
    *out_error = (rapt_error){.struct_size = sizeof *out_error};
    return rapt_reference_check(&data->problem, &params, &data->result, kind, out_error);
}

void case_run(rapt_easy *easy, struct case_data *data, uint32_t n_repeats,
              struct case_report *report)
{
    rapt_easy_job *job = NULL;
    double start = cli_seconds();
    memset(report, 0, sizeof *report);
    report->info.struct_size = sizeof report->info;
    report->status =
        rapt_easy_job_create(easy, &data->problem, &data->options, &data->result, &job);
    report->run_seconds = HUGE_VAL;
    for (uint32_t i = 0; i < n_repeats && !report->status; i++) {
        double seconds = 0;
        report->status = rapt_easy_job_run(job, &seconds);
        report->run_seconds = fmin(report->run_seconds, seconds);
    }
    if (!report->status)
        report->status = rapt_easy_job_read(job, &data->result);
    if (!report->status) {
        rapt_easy_job_get_info(job, &report->info);
        report->info.plan.why = NULL;
    }
    rapt_easy_job_destroy(&job);
    report->error.struct_size = sizeof report->error;
    report->reduction_ok = !report->status && reduction_agrees(data);
    if (!report->status)
        report->status = case_check(data, device_bound(&report->info.plan), &report->error);
    if (report->status)
        snprintf(report->message, sizeof report->message, "%s", rapt_last_error());
    report->total_seconds = cli_seconds() - start;
}
