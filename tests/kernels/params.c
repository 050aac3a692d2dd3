/* SPDX-License-Identifier: Apache-2.0 */
/* What a check problem gives to plan, prepare and record; each test adds what it is about. */
#include "check.h"

uint32_t check_longest_kv(const struct check_problem *p)
{
    uint32_t longest = 1;
    for (int b = 0; b < p->n_seqs; b++) {
        uint32_t kv_len = (uint32_t)(p->cu_kv[b + 1] - p->cu_kv[b]);
        longest = kv_len > longest ? kv_len : longest;
    }
    return longest;
}

uint64_t check_largest_area(const struct check_problem *p)
{
    uint64_t most = 0;
    for (int b = 0; b < p->n_seqs; b++) {
        uint64_t area =
            (uint64_t)(p->cu_q[b + 1] - p->cu_q[b]) * (uint64_t)(p->cu_kv[b + 1] - p->cu_kv[b]);
        most = area > most ? area : most;
    }
    return most;
}

rapt_plan_params check_plan_params(const struct check_problem *p)
{
    const struct check_case *c = &p->c;
    int halves = c->bias == CHECK_BIAS_F16 || c->bias == CHECK_BIAS_F16_ODD;
    return (rapt_plan_params){
        .struct_size = sizeof(rapt_plan_params),
        .n_q_heads = c->heads,
        .n_kv_heads = c->kv_heads,
        .head_dim = c->d,
        .head_dim_v = c->dv,
        .q_type = p->type[CHECK_Q],
        .kv_type = p->kv,
        .out_type = p->type[CHECK_OUT],
        .bias_type = halves ? RAPT_TYPE_F16 : RAPT_TYPE_F32,
        .flags = c->flags | (c->page_size ? RAPT_PLAN_PAGED : 0u),
        .softcap = c->softcap,
        .page_size = c->page_size,
        .q = p->layout[CHECK_Q],
        .k = p->layout[CHECK_K],
        .v = p->layout[CHECK_V],
        .out = p->layout[CHECK_OUT],
        .head_group = c->head_group,
        .max_batch = (uint32_t)p->n_seqs,
        .max_total_q = (uint32_t)p->cu_q[p->n_seqs] + 1,
        .max_pages = p->indptr[p->n_seqs],
        .max_kv_len = check_longest_kv(p),
        .n_steps_in_flight = 2,
        .scale_type = p->scale_type,
        .scale_kind = c->scale_kind,
        .shared_scale = c->shared_scale,
        .k_scale = p->scale_layout[0],
        .v_scale = p->scale_layout[1],
        .n_kv_segments = c->n_segments,
        .pages_per_segment = p->pages_per_piece,
    };
}

rapt_step_params check_step(const struct check_problem *p)
{
    const struct check_case *c = &p->c;
    return (rapt_step_params){
        .struct_size = sizeof(rapt_step_params),
        .n_seqs = (uint32_t)p->n_seqs,
        .cu_q = p->cu_q,
        .cu_kv = c->page_size ? NULL : p->cu_kv,
        .page_indptr = c->page_size ? p->indptr : NULL,
        .page_indices = c->page_size ? p->pages : NULL,
        .last_page_len = c->page_size ? p->last_len : NULL,
        .n_pool_pages = p->n_pool,
        .q_pos0 = c->positions == CHECK_POS_Q_POS0 ? p->q_pos0 : NULL,
        .q_pos = p->q_pos,
        .kv_pos0 = c->positions == CHECK_POS_KV_POS0 ? p->kv_pos0 : NULL,
        .mask = p->mask,
        .prefix = rapt_mask_needs_prefix(p->mask) ? p->prefix : NULL,
        .max_logit_const = c->const_max,
        .bias_offsets = c->bias ? p->bias_offsets : NULL,
        .bias_head_stride = c->bias ? (uint32_t)check_largest_area(p) : 0,
    };
}

rapt_record_params check_record(const struct check_problem *p, const rapt_step *step)
{
    rapt_record_params record = {
        .struct_size = sizeof record,
        .step = step,
        .q = check_range(p, CHECK_Q),
        .k = check_range(p, CHECK_K),
        .v = check_range(p, CHECK_V),
        .out = check_range(p, CHECK_OUT),
        .lse = check_buffer_range(&p->lse),
        .max_logit = check_buffer_range(&p->max_logit),
        .max_logit_reduced = check_buffer_range(&p->reduced),
        .slopes = check_buffer_range(&p->slopes),
        .sinks = check_buffer_range(&p->sinks),
        .bias = check_buffer_range(&p->bias),
        .k_scale = check_buffer_range(&p->scales[0]),
        .v_scale = check_buffer_range(&p->scales[1]),
    };
    check_pieces_range(p, CHECK_K, record.k_segments);
    check_pieces_range(p, CHECK_V, record.v_segments);
    return record;
}
