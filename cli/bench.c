/* SPDX-License-Identifier: Apache-2.0 */
#include "bench.h"

#include "bench_process.h"
#include "cli.h"
#include "device.h"
#include "options.h"
#include "output.h"

#include <stdlib.h>
#include <string.h>

/* Ceilings are looked at again that often: on a machine with other work, one look may see too
 * little, and a ceiling that is too low flatters every row. */
#define CEILINGS_SECONDS 3.0
/* The first looks, which the first rows are held against: until two agree, with rests between. */
#define MIN_LOOKS 3
#define MAX_LOOKS 8
#define LOOKS_AGREE 0.97
#define REST_SECONDS 0.25

enum { SUITE, FILTER, JSON, REPEAT, LIST, DEVICE, DISABLE, PEERS, N_OPTIONS };

static const struct option_spec specs[N_OPTIONS] = {
    [SUITE] = {"--suite", OPTION_TEXT, "NAME",
               "quick (default), paper (lengths x prefill and decode x against the three-pass "
               "baseline), full (both, and types, dims, masks, pages)",
               0, 0},
    [FILTER] = {"--filter", OPTION_TEXT, "RE", "only rows whose name matches: . * + ? ^ $ | [...]",
                0, 0},
    [JSON] = {"--json", OPTION_TEXT, "FILE", "rows, ceilings and goals", 0, 0},
    [REPEAT] =
        {"--repeat", OPTION_COUNT, "N",
         "runs per row, and at most as many looks at what the device can do (default: about a "
         "second's worth of a row, at least 5)",
         1, 200},
    [LIST] = {"--list", OPTION_FLAG, NULL, "print the rows' names, measure nothing", 0, 0},
    [DEVICE] = {"--device", OPTION_TEXT, "N|NAME", "which device (rapt info lists them)", 0, 0},
    [DISABLE] = {"--disable", OPTION_TEXT, "FEATURE,...", "device features not to use", 0, 0},
    [PEERS] = {"--peers", OPTION_FLAG, NULL,
               "rows beside other implementations, too: ggml and PyTorch where installed", 0, 0},
};

static const char help_head[] = "usage: rapt bench [OPTIONS]\n\n"
                                "Measures attention on this device: median of repeats, with half "
                                "the distance of the quartiles as\n"
                                "the spread, beside what the device can do at most (a multiply-add "
                                "loop, a copy, a read; measured\n"
                                "again and again during the run, the best counts). FLOPs are 4 * D "
                                "per allowed pair and query head.\n\n";

/* A run with --repeat looks that often, like its rows; without it, as often as there is time. */
static int looked_enough(const struct bench *bench)
{
    return bench->n_repeats && bench->n_looks >= bench->n_repeats;
}

static int look(struct bench *bench, rapt_ceilings *out_now)
{
    rapt_ceilings now = {.struct_size = sizeof now};
    bench->n_looks++;
    rapt_status status = rapt_easy_measure_ceilings(bench->easy, &now);
    if (status)
        return cli_fail_status(status, "ceilings");
    *out_now = now;
    rapt_ceilings *best = &bench->ceilings;
    if (now.flops_per_second > best->flops_per_second)
        best->flops_per_second = now.flops_per_second;
    if (now.copy_bytes_per_second > best->copy_bytes_per_second)
        best->copy_bytes_per_second = now.copy_bytes_per_second;
    if (now.read_bytes_per_second > best->read_bytes_per_second)
        best->read_bytes_per_second = now.read_bytes_per_second;
    return 0;
}

static int measure_ceilings(struct bench *bench)
{
    rapt_ceilings now = {0};
    return looked_enough(bench) ? 0 : look(bench, &now);
}

static int measure_first_ceilings(struct bench *bench)
{
    double seen[MAX_LOOKS];
    for (int n = 0, agree = 0;
         n < MAX_LOOKS && !looked_enough(bench) && (n < MIN_LOOKS || agree < 2); n++) {
        rapt_ceilings now = {0};
        if (n > 0)
            process_sleep(REST_SECONDS);
        int code = look(bench, &now);
        if (code)
            return code;
        seen[n] = now.flops_per_second;
        agree = 0;
        for (int i = 0; i <= n; i++)
            agree += seen[i] >= LOOKS_AGREE * bench->ceilings.flops_per_second;
    }
    return 0;
}

static void print_ceilings(const struct bench *bench)
{
    printf("ceilings: multiply-add %.1f GFLOP/s, copy %.1f GB/s, read %.1f GB/s\n",
           bench->ceilings.flops_per_second * 1e-9, bench->ceilings.copy_bytes_per_second * 1e-9,
           bench->ceilings.read_bytes_per_second * 1e-9);
}

static double spread(const struct bench_times *times)
{
    return times->median > 0 ? 50 * (times->p75 - times->p25) / times->median : 0;
}

static double share_of_ceiling(const struct bench *bench, const struct bench_row *row)
{
    return 100 * bench_row_flops(row) / bench->ceilings.flops_per_second;
}

static int has_share(const struct bench_row *row)
{
    return !row->skipped[0] && (row->spec.kind <= BENCH_MIXED || row->spec.kind == BENCH_SHARED);
}

static void print_contests(const struct bench *bench, const struct bench_row *row)
{
    char time[32];
    for (int i = 0; i < BENCH_N_PEERS; i++) {
        const struct bench_contest *contest = &row->contests[i];
        if (bench->peer[i].why[0])
            continue;
        if (contest->why[0])
            printf("    %-44s not measured: %s\n", bench->peer[i].name, contest->why);
        else
            printf("    %-44s %10s %4.0f%% %8.1f  %9.2f times as long  %27.1e\n",
                   bench->peer[i].name,
                   cli_format_seconds(contest->times.median, time, sizeof time),
                   spread(&contest->times), (double)row->cost.flops / contest->times.median * 1e-9,
                   contest->of_ours, contest->e);
    }
}

static void print_row(const struct bench *bench, const struct bench_row *row)
{
    char time[32], record[32], bytes[32];
    cli_format_seconds(row->times.median, time, sizeof time);
    if (row->skipped[0]) {
        printf("skipped: %s\n", row->skipped);
    } else if (row->spec.kind == BENCH_PAGER || row->spec.kind == BENCH_TABLE) {
        printf("%10s %4.0f%%  on the host%s\n", time, spread(&row->times),
               row->ok ? "" : "  WRONG");
    } else if (row->spec.kind == BENCH_APPEND) {
        printf("%10s %4.0f%%  %.2f GB/s read and written, %.0f tokens/s\n", time,
               spread(&row->times), (double)row->moved_bytes / row->times.median * 1e-9,
               (double)row->tokens / row->times.median);
    } else if (row->spec.kind == BENCH_CHOOSE) {
        cli_format_seconds(row->record_times.median, record, sizeof record);
        printf("%10s %4.0f%%  beside attention of %s +-%.0f%%: %.1f%%\n", time, spread(&row->times),
               record, spread(&row->record_times),
               100 * row->times.median / row->record_times.median);
    } else if (row->spec.kind == BENCH_HOST) {
        cli_format_seconds(row->record_times.median, record, sizeof record);
        printf("prepare %s +-%.0f%%, record %s +-%.0f%%\n", time, spread(&row->times), record,
               spread(&row->record_times));
    } else {
        printf("%10s %4.0f%% %8.1f %5.1f%% %7.2f %10.0f %10s %8.1e%s\n", time, spread(&row->times),
               bench_row_flops(row) * 1e-9, share_of_ceiling(bench, row),
               bench_row_kv_bytes(row) * 1e-9, (double)row->tokens / row->times.median,
               cli_format_bytes((double)row->peak_bytes, bytes, sizeof bytes), row->e,
               row->ok ? "" : "  WRONG");
        if (row->of_other > 0)
            printf("%-48s %9.3fx the time of %s, %.3fx the pairs\n", "", row->of_other,
                   row->spec.against, row->share);
        if (row->of_unshared > 0)
            printf("%-48s %9.2fx as fast as without sharing; %s of K/V", "", row->of_unshared,
                   cli_format_bytes((double)row->moved_bytes, bytes, sizeof bytes));
        if (row->of_unshared > 0)
            printf(" instead of %s\n",
                   cli_format_bytes((double)row->cost.kv_bytes, bytes, sizeof bytes));
        if (row->spec.peers)
            print_contests(bench, row);
    }
    fflush(stdout);
}

static int run_rows(struct bench *bench)
{
    int wrong = 0;
    double measured = cli_seconds();
    printf("\n%-48s %10s %5s %8s %6s %7s %10s %10s %8s\n", "row", "median", "+-", "GFLOP/s",
           "of max", "KV GB/s", "tokens/s", "memory", "error");
    for (uint32_t i = 0; i < bench->n_rows; i++) {
        struct bench_row *row = &bench->rows[i];
        printf("%-48s ", row->spec.name);
        fflush(stdout); /* the name is the progress: what is being measured now */
        int code = 0;
        if (cli_seconds() - measured > CEILINGS_SECONDS) {
            code = measure_ceilings(bench);
            measured = cli_seconds();
        }
        if (code == 0)
            code = bench_run_row(bench, row);
        if (code)
            return code;
        row->printed_ceiling = bench->ceilings.flops_per_second;
        print_row(bench, row);
        wrong |= !row->skipped[0] && !row->ok;
    }
    return wrong ? CLI_CHECK : 0;
}

/* Shares that were printed of a ceiling which turned out to be higher. */
static void print_shares_again(const struct bench *bench)
{
    int said = 0;
    for (uint32_t i = 0; i < bench->n_rows; i++) {
        const struct bench_row *row = &bench->rows[i];
        if (!has_share(row) || row->printed_ceiling >= 0.99 * bench->ceilings.flops_per_second)
            continue;
        if (!said++)
            printf("the ceiling rose while rows ran; of what it is now they reach\n");
        printf("%-48s %29.1f%%\n", row->spec.name, share_of_ceiling(bench, row));
    }
}

static void print_goals(const struct bench *bench)
{
    if (bench->memory_exponent[0] > 0)
        printf("\nmemory grows with length to the power %.3f (three-pass: %.3f)\n",
               bench->memory_exponent[0], bench->memory_exponent[1]);
    printf("\ngoals\n");
    for (uint32_t i = 0; i < bench->n_goals; i++) {
        const struct bench_goal *goal = &bench->goals[i];
        if (goal->verdict == BENCH_NOT_MEASURED)
            printf("  not measured  %-26s %s\n", goal->id, goal->reason);
        else
            printf("  %-13s %-26s %.4g %s, %s %.4g\n",
                   goal->verdict == BENCH_MET ? "met" : "NOT MET", goal->id, goal->got, goal->unit,
                   goal->at_most ? "at most" : "at least", goal->target);
    }
}

static int run(struct bench *bench, const struct option_value *values)
{
    char text[640];
    if (values[JSON].given) {
        int code = output_probe("--json", values[JSON].text);
        if (code)
            return code;
    }
    int code = device_open(values[DEVICE].text, values[DISABLE].text, &bench->easy);
    if (code)
        return code;
    bench->caps = rapt_device_caps(rapt_easy_device(bench->easy));
    printf("rapt %s on %s\n", rapt_version(), device_text(bench->caps, text, sizeof text));
    if (bench->with_peers)
        code = bench_peers_start(bench);
    if (code == 0)
        code = measure_first_ceilings(bench);
    if (code == 0) {
        print_ceilings(bench);
        code = run_rows(bench);
    }
    bench_peers_end(bench);
    int wrong = code == CLI_CHECK;
    if (code == 0 || wrong)
        code = measure_ceilings(bench);
    if (code == 0) {
        printf("\n");
        print_ceilings(bench);
        print_shares_again(bench);
        code = bench_judge(bench);
        print_goals(bench);
        code = device_verdict(bench->easy, code);
        if (code == 0 && values[JSON].given)
            code = bench_write_json(bench, values[JSON].text);
    }
    if (code == 0 && wrong)
        code = cli_fail(CLI_CHECK, "a row's result is outside its bound");
    return device_close(&bench->easy, code);
}

static int read_options(struct bench *bench, const struct option_value *values)
{
    static const char *const suites[] = {"quick", "paper", "full", NULL};
    int suite = values[SUITE].given ? options_word("--suite", values[SUITE].text, suites) : 0;
    if (suite < 0)
        return CLI_USAGE;
    bench->suite = (enum bench_suite)suite;
    bench->filter = values[FILTER].text;
    if (bench->filter && bench_filter_check(bench->filter))
        return CLI_USAGE;
    bench->n_repeats = values[REPEAT].given ? (uint32_t)values[REPEAT].count : 0;
    bench->with_peers = values[PEERS].given;
    bench_list(bench);
    if (bench->n_rows == 0)
        return cli_fail(CLI_USAGE, "--filter '%s' matches no row of the suite %s", bench->filter,
                        bench_suite_name(bench->suite));
    return 0;
}

int bench_main(int argc, char **argv)
{
    struct option_value values[N_OPTIONS];
    int code = options_parse(specs, N_OPTIONS, argc, argv, values);
    if (code == OPTIONS_HELP) {
        options_help(help_head, specs, N_OPTIONS);
        return CLI_DONE;
    }
    if (code)
        return code;
    struct bench *bench = calloc(1, sizeof *bench);
    if (!bench)
        return cli_fail(CLI_DEVICE, "out of memory");
    code = read_options(bench, values);
    if (code == 0 && values[LIST].given) {
        for (uint32_t i = 0; i < bench->n_rows; i++)
            printf("%s\n", bench->rows[i].spec.name);
    } else if (code == 0) {
        code = run(bench, values);
    }
    free(bench);
    return code;
}
