/* SPDX-License-Identifier: Apache-2.0 */
/* Masks of a problem that are no interval of keys: a block table, and a plan that takes it. */
#include "job.h"

#include "error.h"

static int needs_table(const rapt_problem *problem)
{
    if (!rapt_mask_is_closed(problem->mask))
        return 1;
    for (uint32_t h = 0; problem->mask_heads && h < problem->n_q_heads; h++)
        if (problem->mask_heads[h] && !rapt_mask_equal(problem->mask_heads[h], problem->mask))
            return 1;
    return 0;
}

/* Cumulative keys of a ready pool's sequences; the problem's check has counted them. */
static void fill_cu_kv(const rapt_problem *problem, int32_t *cu_kv)
{
    cu_kv[0] = 0;
    for (uint32_t b = 0; b < problem->n_seqs; b++) {
        uint32_t n = problem->page_indptr[b + 1] - problem->page_indptr[b];
        cu_kv[b + 1] = cu_kv[b];
        if (n)
            cu_kv[b + 1] += (int32_t)((n - 1) * problem->page_size + problem->last_page_len[b]);
    }
}

/* The most neighbouring heads, a divisor of those of a KV head, that always share their lists. */
static uint32_t head_group(const rapt_block_table_view *view, uint32_t heads)
{
    for (uint32_t g = heads; g > 1; g--) {
        uint32_t h = 0;
        if (heads % g != 0)
            continue;
        while (h < view->n_q_heads && view->head_set[h] == view->head_set[h - h % g])
            h++;
        if (h == view->n_q_heads)
            return g;
    }
    return 1;
}

rapt_status rapt_job_make_table(rapt_easy_job *job)
{
    const rapt_problem *problem = &job->problem;
    const rapt_allocator *allocator = job->easy->allocator;
    if (!needs_table(problem))
        return RAPT_OK;
    if (job->options.share_prefixes)
        return rapt_fail(RAPT_ERROR_UNSUPPORTED,
                         "share_prefixes takes masks in closed form: this one needs a block table");
    rapt_mask_data data = {.struct_size = sizeof data};
    if (problem->mask_data)
        data = *problem->mask_data;
    if (!data.prefix)
        data.prefix = problem->prefix;
    rapt_block_table_params params = {
        .struct_size = sizeof params,
        .allocator = allocator,
        .mask = problem->mask,
        .mask_heads = problem->mask_heads,
        .batch = {.struct_size = sizeof params.batch,
                  .n_seqs = problem->n_seqs,
                  .cu_q = problem->cu_q,
                  .cu_kv = problem->cu_kv,
                  .q_pos0 = problem->q_pos0,
                  .q_pos = problem->q_pos,
                  .kv_pos0 = problem->kv_pos0,
                  .n_q_heads = problem->n_q_heads,
                  .data = &data},
        .block_q = job->options.mask_block_q,
        .block_kv = job->options.mask_block_kv,
    };
    int32_t *cu_kv = NULL;
    if (problem->page_indptr) {
        cu_kv = rapt_alloc(allocator, (size_t)problem->n_seqs + 1, sizeof *cu_kv);
        if (!cu_kv)
            return rapt_fail(RAPT_ERROR_HOST_MEMORY, "out of host memory for lengths");
        fill_cu_kv(problem, cu_kv);
        params.batch.cu_kv = cu_kv;
    }
    rapt_status status = rapt_block_table_create(&params, &job->table);
    rapt_free(allocator, cu_kv);
    if (status != RAPT_OK)
        return status;
    rapt_block_table_view view = {.struct_size = sizeof view};
    rapt_block_table_get_view(job->table, &view);
    uint64_t bit_words = (uint64_t)view.n_tiles * view.tile_words;
    rapt_plan_params *plan = &job->plan_params;
    plan->flags |= RAPT_PLAN_BLOCKS;
    plan->head_group = head_group(&view, problem->n_q_heads / problem->n_kv_heads);
    plan->list_block_q = view.block_q;
    plan->max_spans = view.n_entries < UINT32_MAX ? (uint32_t)view.n_entries + 1 : UINT32_MAX;
    plan->max_bit_words = bit_words < UINT32_MAX ? (uint32_t)bit_words + 1 : UINT32_MAX;
    return RAPT_OK;
}
