/* SPDX-License-Identifier: Apache-2.0 */
#include "select_cpu.h"

#include "kernel_table.h"

#include <stdio.h>
#include <string.h>

/* From so many dims on prefill_lp keeps the weights of a number of keys and adds V in loops of
 * their own: a loop over both would be more code than processors keep decoded. */
enum { KEPT_FROM_DIMS = 449, KEPT_MOST_DIMS = 512, KEPT_KEYS = 64 };

/* Rows per lane and keys per step are bounded by registers and by the size of the unrolled loop. */
static const struct rapt_cpu_family families[] = {
    {"lp", 26, 9999, 1, 0, 1, 2048, 0},
    {"lpb", 24, 25, 2, 4, 8, 4096, 8},
    {"lps", 1, 23, 4, 0, 1, 1024, 0},
};
#define N_FAMILIES (sizeof families / sizeof families[0])

const struct rapt_cpu_family *rapt_select_cpu_family(int kernel)
{
    for (size_t i = 0; i < N_FAMILIES; i++) {
        char end[16];
        snprintf(end, sizeof end, "_%s", families[i].path);
        if (rapt_kernel_name_ends(kernel, end))
            return &families[i];
    }
    return NULL;
}

const struct rapt_cpu_family *rapt_select_cpu_version(uint32_t major)
{
    for (size_t i = 0; i < N_FAMILIES; i++)
        if (major >= families[i].major_min && major <= families[i].major_max)
            return &families[i];
    return NULL;
}

/* Whether prefill does; what it gains was measured on the versions that the family is meant for. */
static int keeps_weights(const struct rapt_cpu_family *family, const rapt_caps *caps,
                         const struct rapt_select_request *request, uint32_t rows)
{
    return strcmp(family->path, "lp") == 0 && caps->driver_major >= family->major_min &&
           rows == 1 && request->head_dim + request->head_dim_v >= KEPT_FROM_DIMS &&
           request->head_dim <= KEPT_MOST_DIMS && request->head_dim_v <= KEPT_MOST_DIMS;
}

int rapt_select_cpu_tile(const struct rapt_cpu_family *family, const rapt_caps *caps,
                         const struct rapt_select_request *request, uint32_t *out_rows,
                         uint32_t *out_keys)
{
    uint32_t dims = request->head_dim + request->head_dim_v, lanes = caps->subgroup_size;
    uint32_t rows = family->rows_per_lane, keys = 8;
    while (rows > 1 && rows * dims > family->rows_per_lane * 256)
        rows /= 2;
    if (request->block_q) {
        rows = request->block_q / lanes;
        if (request->block_q % lanes != 0 || (rows != 1 && rows != 2 && rows != 4))
            return 0;
    }
    if (keeps_weights(family, caps, request, rows))
        dims = request->head_dim; /* K's loop has no V in it */
    while (keys > family->keys_min && keys * rows * dims > family->step_limit)
        keys /= 2;
    if (request->block_kv) {
        keys = request->block_kv;
        if (keys > 8 || (keys & (keys - 1)) != 0 || keys < family->keys_min)
            return 0;
    }
    *out_rows = rows;
    *out_keys = keys;
    return request->pages_per_block == 0;
}

/* Prefill of single sequences keeps the smaller tiles: of 16 rows or fewer the larger take a
 * quarter longer (docs/lavapipe.md). */
uint32_t rapt_select_cpu_shared(const rapt_caps *caps, const struct rapt_select_request *request)
{
    struct rapt_selection selection;
    if (request->block_q || request->block_kv || request->tile_prefill ||
        request->head_dim + request->head_dim_v > 256 ||
        rapt_select(caps, request, &selection) != RAPT_OK)
        return 0;
    const struct rapt_cpu_family *family = rapt_select_cpu_family(selection.prefill.kernel);
    if (!family || strcmp(selection.prefill_tile.from, "the user's table") == 0)
        return 0;
    return family->rows_shared * caps->subgroup_size;
}

void rapt_select_cpu_prefill(const struct rapt_cpu_family *family, const rapt_caps *caps,
                             const struct rapt_select_request *request,
                             struct rapt_kernel_choice *choice)
{
    uint32_t rows = 1, keys = 8;
    rapt_select_cpu_tile(family, caps, request, &rows, &keys);
    choice->workgroup_size = caps->subgroup_size;
    choice->rows = caps->subgroup_size * rows;
    choice->block_kv = 8;
    choice->spec[RAPT_SPEC_SUBGROUP] = caps->subgroup_size;
    choice->spec[RAPT_SPEC_TILE_A] = keys;
    choice->spec[RAPT_SPEC_TILE_B] = rows;
    choice->spec[RAPT_SPEC_TILE_C] = keeps_weights(family, caps, request, rows) ? KEPT_KEYS : 0;
}

void rapt_select_cpu_decode(const rapt_caps *caps, const struct rapt_select_request *request,
                            struct rapt_kernel_choice *choice)
{
    uint32_t group = request->n_q_heads / request->n_kv_heads;
    uint32_t rows = group >= 4 ? 4 : group >= 2 ? 2 : 1;
    while (rows > 1 && rows * (request->head_dim + request->head_dim_v) > 1024)
        rows /= 2;
    choice->workgroup_size = caps->subgroup_size;
    choice->rows = rows;
    choice->block_kv = caps->subgroup_size;
    choice->spec[RAPT_SPEC_SUBGROUP] = caps->subgroup_size;
    choice->spec[RAPT_SPEC_TILE_A] = 1;
    choice->spec[RAPT_SPEC_TILE_B] = rows;
}
