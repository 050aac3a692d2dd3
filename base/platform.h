/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_PLATFORM_H
#define BASE_PLATFORM_H

/* What host code needs of the operating system beyond C11: threads, a clock, folders, files that
 * are replaced whole, shared libraries. */

#include <stddef.h>
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

/* An open file. The calls return 0, one of the two codes below, or the system's error number;
 * rapt_file_message says it in words. */
typedef struct rapt_file {
    intptr_t handle; /* 0 = none */
} rapt_file;
#define RAPT_FILE_BUSY (-1)  /* somebody else is writing it */
#define RAPT_FILE_SHORT (-2) /* it ends before what was to be read */

/* Opens a file for writing, empty, for nobody else to write meanwhile. What a process that was
 * killed left there is written over. */
int rapt_file_create(const char *path, rapt_file *out_file);
int rapt_file_write(const rapt_file *file, const void *data, size_t n_bytes);
/* Puts a created file, now at `from`, in the place of `to` in the same folder: afterwards its
 * bytes and its new name are on the disk; a reader at any time, and after any crash, sees the old
 * file whole or the new one whole. */
int rapt_file_replace(const rapt_file *file, const char *from, const char *to);
/* Removes a created file, which is at `path`, and closes it. */
void rapt_file_discard(rapt_file *file, const char *path);
int rapt_file_open(const char *path, rapt_file *out_file, uint64_t *out_bytes); /* for reading */
int rapt_file_read(const rapt_file *file, uint64_t offset, void *data, size_t n_bytes);
void rapt_file_close(rapt_file *file);
const char *rapt_file_message(int code, char *text, size_t n_bytes);

/* A shared library of the system; NULL if it cannot be opened. */
void *rapt_library_open(const char *name);
/* Its function of that name, NULL if it has none; cast to what it is. */
typedef void (*rapt_library_function)(void);
rapt_library_function rapt_library_find(void *library, const char *name);
void rapt_library_close(void *library); /* may be NULL */

#endif
