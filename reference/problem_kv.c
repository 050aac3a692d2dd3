/* SPDX-License-Identifier: Apache-2.0 */
/* Checks of what a problem says about quantized K/V and rotation. */
#include "error.h"
#include "quantized.h"
#include "view.h"

#define MAX_POSITION (1 << 30)

static int is_quantized(rapt_type type)
{
    return rapt_type_name(type) && rapt_type_bytes(type) == 0;
}

static rapt_status check_static(const rapt_problem *p)
{
    rapt_status status =
        rapt_static_scales_check("k_scale", p->k_scale, p->n_k_scale, p->n_kv_heads, p->scale_type);
    return status != RAPT_OK ? status
                             : rapt_static_scales_check("v_scale", p->v_scale, p->n_v_scale,
                                                        p->n_kv_heads, p->scale_type);
}

rapt_status rapt_view_check_quantized(struct view *view)
{
    rapt_problem *p = &view->problem;
    view->quantized = is_quantized(p->kv_type);
    for (int v = 0; v < 2; v++) {
        uint32_t dim = v ? p->head_dim_v : p->head_dim;
        if (rapt_row_bytes(p->kv_type, dim) == 0)
            return rapt_fail(RAPT_ERROR_ARGUMENT, "%s is %u: kv_type %s needs a multiple of 32",
                             v ? "head_dim_v" : "head_dim", dim, rapt_type_name(p->kv_type));
    }
    rapt_status status = rapt_scales_check(p->kv_type, &p->scale_type, p->scale_kind);
    if (status != RAPT_OK)
        return status;
    if (p->scale_kind == RAPT_SCALE_STATIC)
        status = check_static(p);
    else if (p->k_scale || p->v_scale)
        status = rapt_fail(RAPT_ERROR_ARGUMENT,
                           "%s is set, scale_kind is %d: static scales need RAPT_SCALE_STATIC",
                           p->k_scale ? "k_scale" : "v_scale", (int)p->scale_kind);
    if (status == RAPT_OK && (unsigned)p->integer_dot > RAPT_CHOICE_ALWAYS)
        status = rapt_fail(RAPT_ERROR_ARGUMENT, "integer_dot is %d: expected RAPT_CHOICE_*",
                           (int)p->integer_dot);
    return status;
}

/* The position query i of sequence b, or key j, is rotated at. */
int32_t rapt_view_q_rope_pos(const struct view *view, uint32_t b, uint32_t i)
{
    const rapt_problem *p = &view->problem;
    return p->rope_pos ? p->rope_pos[(uint32_t)p->cu_q[b] + i]
                       : rapt_batch_q_pos(&view->batch, b, i);
}

int32_t rapt_view_k_rope_pos(const struct view *view, uint32_t b, uint32_t j)
{
    const rapt_problem *p = &view->problem;
    return p->k_rope_pos ? p->k_rope_pos[(uint32_t)p->cu_kv[b] + j]
                         : rapt_batch_kv_pos0(&view->batch, b) + (int32_t)j;
}

static rapt_status check_position(const struct view *view, const char *name, uint64_t at,
                                  int32_t position)
{
    const rapt_rope *rope = &view->rope;
    if (rope->table && (position < 0 || (uint32_t)position >= rope->n_table_positions))
        return rapt_fail(RAPT_ERROR_ARGUMENT,
                         "%s %llu is rotated at position %d: rope.table has positions 0 to %u",
                         name, (unsigned long long)at, position, rope->n_table_positions - 1);
    if (position <= -MAX_POSITION || position >= MAX_POSITION)
        return rapt_fail(RAPT_ERROR_ARGUMENT,
                         "%s %llu is rotated at position %d: magnitudes must be below 2^30", name,
                         (unsigned long long)at, position);
    return RAPT_OK;
}

static rapt_status check_positions(const struct view *view)
{
    const rapt_problem *p = &view->problem;
    rapt_status status = RAPT_OK;
    for (uint32_t b = 0; status == RAPT_OK && b < p->n_seqs; b++) {
        uint32_t q_len = rapt_batch_q_len(&view->batch, b);
        for (uint32_t i = 0; status == RAPT_OK && i < q_len; i++)
            status = check_position(view, "query", (uint64_t)p->cu_q[b] + i,
                                    rapt_view_q_rope_pos(view, b, i));
        uint32_t kv_len = view->pool ? 0 : rapt_batch_kv_len(&view->batch, b);
        for (uint32_t j = 0; status == RAPT_OK && j < kv_len; j++)
            status = check_position(view, "key", (uint64_t)p->cu_kv[b] + j,
                                    rapt_view_k_rope_pos(view, b, j));
    }
    return status;
}

rapt_status rapt_view_check_rope(struct view *view)
{
    const rapt_problem *p = &view->problem;
    rapt_status status = rapt_rope_read("rope", p->rope, p->head_dim, &view->rope);
    if (status != RAPT_OK)
        return status;
    if (view->rope.pairing == RAPT_ROPE_NONE && (p->rope_pos || p->k_rope_pos))
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s is set, but rope rotates nothing",
                         p->rope_pos ? "rope_pos" : "k_rope_pos");
    if (view->rope.pairing == RAPT_ROPE_NONE)
        return RAPT_OK;
    if (!view->rope.table && view->rope.n_table_positions > 0)
        return rapt_fail(RAPT_ERROR_ARGUMENT,
                         "rope.table is NULL: n_table_positions is %u, and a problem brings its "
                         "table",
                         view->rope.n_table_positions);
    if (!view->rope.table)
        rapt_view_fill_frequencies(view);
    if (view->pool && p->k_rope_pos)
        return rapt_fail(RAPT_ERROR_ARGUMENT,
                         "k_rope_pos is set: a page pool holds keys that are rotated already");
    return check_positions(view);
}
