/* SPDX-License-Identifier: Apache-2.0 */
#include "select_tiles.h"

#include "error.h"
#include "kv_format.h"
#include "tiles.h"

struct tile {
    uint32_t workgroup, tx, rows, keys, slice, v_keys, whole_q;
};

/* The first that fits is taken: large tiles read K and V less often. */
static const struct tile prefill_tiles[] = {
    {256, 16, 64, 64, 32, 16, 0}, {256, 16, 64, 32, 32, 16, 0}, {256, 32, 32, 64, 32, 8, 0},
    {256, 16, 32, 64, 32, 16, 0}, {256, 32, 16, 64, 32, 8, 0},  {128, 16, 32, 32, 16, 8, 0},
    {256, 16, 32, 32, 32, 16, 0}, {64, 8, 32, 32, 16, 8, 0},    {256, 32, 16, 32, 8, 4, 0},
    {256, 32, 8, 64, 16, 4, 0},   {128, 32, 8, 32, 8, 4, 0},    {64, 16, 8, 16, 8, 4, 0},
    {64, 32, 2, 32, 8, 4, 0},
};

/* Rows are those of the request's group: see decode_rows(). Where they are fewer than lanes / tx,
 * so are the lanes. */
static const struct tile decode_tiles[] = {
    {256, 32, 0, 64, 32, 16, 1}, {256, 32, 0, 64, 32, 8, 1}, {256, 32, 0, 64, 16, 8, 1},
    {256, 64, 0, 64, 16, 8, 1},  {256, 64, 0, 64, 16, 4, 1}, {256, 32, 0, 32, 16, 8, 1},
    {256, 32, 0, 32, 16, 4, 1},  {256, 32, 0, 32, 16, 8, 0}, {512, 64, 0, 64, 16, 4, 1},
    {512, 64, 0, 64, 16, 4, 0},  {256, 32, 0, 32, 8, 4, 0},  {128, 32, 0, 32, 8, 4, 0},
    {64, 32, 0, 32, 8, 4, 0},    {32, 16, 0, 16, 8, 4, 0},
};

/* Where lanes are loops and shared memory is memory, small tiles compile and run faster. */
static const struct tile cpu_tile = {256, 32, 16, 32, 32, 8, 0};

static uint32_t gcd_power(uint32_t power, uint32_t x)
{
    while (x % power != 0)
        power /= 2;
    return power;
}

/* Heads of a group side by side and, in small groups, a few tokens of a speculative step. */
static uint32_t decode_rows(const struct rapt_select_request *request)
{
    uint32_t group = request->n_q_heads / request->n_kv_heads, rows = 4;
    while (rows < group && rows < 16)
        rows *= 2;
    return rows;
}

static uint32_t lane_registers(const struct tile *tile, const struct rapt_select_request *request)
{
    uint32_t rows = tile->rows / (tile->workgroup / tile->tx), keys = tile->keys / tile->tx;
    uint32_t k_words = tile->keys * tile->slice / tile->workgroup;
    uint32_t v_words = tile->v_keys * request->head_dim_v / tile->workgroup;
    if (request->kv_type != RAPT_TYPE_F32) {
        uint32_t per_word = rapt_type_bytes(request->kv_type) == 2 ? 2 : 4; /* scales come on top */
        k_words /= per_word;
        v_words /= per_word;
    }
    /* Quantizing Q and scaling the sums of integers takes some more; so do terms of logits, lists,
     * and turning Q. */
    uint32_t more = request->integer_dot == RAPT_CHOICE_ALWAYS ? 3 * rows + rows * keys : 0;
    if (request->features & (RAPT_FEAT_ALIBI | RAPT_FEAT_BIAS_F32 | RAPT_FEAT_BIAS_F16))
        more += 2 * rows;
    if (request->features & RAPT_FEAT_BLOCKS)
        more += 2 * rows;
    if (request->features & RAPT_FEAT_ROPE_Q)
        more += 6;
    return 2 * rows * rapt_tile_lane_dims(request->head_dim_v, tile->tx) + rows * keys + 8 * rows +
           (k_words > v_words ? k_words : v_words) + more;
}

uint32_t rapt_select_keys_asked(const struct rapt_select_request *request)
{
    return request->pages_per_block ? request->pages_per_block * request->page_size
                                    : request->block_kv;
}

uint32_t rapt_select_shared_limit(const rapt_caps *caps, const struct rapt_select_request *request)
{
    uint32_t limit = request->shared_memory_limit;
    return limit && limit < caps->max_shared_memory ? limit : caps->max_shared_memory;
}

void rapt_select_fill_sizes(const struct rapt_select_request *request, uint32_t lanes,
                            uint32_t rows, uint32_t keys, struct rapt_kernel_choice *choice)
{
    choice->workgroup_size = lanes;
    choice->rows = rows;
    choice->block_kv = keys;
    choice->spec[RAPT_SPEC_HEAD_DIM] = request->head_dim;
    choice->spec[RAPT_SPEC_HEAD_DIM_V] = request->head_dim_v;
    choice->spec[RAPT_SPEC_BLOCK_Q] = rows;
    choice->spec[RAPT_SPEC_BLOCK_KV] = keys;
}

uint32_t rapt_select_key_bytes(const struct rapt_select_request *request)
{
    return rapt_tile_key_bytes(rapt_kv_row_scales(request->kv_type, request->head_dim) != 0,
                               request->n_kv_segments > 1);
}

/* The tile with the caller's rows and keys: fewer lanes where they do not divide. */
static struct tile apply_knobs(struct tile tile, const struct rapt_select_request *request,
                               int decode)
{
    uint32_t keys = rapt_select_keys_asked(request);
    uint32_t ty = tile.workgroup / tile.tx;
    if (decode)
        tile.rows = decode_rows(request);
    else if (request->block_q)
        tile.rows = request->block_q;
    if (keys)
        tile.keys = keys;
    if (request->integer_dot == RAPT_CHOICE_ALWAYS) { /* shaders/lib/tile_dot.glsl */
        tile.slice = 32;
        tile.whole_q = 1;
    }
    tile.tx = gcd_power(tile.tx, tile.keys);
    tile.v_keys = gcd_power(tile.v_keys, tile.keys);
    ty = gcd_power(ty, tile.rows);
    tile.workgroup = tile.tx * ty;
    return tile;
}

static void fill_choice(const struct tile *tile, const struct rapt_select_request *request,
                        struct rapt_kernel_choice *choice)
{
    rapt_select_fill_sizes(request, tile->workgroup, tile->rows, tile->keys, choice);
    choice->spec[RAPT_SPEC_TILE_A] = tile->slice;
    choice->spec[RAPT_SPEC_TILE_B] = tile->tx;
    choice->spec[RAPT_SPEC_TILE_C] = tile->v_keys;
    choice->spec[RAPT_SPEC_TILE_D] = tile->whole_q;
    uint32_t key_bytes = rapt_select_key_bytes(request);
    choice->shared_bytes = request->integer_dot == RAPT_CHOICE_ALWAYS
                               ? rapt_tile_dot_shared_bytes(choice->spec, key_bytes)
                               : rapt_tile_shared_bytes(choice->spec, key_bytes);
}

static uint32_t registers_of(const struct rapt_kernel_choice *choice,
                             const struct rapt_select_request *request)
{
    struct tile tile = {
        .workgroup = choice->workgroup_size,
        .tx = choice->spec[RAPT_SPEC_TILE_B],
        .rows = choice->rows,
        .keys = choice->block_kv,
        .slice = choice->spec[RAPT_SPEC_TILE_A],
        .v_keys = choice->spec[RAPT_SPEC_TILE_C],
    };
    return lane_registers(&tile, request);
}

int rapt_select_tile_spills(const rapt_caps *caps, const struct rapt_kernel_choice *choice,
                            const struct rapt_select_request *request)
{
    return registers_of(choice, request) > rapt_select_budget(caps).registers;
}

/* Whether a tile can be had on the device in a pass: 0 wants it within the whole budget, 1 within
 * the registers that do not spill, 2 within limits. */
static int tile_fits(const rapt_caps *caps, const struct rapt_select_request *request,
                     const struct rapt_kernel_choice *choice, int decode, int pass)
{
    const struct rapt_tile_budget budget = rapt_select_budget(caps);
    uint32_t registers = registers_of(choice, request), lanes = choice->workgroup_size;
    if (pass == 0 && !decode)
        return registers <= budget.prefill_registers && choice->rows >= 16;
    /* tiles of four rows that share less do less, too: by the same estimate no gain */
    if (pass == 0)
        return registers <= budget.decode_registers &&
               choice->shared_bytes <=
                   (choice->rows > 4 ? budget.decode_shared_bytes : 128) * lanes;
    return pass == 2 || registers <= budget.registers;
}

uint32_t rapt_select_most_lanes(const rapt_caps *caps, uint32_t subgroup_size)
{
    uint32_t lanes = caps->max_workgroup_invocations < caps->max_workgroup_size[0]
                         ? caps->max_workgroup_invocations
                         : caps->max_workgroup_size[0];
    uint32_t in_subgroups = subgroup_size * caps->max_workgroup_subgroups;
    return in_subgroups && in_subgroups < lanes ? in_subgroups : lanes;
}

uint32_t rapt_select_n_tiles(int decode)
{
    return 1 + (uint32_t)(decode ? sizeof decode_tiles / sizeof *decode_tiles
                                 : sizeof prefill_tiles / sizeof *prefill_tiles);
}

rapt_status rapt_select_tile(const rapt_caps *caps, const struct rapt_select_request *request,
                             int decode, struct rapt_kernel_choice *choice)
{
    const struct tile *tiles = decode ? decode_tiles : prefill_tiles;
    size_t n_tiles = rapt_select_n_tiles(decode);
    const struct rapt_tile_budget budget = rapt_select_budget(caps);
    uint32_t limit = rapt_select_shared_limit(caps, request), least = UINT32_MAX;
    uint32_t lanes = rapt_select_most_lanes(caps, budget.subgroup_size);
    uint32_t keys = rapt_select_keys_asked(request);
    int asked = keys || (request->block_q && !decode) || request->shared_memory_limit;
    if (keys % 4 != 0)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "a tile of %u keys: expected a multiple of 4", keys);
    /* First within the budget, then within its registers, then whatever the device can hold. */
    for (int pass = decode || budget.prefill_registers ? 0 : 1; pass < 3; pass++)
        for (size_t i = 0; i < n_tiles; i++) {
            int cpu = caps->device_type == VK_PHYSICAL_DEVICE_TYPE_CPU;
            if ((i == 0 && !cpu) || (request->listed && i + 1 != request->listed))
                continue;
            struct tile tile = apply_knobs(i == 0 ? cpu_tile : tiles[i - 1], request, decode);
            fill_choice(&tile, request, choice);
            choice->required_subgroup_size = budget.subgroup_size;
            if (tile.workgroup > lanes)
                continue;
            least = choice->shared_bytes < least ? choice->shared_bytes : least;
            if (choice->shared_bytes <= limit &&
                (i == 0 || tile_fits(caps, request, choice, decode, pass)))
                return RAPT_OK;
        }
    return rapt_fail(asked ? RAPT_ERROR_ARGUMENT : RAPT_ERROR_UNSUPPORTED,
                     "a tile of %u rows and %u keys takes at least %u bytes of shared memory: the "
                     "limit is %u",
                     choice->rows, choice->block_kv, least, limit);
}
