/* SPDX-License-Identifier: Apache-2.0 */
#include "cli.h"
#include "device.h"
#include "options.h"
#include "output.h"

#include <rapt/easy.h>

#include <cJSON.h>

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { INFO_JSON, INFO_DEVICE, INFO_DISABLE, INFO_N_OPTIONS };

/* clang-format off */
static const struct option_spec options[INFO_N_OPTIONS] = {
    [INFO_JSON] = {"--json", OPTION_FLAG, NULL, "prints one JSON object"},
    [INFO_DEVICE] = {"--device", OPTION_TEXT, "N|NAME", "this device only, by number or part of its name"},
    [INFO_DISABLE] = {"--disable", OPTION_TEXT, "NAMES", "as if the devices lacked these features: f16,subgroup,.."},
};
/* clang-format on */

/* Shapes people run, to show what would be chosen for them. */
static const struct {
    const char *name;
    rapt_type q_type, kv_type;
    uint32_t n_q_heads, n_kv_heads, head_dim;
} shapes[] = {
    {"f16 K/V, 32/8 heads of 128", RAPT_TYPE_F16, RAPT_TYPE_F16, 32, 8, 128},
    {"bf16 K/V, 32/8 heads of 128", RAPT_TYPE_BF16, RAPT_TYPE_BF16, 32, 8, 128},
    {"f32 K/V, 16/16 heads of 64", RAPT_TYPE_F32, RAPT_TYPE_F32, 16, 16, 64},
    {"f16 K/V, 16/8 heads of 256", RAPT_TYPE_F16, RAPT_TYPE_F16, 16, 8, 256},
};
#define N_SHAPES (sizeof shapes / sizeof *shapes)

/* The user's table of tiles, and what there is to say about it. */
struct table {
    rapt_tiles *tiles;
    char path[1024], state[1400];
};

static void open_table(const rapt_caps *caps, struct table *table)
{
    rapt_status status =
        rapt_easy_tiles_load(NULL, caps, table->path, sizeof table->path, &table->tiles);
    if (status)
        snprintf(table->state, sizeof table->state, "ignored: %s", rapt_last_error());
    else if (table->tiles)
        snprintf(table->state, sizeof table->state, "%u of %s", rapt_tiles_count(table->tiles),
                 table->path);
    else
        snprintf(table->state, sizeof table->state, "none measured here (rapt tune)");
}

static rapt_status explain(const rapt_caps *caps, const struct table *table, size_t shape,
                           char *why, size_t why_bytes, rapt_plan_info *out_info)
{
    rapt_plan_params params = {
        .struct_size = sizeof params,
        .n_q_heads = shapes[shape].n_q_heads,
        .n_kv_heads = shapes[shape].n_kv_heads,
        .head_dim = shapes[shape].head_dim,
        .q_type = shapes[shape].q_type,
        .kv_type = shapes[shape].kv_type,
        .tiles = table->tiles,
    };
    *out_info = (rapt_plan_info){.struct_size = sizeof *out_info};
    *why = 0;
    return rapt_plan_explain(caps, &params, why, why_bytes, out_info);
}

static void print_features(const char *title, rapt_features features)
{
    int column = printf("  %-12s", title);
    int n = 0;
    for (uint32_t bit = 0; bit < RAPT_N_FEATURES; bit++) {
        if (!(features >> bit & 1))
            continue;
        const char *name = rapt_feature_name(bit);
        if (column + (int)strlen(name) + 1 > 98) {
            printf("\n%*s", 14, "");
            column = 14;
        }
        column += printf(" %s", name);
        n++;
    }
    printf(n ? "\n" : " none\n");
}

static void print_tiles(const rapt_plan_info *info)
{
    printf("  %-28s tiles:", "");
    if (info->prefill_tile_from)
        printf(" prefill %u rows, %u keys, from %s (1 of %u)", info->prefill_tile[1],
               info->prefill_tile[2], info->prefill_tile_from, info->n_prefill_tiles);
    if (info->prefill_tile_from && info->decode_tile_from)
        printf(";");
    if (info->decode_tile_from)
        printf(" decode %u rows, %u keys, from %s (1 of %u)", info->decode_tile[1],
               info->decode_tile[2], info->decode_tile_from, info->n_decode_tiles);
    if (info->few_rows_tile_from)
        printf("; of %u to %u rows %u rows, %u keys, from %s (1 of %u)", info->few_rows_least,
               info->few_rows_most, info->few_rows_tile[1], info->few_rows_tile[2],
               info->few_rows_tile_from, info->n_few_rows_tiles);
    printf("\n");
}

static void print_choices(const rapt_caps *caps, const struct table *table)
{
    char why[256], last_why[256] = "";
    for (size_t i = 0; i < N_SHAPES; i++) {
        rapt_plan_info info;
        rapt_status status = explain(caps, table, i, why, sizeof why, &info);
        if (status) {
            printf("  %-28s %s\n", shapes[i].name, rapt_last_error());
            continue;
        }
        printf("  %-28s %s path: prefill %s, decode %s", shapes[i].name,
               info.path ? info.path : "?", info.prefill_kernel ? info.prefill_kernel : "-",
               info.decode_kernel ? info.decode_kernel : "the same");
        if (info.few_rows_kernel)
            printf(", of %u to %u rows %s", info.few_rows_least, info.few_rows_most,
                   info.few_rows_kernel);
        printf("\n");
        print_tiles(&info);
        if (*why && strcmp(why, last_why) != 0)
            printf("  %-28s why no faster one: %s\n", "", why);
        memcpy(last_why, why, sizeof why);
    }
}

static void print_kernels(const rapt_caps *caps)
{
    uint32_t n = rapt_kernel_count();
    int column = 0, n_usable = 0;
    for (uint32_t i = 0; i < n; i++) {
        rapt_kernel_info info = {.struct_size = sizeof info};
        if (rapt_kernel_get_info(caps, i, &info) != RAPT_OK || info.absent_reason ||
            info.unsupported_reason)
            continue;
        if (column == 0 || column + (int)strlen(info.name) + 1 > 98)
            column = printf(n_usable ? "\n    %s" : "  usable kernels:\n    %s", info.name);
        else
            column += printf(" %s", info.name);
        n_usable++;
    }
    printf(n_usable ? "\n" : "  usable kernels: none\n");
    for (uint32_t i = 0; i < n; i++) {
        rapt_kernel_info info = {.struct_size = sizeof info};
        if (rapt_kernel_get_info(caps, i, &info) != RAPT_OK)
            continue;
        if (info.absent_reason)
            printf("  %-26s absent from this build: %s\n", info.name, info.absent_reason);
        else if (info.unsupported_reason)
            printf("  %-26s not on this device: %s\n", info.name, info.unsupported_reason);
    }
}

static void print_device(const rapt_caps *caps, uint32_t index)
{
    char text[600], memory[32], shared[32], range[32];
    printf("device %u: %s (%s)\n", index, device_text(caps, text, sizeof text),
           device_type_name(caps->device_type));
    printf("  %-12s Vulkan %u.%u.%u, %s%s%s, vendor 0x%04x, device 0x%04x\n", "driver",
           VK_VERSION_MAJOR(caps->api_version), VK_VERSION_MINOR(caps->api_version),
           VK_VERSION_PATCH(caps->api_version), caps->driver_name[0] ? caps->driver_name : "driver",
           caps->driver_info[0] ? " " : "", caps->driver_info, caps->vendor_id, caps->device_id);
    printf("  %-12s memory %s, shared memory %s, storage buffers to %s, %u per stage\n", "limits",
           cli_format_bytes((double)caps->device_memory, memory, sizeof memory),
           cli_format_bytes((double)caps->max_shared_memory, shared, sizeof shared),
           cli_format_bytes((double)caps->max_storage_buffer_range, range, sizeof range),
           caps->max_storage_buffers);
    printf("  %-12s workgroups of %u, subgroups of %u (%u to %u), push constants %u B, timestamps "
           "%s\n",
           "", caps->max_workgroup_invocations, caps->subgroup_size, caps->min_subgroup_size,
           caps->max_subgroup_size, caps->max_push_constants,
           caps->timestamp_valid_bits ? "yes" : "no");
    print_features("features", caps->features);
    print_features("switched off", caps->supported & ~caps->features);
    print_features("lacking", ~caps->supported & ((1ull << RAPT_N_FEATURES) - 1));
    if (caps->n_coopmat_shapes)
        printf("  %-12s %u cooperative-matrix shapes\n", "", caps->n_coopmat_shapes);
    struct table table = {0};
    open_table(caps, &table);
    printf("  %-12s %s\n", "tiles", table.state);
    print_choices(caps, &table);
    print_kernels(caps);
    rapt_tiles_destroy(&table.tiles);
}

static void add_features(cJSON *object, const char *name, rapt_features features)
{
    cJSON *list = cJSON_AddArrayToObject(object, name);
    for (uint32_t bit = 0; bit < RAPT_N_FEATURES; bit++) {
        if (features >> bit & 1)
            cJSON_AddItemToArray(list, cJSON_CreateString(rapt_feature_name(bit)));
    }
}

static void add_text(cJSON *object, const char *name, const char *text)
{
    if (text)
        cJSON_AddStringToObject(object, name, text);
    else
        cJSON_AddNullToObject(object, name);
}

static cJSON *kernels_json(const rapt_caps *caps)
{
    cJSON *list = cJSON_CreateArray();
    for (uint32_t i = 0; i < rapt_kernel_count(); i++) {
        rapt_kernel_info info = {.struct_size = sizeof info};
        if (rapt_kernel_get_info(caps, i, &info) != RAPT_OK)
            continue;
        cJSON *object = cJSON_CreateObject();
        add_text(object, "name", info.name);
        cJSON_AddBoolToObject(object, "usable", !info.absent_reason && !info.unsupported_reason);
        add_text(object, "absent", info.absent_reason);
        add_text(object, "unsupported", info.unsupported_reason);
        cJSON_AddItemToArray(list, object);
    }
    return list;
}

static void add_tile(cJSON *object, const char *name, const char *from, uint32_t n,
                     const uint32_t *numbers)
{
    if (!from) {
        cJSON_AddNullToObject(object, name);
        return;
    }
    cJSON *tile = cJSON_AddObjectToObject(object, name);
    add_text(tile, "from", from);
    cJSON_AddNumberToObject(tile, "candidates", n);
    cJSON *list = cJSON_AddArrayToObject(tile, "numbers");
    for (int i = 0; i < RAPT_TILE_NUMBERS; i++)
        cJSON_AddItemToArray(list, cJSON_CreateNumber(numbers[i]));
}

static cJSON *choices_json(const rapt_caps *caps, const struct table *table)
{
    cJSON *list = cJSON_CreateArray();
    for (size_t i = 0; i < N_SHAPES; i++) {
        rapt_plan_info info;
        char why[256];
        cJSON *object = cJSON_CreateObject();
        rapt_status status = explain(caps, table, i, why, sizeof why, &info);
        add_text(object, "shape", shapes[i].name);
        add_text(object, "path", info.path);
        add_text(object, "prefill", info.prefill_kernel);
        add_text(object, "decode", info.decode_kernel);
        add_text(object, "few_rows", info.few_rows_kernel);
        add_text(object, "merge", info.merge_kernel);
        add_text(object, "stage", info.stage_kernel);
        add_tile(object, "prefill_tile", info.prefill_tile_from, info.n_prefill_tiles,
                 info.prefill_tile);
        add_tile(object, "decode_tile", info.decode_tile_from, info.n_decode_tiles,
                 info.decode_tile);
        add_tile(object, "few_rows_tile", info.few_rows_tile_from, info.n_few_rows_tiles,
                 info.few_rows_tile);
        add_text(object, "why", status ? rapt_last_error() : why);
        cJSON_AddItemToArray(list, object);
    }
    return list;
}

static cJSON *device_json(const rapt_caps *caps, uint32_t index)
{
    char text[32];
    cJSON *object = cJSON_CreateObject();
    cJSON_AddNumberToObject(object, "index", index);
    add_text(object, "name", caps->device_name);
    add_text(object, "type", device_type_name(caps->device_type));
    add_text(object, "driver", caps->driver_name);
    add_text(object, "driver_info", caps->driver_info);
    snprintf(text, sizeof text, "%u.%u.%u", VK_VERSION_MAJOR(caps->api_version),
             VK_VERSION_MINOR(caps->api_version), VK_VERSION_PATCH(caps->api_version));
    add_text(object, "vulkan", text);
    cJSON_AddNumberToObject(object, "vendor_id", caps->vendor_id);
    cJSON_AddNumberToObject(object, "device_id", caps->device_id);
    cJSON_AddNumberToObject(object, "memory_bytes", (double)caps->device_memory);
    cJSON_AddNumberToObject(object, "shared_memory_bytes", caps->max_shared_memory);
    cJSON_AddNumberToObject(object, "storage_buffer_range", (double)caps->max_storage_buffer_range);
    cJSON_AddNumberToObject(object, "storage_buffers_per_stage", caps->max_storage_buffers);
    cJSON_AddNumberToObject(object, "workgroup_invocations", caps->max_workgroup_invocations);
    cJSON_AddNumberToObject(object, "subgroup_size", caps->subgroup_size);
    cJSON_AddNumberToObject(object, "subgroup_size_least", caps->min_subgroup_size);
    cJSON_AddNumberToObject(object, "subgroup_size_most", caps->max_subgroup_size);
    cJSON_AddNumberToObject(object, "push_constant_bytes", caps->max_push_constants);
    cJSON_AddNumberToObject(object, "cooperative_matrix_shapes", caps->n_coopmat_shapes);
    cJSON_AddBoolToObject(object, "timestamps", caps->timestamp_valid_bits != 0);
    add_features(object, "features", caps->features);
    add_features(object, "switched_off", caps->supported & ~caps->features);
    add_features(object, "lacking", ~caps->supported & ((1ull << RAPT_N_FEATURES) - 1));
    struct table table = {0};
    open_table(caps, &table);
    add_text(object, "tiles", table.state);
    cJSON_AddItemToObject(object, "choices", choices_json(caps, &table));
    rapt_tiles_destroy(&table.tiles);
    cJSON_AddItemToObject(object, "kernels", kernels_json(caps));
    return object;
}

/* Does device `index` match --device, the way rapt_device_params.select does? */
static int selected(const char *select, const rapt_caps *caps, uint32_t index)
{
    char number[16];
    snprintf(number, sizeof number, "%u", index);
    if (!select || strcmp(select, number) == 0)
        return 1;
    if (strspn(select, "0123456789") == strlen(select))
        return 0;
    size_t length = strlen(select);
    for (const char *at = caps->device_name; *at; at++) {
        size_t i = 0;
        while (i < length && tolower((unsigned char)at[i]) == tolower((unsigned char)select[i]))
            i++;
        if (i == length)
            return 1;
    }
    return 0;
}

static int list_devices(const struct option_value *values, rapt_caps **out_caps, uint32_t *out_n)
{
    rapt_device_params params = {.struct_size = sizeof params};
    int code = device_log(&params.log);
    if (code)
        return code;
    const char *disable =
        values[INFO_DISABLE].given ? values[INFO_DISABLE].text : getenv("RAPT_DISABLE");
    if (disable && rapt_features_parse(disable, &params.disable) != RAPT_OK)
        return cli_fail(CLI_USAGE, "%s: %s",
                        values[INFO_DISABLE].given ? "--disable" : "RAPT_DISABLE",
                        rapt_last_error());
    uint32_t n = 0;
    rapt_status status = rapt_devices_list(&params, NULL, 0, &n);
    if (status)
        return cli_fail_status(status, NULL);
    if (n == 0)
        return cli_fail(CLI_NO_DEVICE, "no usable Vulkan device");
    rapt_caps *caps = calloc(n, sizeof *caps);
    if (!caps)
        return cli_fail(CLI_DEVICE, "out of memory");
    for (uint32_t i = 0; i < n; i++)
        caps[i].struct_size = sizeof caps[i];
    status = rapt_devices_list(&params, caps, n, out_n);
    if (status) {
        free(caps);
        return cli_fail_status(status, NULL);
    }
    if (*out_n > n)
        *out_n = n;
    *out_caps = caps;
    return 0;
}

static int print_all(const struct option_value *values, const rapt_caps *caps, uint32_t n)
{
    const char *select = values[INFO_DEVICE].text;
    uint32_t n_shown = 0;
    cJSON *json = cJSON_CreateObject();
    add_text(json, "version", rapt_version());
    cJSON *list = cJSON_AddArrayToObject(json, "devices");
    for (uint32_t i = 0; i < n; i++) {
        if (!selected(select, &caps[i], i))
            continue;
        if (values[INFO_JSON].given)
            cJSON_AddItemToArray(list, device_json(&caps[i], i));
        else if (n_shown == 0)
            printf("rapt %s\n", rapt_version());
        if (!values[INFO_JSON].given)
            print_device(&caps[i], i);
        n_shown++;
    }
    int code = CLI_DONE;
    if (n_shown == 0)
        code = cli_fail(CLI_NO_DEVICE, "no device matches '%s'", select);
    else if (values[INFO_JSON].given)
        code = output_json(json, NULL, NULL);
    cJSON_Delete(json);
    return code;
}

int info_main(int argc, char **argv)
{
    struct option_value values[INFO_N_OPTIONS];
    int code = options_parse(options, INFO_N_OPTIONS, argc, argv, values);
    if (code == OPTIONS_HELP) {
        options_help(
            "usage: rapt info [--json] [OPTIONS]\n\n"
            "Lists the Vulkan devices of this machine, what each can do, the kernels chosen for\n"
            "some common shapes and why no faster ones, and every kernel of the library: usable,\n"
            "absent from this build (and why), or beyond the device (and why). A tile comes from "
            "the\n"
            "rules of the library, its shipped table, or the user's (`rapt tune`).\n\n",
            options, INFO_N_OPTIONS);
        return CLI_DONE;
    }
    rapt_caps *caps = NULL;
    uint32_t n = 0;
    code = code ? code : list_devices(values, &caps, &n);
    code = code ? code : print_all(values, caps, n);
    free(caps);
    return code;
}
