/* SPDX-License-Identifier: Apache-2.0 */
/* The float64 reference: the formula of attention.h, row by row, with a running maximum. */
#include "block.h"
#include "convert.h"
#include "error.h"
#include "platform.h"
#include "view.h"

#include <math.h>
#include <stdatomic.h>
#include <string.h>

#define MAX_WORKERS 64
#define ROW_BLOCK 32 /* packed rows of one KV head that share each block of converted keys */

struct scratch;

struct run {
    const struct view *view;
    const rapt_allocator *allocator;
    uint64_t row_first, row_step;
    const rapt_result *result;
    double *out64, *lse64, *max_logit64;
    uint32_t *task_seq; /* tasks [task_seq[b], task_seq[b + 1]) are sequence b's */
    uint32_t n_tasks;
    atomic_uint next_task;
    struct scratch *scratch; /* one per worker: callers' allocators are for their own thread */
};

struct row {
    uint32_t token, head, begin, end; /* keys it sees */
    int sees_all;                     /* of them; else the mask says which */
    int64_t pos;
    double m, l;
};

/* What one worker needs. */
struct scratch {
    double q[ROW_BLOCK][RAPT_MAX_DIM], o[ROW_BLOCK][RAPT_MAX_DIM];
    rapt_key_columns k[RAPT_MAX_DIM];
    rapt_value_rows v[RAPT_KEY_BLOCK], loaded[RAPT_TRANSPOSE_ROWS];
    double s[RAPT_KEY_BLOCK]; /* scores, then weights */
    struct row rows[ROW_BLOCK];
};

static double logit(const struct view *view, uint32_t b, const struct row *row, uint32_t j,
                    double dot)
{
    const rapt_problem *p = &view->problem;
    double s = view->scale * dot;
    if (p->softcap > 0)
        s = p->softcap * tanh(s / p->softcap);
    if (p->slopes) {
        int64_t key_pos = (int64_t)rapt_batch_kv_pos0(&view->batch, b) + j;
        s += (double)p->slopes[row->head] * (double)(key_pos - row->pos);
    }
    if (p->bias.data)
        s += (double)rapt_view_bias(view, b, row->head, row->token, j);
    return s;
}

/* Scores of keys [begin, end) of the block that starts at key `first`; returns the largest. */
static double row_scores(const struct view *view, uint32_t b, struct scratch *scratch, uint32_t r,
                         uint32_t first, uint32_t begin, uint32_t end)
{
    const rapt_problem *p = &view->problem;
    const struct row *row = &scratch->rows[r];
    double *s = scratch->s, most = -INFINITY;
    int plain = p->softcap <= 0 && !p->slopes && !p->bias.data;
    rapt_block_dots(scratch->q[r], scratch->k, begin, end, p->head_dim, s);
    for (uint32_t j = begin; j < end; j++) {
        if (!row->sees_all && !rapt_view_allows(view, b, row->head, row->token, first + j))
            s[j] = -INFINITY;
        else
            s[j] = plain ? view->scale * s[j] : logit(view, b, row, first + j, s[j]);
        if (s[j] > most || isnan(s[j]))
            most = s[j];
    }
    return most;
}

/* Takes keys [begin, end) of the block that starts at key `first` into a row. */
static void row_update(const struct view *view, uint32_t b, struct scratch *scratch, uint32_t r,
                       uint32_t first, uint32_t begin, uint32_t end)
{
    uint32_t dim_v = view->problem.head_dim_v;
    struct row *row = &scratch->rows[r];
    double *s = scratch->s, *o = scratch->o[r];
    double most = row_scores(view, b, scratch, r, first, begin, end);
    if (most == -INFINITY)
        return;
    if (!(most <= row->m)) {
        double factor = exp(row->m - most); /* 0 while nothing was seen */
        for (uint32_t d = 0; d < dim_v; d++)
            o[d] *= factor;
        row->l *= factor;
        row->m = most;
    }
    /* The value of a forbidden key does not count even if it is infinite: runs without them. */
    uint32_t run = begin;
    for (uint32_t j = begin; j < end; j++) {
        if (s[j] == -INFINITY) {
            rapt_block_add(s, scratch->v, run, j, dim_v, o);
            run = j + 1;
            continue;
        }
        s[j] = exp(s[j] - row->m);
        row->l += s[j];
    }
    rapt_block_add(s, scratch->v, run, end, dim_v, o);
}

/* Joins the sink, or the caller's fixed maximum, and writes the row's results. */
static void row_finish(const struct run *run, uint32_t b, struct scratch *scratch, uint32_t r)
{
    const rapt_problem *p = &run->view->problem;
    struct row *row = &scratch->rows[r];
    double *o = scratch->o[r], m = row->m, l = row->l;
    double sink = p->sinks ? (double)p->sinks[row->head] : -INFINITY;
    if (p->use_max_logit_const)
        m = p->max_logit_const;
    else if (sink > m)
        m = sink;
    double factor = row->m == -INFINITY ? 0 : exp(row->m - m);
    l = l * factor + (sink == -INFINITY ? 0 : exp(sink - m));
    double divisor = p->unnormalised ? 1 : l;
    double lse = l == 0 ? -INFINITY : m + log(l);

    uint64_t at = ((uint64_t)p->cu_q[b] + row->token) * p->n_q_heads + row->head;
    for (uint32_t d = 0; d < p->head_dim_v; d++) {
        double value = row->m == -INFINITY || divisor == 0 ? 0 : o[d] * factor / divisor;
        if (run->out64)
            run->out64[at * p->head_dim_v + d] = value;
        if (run->result && run->result->out)
            run->result->out[at * p->head_dim_v + d] = rapt_round_to(p->out_type, (float)value);
    }
    if (run->lse64)
        run->lse64[at] = lse;
    if (run->max_logit64)
        run->max_logit64[at] = row->m;
    if (run->result && run->result->lse)
        run->result->lse[at] = (float)lse;
    if (run->result && run->result->max_logit)
        run->result->max_logit[at] = (float)row->m;
}

static int row_wanted(const struct run *run, uint64_t at)
{
    return at >= run->row_first && (at - run->row_first) % run->row_step == 0;
}

/* Picks the wanted rows among packed rows [first, last) and loads their queries. */
static uint32_t gather_rows(const struct run *run, uint32_t b, uint32_t kv_head, uint32_t first,
                            uint32_t last, struct scratch *scratch)
{
    const struct view *view = run->view;
    const rapt_problem *p = &view->problem;
    uint32_t n = 0;
    for (uint32_t packed = first; packed < last; packed++) {
        struct row row = {.token = packed / view->group, .m = -INFINITY};
        row.head = kv_head * view->group + packed % view->group;
        if (!row_wanted(run, ((uint64_t)p->cu_q[b] + row.token) * p->n_q_heads + row.head))
            continue;
        row.pos = rapt_batch_q_pos(&view->batch, b, row.token);
        row.sees_all = rapt_view_key_range(view, b, row.head, row.token, &row.begin, &row.end);
        rapt_view_load_q(view, b, row.token, row.head, scratch->q[n]);
        memset(scratch->o[n], 0, sizeof scratch->o[n]);
        scratch->rows[n++] = row;
    }
    return n;
}

/* Loads keys [first, stop) and their values. */
static void load_block(const struct view *view, uint32_t b, uint32_t kv_head, uint32_t first,
                       uint32_t stop, struct scratch *scratch)
{
    const rapt_problem *p = &view->problem;
    for (uint32_t j = first; j < stop; j++) {
        uint32_t at = j - first, c = at % RAPT_TRANSPOSE_ROWS;
        rapt_view_load_row(&p->k, p->kv_type, rapt_view_kv_index(view, &p->k.layout, b, j, kv_head),
                           p->head_dim, scratch->loaded[c]);
        rapt_view_load_row(&p->v, p->kv_type, rapt_view_kv_index(view, &p->v.layout, b, j, kv_head),
                           p->head_dim_v, scratch->v[at]);
        if (c + 1 == RAPT_TRANSPOSE_ROWS || j + 1 == stop)
            rapt_block_transpose(scratch->loaded, at - c, p->head_dim, scratch->k);
    }
}

static void attend_rows(const struct run *run, uint32_t b, uint32_t kv_head, uint32_t n_rows,
                        struct scratch *scratch)
{
    const struct view *view = run->view;
    uint32_t begin = UINT32_MAX, end = 0;
    for (uint32_t r = 0; r < n_rows; r++) {
        const struct row *row = &scratch->rows[r];
        if (row->begin < row->end) {
            begin = row->begin < begin ? row->begin : begin;
            end = row->end > end ? row->end : end;
        }
    }
    for (uint32_t first = begin; first < end; first += RAPT_KEY_BLOCK) {
        uint32_t stop = end - first < RAPT_KEY_BLOCK ? end : first + RAPT_KEY_BLOCK;
        load_block(view, b, kv_head, first, stop, scratch);
        for (uint32_t r = 0; r < n_rows; r++) {
            const struct row *row = &scratch->rows[r];
            uint32_t from = row->begin > first ? row->begin : first;
            uint32_t to = row->end < stop ? row->end : stop;
            if (from < to)
                row_update(view, b, scratch, r, first, from - first, to - first);
        }
    }
    for (uint32_t r = 0; r < n_rows; r++)
        row_finish(run, b, scratch, r);
}

static uint32_t tasks_of(const struct view *view, uint32_t b)
{
    uint64_t packed = (uint64_t)rapt_batch_q_len(&view->batch, b) * view->group;
    return (uint32_t)((packed + ROW_BLOCK - 1) / ROW_BLOCK) * view->problem.n_kv_heads;
}

static void run_task(struct run *run, uint32_t task, struct scratch *scratch)
{
    const struct view *view = run->view;
    uint32_t low = 0, high = view->problem.n_seqs; /* the sequence whose span holds the task */
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        if (run->task_seq[middle] <= task)
            low = middle;
        else
            high = middle;
    }
    uint32_t b = low, local = task - run->task_seq[b];
    uint32_t kv_head = local % view->problem.n_kv_heads;
    uint32_t first = local / view->problem.n_kv_heads * ROW_BLOCK;
    uint32_t packed = rapt_batch_q_len(&view->batch, b) * view->group;
    uint32_t last = packed - first < ROW_BLOCK ? packed : first + ROW_BLOCK;
    uint32_t n_rows = gather_rows(run, b, kv_head, first, last, scratch);
    if (n_rows > 0)
        attend_rows(run, b, kv_head, n_rows, scratch);
}

static void work(void *user, uint32_t worker)
{
    struct run *run = user;
    for (;;) {
        uint32_t task = atomic_fetch_add(&run->next_task, 1);
        if (task >= run->n_tasks)
            return;
        run_task(run, task, &run->scratch[worker]);
    }
}

/* max_logit over those rows of each sequence that were computed. */
static void reduce_max(const struct run *run, float *out_reduced)
{
    const rapt_problem *p = &run->view->problem;
    for (uint32_t b = 0; b < p->n_seqs; b++)
        for (uint32_t h = 0; h < p->n_q_heads; h++) {
            double most = -INFINITY;
            for (int32_t i = p->cu_q[b]; i < p->cu_q[b + 1]; i++) {
                uint64_t at = (uint64_t)i * p->n_q_heads + h;
                if (row_wanted(run, at))
                    most = fmax(most, run->max_logit64[at]);
            }
            out_reduced[(uint64_t)b * p->n_q_heads + h] = (float)most;
        }
}

static rapt_status run_all(struct run *run, uint32_t n_threads)
{
    const struct view *view = run->view;
    uint32_t n_seqs = view->problem.n_seqs;
    run->task_seq = rapt_alloc(run->allocator, (size_t)n_seqs + 1, sizeof *run->task_seq);
    if (!run->task_seq)
        return rapt_fail(RAPT_ERROR_HOST_MEMORY, "no memory for the reference's task list");
    for (uint32_t b = 0; b < n_seqs; b++)
        run->task_seq[b + 1] = run->task_seq[b] + tasks_of(view, b);
    run->n_tasks = run->task_seq[n_seqs];
    n_threads = n_threads < MAX_WORKERS ? n_threads : MAX_WORKERS;
    n_threads = n_threads < run->n_tasks ? n_threads : run->n_tasks;
    n_threads = n_threads ? n_threads : 1;
    run->scratch = rapt_alloc(run->allocator, n_threads, sizeof *run->scratch);
    if (run->scratch)
        rapt_parallel(n_threads, n_threads, work, run);
    int failed = !run->scratch;
    rapt_free(run->allocator, run->scratch);
    rapt_free(run->allocator, run->task_seq);
    return failed ? rapt_fail(RAPT_ERROR_HOST_MEMORY, "no memory for the reference's scratch")
                  : RAPT_OK;
}

rapt_status rapt_view_attention(const struct view *view, const rapt_reference_params *params,
                                const rapt_result *result, double *out64, double *lse64,
                                double *max_logit64)
{
    struct run run = {.view = view,
                      .allocator = params->allocator,
                      .row_first = params->row_first,
                      .row_step = params->row_step ? params->row_step : 1,
                      .result = result,
                      .out64 = out64,
                      .lse64 = lse64,
                      .max_logit64 = max_logit64};
    double *own_max = NULL;
    if (result->max_logit_reduced && !max_logit64) {
        size_t n_rows = (size_t)view->total_q * view->problem.n_q_heads;
        own_max = run.max_logit64 = rapt_alloc(params->allocator, n_rows, sizeof *own_max);
        if (!own_max)
            return rapt_fail(RAPT_ERROR_HOST_MEMORY, "no memory for %zu maxima", n_rows);
    }
    rapt_status status = run_all(&run, params->n_threads);
    if (status == RAPT_OK && result->max_logit_reduced)
        reduce_max(&run, result->max_logit_reduced);
    rapt_free(params->allocator, own_max);
    return status;
}

rapt_status rapt_reference_attention(const rapt_problem *problem,
                                     const rapt_reference_params *params,
                                     const rapt_result *out_result, double *out64, double *lse64,
                                     double *max_logit64)
{
    struct view view;
    rapt_status status = rapt_view_open(problem, &view);
    rapt_reference_params own = {.struct_size = sizeof own};
    rapt_result result = {.struct_size = sizeof result};
    if (status == RAPT_OK && params)
        status = rapt_params_read("rapt_reference_params", params, &own, sizeof own);
    if (status == RAPT_OK && out_result)
        status = rapt_params_read("rapt_result", out_result, &result, sizeof result);
    if (status == RAPT_OK)
        status = rapt_view_store(&view, own.allocator);
    if (status != RAPT_OK)
        return status;
    status = rapt_view_attention(&view, &own, &result, out64, lse64, max_logit64);
    rapt_view_finish(&view, own.allocator);
    return status;
}
