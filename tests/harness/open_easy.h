/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HARNESS_OPEN_EASY_H
#define HARNESS_OPEN_EASY_H

/* The device of a whole test program: `if ((code = open_easy(NULL, &easy))) return code;` */

#include "skip.h"

#include <rapt/easy.h>

/* 0, or why there is none has been printed and main returns this: a skip, or a failure. */
static inline int open_easy(const rapt_easy_params *params, rapt_easy **out_easy)
{
    rapt_status status = rapt_easy_create(params, out_easy);
    if (status == RAPT_ERROR_NO_DEVICE)
        return skip_no_device(rapt_last_error());
    if (status != RAPT_OK)
        fprintf(stderr, "%s\n", rapt_last_error());
    return status == RAPT_OK ? 0 : EXIT_FAILURE;
}

#endif
