/* SPDX-License-Identifier: Apache-2.0 */
/* `rapt merge`: partial results over disjoint keys, in files, combined on the device. */
#include "array.h"
#include "cli.h"
#include "device.h"
#include "options.h"
#include "output.h"

#include <rapt/easy.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_PARTS 64

enum {
    HEAD_FILES,
    PARTS,
    PARTS_LSE,
    SINKS,
    OUT,
    LSE,
    HEAD_DEVICE,
    DEVICE,
    PATH,
    DISABLE,
    HEAD_CHECK,
    CHECK,
    CHECK_LIMIT,
    N_OPTIONS
};

/* clang-format off */
static const struct option_spec specs[N_OPTIONS] = {
    [HEAD_FILES] = {"Files (FILE is .npy, or FILE:NAME of safetensors)", OPTION_HEADING},
    [PARTS] = {"--parts", OPTION_TEXT, "FILE,...", "normalised outputs of each part, f4 [rows,H,D] or [B,T,H,D]"},
    [PARTS_LSE] = {"--lse-parts", OPTION_TEXT, "FILE,...", "log-sum-exp of each part, in the same order, f4 [rows,H]; -inf: the part has no key for that row"},
    [SINKS] = {"--sinks", OPTION_TEXT, "FILE", "sink logits, f4 [H]: added once, here; the parts have none"},
    [OUT] = {"--out", OPTION_TEXT, "FILE", "writes the whole result, f4, shaped as a part"},
    [LSE] = {"--lse", OPTION_TEXT, "FILE", "writes its log-sum-exp"},
    [HEAD_DEVICE] = {"Device", OPTION_HEADING},
    [DEVICE] = {"--device", OPTION_TEXT, "N|NAME", "by number or part of a name (default: the best)"},
    [PATH] = {"--path", OPTION_TEXT, "PATH", "auto, or reference: float64 on the host, no device needed"},
    [DISABLE] = {"--disable", OPTION_TEXT, "NAMES", "device features not to use"},
    [HEAD_CHECK] = {"Checking", OPTION_HEADING},
    [CHECK] = {"--check", OPTION_FLAG, NULL, "compares with the float64 reference; exit 5 beyond the bound"},
    [CHECK_LIMIT] = {"--check-limit", OPTION_NUMBER, "E", "that bound: ||out - ref|| / ||ref|| (default 5e-6)"},
};
/* clang-format on */

static const char help_head[] =
    "usage: rapt merge --parts A.npy,B.npy --lse-parts LA.npy,LB.npy --out O.npy [OPTIONS]\n\n"
    "Combines partial results of attention over disjoint sets of keys exactly, as the last step "
    "of\n"
    "split keys, shared prefixes and context parallelism does.\n";

struct merge {
    struct option_value values[N_OPTIONS];
    struct array part; /* the first one read: its shape is the result's */
    uint32_t n_parts, n_heads, dim;
    uint64_t n_rows; /* tokens times heads */
    float *parts, *parts_lse, *out, *lse;
    struct array sinks;
    char device[600];
};

/* ---------------------------------------------------------------------------------------- input */

/* Appends the numbers of an array to `to`, which holds `used` of them already. */
static int append(const struct array *array, float **to, uint64_t used)
{
    float *grown = realloc(*to, (size_t)(used + array->n_elements + 1) * sizeof *grown);
    if (!grown)
        return cli_fail(CLI_DEVICE, "out of memory");
    *to = grown;
    memcpy(grown + used, array->data, (size_t)array->n_elements * sizeof *grown);
    return 0;
}

/* What every part must be shaped like. */
static int same_shape(const char *option, const char *place, const struct array *array,
                      const uint64_t *shape, uint32_t rank)
{
    char got[128];
    if (array->rank == rank && memcmp(array->shape, shape, rank * sizeof *shape) == 0)
        return 0;
    struct array wanted = {.rank = rank};
    char want[128];
    memcpy(wanted.shape, shape, rank * sizeof *shape);
    return cli_fail(CLI_USAGE, "%s %s: the shape is %s, expected %s", option, place,
                    array_shape_text(array, got, sizeof got),
                    array_shape_text(&wanted, want, sizeof want));
}

/* Reads FILE,FILE,..: all of one shape, which the first of the parts tells. */
static int read_list(struct merge *merge, int option, float **out_data, uint32_t *out_n)
{
    const char *name = specs[option].name, *at = merge->values[option].text;
    int lse = option == PARTS_LSE, code = 0;
    uint64_t used = 0;
    *out_n = 0;
    while (!code && at) {
        char place[1024];
        const char *comma = strchr(at, ',');
        size_t length = comma ? (size_t)(comma - at) : strlen(at);
        if (length == 0 || length >= sizeof place)
            return cli_fail(CLI_USAGE, "%s: '%s' is no list of files", name,
                            merge->values[option].text);
        memcpy(place, at, length);
        place[length] = 0;
        at = comma ? comma + 1 : NULL;
        if (*out_n == MAX_PARTS)
            return cli_fail(CLI_USAGE, "%s: more than %d parts", name, MAX_PARTS);
        struct array array;
        code = array_read(name, place, ARRAY_IS(ARRAY_F4), &array);
        if (code)
            return code;
        if (!lse && *out_n == 0) { /* the shape, without the data */
            merge->part = array;
            merge->part.data = NULL;
            if (array.rank < 3 || array.rank > 4)
                code = cli_fail(CLI_USAGE, "%s %s: expected [rows,H,D] or [B,T,H,D]", name, place);
        }
        if (!code)
            code = same_shape(name, place, &array, merge->part.shape,
                              merge->part.rank - (uint32_t)lse);
        if (!code)
            code = append(&array, out_data, used);
        used += array.n_elements;
        array_finish(&array);
        ++*out_n;
    }
    return code;
}

static int read_sinks(struct merge *merge)
{
    if (!merge->values[SINKS].given)
        return 0;
    const char *place = merge->values[SINKS].text;
    const uint64_t shape = merge->n_heads;
    int code = array_read("--sinks", place, ARRAY_IS(ARRAY_F4), &merge->sinks);
    return code ? code : same_shape("--sinks", place, &merge->sinks, &shape, 1);
}

static int read_files(struct merge *merge)
{
    uint32_t n_lse;
    int code = read_list(merge, PARTS, &merge->parts, &merge->n_parts);
    code = code ? code : read_list(merge, PARTS_LSE, &merge->parts_lse, &n_lse);
    if (code)
        return code;
    if (n_lse != merge->n_parts)
        return cli_fail(CLI_USAGE, "--parts names %u files, --lse-parts %u: they go together",
                        (unsigned)merge->n_parts, (unsigned)n_lse);
    const struct array *part = &merge->part;
    uint64_t dim = part->shape[part->rank - 1], n_heads = part->shape[part->rank - 2];
    if (dim == 0 || dim > 65536 || n_heads == 0 || part->n_elements > UINT32_MAX / merge->n_parts)
        return cli_fail(CLI_USAGE,
                        "--parts: %llu heads of %llu, %llu numbers in a part: expected 1 to 65536 "
                        "dims, at least a head, and below 2^32 numbers in all",
                        (unsigned long long)n_heads, (unsigned long long)dim,
                        (unsigned long long)part->n_elements);
    merge->dim = (uint32_t)dim;
    merge->n_heads = (uint32_t)n_heads;
    merge->n_rows = part->n_elements / dim;
    merge->out = calloc((size_t)part->n_elements + 1, sizeof *merge->out);
    merge->lse = calloc((size_t)merge->n_rows + 1, sizeof *merge->lse);
    if (!merge->out || !merge->lse)
        return cli_fail(CLI_DEVICE, "out of memory");
    return read_sinks(merge);
}

/* ------------------------------------------------------------------------------------------ run */

enum { B_PARTS, B_LSE_PARTS, B_SINKS, B_OUT, B_LSE, N_BUFFERS };

static rapt_status make_buffers(const struct merge *merge, rapt_easy *easy,
                                rapt_easy_buffer **buffers)
{
    const uint64_t n_out = merge->n_rows * merge->dim;
    const struct {
        const float *data;
        uint64_t n;
    } arrays[N_BUFFERS] = {
        [B_PARTS] = {merge->parts, n_out * merge->n_parts},
        [B_LSE_PARTS] = {merge->parts_lse, merge->n_rows * merge->n_parts},
        [B_SINKS] = {merge->sinks.data, merge->sinks.data ? merge->n_heads : 0},
        [B_OUT] = {NULL, n_out},
        [B_LSE] = {NULL, merge->n_rows},
    };
    rapt_status status = RAPT_OK;
    for (int i = 0; i < N_BUFFERS && !status; i++) {
        if (arrays[i].n == 0)
            continue;
        status = rapt_easy_buffer_create(easy, arrays[i].n * 4, "merge", 0, &buffers[i]);
        if (!status && arrays[i].data)
            status = rapt_easy_upload(easy, buffers[i], 0, arrays[i].data, arrays[i].n * 4);
    }
    return status;
}

static rapt_status record_and_wait(const struct merge *merge, rapt_easy *easy,
                                   rapt_easy_buffer *const *buffers)
{
    VkCommandBuffer commands;
    rapt_merger *merger = NULL;
    rapt_status status = rapt_merger_create(rapt_easy_device(easy), 1, &merger);
    if (!status)
        status = rapt_easy_begin(easy, &commands);
    if (!status) {
        const rapt_merge_params params = {
            .struct_size = sizeof params,
            .command_buffer = commands,
            .n_parts = merge->n_parts,
            .n_rows = (uint32_t)merge->n_rows,
            .n_q_heads = merge->n_heads,
            .head_dim_v = merge->dim,
            .parts = rapt_easy_buffer_range(buffers[B_PARTS]),
            .parts_lse = rapt_easy_buffer_range(buffers[B_LSE_PARTS]),
            .sinks = rapt_easy_buffer_range(buffers[B_SINKS]),
            .out = rapt_easy_buffer_range(buffers[B_OUT]),
            .lse = rapt_easy_buffer_range(buffers[B_LSE]),
        };
        status = rapt_merger_record(merger, &params);
    }
    if (!status)
        status = rapt_easy_submit_wait(easy, NULL);
    rapt_merger_destroy(&merger);
    return status;
}

static int run_device(struct merge *merge)
{
    rapt_easy *easy = NULL;
    rapt_easy_buffer *buffers[N_BUFFERS] = {NULL};
    int code = device_open(merge->values[DEVICE].text, merge->values[DISABLE].text, &easy);
    if (code)
        return code;
    device_text(rapt_device_caps(rapt_easy_device(easy)), merge->device, sizeof merge->device);
    rapt_status status = RAPT_OK;
    if (merge->n_rows) {
        status = make_buffers(merge, easy, buffers);
        if (!status)
            status = record_and_wait(merge, easy, buffers);
        if (!status)
            status = rapt_easy_download(easy, buffers[B_OUT], 0, merge->out,
                                        merge->n_rows * merge->dim * 4);
        if (!status)
            status = rapt_easy_download(easy, buffers[B_LSE], 0, merge->lse, merge->n_rows * 4);
    }
    code = status ? cli_fail_status(status, NULL) : 0;
    for (int i = 0; i < N_BUFFERS; i++)
        rapt_easy_buffer_destroy(&buffers[i]);
    return device_close(&easy, code);
}

static int run_reference(struct merge *merge, float *out, float *lse)
{
    rapt_status status =
        rapt_reference_merge(merge->n_parts, (uint32_t)merge->n_rows, merge->n_heads, merge->dim,
                             merge->parts, merge->parts_lse, merge->sinks.data, out, lse);
    return status ? cli_fail_status(status, NULL) : 0;
}

/* 0, or CLI_CHECK after the line that says so. Infinities must agree. */
static int check(struct merge *merge)
{
    uint64_t n_out = merge->n_rows * merge->dim;
    float *want = calloc((size_t)n_out + 1, sizeof *want);
    float *want_lse = calloc((size_t)merge->n_rows + 1, sizeof *want_lse);
    int code = want && want_lse ? run_reference(merge, want, want_lse)
                                : cli_fail(CLI_DEVICE, "out of memory");
    double difference = 0, norm = 0, lse_abs = 0;
    for (uint64_t i = 0; !code && i < n_out; i++) {
        difference += pow((double)merge->out[i] - (double)want[i], 2);
        norm += pow((double)want[i], 2);
    }
    for (uint64_t i = 0; !code && i < merge->n_rows; i++) {
        if (merge->lse[i] != want_lse[i])
            lse_abs = fmax(lse_abs, fabs((double)merge->lse[i] - (double)want_lse[i]));
        if (isnan(merge->lse[i]))
            lse_abs = INFINITY;
    }
    free(want);
    free(want_lse);
    if (code)
        return code;
    double e = sqrt(difference / (norm > 0 ? norm : 1));
    double bound = merge->values[CHECK_LIMIT].given ? merge->values[CHECK_LIMIT].number : 5e-6;
    int ok = e <= bound && lse_abs <= 2e-5; /* false where a NaN is */
    printf("check: error %.2e (bound %.2e), lse %.2e (bound 2.00e-05): %s\n", e, bound, lse_abs,
           ok ? "ok" : "FAILED");
    return ok ? 0
              : cli_fail(CLI_CHECK, "--check: the error %.2e (bound %.2e) is too large", e, bound);
}

/* --------------------------------------------------------------------------------------- output */

static int write_one(struct merge *merge, struct output *output, int option, const float *data,
                     uint32_t rank)
{
    if (!merge->values[option].given)
        return 0;
    FILE *file = output_open(output, specs[option].name, merge->values[option].text);
    return file ? output_close(output, file, array_write_npy(file, data, merge->part.shape, rank))
                : CLI_USAGE;
}

static int write_files(struct merge *merge)
{
    struct output output = {0};
    int code = write_one(merge, &output, OUT, merge->out, merge->part.rank);
    code = code ? code : write_one(merge, &output, LSE, merge->lse, merge->part.rank - 1);
    code = code ? code : output_commit(&output);
    output_finish(&output);
    return code;
}

static int check_options(const struct merge *merge, int *out_reference)
{
    static const char *const paths[] = {"auto", "reference", NULL};
    const struct option_value *values = merge->values;
    if (!values[PARTS].given || !values[PARTS_LSE].given)
        return cli_fail(CLI_USAGE, "%s is missing (--help lists the options)",
                        values[PARTS].given ? "--lse-parts" : "--parts");
    if (values[OUT].given && values[LSE].given && strcmp(values[OUT].text, values[LSE].text) == 0)
        return cli_fail(CLI_USAGE, "--out and --lse name the same file");
    if (values[CHECK_LIMIT].given && !values[CHECK].given)
        return cli_fail(CLI_USAGE, "--check-limit needs --check");
    if (values[CHECK_LIMIT].given && !(values[CHECK_LIMIT].number >= 0))
        return cli_fail(CLI_USAGE, "--check-limit: '%s' is below 0", values[CHECK_LIMIT].text);
    int path = values[PATH].given ? options_word("--path", values[PATH].text, paths) : 0;
    *out_reference = path == 1;
    return path < 0 ? CLI_USAGE : 0;
}

static int merge_files(struct merge *merge)
{
    int reference = 0;
    int code = check_options(merge, &reference);
    for (int i = OUT; i <= LSE && !code; i++) {
        if (merge->values[i].given)
            code = output_probe(specs[i].name, merge->values[i].text);
    }
    code = code ? code : read_files(merge);
    if (code)
        return code;
    snprintf(merge->device, sizeof merge->device, "host, float64");
    code = reference ? run_reference(merge, merge->out, merge->lse) : run_device(merge);
    if (code)
        return code;
    printf("%u parts of %llu rows, %u heads, head dim %u on %s\n", (unsigned)merge->n_parts,
           (unsigned long long)(merge->n_rows / merge->n_heads), (unsigned)merge->n_heads,
           (unsigned)merge->dim, merge->device);
    int checked = merge->values[CHECK].given ? check(merge) : 0;
    if (checked && checked != CLI_CHECK)
        return checked;
    code = write_files(merge);
    return code ? code : checked;
}

int merge_main(int argc, char **argv)
{
    struct merge *merge = calloc(1, sizeof *merge);
    if (!merge)
        return cli_fail(CLI_DEVICE, "out of memory");
    int code = options_parse(specs, N_OPTIONS, argc, argv, merge->values);
    if (code == OPTIONS_HELP) {
        options_help(help_head, specs, N_OPTIONS);
        code = CLI_DONE;
    } else if (!code) {
        code = merge_files(merge);
    }
    free(merge->parts);
    free(merge->parts_lse);
    free(merge->out);
    free(merge->lse);
    array_finish(&merge->sinks);
    free(merge);
    return code;
}
