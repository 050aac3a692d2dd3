/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_ATTEND_H
#define CLI_ATTEND_H

/* `rapt attend` in three parts: its options, files -> rapt_problem, and the run. */

#include <rapt/easy.h>

#include "array.h"
#include "mask_options.h"
#include "options.h"
#include "rope_options.h"

enum attend_option {
    ATTEND_HEAD_TENSORS,
    ATTEND_Q,
    ATTEND_K,
    ATTEND_V,
    ATTEND_LAYOUT,
    ATTEND_OUT,
    ATTEND_LSE,
    ATTEND_MAX_LOGIT,
    ATTEND_HEAD_BATCH,
    ATTEND_CU_Q,
    ATTEND_CU_KV,
    ATTEND_Q_POS0,
    ATTEND_Q_POS,
    ATTEND_KV_POS0,
    ATTEND_HEAD_STORAGE,
    ATTEND_Q_DTYPE,
    ATTEND_KV_DTYPE,
    ATTEND_OUT_DTYPE,
    ATTEND_K_SCALE,
    ATTEND_V_SCALE,
    ATTEND_SCALE_DTYPE,
    ATTEND_SCALE_PER,
    ATTEND_HEAD_PAGING,
    ATTEND_PAGE_SIZE,
    ATTEND_PAGE_ORDER,
    ATTEND_KV_LAYOUT,
    ATTEND_APPEND,
    ATTEND_K_POOL,
    ATTEND_V_POOL,
    ATTEND_PAGE_INDPTR,
    ATTEND_PAGE_INDICES,
    ATTEND_LAST_PAGE_LEN,
    ATTEND_SHARE_PREFIX,
    ATTEND_HEAD_LOGITS,
    ATTEND_SCALE,
    ATTEND_SOFTCAP,
    ATTEND_ALIBI,
    ATTEND_BIAS,
    ATTEND_SINKS,
    ATTEND_MAX_LOGIT_CONST,
    ATTEND_UNNORMALISED,
    ATTEND_HEAD_ROPE,
    ATTEND_ROPE,
    ATTEND_ROPE_THETA,
    ATTEND_ROPE_DIM,
    ATTEND_ROPE_OFFSET,
    ATTEND_ROPE_SCALE,
    ATTEND_ROPE_FACTOR,
    ATTEND_ROPE_LLAMA3,
    ATTEND_ROPE_YARN,
    ATTEND_ROPE_TABLE,
    ATTEND_ROPE_POS,
    ATTEND_ROPE_KV_POS,
    ATTEND_HEAD_MASKS,
    ATTEND_MASK,
    ATTEND_CAUSAL,
    ATTEND_WINDOW,
    ATTEND_PREFIX, /* the first of mask_options.h */
    ATTEND_SEGMENTS_Q,
    ATTEND_SEGMENTS_KV,
    ATTEND_BIDIRECTIONAL,
    ATTEND_BITMAP,
    ATTEND_BLOCKS,
    ATTEND_BLOCK_SHAPE,
    ATTEND_PARENTS,
    ATTEND_MASK_HEAD,
    ATTEND_HEAD_KERNEL,
    ATTEND_DEVICE,
    ATTEND_PATH,
    ATTEND_SPLITS,
    ATTEND_FIXED_SPLIT,
    ATTEND_BLOCK_Q,
    ATTEND_BLOCK_KV,
    ATTEND_SLICES,
    ATTEND_INTEGER_DOT,
    ATTEND_DISABLE,
    ATTEND_HEAD_CHECKING,
    ATTEND_CHECK,
    ATTEND_CHECK_LIMIT,
    ATTEND_HEAD_TIMING,
    ATTEND_REPEAT,
    ATTEND_WARMUP,
    ATTEND_JSON,
    ATTEND_N_OPTIONS
};

extern const struct option_spec attend_options[ATTEND_N_OPTIONS];

enum attend_path {
    ATTEND_AUTO,
    ATTEND_PORTABLE,
    ATTEND_COOPMAT,
    ATTEND_COOPMAT2,
    ATTEND_REFERENCE
};

/* How a tensor file lies: what outputs copy from the q file. */
struct attend_view {
    uint32_t n_seqs;   /* of [B, ...] forms, 0 for [total, H, D] */
    uint64_t n_tokens; /* per sequence, or in total */
    uint32_t n_heads, dim;
    int heads_first; /* [B, H, T, D] */
};

struct attend {
    struct option_value values[ATTEND_N_OPTIONS];
    struct array arrays[ATTEND_N_OPTIONS]; /* of the options that name files */
    struct attend_view q_view;
    int32_t *cu_q, *cu_kv; /* when made rather than read */
    rapt_mask *mask;
    struct mask_input mask_input;
    struct rope_input rope;
    rapt_problem problem; /* points into the above */
    rapt_easy_options easy;
    enum attend_path path;
};

/* Values whose meaning needs no file: words, combinations, numbers. 0 or CLI_USAGE. */
int attend_options_check(struct attend *attend);
/* Reads the files and makes attend->problem and attend->easy of them. 0 or an exit code. */
int attend_input(struct attend *attend);
/* attend_storage.c: what is quantized and rotated. */
int attend_storage_check(const struct attend *attend);
int attend_storage_input(struct attend *attend);
/* attend_mask.c: the mask and its arrays, when all else of the problem has been checked. */
int attend_mask_input(struct attend *attend);
void attend_finish(struct attend *attend);

#endif
