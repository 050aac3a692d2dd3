/* SPDX-License-Identifier: Apache-2.0 */
#ifndef EASY_KV_CACHE_H
#define EASY_KV_CACHE_H

/* The inside of rapt_easy_cache: groups of layers with their planes of pages, plans, a step. */

#include <rapt/pager.h>

#include "tier.h"

/* What a page is made of. Each layer has a plane of each kind: the pages of the pool one after the
 * other, rows dense, [page_size][rows of a token][row_bytes]. */
enum kv_plane_kind { KV_K, KV_V, KV_K_SCALE, KV_V_SCALE, KV_N_PLANES };

struct kv_plane {
    uint32_t row_bytes; /* 0 = this cache has no such plane */
    uint32_t n_rows;    /* of a token: KV heads, or 1 where they share a scale */
    uint64_t page_bytes;
};

/* Where page 0 of a layer's plane lies. A plane lies in one buffer as a whole. */
struct kv_place {
    uint32_t buffer;
    uint64_t offset;
};

struct kv_group {
    uint32_t n_pages, window, sink_tokens;
    uint32_t n_kv_heads, head_dim, head_dim_v;
    uint32_t n_layers;
    uint32_t *layers; /* u32[n_layers] */
    struct kv_plane planes[KV_N_PLANES];
    struct kv_place *places;                /* [n_layers][KV_N_PLANES] */
    uint64_t page_bytes;                    /* of all layers and planes */
    uint32_t n_segments, pages_per_segment; /* 1, n_pages where a plane is bound whole */
    uint32_t n_copy_tensors; /* 0 where vkCmdCopyBuffer copies pages: planes beyond one binding */
    rapt_copy_tensor *copy_tensors;
    int rotates;

    rapt_mask *mask;
    rapt_block_table *table; /* of the step, where the mask needs one */
    rapt_plan *plan;
    rapt_easy_buffer *tables, *rope_table;
    rapt_step step;
    rapt_block_tables block_tables; /* of the step; arrays of the capacity */
};

struct rapt_easy_cache {
    rapt_easy *easy;
    const rapt_allocator *allocator; /* the easy object's */
    rapt_easy_cache_params params;   /* defaults filled in; its arrays are the caller's, and gone */
    struct kv_group groups[RAPT_PAGER_MAX_GROUPS];
    uint8_t *layer_groups;
    uint32_t *layer_indices; /* of a layer within its group */
    rapt_pager *pager;
    rapt_copier *copier;
    rapt_snapshot_geometry geometry;

    rapt_easy_buffer **pools;
    uint64_t *pool_bytes; /* planned size of each */
    uint32_t n_pools;
    rapt_easy_buffer *workspace, *copy_tables;
    rapt_easy_buffer *q, *k_new, *v_new, *out; /* mapped, of max_total_q tokens */
    rapt_easy_buffer *sinks, *k_scale, *v_scale;

    /* the step */
    int in_step, copied; /* copied: the last page copies have run */
    uint32_t n_seqs, total_q;
    rapt_seq *seqs;
    uint32_t *n_new, *n_before; /* tokens of each: new, and before the step */
    int32_t *cu_q, *cu_kv;
    uint8_t *layer_done;
    rapt_page_copy *copies;
    uint32_t copy_capacity;

    uint32_t n_copies;
    double copy_seconds, layer_seconds, transfer_seconds;
    uint64_t transfer_bytes, other_bytes;
};

/* kv_pool.c */
/* Plans where every plane lies, without making a buffer. */
rapt_status rapt_kv_pool_plan(rapt_easy_cache *cache);
rapt_status rapt_kv_pool_create(rapt_easy_cache *cache);
void rapt_kv_pool_destroy(rapt_easy_cache *cache);
/* Segment `segment` of a plane in a layer, counted within the group. */
rapt_buffer rapt_kv_pool_range(const rapt_easy_cache *cache, const struct kv_group *group,
                               uint32_t layer, enum kv_plane_kind plane, uint32_t segment);

/* kv_transfer.c: pages between the pools and host memory, their contents as a snapshot keeps them:
 * layer by layer K, V, scales of K, of V. */
struct kv_page {
    uint32_t group, page;
    uint8_t *contents; /* page_bytes of the group, for upload and download */
};
struct kv_transfer {
    rapt_easy_cache *cache;
    rapt_easy_buffer *staging;
};
/* Makes room for batches of up to n_bytes; more is moved in several. */
rapt_status rapt_kv_transfer_begin(rapt_easy_cache *cache, uint64_t n_bytes,
                                   struct kv_transfer *out_transfer);
rapt_status rapt_kv_transfer_run(struct kv_transfer *transfer, uint32_t n,
                                 const struct kv_page *pages, int up);
void rapt_kv_transfer_end(struct kv_transfer *transfer);

/* kv_mask.c */
int rapt_kv_mask_needs_table(const struct kv_group *group);
rapt_status rapt_kv_mask_create(rapt_easy_cache *cache, struct kv_group *group);
/* What a plan must be for the group's mask. */
void rapt_kv_mask_plan(const rapt_easy_cache *cache, const struct kv_group *group,
                       rapt_plan_params *inout_plan);
/* The mask of a step, as prepare takes it. */
rapt_status rapt_kv_mask_step(rapt_easy_cache *cache, struct kv_group *group,
                              rapt_step_params *inout_step);
void rapt_kv_mask_destroy(struct kv_group *group);

/* kv_step.c: runs the page copies the pager asks for. */
rapt_status rapt_kv_copies_reserve(rapt_easy_cache *cache, uint32_t n_more);
rapt_status rapt_kv_copies_run(rapt_easy_cache *cache);
/* ARGUMENT if a step is open, or the device is lost. */
rapt_status rapt_kv_idle(rapt_easy_cache *cache);

#endif
