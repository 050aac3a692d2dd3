/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HARNESS_FAIL_ALLOC_H
#define HARNESS_FAIL_ALLOC_H

/* An allocator that fails once its budget is used up and counts what is alive. Its counts are plain
 * on purpose: the thread sanitizer then sees a library that calls it from threads of its own. */

#include <rapt/common.h>

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct fail_alloc {
    long budget; /* allocations that still succeed; negative = all */
    long n_alive, n_calls;
};

static inline void *fail_alloc_alloc(void *user, size_t n_bytes)
{
    struct fail_alloc *state = user;
    state->n_calls++;
    if (state->budget == 0)
        return NULL;
    if (state->budget > 0)
        state->budget--;
    void *memory = malloc(n_bytes);
    if (memory) {
        memset(memory, 0xa5, n_bytes); /* nobody may count on zeros */
        state->n_alive++;
    }
    return memory;
}

static inline void fail_alloc_free(void *user, void *memory)
{
    struct fail_alloc *state = user;
    if (memory)
        state->n_alive--;
    free(memory);
}

static inline rapt_allocator fail_allocator(struct fail_alloc *state)
{
    return (rapt_allocator){state, fail_alloc_alloc, fail_alloc_free};
}

#endif
