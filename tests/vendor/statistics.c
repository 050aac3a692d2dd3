/* SPDX-License-Identifier: Apache-2.0 */
#include "statistics.h"

#include "pipeline.h"
#include "platform.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- functions between the library and the loader: they ask for what the library has no use for
 */

static PFN_vkGetInstanceProcAddr loader_get;
static PFN_vkCreateDevice loader_create_device;
static PFN_vkCreateComputePipelines device_create_pipelines;

VkResult vendor_create_device(PFN_vkCreateDevice theirs, VkPhysicalDevice physical_device,
                              const VkDeviceCreateInfo *info,
                              const VkAllocationCallbacks *allocator, VkDevice *out_device)
{
    const char *names[256];
    VkPhysicalDevicePipelineExecutablePropertiesFeaturesKHR feature = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PIPELINE_EXECUTABLE_PROPERTIES_FEATURES_KHR,
        .pNext = (void *)(uintptr_t)info->pNext,
        .pipelineExecutableInfo = VK_TRUE,
    };
    VkDeviceCreateInfo more = *info;
    if (info->enabledExtensionCount >= sizeof names / sizeof *names)
        return VK_ERROR_INITIALIZATION_FAILED;
    for (uint32_t i = 0; i < info->enabledExtensionCount; i++) {
        names[i] = info->ppEnabledExtensionNames[i];
        if (strcmp(names[i], VK_KHR_PIPELINE_EXECUTABLE_PROPERTIES_EXTENSION_NAME) == 0)
            return theirs(physical_device, info, allocator, out_device);
    }
    names[info->enabledExtensionCount] = VK_KHR_PIPELINE_EXECUTABLE_PROPERTIES_EXTENSION_NAME;
    more.pNext = &feature;
    more.enabledExtensionCount++;
    more.ppEnabledExtensionNames = names;
    return theirs(physical_device, &more, allocator, out_device);
}

static VKAPI_ATTR VkResult VKAPI_CALL create_device(VkPhysicalDevice physical_device,
                                                    const VkDeviceCreateInfo *info,
                                                    const VkAllocationCallbacks *allocator,
                                                    VkDevice *out_device)
{
    return vendor_create_device(loader_create_device, physical_device, info, allocator, out_device);
}

static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL get_instance_function(VkInstance instance,
                                                                      const char *name)
{
    if (strcmp(name, "vkCreateDevice") != 0)
        return loader_get(instance, name);
    loader_create_device = (PFN_vkCreateDevice)loader_get(instance, name);
    return loader_create_device ? (PFN_vkVoidFunction)create_device : NULL;
}

VkResult vendor_create_pipelines(PFN_vkCreateComputePipelines theirs, VkDevice device,
                                 uint32_t n_pipelines, const VkComputePipelineCreateInfo *infos,
                                 const VkAllocationCallbacks *allocator, VkPipeline *out_pipelines)
{
    VkResult result = VK_SUCCESS;
    for (uint32_t i = 0; i < n_pipelines && result == VK_SUCCESS; i++) {
        VkComputePipelineCreateInfo info = infos[i];
        info.flags |= VK_PIPELINE_CREATE_CAPTURE_STATISTICS_BIT_KHR |
                      VK_PIPELINE_CREATE_CAPTURE_INTERNAL_REPRESENTATIONS_BIT_KHR;
        result = theirs(device, VK_NULL_HANDLE, 1, &info, allocator, &out_pipelines[i]);
    }
    return result;
}

static VKAPI_ATTR VkResult VKAPI_CALL create_pipelines(VkDevice device, VkPipelineCache cache,
                                                       uint32_t n_pipelines,
                                                       const VkComputePipelineCreateInfo *infos,
                                                       const VkAllocationCallbacks *allocator,
                                                       VkPipeline *out_pipelines)
{
    (void)cache; /* what comes from a cache tells nothing */
    return vendor_create_pipelines(device_create_pipelines, device, n_pipelines, infos, allocator,
                                   out_pipelines);
}

rapt_status vendor_reader_open(PFN_vkGetDeviceProcAddr get, VkDevice device,
                               struct vendor_reader *out_reader)
{
    out_reader->device = device;
    out_reader->get_executables = (PFN_vkGetPipelineExecutablePropertiesKHR)get(
        device, "vkGetPipelineExecutablePropertiesKHR");
    out_reader->get_statistics = (PFN_vkGetPipelineExecutableStatisticsKHR)get(
        device, "vkGetPipelineExecutableStatisticsKHR");
    out_reader->get_texts = (PFN_vkGetPipelineExecutableInternalRepresentationsKHR)get(
        device, "vkGetPipelineExecutableInternalRepresentationsKHR");
    if (!out_reader->get_executables || !out_reader->get_statistics || !out_reader->get_texts)
        return rapt_fail(RAPT_ERROR_UNSUPPORTED, "the driver tells nothing of its pipelines");
    return RAPT_OK;
}

rapt_status vendor_device_open(int validation, rapt_log log, struct vendor_device *out_vendor)
{
    memset(out_vendor, 0, sizeof *out_vendor);
    rapt_status status = rapt_loader_open(&out_vendor->library, &loader_get);
    if (status != RAPT_OK)
        return status;
    rapt_device_params params = {
        .struct_size = sizeof params,
        .log = log,
        .validation = validation,
        .get_instance_proc_addr = get_instance_function,
    };
    status = rapt_device_create(&params, &out_vendor->device);
    if (status != RAPT_OK) {
        vendor_device_close(out_vendor);
        return status;
    }
    rapt_device *device = out_vendor->device;
    device_create_pipelines = device->vk.vkCreateComputePipelines;
    device->vk.vkCreateComputePipelines = create_pipelines;
    status = vendor_reader_open(device->get_device_proc_addr, device->device, &out_vendor->reader);
    if (status != RAPT_OK)
        vendor_device_close(out_vendor);
    return status;
}

void vendor_device_close(struct vendor_device *vendor)
{
    rapt_device_destroy(&vendor->device);
    rapt_library_close(vendor->library);
    vendor->library = NULL;
}

/* -------------------------------------------------------------------------------------- numbers */

/* What drivers call the same thing; sums where a driver tells it in parts. */
static const struct {
    const char *name;
    size_t member;
    int adds;
} meanings[] = {
#define MEANS(name, member)                                                                        \
    {                                                                                              \
        name, offsetof(struct statistics, member), 0                                               \
    }
#define ADDS(name, member)                                                                         \
    {                                                                                              \
        name, offsetof(struct statistics, member), 1                                               \
    }
    /* radv */
    MEANS("VGPRs", registers),
    MEANS("Spilled SGPRs", moved),
    MEANS("Spilled VGPRs", spills),
    MEANS("Scratch size", scratch_bytes),
    MEANS("LDS size", shared_bytes),
    MEANS("Subgroups per SIMD", waves),
    MEANS("Instructions", instructions),
    MEANS("Latency", cycles),
    /* anv */
    MEANS("Max live registers", registers),
    MEANS("Spills", spills),
    MEANS("Fills", fills),
    MEANS("Scratch Memory Size", scratch_bytes),
    MEANS("Workgroup Memory Size", shared_bytes),
    MEANS("Cycles", cycles),
    /* nvk */
    MEANS("Number of GPRs", registers),
    MEANS("Spills to memory", spills),
    MEANS("Fills from memory", fills),
    MEANS("Spills to reg", moved),
    MEANS("SLM size", scratch_bytes),
    MEANS("Max warps/SM", waves),
    MEANS("Instruction count", instructions),
    MEANS("Static cycle count", cycles),
    /* turnip */
    MEANS("Registers used", registers),
    MEANS("Instruction Count", instructions),
    MEANS("Max Waves Per Core", waves),
    MEANS("STP Count", spills),
    MEANS("LDP Count", fills),
#undef MEANS
};

static long long value_of(const VkPipelineExecutableStatisticKHR *statistic)
{
    switch (statistic->format) {
    case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_BOOL32_KHR:
        return statistic->value.b32;
    case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_INT64_KHR:
        return statistic->value.i64;
    case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_UINT64_KHR:
        return (long long)statistic->value.u64;
    default:
        return (long long)statistic->value.f64;
    }
}

static void take(const VkPipelineExecutableStatisticKHR *statistic, struct statistics *out)
{
    for (size_t i = 0; i < sizeof meanings / sizeof *meanings; i++)
        if (strcmp(meanings[i].name, statistic->name) == 0)
            *(long long *)(void *)((char *)out + meanings[i].member) = value_of(statistic);
}

static rapt_status read_executable(const struct vendor_reader *reader, VkPipeline pipeline,
                                   uint32_t index, int raw, struct statistics *out)
{
    VkPipelineExecutableStatisticKHR statistics[64];
    uint32_t n = sizeof statistics / sizeof *statistics;
    VkPipelineExecutableInfoKHR info = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_INFO_KHR,
        .pipeline = pipeline,
        .executableIndex = index,
    };
    memset(statistics, 0, sizeof statistics);
    for (uint32_t i = 0; i < n; i++)
        statistics[i].sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_STATISTIC_KHR;
    VkResult result = reader->get_statistics(reader->device, &info, &n, statistics);
    if (result < 0)
        return rapt_device_result(result, "vkGetPipelineExecutableStatisticsKHR");
    for (uint32_t i = 0; i < n; i++) {
        if (raw)
            printf("    %s = %lld\n", statistics[i].name, value_of(&statistics[i]));
        take(&statistics[i], out);
    }
    return RAPT_OK;
}

/* FOLDER/CHIP-USE-KV-DIMS-GROUP-HOW.txt */
static void name_text(const struct vendor_text *text, size_t n, char *out)
{
    snprintf(out, n, "%s/%s-%s.txt", text->folder, text->chip, text->key);
    for (char *c = out + strlen(text->folder) + 1; *c; c++)
        if (*c == ',' || *c == '/')
            *c = '-';
}

/* The last text of an executable, which is the nearest to what the chip is given. */
static rapt_status write_text(const struct vendor_reader *reader, VkPipeline pipeline,
                              uint32_t index, const struct vendor_text *where)
{
    char path[512];
    name_text(where, sizeof path, path);
    VkPipelineExecutableInternalRepresentationKHR texts[16];
    uint32_t n = sizeof texts / sizeof *texts;
    VkPipelineExecutableInfoKHR info = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_INFO_KHR,
        .pipeline = pipeline,
        .executableIndex = index,
    };
    memset(texts, 0, sizeof texts);
    for (uint32_t i = 0; i < n; i++)
        texts[i].sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_INTERNAL_REPRESENTATION_KHR;
    VkResult result = reader->get_texts(reader->device, &info, &n, texts);
    while (n > 0 && !texts[n - 1].isText)
        n--;
    if (result < 0 || n == 0)
        return rapt_fail(RAPT_ERROR_UNSUPPORTED, "the driver has no text of its code");
    size_t n_bytes = texts[n - 1].dataSize;
    char *text = malloc(n_bytes);
    if (!text)
        return rapt_fail(RAPT_ERROR_HOST_MEMORY, "%zu bytes of text", n_bytes);
    texts[n - 1].pData = text;
    result = reader->get_texts(reader->device, &info, &n, texts);
    FILE *file = result < 0 ? NULL : fopen(path, "w");
    int written = file && fprintf(file, "# %s\n%s", where->heading, text) > 0;
    if (file)
        written &= fclose(file) == 0;
    free(text);
    return written ? RAPT_OK : rapt_fail(RAPT_ERROR_IO, "%s cannot be written", path);
}

rapt_status vendor_read_pipeline(const struct vendor_reader *reader, VkPipeline pipeline, int raw,
                                 const struct vendor_text *text, struct statistics *out)
{
    VkPipelineExecutablePropertiesKHR executables[8];
    uint32_t n = sizeof executables / sizeof *executables;
    VkPipelineInfoKHR info = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_INFO_KHR,
        .pipeline = pipeline,
    };
    memset(executables, 0, sizeof executables);
    for (uint32_t i = 0; i < n; i++)
        executables[i].sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_PROPERTIES_KHR;
    VkResult result = reader->get_executables(reader->device, &info, &n, executables);
    if (result < 0 || n == 0)
        return rapt_device_result(result < 0 ? result : VK_ERROR_UNKNOWN,
                                  "vkGetPipelineExecutablePropertiesKHR");
    /* The last of several: drivers list narrower forms first. */
    for (uint32_t e = 0; e < n; e++) {
        memset(out, 0xff, sizeof *out);
        out->subgroup = executables[e].subgroupSize;
        if (raw)
            printf("  %s: %s\n", executables[e].name, executables[e].description);
        rapt_status status = read_executable(reader, pipeline, e, raw, out);
        if (status != RAPT_OK)
            return status;
    }
    return text->folder ? write_text(reader, pipeline, n - 1, text) : RAPT_OK;
}

void vendor_print_numbers(const struct statistics *s)
{
    const long long numbers[] = {s->subgroup,     s->registers,     s->spills,       s->fills,
                                 s->moved,        s->scratch_bytes, s->shared_bytes, s->waves,
                                 s->instructions, s->cycles};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (numbers[i] < 0)
            printf(",");
        else
            printf(",%lld", numbers[i]);
    printf("\n");
}

rapt_status vendor_device_compile(struct vendor_device *vendor,
                                  const struct rapt_kernel_choice *choice, int raw,
                                  const struct vendor_text *text, struct statistics *out_statistics)
{
    struct rapt_pipeline pipeline;
    rapt_status status = rapt_pipeline_create(vendor->device, choice, NULL, &pipeline);
    if (status != RAPT_OK)
        return status;
    status = vendor_read_pipeline(&vendor->reader, pipeline.pipeline, raw, text, out_statistics);
    rapt_pipeline_finish(vendor->device, &pipeline);
    return status;
}
