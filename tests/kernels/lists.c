/* SPDX-License-Identifier: Apache-2.0 */

/* Cases with lists of key blocks. What a list says of a block is drawn from its place alone, so the
 * lists of a sequence are the same alone and in the batch. The reference takes what rows see as
 * elements, from a bias of -inf: it knows neither lists nor masks here. */

#include "check.h"

#include "random.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { FULL, CLOSED, BITS, ROWS, ABSENT };

static uint32_t q_len_of(const struct check_problem *p, uint32_t b)
{
    return (uint32_t)(p->cu_q[b + 1] - p->cu_q[b]);
}

static uint32_t kv_len_of(const struct check_problem *p, uint32_t b)
{
    return (uint32_t)(p->cu_kv[b + 1] - p->cu_kv[b]);
}

static uint32_t ceil_div(uint32_t a, uint32_t b)
{
    return (a + b - 1) / b;
}

static int64_t position(const struct check_problem *p, uint32_t b, uint32_t i)
{
    if (p->q_pos)
        return p->q_pos[(uint32_t)p->cu_q[b] + i];
    if (p->c.positions == CHECK_POS_Q_POS0)
        return (int64_t)p->q_pos0[b] + i;
    return (int64_t)kv_len_of(p, b) - q_len_of(p, b) + p->kv_pos0[b] + i;
}

/* Row i's interval in closed form contains keys [first, last]. */
static int interval_has(const struct check_problem *p, uint32_t b, uint32_t i, uint32_t first,
                        uint32_t last)
{
    int64_t P = position(p, b, i), J = p->kv_pos0[b];
    return J + first >= rapt_mask_first(&p->lists.closed, P) &&
           J + last <= rapt_mask_last(&p->lists.closed, P);
}

/* A block of a set's list: which set, sequence, block of queries and block of keys. */
struct block {
    uint32_t set, b, row, key;
};

static uint64_t chance(const struct check_problem *p, struct block at, uint32_t what)
{
    uint64_t x = random_mix(p->lists.seed + at.set * RANDOM_STEP + at.b);
    x = random_mix(x + ((uint64_t)at.row << 32 | at.key));
    return random_mix(x + what * RANDOM_STEP);
}

/* Every row of the block sees all of its keys. */
static int block_is_whole(const struct check_problem *p, struct block at)
{
    uint32_t first = at.key * p->c.list_kv, last = first + p->c.list_kv - 1;
    uint32_t i = at.row * p->c.list_q, end = i + p->c.list_q;
    last = last < kv_len_of(p, at.b) ? last : kv_len_of(p, at.b) - 1;
    for (; i < end && i < q_len_of(p, at.b); i++)
        if (!interval_has(p, at.b, i, first, last))
            return 0;
    return 1;
}

static int kind_of(const struct check_problem *p, struct block at)
{
    static const uint8_t of_host[8] = {FULL, FULL, CLOSED, BITS, BITS, ABSENT, ABSENT, ABSENT};
    static const uint8_t of_device[8] = {FULL, CLOSED, ROWS, ROWS, BITS, BITS, ABSENT, ABSENT};
    struct block whole_row = {at.set, at.b, at.row, UINT32_MAX};
    if (p->c.lists == CHECK_LISTS_FULL)
        return FULL;
    if (p->c.lists == CHECK_LISTS_EMPTY || chance(p, whole_row, 0) % 6 == 0)
        return ABSENT;
    if (p->c.lists == CHECK_LISTS_HOST)
        return of_host[chance(p, at, 0) % 8];
    int kind = of_device[chance(p, at, 0) % 8]; /* the closed form bounds these lists */
    return kind == FULL && !block_is_whole(p, at) ? CLOSED : kind;
}

static uint32_t tile_words(const struct check_problem *p)
{
    return p->c.list_kv < 32 ? 1 : p->c.list_kv / 32;
}

/* Word w of the bits of a block's row t. Keys and rows that do not exist have some too. */
static uint32_t bits_of(const struct check_problem *p, struct block at, uint32_t t, uint32_t w)
{
    uint32_t bits = (uint32_t)chance(p, at, 2 + t * 8 + w), i = at.row * p->c.list_q + t;
    if (chance(p, at, 2 + t * 8) % 5 == 0)
        return 0;
    for (uint32_t n = 0; p->c.lists == CHECK_LISTS_DEVICE && n < 32; n++) {
        uint32_t key = at.key * p->c.list_kv + w * 32 + n;
        if (i < q_len_of(p, at.b) && !interval_has(p, at.b, i, key, key))
            bits &= ~(1u << n);
    }
    return bits;
}

static uint32_t row_bits(const struct check_problem *p, struct block at, uint32_t w)
{
    return (uint32_t)chance(p, at, 1u << 20 | w);
}

static int sees(const struct check_problem *p, uint32_t b, uint32_t h, uint32_t i, uint32_t j)
{
    if (p->c.lists == CHECK_LISTS_MASK)
        return check_masks_see(p, b, h, i, j);
    uint32_t t = i % p->c.list_q, k = j % p->c.list_kv;
    struct block at = {p->lists.head_set[h], b, i / p->c.list_q, j / p->c.list_kv};
    switch (kind_of(p, at)) {
    case FULL:
        return 1;
    case CLOSED:
        return interval_has(p, b, i, j, j);
    case BITS:
        return bits_of(p, at, t, k / 32) >> k % 32 & 1;
    case ROWS:
        return (row_bits(p, at, t / 32) >> t % 32 & 1) && interval_has(p, b, i, j, j);
    default:
        return 0;
    }
}

/* ------------------------------------------------------------------------------------ reference */

static float bias_at(const struct check_problem *p, uint64_t i)
{
    const uint8_t *base = p->bias.map + p->bias.first;
    if (p->c.bias == CHECK_BIAS_F16 || p->c.bias == CHECK_BIAS_F16_ODD)
        return rapt_f32_from_f16(((const uint16_t *)(const void *)base)[i]);
    return ((const float *)(const void *)base)[i];
}

static rapt_status fill_holes(struct check_problem *p)
{
    uint64_t area = check_largest_area(p), of_seq = area * p->c.heads, at;
    p->lists.n_holes = of_seq * (uint64_t)p->n_seqs;
    p->lists.hole_head_stride = area;
    p->lists.holes = calloc(p->lists.n_holes + 1, sizeof *p->lists.holes);
    if (!p->lists.holes)
        return RAPT_ERROR_HOST_MEMORY;
    for (uint32_t b = 0; b < (uint32_t)p->n_seqs; b++) {
        uint32_t n_q = q_len_of(p, b), n_kv = kv_len_of(p, b);
        p->lists.hole_offsets[b] = b * of_seq;
        for (uint32_t h = 0; h < p->c.heads; h++)
            for (uint32_t i = 0; i < n_q; i++)
                for (uint32_t j = 0; j < n_kv; j++) {
                    at = h * area + (uint64_t)i * n_kv + j;
                    float x = p->bias.buffer ? bias_at(p, p->bias_offsets[b] + at) : 0;
                    p->lists.holes[b * of_seq + at] = sees(p, b, h, i, j) ? x : -INFINITY;
                }
    }
    return RAPT_OK;
}

/* Some list of a query head of this KV head has the key. */
static int is_listed(const struct check_problem *p, uint32_t b, uint32_t kv_head, uint32_t j)
{
    uint32_t group = p->c.heads / p->c.kv_heads;
    for (uint32_t h = kv_head * group; h < (kv_head + 1) * group; h++)
        for (uint32_t row = 0; row < ceil_div(q_len_of(p, b), p->c.list_q); row++) {
            struct block at = {p->lists.head_set[h], b, row, j / p->c.list_kv};
            if (kind_of(p, at) != ABSENT)
                return 1;
        }
    return 0;
}

static uint8_t *listed_at(const struct check_problem *p, uint32_t b, uint32_t kv_head, uint32_t j)
{
    uint64_t total = (uint64_t)p->cu_kv[p->n_seqs];
    return p->lists.listed + kv_head * total + (uint32_t)p->cu_kv[b] + j;
}

/* Swaps the rows of K and V that no list has with NaN, or with what they were before. */
void check_lists_swap(struct check_problem *p)
{
    uint64_t at = 0;
    for (uint32_t b = 0; p->lists.kept && b < (uint32_t)p->n_seqs; b++)
        for (uint32_t h = 0; h < p->c.kv_heads; h++)
            for (uint32_t j = 0; j < kv_len_of(p, b); j++)
                for (int t = CHECK_K; t <= CHECK_V; t++) {
                    size_t n = (size_t)check_row(p, (enum check_tensor)t) * check_unit(p->type[t]);
                    uint8_t *row =
                        check_place(p, (enum check_tensor)t,
                                    check_element(p, (enum check_tensor)t, (int)b, j, h));
                    uint8_t *kept = p->lists.kept + at;
                    at += n;
                    for (size_t i = 0; !*listed_at(p, b, h, j) && i < n; i++) {
                        uint8_t byte = row[i];
                        row[i] = kept[i];
                        kept[i] = byte;
                    }
                }
}

rapt_status check_lists_create(struct check_problem *p)
{
    uint32_t group = p->c.heads / p->c.kv_heads;
    if (!p->c.lists)
        return RAPT_OK;
    uint32_t head_group = p->c.head_group ? p->c.head_group : group;
    uint32_t n_groups = p->c.heads / head_group;
    /* on the host two groups share a set */
    p->lists.n_sets = p->c.lists == CHECK_LISTS_DEVICE || n_groups < 3 ? n_groups : n_groups - 1;
    p->lists.seed = random_u64(&p->random);
    for (uint32_t h = 0; h < p->c.heads; h++)
        p->lists.head_set[h] = h / head_group % p->lists.n_sets;
    if (p->c.lists != CHECK_LISTS_MASK)
        rapt_mask_lower(p->mask, &p->lists.closed);
    for (uint32_t b = 0; b < (uint32_t)p->n_seqs; b++) {
        uint32_t rows = ceil_div(q_len_of(p, b), p->c.list_q);
        p->lists.most_blocks += rows * ceil_div(kv_len_of(p, b), p->c.list_kv) * p->lists.n_sets;
        p->lists.most_keys = ceil_div(kv_len_of(p, b), p->c.list_kv) > p->lists.most_keys
                                 ? ceil_div(kv_len_of(p, b), p->c.list_kv)
                                 : p->lists.most_keys;
        p->lists.most_rows += rows * p->lists.n_sets;
    }
    uint64_t row = (uint64_t)check_row(p, CHECK_K) * check_unit(p->kv) +
                   (uint64_t)check_row(p, CHECK_V) * check_unit(p->kv);
    uint64_t bytes = (uint64_t)p->cu_kv[p->n_seqs] * p->c.kv_heads * row;
    p->lists.kept = malloc(bytes + 1);
    p->lists.listed = calloc((size_t)p->cu_kv[p->n_seqs] + 1, p->c.kv_heads);
    if (!p->lists.kept || !p->lists.listed)
        return RAPT_ERROR_HOST_MEMORY;
    memset(p->lists.kept, 0xff, bytes);
    rapt_status status = RAPT_OK;
    if (p->c.lists == CHECK_LISTS_MASK)
        status = check_masks_create(p);
    for (uint32_t b = 0; p->c.lists != CHECK_LISTS_MASK && b < (uint32_t)p->n_seqs; b++)
        for (uint32_t h = 0; h < p->c.kv_heads; h++)
            for (uint32_t j = 0; j < kv_len_of(p, b); j++)
                *listed_at(p, b, h, j) = (uint8_t)is_listed(p, b, h, j);
    return status == RAPT_OK ? fill_holes(p) : status;
}

void check_lists_destroy(struct check_problem *p)
{
    check_masks_destroy(p);
    free(p->lists.holes);
    free(p->lists.kept);
    free(p->lists.listed);
}

/* --------------------------------------------------------------------------------------- tables */

/* The lists of sequences [first, first + n). */
rapt_status check_table_create(const struct check_problem *p, uint32_t first, uint32_t n,
                               struct check_table *out)
{
    uint32_t words = tile_words(p), tile_size = words * p->c.list_q, n_lists = 0, n_entries = 0;
    uint32_t n_tiles = 0;
    memset(out, 0, sizeof *out);
    out->indptr = calloc((size_t)p->lists.most_rows + 1, sizeof *out->indptr);
    out->indices = calloc((size_t)p->lists.most_blocks + 1, sizeof *out->indices);
    out->tiles = calloc((size_t)p->lists.most_blocks + 1, sizeof *out->tiles);
    out->kinds = calloc((size_t)p->lists.most_blocks + 1, sizeof *out->kinds);
    out->bits = calloc((size_t)p->lists.most_blocks * tile_size + 1, sizeof *out->bits);
    if (!out->indptr || !out->indices || !out->tiles || !out->kinds || !out->bits)
        return RAPT_ERROR_HOST_MEMORY;
    for (uint32_t b = 0; b <= n; b++) {
        out->cu_q[b] = p->cu_q[first + b] - p->cu_q[first];
        out->cu_kv[b] = p->cu_kv[first + b] - p->cu_kv[first];
        if (b < n)
            out->row_first[b + 1] =
                out->row_first[b] + ceil_div(q_len_of(p, first + b), p->c.list_q);
    }
    for (uint32_t set = 0; set < p->lists.n_sets; set++)
        for (uint32_t b = first; b < first + n; b++)
            for (uint32_t row = 0; row < ceil_div(q_len_of(p, b), p->c.list_q); row++) {
                for (uint32_t key = 0; key < ceil_div(kv_len_of(p, b), p->c.list_kv); key++) {
                    struct block at = {set, b, row, key};
                    int kind = kind_of(p, at);
                    if (kind == ABSENT)
                        continue;
                    out->indices[n_entries] = key;
                    out->kinds[n_entries] = (uint8_t)kind;
                    for (uint32_t i = 0; kind == BITS && i < tile_size; i++)
                        out->bits[n_tiles * tile_size + i] = bits_of(p, at, i / words, i % words);
                    for (uint32_t i = 0; kind == ROWS && i * 32 < p->c.list_q; i++)
                        out->bits[n_tiles * tile_size + i] = row_bits(p, at, i);
                    out->tiles[n_entries++] = kind >= BITS ? n_tiles++ : 0;
                }
                out->indptr[++n_lists] = n_entries;
            }
    out->parts = (struct rapt_table_parts){.n_seqs = n,
                                           .n_q_heads = p->c.heads,
                                           .block_q = p->c.list_q,
                                           .block_kv = p->c.list_kv,
                                           .n_sets = p->lists.n_sets,
                                           .n_rows = out->row_first[n],
                                           .row_first = out->row_first,
                                           .head_set = p->lists.head_set,
                                           .cu_q = out->cu_q,
                                           .cu_kv = out->cu_kv,
                                           .n_tiles = n_tiles,
                                           .tile_words = tile_size,
                                           .bits = out->bits,
                                           .closed = p->lists.closed};
    const struct rapt_spans_source source = {.n_seqs = n,
                                             .n_sets = p->lists.n_sets,
                                             .n_rows = out->row_first[n],
                                             .block_kv = p->c.list_kv,
                                             .row_first = out->row_first,
                                             .indptr = out->indptr,
                                             .indices = out->indices,
                                             .kinds = out->kinds,
                                             .tiles = out->tiles,
                                             .cu_kv = out->cu_kv};
    return p->c.lists == CHECK_LISTS_DEVICE ? RAPT_OK
                                            : rapt_spans_build(&source, NULL, &out->parts.spans);
}

void check_table_destroy(struct check_table *table)
{
    rapt_spans_finish(&table->parts.spans, NULL);
    free(table->indptr);
    free(table->indices);
    free(table->tiles);
    free(table->kinds);
    free(table->bits);
}

rapt_device_lists check_lists_device(const struct check_problem *p)
{
    return (rapt_device_lists){
        .struct_size = sizeof(rapt_device_lists),
        .block_q = p->c.list_q,
        .block_kv = p->c.list_kv,
        .n_sets = p->lists.n_sets,
        .list_capacity = p->lists.most_keys + 1,
        .bit_words = p->lists.most_blocks * tile_words(p) * p->c.list_q,
    };
}

/* As kernels would write them: blocks of bits wherever there is room for them, a block a span. */
void check_table_write(const struct check_problem *p, uint32_t first, const struct check_table *t,
                       uint32_t *slot)
{
    const struct rapt_step_header *header = (const void *)slot;
    uint32_t tile_size = t->parts.tile_words;
    memcpy(slot + header->bits_word, t->bits, (size_t)t->parts.n_tiles * tile_size * 4);
    for (uint32_t list = 0, b = 0; list < t->parts.n_sets * t->parts.n_rows; list++) {
        uint32_t row = list % t->parts.n_rows, *count = slot + header->blocks_word;
        count += (size_t)list * header->counts_word;
        for (b = row == 0 ? 0 : b; row >= t->row_first[b + 1];)
            b++;
        *count = t->indptr[list + 1] - t->indptr[list];
        for (uint32_t i = 0; i < *count; i++) {
            uint32_t entry = t->indptr[list] + i, begin = t->indices[entry] * p->c.list_kv;
            uint32_t end = begin + p->c.list_kv, word = header->bits_word;
            word += t->tiles[entry] * tile_size;
            count[1 + 3 * i] = begin;
            count[2 + 3 * i] = end < kv_len_of(p, first + b) ? end : kv_len_of(p, first + b);
            count[3 + 3 * i] = 4 * (t->kinds[entry] >= BITS ? word : 0) + t->kinds[entry];
        }
    }
}
