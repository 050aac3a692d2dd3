/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RAPT_SPARSE_H
#define RAPT_SPARSE_H

/* Dynamic sparsity: what a query attends to is chosen on the device, from the data, and nothing is read
 * back. The objects of this header stand beside a plan (attention.h): they read the steps that it
 * prepared, find K through the same layouts and page tables, and record into the same command buffers.
 *
 * MoBA (mixture of block attention, Lu et al. 2025): keys in chunks of C; the gate of a query and a chunk
 * is the dot product, unscaled, of the query with the mean of the chunk's keys. Of the chunks that begin
 * at or before the query's position its own is always chosen, then those with the largest gates, k in
 * all (or as many as there are); of equal gates that of the lower chunk. Attention is causal within
 * them.
 *
 * An object must be destroyed before its plan. It is used by the thread that uses the plan. */

#include <rapt/attention.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---------------------------------------------------------------------------------------- MoBA */

typedef struct rapt_moba rapt_moba;

typedef struct rapt_moba_params {
    size_t struct_size;
    uint32_t chunk; /* C: keys of a chunk, a multiple of 16 up to 2^20. The last chunk of a sequence may
                       have fewer */
    uint32_t top_k; /* chunks per query and head, the own one counted: 1 to 65536 */
    uint32_t max_records;      /* of one step, where there are no push descriptors [64] */
    uint64_t score_bytes;      /* gates are made and chosen from in parts of about so much [64 MiB] */
} rapt_moba_params;

/* Compiles pipelines. The plan's K may be of any type, packed or paged in one piece. Errors: ARGUMENT,
 * UNSUPPORTED (a pool in several pieces; what the device lacks), ABSENT, HOST_MEMORY, DEVICE_MEMORY,
 * DEVICE. */
RAPT_API rapt_status rapt_moba_create(rapt_plan *plan, const rapt_moba_params *params,
                                      rapt_moba **out_moba);
/* No command buffer that records it may be pending. */
RAPT_API void rapt_moba_destroy(rapt_moba **moba);

/* Device-local bytes that rapt_moba_record needs for steps of at most n_seqs sequences with total_q
 * queries and total_kv keys, max_kv_len of them in one. Saturates. */
RAPT_API uint64_t rapt_moba_workspace_bytes(const rapt_moba *moba, uint32_t n_seqs,
                                            uint32_t total_q, uint64_t total_kv,
                                            uint32_t max_kv_len);

/* Room for the lists of steps with at most so much in them, whatever is chosen: for
 * rapt_step_params.device_lists, and for rapt_plan_params.max_spans (out_max_spans) and max_bit_words
 * (out_lists->bit_words). block_q: queries that share a list, a power of two from 16 to 256. Errors:
 * ARGUMENT, CAPACITY (more than a step can hold). Thread-safety: any thread. */
RAPT_API rapt_status rapt_moba_device_lists(const rapt_moba_params *params, uint32_t n_q_heads,
                                            uint32_t n_seqs, uint32_t total_q, uint32_t max_kv_len,
                                            uint32_t block_q, rapt_device_lists *out_lists,
                                            uint32_t *out_max_spans);

typedef struct rapt_moba_record_params {
    size_t struct_size;
    VkCommandBuffer command_buffer; /* recording, outside a render pass */
    const rapt_step *step;
    rapt_buffer q, k, k_scale, rope_table; /* as in rapt_record_params */
    rapt_buffer workspace; /* offset a multiple of 256; in use until what was recorded has executed */
    /* Both optional. gates: f32[total_q][Hq][gate_stride], gate_stride at least the chunks of the longest
     * sequence; chunks that a row may not choose are -inf. choices: u32[total_q][Hq][top_k], ascending,
     * the rest 0xffffffff. */
    rapt_buffer gates;
    uint32_t gate_stride;
    rapt_buffer choices;
    /* 1: the chosen chunks become the lists of the step, which was prepared with the device_lists of
     * rapt_moba_device_lists and a causal mask. rapt_plan_record then attends to them; needs a plan
     * with RAPT_PLAN_BLOCKS and head_group 1. */
    int lists;
} rapt_moba_record_params;

/* Chooses for every query and head of the step. First access: COMPUTE_SHADER reads q, k, k_scale,
 * rope_table, writes workspace; a barrier is recorded before that and after the last access
 * (COMPUTE_SHADER writes gates, choices, workspace). Errors: ARGUMENT, SHAPE (a buffer too small),
 * CAPACITY (max_records; more rows than a dispatch holds), UNSUPPORTED (a part of the workspace beyond
 * maxStorageBufferRange); nothing is recorded then. */
RAPT_API rapt_status rapt_moba_record(rapt_moba *moba, const rapt_moba_record_params *params);

/* ------------------------------------------------------------------------------------- indexer */

/* The choice of keys in DeepSeek sparse attention (DeepSeek-V3.2): a small attention of its own, the
 * indexer, scores every key,
 *
 *   score(i, j) = sum over its heads h of weight[i][h] * max(0, qI[i][h] . kI[j])
 *
 * and query i attends to the k keys of the largest scores among those that the step's mask allows it;
 * of equal scores that of the lower key. NaN is less than anything. One list serves all heads. */
typedef struct rapt_indexer rapt_indexer;

typedef struct rapt_indexer_params {
    size_t struct_size;
    uint32_t n_heads;  /* of the indexer, 1 to 1024 */
    uint32_t head_dim; /* multiple of 8, 8 to 256 */
    rapt_type q_type, k_type; /* f32, f16, bf16; default f16 */
    /* Strides in elements; zero = dense: qI [total_q, heads, dim]; kI, one head, [total_kv, dim], or
     * [pages, page_size, dim] through the plan's page tables */
    rapt_layout q, k;
    uint32_t top_k;       /* 1 to 65536 */
    uint32_t max_records; /* of one step, where there are no push descriptors [64] */
    uint64_t score_bytes; /* scores are made and chosen from in parts of about so much [64 MiB] */
} rapt_indexer_params;

/* Errors: ARGUMENT, UNSUPPORTED, ABSENT, HOST_MEMORY, DEVICE_MEMORY, DEVICE. */
RAPT_API rapt_status rapt_indexer_create(rapt_plan *plan, const rapt_indexer_params *params,
                                         rapt_indexer **out_indexer);
RAPT_API void rapt_indexer_destroy(rapt_indexer **indexer);
/* Device-local bytes for steps of at most so much. Saturates. */
RAPT_API uint64_t rapt_indexer_workspace_bytes(const rapt_indexer *indexer, uint32_t n_seqs,
                                               uint32_t total_q, uint32_t max_kv_len);

typedef struct rapt_indexer_record_params {
    size_t struct_size;
    VkCommandBuffer command_buffer; /* recording, outside a render pass */
    const rapt_step *step;
    rapt_buffer q, k;      /* of the indexer */
    rapt_buffer weights;   /* f32[total_q][n_heads] */
    rapt_buffer workspace; /* offset a multiple of 256 */
    rapt_buffer lists;     /* u32[total_q][top_k]: keys of the sequence, ascending, the rest
                              0xffffffff */
    rapt_buffer counts;    /* u32[total_q]: keys in each list */
} rapt_indexer_record_params;

/* First access: COMPUTE_SHADER reads q, k, weights, writes workspace; barriers are recorded before it
 * and after the last (COMPUTE_SHADER writes lists, counts, workspace). Errors as rapt_moba_record. */
RAPT_API rapt_status rapt_indexer_record(rapt_indexer *indexer,
                                         const rapt_indexer_record_params *params);

#ifdef __cplusplus
}
#endif
#endif
