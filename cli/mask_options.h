/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_MASK_OPTIONS_H
#define CLI_MASK_OPTIONS_H

/* The arrays a mask's leaves read and the masks of single heads, for every subcommand with masks. */

#include <rapt/mask.h>

#include "array.h"
#include "options.h"

/* The options in the order the functions below count them; the tables of subcommands hold this many
 * entries in a row. */
enum mask_option {
    MASK_PREFIX,
    MASK_SEGMENTS_Q,
    MASK_SEGMENTS_KV,
    MASK_BIDIRECTIONAL,
    MASK_BITMAP,
    MASK_BLOCKS,
    MASK_BLOCK_SHAPE,
    MASK_PARENTS,
    MASK_HEAD,
    MASK_N_OPTIONS
};

#define MASK_LANGUAGE                                                                              \
    "full, causal, window(L,R), chunked(C), prefix, sink_tokens(N), segments, bidirectional, "     \
    "dilated(W,R), bitmap, blocks, tree; joined by ! & | and parentheses"

/* clang-format off */
#define MASK_OPTION_SPECS(first)                                                                   \
    [(first) + MASK_PREFIX] = {"--prefix", OPTION_TEXT, "FILE", "`prefix`: lengths, i4 [B]"}, \
    [(first) + MASK_SEGMENTS_Q] = {"--segments-q", OPTION_TEXT, "FILE", "`segments`: number of each query's segment, i4 [total queries]; 0 sees nothing"}, \
    [(first) + MASK_SEGMENTS_KV] = {"--segments-kv", OPTION_TEXT, "FILE", "and of each key's, i4 [total keys]"}, \
    [(first) + MASK_BIDIRECTIONAL] = {"--bidirectional", OPTION_TEXT, "FILE", "`bidirectional`: flags whose runs see all of themselves, u1 or b1 [total keys]"}, \
    [(first) + MASK_BITMAP] = {"--bitmap", OPTION_TEXT, "FILE", "`bitmap`: what one sequence sees, u1 or b1 [q,kv] or [H,q,kv]"}, \
    [(first) + MASK_BLOCKS] = {"--blocks", OPTION_TEXT, "FILE", "`blocks`: which blocks of positions are seen, u1 or b1 [nQ,nK], [1,nQ,nK] or [H,nQ,nK]"}, \
    [(first) + MASK_BLOCK_SHAPE] = {"--block-shape", OPTION_TEXT, "BQ,BK", "and their size in positions"}, \
    [(first) + MASK_PARENTS] = {"--parents", OPTION_TEXT, "FILE", "`tree`: index of each node's parent in its sequence's tree, -1 = a root, i4 [total queries]; of one sequence as many as there are nodes, the last keys"}, \
    [(first) + MASK_HEAD] = {"--mask-head", OPTION_LIST, "'h0-h3: EXPR'", "the whole mask of these query heads; may be given again for others"}
/* clang-format on */

/* What the arrays are checked against. Cumulative lengths, paged or not. */
struct mask_lengths {
    uint32_t n_seqs, n_q_heads;
    const int32_t *cu_q, *cu_kv;
};

struct mask_input {
    const rapt_mask **heads; /* [n_q_heads], NULL = the mask of all; or NULL */
    const char **texts;      /* what they were read from */
    rapt_mask **owned;       /* behind heads */
    uint64_t n_owned;
    rapt_mask_data data;
    uint8_t *bits;
    int32_t tree_indptr[2];
};

/* Dtypes of a file option's array, 0 for the others. */
uint32_t mask_option_dtypes(enum mask_option option);
/* An expression of the option `name`. 0 or an exit code after a line. */
int mask_parse(const char *name, const char *text, rapt_mask **out_mask);
/* `specs`, `values` and `arrays` begin at --prefix, the arrays are read already; `mask` is that of
 * heads without one of their own. Finds arrays that are missing, not asked for or misshapen.
 * *out_input is given back by mask_finish even after a failure. 0 or an exit code. */
int mask_read(const struct option_spec *specs, const struct option_value *values,
              const struct array *arrays, const struct mask_lengths *lengths, const rapt_mask *mask,
              struct mask_input *out_input);
void mask_finish(struct mask_input *input);

#endif
