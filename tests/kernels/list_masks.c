/* SPDX-License-Identifier: Apache-2.0 */

/* Block tables of masks: random arrays for their leaves, the library's table, and what the leaves'
 * definition says of an element, which is what the reference is given. */

#include "check.h"

#include "random.h"

#include <stdlib.h>
#include <string.h>

#define MAP 48 /* blocks of a map, each way */

static uint32_t q_len_of(const struct check_problem *p, uint32_t b)
{
    return (uint32_t)(p->cu_q[b + 1] - p->cu_q[b]);
}

static uint32_t kv_len_of(const struct check_problem *p, uint32_t b)
{
    return (uint32_t)(p->cu_kv[b + 1] - p->cu_kv[b]);
}

/* Documents one after another, the last queries those of the last keys; some of nobody. */
static void fill_segments(struct check_problem *p, int32_t *of_q, int32_t *of_kv)
{
    for (uint32_t b = 0; b < (uint32_t)p->n_seqs; b++) {
        uint32_t n_q = q_len_of(p, b), n_kv = kv_len_of(p, b);
        int32_t id = 1, *kv = of_kv + p->cu_kv[b];
        for (uint32_t j = 0; j < n_kv; j++) {
            id += random_below(&p->random, 40) == 0;
            kv[j] = id % 5 == 4 ? 0 : id;
        }
        for (uint32_t i = 0; i < n_q; i++)
            of_q[p->cu_q[b] + (int32_t)i] = n_kv + i >= n_q ? kv[n_kv + i - n_q] : 1;
    }
}

static void fill_tree(struct check_problem *p, int32_t *parents)
{
    for (uint32_t b = 0; b < (uint32_t)p->n_seqs; b++) {
        uint32_t n = q_len_of(p, b) < kv_len_of(p, b) ? q_len_of(p, b) : kv_len_of(p, b);
        int32_t *of_seq = parents + p->lists.tree_indptr[b];
        p->lists.tree_indptr[b + 1] = p->lists.tree_indptr[b] + (int32_t)n;
        for (uint32_t t = 0; t < n; t++)
            of_seq[t] = random_below(&p->random, 3)
                            ? (int32_t)t - 1
                            : random_between(&p->random, -1, (int32_t)t - 1);
    }
}

static void fill_bytes(struct check_problem *p, uint8_t *flags, uint8_t *map, uint8_t *bitmap,
                       uint64_t bitmap_bytes)
{
    uint8_t flag = 0;
    for (int32_t j = 0; j < p->cu_kv[p->n_seqs]; j++) {
        flag ^= random_below(&p->random, 25) == 0;
        flags[j] = flag;
    }
    for (uint32_t i = 0; i < p->c.heads * MAP * MAP; i++)
        map[i] = random_below(&p->random, 3) == 0;
    for (uint64_t i = 0; i < bitmap_bytes; i++) /* stretches of nothing between them */
        bitmap[i] = i / 64 % 3 == 0 ? (uint8_t)random_u64(&p->random) : 0;
}

static rapt_status fill_arrays(struct check_problem *p)
{
    size_t total_q = (size_t)p->cu_q[p->n_seqs], total_kv = (size_t)p->cu_kv[p->n_seqs];
    uint64_t bits = 0;
    for (uint32_t b = 0; b < (uint32_t)p->n_seqs; b++) {
        p->lists.bitmap_offsets[b] = bits;
        bits += (uint64_t)q_len_of(p, b) * kv_len_of(p, b) + 3;
    }
    uint64_t bitmap_bytes = (bits * p->c.heads + 7) / 8;
    size_t map_bytes = (size_t)p->c.heads * MAP * MAP;
    p->lists.arrays = calloc(2 * total_q + total_kv + 1, sizeof(int32_t));
    p->lists.bytes = calloc(total_kv + map_bytes + bitmap_bytes + 1, 1);
    if (!p->lists.arrays || !p->lists.bytes)
        return RAPT_ERROR_HOST_MEMORY;
    int32_t *segments_kv = p->lists.arrays + total_q, *parents = segments_kv + total_kv;
    uint8_t *map = p->lists.bytes + total_kv, *bitmap = map + map_bytes;
    fill_segments(p, p->lists.arrays, segments_kv);
    fill_tree(p, parents);
    fill_bytes(p, p->lists.bytes, map, bitmap, bitmap_bytes);
    p->lists.data = (rapt_mask_data){
        .struct_size = sizeof p->lists.data,
        .prefix = p->prefix,
        .segments_q = p->lists.arrays,
        .segments_kv = segments_kv,
        .bidirectional = p->lists.bytes,
        .bitmap = bitmap,
        .bitmap_offsets = p->lists.bitmap_offsets,
        .bitmap_head_stride = bits,
        .bitmap_bits = bits * p->c.heads,
        .blocks = map,
        .n_block_heads = p->c.heads,
        .n_q_blocks = MAP,
        .n_k_blocks = MAP,
        .map_block_q = 32,
        .map_block_kv = 24,
        .parents = parents,
        .tree_indptr = p->lists.tree_indptr,
    };
    return RAPT_OK;
}

/* Which keys some list has, and the table's size. */
static void read_table(struct check_problem *p)
{
    rapt_block_table_view view = {.struct_size = sizeof view};
    uint32_t total = (uint32_t)p->cu_kv[p->n_seqs], group = p->c.heads / p->c.kv_heads;
    rapt_block_table_get_view(p->lists.table, &view);
    p->lists.most_entries = (uint32_t)view.n_entries;
    p->lists.most_bit_words = view.n_tiles * view.tile_words;
    for (uint32_t h = 0; h < p->c.heads; h++)
        for (uint32_t b = 0; b < view.n_seqs; b++)
            for (uint32_t row = view.row_first[b]; row < view.row_first[b + 1]; row++) {
                const uint32_t *list = view.indptr + view.head_set[h] * view.n_rows + row;
                for (uint32_t e = list[0]; e < list[1]; e++) {
                    uint32_t j = view.indices[e] * view.block_kv, end = j + view.block_kv;
                    for (; j < end && j < kv_len_of(p, b); j++)
                        p->lists.listed[h / group * total + (uint32_t)p->cu_kv[b] + j] = 1;
                }
            }
}

rapt_status check_masks_create(struct check_problem *p)
{
    uint32_t group = p->c.head_group ? p->c.head_group : p->c.heads / p->c.kv_heads;
    rapt_status status = fill_arrays(p);
    if (status == RAPT_OK && p->c.odd_mask)
        status = rapt_mask_parse(NULL, p->c.odd_mask, NULL, &p->lists.odd_mask);
    for (uint32_t h = 0; h < p->c.heads; h++)
        p->lists.mask_heads[h] = h / group % 2 ? p->lists.odd_mask : NULL;
    p->lists.batch = (rapt_mask_batch){
        .struct_size = sizeof p->lists.batch,
        .n_seqs = (uint32_t)p->n_seqs,
        .cu_q = p->cu_q,
        .cu_kv = p->cu_kv,
        .q_pos0 = p->c.positions == CHECK_POS_Q_POS0 ? p->q_pos0 : NULL,
        .q_pos = p->q_pos,
        .kv_pos0 = p->c.positions == CHECK_POS_KV_POS0 ? p->kv_pos0 : NULL,
        .n_q_heads = p->c.heads,
        .data = &p->lists.data,
    };
    const rapt_block_table_params params = {
        .struct_size = sizeof params,
        .mask = p->mask,
        .mask_heads = p->lists.mask_heads,
        .batch = p->lists.batch,
        .block_q = p->c.list_q,
        .block_kv = p->c.list_kv,
    };
    if (status == RAPT_OK)
        status = rapt_block_table_create(&params, &p->lists.table);
    if (status == RAPT_OK)
        read_table(p);
    return status;
}

void check_masks_destroy(struct check_problem *p)
{
    rapt_block_table_destroy(&p->lists.table);
    rapt_mask_destroy(&p->lists.odd_mask);
    free(p->lists.arrays);
    free(p->lists.bytes);
}

int check_masks_see(const struct check_problem *p, uint32_t b, uint32_t h, uint32_t i, uint32_t j)
{
    const rapt_mask *mask = p->lists.mask_heads[h] ? p->lists.mask_heads[h] : p->mask;
    return rapt_mask_allows_element(mask, &p->lists.batch, b, h, i, j);
}
