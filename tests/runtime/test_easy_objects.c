/* SPDX-License-Identifier: Apache-2.0 */
/* The easy tier's own things: environment, cache on disk, buffers, submissions, adopted and lost
 * devices, memory that runs out. */
#if !defined(_WIN32)
#define _POSIX_C_SOURCE 200809L /* mkdtemp, setenv */
#endif
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "easy_case.h"
#include "fail_alloc.h"
#include "open_easy.h"
#include "tier.h"

static char folder[64]; /* a cache folder of our own */
static char log_text[4096];

static void remember(void *user, rapt_log_level level, const char *line)
{
    (void)user, (void)level;
    size_t used = strlen(log_text);
    snprintf(log_text + used, sizeof log_text - used, "%s\n", line);
}

static rapt_easy_params quiet(void)
{
    log_text[0] = 0;
    return (rapt_easy_params){.struct_size = sizeof(rapt_easy_params),
                              .log = {.write = remember, .max_level = RAPT_LOG_DEBUG},
                              .cache_dir = ""};
}

static rapt_easy *make(const rapt_easy_params *params)
{
    rapt_easy *easy = NULL;
    if (rapt_easy_create(params, &easy) != RAPT_OK)
        fprintf(stderr, "%s\n", rapt_last_error());
    assert_non_null(easy);
    return easy;
}

static void environment(void **state)
{
    (void)state;
    rapt_easy *easy = NULL;
    setenv("RAPT_LOG", "loud", 1);
    assert_int_equal(rapt_easy_create(NULL, &easy), RAPT_ERROR_SYNTAX);
    assert_non_null(strstr(rapt_last_error(), "RAPT_LOG"));
    assert_null(easy);
    unsetenv("RAPT_LOG");
    rapt_easy_params params = quiet();
    setenv("RAPT_DEVICE", "no such device", 1);
    assert_int_equal(rapt_easy_create(&params, &easy), RAPT_ERROR_NO_DEVICE);
    params.ignore_environment = 1;
    easy = make(&params);
    rapt_easy_destroy(&easy);
    unsetenv("RAPT_DEVICE");

    char *kept = getenv("RAPT_DISABLE") ? strdup(getenv("RAPT_DISABLE")) : NULL;
    setenv("RAPT_DISABLE", "f16,teleport", 1);
    params = quiet();
    assert_int_equal(rapt_easy_create(&params, &easy), RAPT_ERROR_SYNTAX);
    assert_non_null(strstr(rapt_last_error(), "teleport"));
    setenv("RAPT_DISABLE", "f16,subgroup", 1);
    params.disable = RAPT_FEATURE_INT64;
    easy = make(&params);
    assert_int_equal(rapt_device_caps(rapt_easy_device(easy))->features &
                         (RAPT_FEATURE_F16 | RAPT_FEATURE_SUBGROUP | RAPT_FEATURE_INT64),
                     0);
    rapt_easy_destroy(&easy);
    if (kept)
        setenv("RAPT_DISABLE", kept, 1);
    else
        unsetenv("RAPT_DISABLE");
    free(kept);
}

static long file_bytes(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (!file)
        return -1;
    fseek(file, 0, SEEK_END);
    long n = ftell(file);
    fclose(file);
    return n;
}

static void cache(void **state)
{
    (void)state;
    char path[600], deeper[96];
    snprintf(deeper, sizeof deeper, "%s/a/b", folder);
    rapt_easy_params params = quiet();
    params.cache_dir = deeper;
    rapt_easy *easy = make(&params);
    assert_non_null(easy->cache_path);
    assert_true(strlen(easy->cache_path) < sizeof path);
    strcpy(path, easy->cache_path);
    struct easy_case c;
    assert_true(easy_case_make(1, "causal", &c));
    assert_int_equal(rapt_easy_attention(easy, &c.problem, NULL, &c.result), RAPT_OK);
    rapt_easy_destroy(&easy);
    long n = file_bytes(path);
    assert_true(n > 0);

    /* read back without complaint */
    params = quiet();
    params.cache_dir = deeper;
    easy = make(&params);
    assert_null(strstr(log_text, "ignored"));
    assert_int_equal(easy->cache_on_disk, n);
    rapt_easy_destroy(&easy);

    /* damaged: ignored with a line, and replaced by a good one */
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    fseek(file, n - 1, SEEK_SET);
    int last = fgetc(file);
    fseek(file, n - 1, SEEK_SET);
    fputc(last ^ 0x55, file);
    fclose(file);
    params = quiet();
    params.cache_dir = deeper;
    easy = make(&params);
    assert_non_null(strstr(log_text, "ignored"));
    assert_int_equal(rapt_easy_attention(easy, &c.problem, NULL, &c.result), RAPT_OK);
    rapt_easy_destroy(&easy);
    params = quiet();
    params.cache_dir = deeper;
    easy = make(&params);
    assert_null(strstr(log_text, "ignored"));
    rapt_easy_destroy(&easy);
    easy_case_finish(&c);
    remove(path);
    rmdir(deeper);
    snprintf(deeper, sizeof deeper, "%s/a", folder);
    rmdir(deeper);
    assert_int_equal(rmdir(folder), 0); /* no temporary file was left beside it */

    /* a folder that cannot be made is no error */
    params = quiet();
    params.cache_dir = "/dev/null/cache";
    easy = make(&params);
    rapt_easy_destroy(&easy);
    assert_non_null(strstr(log_text, "cannot be written"));
}

static void transfer(rapt_easy *easy, rapt_easy_buffer *buffer)
{
    enum { N = 9 << 20 }; /* more than two pieces of the staging buffer */
    uint8_t *data = malloc(N), *back = calloc(N, 1);
    assert_true(data && back);
    for (size_t i = 0; i < N; i++)
        data[i] = (uint8_t)(i * 31 >> 3);
    assert_int_equal(rapt_easy_upload(easy, buffer, 4, data, N), RAPT_OK);
    assert_int_equal(rapt_easy_download(easy, buffer, 4, back, N), RAPT_OK);
    assert_memory_equal(data, back, N);
    free(data);
    free(back);
}

static void buffers(void **state)
{
    (void)state;
    rapt_easy_params params = quiet();
    rapt_easy *easy = make(&params);
    rapt_easy_buffer *buffer = NULL;
    assert_int_equal(rapt_easy_buffer_create(easy, (9 << 20) + 20, "test", 0, &buffer), RAPT_OK);
    transfer(easy, buffer);
    void *mapped = buffer->mapped;
    buffer->mapped = NULL; /* as on a device whose memory the host does not see */
    transfer(easy, buffer);
    buffer->mapped = mapped;
    uint8_t byte = 0;
    assert_int_equal(rapt_easy_upload(easy, buffer, buffer->n_bytes, &byte, 1),
                     RAPT_ERROR_ARGUMENT);
    assert_int_equal(rapt_easy_download(easy, buffer, UINT64_MAX, &byte, 2), RAPT_ERROR_ARGUMENT);
    assert_int_equal(rapt_easy_upload(easy, buffer, buffer->n_bytes, NULL, 0), RAPT_OK);
    rapt_easy_buffer_destroy(&buffer);
    assert_null(buffer);
    assert_int_equal(rapt_easy_buffer_create(easy, (uint64_t)1 << 62, "huge", 0, &buffer),
                     RAPT_ERROR_DEVICE_MEMORY);
    assert_null(buffer);
    assert_int_equal(rapt_easy_buffer_create(easy, 0, "empty", 1, &buffer), RAPT_OK);
    assert_non_null(rapt_easy_buffer_mapped(buffer));
    assert_true(rapt_easy_buffer_range(buffer).size > 0);
    rapt_easy_buffer_destroy(&buffer);
    rapt_easy_destroy(&easy);
}

static void submissions(void **state)
{
    (void)state;
    rapt_easy_params params = quiet();
    rapt_easy *easy = make(&params);
    VkCommandBuffer commands = VK_NULL_HANDLE;
    rapt_easy_buffer *buffer = NULL;
    double seconds = -1;
    uint32_t word = 0;
    assert_int_equal(rapt_easy_submit_wait(easy, NULL), RAPT_ERROR_ARGUMENT);
    assert_int_equal(rapt_easy_buffer_create(easy, 64, "test", 0, &buffer), RAPT_OK);
    assert_int_equal(rapt_easy_begin(easy, &commands), RAPT_OK);
    assert_int_equal(rapt_easy_begin(easy, &commands), RAPT_OK); /* forgets the first */
    assert_int_equal(rapt_easy_upload(easy, buffer, 0, &word, 4), RAPT_ERROR_ARGUMENT);
    easy->vk.vkCmdFillBuffer(commands, rapt_easy_buffer_range(buffer).buffer, 0, 64, 0x01020304);
    assert_int_equal(rapt_easy_submit_wait(easy, &seconds), RAPT_OK);
    assert_true(seconds > 0 && seconds < 10);
    assert_int_equal(rapt_easy_download(easy, buffer, 60, &word, 4), RAPT_OK);
    assert_int_equal(word, 0x01020304);
    rapt_easy_buffer_destroy(&buffer);
    rapt_easy_destroy(&easy);
}

static void ceilings(void **state)
{
    (void)state;
    rapt_easy_params params = quiet();
    rapt_easy *easy = make(&params);
    rapt_ceilings measured = {.struct_size = sizeof measured};
    assert_int_equal(rapt_easy_measure_ceilings(easy, &measured), RAPT_OK);
    assert_true(measured.flops_per_second > 1e6 && measured.flops_per_second < 1e17);
    assert_true(measured.copy_bytes_per_second > 1e6 && measured.copy_bytes_per_second < 1e15);
    assert_true(measured.read_bytes_per_second > 1e6 && measured.read_bytes_per_second < 1e15);
    rapt_easy_destroy(&easy);
}

static void adopted(void **state)
{
    (void)state;
    rapt_device_params device_params = {.struct_size = sizeof device_params};
    rapt_device *device = NULL;
    assert_int_equal(rapt_device_create(&device_params, &device), RAPT_OK);
    rapt_easy_params params = quiet();
    params.adopt = device;
    params.disable = RAPT_FEATURE_F16;
    rapt_easy *easy = NULL;
    assert_int_equal(rapt_easy_create(&params, &easy), RAPT_ERROR_ARGUMENT);
    params.disable = 0;
    for (int i = 0; i < 2; i++) { /* the device survives the first easy object */
        easy = make(&params);
        assert_ptr_equal(rapt_easy_device(easy), device);
        rapt_easy_buffer *buffer = NULL;
        assert_int_equal(rapt_easy_buffer_create(easy, 16, "test", 0, &buffer), RAPT_OK);
        rapt_easy_buffer_destroy(&buffer);
        rapt_easy_destroy(&easy);
    }
    rapt_device_destroy(&device);
}

static void lost(void **state)
{
    (void)state;
    rapt_easy_params params = quiet();
    rapt_easy *easy = make(&params);
    struct easy_case c;
    VkCommandBuffer commands;
    rapt_easy_job *job = NULL;
    rapt_easy_buffer *buffer = NULL;
    rapt_ceilings measured = {.struct_size = sizeof measured};
    assert_true(easy_case_make(1, "causal", &c));
    assert_int_equal(rapt_easy_job_create(easy, &c.problem, NULL, &c.result, &job), RAPT_OK);
    assert_int_equal(rapt_easy_result(easy, VK_ERROR_DEVICE_LOST, "vkQueueSubmit"),
                     RAPT_ERROR_DEVICE_LOST);
    assert_int_equal(rapt_easy_job_run(job, NULL), RAPT_ERROR_DEVICE_LOST);
    assert_int_equal(rapt_easy_begin(easy, &commands), RAPT_ERROR_DEVICE_LOST);
    assert_int_equal(rapt_easy_buffer_create(easy, 16, "x", 0, &buffer), RAPT_ERROR_DEVICE_LOST);
    assert_int_equal(rapt_easy_measure_ceilings(easy, &measured), RAPT_ERROR_DEVICE_LOST);
    rapt_easy_job_destroy(&job);
    rapt_easy_destroy(&easy);
    easy_case_finish(&c);
}

/* Every allocation fails once, first to last: the call says so and leaves nothing behind. */
static void out_of_memory(void **state)
{
    (void)state;
    struct easy_case c;
    assert_true(easy_case_make(9, "causal", &c));
    c.problem.page_size = 8;
    for (long budget = 0;; budget++) {
        struct fail_alloc memory = {.budget = budget};
        rapt_allocator allocator = fail_allocator(&memory);
        rapt_easy_params params = quiet();
        params.allocator = &allocator;
        rapt_easy *easy = NULL;
        rapt_status status = rapt_easy_create(&params, &easy);
        if (status == RAPT_OK)
            status = rapt_easy_attention(easy, &c.problem, NULL, &c.result);
        rapt_easy_destroy(&easy);
        assert_int_equal(memory.n_alive, 0);
        if (status == RAPT_OK)
            break;
        assert_int_equal(status, RAPT_ERROR_HOST_MEMORY);
        assert_true(budget < 1000);
    }
    easy_case_finish(&c);
}

int main(void)
{
    /* Stays to the end: a driver that is unloaded and loaded again for every test keeps a little memory
     * each time, and leak checkers can then no longer tell whose it was. */
    static rapt_easy *first;
    rapt_easy_params params = quiet();
    int unopened = open_easy(&params, &first);
    if (unopened)
        return unopened;
    strcpy(folder, "easy-cache-XXXXXX"); /* where the test runs */
    if (!mkdtemp(folder)) {
        perror(folder);
        return EXIT_FAILURE;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(environment), cmocka_unit_test(cache),
        cmocka_unit_test(buffers),     cmocka_unit_test(submissions),
        cmocka_unit_test(ceilings),    cmocka_unit_test(adopted),
        cmocka_unit_test(lost),        cmocka_unit_test(out_of_memory),
    };
    int failed = cmocka_run_group_tests_name("easy objects", tests, NULL, NULL);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
