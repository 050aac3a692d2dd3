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

static inline uint8_t snapshot_component(const char *name)
{
    static const char *const names[] = {"f16", "f32", "f64", "s8",  "s16", "s32",
                                        "s64", "u8",  "u16", "u32", "u64"};
    for (uint8_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(name, names[i]) == 0)
            return i;
    return strcmp(name, "bf16") == 0   ? RAPT_COMPONENT_BF16
           : strcmp(name, "e4m3") == 0 ? RAPT_COMPONENT_FP8_E4M3
           : strcmp(name, "e5m2") == 0 ? RAPT_COMPONENT_FP8_E5M2
                                       : RAPT_COMPONENT_OTHER;
}

/* As the device would enumerate it: subgroup scope, not saturating. */
static inline void snapshot_shape(rapt_caps *caps, const char *line)
{
    unsigned m, n, k, saturates, scope;
    char a[16], b[16], c[16], r[16];
    const uint32_t capacity = sizeof caps->coopmat_shapes / sizeof caps->coopmat_shapes[0];
    if (sscanf(line, "coopmat %ux%ux%u A=%15s B=%15s C=%15s R=%15s sat=%u scope=%u", &m, &n, &k, a,
               b, c, r, &saturates, &scope) != 9 ||
        saturates || scope != 3 || caps->n_coopmat_shapes == capacity)
        return;
    uint32_t at = caps->n_coopmat_shapes++;
    caps->coopmat_shapes[at].m = (uint16_t)m;
    caps->coopmat_shapes[at].n = (uint16_t)n;
    caps->coopmat_shapes[at].k = (uint16_t)k;
    caps->coopmat_shapes[at].a = snapshot_component(a);
    caps->coopmat_shapes[at].b = snapshot_component(b);
    caps->coopmat_shapes[at].c = snapshot_component(c);
    caps->coopmat_shapes[at].r = snapshot_component(r);
}

/* The same for matrices of workgroups. */
static inline void snapshot_flexible(rapt_caps *caps, const char *line)
{
    unsigned m, n, k, saturates, scope, workgroup;
    char a[16], b[16], c[16], r[16];
    const uint32_t capacity = sizeof caps->coopmat2_shapes / sizeof caps->coopmat2_shapes[0];
    if (sscanf(line, "coopmat2 dimension=%u workgroup=%u shared=%u", &m, &n, &k) == 3) {
        caps->coopmat2_max_dimension = m;
        caps->coopmat2_max_workgroup = n;
        caps->coopmat2_shared_bytes = k;
    }
    if (sscanf(line, "flexible %ux%ux%u A=%15s B=%15s C=%15s R=%15s sat=%u scope=%u workgroup=%u",
               &m, &n, &k, a, b, c, r, &saturates, &scope, &workgroup) != 10 ||
        saturates || scope != 2 || caps->n_coopmat2_shapes == capacity)
        return;
    uint32_t at = caps->n_coopmat2_shapes++;
    caps->coopmat2_shapes[at].m = (uint16_t)m;
    caps->coopmat2_shapes[at].n = (uint16_t)n;
    caps->coopmat2_shapes[at].k = (uint16_t)k;
    caps->coopmat2_shapes[at].a = snapshot_component(a);
    caps->coopmat2_shapes[at].b = snapshot_component(b);
    caps->coopmat2_shapes[at].c = snapshot_component(c);
    caps->coopmat2_shapes[at].r = snapshot_component(r);
    caps->coopmat2_shapes[at].workgroup = (uint16_t)workgroup;
}

static inline void snapshot_line(rapt_caps *caps, char *line)
{
    unsigned a, b, c, d, e;
    char text[256];
    snapshot_shape(caps, line);
    snapshot_flexible(caps, line);
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
