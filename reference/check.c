/* SPDX-License-Identifier: Apache-2.0 */
/* How far a result is from the reference, and how far it may be. */
#include "error.h"
#include "row_codec.h"
#include "view.h"

#include <math.h>
#include <string.h>

static double norm(const double *row, uint32_t dim)
{
    double sum = 0;
    for (uint32_t d = 0; d < dim; d++)
        sum += row[d] * row[d];
    return sqrt(sum);
}

/* Length of what a query loses when every 32 of its dims are rounded to whole multiples of their
 * absmax / 127. */
static double loss_norm(const double *row, uint32_t dim)
{
    double sum = 0;
    for (uint32_t first = 0; first < dim; first += RAPT_QUANT_GROUP) {
        uint32_t end = first + RAPT_QUANT_GROUP < dim ? first + RAPT_QUANT_GROUP : dim;
        double most = 0;
        for (uint32_t d = first; d < end; d++)
            most = fmax(most, fabs(row[d]));
        double step = most / 127;
        for (uint32_t d = first; step > 0 && d < end; d++) {
            double loss = row[d] - step * rint(row[d] / step);
            sum += loss * loss;
        }
    }
    return sqrt(sum);
}

static void max_norms_q(const struct view *view, double *out_norm, double *out_loss)
{
    const rapt_problem *p = &view->problem;
    double row[RAPT_MAX_DIM];
    *out_norm = *out_loss = 0;
    for (uint32_t b = 0; b < p->n_seqs; b++)
        for (uint32_t i = 0; i < rapt_batch_q_len(&view->batch, b); i++)
            for (uint32_t h = 0; h < p->n_q_heads; h++) {
                rapt_view_load_q(view, b, i, h, row);
                *out_norm = fmax(*out_norm, norm(row, p->head_dim));
                *out_loss = fmax(*out_loss, loss_norm(row, p->head_dim));
            }
}

static double max_norm_k(const struct view *view)
{
    const rapt_problem *p = &view->problem;
    float row[RAPT_MAX_DIM];
    double wide[RAPT_MAX_DIM], most = 0;
    for (uint32_t b = 0; b < p->n_seqs; b++) {
        if (rapt_batch_q_len(&view->batch, b) == 0)
            continue;
        for (uint32_t j = 0; j < rapt_batch_kv_len(&view->batch, b); j++)
            for (uint32_t h = 0; h < p->n_kv_heads; h++) {
                rapt_view_load_row(&p->k, p->kv_type,
                                   rapt_view_kv_index(view, &p->k.layout, b, j, h), p->head_dim,
                                   row);
                for (uint32_t d = 0; d < p->head_dim; d++)
                    wide[d] = (double)row[d];
                most = fmax(most, norm(wide, p->head_dim));
            }
    }
    return most;
}

/* Keys [*begin, *end) from the first to the last that a row sees. */
static int seen_range(const struct view *view, uint32_t b, uint32_t h, uint32_t i, uint32_t *begin,
                      uint32_t *end)
{
    int sees_all = rapt_view_key_range(view, b, h, i, begin, end);
    while (!sees_all && *begin < *end && !rapt_view_allows(view, b, h, i, *begin))
        ++*begin;
    while (!sees_all && *begin < *end && !rapt_view_allows(view, b, h, i, *end - 1))
        --*end;
    return sees_all;
}

/* What max_terms is after, over the keys of one row. */
static void row_terms(const struct view *view, uint32_t b, uint32_t h, uint32_t i, double *distance,
                      double *bias)
{
    const rapt_problem *p = &view->problem;
    uint32_t begin, end;
    int sees_all = seen_range(view, b, h, i, &begin, &end);
    if (begin == end)
        return;
    double pos = rapt_batch_q_pos(&view->batch, b, i);
    double first = (double)rapt_batch_kv_pos0(&view->batch, b) + begin;
    *distance = fmax(*distance, fmax(fabs(first - pos), fabs(first + (end - begin - 1) - pos)));
    for (uint32_t j = begin; p->bias.data && j < end; j++) {
        double value = fabs((double)rapt_view_bias(view, b, h, i, j));
        if (isfinite(value) && value > *bias && (sees_all || rapt_view_allows(view, b, h, i, j)))
            *bias = value;
    }
}

/* Largest |slope * (J - P)| and largest finite |bias| over what rows see. */
static void max_terms(const struct view *view, double *out_slope, double *out_bias)
{
    const rapt_problem *p = &view->problem;
    const int by_head = view->masks_differ || (p->bias.data && p->bias.layout.head_stride);
    double distance = 0, slope = 0, bias = 0;
    for (uint32_t b = 0; b < p->n_seqs; b++)
        for (uint32_t i = 0; i < rapt_batch_q_len(&view->batch, b); i++)
            for (uint32_t h = 0; h < (by_head ? p->n_q_heads : 1); h++)
                row_terms(view, b, h, i, &distance, &bias);
    for (uint32_t h = 0; p->slopes && h < p->n_q_heads; h++)
        slope = fmax(slope, fabs((double)p->slopes[h]));
    *out_slope = slope * distance;
    *out_bias = bias;
}

static void fill_bounds(const struct view *view, rapt_bound_kind kind, rapt_error *error)
{
    double slope, bias, q, q_loss, k = max_norm_k(view);
    max_terms(view, &slope, &bias);
    max_norms_q(view, &q, &q_loss);
    double s = fabs(view->scale) * q * k + slope + bias;
    s = fmax((double)view->problem.softcap, s);
    double f = fmax(1, s / 64);
    error->bound_e = 5e-6 * f;
    error->bound_stat = 2e-5 * f;
    if (kind == RAPT_BOUND_MATRIX_F16 || kind == RAPT_BOUND_MATRIX_BF16) {
        error->bound_e = fmax(kind == RAPT_BOUND_MATRIX_F16 ? 6e-4 : 5e-3, error->bound_e);
        error->bound_stat = fmax(2e-3, error->bound_stat);
    }
    if (kind == RAPT_BOUND_INTEGER_DOT) {
        error->bound_e = fmax(1e-2, error->bound_e);
        /* No logit moves by more (Cauchy-Schwarz), and neither a maximum nor a log-sum-exp moves by
         * more than the logits do; a softcap only lessens it. */
        error->bound_stat += fabs(view->scale) * q_loss * k;
    }
    if (view->problem.out_type == RAPT_TYPE_F16)
        error->bound_e += 4e-4;
    if (view->problem.out_type == RAPT_TYPE_BF16)
        error->bound_e += 3e-3;
    error->bound_max = 8 * error->bound_e;
}

static double stat_error(float got, double want)
{
    if (isinf(want) || isinf(got))
        return (double)got == want ? 0 : INFINITY;
    return fabs((double)got - want);
}

struct references {
    double *out, *lse, *max_logit;
    float *reduced; /* over the rows that are compared */
};

static void compare(const struct view *view, const rapt_reference_params *params,
                    const rapt_result *result, const struct references *ref, rapt_error *error)
{
    const rapt_problem *p = &view->problem;
    uint64_t step = params->row_step ? params->row_step : 1;
    uint64_t n_rows = (uint64_t)view->total_q * p->n_q_heads;
    double diff2 = 0, ref2 = 0, max_diff = 0, max_ref = 0;
    for (uint64_t row = params->row_first; row < n_rows; row += step) {
        for (uint32_t d = 0; result->out && d < p->head_dim_v; d++) {
            double want = ref->out[row * p->head_dim_v + d];
            float got = result->out[row * p->head_dim_v + d];
            if (isnan(got)) {
                error->n_nan++;
                continue;
            }
            double diff = fabs((double)got - want);
            diff2 += diff * diff;
            ref2 += want * want;
            max_diff = fmax(max_diff, diff);
            max_ref = fmax(max_ref, fabs(want));
        }
        if (result->lse) {
            error->n_nan += isnan(result->lse[row]) != 0;
            error->lse_abs = fmax(error->lse_abs, stat_error(result->lse[row], ref->lse[row]));
        }
        if (result->max_logit) {
            error->n_nan += isnan(result->max_logit[row]) != 0;
            error->max_logit_abs =
                fmax(error->max_logit_abs, stat_error(result->max_logit[row], ref->max_logit[row]));
        }
    }
    /* Of a subset of rows the maximum is no more than a lower bound; nothing to compare. */
    uint64_t n_reduced =
        step == 1 && params->row_first == 0 ? (uint64_t)p->n_seqs * p->n_q_heads : 0;
    for (uint64_t i = 0; result->max_logit_reduced && i < n_reduced; i++) {
        float got = result->max_logit_reduced[i];
        error->n_nan += isnan(got) != 0;
        error->max_logit_abs = fmax(error->max_logit_abs, stat_error(got, (double)ref->reduced[i]));
    }
    error->e = ref2 > 0 ? sqrt(diff2 / ref2) : sqrt(diff2);
    error->max_ratio = max_ref > 0 ? max_diff / max_ref : max_diff;
    error->ok = error->n_nan == 0 && error->e <= error->bound_e &&
                error->max_ratio <= error->bound_max && error->lse_abs <= error->bound_stat &&
                error->max_logit_abs <= error->bound_stat;
}

rapt_status rapt_reference_check(const rapt_problem *problem, const rapt_reference_params *params,
                                 const rapt_result *result, rapt_bound_kind kind,
                                 rapt_error *out_error)
{
    struct view view;
    rapt_reference_params own = {.struct_size = sizeof own};
    rapt_result got;
    rapt_error error = {.struct_size = sizeof error};
    if (!out_error)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "out_error is NULL");
    rapt_status status = rapt_view_open(problem, &view);
    if (status == RAPT_OK && params)
        status = rapt_params_read("rapt_reference_params", params, &own, sizeof own);
    if (status == RAPT_OK)
        status = rapt_params_read("rapt_result", result, &got, sizeof got);
    if (status == RAPT_OK)
        status = rapt_view_store(&view, own.allocator);
    if (status != RAPT_OK)
        return status;
    size_t n_rows = (size_t)view.total_q * view.problem.n_q_heads;
    struct references ref = {
        .out = rapt_alloc(own.allocator, n_rows, view.problem.head_dim_v * sizeof(double)),
        .lse = rapt_alloc(own.allocator, n_rows, sizeof(double)),
        .max_logit = rapt_alloc(own.allocator, n_rows, sizeof(double)),
        .reduced = rapt_alloc(own.allocator, (size_t)view.problem.n_seqs * view.problem.n_q_heads,
                              sizeof(float))};
    rapt_result reduced = {.struct_size = sizeof reduced, .max_logit_reduced = ref.reduced};
    if (!ref.out || !ref.lse || !ref.max_logit || !ref.reduced)
        status = rapt_fail(RAPT_ERROR_HOST_MEMORY, "no memory for %zu reference rows", n_rows);
    else
        status = rapt_view_attention(&view, &own, &reduced, ref.out, ref.lse, ref.max_logit);
    if (status == RAPT_OK) {
        fill_bounds(&view, kind, &error);
        compare(&view, &own, &got, &ref, &error);
        rapt_params_write(out_error, &error, sizeof error);
    }
    rapt_free(own.allocator, ref.reduced);
    rapt_free(own.allocator, ref.max_logit);
    rapt_free(own.allocator, ref.lse);
    rapt_free(own.allocator, ref.out);
    rapt_view_finish(&view, own.allocator);
    return status;
}
