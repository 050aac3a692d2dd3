/* SPDX-License-Identifier: Apache-2.0 */

/* Which kernels. Vendors are known to select_budget.c, the CPU driver to this file and
 * select_cpu.c. */

#include "select.h"

#include "error.h"
#include "kernel_table.h"
#include "numbers.h"
#include "select_choose.h"
#include "select_cpu.h"
#include "select_lanes.h"
#include "select_matrix.h"
#include "select_rows.h"
#include "select_tiles.h"

#include <stdio.h>
#include <string.h>

#define KEYS_PER_ITEM_GPU 65536u
#define PORTABLE_DECODE_ROWS 4u /* the least of a portable tile of decode */
#define STAGE_BYTES (32u << 20) /* scratch for staged K/V on the CPU driver, all of it */
#define STAGE_ROWS_MAX 65536u
#define STAGE_ROWS_MIN 1024u

static uint32_t power_of_two_below(uint32_t x)
{
    uint32_t p = 1;
    while (p <= x / 2)
        p *= 2;
    return p;
}

/* ----------------------------------------------------------------------------------------- rows */

/* The portable row of an operation: its own, or the one that does both where the pool lies in
 * pieces or keys are multiplied in integers. */
static int find_portable(const char *op, const struct rapt_select_request *request, int integer_dot)
{
    if (integer_dot)
        return rapt_select_find_row("tiled", request->kv_type, "ptd");
    if (request->n_kv_segments > 1)
        return rapt_select_find_row("tiled", request->kv_type, "pts");
    return rapt_select_find_row(op, request->kv_type, "pt");
}

/* Why keys are not multiplied in integers; NULL if they are. */
static const char *integer_dot_reason(const rapt_caps *caps,
                                      const struct rapt_select_request *request)
{
    if (request->integer_dot == RAPT_CHOICE_NEVER)
        return "forbidden";
    if (request->kv_type != RAPT_TYPE_INT8 && request->kv_type != RAPT_TYPE_Q8_0)
        return "only for int8 and q8_0 keys";
    if (request->head_dim % 32 != 0)
        return "head_dim is no multiple of 32";
    if (request->n_kv_segments > 1)
        return "its rows read pools in one piece";
    if (request->integer_dot == RAPT_CHOICE_AUTO &&
        (!caps->integer_dot_accelerated || caps->device_type == VK_PHYSICAL_DEVICE_TYPE_CPU))
        return "the device does not accelerate it";
    return rapt_select_row_reason(caps, find_portable("", request, 1));
}

/* The row of a path for the request, whether it can be used or not; in pieces there is "cms" alone.
 */
static int matrix_row(const char *op, const struct rapt_select_request *request, const char *path)
{
    if (request->n_kv_segments > 1)
        return strcmp(path, "cm") == 0 ? rapt_select_find_row(op, request->kv_type, "cms") : -1;
    return rapt_select_find_row(op, request->kv_type, path);
}

/* Why products are not left to matrix units by the rows of a path; NULL if they are. */
static const char *matrix_reason(const rapt_caps *caps, const struct rapt_select_request *request,
                                 const char *path)
{
    struct rapt_kernel_choice choice = {0};
    int row = matrix_row("prefill", request, path);
    if (request->path == RAPT_PATH_PORTABLE)
        return "the portable path was asked for";
    if (row < 0)
        return request->n_kv_segments > 1 ? "their rows read pools in one piece"
                                          : "no row for K/V of this type";
    const char *why = rapt_select_row_reason(caps, row);
    if (!why)
        why = rapt_select_matrix_query_reason(request, row);
    if (!why)
        why = rapt_select_row_matrix_tile(caps, request, row, &choice);
    if (!why && request->path == RAPT_PATH_AUTO && request->integer_dot == RAPT_CHOICE_ALWAYS &&
        !integer_dot_reason(caps, request))
        why = "integer dot products were asked for";
    if (!why && request->path == RAPT_PATH_AUTO && caps->device_type == VK_PHYSICAL_DEVICE_TYPE_CPU)
        why = "a CPU driver's are slower than its own rows";
    return why;
}

/* Why a family cannot be used here; NULL if it can. */
static const char *family_reason(const struct rapt_cpu_family *family, const rapt_caps *caps,
                                 const struct rapt_select_request *request)
{
    uint32_t rows, keys;
    const char *why = rapt_select_row_reason(
        caps, rapt_select_find_row("prefill", RAPT_TYPE_DEFAULT, family->path));
    int stage = rapt_select_find_row("stage", request->kv_type, family->path);
    if (!why && stage < 0)
        why = "the CPU driver's own rows do not read K/V of this type";
    if (!why)
        why = rapt_select_row_reason(caps, stage);
    if (!why && request->n_kv_segments > 1)
        why = "the CPU driver's own rows read pools in one piece";
    if (!why && family->subgroup_size && family->subgroup_size != caps->subgroup_size)
        why = "the CPU driver's rows for this version want subgroups of 8";
    if (!why && !rapt_select_cpu_tile(family, caps, request, &rows, &keys))
        why = "the CPU driver's own rows have no tile of that block_q and block_kv";
    return why;
}

/* Why the CPU driver's rows are not taken; NULL and the family otherwise. */
static const char *cpu_reason(const rapt_caps *caps, const struct rapt_select_request *request,
                              const struct rapt_cpu_family **out_family)
{
    uint32_t major = caps->driver_major ? caps->driver_major : 26;
    if (!(caps->features & RAPT_FEATURE_CPU_ROWS))
        return caps->supported & RAPT_FEATURE_CPU_ROWS ? "cpu_rows is disabled"
                                                       : "it is not Mesa's CPU driver";
    const struct rapt_cpu_family *family = rapt_select_cpu_version(major);
    if (family) {
        const char *reason = family_reason(family, caps, request);
        if (!reason)
            *out_family = family;
        return reason;
    }
    return "the CPU driver's rows know no such version";
}

static void stage_choice(const rapt_caps *caps, const struct rapt_select_request *request,
                         struct rapt_selection *selection, const struct rapt_cpu_family *family)
{
    struct rapt_kernel_choice *stage = &selection->stage;
    uint32_t row_bytes = 4 * (request->head_dim + request->head_dim_v);
    stage->kernel = rapt_select_find_row("stage", request->kv_type, family->path);
    stage->workgroup_size = caps->subgroup_size;
    stage->rows = 1;
    stage->block_kv = 8;
    stage->spec[RAPT_SPEC_SUBGROUP] = caps->subgroup_size;
    rapt_select_fill_spec(request, stage);
    selection->staged = 1;
    selection->stage_unit = 4;
    if (strcmp(family->path, "lpb") == 0 &&
        (request->kv_type == RAPT_TYPE_F16 || request->kv_type == RAPT_TYPE_BF16)) {
        selection->stage_unit = 2;
        stage->spec[RAPT_SPEC_STAGED] = (uint32_t)request->kv_type;
        selection->prefill.spec[RAPT_SPEC_STAGED] = (uint32_t)request->kv_type;
    }
    selection->stage_rows =
        rapt_max_u32(STAGE_ROWS_MIN, rapt_min_u32(STAGE_ROWS_MAX, STAGE_BYTES / row_bytes)) / 8 * 8;
}

/* Workgroup size of the small kernels: what they like, within the device's limits. */
static uint32_t small_workgroup(const rapt_caps *caps, uint32_t wanted)
{
    uint32_t most = rapt_min_u32(caps->max_workgroup_invocations, caps->max_workgroup_size[0]);
    return rapt_min_u32(wanted, power_of_two_below(rapt_max_u32(most, 1)));
}

/* One workgroup per merge, per sequence: nothing to tune. */
static void choose_small(const rapt_caps *caps, const struct rapt_select_request *request,
                         int kernel, struct rapt_kernel_choice *choice)
{
    choice->kernel = kernel;
    choice->workgroup_size = small_workgroup(caps, 64);
    choice->rows = 1;
    choice->block_kv = 1;
    rapt_select_fill_spec(request, choice);
}

/* ------------------------------------------------------------------------------------ selection */

static rapt_status check_request(const rapt_caps *caps, const struct rapt_select_request *request)
{
    if (request->shared_memory_limit > caps->max_shared_memory)
        return rapt_fail(RAPT_ERROR_ARGUMENT,
                         "shared_memory_limit is %u: %s has %u bytes of shared memory",
                         request->shared_memory_limit, caps->device_name, caps->max_shared_memory);
    if (request->max_keys_per_item && request->max_keys_per_item < 64)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "max_keys_per_item is %u: expected at least 64",
                         request->max_keys_per_item);
    return RAPT_OK;
}

/* Rows on matrix units: those by VK_NV_cooperative_matrix2 with all of it, with what lavapipe has
 * of it, and those by VK_KHR_cooperative_matrix. */
static const char *const matrix_paths[] = {"cm2", "cm2s", "cm"};
enum { MATRIX_TENSOR, MATRIX_NV, MATRIX_KHR, N_MATRIX_PATHS };

/* Rows that tests name. With one of the two given, all work goes to it. */
static rapt_status find_forced(const struct rapt_select_request *request,
                               struct rapt_selection *out)
{
    out->prefill.kernel = request->force_prefill ? request->force_prefill - 1 : -1;
    out->decode.kernel = request->force_decode ? request->force_decode - 1 : -1;
    const struct {
        const char *op;
        int kernel;
    } forced[] = {{"prefill", out->prefill.kernel}, {"decode", out->decode.kernel}};
    for (int i = 0; i < 2; i++) {
        int kernel = forced[i].kernel, segments = request->n_kv_segments > 1;
        if (kernel < 0)
            continue;
        const struct rapt_cpu_family *family = rapt_select_cpu_family(kernel);
        int is_dot = !segments && kernel == find_portable(forced[i].op, request, 1);
        int is_own = kernel == find_portable(forced[i].op, request, 0);
        for (int m = 0; m < N_MATRIX_PATHS; m++)
            if (kernel == matrix_row(forced[i].op, request, matrix_paths[m])) {
                is_own = out->matrix = 1;
                out->matrix2 |= m != MATRIX_KHR;
            }
        if (i == 1 && !segments)
            is_own = is_own || kernel == rapt_select_find_row("decode", request->kv_type, "sg");
        if (family && !segments)
            is_own = kernel == rapt_select_find_row(forced[i].op, request->kv_type, family->path) ||
                     kernel == rapt_select_find_row(forced[i].op, RAPT_TYPE_DEFAULT, family->path);
        out->integer_dot |= is_dot;
        if (!is_dot && !is_own)
            return rapt_fail(RAPT_ERROR_ARGUMENT, "kernel %s is no %s kernel for %s K/V",
                             rapt_kernel_name(kernel) ? rapt_kernel_name(kernel) : "(none)",
                             forced[i].op, rapt_select_type_word(request->kv_type));
    }
    snprintf(out->why, sizeof out->why, "asked for by name");
    return RAPT_OK;
}

/* The row for decode of one token where matrix units and the CPU driver have none. Beside a tile of
 * a group's rows stands one of more, which a few tokens go to. */
static void find_lanes_decode(const rapt_caps *caps, const struct rapt_select_request *request,
                              struct rapt_selection *out)
{
    int row = rapt_select_find_row("decode", request->kv_type, "sg");
    const struct rapt_select_request own = rapt_select_without_prefill_knobs(request);
    if (out->integer_dot || rapt_select_lanes_reason(caps, &own))
        return;
    if (out->few.kernel < 0 && request->n_q_heads / request->n_kv_heads < PORTABLE_DECODE_ROWS - 1)
        out->few.kernel = out->decode.kernel;
    out->decode.kernel = row;
}

/* Why decode beside prefill on matrix units is not there too; NULL if it is. */
static const char *matrix_decode_reason(const rapt_caps *caps,
                                        const struct rapt_select_request *request, int row)
{
    struct rapt_kernel_choice choice;
    const struct rapt_select_request own = rapt_select_without_prefill_knobs(request);
    const char *why = rapt_select_row_reason(caps, row);
    if (!why)
        why = rapt_select_matrix_query_reason(request, row);
    return why ? why : rapt_select_few_rows_tile(caps, &own, &choice);
}

/* Decode beside prefill on matrix units: there as well, wherever a sequence has the rows. With a
 * large group all have; with a small one those of several tokens do, and the others are left to
 * portable rows. */
static void find_matrix_decode(const rapt_caps *caps, const struct rapt_select_request *request,
                               const char *no_tensor, struct rapt_selection *out)
{
    int row = matrix_row("decode", request, "cm");
    const char *why = matrix_decode_reason(caps, request, row);
    int all = !why && request->n_q_heads / request->n_kv_heads >= MATRIX_DECODE_ROWS;
    out->integer_dot = !all && integer_dot_reason(caps, request) == NULL;
    out->decode.kernel = all ? row : find_portable("decode", request, out->integer_dot);
    out->few.kernel = why || all ? -1 : row;
    if (!all)
        find_lanes_decode(caps, request, out);
    snprintf(
        out->why, sizeof out->why, "prefill%s on matrix units%s%s%s%s", all ? " and decode" : "",
        why   ? ", decode in portable rows: "
        : all ? ""
        : rapt_select_by_lanes(out->decode.kernel)
            ? ", decode of several tokens too: one leaves matrices empty"
            : ", decode of 8 packed rows and more too: fewer leave matrices empty",
        why ? why : "", no_tensor ? "; not those of workgroups: " : "", no_tensor ? no_tensor : "");
}

/* Prefill on matrix units if that can be, else why not. Whole workgroups first; what subgroups can
 * do with the extension they do without it, so those rows are for who asks. */
static int find_matrix(const rapt_caps *caps, const struct rapt_select_request *request,
                       struct rapt_selection *out, const char **out_why)
{
    const char *no_tensor = NULL, *why = NULL;
    int first = request->path == RAPT_PATH_COOPMAT ? MATRIX_KHR : MATRIX_TENSOR;
    int last = request->path == RAPT_PATH_COOPMAT2 ? MATRIX_NV : MATRIX_KHR;
    for (int i = first; i <= last; i++) {
        if (i == MATRIX_NV && request->path != RAPT_PATH_COOPMAT2)
            continue;
        why = matrix_reason(caps, request, matrix_paths[i]);
        if (i == MATRIX_TENSOR)
            no_tensor = why;
        if (why)
            continue;
        out->matrix = 1;
        out->matrix2 = i != MATRIX_KHR;
        out->prefill.kernel = matrix_row("prefill", request, matrix_paths[i]);
        find_matrix_decode(caps, request, no_tensor, out);
        return 1;
    }
    *out_why = why;
    return 0;
}

static const char in_wide_vectors[] = " (where the processor has vectors of 512 bits, prefill is faster "
                                      "with LP_NATIVE_VECTOR_WIDTH=512 in the environment)";

/* The rows of attention itself. */
static rapt_status find_attention(const rapt_caps *caps, const struct rapt_select_request *request,
                                  struct rapt_selection *out)
{
    const struct rapt_cpu_family *family = NULL;
    if (request->force_prefill || request->force_decode)
        return find_forced(request, out);
    const char *no_matrix = NULL;
    if (find_matrix(caps, request, out, &no_matrix))
        return RAPT_OK;
    if (request->path == RAPT_PATH_COOPMAT || request->path == RAPT_PATH_COOPMAT2)
        return rapt_fail(RAPT_ERROR_UNSUPPORTED, "path %s: %s",
                         request->path == RAPT_PATH_COOPMAT ? "coopmat" : "coopmat2", no_matrix);
    const char *why = cpu_reason(caps, request, &family);
    const char *no_dot = integer_dot_reason(caps, request);
    out->integer_dot = no_dot == NULL;
    out->prefill.kernel = find_portable("prefill", request, out->integer_dot);
    out->decode.kernel = find_portable("decode", request, out->integer_dot);
    if (family && !out->integer_dot) {
        /* prefill_lpb unrolls eight keys: beyond 512 dims it takes minutes to compile */
        uint32_t dims = request->head_dim + request->head_dim_v;
        int large = strcmp(family->path, "lpb") == 0 && dims > 512;
        out->prefill.kernel =
            rapt_select_find_row("prefill", RAPT_TYPE_DEFAULT, large ? "lp" : family->path);
        /* decode_*_lp is written for 8 or 16 lanes; the form for older versions takes any number */
        int wide = strcmp(family->path, "lp") == 0 && caps->subgroup_size != 8 &&
                   caps->subgroup_size != 16;
        const char *path = wide ? "lpb" : family->path;
        int decode = rapt_select_find_row("decode", request->kv_type, path);
        if (strcmp(path, "lps") == 0 && dims > 512)
            decode = -1; /* each load is a loop: many of them take long to compile */
        out->decode.kernel =
            rapt_select_row_reason(caps, decode) ? -1 : decode; /* prefill takes all, then */
        int narrow = strcmp(family->path, "lp") == 0 && caps->subgroup_size == 8;
        snprintf(out->why, sizeof out->why,
                 "the CPU driver's own rows for Mesa %u.%u%s; no matrix units: %s",
                 caps->driver_major, caps->driver_minor, narrow ? in_wide_vectors : "", no_matrix);
        return RAPT_OK;
    }
    find_lanes_decode(caps, request, out);
    int asked = request->integer_dot == RAPT_CHOICE_ALWAYS && no_dot;
    int is_cpu = caps->device_type == VK_PHYSICAL_DEVICE_TYPE_CPU;
    snprintf(out->why, sizeof out->why, "portable rows%s: %s%sno matrix units: %s%s%s",
             out->integer_dot ? ", keys in integers" : "",
             family   ? "integer dot products were asked for"
             : is_cpu ? why
                      : "",
             family || is_cpu ? "; " : "", no_matrix, asked ? "; no integer dot products: " : "",
             asked ? no_dot : "");
    return RAPT_OK;
}

static rapt_status check_row(const rapt_caps *caps, const char *what, int kernel)
{
    const char *reason = rapt_select_row_reason(caps, kernel);
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

static rapt_status choose_attention(const rapt_caps *caps,
                                    const struct rapt_select_request *request,
                                    struct rapt_selection *out)
{
    rapt_status status = RAPT_OK;
    const struct rapt_cpu_family *family = rapt_select_cpu_family(out->prefill.kernel);
    out->cpu = family != NULL || rapt_select_cpu_family(out->decode.kernel) != NULL;
    if (out->prefill.kernel >= 0)
        status = check_row(caps, "prefill", out->prefill.kernel);
    if (status == RAPT_OK && out->decode.kernel >= 0)
        status = check_row(caps, "decode", out->decode.kernel);
    if (status != RAPT_OK)
        return status;
    if (family) {
        stage_choice(caps, request, out, family);
        status = check_row(caps, "stage", out->stage.kernel);
    }
    if (status == RAPT_OK && out->prefill.kernel >= 0)
        status = rapt_select_tune_prefill(caps, request, out);
    if (status == RAPT_OK && out->decode.kernel >= 0)
        status = rapt_select_tune_decode(caps, request, out);
    if (status == RAPT_OK && out->few.kernel >= 0)
        status = rapt_select_tune_few(caps, request, out);
    return status;
}

rapt_status rapt_select(const rapt_caps *caps, const struct rapt_select_request *request,
                        struct rapt_selection *out_selection)
{
    struct rapt_selection *out = out_selection;
    memset(out, 0, sizeof *out);
    out->stage.kernel = out->few.kernel = -1;
    rapt_status status = check_request(caps, request);
    if (status == RAPT_OK)
        status = find_attention(caps, request, out);
    if (status == RAPT_OK)
        status = choose_attention(caps, request, out);
    choose_small(caps, request, rapt_kernel_find("merge_pt"), &out->merge);
    choose_small(caps, request, rapt_kernel_find("logit_reduce_pt"), &out->reduce);
    if (status == RAPT_OK)
        status = check_row(caps, "merge", out->merge.kernel);
    if (status == RAPT_OK)
        status = check_row(caps, "reduction", out->reduce.kernel);
    if (status != RAPT_OK)
        return status;
    int cpu_decode = rapt_select_cpu_family(out->decode.kernel) != NULL;
    out->decode_rows = cpu_decode ? rapt_max_u32(4, 2 * out->decode.rows) : out->decode.rows;
    if (rapt_select_by_lanes(out->decode.kernel) && out->few.kernel < 0)
        out->decode_rows = rapt_max_u32(PORTABLE_DECODE_ROWS, out->decode.rows);
    if (rapt_select_on_matrix_units(out->decode.kernel))
        out->decode_rows = rapt_select_most_matrix_rows(request, out, out->decode.rows);
    out->target_items = target_items(caps);
    out->max_keys_per_item = request->max_keys_per_item ? request->max_keys_per_item
                             : out->cpu                 ? 1u << 30
                                                        : KEYS_PER_ITEM_GPU;
    out->cache_keys =
        request->keys_at_once ? request->keys_at_once : rapt_select_cache_keys(caps, request);
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
