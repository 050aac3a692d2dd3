/* SPDX-License-Identifier: Apache-2.0 */
#include "mask_options.h"

#include "cli.h"

#include <stdlib.h>
#include <string.h>

/* What is being read, kept together. */
struct reader {
    const struct option_spec *specs;
    const struct option_value *values;
    const struct array *arrays;
    const struct mask_lengths *lengths;
    struct mask_input *input;
};

uint32_t mask_option_dtypes(enum mask_option option)
{
    switch (option) {
    case MASK_PREFIX:
    case MASK_SEGMENTS_Q:
    case MASK_SEGMENTS_KV:
    case MASK_PARENTS:
        return ARRAY_IS(ARRAY_I4);
    case MASK_BIDIRECTIONAL:
    case MASK_BITMAP:
    case MASK_BLOCKS:
        return ARRAY_IS(ARRAY_U1) | ARRAY_IS(ARRAY_B1);
    default:
        return 0;
    }
}

int mask_parse(const char *name, const char *text, rapt_mask **out_mask)
{
    rapt_status status = rapt_mask_parse(NULL, text, NULL, out_mask);
    if (status == RAPT_OK)
        return 0;
    return cli_fail(cli_exit_code(status) == CLI_DEVICE ? CLI_DEVICE : CLI_USAGE, "%s: %s", name,
                    rapt_last_error());
}

/* "--bitmap B.npy has the shape [2, 3]: WHAT" */
static int fail_shape(const struct reader *reader, enum mask_option option, const char *what)
{
    char shape[192];
    return cli_fail(CLI_USAGE, "%s %s has the shape %s: %s", reader->specs[option].name,
                    reader->values[option].text,
                    array_shape_text(&reader->arrays[option], shape, sizeof shape), what);
}

/* -------------------------------------------------------------------------------- masks of heads
 */

/* "h7" or "7"; NULL if there is none at `at`, else what follows it. */
static const char *parse_head(const char *at, uint64_t *out_head)
{
    at += strspn(at, " ");
    at += *at == 'h';
    size_t length = strspn(at, "0123456789");
    if (length == 0 || length > 9)
        return NULL;
    *out_head = strtoull(at, NULL, 10);
    at += length;
    return at + strspn(at, " ");
}

/* "h0: EXPR", "h0-h3: EXPR"; *out_rest is what follows the colon. */
static int parse_heads(const char *text, const char **out_rest, uint64_t *out_first,
                       uint64_t *out_last)
{
    const char *at = parse_head(text, out_first);
    *out_last = *out_first;
    if (at && *at == '-')
        at = parse_head(at + 1, out_last);
    if (!at || *at != ':')
        return cli_fail(CLI_USAGE, "--mask-head: '%s' is not 'h0: EXPR' or 'h0-h3: EXPR'", text);
    *out_rest = at + 1;
    return 0;
}

/* Columns in messages are those of what the user typed: the heads become blanks. */
static int parse_behind(const char *text, const char *rest, rapt_mask **out_mask)
{
    char *blanked = malloc(strlen(text) + 1);
    if (!blanked)
        return cli_fail(CLI_DEVICE, "out of memory");
    memset(blanked, ' ', (size_t)(rest - text));
    strcpy(blanked + (rest - text), rest);
    int code = mask_parse("--mask-head", blanked, out_mask);
    free(blanked);
    return code;
}

static int read_heads(const struct reader *reader)
{
    const struct option_value *value = &reader->values[MASK_HEAD];
    struct mask_input *input = reader->input;
    uint32_t n_heads = reader->lengths->n_q_heads;
    if (!value->given)
        return 0;
    input->heads = calloc(n_heads, sizeof *input->heads);
    input->owned = calloc((size_t)value->count, sizeof *input->owned);
    input->texts = calloc(n_heads, sizeof *input->texts);
    if (!input->heads || !input->owned || !input->texts)
        return cli_fail(CLI_DEVICE, "out of memory");
    for (uint64_t i = 0; i < value->count; i++) {
        const char *rest = NULL;
        uint64_t first = 0, last = 0;
        int code = parse_heads(value->texts[i], &rest, &first, &last);
        code = code ? code : parse_behind(value->texts[i], rest, &input->owned[i]);
        if (code)
            return code;
        input->n_owned++;
        if (first > last || last >= n_heads)
            return cli_fail(CLI_USAGE, "--mask-head: h%llu-h%llu: there are heads h0 to h%u",
                            (unsigned long long)first, (unsigned long long)last, n_heads - 1);
        for (uint64_t h = first; h <= last; h++) {
            if (input->heads[h])
                return cli_fail(CLI_USAGE, "--mask-head: head h%llu has two masks",
                                (unsigned long long)h);
            input->heads[h] = input->owned[i];
            input->texts[h] = rest + strspn(rest, " ");
        }
    }
    return 0;
}

/* ---------------------------------------------------------------------------------------- arrays
 */

static const struct {
    uint32_t need;
    const char *leaf;
    enum mask_option options[2]; /* equal = one */
} leaves[] = {
    {RAPT_MASK_NEEDS_PREFIX, "prefix", {MASK_PREFIX, MASK_PREFIX}},
    {RAPT_MASK_NEEDS_SEGMENTS, "segments", {MASK_SEGMENTS_Q, MASK_SEGMENTS_KV}},
    {RAPT_MASK_NEEDS_BIDIRECTIONAL, "bidirectional", {MASK_BIDIRECTIONAL, MASK_BIDIRECTIONAL}},
    {RAPT_MASK_NEEDS_BITMAP, "bitmap", {MASK_BITMAP, MASK_BITMAP}},
    {RAPT_MASK_NEEDS_BLOCKS, "blocks", {MASK_BLOCKS, MASK_BLOCK_SHAPE}},
    {RAPT_MASK_NEEDS_PARENTS, "tree", {MASK_PARENTS, MASK_PARENTS}},
};

/* Every array that is mentioned is there, and no other. */
static int check_needs(const struct reader *reader, const rapt_mask *mask)
{
    uint32_t needs = mask ? rapt_mask_needs(mask) : 0;
    for (uint64_t i = 0; i < reader->input->n_owned; i++)
        needs |= rapt_mask_needs(reader->input->owned[i]);
    for (size_t i = 0; i < sizeof leaves / sizeof *leaves; i++) {
        for (int k = 0; k < 2; k++) {
            enum mask_option option = leaves[i].options[k];
            int given = reader->values[option].given, needed = (needs & leaves[i].need) != 0;
            if (given && !needed)
                return cli_fail(CLI_USAGE, "%s: the mask does not mention `%s`",
                                reader->specs[option].name, leaves[i].leaf);
            if (needed && !given)
                return cli_fail(CLI_USAGE, "the mask mentions `%s`: %s is missing", leaves[i].leaf,
                                reader->specs[option].name);
        }
    }
    return 0;
}

/* One number per query, key or sequence. */
static int read_row(const struct reader *reader, enum mask_option option, int64_t n,
                    const char *what, const void **out_data)
{
    const struct array *array = &reader->arrays[option];
    if (!reader->values[option].given)
        return 0;
    if (array->rank != 1 || n < 0 || array->n_elements != (uint64_t)n) {
        char text[96];
        snprintf(text, sizeof text, "expected one number per %s, [%lld]", what, (long long)n);
        return fail_shape(reader, option, text);
    }
    *out_data = array->data;
    return 0;
}

/* [q, kv] or [Hq, q, kv] of one sequence, a byte each, to bits. */
static int read_bitmap(const struct reader *reader)
{
    const struct array *array = &reader->arrays[MASK_BITMAP];
    const struct mask_lengths *lengths = reader->lengths;
    rapt_mask_data *data = &reader->input->data;
    if (!reader->values[MASK_BITMAP].given)
        return 0;
    if (lengths->n_seqs != 1)
        return cli_fail(CLI_USAGE, "--bitmap is for one sequence, the batch has %u",
                        lengths->n_seqs);
    uint64_t n_q = (uint64_t)lengths->cu_q[1], n_kv = (uint64_t)lengths->cu_kv[1];
    uint64_t n_heads = array->rank == 3 ? array->shape[0] : 1;
    const uint64_t *shape = array->shape + (array->rank == 3 ? 1 : 0);
    if (array->rank < 2 || array->rank > 3 || shape[0] != n_q || shape[1] != n_kv ||
        (array->rank == 3 && n_heads != lengths->n_q_heads)) {
        char what[128];
        snprintf(what, sizeof what, "expected [%llu, %llu] or [%u, %llu, %llu]",
                 (unsigned long long)n_q, (unsigned long long)n_kv, lengths->n_q_heads,
                 (unsigned long long)n_q, (unsigned long long)n_kv);
        return fail_shape(reader, MASK_BITMAP, what);
    }
    uint64_t n = array->n_elements, n_bytes = n / 8 + 1;
    reader->input->bits = n_bytes < SIZE_MAX ? calloc((size_t)n_bytes, 1) : NULL;
    if (!reader->input->bits)
        return cli_fail(CLI_DEVICE, "there is no memory for %llu bits", (unsigned long long)n);
    const uint8_t *bytes = array->data;
    for (uint64_t i = 0; i < n; i++)
        reader->input->bits[i / 8] |= (uint8_t)((bytes[i] != 0) << (i % 8));
    data->bitmap = reader->input->bits;
    data->bitmap_bits = n;
    data->bitmap_row_stride = n_kv;
    data->bitmap_head_stride = n_heads > 1 ? n_q * n_kv : 0;
    return 0;
}

static int read_blocks(const struct reader *reader)
{
    const struct array *array = &reader->arrays[MASK_BLOCKS];
    uint32_t n_heads = reader->lengths->n_q_heads;
    rapt_mask_data *data = &reader->input->data;
    int32_t block_q, block_kv;
    if (!reader->values[MASK_BLOCKS].given)
        return 0;
    const char *text = reader->values[MASK_BLOCK_SHAPE].text;
    int code = options_pair("--block-shape", text, &block_q, &block_kv);
    if (code)
        return code;
    if (block_q < 1 || block_kv < 1)
        return cli_fail(CLI_USAGE,
                        "--block-shape: '%s': a block has one position and more each way", text);
    const uint64_t *shape = array->shape + (array->rank == 3 ? 1 : 0);
    uint64_t n_maps = array->rank == 3 ? array->shape[0] : 1;
    if (array->rank < 2 || array->rank > 3 || array->n_elements == 0 ||
        (n_maps != 1 && n_maps != n_heads) || shape[0] > UINT32_MAX || shape[1] > UINT32_MAX) {
        char what[96];
        snprintf(what, sizeof what, "expected [nQ,nK], [1,nQ,nK] or [%u,nQ,nK]", n_heads);
        return fail_shape(reader, MASK_BLOCKS, what);
    }
    data->blocks = array->data;
    data->n_block_heads = (uint32_t)n_maps;
    data->n_q_blocks = (uint32_t)shape[0];
    data->n_k_blocks = (uint32_t)shape[1];
    data->map_block_q = (uint32_t)block_q;
    data->map_block_kv = (uint32_t)block_kv;
    return 0;
}

/* One sequence may have more nodes than queries: all of its tree's. */
static int read_parents(const struct reader *reader, int64_t total_q)
{
    const struct array *array = &reader->arrays[MASK_PARENTS];
    struct mask_input *input = reader->input;
    int one = reader->lengths->n_seqs == 1 && array->rank == 1 && array->n_elements <= INT32_MAX;
    const void *parents = NULL;
    int code = read_row(reader, MASK_PARENTS, one ? (int64_t)array->n_elements : total_q,
                        "query token", &parents);
    if (code || !parents)
        return code;
    input->data.parents = parents;
    if (one && (int64_t)array->n_elements != total_q) {
        input->tree_indptr[1] = (int32_t)array->n_elements;
        input->data.tree_indptr = input->tree_indptr;
    }
    return 0;
}

int mask_read(const struct option_spec *specs, const struct option_value *values,
              const struct array *arrays, const struct mask_lengths *lengths, const rapt_mask *mask,
              struct mask_input *input)
{
    const struct reader reader = {specs, values, arrays, lengths, input};
    const void *prefix = NULL, *q = NULL, *kv = NULL, *flags = NULL;
    int64_t total_q = lengths->cu_q[lengths->n_seqs], total_kv = lengths->cu_kv[lengths->n_seqs];
    memset(input, 0, sizeof *input);
    input->data.struct_size = sizeof input->data;
    int code = read_heads(&reader);
    code = code ? code : check_needs(&reader, mask);
    if (!code && values[MASK_BLOCK_SHAPE].given && !values[MASK_BLOCKS].given)
        code = cli_fail(CLI_USAGE, "--block-shape needs --blocks");
    code = code ? code : read_row(&reader, MASK_PREFIX, lengths->n_seqs, "sequence", &prefix);
    code = code ? code : read_row(&reader, MASK_SEGMENTS_Q, total_q, "query token", &q);
    code = code ? code : read_row(&reader, MASK_SEGMENTS_KV, total_kv, "key", &kv);
    code = code ? code : read_row(&reader, MASK_BIDIRECTIONAL, total_kv, "key", &flags);
    code = code ? code : read_bitmap(&reader);
    code = code ? code : read_blocks(&reader);
    code = code ? code : read_parents(&reader, total_q);
    input->data.prefix = prefix;
    input->data.segments_q = q;
    input->data.segments_kv = kv;
    input->data.bidirectional = flags;
    return code;
}

void mask_finish(struct mask_input *input)
{
    for (uint64_t i = 0; i < input->n_owned; i++)
        rapt_mask_destroy(&input->owned[i]);
    free(input->owned);
    free(input->heads);
    free(input->texts);
    free(input->bits);
    memset(input, 0, sizeof *input);
}
