/* SPDX-License-Identifier: Apache-2.0 */
/* `rapt topk --block-scores`: attention to blocks of keys that scores of the caller's choose. */
#include "sparse.h"

#include <stdio.h>
#include <stdlib.h>

struct choice {
    struct array scores; /* [sets,] rows of blocks, blocks of keys */
    rapt_block_lists_params params;
    uint32_t n_keys; /* blocks of keys in a row of scores */
};

static int read_numbers(struct sparse_run *run, const struct option_spec *specs,
                        const struct option_value *values, rapt_block_lists_params *params)
{
    int32_t keep[2] = {0, 0};
    if ((run->top_k != 0) == values[BY_MASS].given)
        return cli_fail(CLI_USAGE, "%s",
                        run->top_k ? "--top-k and --mass are both given: choose one"
                                   : "--top-k or --mass is missing");
    if (values[BY_MASS].given &&
        !(values[BY_MASS].number > 0 && values[BY_MASS].number <= 1))
        return cli_fail(CLI_USAGE, "--mass: %g is no share above 0, at most 1",
                        values[BY_MASS].number);
    if (values[BY_PLAIN].given && !values[BY_MASS].given)
        return cli_fail(CLI_USAGE, "%s needs --mass", specs[BY_PLAIN].name);
    int code = values[BY_KEEP].given
                   ? options_pair("--keep", values[BY_KEEP].text, &keep[0], &keep[1])
                   : 0;
    if (!code && (keep[0] < 0 || keep[1] < 0))
        code = cli_fail(CLI_USAGE, "--keep: '%s': numbers of blocks are 0 or more",
                        values[BY_KEEP].text);
    *params = (rapt_block_lists_params){
        .struct_size = sizeof *params,
        .source = run->top_k ? RAPT_BLOCKS_TOP_K : RAPT_BLOCKS_MASS,
        .top_k = run->top_k,
        .mass = (float)values[BY_MASS].number,
        .plain_mass = values[BY_PLAIN].given,
        .keep_first = (uint32_t)keep[0],
        .keep_last = (uint32_t)keep[1],
    };
    run->block_q = values[BY_Q].given ? (uint32_t)values[BY_Q].count : 64;
    run->block_kv = values[BY_KV].given ? (uint32_t)values[BY_KV].count : 64;
    return code;
}

static int read_scores(struct sparse_run *run, const struct option_value *values, uint32_t longest,
                       struct choice *choice)
{
    const rapt_problem *p = &run->attend.problem;
    const uint32_t n_keys = (longest + run->block_kv - 1) / run->block_kv;
    char text[192];
    int code = array_read("--block-scores", values[BY_SCORES].text, ARRAY_IS(ARRAY_F4),
                          &choice->scores);
    if (code)
        return code;
    for (uint32_t b = 0; b < p->n_seqs; b++)
        run->n_block_rows +=
            ((uint32_t)(p->cu_q[b + 1] - p->cu_q[b]) + run->block_q - 1) / run->block_q;
    const struct array *s = &choice->scores;
    const uint64_t n_sets = s->rank == 3 ? s->shape[0] : 1;
    if (s->rank < 2 || s->rank > 3 || s->shape[s->rank - 2] != run->n_block_rows ||
        s->shape[s->rank - 1] < n_keys || s->shape[s->rank - 1] > UINT32_MAX ||
        (n_sets != 1 && n_sets != p->n_kv_heads && n_sets != p->n_q_heads))
        return cli_fail(CLI_USAGE,
                        "--block-scores has the shape %s: expected [%u,%u], or as many for each of "
                        "%u K/V heads or %u heads",
                        array_shape_text(s, text, sizeof text), run->n_block_rows, n_keys,
                        p->n_kv_heads, p->n_q_heads);
    run->n_sets = (uint32_t)n_sets;
    choice->n_keys = (uint32_t)s->shape[s->rank - 1];
    run->listed_stride = (n_keys + 31) / 32 ? (n_keys + 31) / 32 : 1;
    return 0;
}

static rapt_status execute(struct sparse_run *run, rapt_block_lists *lists, uint32_t score_stride)
{
    rapt_block_lists_record_params record = {
        .struct_size = sizeof record,
        .step = &run->step,
        .workspace = sparse_range(run, S_SELECTION),
        .scores = sparse_range(run, S_GATES),
        .score_stride = score_stride,
        .listed = sparse_range(run, S_CHOICES),
        .listed_stride = run->listed_stride,
    };
    rapt_status status = rapt_easy_begin(run->easy, &record.command_buffer);
    if (status)
        return status;
    status = rapt_block_lists_record(lists, &record);
    if (!status) {
        const rapt_record_params attention = sparse_record(run, record.command_buffer);
        status = rapt_plan_record(run->plan, &attention);
    }
    rapt_status submitted = rapt_easy_submit_wait(run->easy, &run->seconds);
    return status ? status : submitted;
}

static rapt_status run_device(struct sparse_run *run, const struct choice *choice, uint32_t longest)
{
    const rapt_problem *p = &run->attend.problem;
    const uint64_t rows = (uint64_t)(uint32_t)p->cu_q[p->n_seqs] * p->n_q_heads;
    const uint64_t words = (uint64_t)run->n_sets * run->n_block_rows * run->listed_stride;
    rapt_device_lists room = {.struct_size = sizeof room};
    rapt_block_lists *lists = NULL;
    uint32_t max_spans = 0;
    rapt_status status = rapt_block_lists_device_lists(
        &choice->params, run->n_sets, p->n_seqs, (uint32_t)p->cu_q[p->n_seqs], longest,
        run->block_q, run->block_kv, &room, &max_spans);
    if (!status)
        status = sparse_plan(run, RAPT_PLAN_BLOCKS | RAPT_PLAN_LSE, &room, max_spans);
    if (!status)
        status = sparse_prepare(run, &room);
    if (!status)
        status = rapt_block_lists_create(run->plan, &choice->params, &lists);
    if (!status)
        status = sparse_put(
            run, S_SELECTION, NULL,
            rapt_block_lists_workspace_bytes(lists, p->n_seqs, run->total_kv, run->block_kv));
    if (!status)
        status = sparse_put(run, S_GATES, choice->scores.data, 4 * choice->scores.n_elements);
    if (!status)
        status = sparse_put(run, S_CHOICES, NULL, 4 * words);
    if (!status)
        status = execute(run, lists, choice->n_keys);
    if (!status)
        status = sparse_read(run, S_OUT, rows * p->head_dim_v, (void **)&run->out);
    if (!status)
        status = sparse_read(run, S_LSE, rows, (void **)&run->lse);
    if (!status)
        status = sparse_read(run, S_CHOICES, words, (void **)&run->listed);
    rapt_block_lists_destroy(&lists);
    return status;
}

/* The choice against the reference's, row by row. */
static rapt_status check_choice(const struct sparse_run *run, const struct choice *choice,
                                rapt_choice_error *error)
{
    const rapt_problem *p = &run->attend.problem;
    const uint64_t n_lists = (uint64_t)run->n_sets * run->n_block_rows;
    int32_t *cu_kv = calloc((size_t)p->n_seqs + 1, sizeof *cu_kv);
    uint32_t *want = calloc((size_t)(n_lists * run->listed_stride) + 1, sizeof *want);
    rapt_block_table *table = NULL;
    for (uint32_t b = 0; cu_kv && b < p->n_seqs; b++)
        cu_kv[b + 1] = cu_kv[b] + (int32_t)sparse_kv_len(p, b);
    const rapt_block_table_params params = {
        .struct_size = sizeof params,
        .mask = p->mask,
        .batch = {.struct_size = sizeof params.batch,
                  .n_seqs = p->n_seqs,
                  .cu_q = p->cu_q,
                  .cu_kv = cu_kv,
                  .q_pos0 = p->q_pos0,
                  .q_pos = p->q_pos,
                  .kv_pos0 = p->kv_pos0},
        .block_q = run->block_q,
        .block_kv = run->block_kv,
    };
    const rapt_block_choice rule = {
        .struct_size = sizeof rule,
        .top_k = choice->params.top_k,
        .mass = choice->params.mass,
        .plain_mass = choice->params.plain_mass,
        .keep_first = choice->params.keep_first,
        .keep_last = choice->params.keep_last,
    };
    rapt_status status = cu_kv && want ? RAPT_OK : RAPT_ERROR_HOST_MEMORY;
    if (!status)
        status = rapt_block_table_create(&params, &table);
    if (!status)
        status = rapt_reference_block_choice(table, &rule, run->n_sets, choice->scores.data,
                                             choice->n_keys, want, run->listed_stride);
    *error = (rapt_choice_error){.struct_size = sizeof *error, .first_wrong = UINT64_MAX};
    for (uint64_t list = 0; !status && list < n_lists; list++) {
        uint32_t differs = 0;
        for (uint32_t w = 0; w < run->listed_stride; w++)
            differs |=
                want[list * run->listed_stride + w] ^ run->listed[list * run->listed_stride + w];
        error->n_rows++;
        error->n_same += differs == 0;
        if (differs && error->n_wrong++ == 0)
            error->first_wrong = list;
    }
    error->ok = error->n_wrong == 0;
    rapt_block_table_destroy(&table);
    free(cu_kv);
    free(want);
    return status;
}

int topk_write_listed(const struct sparse_run *run, struct output *output,
                      const struct option_spec *spec, const struct option_value *value,
                      uint32_t n_keys)
{
    const uint64_t shape[] = {run->n_sets, run->n_block_rows, n_keys};
    const uint64_t n = shape[0] * shape[1];
    uint8_t *bytes = value->given ? calloc((size_t)(n * n_keys) + 1, 1) : NULL;
    if (!value->given)
        return 0;
    if (!bytes)
        return cli_fail(CLI_DEVICE, "out of memory");
    for (uint64_t list = 0; list < n; list++)
        for (uint32_t k = 0; k < n_keys && k / 32 < run->listed_stride; k++)
            bytes[list * n_keys + k] =
                run->listed[list * run->listed_stride + k / 32] >> k % 32 & 1;
    int code = sparse_write(output, spec, value, ARRAY_U1, bytes, shape, 3);
    free(bytes);
    return code;
}

int topk_blocks(struct sparse_run *run, const struct option_spec *specs,
                const struct option_value *values, int check, rapt_choice_error *out_choice,
                rapt_error *out_error, uint32_t *out_n_keys)
{
    const rapt_problem *p = &run->attend.problem;
    struct choice choice = {0};
    uint32_t longest = 1;
    for (uint32_t b = 0; b < p->n_seqs; b++)
        longest = sparse_kv_len(p, b) > longest ? sparse_kv_len(p, b) : longest;
    run->by_blocks = 1;
    int code = read_numbers(run, specs, values, &choice.params);
    code = code ? code : read_scores(run, values, longest, &choice);
    code = code ? code : sparse_open(run);
    *out_n_keys = choice.n_keys;
    rapt_status status = code ? RAPT_OK : run_device(run, &choice, longest);
    if (!code && !status && check) {
        status = check_choice(run, &choice, out_choice);
        code = status ? 0 : sparse_check(run, out_error);
    }
    array_finish(&choice.scores);
    return status ? cli_fail_status(status, NULL) : code;
}
