/* SPDX-License-Identifier: Apache-2.0 */
#include "output.h"

#include "cli.h"

#include <cJSON.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Creates a file beside `path` that did not exist before. */
static FILE *create_beside(const char *path, char **out_temporary)
{
    size_t n_bytes = strlen(path) + 16;
    char *temporary = malloc(n_bytes);
    FILE *file = NULL;
    for (int i = 0; temporary && i < 1000; i++) {
        snprintf(temporary, n_bytes, "%s.part%d", path, i);
        file = fopen(temporary, "wbx");
        if (file || errno != EEXIST)
            break;
    }
    if (!file) {
        int kept = errno;
        free(temporary);
        temporary = NULL;
        errno = kept;
    }
    *out_temporary = temporary;
    return file;
}

int output_probe(const char *option, const char *path)
{
    char *temporary;
    FILE *file = create_beside(path, &temporary);
    if (!file)
        return cli_fail(CLI_USAGE, "%s %s: cannot be written: %s", option, path, strerror(errno));
    fclose(file);
    remove(temporary);
    free(temporary);
    return 0;
}

FILE *output_open(struct output *output, const char *option, const char *path)
{
    char *temporary;
    FILE *file = output->n_files < OUTPUT_MAX_FILES ? create_beside(path, &temporary) : NULL;
    if (!file) {
        cli_fail(CLI_USAGE, "%s %s: cannot be written: %s", option, path, strerror(errno));
        return NULL;
    }
    output->files[output->n_files].option = option;
    output->files[output->n_files].path = path;
    output->files[output->n_files].temporary = temporary;
    output->n_files++;
    return file;
}

int output_close(struct output *output, FILE *file, int written)
{
    int failed = ferror(file);
    failed |= fclose(file) != 0;
    if (!written && !failed)
        return 0;
    return cli_fail(CLI_USAGE, "%s %s: cannot be written: %s",
                    output->files[output->n_files - 1].option,
                    output->files[output->n_files - 1].path, strerror(errno));
}

int output_commit(struct output *output)
{
    for (int i = 0; i < output->n_files; i++) {
        if (rename(output->files[i].temporary, output->files[i].path) != 0) {
            /* Where rename does not replace (Windows), the old file has to go first. */
            int kept = errno;
            if (kept != EEXIST || remove(output->files[i].path) != 0 ||
                rename(output->files[i].temporary, output->files[i].path) != 0)
                return cli_fail(CLI_USAGE, "%s %s: cannot be written: %s", output->files[i].option,
                                output->files[i].path, strerror(kept));
        }
        free(output->files[i].temporary);
        output->files[i].temporary = NULL;
    }
    return 0;
}

void output_finish(struct output *output)
{
    for (int i = 0; i < output->n_files; i++) {
        if (output->files[i].temporary) {
            remove(output->files[i].temporary);
            free(output->files[i].temporary);
        }
    }
    output->n_files = 0;
}

int output_json(const cJSON *json, const char *option, const char *path)
{
    struct output output = {0};
    FILE *file = stdout;
    int code = 0;
    char *text = cJSON_Print(json);
    if (!text)
        return cli_fail(CLI_DEVICE, "out of memory");
    if (path)
        file = output_open(&output, option, path);
    int written = file ? fprintf(file, "%s\n", text) : -1;
    if (path) {
        code = file ? output_close(&output, file, written < 0) : CLI_USAGE;
        code = code ? code : output_commit(&output);
    }
    output_finish(&output);
    cJSON_free(text);
    return code;
}
