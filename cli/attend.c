/* SPDX-License-Identifier: Apache-2.0 */
#include "attend.h"

#include "cli.h"
#include "device.h"
#include "output.h"

#include <cJSON.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What a run gives. */
struct outcome {
    rapt_result result;
    uint64_t total_q;
    rapt_error error; /* with --check */
    double *seconds;  /* of the repeats, sorted */
    uint32_t n_repeats;
    rapt_easy_job_info info; /* device paths only */
    rapt_cost cost;
    char device[600];
};

static int given(const struct attend *attend, enum attend_option option)
{
    return attend->values[option].given;
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static int allocate(const struct attend *attend, struct outcome *outcome)
{
    const rapt_problem *problem = &attend->problem;
    uint32_t head_dim_v = problem->head_dim_v ? problem->head_dim_v : problem->head_dim;
    uint64_t n_rows, n_out;
    outcome->total_q = rapt_problem_total_q(problem);
    n_rows = outcome->total_q * problem->n_q_heads;
    n_out = n_rows * head_dim_v;
    rapt_result *result = &outcome->result;
    result->struct_size = sizeof *result;
    if (n_out < SIZE_MAX / sizeof(float)) {
        result->out = calloc((size_t)n_out + 1, sizeof(float));
        result->lse = calloc((size_t)n_rows + 1, sizeof(float));
        result->max_logit = calloc((size_t)n_rows + 1, sizeof(float));
    }
    if (!result->out || !result->lse || !result->max_logit)
        return cli_fail(CLI_DEVICE, "there is no memory for %llu results",
                        (unsigned long long)n_out);
    /* Kernels compute what is asked for and nothing else. */
    if (!given(attend, ATTEND_LSE)) {
        free(result->lse);
        result->lse = NULL;
    }
    if (!given(attend, ATTEND_MAX_LOGIT)) {
        free(result->max_logit);
        result->max_logit = NULL;
    }
    outcome->n_repeats =
        given(attend, ATTEND_REPEAT) ? (uint32_t)attend->values[ATTEND_REPEAT].count : 1;
    outcome->seconds = calloc(outcome->n_repeats, sizeof *outcome->seconds);
    return outcome->seconds ? 0 : cli_fail(CLI_DEVICE, "out of memory");
}

static rapt_reference_params reference_params(void)
{
    return (rapt_reference_params){.struct_size = sizeof(rapt_reference_params), .n_threads = 4};
}

static int run_reference(struct attend *attend, struct outcome *outcome)
{
    rapt_reference_params params = reference_params();
    uint32_t n = outcome->n_repeats + (uint32_t)attend->values[ATTEND_WARMUP].count;
    snprintf(outcome->device, sizeof outcome->device, "host, float64");
    for (uint32_t i = 0; i < n; i++) {
        double start = cli_seconds();
        rapt_status status =
            rapt_reference_attention(&attend->problem, &params, &outcome->result, NULL, NULL, NULL);
        if (status)
            return cli_fail_status(status, NULL);
        if (i + outcome->n_repeats >= n)
            outcome->seconds[i + outcome->n_repeats - n] = cli_seconds() - start;
    }
    return 0;
}

static int run_job(struct attend *attend, rapt_easy *easy, struct outcome *outcome)
{
    rapt_easy_job *job = NULL;
    uint32_t n_warmup = (uint32_t)attend->values[ATTEND_WARMUP].count;
    rapt_status status =
        rapt_easy_job_create(easy, &attend->problem, &attend->easy, &outcome->result, &job);
    for (uint32_t i = 0; i < n_warmup && !status; i++)
        status = rapt_easy_job_run(job, NULL);
    for (uint32_t i = 0; i < outcome->n_repeats && !status; i++)
        status = rapt_easy_job_run(job, &outcome->seconds[i]);
    if (!status)
        status = rapt_easy_job_read(job, &outcome->result);
    if (!status) {
        outcome->info.struct_size = sizeof outcome->info;
        rapt_easy_job_get_info(job, &outcome->info);
        outcome->cost = outcome->info.cost;
    }
    int code = status ? cli_fail_status(status, NULL) : 0;
    rapt_easy_job_destroy(&job);
    return code;
}

static int run(struct attend *attend, struct outcome *outcome)
{
    if (attend->path == ATTEND_REFERENCE)
        return run_reference(attend, outcome);
    rapt_easy *easy = NULL;
    int code =
        device_open(attend->values[ATTEND_DEVICE].text, attend->values[ATTEND_DISABLE].text, &easy);
    if (code)
        return code;
    device_text(rapt_device_caps(rapt_easy_device(easy)), outcome->device, sizeof outcome->device);
    code = run_job(attend, easy, outcome);
    /* The names of kernels are static; the info's line `why` dies with the plan. */
    outcome->info.plan.why = NULL;
    return device_close(&easy, code);
}

static int check(struct attend *attend, struct outcome *outcome)
{
    rapt_reference_params params = reference_params();
    rapt_error *error = &outcome->error;
    error->struct_size = sizeof *error;
    rapt_status status = rapt_reference_check(&attend->problem, &params, &outcome->result,
                                              device_bound(&outcome->info.plan), error);
    if (status)
        return cli_fail_status(status, "--check");
    if (given(attend, ATTEND_CHECK_LIMIT)) {
        int stats_ok =
            error->lse_abs <= error->bound_stat && error->max_logit_abs <= error->bound_stat;
        error->bound_e = attend->values[ATTEND_CHECK_LIMIT].number;
        error->bound_max = 8 * error->bound_e;
        error->ok = error->n_nan == 0 && stats_ok && error->e <= error->bound_e &&
                    error->max_ratio <= error->bound_max;
    }
    return 0;
}

/* Spreads dense [total_q, H, n] over the shape of the q file; rows no sequence has hold `nothing`.
 */
static float *spread(const struct attend *attend, const float *dense, uint64_t n, float nothing,
                     uint64_t *shape, uint32_t *out_rank)
{
    const struct attend_view *view = &attend->q_view;
    uint64_t n_heads = view->n_heads, n_tokens = view->n_tokens;
    uint64_t n_outer = view->n_seqs ? view->n_seqs : 1;
    uint64_t total = n_outer * n_tokens * n_heads * n;
    uint32_t rank = 0;
    if (view->n_seqs)
        shape[rank++] = n_outer;
    shape[rank++] = view->heads_first ? n_heads : n_tokens;
    shape[rank++] = view->heads_first ? n_tokens : n_heads;
    if (n > 1)
        shape[rank++] = n;
    *out_rank = rank;
    float *spread = malloc((size_t)(total + 1) * sizeof *spread);
    if (!spread)
        return NULL;
    for (uint64_t i = 0; i < total; i++)
        spread[i] = nothing;
    for (uint32_t b = 0; b < attend->problem.n_seqs; b++) {
        uint64_t first = (uint64_t)attend->problem.cu_q[b];
        uint64_t end = (uint64_t)attend->problem.cu_q[b + 1];
        for (uint64_t t = first; t < end; t++) {
            uint64_t base = view->n_seqs ? b * n_tokens * n_heads : 0;
            uint64_t token = view->n_seqs ? t - first : t;
            for (uint64_t h = 0; h < n_heads; h++) {
                uint64_t to = view->heads_first ? h * n_tokens + token : token * n_heads + h;
                memcpy(spread + (base + to) * n, dense + (t * n_heads + h) * n, n * sizeof *dense);
            }
        }
    }
    return spread;
}

static int write_one(struct attend *attend, struct output *output, enum attend_option option,
                     const float *dense, uint64_t n, float nothing)
{
    uint64_t shape[4];
    uint32_t rank;
    if (!given(attend, option))
        return 0;
    float *data = spread(attend, dense, n, nothing, shape, &rank);
    if (!data)
        return cli_fail(CLI_DEVICE, "out of memory");
    FILE *file = output_open(output, attend_options[option].name, attend->values[option].text);
    int code = CLI_USAGE;
    if (file)
        code = output_close(output, file, array_write_npy(file, data, shape, rank));
    free(data);
    return code;
}

static int write_outputs(struct attend *attend, const struct outcome *outcome,
                         struct output *output)
{
    const rapt_problem *problem = &attend->problem;
    uint32_t head_dim_v = problem->head_dim_v ? problem->head_dim_v : problem->head_dim;
    int code = write_one(attend, output, ATTEND_OUT, outcome->result.out, head_dim_v, 0);
    code = code ? code : write_one(attend, output, ATTEND_LSE, outcome->result.lse, 1, -INFINITY);
    code =
        code ? code
             : write_one(attend, output, ATTEND_MAX_LOGIT, outcome->result.max_logit, 1, -INFINITY);
    return code;
}

static double median(const struct outcome *outcome)
{
    uint32_t n = outcome->n_repeats;
    return (outcome->seconds[(n - 1) / 2] + outcome->seconds[n / 2]) / 2;
}

static void print_sharing(const struct attend *attend, const struct outcome *outcome)
{
    const rapt_cascade_info *cascade = &outcome->info.cascade;
    char text[64];
    if (!given(attend, ATTEND_SHARE_PREFIX))
        return;
    printf("shared prefixes: %u groups of %u sequences, %u levels; %s of K/V read",
           cascade->n_groups, cascade->n_sharing, cascade->n_levels,
           cli_format_bytes((double)outcome->info.shared_kv_bytes, text, sizeof text));
    printf(" instead of %s\n", cli_format_bytes((double)outcome->cost.kv_bytes, text, sizeof text));
}

static void print_lines(const struct attend *attend, const struct outcome *outcome)
{
    const rapt_problem *problem = &attend->problem;
    const rapt_error *error = &outcome->error;
    const rapt_plan_info *plan = &outcome->info.plan;
    char text[64];
    printf("%u sequence%s, %llu query tokens, %u/%u heads, head dim %u on %s\n", problem->n_seqs,
           problem->n_seqs == 1 ? "" : "s", (unsigned long long)outcome->total_q,
           problem->n_q_heads, problem->n_kv_heads, problem->head_dim, outcome->device);
    if (attend->path != ATTEND_REFERENCE) {
        const char *const names[] = {plan->append_kernel,   plan->stage_kernel,
                                     plan->prefill_kernel,  plan->decode_kernel,
                                     plan->few_rows_kernel, plan->merge_kernel};
        printf("kernels:");
        for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
            if (names[i])
                printf(" %s", names[i]);
        }
        printf(" (%s path)\n", plan->path ? plan->path : "?");
        print_sharing(attend, outcome);
    }
    if (given(attend, ATTEND_REPEAT)) {
        double seconds = median(outcome);
        printf("time: median %s", cli_format_seconds(seconds, text, sizeof text));
        printf(", least %s", cli_format_seconds(outcome->seconds[0], text, sizeof text));
        printf(", most %s of %u",
               cli_format_seconds(outcome->seconds[outcome->n_repeats - 1], text, sizeof text),
               outcome->n_repeats);
        if (attend->path != ATTEND_REFERENCE && seconds > 0) {
            const rapt_cost *cost = &outcome->cost;
            double n_bytes =
                (double)cost->q_bytes + (double)cost->kv_bytes + (double)cost->out_bytes;
            printf("; %.2f GFLOP/s, %.2f GB/s", (double)cost->flops / seconds * 1e-9,
                   n_bytes / seconds * 1e-9);
        }
        printf("\n");
    }
    if (given(attend, ATTEND_CHECK)) {
        printf("check: error %.2e (bound %.2e), largest %.2e (bound %.2e)", error->e,
               error->bound_e, error->max_ratio, error->bound_max);
        if (given(attend, ATTEND_LSE))
            printf(", lse %.2e (bound %.2e)", error->lse_abs, error->bound_stat);
        if (given(attend, ATTEND_MAX_LOGIT))
            printf(", max logit %.2e (bound %.2e)", error->max_logit_abs, error->bound_stat);
        printf(": %s\n", error->ok ? "ok" : "FAILED");
    }
}

static void add_text(cJSON *object, const char *name, const char *text)
{
    if (text)
        cJSON_AddStringToObject(object, name, text);
    else
        cJSON_AddNullToObject(object, name);
}

static int print_json(const struct attend *attend, const struct outcome *outcome)
{
    const rapt_problem *problem = &attend->problem;
    const rapt_plan_info *plan = &outcome->info.plan;
    cJSON *json = cJSON_CreateObject();
    double seconds = median(outcome);
    add_text(json, "device", outcome->device);
    add_text(json, "path", attend->path == ATTEND_REFERENCE ? "reference" : plan->path);
    cJSON_AddNumberToObject(json, "sequences", problem->n_seqs);
    cJSON_AddNumberToObject(json, "query_tokens", (double)outcome->total_q);
    cJSON_AddNumberToObject(json, "q_heads", problem->n_q_heads);
    cJSON_AddNumberToObject(json, "kv_heads", problem->n_kv_heads);
    cJSON_AddNumberToObject(json, "head_dim", problem->head_dim);
    cJSON_AddNumberToObject(json, "head_dim_v", problem->head_dim_v);
    cJSON_AddNumberToObject(json, "repeats", outcome->n_repeats);
    cJSON_AddNumberToObject(json, "median_seconds", seconds);
    cJSON_AddNumberToObject(json, "least_seconds", outcome->seconds[0]);
    cJSON_AddNumberToObject(json, "most_seconds", outcome->seconds[outcome->n_repeats - 1]);
    if (attend->path != ATTEND_REFERENCE) {
        const rapt_cost *cost = &outcome->cost;
        double n_bytes = (double)cost->q_bytes + (double)cost->kv_bytes + (double)cost->out_bytes;
        cJSON *kernels = cJSON_AddObjectToObject(json, "kernels");
        add_text(kernels, "prefill", plan->prefill_kernel);
        add_text(kernels, "decode", plan->decode_kernel);
        add_text(kernels, "few_rows", plan->few_rows_kernel);
        add_text(kernels, "merge", plan->merge_kernel);
        add_text(kernels, "stage", plan->stage_kernel);
        add_text(kernels, "append", plan->append_kernel);
        cJSON_AddBoolToObject(json, "integer_dot", plan->integer_dot);
        cJSON_AddBoolToObject(json, "matrix_units", plan->matrix_units);
        cJSON_AddNumberToObject(json, "items", outcome->info.step.n_items);
        cJSON_AddNumberToObject(json, "merges", outcome->info.step.n_merges);
        cJSON_AddNumberToObject(json, "pairs", (double)cost->pairs);
        cJSON_AddNumberToObject(json, "flops", (double)cost->flops);
        cJSON_AddNumberToObject(json, "bytes", n_bytes);
        if (seconds > 0) {
            cJSON_AddNumberToObject(json, "gflops_per_second",
                                    (double)cost->flops / seconds * 1e-9);
            cJSON_AddNumberToObject(json, "gbytes_per_second", n_bytes / seconds * 1e-9);
        }
        if (given(attend, ATTEND_SHARE_PREFIX)) {
            const rapt_cascade_info *cascade = &outcome->info.cascade;
            cJSON *shared = cJSON_AddObjectToObject(json, "shared_prefixes");
            cJSON_AddNumberToObject(shared, "levels", cascade->n_levels);
            cJSON_AddNumberToObject(shared, "groups", cascade->n_groups);
            cJSON_AddNumberToObject(shared, "sequences", cascade->n_sharing);
            cJSON_AddNumberToObject(shared, "kv_bytes", (double)outcome->info.shared_kv_bytes);
            cJSON_AddNumberToObject(shared, "kv_bytes_alone", (double)cost->kv_bytes);
        }
        cJSON_AddNumberToObject(json, "device_memory_bytes",
                                (double)(outcome->info.table_bytes + outcome->info.workspace_bytes +
                                         outcome->info.tensor_bytes));
    }
    if (given(attend, ATTEND_CHECK)) {
        const rapt_error *error = &outcome->error;
        cJSON *object = cJSON_AddObjectToObject(json, "check");
        cJSON_AddBoolToObject(object, "ok", error->ok);
        cJSON_AddNumberToObject(object, "error", error->e);
        cJSON_AddNumberToObject(object, "bound", error->bound_e);
        cJSON_AddNumberToObject(object, "largest", error->max_ratio);
        cJSON_AddNumberToObject(object, "largest_bound", error->bound_max);
        cJSON_AddNumberToObject(object, "lse", error->lse_abs);
        cJSON_AddNumberToObject(object, "max_logit", error->max_logit_abs);
        cJSON_AddNumberToObject(object, "statistics_bound", error->bound_stat);
        cJSON_AddNumberToObject(object, "nans", error->n_nan);
    }
    int code = output_json(json, NULL, NULL);
    cJSON_Delete(json);
    return code;
}

static int attend_files(struct attend *attend, struct outcome *outcome)
{
    static const enum attend_option outputs[] = {ATTEND_OUT, ATTEND_LSE, ATTEND_MAX_LOGIT};
    struct output output = {0};
    int code = attend_options_check(attend);
    code = code ? code : attend_input(attend);
    for (size_t i = 0; i < 3 && !code; i++) {
        if (given(attend, outputs[i]))
            code = output_probe(attend_options[outputs[i]].name, attend->values[outputs[i]].text);
    }
    code = code ? code : allocate(attend, outcome);
    code = code ? code : run(attend, outcome);
    if (!code && given(attend, ATTEND_CHECK))
        code = check(attend, outcome);
    code = code ? code : write_outputs(attend, outcome, &output);
    if (!code)
        qsort(outcome->seconds, outcome->n_repeats, sizeof *outcome->seconds, compare_doubles);
    if (!code && given(attend, ATTEND_JSON))
        code = print_json(attend, outcome);
    else if (!code)
        print_lines(attend, outcome);
    code = code ? code : output_commit(&output);
    output_finish(&output);
    if (!code && given(attend, ATTEND_CHECK) && !outcome->error.ok)
        code = cli_fail(CLI_CHECK, "--check: the error %.2e (bound %.2e) is too large%s",
                        outcome->error.e, outcome->error.bound_e,
                        outcome->error.n_nan ? ", and there are NaNs" : "");
    return code;
}

static const char attend_head[] =
    "usage: rapt attend --q Q.npy --k K.npy --v V.npy [--out O.npy] [OPTIONS]\n"
    "\n"
    "Computes scaled dot-product attention of arrays in files. Query head h reads K/V head\n"
    "h / (query heads / K/V heads). Exit status: 0 done, 2 bad input, 3 no usable device, 4 the "
    "device\n"
    "failed, 5 --check failed. Files are written whole, and only when the status is 0 or 5.\n";

int attend_main(int argc, char **argv)
{
    struct attend *attend = calloc(1, sizeof *attend);
    struct outcome *outcome = calloc(1, sizeof *outcome);
    int code = attend && outcome ? 0 : cli_fail(CLI_DEVICE, "out of memory");
    if (!code)
        code = options_parse(attend_options, ATTEND_N_OPTIONS, argc, argv, attend->values);
    if (code == OPTIONS_HELP) {
        options_help(attend_head, attend_options, ATTEND_N_OPTIONS);
        code = CLI_DONE;
    } else if (!code) {
        code = attend_files(attend, outcome);
        attend_finish(attend);
    }
    if (outcome) {
        free(outcome->result.out);
        free(outcome->result.lse);
        free(outcome->result.max_logit);
        free(outcome->seconds);
    }
    free(outcome);
    if (attend)
        options_finish(attend->values, ATTEND_N_OPTIONS);
    free(attend);
    return code;
}
