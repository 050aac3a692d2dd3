/* SPDX-License-Identifier: Apache-2.0 */

/* Rows by VK_KHR_cooperative_matrix on snapshots of devices: which tile every chip gets, how tiles
 * step down, when portable rows are taken and what is said of it. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "all_snapshots.h"
#include "select_case.h"

/* What chips get for f16 at these head dims: rows, keys, lanes of a workgroup and of a subgroup,
 * the shape; nothing where they take portable rows. */
struct matrix_case {
    const char *device;
    uint32_t rows, keys, workgroup, subgroup, m, n, k;
};

static void check_matrix(const struct matrix_case *expected, uint32_t d, uint32_t dv)
{
    struct rapt_select_request request = request_of(4, d, dv, RAPT_TYPE_F16, 16);
    const rapt_caps *caps = device_named(expected->device);
    struct rapt_selection s;
    request.path = RAPT_PATH_COOPMAT;
    rapt_status forced = rapt_select(caps, &request, &s);
    request.path = RAPT_PATH_AUTO;
    assert_int_equal(rapt_select(caps, &request, &s), RAPT_OK);
    if (!expected->rows) {
        assert_int_equal(forced, RAPT_ERROR_UNSUPPORTED);
        assert_int_equal(s.matrix, 0);
        assert_non_null(strstr(s.why, "no matrix units: "));
        return;
    }
    assert_int_equal(forced, RAPT_OK);
    const uint32_t shape = s.prefill.spec[RAPT_SPEC_TILE_A];
    const struct matrix_case got = {
        .rows = s.prefill.rows,
        .keys = s.prefill.block_kv,
        .workgroup = s.prefill.workgroup_size,
        .subgroup = s.prefill.spec[RAPT_SPEC_SUBGROUP],
        .m = shape & 0xff,
        .n = shape >> 8 & 0xff,
        .k = shape >> 16,
    };
    if (!s.matrix || strcmp(rapt_kernel_name(s.prefill.kernel), "prefill_f16_cm") != 0 ||
        memcmp(&got.rows, &expected->rows, sizeof got - offsetof(struct matrix_case, rows)) != 0)
        fail_msg("%s, %u/%u: %u rows, %u keys, %u lanes in subgroups of %u, %ux%ux%u (%s)",
                 expected->device, d, dv, got.rows, got.keys, got.workgroup, got.subgroup, got.m,
                 got.n, got.k, s.why);
    check_choice(expected->device, caps, &s.prefill);
    assert_false(rapt_kernel_name_ends(s.decode.kernel, "_cm"));
    const int asks = caps->min_subgroup_size != caps->max_subgroup_size;
    assert_int_equal(s.prefill.required_subgroup_size, asks ? got.subgroup : 0);
}

static int without_matrix_row(void)
{
    const char *reason = rapt_kernel_absent_reason(rapt_kernel_find("prefill_f16_cm"));
    if (reason)
        print_message("prefill_f16_cm is absent: %s\n", reason);
    return reason != NULL;
}

static void chips_get_matrix_tiles(void **state)
{
    (void)state;
    static const struct matrix_case d128[] = {
        {"navi31", 64, 64, 128, 32, 16, 16, 16},  {"navi33", 64, 64, 128, 32, 16, 16, 16},
        {"phoenix", 64, 64, 128, 32, 16, 16, 16}, {"gfx1150", 64, 64, 128, 32, 16, 16, 16},
        {"gfx1151", 64, 64, 128, 32, 16, 16, 16}, {"gfx1200", 64, 64, 128, 32, 16, 16, 16},
        {"gfx1201", 64, 64, 128, 32, 16, 16, 16}, {"tu102", 64, 32, 128, 32, 16, 16, 16},
        {"ga102", 64, 32, 128, 32, 16, 16, 16},   {"ad102", 64, 32, 128, 32, 16, 16, 16},
        {"gb202", 64, 32, 128, 32, 16, 16, 16},   {"a770", 32, 32, 256, 8, 8, 8, 16},
        {"arl-h", 32, 32, 256, 8, 8, 8, 16},      {"b580", 64, 16, 256, 16, 8, 16, 16},
        {"lnl", 64, 16, 256, 16, 8, 16, 16},
    };
    static const char *const without[] = {"polaris10", "vega10", "navi10", "navi21", "tgl",
                                          "mtl",       "a730",   "a740",   "a750",   "moltenvk"};
    if (without_matrix_row())
        return;
    for (size_t i = 0; i < sizeof d128 / sizeof d128[0]; i++)
        check_matrix(&d128[i], 128, 128);
    for (size_t i = 0; i < sizeof without / sizeof without[0]; i++)
        check_matrix(&(struct matrix_case){.device = without[i]}, 128, 128);
}

/* Intel's lanes hold 128 numbers, and workgroups of one matrix row hold few lanes: at these dims
 * nothing fits without spills. */
static int would_spill(const char *name, const rapt_caps *caps, uint32_t head_dim_v)
{
    int narrow = strcmp(name, "a770.txt") == 0 || strcmp(name, "arl-h.txt") == 0;
    int wide = strcmp(name, "b580.txt") == 0 || strcmp(name, "lnl.txt") == 0;
    return (narrow && head_dim_v >= 256) ||
           (wide && head_dim_v == 512 && caps->max_shared_memory <= 32768);
}

/* Fewer rows where shared memory is short, never by much at once (they decide how often K and V are
 * read); matrix units at all head dims that fit, on every chip that has them. */
static void matrix_tiles_step_down(void **state)
{
    (void)state;
    static const uint32_t dims[][2] = {{8, 8},     {40, 72},   {64, 64},   {80, 80},  {96, 96},
                                       {128, 128}, {192, 128}, {256, 256}, {576, 512}};
    if (without_matrix_row())
        return;
    for (uint32_t i = 0; i < n_devices; i++) {
        rapt_caps caps = devices[i];
        if (!(caps.features & RAPT_FEATURE_COOPMAT) || caps.n_coopmat_shapes == 0 ||
            caps.device_type == VK_PHYSICAL_DEVICE_TYPE_CPU || strcmp(names[i], "mtl.txt") == 0)
            continue;
        for (size_t d = 0; d < sizeof dims / sizeof dims[0]; d++) {
            uint32_t least = 0;
            for (caps.max_shared_memory = 32768; caps.max_shared_memory <= 131072;
                 caps.max_shared_memory += 16384) {
                struct rapt_select_request request =
                    request_of(4, dims[d][0], dims[d][1], RAPT_TYPE_F16, 0);
                struct rapt_selection s;
                assert_int_equal(rapt_select(&caps, &request, &s), RAPT_OK);
                if (would_spill(names[i], &caps, dims[d][1])) {
                    assert_int_equal(s.matrix, 0);
                    assert_non_null(strstr(s.why, "would spill"));
                    continue;
                }
                if (!s.matrix || 2 * s.prefill.rows < least ||
                    (least && s.prefill.rows > 4 * least))
                    fail_msg("%s, %u/%u, %u bytes: %u rows, %u keys, %s", names[i], dims[d][0],
                             dims[d][1], caps.max_shared_memory, s.prefill.rows, s.prefill.block_kv,
                             s.why);
                least = s.prefill.rows;
                check_choice(names[i], &caps, &s.prefill);
            }
        }
    }
}

static void matrix_units_when_not(void **state)
{
    (void)state;
    struct rapt_select_request request = request_of(4, 128, 128, RAPT_TYPE_F16, 0);
    struct rapt_selection s;
    const rapt_caps *gpu = device_named("navi31"), *cpu = device_named("lavapipe-26.1");
    rapt_caps caps = *gpu;
    request.path = RAPT_PATH_COOPMAT2;
    assert_int_equal(rapt_select(device_named("gb202"), &request, &s), RAPT_ERROR_UNSUPPORTED);
    request.path = RAPT_PATH_PORTABLE;
    assert_int_equal(rapt_select(gpu, &request, &s), RAPT_OK);
    assert_string_equal(rapt_kernel_name(s.prefill.kernel), "prefill_f16_pt");
    if (without_matrix_row())
        return;
    request.path = RAPT_PATH_COOPMAT;
    assert_int_equal(rapt_select(gpu, &request, &s), RAPT_OK);
    caps.features &= ~RAPT_FEATURE_COOPMAT;
    assert_int_equal(rapt_select(&caps, &request, &s), RAPT_ERROR_UNSUPPORTED);
    assert_non_null(strstr(rapt_last_error(), "needs coopmat"));
    caps.features = gpu->features & ~RAPT_FEATURE_SUBGROUP_SIZE_CONTROL;
    assert_int_equal(rapt_select(&caps, &request, &s), RAPT_ERROR_UNSUPPORTED);
    assert_non_null(strstr(rapt_last_error(), "several sizes"));
    request.q_type = RAPT_TYPE_F32;
    assert_int_equal(rapt_select(gpu, &request, &s), RAPT_ERROR_UNSUPPORTED);
    assert_non_null(strstr(rapt_last_error(), "queries of f32"));
    request.q_type = RAPT_TYPE_BF16; /* has fewer digits than f16 */
    assert_int_equal(rapt_select(gpu, &request, &s), RAPT_OK);
    assert_string_equal(rapt_kernel_name(s.prefill.kernel), "prefill_f16_cm");
    request.q_type = RAPT_TYPE_F16;
    request.n_kv_segments = 2;
    assert_int_equal(rapt_select(gpu, &request, &s), RAPT_OK);
    assert_string_equal(rapt_kernel_name(s.prefill.kernel), "prefill_f16_cms");
    assert_string_equal(rapt_kernel_name(s.decode.kernel), "tiled_f16_pts");
    assert_string_equal(rapt_kernel_name(s.few.kernel), "decode_f16_cms");
    request.n_kv_segments = 1;
    request.kv_type = RAPT_TYPE_INT8;
    assert_int_equal(rapt_select(gpu, &request, &s), RAPT_OK);
    assert_string_equal(rapt_kernel_name(s.prefill.kernel), "prefill_int8_cm");
    request.path = RAPT_PATH_AUTO;
    request.integer_dot = RAPT_CHOICE_ALWAYS; /* what was asked for comes first */
    assert_int_equal(rapt_select(gpu, &request, &s), RAPT_OK);
    assert_string_equal(rapt_kernel_name(s.prefill.kernel), "tiled_int8_ptd");
    assert_int_equal(s.matrix, 0);
    assert_non_null(strstr(s.why, "integer dot products were asked for"));
    request.path = RAPT_PATH_COOPMAT;
    request.integer_dot = RAPT_CHOICE_NEVER;
    request.kv_type = RAPT_TYPE_F32;
    assert_int_equal(rapt_select(gpu, &request, &s), RAPT_ERROR_UNSUPPORTED);
    request.kv_type = RAPT_TYPE_F16;
    request.block_q = 24;
    assert_int_equal(rapt_select(gpu, &request, &s), RAPT_ERROR_UNSUPPORTED);
    assert_non_null(strstr(rapt_last_error(), "block_q"));
    request.path = RAPT_PATH_AUTO; /* portable rows have such a tile */
    assert_int_equal(rapt_select(gpu, &request, &s), RAPT_OK);
    assert_int_equal(s.prefill.rows, 24);
    assert_int_equal(s.matrix, 0);

    /* the CPU driver's own rows are faster; asked for, they run */
    request.block_q = 0;
    assert_int_equal(rapt_select(cpu, &request, &s), RAPT_OK);
    assert_string_equal(rapt_kernel_name(s.prefill.kernel), "prefill_lp");
    assert_non_null(strstr(s.why, "a CPU driver's are slower"));
    request.path = RAPT_PATH_COOPMAT;
    assert_int_equal(rapt_select(cpu, &request, &s), RAPT_OK);
    assert_string_equal(rapt_kernel_name(s.prefill.kernel), "prefill_f16_cm");
    assert_int_equal(s.prefill.spec[RAPT_SPEC_TILE_A], 8 | 8 << 8 | 8 << 16);
}

/* ---- decode */

/* Groups of eight heads fill half of a matrix or all of it; smaller ones do with several tokens. */
static void eight_rows_decode_on_matrix_units(void **state)
{
    static const struct matrix_case d128[] = {
        {"navi31", 16, 32, 128, 32, 16, 16, 16}, {"gfx1201", 16, 32, 128, 32, 16, 16, 16},
        {"ga102", 16, 64, 128, 32, 16, 16, 16},  {"gb202", 16, 64, 128, 32, 16, 16, 16},
        {"a770", 16, 16, 128, 8, 8, 8, 16},      {"b580", 16, 32, 128, 16, 8, 16, 16},
    };
    (void)state;
    if (without_matrix_row())
        return;
    for (size_t i = 0; i < sizeof d128 / sizeof d128[0]; i++)
        for (uint32_t group = 4; group <= 32; group *= 2) {
            const struct matrix_case *expected = &d128[i];
            const rapt_caps *caps = device_named(expected->device);
            struct rapt_select_request request = request_of(group, 128, 128, RAPT_TYPE_F16, 16);
            struct rapt_selection s;
            assert_int_equal(rapt_select(caps, &request, &s), RAPT_OK);
            check_choice(expected->device, caps, &s.decode);
            check_choice(expected->device, caps, &s.few);
            const struct rapt_kernel_choice *choice = group < 8 ? &s.few : &s.decode;
            const uint32_t *spec = choice->spec, shape = spec[RAPT_SPEC_TILE_A];
            assert_string_equal(rapt_kernel_name(choice->kernel), "decode_f16_cm");
            if (group < 8) {
                int lanes = caps->vendor_id != 0x8086; /* Intel's hold one row */
                assert_string_equal(rapt_kernel_name(s.decode.kernel),
                                    lanes ? "decode_f16_sg" : "decode_f16_pt");
                assert_non_null(strstr(s.why, lanes ? "decode of several tokens"
                                                    : "decode of 8 packed rows and more"));
                assert_int_equal(s.few_least, lanes ? 5 : 8);
                assert_int_equal(s.few_most, s.prefill.rows < 64 ? 16 : 32);
                assert_true(s.decode_rows < s.few_most);
            } else {
                assert_non_null(strstr(s.why, "prefill and decode on matrix units"));
                assert_int_equal(s.few.kernel, -1);
                assert_int_equal(s.few_least, 0);
                assert_int_equal(s.decode_rows, s.prefill.rows < 64 ? 16 : 32);
            }
            if (choice->rows != expected->rows || choice->block_kv != expected->keys ||
                choice->workgroup_size != expected->workgroup ||
                spec[RAPT_SPEC_SUBGROUP] != expected->subgroup || (shape & 0xff) != expected->m ||
                (shape >> 8 & 0xff) != expected->n || shape >> 16 != expected->k)
                fail_msg("%s, group %u: %u rows, %u keys, %u lanes in subgroups of %u, %#x",
                         expected->device, group, choice->rows, choice->block_kv,
                         choice->workgroup_size, spec[RAPT_SPEC_SUBGROUP], shape);
        }
}

/* At all head dims and in any shared memory, wherever prefill has a tile that fits. */
static void matrix_decode_fits_or_is_not_taken(void **state)
{
    static const uint32_t dims[][2] = {{8, 8},     {40, 72},   {64, 64},   {96, 96},
                                       {128, 128}, {192, 128}, {256, 256}, {576, 512}};
    static const rapt_type types[] = {RAPT_TYPE_F16, RAPT_TYPE_BF16, RAPT_TYPE_INT8,
                                      RAPT_TYPE_Q4_0};
    uint32_t n_taken = 0;
    (void)state;
    if (without_matrix_row())
        return;
    for (uint32_t i = 0; i < n_devices; i++)
        for (size_t d = 0; d < sizeof dims / sizeof dims[0]; d++)
            for (uint32_t bytes = 16384; bytes <= 131072; bytes *= 2) {
                rapt_caps caps = devices[i];
                rapt_type type = types[dims[d][0] % 32 ? d % 2 : d % 4];
                struct rapt_select_request request =
                    request_of(16, dims[d][0], dims[d][1], type, 16);
                struct rapt_selection s;
                request.q_type = request.out_type = RAPT_TYPE_F16;
                caps.max_shared_memory = bytes;
                if (type == RAPT_TYPE_BF16)
                    request.q_type = request.out_type = type;
                if (rapt_select(&caps, &request, &s) != RAPT_OK) {
                    if (!strstr(rapt_last_error(), "at least") &&
                        !strstr(rapt_last_error(), "storage buffers"))
                        fail_msg("%s: %s", names[i], rapt_last_error());
                    continue;
                }
                check_choice(names[i], &caps, &s.decode);
                const char *name = rapt_kernel_name(s.decode.kernel);
                int taken = name && strcmp(name + strlen(name) - 3, "_cm") == 0;
                n_taken += taken;
                if (s.matrix != taken)
                    fail_msg("%s, D %u, %u bytes: %s, %s", names[i], dims[d][0], bytes, name,
                             s.why);
            }
    assert_true(n_taken > 200);
}

/* Decode waits for memory: eight subgroups run on a SIMD of RDNA, which gives their lanes 128 bytes
 * each, at usual head dims, and four at the largest. All of them have keys or dims of the scores.
 */
static void matrix_decode_leaves_room_for_others(void **state)
{
    static const char *const chips[] = {"navi31", "gfx1201", "navi33"};
    static const rapt_type types[] = {RAPT_TYPE_F16,  RAPT_TYPE_BF16, RAPT_TYPE_INT8,
                                      RAPT_TYPE_INT4, RAPT_TYPE_Q8_0, RAPT_TYPE_Q4_0};
    static const uint32_t dims[] = {64, 96, 128, 192, 256, 512};
    (void)state;
    if (without_matrix_row())
        return;
    for (size_t i = 0; i < 6 * 6 * 3 * 2; i++) {
        const char *chip = chips[i % 3];
        const rapt_caps *caps = device_named(chip);
        uint32_t d = dims[i / 3 % 6];
        struct rapt_select_request request = request_of(8, d, d, types[i / 18 % 6], 16);
        struct rapt_selection s;
        if (request.kv_type != RAPT_TYPE_BF16)
            request.q_type = request.out_type = RAPT_TYPE_F16;
        if (i / 108)
            request.n_kv_segments = 4;
        assert_int_equal(rapt_select(caps, &request, &s), RAPT_OK);
        const uint32_t *spec = s.decode.spec, columns = spec[RAPT_SPEC_TILE_B] >> 8;
        uint32_t shape_n = spec[RAPT_SPEC_TILE_A] >> 8 & 0xff;
        check_choice(chip, caps, &s.decode);
        const uint32_t room = (d > 256 ? 256 : 128) * s.decode.workgroup_size;
        if (!s.matrix || spec[RAPT_SPEC_TILE_D] != 1 || s.decode.shared_bytes > room ||
            s.decode.block_kv != 32)
            fail_msg("%s, %s, D %u: %u keys, %u of %u bytes", chip, rapt_type_name(request.kv_type),
                     d, s.decode.block_kv, s.decode.shared_bytes, room);
        assert_int_equal(columns * shape_n % s.decode.block_kv, 0);
        assert_int_equal(spec[RAPT_SPEC_TILE_C] * s.decode.block_kv % (columns * shape_n * 16), 0);
    }
    const rapt_caps *other = device_named("ga102");
    struct rapt_select_request request = request_of(8, 128, 128, RAPT_TYPE_F16, 16);
    struct rapt_selection s;
    assert_int_equal(rapt_select(other, &request, &s), RAPT_OK);
    assert_int_equal(s.decode.spec[RAPT_SPEC_TILE_D], 0);
}

static void matrix_decode_when_not(void **state)
{
    struct rapt_select_request request = request_of(8, 128, 128, RAPT_TYPE_F16, 16);
    struct rapt_selection s;
    const rapt_caps *gpu = device_named("navi31"), *cpu = device_named("lavapipe-26.1");
    rapt_caps caps = *gpu;
    (void)state;
    if (without_matrix_row())
        return;
    request.path = RAPT_PATH_PORTABLE;
    assert_int_equal(rapt_select(gpu, &request, &s), RAPT_OK);
    assert_string_equal(rapt_kernel_name(s.decode.kernel), "decode_f16_sg");
    request.path = RAPT_PATH_AUTO;
    caps.features &= ~RAPT_FEATURE_COOPMAT;
    assert_int_equal(rapt_select(&caps, &request, &s), RAPT_OK);
    assert_string_equal(rapt_kernel_name(s.decode.kernel), "decode_f16_sg");
    assert_int_equal(s.few.kernel, -1);
    request.block_q = 32; /* prefill's */
    request.block_kv = 32;
    assert_int_equal(rapt_select(gpu, &request, &s), RAPT_OK);
    assert_string_equal(rapt_kernel_name(s.decode.kernel), "decode_f16_cm");
    assert_true(s.prefill.rows == 32 && s.decode.rows == 16 && s.decode.block_kv == 32 &&
                s.decode.workgroup_size == 128);
    request.block_q = request.block_kv = 0;
    request.tile_few = 99; /* nobody's */
    assert_int_equal(rapt_select(gpu, &request, &s), RAPT_OK);
    request.n_q_heads = 4 * request.n_kv_heads;
    assert_int_equal(rapt_select(gpu, &request, &s), RAPT_ERROR_ARGUMENT);
    assert_non_null(strstr(rapt_last_error(), "candidate tile 99 of decode_f16_cm"));
    request.tile_few = 2;
    assert_int_equal(rapt_select(gpu, &request, &s), RAPT_OK);
    assert_true(s.few.rows == 32 && s.few_most == 32 && s.few_tile.n > 2);
    request.tile_few = 0;
    request.n_q_heads = 8 * request.n_kv_heads;
    request.kv_type = RAPT_TYPE_Q8_0; /* codes are exact on matrix units: no integers needed */
    assert_int_equal(rapt_select(gpu, &request, &s), RAPT_OK);
    assert_string_equal(rapt_kernel_name(s.decode.kernel), "decode_q8_0_cm");
    assert_int_equal(s.integer_dot, 0);
    request.integer_dot = RAPT_CHOICE_ALWAYS;
    assert_int_equal(rapt_select(gpu, &request, &s), RAPT_OK);
    assert_string_equal(rapt_kernel_name(s.decode.kernel), "tiled_q8_0_ptd");
    assert_int_equal(s.few.kernel, -1);
    request.integer_dot = RAPT_CHOICE_AUTO;
    request.kv_type = RAPT_TYPE_F16;

    /* the CPU driver's own row is faster; asked for, it runs */
    assert_int_equal(rapt_select(cpu, &request, &s), RAPT_OK);
    assert_string_equal(rapt_kernel_name(s.decode.kernel), "decode_f16_lp");
    request.path = RAPT_PATH_COOPMAT;
    assert_int_equal(rapt_select(cpu, &request, &s), RAPT_OK);
    assert_string_equal(rapt_kernel_name(s.decode.kernel), "decode_f16_cm");
    request.path = RAPT_PATH_AUTO;
    request.force_decode = rapt_kernel_find("decode_f16_cm") + 1;
    assert_int_equal(rapt_select(cpu, &request, &s), RAPT_OK);
    assert_true(s.matrix && s.prefill.kernel < 0 && s.decode.rows == 16);
    request.kv_type = RAPT_TYPE_INT8;
    assert_int_equal(rapt_select(cpu, &request, &s), RAPT_ERROR_ARGUMENT);
}

int main(void)
{
    if (!read_devices(RAPT_TEST_DEVICES))
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chips_get_matrix_tiles),
        cmocka_unit_test(matrix_tiles_step_down),
        cmocka_unit_test(matrix_units_when_not),
        cmocka_unit_test(eight_rows_decode_on_matrix_units),
        cmocka_unit_test(matrix_decode_fits_or_is_not_taken),
        cmocka_unit_test(matrix_decode_leaves_room_for_others),
        cmocka_unit_test(matrix_decode_when_not),
    };
    return cmocka_run_group_tests_name("select matrix", tests, NULL, NULL);
}
