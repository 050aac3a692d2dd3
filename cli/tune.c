/* SPDX-License-Identifier: Apache-2.0 */
/* `rapt tune`: which tile of a kernel is the fastest here, shape by shape. A candidate is checked
 * against the reference before it is timed, and timed in turns with the best one so far. */
#include "tune.h"
#include "cli.h"
#include "device.h"
#include "options.h"

#include <rapt/tiles.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TUNE_SHAPES, TUNE_REPEAT, TUNE_DRY, TUNE_DEVICE, TUNE_DISABLE, TUNE_N_OPTIONS };

/* clang-format off */
static const struct option_spec options[TUNE_N_OPTIONS] = {
    [TUNE_SHAPES] = {"--shapes", OPTION_TEXT, "FILE", "lines of: prefill|decode|speculate TYPE HQ/HKV D[/DV] QUERIES|SEQUENCES KEYS [PAGE]"},
    [TUNE_REPEAT] = {"--repeat", OPTION_COUNT, "N", "runs of each of two candidates (default 9)", 1, 999},
    [TUNE_DRY] = {"--dry-run", OPTION_FLAG, NULL, "measures and stores nothing"},
    [TUNE_DEVICE] = {"--device", OPTION_TEXT, "N|NAME", "by number or part of a name (default: the best)"},
    [TUNE_DISABLE] = {"--disable", OPTION_TEXT, "NAMES", "device features not to use"},
};
/* clang-format on */

#define MAX_REPEATS 999
#define CLEARLY 0.97 /* of the other's median: what is nearer than that is noise */

/* A tile that runs. */
struct contender {
    uint32_t number; /* of the candidate; 1 = the rules' own */
    rapt_easy_job *job;
    rapt_easy_job_info info;
    double seconds; /* median of the last duel */
};

struct tuner {
    const struct option_value *values;
    rapt_easy *easy;
    const rapt_caps *caps;
    rapt_tiles *tiles;
    uint32_t n_repeats, n_wrong, n_changed;
};

/* What is measured of a plan: its kernel for the shape, NULL where another one takes that. */
struct subject {
    const char *kernel;
    const uint32_t *numbers;
    uint32_t n_tiles;
};

static struct subject subject_of(const struct tune_shape *shape, const struct contender *contender)
{
    const rapt_plan_info *plan = &contender->info.plan;
    const rapt_step *step = &contender->info.step;
    const struct subject subjects[] = {
        [TUNE_PREFILL] = {step->n_prefill_items ? plan->prefill_kernel : NULL, plan->prefill_tile,
                          plan->n_prefill_tiles},
        [TUNE_DECODE] = {step->n_decode_items ? plan->decode_kernel : NULL, plan->decode_tile,
                         plan->n_decode_tiles},
        [TUNE_SPECULATE] = {step->n_few_rows_items ? plan->few_rows_kernel : NULL,
                            plan->few_rows_tile, plan->n_few_rows_tiles},
    };
    return subjects[shape->use];
}

/* The kernel that takes the shape. */
static const char *taker(const struct contender *contender)
{
    const rapt_plan_info *plan = &contender->info.plan;
    const rapt_step *step = &contender->info.step;
    return step->n_prefill_items  ? plan->prefill_kernel
           : step->n_decode_items ? plan->decode_kernel
                                  : plan->few_rows_kernel;
}

static void print_contender(const struct tune_shape *shape, const struct contender *contender,
                            const char *verdict)
{
    const uint32_t *n = subject_of(shape, contender).numbers;
    char time[32];
    printf("  %2u  %4u lanes, %3u rows, %3u keys, %#8x %#6x %3u %u  %10s  %s\n", contender->number,
           n[0], n[1], n[2], n[3], n[4], n[5], n[6],
           contender->seconds > 0 ? cli_format_seconds(contender->seconds, time, sizeof time) : "",
           verdict);
    fflush(stdout);
}

/* Makes the job, runs it once and compares: out_why says in a line why it is out, "" if it is not.
 * 0 or an exit code where the shape or the device is to blame. */
static int enter(struct tuner *tuner, const struct tune_shape *shape, struct case_data *data,
                 uint32_t number, struct contender *contender, char *out_why, size_t why_bytes)
{
    *contender = (struct contender){.number = number, .info.struct_size = sizeof contender->info};
    *out_why = 0;
    data->options.tile_prefill = shape->use == TUNE_PREFILL ? number : 0;
    data->options.tile_decode = shape->use == TUNE_DECODE ? number : 0;
    data->options.tile_few_rows = shape->use == TUNE_SPECULATE ? number : 0;
    rapt_status status = rapt_easy_job_create(tuner->easy, &data->problem, &data->options,
                                              &data->result, &contender->job);
    if (!status)
        status = rapt_easy_job_run(contender->job, NULL);
    if (!status)
        status = rapt_easy_job_read(contender->job, &data->result);
    if (status == RAPT_ERROR_DEVICE_LOST || (status && number == 1))
        return cli_fail_status(status, shape->name);
    if (status) {
        snprintf(out_why, why_bytes, "failed: %s", rapt_last_error());
        return 0;
    }
    rapt_easy_job_get_info(contender->job, &contender->info);
    rapt_error error;
    status = case_check(data, device_bound(&contender->info.plan), &error);
    if (status)
        return cli_fail_status(status, shape->name);
    if (!error.ok) {
        tuner->n_wrong++;
        snprintf(out_why, why_bytes, "WRONG: error %.1e, bound %.1e", error.e, error.bound_e);
    }
    return 0;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *times, uint32_t n)
{
    qsort(times, n, sizeof *times, compare);
    return n % 2 ? times[n / 2] : (times[n / 2 - 1] + times[n / 2]) / 2;
}

/* Times both in turns. Nonzero into out_won where the challenger is clearly the faster one: by its
 * median, and in four of five rounds. */
static int duel(const struct tuner *tuner, struct contender *champion, struct contender *challenger,
                int *out_won)
{
    static double times[2][MAX_REPEATS];
    uint32_t n = 0, n_won = 0, hopeless = 0;
    while (n < tuner->n_repeats && !hopeless) {
        rapt_status status = rapt_easy_job_run(champion->job, &times[0][n]);
        if (!status)
            status = rapt_easy_job_run(challenger->job, &times[1][n]);
        if (status)
            return cli_fail_status(status, "timing");
        n_won += times[1][n] < times[0][n];
        hopeless = n == 1 && n_won == 0 && times[1][0] > 1.5 * times[0][0] &&
                   times[1][1] > 1.5 * times[0][1];
        n++;
    }
    champion->seconds = median(times[0], n);
    challenger->seconds = median(times[1], n);
    *out_won = challenger->seconds < CLEARLY * champion->seconds && n_won * 5 >= n * 4;
    return 0;
}

/* The table gets what was measured, whether that is the rules' own tile or not. */
static int keep(struct tuner *tuner, const struct tune_shape *shape, const struct contender *best)
{
    const struct subject subject = subject_of(shape, best);
    const uint32_t group = shape->spec.n_q_heads / shape->spec.n_kv_heads;
    rapt_tile tile = {.struct_size = sizeof tile,
                      .head_dim = shape->spec.head_dim,
                      .head_dim_v = shape->spec.head_dim_v,
                      .group = shape->use == TUNE_PREFILL ? 0 : group};
    snprintf(tile.kernel, sizeof tile.kernel, "%s", subject.kernel);
    memcpy(tile.numbers, subject.numbers, sizeof tile.numbers);
    rapt_status status = rapt_tiles_put(tuner->tiles, &tile);
    if (!status && !tuner->values[TUNE_DRY].given)
        status = rapt_easy_tiles_save(NULL, tuner->caps, tuner->tiles);
    return status ? cli_fail_status(status, NULL) : 0;
}

static int challenge_all(struct tuner *tuner, const struct tune_shape *shape,
                         struct case_data *data, uint32_t n, struct contender *champion)
{
    int code = 0;
    for (uint32_t number = 2; number <= n && !code; number++) {
        struct contender challenger;
        char why[160];
        int won = 0;
        code = enter(tuner, shape, data, number, &challenger, why, sizeof why);
        if (!code && !*why)
            code = duel(tuner, champion, &challenger, &won);
        char against[32], verdict[sizeof why];
        snprintf(verdict, sizeof verdict, "against %s%s",
                 cli_format_seconds(champion->seconds, against, sizeof against),
                 won ? ": faster" : "");
        if (!code)
            print_contender(shape, &challenger, *why ? why : verdict);
        if (won) {
            struct contender loser = *champion;
            *champion = challenger;
            challenger = loser;
        }
        rapt_easy_job_destroy(&challenger.job);
    }
    return code;
}

static int tune_shape(struct tuner *tuner, const struct tune_shape *shape)
{
    struct case_data data;
    struct contender champion = {0};
    char why[160] = "";
    int code = case_make(&shape->spec, 1, &data);
    if (!code)
        code = enter(tuner, shape, &data, 1, &champion, why, sizeof why);
    const struct subject subject = subject_of(shape, &champion);
    const uint32_t n = subject.n_tiles;
    if (!code && !subject.kernel) {
        printf("%s: %s takes it\n", shape->name, taker(&champion));
    } else if (!code) {
        printf("%s: %s, %u candidate%s\n", shape->name, subject.kernel, n, n == 1 ? "" : "s");
        print_contender(shape, &champion, *why ? why : "the rules' own");
        if (!*why)
            code = challenge_all(tuner, shape, &data, n, &champion);
        if (!code && !*why && n > 1) {
            char time[32];
            printf("  kept: %u%s, %s\n", champion.number,
                   champion.number == 1 ? ", as the rules have it" : "",
                   cli_format_seconds(champion.seconds, time, sizeof time));
            tuner->n_changed += champion.number != 1;
            code = keep(tuner, shape, &champion);
        }
    }
    rapt_easy_job_destroy(&champion.job);
    case_finish(&data);
    return code;
}

/* The table so far, or an empty one where there is none that can be used. */
static int open_table(struct tuner *tuner, char *path, size_t path_bytes)
{
    rapt_status status = rapt_easy_tiles_load(NULL, tuner->caps, path, path_bytes, &tuner->tiles);
    if (!*path && !tuner->values[TUNE_DRY].given)
        return cli_fail(CLI_USAGE,
                        "there is no folder to keep the table in: RAPT_CACHE_DIR names one, "
                        "--dry-run goes without");
    if (status == RAPT_ERROR_HOST_MEMORY)
        return cli_fail_status(status, NULL);
    if (status)
        printf("begun anew: %s\n", rapt_last_error());
    if (!tuner->tiles)
        status = rapt_tiles_create(NULL, tuner->caps, &tuner->tiles);
    return tuner->tiles ? 0 : cli_fail_status(status, NULL);
}

static int tune_all(struct tuner *tuner, const struct tune_shape *shapes, size_t n_shapes)
{
    char path[1024] = "", text[600];
    tuner->caps = rapt_device_caps(rapt_easy_device(tuner->easy));
    int code = open_table(tuner, path, sizeof path);
    if (!code)
        printf("rapt %s on %s\n", rapt_version(), device_text(tuner->caps, text, sizeof text));
    for (size_t i = 0; i < n_shapes && !code; i++)
        code = tune_shape(tuner, &shapes[i]);
    if (code)
        return code;
    printf("%zu shapes, %u with another tile than the rules'; ", n_shapes, tuner->n_changed);
    if (tuner->values[TUNE_DRY].given)
        printf("nothing stored\n");
    else
        printf("%u tiles in %s\n", rapt_tiles_count(tuner->tiles), path);
    if (tuner->n_wrong)
        return cli_fail(CLI_CHECK,
                        "%u candidates are beyond their bounds: please report the table above",
                        tuner->n_wrong);
    return 0;
}

int tune_main(int argc, char **argv)
{
    struct option_value values[TUNE_N_OPTIONS];
    static struct tune_shape shapes[TUNE_MAX_SHAPES];
    size_t n_shapes = 0;
    int code = options_parse(options, TUNE_N_OPTIONS, argc, argv, values);
    if (code == OPTIONS_HELP) {
        options_help(
            "usage: rapt tune [--shapes FILE] [OPTIONS]\n\n"
            "Measures the candidate tiles of the kernels this device is given, each checked "
            "against\n"
            "the reference first, and keeps the fastest in the user's cache folder: plans of the\n"
            "easy tier and of this command take them from there. Wants a quiet machine.\n\n",
            options, TUNE_N_OPTIONS);
        return CLI_DONE;
    }
    if (!code)
        code = tune_read_shapes(values[TUNE_SHAPES].text, shapes, &n_shapes);
    if (code)
        return code;
    struct tuner tuner = {.values = values,
                          .n_repeats =
                              values[TUNE_REPEAT].given ? (uint32_t)values[TUNE_REPEAT].count : 9};
    code = device_open(values[TUNE_DEVICE].text, values[TUNE_DISABLE].text, &tuner.easy);
    if (code)
        return code;
    code = tune_all(&tuner, shapes, n_shapes);
    rapt_tiles_destroy(&tuner.tiles);
    return device_close(&tuner.easy, code);
}
