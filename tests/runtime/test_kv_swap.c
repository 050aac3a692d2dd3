/* SPDX-License-Identifier: Apache-2.0 */
/* Sequences that leave the K/V cache and come back: swapped to host memory, saved to a file and
 * restored in another process; memory that runs out on the way. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fail_alloc.h"
#include "kv_shadow.h"
#include "open_easy.h"

static rapt_easy *easy;
static const char *program, *file = "kv_swap_test.snapshot";

static const uint8_t layer_groups[] = {0, 1, 0};

/* A windowed and a full group; the windowed pool holds but one conversation. */
static struct shadow_model swap_model(rapt_type kv_type)
{
    return (struct shadow_model){
        .params = {.n_layers = 3,
                   .n_q_heads = 4,
                   .n_kv_heads = 2,
                   .head_dim = 32,
                   .page_size = 8,
                   .kv_type = kv_type,
                   .n_groups = 2,
                   .layer_groups = layer_groups,
                   .max_batch = 4,
                   .max_total_q = 128,
                   .model_key = 4242},
        .groups = {{.n_pages = 20, .window = 19}, {.n_pages = 24}},
    };
}

static rapt_easy_cache *create_cache(const struct shadow_model *model)
{
    rapt_easy_cache *cache = NULL;
    shadow_ok(rapt_easy_cache_create(easy, &model->params, &cache));
    return cache;
}

static const rapt_type kinds[] = {RAPT_TYPE_F16, RAPT_TYPE_INT8, RAPT_TYPE_Q8_0, RAPT_TYPE_INT4};
enum { N_KINDS = sizeof kinds / sizeof kinds[0], N_OUT = 4 * 32 };

/* A conversation of 50 tokens, and what its next token gives. */
static void talk(rapt_easy_cache *cache, const struct shadow_model *model, struct shadow_seq *seq,
                 float next[N_OUT])
{
    shadow_open(cache, seq, 0);
    shadow_run_one(cache, model, seq, 45, 100, NULL);
    for (int i = 0; i < 5; i++)
        shadow_run_one(cache, model, seq, 1, 500 + i, NULL);
    struct shadow_seq branch;
    shadow_fork(cache, seq, &branch);
    shadow_run_one(cache, model, &branch, 1, 900, next);
    shadow_close(cache, &branch);
    /* what the branch appended must not be found again */
    rapt_pager_drop_cache(rapt_easy_cache_pager(cache));
}

static void expect_next(rapt_easy_cache *cache, const struct shadow_model *model,
                        struct shadow_seq *seq, const float expected[N_OUT])
{
    float next[N_OUT];
    shadow_run_one(cache, model, seq, 1, 900, next);
    assert_memory_equal(next, expected, sizeof next);
}

/* Out, another conversation over all the pages, back: the same bits. */
static void swaps(void **state)
{
    (void)state;
    for (int i = 0; i < N_KINDS; i++) {
        struct shadow_model model = swap_model(kinds[i]);
        shadow_model_init(&model);
        rapt_easy_cache *cache = create_cache(&model);
        struct shadow_seq a = {0}, other = {0};
        float next[N_OUT];
        printf("%s\n", rapt_type_name(kinds[i]));
        talk(cache, &model, &a, next);
        uint32_t held[2] = {shadow_stats(cache, 0).n_used, shadow_stats(cache, 1).n_used};
        rapt_easy_image *image = NULL;
        shadow_ok(rapt_easy_cache_swap_out(cache, a.seq, &image));
        assert_int_equal(shadow_stats(cache, 0).n_used + shadow_stats(cache, 1).n_used, 0);
        rapt_easy_cache_info info = {.struct_size = sizeof info};
        rapt_easy_cache_get_info(cache, &info);
        assert_int_equal(info.transfer_bytes,
                         held[0] * info.page_bytes[0] + held[1] * info.page_bytes[1]);
        assert_true(rapt_easy_image_bytes(image) > info.transfer_bytes);
        rapt_seq_info gone = {.struct_size = sizeof gone};
        assert_int_equal(rapt_pager_seq_get_info(rapt_easy_cache_pager(cache), a.seq, &gone),
                         RAPT_ERROR_ARGUMENT);
        shadow_open(cache, &other, 0);
        shadow_run_one(cache, &model, &other, 100, 2000, NULL);
        shadow_run_one(cache, &model, &other, 80, 3000, NULL);
        /* no room as long as the other is there */
        rapt_pager_stats before = shadow_stats(cache, 1), after;
        assert_int_equal(rapt_easy_cache_swap_in(cache, &image, &a.seq), RAPT_ERROR_PAGES);
        assert_non_null(image);
        after = shadow_stats(cache, 1);
        assert_int_equal(after.n_used, before.n_used);
        shadow_close(cache, &other);
        shadow_ok(rapt_easy_cache_swap_in(cache, &image, &a.seq));
        assert_null(image);
        assert_true(shadow_stats(cache, 0).n_used <= held[0]); /* what the next token sees */
        assert_int_equal(shadow_stats(cache, 1).n_used, held[1]);
        expect_next(cache, &model, &a, next);
        shadow_run_one(cache, &model, &a, 40, 5000, NULL);
        rapt_easy_cache_destroy(&cache);
        shadow_model_finish(&model);
    }
}

/* Pages the prefix cache still has are not uploaded again. */
static void swap_finds_cached(void **state)
{
    (void)state;
    struct shadow_model model = swap_model(RAPT_TYPE_F16);
    shadow_model_init(&model);
    rapt_easy_cache *cache = create_cache(&model), *alike = create_cache(&model), *unlike;
    struct shadow_seq a = {0};
    float next[N_OUT];
    rapt_easy_image *image = NULL;
    rapt_easy_cache_info info = {.struct_size = sizeof info};
    talk(cache, &model, &a, next);
    shadow_ok(rapt_easy_cache_swap_out(cache, a.seq, &image));
    shadow_ok(rapt_easy_cache_swap_in(cache, &image, &a.seq));
    rapt_easy_cache_get_info(cache, &info);
    /* the partial page of either group is all that was gone */
    assert_int_equal(info.transfer_bytes, info.page_bytes[0] + info.page_bytes[1]);
    shadow_ok(rapt_easy_cache_swap_out(cache, a.seq, &image));
    /* another cache takes it as well, if it is alike */
    model.params.model_key++;
    unlike = create_cache(&model);
    assert_int_equal(rapt_easy_cache_swap_in(unlike, &image, &a.seq), RAPT_ERROR_SHAPE);
    assert_non_null(image);
    rapt_easy_cache_destroy(&unlike);
    shadow_ok(rapt_easy_cache_swap_in(alike, &image, &a.seq));
    expect_next(alike, &model, &a, next);
    rapt_easy_cache_destroy(&alike);
    rapt_easy_cache_destroy(&cache);
    rapt_easy_image_destroy(NULL);
    shadow_model_finish(&model);
}

/* ---------------------------------------------------------------------------------------- files */

static void write_number(const char *path, const void *data, size_t n_bytes)
{
    FILE *out = fopen(path, "wb");
    assert_non_null(out);
    assert_int_equal(fwrite(data, 1, n_bytes, out), n_bytes);
    fclose(out);
}

static int read_numbers(const char *path, void *data, size_t n_bytes)
{
    FILE *in = fopen(path, "rb");
    int ok = in && fread(data, 1, n_bytes, in) == n_bytes;
    if (in)
        fclose(in);
    return ok;
}

/* The other process: restores a fork of two from the file, lets both go on, writes what came. */
static int restore(int kind, const char *path, const char *answer)
{
    struct shadow_model model = swap_model(kinds[kind]);
    shadow_model_init(&model);
    rapt_easy_cache *cache = create_cache(&model);
    struct shadow_seq a = {0}, b = {0};
    rapt_seq seqs[2];
    uint32_t n = 0;
    int32_t tokens[SHADOW_MAX_TOKENS];
    float next[2][N_OUT];
    shadow_ok(rapt_easy_cache_load(cache, path, 2, seqs, &n));
    assert_int_equal(n, 2);
    for (int i = 0; i < 2; i++) {
        struct shadow_seq *seq = i ? &b : &a;
        seq->seq = seqs[i];
        shadow_ok(rapt_pager_seq_tokens(rapt_easy_cache_pager(cache), seqs[i], SHADOW_MAX_TOKENS,
                                        tokens, &seq->n));
        memcpy(seq->tokens, tokens, seq->n * sizeof *tokens);
        shadow_run_one(cache, &model, seq, 1, 900, next[i]);
    }
    /* the pages both have are one page again */
    assert_true(shadow_stats(cache, 1).n_shared >= 6);
    write_number(answer, next, sizeof next);
    rapt_easy_cache_destroy(&cache);
    shadow_model_finish(&model);
    return 0;
}

static void files(void **state)
{
    (void)state;
    for (int i = 0; i < N_KINDS; i++) {
        struct shadow_model model = swap_model(kinds[i]);
        shadow_model_init(&model);
        rapt_easy_cache *cache = create_cache(&model);
        struct shadow_seq a = {0}, b = {0};
        float next[2][N_OUT], answer[2][N_OUT];
        char command[1024], path[256];
        printf("%s\n", rapt_type_name(kinds[i]));
        fflush(stdout);
        talk(cache, &model, &a, next[0]);
        shadow_fork(cache, &a, &b);
        shadow_run_one(cache, &model, &b, 3, 700, NULL);
        rapt_seq seqs[] = {a.seq, b.seq};
        rapt_pager_stats before = shadow_stats(cache, 1), after;
        shadow_ok(rapt_easy_cache_save(cache, 2, seqs, file));
        after = shadow_stats(cache, 1);
        assert_memory_equal(&before, &after, sizeof after); /* they stay as they are */
        shadow_run_one(cache, &model, &b, 1, 900, next[1]);
        rapt_easy_cache_destroy(&cache);
        snprintf(path, sizeof path, "%s.answer", file);
        snprintf(command, sizeof command, "\"%s\" %d %s %s", program, i, file, path);
        assert_int_equal(system(command), 0);
        assert_true(read_numbers(path, answer, sizeof answer));
        assert_memory_equal(answer, next, sizeof next);
        remove(path);
        remove(file);
        shadow_model_finish(&model);
    }
}

/* Files that are not there, damaged, of another model, too large for the pools: refused with the
 * reason, and the cache goes on. */
static void bad_files(void **state)
{
    (void)state;
    struct shadow_model model = swap_model(RAPT_TYPE_F16);
    shadow_model_init(&model);
    rapt_easy_cache *cache = create_cache(&model);
    struct shadow_seq a = {0}, other = {0};
    rapt_seq seq = 0;
    float next[N_OUT];
    uint32_t n = 0;
    talk(cache, &model, &a, next);
    assert_int_equal(rapt_easy_cache_load(cache, file, 1, &seq, &n), RAPT_ERROR_IO);
    assert_int_equal(rapt_easy_cache_save(cache, 1, &a.seq, "no/such/folder/file"), RAPT_ERROR_IO);
    shadow_ok(rapt_easy_cache_save(cache, 1, &a.seq, file));
    assert_int_equal(rapt_easy_cache_load(cache, file, 0, NULL, &n), RAPT_ERROR_CAPACITY);
    assert_int_equal(n, 1);
    shadow_close(cache, &a);
    shadow_open(cache, &other, 0);
    shadow_run_one(cache, &model, &other, 100, 2000, NULL);
    shadow_run_one(cache, &model, &other, 80, 3000, NULL);
    rapt_pager_stats before = shadow_stats(cache, 0), after;
    assert_int_equal(rapt_easy_cache_load(cache, file, 1, &seq, &n), RAPT_ERROR_PAGES);
    after = shadow_stats(cache, 0);
    assert_int_equal(after.n_used, before.n_used);
    shadow_run_one(cache, &model, &other, 1, 4000, NULL);
    shadow_close(cache, &other);
    /* one byte of its last page */
    static uint8_t data[1 << 20];
    FILE *in = fopen(file, "rb");
    size_t n_bytes = fread(data, 1, sizeof data, in);
    fclose(in);
    assert_true(n_bytes > 1000 && n_bytes < sizeof data);
    data[n_bytes - 100] ^= 4;
    write_number(file, data, n_bytes);
    assert_int_equal(rapt_easy_cache_load(cache, file, 1, &seq, &n), RAPT_ERROR_ARGUMENT);
    assert_non_null(strstr(rapt_last_error(), "damaged"));
    assert_non_null(strstr(rapt_last_error(), file));
    data[n_bytes - 100] ^= 4;
    write_number(file, data, n_bytes);
    model.params.page_size = 16;
    rapt_easy_cache *unlike = create_cache(&model);
    assert_int_equal(rapt_easy_cache_load(unlike, file, 1, &seq, &n), RAPT_ERROR_SHAPE);
    assert_non_null(strstr(rapt_last_error(), "page_size"));
    rapt_easy_cache_destroy(&unlike);
    model.params.page_size = 8;
    shadow_ok(rapt_easy_cache_load(cache, file, 1, &a.seq, &n));
    expect_next(cache, &model, &a, next);
    rapt_easy_cache_destroy(&cache);
    remove(file);
    shadow_model_finish(&model);
}

/* --------------------------------------------------------------------------------- out of memory
 */

struct failing {
    struct shadow_model model;
    struct fail_alloc memory;
    rapt_easy_cache *cache;
    struct shadow_seq a;
    float next[N_OUT];
};

/* Runs `what` with ever more memory, until it works; each failure must leave everything in place.
 */
static void until_it_works(struct failing *f, const char *name,
                           rapt_status (*what)(struct failing *f))
{
    int n = 0;
    for (long budget = 0;; budget++) {
        long alive = f->memory.n_alive;
        rapt_pager_stats before[2] = {shadow_stats(f->cache, 0), shadow_stats(f->cache, 1)},
                         after[2];
        f->memory.budget = budget;
        rapt_status status = what(f);
        f->memory.budget = -1;
        if (status == RAPT_OK)
            break;
        assert_int_equal(status, RAPT_ERROR_HOST_MEMORY);
        after[0] = shadow_stats(f->cache, 0);
        after[1] = shadow_stats(f->cache, 1);
        for (int g = 0; g < 2; g++) {
            assert_int_equal(after[g].n_used, before[g].n_used);
            assert_int_equal(after[g].n_seqs, before[g].n_seqs);
        }
        assert_true(f->memory.n_alive <= alive + 64); /* an array may have grown */
        shadow_ok(rapt_pager_check(rapt_easy_cache_pager(f->cache)));
        n++;
    }
    printf("%s: failed %d times\n", name, n);
    assert_true(n > 0);
}

static rapt_easy_image *kept;

static rapt_status do_swap_out(struct failing *f)
{
    return rapt_easy_cache_swap_out(f->cache, f->a.seq, &kept);
}

static rapt_status do_swap_in(struct failing *f)
{
    return rapt_easy_cache_swap_in(f->cache, &kept, &f->a.seq);
}

static rapt_status do_save(struct failing *f)
{
    return rapt_easy_cache_save(f->cache, 1, &f->a.seq, file);
}

static rapt_status do_load(struct failing *f)
{
    uint32_t n;
    return rapt_easy_cache_load(f->cache, file, 1, &f->a.seq, &n);
}

static struct shadow_seq branches[2];

static rapt_status do_begin(struct failing *f)
{
    /* forks that will each need a copy of their partial page, and a page more */
    rapt_seq seqs[] = {branches[0].seq, branches[1].seq};
    const uint32_t n_new[] = {9, 9};
    return rapt_easy_cache_step_begin(f->cache, 2, seqs, n_new, NULL);
}

static void failures(void **state)
{
    (void)state;
    struct failing f = {.model = swap_model(RAPT_TYPE_F16), .memory = {.budget = -1}};
    rapt_allocator allocator = fail_allocator(&f.memory);
    rapt_easy_params params = {.struct_size = sizeof params, .allocator = &allocator};
    rapt_easy *outer = easy;
    easy = NULL;
    shadow_ok(rapt_easy_create(&params, &easy));
    shadow_model_init(&f.model);
    long before = f.memory.n_alive;
    for (long budget = 0; budget < 400; budget += 1 + budget / 6) {
        f.memory.budget = budget;
        rapt_status status = rapt_easy_cache_create(easy, &f.model.params, &f.cache);
        f.memory.budget = -1;
        if (status == RAPT_OK)
            break;
        assert_int_equal(status, RAPT_ERROR_HOST_MEMORY);
        assert_null(f.cache);
        assert_int_equal(f.memory.n_alive, before);
    }
    if (!f.cache)
        f.cache = create_cache(&f.model);
    talk(f.cache, &f.model, &f.a, f.next);
    until_it_works(&f, "swap out", do_swap_out);
    until_it_works(&f, "swap in", do_swap_in);
    until_it_works(&f, "save", do_save);
    shadow_close(f.cache, &f.a);
    rapt_pager_drop_cache(rapt_easy_cache_pager(f.cache));
    until_it_works(&f, "load", do_load);
    remove(file);
    shadow_fork(f.cache, &f.a, &branches[0]);
    shadow_fork(f.cache, &f.a, &branches[1]);
    until_it_works(&f, "step", do_begin);
    shadow_ok(rapt_easy_cache_step_cancel(f.cache));
    expect_next(f.cache, &f.model, &f.a, f.next);
    rapt_easy_cache_destroy(&f.cache);
    rapt_easy_destroy(&easy);
    assert_int_equal(f.memory.n_alive, 0);
    shadow_model_finish(&f.model);
    easy = outer;
}

int main(int argc, char **argv)
{
    int unopened = open_easy(NULL, &easy);
    if (unopened)
        return unopened;
    program = argv[0];
    if (argc == 4) {
        int failed = restore(atoi(argv[1]), argv[2], argv[3]);
        rapt_easy_destroy(&easy);
        return failed;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(swaps),     cmocka_unit_test(swap_finds_cached), cmocka_unit_test(files),
        cmocka_unit_test(bad_files), cmocka_unit_test(failures),
    };
    int failed = cmocka_run_group_tests_name("kv swap", tests, NULL, NULL);
    failed |= rapt_device_validation_messages(rapt_easy_device(easy)) != 0;
    rapt_easy_destroy(&easy);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
