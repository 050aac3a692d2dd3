/* SPDX-License-Identifier: Apache-2.0 */

/* Kernels with the tiles of devices that are not here: selection sees the chip of a snapshot, with
 * no more shared memory, lanes and features than this device has. A CPU driver otherwise only ever
 * runs its own, small tile. */

#include "check.h"

#include "device.h"
#include "snapshot.h"

static uint32_t least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static rapt_caps own_caps; /* the device's, to be given back: caches on disk are named after them */

/* The test owns the device: nobody else looks at its snapshot. */
int check_take_tiles(rapt_easy *easy, const char *name)
{
    char file[128];
    rapt_caps other, *caps = &rapt_easy_device(easy)->caps;
    snprintf(file, sizeof file, "%s.txt", name);
    if (!snapshot_read(RAPT_TEST_DEVICES, file, &other)) {
        fprintf(stderr, "there is no snapshot %s in %s\n", file, RAPT_TEST_DEVICES);
        return 0;
    }
    own_caps = *caps;
    caps->vendor_id = other.vendor_id;
    caps->device_id = other.device_id;
    caps->device_type = other.device_type;
    caps->integer_dot_accelerated = other.integer_dot_accelerated;
    caps->max_shared_memory = least(caps->max_shared_memory, other.max_shared_memory);
    caps->max_workgroup_invocations =
        least(caps->max_workgroup_invocations, other.max_workgroup_invocations);
    caps->max_workgroup_size[0] = least(caps->max_workgroup_size[0], other.max_workgroup_size[0]);
    caps->features &= other.features & ~RAPT_FEATURE_CPU_ROWS;
    return 1;
}

void check_leave_tiles(rapt_easy *easy)
{
    rapt_easy_device(easy)->caps = own_caps;
}
