/* The runner's pure parts: how runs become verdicts, points and scores, and what of them is shown. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <math.h>

#include "local.h"

static void test_a_run_becomes_a_verdict(void **state)
{
    (void)state;
    struct assay_str oom[] = {ASSAY_STR("MemoryError")}, last[] = {ASSAY_STR("SyntaxError:")};
    struct signatures s = {{oom, 1}, 1, ASSAY_STR("  File"), {last, 1}};
    struct assay_str none = ASSAY_STR("");
    struct assay_box_outcome o = {.end = ASSAY_BOX_EXITED};
    assert_int_equal(verdict_of_run(&o, &s, none, none), VERDICT_OK);
    o.exit_code = 1;
    assert_int_equal(verdict_of_run(&o, &s, none, none), VERDICT_RE);
    assert_int_equal(verdict_of_run(&o, &s, none, ASSAY_STR("Traceback\nMemoryError\n")), VERDICT_ML);
    assert_int_equal(verdict_of_run(&o, &s, none, ASSAY_STR("  File \"x\"\nSyntaxError: bad\n")), VERDICT_BF);
    assert_int_equal(verdict_of_run(&o, &s, ASSAY_STR("x"), ASSAY_STR("  File \"x\"\nSyntaxError: bad\n")), VERDICT_RE);
    assert_int_equal(verdict_of_run(&o, &s, none, ASSAY_STR("Traceback\n  File\nSyntaxError: bad\n")), VERDICT_RE);
    /* the working directory has another name where there are no namespaces */
    s.load_prefix = ASSAY_STR("  File \"/box/main.py\", line ");
    assert_int_equal(verdict_of_run(&o, &s, none, ASSAY_STR("  File \"/box/main.py\", line 1\nSyntaxError: bad\n")), VERDICT_BF);
    assert_int_equal(verdict_of_run(&o, &s, none, ASSAY_STR("  File \"/tmp/a/0/box/main.py\", line 1\nSyntaxError: bad\n")), VERDICT_BF);
    assert_int_equal(verdict_of_run(&o, &s, none, ASSAY_STR("  File \"/tmp/a/0/box/other.py\", line 1\nSyntaxError: bad\n")), VERDICT_RE);
    assert_int_equal(verdict_of_run(&o, &s, none, ASSAY_STR("  File \"x\n/box/main.py\", line 1\nSyntaxError: bad\n")), VERDICT_RE);
    o.exit_code = 0; /* who exits with 0 has not run out of memory, whatever it prints */
    assert_int_equal(verdict_of_run(&o, &s, none, ASSAY_STR("MemoryError")), VERDICT_OK);
    const struct {
        enum assay_box_end end;
        enum verdict v;
    } rest[] = {{ASSAY_BOX_SIGNALLED, VERDICT_RE}, {ASSAY_BOX_CPU, VERDICT_TL},    {ASSAY_BOX_WALL, VERDICT_TL},
                {ASSAY_BOX_MEMORY, VERDICT_ML},    {ASSAY_BOX_OUTPUT, VERDICT_OL}, {ASSAY_BOX_FAILED, VERDICT_IE}};
    for (size_t i = 0; i < sizeof rest / sizeof rest[0]; i++) {
        o.end = rest[i].end;
        assert_int_equal(verdict_of_run(&o, &s, none, none), rest[i].v);
    }
}

static void test_a_run_is_tried_again_only_when_it_was_near_and_disturbed(void **state)
{
    (void)state;
    const struct assay_box_limits limits = {.cpu_ms = 1000, .cpu_hard_ms = 1200, .wall_ms = 3000};
    const struct assay_box_outcome near = {
        .end = ASSAY_BOX_CPU, .finished = true, .cpu_us = 1050000, .wall_us = 1300000, .forced_switches = 200};
    const struct disturbance quiet = {0, 0}, robbed = {65000, 0}, crowded = {0, 260000}, hardly = {64999, 259999};
    assert_int_equal(over_limit_of(&near), OVER_CPU);
    assert_true(time_ratio(near.cpu_us, limits.cpu_ms) == 1.05);
    assert_true(time_ratio(1234567, 1000) == 1.235);
    assert_true(time_ratio(5, 0) == 0);
    assert_false(run_was_disturbed(&near, &limits, &quiet));
    assert_false(run_was_disturbed(&near, &limits, &hardly));
    assert_true(run_was_disturbed(&near, &limits, &robbed));
    assert_true(run_was_disturbed(&near, &limits, &crowded));
    struct assay_box_outcome o = near;
    o.forced_switches = 64; /* others waited, but this one kept its core */
    assert_false(run_was_disturbed(&o, &limits, &crowded));
    o = near;
    o.finished = false; /* it ran into the hard limit: nobody knows how far it would have gone */
    assert_false(run_was_disturbed(&o, &limits, &robbed));
    /* by the clock: only when others may have had the time that was missing */
    o = (struct assay_box_outcome){.end = ASSAY_BOX_WALL, .cpu_us = 900000, .wall_us = 3000000, .forced_switches = 900};
    const struct disturbance long_wait = {0, 1500000};
    assert_int_equal(over_limit_of(&o), OVER_WALL);
    assert_true(run_was_disturbed(&o, &limits, &long_wait));
    o.wall_us = 5000000; /* it slept: the others' part does not explain it */
    assert_false(run_was_disturbed(&o, &limits, &long_wait));
    o = near;
    o.end = ASSAY_BOX_EXITED;
    assert_int_equal(over_limit_of(&o), OVER_NOTHING);
    assert_false(run_was_disturbed(&o, &limits, &robbed));
    o.wall_us = 0;
    assert_false(run_was_disturbed(&o, &limits, &robbed));
}

static bool bit(const uint64_t *mask, unsigned n)
{
    return (mask[n / 64] >> (n % 64) & 1) != 0;
}

static void test_lanes_have_processors_of_their_own(void **state)
{
    (void)state;
    static bool set[PROCESSORS_MAX];
    static struct processors p;
    uint64_t mask[ASSAY_BOX_CPU_WORDS];
    struct assay_err err;
    static const char *const bad[] = {"", "a", "1,", ",1", "3-1", "1-", "1 2", "1024", "0-1024", "99999999999999999999"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_false(processors_parse(bad[i], set));
        assert_int_equal(processors_choose(bad[i], &p, &err), ASSAY_E_CONFIG);
    }
    assert_true(processors_parse("0-2,64,1023", set));
    assert_true(set[0] && set[1] && set[2] && !set[3] && !set[63] && set[64] && set[1023]);
    assert_int_equal(processors_choose("off", &p, &err), ASSAY_OK);
    processors_of_lane(&p, 1, 0, true, mask);
    assert_true(!bit(mask, 0) && !bit(mask, 1));
    assert_int_equal(processors_choose("auto", &p, &err), ASSAY_OK);
    assert_true(p.n >= 1 && p.n_cores >= 1 && p.n_cores <= p.n);
    /* four cores of two threads each */
    p = (struct processors){.n = 8, .n_cores = 4, .cpu = {0, 1, 2, 3, 4, 5, 6, 70}};
    processors_of_lane(&p, 4, 3, false, mask);
    assert_true(bit(mask, 3) && !bit(mask, 70) && !bit(mask, 0));
    processors_of_lane(&p, 4, 3, true, mask);
    assert_true(bit(mask, 3) && bit(mask, 70) && !bit(mask, 2));
    for (unsigned slot = 0; slot < 8; slot++) {
        processors_of_lane(&p, 8, slot, true, mask);
        for (unsigned i = 0; i < 8; i++)
            assert_true(bit(mask, p.cpu[i]) == (i == slot));
    }
    processors_of_lane(&p, 9, 0, false, mask); /* more slots than processors: the scheduler does it better */
    assert_false(bit(mask, 0));
}

static void test_scores(void **state)
{
    (void)state;
    struct scored t[] = {{1, NAN, VERDICT_OK, NO_GROUP}, {2, NAN, VERDICT_WA, NO_GROUP}, {1, NAN, VERDICT_OK, NO_GROUP}};
    struct points p;
    points_count(t, 3, NULL, 0, &p);
    assert_true(p.score == 50 && p.awarded == 2 && p.all == 4);
    t[1].verdict = VERDICT_NONE;
    points_count(t, 3, NULL, 0, &p);
    assert_true(p.score == 50);
    t[1].part = 0.5; /* what was not run has no part, whatever is said */
    points_count(t, 3, NULL, 0, &p);
    assert_true(p.score == 50);
    t[1].verdict = VERDICT_WA; /* a checker's partial points */
    points_count(t, 3, NULL, 0, &p);
    assert_true(p.score == 75 && p.awarded == 3);
    t[1] = (struct scored){2, NAN, VERDICT_OK, NO_GROUP};
    points_count(t, 3, NULL, 0, &p);
    assert_true(p.score == 100);
    points_count(t, 0, NULL, 0, &p);
    assert_true(p.score == 100 && p.all == 0);
}

static void test_groups_make_points_of_their_tests(void **state)
{
    (void)state;
    struct scored t[] = {{1, NAN, VERDICT_OK, 0}, {1, NAN, VERDICT_OK, 1}, {3, NAN, VERDICT_WA, 1}, {1, NAN, VERDICT_OK, 2},
                         {1, 0.25, VERDICT_WA, 2}, {1, NAN, VERDICT_TL, 3}, {1, 0.5, VERDICT_OK, 3}, {6, NAN, VERDICT_OK, NO_GROUP}};
    struct group g[] = {{.aggregate = ASSAY_AGGREGATE_SUM, .points = 0},
                        {.aggregate = ASSAY_AGGREGATE_SUM, .points = 20},
                        {.aggregate = ASSAY_AGGREGATE_MIN, .points = 40},
                        {.aggregate = ASSAY_AGGREGATE_MAX, .points = 10}};
    struct points p;
    points_count(t, 8, g, 4, &p);
    assert_true(g[0].awarded == 0 && g[0].verdict == VERDICT_OK);
    assert_true(g[1].awarded == 5 && g[1].verdict == VERDICT_WA && g[1].passed == 1 && g[1].tests == 2);
    assert_true(g[2].awarded == 10 && g[2].verdict == VERDICT_WA);
    assert_true(g[3].awarded == 5 && g[3].verdict == VERDICT_TL);
    assert_true(p.all == 76 && p.awarded == 26);
    assert_true(fabs(p.score - 100.0 * 26 / 76) < 1e-9);
    t[3].verdict = t[4].verdict = VERDICT_NONE; /* not run: worth nothing, and its verdict is "-" */
    points_count(t, 8, g, 4, &p);
    assert_true(g[2].awarded == 0 && g[2].verdict == VERDICT_NONE);
    for (size_t i = 0; i < 8; i++)
        t[i] = (struct scored){1, NAN, VERDICT_OK, t[i].group};
    points_count(t, 8, g, 4, &p);
    assert_true(p.score == 100 && p.awarded == p.all);
}

static void test_a_group_ends_and_waits_for_others(void **state)
{
    (void)state;
    const size_t first[] = {0}, second[] = {1};
    struct group g[] = {{.stop = false}, {.stop = true, .needs = first, .n_needs = 1}, {.needs = second, .n_needs = 1}};
    struct scored t[] = {{1, NAN, VERDICT_OK, 0}, {1, NAN, VERDICT_OK, 0}, {1, NAN, VERDICT_OK, 1}, {1, NAN, VERDICT_OK, 1},
                         {1, NAN, VERDICT_NONE, 2}, {1, NAN, VERDICT_NONE, NO_GROUP}};
    for (size_t i = 0; i < 6; i++)
        assert_true(test_is_due(t, i, g));
    t[0].verdict = VERDICT_WA; /* group 0 goes on, and nothing depends on what has failed */
    assert_true(test_is_due(t, 1, g));
    assert_false(test_is_due(t, 2, g));
    t[0].verdict = VERDICT_OK;
    t[2].verdict = VERDICT_RE;
    assert_false(test_is_due(t, 3, g));
    t[3].verdict = VERDICT_NONE; /* and what was left out has not passed */
    assert_false(test_is_due(t, 4, g));
    assert_true(test_is_due(t, 5, g));
}

static void test_a_version_is_shown_as_a_whole_number_of_parts(void **state)
{
    (void)state;
    static const struct {
        const char *line, *wanted;
        bool shows;
    } row[] = {
        {"Python 3.11.2", "3.11.2", true},
        {"Python 3.11.2", "3.11", true},
        {"Python 3.11.2", "3", true},
        {"Python 3.11.2", "11.2", false},
        {"Python 3.11.2", "3.1", false},
        {"Python 3.11.2", "3.11.22", false},
        {"Python 3.110", "3.11", false},
        {"Python 13.11", "3.11", false},
        {"Python 3.11.2", "Python", true},
        {"Python 3.11.2", "ython", false},
        {"go version go1.19.8 linux/amd64", "1.19", true},
        {"v20.20.2", "20", true},
        {"gcc-12 (Debian 12.2.0-14+deb12u1) 12.2.0", "12.2.0-14+deb12u1", true},
        {"openjdk 17.0.15 2025-04-15", "17.0.15", true},
        {"Python 3.11.2", "", false},
        {"", "3", false},
    };
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        if (version_shows(row[i].line, assay_str(row[i].wanted)) != row[i].shows)
            fail_msg("%s in %s", row[i].wanted, row[i].line);
    }
}

static void test_hidden_tests_stay_hidden(void **state)
{
    (void)state;
    for (int f = ASSAY_FEEDBACK_NONE; f <= ASSAY_FEEDBACK_FULL; f++) {
        assert_int_equal(test_sight(f, false, false).details, f == ASSAY_FEEDBACK_FULL);
        assert_int_equal(test_sight(f, false, true).details, f >= ASSAY_FEEDBACK_SAMPLES);
        assert_int_equal(test_sight(f, false, false).verdict, f >= ASSAY_FEEDBACK_SAMPLES);
        assert_true(test_sight(f, true, false).details);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_run_becomes_a_verdict),
        cmocka_unit_test(test_a_run_is_tried_again_only_when_it_was_near_and_disturbed),
        cmocka_unit_test(test_lanes_have_processors_of_their_own),
        cmocka_unit_test(test_scores),
        cmocka_unit_test(test_groups_make_points_of_their_tests),
        cmocka_unit_test(test_a_group_ends_and_waits_for_others),
        cmocka_unit_test(test_a_version_is_shown_as_a_whole_number_of_parts),
        cmocka_unit_test(test_hidden_tests_stay_hidden),
    };
    return cmocka_run_group_tests_name("runner, pure parts", tests, NULL, NULL);
}
