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

/* -------------------------------------------------------------------------------- block lists */

/* Lists of key blocks for every block of queries, made on the device from what lies there: what
 * rapt_block_table_create makes on the host, without a readback. Blocks, their rows and kinds are
 * those of rapt_block_table_view. The step's mask, in closed form, bounds all of them: blocks in
 * which it allows nothing are not listed and not chosen, and where it cuts a block it is tested.
 *
 * By scores, f32[n_sets][n_rows][score_stride], row r of set s as in rapt_block_table_view, one
 * score for each block of keys (rows of shorter sequences end early; what lies behind is not read).
 * Of a row's candidates, the blocks in which the closed form allows something,
 *
 *   TOP_K  the top_k of the largest scores
 *   MASS   the fewest, taken by falling scores, whose weights come to `mass` of the sum over all
 *          candidates. Weights are exp(score - the largest), so that mass is that of a softmax over
 * the candidates, or with plain_mass the scores themselves, where negative ones weigh nothing. Rows
 *          in which nothing weighs anything choose all. (Cumulative attention as FlexPrefill and
 *          XAttention, both 2025, and SpargeAttn, 2025, select by; MInference, 2024, takes the top
 * k.)
 *
 * are listed; of equal scores that of the lower block first, NaN after all numbers. The keep_first
 * and keep_last outermost blocks of a row's reach (from its first candidate to its last) are chosen
 * in any case and count: causal prefill wants keep_last >= block_q / block_kv + 1, or rows may see
 * nothing.
 *
 * What is chosen is exact, the same on every device and in rapt_reference_block_choice: scores are
 * compared by their bits; weights are whole multiples of 2^-31 of the largest (plain ones: of 2^-30
 * or less), rounded down, sums of them exact, and `mass` is rounded up to a multiple of 2^-16. */
typedef struct rapt_block_lists rapt_block_lists;

typedef enum rapt_blocks_source {
    RAPT_BLOCKS_TOP_K = 1,
    RAPT_BLOCKS_MASS = 2,
    RAPT_BLOCKS_SEGMENTS = 3, /* `segments` & the closed form, from ids */
    RAPT_BLOCKS_BITMAP = 4    /* `bitmap` & the closed form, from bits */
} rapt_blocks_source;

typedef struct rapt_block_lists_params {
    size_t struct_size;
    rapt_blocks_source source;
    uint32_t top_k;                 /* TOP_K: 1 to 2^24 */
    float mass;                     /* MASS: in (0, 1] */
    int plain_mass;                 /* MASS: weights are the scores */
    uint32_t keep_first, keep_last; /* TOP_K, MASS */
    uint32_t max_blocks; /* MASS: room in a list [all blocks there are]. A row that takes more spans
                            (runs of neighbours) attends to all keys its closed form allows instead,
                            and says so in `overflow`; no block is ever dropped */
    uint32_t max_records; /* of one step, where there are no push descriptors [64] */
} rapt_block_lists_params;

/* Compiles pipelines, for a plan with RAPT_PLAN_BLOCKS. Errors: ARGUMENT, UNSUPPORTED, ABSENT,
 * HOST_MEMORY, DEVICE_MEMORY, DEVICE. */
RAPT_API rapt_status rapt_block_lists_create(rapt_plan *plan, const rapt_block_lists_params *params,
                                             rapt_block_lists **out_lists);
/* No command buffer that records it may be pending. */
RAPT_API void rapt_block_lists_destroy(rapt_block_lists **lists);

/* Room for the lists of steps with at most so much in them: for rapt_step_params.device_lists, and
 * for rapt_plan_params.max_spans (out_max_spans) and max_bit_words (out_lists->bit_words). Segments
 * and bitmaps take a bit for every pair of the batch's blocks, as no block may lack its tile.
 * n_sets: 1, or one for each head group. Errors: ARGUMENT, CAPACITY (more than a step can hold).
 * Thread-safety: any thread. */
RAPT_API rapt_status rapt_block_lists_device_lists(const rapt_block_lists_params *params,
                                                   uint32_t n_sets, uint32_t n_seqs,
                                                   uint32_t total_q, uint32_t max_kv_len,
                                                   uint32_t block_q, uint32_t block_kv,
                                                   rapt_device_lists *out_lists,
                                                   uint32_t *out_max_spans);
/* Device-local bytes for steps of at most so much, in blocks of block_kv keys or more. Saturates.
 */
RAPT_API uint64_t rapt_block_lists_workspace_bytes(const rapt_block_lists *lists, uint32_t n_seqs,
                                                   uint64_t total_kv, uint32_t block_kv);

typedef struct rapt_block_lists_record_params {
    size_t struct_size;
    VkCommandBuffer command_buffer; /* recording, outside a render pass */
    const rapt_step *step;          /* prepared with device_lists */
    rapt_buffer workspace;          /* offset a multiple of 256 */
    rapt_buffer scores;             /* TOP_K, MASS: f32[n_sets][n_rows][score_stride] */
    uint32_t score_stride;          /* at least the key blocks of the longest sequence */
    rapt_buffer
        segments_q; /* SEGMENTS: int32[total_q], row cu_q[b] + i; 0 sees and is seen by nothing */
    rapt_buffer segments_kv; /* int32[total_kv], keys counted through, of paged K/V too */
    /* BITMAP: bit (h, i, j) of sequence b is bit bitmap_offsets[b] + h * bitmap_head_stride
     * + i * bitmap_row_stride + j, low bits of a byte first, h the first head of a set. Row stride
     * 0 = the sequence's kv_len. Without bitmap_offsets, u64[B], the rows of all sequences are
     * counted through (cu_q[b] + i). The buffer holds whole 32-bit words; with offsets bits behind
     * it count as 0. */
    rapt_buffer bitmap, bitmap_offsets;
    uint32_t bitmap_row_stride;
    uint64_t bitmap_head_stride;
    /* Both optional, row r of set s at s * n_rows + r. listed: bit k & 31 of word k >> 5 is set
     * where block k is listed, u32[n_sets][n_rows][listed_stride]. overflow: u32[n_sets][n_rows],
     * 0, or the spans that a row which did not fit would have had. */
    rapt_buffer listed;
    uint32_t listed_stride;
    rapt_buffer overflow;
} rapt_block_lists_record_params;

/* Makes the lists of the step, which rapt_plan_record then attends to. First access: COMPUTE_SHADER
 * reads scores, segments, bitmap, writes workspace; barriers are recorded before it and after the
 * last (COMPUTE_SHADER writes listed, overflow, workspace). Errors: ARGUMENT, SHAPE (a buffer or
 * stride too small), CAPACITY (room for the lists, max_records, more rows than a dispatch holds),
 * UNSUPPORTED (more than 65536 blocks in a row of MASS; a buffer beyond maxStorageBufferRange);
 * nothing is recorded then. */
RAPT_API rapt_status rapt_block_lists_record(rapt_block_lists *lists,
                                             const rapt_block_lists_record_params *params);

#ifdef __cplusplus
}
#endif
#endif
