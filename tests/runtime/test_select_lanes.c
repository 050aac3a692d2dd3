/* SPDX-License-Identifier: Apache-2.0 */

/* Decode of few rows by lanes that share a key (decode_*_sg): which devices and shapes get it. */

#include "kernel_table.h"
#include "select.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "all_snapshots.h"
#include "select_case.h"

/* Few heads of a group share the lanes of a key; a few tokens of them, a portable tile. */
static void few_rows_share_the_lanes_of_a_key(void **state)
{
    static const struct {
        const char *device;
        uint32_t group, d, rows, lanes, keys, subgroup;
    } cases[] = {
        {"navi21", 1, 128, 1, 8, 8, 64}, {"navi21", 2, 128, 2, 8, 4, 64},
        {"navi21", 3, 128, 4, 16, 4, 64}, {"navi21", 8, 128, 8, 8, 2, 64},
        {"navi21", 1, 64, 1, 4, 8, 64},  {"navi21", 4, 256, 4, 32, 4, 64},
        {"vega10", 4, 128, 4, 8, 2, 64}, {"tu102", 4, 128, 4, 8, 2, 32},
        {"b580", 1, 128, 1, 8, 4, 16},   {"tgl", 1, 128, 1, 8, 4, 8},
        {"a740", 1, 128, 1, 4, 4, 64},   {"a740", 4, 128, 4, 16, 4, 64},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const rapt_caps *caps = device_named(cases[i].device);
        struct rapt_select_request request =
            request_of(cases[i].group, cases[i].d, cases[i].d, RAPT_TYPE_F16, 16);
        struct rapt_selection s;
        request.path = RAPT_PATH_PORTABLE;
        assert_int_equal(rapt_select(caps, &request, &s), RAPT_OK);
        const uint32_t *spec = s.decode.spec;
        uint32_t subgroup = cases[i].subgroup;
        assert_string_equal(rapt_kernel_name(s.decode.kernel), "decode_f16_sg");
        if (spec[RAPT_SPEC_BLOCK_Q] != cases[i].rows || s.decode.rows != cases[i].rows ||
            spec[RAPT_SPEC_TILE_A] != cases[i].keys || spec[RAPT_SPEC_TILE_B] != cases[i].lanes ||
            spec[RAPT_SPEC_SUBGROUP] != subgroup)
            fail_msg("%s, group %u, D %u: %u rows, %u keys, %u lanes of %u", cases[i].device,
                     cases[i].group, cases[i].d, s.decode.rows, spec[RAPT_SPEC_TILE_A],
                     spec[RAPT_SPEC_TILE_B], spec[RAPT_SPEC_SUBGROUP]);
        assert_int_equal(s.decode.block_kv,
                         s.decode.workgroup_size / cases[i].lanes * cases[i].keys);
        assert_int_equal(s.decode.workgroup_size % subgroup, 0);
        if (cases[i].group < 3) {
            assert_string_equal(rapt_kernel_name(s.few.kernel), "decode_f16_pt");
            assert_int_equal(s.few_least, cases[i].rows + 1);
            assert_int_equal(s.few_most, 4);
            assert_int_equal(s.decode_rows, cases[i].rows);
        } else {
            assert_int_equal(s.few.kernel, -1);
            assert_int_equal(s.decode_rows, cases[i].rows);
        }
    }
}

/* And where that does not suit, portable tiles are what there was. */
static void few_rows_have_portable_tiles_too(void **state)
{
    struct rapt_select_request request = request_of(1, 128, 128, RAPT_TYPE_F16, 16);
    struct rapt_selection s;
    rapt_caps caps = *device_named("navi21");
    (void)state;
    request.page_size = 2; /* keys of a page, and scores for a quad */
    assert_int_equal(rapt_select(&caps, &request, &s), RAPT_OK);
    assert_string_equal(rapt_kernel_name(s.decode.kernel), "decode_f16_pt");
    assert_int_equal(s.few.kernel, -1);
    request.page_size = 4;
    assert_int_equal(rapt_select(&caps, &request, &s), RAPT_OK);
    assert_string_equal(rapt_kernel_name(s.decode.kernel), "decode_f16_sg");
    assert_int_equal(s.decode.spec[RAPT_SPEC_TILE_A], 4);
    request.n_kv_segments = 2;
    assert_int_equal(rapt_select(&caps, &request, &s), RAPT_OK);
    assert_string_equal(rapt_kernel_name(s.decode.kernel), "tiled_f16_pts");
    request = request_of(16, 128, 128, RAPT_TYPE_F16, 16);
    assert_int_equal(rapt_select(&caps, &request, &s), RAPT_OK);
    assert_string_equal(rapt_kernel_name(s.decode.kernel), "decode_f16_pt");
    request = request_of(1, 128, 128, RAPT_TYPE_F16, 16);
    caps.features &= ~RAPT_FEATURE_SUBGROUP_SIZE_CONTROL; /* 32 or 64, as it comes */
    assert_int_equal(rapt_select(&caps, &request, &s), RAPT_OK);
    assert_string_equal(rapt_kernel_name(s.decode.kernel), "decode_f16_pt");
    request = request_of(4, 128, 128, RAPT_TYPE_F16, 16);
    request.path = RAPT_PATH_PORTABLE;
    assert_int_equal(rapt_select(device_named("b580"), &request, &s), RAPT_OK);
    assert_string_equal(rapt_kernel_name(s.decode.kernel), "decode_f16_pt");
    request.head_dim = request.head_dim_v = 256; /* 32 dims in each of 8 lanes */
    request.n_q_heads = request.n_kv_heads;
    assert_int_equal(rapt_select(device_named("tgl"), &request, &s), RAPT_OK);
    assert_string_equal(rapt_kernel_name(s.decode.kernel), "decode_f16_pt");
    request.n_q_heads *= 8;
    assert_int_equal(rapt_select(device_named("navi21"), &request, &s), RAPT_OK);
    assert_string_equal(rapt_kernel_name(s.decode.kernel), "decode_f16_pt");
}

int main(void)
{
    if (!read_devices(RAPT_TEST_DEVICES))
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(few_rows_share_the_lanes_of_a_key),
        cmocka_unit_test(few_rows_have_portable_tiles_too),
    };
    return cmocka_run_group_tests_name("select lanes", tests, NULL, NULL);
}
