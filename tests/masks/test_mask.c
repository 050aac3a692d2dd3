/* SPDX-License-Identifier: Apache-2.0 */
/* Mask expressions: text form, checks of nodes, and the closed form against the definition. */
#include <rapt/mask.h>

#include "batch.h"
#include "fail_alloc.h"
#include "lower.h"
#include "random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define POSITION_END (1 << 30)

static rapt_mask *parsed(const char *text)
{
    rapt_mask *mask = NULL;
    size_t column = 99;
    if (rapt_mask_parse(NULL, text, &column, &mask) != RAPT_OK)
        fail_msg("%s: %s", text, rapt_last_error());
    assert_non_null(mask);
    assert_int_equal(column, 0);
    return mask;
}

static void check_interval(const char *text, int32_t pos, int32_t prefix, int32_t lo, int32_t hi)
{
    rapt_mask *mask = parsed(text);
    int32_t got_lo, got_hi;
    rapt_mask_interval(mask, pos, prefix, &got_lo, &got_hi);
    if (got_lo != lo || got_hi != hi)
        fail_msg("%s at %d sees [%d, %d], not [%d, %d]", text, pos, got_lo, got_hi, lo, hi);
    rapt_mask_destroy(&mask);
    assert_null(mask);
}

static void leaves_are_intervals(void **state)
{
    (void)state;
    check_interval("full", 5, 0, INT32_MIN, INT32_MAX);
    check_interval("causal", 5, 0, INT32_MIN, 5);
    check_interval("causal", -5, 0, INT32_MIN, -5);
    check_interval("window(3, 2)", 5, 0, 2, 7);
    check_interval("window(-1,2)", 5, 0, INT32_MIN, 7);
    check_interval("window(3,-1)", 5, 0, 2, INT32_MAX);
    check_interval("window(0,0)", 5, 0, 5, 5);
    check_interval("window(-1,-1)", 5, 0, INT32_MIN, INT32_MAX);
    check_interval("chunked(4)", 5, 0, 4, 7);
    check_interval("chunked(4)", -1, 0, -4, -1);
    check_interval("chunked(4)", -4, 0, -4, -1);
    check_interval("chunked(4)", -5, 0, -8, -5);
    check_interval("chunked(1)", 9, 0, 9, 9);
    check_interval("prefix", 5, 3, INT32_MIN, 2);
    check_interval("sink_tokens(4)", 100, 0, INT32_MIN, 3);
    check_interval("sink_tokens(0)", 100, 0, INT32_MIN, -1);
    check_interval("causal & window(1023, 0)", 5000, 0, 3977, 5000);
    check_interval("causal & chunked(8192)", 9000, 0, 8192, 9000);
    check_interval("causal & window(2,0) & sink_tokens(3)", 3, 0, 1, 2);
    check_interval("chunked(8) & chunked(4)", 13, 0, 12, 15);
    int32_t lo, hi;
    rapt_mask_interval(NULL, 7, 0, &lo, &hi);
    assert_true(lo == INT32_MIN && hi == INT32_MAX);
    assert_true(rapt_mask_allows(NULL, 0, 1000, 0));
}

static void empty_intervals_are_empty(void **state)
{
    (void)state;
    rapt_mask *mask = parsed("window(2,2) & sink_tokens(4)");
    int32_t lo, hi;
    rapt_mask_interval(mask, 100, 0, &lo, &hi);
    assert_true(lo > hi);
    rapt_mask_destroy(&mask);
}

static void text_is_forgiving_of_space_and_parentheses(void **state)
{
    (void)state;
    rapt_mask *want = parsed("causal & window(7, 0) & sink_tokens(4)");
    const char *const same[] = {
        "causal&window(7,0)&sink_tokens(4)",
        "  (causal) & ( ( window ( 7 , 0 ) ) )\n\t& sink_tokens( 4 )  ",
        "sink_tokens(4) & (window(7,0) & causal)",
        "full & causal & window(7,-1) & sink_tokens(5) & sink_tokens(4)",
    };
    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++) {
        rapt_mask *mask = parsed(same[i]);
        assert_true(rapt_mask_equal(mask, want));
        assert_int_equal(rapt_mask_hash(mask), rapt_mask_hash(want));
        rapt_mask_destroy(&mask);
    }
    rapt_mask_destroy(&want);
}

static void check_refused(const char *text, rapt_status status, size_t column, const char *part)
{
    rapt_mask *mask = (rapt_mask *)&mask;
    size_t got_column = 99;
    rapt_status got = rapt_mask_parse(NULL, text, &got_column, &mask);
    if (got != status || got_column != column || mask || !strstr(rapt_last_error(), part))
        fail_msg("'%s': status %d, column %zu, \"%s\"; expected %d, %zu, ...%s...", text, got,
                 got_column, rapt_last_error(), status, column, part);
    assert_int_equal(rapt_mask_parse(NULL, text, NULL, &mask), status);
}

static void syntax_errors_say_the_column(void **state)
{
    (void)state;
    check_refused("", RAPT_ERROR_SYNTAX, 1, "ends where a mask was expected");
    check_refused("   ", RAPT_ERROR_SYNTAX, 4, "column 4");
    check_refused("causal &", RAPT_ERROR_SYNTAX, 9, "column 9");
    check_refused("causal causal", RAPT_ERROR_SYNTAX, 8, "expected &, | or the end");
    check_refused("casual", RAPT_ERROR_SYNTAX, 1, "there is no mask called casual");
    check_refused("full & Causal", RAPT_ERROR_SYNTAX, 8, "there is no mask called Causal");
    check_refused("(causal", RAPT_ERROR_SYNTAX, 8, "expected )");
    check_refused("causal)", RAPT_ERROR_SYNTAX, 7, "expected &");
    check_refused("()", RAPT_ERROR_SYNTAX, 2, "expected a mask");
    check_refused("window", RAPT_ERROR_SYNTAX, 7, "expected (number, number)");
    check_refused("window(3)", RAPT_ERROR_SYNTAX, 9, "expected ,");
    check_refused("window(3,)", RAPT_ERROR_SYNTAX, 10, "whole number");
    check_refused("window(3,4", RAPT_ERROR_SYNTAX, 11, "expected )");
    check_refused("window(3,4,5)", RAPT_ERROR_SYNTAX, 11, "expected )");
    check_refused("window(1.5,0)", RAPT_ERROR_SYNTAX, 9, "expected ,");
    check_refused("chunked(- 1)", RAPT_ERROR_SYNTAX, 9, "whole number");
    check_refused("chunked(2147483648)", RAPT_ERROR_SYNTAX, 9, "2147483647");
    check_refused("sink_tokens(99999999999999999999)", RAPT_ERROR_SYNTAX, 13, "2147483647");
    check_refused("causal & \xc3\xa9", RAPT_ERROR_SYNTAX, 10, "expected a mask");
    check_refused("causal && full", RAPT_ERROR_SYNTAX, 9, "expected a mask");
}

static void operators_and_leaves_want_their_operands(void **state)
{
    (void)state;
    check_refused("!", RAPT_ERROR_SYNTAX, 2, "ends where a mask was expected");
    check_refused("causal | ", RAPT_ERROR_SYNTAX, 10, "ends where a mask was expected");
    check_refused("causal | | prefix", RAPT_ERROR_SYNTAX, 10, "expected a mask");
    check_refused("causal ! prefix", RAPT_ERROR_SYNTAX, 8, "expected &, | or the end");
    check_refused("causal & (! | full)", RAPT_ERROR_SYNTAX, 13, "expected a mask");
    check_refused("blocks(64, 64)", RAPT_ERROR_SYNTAX, 7, "expected &, | or the end");
    check_refused("dilated(4)", RAPT_ERROR_SYNTAX, 10, "expected ,");
    check_refused("tree | trees", RAPT_ERROR_SYNTAX, 8, "there is no mask called trees");
}

static void impossible_numbers_are_named(void **state)
{
    (void)state;
    check_refused("window(-2, 0)", RAPT_ERROR_ARGUMENT, 1, "window(-2, 0)");
    check_refused("window(0, -7)", RAPT_ERROR_ARGUMENT, 1, "window(0, -7)");
    check_refused("chunked(0)", RAPT_ERROR_ARGUMENT, 1, "chunked(0)");
    check_refused("chunked(-4)", RAPT_ERROR_ARGUMENT, 1, "chunked(-4)");
    check_refused("sink_tokens(-1)", RAPT_ERROR_ARGUMENT, 1, "sink_tokens(-1)");
    check_refused("dilated(0, 2)", RAPT_ERROR_ARGUMENT, 1, "dilated(0, 2)");
    check_refused("causal | !(dilated(2, 0))", RAPT_ERROR_ARGUMENT, 12, "dilated(2, 0)");
}

static void deep_and_long_expressions_end_in_an_error(void **state)
{
    (void)state;
    static char text[20000];
    memset(text, '(', 10000);
    text[10000] = 0;
    check_refused(text, RAPT_ERROR_SYNTAX, 65, "nested too deep");
    size_t at = 0;
    while (at + 10 < sizeof text)
        at += (size_t)snprintf(text + at, sizeof text - at, "%s", at ? "&full" : "full");
    rapt_mask *mask;
    assert_int_equal(rapt_mask_parse(NULL, text, NULL, &mask), RAPT_ERROR_SYNTAX);
    assert_non_null(strstr(rapt_last_error(), "too long"));
    /* Closed parentheses do not count towards the depth. */
    at = 0;
    for (int i = 0; i < 100; i++)
        at += (size_t)snprintf(text + at, sizeof text - at, "%s", i ? "&(full)" : "(full)");
    mask = parsed(text);
    rapt_mask_destroy(&mask);
    /* Nor do any number of negations. */
    memset(text, '!', 10001);
    strcpy(text + 10001, "causal");
    mask = parsed(text);
    assert_false(rapt_mask_allows(mask, 5, 5, 0));
    assert_true(rapt_mask_allows(mask, 5, 6, 0));
    rapt_mask_destroy(&mask);
}

/* & and | in turn, as deep as nodes can say it: a limit, not a stack that overflows. */
static void nodes_nest_to_a_limit(void **state)
{
    (void)state;
    static rapt_mask_node nodes[4096];
    for (int levels = 255; levels < 2000; levels += 1 + (levels > 257) * 500) {
        size_t n = 0;
        nodes[n++] = (rapt_mask_node){RAPT_MASK_WINDOW, 3, 4};
        for (int i = 0; i < levels; i++) {
            nodes[n++] = (rapt_mask_node){RAPT_MASK_DILATED, 2 + i, 2};
            nodes[n++].op = i % 2 ? RAPT_MASK_AND : RAPT_MASK_OR;
        }
        rapt_mask *mask;
        rapt_status status = rapt_mask_create(NULL, nodes, n, &mask);
        assert_int_equal(status, levels <= 256 ? RAPT_OK : RAPT_ERROR_ARGUMENT);
        if (status != RAPT_OK)
            assert_non_null(strstr(rapt_last_error(), "deeper than 256"));
        rapt_mask_destroy(&mask);
        for (size_t i = 0; i < n; i++)
            nodes[i].op = nodes[i].op == RAPT_MASK_AND ? RAPT_MASK_OR : nodes[i].op;
        assert_int_equal(rapt_mask_create(NULL, nodes, n, &mask), RAPT_OK);
        rapt_mask_destroy(&mask);
    }
}

static void nodes_must_be_one_expression(void **state)
{
    (void)state;
    const rapt_mask_node causal = {RAPT_MASK_CAUSAL, 0, 0}, and = {RAPT_MASK_AND, 0, 0};
    const struct {
        rapt_mask_node nodes[3];
        size_t n;
    } bad[] = {
        {{causal, causal}, 2},
        {{and}, 1},
        {{causal, and}, 2},
        {{causal, and, causal}, 3},
        {{causal, {0}}, 2},
        {{{(rapt_mask_op)99, 0, 0}}, 1},
        {{causal}, 0},
        {{{RAPT_MASK_NOT, 0, 0}, causal}, 2},
        {{{RAPT_MASK_OR, 0, 0}}, 1},
        {{causal, {RAPT_MASK_OR, 0, 0}}, 2},
    };
    rapt_mask *mask;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        mask = (rapt_mask *)&mask;
        assert_int_equal(rapt_mask_create(NULL, bad[i].nodes, bad[i].n, &mask),
                         RAPT_ERROR_ARGUMENT);
        assert_null(mask);
    }
    assert_int_equal(rapt_mask_create(NULL, NULL, 1, &mask), RAPT_ERROR_ARGUMENT);
    assert_int_equal(rapt_mask_create(NULL, &causal, 1, NULL), RAPT_ERROR_ARGUMENT);
    assert_int_equal(rapt_mask_create(NULL, &causal, SIZE_MAX, &mask), RAPT_ERROR_ARGUMENT);
    assert_int_equal(rapt_mask_parse(NULL, NULL, NULL, &mask), RAPT_ERROR_ARGUMENT);
    rapt_mask_destroy(NULL);
}

static void equality_is_of_what_is_meant(void **state)
{
    (void)state;
    const struct {
        const char *a, *b;
        int equal;
    } pairs[] = {
        {"causal & full", "causal", 1},
        {"causal & causal", "causal", 1},
        {"window(-1, 0)", "causal", 1},
        {"window(5, 0)", "window(5, 3) & causal", 1},
        {"chunked(8) & chunked(4)", "chunked(4)", 1},
        {"sink_tokens(9) & sink_tokens(4)", "sink_tokens(4)", 1},
        {"causal", "full", 0},
        {"window(5, 0)", "window(6, 0)", 0},
        {"prefix", "full", 0},
        {"prefix", "sink_tokens(4)", 0},
        {"chunked(4)", "chunked(8)", 0},
        {"window(4, 0)", "window(0, 4)", 0},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        rapt_mask *a = parsed(pairs[i].a), *b = parsed(pairs[i].b);
        if (rapt_mask_equal(a, b) != pairs[i].equal)
            fail_msg("%s and %s", pairs[i].a, pairs[i].b);
        assert_int_equal(rapt_mask_hash(a) == rapt_mask_hash(b), pairs[i].equal);
        rapt_mask_destroy(&a);
        rapt_mask_destroy(&b);
    }
    rapt_mask *full = parsed("full"), *causal = parsed("causal");
    assert_true(rapt_mask_equal(NULL, full) && rapt_mask_equal(NULL, NULL));
    assert_false(rapt_mask_equal(NULL, causal));
    assert_int_equal(rapt_mask_hash(NULL), rapt_mask_hash(full));
    rapt_mask_destroy(&full);
    rapt_mask_destroy(&causal);
}

static void prefix_is_asked_for(void **state)
{
    (void)state;
    rapt_mask *with = parsed("causal & (prefix)"), *without = parsed("causal");
    assert_true(rapt_mask_needs_prefix(with));
    assert_false(rapt_mask_needs_prefix(without));
    assert_false(rapt_mask_needs_prefix(NULL));
    rapt_mask_destroy(&with);
    rapt_mask_destroy(&without);
}

/* What a leaf means, from the words of the specification; nothing of the library's. */
static int by_definition(const rapt_mask_node *leaf, int64_t p, int64_t j, int32_t prefix)
{
    switch (leaf->op) {
    case RAPT_MASK_CAUSAL:
        return j <= p;
    case RAPT_MASK_WINDOW:
        return (leaf->a == -1 || p - leaf->a <= j) && (leaf->b == -1 || j <= p + leaf->b);
    case RAPT_MASK_CHUNKED:
        return floor((double)p / leaf->a) == floor((double)j / leaf->a);
    case RAPT_MASK_PREFIX:
        return j < prefix;
    case RAPT_MASK_SINK_TOKENS:
        return j < leaf->a;
    default:
        return 1;
    }
}

static rapt_mask_node random_leaf(uint64_t *seed, int32_t range)
{
    rapt_mask_node leaf = {
        (rapt_mask_op)random_between(seed, RAPT_MASK_FULL, RAPT_MASK_SINK_TOKENS), 0, 0};
    if (leaf.op == RAPT_MASK_WINDOW) {
        leaf.a = random_between(seed, -1, range);
        leaf.b = random_between(seed, -1, range);
    }
    if (leaf.op == RAPT_MASK_CHUNKED) /* powers of two divide each other */
        leaf.a = range > 100 ? random_between(seed, 1, range) : 1 << random_between(seed, 0, 5);
    if (leaf.op == RAPT_MASK_SINK_TOKENS)
        leaf.a = random_between(seed, 0, range);
    return leaf;
}

/* A random tree in postfix order over up to 6 leaves; and the leaves alone. */
static size_t random_nodes(uint64_t *seed, int32_t range, rapt_mask_node *nodes,
                           rapt_mask_node *leaves, size_t *out_n_leaves)
{
    size_t n = 0, depth = 0, n_leaves = 1 + random_below(seed, range > 100 ? 2 : 6), made = 0;
    while (made < n_leaves || depth > 1) {
        if (depth >= 2 && (made == n_leaves || random_below(seed, 2))) {
            nodes[n++] = (rapt_mask_node){RAPT_MASK_AND, 0, 0};
            depth--;
        } else {
            nodes[n++] = leaves[made++] = random_leaf(seed, range);
            depth++;
        }
    }
    *out_n_leaves = n_leaves;
    return n;
}

static void check_point(const rapt_mask *mask, const rapt_mask_node *leaves, size_t n_leaves,
                        int32_t pos, int32_t key, int32_t prefix, int which)
{
    int want = 1, got = rapt_mask_allows(mask, pos, key, prefix);
    for (size_t i = 0; i < n_leaves; i++)
        want = want && by_definition(&leaves[i], pos, key, prefix);
    int32_t lo, hi;
    rapt_mask_interval(mask, pos, prefix, &lo, &hi);
    int inside = lo <= key && key <= hi;
    if (got != want || inside != want)
        fail_msg("expression %d, P %d, J %d, prefix %d: by definition %d, element %d, interval %d "
                 "[%d, %d]",
                 which, pos, key, prefix, want, got, inside, lo, hi);
}

static void random_expressions_agree_with_the_definition(void **state)
{
    (void)state;
    uint64_t seed = 20;
    rapt_mask_node nodes[16], leaves[8];
    for (int i = 0; i < 3000; i++) {
        int32_t range = i % 3 == 2 ? POSITION_END - 1 : 40;
        size_t n_leaves, n = random_nodes(&seed, range, nodes, leaves, &n_leaves);
        rapt_mask *mask;
        rapt_status status = rapt_mask_create(NULL, nodes, n, &mask);
        assert_int_equal(status, RAPT_OK);
        if (!rapt_mask_is_closed(mask)) {
            assert_true(range > 100); /* two large chunks */
            rapt_mask_destroy(&mask);
            continue;
        }
        int32_t prefix = random_between(&seed, -2, range);
        if (range == 40) {
            for (int32_t pos = -45; pos < 90; pos += 1 + (int32_t)random_below(&seed, 9))
                for (int32_t key = -45; key < 90; key++)
                    check_point(mask, leaves, n_leaves, pos, key, prefix, i);
        } else {
            for (int k = 0; k < 200; k++) {
                int32_t pos = random_between(&seed, 1 - POSITION_END, POSITION_END - 1);
                int32_t lo, hi, key = random_between(&seed, 1 - POSITION_END, POSITION_END - 1);
                rapt_mask_interval(mask, pos, prefix, &lo, &hi);
                check_point(mask, leaves, n_leaves, pos, key, prefix, i);
                const int64_t near[] = {(int64_t)lo - 1, lo, hi, (int64_t)hi + 1};
                for (int e = 0; e < 4; e++)
                    if (near[e] > -POSITION_END && near[e] < POSITION_END)
                        check_point(mask, leaves, n_leaves, pos, (int32_t)near[e], prefix, i);
            }
        }
        rapt_mask_destroy(&mask);
    }
}

/* The numbers kernels get are those intervals are made of. */
static void lowering_gives_the_kernels_numbers(void **state)
{
    (void)state;
    struct rapt_mask_closed closed;
    rapt_mask *mask = parsed("causal & window(1023, 5) & chunked(8192) & sink_tokens(70) & prefix");
    rapt_mask_lower(mask, &closed);
    assert_int_equal(closed.left, 1023);
    assert_int_equal(closed.right, 0);
    assert_int_equal(closed.chunk, 8192);
    assert_int_equal(closed.limit, 70);
    assert_true(closed.uses_prefix);
    rapt_mask_destroy(&mask);
    mask = parsed("window(2147483647, 1073741824)");
    rapt_mask_lower(mask, &closed);
    assert_int_equal(closed.left, POSITION_END);
    assert_int_equal(closed.right, POSITION_END);
    assert_int_equal(closed.chunk, 0);
    assert_int_equal(closed.limit, POSITION_END);
    assert_false(closed.uses_prefix);
    assert_true(rapt_mask_allows(mask, POSITION_END - 1, 1 - POSITION_END, 0));
    rapt_mask_destroy(&mask);
    struct rapt_mask_closed full;
    rapt_mask_lower(NULL, &full);
    assert_memory_equal(&full, &closed, sizeof full);
}

/* Whoever lowers a mask to numbers is told where that would lie. */
static void batches_refuse_masks_they_would_lower(void **state)
{
    (void)state;
    const int32_t cu[2] = {0, 4};
    static const char *const open[] = {"causal | prefix", "!causal", "segments", "dilated(4, 2)",
                                       "chunked(6) & chunked(4)"};
    struct rapt_batch batch = {.n_seqs = 1, .cu_q = cu, .cu_kv = cu};
    for (size_t i = 0; i < sizeof open / sizeof open[0]; i++) {
        rapt_mask *mask = parsed(open[i]);
        batch.mask = mask;
        batch.any_mask = 0;
        assert_int_equal(rapt_batch_check(&batch), RAPT_ERROR_UNSUPPORTED);
        assert_non_null(strstr(rapt_last_error(), "needs a block table"));
        batch.any_mask = 1;
        assert_int_equal(rapt_batch_check(&batch), RAPT_OK);
        rapt_mask_destroy(&mask);
    }
}

static void failing_allocators_are_survived(void **state)
{
    (void)state;
    struct fail_alloc counts = {.budget = 0};
    rapt_allocator allocator = fail_allocator(&counts);
    rapt_mask *mask;
    int n_failed = 0;
    for (;; n_failed++) {
        counts.budget = n_failed;
        mask = (rapt_mask *)&mask;
        rapt_status status = rapt_mask_parse(&allocator, "causal & window(7, 0)", NULL, &mask);
        if (status == RAPT_OK)
            break;
        assert_int_equal(status, RAPT_ERROR_HOST_MEMORY);
        assert_null(mask);
        assert_int_equal(counts.n_alive, 0);
    }
    assert_int_equal(n_failed, 2);
    memset(&allocator, 0, sizeof allocator); /* the mask keeps its own copy */
    rapt_mask_destroy(&mask);
    assert_int_equal(counts.n_alive, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(leaves_are_intervals),
        cmocka_unit_test(empty_intervals_are_empty),
        cmocka_unit_test(text_is_forgiving_of_space_and_parentheses),
        cmocka_unit_test(syntax_errors_say_the_column),
        cmocka_unit_test(operators_and_leaves_want_their_operands),
        cmocka_unit_test(impossible_numbers_are_named),
        cmocka_unit_test(deep_and_long_expressions_end_in_an_error),
        cmocka_unit_test(nodes_nest_to_a_limit),
        cmocka_unit_test(nodes_must_be_one_expression),
        cmocka_unit_test(equality_is_of_what_is_meant),
        cmocka_unit_test(prefix_is_asked_for),
        cmocka_unit_test(random_expressions_agree_with_the_definition),
        cmocka_unit_test(lowering_gives_the_kernels_numbers),
        cmocka_unit_test(batches_refuse_masks_they_would_lower),
        cmocka_unit_test(failing_allocators_are_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
