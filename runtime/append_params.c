/* SPDX-License-Identifier: Apache-2.0 */

/* What appending and rotation add to a plan's parameters: pure, like plan_params.c. */

#include "append.h"

#include "error.h"
#include "rotate.h"

static rapt_status complete_new(const char *name, uint32_t n_heads, uint32_t dim, rapt_type type,
                                rapt_layout *layout)
{
    uint32_t per_word = type == RAPT_TYPE_F32 ? 1 : 2;
    if (layout->dim_stride > 1)
        return rapt_fail(RAPT_ERROR_ARGUMENT,
                         "%s.dim_stride is %llu: the head dim must be contiguous (1)", name,
                         (unsigned long long)layout->dim_stride);
    layout->dim_stride = 1;
    if (!layout->outer_stride && !layout->token_stride && !layout->head_stride) {
        layout->head_stride = dim;
        layout->token_stride = (uint64_t)n_heads * dim;
    }
    if (n_heads == 1 && !layout->head_stride)
        layout->head_stride = dim;
    const struct {
        const char *name;
        uint64_t value;
    } strides[] = {{"outer_stride", layout->outer_stride},
                   {"token_stride", layout->token_stride},
                   {"head_stride", layout->head_stride}};
    for (int i = 0; i < 3; i++) {
        uint64_t value = strides[i].value;
        if (value < dim && (i > 0 || value))
            return rapt_fail(RAPT_ERROR_SHAPE, "%s.%s is %llu: rows of %u elements would overlap",
                             name, strides[i].name, (unsigned long long)value, dim);
        if (value > UINT32_MAX)
            return rapt_fail(RAPT_ERROR_ARGUMENT, "%s.%s is %llu: strides must stay below 2^32",
                             name, strides[i].name, (unsigned long long)value);
        if (value % per_word != 0)
            return rapt_fail(RAPT_ERROR_ARGUMENT, "%s.%s is %llu: 16-bit tensors need even strides",
                             name, strides[i].name, (unsigned long long)value);
    }
    return RAPT_OK;
}

rapt_status rapt_append_params_check(rapt_plan_params *p)
{
    rapt_rope rope;
    rapt_status status = rapt_rope_read("rope", p->rope, p->head_dim, &rope);
    if (status != RAPT_OK)
        return status;
    if ((p->flags & RAPT_PLAN_ROPE_Q) && rope.pairing == RAPT_ROPE_NONE)
        return rapt_fail(RAPT_ERROR_ARGUMENT,
                         "flags has ROPE_Q: rope says nothing of how Q is rotated");
    if (p->rope && rope.pairing != RAPT_ROPE_NONE &&
        !(p->flags & (RAPT_PLAN_ROPE_Q | RAPT_PLAN_APPEND)))
        return rapt_fail(RAPT_ERROR_ARGUMENT,
                         "rope is set: flags has neither ROPE_Q nor APPEND, nothing is rotated");
    if (!(p->flags & RAPT_PLAN_APPEND))
        return RAPT_OK;
    if (p->new_type == RAPT_TYPE_DEFAULT)
        p->new_type = p->q_type;
    if (rapt_type_bytes(p->new_type) == 0)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "new_type is %s: expected f32, f16 or bf16",
                         rapt_type_name(p->new_type) ? rapt_type_name(p->new_type) : "no type");
    status = complete_new("k_new", p->n_kv_heads, p->head_dim, p->new_type, &p->k_new);
    if (status == RAPT_OK)
        status = complete_new("v_new", p->n_kv_heads, p->head_dim_v, p->new_type, &p->v_new);
    return status;
}
