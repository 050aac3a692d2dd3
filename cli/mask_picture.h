/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_MASK_PICTURE_H
#define CLI_MASK_PICTURE_H

#include "mask_case.h"

/* Draws the block table as a PNG, a map for each set of heads with a mask of their own. 0, or an
 * exit code after a line. */
int mask_picture_write(const struct mask_case *mask_case, const char *option, const char *path);

#endif
