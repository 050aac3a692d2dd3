/* SPDX-License-Identifier: Apache-2.0 */

/* One step: checks its lengths and tables, builds the work list straight into the slot. The slot
 * may be write-combined memory, so it is written once, front to back where possible, and never
 * read. */

#include "plan.h"

#include "batch.h"
#include "checked.h"
#include "error.h"
#include "kv_format.h"
#include "step_inputs.h"
#include "work_parts.h"

#include <math.h>
#include <string.h>

_Static_assert(sizeof(struct rapt_step_header) == 4 * RAPT_STEP_HEADER_WORDS, "args.h");
_Static_assert(sizeof(struct rapt_step_seq) == 4 * RAPT_STEP_SEQ_WORDS, "args.h");
_Static_assert(sizeof(struct rapt_step_item) == 4 * RAPT_STEP_ITEM_WORDS, "args.h");
_Static_assert(sizeof(struct rapt_step_merge) == 4 * RAPT_STEP_MERGE_WORDS, "args.h");
_Static_assert(sizeof(struct rapt_step_stage) == 4 * RAPT_STEP_STAGE_WORDS, "args.h");
_Static_assert(sizeof(struct rapt_push) == RAPT_PUSH_BYTES, "args.h");

struct preparation {
    rapt_plan *plan;
    rapt_step_params params;
    struct rapt_batch batch;
    struct rapt_mask_closed mask;
    struct rapt_plan_needs needs;
    struct rapt_work work;
    struct rapt_plan_lists lists;
    uint32_t total_q, n_pages, max_kv_len, max_q_len;
    uint64_t total_kv;
};

/* --------------------------------------------------------------------------------------- checks */

static rapt_status check_capacity(struct preparation *prep)
{
    const rapt_plan_params *plan = &prep->plan->params;
    const struct rapt_batch *batch = &prep->batch;
    prep->total_q = (uint32_t)batch->cu_q[batch->n_seqs];
    prep->n_pages = batch->page_size ? batch->page_indptr[batch->n_seqs] : 0;
    if (batch->n_seqs > plan->max_batch)
        return rapt_fail(RAPT_ERROR_CAPACITY, "n_seqs is %u: the plan holds %u (max_batch)",
                         batch->n_seqs, plan->max_batch);
    if (prep->total_q > plan->max_total_q)
        return rapt_fail(RAPT_ERROR_CAPACITY,
                         "the step has %u query tokens: the plan holds %u (max_total_q)",
                         prep->total_q, plan->max_total_q);
    if (prep->n_pages > plan->max_pages)
        return rapt_fail(RAPT_ERROR_CAPACITY,
                         "the step has %u page ids: the plan holds %u (max_pages)", prep->n_pages,
                         plan->max_pages);
    if (plan->n_kv_segments > 1 &&
        (uint64_t)plan->n_kv_segments * plan->pages_per_segment < batch->n_pool_pages)
        return rapt_fail(RAPT_ERROR_SHAPE,
                         "n_pool_pages is %u: the plan's %u pieces hold %u each "
                         "(pages_per_segment)",
                         batch->n_pool_pages, plan->n_kv_segments, plan->pages_per_segment);
    for (uint32_t b = 0; b < batch->n_seqs; b++) {
        uint32_t kv_len = rapt_batch_kv_len(batch, b);
        if (kv_len > plan->max_kv_len)
            return rapt_fail(RAPT_ERROR_CAPACITY,
                             "sequence %u has %u keys: the plan holds %u (max_kv_len)", b, kv_len,
                             plan->max_kv_len);
    }
    return RAPT_OK;
}

static rapt_status check_offsets(const char *name, const uint64_t *offsets, uint32_t n_seqs,
                                 rapt_type type)
{
    if (rapt_kv_granule(type) == 1 || !offsets)
        return RAPT_OK;
    for (uint32_t b = 0; b < n_seqs; b++)
        if (offsets[b] % 2 != 0)
            return rapt_fail(RAPT_ERROR_ARGUMENT, "%s[%u] is %llu: %s need even offsets", name, b,
                             (unsigned long long)offsets[b],
                             rapt_kv_quantized(type) ? "rows of blocks" : "16-bit tensors");
    return RAPT_OK;
}

static rapt_status check_values(const struct preparation *prep)
{
    const rapt_plan_params *plan = &prep->plan->params;
    const rapt_step_params *step = &prep->params;
    if ((plan->flags & RAPT_PLAN_CONST_MAX) && !isfinite(step->max_logit_const))
        return rapt_fail(RAPT_ERROR_ARGUMENT, "max_logit_const is %g: it must be finite",
                         (double)step->max_logit_const);
    if (!(plan->flags & RAPT_PLAN_BIAS) &&
        (step->bias_offsets || step->bias_head_stride || step->bias_row_stride))
        return rapt_fail(RAPT_ERROR_ARGUMENT,
                         "bias offsets or strides are given: the plan has no RAPT_PLAN_BIAS");
    if ((step->k_scale_offsets || step->v_scale_offsets) &&
        (prep->batch.page_size || plan->scale_kind == RAPT_SCALE_STATIC ||
         !rapt_kv_row_scales(plan->kv_type, plan->head_dim)))
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s is set: it is for the scales of packed tokens",
                         step->k_scale_offsets ? "k_scale_offsets" : "v_scale_offsets");
    if (prep->batch.page_size && (step->k_offsets || step->v_offsets))
        return rapt_fail(RAPT_ERROR_ARGUMENT,
                         "%s is set: paged K/V are found through the block tables",
                         step->k_offsets ? "k_offsets" : "v_offsets");
    rapt_status status = check_offsets("q_offsets", step->q_offsets, step->n_seqs, plan->q_type);
    if (status == RAPT_OK)
        status = check_offsets("k_offsets", step->k_offsets, step->n_seqs, plan->kv_type);
    if (status == RAPT_OK)
        status = check_offsets("v_offsets", step->v_offsets, step->n_seqs, plan->kv_type);
    if (status == RAPT_OK)
        status = check_offsets("out_offsets", step->out_offsets, step->n_seqs, plan->out_type);
    if (status == RAPT_OK)
        status = rapt_rotation_check(&prep->plan->rotation, &prep->batch, step->rope_pos);
    return status;
}

/* ---------------------------------------------------------------------------------------- bases */

/* Element of token 0, head 0 of sequence b. */
static uint64_t base_of(const rapt_layout *layout, const uint64_t *offsets, const int32_t *cu,
                        uint32_t b)
{
    if (offsets)
        return offsets[b];
    if (layout->outer_stride)
        return rapt_mul_sat(b, layout->outer_stride);
    return (uint64_t)cu[b] * layout->token_stride;
}

/* Elements from the buffer's offset to the end of the last row. */
static uint64_t reach(const rapt_layout *layout, uint64_t base, uint32_t n_tokens, uint32_t n_heads,
                      uint32_t dim)
{
    if (n_tokens == 0)
        return 0;
    return rapt_add_sat(base, (uint64_t)(n_tokens - 1) * layout->token_stride +
                                  (n_heads - 1) * layout->head_stride + dim);
}

static uint64_t max64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static uint64_t pool_reach(const rapt_layout *layout, const struct rapt_batch *batch,
                           uint32_t n_pages, uint32_t n_heads, uint32_t dim)
{
    if (n_pages == 0)
        return 0;
    return reach(layout, rapt_mul_sat(n_pages - 1, layout->outer_stride), batch->page_size, n_heads,
                 dim);
}

/* Pools, piece by piece, and their scales. */
static void measure_pools(struct preparation *prep)
{
    const rapt_plan_params *plan = &prep->plan->params;
    const struct rapt_batch *batch = &prep->batch;
    struct rapt_plan_needs *needs = &prep->needs;
    uint32_t k_row = rapt_kv_row(plan->kv_type, plan->head_dim);
    uint32_t v_row = rapt_kv_row(plan->kv_type, plan->head_dim_v);
    uint32_t left = batch->n_pool_pages;
    for (uint32_t i = 0; i < plan->n_kv_segments; i++) {
        uint32_t n = plan->n_kv_segments > 1 && left > plan->pages_per_segment
                         ? plan->pages_per_segment
                         : left;
        *(i ? &needs->k_pieces[i - 1] : &needs->k) =
            pool_reach(&plan->k, batch, n, plan->n_kv_heads, k_row);
        *(i ? &needs->v_pieces[i - 1] : &needs->v) =
            pool_reach(&plan->v, batch, n, plan->n_kv_heads, v_row);
        left -= n;
    }
    if (!rapt_kv_row_scales(plan->kv_type, plan->head_dim))
        return;
    needs->k_scale = pool_reach(&plan->k_scale, batch, batch->n_pool_pages, plan->n_kv_heads,
                                rapt_kv_row_scales(plan->kv_type, plan->head_dim));
    needs->v_scale = pool_reach(&plan->v_scale, batch, batch->n_pool_pages, plan->n_kv_heads,
                                rapt_kv_row_scales(plan->kv_type, plan->head_dim_v));
}

/* K and V of sequence b, where they are no pool. */
static void measure_packed(struct preparation *prep, uint32_t b, uint32_t kv_len)
{
    const rapt_plan_params *plan = &prep->plan->params;
    const rapt_step_params *step = &prep->params;
    const struct {
        const rapt_layout *layout;
        const uint64_t *offsets;
        uint32_t row;
        uint64_t *need;
    } tensors[] = {
        {&plan->k, step->k_offsets, rapt_kv_row(plan->kv_type, plan->head_dim), &prep->needs.k},
        {&plan->v, step->v_offsets, rapt_kv_row(plan->kv_type, plan->head_dim_v), &prep->needs.v},
        {&plan->k_scale, step->k_scale_offsets, rapt_kv_row_scales(plan->kv_type, plan->head_dim),
         &prep->needs.k_scale},
        {&plan->v_scale, step->v_scale_offsets, rapt_kv_row_scales(plan->kv_type, plan->head_dim_v),
         &prep->needs.v_scale},
    };
    for (size_t i = 0; i < sizeof tensors / sizeof tensors[0]; i++) {
        uint64_t base = base_of(tensors[i].layout, tensors[i].offsets, prep->batch.cu_kv, b);
        if (tensors[i].row)
            *tensors[i].need = max64(*tensors[i].need, reach(tensors[i].layout, base, kv_len,
                                                             plan->n_kv_heads, tensors[i].row));
    }
}

static void measure(struct preparation *prep)
{
    const rapt_plan_params *plan = &prep->plan->params;
    const rapt_step_params *step = &prep->params;
    const struct rapt_batch *batch = &prep->batch;
    struct rapt_plan_needs *needs = &prep->needs;
    for (uint32_t b = 0; b < batch->n_seqs; b++) {
        uint32_t q_len = rapt_batch_q_len(batch, b), kv_len = rapt_batch_kv_len(batch, b);
        prep->total_kv += kv_len;
        prep->max_kv_len = kv_len > prep->max_kv_len ? kv_len : prep->max_kv_len;
        prep->max_q_len = q_len > prep->max_q_len ? q_len : prep->max_q_len;
        needs->q =
            max64(needs->q, reach(&plan->q, base_of(&plan->q, step->q_offsets, batch->cu_q, b),
                                  q_len, plan->n_q_heads, plan->head_dim));
        needs->out = max64(needs->out,
                           reach(&plan->out, base_of(&plan->out, step->out_offsets, batch->cu_q, b),
                                 q_len, plan->n_q_heads, plan->head_dim_v));
        if (plan->flags & RAPT_PLAN_APPEND) {
            if (q_len > kv_len && !needs->no_append)
                needs->no_append = b + 1;
            needs->k_new =
                max64(needs->k_new, reach(&plan->k_new, base_of(&plan->k_new, NULL, batch->cu_q, b),
                                          q_len, plan->n_kv_heads, plan->head_dim));
            needs->v_new =
                max64(needs->v_new, reach(&plan->v_new, base_of(&plan->v_new, NULL, batch->cu_q, b),
                                          q_len, plan->n_kv_heads, plan->head_dim_v));
        }
        if (!batch->page_size)
            measure_packed(prep, b, kv_len);
        if ((plan->flags & RAPT_PLAN_BIAS) && q_len && kv_len) {
            uint64_t row = step->bias_row_stride ? step->bias_row_stride : kv_len;
            uint64_t last = (uint64_t)(plan->n_q_heads - 1) * step->bias_head_stride +
                            (q_len - 1) * row + kv_len;
            needs->bias = max64(needs->bias,
                                rapt_add_sat(step->bias_offsets ? step->bias_offsets[b] : 0, last));
        }
    }
    if (batch->page_size)
        measure_pools(prep);
}

/* Through descriptors kernels count elements in 32 bits. */
static rapt_status check_reach(const struct preparation *prep)
{
    const rapt_plan *plan = prep->plan;
    const struct rapt_plan_needs *needs = &prep->needs;
    const struct {
        const char *name;
        uint64_t n;
        int narrow;
    } tensors[] = {
        {"q", needs->q, plan->narrow},
        {"k", needs->k, plan->narrow},
        {"v", needs->v, plan->narrow},
        {"out", needs->out, plan->narrow_out},
        {"bias", needs->bias, 1},
        {"k_scale", needs->k_scale, plan->narrow},
        {"v_scale", needs->v_scale, plan->narrow},
    };
    for (size_t i = 0; i < sizeof tensors / sizeof tensors[0]; i++)
        if (tensors[i].narrow && tensors[i].n > UINT32_MAX)
            return rapt_fail(RAPT_ERROR_SHAPE,
                             "%s reaches to element %llu: this plan's kernels index 2^32",
                             tensors[i].name, (unsigned long long)tensors[i].n);
    return RAPT_OK;
}

/* ------------------------------------------------------------------------------------- the slot */

static uint32_t lo(uint64_t x)
{
    return (uint32_t)x;
}

static uint32_t hi(uint64_t x)
{
    return (uint32_t)(x >> 32);
}

static void write_header(const struct preparation *prep, uint32_t *words)
{
    const rapt_plan *plan = prep->plan;
    const rapt_plan_params *p = &plan->params;
    const struct rapt_plan_places *places = &plan->places;
    const struct rapt_work *work = &prep->work;
    struct rapt_step_header header = {
        .version = RAPT_STEP_VERSION,
        .features = plan->features | (prep->batch.q_pos ? RAPT_FEAT_Q_POS : 0),
        .n_q_heads = p->n_q_heads,
        .n_kv_heads = p->n_kv_heads,
        .group = plan->work.group,
        .n_seqs = prep->batch.n_seqs,
        .total_q = prep->total_q,
        .n_pages = prep->batch.n_pool_pages,
        .q_token_stride = lo(p->q.token_stride),
        .q_head_stride = lo(p->q.head_stride),
        .k_token_stride = lo(p->k.token_stride),
        .k_head_stride = lo(p->k.head_stride),
        .v_token_stride = lo(p->v.token_stride),
        .v_head_stride = lo(p->v.head_stride),
        .out_token_stride = lo(p->out.token_stride),
        .out_head_stride = lo(p->out.head_stride),
        .scale = p->scale,
        .softcap = p->softcap,
        .max_logit_const = p->flags & RAPT_PLAN_CONST_MAX ? prep->params.max_logit_const : 0,
        .left = prep->mask.left < RAPT_UNBOUNDED ? prep->mask.left : RAPT_UNBOUNDED,
        .right = prep->mask.right < RAPT_UNBOUNDED ? prep->mask.right : RAPT_UNBOUNDED,
        .chunk = prep->mask.chunk,
        .seqs_word = places->seqs,
        .items_word = places->items,
        .merges_word = places->merges,
        .q_pos_word = places->q_pos,
        .pages_word = places->pages,
        .stages_word = places->stages,
        .n_prefill_items = work->n_prefill_items,
        .n_decode_items = work->n_decode_items,
        .n_merges = work->n_merges,
        .n_stages = work->n_stages,
        .partial_o_word = places->partial_o,
        .partial_ml_word = places->partial_ml,
        .stage_k_word = places->stage_k,
        .stage_v_word = places->stage_v,
        .bias_head_stride = prep->params.bias_head_stride,
        .bias_row_stride = prep->params.bias_row_stride,
        .n_segments = p->n_kv_segments > 1 ? p->n_kv_segments : 0,
    };
    if (rapt_kv_row_scales(p->kv_type, p->head_dim)) {
        header.scale_kind = (uint32_t)p->scale_type | (uint32_t)p->scale_kind << 8;
        header.k_scale_token_stride = lo(p->k_scale.token_stride);
        header.k_scale_head_stride = lo(p->k_scale.head_stride);
        header.v_scale_token_stride = lo(p->v_scale.token_stride);
        header.v_scale_head_stride = lo(p->v_scale.head_stride);
        header.k_scale_page_stride = lo(p->k_scale.outer_stride);
        header.v_scale_page_stride = lo(p->v_scale.outer_stride);
    }
    for (uint32_t n = p->pages_per_segment; header.n_segments && n > 1; n >>= 1)
        header.seg_pages_shift++;
    if (prep->batch.page_size) {
        for (uint32_t size = prep->batch.page_size; size > 1; size >>= 1)
            header.page_shift++;
        header.page_mask = prep->batch.page_size - 1;
        header.k_page_stride_lo = lo(p->k.outer_stride);
        header.k_page_stride_hi = hi(p->k.outer_stride);
        header.v_page_stride_lo = lo(p->v.outer_stride);
        header.v_page_stride_hi = hi(p->v.outer_stride);
    }
    if (plan->rotates_first) {
        header.q_token_stride = p->n_q_heads * p->head_dim;
        header.q_head_stride = p->head_dim;
    }
    rapt_lists_write(plan, &prep->lists, &header, words);
    rapt_rotation_write(&plan->rotation, places->rope, places->rope_pos, prep->total_q,
                        prep->params.rope_pos, &header, words);
    memcpy(words, &header, sizeof header);
}

static void write_seqs(const struct preparation *prep, uint32_t *words)
{
    struct rapt_step_seq *seqs = (struct rapt_step_seq *)(words + prep->plan->places.seqs);
    const rapt_plan_params *p = &prep->plan->params;
    const rapt_step_params *step = &prep->params;
    const struct rapt_batch *batch = &prep->batch;
    for (uint32_t b = 0; b < batch->n_seqs; b++) {
        uint64_t q = base_of(&p->q, step->q_offsets, batch->cu_q, b);
        if (prep->plan
                ->rotates_first) { /* where the kernels find it, and where the rotation does */
            uint32_t *bases = words + prep->plan->places.q_bases + 2 * b;
            bases[0] = lo(q);
            bases[1] = hi(q);
            q = (uint64_t)batch->cu_q[b] * p->n_q_heads * p->head_dim;
        }
        uint64_t out = base_of(&p->out, step->out_offsets, batch->cu_q, b);
        uint64_t bias = step->bias_offsets ? step->bias_offsets[b] : 0;
        struct rapt_step_seq seq = {
            .q_row = (uint32_t)batch->cu_q[b],
            .q_len = rapt_batch_q_len(batch, b),
            .kv_len = rapt_batch_kv_len(batch, b),
            .kv_limit = rapt_work_kv_limit(batch, &prep->mask, b),
            .q_pos0 = batch->q_pos ? 0 : rapt_batch_q_pos(batch, b, 0),
            .kv_pos0 = rapt_batch_kv_pos0(batch, b),
            .q_base_lo = lo(q),
            .q_base_hi = hi(q),
            .out_base_lo = lo(out),
            .out_base_hi = hi(out),
            .bias_base_lo = lo(bias),
            .bias_base_hi = hi(bias),
        };
        if (batch->page_size) {
            seq.page_first = batch->page_indptr[b];
            seq.n_seq_pages = batch->page_indptr[b + 1] - batch->page_indptr[b];
        } else {
            uint64_t k = base_of(&p->k, step->k_offsets, batch->cu_kv, b);
            uint64_t v = base_of(&p->v, step->v_offsets, batch->cu_kv, b);
            seq.k_base_lo = lo(k);
            seq.k_base_hi = hi(k);
            seq.v_base_lo = lo(v);
            seq.v_base_hi = hi(v);
            if (rapt_kv_row_scales(p->kv_type, p->head_dim)) {
                k = base_of(&p->k_scale, step->k_scale_offsets, batch->cu_kv, b);
                v = base_of(&p->v_scale, step->v_scale_offsets, batch->cu_kv, b);
                seq.k_scale_base_lo = lo(k);
                seq.k_scale_base_hi = hi(k);
                seq.v_scale_base_lo = lo(v);
                seq.v_scale_base_hi = hi(v);
            }
        }
        seqs[b] = seq;
    }
}

static rapt_status build_work(struct preparation *prep, uint32_t *words,
                              struct rapt_plan_slot *slot)
{
    rapt_plan *plan = prep->plan;
    struct rapt_work *work = &prep->work;
    *work = (struct rapt_work){
        .lists = prep->lists.used ? &prep->lists.work : NULL,
        .items = (struct rapt_step_item *)(words + plan->places.items),
        .merges = (struct rapt_step_merge *)(words + plan->places.merges),
        .stages = (struct rapt_step_stage *)(words + plan->places.stages),
        .rounds = slot->rounds,
        .items_capacity = plan->bounds.items,
        .merges_capacity = plan->bounds.merges,
        .stages_capacity = plan->bounds.stages,
        .rounds_capacity = plan->bounds.rounds,
        .partial_rows_capacity = plan->bounds.partial_rows,
    };
    rapt_status status = rapt_work_build(&plan->work, &prep->batch, &prep->mask, work);
    if (status != RAPT_ERROR_CAPACITY || plan->params.n_splits || plan->params.fixed_split)
        return status;
    /* Where the caller holds partial rows short: as few parts as the longest item allows. */
    struct rapt_selection whole = plan->selection;
    struct rapt_work_params params = plan->work;
    struct rapt_work fewer = *work;
    params.selection = &whole;
    whole.target_items = 1;
    whole.cache_keys = 0; /* groups are told apart by target_items */
    if (rapt_work_build(&params, &prep->batch, &prep->mask, &fewer) != RAPT_OK)
        return RAPT_ERROR_CAPACITY;
    *work = fewer;
    return RAPT_OK;
}

/* ------------------------------------------------------------------------------------------ API */

static rapt_status read_step(rapt_plan *plan, const rapt_step_params *params,
                             struct preparation *prep)
{
    rapt_status status =
        rapt_params_read("rapt_step_params", params, &prep->params, sizeof prep->params);
    if (status != RAPT_OK)
        return status;
    const rapt_step_params *step = &prep->params;
    prep->plan = plan;
    int paged = (plan->params.flags & RAPT_PLAN_PAGED) != 0;
    if (!paged && (step->page_indptr || step->page_indices || step->last_page_len))
        return rapt_fail(RAPT_ERROR_ARGUMENT,
                         "block tables are given: the plan has no RAPT_PLAN_PAGED");
    prep->batch = rapt_step_batch(step, paged ? plan->params.page_size : 0);
    if (step->slot >= plan->params.n_steps_in_flight)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "slot is %u: the plan has %u (n_steps_in_flight)",
                         step->slot, plan->params.n_steps_in_flight);
    if (!plan->memory.tables_mapped)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "the plan has no memory yet: rapt_plan_bind first");
#ifndef NDEBUG
    if (plan->slots[step->slot].recorded)
        return rapt_fail(RAPT_ERROR_BUSY,
                         "slot %u was recorded and not marked done (rapt_plan_slot_done)",
                         step->slot);
#endif
    return rapt_batch_check(&prep->batch);
}

static void fill_step(const struct preparation *prep, rapt_step *step)
{
    const rapt_plan *plan = prep->plan;
    const struct rapt_work *work = &prep->work;
    uint64_t words = RAPT_STEP_HEADER_WORDS + (uint64_t)prep->batch.n_seqs * RAPT_STEP_SEQ_WORDS +
                     (uint64_t)work->n_items * RAPT_STEP_ITEM_WORDS +
                     (uint64_t)work->n_merges * RAPT_STEP_MERGE_WORDS +
                     (uint64_t)work->n_stages * RAPT_STEP_STAGE_WORDS +
                     (prep->batch.q_pos ? prep->total_q : 0) + prep->n_pages +
                     rapt_rotation_words(&plan->params) +
                     (prep->params.rope_pos ? prep->total_q : 0) +
                     (uint64_t)prep->lists.n_spans * RAPT_STEP_SPAN_WORDS + prep->lists.n_bit_words;
    uint64_t floats = (uint64_t)work->n_partial_rows * (plan->params.head_dim_v + 2);
    if (work->n_stages)
        floats += (uint64_t)plan->selection.stage_rows *
                  (plan->params.head_dim + plan->params.head_dim_v) * plan->selection.stage_unit /
                  4;
    *step = (rapt_step){
        .struct_size = sizeof *step,
        .slot = prep->params.slot,
        .n_seqs = prep->batch.n_seqs,
        .total_q = prep->total_q,
        .n_items = work->n_items,
        .n_prefill_items = work->n_prefill_items,
        .n_decode_items = work->n_decode_items,
        .n_merges = work->n_merges,
        .n_rounds = work->n_rounds,
        .n_few_rows_items = work->n_few_items,
        .n_partial_rows = work->n_partial_rows,
        .table_bytes_used = words * 4,
        .workspace_bytes_used = floats * 4,
        .n_spans = prep->lists.n_spans,
        .n_bit_words = prep->lists.n_bit_words,
    };
}

static void publish(struct preparation *prep, struct rapt_plan_slot *slot, uint32_t *words)
{
    rapt_plan *plan = prep->plan;
    write_header(prep, words);
    write_seqs(prep, words);
    if (prep->batch.q_pos && prep->total_q)
        memcpy(words + plan->places.q_pos, prep->batch.q_pos, prep->total_q * sizeof(int32_t));
    if (prep->n_pages)
        memcpy(words + plan->places.pages, prep->batch.page_indices,
               prep->n_pages * sizeof(uint32_t));
    if (++plan->generation == 0) /* 0 marks a slot without a step */
        plan->generation = 1;
    slot->needs = prep->needs;
    slot->n_stages = prep->work.n_stages;
    slot->lists = prep->lists;
    slot->lists.table = NULL; /* the caller's, who may destroy it */
    slot->lists.work.spans = NULL;
    slot->step.generation = plan->generation;
    slot->recorded = 0;
    slot->total_kv = prep->total_kv;
    slot->max_kv_len = prep->max_kv_len;
    slot->max_q_len = prep->max_q_len;
    slot->n_pool_pages = prep->batch.n_pool_pages;
    rapt_plan_reset_sets(plan, prep->params.slot);
}

rapt_status rapt_plan_prepare(rapt_plan *plan, const rapt_step_params *params, rapt_step *out_step)
{
    struct preparation prep = {0};
    if (!plan || !out_step || out_step->struct_size < sizeof out_step->struct_size)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s",
                         !plan       ? "plan is NULL"
                         : !out_step ? "out_step is NULL"
                                     : "out_step.struct_size is 0: set it to sizeof(rapt_step)");
    rapt_status status = read_step(plan, params, &prep);
    if (status != RAPT_OK)
        return status;
    rapt_step step;
    status = check_capacity(&prep);
    if (status == RAPT_OK)
        status = rapt_lists_read(plan, &prep.params, &prep.batch, &prep.lists);
    rapt_lists_mask(&prep.lists, prep.batch.mask, &prep.mask);
    if (status == RAPT_OK)
        status = check_values(&prep);
    if (status == RAPT_OK) {
        measure(&prep);
        status = check_reach(&prep);
    }
    uint32_t *words = (uint32_t *)((char *)plan->memory.tables_mapped +
                                   prep.params.slot * plan->places.slot_bytes);
    struct rapt_plan_slot *slot = &plan->slots[prep.params.slot];
    if (status == RAPT_OK)
        status = build_work(&prep, words, slot);
    fill_step(&prep, &step);
    if (status == RAPT_ERROR_CAPACITY) /* what is needed; the slot still holds what it held */
        rapt_params_write(out_step, &step, sizeof step);
    if (status != RAPT_OK)
        return status;
    slot->step = step;
    publish(&prep, slot, words);
    step.generation = slot->step.generation;
    rapt_params_write(out_step, &step, sizeof step);
    return RAPT_OK;
}

void rapt_plan_slot_done(rapt_plan *plan, uint32_t slot)
{
    if (!plan || slot >= plan->params.n_steps_in_flight)
        return;
    plan->slots[slot].recorded = 0;
    rapt_plan_reset_sets(plan, slot);
}
