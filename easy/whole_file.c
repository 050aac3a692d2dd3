/* SPDX-License-Identifier: Apache-2.0 */
#include "whole_file.h"

#include "error.h"

#include <stdio.h>
#include <string.h>

#define BUFFER_BYTES ((size_t)256 << 10)

static rapt_status fail(const char *path, const char *what, int code)
{
    char text[256];
    return rapt_fail(RAPT_ERROR_IO, "%s cannot be %s: %s", path, what,
                     rapt_file_message(code, text, sizeof text));
}

rapt_status rapt_whole_file_create(const rapt_allocator *allocator, const char *path,
                                   struct whole_file *out_file)
{
    size_t length = strlen(path);
    struct whole_file file = {.allocator = allocator, .path = path};
    file.partial = rapt_alloc(allocator, length + sizeof ".partial", 1);
    file.buffer = rapt_alloc(allocator, BUFFER_BYTES, 1);
    rapt_status status = RAPT_OK;
    if (!file.partial || !file.buffer) {
        status = rapt_fail(RAPT_ERROR_HOST_MEMORY, "out of host memory to write %s", path);
    } else {
        memcpy(file.partial, path, length);
        memcpy(file.partial + length, ".partial", sizeof ".partial");
        int code = rapt_file_create(file.partial, &file.file);
        if (code)
            status = fail(path, "written", code);
    }
    if (status != RAPT_OK) {
        rapt_free(allocator, file.partial);
        rapt_free(allocator, file.buffer);
        return status;
    }
    *out_file = file;
    return RAPT_OK;
}

static rapt_status flush(struct whole_file *file)
{
    int code = rapt_file_write(&file->file, file->buffer, file->n_buffered);
    file->n_buffered = 0;
    return code ? fail(file->path, "written", code) : RAPT_OK;
}

rapt_status rapt_whole_file_write(void *whole_file, const void *data, size_t n_bytes)
{
    struct whole_file *file = whole_file;
    rapt_status status = RAPT_OK;
    if (n_bytes > BUFFER_BYTES - file->n_buffered)
        status = flush(file);
    if (status != RAPT_OK)
        return status;
    if (n_bytes > BUFFER_BYTES) {
        int code = rapt_file_write(&file->file, data, n_bytes);
        return code ? fail(file->path, "written", code) : RAPT_OK;
    }
    memcpy(file->buffer + file->n_buffered, data, n_bytes);
    file->n_buffered += n_bytes;
    return RAPT_OK;
}

rapt_status rapt_whole_file_finish(struct whole_file *file, rapt_status status)
{
    if (status == RAPT_OK)
        status = flush(file);
    if (status == RAPT_OK) {
        int code = rapt_file_replace(&file->file, file->partial, file->path);
        if (code)
            status = fail(file->path, "put in its place", code);
    }
    if (status == RAPT_OK)
        rapt_file_close(&file->file);
    else
        rapt_file_discard(&file->file, file->partial);
    rapt_free(file->allocator, file->partial);
    rapt_free(file->allocator, file->buffer);
    memset(file, 0, sizeof *file);
    return status;
}

rapt_status rapt_whole_file_open(const char *path, struct whole_file *out_file)
{
    struct whole_file file = {.path = path};
    int code = rapt_file_open(path, &file.file, &file.n_bytes);
    if (code)
        return fail(path, "read", code);
    *out_file = file;
    return RAPT_OK;
}

rapt_status rapt_whole_file_read(void *whole_file, uint64_t offset, void *out_data, size_t n_bytes)
{
    struct whole_file *file = whole_file;
    int code = rapt_file_read(&file->file, offset, out_data, n_bytes);
    return code ? fail(file->path, "read", code) : RAPT_OK;
}

void rapt_whole_file_close(struct whole_file *file)
{
    rapt_file_close(&file->file);
}
