/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KERNELS_CHECK_H
#define KERNELS_CHECK_H

/* Kernels against the float64 reference: the same random input to both, poison wherever nothing may
 * be read and wherever something must be written, guards round every buffer. */

#include <rapt/easy.h>

#include "lower.h"
#include "plan.h"
#include "spans.h"

#define CHECK_MAX_SEQS 6

enum check_layout {
    CHECK_DENSE,  /* [total, H, D]; pages [page, token, head, D] */
    CHECK_HND,    /* [H, total, D]; pages [page, head, token, D] */
    CHECK_PADDED, /* rows of D + 2 elements, of quantized types an odd byte: nothing is aligned */
    CHECK_INTERLEAVED, /* K and V heads by turns */
    CHECK_T2HD,        /* [total, 2, H, D], pages [page, token, 2, head, D] */
    CHECK_BS2HD,       /* [B, longest, 2, H, D] */
    CHECK_T3HD,        /* Q too */
    CHECK_BS3HD
};

enum check_data {
    CHECK_NORMAL,
    CHECK_EQUAL,    /* all keys equal */
    CHECK_OFFSET,   /* keys share a large offset */
    CHECK_LIMIT,    /* values at 65504 */
    CHECK_LARGE,    /* logits of +-10000 */
    CHECK_DOMINANT, /* one key above all */
    CHECK_PEAKS,    /* one key 12 and one 16 above equal others */
    CHECK_TINY,     /* -0, denormals */
    CHECK_WIDE,     /* keys and values far beyond f16, queries far below it */
    CHECK_TIES      /* small whole numbers; every third chunk of 16 keys is the same */
};

enum check_positions {
    CHECK_POS_DEFAULT,
    CHECK_POS_Q_POS0,
    CHECK_POS_SHUFFLED, /* explicit, in any order */
    CHECK_POS_KV_POS0
};

enum check_bias {
    CHECK_BIAS_NONE,
    CHECK_BIAS_F32,
    CHECK_BIAS_F16,     /* -65504 among them */
    CHECK_BIAS_F16_ODD, /* the last element lies in the first half of a word */
    CHECK_BIAS_HOLES
};

enum check_lists {
    CHECK_LISTS_NONE,
    CHECK_LISTS_HOST, /* random blocks of every kind of a table, some lists empty */
    CHECK_LISTS_EMPTY,
    CHECK_LISTS_FULL,   /* every block, as one long span */
    CHECK_LISTS_DEVICE, /* as kernels write them, blocks with bits of rows among them */
    CHECK_LISTS_MASK    /* a block table of the case's masks */
};

enum { CHECK_QUANTIZED = 10, CHECK_WIDE_TYPE, CHECK_PIECES };

struct check_case {
    const char *name;
    uint32_t d, dv, heads, kv_heads;
    rapt_type q, out; /* DEFAULT = f32 */
    uint32_t flags;
    float softcap;
    enum check_bias bias;
    uint32_t page_size;
    enum check_layout layout;
    enum check_positions positions;
    enum check_data data;
    const char *mask; /* NULL = causal */
    float const_max;
    uint32_t n_splits, fixed_split, max_keys, block_q, block_kv, n_slices;
    int n_seqs; /* 0 = the usual batch */
    int32_t q_len[CHECK_MAX_SEQS], kv_len[CHECK_MAX_SEQS];
    enum check_lists lists;
    uint32_t list_q, list_kv, head_group;
    const char *odd_mask; /* CHECK_LISTS_MASK: of every other head group; NULL = mask */
    /* quantized K/V; a pool in pieces, each a buffer of its own or ranges of one */
    rapt_scale_kind scale_kind;
    rapt_type scale_type; /* DEFAULT = f32 */
    int shared_scale;
    uint32_t n_segments;
    int own_buffers;
    int shapes; /* 1 = for every kernel, 2 = for one K/V type, 3 = not in quick runs either; by name
                   alone: CHECK_QUANTIZED, CHECK_PIECES, CHECK_WIDE_TYPE */
};

/* What runs: the kernels to force and how sequences must look to reach them. */
struct check_target {
    rapt_easy *easy;
    const char *row;
    rapt_type kv;
    rapt_type q;                     /* instead of a case's own, DEFAULT = that */
    int force_prefill, force_decode; /* RAPT_KERNEL_* + 1 */
    rapt_path path;                  /* not AUTO: all classes of sequences by its own choice */
    int decode;                      /* q_len is cut to what decode takes: */
    uint32_t decode_rows;            /* at most so many packed rows */
    int all_shapes;
    uint64_t seed;
    const char *only;  /* a case's name, or NULL */
    int least;         /* of every few cases by name, the first */
    const char *tiles; /* a chip's, or NULL */
    int n_run, n_failed;
};

extern const struct check_case check_cases[];
extern const int check_n_cases;

/* A buffer with guards on both sides. */
struct check_buffer {
    rapt_easy_buffer *buffer;
    uint8_t *map;   /* of the whole buffer, mapped */
    uint64_t first; /* byte the tensor starts at */
    uint64_t bytes;
    uint64_t hash; /* of what the kernels may only read */
};

#define CHECK_GUARD 512u

enum check_tensor { CHECK_Q, CHECK_K, CHECK_V, CHECK_OUT, CHECK_N_TENSORS };

/* One problem in device memory; the reference reads the same bytes. */
struct check_problem {
    struct check_case c;
    rapt_type kv;
    uint32_t decode_rows; /* 0 = prefill */
    uint64_t random;
    int n_seqs;
    int32_t cu_q[CHECK_MAX_SEQS + 1], cu_kv[CHECK_MAX_SEQS + 1];
    int32_t q_pos0[CHECK_MAX_SEQS], kv_pos0[CHECK_MAX_SEQS], prefix[CHECK_MAX_SEQS];
    int32_t *q_pos;
    uint32_t indptr[CHECK_MAX_SEQS + 1], last_len[CHECK_MAX_SEQS], *pages, n_pool;
    uint64_t bias_offsets[CHECK_MAX_SEQS];
    rapt_layout layout[CHECK_N_TENSORS];
    rapt_type type[CHECK_N_TENSORS];
    uint64_t n_elements[CHECK_N_TENSORS];        /* from its element 0 to its end */
    struct check_buffer memory[CHECK_N_TENSORS]; /* K and V, or Q too, may share one */
    int shares[CHECK_N_TENSORS];                 /* tensor whose buffer it lies in */
    uint64_t element[CHECK_N_TENSORS];           /* its element 0 in that buffer */
    struct check_buffer slopes, sinks, bias, lse, max_logit, reduced;
    /* of quantized K and V: scales, and what the reference reads, [total_kv, Hkv, D] */
    struct check_buffer scales[2];
    rapt_layout scale_layout[2];
    rapt_type scale_type;
    float static_scale[2][8], *plain[2];
    /* pieces 1 to 3 of K's and V's pool */
    struct check_buffer pieces[2][3];
    uint64_t piece_bytes[CHECK_N_TENSORS];
    uint32_t pages_per_piece;
    rapt_mask *mask;
    float scale;
    struct {
        uint64_t seed;
        uint32_t n_sets, head_set[16];
        struct rapt_mask_closed closed;
        uint32_t most_blocks, most_rows;       /* of all lists, lists */
        uint32_t most_keys;                    /* blocks of keys of a list */
        uint32_t most_entries, most_bit_words; /* of the table of masks */
        float *holes; /* what the reference reads: the bias, -inf where a row sees nothing */
        uint64_t n_holes, hole_head_stride, hole_offsets[CHECK_MAX_SEQS];
        uint8_t *kept;   /* rows of K and V that are swapped with NaN */
        uint8_t *listed; /* [kv_heads][total_kv]: some list has the key */
        /* CHECK_LISTS_MASK */
        rapt_mask *odd_mask;
        const rapt_mask *mask_heads[16];
        rapt_mask_data data;
        rapt_mask_batch batch;
        int32_t *arrays;
        uint8_t *bytes;
        uint64_t bitmap_offsets[CHECK_MAX_SEQS];
        int32_t tree_indptr[CHECK_MAX_SEQS + 1];
        rapt_block_table *table;
    } lists;
};

/* The lists of a batch, or of one of its sequences. */
struct check_table {
    struct rapt_table_parts parts; /* what prepare reads of a rapt_block_table */
    uint32_t row_first[CHECK_MAX_SEQS + 1], *indptr, *indices, *tiles, *bits;
    int32_t cu_q[CHECK_MAX_SEQS + 1], cu_kv[CHECK_MAX_SEQS + 1];
    uint8_t *kinds;
};

rapt_status check_problem_create(rapt_easy *easy, const struct check_case *c, rapt_type kv,
                                 uint32_t decode_rows, uint64_t seed,
                                 struct check_problem *out_problem);
void check_problem_destroy(struct check_problem *problem);
/* Element of (sequence, token, head, 0) of Q, K, V or the output, from the tensor's element 0. */
uint64_t check_element(const struct check_problem *problem, enum check_tensor tensor, int seq,
                       uint32_t token, uint32_t head);
/* Where such an element lies. */
uint8_t *check_place(const struct check_problem *problem, enum check_tensor tensor,
                     uint64_t element);
/* Bytes of what the strides of a type count, and a row in that. */
uint32_t check_unit(rapt_type type);
uint32_t check_row(const struct check_problem *problem, enum check_tensor tensor);
rapt_buffer check_range(const struct check_problem *problem, enum check_tensor tensor);

/* stored.c: quantized rows and their scales; pools in pieces */
rapt_status check_stored_create(rapt_easy *easy, struct check_problem *problem);
void check_stored_destroy(struct check_problem *problem);
rapt_status check_stored_token(struct check_problem *problem, enum check_tensor tensor, int seq,
                               uint32_t token, const float *rows);
rapt_array check_stored_array(const struct check_problem *problem, enum check_tensor tensor);
uint64_t check_scale_offset(const struct check_problem *problem, enum check_tensor tensor, int seq);
void check_pieces_fill(struct check_problem *problem);
rapt_status check_pieces_create(rapt_easy *easy, struct check_problem *problem);
void check_pieces_range(const struct check_problem *problem, enum check_tensor tensor,
                        rapt_buffer *out_ranges);

/* lists.c */
rapt_status check_lists_create(struct check_problem *problem);
/* Swaps the rows of K and V that no list has with NaN, or with what they were before. */
void check_lists_swap(struct check_problem *problem);
void check_lists_destroy(struct check_problem *problem);
rapt_device_lists check_lists_device(const struct check_problem *problem);
/* list_masks.c: the masks, their arrays and their table; what is listed */
rapt_status check_masks_create(struct check_problem *problem);
void check_masks_destroy(struct check_problem *problem);
int check_masks_see(const struct check_problem *problem, uint32_t b, uint32_t h, uint32_t i,
                    uint32_t j);
/* Of sequences [first, first + n); to be destroyed even if it failed. */
rapt_status check_table_create(const struct check_problem *problem, uint32_t first, uint32_t n,
                               struct check_table *out_table);
void check_table_destroy(struct check_table *table);
/* Into a slot that was prepared for lists made on the device. */
void check_table_write(const struct check_problem *problem, uint32_t first,
                       const struct check_table *table, uint32_t *slot);

/* params.c: what the problem gives to rapt_plan_create (room for one query token more than there
 * are), prepare and record. */
rapt_plan_params check_plan_params(const struct check_problem *p);
rapt_step_params check_step(const struct check_problem *p);
rapt_record_params check_record(const struct check_problem *p, const rapt_step *step);
/* Keys of the longest sequence, at least 1. */
uint32_t check_longest_kv(const struct check_problem *p);
/* Most queries times keys of a sequence: a head's bias lies in that much. */
uint64_t check_largest_area(const struct check_problem *p);

rapt_status check_buffer_create(rapt_easy *easy, const char *name, uint64_t bytes, uint64_t shift,
                                struct check_buffer *out_buffer);
void check_buffer_destroy(struct check_buffer *buffer);
rapt_buffer check_buffer_range(const struct check_buffer *buffer);
/* 1 if both guards are as they were made. */
int check_buffer_guarded(const struct check_buffer *buffer);
uint64_t check_buffer_hash(const struct check_buffer *buffer);
/* Makes a plan's tables and workspace, guarded and aligned no more than asked for, and binds them.
 */
rapt_status check_plan_bind(rapt_easy *easy, rapt_plan *plan, struct check_buffer *out_tables,
                            struct check_buffer *out_workspace);

/* What the reference is asked. */
void check_problem_describe(const struct check_problem *problem, rapt_problem *out_problem);

/* chip_tiles.c: from now on plans are made for the chip of tests/runtime/devices/NAME.txt, within
 * what this device can run. 0 if there is none. */
int check_take_tiles(rapt_easy *easy, const char *name);
void check_leave_tiles(rapt_easy *easy); /* before `easy` goes */

/* Runs one case; prints why it fails. */
int check_run_case(const struct check_target *target, const struct check_case *c);
/* The merge of rapt_merger_record. */
int check_run_combine(const struct check_target *target);
/* The queries' rotation by the row's kernel. */
void check_run_rotation(struct check_target *target);
/* rapt_copier_record with the kernel target->force_prefill names. */
void check_run_copies(struct check_target *target);
/* rapt_plan_record_append with the kernel target->force_prefill names, K/V of target->kv. */
void check_run_append(struct check_target *target);
/* rapt_moba_record, K of target->kv. */
void check_run_moba(struct check_target *target);
/* rapt_block_lists_record, from what target->row makes them. */
void check_run_block_lists(struct check_target *target);
/* rapt_indexer_record. */
void check_run_indexer(struct check_target *target);
/* rapt_plan_record with token lists, K/V of target->kv. */
void check_run_token_lists(struct check_target *target);
/* The families no plan uses, "three_pass" and "ceiling"; 0 if target->row is none of them. */
int check_run_family(struct check_target *target);

#endif
