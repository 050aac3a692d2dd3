/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_RUNTIME_SELECT_CASE_H
#define TESTS_RUNTIME_SELECT_CASE_H

/* What is asked of selection, and what every choice has to hold. After cmocka's headers. */

#include "kernel_table.h"
#include "select.h"

#include <rapt/attention.h>

static inline struct rapt_select_request request_of(uint32_t group, uint32_t d, uint32_t dv,
                                             rapt_type type, uint32_t page_size)
{
    return (struct rapt_select_request){
        .n_q_heads = 2 * group,
        .n_kv_heads = 2,
        .head_dim = d,
        .head_dim_v = dv,
        .q_type = type,
        .kv_type = type,
        .out_type = type,
        .features = RAPT_FEAT_LSE | RAPT_FEAT_Q_POS | (page_size ? RAPT_FEAT_PAGED : 0),
        .page_size = page_size,
    };
}

static inline uint32_t n_bindings_of(int kernel)
{
    uint32_t n = 0;
    for (uint32_t bindings = rapt_kernel_bindings(kernel); bindings; bindings &= bindings - 1)
        n++;
    return n;
}

static inline void check_choice(const char *device, const rapt_caps *caps,
                         const struct rapt_kernel_choice *choice)
{
    if (choice->kernel < 0)
        return;
    const char *name = rapt_kernel_name(choice->kernel);
    uint32_t n_bindings = n_bindings_of(choice->kernel);
    if (rapt_kernel_unsupported_reason(caps, choice->kernel) ||
        (rapt_kernel_features(choice->kernel) & ~caps->features))
        fail_msg("%s: %s is not for this device", device, name);
    if (choice->shared_bytes > caps->max_shared_memory ||
        choice->workgroup_size > caps->max_workgroup_invocations ||
        choice->workgroup_size > caps->max_workgroup_size[0] ||
        n_bindings > caps->max_storage_buffers)
        fail_msg("%s: %s with %u lanes, %u bytes, %u buffers passes the limits", device, name,
                 choice->workgroup_size, choice->shared_bytes, n_bindings);
    assert_true(choice->workgroup_size > 0 && choice->rows > 0 && choice->block_kv > 0);
    assert_int_equal(choice->spec[RAPT_SPEC_WG_SIZE], choice->workgroup_size);
    assert_int_equal(choice->spec[RAPT_SPEC_BLOCK_Q], choice->rows);
    assert_int_equal(choice->spec[RAPT_SPEC_BLOCK_KV], choice->block_kv);
}

#endif
