/* SPDX-License-Identifier: Apache-2.0 */

/* Candidate tiles and tables of them, without a device: every candidate fits, tables come back as
 * they were written or not at all, and no table can name a tile that is no candidate. */

#include "fail_alloc.h"
#include "kernel_table.h"
#include "select.h"
#include "select_tuned.h"

#include <rapt/tiles.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "all_snapshots.h"

static struct rapt_select_request request_of(uint32_t d, uint32_t dv, rapt_type type)
{
    return (struct rapt_select_request){
        .n_q_heads = 8,
        .n_kv_heads = 2,
        .head_dim = d,
        .head_dim_v = dv,
        .q_type = type == RAPT_TYPE_INT8 ? RAPT_TYPE_F16 : type,
        .kv_type = type,
        .out_type = RAPT_TYPE_F32,
        .features = RAPT_FEAT_LSE | RAPT_FEAT_Q_POS | RAPT_FEAT_PAGED,
        .page_size = 16,
    };
}

/* ---------------------------------------------------------------------------------- candidates */

static void fits(const char *name, const rapt_caps *caps, const struct rapt_kernel_choice *choice)
{
    if (choice->shared_bytes > caps->max_shared_memory ||
        choice->workgroup_size > caps->max_workgroup_invocations ||
        choice->workgroup_size > caps->max_workgroup_size[0] || choice->rows == 0)
        fail_msg("%s: a candidate of %s with %u lanes and %u bytes is beyond the limits", name,
                 rapt_kernel_name(choice->kernel), choice->workgroup_size, choice->shared_bytes);
    assert_int_equal(choice->spec[RAPT_SPEC_WG_SIZE], choice->workgroup_size);
    assert_int_equal(choice->spec[RAPT_SPEC_BLOCK_Q], choice->rows);
    assert_int_equal(choice->spec[RAPT_SPEC_BLOCK_KV], choice->block_kv);
}

/* All candidates of an operation: different from each other, within limits, the first the rules'
 * own. */
static uint32_t check_candidates(const char *name, const rapt_caps *caps,
                                 const struct rapt_select_request *request, int decode)
{
    uint32_t seen[RAPT_MAX_CANDIDATES][RAPT_TILE_NUMBERS], own[RAPT_TILE_NUMBERS];
    struct rapt_selection rules, s;
    assert_int_equal(rapt_select(caps, request, &rules), RAPT_OK);
    const struct rapt_kernel_choice *rule = decode ? &rules.decode : &rules.prefill;
    const uint32_t n = decode ? rules.decode_tile.n : rules.prefill_tile.n;
    if (rule->kernel < 0)
        return 0;
    assert_in_range(n, 1, RAPT_MAX_CANDIDATES);
    const char *from = decode ? rules.decode_tile.from : rules.prefill_tile.from;
    if (strcmp(from, "the shipped table") == 0) { /* its tile is one of those below */
        struct rapt_select_request first = *request;
        *(decode ? &first.tile_decode : &first.tile_prefill) = 1;
        assert_int_equal(rapt_select(caps, &first, &rules), RAPT_OK);
    } else {
        assert_string_equal(from, "the rules");
    }
    rapt_select_tile_numbers(rule, own);
    for (uint32_t i = 0; i < n; i++) {
        struct rapt_select_request asked = *request;
        *(decode ? &asked.tile_decode : &asked.tile_prefill) = i + 1;
        assert_int_equal(rapt_select(caps, &asked, &s), RAPT_OK);
        const struct rapt_kernel_choice *choice = decode ? &s.decode : &s.prefill;
        assert_int_equal(choice->kernel, rule->kernel);
        fits(name, caps, choice);
        rapt_select_tile_numbers(choice, seen[i]);
        for (uint32_t j = 0; j < i; j++)
            assert_memory_not_equal(seen[i], seen[j], sizeof own);
    }
    assert_memory_equal(seen[0], own, sizeof own);
    struct rapt_select_request beyond = *request;
    *(decode ? &beyond.tile_decode : &beyond.tile_prefill) = n + 1;
    assert_int_equal(rapt_select(caps, &beyond, &s), RAPT_ERROR_ARGUMENT);
    char count[32];
    snprintf(count, sizeof count, "there are %u", n);
    assert_non_null(strstr(rapt_last_error(), count));
    return n;
}

static void candidates_fit(void **state)
{
    (void)state;
    static const uint32_t dims[][2] = {{8, 8},     {64, 64},   {128, 128},
                                       {192, 128}, {256, 256}, {576, 512}};
    static const rapt_type types[] = {RAPT_TYPE_F32, RAPT_TYPE_F16, RAPT_TYPE_BF16, RAPT_TYPE_INT8};
    uint32_t n_prefill = 0, n_decode = 0;
    for (uint32_t i = 0; i < n_devices; i++)
        for (size_t d = 0; d < sizeof dims / sizeof dims[0]; d++)
            for (size_t t = 0; t < sizeof types / sizeof types[0]; t++) {
                struct rapt_select_request request = request_of(dims[d][0], dims[d][1], types[t]);
                struct rapt_selection s;
                if (rapt_select(&devices[i], &request, &s) != RAPT_OK)
                    continue; /* test_select knows where that may be */
                n_prefill += check_candidates(names[i], &devices[i], &request, 0) > 1;
                n_decode += check_candidates(names[i], &devices[i], &request, 1) > 1;
            }
    assert_true(n_prefill > 500 && n_decode > 400); /* there is something to measure */
}

/* On CPUs a tile of too many unrolled steps takes minutes to compile. */
static void cpu_candidates_are_bounded(void **state)
{
    (void)state;
    struct rapt_select_request request = request_of(128, 128, RAPT_TYPE_F16);
    struct rapt_selection s;
    for (request.tile_prefill = 1;; request.tile_prefill++) {
        if (rapt_select(device_named("lavapipe-26.1"), &request, &s) != RAPT_OK)
            break;
        assert_true(s.prefill.spec[RAPT_SPEC_TILE_A] * s.prefill.spec[RAPT_SPEC_TILE_B] * 256 <=
                    4096);
    }
    assert_true(request.tile_prefill > 5);
}

/* -------------------------------------------------------------------------------------- tables */

static rapt_tile tile_of(const char *kernel, uint32_t d, uint32_t dv, uint32_t group, uint32_t n)
{
    rapt_tile tile = {.struct_size = sizeof tile, .head_dim = d, .head_dim_v = dv, .group = group};
    snprintf(tile.kernel, sizeof tile.kernel, "%s", kernel);
    for (uint32_t i = 0; i < RAPT_TILE_NUMBERS; i++)
        tile.numbers[i] = n ? n + i : 0;
    return tile;
}

static rapt_tiles *table_of(const rapt_caps *caps)
{
    rapt_tiles *tiles = NULL;
    assert_int_equal(rapt_tiles_create(NULL, caps, &tiles), RAPT_OK);
    const rapt_tile entries[] = {
        tile_of("prefill_f16_pt", 128, 128, 0, 40), tile_of("decode_f16_pt", 128, 128, 4, 70),
        tile_of("prefill_f16_pt", 64, 64, 0, 10), tile_of("decode_f16_pt", 128, 128, 1, 90),
        tile_of("prefill_f16_pt", 128, 64, 0, 4000000000u)};
    for (size_t i = 0; i < sizeof entries / sizeof entries[0]; i++)
        assert_int_equal(rapt_tiles_put(tiles, &entries[i]), RAPT_OK);
    return tiles;
}

static char *text_of(const rapt_tiles *tiles, size_t *out_n)
{
    size_t n = 0, less;
    assert_int_equal(rapt_tiles_write(tiles, NULL, &n), RAPT_OK);
    char *text = calloc(1, n + 1);
    less = n - 1;
    assert_int_equal(rapt_tiles_write(tiles, text, &less), RAPT_ERROR_CAPACITY);
    assert_int_equal(less, n);
    assert_int_equal(rapt_tiles_write(tiles, text, &n), RAPT_OK);
    assert_int_equal(strlen(text), n);
    *out_n = n;
    return text;
}

static void written_and_read(void **state)
{
    (void)state;
    const rapt_caps *caps = device_named("navi31");
    rapt_tiles *tiles = table_of(caps), *again = NULL;
    rapt_tile tile = {.struct_size = sizeof tile};
    size_t n, n_again;
    assert_int_equal(rapt_tiles_count(tiles), 5);
    assert_int_equal(rapt_tiles_get(tiles, 0, &tile), RAPT_OK);
    assert_string_equal(tile.kernel, "decode_f16_pt");
    assert_int_equal(tile.group, 1);
    assert_int_equal(tile.numbers[6], 96);
    assert_int_equal(rapt_tiles_get(tiles, 5, &tile), RAPT_ERROR_ARGUMENT);
    char *text = text_of(tiles, &n);
    assert_int_equal(rapt_tiles_read(NULL, caps, text, n, &again), RAPT_OK);
    char *text_again = text_of(again, &n_again);
    assert_string_equal(text, text_again);

    tile = tile_of("prefill_f16_pt", 64, 64, 0, 20); /* replaces */
    assert_int_equal(rapt_tiles_put(again, &tile), RAPT_OK);
    assert_int_equal(rapt_tiles_count(again), 5);
    tile = tile_of("prefill_f16_pt", 64, 64, 0, 0); /* removes; once more is nothing */
    assert_int_equal(rapt_tiles_put(again, &tile), RAPT_OK);
    assert_int_equal(rapt_tiles_put(again, &tile), RAPT_OK);
    assert_int_equal(rapt_tiles_count(again), 4);
    tile = tile_of("prefill_f17_pt", 64, 64, 0, 1);
    assert_int_equal(rapt_tiles_put(again, &tile), RAPT_ERROR_ARGUMENT);
    assert_non_null(strstr(rapt_last_error(), "prefill_f17_pt"));
    free(text);
    free(text_again);
    rapt_tiles_destroy(&tiles);
    rapt_tiles_destroy(&again);
    assert_null(again);
}

static void damage_is_refused(void **state)
{
    (void)state;
    const rapt_caps *caps = device_named("navi31");
    rapt_tiles *tiles = table_of(caps), *read = NULL;
    size_t n;
    char *text = text_of(tiles, &n);
    for (size_t i = 0; i < n; i++) {
        char was = text[i];
        text[i] ^= 1;
        if (rapt_tiles_read(NULL, caps, text, n, &read) != RAPT_ERROR_ARGUMENT)
            fail_msg("byte %zu changed, and the table is read", i);
        assert_null(read);
        text[i] = was;
        assert_int_equal(rapt_tiles_read(NULL, caps, text, i, &read), RAPT_ERROR_ARGUMENT);
        assert_null(read);
    }
    rapt_caps other = *caps;
    other.driver_version++;
    assert_int_equal(rapt_tiles_read(NULL, &other, text, n, &read), RAPT_ERROR_ARGUMENT);
    assert_non_null(strstr(rapt_last_error(), "another device or driver"));
    text[strlen("rapt tiles ")] = '2';
    assert_int_equal(rapt_tiles_read(NULL, caps, text, n, &read), RAPT_ERROR_ARGUMENT);
    assert_non_null(strstr(rapt_last_error(), "another format"));
    free(text);
    rapt_tiles_destroy(&tiles);
}

/* A right checksum over wrong lines: whoever wrote that, it is refused; a kernel this library does
 * not have is passed over. */
static void lines_are_read_strictly(void **state)
{
    (void)state;
    static const struct {
        const char *lines;
        int n_read; /* -1 = refused */
    } cases[] = {
        {"", 0},
        {"prefill_f16_pt 64 64 0: 1 2 3 4 5 6 7\n", 1},
        {"prefill_f16_pt 64 64 0: 1 2 3 4 5 6 4294967295\n", 1},
        {"prefill_f99_pt 64 64 0: 1 2 3 4 5 6 7\n", 0},
        {"prefill_f16_pt 64 64 0: 1 2 3 4 5 6 4294967296\n", -1},
        {"prefill_f16_pt 64 64 0: 1 2 3 4 5 6 99999999999999999999999\n", -1},
        {"prefill_f16_pt 64 64 0: 1 2 3 4 5 6\n", -1},
        {"prefill_f16_pt 64 64 0: 1 2 3 4 5 6 7 8\n", -1},
        {"prefill_f16_pt 64 64 0: 1 2 3 4 5 6 7 \n", -1},
        {"prefill_f16_pt 64 64 0 1 2 3 4 5 6 7\n", -1},
        {"prefill_f16_pt 64 64 0:1 2 3 4 5 6 7\n", -1},
        {"prefill_f16_pt 64 64 0: -1 2 3 4 5 6 7\n", -1},
        {"prefill_f16_pt 64 64  0: 1 2 3 4 5 6 7\n", -1},
        {" 64 64 0: 1 2 3 4 5 6 7\n", -1},
        {"\n", -1},
        {"prefill_f16_pt 64 64 0: 1 2 3 4 5 6 7", -1},
        {"prefill_f16_pt_and_a_name_that_is_longer_than_any_kernel_of_the_table_has_ever_been 1 1 "
         "0: 1 2 "
         "3 4 5 6 7\n",
         -1},
    };
    const rapt_caps *caps = device_named("navi31");
    rapt_tiles *tiles = NULL;
    size_t n_head = 0;
    assert_int_equal(rapt_tiles_create(NULL, caps, &tiles), RAPT_OK);
    char *head = text_of(tiles, &n_head);
    n_head -= 26; /* the checksum's line */
    rapt_tiles_destroy(&tiles);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[1024];
        int n = snprintf(text, sizeof text, "%.*s%s", (int)n_head, head, cases[i].lines);
        n += snprintf(text + n, sizeof text - (size_t)n, "checksum %016llx\n",
                      (unsigned long long)XXH64(text, (size_t)n, 0));
        rapt_status status = rapt_tiles_read(NULL, caps, text, (size_t)n, &tiles);
        if (status != (cases[i].n_read < 0 ? RAPT_ERROR_ARGUMENT : RAPT_OK))
            fail_msg("'%s' gives %d", cases[i].lines, status);
        if (cases[i].n_read >= 0)
            assert_int_equal(rapt_tiles_count(tiles), cases[i].n_read);
        rapt_tiles_destroy(&tiles);
    }
    free(head);
}

static void tables_are_bounded(void **state)
{
    (void)state;
    rapt_tiles *tiles = NULL;
    assert_int_equal(rapt_tiles_create(NULL, device_named("navi31"), &tiles), RAPT_OK);
    for (uint32_t i = 0; i < 4097; i++) {
        rapt_tile tile = tile_of("prefill_f16_pt", 64, 64, (i * 2477) % 4097, 1);
        assert_int_equal(rapt_tiles_put(tiles, &tile), i < 4096 ? RAPT_OK : RAPT_ERROR_CAPACITY);
    }
    for (uint32_t i = 1; i < 4096; i++) {
        rapt_tile a = {.struct_size = sizeof a}, b = a;
        assert_int_equal(rapt_tiles_get(tiles, i - 1, &a), RAPT_OK);
        assert_int_equal(rapt_tiles_get(tiles, i, &b), RAPT_OK);
        assert_true(a.group < b.group);
    }
    rapt_tiles_destroy(&tiles);
}

static void memory_may_run_out(void **state)
{
    (void)state;
    const rapt_caps *caps = device_named("navi31");
    rapt_tiles *tiles = table_of(caps), *read = NULL;
    size_t n;
    char *text = text_of(tiles, &n);
    rapt_status status = RAPT_ERROR_HOST_MEMORY;
    for (long budget = 0; status != RAPT_OK; budget++) {
        struct fail_alloc failing = {.budget = budget};
        rapt_allocator allocator = fail_allocator(&failing);
        status = rapt_tiles_read(&allocator, caps, text, n, &read);
        assert_true(status == RAPT_OK || status == RAPT_ERROR_HOST_MEMORY);
        rapt_tiles_destroy(&read);
        assert_int_equal(failing.n_alive, 0);
        assert_true(budget < 10);
    }
    free(text);
    rapt_tiles_destroy(&tiles);
}

/* ------------------------------------------------------------------------- selection by a table */

static void a_table_decides(void **state)
{
    (void)state;
    static const char *const all[] = {"navi31", "b580", "ad102", "lavapipe-26.1"};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        const rapt_caps *caps = device_named(all[i]);
        struct rapt_select_request request = request_of(128, 128, RAPT_TYPE_F16);
        struct rapt_selection rules, third, s;
        assert_int_equal(rapt_select(caps, &request, &rules), RAPT_OK);
        request.tile_prefill = 3;
        assert_int_equal(rapt_select(caps, &request, &third), RAPT_OK);
        assert_string_equal(third.prefill_tile.from, "asked for");
        request.tile_prefill = 0;

        rapt_tiles *tiles = NULL;
        assert_int_equal(rapt_tiles_create(NULL, caps, &tiles), RAPT_OK);
        rapt_tile tile = tile_of(rapt_kernel_name(rules.prefill.kernel), 128, 128, 0, 1);
        rapt_select_tile_numbers(&third.prefill, tile.numbers);
        assert_int_equal(rapt_tiles_put(tiles, &tile), RAPT_OK);
        request.tiles = tiles;
        assert_int_equal(rapt_select(caps, &request, &s), RAPT_OK);
        assert_memory_equal(&s.prefill, &third.prefill, sizeof s.prefill);
        assert_memory_equal(&s.decode, &rules.decode, sizeof s.decode);
        assert_string_equal(s.prefill_tile.from, "the user's table");

        /* another shape; a knob; numbers that no candidate has: the rules again */
        request.head_dim = 64;
        assert_int_equal(rapt_select(caps, &request, &s), RAPT_OK);
        assert_string_equal(s.prefill_tile.from, "the rules");
        request.head_dim = 128;
        request.block_q = 32;
        assert_int_equal(rapt_select(caps, &request, &s), RAPT_OK);
        assert_int_equal(s.prefill.rows, 32);
        assert_string_equal(s.prefill_tile.from, "the rules, within the knobs");
        request.tile_prefill = 2;
        assert_int_equal(rapt_select(caps, &request, &s), RAPT_ERROR_ARGUMENT);
        request.tile_prefill = request.block_q = 0;
        for (int number = 0; number < RAPT_TILE_NUMBERS; number++) {
            rapt_tile bad = tile;
            bad.numbers[number] += 1000000;
            assert_int_equal(rapt_tiles_put(tiles, &bad), RAPT_OK);
            assert_int_equal(rapt_select(caps, &request, &s), RAPT_OK);
            assert_memory_equal(&s.prefill, &rules.prefill, sizeof s.prefill);
            assert_string_equal(s.prefill_tile.from,
                                "the rules: the user's table names no candidate");
        }
        rapt_tiles_destroy(&tiles);
    }
}

/* What is a candidate on one device may be beyond another's limits. */
static void limits_win_over_a_table(void **state)
{
    (void)state;
    rapt_caps caps = *device_named("navi31");
    struct rapt_select_request request = request_of(128, 128, RAPT_TYPE_F32);
    struct rapt_selection wide, s;
    rapt_tiles *tiles = NULL;
    assert_int_equal(rapt_select(&caps, &request, &wide), RAPT_OK);
    assert_int_equal(rapt_tiles_create(NULL, &caps, &tiles), RAPT_OK);
    rapt_tile tile = tile_of("prefill_f32_pt", 128, 128, 0, 1);
    rapt_select_tile_numbers(&wide.prefill, tile.numbers);
    assert_int_equal(rapt_tiles_put(tiles, &tile), RAPT_OK);
    request.tiles = tiles;
    caps.max_shared_memory = wide.prefill.shared_bytes - 4;
    assert_int_equal(rapt_select(&caps, &request, &s), RAPT_OK);
    assert_true(s.prefill.shared_bytes <= caps.max_shared_memory);
    assert_string_equal(s.prefill_tile.from, "the rules: the user's table names no candidate");
    rapt_tiles_destroy(&tiles);
}

static void plans_tell_their_tiles(void **state)
{
    (void)state;
    const rapt_caps *caps = device_named("navi31");
    rapt_plan_params params = {.struct_size = sizeof params,
                               .n_q_heads = 32,
                               .n_kv_heads = 8,
                               .head_dim = 128,
                               .tile_prefill = 2};
    rapt_plan_info info = {.struct_size = sizeof info};
    assert_int_equal(rapt_plan_explain(caps, &params, NULL, 0, &info), RAPT_OK);
    assert_true(info.n_prefill_tiles > 2 && info.n_decode_tiles > 2);
    assert_string_equal(info.prefill_tile_from, "asked for");
    assert_string_equal(info.decode_tile_from, "the rules");
    assert_int_equal(info.prefill_tile[0], info.workgroup_size);
    assert_int_equal(info.prefill_tile[1], info.block_q);
    params.tile_prefill = 1000;
    assert_int_equal(rapt_plan_explain(caps, &params, NULL, 0, &info), RAPT_ERROR_ARGUMENT);
}

/* A row of the shipped table that names no candidate is dead. */
static void shipped_rows_name_candidates(void **state)
{
    (void)state;
    static const struct {
        uint32_t driver, first, last, subgroup;
        const char *kernel;
        uint32_t d, dv, group;
    } rows[] = {
#define SHIPPED(driver, first, last, subgroup, kernel, d, dv, group, lanes, rows, keys, a, b, c,   \
                e)                                                                                 \
    {driver, first, last, subgroup, kernel, d, dv, group},
#include "shipped_tiles.def"
#undef SHIPPED
        {0},
    };
    for (size_t r = 0; rows[r].kernel; r++) {
        uint32_t n_taken = 0;
        for (uint32_t i = 0; i < n_devices; i++) {
            const rapt_caps *caps = &devices[i];
            struct rapt_select_request request = request_of(rows[r].d, rows[r].dv, RAPT_TYPE_F16);
            struct rapt_selection s;
            if (caps->driver_id != rows[r].driver || caps->driver_major < rows[r].first ||
                caps->driver_major > rows[r].last || caps->subgroup_size != rows[r].subgroup)
                continue;
            if (rows[r].group)
                request.n_q_heads = rows[r].group * request.n_kv_heads;
            assert_int_equal(rapt_select(caps, &request, &s), RAPT_OK);
            const struct rapt_tile_origin *origin =
                rows[r].group ? &s.decode_tile : &s.prefill_tile;
            n_taken += strcmp(origin->from, "the shipped table") == 0;
        }
        if (n_taken == 0)
            fail_msg("the shipped row %zu, for %s, is taken by no snapshot", r, rows[r].kernel);
    }
}

int main(void)
{
    if (!read_devices(RAPT_TEST_DEVICES))
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(candidates_fit),
        cmocka_unit_test(cpu_candidates_are_bounded),
        cmocka_unit_test(written_and_read),
        cmocka_unit_test(damage_is_refused),
        cmocka_unit_test(lines_are_read_strictly),
        cmocka_unit_test(tables_are_bounded),
        cmocka_unit_test(memory_may_run_out),
        cmocka_unit_test(a_table_decides),
        cmocka_unit_test(limits_win_over_a_table),
        cmocka_unit_test(plans_tell_their_tiles),
        cmocka_unit_test(shipped_rows_name_candidates),
    };
    return cmocka_run_group_tests_name("tiles", tests, NULL, NULL);
}
