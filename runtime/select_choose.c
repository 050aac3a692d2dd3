/* SPDX-License-Identifier: Apache-2.0 */
#include "select_choose.h"

#include "error.h"
#include "kernel_table.h"
#include "numbers.h"
#include "select_cpu.h"
#include "select_lanes.h"
#include "select_matrix.h"
#include "select_matrix2.h"
#include "select_rows.h"
#include "select_tiles.h"
#include "select_tuned.h"

#include <string.h>

int rapt_select_on_matrix_units(int kernel)
{
    return rapt_kernel_name_ends(kernel, "_cm2") || rapt_kernel_name_ends(kernel, "_cm2s") ||
           rapt_kernel_name_ends(kernel, "_cm") || rapt_kernel_name_ends(kernel, "_cms");
}

int rapt_select_by_lanes(int kernel)
{
    return rapt_kernel_name_ends(kernel, "_sg");
}

/* f16 is rounded no further, and bf16 has fewer digits; f32 is never rounded. */
const char *rapt_select_matrix_query_reason(const struct rapt_select_request *request, int row)
{
    int is_khr = rapt_kernel_name_ends(row, "_cm") || rapt_kernel_name_ends(row, "_cms");
    if (request->q_type == request->kv_type || request->q_type == RAPT_TYPE_F16)
        return NULL;
    if (request->q_type == RAPT_TYPE_F32)
        return "queries of f32 are not rounded for them";
    return is_khr ? NULL : "queries of bf16 go with K/V of bf16 there";
}

/* A tile of a row on matrix units; NULL, or why there is none. */
const char *rapt_select_row_matrix_tile(const rapt_caps *caps,
                                        const struct rapt_select_request *request, int row,
                                        struct rapt_kernel_choice *choice)
{
    const char *name = rapt_kernel_name(row);
    if (name && strncmp(name, "decode_", 7) == 0)
        return rapt_select_few_rows_tile(caps, request, choice);
    if (rapt_kernel_name_ends(row, "_cm2"))
        return rapt_select_tensor_tile(caps, request, choice);
    if (rapt_kernel_name_ends(row, "_cm2s"))
        return rapt_select_matrix2_tile(caps, request, choice);
    return rapt_select_matrix_tile(caps, request, choice);
}

static rapt_status choose_portable(const rapt_caps *caps, const struct rapt_select_request *request,
                                   int decode, struct rapt_kernel_choice *choice)
{
    struct rapt_select_request own = *request;
    own.integer_dot =
        rapt_kernel_name_ends(choice->kernel, "_ptd") ? RAPT_CHOICE_ALWAYS : RAPT_CHOICE_NEVER;
    rapt_status status = rapt_select_tile(caps, &own, decode, choice);
    rapt_select_fill_spec(request, choice);
    return status;
}

static rapt_status choose_matrix(const rapt_caps *caps, const struct rapt_select_request *request,
                                 struct rapt_kernel_choice *choice)
{
    const char *why = rapt_select_matrix_query_reason(request, choice->kernel);
    if (!why)
        why = rapt_select_row_matrix_tile(caps, request, choice->kernel, choice);
    if (why)
        return rapt_fail(RAPT_ERROR_UNSUPPORTED, "matrix units: %s", why);
    rapt_select_fill_spec(request, choice);
    return RAPT_OK;
}

static rapt_status choose_lanes(const rapt_caps *caps, const struct rapt_select_request *request,
                                struct rapt_kernel_choice *choice)
{
    const char *why = rapt_select_lanes_tile(caps, request, choice);
    if (why)
        return rapt_fail(RAPT_ERROR_UNSUPPORTED, "decode by lanes of a key: %s", why);
    rapt_select_fill_spec(request, choice);
    return RAPT_OK;
}

/* block_q, block_kv and pages_per_block are for prefill. */
struct rapt_select_request
rapt_select_without_prefill_knobs(const struct rapt_select_request *request)
{
    struct rapt_select_request own = *request;
    own.block_q = own.block_kv = own.pages_per_block = 0;
    return own;
}

/* One kernel each, for rapt_select_tuned. */
static rapt_status choose_prefill(const rapt_caps *caps, const struct rapt_select_request *request,
                                  struct rapt_kernel_choice *choice)
{
    const struct rapt_cpu_family *family = rapt_select_cpu_family(choice->kernel);
    uint32_t rows, keys;
    if (!family)
        return rapt_select_on_matrix_units(choice->kernel)
                   ? choose_matrix(caps, request, choice)
                   : choose_portable(caps, request, 0, choice);
    if (!rapt_select_cpu_tile(family, caps, request, &rows, &keys))
        return rapt_fail(RAPT_ERROR_ARGUMENT, "the CPU driver's own rows have no such tile");
    rapt_select_cpu_prefill(family, caps, request, choice);
    rapt_select_fill_spec(request, choice);
    return RAPT_OK;
}

static rapt_status choose_decode(const rapt_caps *caps, const struct rapt_select_request *request,
                                 struct rapt_kernel_choice *choice)
{
    if (rapt_select_on_matrix_units(choice->kernel))
        return choose_matrix(caps, request, choice);
    if (rapt_select_by_lanes(choice->kernel))
        return choose_lanes(caps, request, choice);
    if (!rapt_select_cpu_family(choice->kernel))
        return choose_portable(caps, request, 1, choice);
    rapt_select_cpu_decode(caps, request, choice);
    rapt_select_fill_spec(request, choice);
    return RAPT_OK;
}

/* Candidates of a kernel (`rapt tune`): its list's, or what its knobs may say. On CPUs they are
 * bounded by what compiles in seconds. */
rapt_status rapt_select_tune_prefill(const rapt_caps *caps,
                                     const struct rapt_select_request *request,
                                     struct rapt_selection *out)
{
    struct rapt_tile_source source = {.choose = choose_prefill};
    const struct rapt_cpu_family *family = rapt_select_cpu_family(out->prefill.kernel);
    int knobs = request->block_q || request->block_kv || request->pages_per_block ||
                request->shared_memory_limit;
    if (family) {
        uint32_t lanes = caps->subgroup_size;
        source.most_work =
            2 * family->step_limit * lanes / (request->head_dim + request->head_dim_v);
        for (uint32_t i = 0; i < 4; i++) {
            source.rows[i] = i < 3 ? lanes << i : 0;
            source.keys[i] = 1u << i;
        }
    } else if (rapt_select_on_matrix_units(out->prefill.kernel)) {
        rapt_select_matrix_candidates(caps, 64, &source);
    } else {
        source.n_listed = rapt_select_n_tiles(0);
    }
    return rapt_select_tuned(caps, request, &source, request->tile_prefill, knobs, 0, &out->prefill,
                             &out->prefill_tile);
}

rapt_status rapt_select_tune_decode(const rapt_caps *caps,
                                    const struct rapt_select_request *request,
                                    struct rapt_selection *out)
{
    struct rapt_tile_source source = {.choose = choose_decode};
    const struct rapt_select_request own = rapt_select_without_prefill_knobs(request);
    if (rapt_select_on_matrix_units(out->decode.kernel))
        rapt_select_matrix_candidates(caps, 32, &source);
    else if (rapt_select_by_lanes(out->decode.kernel))
        source.n_listed = rapt_select_n_lanes_tiles();
    else if (!rapt_select_cpu_family(out->decode.kernel))
        source.n_listed = rapt_select_n_tiles(1);
    return rapt_select_tuned(
        caps, &own, &source, request->tile_decode, request->shared_memory_limit != 0,
        request->n_q_heads / request->n_kv_heads, &out->decode, &out->decode_tile);
}

/* Packed rows of a sequence up to which decode on matrix units takes it: two tiles, as long as a
 * tile of prefill would be half empty with them. */
uint32_t rapt_select_most_matrix_rows(const struct rapt_select_request *request,
                                      const struct rapt_selection *out, uint32_t rows)
{
    if (request->force_decode)
        return 2 * rows;
    return rapt_max_u32(rows, rapt_min_u32(2 * rows, out->prefill.rows / 2));
}

rapt_status rapt_select_tune_few(const rapt_caps *caps, const struct rapt_select_request *request,
                                 struct rapt_selection *out)
{
    struct rapt_tile_source source = {.choose = choose_decode};
    const struct rapt_select_request own = rapt_select_without_prefill_knobs(request);
    if (rapt_select_on_matrix_units(out->few.kernel))
        rapt_select_matrix_candidates(caps, 32, &source);
    else
        source.n_listed = rapt_select_n_tiles(1);
    rapt_status status =
        rapt_select_tuned(caps, &own, &source, request->tile_few, request->shared_memory_limit != 0,
                          request->n_q_heads / request->n_kv_heads, &out->few, &out->few_tile);
    out->few_least =
        rapt_select_by_lanes(out->decode.kernel) ? out->decode.rows + 1 : MATRIX_DECODE_ROWS;
    out->few_most = rapt_select_on_matrix_units(out->few.kernel)
                        ? rapt_select_most_matrix_rows(request, out, out->few.rows)
                        : out->few.rows;
    return status;
}
