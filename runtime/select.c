/* SPDX-License-Identifier: Apache-2.0 */

/* The only file that knows drivers and vendors. */

#include "select.h"

#include "error.h"
#include "kernel_table.h"

#include <stdio.h>
#include <string.h>

#define KEYS_PER_ITEM_GPU 65536u
#define STAGE_BYTES (32u << 20) /* scratch for staged K/V on the CPU driver, all of it */
#define STAGE_ROWS_MAX 65536u
#define STAGE_ROWS_MIN 1024u

static uint32_t min_u32(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static uint32_t max_u32(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

static uint32_t power_of_two_below(uint32_t x)
{
    uint32_t p = 1;
    while (p <= x / 2)
        p *= 2;
    return p;
}

/* ----------------------------------------------------------------------------------------- rows */

const char *rapt_kernel_unsupported_reason(const rapt_caps *caps, int kernel)
{
    static const char *const needs[RAPT_N_FEATURES] = {
        "needs f16 (shaderFloat16)",
        "needs int8 (shaderInt8)",
        "needs storage16 (storageBuffer16BitAccess)",
        "needs storage8 (storageBuffer8BitAccess)",
        "needs int64 (shaderInt64)",
        "needs subgroup (subgroup arithmetic and shuffle in compute)",
        "needs subgroup_size_control (VK_EXT_subgroup_size_control)",
        "needs buffer_device_address (VK_KHR_buffer_device_address)",
        "needs push_descriptor (VK_KHR_push_descriptor)",
        "needs integer_dot (VK_KHR_shader_integer_dot_product)",
        "needs coopmat (VK_KHR_cooperative_matrix)",
        "needs coopmat2 (VK_NV_cooperative_matrix2)",
        "needs bf16 (VK_KHR_shader_bfloat16)",
        "needs memory_model (vulkanMemoryModel)",
        "needs priority (VK_KHR_global_priority)",
        "needs debug_utils (VK_EXT_debug_utils)",
        "needs cpu_rows (it is for Mesa's CPU driver)",
    };
    rapt_features missing = rapt_kernel_features(kernel) & ~caps->features;
    uint32_t n_bindings = 0;
    for (uint32_t bits = rapt_kernel_bindings(kernel); bits; bits &= bits - 1)
        n_bindings++;
    for (uint32_t bit = 0; bit < RAPT_N_FEATURES; bit++)
        if (missing & (1ull << bit))
            return needs[bit];
    if (n_bindings > caps->max_storage_buffers)
        return "binds more storage buffers than the device allows per stage";
    return NULL;
}

/* NULL if the row can be used, else why not. */
static const char *row_reason(const rapt_caps *caps, int kernel)
{
    if (kernel < 0)
        return "no such row";
    const char *reason = rapt_kernel_absent_reason(kernel);
    return reason ? reason : rapt_kernel_unsupported_reason(caps, kernel);
}

static const char *type_word(rapt_type type)
{
    const char *name = rapt_type_name(type);
    return name ? name : "f32";
}

/* "decode" and "pt" and f16 -> decode_f16_pt; without a type if `type` is DEFAULT. */
static int find_row(const char *op, rapt_type type, const char *path)
{
    char name[64];
    if (type == RAPT_TYPE_DEFAULT)
        snprintf(name, sizeof name, "%s_%s", op, path);
    else
        snprintf(name, sizeof name, "%s_%s_%s", op, type_word(type), path);
    return rapt_kernel_find(name);
}

static int name_ends(int kernel, const char *end)
{
    const char *name = rapt_kernel_name(kernel);
    size_t n = name ? strlen(name) : 0, m = strlen(end);
    return n >= m && strcmp(name + n - m, end) == 0;
}

static void fill_spec(const struct rapt_select_request *request, struct rapt_kernel_choice *choice)
{
    choice->spec[RAPT_SPEC_WG_SIZE] = choice->workgroup_size;
    choice->spec[RAPT_SPEC_HEAD_DIM] = request->head_dim;
    choice->spec[RAPT_SPEC_HEAD_DIM_V] = request->head_dim_v;
    choice->spec[RAPT_SPEC_BLOCK_Q] = choice->rows;
    choice->spec[RAPT_SPEC_BLOCK_KV] = choice->block_kv;
    choice->spec[RAPT_SPEC_FEATURES] = request->features;
    choice->spec[RAPT_SPEC_Q_TYPE] = (uint32_t)request->q_type;
    choice->spec[RAPT_SPEC_OUT_TYPE] = (uint32_t)request->out_type;
}

/* ------------------------------------------------------------------------------ the CPU driver */

/* Mesa's llvmpipe: which of its rows run well follows the version (docs/lavapipe.md). Rows per lane
 * and keys per step are bounded by registers and by the size of the unrolled loop. */
struct cpu_family {
    const char *path;
    uint32_t major_min, major_max;
    uint32_t rows_per_lane; /* at head dims up to 128 */
    uint32_t step_limit;    /* rows per lane * keys per step * (D + Dv), unrolled */
};

static const struct cpu_family cpu_families[] = {
    {"lp", 26, 9999, 1, 2048},
    {"lpb", 24, 25, 2, 4096},
    {"lps", 1, 23, 4, 1024},
};

static int is_cpu_driver(const rapt_caps *caps)
{
    return (caps->features & RAPT_FEATURE_CPU_ROWS) != 0;
}

static void choose_cpu_prefill(const struct cpu_family *family, const rapt_caps *caps,
                               const struct rapt_select_request *request,
                               struct rapt_kernel_choice *choice)
{
    uint32_t dims = request->head_dim + request->head_dim_v;
    uint32_t per_lane = family->rows_per_lane;
    while (per_lane > 1 && per_lane * dims > family->rows_per_lane * 256)
        per_lane /= 2;
    uint32_t keys = 8;
    while (keys > 1 && keys * per_lane * dims > family->step_limit)
        keys /= 2;
    choice->workgroup_size = caps->subgroup_size;
    choice->rows = caps->subgroup_size * per_lane;
    choice->block_kv = 8;
    choice->spec[RAPT_SPEC_SUBGROUP] = caps->subgroup_size;
    choice->spec[RAPT_SPEC_TILE_A] = keys;
    choice->spec[RAPT_SPEC_TILE_B] = per_lane;
}

static void choose_cpu_decode(const rapt_caps *caps, const struct rapt_select_request *request,
                              struct rapt_kernel_choice *choice)
{
    uint32_t group = request->n_q_heads / request->n_kv_heads;
    uint32_t rows = power_of_two_below(min_u32(group, 4));
    while (rows > 1 && rows * (request->head_dim + request->head_dim_v) > 1024)
        rows /= 2;
    choice->workgroup_size = caps->subgroup_size;
    choice->rows = rows;
    choice->block_kv = caps->subgroup_size;
    choice->spec[RAPT_SPEC_SUBGROUP] = caps->subgroup_size;
    choice->spec[RAPT_SPEC_TILE_A] = 1;
    choice->spec[RAPT_SPEC_TILE_B] = rows;
}

/* Why the CPU driver's rows are not taken; NULL and the family otherwise. */
static const char *cpu_reason(const rapt_caps *caps, const struct rapt_select_request *request,
                              const struct cpu_family **out_family)
{
    uint32_t major = caps->driver_major ? caps->driver_major : 26;
    const char *reason = "no row for this driver version";
    if (!is_cpu_driver(caps))
        return "not Mesa's CPU driver";
    for (size_t i = 0; i < sizeof cpu_families / sizeof cpu_families[0]; i++) {
        const struct cpu_family *family = &cpu_families[i];
        const char *why = row_reason(caps, find_row("prefill", RAPT_TYPE_DEFAULT, family->path));
        if (!why)
            why = row_reason(caps, find_row("stage", request->kv_type, family->path));
        if (!why && major >= family->major_min && major <= family->major_max) {
            *out_family = family;
            return NULL;
        }
        if (major >= family->major_min && major <= family->major_max)
            reason = why;
    }
    return reason;
}

static void stage_choice(const rapt_caps *caps, const struct rapt_select_request *request,
                         struct rapt_selection *selection, const struct cpu_family *family)
{
    struct rapt_kernel_choice *stage = &selection->stage;
    uint32_t row_bytes = 4 * (request->head_dim + request->head_dim_v);
    stage->kernel = find_row("stage", request->kv_type, family->path);
    stage->workgroup_size = caps->subgroup_size;
    stage->rows = 1;
    stage->block_kv = 8;
    stage->spec[RAPT_SPEC_SUBGROUP] = caps->subgroup_size;
    fill_spec(request, stage);
    selection->staged = 1;
    selection->stage_rows =
        max_u32(STAGE_ROWS_MIN, min_u32(STAGE_ROWS_MAX, STAGE_BYTES / row_bytes)) / 8 * 8;
}

/* -------------------------------------------------------------------------------- portable rows */

static uint32_t shared_limit(const rapt_caps *caps, const struct rapt_select_request *request)
{
    uint32_t limit = request->shared_memory_limit;
    return limit ? min_u32(limit, caps->max_shared_memory) : caps->max_shared_memory;
}

static uint32_t prefill_shared(const struct rapt_select_request *request, uint32_t rows,
                               uint32_t keys)
{
    uint32_t d = max_u32(request->head_dim, request->head_dim_v);
    return 4 * (rows * request->head_dim + keys * d + rows * keys + 3 * rows);
}

/* Workgroup size a portable kernel gets: what it likes, within the device's limits. */
static uint32_t portable_workgroup(const rapt_caps *caps, uint32_t wanted)
{
    uint32_t most = min_u32(caps->max_workgroup_invocations, caps->max_workgroup_size[0]);
    return min_u32(wanted, power_of_two_below(max_u32(most, 1)));
}

static uint32_t keys_wanted(const struct rapt_select_request *request)
{
    return request->pages_per_block ? request->pages_per_block * request->page_size
                                    : request->block_kv;
}

static rapt_status choose_prefill(const rapt_caps *caps, const struct rapt_select_request *request,
                                  struct rapt_kernel_choice *choice)
{
    static const uint32_t tiles[][2] = {{64, 32}, {32, 32}, {32, 16}, {16, 16}, {16, 8}, {8, 8}};
    uint32_t limit = shared_limit(caps, request), keys_asked = keys_wanted(request);
    uint32_t rows = 0, keys = 0;
    for (size_t i = 0; i < sizeof tiles / sizeof tiles[0]; i++) {
        rows = request->block_q ? request->block_q : tiles[i][0];
        keys = keys_asked ? keys_asked : tiles[i][1];
        if (prefill_shared(request, rows, keys) > limit)
            continue;
        choice->rows = rows;
        choice->block_kv = keys;
        choice->shared_bytes = prefill_shared(request, rows, keys);
        choice->workgroup_size = portable_workgroup(caps, 128);
        fill_spec(request, choice);
        return RAPT_OK;
    }
    return rapt_fail(request->block_q || keys_asked ? RAPT_ERROR_ARGUMENT : RAPT_ERROR_UNSUPPORTED,
                     "a tile of %u rows and %u keys takes %u bytes of shared memory: the limit is "
                     "%u",
                     rows, keys, prefill_shared(request, rows, keys), limit);
}

static rapt_status choose_decode(const rapt_caps *caps, const struct rapt_select_request *request,
                                 struct rapt_kernel_choice *choice)
{
    choice->rows = 8;
    choice->block_kv = 32;
    choice->workgroup_size = portable_workgroup(caps, 64);
    choice->shared_bytes = prefill_shared(request, 8, 32);
    fill_spec(request, choice);
    return RAPT_OK;
}

/* One workgroup per merge, per sequence: nothing to tune. */
static void choose_small(const rapt_caps *caps, const struct rapt_select_request *request,
                         int kernel, struct rapt_kernel_choice *choice)
{
    choice->kernel = kernel;
    choice->workgroup_size = portable_workgroup(caps, 64);
    choice->rows = 1;
    choice->block_kv = 1;
    fill_spec(request, choice);
}

/* ------------------------------------------------------------------------------------ selection */

static rapt_status check_request(const rapt_caps *caps, const struct rapt_select_request *request)
{
    if (request->path == RAPT_PATH_COOPMAT || request->path == RAPT_PATH_COOPMAT2)
        return rapt_fail(RAPT_ERROR_UNSUPPORTED,
                         "path %s is not in this version: its kernels use no matrix units",
                         request->path == RAPT_PATH_COOPMAT ? "coopmat" : "coopmat2");
    if (request->shared_memory_limit > caps->max_shared_memory)
        return rapt_fail(RAPT_ERROR_ARGUMENT,
                         "shared_memory_limit is %u: %s has %u bytes of shared memory",
                         request->shared_memory_limit, caps->device_name, caps->max_shared_memory);
    return RAPT_OK;
}

/* The rows of attention itself; `family` is NULL for the portable ones. */
static rapt_status find_attention(const rapt_caps *caps, const struct rapt_select_request *request,
                                  struct rapt_selection *out, const struct cpu_family **out_family)
{
    const struct cpu_family *family = NULL;
    const char *why = cpu_reason(caps, request, &family);
    if (request->force_prefill || request->force_decode)
        family = NULL;
    out->prefill.kernel = find_row("prefill", request->kv_type, "pt");
    out->decode.kernel = find_row("decode", request->kv_type, "pt");
    if (request->force_prefill) {
        out->prefill.kernel = request->force_prefill - 1;
        for (size_t i = 0; i < sizeof cpu_families / sizeof cpu_families[0]; i++) {
            char end[16];
            snprintf(end, sizeof end, "_%s", cpu_families[i].path);
            if (name_ends(out->prefill.kernel, end))
                family = &cpu_families[i];
        }
    } else if (family) {
        out->prefill.kernel = find_row("prefill", RAPT_TYPE_DEFAULT, family->path);
        int decode = find_row("decode", request->kv_type, family->path);
        if (!row_reason(caps, decode))
            out->decode.kernel = decode;
    }
    if (request->force_decode)
        out->decode.kernel = request->force_decode - 1;
    out->cpu = family != NULL;
    if (family)
        snprintf(out->why, sizeof out->why, "the CPU driver's own rows for Mesa %u.%u",
                 caps->driver_major, caps->driver_minor);
    else
        snprintf(out->why, sizeof out->why, "portable rows: %s%s",
                 is_cpu_driver(caps) ? why : "this version has no matrix kernels",
                 caps->features & RAPT_FEATURE_COOPMAT ? ", though the device has matrix units"
                                                       : "");
    *out_family = family;
    return RAPT_OK;
}

static rapt_status check_row(const rapt_caps *caps, const char *what, int kernel)
{
    const char *reason = row_reason(caps, kernel);
    if (!reason)
        return RAPT_OK;
    const char *name = rapt_kernel_name(kernel);
    int absent = kernel < 0 || rapt_kernel_absent_reason(kernel) != NULL;
    return rapt_fail(absent ? RAPT_ERROR_ABSENT : RAPT_ERROR_UNSUPPORTED, "%s kernel %s: %s", what,
                     name ? name : "(none)", reason);
}

static uint32_t target_items(const rapt_caps *caps)
{
    /* Vulkan does not tell how many workgroups a device runs at once. */
    switch (caps->device_type) {
    case VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU:
        return 512;
    case VK_PHYSICAL_DEVICE_TYPE_CPU:
        return 32;
    default:
        return 128;
    }
}

rapt_status rapt_select(const rapt_caps *caps, const struct rapt_select_request *request,
                        struct rapt_selection *out_selection)
{
    struct rapt_selection *out = out_selection;
    const struct cpu_family *family = NULL;
    memset(out, 0, sizeof *out);
    out->stage.kernel = out->merge.kernel = out->reduce.kernel = -1;
    rapt_status status = check_request(caps, request);
    if (status == RAPT_OK)
        status = find_attention(caps, request, out, &family);
    if (status == RAPT_OK)
        status = check_row(caps, "prefill", out->prefill.kernel);
    if (status == RAPT_OK)
        status = check_row(caps, "decode", out->decode.kernel);
    if (status != RAPT_OK)
        return status;
    if (family) {
        choose_cpu_prefill(family, caps, request, &out->prefill);
        fill_spec(request, &out->prefill);
        stage_choice(caps, request, out, family);
        status = check_row(caps, "stage", out->stage.kernel);
    } else {
        status = choose_prefill(caps, request, &out->prefill);
    }
    if (status == RAPT_OK && name_ends(out->decode.kernel, "_pt")) {
        status = choose_decode(caps, request, &out->decode);
    } else if (status == RAPT_OK) {
        choose_cpu_decode(caps, request, &out->decode);
        fill_spec(request, &out->decode);
    }
    choose_small(caps, request, rapt_kernel_find("merge_pt"), &out->merge);
    choose_small(caps, request, rapt_kernel_find("logit_reduce_pt"), &out->reduce);
    if (status == RAPT_OK)
        status = check_row(caps, "merge", out->merge.kernel);
    if (status != RAPT_OK)
        return status;
    out->decode_rows = out->cpu ? max_u32(4, 2 * out->decode.rows) : out->decode.rows;
    out->target_items = target_items(caps);
    out->max_keys_per_item = request->max_keys_per_item ? request->max_keys_per_item
                             : out->cpu                 ? 1u << 30
                                                        : KEYS_PER_ITEM_GPU;
    uint32_t least = max_u32(out->prefill.block_kv, out->decode.block_kv);
    if (out->max_keys_per_item < least)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "max_keys_per_item is %u: a tile holds %u keys",
                         out->max_keys_per_item, least);
    return RAPT_OK;
}

rapt_status rapt_select_combine(const rapt_caps *caps, struct rapt_kernel_choice *out_choice)
{
    /* head_dim_v is the merge's own, not a specialization */
    struct rapt_select_request request = {
        .head_dim = 8,
        .head_dim_v = 8,
        .q_type = RAPT_TYPE_F32,
        .out_type = RAPT_TYPE_F32,
        .features = RAPT_FEAT_LSE | RAPT_FEAT_SINKS,
    };
    memset(out_choice, 0, sizeof *out_choice);
    choose_small(caps, &request, rapt_kernel_find("combine_pt"), out_choice);
    return check_row(caps, "merge", out_choice->kernel);
}
