/* The scoring service: its rules alone, and the whole over the real store. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "local.h"
#include "svc_harness.h"

/* ---- rules -------------------------------------------------------------------------------------- */

static void only_programs_outcomes_count(void **state)
{
    (void)state;
    static const struct {
        const char *verdict, *benchmark, *agent;
        double score;
        int rc;
        bool counts;
    } cases[] = {
        {"OK", "b", "a", 100, 0, true},   {"WA", "b", "a", 0, 0, true},  {"BF", "b", "a", 0, 0, true},
        {"IE", "b", "a", 0, 0, false},    {"OK", "", "", 100, 0, false}, {"TL", "b", "a", 33.3, 0, true},
        {"??", "b", "a", 0, ASSAY_E_INVALID, false}, {"", "b", "a", 0, ASSAY_E_INVALID, false},
        {"-", "b", "a", 0, ASSAY_E_INVALID, false},  {"OK", "b", "a", 101, ASSAY_E_INVALID, false},
        {"OK", "b", "a", -1, ASSAY_E_INVALID, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct assay_ev_done d = {.verdict = assay_str(cases[i].verdict),
                                  .benchmark_id = assay_str(cases[i].benchmark),
                                  .agent_id = assay_str(cases[i].agent),
                                  .score = cases[i].score};
        bool counts = false;
        assert_int_equal(scoring_judge(&d, &counts, NULL), cases[i].rc);
        assert_int_equal(counts, cases[i].counts);
    }
    struct assay_ev_done d = {.verdict = ASSAY_STR("OK"), .score = NAN};
    bool counts;
    assert_int_equal(scoring_judge(&d, &counts, NULL), ASSAY_E_INVALID);
}

static void feedback_decides_what_is_seen(void **state)
{
    (void)state;
    struct scoring_row row = {.owner_id = ASSAY_STR("u1"), .benchmark_owner = ASSAY_STR("teacher"), .feedback = ASSAY_FEEDBACK_NONE};
    struct scoring_viewer me = {.user_id = ASSAY_STR("u1"), .agent_id = ASSAY_STR("")};
    struct scoring_viewer teacher = {.user_id = ASSAY_STR("teacher"), .agent_id = ASSAY_STR("")};
    struct scoring_viewer teachers_agent = {.user_id = ASSAY_STR("teacher"), .agent_id = ASSAY_STR("bot")};
    struct scoring_viewer staff = {.user_id = ASSAY_STR("s"), .agent_id = ASSAY_STR(""), .staff = true};
    assert_false(scoring_outcome_visible(&me, &row));
    assert_true(scoring_owner_visible(&me, &row));
    assert_true(scoring_outcome_visible(&teacher, &row));
    assert_false(scoring_outcome_visible(&teachers_agent, &row));
    assert_true(scoring_outcome_visible(&staff, &row));
    row.feedback = ASSAY_FEEDBACK_VERDICT;
    assert_true(scoring_outcome_visible(&me, &row));
    assert_false(scoring_owner_visible(&teachers_agent, &row));
    /* an unknown benchmark has no owner, and nobody is it */
    struct scoring_row orphan = {.owner_id = ASSAY_STR("u1"), .benchmark_owner = ASSAY_STR("")};
    struct scoring_viewer nobody = {.user_id = ASSAY_STR(""), .agent_id = ASSAY_STR("")};
    assert_false(scoring_outcome_visible(&nobody, &orphan));
}

/* ---- the service --------------------------------------------------------------------------------- */

#define U1 "00000000-0000-7000-8000-000000000001"
#define S(n) "01900000-0000-7000-8000-0000000000" n

static void benchmark(struct svc *h, const char *id, const char *visibility, const char *feedback)
{
    char payload[300];
    (void)snprintf(payload, sizeof payload,
                   "{\"owner_id\":\"00000000-0000-7000-8000-00000000000b\",\"name\":\"n\",\"visibility\":\"%s\","
                   "\"feedback\":\"%s\",\"added_later\":1}",
                   visibility, feedback);
    svc_publish(h, "benchmark.changed", id, "", payload);
}

static void done(struct svc *h, const char *id, const char *benchmark_id, const char *agent, const char *verdict, double score)
{
    char payload[500];
    (void)snprintf(payload, sizeof payload,
                   "{\"problem_id\":\"p\",\"agent_id\":\"%s\",\"owner_id\":\"" U1 "\",\"benchmark_id\":\"%s\",\"verdict\":\"%s\","
                   "\"score\":%g,\"attempt\":1,\"created_ms\":1700000000000,\"finished_ms\":1700000001000,\"summary\":{}}",
                   agent, benchmark_id, verdict, score);
    svc_publish(h, "submission.done", id, U1, payload);
}

static int setup(void **state)
{
    struct svc *h = svc_new();
    svc_plugin(h, "scoring");
    svc_start(h);
    benchmark(h, "open", "public", "full");
    benchmark(h, "closed", "private", "full");
    benchmark(h, "silent", "public", "none");
    done(h, S("01"), "open", "ada", "OK", 100);
    done(h, S("02"), "open", "ada", "WA", 25);
    done(h, S("03"), "closed", "ada", "OK", 100);
    done(h, S("04"), "silent", "bob", "OK", 100);
    done(h, S("05"), "open", "ada", "IE", 0);
    done(h, S("06"), "unheard-of", "ada", "OK", 50);
    svc_pump(h);
    *state = h;
    return 0;
}

static int teardown(void **state)
{
    svc_free(*state);
    return 0;
}

static void what_others_do_behind_a_freeze_is_not_shown(void **state)
{
    struct svc *h = *state;
    /* the submissions of "open" are of 22:13:20: frozen since a second before, not thawed */
    svc_publish(h, "benchmark.changed", "open", "", "{\"owner_id\":\"o\",\"visibility\":\"public\",\"feedback\":\"full\","
                                                    "\"freezes_ms\":1699999999000,\"thaws_ms\":0}");
    svc_pump(h);
    assert_int_equal(svc_call(h, SVC_VIEWER, "GET", "/scores?benchmark_id=open", NULL).status, 200);
    struct svc_reply other = svc_call(h, SVC_VIEWER, "GET", "/scores?benchmark_id=open", NULL);
    struct svc_reply own = svc_call(h, SVC_USER, "GET", "/scores?benchmark_id=open", NULL);
    struct svc_reply jury = svc_call(h, SVC_ADMIN, "GET", "/scores?benchmark_id=open", NULL);
    assert_int_equal(svc_len(&other, "/items"), 0);
    assert_int_equal(svc_len(&own, "/items"), 2);
    assert_int_equal(svc_len(&jury, "/items"), 2);
    svc_publish(h, "benchmark.changed", "open", "", "{\"owner_id\":\"o\",\"visibility\":\"public\",\"feedback\":\"full\","
                                                    "\"freezes_ms\":1699999999000,\"thaws_ms\":1700000009000}");
    svc_pump(h);
    other = svc_call(h, SVC_VIEWER, "GET", "/scores?benchmark_id=open", NULL);
    assert_int_equal(svc_len(&other, "/items"), 2);
}

static void summaries_give_times_and_groups(void **state)
{
    (void)state;
    struct assay_arena *a = assay_arena_new(0);
    struct scoring_summary s;
    assert_int_equal(scoring_summary_read(ASSAY_STR("{\"cpu_ms\":12,\"x\":{},\"groups\":[{\"name\":\"g\",\"points_awarded\":2.5,\"y\":1}]}"),
                                          a, &s, NULL), 0);
    const struct assay_ev_number *g = s.groups.items;
    assert_true(s.cpu_ms == 12 && s.groups.n == 1 && g[0].value == 2.5 && assay_str_is(g[0].name, "g"));
    assert_int_equal(scoring_summary_read(ASSAY_STR("{\"groups\":7}"), a, &s, NULL), 0);
    assert_true(s.cpu_ms == -1 && s.groups.n == 0);
    assay_arena_free(a);
}

static void ends_become_scores_and_events(void **state)
{
    struct svc *h = *state;
    assert_int_equal(svc_count_events(h, "score.calculated"), 5);
    struct svc_reply r = svc_call(h, SVC_ADMIN, "GET", "/scores", NULL);
    assert_int_equal(r.status, 200);
    assert_int_equal(svc_len(&r, "/items"), 5);
    assert_string_equal(svc_str(&r, "/items/0/submission_id"), S("06"));
    assert_string_equal(svc_str(&r, "/items/4/submission_id"), S("01"));
    assert_string_equal(svc_str(&r, "/items/4/submitted_at"), "2023-11-14T22:13:20.000Z");
    assert_true(svc_real(&r, "/items/3/score") > 24.9 && svc_real(&r, "/items/3/score") < 25.1);
    const struct assay_event_row *ev = svc_event(h, "score.calculated", 0);
    assert_true(assay_str_is(ev->ev.subject, S("06")));
    assert_true(assay_str_is(ev->ev.owner, U1));
    assert_true(assay_str_is(ev->ev.benchmark, "unheard-of"));
}

static void owners_and_the_public_see_what_is_theirs(void **state)
{
    struct svc *h = *state;
    struct svc_reply r = svc_call(h, SVC_USER, "GET", "/scores", NULL);
    assert_int_equal(svc_len(&r, "/items"), 5);
    assert_true(svc_has(&r, "/items/0/owner_id"));
    r = svc_call(h, SVC_USER2, "GET", "/scores", NULL);
    assert_int_equal(svc_len(&r, "/items"), 3); /* of public benchmarks */
    assert_false(svc_has(&r, "/items/0/owner_id"));
    assert_string_equal(svc_str(&r, "/items/0/benchmark_id"), "silent");
    assert_null(svc_str(&r, "/items/0/verdict"));
    assert_string_equal(svc_str(&r, "/items/1/verdict"), "WA");
    r = svc_call(h, SVC_USER2, "GET", "/scores?submission_id=" S("03"), NULL);
    assert_int_equal(svc_len(&r, "/items"), 0);
    r = svc_call(h, SVC_USER, "GET", "/scores?submission_id=" S("04"), NULL);
    assert_int_equal(svc_len(&r, "/items"), 1);
    assert_null(svc_str(&r, "/items/0/verdict"));
    r = svc_call(h, SVC_INSTRUCTOR, "GET", "/scores?benchmark_id=silent", NULL);
    assert_string_equal(svc_str(&r, "/items/0/verdict"), "OK");
    /* a change of the benchmark holds at once */
    benchmark(h, "open", "private", "full");
    svc_pump(h);
    r = svc_call(h, SVC_VIEWER, "GET", "/scores", NULL);
    assert_int_equal(svc_len(&r, "/items"), 1);
}

static void filters_and_pages(void **state)
{
    struct svc *h = *state;
    struct svc_reply r = svc_call(h, SVC_ADMIN, "GET", "/scores?agent_id=ada&benchmark_id=open", NULL);
    assert_int_equal(svc_len(&r, "/items"), 2);
    r = svc_call(h, SVC_ADMIN, "GET", "/scores?agent_id=bob", NULL);
    assert_int_equal(svc_len(&r, "/items"), 1);
    r = svc_call(h, SVC_ADMIN, "GET", "/scores?since=2023-11-14T22:13:21Z", NULL);
    assert_int_equal(svc_len(&r, "/items"), 0);
    int seen = 0;
    char target[300] = "/scores?limit=2";
    for (int page = 0; page < 4; page++) {
        r = svc_call(h, SVC_ADMIN, "GET", target, NULL);
        assert_int_equal(r.status, 200);
        seen += svc_len(&r, "/items");
        const char *next = svc_str(&r, "/next_cursor");
        if (!next)
            break;
        (void)snprintf(target, sizeof target, "/scores?limit=2&cursor=%s", next);
    }
    assert_int_equal(seen, 5);
    static const char *const bad[] = {"/scores?limit=0",       "/scores?limit=501",      "/scores?cursor=%21",
                                      "/scores?since=today",   "/scores?agent_id=A%20b", "/scores?colour=red",
                                      "/scores?agent_id=a&agent_id=b"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(svc_call(h, SVC_ADMIN, "GET", bad[i], NULL).status, 400);
}

static void judged_again_and_deleted(void **state)
{
    struct svc *h = *state;
    done(h, S("01"), "open", "ada", "WA", 10);
    svc_publish(h, "submission.deleted", S("02"), U1, "{}");
    svc_pump(h);
    struct svc_reply r = svc_call(h, SVC_ADMIN, "GET", "/scores?benchmark_id=open", NULL);
    assert_int_equal(svc_len(&r, "/items"), 1);
    assert_string_equal(svc_str(&r, "/items/0/verdict"), "WA");
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_programs_outcomes_count),
        cmocka_unit_test(feedback_decides_what_is_seen),
        cmocka_unit_test(summaries_give_times_and_groups),
        T(what_others_do_behind_a_freeze_is_not_shown),
        T(ends_become_scores_and_events),
        T(owners_and_the_public_see_what_is_theirs),
        T(filters_and_pages),
        T(judged_again_and_deleted),
    };
    return cmocka_run_group_tests_name("scoring", tests, NULL, NULL);
}
