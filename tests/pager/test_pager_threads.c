/* SPDX-License-Identifier: Apache-2.0 */
/* Pagers of their own in several threads at once: what two of them share would be a race, which the
 * thread sanitizer sees. */
#include "ops.h"

#include "platform.h"

#include <stdlib.h>

enum { N_THREADS = 4, N_PAGERS = 32, N_OPS = 500 };

static void run(void *user, uint32_t i)
{
    struct episode *sums = user;
    struct op_source source = {.endless = 1, .state = 1000 + i};
    sums[i].repro = "test_pager_threads";
    sums[i].fail_allocs = i % 8 == 0;
    episode_run(&source, N_OPS, &sums[i]);
}

int main(void)
{
    static struct episode sums[N_PAGERS];
    uint64_t n_ops = 0;
    rapt_parallel(N_THREADS, N_PAGERS, run, sums);
    for (int i = 0; i < N_PAGERS; i++)
        n_ops += sums[i].n_ops;
    printf("%llu calls of %d pagers in %d threads\n", (unsigned long long)n_ops, N_PAGERS,
           N_THREADS);
    return n_ops == (uint64_t)N_PAGERS * N_OPS ? EXIT_SUCCESS : EXIT_FAILURE;
}
