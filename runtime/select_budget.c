/* SPDX-License-Identifier: Apache-2.0 */
/* What vendors' chips give a lane: the only file that knows vendors. */
#include "select_tiles.h"

#include "kv_format.h"

#include <string.h>

#define VENDOR_AMD 0x1002u
#define VENDOR_INTEL 0x8086u
#define VENDOR_NVIDIA 0x10deu
#define VENDOR_QUALCOMM 0x5143u

struct lanes_row {
    uint32_t vendor;
    uint8_t dims[4], keys[4], most_lanes, wide_words;
};

static void choose_lanes(const rapt_caps *caps, struct rapt_tile_budget *budget)
{
    static const struct lanes_row rows[] = {
        {VENDOR_AMD, {16, 16, 8, 16}, {8, 4, 4, 2}, 32, 1},
        {VENDOR_INTEL, {16, 0, 0, 0}, {4, 0, 0, 0}, 128, 1},
        {VENDOR_NVIDIA, {16, 16, 16, 0}, {4, 4, 2, 0}, 128, 0},
        {VENDOR_QUALCOMM, {32, 16, 8, 8}, {4, 4, 4, 2}, 128, 1},
    };
    static const struct lanes_row gcn = {VENDOR_AMD, {16, 16, 16, 0}, {4, 4, 2, 0}, 128, 1};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct lanes_row *row = &rows[i];
        if (caps->vendor_id != row->vendor)
            continue;
        if (row->vendor == VENDOR_AMD && caps->min_subgroup_size == 64)
            row = &gcn;
        memcpy(budget->lane_dims, row->dims, sizeof row->dims);
        memcpy(budget->lane_keys, row->keys, sizeof row->keys);
        budget->most_lanes_of_a_key = row->most_lanes;
        budget->wide_words = row->wide_words;
    }
}

/* Found with their compilers (tests/vendor). RDNA runs eight subgroups of 32 lanes on a SIMD where
 * a lane has 128 bytes of shared memory and some 128 registers: fewer than that its compiler takes
 * of itself where shared memory does not forbid the eighth subgroup. GCN (subgroups of 64 alone)
 * runs one subgroup on a SIMD where a lane takes more than 128 registers, two with 128, three with
 * 84 and 85 bytes: two in prefill and three in decode are, by its compiler's estimate of
 * throughput, worth tiles of half the rows and a narrower slice. Intel gives a lane those 128 in
 * the narrowest subgroups a device has, half of them in the next. Qualcomm gives a lane half in
 * workgroups of 512, so it had better not have to. Matrices: RDNA's units work on 32 lanes, Intel's
 * on as many as its narrowest subgroups have.
 *
 * Lanes of a key in decode_*_sg: what took fewest cycles with room for several subgroups (RDNA:
 * for eight, but with eight rows), and fewer than portable tiles. Intel's registers do not hold the
 * output of four rows, GCN's not that of eight; with more than 32 lanes the parts of the output that
 * are added up at the end fill RDNA's shared memory. */
struct rapt_tile_budget rapt_select_budget(const rapt_caps *caps)
{
    struct rapt_tile_budget budget = {.registers = 144,
                                      .decode_registers = 90,
                                      .decode_shared_bytes = 128,
                                      .matrix_registers = 256,
                                      .matrix_subgroup_size = caps->subgroup_size,
                                      .lane_dims = {16},
                                      .most_lanes_of_a_key = 128,
                                      .lane_keys = {4},
                                      .lane_subgroup_size = caps->subgroup_size};
    if (caps->vendor_id == VENDOR_AMD) {
        budget.matrix_subgroup_size = 32;
        budget.few_rows_shared_bytes = 128;
    }
    if (caps->device_type == VK_PHYSICAL_DEVICE_TYPE_CPU) /* lean tiles, which so are checked */
        budget.few_rows_shared_bytes = 512;
    if (caps->vendor_id == VENDOR_AMD && caps->min_subgroup_size == 64) {
        budget.prefill_registers = 70;
        budget.decode_shared_bytes = 85;
    }
    if (caps->vendor_id == VENDOR_QUALCOMM) {
        budget.decode_registers = budget.registers;
        budget.lane_subgroup_size = caps->min_subgroup_size;
    }
    if (caps->vendor_id == VENDOR_INTEL) {
        budget.registers = budget.decode_registers = 62;
        budget.matrix_registers = 128;
        budget.matrix_subgroup_size = budget.lane_subgroup_size = caps->min_subgroup_size;
        if (caps->features & RAPT_FEATURE_SUBGROUP_SIZE_CONTROL)
            budget.subgroup_size = caps->min_subgroup_size;
    }
    choose_lanes(caps, &budget);
    return budget;
}

/* ---------------------------------------------------------------------------------- last caches */

/* What drivers call a card, and MiB of the cache all of it shares. NVIDIA: L2, by the white papers
 * of the A100, H100, GA102, Ada and RTX Blackwell architectures and the data sheets of their cards.
 * AMD: Infinity Cache, by the product pages of RX cards and the CDNA 3 white paper. Intel: L2, by
 * ark.intel.com. The first that the name contains counts. */
static const struct {
    uint32_t vendor;
    uint16_t mib;
    const char *name;
} caches[] = {
    {VENDOR_NVIDIA, 50, "H200"},         {VENDOR_NVIDIA, 50, "GH200"},
    {VENDOR_NVIDIA, 50, "H100"},         {VENDOR_NVIDIA, 40, "A100"},
    {VENDOR_NVIDIA, 96, "L40"},          {VENDOR_NVIDIA, 48, "L4"},
    {VENDOR_NVIDIA, 96, "RTX 6000 Ada"}, {VENDOR_NVIDIA, 96, "RTX 5090"},
    {VENDOR_NVIDIA, 64, "RTX 5080"},     {VENDOR_NVIDIA, 48, "RTX 5070"},
    {VENDOR_NVIDIA, 32, "RTX 5060"},     {VENDOR_NVIDIA, 72, "RTX 4090"},
    {VENDOR_NVIDIA, 64, "RTX 4080"},     {VENDOR_NVIDIA, 48, "RTX 4070 Ti"},
    {VENDOR_NVIDIA, 36, "RTX 4070"},     {VENDOR_NVIDIA, 32, "RTX 4060 Ti"},
    {VENDOR_NVIDIA, 24, "RTX 4060"},     {VENDOR_NVIDIA, 6, "RTX 3090"},
    {VENDOR_NVIDIA, 5, "RTX 3080"},      {VENDOR_NVIDIA, 4, "RTX 3070"},
    {VENDOR_NVIDIA, 3, "RTX 3060"},      {VENDOR_AMD, 256, "MI300"},
    {VENDOR_AMD, 64, "RX 9070"},         {VENDOR_AMD, 32, "RX 9060"},
    {VENDOR_AMD, 96, "RX 7900 XTX"},     {VENDOR_AMD, 80, "RX 7900 XT"},
    {VENDOR_AMD, 64, "RX 7900"},         {VENDOR_AMD, 64, "RX 7800"},
    {VENDOR_AMD, 48, "RX 7700"},         {VENDOR_AMD, 32, "RX 7600"},
    {VENDOR_AMD, 128, "RX 6950"},        {VENDOR_AMD, 128, "RX 6900"},
    {VENDOR_AMD, 128, "RX 6800"},        {VENDOR_AMD, 96, "RX 6750"},
    {VENDOR_AMD, 80, "RX 6700"},         {VENDOR_AMD, 32, "RX 6650"},
    {VENDOR_AMD, 32, "RX 6600"},         {VENDOR_AMD, 16, "RX 6500"},
    {VENDOR_INTEL, 16, "A770"},          {VENDOR_INTEL, 16, "A750"},
    {VENDOR_INTEL, 18, "B580"},
};

/* Others: what the smallest of their kind have had for years. */
static uint64_t cache_bytes(const rapt_caps *caps)
{
    for (size_t i = 0; i < sizeof caches / sizeof *caches; i++)
        if (caches[i].vendor == caps->vendor_id && strstr(caps->device_name, caches[i].name))
            return (uint64_t)caches[i].mib << 20;
    return caps->device_type == VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU ? 4u << 20 : 2u << 20;
}

uint32_t rapt_select_cache_keys(const rapt_caps *caps, const struct rapt_select_request *request)
{
    uint32_t d = request->head_dim, dv = request->head_dim_v, unit = rapt_kv_unit(request->kv_type);
    uint64_t key_bytes =
        (uint64_t)unit * (rapt_kv_row(request->kv_type, d) + rapt_kv_row(request->kv_type, dv));
    /* the CPU driver's rows have an order of their own, and others of a CPU driver wait for
     * arithmetic; Q, the output and the next group want their half */
    if (caps->device_type == VK_PHYSICAL_DEVICE_TYPE_CPU || key_bytes == 0)
        return 0;
    return (uint32_t)(cache_bytes(caps) / 2 / key_bytes);
}
