/* SPDX-License-Identifier: Apache-2.0 */
/* `rapt mask`: the block table of a mask as counts and as a picture. No device. */
#include "canvas.h"
#include "cli.h"
#include "mask_case.h"
#include "mask_picture.h"
#include "output.h"

#include <cJSON.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    HEAD_MASK,
    EXPR,
    ARRAYS, /* the first of mask_options.h */
    HEAD_LENGTHS = ARRAYS + MASK_N_OPTIONS,
    Q,
    KV,
    Q_POS0,
    KV_POS0,
    HEADS,
    HEAD_TABLE,
    BLOCK_Q,
    BLOCK_KV,
    HEAD_OUTPUT,
    PNG,
    JSON,
    N_OPTIONS
};

#define MOST_TOKENS (1u << 24)

/* clang-format off */
static const struct option_spec specs[N_OPTIONS] = {
    [HEAD_MASK] = {"Mask (FILE is .npy, or FILE:NAME of safetensors)", OPTION_HEADING},
    [EXPR] = {"--expr", OPTION_TEXT, "EXPR", MASK_LANGUAGE},
    MASK_OPTION_SPECS(ARRAYS),
    [HEAD_LENGTHS] = {"Lengths of the one sequence", OPTION_HEADING},
    [Q] = {"--q", OPTION_COUNT, "N", "queries", 1, MOST_TOKENS},
    [KV] = {"--kv", OPTION_COUNT, "N", "keys (default: as many)", 1, MOST_TOKENS},
    [Q_POS0] = {"--q-pos0", OPTION_TEXT, "P", "position of the first query (default: the last query is where the last key is)"},
    [KV_POS0] = {"--kv-pos0", OPTION_TEXT, "P", "position of the first key (default 0)"},
    [HEADS] = {"--heads", OPTION_COUNT, "N", "query heads (default 1)", 1, 65535},
    [HEAD_TABLE] = {"Block table", OPTION_HEADING},
    [BLOCK_Q] = {"--block-q", OPTION_COUNT, "N", "queries of a block: a power of two from 16 to 256 (default 64)", 16, 256},
    [BLOCK_KV] = {"--block-kv", OPTION_COUNT, "N", "keys of a block, likewise", 16, 256},
    [HEAD_OUTPUT] = {"Output", OPTION_HEADING},
    [PNG] = {"--png", OPTION_TEXT, "FILE", "draws the table: full, partial and absent blocks, a map for each set of heads"},
    [JSON] = {"--json", OPTION_FLAG, NULL, "prints one JSON object instead of lines"},
};
/* clang-format on */

static const char help_head[] =
    "usage: rapt mask --expr EXPR --q N [--kv N] [--png FILE] [OPTIONS]\n"
    "\n"
    "Shows what attention under a mask has to compute: the blocks of keys that are listed for each "
    "block\n"
    "of queries. Full blocks are computed without a test, partial ones with a test per pair; what "
    "is not\n"
    "listed is neither loaded nor computed. The predicted speed-up is dense over listed pairs.\n";

static int read_positions(const struct option_value *values, struct mask_case *c)
{
    int code = 0;
    if (values[KV_POS0].given)
        code = options_integer("--kv-pos0", values[KV_POS0].text, &c->kv_pos0);
    if (code)
        return code;
    if (values[Q_POS0].given)
        return options_integer("--q-pos0", values[Q_POS0].text, &c->q_pos0);
    int64_t first = (int64_t)c->kv_pos0 + c->n_kv - c->n_q;
    if (first < INT32_MIN || first > INT32_MAX)
        return cli_fail(CLI_USAGE, "--kv-pos0: '%s': positions lie between -2^30 and 2^30",
                        values[KV_POS0].text);
    c->q_pos0 = (int32_t)first;
    return 0;
}

static int read_block(const struct option_value *values, int option, uint32_t *out_block)
{
    uint64_t block = values[option].given ? values[option].count : 64;
    *out_block = (uint32_t)block;
    if (block & (block - 1))
        return cli_fail(CLI_USAGE, "%s: %u is not a power of two", specs[option].name,
                        (unsigned)block);
    return 0;
}

static int read_arrays(const struct option_value *values, struct array *arrays)
{
    for (int i = 0; i < MASK_N_OPTIONS; i++) {
        uint32_t dtypes = mask_option_dtypes((enum mask_option)i);
        if (!dtypes || !values[ARRAYS + i].given)
            continue;
        int code = array_read(specs[ARRAYS + i].name, values[ARRAYS + i].text, dtypes, &arrays[i]);
        if (code)
            return code;
    }
    return 0;
}

static int read_case(const struct option_value *values, struct array *arrays, struct mask_case *c)
{
    uint32_t block_q, block_kv;
    if (!values[EXPR].given && !values[ARRAYS + MASK_HEAD].given)
        return cli_fail(CLI_USAGE, "--expr is missing (--help lists the options)");
    if (!values[Q].given)
        return cli_fail(CLI_USAGE, "--q is missing");
    c->expression = values[EXPR].text;
    c->n_q = (uint32_t)values[Q].count;
    c->n_kv = values[KV].given ? (uint32_t)values[KV].count : c->n_q;
    c->n_heads = values[HEADS].given ? (uint32_t)values[HEADS].count : 1;
    c->cu_q[1] = (int32_t)c->n_q;
    c->cu_kv[1] = (int32_t)c->n_kv;
    int code = read_positions(values, c);
    code = code ? code : read_block(values, BLOCK_Q, &block_q);
    code = code ? code : read_block(values, BLOCK_KV, &block_kv);
    if (!code && c->expression)
        code = mask_parse("--expr", c->expression, &c->mask);
    code = code ? code : read_arrays(values, arrays);
    if (code)
        return code;
    const struct mask_lengths lengths = {1, c->n_heads, c->cu_q, c->cu_kv};
    code = mask_read(specs + ARRAYS, values + ARRAYS, arrays, &lengths, c->mask, &c->input);
    return code ? code : mask_case_build(c, block_q, block_kv);
}

/* --------------------------------------------------------------------------------------- results
 */

static double percent(uint64_t part, uint64_t whole)
{
    return whole ? 100 * (double)part / (double)whole : 0;
}

static void print_lines(const struct mask_case *c)
{
    const rapt_block_table_view *view = &c->view;
    struct mask_counts all = mask_case_count(c);
    char heads[128], text[64];
    printf("%u queries from position %d, %u keys from %d, %u head%s: %s\n", c->n_q, c->q_pos0,
           c->n_kv, c->kv_pos0, c->n_heads, c->n_heads == 1 ? "" : "s",
           c->expression ? c->expression : "full, but for heads with masks of their own");
    uint64_t n_blocks = (uint64_t)view->n_rows * ((c->n_kv + view->block_kv - 1) / view->block_kv);
    for (uint32_t set = 0; set < view->n_sets; set++) {
        struct mask_counts one = mask_case_count_set(c, set);
        if (view->n_sets > 1)
            printf("%s: ", mask_case_heads(c, set, heads, sizeof heads));
        printf("%llu of %llu blocks of %u x %u listed, %llu full, %llu partial\n",
               (unsigned long long)one.n_listed, (unsigned long long)n_blocks, view->block_q,
               view->block_kv, (unsigned long long)one.n_full, (unsigned long long)one.n_partial);
    }
    printf("pairs of all heads: %llu dense, %llu listed (%.3g %%), %llu allowed (%.3g %%)\n",
           (unsigned long long)all.dense_pairs, (unsigned long long)all.listed_pairs,
           percent(all.listed_pairs, all.dense_pairs), (unsigned long long)all.allowed_pairs,
           percent(all.allowed_pairs, all.dense_pairs));
    printf("bit tiles: %u, %s\n", view->n_tiles,
           cli_format_bytes(4.0 * view->n_tiles * view->tile_words, text, sizeof text));
    if (view->closed)
        printf("one interval of keys per query: kernels need no table for it\n");
    else
        printf("table built in %s\n", cli_format_seconds(c->seconds, text, sizeof text));
    if (all.listed_pairs)
        printf("predicted speed-up: %.4g x\n", (double)all.dense_pairs / (double)all.listed_pairs);
    else
        printf("predicted speed-up: nothing is listed\n");
}

static void put(cJSON *object, const char *name, double value)
{
    cJSON_AddNumberToObject(object, name, value);
}

static void put_counts(cJSON *object, const struct mask_counts *counts)
{
    put(object, "listed", (double)counts->n_listed);
    put(object, "full", (double)counts->n_full);
    put(object, "partial", (double)counts->n_partial);
    put(object, "partial_with_bits", (double)counts->n_bits);
    put(object, "dense_pairs", (double)counts->dense_pairs);
    put(object, "listed_pairs", (double)counts->listed_pairs);
    put(object, "allowed_pairs", (double)counts->allowed_pairs);
}

static cJSON *build_json(const struct mask_case *c)
{
    const rapt_block_table_view *view = &c->view;
    struct mask_counts all = mask_case_count(c);
    uint32_t n_columns = (c->n_kv + view->block_kv - 1) / view->block_kv;
    cJSON *json = cJSON_CreateObject();
    if (c->expression)
        cJSON_AddStringToObject(json, "expr", c->expression);
    else
        cJSON_AddNullToObject(json, "expr");
    put(json, "q", c->n_q);
    put(json, "kv", c->n_kv);
    put(json, "q_pos0", c->q_pos0);
    put(json, "kv_pos0", c->kv_pos0);
    put(json, "heads", c->n_heads);
    put(json, "block_q", view->block_q);
    put(json, "block_kv", view->block_kv);
    put(json, "query_blocks", view->n_rows);
    put(json, "key_blocks", n_columns);
    cJSON_AddBoolToObject(json, "needs_table", !view->closed);
    put(json, "build_seconds", c->seconds);
    put(json, "bit_tiles", view->n_tiles);
    put(json, "bit_tile_bytes", 4.0 * view->n_tiles * view->tile_words);
    cJSON *sets = cJSON_AddArrayToObject(json, "sets");
    for (uint32_t set = 0; set < view->n_sets; set++) {
        struct mask_counts one = mask_case_count_set(c, set);
        cJSON *object = cJSON_CreateObject(), *heads = cJSON_AddArrayToObject(object, "heads");
        cJSON_AddItemToArray(sets, object);
        for (uint32_t h = 0; h < c->n_heads; h++) {
            if (view->head_set[h] == set)
                cJSON_AddItemToArray(heads, cJSON_CreateNumber(h));
        }
        put_counts(object, &one);
        put(object, "empty", (double)view->n_rows * n_columns - (double)one.n_listed);
    }
    cJSON *total = cJSON_AddObjectToObject(json, "all_heads");
    put_counts(total, &all);
    if (all.listed_pairs)
        put(json, "predicted_speedup", (double)all.dense_pairs / (double)all.listed_pairs);
    else
        cJSON_AddNullToObject(json, "predicted_speedup");
    return json;
}

static int print_json(const struct mask_case *c)
{
    cJSON *json = build_json(c);
    int code = output_json(json, NULL, NULL);
    cJSON_Delete(json);
    return code;
}

static int show(const struct option_value *values, struct mask_case *c)
{
    int code = 0;
    if (values[JSON].given)
        code = print_json(c);
    else
        print_lines(c);
    if (!code && values[PNG].given)
        code = mask_picture_write(c, "--png", values[PNG].text);
    return code;
}

int mask_main(int argc, char **argv)
{
    struct option_value values[N_OPTIONS];
    struct array arrays[MASK_N_OPTIONS];
    struct mask_case c;
    memset(arrays, 0, sizeof arrays);
    memset(&c, 0, sizeof c);
    int code = options_parse(specs, N_OPTIONS, argc, argv, values);
    if (code == OPTIONS_HELP) {
        options_help(help_head, specs, N_OPTIONS);
        code = CLI_DONE;
    } else if (!code) {
        if (values[PNG].given)
            code = canvas_available() ? output_probe("--png", values[PNG].text)
                                      : canvas_missing("--png", values[PNG].text);
        code = code ? code : read_case(values, arrays, &c);
        code = code ? code : show(values, &c);
    }
    mask_case_finish(&c);
    for (int i = 0; i < MASK_N_OPTIONS; i++)
        array_finish(&arrays[i]);
    options_finish(values, N_OPTIONS);
    return code;
}
