/* SPDX-License-Identifier: Apache-2.0 */

/* rapt_indexer_record against the float64 reference: lists and counts, in one part and in many. */

#include "check.h"

#include <rapt/sparse.h>

#include "random.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct index_case {
    struct check_case base; /* lengths, positions, pages, mask */
    uint32_t n_heads, dim, top_k;
    rapt_type q, k;
    int ties; /* whole numbers: the reference's lists and no others */
};

static const struct index_case cases[] = {
    {{.name = "4 heads", .d = 8, .dv = 8, .heads = 1, .kv_heads = 1}, 4, 32, 20, 0, 0, 0},
    {{.name = "64 heads, pages", .d = 8, .dv = 8, .heads = 1, .kv_heads = 1, .page_size = 16},
     64,
     128,
     48,
     RAPT_TYPE_BF16,
     RAPT_TYPE_F16,
     0},
    {{.name = "f32, window",
      .d = 8,
      .dv = 8,
      .heads = 1,
      .kv_heads = 1,
      .mask = "causal & window(60, 0)"},
     3,
     64,
     30,
     RAPT_TYPE_F32,
     RAPT_TYPE_F32,
     0},
    {{.name = "q_pos in any order, pages of 1",
      .d = 8,
      .dv = 8,
      .heads = 1,
      .kv_heads = 1,
      .page_size = 1,
      .positions = CHECK_POS_SHUFFLED},
     17,
     8,
     7,
     RAPT_TYPE_F16,
     RAPT_TYPE_BF16,
     0},
    {{.name = "kv_pos0, more than there are",
      .d = 8,
      .dv = 8,
      .heads = 1,
      .kv_heads = 1,
      .positions = CHECK_POS_KV_POS0},
     16,
     256,
     500,
     RAPT_TYPE_F16,
     RAPT_TYPE_F16,
     0},
    {{.name = "ties", .d = 8, .dv = 8, .heads = 1, .kv_heads = 1}, 5, 16, 33, 0, 0, 1},
    {{.name = "long",
      .d = 8,
      .dv = 8,
      .heads = 1,
      .kv_heads = 1,
      .page_size = 64,
      .n_seqs = 3,
      .q_len = {2, 0, 1},
      .kv_len = {9000, 33, 20000}},
     2,
     16,
     2048,
     0,
     0,
     1},
};

struct index_run {
    const struct check_target *target;
    const struct index_case *c;
    struct check_problem problem;
    rapt_problem described;
    rapt_index_problem index;
    rapt_plan *plan;
    rapt_step step;
    struct check_buffer tables, own, workspace, q, k, weights, lists, counts;
    uint32_t max_kv_len;
    char why[300];
};

static int fail_call(struct index_run *run, const char *call)
{
    snprintf(run->why, sizeof run->why, "%s: %s", call, rapt_last_error());
    return 0;
}

static int fail(struct index_run *run, const char *why)
{
    snprintf(run->why, sizeof run->why, "%s", why);
    return 0;
}

static int make_plan(struct index_run *run)
{
    const struct check_problem *p = &run->problem;
    run->max_kv_len = check_longest_kv(p);
    rapt_plan_params params = check_plan_params(p);
    params.n_steps_in_flight = 1;
    rapt_step_params step = check_step(p);
    run->step.struct_size = sizeof run->step;
    if (rapt_plan_create_forced(rapt_easy_device(run->target->easy), &params, -1, 0, &run->plan) !=
        RAPT_OK)
        return fail_call(run, "rapt_plan_create");
    if (check_plan_bind(run->target->easy, run->plan, &run->tables, &run->own) != RAPT_OK)
        return fail_call(run, "check_plan_bind");
    return rapt_plan_prepare(run->plan, &step, &run->step) == RAPT_OK ||
           fail_call(run, "rapt_plan_prepare");
}

static rapt_type type_of(rapt_type type)
{
    return type ? type : RAPT_TYPE_F16;
}

static void store(struct check_buffer *to, rapt_type type, uint64_t i, float x)
{
    uint16_t bits = type == RAPT_TYPE_F16 ? rapt_f16_from_f32(x) : rapt_bf16_from_f32(x);
    if (type == RAPT_TYPE_F32)
        memcpy(to->map + to->first + 4 * i, &x, 4);
    else
        memcpy(to->map + to->first + 2 * i, &bits, 2);
}

static float number(struct index_run *run)
{
    return run->c->ties ? (float)random_between(&run->problem.random, -1, 1)
                        : random_normal(&run->problem.random);
}

/* Queries have padded heads, keys padded rows; what no key lies in stays poison. */
static int make_tensors(struct index_run *run)
{
    struct check_problem *p = &run->problem;
    const struct index_case *c = run->c;
    rapt_easy *easy = run->target->easy;
    uint32_t total_q = run->step.total_q, pitch = c->dim + 2, size = c->base.page_size;
    uint64_t token = (uint64_t)c->n_heads * pitch + 4, n_keys = (uint64_t)p->cu_kv[p->n_seqs];
    uint64_t n_rows = size ? (uint64_t)p->n_pool * size : n_keys;
    rapt_type q = type_of(c->q), k = type_of(c->k);
    uint64_t q_bytes = total_q * token * rapt_type_bytes(q);
    uint64_t k_bytes = n_rows * pitch * rapt_type_bytes(k);
    if (check_buffer_create(easy, "q", q_bytes, 4, &run->q) != RAPT_OK ||
        check_buffer_create(easy, "k", k_bytes, 8, &run->k) != RAPT_OK ||
        check_buffer_create(easy, "weights", 4ull * total_q * c->n_heads, 12, &run->weights) !=
            RAPT_OK ||
        check_buffer_create(easy, "lists", 4ull * total_q * c->top_k, 4, &run->lists) != RAPT_OK ||
        check_buffer_create(easy, "counts", 4ull * total_q, 0, &run->counts) != RAPT_OK)
        return fail_call(run, "buffers");
    for (uint32_t t = 0; t < total_q; t++)
        for (uint32_t h = 0; h < c->n_heads; h++) {
            for (uint32_t d = 0; d < c->dim; d++)
                store(&run->q, q, t * token + (uint64_t)h * pitch + d, number(run));
            store(&run->weights, RAPT_TYPE_F32, (uint64_t)t * c->n_heads + h, number(run));
        }
    for (int b = 0; b < p->n_seqs; b++)
        for (uint32_t j = 0; j < (uint32_t)(p->cu_kv[b + 1] - p->cu_kv[b]); j++) {
            uint64_t row = (uint64_t)p->cu_kv[b] + j;
            if (size)
                row = (uint64_t)p->pages[p->indptr[b] + j / size] * size + j % size;
            for (uint32_t d = 0; d < c->dim; d++)
                store(&run->k, k, row * pitch + d, number(run));
        }
    run->index = (rapt_index_problem){
        .struct_size = sizeof run->index,
        .n_heads = c->n_heads,
        .head_dim = c->dim,
        .q = {.data = run->q.map + run->q.first,
              .n_elements = (size_t)(q_bytes / rapt_type_bytes(q)),
              .type = q,
              .layout = {.token_stride = token, .head_stride = pitch}},
        .k = {.data = run->k.map + run->k.first,
              .n_elements = (size_t)(k_bytes / rapt_type_bytes(k)),
              .type = k,
              .layout = {.token_stride = pitch}},
        .weights = (const float *)(const void *)(run->weights.map + run->weights.first),
    };
    run->q.hash = check_buffer_hash(&run->q);
    run->k.hash = check_buffer_hash(&run->k);
    return 1;
}

static int execute(struct index_run *run, rapt_indexer *indexer)
{
    uint64_t n =
        rapt_indexer_workspace_bytes(indexer, run->step.n_seqs, run->step.total_q, run->max_kv_len);
    check_buffer_destroy(&run->workspace);
    if (check_buffer_create(run->target->easy, "workspace", n, (256 - CHECK_GUARD % 256) % 256,
                            &run->workspace) != RAPT_OK)
        return fail_call(run, "buffers");
    memset(run->lists.map + run->lists.first, 0xee, run->lists.bytes);
    memset(run->counts.map + run->counts.first, 0xee, run->counts.bytes);
    rapt_indexer_record_params record = {
        .struct_size = sizeof record,
        .step = &run->step,
        .q = check_buffer_range(&run->q),
        .k = check_buffer_range(&run->k),
        .weights = check_buffer_range(&run->weights),
        .workspace = check_buffer_range(&run->workspace),
        .lists = check_buffer_range(&run->lists),
        .counts = check_buffer_range(&run->counts),
    };
    if (rapt_easy_begin(run->target->easy, &record.command_buffer) != RAPT_OK)
        return fail_call(run, "rapt_easy_begin");
    int ok =
        rapt_indexer_record(indexer, &record) == RAPT_OK || fail_call(run, "rapt_indexer_record");
    if (rapt_easy_submit_wait(run->target->easy, NULL) != RAPT_OK && ok)
        ok = fail_call(run, "rapt_easy_submit_wait");
    rapt_plan_slot_done(run->plan, run->step.slot);
    return ok;
}

static int compare(struct index_run *run)
{
    rapt_choice_error error = {.struct_size = sizeof error};
    const uint32_t *lists = (const uint32_t *)(const void *)(run->lists.map + run->lists.first);
    const uint32_t *counts = (const uint32_t *)(const void *)(run->counts.map + run->counts.first);
    const struct check_buffer *const guarded[] = {&run->q,      &run->k,      &run->weights,
                                                  &run->lists,  &run->counts, &run->workspace,
                                                  &run->tables, &run->own};
    for (size_t i = 0; i < sizeof guarded / sizeof guarded[0]; i++)
        if (!check_buffer_guarded(guarded[i]))
            return fail(run, "a guard was overwritten");
    if (check_buffer_hash(&run->q) != run->q.hash || check_buffer_hash(&run->k) != run->k.hash)
        return fail(run, "an input was overwritten");
    for (uint32_t t = 0; t < run->step.total_q; t++) {
        uint32_t n = 0;
        while (n < run->c->top_k && lists[(uint64_t)t * run->c->top_k + n] != UINT32_MAX)
            n++;
        if (n != counts[t])
            return fail(run, "a count is not that of its list");
    }
    if (rapt_reference_indexer_check(&run->described, NULL, &run->index, run->c->top_k, lists,
                                     &error) != RAPT_OK)
        return fail_call(run, "rapt_reference_indexer_check");
    snprintf(run->why, sizeof run->why,
             "%llu of %llu rows wrong, first %lld, %llu same, worst %.1e",
             (unsigned long long)error.n_wrong, (unsigned long long)error.n_rows,
             (long long)error.first_wrong, (unsigned long long)error.n_same, error.worst);
    return error.ok && error.n_rows == run->step.total_q &&
           (!run->c->ties || error.n_same == error.n_rows);
}

static int run_case(struct index_run *run)
{
    rapt_indexer *indexer = NULL;
    check_problem_describe(&run->problem, &run->described);
    int ok = make_plan(run) && make_tensors(run);
    for (int again = 0; ok && again < 2; again++) {
        const rapt_indexer_params params = {
            .struct_size = sizeof params,
            .n_heads = run->c->n_heads,
            .head_dim = run->c->dim,
            .q_type = run->c->q,
            .k_type = run->c->k,
            .q = run->index.q.layout,
            .k = run->index.k.layout,
            .top_k = run->c->top_k,
            .score_bytes = again ? 4ull * run->max_kv_len * 11 : 0,
        };
        ok = rapt_indexer_create(run->plan, &params, &indexer) == RAPT_OK ||
             fail_call(run, "rapt_indexer_create");
        ok = ok && execute(run, indexer) && compare(run);
        rapt_indexer_destroy(&indexer);
    }
    return ok;
}

void check_run_indexer(struct check_target *target)
{
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct check_case *c = &cases[i].base;
        if (target->only && strcmp(target->only, c->name) != 0)
            continue;
        struct index_run *run = calloc(1, sizeof *run);
        if (!run)
            return;
        run->target = target;
        run->c = &cases[i];
        int ok = check_problem_create(target->easy, c, RAPT_TYPE_F16, 0, target->seed + i,
                                      &run->problem) == RAPT_OK
                     ? run_case(run)
                     : fail_call(run, "problem");
        printf("%-5s %-28s %s\n", ok ? "ok" : "FAIL", c->name, run->why);
        if (!ok)
            printf("      repeat: kernel_check %s --seed %llu --case '%s'\n", target->row,
                   (unsigned long long)target->seed, c->name);
        rapt_plan_destroy(&run->plan);
        struct check_buffer *const buffers[] = {&run->tables, &run->own,   &run->workspace,
                                                &run->q,      &run->k,     &run->weights,
                                                &run->lists,  &run->counts};
        for (size_t j = 0; j < sizeof buffers / sizeof buffers[0]; j++)
            check_buffer_destroy(buffers[j]);
        check_problem_destroy(&run->problem);
        free(run);
        target->n_run++;
        target->n_failed += !ok;
    }
}
