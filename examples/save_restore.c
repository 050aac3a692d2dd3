/* SPDX-License-Identifier: Apache-2.0 */
/* Introduces: conversations on disk. A conversation is prefilled, saved and carried on by one
 * token; then everything is destroyed, the file is read by a new device and cache, and the same
 * token gives the same bits. Takes the file's name as an argument; without one it uses a file of
 * its own and removes it. */
#include <rapt/easy.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LAYERS = 2, Q_HEADS = 8, KV_HEADS = 2, DIM = 64, PROMPT = 300 };

/* Numbers a model would have computed from a token and its place. */
static void stand_in(uint32_t layer, uint32_t first, uint32_t n, uint32_t per_token, float *out)
{
    uint32_t state = layer * 31u + first * 97u + per_token;
    for (size_t i = 0; i < (size_t)n * per_token; i++) {
        state = state * 1664525u + 1013904223u;
        out[i] = (float)(state >> 8) / 8388608.0f - 1.0f;
    }
}

/* n more tokens; `out` receives the last layer's output of the last of them. */
static rapt_status step(rapt_easy_cache *cache, rapt_seq seq, uint32_t first, uint32_t n,
                        float *out)
{
    static float q[PROMPT * Q_HEADS * DIM], k[PROMPT * KV_HEADS * DIM], v[PROMPT * KV_HEADS * DIM];
    static float all[PROMPT * Q_HEADS * DIM];
    int32_t tokens[PROMPT];
    for (uint32_t i = 0; i < n; i++)
        tokens[i] = (int32_t)(first + i);
    rapt_status status = rapt_easy_cache_step_begin(cache, 1, &seq, &n, tokens);
    for (uint32_t layer = 0; layer < LAYERS && !status; layer++) {
        stand_in(layer, first, n, Q_HEADS * DIM, q);
        stand_in(layer + 100, first, n, KV_HEADS * DIM, k);
        stand_in(layer + 200, first, n, KV_HEADS * DIM, v);
        status = rapt_easy_cache_step_layer(cache, layer, q, k, v, all);
    }
    memcpy(out, all + (size_t)(n - 1) * Q_HEADS * DIM, Q_HEADS * DIM * sizeof *out);
    return status ? status : rapt_easy_cache_step_end(cache);
}

static rapt_status open_cache(rapt_easy **out_easy, rapt_easy_cache **out_cache)
{
    rapt_easy_cache_group group = {.n_pages = 64};
    rapt_easy_cache_params params = {.struct_size = sizeof params,
                                     .n_layers = LAYERS,
                                     .n_q_heads = Q_HEADS,
                                     .n_kv_heads = KV_HEADS,
                                     .head_dim = DIM,
                                     .groups = &group,
                                     .n_groups = 1,
                                     .model_key = 0x5eed}; /* a real program hashes its weights */
    rapt_status status = rapt_easy_create(NULL, out_easy);
    return status ? status : rapt_easy_cache_create(*out_easy, &params, out_cache);
}

static void print_transfer(const rapt_easy_cache *cache, const char *what, const char *path)
{
    rapt_easy_cache_info info = {.struct_size = sizeof info};
    rapt_easy_cache_get_info(cache, &info);
    printf("%s %s: %.1f MB of pages, %.2f ms on the device\n", what, path,
           (double)info.transfer_bytes * 1e-6, info.transfer_seconds * 1e3);
}

static rapt_status save(const char *path, float *out)
{
    rapt_easy *easy = NULL;
    rapt_easy_cache *cache = NULL;
    rapt_seq seq = 0;
    rapt_status status = open_cache(&easy, &cache);
    if (!status)
        status = rapt_pager_open(rapt_easy_cache_pager(cache), NULL, &seq, NULL);
    if (!status)
        status = step(cache, seq, 0, PROMPT, out);
    if (!status)
        status = rapt_easy_cache_save(cache, 1, &seq, path);
    if (!status) {
        print_transfer(cache, "saved to", path);
        status = step(cache, seq, PROMPT, 1, out);
    }
    rapt_easy_cache_destroy(&cache);
    rapt_easy_destroy(&easy);
    return status;
}

static rapt_status restore(const char *path, float *out)
{
    rapt_easy *easy = NULL;
    rapt_easy_cache *cache = NULL;
    rapt_seq seq = 0;
    uint32_t n = 0;
    rapt_seq_info info = {.struct_size = sizeof info};
    rapt_status status = open_cache(&easy, &cache);
    if (!status)
        status = rapt_easy_cache_load(cache, path, 1, &seq, &n);
    if (!status)
        status = rapt_pager_seq_get_info(rapt_easy_cache_pager(cache), seq, &info);
    if (!status) {
        print_transfer(cache, "restored from", path);
        printf("%u tokens are back; the next one\n", info.n_tokens);
        status = step(cache, seq, info.n_tokens, 1, out);
    }
    rapt_easy_cache_destroy(&cache);
    rapt_easy_destroy(&easy);
    return status;
}

int main(int argc, char **argv)
{
    static float before[Q_HEADS * DIM], after[Q_HEADS * DIM];
    const char *path = argc > 1 ? argv[1] : "save_restore.snapshot";
    rapt_status status = save(path, before);
    if (!status)
        status = restore(path, after);
    if (status)
        fprintf(stderr, "%s\n", rapt_last_error());
    if (argc < 2)
        remove(path);
    if (status)
        return 1;
    int same = memcmp(before, after, sizeof before) == 0;
    printf("gives %s bits as before\n", same ? "the same" : "OTHER");
    return !same;
}
