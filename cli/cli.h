/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_CLI_H
#define CLI_CLI_H

/* What every subcommand shares: exit codes, the one line an error is, and the subcommands. */

#include <rapt/common.h>

#include <stddef.h>

enum cli_exit {
    CLI_DONE = 0,
    CLI_USAGE = 2,     /* bad usage or input: file, shape, type, value */
    CLI_NO_DEVICE = 3, /* no usable device, or the path asked for is not available on it */
    CLI_DEVICE = 4,    /* the device (or its memory, or this machine's) failed */
    CLI_CHECK = 5      /* a result is outside its bound */
};

/* Names the subcommand in error lines ("rapt attend: ..."); NULL = "rapt: ...". */
void cli_set_command(const char *name);

/* Prints one line on stderr and returns `code`, so that a check reads
 * `return cli_fail(CLI_USAGE, "--splits: ...")`. Control characters in it are shown as '?'. */
#if defined(__MINGW32__) && !defined(__clang__)
__attribute__((format(gnu_printf, 2, 3)))
#elif defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
int cli_fail(int code, const char *format, ...);

/* The exit code a library status becomes. */
int cli_exit_code(rapt_status status);
/* Prints rapt_last_error() (or the status's name) after `what`, returns cli_exit_code(status).
 * `what` may be NULL. */
int cli_fail_status(rapt_status status, const char *what);

/* Seconds from an arbitrary start, for progress and host-side times. */
double cli_seconds(void);

/* "1.5 KiB" and so on into `text`; returns it. */
char *cli_format_bytes(double n_bytes, char *text, size_t text_bytes);
char *cli_format_seconds(double seconds, char *text, size_t text_bytes);

int info_main(int argc, char **argv);
int check_main(int argc, char **argv);
int attend_main(int argc, char **argv);
int append_main(int argc, char **argv);
int merge_main(int argc, char **argv);
int mask_main(int argc, char **argv);
int moba_main(int argc, char **argv);
int topk_main(int argc, char **argv);
int demo_main(int argc, char **argv);
int tune_main(int argc, char **argv);
#ifdef CLI_HAVE_BENCH
int bench_main(int argc, char **argv);
#endif

#endif
