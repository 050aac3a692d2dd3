/* SPDX-License-Identifier: Apache-2.0 */
/* The regular expressions of --filter: . * + ? ^ $ | [a-z] [^x] and \ before any of them; C has
 * none of its own on every system. */
#include "bench.h"
#include "cli.h"

#include <string.h>

/* Length of the one-character expression at p, 0 if it does not end. */
static size_t atom_length(const char *p)
{
    if (*p == '\\')
        return p[1] ? 2 : 0;
    if (*p != '[')
        return 1;
    size_t n = 1 + (p[1] == '^');
    if (p[n] == ']')
        n++;
    while (p[n] && p[n] != ']')
        n++;
    return p[n] ? n + 1 : 0;
}

static int class_holds(const char *p, size_t length, char c)
{
    size_t i = 1, end = length - 1;
    int negated = p[i] == '^', found = 0;
    i += (size_t)negated;
    while (i < end) {
        if (i + 2 < end && p[i + 1] == '-') {
            found |= c >= p[i] && c <= p[i + 2];
            i += 3;
        } else {
            found |= c == p[i++];
        }
    }
    return found != negated;
}

static int atom_holds(const char *p, size_t length, char c)
{
    if (c == 0)
        return 0;
    if (*p == '[')
        return class_holds(p, length, c);
    if (*p == '\\')
        return p[1] == c;
    return *p == '.' || *p == c;
}

/* Matches the branch [p, end) at the beginning of `text`. */
static int match_here(const char *p, const char *end, const char *text)
{
    if (p == end)
        return 1;
    if (*p == '$' && p + 1 == end)
        return *text == 0;
    size_t length = atom_length(p);
    const char *next = p + length;
    char repeat = next < end ? *next : 0;
    if (repeat != '*' && repeat != '+' && repeat != '?')
        return atom_holds(p, length, *text) && match_here(next, end, text + 1);
    size_t most = 0;
    while (atom_holds(p, length, text[most]) && (repeat != '?' || most == 0))
        most++;
    for (size_t least = repeat == '+';; most--) {
        if (most < least)
            return 0;
        if (match_here(next + 1, end, text + most))
            return 1;
        if (most == 0)
            return 0;
    }
}

static int match_branch(const char *p, const char *end, const char *text)
{
    if (p < end && *p == '^')
        return match_here(p + 1, end, text);
    for (;; text++) {
        if (match_here(p, end, text))
            return 1;
        if (!*text)
            return 0;
    }
}

/* End of the branch at p: the next '|' or the end of the pattern. */
static const char *branch_end(const char *p)
{
    while (*p && *p != '|')
        p += atom_length(p);
    return p;
}

int bench_filter_check(const char *pattern)
{
    int may_repeat = 0;
    for (const char *p = pattern; *p;) {
        size_t length = atom_length(p);
        int repeat = *p == '*' || *p == '+' || *p == '?';
        if (length == 0)
            return cli_fail(CLI_USAGE, "--filter '%s': it ends within %s", pattern,
                            *p == '[' ? "[...]" : "an escape");
        if (*p == '(' || *p == ')')
            return cli_fail(CLI_USAGE, "--filter '%s': there are no groups; write the branches out "
                                       "with |", pattern);
        if (repeat && !may_repeat)
            return cli_fail(CLI_USAGE, "--filter '%s': nothing to repeat before '%c'", pattern, *p);
        may_repeat = !repeat && *p != '|' && *p != '^';
        p += length;
    }
    return 0;
}

int bench_filter_matches(const char *pattern, const char *text)
{
    for (const char *p = pattern;;) {
        const char *end = branch_end(p);
        if (match_branch(p, end, text))
            return 1;
        if (!*end)
            return 0;
        p = end + 1;
    }
}
