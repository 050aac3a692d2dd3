/* SPDX-License-Identifier: Apache-2.0 */
/* The speeds this project set itself, judged from the rows of a run. A goal that the run cannot
 * judge (another device, another suite) is not measured and says why. */
#include "bench.h"
#include "cli.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

double bench_row_flops(const struct bench_row *row)
{
    return row->times.median > 0 ? (double)row->cost.flops / row->times.median : 0;
}

double bench_row_kv_bytes(const struct bench_row *row)
{
    return row->times.median > 0 ? (double)row->cost.kv_bytes / row->times.median : 0;
}

static const struct bench_row *find_row(const struct bench *bench, const char *name)
{
    for (uint32_t i = 0; i < bench->n_rows; i++) {
        if (strcmp(bench->rows[i].spec.name, name) == 0)
            return &bench->rows[i];
    }
    return NULL;
}

struct bench_goal *bench_add_goal(struct bench *bench, const char *id, const char *what,
                                  const char *unit, double target, int at_most)
{
    struct bench_goal *goal = &bench->spare_goal;
    if (bench->n_goals < BENCH_MAX_GOALS)
        goal = &bench->goals[bench->n_goals++];
    else
        bench->n_goals_lost++;
    *goal = (struct bench_goal){.id = id,
                                .unit = unit,
                                .target = target,
                                .at_most = at_most,
                                .verdict = BENCH_NOT_MEASURED};
    snprintf(goal->what, sizeof goal->what, "%s", what);
    return goal;
}

void bench_judge_goal(struct bench_goal *goal, double got)
{
    goal->got = got;
    int met = goal->at_most ? got <= goal->target : got >= goal->target;
    goal->verdict = met ? BENCH_MET : BENCH_UNMET;
    goal->reason[0] = 0;
}

static void excuse(struct bench_goal *goal, const char *reason)
{
    snprintf(goal->reason, sizeof goal->reason, "%s", reason);
}

/* The row a goal speaks of, or NULL after an excuse. */
static const struct bench_row *row_of(const struct bench *bench, struct bench_goal *goal,
                                      const char *name)
{
    const struct bench_row *row = find_row(bench, name);
    if (!row)
        snprintf(goal->reason, sizeof goal->reason, "this run had no row '%s'", name);
    else if (row->skipped[0])
        snprintf(goal->reason, sizeof goal->reason, "the row was skipped: %.160s", row->skipped);
    else if (!row->ok)
        snprintf(goal->reason, sizeof goal->reason, "the row's result is wrong");
    return row && !row->skipped[0] && row->ok ? row : NULL;
}

#define PREFILL_1024 "prefill causal 1024 8q/8kv d128 f16"
#define PREFILL_4096 "prefill causal 4096 8q/8kv d128 f16"
#define DECODE_32768 "decode 32768 32q/8kv d128 f16"

/* Mesa's CPU driver, by the major version the goal was set for: the newer ones keep the goals of
 * the newest, and between them the older goals hold. */
static int lavapipe_generation(const rapt_caps *caps)
{
    if (caps->device_type != VK_PHYSICAL_DEVICE_TYPE_CPU || !strstr(caps->device_name, "llvmpipe"))
        return 0;
    return caps->driver_major >= 26 ? 26 : caps->driver_major >= 25 ? 25 : 22;
}

static int applies(const struct bench *bench, struct bench_goal *goal, int generation)
{
    if (lavapipe_generation(bench->caps) == generation)
        return 1;
    snprintf(goal->reason, sizeof goal->reason, "set for lavapipe %s; this device is %.80s %.60s",
             generation == 26   ? "26 and later"
             : generation == 25 ? "25"
                                : "22 to 24",
             bench->caps->device_name, bench->caps->driver_info);
    return 0;
}

static void flops_goal(struct bench *bench, int generation, const char *id, const char *name,
                       double target, int of_ceiling)
{
    char what[160];
    snprintf(what, sizeof what, "lavapipe %d, %s", generation, name);
    struct bench_goal *goal = bench_add_goal(
        bench, id, what, of_ceiling ? "of the multiply-add ceiling" : "GFLOP/s", target, 0);
    const struct bench_row *row =
        applies(bench, goal, generation) ? row_of(bench, goal, name) : NULL;
    if (!row)
        return;
    if (of_ceiling)
        bench_judge_goal(goal, bench_row_flops(row) / bench->ceilings.flops_per_second);
    else
        bench_judge_goal(goal, bench_row_flops(row) * 1e-9);
}

static void decode_goal(struct bench *bench, int generation, const char *id, double target)
{
    char what[160];
    snprintf(what, sizeof what, "lavapipe %d, %s", generation, DECODE_32768);
    struct bench_goal *goal = bench_add_goal(bench, id, what, "GB/s of K/V", target, 0);
    const struct bench_row *row =
        applies(bench, goal, generation) ? row_of(bench, goal, DECODE_32768) : NULL;
    if (row)
        bench_judge_goal(goal, bench_row_kv_bytes(row) * 1e-9);
}

static void first_use_goal(struct bench *bench)
{
    struct bench_goal *goal = bench_add_goal(
        bench, "lavapipe22-first-use", "lavapipe 22, first use: longest of the rows", "s", 15, 1);
    if (!applies(bench, goal, 22))
        return;
    const char *uncached = getenv("MESA_SHADER_CACHE_DISABLE");
    if (!uncached || (strcmp(uncached, "1") != 0 && strcmp(uncached, "true") != 0)) {
        excuse(goal, "the driver's own cache was on: run with MESA_SHADER_CACHE_DISABLE=true");
        return;
    }
    double longest = 0;
    for (uint32_t i = 0; i < bench->n_rows; i++) {
        const struct bench_row *row = &bench->rows[i];
        if (!row->skipped[0] && row->spec.kind <= BENCH_MIXED && !row->spec.three_pass)
            longest = fmax(longest, row->first_seconds);
    }
    if (longest > 0)
        bench_judge_goal(goal, longest);
    else
        excuse(goal, "no row ran");
}

/* Least squares of log(bytes) over log(length): the p of bytes ~ length^p. */
static double exponent(const struct bench *bench, enum bench_kind kind, int three_pass)
{
    double n = 0, x = 0, y = 0, xx = 0, xy = 0;
    for (uint32_t i = 0; i < bench->n_rows; i++) {
        const struct bench_row *row = &bench->rows[i];
        if (row->spec.kind != kind || !row->spec.length || row->spec.three_pass != three_pass ||
            row->skipped[0] || row->peak_bytes == 0)
            continue;
        double u = log((double)row->spec.length), v = log((double)row->peak_bytes);
        n += 1, x += u, y += v, xx += u * u, xy += u * v;
    }
    return n >= 3 ? (n * xy - x * y) / (n * xx - x * x) : 0;
}

static void memory_goals(struct bench *bench)
{
    for (int three_pass = 0; three_pass < 2; three_pass++)
        bench->memory_exponent[three_pass] = exponent(bench, BENCH_PREFILL, three_pass);
    static const enum bench_kind kinds[] = {BENCH_PREFILL, BENCH_DECODE};
    static const char *const ids[] = {"memory-exponent-prefill", "memory-exponent-decode"};
    static const char *const whats[] = {"peak device memory against length, prefill",
                                        "peak device memory against length, decode"};
    for (int i = 0; i < 2; i++) {
        struct bench_goal *goal = bench_add_goal(bench, ids[i], whats[i], "exponent", 1.05, 1);
        double fitted = exponent(bench, kinds[i], 0);
        if (fitted > 0)
            bench_judge_goal(goal, fitted);
        else
            excuse(goal, "needs --suite paper or full");
    }
}

/* One pair of goals for each batch: decoding, prompts beside it, and chunks of prompts alone. */
static void host_goals(struct bench *bench)
{
    static const struct {
        const char *prepare, *record, *row;
    } batches[] = {
        {"host-prepare", "host-record", "host 256 sequences 32q/8kv d128 f16 paged"},
        {"host-prepare-mixed", "host-record-mixed", "host 8x500+248x1 32q/8kv d128 f16 paged"},
        {"host-prepare-chunks", "host-record-chunks", "host 256x32 32q/8kv d128 f16 paged"},
    };
    for (size_t i = 0; i < sizeof batches / sizeof batches[0]; i++) {
        char what[160];
        snprintf(what, sizeof what, "prepare, %s", batches[i].row);
        struct bench_goal *prepare = bench_add_goal(bench, batches[i].prepare, what, "us", 100, 1);
        snprintf(what, sizeof what, "record, %s", batches[i].row);
        struct bench_goal *record = bench_add_goal(bench, batches[i].record, what, "us", 20, 1);
        const struct bench_row *row = row_of(bench, prepare, batches[i].row);
        if (row_of(bench, record, batches[i].row)) {
            bench_judge_goal(prepare, row->times.median * 1e6);
            bench_judge_goal(record, row->record_times.median * 1e6);
        }
    }
}

/* Quantized keys and values are there to be read faster: on the CPU driver, where arithmetic
 * counts, at least not slower. */
static void kv_goals(struct bench *bench)
{
    static const char *const kinds[] = {"int8", "fp8_e4m3", "int4", "q8_0", "q4_0"};
    static const char *const ids[] = {"decode-int8", "decode-fp8_e4m3", "decode-int4",
                                      "decode-q8_0", "decode-q4_0"};
    int cpu = bench->caps->device_type == VK_PHYSICAL_DEVICE_TYPE_CPU;
    for (int i = 0; i < 5; i++) {
        char name[96];
        snprintf(name, sizeof name, "decode 32768 32q/8kv d128 %s", kinds[i]);
        struct bench_goal *goal =
            bench_add_goal(bench, ids[i], name, "of f16's time", cpu ? 1.0 : 0.75, 1);
        const struct bench_row *row = row_of(bench, goal, name);
        if (row && row->of_other > 0)
            bench_judge_goal(goal, row->of_other);
    }
}

static void pager_goals(struct bench *bench)
{
    static const struct {
        const char *id, *what, *unit;
        double target, scale;
    } goals[] = {
        [BENCH_PAGER_APPEND] = {"pager-append", "a token to 1000 sequences of 4096", "us", 1000,
                                1e6},
        [BENCH_PAGER_FORK] = {"pager-fork", "fork of 4096 tokens", "us", 5, 1e6},
        [BENCH_PAGER_LOOKUP] = {"pager-lookup", "prefix lookup, per page", "us", 1, 1e6},
    };
    for (size_t i = 0; i < sizeof goals / sizeof goals[0]; i++) {
        struct bench_goal *goal =
            bench_add_goal(bench, goals[i].id, goals[i].what, goals[i].unit, goals[i].target, 1);
        excuse(goal, "this run had no such row");
        for (uint32_t r = 0; r < bench->n_rows; r++) {
            const struct bench_row *row = &bench->rows[r];
            if (row->spec.kind == BENCH_PAGER && row->spec.pager == i && row->ok)
                bench_judge_goal(goal, row->times.median * goals[i].scale);
        }
    }
}

static void shared_goal(struct bench *bench)
{
    static const char name[] = "shared prefix 8192x64 decode 8q/8kv d128 f16";
    struct bench_goal *goal =
        bench_add_goal(bench, "shared-prefix", name, "times as fast as without sharing", 5, 0);
    const struct bench_row *row = row_of(bench, goal, name);
    if (row)
        bench_judge_goal(goal, row->of_unshared);
}

/* Time follows the pairs that are listed: beside dense attention by the same kernel in the same
 * run. */
static void mask_goals(struct bench *bench)
{
    static const struct {
        const char *id, *row;
        double target, times_share, fixed; /* target 0: times_share * share + fixed */
    } goals[] = {
        {"sparse-50", "prefill blocks 128 4096 2q/2kv d128 f16 kept 50%", 0, 1.15, 0.05},
        {"sparse-75", "prefill blocks 128 4096 2q/2kv d128 f16 kept 25%", 0, 1.15, 0.05},
        {"sparse-90", "prefill blocks 128 4096 2q/2kv d128 f16 kept 10%", 0, 1.15, 0.05},
        {"sparse-95", "prefill blocks 128 4096 2q/2kv d128 f16 kept 5%", 0, 1.15, 0.05},
        {"causal-of-full", "prefill causal 4096 2q/2kv d128 f16 of full", 0.55, 0, 0},
        {"window-of-causal", "prefill causal 16384 1q/1kv d128 f16 window 1024", 0, 1.2, 0},
    };
    for (size_t i = 0; i < sizeof goals / sizeof goals[0]; i++) {
        struct bench_goal *goal = bench_add_goal(bench, goals[i].id, goals[i].row,
                                                 "of the other's time", goals[i].target, 1);
        const struct bench_row *row = row_of(bench, goal, goals[i].row);
        if (row && goals[i].times_share > 0)
            goal->target = goals[i].times_share * row->share + goals[i].fixed;
        if (row && row->of_other > 0)
            bench_judge_goal(goal, row->of_other);
    }
    const char *name = "table causal window segments 131072 block 128";
    struct bench_goal *build = bench_add_goal(bench, "table-build", name, "ms on one core", 10, 1);
    struct bench_goal *part =
        bench_add_goal(bench, "table-of-attention",
                       "the same, of the attention of 8 heads d128 it serves, at the speed "
                       "of " PREFILL_4096,
                       "of its time", 0.01, 1);
    const struct bench_row *row = row_of(bench, build, name);
    if (row)
        bench_judge_goal(build, row->times.median * 1e3);
    const struct bench_row *table = row_of(bench, part, name);
    const struct bench_row *dense = table ? row_of(bench, part, PREFILL_4096) : NULL;
    if (dense) {
        double flops = 4.0 * 128 * 8 * (double)table->listed_pairs;
        bench_judge_goal(part, table->times.median * bench_row_flops(dense) / flops);
    }
}

int bench_judge(struct bench *bench)
{
    bench->n_goals = bench->n_goals_lost = 0;
    flops_goal(bench, 26, "lavapipe26-prefill-1024", PREFILL_1024, 0.60, 1);
    flops_goal(bench, 26, "lavapipe26-prefill-4096", PREFILL_4096, 0.60, 1);
    decode_goal(bench, 26, "lavapipe26-decode-32768", 10);
    flops_goal(bench, 25, "lavapipe25-prefill-1024", PREFILL_1024, 35, 0);
    flops_goal(bench, 25, "lavapipe25-prefill-4096", PREFILL_4096, 35, 0);
    decode_goal(bench, 25, "lavapipe25-decode-32768", 5);
    flops_goal(bench, 22, "lavapipe22-prefill-1024", PREFILL_1024, 8, 0);
    flops_goal(bench, 22, "lavapipe22-prefill-4096", PREFILL_4096, 8, 0);
    first_use_goal(bench);
    host_goals(bench);
    memory_goals(bench);
    kv_goals(bench);
    pager_goals(bench);
    shared_goal(bench);
    mask_goals(bench);
    if (bench->with_peers)
        bench_judge_peers(bench);
    if (bench->n_goals_lost)
        return cli_fail(CLI_DEVICE, "%u goals more than the %d there is room for",
                        bench->n_goals_lost, BENCH_MAX_GOALS);
    return 0;
}
