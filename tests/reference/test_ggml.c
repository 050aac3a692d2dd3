/* SPDX-License-Identifier: Apache-2.0 */
/* q8_0 and q4_0 against ggml itself: the same floats, the same bytes, and back. */
#include <rapt/reference.h>

#include "random.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <ggml.h>

#define DIM 256
#define N_ROWS 20000
/* ggml's d is infinite beyond what f16 holds; ours is the largest finite one. */
#define MOST_Q8_0 (65504.0f * 127)
#define MOST_Q4_0 (65504.0f * 8)

/* Rows of every size a float can have, of halves, of whole numbers (ties), denormals and zeros. */
static void fill(uint64_t *seed, float most, float *row)
{
    uint32_t kind = random_below(seed, 8);
    float size = ldexpf(1, random_between(seed, -148, 18));
    for (int d = 0; d < DIM; d++) {
        float x = random_normal(seed);
        if (kind == 0) /* any bits */
            do {
                uint32_t bits = (uint32_t)random_u64(seed);
                memcpy(&x, &bits, sizeof x);
            } while (!(fabsf(x) <= most));
        else if (kind == 1)
            x = rapt_f32_from_f16(rapt_f16_from_f32(x * size));
        else if (kind == 2)
            x = (float)random_between(seed, -16, 16) / 2;
        else if (kind == 3)
            x = FLT_TRUE_MIN * (float)random_between(seed, -1000, 1000) *
                (float)random_between(seed, 1, 100000);
        else if (kind > 4)
            x *= size;
        if (random_below(seed, 16) == 0)
            x = random_below(seed, 2) ? 0.0f : -0.0f;
        row[d] = fmaxf(-most, fminf(most, x));
    }
    if (random_below(seed, 32) == 0)
        memset(row, 0, 32 * sizeof *row);
}

static void compare(rapt_type ours, enum ggml_type theirs, float most)
{
    rapt_quantize_params params = {
        .struct_size = sizeof params, .type = ours, .head_dim = DIM, .n_heads = 1};
    const struct ggml_type_traits *traits = ggml_get_type_traits(theirs);
    static float row[DIM], back[DIM], want_back[DIM];
    uint8_t got[DIM * 2], want[DIM * 2];
    size_t n_bytes = rapt_row_bytes(ours, DIM);
    uint64_t seed = 41;
    assert_int_equal(n_bytes, ggml_row_size(theirs, DIM));
    for (int r = 0; r < N_ROWS; r++) {
        fill(&seed, most, row);
        memset(want, 0xa5, sizeof want);
        assert_int_equal(ggml_quantize_chunk(theirs, row, want, 0, 1, DIM, NULL), n_bytes);
        assert_int_equal(rapt_quantize_rows(&params, 1, row, got, NULL), RAPT_OK);
        if (memcmp(got, want, n_bytes) != 0)
            fprintf(stderr, "%s, row %d\n", rapt_type_name(ours), r);
        assert_memory_equal(got, want, n_bytes);
        traits->from_float_ref(row, want, DIM);
        assert_memory_equal(got, want, n_bytes);
        traits->to_float(want, want_back, DIM);
        assert_int_equal(rapt_dequantize_rows(&params, 1, got, NULL, back), RAPT_OK);
        for (int d = 0; d < DIM; d++)
            assert_true(back[d] == want_back[d]);
    }
}

static void q8_0_is_ggml_s(void **state)
{
    (void)state;
    compare(RAPT_TYPE_Q8_0, GGML_TYPE_Q8_0, MOST_Q8_0);
}

static void q4_0_is_ggml_s(void **state)
{
    (void)state;
    compare(RAPT_TYPE_Q4_0, GGML_TYPE_Q4_0, MOST_Q4_0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(q8_0_is_ggml_s),
        cmocka_unit_test(q4_0_is_ggml_s),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
