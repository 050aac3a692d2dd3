/* SPDX-License-Identifier: Apache-2.0 */
/* Feeds files to a fuzz target once each, so that its corpus is part of every test run, whatever
 * the compiler. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

int main(int argc, char **argv)
{
    static uint8_t data[1 << 16];
    if (argc < 2) {
        fprintf(stderr, "no corpus files\n");
        return EXIT_FAILURE;
    }
    for (int i = 1; i < argc; i++) {
        FILE *file = fopen(argv[i], "rb");
        if (!file) {
            perror(argv[i]);
            return EXIT_FAILURE;
        }
        size_t n_bytes = fread(data, 1, sizeof data, file);
        fclose(file);
        printf("%s\n", argv[i]);
        fflush(stdout);
        LLVMFuzzerTestOneInput(data, n_bytes);
    }
    printf("%d inputs\n", argc - 1);
    return EXIT_SUCCESS;
}
