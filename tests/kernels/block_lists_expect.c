/* SPDX-License-Identifier: Apache-2.0 */

/* What lists made on the device must be, and attention through them. */

#include "block_lists.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int fail(struct list_run *run, const char *why, uint32_t list)
{
    snprintf(run->why, sizeof run->why, "list %u of %u: %s", list, run->n_lists, why);
    return 0;
}

static int fail_call(struct list_run *run, const char *call)
{
    snprintf(run->why, sizeof run->why, "%s: %s", call, rapt_last_error());
    return 0;
}

static const uint32_t *words_of(const struct check_buffer *buffer)
{
    return (const uint32_t *)(const void *)(buffer->map + buffer->first);
}

/* ----------------------------------------------------------------------------------------- spans
 */

/* The reference's choice among the blocks of the closed form's table: those are the entries. */
static int choose(struct list_run *run, uint32_t *listed, struct rapt_spans *out_spans)
{
    const rapt_block_lists_params *p = &run->c->params;
    const rapt_block_table_view *view = &run->view;
    const rapt_block_choice choice = {
        .struct_size = sizeof choice,
        .top_k = p->top_k,
        .mass = p->mass,
        .plain_mass = p->plain_mass,
        .keep_first = p->keep_first,
        .keep_last = p->keep_last,
    };
    if (rapt_reference_block_choice(run->table, &choice, run->n_sets,
                                    (const float *)(const void *)words_of(&run->input),
                                    run->score_stride, listed, run->listed_stride) != RAPT_OK)
        return fail_call(run, "rapt_reference_block_choice");
    const size_t most = (size_t)view->n_entries * run->n_sets + 1;
    uint32_t *indptr = calloc(run->n_lists + 1, sizeof *indptr), n = 0;
    uint32_t *indices = calloc(most, sizeof *indices);
    uint8_t *kinds = calloc(most, 1);
    for (uint32_t list = 0; indptr && indices && kinds && list < run->n_lists; list++) {
        const uint32_t row = list % view->n_rows;
        for (uint32_t e = view->indptr[row]; e < view->indptr[row + 1]; e++) {
            const uint32_t block = view->indices[e];
            if (!(listed[(size_t)list * run->listed_stride + (block >> 5)] >> (block & 31) & 1))
                continue;
            indices[n] = block;
            kinds[n++] = view->kinds[e];
        }
        indptr[list + 1] = n;
    }
    const struct rapt_spans_source source = {
        .n_seqs = view->n_seqs,
        .n_sets = run->n_sets,
        .n_rows = view->n_rows,
        .block_kv = view->block_kv,
        .row_first = view->row_first,
        .indptr = indptr,
        .indices = indices,
        .kinds = kinds,
        .tiles = indices,
        .cu_kv = view->cu_kv,
    };
    const int ok =
        indptr && indices && kinds && rapt_spans_build(&source, NULL, out_spans) == RAPT_OK;
    free(indptr);
    free(indices);
    free(kinds);
    return ok || fail_call(run, "rapt_spans_build");
}

static void list_table(const struct list_run *run, uint32_t list, uint32_t of_table,
                       uint32_t *listed)
{
    const rapt_block_table_view *view = &run->view;
    for (uint32_t e = view->indptr[of_table]; e < view->indptr[of_table + 1]; e++)
        listed[(size_t)list * run->listed_stride + (view->indices[e] >> 5)] |=
            (uint32_t)1 << (view->indices[e] & 31);
}

static uint32_t seq_of(const struct list_run *run, uint32_t list)
{
    uint32_t b = 0;
    while (list % run->view.n_rows >= run->view.row_first[b + 1])
        b++;
    return b;
}

static int compare(struct list_run *run, const struct rapt_spans *spans, uint32_t list,
                   uint32_t of_table)
{
    const uint32_t *slot = words_of(&run->tables);
    slot += run->step.slot * run->plan->places.slot_bytes / 4;
    const struct rapt_step_header *header = (const void *)slot;
    const uint32_t *got = slot + header->blocks_word + (size_t)list * header->counts_word;
    const struct rapt_span *want = spans->spans + spans->indptr[of_table];
    const uint32_t n = spans->indptr[of_table + 1] - spans->indptr[of_table];
    const uint32_t overflow = words_of(&run->overflow)[list];
    if (n > run->lists.list_capacity) {
        run->n_dense++;
        if (overflow != n)
            return fail(run, "the overflow is not told", list);
        return (got[0] == 1 && got[1] == 0 && got[2] == list_kv_len_of(run, seq_of(run, list)) &&
                got[3] == RAPT_SPAN_CLOSED) ||
               fail(run, "what does not fit is not dense", list);
    }
    if (overflow != 0)
        return fail(run, "an overflow is told", list);
    if (got[0] != n)
        return fail(run, "another number of spans", list);
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t *span = got + 1 + 3 * (size_t)i;
        if (span[0] != want[i].begin || span[1] != want[i].end || (span[2] & 3) != want[i].kind)
            return fail(run, "another span", list);
        const struct rapt_table_parts *parts = rapt_table_parts_of(run->table);
        if (want[i].kind == RAPT_SPAN_BITS &&
            memcmp(slot + (span[2] >> 2), parts->bits + (size_t)want[i].tile * parts->tile_words,
                   parts->tile_words * 4) != 0)
            return fail(run, "other bits", list);
    }
    return 1;
}

int check_block_lists(struct list_run *run)
{
    const uint32_t n_rows = run->view.n_rows, group = run->problem.c.heads / run->n_sets;
    struct rapt_spans chosen = {0};
    uint32_t *listed = calloc((size_t)run->n_lists * run->listed_stride + 1, 4);
    const struct rapt_spans *spans =
        list_from_scores(run) ? &chosen : &rapt_table_parts_of(run->table)->spans;
    int ok = listed != NULL && (!list_from_scores(run) || choose(run, listed, &chosen));
    uint32_t n = 0;
    for (uint32_t list = 0; ok && list < run->n_lists; list++) {
        uint32_t of_table = list;
        if (!list_from_scores(run)) {
            of_table = run->view.head_set[list / n_rows * group] * n_rows + list % n_rows;
            list_table(run, list, of_table, listed);
        }
        ok = compare(run, spans, list, of_table);
        n += spans->indptr[of_table + 1] - spans->indptr[of_table];
    }
    if (ok && memcmp(listed, words_of(&run->listed), run->listed.bytes) != 0)
        ok = fail(run, "listed says something else", 0);
    if (ok && run->c->params.max_blocks && (run->n_dense == 0 || run->n_dense == run->n_lists))
        ok = fail(run, "none is too long, or all are", 0);
    snprintf(run->why, ok ? sizeof run->why : 0, "%u lists, %u spans, %u dense", run->n_lists, n,
             run->n_dense);
    rapt_spans_finish(&chosen, NULL);
    free(listed);
    return ok;
}

/* ------------------------------------------------------------------------------------- attention
 */

static int is_listed(const struct list_run *run, uint32_t list, uint32_t block)
{
    return words_of(&run->overflow)[list] != 0 ||
           (words_of(&run->listed)[(size_t)list * run->listed_stride + (block >> 5)] >>
                (block & 31) &
            1);
}

/* The chosen blocks as bits for the reference: every head has its own. */
static int spread(struct list_run *run)
{
    const struct check_problem *p = &run->problem;
    const uint32_t group = p->c.heads / run->n_sets;
    uint64_t bits = 0;
    for (uint32_t b = 0; b < (uint32_t)p->n_seqs; b++) {
        run->bitmap_offsets[b] = bits;
        bits += (uint64_t)list_q_len_of(run, b) * list_kv_len_of(run, b);
    }
    run->bits = calloc((size_t)(bits * p->c.heads / 8 + 1), 1);
    if (!run->bits)
        return fail(run, "no memory", 0);
    for (uint32_t b = 0; b < (uint32_t)p->n_seqs; b++)
        for (uint32_t h = 0; h < p->c.heads; h++)
            for (uint32_t i = 0; i < list_q_len_of(run, b); i++) {
                const uint32_t n_keys = list_kv_len_of(run, b);
                const uint32_t list =
                    h / group * run->view.n_rows + run->view.row_first[b] + i / run->c->block_q;
                const uint64_t row = h * bits + run->bitmap_offsets[b] + (uint64_t)i * n_keys;
                for (uint32_t j = 0; j < n_keys; j++)
                    if (is_listed(run, list, j / run->c->block_kv))
                        run->bits[(row + j) >> 3] |= (uint8_t)(1 << ((row + j) & 7));
            }
    run->data.bitmap = run->bits;
    run->data.bitmap_offsets = run->bitmap_offsets;
    run->data.bitmap_head_stride = bits;
    run->data.bitmap_bits = bits * p->c.heads;
    return 1;
}

int check_block_attention(struct list_run *run)
{
    struct check_problem *p = &run->problem;
    const size_t n = (size_t)p->cu_q[p->n_seqs] * p->c.heads * p->c.dv;
    if (list_from_scores(run) && !spread(run))
        return 0;
    float *out = malloc(4 * n);
    if (!out)
        return fail(run, "no memory", 0);
    for (uint32_t b = 0, at = 0; b < (uint32_t)p->n_seqs; b++)
        for (uint32_t t = 0; t < list_q_len_of(run, b); t++)
            for (uint32_t h = 0; h < p->c.heads; h++, at += p->c.dv)
                memcpy(out + at,
                       check_place(p, CHECK_OUT, check_element(p, CHECK_OUT, (int)b, t, h)),
                       4ull * p->c.dv);
    rapt_problem problem = run->described;
    problem.mask = run->joined;
    problem.mask_data = &run->data;
    const rapt_result result = {
        .struct_size = sizeof result,
        .out = out,
        .lse = (float *)(void *)(run->lse.map + run->lse.first),
    };
    rapt_error error = {.struct_size = sizeof error};
    const rapt_status status =
        rapt_reference_check(&problem, NULL, &result, RAPT_BOUND_PORTABLE, &error);
    free(out);
    if (status != RAPT_OK)
        return fail_call(run, "rapt_reference_check");
    const size_t told = strlen(run->why);
    snprintf(run->why + told, sizeof run->why - told, ", attention %.1e of %.1e, lse %.1e, %d NaN",
             error.e, error.bound_e, error.lse_abs, error.n_nan);
    return error.ok;
}
