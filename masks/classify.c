/* SPDX-License-Identifier: Apache-2.0 */
/* An expression over blocks: three-valued arithmetic on sets of blocks, so that a long run of
 * blocks costs what one does; and bit by bit where that leaves a block open. */
#include "classify.h"

#include "error.h"
#include "numbers.h"

#include <string.h>

rapt_status rapt_classifier_init(struct rapt_classifier *classifier,
                                 const rapt_allocator *allocator,
                                 const struct rapt_mask_input *input, uint32_t needs,
                                 uint32_t depth, size_t n_terms, uint32_t block_q,
                                 uint32_t block_kv)
{
    *classifier = (struct rapt_classifier){.n_levels = depth + 2};
    rapt_status status =
        rapt_leaves_init(&classifier->leaves, allocator, input, needs, block_q, block_kv);
    if (status != RAPT_OK)
        return status;
    uint32_t most_keys = 0;
    for (uint32_t b = 0; b < input->batch.n_seqs; b++)
        most_keys = rapt_max_u32(most_keys, rapt_batch_kv_len(&input->batch, b));
    const size_t set_words = (size_t)most_keys / block_kv + 4;
    const size_t bit_words = (size_t)block_q * classifier->leaves.row_words;
    const size_t level_words = 3 * set_words + bit_words;
    classifier->ranges = rapt_alloc(allocator, n_terms, sizeof *classifier->ranges);
    classifier->levels = rapt_alloc(allocator, classifier->n_levels, sizeof *classifier->levels);
    classifier->memory =
        rapt_alloc(allocator, classifier->n_levels, level_words * sizeof *classifier->memory);
    if (!classifier->ranges || !classifier->levels || !classifier->memory) {
        rapt_classifier_finish(classifier, allocator);
        return rapt_fail(RAPT_ERROR_HOST_MEMORY, "no memory to classify blocks of %u keys",
                         most_keys);
    }
    for (uint32_t i = 0; i < classifier->n_levels; i++) {
        struct rapt_classify_level *level = &classifier->levels[i];
        level->may.bounds = classifier->memory + i * level_words;
        level->full.bounds = level->may.bounds + set_words;
        level->spare.bounds = level->full.bounds + set_words;
        level->bits = level->spare.bounds + set_words;
    }
    return RAPT_OK;
}

void rapt_classifier_finish(struct rapt_classifier *classifier, const rapt_allocator *allocator)
{
    rapt_leaves_finish(&classifier->leaves, allocator);
    rapt_free(allocator, classifier->ranges);
    rapt_free(allocator, classifier->levels);
    rapt_free(allocator, classifier->memory);
    *classifier = (struct rapt_classifier){0};
}

static int is_operator(const struct rapt_mask_term *term)
{
    return term->op == RAPT_MASK_AND || term->op == RAPT_MASK_OR;
}

static void swap_sets(struct rapt_key_set *a, struct rapt_key_set *b)
{
    const struct rapt_key_set old = *a;
    *a = *b;
    *b = old;
}

/* Blocks of [begin, end) that the leaf may allow something in, and that it allows all of. */
static void leaf_sets(struct rapt_classifier *classifier, size_t at, uint32_t begin, uint32_t end,
                      struct rapt_classify_level *level)
{
    struct rapt_leaves *leaves = &classifier->leaves;
    const struct rapt_mask_term *leaf = &classifier->terms[at];
    const struct rapt_leaf_range *range = &classifier->ranges[at];
    level->may.n = level->full.n = 0;
    if (range->dense) {
        for (uint32_t block = begin; block < end; block++) {
            enum rapt_block_state state = rapt_leaf_state(leaves, leaf, range, block);
            if (state != RAPT_BLOCK_STATE_EMPTY)
                rapt_key_set_append(&level->may, block, block + 1);
            if (state == RAPT_BLOCK_STATE_FULL)
                rapt_key_set_append(&level->full, block, block + 1);
        }
    } else if (range->may_begin < range->may_end) {
        const uint32_t size = leaves->block_kv, kv_len = leaves->kv_len;
        rapt_key_set_append(&level->may, rapt_max_u32(begin, (uint32_t)range->may_begin / size),
                            rapt_min_u32(end, ((uint32_t)range->may_end - 1) / size + 1));
        if (range->full_begin < range->full_end)
            rapt_key_set_append(
                &level->full, rapt_max_u32(begin, ((uint32_t)range->full_begin + size - 1) / size),
                rapt_min_u32(end, range->full_end == kv_len ? leaves->n_blocks
                                                            : (uint32_t)range->full_end / size));
    }
    if (!leaf->negated)
        return;
    uint32_t bounds[2] = {begin, end};
    const struct rapt_key_set all = {bounds, begin < end ? 2 : 0};
    rapt_key_set_join(&level->may, &all, RAPT_KEY_SET_DIFFERENT, &level->spare);
    rapt_key_set_join(&level->full, &all, RAPT_KEY_SET_DIFFERENT, &level->may);
    swap_sets(&level->full, &level->spare);
}

/* Sets of the term's subtree among blocks [begin, end), into level `depth`. */
static void term_sets(struct rapt_classifier *classifier, size_t at, uint32_t begin, uint32_t end,
                      uint32_t depth)
{
    const struct rapt_mask_term *term = &classifier->terms[at];
    struct rapt_classify_level *level = &classifier->levels[depth], *below = level + 1;
    if (!is_operator(term)) {
        leaf_sets(classifier, at, begin, end, level);
        return;
    }
    const int both = term->op == RAPT_MASK_AND;
    const enum rapt_key_set_op op = both ? RAPT_KEY_SET_AND : RAPT_KEY_SET_OR;
    size_t child = at + 1;
    for (int32_t i = 0; i < term->n_children; i++) {
        term_sets(classifier, child, begin, end, depth + 1);
        child += (size_t)classifier->terms[child].span;
        if (i == 0) {
            swap_sets(&level->may, &below->may);
            swap_sets(&level->full, &below->full);
        } else {
            rapt_key_set_join(&level->may, &below->may, op, &level->spare);
            swap_sets(&level->may, &level->spare);
            rapt_key_set_join(&level->full, &below->full, op, &level->spare);
            swap_sets(&level->full, &level->spare);
        }
        if (!both)
            continue;
        /* What is out already need not be asked about. */
        if (level->may.n == 0)
            return;
        begin = level->may.bounds[0];
        end = level->may.bounds[level->may.n - 1];
    }
}

void rapt_classifier_set_rows(struct rapt_classifier *classifier,
                              const struct rapt_mask_term *terms, size_t n_terms, uint32_t h,
                              uint32_t first, uint32_t n_rows, const struct rapt_key_set **out_may,
                              const struct rapt_key_set **out_full)
{
    struct rapt_leaves *leaves = &classifier->leaves;
    rapt_leaves_set_rows(leaves, h, first, n_rows);
    classifier->terms = terms;
    classifier->n_terms = n_terms;
    for (size_t i = 0; i < n_terms; i++)
        if (!is_operator(&terms[i]))
            rapt_leaf_range(leaves, &terms[i], &classifier->ranges[i]);
    term_sets(classifier, 0, 0, leaves->n_blocks, 0);
    *out_may = &classifier->levels[0].may;
    *out_full = &classifier->levels[0].full;
}

/* ----------------------------------------------------------------------------------------- bits */

static enum rapt_block_state inverted(enum rapt_block_state state)
{
    return (enum rapt_block_state)(RAPT_BLOCK_STATE_FULL - state);
}

/* Of rows that exist; the others' memory is not looked at. */
static size_t bits_in_use(const struct rapt_classifier *classifier)
{
    return (size_t)classifier->leaves.n_rows * classifier->leaves.row_words;
}

static enum rapt_block_state leaf_block(struct rapt_classifier *classifier, size_t at,
                                        uint32_t block, uint32_t *bits)
{
    const struct rapt_mask_term *leaf = &classifier->terms[at];
    enum rapt_block_state state =
        rapt_leaf_state(&classifier->leaves, leaf, &classifier->ranges[at], block);
    if (state != RAPT_BLOCK_STATE_PARTIAL)
        return leaf->negated ? inverted(state) : state;
    rapt_leaf_bits(&classifier->leaves, leaf, block, bits);
    for (size_t i = 0; leaf->negated && i < bits_in_use(classifier); i++)
        bits[i] = ~bits[i];
    return state;
}

/* The subtree's bits into level `depth`, if it is PARTIAL. */
static enum rapt_block_state term_block(struct rapt_classifier *classifier, size_t at,
                                        uint32_t block, uint32_t depth)
{
    const struct rapt_mask_term *term = &classifier->terms[at];
    struct rapt_classify_level *level = &classifier->levels[depth], *below = level + 1;
    if (!is_operator(term))
        return leaf_block(classifier, at, block, level->bits);
    const int both = term->op == RAPT_MASK_AND;
    /* full decides | and says nothing in &, empty the other way round */
    const enum rapt_block_state neutral = both ? RAPT_BLOCK_STATE_FULL : RAPT_BLOCK_STATE_EMPTY;
    enum rapt_block_state state = neutral;
    size_t child = at + 1;
    for (int32_t i = 0; i < term->n_children; i++) {
        enum rapt_block_state next = term_block(classifier, child, block, depth + 1);
        child += (size_t)classifier->terms[child].span;
        if (next == neutral)
            continue;
        if (next == inverted(neutral))
            return next;
        if (state == neutral) {
            uint32_t *bits = level->bits;
            level->bits = below->bits;
            below->bits = bits;
            state = RAPT_BLOCK_STATE_PARTIAL;
            continue;
        }
        const size_t n = bits_in_use(classifier);
        uint32_t *bits = level->bits;
        const uint32_t *other = below->bits;
        if (both)
            for (size_t w = 0; w < n; w++)
                bits[w] &= other[w];
        else
            for (size_t w = 0; w < n; w++)
                bits[w] |= other[w];
    }
    return state;
}

enum rapt_block_state rapt_classifier_block(struct rapt_classifier *classifier, uint32_t block,
                                            const uint32_t **out_bits)
{
    const struct rapt_leaves *leaves = &classifier->leaves;
    enum rapt_block_state state = term_block(classifier, 0, block, 0);
    if (state != RAPT_BLOCK_STATE_PARTIAL)
        return state;
    const uint32_t words = leaves->row_words, n_keys = rapt_leaves_n_keys(leaves, block);
    uint32_t *bits = classifier->levels[0].bits, any = 0, missing = 0;
    for (uint32_t w = 0; w < words; w++) {
        const uint32_t keys = rapt_low_bits((int64_t)n_keys - 32 * (int64_t)w);
        for (uint32_t r = 0; r < leaves->n_rows; r++) {
            uint32_t *word = &bits[(size_t)r * words + w];
            *word &= keys;
            any |= *word;
            missing |= *word ^ keys;
        }
    }
    if (!any)
        return RAPT_BLOCK_STATE_EMPTY;
    if (!missing)
        return RAPT_BLOCK_STATE_FULL;
    memset(bits + bits_in_use(classifier), 0,
           (size_t)(leaves->block_q - leaves->n_rows) * words * sizeof *bits);
    *out_bits = bits;
    return RAPT_BLOCK_STATE_PARTIAL;
}

/* ------------------------------------------------------------------------------------- likeness */

static int64_t clamp(int64_t x, int64_t low, int64_t high)
{
    return x < low ? low : x > high ? high : x;
}

/* Words of one leaf in a block; 0 if its bits depend on more than these. */
static uint32_t leaf_key(struct rapt_classifier *classifier, size_t at, uint32_t block,
                         int64_t *words)
{
    struct rapt_leaves *leaves = &classifier->leaves;
    const struct rapt_mask_term *leaf = &classifier->terms[at];
    const struct rapt_leaf_range *range = &classifier->ranges[at];
    const int64_t begin = (int64_t)block * leaves->block_kv, J = leaves->kv_pos0 + begin;
    if (range->dense && leaf->op == RAPT_MASK_BITMAP)
        return 0; /* not worth looking at twice */
    enum rapt_block_state state = rapt_leaf_state(leaves, leaf, range, block);
    words[0] = (int64_t)state;
    if (state != RAPT_BLOCK_STATE_PARTIAL)
        return 1;
    const int moves = leaf->op == RAPT_MASK_WINDOW || leaf->op == RAPT_MASK_DILATED ||
                      leaf->op == RAPT_MASK_CHUNKED;
    if (moves && !leaves->consecutive)
        return 0;
    if (leaf->op == RAPT_MASK_CHUNKED) {
        const int64_t start = rapt_floor_multiple(leaves->low, leaf->a);
        words[1] = leaves->low - start;
        words[2] = J - start;
        return 3;
    }
    if (moves) {
        words[1] = leaves->low - J;
        words[2] = 0;
        /* Between both ends of all its rows a dilated block is as every such one r keys away. */
        const int64_t reach = (int64_t)(leaf->a - 1) * leaf->b;
        if (leaf->op == RAPT_MASK_DILATED && leaves->low >= J + leaves->block_kv &&
            leaves->high - reach <= J) {
            words[1] %= leaf->b;
            words[2] = 1;
        }
        return 3;
    }
    if (range->dense || range->may_begin != range->full_begin || range->may_end != range->full_end)
        return 0;
    words[1] = clamp(range->may_begin - begin, 0, leaves->block_kv);
    words[2] = clamp(range->may_end - begin, 0, leaves->block_kv);
    return 3;
}

uint32_t rapt_classifier_key(struct rapt_classifier *classifier, uint32_t block,
                             int64_t out_words[RAPT_CLASSIFY_KEY_WORDS])
{
    uint32_t n = 0;
    out_words[n++] = classifier->leaves.n_rows;
    out_words[n++] = rapt_leaves_n_keys(&classifier->leaves, block);
    for (size_t i = 0; i < classifier->n_terms; i++) {
        if (is_operator(&classifier->terms[i]))
            continue;
        if (n + 3 > RAPT_CLASSIFY_KEY_WORDS)
            return 0;
        uint32_t n_words = leaf_key(classifier, i, block, out_words + n);
        if (n_words == 0)
            return 0;
        n += n_words;
    }
    return n;
}
