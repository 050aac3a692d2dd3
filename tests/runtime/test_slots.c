/* SPDX-License-Identifier: Apache-2.0 */
/* Steps in flight: the host prepares and records step n + 3 while the device may still execute the
 * ones before, under synchronization validation, with and without device addresses and push
 * descriptors. Every result is checked against the reference, and no message is allowed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <rapt/attention.h>
#include <rapt/easy.h>
#include <rapt/reference.h>

#include "skip.h"

enum { N_SLOTS = 3, N_STEPS = 7, N_LAYERS = 2 };
enum { HQ = 4, HKV = 2, D = 32, MAX_Q = 24, MAX_KV = 160 };
enum { Q_FLOATS = MAX_Q * HQ * D, KV_FLOATS = 2 * MAX_KV * HKV * D };

/* Validation layers keep memory to the end of the process and are unloaded before it, so a leak
 * checker cannot tell theirs from ours. */
#if defined(__SANITIZE_ADDRESS__)
#define WITH_VALIDATION 0
#else
#define WITH_VALIDATION 1
#endif

static char log_text[16384];

static void collect(void *user, rapt_log_level level, const char *line)
{
    (void)user;
    (void)level;
    size_t used = strlen(log_text);
    snprintf(log_text + used, sizeof log_text - used, "%s\n", line);
}

#define DEVICE_FUNCTIONS(FUNCTION)                                                                 \
    FUNCTION(vkCreateCommandPool)                                                                  \
    FUNCTION(vkDestroyCommandPool)                                                                 \
    FUNCTION(vkAllocateCommandBuffers)                                                             \
    FUNCTION(vkBeginCommandBuffer)                                                                 \
    FUNCTION(vkEndCommandBuffer)                                                                   \
    FUNCTION(vkCreateFence)                                                                        \
    FUNCTION(vkDestroyFence)                                                                       \
    FUNCTION(vkWaitForFences)                                                                      \
    FUNCTION(vkResetFences)                                                                        \
    FUNCTION(vkQueueSubmit)                                                                        \
    FUNCTION(vkCmdPipelineBarrier)

/* Everything one slot owns, so that three of them can be busy at once. */
struct slot {
    rapt_easy_buffer *q, *k, *v, *out[N_LAYERS];
    VkCommandBuffer commands;
    VkFence fence;
    int busy;
    int32_t cu_q[3], cu_kv[3];
};

struct bench {
    rapt_device *device;
    rapt_easy *easy;
    rapt_device_handles handles;
    rapt_plan *plan;
    rapt_easy_buffer *tables, *workspace;
    rapt_mask *mask;
    VkCommandPool pool;
    struct slot slots[N_SLOTS];
    uint32_t n_merges; /* over all steps: splits must have happened for the test to mean much */
#define FUNCTION(name) PFN_##name name;
    DEVICE_FUNCTIONS(FUNCTION)
#undef FUNCTION
};

#define OK(call) ok((call), #call)
static void ok(rapt_status status, const char *what)
{
    if (status != RAPT_OK)
        fprintf(stderr, "%s: %s\n", what, rapt_last_error());
    assert_int_equal(status, RAPT_OK);
}

static void open_bench(struct bench *bench, rapt_features disable, int validation)
{
    memset(bench, 0, sizeof *bench);
    log_text[0] = 0;
    rapt_device_params params = {.struct_size = sizeof params,
                                 .disable = disable,
                                 .validation = validation,
                                 .log = {NULL, collect, RAPT_LOG_WARNING}};
    OK(rapt_device_create(&params, &bench->device));
    rapt_easy_params easy = {.struct_size = sizeof easy,
                             .adopt = bench->device,
                             .cache_dir = "",
                             .ignore_environment = 1};
    OK(rapt_easy_create(&easy, &bench->easy));
    bench->handles.struct_size = sizeof bench->handles;
    rapt_device_get_handles(bench->device, &bench->handles);
#define FUNCTION(name)                                                                             \
    bench->name = (PFN_##name)bench->handles.get_device_proc_addr(bench->handles.device, #name);
    DEVICE_FUNCTIONS(FUNCTION)
#undef FUNCTION
}

static rapt_easy_buffer *buffer(struct bench *bench, uint64_t n_bytes, const char *name)
{
    rapt_easy_buffer *made = NULL;
    OK(rapt_easy_buffer_create(bench->easy, n_bytes ? n_bytes : 4, name, 1, &made));
    return made;
}

static void make_plan(struct bench *bench)
{
    rapt_plan_params params = {.struct_size = sizeof params,
                               .n_q_heads = HQ,
                               .n_kv_heads = HKV,
                               .head_dim = D,
                               .kv_type = RAPT_TYPE_F32,
                               .max_batch = 2,
                               .max_total_q = MAX_Q,
                               .max_kv_len = MAX_KV,
                               .n_steps_in_flight = N_SLOTS,
                               .max_records_per_step = 2 * N_LAYERS,
                               .n_splits = 3};
    OK(rapt_plan_create(bench->device, &params, &bench->plan));
    rapt_plan_sizes_info sizes = {.struct_size = sizeof sizes};
    rapt_plan_sizes(bench->plan, &sizes);
    assert_int_equal(sizes.n_slots, N_SLOTS);
    bench->tables = buffer(bench, sizes.table_bytes, "tables");
    bench->workspace = buffer(bench, sizes.workspace_bytes, "workspace");
    rapt_plan_memory memory = {.struct_size = sizeof memory,
                               .tables = rapt_easy_buffer_range(bench->tables),
                               .tables_mapped = rapt_easy_buffer_mapped(bench->tables),
                               .workspace = rapt_easy_buffer_range(bench->workspace)};
    OK(rapt_plan_bind(bench->plan, &memory));
    OK(rapt_mask_parse(NULL, "causal", NULL, &bench->mask));
}

static void make_slots(struct bench *bench)
{
    VkDevice device = bench->handles.device;
    VkCommandPoolCreateInfo pool = {.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
                                    .flags = VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT,
                                    .queueFamilyIndex = bench->handles.queue_family};
    assert_int_equal(bench->vkCreateCommandPool(device, &pool, NULL, &bench->pool), VK_SUCCESS);
    for (int s = 0; s < N_SLOTS; s++) {
        struct slot *slot = &bench->slots[s];
        slot->q = buffer(bench, Q_FLOATS * 4, "q");
        slot->k = buffer(bench, KV_FLOATS * 4, "k");
        slot->v = buffer(bench, KV_FLOATS * 4, "v");
        for (int l = 0; l < N_LAYERS; l++)
            slot->out[l] = buffer(bench, Q_FLOATS * 4, "out");
        VkCommandBufferAllocateInfo info = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
                                            .commandPool = bench->pool,
                                            .commandBufferCount = 1};
        assert_int_equal(bench->vkAllocateCommandBuffers(device, &info, &slot->commands),
                         VK_SUCCESS);
        VkFenceCreateInfo fence = {.sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO};
        assert_int_equal(bench->vkCreateFence(device, &fence, NULL, &slot->fence), VK_SUCCESS);
    }
}

static void fill(float *to, size_t n, uint32_t *seed)
{
    for (size_t i = 0; i < n; i++) {
        *seed = *seed * 1664525u + 1013904223u;
        to[i] = (float)(*seed >> 8) / 8388608.0f - 1.0f;
    }
}

/* Waits for the slot's last step and compares every layer of it. */
static void finish_slot(struct bench *bench, uint32_t s)
{
    struct slot *slot = &bench->slots[s];
    if (!slot->busy)
        return;
    assert_int_equal(
        bench->vkWaitForFences(bench->handles.device, 1, &slot->fence, VK_TRUE, 300000000000ull),
        VK_SUCCESS);
    bench->vkResetFences(bench->handles.device, 1, &slot->fence);
    rapt_plan_slot_done(bench->plan, s);
    slot->busy = 0;
    const size_t n_q = (size_t)slot->cu_q[2] * HQ * D, n_kv = (size_t)slot->cu_kv[2] * HKV * D;
    rapt_problem problem = {.struct_size = sizeof problem,
                            .n_seqs = 2,
                            .n_q_heads = HQ,
                            .n_kv_heads = HKV,
                            .head_dim = D,
                            .q = {.data = rapt_easy_buffer_mapped(slot->q), .n_elements = n_q},
                            .k = {.data = rapt_easy_buffer_mapped(slot->k), .n_elements = n_kv},
                            .v = {.data = rapt_easy_buffer_mapped(slot->v), .n_elements = n_kv},
                            .cu_q = slot->cu_q,
                            .cu_kv = slot->cu_kv,
                            .mask = bench->mask};
    for (int l = 0; l < N_LAYERS; l++) {
        rapt_result result = {.struct_size = sizeof result,
                              .out = rapt_easy_buffer_mapped(slot->out[l])};
        rapt_error error = {.struct_size = sizeof error};
        OK(rapt_reference_check(&problem, NULL, &result, RAPT_BOUND_PORTABLE, &error));
        if (!error.ok)
            fprintf(stderr, "slot %u layer %d: e %g of %g, %d NaN\n", (unsigned)s, l, error.e,
                    error.bound_e, error.n_nan);
        assert_true(error.ok);
    }
}

static void record_layers(struct bench *bench, struct slot *slot, const rapt_step *step)
{
    for (int l = 0; l < N_LAYERS; l++) {
        rapt_record_params record = {.struct_size = sizeof record,
                                     .command_buffer = slot->commands,
                                     .step = step,
                                     .q = rapt_easy_buffer_range(slot->q),
                                     .k = rapt_easy_buffer_range(slot->k),
                                     .v = rapt_easy_buffer_range(slot->v),
                                     .out = rapt_easy_buffer_range(slot->out[l])};
        if (l == 0) {
            OK(rapt_plan_record(bench->plan, &record));
            continue;
        }
        /* the second layer in two slices */
        record.n_items = step->n_items / 2;
        if (record.n_items) {
            record.no_merge = 1;
            OK(rapt_plan_record(bench->plan, &record));
        }
        record.no_merge = 0;
        record.first_item = record.n_items;
        record.n_items = step->n_items - record.first_item;
        OK(rapt_plan_record(bench->plan, &record));
    }
}

/* Prefill and decode together, or one kind in each step. */
enum mix { MIXED, ONE_KIND };

static void choose_lengths(struct slot *slot, uint32_t n, enum mix mix)
{
    int32_t q[2] = {3 + (int32_t)(5 * n) % (MAX_Q - 4), 1};
    if (mix == ONE_KIND)
        q[0] = q[1] = n % 2 ? 1 : MAX_Q / 2;
    slot->cu_q[1] = q[0];
    slot->cu_q[2] = q[0] + q[1];
    slot->cu_kv[1] = q[0] + (int32_t)(n * 9);
    slot->cu_kv[2] = slot->cu_kv[1] + MAX_KV - (int32_t)(11 * n);
}

static void submit_step(struct bench *bench, uint32_t n, enum mix mix, uint32_t *seed)
{
    struct slot *slot = &bench->slots[n % N_SLOTS];
    finish_slot(bench, n % N_SLOTS);
    choose_lengths(slot, n, mix);
    fill(rapt_easy_buffer_mapped(slot->q), Q_FLOATS, seed);
    fill(rapt_easy_buffer_mapped(slot->k), KV_FLOATS, seed);
    fill(rapt_easy_buffer_mapped(slot->v), KV_FLOATS, seed);
    for (int l = 0; l < N_LAYERS; l++) /* not a number until attention writes one */
        memset(rapt_easy_buffer_mapped(slot->out[l]), 0xff, Q_FLOATS * 4);

    rapt_step_params params = {.struct_size = sizeof params,
                               .n_seqs = 2,
                               .cu_q = slot->cu_q,
                               .cu_kv = slot->cu_kv,
                               .mask = bench->mask,
                               .slot = n % N_SLOTS};
    rapt_step step = {.struct_size = sizeof step};
    OK(rapt_plan_prepare(bench->plan, &params, &step));
    if (mix == ONE_KIND)
        assert_true(step.n_prefill_items == 0 || step.n_decode_items == 0);
    bench->n_merges += step.n_merges;
    VkCommandBufferBeginInfo begin = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
                                      .flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT};
    assert_int_equal(bench->vkBeginCommandBuffer(slot->commands, &begin), VK_SUCCESS);
    record_layers(bench, slot, &step);
    VkMemoryBarrier memory = {.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
                              .srcAccessMask = VK_ACCESS_SHADER_WRITE_BIT,
                              .dstAccessMask = VK_ACCESS_HOST_READ_BIT};
    bench->vkCmdPipelineBarrier(slot->commands, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT,
                                VK_PIPELINE_STAGE_HOST_BIT, 0, 1, &memory, 0, NULL, 0, NULL);
    assert_int_equal(bench->vkEndCommandBuffer(slot->commands), VK_SUCCESS);
    VkSubmitInfo submit = {.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
                           .commandBufferCount = 1,
                           .pCommandBuffers = &slot->commands};
    assert_int_equal(bench->vkQueueSubmit(bench->handles.queue, 1, &submit, slot->fence),
                     VK_SUCCESS);
    slot->busy = 1;
}

static void close_bench(struct bench *bench)
{
    for (int s = 0; s < N_SLOTS; s++) {
        struct slot *slot = &bench->slots[s];
        bench->vkDestroyFence(bench->handles.device, slot->fence, NULL);
        rapt_easy_buffer_destroy(&slot->q);
        rapt_easy_buffer_destroy(&slot->k);
        rapt_easy_buffer_destroy(&slot->v);
        for (int l = 0; l < N_LAYERS; l++)
            rapt_easy_buffer_destroy(&slot->out[l]);
    }
    bench->vkDestroyCommandPool(bench->handles.device, bench->pool, NULL);
    rapt_plan_destroy(&bench->plan);
    rapt_easy_buffer_destroy(&bench->tables);
    rapt_easy_buffer_destroy(&bench->workspace);
    rapt_mask_destroy(&bench->mask);
    rapt_easy_destroy(&bench->easy);
    rapt_device_destroy(&bench->device);
}

static void run_in_flight(rapt_features disable, enum mix mix)
{
    struct bench bench;
    /* Prefill and decode items write different rows side by side: the stricter level would take
     * that for a hazard. */
    open_bench(&bench, disable, WITH_VALIDATION ? (mix == MIXED ? 1 : 2) : 0);
    make_plan(&bench);
    make_slots(&bench);
    uint32_t seed = 1;
    for (uint32_t n = 0; n < N_STEPS; n++)
        submit_step(&bench, n, mix, &seed);
    for (uint32_t s = 0; s < N_SLOTS; s++)
        finish_slot(&bench, s);
    assert_true(bench.n_merges > 0);
    const uint32_t n_messages = rapt_device_validation_messages(bench.device);
    if (n_messages)
        fprintf(stderr, "%s", log_text);
    assert_int_equal(n_messages, 0);
    if (!rapt_device_validation_active(bench.device))
        print_message("note: no validation layer, results alone were checked\n");
    close_bench(&bench);
}

static const rapt_features disabled[] = {
    0,
    RAPT_FEATURE_BUFFER_DEVICE_ADDRESS,
    RAPT_FEATURE_PUSH_DESCRIPTOR,
    RAPT_FEATURE_BUFFER_DEVICE_ADDRESS | RAPT_FEATURE_PUSH_DESCRIPTOR | RAPT_FEATURE_SUBGROUP,
};

static void run_all(enum mix mix)
{
    const size_t n = sizeof disabled / sizeof disabled[0];
    for (size_t i = 0; i < n; i += test_quick() ? n - 1 : 1) /* quick: the first and the last */
        run_in_flight(disabled[i], mix);
}

static void test_mixed(void **state)
{
    (void)state;
    run_all(MIXED);
}

static void test_one_kind(void **state)
{
    (void)state;
    run_all(ONE_KIND);
}

int main(void)
{
    rapt_device *device = NULL;
    if (rapt_device_create(NULL, &device) == RAPT_ERROR_NO_DEVICE)
        return skip_no_device(rapt_last_error());
    rapt_device_destroy(&device);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mixed),
        cmocka_unit_test(test_one_kind),
    };
    return cmocka_run_group_tests_name("slots", tests, NULL, NULL);
}
