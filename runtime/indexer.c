/* SPDX-License-Identifier: Apache-2.0 */

/* An indexer's choice of keys: scores of so many queries at a time, the top k of each. */

#include "sparse.h"
#include "step_inputs.h"

#include "checked.h"
#include "error.h"

#include <string.h>

struct rapt_indexer {
    struct rapt_sparse sparse;
    rapt_indexer_params params; /* defaults filled in */
};

/* ------------------------------------------------------------------------------------- creation */

static rapt_status check_layout(const char *name, const rapt_layout *l, rapt_type type)
{
    const struct {
        const char *name;
        uint64_t value;
    } strides[] = {{"outer_stride", l->outer_stride},
                   {"token_stride", l->token_stride},
                   {"head_stride", l->head_stride}};
    for (int i = 0; i < 3; i++) {
        if (strides[i].value > UINT32_MAX)
            return rapt_fail(RAPT_ERROR_ARGUMENT, "%s.%s is %llu: strides must stay below 2^32",
                             name, strides[i].name, (unsigned long long)strides[i].value);
        if (type != RAPT_TYPE_F32 && strides[i].value % 2 != 0)
            return rapt_fail(RAPT_ERROR_ARGUMENT, "%s.%s is %llu: 16-bit tensors need even strides",
                             name, strides[i].name, (unsigned long long)strides[i].value);
    }
    if (l->dim_stride > 1)
        return rapt_fail(RAPT_ERROR_ARGUMENT,
                         "%s.dim_stride is %llu: the head dim must be contiguous (1)", name,
                         (unsigned long long)l->dim_stride);
    return RAPT_OK;
}

static rapt_status check_type(const char *name, rapt_type *type)
{
    if (*type == RAPT_TYPE_DEFAULT)
        *type = RAPT_TYPE_F16;
    if (rapt_type_bytes(*type) == 0)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s is %s: expected f32, f16 or bf16", name,
                         rapt_type_name(*type) ? rapt_type_name(*type) : "no type");
    return RAPT_OK;
}

static rapt_status check_params(const rapt_plan *plan, rapt_indexer_params *p)
{
    if (p->n_heads == 0 || p->n_heads > 1024)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "n_heads is %u: expected 1 to 1024", p->n_heads);
    if (p->head_dim < 8 || p->head_dim > 256 || p->head_dim % 8 != 0)
        return rapt_fail(RAPT_ERROR_ARGUMENT,
                         "head_dim is %u: expected a multiple of 8 from 8 to 256", p->head_dim);
    if (p->top_k == 0 || p->top_k > 65536)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "top_k is %u: expected 1 to 65536", p->top_k);
    rapt_status status = check_type("q_type", &p->q_type);
    if (status == RAPT_OK)
        status = check_type("k_type", &p->k_type);
    if (status == RAPT_OK)
        status = check_layout("q", &p->q, p->q_type);
    if (status == RAPT_OK)
        status = check_layout("k", &p->k, p->k_type);
    if (!p->q.head_stride)
        p->q.head_stride = p->head_dim;
    if (!p->q.token_stride)
        p->q.token_stride = (uint64_t)p->n_heads * p->head_dim;
    if (!p->k.token_stride)
        p->k.token_stride = p->head_dim;
    if (!p->k.outer_stride)
        p->k.outer_stride = plan->params.page_size * p->k.token_stride;
    return status;
}

static rapt_status choose(rapt_indexer *indexer)
{
    const rapt_plan *plan = indexer->sparse.plan;
    const rapt_indexer_params *p = &indexer->params;
    struct rapt_kernel_choice *choices = indexer->sparse.choices;
    static const struct {
        enum sparse_pipeline pipeline;
        const char *name;
    } kernels[] = {{SPARSE_SCAN, "sparse_scan"},
                   {SPARSE_INDEX, "index_score"},
                   {SPARSE_SELECT, "select_top_k"}};
    for (int i = 0; i < SPARSE_N_PIPELINES; i++)
        choices[i].kernel = -1;
    for (int i = 0; i < 3; i++) {
        rapt_status status = rapt_select_sparse(&plan->device->caps, &plan->params, kernels[i].name,
                                                0, &choices[kernels[i].pipeline]);
        if (status != RAPT_OK)
            return status;
    }
    uint32_t *spec = choices[SPARSE_INDEX].spec;
    spec[RAPT_SPEC_HEAD_DIM] = p->head_dim;
    spec[RAPT_SPEC_Q_TYPE] = (uint32_t)p->q_type;
    spec[RAPT_SPEC_TILE_B] = p->n_heads;
    spec[RAPT_SPEC_TILE_C] = (uint32_t)p->k_type;
    spec[RAPT_SPEC_TILE_D] = choices[SPARSE_INDEX].block_kv;
    choices[SPARSE_INDEX].shared_bytes = 32 * p->head_dim;
    choices[SPARSE_SELECT].spec[RAPT_SPEC_TILE_A] = RAPT_SELECT_KEYS;
    choices[SPARSE_SELECT].spec[RAPT_SPEC_TILE_B] = 1;
    return RAPT_OK;
}

rapt_status rapt_indexer_create(rapt_plan *plan, const rapt_indexer_params *params,
                                rapt_indexer **out_indexer)
{
    rapt_indexer_params p;
    if (!plan || !out_indexer)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s is NULL", plan ? "out_indexer" : "plan");
    *out_indexer = NULL;
    rapt_status status = rapt_params_read("rapt_indexer_params", params, &p, sizeof p);
    if (status == RAPT_OK)
        status = check_params(plan, &p);
    if (status != RAPT_OK)
        return status;
    rapt_indexer *indexer = rapt_sparse_alloc(plan, sizeof *indexer, "an indexer");
    if (!indexer)
        return RAPT_ERROR_HOST_MEMORY;
    indexer->params = p;
    if (p.score_bytes == 0)
        indexer->params.score_bytes = 64u << 20;
    status = choose(indexer);
    if (status == RAPT_OK)
        status = rapt_sparse_create(&indexer->sparse, p.max_records);
    if (status != RAPT_OK) {
        rapt_indexer_destroy(&indexer);
        return status;
    }
    *out_indexer = indexer;
    return RAPT_OK;
}

void rapt_indexer_destroy(rapt_indexer **indexer)
{
    if (!indexer || !*indexer)
        return;
    rapt_sparse_destroy(&(*indexer)->sparse);
    *indexer = NULL;
}

/* ---------------------------------------------------------------------------------------- sizes */

struct places {
    uint64_t scores, end; /* bytes of the workspace */
    uint64_t slab_rows, sum_bytes, score_bytes;
};

static struct places lay_out(const rapt_indexer *indexer, uint32_t n_seqs, uint32_t total_q,
                             uint32_t max_kv_len)
{
    struct places at = {.sum_bytes = 12 * ((uint64_t)n_seqs + 1)};
    uint64_t row = 4ull * max_kv_len, rows = row ? indexer->params.score_bytes / row : total_q;
    at.slab_rows = rows == 0 ? 1 : rows < total_q ? rows : total_q;
    at.scores = rapt_sparse_align(at.sum_bytes);
    at.score_bytes = rapt_mul_sat(at.slab_rows, row);
    at.end = rapt_add_sat(at.scores, at.score_bytes);
    return at;
}

uint64_t rapt_indexer_workspace_bytes(const rapt_indexer *indexer, uint32_t n_seqs,
                                      uint32_t total_q, uint32_t max_kv_len)
{
    return indexer ? lay_out(indexer, n_seqs, total_q, max_kv_len).end : 0;
}

/* --------------------------------------------------------------------------------------- record */

struct recording {
    rapt_indexer *indexer;
    rapt_indexer_record_params params;
    struct rapt_plan_slot *slot;
    struct places at;
    struct rapt_bindings bindings[SPARSE_N_PIPELINES];
    struct rapt_push push;
    uint32_t key_tiles; /* of a query's row */
};

static rapt_status check_inputs(struct recording *rec)
{
    const rapt_indexer_params *p = &rec->indexer->params;
    const rapt_indexer_record_params *r = &rec->params;
    const rapt_plan *plan = rec->indexer->sparse.plan;
    uint64_t total_q = rec->slot->step.total_q, q = 0, k = 0, n_keys = rec->slot->total_kv;
    uint32_t q_bytes = (uint32_t)rapt_type_bytes(p->q_type);
    uint32_t k_bytes = (uint32_t)rapt_type_bytes(p->k_type);
    if (total_q)
        q = (total_q - 1) * p->q.token_stride + (p->n_heads - 1) * p->q.head_stride + p->head_dim;
    if (plan->params.flags & RAPT_PLAN_PAGED)
        k = rec->slot->n_pool_pages
                ? (rec->slot->n_pool_pages - 1) * p->k.outer_stride +
                      (plan->params.page_size - 1) * p->k.token_stride + p->head_dim
                : 0;
    else if (n_keys)
        k = rapt_add_sat(rapt_mul_sat(n_keys - 1, p->k.token_stride), p->head_dim);
    rapt_buffer *bound = rec->bindings[SPARSE_INDEX].buffers;
    rapt_status status =
        rapt_sparse_bind(&rec->indexer->sparse, "q", &r->q, rapt_mul_sat(q, q_bytes), q_bytes,
                         &bound[RAPT_BIND_Q], &rec->push.q_base);
    if (status == RAPT_OK)
        status = rapt_sparse_bind(&rec->indexer->sparse, "k", &r->k, rapt_mul_sat(k, k_bytes),
                                  k_bytes, &bound[RAPT_BIND_K], &rec->push.k_base);
    if (status == RAPT_OK)
        status = rapt_sparse_bind(&rec->indexer->sparse, "weights", &r->weights,
                                  4 * total_q * p->n_heads, 4, &bound[RAPT_BIND_SINKS],
                                  &rec->push.sinks_base);
    return status;
}

static rapt_status check_outputs(struct recording *rec)
{
    const struct rapt_sparse *sparse = &rec->indexer->sparse;
    const rapt_indexer_record_params *r = &rec->params;
    uint64_t total_q = rec->slot->step.total_q;
    rapt_buffer work, *lists = rec->bindings[SPARSE_SELECT].buffers;
    RAPT_U none;
    if (r->workspace.offset % RAPT_SPARSE_ALIGNMENT != 0)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "workspace.offset is %llu: expected a multiple of %u",
                         (unsigned long long)r->workspace.offset, RAPT_SPARSE_ALIGNMENT);
    rapt_status status =
        rapt_sparse_bind(sparse, "workspace", &r->workspace, rec->at.end, 4, &work, &none);
    if (status == RAPT_OK)
        status =
            rapt_sparse_bind(sparse, "lists", &r->lists, 4 * total_q * rec->indexer->params.top_k,
                             4, &lists[RAPT_BIND_BLOCKS], &rec->push.rapt_sparse_lists_base);
    if (status == RAPT_OK)
        status = rapt_sparse_bind(sparse, "counts", &r->counts, 4 * total_q, 4,
                                  &lists[RAPT_BIND_COUNTS], &rec->push.rapt_sparse_counts_base);
    rapt_buffer scores = rapt_sparse_part(&r->workspace, rec->at.scores, rec->at.score_bytes);
    for (int i = 0; i < SPARSE_N_PIPELINES; i++) {
        rapt_buffer *bound = rec->bindings[i].buffers;
        bound[RAPT_BIND_STEP] = rapt_step_tables(sparse->plan, r->step->slot);
        bound[RAPT_BIND_WORK] = rapt_sparse_part(&r->workspace, 0, rec->at.sum_bytes);
        bound[RAPT_BIND_OUT] = scores;
        rec->bindings[i].fallback = bound[RAPT_BIND_STEP];
    }
    return status;
}

static rapt_status check(struct recording *rec)
{
    rapt_indexer *indexer = rec->indexer;
    const rapt_indexer_record_params *r = &rec->params;
    const rapt_indexer_params *p = &indexer->params;
    rapt_status status =
        rapt_sparse_check_step(&indexer->sparse, r->command_buffer, r->step, &rec->slot);
    if (status != RAPT_OK)
        return status;
    const rapt_step *step = &rec->slot->step;
    rec->at = lay_out(indexer, step->n_seqs, step->total_q, rec->slot->max_kv_len);
    status = check_inputs(rec);
    if (status == RAPT_OK)
        status = check_outputs(rec);
    uint32_t keys = indexer->sparse.choices[SPARSE_INDEX].block_kv;
    rec->key_tiles = rec->slot->max_kv_len / keys + (rec->slot->max_kv_len % keys != 0);
    const struct {
        enum sparse_pipeline pipeline;
        uint64_t n_groups;
    } dispatches[] = {{SPARSE_SCAN, 1},
                      {SPARSE_INDEX, rapt_mul_sat(rec->at.slab_rows, rec->key_tiles)},
                      {SPARSE_SELECT, rec->at.slab_rows}};
    for (int i = 0; status == RAPT_OK && step->total_q && i < 3; i++)
        status = rapt_sparse_check_dispatch(&indexer->sparse, r->step->slot, dispatches[i].pipeline,
                                            &rec->bindings[dispatches[i].pipeline],
                                            dispatches[i].n_groups);
    struct rapt_push *push = &rec->push;
    push->rapt_sparse_chunk = 1; /* chunks are not looked at */
    push->rapt_sparse_top_k = p->top_k;
    push->rapt_sparse_stride = rec->slot->max_kv_len;
    push->rapt_sparse_q_token_stride = (uint32_t)p->q.token_stride;
    push->rapt_sparse_q_head_stride = (uint32_t)p->q.head_stride;
    push->rapt_sparse_k_token_stride = (uint32_t)p->k.token_stride;
    push->rapt_sparse_k_page_stride = (uint32_t)p->k.outer_stride;
    return status;
}

static rapt_status dispatch(struct recording *rec, enum sparse_pipeline pipeline, uint64_t n_groups,
                            int again)
{
    return rapt_sparse_dispatch(&rec->indexer->sparse, rec->params.command_buffer,
                                rec->params.step->slot, pipeline, again, &rec->bindings[pipeline],
                                &rec->push, (uint32_t)n_groups);
}

rapt_status rapt_indexer_record(rapt_indexer *indexer, const rapt_indexer_record_params *params)
{
    struct recording rec;
    memset(&rec, 0, sizeof rec);
    if (!indexer)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "indexer is NULL");
    rec.indexer = indexer;
    rapt_status status =
        rapt_params_read("rapt_indexer_record_params", params, &rec.params, sizeof rec.params);
    if (status == RAPT_OK)
        status = check(&rec);
    uint32_t total_q = status == RAPT_OK ? rec.slot->step.total_q : 0;
    if (total_q == 0)
        return status;
    rapt_device *device = indexer->sparse.plan->device;
    VkCommandBuffer commands = rec.params.command_buffer;
    rec.slot->recorded = 1;
    rapt_device_begin_label(device, commands, "rapt indexer");
    rapt_device_barrier(device, commands);
    status = dispatch(&rec, SPARSE_SCAN, 1, 0);
    for (uint64_t row = 0; status == RAPT_OK && row < total_q; row += rec.at.slab_rows) {
        uint64_t n = total_q - row < rec.at.slab_rows ? total_q - row : rec.at.slab_rows;
        rec.push.rapt_sparse_first_row = (uint32_t)row;
        rapt_device_barrier(device, commands);
        status = dispatch(&rec, SPARSE_INDEX, n * rec.key_tiles, row > 0);
        rapt_device_barrier(device, commands);
        if (status == RAPT_OK)
            status = dispatch(&rec, SPARSE_SELECT, n, row > 0);
    }
    rapt_device_barrier(device, commands);
    rapt_device_end_label(device, commands);
    return status;
}
