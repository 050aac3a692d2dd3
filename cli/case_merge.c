/* SPDX-License-Identifier: Apache-2.0 */
#include "case.h"

#include "cli.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PARTS, PARTS_LSE, SINKS, OUT, LSE, N_ARRAYS };
enum { N_PARTS = 3, N_HEADS = 4, N_ROWS = 37 * N_HEADS, DIM = 64, N_OUT = N_ROWS * DIM };

static const size_t counts[N_ARRAYS] = {
    [PARTS] = N_PARTS * N_OUT,
    [PARTS_LSE] = N_PARTS * N_ROWS,
    [SINKS] = N_HEADS,
    [OUT] = N_OUT,
    [LSE] = N_ROWS,
};

struct state {
    rapt_easy_buffer *buffers[N_ARRAYS];
    float *arrays[N_ARRAYS];
    float *want, *want_lse;
};

static rapt_status prepare(rapt_easy *easy, struct state *state)
{
    state->want = calloc(N_OUT, sizeof(float));
    state->want_lse = calloc(N_ROWS, sizeof(float));
    if (!state->want || !state->want_lse)
        return RAPT_ERROR_HOST_MEMORY;
    for (int i = 0; i < N_ARRAYS; i++) {
        state->arrays[i] = calloc(counts[i], sizeof(float));
        if (!state->arrays[i])
            return RAPT_ERROR_HOST_MEMORY;
        rapt_status status = rapt_easy_buffer_create(easy, counts[i] * sizeof(float), "check merge",
                                                     0, &state->buffers[i]);
        if (status)
            return status;
        if (i > SINKS)
            continue;
        case_random(90 + (uint64_t)i, state->arrays[i], counts[i]);
        /* A part that saw no key counts for nothing, whatever its output holds. */
        if (i == PARTS_LSE)
            state->arrays[i][5] = -INFINITY;
        status = rapt_easy_upload(easy, state->buffers[i], 0, state->arrays[i],
                                  counts[i] * sizeof(float));
        if (status)
            return status;
    }
    return rapt_reference_merge(N_PARTS, N_ROWS, N_HEADS, DIM, state->arrays[PARTS],
                                state->arrays[PARTS_LSE], state->arrays[SINKS], state->want,
                                state->want_lse);
}

static rapt_status execute(rapt_easy *easy, struct state *state, double *out_seconds)
{
    VkCommandBuffer commands;
    rapt_merger *merger = NULL;
    rapt_status status = rapt_merger_create(rapt_easy_device(easy), 1, &merger);
    if (status)
        return status;
    status = rapt_easy_begin(easy, &commands);
    if (!status) {
        rapt_merge_params params = {
            .struct_size = sizeof params,
            .command_buffer = commands,
            .n_parts = N_PARTS,
            .n_rows = N_ROWS,
            .n_q_heads = N_HEADS,
            .head_dim_v = DIM,
            .parts = rapt_easy_buffer_range(state->buffers[PARTS]),
            .parts_lse = rapt_easy_buffer_range(state->buffers[PARTS_LSE]),
            .sinks = rapt_easy_buffer_range(state->buffers[SINKS]),
            .out = rapt_easy_buffer_range(state->buffers[OUT]),
            .lse = rapt_easy_buffer_range(state->buffers[LSE]),
        };
        rapt_status recorded = rapt_merger_record(merger, &params);
        status = rapt_easy_submit_wait(easy, out_seconds);
        status = recorded ? recorded : status;
    }
    for (int i = OUT; i <= LSE && !status; i++)
        status = rapt_easy_download(easy, state->buffers[i], 0, state->arrays[i],
                                    counts[i] * sizeof(float));
    rapt_merger_destroy(&merger);
    return status;
}

/* The bounds are the portable path's. */
static void compare(const struct state *state, rapt_error *error)
{
    double difference = 0, norm = 0, largest = 0, largest_want = 0;
    for (size_t i = 0; i < N_OUT; i++) {
        double d = (double)state->arrays[OUT][i] - state->want[i];
        error->n_nan += isnan(d) != 0;
        difference += d * d;
        norm += (double)state->want[i] * state->want[i];
        largest = fmax(largest, fabs(d));
        largest_want = fmax(largest_want, fabs(state->want[i]));
    }
    for (size_t i = 0; i < N_ROWS; i++) {
        double d = (double)state->arrays[LSE][i] - state->want_lse[i];
        error->n_nan += isnan(d) != 0;
        error->lse_abs = fmax(error->lse_abs, fabs(d));
    }
    error->e = sqrt(difference / norm);
    error->max_ratio = largest / largest_want;
    error->bound_e = 5e-6;
    error->bound_max = 4e-5;
    error->bound_stat = 2e-5;
    error->ok = error->n_nan == 0 && error->e <= error->bound_e &&
                error->max_ratio <= error->bound_max && error->lse_abs <= error->bound_stat;
}

void case_run_merge(rapt_easy *easy, struct case_report *report)
{
    struct state state = {{NULL}, {NULL}, NULL, NULL};
    double start = cli_seconds();
    memset(report, 0, sizeof *report);
    report->reduction_ok = 1;
    report->status = prepare(easy, &state);
    if (!report->status)
        report->status = execute(easy, &state, &report->run_seconds);
    if (!report->status)
        compare(&state, &report->error);
    else
        snprintf(report->message, sizeof report->message, "%s", rapt_last_error());
    for (int i = 0; i < N_ARRAYS; i++) {
        rapt_easy_buffer_destroy(&state.buffers[i]);
        free(state.arrays[i]);
    }
    free(state.want);
    free(state.want_lse);
    report->total_seconds = cli_seconds() - start;
}
