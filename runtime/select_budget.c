/* SPDX-License-Identifier: Apache-2.0 */
/* What vendors' chips give a lane: the only file that knows vendors. */
#include "select_tiles.h"

#define VENDOR_AMD 0x1002u
#define VENDOR_INTEL 0x8086u
#define VENDOR_QUALCOMM 0x5143u

/* Found with their compilers (tests/vendor). RDNA runs eight subgroups of 32 lanes on a SIMD where
 * a lane has 128 bytes of shared memory and some 128 registers. GCN (subgroups of 64 alone) runs
 * one subgroup on a SIMD where a lane takes more than 128 registers, two with 128, three with 84
 * and 85 bytes: two in prefill and three in decode are, by its compiler's estimate of throughput,
 * worth tiles of half the rows and a narrower slice. Intel gives a lane those 128 in the narrowest
 * subgroups a device has, half of them in the next. Qualcomm gives a lane half in workgroups of
 * 512, so it had better not have to. Matrices: RDNA's units work on 32 lanes, Intel's on as many as
 * its narrowest subgroups have. */
struct rapt_tile_budget rapt_select_budget(const rapt_caps *caps)
{
    struct rapt_tile_budget budget = {.registers = 144,
                                      .decode_registers = 90,
                                      .decode_shared_bytes = 128,
                                      .matrix_registers = 256,
                                      .matrix_subgroup_size = caps->subgroup_size};
    if (caps->vendor_id == VENDOR_AMD)
        budget.matrix_subgroup_size = 32;
    if (caps->vendor_id == VENDOR_AMD && caps->min_subgroup_size == 64) {
        budget.prefill_registers = 70;
        budget.decode_shared_bytes = 85;
    }
    if (caps->vendor_id == VENDOR_QUALCOMM)
        budget.decode_registers = budget.registers;
    if (caps->vendor_id == VENDOR_INTEL) {
        budget.registers = budget.decode_registers = 62;
        budget.matrix_registers = 128;
        budget.matrix_subgroup_size = caps->min_subgroup_size;
        if (caps->features & RAPT_FEATURE_SUBGROUP_SIZE_CONTROL)
            budget.subgroup_size = caps->min_subgroup_size;
    }
    return budget;
}
