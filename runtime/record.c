/* SPDX-License-Identifier: Apache-2.0 */

/* One layer: checks its buffers, then appends dispatches and barriers. Everything that can fail is
 * asked before the first command. */

#include "plan.h"
#include "step_inputs.h"

#include "checked.h"
#include "error.h"
#include "kernel_table.h"
#include "kv_format.h"

#include <string.h>

struct recording {
    rapt_plan *plan;
    rapt_record_params params;
    const struct rapt_plan_slot *slot;
    uint32_t first, end; /* items */
    int lists;           /* token lists instead of items */
    uint64_t n_list_groups;
    uint32_t list_bases[2]; /* of the lists, of their lengths */
    int merge;              /* the merge and the reduction follow */
    struct rapt_bindings bindings[PLAN_N_PIPELINES];
    struct rapt_rotate_q rotate_q;
    rapt_buffer q; /* as the kernels find it: the caller's, or rotated */
    uint64_t q_bytes;
    struct rapt_push push;
    uint32_t reduced_base; /* of the reduction's output */
    RAPT_U scales[4];      /* what k_scale_lo, ... say to kernels that go by address */
    uint32_t used;         /* pipelines whose buffers were bound so far, as bits */
    uint32_t bound;        /* the one whose buffers are bound now */
    int numbered;          /* first and count are those of dispatches that number their groups */
    VkCommandBuffer commands;
};

/* --------------------------------------------------------------------------------------- checks */

static rapt_status check_buffer(const char *name, const rapt_buffer *buffer, uint64_t n_elements,
                                uint64_t element_bytes)
{
    return rapt_step_buffer_check(name, buffer, rapt_mul_sat(n_elements, element_bytes));
}

/* K and V: pieces after the first are bound where they begin, and kernels read quantized rows by
 * words. */
static rapt_status check_kv(const struct recording *rec)
{
    static const char *const names[2][4] = {
        {"k", "k_segments[0]", "k_segments[1]", "k_segments[2]"},
        {"v", "v_segments[0]", "v_segments[1]", "v_segments[2]"},
    };
    const rapt_caps *caps = &rec->plan->device->caps;
    const rapt_plan_params *p = &rec->plan->params;
    const rapt_record_params *r = &rec->params;
    const struct rapt_plan_needs *needs = &rec->slot->needs;
    uint32_t unit = rapt_kv_unit(p->kv_type);
    for (uint32_t i = 0; i < 2 * p->n_kv_segments; i++) {
        uint32_t piece = i / 2;
        const rapt_buffer *first = i % 2 ? &r->v : &r->k;
        const rapt_buffer *more = i % 2 ? r->v_segments : r->k_segments;
        const rapt_buffer *buffer = piece ? &more[piece - 1] : first;
        uint64_t n = i % 2 ? (piece ? needs->v_pieces[piece - 1] : needs->v)
                           : (piece ? needs->k_pieces[piece - 1] : needs->k);
        if (rapt_kv_quantized(p->kv_type))
            n = rapt_add_sat(n, (4 - n % 4) % 4);
        rapt_status status = check_buffer(names[i % 2][piece], buffer, n, unit);
        if (status != RAPT_OK)
            return status;
        if (piece && n && caps->storage_buffer_alignment &&
            buffer->offset % caps->storage_buffer_alignment != 0)
            return rapt_fail(RAPT_ERROR_ARGUMENT, "%s.offset is %llu: expected a multiple of %u",
                             names[i % 2][piece], (unsigned long long)buffer->offset,
                             caps->storage_buffer_alignment);
        uint64_t bytes = rapt_mul_sat(n, unit);
        if (rec->plan->narrow && bytes > caps->max_storage_buffer_range)
            return rapt_fail(RAPT_ERROR_UNSUPPORTED,
                             "%s has %llu bytes: %s allows %llu in a storage buffer binding "
                             "(maxStorageBufferRange); a page pool may lie in up to 4 pieces "
                             "(n_kv_segments)",
                             names[i % 2][piece], (unsigned long long)bytes, caps->device_name,
                             (unsigned long long)caps->max_storage_buffer_range);
    }
    return RAPT_OK;
}

static rapt_status check_buffers(const struct recording *rec)
{
    const rapt_plan_params *p = &rec->plan->params;
    const rapt_record_params *r = &rec->params;
    const struct rapt_plan_needs *needs = &rec->slot->needs;
    uint64_t n_rows = (uint64_t)rec->slot->step.total_q * p->n_q_heads;
    uint64_t scale_bytes = rapt_type_bytes(p->scale_type);
    const struct {
        const char *name;
        const rapt_buffer *buffer;
        uint64_t n, bytes;
    } buffers[] = {
        {"q", &r->q, needs->q, rapt_type_bytes(p->q_type)},
        {"out", &r->out, needs->out, rapt_type_bytes(p->out_type)},
        {"lse", &r->lse, p->flags & RAPT_PLAN_LSE ? n_rows : 0, 4},
        {"max_logit", &r->max_logit, p->flags & RAPT_PLAN_MAX_LOGIT ? n_rows : 0, 4},
        {"max_logit_reduced", &r->max_logit_reduced,
         p->flags & RAPT_PLAN_MAX_LOGIT_REDUCED ? (uint64_t)rec->slot->step.n_seqs * p->n_q_heads
                                                : 0,
         4},
        {"slopes", &r->slopes, p->flags & RAPT_PLAN_ALIBI ? p->n_q_heads : 0, 4},
        {"sinks", &r->sinks, p->flags & RAPT_PLAN_SINKS ? p->n_q_heads : 0, 4},
        {"bias", &r->bias, needs->bias, rapt_type_bytes(p->bias_type)},
        {"k_scale", &r->k_scale, needs->k_scale, scale_bytes},
        {"v_scale", &r->v_scale, needs->v_scale, scale_bytes},
        {"rope_table", &r->rope_table,
         p->flags & RAPT_PLAN_ROPE_Q ? (uint64_t)p->rope->n_table_positions * p->rope->rotary_dim
                                     : 0,
         4},
    };
    for (size_t i = 0; i < sizeof buffers / sizeof buffers[0]; i++) {
        rapt_status status =
            check_buffer(buffers[i].name, buffers[i].buffer, buffers[i].n, buffers[i].bytes);
        if (status != RAPT_OK)
            return status;
    }
    uint32_t alignment = rec->plan->device->caps.storage_buffer_alignment;
    if (p->flags & RAPT_PLAN_ROPE_Q && p->rope->n_table_positions && alignment &&
        r->rope_table.offset % alignment != 0)
        return rapt_fail(RAPT_ERROR_ARGUMENT,
                         "rope_table.offset is %llu: expected a multiple of %u bytes "
                         "(minStorageBufferOffsetAlignment)",
                         (unsigned long long)r->rope_table.offset, alignment);
    return check_kv(rec);
}

static rapt_status check_lists(struct recording *rec)
{
    const rapt_plan *plan = rec->plan;
    const rapt_record_params *r = &rec->params;
    uint64_t total_q = rec->slot->step.total_q;
    if (plan->selection.lists.kernel < 0)
        return rapt_fail(RAPT_ERROR_ARGUMENT,
                         "token_lists is set: the plan has no RAPT_PLAN_TOKEN_LISTS");
    if (r->first_item || r->n_items || r->no_merge || r->only_merge)
        return rapt_fail(RAPT_ERROR_ARGUMENT,
                         "token_lists is set: such a record has no items to take a slice of");
    if (r->token_list_stride == 0)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "token_list_stride is 0: expected at least 1");
    if (total_q * r->token_list_stride > UINT32_MAX)
        return rapt_fail(RAPT_ERROR_SHAPE, "%llu lists of %u keys: the kernels index 2^32",
                         (unsigned long long)total_q, r->token_list_stride);
    rapt_status status =
        check_buffer("token_lists", &r->token_lists, total_q * r->token_list_stride, 4);
    if (status == RAPT_OK)
        status = check_buffer("token_counts", &r->token_counts, total_q, 4);
    uint32_t rows = plan->selection.lists.rows;
    rec->lists = 1;
    rec->merge = 1; /* the reduction of maxima follows */
    rec->n_list_groups = total_q * plan->work.n_groups * ((plan->work.group + rows - 1) / rows);
    if (status == RAPT_OK && rec->n_list_groups > UINT32_MAX)
        status = rapt_fail(RAPT_ERROR_CAPACITY, "%llu work items are more than a dispatch can hold",
                           (unsigned long long)rec->n_list_groups);
    return status;
}

static rapt_status check_step(struct recording *rec)
{
    rapt_plan *plan = rec->plan;
    const rapt_step *step = rec->params.step;
    rapt_status status = rapt_step_check(plan, rec->params.command_buffer, step);
    if (status != RAPT_OK)
        return status;
    rec->slot = &plan->slots[step->slot];
    rec->commands = rec->params.command_buffer;
    if (rec->params.token_lists.buffer)
        return check_lists(rec);
    uint32_t n_items = rec->slot->step.n_items, n = rec->params.n_items;
    rec->first = rec->params.first_item;
    rec->end = rec->first + n;
    if (rec->params.only_merge) {
        if (rec->params.no_merge || rec->first || n)
            return rapt_fail(RAPT_ERROR_ARGUMENT,
                             "only_merge goes with no items and without no_merge");
        rec->end = 0;
        rec->merge = 1;
        return RAPT_OK;
    }
    if (rec->first > n_items || n > n_items - rec->first)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "items %u to %u: the step has %u", rec->first,
                         rec->first + n, n_items);
    if (rec->first == 0 && n == 0)
        rec->end = n_items;
    rec->merge = rec->end == n_items && !rec->params.no_merge;
    return RAPT_OK;
}

/* ------------------------------------------------------------------------------------- bindings */

static uint32_t align_rest(const rapt_plan *plan, const rapt_buffer *buffer)
{
    uint32_t alignment = plan->device->caps.storage_buffer_alignment;
    return alignment > 1 ? (uint32_t)(buffer->offset % alignment) : 0;
}

/* Binds a buffer at an aligned offset; returns the elements between that and the caller's. */
static uint32_t bind(const struct recording *rec, const rapt_buffer *buffer, uint64_t n_bytes,
                     uint32_t element_bytes, rapt_buffer *out_bound)
{
    if (!buffer->buffer || n_bytes == 0)
        return 0;
    uint32_t rest = align_rest(rec->plan, buffer);
    /* Kernels read whole words: an odd number of 16-bit elements takes the word its last lies in.
     */
    uint64_t words = n_bytes + (4 - n_bytes % 4) % 4;
    n_bytes = words <= buffer->size ? words : n_bytes;
    *out_bound = (rapt_buffer){buffer->buffer, buffer->offset - rest, n_bytes + rest};
    return rest / element_bytes;
}

/* K and V, in one piece or several, and their scales. */
static void bind_kv(const struct recording *rec, struct rapt_bindings *b, struct rapt_push *push)
{
    const rapt_plan_params *p = &rec->plan->params;
    const rapt_record_params *r = &rec->params;
    const struct rapt_plan_needs *needs = &rec->slot->needs;
    uint32_t unit = rapt_kv_unit(p->kv_type),
             scale_bytes = (uint32_t)rapt_type_bytes(p->scale_type);
    push->k_base = bind(rec, &r->k, needs->k * unit, unit, &b->buffers[RAPT_BIND_K]);
    push->v_base = bind(rec, &r->v, needs->v * unit, unit, &b->buffers[RAPT_BIND_V]);
    for (uint32_t i = 0; i + 1 < p->n_kv_segments; i++) {
        bind(rec, &r->k_segments[i], needs->k_pieces[i] * unit, unit,
             &b->buffers[RAPT_BIND_K_SEG1 + i]);
        bind(rec, &r->v_segments[i], needs->v_pieces[i] * unit, unit,
             &b->buffers[RAPT_BIND_V_SEG1 + i]);
    }
    if (!scale_bytes)
        return;
    push->k_scale_lo = bind(rec, &r->k_scale, needs->k_scale * scale_bytes, scale_bytes,
                            &b->buffers[RAPT_BIND_K_SCALE]);
    push->v_scale_lo = bind(rec, &r->v_scale, needs->v_scale * scale_bytes, scale_bytes,
                            &b->buffers[RAPT_BIND_V_SCALE]);
}

static void fill_bindings(struct recording *rec)
{
    const rapt_plan *plan = rec->plan;
    const rapt_plan_params *p = &plan->params;
    const rapt_record_params *r = &rec->params;
    const struct rapt_plan_needs *needs = &rec->slot->needs;
    struct rapt_push *push = &rec->push;
    uint32_t q_bytes = plan->rotates_first ? 4 : (uint32_t)rapt_type_bytes(p->q_type);
    uint32_t out_bytes = (uint32_t)rapt_type_bytes(p->out_type);
    uint32_t bias_bytes = (uint32_t)rapt_type_bytes(p->bias_type);
    uint64_t row_bytes = 4ull * rec->slot->step.total_q * p->n_q_heads;
    uint64_t head_bytes = 4ull * p->n_q_heads;
    struct rapt_bindings b = {.fallback = plan->memory.workspace};
    b.fallback.size = plan->places.alignment < plan->places.workspace_bytes
                          ? plan->places.alignment
                          : plan->places.workspace_bytes;
    rapt_buffer tables = rapt_step_tables(plan, r->step->slot);
    bind(rec, &tables, tables.size, 4, &b.buffers[RAPT_BIND_STEP]);
    push->work_base = bind(rec, &plan->memory.workspace, plan->places.workspace_bytes, 4,
                           &b.buffers[RAPT_BIND_WORK]);
    push->q_base = bind(rec, &rec->q, rec->q_bytes, q_bytes, &b.buffers[RAPT_BIND_Q]);
    bind_kv(rec, &b, push);
    push->out_base =
        bind(rec, &r->out, needs->out * out_bytes, out_bytes, &b.buffers[RAPT_BIND_OUT]);
    if (p->flags & RAPT_PLAN_LSE)
        push->lse_base = bind(rec, &r->lse, row_bytes, 4, &b.buffers[RAPT_BIND_LSE]);
    if (p->flags & RAPT_PLAN_MAX_LOGIT)
        push->max_logit_base =
            bind(rec, &r->max_logit, row_bytes, 4, &b.buffers[RAPT_BIND_MAX_LOGIT]);
    if (p->flags & RAPT_PLAN_SINKS)
        push->sinks_base = bind(rec, &r->sinks, head_bytes, 4, &b.buffers[RAPT_BIND_SINKS]);
    if (p->flags & RAPT_PLAN_ALIBI)
        push->slopes_base = bind(rec, &r->slopes, head_bytes, 4, &b.buffers[RAPT_BIND_SLOPES]);
    if (p->flags & RAPT_PLAN_BIAS)
        push->bias_base =
            bind(rec, &r->bias, needs->bias * bias_bytes, bias_bytes, &b.buffers[RAPT_BIND_BIAS]);
    if (rec->lists) {
        uint64_t total_q = rec->slot->step.total_q;
        rec->list_bases[0] = bind(rec, &r->token_lists, 4 * total_q * r->token_list_stride, 4,
                                  &b.buffers[RAPT_BIND_BLOCKS]);
        rec->list_bases[1] =
            bind(rec, &r->token_counts, 4 * total_q, 4, &b.buffers[RAPT_BIND_COUNTS]);
    }
    if (p->rope->n_table_positions) /* its offset is aligned */
        b.buffers[RAPT_BIND_ROPE] = r->rope_table;
    /* What is only read and not there stands in the tables, which no kernel writes: in the
     * workspace it would look like a hazard to validation. */
    static const int only_read[] = {
        RAPT_BIND_Q,          RAPT_BIND_K,          RAPT_BIND_V,          RAPT_BIND_SINKS,
        RAPT_BIND_SLOPES,     RAPT_BIND_BIAS,       RAPT_BIND_K_SCALE,    RAPT_BIND_V_SCALE,
        RAPT_BIND_K_SEG1,     RAPT_BIND_K_SEG1 + 1, RAPT_BIND_K_SEG1 + 2, RAPT_BIND_V_SEG1,
        RAPT_BIND_V_SEG1 + 1, RAPT_BIND_V_SEG1 + 2, RAPT_BIND_ROPE,
    };
    for (size_t i = 0; i < sizeof only_read / sizeof only_read[0]; i++) {
        if (!b.buffers[only_read[i]].buffer)
            b.buffers[only_read[i]] = b.buffers[RAPT_BIND_STEP];
    }
    for (int i = 0; i < PLAN_N_PIPELINES; i++)
        rec->bindings[i] = b;
}

static void fill_address(const struct recording *rec, const rapt_buffer *buffer, RAPT_U *out_lo,
                         RAPT_U *out_hi)
{
    uint64_t address = rapt_plan_address(rec->plan->device, buffer);
    *out_lo = (uint32_t)address;
    *out_hi = (uint32_t)(address >> 32);
}

static void fill_addresses(struct recording *rec)
{
    const rapt_plan *plan = rec->plan;
    const rapt_record_params *r = &rec->params;
    struct rapt_push *push = &rec->push;
    uint64_t step = plan->tables_address + r->step->slot * plan->places.slot_bytes;
    push->step_lo = (uint32_t)step;
    push->step_hi = (uint32_t)(step >> 32);
    push->work_lo = (uint32_t)plan->workspace_address;
    push->work_hi = (uint32_t)(plan->workspace_address >> 32);
    fill_address(rec, &rec->q, &push->q_lo, &push->q_hi);
    fill_address(rec, &r->k, &push->k_lo, &push->k_hi);
    fill_address(rec, &r->v, &push->v_lo, &push->v_hi);
    fill_address(rec, &r->out, &push->out_lo, &push->out_hi);
    if (plan->params.flags & RAPT_PLAN_LSE)
        fill_address(rec, &r->lse, &push->lse_lo, &push->lse_hi);
    if (rec->slot->needs.k_scale) {
        fill_address(rec, &r->k_scale, &rec->scales[0], &rec->scales[1]);
        fill_address(rec, &r->v_scale, &rec->scales[2], &rec->scales[3]);
    }
    if (plan->params.flags & RAPT_PLAN_MAX_LOGIT)
        fill_address(rec, &r->max_logit, &push->max_logit_lo, &push->max_logit_hi);
}

/* ------------------------------------------------------------------------------------- commands */

static rapt_status dispatch(struct recording *rec, enum plan_pipeline i, uint32_t first,
                            uint32_t count)
{
    rapt_plan *plan = rec->plan;
    uint32_t slot = rec->params.step->slot;
    struct rapt_push push = rec->push;
    if (i == PLAN_REDUCE)
        push.out_base = rec->reduced_base;
    if (i == PLAN_LISTS) {
        push.rapt_lists_base = rec->list_bases[0];
        push.rapt_lists_counts_base = rec->list_bases[1];
        push.rapt_lists_stride = rec->params.token_list_stride;
    }
    if (!(plan->pipelines[i].bindings & (1u << RAPT_BIND_STEP))) {
        push.k_scale_lo = rec->scales[0];
        push.k_scale_hi = rec->scales[1];
        push.v_scale_lo = rec->scales[2];
        push.v_scale_hi = rec->scales[3];
    }
    push.first = first;
    push.count = count;
    if (count == 0)
        return RAPT_OK;
    uint32_t with = plan->bound_with[i];
    int numbers = rapt_pipeline_numbers(plan->device, &plan->pipelines[i], first, count);
    int pushed = rec->numbered && numbers;
    rec->numbered = numbers;
    if (rec->used && rec->bound == with)
        return rapt_pipeline_dispatch_bound(plan->device, &plan->pipelines[i], rec->commands, first,
                                            count, pushed);
    rapt_status (*record)(rapt_device *, struct rapt_pipeline *, struct rapt_sets *, uint32_t,
                          uint32_t, VkCommandBuffer, const struct rapt_bindings *,
                          const struct rapt_push *, uint32_t) =
        rec->used & (1u << with) ? rapt_pipeline_dispatch_again : rapt_pipeline_dispatch;
    rec->used |= 1u << with;
    rec->bound = with;
    return record(plan->device, &plan->pipelines[i], &plan->sets, slot, with, rec->commands,
                  &rec->bindings[i], &push, count);
}

/* Pipelines this record will dispatch, as bits. */
static uint32_t pipelines_wanted(const struct recording *rec)
{
    const rapt_step *step = &rec->slot->step;
    uint32_t wanted = 0;
    if (rec->lists) {
        wanted = rec->n_list_groups ? 1u << PLAN_LISTS : 0;
        return rec->plan->selection.reduce.kernel >= 0 ? wanted | 1u << PLAN_REDUCE : wanted;
    }
    if (rec->first < rec->end && rec->first < step->n_prefill_items) {
        wanted |= 1u << PLAN_PREFILL;
        if (rec->slot->n_stages)
            wanted |= 1u << PLAN_STAGE;
    }
    uint32_t few_first = step->n_prefill_items + step->n_decode_items;
    if (rec->first < rec->end && rec->end > step->n_prefill_items && rec->first < few_first &&
        step->n_decode_items)
        wanted |= 1u << PLAN_DECODE;
    if (rec->first < rec->end && rec->end > few_first)
        wanted |= 1u << PLAN_FEW;
    if (rec->merge && step->n_merges)
        wanted |= 1u << PLAN_MERGE;
    if (rec->merge && rec->plan->selection.reduce.kernel >= 0)
        wanted |= 1u << PLAN_REDUCE;
    return wanted;
}

static rapt_status check_dispatches(const struct recording *rec)
{
    rapt_plan *plan = rec->plan;
    uint32_t wanted = pipelines_wanted(rec);
    for (uint32_t i = 0; i < PLAN_N_PIPELINES; i++) {
        if (!(wanted & (1u << i)))
            continue;
        rapt_status status =
            rapt_bindings_check(plan->device, &plan->pipelines[i], &rec->bindings[i]);
        if (status != RAPT_OK)
            return status;
        if (rapt_sets_left(&plan->sets, rec->params.step->slot, plan->bound_with[i]) == 0)
            return rapt_fail(RAPT_ERROR_CAPACITY,
                             "this is record %u of the step: the plan was made for %u "
                             "(max_records_per_step)",
                             plan->params.max_records_per_step + 1,
                             plan->params.max_records_per_step);
    }
    return RAPT_OK;
}

/* What the last round staged was made visible before its items ran; that the next stages over it
 * needs no more than its end, unless states are handed on. */
static void wait_for_round(const struct recording *rec)
{
    if (rec->slot->step.n_partial_rows)
        rapt_device_barrier(rec->plan->device, rec->commands);
    else
        rapt_device_barrier_order(rec->plan->device, rec->commands);
}

/* The items of the slice, round by round; a slice stages what its rounds need once more. */
static rapt_status record_rounds(struct recording *rec)
{
    static const enum plan_pipeline pipelines[] = {PLAN_PREFILL, PLAN_DECODE, PLAN_FEW};
    const rapt_step *step = &rec->slot->step;
    int recorded = 0;
    for (uint32_t i = 0; i < step->n_rounds; i++) {
        const struct rapt_work_round *round = &rec->slot->rounds[i];
        uint32_t first = rec->first > round->item_first ? rec->first : round->item_first;
        uint32_t end = round->item_first + round->n_items;
        end = rec->end < end ? rec->end : end;
        if (first >= end)
            continue;
        rapt_status status = RAPT_OK;
        /* Rounds of prefill share the staged rows and hand running states on; decode items share
         * nothing with what comes before. */
        if (recorded && round->kind == RAPT_WORK_PREFILL)
            wait_for_round(rec);
        if (round->n_stages) {
            status = dispatch(rec, PLAN_STAGE, round->stage_first, round->n_stages);
            rapt_device_barrier(rec->plan->device, rec->commands);
        }
        if (status == RAPT_OK)
            status = dispatch(rec, pipelines[round->kind], first, end - first);
        if (status != RAPT_OK)
            return status;
        recorded = 1;
    }
    return RAPT_OK;
}

static rapt_status record_end(struct recording *rec)
{
    const rapt_plan *plan = rec->plan;
    const rapt_step *step = &rec->slot->step;
    rapt_status status = RAPT_OK;
    if (step->n_merges && !rec->lists) {
        rapt_device_barrier(rec->plan->device, rec->commands);
        status = dispatch(rec, PLAN_MERGE, 0, step->n_merges);
    }
    if (status != RAPT_OK || plan->selection.reduce.kernel < 0)
        return status;
    rapt_device_barrier(rec->plan->device, rec->commands);
    return dispatch(rec, PLAN_REDUCE, 0, step->n_seqs);
}

rapt_status rapt_plan_record(rapt_plan *plan, const rapt_record_params *params)
{
    struct recording rec;
    memset(&rec, 0, sizeof rec);
    if (!plan)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "plan is NULL");
    rec.plan = plan;
    rapt_status status =
        rapt_params_read("rapt_record_params", params, &rec.params, sizeof rec.params);
    if (status == RAPT_OK)
        status = check_step(&rec);
    if (status == RAPT_OK)
        status = check_buffers(&rec);
    if (status != RAPT_OK)
        return status;
    rec.q = rec.params.q;
    rec.q_bytes = rec.slot->needs.q * rapt_type_bytes(plan->params.q_type);
    int rotates = plan->rotates_first && (rec.first < rec.end || rec.n_list_groups > 0);
    if (plan->rotates_first) {
        rec.q = rapt_rotate_q_range(plan, rec.slot->step.total_q);
        rec.q_bytes = rec.q.size;
    }
    fill_bindings(&rec);
    if (plan->selection.reduce.kernel >= 0) {
        /* the reduction's output is the reduced maxima */
        struct rapt_bindings *b = &rec.bindings[PLAN_REDUCE];
        rec.reduced_base = bind(&rec, &rec.params.max_logit_reduced,
                                4ull * rec.slot->step.n_seqs * plan->params.n_q_heads, 4,
                                &b->buffers[RAPT_BIND_OUT]);
    }
    status = check_dispatches(&rec);
    if (status == RAPT_OK && rotates)
        status = rapt_rotate_q_check(plan, &rec.params, &rec.rotate_q);
    if (status != RAPT_OK)
        return status;
    if (plan->wide)
        fill_addresses(&rec);
    rapt_device *device = plan->device;
    rapt_device_begin_label(device, rec.commands, "rapt attention");
    plan->slots[rec.params.step->slot].recorded = 1;
    if (rec.slot->step.n_partial_rows || rec.slot->n_stages || rotates)
        /* the workspace may be what an earlier record is still using */
        rapt_device_barrier(device, rec.commands);
    if (rotates) {
        status = rapt_rotate_q_record(plan, &rec.params, &rec.rotate_q);
        rapt_device_barrier(device, rec.commands);
    }
    if (status == RAPT_OK && rec.lists)
        status = dispatch(&rec, PLAN_LISTS, 0, (uint32_t)rec.n_list_groups);
    else if (status == RAPT_OK)
        status = record_rounds(&rec);
    if (status == RAPT_OK && rec.merge)
        status = record_end(&rec);
    rapt_device_end_label(device, rec.commands);
    return status;
}
