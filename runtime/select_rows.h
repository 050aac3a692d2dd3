/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_SELECT_ROWS_H
#define RUNTIME_SELECT_ROWS_H

/* Rows of the kernel table by what they are for, for select.c. Pure. */

#include "select.h"

/* "decode" and "pt" and f16 -> decode_f16_pt; without a type if `type` is DEFAULT. -1 = none. */
int rapt_select_find_row(const char *op, rapt_type type, const char *path);
/* A type as names of rows have it. */
const char *rapt_select_type_word(rapt_type type);

/* NULL if the row can be used, else why not. */
const char *rapt_select_row_reason(const rapt_caps *caps, int kernel);

/* Specialization constants every kernel gets; tile numbers are its own. */
void rapt_select_fill_spec(const struct rapt_select_request *request,
                           struct rapt_kernel_choice *choice);

#endif
