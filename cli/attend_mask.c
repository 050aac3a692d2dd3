/* SPDX-License-Identifier: Apache-2.0 */
/* --mask and its shorthands, the arrays of its leaves, the masks of heads. */
#include "attend.h"

#include "cli.h"

#include <stdlib.h>
#include <string.h>

static const struct option_value *value_of(const struct attend *attend, enum attend_option option)
{
    return &attend->values[option];
}

/* --mask, --window and --causal as one expression. */
static int input_expression(struct attend *attend)
{
    const char *expression =
        value_of(attend, ATTEND_MASK)->given ? value_of(attend, ATTEND_MASK)->text : "";
    int causal = value_of(attend, ATTEND_CAUSAL)->given;
    char window[64] = "";
    if (value_of(attend, ATTEND_WINDOW)->given) {
        int32_t left, right;
        int code = options_pair("--window", value_of(attend, ATTEND_WINDOW)->text, &left, &right);
        if (code)
            return code;
        snprintf(window, sizeof window, "window(%d, %d)", left, right);
    }
    /* --mask is read alone first, so that columns in messages are the user's and its parentheses
     * cannot pair up with ours. */
    if (*expression) {
        int code = mask_parse("--mask", expression, &attend->mask);
        if (code)
            return code;
    }
    if (!*window && !causal)
        return 0;
    rapt_mask_destroy(&attend->mask);
    size_t bytes = strlen(expression) + sizeof window + 32;
    char *text = malloc(bytes);
    if (!text)
        return cli_fail(CLI_DEVICE, "out of memory");
    snprintf(text, bytes, "%s%s%s%s%s%s%s", *expression ? "(" : "", expression,
             *expression ? ")" : "", *expression && *window ? " & " : "", window,
             causal && (*window || *expression) ? " & " : "", causal ? "causal" : "");
    int code = mask_parse(*window ? "--window" : "--causal", text, &attend->mask);
    free(text);
    return code;
}

/* Of a ready pool only page tables say how many keys there are. */
static int count_keys(struct attend *attend)
{
    const rapt_problem *problem = &attend->problem;
    if (problem->cu_kv)
        return 0;
    attend->cu_kv = calloc((size_t)problem->n_seqs + 1, sizeof *attend->cu_kv);
    if (!attend->cu_kv)
        return cli_fail(CLI_DEVICE, "out of memory");
    for (uint32_t b = 0; b < problem->n_seqs; b++) {
        uint32_t n_pages = problem->page_indptr[b + 1] - problem->page_indptr[b];
        uint32_t n = n_pages ? (n_pages - 1) * problem->page_size + problem->last_page_len[b] : 0;
        if (n > (uint32_t)(INT32_MAX - attend->cu_kv[b]))
            return cli_fail(CLI_USAGE, "--last-page-len: more than 2147483647 keys");
        attend->cu_kv[b + 1] = attend->cu_kv[b] + (int32_t)n;
    }
    return 0;
}

int attend_mask_input(struct attend *attend)
{
    rapt_problem *problem = &attend->problem;
    int code = input_expression(attend);
    code = code ? code : count_keys(attend);
    if (code)
        return code;
    const struct mask_lengths lengths = {
        .n_seqs = problem->n_seqs,
        .n_q_heads = problem->n_q_heads,
        .cu_q = problem->cu_q,
        .cu_kv = problem->cu_kv ? problem->cu_kv : attend->cu_kv,
    };
    code = mask_read(attend_options + ATTEND_PREFIX, attend->values + ATTEND_PREFIX,
                     attend->arrays + ATTEND_PREFIX, &lengths, attend->mask, &attend->mask_input);
    problem->mask = attend->mask;
    problem->mask_heads = attend->mask_input.heads;
    problem->mask_data = &attend->mask_input.data;
    return code;
}
