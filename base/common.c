/* SPDX-License-Identifier: Apache-2.0 */
#include "error.h"

#include <string.h>

#define TEXT_OF(x) #x
#define TEXT(x) TEXT_OF(x)

const char *rapt_version(void)
{
    return TEXT(RAPT_VERSION_MAJOR) "." TEXT(RAPT_VERSION_MINOR) "." TEXT(RAPT_VERSION_PATCH);
}

rapt_status_group_id rapt_status_group(rapt_status status)
{
    int code = (int)status;
    if (code >= 0)
        return RAPT_STATUS_GROUP_OK;
    if (code > -100)
        return RAPT_STATUS_GROUP_ARGUMENT;
    if (code > -200)
        return RAPT_STATUS_GROUP_CAPABILITY;
    if (code > -300)
        return RAPT_STATUS_GROUP_MEMORY;
    if (code > -400)
        return RAPT_STATUS_GROUP_DEVICE;
    return RAPT_STATUS_GROUP_INTERNAL;
}

const char *rapt_status_string(rapt_status status)
{
    switch (status) {
    case RAPT_OK:
        return "ok";
    case RAPT_ERROR_ARGUMENT:
        return "bad argument";
    case RAPT_ERROR_SHAPE:
        return "shapes disagree";
    case RAPT_ERROR_CAPACITY:
        return "capacity exceeded";
    case RAPT_ERROR_BUSY:
        return "slot still executing";
    case RAPT_ERROR_SYNTAX:
        return "syntax error";
    case RAPT_ERROR_NO_DEVICE:
        return "no usable device";
    case RAPT_ERROR_UNSUPPORTED:
        return "not supported";
    case RAPT_ERROR_ABSENT:
        return "kernel not in this build";
    case RAPT_ERROR_HOST_MEMORY:
        return "out of host memory";
    case RAPT_ERROR_DEVICE_MEMORY:
        return "out of device memory";
    case RAPT_ERROR_PAGES:
        return "out of pages";
    case RAPT_ERROR_DEVICE_LOST:
        return "device lost";
    case RAPT_ERROR_DEVICE:
        return "device failed";
    case RAPT_ERROR_IO:
        return "file error";
    case RAPT_ERROR_INTERNAL:
        return "internal error";
    }
    return "unknown status";
}

static const struct {
    rapt_type type;
    const char *name;
    size_t n_bytes; /* of one element, 0 where elements have no size of their own */
} types[] = {
    {RAPT_TYPE_F32, "f32", 4},   {RAPT_TYPE_F16, "f16", 2},           {RAPT_TYPE_BF16, "bf16", 2},
    {RAPT_TYPE_INT8, "int8", 0}, {RAPT_TYPE_FP8_E4M3, "fp8_e4m3", 0}, {RAPT_TYPE_INT4, "int4", 0},
    {RAPT_TYPE_Q8_0, "q8_0", 0}, {RAPT_TYPE_Q4_0, "q4_0", 0},
};

const char *rapt_type_name(rapt_type type)
{
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        if (types[i].type == type)
            return types[i].name;
    return NULL;
}

rapt_type rapt_type_parse(const char *name)
{
    for (size_t i = 0; name && i < sizeof types / sizeof types[0]; i++)
        if (strcmp(types[i].name, name) == 0)
            return types[i].type;
    return RAPT_TYPE_DEFAULT;
}

size_t rapt_type_bytes(rapt_type type)
{
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        if (types[i].type == type)
            return types[i].n_bytes;
    return 0;
}

size_t rapt_row_bytes(rapt_type type, uint32_t head_dim)
{
    size_t n_groups = head_dim / 32;
    int whole = head_dim % 32 == 0;
    switch (type) {
    case RAPT_TYPE_INT8:
    case RAPT_TYPE_FP8_E4M3:
        return head_dim;
    case RAPT_TYPE_INT4:
        return whole ? n_groups * 16 : 0;
    case RAPT_TYPE_Q8_0:
        return whole ? n_groups * 34 : 0;
    case RAPT_TYPE_Q4_0:
        return whole ? n_groups * 18 : 0;
    default:
        return head_dim * rapt_type_bytes(type);
    }
}
