/* SPDX-License-Identifier: Apache-2.0 */

/* Kernel selection on snapshots of devices, none of them needed here: every shape gets kernels that
 * fit, tiles change gently with shape and limits, knobs are honoured or refused. */

#include "kernel_table.h"
#include "select.h"
#include "select_cpu.h"
#include "select_tiles.h"
#include "tiles.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "all_snapshots.h"
#include "select_case.h"

/* ---------------------------------------------------------------------------------------- fits */

static int name_ends(int kernel, const char *end)
{
    const char *name = kernel < 0 ? "" : rapt_kernel_name(kernel);
    size_t n = strlen(name), m = strlen(end);
    return n >= m && strcmp(name + n - m, end) == 0;
}

/* What shaders/tiles.h asks of the portable kernels' numbers. */
static void check_tile(const struct rapt_kernel_choice *choice, int scales, int pieces)
{
    const uint32_t *spec = choice->spec;
    uint32_t tx = spec[RAPT_SPEC_TILE_B], v_keys = spec[RAPT_SPEC_TILE_C];
    assert_true(tx >= 4 && (tx & (tx - 1)) == 0);
    assert_int_equal(spec[RAPT_SPEC_WG_SIZE] % tx, 0);
    assert_int_equal(choice->rows % (spec[RAPT_SPEC_WG_SIZE] / tx), 0);
    assert_int_equal(choice->block_kv % tx, 0);
    assert_int_equal(choice->block_kv % 4, 0);
    assert_int_equal(spec[RAPT_SPEC_TILE_A] % 8, 0);
    assert_true(spec[RAPT_SPEC_TILE_A] > 0 && spec[RAPT_SPEC_TILE_D] <= 1);
    assert_true(v_keys >= 4 && v_keys % 4 == 0);
    assert_int_equal(choice->block_kv % v_keys, 0);
    uint32_t key_bytes = rapt_tile_key_bytes(scales, pieces);
    if (name_ends(choice->kernel, "_ptd")) {
        assert_int_equal(spec[RAPT_SPEC_TILE_A], 32);
        assert_int_equal(spec[RAPT_SPEC_TILE_D], 1);
        assert_int_equal(choice->shared_bytes, rapt_tile_dot_shared_bytes(spec, key_bytes));
    } else {
        assert_int_equal(choice->shared_bytes, rapt_tile_shared_bytes(spec, key_bytes));
    }
}

static int is_portable(int kernel)
{
    return name_ends(kernel, "_pt") || name_ends(kernel, "_pts") || name_ends(kernel, "_ptd");
}

static void check_selection(const char *device, const rapt_caps *caps,
                            const struct rapt_select_request *request)
{
    struct rapt_selection s;
    rapt_status status = rapt_select(caps, request, &s);
    if (status != RAPT_OK)
        fail_msg("%s, D %u/%u: %s", device, request->head_dim, request->head_dim_v,
                 rapt_last_error());
    assert_true(s.prefill.kernel >= 0 && s.merge.kernel >= 0 && s.reduce.kernel >= 0);
    check_choice(device, caps, &s.prefill);
    check_choice(device, caps, &s.decode);
    check_choice(device, caps, &s.merge);
    check_choice(device, caps, &s.stage);
    check_choice(device, caps, &s.reduce);
    int pieces = request->n_kv_segments > 1;
    int scales = request->kv_type >= RAPT_TYPE_INT8 && request->kv_type <= RAPT_TYPE_INT4;
    if (is_portable(s.prefill.kernel))
        check_tile(&s.prefill, scales, pieces);
    if (is_portable(s.decode.kernel))
        check_tile(&s.decode, scales, pieces);
    assert_true(s.why[0] != 0 && s.target_items > 0);
    assert_true(s.max_keys_per_item >= s.prefill.block_kv);
    if (s.staged) {
        assert_true(s.stage.kernel >= 0 && s.cpu);
        assert_int_equal(s.stage_rows % 8, 0);
        assert_in_range(s.stage_rows, 1024, 1 << 16);
        assert_true((uint64_t)s.stage_rows * (request->head_dim + request->head_dim_v) * 4 <=
                    32u << 20);
        /* staged as stored in one family only, and both kernels must know */
        int halves = strstr(rapt_kernel_name(s.prefill.kernel), "_lpb") != NULL &&
                     (request->kv_type == RAPT_TYPE_F16 || request->kv_type == RAPT_TYPE_BF16);
        assert_int_equal(s.stage_unit, halves ? 2 : 4);
        assert_int_equal(s.stage.spec[RAPT_SPEC_STAGED], halves ? (int)request->kv_type : 0);
        assert_int_equal(s.prefill.spec[RAPT_SPEC_STAGED], s.stage.spec[RAPT_SPEC_STAGED]);
    }
}

static void every_shape_fits_every_device(void **state)
{
    (void)state;
    static const uint32_t dims[] = {8,   16,  24,  40,  64,  72,  80, 96,
                                    128, 160, 192, 256, 320, 512, 576};
    static const uint32_t groups[] = {1, 2, 4, 7, 8, 16, 64};
    static const rapt_type types[] = {RAPT_TYPE_F32, RAPT_TYPE_F16, RAPT_TYPE_BF16};
    for (uint32_t i = 0; i < n_devices; i++)
        for (size_t d = 0; d < sizeof dims / sizeof dims[0]; d++)
            for (size_t v = 0; v < sizeof dims / sizeof dims[0]; v++)
                for (size_t t = 0; t < 3; t++) {
                    struct rapt_select_request request =
                        request_of(groups[(d + v + t) % 7], dims[d], dims[v], types[t],
                                   (d + v) % 3 == 0 ? 16 : 0);
                    check_selection(names[i], &devices[i], &request);
                }
}

/* Quantized K/V, in one piece and in four: refused only where the device binds too few buffers. */
static void quantized_shapes_fit(void **state)
{
    (void)state;
    static const uint32_t dims[] = {32, 64, 96, 128, 256, 512, 576};
    const size_t n_dims = sizeof dims / sizeof dims[0];
    for (uint32_t i = 0; i < n_devices; i++)
        for (size_t d = 0; d < n_dims; d++)
            for (uint32_t n = 0; n < 15; n++) {
                struct rapt_select_request request =
                    request_of(4, dims[d], dims[(d * 3 + n) % n_dims], RAPT_TYPE_F32, 16);
                request.kv_type = (rapt_type)(RAPT_TYPE_INT8 + n % 5);
                request.n_kv_segments = n / 5 == 1 ? 4 : 1;
                request.integer_dot = n / 5 == 2 ? RAPT_CHOICE_ALWAYS : RAPT_CHOICE_AUTO;
                struct rapt_selection s;
                if (rapt_select(&devices[i], &request, &s) == RAPT_OK)
                    check_selection(names[i], &devices[i], &request);
                else if (devices[i].max_storage_buffers >= 20 ||
                         !strstr(rapt_last_error(), "storage buffers"))
                    fail_msg("%s, %s, D %u: %s", names[i], rapt_type_name(request.kv_type), dims[d],
                             rapt_last_error());
            }
}

/* ------------------------------------------------------------------------------------ no cliffs */

static void tiles_shrink_gently(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < n_devices; i++) {
        uint32_t before = 0;
        for (uint32_t d = 8; d <= 576; d += 8) {
            struct rapt_select_request request = request_of(4, d, d, RAPT_TYPE_F16, 0);
            struct rapt_selection s;
            assert_int_equal(rapt_select(&devices[i], &request, &s), RAPT_OK);
            uint32_t area = s.prefill.rows * s.prefill.block_kv;
            if (before && area * 4 < before)
                fail_msg("%s: from head_dim %u to %u the tile falls from %u to %u pairs", names[i],
                         d - 8, d, before, area);
            before = area;
        }
    }
}

/* Of the tile without a limit. */
static uint32_t best_area(const rapt_caps *caps, uint32_t dims)
{
    struct rapt_select_request request = request_of(4, dims, dims, RAPT_TYPE_F16, 0);
    request.path = RAPT_PATH_PORTABLE;
    struct rapt_selection s;
    assert_int_equal(rapt_select(caps, &request, &s), RAPT_OK);
    return s.prefill.rows * s.prefill.block_kv;
}

static void more_shared_memory_never_hurts(void **state)
{
    (void)state;
    static const uint32_t dims[] = {64, 128, 256, 576};
    for (uint32_t i = 0; i < n_devices; i++)
        for (size_t d = 0; d < 4; d++) {
            uint32_t rows = 0, spilled = 1, fitted = 0;
            int is_cpu = devices[i].device_type == VK_PHYSICAL_DEVICE_TYPE_CPU;
            uint32_t best = best_area(&devices[i], dims[d]);
            for (uint32_t limit = 1024; limit <= devices[i].max_shared_memory; limit += 1024) {
                struct rapt_select_request request =
                    request_of(4, dims[d], dims[d], RAPT_TYPE_F16, 0);
                struct rapt_selection s;
                request.path = RAPT_PATH_PORTABLE;
                request.shared_memory_limit = limit;
                rapt_status status = rapt_select(&devices[i], &request, &s);
                if (status != RAPT_OK) {
                    assert_int_equal(status, RAPT_ERROR_ARGUMENT);
                    assert_false(fitted); /* what fits once fits ever after */
                    continue;
                }
                fitted = 1;
                assert_true(s.prefill.shared_bytes <= limit && s.decode.shared_bytes <= limit);
                uint32_t area = s.prefill.rows * s.prefill.block_kv;
                uint32_t spills =
                    s.cpu ? 0 : rapt_select_tile_spills(&devices[i], &s.prefill, &request);
                /* registers come first: a tile that spills gives way to one that does not; and CPUs
                 * have a small tile of their own, which they take as soon as it fits */
                int own = is_cpu && area == best;
                if (spills > spilled || (area < rows && spills == spilled && !own))
                    fail_msg("%s, D %u: at %u bytes the tile goes from %u to %u pairs, spills %u",
                             names[i], dims[d], limit, rows, area, spills);
                rows = area;
                spilled = spills;
            }
            assert_true(fitted);
        }
}

/* A device whose few rows are left to portable tiles. */
static rapt_caps without_subgroups(const char *name)
{
    rapt_caps caps = *device_named(name);
    caps.features &= ~RAPT_FEATURE_SUBGROUP;
    return caps;
}

/* What tests/vendor found their compilers to want. */
static void lanes_stay_within_the_budget(void **state)
{
    static const char *const chips[] = {"navi21", "gfx1201", "ga102", "b580", "tgl"};
    static const uint32_t dims[] = {64, 128, 256, 512};
    (void)state;
    for (size_t i = 0; i < sizeof chips / sizeof *chips; i++) {
        const rapt_caps own = without_subgroups(chips[i]), *caps = &own;
        uint32_t subgroup = caps->vendor_id == 0x8086 ? caps->min_subgroup_size : 0;
        for (uint32_t group = 1; group <= 16; group *= 2)
            for (size_t d = 0; d < 4; d++) {
                struct rapt_select_request request =
                    request_of(group, dims[d], dims[d], RAPT_TYPE_F16, 16);
                struct rapt_selection s;
                request.path = RAPT_PATH_PORTABLE;
                assert_int_equal(rapt_select(caps, &request, &s), RAPT_OK);
                assert_int_equal(s.prefill.required_subgroup_size, subgroup);
                assert_int_equal(s.decode.required_subgroup_size, subgroup);
                assert_false(rapt_select_tile_spills(caps, &s.prefill, &request));
                assert_false(rapt_select_tile_spills(caps, &s.decode, &request));
                if (s.decode.shared_bytes > 128 * s.decode.workgroup_size)
                    fail_msg("%s, group %u, D %u: %u bytes for %u lanes", chips[i], group, dims[d],
                             s.decode.shared_bytes, s.decode.workgroup_size);
            }
    }
}

/* Where more than 128 registers leave a SIMD with one subgroup, prefill takes tiles that leave two;
 * decode, where a tile has many rows, tiles that leave three. */
static void gcn_runs_several_subgroups(void **state)
{
    static const struct {
        uint32_t d, dv, rows, keys, tx;
    } prefill[] = {{64, 64, 32, 64, 16},
                   {128, 128, 32, 64, 16},
                   {256, 256, 16, 64, 32},
                   {576, 512, 16, 64, 32}}; /* of 16 rows none has so few */
    static const char *const chips[] = {"polaris10", "vega10"};
    static const rapt_type types[] = {RAPT_TYPE_F32, RAPT_TYPE_F16, RAPT_TYPE_Q8_0};
    (void)state;
    for (size_t i = 0; i < 2; i++)
        for (size_t p = 0; p < sizeof prefill / sizeof *prefill; p++)
            for (size_t t = 0; t < 3; t++) {
                const rapt_caps own = without_subgroups(chips[i]), *caps = &own;
                struct rapt_select_request request =
                    request_of(8, prefill[p].d, prefill[p].dv, types[t], 16);
                struct rapt_selection s;
                request.q_type = request.out_type = RAPT_TYPE_F32;
                request.integer_dot = RAPT_CHOICE_NEVER;
                assert_int_equal(rapt_select(caps, &request, &s), RAPT_OK);
                assert_int_equal(s.prefill.rows, prefill[p].rows);
                assert_int_equal(s.prefill.block_kv, prefill[p].keys);
                assert_int_equal(s.prefill.spec[RAPT_SPEC_TILE_B], prefill[p].tx);
                if (s.decode.shared_bytes > 85 * s.decode.workgroup_size)
                    fail_msg("%s, D %u: decode has %u bytes for %u lanes", chips[i], prefill[p].d,
                             s.decode.shared_bytes, s.decode.workgroup_size);
                request.n_q_heads = request.n_kv_heads; /* 4 rows */
                assert_int_equal(rapt_select(caps, &request, &s), RAPT_OK);
                assert_true(s.decode.block_kv == 64 && s.decode.spec[RAPT_SPEC_TILE_A] >= 16);
            }
    struct rapt_select_request request = request_of(8, 128, 128, RAPT_TYPE_F16, 16);
    struct rapt_selection s;
    assert_int_equal(rapt_select(device_named("navi10"), &request, &s), RAPT_OK);
    assert_int_equal(s.prefill.rows, 64); /* RDNA has the registers */
}

static void subgroups_are_asked_for_within_limits(void **state)
{
    (void)state;
    rapt_caps caps = *device_named("b580");
    struct rapt_select_request request = request_of(16, 512, 512, RAPT_TYPE_F16, 16);
    struct rapt_selection s;
    for (caps.max_workgroup_subgroups = 32; caps.max_workgroup_subgroups >= 4;
         caps.max_workgroup_subgroups /= 2) {
        for (int path = RAPT_PATH_AUTO; path <= RAPT_PATH_PORTABLE; path++) {
            request.path = (rapt_path)path;
            assert_int_equal(rapt_select(&caps, &request, &s), RAPT_OK);
            assert_true(s.decode.workgroup_size <= 16 * caps.max_workgroup_subgroups);
            assert_true(s.prefill.workgroup_size <= 16 * caps.max_workgroup_subgroups);
        }
    }
    caps.features &= ~RAPT_FEATURE_SUBGROUP_SIZE_CONTROL;
    assert_int_equal(rapt_select(&caps, &request, &s), RAPT_OK);
    assert_int_equal(s.decode.required_subgroup_size, 0);
}

/* --------------------------------------------------------------------------------------- rules */

static void expect_kernels(const char *device, rapt_features disable, const char *prefill,
                           const char *decode)
{
    rapt_caps caps = *device_named(device);
    struct rapt_select_request request = request_of(4, 128, 128, RAPT_TYPE_F16, 16);
    struct rapt_selection s;
    caps.features &= ~disable;
    assert_int_equal(rapt_select(&caps, &request, &s), RAPT_OK);
    assert_string_equal(rapt_kernel_name(s.prefill.kernel), prefill);
    if (decode)
        assert_string_equal(rapt_kernel_name(s.decode.kernel), decode);
    else
        assert_int_equal(s.decode.kernel, -1);
    assert_int_equal(s.cpu, s.staged);
    assert_int_equal(s.cpu, s.stage.kernel >= 0);
    if (disable & RAPT_FEATURE_CPU_ROWS)
        assert_non_null(strstr(s.why, "cpu_rows is disabled"));
}

static void rows_that_share_keys_get_larger_tiles(void **state)
{
    (void)state;
    struct rapt_select_request request = request_of(4, 128, 128, RAPT_TYPE_F16, 16);
    struct rapt_selection s;
    const rapt_caps *caps = device_named("lavapipe-25.0");
    assert_int_equal(rapt_select_cpu_shared(device_named("lavapipe-26.1"), &request), 0);
    assert_int_equal(rapt_select_cpu_shared(caps, &request), 32);
    assert_int_equal(rapt_select(caps, &request, &s), RAPT_OK);
    assert_int_equal(s.prefill.rows, 16); /* and others keep theirs */
    request.block_q = 32;
    assert_int_equal(rapt_select_cpu_shared(caps, &request), 0);
    assert_int_equal(rapt_select(caps, &request, &s), RAPT_OK);
    assert_int_equal(s.prefill.rows, 32);
    request = request_of(4, 192, 128, RAPT_TYPE_F16, 16);
    assert_int_equal(rapt_select_cpu_shared(caps, &request), 0);
    request = request_of(4, 128, 128, RAPT_TYPE_F16, 16);
    request.n_kv_segments = 2; /* portable rows, which know no such tile */
    assert_int_equal(rapt_select_cpu_shared(caps, &request), 0);
}

static void the_cpu_driver_gets_its_own_rows(void **state)
{
    (void)state;
    expect_kernels("lavapipe-26.1", 0, "prefill_lp", "decode_f16_lp");
    expect_kernels("lavapipe-26.1-wide", 0, "prefill_lp", "decode_f16_lp");
    expect_kernels("lavapipe-25.0", 0, "prefill_lpb", "decode_f16_lpb");
    expect_kernels("lavapipe-22.3", 0, "prefill_lps", "decode_f16_lps");
    expect_kernels("lavapipe-26.1", RAPT_FEATURE_CPU_ROWS, "prefill_f16_pt", "decode_f16_pt");
    expect_kernels("lavapipe-26.1", RAPT_FEATURE_BUFFER_DEVICE_ADDRESS, "prefill_f16_pt",
                   "decode_f16_pt");
    expect_kernels("swiftshader", 0, "prefill_f16_pt", "decode_f16_pt");
    expect_kernels("navi31", RAPT_FEATURE_COOPMAT, "prefill_f16_pt", "decode_f16_sg");
    expect_kernels("navi31", RAPT_FEATURE_COOPMAT | RAPT_FEATURE_SUBGROUP, "prefill_f16_pt",
                   "decode_f16_pt");
}

/* Mesa 26: from 449 dims on the weights of some keys are kept and V has loops of its own. */
static void the_cpu_driver_adds_v_apart_where_dims_are_many(void **state)
{
    (void)state;
    static const struct {
        const char *device;
        uint32_t d, dv, keys, kept;
    } expected[] = {
        {"lavapipe-26.1", 128, 128, 8, 0},  {"lavapipe-26.1", 192, 128, 4, 0},
        {"lavapipe-26.1", 256, 256, 8, 64}, {"lavapipe-26.1", 512, 512, 4, 64},
        {"lavapipe-26.1", 576, 512, 1, 0},  {"lavapipe-25.0", 512, 512, 2, 0},
        {"lavapipe-25.0", 256, 256, 8, 0},
    };
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        struct rapt_select_request request =
            request_of(4, expected[i].d, expected[i].dv, RAPT_TYPE_F16, 0);
        struct rapt_selection s;
        assert_int_equal(rapt_select(device_named(expected[i].device), &request, &s), RAPT_OK);
        assert_int_equal(s.prefill.spec[RAPT_SPEC_TILE_A], expected[i].keys);
        assert_int_equal(s.prefill.spec[RAPT_SPEC_TILE_C], expected[i].kept);
    }
}

/* Where the driver's own rows lack one for decode, their prefill takes all. */
static void without_a_decode_row_prefill_takes_all(void **state)
{
    (void)state;
    rapt_caps caps = *device_named("lavapipe-22.3");
    struct rapt_select_request request = request_of(4, 128, 128, RAPT_TYPE_F16, 16);
    struct rapt_selection s;
    assert_int_equal(rapt_select(&caps, &request, &s), RAPT_OK);
    assert_string_equal(rapt_kernel_name(s.decode.kernel), "decode_f16_lps");
    assert_true(n_bindings_of(s.prefill.kernel) < n_bindings_of(s.decode.kernel));
    caps.max_storage_buffers = n_bindings_of(s.decode.kernel) - 1; /* unusable, not absent */
    assert_int_equal(rapt_select(&caps, &request, &s), RAPT_OK);
    assert_string_equal(rapt_kernel_name(s.prefill.kernel), "prefill_lps");
    assert_int_equal(s.decode.kernel, -1);

    request.kv_type = RAPT_TYPE_INT8; /* no such row */
    assert_int_equal(rapt_select(device_named("lavapipe-22.3"), &request, &s), RAPT_OK);
    assert_string_equal(rapt_kernel_name(s.prefill.kernel), "prefill_lps");
    assert_int_equal(s.decode.kernel, -1);
    request = request_of(4, 576, 512, RAPT_TYPE_F16, 0); /* compiles too long */
    assert_int_equal(rapt_select(device_named("lavapipe-22.3"), &request, &s), RAPT_OK);
    assert_int_equal(s.decode.kernel, -1);
}

static void too_few_storage_buffers_are_told(void **state)
{
    (void)state;
    rapt_caps caps = *device_named("poor-vulkan11");
    struct rapt_select_request request = request_of(4, 128, 128, RAPT_TYPE_F16, 0);
    struct rapt_selection s;
    caps.max_storage_buffers = 4;
    assert_int_equal(rapt_select(&caps, &request, &s), RAPT_ERROR_UNSUPPORTED);
    assert_non_null(strstr(rapt_last_error(), "storage buffers"));
}

static void knobs_are_honoured_or_refused(void **state)
{
    (void)state;
    struct rapt_select_request request = request_of(4, 128, 128, RAPT_TYPE_F16, 16);
    struct rapt_selection s;
    const char *all[] = {"navi31", "ad102", "lavapipe-26.1", "lavapipe-25.0", "swiftshader"};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        const rapt_caps *caps = device_named(all[i]);
        request.block_q = 32;
        request.block_kv = 16;
        assert_int_equal(rapt_select(caps, &request, &s), RAPT_OK);
        assert_int_equal(s.prefill.rows, 32);
        assert_int_equal(s.prefill.block_kv, 16);
        check_choice(all[i], caps, &s.prefill);
        request.block_kv = 0;
        request.pages_per_block = 2;
        assert_int_equal(rapt_select(caps, &request, &s), RAPT_OK);
        assert_int_equal(s.prefill.block_kv, 32);
        request.pages_per_block = 0;
        request.block_q = 1u << 20;
        assert_int_equal(rapt_select(caps, &request, &s), RAPT_ERROR_ARGUMENT);
        request.block_q = 0;
        request.block_kv = 6;
        assert_int_equal(rapt_select(caps, &request, &s), RAPT_ERROR_ARGUMENT);
        request.block_kv = 0;
        request.shared_memory_limit = caps->max_shared_memory + 1;
        assert_int_equal(rapt_select(caps, &request, &s), RAPT_ERROR_ARGUMENT);
        assert_non_null(strstr(rapt_last_error(), "shared_memory_limit"));
        request.shared_memory_limit = 0;
        request.max_keys_per_item = 3;
        assert_int_equal(rapt_select(caps, &request, &s), RAPT_ERROR_ARGUMENT);
        request.max_keys_per_item = 512;
        assert_int_equal(rapt_select(caps, &request, &s), RAPT_OK);
        assert_int_equal(s.max_keys_per_item, 512);
        request.max_keys_per_item = 0;
    }
}

static void the_last_cache_is_known_by_name(void **state)
{
    (void)state;
    static const struct {
        const char *device, *name;
        uint32_t keys; /* of 512 bytes, in half of the cache */
    } expected[] = {
        {"ga102", "NVIDIA H100 80GB HBM3", 25 << 11},
        {"ad102", "NVIDIA GeForce RTX 4090", 36 << 11},
        {"navi31", "AMD Radeon RX 7900 XT (RADV NAVI31)", 40 << 11},
        {"navi31", "NVIDIA GeForce RTX 4090", 2 << 11}, /* another vendor's */
        {"b580", "Intel(R) Arc(tm) B580 Graphics (BMG G21)", 9 << 11},
        {"tgl", "Intel(R) Iris(R) Xe Graphics (TGL GT2)", 1 << 11},
        {"lavapipe-26.1", "llvmpipe", 0},
    };
    struct rapt_select_request request = request_of(4, 128, 128, RAPT_TYPE_F16, 0);
    struct rapt_selection s;
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        rapt_caps caps = *device_named(expected[i].device);
        snprintf(caps.device_name, sizeof caps.device_name, "%s", expected[i].name);
        request.keys_at_once = 0;
        assert_int_equal(rapt_select(&caps, &request, &s), RAPT_OK);
        assert_int_equal(s.cache_keys, expected[i].keys);
        request.keys_at_once = 1000;
        assert_int_equal(rapt_select(&caps, &request, &s), RAPT_OK);
        assert_int_equal(s.cache_keys, 1000);
    }
    request.keys_at_once = 0;
    request.kv_type = RAPT_TYPE_INT4; /* a quarter of the bytes */
    assert_int_equal(rapt_select(device_named("tgl"), &request, &s), RAPT_OK);
    assert_int_equal(s.cache_keys, 4 << 11);
}

/* LP_NATIVE_VECTOR_WIDTH: 256 bits are 8 lanes, 128 and 512 are told to the driver by the
 * environment. */
static void the_cpu_driver_with_other_vectors(void **state)
{
    (void)state;
    struct rapt_select_request request = request_of(4, 128, 128, RAPT_TYPE_F16, 0);
    struct rapt_selection s;
    rapt_caps caps = *device_named("lavapipe-26.1");
    assert_int_equal(rapt_select(&caps, &request, &s), RAPT_OK);
    assert_non_null(strstr(s.why, "LP_NATIVE_VECTOR_WIDTH=512"));
    caps.subgroup_size = caps.min_subgroup_size = caps.max_subgroup_size = 16;
    caps.supported &= ~RAPT_MATRIX_FEATURES;
    caps.features &= ~RAPT_MATRIX_FEATURES;
    assert_int_equal(rapt_select(&caps, &request, &s), RAPT_OK);
    assert_string_equal(rapt_kernel_name(s.prefill.kernel), "prefill_lp");
    assert_string_equal(rapt_kernel_name(s.decode.kernel), "decode_f16_lp");
    assert_int_equal(s.prefill.workgroup_size, 16);
    assert_int_equal(s.prefill.rows, 16);
    assert_int_equal(s.decode.workgroup_size, 16);
    assert_null(strstr(s.why, "LP_NATIVE_VECTOR_WIDTH"));
    int matrix = rapt_kernel_find("prefill_f16_cm");
    assert_non_null(strstr(rapt_kernel_unsupported_reason(&caps, matrix), "512 bits"));
    caps.subgroup_size = caps.min_subgroup_size = caps.max_subgroup_size = 4;
    assert_int_equal(rapt_select(&caps, &request, &s), RAPT_OK);
    assert_int_equal(s.prefill.rows, 4);
    assert_string_equal(rapt_kernel_name(s.decode.kernel), "decode_f16_lpb");
}

static void rows_by_name(void **state)
{
    (void)state;
    struct rapt_select_request request = request_of(4, 128, 128, RAPT_TYPE_F16, 0);
    struct rapt_selection s;
    const rapt_caps *gpu = device_named("navi31"), *cpu = device_named("lavapipe-26.1");
    request.force_prefill = rapt_kernel_find("prefill_f16_pt") + 1;
    assert_int_equal(rapt_select(cpu, &request, &s), RAPT_OK);
    assert_string_equal(rapt_kernel_name(s.prefill.kernel), "prefill_f16_pt");
    assert_int_equal(s.decode.kernel, -1); /* so that every sequence goes there */
    assert_false(s.cpu);
    request.force_prefill = rapt_kernel_find("prefill_lp") + 1;
    assert_int_equal(rapt_select(cpu, &request, &s), RAPT_OK);
    assert_true(s.staged);
    assert_int_equal(rapt_select(gpu, &request, &s), RAPT_ERROR_UNSUPPORTED);
    assert_non_null(strstr(rapt_last_error(), "cpu_rows"));
    request.force_prefill = rapt_kernel_find("prefill_f32_pt") + 1;
    assert_int_equal(rapt_select(gpu, &request, &s), RAPT_ERROR_ARGUMENT);
    request.force_prefill = 0;
    request.force_decode = rapt_kernel_find("decode_f16_pt") + 1;
    assert_int_equal(rapt_select(gpu, &request, &s), RAPT_OK);
    assert_int_equal(s.prefill.kernel, -1);
    request.force_decode = rapt_kernel_find("merge_pt") + 1;
    assert_int_equal(rapt_select(gpu, &request, &s), RAPT_ERROR_ARGUMENT);
}

static void combine_fits_every_device(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < n_devices; i++) {
        struct rapt_kernel_choice choice;
        assert_int_equal(rapt_select_combine(&devices[i], &choice), RAPT_OK);
        check_choice(names[i], &devices[i], &choice);
    }
}

static void explained_without_a_device(void **state)
{
    (void)state;
    rapt_plan_params params = {
        .struct_size = sizeof params, .n_q_heads = 32, .n_kv_heads = 8, .head_dim = 128};
    rapt_plan_info info = {.struct_size = sizeof info};
    char why[64];
    assert_int_equal(rapt_plan_explain(device_named("b580"), &params, why, sizeof why, &info),
                     RAPT_OK);
    assert_string_equal(info.prefill_kernel, "prefill_f16_pt"); /* Q is f32 */
    assert_string_equal(info.path, "portable");
    assert_int_equal(info.matrix_units, 0);
    assert_ptr_equal(info.why, why);
    assert_null(info.stage_kernel);
    params.head_dim = 100;
    assert_int_equal(rapt_plan_explain(device_named("b580"), &params, why, sizeof why, &info),
                     RAPT_ERROR_ARGUMENT);
}

int main(void)
{
    if (!read_devices(RAPT_TEST_DEVICES))
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_shape_fits_every_device),
        cmocka_unit_test(quantized_shapes_fit),
        cmocka_unit_test(tiles_shrink_gently),
        cmocka_unit_test(more_shared_memory_never_hurts),
        cmocka_unit_test(lanes_stay_within_the_budget),
        cmocka_unit_test(gcn_runs_several_subgroups),
        cmocka_unit_test(subgroups_are_asked_for_within_limits),
        cmocka_unit_test(the_cpu_driver_gets_its_own_rows),
        cmocka_unit_test(rows_that_share_keys_get_larger_tiles),
        cmocka_unit_test(the_cpu_driver_adds_v_apart_where_dims_are_many),
        cmocka_unit_test(without_a_decode_row_prefill_takes_all),
        cmocka_unit_test(too_few_storage_buffers_are_told),
        cmocka_unit_test(knobs_are_honoured_or_refused),
        cmocka_unit_test(the_last_cache_is_known_by_name),
        cmocka_unit_test(the_cpu_driver_with_other_vectors),
        cmocka_unit_test(rows_by_name),
        cmocka_unit_test(combine_fits_every_device),
        cmocka_unit_test(explained_without_a_device),
    };
    return cmocka_run_group_tests_name("select", tests, NULL, NULL);
}
