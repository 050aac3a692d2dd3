/* SPDX-License-Identifier: Apache-2.0 */
/* `rapt check`: every kernel this device can run, against the float64 reference, through the same
 * simple tier programs use. Its table is what belongs in a bug report. */
#include "case.h"
#include "cli.h"
#include "device.h"
#include "options.h"
#include "output.h"

#include <cJSON.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHECK_JSON, CHECK_FILTER, CHECK_DEVICE, CHECK_DISABLE, CHECK_SEED, CHECK_N_OPTIONS };

/* clang-format off */
static const struct option_spec options[CHECK_N_OPTIONS] = {
    [CHECK_JSON] = {"--json", OPTION_TEXT, "FILE", "writes the table as JSON too"},
    [CHECK_FILTER] = {"--filter", OPTION_TEXT, "TEXT", "only the cases whose name contains TEXT"},
    [CHECK_DEVICE] = {"--device", OPTION_TEXT, "N|NAME", "by number or part of a name (default: the best)"},
    [CHECK_DISABLE] = {"--disable", OPTION_TEXT, "NAMES", "device features not to use: f16,subgroup,.."},
    [CHECK_SEED] = {"--seed", OPTION_COUNT, "N", "of the random numbers (default 1)"},
};
/* clang-format on */

#define F32 RAPT_TYPE_F32
#define F16 RAPT_TYPE_F16
#define BF16 RAPT_TYPE_BF16
#define INT8 RAPT_TYPE_INT8
#define FP8 RAPT_TYPE_FP8_E4M3
#define INT4 RAPT_TYPE_INT4
#define Q8_0 RAPT_TYPE_Q8_0
#define Q4_0 RAPT_TYPE_Q4_0

/* clang-format off */
/* Ragged on purpose: tiles begin and end anywhere, one sequence has no keys, one no queries. Each
 * storage type meets each kernel; the other rows each add what a kernel does beyond that. */
static const struct case_spec cases[] = {
    {"prefill f32", 4, 2, 64, 0, F32, F32, 0, 0, 4, {33, 70, 0, 5}, {40, 70, 9, 0}, "causal", .flags = CASE_STATS},
    {"prefill f16", 4, 2, 128, 0, F16, F16, F16, 0, 4, {33, 70, 0, 5}, {40, 131, 9, 0}, "causal", .flags = CASE_STATS},
    {"prefill bf16", 4, 2, 128, 0, BF16, BF16, BF16, 16, 4, {33, 70, 0, 5}, {40, 131, 9, 0}, "causal", .flags = CASE_STATS},
    {"decode f32", 8, 2, 64, 0, F32, F32, 0, 16, 5, {1, 1, 2, 0, 1}, {700, 33, 65, 4, 1}, "causal", .flags = CASE_STATS},
    {"decode f16", 8, 2, 128, 0, F16, F16, 0, 0, 5, {1, 1, 2, 0, 1}, {1500, 33, 65, 4, 1}, "causal", .flags = CASE_STATS},
    {"decode bf16", 8, 2, 128, 0, BF16, BF16, 0, 16, 5, {1, 1, 2, 0, 1}, {700, 33, 65, 4, 0}, "causal", .flags = CASE_STATS},
    {"mixed, pages of 16", 8, 2, 128, 0, F16, F16, 0, 16, 4, {1, 40, 3, 17}, {300, 40, 77, 100}, "causal"},
    {"splits, pages of 1", 8, 2, 128, 0, F16, F16, 0, 1, 3, {1, 20, 1}, {333, 333, 64}, NULL, .n_splits = 3, .flags = CASE_STATS},
    {"fixed split, hnd", 8, 2, 128, 0, F16, F16, 0, 64, 3, {1, 20, 1}, {333, 333, 64}, NULL, .fixed_split = 128, .flags = CASE_HND},
    {"softcap window sinks", 4, 2, 64, 0, F16, F16, 0, 16, 3, {40, 1, 0}, {90, 200, 3}, "causal & window(31, 0)", .softcap = 20, .flags = CASE_SINKS | CASE_STATS},
    {"chunked, positions", 4, 4, 64, 0, F32, F16, 0, 0, 2, {40, 9}, {90, 30}, "causal & chunked(32)", .flags = CASE_POSITIONS},
    {"alibi, prefix", 4, 1, 80, 0, F32, F16, 0, 0, 2, {20, 1}, {60, 50}, "prefix", .flags = CASE_ALIBI},
    {"bias f32", 4, 2, 64, 0, F32, F32, 0, 0, 1, {21}, {75}, NULL, .flags = CASE_BIAS_F32 | CASE_STATS},
    {"bias f16", 4, 2, 64, 0, F16, F16, 0, 0, 1, {21}, {75}, "causal", .flags = CASE_BIAS_F16},
    {"unnormalised", 4, 2, 64, 0, F16, F16, 0, 0, 2, {21, 1}, {75, 90}, "causal", .flags = CASE_UNNORMALISED | CASE_STATS},
    {"fixed maximum", 4, 2, 64, 0, F16, F16, 0, 0, 2, {21, 1}, {75, 90}, "causal", .flags = CASE_CONST_MAX},
    {"head dim 8", 2, 1, 8, 0, F16, F16, 0, 16, 2, {19, 1}, {40, 50}, "causal"},
    {"head dim 256", 4, 2, 256, 0, F16, F16, 0, 16, 2, {19, 1}, {40, 50}, "causal", .softcap = 50},
    {"head dims 192/128", 4, 4, 192, 128, BF16, BF16, BF16, 0, 2, {19, 1}, {40, 50}, "causal"},
    {"head dims 576/512", 16, 1, 576, 512, F16, F16, 0, 64, 2, {3, 1}, {40, 130}, "causal", .flags = CASE_STATS},
    {"few pipelines", 4, 2, 64, 0, F16, F16, 0, 16, 2, {21, 1}, {75, 300}, "causal & sink_tokens(50)", .plan_flags = RAPT_PLAN_FEW_PIPELINES, .flags = CASE_SINKS},
    {"int8, appended", 8, 2, 128, 0, F16, INT8, 0, 16, 4, {1, 40, 3, 17}, {300, 40, 77, 100}, "causal", .flags = CASE_APPEND | CASE_STATS},
    {"int8, static scales", 8, 2, 64, 0, F16, INT8, 0, 0, 3, {1, 20, 1}, {333, 33, 64}, "causal", .flags = CASE_STATIC},
    {"fp8_e4m3, appended", 8, 2, 128, 0, F16, FP8, 0, 16, 4, {1, 40, 3, 17}, {300, 40, 77, 100}, "causal", .flags = CASE_APPEND},
    {"int4, appended", 8, 2, 128, 0, F16, INT4, 0, 16, 4, {1, 40, 3, 17}, {300, 40, 77, 100}, "causal", .flags = CASE_APPEND},
    {"q8_0, appended", 8, 2, 128, 0, F16, Q8_0, 0, 16, 4, {1, 40, 3, 17}, {300, 40, 77, 100}, "causal", .flags = CASE_APPEND},
    {"q4_0, appended", 8, 2, 128, 0, F16, Q4_0, 0, 16, 4, {1, 40, 3, 17}, {300, 40, 77, 100}, "causal", .flags = CASE_APPEND},
    {"f32, rotated", 4, 2, 64, 0, F32, F32, 0, 0, 4, {33, 1, 0, 5}, {40, 300, 9, 7}, "causal", .flags = CASE_ROPE},
    {"f16, rotated", 8, 2, 128, 0, F16, F16, 0, 16, 4, {1, 40, 3, 17}, {300, 40, 77, 100}, "causal", .flags = CASE_ROPE | CASE_STATS},
    {"bf16, rotated", 8, 2, 128, 0, BF16, BF16, BF16, 16, 4, {1, 40, 3, 17}, {300, 40, 77, 100}, "causal", .flags = CASE_ROPE},
    {"int8, rotated", 8, 2, 128, 0, F16, INT8, 0, 16, 4, {1, 40, 3, 17}, {300, 40, 77, 100}, "causal", .flags = CASE_ROPE},
    {"block table, f16", 4, 2, 64, 0, F16, F16, 0, 16, 3, {90, 1, 0}, {300, 200, 3}, "causal & (window(31, 0) | sink_tokens(4))", .flags = CASE_STATS | CASE_SINKS},
    {"block table, bf16", 4, 4, 128, 0, BF16, BF16, 0, 0, 1, {130}, {300}, "causal & blocks", .map_block = 32, .map_kept = 40, .flags = CASE_STATS},
    {"three-pass baseline", 4, 2, 64, 0, F16, F16, 0, 0, 2, {21, 1}, {75, 90}, "causal", .flags = CASE_THREE_PASS},
};
/* clang-format on */
#define N_CASES (sizeof cases / sizeof *cases)

/* The table is run as the device is, and again with features taken away, so that the kernels other
 * devices fall back on are checked on this one. */
static const struct {
    const char *title;
    const char *disable;
    rapt_features needs; /* only where the device has one of these */
    size_t n_cases;      /* of the table's beginning */
} passes[] = {
    {"as the device is", "", ~0ull, N_CASES},
    {"without the CPU driver's own kernels", "cpu_rows", RAPT_FEATURE_CPU_ROWS, N_CASES},
    {"Vulkan 1.1 alone",
     "f16,int8,storage16,storage8,int64,subgroup,subgroup_size_control,buffer_device_address,"
     "push_descriptor,integer_dot,coopmat,coopmat2,coopmat2_tensor,bf16,memory_model,"
     "cpu_rows",
     ~0ull, 9},
};
#define N_PASSES (sizeof passes / sizeof *passes)

#define MAX_SEEN 256

struct run {
    const struct option_value *values;
    cJSON *json, *rows;
    const char *seen[MAX_SEEN]; /* names of kernels that ran */
    uint32_t n_seen;
    uint32_t n_failed, n_device_errors, n_rows;
    rapt_features features; /* the device's, before any pass takes some away */
    rapt_caps caps;
};

static void see(struct run *run, const char *name)
{
    for (uint32_t i = 0; i < run->n_seen; i++) {
        if (name && strcmp(run->seen[i], name) == 0)
            return;
    }
    if (name && run->n_seen < MAX_SEEN)
        run->seen[run->n_seen++] = name;
}

/* Kernels whose names begin so. */
static void see_all(struct run *run, const char *start)
{
    for (uint32_t i = 0; i < rapt_kernel_count(); i++) {
        rapt_kernel_info info = {.struct_size = sizeof info};
        if (rapt_kernel_get_info(&run->caps, i, &info) == RAPT_OK &&
            strncmp(info.name, start, strlen(start)) == 0)
            see(run, info.name);
    }
}

static const char *verdict(const struct case_report *report)
{
    if (report->status)
        return "ERROR";
    return report->error.ok && report->reduction_ok ? "ok" : "WRONG";
}

static void add_row(struct run *run, const char *pass, const char *name,
                    const struct case_report *report)
{
    const rapt_plan_info *plan = &report->info.plan;
    const char *const names[] = {plan->append_kernel, plan->stage_kernel,    plan->prefill_kernel,
                                 plan->decode_kernel, plan->few_rows_kernel, plan->merge_kernel};
    cJSON *row = cJSON_CreateObject();
    cJSON *kernels = cJSON_CreateArray();
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (names[i])
            cJSON_AddItemToArray(kernels, cJSON_CreateString(names[i]));
    }
    cJSON_AddStringToObject(row, "pass", pass);
    cJSON_AddStringToObject(row, "case", name);
    cJSON_AddItemToObject(row, "kernels", kernels);
    cJSON_AddStringToObject(row, "verdict", verdict(report));
    if (report->status) {
        cJSON_AddStringToObject(row, "message", report->message);
    } else {
        cJSON_AddNumberToObject(row, "error", report->error.e);
        cJSON_AddNumberToObject(row, "bound", report->error.bound_e);
        cJSON_AddNumberToObject(row, "largest", report->error.max_ratio);
        cJSON_AddNumberToObject(row, "lse", report->error.lse_abs);
        cJSON_AddNumberToObject(row, "max_logit", report->error.max_logit_abs);
        cJSON_AddNumberToObject(row, "statistics_bound", report->error.bound_stat);
        cJSON_AddBoolToObject(row, "reduction_ok", report->reduction_ok);
        cJSON_AddNumberToObject(row, "nans", report->error.n_nan);
        cJSON_AddNumberToObject(row, "device_seconds", report->run_seconds);
    }
    cJSON_AddNumberToObject(row, "total_seconds", report->total_seconds);
    cJSON_AddItemToArray(run->rows, row);
    run->n_rows++;
}

static void print_row(const char *name, const struct case_report *report)
{
    char device[32], total[32];
    cli_format_seconds(report->total_seconds, total, sizeof total);
    if (report->status) {
        printf("  %-22s %-8s %8s %8s %10s %10s  %s\n", name, verdict(report), "", "", "", total,
               report->message);
        return;
    }
    const rapt_error *error = &report->error;
    printf("  %-22s %-8s %8.1e %8.1e %10s %10s  %s", name, verdict(report), error->e,
           error->bound_e, cli_format_seconds(report->run_seconds, device, sizeof device), total,
           report->info.plan.prefill_kernel ? report->info.plan.prefill_kernel : "");
    if (report->info.plan.decode_kernel)
        printf(" %s", report->info.plan.decode_kernel);
    if (report->info.plan.few_rows_kernel)
        printf(" %s", report->info.plan.few_rows_kernel);
    if (error->n_nan)
        printf("  %d NaNs", error->n_nan);
    if (!error->ok && error->max_ratio > error->bound_max)
        printf("  largest %.1e > %.1e", error->max_ratio, error->bound_max);
    if (!error->ok && error->lse_abs > error->bound_stat)
        printf("  lse %.1e > %.1e", error->lse_abs, error->bound_stat);
    if (!error->ok && error->max_logit_abs > error->bound_stat)
        printf("  max logit %.1e > %.1e", error->max_logit_abs, error->bound_stat);
    if (!report->reduction_ok)
        printf("  max_logit_reduced is not the largest max_logit");
    printf("\n");
    fflush(stdout);
}

static void count(struct run *run, const struct case_spec *spec, const struct case_report *report)
{
    if (report->status) {
        /* "Unsupported" too: every case is one that any Vulkan 1.1 device must be able to run. */
        run->n_device_errors++;
        return;
    }
    if (spec && spec->flags & CASE_THREE_PASS)
        see_all(run, "three_pass_");
    /* A problem may leave a kernel of its plan idle; the step tells which ran. */
    const rapt_step *step = &report->info.step;
    const rapt_plan_info *plan = &report->info.plan;
    if (step->n_prefill_items)
        see(run, plan->prefill_kernel);
    if (step->n_decode_items)
        see(run, plan->decode_kernel);
    if (step->n_few_rows_items)
        see(run, plan->few_rows_kernel);
    if (step->n_merges)
        see(run, plan->merge_kernel);
    if (step->n_prefill_items)
        see(run, plan->stage_kernel);
    see(run, plan->append_kernel);
    if (!spec) /* the callers' merge */
        see_all(run, "combine_");
    else if (spec->flags & CASE_STATS)
        see_all(run, "logit_reduce_");
    run->n_failed += !report->error.ok || !report->reduction_ok;
}

static int run_case(struct run *run, rapt_easy *easy, const char *pass,
                    const struct case_spec *spec)
{
    struct case_data data;
    struct case_report report;
    uint64_t seed = run->values[CHECK_SEED].given ? run->values[CHECK_SEED].count : 1;
    int code = case_make(spec, seed * 1000 + (uint64_t)(spec - cases), &data);
    if (!code) {
        case_run(easy, &data, 1, &report);
        print_row(spec->name, &report);
        count(run, spec, &report);
        add_row(run, pass, spec->name, &report);
        if (report.status == RAPT_ERROR_DEVICE_LOST)
            code = CLI_DEVICE;
    }
    case_finish(&data);
    return code;
}

/* Rows of the table the device can run and no case ran, and those it cannot run. */
static void report_kernels(struct run *run, const rapt_caps *caps)
{
    cJSON *list = cJSON_AddArrayToObject(run->json, "kernels");
    /* Rows that selection keeps for other versions of this driver, or other shapes. */
    const char *idle = run->values[CHECK_FILTER].given ? "not run" : "not chosen on this device";
    uint32_t n_idle = 0;
    for (uint32_t i = 0; i < rapt_kernel_count(); i++) {
        rapt_kernel_info info = {.struct_size = sizeof info};
        if (rapt_kernel_get_info(caps, i, &info) != RAPT_OK)
            continue;
        const char *state = info.absent_reason        ? "absent"
                            : info.unsupported_reason ? "unsupported"
                                                      : NULL;
        const char *why = info.absent_reason ? info.absent_reason : info.unsupported_reason;
        for (uint32_t j = 0; j < run->n_seen && !state; j++) {
            if (strcmp(run->seen[j], info.name) == 0)
                state = "checked";
        }
        if (!state) /* loops that measure, and compute nothing to check */
            state = strncmp(info.name, "ceiling_", 8) == 0 ? "measured" : idle;
        cJSON *object = cJSON_CreateObject();
        cJSON_AddStringToObject(object, "name", info.name);
        cJSON_AddStringToObject(object, "state", state);
        if (why)
            cJSON_AddStringToObject(object, "why", why);
        cJSON_AddItemToArray(list, object);
        if (strcmp(state, "checked") != 0 && strcmp(state, "measured") != 0) {
            if (n_idle++ == 0)
                printf("kernels not checked:\n");
            printf("  %-26s %s%s%s\n", info.name, state, why ? ": " : "", why ? why : "");
        }
    }
}

/* The device's ceilings: they tell a slow machine from a slow kernel. */
static void report_ceilings(struct run *run, rapt_easy *easy)
{
    rapt_ceilings ceilings = {.struct_size = sizeof ceilings};
    if (rapt_easy_measure_ceilings(easy, &ceilings) != RAPT_OK) {
        printf("ceilings: %s\n", rapt_last_error());
        run->n_device_errors++;
        return;
    }
    printf("ceilings: %.1f GFLOP/s of multiply-adds, %.1f GB/s copied, %.1f GB/s read\n",
           ceilings.flops_per_second * 1e-9, ceilings.copy_bytes_per_second * 1e-9,
           ceilings.read_bytes_per_second * 1e-9);
    cJSON *object = cJSON_AddObjectToObject(run->json, "ceilings");
    cJSON_AddNumberToObject(object, "flops_per_second", ceilings.flops_per_second);
    cJSON_AddNumberToObject(object, "copy_bytes_per_second", ceilings.copy_bytes_per_second);
    cJSON_AddNumberToObject(object, "read_bytes_per_second", ceilings.read_bytes_per_second);
}

static const char merge_name[] = "merge of parts";

static int wanted(const struct run *run, const char *name)
{
    const struct option_value *filter = &run->values[CHECK_FILTER];
    return !filter->given || strstr(name, filter->text);
}

static int run_pass(struct run *run, size_t pass)
{
    char disable[1024];
    const char *also = run->values[CHECK_DISABLE].given ? run->values[CHECK_DISABLE].text : "";
    rapt_easy *easy = NULL;
    snprintf(disable, sizeof disable, "%s%s%s", also, *also && *passes[pass].disable ? "," : "",
             passes[pass].disable);
    int code = device_open(run->values[CHECK_DEVICE].text, disable, &easy);
    if (code)
        return code;
    const rapt_caps *caps = rapt_device_caps(rapt_easy_device(easy));
    if (pass == 0) {
        char text[600];
        run->features = caps->features;
        run->caps = *caps;
        printf("rapt %s on %s, Vulkan %u.%u.%u, driver %s\n", rapt_version(),
               device_text(caps, text, sizeof text), VK_VERSION_MAJOR(caps->api_version),
               VK_VERSION_MINOR(caps->api_version), VK_VERSION_PATCH(caps->api_version),
               caps->driver_name);
        cJSON_AddStringToObject(run->json, "version", rapt_version());
        cJSON_AddStringToObject(run->json, "device", text);
        cJSON_AddStringToObject(run->json, "driver", caps->driver_name);
        printf("features:");
        cJSON *list = cJSON_AddArrayToObject(run->json, "features");
        for (uint32_t bit = 0; bit < RAPT_N_FEATURES; bit++) {
            if (!(caps->features >> bit & 1))
                continue;
            printf(" %s", rapt_feature_name(bit));
            cJSON_AddItemToArray(list, cJSON_CreateString(rapt_feature_name(bit)));
        }
        printf("\n");
        cJSON_AddItemToObject(run->json, "rows", run->rows);
        report_ceilings(run, easy);
    } else if (!(run->features & passes[pass].needs)) {
        return device_close(&easy, 0);
    }
    printf("\n%s\n  %-22s %-8s %8s %8s %10s %10s  %s\n", passes[pass].title, "case", "", "error",
           "bound", "device", "in all", "kernels");
    for (size_t i = 0; i < passes[pass].n_cases && !code; i++) {
        if (wanted(run, cases[i].name))
            code = run_case(run, easy, passes[pass].title, &cases[i]);
    }
    if (!code && wanted(run, merge_name)) {
        struct case_report report;
        case_run_merge(easy, &report);
        print_row(merge_name, &report);
        count(run, NULL, &report);
        add_row(run, passes[pass].title, merge_name, &report);
    }
    return device_close(&easy, code);
}

static int check_device(struct run *run)
{
    double start = cli_seconds();
    int code = 0;
    if (run->values[CHECK_JSON].given)
        code = output_probe("--json", run->values[CHECK_JSON].text);
    for (size_t pass = 0; pass < N_PASSES && !code; pass++)
        code = run_pass(run, pass);
    if (code)
        return code;
    if (run->n_rows == 0)
        return cli_fail(CLI_USAGE, "--filter: no case's name contains '%s'",
                        run->values[CHECK_FILTER].text);
    printf("\n");
    report_kernels(run, &run->caps);
    printf("%u checks, %u wrong, %u errors, %.0f s\n", run->n_rows, run->n_failed,
           run->n_device_errors, cli_seconds() - start);
    cJSON_AddNumberToObject(run->json, "wrong", run->n_failed);
    cJSON_AddNumberToObject(run->json, "errors", run->n_device_errors);
    if (run->values[CHECK_JSON].given)
        code = output_json(run->json, "--json", run->values[CHECK_JSON].text);
    if (!code && run->n_device_errors)
        code = cli_fail(CLI_DEVICE, "%u checks could not be run: please report the table above",
                        run->n_device_errors);
    if (!code && run->n_failed)
        code =
            cli_fail(CLI_CHECK, "%u results are beyond their bounds: please report the table above",
                     run->n_failed);
    return code;
}

int check_main(int argc, char **argv)
{
    struct option_value values[CHECK_N_OPTIONS];
    int code = options_parse(options, CHECK_N_OPTIONS, argc, argv, values);
    if (code == OPTIONS_HELP) {
        options_help(
            "usage: rapt check [--json FILE] [OPTIONS]\n\n"
            "Runs every kernel this device can run against the float64 reference, then again with\n"
            "features switched off. A row is `ok` when its error is within its bound. Paste all "
            "of\n"
            "the output into a bug report. Exit status: 0 all ok, 4 a check could not run, 5 a\n"
            "result is wrong.\n\n",
            options, CHECK_N_OPTIONS);
        return CLI_DONE;
    }
    if (code)
        return code;
    struct run run = {.values = values, .json = cJSON_CreateObject(), .rows = cJSON_CreateArray()};
    if (run.json && run.rows)
        code = check_device(&run);
    else
        code = cli_fail(CLI_DEVICE, "out of memory");
    if (!cJSON_HasObjectItem(run.json, "rows"))
        cJSON_Delete(run.rows);
    cJSON_Delete(run.json);
    return code;
}
