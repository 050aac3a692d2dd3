/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RAPT_PAGER_H
#define RAPT_PAGER_H

/* The pager: who owns which page of a K/V pool. Pure host code: it hands out page numbers, keeps
 * reference counts and block tables, and never touches a tensor. What has to happen in device memory
 * because of it (copy-on-write, moved tokens) it says as a list of copies.
 *
 *   page        page_size tokens of every KV head of a layer; one page number stands for the page
 *               of that number in every layer of its group
 *   group       layers that keep the same keys and so share page numbers: all layers of most
 *               models; one group for the full and one for the windowed layers of Gemma or gpt-oss
 *   sequence    a conversation: a block table per group, and a length in tokens
 *   null page   page 0 of a windowed group: stands in the table where a page nobody can see any
 *               more was given back. It belongs to no sequence and is never written; its memory must
 *               be zero
 *
 * Every call costs O(pages it touches), but for statistics, which look at every open sequence, and the
 * check, which looks at everything. A call that fails changes nothing. All memory comes from
 * the allocator; sequences grow their tables as they grow, nothing is allocated per token.
 *
 * Thread-safety: a pager is used by one thread at a time; two pagers are independent. */

#include <rapt/common.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rapt_pager rapt_pager;

/* A sequence of a pager. 0 is never one. A closed one is recognised and refused with ARGUMENT. */
typedef uint64_t rapt_seq;

typedef struct rapt_pager_group {
    uint32_t n_pages;     /* of the pool, at least 1; the null page of a windowed group included */
    uint32_t window;      /* keys a query sees, itself included (Gemma's and gpt-oss's W); 0 = all */
    uint32_t sink_tokens; /* windowed: the first so many tokens stay visible (StreamingLLM) */
    uint32_t reserved;
} rapt_pager_group;
#define RAPT_PAGER_MAX_GROUPS 16

typedef struct rapt_pager_params {
    size_t struct_size;
    const rapt_allocator *allocator; /* NULL = malloc/free; copied */
    uint32_t page_size;              /* power of two, 1 to 256 [16] */
    const rapt_pager_group *groups;
    uint32_t n_groups;    /* 1 to RAPT_PAGER_MAX_GROUPS */
    uint32_t max_seqs;    /* open at once, pins included [1024] */
    uint32_t undo_tokens; /* windowed groups keep so many tokens more, so that truncate may take back
                             that many [0] */
    int no_prefix_cache;  /* pages are free as soon as nobody holds them */
    uint64_t hash_seed;   /* of the prefix cache; anything */
} rapt_pager_params;

/* Errors: ARGUMENT, HOST_MEMORY. */
RAPT_API rapt_status rapt_pager_create(const rapt_pager_params *params, rapt_pager **out_pager);
/* Sequences still open vanish with it. */
RAPT_API void rapt_pager_destroy(rapt_pager **pager);

RAPT_API uint32_t rapt_pager_page_size(const rapt_pager *pager);
RAPT_API uint32_t rapt_pager_n_groups(const rapt_pager *pager);

/* ----------------------------------------------------------------------------------- sequences */

typedef struct rapt_seq_params {
    size_t struct_size;
    /* The prompt about to be appended: its longest cached prefix of whole pages is taken over, at
     * most n_tokens - 1 tokens of it, so that at least one token is left to compute. */
    const int32_t *tokens;
    uint32_t n_tokens;
    uint64_t extra_key; /* what else K and V depend on: a LoRA, an image; sequences share pages
                           only under equal keys */
} rapt_seq_params;

/* A new sequence, empty or starting with a cached prefix; out_n_cached (may be NULL) tokens of the
 * prompt need not be appended. params may be NULL. Errors: ARGUMENT, CAPACITY (max_seqs),
 * HOST_MEMORY. */
RAPT_API rapt_status rapt_pager_open(rapt_pager *pager, const rapt_seq_params *params,
                                     rapt_seq *out_seq, uint32_t *out_n_cached);
/* Gives its pages back; full ones whose tokens are known stay cached until the room is needed, the
 * first pages of a conversation longest. A page counts as computed from the append on: after a step
 * that failed on the device, truncate what was to be computed, then rapt_pager_drop_cache. */
RAPT_API rapt_status rapt_pager_close(rapt_pager *pager, rapt_seq seq);

/* n_tokens more tokens. `tokens` are their ids, or NULL: then the pages from here on are never found
 * in the prefix cache. Windowed groups give back, first, the pages that the first new token and
 * undo_tokens tokens before it cannot see. A shared last page is copied (see copies below), to a
 * reserved page if there is one.
 * Errors: ARGUMENT, PAGES (says the group and how many are missing), HOST_MEMORY. */
RAPT_API rapt_status rapt_pager_append(rapt_pager *pager, rapt_seq seq, uint32_t n_tokens,
                                       const int32_t *tokens);
/* The same for a batch of different sequences, all or nothing. tokens: ids of all of them, one after
 * the other, or NULL. */
RAPT_API rapt_status rapt_pager_append_batch(rapt_pager *pager, uint32_t n_seqs,
                                             const rapt_seq *seqs, const uint32_t *n_tokens,
                                             const int32_t *tokens);
/* Takes the pages n_tokens more tokens will need, so that appending them cannot fail. */
RAPT_API rapt_status rapt_pager_reserve(rapt_pager *pager, rapt_seq seq, uint32_t n_tokens);
/* Keeps the first n_tokens tokens (undo of speculative ones); reserved pages are given back too. Pages
 * are given back as by close.
 * Errors: ARGUMENT (longer than the sequence; or a window's keys that were given back would be
 * needed again: says how many tokens can be undone). */
RAPT_API rapt_status rapt_pager_truncate(rapt_pager *pager, rapt_seq seq, uint32_t n_tokens);
/* A second sequence with the same tokens. Whole pages are shared; the partial last page is shared
 * until one of the two appends, who then gets a copy. Reserved pages stay with `seq`. Errors: ARGUMENT,
 * CAPACITY (max_seqs), HOST_MEMORY. */
RAPT_API rapt_status rapt_pager_fork(rapt_pager *pager, rapt_seq seq, rapt_seq *out_child);

/* Holds the whole pages of the first n_tokens tokens of a sequence against eviction, whatever
 * becomes of the sequence; of windowed groups, those that a sequence starting with them would take
 * over. A pin counts against max_seqs and is good for nothing but unpin. Errors: as fork. */
RAPT_API rapt_status rapt_pager_pin(rapt_pager *pager, rapt_seq seq, uint32_t n_tokens,
                                    rapt_seq *out_pin);
RAPT_API rapt_status rapt_pager_unpin(rapt_pager *pager, rapt_seq pin);

typedef struct rapt_seq_info {
    size_t struct_size;
    uint32_t n_tokens;   /* a tree's nodes not counted */
    uint32_t n_tree;     /* nodes of the tree being tried, 0 = none */
    uint32_t n_reserved; /* tokens that can be appended without taking a page, in every group */
    uint32_t n_known;    /* leading tokens whose ids are known */
    uint64_t extra_key;
} rapt_seq_info;
RAPT_API rapt_status rapt_pager_seq_get_info(const rapt_pager *pager, rapt_seq seq,
                                             rapt_seq_info *out_info);
/* Ids of the leading tokens that are known: up to `capacity` of them; out_n says how many there are. */
RAPT_API rapt_status rapt_pager_seq_tokens(const rapt_pager *pager, rapt_seq seq, uint32_t capacity,
                                           int32_t *out_tokens, uint32_t *out_n);

/* ------------------------------------------------------------------------------- prefix cache */

/* Tokens of the longest cached prefix a sequence with these params would take over. */
RAPT_API rapt_status rapt_pager_match(const rapt_pager *pager, const rapt_seq_params *params,
                                      uint32_t *out_n_cached);
/* Forgets every cached page nobody holds. */
RAPT_API void rapt_pager_drop_cache(rapt_pager *pager);

/* -------------------------------------------------------------------------------- token trees */

/* Speculative decoding: n_nodes drafted tokens, node i the child of node parents[i] < i, or of the
 * last token of the sequence if that is -1. They take the token slots after the sequence in node
 * order; tables count them, n_tokens does not. One tree at a time; a sequence with a tree takes no
 * append, reserve, truncate or fork. Errors as append. */
RAPT_API rapt_status rapt_pager_tree_append(rapt_pager *pager, rapt_seq seq, uint32_t n_nodes,
                                            const int32_t *parents, const int32_t *tokens);
/* Keeps the branch path[0], path[1], ... (path[0] a root, each the child of the one before; n_path
 * 0 = none), drops the rest; pages reserved before the tree stay so. The tokens kept move together:
 * chained copies. Errors: ARGUMENT, HOST_MEMORY. */
RAPT_API rapt_status rapt_pager_tree_commit(rapt_pager *pager, rapt_seq seq, uint32_t n_path,
                                            const uint32_t *path);

/* -------------------------------------------------------------------------------------- copies */

/* Tokens [from_token, from_token + n_tokens) of one page go to to_token.. of another, in every layer
 * of the group, K, V and their scales. Copies are independent of each other, except that a chained
 * one comes after the one before it in the list: a kernel gives such a chain to the same lanes, in
 * order. A chain stays within a group, and no copy overlaps itself. */
typedef struct rapt_page_copy {
    uint32_t group;
    uint32_t from_page, from_token;
    uint32_t to_page, to_token;
    uint32_t n_tokens;
    uint32_t chained;
} rapt_page_copy;

/* Copies asked for since the last call. They must run before anything of this step is appended on the
 * device. Until they are taken, no page a copy reads is given to anybody else.
 * Errors: CAPACITY (out_n holds the number; nothing was taken). */
RAPT_API rapt_status rapt_pager_take_copies(rapt_pager *pager, uint32_t capacity,
                                            rapt_page_copy *out_copies, uint32_t *out_n);

/* -------------------------------------------------------------------------------- block tables */

/* Block tables of a batch in CSR (FlashInfer's form), as rapt_step_params takes them. All memory is the
 * caller's. */
typedef struct rapt_block_tables {
    size_t struct_size;
    uint32_t *page_indptr;   /* u32[n_seqs + 1] */
    uint32_t *page_indices;  /* u32[capacity] */
    uint32_t *last_page_len; /* u32[n_seqs] */
    uint32_t capacity;
    uint32_t n_pages; /* out: entries of page_indices */
} rapt_block_tables;

/* Reserved pages are not in a table. Errors: ARGUMENT, CAPACITY (n_pages says how many). */
RAPT_API rapt_status rapt_pager_tables(const rapt_pager *pager, uint32_t group, uint32_t n_seqs,
                                       const rapt_seq *seqs, rapt_block_tables *inout_tables);

/* From and to the padded form [n_seqs, max_pages] of vLLM: row b holds ceil(kv_len[b] / page_size)
 * pages, the rest of the row is not read; to_padded fills it with `filler`. Errors: ARGUMENT, SHAPE,
 * CAPACITY. Thread-safety: any thread. */
RAPT_API rapt_status rapt_block_tables_from_padded(uint32_t page_size, uint32_t n_seqs,
                                                   uint32_t max_pages, const int32_t *padded,
                                                   const int32_t *kv_len,
                                                   rapt_block_tables *inout_tables);
RAPT_API rapt_status rapt_block_tables_to_padded(uint32_t page_size, uint32_t n_seqs,
                                                 uint32_t max_pages,
                                                 const rapt_block_tables *tables, int32_t filler,
                                                 int32_t *out_padded, int32_t *out_kv_len);

/* ----------------------------------------------------------------------------------- admission */

typedef struct rapt_pager_fit {
    size_t struct_size;
    int fits;
    uint32_t n_needed[RAPT_PAGER_MAX_GROUPS];    /* pages the append would take */
    uint32_t n_available[RAPT_PAGER_MAX_GROUPS]; /* free, cached but unheld, and given back by it */
} rapt_pager_fit;

/* Would append_batch with these arguments find its pages? seqs[i] 0 stands for a new sequence.
 * Changes nothing. */
RAPT_API rapt_status rapt_pager_can_fit(const rapt_pager *pager, uint32_t n_seqs,
                                        const rapt_seq *seqs, const uint32_t *n_tokens,
                                        rapt_pager_fit *out_fit);

typedef struct rapt_pager_stats {
    size_t struct_size;
    uint32_t n_pages; /* null page not counted: n_free + n_cached + n_used, always */
    uint32_t n_free;
    uint32_t n_cached; /* held by nobody, kept for the prefix cache */
    uint32_t n_used;   /* held by sequences, pins or copies not yet taken */
    uint32_t n_shared; /* of those, held more than once */
    uint32_t n_seqs;   /* open, pins included */
    uint64_t n_tokens; /* token slots filled in used pages, shared pages counted once, as the
                          holder with most tokens in them sees them */
    double fragmentation; /* 1 - n_tokens / (n_used * page_size); 0 if nothing is used */
    /* Whole prompt pages asked for at open, the one with the last token left out, and found. */
    uint64_t n_lookup_pages, n_hit_pages;
    uint64_t n_evicted, n_copies;         /* since creation */
} rapt_pager_stats;
RAPT_API rapt_status rapt_pager_get_stats(const rapt_pager *pager, uint32_t group,
                                          rapt_pager_stats *out_stats);

/* Walks everything: reference counts equal the occurrences in tables, free + cached + used = all, no
 * page in two places unless shared, cache and lists sound. INTERNAL, with what is wrong, if not.
 * Builds with -Ddebug_abort=true run it after every call (after every few of a large pager). */
RAPT_API rapt_status rapt_pager_check(const rapt_pager *pager);

/* ---------------------------------------------------------------------------- leaving, returning */

/* A sequence without its pages: what swap and snapshots keep of it beside the pages its tables name.
 * Plain data of the caller's. A page of the tables that is the null page need not be kept. */
typedef struct rapt_seq_image {
    size_t struct_size;
    uint32_t n_tokens, n_known;
    uint64_t extra_key;
    const int32_t *tokens; /* int32[n_known] */
} rapt_seq_image;

/* One page whose contents the caller must bring: entry `index` of the sequence's table. */
typedef struct rapt_page_fill {
    uint32_t group, index, page;
} rapt_page_fill;

/* Opens a sequence with the image's tokens: cached pages are taken over, fresh ones for the rest are
 * listed in out_fills (their contents are the caller's to bring, before the next step). Windowed
 * groups take only the pages the next token (and undo_tokens before it) can see. All or nothing.
 * Errors: ARGUMENT, PAGES, CAPACITY (out_n fills needed), HOST_MEMORY. */
RAPT_API rapt_status rapt_pager_import(rapt_pager *pager, const rapt_seq_image *image,
                                       uint32_t capacity, rapt_page_fill *out_fills,
                                       uint32_t *out_n, rapt_seq *out_seq);

/* ----------------------------------------------------------------------------------- snapshots */

/* Sequences with the contents of their pages as one stream of bytes, for a later process: pages that
 * several sequences hold are written once, null pages not at all. Every part and the whole have a
 * checksum, and the stream says what it is for: nothing is handed out of one that is damaged, cut
 * short, of a newer version, of another byte order or of another geometry. Functions of the caller
 * move the bytes; rapt_easy_cache_save (easy.h) writes files with them.
 *
 * Page contents are opaque here: page_bytes of each group, in whatever order the caller keeps layers,
 * K, V and scales in them. That order is part of model_key. */
typedef struct rapt_snapshot_group {
    uint32_t window, sink_tokens; /* as in rapt_pager_group */
    uint32_t n_layers, n_kv_heads, head_dim, head_dim_v;
    uint32_t k_row_bytes, v_row_bytes; /* of one token and head, as stored */
    uint64_t page_bytes; /* of one page in all layers of the group: K, V and scales; at least 1 */
} rapt_snapshot_group;

typedef struct rapt_snapshot_geometry {
    size_t struct_size;
    uint64_t model_key; /* what else the contents depend on: weights, layout, rotation */
    uint32_t page_size, undo_tokens; /* as in rapt_pager_params */
    rapt_type kv_type, scale_type;
    rapt_scale_kind scale_kind;
    uint32_t n_groups;
    rapt_snapshot_group groups[RAPT_PAGER_MAX_GROUPS];
} rapt_snapshot_geometry;

typedef struct rapt_snapshot_write_params {
    size_t struct_size;
    const rapt_allocator *allocator; /* NULL = malloc/free */
    const rapt_snapshot_geometry *geometry;
    uint32_t n_seqs;
    const rapt_seq_image *images;    /* [n_seqs] */
    const rapt_block_tables *tables; /* [n_groups]: as rapt_pager_tables makes them of the same
                                        sequences; entries past an image's tokens are left out */
    uint64_t batch_bytes;            /* pages are asked for in batches of about so much [16 MiB] */
    void *user; /* of both functions. What they return, if not RAPT_OK, is what the call returns */
    rapt_status (*write)(void *user, const void *data, size_t n_bytes);
    /* Contents of distinct pages, one after the other. Of each, n_tokens tokens are in use by the
     * sequences written: what follows them may be another's and is better zeroed. */
    rapt_status (*read_pages)(void *user, uint32_t group, uint32_t n_pages, const uint32_t *pages,
                              const uint32_t *n_tokens, void *out_contents);
} rapt_snapshot_write_params;
/* Errors: ARGUMENT, SHAPE (tables, images and geometry disagree), HOST_MEMORY, those of the
 * functions. */
RAPT_API rapt_status rapt_snapshot_write(const rapt_snapshot_write_params *params);

typedef struct rapt_snapshot rapt_snapshot;

typedef struct rapt_snapshot_read_params {
    size_t struct_size;
    const rapt_allocator *allocator;        /* NULL = malloc/free; copied */
    const rapt_snapshot_geometry *geometry; /* expected; NULL = any */
    uint64_t n_bytes;                       /* of the stream */
    void *user;
    /* What it returns, if not RAPT_OK, is what the call returns. Used until close. */
    rapt_status (*read)(void *user, uint64_t offset, void *out_data, size_t n_bytes);
} rapt_snapshot_read_params;
/* Reads the stream once from end to end, keeps tokens and tables, and checks all of it. Never
 * allocates more than a few times the stream's n_bytes, whatever it claims. Errors: ARGUMENT (not a
 * snapshot, cut short, damaged: says which part), UNSUPPORTED (newer version, other byte order),
 * SHAPE (another geometry: says what differs), HOST_MEMORY, those of the function. */
RAPT_API rapt_status rapt_snapshot_open(const rapt_snapshot_read_params *params,
                                        rapt_snapshot **out_snapshot);
RAPT_API void rapt_snapshot_close(rapt_snapshot **snapshot);

RAPT_API void rapt_snapshot_get_geometry(const rapt_snapshot *snapshot,
                                         rapt_snapshot_geometry *out_geometry);
RAPT_API uint32_t rapt_snapshot_n_seqs(const rapt_snapshot *snapshot);
/* Pages a group has in the snapshot; they count from 0. */
RAPT_API uint32_t rapt_snapshot_n_pages(const rapt_snapshot *snapshot, uint32_t group);
/* An image for rapt_pager_import; its tokens live as long as the snapshot. Errors: ARGUMENT. */
RAPT_API rapt_status rapt_snapshot_seq(const rapt_snapshot *snapshot, uint32_t seq,
                                       rapt_seq_image *out_image);
#define RAPT_SNAPSHOT_NO_PAGE UINT32_MAX
/* Which page of the snapshot entry `index` of the sequence's table is, NO_PAGE for the null page:
 * where a rapt_page_fill finds its contents. Errors: ARGUMENT. */
RAPT_API rapt_status rapt_snapshot_find_page(const rapt_snapshot *snapshot, uint32_t seq,
                                             uint32_t group, uint32_t index, uint32_t *out_page);
/* page_bytes of the group; compared with the checksum once more. Errors: ARGUMENT (no such page, or
 * the stream has changed), those of the function. */
RAPT_API rapt_status rapt_snapshot_read_page(const rapt_snapshot *snapshot, uint32_t group,
                                             uint32_t page, void *out_contents);

#ifdef __cplusplus
}
#endif
#endif
