/* SPDX-License-Identifier: Apache-2.0 */

/* rapt_merger_record against rapt_reference_merge: parts that count for nothing, sinks, many parts.
 */

#include "check.h"

#include "random.h"
#include "tolerance.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct combination {
    const char *name;
    uint32_t n_parts, n_rows, n_heads, dim;
    int sinks, lse, nothing; /* nothing: in 8ths, how many parts have lse -inf */
};

static const struct combination combinations[] = {
    {"two parts", 2, 24, 8, 64, 0, 1, 0},       {"sinks", 3, 24, 8, 80, 1, 1, 0},
    {"no lse asked", 2, 6, 2, 128, 1, 0, 0},    {"one part", 1, 8, 4, 8, 0, 1, 0},
    {"empty parts", 5, 40, 4, 72, 0, 1, 4},     {"all empty", 4, 8, 4, 512, 0, 1, 8},
    {"all empty, sinks", 4, 8, 4, 64, 1, 1, 8}, {"3000 parts", 3000, 4, 2, 24, 1, 1, 1},
};

struct buffers {
    struct check_buffer parts, parts_lse, sinks, out, lse;
};

static float *at(struct check_buffer *buffer)
{
    return (float *)(void *)(buffer->map + buffer->first);
}

/* What lies in a part that counts for nothing is poison already. */
static void fill(const struct combination *c, struct buffers *b, uint64_t *random)
{
    for (uint32_t i = 0; i < c->n_parts * c->n_rows; i++) {
        int empty = (int)random_below(random, 8) < c->nothing;
        at(&b->parts_lse)[i] = empty ? -INFINITY : 3 * random_normal(random);
        for (uint32_t d = 0; !empty && d < c->dim; d++)
            at(&b->parts)[(uint64_t)i * c->dim + d] = random_normal(random);
    }
    for (uint32_t h = 0; c->sinks && h < c->n_heads; h++)
        at(&b->sinks)[h] = random_normal(random);
}

static rapt_status create(rapt_easy *easy, const struct combination *c, struct buffers *b)
{
    uint64_t n_lse = (uint64_t)c->n_parts * c->n_rows;
    rapt_status status = check_buffer_create(easy, "parts", 4 * n_lse * c->dim, 4, &b->parts);
    if (status == RAPT_OK)
        status = check_buffer_create(easy, "parts_lse", 4 * n_lse, 0, &b->parts_lse);
    if (status == RAPT_OK && c->sinks)
        status = check_buffer_create(easy, "sinks", 4ull * c->n_heads, 8, &b->sinks);
    if (status == RAPT_OK)
        status = check_buffer_create(easy, "out", 4ull * c->n_rows * c->dim, 12, &b->out);
    if (status == RAPT_OK && c->lse)
        status = check_buffer_create(easy, "lse", 4ull * c->n_rows, 0, &b->lse);
    return status;
}

static rapt_status execute(rapt_easy *easy, rapt_merger *merger, const struct combination *c,
                           struct buffers *b)
{
    rapt_merge_params params = {
        .struct_size = sizeof params,
        .n_parts = c->n_parts,
        .n_rows = c->n_rows,
        .n_q_heads = c->n_heads,
        .head_dim_v = c->dim,
        .parts = check_buffer_range(&b->parts),
        .parts_lse = check_buffer_range(&b->parts_lse),
        .sinks = check_buffer_range(&b->sinks),
        .out = check_buffer_range(&b->out),
        .lse = check_buffer_range(&b->lse),
    };
    rapt_status status = rapt_easy_begin(easy, &params.command_buffer);
    if (status == RAPT_OK)
        status = rapt_merger_record(merger, &params);
    if (status == RAPT_OK)
        status = rapt_easy_submit_wait(easy, NULL);
    rapt_merger_reset(merger);
    return status;
}

static int compare(const struct combination *c, struct buffers *b, char *why, size_t n_why)
{
    size_t n = (size_t)c->n_rows * c->dim;
    float *out = malloc(n * sizeof *out), *lse = malloc(c->n_rows * sizeof *lse);
    double diff2 = 0, ref2 = 0, lse_error = 0;
    int ok = out && lse &&
             rapt_reference_merge(c->n_parts, c->n_rows, c->n_heads, c->dim, at(&b->parts),
                                  at(&b->parts_lse), c->sinks ? at(&b->sinks) : NULL, out,
                                  lse) == RAPT_OK;
    for (size_t i = 0; ok && i < n; i++) {
        double diff = (double)at(&b->out)[i] - (double)out[i];
        diff2 += diff * diff;
        ref2 += (double)out[i] * (double)out[i];
    }
    for (uint32_t i = 0; ok && c->lse && i < c->n_rows; i++) {
        double got = at(&b->lse)[i], want = lse[i];
        double error = isinf(want) || isinf(got) ? (got == want ? 0 : 1) : fabs(got - want);
        lse_error = error <= lse_error ? lse_error : error; /* NaN counts */
    }
    double e = ref2 > 0 ? sqrt(diff2 / ref2) : sqrt(diff2);
    int guarded = check_buffer_guarded(&b->parts) && check_buffer_guarded(&b->parts_lse) &&
                  check_buffer_guarded(&b->sinks) && check_buffer_guarded(&b->out) &&
                  check_buffer_guarded(&b->lse);
    free(out);
    free(lse);
    snprintf(why, n_why, "error %.2e, lse %.2e%s", e, lse_error,
             guarded ? "" : ", a guard was overwritten");
    return ok && guarded && e <= TOLERANCE_E && lse_error <= TOLERANCE_STAT;
}

int check_run_combine(const struct check_target *target)
{
    rapt_merger *merger = NULL;
    if (rapt_merger_create(rapt_easy_device(target->easy), 4, &merger) != RAPT_OK) {
        printf("FAIL  rapt_merger_create: %s\n", rapt_last_error());
        return 0;
    }
    int all = 1;
    for (size_t i = 0; i < sizeof combinations / sizeof combinations[0]; i++) {
        const struct combination *c = &combinations[i];
        struct buffers b;
        char why[128] = "";
        uint64_t random = target->seed;
        memset(&b, 0, sizeof b);
        int ok = create(target->easy, c, &b) == RAPT_OK;
        if (ok)
            fill(c, &b, &random);
        ok = ok && execute(target->easy, merger, c, &b) == RAPT_OK;
        if (!ok)
            snprintf(why, sizeof why, "%s", rapt_last_error());
        else
            ok = compare(c, &b, why, sizeof why);
        printf("%-5s %-24s %s\n", ok ? "ok" : "FAIL", c->name, why);
        if (!ok)
            printf("      repeat: kernel_check %s --seed %llu\n", target->row,
                   (unsigned long long)target->seed);
        all &= ok;
        check_buffer_destroy(&b.parts);
        check_buffer_destroy(&b.parts_lse);
        check_buffer_destroy(&b.sinks);
        check_buffer_destroy(&b.out);
        check_buffer_destroy(&b.lse);
    }
    rapt_merger_destroy(&merger);
    return all;
}
