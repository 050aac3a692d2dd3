/* SPDX-License-Identifier: Apache-2.0 */

/* Records on a device that only takes notes: what is refused and why, what is dispatched in which
 * order, what is bound and how often. */

#include "plan_bench.h"

static void bad_records(void **state)
{
    (void)state;
    struct bench b;
    rapt_plan_params params = sound_params();
    open_bench(&b, &gpu, &params);
    assert_int_equal(rapt_plan_prepare(b.plan, &b.step, &b.out), RAPT_OK);
    const rapt_record_params sound = b.record;
    const rapt_step step = b.out;
#define REFUSE_RECORD(want, word, ...)                                                             \
    b.record = sound;                                                                              \
    b.out = step;                                                                                  \
    __VA_ARGS__;                                                                                   \
    expect(rapt_plan_record(b.plan, &b.record), want, word);                                       \
    assert_int_equal(fake.n_commands, 0)
    REFUSE_RECORD(RAPT_ERROR_ARGUMENT, "command_buffer", b.record.command_buffer = NULL);
    REFUSE_RECORD(RAPT_ERROR_ARGUMENT, "step is NULL", b.record.step = NULL);
    REFUSE_RECORD(RAPT_ERROR_ARGUMENT, "slot 0", b.out.generation++);
    REFUSE_RECORD(RAPT_ERROR_ARGUMENT, "slot 1", b.out.slot = 1);
    REFUSE_RECORD(RAPT_ERROR_ARGUMENT, "q.buffer", b.record.q.buffer = NULL);
    REFUSE_RECORD(RAPT_ERROR_SHAPE, "q.size", b.record.q.size = 101 * 512 * 4 - 1);
    REFUSE_RECORD(RAPT_ERROR_SHAPE, "k.size", b.record.k.size = 2140 * 128 * 2 - 1);
    REFUSE_RECORD(RAPT_ERROR_SHAPE, "lse.size", b.record.lse.size = 101 * 8 * 4 - 1);
    REFUSE_RECORD(RAPT_ERROR_ARGUMENT, "out.offset", b.record.out.offset = 2);
    REFUSE_RECORD(RAPT_ERROR_ARGUMENT, "the step has", b.record.first_item = step.n_items + 1);
    REFUSE_RECORD(RAPT_ERROR_ARGUMENT, "the step has", b.record.n_items = step.n_items + 1);
    REFUSE_RECORD(RAPT_ERROR_ARGUMENT, "only_merge", b.record.only_merge = b.record.no_merge = 1);
    b.record = sound;
    b.out = step;
    b.record.max_logit.buffer = NULL; /* not this plan's */
    b.record.q.size = 101 * 512 * 4;
    assert_int_equal(rapt_plan_record(b.plan, &b.record), RAPT_OK);
    close_bench(&b);
}

static void offsets_reach_the_kernels(void **state)
{
    (void)state;
    struct bench b;
    rapt_plan_params params = sound_params();
    open_bench(&b, &gpu, &params);
    device.caps.storage_buffer_alignment = 64;
    assert_int_equal(rapt_plan_prepare(b.plan, &b.step, &b.out), RAPT_OK);
    b.record.q.offset = 64 * 5 + 12;
    b.record.k.offset = 64 * 9 + 20;
    b.record.out.offset = 60;
    assert_int_equal(rapt_plan_record(b.plan, &b.record), RAPT_OK);
    const struct fake_command *dispatch = &fake.commands[0];
    while (dispatch->kind != FAKE_DISPATCH)
        dispatch++;
    assert_int_equal(dispatch->push.q_base, 3);  /* f32 */
    assert_int_equal(dispatch->push.k_base, 10); /* f16 */
    assert_int_equal(dispatch->push.out_base, 15);
    assert_int_equal(fake.offset[RAPT_BIND_Q], 64 * 5);
    assert_int_equal(fake.offset[RAPT_BIND_K], 64 * 9);
    assert_int_equal(fake.range[RAPT_BIND_Q], 101 * 512 * 4 + 12);
    close_bench(&b);

    open_bench(&b, &cpu, &params);
    assert_int_equal(rapt_plan_prepare(b.plan, &b.step, &b.out), RAPT_OK);
    b.record.q.offset = 12;
    assert_int_equal(rapt_plan_record(b.plan, &b.record), RAPT_OK);
    dispatch = &fake.commands[0];
    while (dispatch->kind != FAKE_DISPATCH)
        dispatch++;
    assert_int_equal(dispatch->push.q_lo, 12);
    assert_int_equal(dispatch->push.q_hi, 3);
    assert_int_equal(dispatch->push.work_hi, 2);
    assert_int_equal(dispatch->push.step_hi, 1);
    close_bench(&b);
}

static void records_are_counted_without_push_descriptors(void **state)
{
    (void)state;
    struct bench b;
    rapt_plan_params params = sound_params();
    rapt_caps caps = gpu;
    caps.features &= ~RAPT_FEATURE_PUSH_DESCRIPTOR;
    params.max_records_per_step = 5;
    open_bench(&b, &caps, &params);
    assert_int_equal(rapt_plan_prepare(b.plan, &b.step, &b.out), RAPT_OK);
    for (int i = 0; i < 5; i++)
        assert_int_equal(rapt_plan_record(b.plan, &b.record), RAPT_OK);
    uint32_t n = fake.n_commands;
    expect(rapt_plan_record(b.plan, &b.record), RAPT_ERROR_CAPACITY, "max_records_per_step");
    assert_int_equal(fake.n_commands, n);
    rapt_plan_slot_done(b.plan, 0);
    assert_int_equal(rapt_plan_prepare(b.plan, &b.step, &b.out), RAPT_OK);
    assert_int_equal(rapt_plan_record(b.plan, &b.record), RAPT_OK);
    close_bench(&b);
}

/* Whatever was recorded from the step before, and whether or not the slot was marked done. */
static void a_prepared_slot_has_its_sets_back(void **state)
{
    (void)state;
    struct bench b;
    rapt_plan_params params = sound_params();
    rapt_caps caps = gpu;
    caps.features &= ~RAPT_FEATURE_PUSH_DESCRIPTOR;
    params.max_records_per_step = 2;
    open_bench(&b, &caps, &params);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(rapt_plan_prepare(b.plan, &b.step, &b.out), RAPT_OK);
        assert_int_equal(rapt_plan_record(b.plan, &b.record), RAPT_OK);
        assert_int_equal(rapt_plan_record(b.plan, &b.record), RAPT_OK);
        expect(rapt_plan_record(b.plan, &b.record), RAPT_ERROR_CAPACITY, "max_records_per_step");
        b.plan->slots[0].recorded = 0; /* builds with assertions refuse to prepare otherwise */
    }
    close_bench(&b);
}

/* Kernels of a plan have compatible layouts, unless the device has no room for what they bind
 * together. */
static void buffers_are_bound_once_for_all_rounds(void **state)
{
    (void)state;
    const rapt_features without[] = {0, RAPT_FEATURE_PUSH_DESCRIPTOR};
    for (int i = 0; i < 4; i++) {
        struct bench b;
        rapt_plan_params params = sound_params();
        rapt_caps caps = old_cpu;
        int shared = i < 2;
        caps.features &= ~without[i % 2];
        open_bench(&b, &caps, &params);
        /* prefill finds K and V staged; only staging binds them */
        uint32_t prefill = b.plan->pipelines[PLAN_PREFILL].bindings;
        uint32_t both = prefill | b.plan->pipelines[PLAN_STAGE].bindings;
        assert_true(both != prefill);
        if (!shared) {
            close_bench(&b);
            caps.max_storage_buffers = n_bits(both) - 1;
            open_bench(&b, &caps, &params);
            assert_int_equal(b.plan->pipelines[PLAN_PREFILL].layout_bindings,
                             b.plan->pipelines[PLAN_PREFILL].bindings);
        }
        b.plan->selection.stage_rows = 128; /* several rounds */
        assert_int_equal(rapt_plan_prepare(b.plan, &b.step, &b.out), RAPT_OK);
        assert_true(b.out.n_rounds > 2);
        fake.n_bound = fake.n_pushed = 0;
        assert_int_equal(rapt_plan_record(b.plan, &b.record), RAPT_OK);
        /* staged rounds number their items themselves: constants are pushed for all of them once */
        uint32_t n_others = (b.out.n_decode_items > 0) + (b.out.n_merges > 0);
        if (shared)
            assert_int_equal(fake.n_pushed, 1 + n_others);
        if (shared)
            assert_int_equal(fake.n_bound, 1);
        else /* staging and prefill take turns */
            assert_true(fake.n_bound >= 2 * (b.out.n_rounds - 1));
        close_bench(&b);
    }
}

/* Which items, merges and stages the notes hold; a barrier lies between what depends. */
static void count_slices(const struct bench *b, uint8_t *items, uint32_t *n_merged)
{
    const struct rapt_plan *plan = b->plan;
    for (uint32_t i = 0; i < fake.n_commands; i++) {
        const struct fake_command *c = &fake.commands[i];
        if (c->kind != FAKE_DISPATCH)
            continue;
        assert_int_equal(c->x, c->push.count < RAPT_GRID_X ? c->push.count : RAPT_GRID_X);
        assert_true((uint64_t)c->x * c->y >= c->push.count);
        uint64_t prefill = (uint64_t)(uintptr_t)plan->pipelines[PLAN_PREFILL].pipeline;
        uint64_t decode = (uint64_t)(uintptr_t)plan->pipelines[PLAN_DECODE].pipeline;
        uint64_t merge = (uint64_t)(uintptr_t)plan->pipelines[PLAN_MERGE].pipeline;
        if (c->pipeline == merge) {
            *n_merged += c->push.count;
            assert_int_equal(fake.commands[i - 1].kind, FAKE_BARRIER);
            assert_int_equal(fake.commands[i - 1].x, 1);
        }
        uint64_t staging = (uint64_t)(uintptr_t)plan->pipelines[PLAN_STAGE].pipeline;
        if (plan->selection.staged && c->pipeline == staging && i > 0) {
            assert_int_equal(fake.commands[i - 1].kind, FAKE_BARRIER);
            if (b->out.n_partial_rows) /* states of the round before are taken up */
                assert_int_equal(fake.commands[i - 1].x, 1);
        }
        if (c->pipeline != prefill && c->pipeline != decode)
            continue;
        for (uint32_t k = 0; k < c->push.count; k++) {
            uint32_t item = c->push.first + k;
            assert_int_equal(item >= b->out.n_prefill_items, c->pipeline == decode);
            items[item]++;
        }
        if (plan->selection.staged && c->pipeline == prefill) {
            assert_true(i >= 2 && fake.commands[i - 1].kind == FAKE_BARRIER);
            assert_int_equal(fake.commands[i - 1].x, 1);
            assert_int_equal(fake.commands[i - 2].pipeline, staging);
        }
    }
}

static void slices_cover_the_list_once(void **state)
{
    (void)state;
    /* the last: not all rounds can number their items themselves */
    rapt_caps narrow = cpu;
    narrow.max_workgroup_count[0] = 40;
    const rapt_caps *all[] = {&gpu, &cpu, &narrow};
    for (int i = 0; i < 3; i++)
        for (uint32_t n_slices = 1; n_slices < 9; n_slices++) {
            struct bench b;
            rapt_plan_params params = sound_params();
            open_bench(&b, all[i], &params);
            if (i > 0)
                b.plan->selection.stage_rows = 128; /* several rounds */
            assert_int_equal(rapt_plan_prepare(b.plan, &b.step, &b.out), RAPT_OK);
            uint8_t items[4096] = {0};
            uint32_t n = b.out.n_items, n_merged = 0;
            for (uint32_t s = 0; s < n_slices; s++) {
                b.record.first_item = n * s / n_slices;
                b.record.n_items = n * (s + 1) / n_slices - b.record.first_item;
                b.record.no_merge = n_slices % 2;
                assert_int_equal(rapt_plan_record(b.plan, &b.record), RAPT_OK);
            }
            if (b.record.no_merge) {
                b.record.first_item = b.record.n_items = 0;
                b.record.no_merge = 0;
                b.record.only_merge = 1;
                assert_int_equal(rapt_plan_record(b.plan, &b.record), RAPT_OK);
            }
            count_slices(&b, items, &n_merged);
            for (uint32_t k = 0; k < n; k++)
                assert_int_equal(items[k], 1);
            assert_int_equal(n_merged, b.out.n_merges);
            close_bench(&b);
        }
}

static void an_empty_step_records_nothing(void **state)
{
    (void)state;
    struct bench b;
    rapt_plan_params params = sound_params();
    params.flags |= RAPT_PLAN_MAX_LOGIT | RAPT_PLAN_MAX_LOGIT_REDUCED;
    open_bench(&b, &gpu, &params);
    int32_t none[4] = {0};
    b.step.cu_q = none;
    assert_int_equal(rapt_plan_prepare(b.plan, &b.step, &b.out), RAPT_OK);
    assert_int_equal(b.out.n_items, 0);
    b.record.q = b.record.out = b.record.lse = b.record.max_logit = (rapt_buffer){0};
    assert_int_equal(rapt_plan_record(b.plan, &b.record), RAPT_OK);
    uint32_t n_dispatches = 0; /* but the maxima of no rows, which are -inf */
    for (uint32_t i = 0; i < fake.n_commands; i++)
        n_dispatches += fake.commands[i].kind == FAKE_DISPATCH;
    assert_int_equal(n_dispatches, 1);
    close_bench(&b);
}

int main(void)
{
    if (!read_snapshots())
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_records),
        cmocka_unit_test(offsets_reach_the_kernels),
        cmocka_unit_test(records_are_counted_without_push_descriptors),
        cmocka_unit_test(a_prepared_slot_has_its_sets_back),
        cmocka_unit_test(buffers_are_bound_once_for_all_rounds),
        cmocka_unit_test(slices_cover_the_list_once),
        cmocka_unit_test(an_empty_step_records_nothing),
    };
    return cmocka_run_group_tests_name("record", tests, NULL, NULL);
}
