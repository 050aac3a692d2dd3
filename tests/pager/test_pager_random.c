/* SPDX-License-Identifier: Apache-2.0 */
/* Random calls against the model, one pager after the other.
 *
 *   test_pager_random [--ops N] [--seed N] [--fail-allocs] [--every N]
 *   test_pager_random --episode N [--trace]     one pager again: the line a failure prints
 *
 * --fail-allocs makes every call first with each of its allocations failing; otherwise one pager in
 * 32 is tried so. --every N compares everything after N calls rather than 64. */
#include "ops.h"

#include "platform.h"
#include "random.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct options {
    uint64_t n_ops, seed, only;
    int one, trace, fail_allocs, every;
};

static void run_one(uint64_t seed, const struct options *options, struct episode *sums)
{
    struct op_source source = {.endless = 1, .state = seed};
    char repro[160];
    uint64_t n_ops = 64 + random_u64(&source.state) % 4000;
    sums->fail_allocs = options->fail_allocs || random_below(&source.state, 32) == 0;
    if (sums->fail_allocs)
        n_ops = 64 + n_ops % 512;
    sums->trace = options->trace;
    sums->every = options->every;
    snprintf(repro, sizeof repro, "test_pager_random --episode %" PRIu64 "%s --every %d --trace",
             seed, options->fail_allocs ? " --fail-allocs" : "", options->every);
    sums->repro = repro;
    episode_run(&source, n_ops, sums);
    sums->repro = NULL;
}

static int read_options(int argc, char **argv, struct options *options)
{
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        int takes_value = 1;
        if (strcmp(argv[i], "--ops") == 0)
            options->n_ops = strtoull(value, NULL, 0);
        else if (strcmp(argv[i], "--seed") == 0)
            options->seed = strtoull(value, NULL, 0);
        else if (strcmp(argv[i], "--every") == 0)
            options->every = atoi(value);
        else if (strcmp(argv[i], "--episode") == 0)
            options->only = strtoull(value, NULL, 0), options->one = 1;
        else
            takes_value = 0;
        if (strcmp(argv[i], "--trace") == 0)
            options->trace = 1;
        else if (strcmp(argv[i], "--fail-allocs") == 0)
            options->fail_allocs = 1;
        else if (!takes_value)
            return 0;
        i += takes_value;
    }
    return options->n_ops > 0 && options->every > 0;
}

int main(int argc, char **argv)
{
    struct options options = {.n_ops = 300000, .seed = 1, .every = 64};
    struct episode sums = {0};
    uint64_t n_pagers = 0;
    if (!read_options(argc, argv, &options)) {
        fprintf(stderr,
                "usage: test_pager_random [--ops N] [--seed N] [--fail-allocs] [--every N]\n"
                "       test_pager_random --episode N [--trace]\n");
        return EXIT_FAILURE;
    }
    double started = rapt_now_seconds();
    if (options.one) {
        run_one(options.only, &options, &sums);
        n_pagers = 1;
    } else {
        uint64_t state = options.seed;
        for (; sums.n_ops < options.n_ops; n_pagers++)
            run_one(random_u64(&state), &options, &sums);
    }
    printf("seed %" PRIu64 ": %" PRIu64 " calls of %" PRIu64 " pagers in %.1f s; %" PRIu64
           " refused, %" PRIu64 " allocations failed, %" PRIu64 " pages evicted, %" PRIu64
           " copied, %" PRIu64 " hit\n",
           options.seed, sums.n_ops, n_pagers, rapt_now_seconds() - started, sums.n_failed,
           sums.n_injected, sums.n_evicted, sums.n_copies, sums.n_hits);
    /* A run that never meets these has tested little. */
    if (!options.one &&
        (!sums.n_failed || !sums.n_injected || !sums.n_evicted || !sums.n_copies || !sums.n_hits)) {
        fprintf(stderr, "FAIL: something above never happened\n");
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}
