/* SPDX-License-Identifier: Apache-2.0 */
#include "select_matrix.h"

#include "numbers.h"
#include "select_tiles.h"
#include "tiles.h"

#define SLICE_DIMS 64u /* of K and V on their way through shared memory */
#define FEW_ROWS_LANES 256u
#define LEAN_BYTES 32768u /* two workgroups at once, where as much is usual as Vulkan knows */

struct shape {
    uint32_t m, n, k;
};

struct matrix_tile {
    struct shape shape;
    uint32_t subgroup, rows, keys, columns, slice;
    int ask_size; /* subgroups of that size are to be asked for */
    int lean;     /* shaders/tiles.h */
};

static const struct shape shapes[] = {
    {16, 16, 16}, {8, 16, 16}, {16, 8, 16}, {8, 8, 16}, {8, 8, 8}};

int rapt_select_has_matrix(const rapt_caps *caps, uint32_t m, uint32_t n, uint32_t k)
{
    for (uint32_t i = 0; i < caps->n_coopmat_shapes; i++)
        if (caps->coopmat_shapes[i].m == m && caps->coopmat_shapes[i].n == n &&
            caps->coopmat_shapes[i].k == k && caps->coopmat_shapes[i].a == COMPONENT_F16 &&
            caps->coopmat_shapes[i].b == COMPONENT_F16 &&
            caps->coopmat_shapes[i].c == COMPONENT_F32 &&
            caps->coopmat_shapes[i].r == COMPONENT_F32)
            return 1;
    return 0;
}

uint32_t rapt_select_matrix_lanes(const rapt_caps *caps, uint32_t subgroup)
{
    uint32_t lanes = rapt_min_u32(caps->max_workgroup_invocations, caps->max_workgroup_size[0]);
    if (caps->max_workgroup_subgroups)
        lanes = rapt_min_u32(lanes, subgroup * caps->max_workgroup_subgroups);
    return lanes;
}

uint32_t rapt_select_matrix_subgroup(const rapt_caps *caps, int *out_ask)
{
    uint32_t wanted = rapt_select_budget(caps).matrix_subgroup_size;
    *out_ask = caps->min_subgroup_size != caps->max_subgroup_size;
    if (!*out_ask)
        return caps->subgroup_size;
    if (!(caps->features & RAPT_FEATURE_SUBGROUP_SIZE_CONTROL))
        return 0;
    return rapt_max_u32(caps->min_subgroup_size, rapt_min_u32(caps->max_subgroup_size, wanted));
}

/* Scales of 32 dims, which the sums over them are multiplied with. */
static int is_blocked(rapt_type type)
{
    return type == RAPT_TYPE_INT4 || type == RAPT_TYPE_Q8_0 || type == RAPT_TYPE_Q4_0;
}

/* Dims of a slice: few slices, all of them nearly full. */
static uint32_t slice_of(uint32_t dims, uint32_t unit)
{
    uint32_t parts = (dims + SLICE_DIMS - 1) / SLICE_DIMS;
    return ((dims + parts - 1) / parts + unit - 1) / unit * unit;
}

static uint32_t slice_for(const struct matrix_tile *tile, const struct rapt_select_request *request)
{
    return slice_of(
        rapt_max_u32(request->head_dim, request->head_dim_v),
        rapt_max_u32(tile->columns * tile->shape.n, is_blocked(request->kv_type) ? 32 : 16));
}

/* Lanes that share a row of the softmax: LANES of the kernel. */
static uint32_t softmax_lanes(const struct matrix_tile *tile)
{
    uint32_t rows = tile->shape.m / tile->columns;
    uint32_t lanes = tile->subgroup > rows ? tile->subgroup / rows : 1;
    return rapt_min_u32(lanes, tile->keys / 4);
}

static uint32_t workgroup_of(const struct matrix_tile *tile)
{
    return tile->rows / tile->shape.m * tile->columns * tile->subgroup;
}

/* What lists, terms of logits and scaled sums take besides. */
static uint32_t more_registers(const struct matrix_tile *tile,
                               const struct rapt_select_request *request)
{
    uint32_t more = request->kv_type == RAPT_TYPE_BF16 ? 7 : 0;
    if (is_blocked(request->kv_type))
        more = tile->keys > 4 * softmax_lanes(tile) ? 18 : 7;
    if (request->features & RAPT_FEAT_BLOCKS)
        more += 9;
    if (request->features & (RAPT_FEAT_ALIBI | RAPT_FEAT_BIAS_F32 | RAPT_FEAT_BIAS_F16))
        more += 9;
    return more;
}

/* Registers of a lane: its share of output and weights, the loads on their way with their
 * addresses, and what stays the same. Fitted to what Intel's compiler needs for some fifty tiles,
 * within 8 of all that fit; NVIDIA's takes about as many, AMD's no more. */
static uint32_t lane_registers(const struct matrix_tile *tile,
                               const struct rapt_select_request *request)
{
    uint32_t dims_v = request->head_dim_v, lanes = tile->subgroup;
    uint32_t padded = (dims_v + tile->slice - 1) / tile->slice * tile->slice;
    uint32_t output = tile->shape.m * padded / tile->columns / lanes;
    uint32_t weights = tile->shape.m * tile->keys / lanes / 2;
    uint32_t eights = tile->keys * tile->slice / 8, all = workgroup_of(tile);
    return 67 + output * 9 / 8 + weights * 7 / 5 + (eights + all - 1) / all * 15 +
           more_registers(tile, request);
}

/* Whether subgroups that keys are too few for can share the dims of a slice of K. */
static int has_whole_parts(const struct matrix_tile *tile,
                           const struct rapt_select_request *request)
{
    uint32_t slice = slice_for(tile, request), width = tile->columns * tile->shape.n;
    uint32_t parts = width > tile->keys ? width / tile->keys : 1, dims = slice / parts;
    return slice % (parts * tile->shape.k) == 0 &&
           (!is_blocked(request->kv_type) || dims % 32 == 0 || 32 % dims == 0);
}

static int is_whole(const struct matrix_tile *tile)
{
    uint32_t m = tile->shape.m, columns = tile->columns, lanes = softmax_lanes(tile);
    uint32_t width = columns * tile->shape.n;
    return tile->rows % m == 0 && m % columns == 0 && tile->keys % tile->shape.n == 0 &&
           (tile->keys % width == 0 || width % tile->keys == 0) &&
           tile->keys % tile->shape.k == 0 && tile->keys % (4 * lanes) == 0 &&
           (m / columns * lanes % tile->subgroup == 0 || m / columns * lanes < tile->subgroup);
}

static void fill_choice(const struct matrix_tile *tile, const struct rapt_select_request *request,
                        struct rapt_kernel_choice *choice)
{
    rapt_select_fill_sizes(request, workgroup_of(tile), tile->rows, tile->keys, choice);
    choice->required_subgroup_size = tile->ask_size ? tile->subgroup : 0;
    choice->spec[RAPT_SPEC_SUBGROUP] = tile->subgroup;
    choice->spec[RAPT_SPEC_TILE_A] = tile->shape.m | tile->shape.n << 8 | tile->shape.k << 16;
    choice->spec[RAPT_SPEC_TILE_B] = 1 | tile->columns << 8;
    choice->spec[RAPT_SPEC_TILE_C] = tile->slice;
    choice->spec[RAPT_SPEC_TILE_D] = (uint32_t)tile->lean;
    choice->shared_bytes = rapt_tile_matrix_shared_bytes(
        choice->spec, rapt_select_key_bytes(request), is_blocked(request->kv_type));
}

/* Whether the tile with these rows, keys and columns does; the choice is what it would be. */
static int try_tile(const rapt_caps *caps, const struct rapt_select_request *request,
                    struct matrix_tile *tile, uint32_t most, struct rapt_kernel_choice *choice)
{
    tile->slice = slice_for(tile, request);
    if (!is_whole(tile) || (tile->lean && !has_whole_parts(tile, request)))
        return 0;
    fill_choice(tile, request, choice);
    return choice->shared_bytes <= rapt_select_shared_limit(caps, request) &&
           choice->workgroup_size <= rapt_select_matrix_lanes(caps, tile->subgroup) &&
           lane_registers(tile, request) <= most;
}

/* The shape and the size of subgroups that all tiles of a device have. NULL, or why there are none.
 */
static const char *begin_tile(const rapt_caps *caps, struct matrix_tile *tile,
                              uint32_t *out_registers)
{
    int found = -1;
    for (int i = 0; found < 0 && i < (int)(sizeof shapes / sizeof shapes[0]); i++)
        if (rapt_select_has_matrix(caps, shapes[i].m, shapes[i].n, shapes[i].k))
            found = i;
    if (found < 0)
        return "the device has no matrices of f16 with sums of f32 in a shape they know";
    tile->shape = shapes[found];
    tile->subgroup = rapt_select_matrix_subgroup(caps, &tile->ask_size);
    if (tile->subgroup == 0)
        return "subgroups may have several sizes, and none can be asked for";
    *out_registers = rapt_select_budget(caps).matrix_registers;
    if (caps->device_type == VK_PHYSICAL_DEVICE_TYPE_CPU) /* where registers are memory */
        *out_registers = 1u << 20;
    return NULL;
}

/* Where a product is a page of code, tiles are to be small. */
static int first_keys(const rapt_caps *caps)
{
    return caps->device_type == VK_PHYSICAL_DEVICE_TYPE_CPU ? 2 : 0;
}

static const uint32_t tile_keys[] = {64, 32, 16};

static const char *no_tile(const struct rapt_select_request *request)
{
    return request->block_q || rapt_select_keys_asked(request) || request->shared_memory_limit
               ? "no tile of that block_q, block_kv and shared_memory_limit"
               : "a tile of these head dims would spill registers or fill shared memory";
}

const char *rapt_select_matrix_tile(const rapt_caps *caps,
                                    const struct rapt_select_request *request,
                                    struct rapt_kernel_choice *choice)
{
    static const uint32_t rows[] = {64, 32, 16, 8};
    uint32_t asked = rapt_select_keys_asked(request), most;
    struct matrix_tile tile = {0};
    const char *why = begin_tile(caps, &tile, &most);
    if (why)
        return why;
    /* First with at least half of the subgroups at work on the scores. */
    for (int pass = 0; pass < 2; pass++)
        for (int r = 0; r < (request->block_q ? 1 : 4); r++)
            for (int k = first_keys(caps); k < 3; k++)
                for (tile.columns = 1; tile.columns <= 8; tile.columns *= 2) {
                    tile.rows = request->block_q ? request->block_q : rows[r];
                    tile.keys = asked ? asked : tile_keys[k];
                    int idle = tile.columns * tile.shape.n > 2 * tile.keys;
                    if (idle == pass && try_tile(caps, request, &tile, most, choice))
                        return NULL;
                }
    return no_tile(request);
}

/* A tile that leaves so little of shared memory to itself that subgroups enough to wait for memory
 * run at once: first with as many as the device's budget says, then with half of them; where more
 * keys do not fit, wider workgroups share a tile. */
static int try_lean(const rapt_caps *caps, const struct rapt_select_request *request,
                    struct matrix_tile *tile, uint32_t most, struct rapt_kernel_choice *choice)
{
    static const uint32_t columns[] = {4, 8};
    uint64_t bytes = rapt_select_budget(caps).few_rows_shared_bytes;
    uint32_t asked = rapt_select_keys_asked(request);
    /* 16 keys take half as many cycles again as 32 do */
    const int first = first_keys(caps), end = first < 2 ? 2 : 3;
    tile->rows = request->block_q ? request->block_q : 16;
    for (int pass = 0; bytes && pass < 2; pass++, bytes *= 2)
        for (int k = first; k < end; k++)
            for (int c = 0; c < 2; c++)
                for (tile->lean = 0; tile->lean < 2; tile->lean++) {
                    tile->keys = asked ? asked : tile_keys[k];
                    tile->columns = columns[c];
                    if (workgroup_of(tile) <= FEW_ROWS_LANES &&
                        (tile->lean || tile->columns * tile->shape.n <= tile->keys) &&
                        try_tile(caps, request, tile, most, choice) &&
                        choice->shared_bytes <= bytes * choice->workgroup_size &&
                        choice->shared_bytes <= LEAN_BYTES)
                        return 1;
                }
    return 0;
}

/* Any that fits: first with all subgroups at work on the scores, then with more of them, in
 * workgroups that leave room for others. */
static int try_few_rows(const rapt_caps *caps, const struct rapt_select_request *request,
                        struct matrix_tile *tile, uint32_t most, struct rapt_kernel_choice *choice)
{
    static const uint32_t rows[] = {16, 8};
    uint32_t asked = rapt_select_keys_asked(request);
    for (int pass = 0; pass < 3; pass++)
        for (int r = 0; r < (request->block_q ? 1 : 2); r++)
            for (int k = first_keys(caps); k < 3; k++)
                for (tile->columns = 8; tile->columns >= 1; tile->columns /= 2) {
                    tile->rows = request->block_q ? request->block_q : rows[r];
                    tile->keys = asked ? asked : tile_keys[k];
                    uint32_t width = tile->columns * tile->shape.n;
                    int large = width > 2 * tile->keys || workgroup_of(tile) > FEW_ROWS_LANES;
                    /* what compilers were seen to take beyond the formula */
                    uint32_t more = request->head_dim_v > 128 ? 4 : 0;
                    if (request->kv_type == RAPT_TYPE_FP8_E4M3 && request->head_dim_v > 256 &&
                        tile->keys > 32)
                        more += 64;
                    tile->lean = width > tile->keys && has_whole_parts(tile, request);
                    if ((large ? 2 : width > tile->keys) == pass &&
                        try_tile(caps, request, tile, most - more, choice))
                        return 1;
                }
    return 0;
}

const char *rapt_select_few_rows_tile(const rapt_caps *caps,
                                      const struct rapt_select_request *request,
                                      struct rapt_kernel_choice *choice)
{
    uint32_t most;
    struct matrix_tile tile = {0};
    const char *why = begin_tile(caps, &tile, &most);
    if (why)
        return why;
    return try_lean(caps, request, &tile, most, choice) ||
                   try_few_rows(caps, request, &tile, most, choice)
               ? NULL
               : no_tile(request);
}

void rapt_select_matrix_candidates(const rapt_caps *caps, uint32_t most_rows,
                                   struct rapt_tile_source *source)
{
    int cpu = caps->device_type == VK_PHYSICAL_DEVICE_TYPE_CPU;
    uint32_t rows = cpu ? 16 : most_rows, keys = cpu ? 16 : 64;
    for (uint32_t i = 0; i < 4; i++) {
        source->rows[i] = rows >> i >= 8 ? rows >> i : 0;
        source->keys[i] = i < (cpu ? 1 : 3) ? keys >> i : 0;
    }
}
