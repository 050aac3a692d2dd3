/* SPDX-License-Identifier: Apache-2.0 */
/* ggml's flash attention, for `rapt bench --peers`: on a Vulkan device or on the CPU, through its C
 * interface. A process of its own, since ggml aborts where it fails and makes its own Vulkan
 * device. bench/README.md has the conversation on standard input and output.
 *
 *   rapt-peer-ggml vulkan DEVICE-NAME | cpu N-THREADS
 *
 * Q is f32 and K/V lie token after token, as in the caches of programs that use ggml; every
 * sequence of a batch is a node of one graph. */
#include "peer.h"

#include <ggml-backend.h>
#include <ggml.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct ggml_peer {
    ggml_backend_t backend;
    struct ggml_context *context;
    ggml_backend_buffer_t buffer;
    struct ggml_cgraph *graph;
    struct ggml_tensor *out[PEER_MAX_SEQS];
    char why[128];
};

static void no_log(enum ggml_log_level level, const char *text, void *user)
{
    (void)level, (void)text, (void)user;
}

static void let_go(struct ggml_peer *peer)
{
    if (peer->buffer)
        ggml_backend_buffer_free(peer->buffer);
    if (peer->context)
        ggml_free(peer->context);
    peer->buffer = NULL;
    peer->context = NULL;
}

static enum ggml_type type_of(const struct peer_case *data)
{
    return strcmp(data->kv_type, "q8_0") == 0 ? GGML_TYPE_Q8_0 : GGML_TYPE_F16;
}

/* As models do; the name of the call changed, the old one still works. */
static void ask_for_f32_sums(struct ggml_tensor *node)
{
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
    ggml_flash_attn_ext_set_prec(node, GGML_PREC_F32);
#pragma GCC diagnostic pop
}

/* A dense f16 mask [query, key]; none where every pair is allowed. */
static void fill_mask(const struct peer_case *data, uint32_t b, struct ggml_tensor *mask)
{
    uint32_t n_q = data->q_len[b], n_kv = data->kv_len[b];
    const ggml_fp16_t zero = ggml_fp32_to_fp16(0), never = ggml_fp32_to_fp16(-INFINITY);
    ggml_fp16_t *row = peer_alloc((size_t)n_kv * sizeof *row);
    for (uint32_t i = 0; i < n_q; i++) {
        for (uint32_t j = 0; j < n_kv; j++)
            row[j] = peer_allows(data, b, i, j) ? zero : never;
        ggml_backend_tensor_set(mask, row, (size_t)i * n_kv * sizeof *row, n_kv * sizeof *row);
    }
    free(row);
}

struct nodes {
    struct ggml_tensor *q, *k, *v, *mask;
};

static void make_nodes(struct ggml_peer *peer, const struct peer_case *data, uint32_t b,
                       struct nodes *nodes)
{
    struct ggml_context *context = peer->context;
    enum ggml_type type = type_of(data);
    int64_t dim = data->head_dim, n_q = data->q_len[b], n_kv = data->kv_len[b];
    nodes->q = ggml_new_tensor_3d(context, GGML_TYPE_F32, dim, data->n_q_heads, n_q);
    nodes->k = ggml_new_tensor_3d(context, type, dim, data->n_kv_heads, n_kv);
    nodes->v = ggml_new_tensor_3d(context, type, dim, data->n_kv_heads, n_kv);
    nodes->mask =
        peer_allows_all(data, b) ? NULL : ggml_new_tensor_2d(context, GGML_TYPE_F16, n_kv, n_q);
    peer->out[b] = ggml_flash_attn_ext(context, ggml_permute(context, nodes->q, 0, 2, 1, 3),
                                       ggml_permute(context, nodes->k, 0, 2, 1, 3),
                                       ggml_permute(context, nodes->v, 0, 2, 1, 3), nodes->mask,
                                       1.0f / sqrtf((float)dim), 0.0f, 0.0f);
    ask_for_f32_sums(peer->out[b]);
    ggml_build_forward_expand(peer->graph, peer->out[b]);
}

/* A GPU driver refuses what one binding cannot hold: the mask of a long prompt, for one. */
static const char *unsupported(struct ggml_peer *peer, const struct nodes *nodes)
{
    size_t largest = ggml_nbytes(nodes->k);
    if (nodes->mask && ggml_nbytes(nodes->mask) > largest)
        largest = ggml_nbytes(nodes->mask);
    snprintf(peer->why, sizeof peer->why,
             "its FLASH_ATTN_EXT does not do this shape (the largest tensor has %zu MiB)",
             largest >> 20);
    return peer->why;
}

/* NULL, or why not. */
static const char *load(void *self, const struct peer_case *data)
{
    struct ggml_peer *peer = self;
    struct nodes nodes[PEER_MAX_SEQS];
    let_go(peer);
    peer->context = ggml_init((struct ggml_init_params){
        .mem_size = ggml_tensor_overhead() * 16 * PEER_MAX_SEQS + ggml_graph_overhead(),
        .no_alloc = true});
    if (!peer->context)
        return "out of memory";
    peer->graph = ggml_new_graph(peer->context);
    for (uint32_t b = 0; b < data->n_seqs; b++) {
        make_nodes(peer, data, b, &nodes[b]);
        if (!ggml_backend_supports_op(peer->backend, peer->out[b]))
            return unsupported(peer, &nodes[b]);
    }
    peer->buffer = ggml_backend_alloc_ctx_tensors(peer->context, peer->backend);
    if (!peer->buffer)
        return "out of memory for its tensors";
    const char *q = (const char *)data->q, *k = data->k, *v = data->v;
    for (uint32_t b = 0; b < data->n_seqs; b++) {
        size_t q_bytes = ggml_nbytes(nodes[b].q), k_bytes = ggml_nbytes(nodes[b].k);
        ggml_backend_tensor_set(nodes[b].q, q, 0, q_bytes);
        ggml_backend_tensor_set(nodes[b].k, k, 0, k_bytes);
        ggml_backend_tensor_set(nodes[b].v, v, 0, k_bytes);
        if (nodes[b].mask)
            fill_mask(data, b, nodes[b].mask);
        q += q_bytes, k += k_bytes, v += k_bytes;
    }
    return NULL;
}

static const char *compute(void *self)
{
    struct ggml_peer *peer = self;
    enum ggml_status status = ggml_backend_graph_compute(peer->backend, peer->graph);
    if (status == GGML_STATUS_SUCCESS)
        ggml_backend_synchronize(peer->backend);
    return status == GGML_STATUS_SUCCESS ? NULL : ggml_status_to_string(status);
}

static void read_out(void *self, const struct peer_case *data, float *out)
{
    struct ggml_peer *peer = self;
    for (uint32_t b = 0; b < data->n_seqs; b++) {
        ggml_backend_tensor_get(peer->out[b], out, 0, ggml_nbytes(peer->out[b]));
        out += (size_t)data->q_len[b] * data->n_q_heads * data->head_dim;
    }
}

static ggml_backend_dev_t find_device(int vulkan, const char *name)
{
    for (size_t i = 0; i < ggml_backend_dev_count(); i++) {
        ggml_backend_dev_t device = ggml_backend_dev_get(i);
        int is_cpu = ggml_backend_dev_type(device) == GGML_BACKEND_DEVICE_TYPE_CPU;
        if (!vulkan && is_cpu)
            return device;
        if (vulkan && strncmp(ggml_backend_dev_name(device), "Vulkan", 6) == 0 &&
            strcmp(ggml_backend_dev_description(device), name) == 0)
            return device;
    }
    return NULL;
}

static void set_n_threads(ggml_backend_dev_t device, ggml_backend_t backend, int n_threads)
{
    ggml_backend_set_n_threads_t set =
        (ggml_backend_set_n_threads_t)ggml_backend_reg_get_proc_address(
            ggml_backend_dev_backend_reg(device), "ggml_backend_set_n_threads");
    if (set)
        set(backend, n_threads);
}

int main(int argc, char **argv)
{
    char text[256];
    int vulkan = argc == 3 && strcmp(argv[1], "vulkan") == 0;
    if (argc != 3 || (!vulkan && strcmp(argv[1], "cpu") != 0)) {
        fprintf(stderr, "usage: rapt-peer-ggml vulkan DEVICE-NAME | cpu N-THREADS\n");
        return 2;
    }
    peer_start();
    /* ggml leaves out CPU drivers, and the second of two of a kind, unless told the number. */
    if (vulkan && peer_show_vulkan_device("GGML_VK_VISIBLE_DEVICES", argv[2]))
        return peer_refuse("the Vulkan loader knows no device of this name");
    ggml_log_set(no_log, NULL);
    ggml_backend_load_all();
    ggml_backend_dev_t device = find_device(vulkan, argv[2]);
    if (!device)
        return peer_refuse(vulkan ? "ggml's Vulkan backend is not installed, or refuses the device"
                                  : "ggml's CPU backend is not installed");
    struct ggml_peer peer = {.backend = ggml_backend_dev_init(device, NULL)};
    if (!peer.backend)
        return peer_refuse("ggml could not open the device");
    if (!vulkan)
        set_n_threads(device, peer.backend, atoi(argv[2]));
    snprintf(text, sizeof text, "ggml %s, %s%s%s", ggml_version(),
             ggml_backend_dev_description(device),
             vulkan ? "" : ", threads: ", vulkan ? "" : argv[2]);
    const struct peer_calls calls = {load, compute, read_out};
    int code = peer_converse(text, &calls, &peer);
    let_go(&peer);
    ggml_backend_free(peer.backend);
    return code;
}
