/* SPDX-License-Identifier: Apache-2.0 */
/* snapshot_writer PATH: for test_snapshot_kill.py, which kills it. Says which snapshot lies at PATH
 * ("whole N", or "none"), every byte of it compared, then writes the next ones over it until it is
 * killed, "wrote N" after each. Whatever it says it has said to the end before it goes on. */
#include "snapshot_case.h"
#include "whole_file.h"

#include <stdio.h>

#define PAGE_BYTES 100000u

static void say(const char *what, uint64_t number)
{
    printf("%s %llu\n", what, (unsigned long long)number);
    fflush(stdout);
}

static int fail(const char *what)
{
    printf("FAIL %s: %s\n", what, rapt_last_error());
    return EXIT_FAILURE;
}

static int check(const char *path, uint64_t *out_number)
{
    struct whole_file file;
    rapt_snapshot *snapshot = NULL;
    if (rapt_whole_file_open(path, &file) != RAPT_OK) {
        say("none", 0);
        *out_number = 0;
        return EXIT_SUCCESS;
    }
    rapt_snapshot_read_params params = {.struct_size = sizeof params,
                                        .n_bytes = file.n_bytes,
                                        .user = &file,
                                        .read = rapt_whole_file_read};
    struct snapshot_case c;
    rapt_seq_image image = {.struct_size = sizeof image};
    if (rapt_snapshot_open(&params, &snapshot) != RAPT_OK ||
        rapt_snapshot_seq(snapshot, 0, &image) != RAPT_OK)
        return fail("open");
    snapshot_case_make(image.extra_key, PAGE_BYTES, &c);
    if (!snapshot_case_equal(&c, snapshot))
        return fail("its contents are not what was written");
    say("whole", image.extra_key);
    *out_number = image.extra_key;
    rapt_snapshot_close(&snapshot);
    rapt_whole_file_close(&file);
    return EXIT_SUCCESS;
}

struct target {
    struct whole_file file;
    struct snapshot_case c;
};

static rapt_status write_target(void *user, const void *data, size_t n_bytes)
{
    struct target *target = user;
    return rapt_whole_file_write(&target->file, data, n_bytes);
}

static rapt_status read_target_pages(void *user, uint32_t group, uint32_t n_pages,
                                     const uint32_t *pages, const uint32_t *n_tokens,
                                     void *out_contents)
{
    struct target *target = user;
    return snapshot_read_pages(&target->c, group, n_pages, pages, n_tokens, out_contents);
}

int main(int argc, char **argv)
{
    uint64_t number = 0;
    if (argc != 2)
        return EXIT_FAILURE;
    if (check(argv[1], &number) != EXIT_SUCCESS)
        return EXIT_FAILURE;
    for (;;) {
        struct target target;
        snapshot_case_make(++number, PAGE_BYTES, &target.c);
        rapt_status status = rapt_whole_file_create(NULL, argv[1], &target.file);
        if (status != RAPT_OK)
            return fail("create");
        rapt_snapshot_write_params params = {.struct_size = sizeof params,
                                             .geometry = &target.c.geometry,
                                             .n_seqs = SNAPSHOT_SEQS,
                                             .images = target.c.images,
                                             .tables = target.c.tables,
                                             .batch_bytes = PAGE_BYTES,
                                             .user = &target,
                                             .write = write_target,
                                             .read_pages = read_target_pages};
        status = rapt_whole_file_finish(&target.file, rapt_snapshot_write(&params));
        if (status != RAPT_OK)
            return fail("write");
        say("wrote", number);
    }
}
