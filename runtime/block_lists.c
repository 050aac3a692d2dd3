/* SPDX-License-Identifier: Apache-2.0 */

/* Lists of key blocks from what lies on the device: scores, ids, bits. One dispatch makes them all;
 * it needs sums over the sequences before it, and of ids their bounds by blocks. */

#include "sparse.h"
#include "step_inputs.h"

#include "checked.h"
#include "error.h"
#include "mass.h"
#include "mass_numbers.h"

#include <string.h>

struct rapt_block_lists {
    struct rapt_sparse sparse;
    rapt_block_lists_params params;
};

/* ------------------------------------------------------------------------------------- creation */

static int from_scores(const rapt_block_lists_params *p)
{
    return p->source == RAPT_BLOCKS_TOP_K || p->source == RAPT_BLOCKS_MASS;
}

static rapt_status check_params(const rapt_block_lists_params *p)
{
    if (p->source < RAPT_BLOCKS_TOP_K || p->source > RAPT_BLOCKS_BITMAP)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "source is %d: expected one of rapt_blocks_source",
                         (int)p->source);
    if ((p->source == RAPT_BLOCKS_TOP_K) != (p->top_k != 0) || p->top_k > 1u << 24)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "top_k is %u: expected %s", p->top_k,
                         p->source == RAPT_BLOCKS_TOP_K ? "1 to 2^24"
                                                        : "0, for RAPT_BLOCKS_TOP_K alone has it");
    if (p->source == RAPT_BLOCKS_MASS ? !(p->mass > 0 && p->mass <= 1) : p->mass != 0)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "mass is %g: expected %s", (double)p->mass,
                         p->source == RAPT_BLOCKS_MASS ? "a share above 0, at most 1"
                                                       : "0, for RAPT_BLOCKS_MASS alone has it");
    if (!from_scores(p) && (p->keep_first || p->keep_last))
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s is set: it is for blocks chosen by scores",
                         p->keep_first ? "keep_first" : "keep_last");
    if (p->keep_first > 1u << 24 || p->keep_last > 1u << 24)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s is %u: at most 2^24",
                         p->keep_first > p->keep_last ? "keep_first" : "keep_last",
                         p->keep_first > p->keep_last ? p->keep_first : p->keep_last);
    if (p->max_blocks && p->source != RAPT_BLOCKS_MASS)
        return rapt_fail(RAPT_ERROR_ARGUMENT,
                         "max_blocks is %u: it is for RAPT_BLOCKS_MASS, others know how many",
                         p->max_blocks);
    return RAPT_OK;
}

static rapt_status choose(rapt_block_lists *lists)
{
    static const char *const names[] = {"score_lists", "score_lists", "segment_lists",
                                        "bitmap_lists"};
    const rapt_plan *plan = lists->sparse.plan;
    const struct {
        enum sparse_pipeline pipeline;
        const char *name;
    } kernels[] = {{SPARSE_SCAN, "sparse_scan"},
                   {SPARSE_BLOCKS, names[lists->params.source - RAPT_BLOCKS_TOP_K]},
                   {SPARSE_BOUNDS, "id_bounds"}};
    struct rapt_kernel_choice *choices = lists->sparse.choices;
    const int n = lists->params.source == RAPT_BLOCKS_SEGMENTS ? 3 : 2;
    rapt_status status = RAPT_OK;
    for (int i = 0; i < SPARSE_N_PIPELINES; i++)
        choices[i].kernel = -1;
    for (int i = 0; status == RAPT_OK && i < n; i++)
        status = rapt_select_sparse(&plan->device->caps, &plan->params, kernels[i].name, 0,
                                    &choices[kernels[i].pipeline]);
    return status;
}

rapt_status rapt_block_lists_create(rapt_plan *plan, const rapt_block_lists_params *params,
                                    rapt_block_lists **out_lists)
{
    rapt_block_lists_params p;
    if (!plan || !out_lists)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s is NULL", plan ? "out_lists" : "plan");
    *out_lists = NULL;
    rapt_status status = rapt_params_read("rapt_block_lists_params", params, &p, sizeof p);
    if (status == RAPT_OK)
        status = check_params(&p);
    if (status != RAPT_OK)
        return status;
    if (!(plan->params.flags & RAPT_PLAN_BLOCKS))
        return rapt_fail(RAPT_ERROR_ARGUMENT, "the plan has no RAPT_PLAN_BLOCKS");
    rapt_block_lists *lists = rapt_sparse_alloc(plan, sizeof *lists, "a maker of block lists");
    if (!lists)
        return RAPT_ERROR_HOST_MEMORY;
    lists->params = p;
    status = choose(lists);
    if (status == RAPT_OK)
        status = rapt_sparse_create(&lists->sparse, p.max_records);
    if (status != RAPT_OK) {
        rapt_block_lists_destroy(&lists);
        return status;
    }
    *out_lists = lists;
    return RAPT_OK;
}

void rapt_block_lists_destroy(rapt_block_lists **lists)
{
    if (!lists || !*lists)
        return;
    rapt_sparse_destroy(&(*lists)->sparse);
    *lists = NULL;
}

/* ---------------------------------------------------------------------------------------- sizes */

static uint32_t blocks_of(uint32_t n_keys, uint32_t block_kv)
{
    return n_keys / block_kv + (n_keys % block_kv != 0);
}

static uint64_t tile_words(uint32_t block_q, uint32_t block_kv)
{
    return (uint64_t)block_q * (block_kv < 32 ? 1 : block_kv / 32);
}

/* Spans of a list that is never too long, at least 1. */
static uint32_t most_spans(const rapt_block_lists_params *p, uint32_t n_blocks)
{
    uint32_t kept = p->keep_first + p->keep_last, n = n_blocks;
    if (p->source == RAPT_BLOCKS_TOP_K)
        n = p->top_k > kept ? p->top_k : kept;
    n = n < n_blocks ? n : n_blocks;
    return n ? n : 1;
}

static rapt_status check_block(const char *name, uint32_t block)
{
    if (block < 16 || block > 256 || (block & (block - 1)) != 0)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s is %u: expected a power of two from 16 to 256",
                         name, block);
    return RAPT_OK;
}

rapt_status rapt_block_lists_device_lists(const rapt_block_lists_params *params, uint32_t n_sets,
                                          uint32_t n_seqs, uint32_t total_q, uint32_t max_kv_len,
                                          uint32_t block_q, uint32_t block_kv,
                                          rapt_device_lists *out_lists, uint32_t *out_max_spans)
{
    rapt_block_lists_params p;
    if (!out_lists || !out_max_spans)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s is NULL",
                         out_lists ? "out_max_spans" : "out_lists");
    rapt_status status = rapt_params_read("rapt_block_lists_params", params, &p, sizeof p);
    if (status == RAPT_OK)
        status = check_params(&p);
    if (status == RAPT_OK)
        status = check_block("block_q", block_q);
    if (status == RAPT_OK)
        status = check_block("block_kv", block_kv);
    if (status == RAPT_OK && n_sets == 0)
        status =
            rapt_fail(RAPT_ERROR_ARGUMENT, "n_sets is 0: expected 1, or one for each head group");
    if (status != RAPT_OK)
        return status;
    uint32_t capacity = most_spans(&p, blocks_of(max_kv_len, block_kv));
    if (p.max_blocks && p.max_blocks < capacity)
        capacity = p.max_blocks;
    uint64_t n_lists = rapt_mul_sat((uint64_t)total_q / block_q + n_seqs, n_sets);
    uint64_t spans = rapt_mul_sat(n_lists, (uint64_t)capacity + 1), bit_words = 0;
    if (!from_scores(&p))
        bit_words = rapt_mul_sat(n_lists, capacity * tile_words(block_q, block_kv));
    if (bit_words >= 1u << 29 || spans >= 1u << 27) /* words of a step are numbered to 2^30 */
        return rapt_fail(RAPT_ERROR_CAPACITY,
                         "%llu lists of up to %u spans are more than a step holds: take longer "
                         "blocks, or fewer queries at a time",
                         (unsigned long long)n_lists, capacity);
    const rapt_device_lists lists = {
        .struct_size = sizeof lists,
        .block_q = block_q,
        .block_kv = block_kv,
        .n_sets = n_sets,
        .list_capacity = capacity,
        .bit_words = (uint32_t)bit_words,
    };
    *out_max_spans = (uint32_t)spans;
    rapt_params_write(out_lists, &lists, sizeof lists);
    return RAPT_OK;
}

/* Where things lie in the workspace, bytes: sums, bounds of ids. */
struct places {
    uint64_t bounds, end, n_blocks;
};

static struct places lay_out(const rapt_block_lists *lists, uint32_t n_seqs, uint64_t total_kv,
                             uint32_t block_kv)
{
    struct places at = {.bounds = rapt_sparse_align(12 * ((uint64_t)n_seqs + 1))};
    at.n_blocks = rapt_add_sat(total_kv / block_kv, n_seqs);
    at.end = at.bounds;
    if (lists->params.source == RAPT_BLOCKS_SEGMENTS)
        at.end = rapt_add_sat(at.end, rapt_mul_sat(at.n_blocks, 8));
    return at;
}

uint64_t rapt_block_lists_workspace_bytes(const rapt_block_lists *lists, uint32_t n_seqs,
                                          uint64_t total_kv, uint32_t block_kv)
{
    return lists && block_kv ? lay_out(lists, n_seqs, total_kv, block_kv).end : 0;
}

/* --------------------------------------------------------------------------------------- record */

struct recording {
    rapt_block_lists *lists;
    rapt_block_lists_record_params params;
    struct rapt_plan_slot *slot;
    struct places at;
    struct rapt_bindings bindings[SPARSE_N_PIPELINES];
    struct rapt_push push;
    uint64_t n_lists;
    uint32_t n_blocks; /* of the longest sequence */
};

/* The room the step has for lists is enough, or a list may do without. */
static rapt_status check_room(const struct recording *rec)
{
    const rapt_block_lists_params *p = &rec->lists->params;
    const struct rapt_plan_lists *lists = &rec->slot->lists;
    const uint32_t spans = most_spans(p, rec->n_blocks);
    if (p->source != RAPT_BLOCKS_MASS && lists->list_capacity < spans)
        return rapt_fail(RAPT_ERROR_CAPACITY,
                         "device_lists.list_capacity is %u: a list may have %u spans",
                         lists->list_capacity, spans);
    if (p->source == RAPT_BLOCKS_MASS && rec->n_blocks > RAPT_MASS_MOST_BLOCKS)
        return rapt_fail(
            RAPT_ERROR_UNSUPPORTED,
            "the longest sequence has %u blocks of keys: masses are summed over %u at most",
            rec->n_blocks, RAPT_MASS_MOST_BLOCKS);
    if (from_scores(p))
        return RAPT_OK;
    uint64_t words = rapt_mul_sat(rec->n_lists * tile_words(lists->block_q, lists->block_kv),
                                  lists->list_capacity);
    if (lists->n_bit_words < words)
        return rapt_fail(RAPT_ERROR_CAPACITY,
                         "device_lists.bit_words is %u: %llu lists of %u blocks need %llu",
                         lists->n_bit_words, (unsigned long long)rec->n_lists, lists->list_capacity,
                         (unsigned long long)words);
    return RAPT_OK;
}

static rapt_status check_scores(struct recording *rec, rapt_buffer *bound)
{
    const rapt_block_lists_record_params *r = &rec->params;
    if (r->score_stride < rec->n_blocks)
        return rapt_fail(RAPT_ERROR_SHAPE,
                         "score_stride is %u: the longest sequence has %u blocks of keys",
                         r->score_stride, rec->n_blocks);
    rec->push.rapt_sparse_stride = r->score_stride;
    uint64_t n = rec->n_lists ? (rec->n_lists - 1) * r->score_stride + rec->n_blocks : 0;
    return rapt_sparse_bind(&rec->lists->sparse, "scores", &r->scores, rapt_mul_sat(n, 4), 4,
                            &bound[RAPT_BIND_OUT], &rec->push.out_base);
}

static rapt_status check_ids(struct recording *rec, rapt_buffer *bound)
{
    const rapt_block_lists_record_params *r = &rec->params;
    rapt_status status =
        rapt_sparse_bind(&rec->lists->sparse, "segments_q", &r->segments_q,
                         4ull * rec->slot->step.total_q, 4, &bound[RAPT_BIND_Q], &rec->push.q_base);
    if (status == RAPT_OK)
        status = rapt_sparse_bind(&rec->lists->sparse, "segments_kv", &r->segments_kv,
                                  rapt_mul_sat(rec->slot->total_kv, 4), 4, &bound[RAPT_BIND_K],
                                  &rec->push.k_base);
    rec->bindings[SPARSE_BOUNDS].buffers[RAPT_BIND_K] = bound[RAPT_BIND_K];
    return status;
}

static rapt_status check_bitmap(struct recording *rec, rapt_buffer *bound)
{
    const rapt_block_lists_record_params *r = &rec->params;
    const struct rapt_step *step = &rec->slot->step;
    const struct rapt_plan *plan = rec->lists->sparse.plan;
    const uint32_t most_keys = rec->slot->max_kv_len;
    const int own_offsets = r->bitmap_offsets.buffer != VK_NULL_HANDLE;
    if (r->bitmap_row_stride == 0 && !own_offsets && step->n_seqs > 1)
        return rapt_fail(RAPT_ERROR_ARGUMENT,
                         "bitmap_row_stride is 0 with %u sequences: rows as long as each sequence "
                         "need bitmap_offsets",
                         step->n_seqs);
    if (r->bitmap_row_stride && r->bitmap_row_stride < most_keys)
        return rapt_fail(RAPT_ERROR_SHAPE,
                         "bitmap_row_stride is %u: the longest sequence has %u keys",
                         r->bitmap_row_stride, most_keys);
    /* Where offsets lie on the device, reads are cut to the buffer there. */
    uint64_t stride = r->bitmap_row_stride ? r->bitmap_row_stride : most_keys, bits = 32;
    if (!own_offsets && step->total_q)
        bits = rapt_add_sat(
            (step->total_q - 1) * stride + most_keys,
            rapt_mul_sat(r->bitmap_head_stride, (rec->slot->lists.n_sets - 1) * plan->work.group));
    uint64_t n_words = bits / 32 + (bits % 32 != 0);
    if (own_offsets)
        n_words = r->bitmap.size / 4 ? r->bitmap.size / 4 : 1;
    rec->push.rapt_sparse_stride = r->bitmap_row_stride;
    rec->push.rapt_blocks_head_stride_lo = (uint32_t)r->bitmap_head_stride;
    rec->push.rapt_blocks_head_stride_hi = (uint32_t)(r->bitmap_head_stride >> 32);
    rec->push.rapt_blocks_bitmap_words = (uint32_t)n_words;
    rec->push.rapt_blocks_offsets = (uint32_t)own_offsets;
    rapt_status status =
        rapt_sparse_bind(&rec->lists->sparse, "bitmap", &r->bitmap, rapt_mul_sat(n_words, 4), 4,
                         &bound[RAPT_BIND_K], &rec->push.k_base);
    if (status == RAPT_OK && own_offsets)
        status = rapt_sparse_bind(&rec->lists->sparse, "bitmap_offsets", &r->bitmap_offsets,
                                  8ull * step->n_seqs, 4, &bound[RAPT_BIND_Q], &rec->push.q_base);
    return status;
}

static rapt_status check_outputs(struct recording *rec, rapt_buffer *bound)
{
    const rapt_block_lists_record_params *r = &rec->params;
    const struct rapt_sparse *sparse = &rec->lists->sparse;
    rapt_buffer work;
    RAPT_U none;
    if (r->workspace.offset % RAPT_SPARSE_ALIGNMENT != 0)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "workspace.offset is %llu: expected a multiple of %u",
                         (unsigned long long)r->workspace.offset, RAPT_SPARSE_ALIGNMENT);
    rapt_status status =
        rapt_sparse_bind(sparse, "workspace", &r->workspace, rec->at.end, 4, &work, &none);
    const uint32_t words = blocks_of(rec->n_blocks, 32);
    if (status == RAPT_OK && r->listed.buffer && r->listed_stride < words)
        status =
            rapt_fail(RAPT_ERROR_SHAPE,
                      "listed_stride is %u: the longest sequence has %u blocks of keys, %u words",
                      r->listed_stride, rec->n_blocks, words);
    if (status == RAPT_OK && r->listed.buffer)
        status = rapt_sparse_bind(sparse, "listed", &r->listed,
                                  rapt_mul_sat(rec->n_lists, 4ull * r->listed_stride), 4,
                                  &bound[RAPT_BIND_BLOCKS], &rec->push.rapt_sparse_lists_base);
    if (status == RAPT_OK && r->overflow.buffer)
        status = rapt_sparse_bind(sparse, "overflow", &r->overflow, 4 * rec->n_lists, 4,
                                  &bound[RAPT_BIND_COUNTS], &rec->push.rapt_sparse_counts_base);
    rec->push.rapt_blocks_listed_stride = r->listed.buffer ? r->listed_stride : 0;
    rec->push.rapt_blocks_tell_overflow = r->overflow.buffer != VK_NULL_HANDLE;
    for (int i = 0; i < SPARSE_N_PIPELINES; i++) {
        rec->bindings[i].buffers[RAPT_BIND_STEP] = rapt_step_tables(sparse->plan, r->step->slot);
        rec->bindings[i].buffers[RAPT_BIND_WORK] = work;
        rec->bindings[i].fallback = rec->bindings[i].buffers[RAPT_BIND_STEP];
    }
    return status;
}

static uint64_t bound_groups(const struct recording *rec)
{
    uint32_t lanes = rec->lists->sparse.choices[SPARSE_BOUNDS].workgroup_size;
    return (rec->at.n_blocks + lanes - 1) / lanes;
}

static rapt_status check_dispatches(const struct recording *rec)
{
    const struct rapt_sparse *sparse = &rec->lists->sparse;
    const uint32_t slot = rec->params.step->slot;
    rapt_status status =
        rapt_sparse_check_dispatch(sparse, slot, SPARSE_SCAN, &rec->bindings[SPARSE_SCAN], 1);
    if (status == RAPT_OK && rec->lists->params.source == RAPT_BLOCKS_SEGMENTS)
        status = rapt_sparse_check_dispatch(sparse, slot, SPARSE_BOUNDS,
                                            &rec->bindings[SPARSE_BOUNDS], bound_groups(rec));
    if (status == RAPT_OK)
        status = rapt_sparse_check_dispatch(sparse, slot, SPARSE_BLOCKS,
                                            &rec->bindings[SPARSE_BLOCKS], rec->n_lists);
    return status;
}

static rapt_status check(struct recording *rec)
{
    const rapt_block_lists_params *p = &rec->lists->params;
    const rapt_block_lists_record_params *r = &rec->params;
    rapt_status status =
        rapt_sparse_check_step(&rec->lists->sparse, r->command_buffer, r->step, &rec->slot);
    if (status != RAPT_OK)
        return status;
    const struct rapt_plan_lists *lists = &rec->slot->lists;
    if (!lists->used || lists->list_capacity == 0)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "the step was prepared without device_lists");
    rec->at = lay_out(rec->lists, rec->slot->step.n_seqs, rec->slot->total_kv, lists->block_kv);
    rec->n_lists = (uint64_t)lists->work.n_rows * lists->n_sets;
    rec->n_blocks = blocks_of(rec->slot->max_kv_len, lists->block_kv);
    rapt_buffer *bound = rec->bindings[SPARSE_BLOCKS].buffers;
    status = check_room(rec);
    if (status == RAPT_OK)
        status = from_scores(p)                      ? check_scores(rec, bound)
                 : p->source == RAPT_BLOCKS_SEGMENTS ? check_ids(rec, bound)
                                                     : check_bitmap(rec, bound);
    if (status == RAPT_OK)
        status = check_outputs(rec, bound);
    if (status == RAPT_OK && rec->n_lists)
        status = check_dispatches(rec);
    struct rapt_push *push = &rec->push;
    push->rapt_sparse_chunk = lists->block_kv;
    while (1u << push->rapt_sparse_block_q_shift < lists->block_q)
        push->rapt_sparse_block_q_shift++;
    push->rapt_sparse_means = (uint32_t)(rec->at.bounds / 4);
    if (from_scores(p)) {
        push->rapt_sparse_top_k = p->top_k;
        push->rapt_blocks_share = p->source == RAPT_BLOCKS_MASS ? rapt_mass_share(p->mass) : 0;
        push->rapt_blocks_softmax = !p->plain_mass;
        push->rapt_blocks_keep_first = p->keep_first;
        push->rapt_blocks_keep_last = p->keep_last;
    }
    return status;
}

static rapt_status dispatch(struct recording *rec, enum sparse_pipeline pipeline, uint64_t n_groups)
{
    return rapt_sparse_dispatch(&rec->lists->sparse, rec->params.command_buffer,
                                rec->params.step->slot, pipeline, 0, &rec->bindings[pipeline],
                                &rec->push, (uint32_t)n_groups);
}

rapt_status rapt_block_lists_record(rapt_block_lists *lists,
                                    const rapt_block_lists_record_params *params)
{
    struct recording rec;
    memset(&rec, 0, sizeof rec);
    if (!lists)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "lists is NULL");
    rec.lists = lists;
    rapt_status status =
        rapt_params_read("rapt_block_lists_record_params", params, &rec.params, sizeof rec.params);
    if (status == RAPT_OK)
        status = check(&rec);
    if (status != RAPT_OK || rec.n_lists == 0)
        return status;
    rapt_device *device = lists->sparse.plan->device;
    VkCommandBuffer commands = rec.params.command_buffer;
    rec.slot->recorded = 1;
    rapt_device_begin_label(device, commands, "rapt block lists");
    rapt_device_barrier(device, commands);
    status = dispatch(&rec, SPARSE_SCAN, 1);
    rapt_device_barrier(device, commands);
    if (status == RAPT_OK && lists->params.source == RAPT_BLOCKS_SEGMENTS) {
        status = dispatch(&rec, SPARSE_BOUNDS, bound_groups(&rec));
        rapt_device_barrier(device, commands);
    }
    if (status == RAPT_OK)
        status = dispatch(&rec, SPARSE_BLOCKS, rec.n_lists);
    rapt_device_barrier(device, commands);
    rapt_device_end_label(device, commands);
    return status;
}
