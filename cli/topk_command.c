/* SPDX-License-Identifier: Apache-2.0 */
/* `rapt topk`. */
#include "sparse.h"

#include <stdio.h>
#include <stdlib.h>

/* clang-format off */
enum { QI, KI, WEIGHTS, TOP_K, OUT, LSE, LISTS, CHECK, MASK, WINDOW, BLOCKS };
static const struct option_spec specs[] = {
    [QI] = {"--qi", OPTION_TEXT, "FILE", "the indexer's queries, [total,heads,dim]; f4, f2 or BF16"},
    [KI] = {"--ki", OPTION_TEXT, "FILE", "its keys, [total,dim], or [pages,page size,dim] with --k-pool"},
    [WEIGHTS] = {"--weights", OPTION_TEXT, "FILE", "its heads' weights, f4 [total,heads]"},
    [TOP_K] = {"--top-k", OPTION_COUNT, "K", "keys for each query (or blocks, with --block-scores)", 1, 65536},
    [OUT] = {"--out", OPTION_TEXT, "FILE", "writes the output, f4 [total,H,D]"},
    [LSE] = {"--lse", OPTION_TEXT, "FILE", "writes log-sum-exp of each row, f4 [total,H]"},
    [LISTS] = {"--lists", OPTION_TEXT, "FILE", "writes the chosen keys, u4 [total,K], ascending, the rest 4294967295"},
    [CHECK] = {"--check", OPTION_FLAG, NULL, "compares with the float64 reference; exit 5 if something is wrong"},
    [MASK] = {"--mask", OPTION_TEXT, "EXPR", "which keys may be chosen, in closed form (default causal)"},
    [WINDOW] = {"--window", OPTION_TEXT, "L,R", "joined to --mask by &"},
    [BLOCKS + BY_SCORES] = {"--block-scores", OPTION_TEXT, "FILE", "instead of an indexer: a score for each block of queries and block of keys, f4 [nQ,nK], [K/V heads,nQ,nK] or [heads,nQ,nK]; blocks of a sequence after those of the one before"},
    [BLOCKS + BY_MASS] = {"--mass", OPTION_NUMBER, "T", "instead of --top-k: the fewest blocks that hold this share of exp(score)"},
    [BLOCKS + BY_PLAIN] = {"--plain-mass", OPTION_FLAG, NULL, "or of the scores themselves"},
    [BLOCKS + BY_KEEP] = {"--keep", OPTION_TEXT, "F,L", "the first F and the last L blocks a row reaches are chosen in any case"},
    [BLOCKS + BY_Q] = {"--block-q", OPTION_COUNT, "N", "queries of a block, a power of two from 16 to 256 (default 64)", 1, 65536},
    [BLOCKS + BY_KV] = {"--block-kv", OPTION_COUNT, "N", "keys of a block, likewise", 1, 65536},
    [BLOCKS + BY_LISTED] = {"--listed", OPTION_TEXT, "FILE", "writes which blocks are attended to, u1 [sets,nQ,nK]"},
    SPARSE_TENSOR_SPECS,
};
/* clang-format on */

#define N_SPECS (sizeof specs / sizeof *specs)

static const struct sparse_command command = {
    .head =
        "usage: rapt topk --q Q.npy --k K.npy --v V.npy --qi QI.npy --ki KI.npy --weights W.npy\n"
        "       --top-k K [OPTIONS]\n"
        "       rapt topk --q Q.npy --k K.npy --v V.npy --block-scores S.npy --top-k K|--mass T\n"
        "       [OPTIONS]\n"
        "\n"
        "DeepSeek sparse attention: an indexer scores every key, the sum over its heads of "
        "weight *\n"
        "max(0, qi . ki), and each query attends to the K keys of the largest scores, chosen on "
        "the\n"
        "device and never read back. With --block-scores, blocks of keys are chosen by scores that "
        "are\n"
        "given, for each block of queries. Exit status: 0 done, 2 bad input, 3 no usable device, 4 "
        "the\n"
        "device failed, 5 --check failed.\n",
    .specs = specs,
    .n_specs = N_SPECS,
};

struct index_input {
    struct array q, k, weights;
    rapt_index_problem problem;
};

static int shape_error(const char *option, const struct array *array, const char *expected)
{
    char text[192];
    return cli_fail(CLI_USAGE, "%s has the shape %s: expected %s", option,
                    array_shape_text(array, text, sizeof text), expected);
}

static int read_index(const struct sparse_run *run, const struct option_value *values,
                      struct index_input *index)
{
    const rapt_problem *p = &run->attend.problem;
    static const int required[] = {QI, KI, WEIGHTS};
    for (int i = 0; i < 3; i++)
        if (!values[required[i]].given)
            return cli_fail(CLI_USAGE, "%s is missing", specs[required[i]].name);
    int code = array_read("--qi", values[QI].text, ARRAY_TENSOR, &index->q);
    code = code ? code : array_read("--ki", values[KI].text, ARRAY_TENSOR, &index->k);
    code = code
               ? code
               : array_read("--weights", values[WEIGHTS].text, ARRAY_IS(ARRAY_F4), &index->weights);
    if (code)
        return code;
    uint64_t total_q = (uint64_t)p->cu_q[p->n_seqs];
    const struct array *q = &index->q, *k = &index->k, *w = &index->weights;
    if (q->rank != 3 || q->shape[0] != total_q || q->shape[1] == 0 || q->shape[1] > 1024 ||
        q->shape[2] == 0 || q->shape[2] > 256)
        return shape_error("--qi", q, "[queries, heads up to 1024, dim up to 256]");
    if (w->rank != 2 || w->shape[0] != total_q || w->shape[1] != q->shape[1])
        return shape_error("--weights", w, "[queries, heads of --qi]");
    if (p->cu_kv ? k->rank != 2 || k->shape[0] != (uint64_t)p->cu_kv[p->n_seqs]
                 : k->rank != 3 || k->shape[0] != p->n_pool_pages || k->shape[1] != p->page_size)
        return shape_error("--ki", k,
                           p->cu_kv ? "[keys, dim of --qi]" : "[pages, page size, dim of --qi]");
    if (k->shape[k->rank - 1] != q->shape[2])
        return shape_error("--ki", k, "the dim of --qi last");
    index->problem = (rapt_index_problem){
        .struct_size = sizeof index->problem,
        .n_heads = (uint32_t)q->shape[1],
        .head_dim = (uint32_t)q->shape[2],
        .q = {.data = q->data, .n_elements = (size_t)q->n_elements, .type = array_type(q)},
        .k = {.data = k->data, .n_elements = (size_t)k->n_elements, .type = array_type(k)},
        .weights = w->data,
    };
    return 0;
}

static rapt_status execute(struct sparse_run *run, rapt_indexer *indexer)
{
    rapt_indexer_record_params record = {
        .struct_size = sizeof record,
        .step = &run->step,
        .q = sparse_range(run, S_INDEX_Q),
        .k = sparse_range(run, S_INDEX_K),
        .weights = sparse_range(run, S_WEIGHTS),
        .workspace = sparse_range(run, S_SELECTION),
        .lists = sparse_range(run, S_CHOICES),
        .counts = sparse_range(run, S_COUNTS),
    };
    rapt_status status = rapt_easy_begin(run->easy, &record.command_buffer);
    if (status)
        return status;
    status = rapt_indexer_record(indexer, &record);
    if (!status) {
        rapt_record_params attention = sparse_record(run, record.command_buffer);
        attention.token_lists = record.lists;
        attention.token_counts = record.counts;
        attention.token_list_stride = run->top_k;
        status = rapt_plan_record(run->plan, &attention);
    }
    rapt_status submitted = rapt_easy_submit_wait(run->easy, &run->seconds);
    return status ? status : submitted;
}

static rapt_status put_index(struct sparse_run *run, const struct index_input *index,
                             const rapt_indexer *indexer)
{
    const rapt_problem *p = &run->attend.problem;
    rapt_status status = sparse_put(run, S_INDEX_Q, index->q.data,
                                    index->q.n_elements * array_dtype_bytes(index->q.dtype));
    if (!status)
        status = sparse_put(run, S_INDEX_K, index->k.data,
                            index->k.n_elements * array_dtype_bytes(index->k.dtype));
    if (!status)
        status = sparse_put(run, S_WEIGHTS, index->weights.data, 4 * index->weights.n_elements);
    if (!status)
        status = sparse_put(
            run, S_SELECTION, NULL,
            rapt_indexer_workspace_bytes(indexer, p->n_seqs, run->total_q, run->max_kv_len));
    if (!status)
        status = sparse_put(run, S_CHOICES, NULL, 4ull * run->total_q * run->top_k);
    return status ? status : sparse_put(run, S_COUNTS, NULL, 4ull * run->total_q);
}

static rapt_status run_device(struct sparse_run *run, const struct index_input *index)
{
    const rapt_problem *p = &run->attend.problem;
    const rapt_indexer_params params = {
        .struct_size = sizeof params,
        .n_heads = index->problem.n_heads,
        .head_dim = index->problem.head_dim,
        .q_type = index->problem.q.type,
        .k_type = index->problem.k.type,
        .top_k = run->top_k,
    };
    rapt_indexer *indexer = NULL;
    rapt_status status = sparse_plan(run, RAPT_PLAN_TOKEN_LISTS | RAPT_PLAN_LSE, NULL, 0);
    if (!status)
        status = sparse_prepare(run, NULL);
    if (!status)
        status = rapt_indexer_create(run->plan, &params, &indexer);
    if (!status)
        status = put_index(run, index, indexer);
    if (!status)
        status = execute(run, indexer);
    uint64_t rows = (uint64_t)run->total_q * p->n_q_heads;
    if (!status)
        status = sparse_read(run, S_OUT, rows * p->head_dim_v, (void **)&run->out);
    if (!status)
        status = sparse_read(run, S_LSE, rows, (void **)&run->lse);
    if (!status)
        status = sparse_read(run, S_CHOICES, (uint64_t)run->total_q * run->top_k,
                             (void **)&run->choices);
    rapt_indexer_destroy(&indexer);
    return status;
}

static int write_all(struct sparse_run *run, const struct option_value *values,
                     uint32_t n_score_keys)
{
    struct output output = {0};
    const rapt_problem *p = &run->attend.problem;
    const uint64_t out[] = {run->total_q, p->n_q_heads, p->head_dim_v};
    const uint64_t lists[] = {run->total_q, run->top_k};
    int code = sparse_write(&output, &specs[OUT], &values[OUT], ARRAY_F4, run->out, out, 3);
    if (!code)
        code = sparse_write(&output, &specs[LSE], &values[LSE], ARRAY_F4, run->lse, out, 2);
    if (!code && run->choices)
        code =
            sparse_write(&output, &specs[LISTS], &values[LISTS], ARRAY_U4, run->choices, lists, 2);
    if (!code && run->listed)
        code = topk_write_listed(run, &output, &specs[BLOCKS + BY_LISTED],
                                 &values[BLOCKS + BY_LISTED], n_score_keys);
    code = code ? code : output_commit(&output);
    output_finish(&output);
    return code;
}

/* Options that belong to the other way of choosing. */
static int check_options(const struct option_value *values)
{
    const int by_blocks = values[BLOCKS + BY_SCORES].given;
    static const int of_indexer[] = {QI, KI, WEIGHTS, LISTS};
    for (int i = 0; by_blocks && i < 4; i++)
        if (values[of_indexer[i]].given)
            return cli_fail(CLI_USAGE, "%s is of an indexer: --block-scores has none",
                            specs[of_indexer[i]].name);
    for (int i = BY_MASS; !by_blocks && i < N_BLOCK_OPTIONS; i++)
        if (values[BLOCKS + i].given)
            return cli_fail(CLI_USAGE, "%s needs --block-scores", specs[BLOCKS + i].name);
    if (!by_blocks && !values[TOP_K].given)
        return cli_fail(CLI_USAGE, "--top-k is missing");
    return 0;
}

static int by_indexer(struct sparse_run *run, const struct option_value *values,
                      struct index_input *index, rapt_choice_error *choice, rapt_error *error)
{
    int code = read_index(run, values, index);
    code = code ? code : sparse_open(run);
    if (code)
        return code;
    rapt_status status = run_device(run, index);
    if (status)
        return cli_fail_status(status, NULL);
    if (!values[CHECK].given)
        return 0;
    choice->struct_size = sizeof *choice;
    status = rapt_reference_indexer_check(&run->attend.problem, NULL, &index->problem, run->top_k,
                                          run->choices, choice);
    return status ? cli_fail_status(status, "--check") : sparse_check(run, error);
}

static int run_all(struct sparse_run *run, const struct option_value *values,
                   struct index_input *index)
{
    rapt_choice_error choice = {0};
    rapt_error error = {0};
    const int by_blocks = values[BLOCKS + BY_SCORES].given;
    uint32_t n_score_keys = 0;
    char what[64] = "keys";
    int code = check_options(values);
    if (code)
        return code;
    run->top_k = values[TOP_K].given ? (uint32_t)values[TOP_K].count : 0;
    run->attend.values[ATTEND_CAUSAL].given = !values[MASK].given;
    code = attend_options_check(&run->attend);
    code = code ? code : attend_input(&run->attend);
    if (!code && !rapt_mask_is_closed(run->attend.problem.mask))
        code = cli_fail(CLI_USAGE, "--mask: '%s' has no closed form", values[MASK].text);
    if (!code && by_blocks)
        code = topk_blocks(run, specs + BLOCKS, values + BLOCKS, values[CHECK].given, &choice,
                           &error, &n_score_keys);
    else if (!code)
        code = by_indexer(run, values, index, &choice, &error);
    if (by_blocks && run->top_k)
        snprintf(what, sizeof what, "blocks of keys");
    else if (by_blocks)
        snprintf(what, sizeof what, "blocks with %g of the mass", values[BLOCKS + BY_MASS].number);
    code = code ? code : sparse_close_device(run, code);
    if (code)
        return code;
    int checked = sparse_report(run, what, &choice, &error);
    code = write_all(run, values, n_score_keys);
    return code ? code : checked;
}

int topk_main(int argc, char **argv)
{
    struct option_value values[N_SPECS] = {0};
    struct index_input index = {0};
    struct sparse_run *run = calloc(1, sizeof *run);
    if (!run)
        return cli_fail(CLI_DEVICE, "out of memory");
    int code = sparse_parse(&command, argc, argv, values, run);
    if (code == OPTIONS_HELP)
        code = CLI_DONE;
    else if (!code)
        code = run_all(run, values, &index);
    code = sparse_close(run, code);
    array_finish(&index.q);
    array_finish(&index.k);
    array_finish(&index.weights);
    options_finish(values, N_SPECS);
    free(run);
    return code;
}
