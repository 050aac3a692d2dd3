/* SPDX-License-Identifier: Apache-2.0 */

/* Rotary embedding on the host. What the kernels do too (angles, cosines, the rotation itself) is in
 * floats, in the same order, and compiled without contraction: the bits are theirs. What only the
 * host does (frequencies) is in long double, for positions up to 2^30. */

#include "rotate.h"

#include "error.h"
#include "turns.h"

#include <math.h>

#define TWO_PI 6.283185307179586476925286766559005768L
#define DEFAULT_THETA 10000.0f

/* --------------------------------------------------------------------------------------- checks */

static rapt_status check_numbers(const char *name, const rapt_rope *rope)
{
    if (!isfinite(rope->theta) || rope->theta <= 0)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s.theta is %g: expected a finite number above 0",
                         name, (double)rope->theta);
    if (!isfinite(rope->attention_factor))
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s.attention_factor is %g: it must be finite", name,
                         (double)rope->attention_factor);
    for (uint32_t i = 0; rope->frequency_scale && i < rope->rotary_dim / 2; i++)
        if (!isfinite(rope->frequency_scale[i]))
            return rapt_fail(RAPT_ERROR_ARGUMENT,
                             "%s.frequency_scale[%u] is %g: it must be finite", name, i,
                             (double)rope->frequency_scale[i]);
    return RAPT_OK;
}

rapt_status rapt_rope_read(const char *name, const rapt_rope *caller, uint32_t head_dim,
                           rapt_rope *out_rope)
{
    *out_rope = (rapt_rope){.struct_size = sizeof *out_rope};
    if (!caller)
        return RAPT_OK;
    rapt_rope rope = {0};
    rapt_status status = rapt_params_read("rapt_rope", caller, &rope, sizeof rope);
    if (status != RAPT_OK)
        return status;
    if ((unsigned)rope.pairing > RAPT_ROPE_GPTJ)
        return rapt_fail(RAPT_ERROR_ARGUMENT,
                         "%s.pairing is %d: expected RAPT_ROPE_NONE, NEOX or GPTJ", name,
                         (int)rope.pairing);
    if (rope.pairing == RAPT_ROPE_NONE)
        return RAPT_OK;
    if (rope.rotary_dim == 0)
        rope.rotary_dim = head_dim;
    if (rope.rotary_dim % 2 != 0)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s.rotary_dim is %u: dims are rotated in pairs",
                         name, rope.rotary_dim);
    if (rope.rotary_dim > head_dim || rope.rotary_offset > head_dim - rope.rotary_dim)
        return rapt_fail(RAPT_ERROR_SHAPE,
                         "%s.rotary_offset is %u and rotary_dim is %u: together they pass "
                         "head_dim, %u",
                         name, rope.rotary_offset, rope.rotary_dim, head_dim);
    if (rope.rotary_dim > RAPT_ROPE_MAX_DIM)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s.rotary_dim is %u: at most %u", name,
                         rope.rotary_dim, RAPT_ROPE_MAX_DIM);
    if (rope.table && rope.n_table_positions == 0)
        return rapt_fail(RAPT_ERROR_ARGUMENT,
                         "%s.table is set: n_table_positions says how many positions it has", name);
    if (rope.n_table_positions > INT32_MAX)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s.n_table_positions is %u: at most %d", name,
                         rope.n_table_positions, INT32_MAX);
    if (rope.theta == 0)
        rope.theta = DEFAULT_THETA;
    if (rope.attention_factor == 0)
        rope.attention_factor = 1;
    status = check_numbers(name, &rope);
    if (status == RAPT_OK)
        *out_rope = rope;
    return status;
}

/* ---------------------------------------------------------------------------------------- angles */

static long double frequency(float theta, uint32_t i, uint32_t rotary_dim)
{
    return powl((long double)theta, -2.0L * i / rotary_dim);
}

void rapt_rope_turns(const rapt_rope *rope, uint64_t *out_turns)
{
    for (uint32_t i = 0; i < rope->rotary_dim / 2; i++) {
        long double f = frequency(rope->theta, i, rope->rotary_dim) / TWO_PI;
        if (rope->frequency_scale)
            f *= rope->frequency_scale[i];
        long double size = fabsl(f); /* whole turns are none */
        uint64_t turns = isfinite(size) ? (uint64_t)ldexpl(size - floorl(size), 64) : 0;
        out_turns[i] = f < 0 ? 0 - turns : turns;
    }
}

void rapt_turn_cos_sin(int32_t position, uint64_t turns, float *out_cos, float *out_sin)
{
    uint32_t count = position < 0 ? 0u - (uint32_t)position : (uint32_t)position;
    uint64_t angle = count * turns; /* modulo a turn */
    uint32_t top = (uint32_t)(angle >> 32) + (uint32_t)(angle >> 31 & 1);
    uint32_t quarter = (top + 0x20000000u) >> 30;
    uint32_t rest = top - (quarter << 30) + 0x20000010u; /* an eighth more, to shift it unsigned */
    float t = (float)((int32_t)(rest >> 5) - 0x1000000) * (float)RAPT_TURN_STEP;
    float z = t * t;
    float s = t * (float)RAPT_TURN_S1 +
              (t * z) * ((float)RAPT_TURN_S3 +
                         z * ((float)RAPT_TURN_S5 + z * (float)RAPT_TURN_S7));
    float c = 1.0f + z * ((float)RAPT_TURN_C2 +
                          z * ((float)RAPT_TURN_C4 +
                               z * ((float)RAPT_TURN_C6 + z * (float)RAPT_TURN_C8)));
    float along = quarter & 1 ? s : c, across = quarter & 1 ? c : s;
    /* quarters 1 and 2 have negative cosines, 2 and 3 negative sines */
    *out_cos = (quarter + 1) & 2 ? -along : along;
    *out_sin = ((quarter & 2) != 0) != (position < 0) ? -across : across;
}

/* ------------------------------------------------------------------------------------- rotation */

struct rotation {
    const rapt_rope *rope;
    uint64_t turns[RAPT_ROPE_MAX_DIM / 2];
    float cos_sin[RAPT_ROPE_MAX_DIM]; /* of one position: cosines, then sines */
};

static void find_angles(struct rotation *rotation, int32_t position)
{
    const rapt_rope *rope = rotation->rope;
    uint32_t half = rope->rotary_dim / 2;
    if (rope->table) {
        const float *row = rope->table + (size_t)position * rope->rotary_dim;
        for (uint32_t i = 0; i < rope->rotary_dim; i++)
            rotation->cos_sin[i] = row[i];
        return;
    }
    for (uint32_t i = 0; i < half; i++)
        rapt_turn_cos_sin(position, rotation->turns[i], &rotation->cos_sin[i],
                          &rotation->cos_sin[half + i]);
}

static void rotate_row(const struct rotation *rotation, float *row)
{
    const rapt_rope *rope = rotation->rope;
    uint32_t half = rope->rotary_dim / 2;
    uint32_t step = rope->pairing == RAPT_ROPE_NEOX ? 1 : 2;
    uint32_t apart = rope->pairing == RAPT_ROPE_NEOX ? half : 1;
    float *dims = row + rope->rotary_offset;
    for (uint32_t i = 0; i < half; i++) {
        float c = rotation->cos_sin[i], s = rotation->cos_sin[half + i];
        float x0 = dims[i * step], x1 = dims[i * step + apart];
        float y0 = x0 * c - x1 * s, y1 = x1 * c + x0 * s;
        if (!rope->table) {
            y0 *= rope->attention_factor;
            y1 *= rope->attention_factor;
        }
        dims[i * step] = y0;
        dims[i * step + apart] = y1;
    }
}

static rapt_status check_positions(const rapt_rope *rope, uint32_t n_rows, const int32_t *positions)
{
    for (uint32_t r = 0; r < n_rows; r++) {
        int32_t p = positions[r];
        if (rope->table && (p < 0 || (uint32_t)p >= rope->n_table_positions))
            return rapt_fail(RAPT_ERROR_ARGUMENT,
                             "positions[%u] is %d: the table has positions 0 to %u", r, p,
                             rope->n_table_positions - 1);
        if (p <= -(1 << 30) || p >= 1 << 30)
            return rapt_fail(RAPT_ERROR_ARGUMENT,
                             "positions[%u] is %d: its magnitude must stay below 2^30", r, p);
    }
    return RAPT_OK;
}

rapt_status rapt_rope_apply(const rapt_rope *rope, uint32_t head_dim, uint32_t n_rows,
                            const int32_t *positions, const float *rows, float *out_rows)
{
    rapt_rope read;
    rapt_status status = rapt_rope_read("rope", rope, head_dim, &read);
    if (status != RAPT_OK || n_rows == 0)
        return status;
    if (!positions || !rows || !out_rows)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s is NULL",
                         !positions ? "positions"
                         : !rows    ? "rows"
                                    : "out_rows");
    if (read.pairing != RAPT_ROPE_NONE && !read.table && read.n_table_positions)
        return rapt_fail(RAPT_ERROR_ARGUMENT,
                         "rope.table is NULL: n_table_positions is %u, and the host needs the table",
                         read.n_table_positions);
    if (read.pairing != RAPT_ROPE_NONE)
        status = check_positions(&read, n_rows, positions);
    if (status != RAPT_OK)
        return status;
    struct rotation rotation = {.rope = &read};
    if (read.pairing != RAPT_ROPE_NONE && !read.table)
        rapt_rope_turns(&read, rotation.turns);
    for (uint32_t r = 0; r < n_rows; r++) {
        const float *from = rows + (size_t)r * head_dim;
        float *row = out_rows + (size_t)r * head_dim;
        for (uint32_t d = 0; row != from && d < head_dim; d++)
            row[d] = from[d];
        if (read.pairing == RAPT_ROPE_NONE)
            continue;
        if (r == 0 || positions[r] != positions[r - 1])
            find_angles(&rotation, positions[r]);
        rotate_row(&rotation, row);
    }
    return RAPT_OK;
}

/* ------------------------------------------------------------------------------ frequency scales */

static rapt_status check_scaling(uint32_t rotary_dim, float *theta, float factor,
                                 uint32_t original_context, const void *out)
{
    if (rotary_dim == 0 || rotary_dim % 2 != 0 || rotary_dim > RAPT_ROPE_MAX_DIM)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "rotary_dim is %u: expected an even number up to %u",
                         rotary_dim, RAPT_ROPE_MAX_DIM);
    if (*theta == 0)
        *theta = DEFAULT_THETA;
    if (!isfinite(*theta) || *theta <= 1)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "theta is %g: expected a finite number above 1",
                         (double)*theta);
    if (!isfinite(factor) || factor <= 0)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "factor is %g: expected a finite number above 0",
                         (double)factor);
    if (original_context == 0)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "original_context is 0: expected tokens");
    if (!out)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "out_frequency_scale is NULL");
    return RAPT_OK;
}

rapt_status rapt_rope_llama3(uint32_t rotary_dim, float theta, float factor, float low_freq_factor,
                             float high_freq_factor, uint32_t original_context,
                             float *out_frequency_scale)
{
    rapt_status status =
        check_scaling(rotary_dim, &theta, factor, original_context, out_frequency_scale);
    if (status != RAPT_OK)
        return status;
    if (!isfinite(high_freq_factor) || !(low_freq_factor > 0) ||
        !(high_freq_factor > low_freq_factor))
        return rapt_fail(RAPT_ERROR_ARGUMENT,
                         "low_freq_factor is %g, high_freq_factor is %g: expected 0 < low < high",
                         (double)low_freq_factor, (double)high_freq_factor);
    for (uint32_t i = 0; i < rotary_dim / 2; i++) {
        double rotations = (double)(frequency(theta, i, rotary_dim) * original_context / TWO_PI);
        double keep = (rotations - (double)low_freq_factor) /
                      ((double)high_freq_factor - (double)low_freq_factor);
        keep = keep < 0 ? 0 : keep > 1 ? 1 : keep;
        out_frequency_scale[i] = (float)((1 - keep) / (double)factor + keep);
    }
    return RAPT_OK;
}

/* The dim that turns `rotations` times in the original context, as a real number. */
static double dim_of(double rotations, uint32_t rotary_dim, float theta, uint32_t original_context)
{
    return rotary_dim * log(original_context / (rotations * (double)TWO_PI)) /
           (2 * log((double)theta));
}

rapt_status rapt_rope_yarn(uint32_t rotary_dim, float theta, float factor, float beta_fast,
                           float beta_slow, uint32_t original_context, float *out_frequency_scale,
                           float *out_attention_factor)
{
    rapt_status status =
        check_scaling(rotary_dim, &theta, factor, original_context, out_frequency_scale);
    if (status != RAPT_OK)
        return status;
    if (beta_fast == 0)
        beta_fast = 32;
    if (beta_slow == 0)
        beta_slow = 1;
    if (!isfinite(beta_fast) || !(beta_slow > 0) || !(beta_fast > beta_slow))
        return rapt_fail(RAPT_ERROR_ARGUMENT,
                         "beta_fast is %g, beta_slow is %g: expected 0 < slow < fast",
                         (double)beta_fast, (double)beta_slow);
    /* the ramp's ends are whole dims, as in the authors' code */
    double first = floor(dim_of((double)beta_fast, rotary_dim, theta, original_context));
    double last = ceil(dim_of((double)beta_slow, rotary_dim, theta, original_context));
    first = first > 0 ? first : 0;
    last = last < rotary_dim - 1 ? last : rotary_dim - 1;
    if (last == first)
        last += 0.001;
    for (uint32_t i = 0; i < rotary_dim / 2; i++) {
        double ramp = (i - first) / (last - first);
        ramp = ramp < 0 ? 0 : ramp > 1 ? 1 : ramp;
        out_frequency_scale[i] = (float)(ramp / (double)factor + (1 - ramp));
    }
    if (out_attention_factor)
        *out_attention_factor = factor > 1 ? (float)(0.1 * log((double)factor) + 1) : 1.0f;
    return RAPT_OK;
}
