/* SPDX-License-Identifier: Apache-2.0 */
#include "kernel_table.h"

#include "args.h"
#include "error.h"
#include "select.h"

#include <string.h>

struct row {
    const char *name;
    rapt_features features;
    uint32_t bindings;
};

/* The last, empty row keeps the array legal while the table has no rows. */
static const struct row rows[] = {
#define KERNEL(name, file, probe, caps, bindings, options) {#name, (caps), (bindings)},
#include "kernels.def"
#undef KERNEL
    {NULL, 0, 0},
};

static int in_table(int kernel)
{
    return kernel >= 0 && kernel < (int)RAPT_N_KERNELS;
}

const char *rapt_kernel_name(int kernel)
{
    return in_table(kernel) ? rows[kernel].name : NULL;
}

int rapt_kernel_find(const char *name)
{
    for (int i = 0; i < (int)RAPT_N_KERNELS; i++) {
        if (strcmp(rows[i].name, name) == 0)
            return i;
    }
    return -1;
}

int rapt_kernel_name_ends(int kernel, const char *end)
{
    const char *name = rapt_kernel_name(kernel);
    size_t n = name ? strlen(name) : 0, m = strlen(end);
    return n >= m && strcmp(name + n - m, end) == 0;
}

rapt_features rapt_kernel_features(int kernel)
{
    return in_table(kernel) ? rows[kernel].features : 0;
}

uint32_t rapt_kernel_bindings(int kernel)
{
    return in_table(kernel) ? rows[kernel].bindings : 0;
}

const char *rapt_kernel_absent_reason(int kernel)
{
    if (!in_table(kernel))
        return "there is no such kernel";
    return rapt_kernel_blobs[kernel].words ? NULL : rapt_kernel_blobs[kernel].absent_reason;
}

const uint32_t *rapt_kernel_words(int kernel, size_t *out_n_bytes)
{
    *out_n_bytes = 0;
    if (!in_table(kernel) || !rapt_kernel_blobs[kernel].words)
        return NULL;
    *out_n_bytes = rapt_kernel_blobs[kernel].n_words * sizeof(uint32_t);
    return rapt_kernel_blobs[kernel].words;
}

uint32_t rapt_kernel_count(void)
{
    return RAPT_N_KERNELS;
}

rapt_status rapt_kernel_get_info(const rapt_caps *caps, uint32_t index, rapt_kernel_info *out_info)
{
    if (!out_info)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "out_info is NULL");
    if (index >= rapt_kernel_count())
        return rapt_fail(RAPT_ERROR_ARGUMENT, "index is %u: the table has %u kernels", index,
                         rapt_kernel_count());
    rapt_kernel_info info = {
        .struct_size = sizeof info,
        .name = rapt_kernel_name((int)index),
        .absent_reason = rapt_kernel_absent_reason((int)index),
        .unsupported_reason = caps ? rapt_kernel_unsupported_reason(caps, (int)index) : NULL,
    };
    rapt_params_write(out_info, &info, sizeof info);
    return RAPT_OK;
}
