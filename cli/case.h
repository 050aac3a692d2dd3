/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_CASE_H
#define CLI_CASE_H

/* Attention problems of random numbers, for `rapt check` and the demo: a short description becomes
 * a whole rapt_problem, is run on the device and compared with the reference. */

#include <rapt/easy.h>
#include <rapt/reference.h>

#define CASE_MAX_SEQS 8

enum case_flags {
    CASE_SINKS = 1 << 0,
    CASE_ALIBI = 1 << 1,
    CASE_BIAS_F32 = 1 << 2, /* one sequence only */
    CASE_BIAS_F16 = 1 << 3,
    CASE_STATS = 1 << 4, /* lse, max_logit and its reduction too */
    CASE_UNNORMALISED = 1 << 5,
    CASE_CONST_MAX = 1 << 6,
    CASE_POSITIONS = 1 << 7, /* explicit q_pos, in scrambled order */
    CASE_HND = 1 << 8,       /* the pool's layout */
    CASE_THREE_PASS = 1 << 9, /* the textbook kernels that comparisons are made with */
    CASE_APPEND = 1 << 10,    /* K/V are written by the device */
    CASE_ROPE = 1 << 11,      /* rotated, too */
    CASE_STATIC = 1 << 12     /* static scales */
};

struct case_spec {
    const char *name;
    uint32_t n_q_heads, n_kv_heads, head_dim, head_dim_v; /* head_dim_v 0 = head_dim */
    rapt_type q_type, kv_type, out_type;                  /* out default f32 */
    uint32_t page_size;                                   /* 0 = packed */
    uint32_t n_seqs;
    int32_t q_len[CASE_MAX_SEQS], kv_len[CASE_MAX_SEQS];
    const char *mask; /* NULL = full; `prefix` is kv_len / 3 */
    float scale, softcap;
    uint32_t flags;
    uint32_t n_splits, fixed_split, plan_flags;
    /* Of `blocks`: a random map over positions, with that many of 100 blocks of a row. */
    uint32_t map_block, map_kept;
    uint64_t check_rows; /* compare about this many rows, 0 = all */
};

struct case_data {
    const struct case_spec *spec;
    rapt_problem problem; /* points into what follows */
    rapt_easy_options options;
    rapt_result result;
    rapt_mask *mask;
    int32_t cu_q[CASE_MAX_SEQS + 1], cu_kv[CASE_MAX_SEQS + 1], prefix[CASE_MAX_SEQS];
    rapt_rope rope;
    float scale[1]; /* static, of K and V */
    int32_t *q_pos;
    float *q, *k, *v, *bias, *slopes, *sinks;
    uint16_t *bias16;
    uint8_t *map;
    rapt_mask_data mask_data;
};

/* What a run of it gave. */
struct case_report {
    rapt_error error;
    int reduction_ok;        /* max_logit_reduced agrees with max_logit, bit for bit */
    double run_seconds;      /* device time, the least of the repeats */
    double total_seconds;    /* host time of everything, the reference included */
    rapt_easy_job_info info; /* info.plan.why is gone */
    rapt_status status;      /* not OK: the library failed */
    char message[256];       /* its last error then */
};

/* 0 or an exit code after a line. The same seed makes the same numbers on every machine. */
int case_make(const struct case_spec *spec, uint64_t seed, struct case_data *out_data);
void case_finish(struct case_data *data);

/* The result against the reference, in about spec->check_rows rows. */
rapt_status case_check(const struct case_data *data, rapt_bound_kind kind, rapt_error *out_error);

/* Runs it `n_repeats` times and compares. Never prints; look at out_report->status. */
void case_run(rapt_easy *easy, struct case_data *data, uint32_t n_repeats,
              struct case_report *out_report);

/* The merge that callers use for cascades and context parallelism, which no attention call runs. */
void case_run_merge(rapt_easy *easy, struct case_report *out_report);

/* n numbers of a standard normal distribution, reproducible everywhere. */
void case_random(uint64_t seed, float *out_numbers, size_t n);

#endif
