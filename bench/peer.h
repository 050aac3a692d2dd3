/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BENCH_PEER_H
#define BENCH_PEER_H

/* A peer's side of the conversation with `rapt bench --peers` (bench/README.md), and what it needs
 * of the operating system. Failures of the pipe end the process. */

#include <stddef.h>
#include <stdint.h>

#define PEER_MAX_SEQS 16

/* One problem. q: f32 [total_q, n_q_heads, head_dim]; k, v: rows of kv_type, dense, sequence after
 * sequence. map: u8 [ceil(kv/block)][ceil(kv/block)] over positions, or NULL. */
struct peer_case {
    uint32_t n_q_heads, n_kv_heads, head_dim, n_seqs, block;
    char kv_type[16]; /* f16, q8_0 */
    char mask[16];    /* causal, full, blocks */
    uint32_t q_len[PEER_MAX_SEQS], kv_len[PEER_MAX_SEQS];
    float *q;
    void *k, *v;
    uint8_t *map;
};

/* Each gives NULL, or why it cannot. */
struct peer_calls {
    const char *(*load)(void *self, const struct peer_case *data);
    const char *(*compute)(void *self);
    void (*read_out)(void *self, const struct peer_case *data, float *out);
};

/* Keeps standard output for the conversation: whatever else is printed goes to standard error. */
void peer_start(void);
/* Says why there will be no conversation; the exit code. */
int peer_refuse(const char *why);
/* Until standard input ends; the exit code. `about`: what the peer is, in one line. */
int peer_converse(const char *about, const struct peer_calls *calls, void *self);

int peer_allows(const struct peer_case *data, uint32_t b, uint32_t i, uint32_t j);
int peer_allows_all(const struct peer_case *data, uint32_t b);

void *peer_alloc(size_t n_bytes);

/* Sets the environment variable to the number the Vulkan loader gives the device of that name; not
 * 0 if there is none. */
int peer_show_vulkan_device(const char *variable, const char *name);

#endif
