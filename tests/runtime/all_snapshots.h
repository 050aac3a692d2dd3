/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_RUNTIME_ALL_SNAPSHOTS_H
#define TESTS_RUNTIME_ALL_SNAPSHOTS_H

/* All device snapshots that devices/LIST names. Included by one test program, after cmocka's headers. */

#include "snapshot.h"

#define MAX_DEVICES 64
static rapt_caps devices[MAX_DEVICES];
static char names[MAX_DEVICES][64];
static uint32_t n_devices;

static inline const rapt_caps *device_named(const char *name)
{
    for (uint32_t i = 0; i < n_devices; i++) {
        size_t n = strlen(name);
        if (strncmp(names[i], name, n) == 0 && strcmp(names[i] + n, ".txt") == 0)
            return &devices[i];
    }
    fail_msg("there is no snapshot %s", name);
    return NULL;
}

/* 0 after a line if they are not there. */
static inline int read_devices(const char *folder)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/LIST", folder);
    FILE *list = fopen(path, "r");
    if (!list) {
        fprintf(stderr, "cannot read the snapshots in %s\n", folder);
        return 0;
    }
    while (n_devices < MAX_DEVICES && fscanf(list, "%63s", names[n_devices]) == 1) {
        if (!snapshot_read(folder, names[n_devices], &devices[n_devices]))
            break;
        n_devices++;
    }
    fclose(list);
    if (n_devices >= 35)
        return 1;
    fprintf(stderr, "only %u snapshots of %s could be read\n", n_devices, folder);
    return 0;
}

#endif
