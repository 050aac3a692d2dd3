/* SPDX-License-Identifier: Apache-2.0 */

/* rapt_moba_record against the float64 reference: gates that are read out, choices with and without
 * them, in one part and in many. */

#include "check.h"

#include <rapt/sparse.h>

#include "kernel_table.h"
#include "random.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct moba_case {
    struct check_case base;
    uint32_t chunk, top_k;
    int rope;
    int exact; /* whole numbers: the reference's choices and no others */
};

static const struct moba_case cases[] = {
    {{.name = "d64", .d = 64, .dv = 64, .heads = 4, .kv_heads = 1}, 16, 3, 0, 0},
    {{.name = "pages of 16", .d = 128, .dv = 64, .heads = 4, .kv_heads = 2, .page_size = 16},
     32,
     2,
     0,
     0},
    {{.name = "pages, unaligned",
      .d = 96,
      .dv = 32,
      .heads = 3,
      .kv_heads = 3,
      .page_size = 8,
      .layout = CHECK_PADDED,
      .q = RAPT_TYPE_F16},
     16,
     4,
     0,
     0},
    {{.name = "HND, kv_pos0",
      .d = 64,
      .dv = 64,
      .heads = 20,
      .kv_heads = 2,
      .page_size = 32,
      .layout = CHECK_HND,
      .positions = CHECK_POS_KV_POS0,
      .q = RAPT_TYPE_BF16},
     48,
     3,
     0,
     0},
    {{.name = "q_pos in any order",
      .d = 64,
      .dv = 64,
      .heads = 2,
      .kv_heads = 1,
      .positions = CHECK_POS_SHUFFLED},
     16,
     5,
     0,
     0},
    {{.name = "positions before and after the keys",
      .d = 32,
      .dv = 32,
      .heads = 2,
      .kv_heads = 2,
      .positions = CHECK_POS_Q_POS0},
     16,
     2,
     0,
     0},
    {{.name = "more than there are", .d = 64, .dv = 64, .heads = 2, .kv_heads = 1}, 64, 200, 0, 0},
    {{.name = "one chunk each", .d = 64, .dv = 64, .heads = 2, .kv_heads = 1}, 4096, 1, 0, 0},
    {{.name = "rotated", .d = 64, .dv = 64, .heads = 4, .kv_heads = 2, .page_size = 16},
     32,
     3,
     1,
     0},
    {{.name = "ties", .d = 64, .dv = 64, .heads = 4, .kv_heads = 2, .data = CHECK_TIES},
     16,
     4,
     0,
     1},
    {{.name = "long",
      .d = 64,
      .dv = 64,
      .heads = 2,
      .kv_heads = 1,
      .n_seqs = 2,
      .q_len = {3, 1},
      .kv_len = {5000, 16384},
      .data = CHECK_TIES},
     16,
     100,
     0,
     1},
};

struct moba_run {
    const struct check_target *target;
    const struct moba_case *c;
    struct check_problem problem;
    rapt_problem described;
    rapt_rope rope;
    rapt_plan *plan;
    rapt_step step;
    int lists; /* attention follows: 1 by the portable rows, 2 by those the device is given */
    uint32_t block_q;
    struct check_buffer tables, workspace, own, gates, choices, lse;
    uint32_t n_rows, n_chunks;
    uint64_t total_kv;
    char why[300];
};

static int fail_call(struct moba_run *run, const char *call)
{
    snprintf(run->why, sizeof run->why, "%s: %s", call, rapt_last_error());
    return 0;
}

static int fail(struct moba_run *run, const char *why)
{
    snprintf(run->why, sizeof run->why, "%s", why);
    return 0;
}

static int forced(const struct moba_run *run, const char *op)
{
    char name[64];
    snprintf(name, sizeof name, "%s_%s_pt", op, rapt_type_name(run->problem.kv));
    return run->lists == 0 ? -1 : run->lists == 1 ? rapt_kernel_find(name) + 1 : 0;
}

static int make_plan(struct moba_run *run)
{
    const struct check_problem *p = &run->problem;
    const struct check_case *c = &p->c;
    const rapt_moba_params moba = {
        .struct_size = sizeof moba, .chunk = run->c->chunk, .top_k = run->c->top_k};
    rapt_device_lists lists = {.struct_size = sizeof lists};
    rapt_mask *causal = NULL;
    uint32_t longest = check_longest_kv(p), max_spans = 0;
    uint32_t total_q = (uint32_t)p->cu_q[p->n_seqs];
    if (rapt_moba_device_lists(&moba, c->heads, (uint32_t)p->n_seqs, total_q, longest, run->block_q,
                               &lists, &max_spans) != RAPT_OK ||
        rapt_mask_parse(NULL, "causal", NULL, &causal) != RAPT_OK)
        return fail_call(run, "rapt_moba_device_lists");
    rapt_plan_params params = check_plan_params(p);
    params.out_type = RAPT_TYPE_F32;
    params.rope = run->c->rope ? &run->rope : NULL;
    params.flags |= run->c->rope ? RAPT_PLAN_ROPE_Q : 0u;
    if (run->lists) {
        params.flags |= RAPT_PLAN_BLOCKS | RAPT_PLAN_LSE;
        params.head_group = 1;
        params.list_block_q = run->block_q;
        params.max_spans = max_spans;
        params.max_bit_words = lists.bit_words;
    }
    rapt_step_params step = check_step(p);
    step.mask = run->lists ? causal : NULL;
    step.device_lists = run->lists ? &lists : NULL;
    step.slot = 1;
    run->n_chunks = (longest + run->c->chunk - 1) / run->c->chunk;
    run->n_rows = (uint32_t)p->cu_q[p->n_seqs] * c->heads;
    run->total_kv = (uint64_t)p->cu_kv[p->n_seqs];
    run->step.struct_size = sizeof run->step;
    int ok = 1;
    if (rapt_plan_create_forced(rapt_easy_device(run->target->easy), &params,
                                forced(run, "prefill"), run->lists ? forced(run, "decode") : 0,
                                &run->plan) != RAPT_OK)
        ok = fail_call(run, "rapt_plan_create");
    else if (check_plan_bind(run->target->easy, run->plan, &run->tables, &run->own) != RAPT_OK)
        ok = fail_call(run, "check_plan_bind");
    else if (rapt_plan_prepare(run->plan, &step, &run->step) != RAPT_OK)
        ok = fail_call(run, "rapt_plan_prepare");
    rapt_mask_destroy(&causal);
    return ok;
}

static int make_buffers(struct moba_run *run, const rapt_moba *moba)
{
    rapt_easy *easy = run->target->easy;
    uint64_t n = rapt_moba_workspace_bytes(moba, (uint32_t)run->problem.n_seqs, run->step.total_q,
                                           run->total_kv, run->n_chunks * run->c->chunk);
    if (check_buffer_create(easy, "workspace", n, (256 - CHECK_GUARD % 256) % 256,
                            &run->workspace) != RAPT_OK ||
        check_buffer_create(easy, "gates", 4ull * run->n_rows * (run->n_chunks + 3), 4,
                            &run->gates) != RAPT_OK ||
        check_buffer_create(easy, "choices", 4ull * run->n_rows * run->c->top_k, 12,
                            &run->choices) != RAPT_OK ||
        check_buffer_create(easy, "lse", 4ull * run->n_rows, 4, &run->lse) != RAPT_OK)
        return fail_call(run, "buffers");
    return 1;
}

static int execute(struct moba_run *run, rapt_moba *moba, int gates)
{
    const struct check_problem *p = &run->problem;
    rapt_moba_record_params record = {
        .struct_size = sizeof record,
        .step = &run->step,
        .q = check_range(p, CHECK_Q),
        .k = check_range(p, CHECK_K),
        .k_scale = check_buffer_range(&p->scales[0]),
        .workspace = check_buffer_range(&run->workspace),
        .gate_stride = run->n_chunks + 3,
        .choices = check_buffer_range(&run->choices),
        .lists = run->lists != 0,
    };
    rapt_record_params attend = check_record(p, &run->step);
    attend.lse = check_buffer_range(&run->lse);
    if (gates)
        record.gates = check_buffer_range(&run->gates);
    memset(run->workspace.map + run->workspace.first, 0xff, run->workspace.bytes);
    memset(run->choices.map + run->choices.first, 0xee, run->choices.bytes);
    if (rapt_easy_begin(run->target->easy, &record.command_buffer) != RAPT_OK)
        return fail_call(run, "rapt_easy_begin");
    int ok = rapt_moba_record(moba, &record) == RAPT_OK || fail_call(run, "rapt_moba_record");
    if (ok && run->lists) {
        attend.command_buffer = record.command_buffer;
        ok = rapt_plan_record(run->plan, &attend) == RAPT_OK || fail_call(run, "rapt_plan_record");
    }
    if (rapt_easy_submit_wait(run->target->easy, NULL) != RAPT_OK && ok)
        ok = fail_call(run, "rapt_easy_submit_wait");
    rapt_plan_slot_done(run->plan, run->step.slot);
    return ok;
}

static int compare_gates(struct moba_run *run)
{
    uint32_t stride = run->n_chunks + 3;
    const float *got = (const float *)(const void *)(run->gates.map + run->gates.first);
    double *want = malloc(sizeof *want * run->n_rows * stride), worst = 0;
    if (!want || rapt_reference_moba(&run->described, NULL, run->c->chunk, run->c->top_k, stride,
                                     want, NULL) != RAPT_OK) {
        free(want);
        return fail_call(run, "rapt_reference_moba");
    }
    int ok = 1;
    size_t n = (size_t)run->n_rows * stride;
    double most = 0; /* of all rows: in one of a single gate everything may cancel */
    for (size_t i = 0; i < n; i++)
        if (isfinite(want[i]))
            most = fmax(most, fabs(want[i]));
    for (size_t i = 0; i < n; i++) {
        double x = got[i], y = want[i];
        if (isinf(y) ? x != y : !(fabs(x - y) <= 1e-6 * most))
            ok = 0;
        else if (!isinf(y))
            worst = fmax(worst, fabs(x - y) / most);
    }
    free(want);
    if (!ok)
        return fail(run, "gates differ");
    snprintf(run->why, sizeof run->why, "gates %.1e", worst);
    return 1;
}

static int compare_choices(struct moba_run *run)
{
    rapt_choice_error error = {.struct_size = sizeof error};
    const uint32_t *choices =
        (const uint32_t *)(const void *)(run->choices.map + run->choices.first);
    if (rapt_reference_moba_check(&run->described, NULL, run->c->chunk, run->c->top_k, choices,
                                  &error) != RAPT_OK)
        return fail_call(run, "rapt_reference_moba_check");
    if (error.ok && error.n_rows == run->n_rows && (!run->c->exact || error.n_same == error.n_rows))
        return 1;
    snprintf(run->why, sizeof run->why,
             "choices: %llu of %llu rows wrong, the first %lld, %llu same",
             (unsigned long long)error.n_wrong, (unsigned long long)error.n_rows,
             (long long)error.first_wrong, (unsigned long long)error.n_same);
    return 0;
}

/* Attention to what was chosen: to the reference a bias that forbids the rest. */
static int compare_attention(struct moba_run *run)
{
    struct check_problem *p = &run->problem;
    const uint32_t *choices =
        (const uint32_t *)(const void *)(run->choices.map + run->choices.first);
    uint32_t heads = p->c.heads, k = run->c->top_k, most_q = 0, most_kv = 0;
    uint64_t offsets[CHECK_MAX_SEQS], area = 0;
    for (int b = 0; b < p->n_seqs; b++) {
        uint32_t q_len = (uint32_t)(p->cu_q[b + 1] - p->cu_q[b]);
        uint32_t kv_len = (uint32_t)(p->cu_kv[b + 1] - p->cu_kv[b]);
        most_q = q_len > most_q ? q_len : most_q;
        most_kv = kv_len > most_kv ? kv_len : most_kv;
    }
    area = (uint64_t)most_q * most_kv;
    size_t n = (size_t)p->n_seqs * heads * area;
    float *bias = malloc(n * sizeof *bias), *out = malloc(4ull * run->n_rows * p->c.dv);
    for (size_t i = 0; bias && i < n; i++)
        bias[i] = -INFINITY;
    uint64_t at = 0;
    for (int b = 0; bias && out && b < p->n_seqs; b++) {
        offsets[b] = (uint64_t)b * heads * area;
        for (int32_t t = 0; t < p->cu_q[b + 1] - p->cu_q[b]; t++)
            for (uint32_t h = 0; h < heads; h++) {
                uint64_t row = ((uint64_t)p->cu_q[b] + (uint32_t)t) * heads + h;
                uint32_t kv_len = (uint32_t)(p->cu_kv[b + 1] - p->cu_kv[b]);
                const float *from = (const float *)(const void *)(p->memory[CHECK_OUT].map +
                                                                  p->memory[CHECK_OUT].first) +
                                    check_element(p, CHECK_OUT, b, (uint32_t)t, h);
                memcpy(out + at, from, 4ull * p->c.dv);
                at += p->c.dv;
                for (uint32_t i = 0; i < k; i++) {
                    uint64_t first = (uint64_t)choices[row * k + i] * run->c->chunk;
                    for (uint64_t j = first; j < first + run->c->chunk && j < kv_len; j++)
                        bias[offsets[b] + h * area + (uint64_t)t * kv_len + j] = 0;
                }
            }
    }
    rapt_problem problem = run->described;
    problem.bias = (rapt_array){
        .data = bias, .n_elements = n, .type = RAPT_TYPE_F32, .layout.head_stride = area};
    problem.bias_offsets = offsets;
    const rapt_result result = {
        .struct_size = sizeof result,
        .out = out,
        .lse = (float *)(void *)(run->lse.map + run->lse.first),
    };
    rapt_error error = {.struct_size = sizeof error};
    int ok = bias && out &&
             rapt_reference_check(&problem, NULL, &result, RAPT_BOUND_PORTABLE, &error) == RAPT_OK;
    free(bias);
    free(out);
    if (!ok)
        return fail_call(run, "rapt_reference_check");
    snprintf(run->why, sizeof run->why, "attention %.1e of %.1e, lse %.1e, %d NaN", error.e,
             error.bound_e, error.lse_abs, error.n_nan);
    return error.ok;
}

static int check_memory(struct moba_run *run)
{
    const struct check_problem *p = &run->problem;
    const struct check_buffer *const guarded[] = {
        &p->memory[0], &p->memory[1], &p->memory[2],        &p->scales[0],
        &run->tables,  &run->own,     &run->workspace,      &run->gates,
        &run->choices, &run->lse,     &p->memory[CHECK_OUT]};
    for (size_t i = 0; i < sizeof guarded / sizeof guarded[0]; i++)
        if (!check_buffer_guarded(guarded[i]))
            return fail(run, "a guard was overwritten");
    for (int t = CHECK_Q; t <= CHECK_V; t++)
        if (p->memory[t].buffer && check_buffer_hash(&p->memory[t]) != p->memory[t].hash)
            return fail(run, "an input was overwritten");
    return 1;
}

static int run_case(struct moba_run *run)
{
    rapt_moba *moba = NULL;
    uint8_t *first = NULL;
    int ok = make_plan(run);
    rapt_moba_params params = {
        .struct_size = sizeof params, .chunk = run->c->chunk, .top_k = run->c->top_k};
    check_problem_describe(&run->problem, &run->described);
    run->described.rope = run->c->rope ? &run->rope : NULL;
    /* All in one go with the gates, then a few rows at a time without. */
    for (int again = 0; ok && again < 2; again++) {
        params.score_bytes = again ? 4ull * run->n_chunks * 40 : 0;
        ok = rapt_moba_create(run->plan, &params, &moba) == RAPT_OK ||
             fail_call(run, "rapt_moba_create");
        ok = ok && (again || make_buffers(run, moba)) && execute(run, moba, !again) &&
             check_memory(run) && compare_choices(run) && (again || compare_gates(run)) &&
             (!run->lists || compare_attention(run));
        if (ok && !again && (first = malloc(run->choices.bytes)))
            memcpy(first, run->choices.map + run->choices.first, run->choices.bytes);
        rapt_moba_destroy(&moba);
    }
    if (ok && (!first || memcmp(first, run->choices.map + run->choices.first, run->choices.bytes)))
        ok = fail(run, "part by part other chunks are chosen");
    free(first);
    return ok;
}

static void run_one(struct check_target *target, size_t i, int lists)
{
    struct moba_run *run = calloc(1, sizeof *run);
    const struct check_case *c = &cases[i].base;
    if (!run)
        return;
    run->target = target;
    run->c = &cases[i];
    run->lists = lists;
    run->block_q = i % 3 == 0 ? 64 : i % 3 == 1 ? 16 : 128;
    run->rope = (rapt_rope){.struct_size = sizeof run->rope, .pairing = RAPT_ROPE_NEOX};
    int ok = check_problem_create(target->easy, c, target->kv, 0, target->seed + i,
                                  &run->problem) == RAPT_OK
                 ? run_case(run)
                 : fail_call(run, "problem");
    printf("%-5s %-10s %-24s %s\n", ok ? "ok" : "FAIL", rapt_type_name(target->kv), c->name,
           run->why);
    if (!ok)
        printf("      repeat: kernel_check %s --seed %llu --case '%s'\n", target->row,
               (unsigned long long)target->seed, c->name);
    rapt_plan_destroy(&run->plan);
    check_buffer_destroy(&run->tables);
    check_buffer_destroy(&run->own);
    check_buffer_destroy(&run->workspace);
    check_buffer_destroy(&run->gates);
    check_buffer_destroy(&run->choices);
    check_buffer_destroy(&run->lse);
    check_problem_destroy(&run->problem);
    free(run);
    target->n_run++;
    target->n_failed += !ok;
}

void check_run_moba(struct check_target *target)
{
    int lists = strncmp(target->row, "moba_lists", 10) == 0;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct check_case *c = &cases[i].base;
        if ((target->only && strcmp(target->only, c->name) != 0) ||
            (target->kv != RAPT_TYPE_F16 && i >= 4) ||
            (target->kv >= RAPT_TYPE_INT8 && cases[i].exact) || (lists && i % 2 && !target->only))
            continue;
        run_one(target, i, lists);
        if (lists && i % 8 == 0) /* shapes compile for seconds on CPU drivers */
            run_one(target, i, 2);
    }
}
