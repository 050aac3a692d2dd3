/* SPDX-License-Identifier: Apache-2.0 */

/* The kernels that choose keys on the device. */

#include "select.h"

#include "error.h"
#include "kernel_table.h"
#include "select_tiles.h"

#include <stdio.h>
#include <string.h>

#define GPU_WORKGROUP 64u
#define CPU_WORKGROUP 8u
#define INDEX_KEYS 512u /* of a workgroup of index_score.comp */
#define GATE_ROWS 8u    /* moba_gate.comp takes so many (token, head) rows at a time */

static uint32_t workgroup(const rapt_caps *caps)
{
    uint32_t n = 1, wanted = caps->features & RAPT_FEATURE_CPU_ROWS ? CPU_WORKGROUP : GPU_WORKGROUP;
    while (n * 2 <= wanted && n * 2 <= caps->max_workgroup_invocations &&
           n * 2 <= caps->max_workgroup_size[0])
        n *= 2;
    return n;
}

static rapt_status check_row(const rapt_caps *caps, const char *name, int kernel)
{
    if (kernel < 0)
        return rapt_fail(RAPT_ERROR_INTERNAL, "the kernel table has no row %s", name);
    const char *absent = rapt_kernel_absent_reason(kernel);
    if (absent)
        return rapt_fail(RAPT_ERROR_ABSENT, "kernel %s is not in this build: %s", name, absent);
    const char *unsupported = rapt_kernel_unsupported_reason(caps, kernel);
    if (unsupported)
        return rapt_fail(RAPT_ERROR_UNSUPPORTED, "kernel %s: %s", name, unsupported);
    return RAPT_OK;
}

rapt_status rapt_select_sparse(const rapt_caps *caps, const rapt_plan_params *params,
                               const char *name, int typed, struct rapt_kernel_choice *out_choice)
{
    char row[64];
    memset(out_choice, 0, sizeof *out_choice);
    if (typed)
        snprintf(row, sizeof row, "%s_%s_pt", name, rapt_type_name(params->kv_type));
    else
        snprintf(row, sizeof row, "%s_pt", name);
    out_choice->kernel = rapt_kernel_find(row);
    rapt_status status = check_row(caps, row, out_choice->kernel);
    if (status != RAPT_OK)
        return status;
    const int rotates =
        params->flags & RAPT_PLAN_ROPE_Q && params->rope && params->rope->pairing != RAPT_ROPE_NONE;
    uint32_t group = params->n_q_heads / params->n_kv_heads;
    out_choice->workgroup_size = workgroup(caps);
    out_choice->rows = out_choice->block_kv = 1;
    if (strcmp(name, "moba_gate") == 0) {
        out_choice->shared_bytes = 4 * GATE_ROWS * (params->head_dim + 1);
        out_choice->rows = group < GATE_ROWS ? GATE_ROWS / group : 1; /* tokens */
    }
    if (strcmp(name, "index_score") == 0)
        out_choice->block_kv = INDEX_KEYS;
    out_choice->spec[RAPT_SPEC_WG_SIZE] = out_choice->workgroup_size;
    out_choice->spec[RAPT_SPEC_HEAD_DIM] = params->head_dim;
    out_choice->spec[RAPT_SPEC_HEAD_DIM_V] = params->head_dim_v;
    out_choice->spec[RAPT_SPEC_BLOCK_Q] = out_choice->spec[RAPT_SPEC_BLOCK_KV] = 1;
    out_choice->spec[RAPT_SPEC_FEATURES] = RAPT_FEAT_Q_POS |
                                           (params->flags & RAPT_PLAN_PAGED ? RAPT_FEAT_PAGED : 0) |
                                           (rotates ? RAPT_FEAT_ROPE_Q : 0);
    out_choice->spec[RAPT_SPEC_Q_TYPE] = (uint32_t)params->q_type;
    out_choice->spec[RAPT_SPEC_TILE_B] = out_choice->rows;
    return RAPT_OK;
}

rapt_status rapt_select_token_lists(const rapt_caps *caps,
                                    const struct rapt_select_request *request,
                                    struct rapt_kernel_choice *out_choice)
{
    char row[64];
    struct rapt_select_request own = *request;
    memset(out_choice, 0, sizeof *out_choice);
    if (request->n_kv_segments > 1)
        return rapt_fail(RAPT_ERROR_UNSUPPORTED,
                         "the pool lies in %u pieces (n_kv_segments): token lists are for one",
                         request->n_kv_segments);
    snprintf(row, sizeof row, "tiled_%s_ptl", rapt_type_name(request->kv_type));
    out_choice->kernel = rapt_kernel_find(row);
    rapt_status status = check_row(caps, row, out_choice->kernel);
    own.integer_dot = RAPT_CHOICE_NEVER;
    own.block_q = own.block_kv = own.pages_per_block = 0; /* knobs of other kernels */
    if (status == RAPT_OK)
        status = rapt_select_tile(caps, &own, 1, out_choice);
    uint32_t *spec = out_choice->spec;
    spec[RAPT_SPEC_WG_SIZE] = out_choice->workgroup_size;
    spec[RAPT_SPEC_FEATURES] = request->features & ~RAPT_FEAT_BLOCKS;
    spec[RAPT_SPEC_Q_TYPE] = (uint32_t)request->q_type;
    spec[RAPT_SPEC_OUT_TYPE] = (uint32_t)request->out_type;
    return status;
}
