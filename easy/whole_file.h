/* SPDX-License-Identifier: Apache-2.0 */
#ifndef EASY_WHOLE_FILE_H
#define EASY_WHOLE_FILE_H

/* Files that are written whole or not at all, and read at any place: what snapshots go through. A
 * file grows as PATH.partial beside its place; a process that dies leaves that behind, for the
 * next one to write over. */

#include <rapt/common.h>

#include "platform.h"

struct whole_file {
    const rapt_allocator *allocator;
    rapt_file file;
    const char *path; /* the caller's */
    char *partial;    /* NULL when reading */
    uint8_t *buffer;
    size_t n_buffered;
    uint64_t n_bytes; /* of a file that is read */
};

/* Errors: IO, HOST_MEMORY. On failure nothing is left to close. */
rapt_status rapt_whole_file_create(const rapt_allocator *allocator, const char *path,
                                   struct whole_file *out_file);
rapt_status rapt_whole_file_write(void *whole_file, const void *data, size_t n_bytes);
/* Ends the writing: the file takes its place if `status` is RAPT_OK, else it goes. Returns status,
 * or what went wrong. */
rapt_status rapt_whole_file_finish(struct whole_file *file, rapt_status status);

rapt_status rapt_whole_file_open(const char *path, struct whole_file *out_file);
rapt_status rapt_whole_file_read(void *whole_file, uint64_t offset, void *out_data, size_t n_bytes);
void rapt_whole_file_close(struct whole_file *file);

#endif
