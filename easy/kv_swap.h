/* SPDX-License-Identifier: Apache-2.0 */
#ifndef EASY_KV_SWAP_H
#define EASY_KV_SWAP_H

/* What swapping and files share. */

#include "kv_cache.h"

/* A sequence without its pages; *out_tokens is the caller's to free, also on failure. */
rapt_status rapt_kv_seq_read(rapt_easy_cache *cache, rapt_seq seq, rapt_seq_image *out_image,
                             int32_t **out_tokens);
uint32_t rapt_kv_pages_of(const rapt_easy_cache *cache, uint32_t n_tokens);
/* Closes sequences whose pages never got their contents, which the prefix cache must not keep.
 * Returns status, with its message. */
rapt_status rapt_kv_seq_drop(rapt_easy_cache *cache, uint32_t n_seqs, const rapt_seq *seqs,
                             rapt_status status);

#endif
