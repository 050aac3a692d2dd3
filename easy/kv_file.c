/* SPDX-License-Identifier: Apache-2.0 */
/* Sequences to files and back: a snapshot (pager.h) through files that are replaced whole. */
#include "kv_swap.h"

#include "checked.h"
#include "whole_file.h"

#include <string.h>

#define BATCH_BYTES ((uint64_t)16 << 20) /* of pages that are moved at once */

/* ----------------------------------------------------------------------------------------- save */

struct saving {
    rapt_easy_cache *cache;
    struct whole_file file;
    struct kv_transfer transfer;
    uint32_t n_seqs;
    rapt_seq_image *images;
    int32_t **tokens;
    rapt_block_tables tables[RAPT_PAGER_MAX_GROUPS];
};

static rapt_status write_file(void *user, const void *data, size_t n_bytes)
{
    struct saving *saving = user;
    return rapt_whole_file_write(&saving->file, data, n_bytes);
}

/* Rows past the tokens in use may be what another conversation left: a file has none of that. */
static void clear_tail(const rapt_easy_cache *cache, uint32_t g, uint32_t n_tokens,
                       uint8_t *contents)
{
    const struct kv_group *group = &cache->groups[g];
    for (uint32_t layer = 0; layer < group->n_layers; layer++) {
        for (uint32_t i = 0; i < KV_N_PLANES; i++) {
            const struct kv_plane *plane = &group->planes[i];
            uint64_t used = (uint64_t)n_tokens * plane->n_rows * plane->row_bytes;
            memset(contents + used, 0, (size_t)(plane->page_bytes - used));
            contents += plane->page_bytes;
        }
    }
}

static rapt_status read_pages(void *user, uint32_t group, uint32_t n_pages, const uint32_t *pages,
                              const uint32_t *n_tokens, void *out_contents)
{
    struct saving *saving = user;
    rapt_easy_cache *cache = saving->cache;
    size_t page_bytes = (size_t)cache->groups[group].page_bytes;
    uint8_t *contents = out_contents;
    struct kv_page *list = rapt_alloc(cache->allocator, n_pages, sizeof *list);
    if (!list)
        return rapt_fail(RAPT_ERROR_HOST_MEMORY, "out of host memory for %u pages", n_pages);
    for (uint32_t i = 0; i < n_pages; i++)
        list[i] = (struct kv_page){group, pages[i], contents + i * page_bytes};
    rapt_status status = rapt_kv_transfer_run(&saving->transfer, n_pages, list, 0);
    for (uint32_t i = 0; status == RAPT_OK && i < n_pages; i++) {
        if (n_tokens[i] < cache->params.page_size)
            clear_tail(cache, group, n_tokens[i], contents + i * page_bytes);
    }
    rapt_free(cache->allocator, list);
    return status;
}

static rapt_status read_seqs(struct saving *saving, const rapt_seq *seqs, uint64_t *out_bytes)
{
    rapt_easy_cache *cache = saving->cache;
    uint32_t n_seqs = saving->n_seqs;
    uint64_t n_pages = 0;
    saving->images = rapt_alloc(cache->allocator, n_seqs, sizeof *saving->images);
    saving->tokens = rapt_alloc(cache->allocator, n_seqs, sizeof *saving->tokens);
    if (!saving->images || !saving->tokens)
        return rapt_fail(RAPT_ERROR_HOST_MEMORY, "out of host memory for %u sequences", n_seqs);
    for (uint32_t i = 0; i < n_seqs; i++) {
        rapt_status status =
            rapt_kv_seq_read(cache, seqs[i], &saving->images[i], &saving->tokens[i]);
        if (status != RAPT_OK)
            return status;
        n_pages += rapt_kv_pages_of(cache, saving->images[i].n_tokens);
    }
    if (n_pages > UINT32_MAX / 8)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%llu pages are too many for one file",
                         (unsigned long long)n_pages);
    *out_bytes = 0;
    for (uint32_t g = 0; g < cache->params.n_groups; g++) {
        rapt_block_tables *tables = &saving->tables[g];
        *tables = (rapt_block_tables){
            .struct_size = sizeof *tables,
            .page_indptr = rapt_alloc(cache->allocator, (size_t)n_seqs + 1, 4),
            .page_indices = rapt_alloc(cache->allocator, (size_t)n_pages, 4),
            .last_page_len = rapt_alloc(cache->allocator, n_seqs, 4),
            .capacity = (uint32_t)n_pages,
        };
        if (!tables->page_indptr || !tables->page_indices || !tables->last_page_len)
            return rapt_fail(RAPT_ERROR_HOST_MEMORY, "out of host memory for block tables");
        rapt_status status = rapt_pager_tables(cache->pager, g, n_seqs, seqs, tables);
        if (status != RAPT_OK)
            return status;
        *out_bytes = rapt_add_sat(*out_bytes, n_pages * cache->groups[g].page_bytes);
    }
    return RAPT_OK;
}

static void finish_saving(struct saving *saving)
{
    const rapt_allocator *allocator = saving->cache->allocator;
    rapt_kv_transfer_end(&saving->transfer);
    for (uint32_t i = 0; saving->tokens && i < saving->n_seqs; i++)
        rapt_free(allocator, saving->tokens[i]);
    for (uint32_t g = 0; g < RAPT_PAGER_MAX_GROUPS; g++) {
        rapt_free(allocator, saving->tables[g].page_indptr);
        rapt_free(allocator, saving->tables[g].page_indices);
        rapt_free(allocator, saving->tables[g].last_page_len);
    }
    rapt_free(allocator, saving->images);
    rapt_free(allocator, saving->tokens);
}

static rapt_status save(struct saving *saving, const rapt_seq *seqs, const char *path)
{
    rapt_easy_cache *cache = saving->cache;
    uint64_t n_bytes = 0;
    rapt_status status = rapt_kv_copies_reserve(cache, 0);
    if (status == RAPT_OK)
        status = read_seqs(saving, seqs, &n_bytes);
    if (status == RAPT_OK)
        status = rapt_kv_transfer_begin(cache, n_bytes < BATCH_BYTES ? n_bytes : BATCH_BYTES,
                                        &saving->transfer);
    if (status == RAPT_OK)
        status = rapt_whole_file_create(cache->allocator, path, &saving->file);
    if (status != RAPT_OK)
        return status;
    status = rapt_kv_copies_run(cache);
    rapt_snapshot_write_params params = {.struct_size = sizeof params,
                                         .allocator = cache->allocator,
                                         .geometry = &cache->geometry,
                                         .n_seqs = saving->n_seqs,
                                         .images = saving->images,
                                         .tables = saving->tables,
                                         .batch_bytes = BATCH_BYTES,
                                         .user = saving,
                                         .write = write_file,
                                         .read_pages = read_pages};
    if (status == RAPT_OK)
        status = rapt_snapshot_write(&params);
    return rapt_whole_file_finish(&saving->file, status);
}

rapt_status rapt_easy_cache_save(rapt_easy_cache *cache, uint32_t n_seqs, const rapt_seq *seqs,
                                 const char *path)
{
    rapt_status status = rapt_kv_idle(cache);
    if (status == RAPT_OK && (n_seqs < 1 || !seqs || !path))
        status = rapt_fail(RAPT_ERROR_ARGUMENT, "%s",
                           n_seqs < 1 ? "n_seqs is 0: expected at least 1"
                           : seqs     ? "path is NULL"
                                      : "seqs is NULL");
    if (status != RAPT_OK)
        return status;
    struct saving saving = {.cache = cache, .n_seqs = n_seqs};
    status = save(&saving, seqs, path);
    finish_saving(&saving);
    return status;
}

/* ----------------------------------------------------------------------------------------- load */

struct loading {
    rapt_easy_cache *cache;
    struct whole_file file;
    rapt_snapshot *snapshot;
    struct kv_transfer transfer;
    uint32_t n_seqs, n_fills, capacity;
    rapt_page_fill *fills; /* of all sequences, one's after the other's */
    uint32_t *fill_seqs;   /* whose each is */
    struct kv_page *pages; /* of a batch */
    uint8_t *contents;
    uint64_t contents_bytes;
};

static rapt_status open_snapshot(struct loading *loading, const char *path)
{
    rapt_easy_cache *cache = loading->cache;
    rapt_status status = rapt_whole_file_open(path, &loading->file);
    if (status != RAPT_OK)
        return status;
    rapt_snapshot_read_params params = {.struct_size = sizeof params,
                                        .allocator = cache->allocator,
                                        .geometry = &cache->geometry,
                                        .n_bytes = loading->file.n_bytes,
                                        .user = &loading->file,
                                        .read = rapt_whole_file_read};
    status = rapt_snapshot_open(&params, &loading->snapshot);
    if (status != RAPT_OK)
        return rapt_fail(status, "%s: %s", path, rapt_last_error());
    loading->n_seqs = rapt_snapshot_n_seqs(loading->snapshot);
    return RAPT_OK;
}

/* All memory the rest takes, so that nothing can fail for want of it once pages are taken. */
static rapt_status make_room(struct loading *loading)
{
    rapt_easy_cache *cache = loading->cache;
    uint64_t n_pages = 0, largest = 0, total = 0;
    for (uint32_t i = 0; i < loading->n_seqs; i++) {
        rapt_seq_image image = {.struct_size = sizeof image};
        rapt_status status = rapt_snapshot_seq(loading->snapshot, i, &image);
        if (status == RAPT_OK && image.n_tokens > cache->params.max_kv_len)
            status = rapt_fail(RAPT_ERROR_CAPACITY,
                               "sequence %u has %u tokens: the cache was made for max_kv_len %u", i,
                               image.n_tokens, cache->params.max_kv_len);
        if (status != RAPT_OK)
            return status;
        n_pages += rapt_kv_pages_of(cache, image.n_tokens);
    }
    for (uint32_t g = 0; g < cache->params.n_groups; g++) {
        uint64_t page_bytes = cache->groups[g].page_bytes;
        largest = page_bytes > largest ? page_bytes : largest;
        total = rapt_add_sat(total, rapt_mul_sat(n_pages, page_bytes));
    }
    n_pages *= cache->params.n_groups;
    if (n_pages > UINT32_MAX / 2)
        return rapt_fail(RAPT_ERROR_HOST_MEMORY, "%llu pages are too many",
                         (unsigned long long)n_pages);
    loading->capacity = (uint32_t)n_pages;
    loading->contents_bytes = total < BATCH_BYTES ? total : BATCH_BYTES;
    if (loading->contents_bytes < largest)
        loading->contents_bytes = largest;
    loading->fills = rapt_alloc(cache->allocator, loading->capacity, sizeof *loading->fills);
    loading->fill_seqs =
        rapt_alloc(cache->allocator, loading->capacity, sizeof *loading->fill_seqs);
    loading->pages = rapt_alloc(cache->allocator, loading->capacity, sizeof *loading->pages);
    loading->contents = rapt_alloc(cache->allocator, (size_t)loading->contents_bytes, 1);
    if (!loading->fills || !loading->fill_seqs || !loading->pages || !loading->contents)
        return rapt_fail(RAPT_ERROR_HOST_MEMORY, "out of host memory to restore %u sequences",
                         loading->n_seqs);
    return rapt_kv_transfer_begin(cache, loading->contents_bytes, &loading->transfer);
}

static rapt_status import_seq(struct loading *loading, uint32_t i, rapt_seq *out_seq)
{
    rapt_seq_image image = {.struct_size = sizeof image};
    uint32_t n = 0;
    rapt_status status = rapt_snapshot_seq(loading->snapshot, i, &image);
    if (status == RAPT_OK)
        status =
            rapt_pager_import(loading->cache->pager, &image, loading->capacity - loading->n_fills,
                              loading->fills + loading->n_fills, &n, out_seq);
    if (status != RAPT_OK)
        return status;
    for (uint32_t j = 0; j < n; j++)
        loading->fill_seqs[loading->n_fills++] = i;
    return RAPT_OK;
}

static rapt_status read_fill(struct loading *loading, uint32_t i, uint8_t *contents)
{
    const rapt_page_fill *fill = &loading->fills[i];
    uint32_t page = RAPT_SNAPSHOT_NO_PAGE;
    rapt_status status = rapt_snapshot_find_page(loading->snapshot, loading->fill_seqs[i],
                                                 fill->group, fill->index, &page);
    if (status == RAPT_OK && page == RAPT_SNAPSHOT_NO_PAGE)
        status =
            rapt_fail(RAPT_ERROR_ARGUMENT,
                      "the snapshot lacks page %u of group %u of sequence %u, which its window "
                      "sees",
                      fill->index, fill->group, loading->fill_seqs[i]);
    return status == RAPT_OK
               ? rapt_snapshot_read_page(loading->snapshot, fill->group, page, contents)
               : status;
}

static rapt_status upload(struct loading *loading)
{
    rapt_status status = RAPT_OK;
    for (uint32_t first = 0; status == RAPT_OK && first < loading->n_fills;) {
        uint64_t at = 0;
        uint32_t n = 0;
        for (; status == RAPT_OK && first + n < loading->n_fills; n++) {
            const rapt_page_fill *fill = &loading->fills[first + n];
            uint64_t page_bytes = loading->cache->groups[fill->group].page_bytes;
            if (at + page_bytes > loading->contents_bytes)
                break;
            status = read_fill(loading, first + n, loading->contents + at);
            loading->pages[n] = (struct kv_page){fill->group, fill->page, loading->contents + at};
            at += page_bytes;
        }
        if (status == RAPT_OK)
            status = rapt_kv_transfer_run(&loading->transfer, n, loading->pages, 1);
        first += n;
    }
    return status;
}

static rapt_status load(struct loading *loading, const char *path, uint32_t capacity,
                        rapt_seq *out_seqs, uint32_t *out_n)
{
    rapt_pager *pager = loading->cache->pager;
    rapt_status status = open_snapshot(loading, path);
    if (status != RAPT_OK)
        return status;
    *out_n = loading->n_seqs;
    if (loading->n_seqs > capacity)
        return rapt_fail(RAPT_ERROR_CAPACITY, "capacity is %u: %s holds %u sequences", capacity,
                         path, loading->n_seqs);
    status = make_room(loading);
    if (status != RAPT_OK)
        return status;
    uint32_t n = 0;
    while (status == RAPT_OK && n < loading->n_seqs) {
        status = import_seq(loading, n, &out_seqs[n]);
        n += status == RAPT_OK;
    }
    char why[512];
    strncpy(why, rapt_last_error(), sizeof why - 1);
    why[sizeof why - 1] = 0;
    /* Even if not all found room: what the prefix cache keeps of those that did must be real. */
    rapt_status uploaded = upload(loading);
    if (uploaded != RAPT_OK)
        return rapt_kv_seq_drop(loading->cache, n, out_seqs, uploaded);
    for (uint32_t i = 0; status != RAPT_OK && i < n; i++)
        rapt_pager_close(pager, out_seqs[i]);
    return status == RAPT_OK ? status : rapt_fail(status, "%s", why);
}

rapt_status rapt_easy_cache_load(rapt_easy_cache *cache, const char *path, uint32_t capacity,
                                 rapt_seq *out_seqs, uint32_t *out_n)
{
    rapt_status status = rapt_kv_idle(cache);
    if (status == RAPT_OK && (!path || !out_n || (!out_seqs && capacity > 0)))
        status = rapt_fail(RAPT_ERROR_ARGUMENT, "%s is NULL",
                           !path   ? "path"
                           : out_n ? "out_seqs"
                                   : "out_n");
    if (status != RAPT_OK)
        return status;
    *out_n = 0;
    struct loading loading = {.cache = cache};
    status = load(&loading, path, capacity, out_seqs, out_n);
    rapt_kv_transfer_end(&loading.transfer);
    rapt_snapshot_close(&loading.snapshot);
    rapt_whole_file_close(&loading.file);
    rapt_free(cache->allocator, loading.fills);
    rapt_free(cache->allocator, loading.fill_seqs);
    rapt_free(cache->allocator, loading.pages);
    rapt_free(cache->allocator, loading.contents);
    return status;
}
