/* SPDX-License-Identifier: Apache-2.0 */
#include "select_matrix2.h"

#include "select_matrix.h"
#include "select_tiles.h"
#include "tiles.h"
#include "tiles2.h"

#define STEP_DIMS 64u         /* of K and V in a matrix, of V half where shared memory is short */
#define OUTPUT_REGISTERS 128u /* of a lane */

struct tile {
    uint32_t m, n_s, n_o, k_s; /* as in tiles2.h */
    uint32_t rows, keys, workgroup;
};

static uint32_t round_up(uint32_t x, uint32_t unit)
{
    return (x + unit - 1) / unit * unit;
}

/* Dims of a step: few steps, all of them nearly full. */
static uint32_t step_of(uint32_t dims, uint32_t most, uint32_t unit)
{
    uint32_t parts = (dims + most - 1) / most;
    return round_up((dims + parts - 1) / parts, unit);
}

static void fill_choice(const struct tile *tile, const struct rapt_select_request *request,
                        struct rapt_kernel_choice *choice)
{
    rapt_select_fill_sizes(request, tile->workgroup, tile->rows, tile->keys, choice);
    choice->spec[RAPT_SPEC_TILE_A] = tile->m | tile->n_s << 8;
    choice->spec[RAPT_SPEC_TILE_B] = tile->n_o | tile->k_s << 8;
    choice->spec[RAPT_SPEC_TILE_C] = 0;
    choice->spec[RAPT_SPEC_TILE_D] = 0;
    choice->shared_bytes =
        rapt_tile_matrix2_shared_bytes(choice->spec, rapt_select_key_bytes(request));
}

static const char *no_tile(const struct rapt_select_request *request)
{
    return request->block_q || rapt_select_keys_asked(request) || request->shared_memory_limit
               ? "no tile of that block_q, block_kv and shared_memory_limit"
               : "no tile of these head dims fits registers and shared memory";
}

/* ------------------------------------------------------------------- matrices of a workgroup */

/* Whether entry i takes a tile of these rows, keys and dims of V. */
static int tensor_fits(const rapt_caps *caps, uint32_t i, const struct rapt_select_request *request,
                       uint32_t rows, uint32_t keys, uint32_t dims,
                       struct rapt_kernel_choice *choice)
{
    const uint32_t m = caps->coopmat2_shapes[i].m, n = caps->coopmat2_shapes[i].n;
    const uint32_t k = caps->coopmat2_shapes[i].k, lanes = caps->coopmat2_shapes[i].workgroup;
    uint32_t shared = rapt_select_shared_limit(caps, request), most = caps->coopmat2_max_dimension;
    most = most && most < 255 ? most : 255;
    if (!m || !n || !k || !lanes || rows % m != 0 || keys % n != 0 || keys % k != 0)
        return 0;
    /* what shaders copy: eights of Q, fours of the output */
    const struct tile tile = {
        .m = rows,
        .n_s = keys,
        .n_o = step_of(request->head_dim_v, dims, n > 4 ? n : 4),
        .k_s = step_of(request->head_dim, STEP_DIMS, k > 8 ? k : 8),
        .rows = rows,
        .keys = keys,
        .workgroup = lanes,
    };
    fill_choice(&tile, request, choice);
    uint32_t output = rows * round_up(request->head_dim_v, tile.n_o) / lanes;
    return shared > caps->coopmat2_shared_bytes &&
           choice->shared_bytes <= shared - caps->coopmat2_shared_bytes && rows <= most &&
           keys <= most && tile.n_o <= most && tile.k_s <= most && output <= OUTPUT_REGISTERS &&
           lanes <= caps->max_workgroup_invocations && lanes <= caps->max_workgroup_size[0] &&
           (!caps->coopmat2_max_workgroup || lanes <= caps->coopmat2_max_workgroup);
}

static int is_float_entry(const rapt_caps *caps, uint32_t i)
{
    return caps->coopmat2_shapes[i].a == COMPONENT_F16 &&
           caps->coopmat2_shapes[i].b == COMPONENT_F16 &&
           caps->coopmat2_shapes[i].c == COMPONENT_F32 &&
           caps->coopmat2_shapes[i].r == COMPONENT_F32;
}

const char *rapt_select_tensor_tile(const rapt_caps *caps,
                                    const struct rapt_select_request *request,
                                    struct rapt_kernel_choice *choice)
{
    static const uint32_t rows[] = {64, 32, 16}, keys[] = {64, 32, 16};
    uint32_t asked = rapt_select_keys_asked(request), n_entries = 0;
    for (uint32_t i = 0; i < caps->n_coopmat2_shapes; i++)
        n_entries += (uint32_t)is_float_entry(caps, i);
    if (n_entries == 0)
        return "the device has no flexible matrices of f16 with sums of f32 for workgroups";
    /* a tensor begins on 16 bytes, and where a descriptor begins nothing else is known of */
    if (caps->storage_buffer_alignment % 16 != 0)
        return "storage buffers of the device may begin off 16 bytes";
    choice->required_subgroup_size = 0;
    for (int r = 0; r < (request->block_q ? 1 : 3); r++)
        for (int k = 0; k < (asked ? 1 : 3); k++)
            for (uint32_t i = 0; i < 2 * caps->n_coopmat2_shapes; i++) {
                uint32_t entry = i % caps->n_coopmat2_shapes;
                uint32_t dims = i == entry ? STEP_DIMS : STEP_DIMS / 2;
                if (is_float_entry(caps, entry) &&
                    tensor_fits(caps, entry, request, request->block_q ? request->block_q : rows[r],
                                asked ? asked : keys[k], dims, choice))
                    return NULL;
            }
    return no_tile(request);
}

/* -------------------------------------------------------------------- matrices of a subgroup */

/* Weights are sums of one product and factors of the next: as wide as deep. */
static int find_square(const rapt_caps *caps, struct tile *tile)
{
    static const uint32_t shapes[][2] = {{16, 16}, {8, 16}, {8, 8}}; /* M, N = K */
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++)
        if (rapt_select_has_matrix(caps, shapes[s][0], shapes[s][1], shapes[s][1])) {
            tile->m = shapes[s][0];
            tile->n_s = tile->n_o = tile->k_s = shapes[s][1];
            return 1;
        }
    return 0;
}

const char *rapt_select_matrix2_tile(const rapt_caps *caps,
                                     const struct rapt_select_request *request,
                                     struct rapt_kernel_choice *choice)
{
    static const uint32_t rows[] = {64, 32, 16, 8}, keys[] = {32, 16};
    uint32_t asked = rapt_select_keys_asked(request);
    struct tile tile = {0};
    int ask_size, is_cpu = caps->device_type == VK_PHYSICAL_DEVICE_TYPE_CPU;
    if (!find_square(caps, &tile))
        return "the device has no matrices of f16 with sums of f32 as wide as deep";
    uint32_t subgroup = rapt_select_matrix_subgroup(caps, &ask_size);
    if (subgroup == 0)
        return "subgroups may have several sizes, and none can be asked for";
    uint32_t lanes = rapt_select_matrix_lanes(caps, subgroup);
    choice->required_subgroup_size = ask_size ? subgroup : 0;
    /* on a CPU a product is a page of code, and tiles are to be small */
    for (int r = request->block_q ? 3 : is_cpu ? 2 : 0; r < 4; r++)
        for (int k = is_cpu || asked ? 1 : 0; k < 2; k++) {
            tile.rows = request->block_q ? request->block_q : rows[r];
            tile.keys = asked ? asked : keys[k];
            tile.workgroup = tile.rows / tile.m * subgroup;
            if (tile.rows % tile.m != 0 || tile.keys % tile.n_s != 0 || tile.workgroup > lanes)
                continue;
            fill_choice(&tile, request, choice);
            choice->spec[RAPT_SPEC_SUBGROUP] = subgroup;
            if (choice->shared_bytes <= rapt_select_shared_limit(caps, request))
                return NULL;
        }
    return no_tile(request);
}
