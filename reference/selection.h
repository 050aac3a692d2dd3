/* SPDX-License-Identifier: Apache-2.0 */
#ifndef REFERENCE_SELECTION_H
#define REFERENCE_SELECTION_H

/* The k largest of a row of float64 scores, and how far a device's choice is from them. */

#include <rapt/reference.h>

#define RAPT_NO_INDEX UINT32_MAX

/* A row: scores[i - first] of indices first, first + 1, ...; `forced` is chosen in any case. */
struct rapt_selection_row {
    const double *scores;
    uint32_t first, n, forced;
};

/* Writes min(k, n) indices ascending, then UINT32_MAX. Equal scores: the lower index; NaN is less
 * than anything. `order` is scratch of n entries. */
void rapt_selection_choose(const struct rapt_selection_row *row, uint32_t k, uint32_t *order,
                           uint32_t *out_choices);
/* Takes a row of choices into the error; `reference` are those of the function above. */
void rapt_selection_compare(const struct rapt_selection_row *row, uint32_t k, uint64_t row_index,
                            const uint32_t *reference, const uint32_t *choices,
                            rapt_choice_error *error);

#endif
