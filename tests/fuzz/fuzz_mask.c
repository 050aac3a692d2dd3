/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a mask expression: it parses, or it is refused with a column and one line; what
 * parses means the same element by element, as an interval, and as a block table over a random
 * batch, which all of the bytes (those behind a 0 too) are the seed of. */
#include "table_case.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "fuzz_mask: %s does not hold (%s)\n", #condition, rapt_last_error());  \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

static void check_refusal(const char *text, rapt_status status, size_t column)
{
    CHECK(status == RAPT_ERROR_SYNTAX || status == RAPT_ERROR_ARGUMENT);
    CHECK(column >= 1 && column <= strlen(text) + 1);
    for (const char *c = rapt_last_error(); *c; c++)
        CHECK(*c >= ' ' && *c <= '~');
}

static void check_meaning(const rapt_mask *mask)
{
    static const int32_t positions[] = {-1073741823, -8193, -2,   -1,   0,    1,         2,
                                        7,           100,   1023, 1024, 8192, 1073741823};
    const int n = (int)(sizeof positions / sizeof positions[0]);
    for (int i = 0; i < n; i++) {
        int32_t lo, hi;
        rapt_mask_interval(mask, positions[i], 5, &lo, &hi);
        for (int j = 0; j < n; j++)
            if (rapt_mask_is_closed(mask) || rapt_mask_allows(mask, positions[i], positions[j], 5))
                CHECK((lo <= positions[j] && positions[j] <= hi) ==
                      rapt_mask_allows(mask, positions[i], positions[j], 5));
    }
}

struct table {
    const struct scene *scene;
    const rapt_mask *mask;
};

static int allows(const void *user, uint32_t b, uint32_t h, uint32_t i, uint32_t j)
{
    const struct table *table = user;
    return rapt_mask_allows_element(table->mask, &table->scene->batch, b, h, i, j);
}

static void check_table(const rapt_mask *mask, uint64_t seed)
{
    static struct scene scene;
    scene_make(&scene, seed);
    const rapt_block_table_params params = {.struct_size = sizeof params,
                                            .mask = mask,
                                            .batch = scene.batch,
                                            .block_q = 16u << random_below(&seed, 4),
                                            .block_kv = 16u << random_below(&seed, 4),
                                            .all_bits = (int)random_below(&seed, 2)};
    rapt_block_table *table = NULL;
    CHECK(rapt_mask_batch_check(mask, &scene.batch) == RAPT_OK);
    CHECK(rapt_block_table_create(&params, &table) == RAPT_OK);
    const char *wrong = table_check(table, allows, &(struct table){&scene, mask});
    if (wrong)
        fprintf(stderr, "fuzz_mask: %s\n", wrong);
    CHECK(!wrong);
    rapt_block_table_destroy(&table);
}

static uint64_t seed_of(const uint8_t *data, size_t n_bytes)
{
    uint64_t hash = 0xcbf29ce484222325u; /* FNV-1a */
    for (size_t i = 0; i < n_bytes; i++)
        hash = (hash ^ data[i]) * 0x100000001b3u;
    return hash;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    char *text = malloc(n_bytes + 3);
    if (!text)
        return 0;
    memcpy(text, data, n_bytes);
    text[n_bytes] = 0;
    size_t column = 0;
    rapt_mask *mask = NULL, *wrapped = NULL;
    rapt_status status = rapt_mask_parse(NULL, text, &column, &mask);
    if (status != RAPT_OK) {
        CHECK(!mask);
        check_refusal(text, status, column);
    } else {
        check_meaning(mask);
        check_table(mask, seed_of(data, n_bytes));
        /* In parentheses it is the same, unless it was nested as deep as may be. */
        size_t length = strlen(text);
        memmove(text + 1, text, length);
        text[0] = '(';
        strcpy(text + 1 + length, ")");
        if (rapt_mask_parse(NULL, text, NULL, &wrapped) == RAPT_OK) {
            CHECK(rapt_mask_equal(mask, wrapped));
            CHECK(rapt_mask_hash(mask) == rapt_mask_hash(wrapped));
        } else {
            CHECK(strstr(rapt_last_error(), "nested too deep"));
        }
    }
    rapt_mask_destroy(&mask);
    rapt_mask_destroy(&wrapped);
    free(text);
    return 0;
}
