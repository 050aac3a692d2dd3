/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_THREADS_H
#define BASE_THREADS_H

#include <stdint.h>

/* Runs work(user, i) for i in [0, n), on up to n_threads threads counting the caller; work must not
 * depend on which thread runs it. Where no thread can be started the caller does it all. */
void rapt_parallel(uint32_t n_threads, uint32_t n, void (*work)(void *user, uint32_t i),
                   void *user);

#endif
