/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RAPT_ATTENTION_H
#define RAPT_ATTENTION_H

/* The explicit tier: device (device.h), plan, prepare, record. The library records, the caller submits.
 *
 *   rapt_requirements_get   what to enable on the app's VkDevice
 *   rapt_device_create      an own device, or the app's adopted
 *   rapt_plan_create        once per (shapes, types, features): picks kernels, builds pipelines
 *   rapt_plan_sizes         bytes of table memory and workspace the caller provides
 *   rapt_plan_bind          hand that memory over
 *   rapt_plan_prepare       once per step, host only: lengths and tables -> work list
 *   rapt_plan_record_append once per layer: rotate, convert or quantize new K/V into the cache
 *   rapt_plan_record        once per layer: append dispatches to the caller's command buffer
 *
 * What is computed, for query row p (sequence b, head h, kv head h' = h / (Hq/Hkv)) at position P
 * and key j at position J = kv_pos0[b] + j (scaled dot-product attention, Vaswani et al. 2017;
 * softcap as in Gemma 2, slopes as in ALiBi, sinks as in gpt-oss):
 *
 *   s = scale * dot(q, k_j);  s = softcap * tanh(s / softcap) if softcap > 0
 *   s += slope[h] * (J - P);  s += bias[b][h][p][j];  s = -inf where the mask forbids
 *   m = max_j s,  l = sum_j exp(s - m);  a sink joins both: m = max(m, sink[h]), l += exp(sink - m)
 *   o = sum_j exp(s - m) v_j / l   (no allowed key: o = 0),   lse = m + ln(l)
 *
 * Accumulation is f32 always. */

#include <rapt/common.h>
#include <rapt/device.h>
#include <rapt/mask.h>
#include <rapt/rope.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---------------------------------------------------------------------------------------- plan */

typedef enum rapt_path {
    RAPT_PATH_AUTO = 0,
    RAPT_PATH_PORTABLE = 1, /* f32 math, no matrix units; on the CPU driver its own rows count */
    RAPT_PATH_COOPMAT = 2,  /* prefill on matrix units (VK_KHR_cooperative_matrix): K/V of f16 or bf16,
                               Q of the same or f16; UNSUPPORTED with the reason where that cannot be */
    RAPT_PATH_COOPMAT2 = 3  /* the same by VK_NV_cooperative_matrix2 */
} rapt_path;

typedef enum rapt_plan_flags {
    RAPT_PLAN_ALIBI = 1 << 0,        /* record gets slopes, f32[Hq] */
    RAPT_PLAN_SINKS = 1 << 1,        /* record gets sink logits, f32[Hq] */
    RAPT_PLAN_BIAS = 1 << 2,         /* record gets an additive bias of bias_type */
    RAPT_PLAN_LSE = 1 << 3,          /* record writes lse, f32[total_q, Hq] */
    RAPT_PLAN_MAX_LOGIT = 1 << 4,    /* record writes max_logit, f32[total_q, Hq]: max over allowed
                                        keys before the sink, -inf if none */
    RAPT_PLAN_UNNORMALISED = 1 << 5, /* out is sum_j exp(s - m) v_j, undivided, with m = max(max_logit,
                                        sink) (or max_logit_const); the divisor l is exp(lse - m) */
    RAPT_PLAN_CONST_MAX = 1 << 6,    /* m is rapt_step_params.max_logit_const, no running maximum. A
                                        score more than 88 above it overflows to inf, one more than
                                        103 below it contributes 0 */
    RAPT_PLAN_PAGED = 1 << 7,        /* K/V lie in a page pool and steps bring block tables */
    RAPT_PLAN_MAX_LOGIT_REDUCED = 1 << 8, /* record writes f32[B, Hq]: max_logit over a sequence's
                                             rows (QK-Clip); needs RAPT_PLAN_MAX_LOGIT too */
    RAPT_PLAN_APPEND = 1 << 10, /* rapt_plan_record_append will be used */
    RAPT_PLAN_ROPE_Q = 1 << 11, /* Q is rotated by params.rope when it is read */
    RAPT_PLAN_TOKEN_LISTS = 1 << 13, /* record may bring lists of keys, one for each query */
    RAPT_PLAN_BLOCKS = 1 << 12, /* steps may bring lists of key blocks: block_table, device_lists */
    RAPT_PLAN_FEW_PIPELINES = 1 << 9 /* one pipeline that serves every combination of the flags
                                        above instead of one specialised to them: slower kernels,
                                        fewer compilations */
} rapt_plan_flags;

typedef struct rapt_tiles rapt_tiles; /* tiles.h */
#define RAPT_TILE_NUMBERS 7

typedef struct rapt_plan_params {
    size_t struct_size;
    uint32_t n_q_heads, n_kv_heads; /* n_q_heads % n_kv_heads == 0 */
    uint32_t head_dim;              /* of Q and K: multiple of 8, 8 to 576 */
    uint32_t head_dim_v;            /* of V and out; 0 = head_dim */
    rapt_type q_type;               /* f32, f16, bf16; default f32 */
    rapt_type kv_type;              /* any rapt_type; default f16 */
    rapt_type out_type;             /* f32, f16, bf16; default q_type */
    rapt_type bias_type;            /* f32 or f16; default f32 */
    uint32_t flags;                 /* RAPT_PLAN_* */
    float scale;                    /* 0 = 1 / sqrt(head_dim) */
    float softcap;                  /* 0 = none */
    uint32_t page_size;             /* with RAPT_PLAN_PAGED: power of two, 1 to 256 */
    rapt_layout q, k, v, out;       /* zero = dense */
    rapt_path path;

    /* Capacity: what the largest step may hold. 0 = the default in brackets. */
    uint32_t max_batch;        /* sequences [1] */
    uint32_t max_total_q;      /* query tokens over the batch [max_batch] */
    uint32_t max_pages;        /* page ids over the batch [0] */
    uint32_t max_kv_len;       /* keys of the longest sequence [131072] */
    uint32_t max_work_items;   /* [derived from the above] */
    uint32_t max_partial_rows; /* split-KV partial rows [derived] */
    uint32_t n_steps_in_flight;    /* slots [3] */
    uint32_t max_records_per_step; /* descriptor sets kept where there are no push descriptors [64] */

    /* Knobs, 0 = automatic. An impossible value is refused with the limit. */
    uint32_t block_q;           /* packed query rows per item */
    uint32_t block_kv;          /* keys per tile */
    uint32_t pages_per_block;   /* instead of block_kv: tile = pages_per_block * page_size keys */
    uint32_t n_splits;          /* split every key range into about this many parts */
    uint32_t fixed_split;       /* keys per part, whatever else is in the batch: batch-invariant bits */
    uint32_t max_keys_per_item; /* bound on an item's work, against watchdogs [65536 on GPUs] */
    uint32_t shared_memory_limit; /* bytes of shared memory kernels may use [what the device has] */

    /* Quantized K/V. Strides of `k` and `v` are bytes then (even ones for q8_0 and q4_0), and their
     * rapt_buffers hold the whole 32-bit word the last byte lies in. Scales of int8, fp8_e4m3 (one
     * per row) and
     * int4 (head_dim / 32 per row, side by side) are tensors of their own, strides in elements;
     * all-zero layouts mean dense [pages, page_size, Hkv] or [total, Hkv] (times head_dim / 32);
     * RAPT_SCALE_STATIC: [Hkv]. */
    rapt_type scale_type;       /* f32 or f16; default f32, int4 always f16 */
    rapt_scale_kind scale_kind; /* int4: TOKEN_HEAD */
    rapt_layout k_scale, v_scale;
    int shared_scale;           /* RAPT_SCALE_STATIC: one scale for all heads, [1] */
    /* Dot products of int8 and q8_0 keys in integers, with Q quantized per 32 dims as well: bound 1e-2
     * instead of the portable one. AUTO = where the device has them accelerated. */
    rapt_choice integer_dot;

    /* A pool may lie in up to 4 pieces, each a buffer of its own or a range of one buffer that is
     * larger than maxStorageBufferRange: page p is page p % pages_per_segment of piece
     * p / pages_per_segment. 0 or 1 = one piece. Paged K/V only. Scales lie in one piece always. */
    uint32_t n_kv_segments;
    uint32_t pages_per_segment; /* power of two */

    /* RAPT_PLAN_ROPE_Q, RAPT_PLAN_APPEND: copied, except that `table` is read by nobody but the easy
     * tier: record brings it as a buffer. NULL = no rotation. */
    const rapt_rope *rope;
    /* RAPT_PLAN_APPEND: the new rows */
    rapt_type new_type;        /* f32, f16, bf16; default q_type */
    rapt_layout k_new, v_new;  /* zero = dense [total_q, Hkv, D] */

    /* Query heads that are packed into one tile and so share one list of keys: a divisor of
     * n_q_heads / n_kv_heads, which 0 stands for. 1 where every head has a mask of its own. */
    uint32_t head_group;
    /* RAPT_PLAN_BLOCKS: capacity for the lists of a step */
    uint32_t list_block_q;  /* least block_q of its tables [64] */
    uint32_t max_spans;     /* [16 for every block of list_block_q queries] neighbouring blocks of one
                               kind are one span; rapt_step.n_spans tells what a step takes */
    uint32_t max_bit_words; /* 32-bit words of bit tiles [65536] */

    /* Tiles that were measured on this device (tiles.h); NULL = those that come with the library, then
     * its rules. Knobs above win over both. Only read while the plan is created or explained. */
    const rapt_tiles *tiles;
    /* For measuring: candidate 1 (what the rules say) to rapt_plan_info.n_prefill_tiles; 0 = as above. A
     * number that is too high is refused with the number there are. */
    uint32_t tile_prefill, tile_decode;

    /* Knob: prefill is ordered in groups with K and V of about so many keys of one KV head, which is what
     * the device's last cache is to hold [half of what the device is known to have]. UINT32_MAX = all. */
    uint32_t keys_at_once;

    /* As tile_prefill, for few_rows_kernel. */
    uint32_t tile_few_rows;
} rapt_plan_params;

typedef struct rapt_plan rapt_plan;

/* Chooses kernels and compiles pipelines: slow (use the pipeline cache). Errors: ARGUMENT, SHAPE,
 * UNSUPPORTED (device or build lacks what is asked; says what), ABSENT, HOST_MEMORY, DEVICE_MEMORY,
 * DEVICE. Thread-safety: plans of one device may be created from several threads. */
RAPT_API rapt_status rapt_plan_create(rapt_device *device, const rapt_plan_params *params,
                                      rapt_plan **out_plan);
/* No command buffer that records it may be pending. */
RAPT_API void rapt_plan_destroy(rapt_plan **plan);

/* What was chosen and why, for people and logs. Strings live as long as the plan. */
typedef struct rapt_plan_info {
    size_t struct_size;
    const char *prefill_kernel, *decode_kernel, *merge_kernel, *stage_kernel; /* NULL = unused */
    const char *path;       /* "portable", "cpu", "coopmat" or "coopmat2" */
    const char *why;        /* why not a faster path, one line */
    uint32_t block_q, block_kv, decode_rows, shared_memory_bytes, workgroup_size;
    const char *append_kernel; /* NULL = unused */
    int integer_dot;           /* keys are multiplied in integers: the coarser bound holds */
    int matrix_units;          /* products of f16 are taken: RAPT_BOUND_MATRIX_F16 holds */
    /* Tiles: how many candidates there are for what the plan needs, where the one taken comes from
     * ("the rules", "the user's table", ...; NULL = no such kernel), and its numbers: lanes, rows,
     * keys and four of the kernel's own. */
    uint32_t n_prefill_tiles, n_decode_tiles;
    const char *prefill_tile_from, *decode_tile_from;
    uint32_t prefill_tile[RAPT_TILE_NUMBERS], decode_tile[RAPT_TILE_NUMBERS];
    /* Decode of several tokens beside a decode_kernel for one, on matrix units where there are some:
     * takes the sequences of few_rows_least to few_rows_most packed rows (query tokens times
     * head_group). NULL = unused. */
    const char *few_rows_kernel;
    uint32_t few_rows_least, few_rows_most, n_few_rows_tiles;
    const char *few_rows_tile_from;
    uint32_t few_rows_tile[RAPT_TILE_NUMBERS];
} rapt_plan_info;
RAPT_API void rapt_plan_get_info(const rapt_plan *plan, rapt_plan_info *out_info);

/* The same choice without a device, made from a snapshot: compiles nothing. Names are static;
 * out_info->why points into `why`, where up to why_bytes bytes of that line are written.
 * Errors as rapt_plan_create, for what the snapshot can tell. Thread-safety: any thread. */
RAPT_API rapt_status rapt_plan_explain(const rapt_caps *caps, const rapt_plan_params *params,
                                       char *why, size_t why_bytes, rapt_plan_info *out_info);

typedef struct rapt_plan_sizes_info {
    size_t struct_size;
    uint64_t table_bytes;      /* host-visible, coherent, mapped; all slots together */
    uint64_t workspace_bytes;  /* device-local */
    uint64_t table_alignment, workspace_alignment; /* of the buffer offsets */
    uint32_t max_work_items, max_partial_rows, n_slots;
} rapt_plan_sizes_info;
RAPT_API void rapt_plan_sizes(const rapt_plan *plan, rapt_plan_sizes_info *out_sizes);

/* A piece of a VkBuffer. size 0 = to the buffer's end is NOT meant: say the bytes. Buffers need the
 * usage of rapt_requirements; offsets are multiples of 4 bytes (element-aligned is not enough for
 * 16-bit types). */
typedef struct rapt_buffer {
    VkBuffer buffer;
    uint64_t offset, size;
} rapt_buffer;

typedef struct rapt_plan_memory {
    size_t struct_size;
    rapt_buffer tables;
    void *tables_mapped; /* host address of tables.offset; host-coherent memory */
    rapt_buffer workspace; /* exclusive from the first item of a record to its merge; two plans may
                              share one if their records do not overlap in time */
} rapt_plan_memory;
/* The memory stays the caller's and must outlive the plan's last submission. May be called again
 * when no step is executing. */
RAPT_API rapt_status rapt_plan_bind(rapt_plan *plan, const rapt_plan_memory *memory);

/* -------------------------------------------------------------------------------------- prepare */

typedef struct rapt_step_params {
    size_t struct_size;
    uint32_t n_seqs; /* B, at least 1 */
    const int32_t *cu_q; /* int32[B+1], cu_q[0] == 0, non-decreasing */

    /* packed or padded K/V */
    const int32_t *cu_kv; /* int32[B+1]; NULL with pages */

    /* paged K/V: CSR block tables */
    const uint32_t *page_indptr;   /* u32[B+1] */
    const uint32_t *page_indices;  /* u32[page_indptr[B]] */
    const uint32_t *last_page_len; /* u32[B]: 1..page_size, 0 only for a sequence without pages */
    uint32_t n_pool_pages;         /* pages in the pool; every index must be below it */

    const int32_t *q_pos0;  /* int32[B]; NULL = kv_len - q_len + kv_pos0 (bottom-right aligned) */
    const int32_t *q_pos;   /* int32[total_q] instead of q_pos0, in any order */
    const int32_t *kv_pos0; /* int32[B]; NULL = 0. |positions| < 2^30 */

    /* element offset of each sequence's token 0, head 0; NULL = from the layout (outer_stride, or
     * cu * token_stride when that is 0). The K and V forms are for packed tensors only. */
    const uint64_t *q_offsets, *k_offsets, *v_offsets, *out_offsets; /* u64[B] */

    const rapt_mask *mask;  /* NULL = full */
    const int32_t *prefix;  /* int32[B], if the mask mentions prefix */
    float max_logit_const;  /* RAPT_PLAN_CONST_MAX */

    /* RAPT_PLAN_BIAS: element(b, h, p, j) = bias_offsets[b] + h*bias_head_stride
     * + p*bias_row_stride + j. NULL offsets = 0 for every sequence; head stride 0 = shared;
     * row stride 0 = kv_len of the sequence. Kernels read an f16 bias by 32-bit words: its
     * rapt_buffer should hold the whole word its last element lies in. */
    const uint64_t *bias_offsets;
    uint32_t bias_head_stride, bias_row_stride;

    uint32_t slot; /* 0 .. n_steps_in_flight-1. Writing a slot whose commands still execute is the
                      caller's error; use rapt_plan_slot_done to tell the library they finished */

    /* int32[total_q]: where a query row and the appended key of the same row are rotated, if that is
     * not their position for the mask. NULL = q_pos, else q_pos0 + i. */
    const int32_t *rope_pos;
    /* packed quantized K/V: like k_offsets, for the scales, in elements of scale_type */
    const uint64_t *k_scale_offsets, *v_scale_offsets;

    /* RAPT_PLAN_BLOCKS. A block table (mask.h) made for the step's lengths and positions; it is the whole
     * mask, so `mask` is NULL, and `prefix` is given where one closed-form mask that mentions it is the
     * table's only one. Read during the call only. */
    const struct rapt_block_table *block_table;
    /* Or room for lists that kernels make on the device; `mask`, in closed form, bounds the keys of all
     * lists and tests those of CLOSED and ROWS spans. */
    const struct rapt_device_lists *device_lists;
} rapt_step_params;

/* Lists of key blocks that calls of sparse.h write into the step's slot before the step is recorded. */
typedef struct rapt_device_lists {
    size_t struct_size;
    uint32_t block_q, block_kv; /* powers of two, 16 to 256: query tokens and keys of a block */
    uint32_t n_sets;            /* 1: all heads share the lists; n_q_heads / head_group: each group has
                                   its own */
    uint32_t list_capacity;     /* spans of a list */
    uint32_t bit_words;         /* for bit tiles, all lists together */
} rapt_device_lists;

/* What prepare made of a step; plain data, copied freely, valid until the slot is prepared again. */
typedef struct rapt_step {
    size_t struct_size;
    uint32_t slot, generation;
    uint32_t n_seqs, total_q;
    uint32_t n_items; /* flat work list: slices of [0, n_items) may be recorded separately */
    uint32_t n_prefill_items, n_decode_items, n_merges, n_rounds;
    uint32_t n_partial_rows;
    uint64_t table_bytes_used, workspace_bytes_used;
    uint32_t n_spans, n_bit_words; /* of its lists */
    uint32_t n_few_rows_items;     /* of rapt_plan_info.few_rows_kernel; after the others */
} rapt_step;

/* Host only: allocates nothing, waits for nothing, reads nothing back. Arrays are read during the
 * call only; entries past B are never read. Errors: ARGUMENT, SHAPE, CAPACITY (out_step then holds
 * the counts needed; the slot is untouched), BUSY (a debug build saw the slot recorded and not
 * marked done). */
RAPT_API rapt_status rapt_plan_prepare(rapt_plan *plan, const rapt_step_params *params,
                                       rapt_step *out_step);
/* Tells the library that all submissions that use the slot have finished: the step may be recorded
 * max_records_per_step times anew. Otherwise optional in release builds (slots are then the caller's
 * business alone); debug builds check with it. */
RAPT_API void rapt_plan_slot_done(rapt_plan *plan, uint32_t slot);

/* -------------------------------------------------------------------------------------- record */

typedef struct rapt_record_params {
    size_t struct_size;
    VkCommandBuffer command_buffer; /* recording, outside a render pass */
    const rapt_step *step;
    rapt_buffer q, k, v, out; /* K and V may be one buffer at two offsets */
    rapt_buffer lse, max_logit, max_logit_reduced; /* by the plan's flags */
    rapt_buffer slopes, sinks, bias;
    /* A slice of the work list; n_items 0 with first_item 0 = all of it. The merge is recorded with
     * the slice that ends the list, unless `no_merge`; `only_merge` records just the merge. */
    uint32_t first_item, n_items;
    int no_merge, only_merge;

    rapt_buffer k_scale, v_scale;             /* int8, fp8_e4m3, int4 */
    rapt_buffer k_segments[3], v_segments[3]; /* pieces 1 to 3 of the pools; k and v are piece 0 */
    rapt_buffer rope_table;                   /* rope.n_table_positions > 0 */
    /* Offsets of segments and rope_table are multiples of minStorageBufferOffsetAlignment. */

    /* RAPT_PLAN_TOKEN_LISTS: query i of the batch attends to keys lists[i * stride + n], n < counts[i], of
     * its sequence, where the step's mask allows them; for all heads. u32[total_q][stride] and
     * u32[total_q], written by the device (rapt_indexer_record) or anybody. No key twice; order does not
     * matter, ascending reads best. NULL buffers: the record is like any other. With lists the work list
     * is not used and cannot be sliced, and K/V lie in one piece. */
    rapt_buffer token_lists, token_counts;
    uint32_t token_list_stride;
} rapt_record_params;

/* Appends dispatches and the barriers between them. Changes the command buffer's compute pipeline,
 * compute descriptor set 0 (or push descriptors) and push constants; nothing else.
 * First access: COMPUTE_SHADER reads q, k, v, slopes, sinks, bias; reads and writes workspace.
 * Last access: COMPUTE_SHADER writes out, lse, max_logit, max_logit_reduced, workspace. The caller
 * puts barriers before and after; consecutive records that share a workspace are ordered by a
 * barrier this call records at its beginning. Host writes of the tables need no barrier when the
 * submission follows them. Buffers stay the caller's and must outlive the submission.
 * Errors: ARGUMENT, SHAPE (a buffer too small), CAPACITY (max_records_per_step used up), nothing
 * is recorded then. */
RAPT_API rapt_status rapt_plan_record(rapt_plan *plan, const rapt_record_params *params);

/* -------------------------------------------------------------------------------------- append */

/* New K/V rows of the step's query tokens: row cu_q[b] + i becomes key kv_len[b] - q_len[b] + i of
 * sequence b (the lengths are those after the append, as rapt_plan_prepare had them). K is rotated at
 * the row's rope position, both are converted or quantized and written through the block table (or into
 * packed K/V). A step in which a sequence has more queries than keys can be recorded, but nothing be
 * appended by it. */
typedef struct rapt_append_params {
    size_t struct_size;
    VkCommandBuffer command_buffer; /* recording, outside a render pass */
    const rapt_step *step;
    rapt_buffer k_new, v_new;       /* [total_q, Hkv, D], [total_q, Hkv, Dv] of new_type */
    rapt_buffer k, v, k_scale, v_scale;
    rapt_buffer k_segments[3], v_segments[3];
    rapt_buffer rope_table;
} rapt_append_params;

/* One dispatch (one for each piece of the pools), no workspace. First access: COMPUTE_SHADER reads
 * k_new, v_new, rope_table, static scales; reads and writes k, v and scales (words at the rows'
 * edges). Last access: the same; a barrier recorded at the end orders it before a rapt_plan_record
 * that follows. Counts against max_records_per_step as a record does. Values that are quantized
 * are those of rapt_quantize_rows (reference.h), bit for bit. Errors: ARGUMENT (no
 * RAPT_PLAN_APPEND), SHAPE (a buffer too small; a sequence with more queries than keys), CAPACITY;
 * nothing is recorded then. */
RAPT_API rapt_status rapt_plan_record_append(rapt_plan *plan, const rapt_append_params *params);

/* -------------------------------------------------------------------------------- page copies */

/* Runs rapt_page_copy lists (pager.h) over any number of tensors and layers: one dispatch per
 * buffer. Tensors are described in bytes, so that scales are tensors like any other. */
typedef struct rapt_copy_tensor {
    rapt_buffer buffer;      /* read and written */
    uint64_t page_stride, token_stride, head_stride, layer_stride; /* bytes, multiples of 2 */
    uint32_t n_heads, n_layers;
    uint32_t row_bytes;      /* of one token and head, a multiple of 2 */
} rapt_copy_tensor;

typedef struct rapt_copier rapt_copier;
typedef struct rapt_copier_params {
    size_t struct_size;
    uint32_t max_copies;        /* of one call */
    uint32_t max_tensors;       /* of one call */
    uint32_t n_steps_in_flight; /* slots [3] */
} rapt_copier_params;

RAPT_API rapt_status rapt_copier_create(rapt_device *device, const rapt_copier_params *params,
                                        rapt_copier **out_copier);
RAPT_API void rapt_copier_destroy(rapt_copier **copier);
/* Bytes of mapped, host-visible, coherent memory for its lists; all slots together. */
RAPT_API uint64_t rapt_copier_table_bytes(const rapt_copier *copier);
RAPT_API rapt_status rapt_copier_bind(rapt_copier *copier, const rapt_buffer *tables,
                                      void *tables_mapped);
struct rapt_page_copy;
/* Writes the list into the slot and appends the dispatches, with a barrier before and after. Copies of
 * other groups than `group` are left out. The slot must not be executing.
 * Errors: ARGUMENT, SHAPE (a copy reaches past a tensor's buffer), CAPACITY. */
RAPT_API rapt_status rapt_copier_record(rapt_copier *copier, VkCommandBuffer command_buffer,
                                        uint32_t slot, uint32_t group, uint32_t n_copies,
                                        const struct rapt_page_copy *copies, uint32_t n_tensors,
                                        const rapt_copy_tensor *tensors);

/* ---------------------------------------------------------------------------------------- merge */

/* Combines partial results over disjoint key sets (FlashAttention's and FlashInfer's state merge):
 * o = sum_i exp(lse_i - m) o_i / sum_i exp(lse_i - m), lse = m + ln(sum_i exp(lse_i - m)), where a
 * sink joins as one more term with o = 0. A part with lse -inf counts for nothing. */
typedef struct rapt_merge_params {
    size_t struct_size;
    VkCommandBuffer command_buffer;
    uint32_t n_parts, n_rows; /* n_rows = total_q * Hq, row = token * Hq + head */
    uint32_t n_q_heads, head_dim_v;
    rapt_buffer parts;     /* f32[n_parts, n_rows, head_dim_v] */
    rapt_buffer parts_lse; /* f32[n_parts, n_rows] */
    rapt_buffer sinks;     /* f32[Hq] or a NULL buffer */
    rapt_buffer out;       /* f32[n_rows, head_dim_v] */
    rapt_buffer lse;       /* f32[n_rows] or a NULL buffer */
} rapt_merge_params;

typedef struct rapt_merger rapt_merger;
/* max_records: merges that may be recorded between two rapt_merger_reset calls. */
RAPT_API rapt_status rapt_merger_create(rapt_device *device, uint32_t max_records,
                                        rapt_merger **out_merger);
RAPT_API void rapt_merger_destroy(rapt_merger **merger);
RAPT_API rapt_status rapt_merger_record(rapt_merger *merger, const rapt_merge_params *params);
/* All recorded merges have finished executing: their descriptor sets may be used again. */
RAPT_API void rapt_merger_reset(rapt_merger *merger);

/* ----------------------------------------------------------------------------------------- cost */

/* Exact work of a step, from lengths and mask (or block table) alone. Host only, no device. Sums are
 * 64-bit and saturate. Of params only n_q_heads .. flags, page_size are used. With a block table `pairs`
 * is the mean over the heads, rounded down, and K/V of all listed blocks count. */
typedef struct rapt_cost {
    size_t struct_size;
    uint64_t pairs;        /* allowed (query token, key) pairs, summed over sequences */
    uint64_t flops;        /* 2 * (head_dim + head_dim_v) * pairs * n_q_heads */
    uint64_t exponentials; /* pairs * n_q_heads */
    uint64_t q_bytes, kv_bytes, out_bytes; /* each element that some pair needs, once */
} rapt_cost;
RAPT_API rapt_status rapt_plan_cost(const rapt_plan_params *params, const rapt_step_params *step,
                                    rapt_cost *out_cost);

#ifdef __cplusplus
}
#endif
#endif
