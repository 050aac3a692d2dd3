/* SPDX-License-Identifier: Apache-2.0 */
/* Files -> rapt_problem. What this file checks is what only it can know: how many elements each
 * file has. Everything else is rapt_problem_check's. */
#include "attend.h"

#include "cli.h"

#include <stdlib.h>
#include <string.h>

static const struct {
    enum attend_option option;
    uint32_t dtypes;
} files[] = {
    {ATTEND_Q, ARRAY_TENSOR},
    {ATTEND_K, ARRAY_TENSOR},
    {ATTEND_V, ARRAY_TENSOR},
    {ATTEND_K_POOL, ARRAY_TENSOR},
    {ATTEND_V_POOL, ARRAY_TENSOR},
    {ATTEND_CU_Q, ARRAY_INT},
    {ATTEND_CU_KV, ARRAY_INT},
    {ATTEND_Q_POS0, ARRAY_IS(ARRAY_I4)},
    {ATTEND_Q_POS, ARRAY_IS(ARRAY_I4)},
    {ATTEND_KV_POS0, ARRAY_IS(ARRAY_I4)},
    {ATTEND_PAGE_INDPTR, ARRAY_INT},
    {ATTEND_PAGE_INDICES, ARRAY_INT},
    {ATTEND_LAST_PAGE_LEN, ARRAY_INT},
    {ATTEND_ALIBI, ARRAY_IS(ARRAY_F4)},
    {ATTEND_BIAS, ARRAY_IS(ARRAY_F4) | ARRAY_IS(ARRAY_F2)},
    {ATTEND_SINKS, ARRAY_IS(ARRAY_F4)},
    {ATTEND_K_SCALE, ARRAY_IS(ARRAY_F4)},
    {ATTEND_V_SCALE, ARRAY_IS(ARRAY_F4)},
    {ATTEND_ROPE_POS, ARRAY_IS(ARRAY_I4)},
    {ATTEND_ROPE_KV_POS, ARRAY_IS(ARRAY_I4)},
};

static int given(const struct attend *attend, enum attend_option option)
{
    return attend->values[option].given;
}

static const char *text_of(const struct attend *attend, enum attend_option option,
                           const char *otherwise)
{
    return given(attend, option) ? attend->values[option].text : otherwise;
}

/* "--k K.npy is [2, 3]: WHAT" */
static int fail_shape(const struct attend *attend, enum attend_option option, const char *what)
{
    char shape[192];
    return cli_fail(CLI_USAGE, "%s %s has the shape %s: %s", attend_options[option].name,
                    attend->values[option].text,
                    array_shape_text(&attend->arrays[option], shape, sizeof shape), what);
}

static int set_view(const struct attend *attend, enum attend_option option,
                    struct attend_view *view, rapt_array *out_array)
{
    const struct array *array = &attend->arrays[option];
    int heads_first = strcmp(text_of(attend, ATTEND_LAYOUT, "bshd"), "bhsd") == 0;
    if (array->rank != 4 && (heads_first || array->rank != 3)) {
        return fail_shape(attend, option,
                          heads_first ? "expected [B,H,T,D]" : "expected [total,H,D] or [B,T,H,D]");
    }
    const uint64_t *shape = array->shape + (array->rank - 3); /* T, H, D (or H, T, D) */
    uint64_t n_heads = shape[heads_first ? 0 : 1], dim = shape[2];
    view->n_tokens = shape[heads_first ? 1 : 0];
    view->heads_first = heads_first;
    if ((array->rank == 4 && array->shape[0] == 0) || n_heads == 0 || dim == 0)
        return fail_shape(attend, option, "only the number of tokens may be 0");
    if (n_heads > UINT32_MAX || dim > UINT32_MAX || view->n_tokens > INT32_MAX ||
        (array->rank == 4 && array->shape[0] > 65535))
        return fail_shape(attend, option, "at most 65535 sequences of 2147483647 tokens");
    view->n_seqs = array->rank == 4 ? (uint32_t)array->shape[0] : 0;
    view->n_heads = (uint32_t)n_heads;
    view->dim = (uint32_t)dim;
    out_array->data = array->data;
    out_array->n_elements = (size_t)array->n_elements;
    out_array->type = array_type(array);
    out_array->layout.outer_stride = view->n_seqs ? view->n_tokens * n_heads * dim : 0;
    out_array->layout.token_stride = heads_first ? dim : n_heads * dim;
    out_array->layout.head_stride = heads_first ? view->n_tokens * dim : dim;
    /* With one sequence of no tokens there is nothing to stride over. */
    if (out_array->layout.head_stride == 0)
        memset(&out_array->layout, 0, sizeof out_array->layout);
    return 0;
}

/* The number of sequences: all who know it must agree. */
struct vote {
    uint64_t n_seqs;
    const char *voter;
};

static int vote(struct vote *vote, uint64_t n_seqs, const char *voter)
{
    if (vote->voter && vote->n_seqs != n_seqs)
        return cli_fail(CLI_USAGE, "%s has %llu sequence%s, %s has %llu", vote->voter,
                        (unsigned long long)vote->n_seqs, vote->n_seqs == 1 ? "" : "s", voter,
                        (unsigned long long)n_seqs);
    vote->n_seqs = n_seqs;
    vote->voter = voter;
    return 0;
}

static int vote_table(const struct attend *attend, enum attend_option option, uint64_t extra,
                      struct vote *votes)
{
    const struct array *array = &attend->arrays[option];
    if (!given(attend, option))
        return 0;
    if (array->rank != 1)
        return fail_shape(attend, option, extra ? "expected [B+1]" : "expected [B]");
    if (array->n_elements <= extra || array->n_elements - extra > 65535)
        return fail_shape(attend, option, "a batch has 1 to 65535 sequences");
    return vote(votes, array->n_elements - extra, attend_options[option].name);
}

static int count_sequences(struct attend *attend, const struct attend_view *kv_view)
{
    struct vote votes = {1, NULL};
    int code = vote_table(attend, ATTEND_CU_Q, 1, &votes);
    code = code ? code : vote_table(attend, ATTEND_CU_KV, 1, &votes);
    code = code ? code : vote_table(attend, ATTEND_PAGE_INDPTR, 1, &votes);
    code = code ? code : vote_table(attend, ATTEND_LAST_PAGE_LEN, 0, &votes);
    if (!code && attend->q_view.n_seqs)
        code = vote(&votes, attend->q_view.n_seqs, "--q");
    if (!code && kv_view->n_seqs)
        code = vote(&votes, kv_view->n_seqs, "--k");
    /* Positions do not cut a tensor into sequences: that would surprise. */
    if (!code && !votes.voter)
        votes.voter = "--q";
    code = code ? code : vote_table(attend, ATTEND_Q_POS0, 0, &votes);
    code = code ? code : vote_table(attend, ATTEND_KV_POS0, 0, &votes);
    code = code ? code : vote_table(attend, ATTEND_PREFIX, 0, &votes);
    attend->problem.n_seqs = (uint32_t)votes.n_seqs;
    return code;
}

/* Cumulative lengths of `view`: as given, or equal parts. */
static int lengths(struct attend *attend, enum attend_option tensor, enum attend_option table,
                   const struct attend_view *view, int32_t **out_made, const int32_t **out_cu)
{
    uint32_t n_seqs = attend->problem.n_seqs;
    const char *name = attend_options[tensor].name, *table_name = attend_options[table].name;
    if (given(attend, table)) {
        const int32_t *cu = attend->arrays[table].data;
        *out_cu = cu;
        for (uint32_t b = 0; view->n_seqs && b < n_seqs; b++) {
            /* Negative and wrapping lengths are left to rapt_problem_check. */
            if ((int64_t)cu[b + 1] - cu[b] > (int64_t)view->n_tokens)
                return cli_fail(CLI_USAGE, "%s: sequence %u has %lld tokens, %s has room for %llu",
                                table_name, b, (long long)cu[b + 1] - cu[b], name,
                                (unsigned long long)view->n_tokens);
        }
        if (!view->n_seqs && cu[n_seqs] >= 0 && (uint64_t)cu[n_seqs] > view->n_tokens)
            return cli_fail(CLI_USAGE, "%s ends with %d tokens, %s has %llu", table_name,
                            cu[n_seqs], name, (unsigned long long)view->n_tokens);
        return 0;
    }
    uint64_t each = view->n_tokens;
    if (!view->n_seqs) {
        if (each % n_seqs)
            return cli_fail(CLI_USAGE,
                            "%s has %llu tokens for %u sequences: %s must say how many each", name,
                            (unsigned long long)each, n_seqs, table_name);
        each /= n_seqs;
    }
    if (each * n_seqs > INT32_MAX)
        return cli_fail(CLI_USAGE, "%s has more than 2147483647 tokens", name);
    int32_t *cu = calloc((size_t)n_seqs + 1, sizeof *cu);
    if (!cu)
        return cli_fail(CLI_DEVICE, "out of memory");
    for (uint32_t b = 0; b < n_seqs; b++)
        cu[b + 1] = cu[b] + (int32_t)each;
    *out_made = cu;
    *out_cu = cu;
    return 0;
}

static int input_packed(struct attend *attend, struct attend_view *k_view)
{
    rapt_problem *problem = &attend->problem;
    struct attend_view v_view;
    int code = set_view(attend, ATTEND_K, k_view, &problem->k);
    code = code ? code : set_view(attend, ATTEND_V, &v_view, &problem->v);
    if (code)
        return code;
    if (v_view.n_seqs != k_view->n_seqs || v_view.n_tokens != k_view->n_tokens ||
        v_view.n_heads != k_view->n_heads) {
        char k_text[192], v_text[192];
        return cli_fail(CLI_USAGE, "--k has the shape %s, --v %s: only the last axis may differ",
                        array_shape_text(&attend->arrays[ATTEND_K], k_text, sizeof k_text),
                        array_shape_text(&attend->arrays[ATTEND_V], v_text, sizeof v_text));
    }
    problem->n_kv_heads = k_view->n_heads;
    problem->head_dim_v = v_view.dim;
    if (k_view->dim != attend->q_view.dim)
        return cli_fail(CLI_USAGE, "--q has head dim %u, --k %u: they must be equal",
                        attend->q_view.dim, k_view->dim);
    return 0;
}

/* Strides of a pool of `n_rows` rows (heads, or twice that when interleaved) per token. */
static rapt_layout pool_layout(const char *kind, uint64_t page_size, uint64_t n_heads, uint64_t dim)
{
    rapt_layout layout = {0};
    if (strcmp(kind, "hnd") == 0) {
        layout.outer_stride = page_size * n_heads * dim;
        layout.head_stride = page_size * dim;
        layout.token_stride = dim;
    } else if (strcmp(kind, "interleaved") == 0) {
        layout.outer_stride = page_size * n_heads * dim * 2;
        layout.token_stride = n_heads * dim * 2;
        layout.head_stride = dim * 2;
    } else {
        layout.outer_stride = page_size * n_heads * dim;
        layout.token_stride = n_heads * dim;
        layout.head_stride = dim;
    }
    return layout;
}

struct pool_shape {
    uint64_t n_pages, page_size, n_heads, dim;
};

static int read_pool_shape(const struct attend *attend, enum attend_option option, const char *kind,
                           struct pool_shape *out_shape)
{
    const struct array *array = &attend->arrays[option];
    int hnd = strcmp(kind, "hnd") == 0;
    if (array->rank != 4)
        return fail_shape(attend, option, "expected the four axes of a page pool");
    out_shape->n_pages = array->shape[0];
    out_shape->page_size = array->shape[hnd ? 2 : 1];
    out_shape->n_heads = array->shape[hnd ? 1 : 2];
    out_shape->dim = array->shape[3];
    if (array->n_elements == 0)
        return fail_shape(attend, option, "no axis of a pool may be 0");
    if (out_shape->n_pages > UINT32_MAX || out_shape->n_heads > UINT32_MAX ||
        out_shape->dim > UINT32_MAX)
        return fail_shape(attend, option, "an axis is too large");
    if (out_shape->page_size > 256 || (out_shape->page_size & (out_shape->page_size - 1)))
        return fail_shape(attend, option, "a page holds a power of two tokens, 1 to 256");
    return 0;
}

static int input_pool(struct attend *attend)
{
    rapt_problem *problem = &attend->problem;
    const char *kind = text_of(attend, ATTEND_KV_LAYOUT, "nhd");
    int interleaved = strcmp(kind, "interleaved") == 0;
    const struct array *k_array = &attend->arrays[ATTEND_K_POOL];
    const struct array *v_array = interleaved ? k_array : &attend->arrays[ATTEND_V_POOL];
    struct pool_shape k = {0}, v;
    int code = read_pool_shape(attend, ATTEND_K_POOL, kind, &k);
    if (code)
        return code;
    if (interleaved && k.n_heads % 2)
        return fail_shape(attend, ATTEND_K_POOL, "an interleaved pool has an even number of heads");
    k.n_heads /= interleaved ? 2 : 1;
    v = k;
    code = interleaved ? 0 : read_pool_shape(attend, ATTEND_V_POOL, kind, &v);
    if (code)
        return code;
    if (v.n_pages != k.n_pages || v.page_size != k.page_size || v.n_heads != k.n_heads) {
        char k_text[192], v_text[192];
        return cli_fail(CLI_USAGE,
                        "--k-pool has the shape %s, --v-pool %s: only the last axis may differ",
                        array_shape_text(k_array, k_text, sizeof k_text),
                        array_shape_text(v_array, v_text, sizeof v_text));
    }
    if (given(attend, ATTEND_PAGE_SIZE) && attend->values[ATTEND_PAGE_SIZE].count != k.page_size)
        return cli_fail(CLI_USAGE, "--page-size is %llu, the pages of --k-pool hold %llu tokens",
                        (unsigned long long)attend->values[ATTEND_PAGE_SIZE].count,
                        (unsigned long long)k.page_size);
    if (k.dim != attend->q_view.dim)
        return cli_fail(CLI_USAGE, "--q has head dim %u, --k-pool %llu: they must be equal",
                        attend->q_view.dim, (unsigned long long)k.dim);
    problem->k.data = k_array->data;
    problem->k.n_elements = (size_t)k_array->n_elements;
    problem->k.type = array_type(k_array);
    problem->k.layout = pool_layout(kind, k.page_size, k.n_heads, k.dim);
    uint64_t v_first = interleaved ? k.dim : 0;
    problem->v.data = (const char *)v_array->data + v_first * array_dtype_bytes(v_array->dtype);
    problem->v.n_elements = (size_t)(v_array->n_elements - v_first);
    problem->v.type = array_type(v_array);
    problem->v.layout = pool_layout(kind, v.page_size, v.n_heads, v.dim);
    problem->n_kv_heads = (uint32_t)k.n_heads;
    problem->head_dim_v = (uint32_t)v.dim;
    problem->page_size = (uint32_t)k.page_size;
    problem->n_pool_pages = (uint32_t)k.n_pages;
    return 0;
}

static int input_tables(struct attend *attend)
{
    rapt_problem *problem = &attend->problem;
    const struct array *indptr = &attend->arrays[ATTEND_PAGE_INDPTR];
    const struct array *indices = &attend->arrays[ATTEND_PAGE_INDICES];
    const uint32_t *first = indptr->data;
    if (indices->rank != 1)
        return fail_shape(attend, ATTEND_PAGE_INDICES, "expected one axis");
    for (uint64_t i = 0; i < indptr->n_elements; i++) {
        if (first[i] > indices->n_elements)
            return cli_fail(CLI_USAGE, "page_indptr[%llu] is %u, --page-indices has %llu entries",
                            (unsigned long long)i, first[i],
                            (unsigned long long)indices->n_elements);
    }
    problem->page_indptr = first;
    problem->page_indices = indices->data;
    problem->last_page_len = attend->arrays[ATTEND_LAST_PAGE_LEN].data;
    return 0;
}

/* What a row takes in the pool: strides count elements, of quantized types bytes. Interleaved, V's
 * rows begin behind K's, at a whole word: rows of blocks are padded. */
static uint64_t row_units(const struct attend *attend, uint32_t dim, int interleaved)
{
    rapt_type type = rapt_type_parse(text_of(attend, ATTEND_KV_DTYPE, ""));
    if (type == RAPT_TYPE_DEFAULT || rapt_type_bytes(type))
        return dim;
    uint64_t n_bytes = rapt_row_bytes(type, dim);
    return interleaved ? (n_bytes + 3) / 4 * 4 : n_bytes;
}

/* A pool is made of packed K/V: how it lies. */
static int input_paging(struct attend *attend)
{
    rapt_problem *problem = &attend->problem;
    const char *kind = text_of(attend, ATTEND_KV_LAYOUT, "nhd");
    problem->page_size = (uint32_t)attend->values[ATTEND_PAGE_SIZE].count;
    if (strcmp(text_of(attend, ATTEND_PAGE_ORDER, "shuffled"), "linear") == 0)
        problem->page_order = RAPT_PAGE_ORDER_LINEAR;
    if (strcmp(kind, "nhd") == 0)
        return 0;
    if (strcmp(kind, "interleaved") == 0) {
        if (problem->head_dim_v != attend->q_view.dim)
            return cli_fail(CLI_USAGE,
                            "--kv-layout interleaved: K has head dim %u, V %u: they must be "
                            "equal",
                            attend->q_view.dim, problem->head_dim_v);
        attend->easy.kv_one_buffer = 1;
    }
    attend->easy.k_pool =
        pool_layout(kind, problem->page_size, problem->n_kv_heads,
                    row_units(attend, attend->q_view.dim, attend->easy.kv_one_buffer));
    attend->easy.v_pool =
        pool_layout(kind, problem->page_size, problem->n_kv_heads,
                    row_units(attend, problem->head_dim_v, attend->easy.kv_one_buffer));
    return 0;
}

static int input_per_head(struct attend *attend, enum attend_option option, const float **out_data)
{
    const struct array *array = &attend->arrays[option];
    if (!given(attend, option))
        return 0;
    if (array->rank != 1 || array->n_elements != attend->problem.n_q_heads) {
        char what[64];
        snprintf(what, sizeof what, "expected one number per query head, [%u]",
                 attend->problem.n_q_heads);
        return fail_shape(attend, option, what);
    }
    *out_data = array->data;
    return 0;
}

static int input_bias(struct attend *attend)
{
    rapt_problem *problem = &attend->problem;
    const struct array *array = &attend->arrays[ATTEND_BIAS];
    if (!given(attend, ATTEND_BIAS))
        return 0;
    if (problem->n_seqs != 1)
        return cli_fail(CLI_USAGE, "--bias is for one sequence, the batch has %u", problem->n_seqs);
    if (problem->cu_q[0] != 0 || problem->cu_q[1] < 0)
        return 0; /* rapt_problem_check says what is wrong */
    uint64_t n_q = (uint64_t)problem->cu_q[1], n_kv = 0;
    if (problem->cu_kv)
        n_kv = problem->cu_kv[1] > 0 ? (uint64_t)problem->cu_kv[1] : 0;
    else if (problem->page_indptr[1] > problem->page_indptr[0])
        n_kv =
            (uint64_t)(problem->page_indptr[1] - problem->page_indptr[0] - 1) * problem->page_size +
            problem->last_page_len[0];
    const uint64_t *shape = array->shape + (array->rank >= 2 ? array->rank - 2 : 0);
    uint64_t n_heads = array->rank == 3 ? array->shape[0] : 1;
    if (array->rank < 2 || array->rank > 3 || shape[0] != n_q || shape[1] != n_kv ||
        (n_heads != 1 && n_heads != problem->n_q_heads)) {
        char what[128];
        snprintf(what, sizeof what, "expected [%llu, %llu] or [%u, %llu, %llu]",
                 (unsigned long long)n_q, (unsigned long long)n_kv, problem->n_q_heads,
                 (unsigned long long)n_q, (unsigned long long)n_kv);
        return fail_shape(attend, ATTEND_BIAS, what);
    }
    problem->bias.data = array->data;
    problem->bias.n_elements = (size_t)array->n_elements;
    problem->bias.type = array_type(array);
    problem->bias.layout.token_stride = n_kv;
    problem->bias.layout.head_stride = n_heads > 1 ? n_q * n_kv : 0;
    return 0;
}

static int input_rest(struct attend *attend)
{
    rapt_problem *problem = &attend->problem;
    struct option_value *values = attend->values;
    int code = input_per_head(attend, ATTEND_ALIBI, &problem->slopes);
    code = code ? code : input_per_head(attend, ATTEND_SINKS, &problem->sinks);
    code = code ? code : input_bias(attend);
    if (code)
        return code;
    problem->q_pos0 = attend->arrays[ATTEND_Q_POS0].data;
    problem->kv_pos0 = attend->arrays[ATTEND_KV_POS0].data;
    problem->q_pos = attend->arrays[ATTEND_Q_POS].data;
    int64_t total_q = problem->cu_q[problem->n_seqs];
    if (problem->q_pos && (attend->arrays[ATTEND_Q_POS].rank != 1 ||
                           (int64_t)attend->arrays[ATTEND_Q_POS].n_elements < total_q))
        return fail_shape(attend, ATTEND_Q_POS, "expected one position per query token");
    problem->scale = (float)values[ATTEND_SCALE].number;
    problem->softcap = (float)values[ATTEND_SOFTCAP].number;
    problem->use_max_logit_const = values[ATTEND_MAX_LOGIT_CONST].given;
    problem->max_logit_const = (float)values[ATTEND_MAX_LOGIT_CONST].number;
    problem->unnormalised = values[ATTEND_UNNORMALISED].given;
    problem->q_type = rapt_type_parse(text_of(attend, ATTEND_Q_DTYPE, ""));
    problem->out_type = rapt_type_parse(text_of(attend, ATTEND_OUT_DTYPE, ""));
    attend->easy.n_splits = (uint32_t)values[ATTEND_SPLITS].count;
    attend->easy.fixed_split = (uint32_t)values[ATTEND_FIXED_SPLIT].count;
    attend->easy.block_q = (uint32_t)values[ATTEND_BLOCK_Q].count;
    attend->easy.block_kv = (uint32_t)values[ATTEND_BLOCK_KV].count;
    attend->easy.share_prefixes = values[ATTEND_SHARE_PREFIX].given;
    attend->easy.n_slices = (uint32_t)values[ATTEND_SLICES].count;
    attend->easy.plan_flags = values[ATTEND_APPEND].given ? RAPT_PLAN_APPEND : 0;
    if (attend->path != ATTEND_REFERENCE)
        attend->easy.path = (rapt_path)attend->path;
    return attend_storage_input(attend);
}

static int check_problem(const rapt_problem *problem)
{
    rapt_status status = rapt_problem_check(problem);
    if (status && cli_exit_code(status) == CLI_DEVICE)
        return cli_fail_status(status, NULL);
    return status ? cli_fail(CLI_USAGE, "%s", rapt_last_error()) : 0;
}

int attend_input(struct attend *attend)
{
    rapt_problem *problem = &attend->problem;
    struct attend_view k_view = {0};
    problem->struct_size = sizeof *problem;
    attend->easy.struct_size = sizeof attend->easy;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        enum attend_option option = files[i].option;
        if (!given(attend, option))
            continue;
        int code = array_read(attend_options[option].name, attend->values[option].text,
                              files[i].dtypes, &attend->arrays[option]);
        if (code)
            return code;
    }
    for (int i = 0; i < MASK_N_OPTIONS; i++) {
        int option = ATTEND_PREFIX + i;
        uint32_t dtypes = mask_option_dtypes((enum mask_option)i);
        if (!dtypes || !attend->values[option].given)
            continue;
        int code = array_read(attend_options[option].name, attend->values[option].text, dtypes,
                              &attend->arrays[option]);
        if (code)
            return code;
    }
    int pool = given(attend, ATTEND_K_POOL);
    int code = set_view(attend, ATTEND_Q, &attend->q_view, &problem->q);
    if (code)
        return code;
    problem->n_q_heads = attend->q_view.n_heads;
    problem->head_dim = attend->q_view.dim;
    code = pool ? input_pool(attend) : input_packed(attend, &k_view);
    code = code ? code : count_sequences(attend, &k_view);
    code = code ? code
                : lengths(attend, ATTEND_Q, ATTEND_CU_Q, &attend->q_view, &attend->cu_q,
                          &problem->cu_q);
    if (!code && pool)
        code = input_tables(attend);
    if (!code && !pool)
        code = lengths(attend, ATTEND_K, ATTEND_CU_KV, &k_view, &attend->cu_kv, &problem->cu_kv);
    if (!code && !pool && given(attend, ATTEND_PAGE_SIZE))
        code = input_paging(attend);
    code = code ? code : input_rest(attend);
    /* Arrays of masks are measured by lengths that are sound. */
    code = code ? code : check_problem(problem);
    code = code ? code : attend_mask_input(attend);
    return code ? code : check_problem(problem);
}

void attend_finish(struct attend *attend)
{
    for (int i = 0; i < ATTEND_N_OPTIONS; i++)
        array_finish(&attend->arrays[i]);
    free(attend->cu_q);
    free(attend->cu_kv);
    rapt_mask_destroy(&attend->mask);
    mask_finish(&attend->mask_input);
    rope_finish(&attend->rope);
}
