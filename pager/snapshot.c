/* SPDX-License-Identifier: Apache-2.0 */
/* Reads snapshots. Nothing in one is believed before its checksum is right, and no number even
 * then: whoever can make a file can make its checksums. */
#include "snapshot_format.h"

#include "checked.h"
#include "error.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

struct rapt_snapshot {
    rapt_allocator allocator_copy;
    const rapt_allocator *allocator; /* points at the copy, or NULL */
    rapt_snapshot_read_params params;
    rapt_snapshot_geometry geometry;
    uint8_t *contents;
    size_t n_contents;
    uint64_t *seqs; /* where each begins in the contents */
    uint32_t n_seqs;
    uint32_t n_pages[RAPT_PAGER_MAX_GROUPS];
    uint64_t first_page[RAPT_PAGER_MAX_GROUPS]; /* where each group's pages begin in the stream */
};

#define FAIL_DAMAGED(...) rapt_fail(RAPT_ERROR_ARGUMENT, "the snapshot is damaged: " __VA_ARGS__)

static rapt_status check_group(const rapt_snapshot_geometry *geometry, uint32_t g)
{
    const rapt_snapshot_group *group = &geometry->groups[g];
    if (group->page_bytes < 1 || group->page_bytes > SNAPSHOT_MAX_PAGE_BYTES)
        return rapt_fail(RAPT_ERROR_ARGUMENT,
                         "geometry.groups[%u].page_bytes is %llu: expected 1 to 2^40", g,
                         (unsigned long long)group->page_bytes);
    return RAPT_OK;
}

rapt_status rapt_snapshot_check_geometry(const rapt_snapshot_geometry *geometry)
{
    uint32_t page_size = geometry->page_size;
    if (page_size < 1 || page_size > 256 || (page_size & (page_size - 1)) != 0)
        return rapt_fail(RAPT_ERROR_ARGUMENT,
                         "geometry.page_size is %u: expected a power of two from 1 to 256",
                         page_size);
    if (geometry->n_groups < 1 || geometry->n_groups > RAPT_PAGER_MAX_GROUPS)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "geometry.n_groups is %u: expected 1 to %d",
                         geometry->n_groups, RAPT_PAGER_MAX_GROUPS);
    rapt_status status = RAPT_OK;
    for (uint32_t g = 0; status == RAPT_OK && g < geometry->n_groups; g++)
        status = check_group(geometry, g);
    return status;
}

/* ------------------------------------------------------------------------------------ geometry */

static rapt_status compare(const char *what, uint64_t has, uint64_t expected)
{
    if (has == expected)
        return RAPT_OK;
    return rapt_fail(RAPT_ERROR_SHAPE, "the snapshot's %s is %llu, here it is %llu", what,
                     (unsigned long long)has, (unsigned long long)expected);
}

static rapt_status compare_group(const rapt_snapshot_group *has,
                                 const rapt_snapshot_group *expected)
{
    rapt_status status = compare("window", has->window, expected->window);
    if (status == RAPT_OK)
        status = compare("sink_tokens", has->sink_tokens, expected->sink_tokens);
    if (status == RAPT_OK)
        status = compare("n_layers", has->n_layers, expected->n_layers);
    if (status == RAPT_OK)
        status = compare("n_kv_heads", has->n_kv_heads, expected->n_kv_heads);
    if (status == RAPT_OK)
        status = compare("head_dim", has->head_dim, expected->head_dim);
    if (status == RAPT_OK)
        status = compare("head_dim_v", has->head_dim_v, expected->head_dim_v);
    if (status == RAPT_OK)
        status = compare("k_row_bytes", has->k_row_bytes, expected->k_row_bytes);
    if (status == RAPT_OK)
        status = compare("v_row_bytes", has->v_row_bytes, expected->v_row_bytes);
    if (status == RAPT_OK)
        status = compare("page_bytes", has->page_bytes, expected->page_bytes);
    return status;
}

static rapt_status compare_geometry(const rapt_snapshot_geometry *has,
                                    const rapt_snapshot_geometry *expected)
{
    rapt_status status = compare("page_size", has->page_size, expected->page_size);
    if (status == RAPT_OK)
        status = compare("undo_tokens", has->undo_tokens, expected->undo_tokens);
    if (status == RAPT_OK)
        status = compare("kv_type", (uint64_t)has->kv_type, (uint64_t)expected->kv_type);
    if (status == RAPT_OK)
        status = compare("scale_type", (uint64_t)has->scale_type, (uint64_t)expected->scale_type);
    if (status == RAPT_OK)
        status = compare("scale_kind", (uint64_t)has->scale_kind, (uint64_t)expected->scale_kind);
    if (status == RAPT_OK)
        status = compare("n_groups", has->n_groups, expected->n_groups);
    for (uint32_t g = 0; status == RAPT_OK && g < has->n_groups; g++)
        status = compare_group(&has->groups[g], &expected->groups[g]);
    if (status == RAPT_OK)
        status = compare("model_key", has->model_key, expected->model_key);
    return status;
}

/* ------------------------------------------------------------------------------------- parsing */

/* What is left of the contents. Reading past the end gives zeros and is remembered. */
struct cursor {
    const uint8_t *at;
    size_t left;
    int past_end;
};

static const void *take(struct cursor *cursor, uint64_t n_bytes)
{
    if (n_bytes > cursor->left) {
        cursor->past_end = 1;
        cursor->left = 0;
        return NULL;
    }
    const void *data = cursor->at;
    cursor->at += n_bytes;
    cursor->left -= (size_t)n_bytes;
    return data;
}

static uint32_t take_u32(struct cursor *cursor)
{
    uint32_t value = 0;
    const void *data = take(cursor, sizeof value);
    if (data)
        memcpy(&value, data, sizeof value);
    return value;
}

static uint64_t take_u64(struct cursor *cursor)
{
    uint64_t value = 0;
    const void *data = take(cursor, sizeof value);
    if (data)
        memcpy(&value, data, sizeof value);
    return value;
}

static rapt_status parse_geometry(rapt_snapshot *snapshot, struct cursor *cursor)
{
    rapt_snapshot_geometry *geometry = &snapshot->geometry;
    geometry->struct_size = sizeof *geometry;
    geometry->model_key = take_u64(cursor);
    geometry->page_size = take_u32(cursor);
    geometry->undo_tokens = take_u32(cursor);
    geometry->kv_type = (rapt_type)take_u32(cursor);
    geometry->scale_type = (rapt_type)take_u32(cursor);
    geometry->scale_kind = (rapt_scale_kind)take_u32(cursor);
    geometry->n_groups = take_u32(cursor);
    for (uint32_t g = 0; g < geometry->n_groups && g < RAPT_PAGER_MAX_GROUPS; g++) {
        rapt_snapshot_group *group = &geometry->groups[g];
        group->window = take_u32(cursor);
        group->sink_tokens = take_u32(cursor);
        group->n_layers = take_u32(cursor);
        group->n_kv_heads = take_u32(cursor);
        group->head_dim = take_u32(cursor);
        group->head_dim_v = take_u32(cursor);
        group->k_row_bytes = take_u32(cursor);
        group->v_row_bytes = take_u32(cursor);
        group->page_bytes = take_u64(cursor);
    }
    rapt_status status = rapt_snapshot_check_geometry(geometry);
    return status == RAPT_OK ? status : FAIL_DAMAGED("%s", rapt_last_error());
}

static uint32_t pages_of(const rapt_snapshot *snapshot, uint32_t n_tokens)
{
    uint32_t page_size = snapshot->geometry.page_size;
    return n_tokens / page_size + (n_tokens % page_size != 0);
}

static rapt_status parse_seq(rapt_snapshot *snapshot, struct cursor *cursor, uint32_t seq,
                             uint8_t *const named[])
{
    snapshot->seqs[seq] = (uint64_t)(cursor->at - snapshot->contents);
    take_u64(cursor);
    uint32_t n_tokens = take_u32(cursor), n_known = take_u32(cursor);
    take(cursor, 4 * (uint64_t)n_known);
    if (n_known > n_tokens)
        return FAIL_DAMAGED("sequence %u knows %u of %u tokens", seq, n_known, n_tokens);
    uint32_t n_pages = pages_of(snapshot, n_tokens);
    for (uint32_t g = 0; g < snapshot->geometry.n_groups; g++) {
        const uint8_t *pages = take(cursor, 4 * (uint64_t)n_pages);
        if (!pages)
            return FAIL_DAMAGED("the tables of sequence %u are cut short", seq);
        for (uint32_t i = 0; i < n_pages; i++) {
            uint32_t page;
            memcpy(&page, pages + 4 * (size_t)i, 4);
            if (page == RAPT_SNAPSHOT_NO_PAGE && snapshot->geometry.groups[g].window > 0)
                continue;
            if (page >= snapshot->n_pages[g])
                return FAIL_DAMAGED("sequence %u names page %u of %u in group %u", seq, page,
                                    snapshot->n_pages[g], g);
            named[g][page / 8] |= (uint8_t)(1u << page % 8);
        }
    }
    return RAPT_OK;
}

/* A page nobody names would be dead weight that no reader could check for sense. */
static rapt_status check_named(const rapt_snapshot *snapshot, uint8_t *const named[])
{
    for (uint32_t g = 0; g < snapshot->geometry.n_groups; g++) {
        for (uint32_t page = 0; page < snapshot->n_pages[g]; page++) {
            if (!(named[g][page / 8] >> page % 8 & 1))
                return FAIL_DAMAGED("no sequence names page %u of group %u", page, g);
        }
    }
    return RAPT_OK;
}

static rapt_status parse_seqs(rapt_snapshot *snapshot, struct cursor *cursor)
{
    uint8_t *named[RAPT_PAGER_MAX_GROUPS] = {NULL};
    uint32_t n_groups = snapshot->geometry.n_groups;
    rapt_status status = RAPT_OK;
    if (snapshot->n_seqs > cursor->left / SNAPSHOT_SEQ_BYTES)
        return FAIL_DAMAGED("%u sequences do not fit into it", snapshot->n_seqs);
    snapshot->seqs = rapt_alloc(snapshot->allocator, snapshot->n_seqs, sizeof *snapshot->seqs);
    for (uint32_t g = 0; g < n_groups; g++) {
        named[g] = rapt_alloc(snapshot->allocator, snapshot->n_pages[g] / 8 + 1, 1);
        if (!named[g] || !snapshot->seqs)
            status = rapt_fail(RAPT_ERROR_HOST_MEMORY, "out of host memory for a snapshot");
    }
    for (uint32_t i = 0; status == RAPT_OK && i < snapshot->n_seqs; i++)
        status = parse_seq(snapshot, cursor, i, named);
    if (status == RAPT_OK && (cursor->past_end || cursor->left > 0))
        status = FAIL_DAMAGED("its tables %s", cursor->past_end ? "are cut short" : "go on");
    if (status == RAPT_OK)
        status = check_named(snapshot, named);
    for (uint32_t g = 0; g < n_groups; g++)
        rapt_free(snapshot->allocator, named[g]);
    return status;
}

/* Where pages lie, and that they fill the rest of the stream exactly. */
static rapt_status place_pages(rapt_snapshot *snapshot)
{
    uint64_t at = sizeof(struct snapshot_header) + snapshot->n_contents;
    for (uint32_t g = 0; g < snapshot->geometry.n_groups; g++) {
        snapshot->first_page[g] = at;
        at = rapt_add_sat(
            at, rapt_mul_sat(snapshot->n_pages[g], snapshot->geometry.groups[g].page_bytes + 8));
    }
    if (rapt_add_sat(at, sizeof(struct snapshot_end)) != snapshot->params.n_bytes)
        return FAIL_DAMAGED("its pages take %llu bytes, it has %llu",
                            (unsigned long long)rapt_add_sat(at, sizeof(struct snapshot_end)),
                            (unsigned long long)snapshot->params.n_bytes);
    return RAPT_OK;
}

static rapt_status parse(rapt_snapshot *snapshot)
{
    struct cursor cursor = {snapshot->contents, snapshot->n_contents, 0};
    rapt_status status = parse_geometry(snapshot, &cursor);
    if (status != RAPT_OK)
        return status;
    snapshot->n_seqs = take_u32(&cursor);
    for (uint32_t g = 0; g < snapshot->geometry.n_groups; g++)
        snapshot->n_pages[g] = take_u32(&cursor);
    status = place_pages(snapshot);
    return status == RAPT_OK ? parse_seqs(snapshot, &cursor) : status;
}

/* ------------------------------------------------------------------------------------- reading */

static rapt_status read_bytes(const rapt_snapshot *snapshot, uint64_t offset, void *data,
                              size_t n_bytes)
{
    return snapshot->params.read(snapshot->params.user, offset, data, n_bytes);
}

static rapt_status check_header(const rapt_snapshot *snapshot, const struct snapshot_header *header)
{
    uint64_t n_bytes = snapshot->params.n_bytes;
    uint64_t frame = sizeof *header + sizeof(struct snapshot_end);
    if (memcmp(header->magic, SNAPSHOT_MAGIC, sizeof header->magic) != 0)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "this is not a snapshot");
    if (header->order == 0x04030201u)
        return rapt_fail(RAPT_ERROR_UNSUPPORTED,
                         "the snapshot was written by a machine of the other byte order");
    if (header->order != SNAPSHOT_ORDER)
        return FAIL_DAMAGED("its byte order is 0x%08x", header->order);
    /* Before the checksum, which a newer version may keep elsewhere. */
    if (header->version > SNAPSHOT_VERSION)
        return rapt_fail(RAPT_ERROR_UNSUPPORTED,
                         "the snapshot is of version %u, this library reads up to %u",
                         header->version, SNAPSHOT_VERSION);
    if (header->header_hash != XXH3_64bits(header, offsetof(struct snapshot_header, header_hash)) ||
        header->version == 0)
        return FAIL_DAMAGED("its header does not match its checksum");
    if (header->n_bytes != n_bytes)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "the snapshot %s: it has %llu bytes, not %llu",
                         header->n_bytes > n_bytes ? "is cut short" : "goes on behind its end",
                         (unsigned long long)n_bytes, (unsigned long long)header->n_bytes);
    if (n_bytes < frame || header->contents_bytes > n_bytes - frame)
        return FAIL_DAMAGED("its tables have %llu bytes of %llu",
                            (unsigned long long)header->contents_bytes,
                            (unsigned long long)n_bytes);
    return RAPT_OK;
}

static rapt_status read_contents(rapt_snapshot *snapshot, XXH3_state_t *hash)
{
    struct snapshot_header header;
    if (snapshot->params.n_bytes < sizeof header)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "this is not a snapshot: it has %llu bytes",
                         (unsigned long long)snapshot->params.n_bytes);
    rapt_status status = read_bytes(snapshot, 0, &header, sizeof header);
    if (status == RAPT_OK)
        status = check_header(snapshot, &header);
    if (status != RAPT_OK)
        return status;
    if (header.contents_bytes < SIZE_MAX)
        snapshot->contents = rapt_alloc(snapshot->allocator, (size_t)header.contents_bytes, 1);
    if (!snapshot->contents)
        return rapt_fail(RAPT_ERROR_HOST_MEMORY, "out of host memory for a snapshot's tables");
    snapshot->n_contents = (size_t)header.contents_bytes;
    status = read_bytes(snapshot, sizeof header, snapshot->contents, snapshot->n_contents);
    if (status == RAPT_OK &&
        XXH3_64bits(snapshot->contents, snapshot->n_contents) != header.contents_hash)
        status = FAIL_DAMAGED("its tables do not match their checksum");
    XXH3_64bits_update(hash, &header, sizeof header);
    XXH3_64bits_update(hash, snapshot->contents, snapshot->n_contents);
    return status;
}

#define PIECE_BYTES 65536u

/* One page, a piece at a time, so that a page's size costs no memory. */
static rapt_status check_page(const rapt_snapshot *snapshot, uint32_t group, uint32_t page,
                              uint8_t *piece, XXH3_state_t *page_hash, XXH3_state_t *hash)
{
    uint64_t page_bytes = snapshot->geometry.groups[group].page_bytes, expected;
    uint64_t at = snapshot->first_page[group] + page * (page_bytes + 8);
    rapt_status status = RAPT_OK;
    XXH3_64bits_reset(page_hash);
    for (uint64_t done = 0; status == RAPT_OK && done < page_bytes;) {
        size_t n = page_bytes - done < PIECE_BYTES ? (size_t)(page_bytes - done) : PIECE_BYTES;
        status = read_bytes(snapshot, at + done, piece, n);
        if (status == RAPT_OK) {
            XXH3_64bits_update(page_hash, piece, n);
            XXH3_64bits_update(hash, piece, n);
        }
        done += n;
    }
    if (status == RAPT_OK)
        status = read_bytes(snapshot, at + page_bytes, &expected, sizeof expected);
    if (status != RAPT_OK)
        return status;
    XXH3_64bits_update(hash, &expected, sizeof expected);
    if (XXH3_64bits_digest(page_hash) != expected)
        return FAIL_DAMAGED("page %u of group %u does not match its checksum", page, group);
    return RAPT_OK;
}

static rapt_status check_pages(const rapt_snapshot *snapshot, XXH3_state_t *hash)
{
    rapt_status status = RAPT_OK;
    XXH3_state_t page_hash;
    uint8_t *piece = rapt_alloc(snapshot->allocator, PIECE_BYTES, 1);
    if (!piece)
        return rapt_fail(RAPT_ERROR_HOST_MEMORY, "out of host memory to read a snapshot");
    for (uint32_t g = 0; g < snapshot->geometry.n_groups; g++) {
        for (uint32_t page = 0; status == RAPT_OK && page < snapshot->n_pages[g]; page++)
            status = check_page(snapshot, g, page, piece, &page_hash, hash);
    }
    rapt_free(snapshot->allocator, piece);
    return status;
}

static rapt_status check_end(const rapt_snapshot *snapshot, const XXH3_state_t *hash)
{
    struct snapshot_end end;
    rapt_status status =
        read_bytes(snapshot, snapshot->params.n_bytes - sizeof end, &end, sizeof end);
    if (status != RAPT_OK)
        return status;
    if (memcmp(end.magic, SNAPSHOT_END_MAGIC, sizeof end.magic) != 0)
        return FAIL_DAMAGED("it has no end mark");
    if (end.hash != XXH3_64bits_digest(hash))
        return FAIL_DAMAGED("it does not match the checksum of the whole");
    return RAPT_OK;
}

static rapt_status open_stream(rapt_snapshot *snapshot, const rapt_snapshot_geometry *expected)
{
    XXH3_state_t hash;
    XXH3_64bits_reset(&hash);
    rapt_status status = read_contents(snapshot, &hash);
    if (status == RAPT_OK)
        status = parse(snapshot);
    /* Another model's snapshot is said to be that before its pages are read. */
    if (status == RAPT_OK && expected)
        status = compare_geometry(&snapshot->geometry, expected);
    if (status == RAPT_OK)
        status = check_pages(snapshot, &hash);
    return status == RAPT_OK ? check_end(snapshot, &hash) : status;
}

rapt_status rapt_snapshot_open(const rapt_snapshot_read_params *caller,
                               rapt_snapshot **out_snapshot)
{
    if (!out_snapshot)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "out_snapshot is NULL");
    *out_snapshot = NULL;
    rapt_snapshot_read_params params;
    rapt_snapshot_geometry expected;
    rapt_status status =
        rapt_params_read("rapt_snapshot_read_params", caller, &params, sizeof params);
    if (status == RAPT_OK && !params.read)
        status = rapt_fail(RAPT_ERROR_ARGUMENT, "read is NULL");
    if (status == RAPT_OK && params.geometry) {
        status = rapt_params_read("geometry", params.geometry, &expected, sizeof expected);
        if (status == RAPT_OK)
            status = rapt_snapshot_check_geometry(&expected);
    }
    if (status != RAPT_OK)
        return status;
    rapt_snapshot *snapshot = rapt_alloc(params.allocator, 1, sizeof *snapshot);
    if (!snapshot)
        return rapt_fail(RAPT_ERROR_HOST_MEMORY, "out of host memory for a snapshot");
    if (params.allocator) {
        snapshot->allocator_copy = *params.allocator;
        snapshot->allocator = &snapshot->allocator_copy;
    }
    snapshot->params = params;
    status = open_stream(snapshot, params.geometry ? &expected : NULL);
    if (status != RAPT_OK)
        rapt_snapshot_close(&snapshot);
    *out_snapshot = snapshot;
    return status;
}

void rapt_snapshot_close(rapt_snapshot **handle)
{
    if (!handle || !*handle)
        return;
    rapt_snapshot *snapshot = *handle;
    *handle = NULL;
    rapt_free(snapshot->allocator, snapshot->contents);
    rapt_free(snapshot->allocator, snapshot->seqs);
    /* The allocator lies in what it frees. */
    rapt_allocator allocator = snapshot->allocator_copy;
    rapt_free(snapshot->allocator ? &allocator : NULL, snapshot);
}

/* ------------------------------------------------------------------------------ handing it out */

void rapt_snapshot_get_geometry(const rapt_snapshot *snapshot, rapt_snapshot_geometry *out_geometry)
{
    if (snapshot && out_geometry)
        rapt_params_write(out_geometry, &snapshot->geometry, sizeof snapshot->geometry);
}

uint32_t rapt_snapshot_n_seqs(const rapt_snapshot *snapshot)
{
    return snapshot ? snapshot->n_seqs : 0;
}

uint32_t rapt_snapshot_n_pages(const rapt_snapshot *snapshot, uint32_t group)
{
    return snapshot && group < snapshot->geometry.n_groups ? snapshot->n_pages[group] : 0;
}

static rapt_status check_seq(const rapt_snapshot *snapshot, uint32_t seq)
{
    if (!snapshot)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "snapshot is NULL");
    if (seq >= snapshot->n_seqs)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "seq is %u: the snapshot has %u", seq,
                         snapshot->n_seqs);
    return RAPT_OK;
}

/* All offsets are multiples of 4 and the contents are aligned. */
static rapt_seq_image image_of(const rapt_snapshot *snapshot, uint32_t seq)
{
    const uint8_t *at = snapshot->contents + snapshot->seqs[seq];
    rapt_seq_image image = {.struct_size = sizeof image};
    memcpy(&image.extra_key, at, 8);
    memcpy(&image.n_tokens, at + 8, 4);
    memcpy(&image.n_known, at + 12, 4);
    image.tokens = (const int32_t *)(const void *)(at + SNAPSHOT_SEQ_BYTES);
    return image;
}

rapt_status rapt_snapshot_seq(const rapt_snapshot *snapshot, uint32_t seq,
                              rapt_seq_image *out_image)
{
    rapt_status status = check_seq(snapshot, seq);
    if (status == RAPT_OK && !out_image)
        status = rapt_fail(RAPT_ERROR_ARGUMENT, "out_image is NULL");
    if (status != RAPT_OK)
        return status;
    rapt_seq_image image = image_of(snapshot, seq);
    rapt_params_write(out_image, &image, sizeof image);
    return RAPT_OK;
}

rapt_status rapt_snapshot_find_page(const rapt_snapshot *snapshot, uint32_t seq, uint32_t group,
                                    uint32_t index, uint32_t *out_page)
{
    rapt_status status = check_seq(snapshot, seq);
    if (status == RAPT_OK && (!out_page || group >= snapshot->geometry.n_groups))
        status = rapt_fail(RAPT_ERROR_ARGUMENT, "group is %u: the snapshot has %u%s", group,
                           snapshot->geometry.n_groups, out_page ? "" : ", and out_page is NULL");
    if (status != RAPT_OK)
        return status;
    rapt_seq_image image = image_of(snapshot, seq);
    uint32_t n_pages = pages_of(snapshot, image.n_tokens);
    if (index >= n_pages)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "index is %u: sequence %u has %u pages", index, seq,
                         n_pages);
    const uint8_t *pages = (const uint8_t *)(image.tokens + image.n_known);
    memcpy(out_page, pages + 4 * ((size_t)group * n_pages + index), 4);
    return RAPT_OK;
}

rapt_status rapt_snapshot_read_page(const rapt_snapshot *snapshot, uint32_t group, uint32_t page,
                                    void *out_contents)
{
    if (!snapshot || !out_contents)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s is NULL", snapshot ? "out_contents" : "snapshot");
    if (page >= rapt_snapshot_n_pages(snapshot, group))
        return rapt_fail(RAPT_ERROR_ARGUMENT, "page is %u: group %u of the snapshot has %u", page,
                         group, rapt_snapshot_n_pages(snapshot, group));
    uint64_t page_bytes = snapshot->geometry.groups[group].page_bytes, expected;
    uint64_t at = snapshot->first_page[group] + page * (page_bytes + 8);
    rapt_status status = read_bytes(snapshot, at, out_contents, (size_t)page_bytes);
    if (status == RAPT_OK)
        status = read_bytes(snapshot, at + page_bytes, &expected, sizeof expected);
    if (status == RAPT_OK && XXH3_64bits(out_contents, (size_t)page_bytes) != expected)
        status = FAIL_DAMAGED("page %u of group %u has changed since it was opened", page, group);
    return status;
}
