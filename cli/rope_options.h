/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_ROPE_OPTIONS_H
#define CLI_ROPE_OPTIONS_H

/* The --rope family, for every subcommand that rotates. */

#include <rapt/rope.h>

#include "array.h"
#include "options.h"

/* The options in the order rope_check and rope_input count them; the tables of subcommands hold this
 * many entries in a row. */
enum rope_option {
    ROPE_PAIRING,
    ROPE_THETA,
    ROPE_DIM,
    ROPE_OFFSET,
    ROPE_SCALE,
    ROPE_FACTOR,
    ROPE_LLAMA3,
    ROPE_YARN,
    ROPE_TABLE,
    ROPE_N_OPTIONS
};

/* clang-format off */
#define ROPE_OPTION_SPECS(first)                                                                   \
    [(first) + ROPE_PAIRING] = {"--rope", OPTION_TEXT, "neox|gptj", "rotates Q, and K on its way into the cache (a ready pool holds rotated keys): pairs of halves, or of neighbours"}, \
    [(first) + ROPE_THETA] = {"--rope-theta", OPTION_NUMBER, "X", "dims 2i turn by X^(-2i/dim) per position (default 10000)"}, \
    [(first) + ROPE_DIM] = {"--rope-dim", OPTION_COUNT, "N", "dims that are rotated (default all from --rope-offset on)", 2, 576}, \
    [(first) + ROPE_OFFSET] = {"--rope-offset", OPTION_COUNT, "N", "the first of them (default 0)", 0, 575}, \
    [(first) + ROPE_SCALE] = {"--rope-scale", OPTION_TEXT, "FILE", "factors of the frequencies, f4 [dim/2]"}, \
    [(first) + ROPE_FACTOR] = {"--rope-factor", OPTION_NUMBER, "X", "attention factor: rotated dims are multiplied by it (default 1, or YaRN's)"}, \
    [(first) + ROPE_LLAMA3] = {"--rope-llama3", OPTION_TEXT, "F,LO,HI,CTX", "Llama 3's frequencies: factor, low and high frequency factor, original context (8,1,4,8192)"}, \
    [(first) + ROPE_YARN] = {"--rope-yarn", OPTION_TEXT, "F,CTX[,FAST,SLOW]", "YaRN's: factor, original context, beta_fast and beta_slow (default 32,1)"}, \
    [(first) + ROPE_TABLE] = {"--rope-table", OPTION_TEXT, "FILE", "cosines and sines instead of all that, f4 [positions, dim]: dim/2 cosines, then as many sines"}
/* clang-format on */

struct rope_input {
    rapt_rope rope;
    struct array scale, table;
    float *made_scale;
};

/* `specs` and `values` begin at --rope. 0 or CLI_USAGE. */
int rope_check(const struct option_spec *specs, const struct option_value *values);
/* Reads the files; *out_input is given back by rope_finish even after a failure. Does nothing without
 * --rope. 0 or an exit code. */
int rope_read(const struct option_spec *specs, const struct option_value *values, uint32_t head_dim,
              struct rope_input *out_input);
void rope_finish(struct rope_input *input);

#endif
