/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PAGER_SNAPSHOT_FORMAT_H
#define PAGER_SNAPSHOT_FORMAT_H

/* The bytes of a snapshot, version 1; numbers as the machine that wrote it keeps them.
 *
 *   header    struct snapshot_header
 *   contents  u64 model_key; u32 page_size, undo_tokens, kv_type, scale_type, scale_kind, n_groups;
 *             per group u32 window, sink_tokens, n_layers, n_kv_heads, head_dim, head_dim_v,
 *             k_row_bytes, v_row_bytes, u64 page_bytes; u32 n_seqs; per group u32 n_pages;
 *             per sequence u64 extra_key; u32 n_tokens, n_known; i32 tokens[n_known]; per group
 *             u32 pages[ceil(n_tokens / page_size)], UINT32_MAX for the null page
 *   pages     group by group, page by page: page_bytes, then u64 checksum of them
 *   end       struct snapshot_end
 *
 * Checksums are XXH3's 64-bit hashes. */

#include <rapt/pager.h>

#define SNAPSHOT_MAGIC "RAPTSNAP"
#define SNAPSHOT_END_MAGIC "RAPTDONE"
#define SNAPSHOT_ORDER 0x01020304u
#define SNAPSHOT_VERSION 1u

struct snapshot_header {
    char magic[8];
    uint32_t order, version;
    uint64_t n_bytes; /* of the whole snapshot */
    uint64_t contents_bytes, contents_hash;
    uint64_t header_hash; /* of what is before it */
};

struct snapshot_end {
    char magic[8];
    uint64_t hash; /* of everything before the end */
};

#define SNAPSHOT_SEQ_BYTES 16u /* of a sequence without tokens */
#define SNAPSHOT_MAX_PAGE_BYTES (UINT64_C(1) << 40)
#define SNAPSHOT_MAX_SEQS (1u << 20)

/* snapshot.c: no number is absurd. */
rapt_status rapt_snapshot_check_geometry(const rapt_snapshot_geometry *geometry);

#endif
