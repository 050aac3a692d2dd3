/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PAGER_MODEL_H
#define PAGER_MODEL_H

/* A pager and beside it what it should be, in plain arrays that share nothing: of every sequence
 * its token ids and, per token, a stamp that stands for the token's K and V. The stamp is a hash of
 * the extra key and all token ids up to it (a unique number where an id is unknown), as K and V are
 * functions of just that. A simulated device holds a stamp per slot of every page; it runs the
 * copies the pager asks for and writes new tokens through the block tables. Whatever the pager
 * does, every sequence must find its stamps through its tables.
 *
 * The first thing that is wrong is printed with a line that repeats it; then the process aborts. */

#include "fail_alloc.h"

#include <rapt/pager.h>

#include <stdio.h>

enum {
    MODEL_MAX_GROUPS = 3,
    MODEL_MAX_SEQS = 16,
    MODEL_MAX_TABLE = 48, /* pages of a sequence */
    MODEL_MAX_TREE = 12,
    MODEL_MAX_BATCH = 4,
    MODEL_N_IMAGES = 2,
    MODEL_MAX_COPIES = 4096
};

struct model_config {
    uint32_t page_size, n_groups, max_seqs, undo_tokens;
    rapt_pager_group groups[MODEL_MAX_GROUPS];
    int no_prefix_cache;
    uint64_t hash_seed;
    int hashes_meet; /* all hashes are equal */
};

struct model_seq {
    rapt_seq handle; /* 0 = slot is empty */
    rapt_seq closed; /* what it was before */
    int is_pin;      /* then tokens and tables are what the pin holds */
    uint32_t story;  /* whose words it goes on with */
    uint64_t extra_key;
    uint32_t n_tokens, n_known, n_tree;
    int tree_known;
    int32_t *ids;     /* [n_tokens + n_tree], meaningless where unknown */
    uint64_t *stamps; /* the same */
    int32_t parents[MODEL_MAX_TREE];
    uint32_t n_table;
    uint32_t table[MODEL_MAX_GROUPS][MODEL_MAX_TABLE];
    uint32_t null_end[MODEL_MAX_GROUPS];   /* windowed: table entries given back end here */
    uint32_t n_reserved[MODEL_MAX_GROUPS]; /* pages */
    uint32_t n_before[MODEL_MAX_GROUPS];   /* pages and reserved ones before the tree came */
};

struct model_image {
    uint32_t n_tokens, n_known, story;
    uint64_t extra_key;
    int32_t *ids;
    uint64_t *stamps;
};

/* One page of the simulated device. */
struct model_page {
    uint32_t n_refs;      /* tables and pins that name it */
    uint32_t n_unwritten; /* slots whose rows were appended but not written yet */
    uint64_t content;     /* what the prefix cache may know it by; 0 = nothing */
    int sure;             /* the prefix cache must still find it */
    uint32_t round;       /* scratch */
};

struct model_group {
    uint32_t n_pages, first_page; /* first_page: 1 where page 0 is the null page */
    uint32_t window, sink_tokens, n_sink_pages;
    uint64_t *slots;    /* [n_pages * page_size] */
    uint8_t *unwritten; /* the same */
    uint32_t *reader, *writer;
    struct model_page *pages;
    rapt_pager_stats stats;
    uint64_t n_hits, n_taken;
};

/* A copy that must have been asked for and was not taken yet. */
struct model_copy {
    uint32_t group, from, to;
    int lost; /* the page it reads was given to somebody */
};

struct model {
    struct model_config config;
    rapt_pager *pager;
    struct fail_alloc alloc;
    rapt_allocator allocator;
    uint32_t max_tokens;
    struct model_seq seqs[MODEL_MAX_SEQS];
    struct model_image images[MODEL_N_IMAGES];
    struct model_group groups[MODEL_MAX_GROUPS];
    uint32_t n_pending; /* copies not taken yet, by the pager's count */
    struct model_copy *copies;
    uint32_t n_copies;
    uint64_t unique;
    uint64_t n_ops, n_failed_ops, n_injected;
    uint32_t round;
    int fail_allocs;   /* every call is first made with each of its allocations failing */
    const char *repro; /* printed when something is wrong */
    uint8_t *dump[2];
    size_t dump_bytes[2], dump_capacity[2];
};

enum op_kind {
    OP_STEP,
    OP_TAKE, /* the copies without the rows */
    OP_OPEN,
    OP_CLOSE,
    OP_APPEND,
    OP_BATCH,
    OP_RESERVE,
    OP_TRUNCATE,
    OP_FORK,
    OP_PIN,
    OP_UNPIN,
    OP_TREE_APPEND,
    OP_TREE_COMMIT,
    OP_DROP_CACHE,
    OP_IMAGE,
    OP_IMPORT,
    OP_CHECK,
    N_OP_KINDS
};

struct op {
    enum op_kind kind;
    uint32_t n_seqs; /* of a batch; others 1 */
    uint32_t slots[MODEL_MAX_BATCH];
    rapt_seq seqs[MODEL_MAX_BATCH]; /* handles as given to the call */
    uint32_t n_tokens[MODEL_MAX_BATCH];
    uint32_t n_ids;
    int32_t *ids; /* NULL = unknown */
    uint32_t story, image, n_path, capacity;
    uint64_t extra_key;
    int32_t parents[MODEL_MAX_TREE];
    uint32_t path[MODEL_MAX_TREE];
    rapt_seq out_seq;
    uint32_t out_n;
    rapt_page_fill fills[MODEL_MAX_GROUPS * MODEL_MAX_TABLE];
};

void model_create(struct model *model, const struct model_config *config);
void model_destroy(struct model *model); /* closes nothing first; counts what was allocated */
/* Makes the call, with whatever comes before and after it, and checks it. */
void model_apply(struct model *model, struct op *op);
/* Everything there is to compare. Runs the copies and writes what was appended. */
void model_check_all(struct model *model);
void model_flush(struct model *model);
void model_take_copies(struct model *model);

/* The id a story has at a position; stories begin alike. */
int32_t model_word(const struct model *model, uint32_t story, uint32_t position);

/* ------------------------------------------------------------------------ between its files */

void model_fail(const struct model *model, const char *file, int line, const char *what);
#define CHECK(model, condition)                                                                    \
    do {                                                                                           \
        if (!(condition))                                                                          \
            model_fail(model, __FILE__, __LINE__, #condition);                                     \
    } while (0)

/* Stamps of tokens whose ids are known; out_stamps[n]. */
void model_stamp_known(uint64_t extra_key, const int32_t *ids, uint32_t n, uint64_t *out_stamps);
uint64_t model_stamp(uint64_t before, uint64_t word);
uint64_t model_first_stamp(uint64_t extra_key);
/* Stamps of tokens [from, to) of a sequence; unknown ones get unique numbers. */
void model_stamp_tokens(struct model *model, struct model_seq *seq, uint32_t from, uint32_t to);
uint32_t model_live_slots(const struct model *model, int pins, uint32_t *out_slots);
uint32_t model_free_slot(const struct model *model);
uint32_t model_pages_of(const struct model *model, uint32_t n_tokens);
/* The first table entry that token `position` and the undo tokens before it may need. */
uint32_t model_window_page(const struct model *model, uint32_t group, uint32_t position);
int model_page_shared(const struct model *model, uint32_t group, uint32_t page);
/* Nonzero if the next token goes to a page that others hold too. */
int model_needs_copy(const struct model *model, const struct model_seq *seq, uint32_t group);
uint32_t model_n_reserved_tokens(const struct model *model, const struct model_seq *seq);

/* COPY: the page that the next token goes to, if it is shared, becomes a copy. MATCHED: new entries
 * are what the prefix cache had, but for pages marked with this round; else they are fresh. */
enum { ABSORB_COPY = 1, ABSORB_MATCHED = 2 };
/* Reads the tables of a sequence that now has n_slots token slots, while seq->n_tokens and n_table
 * still are the old ones, and compares them with what they were. */
void model_absorb(struct model *model, struct model_seq *seq, uint32_t n_slots, int flags);
/* The next append gives back what its first token cannot see. */
void model_release_front(struct model *model, struct model_seq *seq);
void model_share_table(struct model *model, struct model_seq *seq, const struct model_seq *from);
void model_pin_table(struct model *model, struct model_seq *pin, const struct model_seq *from);
/* The two things only a look inside the pager can do (model_peek.c). */
void model_peek_pin(const rapt_pager *pager, rapt_seq pin, uint32_t group, uint32_t n_pages,
                    uint32_t *out_table);
void model_make_hashes_meet(rapt_pager *pager);
void model_release_tables(struct model *model, struct model_seq *seq);
/* Tokens [from, to) wait for the device to write them. */
void model_mark_unwritten(struct model *model, struct model_seq *seq, uint32_t from, uint32_t to);
/* Pages that are whole and known, from the one that has token `from` on, are in the prefix cache.
 */
void model_register_pages(struct model *model, struct model_seq *seq, uint32_t from, int sure);
void model_check_seq(struct model *model, const struct model_seq *seq);
/* What an append needs in each group, and what it can get; given is what it gives back itself, as
 * far as pending copies let it. */
struct model_need {
    uint32_t needed, idle, given;
};
void model_count_need(const struct model *model, const struct op *op, struct model_need *out_needs);
/* Pages of a prompt that the prefix cache must find, and may find. */
void model_match_bounds(const struct model *model, const struct op *op, uint32_t *out_least,
                        uint32_t *out_most);
/* Statuses the call may have, a bit each. */
unsigned model_expect(const struct model *model, const struct op *op);
enum { MAY_BE_OK = 1, MAY_BE_ARGUMENT = 2, MAY_BE_PAGES = 4, MAY_BE_CAPACITY = 8 };
void model_check_stats(struct model *model, int exactly);
void model_after(struct model *model); /* stats and pending copies anew, and compared */
void model_dump(struct model *model, int which);
void model_compare_dumps(struct model *model);

#endif
