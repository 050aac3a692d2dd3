/* SPDX-License-Identifier: Apache-2.0 */
/* A stranger's program: the host reference over two equal keys gives the mean of their values, and
 * the device tier links. It is built against an installed copy in every way one may be found. */
#include <rapt/attention.h>
#include <rapt/common.h>
#include <rapt/easy.h>
#include <rapt/reference.h>

#include <math.h>
#include <stdio.h>

static int host_reference(void)
{
    const float q[8] = {1}, k[16] = {0};
    const int32_t cu_q[2] = {0, 1}, cu_kv[2] = {0, 2};
    float v[16], out[8];
    for (int d = 0; d < 8; d++) {
        v[d] = (float)d;
        v[8 + d] = (float)d + 2;
    }
    const rapt_problem problem = {.struct_size = sizeof problem,
                                  .n_seqs = 1,
                                  .n_q_heads = 1,
                                  .n_kv_heads = 1,
                                  .head_dim = 8,
                                  .q = {.data = q, .n_elements = 8},
                                  .k = {.data = k, .n_elements = 16},
                                  .v = {.data = v, .n_elements = 16},
                                  .cu_q = cu_q,
                                  .cu_kv = cu_kv};
    const rapt_result result = {.struct_size = sizeof result, .out = out};
    if (rapt_reference_attention(&problem, NULL, &result, NULL, NULL, NULL) != RAPT_OK) {
        fprintf(stderr, "reference: %s\n", rapt_last_error());
        return 1;
    }
    for (int d = 0; d < 8; d++) {
        if (fabsf(out[d] - (float)(d + 1)) > 1e-6f) {
            fprintf(stderr, "out[%d] is %g, expected %d\n", d, out[d], d + 1);
            return 1;
        }
    }
    return 0;
}

int main(void)
{
    if (host_reference())
        return 1;
    uint32_t n_devices = 0;
    const rapt_device_params params = {.struct_size = sizeof params};
    const rapt_status status = rapt_devices_list(&params, NULL, 0, &n_devices);
    if (status != RAPT_OK && status != RAPT_ERROR_NO_DEVICE) {
        fprintf(stderr, "devices: %s: %s\n", rapt_status_string(status), rapt_last_error());
        return 1;
    }
    rapt_easy *easy = NULL;
    rapt_easy_destroy(&easy);
    printf("rapt %s, %u device(s)\n", rapt_version(), n_devices);
    return 0;
}
