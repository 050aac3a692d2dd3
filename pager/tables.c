/* SPDX-License-Identifier: Apache-2.0 */
/* Block tables in CSR, and the padded form. */
#include "inside.h"

static rapt_status read_tables(const rapt_block_tables *caller, const char *name, uint32_t n_seqs,
                               rapt_block_tables *out_tables)
{
    rapt_status status =
        rapt_params_read("rapt_block_tables", caller, out_tables, sizeof *out_tables);
    if (status != RAPT_OK)
        return status;
    if (!out_tables->page_indptr)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s.page_indptr is NULL", name);
    if (n_seqs > 0 && !out_tables->last_page_len)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s.last_page_len is NULL", name);
    if (out_tables->capacity > 0 && !out_tables->page_indices)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s.page_indices is NULL, capacity is %u", name,
                         out_tables->capacity);
    return RAPT_OK;
}

/* Is there room for n_pages entries? Says so in n_pages if not. */
static rapt_status check_capacity(rapt_block_tables *caller, rapt_block_tables *tables,
                                  uint64_t n_pages)
{
    uint32_t capacity = tables->capacity;
    tables->n_pages = n_pages > UINT32_MAX ? UINT32_MAX : (uint32_t)n_pages;
    rapt_params_write(caller, tables, sizeof *tables);
    if (n_pages > capacity)
        return rapt_fail(RAPT_ERROR_CAPACITY, "tables.capacity is %u: there are %llu pages",
                         capacity, (unsigned long long)n_pages);
    return RAPT_OK;
}

static uint32_t last_len(uint32_t page_size, uint32_t n_tokens)
{
    return n_tokens > 0 ? (n_tokens - 1) % page_size + 1 : 0;
}

rapt_status rapt_pager_tables(const rapt_pager *pager, uint32_t group, uint32_t n_seqs,
                              const rapt_seq *seqs, rapt_block_tables *inout_tables)
{
    rapt_block_tables tables;
    struct sequence *seq = NULL;
    if (!pager || (n_seqs > 0 && !seqs))
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s is NULL", !pager ? "pager" : "seqs");
    if (group >= pager->n_groups)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "group is %u: the pager has %u", group,
                         pager->n_groups);
    rapt_status status = read_tables(inout_tables, "tables", n_seqs, &tables);
    uint64_t n_pages = 0;
    for (uint32_t i = 0; i < n_seqs && status == RAPT_OK; i++) {
        status = rapt_seqs_find(pager, seqs[i], "seq", SEQUENCE_OPEN, &seq);
        if (status != RAPT_OK)
            return rapt_fail(status, "seqs[%u]: %s", i, rapt_last_error());
        n_pages += pages_of(pager, n_slots_of(seq));
    }
    if (status == RAPT_OK)
        status = check_capacity(inout_tables, &tables, n_pages);
    if (status != RAPT_OK)
        return status;
    uint32_t at = 0;
    for (uint32_t i = 0; i < n_seqs; i++) {
        seq = &pager->seqs[(uint32_t)seqs[i] - 1];
        uint32_t n = pages_of(pager, n_slots_of(seq));
        tables.page_indptr[i] = at;
        if (n > 0)
            memcpy(tables.page_indices + at, table_of(seq, group), n * sizeof(uint32_t));
        tables.last_page_len[i] = last_len(pager->page_size, n_slots_of(seq));
        at += n;
    }
    tables.page_indptr[n_seqs] = at;
    return RAPT_OK;
}

static rapt_status check_padded(uint32_t page_size, uint32_t n_seqs, uint32_t max_pages,
                                const void *padded, const void *kv_len)
{
    if (page_size == 0 || page_size > 256 || (page_size & (page_size - 1)) != 0)
        return rapt_fail(RAPT_ERROR_ARGUMENT,
                         "page_size is %u: it must be a power of two from 1 to 256", page_size);
    if (n_seqs > 0 && !kv_len)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "kv_len is NULL");
    if (n_seqs > 0 && max_pages > 0 && !padded)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "padded is NULL");
    return RAPT_OK;
}

rapt_status rapt_block_tables_from_padded(uint32_t page_size, uint32_t n_seqs, uint32_t max_pages,
                                          const int32_t *padded, const int32_t *kv_len,
                                          rapt_block_tables *inout_tables)
{
    rapt_block_tables tables;
    rapt_status status = check_padded(page_size, n_seqs, max_pages, padded, kv_len);
    if (status == RAPT_OK)
        status = read_tables(inout_tables, "tables", n_seqs, &tables);
    if (status != RAPT_OK)
        return status;
    uint64_t n_pages = 0;
    for (uint32_t b = 0; b < n_seqs; b++) {
        if (kv_len[b] < 0)
            return rapt_fail(RAPT_ERROR_ARGUMENT, "kv_len[%u] is %d: it must be at least 0", b,
                             kv_len[b]);
        uint32_t n = ((uint32_t)kv_len[b] + page_size - 1) / page_size;
        if (n > max_pages)
            return rapt_fail(RAPT_ERROR_SHAPE, "kv_len[%u] is %d, %u pages: a row has %u", b,
                             kv_len[b], n, max_pages);
        for (uint32_t i = 0; i < n; i++)
            if (padded[(size_t)b * max_pages + i] < 0)
                return rapt_fail(RAPT_ERROR_ARGUMENT, "padded[%u][%u] is %d: a page is at least 0",
                                 b, i, padded[(size_t)b * max_pages + i]);
        n_pages += n;
    }
    status = check_capacity(inout_tables, &tables, n_pages);
    if (status != RAPT_OK)
        return status;
    uint32_t at = 0;
    for (uint32_t b = 0; b < n_seqs; b++) {
        uint32_t n = ((uint32_t)kv_len[b] + page_size - 1) / page_size;
        tables.page_indptr[b] = at;
        for (uint32_t i = 0; i < n; i++)
            tables.page_indices[at++] = (uint32_t)padded[(size_t)b * max_pages + i];
        tables.last_page_len[b] = last_len(page_size, (uint32_t)kv_len[b]);
    }
    tables.page_indptr[n_seqs] = at;
    return RAPT_OK;
}

/* Row b: its pages, and that they make a length. */
static rapt_status check_row(uint32_t page_size, uint32_t max_pages,
                             const rapt_block_tables *tables, uint32_t b)
{
    uint32_t first = tables->page_indptr[b], end = tables->page_indptr[b + 1];
    uint32_t last = tables->last_page_len[b];
    if (end < first || end > tables->n_pages)
        return rapt_fail(RAPT_ERROR_SHAPE,
                         "tables.page_indptr[%u] is %u, the one before %u: they must not fall, nor "
                         "exceed tables.n_pages, which is %u",
                         b + 1, end, first, tables->n_pages);
    if (end - first > max_pages)
        return rapt_fail(RAPT_ERROR_CAPACITY, "sequence %u has %u pages: a row has room for %u", b,
                         end - first, max_pages);
    if (end > first ? last == 0 || last > page_size : last != 0)
        return rapt_fail(RAPT_ERROR_SHAPE,
                         "tables.last_page_len[%u] is %u: with %u pages of %u it must be %s", b,
                         last, end - first, page_size, end > first ? "1 to the page size" : "0");
    if (end > first && (uint64_t)(end - first - 1) * page_size + last > PAGER_MAX_TOKENS)
        return rapt_fail(RAPT_ERROR_SHAPE, "sequence %u has %u pages of %u: more than int32 holds",
                         b, end - first, page_size);
    for (uint32_t i = first; i < end; i++)
        if (tables->page_indices[i] > INT32_MAX)
            return rapt_fail(RAPT_ERROR_SHAPE,
                             "tables.page_indices[%u] is %u: more than int32 holds", i,
                             tables->page_indices[i]);
    return RAPT_OK;
}

rapt_status rapt_block_tables_to_padded(uint32_t page_size, uint32_t n_seqs, uint32_t max_pages,
                                        const rapt_block_tables *caller, int32_t filler,
                                        int32_t *out_padded, int32_t *out_kv_len)
{
    rapt_block_tables tables;
    rapt_status status = check_padded(page_size, n_seqs, max_pages, out_padded, out_kv_len);
    if (status == RAPT_OK)
        status = read_tables(caller, "tables", n_seqs, &tables);
    if (status == RAPT_OK && tables.n_pages > 0 && !tables.page_indices)
        status = rapt_fail(RAPT_ERROR_ARGUMENT, "tables.page_indices is NULL, n_pages is %u",
                           tables.n_pages);
    for (uint32_t b = 0; b < n_seqs && status == RAPT_OK; b++)
        status = check_row(page_size, max_pages, &tables, b);
    if (status != RAPT_OK)
        return status;
    for (uint32_t b = 0; b < n_seqs; b++) {
        uint32_t first = tables.page_indptr[b], n = tables.page_indptr[b + 1] - first;
        int32_t *row = out_padded + (size_t)b * max_pages;
        for (uint32_t i = 0; i < max_pages; i++)
            row[i] = i < n ? (int32_t)tables.page_indices[first + i] : filler;
        out_kv_len[b] = n > 0 ? (int32_t)((n - 1) * page_size + tables.last_page_len[b]) : 0;
    }
    return RAPT_OK;
}
