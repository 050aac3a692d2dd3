/* SPDX-License-Identifier: Apache-2.0 */
/* A block table on the host, as a long prompt of packed documents wants it. Every block that is
 * looked at by pairs, a sample of all, must be what the definition of the mask makes of it. */
#include "bench.h"
#include "cli.h"

#include <stdlib.h>
#include <string.h>

#define N_TOKENS 131072
#define BLOCK 128
#define N_TESTS 200000
#define N_REPEATS 40

static uint32_t next(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(*state >> 33);
}

/* Documents of 200 to 12000 tokens, numbered from 1. */
static int32_t *make_segments(void)
{
    int32_t *ids = calloc(N_TOKENS, sizeof *ids), id = 0;
    uint64_t state = 2024;
    for (uint32_t i = 0, left = 0; ids && i < N_TOKENS; i++, left--) {
        if (left == 0) {
            left = 200 + next(&state) % 11800;
            id++;
        }
        ids[i] = id;
    }
    return ids;
}

/* Is the pair seen, as the table has it? */
static int seen(const rapt_block_table_view *view, uint32_t i, uint32_t j)
{
    uint32_t row = i / BLOCK;
    for (uint32_t e = view->indptr[row]; e < view->indptr[row + 1]; e++) {
        if (view->indices[e] != j / BLOCK)
            continue;
        if (view->kinds[e] != RAPT_BLOCK_BITS)
            return view->kinds[e] == RAPT_BLOCK_FULL;
        const uint32_t *words = view->bits + (size_t)view->tiles[e] * view->tile_words +
                                (size_t)(i % BLOCK) * (BLOCK / 32);
        return words[j % BLOCK / 32] >> j % 32 & 1;
    }
    return 0;
}

static int right(const rapt_block_table_params *params, const rapt_block_table *table)
{
    rapt_block_table_view view = {.struct_size = sizeof view};
    rapt_block_table_get_view(table, &view);
    uint64_t state = 7;
    for (uint32_t n = 0; n < N_TESTS; n++) {
        uint32_t i = next(&state) % N_TOKENS, back = next(&state) % 1400;
        uint32_t j = n % 4 == 0 ? next(&state) % N_TOKENS : (i + 200 + N_TOKENS - back) % N_TOKENS;
        if (seen(&view, i, j) !=
            (rapt_mask_allows_element(params->mask, &params->batch, 0, 0, i, j) != 0))
            return 0;
    }
    return 1;
}

static rapt_status measure(const rapt_block_table_params *params, struct bench_row *row,
                           uint32_t n_repeats)
{
    double seconds[N_REPEATS];
    rapt_status status = RAPT_OK;
    for (uint32_t n = 0; n <= n_repeats && status == RAPT_OK; n++) {
        rapt_block_table *table = NULL;
        double start = cli_seconds();
        status = rapt_block_table_create(params, &table);
        if (n > 0) /* the first is checked, and warms up */
            seconds[n - 1] = cli_seconds() - start;
        if (n == 0 && status == RAPT_OK) {
            rapt_block_table_view view = {.struct_size = sizeof view};
            rapt_block_table_get_view(table, &view);
            row->listed_pairs = view.n_pairs;
            row->ok = right(params, table);
        }
        rapt_block_table_destroy(&table);
    }
    if (status == RAPT_OK)
        row->times = bench_times_of(seconds, n_repeats);
    return status;
}

int bench_run_table(struct bench *bench, struct bench_row *row)
{
    static const int32_t cu[2] = {0, N_TOKENS};
    int32_t *ids = make_segments();
    rapt_mask *mask = NULL;
    if (!ids)
        return cli_fail(CLI_DEVICE, "out of memory");
    rapt_status status = rapt_mask_parse(NULL, "causal & window(1023, 0) & segments", NULL, &mask);
    const rapt_mask_data data = {.struct_size = sizeof data, .segments_q = ids, .segments_kv = ids};
    const rapt_block_table_params params = {
        .struct_size = sizeof params,
        .mask = mask,
        .batch = {.struct_size = sizeof params.batch,
                  .n_seqs = 1,
                  .cu_q = cu,
                  .cu_kv = cu,
                  .n_q_heads = 1,
                  .data = &data},
        .block_q = BLOCK,
        .block_kv = BLOCK,
    };
    uint32_t n_repeats =
        bench->n_repeats && bench->n_repeats < N_REPEATS ? bench->n_repeats : N_REPEATS;
    if (status == RAPT_OK)
        status = measure(&params, row, n_repeats);
    row->tokens = N_TOKENS;
    rapt_mask_destroy(&mask);
    free(ids);
    return status == RAPT_OK ? 0 : cli_fail_status(status, row->spec.name);
}
