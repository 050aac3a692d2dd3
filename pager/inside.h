/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PAGER_INSIDE_H
#define PAGER_INSIDE_H

/* Who holds what.
 *
 * Pools. Every group has a pool: arrays indexed by page number. `refs` counts the entries of block
 * tables and pins that name the page, reserved ones included; `copies_from` the pending copies that
 * will read it. A page with neither lies on one of two lists: free (a stack), or, if the prefix
 * cache knows its contents, the LRU list. Page 0 of a windowed group is the null page: it is on no
 * list and is never counted.
 *
 * Chains. The tokens of a full page are kept once, in a link: token ids, the link of the page
 * before (its parent), and of every group the page that holds their K and V, if there still is one.
 * Links form a forest, one tree per extra key; two links never have the same parent and tokens, so
 * that equal links mean equal prefixes, whatever their hashes are. A link lives while a page is
 * registered with it, or a link or a sequence stands on it (n_refs). A page is registered with one
 * link at most, and a link has one page per group at most: a second sequence that computed the same
 * tokens keeps its own page unregistered, and registers it when it lets go of it and the link has
 * lost the other.
 *
 * Sequences. A sequence has the links of its known full pages, a table per group, and the token ids
 * of its last, partial page (its tail). It counts as a reference on its last link only: the parents
 * stand below that. So a fork copies the tables and touches only `refs`.
 *
 * A partial last page may still be registered with a link (after truncate). Who appends to such a
 * page alone takes it out of the cache; if others hold it too, it is copied.
 *
 * Eviction takes the page longest on the LRU list. Tables are given back from their tails, so that
 * tails go before heads. A page of a group without a window takes those of the other groups with
 * it, for a prefix lacking it cannot be taken over any more.
 *
 * All or nothing. A call that takes pages counts first (grow.c), then grows every array it will
 * need, then does its work with steps that cannot fail. Only counting and growing have error paths.
 *
 * Copies. Pending copies lie in one array, records of a chain side by side. Copies whose pages meet
 * are put into one chain. One whose destination is freed is cancelled: it stays as an empty record,
 * and its source is let go. */

#include <rapt/pager.h>

#include "error.h"

#include <assert.h>
#include <string.h>

#define PAGER_NONE UINT32_MAX
#define PAGER_MAX_TOKENS 0x7fffffffu /* positions are int32 everywhere else */

struct page {
    uint32_t link;        /* where it is registered */
    uint32_t prev, next;  /* of its list; scratch of held pages in check and statistics */
    uint32_t copies_from; /* pending copies that read it from elsewhere */
    uint32_t copy_to;     /* the last pending copy that writes it: index, others by next_to */
};

struct pool {
    uint32_t n_pages, first_page; /* first_page 1: there is a null page */
    uint32_t window, n_sink_pages;
    uint32_t *refs; /* apart from the rest: forks walk it */
    struct page *pages;
    uint32_t free_first, n_free;
    uint32_t lru_oldest, lru_newest, n_cached;
    uint32_t n_shared;
    uint64_t n_evicted, n_copies;
};

struct link {
    uint64_t hash, extra_key;
    uint32_t parent, next; /* next: of its bucket, or of the free links */
    uint32_t n_refs, n_pages;
    uint32_t mark;
    uint32_t words[]; /* pages[n_groups], then tokens[page_size] */
};

struct links {
    struct link **chunks; /* of LINKS_PER_CHUNK, never moved */
    uint32_t n_chunks, max_chunks;
    size_t stride;
    uint32_t free_first, n_free, n_used;
    uint32_t *buckets;
    uint32_t bucket_mask;
    uint64_t hash_mask; /* fewer bits in tests, to make hashes meet */
};
#define LINKS_PER_CHUNK 256u

enum sequence_kind { SEQUENCE_CLOSED = 0, SEQUENCE_OPEN, SEQUENCE_PIN };

struct sequence {
    uint64_t extra_key;
    uint32_t generation, kind;
    uint32_t n_tokens, n_tree;
    uint32_t n_links, n_tail; /* n_tail: known tokens after those of the links */
    uint32_t capacity;        /* pages */
    uint32_t stamp;           /* of the batch that named it last */
    uint32_t next_closed;
    int tree_known;
    uint32_t *memory; /* links[capacity], then a table[capacity] per group */
    int32_t *tree;    /* parents[n_tree], then tokens[n_tree] */
};

/* What a sequence has in a group. Its table: pages in use, then reserved ones. */
struct seat {
    uint32_t n_held;
    uint32_t null_end; /* entries from the sink pages up to here are the null page */
    uint32_t n_before; /* held before the tree came */
    uint32_t left;     /* counting: it leaves its shared last page */
};

struct copy {
    rapt_page_copy what; /* n_tokens 0: cancelled */
    uint32_t chain;
    uint32_t next_to;
};

struct rapt_pager {
    rapt_allocator own_allocator;
    const rapt_allocator *allocator;
    uint32_t page_size, page_shift, n_groups, max_seqs, undo_tokens;
    int caches, has_windows;
    uint64_t hash_seed;
    struct pool pools[RAPT_PAGER_MAX_GROUPS];
    struct links links;
    struct sequence *seqs;
    struct seat *seats; /* [max_seqs][n_groups] */
    int32_t *tails;     /* [max_seqs][page_size] */
    uint32_t closed_first, n_open, stamp;
    struct copy *copies;
    uint32_t n_copies, n_live_copies, max_copies, next_chain;
    uint64_t n_lookup_pages, n_hit_pages;
    uint32_t check_every, check_in; /* calls; 0 = never */
};

/* ---------------------------------------------------------------------------------- test hooks */

/* Only these bits of a hash are used: 0 makes all prefixes meet. Before the first append. */
void rapt_pager_mask_hashes(rapt_pager *pager, uint64_t mask);
/* Every n-th call that may change something ends with rapt_pager_check, 0 = none. Builds with
 * debug_abort begin with 1 in small pagers and less often in large ones, so that checking does not
 * take more than a fixed time per call. */
void rapt_pager_check_every(rapt_pager *pager, uint32_t n_calls);

/* --------------------------------------------------------------------------- small conversions */

static inline uint32_t pages_of(const rapt_pager *pager, uint32_t n_tokens)
{
    return (uint32_t)(((uint64_t)n_tokens + pager->page_size - 1) >> pager->page_shift);
}

static inline uint32_t slot_of(const rapt_pager *pager, const struct sequence *seq)
{
    return (uint32_t)(seq - pager->seqs);
}

static inline uint32_t *links_of(const struct sequence *seq)
{
    return seq->memory;
}

static inline uint32_t *table_of(const struct sequence *seq, uint32_t group)
{
    return seq->memory + (size_t)(1 + group) * seq->capacity;
}

static inline struct seat *seat_of(const rapt_pager *pager, const struct sequence *seq,
                                   uint32_t group)
{
    return &pager->seats[(size_t)slot_of(pager, seq) * pager->n_groups + group];
}

static inline int32_t *tail_of(const rapt_pager *pager, const struct sequence *seq)
{
    return &pager->tails[(size_t)slot_of(pager, seq) * pager->page_size];
}

static inline uint32_t n_slots_of(const struct sequence *seq)
{
    return seq->n_tokens + seq->n_tree;
}

static inline uint32_t n_known_of(const rapt_pager *pager, const struct sequence *seq)
{
    return (seq->n_links << pager->page_shift) + seq->n_tail;
}

static inline struct link *link_at(const rapt_pager *pager, uint32_t link)
{
    const struct links *links = &pager->links;
    return (struct link *)((char *)links->chunks[link / LINKS_PER_CHUNK] +
                           link % LINKS_PER_CHUNK * links->stride);
}

static inline int32_t *link_tokens(const rapt_pager *pager, struct link *link)
{
    return (int32_t *)(link->words + pager->n_groups);
}

static inline uint32_t page_holds(const struct pool *pool, uint32_t page)
{
    return pool->refs[page] + pool->pages[page].copies_from;
}

/* An entry that is not the null page. */
static inline int is_page(const struct pool *pool, uint32_t page)
{
    return page >= pool->first_page;
}

/* First page that the token at n_tokens, and undo_tokens tokens before it, can see; sinks apart. */
static inline uint32_t window_first(const rapt_pager *pager, const struct pool *pool,
                                    uint32_t n_tokens)
{
    uint64_t reach = (uint64_t)pool->window + pager->undo_tokens;
    return pool->window == 0 || n_tokens < reach
               ? 0
               : (uint32_t)((n_tokens - reach + 1) >> pager->page_shift);
}

/* ---------------------------------------------------------------------------------------- pool.c
 */

rapt_status rapt_pool_init(rapt_pager *pager, uint32_t group, const rapt_pager_group *params);
/* A page nobody has, with one reference; evicts if need be. There must be one. */
uint32_t rapt_pool_take(rapt_pager *pager, uint32_t group);
void rapt_pool_hold(rapt_pager *pager, uint32_t group, uint32_t page);
void rapt_pool_release(rapt_pager *pager, uint32_t group, uint32_t page);
void rapt_pool_hold_for_copy(rapt_pager *pager, uint32_t group, uint32_t page);
void rapt_pool_release_from_copy(rapt_pager *pager, uint32_t group, uint32_t page);
/* A cached page nobody holds becomes the last to be evicted. */
void rapt_pool_touch(rapt_pager *pager, uint32_t group, uint32_t page);
void rapt_pool_forget_oldest(rapt_pager *pager, uint32_t group);

/* --------------------------------------------------------------------------------------- chain.c
 */

rapt_status rapt_links_init(rapt_pager *pager);
void rapt_links_finish(rapt_pager *pager);
/* n more links can be made without allocating. */
rapt_status rapt_links_reserve(rapt_pager *pager, uint64_t n);
uint32_t rapt_links_find(const rapt_pager *pager, uint32_t parent, uint64_t extra_key,
                         const int32_t *tokens);
/* The link of these tokens, with a reference the caller owns. */
uint32_t rapt_links_take(rapt_pager *pager, uint32_t parent, uint64_t extra_key,
                         const int32_t *tokens);
void rapt_links_release(rapt_pager *pager, uint32_t link); /* PAGER_NONE is fine */
void rapt_links_register(rapt_pager *pager, uint32_t link, uint32_t group, uint32_t page);
void rapt_links_unregister(rapt_pager *pager, uint32_t group, uint32_t page);
/* Pages of the longest prefix that can be taken over, at most max_pages; out_links (may be NULL)
 * gets at least that many. */
uint32_t rapt_links_match(const rapt_pager *pager, uint64_t extra_key, const int32_t *tokens,
                          uint32_t max_pages, uint32_t *out_links);

/* -------------------------------------------------------------------------------------- copies.c
 */

rapt_status rapt_copies_reserve(rapt_pager *pager, uint64_t n);
/* chain: PAGER_NONE for one of its own, or what the last call returned, to go on. */
uint32_t rapt_copies_add(rapt_pager *pager, const rapt_page_copy *copy, uint32_t chain);

/* ------------------------------------------------------------------------------------ sequence.c
 */

rapt_status rapt_seqs_find(const rapt_pager *pager, rapt_seq handle, const char *name,
                           uint32_t kind, struct sequence **out_seq);
/* One that is closed; CAPACITY if there is none. It is not taken before rapt_seqs_open. */
rapt_status rapt_seqs_get_closed(const rapt_pager *pager, struct sequence **out_seq);
rapt_seq rapt_seqs_open(rapt_pager *pager, struct sequence *seq, uint32_t kind, uint64_t extra_key);
rapt_status rapt_seqs_grow(rapt_pager *pager, struct sequence *seq, uint64_t n_pages);
/* Gives back entries [n_pages, n_held) of all tables, tails first. */
void rapt_seqs_cut(rapt_pager *pager, struct sequence *seq, uint32_t n_pages);
/* Entry `index` of a table is let go; what is in the entry afterwards is the caller's. */
void rapt_seqs_drop_page(rapt_pager *pager, struct sequence *seq, uint32_t group, uint32_t index);
/* Makes `link` the link after the last; the caller's reference to it becomes the sequence's. */
void rapt_seqs_push_link(rapt_pager *pager, struct sequence *seq, uint32_t link);
/* The end of every call that may change something: `status`, unless a check finds something. */
rapt_status rapt_pager_end(rapt_pager *pager, rapt_status status);

/* ---------------------------------------------------------------------------------------- grow.c
 */

/* One sequence of a batch; seq NULL is a new one. */
struct growth {
    struct sequence *seq;
    uint32_t n_tokens;
};
/* A batch of handles, or one sequence. */
struct batch {
    const rapt_pager *pager;
    uint32_t n_seqs;
    const rapt_seq *seqs;
    const uint32_t *n_tokens;
};
struct needs {
    uint64_t n_needed[RAPT_PAGER_MAX_GROUPS], n_given[RAPT_PAGER_MAX_GROUPS];
};

/* Handles, lengths, repetitions. with_new: 0 is a new sequence. */
rapt_status rapt_grow_check(const struct batch *batch, int with_new);
void rapt_grow_count(const struct batch *batch, struct needs *out_needs);
/* PAGES, if fewer pages are free, cached or given than needed. */
rapt_status rapt_grow_afford(const rapt_pager *pager, const struct needs *needs);
/* Takes room for n_tokens more slots after those there are. Counted and reserved before. */
void rapt_grow_release(rapt_pager *pager, struct sequence *seq);
void rapt_grow_take(rapt_pager *pager, struct sequence *seq, uint32_t n_tokens);
/* Token ids of slots that were taken: the known prefix grows. tokens may be NULL. */
void rapt_grow_tokens(rapt_pager *pager, struct sequence *seq, uint32_t n_tokens,
                      const int32_t *tokens);
rapt_status rapt_grow_reserve_links(rapt_pager *pager, uint64_t n_tokens, uint32_t n_seqs);

#endif
