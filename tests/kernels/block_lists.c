/* SPDX-License-Identifier: Apache-2.0 */

/* rapt_block_lists_record: lists from scores against the reference's choice, lists from ids and
 * bits against the host's block table, span by span and bit by bit; then attention through them. */

#include "block_lists.h"

#include "kernel_table.h"
#include "random.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PARAMS(...)                                                                                \
    {                                                                                              \
        .struct_size = sizeof(rapt_block_lists_params), __VA_ARGS__                                \
    }
#define SMALL .d = 32, .dv = 32
#define LONG .n_seqs = 2, .q_len = {70, 1}, .kv_len = {9000, 5003}

static const struct list_case cases[] = {
    {{.name = "top 3", SMALL, .heads = 4, .kv_heads = 2},
     PARAMS(.source = RAPT_BLOCKS_TOP_K, .top_k = 3),
     64,
     32,
     1,
     NORMAL,
     0},
    {{.name = "top 4, ties, shared", SMALL, .heads = 4, .kv_heads = 1, .page_size = 16},
     PARAMS(.source = RAPT_BLOCKS_TOP_K, .top_k = 4, .keep_first = 1, .keep_last = 2),
     16,
     16,
     0,
     WHOLE,
     0},
    {{.name = "top 2, window", SMALL, .heads = 2, .kv_heads = 2, .mask = "causal & window(40, 0)"},
     PARAMS(.source = RAPT_BLOCKS_TOP_K, .top_k = 2),
     32,
     16,
     1,
     STRANGE,
     0},
    {{.name = "top 5, any order",
      SMALL,
      .heads = 2,
      .kv_heads = 1,
      .positions = CHECK_POS_SHUFFLED,
      .mask = "window(9, 3)"},
     PARAMS(.source = RAPT_BLOCKS_TOP_K, .top_k = 5),
     16,
     16,
     0,
     WHOLE,
     0},
    {{.name = "more kept than k", SMALL, .heads = 2, .kv_heads = 1, .mask = "full"},
     PARAMS(.source = RAPT_BLOCKS_TOP_K, .top_k = 1, .keep_first = 2, .keep_last = 1),
     128,
     16,
     0,
     NORMAL,
     0},
    {{.name = "top 100 of long rows", SMALL, .heads = 2, .kv_heads = 1, LONG},
     PARAMS(.source = RAPT_BLOCKS_TOP_K, .top_k = 100),
     64,
     16,
     0,
     WHOLE,
     0},
    {{.name = "mass", SMALL, .heads = 4, .kv_heads = 2},
     PARAMS(.source = RAPT_BLOCKS_MASS, .mass = 0.8f),
     16,
     16,
     1,
     NORMAL,
     0},
    {{.name = "plain mass, ties",
      SMALL,
      .heads = 2,
      .kv_heads = 1,
      .positions = CHECK_POS_KV_POS0,
      .mask = "causal & chunked(96)"},
     PARAMS(.source = RAPT_BLOCKS_MASS, .mass = 0.5f, .plain_mass = 1),
     16,
     16,
     0,
     WHOLE,
     0},
    {{.name = "mass, strange scores",
      SMALL,
      .heads = 2,
      .kv_heads = 1,
      .positions = CHECK_POS_Q_POS0},
     PARAMS(.source = RAPT_BLOCKS_MASS, .mass = 0.9f, .keep_last = 1),
     16,
     16,
     1,
     STRANGE,
     0},
    {{.name = "plain mass, strange scores",
      SMALL,
      .heads = 2,
      .kv_heads = 1,
      .mask = "sink_tokens(90)"},
     PARAMS(.source = RAPT_BLOCKS_MASS, .mass = 1, .plain_mass = 1),
     32,
     16,
     0,
     STRANGE,
     0},
    {{.name = "mass beyond the room", SMALL, .heads = 2, .kv_heads = 1},
     PARAMS(.source = RAPT_BLOCKS_MASS, .mass = 0.7f, .max_blocks = 2),
     16,
     16,
     0,
     NORMAL,
     0},
    {{.name = "mass of long rows", SMALL, .heads = 2, .kv_heads = 1, LONG},
     PARAMS(.source = RAPT_BLOCKS_MASS, .mass = 0.95f),
     64,
     16,
     0,
     WHOLE,
     0},
    {{.name = "segments", SMALL, .heads = 4, .kv_heads = 2},
     PARAMS(.source = RAPT_BLOCKS_SEGMENTS),
     64,
     32,
     0,
     NORMAL,
     0},
    {{.name = "segments, prefix, pages",
      SMALL,
      .heads = 2,
      .kv_heads = 1,
      .page_size = 8,
      .mask = "prefix & window(100, 30)"},
     PARAMS(.source = RAPT_BLOCKS_SEGMENTS),
     16,
     16,
     0,
     WHOLE,
     0},
    {{.name = "segments, any order",
      SMALL,
      .heads = 2,
      .kv_heads = 1,
      .positions = CHECK_POS_SHUFFLED},
     PARAMS(.source = RAPT_BLOCKS_SEGMENTS),
     32,
     128,
     0,
     NORMAL,
     0},
    {{.name = "segments, and nobody's", SMALL, .heads = 2, .kv_heads = 1, .mask = "full"},
     PARAMS(.source = RAPT_BLOCKS_SEGMENTS),
     16,
     16,
     0,
     STRANGE,
     0},
    {{.name = "segments of long rows", SMALL, .heads = 2, .kv_heads = 1, LONG, .mask = "full"},
     PARAMS(.source = RAPT_BLOCKS_SEGMENTS),
     64,
     16,
     0,
     NORMAL,
     0},
    {{.name = "bitmap", SMALL, .heads = 4, .kv_heads = 2, .head_group = 1},
     PARAMS(.source = RAPT_BLOCKS_BITMAP),
     16,
     32,
     1,
     NORMAL,
     1},
    {{.name = "bitmap, padded rows", SMALL, .heads = 2, .kv_heads = 1, .mask = "full"},
     PARAMS(.source = RAPT_BLOCKS_BITMAP),
     64,
     16,
     0,
     NORMAL,
     0},
    {{.name = "bitmap, window",
      SMALL,
      .heads = 2,
      .kv_heads = 1,
      .head_group = 1,
      .positions = CHECK_POS_KV_POS0,
      .mask = "window(50, 10)"},
     PARAMS(.source = RAPT_BLOCKS_BITMAP),
     128,
     64,
     1,
     NORMAL,
     0},
};

static int fail_call(struct list_run *run, const char *call)
{
    snprintf(run->why, sizeof run->why, "%s: %s", call, rapt_last_error());
    return 0;
}

/* --------------------------------------------------------------------------------------- inputs */

static float score(struct list_run *run)
{
    uint64_t *random = &run->problem.random;
    static const float strange[] = {INFINITY, -INFINITY, NAN,  -0.0f, 0.0f,
                                    1e-40f,   3e38f,     2.0f, -1.5f};
    switch (run->c->data) {
    case WHOLE:
        return (float)random_between(random, -2, 3);
    case STRANGE:
        return strange[random_below(random, random_below(random, 3) ? 9 : 3)];
    default:
        return 2 * random_normal(random);
    }
}

static int make_scores(struct list_run *run)
{
    const size_t n = (size_t)run->n_lists * run->score_stride;
    if (check_buffer_create(run->target->easy, "scores", 4 * n, 4, &run->input) != RAPT_OK)
        return fail_call(run, "buffers");
    float *scores = (float *)(void *)(run->input.map + run->input.first);
    for (size_t i = 0; i < n; i++)
        scores[i] = score(run);
    return 1;
}

/* Documents one after another or, of whole numbers, in any order; some of nobody. */
static int make_ids(struct list_run *run)
{
    struct check_problem *p = &run->problem;
    const size_t total_q = (size_t)p->cu_q[p->n_seqs], total_kv = (size_t)p->cu_kv[p->n_seqs];
    if (check_buffer_create(run->target->easy, "ids", 4 * total_q, 8, &run->input) != RAPT_OK ||
        check_buffer_create(run->target->easy, "ids", 4 * total_kv, 12, &run->input2) != RAPT_OK)
        return fail_call(run, "buffers");
    int32_t *of_q = (int32_t *)(void *)(run->input.map + run->input.first);
    int32_t *of_kv = (int32_t *)(void *)(run->input2.map + run->input2.first);
    for (uint32_t b = 0; b < (uint32_t)p->n_seqs; b++) {
        const uint32_t n_q = list_q_len_of(run, b), n_kv = list_kv_len_of(run, b);
        int32_t id = run->c->data == WHOLE ? -2 : 1, *kv = of_kv + p->cu_kv[b];
        for (uint32_t j = 0; j < n_kv; j++) {
            if (random_below(&p->random, 60) == 0)
                id = run->c->data == WHOLE ? random_between(&p->random, -2, 3) : id + 1;
            kv[j] = id % 5 == 4 ? 0 : id;
            if (run->c->data == STRANGE) /* whole blocks of nobody */
                kv[j] = j / 40 % 2;
        }
        for (uint32_t i = 0; i < n_q; i++)
            of_q[p->cu_q[b] + (int32_t)i] = n_kv + i >= n_q ? kv[n_kv + i - n_q] : 1;
    }
    run->data.segments_q = of_q;
    run->data.segments_kv = of_kv;
    return 1;
}

static int make_bitmap(struct list_run *run)
{
    struct check_problem *p = &run->problem;
    const uint32_t heads = run->c->by_group ? p->c.heads : 1;
    uint64_t bits = 0;
    run->bit_stride = run->c->offsets ? 0 : check_longest_kv(p) + 13;
    for (uint32_t b = 0; b < (uint32_t)p->n_seqs; b++) {
        run->bitmap_offsets[b] = bits;
        bits += run->c->offsets ? (uint64_t)list_q_len_of(run, b) * list_kv_len_of(run, b) + 5
                                : list_q_len_of(run, b) * run->bit_stride;
    }
    run->head_stride = heads > 1 ? bits : 0;
    const uint64_t bytes = (bits * heads + 31) / 32 * 4;
    if (check_buffer_create(run->target->easy, "bitmap", bytes, 4, &run->input) != RAPT_OK ||
        check_buffer_create(run->target->easy, "offsets", 8ull * CHECK_MAX_SEQS, 8, &run->input2) !=
            RAPT_OK)
        return fail_call(run, "buffers");
    uint8_t *map = run->input.map + run->input.first;
    int kind = 0;
    for (uint64_t i = 0; i < bytes; i++) { /* stretches of nothing, of all, and of both */
        if (random_below(&p->random, 200) == 0)
            kind = random_between(&p->random, 0, 2);
        map[i] = kind == 0 ? 0 : kind == 1 ? 0xff : (uint8_t)random_u64(&p->random);
    }
    memcpy(run->input2.map + run->input2.first, run->bitmap_offsets, sizeof run->bitmap_offsets);
    run->data.bitmap = map;
    run->data.bitmap_offsets = run->bitmap_offsets;
    run->data.bitmap_row_stride = run->bit_stride;
    run->data.bitmap_head_stride = run->head_stride;
    run->data.bitmap_bits = bytes * 8;
    return 1;
}

static int make_table(struct list_run *run)
{
    const struct check_problem *p = &run->problem;
    const char *closed = p->c.mask ? p->c.mask : "causal";
    char text[200];
    snprintf(text, sizeof text, "%s & (%s)",
             run->c->params.source == RAPT_BLOCKS_SEGMENTS ? "segments" : "bitmap", closed);
    if (rapt_mask_parse(NULL, closed, NULL, &run->closed) != RAPT_OK ||
        rapt_mask_parse(NULL, text, NULL, &run->joined) != RAPT_OK)
        return fail_call(run, "rapt_mask_parse");
    const rapt_block_table_params params = {
        .struct_size = sizeof params,
        .mask = list_from_scores(run) ? run->closed : run->joined,
        .batch = {.struct_size = sizeof params.batch,
                  .n_seqs = (uint32_t)p->n_seqs,
                  .cu_q = p->cu_q,
                  .cu_kv = p->cu_kv,
                  .q_pos0 = p->c.positions == CHECK_POS_Q_POS0 ? p->q_pos0 : NULL,
                  .q_pos = p->q_pos,
                  .kv_pos0 = p->c.positions == CHECK_POS_KV_POS0 ? p->kv_pos0 : NULL,
                  .n_q_heads = p->c.heads,
                  .data = &run->data},
        .block_q = run->c->block_q,
        .block_kv = run->c->block_kv,
    };
    run->view.struct_size = sizeof run->view;
    if (rapt_block_table_create(&params, &run->table) != RAPT_OK)
        return fail_call(run, "rapt_block_table_create");
    rapt_block_table_get_view(run->table, &run->view);
    return 1;
}

static int make_inputs(struct list_run *run)
{
    const struct check_problem *p = &run->problem;
    const uint32_t group = p->c.head_group ? p->c.head_group : p->c.heads / p->c.kv_heads;
    run->data = (rapt_mask_data){.struct_size = sizeof run->data, .prefix = p->prefix};
    run->n_blocks = (check_longest_kv(p) + run->c->block_kv - 1) / run->c->block_kv;
    run->n_sets = run->c->by_group ? p->c.heads / group : 1;
    run->score_stride = run->n_blocks + 3;
    run->listed_stride = run->n_blocks / 32 + 2;
    for (uint32_t b = 0; b < (uint32_t)p->n_seqs; b++)
        run->n_lists +=
            (list_q_len_of(run, b) + run->c->block_q - 1) / run->c->block_q * run->n_sets;
    const int ok = list_from_scores(run)                           ? make_scores(run)
                   : run->c->params.source == RAPT_BLOCKS_SEGMENTS ? make_ids(run)
                                                                   : make_bitmap(run);
    return ok && make_table(run);
}

/* ---------------------------------------------------------------------------------------- plans */

static int forced(const struct list_run *run, const char *op)
{
    char name[64];
    snprintf(name, sizeof name, "%s_%s_pt", op, rapt_type_name(run->problem.kv));
    return run->natural ? 0 : rapt_kernel_find(name) + 1;
}

static int make_plan(struct list_run *run)
{
    const struct check_problem *p = &run->problem;
    const uint32_t total_q = (uint32_t)p->cu_q[p->n_seqs], longest = check_longest_kv(p);
    uint32_t max_spans = 0;
    run->lists.struct_size = sizeof run->lists;
    if (rapt_block_lists_device_lists(&run->c->params, run->n_sets, (uint32_t)p->n_seqs, total_q,
                                      longest, run->c->block_q, run->c->block_kv, &run->lists,
                                      &max_spans) != RAPT_OK)
        return fail_call(run, "rapt_block_lists_device_lists");
    rapt_plan_params params = check_plan_params(p);
    params.flags |= RAPT_PLAN_BLOCKS | RAPT_PLAN_LSE;
    params.out_type = RAPT_TYPE_F32;
    params.list_block_q = run->c->block_q;
    params.max_spans = max_spans;
    params.max_bit_words = run->lists.bit_words;
    rapt_step_params step = check_step(p);
    step.mask = run->closed;
    step.prefix = p->prefix;
    step.device_lists = &run->lists;
    step.slot = 1;
    run->step.struct_size = sizeof run->step;
    if (rapt_plan_create_forced(rapt_easy_device(run->target->easy), &params,
                                forced(run, "prefill"), forced(run, "decode"),
                                &run->plan) != RAPT_OK)
        return fail_call(run, "rapt_plan_create");
    if (check_plan_bind(run->target->easy, run->plan, &run->tables, &run->own) != RAPT_OK)
        return fail_call(run, "check_plan_bind");
    return rapt_plan_prepare(run->plan, &step, &run->step) == RAPT_OK ||
           fail_call(run, "rapt_plan_prepare");
}

static int execute(struct list_run *run)
{
    const struct check_problem *p = &run->problem;
    rapt_easy *easy = run->target->easy;
    rapt_block_lists *maker = NULL;
    if (rapt_block_lists_create(run->plan, &run->c->params, &maker) != RAPT_OK)
        return fail_call(run, "rapt_block_lists_create");
    const uint64_t bytes = rapt_block_lists_workspace_bytes(
        maker, (uint32_t)p->n_seqs, (uint64_t)p->cu_kv[p->n_seqs], run->c->block_kv);
    int ok =
        check_buffer_create(easy, "workspace", bytes, (256 - CHECK_GUARD % 256) % 256,
                            &run->workspace) == RAPT_OK &&
        check_buffer_create(easy, "listed", 4ull * run->n_lists * run->listed_stride, 4,
                            &run->listed) == RAPT_OK &&
        check_buffer_create(easy, "overflow", 4ull * run->n_lists, 8, &run->overflow) == RAPT_OK &&
        check_buffer_create(easy, "lse", 4ull * (uint32_t)p->cu_q[p->n_seqs] * p->c.heads, 4,
                            &run->lse) == RAPT_OK;
    if (!ok)
        fail_call(run, "buffers");
    const int bitmap = run->c->params.source == RAPT_BLOCKS_BITMAP;
    rapt_block_lists_record_params record = {
        .struct_size = sizeof record,
        .step = &run->step,
        .workspace = check_buffer_range(&run->workspace),
        .listed = check_buffer_range(&run->listed),
        .listed_stride = run->listed_stride,
        .overflow = check_buffer_range(&run->overflow),
        .score_stride = run->score_stride,
        .bitmap_row_stride = (uint32_t)run->bit_stride,
        .bitmap_head_stride = run->head_stride,
    };
    const rapt_buffer first = check_buffer_range(&run->input);
    if (list_from_scores(run))
        record.scores = first;
    else
        *(bitmap ? &record.bitmap : &record.segments_q) = first;
    if (run->c->params.source == RAPT_BLOCKS_SEGMENTS)
        record.segments_kv = check_buffer_range(&run->input2);
    if (bitmap && run->c->offsets)
        record.bitmap_offsets = check_buffer_range(&run->input2);
    rapt_record_params attend = check_record(p, &run->step);
    attend.lse = check_buffer_range(&run->lse);
    run->input.hash = check_buffer_hash(&run->input);
    if (ok && rapt_easy_begin(easy, &record.command_buffer) != RAPT_OK)
        ok = fail_call(run, "rapt_easy_begin");
    if (ok) {
        attend.command_buffer = record.command_buffer;
        ok =
            (rapt_block_lists_record(maker, &record) == RAPT_OK ||
             fail_call(run, "rapt_block_lists_record")) &&
            (rapt_plan_record(run->plan, &attend) == RAPT_OK || fail_call(run, "rapt_plan_record"));
        if (rapt_easy_submit_wait(easy, NULL) != RAPT_OK && ok)
            ok = fail_call(run, "rapt_easy_submit_wait");
    }
    rapt_plan_slot_done(run->plan, run->step.slot);
    rapt_block_lists_destroy(&maker);
    return ok;
}

static int check_memory(struct list_run *run)
{
    const struct check_problem *p = &run->problem;
    const struct check_buffer *const guarded[] = {
        &p->memory[0], &p->memory[1], &p->memory[2],   &p->memory[CHECK_OUT],
        &run->tables,  &run->own,     &run->workspace, &run->input,
        &run->input2,  &run->listed,  &run->overflow,  &run->lse};
    for (size_t i = 0; i < sizeof guarded / sizeof guarded[0]; i++)
        if (guarded[i]->buffer && !check_buffer_guarded(guarded[i])) {
            snprintf(run->why, sizeof run->why, "a guard was overwritten");
            return 0;
        }
    if (check_buffer_hash(&run->input) == run->input.hash)
        return 1;
    snprintf(run->why, sizeof run->why, "an input was overwritten");
    return 0;
}

static int run_case(struct list_run *run)
{
    check_problem_describe(&run->problem, &run->described);
    return make_inputs(run) && make_plan(run) && execute(run) && check_block_lists(run) &&
           check_block_attention(run) && check_memory(run);
}

static void run_one(struct check_target *target, size_t i, int natural)
{
    struct list_run *run = calloc(1, sizeof *run);
    struct check_case c = cases[i].base;
    if (!run)
        return;
    run->target = target;
    run->c = &cases[i];
    run->natural = natural;
    int ok = check_problem_create(target->easy, &c, RAPT_TYPE_F16, 0, target->seed + i,
                                  &run->problem) == RAPT_OK
                 ? run_case(run)
                 : fail_call(run, "problem");
    printf("%-5s %-28s %s\n", ok ? "ok" : "FAIL", c.name, run->why);
    if (!ok)
        printf("      repeat: kernel_check %s --seed %llu --case '%s'\n", target->row,
               (unsigned long long)target->seed, c.name);
    rapt_plan_destroy(&run->plan);
    struct check_buffer *const buffers[] = {&run->tables, &run->own,     &run->workspace,
                                            &run->input,  &run->input2,  &run->listed,
                                            &run->lse,    &run->overflow};
    for (size_t j = 0; j < sizeof buffers / sizeof buffers[0]; j++)
        check_buffer_destroy(buffers[j]);
    rapt_block_table_destroy(&run->table);
    rapt_mask_destroy(&run->closed);
    rapt_mask_destroy(&run->joined);
    check_problem_destroy(&run->problem);
    free(run->bits);
    free(run);
    target->n_run++;
    target->n_failed += !ok;
}

void check_run_block_lists(struct check_target *target)
{
    const int bitmap = strncmp(target->row, "bitmap", 6) == 0;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const int first = i == 0 || cases[i].params.source != cases[i - 1].params.source;
        const int scores = cases[i].params.source <= RAPT_BLOCKS_MASS;
        if ((target->only && strcmp(target->only, cases[i].base.name) != 0) ||
            (scores ? strncmp(target->row, "score", 5) != 0
                    : strncmp(target->row, "score", 5) == 0 ||
                          bitmap != (cases[i].params.source == RAPT_BLOCKS_BITMAP)))
            continue;
        run_one(target, i, 0);
        if (first) /* shapes compile for seconds on CPU drivers */
            run_one(target, i, 1);
    }
}
