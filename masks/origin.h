/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MASKS_ORIGIN_H
#define MASKS_ORIGIN_H

/* What a table was made from, kept so that a later request can be compared with it: masks as they
 * are, arrays as digests of 128 bits. */

#include "table_request.h"

struct rapt_digest {
    uint64_t low, high;
};

/* Of one sequence. */
struct rapt_origin_seq {
    int32_t kv_pos0, prefix;   /* prefix: 0 unless read */
    int64_t first_pos;         /* of query 0; 0 if q_pos says where each is */
    struct rapt_digest arrays; /* q_pos, segments, flags, of all rows and keys */
};

struct rapt_table_origin {
    struct rapt_mask_term *terms; /* of all sets, one behind another */
    uint32_t *term_first;         /* [n_sets + 1] */
    uint32_t n_sets;
    struct rapt_origin_seq *seqs;
    struct rapt_digest map;
    int explicit_pos;
};

/* HOST_MEMORY; then *out_origin is empty. */
rapt_status rapt_origin_make(const struct rapt_table_request *request,
                             const struct rapt_table_set *sets, uint32_t n_sets,
                             const rapt_allocator *allocator, struct rapt_table_origin *out_origin);
void rapt_origin_finish(struct rapt_table_origin *origin, const rapt_allocator *allocator);

/* Whether set s of the table had this mask. */
int rapt_origin_has_mask(const struct rapt_table_origin *origin, uint32_t s, const rapt_mask *mask);
/* Whether what the origin knew of sequence b, q_len queries and kv_len keys, is what the request,
 * whose own origin is `now`, has in its place: positions, ids, flags, the caller's map. */
int rapt_origin_seq_went_on(const struct rapt_table_origin *origin,
                            const struct rapt_table_origin *now,
                            const struct rapt_table_request *request, uint32_t b, uint32_t q_len,
                            uint32_t kv_len);

/* Everything that decides a table. */
struct rapt_digest rapt_request_digest(const struct rapt_table_request *request);

static inline int rapt_digest_equal(struct rapt_digest a, struct rapt_digest b)
{
    return a.low == b.low && a.high == b.high;
}

#endif
