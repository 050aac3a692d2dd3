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
#include <rapt/reference.h>

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
                          begin behind K's in the innermost axis whose stride has room for both */
    /* Not the library's kernels but the textbook's three: QK^T stored to memory, softmax over it,
     * then times V. For comparisons: memory grows with q_len * kv_len. Takes packed f32, f16 and
     * bf16 with the masks full and causal, and the output alone. */
    int three_pass;
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

#ifdef __cplusplus
}
#endif
#endif
