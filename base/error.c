/* SPDX-License-Identifier: Apache-2.0 */
#include "error.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(_WIN32) && defined(__GNUC__)
#define THREAD_LOCAL __thread
#else
#define THREAD_LOCAL _Thread_local
#endif

/* The library's only mutable state outside objects: what rapt_last_error returns. */
static THREAD_LOCAL char last_error[512];

rapt_status rapt_fail(rapt_status status, const char *format, ...)
{
    /* Formatted apart first: an argument may be the old message, quoted in the new one. */
    char line[sizeof last_error];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    memcpy(last_error, line, sizeof line);
#if defined(RAPT_DEBUG_ABORT)
    if (status == RAPT_ERROR_INTERNAL) {
        fprintf(stderr, "rapt: internal error: %s\n", last_error);
        abort();
    }
#endif
    return status;
}

const char *rapt_last_error(void)
{
    return last_error;
}

void *rapt_alloc(const rapt_allocator *allocator, size_t n, size_t size)
{
    if (size != 0 && n > SIZE_MAX / size)
        return NULL;
    size_t n_bytes = n * size;
    if (n_bytes == 0)
        n_bytes = 1; /* never NULL for want of bytes */
    void *memory = allocator ? allocator->alloc(allocator->user, n_bytes) : malloc(n_bytes);
    if (memory)
        memset(memory, 0, n_bytes);
    return memory;
}

void rapt_free(const rapt_allocator *allocator, void *memory)
{
    if (!memory)
        return;
    if (allocator)
        allocator->free(allocator->user, memory);
    else
        free(memory);
}

rapt_status rapt_params_read(const char *name, const void *caller, void *own, size_t own_bytes)
{
    if (!caller)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s is NULL", name);
    size_t caller_bytes;
    memcpy(&caller_bytes, caller, sizeof caller_bytes);
    if (caller_bytes < sizeof caller_bytes)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s.struct_size is %zu: set it to sizeof(%s)", name,
                         caller_bytes, name);
    if (caller_bytes > own_bytes) {
        if (caller_bytes > 65536)
            return rapt_fail(RAPT_ERROR_ARGUMENT, "%s.struct_size is %zu: set it to sizeof(%s)",
                             name, caller_bytes, name);
        const unsigned char *bytes = caller;
        for (size_t i = own_bytes; i < caller_bytes; i++)
            if (bytes[i] != 0)
                return rapt_fail(RAPT_ERROR_ARGUMENT,
                                 "%s sets a member at byte %zu that this version of the library "
                                 "(%s) does not know",
                                 name, i, rapt_version());
        caller_bytes = own_bytes;
    }
    memset(own, 0, own_bytes);
    memcpy(own, caller, caller_bytes);
    memcpy(own, &own_bytes, sizeof own_bytes);
    return RAPT_OK;
}

void rapt_params_write(void *caller, const void *own, size_t own_bytes)
{
    size_t caller_bytes;
    memcpy(&caller_bytes, caller, sizeof caller_bytes);
    size_t n_bytes = caller_bytes < own_bytes ? caller_bytes : own_bytes;
    if (n_bytes <= sizeof caller_bytes)
        return;
    memcpy((char *)caller + sizeof caller_bytes, (const char *)own + sizeof caller_bytes,
           n_bytes - sizeof caller_bytes);
}
