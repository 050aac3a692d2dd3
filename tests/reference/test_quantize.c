/* SPDX-License-Identifier: Apache-2.0 */
/* Quantized rows: every code against the formats' definitions, rounding at and around every tie,
 * and the errors random data may have. */
#include <rapt/reference.h>

#include "convert.h"
#include "row_codec.h"
#include "random.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define DIM 64

static const rapt_type kinds[] = {RAPT_TYPE_INT8, RAPT_TYPE_FP8_E4M3, RAPT_TYPE_INT4,
                                  RAPT_TYPE_Q8_0, RAPT_TYPE_Q4_0};
#define N_KINDS (sizeof kinds / sizeof kinds[0])

static rapt_quantize_params params_of(rapt_type type)
{
    return (rapt_quantize_params){
        .struct_size = sizeof(rapt_quantize_params), .type = type, .head_dim = DIM, .n_heads = 1};
}

/* Quantizes and reads back n rows of params' shape. */
static void there_and_back(const rapt_quantize_params *params, size_t n, const float *rows,
                           float *out_rows)
{
    size_t row_bytes = rapt_row_bytes(params->type, params->head_dim) * params->n_heads;
    void *stored = malloc(n * row_bytes),
         *scales = malloc(n * rapt_quantize_n_scales(params) * 4 + 1);
    assert_int_equal(rapt_quantize_rows(params, n, rows, stored, scales), RAPT_OK);
    assert_int_equal(rapt_dequantize_rows(params, n, stored, scales, out_rows), RAPT_OK);
    free(stored);
    free(scales);
}

/* Open Compute Project, OFP8 1.0, table 2: exponent bias 7, S.1111.111 is NaN, no infinity. */
static double fp8_value(unsigned code)
{
    int exponent = code >> 3 & 15, mantissa = code & 7;
    double value = exponent ? ldexp(8 + mantissa, exponent - 10) : ldexp(mantissa, -9);
    if ((code & 0x7f) == 0x7f)
        value = NAN;
    return code & 0x80 ? -value : value;
}

static void every_fp8_code_decodes(void **state)
{
    (void)state;
    assert_true(fp8_value(0x7e) == 448 && fp8_value(0x08) == 0x1p-6 && fp8_value(0x01) == 0x1p-9);
    for (unsigned code = 0; code < 256; code++) {
        float got = rapt_f32_from_fp8((uint8_t)code);
        double want = fp8_value(code);
        if (isnan(want)) {
            assert_true(isnan(got));
        } else {
            assert_true((double)got == want);
            assert_int_equal(signbit(got) != 0, signbit(want) != 0);
        }
        assert_int_equal(rapt_fp8_from_f32(got), code);
    }
}

/* Around every midpoint of neighbours: below goes down, above up, the middle to the even code. */
static void fp8_rounds_to_nearest_even(void **state)
{
    (void)state;
    for (unsigned code = 0; code < 0x7e; code++) {
        float middle = (float)((fp8_value(code) + fp8_value(code + 1)) / 2);
        unsigned even = code & 1 ? code + 1 : code;
        assert_int_equal(rapt_fp8_from_f32(middle), even);
        assert_int_equal(rapt_fp8_from_f32(-middle), even | 0x80);
        assert_int_equal(rapt_fp8_from_f32(nextafterf(middle, 0)), code);
        assert_int_equal(rapt_fp8_from_f32(nextafterf(middle, 500)), code + 1);
    }
    const float large[] = {448, 449, 463.9f, 464, 1e9f, FLT_MAX, INFINITY};
    for (size_t i = 0; i < sizeof large / sizeof large[0]; i++) {
        assert_int_equal(rapt_fp8_from_f32(large[i]), 0x7e);
        assert_int_equal(rapt_fp8_from_f32(-large[i]), 0xfe);
    }
    assert_int_equal(rapt_fp8_from_f32(NAN) & 0x7f, 0x7f);
    assert_int_equal(rapt_fp8_from_f32(-0.0f), 0x80);
    assert_int_equal(rapt_fp8_from_f32(-FLT_TRUE_MIN), 0x80);
}

/* Codes by their own definition; int8 of a row whose scale is 1, so that values are codes. */
static void int8_codes(void **state)
{
    (void)state;
    rapt_quantize_params params = params_of(RAPT_TYPE_INT8);
    const struct {
        float value;
        int code;
    } cases[] = {{127, 127},  {-127, -127}, {0.5f, 0},     {1.5f, 2},     {-0.5f, 0},
                 {-1.5f, -2}, {2.5f, 2},    {126.5f, 126}, {125.5f, 126}, {0.50000006f, 1},
                 {-0.0f, 0},  {NAN, 0},     {3.4f, 3}};
    float row[DIM] = {0}, scale;
    int8_t codes[DIM];
    size_t n = sizeof cases / sizeof cases[0];
    for (size_t i = 0; i < n; i++)
        row[i] = cases[i].value;
    assert_int_equal(rapt_quantize_rows(&params, 1, row, codes, &scale), RAPT_OK);
    assert_true(scale == 1);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(codes[i], cases[i].code);
    /* Static: what lies outside saturates, infinity too. */
    const float quarter = 0.25f;
    params.scale_kind = RAPT_SCALE_STATIC;
    params.static_scale = &quarter;
    params.n_static_scale = 1;
    row[1] = INFINITY;
    row[2] = -FLT_MAX;
    assert_int_equal(rapt_quantize_n_scales(&params), 0);
    assert_int_equal(rapt_quantize_rows(&params, 1, row, codes, NULL), RAPT_OK);
    assert_int_equal(codes[0], 127);
    assert_int_equal(codes[1], 127);
    assert_int_equal(codes[2], -127);
    assert_int_equal(codes[3], 6);
    assert_int_equal(codes[12], 14); /* 13.6 */
}

static void int4_codes(void **state)
{
    (void)state;
    rapt_quantize_params params = params_of(RAPT_TYPE_INT4);
    float row[DIM] = {7, -7, 0.5f, 1.5f, -2.5f, -1, 6.6f, NAN}, back[DIM];
    uint8_t bytes[DIM / 2];
    uint16_t scales[DIM / 32];
    row[32] = -14;
    row[33] = 5;
    assert_int_equal(rapt_quantize_n_scales(&params), 2);
    assert_int_equal(rapt_quantize_rows(&params, 1, row, bytes, scales), RAPT_OK);
    assert_int_equal(scales[0], 0x3c00);
    assert_int_equal(scales[1], 0x4000);
    assert_int_equal(bytes[0], 0x97); /* even d low: 7, -7 */
    assert_int_equal(bytes[1], 0x20); /* 0, 2 */
    assert_int_equal(bytes[2], 0xfe); /* -2, -1 */
    assert_int_equal(bytes[3], 0x07);
    assert_int_equal(bytes[16], 0x29); /* -14 / 2 = -7; 2.5 is 2 */
    assert_int_equal(rapt_dequantize_rows(&params, 1, bytes, scales, back), RAPT_OK);
    assert_true(back[1] == -7 && back[4] == -2 && back[32] == -14 && back[33] == 4);
    for (unsigned code = 0; code < 256; code++) { /* every byte decodes, -8 too */
        memset(bytes, (int)code, sizeof bytes);
        assert_int_equal(rapt_dequantize_rows(&params, 1, bytes, scales, back), RAPT_OK);
        int low = code & 15, high = code >> 4;
        assert_true(back[0] == (float)(low < 8 ? low : low - 16));
        assert_true(back[1] == (float)(high < 8 ? high : high - 16));
        assert_true(back[33] == 2 * back[1]);
    }
}

static void block_codes(void **state)
{
    (void)state;
    rapt_quantize_params params = params_of(RAPT_TYPE_Q8_0);
    float row[DIM] = {127, 0.5f, -0.5f, 1.5f, 2.5f, -126.5f}, back[DIM];
    uint8_t bytes[68];
    assert_int_equal(rapt_quantize_rows(&params, 1, row, bytes, NULL), RAPT_OK);
    const uint8_t q8[] = {0x00, 0x3c, 127, 1, 0xff, 2, 3, 0x81}; /* halves away from zero */
    assert_memory_equal(bytes, q8, sizeof q8);
    assert_int_equal(bytes[34] | bytes[35] << 8, 0);
    params = params_of(RAPT_TYPE_Q4_0);
    row[0] = 4; /* the first of equal magnitudes decides: d = -0.5 */
    row[1] = -4;
    row[2] = row[3] = row[4] = row[5] = 0;
    row[16] = 0.3f;
    row[17] = -0.25f;
    assert_int_equal(rapt_quantize_rows(&params, 1, row, bytes, NULL), RAPT_OK);
    const uint8_t q4[] = {0x00, 0xb8, 0x70, 0x9f, 0x88};
    assert_memory_equal(bytes, q4, sizeof q4);
    assert_int_equal(bytes[18] | bytes[19] << 8, 0x8000); /* a block of zeros */
    assert_int_equal(bytes[20], 0x88);
    assert_int_equal(rapt_dequantize_rows(&params, 1, bytes, NULL, back), RAPT_OK);
    assert_true(back[0] == 4 && back[1] == -3.5f && back[16] == 0.5f && back[32] == 0);
}

/* Rows of zeros, denormals, infinities, values f16 scales cannot hold: finite, and zeros stay
 * zeros. */
static void corners_stay_finite(void **state)
{
    (void)state;
    const float fills[] = {0,     -0.0f, FLT_TRUE_MIN, 1e-40f, 0x1p-120f, 1e-36f,   1e-9f,   1e-6f,
                           65504, 1e7f,  1e9f,         1e30f,  FLT_MAX,   INFINITY, -FLT_MAX};
    for (size_t k = 0; k < N_KINDS; k++)
        for (int f16 = 0; f16 < 2; f16++)
            for (size_t i = 0; i < sizeof fills / sizeof fills[0]; i++) {
                rapt_quantize_params params = params_of(kinds[k]);
                params.scale_type = f16 ? RAPT_TYPE_F16 : RAPT_TYPE_F32;
                float row[DIM] = {0}, back[DIM];
                for (int d = 0; d < DIM; d += 3)
                    row[d] = d % 2 ? -fills[i] : fills[i];
                there_and_back(&params, 1, row, back);
                for (int d = 0; d < DIM; d++) {
                    assert_true(isfinite(back[d]));
                    if (row[d] == 0)
                        assert_true(back[d] == 0);
                }
            }
    /* NaN: a zero, or kept, but never in another element or in the scale. */
    for (size_t k = 0; k < N_KINDS; k++) {
        rapt_quantize_params params = params_of(kinds[k]);
        float row[DIM], back[DIM], clean[DIM];
        for (int d = 0; d < DIM; d++)
            row[d] = (float)(d - 30);
        row[5] = 0;
        there_and_back(&params, 1, row, clean);
        row[5] = NAN;
        there_and_back(&params, 1, row, back);
        assert_int_equal(isnan(back[5]) != 0, kinds[k] == RAPT_TYPE_FP8_E4M3);
        back[5] = clean[5];
        assert_memory_equal(back, clean, sizeof back);
    }
}

/* What "below 2^-126" means exactly, on both sides of it. */
static void least_scales(void **state)
{
    (void)state;
    const struct {
        rapt_type type;
        float most;
    } cases[] = {{RAPT_TYPE_INT8, 127}, {RAPT_TYPE_FP8_E4M3, 448}};
    for (int i = 0; i < 2; i++) {
        rapt_quantize_params params = params_of(cases[i].type);
        float row[DIM] = {0}, scale;
        uint8_t bytes[DIM];
        row[3] = cases[i].most * 0x1p-126f;
        assert_int_equal(rapt_quantize_rows(&params, 1, row, bytes, &scale), RAPT_OK);
        assert_true(scale == 0x1p-126f);
        assert_int_equal(bytes[3], cases[i].type == RAPT_TYPE_INT8 ? 127 : 0x7e);
        row[3] = nextafterf(row[3], 0);
        assert_int_equal(rapt_quantize_rows(&params, 1, row, bytes, &scale), RAPT_OK);
        assert_true(scale == 0);
        assert_int_equal(bytes[3], 0);
    }
}

/* A larger value never has a smaller code, whatever the kind. */
static void codes_are_monotonic(void **state)
{
    (void)state;
    enum { N = 4096 };
    static float row[N], back[N];
    uint64_t seed = 11;
    for (size_t k = 0; k < N_KINDS; k++) {
        rapt_quantize_params params = params_of(kinds[k]);
        params.head_dim = 32;
        for (int i = 0; i < N; i++) {
            row[i] = random_normal(&seed);
            if (i % 32 == 0)
                row[i] = 5; /* the same scale in every row */
        }
        there_and_back(&params, N / 32, row, back);
        for (int i = 0; i < N; i++)
            for (int j = 0; j < N; j += 61)
                if (row[i] < row[j])
                    assert_true(back[i] <= back[j]);
    }
}

static double error_of(const rapt_quantize_params *params, size_t n, const float *rows)
{
    size_t count = n * params->n_heads * params->head_dim;
    float *back = malloc(count * sizeof *back);
    double diff2 = 0, ref2 = 0;
    there_and_back(params, n, rows, back);
    for (size_t i = 0; i < count; i++) {
        double diff = (double)back[i] - (double)rows[i];
        diff2 += diff * diff;
        ref2 += (double)rows[i] * (double)rows[i];
    }
    free(back);
    return sqrt(diff2 / ref2);
}

/* Of N(0, 1) rows. The upper limits are those of the whole attention against unquantized data; the
 * lower ones say that it was quantized at all. */
static void random_rows_come_back(void **state)
{
    (void)state;
    enum { N = 256, HEADS = 4 };
    static float rows[N * HEADS * 128];
    const float int8_scale = 5.0f / 127, fp8_scale[HEADS] = {0.01f, 0.01f, 0.02f, 0.03f};
    uint64_t seed = 3;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        rows[i] = random_normal(&seed);
    const struct {
        rapt_type type;
        rapt_scale_kind kind;
        const float *scale;
        uint32_t n;
        double least, most;
    } cases[] = {{RAPT_TYPE_INT8, RAPT_SCALE_TOKEN_HEAD, NULL, 0, 4e-3, 1.5e-2},
                 {RAPT_TYPE_INT8, RAPT_SCALE_TOKEN, NULL, 0, 4e-3, 1.5e-2},
                 {RAPT_TYPE_INT8, RAPT_SCALE_STATIC, &int8_scale, 1, 8e-3, 2.5e-2},
                 {RAPT_TYPE_FP8_E4M3, RAPT_SCALE_TOKEN_HEAD, NULL, 0, 2e-2, 5e-2},
                 {RAPT_TYPE_FP8_E4M3, RAPT_SCALE_STATIC, fp8_scale, HEADS, 2e-2, 5e-2},
                 {RAPT_TYPE_INT4, RAPT_SCALE_TOKEN_HEAD, NULL, 0, 5e-2, 2e-1},
                 {RAPT_TYPE_Q8_0, RAPT_SCALE_TOKEN_HEAD, NULL, 0, 3e-3, 1.5e-2},
                 {RAPT_TYPE_Q4_0, RAPT_SCALE_TOKEN_HEAD, NULL, 0, 5e-2, 2e-1}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        for (int f16 = 0; f16 < 2; f16++) {
            rapt_quantize_params params = params_of(cases[i].type);
            params.head_dim = 128;
            params.n_heads = HEADS;
            params.scale_kind = cases[i].kind;
            params.static_scale = cases[i].scale;
            params.n_static_scale = cases[i].n;
            params.scale_type = f16 ? RAPT_TYPE_F16 : RAPT_TYPE_F32;
            double e = error_of(&params, N, rows);
            assert_true(e > cases[i].least && e < cases[i].most);
        }
}

/* The element-wise limit of each kind: half a step of its scale. */
static void no_element_is_further_than_half_a_step(void **state)
{
    (void)state;
    uint64_t seed = 19;
    for (int round = 0; round < 500; round++) {
        float row[DIM], back[DIM], scale;
        int8_t codes[DIM];
        float size = ldexpf(1, random_between(&seed, -100, 100));
        for (int d = 0; d < DIM; d++)
            row[d] = size * random_normal(&seed);
        rapt_quantize_params params = params_of(RAPT_TYPE_INT8);
        assert_int_equal(rapt_quantize_rows(&params, 1, row, codes, &scale), RAPT_OK);
        assert_int_equal(rapt_dequantize_rows(&params, 1, codes, &scale, back), RAPT_OK);
        for (int d = 0; d < DIM; d++) {
            assert_true(codes[d] == (int)rintf(row[d] / scale)); /* as anybody would write it */
            assert_true(fabs((double)back[d] - (double)row[d]) <= 0.50001 * (double)scale);
        }
        params.type = RAPT_TYPE_FP8_E4M3;
        there_and_back(&params, 1, row, back);
        float most = rapt_quant_absmax(row, DIM);
        for (int d = 0; d < DIM; d++)
            assert_true(fabs((double)back[d] - (double)row[d]) <=
                        fmax(0x1p-4 * fabs((double)row[d]), (double)most / 448 * 0x1p-10) *
                            1.00001);
    }
}

/* One scale per token is taken over its heads, and heads keep to their own static scale. */
static void scales_belong_to_rows(void **state)
{
    (void)state;
    float rows[2 * 3 * DIM] = {0}, back[2 * 3 * DIM];
    rows[0 * DIM + 1] = 127;
    rows[1 * DIM + 2] = -254;
    rows[5 * DIM + 0] = 12.7f;
    int8_t codes[2 * 3 * DIM];
    float scales[6];
    uint16_t halves[6];
    rapt_quantize_params params = params_of(RAPT_TYPE_INT8);
    params.n_heads = 3;
    assert_int_equal(rapt_quantize_n_scales(&params), 3);
    assert_int_equal(rapt_quantize_rows(&params, 2, rows, codes, scales), RAPT_OK);
    const float each[] = {1, 2, 0, 0, 0, 12.7f / 127};
    assert_memory_equal(scales, each, sizeof each);
    params.scale_kind = RAPT_SCALE_TOKEN;
    params.scale_type = RAPT_TYPE_F16;
    assert_int_equal(rapt_quantize_n_scales(&params), 1);
    assert_int_equal(rapt_quantize_rows(&params, 2, rows, codes, halves), RAPT_OK);
    assert_int_equal(halves[0], 0x4000);
    assert_int_equal(codes[1], 64); /* 63.5 to even */
    assert_int_equal(codes[DIM + 2], -127);
    assert_int_equal(rapt_dequantize_rows(&params, 2, codes, halves, back), RAPT_OK);
    assert_true(back[1] == 128);
    const float fixed[] = {1, 2, 0.1f};
    params.scale_kind = RAPT_SCALE_STATIC;
    params.scale_type = RAPT_TYPE_F32;
    params.static_scale = fixed;
    params.n_static_scale = 3;
    assert_int_equal(rapt_quantize_rows(&params, 2, rows, codes, NULL), RAPT_OK);
    assert_int_equal(codes[1], 127);
    assert_int_equal(codes[DIM + 2], -127);
    assert_int_equal(codes[5 * DIM], 127);
    assert_int_equal(rapt_dequantize_rows(&params, 2, codes, NULL, back), RAPT_OK);
    assert_true(back[5 * DIM] == 127 * 0.1f && back[DIM + 2] == -254);
}

static void floats_convert(void **state)
{
    (void)state;
    float row[DIM], back[DIM];
    uint64_t seed = 23;
    for (int d = 0; d < DIM; d++)
        row[d] = random_normal(&seed);
    const rapt_type types[] = {RAPT_TYPE_F32, RAPT_TYPE_F16, RAPT_TYPE_BF16};
    for (int i = 0; i < 3; i++) {
        rapt_quantize_params params = params_of(types[i]);
        there_and_back(&params, 1, row, back);
        for (int d = 0; d < DIM; d++)
            assert_true(back[d] == rapt_round_to(types[i], row[d]));
    }
}

static void rows_have_sizes(void **state)
{
    (void)state;
    assert_int_equal(rapt_row_bytes(RAPT_TYPE_F32, 72), 288);
    assert_int_equal(rapt_row_bytes(RAPT_TYPE_BF16, 72), 144);
    assert_int_equal(rapt_row_bytes(RAPT_TYPE_INT8, 72), 72);
    assert_int_equal(rapt_row_bytes(RAPT_TYPE_FP8_E4M3, 72), 72);
    assert_int_equal(rapt_row_bytes(RAPT_TYPE_INT4, 64), 32);
    assert_int_equal(rapt_row_bytes(RAPT_TYPE_Q8_0, 64), 68);
    assert_int_equal(rapt_row_bytes(RAPT_TYPE_Q4_0, 64), 36);
    for (size_t k = 2; k < N_KINDS; k++)
        assert_int_equal(rapt_row_bytes(kinds[k], 72), 0);
    assert_int_equal(rapt_row_bytes(RAPT_TYPE_DEFAULT, 64), 0);
}

static void expect(const rapt_quantize_params *params, const char *message)
{
    float row[DIM] = {0};
    uint8_t bytes[DIM * 4];
    float scales[DIM];
    assert_int_not_equal(rapt_quantize_rows(params, 1, row, bytes, scales), RAPT_OK);
    assert_string_equal(rapt_last_error(), message);
    assert_int_not_equal(rapt_dequantize_rows(params, 1, bytes, scales, row), RAPT_OK);
    assert_int_equal(rapt_quantize_n_scales(params), 0);
}

static void bad_params_are_refused(void **state)
{
    (void)state;
    rapt_quantize_params good = params_of(RAPT_TYPE_INT8), params = good;
    const float scales[] = {1, -1, 0, NAN, INFINITY, 1e-40f, 1e6f};
    params.type = 0;
    expect(&params, "type is 0: no such type");
    params.type = RAPT_TYPE_Q4_0;
    params.head_dim = 40;
    expect(&params, "head_dim is 40: expected a multiple of 32 for q4_0");
    params = good;
    params.head_dim = 0;
    expect(&params, "head_dim is 0: expected 1 or more for int8");
    params = good;
    params.n_heads = 0;
    expect(&params, "n_heads is 0: expected 1 or more");
    params = good;
    params.scale_type = RAPT_TYPE_BF16;
    expect(&params, "scale_type is 3: expected f32 or f16");
    params = good;
    params.scale_kind = 3;
    expect(&params, "scale_kind is 3: expected RAPT_SCALE_TOKEN_HEAD, TOKEN or STATIC");
    params.scale_kind = RAPT_SCALE_STATIC;
    expect(&params, "static_scale is NULL: static scales need it");
    params.static_scale = scales;
    params.n_static_scale = 2;
    expect(&params, "n_static_scale is 2: expected 1 or one per head, 1");
    params.n_static_scale = 1;
    for (int i = 1; i < 6; i++) {
        params.static_scale = scales + i;
        assert_int_equal(rapt_quantize_n_scales(&params), 0);
        assert_non_null(strstr(rapt_last_error(), "expected a finite number above 0 that f32"));
    }
    params.static_scale = scales + 6;
    params.scale_type = RAPT_TYPE_F16;
    expect(&params, "static_scale[0] is 1e+06: expected a finite number above 0 that f16 can hold");
    params = params_of(RAPT_TYPE_FP8_E4M3);
    params.scale_kind = RAPT_SCALE_TOKEN;
    expect(&params,
           "scale_kind is RAPT_SCALE_TOKEN, the type fp8_e4m3: one scale per token is for int8");
    params = params_of(RAPT_TYPE_Q8_0);
    params.scale_kind = RAPT_SCALE_STATIC;
    expect(&params,
           "scale_kind is RAPT_SCALE_STATIC, the type q8_0: static scales are for int8 and "
           "fp8_e4m3");
    float row[DIM] = {0};
    assert_int_equal(rapt_quantize_rows(&good, 1, NULL, row, row), RAPT_ERROR_ARGUMENT);
    assert_string_equal(rapt_last_error(), "rows is NULL");
    assert_int_equal(rapt_quantize_rows(&good, 1, row, NULL, row), RAPT_ERROR_ARGUMENT);
    assert_string_equal(rapt_last_error(), "out_rows is NULL");
    assert_int_equal(rapt_quantize_rows(&good, 1, row, row, NULL), RAPT_ERROR_ARGUMENT);
    assert_string_equal(rapt_last_error(), "out_scales is NULL: int8 has 1 scales per row");
    assert_int_equal(rapt_quantize_rows(&good, 0, NULL, NULL, NULL), RAPT_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_fp8_code_decodes),
        cmocka_unit_test(fp8_rounds_to_nearest_even),
        cmocka_unit_test(int8_codes),
        cmocka_unit_test(int4_codes),
        cmocka_unit_test(block_codes),
        cmocka_unit_test(corners_stay_finite),
        cmocka_unit_test(least_scales),
        cmocka_unit_test(codes_are_monotonic),
        cmocka_unit_test(random_rows_come_back),
        cmocka_unit_test(no_element_is_further_than_half_a_step),
        cmocka_unit_test(scales_belong_to_rows),
        cmocka_unit_test(floats_convert),
        cmocka_unit_test(rows_have_sizes),
        cmocka_unit_test(bad_params_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
