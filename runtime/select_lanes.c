/* SPDX-License-Identifier: Apache-2.0 */
#include "select_lanes.h"

#include "numbers.h"
#include "select_rows.h"
#include "select_tiles.h"
#include "tiles.h"

#define WORKGROUP 128u /* two or more subgroups, and room for others beside them */
#define MOST_KEYS 16u  /* an item's first key is met at a multiple of the keys of a lane group */

/* What `rapt tune` may try instead: dims of the output in a lane, keys of a lane group. */
static const struct {
    uint32_t dims, keys;
} listed_tiles[] = {{32, 4}, {16, 8}, {16, 4}, {16, 2}, {8, 8}, {8, 4}, {8, 2}};

uint32_t rapt_select_n_lanes_tiles(void)
{
    return (uint32_t)(sizeof listed_tiles / sizeof *listed_tiles);
}

/* The heads of a group side by side. */
static uint32_t rows_of(const struct rapt_select_request *request)
{
    uint32_t group = request->n_q_heads / request->n_kv_heads, rows = 1;
    while (rows < group && rows < RAPT_LANES_MOST_ROWS)
        rows *= 2;
    return rows;
}

static uint32_t log2_of(uint32_t power)
{
    uint32_t n = 0;
    while (power >> n > 1)
        n++;
    return n;
}

/* Lanes that share a key, so that none has more than so many dims of its value. */
static uint32_t lanes_of(const struct rapt_select_request *request, uint32_t dims)
{
    uint32_t lanes = 4;
    while (rapt_tile_group_dims(request->head_dim_v, lanes) > dims)
        lanes *= 2;
    return lanes;
}

/* Subgroups the kernel may count on; 0 = none. */
static uint32_t subgroup_of(const rapt_caps *caps, int *out_ask)
{
    *out_ask = caps->min_subgroup_size != caps->max_subgroup_size;
    if (!*out_ask)
        return caps->subgroup_size;
    if (!(caps->features & RAPT_FEATURE_SUBGROUP_SIZE_CONTROL))
        return 0;
    return rapt_select_budget(caps).lane_subgroup_size;
}

static const char *subgroup_reason(uint32_t subgroup)
{
    if (subgroup == 0)
        return "subgroups may have several sizes, and none can be asked for";
    if (subgroup < 4)
        return "subgroups are smaller than a quad";
    return NULL;
}

const char *rapt_select_lanes_tile(const rapt_caps *caps, const struct rapt_select_request *request,
                                   struct rapt_kernel_choice *choice)
{
    const struct rapt_tile_budget budget = rapt_select_budget(caps);
    uint32_t rows = rows_of(request), place = log2_of(rows), listed = request->listed;
    uint32_t dims = budget.lane_dims[place], keys = budget.lane_keys[place];
    int ask = 0;
    uint32_t subgroup = subgroup_of(caps, &ask);
    const char *why = subgroup_reason(subgroup);
    if (why)
        return why;
    if (listed) {
        dims = listed_tiles[listed - 1].dims;
        keys = listed_tiles[listed - 1].keys;
    } else if (dims == 0) { /* asked for by name */
        dims = 16;
        keys = rows == 4 ? 2 : rapt_max_u32(4 / rows, 1);
    }
    if (request->kv_type == RAPT_TYPE_F32 && dims > 16) /* twice the words on their way */
        dims /= 2;
    else if (request->kv_type == RAPT_TYPE_F32 && keys > 1 && keys * rows >= 8)
        keys /= 2;
    uint32_t most = rapt_min_u32(subgroup, budget.most_lanes_of_a_key);
    uint32_t lanes = rapt_min_u32(lanes_of(request, dims), most);
    uint32_t workgroup = rapt_max_u32(WORKGROUP, subgroup);
    if (request->page_size)
        keys = rapt_min_u32(keys, request->page_size);
    keys = rapt_min_u32(keys, MOST_KEYS);
    if (keys * rows < 4)
        return "pages hold too few keys";
    while (workgroup > subgroup && workgroup > rapt_select_most_lanes(caps, subgroup))
        workgroup /= 2;
    choice->spec[RAPT_SPEC_SUBGROUP] = subgroup;
    choice->spec[RAPT_SPEC_TILE_A] = keys;
    choice->spec[RAPT_SPEC_TILE_B] = lanes;
    choice->spec[RAPT_SPEC_TILE_C] = budget.wide_words;
    choice->spec[RAPT_SPEC_TILE_D] = 0;
    choice->required_subgroup_size = ask ? subgroup : 0;
    for (;; workgroup /= 2) {
        rapt_select_fill_sizes(request, workgroup, rows, workgroup / lanes * keys, choice);
        choice->spec[RAPT_SPEC_WG_SIZE] = workgroup;
        choice->shared_bytes = rapt_tile_lanes_shared_bytes(choice->spec);
        if (choice->shared_bytes <= rapt_select_shared_limit(caps, request))
            return NULL;
        if (workgroup == subgroup)
            return "no tile within the limit of shared memory";
    }
}

const char *rapt_select_lanes_reason(const rapt_caps *caps,
                                     const struct rapt_select_request *request)
{
    struct rapt_kernel_choice choice = {0};
    uint32_t group = request->n_q_heads / request->n_kv_heads;
    int row = rapt_select_find_row("decode", request->kv_type, "sg");
    const char *why = rapt_select_row_reason(caps, row);
    if (!why && caps->device_type == VK_PHYSICAL_DEVICE_TYPE_CPU)
        why = "a CPU driver exchanges values slowly";
    if (!why && request->n_kv_segments > 1)
        why = "its rows read pools in one piece";
    if (!why && group > RAPT_LANES_MOST_ROWS)
        why = "a group of more than 8 heads";
    uint32_t dims = rapt_select_budget(caps).lane_dims[log2_of(rows_of(request))];
    if (!why && dims == 0)
        why = "portable tiles of as many rows are better";
    if (!why)
        why = rapt_select_lanes_tile(caps, request, &choice);
    if (!why && rapt_tile_group_dims(request->head_dim_v, choice.spec[RAPT_SPEC_TILE_B]) > dims)
        why = "too few lanes share a key for these head dims";
    if (!why && choice.rows == RAPT_LANES_MOST_ROWS &&
        rapt_max_u32(request->head_dim, request->head_dim_v) > 128)
        why = "eight rows of these head dims would spill";
    return why;
}
