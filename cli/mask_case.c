/* SPDX-License-Identifier: Apache-2.0 */
#include "mask_case.h"

#include "cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* More than a picture or a count is worth, and less than takes a machine down: systems that promise
 * memory they lack kill the program that believes them. */
#define MOST_BYTES (UINT64_C(4) << 30)
#define HEAD_BYTES 16 /* before every piece: its size, and room that keeps it aligned */

static void *take(void *user, size_t n_bytes)
{
    struct mask_case *c = user;
    if (n_bytes > MOST_BYTES - c->n_bytes)
        return NULL;
    char *piece = malloc(HEAD_BYTES + n_bytes);
    if (!piece)
        return NULL;
    const uint64_t n = n_bytes;
    memcpy(piece, &n, sizeof n);
    c->n_bytes += n;
    return piece + HEAD_BYTES;
}

static void give(void *user, void *memory)
{
    struct mask_case *c = user;
    uint64_t n;
    if (!memory)
        return;
    char *piece = (char *)memory - HEAD_BYTES;
    memcpy(&n, piece, sizeof n);
    c->n_bytes -= n;
    free(piece);
}

int mask_case_build(struct mask_case *c, uint32_t block_q, uint32_t block_kv)
{
    c->cu_q[1] = (int32_t)c->n_q;
    c->cu_kv[1] = (int32_t)c->n_kv;
    const rapt_allocator allocator = {.user = c, .alloc = take, .free = give};
    rapt_block_table_params params = {
        .struct_size = sizeof params,
        .allocator = &allocator,
        .mask = c->mask,
        .mask_heads = c->input.heads,
        .batch = {.struct_size = sizeof params.batch,
                  .n_seqs = 1,
                  .cu_q = c->cu_q,
                  .cu_kv = c->cu_kv,
                  .q_pos0 = &c->q_pos0,
                  .kv_pos0 = &c->kv_pos0,
                  .n_q_heads = c->n_heads,
                  .data = &c->input.data},
        .block_q = block_q,
        .block_kv = block_kv,
    };
    double start = cli_seconds();
    rapt_status status = rapt_block_table_create(&params, &c->table);
    c->seconds = cli_seconds() - start;
    if (status == RAPT_ERROR_HOST_MEMORY || status == RAPT_ERROR_CAPACITY)
        return cli_fail(CLI_USAGE, "%s: fewer queries, or larger blocks, would do",
                        rapt_last_error());
    if (status != RAPT_OK)
        return cli_fail_status(status, NULL);
    c->view.struct_size = sizeof c->view;
    rapt_block_table_get_view(c->table, &c->view);
    return 0;
}

void mask_case_finish(struct mask_case *c)
{
    rapt_block_table_destroy(&c->table);
    rapt_mask_destroy(&c->mask);
    mask_finish(&c->input);
}

static uint32_t head_of_set(const struct mask_case *c, uint32_t set)
{
    uint32_t h = 0;
    while (c->view.head_set[h] != set)
        h++;
    return h;
}

static const rapt_mask *mask_of_set(const struct mask_case *c, uint32_t set)
{
    uint32_t h = head_of_set(c, set);
    return c->input.heads && c->input.heads[h] ? c->input.heads[h] : c->mask;
}

const char *mask_case_text(const struct mask_case *c, uint32_t set)
{
    uint32_t h = head_of_set(c, set);
    if (c->input.texts && c->input.texts[h])
        return c->input.texts[h];
    return c->expression ? c->expression : "full";
}

/* The bits [first, end) of a row of words. */
static uint32_t count_bits(const uint32_t *words, uint32_t first, uint32_t end)
{
    uint32_t n = 0;
    for (uint32_t w = first / 32; w * 32 < end; w++) {
        uint32_t bits = words[w];
        if (w == first / 32)
            bits &= UINT32_MAX << first % 32;
        if (end - w * 32 < 32)
            bits &= (UINT32_C(1) << (end - w * 32)) - 1;
        for (; bits; bits &= bits - 1)
            n++;
    }
    return n;
}

uint32_t mask_case_allowed(const struct mask_case *c, uint32_t set, uint32_t entry, uint32_t i,
                           uint32_t first, uint32_t end)
{
    const rapt_block_table_view *view = &c->view;
    if (view->kinds[entry] == RAPT_BLOCK_FULL)
        return end - first;
    if (view->kinds[entry] == RAPT_BLOCK_BITS) {
        uint32_t words = (view->block_kv + 31) / 32, start = view->indices[entry] * view->block_kv;
        const uint32_t *tile = view->bits + (size_t)view->tiles[entry] * view->tile_words;
        return count_bits(tile + (size_t)(i % view->block_q) * words, first - start, end - start);
    }
    int32_t low, high, prefix = c->input.data.prefix ? c->input.data.prefix[0] : 0;
    rapt_mask_interval(mask_of_set(c, set), c->q_pos0 + (int32_t)i, prefix, &low, &high);
    int64_t from = (int64_t)low - c->kv_pos0, to = (int64_t)high - c->kv_pos0 + 1;
    from = from > (int64_t)first ? from : (int64_t)first;
    to = to < (int64_t)end ? to : (int64_t)end;
    return to > from ? (uint32_t)(to - from) : 0;
}

struct mask_counts mask_case_count_set(const struct mask_case *c, uint32_t set)
{
    const rapt_block_table_view *view = &c->view;
    struct mask_counts counts = {.dense_pairs = (uint64_t)c->n_q * c->n_kv};
    for (uint32_t row = 0; row < view->n_rows; row++) {
        uint32_t q_first = row * view->block_q, q_end = q_first + view->block_q;
        q_end = q_end < c->n_q ? q_end : c->n_q;
        uint64_t csr = (uint64_t)set * view->n_rows + row;
        for (uint32_t e = view->indptr[csr]; e < view->indptr[csr + 1]; e++) {
            uint32_t first = view->indices[e] * view->block_kv, end = first + view->block_kv;
            end = end < c->n_kv ? end : c->n_kv;
            uint64_t pairs = (uint64_t)(q_end - q_first) * (end - first);
            counts.n_listed++;
            counts.listed_pairs += pairs;
            if (view->kinds[e] == RAPT_BLOCK_FULL) {
                counts.n_full++;
                counts.allowed_pairs += pairs;
                continue;
            }
            counts.n_partial++;
            counts.n_bits += view->kinds[e] == RAPT_BLOCK_BITS;
            for (uint32_t i = q_first; i < q_end; i++)
                counts.allowed_pairs += mask_case_allowed(c, set, e, i, first, end);
        }
    }
    return counts;
}

struct mask_counts mask_case_count(const struct mask_case *c)
{
    struct mask_counts all = {0};
    for (uint32_t set = 0; set < c->view.n_sets; set++) {
        struct mask_counts one = mask_case_count_set(c, set);
        uint64_t n = 0;
        for (uint32_t h = 0; h < c->n_heads; h++)
            n += c->view.head_set[h] == set;
        all.n_listed += n * one.n_listed;
        all.n_full += n * one.n_full;
        all.n_partial += n * one.n_partial;
        all.n_bits += n * one.n_bits;
        all.listed_pairs += n * one.listed_pairs;
        all.allowed_pairs += n * one.allowed_pairs;
        all.dense_pairs += n * one.dense_pairs;
    }
    return all;
}

char *mask_case_heads(const struct mask_case *c, uint32_t set, char *text, size_t text_bytes)
{
    size_t used = 0;
    text[0] = 0;
    for (uint32_t h = 0; h < c->n_heads; h++) {
        uint32_t last = h;
        if (c->view.head_set[h] != set)
            continue;
        while (last + 1 < c->n_heads && c->view.head_set[last + 1] == set)
            last++;
        char run[48];
        int n = last > h ? snprintf(run, sizeof run, "%sh%u-h%u", used ? ", " : "", h, last)
                         : snprintf(run, sizeof run, "%sh%u", used ? ", " : "", h);
        if (used + (size_t)n + 5 > text_bytes) {
            snprintf(text + used, text_bytes - used, " ..");
            break;
        }
        used += (size_t)snprintf(text + used, text_bytes - used, "%s", run);
        h = last;
    }
    return text;
}
