/* SPDX-License-Identifier: Apache-2.0 */
#include "cli.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static const char *command_name;

void cli_set_command(const char *name)
{
    command_name = name;
}

int cli_fail(int code, const char *format, ...)
{
    char line[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    /* File names and arguments are echoed: whatever they hold, an error stays one line. */
    for (char *c = line; *c; c++) {
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = '?';
    }
    fflush(stdout);
    if (command_name)
        fprintf(stderr, "rapt %s: %s\n", command_name, line);
    else
        fprintf(stderr, "rapt: %s\n", line);
    return code;
}

int cli_exit_code(rapt_status status)
{
    switch (rapt_status_group(status)) {
    case RAPT_STATUS_GROUP_OK:
        return CLI_DONE;
    case RAPT_STATUS_GROUP_ARGUMENT:
        return CLI_USAGE;
    case RAPT_STATUS_GROUP_CAPABILITY:
        return CLI_NO_DEVICE;
    default:
        return CLI_DEVICE;
    }
}

int cli_fail_status(rapt_status status, const char *what)
{
    const char *line = rapt_last_error();
    if (!*line)
        line = rapt_status_string(status);
    return cli_fail(cli_exit_code(status), "%s%s%s", what ? what : "", what ? ": " : "", line);
}

double cli_seconds(void)
{
#ifdef TIME_UTC
    struct timespec now;
    timespec_get(&now, TIME_UTC);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
#else /* older Windows run-times, whose clock() is wall time */
    return (double)clock() / CLOCKS_PER_SEC;
#endif
}

char *cli_format_bytes(double n_bytes, char *text, size_t text_bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    size_t unit = 0;
    while (n_bytes >= 1024 && unit + 1 < sizeof units / sizeof *units) {
        n_bytes /= 1024;
        unit++;
    }
    snprintf(text, text_bytes, unit == 0 ? "%.0f %s" : "%.1f %s", n_bytes, units[unit]);
    return text;
}

char *cli_format_seconds(double seconds, char *text, size_t text_bytes)
{
    if (seconds >= 1)
        snprintf(text, text_bytes, "%.2f s", seconds);
    else if (seconds >= 1e-3)
        snprintf(text, text_bytes, "%.2f ms", seconds * 1e3);
    else
        snprintf(text, text_bytes, "%.1f us", seconds * 1e6);
    return text;
}
