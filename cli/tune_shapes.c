/* SPDX-License-Identifier: Apache-2.0 */
#include "cli.h"
#include "tune.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Head dims of models people run, kinds of K/V by what they cost to read. */
static const char built_in[] = "prefill f16 32/8 128 512 1024 16\n"
                               "prefill bf16 32/8 128 512 1024 16\n"
                               "prefill f16 16/8 256 512 1024 16\n"
                               "prefill f16 16/16 64 512 1024 16\n"
                               "prefill int8 32/8 128 512 1024 16\n"
                               "prefill q8_0 32/8 128 512 1024 16\n"
                               "decode f16 32/8 128 8 4096 16\n"
                               "decode bf16 32/8 128 8 4096 16\n"
                               "decode f16 16/8 256 8 4096 16\n"
                               "decode f16 16/16 64 8 4096 16\n"
                               "decode int8 32/8 128 8 4096 16\n"
                               "decode q8_0 32/8 128 8 4096 16\n"
                               "speculate f16 32/8 128 8 4096 16\n"
                               "speculate int8 32/8 128 8 4096 16\n";

#define SPECULATED 4 /* query tokens of a sequence */

/* "A" or "A/B" of whole numbers from 1; B = A where it is missing. */
static int read_pair(const char *word, uint32_t *out_a, uint32_t *out_b)
{
    unsigned a = 0, b = 0;
    int n = 0, m = 0;
    if (sscanf(word, "%6u%n/%6u%n", &a, &n, &b, &m) < 1 || a == 0)
        return 0;
    if (word[n] == 0)
        b = a;
    else if (m == 0 || word[m] != 0 || b == 0)
        return 0;
    *out_a = a;
    *out_b = b;
    return 1;
}

/* What is wrong with the line; NULL and a shape otherwise. */
static const char *read_shape(const char *line, struct tune_shape *shape)
{
    char op[16], type[16], heads[24], dims[24], rest[2] = "";
    unsigned n = 0, keys = 0, page = 0;
    struct case_spec *spec = &shape->spec;
    memset(shape, 0, sizeof *shape);
    int n_words = sscanf(line, "%15s %15s %23s %23s %9u %9u %9u %1s", op, type, heads, dims, &n,
                         &keys, &page, rest);
    if (n_words != 6 && n_words != 7)
        return "expected OP TYPE HEADS DIMS COUNT KEYS [PAGE]";
    static const char *const uses[] = {"prefill", "decode", "speculate"};
    int use = 0;
    while (use < 3 && strcmp(op, uses[use]) != 0)
        use++;
    if (use == 3)
        return "the first word is none of prefill, decode, speculate";
    shape->use = (enum tune_use)use;
    int is_prefill = shape->use == TUNE_PREFILL;
    spec->kv_type = rapt_type_parse(type);
    if (spec->kv_type == RAPT_TYPE_DEFAULT)
        return "the second word is no type of K/V";
    if (!read_pair(heads, &spec->n_q_heads, &spec->n_kv_heads) || spec->n_q_heads > 1024 ||
        spec->n_q_heads % spec->n_kv_heads != 0)
        return "the heads are not QUERY/KV, up to 1024, the first a multiple of the second";
    if (!read_pair(dims, &spec->head_dim, &spec->head_dim_v))
        return "the head dims are not D or D/DV";
    if (n == 0 || n > (is_prefill ? 65536u : CASE_MAX_SEQS))
        return is_prefill ? "expected 1 to 65536 queries" : "expected 1 to 8 sequences";
    if (keys == 0 || keys > (1u << 20) || (is_prefill && keys < n))
        return "expected up to 1048576 keys, and no fewer than queries";
    int is_float = spec->kv_type == RAPT_TYPE_F32 || spec->kv_type == RAPT_TYPE_BF16;
    spec->q_type = is_float ? spec->kv_type : RAPT_TYPE_F16;
    spec->page_size = page;
    spec->n_seqs = is_prefill ? 1 : n;
    for (uint32_t b = 0; b < spec->n_seqs; b++) {
        spec->q_len[b] = is_prefill ? (int32_t)n : shape->use == TUNE_DECODE ? 1 : SPECULATED;
        spec->kv_len[b] = (int32_t)keys;
    }
    spec->mask = "causal";
    spec->check_rows = 256;
    snprintf(shape->name, sizeof shape->name, "%s %s %s heads of %s, %u %s, %u keys%s", op, type,
             heads, dims, n, is_prefill ? "queries" : "sequences", keys, page ? ", paged" : "");
    spec->name = shape->name;
    return NULL;
}

static int add_line(const char *where, int number, char *line, struct tune_shape *shapes,
                    size_t *inout_n)
{
    line[strcspn(line, "#\r\n")] = 0;
    if (line[strspn(line, " \t")] == 0)
        return 0;
    if (*inout_n == TUNE_MAX_SHAPES)
        return cli_fail(CLI_USAGE, "%s:%d: more than %d shapes", where, number, TUNE_MAX_SHAPES);
    const char *wrong = read_shape(line, &shapes[*inout_n]);
    if (wrong)
        return cli_fail(CLI_USAGE, "%s:%d: '%s': %s", where, number, line, wrong);
    ++*inout_n;
    return 0;
}

int tune_read_shapes(const char *path, struct tune_shape *shapes, size_t *out_n)
{
    char line[256];
    int code = 0, number = 1;
    *out_n = 0;
    if (!path) {
        for (const char *at = built_in; *at && !code; at += strcspn(at, "\n") + 1) {
            size_t length = strcspn(at, "\n");
            memcpy(line, at, length); /* built-in lines are short */
            line[length] = 0;
            code = add_line("built in", number++, line, shapes, out_n);
        }
        return code;
    }
    FILE *file = fopen(path, "r");
    if (!file)
        return cli_fail(CLI_USAGE, "--shapes: %s: %s", path, strerror(errno));
    for (; !code && fgets(line, sizeof line, file); number++) {
        if (!strchr(line, '\n') && !feof(file))
            code = cli_fail(CLI_USAGE, "%s:%d: a line of more than 254 characters", path, number);
        else
            code = add_line(path, number, line, shapes, out_n);
    }
    if (!code && ferror(file))
        code = cli_fail(CLI_USAGE, "--shapes: %s cannot be read", path);
    fclose(file);
    if (!code && *out_n == 0)
        code = cli_fail(CLI_USAGE, "--shapes: %s has no shapes", path);
    return code;
}
