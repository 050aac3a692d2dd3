/* SPDX-License-Identifier: Apache-2.0 */
#include "cli.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    int (*run)(int argc, char **argv); /* NULL = part of the language, not in this build yet */
    const char *help;
} commands[] = {
    {"info", info_main, "devices, what each can do, and the kernels it would run"},
    {"check", check_main, "every kernel on this device against the float64 reference"},
    {"attend", attend_main, "attention over arrays in files"},
    {"append", append_main, "new keys and values into a page pool in files"},
    {"merge", merge_main, "partial results over disjoint keys into one"},
#ifdef CLI_HAVE_BENCH
    {"bench", bench_main, "speed, beside the device's ceilings"},
#endif
    {"moba", moba_main, "attention to chunks of keys that gates choose on the device"},
    {"topk", topk_main, "attention to the keys that an indexer chooses on the device"},
    {"mask", mask_main, "what a mask leaves to compute, as counts and as a picture"},
    {"tune", tune_main, "the fastest tiles on this device, kept for plans to come"},
    {"demo", demo_main, "batches of real models, checked and timed, and a picture"},
    {"gmm", NULL, NULL},
};

static void print_help(void)
{
    printf("usage: rapt COMMAND [OPTIONS]     rapt COMMAND --help\n\n"
           "Attention on any Vulkan device.\n\n");
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        if (commands[i].run)
            printf("  %-8s %s\n", commands[i].name, commands[i].help);
    }
    printf("\nNot in this build yet:");
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        if (!commands[i].run)
            printf(" %s", commands[i].name);
    }
    printf(
        "\n\n  --help     this text\n"
        "  --version  the version\n\n"
        "Exit status: 0 done; 2 bad usage or input; 3 no usable device, or the path asked for is\n"
        "not available on it; 4 the device failed; 5 a check failed. Errors are one line on "
        "stderr.\n"
        "\n"
        "Environment: RAPT_DEVICE, RAPT_DISABLE, RAPT_CACHE_DIR, RAPT_VALIDATION, RAPT_LOG;\n"
        "`man rapt` tells what they do.\n");
}

int main(int argc, char **argv)
{
    if (argc < 2)
        return cli_fail(CLI_USAGE, "which command? rapt --help lists them");
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        print_help();
        return CLI_DONE;
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("rapt %s\n", rapt_version());
        return CLI_DONE;
    }
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        if (strcmp(argv[1], commands[i].name) != 0)
            continue;
        if (!commands[i].run)
            return cli_fail(CLI_USAGE, "%s is not in this build yet", commands[i].name);
        cli_set_command(commands[i].name);
        int code = commands[i].run(argc - 1, argv + 1);
        /* A full disk or a closed pipe must not look like success. */
        if (code == CLI_DONE && (fflush(stdout) != 0 || ferror(stdout)))
            return cli_fail(CLI_USAGE, "standard output cannot be written");
        return code;
    }
    return cli_fail(CLI_USAGE, "unknown command '%s' (rapt --help lists them)", argv[1]);
}
