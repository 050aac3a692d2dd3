/* SPDX-License-Identifier: Apache-2.0 */

/* Queries rotated ahead of the CPU driver's rows, against rapt_rope_apply, bit by bit. */

#include "check.h"

#include "kernel_table.h"
#include "random.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N_SEQS = 3, HEADS = 3, D = 72, N_TABLE = 40, PITCH = D + 2 };

static const int32_t cu_q[N_SEQS + 1] = {0, 7, 7, 29};
static const int32_t cu_kv[N_SEQS + 1] = {0, 9, 13, 45};

struct rotate_run {
    rapt_plan *plan;
    rapt_rope rope;
    struct check_buffer q, tables, workspace, table;
    rapt_type type;
    int by_pos;
    char why[200];
};

static int fail_call(struct rotate_run *run, const char *call)
{
    snprintf(run->why, sizeof run->why, "%s: %s", call, rapt_last_error());
    return 0;
}

static int make_plan(const struct check_target *target, struct rotate_run *run)
{
    rapt_device *device = rapt_easy_device(target->easy);
    rapt_plan_params params = {
        .struct_size = sizeof params,
        .n_q_heads = HEADS,
        .n_kv_heads = 1,
        .head_dim = D,
        .q_type = run->type,
        .kv_type = RAPT_TYPE_F16,
        .flags = RAPT_PLAN_ROPE_Q,
        .q = {.token_stride = HEADS * PITCH + 2, .head_stride = PITCH},
        .max_batch = N_SEQS,
        .max_total_q = (uint32_t)cu_q[N_SEQS],
        .max_kv_len = 64,
        .rope = &run->rope,
    };
    if (rapt_plan_create_forced(device, &params, -1, 0, &run->plan) != RAPT_OK)
        return fail_call(run, "rapt_plan_create");
    struct rapt_append *rotate = &run->plan->rotate_q;
    struct rapt_kernel_choice choice = rotate->choice;
    rapt_append_finish(device, rotate);
    choice.kernel = rapt_kernel_find(target->row);
    struct rapt_pipeline *pipelines[1] = {&rotate->pipeline};
    rotate->choice = choice;
    rotate->by_address = !(rapt_kernel_bindings(choice.kernel) & 1u << RAPT_BIND_STEP);
    if (rapt_pipeline_create(device, &choice, NULL, &rotate->pipeline) != RAPT_OK ||
        rapt_sets_create(device, pipelines, 1, 3, 2, &rotate->sets) != RAPT_OK)
        return fail_call(run, "rapt_pipeline_create");
    return check_plan_bind(target->easy, run->plan, &run->tables, &run->workspace) == RAPT_OK ||
           fail_call(run, "check_plan_bind");
}

static void store(uint8_t *to, rapt_type type, uint64_t i, float x)
{
    uint16_t bits = type == RAPT_TYPE_F16 ? rapt_f16_from_f32(x) : rapt_bf16_from_f32(x);
    if (type == RAPT_TYPE_F32)
        memcpy(to + 4 * i, &x, 4);
    else
        memcpy(to + 2 * i, &bits, 2);
}

static int run_rotation(const struct check_target *target, struct rotate_run *run, uint64_t *random)
{
    const uint32_t total = (uint32_t)cu_q[N_SEQS];
    static float x[29 * HEADS * D];
    static int32_t rope_pos[29], positions[29 * HEADS];
    uint64_t n = (uint64_t)total * (HEADS * PITCH + 2);
    if (!make_plan(target, run))
        return 0;
    if (check_buffer_create(target->easy, "q", n * rapt_type_bytes(run->type), 4, &run->q) !=
        RAPT_OK)
        return fail_call(run, "buffers");
    for (int b = 0; b < N_SEQS; b++)
        for (int32_t t = cu_q[b]; t < cu_q[b + 1]; t++) {
            int32_t p = (cu_kv[b + 1] - cu_kv[b]) - (cu_q[b + 1] - cu_q[b]) + t - cu_q[b];
            rope_pos[t] = random_between(random, -1000000, 1000000);
            for (uint32_t h = 0; h < HEADS; h++) {
                positions[t * HEADS + (int32_t)h] = run->by_pos ? rope_pos[t] : p;
                for (uint32_t d = 0; d < D; d++) {
                    float value = random_normal(random);
                    value = run->type == RAPT_TYPE_F16
                                ? rapt_f32_from_f16(rapt_f16_from_f32(value))
                            : run->type == RAPT_TYPE_BF16
                                ? rapt_f32_from_bf16(rapt_bf16_from_f32(value))
                                : value;
                    x[((uint32_t)t * HEADS + h) * D + d] = value;
                    store(run->q.map + run->q.first, run->type,
                          (uint64_t)t * (HEADS * PITCH + 2) + h * PITCH + d, value);
                }
            }
        }
    rapt_step_params step_params = {
        .struct_size = sizeof step_params,
        .n_seqs = N_SEQS,
        .cu_q = cu_q,
        .cu_kv = cu_kv,
        .rope_pos = run->by_pos ? rope_pos : NULL,
        .slot = 2,
    };
    rapt_step step = {.struct_size = sizeof step};
    rapt_record_params record = {
        .struct_size = sizeof record,
        .step = &step,
        .q = check_buffer_range(&run->q),
        .rope_table = check_buffer_range(&run->table),
    };
    struct rapt_rotate_q dispatch;
    if (rapt_plan_prepare(run->plan, &step_params, &step) != RAPT_OK ||
        rapt_easy_begin(target->easy, &record.command_buffer) != RAPT_OK ||
        rapt_rotate_q_check(run->plan, &record, &dispatch) != RAPT_OK ||
        rapt_rotate_q_record(run->plan, &record, &dispatch) != RAPT_OK ||
        rapt_easy_submit_wait(target->easy, NULL) != RAPT_OK ||
        rapt_rope_apply(&run->rope, D, total * HEADS, positions, x, x) != RAPT_OK)
        return fail_call(run, "rotation");
    const uint8_t *got = run->workspace.map + run->workspace.first + 4ull * run->plan->places.rotated_q;
    if (memcmp(got, x, sizeof x) == 0 && check_buffer_guarded(&run->workspace) &&
        check_buffer_guarded(&run->q))
        return 1;
    snprintf(run->why, sizeof run->why, "the rotated queries differ, or a guard was overwritten");
    return 0;
}

static int make_table(const struct check_target *target, struct rotate_run *run, uint64_t *random,
                      float *table)
{
    uint64_t a = rapt_device_caps(rapt_easy_device(target->easy))->storage_buffer_alignment;
    uint64_t n = (uint64_t)N_TABLE * run->rope.rotary_dim;
    if (check_buffer_create(target->easy, "rope", 4 * n, a ? (a - CHECK_GUARD % a) % a : 0,
                            &run->table) != RAPT_OK)
        return fail_call(run, "buffers");
    for (uint64_t i = 0; i < n; i++)
        table[i] = random_normal(random);
    memcpy(run->table.map + run->table.first, table, 4 * n);
    run->rope.table = table;
    run->rope.n_table_positions = N_TABLE;
    return 1;
}

void check_run_rotation(struct check_target *target)
{
    static const struct {
        rapt_type type;
        rapt_rope_pairing pairing;
        uint32_t dim, offset;
        int table, by_pos;
    } cases[] = {
        {RAPT_TYPE_F32, RAPT_ROPE_NEOX, 72, 0, 0, 0},   {RAPT_TYPE_F16, RAPT_ROPE_GPTJ, 72, 0, 0, 1},
        {RAPT_TYPE_BF16, RAPT_ROPE_NEOX, 40, 17, 0, 1}, {RAPT_TYPE_F16, RAPT_ROPE_GPTJ, 2, 70, 0, 0},
        {RAPT_TYPE_F32, RAPT_ROPE_GPTJ, 64, 8, 1, 0},
    };
    static float table[N_TABLE * D];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct rotate_run run;
        uint64_t random = target->seed + i;
        memset(&run, 0, sizeof run);
        run.type = cases[i].type;
        run.by_pos = cases[i].by_pos;
        run.rope = (rapt_rope){.struct_size = sizeof run.rope,
                               .pairing = cases[i].pairing,
                               .rotary_dim = cases[i].dim,
                               .rotary_offset = cases[i].offset,
                               .attention_factor = 1.125f};
        int ok = (!cases[i].table || make_table(target, &run, &random, table)) &&
                 run_rotation(target, &run, &random);
        printf("%-5s %s, %u dims from %u %s\n", ok ? "ok" : "FAIL", rapt_type_name(run.type),
               cases[i].dim, cases[i].offset, run.why);
        rapt_plan_destroy(&run.plan);
        check_buffer_destroy(&run.q);
        check_buffer_destroy(&run.tables);
        check_buffer_destroy(&run.workspace);
        check_buffer_destroy(&run.table);
        target->n_run++;
        target->n_failed += !ok;
    }
}
