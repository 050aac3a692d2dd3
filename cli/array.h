/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_ARRAY_H
#define CLI_ARRAY_H

/* Arrays in files: .npy (versions 1 to 3) and safetensors, C order and little endian. Every
 * function prints one line and returns CLI_USAGE when a file is not what it should be. */

#include <rapt/common.h>

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum array_dtype {
    ARRAY_F4,
    ARRAY_F2,
    ARRAY_BF16,
    ARRAY_I4,
    ARRAY_U4,
    ARRAY_U1,
    ARRAY_B1,
    ARRAY_N_DTYPES
};

#define ARRAY_MAX_RANK 8

struct array {
    void *data; /* malloc'd; NULL = not given */
    enum array_dtype dtype;
    uint32_t rank;
    uint64_t shape[ARRAY_MAX_RANK];
    uint64_t n_elements;
};

#define ARRAY_IS(dtype) (1u << (dtype))
#define ARRAY_TENSOR (ARRAY_IS(ARRAY_F4) | ARRAY_IS(ARRAY_F2) | ARRAY_IS(ARRAY_BF16))
#define ARRAY_INT (ARRAY_IS(ARRAY_I4) | ARRAY_IS(ARRAY_U4))

const char *array_dtype_name(enum array_dtype dtype);
size_t array_dtype_bytes(enum array_dtype dtype);
/* Type of a tensor's elements; RAPT_TYPE_DEFAULT for dtypes that are no tensor's. */
rapt_type array_type(const struct array *array);

/* Reads `place`: FILE of .npy, or FILE:NAME of safetensors. `option` is for messages; `dtypes` are
 * the ARRAY_IS bits accepted. On failure *out_array holds nothing. */
int array_read(const char *option, const char *place, uint32_t dtypes, struct array *out_array);
void array_finish(struct array *array);

/* "[2, 16, 8, 128]" into `text`; returns it. */
char *array_shape_text(const struct array *array, char *text, size_t text_bytes);

/* Writes f4 data, or elements of any dtype NumPy has, as .npy version 1. 0, or CLI_USAGE. */
int array_write_npy(FILE *file, const float *data, const uint64_t *shape, uint32_t rank);
int array_write_npy_as(FILE *file, enum array_dtype dtype, const void *data, const uint64_t *shape,
                       uint32_t rank);

/* The two formats, for array_read: `file` stands behind the magic of .npy, at the beginning of
 * safetensors. */
int array_read_npy(const char *label, FILE *file, uint32_t dtypes, struct array *out_array);
int array_read_safetensors(const char *label, FILE *file, const char *name, uint32_t dtypes,
                           struct array *out_array);
/* Shared by them: sets rank, shape and n_elements, refusing products beyond 2^62 bytes; reads
 * exactly the array's bytes, growing memory as they come so that a short file never costs a long
 * allocation. */
int array_set_shape(const char *label, const uint64_t *shape, uint32_t rank, struct array *array);
int array_read_data(const char *label, FILE *file, struct array *array);
/* Refuses a dtype outside `dtypes`, naming what was expected. */
int array_check_dtype(const char *label, enum array_dtype dtype, uint32_t dtypes);

#endif
