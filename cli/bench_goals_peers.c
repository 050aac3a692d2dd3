/* SPDX-License-Identifier: Apache-2.0 */
/* Goals beside other implementations, judged from the rows of `rapt bench --peers`: always the row
 * where this library looks worst. */
#include "bench.h"

#include <math.h>
#include <string.h>

static int find_peer(const struct bench *bench, const char *name)
{
    for (int i = 0; i < BENCH_N_PEERS; i++) {
        if (strcmp(bench->peer[i].name, name) == 0)
            return i;
    }
    return -1;
}

/* Rows whose names begin with `prefix` and hold `part`: how many times as long the peer takes, at
 * least. */
static void judge_least(struct bench *bench, const char *id, const char *peer, const char *prefix,
                        const char *part, double target)
{
    struct bench_goal *goal = bench_add_goal(bench, id, "", "times as fast", target, 0);
    const struct bench_row *worst = NULL;
    int i = find_peer(bench, peer);
    uint32_t n = 0;
    for (uint32_t r = 0; r < bench->n_rows && i >= 0; r++) {
        const struct bench_row *row = &bench->rows[r];
        if (strncmp(row->spec.name, prefix, strlen(prefix)) != 0 || !strstr(row->spec.name, part) ||
            row->contests[i].of_ours <= 0)
            continue;
        n++;
        if (!worst || row->contests[i].of_ours < worst->contests[i].of_ours)
            worst = row;
    }
    snprintf(goal->what, sizeof goal->what, "beside %s, %s%s", peer, worst ? "" : prefix,
             worst ? worst->spec.name : part);
    if (!worst) {
        snprintf(goal->reason, sizeof goal->reason, "%.160s",
                 i >= 0 && bench->peer[i].why[0] ? bench->peer[i].why : "this run had no such row");
        return;
    }
    bench_judge_goal(goal, worst->contests[i].of_ours);
    snprintf(goal->reason, sizeof goal->reason, "the least of %u rows", (unsigned)n);
}

/* The CPU driver: how near the multiply-adds of prefill come to what the device can do at most. */
static void judge_ceiling(struct bench *bench)
{
    static const char name[] = "peers prefill causal 4096 4q/4kv d128 f16";
    struct bench_goal *goal = bench_add_goal(bench, "peers-prefill-of-ceiling", name,
                                             "of the multiply-add ceiling", 0.86, 0);
    snprintf(goal->reason, sizeof goal->reason, "this run had no such row");
    for (uint32_t r = 0; r < bench->n_rows; r++) {
        const struct bench_row *row = &bench->rows[r];
        if (strcmp(row->spec.name, name) == 0 && row->ok && row->times.median > 0)
            bench_judge_goal(goal, bench_row_flops(row) / bench->ceilings.flops_per_second);
    }
}

void bench_judge_peers(struct bench *bench)
{
    int is_cpu = bench->caps->device_type == VK_PHYSICAL_DEVICE_TYPE_CPU;
    if (is_cpu) {
        judge_least(bench, "peers-prefill-ggml-vulkan", "ggml-vulkan", "peers prefill causal",
                    "f16", 25);
        judge_least(bench, "peers-prefill-ggml-cpu", "ggml-cpu", "peers prefill causal", "f16",
                    1.5);
        judge_least(bench, "peers-decode-ggml-vulkan", "ggml-vulkan", "peers decode", "f16", 15);
        judge_least(bench, "peers-decode-ggml-cpu", "ggml-cpu", "peers decode", "f16", 1.3);
        judge_ceiling(bench);
    }
    judge_least(bench, "peers-no-row-slower", "ggml-vulkan", "peers", "", 1);
    judge_least(bench, "peers-nvidia-flash", "torch-flash", "peers", "f16", 1);
    judge_least(bench, "peers-nvidia-cudnn", "torch-cudnn", "peers", "f16", 1);
    judge_least(bench, "peers-nvidia-efficient", "torch-efficient", "peers", "f16", 1);
}
