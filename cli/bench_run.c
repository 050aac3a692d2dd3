/* SPDX-License-Identifier: Apache-2.0 */
#include "bench.h"
#include "cli.h"
#include "device.h"

#include <stdlib.h>
#include <string.h>

#define MIN_REPEATS 5
#define MAX_REPEATS 200
#define ROW_SECONDS 1.5  /* of repeats, when their number is not given */
#define MOST_SECONDS 8.0 /* after which three repeats must do */

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

struct bench_times bench_times_of(double *seconds, uint32_t n)
{
    qsort(seconds, n, sizeof *seconds, ascending);
    double middle = n % 2 ? seconds[n / 2] : (seconds[n / 2 - 1] + seconds[n / 2]) / 2;
    return (struct bench_times){.median = middle,
                                .p25 = seconds[(n - 1) / 4],
                                .p75 = seconds[n - 1 - (n - 1) / 4],
                                .min = seconds[0],
                                .max = seconds[n - 1],
                                .n = n};
}

/* `other`: the job to run by turns with, or NULL. */
static rapt_status repeat(const struct bench *bench, rapt_easy_job *job, rapt_easy_job *other,
                          struct bench_row *row)
{
    double seconds[MAX_REPEATS], ratios[MAX_REPEATS], sum = 0;
    uint32_t n = 0, most = bench->n_repeats ? bench->n_repeats : MAX_REPEATS;
    rapt_status status = RAPT_OK;
    while (n < most && status == RAPT_OK) {
        double others = 0;
        if (other)
            status = rapt_easy_job_run(other, &others);
        if (status == RAPT_OK)
            status = rapt_easy_job_run(job, &seconds[n]);
        ratios[n] = others > 0 ? seconds[n] / others : 0;
        sum += status == RAPT_OK ? seconds[n++] : 0;
        if (!bench->n_repeats &&
            ((n >= MIN_REPEATS && sum > ROW_SECONDS) || (n >= 3 && sum > MOST_SECONDS)))
            break;
    }
    if (status == RAPT_OK)
        row->times = bench_times_of(seconds, n);
    if (status == RAPT_OK && other)
        row->of_other = bench_times_of(ratios, n).median;
    return status;
}

static void describe(rapt_easy_job *job, struct bench_row *row)
{
    rapt_easy_job_info info = {.struct_size = sizeof info};
    rapt_easy_job_get_info(job, &info);
    row->cost = info.cost;
    row->bound = device_bound(&info.plan);
    const char *names[] = {info.plan.prefill_kernel, info.plan.decode_kernel,
                           info.plan.few_rows_kernel, info.plan.stage_kernel,
                           info.plan.merge_kernel};
    /* Only those this step runs. */
    int used[] = {info.step.n_prefill_items > 0, info.step.n_decode_items > 0,
                  info.step.n_few_rows_items > 0, info.step.n_prefill_items > 0,
                  info.step.n_merges > 0};
    for (int i = 0; i < 5; i++) {
        size_t length = strlen(row->kernels);
        if (names[i] && used[i])
            snprintf(row->kernels + length, sizeof row->kernels - length, "%s%s", length ? " " : "",
                     names[i]);
    }
    if (row->spec.three_pass)
        snprintf(row->kernels, sizeof row->kernels,
                 "three_pass_scores three_pass_softmax three_pass_values");
    if (info.plan.why)
        snprintf(row->why, sizeof row->why, "%s", info.plan.why);
}

static rapt_status check(const struct case_data *data, struct bench_row *row)
{
    rapt_error error;
    rapt_status status = case_check(data, row->bound, &error);
    row->e = error.e;
    row->bound_e = error.bound_e;
    row->ok = status == RAPT_OK && error.ok;
    return status;
}

/* The job to run by turns with: the same but for its K/V's type, or its mask. */
static rapt_status make_other(struct bench *bench, const struct case_data *data,
                              const rapt_easy_options *options, const char *against,
                              rapt_mask **out_mask, rapt_easy_job **out_job)
{
    rapt_problem problem = data->problem;
    rapt_status status = RAPT_OK;
    if (strcmp(against, "f16") == 0) {
        problem.kv_type = RAPT_TYPE_F16;
    } else {
        status = rapt_mask_parse(NULL, against, NULL, out_mask);
        problem.mask = *out_mask;
        problem.mask_data = NULL;
    }
    if (status == RAPT_OK)
        status = rapt_easy_job_create(bench->easy, &problem, options, &data->result, out_job);
    for (int i = 0; i < 2 && status == RAPT_OK; i++)
        status = rapt_easy_job_run(*out_job, NULL); /* warm */
    return status;
}

static void compare_pairs(rapt_easy_job *other, struct bench_row *row)
{
    rapt_easy_job_info info = {.struct_size = sizeof info};
    rapt_easy_job_get_info(other, &info);
    if (info.cost.pairs)
        row->share = (double)row->cost.pairs / (double)info.cost.pairs;
}

static rapt_status measure(struct bench *bench, struct case_data *data, struct bench_row *row)
{
    rapt_easy_job *job = NULL, *other = NULL;
    rapt_mask *mask = NULL;
    rapt_easy_options options = data->options;
    options.three_pass = row->spec.three_pass;
    rapt_easy_peak_bytes(bench->easy, 1);
    double start = cli_seconds();
    rapt_status status =
        rapt_easy_job_create(bench->easy, &data->problem, &options, &data->result, &job);
    if (status == RAPT_OK)
        status = rapt_easy_job_run(job, NULL);
    row->first_seconds = cli_seconds() - start;
    if (status == RAPT_OK)
        status = rapt_easy_job_read(job, &data->result);
    if (status == RAPT_OK)
        describe(job, row);
    if (status == RAPT_OK)
        status = check(data, row);
    /* What is wrong is not timed. */
    if (status == RAPT_OK && row->ok)
        status = rapt_easy_job_run(job, NULL); /* warm */
    row->peak_bytes = rapt_easy_peak_bytes(bench->easy, 0);
    if (status == RAPT_OK && row->ok && row->spec.against)
        status = make_other(bench, data, &options, row->spec.against, &mask, &other);
    if (status == RAPT_OK && row->ok)
        status = row->spec.peers ? bench_run_peers(bench, data, job, row)
                                 : repeat(bench, job, other, row);
    if (status == RAPT_OK && other)
        compare_pairs(other, row);
    rapt_easy_job_destroy(&job);
    rapt_easy_job_destroy(&other);
    rapt_mask_destroy(&mask);
    return status;
}

int bench_run_row(struct bench *bench, struct bench_row *row)
{
    if (row->spec.kind == BENCH_HOST)
        return bench_run_host(bench, row);
    if (row->spec.kind == BENCH_PAGER)
        return bench_run_pager(bench, row);
    if (row->spec.kind == BENCH_APPEND)
        return bench_run_append(bench, row);
    if (row->spec.kind == BENCH_SHARED)
        return bench_run_shared(bench, row);
    if (row->spec.kind == BENCH_TABLE)
        return bench_run_table(bench, row);
    if (row->spec.kind == BENCH_CHOOSE)
        return bench_run_choice(bench, row);
    struct case_data data;
    int code = case_make(&row->spec.shape, 7, &data);
    for (uint32_t b = 0; b < row->spec.shape.n_seqs; b++)
        row->tokens += (uint64_t)row->spec.shape.q_len[b];
    if (code == 0) {
        rapt_status status = measure(bench, &data, row);
        rapt_status_group_id group = rapt_status_group(status);
        if (group == RAPT_STATUS_GROUP_CAPABILITY || status == RAPT_ERROR_DEVICE_MEMORY)
            snprintf(row->skipped, sizeof row->skipped, "%s", rapt_last_error());
        else if (status != RAPT_OK)
            code = cli_fail_status(status, row->spec.name);
    }
    case_finish(&data);
    return code;
}
