/* SPDX-License-Identifier: Apache-2.0 */
#define _POSIX_C_SOURCE 200809L
#include "peer.h"

#include <vulkan/vulkan_core.h>

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static FILE *answers;

void *peer_alloc(size_t n_bytes)
{
    void *memory = malloc(n_bytes ? n_bytes : 1);
    if (!memory) {
        fprintf(stderr, "out of memory\n");
        exit(1);
    }
    return memory;
}

void peer_start(void)
{
    int copy = dup(STDOUT_FILENO);
    answers = copy >= 0 ? fdopen(copy, "wb") : NULL;
    if (!answers || dup2(STDERR_FILENO, STDOUT_FILENO) < 0)
        exit(1);
}

static void answer(const char *word, const char *text)
{
    fprintf(answers, "%s %s\n", word, text);
    fflush(answers);
}

int peer_refuse(const char *why)
{
    answer("cannot", why);
    return 0;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

int peer_allows(const struct peer_case *data, uint32_t b, uint32_t i, uint32_t j)
{
    uint32_t position = data->kv_len[b] - data->q_len[b] + i;
    if (strcmp(data->mask, "causal") == 0)
        return j <= position;
    if (data->map) {
        uint32_t n = (data->kv_len[b] + data->block - 1) / data->block;
        return data->map[(size_t)(position / data->block) * n + j / data->block];
    }
    return 1;
}

int peer_allows_all(const struct peer_case *data, uint32_t b)
{
    return !data->map && (strcmp(data->mask, "full") == 0 || data->q_len[b] == 1);
}

static void *read_bytes(size_t n_bytes)
{
    void *bytes = peer_alloc(n_bytes);
    if (fread(bytes, 1, n_bytes, stdin) != n_bytes)
        exit(1);
    return bytes;
}

static void drop(struct peer_case *data)
{
    free(data->q);
    free(data->k);
    free(data->v);
    free(data->map);
    memset(data, 0, sizeof *data);
}

/* "case N-Q-HEADS N-KV-HEADS HEAD-DIM KV-TYPE MASK BLOCK N-SEQS Q-LEN KV-LEN ...", then the values.
 */
static void read_case(const char *line, struct peer_case *data)
{
    int used = 0;
    drop(data);
    if (sscanf(line, "case %u %u %u %15s %15s %u %u%n", &data->n_q_heads, &data->n_kv_heads,
               &data->head_dim, data->kv_type, data->mask, &data->block, &data->n_seqs,
               &used) != 7 ||
        data->n_seqs > PEER_MAX_SEQS)
        exit(1);
    size_t n_q = 0, n_kv = 0;
    for (uint32_t b = 0; b < data->n_seqs; b++) {
        int more = 0;
        if (sscanf(line + used, " %u %u%n", &data->q_len[b], &data->kv_len[b], &more) != 2)
            exit(1);
        used += more;
        n_q += data->q_len[b], n_kv += data->kv_len[b];
    }
    size_t row = strcmp(data->kv_type, "q8_0") == 0 ? (size_t)data->head_dim / 32 * 34
                                                    : (size_t)data->head_dim * 2;
    data->q = read_bytes(n_q * data->n_q_heads * data->head_dim * sizeof(float));
    data->k = read_bytes(n_kv * data->n_kv_heads * row);
    data->v = read_bytes(n_kv * data->n_kv_heads * row);
    if (strcmp(data->mask, "blocks") == 0) {
        size_t n = (data->kv_len[0] + data->block - 1) / data->block;
        data->map = read_bytes(n * n);
    }
}

static void timed(const char *word, const char *why, double seconds)
{
    char text[64];
    snprintf(text, sizeof text, "%.9f", seconds);
    answer(why ? "cannot" : word, why ? why : text);
}

static void send_result(const struct peer_case *data, const struct peer_calls *calls, void *self)
{
    size_t n = 0;
    for (uint32_t b = 0; b < data->n_seqs; b++)
        n += (size_t)data->q_len[b] * data->n_q_heads * data->head_dim;
    float *out = peer_alloc(n * sizeof *out);
    calls->read_out(self, data, out);
    answer("result", "");
    if (fwrite(out, sizeof *out, n, answers) != n || fflush(answers))
        exit(1);
    free(out);
}

int peer_converse(const char *about, const struct peer_calls *calls, void *self)
{
    char line[1024];
    struct peer_case data = {0};
    answer("peer", about);
    while (fgets(line, sizeof line, stdin)) {
        double start = now();
        if (strncmp(line, "case ", 5) == 0) {
            read_case(line, &data);
            const char *why = calls->load(self, &data);
            start = now();
            why = why ? why : calls->compute(self);
            timed("ready", why, now() - start);
        } else if (strcmp(line, "run\n") == 0) {
            const char *why = calls->compute(self);
            timed("ran", why, now() - start);
        } else if (strcmp(line, "result\n") == 0) {
            send_result(&data, calls, self);
        } else {
            return 1;
        }
    }
    drop(&data);
    return 0;
}

/* The loader's order is that of vkEnumeratePhysicalDevices, by which ggml counts. */
static int index_of(PFN_vkGetInstanceProcAddr get, VkInstance instance, const char *name)
{
    PFN_vkEnumeratePhysicalDevices enumerate =
        (PFN_vkEnumeratePhysicalDevices)get(instance, "vkEnumeratePhysicalDevices");
    PFN_vkGetPhysicalDeviceProperties get_properties =
        (PFN_vkGetPhysicalDeviceProperties)get(instance, "vkGetPhysicalDeviceProperties");
    VkPhysicalDevice devices[32];
    uint32_t n = 32;
    if (!enumerate || !get_properties || enumerate(instance, &n, devices) < 0)
        return -1;
    for (uint32_t i = 0; i < n; i++) {
        VkPhysicalDeviceProperties properties;
        get_properties(devices[i], &properties);
        if (strcmp(properties.deviceName, name) == 0)
            return (int)i;
    }
    return -1;
}

int peer_show_vulkan_device(const char *variable, const char *name)
{
    char number[16];
    int index = -1;
    void *loader = dlopen("libvulkan.so.1", RTLD_NOW);
    PFN_vkGetInstanceProcAddr get =
        loader ? (PFN_vkGetInstanceProcAddr)dlsym(loader, "vkGetInstanceProcAddr") : NULL;
    PFN_vkCreateInstance create = get ? (PFN_vkCreateInstance)get(NULL, "vkCreateInstance") : NULL;
    VkInstanceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO};
    VkInstance instance = NULL;
    if (create && create(&info, NULL, &instance) == VK_SUCCESS) {
        index = index_of(get, instance, name);
        PFN_vkDestroyInstance destroy = (PFN_vkDestroyInstance)get(instance, "vkDestroyInstance");
        if (destroy)
            destroy(instance, NULL);
    }
    if (index < 0)
        return 1;
    snprintf(number, sizeof number, "%d", index);
    return setenv(variable, number, 1);
}
