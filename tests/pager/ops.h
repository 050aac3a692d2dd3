/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PAGER_OPS_H
#define PAGER_OPS_H

/* Bytes to calls of a pager: those of a fuzzer, or an endless random stream. */

#include "model.h"

struct op_source {
    const uint8_t *data;
    size_t n_bytes, at;
    int endless; /* then numbers come from state */
    uint64_t state, bits;
    uint32_t n_bits;
};

/* One pager from birth to death: the first bytes make it, the others are calls. Stops after max_ops
 * calls or at the end of the bytes; returns how many there were. */
struct episode {
    int fail_allocs, trace;
    int every; /* everything is compared after so many calls [64] */
    const char *repro;
    uint64_t n_ops, n_failed, n_injected, n_evicted, n_copies, n_hits; /* out, added to */
};
void episode_run(struct op_source *source, uint64_t max_ops, struct episode *episode);

#endif
