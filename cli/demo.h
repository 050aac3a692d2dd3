/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_DEMO_H
#define CLI_DEMO_H

#include <rapt/easy.h>

/* Computes attention weights of a text with repeated phrases and draws them. `device` is for the
 * caption. 0 or an exit code after a line. */
int demo_picture(rapt_easy *easy, const char *device, const char *path);

#endif
