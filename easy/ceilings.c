/* SPDX-License-Identifier: Apache-2.0 */
/* What the device can do at most, measured now: multiply-adds in registers, a copy, a read. Each is
 * the best of several runs of several ways to do it; a ceiling is what nothing exceeds. */
#include "small_kernel.h"

#include "baseline_args.h"

#define RUN_SECONDS 0.02 /* a run this long is far above what a submission costs */
#define N_RUNS 15

struct measurement {
    rapt_easy *easy;
    rapt_easy_buffer *from, *to;
    struct small_kernel kernel;
    struct rapt_ceiling_push push;
    uint32_t groups;
    uint32_t lanes;
};

static rapt_status run_once(struct measurement *m, double *out_seconds)
{
    VkCommandBuffer commands;
    rapt_status status = rapt_easy_begin(m->easy, &commands);
    if (status != RAPT_OK)
        return status;
    uint32_t groups[3] = {m->groups, 1, 1};
    rapt_small_kernel_dispatch(m->easy, &m->kernel, commands, 0, &m->push, sizeof m->push, groups);
    return rapt_easy_submit_wait(m->easy, out_seconds);
}

static rapt_status best_of(struct measurement *m, double *out_seconds)
{
    double best = 1e30;
    rapt_status status = run_once(m, out_seconds); /* pages and caches are warm from here on */
    for (int i = 0; i < N_RUNS && status == RAPT_OK; i++) {
        double seconds;
        status = run_once(m, &seconds);
        if (status == RAPT_OK && seconds < best)
            best = seconds;
    }
    *out_seconds = best;
    return status;
}

static rapt_status make_kernel(struct measurement *m, enum rapt_kernel_id id, uint32_t n_chains)
{
    struct small_kernel_params params = {
        .id = id, .push_bytes = sizeof m->push, .dynamic = UINT32_MAX};
    params.spec[RAPT_SPEC_WG_SIZE] = m->lanes;
    params.spec[RAPT_SPEC_TILE_A] = n_chains;
    if (id == RAPT_KERNEL_ceiling_copy || id == RAPT_KERNEL_ceiling_read) {
        params.bindings[params.n_bindings] = RAPT_BIND_K;
        params.buffers[params.n_bindings++] = rapt_easy_buffer_range(m->from);
    }
    params.bindings[params.n_bindings] = RAPT_BIND_OUT;
    params.buffers[params.n_bindings++] = rapt_easy_buffer_range(m->to);
    return rapt_small_kernel_create(m->easy, &params, &m->kernel);
}

/* As many invocations as fill any device, a power of two. */
static uint32_t invocations(const rapt_easy *easy)
{
    return easy->caps->device_type == VK_PHYSICAL_DEVICE_TYPE_CPU ? 4096 : 262144;
}

static rapt_status measure_flops(struct measurement *m, uint32_t n_chains, double *inout_best)
{
    rapt_status status = make_kernel(m, RAPT_KERNEL_ceiling_flops, n_chains);
    m->groups = invocations(m->easy) / m->lanes;
    m->push = (struct rapt_ceiling_push){.n = 1, .x = 0.999f, .y = 0.001f};
    double seconds = 0;
    while (status == RAPT_OK && m->push.n < 1u << 20) {
        status = run_once(m, &seconds);
        if (seconds >= RUN_SECONDS)
            break;
        m->push.n *= 2;
    }
    if (status == RAPT_OK)
        status = best_of(m, &seconds);
    rapt_small_kernel_finish(m->easy, &m->kernel);
    if (status != RAPT_OK)
        return status;
    double flops = 2.0 * 64 * n_chains * m->push.n * (double)m->groups * m->lanes / seconds;
    *inout_best = flops > *inout_best ? flops : *inout_best;
    return RAPT_OK;
}

/* Bytes that no cache holds, as far as one binding reaches. */
static uint64_t memory_bytes(const rapt_easy *easy)
{
    uint64_t n = easy->caps->device_type == VK_PHYSICAL_DEVICE_TYPE_CPU ? 64u << 20 : 512u << 20;
    while (n > easy->caps->max_storage_buffer_range ||
           (easy->caps->device_memory && n > easy->caps->device_memory / 8))
        n /= 2;
    return n;
}

static rapt_status measure_pass(struct measurement *m, enum rapt_kernel_id id, uint64_t n_bytes,
                                double counted, double *inout_best)
{
    int by_address =
        id == RAPT_KERNEL_ceiling_read_address || id == RAPT_KERNEL_ceiling_read_uniform;
    if (by_address && !m->easy->get_address)
        return RAPT_OK;
    rapt_status status = make_kernel(m, id, 0);
    m->groups = invocations(m->easy) / m->lanes;
    m->push = (struct rapt_ceiling_push){.n = (uint32_t)(n_bytes / 16 / m->groups)};
    if (by_address && status == RAPT_OK) {
        uint64_t address = rapt_easy_buffer_address(m->from);
        m->push.from_lo = (uint32_t)address;
        m->push.from_hi = (uint32_t)(address >> 32);
    }
    double seconds = 0;
    if (status == RAPT_OK)
        status = best_of(m, &seconds);
    rapt_small_kernel_finish(m->easy, &m->kernel);
    if (status == RAPT_OK && counted / seconds > *inout_best)
        *inout_best = counted / seconds;
    return status;
}

/* The driver's own copy, which on a CPU is a memcpy. */
static rapt_status measure_copy_command(struct measurement *m, uint64_t n_bytes, double *inout_best)
{
    rapt_easy *easy = m->easy;
    rapt_status status = RAPT_OK;
    for (int i = 0; i < N_RUNS && status == RAPT_OK; i++) {
        VkCommandBuffer commands;
        double seconds = 0;
        status = rapt_easy_begin(easy, &commands);
        if (status != RAPT_OK)
            break;
        VkBufferCopy region = {.size = n_bytes};
        easy->vk.vkCmdCopyBuffer(commands, m->from->buffer, m->to->buffer, 1, &region);
        status = rapt_easy_submit_wait(easy, &seconds);
        if (status == RAPT_OK && i > 0 && 2.0 * (double)n_bytes / seconds > *inout_best)
            *inout_best = 2.0 * (double)n_bytes / seconds;
    }
    return status;
}

static rapt_status fill(struct measurement *m)
{
    VkCommandBuffer commands;
    rapt_status status = rapt_easy_begin(m->easy, &commands);
    if (status != RAPT_OK)
        return status;
    m->easy->vk.vkCmdFillBuffer(commands, m->from->buffer, 0, VK_WHOLE_SIZE, 0x3f800000u);
    m->easy->vk.vkCmdFillBuffer(commands, m->to->buffer, 0, VK_WHOLE_SIZE, 0);
    return rapt_easy_submit_wait(m->easy, NULL);
}

static rapt_status measure(struct measurement *m, rapt_ceilings *ceilings)
{
    uint64_t n_bytes = memory_bytes(m->easy);
    rapt_status status = rapt_easy_buffer_create(m->easy, n_bytes, "ceiling from", 0, &m->from);
    if (status == RAPT_OK)
        status = rapt_easy_buffer_create(m->easy, n_bytes, "ceiling to", 0, &m->to);
    if (status == RAPT_OK)
        status = fill(m);
    /* Enough chains to hide the latency of one, few enough to stay in registers. */
    static const uint32_t chains[] = {8, 10, 12};
    for (int i = 0; i < 3 && status == RAPT_OK; i++)
        status = measure_flops(m, chains[i], &ceilings->flops_per_second);
    double bytes = (double)n_bytes;
    if (status == RAPT_OK)
        status = measure_pass(m, RAPT_KERNEL_ceiling_read, n_bytes, bytes,
                              &ceilings->read_bytes_per_second);
    if (status == RAPT_OK)
        status = measure_pass(m, RAPT_KERNEL_ceiling_read_address, n_bytes, bytes,
                              &ceilings->read_bytes_per_second);
    /* On anything but the CPU driver this one only shows how well a cache line is broadcast. */
    if (status == RAPT_OK && m->easy->caps->device_type == VK_PHYSICAL_DEVICE_TYPE_CPU)
        status = measure_pass(m, RAPT_KERNEL_ceiling_read_uniform, n_bytes, bytes,
                              &ceilings->read_bytes_per_second);
    if (status == RAPT_OK)
        status = measure_pass(m, RAPT_KERNEL_ceiling_copy, n_bytes, 2 * bytes,
                              &ceilings->copy_bytes_per_second);
    if (status == RAPT_OK)
        status = measure_copy_command(m, n_bytes, &ceilings->copy_bytes_per_second);
    return status;
}

rapt_status rapt_easy_measure_ceilings(rapt_easy *easy, rapt_ceilings *out_ceilings)
{
    if (!easy || !out_ceilings)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s is NULL", easy ? "out_ceilings" : "easy");
    rapt_status status = rapt_easy_alive(easy);
    if (status != RAPT_OK)
        return status;
    rapt_ceilings ceilings = {.struct_size = sizeof ceilings};
    struct measurement m = {.easy = easy, .lanes = 64};
    if (easy->caps->device_type == VK_PHYSICAL_DEVICE_TYPE_CPU && easy->caps->subgroup_size > 0 &&
        easy->caps->subgroup_size <= 64)
        m.lanes = easy->caps->subgroup_size;
    status = measure(&m, &ceilings);
    rapt_easy_buffer_destroy(&m.from);
    rapt_easy_buffer_destroy(&m.to);
    if (status == RAPT_OK)
        rapt_params_write(out_ceilings, &ceilings, sizeof ceilings);
    return status;
}
