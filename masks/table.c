/* SPDX-License-Identifier: Apache-2.0 */
/* Block tables: parameters, life and view. */
#include "table.h"

#include "error.h"

#include <string.h>

static rapt_status check_block(const char *name, uint32_t *block)
{
    if (*block == 0)
        *block = 64;
    if (*block < 16 || *block > 256 || (*block & (*block - 1)) != 0)
        return rapt_fail(RAPT_ERROR_ARGUMENT,
                         "%s is %u: expected a power of two from 16 to 256 (0 = 64)", name, *block);
    return RAPT_OK;
}

rapt_status rapt_table_request_open(const rapt_block_table_params *params,
                                    struct rapt_table_request *out_request)
{
    rapt_block_table_params *own = &out_request->params;
    *out_request = (struct rapt_table_request){0};
    rapt_status status = rapt_params_read("rapt_block_table_params", params, own, sizeof *own);
    if (status == RAPT_OK)
        status = rapt_mask_input_open(&own->batch, &out_request->input);
    if (status == RAPT_OK)
        status = check_block("block_q", &own->block_q);
    if (status == RAPT_OK)
        status = check_block("block_kv", &own->block_kv);
    if (status != RAPT_OK)
        return status;
    const rapt_mask *last = NULL;
    for (uint32_t h = 0; h < (own->mask_heads ? out_request->input.n_q_heads : 1); h++) {
        const rapt_mask *mask = rapt_request_mask(out_request, h);
        if (mask != last) {
            out_request->needs |= rapt_mask_needs(mask);
            out_request->reads |= rapt_mask_reads(mask);
        }
        last = mask;
    }
    return rapt_mask_input_check(&out_request->input, out_request->needs, "batch.data");
}

void rapt_table_clear(struct rapt_block_table *table)
{
    const rapt_allocator *allocator = table->allocator;
    struct rapt_table_parts *parts = &table->parts;
    rapt_free(allocator, (void *)(uintptr_t)parts->row_first);
    rapt_free(allocator, (void *)(uintptr_t)parts->head_set);
    rapt_free(allocator, (void *)(uintptr_t)parts->cu_q);
    rapt_free(allocator, (void *)(uintptr_t)parts->bits);
    rapt_spans_finish(&parts->spans, allocator);
    rapt_free(allocator, table->indptr);
    rapt_free(allocator, table->indices);
    rapt_free(allocator, table->tiles);
    rapt_free(allocator, table->kinds);
    rapt_origin_finish(&table->origin, allocator);
}

void rapt_block_table_destroy(rapt_block_table **table)
{
    if (!table || !*table)
        return;
    rapt_table_clear(*table);
    if ((*table)->allocator) {
        rapt_allocator allocator = (*table)->allocator_copy; /* outlives the memory it lies in */
        rapt_free(&allocator, *table);
    } else {
        rapt_free(NULL, *table);
    }
    *table = NULL;
}

rapt_status rapt_block_table_create(const rapt_block_table_params *params,
                                    rapt_block_table **out_table)
{
    if (!out_table)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "out_table is NULL");
    *out_table = NULL;
    struct rapt_table_request request;
    rapt_status status = rapt_table_request_open(params, &request);
    if (status != RAPT_OK)
        return status;
    const rapt_allocator *allocator = request.params.allocator;
    rapt_block_table *table = rapt_alloc(allocator, 1, sizeof *table);
    if (!table)
        return rapt_fail(RAPT_ERROR_HOST_MEMORY, "no memory for a block table");
    if (allocator) {
        table->allocator_copy = *allocator;
        table->allocator = &table->allocator_copy;
    }
    status = rapt_table_build(&request, NULL, table);
    if (status != RAPT_OK)
        rapt_block_table_destroy(&table);
    *out_table = table;
    return status;
}

rapt_status rapt_block_table_extend(rapt_block_table *table, const rapt_block_table_params *params)
{
    if (!table)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "table is NULL");
    struct rapt_table_request request;
    rapt_status status = rapt_table_request_open(params, &request);
    if (status != RAPT_OK)
        return status;
    struct rapt_block_table next = {.allocator = table->allocator,
                                    .allocator_copy = table->allocator_copy};
    status = rapt_table_build(&request, table, &next);
    if (status != RAPT_OK) {
        rapt_table_clear(&next);
        return status;
    }
    rapt_table_clear(table);
    *table = next;
    return RAPT_OK;
}

void rapt_block_table_get_view(const rapt_block_table *table, rapt_block_table_view *out_view)
{
    const struct rapt_table_parts *parts = &table->parts;
    const rapt_block_table_view view = {
        .struct_size = sizeof view,
        .n_seqs = parts->n_seqs,
        .block_q = parts->block_q,
        .block_kv = parts->block_kv,
        .n_sets = parts->n_sets,
        .n_rows = parts->n_rows,
        .n_q_heads = parts->n_q_heads,
        .head_set = parts->head_set,
        .row_first = parts->row_first,
        .indptr = table->indptr,
        .indices = table->indices,
        .kinds = table->kinds,
        .tiles = table->tiles,
        .n_tiles = parts->n_tiles,
        .tile_words = parts->tile_words,
        .bits = parts->bits,
        .cu_q = parts->cu_q,
        .cu_kv = parts->cu_kv,
        .closed = table->closed,
        .n_entries = table->n_entries,
        .n_full = table->n_full,
        .n_partial = table->n_partial,
        .n_pairs = table->n_pairs,
    };
    rapt_params_write(out_view, &view, sizeof view);
}
