/* SPDX-License-Identifier: Apache-2.0 */

/* Rows by VK_NV_cooperative_matrix2: taken for the feature bits and the dimensions a device
 * enumerates, on a made-up card that has all of it and on lavapipe's part of it. */

#include "feature_chain.h"
#include "kernel_table.h"
#include "select.h"
#include "snapshot.h"
#include "tiles.h"
#include "tiles2.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static rapt_caps card, lavapipe;

static struct rapt_select_request request_of(uint32_t d, uint32_t dv, rapt_type type)
{
    return (struct rapt_select_request){
        .n_q_heads = 8,
        .n_kv_heads = 2,
        .head_dim = d,
        .head_dim_v = dv,
        .q_type = type == RAPT_TYPE_BF16 ? RAPT_TYPE_BF16 : RAPT_TYPE_F16,
        .kv_type = type,
        .out_type = RAPT_TYPE_F16,
        .features = RAPT_FEAT_LSE | RAPT_FEAT_PAGED,
        .page_size = 16,
    };
}

static int is_absent(void)
{
    const char *reason = rapt_kernel_absent_reason(rapt_kernel_find("prefill_f16_cm2"));
    if (reason)
        print_message("prefill_f16_cm2 is absent: %s\n", reason);
    return reason != NULL;
}

static void expect(const rapt_caps *caps, const struct rapt_select_request *request,
                   const char *prefill, const char *why)
{
    struct rapt_selection s;
    if (rapt_select(caps, request, &s) != RAPT_OK)
        fail_msg("%s: %s", prefill, rapt_last_error());
    assert_string_equal(rapt_kernel_name(s.prefill.kernel), prefill);
    assert_int_equal(s.matrix2, strstr(prefill, "_cm2") != NULL);
    if (!strstr(s.why, why))
        fail_msg("'%s' does not say '%s'", s.why, why);
}

static void expect_refused(const rapt_caps *caps, const struct rapt_select_request *request,
                           const char *why)
{
    struct rapt_selection s;
    assert_int_equal(rapt_select(caps, request, &s), RAPT_ERROR_UNSUPPORTED);
    if (!strstr(rapt_last_error(), why))
        fail_msg("'%s' does not say '%s'", rapt_last_error(), why);
}

static void taken_for_its_bits(void **state)
{
    (void)state;
    struct rapt_select_request request = request_of(128, 128, RAPT_TYPE_F16);
    rapt_caps caps = card;
    if (is_absent())
        return;
    expect(&caps, &request, "prefill_f16_cm2", "on matrix units");
    request.path = RAPT_PATH_COOPMAT2;
    expect(&caps, &request, "prefill_f16_cm2", "on matrix units");
    request.path = RAPT_PATH_COOPMAT;
    expect(&caps, &request, "prefill_f16_cm", "on matrix units");

    /* the extension is there, the bits are not */
    caps.features &= ~RAPT_FEATURE_COOPMAT2_TENSOR;
    request.path = RAPT_PATH_AUTO;
    expect(&caps, &request, "prefill_f16_cm", "needs coopmat2_tensor");
    request.path = RAPT_PATH_COOPMAT2;
    expect(&caps, &request, "prefill_f16_cm2s", "needs coopmat2_tensor");
    caps.features &= ~RAPT_FEATURE_COOPMAT2;
    expect_refused(&caps, &request, "needs coopmat2 ");
    request.path = RAPT_PATH_AUTO;
    expect(&caps, &request, "prefill_f16_cm", "needs coopmat2");

    caps = card;
    caps.features &= ~RAPT_FEATURE_BUFFER_DEVICE_ADDRESS;
    expect(&caps, &request, "prefill_f16_cm", "needs buffer_device_address");
    caps = card;
    caps.storage_buffer_alignment = 4;
    expect(&caps, &request, "prefill_f16_cm", "16 bytes");
    request.path = RAPT_PATH_PORTABLE;
    expect(&card, &request, "prefill_f16_pt", "the portable path was asked for");
}

static void bits_close(void **state)
{
    (void)state;
    const rapt_features all =
        RAPT_FEATURE_COOPMAT | RAPT_FEATURE_COOPMAT2 | RAPT_FEATURE_COOPMAT2_TENSOR;
    rapt_features named = 0;
    assert_int_equal(rapt_features_close(all), all);
    assert_int_equal(rapt_features_close(all & ~RAPT_FEATURE_COOPMAT2), RAPT_FEATURE_COOPMAT);
    assert_int_equal(rapt_features_close(all & ~RAPT_FEATURE_COOPMAT), 0);
    assert_int_equal(rapt_features_parse("coopmat2,coopmat2_tensor", &named), RAPT_OK);
    assert_int_equal(named, RAPT_FEATURE_COOPMAT2 | RAPT_FEATURE_COOPMAT2_TENSOR);
}

/* Every member of the feature struct counts: one of them off, and its bit is. */
static void every_member_counts(void **state)
{
    (void)state;
    struct rapt_feature_chain chain;
    const rapt_features both = RAPT_FEATURE_COOPMAT2 | RAPT_FEATURE_COOPMAT2_TENSOR;
    rapt_feature_chain_init(&chain, ~0u);
    VkBool32 *members = &chain.coopmat2.cooperativeMatrixWorkgroupScope;
    for (int i = 0; i < 7; i++)
        members[i] = VK_TRUE;
    assert_int_equal(rapt_feature_chain_bits(&chain), RAPT_FEATURE_COOPMAT2_TENSOR);
    chain.maintenance4.maintenance4 = VK_TRUE; /* SPIR-V 1.6 says workgroup sizes by it */
    assert_int_equal(rapt_feature_chain_bits(&chain), both);
    for (int i = 0; i < 7; i++) {
        int basic = i >= 2 && i <= 4; /* reductions, conversions, per-element operations */
        members[i] = VK_FALSE;
        assert_int_equal(rapt_feature_chain_bits(&chain),
                         basic ? RAPT_FEATURE_COOPMAT2_TENSOR : RAPT_FEATURE_COOPMAT2);
        members[i] = VK_TRUE;
    }
    /* what is asked of a device */
    rapt_feature_chain_keep(&chain, RAPT_FEATURE_COOPMAT2);
    assert_true(chain.coopmat2.cooperativeMatrixReductions);
    assert_false(chain.coopmat2.cooperativeMatrixTensorAddressing);
    assert_true(chain.maintenance4.maintenance4);
    /* maintenance4 is core in 1.3, and not the extension */
    const uint32_t core = 1u << RAPT_EXTENSION_MAINTENANCE4;
    assert_false(rapt_extensions_allow(core, RAPT_FEATURE_COOPMAT2));
    assert_true(rapt_extensions_allow(core | 1u << RAPT_EXTENSION_COOPMAT2, RAPT_FEATURE_COOPMAT2));
}

/* Multiples of what the device enumerates, within its limits, for every head dim. */
static void check_tensor(const rapt_caps *caps, uint32_t d, uint32_t dv)
{
    struct rapt_select_request request = request_of(d, dv, RAPT_TYPE_F16);
    struct rapt_selection s;
    request.path = RAPT_PATH_COOPMAT2;
    if (rapt_select(caps, &request, &s) != RAPT_OK)
        fail_msg("%u/%u: %s", d, dv, rapt_last_error());
    assert_string_equal(rapt_kernel_name(s.prefill.kernel), "prefill_f16_cm2");
    const uint32_t *spec = s.prefill.spec;
    uint32_t m = spec[RAPT_SPEC_TILE_A] & 0xff, n_s = spec[RAPT_SPEC_TILE_A] >> 8;
    uint32_t n_o = spec[RAPT_SPEC_TILE_B] & 0xff, k_s = spec[RAPT_SPEC_TILE_B] >> 8;
    int found = 0;
    for (uint32_t i = 0; i < caps->n_coopmat2_shapes; i++)
        found |= caps->coopmat2_shapes[i].workgroup == s.prefill.workgroup_size &&
                 caps->coopmat2_shapes[i].a == 0 && caps->coopmat2_shapes[i].r == 1 &&
                 m % caps->coopmat2_shapes[i].m == 0 && n_s % caps->coopmat2_shapes[i].n == 0 &&
                 n_o % caps->coopmat2_shapes[i].n == 0 && k_s % caps->coopmat2_shapes[i].k == 0 &&
                 n_s % caps->coopmat2_shapes[i].k == 0;
    if (!found)
        fail_msg("%u/%u: %u lanes, M %u, N %u and %u, K %u is none of the device's", d, dv,
                 s.prefill.workgroup_size, m, n_s, n_o, k_s);
    assert_int_equal(m, s.prefill.rows);
    assert_int_equal(n_s, s.prefill.block_kv);
    assert_true(k_s % 8 == 0 && n_o % 4 == 0 && k_s < d + 64 && n_o < dv + 64);
    assert_true(s.prefill.shared_bytes + caps->coopmat2_shared_bytes <= caps->max_shared_memory);
    assert_int_equal(s.prefill.shared_bytes,
                     rapt_tile_matrix2_shared_bytes(spec, rapt_tile_key_bytes(0, 0)));
}

static void tiles_fit(void **state)
{
    (void)state;
    rapt_caps caps = card;
    struct rapt_select_request request = request_of(128, 128, RAPT_TYPE_F16);
    struct rapt_selection s;
    if (is_absent())
        return;
    for (uint32_t d = 8; d <= 576; d += 8)
        for (uint32_t dv = 8; dv <= 512; dv += 56)
            check_tensor(&caps, d, dv);
    assert_int_equal(rapt_select(&caps, &request, &s), RAPT_OK);
    assert_int_equal(s.prefill.rows, 64);
    assert_int_equal(s.prefill.block_kv, 64);
    assert_int_equal(s.prefill.workgroup_size, 128);

    /* sizes nobody has yet */
    for (uint32_t i = 0; i < caps.n_coopmat2_shapes; i++) {
        caps.coopmat2_shapes[i].m = 16;
        caps.coopmat2_shapes[i].n = 8;
        caps.coopmat2_shapes[i].k = 32;
    }
    for (uint32_t d = 8; d <= 576; d += 24)
        check_tensor(&caps, d, d < 512 ? d : 512);
    caps.coopmat2_shared_bytes = 24576;
    check_tensor(&caps, 256, 256);
    caps.coopmat2_max_workgroup = 64;
    request.path = RAPT_PATH_COOPMAT2;
    expect(&caps, &request, "prefill_f16_cm2s", "no tile");
    caps = card;
    caps.n_coopmat2_shapes = 0;
    expect(&caps, &request, "prefill_f16_cm2s", "no flexible matrices");
    request.block_q = 24;
    expect_refused(&caps, &request, "block_q");
}

static void knobs(void **state)
{
    (void)state;
    struct rapt_select_request request = request_of(128, 128, RAPT_TYPE_BF16);
    struct rapt_selection s;
    if (is_absent())
        return;
    request.path = RAPT_PATH_COOPMAT2;
    request.block_q = 32;
    request.pages_per_block = 2;
    assert_int_equal(rapt_select(&card, &request, &s), RAPT_OK);
    assert_string_equal(rapt_kernel_name(s.prefill.kernel), "prefill_bf16_cm2");
    assert_int_equal(s.prefill.rows, 32);
    assert_int_equal(s.prefill.block_kv, 32);
    request.q_type = RAPT_TYPE_F32;
    expect_refused(&card, &request, "queries of f32");
    request.q_type = RAPT_TYPE_BF16;
    request.n_kv_segments = 2;
    expect_refused(&card, &request, "one piece");
    request = request_of(128, 128, RAPT_TYPE_F32);
    request.path = RAPT_PATH_COOPMAT2;
    expect_refused(&card, &request, "no row for K/V of this type");
}

static void every_kind_but_f32(void **state)
{
    (void)state;
    if (is_absent())
        return;
    for (int type = RAPT_TYPE_F16; type <= RAPT_TYPE_Q4_0; type++) {
        struct rapt_select_request request = request_of(128, 128, (rapt_type)type);
        char name[64];
        snprintf(name, sizeof name, "prefill_%s_cm2", rapt_type_name((rapt_type)type));
        expect(&card, &request, name, "on matrix units");
        request.path = RAPT_PATH_COOPMAT2;
        snprintf(name, sizeof name, "prefill_%s_cm2s", rapt_type_name((rapt_type)type));
        expect(&lavapipe, &request, name, "on matrix units");
    }
    /* who asks for integers gets them */
    struct rapt_select_request request = request_of(128, 128, RAPT_TYPE_INT8);
    request.integer_dot = RAPT_CHOICE_ALWAYS;
    if (!rapt_kernel_absent_reason(rapt_kernel_find("tiled_int8_ptd")))
        expect(&card, &request, "tiled_int8_ptd", "keys in integers");
}

static void what_lavapipe_has_of_it(void **state)
{
    (void)state;
    struct rapt_select_request request = request_of(64, 64, RAPT_TYPE_F16);
    struct rapt_selection s;
    if (is_absent())
        return;
    expect(&lavapipe, &request, "prefill_lp", "no matrix units");
    request.path = RAPT_PATH_COOPMAT2;
    assert_int_equal(rapt_select(&lavapipe, &request, &s), RAPT_OK);
    assert_string_equal(rapt_kernel_name(s.prefill.kernel), "prefill_f16_cm2s");
    assert_int_equal(s.prefill.spec[RAPT_SPEC_TILE_A], 8 | 8 << 8);
    assert_int_equal(s.prefill.spec[RAPT_SPEC_TILE_B], 8 | 8 << 8);
    assert_int_equal(s.prefill.workgroup_size, s.prefill.rows / 8 * 8);
    assert_true(s.prefill.shared_bytes <= lavapipe.max_shared_memory);
    request.force_prefill = rapt_kernel_find("prefill_f16_cm2") + 1;
    expect_refused(&lavapipe, &request, "coopmat2_tensor");
}

static void explained(void **state)
{
    (void)state;
    rapt_plan_params params = {.struct_size = sizeof params,
                               .n_q_heads = 8,
                               .n_kv_heads = 2,
                               .head_dim = 128,
                               .q_type = RAPT_TYPE_F16,
                               .kv_type = RAPT_TYPE_F16};
    rapt_plan_info info = {.struct_size = sizeof info};
    if (is_absent())
        return;
    assert_int_equal(rapt_plan_explain(&card, &params, NULL, 0, &info), RAPT_OK);
    assert_string_equal(info.path, "coopmat2");
    assert_int_equal(info.matrix_units, 1);
    params.path = RAPT_PATH_COOPMAT;
    assert_int_equal(rapt_plan_explain(&card, &params, NULL, 0, &info), RAPT_OK);
    assert_string_equal(info.path, "coopmat");
}

int main(void)
{
    if (!snapshot_read(RAPT_TEST_DEVICES, "nv2-made-up.txt", &card) ||
        !snapshot_read(RAPT_TEST_DEVICES, "lavapipe-26.1.txt", &lavapipe)) {
        fprintf(stderr, "cannot read the snapshots in %s\n", RAPT_TEST_DEVICES);
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(taken_for_its_bits),
        cmocka_unit_test(bits_close),
        cmocka_unit_test(every_member_counts),
        cmocka_unit_test(tiles_fit),
        cmocka_unit_test(knobs),
        cmocka_unit_test(every_kind_but_f32),
        cmocka_unit_test(what_lavapipe_has_of_it),
        cmocka_unit_test(explained),
    };
    return cmocka_run_group_tests_name("select matrix2", tests, NULL, NULL);
}
