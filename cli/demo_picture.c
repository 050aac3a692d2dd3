/* SPDX-License-Identifier: Apache-2.0 */
/* The weights are the device's own: with V the identity matrix (value j is 1 at dim j and 0
 * elsewhere), the output row of a query is its row of attention weights. */
#include "case.h"
#include "cli.h"
#include "demo.h"
#include "device.h"
#include "picture.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A nursery rhyme, older than any copyright, that repeats itself a little longer each time. */
/* clang-format off */
static const char *const words[] = {
    "this", "is", "the", "house", "that", "Jack", "built", ".",
    "this", "is", "the", "malt", "that", "lay", "in", "the", "house", "that", "Jack", "built", ".",
    "this", "is", "the", "rat", "that", "ate", "the", "malt", "that", "lay", "in", "the", "house",
    "that", "Jack", "built", ".",
    "this", "is", "the", "cat", "that", "killed", "the", "rat", "that", "ate", "the", "malt", "that",
    "lay", "in", "the", "house", "that", "Jack", "built", ".",
};
/* clang-format on */
#define N_WORDS (sizeof words / sizeof *words)

enum { DIM = 128, DIM_V = (N_WORDS + 7) / 8 * 8, CONTEXT = 4, WINDOW = 20 };

/* A vector per word and per how far back it lies, the same for the same word. */
static void embed(const char *word, int back, float *out_vector)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (const char *c = word; *c; c++)
        hash = (hash ^ (unsigned char)*c) * UINT64_C(0x100000001b3);
    case_random(hash + (uint64_t)back * 977, out_vector, DIM);
}

/* A word is described by itself and the words before it, so that two places look alike as far as
 * the phrases that lead to them are the same. */
static void describe(float *rows)
{
    static const float strength[CONTEXT] = {1.35f, 1.15f, 0.95f, 0.75f};
    float vector[DIM];
    memset(rows, 0, N_WORDS * DIM * sizeof *rows);
    for (size_t i = 0; i < N_WORDS; i++) {
        for (int back = 0; back < CONTEXT && (size_t)back <= i; back++) {
            embed(words[i - (size_t)back], back, vector);
            for (int d = 0; d < DIM; d++)
                rows[i * DIM + (size_t)d] += strength[back] * vector[d];
        }
    }
}

struct weights {
    float rows[N_WORDS * DIM];
    float identity[N_WORDS * DIM_V];
    float out[N_WORDS * DIM_V];
    float map[N_WORDS * N_WORDS];
};

/* Attention weights under the mask into w->map, negative where the mask forbids. */
static int weigh(rapt_easy *easy, const char *expression, struct weights *w)
{
    const int32_t cu[2] = {0, (int32_t)N_WORDS};
    rapt_mask *mask = NULL;
    rapt_status status = rapt_mask_parse(NULL, expression, NULL, &mask);
    if (status)
        return cli_fail_status(status, expression);
    rapt_problem problem = {
        .struct_size = sizeof problem,
        .n_seqs = 1,
        .n_q_heads = 1,
        .n_kv_heads = 1,
        .head_dim = DIM,
        .head_dim_v = DIM_V,
        .q = {.data = w->rows, .n_elements = N_WORDS * DIM, .type = RAPT_TYPE_F32},
        .k = {.data = w->rows, .n_elements = N_WORDS * DIM, .type = RAPT_TYPE_F32},
        .v = {.data = w->identity, .n_elements = N_WORDS * DIM_V, .type = RAPT_TYPE_F32},
        .cu_q = cu,
        .cu_kv = cu,
        .page_size = 16,
        .scale = 1.0f / DIM,
        .mask = mask,
    };
    rapt_result result = {.struct_size = sizeof result, .out = w->out};
    rapt_reference_params params = {.struct_size = sizeof params};
    rapt_error error = {.struct_size = sizeof error};
    status = rapt_easy_attention(easy, &problem, NULL, &result);
    if (!status)
        status = rapt_reference_check(&problem, &params, &result, RAPT_BOUND_PORTABLE, &error);
    int code = status ? cli_fail_status(status, "the picture") : 0;
    for (size_t p = 0; p < N_WORDS; p++) {
        for (size_t j = 0; j < N_WORDS; j++) {
            w->map[p * N_WORDS + j] =
                rapt_mask_allows(mask, (int32_t)p, (int32_t)j, 0) ? w->out[p * DIM_V + j] : -1;
        }
    }
    rapt_mask_destroy(&mask);
    if (!code && !error.ok)
        code = cli_fail(CLI_CHECK, "the picture: error %.1e is beyond its bound", error.e);
    if (!code)
        printf("  weights under %-26s error %.1e (bound %.1e): ok\n", expression, error.e,
               error.bound_e);
    return code;
}

int demo_picture(rapt_easy *easy, const char *device, const char *path)
{
    char window[64], subtitle[700];
    struct weights *w[2] = {calloc(1, sizeof *w[0]), calloc(1, sizeof *w[1])};
    snprintf(window, sizeof window, "causal & window(%d, 0)", WINDOW - 1);
    printf("\nattention of %u words over themselves\n", (unsigned)N_WORDS);
    int code = w[0] && w[1] ? 0 : cli_fail(CLI_DEVICE, "out of memory");
    for (int i = 0; i < 2 && !code; i++) {
        describe(w[i]->rows);
        for (size_t j = 0; j < N_WORDS; j++)
            w[i]->identity[j * DIM_V + j] = 1;
        code = weigh(easy, i ? window : "causal", w[i]);
    }
    code = code ? code : device_verdict(easy, code);
    if (!code) {
        snprintf(subtitle, sizeof subtitle,
                 "Computed on %s. Bright stripes: phrases that have come before.", device);
        struct picture_panel panels[2] = {
            {"causal", "every word sees itself and all before it", w[0]->map,
             "causal edge: no word sees those after it", NULL, 0},
            {window, "every word sees itself and the 19 before it", w[1]->map, "causal edge",
             "window edge: what lies further back is out of sight", WINDOW},
        };
        struct picture picture = {words, (uint32_t)N_WORDS,           panels,
                                  2,     "What each word attends to", subtitle};
        code = picture_write(&picture, "--out", path);
    }
    if (!code)
        printf("  drawn to %s\n", path);
    free(w[0]);
    free(w[1]);
    return code;
}
