/* SPDX-License-Identifier: Apache-2.0 */
/* Snapshots: what was written is read, and nothing else is; no size in one is believed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "fail_alloc.h"
#include "random.h"
#include "snapshot_case.h"

struct memory {
    struct snapshot_case *source;
    uint8_t *data;
    size_t n_bytes, capacity;
    long calls_left; /* calls that still succeed; negative = all */
    uint32_t n_batches, most_pages;
    size_t largest_read;
};

static rapt_status spend(struct memory *memory)
{
    if (memory->calls_left == 0)
        return RAPT_ERROR_IO;
    if (memory->calls_left > 0)
        memory->calls_left--;
    return RAPT_OK;
}

static rapt_status write_memory(void *user, const void *data, size_t n_bytes)
{
    struct memory *memory = user;
    assert_true(memory->n_bytes + n_bytes <= memory->capacity);
    memcpy(memory->data + memory->n_bytes, data, n_bytes);
    memory->n_bytes += n_bytes;
    return spend(memory);
}

static rapt_status read_pages(void *user, uint32_t group, uint32_t n_pages, const uint32_t *pages,
                              const uint32_t *n_tokens, void *out_contents)
{
    struct memory *memory = user;
    memory->n_batches++;
    if (n_pages > memory->most_pages)
        memory->most_pages = n_pages;
    for (uint32_t i = 0; i < n_pages; i++) {
        /* the last page of the first sequence has 2 tokens, the only one of the third 3 */
        uint32_t expected = 4;
        if (pages[i] == (group ? 1u : 2u))
            expected = 2;
        if (pages[i] == (group ? 5u : 30u))
            expected = 3;
        assert_int_equal(n_tokens[i], expected);
        assert_true(group == 0 || pages[i] != 0);
        assert_true(i == 0 || pages[i] > pages[i - 1]);
    }
    rapt_status status = spend(memory);
    return status
               ? status
               : snapshot_read_pages(memory->source, group, n_pages, pages, n_tokens, out_contents);
}

static rapt_status read_memory(void *user, uint64_t offset, void *out_data, size_t n_bytes)
{
    struct memory *memory = user;
    assert_true(offset <= memory->n_bytes && n_bytes <= memory->n_bytes - offset);
    memcpy(out_data, memory->data + offset, n_bytes);
    return spend(memory);
}

static rapt_snapshot_write_params write_params(struct snapshot_case *c, struct memory *memory)
{
    memory->source = c;
    return (rapt_snapshot_write_params){.struct_size = sizeof(rapt_snapshot_write_params),
                                        .geometry = &c->geometry,
                                        .n_seqs = SNAPSHOT_SEQS,
                                        .images = c->images,
                                        .tables = c->tables,
                                        .user = memory,
                                        .write = write_memory,
                                        .read_pages = read_pages};
}

static struct memory written(struct snapshot_case *c)
{
    struct memory memory = {.capacity = 1 << 16, .calls_left = -1};
    memory.data = malloc(memory.capacity);
    assert_non_null(memory.data);
    rapt_snapshot_write_params params = write_params(c, &memory);
    assert_int_equal(rapt_snapshot_write(&params), RAPT_OK);
    return memory;
}

static rapt_status open_memory(struct memory *memory, const rapt_snapshot_geometry *geometry,
                               const rapt_allocator *allocator, rapt_snapshot **out)
{
    rapt_snapshot_read_params params = {.struct_size = sizeof params,
                                        .allocator = allocator,
                                        .geometry = geometry,
                                        .n_bytes = memory->n_bytes,
                                        .user = memory,
                                        .read = read_memory};
    return rapt_snapshot_open(&params, out);
}

static void expect_refused(struct memory *memory, rapt_status status, const char *why)
{
    rapt_snapshot *snapshot = (rapt_snapshot *)memory;
    rapt_status has = open_memory(memory, NULL, NULL, &snapshot);
    if (has != status || !strstr(rapt_last_error(), why))
        fprintf(stderr, "status %d, '%s'; expected %d, '%s'\n", (int)has, rapt_last_error(),
                (int)status, why);
    assert_int_equal(has, status);
    assert_null(snapshot);
    assert_non_null(strstr(rapt_last_error(), why));
}

static void round_trip(void **state)
{
    (void)state;
    struct snapshot_case c, other;
    snapshot_case_make(7, 32, &c);
    struct memory memory = written(&c);
    /* group 0: 7, 9, 2, 4, 30; group 1: 3, 1, 2, 5 and the null page nowhere */
    assert_int_equal(memory.n_batches, 2);
    size_t contents = 32 + 2 * 40 + 4 + 8 + 3 * 16 + 18 * 4 + 14 * 4;
    assert_int_equal(memory.n_bytes, 48 + contents + 5 * (32 + 8) + 4 * (35 + 8) + 16);
    rapt_snapshot *snapshot = NULL;
    assert_int_equal(open_memory(&memory, &c.geometry, NULL, &snapshot), RAPT_OK);
    assert_int_equal(rapt_snapshot_n_pages(snapshot, 0), 5);
    assert_int_equal(rapt_snapshot_n_pages(snapshot, 1), 4);
    assert_int_equal(rapt_snapshot_n_pages(snapshot, 2), 0);
    assert_true(snapshot_case_equal(&c, snapshot));
    snapshot_case_make(8, 32, &other);
    assert_false(snapshot_case_equal(&other, snapshot));
    rapt_snapshot_geometry geometry = {.struct_size = sizeof geometry};
    rapt_snapshot_get_geometry(snapshot, &geometry);
    assert_memory_equal(&geometry, &c.geometry, sizeof geometry);
    /* what is not there */
    rapt_seq_image image = {.struct_size = sizeof image};
    uint32_t page;
    uint8_t contents_out[64];
    assert_int_equal(rapt_snapshot_seq(snapshot, 3, &image), RAPT_ERROR_ARGUMENT);
    assert_int_equal(rapt_snapshot_find_page(snapshot, 0, 2, 0, &page), RAPT_ERROR_ARGUMENT);
    assert_int_equal(rapt_snapshot_find_page(snapshot, 2, 0, 1, &page), RAPT_ERROR_ARGUMENT);
    assert_int_equal(rapt_snapshot_read_page(snapshot, 0, 5, contents_out), RAPT_ERROR_ARGUMENT);
    /* a stream that changes after it was opened */
    memory.data[memory.n_bytes - 17] ^= 1;
    assert_int_equal(rapt_snapshot_read_page(snapshot, 1, 3, contents_out), RAPT_ERROR_ARGUMENT);
    assert_int_equal(rapt_snapshot_read_page(snapshot, 1, 2, contents_out), RAPT_OK);
    rapt_snapshot_close(&snapshot);
    assert_null(snapshot);
    free(memory.data);
}

/* Batches of one page at the least give the same bytes; so do no sequences at all. */
static void batches(void **state)
{
    (void)state;
    struct snapshot_case c;
    snapshot_case_make(1, 48, &c);
    struct memory whole = written(&c);
    for (uint64_t bytes = 1; bytes < 300; bytes += 49) {
        struct memory memory = {.capacity = 1 << 16, .calls_left = -1};
        memory.data = malloc(memory.capacity);
        rapt_snapshot_write_params params = write_params(&c, &memory);
        params.batch_bytes = bytes;
        assert_int_equal(rapt_snapshot_write(&params), RAPT_OK);
        assert_int_equal(memory.n_bytes, whole.n_bytes);
        assert_memory_equal(memory.data, whole.data, whole.n_bytes);
        uint64_t most = bytes < 96 ? 1 : bytes / 48;
        assert_int_equal(memory.most_pages, most < 5 ? most : 5);
        free(memory.data);
    }
    struct memory memory = {.data = whole.data, .capacity = whole.capacity, .calls_left = -1};
    rapt_snapshot_write_params params = write_params(&c, &memory);
    params.n_seqs = 0;
    params.images = NULL;
    params.tables = NULL;
    assert_int_equal(rapt_snapshot_write(&params), RAPT_OK);
    rapt_snapshot *snapshot = NULL;
    assert_int_equal(open_memory(&memory, &c.geometry, NULL, &snapshot), RAPT_OK);
    assert_int_equal(rapt_snapshot_n_seqs(snapshot), 0);
    rapt_snapshot_close(&snapshot);
    free(whole.data);
}

/* Every single bit matters, and every length but the right one is wrong. */
static void damage(void **state)
{
    (void)state;
    struct snapshot_case c;
    snapshot_case_make(3, 16, &c);
    struct memory memory = written(&c);
    rapt_snapshot *snapshot = NULL;
    for (size_t bit = 0; bit < 8 * memory.n_bytes; bit++) {
        memory.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        rapt_status status = open_memory(&memory, NULL, NULL, &snapshot);
        assert_true(status == RAPT_ERROR_ARGUMENT || status == RAPT_ERROR_UNSUPPORTED);
        assert_true(status == RAPT_ERROR_ARGUMENT || bit / 8 / 4 == 3); /* a newer version */
        assert_null(snapshot);
        memory.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    size_t n_bytes = memory.n_bytes;
    for (memory.n_bytes = 0; memory.n_bytes < n_bytes; memory.n_bytes++)
        expect_refused(&memory, RAPT_ERROR_ARGUMENT,
                       memory.n_bytes < 48 ? "not a snapshot" : "is cut short");
    memory.n_bytes = n_bytes + 1;
    memory.data[n_bytes] = 0;
    expect_refused(&memory, RAPT_ERROR_ARGUMENT, "goes on behind its end");
    memory.n_bytes = n_bytes;
    assert_int_equal(open_memory(&memory, NULL, NULL, &snapshot), RAPT_OK);
    rapt_snapshot_close(&snapshot);
    free(memory.data);
}

static void other_writers(void **state)
{
    (void)state;
    struct snapshot_case c;
    snapshot_case_make(3, 16, &c);
    struct memory memory = written(&c);
    uint8_t *data = memory.data;
    data[12] = 2; /* the version, whatever the checksum says of it */
    expect_refused(&memory, RAPT_ERROR_UNSUPPORTED, "version 2");
    snapshot_reseal(data, memory.n_bytes);
    expect_refused(&memory, RAPT_ERROR_UNSUPPORTED, "this library reads up to 1");
    data[12] = 1;
    for (int i = 0; i < 2; i++) {
        uint8_t swap = data[8 + i];
        data[8 + i] = data[11 - i];
        data[11 - i] = swap;
    }
    expect_refused(&memory, RAPT_ERROR_UNSUPPORTED, "other byte order");
    memcpy(data, "GGUF", 4);
    expect_refused(&memory, RAPT_ERROR_ARGUMENT, "not a snapshot");
    free(data);
}

static void other_geometries(void **state)
{
    (void)state;
    struct snapshot_case c;
    snapshot_case_make(3, 16, &c);
    struct memory memory = written(&c);
    rapt_snapshot_geometry changed[] = {c.geometry, c.geometry, c.geometry, c.geometry,
                                        c.geometry, c.geometry, c.geometry, c.geometry,
                                        c.geometry, c.geometry, c.geometry, c.geometry,
                                        c.geometry, c.geometry, c.geometry, c.geometry};
    static const char *const names[] = {"page_size",   "undo_tokens", "kv_type",    "scale_type",
                                        "scale_kind",  "n_groups",    "model_key",  "window",
                                        "n_layers",    "n_kv_heads",  "head_dim",   "head_dim_v",
                                        "k_row_bytes", "v_row_bytes", "page_bytes", "sink_tokens"};
    changed[0].page_size = 8;
    changed[1].undo_tokens = 0;
    changed[2].kv_type = RAPT_TYPE_INT8;
    changed[3].scale_type = RAPT_TYPE_F16;
    changed[4].scale_kind = RAPT_SCALE_TOKEN;
    changed[5].n_groups = 1;
    changed[6].model_key++;
    changed[7].groups[1].window = 6;
    changed[8].groups[0].n_layers = 2;
    changed[9].groups[1].n_kv_heads = 2;
    changed[10].groups[0].head_dim = 16;
    changed[11].groups[0].head_dim_v = 16;
    changed[12].groups[1].k_row_bytes = 8;
    changed[13].groups[1].v_row_bytes = 8;
    changed[14].groups[0].page_bytes = 17;
    changed[15].groups[0].sink_tokens = 4;
    for (size_t i = 0; i < sizeof changed / sizeof changed[0]; i++) {
        rapt_snapshot *snapshot = (rapt_snapshot *)&c;
        assert_int_equal(open_memory(&memory, &changed[i], NULL, &snapshot), RAPT_ERROR_SHAPE);
        assert_null(snapshot);
        assert_non_null(strstr(rapt_last_error(), names[i]));
    }
    free(memory.data);
}

struct watched {
    size_t largest, total;
};

static void *watch_alloc(void *user, size_t n_bytes)
{
    struct watched *watched = user;
    watched->total += n_bytes;
    if (n_bytes > watched->largest)
        watched->largest = n_bytes;
    return malloc(n_bytes);
}

static void watch_free(void *user, void *memory)
{
    (void)user;
    free(memory);
}

/* Numbers made absurd under checksums made right: nothing large is allocated, nothing outside the
 * stream is read (read_memory asserts), and what opens can be read in full. */
static void lies(void **state)
{
    (void)state;
    uint64_t random = 11, n_opened = 0;
    struct snapshot_case c;
    snapshot_case_make(3, 16, &c);
    struct memory memory = written(&c);
    uint8_t *good = malloc(memory.n_bytes);
    memcpy(good, memory.data, memory.n_bytes);
    size_t n_bytes = memory.n_bytes;
    static const uint32_t values[] = {0, 1, 2, 255, 4096, 0x7fffffffu, 0x80000000u, 0xffffffffu};
    for (int i = 0; i < 40000; i++) {
        memcpy(memory.data, good, n_bytes);
        uint32_t n_changes = 1 + random_below(&random, 3);
        for (uint32_t j = 0; j < n_changes; j++) {
            /* mostly the header's and the first numbers of the contents */
            uint32_t place = random_below(&random, random_below(&random, 2) ? 60 : 80);
            uint32_t value = values[random_below(&random, 8)];
            if (place >= 4)
                memcpy(memory.data + 4 * (size_t)place, &value, 4);
        }
        memory.n_bytes =
            random_below(&random, 4) ? n_bytes : random_below(&random, (uint32_t)n_bytes);
        snapshot_reseal(memory.data, memory.n_bytes);
        struct watched watched = {0};
        rapt_allocator allocator = {&watched, watch_alloc, watch_free};
        rapt_snapshot *snapshot = NULL;
        if (open_memory(&memory, NULL, &allocator, &snapshot) == RAPT_OK) {
            n_opened++;
            rapt_snapshot_geometry geometry = {.struct_size = sizeof geometry};
            rapt_snapshot_get_geometry(snapshot, &geometry);
            for (uint32_t s = 0; s < rapt_snapshot_n_seqs(snapshot); s++) {
                rapt_seq_image image = {.struct_size = sizeof image};
                assert_int_equal(rapt_snapshot_seq(snapshot, s, &image), RAPT_OK);
                assert_true(image.n_known <= image.n_tokens);
            }
        } else {
            assert_null(snapshot);
        }
        /* beside the stream's own size: the object, and a fixed piece to read through */
        assert_true(watched.largest <= memory.n_bytes || watched.largest <= 65536);
        assert_true(watched.total <= 3 * memory.n_bytes + 65536 + 2048);
        rapt_snapshot_close(&snapshot);
    }
    printf("%llu of 40000 opened\n", (unsigned long long)n_opened);
    assert_true(n_opened > 100 && n_opened < 39000); /* the seal holds, and most lies are found */
    free(good);
    free(memory.data);
}

/* Memory, writes and reads fail at every place: an error, no leak, and nothing half made. */
static void failures(void **state)
{
    (void)state;
    struct snapshot_case c;
    snapshot_case_make(5, 24, &c);
    struct memory good = written(&c);
    struct fail_alloc failing = {0};
    rapt_allocator allocator = fail_allocator(&failing);
    uint8_t buffer[4096];
    int n_write = 0, n_open = 0;
    for (int kind = 0; kind < 2; kind++) { /* memory, then the callbacks */
        for (long budget = 0;; budget++) {
            struct memory memory = {.data = buffer, .capacity = sizeof buffer};
            memory.calls_left = kind ? budget : -1;
            failing = (struct fail_alloc){.budget = kind ? -1 : budget};
            rapt_snapshot_write_params params = write_params(&c, &memory);
            params.allocator = &allocator;
            rapt_status status = rapt_snapshot_write(&params);
            assert_int_equal(failing.n_alive, 0);
            if (status == RAPT_OK) {
                assert_memory_equal(buffer, good.data, good.n_bytes);
                break;
            }
            assert_int_equal(status, kind ? RAPT_ERROR_IO : RAPT_ERROR_HOST_MEMORY);
            n_write++;
        }
        for (long budget = 0;; budget++) {
            rapt_snapshot *snapshot = (rapt_snapshot *)&c;
            good.calls_left = kind ? budget : -1;
            failing = (struct fail_alloc){.budget = kind ? -1 : budget};
            rapt_status status = open_memory(&good, &c.geometry, &allocator, &snapshot);
            good.calls_left = -1;
            if (status == RAPT_OK) {
                assert_true(snapshot_case_equal(&c, snapshot));
                rapt_snapshot_close(&snapshot);
                assert_int_equal(failing.n_alive, 0);
                break;
            }
            assert_null(snapshot);
            assert_int_equal(failing.n_alive, 0);
            assert_int_equal(status, kind ? RAPT_ERROR_IO : RAPT_ERROR_HOST_MEMORY);
            n_open++;
        }
    }
    printf("%d failed writes, %d failed opens\n", n_write, n_open);
    assert_true(n_write > 10 && n_open > 10);
    free(good.data);
}

static void bad_arguments(void **state)
{
    (void)state;
    struct snapshot_case c;
    uint8_t buffer[4096];
    for (int i = 0; i < 9; i++) {
        snapshot_case_make(5, 24, &c);
        struct memory memory = {.data = buffer, .capacity = sizeof buffer, .calls_left = -1};
        rapt_snapshot_write_params params = write_params(&c, &memory);
        rapt_status expected = RAPT_ERROR_ARGUMENT;
        switch (i) {
        case 0:
            params.write = NULL;
            break;
        case 1:
            params.read_pages = NULL;
            break;
        case 2:
            params.images = NULL;
            break;
        case 3:
            params.geometry = NULL;
            break;
        case 4:
            c.geometry.page_size = 3;
            break;
        case 5:
            c.geometry.groups[1].page_bytes = 0;
            break;
        case 6:
            c.images[1].n_known = 13;
            break;
        case 7:
            c.images[1].tokens = NULL;
            break;
        default:
            c.images[2].n_tokens = 5, expected = RAPT_ERROR_SHAPE;
            break;
        }
        assert_int_equal(rapt_snapshot_write(&params), expected);
        assert_int_equal(memory.n_bytes, 0);
    }
    assert_int_equal(rapt_snapshot_write(NULL), RAPT_ERROR_ARGUMENT);
    rapt_snapshot_read_params read = {.struct_size = sizeof read, .n_bytes = 100};
    rapt_snapshot *snapshot = NULL;
    assert_int_equal(rapt_snapshot_open(&read, &snapshot), RAPT_ERROR_ARGUMENT);
    assert_int_equal(rapt_snapshot_open(&read, NULL), RAPT_ERROR_ARGUMENT);
    rapt_snapshot_close(&snapshot);
    rapt_snapshot_close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip),       cmocka_unit_test(batches),
        cmocka_unit_test(damage),           cmocka_unit_test(other_writers),
        cmocka_unit_test(other_geometries), cmocka_unit_test(lies),
        cmocka_unit_test(failures),         cmocka_unit_test(bad_arguments),
    };
    return cmocka_run_group_tests_name("snapshot", tests, NULL, NULL) ? EXIT_FAILURE : EXIT_SUCCESS;
}
