/* SPDX-License-Identifier: Apache-2.0 */

/* rapt_plan_record with token lists against the float64 reference, to which a list is a bitmap:
 * lists in any order, of any length, with keys in them that the mask forbids. */

#include "check.h"

#include "kernel_table.h"
#include "random.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct check_case cases[] = {
    {.name = "d64", .d = 64, .dv = 64, .heads = 4, .kv_heads = 1, .flags = RAPT_PLAN_LSE},
    {.name = "pages, unaligned",
     .d = 96,
     .dv = 32,
     .heads = 6,
     .kv_heads = 3,
     .page_size = 8,
     .layout = CHECK_PADDED,
     .q = RAPT_TYPE_F16,
     .out = RAPT_TYPE_F16,
     .flags = RAPT_PLAN_LSE | RAPT_PLAN_SINKS},
    {.name = "everything",
     .d = 64,
     .dv = 64,
     .heads = 8,
     .kv_heads = 2,
     .page_size = 16,
     .flags = RAPT_PLAN_LSE | RAPT_PLAN_SINKS | RAPT_PLAN_ALIBI | RAPT_PLAN_MAX_LOGIT |
              RAPT_PLAN_MAX_LOGIT_REDUCED,
     .softcap = 20,
     .bias = CHECK_BIAS_HOLES,
     .positions = CHECK_POS_KV_POS0},
    {.name = "MLA", .d = 192, .dv = 128, .heads = 36, .kv_heads = 1, .flags = RAPT_PLAN_LSE},
    {.name = "q_pos in any order",
     .d = 64,
     .dv = 64,
     .heads = 2,
     .kv_heads = 2,
     .positions = CHECK_POS_SHUFFLED,
     .mask = "window(70, 20)",
     .flags = RAPT_PLAN_LSE},
};

struct token_run {
    const struct check_target *target;
    struct check_problem problem;
    rapt_plan *plan;
    rapt_step step;
    struct check_buffer tables, workspace, lists, counts;
    uint32_t stride;
    uint8_t *bits;
    uint64_t n_bits, bit_offsets[CHECK_MAX_SEQS];
    rapt_mask *mask;
    char why[300];
};

static int fail_call(struct token_run *run, const char *call)
{
    snprintf(run->why, sizeof run->why, "%s: %s", call, rapt_last_error());
    return 0;
}

static int fail(struct token_run *run, const char *why)
{
    snprintf(run->why, sizeof run->why, "%s", why);
    return 0;
}

static int make_plan(struct token_run *run)
{
    const struct check_problem *p = &run->problem;
    const struct check_case *c = &p->c;
    rapt_plan_params params = check_plan_params(p);
    params.flags |= RAPT_PLAN_TOKEN_LISTS | (c->bias ? RAPT_PLAN_BIAS : 0u);
    params.max_kv_len = 4096;
    rapt_step_params step = check_step(p);
    run->step.struct_size = sizeof run->step;
    /* one prefill kernel, which no record of this test runs */
    if (rapt_plan_create(rapt_easy_device(run->target->easy), &params, &run->plan) != RAPT_OK)
        return fail_call(run, "rapt_plan_create");
    if (strcmp(rapt_kernel_name(run->plan->selection.lists.kernel), run->target->row) != 0)
        return fail(run, "the plan takes another row");
    if (check_plan_bind(run->target->easy, run->plan, &run->tables, &run->workspace) != RAPT_OK)
        return fail_call(run, "check_plan_bind");
    return rapt_plan_prepare(run->plan, &step, &run->step) == RAPT_OK ||
           fail_call(run, "rapt_plan_prepare");
}

/* A part of the keys in random order, sometimes none, sometimes all; a few that do not exist. */
static void fill_list(struct token_run *run, uint32_t token, int b, uint32_t i)
{
    struct check_problem *p = &run->problem;
    uint32_t *list =
        (uint32_t *)(void *)(run->lists.map + run->lists.first) + (uint64_t)token * run->stride;
    uint32_t *counts = (uint32_t *)(void *)(run->counts.map + run->counts.first);
    uint32_t kv_len = (uint32_t)(p->cu_kv[b + 1] - p->cu_kv[b]), n = 0;
    uint32_t eighths = random_below(&p->random, 9);
    for (uint32_t j = 0; j < kv_len; j++) {
        if (random_below(&p->random, 8) >= eighths)
            continue;
        uint64_t bit = run->bit_offsets[b] + (uint64_t)i * kv_len + j;
        run->bits[bit / 8] |= (uint8_t)(1 << bit % 8);
        uint32_t at = random_below(&p->random, n + 1);
        list[n++] = list[at];
        list[at] = j;
    }
    if (token % 3 == 0 && n < run->stride)
        list[n++] = token % 2 ? UINT32_MAX : kv_len;
    counts[token] = token % 5 == 4 && n == run->stride ? UINT32_MAX : n;
}

static int make_lists(struct token_run *run)
{
    const struct check_problem *p = &run->problem;
    rapt_easy *easy = run->target->easy;
    uint32_t total_q = run->step.total_q;
    for (int b = 0; b < p->n_seqs; b++) {
        uint64_t kv_len = (uint64_t)(p->cu_kv[b + 1] - p->cu_kv[b]);
        run->bit_offsets[b] = run->n_bits;
        run->n_bits += (uint64_t)(p->cu_q[b + 1] - p->cu_q[b]) * kv_len;
        run->stride = kv_len > run->stride ? (uint32_t)kv_len : run->stride;
    }
    char text[128];
    snprintf(text, sizeof text, "(%s) & bitmap", p->c.mask ? p->c.mask : "causal");
    run->bits = calloc(run->n_bits / 8 + 8, 1);
    if (!run->bits || rapt_mask_parse(NULL, text, NULL, &run->mask) != RAPT_OK ||
        check_buffer_create(easy, "lists", 4ull * total_q * run->stride, 4, &run->lists) !=
            RAPT_OK ||
        check_buffer_create(easy, "counts", 4ull * total_q, 12, &run->counts) != RAPT_OK)
        return fail_call(run, "lists");
    for (int b = 0; b < p->n_seqs; b++)
        for (int32_t i = 0; i < p->cu_q[b + 1] - p->cu_q[b]; i++)
            fill_list(run, (uint32_t)(p->cu_q[b] + i), b, (uint32_t)i);
    return 1;
}

static int execute(struct token_run *run)
{
    const struct check_problem *p = &run->problem;
    rapt_record_params record = check_record(p, &run->step);
    record.token_lists = check_buffer_range(&run->lists);
    record.token_counts = check_buffer_range(&run->counts);
    record.token_list_stride = run->stride;
    if (rapt_easy_begin(run->target->easy, &record.command_buffer) != RAPT_OK)
        return fail_call(run, "rapt_easy_begin");
    int ok = rapt_plan_record(run->plan, &record) == RAPT_OK || fail_call(run, "rapt_plan_record");
    if (rapt_easy_submit_wait(run->target->easy, NULL) != RAPT_OK && ok)
        ok = fail_call(run, "rapt_easy_submit_wait");
    rapt_plan_slot_done(run->plan, run->step.slot);
    return ok;
}

static float load_out(const struct check_problem *p, uint64_t element)
{
    const uint8_t *base = p->memory[CHECK_OUT].map + p->memory[CHECK_OUT].first;
    if (p->type[CHECK_OUT] == RAPT_TYPE_F32)
        return ((const float *)(const void *)base)[element];
    return rapt_f32_from_f16(((const uint16_t *)(const void *)base)[element]);
}

static float *floats(const struct check_buffer *buffer)
{
    return buffer->buffer ? (float *)(void *)(buffer->map + buffer->first) : NULL;
}

static int compare(struct token_run *run)
{
    const struct check_problem *p = &run->problem;
    rapt_problem problem;
    size_t n = 0;
    float *out = malloc(sizeof *out * (size_t)run->step.total_q * p->c.heads * p->c.dv);
    if (!out)
        return fail(run, "no memory");
    for (int b = 0; b < p->n_seqs; b++)
        for (int32_t t = 0; t < p->cu_q[b + 1] - p->cu_q[b]; t++)
            for (uint32_t h = 0; h < p->c.heads; h++)
                for (uint32_t d = 0; d < p->c.dv; d++)
                    out[n++] = load_out(p, check_element(p, CHECK_OUT, b, (uint32_t)t, h) + d);
    const rapt_mask_data data = {
        .struct_size = sizeof data,
        .bitmap = run->bits,
        .bitmap_offsets = run->bit_offsets,
        .bitmap_bits = run->n_bits,
    };
    check_problem_describe(p, &problem);
    problem.mask = run->mask;
    problem.mask_data = &data;
    const rapt_result result = {
        .struct_size = sizeof result,
        .out = out,
        .lse = floats(&p->lse),
        .max_logit = floats(&p->max_logit),
        .max_logit_reduced = floats(&p->reduced),
    };
    rapt_error error = {.struct_size = sizeof error};
    rapt_status status = rapt_reference_check(&problem, NULL, &result, RAPT_BOUND_PORTABLE, &error);
    free(out);
    if (status != RAPT_OK)
        return fail_call(run, "rapt_reference_check");
    const struct check_buffer *const guarded[] = {&p->memory[0], &p->memory[1], &p->memory[2],
                                                  &p->memory[3], &p->lse,       &run->lists,
                                                  &run->counts,  &run->tables,  &run->workspace};
    for (size_t i = 0; i < sizeof guarded / sizeof guarded[0]; i++)
        if (!check_buffer_guarded(guarded[i]))
            return fail(run, "a guard was overwritten");
    snprintf(run->why, sizeof run->why, "%.1e of %.1e, lse %.1e, max_logit %.1e, %d NaN", error.e,
             error.bound_e, error.lse_abs, error.max_logit_abs, error.n_nan);
    return error.ok;
}

void check_run_token_lists(struct check_target *target)
{
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct check_case *c = &cases[i];
        if (target->only ? strcmp(target->only, c->name) != 0
                         : target->kv != RAPT_TYPE_F16 && i > 1)
            continue;
        struct token_run *run = calloc(1, sizeof *run);
        if (!run)
            return;
        run->target = target;
        int ok = check_problem_create(target->easy, c, target->kv, 0, target->seed + i,
                                      &run->problem) == RAPT_OK ||
                 fail_call(run, "problem");
        ok = ok && make_plan(run) && make_lists(run) && execute(run) && compare(run);
        printf("%-5s %-10s %-24s %s\n", ok ? "ok" : "FAIL", rapt_type_name(target->kv), c->name,
               run->why);
        if (!ok)
            printf("      repeat: kernel_check %s --seed %llu --case '%s'\n", target->row,
                   (unsigned long long)target->seed, c->name);
        rapt_plan_destroy(&run->plan);
        rapt_mask_destroy(&run->mask);
        check_buffer_destroy(&run->tables);
        check_buffer_destroy(&run->workspace);
        check_buffer_destroy(&run->lists);
        check_buffer_destroy(&run->counts);
        check_problem_destroy(&run->problem);
        free(run->bits);
        free(run);
        target->n_run++;
        target->n_failed += !ok;
    }
}
