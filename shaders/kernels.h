/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SHADERS_KERNELS_H
#define SHADERS_KERNELS_H

/* The compiled kernels: ids by the order of kernels.def, and their SPIR-V. */

#include <stddef.h>
#include <stdint.h>

enum rapt_kernel_id {
#define KERNEL(name, file, probe, caps, bindings, defines) RAPT_KERNEL_##name,
#include "kernels.def"
#undef KERNEL
    RAPT_N_KERNELS
};

struct rapt_kernel_blob {
    const char *name;
    const uint32_t *words;     /* NULL when this build's GLSL compiler lacks what the row needs */
    size_t n_words;            /* words, not bytes */
    const char *absent_reason; /* NULL when `words` is there */
};

extern const struct rapt_kernel_blob rapt_kernel_blobs[RAPT_N_KERNELS];

#endif
