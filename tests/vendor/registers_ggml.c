/* SPDX-License-Identifier: Apache-2.0 */

/* What a device's compiler makes of the kernels ggml's Vulkan back end chooses there: lines as of
 * registers.c, and what each is made of. ggml itself runs, on a stub that executes nothing; its
 * calls of Vulkan pass through the functions below, which ask the driver what it made of a
 * pipeline.
 *
 *   registers-ggml CHIP [--raw] [--texts FOLDER] [--only TEXT]
 *
 * A pipeline that two cases share is told at the first: --only names one. Exit 77, with the reason,
 * where ggml's Vulkan back end is not installed or refuses the device. */

#define _GNU_SOURCE /* RTLD_DEEPBIND */

#include "statistics.h"

#include "platform.h"

#include <dlfcn.h>
#include <ggml-backend.h>
#include <ggml.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* -------------------------------------------------------------------------- between ggml and
 * Vulkan
 */

/* What is being asked of ggml, and where its Vulkan functions come from. */
static struct {
    const char *chip, *texts, *only;
    char key[64];
    int raw;
    uint32_t n_lines, n_failures;
    PFN_vkGetInstanceProcAddr get_instance;
    PFN_vkGetDeviceProcAddr get_device;
    PFN_vkCreateDevice create_device;
    PFN_vkCreateShaderModule create_module;
    PFN_vkCreateComputePipelines create_pipelines;
    VkInstance instance;
    VkShaderModule matrix_modules[64]; /* those that ask for matrix units */
    uint32_t n_matrix_modules;
} spy;

#define COUNT(array) (sizeof array / sizeof *array)
#define OP_CAPABILITY 17u
#define CAPABILITY_COOPERATIVE_MATRIX 6022u

static VKAPI_ATTR VkResult VKAPI_CALL create_device(VkPhysicalDevice physical_device,
                                                    const VkDeviceCreateInfo *info,
                                                    const VkAllocationCallbacks *allocator,
                                                    VkDevice *out_device)
{
    return vendor_create_device(spy.create_device, physical_device, info, allocator, out_device);
}

static int asks_for_matrices(const uint32_t *code, size_t n_words)
{
    for (size_t i = 5; i + 1 < n_words && (code[i] & 0xffff) == OP_CAPABILITY; i += code[i] >> 16)
        if (code[i + 1] == CAPABILITY_COOPERATIVE_MATRIX)
            return 1;
    return 0;
}

static VKAPI_ATTR VkResult VKAPI_CALL create_module(VkDevice device,
                                                    const VkShaderModuleCreateInfo *info,
                                                    const VkAllocationCallbacks *allocator,
                                                    VkShaderModule *out_module)
{
    VkResult result = spy.create_module(device, info, allocator, out_module);
    if (result == VK_SUCCESS && asks_for_matrices(info->pCode, info->codeSize / 4))
        spy.matrix_modules[spy.n_matrix_modules++ % COUNT(spy.matrix_modules)] = *out_module;
    return result;
}

static int is_on_matrix_units(VkShaderModule module)
{
    for (uint32_t i = 0; i < spy.n_matrix_modules && i < COUNT(spy.matrix_modules); i++)
        if (spy.matrix_modules[i] == module)
            return 1;
    return 0;
}

/* The first constants of its flash attention: lanes, rows, keys, head dims of K and V. Its other
 * kernels have fewer, or no such dims. */
enum { LANES, ROWS, KEYS, DIM_K, DIM_V, ROW_SPLIT = 7, LEAST_CONSTANTS = 10 };

static const uint32_t *flash_constants(const VkComputePipelineCreateInfo *info)
{
    const VkSpecializationInfo *constants = info->stage.pSpecializationInfo;
    if (!constants || constants->mapEntryCount < LEAST_CONSTANTS)
        return NULL;
    const uint32_t *numbers = constants->pData;
    return numbers[DIM_K] == 128 && numbers[DIM_V] == 128 ? numbers : NULL;
}

static void add_line(VkDevice device, const VkComputePipelineCreateInfo *info,
                     const uint32_t *numbers, VkPipeline pipeline)
{
    struct vendor_reader reader;
    struct statistics s;
    struct vendor_text text = {spy.texts, spy.chip, spy.key, "ggml"};
    const char *kernel =
        is_on_matrix_units(info->stage.module) ? "ggml_flash_matrix" : "ggml_flash_scalar";
    if (spy.raw)
        printf("%s %s\n", kernel, spy.key);
    if (vendor_reader_open(spy.get_device, device, &reader) != RAPT_OK ||
        vendor_read_pipeline(&reader, pipeline, spy.raw, &text, &s) != RAPT_OK) {
        fprintf(stderr, "%s: %s: %s\n", spy.chip, spy.key, rapt_last_error());
        spy.n_failures++;
        return;
    }
    printf("%s,%s,%s,%u,%u,%u,%u", spy.chip, spy.key, kernel, numbers[LANES], numbers[ROWS],
           numbers[KEYS], numbers[ROW_SPLIT]);
    vendor_print_numbers(&s);
    fflush(stdout);
    spy.n_lines++;
}

static VKAPI_ATTR VkResult VKAPI_CALL create_pipelines(VkDevice device, VkPipelineCache cache,
                                                       uint32_t n_pipelines,
                                                       const VkComputePipelineCreateInfo *infos,
                                                       const VkAllocationCallbacks *allocator,
                                                       VkPipeline *out_pipelines)
{
    VkResult result = vendor_create_pipelines(spy.create_pipelines, device, n_pipelines, infos,
                                              allocator, out_pipelines);
    (void)cache; /* what comes from a cache tells nothing */
    for (uint32_t i = 0; i < n_pipelines && result == VK_SUCCESS; i++) {
        const uint32_t *numbers = flash_constants(&infos[i]);
        if (numbers)
            add_line(device, &infos[i], numbers, out_pipelines[i]);
    }
    return result;
}

/* Nothing runs, so nothing is waited for. */
static VKAPI_ATTR VkResult VKAPI_CALL wait_for_fences(VkDevice device, uint32_t n,
                                                      const VkFence *fences, VkBool32 all,
                                                      uint64_t timeout)
{
    (void)device, (void)n, (void)fences, (void)all, (void)timeout;
    return VK_SUCCESS;
}

static VKAPI_ATTR VkResult VKAPI_CALL get_fence_status(VkDevice device, VkFence fence)
{
    (void)device, (void)fence;
    return VK_SUCCESS;
}

/* ggml's library finds these two here, before the loader's. (Headers have variables of those
 * names.) */
#define FOUND_AS(name) __asm__(name) __attribute__((visibility("default")))
PFN_vkVoidFunction VKAPI_CALL give_instance_function(VkInstance instance, const char *name)
    FOUND_AS("vkGetInstanceProcAddr");
PFN_vkVoidFunction VKAPI_CALL give_device_function(VkDevice device, const char *name)
    FOUND_AS("vkGetDeviceProcAddr");

/* Ours of that name, with the loader's kept beside it; NULL if we have none. */
static PFN_vkVoidFunction own_function(const char *name, PFN_vkVoidFunction theirs)
{
    const struct {
        const char *name;
        PFN_vkVoidFunction *theirs, own;
    } own[] = {
        {"vkCreateDevice", (PFN_vkVoidFunction *)&spy.create_device,
         (PFN_vkVoidFunction)create_device},
        {"vkCreateShaderModule", (PFN_vkVoidFunction *)&spy.create_module,
         (PFN_vkVoidFunction)create_module},
        {"vkCreateComputePipelines", (PFN_vkVoidFunction *)&spy.create_pipelines,
         (PFN_vkVoidFunction)create_pipelines},
        {"vkWaitForFences", NULL, (PFN_vkVoidFunction)wait_for_fences},
        {"vkGetFenceStatus", NULL, (PFN_vkVoidFunction)get_fence_status},
        {"vkGetInstanceProcAddr", NULL, (PFN_vkVoidFunction)give_instance_function},
        {"vkGetDeviceProcAddr", NULL, (PFN_vkVoidFunction)give_device_function},
    };
    for (size_t i = 0; theirs && i < COUNT(own); i++)
        if (strcmp(own[i].name, name) == 0) {
            if (own[i].theirs)
                *own[i].theirs = theirs;
            return own[i].own;
        }
    return theirs;
}

PFN_vkVoidFunction VKAPI_CALL give_instance_function(VkInstance instance, const char *name)
{
    if (instance && !spy.get_device)
        spy.get_device = (PFN_vkGetDeviceProcAddr)spy.get_instance(instance, "vkGetDeviceProcAddr");
    return own_function(name, spy.get_instance(instance, name));
}

PFN_vkVoidFunction VKAPI_CALL give_device_function(VkDevice device, const char *name)
{
    return own_function(name, spy.get_device(device, name));
}

/* ------------------------------------------------------------------------------------------- cases
 */

struct flash_case {
    const char *use;
    int64_t n_q, group; /* of 8 KV heads, 4096 keys */
    int mask;
};

static const struct flash_case cases[] = {
    {"prefill", 512, 4, 1}, {"prefill", 512, 4, 0}, {"decode", 1, 1, 0},
    {"decode", 1, 4, 0},    {"decode", 1, 8, 0},
};

static void no_log(enum ggml_log_level level, const char *text, void *user)
{
    (void)level, (void)text, (void)user;
}

static void ask_for_f32_sums(struct ggml_tensor *node)
{
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
    ggml_flash_attn_ext_set_prec(node, GGML_PREC_F32);
#pragma GCC diagnostic pop
}

static void run_case(ggml_backend_t backend, const struct flash_case *one)
{
    snprintf(spy.key, sizeof spy.key, "%s,f16,128/128,%d,%s", one->use,
             one->n_q == 1 ? (int)one->group : 0, one->mask ? "mask" : "dense");
    if (spy.only && strncmp(spy.key, spy.only, strlen(spy.only)) != 0)
        return;
    struct ggml_context *context = ggml_init((struct ggml_init_params){
        .mem_size = ggml_tensor_overhead() * 16 + ggml_graph_overhead(), .no_alloc = true});
    if (!context) {
        spy.n_failures++;
        return;
    }
    struct ggml_cgraph *graph = ggml_new_graph(context);
    struct ggml_tensor *q =
        ggml_new_tensor_3d(context, GGML_TYPE_F32, 128, 8 * one->group, one->n_q);
    struct ggml_tensor *k = ggml_new_tensor_3d(context, GGML_TYPE_F16, 128, 8, 4096);
    struct ggml_tensor *v = ggml_new_tensor_3d(context, GGML_TYPE_F16, 128, 8, 4096);
    struct ggml_tensor *mask =
        one->mask ? ggml_new_tensor_2d(context, GGML_TYPE_F16, 4096, one->n_q) : NULL;
    struct ggml_tensor *out = ggml_flash_attn_ext(
        context, ggml_permute(context, q, 0, 2, 1, 3), ggml_permute(context, k, 0, 2, 1, 3),
        ggml_permute(context, v, 0, 2, 1, 3), mask, 1.0f / sqrtf(128.0f), 0.0f, 0.0f);
    ask_for_f32_sums(out);
    ggml_build_forward_expand(graph, out);
    uint32_t before = spy.n_lines;
    ggml_backend_buffer_t buffer = ggml_backend_alloc_ctx_tensors(context, backend);
    if (!buffer || ggml_backend_graph_compute(backend, graph) != GGML_STATUS_SUCCESS ||
        spy.n_lines == before)
        fprintf(stderr, "%s: %s: ggml has the pipeline already, or makes none\n", spy.chip,
                spy.key);
    ggml_backend_buffer_free(buffer);
    ggml_free(context);
}

static int refuse(const char *why)
{
    fprintf(stderr, "%s: not measured: %s\n", spy.chip, why);
    return 77;
}

static ggml_backend_dev_t find_device(void)
{
    for (size_t i = 0; i < ggml_backend_dev_count(); i++)
        if (strncmp(ggml_backend_dev_name(ggml_backend_dev_get(i)), "Vulkan", 6) == 0)
            return ggml_backend_dev_get(i);
    return NULL;
}

int main(int argc, char **argv)
{
    void *library;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--raw") == 0)
            spy.raw = 1;
        else if (strcmp(argv[i], "--texts") == 0 && i + 1 < argc)
            spy.texts = argv[++i];
        else if (strcmp(argv[i], "--only") == 0 && i + 1 < argc)
            spy.only = argv[++i];
        else if (!spy.chip && argv[i][0] != '-')
            spy.chip = argv[i];
        else
            spy.chip = NULL, i = argc;
    }
    if (!spy.chip) {
        fprintf(stderr, "usage: registers-ggml CHIP [--raw] [--texts FOLDER] [--only TEXT]\n");
        return 2;
    }
    /* The loader is to find its own functions where ggml finds ours. */
    if (!dlopen("libvulkan.so.1", RTLD_NOW | RTLD_DEEPBIND))
        return refuse(dlerror());
    if (rapt_loader_open(&library, &spy.get_instance) != RAPT_OK)
        return refuse(rapt_last_error());
    ggml_log_set(no_log, NULL);
    ggml_backend_load_all();
    ggml_backend_dev_t device = find_device();
    if (!device)
        return refuse("ggml's Vulkan backend is not installed, or refuses the device");
    ggml_backend_t backend = ggml_backend_dev_init(device, NULL);
    if (!backend)
        return refuse("ggml's Vulkan backend does not start on the device");
    printf("# %s: ggml %s | %s\n", spy.chip, ggml_version(), ggml_backend_dev_description(device));
    fflush(stdout);
    for (size_t i = 0; i < COUNT(cases); i++)
        run_case(backend, &cases[i]);
    fflush(stdout);
    _Exit(spy.n_failures || !spy.n_lines); /* its threads and a device that does nothing */
}
