/* SPDX-License-Identifier: Apache-2.0 */
/* Introduces: the easy tier. Arrays in, arrays out, no Vulkan code. Causal attention of one sequence
 * of 128 tokens, 4 heads of 64 dims, and its error against the float64 reference. */
#include <rapt/easy.h>

#include <stdio.h>

enum { TOKENS = 128, HEADS = 4, DIM = 64, N = TOKENS * HEADS * DIM };
static float q[N], k[N], v[N], out[N]; /* [token][head][dim] */

int main(void)
{
    for (int i = 0; i < N; i++) {
        q[i] = (float)(i * 7 % 19) / 19 - 0.5f;
        k[i] = (float)(i * 5 % 17) / 17 - 0.5f;
        v[i] = (float)(i * 3 % 13) / 13 - 0.5f;
    }
    const int32_t lengths[] = {0, TOKENS}; /* cumulative: one sequence */
    rapt_mask *causal = NULL;
    rapt_easy *easy = NULL;
    rapt_error error = {.struct_size = sizeof error};
    rapt_result result = {.struct_size = sizeof result, .out = out};
    rapt_status status = rapt_mask_parse(NULL, "causal", NULL, &causal);
    rapt_problem problem = {.struct_size = sizeof problem, .n_seqs = 1, .n_q_heads = HEADS,
                            .n_kv_heads = HEADS, .head_dim = DIM, .q = {q, N}, .k = {k, N},
                            .v = {v, N}, .cu_q = lengths, .cu_kv = lengths, .mask = causal};
    if (!status)
        status = rapt_easy_create(NULL, &easy);
    if (!status)
        status = rapt_easy_attention(easy, &problem, NULL, &result);
    if (!status)
        status = rapt_reference_check(&problem, NULL, &result, RAPT_BOUND_PORTABLE, &error);
    if (status)
        fprintf(stderr, "%s\n", rapt_last_error());
    else
        printf("%s: out[0] = %g, error %.1e (at most %.1e)\n",
               rapt_device_caps(rapt_easy_device(easy))->device_name, out[0], error.e, error.bound_e);
    rapt_easy_destroy(&easy);
    rapt_mask_destroy(&causal);
    return status || !error.ok;
}
