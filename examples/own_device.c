/* SPDX-License-Identifier: Apache-2.0 */
/* Introduces: the explicit tier inside a Vulkan program. The app has its own loader (volk),
 * instance and device; it adds what rapt_requirements_get asks for to its own wishes, and rapt
 * records into the app's command buffer: the app's dispatch writes q, k and v, attention reads
 * them, the host checks the result against the reference. */
#include "own_device_app.h"

#include <rapt/reference.h>

#include <stdio.h>
#include <stdlib.h>

enum { N_Q_HEADS = 8, N_KV_HEADS = 2, HEAD_DIM = 64, N_SEQS = 2 };
/* Two sequences: 200 new tokens, and one new token after 332 cached ones. */
static const int32_t cu_q[] = {0, 200, 201}, cu_kv[] = {0, 200, 533};
enum { Q_FLOATS = 201 * N_Q_HEADS * HEAD_DIM, KV_FLOATS = 533 * N_KV_HEADS * HEAD_DIM };

static VkInstance instance;
static VkPhysicalDevice gpu;
static VkDevice device;
static VkQueue queue;
static rapt_requirements needs = {.struct_size = sizeof needs};

#define RAPT(call) check((call), #call)
static void check(rapt_status status, const char *what)
{
    if (status == RAPT_OK)
        return;
    fprintf(stderr, "%s: %s\n", what, rapt_last_error());
    exit(rapt_status_group(status) == RAPT_STATUS_GROUP_CAPABILITY ? 3 : 4);
}

static void open_device(void)
{
    uint32_t n = 1;
    VkApplicationInfo app = {.sType = VK_STRUCTURE_TYPE_APPLICATION_INFO,
                             .apiVersion = VK_API_VERSION_1_1};
    VkInstanceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO,
                                 .pApplicationInfo = &app};
    if (volkInitialize() != VK_SUCCESS || vkCreateInstance(&info, NULL, &instance) != VK_SUCCESS) {
        fprintf(stderr, "no Vulkan loader or no driver\n");
        exit(3);
    }
    volkLoadInstance(instance);
    if (vkEnumeratePhysicalDevices(instance, &n, &gpu) < 0 || n == 0) {
        fprintf(stderr, "no Vulkan device\n");
        exit(3);
    }

    /* rapt's wishes are a list of extensions and a chain of features; the app adds its own. */
    RAPT(rapt_requirements_get(vkGetInstanceProcAddr, instance, gpu, 0, &needs));
    VkPhysicalDeviceFeatures offered;
    vkGetPhysicalDeviceFeatures(gpu, &offered);
    VkPhysicalDeviceFeatures2 features = *needs.features;
    features.features.samplerAnisotropy = offered.samplerAnisotropy; /* a renderer's wish */
    const float priority = 1.0f;
    VkDeviceQueueCreateInfo queue_info = {.sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
                                          .queueCount = 1, /* of family 0 */
                                          .pQueuePriorities = &priority};
    VkDeviceCreateInfo device_info = {.sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
                                      .pNext = &features,
                                      .queueCreateInfoCount = 1,
                                      .pQueueCreateInfos = &queue_info,
                                      .enabledExtensionCount = needs.n_device_extensions,
                                      .ppEnabledExtensionNames = needs.device_extensions};
    VK(vkCreateDevice(gpu, &device_info, NULL, &device));
    volkLoadDevice(device);
    vkGetDeviceQueue(device, 0, 0, &queue);
}

static rapt_buffer make_buffer(uint64_t n_bytes, void **out_mapped)
{
    return app_buffer(gpu, device, needs.buffer_usage, needs.memory_allocate_flags, n_bytes,
                      out_mapped);
}

static void barrier(VkCommandBuffer commands, VkPipelineStageFlags to, VkAccessFlags access)
{
    VkMemoryBarrier memory = {VK_STRUCTURE_TYPE_MEMORY_BARRIER, NULL, VK_ACCESS_SHADER_WRITE_BIT,
                              access};
    vkCmdPipelineBarrier(commands, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, to, 0, 1, &memory, 0, NULL,
                         0, NULL);
}

/* The app's command buffer: its own dispatch, then attention, then the host. */
static void submit(rapt_plan *plan, rapt_record_params record, const struct app_fill *fill,
                   uint32_t n_floats)
{
    record.command_buffer = app_begin(device, 0);
    app_fill_record(fill, record.command_buffer, n_floats, 42);
    barrier(record.command_buffer, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, VK_ACCESS_SHADER_READ_BIT);
    RAPT(rapt_plan_record(plan, &record));
    barrier(record.command_buffer, VK_PIPELINE_STAGE_HOST_BIT, VK_ACCESS_HOST_READ_BIT);
    app_submit_wait(queue, record.command_buffer);
}

/* The same problem on the host, in float64. */
static rapt_error compare(const float *inputs, float *out, const rapt_mask *mask)
{
    const float *k = inputs + Q_FLOATS, *v = k + KV_FLOATS;
    rapt_problem problem = {.struct_size = sizeof problem,
                            .n_seqs = N_SEQS,
                            .n_q_heads = N_Q_HEADS,
                            .n_kv_heads = N_KV_HEADS,
                            .head_dim = HEAD_DIM,
                            .cu_q = cu_q,
                            .cu_kv = cu_kv,
                            .mask = mask,
                            .q = {.data = inputs, .n_elements = Q_FLOATS},
                            .k = {.data = k, .n_elements = KV_FLOATS},
                            .v = {.data = v, .n_elements = KV_FLOATS}};
    rapt_result result = {.struct_size = sizeof result, .out = out};
    rapt_error error = {.struct_size = sizeof error};
    RAPT(rapt_reference_check(&problem, NULL, &result, RAPT_BOUND_PORTABLE, &error));
    return error;
}

int main(void)
{
    open_device();
    rapt_device_params adopt = {.struct_size = sizeof adopt,
                                .get_instance_proc_addr = vkGetInstanceProcAddr,
                                .instance = instance,
                                .physical_device = gpu,
                                .device = device, /* queue_family 0 */
                                .enabled_extensions = needs.device_extensions,
                                .n_enabled_extensions = needs.n_device_extensions,
                                .enabled_features = needs.features};
    rapt_device *attention = NULL;
    RAPT(rapt_device_create(&adopt, &attention));

    /* Once per shape: which kernels, and how much memory they want. */
    rapt_plan_params plan_params = {.struct_size = sizeof plan_params,
                                    .n_q_heads = N_Q_HEADS,
                                    .n_kv_heads = N_KV_HEADS,
                                    .head_dim = HEAD_DIM,
                                    .kv_type = RAPT_TYPE_F32,
                                    .max_batch = N_SEQS,
                                    .max_total_q = 201,
                                    .max_kv_len = 333};
    rapt_plan *plan = NULL;
    RAPT(rapt_plan_create(attention, &plan_params, &plan));
    rapt_plan_sizes_info sizes = {.struct_size = sizeof sizes};
    rapt_plan_sizes(plan, &sizes);
    void *unused, *inputs, *out;
    rapt_plan_memory memory = {.struct_size = sizeof memory};
    memory.tables = make_buffer(sizes.table_bytes, &memory.tables_mapped);
    memory.workspace = make_buffer(sizes.workspace_bytes, &unused); /* better device-local */
    RAPT(rapt_plan_bind(plan, &memory));

    /* Once per step: lengths and mask. Once per layer: record. q, k and v share a buffer here. */
    rapt_mask *causal = NULL;
    RAPT(rapt_mask_parse(NULL, "causal", NULL, &causal));
    rapt_step_params step_params = {.struct_size = sizeof step_params,
                                    .n_seqs = N_SEQS,
                                    .cu_q = cu_q,
                                    .cu_kv = cu_kv,
                                    .mask = causal};
    rapt_step step = {.struct_size = sizeof step};
    RAPT(rapt_plan_prepare(plan, &step_params, &step));
    rapt_buffer tensors = make_buffer((Q_FLOATS + 2 * KV_FLOATS) * sizeof(float), &inputs);
    rapt_record_params record = {.struct_size = sizeof record,
                                 .step = &step,
                                 .q = {tensors.buffer, 0, Q_FLOATS * 4},
                                 .k = {tensors.buffer, Q_FLOATS * 4, KV_FLOATS * 4},
                                 .v = {tensors.buffer, (Q_FLOATS + KV_FLOATS) * 4, KV_FLOATS * 4},
                                 .out = make_buffer(Q_FLOATS * sizeof(float), &out)};
    struct app_fill fill;
    app_fill_create(device, tensors, &fill);
    submit(plan, record, &fill, Q_FLOATS + 2 * KV_FLOATS);

    rapt_error error = compare(inputs, out, causal);
    printf("%s: %u work items, %.3f MB of workspace\nerror %.2e (at most %.2e): %s\n",
           rapt_device_caps(attention)->device_name, step.n_items, sizes.workspace_bytes / 1e6,
           error.e, error.bound_e, error.ok ? "ok" : "WRONG");
    rapt_mask_destroy(&causal);
    rapt_plan_destroy(&plan);
    rapt_device_destroy(&attention);
    app_close(device, &fill);
    vkDestroyDevice(device, NULL);
    vkDestroyInstance(instance, NULL);
    rapt_requirements_finish(&needs);
    return error.ok ? 0 : 5;
}
