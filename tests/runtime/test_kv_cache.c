/* SPDX-License-Identifier: Apache-2.0 */
/* The easy tier's K/V cache on a device: every output of every step against the reference, through
 * prefill, decode, forks, undone tokens, cached prefixes, windows, segments, swaps and files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "kv_shadow.h"
#include "open_easy.h"

static rapt_easy *easy;

/* A model of two layers with small dims, so that software drivers compile its kernels soon. */
static struct shadow_model small_model(rapt_type kv_type, uint32_t n_pages)
{
    struct shadow_model model = {
        .params = {.n_layers = 2,
                   .n_q_heads = 4,
                   .n_kv_heads = 2,
                   .head_dim = 32,
                   .page_size = 8,
                   .kv_type = kv_type,
                   .n_groups = 1,
                   .max_batch = 4,
                   .max_total_q = 64,
                   .model_key = 77},
        .groups = {{.n_pages = n_pages}},
    };
    return model;
}

static rapt_easy_cache *create_cache(const struct shadow_model *model)
{
    rapt_easy_cache *cache = NULL;
    shadow_ok(rapt_easy_cache_create(easy, &model->params, &cache));
    assert_non_null(cache);
    return cache;
}

/* Prompts of odd lengths, decode, mixed batches, an idle sequence among them. */
static void steps(void **state)
{
    (void)state;
    struct shadow_model model = small_model(RAPT_TYPE_F16, 40);
    rapt_rope rope = {.struct_size = sizeof rope, .pairing = RAPT_ROPE_NEOX};
    model.params.rope = &rope;
    model.params.softcap = 20;
    shadow_model_init(&model);
    rapt_easy_cache *cache = create_cache(&model);
    struct shadow_seq a = {0}, b = {0}, c = {0};
    shadow_open(cache, &a, 0);
    shadow_open(cache, &b, 0);
    shadow_open(cache, &c, 0);
    struct shadow_seq *all[] = {&a, &b, &c};
    shadow_run_one(cache, &model, &a, 37, 1000, NULL);
    uint32_t mixed[] = {1, 21, 0};
    shadow_run(cache, &model, 3, all, mixed, 2000, NULL);
    for (int i = 0; i < 12; i++) {
        uint32_t decode[] = {1, 1, (uint32_t)(i % 3)};
        shadow_run(cache, &model, 3, all, decode, 3000 + 10 * i, NULL);
    }
    rapt_pager_stats stats = shadow_stats(cache, 0);
    assert_int_equal(stats.n_used, 7 + 5 + 2);
    rapt_easy_cache_info info = {.struct_size = sizeof info};
    rapt_easy_cache_get_info(cache, &info);
    assert_int_equal(info.page_bytes[0], 2 * 2 * 8 * 2 * 32 * 2);
    assert_int_equal(info.pool_bytes, 40 * info.page_bytes[0]);
    assert_int_equal(info.n_buffers, 1);
    assert_true(info.layer_seconds > 0 && info.other_bytes > 0 && info.plan.append_kernel);
    rapt_easy_cache_destroy(&cache);
    assert_null(cache);
    shadow_model_finish(&model);
}

/* Forks share what they have and get a copy of the last page as soon as they differ. */
static void forks_run(const struct shadow_model *model, uint32_t *out_copies)
{
    rapt_easy_cache *cache = create_cache(model);
    rapt_easy_cache_info info = {.struct_size = sizeof info};
    struct shadow_seq a = {0}, b, c, d;
    shadow_open(cache, &a, 0);
    shadow_run_one(cache, model, &a, 21, 100, NULL); /* 2 pages and 5 tokens */
    uint32_t before = shadow_stats(cache, 0).n_used;
    shadow_fork(cache, &a, &b);
    shadow_fork(cache, &a, &c);
    shadow_fork(cache, &c, &d);
    assert_int_equal(shadow_stats(cache, 0).n_used, before);
    struct shadow_seq *all[] = {&a, &b, &c, &d};
    uint32_t one[] = {1, 2, 1, 5};
    *out_copies = 0;
    for (int i = 0; i < 3; i++) {
        shadow_run(cache, model, 4, all, one, 1000 + 100 * i, NULL);
        rapt_easy_cache_get_info(cache, &info);
        *out_copies += info.n_copies;
    }
    /* undone tokens are written over, also on a page that had been shared */
    shadow_truncate(cache, &d, 22);
    shadow_run_one(cache, model, &d, 3, 5000, NULL);
    shadow_fork(cache, &d, &b);
    shadow_truncate(cache, &b, 19);
    shadow_run_one(cache, model, &b, 2, 6000, NULL);
    shadow_run_one(cache, model, &d, 1, 7000, NULL);
    rapt_easy_cache_destroy(&cache);
}

static void forks(void **state)
{
    (void)state;
    struct shadow_model model = small_model(RAPT_TYPE_F16, 40);
    uint32_t n_copies = 0;
    shadow_model_init(&model);
    forks_run(&model, &n_copies);
    assert_int_equal(n_copies, 3); /* the last of four to append keeps the page */
    shadow_model_finish(&model);
}

/* A second conversation takes the pages of the first's beginning over, also when that is closed. */
static void prefixes(void **state)
{
    (void)state;
    struct shadow_model model = small_model(RAPT_TYPE_F16, 40);
    shadow_model_init(&model);
    rapt_easy_cache *cache = create_cache(&model);
    struct shadow_seq a = {0}, b = {0};
    shadow_open(cache, &a, 0);
    shadow_run_one(cache, &model, &a, 29, 100, NULL);
    for (int i = 0; i < 29; i++)
        b.tokens[i] = i < 20 ? a.tokens[i] : 900 + i;
    assert_int_equal(shadow_open(cache, &b, 29), 16);
    shadow_run_one(cache, &model, &b, 13, -1, NULL);
    shadow_close(cache, &a);
    shadow_close(cache, &b);
    /* exactly one page boundary: one token is left to compute */
    assert_int_equal(shadow_open(cache, &b, 24), 16);
    shadow_run_one(cache, &model, &b, 8, -1, NULL);
    shadow_run_one(cache, &model, &b, 1, 5000, NULL);
    rapt_easy_cache_destroy(&cache);
    shadow_model_finish(&model);
}

/* Gemma's and gpt-oss's kind of model: windowed and full layers in turn, sink logits, rotation of
 * their own, other dims in one group. */
static struct shadow_model windowed_model(const uint8_t layer_groups[4], const float *sinks,
                                          const rapt_rope *local, const rapt_rope *global)
{
    struct shadow_model model = small_model(RAPT_TYPE_F16, 0);
    model.params.n_layers = 4;
    model.params.n_groups = 2;
    model.params.layer_groups = layer_groups;
    model.params.sinks = sinks;
    model.params.undo_tokens = 4;
    model.groups[0] = (rapt_easy_cache_group){.n_pages = 14, .window = 20, .rope = local};
    model.groups[1] =
        (rapt_easy_cache_group){.n_pages = 40, .n_kv_heads = 1, .head_dim = 64, .rope = global};
    return model;
}

static const uint8_t windowed_layers[] = {0, 1, 0, 0};

static void windows_and_sinks(uint32_t sink_tokens)
{
    float sinks[4 * 4];
    for (int i = 0; i < 16; i++)
        sinks[i] = 0.25f * (float)i - 2;
    rapt_rope local = {.struct_size = sizeof local, .pairing = RAPT_ROPE_NEOX, .theta = 1000};
    rapt_rope global = {.struct_size = sizeof global,
                        .pairing = RAPT_ROPE_GPTJ,
                        .theta = 1e6f,
                        .rotary_dim = 32,
                        .rotary_offset = 16};
    struct shadow_model model = windowed_model(windowed_layers, sinks, &local, &global);
    model.groups[0].sink_tokens = sink_tokens;
    model.groups[0].n_pages += 2;
    shadow_model_init(&model);
    rapt_easy_cache *cache = create_cache(&model);
    struct shadow_seq a = {0}, b = {0};
    shadow_open(cache, &a, 0);
    shadow_run_one(cache, &model, &a, 50, 100, NULL);
    shadow_fork(cache, &a, &b);
    struct shadow_seq *both[] = {&a, &b};
    uint32_t n_new[] = {1, 1};
    for (int i = 0; i < 30; i++)
        shadow_run(cache, &model, 2, both, n_new, 1000 + 10 * i, NULL);
    /* 80 tokens: the pages the last 24 lie in, and the sinks' one, which both share */
    assert_true(shadow_stats(cache, 0).n_used <= 2 * 4 + (sink_tokens > 0));
    assert_true(shadow_stats(cache, 1).n_used >= 14);
    shadow_truncate(cache, &b, 77);
    shadow_run(cache, &model, 2, both, n_new, 5000, NULL);
    rapt_easy_cache_destroy(&cache);
    shadow_model_finish(&model);
}

static void windows(void **state)
{
    (void)state;
    windows_and_sinks(0);
}

static void windows_beside_sinks(void **state)
{
    (void)state;
    windows_and_sinks(5);
}

/* Every kind the cache stores, through forks and undone tokens. */
static void types(void **state)
{
    (void)state;
    static const struct {
        rapt_type type, scale_type;
        rapt_scale_kind kind;
    } kinds[] = {
        {RAPT_TYPE_F32, 0, 0},
        {RAPT_TYPE_BF16, 0, 0},
        {RAPT_TYPE_INT8, RAPT_TYPE_F32, RAPT_SCALE_TOKEN_HEAD},
        {RAPT_TYPE_INT8, RAPT_TYPE_F16, RAPT_SCALE_TOKEN},
        {RAPT_TYPE_INT8, RAPT_TYPE_F32, RAPT_SCALE_STATIC},
        {RAPT_TYPE_FP8_E4M3, RAPT_TYPE_F32, RAPT_SCALE_TOKEN_HEAD},
        {RAPT_TYPE_INT4, 0, 0},
        {RAPT_TYPE_Q8_0, 0, 0},
        {RAPT_TYPE_Q4_0, 0, 0},
    };
    float scales[] = {0.03f, 0.04f, 0.035f, 0.03f};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        struct shadow_model model = small_model(kinds[i].type, 40);
        uint32_t n_copies = 0;
        printf("%s, scale kind %d\n", rapt_type_name(kinds[i].type), (int)kinds[i].kind);
        model.params.scale_type = kinds[i].scale_type;
        model.params.scale_kind = kinds[i].kind;
        if (kinds[i].kind == RAPT_SCALE_STATIC)
            model.params.k_scale = model.params.v_scale = scales;
        shadow_model_init(&model);
        forks_run(&model, &n_copies);
        assert_int_equal(n_copies, 3);
        shadow_model_finish(&model);
    }
}

/* A pool in segments and in several buffers; forks copy their pages there too. */
static void segments(void **state)
{
    (void)state;
    struct shadow_model model = small_model(RAPT_TYPE_F16, 40);
    /* 16 pages of 1 KiB to a segment: three segments of each plane */
    model.params.max_range_bytes = 17000;
    shadow_model_init(&model);
    rapt_easy_cache *cache = create_cache(&model);
    struct shadow_seq a = {0}, b;
    shadow_open(cache, &a, 0);
    for (int chunk = 0; chunk < 4; chunk++)
        shadow_run_one(cache, &model, &a, 60, 100 + 100 * chunk, NULL);
    rapt_easy_cache_info info = {.struct_size = sizeof info};
    rapt_easy_cache_get_info(cache, &info);
    assert_true(info.n_buffers > 1);
    shadow_fork(cache, &a, &b);
    shadow_run_one(cache, &model, &b, 20, 900, NULL);
    shadow_run_one(cache, &model, &a, 1, 1900, NULL);
    rapt_easy_image *image = NULL;
    shadow_ok(rapt_easy_cache_swap_out(cache, b.seq, &image));
    shadow_ok(rapt_easy_cache_swap_in(cache, &image, &b.seq));
    shadow_run_one(cache, &model, &b, 1, 2900, NULL);
    rapt_easy_cache_destroy(&cache);
    uint32_t n_copies = 0;
    forks_run(&model, &n_copies);
    assert_int_equal(n_copies, 3);
    shadow_model_finish(&model);
}

/* What is refused changes nothing: the pager's statistics stay, and the next step is right. */
static void refusals(void **state)
{
    (void)state;
    struct shadow_model model = small_model(RAPT_TYPE_F16, 12);
    model.params.max_total_q = 128;
    model.params.max_kv_len = 100;
    shadow_model_init(&model);
    rapt_easy_cache *cache = create_cache(&model);
    rapt_pager *pager = rapt_easy_cache_pager(cache);
    struct shadow_seq a = {0}, b = {0};
    shadow_open(cache, &a, 0);
    shadow_open(cache, &b, 0);
    shadow_run_one(cache, &model, &a, 37, 100, NULL);
    rapt_pager_stats before = shadow_stats(cache, 0), after;
    const struct {
        uint32_t n_seqs, n_new[5];
        rapt_seq seqs[5];
        rapt_status status;
        const char *why;
    } bad[] = {
        {1, {64}, {a.seq}, RAPT_ERROR_CAPACITY, "max_kv_len"},
        {2, {64, 65}, {b.seq, a.seq}, RAPT_ERROR_CAPACITY, "max_kv_len"},
        {2, {63, 66}, {a.seq, b.seq}, RAPT_ERROR_CAPACITY, "max_total_q"},
        {5, {1, 1, 1, 1, 1}, {a.seq, b.seq, a.seq, b.seq, a.seq}, RAPT_ERROR_CAPACITY, "max_batch"},
        {2, {1, 1}, {a.seq, a.seq}, RAPT_ERROR_ARGUMENT, ""},
        {2, {1, 1}, {a.seq, 0x1234567}, RAPT_ERROR_ARGUMENT, ""},
        {2, {0, 0}, {a.seq, b.seq}, RAPT_ERROR_ARGUMENT, "n_new"},
        {0, {1}, {a.seq}, RAPT_ERROR_ARGUMENT, "n_seqs"},
        /* 12 pages, 5 taken: 8 more are one too many */
        {2, {3, 57}, {a.seq, b.seq}, RAPT_ERROR_PAGES, ""},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        rapt_status status =
            rapt_easy_cache_step_begin(cache, bad[i].n_seqs, bad[i].seqs, bad[i].n_new, NULL);
        if (status != bad[i].status || !strstr(rapt_last_error(), bad[i].why))
            fprintf(stderr, "%zu: status %d, %s\n", i, (int)status, rapt_last_error());
        assert_int_equal(status, bad[i].status);
        assert_non_null(strstr(rapt_last_error(), bad[i].why));
        after = shadow_stats(cache, 0);
        assert_memory_equal(&before, &after, sizeof after);
        shadow_ok(rapt_pager_check(pager));
    }
    /* outside a step */
    float numbers[4 * 32 * 2] = {0}, out[4 * 32];
    assert_int_equal(rapt_easy_cache_step_layer(cache, 0, numbers, numbers, numbers, out),
                     RAPT_ERROR_ARGUMENT);
    assert_int_equal(rapt_easy_cache_step_end(cache), RAPT_ERROR_ARGUMENT);
    assert_int_equal(rapt_easy_cache_step_cancel(cache), RAPT_ERROR_ARGUMENT);
    /* within one */
    uint32_t one = 1, n = 0;
    rapt_easy_image *image = NULL;
    shadow_ok(rapt_easy_cache_step_begin(cache, 1, &a.seq, &one, NULL));
    assert_int_equal(rapt_easy_cache_step_begin(cache, 1, &a.seq, &one, NULL), RAPT_ERROR_ARGUMENT);
    assert_int_equal(rapt_easy_cache_swap_out(cache, a.seq, &image), RAPT_ERROR_ARGUMENT);
    assert_int_equal(rapt_easy_cache_save(cache, 1, &a.seq, "nowhere"), RAPT_ERROR_ARGUMENT);
    assert_int_equal(rapt_easy_cache_load(cache, "nowhere", 0, NULL, &n), RAPT_ERROR_ARGUMENT);
    assert_int_equal(rapt_easy_cache_step_layer(cache, 2, numbers, numbers, numbers, out),
                     RAPT_ERROR_ARGUMENT);
    assert_int_equal(rapt_easy_cache_step_layer(cache, 0, NULL, numbers, numbers, out),
                     RAPT_ERROR_ARGUMENT);
    shadow_ok(rapt_easy_cache_step_layer(cache, 0, numbers, numbers, numbers, out));
    assert_int_equal(rapt_easy_cache_step_layer(cache, 0, numbers, numbers, numbers, out),
                     RAPT_ERROR_ARGUMENT);
    assert_int_equal(rapt_easy_cache_step_end(cache), RAPT_ERROR_ARGUMENT);
    assert_non_null(strstr(rapt_last_error(), "layer 1"));
    shadow_ok(rapt_easy_cache_step_cancel(cache));
    after = shadow_stats(cache, 0);
    assert_int_equal(after.n_used, before.n_used);
    /* the tokens taken back are written anew, by the same ids or others */
    shadow_run_one(cache, &model, &a, 5, 5000, NULL);
    rapt_easy_cache_destroy(&cache);
    shadow_model_finish(&model);
}

/* A step given up leaves nothing in the prefix cache that was never computed. */
static void cancelled(void **state)
{
    (void)state;
    struct shadow_model model = small_model(RAPT_TYPE_F16, 40);
    shadow_model_init(&model);
    rapt_easy_cache *cache = create_cache(&model);
    struct shadow_seq a = {0}, b = {0};
    uint32_t n_new = 24;
    shadow_open(cache, &a, 0);
    for (int i = 0; i < 40; i++)
        a.tokens[i] = b.tokens[i] = 100 + i;
    shadow_run_one(cache, &model, &a, 8, -1, NULL);
    shadow_ok(rapt_easy_cache_step_begin(cache, 1, &a.seq, &n_new, a.tokens + 8));
    shadow_ok(rapt_easy_cache_step_cancel(cache));
    assert_int_equal(shadow_open(cache, &b, 40), 8); /* a's computed page, not the three others */
    shadow_run_one(cache, &model, &b, 32, -1, NULL);
    shadow_run_one(cache, &model, &a, 25, -1, NULL);
    rapt_easy_cache_destroy(&cache);
    shadow_model_finish(&model);
}

static void bad_params(void **state)
{
    (void)state;
    float scales[4] = {1, 1, 1, 1};
    static const uint8_t layer_groups[] = {0, 1};
    for (int i = 0; i < 14; i++) {
        struct shadow_model model = small_model(RAPT_TYPE_F16, 8);
        rapt_status expected = RAPT_ERROR_ARGUMENT;
        rapt_easy_cache_params *params = &model.params;
        shadow_model_init(&model);
        switch (i) {
        case 0:
            params->n_layers = 0;
            break;
        case 1:
            params->n_groups = 0;
            break;
        case 2:
            params->n_groups = 17;
            break;
        case 3:
            params->groups = NULL;
            break;
        case 4:
            params->page_size = 24;
            break;
        case 5:
            params->n_q_heads = 5;
            break;
        case 6:
            params->layer_groups = layer_groups;
            break;
        case 7:
            params->k_scale = scales;
            break;
        case 8:
            params->q_type = RAPT_TYPE_INT8;
            break;
        case 9:
            model.groups[0].n_pages = 0;
            break;
        case 10:
            params->head_dim = 40, params->kv_type = RAPT_TYPE_Q8_0;
            break;
        case 11:
            params->struct_size = 0;
            break;
        case 12:
            params->max_range_bytes = 1024, expected = RAPT_ERROR_DEVICE_MEMORY;
            break;
        default:
            params->max_batch = 1u << 21;
            break;
        }
        rapt_easy_cache *cache = (rapt_easy_cache *)easy;
        rapt_status status = rapt_easy_cache_create(easy, params, &cache);
        if (status != expected)
            fprintf(stderr, "%d: status %d, %s\n", i, (int)status, rapt_last_error());
        assert_int_equal(status, expected);
        assert_null(cache);
        shadow_model_finish(&model);
    }
    rapt_easy_cache_destroy(NULL);
    assert_null(rapt_easy_cache_pager(NULL));
}

int main(void)
{
    int unopened = open_easy(NULL, &easy);
    if (unopened)
        return unopened;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps),
        cmocka_unit_test(forks),
        cmocka_unit_test(prefixes),
        cmocka_unit_test(windows),
        cmocka_unit_test(windows_beside_sinks),
        cmocka_unit_test(types),
        cmocka_unit_test(segments),
        cmocka_unit_test(refusals),
        cmocka_unit_test(cancelled),
        cmocka_unit_test(bad_params),
    };
    int failed = cmocka_run_group_tests_name("kv cache", tests, NULL, NULL);
    failed |= rapt_device_validation_messages(rapt_easy_device(easy)) != 0;
    rapt_easy_destroy(&easy);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
