/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_PLATFORM_H
#define BASE_PLATFORM_H

/* What host code needs of the operating system beyond C11: threads, a clock, folders, shared
 * libraries. */

#include <stdint.h>

/* Runs work(user, i) for i in [0, n), on up to n_threads threads counting the caller; work must not
 * depend on which thread runs it. Where no thread can be started the caller does it all. */
void rapt_parallel(uint32_t n_threads, uint32_t n, void (*work)(void *user, uint32_t i),
                   void *user);

/* A monotonic clock. */
double rapt_now_seconds(void);

/* Creates the folder and those above it. Nonzero if it is there afterwards. */
int rapt_make_folders(const char *path);

/* Puts a finished file in the place of another, at once for whoever reads it. Nonzero on success.
 */
int rapt_replace_file(const char *from, const char *to);

/* Tells the temporary files of processes apart. */
unsigned long rapt_process_id(void);

/* A shared library of the system; NULL if it cannot be opened. */
void *rapt_library_open(const char *name);
/* Its function of that name, NULL if it has none; cast to what it is. */
typedef void (*rapt_library_function)(void);
rapt_library_function rapt_library_find(void *library, const char *name);
void rapt_library_close(void *library); /* may be NULL */

#endif
