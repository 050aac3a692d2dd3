/* SPDX-License-Identifier: Apache-2.0 */
/* Conversions, bit for bit: every half, every midpoint between neighbours. */
#include <rapt/reference.h>

#include "convert.h"
#include "random.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static float float_of(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* By the definition of the formats (IEEE 754-2019, 3.4), in double. */
static double half_value(uint32_t half)
{
    int exponent = half >> 10 & 31, mantissa = half & 0x3ff;
    double value = exponent ? ldexp(1024 + mantissa, exponent - 25) : ldexp(mantissa, -24);
    return half & 0x8000 ? -value : value;
}

static double bf16_value(uint32_t bits)
{
    int exponent = bits >> 7 & 255, mantissa = bits & 0x7f;
    double value = exponent ? ldexp(128 + mantissa, exponent - 134) : ldexp(mantissa, -133);
    return bits & 0x8000 ? -value : value;
}

static void widening_is_exact(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 65536; i++) {
        float half = rapt_f32_from_f16((uint16_t)i), bf16 = rapt_f32_from_bf16((uint16_t)i);
        if ((i & 0x7c00) == 0x7c00) {
            assert_true((i & 0x3ff) ? isnan(half) : isinf(half));
            assert_int_equal(signbit(half) != 0, i >> 15);
        } else if ((double)half != half_value(i) || (signbit(half) != 0) != (i >> 15)) {
            fail_msg("f16 %04x widens to %a, not %a", i, (double)half, half_value(i));
        }
        if ((i & 0x7f80) == 0x7f80)
            assert_true((i & 0x7f) ? isnan(bf16) : isinf(bf16));
        else if ((double)bf16 != bf16_value(i) || (signbit(bf16) != 0) != (i >> 15))
            fail_msg("bf16 %04x widens to %a, not %a", i, (double)bf16, bf16_value(i));
    }
}

static void round_trips(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 65536; i++) {
        uint16_t half = rapt_f16_from_f32(rapt_f32_from_f16((uint16_t)i));
        uint16_t bf16 = rapt_bf16_from_f32(rapt_f32_from_bf16((uint16_t)i));
        uint16_t want_half = (uint16_t)i, want_bf16 = (uint16_t)i;
        if ((i & 0x7c00) == 0x7c00 && (i & 0x3ff))
            want_half |= 0x200; /* NaNs come back quiet */
        if ((i & 0x7f80) == 0x7f80 && (i & 0x7f))
            want_bf16 |= 0x40;
        assert_int_equal(half, want_half);
        assert_int_equal(bf16, want_bf16);
    }
}

/* Rounding to nearest even is known once it is known at each midpoint and next to it: it is
 * monotonic in between. The neighbour above the largest finite number stands for infinity. */
static void check_between(uint16_t (*narrow)(float), const char *name, uint32_t below, double low,
                          double high)
{
    float middle = (float)(low + (high - low) / 2);
    assert_true((double)middle == low + (high - low) / 2);
    uint32_t above = below + 1, even = below & 1 ? above : below;
    const struct {
        float value;
        uint32_t want;
    } cases[] = {{(float)low, below},
                 {nextafterf((float)low, INFINITY), below},
                 {nextafterf(middle, 0), below},
                 {middle, even},
                 {nextafterf(middle, INFINITY), above}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        /* Between bf16 denormals and midpoints nothing may lie at all. */
        if (i == 1 && !(cases[i].value < middle))
            continue;
        uint16_t got = narrow(cases[i].value), minus = narrow(-cases[i].value);
        if (got != cases[i].want || minus != (cases[i].want | 0x8000))
            fail_msg("%s of %a is %04x and of its negative %04x, not %04x", name,
                     (double)cases[i].value, got, minus, cases[i].want);
    }
}

static void narrowing_rounds_to_nearest_even(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 0x7c00; i++)
        check_between(rapt_f16_from_f32, "f16", i, half_value(i),
                      i + 1 < 0x7c00 ? half_value(i + 1) : 65536);
    for (uint32_t i = 0; i < 0x7f80; i++)
        check_between(rapt_bf16_from_f32, "bf16", i, bf16_value(i),
                      i + 1 < 0x7f80 ? bf16_value(i + 1) : 0x1p128);
}

static void extremes(void **state)
{
    (void)state;
    assert_int_equal(rapt_f16_from_f32(65504), 0x7bff);
    assert_int_equal(rapt_f16_from_f32(65519.996f), 0x7bff);
    assert_int_equal(rapt_f16_from_f32(65520), 0x7c00);
    assert_int_equal(rapt_f16_from_f32(float_of(0x7f7fffff)), 0x7c00);
    assert_int_equal(rapt_f16_from_f32(-INFINITY), 0xfc00);
    assert_int_equal(rapt_f16_from_f32(-0.0f), 0x8000);
    assert_int_equal(rapt_f16_from_f32(0x1p-25f), 0);
    assert_int_equal(rapt_f16_from_f32(0x1.8p-24f), 2);
    assert_int_equal(rapt_f16_from_f32(float_of(1)), 0);
    assert_int_equal(rapt_bf16_from_f32(float_of(0x7f7fffff)), 0x7f80);
    assert_int_equal(rapt_bf16_from_f32(-INFINITY), 0xff80);
    assert_int_equal(rapt_bf16_from_f32(-0.0f), 0x8000);
}

/* A payload that lies wholly in the bits cut off must not turn a NaN into infinity. */
static void nan_stays_nan(void **state)
{
    (void)state;
    for (uint32_t bit = 0; bit < 23; bit++)
        for (uint32_t sign = 0; sign < 2; sign++) {
            float nan = float_of(sign << 31 | 0x7f800000u | 1u << bit);
            assert_true(isnan(rapt_f32_from_f16(rapt_f16_from_f32(nan))));
            assert_true(isnan(rapt_f32_from_bf16(rapt_bf16_from_f32(nan))));
        }
    assert_true(isnan(rapt_f32_from_f16(rapt_f16_from_f32(float_of(0x7fffffff)))));
    assert_true(isnan(rapt_f32_from_bf16(rapt_bf16_from_f32(float_of(0x7fffffff)))));
}

/* Where the compiler has the type, it is a second opinion. */
static void agrees_with_the_compiler(void **state)
{
    (void)state;
#ifdef __FLT16_MANT_DIG__
    uint64_t seed = 1;
    for (int i = 0; i < 2000000; i++) {
        uint32_t bits = (uint32_t)random_u64(&seed);
        if (i & 1) /* half of them where halves have values */
            bits = (bits & 0x807fffffu) | (100 + random_below(&seed, 45)) << 23;
        float value = float_of(bits);
        if (isnan(value))
            continue;
        _Float16 theirs = (_Float16)value;
        uint16_t want;
        memcpy(&want, &theirs, sizeof want);
        if (rapt_f16_from_f32(value) != want)
            fail_msg("f16 of %a is %04x, the compiler's %04x", (double)value,
                     rapt_f16_from_f32(value), want);
        assert_int_equal(bits_of(rapt_f32_from_f16(want)), bits_of((float)theirs));
    }
#else
    print_message("this compiler has no _Float16: nothing to compare with\n");
#endif
}

static void loads_and_stores(void **state)
{
    (void)state;
    const rapt_type types[] = {RAPT_TYPE_F32, RAPT_TYPE_F16, RAPT_TYPE_BF16};
    for (size_t t = 0; t < 3; t++) {
        float memory[4] = {0};
        rapt_store(memory, types[t], 1, 1.0f / 3);
        float want = rapt_round_to(types[t], 1.0f / 3);
        assert_true(rapt_load(memory, types[t], 1) == want);
        assert_true(rapt_load(memory, types[t], 0) == 0 && rapt_load(memory, types[t], 2) == 0);
        assert_true(fabsf(want - 1.0f / 3) <= (types[t] == RAPT_TYPE_F32   ? 0
                                               : types[t] == RAPT_TYPE_F16 ? 0x1p-13f
                                                                           : 0x1p-10f));
        assert_int_equal(rapt_type_bytes(types[t]), t == 0 ? 4 : 2);
    }
}

/* The loops over rows are other code: vectors, where the processor has them. */
static void rows_load_as_their_elements(void **state)
{
    (void)state;
    static uint16_t halves[65536];
    static float out[65536 + 1];
    const rapt_type types[] = {RAPT_TYPE_F16, RAPT_TYPE_BF16};
    for (uint32_t i = 0; i < 65536; i++)
        halves[i] = (uint16_t)i;
    for (int t = 0; t < 2; t++) {
        rapt_load_row(halves, types[t], 0, 65536, out);
        for (uint32_t i = 0; i < 65536; i++)
            assert_int_equal(bits_of(out[i]), bits_of(t ? rapt_f32_from_bf16((uint16_t)i)
                                                        : rapt_f32_from_f16((uint16_t)i)));
        for (uint32_t n = 0; n < 40; n++) { /* tails of vectors, and nothing past them */
            out[n] = 77;
            rapt_load_row(halves, types[t], 1000 + n, n, out);
            assert_true(out[n] == 77);
            for (uint32_t i = 0; i < n; i++)
                assert_true(out[i] == rapt_load(halves, types[t], 1000 + n + i));
        }
    }
    const float values[3] = {1, 2, 3};
    rapt_load_row(values, RAPT_TYPE_F32, 1, 2, out);
    assert_true(out[0] == 2 && out[1] == 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(widening_is_exact),
        cmocka_unit_test(round_trips),
        cmocka_unit_test(narrowing_rounds_to_nearest_even),
        cmocka_unit_test(extremes),
        cmocka_unit_test(nan_stays_nan),
        cmocka_unit_test(agrees_with_the_compiler),
        cmocka_unit_test(loads_and_stores),
        cmocka_unit_test(rows_load_as_their_elements),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
