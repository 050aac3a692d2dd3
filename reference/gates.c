/* SPDX-License-Identifier: Apache-2.0 */
/* MoBA's gates and choices in float64 (sparse.h). */
#include "checked.h"
#include "error.h"
#include "selection.h"
#include "view.h"

#include <math.h>
#include <string.h>

struct moba {
    struct view view;
    rapt_reference_params params;
    uint32_t chunk, top_k, gate_stride;
    double *out_gates;
    uint32_t *out_choices;
    const uint32_t *choices; /* to be compared */
    rapt_choice_error error;
    uint32_t n_chunks; /* of the longest sequence */
    /* scratch */
    double *means, *gates;
    uint32_t *order, *chosen;
};

static uint32_t chunks_of(const struct moba *moba, uint32_t b)
{
    uint64_t kv_len = rapt_batch_kv_len(&moba->view.batch, b);
    return (uint32_t)((kv_len + moba->chunk - 1) / moba->chunk);
}

static void add_mean(struct moba *moba, uint32_t b, uint32_t kv_head, uint32_t c)
{
    const rapt_problem *p = &moba->view.problem;
    uint32_t kv_len = rapt_batch_kv_len(&moba->view.batch, b), begin = c * moba->chunk;
    uint32_t end = kv_len - begin < moba->chunk ? kv_len : begin + moba->chunk;
    double *mean = moba->means + (uint64_t)c * p->head_dim;
    float row[RAPT_MAX_DIM];
    memset(mean, 0, p->head_dim * sizeof *mean);
    for (uint32_t j = begin; j < end; j++) {
        rapt_view_load_row(&p->k, p->kv_type,
                           rapt_view_kv_index(&moba->view, &p->k.layout, b, j, kv_head),
                           p->head_dim, row);
        for (uint32_t d = 0; d < p->head_dim; d++)
            mean[d] += (double)row[d];
    }
    for (uint32_t d = 0; d < p->head_dim; d++)
        mean[d] /= end - begin;
}

static void take_row(struct moba *moba, uint32_t b, uint32_t i, uint32_t head, uint64_t at)
{
    const struct view *view = &moba->view;
    uint32_t n_chunks = chunks_of(moba, b), dim = view->problem.head_dim;
    int64_t key =
        (int64_t)rapt_batch_q_pos(&view->batch, b, i) - rapt_batch_kv_pos0(&view->batch, b);
    uint32_t own = key < 0 ? 0 : (uint32_t)((uint64_t)key / moba->chunk);
    uint32_t n = key < 0 ? 0 : own < n_chunks ? own + 1 : n_chunks;
    double q[RAPT_MAX_DIM];
    rapt_view_load_q(view, b, i, head, q);
    for (uint32_t c = 0; c < moba->n_chunks; c++) {
        double sum = 0;
        for (uint32_t d = 0; c < n && d < dim; d++)
            sum += q[d] * moba->means[(uint64_t)c * dim + d];
        moba->gates[c] = c < n ? sum : -INFINITY;
    }
    for (uint32_t c = 0; moba->out_gates && c < moba->gate_stride; c++)
        moba->out_gates[at * moba->gate_stride + c] = c < n ? moba->gates[c] : -INFINITY;
    const struct rapt_selection_row row = {
        .scores = moba->gates, .n = n, .forced = own < n ? own : RAPT_NO_INDEX};
    rapt_selection_choose(&row, moba->top_k, moba->order, moba->chosen);
    if (moba->out_choices)
        memcpy(moba->out_choices + at * moba->top_k, moba->chosen,
               moba->top_k * sizeof *moba->chosen);
    if (moba->choices)
        rapt_selection_compare(&row, moba->top_k, at, moba->chosen,
                               moba->choices + at * moba->top_k, &moba->error);
}

static void take_all(struct moba *moba)
{
    const struct view *view = &moba->view;
    const rapt_problem *p = &view->problem;
    uint64_t first = moba->params.row_first;
    uint64_t step = moba->params.row_step ? moba->params.row_step : 1;
    for (uint32_t b = 0; b < p->n_seqs; b++) {
        uint32_t q_len = rapt_batch_q_len(&view->batch, b), n_chunks = chunks_of(moba, b);
        for (uint32_t kv_head = 0; q_len && kv_head < p->n_kv_heads; kv_head++) {
            for (uint32_t c = 0; c < n_chunks; c++)
                add_mean(moba, b, kv_head, c);
            for (uint32_t i = 0; i < q_len; i++)
                for (uint32_t h = kv_head * view->group; h < (kv_head + 1) * view->group; h++) {
                    uint64_t at = ((uint64_t)p->cu_q[b] + i) * p->n_q_heads + h;
                    if (at >= first && (at - first) % step == 0)
                        take_row(moba, b, i, h, at);
                }
        }
    }
}

static rapt_status check(struct moba *moba)
{
    if (moba->chunk == 0 || moba->top_k == 0)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s is 0: expected at least 1",
                         moba->chunk ? "top_k" : "chunk");
    for (uint32_t b = 0; b < moba->view.problem.n_seqs; b++) {
        uint32_t n = chunks_of(moba, b);
        moba->n_chunks = n > moba->n_chunks ? n : moba->n_chunks;
    }
    if (moba->out_gates && moba->gate_stride < moba->n_chunks)
        return rapt_fail(RAPT_ERROR_SHAPE, "gate_stride is %u: the longest sequence has %u chunks",
                         moba->gate_stride, moba->n_chunks);
    return RAPT_OK;
}

static rapt_status run(struct moba *moba, const rapt_problem *problem,
                       const rapt_reference_params *params)
{
    rapt_status status = rapt_view_open(problem, &moba->view);
    moba->params.struct_size = sizeof moba->params;
    if (status == RAPT_OK && params)
        status =
            rapt_params_read("rapt_reference_params", params, &moba->params, sizeof moba->params);
    if (status == RAPT_OK)
        status = check(moba);
    const rapt_allocator *allocator = moba->params.allocator;
    if (status == RAPT_OK)
        status = rapt_view_store(&moba->view, allocator);
    if (status != RAPT_OK)
        return status;
    size_t n = moba->n_chunks ? moba->n_chunks : 1;
    moba->means = rapt_alloc(allocator, n, moba->view.problem.head_dim * sizeof *moba->means);
    moba->gates = rapt_alloc(allocator, n, sizeof *moba->gates);
    moba->order = rapt_alloc(allocator, n, sizeof *moba->order);
    moba->chosen = rapt_alloc(allocator, moba->top_k, sizeof *moba->chosen);
    if (moba->means && moba->gates && moba->order && moba->chosen)
        take_all(moba);
    else
        status = rapt_fail(RAPT_ERROR_HOST_MEMORY, "no memory for the gates of %u chunks",
                           moba->n_chunks);
    rapt_free(allocator, moba->chosen);
    rapt_free(allocator, moba->order);
    rapt_free(allocator, moba->gates);
    rapt_free(allocator, moba->means);
    rapt_view_finish(&moba->view, allocator);
    return status;
}

rapt_status rapt_reference_moba(const rapt_problem *problem, const rapt_reference_params *params,
                                uint32_t chunk, uint32_t top_k, uint32_t gate_stride,
                                double *out_gates, uint32_t *out_choices)
{
    struct moba moba = {.chunk = chunk,
                        .top_k = top_k,
                        .gate_stride = gate_stride,
                        .out_gates = out_gates,
                        .out_choices = out_choices};
    return run(&moba, problem, params);
}

rapt_status rapt_reference_moba_check(const rapt_problem *problem,
                                      const rapt_reference_params *params, uint32_t chunk,
                                      uint32_t top_k, const uint32_t *choices,
                                      rapt_choice_error *out_error)
{
    struct moba moba = {.chunk = chunk, .top_k = top_k, .choices = choices};
    if (!choices || !out_error)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s is NULL", choices ? "out_error" : "choices");
    moba.error = (rapt_choice_error){.struct_size = sizeof moba.error, .first_wrong = UINT64_MAX};
    rapt_status status = run(&moba, problem, params);
    if (status != RAPT_OK)
        return status;
    moba.error.ok = moba.error.n_wrong == 0;
    rapt_params_write(out_error, &moba.error, sizeof moba.error);
    return RAPT_OK;
}
