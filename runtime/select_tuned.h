/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_SELECT_TUNED_H
#define RUNTIME_SELECT_TUNED_H

/* Which of a kernel's tiles: the one the rules choose, or another candidate that a table of
 * measured tiles or the caller names. Pure, and without a rule of its own. */

#include "select.h"

#define RAPT_MAX_CANDIDATES 64

/* How the candidates of a kernel are made: by numbers of a list that `choose` knows
 * (request->listed, 1 to n_listed), or by trying the knobs block_q and block_kv. The first is the
 * rules' own, whatever number that has. */
struct rapt_tile_source {
    /* Fills the choice of a kernel for a request, or fails. */
    rapt_status (*choose)(const rapt_caps *caps, const struct rapt_select_request *request,
                          struct rapt_kernel_choice *choice);
    uint32_t n_listed;
    uint32_t rows[4], keys[4]; /* 0 = no more */
    uint32_t most_work;        /* rows * keys; 0 = any */
};

/* Chooses. asked: 0 = by tables and rules, or a candidate's number; knobs: the
 * caller has given some that this kernel follows, so no table is asked. group as in rapt_tile.
 * Errors: those of `choose`; ARGUMENT (no such candidate). */
rapt_status rapt_select_tuned(const rapt_caps *caps, const struct rapt_select_request *request,
                              const struct rapt_tile_source *source, uint32_t asked, int knobs,
                              uint32_t group, struct rapt_kernel_choice *choice,
                              struct rapt_tile_origin *out_origin);

/* The numbers a candidate is known by. */
void rapt_select_tile_numbers(const struct rapt_kernel_choice *choice,
                              uint32_t out_numbers[RAPT_TILE_NUMBERS]);

#endif
