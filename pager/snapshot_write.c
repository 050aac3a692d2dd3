/* SPDX-License-Identifier: Apache-2.0 */
#include <rapt/pager.h>

#include "checked.h"
#include "error.h"
#include "snapshot_format.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <stdlib.h>
#include <string.h>

/* One page a sequence names; sorted by page, then as they come. */
struct use {
    uint32_t page;
    uint32_t n_tokens; /* of it in use */
    uint64_t at;       /* where in the contents its number belongs */
};

struct writer {
    const rapt_snapshot_write_params *params;
    const rapt_snapshot_geometry *geometry;
    uint8_t *contents;
    size_t n_contents; /* bytes so far */
    uint64_t n_uses[RAPT_PAGER_MAX_GROUPS];
    struct use *uses[RAPT_PAGER_MAX_GROUPS]; /* later the distinct pages */
    uint32_t n_pages[RAPT_PAGER_MAX_GROUPS];
    XXH3_state_t hash;
};

static uint32_t pages_of(uint32_t n_tokens, uint32_t page_size)
{
    return n_tokens / page_size + (n_tokens % page_size != 0);
}

static rapt_status check_images(const rapt_snapshot_write_params *params)
{
    for (uint32_t i = 0; i < params->n_seqs; i++) {
        const rapt_seq_image *image = &params->images[i];
        if (image->struct_size != sizeof *image)
            return rapt_fail(RAPT_ERROR_ARGUMENT,
                             "images[%u].struct_size is %zu: set it to sizeof(rapt_seq_image)", i,
                             image->struct_size);
        if (image->n_known > image->n_tokens || (image->n_known > 0 && !image->tokens))
            return rapt_fail(
                RAPT_ERROR_ARGUMENT,
                "images[%u].n_known is %u of %u tokens%s: expected at most as many, and "
                "their ids",
                i, image->n_known, image->n_tokens, image->tokens ? "" : ", tokens is NULL");
    }
    return RAPT_OK;
}

static rapt_status check_tables(const rapt_snapshot_write_params *params,
                                const rapt_snapshot_geometry *geometry)
{
    for (uint32_t g = 0; g < geometry->n_groups; g++) {
        const rapt_block_tables *tables = &params->tables[g];
        if (tables->struct_size != sizeof *tables)
            return rapt_fail(RAPT_ERROR_ARGUMENT,
                             "tables[%u].struct_size is %zu: set it to sizeof(rapt_block_tables)",
                             g, tables->struct_size);
        if (params->n_seqs > 0 && (!tables->page_indptr || !tables->page_indices))
            return rapt_fail(RAPT_ERROR_ARGUMENT, "tables[%u].%s is NULL", g,
                             tables->page_indptr ? "page_indices" : "page_indptr");
        for (uint32_t i = 0; i < params->n_seqs; i++) {
            uint32_t needs = pages_of(params->images[i].n_tokens, geometry->page_size);
            uint32_t first = tables->page_indptr[i], end = tables->page_indptr[i + 1];
            if (end < first || end - first < needs)
                return rapt_fail(RAPT_ERROR_SHAPE,
                                 "tables[%u] holds pages [%u, %u) for images[%u], whose %u tokens "
                                 "take %u",
                                 g, first, end, i, params->images[i].n_tokens, needs);
        }
    }
    return RAPT_OK;
}

static rapt_status check(const rapt_snapshot_write_params *params,
                         const rapt_snapshot_geometry *geometry)
{
    if (!params->write || !params->read_pages)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s is NULL", params->write ? "read_pages" : "write");
    if (params->n_seqs > SNAPSHOT_MAX_SEQS)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "n_seqs is %u: expected at most %u", params->n_seqs,
                         SNAPSHOT_MAX_SEQS);
    if (params->n_seqs > 0 && (!params->images || !params->tables))
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s is NULL", params->images ? "tables" : "images");
    rapt_status status = rapt_snapshot_check_geometry(geometry);
    if (status == RAPT_OK)
        status = check_images(params);
    if (status == RAPT_OK && params->n_seqs > 0)
        status = check_tables(params, geometry);
    return status;
}

static void put(struct writer *writer, const void *data, size_t n_bytes)
{
    memcpy(writer->contents + writer->n_contents, data, n_bytes);
    writer->n_contents += n_bytes;
}

static void put_u32(struct writer *writer, uint32_t value)
{
    put(writer, &value, sizeof value);
}

static void put_u64(struct writer *writer, uint64_t value)
{
    put(writer, &value, sizeof value);
}

static void put_geometry(struct writer *writer)
{
    const rapt_snapshot_geometry *geometry = writer->geometry;
    put_u64(writer, geometry->model_key);
    put_u32(writer, geometry->page_size);
    put_u32(writer, geometry->undo_tokens);
    put_u32(writer, (uint32_t)geometry->kv_type);
    put_u32(writer, (uint32_t)geometry->scale_type);
    put_u32(writer, (uint32_t)geometry->scale_kind);
    put_u32(writer, geometry->n_groups);
    for (uint32_t g = 0; g < geometry->n_groups; g++) {
        const rapt_snapshot_group *group = &geometry->groups[g];
        put_u32(writer, group->window);
        put_u32(writer, group->sink_tokens);
        put_u32(writer, group->n_layers);
        put_u32(writer, group->n_kv_heads);
        put_u32(writer, group->head_dim);
        put_u32(writer, group->head_dim_v);
        put_u32(writer, group->k_row_bytes);
        put_u32(writer, group->v_row_bytes);
        put_u64(writer, group->page_bytes);
    }
}

/* Tokens and tables of a sequence; the numbers of its pages follow when all are known. */
static void put_seq(struct writer *writer, uint32_t seq)
{
    const rapt_seq_image *image = &writer->params->images[seq];
    uint32_t page_size = writer->geometry->page_size;
    put_u64(writer, image->extra_key);
    put_u32(writer, image->n_tokens);
    put_u32(writer, image->n_known);
    if (image->n_known > 0)
        put(writer, image->tokens, image->n_known * sizeof *image->tokens);
    for (uint32_t g = 0; g < writer->geometry->n_groups; g++) {
        const rapt_block_tables *tables = &writer->params->tables[g];
        uint32_t n = pages_of(image->n_tokens, page_size);
        for (uint32_t i = 0; i < n; i++) {
            uint32_t page = tables->page_indices[tables->page_indptr[seq] + i];
            if (writer->geometry->groups[g].window == 0 || page != 0) {
                uint32_t left = image->n_tokens - i * page_size;
                writer->uses[g][writer->n_uses[g]++] =
                    (struct use){page, left < page_size ? left : page_size, writer->n_contents};
            }
            put_u32(writer, RAPT_SNAPSHOT_NO_PAGE);
        }
    }
}

static int compare_uses(const void *a, const void *b)
{
    const struct use *x = a, *y = b;
    if (x->page != y->page)
        return x->page < y->page ? -1 : 1;
    return x->at < y->at ? -1 : x->at > y->at;
}

/* Numbers a group's pages in the order of the pool, which is kindest to whoever copies them. */
static void number_pages(struct writer *writer, uint32_t group)
{
    struct use *uses = writer->uses[group];
    uint64_t n = writer->n_uses[group];
    uint32_t n_pages = 0;
    qsort(uses, (size_t)n, sizeof *uses, compare_uses);
    for (uint64_t i = 0; i < n; i++) {
        struct use use = uses[i];
        if (n_pages == 0 || uses[n_pages - 1].page != use.page)
            uses[n_pages++] = use;
        else if (use.n_tokens > uses[n_pages - 1].n_tokens)
            uses[n_pages - 1].n_tokens = use.n_tokens;
        uint32_t number = n_pages - 1;
        memcpy(writer->contents + use.at, &number, sizeof number);
    }
    writer->n_pages[group] = n_pages;
}

static rapt_status build_contents(struct writer *writer)
{
    const rapt_snapshot_write_params *params = writer->params;
    const rapt_snapshot_geometry *geometry = writer->geometry;
    uint32_t n_groups = geometry->n_groups;
    uint64_t n_bytes = 32 + 40 * (uint64_t)n_groups + 4 + 4 * (uint64_t)n_groups, n_uses = 0;
    for (uint32_t i = 0; i < params->n_seqs; i++) {
        uint32_t n_pages = pages_of(params->images[i].n_tokens, geometry->page_size);
        n_bytes += SNAPSHOT_SEQ_BYTES + 4 * (uint64_t)params->images[i].n_known +
                   4 * (uint64_t)n_groups * n_pages;
        n_uses += n_pages;
    }
    if (n_bytes > SIZE_MAX / 2 || n_uses > SIZE_MAX / 2)
        return rapt_fail(RAPT_ERROR_HOST_MEMORY, "%llu bytes of tokens and tables do not fit",
                         (unsigned long long)n_bytes);
    writer->contents = rapt_alloc(params->allocator, (size_t)n_bytes, 1);
    for (uint32_t g = 0; g < n_groups && writer->contents; g++) {
        writer->uses[g] = rapt_alloc(params->allocator, (size_t)n_uses, sizeof **writer->uses);
        if (!writer->uses[g])
            break;
    }
    if (!writer->contents || !writer->uses[n_groups - 1])
        return rapt_fail(RAPT_ERROR_HOST_MEMORY, "out of host memory for a snapshot's tables");
    put_geometry(writer);
    put_u32(writer, params->n_seqs);
    size_t counts = writer->n_contents;
    writer->n_contents += 4 * n_groups;
    for (uint32_t i = 0; i < params->n_seqs; i++)
        put_seq(writer, i);
    for (uint32_t g = 0; g < n_groups; g++) {
        number_pages(writer, g);
        memcpy(writer->contents + counts + 4 * g, &writer->n_pages[g], 4);
    }
    return RAPT_OK;
}

static rapt_status emit(struct writer *writer, const void *data, size_t n_bytes)
{
    XXH3_64bits_update(&writer->hash, data, n_bytes);
    return writer->params->write(writer->params->user, data, n_bytes);
}

static rapt_status emit_header(struct writer *writer)
{
    struct snapshot_header header = {
        .order = SNAPSHOT_ORDER, .version = SNAPSHOT_VERSION, .contents_bytes = writer->n_contents};
    memcpy(header.magic, SNAPSHOT_MAGIC, sizeof header.magic);
    header.n_bytes = sizeof header + writer->n_contents + sizeof(struct snapshot_end);
    for (uint32_t g = 0; g < writer->geometry->n_groups; g++)
        header.n_bytes =
            rapt_add_sat(header.n_bytes, rapt_mul_sat(writer->n_pages[g],
                                                      writer->geometry->groups[g].page_bytes + 8));
    header.contents_hash = XXH3_64bits(writer->contents, writer->n_contents);
    header.header_hash = XXH3_64bits(&header, offsetof(struct snapshot_header, header_hash));
    rapt_status status = emit(writer, &header, sizeof header);
    return status == RAPT_OK ? emit(writer, writer->contents, writer->n_contents) : status;
}

/* A batch in memory: page numbers, tokens in use, contents. */
struct batch {
    uint32_t *pages, *n_tokens;
    uint8_t *contents;
    uint32_t capacity;
};

static rapt_status emit_batch(struct writer *writer, uint32_t group, const struct use *uses,
                              uint32_t n, struct batch *batch)
{
    size_t page_bytes = (size_t)writer->geometry->groups[group].page_bytes;
    for (uint32_t i = 0; i < n; i++) {
        batch->pages[i] = uses[i].page;
        batch->n_tokens[i] = uses[i].n_tokens;
    }
    rapt_status status = writer->params->read_pages(writer->params->user, group, n, batch->pages,
                                                    batch->n_tokens, batch->contents);
    for (uint32_t i = 0; status == RAPT_OK && i < n; i++) {
        const uint8_t *page = batch->contents + i * page_bytes;
        uint64_t hash = XXH3_64bits(page, page_bytes);
        status = emit(writer, page, page_bytes);
        if (status == RAPT_OK)
            status = emit(writer, &hash, sizeof hash);
    }
    return status;
}

static rapt_status emit_pages(struct writer *writer, uint32_t group)
{
    const rapt_allocator *allocator = writer->params->allocator;
    uint64_t page_bytes = writer->geometry->groups[group].page_bytes;
    uint64_t budget = writer->params->batch_bytes ? writer->params->batch_bytes : 16u << 20;
    uint64_t capacity = budget / page_bytes;
    uint32_t n = writer->n_pages[group];
    if (n == 0)
        return RAPT_OK;
    if (capacity < 1)
        capacity = 1;
    struct batch batch = {.capacity = capacity < n ? (uint32_t)capacity : n};
    if (page_bytes <= SIZE_MAX / 2) {
        batch.pages = rapt_alloc(allocator, batch.capacity, sizeof *batch.pages);
        batch.n_tokens = rapt_alloc(allocator, batch.capacity, sizeof *batch.n_tokens);
        batch.contents = rapt_alloc(allocator, batch.capacity, (size_t)page_bytes);
    }
    rapt_status status = RAPT_OK;
    if (!batch.pages || !batch.n_tokens || !batch.contents)
        status = rapt_fail(RAPT_ERROR_HOST_MEMORY, "out of host memory for %u pages of %llu bytes",
                           batch.capacity, (unsigned long long)page_bytes);
    for (uint32_t i = 0; status == RAPT_OK && i < n; i += batch.capacity)
        status = emit_batch(writer, group, writer->uses[group] + i,
                            n - i < batch.capacity ? n - i : batch.capacity, &batch);
    rapt_free(allocator, batch.pages);
    rapt_free(allocator, batch.n_tokens);
    rapt_free(allocator, batch.contents);
    return status;
}

static rapt_status emit_all(struct writer *writer)
{
    XXH3_64bits_reset(&writer->hash);
    rapt_status status = emit_header(writer);
    for (uint32_t g = 0; status == RAPT_OK && g < writer->geometry->n_groups; g++)
        status = emit_pages(writer, g);
    struct snapshot_end end = {.hash = XXH3_64bits_digest(&writer->hash)};
    memcpy(end.magic, SNAPSHOT_END_MAGIC, sizeof end.magic);
    return status == RAPT_OK ? emit(writer, &end, sizeof end) : status;
}

rapt_status rapt_snapshot_write(const rapt_snapshot_write_params *caller)
{
    rapt_snapshot_write_params params;
    rapt_snapshot_geometry geometry;
    rapt_status status =
        rapt_params_read("rapt_snapshot_write_params", caller, &params, sizeof params);
    if (status == RAPT_OK)
        status = rapt_params_read("geometry", params.geometry, &geometry, sizeof geometry);
    if (status == RAPT_OK)
        status = check(&params, &geometry);
    if (status != RAPT_OK)
        return status;
    struct writer writer = {.params = &params, .geometry = &geometry};
    status = build_contents(&writer);
    if (status == RAPT_OK)
        status = emit_all(&writer);
    for (uint32_t g = 0; g < geometry.n_groups; g++)
        rapt_free(params.allocator, writer.uses[g]);
    rapt_free(params.allocator, writer.contents);
    return status;
}
