/* SPDX-License-Identifier: Apache-2.0 */
/* The pipeline cache on disk: one file per device and driver, replaced in one step, so that readers
 * see the old one or the new one and processes that write at once only lose each other's additions.
 * A cache that cannot be read or written costs time, not correctness: nothing here is an error. */
#include "tier.h"

#include "platform.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Formats into the allocator's memory; NULL when there is none. */
static char *join(const rapt_allocator *allocator, const char *a, const char *b, const char *c)
{
    size_t n = strlen(a) + strlen(b) + strlen(c) + 1;
    char *text = rapt_alloc(allocator, n, 1);
    if (text)
        snprintf(text, n, "%s%s%s", a, b, c);
    return text;
}

/* The folder, or NULL for none. */
static char *cache_folder(const rapt_easy_params *params)
{
    const rapt_allocator *allocator = params->allocator;
    const char *given = params->cache_dir;
    if (!given && !params->ignore_environment)
        given = getenv("RAPT_CACHE_DIR");
    if (given)
        return *given ? join(allocator, given, "", "") : NULL;
    if (params->ignore_environment)
        return NULL; /* where the user's folder lies is known from the environment alone */
    const char *base = getenv("XDG_CACHE_HOME");
    if (base && *base)
        return join(allocator, base, "/rapt", "");
    base = getenv("LOCALAPPDATA");
    if (base && *base)
        return join(allocator, base, "/rapt", "");
    base = getenv("HOME");
    return base && *base ? join(allocator, base, "/.cache/rapt", "") : NULL;
}

char *rapt_easy_cache_file(const rapt_easy_params *params, const rapt_caps *caps, const char *kind,
                           const char *ending)
{
    char name[160];
    char *folder = cache_folder(params);
    if (!folder)
        return NULL;
    int n = snprintf(name, sizeof name, "%s-%04x-%04x-%08x-", kind, (unsigned)caps->vendor_id,
                     (unsigned)caps->device_id, (unsigned)caps->driver_version);
    for (size_t i = 0; i < sizeof caps->pipeline_cache_uuid; i++)
        n += snprintf(name + n, sizeof name - (size_t)n, "%02x",
                      (unsigned)caps->pipeline_cache_uuid[i]);
    snprintf(name + n, sizeof name - (size_t)n, ".%s", ending);
    char *path = join(params->allocator, folder, "/", name);
    rapt_free(params->allocator, folder);
    return path;
}

#define MOST_BYTES (256u << 20) /* of a cache worth reading */

static void load(rapt_easy *easy)
{
    FILE *file = fopen(easy->cache_path, "rb");
    if (!file)
        return;
    long n_bytes = fseek(file, 0, SEEK_END) == 0 ? ftell(file) : -1;
    void *blob = NULL;
    if (n_bytes > 0 && n_bytes <= (long)MOST_BYTES && fseek(file, 0, SEEK_SET) == 0)
        blob = rapt_alloc(easy->allocator, (size_t)n_bytes, 1);
    if (blob && fread(blob, 1, (size_t)n_bytes, file) == (size_t)n_bytes) {
        if (rapt_device_pipeline_cache_add(easy->device, blob, (size_t)n_bytes) == RAPT_OK) {
            easy->cache_on_disk = (uint64_t)n_bytes;
            rapt_easy_log(easy, RAPT_LOG_DEBUG, "pipeline cache %s: %ld bytes", easy->cache_path,
                          n_bytes);
        } else {
            rapt_easy_log(easy, RAPT_LOG_WARNING, "pipeline cache %s is ignored: %s",
                          easy->cache_path, rapt_last_error());
        }
    }
    rapt_free(easy->allocator, blob);
    fclose(file);
}

void rapt_easy_pipelines_load(rapt_easy *easy, const rapt_easy_params *params)
{
    easy->cache_path = rapt_easy_cache_file(params, easy->caps, "pipelines", "bin");
    if (easy->cache_path)
        load(easy);
}

static int write_file(const char *path, const void *data, size_t n_bytes)
{
    FILE *file = fopen(path, "wb");
    if (!file)
        return -1;
    int bad = fwrite(data, 1, n_bytes, file) != n_bytes;
    bad |= fclose(file) != 0;
    return bad ? -1 : 0;
}

int rapt_easy_cache_store(const rapt_allocator *allocator, char *path, const void *data,
                          size_t n_bytes)
{
    char suffix[64];
    snprintf(suffix, sizeof suffix, ".%lu.%p.new", rapt_process_id(), (void *)path);
    char *temporary = join(allocator, path, suffix, "");
    if (!temporary)
        return 0;
    char *slash = strrchr(path, '/');
    *slash = 0;
    int made = rapt_make_folders(path);
    *slash = '/';
    int done =
        made && write_file(temporary, data, n_bytes) == 0 && rapt_replace_file(temporary, path);
    if (made && !done)
        remove(temporary);
    rapt_free(allocator, temporary);
    return done;
}

static void store(rapt_easy *easy, const void *blob, size_t n_bytes)
{
    if (rapt_easy_cache_store(easy->allocator, easy->cache_path, blob, n_bytes))
        easy->cache_on_disk = n_bytes;
    else
        rapt_easy_log(easy, RAPT_LOG_INFO, "pipeline cache %s cannot be written", easy->cache_path);
}

void rapt_easy_pipelines_save(rapt_easy *easy)
{
    size_t n_bytes = 0;
    if (!easy->cache_path || easy->lost ||
        rapt_device_pipeline_cache_get(easy->device, NULL, &n_bytes) != RAPT_OK ||
        n_bytes <= easy->cache_on_disk)
        return;
    void *blob = rapt_alloc(easy->allocator, n_bytes, 1);
    if (blob && rapt_device_pipeline_cache_get(easy->device, blob, &n_bytes) == RAPT_OK)
        store(easy, blob, n_bytes);
    rapt_free(easy->allocator, blob);
}
