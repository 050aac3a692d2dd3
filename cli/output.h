/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_OUTPUT_H
#define CLI_OUTPUT_H

/* Files that appear whole or not at all: written beside their name, renamed when all are complete.
 * Links are followed; devices and pipes, /dev/stdout for one, are written as they are. */

#include <stddef.h>
#include <stdio.h>

#define OUTPUT_MAX_FILES 4

struct output {
    struct {
        const char *option, *path;
        char *target, *temporary; /* temporary NULL: written directly, or renamed already */
    } files[OUTPUT_MAX_FILES];
    int n_files;
};

/* Opens the temporary file of a further output and checks early that it can be written at all; the
 * caller writes and closes it with output_close. NULL after a line on stderr. */
FILE *output_open(struct output *output, const char *option, const char *path);
/* 0, or CLI_USAGE after a line (a full disk shows here). `written` is what the writer returned. */
int output_close(struct output *output, FILE *file, int written);
/* Renames all temporaries to their names; what is printed should be so before, as nothing appears
 * where stdout cannot be written. 0 or CLI_USAGE. */
int output_commit(struct output *output);
/* Removes temporaries that were not committed. */
void output_finish(struct output *output);

struct cJSON;
/* Prints a whole JSON value to a file of its own or, where path is NULL, to stdout. 0, or a code
 * after a line. */
int output_json(const struct cJSON *json, const char *option, const char *path);

/* Refuses a path that cannot be written, before hours of work; leaves nothing behind. */
int output_probe(const char *option, const char *path);

#endif
