/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

#include <rapt/common.h>

/* Lets the compiler check a format string. MinGW's own idea of printf has no %zu; the build asks
 * for the C11 one. */
#if defined(__MINGW32__) && !defined(__clang__)
#define RAPT_PRINTF(format_at, args_at) __attribute__((format(gnu_printf, format_at, args_at)))
#elif defined(__GNUC__)
#define RAPT_PRINTF(format_at, args_at) __attribute__((format(printf, format_at, args_at)))
#else
#define RAPT_PRINTF(format_at, args_at)
#endif

/* Sets this thread's last error to the formatted line and returns `status`, so that a check reads
 * `return rapt_fail(RAPT_ERROR_SHAPE, "k.head_dim is %u, ...", ...)`. */
RAPT_PRINTF(2, 3)
rapt_status rapt_fail(rapt_status status, const char *format, ...);

/* Host memory through the caller's callbacks; allocator NULL = malloc/free. Zeroed. NULL on failure
 * or overflow of n * size. */
void *rapt_alloc(const rapt_allocator *allocator, size_t n, size_t size);
void rapt_free(const rapt_allocator *allocator, void *memory);

/* Copies a caller's params struct of `caller_bytes` (its struct_size) into one of `own_bytes`,
 * zero-filling what an older caller lacks. RAPT_ERROR_ARGUMENT if struct_size is 0, or a newer
 * caller has set bytes this version does not know. `name` is for the message. */
rapt_status rapt_params_read(const char *name, const void *caller, void *own, size_t own_bytes);
/* Writes an output struct: min(own_bytes, caller's struct_size) bytes, keeping the caller's
 * struct_size. */
void rapt_params_write(void *caller, const void *own, size_t own_bytes);

#endif
