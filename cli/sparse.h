/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_SPARSE_H
#define CLI_SPARSE_H

/* What `rapt moba` and `rapt topk` share: the tensors of `rapt attend`, a plan of the explicit
 * tier, and the check of attention on what was chosen. */

#include <rapt/sparse.h>

#include "attend.h"
#include "cli.h"
#include "output.h"

/* Options of both, at the end of their tables. */
/* clang-format off */
#define SPARSE_TENSOR_SPECS \
    {"Tensors (FILE is .npy, or FILE:NAME of safetensors; C order, little endian)", OPTION_HEADING}, \
    {"--q", OPTION_TEXT, "FILE", "queries: [total,H,D] or [B,T,H,D]; f4, f2 or BF16"}, \
    {"--k", OPTION_TEXT, "FILE", "keys, likewise with the K/V heads"}, \
    {"--v", OPTION_TEXT, "FILE", "values, likewise; their head dim may differ"}, \
    {"--q-dtype", OPTION_TEXT, "TYPE", "f32, f16 or bf16: what the device stores (default: the file's)"}, \
    {"--kv-dtype", OPTION_TEXT, "TYPE", "likewise"}, \
    {"--scale", OPTION_NUMBER, "X", "of the attention's dot products (default 1/sqrt(D))"}, \
    {"Batch and pages, as in `rapt attend`", OPTION_HEADING}, \
    {"--cu-q", OPTION_TEXT, "FILE", "cumulative query lengths, i4 [B+1]"}, \
    {"--cu-kv", OPTION_TEXT, "FILE", "cumulative key lengths, i4 [B+1]"}, \
    {"--q-pos0", OPTION_TEXT, "FILE", "position of each sequence's first query, i4 [B]"}, \
    {"--q-pos", OPTION_TEXT, "FILE", "position of every query, i4 [total]"}, \
    {"--kv-pos0", OPTION_TEXT, "FILE", "position of each sequence's first key, i4 [B]"}, \
    {"--k-pool", OPTION_TEXT, "FILE", "a ready page pool instead of --k"}, \
    {"--v-pool", OPTION_TEXT, "FILE", "a ready page pool instead of --v"}, \
    {"--page-indptr", OPTION_TEXT, "FILE", "where each sequence's pages start in --page-indices, u4 or i4 [B+1]"}, \
    {"--page-indices", OPTION_TEXT, "FILE", "page numbers, u4 or i4"}, \
    {"--last-page-len", OPTION_TEXT, "FILE", "tokens in each sequence's last page, u4 or i4 [B]"}, \
    {"Kernel and checking", OPTION_HEADING}, \
    {"--device", OPTION_TEXT, "N|NAME", "which device: a number of `rapt info`, or part of its name"}, \
    {"--disable", OPTION_TEXT, "F,...", "device features not to use"}
/* clang-format on */

enum sparse_buffer {
    S_TABLES,
    S_WORK,
    S_Q,
    S_K,
    S_V,
    S_OUT,
    S_LSE,
    S_SELECTION, /* workspace of the selection */
    S_GATES,
    S_CHOICES,
    S_COUNTS,
    S_INDEX_Q,
    S_INDEX_K,
    S_WEIGHTS,
    S_N_BUFFERS
};

struct sparse_run {
    struct attend attend;
    rapt_easy *easy;
    rapt_plan *plan;
    rapt_step step;
    rapt_easy_buffer *buffers[S_N_BUFFERS];
    uint32_t chunk; /* 0: choices are keys, the same for all heads */
    int by_blocks;  /* the plan's own kernels go through lists of blocks */
    /* blocks by scores: bits of what is listed, [n_sets][rows of blocks][listed_stride] */
    uint32_t block_q, block_kv, n_sets, n_block_rows, listed_stride;
    uint32_t *listed;
    uint32_t top_k, total_q, max_kv_len;
    uint64_t total_kv;
    float *out, *lse, *gates;
    uint32_t *choices;
    char device[600];
    double seconds;
};

/* A command's options: its own, and those of `rapt attend` by their names. */
struct sparse_command {
    const char *head;
    const struct option_spec *specs;
    size_t n_specs;
};

int sparse_parse(const struct sparse_command *command, int argc, char **argv,
                 struct option_value *values, struct sparse_run *run);
int sparse_open(struct sparse_run *run);
/* The end of the plan and the device; to be called before files are written. */
int sparse_close_device(struct sparse_run *run, int code);
int sparse_close(struct sparse_run *run, int code);

uint32_t sparse_kv_len(const rapt_problem *problem, uint32_t b);
rapt_status sparse_put(struct sparse_run *run, enum sparse_buffer which, const void *data,
                       uint64_t n_bytes);
rapt_buffer sparse_range(const struct sparse_run *run, enum sparse_buffer which);
rapt_status sparse_plan(struct sparse_run *run, uint32_t flags, const rapt_device_lists *lists,
                        uint32_t max_spans);
rapt_status sparse_prepare(struct sparse_run *run, const rapt_device_lists *lists);
rapt_record_params sparse_record(const struct sparse_run *run, VkCommandBuffer commands);
rapt_status sparse_read(struct sparse_run *run, enum sparse_buffer which, uint64_t n_elements,
                        void **out_data);
int sparse_write(struct output *output, const struct option_spec *spec,
                 const struct option_value *value, enum array_dtype dtype, const void *data,
                 const uint64_t *shape, uint32_t rank);
int sparse_check(struct sparse_run *run, rapt_error *out_error);
/* topk_blocks.c: `rapt topk --block-scores`; values of the options of the enum, in a row. */
enum block_option {
    BY_SCORES,
    BY_MASS,
    BY_PLAIN,
    BY_KEEP,
    BY_Q,
    BY_KV,
    BY_LISTED,
    N_BLOCK_OPTIONS
};
int topk_blocks(struct sparse_run *run, const struct option_spec *specs,
                const struct option_value *values, int check, rapt_choice_error *out_choice,
                rapt_error *out_error, uint32_t *out_n_keys);
int topk_write_listed(const struct sparse_run *run, struct output *output,
                      const struct option_spec *spec, const struct option_value *value,
                      uint32_t n_keys);
/* choice->struct_size 0: nothing was checked; top_k 0: `what` says how many. */
int sparse_report(const struct sparse_run *run, const char *what, const rapt_choice_error *choice,
                  const rapt_error *error);

#endif
