/* SPDX-License-Identifier: Apache-2.0 */
/* Bad input: every way a problem can be wrong is refused with the right status and one line that
 * names the field, its value and what was expected. */
#include <rapt/reference.h>

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define HUGE_COUNT (1ull << 62)

/* A sound problem, packed and paged at once: B 2, 5 and 3 queries, 20 and 12 keys, 4 heads on 2,
 * D 16, Dv 8, pages of 8. Cases break one thing each. */
struct fixture {
    rapt_problem p;
    int32_t cu_q[3], cu_kv[3], q_pos0[2], kv_pos0[2], q_pos[8], prefix[2];
    uint32_t page_indptr[3], page_indices[5], last_page_len[2];
    float slopes[4], sinks[4], scales[3];
    rapt_rope rope;
    int32_t rope_pos[8], k_rope_pos[32];
    float table[20 * 16];
    uint64_t bias_offsets[2];
    float q[8 * 4 * 16], k[6 * 8 * 2 * 16], v[6 * 8 * 2 * 8], bias[5 * 20 + 3 * 12];
};

static rapt_mask *prefix_mask, *segments_mask;
static const int32_t ids[32];

static void fill(struct fixture *f)
{
    *f = (struct fixture){.cu_q = {0, 5, 8},
                          .cu_kv = {0, 20, 32},
                          .prefix = {4, 4},
                          .page_indptr = {0, 3, 5},
                          .page_indices = {5, 0, 2, 1, 4},
                          .last_page_len = {4, 4},
                          .scales = {0.5f, 0.25f, 1},
                          .bias_offsets = {0, 100}};
    f->p = (rapt_problem){.struct_size = sizeof f->p,
                          .n_seqs = 2,
                          .n_q_heads = 4,
                          .n_kv_heads = 2,
                          .head_dim = 16,
                          .head_dim_v = 8,
                          .q = {.data = f->q, .n_elements = 8 * 4 * 16},
                          .k = {.data = f->k, .n_elements = 32 * 2 * 16},
                          .v = {.data = f->v, .n_elements = 32 * 2 * 8},
                          .cu_q = f->cu_q,
                          .cu_kv = f->cu_kv};
}

static void use_pages(struct fixture *f)
{
    f->p.cu_kv = NULL;
    f->p.page_size = 8;
    f->p.n_pool_pages = 6;
    f->p.page_indptr = f->page_indptr;
    f->p.page_indices = f->page_indices;
    f->p.last_page_len = f->last_page_len;
    f->p.k.n_elements = 6 * 8 * 2 * 16;
    f->p.v.n_elements = 6 * 8 * 2 * 8;
}

static void use_bias(struct fixture *f)
{
    f->p.bias = (rapt_array){.data = f->bias, .n_elements = 136};
    f->p.bias_offsets = f->bias_offsets;
}

static void check_refused(const struct fixture *f, rapt_status status, const char *message)
{
    rapt_status got = rapt_problem_check(&f->p);
    if (got != status || strcmp(rapt_last_error(), message) != 0)
        fail_msg("status %d, \"%s\"; expected %d, \"%s\"", got, rapt_last_error(), status, message);
    /* The reference goes through the same door and writes nothing. */
    double untouched = 7;
    assert_int_equal(rapt_reference_attention(&f->p, NULL, NULL, &untouched, NULL, NULL), status);
    assert_true(untouched == 7);
    assert_int_equal(rapt_problem_total_q(&f->p), 0);
}

/* REFUSED(statements that break f, status, message) */
#define REFUSED(change, status, message)                                                           \
    do {                                                                                           \
        struct fixture *f = &fixture;                                                              \
        fill(f);                                                                                   \
        change;                                                                                    \
        check_refused(f, status, message);                                                         \
    } while (0)
#define ACCEPTED(change)                                                                           \
    do {                                                                                           \
        struct fixture *f = &fixture;                                                              \
        fill(f);                                                                                   \
        change;                                                                                    \
        if (rapt_problem_check(&f->p) != RAPT_OK)                                                  \
            fail_msg("line %d: %s", __LINE__, rapt_last_error());                                  \
    } while (0)
static struct fixture fixture;

static void sound_problems_pass(void **state)
{
    (void)state;
    ACCEPTED((void)f);
    ACCEPTED(use_pages(f));
    ACCEPTED(use_bias(f));
    ACCEPTED(f->p.page_size = 256); /* packed K/V, to be put into pages */
    ACCEPTED(f->p.sinks = f->sinks; f->sinks[1] = -INFINITY);
    ACCEPTED(f->p.mask = prefix_mask; f->p.prefix = f->prefix);
    ACCEPTED(f->p.scale = -0.5f);
    /* Zero tokens are fine, and need no memory. */
    ACCEPTED(f->cu_q[1] = f->cu_q[2] = 0; f->p.q = (rapt_array){0});
    ACCEPTED(f->cu_kv[1] = f->cu_kv[2] = 0; f->p.k = f->p.v = (rapt_array){0});
    ACCEPTED(use_pages(f); memset(f->page_indptr, 0, sizeof f->page_indptr);
             memset(f->last_page_len, 0, sizeof f->last_page_len); f->p.page_indices = NULL;
             f->p.n_pool_pages = 0; f->p.k = f->p.v = (rapt_array){0});
    ACCEPTED(f->p.head_dim = f->p.head_dim_v = 8);
}

static void shapes(void **state)
{
    (void)state;
    REFUSED(f->p.n_seqs = 0, RAPT_ERROR_ARGUMENT, "n_seqs is 0: expected 1 to 65535");
    REFUSED(f->p.n_seqs = 65536, RAPT_ERROR_ARGUMENT, "n_seqs is 65536: expected 1 to 65535");
    REFUSED(f->p.n_q_heads = 0, RAPT_ERROR_ARGUMENT, "n_q_heads is 0: expected 1 to 65535");
    REFUSED(f->p.n_q_heads = 65536, RAPT_ERROR_ARGUMENT, "n_q_heads is 65536: expected 1 to 65535");
    REFUSED(f->p.n_kv_heads = 0, RAPT_ERROR_SHAPE,
            "n_kv_heads is 0: it must divide n_q_heads, which is 4");
    REFUSED(f->p.n_kv_heads = 3, RAPT_ERROR_SHAPE,
            "n_kv_heads is 3: it must divide n_q_heads, which is 4");
    REFUSED(f->p.n_kv_heads = 8, RAPT_ERROR_SHAPE,
            "n_kv_heads is 8: it must divide n_q_heads, which is 4");
    const char *dims = "head_dim is 0: expected a multiple of 8 from 8 to 576";
    REFUSED(f->p.head_dim = 0, RAPT_ERROR_ARGUMENT, dims);
    REFUSED(f->p.head_dim = 100, RAPT_ERROR_ARGUMENT,
            "head_dim is 100: expected a multiple of 8 from 8 to 576");
    REFUSED(f->p.head_dim = 584, RAPT_ERROR_ARGUMENT,
            "head_dim is 584: expected a multiple of 8 from 8 to 576");
    REFUSED(f->p.head_dim_v = 4, RAPT_ERROR_ARGUMENT,
            "head_dim_v is 4: expected a multiple of 8 from 8 to 576");
    REFUSED(f->p.head_dim_v = UINT32_MAX, RAPT_ERROR_ARGUMENT,
            "head_dim_v is 4294967295: expected a multiple of 8 from 8 to 576");
}

static void types(void **state)
{
    (void)state;
    REFUSED(f->p.q.type = RAPT_TYPE_INT8, RAPT_ERROR_ARGUMENT,
            "q.type is int8: expected f32, f16 or bf16");
    REFUSED(f->p.kv_type = RAPT_TYPE_Q8_0, RAPT_ERROR_ARGUMENT,
            "head_dim is 16: kv_type q8_0 needs a multiple of 32");
    REFUSED(f->p.kv_type = (rapt_type)9, RAPT_ERROR_ARGUMENT, "kv_type is 9: no such type");
    REFUSED(f->p.q_type = (rapt_type)77, RAPT_ERROR_ARGUMENT,
            "q_type is 77: expected f32, f16 or bf16");
    REFUSED(f->p.v.type = (rapt_type)-1, RAPT_ERROR_ARGUMENT,
            "v.type is -1: expected f32, f16 or bf16");
    REFUSED(f->p.out_type = RAPT_TYPE_INT4, RAPT_ERROR_ARGUMENT,
            "out_type is int4: expected f32, f16 or bf16");
    REFUSED(use_bias(f); f->p.bias.type = RAPT_TYPE_BF16, RAPT_ERROR_ARGUMENT,
                         "bias.type is 3: expected f32 or f16");
}

static void lengths(void **state)
{
    (void)state;
    REFUSED(f->p.cu_q = NULL, RAPT_ERROR_ARGUMENT,
            "cu_q is NULL: cumulative lengths int32[3] are needed");
    REFUSED(f->p.cu_kv = NULL, RAPT_ERROR_ARGUMENT,
            "cu_kv is NULL: cumulative lengths int32[3] are needed");
    REFUSED(f->cu_q[0] = 1, RAPT_ERROR_ARGUMENT, "cu_q[0] is 1: it must be 0");
    REFUSED(f->cu_kv[0] = -1, RAPT_ERROR_ARGUMENT, "cu_kv[0] is -1: it must be 0");
    REFUSED(f->cu_q[2] = 4, RAPT_ERROR_ARGUMENT,
            "cu_q[1] is 5, cu_q[2] is 4: cumulative lengths must not decrease");
    REFUSED(f->cu_kv[1] = -3, RAPT_ERROR_ARGUMENT,
            "cu_kv[0] is 0, cu_kv[1] is -3: cumulative lengths must not decrease");
    REFUSED(f->cu_q[2] = 9, RAPT_ERROR_SHAPE,
            "q has 512 elements: its lengths and strides reach to element 576");
    REFUSED(f->cu_kv[2] = 33, RAPT_ERROR_SHAPE,
            "k has 1024 elements: its lengths and strides reach to element 1056");
    REFUSED(f->p.v.n_elements = 511, RAPT_ERROR_SHAPE,
            "v has 511 elements: its lengths and strides reach to element 512");
    REFUSED(f->p.q.data = NULL, RAPT_ERROR_ARGUMENT, "q.data is NULL");
    REFUSED(f->p.v.data = NULL, RAPT_ERROR_ARGUMENT, "v.data is NULL");
    REFUSED(f->p.n_seqs = 1; f->cu_q[1] = 1 << 29, RAPT_ERROR_ARGUMENT,
                             "cu_q[1] is 536870912: with 4 query heads that is 2^31 rows or more");
    REFUSED(f->cu_q[2] = INT32_MAX, RAPT_ERROR_ARGUMENT,
            "q_pos0[1] is -2147483630 with 2147483642 queries: positions must stay below 2^30");
    REFUSED(f->cu_kv[2] = INT32_MAX, RAPT_ERROR_ARGUMENT,
            "kv_pos0[1] is 0 with 2147483627 keys: positions must stay below 2^30");
}

/* What lies past B in a caller's padded arrays is never read. */
static void entries_past_the_batch_do_not_matter(void **state)
{
    (void)state;
    ACCEPTED(f->p.n_seqs = 1; f->cu_q[2] = f->cu_kv[2] = -7);
    ACCEPTED(use_pages(f); f->p.n_seqs = 1; f->page_indptr[2] = 0; f->last_page_len[1] = 99;
             f->page_indices[3] = 1000);
}

static void layouts(void **state)
{
    (void)state;
    REFUSED(f->p.k.layout.dim_stride = 2, RAPT_ERROR_UNSUPPORTED,
            "k.layout.dim_stride is 2: the head dim must be contiguous");
    REFUSED(f->p.q.layout.dim_stride = HUGE_COUNT, RAPT_ERROR_UNSUPPORTED,
            "q.layout.dim_stride is 4611686018427387904: the head dim must be contiguous");
    REFUSED(f->p.k.type = RAPT_TYPE_F16;
            f->p.k.layout.token_stride = 33, RAPT_ERROR_ARGUMENT,
            "k.layout has an odd stride (outer 0, token 33, head 0): 16-bit tensors need even "
            "strides");
    REFUSED(f->p.q.type = RAPT_TYPE_BF16;
            f->p.q.layout.head_stride = 17, RAPT_ERROR_ARGUMENT,
            "q.layout has an odd stride (outer 0, token 0, head 17): 16-bit tensors need even "
            "strides");
    ACCEPTED(f->p.q.layout.outer_stride = 320);
    REFUSED(f->p.q.layout.outer_stride = 384, RAPT_ERROR_SHAPE,
            "q has 512 elements: its lengths and strides reach to element 576");
    /* The last stride that fits, and the first that does not. */
    ACCEPTED(f->p.k.layout.token_stride = 32);
    REFUSED(f->p.k.layout.token_stride = 34, RAPT_ERROR_SHAPE,
            "k has 1024 elements: its lengths and strides reach to element 1086");
}

static void absurd_sizes(void **state)
{
    (void)state;
    const char *q = "q has 512 elements: its lengths and strides reach past element 2^63";
    REFUSED(f->p.q.layout.token_stride = HUGE_COUNT, RAPT_ERROR_SHAPE, q);
    REFUSED(f->p.q.layout.head_stride = HUGE_COUNT, RAPT_ERROR_SHAPE, q);
    REFUSED(f->p.q.layout.head_stride = UINT64_MAX, RAPT_ERROR_SHAPE, q);
    REFUSED(f->p.q.layout.outer_stride = UINT64_MAX, RAPT_ERROR_SHAPE, q);
    REFUSED(f->p.q.layout.outer_stride = UINT64_MAX / 2;
            f->p.q.layout.token_stride = UINT64_MAX / 2, RAPT_ERROR_SHAPE, q);
    REFUSED(f->p.q.n_elements = SIZE_MAX;
            f->p.q.layout.token_stride = HUGE_COUNT, RAPT_ERROR_SHAPE,
            "q has 18446744073709551615 elements: its lengths and strides reach past element 2^63");
    REFUSED(use_pages(f); f->p.k.layout.outer_stride = HUGE_COUNT, RAPT_ERROR_SHAPE,
                          "k has 1536 elements: its lengths and strides reach past element 2^63");
    REFUSED(use_pages(f);
            f->p.n_pool_pages = UINT32_MAX, RAPT_ERROR_SHAPE,
            "k has 1536 elements: its lengths and strides reach to element 1099511627520");
    REFUSED(use_bias(f);
            f->bias_offsets[1] = HUGE_COUNT, RAPT_ERROR_SHAPE,
            "bias has 136 elements: its lengths and strides reach to element 4611686018427387940");
    REFUSED(use_bias(f); f->p.bias.layout.head_stride = HUGE_COUNT, RAPT_ERROR_SHAPE,
                         "bias has 136 elements: its lengths and strides reach past element 2^63");
    REFUSED(use_bias(f); f->bias_offsets[0] = UINT64_MAX, RAPT_ERROR_SHAPE,
                         "bias has 136 elements: its lengths and strides reach past element 2^63");
}

static void pages(void **state)
{
    (void)state;
    REFUSED(f->p.page_size = 12, RAPT_ERROR_ARGUMENT,
            "page_size is 12: a power of two from 1 to 256");
    REFUSED(f->p.page_size = 512, RAPT_ERROR_ARGUMENT,
            "page_size is 512: a power of two from 1 to 256");
    REFUSED(use_pages(f);
            f->p.page_size = 0, RAPT_ERROR_ARGUMENT, "page_size is 0: block tables need it");
    REFUSED(use_pages(f); f->p.cu_kv = f->cu_kv, RAPT_ERROR_ARGUMENT,
                          "cu_kv is set: with block tables the lengths come from last_page_len");
    REFUSED(use_pages(f);
            f->p.page_indptr = NULL, RAPT_ERROR_ARGUMENT, "page_indptr is NULL: paged K/V need it");
    REFUSED(use_pages(f); f->p.page_indices = NULL, RAPT_ERROR_ARGUMENT,
                          "page_indices is NULL: paged K/V need it");
    REFUSED(use_pages(f); f->p.last_page_len = NULL, RAPT_ERROR_ARGUMENT,
                          "last_page_len is NULL: paged K/V need it");
    REFUSED(use_pages(f);
            f->page_indptr[0] = 1, RAPT_ERROR_ARGUMENT, "page_indptr[0] is 1: it must be 0");
    REFUSED(use_pages(f); f->page_indptr[2] = 2, RAPT_ERROR_ARGUMENT,
                          "page_indptr[1] is 3, page_indptr[2] is 2: it must not decrease");
    REFUSED(use_pages(f); f->page_indices[3] = 6, RAPT_ERROR_ARGUMENT,
                          "page_indices[3] is 6: the pool has 6 pages");
    REFUSED(use_pages(f); f->page_indices[0] = UINT32_MAX, RAPT_ERROR_ARGUMENT,
                          "page_indices[0] is 4294967295: the pool has 6 pages");
    REFUSED(use_pages(f);
            f->last_page_len[1] = 0, RAPT_ERROR_ARGUMENT, "last_page_len[1] is 0: expected 1 to 8");
    REFUSED(use_pages(f);
            f->last_page_len[0] = 9, RAPT_ERROR_ARGUMENT, "last_page_len[0] is 9: expected 1 to 8");
    REFUSED(use_pages(f); f->page_indptr[1] = 0, RAPT_ERROR_ARGUMENT,
                          "last_page_len[0] is 4: sequence 0 has no pages, so it must be 0");
    REFUSED(use_pages(f); f->page_indptr[2] = 1u << 30, RAPT_ERROR_ARGUMENT,
                          "sequence 1 has 1073741821 pages of 8 tokens: too long");
    REFUSED(use_pages(f); f->p.v.n_elements = 767, RAPT_ERROR_SHAPE,
                          "v has 767 elements: its lengths and strides reach to element 768");
}

static void numbers(void **state)
{
    (void)state;
    REFUSED(f->p.scale = NAN, RAPT_ERROR_ARGUMENT, "scale is nan: it must be finite");
    REFUSED(f->p.scale = -INFINITY, RAPT_ERROR_ARGUMENT, "scale is -inf: it must be finite");
    REFUSED(f->p.softcap = NAN, RAPT_ERROR_ARGUMENT, "softcap is nan: it must be finite");
    REFUSED(f->p.softcap = INFINITY, RAPT_ERROR_ARGUMENT, "softcap is inf: it must be finite");
    REFUSED(f->p.softcap = -30, RAPT_ERROR_ARGUMENT, "softcap is -30: it must not be negative");
    REFUSED(f->p.use_max_logit_const = 1; f->p.max_logit_const = NAN, RAPT_ERROR_ARGUMENT,
                                          "max_logit_const is nan: it must be finite");
    ACCEPTED(f->p.max_logit_const = NAN); /* not used */
    REFUSED(f->p.slopes = f->slopes;
            f->slopes[3] = NAN, RAPT_ERROR_ARGUMENT, "slopes[3] is nan: it must be finite");
    REFUSED(f->p.sinks = f->sinks;
            f->sinks[2] = NAN, RAPT_ERROR_ARGUMENT, "sinks[2] is nan: finite, or -inf for none");
    REFUSED(f->p.sinks = f->sinks; f->sinks[0] = INFINITY, RAPT_ERROR_ARGUMENT,
                                   "sinks[0] is inf: finite, or -inf for none");
}

static void positions(void **state)
{
    (void)state;
    REFUSED(f->p.q_pos = f->q_pos; f->p.q_pos0 = f->q_pos0, RAPT_ERROR_ARGUMENT,
                                   "q_pos and q_pos0 are both set: give one of them");
    REFUSED(f->p.q_pos = f->q_pos; f->q_pos[7] = 1 << 30, RAPT_ERROR_ARGUMENT,
                                   "q_pos[7] is 1073741824: magnitudes must be below 2^30");
    REFUSED(f->p.q_pos = f->q_pos; f->q_pos[0] = INT32_MIN, RAPT_ERROR_ARGUMENT,
                                   "q_pos[0] is -2147483648: magnitudes must be below 2^30");
    REFUSED(f->p.q_pos0 = f->q_pos0;
            f->q_pos0[1] = (1 << 30) - 3, RAPT_ERROR_ARGUMENT,
            "q_pos0[1] is 1073741821 with 3 queries: positions must stay below 2^30");
    REFUSED(f->p.kv_pos0 = f->kv_pos0;
            f->kv_pos0[0] = -(1 << 30), RAPT_ERROR_ARGUMENT,
            "kv_pos0[0] is -1073741824 with 20 keys: positions must stay below 2^30");
    REFUSED(f->p.kv_pos0 = f->kv_pos0;
            f->kv_pos0[1] = INT32_MAX, RAPT_ERROR_ARGUMENT,
            "kv_pos0[1] is 2147483647 with 12 keys: positions must stay below 2^30");
}

static void masks(void **state)
{
    (void)state;
    REFUSED(f->p.mask = prefix_mask, RAPT_ERROR_ARGUMENT,
            "prefix is NULL: the mask mentions prefix, which needs int32[2]");
    const rapt_mask *heads[4] = {NULL, NULL, NULL, prefix_mask};
    REFUSED(f->p.mask_heads = heads, RAPT_ERROR_ARGUMENT,
            "prefix is NULL: the mask mentions prefix, which needs int32[2]");
    ACCEPTED(f->p.mask_heads = heads; f->p.prefix = f->prefix);
    rapt_mask_data data = {.struct_size = sizeof data, .prefix = ids};
    ACCEPTED(f->p.mask = prefix_mask; f->p.mask_data = &data);
    data.struct_size = 0;
    REFUSED(f->p.mask_data = &data, RAPT_ERROR_ARGUMENT,
            "rapt_mask_data.struct_size is 0: set it to sizeof(rapt_mask_data)");
    data.struct_size = sizeof data;
    heads[0] = segments_mask;
    REFUSED(f->p.mask_heads = heads; f->p.mask_data = &data, RAPT_ERROR_ARGUMENT,
                                     "mask_data.segments_q is NULL: the mask mentions segments, "
                                     "which needs one int32 per query");
    data.segments_q = ids;
    REFUSED(
        f->p.mask_heads = heads;
        f->p.mask_data = &data, RAPT_ERROR_ARGUMENT,
        "mask_data.segments_kv is NULL: the mask mentions segments, which needs one int32 per key");
    data.segments_kv = ids;
    ACCEPTED(f->p.mask_heads = heads; f->p.mask_data = &data);
}

static void biases(void **state)
{
    (void)state;
    REFUSED(use_bias(f); f->p.bias.n_elements = 135, RAPT_ERROR_SHAPE,
                         "bias has 135 elements: its lengths and strides reach to element 136");
    REFUSED(use_bias(f); f->p.bias.layout.dim_stride = 2, RAPT_ERROR_UNSUPPORTED,
                         "bias.layout.dim_stride is 2: keys of a row must be contiguous");
    REFUSED(use_bias(f); f->p.bias.layout.head_stride = 1, RAPT_ERROR_SHAPE,
                         "bias has 136 elements: its lengths and strides reach to element 139");
    REFUSED(use_bias(f); f->p.bias.layout.token_stride = 21, RAPT_ERROR_SHAPE,
                         "bias has 136 elements: its lengths and strides reach to element 154");
}

static void use_static(struct fixture *f, rapt_type type)
{
    f->p.kv_type = type;
    f->p.scale_kind = RAPT_SCALE_STATIC;
    f->p.k_scale = f->p.v_scale = f->scales;
    f->p.n_k_scale = 2;
    f->p.n_v_scale = 1;
}

static void scales(void **state)
{
    (void)state;
    const rapt_type blocks[] = {RAPT_TYPE_INT4, RAPT_TYPE_Q8_0, RAPT_TYPE_Q4_0};
    for (int i = 0; i < 3; i++)
        ACCEPTED(f->p.kv_type = blocks[i]; f->p.head_dim = 32; f->p.head_dim_v = 32;
                 f->p.n_q_heads = 2; f->p.n_kv_heads = 1; f->p.v.n_elements *= 2);
    ACCEPTED(use_static(f, RAPT_TYPE_INT8));
    ACCEPTED(use_static(f, RAPT_TYPE_FP8_E4M3); f->p.scale_type = RAPT_TYPE_F16);
    ACCEPTED(f->p.kv_type = RAPT_TYPE_INT8; f->p.scale_kind = RAPT_SCALE_TOKEN);
    ACCEPTED(f->p.kv_type = RAPT_TYPE_INT8; f->p.integer_dot = RAPT_CHOICE_ALWAYS);
    REFUSED(f->p.kv_type = RAPT_TYPE_INT4; f->p.head_dim = 32; f->p.n_q_heads = 2;
            f->p.n_kv_heads = 1, RAPT_ERROR_ARGUMENT,
            "head_dim_v is 8: kv_type int4 needs a multiple of 32");
    REFUSED(f->p.kv_type = RAPT_TYPE_INT8; f->p.scale_type = RAPT_TYPE_BF16, RAPT_ERROR_ARGUMENT,
                                           "scale_type is 3: expected f32 or f16");
    REFUSED(f->p.kv_type = RAPT_TYPE_INT8;
            f->p.scale_kind = (rapt_scale_kind)5, RAPT_ERROR_ARGUMENT,
            "scale_kind is 5: expected RAPT_SCALE_TOKEN_HEAD, TOKEN or STATIC");
    REFUSED(f->p.kv_type = RAPT_TYPE_FP8_E4M3;
            f->p.scale_kind = RAPT_SCALE_TOKEN, RAPT_ERROR_ARGUMENT,
            "scale_kind is RAPT_SCALE_TOKEN, the type fp8_e4m3: one scale per token is for int8");
    REFUSED(use_static(f, RAPT_TYPE_F16), RAPT_ERROR_ARGUMENT,
            "scale_kind is RAPT_SCALE_STATIC, the type f16: static scales are for int8 and "
            "fp8_e4m3");
    REFUSED(use_static(f, RAPT_TYPE_INT8);
            f->p.k_scale = NULL, RAPT_ERROR_ARGUMENT, "k_scale is NULL: static scales need it");
    REFUSED(use_static(f, RAPT_TYPE_INT8);
            f->p.n_v_scale = 3, RAPT_ERROR_SHAPE, "n_v_scale is 3: expected 1 or one per head, 2");
    REFUSED(use_static(f, RAPT_TYPE_INT8);
            f->scales[1] = -1, RAPT_ERROR_ARGUMENT,
            "k_scale[1] is -1: expected a finite number above 0 that f32 can hold");
    REFUSED(use_static(f, RAPT_TYPE_INT8); f->p.scale_type = RAPT_TYPE_F16;
            f->scales[0] = 1e5f, RAPT_ERROR_ARGUMENT,
            "k_scale[0] is 100000: expected a finite number above 0 that f16 can hold");
    REFUSED(f->p.kv_type = RAPT_TYPE_INT8;
            f->p.v_scale = f->scales, RAPT_ERROR_ARGUMENT,
            "v_scale is set, scale_kind is 0: static scales need RAPT_SCALE_STATIC");
    REFUSED(f->p.integer_dot = (rapt_choice)3, RAPT_ERROR_ARGUMENT,
            "integer_dot is 3: expected RAPT_CHOICE_*");
}

static void use_rope(struct fixture *f)
{
    f->rope = (rapt_rope){.struct_size = sizeof f->rope, .pairing = RAPT_ROPE_NEOX};
    f->p.rope = &f->rope;
}

/* Positions 0 to 19: enough for every key, not for query 4 of sequence 1 if there were one. */
static void use_table(struct fixture *f)
{
    use_rope(f);
    f->rope.table = f->table;
    f->rope.n_table_positions = 20;
}

static void rotation(void **state)
{
    (void)state;
    ACCEPTED(use_rope(f));
    ACCEPTED(use_table(f));
    ACCEPTED(use_rope(f); use_pages(f));
    ACCEPTED(use_rope(f); f->p.rope_pos = f->rope_pos; f->p.k_rope_pos = f->k_rope_pos);
    ACCEPTED(use_rope(f); f->rope.pairing = RAPT_ROPE_NONE; f->rope.rotary_dim = 3);
    REFUSED(use_rope(f); f->rope.struct_size = 0, RAPT_ERROR_ARGUMENT,
                         "rapt_rope.struct_size is 0: set it to sizeof(rapt_rope)");
    REFUSED(use_rope(f); f->rope.pairing = (rapt_rope_pairing)3, RAPT_ERROR_ARGUMENT,
                         "rope.pairing is 3: expected RAPT_ROPE_NONE, NEOX or GPTJ");
    REFUSED(use_rope(f); f->rope.rotary_dim = 5, RAPT_ERROR_ARGUMENT,
                         "rope.rotary_dim is 5: dims are rotated in pairs");
    REFUSED(use_rope(f); f->rope.rotary_dim = 12;
            f->rope.rotary_offset = 6, RAPT_ERROR_SHAPE,
            "rope.rotary_offset is 6 and rotary_dim is 12: together they pass head_dim, 16");
    REFUSED(use_rope(f); f->rope.theta = -1, RAPT_ERROR_ARGUMENT,
                         "rope.theta is -1: expected a finite number above 0");
    REFUSED(use_table(f);
            f->rope.table = NULL, RAPT_ERROR_ARGUMENT,
            "rope.table is NULL: n_table_positions is 20, and a problem brings its table");
    REFUSED(use_table(f); f->rope.n_table_positions = 19, RAPT_ERROR_ARGUMENT,
                          "query 4 is rotated at position 19: rope.table has positions 0 to 18");
    REFUSED(use_table(f); f->p.k_rope_pos = f->k_rope_pos;
            f->k_rope_pos[31] = -1, RAPT_ERROR_ARGUMENT,
            "key 31 is rotated at position -1: rope.table has positions 0 to 19");
    REFUSED(use_rope(f); f->p.rope_pos = f->rope_pos;
            f->rope_pos[7] = 1 << 30, RAPT_ERROR_ARGUMENT,
            "query 7 is rotated at position 1073741824: magnitudes must be below 2^30");
    REFUSED(f->p.rope_pos = f->rope_pos, RAPT_ERROR_ARGUMENT,
            "rope_pos is set, but rope rotates nothing");
    REFUSED(f->p.k_rope_pos = f->k_rope_pos, RAPT_ERROR_ARGUMENT,
            "k_rope_pos is set, but rope rotates nothing");
    REFUSED(use_rope(f); use_pages(f);
            f->p.k_rope_pos = f->k_rope_pos, RAPT_ERROR_ARGUMENT,
            "k_rope_pos is set: a page pool holds keys that are rotated already");
}

static void structs(void **state)
{
    (void)state;
    REFUSED(f->p.struct_size = 0, RAPT_ERROR_ARGUMENT,
            "rapt_problem.struct_size is 0: set it to sizeof(rapt_problem)");
    assert_int_equal(rapt_problem_check(NULL), RAPT_ERROR_ARGUMENT);
    assert_string_equal(rapt_last_error(), "rapt_problem is NULL");
    fill(&fixture);
    rapt_reference_params params = {0};
    assert_int_equal(rapt_reference_attention(&fixture.p, &params, NULL, NULL, NULL, NULL),
                     RAPT_ERROR_ARGUMENT);
    rapt_result result = {0};
    assert_int_equal(rapt_reference_attention(&fixture.p, NULL, &result, NULL, NULL, NULL),
                     RAPT_ERROR_ARGUMENT);
    rapt_error error = {.struct_size = sizeof error};
    assert_int_equal(rapt_reference_check(&fixture.p, NULL, NULL, RAPT_BOUND_PORTABLE, &error),
                     RAPT_ERROR_ARGUMENT);
    result.struct_size = sizeof result;
    assert_int_equal(rapt_reference_check(&fixture.p, NULL, &result, RAPT_BOUND_PORTABLE, NULL),
                     RAPT_ERROR_ARGUMENT);
    assert_string_equal(rapt_last_error(), "out_error is NULL");
}

static int setup(void **state)
{
    (void)state;
    return rapt_mask_parse(NULL, "causal & prefix", NULL, &prefix_mask) != RAPT_OK ||
           rapt_mask_parse(NULL, "causal & segments", NULL, &segments_mask) != RAPT_OK;
}

static int teardown(void **state)
{
    (void)state;
    rapt_mask_destroy(&prefix_mask);
    rapt_mask_destroy(&segments_mask);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sound_problems_pass),
        cmocka_unit_test(shapes),
        cmocka_unit_test(types),
        cmocka_unit_test(lengths),
        cmocka_unit_test(entries_past_the_batch_do_not_matter),
        cmocka_unit_test(layouts),
        cmocka_unit_test(absurd_sizes),
        cmocka_unit_test(pages),
        cmocka_unit_test(numbers),
        cmocka_unit_test(positions),
        cmocka_unit_test(masks),
        cmocka_unit_test(biases),
        cmocka_unit_test(scales),
        cmocka_unit_test(rotation),
        cmocka_unit_test(structs),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
