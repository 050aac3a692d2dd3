/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RAPT_MASK_H
#define RAPT_MASK_H

/* Mask expressions: which key positions J a query at position P may see.
 *
 * This version knows the closed-form leaves joined by `&`. Their conjunction is one interval of
 * keys per query row, so kernels need no table. The other leaves of the language are parsed and
 * refused by name with RAPT_ERROR_UNSUPPORTED.
 *
 * Thread-safety of this header: masks are immutable once created and may be shared by threads;
 * creation and destruction of one object belong to one thread. */

#include <rapt/common.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum rapt_mask_op {
    RAPT_MASK_FULL = 1,        /* always */
    RAPT_MASK_CAUSAL = 2,      /* J <= P */
    RAPT_MASK_WINDOW = 3,      /* P - a <= J <= P + b; -1, or 2^30 and more, = unbounded */
    RAPT_MASK_CHUNKED = 4,     /* floor(P/a) == floor(J/a), a >= 1 */
    RAPT_MASK_PREFIX = 5,      /* J < prefix[b]; the int32[B] array is given with the lengths */
    RAPT_MASK_SINK_TOKENS = 6, /* J < a, a >= 0 */
    RAPT_MASK_AND = 7          /* both of the two operands before it */
} rapt_mask_op;

/* One node of an expression in postfix order: leaves push, operators combine the two on top. */
typedef struct rapt_mask_node {
    rapt_mask_op op;
    int32_t a, b;
} rapt_mask_node;

typedef struct rapt_mask rapt_mask;

/* Copies the nodes. Fails with RAPT_ERROR_ARGUMENT if they are not one well-formed expression or a
 * number is out of range, RAPT_ERROR_HOST_MEMORY. allocator NULL = malloc/free. */
RAPT_API rapt_status rapt_mask_create(const rapt_allocator *allocator, const rapt_mask_node *nodes,
                                      size_t n_nodes, rapt_mask **out_mask);

/* Parses the text form: `causal & window(1023, 0) & sink_tokens(4)`, parentheses allowed.
 * RAPT_ERROR_SYNTAX with the column (from 1) in out_column and the message; RAPT_ERROR_UNSUPPORTED
 * for leaves and operators this version lacks. out_column may be NULL. */
RAPT_API rapt_status rapt_mask_parse(const rapt_allocator *allocator, const char *text,
                                     size_t *out_column, rapt_mask **out_mask);

RAPT_API void rapt_mask_destroy(rapt_mask **mask);

/* True if the expression mentions `prefix`, whose array the caller must then supply. */
RAPT_API int rapt_mask_needs_prefix(const rapt_mask *mask);

/* Equal expressions after lowering (causal & full equals causal). NULL counts as full. */
RAPT_API int rapt_mask_equal(const rapt_mask *a, const rapt_mask *b);
RAPT_API uint64_t rapt_mask_hash(const rapt_mask *mask);

/* The keys a query at position `pos` may see, as an interval of positions [out_lo, out_hi];
 * empty if out_lo > out_hi. `prefix` is prefix[b] (ignored unless the mask needs it).
 * INT32_MIN and INT32_MAX stand for unbounded. NULL mask = full. */
RAPT_API void rapt_mask_interval(const rapt_mask *mask, int32_t pos, int32_t prefix,
                                 int32_t *out_lo, int32_t *out_hi);

/* Element test by definition, for checks: nonzero if key position `key` is allowed. */
RAPT_API int rapt_mask_allows(const rapt_mask *mask, int32_t pos, int32_t key, int32_t prefix);

#ifdef __cplusplus
}
#endif
#endif
