/* SPDX-License-Identifier: Apache-2.0 */
/* The textbook baseline: three kernels with the scores in memory between them. */
#include "job.h"

#include "small_kernel.h"

#include "baseline_args.h"
#include "checked.h"

#include <math.h>
#include <string.h>

#define NO_BOUND 0x3fffffff
#define MOST_QUERIES 32768u /* of a sequence: one axis of a grid takes 65535 groups */

enum { SCORES, SOFTMAX, VALUES, N_PASSES };

struct three_pass {
    rapt_easy_buffer *scores;
    struct small_kernel kernels[N_PASSES]; /* made at the first run, when all buffers are there */
    int made;
    uint32_t lanes, queries; /* of a workgroup; of an invocation */
    uint32_t heads;          /* worked on by one dispatch */
    uint64_t head_bytes;     /* of scores, the longest sequence's */
    uint32_t row_stride;     /* its, too */
    int causal;
    int32_t *shift; /* per sequence: query i sees keys j <= i + shift */
    int32_t *cu_q, *cu_kv;
};

uint64_t rapt_three_pass_bytes(const rapt_easy_job *job)
{
    return job->three_pass->scores ? job->three_pass->scores->memory_bytes : 0;
}

static rapt_status check(const rapt_easy_job *job, int *out_causal)
{
    const rapt_problem *p = &job->problem;
    const rapt_plan_params *plan = &job->plan_params;
    const char *what = NULL;
    uint32_t extras = RAPT_PLAN_ALIBI | RAPT_PLAN_SINKS | RAPT_PLAN_BIAS | RAPT_PLAN_LSE |
                      RAPT_PLAN_MAX_LOGIT | RAPT_PLAN_UNNORMALISED | RAPT_PLAN_CONST_MAX;
    rapt_mask *causal = NULL;
    rapt_status status = rapt_mask_parse(job->easy->allocator, "causal", NULL, &causal);
    if (status != RAPT_OK)
        return status;
    *out_causal = p->mask && rapt_mask_equal(p->mask, causal);
    rapt_mask_destroy(&causal);
    uint64_t strides = plan->q.token_stride | plan->q.head_stride | plan->q.outer_stride |
                       plan->k.token_stride | plan->k.head_stride | plan->k.outer_stride |
                       plan->v.token_stride | plan->v.head_stride | plan->v.outer_stride;
    if (p->page_size > 0)
        what = "packed K/V";
    else if ((plan->flags & extras) || p->softcap > 0)
        what = "no slopes, sinks, bias, softcap or further results";
    else if (job->table || (!*out_causal && !rapt_mask_equal(p->mask, NULL)))
        what = "the masks full and causal";
    else if (p->q_pos)
        what = "positions that follow one another";
    else if (p->out_type != RAPT_TYPE_F32)
        what = "f32 output";
    else if (rapt_type_bytes(p->kv_type) == 0 || plan->rope)
        what = "K/V that are neither quantized nor rotated";
    else if (strides % 4 != 0)
        what = "strides that are multiples of four";
    if (what)
        return rapt_fail(RAPT_ERROR_UNSUPPORTED, "three_pass takes %s only", what);
    return RAPT_OK;
}

/* What later runs need of the caller's arrays. */
static rapt_status copy_lengths(rapt_easy_job *job, struct three_pass *three)
{
    const rapt_problem *p = &job->problem;
    const rapt_allocator *allocator = job->easy->allocator;
    size_t n = (size_t)p->n_seqs + 1;
    three->shift = rapt_alloc(allocator, n, sizeof(int32_t));
    three->cu_q = rapt_alloc(allocator, n, sizeof(int32_t));
    three->cu_kv = rapt_alloc(allocator, n, sizeof(int32_t));
    if (!three->shift || !three->cu_q || !three->cu_kv)
        return rapt_fail(RAPT_ERROR_HOST_MEMORY, "out of host memory for lengths");
    memcpy(three->cu_q, p->cu_q, n * sizeof(int32_t));
    memcpy(three->cu_kv, p->cu_kv, n * sizeof(int32_t));
    for (uint32_t b = 0; b < p->n_seqs; b++) {
        int32_t q_len = p->cu_q[b + 1] - p->cu_q[b], kv_len = p->cu_kv[b + 1] - p->cu_kv[b];
        int64_t shift = (int64_t)kv_len - q_len;
        if (p->q_pos0)
            shift = (int64_t)p->q_pos0[b] - (p->kv_pos0 ? p->kv_pos0[b] : 0);
        shift = shift < -NO_BOUND ? -NO_BOUND : shift > NO_BOUND ? NO_BOUND : shift;
        three->shift[b] = three->causal ? (int32_t)shift : NO_BOUND;
    }
    return RAPT_OK;
}

static rapt_status size_scores(rapt_easy_job *job, struct three_pass *three)
{
    const rapt_problem *p = &job->problem;
    const rapt_caps *caps = job->easy->caps;
    uint64_t alignment = caps->storage_buffer_alignment > 16 ? caps->storage_buffer_alignment : 16;
    uint32_t most_q = 1, most_kv = 1;
    for (uint32_t b = 0; b < p->n_seqs; b++) {
        uint32_t q_len = (uint32_t)(p->cu_q[b + 1] - p->cu_q[b]);
        uint32_t kv_len = (uint32_t)(p->cu_kv[b + 1] - p->cu_kv[b]);
        most_q = q_len > most_q ? q_len : most_q;
        most_kv = kv_len > most_kv ? kv_len : most_kv;
    }
    if (most_q > MOST_QUERIES)
        return rapt_fail(RAPT_ERROR_UNSUPPORTED, "three_pass takes up to %u queries, not %u",
                         MOST_QUERIES, most_q);
    three->queries = most_q == 1 ? 1 : 4;
    three->row_stride = (most_kv + 3) / 4 * 4 + 4;
    three->head_bytes = rapt_mul_sat(4 * (uint64_t)three->row_stride, most_q);
    uint64_t range = caps->max_storage_buffer_range < UINT32_MAX ? caps->max_storage_buffer_range
                                                                 : UINT32_MAX;
    if (three->head_bytes > range - alignment)
        return rapt_fail(RAPT_ERROR_UNSUPPORTED,
                         "three_pass: the scores of one head take %llu bytes, more than the "
                         "device binds at once",
                         (unsigned long long)three->head_bytes);
    three->head_bytes = (three->head_bytes + alignment - 1) / alignment * alignment;
    uint64_t heads = range / three->head_bytes;
    three->heads = heads < p->n_q_heads ? (uint32_t)heads : p->n_q_heads;
    if (three->heads > caps->max_workgroup_count[2])
        three->heads = caps->max_workgroup_count[2];
    /* Dispatches begin at multiples of `heads`, and a window must not pass the buffer's end. */
    uint64_t n = ((uint64_t)p->n_q_heads + three->heads - 1) / three->heads * three->heads;
    if (n * three->head_bytes > UINT32_MAX) /* dynamic offsets are 32-bit */
        return rapt_fail(RAPT_ERROR_UNSUPPORTED,
                         "three_pass: the scores take %llu bytes, at most 4 GiB are supported",
                         (unsigned long long)(n * three->head_bytes));
    return rapt_easy_buffer_create(job->easy, rapt_mul_sat(n, three->head_bytes), "scores", 0,
                                   &three->scores);
}

rapt_status rapt_three_pass_create(rapt_easy_job *job)
{
    int causal = 0;
    rapt_status status = check(job, &causal);
    if (status != RAPT_OK)
        return status;
    struct three_pass *three = rapt_alloc(job->easy->allocator, 1, sizeof *three);
    if (!three)
        return rapt_fail(RAPT_ERROR_HOST_MEMORY, "out of host memory for a job");
    job->three_pass = three;
    three->causal = causal;
    /* The CPU driver runs a workgroup of one subgroup best; GPUs want a few. */
    const rapt_caps *caps = job->easy->caps;
    three->lanes = 64;
    if (caps->device_type == VK_PHYSICAL_DEVICE_TYPE_CPU && caps->subgroup_size > 0 &&
        caps->subgroup_size <= 64)
        three->lanes = caps->subgroup_size;
    status = copy_lengths(job, three);
    if (status == RAPT_OK)
        status = size_scores(job, three);
    return status;
}

void rapt_three_pass_destroy(rapt_easy_job *job)
{
    struct three_pass *three = job->three_pass;
    if (!three)
        return;
    rapt_easy *easy = job->easy;
    for (int i = 0; i < N_PASSES; i++)
        rapt_small_kernel_finish(easy, &three->kernels[i]);
    rapt_easy_buffer_destroy(&three->scores);
    rapt_free(easy->allocator, three->shift);
    rapt_free(easy->allocator, three->cu_q);
    rapt_free(easy->allocator, three->cu_kv);
    rapt_free(easy->allocator, three);
    job->three_pass = NULL;
}

static rapt_status make_kernel(rapt_easy_job *job, int pass)
{
    static const enum rapt_kernel_id ids[N_PASSES] = {
        RAPT_KERNEL_three_pass_scores, RAPT_KERNEL_three_pass_softmax,
        RAPT_KERNEL_three_pass_values};
    struct three_pass *three = job->three_pass;
    struct small_kernel_params params = {.id = ids[pass],
                                         .push_bytes = sizeof(struct rapt_three_pass_push),
                                         .dynamic = RAPT_BIND_WORK};
    params.spec[RAPT_SPEC_WG_SIZE] = three->lanes;
    params.spec[RAPT_SPEC_HEAD_DIM] = job->problem.head_dim;
    params.spec[RAPT_SPEC_HEAD_DIM_V] = job->problem.head_dim_v;
    params.spec[RAPT_SPEC_Q_TYPE] = (uint32_t)job->problem.q_type;
    params.spec[RAPT_SPEC_OUT_TYPE] = RAPT_STORE_F32;
    params.spec[RAPT_SPEC_TILE_A] = three->queries;
    params.spec[RAPT_SPEC_TILE_B] = (uint32_t)job->problem.kv_type;
    static const uint32_t inputs[N_PASSES][2] = {
        {RAPT_BIND_Q, RAPT_BIND_K}, {0, 0}, {RAPT_BIND_V, RAPT_BIND_OUT}};
    static const enum job_buffer buffers[N_PASSES][2] = {
        {JOB_Q, JOB_K}, {JOB_Q, JOB_Q}, {JOB_V, JOB_OUT}};
    for (int i = 0; i < 2 && inputs[pass][i]; i++) {
        params.bindings[params.n_bindings] = inputs[pass][i];
        params.buffers[params.n_bindings++] =
            rapt_easy_buffer_range(job->buffers[buffers[pass][i]]);
    }
    params.bindings[params.n_bindings] = RAPT_BIND_WORK;
    params.buffers[params.n_bindings] = rapt_easy_buffer_range(three->scores);
    params.buffers[params.n_bindings++].size = three->heads * three->head_bytes;
    return rapt_small_kernel_create(job->easy, &params, &three->kernels[pass]);
}

static void fill_push(const rapt_easy_job *job, uint32_t b, struct rapt_three_pass_push *push)
{
    const struct three_pass *three = job->three_pass;
    const rapt_problem *p = &job->problem;
    const rapt_layout *q = &job->plan_params.q, *k = &job->plan_params.k, *v = &job->plan_params.v;
    uint32_t q_row = (uint32_t)three->cu_q[b], kv_row = (uint32_t)three->cu_kv[b];
    uint32_t out_stride = p->n_q_heads * p->head_dim_v;
    *push = (struct rapt_three_pass_push){
        .n_q = (uint32_t)three->cu_q[b + 1] - q_row,
        .n_kv = (uint32_t)three->cu_kv[b + 1] - kv_row,
        .group = p->n_q_heads / p->n_kv_heads,
        .q_base = (uint32_t)(q->outer_stride ? b * q->outer_stride : q_row * q->token_stride),
        .q_token_stride = (uint32_t)q->token_stride,
        .q_head_stride = (uint32_t)q->head_stride,
        .k_base = (uint32_t)(k->outer_stride ? b * k->outer_stride : kv_row * k->token_stride),
        .k_token_stride = (uint32_t)k->token_stride,
        .k_head_stride = (uint32_t)k->head_stride,
        .v_base = (uint32_t)(v->outer_stride ? b * v->outer_stride : kv_row * v->token_stride),
        .v_token_stride = (uint32_t)v->token_stride,
        .v_head_stride = (uint32_t)v->head_stride,
        .out_base = q_row * out_stride,
        .out_token_stride = out_stride,
        .out_head_stride = p->head_dim_v,
        .row_stride = three->row_stride,
        .head_stride = (uint32_t)(three->head_bytes / 4),
        .shift = three->shift[b],
        .scale = job->plan_params.scale != 0 ? job->plan_params.scale
                                             : 1.0f / sqrtf((float)p->head_dim),
    };
}

static void record_pass(const rapt_easy_job *job, VkCommandBuffer commands, int pass, uint32_t b,
                        uint32_t head)
{
    const struct three_pass *three = job->three_pass;
    struct rapt_three_pass_push push;
    fill_push(job, b, &push);
    if (push.n_q == 0)
        return;
    push.head_first = head;
    uint32_t n_heads = job->problem.n_q_heads - head;
    uint32_t tiles = (push.n_q + three->queries - 1) / three->queries;
    uint32_t groups[3] = {0, 1, n_heads < three->heads ? n_heads : three->heads};
    if (pass == SCORES) {
        groups[0] = (push.n_kv + three->lanes * 4 - 1) / (three->lanes * 4);
        groups[1] = tiles;
    } else if (pass == SOFTMAX) {
        groups[0] = push.n_q;
    } else {
        groups[0] = (tiles * (job->problem.head_dim_v / 4) + three->lanes - 1) / three->lanes;
    }
    if (groups[0] == 0)
        return;
    /* Heads that do not share a window lie behind one another; each dispatch has its own part. */
    rapt_small_kernel_dispatch(job->easy, &three->kernels[pass], commands,
                          (uint32_t)(head * three->head_bytes), &push, sizeof push, groups);
}

rapt_status rapt_three_pass_record(rapt_easy_job *job, VkCommandBuffer commands)
{
    struct three_pass *three = job->three_pass;
    for (int pass = 0; pass < N_PASSES && !three->made; pass++) {
        rapt_status status = make_kernel(job, pass);
        if (status != RAPT_OK) {
            for (int i = 0; i < N_PASSES; i++)
                rapt_small_kernel_finish(job->easy, &three->kernels[i]);
            return status;
        }
    }
    three->made = 1;
    for (uint32_t b = 0; b < job->problem.n_seqs; b++) {
        for (int pass = 0; pass < N_PASSES; pass++) {
            for (uint32_t head = 0; head < job->problem.n_q_heads; head += three->heads)
                record_pass(job, commands, pass, b, head);
            rapt_easy_barrier(job->easy, commands);
        }
    }
    return RAPT_OK;
}
