/* SPDX-License-Identifier: Apache-2.0 */
#include "select_rows.h"

#include "kernel_table.h"

#include <stdio.h>

const char *rapt_kernel_unsupported_reason(const rapt_caps *caps, int kernel)
{
    static const char *const needs[RAPT_N_FEATURES] = {
        "needs f16 (shaderFloat16)",
        "needs int8 (shaderInt8)",
        "needs storage16 (storageBuffer16BitAccess)",
        "needs storage8 (storageBuffer8BitAccess)",
        "needs int64 (shaderInt64)",
        "needs subgroup (subgroup arithmetic, shuffle, quads and votes in compute)",
        "needs subgroup_size_control (VK_EXT_subgroup_size_control)",
        "needs buffer_device_address (VK_KHR_buffer_device_address)",
        "needs push_descriptor (VK_KHR_push_descriptor)",
        "needs integer_dot (VK_KHR_shader_integer_dot_product)",
        "needs coopmat (VK_KHR_cooperative_matrix)",
        "needs coopmat2 (VK_NV_cooperative_matrix2)",
        "needs bf16 (VK_KHR_shader_bfloat16)",
        "needs memory_model (vulkanMemoryModel)",
        "needs priority (VK_KHR_global_priority)",
        "needs debug_utils (VK_EXT_debug_utils)",
        "needs cpu_rows (it is for Mesa's CPU driver)",
        "needs coopmat2_tensor (workgroup scope, flexible dimensions, tensor addressing, "
        "block loads)",
    };
    rapt_features missing = rapt_kernel_features(kernel) & ~caps->features;
    uint32_t n_bindings = 0;
    for (uint32_t bits = rapt_kernel_bindings(kernel); bits; bits &= bits - 1)
        n_bindings++;
    if ((missing & RAPT_MATRIX_FEATURES) && (caps->supported & RAPT_FEATURE_CPU_ROWS) &&
        caps->subgroup_size > 8)
        return "the CPU driver's compiler dies of matrices when its vectors have 512 bits";
    for (uint32_t bit = 0; bit < RAPT_N_FEATURES; bit++)
        if (missing & (1ull << bit))
            return needs[bit];
    if (n_bindings > caps->max_storage_buffers)
        return "binds more storage buffers than the device allows per stage";
    return NULL;
}

const char *rapt_select_row_reason(const rapt_caps *caps, int kernel)
{
    if (kernel < 0)
        return "no such row";
    const char *reason = rapt_kernel_absent_reason(kernel);
    return reason ? reason : rapt_kernel_unsupported_reason(caps, kernel);
}

const char *rapt_select_type_word(rapt_type type)
{
    const char *name = rapt_type_name(type);
    return name ? name : "f32";
}

int rapt_select_find_row(const char *op, rapt_type type, const char *path)
{
    char name[64];
    if (type == RAPT_TYPE_DEFAULT)
        snprintf(name, sizeof name, "%s_%s", op, path);
    else
        snprintf(name, sizeof name, "%s_%s_%s", op, rapt_select_type_word(type), path);
    return rapt_kernel_find(name);
}

void rapt_select_fill_spec(const struct rapt_select_request *request,
                           struct rapt_kernel_choice *choice)
{
    choice->spec[RAPT_SPEC_WG_SIZE] = choice->workgroup_size;
    choice->spec[RAPT_SPEC_HEAD_DIM] = request->head_dim;
    choice->spec[RAPT_SPEC_HEAD_DIM_V] = request->head_dim_v;
    choice->spec[RAPT_SPEC_BLOCK_Q] = choice->rows;
    choice->spec[RAPT_SPEC_BLOCK_KV] = choice->block_kv;
    choice->spec[RAPT_SPEC_FEATURES] = request->features;
    choice->spec[RAPT_SPEC_Q_TYPE] = (uint32_t)request->q_type;
    choice->spec[RAPT_SPEC_OUT_TYPE] = (uint32_t)request->out_type;
}
