/* SPDX-License-Identifier: Apache-2.0 */
#ifndef _WIN32
#define _XOPEN_SOURCE 700 /* realpath, lstat */
#endif
#include "output.h"

#include "cli.h"

#include <cJSON.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* What a name stands for, and so how it is written. */
enum place {
    REPLACED, /* a file, or nothing yet: made whole beside its name, then renamed */
    DIRECT    /* a device or a pipe, /dev/stdout for one, which a rename would destroy */
};

/* Refuses what no rename shows in time: folders, and files that may not be written. *out_target is
 * where links lead, so that a link is not replaced by a file; the caller frees it. NULL and errno.
 */
static char *find_place(const char *path, enum place *out_place)
{
    struct stat there;
    char *target = NULL;
    int exists = stat(path, &there) == 0;
    *out_place = REPLACED;
    if (exists && (there.st_mode & S_IFMT) == S_IFDIR) {
        errno = EISDIR;
        return NULL;
    }
    if (exists && (there.st_mode & S_IFMT) != S_IFREG)
        *out_place = DIRECT;
    if (exists && *out_place == REPLACED) {
        FILE *file = fopen(path, "r+b");
        if (!file)
            return NULL;
        fclose(file);
    }
#ifndef _WIN32
    if (!exists && lstat(path, &there) == 0)
        *out_place = DIRECT; /* a link to nothing: opening makes what it names */
    if (exists && *out_place == REPLACED)
        target = realpath(path, NULL);
#endif
    if (!target) {
        target = malloc(strlen(path) + 1);
        if (target)
            strcpy(target, path);
    }
    return target;
}

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
    enum place place;
    char *temporary = NULL, *target = find_place(path, &place);
    FILE *file = target && place == REPLACED ? create_beside(target, &temporary) : NULL;
    int code = 0;
    if (!target || (place == REPLACED && !file))
        code = cli_fail(CLI_USAGE, "%s %s: cannot be written: %s", option, path, strerror(errno));
    if (file) {
        fclose(file);
        remove(temporary);
    }
    free(temporary);
    free(target);
    return code;
}

FILE *output_open(struct output *output, const char *option, const char *path)
{
    enum place place = REPLACED;
    char *temporary = NULL, *target;
    FILE *file = NULL;
    for (int i = 0; i < output->n_files; i++) {
        if (strcmp(output->files[i].path, path) == 0) {
            cli_fail(CLI_USAGE, "%s and %s name the same file", output->files[i].option, option);
            return NULL;
        }
    }
    target = output->n_files < OUTPUT_MAX_FILES ? find_place(path, &place) : NULL;
    if (target)
        file = place == DIRECT ? fopen(path, "wb") : create_beside(target, &temporary);
    if (!file) {
        cli_fail(CLI_USAGE, "%s %s: cannot be written: %s", option, path, strerror(errno));
        free(target);
        return NULL;
    }
    output->files[output->n_files].option = option;
    output->files[output->n_files].path = path;
    output->files[output->n_files].target = target;
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
    /* A full disk or a closed pipe behind stdout is a failure too, and failures leave no files. */
    if (fflush(stdout) != 0 || ferror(stdout))
        return cli_fail(CLI_USAGE, "standard output cannot be written");
    for (int i = 0; i < output->n_files; i++) {
        const char *temporary = output->files[i].temporary, *target = output->files[i].target;
        if (!temporary)
            continue;
        if (rename(temporary, target) != 0) {
            /* Where rename does not replace (Windows), the old file has to go first. */
            int kept = errno;
            if (kept != EEXIST || remove(target) != 0 || rename(temporary, target) != 0)
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
        if (output->files[i].temporary)
            remove(output->files[i].temporary);
        free(output->files[i].temporary);
        free(output->files[i].target);
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
