/* SPDX-License-Identifier: Apache-2.0 */
/* Sequences that leave device memory and come back: to host memory here, to files in kv_file.c. */
#include "kv_swap.h"

#include <string.h>

#define NO_CONTENTS UINT64_MAX

struct rapt_easy_image {
    rapt_allocator allocator_copy;
    const rapt_allocator *allocator;
    rapt_snapshot_geometry geometry;
    rapt_seq_image seq;
    int32_t *tokens;
    uint32_t n_pages; /* of each group's table */
    uint64_t *places; /* u64[n_groups][n_pages]: in the contents, or NO_CONTENTS */
    uint8_t *contents;
    uint64_t n_bytes;
};

/* ------------------------------------------------------------------------- what both files share
 */

rapt_status rapt_kv_seq_read(rapt_easy_cache *cache, rapt_seq seq, rapt_seq_image *out_image,
                             int32_t **out_tokens)
{
    rapt_seq_info info = {.struct_size = sizeof info};
    uint32_t n = 0;
    *out_tokens = NULL;
    rapt_status status = rapt_pager_seq_get_info(cache->pager, seq, &info);
    if (status == RAPT_OK && info.n_tree > 0)
        status = rapt_fail(RAPT_ERROR_ARGUMENT,
                           "the sequence has a tree of %u nodes: commit a branch of it first",
                           info.n_tree);
    if (status != RAPT_OK)
        return status;
    *out_tokens = rapt_alloc(cache->allocator, info.n_known, sizeof **out_tokens);
    if (!*out_tokens)
        return rapt_fail(RAPT_ERROR_HOST_MEMORY, "out of host memory for %u tokens", info.n_known);
    status = rapt_pager_seq_tokens(cache->pager, seq, info.n_known, *out_tokens, &n);
    *out_image = (rapt_seq_image){.struct_size = sizeof *out_image,
                                  .n_tokens = info.n_tokens,
                                  .n_known = info.n_known,
                                  .extra_key = info.extra_key,
                                  .tokens = *out_tokens};
    return status;
}

uint32_t rapt_kv_pages_of(const rapt_easy_cache *cache, uint32_t n_tokens)
{
    uint32_t page_size = cache->params.page_size;
    return n_tokens / page_size + (n_tokens % page_size != 0);
}

rapt_status rapt_kv_seq_drop(rapt_easy_cache *cache, uint32_t n_seqs, const rapt_seq *seqs,
                             rapt_status status)
{
    char why[512];
    strncpy(why, rapt_last_error(), sizeof why - 1);
    why[sizeof why - 1] = 0;
    for (uint32_t i = 0; i < n_seqs; i++)
        rapt_pager_close(cache->pager, seqs[i]);
    rapt_pager_drop_cache(cache->pager);
    return rapt_fail(status, "%s", why);
}

/* ------------------------------------------------------------------------------------- swap out */

/* The pages of the sequence that have contents, each with its place in the image. */
static rapt_status list_pages(rapt_easy_cache *cache, rapt_seq seq, rapt_easy_image *image,
                              struct kv_page **out_pages, uint32_t *out_n)
{
    uint32_t n_groups = cache->params.n_groups, n = 0;
    size_t n_places = (size_t)n_groups * image->n_pages;
    image->places = rapt_alloc(image->allocator, n_places, sizeof *image->places);
    *out_pages = rapt_alloc(cache->allocator, n_places, sizeof **out_pages);
    if (!image->places || !*out_pages)
        return rapt_fail(RAPT_ERROR_HOST_MEMORY, "out of host memory for the image of a sequence");
    for (uint32_t g = 0; g < n_groups; g++) {
        struct kv_group *group = &cache->groups[g];
        rapt_status status = rapt_pager_tables(cache->pager, g, 1, &seq, &group->block_tables);
        if (status != RAPT_OK)
            return status;
        for (uint32_t i = 0; i < image->n_pages; i++) {
            uint32_t page = group->block_tables.page_indices[i];
            uint64_t *place = &image->places[(size_t)g * image->n_pages + i];
            *place = NO_CONTENTS;
            if (group->window > 0 && page == 0)
                continue;
            *place = image->n_bytes;
            image->n_bytes += group->page_bytes;
            (*out_pages)[n++] = (struct kv_page){.group = g, .page = page};
        }
    }
    if (image->n_bytes <= SIZE_MAX / 2)
        image->contents = rapt_alloc(image->allocator, (size_t)image->n_bytes, 1);
    if (!image->contents)
        return rapt_fail(RAPT_ERROR_HOST_MEMORY,
                         "%llu bytes of host memory for a sequence's pages "
                         "are not to be had",
                         (unsigned long long)image->n_bytes);
    uint64_t at = 0;
    for (uint32_t i = 0; i < n; i++) {
        (*out_pages)[i].contents = image->contents + at;
        at += cache->groups[(*out_pages)[i].group].page_bytes;
    }
    *out_n = n;
    return RAPT_OK;
}

static rapt_status swap_out(rapt_easy_cache *cache, rapt_seq seq, rapt_easy_image *image)
{
    struct kv_page *pages = NULL;
    struct kv_transfer transfer = {0};
    uint32_t n = 0;
    rapt_status status = rapt_kv_seq_read(cache, seq, &image->seq, &image->tokens);
    image->n_pages = rapt_kv_pages_of(cache, image->seq.n_tokens);
    if (status == RAPT_OK)
        status = rapt_kv_copies_reserve(cache, 0);
    if (status == RAPT_OK)
        status = list_pages(cache, seq, image, &pages, &n);
    if (status == RAPT_OK)
        status = rapt_kv_transfer_begin(cache, image->n_bytes, &transfer);
    /* What the pager wants copied first must be where it belongs before it is read. */
    if (status == RAPT_OK)
        status = rapt_kv_copies_run(cache);
    if (status == RAPT_OK)
        status = rapt_kv_transfer_run(&transfer, n, pages, 0);
    rapt_kv_transfer_end(&transfer);
    rapt_free(cache->allocator, pages);
    return status == RAPT_OK ? rapt_pager_close(cache->pager, seq) : status;
}

rapt_status rapt_easy_cache_swap_out(rapt_easy_cache *cache, rapt_seq seq,
                                     rapt_easy_image **out_image)
{
    if (!out_image)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "out_image is NULL");
    *out_image = NULL;
    rapt_status status = rapt_kv_idle(cache);
    if (status != RAPT_OK)
        return status;
    rapt_easy_image *image = rapt_alloc(cache->allocator, 1, sizeof *image);
    if (!image)
        return rapt_fail(RAPT_ERROR_HOST_MEMORY, "out of host memory for the image of a sequence");
    if (cache->allocator) {
        image->allocator_copy = *cache->allocator;
        image->allocator = &image->allocator_copy;
    }
    image->geometry = cache->geometry;
    status = swap_out(cache, seq, image);
    if (status != RAPT_OK)
        rapt_easy_image_destroy(&image);
    *out_image = image;
    return status;
}

/* -------------------------------------------------------------------------------------- swap in */

static rapt_status swap_in(rapt_easy_cache *cache, const rapt_easy_image *image,
                           struct kv_transfer *transfer, rapt_page_fill *fills,
                           struct kv_page *pages, uint32_t capacity, rapt_seq *out_seq)
{
    uint32_t n = 0;
    rapt_status status = rapt_pager_import(cache->pager, &image->seq, capacity, fills, &n, out_seq);
    if (status != RAPT_OK)
        return status;
    for (uint32_t i = 0; status == RAPT_OK && i < n; i++) {
        uint64_t place = image->places[(size_t)fills[i].group * image->n_pages + fills[i].index];
        pages[i] = (struct kv_page){fills[i].group, fills[i].page, image->contents + place};
        if (place == NO_CONTENTS)
            status = rapt_fail(RAPT_ERROR_INTERNAL, "page %u of group %u is not in the image",
                               fills[i].index, fills[i].group);
    }
    if (status == RAPT_OK)
        status = rapt_kv_transfer_run(transfer, n, pages, 1);
    return status == RAPT_OK ? status : rapt_kv_seq_drop(cache, 1, out_seq, status);
}

rapt_status rapt_easy_cache_swap_in(rapt_easy_cache *cache, rapt_easy_image **image,
                                    rapt_seq *out_seq)
{
    rapt_status status = rapt_kv_idle(cache);
    if (status == RAPT_OK && (!image || !*image || !out_seq))
        status = rapt_fail(RAPT_ERROR_ARGUMENT, "%s is NULL", out_seq ? "image" : "out_seq");
    if (status == RAPT_OK && memcmp(&(*image)->geometry, &cache->geometry, sizeof cache->geometry))
        status = rapt_fail(RAPT_ERROR_SHAPE, "the image is of a cache with other layers or pages");
    if (status == RAPT_OK && (*image)->seq.n_tokens > cache->params.max_kv_len)
        status = rapt_fail(RAPT_ERROR_CAPACITY,
                           "the image has %u tokens: the cache was made for max_kv_len %u",
                           (*image)->seq.n_tokens, cache->params.max_kv_len);
    if (status != RAPT_OK)
        return status;
    uint32_t capacity = (*image)->n_pages * cache->params.n_groups;
    rapt_page_fill *fills = rapt_alloc(cache->allocator, capacity, sizeof *fills);
    struct kv_page *pages = rapt_alloc(cache->allocator, capacity, sizeof *pages);
    struct kv_transfer transfer = {0};
    if (!fills || !pages)
        status = rapt_fail(RAPT_ERROR_HOST_MEMORY, "out of host memory for %u pages", capacity);
    if (status == RAPT_OK)
        status = rapt_kv_transfer_begin(cache, (*image)->n_bytes, &transfer);
    if (status == RAPT_OK)
        status = swap_in(cache, *image, &transfer, fills, pages, capacity, out_seq);
    rapt_kv_transfer_end(&transfer);
    rapt_free(cache->allocator, fills);
    rapt_free(cache->allocator, pages);
    if (status == RAPT_OK)
        rapt_easy_image_destroy(image);
    return status;
}

uint64_t rapt_easy_image_bytes(const rapt_easy_image *image)
{
    return image ? sizeof *image + image->n_bytes +
                       image->seq.n_known * (uint64_t)sizeof *image->tokens +
                       image->geometry.n_groups * (uint64_t)image->n_pages * sizeof *image->places
                 : 0;
}

void rapt_easy_image_destroy(rapt_easy_image **handle)
{
    if (!handle || !*handle)
        return;
    rapt_easy_image *image = *handle;
    *handle = NULL;
    rapt_free(image->allocator, image->tokens);
    rapt_free(image->allocator, image->places);
    rapt_free(image->allocator, image->contents);
    /* The allocator lies in what it frees. */
    rapt_allocator allocator = image->allocator_copy;
    rapt_free(image->allocator ? &allocator : NULL, image);
}
