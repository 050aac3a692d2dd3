/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_RUNTIME_SNAPSHOT_H
#define TESTS_RUNTIME_SNAPSHOT_H

/* Device snapshots of devices/ as rapt_caps. Included by one test program. */

#include <rapt/attention.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What every desktop driver of Mesa offers on any chip. */
#define SNAPSHOT_USUAL                                                                             \
    (RAPT_FEATURE_STORAGE_16BIT | RAPT_FEATURE_STORAGE_8BIT | RAPT_FEATURE_INT64 |                 \
     RAPT_FEATURE_SUBGROUP | RAPT_FEATURE_SUBGROUP_SIZE_CONTROL |                                  \
     RAPT_FEATURE_BUFFER_DEVICE_ADDRESS | RAPT_FEATURE_PUSH_DESCRIPTOR |                           \
     RAPT_FEATURE_MEMORY_MODEL | RAPT_FEATURE_DEBUG_UTILS)

static inline void snapshot_features(rapt_caps *caps, char *list)
{
    for (char *word = strtok(list, ","); word; word = strtok(NULL, ",")) {
        rapt_features bits = 0;
        if (strcmp(word, "none") == 0) {
            caps->supported = 0;
        } else if (rapt_features_parse(word + (*word == '-'), &bits) != RAPT_OK) {
            fprintf(stderr, "%s\n", rapt_last_error());
            exit(1);
        } else if (*word == '-') {
            caps->supported &= ~bits;
        } else {
            caps->supported |= bits;
        }
    }
}

static inline void snapshot_line(rapt_caps *caps, char *line)
{
    unsigned a, b, c, d, e;
    char text[256];
    line[strcspn(line, "\r\n")] = 0;
    if (strncmp(line, "device=", 7) == 0)
        snprintf(caps->device_name, sizeof caps->device_name, "%.200s", line + 7);
    else if (sscanf(line, "api=%u.%u.%u vendor=%x id=%x type=%u", &a, &b, &c, &d, &e,
                    &caps->device_type) == 6) {
        caps->api_version = VK_MAKE_API_VERSION(0, a, b, c);
        caps->vendor_id = d;
        caps->device_id = e;
    } else if (sscanf(line, "subgroup=%u min=%u max=%u", &a, &b, &c) == 3) {
        caps->subgroup_size = a;
        caps->min_subgroup_size = b;
        caps->max_subgroup_size = c;
    } else if (sscanf(line, "shared=%u push=%u invocations=%u wgsize=%u,%u,%u",
                      &caps->max_shared_memory, &caps->max_push_constants,
                      &caps->max_workgroup_invocations, &caps->max_workgroup_size[0],
                      &caps->max_workgroup_size[1], &caps->max_workgroup_size[2]) == 6) {
    } else if (sscanf(line, "fp16=%u int8=%u", &a, &b) == 2) {
        caps->supported |= (a ? RAPT_FEATURE_F16 : 0) | (b ? RAPT_FEATURE_INT8 : 0);
    } else if (sscanf(line, "ext %255[^=]=%u", text, &a) == 2) {
        if (a && strcmp(text, "VK_KHR_cooperative_matrix") == 0)
            caps->supported |= RAPT_FEATURE_COOPMAT;
        if (a && strcmp(text, "VK_NV_cooperative_matrix2") == 0)
            caps->supported |= RAPT_FEATURE_COOPMAT2;
        if (a && strcmp(text, "VK_KHR_shader_integer_dot_product") == 0)
            caps->supported |= RAPT_FEATURE_INTEGER_DOT;
        if (a && strcmp(text, "VK_KHR_shader_bfloat16") == 0)
            caps->supported |= RAPT_FEATURE_BF16;
    } else if (sscanf(line, "driver_id=%u version=%u.%u buffers=%u range=%u", &caps->driver_id,
                      &caps->driver_major, &caps->driver_minor, &caps->max_storage_buffers,
                      &e) == 5) {
        caps->max_storage_buffer_range = e;
        caps->portability_subset = strstr(line, "portability=1") != NULL;
    } else if (sscanf(line, "features=%255s", text) == 1) {
        snapshot_features(caps, text);
    }
}

static inline int snapshot_read(const char *folder, const char *name, rapt_caps *out_caps)
{
    char path[1024], line[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "r");
    if (!file)
        return 0;
    memset(out_caps, 0, sizeof *out_caps);
    out_caps->struct_size = sizeof *out_caps;
    out_caps->supported = SNAPSHOT_USUAL;
    out_caps->max_storage_buffers = 1000;
    out_caps->max_storage_buffer_range = 0xffffffff;
    out_caps->storage_buffer_alignment = 16;
    for (int i = 0; i < 3; i++)
        out_caps->max_workgroup_count[i] = 65535;
    while (fgets(line, sizeof line, file))
        snapshot_line(out_caps, line);
    fclose(file);
    out_caps->features = out_caps->supported;
    return 1;
}

#endif
