/* SPDX-License-Identifier: Apache-2.0 */
/* The text form of masks. Precedence, tightest first: ! & |. */
#include "expr.h"

#include "error.h"

#include <string.h>

#define MAX_NODES 256
#define MAX_DEPTH 64

struct parser {
    const char *text, *at;
    rapt_mask_node nodes[MAX_NODES];
    size_t n_nodes;
    int depth;
    size_t column; /* of the failure */
};

static const struct leaf {
    const char *name;
    int n_args;
    rapt_mask_op op;
} leaves[] = {
    {"full", 0, RAPT_MASK_FULL},         {"causal", 0, RAPT_MASK_CAUSAL},
    {"window", 2, RAPT_MASK_WINDOW},     {"chunked", 1, RAPT_MASK_CHUNKED},
    {"prefix", 0, RAPT_MASK_PREFIX},     {"sink_tokens", 1, RAPT_MASK_SINK_TOKENS},
    {"segments", 0, RAPT_MASK_SEGMENTS}, {"bidirectional", 0, RAPT_MASK_BIDIRECTIONAL},
    {"dilated", 2, RAPT_MASK_DILATED},   {"bitmap", 0, RAPT_MASK_BITMAP},
    {"blocks", 0, RAPT_MASK_BLOCKS},     {"tree", 0, RAPT_MASK_TREE},
};

static void skip_space(struct parser *p)
{
    while (*p->at == ' ' || *p->at == '\t' || *p->at == '\n' || *p->at == '\r')
        p->at++;
}

static rapt_status fail_at(struct parser *p, const char *where, const char *what)
{
    p->column = (size_t)(where - p->text) + 1;
    return rapt_fail(RAPT_ERROR_SYNTAX, "mask, column %zu: %s", p->column, what);
}

static rapt_status push(struct parser *p, rapt_mask_op op, int32_t a, int32_t b)
{
    if (p->n_nodes == MAX_NODES)
        return fail_at(p, p->at, "the expression is too long");
    p->nodes[p->n_nodes++] = (rapt_mask_node){op, a, b};
    return RAPT_OK;
}

static int is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

static rapt_status parse_number(struct parser *p, int32_t *out_number)
{
    skip_space(p);
    const char *start = p->at;
    int negative = *p->at == '-';
    int64_t value = 0;
    p->at += negative;
    if (*p->at < '0' || *p->at > '9')
        return fail_at(p, start, "expected a whole number");
    for (; *p->at >= '0' && *p->at <= '9'; p->at++) {
        value = value * 10 + (*p->at - '0');
        if (value > INT32_MAX)
            return fail_at(p, start, "the number is larger than 2147483647");
    }
    *out_number = (int32_t)(negative ? -value : value);
    return RAPT_OK;
}

/* "(a, b)" with exactly n numbers. */
static rapt_status parse_arguments(struct parser *p, const struct leaf *leaf, int32_t args[2])
{
    skip_space(p);
    if (*p->at != '(')
        return fail_at(p, p->at,
                       leaf->n_args == 1 ? "expected (number)" : "expected (number, number)");
    p->at++;
    for (int i = 0; i < leaf->n_args; i++) {
        rapt_status status = parse_number(p, &args[i]);
        if (status != RAPT_OK)
            return status;
        skip_space(p);
        char want = i + 1 < leaf->n_args ? ',' : ')';
        if (*p->at != want)
            return fail_at(p, p->at, want == ',' ? "expected ," : "expected )");
        p->at++;
    }
    return RAPT_OK;
}

static rapt_status parse_leaf(struct parser *p)
{
    const char *start = p->at;
    size_t length = 0;
    while (is_word(start[length]))
        length++;
    if (length == 0)
        return fail_at(p, start,
                       *start ? "expected a mask, such as causal or window(1023, 0)"
                              : "the expression ends where a mask was expected");
    for (size_t i = 0; i < sizeof leaves / sizeof leaves[0]; i++) {
        const struct leaf *leaf = &leaves[i];
        if (strlen(leaf->name) != length || memcmp(leaf->name, start, length) != 0)
            continue;
        p->at += length;
        int32_t args[2] = {0, 0};
        if (leaf->n_args > 0) {
            rapt_status status = parse_arguments(p, leaf, args);
            if (status != RAPT_OK)
                return status;
        }
        const rapt_mask_node node = {leaf->op, args[0], args[1]};
        rapt_status status = rapt_mask_check_leaf(&node);
        if (status != RAPT_OK) {
            p->column = (size_t)(start - p->text) + 1;
            return status;
        }
        return push(p, node.op, node.a, node.b);
    }
    p->column = (size_t)(start - p->text) + 1;
    return rapt_fail(RAPT_ERROR_SYNTAX, "mask, column %zu: there is no mask called %.*s", p->column,
                     length > 40 ? 40 : (int)length, start);
}

static rapt_status parse_or(struct parser *p);

static rapt_status parse_primary(struct parser *p)
{
    if (*p->at != '(')
        return parse_leaf(p);
    if (++p->depth > MAX_DEPTH)
        return fail_at(p, p->at, "parentheses are nested too deep");
    p->at++;
    rapt_status status = parse_or(p);
    if (status != RAPT_OK)
        return status;
    skip_space(p);
    if (*p->at != ')')
        return fail_at(p, p->at, "expected )");
    p->at++;
    p->depth--;
    return RAPT_OK;
}

/* Any number of ! cancel in pairs. */
static rapt_status parse_not(struct parser *p)
{
    int negated = 0;
    for (skip_space(p); *p->at == '!'; skip_space(p)) {
        p->at++;
        negated ^= 1;
    }
    rapt_status status = parse_primary(p);
    return status == RAPT_OK && negated ? push(p, RAPT_MASK_NOT, 0, 0) : status;
}

static rapt_status parse_and(struct parser *p)
{
    rapt_status status = parse_not(p);
    while (status == RAPT_OK) {
        skip_space(p);
        if (*p->at != '&')
            break;
        p->at++;
        status = parse_not(p);
        if (status == RAPT_OK)
            status = push(p, RAPT_MASK_AND, 0, 0);
    }
    return status;
}

static rapt_status parse_or(struct parser *p)
{
    rapt_status status = parse_and(p);
    while (status == RAPT_OK) {
        skip_space(p);
        if (*p->at != '|')
            break;
        p->at++;
        status = parse_and(p);
        if (status == RAPT_OK)
            status = push(p, RAPT_MASK_OR, 0, 0);
    }
    return status;
}

rapt_status rapt_mask_parse(const rapt_allocator *allocator, const char *text, size_t *out_column,
                            rapt_mask **out_mask)
{
    if (!out_mask || !text)
        return rapt_fail(RAPT_ERROR_ARGUMENT, "%s is NULL", text ? "out_mask" : "text");
    *out_mask = NULL;
    struct parser p = {.text = text, .at = text};
    rapt_status status = parse_or(&p);
    if (status == RAPT_OK) {
        skip_space(&p);
        if (*p.at)
            status = fail_at(&p, p.at, "expected &, | or the end");
    }
    if (status == RAPT_OK) {
        p.column = 1;
        status = rapt_mask_create(allocator, p.nodes, p.n_nodes, out_mask);
    }
    if (out_column)
        *out_column = status == RAPT_OK ? 0 : p.column;
    return status;
}
