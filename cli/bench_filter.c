/* SPDX-License-Identifier: Apache-2.0 */
/* The regular expressions of --filter: . * + ? ^ $ | ( ) [a-z] [^x] and \ before any of them; C has
 * none of its own on every system. An expression becomes a program whose threads go through the text
 * together (Thompson 1968), so no expression takes long. */
#include "bench.h"
#include "cli.h"

#include <string.h>

#define MAX_LENGTH 200

enum op { ATOM, BEGIN, END, SPLIT, JUMP, FOUND };

struct instruction {
    enum op op;
    const char *atom;
    size_t length;
    int to, or_to; /* from here: where JUMP and SPLIT go on */
};

struct program {
    const char *pattern, *at;
    struct instruction code[3 * MAX_LENGTH + 1];
    int n, depth;
    const char *wrong; /* a sentence for people, NULL = nothing is */
};

/* ------------------------------------------------------------------------------ from an expression */

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

static void insert(struct program *program, int at, struct instruction what)
{
    memmove(program->code + at + 1, program->code + at,
            (size_t)(program->n - at) * sizeof *program->code);
    program->code[at] = what;
    program->n++;
}

static void append(struct program *program, struct instruction what)
{
    insert(program, program->n, what);
}

static void compile_branches(struct program *program);

static void compile_one(struct program *program)
{
    const char *p = program->at;
    size_t length = atom_length(p);
    if (*p == '(') {
        program->at++;
        program->depth++;
        compile_branches(program);
        program->depth--;
        if (*program->at == ')')
            program->at++;
        else if (!program->wrong)
            program->wrong = "a '(' is not closed";
        return;
    }
    if (*p == '*' || *p == '+' || *p == '?')
        program->wrong = "there is nothing to repeat before a '*', '+' or '?'";
    else if (length == 0)
        program->wrong = *p == '[' ? "it ends within [...]" : "it ends within an escape";
    enum op op = *p == '^' ? BEGIN : *p == '$' ? END : ATOM;
    append(program, (struct instruction){.op = op, .atom = p, .length = length});
    program->at += length;
}

static void compile_repeat(struct program *program, int start)
{
    int length = program->n - start;
    char repeat = *program->at;
    int assertion = length == 1 && program->code[start].op != ATOM;
    if (repeat != '*' && repeat != '+' && repeat != '?')
        return;
    if (assertion || length == 0) /* '(^)*' and '()*' would be allowed elsewhere, and of no use */
        program->wrong = "there is nothing to repeat before a '*', '+' or '?'";
    program->at++;
    if (repeat == '+') {
        append(program, (struct instruction){.op = SPLIT, .to = -length, .or_to = 1});
        return;
    }
    int loops = repeat == '*';
    insert(program, start, (struct instruction){.op = SPLIT, .to = 1, .or_to = length + 1 + loops});
    if (loops)
        append(program, (struct instruction){.op = JUMP, .to = -length - 1});
}

/* Branches between '|' up to a ')' or the end. */
static void compile_branches(struct program *program)
{
    int start = program->n;
    while (!program->wrong && *program->at && *program->at != '|') {
        int one = program->n;
        if (*program->at == ')') {
            if (program->depth == 0)
                program->wrong = "a ')' closes nothing";
            return;
        }
        compile_one(program);
        compile_repeat(program, one);
    }
    if (program->wrong || *program->at != '|')
        return;
    program->at++;
    int length = program->n - start;
    insert(program, start, (struct instruction){.op = SPLIT, .to = 1, .or_to = length + 2});
    int jump = program->n;
    append(program, (struct instruction){.op = JUMP});
    compile_branches(program);
    program->code[jump].to = program->n - jump;
}

static void compile(struct program *program, const char *pattern)
{
    *program = (struct program){.pattern = pattern, .at = pattern};
    if (strlen(pattern) > MAX_LENGTH) {
        program->wrong = "it is longer than 200 characters";
        return;
    }
    compile_branches(program);
    append(program, (struct instruction){.op = FOUND});
}

/* ------------------------------------------------------------------------------------ through a text */

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
    if (*p == '[')
        return class_holds(p, length, c);
    if (*p == '\\')
        return p[1] == c;
    return *p == '.' || *p == c;
}

/* Adds the thread that goes on at `at`, and those it splits into before the next character. */
static void add(const struct program *program, int at, int begins, int ends, char *threads)
{
    const struct instruction *now = &program->code[at];
    if (threads[at])
        return;
    threads[at] = 1;
    if ((now->op == BEGIN && begins) || (now->op == END && ends))
        add(program, at + 1, begins, ends, threads);
    if (now->op == JUMP || now->op == SPLIT)
        add(program, at + now->to, begins, ends, threads);
    if (now->op == SPLIT)
        add(program, at + now->or_to, begins, ends, threads);
}

static int matches(const struct program *program, const char *text)
{
    char threads[3 * MAX_LENGTH + 1] = {0}, next[3 * MAX_LENGTH + 1];
    for (const char *c = text;; c++) {
        add(program, 0, c == text, !*c, threads);
        if (threads[program->n - 1])
            return 1;
        if (!*c)
            return 0;
        memset(next, 0, sizeof next);
        for (int i = 0; i < program->n; i++) {
            const struct instruction *now = &program->code[i];
            if (threads[i] && now->op == ATOM && atom_holds(now->atom, now->length, *c))
                add(program, i + 1, 0, !c[1], next);
        }
        memcpy(threads, next, sizeof threads);
    }
}

/* ----------------------------------------------------------------------------------------------- */

int bench_filter_check(const char *pattern)
{
    struct program program;
    compile(&program, pattern);
    if (program.wrong)
        return cli_fail(CLI_USAGE, "--filter '%s': %s", pattern, program.wrong);
    return 0;
}

int bench_filter_matches(const char *pattern, const char *text)
{
    struct program program;
    compile(&program, pattern);
    return matches(&program, text);
}
