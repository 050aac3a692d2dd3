/* SPDX-License-Identifier: Apache-2.0 */
/* The builder: set after set, sequence after sequence, query block after query block. */
#include "classify.h"
#include "table.h"
#include "tile_store.h"

#include "error.h"
#include "numbers.h"

#include <string.h>

#define MEMO_SIZE 256 /* blocks remembered by what decides their bits; a power of two */

/* A block seen before: its words, and what came of it. */
struct memo {
    uint32_t n_words, set;
    int64_t words[RAPT_CLASSIFY_KEY_WORDS];
    enum rapt_block_state state;
    uint32_t tile;
};

struct builder {
    const struct rapt_table_request *request;
    struct rapt_block_table *table;
    const struct rapt_block_table *old; /* rows may be copied from it, or NULL */
    uint8_t *went_on;                   /* [n_seqs] its sequences that are as they were */
    struct rapt_table_set *sets;
    struct rapt_classifier classifier;
    struct rapt_tile_store store;
    struct memo *memos;
    int closed; /* partial blocks are tested in closed form */
    uint32_t set;
    size_t capacity; /* of the entries */
};

/* ----------------------------------------------------------------------------------------- sets */

static int reads_per_head(const rapt_mask_data *data, const rapt_mask *mask)
{
    const uint32_t reads = rapt_mask_reads(mask);
    return ((reads & RAPT_MASK_NEEDS_BITMAP) && data->bitmap_head_stride != 0) ||
           ((reads & RAPT_MASK_NEEDS_BLOCKS) && data->n_block_heads > 1);
}

/* Fills sets and head_set; the number of sets. */
static uint32_t find_sets(const struct rapt_table_request *request, struct rapt_table_set *sets,
                          uint32_t *head_set)
{
    uint32_t n_sets = 0;
    for (uint32_t h = 0; h < request->input.n_q_heads; h++) {
        const rapt_mask *mask = rapt_request_mask(request, h);
        const int per_head = reads_per_head(&request->input.data, mask);
        uint32_t s = per_head ? n_sets : 0;
        while (s < n_sets && sets[s].mask != mask && !rapt_mask_equal(sets[s].mask, mask))
            s++;
        if (s == n_sets)
            sets[n_sets++] = (struct rapt_table_set){mask, h};
        head_set[h] = s;
    }
    return n_sets;
}

/* -------------------------------------------------------------------------------------- entries */

#define TOO_MANY_BLOCKS "the block table lists 2^32 blocks or more"

static rapt_status reserve(struct builder *builder, size_t n_more)
{
    struct rapt_block_table *table = builder->table;
    const size_t n = (size_t)table->n_entries;
    if (n_more <= builder->capacity - n)
        return RAPT_OK;
    if (n + n_more >= UINT32_MAX)
        return rapt_fail(RAPT_ERROR_CAPACITY, TOO_MANY_BLOCKS);
    size_t capacity = builder->capacity ? 2 * builder->capacity : 1024;
    capacity = capacity < n + n_more ? n + n_more : capacity;
    uint32_t *indices = rapt_alloc_unset(table->allocator, capacity, sizeof *indices);
    uint32_t *tiles = rapt_alloc_unset(table->allocator, capacity, sizeof *tiles);
    uint8_t *kinds = rapt_alloc_unset(table->allocator, capacity, sizeof *kinds);
    if (!indices || !tiles || !kinds) {
        rapt_free(table->allocator, indices);
        rapt_free(table->allocator, tiles);
        rapt_free(table->allocator, kinds);
        return rapt_fail(RAPT_ERROR_HOST_MEMORY, "no memory for %zu blocks of a table", capacity);
    }
    if (n > 0) {
        memcpy(indices, table->indices, n * sizeof *indices);
        memcpy(tiles, table->tiles, n * sizeof *tiles);
        memcpy(kinds, table->kinds, n * sizeof *kinds);
    }
    rapt_free(table->allocator, table->indices);
    rapt_free(table->allocator, table->tiles);
    rapt_free(table->allocator, table->kinds);
    table->indices = indices;
    table->tiles = tiles;
    table->kinds = kinds;
    builder->capacity = capacity;
    return RAPT_OK;
}

static void count_pairs(struct builder *builder, uint32_t begin, uint32_t end)
{
    const struct rapt_leaves *leaves = &builder->classifier.leaves;
    uint64_t last_key = (uint64_t)end * leaves->block_kv;
    last_key = last_key < leaves->kv_len ? last_key : leaves->kv_len;
    builder->table->n_pairs += (last_key - (uint64_t)begin * leaves->block_kv) * leaves->n_rows;
}

static rapt_status add_full(struct builder *builder, uint32_t begin, uint32_t end)
{
    struct rapt_block_table *table = builder->table;
    rapt_status status = reserve(builder, end - begin);
    if (status != RAPT_OK)
        return status;
    uint32_t *indices = table->indices + table->n_entries;
    for (uint32_t i = 0; i < end - begin; i++)
        indices[i] = begin + i;
    memset(table->tiles + table->n_entries, 0, (end - begin) * sizeof *table->tiles);
    memset(table->kinds + table->n_entries, RAPT_BLOCK_FULL, end - begin);
    table->n_entries += end - begin;
    table->n_full += end - begin;
    count_pairs(builder, begin, end);
    return RAPT_OK;
}

static rapt_status add_partial(struct builder *builder, uint32_t block, rapt_block_kind kind,
                               uint32_t tile)
{
    struct rapt_block_table *table = builder->table;
    rapt_status status = reserve(builder, 1);
    if (status != RAPT_OK)
        return status;
    table->indices[table->n_entries] = block;
    table->tiles[table->n_entries] = tile;
    table->kinds[table->n_entries] = (uint8_t)kind;
    table->n_entries++;
    table->n_partial++;
    count_pairs(builder, block, block + 1);
    return RAPT_OK;
}

/* ------------------------------------------------------------------------------- partial blocks */

/* A block under the table's closed form: row by row, until something is seen and something not. */
static enum rapt_block_state closed_block(const struct builder *builder, uint32_t block)
{
    const struct rapt_leaves *leaves = &builder->classifier.leaves;
    const struct rapt_mask_closed *closed = &builder->table->parts.closed;
    const struct rapt_batch *batch = &leaves->input->batch;
    const int64_t begin = leaves->kv_pos0 + (int64_t)block * leaves->block_kv;
    const int64_t end = begin + rapt_leaves_n_keys(leaves, block) - 1;
    int64_t limit = closed->limit >= RAPT_MASK_UNBOUNDED ? INT64_MAX : closed->limit;
    if (closed->uses_prefix && leaves->input->data.prefix[leaves->b] < limit)
        limit = leaves->input->data.prefix[leaves->b];
    int any = 0, missing = 0;
    for (uint32_t r = 0; r < leaves->n_rows && !(any && missing); r++) {
        const int64_t P = rapt_batch_q_pos(batch, leaves->b, leaves->first + r);
        const int64_t lo = rapt_mask_first(closed, P);
        int64_t hi = rapt_mask_last(closed, P);
        hi = hi < limit ? hi : limit - 1;
        any |= lo <= end && hi >= begin && lo <= hi;
        missing |= lo > begin || hi < end;
    }
    if (!any)
        return RAPT_BLOCK_STATE_EMPTY;
    return missing ? RAPT_BLOCK_STATE_PARTIAL : RAPT_BLOCK_STATE_FULL;
}

/* A block bit by bit, or as one before it that looked the same. */
static rapt_status bits_block(struct builder *builder, uint32_t block,
                              enum rapt_block_state *out_state, uint32_t *out_tile)
{
    struct memo seen = {.set = builder->set}, *memo = NULL;
    seen.n_words = rapt_classifier_key(&builder->classifier, block, seen.words);
    if (seen.n_words > 0) {
        uint64_t hash = 0;
        for (uint32_t i = 0; i < seen.n_words; i++)
            hash = (hash ^ (uint64_t)seen.words[i]) * 0x9e3779b97f4a7c15u;
        memo = &builder->memos[(hash >> 32) & (MEMO_SIZE - 1)];
        if (memo->n_words == seen.n_words && memo->set == seen.set &&
            memcmp(memo->words, seen.words, seen.n_words * sizeof seen.words[0]) == 0) {
            *out_state = memo->state;
            *out_tile = memo->tile;
            return RAPT_OK;
        }
    }
    const uint32_t *bits;
    seen.state = rapt_classifier_block(&builder->classifier, block, &bits);
    if (seen.state == RAPT_BLOCK_STATE_PARTIAL) {
        rapt_status status = rapt_tile_store_add(&builder->store, bits, &seen.tile);
        if (status != RAPT_OK)
            return status;
    }
    if (memo)
        *memo = seen;
    *out_state = seen.state;
    *out_tile = seen.tile;
    return RAPT_OK;
}

static rapt_status add_open(struct builder *builder, uint32_t block)
{
    enum rapt_block_state state = RAPT_BLOCK_STATE_EMPTY;
    uint32_t tile = 0;
    rapt_status status = RAPT_OK;
    if (builder->closed)
        state = closed_block(builder, block);
    else
        status = bits_block(builder, block, &state, &tile);
    if (status != RAPT_OK || state == RAPT_BLOCK_STATE_EMPTY)
        return status;
    if (state == RAPT_BLOCK_STATE_FULL)
        return add_full(builder, block, block + 1);
    return add_partial(builder, block, builder->closed ? RAPT_BLOCK_CLOSED : RAPT_BLOCK_BITS, tile);
}

/* Blocks [begin, end) of a row, of which those in `full` are; *at is where to go on in it. */
static rapt_status add_blocks(struct builder *builder, uint32_t begin, uint32_t end,
                              const struct rapt_key_set *full, uint32_t *at)
{
    rapt_status status = RAPT_OK;
    for (uint32_t block = begin; block < end && status == RAPT_OK;) {
        while (*at < full->n && full->bounds[*at + 1] <= block)
            *at += 2;
        if (*at < full->n && full->bounds[*at] <= block) {
            const uint32_t stop = rapt_min_u32(end, full->bounds[*at + 1]);
            status = add_full(builder, block, stop);
            block = stop;
        } else {
            status = add_open(builder, block++);
        }
    }
    return status;
}

/* ----------------------------------------------------------------------------- rows of a table
 * before */

/* Whether the old table has this table's sets: then set s of one is set s of the other. */
static int same_sets(const struct builder *builder, const struct rapt_block_table *old)
{
    const struct rapt_table_parts *parts = &builder->table->parts;
    if (old->parts.n_sets != parts->n_sets || old->parts.n_q_heads != parts->n_q_heads ||
        old->parts.block_q != parts->block_q || old->parts.block_kv != parts->block_kv ||
        old->all_bits != builder->table->all_bits)
        return 0;
    for (uint32_t s = 0; s < parts->n_sets; s++)
        if (!rapt_origin_has_mask(&old->origin, s, builder->sets[s].mask))
            return 0;
    return memcmp(old->parts.head_set, parts->head_set,
                  parts->n_q_heads * sizeof *parts->head_set) == 0;
}

static void compare_sequences(struct builder *builder)
{
    const struct rapt_table_parts *old = &builder->old->parts;
    const uint32_t n_seqs = builder->table->parts.n_seqs;
    for (uint32_t b = 0; b < n_seqs && b < old->n_seqs; b++)
        builder->went_on[b] = rapt_origin_seq_went_on(
            &builder->old->origin, &builder->table->origin, builder->request, b,
            (uint32_t)(old->cu_q[b + 1] - old->cu_q[b]),
            (uint32_t)(old->cu_kv[b + 1] - old->cu_kv[b]));
}

/* A row at hand is as it was if its queries, the arrays they and the old keys have, and the old
 * keys among those it may see are what they were, and it may see no key of the last block that the
 * old table knew in part, nor any behind. */
static int row_went_on(const struct builder *builder, const struct rapt_key_set *may)
{
    const struct rapt_leaves *leaves = &builder->classifier.leaves;
    const struct rapt_table_parts *old = &builder->old->parts;
    const uint32_t b = leaves->b;
    if (!builder->went_on[b])
        return 0;
    const uint32_t q_len = (uint32_t)(old->cu_q[b + 1] - old->cu_q[b]);
    const uint32_t kv_len = (uint32_t)(old->cu_kv[b + 1] - old->cu_kv[b]);
    const uint32_t reads = rapt_mask_reads(builder->sets[builder->set].mask);
    if (leaves->first >= q_len ||
        rapt_min_u32(old->block_q, q_len - leaves->first) != leaves->n_rows)
        return 0;
    /* Bits are read where they lie, which moves; so does a tree, with the end of the keys. */
    if (reads & (RAPT_MASK_NEEDS_BITMAP | RAPT_MASK_NEEDS_PARENTS))
        return 0;
    if (kv_len == leaves->kv_len)
        return 1;
    /* A query at a position that had no key had no flag. */
    if ((reads & RAPT_MASK_NEEDS_BIDIRECTIONAL) && leaves->high - leaves->kv_pos0 >= kv_len)
        return 0;
    return may->n == 0 || may->bounds[may->n - 1] <= kv_len / old->block_kv;
}

static rapt_status copy_row(struct builder *builder)
{
    const struct rapt_block_table *old = builder->old;
    const struct rapt_leaves *leaves = &builder->classifier.leaves;
    const uint32_t row = builder->set * old->parts.n_rows + old->parts.row_first[leaves->b] +
                         leaves->first / old->parts.block_q;
    rapt_status status = RAPT_OK;
    for (uint32_t e = old->indptr[row]; e < old->indptr[row + 1] && status == RAPT_OK; e++) {
        uint32_t tile = 0, block = old->indices[e];
        if (old->kinds[e] == RAPT_BLOCK_FULL) {
            status = add_full(builder, block, block + 1);
            continue;
        }
        if (old->kinds[e] == RAPT_BLOCK_BITS)
            status = rapt_tile_store_add(
                &builder->store, old->parts.bits + (size_t)old->tiles[e] * old->parts.tile_words,
                &tile);
        if (status == RAPT_OK)
            status = add_partial(builder, block, (rapt_block_kind)old->kinds[e], tile);
    }
    builder->table->n_kept++;
    return status;
}

/* ----------------------------------------------------------------------------------------- rows */

static rapt_status build_row(struct builder *builder, uint32_t row, uint32_t first, uint32_t n_rows)
{
    struct rapt_block_table *table = builder->table;
    const struct rapt_table_set *set = &builder->sets[builder->set];
    const struct rapt_key_set *may, *full;
    size_t n_terms;
    const struct rapt_mask_term *terms = rapt_mask_terms(set->mask, &n_terms);
    rapt_classifier_set_rows(&builder->classifier, terms, n_terms, set->head, first, n_rows, &may,
                             &full);
    uint32_t at = 0;
    rapt_status status = RAPT_OK;
    if (builder->old && row_went_on(builder, may))
        status = copy_row(builder);
    else
        for (uint32_t i = 0; i < may->n && status == RAPT_OK; i += 2)
            status = add_blocks(builder, may->bounds[i], may->bounds[i + 1], full, &at);
    table->indptr[row + 1] = (uint32_t)table->n_entries;
    return status;
}

/* Masks of intervals alone know beforehand how much they list, but for blocks that turn out empty:
 * for these memory is taken once. */
static int lists_known(const struct builder *builder)
{
    for (uint32_t s = 0; s < builder->table->parts.n_sets; s++) {
        size_t n_terms;
        const struct rapt_mask_term *terms = rapt_mask_terms(builder->sets[s].mask, &n_terms);
        for (size_t i = 0; i < n_terms; i++)
            if (terms[i].op > RAPT_MASK_OR) /* leaves of arrays, dilated */
                return 0;
    }
    return 1;
}

static rapt_status reserve_lists(struct builder *builder)
{
    const struct rapt_table_parts *parts = &builder->table->parts;
    const struct rapt_batch *batch = &builder->request->input.batch;
    uint64_t n = 0, n_full = 0;
    for (uint32_t s = 0; s < parts->n_sets; s++)
        for (uint32_t b = 0; b < batch->n_seqs; b++) {
            const uint32_t q_len = rapt_batch_q_len(batch, b);
            if (q_len > 0)
                rapt_leaves_set_sequence(&builder->classifier.leaves, b);
            for (uint32_t first = 0; first < q_len; first += parts->block_q) {
                const struct rapt_key_set *may, *full;
                size_t n_terms;
                const struct rapt_mask_term *terms =
                    rapt_mask_terms(builder->sets[s].mask, &n_terms);
                rapt_classifier_set_rows(&builder->classifier, terms, n_terms,
                                         builder->sets[s].head, first,
                                         rapt_min_u32(parts->block_q, q_len - first), &may, &full);
                for (uint32_t i = 0; i < may->n; i += 2)
                    n += may->bounds[i + 1] - may->bounds[i];
                for (uint32_t i = 0; i < full->n; i += 2)
                    n_full += full->bounds[i + 1] - full->bounds[i];
            }
        }
    if (n_full >= UINT32_MAX) /* none of these turn out empty: said before memory is taken */
        return rapt_fail(RAPT_ERROR_CAPACITY, TOO_MANY_BLOCKS);
    return n < UINT32_MAX ? reserve(builder, (size_t)n) : RAPT_OK;
}

static rapt_status build_rows(struct builder *builder)
{
    const struct rapt_batch *batch = &builder->request->input.batch;
    const struct rapt_table_parts *parts = &builder->table->parts;
    rapt_status status = RAPT_OK;
    for (builder->set = 0; builder->set < parts->n_sets; builder->set++)
        for (uint32_t b = 0; b < batch->n_seqs; b++) {
            const uint32_t q_len = rapt_batch_q_len(batch, b);
            uint32_t row = builder->set * parts->n_rows + parts->row_first[b];
            if (q_len == 0)
                continue;
            rapt_leaves_set_sequence(&builder->classifier.leaves, b);
            for (uint32_t first = 0; first < q_len; first += parts->block_q, row++) {
                status =
                    build_row(builder, row, first, rapt_min_u32(parts->block_q, q_len - first));
                if (status != RAPT_OK)
                    return status;
            }
        }
    return status;
}

/* ------------------------------------------------------------------------------------- the table
 */

static rapt_status start(struct builder *builder)
{
    const struct rapt_table_request *request = builder->request;
    const rapt_allocator *allocator = builder->table->allocator;
    uint32_t depth = 0;
    size_t n_terms = 1;
    for (uint32_t s = 0; s < builder->table->parts.n_sets; s++) {
        const rapt_mask *mask = builder->sets[s].mask;
        if (!mask)
            continue;
        depth = rapt_max_u32(depth, mask->depth);
        n_terms = n_terms < mask->n_terms ? mask->n_terms : n_terms;
    }
    builder->memos = rapt_alloc(allocator, MEMO_SIZE, sizeof *builder->memos);
    builder->went_on = rapt_alloc(allocator, request->input.batch.n_seqs, 1);
    if (!builder->memos || !builder->went_on)
        return rapt_fail(RAPT_ERROR_HOST_MEMORY, "no memory to build a block table");
    return rapt_classifier_init(&builder->classifier, allocator, &request->input, request->needs,
                                depth, n_terms, request->params.block_q, request->params.block_kv);
}

/* Arrays whose sizes lengths and heads decide. */
static rapt_status shape_table(struct builder *builder)
{
    struct rapt_block_table *table = builder->table;
    struct rapt_table_parts *parts = &table->parts;
    const struct rapt_table_request *request = builder->request;
    const struct rapt_batch *batch = &request->input.batch;
    const rapt_allocator *allocator = table->allocator;
    const uint32_t n_seqs = batch->n_seqs, n_q_heads = request->input.n_q_heads;
    uint32_t *row_first = rapt_alloc(allocator, (size_t)n_seqs + 1, sizeof *row_first);
    uint32_t *head_set = rapt_alloc(allocator, n_q_heads, sizeof *head_set);
    int32_t *cu = rapt_alloc(allocator, 2 * ((size_t)n_seqs + 1), sizeof *cu);
    builder->sets = rapt_alloc(allocator, n_q_heads, sizeof *builder->sets);
    parts->row_first = row_first;
    parts->head_set = head_set;
    parts->cu_q = cu;
    if (!row_first || !head_set || !cu || !builder->sets)
        return rapt_fail(RAPT_ERROR_HOST_MEMORY, "no memory for a block table of %u sequences",
                         n_seqs);
    parts->cu_kv = cu + n_seqs + 1;
    memcpy(cu, batch->cu_q, (n_seqs + 1) * sizeof *cu);
    memcpy(cu + n_seqs + 1, batch->cu_kv, (n_seqs + 1) * sizeof *cu);
    for (uint32_t b = 0; b < n_seqs; b++) {
        const uint32_t q_len = rapt_batch_q_len(batch, b), block_q = request->params.block_q;
        row_first[b + 1] = row_first[b] + q_len / block_q + (q_len % block_q != 0);
    }
    parts->n_seqs = n_seqs;
    parts->n_q_heads = n_q_heads;
    parts->block_q = request->params.block_q;
    parts->block_kv = request->params.block_kv;
    parts->n_rows = row_first[n_seqs];
    parts->n_sets = find_sets(request, builder->sets, head_set);
    parts->tile_words = parts->block_q * ((parts->block_kv + 31) / 32);
    const uint64_t n_lists = (uint64_t)parts->n_sets * parts->n_rows;
    if (n_lists >= UINT32_MAX)
        return rapt_fail(RAPT_ERROR_CAPACITY, "the block table has %llu rows: at most 2^32 - 2",
                         (unsigned long long)n_lists);
    table->indptr = rapt_alloc(allocator, (size_t)n_lists + 1, sizeof *table->indptr);
    return table->indptr ? RAPT_OK
                         : rapt_fail(RAPT_ERROR_HOST_MEMORY, "no memory for %llu rows of a table",
                                     (unsigned long long)n_lists);
}

static rapt_status build_spans(struct rapt_block_table *table)
{
    const struct rapt_table_parts *parts = &table->parts;
    const struct rapt_spans_source source = {.n_seqs = parts->n_seqs,
                                             .n_sets = parts->n_sets,
                                             .n_rows = parts->n_rows,
                                             .block_kv = parts->block_kv,
                                             .row_first = parts->row_first,
                                             .indptr = table->indptr,
                                             .indices = table->indices,
                                             .kinds = table->kinds,
                                             .tiles = table->tiles,
                                             .cu_kv = parts->cu_kv};
    return rapt_spans_build(&source, table->allocator, &table->parts.spans);
}

rapt_status rapt_table_build(const struct rapt_table_request *request,
                             const struct rapt_block_table *old, struct rapt_block_table *table)
{
    struct builder builder = {.request = request, .table = table};
    struct rapt_table_parts *parts = &table->parts;
    rapt_status status = shape_table(&builder);
    if (status == RAPT_OK) {
        table->closed = parts->n_sets == 1 && rapt_mask_is_closed(builder.sets[0].mask);
        table->all_bits = request->params.all_bits != 0;
        builder.closed = table->closed && !table->all_bits;
        rapt_mask_lower(builder.closed ? builder.sets[0].mask : NULL, &parts->closed);
        rapt_tile_store_init(&builder.store, table->allocator, parts->tile_words);
        status = rapt_origin_make(request, builder.sets, parts->n_sets, table->allocator,
                                  &table->origin);
    }
    if (status == RAPT_OK)
        status = start(&builder);
    if (status == RAPT_OK && old && same_sets(&builder, old)) {
        builder.old = old;
        compare_sequences(&builder);
    }
    if (status == RAPT_OK && lists_known(&builder))
        status = reserve_lists(&builder);
    if (status == RAPT_OK)
        status = build_rows(&builder);
    if (status == RAPT_OK)
        status = build_spans(table);
    if (status == RAPT_OK) {
        parts->n_tiles = builder.store.n_tiles;
        parts->bits = builder.store.bits;
        builder.store.bits = NULL;
    }
    rapt_tile_store_finish(&builder.store);
    rapt_classifier_finish(&builder.classifier, table->allocator);
    rapt_free(table->allocator, builder.memos);
    rapt_free(table->allocator, builder.went_on);
    rapt_free(table->allocator, builder.sets);
    return status;
}
