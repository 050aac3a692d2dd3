/* SPDX-License-Identifier: Apache-2.0 */
#include "tier.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const level_names[] = {"error", "warning", "info", "debug"};

rapt_log_level rapt_easy_log_level(int ignore_environment, rapt_status *out_status)
{
    const char *text = ignore_environment ? NULL : getenv("RAPT_LOG");
    if (!text || !*text)
        return RAPT_LOG_WARNING;
    for (int i = 0; i < 4; i++) {
        if (strcmp(text, level_names[i]) == 0)
            return (rapt_log_level)i;
    }
    *out_status = rapt_fail(RAPT_ERROR_SYNTAX,
                            "RAPT_LOG is '%s': expected error, warning, info or debug", text);
    return RAPT_LOG_WARNING;
}

void rapt_easy_log_stderr(void *user, rapt_log_level level, const char *line)
{
    (void)user;
    fprintf(stderr, "rapt: %s: %s\n", level_names[level <= RAPT_LOG_DEBUG ? level : RAPT_LOG_DEBUG],
            line);
}

rapt_status rapt_easy_environment(const rapt_easy_params *params, rapt_device_params *device)
{
    if (params->ignore_environment)
        return RAPT_OK;
    if (!device->select)
        device->select = getenv("RAPT_DEVICE");
    const char *validation = getenv("RAPT_VALIDATION");
    if (validation && *validation && strcmp(validation, "0") != 0)
        device->validation = 1;
    const char *disable = getenv("RAPT_DISABLE");
    rapt_features features = 0;
    if (disable && rapt_features_parse(disable, &features) != RAPT_OK)
        return rapt_fail(RAPT_ERROR_SYNTAX, "RAPT_DISABLE: %s", rapt_last_error());
    device->disable |= features;
    return RAPT_OK;
}
