/* SPDX-License-Identifier: Apache-2.0 */
/* Rotation on the host: angles to positions of 2^30 against long double, both pairings, tables, what
 * is refused, and the published frequency scalings. */
#include <rapt/rope.h>

#include "random.h"
#include "rotate.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define TWO_PI 6.283185307179586476925286766559005768L

/* cos and sin of a fixed-point angle; exact to long double */
static double angle_error(int32_t position, uint64_t turns)
{
    float c, s;
    rapt_turn_cos_sin(position, turns, &c, &s);
    uint32_t count = position < 0 ? 0u - (uint32_t)position : (uint32_t)position;
    long double a = ldexpl((long double)(count * turns), -64) * TWO_PI;
    a = position < 0 ? -a : a;
    double of_cos = (double)fabsl(cosl(a) - c), of_sin = (double)fabsl(sinl(a) - s);
    return of_cos > of_sin ? of_cos : of_sin;
}

static void angles(void **state)
{
    (void)state;
    double worst = 0;
    /* every eighth of a turn and its neighbourhood, then all the way round */
    for (uint64_t eighth = 0; eighth < 16; eighth++)
        for (int64_t d = -40; d <= 40; d++)
            worst = fmax(worst, angle_error(1, (eighth << 60) + ((uint64_t)d << 30)));
    for (uint64_t i = 0; i < 1u << 20; i++)
        worst = fmax(worst, angle_error(i & 1 ? 1 : -1, i << 44 | i * 0x9e3779b9u));
    uint64_t random = 1;
    for (int i = 0; i < 1 << 18; i++) {
        int32_t position = random_between(&random, 1 - (1 << 30), (1 << 30) - 1);
        worst = fmax(worst, angle_error(position, random_u64(&random)));
    }
    print_message("largest error of a cosine or sine: %.3g\n", worst);
    assert_true(worst < 1e-7);
    float c, s;
    rapt_turn_cos_sin(0, 12345, &c, &s);
    assert_true(c == 1 && s == 0);
    rapt_turn_cos_sin(1, 1ull << 62, &c, &s);
    assert_true(c == 0 && s == 1);
    rapt_turn_cos_sin(-1, 1ull << 62, &c, &s);
    assert_true(c == 0 && s == -1);
    rapt_turn_cos_sin(1, 1ull << 63, &c, &s);
    assert_true(c == -1 && s == 0);
}

/* The whole way from theta to y, by the formula of the header. */
static double rotation_error(const rapt_rope *rope, uint32_t head_dim, int32_t position,
                             const float *x, const float *y)
{
    uint32_t dim = rope->rotary_dim ? rope->rotary_dim : head_dim;
    float theta = rope->theta != 0 ? rope->theta : 10000;
    float factor = rope->attention_factor != 0 ? rope->attention_factor : 1;
    double worst = 0;
    for (uint32_t d = 0; d < head_dim; d++)
        if (d < rope->rotary_offset || d >= rope->rotary_offset + dim)
            worst = fmax(worst, x[d] == y[d] ? 0 : 1);
    for (uint32_t i = 0; i < dim / 2; i++) {
        uint32_t first = rope->rotary_offset + (rope->pairing == RAPT_ROPE_NEOX ? i : 2 * i);
        uint32_t second = first + (rope->pairing == RAPT_ROPE_NEOX ? dim / 2 : 1);
        long double f = powl(theta, -2.0L * i / dim);
        if (rope->frequency_scale)
            f *= rope->frequency_scale[i];
        long double a = position * f;
        long double c = cosl(a) * factor, s = sinl(a) * factor;
        long double y0 = x[first] * c - x[second] * s, y1 = x[second] * c + x[first] * s;
        worst = fmax(worst, (double)fmaxl(fabsl(y0 - y[first]), fabsl(y1 - y[second])));
    }
    return worst;
}

static void rotations(void **state)
{
    (void)state;
    static const int32_t positions[] = {0, 1, -1, 2, 1000, 131072, 1000000, -1000000, (1 << 30) - 1,
                                        1 - (1 << 30)};
    enum { N = sizeof positions / sizeof positions[0], D = 96 };
    float scale[D / 2], x[N * D], y[N * D];
    uint64_t random = 2;
    for (int i = 0; i < D / 2; i++)
        scale[i] = i % 3 ? 0.125f : 1.0f;
    for (int i = 0; i < N * D; i++)
        x[i] = (float)random_unit(&random) * 2 - 1;
    const rapt_rope ropes[] = {
        {.pairing = RAPT_ROPE_NEOX},
        {.pairing = RAPT_ROPE_GPTJ},
        {.pairing = RAPT_ROPE_NEOX, .rotary_dim = 32, .rotary_offset = 64, .theta = 500000},
        {.pairing = RAPT_ROPE_GPTJ, .rotary_dim = 64, .rotary_offset = 3, .theta = 1e6f},
        {.pairing = RAPT_ROPE_NEOX, .frequency_scale = scale, .attention_factor = 1.25f},
        {.pairing = RAPT_ROPE_GPTJ, .rotary_dim = 2, .frequency_scale = scale},
    };
    for (size_t k = 0; k < sizeof ropes / sizeof ropes[0]; k++) {
        rapt_rope rope = ropes[k];
        rope.struct_size = sizeof rope;
        assert_int_equal(rapt_rope_apply(&rope, D, N, positions, x, y), RAPT_OK);
        /* two products and a sum of numbers up to 1, the cosine's own error on top */
        for (int r = 0; r < N; r++)
            assert_true(rotation_error(&rope, D, positions[r], x + r * D, y + r * D) < 5e-7);
        float z[N * D];
        memcpy(z, x, sizeof z);
        assert_int_equal(rapt_rope_apply(&rope, D, N, positions, z, z), RAPT_OK);
        assert_memory_equal(y, z, sizeof z);
    }
    rapt_rope none = {.struct_size = sizeof none};
    assert_int_equal(rapt_rope_apply(&none, D, N, positions, x, y), RAPT_OK);
    assert_memory_equal(x, y, sizeof y);
}

static void tables(void **state)
{
    (void)state;
    enum { D = 16, DIM = 8, N = 4 };
    float table[N * DIM], x[N * D], y[N * D];
    int32_t positions[N] = {3, 0, 2, 1};
    uint64_t random = 3;
    for (int i = 0; i < N * DIM; i++)
        table[i] = (float)random_unit(&random);
    for (int i = 0; i < N * D; i++)
        x[i] = (float)random_unit(&random);
    rapt_rope rope = {.struct_size = sizeof rope,
                      .pairing = RAPT_ROPE_GPTJ,
                      .rotary_dim = DIM,
                      .rotary_offset = 4,
                      .attention_factor = 7, /* a table has it in it */
                      .table = table,
                      .n_table_positions = N};
    assert_int_equal(rapt_rope_apply(&rope, D, N, positions, x, y), RAPT_OK);
    for (int r = 0; r < N; r++)
        for (int i = 0; i < DIM / 2; i++) {
            float c = table[positions[r] * DIM + i], s = table[positions[r] * DIM + DIM / 2 + i];
            const float *a = x + r * D + 4 + 2 * i, *b = y + r * D + 4 + 2 * i;
            assert_true(fabsf(b[0] - (a[0] * c - a[1] * s)) < 1e-6f);
            assert_true(fabsf(b[1] - (a[1] * c + a[0] * s)) < 1e-6f);
        }
    positions[2] = N;
    assert_int_equal(rapt_rope_apply(&rope, D, N, positions, x, y), RAPT_ERROR_ARGUMENT);
    positions[2] = -1;
    assert_int_equal(rapt_rope_apply(&rope, D, N, positions, x, y), RAPT_ERROR_ARGUMENT);
    positions[2] = 0;
    rope.table = NULL;
    assert_int_equal(rapt_rope_apply(&rope, D, N, positions, x, y), RAPT_ERROR_ARGUMENT);
}

static void refusals(void **state)
{
    (void)state;
    float scale[8] = {1, 1, 1, NAN}, row[16] = {0};
    int32_t position = 0;
    const struct {
        rapt_rope rope;
        rapt_status status;
        const char *word;
    } bad[] = {
        {{.pairing = (rapt_rope_pairing)3}, RAPT_ERROR_ARGUMENT, "pairing is 3"},
        {{.pairing = RAPT_ROPE_NEOX, .rotary_dim = 7}, RAPT_ERROR_ARGUMENT, "rotary_dim is 7"},
        {{.pairing = RAPT_ROPE_NEOX, .rotary_dim = 18}, RAPT_ERROR_SHAPE, "rotary_dim is 18"},
        {{.pairing = RAPT_ROPE_NEOX, .rotary_dim = 8, .rotary_offset = 9},
         RAPT_ERROR_SHAPE,
         "rotary_offset is 9"},
        {{.pairing = RAPT_ROPE_NEOX, .theta = -1}, RAPT_ERROR_ARGUMENT, "theta is -1"},
        {{.pairing = RAPT_ROPE_NEOX, .theta = NAN}, RAPT_ERROR_ARGUMENT, "theta is nan"},
        {{.pairing = RAPT_ROPE_NEOX, .attention_factor = INFINITY},
         RAPT_ERROR_ARGUMENT,
         "attention_factor is inf"},
        {{.pairing = RAPT_ROPE_NEOX, .frequency_scale = scale},
         RAPT_ERROR_ARGUMENT,
         "frequency_scale[3] is nan"},
        {{.pairing = RAPT_ROPE_NEOX, .table = scale}, RAPT_ERROR_ARGUMENT, "n_table_positions"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        rapt_rope rope = bad[i].rope;
        rope.struct_size = sizeof rope;
        assert_int_equal(rapt_rope_apply(&rope, 16, 1, &position, row, row), bad[i].status);
        assert_non_null(strstr(rapt_last_error(), bad[i].word));
    }
    rapt_rope good = {.struct_size = sizeof good, .pairing = RAPT_ROPE_NEOX};
    position = 1 << 30;
    assert_int_equal(rapt_rope_apply(&good, 16, 1, &position, row, row), RAPT_ERROR_ARGUMENT);
    assert_int_equal(rapt_rope_apply(&good, 16, 1, &position, NULL, row), RAPT_ERROR_ARGUMENT);
    assert_int_equal(rapt_rope_llama3(64, 5e5f, 8, 4, 1, 8192, scale), RAPT_ERROR_ARGUMENT);
    assert_int_equal(rapt_rope_llama3(64, 5e5f, 0, 1, 4, 8192, scale), RAPT_ERROR_ARGUMENT);
    assert_int_equal(rapt_rope_yarn(63, 0, 4, 0, 0, 4096, scale, NULL), RAPT_ERROR_ARGUMENT);
    assert_int_equal(rapt_rope_yarn(64, 0, 4, 1, 2, 4096, scale, NULL), RAPT_ERROR_ARGUMENT);
    assert_int_equal(rapt_rope_yarn(64, 0, 4, 0, 0, 0, scale, NULL), RAPT_ERROR_ARGUMENT);
    assert_int_equal(rapt_rope_yarn(64, 0, 4, 0, 0, 4096, NULL, NULL), RAPT_ERROR_ARGUMENT);
}

/* Llama 3.1: theta 500000, factor 8, 1 and 4, context 8192, head dim 128. */
static void llama3(void **state)
{
    (void)state;
    float scale[64];
    assert_int_equal(rapt_rope_llama3(128, 500000, 8, 1, 4, 8192, scale), RAPT_OK);
    for (int i = 0; i < 64; i++) {
        double wavelength = (double)TWO_PI * pow(500000, 2 * i / 128.0);
        double expected;
        if (wavelength < 8192 / 4.0)
            expected = 1;
        else if (wavelength > 8192)
            expected = 1 / 8.0;
        else {
            double smooth = (8192 / wavelength - 1) / (4 - 1);
            expected = (1 - smooth) / 8 + smooth;
        }
        assert_true(fabs(scale[i] - expected) < 1e-6);
    }
    assert_true(scale[28] == 1 && scale[29] < 1); /* 2050 tokens a turn at 28.2 */
    assert_true(scale[34] > 0.125f && scale[35] == 0.125f);
}

/* DeepSeek-V2's numbers: 64 dims, theta 10000, factor 40, 32 and 1, context 4096: dims 10 to 23. */
static void yarn(void **state)
{
    (void)state;
    float scale[32], factor = 0;
    assert_int_equal(rapt_rope_yarn(64, 10000, 40, 32, 1, 4096, scale, &factor), RAPT_OK);
    for (int i = 0; i < 32; i++) {
        double ramp = (i - 10) / 13.0;
        ramp = ramp < 0 ? 0 : ramp > 1 ? 1 : ramp;
        assert_true(fabs(scale[i] - (ramp / 40 + 1 - ramp)) < 1e-6);
    }
    assert_true(fabs(factor - (0.1 * log(40) + 1)) < 1e-6);
    float same[32];
    assert_int_equal(rapt_rope_yarn(64, 0, 40, 0, 0, 4096, same, NULL), RAPT_OK);
    assert_memory_equal(same, scale, sizeof same);
    assert_int_equal(rapt_rope_yarn(64, 0, 0.5f, 0, 0, 4096, same, &factor), RAPT_OK);
    assert_true(factor == 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(angles),   cmocka_unit_test(rotations), cmocka_unit_test(tables),
        cmocka_unit_test(refusals), cmocka_unit_test(llama3),    cmocka_unit_test(yarn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
