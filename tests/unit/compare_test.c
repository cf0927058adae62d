#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "local.h"

static bool same(int how, double abs, double rel, const char *expected, const char *got)
{
    struct comparison c = {how, abs, rel};
    return output_matches(&c, assay_str(expected), assay_str(got));
}

static void exact_is_to_the_byte(void **state)
{
    (void)state;
    assert_true(same(ASSAY_COMPARE_EXACT, 0, 0, "6\n", "6\n"));
    assert_false(same(ASSAY_COMPARE_EXACT, 0, 0, "6\n", "6"));
    assert_false(same(ASSAY_COMPARE_EXACT, 0, 0, "6\n", "6 \n"));
    assert_true(same(ASSAY_COMPARE_EXACT, 0, 0, "", ""));
}

static void tokens_are_words_in_order(void **state)
{
    (void)state;
    assert_true(same(ASSAY_COMPARE_TOKENS, 0, 0, "1 2\n3\n", " 1\t2 3"));
    assert_false(same(ASSAY_COMPARE_TOKENS, 0, 0, "1 2 3", "1 2"));
    assert_false(same(ASSAY_COMPARE_TOKENS, 0, 0, "1 2", "1 2 3"));
    assert_false(same(ASSAY_COMPARE_TOKENS, 0, 0, "1 2", "12"));
    assert_false(same(ASSAY_COMPARE_TOKENS, 0, 0, "1 2", "2 1"));
    assert_false(same(ASSAY_COMPARE_TOKENS, 0, 0, "Yes", "yes"));
    assert_true(same(ASSAY_COMPARE_TOKENS, 0, 0, "", " \n"));
}

static void numbers_have_a_tolerance(void **state)
{
    (void)state;
    assert_true(same(ASSAY_COMPARE_FLOAT, 1e-6, 0, "3.14159", "3.1415905"));
    assert_false(same(ASSAY_COMPARE_FLOAT, 1e-6, 0, "3.14159", "3.1416"));
    assert_true(same(ASSAY_COMPARE_FLOAT, 0, 1e-6, "1e9", "1000000900"));
    assert_false(same(ASSAY_COMPARE_FLOAT, 0, 1e-6, "1e9", "1000001100"));
    assert_true(same(ASSAY_COMPARE_FLOAT, 0, 0, "1.0 yes", "1 yes"));
    assert_false(same(ASSAY_COMPARE_FLOAT, 9, 9, "1", "nan"));
    assert_false(same(ASSAY_COMPARE_FLOAT, 9, 9, "1", "inf"));
    assert_false(same(ASSAY_COMPARE_FLOAT, 9, 9, "1", "0x1"));
    assert_false(same(ASSAY_COMPARE_FLOAT, 9, 9, "yes", "no"));
}

static void case_may_not_count(void **state)
{
    (void)state;
    assert_true(same(ASSAY_COMPARE_NOCASE, 0, 0, "Yes NO\n", "yES no"));
    assert_false(same(ASSAY_COMPARE_NOCASE, 0, 0, "yes", "yess"));
    assert_false(same(ASSAY_COMPARE_NOCASE, 0, 0, "[", "{")); /* 0x20 apart, and no letters */
    assert_false(same(ASSAY_COMPARE_NOCASE, 0, 0, "\xc3\x84", "\xc3\xa4")); /* not beyond A to Z */
    assert_false(same(ASSAY_COMPARE_NOCASE, 0, 0, "yes no", "no yes"));
}

static void lines_forgive_their_ends(void **state)
{
    (void)state;
    assert_true(same(ASSAY_COMPARE_LINES, 0, 0, "a b\nc\n", "a b  \nc\r\n\n\n"));
    assert_true(same(ASSAY_COMPARE_LINES, 0, 0, "a", "a\n"));
    assert_true(same(ASSAY_COMPARE_LINES, 0, 0, "", "\n \n"));
    assert_true(same(ASSAY_COMPARE_LINES, 0, 0, "\n\na", "\n \na\n"));
    assert_false(same(ASSAY_COMPARE_LINES, 0, 0, "a b", "a  b"));
    assert_false(same(ASSAY_COMPARE_LINES, 0, 0, "a", " a"));
    assert_false(same(ASSAY_COMPARE_LINES, 0, 0, "a\nb", "a b"));
    assert_false(same(ASSAY_COMPARE_LINES, 0, 0, "a\nb", "a\n\nb"));
    assert_false(same(ASSAY_COMPARE_LINES, 0, 0, "a\nb", "a"));
    assert_false(same(ASSAY_COMPARE_LINES, 0, 0, "a", "a\nb"));
}

static void lines_in_any_order(void **state)
{
    (void)state;
    assert_true(same(ASSAY_COMPARE_UNORDERED_LINES, 0, 0, "1 2\n3\n4\n", "4\n\n 3\n1   2"));
    assert_true(same(ASSAY_COMPARE_UNORDERED_LINES, 0, 0, "", "\n"));
    assert_false(same(ASSAY_COMPARE_UNORDERED_LINES, 0, 0, "1 2\n3\n", "2 1\n3\n"));
    assert_false(same(ASSAY_COMPARE_UNORDERED_LINES, 0, 0, "1\n1\n2\n", "1\n2\n2\n"));
    assert_false(same(ASSAY_COMPARE_UNORDERED_LINES, 0, 0, "1\n1\n", "1\n"));
    assert_false(same(ASSAY_COMPARE_UNORDERED_LINES, 0, 0, "1\n", "1\n1\n1\n"));
    assert_false(same(ASSAY_COMPARE_UNORDERED_LINES, 0, 0, "1 2\n", "1\n2\n"));
    assert_false(same(ASSAY_COMPARE_UNORDERED_LINES, 0, 0, "12 3\n", "1 23\n"));
}

static void words_in_any_order(void **state)
{
    (void)state;
    assert_true(same(ASSAY_COMPARE_UNORDERED_TOKENS, 0, 0, "1 2\n3 3\n", "3\n2 3 1"));
    assert_false(same(ASSAY_COMPARE_UNORDERED_TOKENS, 0, 0, "1 2 2", "1 1 2"));
    assert_false(same(ASSAY_COMPARE_UNORDERED_TOKENS, 0, 0, "12", "1 2"));
    assert_false(same(ASSAY_COMPARE_UNORDERED_TOKENS, 0, 0, "", "0"));
}

/* Against a plain way to do it: shuffled is the same, one word changed is not. */
static void any_order_agrees_with_shuffling(void **state)
{
    (void)state;
    srandom(20261128);
    for (int round = 0; round < 300; round++) {
        char line[40][12], expected[600] = "", got[600] = "";
        int n = 1 + (int)(random() % 40), at[40];
        for (int i = 0; i < n; i++) {
            (void)snprintf(line[i], sizeof line[i], "%ld %ld", random() % 7, random() % 7);
            at[i] = i;
        }
        for (int i = n - 1; i > 0; i--) {
            int k = (int)(random() % (i + 1)), t = at[i];
            at[i] = at[k];
            at[k] = t;
        }
        size_t e = 0, g = 0;
        for (int i = 0; i < n; i++) {
            e += (size_t)snprintf(expected + e, sizeof expected - e, "%s\n", line[i]);
            g += (size_t)snprintf(got + g, sizeof got - g, "%s\n", line[at[i]]);
        }
        assert_true(same(ASSAY_COMPARE_UNORDERED_LINES, 0, 0, expected, got));
        assert_true(same(ASSAY_COMPARE_UNORDERED_TOKENS, 0, 0, expected, got));
        got[2 * (random() % (2 * n))] = '9';
        assert_false(same(ASSAY_COMPARE_UNORDERED_LINES, 0, 0, expected, got));
        assert_false(same(ASSAY_COMPARE_UNORDERED_TOKENS, 0, 0, expected, got));
    }
}

static void white_space_alone_is_said(void **state)
{
    (void)state;
    struct comparison exact = {ASSAY_COMPARE_EXACT, 0, 0}, lines = {ASSAY_COMPARE_LINES, 0, 0}, tokens = {ASSAY_COMPARE_TOKENS, 0, 0};
    assert_non_null(strstr(presentation_fault(&exact, ASSAY_STR("6\n"), ASSAY_STR("6")), "end of a line"));
    assert_non_null(strstr(presentation_fault(&exact, ASSAY_STR("a b\n"), ASSAY_STR("a  b\n")), "between"));
    assert_non_null(strstr(presentation_fault(&lines, ASSAY_STR("a b\n"), ASSAY_STR("a\nb\n")), "between"));
    assert_null(presentation_fault(&exact, ASSAY_STR("6\n"), ASSAY_STR("7\n")));
    assert_null(presentation_fault(&tokens, ASSAY_STR("6\n"), ASSAY_STR("7\n")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exact_is_to_the_byte),       cmocka_unit_test(tokens_are_words_in_order),
        cmocka_unit_test(numbers_have_a_tolerance),   cmocka_unit_test(case_may_not_count),
        cmocka_unit_test(lines_forgive_their_ends),   cmocka_unit_test(lines_in_any_order),
        cmocka_unit_test(words_in_any_order),         cmocka_unit_test(any_order_agrees_with_shuffling),
        cmocka_unit_test(white_space_alone_is_said),
    };
    return cmocka_run_group_tests_name("compare", tests, NULL, NULL);
}
