/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RAPT_MASK_H
#define RAPT_MASK_H

/* Mask expressions: which key positions J a query at position P may see.
 *
 * An expression is leaves joined by `!`, `&` and `|`. Where it is a conjunction of closed-form leaves
 * (rapt_mask_is_closed) it is one interval of keys per query, which kernels calculate themselves; any
 * other is turned into a block table first.
 *
 * Thread-safety of this header: masks are immutable once created and may be shared by threads;
 * creation and destruction of one object belong to one thread. Calls that only read may be made from
 * any thread. */

#include <rapt/common.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Below, P is the position of query i of sequence b, J = kv_pos0[b] + j that of its key j. */
typedef enum rapt_mask_op {
    RAPT_MASK_FULL = 1,          /* always */
    RAPT_MASK_CAUSAL = 2,        /* J <= P */
    RAPT_MASK_WINDOW = 3,        /* P - a <= J <= P + b; -1, or 2^30 and more, = unbounded */
    RAPT_MASK_CHUNKED = 4,       /* floor(P/a) == floor(J/a), a >= 1 */
    RAPT_MASK_PREFIX = 5,        /* J < prefix[b] */
    RAPT_MASK_SINK_TOKENS = 6,   /* J < a, a >= 0 */
    RAPT_MASK_AND = 7,           /* both of the two operands before it */
    RAPT_MASK_OR = 8,            /* either of them */
    RAPT_MASK_NOT = 9,           /* not the one operand before it */
    RAPT_MASK_SEGMENTS = 10,     /* segments_q[query] == segments_kv[key], and not 0 */
    RAPT_MASK_BIDIRECTIONAL = 11, /* P and J lie in the same unbroken run of set flags; the flag of a
                                     position is that of the key there, a position without has none */
    RAPT_MASK_DILATED = 12,      /* 0 <= P - J < a*b and (P - J) % b == 0; a, b >= 1 */
    RAPT_MASK_BITMAP = 13,       /* the bit of (h, i, j) is set */
    RAPT_MASK_BLOCKS = 14,       /* the map's byte of (h, P / map_block_q, J / map_block_kv) is not 0 */
    RAPT_MASK_TREE = 15          /* key j lies before the tree, or is the query or an ancestor of it */
} rapt_mask_op;

/* One node of an expression in postfix order: leaves push, operators combine what is on top. */
typedef struct rapt_mask_node {
    rapt_mask_op op;
    int32_t a, b;
} rapt_mask_node;

typedef struct rapt_mask rapt_mask;

/* Copies the nodes, 1 to 4096. Fails with RAPT_ERROR_ARGUMENT if they are not one well-formed
 * expression, a number is out of range, or `&` and `|` alternate deeper than 256 levels;
 * RAPT_ERROR_HOST_MEMORY. allocator NULL = malloc/free. */
RAPT_API rapt_status rapt_mask_create(const rapt_allocator *allocator, const rapt_mask_node *nodes,
                                      size_t n_nodes, rapt_mask **out_mask);

/* Parses the text form, `causal & (window(1023, 0) | sink_tokens(4))`. `!` binds tightest, then `&`,
 * then `|`; parentheses allowed, 64 deep; up to 256 leaves and operators. Leaves are
 *   full  causal  window(L, R)  chunked(C)  prefix  sink_tokens(n)  segments  bidirectional
 *   dilated(W, r)  bitmap  blocks  tree
 * RAPT_ERROR_SYNTAX with the column (from 1) in out_column and the message; RAPT_ERROR_ARGUMENT for a
 * number out of range, with the column of its leaf. out_column may be NULL. */
RAPT_API rapt_status rapt_mask_parse(const rapt_allocator *allocator, const char *text,
                                     size_t *out_column, rapt_mask **out_mask);

RAPT_API void rapt_mask_destroy(rapt_mask **mask);

/* The arrays an expression's leaves mention, which the caller must then supply (rapt_mask_data).
 * NULL = none. */
#define RAPT_MASK_NEEDS_PREFIX 1u
#define RAPT_MASK_NEEDS_SEGMENTS 2u
#define RAPT_MASK_NEEDS_BIDIRECTIONAL 4u
#define RAPT_MASK_NEEDS_BITMAP 8u
#define RAPT_MASK_NEEDS_BLOCKS 16u
#define RAPT_MASK_NEEDS_PARENTS 32u
RAPT_API uint32_t rapt_mask_needs(const rapt_mask *mask);
/* True if RAPT_MASK_NEEDS_PREFIX is among them. */
RAPT_API int rapt_mask_needs_prefix(const rapt_mask *mask);

/* 1 if the mask is one interval of keys per query in closed form: a conjunction of full, causal,
 * window, chunked, prefix and sink_tokens, or what comes to that, in which one chunk divides all the
 * others. Kernels need no block table for it. NULL = full. */
RAPT_API int rapt_mask_is_closed(const rapt_mask *mask);

/* Equality of what is meant, as far as rewriting shows it: the order and repetition of operands,
 * parentheses, double negation, De Morgan's rules, full and its negation, and closed-form leaves that
 * one of them states do not matter (causal & full equals causal). Equal masks see the same keys and
 * have equal hashes. NULL counts as full. */
RAPT_API int rapt_mask_equal(const rapt_mask *a, const rapt_mask *b);
RAPT_API uint64_t rapt_mask_hash(const rapt_mask *mask);

/* The keys a query at position `pos` may see, as an interval of positions [out_lo, out_hi];
 * empty if out_lo > out_hi. `prefix` is prefix[b] (ignored unless the mask needs it).
 * INT32_MIN and INT32_MAX stand for unbounded. NULL mask = full. For a mask that is not closed the
 * interval holds every key it allows, and others. */
RAPT_API void rapt_mask_interval(const rapt_mask *mask, int32_t pos, int32_t prefix,
                                 int32_t *out_lo, int32_t *out_hi);

/* Element test by definition, for checks: nonzero if key position `key` is allowed. Leaves that need
 * arrays other than `prefix` count as seeing nothing: rapt_mask_allows_element has them. */
RAPT_API int rapt_mask_allows(const rapt_mask *mask, int32_t pos, int32_t key, int32_t prefix);

/* Arrays of the leaves; the caller's, read during calls only. Those no leaf mentions may be NULL. */
typedef struct rapt_mask_data {
    size_t struct_size;
    const int32_t *prefix;        /* int32[B]: position before which every key is seen */
    const int32_t *segments_q;    /* int32[total_q], row cu_q[b] + i */
    const int32_t *segments_kv;   /* int32[total_kv], row cu_kv[b] + j (also when K/V are paged: keys
                                     counted through, sequence after sequence) */
    const uint8_t *bidirectional; /* u8[total_kv], row cu_kv[b] + j */
    /* Bit (h, i, j) of sequence b: bitmap_offsets[b] + h*bitmap_head_stride + i*bitmap_row_stride + j,
     * counted from bit 0 of byte 0, low bit first. Offsets NULL = all 0; head stride 0 = shared by the
     * heads; row stride 0 = the sequence's kv_len. */
    const uint8_t *bitmap;
    const uint64_t *bitmap_offsets;                              /* u64[B], bits */
    uint64_t bitmap_row_stride, bitmap_head_stride, bitmap_bits; /* bitmap_bits: all it holds */
    /* u8 map[n_block_heads][n_q_blocks][n_k_blocks], by positions: a query or key outside the map, or
     * at a negative position, sees and is seen by nothing. Block sizes: any, 1 or more. */
    const uint8_t *blocks;
    uint32_t n_block_heads; /* 1, or n_q_heads */
    uint32_t n_q_blocks, n_k_blocks, map_block_q, map_block_kv;
    /* int32: parents[tree_indptr[b] + t] is the index, within the sequence's tree, of node t's parent;
     * -1 = a root. A tree of n nodes is the last n keys of its sequence; query i is node n - q_len + i
     * (queries before the tree are no node: they see what lies before the tree). tree_indptr int32[B+1];
     * NULL = cu_q: the queries are the tree. */
    const int32_t *parents;
    const int32_t *tree_indptr;
} rapt_mask_data;

/* The lengths masks are evaluated over; words as in rapt_step_params. */
typedef struct rapt_mask_batch {
    size_t struct_size;
    uint32_t n_seqs;
    const int32_t *cu_q, *cu_kv;             /* int32[B+1]; also of paged K/V */
    const int32_t *q_pos0, *q_pos, *kv_pos0; /* NULL = the defaults */
    uint32_t n_q_heads;                      /* 0 = 1 */
    const rapt_mask_data *data;              /* NULL = no arrays */
} rapt_mask_batch;

/* Every way lengths, positions and the arrays a mask needs can be missing or malformed; the message
 * names the member. RAPT_ERROR_ARGUMENT, RAPT_ERROR_SHAPE. */
RAPT_API rapt_status rapt_mask_batch_check(const rapt_mask *mask, const rapt_mask_batch *batch);

/* Element test by definition: nonzero if query i of sequence b sees its key j in query head h.
 * The batch must have passed rapt_mask_batch_check for this mask, and the indices exist. */
RAPT_API int rapt_mask_allows_element(const rapt_mask *mask, const rapt_mask_batch *batch,
                                      uint32_t b, uint32_t h, uint32_t i, uint32_t j);

/* ------------------------------------------------------------------------------- block tables */

/* Which blocks of keys each block of queries needs, and which of those need a test per element: what
 * plans made with RAPT_PLAN_BLOCKS run on. Blocks no pair is allowed in are not listed.
 *
 * Classification is exact for every mask: a block listed as full allows all its pairs, any other one
 * both allows and forbids some. Time follows blocks, not pairs, except for bitmaps, whose bits are
 * read. Built on the calling thread; a table is immutable between extends and may be read from any
 * thread. */
typedef struct rapt_block_table rapt_block_table;

typedef struct rapt_block_table_params {
    size_t struct_size;
    const rapt_allocator *allocator;          /* NULL = malloc/free */
    const rapt_mask *mask;                    /* NULL = full */
    const rapt_mask *const *mask_heads;       /* [n_q_heads] or NULL; a non-NULL entry replaces mask */
    rapt_mask_batch batch;
    uint32_t block_q, block_kv;               /* powers of two, 16 to 256; 0 = 64 */
    /* Partial blocks of a table with one closed-form mask normally carry no bits: kernels test them in
     * closed form. 1 = bits for every partial block. */
    int all_bits;
} rapt_block_table_params;

typedef enum rapt_block_kind {
    RAPT_BLOCK_FULL = 0,
    RAPT_BLOCK_CLOSED = 1, /* partial, tested in closed form: the table's one mask is closed */
    RAPT_BLOCK_BITS = 2    /* partial, bit tile tiles[entry] */
} rapt_block_kind;

/* A table as arrays; valid until the table is destroyed or extended.
 * Row r of set s is CSR row s * n_rows + r; rows of sequence b are row_first[b] .. row_first[b+1], one
 * per block_q query tokens of the sequence (by index i, not by position); key block k holds keys
 * [k*block_kv, (k+1)*block_kv) of the sequence (by index). Indices ascend within a row. Heads whose
 * masks are equal share a set, unless the mask reads arrays that differ by head. Bit tiles are
 * deduplicated: tile t at bits + t * tile_words, row i % block_q at + (i % block_q) *
 * ((block_kv + 31) / 32), key j % block_kv at bit (j % block_kv) % 32 of word (j % block_kv) / 32. Rows
 * and keys that do not exist have bits 0, and do not count: a block is full if all that exist are
 * allowed. */
typedef struct rapt_block_table_view {
    size_t struct_size;
    uint32_t n_seqs, block_q, block_kv, n_sets, n_rows, n_q_heads;
    const uint32_t *head_set;  /* [n_q_heads] */
    const uint32_t *row_first; /* [n_seqs + 1] */
    const uint32_t *indptr;    /* [n_sets * n_rows + 1] */
    const uint32_t *indices;   /* [n_entries] key blocks */
    const uint8_t *kinds;      /* [n_entries] rapt_block_kind */
    const uint32_t *tiles;     /* [n_entries] of BITS entries, else 0 */
    uint32_t n_tiles, tile_words;
    const uint32_t *bits;
    const int32_t *cu_q, *cu_kv; /* the lengths it was built for (copies) */
    int closed;                  /* there is one set, and its mask is closed */
    uint64_t n_entries, n_full, n_partial;
    uint64_t n_pairs;            /* (query, key) pairs of listed blocks, summed over sets */
} rapt_block_table_view;

/* Copies nothing of the mask or its arrays that the table would need later: both may go once it is made.
 * Errors: ARGUMENT, SHAPE (rapt_mask_batch_check), HOST_MEMORY, CAPACITY (2^32 entries). */
RAPT_API rapt_status rapt_block_table_create(const rapt_block_table_params *params,
                                             rapt_block_table **out_table);
RAPT_API void rapt_block_table_destroy(rapt_block_table **table);
/* out_view->struct_size is set by the caller. */
RAPT_API void rapt_block_table_get_view(const rapt_block_table *table,
                                        rapt_block_table_view *out_view);
/* Makes the table that of the same masks over a batch that went on (more keys, more queries: decode, the
 * next chunk). Rows that cannot have changed are kept; which these are is found out, not believed:
 * parameters may be any, and the result is that of a fresh create, entry for entry. params->allocator is
 * ignored, the table's own stays. On failure the table is as it was. Errors as of create. */
RAPT_API rapt_status rapt_block_table_extend(rapt_block_table *table,
                                             const rapt_block_table_params *params);

/* A cache of up to `capacity` tables, 1 to 65536, keyed by everything that decides them: masks (equality,
 * not identity), lengths, positions, block sizes, and the content of the arrays the masks read (compared
 * by hashes of 128 bits). The least recently used goes first. Used by one thread at a time. */
typedef struct rapt_block_table_cache rapt_block_table_cache;
RAPT_API rapt_status rapt_block_table_cache_create(const rapt_allocator *allocator, uint32_t capacity,
                                                   rapt_block_table_cache **out_cache);
RAPT_API void rapt_block_table_cache_destroy(rapt_block_table_cache **cache);
/* The table stays the cache's, valid until `capacity` further gets of others; it must not be extended or
 * destroyed. params->allocator is ignored, the cache's is used. On failure the cache is as it was. Errors
 * as of rapt_block_table_create. */
RAPT_API rapt_status rapt_block_table_cache_get(rapt_block_table_cache *cache,
                                                const rapt_block_table_params *params,
                                                const rapt_block_table **out_table);
RAPT_API void rapt_block_table_cache_counts(const rapt_block_table_cache *cache, uint64_t *out_hits,
                                            uint64_t *out_misses);

#ifdef __cplusplus
}
#endif
#endif
