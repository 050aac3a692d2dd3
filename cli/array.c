/* SPDX-License-Identifier: Apache-2.0 */
#include "array.h"

#include "cli.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    size_t n_bytes;
} dtypes_known[ARRAY_N_DTYPES] = {
    [ARRAY_F4] = {"f4", 4}, [ARRAY_F2] = {"f2", 2}, [ARRAY_BF16] = {"bf16", 2},
    [ARRAY_I4] = {"i4", 4}, [ARRAY_U4] = {"u4", 4}, [ARRAY_U1] = {"u1", 1},
    [ARRAY_B1] = {"b1", 1},
};

const char *array_dtype_name(enum array_dtype dtype)
{
    return dtypes_known[dtype].name;
}

size_t array_dtype_bytes(enum array_dtype dtype)
{
    return dtypes_known[dtype].n_bytes;
}

rapt_type array_type(const struct array *array)
{
    switch (array->dtype) {
    case ARRAY_F4:
        return RAPT_TYPE_F32;
    case ARRAY_F2:
        return RAPT_TYPE_F16;
    case ARRAY_BF16:
        return RAPT_TYPE_BF16;
    default:
        return RAPT_TYPE_DEFAULT;
    }
}

char *array_shape_text(const struct array *array, char *text, size_t text_bytes)
{
    size_t used = (size_t)snprintf(text, text_bytes, "[");
    for (uint32_t i = 0; i < array->rank && used < text_bytes; i++) {
        used += (size_t)snprintf(text + used, text_bytes - used, "%s%llu", i ? ", " : "",
                                 (unsigned long long)array->shape[i]);
    }
    if (used < text_bytes)
        snprintf(text + used, text_bytes - used, "]");
    return text;
}

int array_check_dtype(const char *label, enum array_dtype dtype, uint32_t dtypes)
{
    if (dtypes & ARRAY_IS(dtype))
        return 0;
    char list[64] = "";
    for (int i = 0; i < ARRAY_N_DTYPES; i++) {
        size_t used = strlen(list);
        if (dtypes & ARRAY_IS(i))
            snprintf(list + used, sizeof list - used, "%s%s", used ? " or " : "",
                     dtypes_known[i].name);
    }
    return cli_fail(CLI_USAGE, "%s: elements are %s, expected %s", label, dtypes_known[dtype].name,
                    list);
}

int array_set_shape(const char *label, const uint64_t *shape, uint32_t rank, struct array *array)
{
    uint64_t n = 1;
    array->rank = rank;
    /* A zero anywhere makes the product zero, but 2^62 elsewhere is nonsense all the same. */
    for (uint32_t i = 0; i < rank; i++) {
        array->shape[i] = shape[i];
        uint64_t factor = shape[i] ? shape[i] : 1;
        if (factor > (UINT64_C(1) << 62) / array_dtype_bytes(array->dtype) / n) {
            char text[160];
            return cli_fail(CLI_USAGE, "%s: the shape %s is absurdly large", label,
                            array_shape_text(array, text, sizeof text));
        }
        n *= factor;
    }
    array->n_elements = n;
    for (uint32_t i = 0; i < rank; i++) {
        if (shape[i] == 0)
            array->n_elements = 0;
    }
    return 0;
}

int array_read_data(const char *label, FILE *file, struct array *array)
{
    const uint64_t first_bytes = UINT64_C(1) << 24;
    uint64_t n_bytes = array->n_elements * array_dtype_bytes(array->dtype);
    uint64_t have = 0, capacity = 0;
    char *data = NULL;
    do {
        uint64_t grown = capacity ? capacity * 2 : first_bytes;
        grown = grown < n_bytes ? grown : n_bytes;
        char *larger = grown <= SIZE_MAX - 16 ? realloc(data, (size_t)grown + 16) : NULL;
        if (!larger) {
            free(data);
            return cli_fail(CLI_USAGE, "%s: there is no memory for its %llu bytes", label,
                            (unsigned long long)n_bytes);
        }
        data = larger;
        capacity = grown;
        have += fread(data + have, 1, (size_t)(capacity - have), file);
    } while (have == capacity && capacity < n_bytes);
    if (have < n_bytes) {
        free(data);
        return cli_fail(CLI_USAGE,
                        "%s: truncated: the shape needs %llu bytes of data, the file has %llu",
                        label, (unsigned long long)n_bytes, (unsigned long long)have);
    }
    array->data = data;
    return 0;
}

/* Takes the magic, for good: a pipe cannot go back to it. */
static int is_npy(FILE *file)
{
    char magic[6] = "";
    return fread(magic, 1, 6, file) == 6 && memcmp(magic, "\x93NUMPY", 6) == 0;
}

/* FILE:NAME: the name starts behind the first colon that follows the name of an existing file, so
 * that neither may not hold colons. */
static FILE *open_place(const char *place, const char **out_name)
{
    FILE *file = fopen(place, "rb");
    int first_errno = errno;
    *out_name = NULL;
    for (const char *colon = strchr(place, ':'); !file && colon; colon = strchr(colon + 1, ':')) {
        size_t length = (size_t)(colon - place);
        char *path = calloc(length + 1, 1);
        if (!path)
            break;
        memcpy(path, place, length);
        file = length ? fopen(path, "rb") : NULL;
        free(path);
        *out_name = colon + 1;
    }
    if (!file)
        errno = first_errno;
    return file;
}

int array_read(const char *option, const char *place, uint32_t dtypes, struct array *out_array)
{
    char label[512];
    const char *name;
    memset(out_array, 0, sizeof *out_array);
    snprintf(label, sizeof label, "%s %s", option, place);
    FILE *file = open_place(place, &name);
    if (!file)
        return cli_fail(CLI_USAGE, "%s: cannot be opened: %s", label, strerror(errno));
    int code;
    if (name)
        code = array_read_safetensors(label, file, name, dtypes, out_array);
    else if (is_npy(file))
        code = array_read_npy(label, file, dtypes, out_array);
    else
        code =
            cli_fail(CLI_USAGE, "%s: not an .npy file (safetensors are named FILE:TENSOR)", label);
    fclose(file);
    if (code)
        array_finish(out_array);
    return code;
}

void array_finish(struct array *array)
{
    free(array->data);
    memset(array, 0, sizeof *array);
}
