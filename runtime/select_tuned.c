/* SPDX-License-Identifier: Apache-2.0 */
#include "select_tuned.h"

#include "error.h"
#include "kernel_table.h"
#include "tile_table.h"

#include <string.h>

struct candidates {
    struct rapt_kernel_choice choices[RAPT_MAX_CANDIDATES];
    uint32_t n;
};

void rapt_select_tile_numbers(const struct rapt_kernel_choice *choice,
                              uint32_t out_numbers[RAPT_TILE_NUMBERS])
{
    const uint32_t numbers[RAPT_TILE_NUMBERS] = {
        choice->workgroup_size,           choice->rows,
        choice->spec[RAPT_SPEC_BLOCK_KV], choice->spec[RAPT_SPEC_TILE_A],
        choice->spec[RAPT_SPEC_TILE_B],   choice->spec[RAPT_SPEC_TILE_C],
        choice->spec[RAPT_SPEC_TILE_D],
    };
    memcpy(out_numbers, numbers, sizeof numbers);
}

static int is_same(const struct rapt_kernel_choice *choice, const uint32_t *numbers)
{
    uint32_t own[RAPT_TILE_NUMBERS];
    rapt_select_tile_numbers(choice, own);
    return memcmp(own, numbers, sizeof own) == 0;
}

/* Knobs may make one tile of two; the device's limits, none. */
static void add(const rapt_caps *caps, const struct rapt_select_request *request,
                const struct rapt_tile_source *source, const struct rapt_kernel_choice *empty,
                struct candidates *candidates)
{
    struct rapt_kernel_choice choice = *empty;
    uint32_t numbers[RAPT_TILE_NUMBERS];
    if (candidates->n == RAPT_MAX_CANDIDATES || source->choose(caps, request, &choice) != RAPT_OK)
        return;
    rapt_select_tile_numbers(&choice, numbers);
    for (uint32_t i = 0; i < candidates->n; i++)
        if (is_same(&candidates->choices[i], numbers))
            return;
    candidates->choices[candidates->n++] = choice;
}

static void collect(const rapt_caps *caps, const struct rapt_select_request *request,
                    const struct rapt_tile_source *source, const struct rapt_kernel_choice *choice,
                    struct candidates *out)
{
    struct rapt_select_request own = *request;
    for (own.listed = 1; own.listed <= source->n_listed; own.listed++)
        add(caps, &own, source, choice, out);
    own.listed = 0;
    for (uint32_t r = 0; r < 4 && source->rows[r]; r++)
        for (uint32_t k = 0; k < 4 && source->keys[k]; k++) {
            if (source->most_work && source->rows[r] * source->keys[k] > source->most_work)
                continue;
            own.block_q = source->rows[r];
            own.block_kv = source->keys[k];
            add(caps, &own, source, choice, out);
        }
}

/* The candidate with these numbers in the place of the choice. */
static int take(const struct candidates *candidates, const uint32_t *numbers,
                struct rapt_kernel_choice *choice)
{
    for (uint32_t i = 0; numbers && i < candidates->n; i++) {
        if (!is_same(&candidates->choices[i], numbers))
            continue;
        *choice = candidates->choices[i];
        return 1;
    }
    return 0;
}

rapt_status rapt_select_tuned(const rapt_caps *caps, const struct rapt_select_request *request,
                              const struct rapt_tile_source *source, uint32_t asked, int knobs,
                              uint32_t group, struct rapt_kernel_choice *choice,
                              struct rapt_tile_origin *out_origin)
{
    struct candidates candidates = {.n = 0};
    const struct rapt_kernel_choice empty = *choice;
    const char *kernel = rapt_kernel_name(choice->kernel);
    const uint32_t d = request->head_dim, dv = request->head_dim_v;
    *out_origin = (struct rapt_tile_origin){.from = "the rules", .n = 1};
    rapt_status status = source->choose(caps, request, choice);
    if (knobs || status != RAPT_OK) {
        out_origin->from = "the rules, within the knobs";
        return asked == 0 || status != RAPT_OK
                   ? status
                   : rapt_fail(RAPT_ERROR_ARGUMENT,
                               "candidate tile %u of %s is asked for, and knobs as well", asked,
                               kernel);
    }
    add(caps, request, source, &empty, &candidates);
    collect(caps, request, source, &empty, &candidates);
    out_origin->n = candidates.n;
    if (asked > candidates.n)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "candidate tile %u of %s is asked for: there are %u",
                         asked, kernel, candidates.n);
    if (asked) {
        out_origin->from = "asked for";
        *choice = candidates.choices[asked - 1];
        return RAPT_OK;
    }
    const uint32_t *own = rapt_tiles_find(request->tiles, kernel, d, dv, group);
    const uint32_t *shipped = rapt_tiles_shipped(caps, kernel, d, dv, group);
    if (take(&candidates, own, choice))
        out_origin->from = "the user's table";
    else if (take(&candidates, shipped, choice))
        out_origin->from = "the shipped table";
    else if (own || shipped)
        out_origin->from = own ? "the rules: the user's table names no candidate"
                               : "the rules: the shipped table names no candidate";
    return RAPT_OK;
}
