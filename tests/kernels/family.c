/* SPDX-License-Identifier: Apache-2.0 */

/* Kernels that no plan uses, checked by family through the easy tier: the three-pass baseline of
 * the benchmarks against the reference, the ceilings for giving numbers at all. */

#include "check.h"

#include <rapt/easy.h>
#include <rapt/reference.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { TOKENS = 70, KEYS = 131, HEADS = 4, KV_HEADS = 2, DIM = 64 };

static float noise(uint64_t *state)
{
    *state = *state * 6364136223846793005ull + 1442695040888963407ull;
    return (float)((int32_t)(*state >> 32)) / 1073741824.0f;
}

static int three_pass_case(const struct check_target *target, rapt_type type, const rapt_mask *mask)
{
    static float q[TOKENS * HEADS * DIM], k[KEYS * KV_HEADS * DIM], v[KEYS * KV_HEADS * DIM];
    static float out[TOKENS * HEADS * DIM];
    uint64_t random = target->seed + 77;
    for (size_t i = 0; i < sizeof q / sizeof *q; i++) {
        q[i] = noise(&random);
        out[i] = NAN;
    }
    for (size_t i = 0; i < sizeof k / sizeof *k; i++) {
        k[i] = noise(&random);
        v[i] = noise(&random);
    }
    const int32_t cu_q[] = {0, 1, TOKENS}, cu_kv[] = {0, 40, KEYS};
    const rapt_problem problem = {.struct_size = sizeof problem,
                                  .n_seqs = 2,
                                  .n_q_heads = HEADS,
                                  .n_kv_heads = KV_HEADS,
                                  .head_dim = DIM,
                                  .q = {.data = q, .n_elements = sizeof q / sizeof *q},
                                  .k = {.data = k, .n_elements = sizeof k / sizeof *k},
                                  .v = {.data = v, .n_elements = sizeof v / sizeof *v},
                                  .q_type = type,
                                  .kv_type = type,
                                  .cu_q = cu_q,
                                  .cu_kv = cu_kv,
                                  .mask = mask};
    const rapt_result result = {.struct_size = sizeof result, .out = out};
    const rapt_easy_options options = {.struct_size = sizeof options, .three_pass = 1};
    rapt_error error = {.struct_size = sizeof error};
    if (rapt_easy_attention(target->easy, &problem, &options, &result) != RAPT_OK ||
        rapt_reference_check(&problem, NULL, &result, RAPT_BOUND_PORTABLE, &error) != RAPT_OK) {
        printf("FAIL  %-5s three pass: %s\n", rapt_type_name(type), rapt_last_error());
        return 0;
    }
    printf("%s  %-5s three pass, %s  %.1e of %.1e\n", error.ok ? "ok  " : "FAIL",
           rapt_type_name(type), mask ? "causal" : "full", error.e, error.bound_e);
    return error.ok;
}

static void three_pass(struct check_target *target)
{
    static const rapt_type types[] = {RAPT_TYPE_F32, RAPT_TYPE_F16, RAPT_TYPE_BF16};
    rapt_mask *causal = NULL;
    if (rapt_mask_parse(NULL, "causal", NULL, &causal) != RAPT_OK) {
        target->n_failed++;
        return;
    }
    for (int i = 0; i < 6; i++) {
        target->n_run++;
        target->n_failed += !three_pass_case(target, types[i / 2], i % 2 ? causal : NULL);
    }
    rapt_mask_destroy(&causal);
}

static void ceilings(struct check_target *target)
{
    rapt_ceilings c = {.struct_size = sizeof c};
    target->n_run++;
    if (rapt_easy_measure_ceilings(target->easy, &c) != RAPT_OK) {
        printf("FAIL  ceilings: %s\n", rapt_last_error());
        target->n_failed++;
        return;
    }
    int ok = c.flops_per_second > 1e6 && c.flops_per_second < 1e17 &&
             c.copy_bytes_per_second > 1e6 && c.copy_bytes_per_second < 1e15 &&
             c.read_bytes_per_second > 1e6 && c.read_bytes_per_second < 1e15;
    printf("%s  ceilings: %.3g FLOP/s, copy %.3g B/s, read %.3g B/s\n", ok ? "ok  " : "FAIL",
           c.flops_per_second, c.copy_bytes_per_second, c.read_bytes_per_second);
    target->n_failed += !ok;
}

int check_run_family(struct check_target *target)
{
    if (strcmp(target->row, "three_pass") == 0)
        three_pass(target);
    else if (strcmp(target->row, "ceiling") == 0)
        ceilings(target);
    else
        return 0;
    return 1;
}
