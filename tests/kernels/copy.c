/* SPDX-License-Identifier: Apache-2.0 */

/* rapt_copier_record against copies made by the host, byte by byte. */

#include "check.h"

#include "copier.h"
#include "random.h"

#include <rapt/pager.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PAGES = 12, PAGE_SIZE = 16, MAX_COPIES = 64, N_TENSORS = 3 };

struct copy_run {
    rapt_copier *copier;
    struct check_buffer lists, memory[N_TENSORS];
    rapt_copy_tensor tensors[N_TENSORS];
    uint8_t *images[N_TENSORS];
    rapt_page_copy copies[MAX_COPIES];
    uint32_t n_copies;
    char why[200];
};

/* NHD rows of whole words, HND rows of halfwords in three layers, scales of two bytes. */
static const struct {
    uint32_t row, heads, layers, pad;
    int hnd;
} shapes[N_TENSORS] = {{64, 3, 2, 0, 0}, {34, 2, 3, 2, 1}, {2, 3, 2, 0, 0}};

static int make_tensors(rapt_easy *easy, struct copy_run *run, uint64_t *random)
{
    for (int i = 0; i < N_TENSORS; i++) {
        rapt_copy_tensor *t = &run->tensors[i];
        uint64_t row = shapes[i].row + shapes[i].pad;
        t->row_bytes = shapes[i].row;
        t->n_heads = shapes[i].heads;
        t->n_layers = shapes[i].layers;
        t->head_stride = shapes[i].hnd ? row * PAGE_SIZE : row;
        t->token_stride = shapes[i].hnd ? row : row * t->n_heads;
        t->page_stride = row * t->n_heads * PAGE_SIZE;
        t->layer_stride = t->page_stride * PAGES;
        uint64_t bytes = (t->layer_stride * t->n_layers + 3) / 4 * 4;
        if (check_buffer_create(easy, "pages", bytes, i ? 4 : 0, &run->memory[i]) != RAPT_OK)
            return 0;
        uint8_t *at = run->memory[i].map + run->memory[i].first;
        for (uint64_t b = 0; b < bytes; b++)
            at[b] = (uint8_t)random_u64(random);
        run->images[i] = malloc(bytes);
        memcpy(run->images[i], at, bytes);
        t->buffer = check_buffer_range(&run->memory[i]);
    }
    return 1;
}

/* Copies that do not touch each other, from the lower pages to the upper ones; then a chain that moves
 * kept tokens of the last pages together; some of another group. */
static void make_copies(struct copy_run *run, uint64_t *random)
{
    for (uint32_t page = 0; page < 4; page++) {
        uint32_t n = 1 + random_below(random, PAGE_SIZE), from = random_below(random, PAGE_SIZE - n + 1);
        run->copies[run->n_copies++] = (rapt_page_copy){
            0, page, from, 4 + page, random_below(random, PAGE_SIZE - n + 1), n, 0};
    }
    run->copies[run->n_copies++] = (rapt_page_copy){1, 0, 0, 7, 0, PAGE_SIZE, 0};
    uint32_t to = 3;
    for (uint32_t from = 5; from < 3 * PAGE_SIZE; from += 1 + random_below(random, 5)) {
        run->copies[run->n_copies++] = (rapt_page_copy){
            0, 8 + from / PAGE_SIZE, from % PAGE_SIZE, 8 + to / PAGE_SIZE, to % PAGE_SIZE, 1, to > 3};
        to++;
    }
}

static void copy_on_host(struct copy_run *run)
{
    for (uint32_t c = 0; c < run->n_copies; c++)
        for (int i = 0; run->copies[c].group == 0 && i < N_TENSORS; i++) {
            const rapt_page_copy *copy = &run->copies[c];
            const rapt_copy_tensor *t = &run->tensors[i];
            for (uint32_t row = 0; row < t->n_layers * t->n_heads * copy->n_tokens; row++) {
                uint64_t base = row / t->n_heads / copy->n_tokens * t->layer_stride +
                                row % t->n_heads * t->head_stride;
                uint32_t token = row / t->n_heads % copy->n_tokens;
                uint64_t from = base + copy->from_page * t->page_stride +
                                (copy->from_token + token) * t->token_stride;
                uint64_t to = base + copy->to_page * t->page_stride +
                              (copy->to_token + token) * t->token_stride;
                memmove(run->images[i] + to, run->images[i] + from, t->row_bytes);
            }
        }
}

static int same(struct copy_run *run)
{
    for (int i = 0; i < N_TENSORS; i++)
        if (!check_buffer_guarded(&run->memory[i]) ||
            memcmp(run->images[i], run->memory[i].map + run->memory[i].first,
                   run->memory[i].bytes) != 0) {
            snprintf(run->why, sizeof run->why, "tensor %d differs", i);
            return 0;
        }
    return 1;
}

static int fail_call(struct copy_run *run, const char *call)
{
    snprintf(run->why, sizeof run->why, "%s: %s", call, rapt_last_error());
    return 0;
}

static int run_copies(const struct check_target *target, struct copy_run *run, uint64_t *random)
{
    rapt_easy *easy = target->easy;
    const rapt_caps *caps = rapt_device_caps(rapt_easy_device(easy));
    rapt_copier_params params = {
        .struct_size = sizeof params, .max_copies = MAX_COPIES, .max_tensors = N_TENSORS};
    if (rapt_copier_create_forced(rapt_easy_device(easy), &params, target->force_prefill,
                                  &run->copier) != RAPT_OK)
        return fail_call(run, "rapt_copier_create");
    uint64_t a = caps->storage_buffer_alignment > 64 ? caps->storage_buffer_alignment : 64;
    if (check_buffer_create(easy, "lists", rapt_copier_table_bytes(run->copier),
                            (a - CHECK_GUARD % a) % a, &run->lists) != RAPT_OK ||
        !make_tensors(easy, run, random))
        return fail_call(run, "buffers");
    rapt_buffer lists = check_buffer_range(&run->lists);
    if (rapt_copier_bind(run->copier, &lists, run->lists.map + run->lists.first) != RAPT_OK)
        return fail_call(run, "rapt_copier_bind");
    make_copies(run, random);
    copy_on_host(run);
    VkCommandBuffer commands;
    if (rapt_easy_begin(easy, &commands) != RAPT_OK ||
        rapt_copier_record(run->copier, commands, 1, 0, run->n_copies, run->copies, N_TENSORS,
                           run->tensors) != RAPT_OK ||
        rapt_easy_submit_wait(easy, NULL) != RAPT_OK)
        return fail_call(run, "rapt_copier_record");
    rapt_page_copy past = {0, PAGES, 0, 0, 0, 1, 0};
    if (rapt_copier_record(run->copier, commands, 0, 0, 1, &past, N_TENSORS, run->tensors) !=
        RAPT_ERROR_SHAPE) {
        snprintf(run->why, sizeof run->why, "a copy past the pool is not refused");
        return 0;
    }
    return same(run) && check_buffer_guarded(&run->lists);
}

void check_run_copies(struct check_target *target)
{
    for (uint64_t seed = target->seed; seed < target->seed + 4; seed++) {
        struct copy_run run;
        uint64_t random = seed;
        memset(&run, 0, sizeof run);
        int ok = run_copies(target, &run, &random);
        printf("%-5s copies and a chain, seed %llu %s\n", ok ? "ok" : "FAIL",
               (unsigned long long)seed, run.why);
        rapt_copier_destroy(&run.copier);
        check_buffer_destroy(&run.lists);
        for (int i = 0; i < N_TENSORS; i++) {
            check_buffer_destroy(&run.memory[i]);
            free(run.images[i]);
        }
        target->n_run++;
        target->n_failed += !ok;
    }
}
