/* SPDX-License-Identifier: Apache-2.0 */

/* Blocks of keys chosen by scores, exactly as the kernels choose: orders and weights are whole
 * numbers (base/mass.h), so the same blocks come out of any order of adding. */

#include <rapt/reference.h>

#include "error.h"
#include "mass.h"

#include <string.h>

struct row {
    const rapt_block_choice *choice;
    const uint32_t *blocks; /* the candidates, ascending */
    const float *scores;    /* of all blocks */
    uint32_t n;
    uint32_t *ranked; /* scratch: candidates, best first */
};

static int is_kept(const struct row *row, uint32_t block)
{
    return block - row->blocks[0] < row->choice->keep_first ||
           row->blocks[row->n - 1] - block < row->choice->keep_last;
}

/* Whether candidate a comes before candidate b. */
static int is_before(const struct row *row, uint32_t a, uint32_t b)
{
    const int kept_a = is_kept(row, a), kept_b = is_kept(row, b);
    const uint32_t x = rapt_score_order(row->scores[a]), y = rapt_score_order(row->scores[b]);
    if (kept_a != kept_b)
        return kept_a;
    return x != y && !kept_a ? x > y : a < b;
}

/* Heap sort: what comes last to the root. */
static void sift(const struct row *row, uint32_t at, uint32_t n)
{
    uint32_t *heap = row->ranked, moved = heap[at];
    for (uint32_t child; (child = 2 * at + 1) < n; at = child) {
        if (child + 1 < n && is_before(row, heap[child], heap[child + 1]))
            child++;
        if (!is_before(row, moved, heap[child]))
            break;
        heap[at] = heap[child];
    }
    heap[at] = moved;
}

static void rank(const struct row *row)
{
    memcpy(row->ranked, row->blocks, row->n * sizeof *row->ranked);
    for (uint32_t i = row->n / 2; i-- > 0;)
        sift(row, i, row->n);
    for (uint32_t n = row->n; n-- > 1;) {
        const uint32_t last = row->ranked[0];
        row->ranked[0] = row->ranked[n];
        row->ranked[n] = last;
        sift(row, 0, n);
    }
}

static uint64_t weight_of(const struct row *row, uint32_t block, uint32_t top)
{
    return row->choice->top_k
               ? 1
               : rapt_score_weight(row->scores[block], top, !row->choice->plain_mass);
}

static void choose(const struct row *row, uint32_t *listed)
{
    uint32_t top = 0, n = 0;
    uint64_t sum = 0, need, got = 0;
    rank(row);
    for (uint32_t i = 0; i < row->n; i++) {
        const uint32_t order = rapt_score_order(row->scores[row->blocks[i]]);
        top = order > top ? order : top;
    }
    for (uint32_t i = 0; i < row->n; i++)
        sum += weight_of(row, row->blocks[i], top);
    need = row->choice->top_k ? row->choice->top_k
                              : rapt_mass_of(sum, rapt_mass_share(row->choice->mass));
    need = need < sum ? need : sum;
    while (n < row->n && (got < need || is_kept(row, row->ranked[n]) || sum == 0)) {
        got += weight_of(row, row->ranked[n], top);
        listed[row->ranked[n] >> 5] |= (uint32_t)1 << (row->ranked[n] & 31);
        n++;
    }
}

static rapt_status check(const rapt_block_table_view *view, const rapt_block_choice *choice,
                         uint32_t n_blocks, uint32_t score_stride, uint32_t listed_stride)
{
    if (view->n_sets != 1)
        return rapt_fail(RAPT_ERROR_SHAPE,
                         "candidates has %u sets: the table of one closed-form mask has 1",
                         view->n_sets);
    if (choice->top_k == 0 && !(choice->mass > 0 && choice->mass <= 1))
        return rapt_fail(RAPT_ERROR_ARGUMENT,
                         "mass is %g: expected a share above 0, at most 1, where top_k is 0",
                         (double)choice->mass);
    if (score_stride < n_blocks || listed_stride < (n_blocks + 31) / 32)
        return rapt_fail(RAPT_ERROR_SHAPE, "%s is %u: the longest sequence has %u blocks of keys",
                         score_stride < n_blocks ? "score_stride" : "listed_stride",
                         score_stride < n_blocks ? score_stride : listed_stride, n_blocks);
    return RAPT_OK;
}

rapt_status rapt_reference_block_choice(const rapt_block_table *candidates,
                                        const rapt_block_choice *choice, uint32_t n_sets,
                                        const float *scores, uint32_t score_stride,
                                        uint32_t *out_listed, uint32_t listed_stride)
{
    rapt_block_choice c;
    rapt_block_table_view view = {.struct_size = sizeof view};
    if (!candidates || !scores || !out_listed)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s is NULL",
                         !candidates ? "candidates"
                         : !scores   ? "scores"
                                     : "out_listed");
    rapt_status status = rapt_params_read("rapt_block_choice", choice, &c, sizeof c);
    if (status != RAPT_OK)
        return status;
    rapt_block_table_get_view(candidates, &view);
    uint32_t most_keys = 0;
    for (uint32_t b = 0; b < view.n_seqs; b++) {
        const uint32_t n = (uint32_t)(view.cu_kv[b + 1] - view.cu_kv[b]);
        most_keys = n > most_keys ? n : most_keys;
    }
    const uint32_t n_blocks = most_keys / view.block_kv + (most_keys % view.block_kv != 0);
    status = check(&view, &c, n_blocks, score_stride, listed_stride);
    if (status != RAPT_OK)
        return status;
    uint32_t *ranked = rapt_alloc(NULL, (size_t)n_blocks + 1, sizeof *ranked);
    if (!ranked)
        return rapt_fail(RAPT_ERROR_HOST_MEMORY, "no memory to rank %u blocks", n_blocks);
    const size_t n_lists = (size_t)n_sets * view.n_rows;
    memset(out_listed, 0, n_lists * listed_stride * sizeof *out_listed);
    for (size_t list = 0; list < n_lists; list++) {
        const size_t r = list % view.n_rows;
        const struct row row = {
            .choice = &c,
            .blocks = view.indices + view.indptr[r],
            .scores = scores + list * score_stride,
            .n = view.indptr[r + 1] - view.indptr[r],
            .ranked = ranked,
        };
        if (row.n)
            choose(&row, out_listed + list * listed_stride);
    }
    rapt_free(NULL, ranked);
    return RAPT_OK;
}
