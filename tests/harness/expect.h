/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HARNESS_EXPECT_H
#define HARNESS_EXPECT_H

/* Needs cmocka's includes before it. */

#include <rapt/common.h>

#include <string.h>

/* A call ended as it should, and its message names what is wrong. */
static inline void expect(rapt_status got, rapt_status want, const char *word)
{
    if (got != want || !strstr(rapt_last_error(), word))
        fail_msg("status %d, expected %d with \"%s\": %s", (int)got, (int)want, word,
                 rapt_last_error());
}

#endif
