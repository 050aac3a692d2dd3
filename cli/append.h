/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_APPEND_H
#define CLI_APPEND_H

/* `rapt append` in three parts: its options, files -> what is to be appended where, and the run. */

#include <rapt/easy.h>

#include "array.h"
#include "options.h"
#include "rope_options.h"

enum append_option {
    APPEND_HEAD_ROWS,
    APPEND_K_NEW,
    APPEND_V_NEW,
    APPEND_CU_NEW,
    APPEND_KV_POS0,
    APPEND_HEAD_POOL,
    APPEND_K_POOL,
    APPEND_V_POOL,
    APPEND_K_SCALE_POOL,
    APPEND_V_SCALE_POOL,
    APPEND_PAGES,
    APPEND_PAGE_SIZE,
    APPEND_KV_LAYOUT,
    APPEND_PAGE_INDPTR,
    APPEND_PAGE_INDICES,
    APPEND_LAST_PAGE_LEN,
    APPEND_HEAD_STORAGE,
    APPEND_KV_DTYPE,
    APPEND_K_SCALE,
    APPEND_V_SCALE,
    APPEND_SCALE_DTYPE,
    APPEND_SCALE_PER,
    APPEND_HEAD_OUT,
    APPEND_K_POOL_OUT,
    APPEND_V_POOL_OUT,
    APPEND_K_SCALE_OUT,
    APPEND_V_SCALE_OUT,
    APPEND_HEAD_ROPE,
    APPEND_ROPE,
    APPEND_ROPE_POS = APPEND_ROPE + ROPE_N_OPTIONS,
    APPEND_HEAD_KERNEL,
    APPEND_DEVICE,
    APPEND_DISABLE,
    APPEND_CHECK,
    APPEND_N_OPTIONS
};

extern const struct option_spec append_options[APPEND_N_OPTIONS];

/* One of K and V. Layouts and sizes count bytes. */
struct append_side {
    const struct array *rows; /* [total, heads, dim] */
    uint32_t dim;
    uint64_t row_bytes; /* in the pool */
    rapt_layout layout; /* of the pool */
    uint64_t n_bytes;   /* of the pool */
    uint64_t shape[4];
    uint8_t *pool;          /* as given, then as the device left it */
    uint32_t n_row_scales;  /* of one token */
    uint64_t n_scale_bytes; /* 0 = there are none */
    uint64_t scale_shape[4];
    uint32_t scale_rank;
    uint8_t *scales;
    rapt_quantize_params quantize; /* how a token is stored */
};

struct append {
    struct option_value values[APPEND_N_OPTIONS];
    struct array arrays[APPEND_N_OPTIONS]; /* of the options that name files */
    struct rope_input rope;
    int32_t *cu_new;      /* when made rather than read */
    rapt_problem problem; /* the tables, lengths, types and scales, as attention would have them */
    uint32_t n_pages, total;     /* of the pool, of new tokens */
    size_t scale_bytes;          /* of one scale */
    struct append_side sides[2]; /* K, V */
};

/* Values whose meaning needs no file. 0 or CLI_USAGE. */
int append_options_check(const struct append *append);
/* Reads the files and makes the pools. 0 or an exit code. */
int append_input(struct append *append);
void append_finish(struct append *append);

/* Keys of sequence b after the append. */
uint32_t append_kv_len(const struct append *append, uint32_t b);

/* append_check.c: how many bytes of the pools and of the scales are not what the host makes of
 * `before`, the pools as they were. 0 or an exit code. */
struct append_before {
    uint8_t *pool[2], *scales[2];
};
int append_compare(const struct append *append, struct append_before *before,
                   uint64_t out_n_wrong[4]);

#endif
