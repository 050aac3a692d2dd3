/* SPDX-License-Identifier: Apache-2.0 */
#include "rope_options.h"

#include "cli.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* "A,B,.." as `least` to `most` numbers. 0 or CLI_USAGE. */
static int parse_numbers(const char *name, const char *text, int least, int most, double *out,
                         int *out_n)
{
    const char *at = text;
    int n = 0;
    for (;; at++) {
        char *end = NULL;
        int plain = *at && strchr("0123456789+-.", *at) != NULL;
        double number = plain ? strtod(at, &end) : NAN;
        if (!plain || end == at || n == most || !isfinite(number))
            return cli_fail(CLI_USAGE, "%s: '%s' is not %d%s numbers with commas between", name,
                            text, least, least == most ? "" : " or more");
        out[n++] = number;
        at = end;
        if (*at != ',')
            break;
    }
    *out_n = n;
    if (*at || n < least || (n != least && n != most))
        return cli_fail(CLI_USAGE, "%s: '%s' is not %d%s numbers with commas between", name, text,
                        least, least == most ? "" : " or more");
    return 0;
}

int rope_check(const struct option_spec *specs, const struct option_value *values)
{
    static const char *const pairings[] = {"neox", "gptj", NULL};
    static const enum rope_option instead_of_table[] = {ROPE_THETA, ROPE_SCALE, ROPE_FACTOR,
                                                        ROPE_LLAMA3, ROPE_YARN};
    static const enum rope_option scales[] = {ROPE_SCALE, ROPE_LLAMA3, ROPE_YARN};
    for (int i = ROPE_PAIRING + 1; i < ROPE_N_OPTIONS; i++) {
        if (values[i].given && !values[ROPE_PAIRING].given)
            return cli_fail(CLI_USAGE, "%s needs --rope", specs[i].name);
    }
    if (!values[ROPE_PAIRING].given)
        return 0;
    if (options_word("--rope", values[ROPE_PAIRING].text, pairings) < 0)
        return CLI_USAGE;
    for (size_t i = 0; i < sizeof instead_of_table / sizeof *instead_of_table; i++) {
        if (values[ROPE_TABLE].given && values[instead_of_table[i]].given)
            return cli_fail(CLI_USAGE, "--rope-table and %s exclude each other",
                            specs[instead_of_table[i]].name);
    }
    for (int i = 0; i < 3; i++) {
        for (int j = i + 1; j < 3; j++) {
            if (values[scales[i]].given && values[scales[j]].given)
                return cli_fail(CLI_USAGE, "%s and %s exclude each other", specs[scales[i]].name,
                                specs[scales[j]].name);
        }
    }
    /* The library reads 0 as "default", so a 0 that was typed would not do what it says. */
    if (values[ROPE_THETA].given && !((float)values[ROPE_THETA].number > 0))
        return cli_fail(CLI_USAGE, "--rope-theta: '%s' is not above 0", values[ROPE_THETA].text);
    if (values[ROPE_FACTOR].given && (float)values[ROPE_FACTOR].number == 0)
        return cli_fail(CLI_USAGE, "--rope-factor: 0 is no factor");
    return 0;
}

static int scale_by_formula(const struct option_value *values, uint32_t dim,
                            struct rope_input *input)
{
    double number[4] = {0};
    int n = 0, yarn = values[ROPE_YARN].given;
    const char *name = yarn ? "--rope-yarn" : "--rope-llama3";
    const char *text = values[yarn ? ROPE_YARN : ROPE_LLAMA3].text;
    int code = parse_numbers(name, text, yarn ? 2 : 4, 4, number, &n);
    if (code)
        return code;
    double context = number[yarn ? 1 : 3];
    if (!(context >= 1 && context <= UINT32_MAX) || context != floor(context))
        return cli_fail(CLI_USAGE, "%s: the original context is %g: a whole number of tokens", name,
                        context);
    /* One element more than there may be: an absurd --rope-dim is refused by the library. */
    input->made_scale = calloc((size_t)dim / 2 + 1, sizeof *input->made_scale);
    if (!input->made_scale)
        return cli_fail(CLI_DEVICE, "out of memory");
    rapt_status status;
    float theta = input->rope.theta, factor = (float)number[0];
    if (yarn)
        status =
            rapt_rope_yarn(dim, theta, factor, (float)number[2], (float)number[3],
                           (uint32_t)context, input->made_scale, &input->rope.attention_factor);
    else
        status = rapt_rope_llama3(dim, theta, factor, (float)number[1], (float)number[2],
                                  (uint32_t)context, input->made_scale);
    input->rope.frequency_scale = input->made_scale;
    return status ? cli_fail(CLI_USAGE, "%s: %s", name, rapt_last_error()) : 0;
}

static int read_table(const struct option_value *values, uint32_t dim, struct rope_input *input)
{
    char shape[192];
    struct array *table = &input->table;
    int code = array_read("--rope-table", values[ROPE_TABLE].text, ARRAY_IS(ARRAY_F4), table);
    if (code)
        return code;
    if (table->rank != 2 || table->shape[1] != dim || table->shape[0] == 0 ||
        table->shape[0] > INT32_MAX)
        return cli_fail(CLI_USAGE, "--rope-table %s has the shape %s: expected [positions, %u]",
                        values[ROPE_TABLE].text, array_shape_text(table, shape, sizeof shape), dim);
    input->rope.table = table->data;
    input->rope.n_table_positions = (uint32_t)table->shape[0];
    return 0;
}

static int read_scale(const struct option_value *values, uint32_t dim, struct rope_input *input)
{
    char shape[192];
    struct array *scale = &input->scale;
    int code = array_read("--rope-scale", values[ROPE_SCALE].text, ARRAY_IS(ARRAY_F4), scale);
    if (code)
        return code;
    if (scale->rank != 1 || scale->n_elements != dim / 2)
        return cli_fail(CLI_USAGE, "--rope-scale %s has the shape %s: expected [%u]",
                        values[ROPE_SCALE].text, array_shape_text(scale, shape, sizeof shape),
                        dim / 2);
    input->rope.frequency_scale = scale->data;
    return 0;
}

int rope_read(const struct option_spec *specs, const struct option_value *values, uint32_t head_dim,
              struct rope_input *out_input)
{
    (void)specs;
    if (!values[ROPE_PAIRING].given)
        return 0;
    rapt_rope *rope = &out_input->rope;
    rope->struct_size = sizeof *rope;
    rope->pairing =
        strcmp(values[ROPE_PAIRING].text, "gptj") == 0 ? RAPT_ROPE_GPTJ : RAPT_ROPE_NEOX;
    rope->rotary_dim = (uint32_t)values[ROPE_DIM].count;
    rope->rotary_offset = (uint32_t)values[ROPE_OFFSET].count;
    rope->theta = (float)values[ROPE_THETA].number;
    uint32_t dim = rope->rotary_dim;
    if (dim == 0)
        dim = head_dim > rope->rotary_offset ? head_dim - rope->rotary_offset : 0;
    rope->rotary_dim = dim;
    if (dim == 0 || dim % 2 || rope->rotary_offset + dim > head_dim)
        return cli_fail(CLI_USAGE,
                        "--rope-dim is %u and --rope-offset %u: an even number of the head's %u "
                        "dims is rotated",
                        dim, rope->rotary_offset, head_dim);
    int code = 0;
    if (values[ROPE_TABLE].given)
        code = read_table(values, dim, out_input);
    else if (values[ROPE_SCALE].given)
        code = read_scale(values, dim, out_input);
    else if (values[ROPE_LLAMA3].given || values[ROPE_YARN].given)
        code = scale_by_formula(values, dim, out_input);
    if (!code && values[ROPE_FACTOR].given)
        rope->attention_factor = (float)values[ROPE_FACTOR].number;
    return code;
}

void rope_finish(struct rope_input *input)
{
    array_finish(&input->scale);
    array_finish(&input->table);
    free(input->made_scale);
    memset(input, 0, sizeof *input);
}
