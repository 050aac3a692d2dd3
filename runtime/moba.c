/* SPDX-License-Identifier: Apache-2.0 */

/* MoBA's choice of chunks: means of K, gates, the top k of each row. Gates lie in a part of the
 * workspace that holds so many rows at a time (or where the caller wants all of them); means and
 * choices do for the whole step. */

#include "sparse.h"
#include "step_inputs.h"

#include "checked.h"
#include "error.h"
#include "kv_format.h"

#include <string.h>

struct rapt_moba {
    struct rapt_sparse sparse;
    uint32_t chunk, top_k;
    uint64_t score_floats;
};

/* Where things lie in the workspace, bytes. */
struct places {
    uint64_t means, choices, scores, end;
    uint64_t n_rows;    /* (token, head) */
    uint64_t slab_rows; /* of them, whose gates are there at a time */
    uint64_t pitch;     /* chunks of all sequences, at most */
    uint64_t n_chunks;  /* of the longest one */
    uint64_t sum_bytes, mean_bytes, choice_bytes, score_bytes;
};

/* ------------------------------------------------------------------------------------- creation */

static rapt_status check_params(const rapt_plan *plan, const rapt_moba_params *p)
{
    if (p->chunk < 16 || p->chunk > 1u << 20 || p->chunk % 16 != 0)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "chunk is %u: expected a multiple of 16 up to %u",
                         p->chunk, 1u << 20);
    if (p->top_k == 0 || p->top_k > 65536)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "top_k is %u: expected 1 to 65536", p->top_k);
    if (plan && plan->params.n_kv_segments > 1)
        return rapt_fail(RAPT_ERROR_UNSUPPORTED,
                         "the plan's pool lies in %u pieces (n_kv_segments): means are made of "
                         "pools in one",
                         plan->params.n_kv_segments);
    return RAPT_OK;
}

rapt_status rapt_moba_create(rapt_plan *plan, const rapt_moba_params *params, rapt_moba **out_moba)
{
    rapt_moba_params p;
    if (!plan || !out_moba)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s is NULL", plan ? "out_moba" : "plan");
    *out_moba = NULL;
    rapt_status status = rapt_params_read("rapt_moba_params", params, &p, sizeof p);
    if (status == RAPT_OK)
        status = check_params(plan, &p);
    if (status != RAPT_OK)
        return status;
    rapt_moba *moba = rapt_sparse_alloc(plan, sizeof *moba, "MoBA's state");
    if (!moba)
        return RAPT_ERROR_HOST_MEMORY;
    moba->chunk = p.chunk;
    moba->top_k = p.top_k;
    moba->score_floats = (p.score_bytes ? p.score_bytes : 64u << 20) / 4;
    struct rapt_kernel_choice *choices = moba->sparse.choices;
    static const char *const names[] = {"sparse_scan", "chunk_mean", "moba_gate", "select_top_k",
                                        "moba_lists"};
    for (int i = SPARSE_LISTS + 1; i < SPARSE_N_PIPELINES; i++)
        choices[i].kernel = -1;
    for (int i = 0; status == RAPT_OK && i <= SPARSE_LISTS; i++)
        status = rapt_select_sparse(&plan->device->caps, &plan->params, names[i], i == SPARSE_MEAN,
                                    &choices[i]);
    choices[SPARSE_SELECT].spec[RAPT_SPEC_TILE_A] = RAPT_SELECT_CHUNKS;
    choices[SPARSE_SELECT].spec[RAPT_SPEC_TILE_B] = 0;
    if (status == RAPT_OK)
        status = rapt_sparse_create(&moba->sparse, p.max_records);
    if (status != RAPT_OK) {
        rapt_moba_destroy(&moba);
        return status;
    }
    *out_moba = moba;
    return RAPT_OK;
}

void rapt_moba_destroy(rapt_moba **moba)
{
    if (!moba || !*moba)
        return;
    rapt_sparse_destroy(&(*moba)->sparse);
    *moba = NULL;
}

/* ---------------------------------------------------------------------------------------- sizes */

static uint64_t min64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static struct places lay_out(const rapt_moba *moba, uint32_t n_seqs, uint32_t total_q,
                             uint64_t total_kv, uint32_t max_kv_len, int own_choices,
                             int own_scores)
{
    const rapt_plan_params *p = &moba->sparse.plan->params;
    uint32_t tokens = moba->sparse.choices[SPARSE_GATE].rows;
    struct places at = {.n_rows = (uint64_t)total_q * p->n_q_heads};
    at.pitch = rapt_add_sat(total_kv / moba->chunk, n_seqs);
    at.n_chunks = ((uint64_t)max_kv_len + moba->chunk - 1) / moba->chunk;
    /* whole tiles of the gate's workgroups */
    uint64_t tile = (uint64_t)tokens * p->n_q_heads;
    uint64_t slab = at.n_chunks ? moba->score_floats / at.n_chunks : at.n_rows;
    slab = slab < tile ? tile : slab / tile * tile;
    at.slab_rows = own_scores ? min64(slab, at.n_rows) : at.n_rows;
    at.sum_bytes = 12 * ((uint64_t)n_seqs + 1);
    at.means = rapt_sparse_align(at.sum_bytes);
    at.mean_bytes = rapt_mul_sat(at.pitch, 4ull * p->n_kv_heads * p->head_dim);
    at.choices = rapt_sparse_align(rapt_add_sat(at.means, at.mean_bytes));
    at.choice_bytes = rapt_mul_sat(at.n_rows, 4ull * moba->top_k);
    at.scores = rapt_sparse_align(rapt_add_sat(at.choices, own_choices ? at.choice_bytes : 0));
    at.score_bytes = rapt_mul_sat(at.slab_rows, 4 * at.n_chunks);
    at.end = rapt_add_sat(at.scores, own_scores ? at.score_bytes : 0);
    return at;
}

uint64_t rapt_moba_workspace_bytes(const rapt_moba *moba, uint32_t n_seqs, uint32_t total_q,
                                   uint64_t total_kv, uint32_t max_kv_len)
{
    return moba ? lay_out(moba, n_seqs, total_q, total_kv, max_kv_len, 1, 1).end : 0;
}

/* ---------------------------------------------------------------------------------------- lists */

/* Spans a list may come to have: each query of a block chooses top_k chunks, its own among them. */
static uint64_t list_capacity(uint32_t top_k, uint64_t n_chunks, uint32_t block_q)
{
    uint64_t n = min64(n_chunks, (uint64_t)top_k * block_q);
    return n ? n : 1;
}

static uint32_t bit_words_of(uint32_t block_q)
{
    return block_q < 32 ? 1 : block_q / 32;
}

rapt_status rapt_moba_device_lists(const rapt_moba_params *params, uint32_t n_q_heads,
                                   uint32_t n_seqs, uint32_t total_q, uint32_t max_kv_len,
                                   uint32_t block_q, rapt_device_lists *out_lists,
                                   uint32_t *out_max_spans)
{
    rapt_moba_params p;
    if (!out_lists || !out_max_spans)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s is NULL",
                         out_lists ? "out_max_spans" : "out_lists");
    rapt_status status = rapt_params_read("rapt_moba_params", params, &p, sizeof p);
    if (status == RAPT_OK)
        status = check_params(NULL, &p);
    if (status == RAPT_OK && (block_q < 16 || block_q > 256 || (block_q & (block_q - 1)) != 0))
        status = rapt_fail(RAPT_ERROR_ARGUMENT,
                           "block_q is %u: expected a power of two from 16 to 256", block_q);
    if (status != RAPT_OK)
        return status;
    uint64_t n_chunks = ((uint64_t)max_kv_len + p.chunk - 1) / p.chunk;
    uint64_t capacity = list_capacity(p.top_k, n_chunks, block_q);
    uint64_t n_lists = rapt_mul_sat((uint64_t)total_q / block_q + n_seqs, n_q_heads);
    uint64_t bit_words = rapt_mul_sat(n_lists, capacity * bit_words_of(block_q));
    uint64_t spans = rapt_mul_sat(n_lists, capacity + 1);
    if (bit_words >= 1u << 29 || spans >= 1u << 27) /* words of a step are numbered to 2^30 */
        return rapt_fail(RAPT_ERROR_CAPACITY,
                         "%llu lists of up to %llu spans are more than a step holds: take longer "
                         "chunks, or fewer queries at a time",
                         (unsigned long long)n_lists, (unsigned long long)capacity);
    const rapt_device_lists lists = {
        .struct_size = sizeof lists,
        .block_q = block_q,
        .block_kv = 64,
        .n_sets = n_q_heads,
        .list_capacity = (uint32_t)capacity,
        .bit_words = (uint32_t)bit_words,
    };
    *out_max_spans = (uint32_t)spans;
    rapt_params_write(out_lists, &lists, sizeof lists);
    return RAPT_OK;
}

/* --------------------------------------------------------------------------------------- record */

struct recording {
    rapt_moba *moba;
    rapt_moba_record_params params;
    struct rapt_plan_slot *slot;
    struct places at;
    struct rapt_bindings bindings[SPARSE_N_PIPELINES];
    struct rapt_push push;
    uint64_t n_groups[SPARSE_N_PIPELINES]; /* the most of a dispatch */
    uint32_t score_stride;
};

static rapt_status check_inputs(struct recording *rec)
{
    const rapt_moba *moba = rec->moba;
    const rapt_plan_params *p = &moba->sparse.plan->params;
    const rapt_moba_record_params *r = &rec->params;
    const struct rapt_plan_needs *needs = &rec->slot->needs;
    uint32_t q_bytes = (uint32_t)rapt_type_bytes(p->q_type), unit = rapt_kv_unit(p->kv_type);
    uint32_t scale_bytes = (uint32_t)rapt_type_bytes(p->scale_type);
    uint64_t table = p->flags & RAPT_PLAN_ROPE_Q && p->rope
                         ? 4ull * p->rope->n_table_positions * p->rope->rotary_dim
                         : 0;
    uint64_t k = needs->k;
    RAPT_U none;
    if (rapt_kv_quantized(p->kv_type))
        k = rapt_add_sat(k, (4 - k % 4) % 4);
    rapt_buffer *bound = rec->bindings[SPARSE_GATE].buffers;
    rapt_status status =
        rapt_sparse_bind(&moba->sparse, "q", &r->q, rapt_mul_sat(needs->q, q_bytes), q_bytes,
                         &bound[RAPT_BIND_Q], &rec->push.q_base);
    if (status == RAPT_OK)
        status = rapt_sparse_bind(&moba->sparse, "rope_table", &r->rope_table, table, 4,
                                  &bound[RAPT_BIND_ROPE], &none);
    if (status == RAPT_OK && none)
        status = rapt_fail(RAPT_ERROR_ARGUMENT,
                           "rope_table.offset is %llu: expected a multiple of "
                           "minStorageBufferOffsetAlignment",
                           (unsigned long long)r->rope_table.offset);
    bound = rec->bindings[SPARSE_MEAN].buffers;
    if (status == RAPT_OK)
        status = rapt_sparse_bind(&moba->sparse, "k", &r->k, rapt_mul_sat(k, unit), unit,
                                  &bound[RAPT_BIND_K], &rec->push.k_base);
    if (status == RAPT_OK)
        status = rapt_sparse_bind(
            &moba->sparse, "k_scale", &r->k_scale, rapt_mul_sat(needs->k_scale, scale_bytes),
            scale_bytes ? scale_bytes : 4, &bound[RAPT_BIND_K_SCALE], &rec->push.k_scale_lo);
    return status;
}

/* The workspace, and what lies in it or with the caller. */
static rapt_status check_outputs(struct recording *rec)
{
    const rapt_moba *moba = rec->moba;
    const rapt_moba_record_params *r = &rec->params;
    const struct places *at = &rec->at;
    rapt_buffer bound;
    RAPT_U none;
    if (r->gates.buffer && r->gate_stride < at->n_chunks)
        return rapt_fail(RAPT_ERROR_SHAPE,
                         "gate_stride is %u: the longest sequence has %llu chunks", r->gate_stride,
                         (unsigned long long)at->n_chunks);
    if (r->workspace.offset % RAPT_SPARSE_ALIGNMENT != 0)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "workspace.offset is %llu: expected a multiple of %u",
                         (unsigned long long)r->workspace.offset, RAPT_SPARSE_ALIGNMENT);
    rapt_status status =
        rapt_sparse_bind(&moba->sparse, "workspace", &r->workspace, at->end, 4, &bound, &none);
    if (status != RAPT_OK)
        return status;
    rapt_buffer work = rapt_sparse_part(&r->workspace, 0, at->means + at->mean_bytes);
    rapt_buffer scores = rapt_sparse_part(&r->workspace, at->scores, at->score_bytes);
    rapt_buffer choices = rapt_sparse_part(&r->workspace, at->choices, at->choice_bytes);
    if (r->gates.buffer)
        status = rapt_sparse_bind(&moba->sparse, "gates", &r->gates,
                                  rapt_mul_sat(at->n_rows, 4ull * r->gate_stride), 4, &scores,
                                  &rec->push.out_base);
    if (status == RAPT_OK && r->choices.buffer)
        status = rapt_sparse_bind(&moba->sparse, "choices", &r->choices, at->choice_bytes, 4,
                                  &choices, &rec->push.rapt_sparse_lists_base);
    for (int i = 0; i < SPARSE_N_PIPELINES; i++) {
        rec->bindings[i].buffers[RAPT_BIND_STEP] =
            rapt_step_tables(moba->sparse.plan, r->step->slot);
        rec->bindings[i].buffers[RAPT_BIND_WORK] = work;
        rec->bindings[i].fallback = rec->bindings[i].buffers[RAPT_BIND_STEP];
    }
    rec->bindings[SPARSE_GATE].buffers[RAPT_BIND_OUT] = scores;
    rec->bindings[SPARSE_SELECT].buffers[RAPT_BIND_OUT] = scores;
    rec->bindings[SPARSE_SELECT].buffers[RAPT_BIND_BLOCKS] = choices;
    rec->bindings[SPARSE_LISTS].buffers[RAPT_BIND_BLOCKS] = choices;
    return status;
}

/* The room the step has for lists is enough for whatever is chosen. */
static rapt_status check_lists(struct recording *rec)
{
    const struct rapt_plan_lists *lists = &rec->slot->lists;
    const rapt_plan *plan = rec->moba->sparse.plan;
    if (!lists->used || lists->list_capacity == 0)
        return rapt_fail(RAPT_ERROR_ARGUMENT,
                         "lists is set: the step was prepared without device_lists");
    if (lists->n_sets != plan->params.n_q_heads)
        return rapt_fail(RAPT_ERROR_SHAPE,
                         "device_lists.n_sets is %u: every one of the %u query heads chooses for "
                         "itself (head_group 1)",
                         lists->n_sets, plan->params.n_q_heads);
    uint64_t capacity = list_capacity(rec->moba->top_k, rec->at.n_chunks, lists->block_q);
    uint64_t n_lists = (uint64_t)lists->work.n_rows * lists->n_sets;
    uint64_t bit_words = rapt_mul_sat(n_lists * bit_words_of(lists->block_q), lists->list_capacity);
    if (lists->list_capacity < capacity)
        return rapt_fail(RAPT_ERROR_CAPACITY,
                         "device_lists.list_capacity is %u: a list may have %llu spans",
                         lists->list_capacity, (unsigned long long)capacity);
    if (lists->n_bit_words < bit_words)
        return rapt_fail(RAPT_ERROR_CAPACITY,
                         "device_lists.bit_words is %u: %llu lists of %u spans need %llu",
                         lists->n_bit_words, (unsigned long long)n_lists, lists->list_capacity,
                         (unsigned long long)bit_words);
    rec->n_groups[SPARSE_LISTS] = n_lists;
    while (1u << rec->push.rapt_sparse_block_q_shift < lists->block_q)
        rec->push.rapt_sparse_block_q_shift++;
    return RAPT_OK;
}

/* Rows of K/V heads and tiles of tokens that gates of n_rows rows take. */
static uint64_t gate_groups(const rapt_moba *moba, uint64_t n_rows)
{
    const rapt_plan_params *p = &moba->sparse.plan->params;
    uint32_t tokens = moba->sparse.choices[SPARSE_GATE].rows;
    return (n_rows / p->n_q_heads + tokens - 1) / tokens * p->n_kv_heads;
}

static rapt_status check(struct recording *rec)
{
    rapt_moba *moba = rec->moba;
    const rapt_moba_record_params *r = &rec->params;
    rapt_status status =
        rapt_sparse_check_step(&moba->sparse, r->command_buffer, r->step, &rec->slot);
    if (status != RAPT_OK)
        return status;
    const rapt_step *step = &rec->slot->step;
    rec->at = lay_out(moba, step->n_seqs, step->total_q, rec->slot->total_kv, rec->slot->max_kv_len,
                      !r->choices.buffer, !r->gates.buffer);
    status = check_inputs(rec);
    if (status == RAPT_OK)
        status = check_outputs(rec);
    const struct places *at = &rec->at;
    rec->n_groups[SPARSE_SCAN] = 1;
    rec->n_groups[SPARSE_MEAN] = rapt_mul_sat(at->pitch, moba->sparse.plan->params.n_kv_heads);
    rec->n_groups[SPARSE_GATE] = gate_groups(moba, at->slab_rows);
    rec->n_groups[SPARSE_SELECT] = at->slab_rows;
    if (status == RAPT_OK && r->lists)
        status = check_lists(rec);
    for (int i = 0; status == RAPT_OK && at->n_rows && i <= SPARSE_LISTS; i++)
        status = rapt_sparse_check_dispatch(&moba->sparse, r->step->slot, (enum sparse_pipeline)i,
                                            &rec->bindings[i], rec->n_groups[i]);
    struct rapt_push *push = &rec->push;
    push->rapt_sparse_chunk = moba->chunk;
    push->rapt_sparse_top_k = moba->top_k;
    push->rapt_sparse_stride = r->gates.buffer ? r->gate_stride : (uint32_t)at->n_chunks;
    push->rapt_sparse_fill = r->gates.buffer != VK_NULL_HANDLE;
    push->rapt_sparse_means = (uint32_t)(at->means / 4);
    push->rapt_sparse_pitch = (uint32_t)at->pitch;
    return status;
}

static rapt_status dispatch(struct recording *rec, enum sparse_pipeline pipeline, uint64_t n_groups,
                            int again)
{
    return rapt_sparse_dispatch(&rec->moba->sparse, rec->params.command_buffer,
                                rec->params.step->slot, pipeline, again, &rec->bindings[pipeline],
                                &rec->push, (uint32_t)n_groups);
}

rapt_status rapt_moba_record(rapt_moba *moba, const rapt_moba_record_params *params)
{
    struct recording rec;
    memset(&rec, 0, sizeof rec);
    if (!moba)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "moba is NULL");
    rec.moba = moba;
    rapt_status status =
        rapt_params_read("rapt_moba_record_params", params, &rec.params, sizeof rec.params);
    if (status == RAPT_OK)
        status = check(&rec);
    if (status != RAPT_OK || rec.at.n_rows == 0)
        return status;
    rapt_device *device = moba->sparse.plan->device;
    VkCommandBuffer commands = rec.params.command_buffer;
    rec.slot->recorded = 1;
    rapt_device_begin_label(device, commands, "rapt moba");
    rapt_device_barrier(device, commands);
    status = dispatch(&rec, SPARSE_SCAN, 1, 0);
    rapt_device_barrier(device, commands);
    if (status == RAPT_OK)
        status = dispatch(&rec, SPARSE_MEAN, rec.n_groups[SPARSE_MEAN], 0);
    for (uint64_t row = 0; status == RAPT_OK && row < rec.at.n_rows; row += rec.at.slab_rows) {
        uint64_t n = min64(rec.at.slab_rows, rec.at.n_rows - row);
        rec.push.rapt_sparse_first_row = (uint32_t)row;
        rapt_device_barrier(device, commands);
        status = dispatch(&rec, SPARSE_GATE, gate_groups(moba, n), row > 0);
        rapt_device_barrier(device, commands);
        if (status == RAPT_OK)
            status = dispatch(&rec, SPARSE_SELECT, n, row > 0);
    }
    if (status == RAPT_OK && rec.params.lists) {
        rapt_device_barrier(device, commands);
        status = dispatch(&rec, SPARSE_LISTS, rec.n_groups[SPARSE_LISTS], 0);
    }
    rapt_device_barrier(device, commands);
    rapt_device_end_label(device, commands);
    return status;
}
