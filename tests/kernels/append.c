/* SPDX-License-Identifier: Apache-2.0 */

/* rapt_plan_record_append against the host: every byte of the cache and its scales after one
 * dispatch, those that must stay as they were too. */

#include "append.h"

#include "kernel_table.h"
#include "skip.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NEOX(...)                                                                                  \
    {                                                                                              \
        .struct_size = sizeof(rapt_rope), .pairing = RAPT_ROPE_NEOX, __VA_ARGS__                   \
    }
#define GPTJ(...)                                                                                  \
    {                                                                                              \
        .struct_size = sizeof(rapt_rope), .pairing = RAPT_ROPE_GPTJ, __VA_ARGS__                   \
    }

static const struct append_case cases[] = {
    {"pages of 16", 64, 64, 2, 16, NHD, RAPT_TYPE_F32, {0}, 0, 0, 0, 0, 1, 0},
    {"pages of 16, HND, f16 in", 64, 64, 2, 16, HND, RAPT_TYPE_F16, {0}, 0, 0, 0, 0, 1, 0},
    {"packed", 64, 64, 2, 0, NHD, RAPT_TYPE_F32, {0}, 0, 0, 0, 0, 1, 0},
    {"packed, HND, bf16 in", 64, 64, 2, 0, HND, RAPT_TYPE_BF16, {0}, 0, 0, 0, 0, 1, 0},
    {"padded, pages of 1", 64, 64, 2, 1, PADDED, RAPT_TYPE_F32, {0}, 0, 0, 0, 1, 1, 0},
    {"interleaved, pages of 32", 64, 64, 2, 32, INTERLEAVED, RAPT_TYPE_F16, {0}, 0, 0, 0, 1, 0, 0},
    {"d96/32", 96, 32, 3, 16, NHD, RAPT_TYPE_F32, {0}, 0, 0, 0, 0, 1, 0},
    {"f16 scales", 96, 32, 3, 16, NHD, RAPT_TYPE_F32, {0}, 0, RAPT_TYPE_F16, 0, 0, 1, 0},
    {"a scale per token",
     96,
     32,
     3,
     16,
     PADDED,
     RAPT_TYPE_F32,
     {0},
     0,
     0,
     RAPT_SCALE_TOKEN,
     0,
     1,
     0},
    {"a scale per token, f16",
     64,
     64,
     2,
     0,
     NHD,
     RAPT_TYPE_F16,
     {0},
     0,
     RAPT_TYPE_F16,
     RAPT_SCALE_TOKEN,
     0,
     0,
     0},
    {"static scales", 64, 64, 2, 16, HND, RAPT_TYPE_F32, {0}, 0, 0, RAPT_SCALE_STATIC, 0, 1, 0},
    {"static scales, f16",
     96,
     32,
     3,
     0,
     NHD,
     RAPT_TYPE_F32,
     {0},
     0,
     RAPT_TYPE_F16,
     RAPT_SCALE_STATIC,
     0,
     1,
     0},
    {"neox", 64, 64, 2, 16, NHD, RAPT_TYPE_F32, NEOX(0), 0, 0, 0, 0, 0, 0},
    {"gpt-j, HND", 64, 64, 2, 16, HND, RAPT_TYPE_F16, GPTJ(.theta = 5e5f), BY_Q_POS, 0, 0, 0, 0, 0},
    {"neox, a part of the head", 96, 32, 3, 0, PADDED, RAPT_TYPE_F32,
     NEOX(.rotary_dim = 64, .rotary_offset = 32, .attention_factor = 1.25f), BY_ROPE_POS, 0, 0, 1,
     0, 0},
    {"gpt-j, an odd part", 64, 64, 2, 16, NHD, RAPT_TYPE_BF16,
     GPTJ(.rotary_dim = 22, .rotary_offset = 5), BY_ROPE_POS, 0, 0, 0, 0, 0},
    {"neox, a table", 64, 64, 2, 16, NHD, RAPT_TYPE_F32, NEOX(.n_table_positions = 70), 0, 0, 0, 0,
     0, 1},
    {"gpt-j, a table, interleaved", 64, 64, 2, 16, INTERLEAVED, RAPT_TYPE_F16,
     GPTJ(.rotary_dim = 32, .n_table_positions = 70), 0, 0, 0, 1, 0, 1},
    {"11 heads, neox", 32, 64, 11, 16, HND, RAPT_TYPE_F16, NEOX(0), 0, 0, 0, 0, 0, 0},
    {"11 heads, a scale per token", 32, 64, 11, 16, NHD, RAPT_TYPE_F32, {0}, 0, 0,
     RAPT_SCALE_TOKEN, 0, 1, 0},
    {"d352/288, neox", 352, 288, 2, 16, NHD, RAPT_TYPE_F16, NEOX(0), 0, RAPT_TYPE_F16, 0, 0, 0, 0},
};

/* --------------------------------------------------------------------------------------- on the
 * device */

static int fail_call(struct append_run *run, const char *call)
{
    snprintf(run->why, sizeof run->why, "%s: %s", call, rapt_last_error());
    return 0;
}

static int make_plan(struct append_run *run)
{
    rapt_device *device = rapt_easy_device(run->target->easy);
    if (rapt_plan_create_forced(device, &run->params, -1, 0, &run->plan) != RAPT_OK)
        return fail_call(run, "rapt_plan_create");
    rapt_append_finish(device, &run->plan->append);
    if (rapt_append_create(device, &run->plan->params, run->target->force_prefill,
                           &run->plan->append) != RAPT_OK)
        return fail_call(run, "rapt_append_create");
    return check_plan_bind(run->target->easy, run->plan, &run->tables, &run->workspace) ==
               RAPT_OK ||
           fail_call(run, "check_plan_bind");
}

static int execute(struct append_run *run)
{
    int paged = run->c->page_size != 0;
    rapt_step_params params = {
        .struct_size = sizeof params,
        .n_seqs = APPEND_SEQS,
        .cu_q = run->cu_q,
        .cu_kv = paged ? NULL : run->cu_kv,
        .page_indptr = paged ? run->indptr : NULL,
        .page_indices = paged ? run->pages : NULL,
        .last_page_len = paged ? run->last_len : NULL,
        .n_pool_pages = run->n_pool,
        .q_pos = run->q_pos,
        .rope_pos = run->rope_pos,
        .slot = 1,
    };
    rapt_step step = {.struct_size = sizeof step};
    if (rapt_plan_prepare(run->plan, &params, &step) != RAPT_OK)
        return fail_call(run, "rapt_plan_prepare");
    rapt_append_params append = {
        .struct_size = sizeof append,
        .step = &step,
        .k_new = check_buffer_range(&run->new_rows[0]),
        .v_new = check_buffer_range(&run->new_rows[1]),
        .k = check_buffer_range(check_append_cache(run, 0)),
        .v = check_buffer_range(check_append_cache(run, 1)),
        .k_scale = check_buffer_range(&run->scales[0]),
        .v_scale = check_buffer_range(&run->scales[1]),
        .rope_table = check_buffer_range(&run->rope_table),
    };
    append.v.offset += run->cache_first[1];
    append.v.size -= run->cache_first[1];
    if (rapt_easy_begin(run->target->easy, &append.command_buffer) != RAPT_OK ||
        rapt_plan_record_append(run->plan, &append) != RAPT_OK)
        return fail_call(run, "rapt_plan_record_append");
    if (rapt_easy_submit_wait(run->target->easy, NULL) != RAPT_OK)
        return fail_call(run, "rapt_easy_submit_wait");
    rapt_plan_slot_done(run->plan, 1);
    return 1;
}

static int compare(struct append_run *run, const char *name, const struct check_buffer *buffer,
                   const uint8_t *expected)
{
    if (!buffer->buffer)
        return 1;
    if (!check_buffer_guarded(buffer)) {
        snprintf(run->why, sizeof run->why, "a guard of %s was overwritten", name);
        return 0;
    }
    const uint8_t *got = buffer->map + buffer->first;
    uint64_t n_wrong = 0, first = 0;
    for (uint64_t i = 0; expected && i < buffer->bytes; i++)
        if (got[i] != expected[i] && n_wrong++ == 0)
            first = i;
    if (!n_wrong)
        return 1;
    snprintf(run->why, sizeof run->why,
             "%s: %llu of %llu bytes differ, the first at %llu: 0x%02x, expected 0x%02x", name,
             (unsigned long long)n_wrong, (unsigned long long)buffer->bytes,
             (unsigned long long)first, got[first], expected[first]);
    return 0;
}

static int run_case(struct append_run *run)
{
    return check_append_make(run) && make_plan(run) && execute(run) &&
           compare(run, "k", &run->cache[0], run->expected[0]) &&
           compare(run, "v", &run->cache[1], run->expected[1]) &&
           compare(run, "k_scale", &run->scales[0], run->expected_scales[0]) &&
           compare(run, "v_scale", &run->scales[1], run->expected_scales[1]) &&
           compare(run, "k_new", &run->new_rows[0], NULL) &&
           compare(run, "v_new", &run->new_rows[1], NULL) &&
           compare(run, "tables", &run->tables, NULL) &&
           compare(run, "rope_table", &run->rope_table, NULL);
}

/* Scale kinds and types are only for the types that have them. */
static int is_for(const struct append_case *c, rapt_type type)
{
    if (c->scale_kind == RAPT_SCALE_TOKEN)
        return type == RAPT_TYPE_INT8;
    if (c->scale_kind == RAPT_SCALE_STATIC || c->scale_type)
        return type == RAPT_TYPE_INT8 || type == RAPT_TYPE_FP8_E4M3;
    return 1;
}

void check_run_append(struct check_target *target)
{
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        if (test_quick() && !target->only && i % 3 != 0) /* where compiling takes long */
            continue;
        if (!is_for(&cases[i], target->kv) || (target->only && strcmp(target->only, cases[i].name)))
            continue;
        struct append_run *run = calloc(1, sizeof *run);
        if (!run)
            abort();
        run->target = target;
        run->c = &cases[i];
        run->random = target->seed;
        int ok = run_case(run);
        printf("%-5s %-32s %s\n", ok ? "ok" : "FAIL", cases[i].name, run->why);
        if (!ok)
            printf("      repeat: kernel_check %s --case '%s' --seed %llu\n", target->row,
                   cases[i].name, (unsigned long long)target->seed);
        rapt_plan_destroy(&run->plan);
        check_append_finish(run);
        free(run);
        target->n_run++;
        target->n_failed += !ok;
    }
}
