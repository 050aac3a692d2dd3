/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_DEVICE_H
#define CLI_DEVICE_H

/* Making the easy tier's device as the options and the environment say. */

#include <rapt/easy.h>
#include <rapt/reference.h>

/* `select` and `disable` are the values of --device and --disable, or NULL. 0, or an exit code
 * after a line on stderr. */
int device_open(const char *select, const char *disable, rapt_easy **out_easy);

/* What the library has to say goes to stderr only as far as RAPT_LOG asks: errors come back as
 * status codes and are printed once. With RAPT_VALIDATION the layers' messages are shown always. 0,
 * or CLI_USAGE after a line when RAPT_LOG is none of its words. */
int device_log(rapt_log *out_log);

/* CLI_DEVICE after a line if the validation layers said anything, else `code`: to be asked before
 * files are written, as those appear only with CLI_DONE and CLI_CHECK. */
int device_verdict(rapt_easy *easy, int code);
/* The same, and the end of it. */
int device_close(rapt_easy **easy, int code);

/* "llvmpipe (LLVM 15.0.6, 256 bits), Mesa 22.3.6" into `text`; returns it. */
char *device_text(const rapt_caps *caps, char *text, size_t text_bytes);
const char *device_type_name(uint32_t type);

/* The bound that results of a plan hold. */
rapt_bound_kind device_bound(const rapt_plan_info *plan);

#endif
