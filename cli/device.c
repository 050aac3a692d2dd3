/* SPDX-License-Identifier: Apache-2.0 */
#include "device.h"

#include "cli.h"
#include "options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int validation_wanted(void)
{
    const char *text = getenv("RAPT_VALIDATION");
    return text && *text && strcmp(text, "0") != 0;
}

static void write_log(void *user, rapt_log_level level, const char *line)
{
    static const char *const names[] = {"error", "warning", "info", "debug"};
    (void)user;
    fprintf(stderr, "rapt: %s: %s\n", level >= 0 && level < 4 ? names[level] : "log", line);
}

static void write_nothing(void *user, rapt_log_level level, const char *line)
{
    (void)user, (void)level, (void)line;
}

int device_log(rapt_log *out_log)
{
    static const char *const names[] = {"error", "warning", "info", "debug", NULL};
    const char *text = getenv("RAPT_LOG");
    *out_log = (rapt_log){.write = validation_wanted() ? write_log : write_nothing};
    if (!text || !*text)
        return 0;
    int level = options_word("RAPT_LOG", text, names);
    if (level < 0)
        return CLI_USAGE;
    out_log->write = write_log;
    out_log->max_level = (rapt_log_level)level;
    return 0;
}

int device_open(const char *select, const char *disable, rapt_easy **out_easy)
{
    rapt_easy_params params = {.struct_size = sizeof params, .device = select};
    int code = device_log(&params.log);
    if (code)
        return code;
    if (disable && rapt_features_parse(disable, &params.disable) != RAPT_OK)
        return cli_fail(CLI_USAGE, "--disable: %s", rapt_last_error());
    rapt_status status = rapt_easy_create(&params, out_easy);
    return status ? cli_fail_status(status, NULL) : 0;
}

int device_verdict(rapt_easy *easy, int code)
{
    uint32_t n = easy ? rapt_device_validation_messages(rapt_easy_device(easy)) : 0;
    if (n > 0 && (code == CLI_DONE || code == CLI_CHECK))
        return cli_fail(CLI_DEVICE, "the validation layers wrote %u messages", n);
    return code;
}

int device_close(rapt_easy **easy, int code)
{
    code = device_verdict(*easy, code);
    rapt_easy_destroy(easy);
    return code;
}

char *device_text(const rapt_caps *caps, char *text, size_t text_bytes)
{
    int n = snprintf(text, text_bytes, "%s", caps->device_name);
    if (n > 0 && (size_t)n < text_bytes && caps->driver_info[0])
        snprintf(text + n, text_bytes - (size_t)n, ", %s", caps->driver_info);
    else if (n > 0 && (size_t)n < text_bytes && caps->driver_name[0])
        snprintf(text + n, text_bytes - (size_t)n, ", %s", caps->driver_name);
    return text;
}

const char *device_type_name(uint32_t type)
{
    static const char *const names[] = {"other", "integrated GPU", "discrete GPU", "virtual GPU",
                                        "CPU"};
    return type < sizeof names / sizeof *names ? names[type] : "other";
}

rapt_bound_kind device_bound(const rapt_plan_info *plan)
{
    return plan->integer_dot ? RAPT_BOUND_INTEGER_DOT /* decode, beside prefill on matrix units */
           : plan->matrix_units ? RAPT_BOUND_MATRIX_F16
                                : RAPT_BOUND_PORTABLE;
}
