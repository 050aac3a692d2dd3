/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

/* Options of a subcommand: a table says what there is, one function reads argv by it, one prints it
 * as help. Both `--name value` and `--name=value` are read; an option may be given once, unless it is
 * a list. */

#include <stddef.h>
#include <stdint.h>

enum option_kind {
    OPTION_HEADING, /* not an option: a line of the help */
    OPTION_FLAG,
    OPTION_TEXT,
    OPTION_LIST,   /* text that may be given again and again */
    OPTION_COUNT,  /* a whole number from `min` to `max` */
    OPTION_NUMBER, /* a finite number */
    OPTION_LATER   /* part of the language, answered with "not in this build yet" */
};

struct option_spec {
    const char *name; /* "--splits"; the text of a heading */
    enum option_kind kind;
    const char *value; /* how help names the value; NULL for flags (and later flags) */
    const char *help;
    uint64_t min, max; /* OPTION_COUNT; max 0 = 4294967295 */
};

struct option_value {
    int given;
    const char *text;
    uint64_t count; /* of OPTION_LIST: how many texts */
    double number;
    const char **texts; /* of OPTION_LIST; given back by options_finish */
};

#define OPTIONS_HELP (-1) /* --help was asked for: print it and exit 0 */

/* Reads argv[1..argc). `values` has one entry per spec. 0, OPTIONS_HELP, or an exit code after one
 * line on stderr. */
int options_parse(const struct option_spec *specs, size_t n_specs, int argc, char **argv,
                  struct option_value *values);
/* Only for tables with an OPTION_LIST; whatever options_parse returned. */
void options_finish(struct option_value *values, size_t n_values);

/* Prints `head` (usage and what the command does), then the table. */
void options_help(const char *head, const struct option_spec *specs, size_t n_specs);

/* A whole number with its sign. 0 or CLI_USAGE. */
int options_integer(const char *name, const char *text, int32_t *out_number);
/* "A,B" as two whole numbers. 0 or CLI_USAGE. */
int options_pair(const char *name, const char *text, int32_t *out_a, int32_t *out_b);

/* Index of `text` in the NULL-terminated `words`, or -1 after the line
 * "--name: 'text' is none of a, b, c". */
int options_word(const char *name, const char *text, const char *const *words);

#endif
