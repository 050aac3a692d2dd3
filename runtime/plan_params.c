/* SPDX-License-Identifier: Apache-2.0 */

/* The plan's parameters: every way they can be impossible, and their defaults. */

#include "plan.h"

#include "error.h"
#include "kv_format.h"

#include <math.h>

#define MAX_HEADS 65536u
#define MAX_BATCH 65535u
#define MAX_LENGTH (1u << 30)

static int is_float_type(rapt_type type)
{
    return type == RAPT_TYPE_F32 || type == RAPT_TYPE_F16 || type == RAPT_TYPE_BF16;
}

static rapt_status check_type(const char *name, rapt_type type)
{
    if (is_float_type(type))
        return RAPT_OK;
    const char *word = rapt_type_name(type);
    if (word)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s is %s: expected f32, f16 or bf16", name, word);
    return rapt_fail(RAPT_ERROR_ARGUMENT, "%s is %d: expected f32, f16 or bf16", name, (int)type);
}

static rapt_status check_dim(const char *name, uint32_t dim)
{
    if (dim < 8 || dim > 576 || dim % 8 != 0)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s is %u: expected a multiple of 8 from 8 to 576",
                         name, dim);
    return RAPT_OK;
}

static rapt_status check_stride(const char *tensor, const char *stride, uint64_t value,
                                uint64_t least, rapt_type type)
{
    if (value < least)
        return rapt_fail(RAPT_ERROR_SHAPE, "%s.%s is %llu: rows of %llu %s would overlap", tensor,
                         stride, (unsigned long long)value, (unsigned long long)least,
                         rapt_kv_quantized(type) ? "bytes" : "elements");
    if (value > UINT32_MAX)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s.%s is %llu: strides must stay below 2^32", tensor,
                         stride, (unsigned long long)value);
    if (value % rapt_kv_granule(type) != 0)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s.%s is %llu: %s need even strides", tensor, stride,
                         (unsigned long long)value,
                         rapt_kv_quantized(type) ? "rows of blocks" : "16-bit tensors");
    return RAPT_OK;
}

/* Fills the dense default in and checks the rest. page_size 0: packed or padded tokens. `dim` of a
 * quantized tensor is its rows' bytes. */
static rapt_status complete_layout(const char *tensor, uint32_t n_heads, uint32_t dim,
                                   rapt_type type, uint32_t page_size, rapt_layout *layout)
{
    if (layout->dim_stride > 1)
        return rapt_fail(RAPT_ERROR_ARGUMENT,
                         "%s.dim_stride is %llu: the head dim must be contiguous (1)", tensor,
                         (unsigned long long)layout->dim_stride);
    layout->dim_stride = 1;
    if (!layout->outer_stride && !layout->token_stride && !layout->head_stride) {
        layout->head_stride = dim;
        layout->token_stride = (uint64_t)n_heads * dim;
        layout->outer_stride = page_size * layout->token_stride;
    }
    if (n_heads == 1 && !layout->head_stride)
        layout->head_stride = dim;
    if (page_size == 1 && !layout->token_stride)
        layout->token_stride = layout->outer_stride;
    rapt_status status = check_stride(tensor, "token_stride", layout->token_stride, dim, type);
    if (status == RAPT_OK)
        status = check_stride(tensor, "head_stride", layout->head_stride, dim, type);
    if (status != RAPT_OK)
        return status;
    if (layout->outer_stride % rapt_kv_granule(type) != 0)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s.outer_stride is %llu: %s need even strides",
                         tensor, (unsigned long long)layout->outer_stride,
                         rapt_kv_quantized(type) ? "rows of blocks" : "16-bit tensors");
    if (page_size && layout->outer_stride < dim)
        return rapt_fail(RAPT_ERROR_SHAPE, "%s.outer_stride is %llu: pages would overlap", tensor,
                         (unsigned long long)layout->outer_stride);
    /* kernels multiply heads and their stride, tokens of a page and theirs, in 32 bits */
    if ((n_heads - 1) * layout->head_stride + dim > UINT32_MAX)
        return rapt_fail(RAPT_ERROR_ARGUMENT,
                         "%s.head_stride is %llu: %u heads of it pass 2^32 elements", tensor,
                         (unsigned long long)layout->head_stride, n_heads);
    if (page_size && (page_size - 1) * layout->token_stride + dim > UINT32_MAX)
        return rapt_fail(RAPT_ERROR_ARGUMENT,
                         "%s.token_stride is %llu: a page of %u tokens passes 2^32 elements",
                         tensor, (unsigned long long)layout->token_stride, page_size);
    return RAPT_OK;
}

static rapt_status check_layouts(rapt_plan_params *p)
{
    uint32_t page = p->flags & RAPT_PLAN_PAGED ? p->page_size : 0;
    uint32_t k_row = rapt_kv_row(p->kv_type, p->head_dim);
    uint32_t v_row = rapt_kv_row(p->kv_type, p->head_dim_v);
    rapt_status status = complete_layout("q", p->n_q_heads, p->head_dim, p->q_type, 0, &p->q);
    if (status == RAPT_OK)
        status = complete_layout("k", p->n_kv_heads, k_row, p->kv_type, page, &p->k);
    if (status == RAPT_OK)
        status = complete_layout("v", p->n_kv_heads, v_row, p->kv_type, page, &p->v);
    if (status == RAPT_OK)
        status = complete_layout("out", p->n_q_heads, p->head_dim_v, p->out_type, 0, &p->out);
    return status;
}

static rapt_status check_heads(rapt_plan_params *p)
{
    if (p->n_q_heads == 0 || p->n_q_heads > MAX_HEADS)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "n_q_heads is %u: expected 1 to %u", p->n_q_heads,
                         MAX_HEADS);
    if (p->n_kv_heads == 0 || p->n_q_heads % p->n_kv_heads != 0)
        return rapt_fail(RAPT_ERROR_SHAPE,
                         "n_q_heads is %u, n_kv_heads is %u: query heads must be a multiple of "
                         "key/value heads",
                         p->n_q_heads, p->n_kv_heads);
    rapt_status status = check_dim("head_dim", p->head_dim);
    if (p->head_dim_v == 0)
        p->head_dim_v = p->head_dim;
    if (status == RAPT_OK)
        status = check_dim("head_dim_v", p->head_dim_v);
    return status;
}

static rapt_status check_types(rapt_plan_params *p)
{
    if (p->q_type == RAPT_TYPE_DEFAULT)
        p->q_type = RAPT_TYPE_F32;
    if (p->kv_type == RAPT_TYPE_DEFAULT)
        p->kv_type = RAPT_TYPE_F16;
    if (p->out_type == RAPT_TYPE_DEFAULT)
        p->out_type = p->q_type;
    if (p->bias_type == RAPT_TYPE_DEFAULT)
        p->bias_type = RAPT_TYPE_F32;
    rapt_status status = check_type("q_type", p->q_type);
    if (status == RAPT_OK && !rapt_type_name(p->kv_type))
        status = rapt_fail(RAPT_ERROR_ARGUMENT, "kv_type is %d: no such type", (int)p->kv_type);
    if (status == RAPT_OK)
        status = check_type("out_type", p->out_type);
    if (status == RAPT_OK && p->bias_type != RAPT_TYPE_F32 && p->bias_type != RAPT_TYPE_F16)
        status = rapt_fail(RAPT_ERROR_ARGUMENT, "bias_type is %d: expected f32 or f16",
                           (int)p->bias_type);
    return status;
}

static rapt_status check_flags(rapt_plan_params *p)
{
    const uint32_t known = RAPT_PLAN_TOKEN_LISTS * 2u - 1;
    if (p->flags & ~known)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "flags has the unknown bits 0x%x", p->flags & ~known);
    if ((p->flags & RAPT_PLAN_MAX_LOGIT_REDUCED) && !(p->flags & RAPT_PLAN_MAX_LOGIT))
        return rapt_fail(RAPT_ERROR_ARGUMENT,
                         "flags has MAX_LOGIT_REDUCED without MAX_LOGIT, which it is made of");
    if (!isfinite(p->scale))
        return rapt_fail(RAPT_ERROR_ARGUMENT, "scale is %g: it must be finite", (double)p->scale);
    if (p->scale == 0)
        p->scale = (float)(1.0 / sqrt((double)p->head_dim));
    if (!isfinite(p->softcap) || p->softcap < 0)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "softcap is %g: expected a finite number >= 0",
                         (double)p->softcap);
    if (p->flags & RAPT_PLAN_PAGED) {
        if (p->page_size == 0 || p->page_size > 256 || (p->page_size & (p->page_size - 1)) != 0)
            return rapt_fail(RAPT_ERROR_ARGUMENT,
                             "page_size is %u: expected a power of two from 1 to 256",
                             p->page_size);
    } else if (p->page_size != 0) {
        return rapt_fail(RAPT_ERROR_ARGUMENT, "page_size is %u without RAPT_PLAN_PAGED",
                         p->page_size);
    }
    if ((unsigned)p->path > RAPT_PATH_COOPMAT2)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "path is %d: not one of RAPT_PATH_*", (int)p->path);
    return RAPT_OK;
}

static rapt_status check_capacity(rapt_plan_params *p)
{
    if (p->max_batch == 0)
        p->max_batch = 1;
    if (p->max_batch > MAX_BATCH)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "max_batch is %u: at most %u", p->max_batch,
                         MAX_BATCH);
    if (p->max_total_q == 0)
        p->max_total_q = p->max_batch;
    if ((uint64_t)p->max_total_q * p->n_q_heads >= 1u << 31)
        return rapt_fail(RAPT_ERROR_ARGUMENT,
                         "max_total_q is %u: with %u heads that is more than 2^31 rows",
                         p->max_total_q, p->n_q_heads);
    if (p->max_kv_len == 0)
        p->max_kv_len = 131072;
    if (p->max_kv_len >= MAX_LENGTH)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "max_kv_len is %u: it must stay below 2^30",
                         p->max_kv_len);
    if (p->max_pages >= MAX_LENGTH)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "max_pages is %u: it must stay below 2^30",
                         p->max_pages);
    if (p->n_steps_in_flight == 0)
        p->n_steps_in_flight = 3;
    if (p->n_steps_in_flight > 64)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "n_steps_in_flight is %u: at most 64",
                         p->n_steps_in_flight);
    if (p->max_records_per_step == 0)
        p->max_records_per_step = 64;
    if (p->max_records_per_step > 65536)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "max_records_per_step is %u: at most 65536",
                         p->max_records_per_step);
    return RAPT_OK;
}

static rapt_status check_knobs(const rapt_plan_params *p)
{
    if (p->n_splits && p->fixed_split)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "n_splits and fixed_split are both set: give one");
    if (p->n_splits > 4096)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "n_splits is %u: at most 4096", p->n_splits);
    if (p->fixed_split % 8 != 0 || p->fixed_split >= MAX_LENGTH)
        return rapt_fail(RAPT_ERROR_ARGUMENT,
                         "fixed_split is %u: expected a multiple of 8 keys below 2^30",
                         p->fixed_split);
    if (p->block_kv && p->pages_per_block)
        return rapt_fail(RAPT_ERROR_ARGUMENT,
                         "block_kv and pages_per_block are both set: give one");
    if (p->pages_per_block && !(p->flags & RAPT_PLAN_PAGED))
        return rapt_fail(RAPT_ERROR_ARGUMENT, "pages_per_block is %u without RAPT_PLAN_PAGED",
                         p->pages_per_block);
    if (p->pages_per_block > 4096)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "pages_per_block is %u: at most 4096",
                         p->pages_per_block);
    return RAPT_OK;
}

static rapt_status check_lists(rapt_plan_params *p)
{
    uint32_t heads = p->n_q_heads / p->n_kv_heads;
    if (p->head_group == 0)
        p->head_group = heads;
    if (heads % p->head_group != 0)
        return rapt_fail(RAPT_ERROR_ARGUMENT,
                         "head_group is %u: expected a divisor of the %u query heads of a key/value "
                         "head",
                         p->head_group, heads);
    if (!(p->flags & RAPT_PLAN_BLOCKS)) {
        if (p->list_block_q || p->max_spans || p->max_bit_words)
            return rapt_fail(RAPT_ERROR_ARGUMENT, "%s is set without RAPT_PLAN_BLOCKS",
                             p->list_block_q ? "list_block_q"
                             : p->max_spans  ? "max_spans"
                                             : "max_bit_words");
        return RAPT_OK;
    }
    if (p->list_block_q == 0)
        p->list_block_q = 64;
    if (p->list_block_q < 16 || p->list_block_q > 256 ||
        (p->list_block_q & (p->list_block_q - 1)) != 0)
        return rapt_fail(RAPT_ERROR_ARGUMENT,
                         "list_block_q is %u: expected a power of two from 16 to 256",
                         p->list_block_q);
    uint64_t blocks = (uint64_t)p->max_total_q / p->list_block_q + p->max_batch;
    if (p->max_spans == 0)
        p->max_spans = (uint32_t)(blocks * 16 < MAX_LENGTH / 4 ? blocks * 16 : MAX_LENGTH / 4);
    if (p->max_bit_words == 0)
        p->max_bit_words = 65536;
    if (p->max_spans >= MAX_LENGTH || p->max_bit_words >= MAX_LENGTH)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s is %u: it must stay below 2^30",
                         p->max_spans >= MAX_LENGTH ? "max_spans" : "max_bit_words",
                         p->max_spans >= MAX_LENGTH ? p->max_spans : p->max_bit_words);
    return RAPT_OK;
}

rapt_status rapt_plan_params_check(const rapt_plan_params *caller, rapt_plan_params *out_params)
{
    rapt_status status =
        rapt_params_read("rapt_plan_params", caller, out_params, sizeof *out_params);
    if (status == RAPT_OK)
        status = check_heads(out_params);
    if (status == RAPT_OK)
        status = check_types(out_params);
    if (status == RAPT_OK)
        status = check_flags(out_params);
    if (status == RAPT_OK)
        status = rapt_kv_params_check(out_params);
    if (status == RAPT_OK)
        status = check_layouts(out_params);
    if (status == RAPT_OK)
        status = check_capacity(out_params);
    if (status == RAPT_OK)
        status = check_lists(out_params);
    if (status == RAPT_OK)
        status = check_knobs(out_params);
    if (status == RAPT_OK)
        status = rapt_append_params_check(out_params);
    return status;
}

uint32_t rapt_plan_features(const rapt_plan_params *p)
{
    static const struct {
        uint32_t flag, feature;
    } map[] = {
        {RAPT_PLAN_ALIBI, RAPT_FEAT_ALIBI},
        {RAPT_PLAN_SINKS, RAPT_FEAT_SINKS},
        {RAPT_PLAN_LSE, RAPT_FEAT_LSE},
        {RAPT_PLAN_MAX_LOGIT, RAPT_FEAT_MAX_LOGIT},
        {RAPT_PLAN_UNNORMALISED, RAPT_FEAT_UNNORMALISED},
        {RAPT_PLAN_CONST_MAX, RAPT_FEAT_CONST_MAX},
        {RAPT_PLAN_PAGED, RAPT_FEAT_PAGED},
        {RAPT_PLAN_ROPE_Q, RAPT_FEAT_ROPE_Q},
        {RAPT_PLAN_BLOCKS, RAPT_FEAT_BLOCKS},
    };
    uint32_t features = p->softcap > 0 ? RAPT_FEAT_SOFTCAP : 0;
    for (size_t i = 0; i < sizeof map / sizeof map[0]; i++)
        if (p->flags & map[i].flag)
            features |= map[i].feature;
    if (p->n_kv_segments > 1)
        features |= RAPT_FEAT_SEGMENTS;
    if (p->flags & RAPT_PLAN_BIAS)
        features |= p->bias_type == RAPT_TYPE_F16 ? RAPT_FEAT_BIAS_F16 : RAPT_FEAT_BIAS_F32;
    return features;
}

void rapt_plan_request(const rapt_plan_params *p, struct rapt_select_request *out_request)
{
    /* any step may bring positions of its own */
    uint32_t features = rapt_plan_features(p) | RAPT_FEAT_Q_POS;
    if (p->flags & RAPT_PLAN_FEW_PIPELINES)
        features |= RAPT_FEAT_PAGED * 2 - 1;
    *out_request = (struct rapt_select_request){
        .n_q_heads = p->n_q_heads,
        .n_kv_heads = p->n_q_heads / p->head_group, /* what is packed decides, not what is shared */
        .head_dim = p->head_dim,
        .head_dim_v = p->head_dim_v,
        .q_type = p->q_type,
        .kv_type = p->kv_type,
        .out_type = p->out_type,
        .features = features,
        .page_size = p->flags & RAPT_PLAN_PAGED ? p->page_size : 0,
        .n_kv_segments = p->n_kv_segments,
        .integer_dot = p->integer_dot,
        .path = p->path,
        .block_q = p->block_q,
        .block_kv = p->block_kv,
        .pages_per_block = p->pages_per_block,
        .max_keys_per_item = p->max_keys_per_item,
        .shared_memory_limit = p->shared_memory_limit,
        .tiles = p->tiles,
        .tile_prefill = p->tile_prefill,
        .tile_decode = p->tile_decode,
        .tile_few = p->tile_few_rows,
        .keys_at_once = p->keys_at_once,
    };
}
