/* SPDX-License-Identifier: Apache-2.0 */
/* safetensors: u64 header length, a JSON object {"name": {"dtype", "shape", "data_offsets"}}, data.
 */
#include "array.h"

#include "cli.h"

#include <cJSON.h>

#include <stdlib.h>
#include <string.h>

#define MAX_HEADER_BYTES (100u << 20) /* the format's own limit */

static int read_header(const char *label, FILE *file, cJSON **out_json, uint64_t *out_header_bytes)
{
    unsigned char start[8];
    if (fread(start, 1, 8, file) != 8)
        return cli_fail(CLI_USAGE, "%s: truncated: too short for safetensors", label);
    uint64_t n_bytes = 0;
    for (int i = 7; i >= 0; i--)
        n_bytes = n_bytes << 8 | start[i];
    if (n_bytes < 2 || n_bytes > MAX_HEADER_BYTES)
        return cli_fail(CLI_USAGE, "%s: no safetensors file (its header would have %llu bytes)",
                        label, (unsigned long long)n_bytes);
    /* As with data: memory grows with what the file really holds. */
    struct array text = {.dtype = ARRAY_U1};
    text.n_elements = n_bytes;
    int code = array_read_data(label, file, &text);
    if (code)
        return code;
    *out_json = cJSON_ParseWithLength(text.data, (size_t)n_bytes);
    free(text.data);
    if (!cJSON_IsObject(*out_json)) {
        cJSON_Delete(*out_json);
        return cli_fail(CLI_USAGE, "%s: the safetensors header is not a JSON object", label);
    }
    *out_header_bytes = n_bytes;
    return 0;
}

/* A whole number JSON can hold exactly. */
static int whole(const cJSON *item, uint64_t *out_number)
{
    double value = cJSON_IsNumber(item) ? item->valuedouble : -1;
    if (!(value >= 0 && value <= 9007199254740992.0))
        return 0;
    *out_number = (uint64_t)value;
    return (double)*out_number == value;
}

static int parse_dtype(const char *label, const cJSON *entry, uint32_t dtypes,
                       enum array_dtype *out_dtype)
{
    static const struct {
        const char *name;
        enum array_dtype dtype;
    } names[] = {{"F32", ARRAY_F4}, {"F16", ARRAY_F2}, {"BF16", ARRAY_BF16}, {"I32", ARRAY_I4},
                 {"U32", ARRAY_U4}, {"U8", ARRAY_U1},  {"BOOL", ARRAY_B1}};
    const char *name = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(entry, "dtype"));
    for (size_t i = 0; name && i < sizeof names / sizeof *names; i++) {
        if (strcmp(name, names[i].name) == 0) {
            *out_dtype = names[i].dtype;
            return array_check_dtype(label, *out_dtype, dtypes);
        }
    }
    return cli_fail(CLI_USAGE, "%s: elements are '%s', which is not read", label, name ? name : "");
}

static int parse_entry(const char *label, const cJSON *entry, uint32_t dtypes, struct array *array,
                       uint64_t *out_begin)
{
    uint64_t shape[ARRAY_MAX_RANK];
    uint32_t rank = 0;
    const cJSON *item;
    int code = parse_dtype(label, entry, dtypes, &array->dtype);
    if (code)
        return code;
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(entry, "shape");
    int good = cJSON_IsArray(list);
    cJSON_ArrayForEach(item, list)
    {
        good = good && rank < ARRAY_MAX_RANK && whole(item, &shape[rank]);
        if (!good)
            break;
        rank++;
    }
    if (!good)
        return cli_fail(CLI_USAGE, "%s: its shape is not a short list of whole numbers", label);
    code = array_set_shape(label, shape, rank, array);
    if (code)
        return code;
    const cJSON *offsets = cJSON_GetObjectItemCaseSensitive(entry, "data_offsets");
    uint64_t end;
    if (!cJSON_IsArray(offsets) || cJSON_GetArraySize(offsets) != 2 ||
        !whole(cJSON_GetArrayItem(offsets, 0), out_begin) ||
        !whole(cJSON_GetArrayItem(offsets, 1), &end) || end < *out_begin ||
        end - *out_begin != array->n_elements * array_dtype_bytes(array->dtype))
        return cli_fail(CLI_USAGE, "%s: its data_offsets do not agree with its shape", label);
    return 0;
}

int array_read_safetensors(const char *label, FILE *file, const char *name, uint32_t dtypes,
                           struct array *out_array)
{
    cJSON *json = NULL;
    uint64_t header_bytes = 0, begin = 0;
    int code = read_header(label, file, &json, &header_bytes);
    if (code)
        return code;
    const cJSON *entry = cJSON_GetObjectItemCaseSensitive(json, name);
    if (!cJSON_IsObject(entry) || strcmp(name, "__metadata__") == 0)
        code = cli_fail(CLI_USAGE, "%s: the file has no tensor of that name", label);
    else
        code = parse_entry(label, entry, dtypes, out_array, &begin);
    cJSON_Delete(json);
    /* In steps a 32-bit long can hold. */
    while (!code && begin > 0) {
        long step = begin > (1u << 30) ? 1L << 30 : (long)begin;
        if (fseek(file, step, SEEK_CUR) != 0)
            code = cli_fail(CLI_USAGE, "%s: truncated", label);
        begin -= (uint64_t)step;
    }
    return code ? code : array_read_data(label, file, out_array);
}
