/* SPDX-License-Identifier: Apache-2.0 */
#ifndef REFERENCE_RANDOM_PROBLEM_H
#define REFERENCE_RANDOM_PROBLEM_H

/* Random problems whose values are also kept as plain logical arrays, so that a test can compute
 * the answer without the library's addressing. */

#include <rapt/reference.h>

enum random_storage {
    STORAGE_PACKED,      /* [total, H, D] */
    STORAGE_PADDED,      /* [B, T, H, D] with rows padded */
    STORAGE_HEADS_FIRST, /* [B, H, T, D] */
    STORAGE_FUSED,       /* [total, H + 2, D]: heads of a wider tensor */
    STORAGE_PAGES,       /* a pool, [pages, page_size, H, D] (NHD) */
    STORAGE_PAGES_HND,   /* a pool, [pages, H, page_size, D] */
    N_STORAGES
};

#define MAX_SEQS 4
#define MAX_LEN 48
#define MAX_HEADS 6
#define MAX_DIM 72
#define RANDOM_TABLE 200

struct random_problem {
    rapt_problem problem;
    enum random_storage q_storage, kv_storage;
    uint32_t q_len[MAX_SEQS], kv_len[MAX_SEQS];
    /* [b][token][head][d], unrounded */
    float q[MAX_SEQS][MAX_LEN][MAX_HEADS][MAX_DIM];
    float k[MAX_SEQS][MAX_LEN][MAX_HEADS][MAX_DIM];
    float v[MAX_SEQS][MAX_LEN][MAX_HEADS][MAX_DIM];
    float bias_value[MAX_SEQS][MAX_HEADS][MAX_LEN][MAX_LEN];
    char text[512];

    int32_t cu_q[MAX_SEQS + 1], cu_kv[MAX_SEQS + 1], q_pos0[MAX_SEQS], kv_pos0[MAX_SEQS];
    int32_t q_pos[MAX_SEQS * MAX_LEN], prefix[MAX_SEQS];
    uint32_t page_indptr[MAX_SEQS + 1], last_page_len[MAX_SEQS], page_indices[MAX_SEQS * MAX_LEN];
    float slopes[MAX_HEADS], sinks[MAX_HEADS];
    uint64_t bias_offsets[MAX_SEQS];
    rapt_mask *mask, *other_mask;
    const rapt_mask *mask_heads[MAX_HEADS];
    rapt_mask_data mask_data;
    int32_t ids_q[MAX_SEQS * MAX_LEN], ids_kv[MAX_SEQS * MAX_LEN], parents[MAX_SEQS * MAX_LEN];
    int32_t tree_indptr[MAX_SEQS + 1];
    uint8_t flags[MAX_SEQS * MAX_LEN], map[MAX_HEADS * 64];
    uint8_t bits[MAX_SEQS * MAX_LEN * MAX_LEN * MAX_HEADS / 8 + 8];
    uint64_t bit_offsets[MAX_SEQS];
    void *memory[4]; /* q, k, v, bias */

    /* Problems that quantize or rotate. k and v above then hold what is stored, and this what a
     * query is used as. */
    int is_stored;
    double q_used[MAX_SEQS][MAX_LEN][MAX_HEADS][MAX_DIM];
    rapt_rope rope;
    float k_scale[MAX_HEADS], v_scale[MAX_HEADS], frequency_scale[MAX_DIM];
    float table[RANDOM_TABLE][MAX_DIM];
    int32_t rope_pos[MAX_SEQS * MAX_LEN], k_rope_pos[MAX_SEQS * MAX_LEN];
};

/* The same number, the same problem. Those from RANDOM_STORED on quantize or rotate; those from
 * RANDOM_MASKED on have any masks, not only such as are one interval. */
#define RANDOM_STORED 400
#define RANDOM_MASKED 800
struct random_problem *random_problem_create(uint64_t number);
void random_problem_destroy(struct random_problem *random);

#endif
