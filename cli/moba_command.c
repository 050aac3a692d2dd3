/* SPDX-License-Identifier: Apache-2.0 */
/* `rapt moba`. */
#include "sparse.h"

#include <stdlib.h>

/* clang-format off */
enum { CHUNK, TOP_K, BLOCK_Q, OUT, LSE, GATES, CHOICES, CHECK, N_OWN };
static const struct option_spec specs[] = {
    [CHUNK] = {"--chunk", OPTION_COUNT, "C", "keys of a chunk, a multiple of 16", 16, 1 << 20},
    [TOP_K] = {"--top-k", OPTION_COUNT, "K", "chunks for each query and head, its own counted", 1, 65536},
    [BLOCK_Q] = {"--block-q", OPTION_COUNT, "N", "queries that share a list: a power of two from 16 to 256 (default 64)", 16, 256},
    [OUT] = {"--out", OPTION_TEXT, "FILE", "writes the output, f4 [total,H,D]"},
    [LSE] = {"--lse", OPTION_TEXT, "FILE", "writes log-sum-exp of each row, f4 [total,H]"},
    [GATES] = {"--gates", OPTION_TEXT, "FILE", "writes the gates, f4 [total,H,chunks], -inf where a query may not choose"},
    [CHOICES] = {"--choices", OPTION_TEXT, "FILE", "writes the chosen chunks, u4 [total,H,K], ascending, the rest 4294967295"},
    [CHECK] = {"--check", OPTION_FLAG, NULL, "compares with the float64 reference; exit 5 if something is wrong"},
    SPARSE_TENSOR_SPECS,
};
/* clang-format on */

#define N_SPECS (sizeof specs / sizeof *specs)

static const struct sparse_command command = {
    .head =
        "usage: rapt moba --q Q.npy --k K.npy --v V.npy --chunk C --top-k K [OPTIONS]\n"
        "\n"
        "Mixture of block attention: each query attends, causally, to its own chunk of keys and "
        "to\n"
        "those with the largest gates (the query times the mean of the chunk's keys), chosen on "
        "the\n"
        "device and never read back. Exit status: 0 done, 2 bad input, 3 no usable device, 4 "
        "the\n"
        "device failed, 5 --check failed.\n",
    .specs = specs,
    .n_specs = N_SPECS,
};

static rapt_status execute(struct sparse_run *run, rapt_moba *moba, int gates, uint32_t n_chunks)
{
    rapt_moba_record_params record = {
        .struct_size = sizeof record,
        .step = &run->step,
        .q = sparse_range(run, S_Q),
        .k = sparse_range(run, S_K),
        .workspace = sparse_range(run, S_SELECTION),
        .gates = gates ? sparse_range(run, S_GATES) : (rapt_buffer){0},
        .gate_stride = n_chunks,
        .choices = sparse_range(run, S_CHOICES),
        .lists = 1,
    };
    rapt_status status = rapt_easy_begin(run->easy, &record.command_buffer);
    if (status)
        return status;
    status = rapt_moba_record(moba, &record);
    if (!status) {
        rapt_record_params attention = sparse_record(run, record.command_buffer);
        status = rapt_plan_record(run->plan, &attention);
    }
    rapt_status submitted = rapt_easy_submit_wait(run->easy, &run->seconds);
    return status ? status : submitted;
}

static rapt_status run_device(struct sparse_run *run, const struct option_value *values,
                              uint32_t *out_chunks)
{
    const rapt_problem *p = &run->attend.problem;
    const rapt_moba_params params = {
        .struct_size = sizeof params, .chunk = run->chunk, .top_k = run->top_k};
    rapt_device_lists lists = {.struct_size = sizeof lists};
    rapt_moba *moba = NULL;
    uint32_t max_spans = 0, longest = 1, gates = values[GATES].given != 0;
    uint32_t block_q = values[BLOCK_Q].given ? (uint32_t)values[BLOCK_Q].count : 64;
    for (uint32_t b = 0; b < p->n_seqs; b++)
        longest = sparse_kv_len(p, b) > longest ? sparse_kv_len(p, b) : longest;
    uint32_t n_chunks = *out_chunks = (longest + run->chunk - 1) / run->chunk;
    rapt_status status =
        rapt_moba_device_lists(&params, p->n_q_heads, p->n_seqs, (uint32_t)p->cu_q[p->n_seqs],
                               longest, block_q, &lists, &max_spans);
    if (!status)
        status = sparse_plan(run, RAPT_PLAN_BLOCKS | RAPT_PLAN_LSE, &lists, max_spans);
    if (!status)
        status = sparse_prepare(run, &lists);
    if (!status)
        status = rapt_moba_create(run->plan, &params, &moba);
    uint64_t rows = (uint64_t)run->total_q * p->n_q_heads;
    if (!status)
        status = sparse_put(run, S_SELECTION, NULL,
                            rapt_moba_workspace_bytes(moba, p->n_seqs, run->total_q, run->total_kv,
                                                      run->max_kv_len));
    if (!status && gates)
        status = sparse_put(run, S_GATES, NULL, 4 * rows * n_chunks);
    if (!status)
        status = sparse_put(run, S_CHOICES, NULL, 4 * rows * run->top_k);
    if (!status)
        status = execute(run, moba, (int)gates, n_chunks);
    if (!status)
        status = sparse_read(run, S_OUT, rows * p->head_dim_v, (void **)&run->out);
    if (!status)
        status = sparse_read(run, S_LSE, rows, (void **)&run->lse);
    if (!status)
        status = sparse_read(run, S_CHOICES, rows * run->top_k, (void **)&run->choices);
    if (!status && gates)
        status = sparse_read(run, S_GATES, rows * n_chunks, (void **)&run->gates);
    rapt_moba_destroy(&moba);
    return status;
}

static int write_all(struct sparse_run *run, const struct option_value *values, uint32_t n_chunks)
{
    struct output output = {0};
    const rapt_problem *p = &run->attend.problem;
    const uint64_t out[] = {run->total_q, p->n_q_heads, p->head_dim_v};
    const uint64_t gates[] = {run->total_q, p->n_q_heads, n_chunks};
    const uint64_t choices[] = {run->total_q, p->n_q_heads, run->top_k};
    int code = sparse_write(&output, &specs[OUT], &values[OUT], ARRAY_F4, run->out, out, 3);
    if (!code)
        code = sparse_write(&output, &specs[LSE], &values[LSE], ARRAY_F4, run->lse, out, 2);
    if (!code)
        code = sparse_write(&output, &specs[GATES], &values[GATES], ARRAY_F4, run->gates, gates, 3);
    if (!code)
        code = sparse_write(&output, &specs[CHOICES], &values[CHOICES], ARRAY_U4, run->choices,
                            choices, 3);
    code = code ? code : output_commit(&output);
    output_finish(&output);
    return code;
}

static int run_all(struct sparse_run *run, const struct option_value *values)
{
    rapt_choice_error choice = {0};
    rapt_error error = {0};
    uint32_t n_chunks = 0;
    if (!values[CHUNK].given || !values[TOP_K].given)
        return cli_fail(CLI_USAGE, "%s is missing", values[CHUNK].given ? "--top-k" : "--chunk");
    run->chunk = (uint32_t)values[CHUNK].count;
    run->by_blocks = 1;
    run->top_k = (uint32_t)values[TOP_K].count;
    run->attend.values[ATTEND_CAUSAL].given = 1;
    int code = attend_options_check(&run->attend);
    code = code ? code : attend_input(&run->attend);
    code = code ? code : sparse_open(run);
    if (code)
        return code;
    rapt_status status = run_device(run, values, &n_chunks);
    if (status)
        return cli_fail_status(status, NULL);
    if (values[CHECK].given) {
        choice.struct_size = sizeof choice;
        status = rapt_reference_moba_check(&run->attend.problem, NULL, run->chunk, run->top_k,
                                           run->choices, &choice);
        code = status ? cli_fail_status(status, "--check") : sparse_check(run, &error);
    }
    code = code ? code : sparse_close_device(run, code);
    if (code)
        return code;
    int checked = sparse_report(run, "chunks", &choice, &error);
    code = write_all(run, values, n_chunks);
    return code ? code : checked;
}

int moba_main(int argc, char **argv)
{
    struct option_value values[N_SPECS] = {0};
    struct sparse_run *run = calloc(1, sizeof *run);
    if (!run)
        return cli_fail(CLI_DEVICE, "out of memory");
    int code = sparse_parse(&command, argc, argv, values, run);
    if (code == OPTIONS_HELP)
        code = CLI_DONE;
    else if (!code)
        code = run_all(run, values);
    code = sparse_close(run, code);
    options_finish(values, N_SPECS);
    free(run);
    return code;
}
