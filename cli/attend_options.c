/* SPDX-License-Identifier: Apache-2.0 */
#include "attend.h"

#include "cli.h"

#include <math.h>
#include <string.h>

/* clang-format off */
const struct option_spec attend_options[ATTEND_N_OPTIONS] = {
    [ATTEND_HEAD_TENSORS] = {"Tensors (FILE is .npy, or FILE:NAME of safetensors; C order, little endian)", OPTION_HEADING},
    [ATTEND_Q] = {"--q", OPTION_TEXT, "FILE", "queries: [total,H,D], [B,T,H,D], or [B,H,T,D] with --layout bhsd; f4, f2 or BF16"},
    [ATTEND_K] = {"--k", OPTION_TEXT, "FILE", "keys, likewise with the K/V heads"},
    [ATTEND_V] = {"--v", OPTION_TEXT, "FILE", "values, likewise; their head dim may differ"},
    [ATTEND_LAYOUT] = {"--layout", OPTION_TEXT, "bshd|bhsd", "order of the axes of 4-D tensors (default bshd)"},
    [ATTEND_OUT] = {"--out", OPTION_TEXT, "FILE", "writes the output as f4, shaped as --q is"},
    [ATTEND_LSE] = {"--lse", OPTION_TEXT, "FILE", "writes log-sum-exp of each row, f4 [total,H] (or as --q without D)"},
    [ATTEND_MAX_LOGIT] = {"--max-logit", OPTION_TEXT, "FILE", "writes the largest allowed logit of each row, likewise"},

    [ATTEND_HEAD_BATCH] = {"Batch (default: one sequence, or the B equal ones of 4-D tensors)", OPTION_HEADING},
    [ATTEND_CU_Q] = {"--cu-q", OPTION_TEXT, "FILE", "cumulative query lengths, i4 [B+1]"},
    [ATTEND_CU_KV] = {"--cu-kv", OPTION_TEXT, "FILE", "cumulative key lengths, i4 [B+1]"},
    [ATTEND_Q_POS0] = {"--q-pos0", OPTION_TEXT, "FILE", "position of each sequence's first query, i4 [B] (default: the last query sees the last key)"},
    [ATTEND_Q_POS] = {"--q-pos", OPTION_TEXT, "FILE", "position of every query, i4 [total], instead of --q-pos0"},
    [ATTEND_KV_POS0] = {"--kv-pos0", OPTION_TEXT, "FILE", "position of each sequence's first key, i4 [B] (default 0)"},

    [ATTEND_HEAD_STORAGE] = {"Storage (default: the files' own types; out f32). Values are converted on the way in", OPTION_HEADING},
    [ATTEND_Q_DTYPE] = {"--q-dtype", OPTION_TEXT, "TYPE", "f32, f16 or bf16"},
    [ATTEND_KV_DTYPE] = {"--kv-dtype", OPTION_TEXT, "TYPE", "f32, f16, bf16, or quantized: int8, fp8_e4m3, int4, q8_0, q4_0"},
    [ATTEND_OUT_DTYPE] = {"--out-dtype", OPTION_TEXT, "TYPE", "f32, f16 or bf16: what the device stores; the file written is f4"},
    [ATTEND_K_SCALE] = {"--k-scale", OPTION_TEXT, "FILE", "int8, fp8_e4m3: static scales of K, f4 [K/V heads] or [1] (default: absmax/127, absmax/448 of each row)"},
    [ATTEND_V_SCALE] = {"--v-scale", OPTION_TEXT, "FILE", "those of V"},
    [ATTEND_SCALE_DTYPE] = {"--scale-dtype", OPTION_TEXT, "f32|f16", "int8, fp8_e4m3: how scales are stored (default f32)"},
    [ATTEND_SCALE_PER] = {"--scale-per", OPTION_TEXT, "head|token", "int8: a scale per token and head (default), or one per token"},

    [ATTEND_HEAD_PAGING] = {"Paging", OPTION_HEADING},
    [ATTEND_PAGE_SIZE] = {"--page-size", OPTION_COUNT, "P", "puts K/V into a pool of pages of P tokens first: a power of two from 1 to 256", 1, 256},
    [ATTEND_PAGE_ORDER] = {"--page-order", OPTION_TEXT, "ORDER", "shuffled (default) or linear: where in the pool the pages lie"},
    [ATTEND_KV_LAYOUT] = {"--kv-layout", OPTION_TEXT, "LAYOUT", "of the pool: nhd [pages,P,H,D] (default), hnd [pages,H,P,D], or interleaved [pages,P,K1 V1 K2 V2 ..,D]"},
    [ATTEND_APPEND] = {"--append", OPTION_FLAG, NULL, "K/V are converted and written by the device, as `rapt append` does (always so with --rope)"},
    [ATTEND_K_POOL] = {"--k-pool", OPTION_TEXT, "FILE", "a ready pool instead of --k (interleaved: of K and V both)"},
    [ATTEND_V_POOL] = {"--v-pool", OPTION_TEXT, "FILE", "a ready pool instead of --v"},
    [ATTEND_PAGE_INDPTR] = {"--page-indptr", OPTION_TEXT, "FILE", "where each sequence's pages start in --page-indices, u4 or i4 [B+1]"},
    [ATTEND_PAGE_INDICES] = {"--page-indices", OPTION_TEXT, "FILE", "page numbers, u4 or i4"},
    [ATTEND_LAST_PAGE_LEN] = {"--last-page-len", OPTION_TEXT, "FILE", "tokens in each sequence's last page, u4 or i4 [B]"},
    [ATTEND_SHARE_PREFIX] = {"--share-prefix", OPTION_FLAG, NULL, "pages that neighbours in the batch have in common are read once for all of them; prints what was found"},

    [ATTEND_HEAD_LOGITS] = {"Logits", OPTION_HEADING},
    [ATTEND_SCALE] = {"--scale", OPTION_NUMBER, "X", "of the dot products (default 1/sqrt(D))"},
    [ATTEND_SOFTCAP] = {"--softcap", OPTION_NUMBER, "X", "s becomes X*tanh(s/X)"},
    [ATTEND_ALIBI] = {"--alibi", OPTION_TEXT, "FILE", "slopes, f4 [H]"},
    [ATTEND_BIAS] = {"--bias", OPTION_TEXT, "FILE", "added to the logits of one sequence, f4 or f2 [q,kv] or [H,q,kv]"},
    [ATTEND_SINKS] = {"--sinks", OPTION_TEXT, "FILE", "a logit per head that joins the softmax and has no value, f4 [H]"},
    [ATTEND_MAX_LOGIT_CONST] = {"--max-logit-const", OPTION_NUMBER, "X", "a fixed number instead of the running maximum"},
    [ATTEND_UNNORMALISED] = {"--unnormalised", OPTION_FLAG, NULL, "the output is not divided by the sum of weights"},

    [ATTEND_HEAD_ROPE] = {"Rotary embedding", OPTION_HEADING},
    ROPE_OPTION_SPECS(ATTEND_ROPE),
    [ATTEND_ROPE_POS] = {"--rope-pos", OPTION_TEXT, "FILE", "where each query is rotated, i4 [total] (default: its position)"},
    [ATTEND_ROPE_KV_POS] = {"--rope-kv-pos", OPTION_TEXT, "FILE", "where each key is rotated, i4 [total] (default: its position)"},

    [ATTEND_HEAD_MASKS] = {"Masks", OPTION_HEADING},
    [ATTEND_MASK] = {"--mask", OPTION_TEXT, "EXPR", MASK_LANGUAGE},
    [ATTEND_CAUSAL] = {"--causal", OPTION_FLAG, NULL, "no key behind the query; joined to --mask by &"},
    [ATTEND_WINDOW] = {"--window", OPTION_TEXT, "L,R", "keys from L before the query to R behind it, -1 = no bound; joined by &"},
    MASK_OPTION_SPECS(ATTEND_PREFIX),

    [ATTEND_HEAD_KERNEL] = {"Kernel", OPTION_HEADING},
    [ATTEND_DEVICE] = {"--device", OPTION_TEXT, "N|NAME", "by number or part of a name, as `rapt info` lists them (default: the best)"},
    [ATTEND_PATH] = {"--path", OPTION_TEXT, "PATH", "auto, portable, coopmat, coopmat2, or reference: float64 on the host, no device needed"},
    [ATTEND_SPLITS] = {"--splits", OPTION_COUNT, "N", "split the keys of every sequence into N parts", 1, 65535},
    [ATTEND_FIXED_SPLIT] = {"--fixed-split", OPTION_COUNT, "N", "keys per part, a multiple of 8, whatever else is in the batch", 1, 1073741824},
    [ATTEND_BLOCK_Q] = {"--block-q", OPTION_COUNT, "N", "query rows per tile", 1, 65535},
    [ATTEND_BLOCK_KV] = {"--block-kv", OPTION_COUNT, "N", "keys per tile", 1, 65535},
    [ATTEND_SLICES] = {"--slices", OPTION_COUNT, "N", "record and submit the work in N parts", 1, 65535},
    [ATTEND_INTEGER_DOT] = {"--integer-dot", OPTION_TEXT, "CHOICE", "int8 and q8_0 keys times Q in 8-bit integers: auto (default), never or always; the error bound is then 1e-2"},
    [ATTEND_DISABLE] = {"--disable", OPTION_TEXT, "NAMES", "device features not to use: f16,subgroup,.. as `rapt info` names them"},

    [ATTEND_HEAD_CHECKING] = {"Checking", OPTION_HEADING},
    [ATTEND_CHECK] = {"--check", OPTION_FLAG, NULL, "compares with the float64 reference; exit 5 beyond the bound (files are written all the same)"},
    [ATTEND_CHECK_LIMIT] = {"--check-limit", OPTION_NUMBER, "E", "that bound: ||out - ref|| / ||ref|| (default: what the types and logits allow)"},

    [ATTEND_HEAD_TIMING] = {"Timing", OPTION_HEADING},
    [ATTEND_REPEAT] = {"--repeat", OPTION_COUNT, "N", "runs N times and prints the median device time, GFLOP/s and GB/s", 1, 1000000},
    [ATTEND_WARMUP] = {"--warmup", OPTION_COUNT, "N", "runs N times more before that", 0, 1000000},
    [ATTEND_JSON] = {"--json", OPTION_FLAG, NULL, "prints one JSON object instead of lines"},
};
/* clang-format on */

static int given(const struct attend *attend, enum attend_option option)
{
    return attend->values[option].given;
}

/* `option` makes sense only together with `with`. */
static int needs(const struct attend *attend, enum attend_option option, enum attend_option with)
{
    if (given(attend, option) && !given(attend, with))
        return cli_fail(CLI_USAGE, "%s needs %s", attend_options[option].name,
                        attend_options[with].name);
    return 0;
}

static int excludes(const struct attend *attend, enum attend_option a, enum attend_option b)
{
    if (given(attend, a) && given(attend, b))
        return cli_fail(CLI_USAGE, "%s and %s exclude each other", attend_options[a].name,
                        attend_options[b].name);
    return 0;
}

static int check_types(const struct attend *attend)
{
    static const enum attend_option options[] = {ATTEND_Q_DTYPE, ATTEND_KV_DTYPE, ATTEND_OUT_DTYPE};
    for (size_t i = 0; i < 3; i++) {
        if (!given(attend, options[i]))
            continue;
        const char *text = attend->values[options[i]].text;
        rapt_type type = rapt_type_parse(text);
        if (rapt_type_bytes(type) > 0)
            continue;
        if (options[i] == ATTEND_KV_DTYPE && type != RAPT_TYPE_DEFAULT)
            continue;
        return cli_fail(CLI_USAGE, "%s: '%s' is none of f32, f16, bf16%s",
                        attend_options[options[i]].name, text,
                        options[i] == ATTEND_KV_DTYPE ? ", int8, fp8_e4m3, int4, q8_0, q4_0" : "");
    }
    return 0;
}

static int check_paging(const struct attend *attend)
{
    static const char *const orders[] = {"shuffled", "linear", NULL};
    static const char *const layouts[] = {"nhd", "hnd", "interleaved", NULL};
    static const enum attend_option tables[] = {ATTEND_PAGE_INDPTR, ATTEND_PAGE_INDICES,
                                                ATTEND_LAST_PAGE_LEN};
    int pool = given(attend, ATTEND_K_POOL);
    uint64_t size = attend->values[ATTEND_PAGE_SIZE].count;
    if (given(attend, ATTEND_PAGE_ORDER) &&
        options_word("--page-order", attend->values[ATTEND_PAGE_ORDER].text, orders) < 0)
        return CLI_USAGE;
    int layout = 0;
    if (given(attend, ATTEND_KV_LAYOUT))
        layout = options_word("--kv-layout", attend->values[ATTEND_KV_LAYOUT].text, layouts);
    if (layout < 0)
        return CLI_USAGE;
    if (size & (size - 1))
        return cli_fail(CLI_USAGE, "--page-size: %u is not a power of two", (unsigned)size);
    for (size_t i = 0; i < 3; i++) {
        if (pool != given(attend, tables[i]))
            return cli_fail(CLI_USAGE, pool ? "--k-pool needs %s" : "%s needs --k-pool",
                            attend_options[tables[i]].name);
    }
    if (given(attend, ATTEND_V_POOL) && (!pool || layout == 2))
        return cli_fail(CLI_USAGE, !pool ? "--v-pool needs --k-pool"
                                         : "--v-pool: an interleaved pool holds V in --k-pool");
    if (pool && layout != 2 && !given(attend, ATTEND_V_POOL))
        return cli_fail(CLI_USAGE, "--k-pool needs --v-pool");
    if (given(attend, ATTEND_KV_LAYOUT) && !pool && !given(attend, ATTEND_PAGE_SIZE))
        return cli_fail(CLI_USAGE, "--kv-layout needs --page-size or --k-pool");
    if (pool && given(attend, ATTEND_PAGE_ORDER))
        return cli_fail(CLI_USAGE, "--page-order and --k-pool exclude each other");
    if (pool && given(attend, ATTEND_APPEND))
        return cli_fail(CLI_USAGE, "--append and --k-pool exclude each other");
    if (pool && given(attend, ATTEND_CU_KV))
        return cli_fail(CLI_USAGE,
                        "--cu-kv and --k-pool exclude each other: the page tables say the "
                        "lengths");
    /* What a cascade's merge does not know (cascade.h). */
    static const enum attend_option unshared[] = {ATTEND_BIAS, ATTEND_MAX_LOGIT,
                                                  ATTEND_UNNORMALISED};
    int code = needs(attend, ATTEND_SHARE_PREFIX, ATTEND_K_POOL);
    for (size_t i = 0; i < 3 && !code; i++)
        code = excludes(attend, ATTEND_SHARE_PREFIX, unshared[i]);
    return code ? code : needs(attend, ATTEND_PAGE_ORDER, ATTEND_PAGE_SIZE);
}

static int check_tensors(const struct attend *attend)
{
    static const char *const layouts[] = {"bshd", "bhsd", NULL};
    static const enum attend_option outputs[] = {ATTEND_OUT, ATTEND_LSE, ATTEND_MAX_LOGIT};
    int code = excludes(attend, ATTEND_K, ATTEND_K_POOL);
    code = code ? code : excludes(attend, ATTEND_V, ATTEND_K_POOL);
    if (code)
        return code;
    if (!given(attend, ATTEND_Q))
        return cli_fail(CLI_USAGE, "--q is missing (--help lists the options)");
    if (!given(attend, ATTEND_K_POOL) && (!given(attend, ATTEND_K) || !given(attend, ATTEND_V)))
        return cli_fail(CLI_USAGE, "%s is missing", given(attend, ATTEND_K) ? "--v" : "--k");
    if (given(attend, ATTEND_LAYOUT) &&
        options_word("--layout", attend->values[ATTEND_LAYOUT].text, layouts) < 0)
        return CLI_USAGE;
    for (int i = 0; i < 3; i++) {
        for (int j = i + 1; j < 3; j++) {
            if (given(attend, outputs[i]) && given(attend, outputs[j]) &&
                strcmp(attend->values[outputs[i]].text, attend->values[outputs[j]].text) == 0)
                return cli_fail(CLI_USAGE, "%s and %s name the same file",
                                attend_options[outputs[i]].name, attend_options[outputs[j]].name);
        }
    }
    return 0;
}

static int check_numbers(const struct attend *attend)
{
    /* The library reads 0 as "default", so a 0 that was typed would not do what it says. */
    const struct option_value *scale = &attend->values[ATTEND_SCALE];
    if (scale->given && (float)scale->number == 0)
        return cli_fail(CLI_USAGE, "--scale: 0 is no scale");
    const struct option_value *softcap = &attend->values[ATTEND_SOFTCAP];
    if (softcap->given && !((float)softcap->number > 0))
        return cli_fail(CLI_USAGE, "--softcap: '%s' is not above 0", softcap->text);
    const struct option_value *limit = &attend->values[ATTEND_CHECK_LIMIT];
    if (limit->given && !(limit->number >= 0))
        return cli_fail(CLI_USAGE, "--check-limit: '%s' is below 0", limit->text);
    return needs(attend, ATTEND_CHECK_LIMIT, ATTEND_CHECK);
}

int attend_options_check(struct attend *attend)
{
    static const char *const paths[] = {"auto",     "portable",  "coopmat",
                                        "coopmat2", "reference", NULL};
    int code = check_tensors(attend);
    code = code ? code : check_types(attend);
    code = code ? code : check_paging(attend);
    code = code ? code : check_numbers(attend);
    code = code ? code : attend_storage_check(attend);
    code = code ? code : excludes(attend, ATTEND_Q_POS, ATTEND_Q_POS0);
    if (code)
        return code;
    if (given(attend, ATTEND_PATH)) {
        int path = options_word("--path", attend->values[ATTEND_PATH].text, paths);
        if (path < 0)
            return CLI_USAGE;
        attend->path = (enum attend_path)path;
    }
    if (given(attend, ATTEND_DISABLE)) {
        rapt_features features;
        if (rapt_features_parse(attend->values[ATTEND_DISABLE].text, &features) != RAPT_OK)
            return cli_fail(CLI_USAGE, "--disable: %s", rapt_last_error());
    }
    return 0;
}
