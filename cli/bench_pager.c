/* SPDX-License-Identifier: Apache-2.0 */
/* Host time of the pager at a server's size: pages of 16 tokens, sequences of 4096. No device. */
#include "bench.h"
#include "cli.h"

#include <rapt/pager.h>

#include <stdlib.h>
#include <string.h>

#define PAGE 16
#define LENGTH 4096
#define N_SEQS 1000
#define N_TIMES 128
#define N_LOOKUPS 16 /* timed together: one takes little more than the clock's grain */

struct pages {
    rapt_pager *pager;
    rapt_seq seqs[N_SEQS];
    uint32_t ones[N_SEQS];
    int32_t tokens[LENGTH + PAGE], next[N_SEQS];
    double seconds[N_TIMES];
};

static rapt_status make(struct pages *pages, uint32_t n_seqs)
{
    const rapt_pager_group group = {.n_pages = (n_seqs + 1) * (LENGTH / PAGE + 16)};
    const rapt_pager_params params = {.struct_size = sizeof params,
                                      .page_size = PAGE,
                                      .groups = &group,
                                      .n_groups = 1,
                                      .max_seqs = n_seqs + 2};
    return rapt_pager_create(&params, &pages->pager);
}

static void prompt(struct pages *pages, uint32_t seq)
{
    for (uint32_t i = 0; i < LENGTH + PAGE; i++)
        pages->tokens[i] = (int32_t)((i * 2654435761u + seq * 40503u) % 128000u);
}

/* One token more for every one of the sequences, whose last pages are filled to all degrees: a call
 * takes new pages for a sixteenth of them and puts as many full ones into the prefix cache. */
static rapt_status time_append(struct pages *pages)
{
    rapt_status status = make(pages, N_SEQS);
    for (uint32_t s = 0; s < N_SEQS && status == RAPT_OK; s++) {
        prompt(pages, s);
        pages->ones[s] = 1;
        status = rapt_pager_open(pages->pager, NULL, &pages->seqs[s], NULL);
        if (status == RAPT_OK)
            status = rapt_pager_append(pages->pager, pages->seqs[s], LENGTH + s % PAGE, pages->tokens);
    }
    for (uint32_t i = 0; i < N_TIMES && status == RAPT_OK; i++) {
        for (uint32_t s = 0; s < N_SEQS; s++)
            pages->next[s] = (int32_t)(i * N_SEQS + s);
        double start = cli_seconds();
        status = rapt_pager_append_batch(pages->pager, N_SEQS, pages->seqs, pages->ones, pages->next);
        pages->seconds[i] = cli_seconds() - start;
    }
    return status;
}

/* A second owner of 4100 tokens, the last page partial. The first one to append then copies those four
 * tokens and nothing else. */
static rapt_status time_fork(struct pages *pages)
{
    rapt_page_copy copy;
    uint32_t n_copies;
    rapt_seq parent, child;
    rapt_status status = make(pages, 2);
    prompt(pages, 0);
    if (status == RAPT_OK)
        status = rapt_pager_open(pages->pager, NULL, &parent, NULL);
    if (status == RAPT_OK)
        status = rapt_pager_append(pages->pager, parent, LENGTH + 4, pages->tokens);
    for (uint32_t i = 0; i < N_TIMES && status == RAPT_OK; i++) {
        double start = cli_seconds();
        status = rapt_pager_fork(pages->pager, parent, &child);
        pages->seconds[i] = cli_seconds() - start;
        if (status == RAPT_OK)
            status = rapt_pager_append(pages->pager, child, 1, NULL);
        if (status == RAPT_OK)
            status = rapt_pager_take_copies(pages->pager, 1, &copy, &n_copies);
        if (status == RAPT_OK && (n_copies != 1 || copy.n_tokens != 4))
            status = RAPT_ERROR_INTERNAL;
        if (status == RAPT_OK)
            status = rapt_pager_close(pages->pager, child);
    }
    return status;
}

/* A prompt whose 256 pages are all cached: seconds per page. */
static rapt_status time_lookup(struct pages *pages)
{
    rapt_seq seq;
    rapt_status status = make(pages, 2);
    prompt(pages, 0);
    if (status == RAPT_OK)
        status = rapt_pager_open(pages->pager, NULL, &seq, NULL);
    if (status == RAPT_OK)
        status = rapt_pager_append(pages->pager, seq, LENGTH + 1, pages->tokens);
    if (status == RAPT_OK)
        status = rapt_pager_close(pages->pager, seq);
    const rapt_seq_params params = {
        .struct_size = sizeof params, .tokens = pages->tokens, .n_tokens = LENGTH + 1};
    for (uint32_t i = 0; i < N_TIMES && status == RAPT_OK; i++) {
        uint32_t n_cached = 0;
        double start = cli_seconds();
        for (uint32_t n = 0; n < N_LOOKUPS && status == RAPT_OK; n++)
            status = rapt_pager_match(pages->pager, &params, &n_cached);
        pages->seconds[i] = (cli_seconds() - start) / (N_LOOKUPS * (LENGTH / PAGE));
        if (status == RAPT_OK && n_cached != LENGTH)
            status = RAPT_ERROR_INTERNAL;
    }
    return status;
}

int bench_run_pager(struct bench *bench, struct bench_row *row)
{
    (void)bench;
    struct pages *pages = calloc(1, sizeof *pages);
    if (!pages)
        return cli_fail(CLI_DEVICE, "out of memory");
    rapt_status (*const runs[])(struct pages *) = {time_append, time_fork, time_lookup};
    rapt_status status = runs[row->spec.pager](pages);
    int code = status == RAPT_OK ? 0 : cli_fail_status(status, row->spec.name);
    row->times = bench_times_of(pages->seconds, N_TIMES);
    row->ok = status == RAPT_OK;
    rapt_pager_destroy(&pages->pager);
    free(pages);
    return code;
}
