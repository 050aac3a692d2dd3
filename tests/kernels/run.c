/* SPDX-License-Identifier: Apache-2.0 */

/* Runs a case through the explicit tier with the kernels forced, and compares. */

#include "check.h"

#include "kernel_table.h"
#include "tolerance.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct run {
    rapt_easy *easy;
    rapt_plan *plan;
    struct check_problem problem;
    struct check_buffer tables, workspace;
    char why[512];
};

static int fail(struct run *run, const char *why)
{
    snprintf(run->why, sizeof run->why, "%s", why);
    return 0;
}

static int fail_call(struct run *run, const char *call)
{
    snprintf(run->why, sizeof run->why, "%s: %s", call, rapt_last_error());
    return 0;
}

/* ----------------------------------------------------------------------------------------- plan */

static int make_plan(struct run *run, const struct check_target *target)
{
    const struct check_problem *p = &run->problem;
    const struct check_case *c = &p->c;
    rapt_plan_params params = check_plan_params(p);
    params.path = target->path;
    params.max_records_per_step = 16;
    params.block_q = c->block_q;
    params.block_kv = c->block_kv;
    params.n_splits = c->n_splits;
    params.fixed_split = c->fixed_split;
    params.max_keys_per_item = c->max_keys;
    params.integer_dot = RAPT_CHOICE_NEVER;
    if (c->lists) {
        params.flags |= RAPT_PLAN_BLOCKS;
        params.list_block_q = c->list_q;
        params.max_spans =
            p->lists.most_rows * (p->lists.most_keys + 2) + 2 + p->lists.most_entries;
        params.max_bit_words =
            p->lists.most_blocks * c->list_q * (c->list_kv < 32 ? 1 : c->list_kv / 32) + 1 +
            p->lists.most_bit_words;
    }
    if (rapt_plan_create_forced(rapt_easy_device(run->easy), &params, target->force_prefill,
                                target->force_decode, &run->plan) != RAPT_OK)
        return fail_call(run, "rapt_plan_create_forced");
    return check_plan_bind(run->easy, run->plan, &run->tables, &run->workspace) == RAPT_OK ||
           fail_call(run, "check_plan_bind");
}

/* -------------------------------------------------------------------------------------- execute */

/* With the lists of the sequences from `first` on. */
static int prepare_lists(struct run *run, rapt_step_params *params, uint32_t first, rapt_step *step)
{
    const struct check_problem *p = &run->problem;
    int on_device = p->c.lists == CHECK_LISTS_DEVICE;
    const rapt_device_lists lists = check_lists_device(p);
    struct check_table table = {0};
    rapt_status status = RAPT_OK;
    if (!p->lists.table)
        status = check_table_create(p, first, params->n_seqs, &table);
    if (on_device) {
        params->device_lists = &lists;
    } else {
        params->mask = NULL;
        params->block_table = p->lists.table
                                  ? p->lists.table
                                  : (const struct rapt_block_table *)(const void *)&table.parts;
    }
    if (status == RAPT_OK)
        status = rapt_plan_prepare(run->plan, params, step);
    if (status == RAPT_OK && on_device)
        check_table_write(p, first, &table,
                          (uint32_t *)(void *)(run->tables.map + run->tables.first +
                                               params->slot * run->plan->places.slot_bytes));
    check_table_destroy(&table);
    return status == RAPT_OK || fail_call(run, "rapt_plan_prepare");
}

/* The whole batch, or one sequence of it alone (with its own offsets). */
static int prepare(struct run *run, int only, rapt_step *step)
{
    struct check_problem *p = &run->problem;
    const struct check_case *c = &p->c;
    int first = only < 0 ? 0 : only;
    uint32_t zero[2] = {0, 0};
    int32_t cu_q[2], cu_kv[2];
    uint64_t offsets[CHECK_N_TENSORS], scale_offsets[2];
    rapt_step_params params = check_step(p);
    if (only >= 0) {
        params.n_seqs = 1;
        params.slot = 1;
        params.last_page_len += params.last_page_len ? first : 0;
        params.q_pos0 += params.q_pos0 ? first : 0;
        params.kv_pos0 += params.kv_pos0 ? first : 0;
        params.prefix += params.prefix ? first : 0;
        params.bias_offsets += params.bias_offsets ? first : 0;
        cu_q[0] = cu_kv[0] = 0;
        cu_q[1] = p->cu_q[only + 1] - p->cu_q[only];
        cu_kv[1] = p->cu_kv[only + 1] - p->cu_kv[only];
        params.cu_q = cu_q;
        for (int t = 0; t < CHECK_N_TENSORS; t++)
            offsets[t] = (t == CHECK_K || t == CHECK_V) && c->page_size
                             ? 0
                             : check_element(p, (enum check_tensor)t, only, 0, 0);
        params.q_offsets = &offsets[CHECK_Q];
        params.out_offsets = &offsets[CHECK_OUT];
        params.q_pos = p->q_pos ? p->q_pos + p->cu_q[only] : NULL;
        if (c->page_size) {
            zero[1] = p->indptr[only + 1] - p->indptr[only];
            params.page_indptr = zero;
            params.page_indices = p->pages + p->indptr[only];
        } else {
            params.cu_kv = cu_kv;
            params.k_offsets = &offsets[CHECK_K];
            params.v_offsets = &offsets[CHECK_V];
            for (int i = 0; i < 2; i++)
                scale_offsets[i] = check_scale_offset(p, i ? CHECK_V : CHECK_K, only);
            if (p->scales[0].buffer && c->scale_kind != RAPT_SCALE_STATIC) {
                params.k_scale_offsets = &scale_offsets[0];
                params.v_scale_offsets = &scale_offsets[1];
            }
        }
    }
    step->struct_size = sizeof *step;
    if (c->lists)
        return prepare_lists(run, &params, (uint32_t)first, step);
    if (rapt_plan_prepare(run->plan, &params, step) != RAPT_OK)
        return fail_call(run, "rapt_plan_prepare");
    return 1;
}

static void poison(struct check_buffer *buffer)
{
    if (buffer->buffer)
        memset(buffer->map + buffer->first, 0xff, buffer->bytes);
}

static int submit(struct run *run, rapt_record_params *record)
{
    if (rapt_easy_begin(run->easy, &record->command_buffer) != RAPT_OK)
        return fail_call(run, "rapt_easy_begin");
    if (rapt_plan_record(run->plan, record) != RAPT_OK)
        return fail_call(run, "rapt_plan_record");
    if (rapt_easy_submit_wait(run->easy, NULL) != RAPT_OK)
        return fail_call(run, "rapt_easy_submit_wait");
    rapt_plan_slot_done(run->plan, record->step->slot);
    return 1;
}

static int execute_once(struct run *run, const rapt_step *step, uint32_t n_slices)
{
    struct check_problem *p = &run->problem;
    poison(&p->memory[CHECK_OUT]);
    poison(&p->lse);
    poison(&p->max_logit);
    poison(&p->reduced);
    poison(&run->workspace);
    rapt_record_params record = check_record(p, step);
    if (n_slices < 2 || step->n_items < 2)
        return submit(run, &record);
    for (uint32_t s = 0, next; s < n_slices; s++) {
        record.first_item = step->n_items * s / n_slices;
        next = step->n_items * (s + 1) / n_slices;
        record.n_items = next - record.first_item;
        record.no_merge = 1;
        if (record.n_items && !submit(run, &record))
            return 0;
    }
    record.first_item = record.n_items = 0;
    record.no_merge = 0;
    record.only_merge = 1;
    return submit(run, &record);
}

/* What no list has is NaN while kernels run. */
static int execute(struct run *run, const rapt_step *step, uint32_t n_slices)
{
    check_lists_swap(&run->problem);
    int ok = execute_once(run, step, n_slices);
    check_lists_swap(&run->problem);
    return ok;
}

/* --------------------------------------------------------------------------------------- checks */

static float load_out(const struct check_problem *p, uint64_t element)
{
    const uint8_t *base = p->memory[CHECK_OUT].map + p->memory[CHECK_OUT].first;
    if (p->type[CHECK_OUT] == RAPT_TYPE_F32)
        return ((const float *)(const void *)base)[element];
    uint16_t bits = ((const uint16_t *)(const void *)base)[element];
    return p->type[CHECK_OUT] == RAPT_TYPE_F16 ? rapt_f32_from_f16(bits) : rapt_f32_from_bf16(bits);
}

/* Nothing but rows was written, and nothing at all in guards and inputs. */
static int check_memory(struct run *run)
{
    struct check_problem *p = &run->problem;
    const struct check_buffer *const guarded[] = {
        &p->memory[0], &p->memory[1],   &p->memory[2], &p->memory[3], &p->lse,
        &p->max_logit, &p->reduced,     &p->slopes,    &p->sinks,     &p->bias,
        &run->tables,  &run->workspace, &p->scales[0], &p->scales[1],
    };
    for (size_t i = 0; i < sizeof guarded / sizeof guarded[0]; i++)
        if (!check_buffer_guarded(guarded[i])) {
            snprintf(run->why, sizeof run->why, "a guard of buffer %zu was overwritten", i);
            return 0;
        }
    for (int t = CHECK_Q; t <= CHECK_V; t++)
        if (p->memory[t].buffer && check_buffer_hash(&p->memory[t]) != p->memory[t].hash)
            return fail(run, "an input was overwritten");
    for (int i = 0; i < 8; i++) {
        const struct check_buffer *b = i < 6 ? &p->pieces[i / 3][i % 3] : &p->scales[i - 6];
        if (b->buffer && (!check_buffer_guarded(b) || check_buffer_hash(b) != b->hash))
            return fail(run, "a piece of a pool or a scale was overwritten");
    }
    struct check_buffer *out = &p->memory[CHECK_OUT];
    size_t size = rapt_type_bytes(p->type[CHECK_OUT]), row = size * p->c.dv;
    uint8_t *copy = malloc(out->bytes);
    if (!copy)
        return fail(run, "no memory");
    memcpy(copy, out->map + out->first, out->bytes);
    for (int b = 0; b < p->n_seqs; b++)
        for (int32_t t = 0; t < p->cu_q[b + 1] - p->cu_q[b]; t++)
            for (uint32_t h = 0; h < p->c.heads; h++)
                memset(copy + size * check_element(p, CHECK_OUT, b, (uint32_t)t, h), 0xff, row);
    int clean = 1;
    for (uint64_t i = 0; i < out->bytes; i++)
        clean &= copy[i] == 0xff;
    free(copy);
    return clean || fail(run, "the output was written between its rows");
}

static const float *floats(const struct check_buffer *buffer)
{
    return buffer->buffer ? (const float *)(const void *)(buffer->map + buffer->first) : NULL;
}

static rapt_array array_of(const struct check_problem *p, enum check_tensor t)
{
    const struct check_buffer *memory = &p->memory[p->shares[t]];
    return (rapt_array){
        .data = memory->map + memory->first + p->element[t] * rapt_type_bytes(p->type[t]),
        .n_elements = (size_t)p->n_elements[t],
        .type = p->type[t],
        .layout = p->layout[t],
    };
}

void check_problem_describe(const struct check_problem *p, rapt_problem *out)
{
    const struct check_case *c = &p->c;
    int paged = c->page_size && !p->plain[0];
    *out = (rapt_problem){
        .struct_size = sizeof *out,
        .n_seqs = (uint32_t)p->n_seqs,
        .n_q_heads = c->heads,
        .n_kv_heads = c->kv_heads,
        .head_dim = c->d,
        .head_dim_v = c->dv,
        .q = array_of(p, CHECK_Q),
        .k = p->plain[0] ? check_stored_array(p, CHECK_K) : array_of(p, CHECK_K),
        .v = p->plain[0] ? check_stored_array(p, CHECK_V) : array_of(p, CHECK_V),
        .out_type = p->type[CHECK_OUT],
        .cu_q = p->cu_q,
        .cu_kv = paged ? NULL : p->cu_kv,
        .q_pos0 = c->positions == CHECK_POS_Q_POS0 ? p->q_pos0 : NULL,
        .q_pos = p->q_pos,
        .kv_pos0 = c->positions == CHECK_POS_KV_POS0 ? p->kv_pos0 : NULL,
        .page_size = paged ? c->page_size : 0,
        .n_pool_pages = paged ? p->n_pool : 0,
        .page_indptr = paged ? p->indptr : NULL,
        .page_indices = paged ? p->pages : NULL,
        .last_page_len = paged ? p->last_len : NULL,
        .softcap = c->softcap,
        .slopes = floats(&p->slopes),
        .sinks = floats(&p->sinks),
        .use_max_logit_const = (c->flags & RAPT_PLAN_CONST_MAX) != 0,
        .max_logit_const = c->const_max,
        .unnormalised = (c->flags & RAPT_PLAN_UNNORMALISED) != 0,
        .mask = p->mask,
        .prefix = rapt_mask_needs_prefix(p->mask) ? p->prefix : NULL,
    };
    if (c->bias) {
        int half = c->bias == CHECK_BIAS_F16 || c->bias == CHECK_BIAS_F16_ODD;
        uint64_t n = p->bias.bytes / (half ? 2 : 4);
        out->bias = (rapt_array){
            .data = p->bias.map + p->bias.first,
            .n_elements = (size_t)n,
            .type = half ? RAPT_TYPE_F16 : RAPT_TYPE_F32,
            .layout.head_stride =
                p->n_seqs > 1 ? (p->bias_offsets[1] - 1) / c->heads : (n - 1) / c->heads,
        };
        out->bias_offsets = p->bias_offsets;
    }
    if (c->lists) {
        out->mask = NULL;
        out->bias = (rapt_array){.data = p->lists.holes,
                                 .n_elements = (size_t)p->lists.n_holes,
                                 .type = RAPT_TYPE_F32,
                                 .layout.head_stride = p->lists.hole_head_stride};
        out->bias_offsets = p->lists.hole_offsets;
    }
}

/* rapt_reference_check's limits are those of tolerance.h. */
static int limits_agree(const struct check_problem *p, rapt_bound_kind kind,
                        const rapt_error *error)
{
    double f = error->bound_stat / TOLERANCE_STAT, e = TOLERANCE_E * f;
    /* these cases' F is far from where it would count; bound_stat says more than F */
    if (kind == RAPT_BOUND_INTEGER_DOT)
        e = TOLERANCE_INTEGER_DOT;
    /* bound_stat says nothing of F before e follows it */
    if (kind == RAPT_BOUND_MATRIX_F16) {
        e = fmax(TOLERANCE_MATRIX_F16, e);
        if (error->bound_stat < TOLERANCE_MATRIX_STAT)
            return 0;
    }
    if (p->type[CHECK_OUT] == RAPT_TYPE_F16)
        e += TOLERANCE_OUT_F16;
    if (p->type[CHECK_OUT] == RAPT_TYPE_BF16)
        e += TOLERANCE_OUT_BF16;
    return f > 0.999999 && fabs(error->bound_e / e - 1) < 1e-9 &&
           fabs(error->bound_max / (TOLERANCE_MAX_FACTOR * e) - 1) < 1e-9;
}

static int check_result(struct run *run, rapt_error *error)
{
    struct check_problem *p = &run->problem;
    rapt_problem problem;
    check_problem_describe(p, &problem);
    float *out = malloc(sizeof *out * ((size_t)p->cu_q[p->n_seqs] + 1) * p->c.heads * p->c.dv);
    if (!out)
        return fail(run, "no memory");
    size_t i = 0;
    for (int b = 0; b < p->n_seqs; b++)
        for (int32_t t = 0; t < p->cu_q[b + 1] - p->cu_q[b]; t++)
            for (uint32_t h = 0; h < p->c.heads; h++) {
                uint64_t at = check_element(p, CHECK_OUT, b, (uint32_t)t, h);
                for (uint32_t d = 0; d < p->c.dv; d++)
                    out[i++] = load_out(p, at + d);
            }
    rapt_result result = {
        .struct_size = sizeof result,
        .out = out,
        .lse = p->lse.buffer ? (float *)(void *)(p->lse.map + p->lse.first) : NULL,
        .max_logit =
            p->max_logit.buffer ? (float *)(void *)(p->max_logit.map + p->max_logit.first) : NULL,
        .max_logit_reduced =
            p->reduced.buffer ? (float *)(void *)(p->reduced.map + p->reduced.first) : NULL,
    };
    rapt_reference_params params = {.struct_size = sizeof params, .n_threads = 2};
    rapt_plan_info info = {.struct_size = sizeof info};
    rapt_plan_get_info(run->plan, &info);
    *error = (rapt_error){.struct_size = sizeof *error};
    rapt_bound_kind kind = info.matrix_units  ? RAPT_BOUND_MATRIX_F16
                           : info.integer_dot ? RAPT_BOUND_INTEGER_DOT
                                              : RAPT_BOUND_PORTABLE;
    rapt_status status = rapt_reference_check(&problem, &params, &result, kind, error);
    free(out);
    if (status != RAPT_OK)
        return fail_call(run, "rapt_reference_check");
    if (!limits_agree(p, kind, error))
        return fail(run, "the reference's limits are not those of tolerance.h");
    if (!error->ok) {
        snprintf(run->why, sizeof run->why,
                 "error %.2e (limit %.2e), largest %.2e (%.2e), lse %.2e, max_logit %.2e (%.2e), "
                 "%d NaN",
                 error->e, error->bound_e, error->max_ratio, error->bound_max, error->lse_abs,
                 error->max_logit_abs, error->bound_stat, error->n_nan);
        return 0;
    }
    return 1;
}

/* What a run wrote, to be compared bit by bit with another. */
struct bits {
    uint8_t *out, *lse;
};

static int keep_bits(struct run *run, struct bits *bits)
{
    const struct check_buffer *out = &run->problem.memory[CHECK_OUT], *lse = &run->problem.lse;
    bits->out = malloc(out->bytes);
    bits->lse = malloc(lse->bytes + 1);
    if (!bits->out || !bits->lse)
        return fail(run, "no memory");
    memcpy(bits->out, out->map + out->first, out->bytes);
    if (lse->buffer)
        memcpy(bits->lse, lse->map + lse->first, lse->bytes);
    return 1;
}

static int same_bits(struct run *run, const struct bits *bits)
{
    const struct check_buffer *out = &run->problem.memory[CHECK_OUT], *lse = &run->problem.lse;
    return memcmp(bits->out, out->map + out->first, out->bytes) == 0 &&
           (!lse->buffer || memcmp(bits->lse, lse->map + lse->first, lse->bytes) == 0);
}

/* Each sequence alone gives the bits it had in the batch. */
static int check_invariance(struct run *run, const struct bits *bits)
{
    struct check_problem *p = &run->problem;
    const struct check_buffer *out = &p->memory[CHECK_OUT];
    size_t row = rapt_type_bytes(p->type[CHECK_OUT]) * p->c.dv;
    for (int b = 0; b < p->n_seqs; b++) {
        rapt_step step;
        if (!prepare(run, b, &step) || !execute(run, &step, 1))
            return 0;
        for (int32_t t = 0; t < p->cu_q[b + 1] - p->cu_q[b]; t++)
            for (uint32_t h = 0; h < p->c.heads; h++) {
                uint64_t at = check_element(p, CHECK_OUT, b, (uint32_t)t, h) * row / p->c.dv;
                if (memcmp(bits->out + at, out->map + out->first + at, row) != 0)
                    return fail(run, "fixed_split: a sequence alone gives other bits");
            }
    }
    return 1;
}

/* ----------------------------------------------------------------------------------------- case */

static int check_reached(struct run *run, const struct check_target *target, const rapt_step *step)
{
    if (target->path ? !step->n_prefill_items || !step->n_decode_items || !step->n_few_rows_items
        : target->decode ? step->n_prefill_items != 0
                         : step->n_decode_items != 0)
        return fail(run, "the case does not reach the kernel it is for");
    if ((run->problem.c.n_splits > 1 || run->problem.c.fixed_split) && step->n_merges == 0 &&
        !run->plan->selection.staged)
        return fail(run, "nothing was split");
    return 1;
}

static int run_all(struct run *run, const struct check_target *target, rapt_error *error)
{
    const struct check_case *c = &run->problem.c;
    struct bits bits = {0};
    rapt_step step;
    int ok = make_plan(run, target) && prepare(run, -1, &step) &&
             check_reached(run, target, &step) && execute(run, &step, 1) && check_memory(run) &&
             check_result(run, error) && keep_bits(run, &bits);
    if (ok) {
        ok = execute(run, &step, 1);
        if (ok && !same_bits(run, &bits))
            ok = fail(run, "a second run gives other bits");
    }
    if (ok && c->n_slices > 1) {
        ok = execute(run, &step, c->n_slices);
        if (ok && !same_bits(run, &bits))
            ok = fail(run, "slices give other bits");
    }
    if (ok && c->fixed_split)
        ok = check_invariance(run, &bits);
    ok = ok && check_memory(run);
    free(bits.out);
    free(bits.lse);
    return ok;
}

static void print_ok(const struct check_target *target, const struct run *run, double e,
                     double bound)
{
    printf("ok    %-10s %-24s %.1e of %.1e", rapt_type_name(target->kv), run->problem.c.name, e,
           bound);
    const struct rapt_kernel_choice *chosen =
        target->decode ? &run->plan->selection.decode : &run->plan->selection.prefill;
    if (target->tiles)
        printf("  %u rows, %u keys, %u lanes", chosen->rows, chosen->block_kv,
               chosen->workgroup_size);
    printf("\n");
}

int check_run_case(const struct check_target *target, const struct check_case *c)
{
    struct run *run = calloc(1, sizeof *run);
    rapt_error error = {0};
    if (!run)
        return 0;
    run->easy = target->easy;
    struct check_case own = *c;
    if (target->q) /* a kernel that takes no other */
        own.q = target->q;
    int ok = check_problem_create(target->easy, &own, target->kv,
                                  target->decode ? target->decode_rows : 0, target->seed,
                                  &run->problem) == RAPT_OK;
    ok = ok ? run_all(run, target, &error) : fail_call(run, "problem");
    if (ok)
        print_ok(target, run, error.e, error.bound_e);
    else
        printf("FAIL  %-10s %-24s %s\n      repeat: kernel_check %s --seed %llu --case '%s'%s%s\n",
               rapt_type_name(target->kv), c->name, run->why, target->row,
               (unsigned long long)target->seed, c->name, target->tiles ? " --tiles " : "",
               target->tiles ? target->tiles : "");
    fflush(stdout);
    rapt_plan_destroy(&run->plan);
    check_buffer_destroy(&run->tables);
    check_buffer_destroy(&run->workspace);
    check_problem_destroy(&run->problem);
    free(run);
    return ok;
}
