/* SPDX-License-Identifier: Apache-2.0 */

/* kernel_check ROW|FAMILY [--seed N] [--case NAME] [--tiles CHIP]: one row of kernels.def, by name,
 * against the reference; the rows three_pass_* and ceiling_* as families; a few cases of a row with
 * the tiles of a chip of tests/runtime/devices. Environment: RAPT_SEED, RAPT_TEST_QUICK,
 * RAPT_DISABLE and what else the easy tier reads. */

#include "check.h"

#include "kernel_table.h"
#include "open_easy.h"
#include "skip.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A row's name apart: op_type_path or op_path. */
struct row_name {
    char op[32], path[16];
    rapt_type type;
};

static int split_name(const char *name, struct row_name *out)
{
    char text[64], *cut;
    memset(out, 0, sizeof *out);
    snprintf(text, sizeof text, "%s", name);
    cut = strrchr(text, '_');
    if (!cut)
        return 0;
    snprintf(out->path, sizeof out->path, "%.15s", cut + 1);
    *cut = 0;
    for (cut = strchr(text, '_'); cut; cut = strchr(cut + 1, '_')) /* fp8_e4m3 has one in it */
        if (rapt_type_parse(cut + 1) != RAPT_TYPE_DEFAULT) {
            out->type = rapt_type_parse(cut + 1);
            *cut = 0;
            break;
        }
    snprintf(out->op, sizeof out->op, "%.31s", text);
    return 1;
}

static int find(const char *op, rapt_type type, const char *path)
{
    char name[96];
    if (type)
        snprintf(name, sizeof name, "%s_%s_%s", op, rapt_type_name(type), path);
    else
        snprintf(name, sizeof name, "%s_%s", op, path);
    return rapt_kernel_find(name);
}

/* Prefill and decode rows of a path; where a path has no row of its own, the portable one. */
static int find_or_portable(const char *op, rapt_type type, const char *path)
{
    int row = find(op, type, path);
    if (row < 0)
        row = find(op, RAPT_TYPE_DEFAULT, path);
    if (row < 0 && strcmp(path, "cms") == 0)
        return find("tiled", type, "pts");
    return row < 0 ? find(op, type, "pt") : row;
}

/* Beside prefill on matrix units the portable row: it takes fewer rows, and so leaves more. */
static int find_decode(const struct check_target *target, rapt_type type, const char *path)
{
    if (!target->decode && strncmp(path, "cm", 2) == 0)
        return strcmp(path, "cms") == 0 ? find("tiled", type, "pts") : find("decode", type, "pt");
    return find_or_portable("decode", type, path);
}

static void run_cases(struct check_target *target, rapt_type kv, const char *path, int shapes)
{
    int both = find("tiled", kv, path);
    target->kv = kv;
    target->force_prefill = (both >= 0 ? both : find_or_portable("prefill", kv, path)) + 1;
    target->force_decode = (both >= 0 ? both : find_decode(target, kv, path)) + 1;
    for (int i = 0; i < check_n_cases; i++) {
        const struct check_case *c = &check_cases[i];
        if (target->only ? strcmp(target->only, c->name) != 0 : c->shapes > shapes)
            continue;
        target->n_run++;
        target->n_failed += !check_run_case(target, c);
    }
}

/* A few cases by name, for rows whose work the full lists of other rows also pass through. */
static void run_some(struct check_target *target, rapt_type kv, const char *path,
                     const char *const *names)
{
    const char *only = target->only;
    for (; *names; names++) {
        if (only && strcmp(only, *names) != 0)
            continue;
        target->only = *names;
        run_cases(target, kv, path, CHECK_PIECES);
        if (target->least && !only)
            break;
    }
    target->only = only;
}

/* Cases of a row's own. */
static void run_own(struct check_target *target, const struct check_case *cases, int n)
{
    for (int i = 0; i < n; i++) {
        if (target->only && strcmp(target->only, cases[i].name) != 0)
            continue;
        target->n_run++;
        target->n_failed += !check_run_case(target, &cases[i]);
    }
}

/* A million keys, read by decode: 12 and 16 above all others, and without peaks. */
static void run_million(struct check_target *target, rapt_type kv, const char *path)
{
    const struct check_case million[] = {
        {.name = "a million keys, peaks",
         .d = 64,
         .dv = 64,
         .heads = 4,
         .kv_heads = 1,
         .flags = RAPT_PLAN_LSE | RAPT_PLAN_MAX_LOGIT | RAPT_PLAN_FEW_PIPELINES,
         .data = CHECK_PEAKS,
         .n_seqs = 1,
         .q_len = {1},
         .kv_len = {1000000}},
        {.name = "a million keys",
         .d = 64,
         .dv = 64,
         .heads = 4,
         .kv_heads = 1,
         .flags = RAPT_PLAN_LSE | RAPT_PLAN_MAX_LOGIT | RAPT_PLAN_FEW_PIPELINES,
         .data = CHECK_EQUAL,
         .n_seqs = 1,
         .q_len = {1},
         .kv_len = {1000000}},
    };
    target->kv = kv;
    target->force_prefill = find_or_portable("prefill", kv, path) + 1;
    target->force_decode = find_or_portable("decode", kv, path) + 1;
    run_own(target, million, 2);
}

/* Sequences of one token, of some and of many, by the kernels that a plan on matrix units chooses
 * for them itself. */
static void run_mixed(struct check_target *target, rapt_type kv)
{
    const struct check_case mixed[] = {
        {.name = "one token, some, many",
         .d = 64,
         .dv = 64,
         .heads = 8,
         .kv_heads = 2,
         .page_size = 16,
         .flags = RAPT_PLAN_LSE | RAPT_PLAN_MAX_LOGIT | RAPT_PLAN_FEW_PIPELINES,
         .n_seqs = 6,
         .q_len = {1, 2, 5, 8, 9, 40},
         .kv_len = {300, 17, 129, 700, 40, 200}},
        {.name = "one, some, many, splits",
         .d = 64,
         .dv = 64,
         .heads = 8,
         .kv_heads = 2,
         .n_splits = 3,
         .n_slices = 7,
         .flags = RAPT_PLAN_LSE | RAPT_PLAN_MAX_LOGIT | RAPT_PLAN_FEW_PIPELINES,
         .n_seqs = 6,
         .q_len = {4, 1, 12, 2, 8, 7},
         .kv_len = {900, 800, 700, 64, 8, 333}},
    };
    const int decode = target->decode;
    target->kv = kv;
    target->decode = 0; /* lengths stay as they are */
    target->force_prefill = target->force_decode = 0;
    target->path = RAPT_PATH_COOPMAT;
    run_own(target, mixed, 2);
    target->path = RAPT_PATH_AUTO;
    target->decode = decode;
}

static int on_matrix_units(const struct row_name *row)
{
    return strncmp(row->path, "cm", 2) == 0;
}

/* Queries and rows that reach it. */
static void use_row(struct check_target *target, const struct row_name *row)
{
    if (!on_matrix_units(row))
        return;
    target->q = row->type == RAPT_TYPE_BF16 ? RAPT_TYPE_BF16 : RAPT_TYPE_F16;
    target->decode_rows = 32; /* up to two tiles */
}

/* All cases on GPUs. CPU drivers compile for seconds what a case runs in milliseconds: there all
 * cases go to f16 K/V, in the portable rows, in those on matrix units and in those the driver is
 * given by itself. */
static int is_thorough(const struct check_target *target, const struct row_name *row, rapt_type kv)
{
    const rapt_caps *caps = rapt_device_caps(rapt_easy_device(target->easy));
    const rapt_plan_params params = {.struct_size = sizeof params,
                                     .n_q_heads = 4,
                                     .n_kv_heads = 1,
                                     .head_dim = 64,
                                     .kv_type = RAPT_TYPE_F16};
    rapt_plan_info info = {.struct_size = sizeof info};
    struct row_name usual;
    if (caps->device_type != VK_PHYSICAL_DEVICE_TYPE_CPU || target->only)
        return 1;
    if (kv != RAPT_TYPE_F16)
        return 0;
    if (strcmp(row->path, "pt") == 0 || on_matrix_units(row))
        return 1;
    return rapt_plan_explain(caps, &params, NULL, 0, &info) == RAPT_OK && info.prefill_kernel &&
           split_name(info.prefill_kernel, &usual) && strcmp(usual.path, row->path) == 0;
}

/* check_case.shapes, up to which cases are run: on a CPU driver matrices of large head dims compile
 * for a minute each. */
static int most_shapes(const struct check_target *target, const struct row_name *row, rapt_type kv)
{
    const rapt_caps *caps = rapt_device_caps(rapt_easy_device(target->easy));
    if (on_matrix_units(row) && caps->device_type == VK_PHYSICAL_DEVICE_TYPE_CPU)
        return 2;
    return kv == RAPT_TYPE_F16 ? 3 : 1;
}

static int compiles_slowly(const struct check_target *target)
{
    return rapt_device_caps(rapt_easy_device(target->easy))->device_type ==
           VK_PHYSICAL_DEVICE_TYPE_CPU;
}

/* Quantized K/V: what is the type's own, and some of all that is not. */
static void run_quantized(struct check_target *target, const struct row_name *row, int quick)
{
    static const char *const layouts[] = {"everything", "pages, unaligned", "unaligned",
                                          "everything, lists", NULL};
    static const char *const scales[] = {"scales f16", NULL};
    static const char *const token[] = {"scales per token", NULL};
    static const char *const bytes[] = {"scales static", "scale static, one, f16", "d72/40 odd",
                                        NULL};
    static const char *const more[] = {"BS2HD",       "tile edges",        "splits", "slices",
                                       "fixed split", "one key dominates", NULL};
    static const char *const shapes[] = {"d64", "d128 gqa8", "d96/32", NULL};
    rapt_type type = row->type;
    run_some(target, type, row->path, layouts);
    if (type <= RAPT_TYPE_INT4)
        run_some(target, type, row->path, scales);
    if (type == RAPT_TYPE_INT8)
        run_some(target, type, row->path, token);
    if (type <= RAPT_TYPE_FP8_E4M3)
        run_some(target, type, row->path, bytes);
    if (!compiles_slowly(target)) {
        run_some(target, type, row->path, shapes);
        if (!quick)
            run_some(target, type, row->path, more);
    } else if (type > RAPT_TYPE_FP8_E4M3) { /* others had a second shape above */
        run_some(target, type, row->path, shapes + 2);
    }
}

/* Both operations by one row, whatever the type. */
static void run_tiled(struct check_target *target, const struct row_name *row)
{
    static const char *const pieces[] = {"2 pieces of a buffer", "3 pieces, HND",
                                         "4 pieces, unaligned", "2 pieces, lists", NULL};
    static const char *const dots[] = {"everything", "pages, unaligned", "splits",
                                       "everything, lists", NULL};
    static const char *const shapes[] = {"d96/32", "d128 gqa8", NULL};
    const char *const *names = strcmp(row->path, "ptd") == 0 ? dots : pieces;
    run_some(target, row->type, row->path, names);
    if (names == dots && (!compiles_slowly(target) || row->type == RAPT_TYPE_INT8))
        run_some(target, row->type, row->path, shapes + (compiles_slowly(target) ? 1 : 0));
    target->decode = strcmp(row->op, "tiled") == 0;
    if (target->decode)
        run_some(target, row->type, row->path, names + 2);
}

/* What depends on a tile's rows, keys and lanes, in two sizes of heads. */
static void run_with_tiles(struct check_target *target, const struct row_name *row)
{
    static const char *const cases[] = {
        "everything, lists", "d64", "d128 gqa8", "tile edges", "unaligned",
        "pages, unaligned",  NULL};
    static const char *const large[] = {"d256", "d576/512", NULL};
    static const char *const merges[] = {"splits", "unnormalised, sinks", NULL};
    int both = strcmp(row->op, "tiled") == 0;
    use_row(target, row);
    target->decode = strcmp(row->op, "decode") == 0 || strcmp(row->op, "merge") == 0;
    if (strcmp(row->op, "merge") == 0)
        run_some(target, RAPT_TYPE_F16, row->path, merges);
    for (; row->type && target->decode <= 1; target->decode += both ? 1 : 2) {
        run_some(target, row->type, row->path, cases);
        if (row->type < RAPT_TYPE_INT8 && !on_matrix_units(row)) /* theirs compile for minutes */
            run_some(target, row->type, row->path, large);
    }
}

static int is_one_of(const char *op, const char *const *names)
{
    while (*names && strcmp(op, *names) != 0)
        names++;
    return *names != NULL;
}

/* Rows that compute no attention from a plan's items; 0 if this is none of them. */
static int run_other(struct check_target *target, const struct row_name *row)
{
    static const char *const moba[] = {"sparse_scan", "moba_gate", "select_top_k", "moba_lists",
                                       NULL};
    static const char *const lists[] = {"score_lists", "segment_lists", "bitmap_lists", "id_bounds",
                                        NULL};
    const char *op = row->op;
    target->kv = row->type ? row->type : RAPT_TYPE_F16;
    if (strcmp(op, "append") == 0 || strcmp(op, "copy_pages") == 0)
        target->force_prefill = rapt_kernel_find(target->row) + 1;
    if (strcmp(op, "append") == 0) {
        check_run_append(target);
    } else if (strcmp(op, "rotate_q") == 0) {
        check_run_rotation(target);
    } else if (strcmp(op, "copy_pages") == 0) {
        check_run_copies(target);
    } else if (strcmp(op, "combine") == 0) {
        target->n_run = 1;
        target->n_failed = !check_run_combine(target);
    } else if (strcmp(op, "chunk_mean") == 0 || is_one_of(op, moba)) {
        check_run_moba(target);
        if (strcmp(op, "select_top_k") == 0)
            check_run_indexer(target);
    } else if (is_one_of(op, lists)) {
        check_run_block_lists(target);
    } else if (strcmp(op, "index_score") == 0) {
        check_run_indexer(target);
    } else if (strcmp(row->path, "ptl") == 0) {
        check_run_token_lists(target);
    } else {
        return 0;
    }
    return 1;
}

static void run_row(struct check_target *target, const struct row_name *row)
{
    static const char *const splits[] = {"splits",
                                         "constant maximum, sinks",
                                         "short items",
                                         "fixed split",
                                         "d72/40 odd",
                                         "unnormalised, sinks",
                                         "lists, 64 by 256, splits",
                                         NULL};
    static const char *const stages[] = {"d64",       "pages of 16", "pages, unaligned",
                                         "unaligned", "BS2HD",       "values at the f16 limit",
                                         NULL};
    static const char *const reduced[] = {"reduced maxima", NULL};
    static const char *const few[] = {"d64",
                                      "d128 gqa8",
                                      "everything",
                                      "unaligned",
                                      "pages, unaligned",
                                      "BS2HD",
                                      "tile edges",
                                      "slices",
                                      "fixed split",
                                      "equal keys",
                                      "logits of 10000",
                                      "q_pos in any order",
                                      "everything, lists",
                                      "lists by the device",
                                      "bitmap, or by heads blocks",
                                      "a table in closed form",
                                      NULL};
    static const rapt_type types[] = {RAPT_TYPE_F16, RAPT_TYPE_F32, RAPT_TYPE_BF16};
    static const char *const odd[] = {"d72/40 odd",
                                      "values at the f16 limit",
                                      "logits of 10000",
                                      "one key dominates",
                                      "denormals, -0",
                                      "beyond f16",
                                      NULL};
    static const char *const mixed[] = {"pages, unaligned", NULL};
    int quick = test_quick();
    target->least = quick > 1 && row->type && row->type != RAPT_TYPE_F16;
    use_row(target, row);
    target->decode = strcmp(row->op, "decode") == 0;
    if (run_other(target, row))
        return;
    if (strcmp(row->op, "merge") == 0) {
        target->decode = 1;
        run_some(target, RAPT_TYPE_F32, row->path, splits);
    } else if (strcmp(row->op, "logit_reduce") == 0) {
        run_some(target, RAPT_TYPE_F32, row->path, reduced);
    } else if (strcmp(row->op, "tiled") == 0 || strcmp(row->path, "cms") == 0) {
        run_tiled(target, row);
    } else if (row->type >= RAPT_TYPE_INT8) {
        run_quantized(target, row, quick);
    } else if (strcmp(row->op, "stage") == 0) {
        run_some(target, row->type, row->path, stages);
    } else {
        rapt_type first = row->type ? row->type : RAPT_TYPE_F16;
        if (quick || !is_thorough(target, row, first))
            run_some(target, first, row->path, few);
        else
            run_cases(target, first, row->path, most_shapes(target, row, first));
        if (strcmp(row->path, "cm") == 0 && first == RAPT_TYPE_F16 && !target->only) {
            target->q = RAPT_TYPE_BF16; /* goes with K/V of any type */
            run_some(target, first, row->path, mixed);
        }
        if (on_matrix_units(row) && first == RAPT_TYPE_BF16 && !quick && !target->only)
            run_some(target, first, row->path, odd);
        for (int i = 1; i < 3 && !row->type && !quick; i++)
            run_some(target, types[i], row->path, stages);
        if (target->decode && strcmp(row->path, "cm") == 0 && first == RAPT_TYPE_F16)
            run_mixed(target, first);
        if (target->decode && first == RAPT_TYPE_F16 && !quick)
            run_million(target, first, row->path);
    }
}

/* NULL if the row can run here. */
static const char *reason_to_skip(const rapt_caps *caps, int kernel, const struct row_name *row,
                                  int tiles)
{
    rapt_kernel_info info = {.struct_size = sizeof info};
    if (rapt_kernel_get_info(caps, (uint32_t)kernel, &info) != RAPT_OK)
        return rapt_last_error();
    if (info.absent_reason)
        return info.absent_reason;
    if (info.unsupported_reason)
        return info.unsupported_reason;
    if (tiles && caps->driver_id == VK_DRIVER_ID_MESA_LLVMPIPE && caps->driver_major &&
        caps->driver_major < 26)
        return "compiles a GPU's tiles for many seconds each on Mesa before 26";
    if (strncmp(row->path, "lp", 2) == 0 && strcmp(row->path, "lps") != 0 && caps->driver_major &&
        caps->driver_major < 24)
        return "compiles for minutes on Mesa before 24, where _lps rows are used instead";
    const int decode = strcmp(row->op, "decode") == 0;
    const int lpb_is_used = caps->driver_major == 24 || caps->driver_major == 25;
    if (strcmp(row->path, "lps") == 0 && (lpb_is_used || (decode && caps->driver_major > 25)))
        return "compiles long on Mesa 24 and later, where _lpb and _lp rows are used";
    if (strcmp(row->path, "lp") == 0 && decode && lpb_is_used)
        return "compiles long on Mesa 24 and 25, where _lpb rows are used";
    const rapt_plan_params usual = {
        .struct_size = sizeof usual, .n_q_heads = 1, .n_kv_heads = 1, .head_dim = 64};
    rapt_plan_info plan = {.struct_size = sizeof plan};
    char why[256];
    if (strcmp(row->op, "rotate_q") == 0 &&
        rapt_plan_explain(caps, &usual, why, sizeof why, &plan) == RAPT_OK &&
        strcmp(plan.path, "cpu") != 0)
        return "plans on this device take kernels that rotate by themselves";
    return NULL;
}

static int usage(void)
{
    fprintf(stderr, "usage: kernel_check ROW|three_pass|ceiling [--seed N] [--case NAME] "
                    "[--tiles CHIP]\n");
    return 2;
}

int main(int argc, char **argv)
{
    struct check_target target = {.seed = 1, .decode_rows = 4};
    struct row_name row;
    if (getenv("RAPT_SEED"))
        target.seed = strtoull(getenv("RAPT_SEED"), NULL, 0);
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc)
            target.seed = strtoull(argv[++i], NULL, 0);
        else if (strcmp(argv[i], "--case") == 0 && i + 1 < argc)
            target.only = argv[++i];
        else if (strcmp(argv[i], "--tiles") == 0 && i + 1 < argc)
            target.tiles = argv[++i];
        else if (argv[i][0] != '-' && !target.row)
            target.row = argv[i];
        else
            return usage();
    }
    int kernel = target.row ? rapt_kernel_find(target.row) : -1;
    int is_family =
        target.row && (strcmp(target.row, "three_pass") == 0 || strcmp(target.row, "ceiling") == 0);
    if (!is_family && (kernel < 0 || !split_name(target.row, &row)))
        return usage();
    int unopened = open_easy(NULL, &target.easy);
    if (unopened)
        return unopened;
    if (target.tiles && !check_take_tiles(target.easy, target.tiles)) {
        rapt_easy_destroy(&target.easy);
        return 2;
    }
    const rapt_caps *caps = rapt_device_caps(rapt_easy_device(target.easy));
    const char *reason =
        is_family ? NULL : reason_to_skip(caps, kernel, &row, target.tiles != NULL);
    int result = 0;
    if (reason) {
        char line[256];
        snprintf(line, sizeof line, "%s: %s", target.row, reason);
        result = skip_test(line);
    } else {
        printf("%s on %s, seed %llu%s%s\n", target.row, caps->device_name,
               (unsigned long long)target.seed, target.tiles ? ", tiles of " : "",
               target.tiles ? target.tiles : "");
        if (target.tiles && !is_family)
            run_with_tiles(&target, &row);
        else if (!check_run_family(&target))
            run_row(&target, &row);
        printf("%d cases, %d failed\n", target.n_run, target.n_failed);
        result = target.n_failed || !target.n_run;
    }
    uint32_t messages = rapt_device_validation_messages(rapt_easy_device(target.easy));
    if (messages) {
        printf("FAIL  %u validation messages\n", messages);
        result = 1;
    }
    if (target.tiles)
        check_leave_tiles(target.easy);
    rapt_easy_destroy(&target.easy);
    return result;
}
