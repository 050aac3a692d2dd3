/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_SELECT_H
#define RUNTIME_SELECT_H

/* Decides in pure functions: a device snapshot and shapes in; kernels, tiles and numbers out. The
 * only file pair with vendor and driver rules. Tested with made-up devices and no GPU. */

#include <rapt/attention.h>

#include "args.h"

#define RAPT_MATRIX_FEATURES \
    (RAPT_FEATURE_COOPMAT | RAPT_FEATURE_COOPMAT2 | RAPT_FEATURE_COOPMAT2_TENSOR)

struct rapt_select_request {
    uint32_t n_q_heads, n_kv_heads;
    uint32_t head_dim, head_dim_v;
    rapt_type q_type, kv_type, out_type;
    uint32_t features; /* RAPT_FEAT_* the plan needs */
    uint32_t page_size; /* 0 = packed */
    uint32_t n_kv_segments; /* pieces of the pool; 0 or 1 = one */
    rapt_choice integer_dot;
    rapt_path path;
    /* Tests name the kernel to use: RAPT_KERNEL_* + 1, 0 = choose. Still refused if the device
     * lacks what the row needs. */
    int force_prefill, force_decode;
    /* knobs, 0 = automatic */
    uint32_t block_q, block_kv, pages_per_block, max_keys_per_item, shared_memory_limit;
    const rapt_tiles *tiles; /* measured ones, or NULL */
    uint32_t tile_prefill, tile_decode, tile_few; /* as in rapt_plan_params */
    uint32_t keys_at_once; /* knob, as in rapt_plan_params */
    uint32_t listed; /* between select's files: that tile of the list alone, from 1; 0 = choose */
};

/* Where the tile of a kernel comes from. */
struct rapt_tile_origin {
    const char *from; /* NULL = no kernel */
    uint32_t n;       /* candidates there are */
};

/* One kernel, ready to become a pipeline. */
struct rapt_kernel_choice {
    int kernel; /* RAPT_KERNEL_*, -1 = not used */
    uint32_t spec[RAPT_N_SPECS];
    uint32_t workgroup_size;
    uint32_t shared_bytes;
    uint32_t required_subgroup_size; /* 0 = leave it to the driver */
    uint32_t rows;     /* most packed rows an item of this kernel holds */
    uint32_t block_kv; /* keys per tile; splits are multiples of it */
};

struct rapt_selection {
    struct rapt_kernel_choice prefill, decode, merge, stage, reduce;
    struct rapt_kernel_choice few;   /* decode on matrix units, where `decode` is not */
    uint32_t few_least, few_most;    /* packed rows of the sequences that go there; 0 = none */
    struct rapt_kernel_choice lists; /* RAPT_PLAN_TOKEN_LISTS */
    uint32_t decode_rows; /* sequences with at most this many packed rows go to the decode kernel */
    int cpu;              /* the CPU driver's rows */
    int integer_dot;      /* keys are multiplied in integers */
    int matrix;           /* prefill on matrix units */
    int matrix2;          /* by VK_NV_cooperative_matrix2 */
    int staged;           /* prefill items read K/V from staged rows */
    uint32_t stage_rows;  /* rows the staging slice holds: bounded scratch */
    uint32_t stage_unit;  /* bytes of a staged element */
    uint32_t target_items; /* items that fill the device; splitting aims at about this many */
    uint32_t max_keys_per_item;
    uint32_t cache_keys; /* keys of one KV head whose K/V the device's last cache holds; 0 = all */
    struct rapt_tile_origin prefill_tile, decode_tile, few_tile;
    char why[256]; /* why not a faster path */
};

/* Errors: UNSUPPORTED (with the limit that is in the way), ABSENT, ARGUMENT (a knob). Whether a kernel
 * is in the build is asked through rapt_kernel_absent_reason (kernels.h). */
rapt_status rapt_select(const rapt_caps *caps, const struct rapt_select_request *request,
                        struct rapt_selection *out_selection);

/* The kernel of the caller's own merges (rapt_merger). */
rapt_status rapt_select_combine(const rapt_caps *caps, struct rapt_kernel_choice *out_choice);

/* The kernel of rapt_plan_record_append for checked parameters. force as above. */
rapt_status rapt_select_append(const rapt_caps *caps, const rapt_plan_params *params, int force,
                               struct rapt_kernel_choice *out_choice);

/* The kernel of rapt_copier. */
rapt_status rapt_select_copier(const rapt_caps *caps, int force,
                               struct rapt_kernel_choice *out_choice);
/* The kernels of rapt/sparse.h: those named "chunk_mean", "moba_gate", ..., the first with the type of K
 * in their names. */
rapt_status rapt_select_sparse(const rapt_caps *caps, const rapt_plan_params *params,
                               const char *name, int typed, struct rapt_kernel_choice *out_choice);
/* The kernel that goes through lists of tokens. */
rapt_status rapt_select_token_lists(const rapt_caps *caps, const struct rapt_select_request *request,
                                    struct rapt_kernel_choice *out_choice);
/* The kernel that rotates queries ahead of the CPU driver's rows. */
rapt_status rapt_select_rotate_q(const rapt_caps *caps, const rapt_plan_params *params,
                                 struct rapt_kernel_choice *out_choice);

/* Capabilities a row of kernels.def needs, as in its CAPS column; NULL if the device can run it,
 * else a static reason ("needs buffer_device_address"). */
const char *rapt_kernel_unsupported_reason(const rapt_caps *caps, int kernel);

#endif
