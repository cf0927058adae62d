/* What a checker's end, its words and its feedback directory come to: services/runner/checker.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>

#include <assay/warden_wire.h>

#include "local.h"

static struct check_says says;

static const struct check_says *ended(int kind, int code, const char *out, const char *err, struct assay_str feedback)
{
    const struct assay_box_outcome o = {.end = ASSAY_BOX_EXITED, .exit_code = code};
    check_decide(kind, &o, assay_str(out), assay_str(err), feedback, 4, &says);
    return &says;
}

/* A file of an encoding; the builder begins with its magic. */
static void file(struct assay_buf *b, const char *path, const char *text)
{
    if (b->n == 0)
        assay_buf_puts(b, ASSAY_ARTEFACT_MAGIC);
    assay_buf_add(b, path, strlen(path) + 1);
    assay_buf_add(b, "644", 4);
    assay_buf_fmt(b, "%zu", strlen(text));
    assay_buf_putc(b, '\0');
    assay_buf_puts(b, text);
}

static void test_a_validator_says_42_or_43_and_all_else_is_its_fault(void **state)
{
    (void)state;
    const struct assay_str none = ASSAY_STR("");
    assert_int_equal(ended(ASSAY_CHECKER_VALIDATOR, 42, "", "", none)->verdict, VERDICT_OK);
    assert_true(isnan(says.part));
    assert_int_equal(ended(ASSAY_CHECKER_VALIDATOR, 43, "", "", none)->verdict, VERDICT_WA);
    for (int code = 0; code < 256; code++) {
        if (code != 42 && code != 43) {
            assert_int_equal(ended(ASSAY_CHECKER_VALIDATOR, code, "", "", none)->verdict, VERDICT_IE);
            assert_string_equal(says.kind, "exit");
            assert_true(says.fault[0] != '\0');
        }
    }
}

static void test_testlibs_exit_codes(void **state)
{
    (void)state;
    const struct assay_str none = ASSAY_STR("");
    const struct {
        int code;
        const char *err;
        enum verdict v;
        double part;
    } rows[] = {{0, "ok", VERDICT_OK, NAN},      {1, "wrong answer", VERDICT_WA, NAN}, {2, "format", VERDICT_WA, NAN},
                {3, "FAIL", VERDICT_IE, NAN},    {4, "dirt", VERDICT_WA, NAN},         {5, "", VERDICT_IE, NAN},
                {7, "points 1 x", VERDICT_WA, 0.25}, {7, "points 4", VERDICT_OK, 1},   {7, "points 5", VERDICT_IE, NAN},
                {7, "points nan", VERDICT_IE, NAN}, {7, "", VERDICT_IE, NAN},          {8, "eof", VERDICT_WA, NAN},
                {16, "", VERDICT_WA, 0},         {116, "", VERDICT_WA, 0.5},           {216, "", VERDICT_OK, 1},
                {217, "", VERDICT_IE, NAN},      {139, "", VERDICT_WA, 0.615}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        ended(ASSAY_CHECKER_TESTLIB, rows[i].code, "", rows[i].err, none);
        assert_int_equal(says.verdict, rows[i].v);
        assert_true(isnan(rows[i].part) ? isnan(says.part) : fabs(says.part - rows[i].part) < 1e-9);
    }
    /* interpreters end with 1 when the checker crashes */
    assert_int_equal(ended(ASSAY_CHECKER_TESTLIB, 1, "", "Traceback (most recent call last):\n  File", none)->verdict, VERDICT_IE);
    assert_int_equal(ended(ASSAY_CHECKER_TESTLIB, 1, "", "Exception in thread \"main\" java.lang.X", none)->verdict, VERDICT_IE);
    assert_string_equal(says.kind, "crash");
}

static void test_a_script_says_it_in_words(void **state)
{
    (void)state;
    const struct assay_str none = ASSAY_STR("");
    assert_int_equal(ended(ASSAY_CHECKER_SCRIPT, 0, "right\n", "", none)->verdict, VERDICT_OK);
    assert_int_equal(ended(ASSAY_CHECKER_SCRIPT, 0, "wrong line 3 differs\n", "", none)->verdict, VERDICT_WA);
    assert_int_equal(says.judge.n, strlen("line 3 differs"));
    assert_int_equal(ended(ASSAY_CHECKER_SCRIPT, 0, "part 0.25\nfour of them", "", none)->verdict, VERDICT_WA);
    assert_true(says.part > 0.2499 && says.part < 0.2501);
    assert_int_equal(ended(ASSAY_CHECKER_SCRIPT, 0, "part 1", "", none)->verdict, VERDICT_OK);
    static const char *const faults[] = {"", "righteous", "RIGHT", "part", "part x", "part 1.5", "part -1", "part inf", "ok"};
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++)
        assert_int_equal(ended(ASSAY_CHECKER_SCRIPT, 0, faults[i], "", none)->verdict, VERDICT_IE);
    assert_int_equal(ended(ASSAY_CHECKER_SCRIPT, 1, "wrong", "", none)->verdict, VERDICT_IE); /* it crashed behind its answer */
}

static void test_a_checker_that_did_not_end_by_itself_is_at_fault(void **state)
{
    (void)state;
    const struct {
        enum assay_box_end end;
        const char *kind;
    } rows[] = {{ASSAY_BOX_SIGNALLED, "crash"}, {ASSAY_BOX_CPU, "time"}, {ASSAY_BOX_WALL, "time"}, {ASSAY_BOX_MEMORY, "memory"},
                {ASSAY_BOX_OUTPUT, "output"},   {ASSAY_BOX_FAILED, "box"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        for (int kind = 0; kind < ASSAY_CHECKER_KINDS; kind++) {
            const struct assay_box_outcome o = {.end = rows[i].end, .exit_code = kind == ASSAY_CHECKER_VALIDATOR ? 42 : 0};
            check_decide(kind, &o, ASSAY_STR("right"), ASSAY_STR(""), ASSAY_STR(""), 1, &says);
            assert_int_equal(says.verdict, VERDICT_IE);
            assert_string_equal(says.kind, rows[i].kind);
        }
    }
}

static void test_the_feedback_directory_is_read(void **state)
{
    (void)state;
    ASSAY_CLEANUP_BUF struct assay_buf b = ASSAY_BUF_INIT;
    file(&b, CHECK_KEEP, "");
    file(&b, CHECK_FEEDBACK "judgemessage.txt", " why\n");
    file(&b, CHECK_FEEDBACK "nextpass.in", "5\n");
    file(&b, CHECK_FEEDBACK "teammessage.txt", "hint");
    ended(ASSAY_CHECKER_VALIDATOR, 42, "", "noise", assay_buf_view(&b));
    assert_int_equal(says.verdict, VERDICT_OK);
    assert_true(says.again);
    assert_true(assay_str_is(says.next, "5\n") && assay_str_is(says.judge, "why") && assay_str_is(says.team, "hint"));
    ended(ASSAY_CHECKER_VALIDATOR, 43, "", "", assay_buf_view(&b)); /* wrong is wrong, whatever it would have gone on with */
    assert_int_equal(says.verdict, VERDICT_WA);
    assert_false(says.again);
}

static void test_scores_are_parts_of_the_tests_points(void **state)
{
    (void)state;
    const struct {
        const char *name, *text;
        double part; /* NAN: a fault */
    } rows[] = {{"score.txt", "1\n", 0.25}, {"score.txt", "4", 1}, {"score.txt", "4.5", NAN}, {"score.txt", "-1", NAN}, {"score.txt", "x", NAN},
                {"score.txt", "", NAN},     {"score_multiplier.txt", "0.5", 0.5}, {"score_multiplier.txt", "2", NAN}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char path[100];
        ASSAY_CLEANUP_BUF struct assay_buf b = ASSAY_BUF_INIT;
        (void)snprintf(path, sizeof path, CHECK_FEEDBACK "%s", rows[i].name);
        file(&b, path, rows[i].text);
        ended(ASSAY_CHECKER_VALIDATOR, 42, "", "", assay_buf_view(&b));
        assert_int_equal(says.verdict, isnan(rows[i].part) ? VERDICT_IE : VERDICT_OK);
        assert_true(isnan(rows[i].part) || says.part == rows[i].part);
        assert_int_equal(ended(ASSAY_CHECKER_VALIDATOR, 43, "", "", assay_buf_view(&b))->verdict, VERDICT_WA);
    }
}

static void test_a_malformed_encoding_is_a_fault(void **state)
{
    (void)state;
    ASSAY_CLEANUP_BUF struct assay_buf b = ASSAY_BUF_INIT;
    file(&b, CHECK_FEEDBACK "judgemessage.txt", "some text");
    assert_int_equal(ended(ASSAY_CHECKER_VALIDATOR, 42, "", "", assay_buf_view(&b))->verdict, VERDICT_OK);
    for (size_t n = sizeof ASSAY_ARTEFACT_MAGIC; n < b.n; n++)
        assert_int_equal(ended(ASSAY_CHECKER_VALIDATOR, 42, "", "", (struct assay_str){b.p, n})->verdict, VERDICT_IE);
    assert_int_equal(ended(ASSAY_CHECKER_VALIDATOR, 42, "", "", ASSAY_STR("something else"))->verdict, VERDICT_IE);
    assert_string_equal(says.kind, "feedback");
}

static void test_arguments_by_kind(void **state)
{
    (void)state;
    struct assay_str a[4];
    assert_int_equal(check_arguments(ASSAY_CHECKER_VALIDATOR, a), 3);
    assert_true(assay_str_is(a[0], CHECK_INPUT) && assay_str_is(a[1], CHECK_ANSWER) && assay_str_is(a[2], CHECK_FEEDBACK));
    assert_int_equal(check_arguments(ASSAY_CHECKER_TESTLIB, a), 3);
    assert_true(assay_str_is(a[0], CHECK_INPUT) && assay_str_is(a[1], CHECK_OUTPUT) && assay_str_is(a[2], CHECK_ANSWER));
    assert_int_equal(check_arguments(ASSAY_CHECKER_SCRIPT, a), 4);
    assert_true(assay_str_is(a[1], CHECK_OUTPUT) && assay_str_is(a[3], CHECK_FEEDBACK));
}

static void test_who_ended_first_decides(void **state)
{
    (void)state;
    const enum verdict OK = VERDICT_OK, WA = VERDICT_WA, TL = VERDICT_TL, RE = VERDICT_RE, OL = VERDICT_OL, IE = VERDICT_IE;
    const struct {
        struct talk_end end; /* program, waited, limit, stuck, interactor_first, cut_off */
        enum verdict interactor, v;
    } rows[] = {
        {{OK, 0, 0, 0, 0, 0}, OK, OK}, {{OK, 0, 0, 0, 0, 0}, WA, WA}, {{OK, 0, 0, 0, 0, 0}, IE, IE},
        {{RE, 0, 0, 0, 0, 0}, WA, RE}, {{RE, 0, 0, 0, 0, 0}, IE, RE}, {{TL, 1, 1, 0, 0, 0}, WA, TL}, {{OL, 0, 1, 0, 0, 0}, OK, OL},
        {{OK, 0, 0, 0, 1, 1}, WA, WA}, {{RE, 0, 0, 0, 1, 1}, WA, WA}, {{RE, 0, 0, 0, 1, 1}, IE, IE},
        {{RE, 0, 0, 0, 1, 1}, OK, RE}, {{OK, 0, 0, 0, 1, 1}, OK, OK},
        {{RE, 0, 0, 0, 0, 1}, WA, WA}, {{RE, 0, 0, 0, 0, 1}, OK, RE}, /* a closed pipe, or an end of file, before it failed */
        /* a limit of its own, whoever was told first of whose end */
        {{TL, 0, 1, 0, 0, 1}, WA, TL}, {{TL, 0, 1, 0, 1, 1}, WA, TL}, {{TL, 0, 1, 0, 1, 1}, OK, TL}, {{OL, 0, 1, 0, 1, 1}, IE, OL},
        {{TL, 1, 1, 1, 0, 0}, IE, IE}, {{TL, 0, 1, 1, 0, 0}, IE, TL}, /* it waited for an interactor that hangs; it computed itself */
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_int_equal(interact_verdict(&rows[i].end, rows[i].interactor), rows[i].v);
    const struct assay_box_outcome right = {.end = ASSAY_BOX_EXITED, .exit_code = 42};
    assert_true(check_says_right(ASSAY_CHECKER_VALIDATOR, &right));
    assert_false(check_says_right(ASSAY_CHECKER_TESTLIB, &right));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_validator_says_42_or_43_and_all_else_is_its_fault),
        cmocka_unit_test(test_testlibs_exit_codes),
        cmocka_unit_test(test_a_script_says_it_in_words),
        cmocka_unit_test(test_a_checker_that_did_not_end_by_itself_is_at_fault),
        cmocka_unit_test(test_the_feedback_directory_is_read),
        cmocka_unit_test(test_scores_are_parts_of_the_tests_points),
        cmocka_unit_test(test_a_malformed_encoding_is_a_fault),
        cmocka_unit_test(test_arguments_by_kind),
        cmocka_unit_test(test_who_ended_first_decides),
    };
    return cmocka_run_group_tests_name("checker", tests, NULL, NULL);
}
