/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_SELECT_CHOOSE_H
#define RUNTIME_SELECT_CHOOSE_H

/* The tiles of the attention rows that select.c found, by rules and tables. Pure. */

#include "select.h"

#define MATRIX_DECODE_ROWS 8u /* packed rows from which on decode goes to matrix units */

/* What a row of the table is for. */
int rapt_select_on_matrix_units(int kernel);
int rapt_select_by_lanes(int kernel);

/* Why queries of the request's type are not for a row on matrix units; NULL if they are. */
const char *rapt_select_matrix_query_reason(const struct rapt_select_request *request, int row);
/* A tile of such a row; NULL, or why there is none. */
const char *rapt_select_row_matrix_tile(const rapt_caps *caps,
                                        const struct rapt_select_request *request, int row,
                                        struct rapt_kernel_choice *choice);

/* block_q, block_kv and pages_per_block are for prefill. */
struct rapt_select_request
rapt_select_without_prefill_knobs(const struct rapt_select_request *request);

/* Fill the choice whose kernel is set, and where its tile comes from; the last one, the sequences
 * it takes as well. Errors: those of rapt_select. */
rapt_status rapt_select_tune_prefill(const rapt_caps *caps,
                                     const struct rapt_select_request *request,
                                     struct rapt_selection *out);
rapt_status rapt_select_tune_decode(const rapt_caps *caps,
                                    const struct rapt_select_request *request,
                                    struct rapt_selection *out);
rapt_status rapt_select_tune_few(const rapt_caps *caps, const struct rapt_select_request *request,
                                 struct rapt_selection *out);

/* Packed rows of a sequence up to which decode on matrix units takes it: two tiles of `rows`, as
 * long as a tile of prefill would be half empty with them. */
uint32_t rapt_select_most_matrix_rows(const struct rapt_select_request *request,
                                      const struct rapt_selection *out, uint32_t rows);

#endif
