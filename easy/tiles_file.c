/* SPDX-License-Identifier: Apache-2.0 */
/* The user's table of measured tiles on disk: one file per device and driver, beside the pipelines.
 */
#include "tier.h"

#include <stdio.h>
#include <string.h>

#define MOST_BYTES (1l << 20) /* of a table worth reading */

/* What is in the file with a terminating 0; NULL and RAPT_OK where there is no file. */
static rapt_status read_all(const rapt_allocator *allocator, const char *path, char **out_text,
                            size_t *out_bytes)
{
    rapt_status status = RAPT_OK;
    FILE *file = fopen(path, "rb");
    *out_text = NULL;
    if (!file)
        return RAPT_OK;
    long n_bytes = fseek(file, 0, SEEK_END) == 0 ? ftell(file) : -1;
    if (n_bytes < 0 || n_bytes > MOST_BYTES || fseek(file, 0, SEEK_SET) != 0)
        status = rapt_fail(RAPT_ERROR_IO, "%s cannot be read, or is no table of tiles", path);
    char *text = status == RAPT_OK ? rapt_alloc(allocator, (size_t)n_bytes + 1, 1) : NULL;
    if (status == RAPT_OK && !text)
        status = rapt_fail(RAPT_ERROR_HOST_MEMORY, "out of host memory to read %s", path);
    if (status == RAPT_OK && fread(text, 1, (size_t)n_bytes, file) != (size_t)n_bytes)
        status = rapt_fail(RAPT_ERROR_IO, "%s cannot be read", path);
    fclose(file);
    if (status != RAPT_OK) {
        rapt_free(allocator, text);
        return status;
    }
    *out_text = text;
    *out_bytes = (size_t)n_bytes;
    return RAPT_OK;
}

static rapt_status own_params(const rapt_easy_params *params, rapt_easy_params *out_own)
{
    *out_own = (rapt_easy_params){.struct_size = sizeof *out_own};
    return params ? rapt_params_read("rapt_easy_params", params, out_own, sizeof *out_own)
                  : RAPT_OK;
}

rapt_status rapt_easy_tiles_load(const rapt_easy_params *params, const rapt_caps *caps,
                                 char *out_path, size_t path_bytes, rapt_tiles **out_tiles)
{
    rapt_easy_params own;
    if (!caps || !out_tiles)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s is NULL", caps ? "out_tiles" : "caps");
    *out_tiles = NULL;
    rapt_status status = own_params(params, &own);
    if (status != RAPT_OK)
        return status;
    char *path = rapt_easy_cache_file(&own, caps, "tiles", "txt"), *text = NULL;
    size_t n_bytes = 0;
    if (out_path && path_bytes)
        snprintf(out_path, path_bytes, "%s", path ? path : "");
    if (path)
        status = read_all(own.allocator, path, &text, &n_bytes);
    if (status == RAPT_OK && text) {
        status = rapt_tiles_read(own.allocator, caps, text, n_bytes, out_tiles);
        if (status != RAPT_OK) {
            char reason[256];
            snprintf(reason, sizeof reason, "%s", rapt_last_error());
            status = rapt_fail(status, "%s: %s", path, reason);
        }
    }
    rapt_free(own.allocator, text);
    rapt_free(own.allocator, path);
    return status;
}

rapt_status rapt_easy_tiles_save(const rapt_easy_params *params, const rapt_caps *caps,
                                 const rapt_tiles *tiles)
{
    rapt_easy_params own;
    size_t n_bytes = 0;
    if (!caps || !tiles)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s is NULL", caps ? "tiles" : "caps");
    rapt_status status = own_params(params, &own);
    if (status == RAPT_OK)
        status = rapt_tiles_write(tiles, NULL, &n_bytes);
    if (status != RAPT_OK)
        return status;
    char *path = rapt_easy_cache_file(&own, caps, "tiles", "txt");
    char *text = rapt_alloc(own.allocator, n_bytes, 1);
    if (!path)
        status = rapt_fail(RAPT_ERROR_IO, "there is no cache folder to keep tiles in "
                                          "(RAPT_CACHE_DIR, XDG_CACHE_HOME, HOME)");
    else if (!text)
        status = rapt_fail(RAPT_ERROR_HOST_MEMORY, "out of host memory for %zu bytes", n_bytes);
    if (status == RAPT_OK)
        status = rapt_tiles_write(tiles, text, &n_bytes);
    if (status == RAPT_OK && !rapt_easy_cache_store(own.allocator, path, text, n_bytes))
        status = rapt_fail(RAPT_ERROR_IO, "%s cannot be written", path);
    rapt_free(own.allocator, text);
    rapt_free(own.allocator, path);
    return status;
}
