/* SPDX-License-Identifier: Apache-2.0 */
#include "origin.h"

#include "error.h"

#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

static struct rapt_digest digest_of(XXH128_hash_t hash)
{
    return (struct rapt_digest){hash.low64, hash.high64};
}

static void add(XXH3_state_t *state, const void *data, size_t n_bytes)
{
    if (n_bytes > 0)
        (void)XXH3_128bits_update(state, data, n_bytes);
}

static void add_number(XXH3_state_t *state, uint64_t number)
{
    add(state, &number, sizeof number);
}

/* Position of query 0 where the others follow it. */
static int64_t first_position(const struct rapt_mask_input *input, uint32_t b)
{
    return input->batch.q_pos ? 0 : rapt_batch_q_pos(&input->batch, b, 0);
}

/* Arrays by query and key of a sequence, its first q_len and kv_len. */
static struct rapt_digest seq_arrays(const struct rapt_table_request *request, uint32_t b,
                                     uint32_t q_len, uint32_t kv_len)
{
    const struct rapt_mask_input *input = &request->input;
    const uint32_t first_q = (uint32_t)input->batch.cu_q[b];
    const uint32_t first_kv = (uint32_t)input->kv_first[b];
    XXH3_state_t state;
    XXH3_128bits_reset(&state);
    add_number(&state, (uint64_t)q_len << 32 | kv_len);
    if (input->batch.q_pos)
        add(&state, input->batch.q_pos + first_q, q_len * sizeof(int32_t));
    if ((request->reads & RAPT_MASK_NEEDS_SEGMENTS) && q_len > 0)
        add(&state, input->data.segments_q + first_q, q_len * sizeof(int32_t));
    if ((request->reads & RAPT_MASK_NEEDS_SEGMENTS) && kv_len > 0)
        add(&state, input->data.segments_kv + first_kv, kv_len * sizeof(int32_t));
    if ((request->reads & RAPT_MASK_NEEDS_BIDIRECTIONAL) && kv_len > 0)
        add(&state, input->data.bidirectional + first_kv, kv_len);
    return digest_of(XXH3_128bits_digest(&state));
}

static struct rapt_digest map_digest(const struct rapt_table_request *request)
{
    const rapt_mask_data *data = &request->input.data;
    if (!(request->reads & RAPT_MASK_NEEDS_BLOCKS))
        return (struct rapt_digest){0};
    XXH3_state_t state;
    XXH3_128bits_reset(&state);
    add_number(&state, (uint64_t)data->n_block_heads << 32 | data->n_q_blocks);
    add_number(&state, data->n_k_blocks);
    add_number(&state, (uint64_t)data->map_block_q << 32 | data->map_block_kv);
    add(&state, data->blocks, (size_t)data->n_block_heads * data->n_q_blocks * data->n_k_blocks);
    return digest_of(XXH3_128bits_digest(&state));
}

static int32_t prefix_of(const struct rapt_table_request *request, uint32_t b)
{
    return request->reads & RAPT_MASK_NEEDS_PREFIX ? request->input.data.prefix[b] : 0;
}

rapt_status rapt_origin_make(const struct rapt_table_request *request,
                             const struct rapt_table_set *sets, uint32_t n_sets,
                             const rapt_allocator *allocator, struct rapt_table_origin *out_origin)
{
    const struct rapt_batch *batch = &request->input.batch;
    struct rapt_table_origin origin = {.n_sets = n_sets, .explicit_pos = batch->q_pos != NULL};
    size_t n_terms = 0, n;
    for (uint32_t s = 0; s < n_sets; s++) {
        rapt_mask_terms(sets[s].mask, &n);
        n_terms += n;
    }
    *out_origin = (struct rapt_table_origin){0};
    origin.terms = rapt_alloc(allocator, n_terms, sizeof *origin.terms);
    origin.term_first = rapt_alloc(allocator, (size_t)n_sets + 1, sizeof *origin.term_first);
    origin.seqs = rapt_alloc(allocator, batch->n_seqs, sizeof *origin.seqs);
    if (!origin.terms || !origin.term_first || !origin.seqs) {
        rapt_origin_finish(&origin, allocator);
        return rapt_fail(RAPT_ERROR_HOST_MEMORY, "no memory for what a block table was made from");
    }
    for (uint32_t s = 0; s < n_sets; s++) {
        const struct rapt_mask_term *terms = rapt_mask_terms(sets[s].mask, &n);
        memcpy(origin.terms + origin.term_first[s], terms, n * sizeof *terms);
        origin.term_first[s + 1] = origin.term_first[s] + (uint32_t)n;
    }
    for (uint32_t b = 0; b < batch->n_seqs; b++)
        origin.seqs[b] =
            (struct rapt_origin_seq){.kv_pos0 = rapt_batch_kv_pos0(batch, b),
                                     .prefix = prefix_of(request, b),
                                     .first_pos = first_position(&request->input, b),
                                     .arrays = seq_arrays(request, b, rapt_batch_q_len(batch, b),
                                                          rapt_batch_kv_len(batch, b))};
    origin.map = map_digest(request);
    *out_origin = origin;
    return RAPT_OK;
}

void rapt_origin_finish(struct rapt_table_origin *origin, const rapt_allocator *allocator)
{
    rapt_free(allocator, origin->terms);
    rapt_free(allocator, origin->term_first);
    rapt_free(allocator, origin->seqs);
    *origin = (struct rapt_table_origin){0};
}

int rapt_origin_has_mask(const struct rapt_table_origin *origin, uint32_t s, const rapt_mask *mask)
{
    size_t n;
    const struct rapt_mask_term *terms = rapt_mask_terms(mask, &n);
    const uint32_t first = origin->term_first[s];
    return origin->term_first[s + 1] - first == n &&
           memcmp(origin->terms + first, terms, n * sizeof *terms) == 0;
}

int rapt_origin_seq_went_on(const struct rapt_table_origin *origin,
                            const struct rapt_table_origin *now,
                            const struct rapt_table_request *request, uint32_t b, uint32_t q_len,
                            uint32_t kv_len)
{
    const struct rapt_batch *batch = &request->input.batch;
    const struct rapt_origin_seq *old = &origin->seqs[b], *seq = &now->seqs[b];
    return q_len <= rapt_batch_q_len(batch, b) && kv_len <= rapt_batch_kv_len(batch, b) &&
           origin->explicit_pos == now->explicit_pos && old->kv_pos0 == seq->kv_pos0 &&
           old->prefix == seq->prefix && old->first_pos == seq->first_pos &&
           rapt_digest_equal(origin->map, now->map) &&
           rapt_digest_equal(old->arrays, seq_arrays(request, b, q_len, kv_len));
}

/* ------------------------------------------------------------------------------------ all of it */

static void add_masks(XXH3_state_t *state, const struct rapt_table_request *request)
{
    const uint32_t n = request->params.mask_heads ? request->input.n_q_heads : 1;
    for (uint32_t h = 0; h < n; h++)
        add_number(state, rapt_mask_hash(rapt_request_mask(request, h)));
}

static void add_bitmap(XXH3_state_t *state, const struct rapt_table_request *request)
{
    const rapt_mask_data *data = &request->input.data;
    const uint32_t n_seqs = request->input.batch.n_seqs;
    add_number(state, data->bitmap_row_stride);
    add_number(state, data->bitmap_head_stride);
    add_number(state, data->bitmap_offsets != NULL);
    if (data->bitmap_offsets)
        add(state, data->bitmap_offsets, n_seqs * sizeof *data->bitmap_offsets);
    if (data->bitmap)
        add(state, data->bitmap, (size_t)(data->bitmap_bits / 8 + (data->bitmap_bits % 8 != 0)));
}

static void add_tree(XXH3_state_t *state, const struct rapt_table_request *request, uint32_t b)
{
    const int32_t *parents;
    const uint32_t n = rapt_mask_tree(&request->input, b, &parents);
    add_number(state, n);
    add(state, parents, n * sizeof *parents);
}

struct rapt_digest rapt_request_digest(const struct rapt_table_request *request)
{
    const struct rapt_batch *batch = &request->input.batch;
    const rapt_block_table_params *params = &request->params;
    XXH3_state_t state;
    XXH3_128bits_reset(&state);
    add_number(&state, (uint64_t)batch->n_seqs << 32 | request->input.n_q_heads);
    add_number(&state, (uint64_t)params->block_q << 32 | params->block_kv);
    add_number(&state, (uint64_t)(params->all_bits != 0) << 2 |
                           (uint64_t)(params->mask_heads != NULL) << 1 | (batch->q_pos != NULL));
    add_masks(&state, request);
    const struct rapt_digest map = map_digest(request);
    add(&state, &map, sizeof map);
    for (uint32_t b = 0; b < batch->n_seqs; b++) {
        const struct rapt_digest arrays =
            seq_arrays(request, b, rapt_batch_q_len(batch, b), rapt_batch_kv_len(batch, b));
        add_number(&state, (uint64_t)first_position(&request->input, b));
        add_number(&state, (uint64_t)rapt_batch_kv_pos0(batch, b));
        add_number(&state, (uint64_t)prefix_of(request, b));
        add(&state, &arrays, sizeof arrays); /* with the lengths */
        if (request->reads & RAPT_MASK_NEEDS_PARENTS)
            add_tree(&state, request, b);
    }
    if (request->reads & RAPT_MASK_NEEDS_BITMAP)
        add_bitmap(&state, request);
    return digest_of(XXH3_128bits_digest(&state));
}
