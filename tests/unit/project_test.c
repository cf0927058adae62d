/* A project's answer, and what is made of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "project.h"

static struct assay_arena *arena;

static int begin(void **state)
{
    (void)state;
    arena = assay_arena_new(0);
    return arena == NULL;
}

static int end(void **state)
{
    (void)state;
    assay_arena_free(arena);
    return 0;
}

#define HEAD(step, why, exit, signal, timeout) \
    "assay-answer-1\nstep " step "\nwhy " why "\nexit " exit "\nsignal " signal "\ntimeout " timeout "\nms 12\nlog 3\n"
#define XML "<testsuite><testcase name=\"a\"/><testcase name=\"b\"><failure message=\"no\"/></testcase></testsuite>"
#define REPORT "file 96 r.xml\n" XML "\n"
#define TAIL "reports 1\nend\n"

static void what_is_no_whole_answer_is_none(void **state)
{
    (void)state;
    static const char whole[] = HEAD("test", "", "1", "0", "0") REPORT TAIL;
    struct project_answer *a = assay_arena_alloc(arena, sizeof *a);
    assert_int_equal(sizeof XML - 1, 96);
    assert_true(project_answer_read(assay_str(whole), a));
    assert_true(assay_str_is(a->step, "test") && a->exit_code == 1 && a->ms == 12 && a->n_reports == 1 && a->seen == 1);
    assert_true(assay_str_is(a->path[0], "r.xml") && assay_str_is(a->report[0], XML));
    for (size_t n = 0; n < sizeof whole - 1; n++)
        assert_false(project_answer_read((struct assay_str){whole, n}, a));
    static const char *const wrong[] = {"x" HEAD("test", "", "0", "0", "0") TAIL,       HEAD("test", "", "0", "0", "0") TAIL "more",
                                        HEAD("other", "", "0", "0", "0") TAIL,          HEAD("test", "", "999", "0", "0") TAIL,
                                        HEAD("test", "", "0", "0", "2") TAIL,           HEAD("test", "", "0", "0", "0") "file 99999999999 x\n" TAIL,
                                        HEAD("test", "", "0", "0", "0") "file -1 x\n" TAIL, HEAD("test", "", "0", "0", "0") "file 3 x\nabcd\n" TAIL};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_false(project_answer_read(assay_str(wrong[i]), a));
}

static void the_verdict_follows_exit_status_and_counts(void **state)
{
    (void)state;
    static const struct {
        const char *answer, *log, *says;
        enum verdict verdict;
        double score;
        int64_t oom;
    } cases[] = {
        {HEAD("test", "", "1", "0", "0") REPORT TAIL, "", "\"error\":\"1 of 2 tests failed\"", VERDICT_RE, 50, 0},
        {HEAD("test", "", "0", "0", "0") REPORT TAIL, "", "\"failedTests\":1", VERDICT_WA, 50, 0},
        {HEAD("test", "", "0", "0", "0") TAIL, "", "only the exit status counts", VERDICT_OK, 100, 0},
        {HEAD("test", "", "2", "0", "0") TAIL, "", "left no report", VERDICT_RE, 0, 0},
        {HEAD("test", "", "0", "0", "0") TAIL, "x\nTests run: 4, Failures: 1, Errors: 0, Skipped: 1\n", "\"skippedTests\":1", VERDICT_WA, 50, 0},
        {HEAD("test", "", "-1", "9", "1") REPORT TAIL, "", "\"timedOut\":true", VERDICT_TL, 0, 0},
        {HEAD("test", "", "-1", "11", "0") TAIL, "", "\"exitCode\":139", VERDICT_RE, 0, 0},
        {HEAD("test", "", "1", "0", "0") TAIL, "", "more than 64 MiB of memory", VERDICT_ML, 0, 1},
        {HEAD("setup", "setup command 1 failed", "7", "0", "0") TAIL, "", "\"step\":\"setup\"", VERDICT_BF, 0, 0},
        {HEAD("required", "the project has no pom.xml", "0", "0", "0") TAIL, "", "no pom.xml", VERDICT_BF, 0, 0},
        {HEAD("test", "", "0", "0", "0") "file 4 bad\n<te<\nreports 9\nend\n", "", "left out", VERDICT_OK, 100, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct project_answer *a = assay_arena_alloc(arena, sizeof *a);
        struct assay_box_outcome o = {.end = ASSAY_BOX_EXITED, .oom_kills = cases[i].oom};
        struct project_end e = {.verdict = VERDICT_NONE};
        struct assay_str text;
        struct assay_err err = {0, ""};
        assert_true(project_answer_read(assay_str(cases[i].answer), a));
        assert_int_equal(project_judge(&o, a, assay_str(cases[i].log), 64 << 20, arena, &e, &text, &err), ASSAY_OK);
        if (e.verdict != cases[i].verdict || e.score < cases[i].score || e.score > cases[i].score ||
            memmem(text.p, text.n, cases[i].says, strlen(cases[i].says)) == NULL)
            fail_msg("case %zu: %s %g %.*s", i, verdict_name(e.verdict), e.score, ASSAY_FMT(text));
    }
}

static void without_an_answer_the_box_says_why(void **state)
{
    (void)state;
    static const struct {
        enum assay_box_end end;
        enum verdict verdict;
    } cases[] = {{ASSAY_BOX_WALL, VERDICT_TL}, {ASSAY_BOX_MEMORY, VERDICT_ML}, {ASSAY_BOX_OUTPUT, VERDICT_OL}, {ASSAY_BOX_SIGNALLED, VERDICT_RE},
                 {ASSAY_BOX_EXITED, VERDICT_RE}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct assay_box_outcome o = {.end = cases[i].end};
        struct project_end e = {.verdict = VERDICT_NONE, .score = 9};
        struct assay_str text;
        struct assay_err err = {0, ""};
        assert_int_equal(project_judge(&o, NULL, ASSAY_STR(""), 64 << 20, arena, &e, &text, &err), ASSAY_OK);
        assert_int_equal(e.verdict, cases[i].verdict);
        assert_true(e.score < 1 && memmem(text.p, text.n, "\"step\":\"box\"", 12) != NULL);
    }
}

static void a_pits_environment_goes_before_ours(void **state)
{
    (void)state;
    static const char *const base[] = {"PATH=/usr/bin", "HOME=/tmp"};
    struct assay_json_pair pair[] = {{ASSAY_STR("HOME"), ASSAY_STR("/box")}, {ASSAY_STR("X"), ASSAY_STR("1=2")}};
    struct assay_pit pit = {.test_command = ASSAY_STR("run"), .max_timeout_ms = 7, .environment = {pair, 2}};
    struct assay_buf b = ASSAY_BUF_INIT;
    static const char wanted[] = "assay-plan-1\0" "5\0" "7\0" "6\0" "8\0" "tests\0" "3\0" "PATH=/usr/bin\0" "HOME=/box\0" "X=1=2\0" "0\0" "0\0" "0\0" "1\0" "run";
    project_plan(&pit, base, 2, true, 5, 6, 8, &b);
    assert_int_equal(b.n, sizeof wanted);
    assert_memory_equal(b.p, wanted, sizeof wanted);
    assay_buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_no_whole_answer_is_none, begin, end),
        cmocka_unit_test_setup_teardown(the_verdict_follows_exit_status_and_counts, begin, end),
        cmocka_unit_test_setup_teardown(without_an_answer_the_box_says_why, begin, end),
        cmocka_unit_test_setup_teardown(a_pits_environment_goes_before_ours, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
