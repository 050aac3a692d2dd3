/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a snapshot: it is refused with one line, or all of it can be read. The first byte
 * says whether the checksums are made right first, so that what lies behind them is reached. */
#include "snapshot_case.h"

#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "fuzz_snapshot: %s does not hold (%s)\n", #condition,                  \
                    rapt_last_error());                                                            \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

struct stream {
    uint8_t *data;
    size_t n_bytes, largest;
};

static rapt_status read_stream(void *user, uint64_t offset, void *out_data, size_t n_bytes)
{
    const struct stream *stream = user;
    CHECK(offset <= stream->n_bytes && n_bytes <= stream->n_bytes - offset);
    memcpy(out_data, stream->data + offset, n_bytes);
    return RAPT_OK;
}

static void *watch_alloc(void *user, size_t n_bytes)
{
    struct stream *stream = user;
    CHECK(n_bytes <= stream->n_bytes || n_bytes <= 65536);
    return malloc(n_bytes);
}

static void watch_free(void *user, void *memory)
{
    (void)user;
    free(memory);
}

static void read_seq(const rapt_snapshot *snapshot, const rapt_snapshot_geometry *geometry,
                     uint32_t seq)
{
    rapt_seq_image image = {.struct_size = sizeof image};
    int64_t sum = 0;
    CHECK(rapt_snapshot_seq(snapshot, seq, &image) == RAPT_OK && image.n_known <= image.n_tokens);
    for (uint32_t i = 0; i < image.n_known; i++)
        sum += image.tokens[i];
    CHECK(sum == 0 || image.n_known > 0);
    uint32_t page, index = 0;
    for (uint32_t g = 0; g < geometry->n_groups; g++) {
        for (index = 0; (uint64_t)index * geometry->page_size < image.n_tokens; index++) {
            CHECK(rapt_snapshot_find_page(snapshot, seq, g, index, &page) == RAPT_OK);
            CHECK(page < rapt_snapshot_n_pages(snapshot, g) ||
                  (page == RAPT_SNAPSHOT_NO_PAGE && geometry->groups[g].window > 0));
        }
        CHECK(rapt_snapshot_find_page(snapshot, seq, g, index, &page) == RAPT_ERROR_ARGUMENT);
    }
}

static void read_all(const rapt_snapshot *snapshot)
{
    rapt_snapshot_geometry geometry = {.struct_size = sizeof geometry};
    rapt_snapshot_get_geometry(snapshot, &geometry);
    for (uint32_t s = 0; s < rapt_snapshot_n_seqs(snapshot); s++)
        read_seq(snapshot, &geometry, s);
    for (uint32_t g = 0; g < geometry.n_groups; g++) {
        uint32_t n = rapt_snapshot_n_pages(snapshot, g);
        uint8_t *page = n ? malloc((size_t)geometry.groups[g].page_bytes) : NULL;
        for (uint32_t i = 0; page && i < n; i++)
            CHECK(rapt_snapshot_read_page(snapshot, g, i, page) == RAPT_OK);
        free(page);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    if (n_bytes < 1)
        return 0;
    struct stream stream = {.data = malloc(n_bytes), .n_bytes = n_bytes - 1};
    if (!stream.data)
        return 0;
    memcpy(stream.data, data + 1, stream.n_bytes);
    if (data[0] & 1)
        snapshot_reseal(stream.data, stream.n_bytes);
    rapt_allocator allocator = {&stream, watch_alloc, watch_free};
    rapt_snapshot_read_params params = {.struct_size = sizeof params,
                                        .allocator = &allocator,
                                        .n_bytes = stream.n_bytes,
                                        .user = &stream,
                                        .read = read_stream};
    rapt_snapshot *snapshot = NULL;
    rapt_status status = rapt_snapshot_open(&params, &snapshot);
    CHECK((status == RAPT_OK) == (snapshot != NULL));
    if (status == RAPT_OK) {
        read_all(snapshot);
    } else {
        CHECK(status == RAPT_ERROR_ARGUMENT || status == RAPT_ERROR_UNSUPPORTED);
        for (const char *c = rapt_last_error(); *c; c++)
            CHECK(*c >= ' ' && *c <= '~');
    }
    rapt_snapshot_close(&snapshot);
    free(stream.data);
    return 0;
}
