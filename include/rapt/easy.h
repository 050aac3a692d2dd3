/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RAPT_EASY_H
#define RAPT_EASY_H

/* The simple tier, for programs without Vulkan code of their own: owns a device, buffers and a
 * queue, submits, waits, keeps the pipeline cache on disk. Built on nothing but attention.h.
 *
 * Environment (this tier and the command only): RAPT_DEVICE (index or part of a name),
 * RAPT_DISABLE (feature names), RAPT_CACHE_DIR ("" = no cache; default: the user's cache folder),
 * RAPT_VALIDATION=1, RAPT_LOG=error|warning|info|debug (to stderr). */

#include <rapt/attention.h>
#include <rapt/cascade.h>
#include <rapt/pager.h>
#include <rapt/reference.h>
#include <rapt/tiles.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rapt_easy rapt_easy;

typedef struct rapt_easy_params {
    size_t struct_size;
    const rapt_allocator *allocator;
    rapt_log log;           /* write NULL = stderr at RAPT_LOG's level */
    const char *device;     /* as rapt_device_params.select; NULL = RAPT_DEVICE */
    rapt_features disable;  /* in addition to RAPT_DISABLE */
    const char *cache_dir;  /* NULL = RAPT_CACHE_DIR or the user's cache folder; "" = none */
    int ignore_environment;
    int validation;
    int low_priority;
    rapt_device *adopt;     /* use this device (it must have a queue) instead of making one; it stays
                               the caller's */
} rapt_easy_params;

/* params may be NULL. Errors as rapt_device_create. */
RAPT_API rapt_status rapt_easy_create(const rapt_easy_params *params, rapt_easy **out_easy);
RAPT_API void rapt_easy_destroy(rapt_easy **easy);
RAPT_API rapt_device *rapt_easy_device(rapt_easy *easy);

/* The user's table of tiles (tiles.h) for a device: a text file beside the pipeline cache. Every easy object
 * loads it by itself; one that is refused is ignored there with a warning. Where there is no file or no
 * folder for it, out_tiles becomes NULL. out_path (may be NULL) gets where the file is, or would be; ""
 * for nowhere. Of params, which may be NULL, allocator, cache_dir and ignore_environment are read.
 * Errors: ARGUMENT (refused: says why), IO, HOST_MEMORY. Thread-safety: any thread. */
RAPT_API rapt_status rapt_easy_tiles_load(const rapt_easy_params *params, const rapt_caps *caps,
                                          char *out_path, size_t path_bytes,
                                          rapt_tiles **out_tiles);
/* Puts the table there, in one step: readers see the old file or the new one. Errors: ARGUMENT, IO (no
 * folder, or it cannot be written), HOST_MEMORY. */
RAPT_API rapt_status rapt_easy_tiles_save(const rapt_easy_params *params, const rapt_caps *caps,
                                          const rapt_tiles *tiles);

/* How to run a problem; all zero = automatic. */
typedef struct rapt_easy_options {
    size_t struct_size;
    rapt_path path;
    uint32_t block_q, block_kv, pages_per_block, n_splits, fixed_split, max_keys_per_item;
    uint32_t shared_memory_limit;
    uint32_t n_slices; /* record and submit the work list in this many submissions */
    uint32_t plan_flags; /* further RAPT_PLAN_* bits, FEW_PIPELINES for one */
    rapt_layout k_pool, v_pool; /* layout of the pool made when problem.page_size > 0; zero = NHD */
    int kv_one_buffer; /* K and V rows interleaved by the layouts above share one pool buffer: V's
                          begin behind K's in the innermost axis whose stride has room for both, at
                          a multiple of 4 bytes */
    /* Not the library's kernels but the textbook's three: QK^T stored to memory, softmax over it,
     * then times V. For comparisons: memory grows with q_len * kv_len. Takes packed f32, f16 and
     * bf16 with the masks full and causal, and the output alone. */
    int three_pass;
    /* Pages that neighbours in the batch have in common are read once for all of them (cascade.h).
     * Wants a ready pool (problem.page_indices) and takes what a cascade does. */
    int share_prefixes;
    uint32_t max_levels, min_shared_tokens; /* as in rapt_cascade_params */
    uint32_t mask_block_q, mask_block_kv; /* of the block table of a mask that needs one; 0 = 64 */
    uint32_t tile_prefill, tile_decode; /* as in rapt_plan_params */
    uint32_t tile_few_rows;             /* likewise */
} rapt_easy_options;

/* One call: upload, compute, read back. result's pointers say what is wanted. */
RAPT_API rapt_status rapt_easy_attention(rapt_easy *easy, const rapt_problem *problem,
                                         const rapt_easy_options *options,
                                         const rapt_result *out_result);

/* The same in steps, to run one problem many times: create uploads and prepares, run executes and
 * waits, read copies results out. */
typedef struct rapt_easy_job rapt_easy_job;

typedef struct rapt_easy_job_info {
    size_t struct_size;
    rapt_plan_info plan;
    rapt_step step;
    rapt_cost cost;
    uint64_t table_bytes, workspace_bytes, tensor_bytes; /* device memory held by the job */
    double create_seconds, plan_seconds; /* host time; plan_seconds is pipelines */
    double prepare_seconds, record_seconds; /* host time of the last prepare and record */
    rapt_cascade_info cascade; /* share_prefixes: what was found */
    uint64_t shared_kv_bytes;  /* share_prefixes: what cost.kv_bytes comes to with it */
} rapt_easy_job_info;

/* want: which results run must produce (the pointers are only tested for NULL). */
RAPT_API rapt_status rapt_easy_job_create(rapt_easy *easy, const rapt_problem *problem,
                                          const rapt_easy_options *options, const rapt_result *want,
                                          rapt_easy_job **out_job);
/* Executes once. out_seconds: device time by timestamps, host time of submit-to-done where the
 * device has none; may be NULL. On RAPT_ERROR_DEVICE_LOST the easy object is only good for destroy. */
RAPT_API rapt_status rapt_easy_job_run(rapt_easy_job *job, double *out_seconds);
RAPT_API rapt_status rapt_easy_job_read(rapt_easy_job *job, const rapt_result *out_result);
RAPT_API void rapt_easy_job_get_info(const rapt_easy_job *job, rapt_easy_job_info *out_info);
RAPT_API void rapt_easy_job_destroy(rapt_easy_job **job);

/* Buffers and submissions, for benchmarks and experiments. Memory is device-local, or host-visible
 * and mapped when out_mapped is given. */
typedef struct rapt_easy_buffer rapt_easy_buffer;
RAPT_API rapt_status rapt_easy_buffer_create(rapt_easy *easy, uint64_t n_bytes, const char *name,
                                             int mapped, rapt_easy_buffer **out_buffer);
RAPT_API void rapt_easy_buffer_destroy(rapt_easy_buffer **buffer);
RAPT_API rapt_buffer rapt_easy_buffer_range(const rapt_easy_buffer *buffer);
RAPT_API void *rapt_easy_buffer_mapped(const rapt_easy_buffer *buffer); /* NULL if not mapped */
RAPT_API rapt_status rapt_easy_upload(rapt_easy *easy, rapt_easy_buffer *to, uint64_t offset,
                                      const void *data, uint64_t n_bytes);
RAPT_API rapt_status rapt_easy_download(rapt_easy *easy, rapt_easy_buffer *from, uint64_t offset,
                                        void *data, uint64_t n_bytes);
RAPT_API rapt_status rapt_easy_begin(rapt_easy *easy, VkCommandBuffer *out_commands);
RAPT_API rapt_status rapt_easy_submit_wait(rapt_easy *easy, double *out_seconds);

/* The two ceilings of a device, measured now: multiply-adds in registers and a buffer copy.
 * copy counts bytes read plus bytes written. */
typedef struct rapt_ceilings {
    size_t struct_size;
    double flops_per_second;
    double copy_bytes_per_second;
    double read_bytes_per_second; /* a reduction over a large buffer: what decode can hope for */
} rapt_ceilings;
RAPT_API rapt_status rapt_easy_measure_ceilings(rapt_easy *easy, rapt_ceilings *out_ceilings);

/* Peak bytes of device memory the easy object has held at once since the last call with reset. */
RAPT_API uint64_t rapt_easy_peak_bytes(rapt_easy *easy, int reset);

/* ------------------------------------------------------------------------------------ K/V cache */

/* The whole K/V cache of a model: page pools of every layer in device memory, the pager that owns
 * their pages, and steps of prefill and decode with host arrays. Open, fork, truncate, pin, close
 * and count with rapt_easy_cache_pager and pager.h; whatever moves tensors is here:
 *
 *   rapt_easy_cache_step_begin  the new tokens of a batch: all of them admitted, or none
 *   rapt_easy_cache_step_layer  once per layer: K and V into the cache, then attention over it
 *   rapt_easy_cache_step_end
 *
 * A query sees the keys up to its own; in a windowed group the last `window` of them and the first
 * sink_tokens. A call that fails leaves cache and sequences as they were, except where it says
 * otherwise; after DEVICE_LOST only destroy is left. Thread-safety: as the easy object, one thread
 * at a time for both. */
typedef struct rapt_easy_cache rapt_easy_cache;

/* Layers that keep the same keys (pager.h). What is 0 or NULL is as in rapt_easy_cache_params. */
typedef struct rapt_easy_cache_group {
    uint32_t n_pages;             /* of page_size tokens, in each of its layers; never 0 */
    uint32_t window, sink_tokens; /* as in rapt_pager_group */
    uint32_t n_kv_heads, head_dim, head_dim_v;
    const rapt_rope *rope;        /* pairing NONE = layers without rotation */
} rapt_easy_cache_group;

typedef struct rapt_easy_cache_params {
    size_t struct_size;
    uint32_t n_layers;
    uint32_t n_q_heads, n_kv_heads;
    uint32_t head_dim, head_dim_v; /* head_dim_v 0 = head_dim */
    const rapt_easy_cache_group *groups;
    uint32_t n_groups;             /* 1 to RAPT_PAGER_MAX_GROUPS */
    const uint8_t *layer_groups;   /* u8[n_layers]: the group of each; NULL = all in group 0 */
    uint32_t page_size;            /* [16] */

    rapt_type q_type;           /* f32, f16, bf16: Q is rounded to it [f32] */
    rapt_type kv_type;          /* what the cache stores, any rapt_type [f16] */
    rapt_type scale_type;       /* as in rapt_plan_params, down to integer_dot */
    rapt_scale_kind scale_kind;
    rapt_choice integer_dot;
    const float *k_scale, *v_scale; /* RAPT_SCALE_STATIC: f32[n_layers][n_kv_heads] */
    const rapt_rope *rope;      /* K is rotated when it is stored, Q when it is read; NULL = not */
    float scale, softcap;       /* as in rapt_plan_params */
    const float *sinks;         /* sink logits, f32[n_layers][n_q_heads]; NULL = none */

    uint32_t max_batch;         /* sequences of a step [16] */
    uint32_t max_total_q;       /* new tokens of a step [512] */
    uint32_t max_kv_len;        /* tokens of a sequence [as many as the largest group's pages hold] */
    uint32_t max_seqs, undo_tokens; /* as in rapt_pager_params */
    int no_prefix_cache;
    uint32_t fixed_split;       /* as in rapt_plan_params: bits of a sequence do not depend on the
                                   batch */
    uint64_t model_key;         /* files written under another key are refused: a hash of the weights,
                                   say */
    uint64_t max_range_bytes;   /* of a pool that is bound at once [what the device can] */
} rapt_easy_cache_params;

/* Pools begin as zeros. Arrays are copied. The cache must be destroyed before its easy object.
 * Errors: ARGUMENT, SHAPE, UNSUPPORTED, those of rapt_plan_create, DEVICE_MEMORY, HOST_MEMORY. */
RAPT_API rapt_status rapt_easy_cache_create(rapt_easy *easy, const rapt_easy_cache_params *params,
                                            rapt_easy_cache **out_cache);
RAPT_API void rapt_easy_cache_destroy(rapt_easy_cache **cache);

/* Lives as long as the cache. Tokens are appended by step_begin only: what rapt_pager_append adds has
 * no K and V. Between step_begin and step_end the pager is to be read only. */
RAPT_API rapt_pager *rapt_easy_cache_pager(rapt_easy_cache *cache);

/* n_new[i] tokens (0 is fine) more for each of n_seqs different sequences. `tokens`: their ids, one
 * sequence's after the other's, for the prefix cache; or NULL. Page copies a fork or a tree asked for
 * run here. Errors: ARGUMENT, CAPACITY (beyond max_batch, max_total_q, max_kv_len), PAGES (a pool
 * is full: says which, and how many are missing), HOST_MEMORY, DEVICE. */
RAPT_API rapt_status rapt_easy_cache_step_begin(rapt_easy_cache *cache, uint32_t n_seqs,
                                                const rapt_seq *seqs, const uint32_t *n_new,
                                                const int32_t *tokens);
/* Host arrays of the step's n tokens, in the order of step_begin: q f32[n][n_q_heads][head_dim],
 * k_new f32[n][n_kv_heads][head_dim], v_new f32[n][n_kv_heads][head_dim_v], both before rotation;
 * out f32[n][n_q_heads][head_dim_v], heads and dims those of the layer's group. Layers in any
 * order, each once. Errors: ARGUMENT, DEVICE; the layer may then be tried again. */
RAPT_API rapt_status rapt_easy_cache_step_layer(rapt_easy_cache *cache, uint32_t layer,
                                                const float *q, const float *k_new,
                                                const float *v_new, float *out);
/* Errors: ARGUMENT (a layer is missing: says which; the step stays open). */
RAPT_API rapt_status rapt_easy_cache_step_end(rapt_easy_cache *cache);
/* Instead of step_end: takes the step's tokens back, and whatever the prefix cache holds that no
 * sequence does. Errors: ARGUMENT (a windowed group has given back keys that undo_tokens did not
 * keep: these sequences stay as long as they are, with keys that mean nothing, and should be
 * closed). */
RAPT_API rapt_status rapt_easy_cache_step_cancel(rapt_easy_cache *cache);

/* A sequence in host memory. */
typedef struct rapt_easy_image rapt_easy_image;
/* Copies a sequence's pages to host memory in one batch and closes it. Errors: ARGUMENT (a
 * sequence with a tree), HOST_MEMORY, DEVICE_MEMORY, DEVICE. */
RAPT_API rapt_status rapt_easy_cache_swap_out(rapt_easy_cache *cache, rapt_seq seq,
                                              rapt_easy_image **out_image);
/* Brings it back: pages the prefix cache still has are taken over, the others uploaded in one batch.
 * Takes the image and nulls it; on failure it stays. Errors: ARGUMENT, SHAPE (the image of a
 * cache that is not alike), PAGES, CAPACITY (max_seqs), HOST_MEMORY, DEVICE_MEMORY, DEVICE. */
RAPT_API rapt_status rapt_easy_cache_swap_in(rapt_easy_cache *cache, rapt_easy_image **image,
                                             rapt_seq *out_seq);
RAPT_API uint64_t rapt_easy_image_bytes(const rapt_easy_image *image);
RAPT_API void rapt_easy_image_destroy(rapt_easy_image **image);

/* Writes sequences with their pages to a file (a snapshot, pager.h); they stay open. The file is
 * replaced whole and reaches the disk before the call returns: readers, and a process that was killed
 * while writing, find the old file or the new one. PATH.partial beside it is used meanwhile.
 * Errors: ARGUMENT (a sequence with a tree), IO, HOST_MEMORY, DEVICE_MEMORY, DEVICE. */
RAPT_API rapt_status rapt_easy_cache_save(rapt_easy_cache *cache, uint32_t n_seqs,
                                          const rapt_seq *seqs, const char *path);
/* Opens all sequences of a file, in the order they were saved, their pages uploaded in one batch. The
 * whole file is checked first. Sequences find pages of each other in the prefix cache; a partial page
 * that forks shared becomes one for each. Errors: IO, ARGUMENT (damaged), UNSUPPORTED (a newer
 * version), SHAPE (of another model or cache: says what differs), CAPACITY (out_n sequences), PAGES,
 * HOST_MEMORY, DEVICE_MEMORY, DEVICE. */
RAPT_API rapt_status rapt_easy_cache_load(rapt_easy_cache *cache, const char *path,
                                          uint32_t capacity, rapt_seq *out_seqs, uint32_t *out_n);

typedef struct rapt_easy_cache_info {
    size_t struct_size;
    uint64_t pool_bytes;  /* of all pages; what else the cache holds on the device: other_bytes */
    uint64_t other_bytes;
    uint32_t n_buffers;   /* the pools lie in */
    uint32_t n_copies;    /* of pages, at the last step_begin */
    double copy_seconds, layer_seconds; /* device time of the last step: copies, all its layers */
    uint64_t transfer_bytes;            /* of the last swap, save or load */
    double transfer_seconds;            /* device time of it */
    uint64_t page_bytes[RAPT_PAGER_MAX_GROUPS]; /* of one page in all layers of a group */
    rapt_plan_info plan;                        /* of group 0 */
} rapt_easy_cache_info;
RAPT_API void rapt_easy_cache_get_info(const rapt_easy_cache *cache,
                                       rapt_easy_cache_info *out_info);

#ifdef __cplusplus
}
#endif
#endif
