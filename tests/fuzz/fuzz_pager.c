/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as calls of a pager, against the model of tests/pager. The first byte's highest bit
 * says whether every call is first made with each of its allocations failing. */
#include "ops.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    if (n_bytes < 2)
        return 0;
    struct op_source source = {.data = data, .n_bytes = n_bytes, .at = 1};
    struct episode episode = {.fail_allocs = data[0] >> 7, .every = 8};
    episode_run(&source, 4000, &episode);
    return 0;
}
