/* SPDX-License-Identifier: Apache-2.0 */
/* Options and files of `rapt append`. */
#include "append.h"

#include "cli.h"

#include <stdlib.h>
#include <string.h>

/* clang-format off */
const struct option_spec append_options[APPEND_N_OPTIONS] = {
    [APPEND_HEAD_ROWS] = {"New rows (.npy, or FILE:NAME of safetensors; C order, little endian)", OPTION_HEADING},
    [APPEND_K_NEW] = {"--k-new", OPTION_TEXT, "FILE", "new keys, [total,H,D]; f4, f2 or BF16"},
    [APPEND_V_NEW] = {"--v-new", OPTION_TEXT, "FILE", "their values, likewise; the head dim may differ"},
    [APPEND_CU_NEW] = {"--cu-new", OPTION_TEXT, "FILE", "cumulative numbers of new tokens, i4 [B+1] (default: as many for each sequence)"},
    [APPEND_KV_POS0] = {"--kv-pos0", OPTION_TEXT, "FILE", "position of each sequence's first key, i4 [B] (default 0)"},

    [APPEND_HEAD_POOL] = {"Pool, in stored form: f4 or f2; other types as raw bytes, u1 [pages,P,H,bytes of a row]", OPTION_HEADING},
    [APPEND_K_POOL] = {"--k-pool", OPTION_TEXT, "FILE", "the pool as it is (default: zeros; interleaved: of K and V both)"},
    [APPEND_V_POOL] = {"--v-pool", OPTION_TEXT, "FILE", "that of V"},
    [APPEND_K_SCALE_POOL] = {"--k-scale-pool", OPTION_TEXT, "FILE", "its scales, f4 or f2: [pages,P,H], int4 [pages,P,H,D/32], one per token [pages,P]"},
    [APPEND_V_SCALE_POOL] = {"--v-scale-pool", OPTION_TEXT, "FILE", "those of V"},
    [APPEND_PAGES] = {"--pages", OPTION_COUNT, "N", "pages of a new pool, instead of --k-pool", 1, 1073741824},
    [APPEND_PAGE_SIZE] = {"--page-size", OPTION_COUNT, "P", "tokens of its pages: a power of two from 1 to 256", 1, 256},
    [APPEND_KV_LAYOUT] = {"--kv-layout", OPTION_TEXT, "LAYOUT", "of the pool: nhd [pages,P,H,D] (default), hnd [pages,H,P,D], or interleaved [pages,P,K1 V1 K2 V2 ..,D]"},
    [APPEND_PAGE_INDPTR] = {"--page-indptr", OPTION_TEXT, "FILE", "where each sequence's pages start in --page-indices, u4 or i4 [B+1], after the append"},
    [APPEND_PAGE_INDICES] = {"--page-indices", OPTION_TEXT, "FILE", "page numbers, u4 or i4"},
    [APPEND_LAST_PAGE_LEN] = {"--last-page-len", OPTION_TEXT, "FILE", "tokens in each sequence's last page, u4 or i4 [B], after the append"},

    [APPEND_HEAD_STORAGE] = {"Storage", OPTION_HEADING},
    [APPEND_KV_DTYPE] = {"--kv-dtype", OPTION_TEXT, "TYPE", "f32, f16, bf16, int8, fp8_e4m3, int4, q8_0 or q4_0 (default: the pool's, else the rows')"},
    [APPEND_K_SCALE] = {"--k-scale", OPTION_TEXT, "FILE", "int8, fp8_e4m3: static scales of K, f4 [H] or [1] (default: absmax/127, absmax/448 of each row)"},
    [APPEND_V_SCALE] = {"--v-scale", OPTION_TEXT, "FILE", "those of V"},
    [APPEND_SCALE_DTYPE] = {"--scale-dtype", OPTION_TEXT, "f32|f16", "int8, fp8_e4m3: how scales are stored (default f32)"},
    [APPEND_SCALE_PER] = {"--scale-per", OPTION_TEXT, "head|token", "int8: a scale per token and head (default), or one per token"},

    [APPEND_HEAD_OUT] = {"Results", OPTION_HEADING},
    [APPEND_K_POOL_OUT] = {"--k-pool-out", OPTION_TEXT, "FILE", "writes the pool with the new rows in it, as --k-pool is"},
    [APPEND_V_POOL_OUT] = {"--v-pool-out", OPTION_TEXT, "FILE", "that of V"},
    [APPEND_K_SCALE_OUT] = {"--k-scale-out", OPTION_TEXT, "FILE", "writes the scales, as --k-scale-pool is"},
    [APPEND_V_SCALE_OUT] = {"--v-scale-out", OPTION_TEXT, "FILE", "those of V"},

    [APPEND_HEAD_ROPE] = {"Rotary embedding of K", OPTION_HEADING},
    ROPE_OPTION_SPECS(APPEND_ROPE),
    [APPEND_ROPE_POS] = {"--rope-pos", OPTION_TEXT, "FILE", "where each new key is rotated, i4 [total] (default: its position)"},

    [APPEND_HEAD_KERNEL] = {"Kernel and checking", OPTION_HEADING},
    [APPEND_DEVICE] = {"--device", OPTION_TEXT, "N|NAME", "by number or part of a name, as `rapt info` lists them (default: the best)"},
    [APPEND_DISABLE] = {"--disable", OPTION_TEXT, "NAMES", "device features not to use: f16,subgroup,.. as `rapt info` names them"},
    [APPEND_CHECK] = {"--check", OPTION_FLAG, NULL, "compares every byte of pool and scales with the host's own encoder; exit 5 if one differs"},
};
/* clang-format on */

static const struct {
    enum append_option option;
    uint32_t dtypes;
} files[] = {
    {APPEND_K_NEW, ARRAY_TENSOR},
    {APPEND_V_NEW, ARRAY_TENSOR},
    {APPEND_CU_NEW, ARRAY_INT},
    {APPEND_KV_POS0, ARRAY_IS(ARRAY_I4)},
    {APPEND_K_POOL, ARRAY_IS(ARRAY_F4) | ARRAY_IS(ARRAY_F2) | ARRAY_IS(ARRAY_U1)},
    {APPEND_V_POOL, ARRAY_IS(ARRAY_F4) | ARRAY_IS(ARRAY_F2) | ARRAY_IS(ARRAY_U1)},
    {APPEND_K_SCALE_POOL, ARRAY_IS(ARRAY_F4) | ARRAY_IS(ARRAY_F2)},
    {APPEND_V_SCALE_POOL, ARRAY_IS(ARRAY_F4) | ARRAY_IS(ARRAY_F2)},
    {APPEND_PAGE_INDPTR, ARRAY_INT},
    {APPEND_PAGE_INDICES, ARRAY_INT},
    {APPEND_LAST_PAGE_LEN, ARRAY_INT},
    {APPEND_K_SCALE, ARRAY_IS(ARRAY_F4)},
    {APPEND_V_SCALE, ARRAY_IS(ARRAY_F4)},
    {APPEND_ROPE_POS, ARRAY_IS(ARRAY_I4)},
};

static int given(const struct append *append, enum append_option option)
{
    return append->values[option].given;
}

static const char *text_of(const struct append *append, enum append_option option,
                           const char *otherwise)
{
    return given(append, option) ? append->values[option].text : otherwise;
}

static int interleaved(const struct append *append)
{
    return strcmp(text_of(append, APPEND_KV_LAYOUT, "nhd"), "interleaved") == 0;
}

static int check_pools(const struct append *append)
{
    static const enum append_option outputs[] = {APPEND_K_POOL_OUT, APPEND_V_POOL_OUT,
                                                 APPEND_K_SCALE_OUT, APPEND_V_SCALE_OUT};
    int pool = given(append, APPEND_K_POOL), one = interleaved(append);
    if (pool && given(append, APPEND_PAGES))
        return cli_fail(CLI_USAGE, "--k-pool and --pages exclude each other");
    if (!pool && (!given(append, APPEND_PAGES) || !given(append, APPEND_PAGE_SIZE)))
        return cli_fail(CLI_USAGE,
                        "--k-pool is missing (or --pages and --page-size for a new pool)");
    if (given(append, APPEND_V_POOL) && (!pool || one))
        return cli_fail(CLI_USAGE, one ? "--v-pool: an interleaved pool holds V in --k-pool"
                                       : "--v-pool needs --k-pool");
    if (pool && !one && !given(append, APPEND_V_POOL))
        return cli_fail(CLI_USAGE, "--k-pool needs --v-pool");
    if (one && given(append, APPEND_V_POOL_OUT))
        return cli_fail(CLI_USAGE, "--v-pool-out: an interleaved pool holds V in --k-pool-out");
    if (given(append, APPEND_K_SCALE_POOL) != given(append, APPEND_V_SCALE_POOL))
        return cli_fail(CLI_USAGE, "--k-scale-pool and --v-scale-pool need each other");
    if (given(append, APPEND_K_SCALE_POOL) && !pool)
        return cli_fail(CLI_USAGE, "--k-scale-pool needs --k-pool");
    for (int i = 0; i < 4; i++) {
        for (int j = i + 1; j < 4; j++) {
            if (given(append, outputs[i]) && given(append, outputs[j]) &&
                strcmp(append->values[outputs[i]].text, append->values[outputs[j]].text) == 0)
                return cli_fail(CLI_USAGE, "%s and %s name the same file",
                                append_options[outputs[i]].name, append_options[outputs[j]].name);
        }
    }
    return 0;
}

static int check_storage(const struct append *append)
{
    static const char *const scale_types[] = {"f32", "f16", NULL};
    static const char *const pers[] = {"head", "token", NULL};
    const struct option_value *values = append->values;
    if (given(append, APPEND_KV_DTYPE) &&
        rapt_type_parse(values[APPEND_KV_DTYPE].text) == RAPT_TYPE_DEFAULT)
        return cli_fail(CLI_USAGE,
                        "--kv-dtype: '%s' is none of f32, f16, bf16, int8, fp8_e4m3, int4, q8_0, "
                        "q4_0",
                        values[APPEND_KV_DTYPE].text);
    if (given(append, APPEND_K_SCALE) != given(append, APPEND_V_SCALE))
        return cli_fail(CLI_USAGE, "--k-scale and --v-scale need each other");
    if (given(append, APPEND_SCALE_DTYPE) &&
        options_word("--scale-dtype", values[APPEND_SCALE_DTYPE].text, scale_types) < 0)
        return CLI_USAGE;
    if (given(append, APPEND_SCALE_PER) &&
        options_word("--scale-per", values[APPEND_SCALE_PER].text, pers) < 0)
        return CLI_USAGE;
    if (given(append, APPEND_SCALE_PER) && given(append, APPEND_K_SCALE))
        return cli_fail(CLI_USAGE, "--scale-per and --k-scale exclude each other");
    return 0;
}

int append_options_check(const struct append *append)
{
    static const char *const layouts[] = {"nhd", "hnd", "interleaved", NULL};
    static const enum append_option needed[] = {APPEND_K_NEW, APPEND_V_NEW, APPEND_PAGE_INDPTR,
                                                APPEND_PAGE_INDICES, APPEND_LAST_PAGE_LEN};
    uint64_t size = append->values[APPEND_PAGE_SIZE].count;
    for (size_t i = 0; i < sizeof needed / sizeof *needed; i++) {
        if (!given(append, needed[i]))
            return cli_fail(CLI_USAGE, "%s is missing (--help lists the options)",
                            append_options[needed[i]].name);
    }
    if (given(append, APPEND_KV_LAYOUT) &&
        options_word("--kv-layout", append->values[APPEND_KV_LAYOUT].text, layouts) < 0)
        return CLI_USAGE;
    if (size & (size - 1))
        return cli_fail(CLI_USAGE, "--page-size: %u is not a power of two", (unsigned)size);
    int code = check_pools(append);
    code = code ? code : check_storage(append);
    code = code ? code : rope_check(append_options + APPEND_ROPE, append->values + APPEND_ROPE);
    if (!code && given(append, APPEND_ROPE_POS) && !given(append, APPEND_ROPE))
        code = cli_fail(CLI_USAGE, "--rope-pos needs --rope");
    if (!code && given(append, APPEND_DISABLE)) {
        rapt_features features;
        if (rapt_features_parse(append->values[APPEND_DISABLE].text, &features) != RAPT_OK)
            code = cli_fail(CLI_USAGE, "--disable: %s", rapt_last_error());
    }
    return code;
}

/* "--k-new K.npy has the shape [2, 3]: WHAT" */
static int fail_shape(const struct append *append, enum append_option option, const char *what)
{
    char shape[192];
    return cli_fail(CLI_USAGE, "%s %s has the shape %s: %s", append_options[option].name,
                    append->values[option].text,
                    array_shape_text(&append->arrays[option], shape, sizeof shape), what);
}

static int input_rows(struct append *append)
{
    const struct array *k = &append->arrays[APPEND_K_NEW], *v = &append->arrays[APPEND_V_NEW];
    for (int i = 0; i < 2; i++) {
        enum append_option option = i ? APPEND_V_NEW : APPEND_K_NEW;
        const struct array *rows = &append->arrays[option];
        if (rows->rank != 3)
            return fail_shape(append, option, "expected [total,H,D]");
        if (rows->shape[1] == 0 || rows->shape[2] == 0)
            return fail_shape(append, option, "only the number of tokens may be 0");
        if (rows->shape[0] > INT32_MAX || rows->shape[1] > 65535 || rows->shape[2] > 576)
            return fail_shape(append, option, "an axis is too large");
        append->sides[i].rows = rows;
        append->sides[i].dim = (uint32_t)rows->shape[2];
    }
    if (v->shape[0] != k->shape[0] || v->shape[1] != k->shape[1])
        return fail_shape(append, APPEND_V_NEW, "only the last axis may differ from --k-new");
    if (v->dtype != k->dtype)
        return cli_fail(CLI_USAGE, "--k-new holds %s, --v-new %s: they must be of one type",
                        array_dtype_name(k->dtype), array_dtype_name(v->dtype));
    append->total = (uint32_t)k->shape[0];
    append->problem.n_kv_heads = append->problem.n_q_heads = (uint32_t)k->shape[1];
    append->problem.head_dim = append->sides[0].dim;
    append->problem.head_dim_v = append->sides[1].dim;
    return 0;
}

static int input_lengths(struct append *append)
{
    rapt_problem *problem = &append->problem;
    const struct array *indptr = &append->arrays[APPEND_PAGE_INDPTR];
    const struct array *indices = &append->arrays[APPEND_PAGE_INDICES];
    if (indptr->rank != 1 || indptr->n_elements < 2 || indptr->n_elements > 65536)
        return fail_shape(append, APPEND_PAGE_INDPTR, "expected [B+1], 1 to 65535 sequences");
    uint32_t n = problem->n_seqs = (uint32_t)indptr->n_elements - 1;
    const uint32_t *first = indptr->data;
    const struct {
        enum append_option option;
        uint64_t n;
    } tables[] = {{APPEND_LAST_PAGE_LEN, n}, {APPEND_CU_NEW, (uint64_t)n + 1}, {APPEND_KV_POS0, n}};
    for (int i = 0; i < 3; i++) {
        const struct array *table = &append->arrays[tables[i].option];
        if (given(append, tables[i].option) &&
            (table->rank != 1 || table->n_elements != tables[i].n))
            return fail_shape(append, tables[i].option, "--page-indptr has another batch");
    }
    if (indices->rank != 1)
        return fail_shape(append, APPEND_PAGE_INDICES, "expected one axis");
    for (uint32_t b = 0; b <= n; b++) {
        if (first[b] > indices->n_elements)
            return cli_fail(CLI_USAGE, "page_indptr[%u] is %u, --page-indices has %llu entries", b,
                            first[b], (unsigned long long)indices->n_elements);
    }
    problem->page_indptr = first;
    problem->page_indices = indices->data;
    problem->last_page_len = append->arrays[APPEND_LAST_PAGE_LEN].data;
    problem->kv_pos0 = append->arrays[APPEND_KV_POS0].data;
    problem->cu_q = append->arrays[APPEND_CU_NEW].data;
    if (given(append, APPEND_CU_NEW)) {
        if (problem->cu_q[n] < 0 || (uint32_t)problem->cu_q[n] != append->total)
            return cli_fail(CLI_USAGE, "--cu-new ends with %d tokens, --k-new has %u",
                            problem->cu_q[n], append->total);
        return 0;
    }
    if (append->total % n)
        return cli_fail(CLI_USAGE,
                        "--k-new has %u tokens for %u sequences: --cu-new must say how many each",
                        append->total, n);
    append->cu_new = calloc((size_t)n + 1, sizeof *append->cu_new);
    if (!append->cu_new)
        return cli_fail(CLI_DEVICE, "out of memory");
    for (uint32_t b = 0; b < n; b++)
        append->cu_new[b + 1] = append->cu_new[b] + (int32_t)(append->total / n);
    problem->cu_q = append->cu_new;
    return 0;
}

static rapt_type pool_type(const struct append *append)
{
    const struct array *pool = &append->arrays[APPEND_K_POOL];
    if (given(append, APPEND_KV_DTYPE))
        return rapt_type_parse(append->values[APPEND_KV_DTYPE].text);
    if (pool->data && pool->dtype == ARRAY_U1)
        return RAPT_TYPE_DEFAULT;
    return array_type(pool->data ? pool : &append->arrays[APPEND_K_NEW]);
}

static int input_storage(struct append *append)
{
    rapt_problem *problem = &append->problem;
    problem->kv_type = pool_type(append);
    if (problem->kv_type == RAPT_TYPE_DEFAULT)
        return cli_fail(CLI_USAGE, "--k-pool holds raw bytes: --kv-dtype must say of what type");
    if (given(append, APPEND_SCALE_DTYPE))
        problem->scale_type = rapt_type_parse(append->values[APPEND_SCALE_DTYPE].text);
    else
        problem->scale_type = RAPT_TYPE_F32;
    if (problem->kv_type == RAPT_TYPE_INT4)
        problem->scale_type = RAPT_TYPE_F16;
    append->scale_bytes = rapt_type_bytes(problem->scale_type);
    if (strcmp(text_of(append, APPEND_SCALE_PER, "head"), "token") == 0)
        problem->scale_kind = RAPT_SCALE_TOKEN;
    for (int i = 0; i < 2 && given(append, APPEND_K_SCALE); i++) {
        enum append_option option = i ? APPEND_V_SCALE : APPEND_K_SCALE;
        const struct array *scale = &append->arrays[option];
        if (scale->rank != 1 ||
            (scale->n_elements != 1 && scale->n_elements != problem->n_kv_heads))
            return fail_shape(append, option, "expected [1], or one number per head");
        problem->scale_kind = RAPT_SCALE_STATIC;
        *(i ? &problem->v_scale : &problem->k_scale) = scale->data;
        *(i ? &problem->n_v_scale : &problem->n_k_scale) = (uint32_t)scale->n_elements;
    }
    for (int i = 0; i < 2; i++) {
        struct append_side *side = &append->sides[i];
        side->row_bytes = rapt_row_bytes(problem->kv_type, side->dim);
        side->quantize = (rapt_quantize_params){
            .struct_size = sizeof side->quantize,
            .type = problem->kv_type,
            .head_dim = side->dim,
            .n_heads = problem->n_kv_heads,
            .scale_type = problem->scale_type,
            .scale_kind = problem->scale_kind,
            .static_scale = i ? problem->v_scale : problem->k_scale,
            .n_static_scale = i ? problem->n_v_scale : problem->n_k_scale,
        };
    }
    return 0;
}

/* Shape of a pool file: elements where the type has some, else bytes. */
static uint64_t row_elements(const struct append *append, const struct append_side *side)
{
    rapt_type type = append->problem.kv_type;
    return type == RAPT_TYPE_F32 || type == RAPT_TYPE_F16 ? side->dim : side->row_bytes;
}

static void lay_out(struct append *append, struct append_side *side)
{
    uint64_t size = append->problem.page_size, heads = append->problem.n_kv_heads;
    uint64_t row = side->row_bytes, wide = interleaved(append) ? 2 : 1;
    int hnd = strcmp(text_of(append, APPEND_KV_LAYOUT, "nhd"), "hnd") == 0;
    side->shape[0] = append->n_pages;
    side->shape[1] = hnd ? heads : size;
    side->shape[2] = hnd ? size : heads * wide;
    side->shape[3] = row_elements(append, side);
    side->layout.outer_stride = size * heads * row * wide;
    side->layout.token_stride = hnd ? row : heads * row * wide;
    side->layout.head_stride = hnd ? size * row : row * wide;
    side->n_bytes = append->n_pages * side->layout.outer_stride;
}

static int input_pool_shape(struct append *append)
{
    const struct array *pool = &append->arrays[APPEND_K_POOL];
    int hnd = strcmp(text_of(append, APPEND_KV_LAYOUT, "nhd"), "hnd") == 0;
    append->n_pages = (uint32_t)append->values[APPEND_PAGES].count;
    append->problem.page_size = (uint32_t)append->values[APPEND_PAGE_SIZE].count;
    if (!pool->data)
        return 0;
    if (pool->rank != 4)
        return fail_shape(append, APPEND_K_POOL, "expected the four axes of a page pool");
    uint64_t size = pool->shape[hnd ? 2 : 1];
    if (pool->shape[0] == 0 || pool->shape[0] > 1u << 30)
        return fail_shape(append, APPEND_K_POOL, "a pool has 1 to 1073741824 pages");
    if (size == 0 || size > 256 || (size & (size - 1)))
        return fail_shape(append, APPEND_K_POOL, "a page holds a power of two tokens, 1 to 256");
    if (given(append, APPEND_PAGE_SIZE) && append->problem.page_size != size)
        return cli_fail(CLI_USAGE, "--page-size is %u, the pages of --k-pool hold %llu tokens",
                        append->problem.page_size, (unsigned long long)size);
    append->n_pages = (uint32_t)pool->shape[0];
    append->problem.page_size = (uint32_t)size;
    return 0;
}

/* A zeroed copy of what the file holds, in whole words. */
static int copy_array(const struct append *append, enum append_option option, uint64_t n_bytes,
                      uint8_t **out_data)
{
    const struct array *array = &append->arrays[option];
    if (n_bytes < SIZE_MAX - 8)
        *out_data = calloc((size_t)n_bytes / 4 + 1, 4);
    if (!*out_data)
        return cli_fail(CLI_DEVICE, "there is no memory for a pool of %llu bytes",
                        (unsigned long long)n_bytes);
    if (array->data)
        memcpy(*out_data, array->data, (size_t)n_bytes);
    return 0;
}

static int check_shape(const struct append *append, enum append_option option,
                       const uint64_t *shape, uint32_t rank, enum array_dtype dtype)
{
    const struct array *array = &append->arrays[option];
    struct array wanted = {.rank = rank};
    char text[192], what[256];
    memcpy(wanted.shape, shape, rank * sizeof *shape);
    if (!array->data)
        return 0;
    snprintf(what, sizeof what, "expected %s", array_shape_text(&wanted, text, sizeof text));
    if (array->rank != rank || memcmp(array->shape, shape, rank * sizeof *shape) != 0)
        return fail_shape(append, option, what);
    if (array->dtype != dtype)
        return cli_fail(CLI_USAGE, "%s %s: elements are %s, expected %s",
                        append_options[option].name, append->values[option].text,
                        array_dtype_name(array->dtype), array_dtype_name(dtype));
    return 0;
}

static int input_scales(struct append *append, int v)
{
    static const enum append_option pools[] = {APPEND_K_SCALE_POOL, APPEND_V_SCALE_POOL};
    static const enum append_option outs[] = {APPEND_K_SCALE_OUT, APPEND_V_SCALE_OUT};
    struct append_side *side = &append->sides[v];
    const rapt_problem *problem = &append->problem;
    side->n_row_scales = (uint32_t)rapt_quantize_n_scales(&side->quantize);
    if (side->n_row_scales == 0) {
        for (int i = 0; i < 2; i++) {
            enum append_option option = i ? outs[v] : pools[v];
            if (given(append, option))
                return cli_fail(CLI_USAGE, "%s: there are no scales in the pool",
                                append_options[option].name);
        }
        return 0;
    }
    side->scale_shape[0] = append->n_pages;
    side->scale_shape[1] = problem->page_size;
    side->scale_shape[2] = problem->n_kv_heads;
    side->scale_shape[3] = side->n_row_scales / problem->n_kv_heads;
    side->scale_rank = problem->kv_type == RAPT_TYPE_INT4        ? 4
                       : problem->scale_kind == RAPT_SCALE_TOKEN ? 2
                                                                 : 3;
    side->n_scale_bytes =
        (uint64_t)append->n_pages * problem->page_size * side->n_row_scales * append->scale_bytes;
    int code = check_shape(append, pools[v], side->scale_shape, side->scale_rank,
                           append->scale_bytes == 2 ? ARRAY_F2 : ARRAY_F4);
    return code ? code : copy_array(append, pools[v], side->n_scale_bytes, &side->scales);
}

static int input_pools(struct append *append)
{
    static const enum append_option pools[] = {APPEND_K_POOL, APPEND_V_POOL};
    rapt_type type = append->problem.kv_type;
    enum array_dtype dtype = type == RAPT_TYPE_F32   ? ARRAY_F4
                             : type == RAPT_TYPE_F16 ? ARRAY_F2
                                                     : ARRAY_U1;
    int one = interleaved(append);
    if (one && append->sides[0].dim != append->sides[1].dim)
        return cli_fail(CLI_USAGE,
                        "--kv-layout interleaved: K has head dim %u, V %u: they must be equal",
                        append->sides[0].dim, append->sides[1].dim);
    if (one && append->sides[0].row_bytes % 4 != 0)
        return cli_fail(CLI_USAGE,
                        "--kv-layout interleaved: a row has %llu bytes, which is no multiple of 4",
                        (unsigned long long)append->sides[0].row_bytes);
    for (int v = 0; v < 2; v++) {
        struct append_side *side = &append->sides[v];
        lay_out(append, side);
        int code = 0;
        if (!v || !one) {
            code = check_shape(append, pools[v], side->shape, 4, dtype);
            code = code ? code : copy_array(append, pools[v], side->n_bytes, &side->pool);
        }
        code = code ? code : input_scales(append, v);
        if (code)
            return code;
    }
    return 0;
}

uint32_t append_kv_len(const struct append *append, uint32_t b)
{
    const rapt_problem *problem = &append->problem;
    uint32_t n_pages = problem->page_indptr[b + 1] - problem->page_indptr[b];
    return n_pages ? (n_pages - 1) * problem->page_size + problem->last_page_len[b] : 0;
}

/* The tables, lengths, scales and positions are those of an attention call whose queries are the
 * new tokens; so is the check of them. It reads no tensor. */
static int check_problem(struct append *append)
{
    rapt_problem *problem = &append->problem;
    problem->struct_size = sizeof *problem;
    problem->n_pool_pages = append->n_pages;
    problem->q = problem->k = problem->v = (rapt_array){.data = append, .n_elements = SIZE_MAX / 2};
    rapt_status status = rapt_problem_check(problem);
    problem->q = problem->k = problem->v = (rapt_array){0};
    if (status)
        return cli_fail(CLI_USAGE, "%s", rapt_last_error());
    for (uint32_t b = 0; b < problem->n_seqs; b++) {
        uint32_t n_new = (uint32_t)(problem->cu_q[b + 1] - problem->cu_q[b]);
        if (n_new > append_kv_len(append, b))
            return cli_fail(CLI_USAGE,
                            "sequence %u has %u new tokens and %u tokens in its pages: the tables "
                            "are those after the append",
                            b, n_new, append_kv_len(append, b));
    }
    return 0;
}

int append_input(struct append *append)
{
    int code = 0;
    for (size_t i = 0; i < sizeof files / sizeof *files && !code; i++) {
        enum append_option option = files[i].option;
        if (given(append, option))
            code = array_read(append_options[option].name, append->values[option].text,
                              files[i].dtypes, &append->arrays[option]);
    }
    code = code ? code : input_rows(append);
    code = code ? code : input_lengths(append);
    code = code ? code : input_pool_shape(append);
    code = code ? code : input_storage(append);
    if (!code)
        code = rope_read(append_options + APPEND_ROPE, append->values + APPEND_ROPE,
                         append->sides[0].dim, &append->rope);
    if (!code && append->rope.rope.pairing != RAPT_ROPE_NONE)
        append->problem.rope = &append->rope.rope;
    const struct array *positions = &append->arrays[APPEND_ROPE_POS];
    if (!code && positions->data && (positions->rank != 1 || positions->n_elements < append->total))
        code = fail_shape(append, APPEND_ROPE_POS, "expected one position per new token");
    append->problem.rope_pos = positions->data;
    /* First whether the types can hold the rows at all, then the pools of them. */
    if (!code && (append->sides[0].row_bytes == 0 || append->sides[1].row_bytes == 0))
        return check_problem(append);
    code = code ? code : input_pools(append);
    return code ? code : check_problem(append);
}

void append_finish(struct append *append)
{
    for (int i = 0; i < APPEND_N_OPTIONS; i++)
        array_finish(&append->arrays[i]);
    for (int v = 0; v < 2; v++) {
        free(append->sides[v].pool);
        free(append->sides[v].scales);
    }
    free(append->cu_new);
    rope_finish(&append->rope);
}
