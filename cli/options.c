/* SPDX-License-Identifier: Apache-2.0 */
#include "options.h"

#include "cli.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Finds the option `text` names; what follows an '=' is its value. */
static const struct option_spec *find(const struct option_spec *specs, size_t n_specs,
                                      const char *text, const char **out_value)
{
    const char *equals = strchr(text, '=');
    size_t length = equals ? (size_t)(equals - text) : strlen(text);
    *out_value = equals ? equals + 1 : NULL;
    for (size_t i = 0; i < n_specs; i++) {
        if (specs[i].kind != OPTION_HEADING && strlen(specs[i].name) == length &&
            memcmp(specs[i].name, text, length) == 0)
            return &specs[i];
    }
    return NULL;
}

static int parse_count(const struct option_spec *spec, struct option_value *value)
{
    uint64_t max = spec->max ? spec->max : UINT32_MAX;
    uint64_t number = 0;
    const char *c = value->text;
    int bad = *c == 0;
    for (; *c && !bad; c++) {
        bad = *c < '0' || *c > '9' || number > (UINT64_MAX - 9) / 10;
        if (!bad)
            number = number * 10 + (uint64_t)(*c - '0');
    }
    if (bad || number < spec->min || number > max) {
        return cli_fail(CLI_USAGE, "%s: '%s' is not a whole number from %llu to %llu", spec->name,
                        value->text, (unsigned long long)spec->min, (unsigned long long)max);
    }
    value->count = number;
    return 0;
}

static int parse_number(const struct option_spec *spec, struct option_value *value)
{
    char *end = NULL;
    const char *text = value->text;
    /* strtod skips white space and reads "nan", "inf" and hexadecimal; numbers here are plain. */
    int plain = !strchr(" \t", *text) && text[strspn(text, "0123456789+-.eE")] == 0;
    errno = 0;
    value->number = plain ? strtod(text, &end) : NAN;
    if (!plain || end == text || *end || !isfinite(value->number) ||
        !isfinite((float)value->number))
        return cli_fail(CLI_USAGE, "%s: '%s' is not a finite number", spec->name, text);
    return 0;
}

static int keep_text(struct option_value *value)
{
    const char **texts = realloc(value->texts, ((size_t)value->count + 1) * sizeof *texts);
    if (!texts)
        return cli_fail(CLI_DEVICE, "out of memory");
    value->texts = texts;
    value->texts[value->count++] = value->text;
    return 0;
}

static int parse_one(const struct option_spec *spec, const char *inline_value, int argc,
                     char **argv, int *inout_i, struct option_value *value)
{
    if (spec->kind == OPTION_LATER)
        return cli_fail(CLI_USAGE, "%s is not in this build yet", spec->name);
    if (value->given && spec->kind != OPTION_LIST)
        return cli_fail(CLI_USAGE, "%s is given twice", spec->name);
    value->given = 1;
    if (spec->kind == OPTION_FLAG) {
        if (inline_value)
            return cli_fail(CLI_USAGE, "%s takes no value", spec->name);
        return 0;
    }
    if (inline_value) {
        value->text = inline_value;
    } else {
        /* An option where a value should be is a forgotten value, not a file of that name. */
        if (*inout_i + 1 >= argc || strncmp(argv[*inout_i + 1], "--", 2) == 0)
            return cli_fail(CLI_USAGE, "%s needs a value (%s)", spec->name, spec->value);
        value->text = argv[++*inout_i];
    }
    if (!*value->text)
        return cli_fail(CLI_USAGE, "%s: the value is empty", spec->name);
    if (spec->kind == OPTION_COUNT)
        return parse_count(spec, value);
    if (spec->kind == OPTION_NUMBER)
        return parse_number(spec, value);
    return spec->kind == OPTION_LIST ? keep_text(value) : 0;
}

int options_parse(const struct option_spec *specs, size_t n_specs, int argc, char **argv,
                  struct option_value *values)
{
    memset(values, 0, n_specs * sizeof *values);
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return OPTIONS_HELP;
    }
    for (int i = 1; i < argc; i++) {
        const char *inline_value;
        if (strncmp(argv[i], "--", 2) != 0)
            return cli_fail(CLI_USAGE, "unexpected argument '%s' (--help lists the options)",
                            argv[i]);
        const struct option_spec *spec = find(specs, n_specs, argv[i], &inline_value);
        if (!spec)
            return cli_fail(CLI_USAGE, "unknown option '%s' (--help lists them)", argv[i]);
        int code = parse_one(spec, inline_value, argc, argv, &i, &values[spec - specs]);
        if (code)
            return code;
    }
    return 0;
}

void options_finish(struct option_value *values, size_t n_values)
{
    for (size_t i = 0; i < n_values; i++) {
        free(values[i].texts);
        values[i].texts = NULL;
    }
}

/* Prints `text` broken at spaces into lines of 98 columns that start at column `indent`. */
static void print_wrapped(const char *text, int column, int indent)
{
    while (*text) {
        size_t word = strcspn(text, " ");
        if (column > indent && column + 1 + (int)word > 98) {
            printf("\n%*s", indent, "");
            column = indent;
        } else if (column > indent) {
            putchar(' ');
            column++;
        }
        printf("%.*s", (int)word, text);
        column += (int)word;
        text += word;
        text += strspn(text, " ");
    }
    putchar('\n');
}

void options_help(const char *head, const struct option_spec *specs, size_t n_specs)
{
    const int indent = 30;
    fputs(head, stdout);
    for (size_t i = 0; i < n_specs; i++) {
        if (specs[i].kind == OPTION_HEADING) {
            printf("\n%s\n", specs[i].name);
            continue;
        }
        int column = printf("  %s%s%s", specs[i].name, specs[i].value ? " " : "",
                            specs[i].value ? specs[i].value : "");
        if (column > indent - 2) {
            putchar('\n');
            column = 0;
        }
        printf("%*s", indent - column, "");
        if (specs[i].kind == OPTION_LATER)
            print_wrapped("not in this build yet", indent, indent);
        else
            print_wrapped(specs[i].help, indent, indent);
    }
}

int options_integer(const char *name, const char *text, int32_t *out_number)
{
    char *end = NULL;
    int plain = *text == '-' || (*text >= '0' && *text <= '9');
    errno = 0;
    long long number = plain ? strtoll(text, &end, 10) : 0;
    if (!plain || end == text || *end || errno || number < INT32_MIN || number > INT32_MAX)
        return cli_fail(CLI_USAGE, "%s: '%s' is not a whole number of 32 bits", name, text);
    *out_number = (int32_t)number;
    return 0;
}

int options_pair(const char *name, const char *text, int32_t *out_a, int32_t *out_b)
{
    long long numbers[2] = {0, 0};
    const char *rest = text;
    for (int i = 0; i < 2; i++) {
        char *end;
        errno = 0;
        int plain = *rest == '-' || (*rest >= '0' && *rest <= '9');
        numbers[i] = plain ? strtoll(rest, &end, 10) : 0;
        if (!plain || end == rest || errno || numbers[i] < INT32_MIN || numbers[i] > INT32_MAX ||
            *end != (i == 0 ? ',' : 0))
            return cli_fail(CLI_USAGE, "%s: '%s' is not two whole numbers A,B", name, text);
        rest = end + 1;
    }
    *out_a = (int32_t)numbers[0];
    *out_b = (int32_t)numbers[1];
    return 0;
}

int options_word(const char *name, const char *text, const char *const *words)
{
    char list[512] = "";
    for (int i = 0; words[i]; i++) {
        if (strcmp(words[i], text) == 0)
            return i;
        size_t used = strlen(list);
        snprintf(list + used, sizeof list - used, "%s%s", i ? ", " : "", words[i]);
    }
    cli_fail(CLI_USAGE, "%s: '%s' is none of %s", name, text, list);
    return -1;
}
