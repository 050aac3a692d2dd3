/* SPDX-License-Identifier: Apache-2.0 */
#include "tile_table.h"

#include "error.h"
#include "kernel_table.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <stdio.h>
#include <string.h>

#define FORMAT 1u
#define MAX_ENTRIES 4096u
#define MAX_LINE 256u
#define CHECKSUM_BYTES 26u /* "checksum ", 16 digits, a line's end */

struct rapt_tiles {
    const rapt_allocator *allocator; /* points at allocator_copy, or NULL */
    rapt_allocator allocator_copy;
    char device[MAX_LINE]; /* the line that names it */
    rapt_tile *entries;    /* sorted */
    uint32_t n, capacity;
};

static void device_line(const rapt_caps *caps, char line[MAX_LINE])
{
    int n = snprintf(line, MAX_LINE, "device %04x:%04x driver %u:%08x cache ",
                     (unsigned)caps->vendor_id, (unsigned)caps->device_id,
                     (unsigned)caps->driver_id, (unsigned)caps->driver_version);
    for (size_t i = 0; i < sizeof caps->pipeline_cache_uuid; i++)
        n += snprintf(line + n, MAX_LINE - (size_t)n, "%02x",
                      (unsigned)caps->pipeline_cache_uuid[i]);
}

rapt_status rapt_tiles_create(const rapt_allocator *allocator, const rapt_caps *caps,
                              rapt_tiles **out_tiles)
{
    if (!caps || !out_tiles)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s is NULL", caps ? "out_tiles" : "caps");
    *out_tiles = NULL;
    rapt_tiles *tiles = rapt_alloc(allocator, 1, sizeof *tiles);
    if (!tiles)
        return rapt_fail(RAPT_ERROR_HOST_MEMORY, "out of host memory for a table of tiles");
    if (allocator) {
        tiles->allocator_copy = *allocator;
        tiles->allocator = &tiles->allocator_copy;
    }
    device_line(caps, tiles->device);
    *out_tiles = tiles;
    return RAPT_OK;
}

void rapt_tiles_destroy(rapt_tiles **tiles_handle)
{
    if (!tiles_handle || !*tiles_handle)
        return;
    rapt_tiles *tiles = *tiles_handle;
    *tiles_handle = NULL;
    rapt_free(tiles->allocator, tiles->entries);
    /* The allocator lies in what it frees. */
    rapt_allocator allocator = tiles->allocator_copy;
    rapt_free(tiles->allocator ? &allocator : NULL, tiles);
}

/* ------------------------------------------------------------------------------------- entries */

static int compare(const rapt_tile *a, const rapt_tile *b)
{
    int order = strcmp(a->kernel, b->kernel);
    if (order == 0)
        order = (a->head_dim > b->head_dim) - (a->head_dim < b->head_dim);
    if (order == 0)
        order = (a->head_dim_v > b->head_dim_v) - (a->head_dim_v < b->head_dim_v);
    if (order == 0)
        order = (a->group > b->group) - (a->group < b->group);
    return order;
}

/* Where the entry stands, or would. */
static uint32_t place_of(const rapt_tiles *tiles, const rapt_tile *tile)
{
    uint32_t first = 0, end = tiles->n;
    while (first < end) {
        uint32_t middle = first + (end - first) / 2;
        if (compare(&tiles->entries[middle], tile) < 0)
            first = middle + 1;
        else
            end = middle;
    }
    return first;
}

static int is_there(const rapt_tiles *tiles, uint32_t place, const rapt_tile *tile)
{
    return place < tiles->n && compare(&tiles->entries[place], tile) == 0;
}

static rapt_status grow(rapt_tiles *tiles)
{
    if (tiles->n < tiles->capacity)
        return RAPT_OK;
    if (tiles->n == MAX_ENTRIES)
        return rapt_fail(RAPT_ERROR_CAPACITY, "the table has %u tiles, and no more fit",
                         MAX_ENTRIES);
    uint32_t capacity = tiles->capacity ? tiles->capacity * 2 : 16;
    rapt_tile *entries = rapt_alloc(tiles->allocator, capacity, sizeof *entries);
    if (!entries)
        return rapt_fail(RAPT_ERROR_HOST_MEMORY, "out of host memory for %u tiles", capacity);
    if (tiles->n)
        memcpy(entries, tiles->entries, tiles->n * sizeof *entries);
    rapt_free(tiles->allocator, tiles->entries);
    tiles->entries = entries;
    tiles->capacity = capacity;
    return RAPT_OK;
}

rapt_status rapt_tiles_put(rapt_tiles *tiles, const rapt_tile *tile)
{
    if (!tiles || !tile)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s is NULL", tiles ? "tile" : "tiles");
    rapt_tile own = {.struct_size = sizeof own};
    rapt_status status = rapt_params_read("rapt_tile", tile, &own, sizeof own);
    if (status != RAPT_OK)
        return status;
    if (!memchr(own.kernel, 0, sizeof own.kernel) || rapt_kernel_find(own.kernel) < 0)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "kernel is '%.63s': there is no such row",
                         own.kernel);
    uint32_t place = place_of(tiles, &own), any = 0;
    for (int i = 0; i < RAPT_TILE_NUMBERS; i++)
        any |= own.numbers[i];
    int there = is_there(tiles, place, &own);
    if (!any) {
        if (there)
            memmove(&tiles->entries[place], &tiles->entries[place + 1],
                    (--tiles->n - place) * sizeof own);
        return RAPT_OK;
    }
    if (!there) {
        status = grow(tiles);
        if (status != RAPT_OK)
            return status;
        memmove(&tiles->entries[place + 1], &tiles->entries[place],
                (tiles->n++ - place) * sizeof own);
    }
    tiles->entries[place] = own;
    return RAPT_OK;
}

uint32_t rapt_tiles_count(const rapt_tiles *tiles)
{
    return tiles ? tiles->n : 0;
}

rapt_status rapt_tiles_get(const rapt_tiles *tiles, uint32_t index, rapt_tile *out_tile)
{
    if (!tiles || !out_tile)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s is NULL", tiles ? "out_tile" : "tiles");
    if (index >= tiles->n)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "index is %u: the table has %u tiles", index,
                         tiles->n);
    rapt_params_write(out_tile, &tiles->entries[index], sizeof *out_tile);
    return RAPT_OK;
}

const uint32_t *rapt_tiles_find(const rapt_tiles *tiles, const char *kernel, uint32_t head_dim,
                                uint32_t head_dim_v, uint32_t group)
{
    rapt_tile tile = {.head_dim = head_dim, .head_dim_v = head_dim_v, .group = group};
    if (!tiles || !kernel)
        return NULL;
    snprintf(tile.kernel, sizeof tile.kernel, "%s", kernel);
    uint32_t place = place_of(tiles, &tile);
    return is_there(tiles, place, &tile) ? tiles->entries[place].numbers : NULL;
}

/* ---------------------------------------------------------------------------------------- text */

struct text {
    char *at;
    size_t n, capacity;
};

static void add_line(struct text *text, const char *line)
{
    size_t n = strlen(line);
    for (size_t i = 0; i < n + 1; i++) {
        if (text->n < text->capacity)
            text->at[text->n] = i < n ? line[i] : '\n';
        text->n++;
    }
}

static void add_all(const rapt_tiles *tiles, struct text *text)
{
    char line[MAX_LINE];
    snprintf(line, sizeof line, "rapt tiles %u", FORMAT);
    add_line(text, line);
    snprintf(line, sizeof line, "library %s", rapt_version());
    add_line(text, line);
    add_line(text, tiles->device);
    for (uint32_t i = 0; i < tiles->n; i++) {
        const rapt_tile *tile = &tiles->entries[i];
        int n = snprintf(line, sizeof line, "%s %u %u %u:", tile->kernel, tile->head_dim,
                         tile->head_dim_v, tile->group);
        for (int j = 0; j < RAPT_TILE_NUMBERS; j++)
            n += snprintf(line + n, sizeof line - (size_t)n, " %u", tile->numbers[j]);
        add_line(text, line);
    }
}

rapt_status rapt_tiles_write(const rapt_tiles *tiles, void *data, size_t *inout_bytes)
{
    if (!tiles || !inout_bytes)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s is NULL", tiles ? "inout_bytes" : "tiles");
    struct text text = {data, 0, data ? *inout_bytes : 0};
    char line[MAX_LINE];
    add_all(tiles, &text);
    size_t given = *inout_bytes, needed = text.n + CHECKSUM_BYTES;
    *inout_bytes = needed;
    if (!data)
        return RAPT_OK;
    if (given < needed)
        return rapt_fail(RAPT_ERROR_CAPACITY, "the table takes %zu bytes: %zu were given", needed,
                         given);
    snprintf(line, sizeof line, "checksum %016llx", (unsigned long long)XXH64(data, text.n, 0));
    add_line(&text, line);
    return RAPT_OK;
}

/* The next line without its end; 0 where there is none. */
static int next_line(const char **at, const char *end, char line[MAX_LINE])
{
    const char *stop = *at < end ? memchr(*at, '\n', (size_t)(end - *at)) : NULL;
    size_t n = stop ? (size_t)(stop - *at) : 0;
    if (!stop || n >= MAX_LINE || memchr(*at, 0, n))
        return 0;
    memcpy(line, *at, n);
    line[n] = 0;
    *at = stop + 1;
    return 1;
}

/* A number of 32 bits and the character behind it. */
static int read_number(const char **at, char end, uint32_t *out_number)
{
    uint64_t number = 0;
    const char *p = *at;
    for (; *p >= '0' && *p <= '9' && number <= UINT32_MAX; p++)
        number = number * 10 + (uint64_t)(*p - '0');
    if (p == *at || number > UINT32_MAX || *p != end)
        return 0;
    *out_number = (uint32_t)number;
    *at = end ? p + 1 : p;
    return 1;
}

static int read_entry(const char *line, rapt_tile *out_tile)
{
    const char *at = strchr(line, ' ');
    *out_tile = (rapt_tile){.struct_size = sizeof *out_tile};
    if (!at || at == line || (size_t)(at - line) >= sizeof out_tile->kernel)
        return 0;
    memcpy(out_tile->kernel, line, (size_t)(at - line));
    at++;
    if (!read_number(&at, ' ', &out_tile->head_dim) ||
        !read_number(&at, ' ', &out_tile->head_dim_v) || !read_number(&at, ':', &out_tile->group))
        return 0;
    if (*at++ != ' ')
        return 0;
    for (int i = 0; i < RAPT_TILE_NUMBERS; i++)
        if (!read_number(&at, i + 1 < RAPT_TILE_NUMBERS ? ' ' : 0, &out_tile->numbers[i]))
            return 0;
    return 1;
}

/* Why the text is no table for this device; NULL and where its entries lie otherwise. */
static const char *check_text(const rapt_tiles *tiles, const char *text, size_t n_bytes,
                              const char **out_first, const char **out_end)
{
    char line[MAX_LINE], expected[MAX_LINE];
    const char *at = text, *end = text + n_bytes;
    unsigned format = 0;
    if (!next_line(&at, end, line) || sscanf(line, "rapt tiles %9u", &format) != 1)
        return "it is no table of tiles";
    if (format != FORMAT)
        return "it has another format: this version of the library writes format 1";
    if (n_bytes < (size_t)(at - text) + CHECKSUM_BYTES)
        return "it is truncated";
    end -= CHECKSUM_BYTES;
    snprintf(expected, sizeof expected, "checksum %016llx\n",
             (unsigned long long)XXH64(text, (size_t)(end - text), 0));
    if (memcmp(end, "checksum ", 9) != 0)
        return "it is truncated";
    if (memcmp(end, expected, CHECKSUM_BYTES) != 0)
        return "its checksum does not match";
    snprintf(expected, sizeof expected, "library %s", rapt_version());
    if (!next_line(&at, end, line) || strcmp(line, expected) != 0)
        return "another version of the library measured it";
    if (!next_line(&at, end, line) || strcmp(line, tiles->device) != 0)
        return "it was measured on another device or driver";
    *out_first = at;
    *out_end = end;
    return NULL;
}

rapt_status rapt_tiles_read(const rapt_allocator *allocator, const rapt_caps *caps,
                            const void *text, size_t n_bytes, rapt_tiles **out_tiles)
{
    char line[MAX_LINE];
    const char *at = NULL, *end = NULL;
    if (!text)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "text is NULL");
    rapt_status status = rapt_tiles_create(allocator, caps, out_tiles);
    if (status != RAPT_OK)
        return status;
    const char *reason = check_text(*out_tiles, text, n_bytes, &at, &end);
    if (reason)
        status = rapt_fail(RAPT_ERROR_ARGUMENT, "the table of tiles is refused: %s", reason);
    while (status == RAPT_OK && at < end) {
        rapt_tile tile;
        if (!next_line(&at, end, line) || !read_entry(line, &tile))
            status = rapt_fail(RAPT_ERROR_ARGUMENT,
                               "the table of tiles is refused: a line of it is no entry");
        else if (rapt_kernel_find(tile.kernel) >= 0) /* a build may lack rows another one has */
            status = rapt_tiles_put(*out_tiles, &tile);
    }
    if (status != RAPT_OK)
        rapt_tiles_destroy(out_tiles);
    return status;
}

/* ------------------------------------------------------------------------------------- shipped */

struct shipped {
    uint32_t driver_id, first, last, subgroup_size;
    const char *kernel;
    uint32_t head_dim, head_dim_v, group;
    uint32_t numbers[RAPT_TILE_NUMBERS];
};

/* The last, empty row keeps the array legal while the table has none. */
static const struct shipped shipped_tiles[] = {
#define SHIPPED(driver, first, last, subgroup, kernel, d, dv, group, lanes, rows, keys, a, b, c,   \
                e)                                                                                 \
    {driver, first, last, subgroup, kernel, d, dv, group, {lanes, rows, keys, a, b, c, e}},
#include "shipped_tiles.def"
#undef SHIPPED
    {0},
};

const uint32_t *rapt_tiles_shipped(const rapt_caps *caps, const char *kernel, uint32_t head_dim,
                                   uint32_t head_dim_v, uint32_t group)
{
    for (const struct shipped *s = shipped_tiles; kernel && s->kernel; s++) {
        if (s->driver_id == caps->driver_id && caps->driver_major >= s->first &&
            caps->driver_major <= s->last && s->subgroup_size == caps->subgroup_size &&
            strcmp(s->kernel, kernel) == 0 && s->head_dim == head_dim &&
            s->head_dim_v == head_dim_v && s->group == group)
            return s->numbers;
    }
    return NULL;
}
