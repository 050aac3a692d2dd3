/* SPDX-License-Identifier: Apache-2.0 */
/* `rapt demo`: batches at the geometry of real models, ragged and paged as a server would have
 * them, and a picture of attention weights. Everything is computed on the device and checked. */
#include "demo.h"
#include "canvas.h"
#include "case.h"
#include "cli.h"
#include "device.h"
#include "options.h"
#include "picture.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { DEMO_OUT, DEMO_DEVICE, DEMO_DISABLE, DEMO_NO_PICTURE, DEMO_N_OPTIONS };

/* clang-format off */
static const struct option_spec options[DEMO_N_OPTIONS] = {
    [DEMO_OUT] = {"--out", OPTION_TEXT, "FILE", "the picture (default attention.png)"},
    [DEMO_DEVICE] = {"--device", OPTION_TEXT, "N|NAME", "by number or part of a name (default: the best)"},
    [DEMO_DISABLE] = {"--disable", OPTION_TEXT, "NAMES", "device features not to use: f16,subgroup,.."},
    [DEMO_NO_PICTURE] = {"--no-picture", OPTION_FLAG, NULL, "the batches only"},
};
/* clang-format on */

/* Head geometries, softcap, window and sinks of the models' published configurations. A sliding
 * window of W tokens is causal & window(W-1, 0). */
static const struct demo_batch {
    struct case_spec spec;
    const char *what;
} batches[] = {
    {{.name = "Llama-3-8B",
      .n_q_heads = 32,
      .n_kv_heads = 8,
      .head_dim = 128,
      .q_type = RAPT_TYPE_F16,
      .kv_type = RAPT_TYPE_F16,
      .page_size = 16,
      .n_seqs = 6,
      .q_len = {384, 192, 1, 1, 4, 1},
      .kv_len = {384, 900, 2048, 777, 1500, 4096},
      .mask = "causal",
      .check_rows = 4000},
     "32 query / 8 KV heads of 128, f16, causal"},
    {{.name = "Gemma-2-9B, local layer",
      .n_q_heads = 16,
      .n_kv_heads = 8,
      .head_dim = 256,
      .q_type = RAPT_TYPE_BF16,
      .kv_type = RAPT_TYPE_BF16,
      .page_size = 32,
      .n_seqs = 4,
      .q_len = {96, 128, 1, 1},
      .kv_len = {4500, 128, 5000, 1200},
      .mask = "causal & window(4095, 0)",
      .scale = 0.0625f,
      .softcap = 50,
      .check_rows = 1200},
     "16 query / 8 KV heads of 256, bf16, softcap 50, sliding window 4096"},
    {{.name = "gpt-oss-20b, local layer",
      .n_q_heads = 64,
      .n_kv_heads = 8,
      .head_dim = 64,
      .q_type = RAPT_TYPE_BF16,
      .kv_type = RAPT_TYPE_BF16,
      .page_size = 64,
      .n_seqs = 5,
      .q_len = {500, 300, 1, 2, 1},
      .kv_len = {500, 2000, 4000, 130, 50},
      .mask = "causal & window(127, 0)",
      .flags = CASE_SINKS,
      .check_rows = 8000},
     "64 query / 8 KV heads of 64, bf16, sinks, sliding window 128"},
};
#define N_BATCHES (sizeof batches / sizeof *batches)

static void print_batch(const struct demo_batch *batch)
{
    const struct case_spec *spec = &batch->spec;
    printf("\n%s: %s, pages of %u\n  tokens/keys:", spec->name, batch->what, spec->page_size);
    for (uint32_t b = 0; b < spec->n_seqs; b++)
        printf(" %d/%d", spec->q_len[b], spec->kv_len[b]);
    printf("\n");
    fflush(stdout);
}

static int print_report(const struct case_spec *spec, const struct case_report *report)
{
    char run[32], plan[32], checked[48] = "all rows";
    if (report->status)
        return cli_fail(cli_exit_code(report->status), "%s: %s", spec->name, report->message);
    const rapt_error *error = &report->error;
    const rapt_plan_info *info = &report->info.plan;
    double gflops = (double)report->info.cost.flops / report->run_seconds * 1e-9;
    if (spec->check_rows)
        snprintf(checked, sizeof checked, "some %llu rows", (unsigned long long)spec->check_rows);
    printf("  %s, %.1f GFLOP/s; %u items, %u merges; kernels ready in %s: %s %s\n",
           cli_format_seconds(report->run_seconds, run, sizeof run), gflops,
           report->info.step.n_items, report->info.step.n_merges,
           cli_format_seconds(report->info.plan_seconds, plan, sizeof plan),
           info->prefill_kernel ? info->prefill_kernel : "",
           info->decode_kernel ? info->decode_kernel : "");
    printf("  error %.1e against float64 on %s (bound %.1e): %s\n", error->e, checked,
           error->bound_e, error->ok ? "ok" : "WRONG");
    fflush(stdout);
    return error->ok ? 0 : cli_fail(CLI_CHECK, "%s: the result is beyond its bound", spec->name);
}

static int run_batches(rapt_easy *easy)
{
    int code = 0;
    for (size_t i = 0; i < N_BATCHES && !code; i++) {
        struct case_data data;
        struct case_report report;
        print_batch(&batches[i]);
        code = case_make(&batches[i].spec, 2024 + i, &data);
        if (!code) {
            case_run(easy, &data, 3, &report);
            code = print_report(&batches[i].spec, &report);
        }
        case_finish(&data);
    }
    return code;
}

static int run_demo(const struct option_value *values)
{
    const char *path = values[DEMO_OUT].given ? values[DEMO_OUT].text : "attention.png";
    char text[600];
    rapt_easy *easy = NULL;
    double start = cli_seconds();
    int code = device_open(values[DEMO_DEVICE].text, values[DEMO_DISABLE].text, &easy);
    if (code)
        return code;
    device_text(rapt_device_caps(rapt_easy_device(easy)), text, sizeof text);
    printf("attention on %s\n", text);
    code = run_batches(easy);
    if (!code && !values[DEMO_NO_PICTURE].given) {
        if (canvas_available())
            code = demo_picture(easy, text, path);
        else
            printf("\nno %s: this build has no cairo (meson found none), so it draws no pictures\n",
                   path);
    }
    if (!code)
        printf("\nall of it in %.1f s\n", cli_seconds() - start);
    return device_close(&easy, code);
}

int demo_main(int argc, char **argv)
{
    struct option_value values[DEMO_N_OPTIONS];
    int code = options_parse(options, DEMO_N_OPTIONS, argc, argv, values);
    if (code == OPTIONS_HELP) {
        options_help(
            "usage: rapt demo [--out FILE] [OPTIONS]\n\n"
            "Computes ragged, paged batches at the head geometry of real models on the device,\n"
            "checks each against the float64 reference, and draws the attention weights of a\n"
            "text with repeated phrases.\n\n",
            options, DEMO_N_OPTIONS);
        return CLI_DONE;
    }
    if (!code && values[DEMO_OUT].given && values[DEMO_NO_PICTURE].given)
        code = cli_fail(CLI_USAGE, "--out and --no-picture exclude each other");
    return code ? code : run_demo(values);
}
