/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_RUNTIME_PLAN_BENCH_H
#define TESTS_RUNTIME_PLAN_BENCH_H

/* A plan with memory on a device that only takes notes, and a step and a record that are sound: what
 * the tests of plans, steps and records begin with. */

#include "fake_device.h"
#include "plan.h"
#include "snapshot.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "expect.h"

static struct rapt_device device;
static rapt_caps gpu, cpu, old_cpu;

static inline rapt_plan_params sound_params(void)
{
    return (rapt_plan_params){
        .struct_size = sizeof(rapt_plan_params),
        .n_q_heads = 8,
        .n_kv_heads = 2,
        .head_dim = 64,
        .kv_type = RAPT_TYPE_F16,
        .flags = RAPT_PLAN_LSE,
        .max_batch = 4,
        .max_total_q = 512,
        .max_kv_len = 4096,
        .max_pages = 1024,
    };
}

/* A plan with memory, and a batch of three for it. */
struct bench {
    rapt_plan *plan;
    rapt_plan_sizes_info sizes;
    uint32_t *tables;
    int32_t cu_q[4], cu_kv[4];
    uint32_t indptr[4], last[3], indices[64];
    rapt_step_params step;
    rapt_step out;
    rapt_record_params record;
};

static inline void open_bench(struct bench *b, const rapt_caps *caps, const rapt_plan_params *params)
{
    memset(b, 0, sizeof *b);
    fake_device_init(caps, &device);
    assert_int_equal(rapt_plan_create(&device, params, &b->plan), RAPT_OK);
    b->sizes.struct_size = sizeof b->sizes;
    rapt_plan_sizes(b->plan, &b->sizes);
    b->tables = calloc(b->sizes.table_bytes / 4, 4);
    rapt_plan_memory memory = {
        .struct_size = sizeof memory,
        .tables = {(VkBuffer)(uintptr_t)1, 0, b->sizes.table_bytes},
        .tables_mapped = b->tables,
        .workspace = {(VkBuffer)(uintptr_t)2, 0, b->sizes.workspace_bytes},
    };
    assert_int_equal(rapt_plan_bind(b->plan, &memory), RAPT_OK);
    memcpy(b->cu_q, (int32_t[]){0, 100, 101, 101}, sizeof b->cu_q);
    memcpy(b->cu_kv, (int32_t[]){0, 100, 2100, 2140}, sizeof b->cu_kv);
    b->step = (rapt_step_params){
        .struct_size = sizeof b->step, .n_seqs = 3, .cu_q = b->cu_q, .cu_kv = b->cu_kv};
    b->out.struct_size = sizeof b->out;
    rapt_buffer big = {(VkBuffer)(uintptr_t)3, 0, 1u << 26};
    b->record = (rapt_record_params){
        .struct_size = sizeof b->record,
        .command_buffer = (VkCommandBuffer)(uintptr_t)1,
        .step = &b->out,
        .q = big,
        .k = big,
        .v = big,
        .out = big,
        .lse = big,
        .max_logit = big,
        .max_logit_reduced = big,
        .slopes = big,
        .sinks = big,
        .bias = big,
    };
}

static inline void close_bench(struct bench *b)
{
    rapt_plan_destroy(&b->plan);
    free(b->tables);
    assert_true(fake.n_made >= fake.n_gone);
    assert_int_equal(fake.n_made, fake.n_gone);
}

static inline uint32_t n_bits(uint32_t bits)
{
    uint32_t n = 0;
    for (; bits; bits &= bits - 1)
        n++;
    return n;
}

/* 0 after a line if the snapshots are not there. */
static inline int read_snapshots(void)
{
    if (snapshot_read(RAPT_TEST_DEVICES, "navi31.txt", &gpu) &&
        snapshot_read(RAPT_TEST_DEVICES, "lavapipe-26.1.txt", &cpu) &&
        snapshot_read(RAPT_TEST_DEVICES, "lavapipe-22.3.txt", &old_cpu))
        return 1;
    fprintf(stderr, "cannot read the snapshots in %s\n", RAPT_TEST_DEVICES);
    return 0;
}

#endif
