/* SPDX-License-Identifier: Apache-2.0 */

/* What a device's compiler makes of the kernels that would be chosen on it: one line of
 * comma-separated values per pipeline. Nothing is executed, so the device may be a stub
 * (tests/vendor/README.md).
 *
 *   registers CHIP [--raw] [--validate] [--all] [--candidates] [--portable] [--only TEXT]
 *                  [--texts FOLDER] [--subgroup LANES]
 *
 * CHIP is what lines call the device; --all takes every combination of types, dims and groups,
 * --candidates every tile that `rapt tune` would measure, --portable what there is without matrix
 * units, --only the lines that begin with "USE,KV,DIMS,GROUP,HOW" like TEXT does; --texts keeps the
 * driver's text of the code, --subgroup asks for subgroups of so many lanes. Exit 1 when a pipeline
 * cannot be made, or a validation layer complains. */

#include "statistics.h"

#include "kernel_table.h"
#include "plan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---------------------------------------------------------------------------------------- shapes
 */

/* What plans are made of. Heads per KV head of decode; prefill does not depend on it. */
struct shape {
    rapt_type kv_type;
    uint32_t head_dim, head_dim_v;
    uint32_t group; /* 0 = prefill */
    const char *how;
};

#define COUNT(array) (sizeof array / sizeof *array)

static const rapt_type types[] = {RAPT_TYPE_F16,  RAPT_TYPE_BF16,     RAPT_TYPE_F32,
                                  RAPT_TYPE_INT8, RAPT_TYPE_FP8_E4M3, RAPT_TYPE_INT4,
                                  RAPT_TYPE_Q8_0, RAPT_TYPE_Q4_0};
static const uint32_t dims[][2] = {{128, 128}, {64, 64}, {256, 256}, {576, 512}};
static const uint32_t groups[] = {0, 1, 4, 8, 16};
/* Other plans than paged ones: of head dim 128, with f16 and int8 K/V. */
static const char *const hows[] = {"packed", "exact", "lists", "pieces", "every-flag", "rotated"};

/* A selection that keeps the neighbours of every limit: minutes less on all chips. */
static int is_usual(const struct shape *shape)
{
    if (shape->head_dim == 128)
        return shape->group < 16 || shape->kv_type == RAPT_TYPE_F16;
    if (shape->kv_type != RAPT_TYPE_F16 && shape->kv_type != RAPT_TYPE_INT8 &&
        shape->kv_type != (shape->head_dim == 576 ? RAPT_TYPE_FP8_E4M3 : RAPT_TYPE_Q4_0))
        return 0;
    return shape->head_dim == 576 || shape->group < 16;
}

static rapt_plan_params params_of(const struct shape *shape)
{
    rapt_type q_type = shape->kv_type == RAPT_TYPE_F32    ? RAPT_TYPE_F32
                       : shape->kv_type == RAPT_TYPE_BF16 ? RAPT_TYPE_BF16
                                                          : RAPT_TYPE_F16;
    static const rapt_rope rope = {.struct_size = sizeof rope, .pairing = RAPT_ROPE_NEOX};
    rapt_plan_params params = {
        .struct_size = sizeof params,
        .n_q_heads = 8 * (shape->group ? shape->group : 1),
        .n_kv_heads = 8,
        .head_dim = shape->head_dim,
        .head_dim_v = shape->head_dim_v,
        .q_type = q_type,
        .kv_type = shape->kv_type,
        .out_type = q_type,
        .flags = RAPT_PLAN_PAGED,
        .page_size = 16,
        .max_pages = 1024,
        .integer_dot = RAPT_CHOICE_AUTO,
    };
    if (strcmp(shape->how, "packed") == 0)
        params.flags = params.page_size = params.max_pages = 0;
    if (strcmp(shape->how, "exact") == 0)
        params.integer_dot = RAPT_CHOICE_NEVER;
    if (strcmp(shape->how, "lists") == 0)
        params.flags |= RAPT_PLAN_BLOCKS;
    if (strcmp(shape->how, "every-flag") == 0)
        params.flags |= RAPT_PLAN_FEW_PIPELINES;
    if (strcmp(shape->how, "pieces") == 0) {
        params.n_kv_segments = 4;
        params.pages_per_segment = 256;
    }
    if (strcmp(shape->how, "rotated") == 0) {
        params.flags |= RAPT_PLAN_ROPE_Q | RAPT_PLAN_APPEND;
        params.rope = &rope;
    }
    return params;
}

/* ----------------------------------------------------------------------------------------- lines
 */

struct table {
    const char *chip, *only, *texts;
    int raw, all, candidates, portable;
    uint32_t subgroup; /* 0 = as chosen */
    struct vendor_device vendor;
    uint32_t n_lines, n_failures, n_choices;
    struct rapt_kernel_choice choices[1024]; /* what has a line already */
};

static int is_known(struct table *table, const struct rapt_kernel_choice *choice)
{
    for (uint32_t i = 0; i < table->n_choices; i++)
        if (memcmp(&table->choices[i], choice, sizeof *choice) == 0)
            return 1;
    if (table->n_choices < COUNT(table->choices))
        table->choices[table->n_choices++] = *choice;
    return 0;
}

/* One line, unless the same pipeline has one: shapes that come later share it. */
static void add_line(struct table *table, const char *use, const struct shape *shape,
                     const struct rapt_kernel_choice *chosen)
{
    struct rapt_kernel_choice own = *chosen, *choice = &own;
    char key[128], heading[64];
    struct statistics s;
    struct vendor_text text = {table->texts, table->chip, key, heading};
    snprintf(key, sizeof key, "%s,%s,%u/%u,%u,%s", use, rapt_type_name(shape->kv_type),
             shape->head_dim, shape->head_dim_v, shape->group, shape->how);
    if (table->subgroup)
        choice->required_subgroup_size = table->subgroup;
    if (table->subgroup && choice->spec[RAPT_SPEC_SUBGROUP])
        choice->spec[RAPT_SPEC_SUBGROUP] = table->subgroup;
    if (choice->kernel < 0 ||
        (table->only && strncmp(key, table->only, strlen(table->only)) != 0) ||
        is_known(table, choice))
        return;
    if (table->raw)
        printf("%s %s\n", rapt_kernel_name(choice->kernel), key);
    snprintf(heading, sizeof heading, "tile %u %u %u %u", choice->spec[RAPT_SPEC_TILE_A],
             choice->spec[RAPT_SPEC_TILE_B], choice->spec[RAPT_SPEC_TILE_C],
             choice->spec[RAPT_SPEC_TILE_D]);
    if (vendor_device_compile(&table->vendor, choice, table->raw, &text, &s) != RAPT_OK) {
        fprintf(stderr, "%s: %s: %s\n", table->chip, key, rapt_last_error());
        table->n_failures++;
        return;
    }
    /* Where a driver does not tell, what was asked for. */
    if (s.shared_bytes < 0)
        s.shared_bytes = choice->shared_bytes;
    printf("%s,%s,%s,%u,%u,%u,%u", table->chip, key, rapt_kernel_name(choice->kernel),
           choice->workgroup_size, choice->rows, choice->block_kv, choice->spec[RAPT_SPEC_TILE_B]);
    vendor_print_numbers(&s);
    fflush(stdout);
    table->n_lines++;
}

static void fail_line(struct table *table, const struct shape *shape)
{
    fprintf(stderr, "%s: %s %u/%u %s: %s\n", table->chip, rapt_type_name(shape->kv_type),
            shape->head_dim, shape->head_dim_v, shape->how, rapt_last_error());
    table->n_failures++;
}

/* What a plan of this shape would be made of. */
static void add_attention(struct table *table, const struct shape *shape)
{
    struct rapt_selection selection;
    struct rapt_select_request request;
    struct rapt_kernel_choice append;
    rapt_plan_params params = params_of(shape), checked;
    params.path = table->portable ? RAPT_PATH_PORTABLE : RAPT_PATH_AUTO;
    rapt_status status = rapt_plan_params_check(&params, &checked);
    const rapt_caps *caps = &table->vendor.device->caps;
    if (status == RAPT_OK) {
        rapt_plan_request(&checked, &request);
        status = rapt_select(caps, &request, &selection);
    }
    if (status == RAPT_OK && checked.flags & RAPT_PLAN_APPEND)
        status = rapt_select_append(caps, &checked, 0, &append);
    if (status != RAPT_OK) {
        fail_line(table, shape);
        return;
    }
    add_line(table, shape->group ? "decode" : "prefill", shape,
             shape->group ? &selection.decode : &selection.prefill);
    if (strcmp(shape->how, "paged") == 0 && shape->kv_type == RAPT_TYPE_F16) {
        add_line(table, "merge", shape, &selection.merge);
        add_line(table, "reduce", shape, &selection.reduce);
        add_line(table, "stage", shape, &selection.stage);
    }
    if (checked.flags & RAPT_PLAN_APPEND)
        add_line(table, "append", shape, &append);
}

/* The same with each of the candidate tiles that `rapt tune` would measure. */
static void add_candidates(struct table *table, const struct shape *shape)
{
    struct rapt_selection selection;
    struct rapt_select_request request;
    rapt_plan_params params = params_of(shape), checked;
    params.path = table->portable ? RAPT_PATH_PORTABLE : RAPT_PATH_AUTO;
    const rapt_caps *caps = &table->vendor.device->caps;
    if (rapt_plan_params_check(&params, &checked) != RAPT_OK)
        return; /* told already */
    rapt_plan_request(&checked, &request);
    uint32_t *number = shape->group ? &request.tile_decode : &request.tile_prefill, n = 1;
    for (*number = 1; *number <= n; ++*number) {
        if (rapt_select(caps, &request, &selection) != RAPT_OK) {
            fail_line(table, shape);
            return;
        }
        n = shape->group ? selection.decode_tile.n : selection.prefill_tile.n;
        add_line(table, shape->group ? "decode" : "prefill", shape,
                 shape->group ? &selection.decode : &selection.prefill);
    }
}

/* What beside decode takes speculative tokens: the same kernel as decode of larger groups, so only
 * plans of other kinds have lines. */
static void add_speculation(struct table *table, const struct shape *shape)
{
    struct rapt_selection selection;
    struct rapt_select_request request;
    rapt_plan_params params = params_of(shape), checked;
    params.path = table->portable ? RAPT_PATH_PORTABLE : RAPT_PATH_AUTO;
    rapt_status status = rapt_plan_params_check(&params, &checked);
    if (status == RAPT_OK) {
        rapt_plan_request(&checked, &request);
        status = rapt_select(&table->vendor.device->caps, &request, &selection);
    }
    if (status == RAPT_OK)
        add_line(table, "speculate", shape, &selection.few);
    else
        fail_line(table, shape);
}

/* Kernels that no type or dim of a plan decides, and those that select keys. */
static void add_others(struct table *table)
{
    static const char *const names[] = {
        "sparse_scan", "chunk_mean",  "moba_gate",     "select_top_k", "moba_lists",
        "index_score", "score_lists", "segment_lists", "bitmap_lists", "id_bounds"};
    const struct shape shape = {RAPT_TYPE_F16, 128, 128, 4, "paged"};
    const rapt_caps *caps = &table->vendor.device->caps;
    struct rapt_kernel_choice choice;
    rapt_plan_params params = params_of(&shape), checked;
    rapt_status status = rapt_plan_params_check(&params, &checked);
    if (status == RAPT_OK)
        status = rapt_select_combine(caps, &choice);
    if (status == RAPT_OK) {
        add_line(table, "combine", &shape, &choice);
        status = rapt_select_copier(caps, 0, &choice);
    }
    if (status == RAPT_OK)
        add_line(table, "copy", &shape, &choice);
    for (size_t i = 0; status == RAPT_OK && i < COUNT(names); i++) {
        int typed = strcmp(names[i], "chunk_mean") == 0;
        status = rapt_select_sparse(caps, &checked, names[i], typed, &choice);
        if (status == RAPT_OK)
            add_line(table, names[i], &shape, &choice);
    }
    if (status != RAPT_OK)
        fail_line(table, &shape);
}

static void add_all(struct table *table)
{
    for (size_t d = 0; d < COUNT(dims); d++)
        for (size_t t = 0; t < COUNT(types); t++)
            for (size_t g = 0; g < COUNT(groups); g++) {
                struct shape shape = {types[t], dims[d][0], dims[d][1], groups[g], "paged"};
                if (table->all || is_usual(&shape))
                    add_attention(table, &shape);
                if (table->candidates && (table->all || is_usual(&shape)))
                    add_candidates(table, &shape);
            }
    for (size_t h = 0; h < COUNT(hows); h++)
        for (size_t t = 0; t < COUNT(types); t++)
            for (uint32_t group = 0; group <= 4; group += 4) {
                struct shape shape = {types[t], 128, 128, group, hows[h]};
                if (types[t] == RAPT_TYPE_F16 || types[t] == RAPT_TYPE_INT8 ||
                    (group == 0 && strcmp(hows[h], "rotated") == 0)) /* for its append */
                    add_attention(table, &shape);
            }
    for (size_t h = 0; h < COUNT(hows); h++)
        for (size_t t = 0; t < COUNT(types); t++) {
            struct shape shape = {types[t], 128, 128, 4, hows[h]};
            if (types[t] == RAPT_TYPE_F16 || types[t] == RAPT_TYPE_INT8)
                add_speculation(table, &shape);
        }
    add_others(table);
}

/* -------------------------------------------------------------------------------------- program */

static void log_line(void *user, rapt_log_level level, const char *line)
{
    if (level <= RAPT_LOG_WARNING)
        fprintf(stderr, "%s: %s\n", (const char *)user, line);
}

int main(int argc, char **argv)
{
    static struct table table;
    int validate = 0;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--raw") == 0)
            table.raw = 1;
        else if (strcmp(argv[i], "--all") == 0)
            table.all = 1;
        else if (strcmp(argv[i], "--candidates") == 0)
            table.candidates = 1;
        else if (strcmp(argv[i], "--portable") == 0)
            table.portable = 1;
        else if (strcmp(argv[i], "--validate") == 0)
            validate = 1;
        else if (strcmp(argv[i], "--only") == 0 && i + 1 < argc)
            table.only = argv[++i];
        else if (strcmp(argv[i], "--texts") == 0 && i + 1 < argc)
            table.texts = argv[++i];
        else if (strcmp(argv[i], "--subgroup") == 0 && i + 1 < argc)
            table.subgroup = (uint32_t)atoi(argv[++i]);
        else if (!table.chip && argv[i][0] != '-')
            table.chip = argv[i];
        else
            table.chip = NULL, i = argc;
    }
    if (!table.chip) {
        fprintf(stderr, "usage: registers CHIP [--raw] [--validate] [--all] [--candidates] "
                        "[--portable] [--only TEXT] [--texts FOLDER] [--subgroup LANES]\n");
        return 2;
    }
    rapt_log log = {.write = log_line, .user = argv[1]};
    if (vendor_device_open(validate, log, &table.vendor) != RAPT_OK) {
        fprintf(stderr, "%s: %s\n", table.chip, rapt_last_error());
        return 1;
    }
    const rapt_caps *caps = rapt_device_caps(table.vendor.device);
    if (validate && !rapt_device_validation_active(table.vendor.device)) {
        fprintf(stderr, "%s: the validation layer is not installed\n", table.chip);
        table.n_failures++;
    }
    printf("# %s: %s | %s | %s\n", table.chip, caps->device_name, caps->driver_name,
           caps->driver_info);
    add_all(&table);
    uint32_t n_messages = rapt_device_validation_messages(table.vendor.device);
    if (n_messages)
        fprintf(stderr, "%s: %u validation messages\n", table.chip, n_messages);
    vendor_device_close(&table.vendor);
    return n_messages || table.n_failures || !table.n_lines;
}
