/* SPDX-License-Identifier: Apache-2.0 */

/* The kernels that write the cache: appending and page copies. */

#include "select.h"

#include "error.h"
#include "kernel_table.h"

#include <stdio.h>
#include <string.h>

#define GPU_WORKGROUP 64u
#define CPU_WORKGROUP 8u
#define CPU_SPAN 8u /* heads a lane goes through */

static int usable(const rapt_caps *caps, int kernel)
{
    return kernel >= 0 && !rapt_kernel_absent_reason(kernel) &&
           !rapt_kernel_unsupported_reason(caps, kernel);
}

static rapt_status check_row(const rapt_caps *caps, int kernel)
{
    const char *name = rapt_kernel_name(kernel);
    if (!name)
        return rapt_fail(RAPT_ERROR_INTERNAL, "the kernel table has no such row for appending");
    const char *absent = rapt_kernel_absent_reason(kernel);
    if (absent)
        return rapt_fail(RAPT_ERROR_ABSENT, "kernel %s is not in this build: %s", name, absent);
    const char *unsupported = rapt_kernel_unsupported_reason(caps, kernel);
    if (unsupported)
        return rapt_fail(RAPT_ERROR_UNSUPPORTED, "kernel %s: %s", name, unsupported);
    return RAPT_OK;
}

/* Mesa's CPU driver: a lane is a whole row there, and its division is the processor's own, which is
 * exact. */
static int on_cpu(const rapt_caps *caps)
{
    return (caps->features & RAPT_FEATURE_CPU_ROWS) != 0;
}

static uint32_t workgroup(const rapt_caps *caps, uint32_t wanted)
{
    uint32_t n = 1;
    while (n * 2 <= wanted && n * 2 <= caps->max_workgroup_invocations &&
           n * 2 <= caps->max_workgroup_size[0])
        n *= 2;
    return n;
}

static int find_row(rapt_type type)
{
    char name[64];
    snprintf(name, sizeof name, "append_%s_pt", rapt_type_name(type));
    return rapt_kernel_find(name);
}

rapt_status rapt_select_append(const rapt_caps *caps, const rapt_plan_params *params, int force,
                               struct rapt_kernel_choice *out_choice)
{
    memset(out_choice, 0, sizeof *out_choice);
    int cpu = on_cpu(caps), in_groups = params->kv_type == RAPT_TYPE_INT4 ||
                                        params->kv_type == RAPT_TYPE_Q8_0 ||
                                        params->kv_type == RAPT_TYPE_Q4_0;
    out_choice->kernel = force ? force - 1 : find_row(params->kv_type);
    rapt_status status = check_row(caps, out_choice->kernel);
    if (status != RAPT_OK)
        return status;
    uint32_t dim = params->head_dim > params->head_dim_v ? params->head_dim : params->head_dim_v;
    uint32_t chunks = dim / (in_groups ? 32 : 8), team = 1, span = 1;
    out_choice->workgroup_size = workgroup(caps, cpu ? CPU_WORKGROUP : GPU_WORKGROUP);
    while (team < chunks && team < 32 && team < out_choice->workgroup_size)
        team *= 2;
    if (cpu)
        span = params->n_kv_heads < CPU_SPAN ? params->n_kv_heads : CPU_SPAN;
    out_choice->rows = out_choice->workgroup_size / team;
    out_choice->block_kv = 1;
    out_choice->shared_bytes = 4 * out_choice->workgroup_size * span * (in_groups ? 3 : 1);
    const int rotates = params->rope && params->rope->pairing != RAPT_ROPE_NONE;
    out_choice->spec[RAPT_SPEC_WG_SIZE] = out_choice->workgroup_size;
    out_choice->spec[RAPT_SPEC_HEAD_DIM] = params->head_dim;
    out_choice->spec[RAPT_SPEC_HEAD_DIM_V] = params->head_dim_v;
    out_choice->spec[RAPT_SPEC_FEATURES] =
        (params->flags & RAPT_PLAN_PAGED ? RAPT_FEAT_PAGED : 0) | (rotates ? RAPT_FEAT_ROPE_Q : 0);
    out_choice->spec[RAPT_SPEC_Q_TYPE] = (uint32_t)params->new_type;
    out_choice->spec[RAPT_SPEC_TILE_A] = team;
    out_choice->spec[RAPT_SPEC_TILE_B] = (uint32_t)cpu;
    out_choice->spec[RAPT_SPEC_TILE_C] = span;
    out_choice->spec[RAPT_SPEC_TILE_D] = cpu && caps->min_subgroup_size >= out_choice->workgroup_size;
    return RAPT_OK;
}

rapt_status rapt_select_rotate_q(const rapt_caps *caps, const rapt_plan_params *params,
                                 struct rapt_kernel_choice *out_choice)
{
    memset(out_choice, 0, sizeof *out_choice);
    out_choice->kernel = rapt_kernel_find("rotate_q_lp");
    if ((caps->driver_major && caps->driver_major < 24) || !usable(caps, out_choice->kernel))
        out_choice->kernel = rapt_kernel_find("rotate_q_lps");
    rapt_status status = check_row(caps, out_choice->kernel);
    if (status != RAPT_OK)
        return status;
    out_choice->workgroup_size = workgroup(caps, CPU_WORKGROUP);
    out_choice->rows = out_choice->block_kv = 1;
    out_choice->spec[RAPT_SPEC_WG_SIZE] = out_choice->workgroup_size;
    out_choice->spec[RAPT_SPEC_HEAD_DIM] = params->head_dim;
    out_choice->spec[RAPT_SPEC_Q_TYPE] = (uint32_t)params->q_type;
    return RAPT_OK;
}

rapt_status rapt_select_copier(const rapt_caps *caps, int force,
                               struct rapt_kernel_choice *out_choice)
{
    memset(out_choice, 0, sizeof *out_choice);
    out_choice->kernel = rapt_kernel_find("copy_pages_lp");
    if (!on_cpu(caps) || (caps->driver_major && caps->driver_major < 24) ||
        !usable(caps, out_choice->kernel))
        out_choice->kernel = rapt_kernel_find("copy_pages_pt");
    if (force)
        out_choice->kernel = force - 1;
    out_choice->workgroup_size = workgroup(caps, on_cpu(caps) ? CPU_WORKGROUP : GPU_WORKGROUP);
    out_choice->rows = out_choice->block_kv = 1;
    out_choice->spec[RAPT_SPEC_WG_SIZE] = out_choice->workgroup_size;
    return check_row(caps, out_choice->kernel);
}
