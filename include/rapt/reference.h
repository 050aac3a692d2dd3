/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RAPT_REFERENCE_H
#define RAPT_REFERENCE_H

/* A whole attention call as host arrays (rapt_problem), and the float64 reference that computes it
 * on the host. The easy tier takes the same struct and computes it on a device, so a program
 * switches between the two by calling one function or the other. The formula is that of
 * attention.h. Host only, no Vulkan.
 *
 * Thread-safety: every function may be called from any thread. */

#include <rapt/common.h>
#include <rapt/mask.h>
#include <rapt/rope.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Elements of a host tensor. `type` is f32, f16 or bf16: how `data` holds them. */
typedef struct rapt_array {
    const void *data;
    size_t n_elements; /* all that `data` holds; nothing past it is read */
    rapt_type type;    /* default f32 */
    rapt_layout layout; /* zero = dense */
} rapt_array;

typedef enum rapt_page_order {
    RAPT_PAGE_ORDER_SHUFFLED = 0, /* pages scattered over the pool by page_seed */
    RAPT_PAGE_ORDER_LINEAR = 1
} rapt_page_order;

typedef struct rapt_problem {
    size_t struct_size;
    uint32_t n_seqs;                /* B >= 1 */
    uint32_t n_q_heads, n_kv_heads;
    uint32_t head_dim, head_dim_v;  /* head_dim_v 0 = head_dim */

    rapt_array q, k, v;
    /* What the device stores; values are rounded to it on the way in (round to nearest even).
     * Default: the array's own type. */
    rapt_type q_type, kv_type;
    rapt_type out_type; /* results are rounded to it; default f32 */

    /* lengths; as in rapt_step_params. Positions have magnitudes below 2^30 */
    const int32_t *cu_q, *cu_kv;
    const int32_t *q_pos0, *q_pos, *kv_pos0;

    /* pages. page_size 0 = packed K/V as given. page_size > 0 and page_indices NULL: the packed
     * K/V are put into a page pool of page_size tokens first (easy tier; no effect on the result),
     * as the easy tier does by itself where packed K/V are more than the device's kernels can bind.
     * page_indices set: k and v are a ready pool, dense [pages, page_size, Hkv, D] by default, and
     * cu_kv is NULL. */
    uint32_t page_size;
    rapt_page_order page_order;
    uint64_t page_seed;
    uint32_t n_pool_pages;
    const uint32_t *page_indptr, *page_indices, *last_page_len;

    float scale;   /* 0 = 1 / sqrt(head_dim) */
    float softcap; /* 0 = none */
    const float *slopes; /* f32[Hq] or NULL */
    const float *sinks;  /* f32[Hq] or NULL */
    rapt_array bias;     /* data NULL = none; f32 or f16; layout.head_stride 0 = shared by the heads,
                            token_stride 0 = kv_len, outer_stride 0 = shared by the sequences */
    const uint64_t *bias_offsets; /* u64[B], elements, or NULL */
    int use_max_logit_const;
    float max_logit_const;
    int unnormalised; /* out = sum_j exp(s - m) v_j */

    const rapt_mask *mask; /* NULL = full; any expression */
    const int32_t *prefix; /* int32[B]; NULL = mask_data->prefix */

    /* [n_q_heads] or NULL: mask_heads[h] replaces `mask` for head h where not NULL. */
    const rapt_mask *const *mask_heads;

    /* Quantized kv_type: k and v are floats, quantized on the way in (rapt_quantize_rows). */
    rapt_type scale_type;       /* of int8, fp8_e4m3: f32 or f16; default f32 */
    rapt_scale_kind scale_kind; /* STATIC needs k_scale and v_scale */
    const float *k_scale, *v_scale; /* f32[Hkv] or [1] */
    uint32_t n_k_scale, n_v_scale;  /* Hkv or 1 */
    rapt_choice integer_dot;        /* as in rapt_plan_params; the reference does not care */

    /* Rotation of Q, and of K before it is stored; a ready page pool holds keys already rotated. */
    const rapt_rope *rope;      /* NULL = none */
    const int32_t *rope_pos;    /* int32[total_q]; NULL = the query positions */
    const int32_t *k_rope_pos;  /* int32[total_kv]; NULL = kv_pos0 + j */

    /* Arrays the masks' leaves read (mask.h); NULL = none. Where K and V are a ready page pool, keys
     * are counted through, sequence after sequence, as in packed ones. */
    const rapt_mask_data *mask_data;
} rapt_problem;

/* Results, all caller's memory; any pointer may be NULL. */
typedef struct rapt_result {
    size_t struct_size;
    float *out;               /* [total_q, Hq, head_dim_v] dense; values already rounded to out_type */
    float *lse;               /* [total_q, Hq] */
    float *max_logit;         /* [total_q, Hq] */
    float *max_logit_reduced; /* [B, Hq] */
} rapt_result;

/* Checks shapes, lengths, tables, masks and numbers exactly as the device path does. The message of
 * rapt_last_error names the argument, its value and what was expected. Names in messages are those
 * of this struct's fields. */
RAPT_API rapt_status rapt_problem_check(const rapt_problem *problem);

/* Query tokens over the batch. 0 if the problem is malformed. */
RAPT_API uint64_t rapt_problem_total_q(const rapt_problem *problem);

/* Computes the problem in float64 on the *stored* values (rounded to q_type and kv_type first; K
 * rotated and quantized as kv_append does it, Q rotated in float64 from its stored value). out
 * is rounded to out_type. Uses up to n_threads threads (0 = 1). out64 (may be NULL) receives the
 * unrounded float64 output, [total_q, Hq, head_dim_v]; lse64 and max_logit64 likewise [total_q, Hq]. */
typedef struct rapt_reference_params {
    size_t struct_size;
    const rapt_allocator *allocator;
    uint32_t n_threads;
    /* Only these packed rows: every row_step-th (token, head) row starting at row_first; others are
     * left untouched. 0 = all. For checks of problems too large to recompute whole. */
    uint64_t row_first, row_step;
} rapt_reference_params;
RAPT_API rapt_status rapt_reference_attention(const rapt_problem *problem,
                                              const rapt_reference_params *params,
                                              const rapt_result *out_result, double *out64,
                                              double *lse64, double *max_logit64);

/* How far a device result is from the reference, and how far it may be. */
typedef struct rapt_error {
    size_t struct_size;
    double e;         /* ||out - ref||_F / ||ref||_F (absolute norm if ref is 0) */
    double max_ratio; /* max |out - ref| / max |ref| */
    double lse_abs;   /* max |lse - ref|, infinities must match exactly, else +inf */
    double max_logit_abs;
    double bound_e, bound_max, bound_stat; /* limits on e, on max_ratio (8 * bound_e), on the stats */
    int n_nan;        /* NaNs in the device result */
    int ok;           /* all within bounds and no NaN */
} rapt_error;
typedef enum rapt_bound_kind {
    RAPT_BOUND_PORTABLE = 0, /* 5e-6 * F; lse and max_logit 2e-5 * F */
    RAPT_BOUND_MATRIX_F16 = 1, /* max(6e-4, 5e-6 * F); stats max(2e-3, 2e-5 * F) */
    RAPT_BOUND_MATRIX_BF16 = 2, /* max(5e-3, 5e-6 * F) */
    RAPT_BOUND_INTEGER_DOT = 3  /* max(1e-2, 5e-6 * F). Statistics: 2e-5 * F, and as much as a logit
                                   can move when Q is rounded per 32 dims to multiples of absmax / 127:
                                   scale * max||q - rounded q|| * max||k|| */
} rapt_bound_kind;
/* F = max(1, S / 64), S = max(softcap, scale * max||q|| * max||k|| + max|slope * (J - P)| + max|finite
 * bias|): rounding a large score moves its weight by that much. out_type f16 and bf16 add 4e-4 and
 * 3e-3 to the bound on e. What drivers flush to zero is not counted in: elements of Q, K and V below
 * 2^-126 (f32, bf16), and such elements of Q times scale. Queries of N(0, 1) times 2^-100 hold the
 * bounds; times 2^-115 one element in some thousands is that small, and where K is as large as Q is
 * small e is 1e-4. Runs the reference; `result` is what the device gave. row_first and row_step
 * as in params: only those rows are compared. */
RAPT_API rapt_status rapt_reference_check(const rapt_problem *problem,
                                          const rapt_reference_params *params,
                                          const rapt_result *result, rapt_bound_kind kind,
                                          rapt_error *out_error);

/* Conversions, round to nearest even, NaN kept. */
RAPT_API uint16_t rapt_f16_from_f32(float value);
RAPT_API float rapt_f32_from_f16(uint16_t bits);
RAPT_API uint16_t rapt_bf16_from_f32(float value);
RAPT_API float rapt_f32_from_bf16(uint16_t bits);

/* Rows to and from their stored form, f32[n_rows][n_heads][head_dim]; the kernels' bits exactly. Every
 * operation named is one correctly rounded f32 operation.
 *   int8      s8[head_dim], round to nearest even of x / scale, limits -127 and 127
 *   fp8_e4m3  OCP E4M3 of x / scale, round to nearest even, saturating at 448, NaN kept
 *   int4      nibbles, low one = even d, round to nearest even of x / scale, limits -7 and 7, as
 *             two's complement, one f16 scale per 32 dims
 *   q8_0      ggml's block_q8_0: f16 d = absmax / 127, then 32 s8 (round half away from zero of
 *             x * (1 / d) with the unrounded d)
 *   q4_0      ggml's block_q4_0: f16 d = (value of largest magnitude, the first of equal ones) / -8,
 *             then 16 bytes: element i in the low, i + 16 in the high nibble of byte i, each
 *             min(15, (int)(x * (1 / d) + 8.5))
 * Scales of int8 and fp8: absmax / 127 and absmax / 448, rounded to scale_type before they are used;
 * int4: absmax / 7 as f16. They read back as code * scale, q4_0 as (code - 8) * d.
 *
 * The corners:
 *   scale 0    of a row of zeros, of one whose f32 scale would be below 2^-126, of one whose f16 scale
 *              rounds to 0: all codes are 0, and it reads back as zeros
 *   f16        a scale that f16 cannot hold is the nearest that is finite, +-65504, so that nothing
 *              reads back as infinity (ggml stores one there); int8, fp8 and int4 codes then saturate
 *   infinity   and magnitudes above 2^127 count as 2^127 of their sign
 *   NaN        counts as 0; fp8 keeps it (0x7f or 0xff), but absmax does not see it
 *   denormals  of f32: zeros of their sign to int8, fp8, int4. q8_0 and q4_0 calculate with them, as
 *              ggml does; where 1 / d overflows all codes of the block are 0. (Its d is 0 as f16.)
 *   -0         is code 0, in fp8 0x80; d of a q4_0 block of zeros is -0 and its codes are 8 */
typedef struct rapt_quantize_params {
    size_t struct_size;
    rapt_type type; /* any; f32, f16, bf16 convert */
    uint32_t head_dim, n_heads;
    rapt_type scale_type;       /* default f32 */
    rapt_scale_kind scale_kind;
    const float *static_scale;  /* RAPT_SCALE_STATIC: f32[n_static_scale], n_heads or 1 */
    uint32_t n_static_scale;
} rapt_quantize_params;
/* Scales one row of n_heads heads takes: n_heads, 1 (TOKEN), n_heads * head_dim / 32 (int4), 0. */
RAPT_API size_t rapt_quantize_n_scales(const rapt_quantize_params *params);
/* out_rows: n_rows * n_heads * rapt_row_bytes bytes, dense. out_scales: rapt_quantize_n_scales elements
 * of scale_type (int4: f16) per row; may be NULL where there are none. Errors: ARGUMENT. */
RAPT_API rapt_status rapt_quantize_rows(const rapt_quantize_params *params, size_t n_rows,
                                        const float *rows, void *out_rows, void *out_scales);
RAPT_API rapt_status rapt_dequantize_rows(const rapt_quantize_params *params, size_t n_rows,
                                          const void *rows, const void *scales, float *out_rows);

/* float64 merge of partial results, parts f32[n_parts, n_rows, head_dim_v], lse f32[n_parts, n_rows];
 * see rapt_merge_params. sinks and out_lse may be NULL. */
RAPT_API rapt_status rapt_reference_merge(uint32_t n_parts, uint32_t n_rows, uint32_t n_q_heads,
                                          uint32_t head_dim_v, const float *parts,
                                          const float *parts_lse, const float *sinks, float *out,
                                          float *out_lse);

/* ----------------------------------------------------------------------------- dynamic sparsity */

/* MoBA's gates and choices in float64, on the stored values (sparse.h has the definition). Of the
 * problem its mask, biases and V do not matter. out_gates: [total_q, Hq, gate_stride] or NULL,
 * gate_stride at least the chunks of the longest sequence, -inf where a row may not choose; out_choices:
 * [total_q, Hq, top_k] or NULL, ascending, the rest UINT32_MAX. row_first and row_step of params choose
 * (token, head) rows, as for the attention. Errors: ARGUMENT, SHAPE, HOST_MEMORY. */
RAPT_API rapt_status rapt_reference_moba(const rapt_problem *problem,
                                         const rapt_reference_params *params, uint32_t chunk,
                                         uint32_t top_k, uint32_t gate_stride, double *out_gates,
                                         uint32_t *out_choices);

/* How right a selection of the k largest scores is. Floats round, so a row counts as right when it has
 * as many indices as it should, ascending and allowed, and no chosen score lies below the reference's
 * k-th by more than 1e-5 of the row's largest |score|. */
typedef struct rapt_choice_error {
    size_t struct_size;
    uint64_t n_rows, n_wrong; /* rows compared, rows wrong */
    uint64_t first_wrong;     /* a row, UINT64_MAX = none */
    uint64_t n_same;          /* rows whose indices are the reference's */
    double worst;             /* largest shortfall of a score, as a part of the row's largest */
    int ok;                   /* no row is wrong */
} rapt_choice_error;
RAPT_API rapt_status rapt_reference_moba_check(const rapt_problem *problem,
                                               const rapt_reference_params *params, uint32_t chunk,
                                               uint32_t top_k, const uint32_t *choices,
                                               rapt_choice_error *out_error);

/* An indexer (sparse.h): queries [total_q, n_heads, head_dim], keys of one head like the problem's k,
 * packed or in its pages, weights f32[total_q, n_heads]. */
typedef struct rapt_index_problem {
    size_t struct_size;
    uint32_t n_heads, head_dim;
    rapt_array q, k;
    const float *weights;
} rapt_index_problem;

/* The k keys of the largest scores in float64, out_lists [total_q, top_k] ascending, then UINT32_MAX. Of
 * the problem lengths, positions, pages and the mask count; a mask in closed form. row_first and
 * row_step of params choose query tokens. */
RAPT_API rapt_status rapt_reference_indexer(const rapt_problem *problem,
                                            const rapt_reference_params *params,
                                            const rapt_index_problem *index, uint32_t top_k,
                                            uint32_t *out_lists);
RAPT_API rapt_status rapt_reference_indexer_check(const rapt_problem *problem,
                                                  const rapt_reference_params *params,
                                                  const rapt_index_problem *index, uint32_t top_k,
                                                  const uint32_t *lists,
                                                  rapt_choice_error *out_error);

/* Blocks of keys chosen by scores (rapt_block_lists of sparse.h, which has the definition), exactly
 * those a device chooses. `candidates` is the table of the closed-form mask,
 * rapt_block_table_create with the batch and the block sizes; scores are
 * f32[n_sets][n_rows][score_stride], n_rows those of the table. out_listed:
 * u32[n_sets][n_rows][listed_stride], bit k & 31 of word k >> 5 set where block k is chosen. */
typedef struct rapt_block_choice {
    size_t struct_size;
    uint32_t top_k; /* 0: by mass */
    float mass;
    int plain_mass;
    uint32_t keep_first, keep_last;
} rapt_block_choice;
/* Errors: ARGUMENT, SHAPE, HOST_MEMORY. */
RAPT_API rapt_status rapt_reference_block_choice(const rapt_block_table *candidates,
                                                 const rapt_block_choice *choice, uint32_t n_sets,
                                                 const float *scores, uint32_t score_stride,
                                                 uint32_t *out_listed, uint32_t listed_stride);

#ifdef __cplusplus
}
#endif
#endif
