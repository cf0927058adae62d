/* The benchmarks service through its handlers, over the real store. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>

#include <assay/events.h>
#include <assay/manifest.h>
#include <assay/value.h>

#include "svc_harness.h"

static int setup(void **state)
{
    struct svc *h = svc_new();
    svc_plugin(h, "benchmarks");
    svc_start(h);
    *state = h;
    return 0;
}

static int teardown(void **state)
{
    svc_free(*state);
    return 0;
}

static const char SUM[] =
    "{\"id\":\"sum\",\"name\":\"Sum\",\"description\":\"Add two numbers\",\"languages\":[\"c\",\"python\"],"
    "\"statement\":\"Read two numbers, print their sum.\",\"compare\":\"tokens\",\"limits\":{\"time_limit_ms\":1000},"
    "\"tests\":[{\"name\":\"one\",\"input\":\"1 2\\n\",\"expected_output\":\"3\\n\",\"sample\":true},"
    "{\"input\":\"10 -5\\n\",\"expected_output\":\"5\\n\",\"points\":3},{\"input\":\"\",\"expected_output\":\"\"}]}";

static struct assay_ev_problem last_problem(struct svc *h)
{
    struct assay_ev_problem p;
    const struct assay_event_row *ev = svc_event(h, "problem.changed", 0);
    assert_non_null(ev);
    assert_int_equal(assay_ev_problem_decode(ev->ev.payload, svc_arena(h), &p, NULL), 0);
    return p;
}

static struct assay_manifest last_manifest(struct svc *h)
{
    struct assay_ev_problem p = last_problem(h);
    struct assay_str text;
    struct assay_manifest m;
    assert_int_equal(assay_blob_get(svc_blobs(h), p.manifest_ref, 1 << 20, svc_arena(h), &text, NULL), 0);
    assert_int_equal(assay_manifest_decode(text, svc_arena(h), &m, NULL), 0);
    assert_int_equal(m.version, p.version);
    return m;
}

static void a_benchmark_with_tests_is_one_problem_at_once(void **state)
{
    struct svc *h = *state;
    struct svc_reply r = svc_call(h, SVC_INSTRUCTOR, "POST", "/benchmarks", SUM);
    assert_int_equal(r.status, 201);
    assert_string_equal(r.location, "/benchmarks/sum");
    assert_string_equal(svc_str(&r, "/visibility"), "public");
    assert_string_equal(svc_str(&r, "/feedback"), "samples");
    assert_int_equal(svc_len(&r, "/problems"), 1);
    assert_int_equal(svc_count_events(h, "benchmark.changed"), 1);
    struct assay_ev_benchmark b;
    assert_int_equal(assay_ev_benchmark_decode(svc_event(h, "benchmark.changed", 0)->ev.payload, svc_arena(h), &b, NULL), 0);
    assert_true(assay_str_is(b.name, "Sum") && b.languages.n == 2 && b.entrants.n == 0 && !b.deleted);
    assert_int_equal(b.feedback, ASSAY_FEEDBACK_SAMPLES);

    struct assay_ev_problem p = last_problem(h);
    assert_true(assay_str_is(p.benchmark_id, "sum") && p.position == 1 && p.version == 1);
    struct assay_manifest m = last_manifest(h);
    const struct assay_manifest_test *t = m.tests.items;
    assert_int_equal(m.tests.n, 3);
    assert_int_equal(m.time_limit_ms, 1000);
    assert_int_equal(m.wall_limit_ms, 3000);
    assert_int_equal(m.hard_time_limit_ms, 1200);
    assert_int_equal(m.memory_limit_bytes, 256 << 20);
    assert_int_equal(m.compare, ASSAY_COMPARE_TOKENS);
    assert_true(t[0].sample && !t[1].sample && t[1].points == 3 && t[0].points == 1 && t[2].input_ref.n == 0);
    struct assay_str input;
    assert_int_equal(assay_blob_get(svc_blobs(h), t[1].input_ref, 100, svc_arena(h), &input, NULL), 0);
    assert_true(assay_str_is(input, "10 -5\n"));

    assert_int_equal(svc_call(h, SVC_INSTRUCTOR, "POST", "/benchmarks", SUM).status, 409);
    assert_int_equal(svc_call(h, SVC_USER, "POST", "/benchmarks", SUM).status, 403);
}

static void hidden_tests_stay_hidden(void **state)
{
    struct svc *h = *state;
    struct svc_reply r = svc_call(h, SVC_INSTRUCTOR, "POST", "/benchmarks", SUM);
    char path[96];
    snprintf(path, sizeof path, "/problems/%s/tests", svc_str(&r, "/problems/0/id"));
    r = svc_call(h, SVC_USER, "GET", path, NULL);
    assert_int_equal(svc_len(&r, "/items"), 1);
    assert_string_equal(svc_str(&r, "/items/0/input"), "1 2\n");
    assert_null(memmem(r.body.p, r.body.n, "-5", 2));
    struct assay_principal bot = svc_instructor; /* a token of an agent of the owner's */
    bot.role = ASSAY_ROLE_AGENT;
    bot.agent_id = ASSAY_STR("bot");
    bot.scopes = ASSAY_STR("benchmarks:read");
    r = svc_call(h, &bot, "GET", path, NULL);
    assert_int_equal(svc_len(&r, "/items"), 1);
    r = svc_call(h, SVC_ADMIN, "GET", path, NULL);
    assert_int_equal(svc_len(&r, "/items"), 3);
    assert_string_equal(svc_str(&r, "/items/1/expected_output"), "5\n");
    assert_int_equal(svc_int(&r, "/items/2/number"), 3);
    char page[160];
    snprintf(page, sizeof page, "%s?limit=2", path);
    r = svc_call(h, SVC_ADMIN, "GET", page, NULL);
    assert_int_equal(svc_len(&r, "/items"), 2);
    snprintf(page, sizeof page, "%s?limit=2&cursor=%s", path, svc_str(&r, "/next_cursor"));
    r = svc_call(h, SVC_ADMIN, "GET", page, NULL);
    assert_int_equal(svc_len(&r, "/items"), 1);
    assert_null(svc_str(&r, "/next_cursor"));
}

static void all_faults_come_at_once_and_nothing_is_stored(void **state)
{
    struct svc *h = *state;
    struct svc_reply r = svc_call(h, SVC_INSTRUCTOR, "POST", "/benchmarks",
                                  "{\"id\":\"Bad Id\",\"visibility\":\"secret\",\"feedback\":1,\"starts_at\":\"today\",\"colour\":2,"
                                  "\"limits\":{\"time_limit_ms\":1,\"memory_limit_bytes\":1,\"stack\":5},\"mode\":\"harness\","
                                  "\"languages\":[\"C C\"],\"tests\":[{\"input\":1},{\"points\":0}]}");
    assert_int_equal(r.status, 400);
    static const char *const at[] = {"/id", "/visibility", "/feedback", "/starts_at", "/colour", "/limits/time_limit_ms",
                                     "/limits/memory_limit_bytes", "/limits/stack", "/languages/0", "/tests/0/input"};
    for (size_t i = 0; i < sizeof at / sizeof at[0]; i++) {
        if (!svc_faulted(&r, at[i]))
            fail_msg("no fault at %s in %.*s", at[i], ASSAY_FMT(r.body));
    }
    r = svc_call(h, SVC_INSTRUCTOR, "POST", "/benchmarks", "{\"name\":\"x\",\"statement\":\"without tests\"}");
    assert_true(svc_faulted(&r, "/statement"));
    r = svc_call(h, SVC_INSTRUCTOR, "POST", "/benchmarks", "{}");
    assert_true(svc_faulted(&r, "/name"));
    r = svc_call(h, SVC_INSTRUCTOR, "POST", "/benchmarks", "{\"name\":\"x\",\"tests\":[]}");
    assert_true(svc_faulted(&r, "/tests"));
    assert_int_equal(svc_count_events(h, "*.*") + svc_count_events(h, "benchmark.*"), 0);
    r = svc_call(h, SVC_ADMIN, "GET", "/benchmarks", NULL);
    assert_int_equal(svc_len(&r, "/items"), 0);
}

static void problems_are_added_changed_moved_and_removed(void **state)
{
    struct svc *h = *state;
    assert_int_equal(svc_call(h, SVC_INSTRUCTOR, "POST", "/benchmarks", "{\"id\":\"cup\",\"name\":\"Cup\"}").status, 201);
    for (int i = 1; i <= 3; i++) {
        char body[256];
        snprintf(body, sizeof body, "{\"id\":\"p%d\",\"name\":\"P%d\",\"tests\":[{\"input\":\"%d\",\"expected_output\":\"%d\"}]}", i, i, i, i);
        struct svc_reply r = svc_call(h, SVC_INSTRUCTOR, "POST", "/benchmarks/cup/problems", body);
        assert_int_equal(r.status, 201);
        assert_int_equal(svc_int(&r, "/position"), i);
    }
    assert_int_equal(svc_call(h, SVC_INSTRUCTOR, "POST", "/benchmarks/cup/problems", "{\"id\":\"p1\",\"name\":\"again\"}").status, 409);
    assert_int_equal(svc_call(h, SVC_INSTRUCTOR, "POST", "/benchmarks/cup/problems", "{\"name\":\"x\",\"position\":2}").status, 409);
    assert_int_equal(svc_call(h, SVC_INSTRUCTOR, "POST", "/benchmarks/none/problems", "{\"name\":\"x\"}").status, 404);
    assert_int_equal(svc_call(h, SVC_USER, "PATCH", "/problems/p1", "{\"name\":\"x\"}").status, 403);

    struct svc_reply r = svc_call(h, SVC_INSTRUCTOR, "PATCH", "/problems/p2",
                                  "{\"limits\":{\"time_limit_ms\":4000},\"compare\":\"float\",\"float_abs\":1e-6,\"position\":9}");
    assert_int_equal(r.status, 200);
    assert_int_equal(svc_int(&r, "/version"), 2);
    assert_int_equal(svc_int(&r, "/limits/wall_limit_ms"), 9000);
    assert_string_equal(svc_str(&r, "/name"), "P2");
    struct assay_manifest m = last_manifest(h);
    assert_int_equal(m.version, 2);
    assert_int_equal(m.compare, ASSAY_COMPARE_FLOAT);
    assert_int_equal(m.tests.n, 1); /* carried over */
    assert_int_equal(last_problem(h).position, 9);
    assert_int_equal(svc_call(h, SVC_INSTRUCTOR, "PATCH", "/problems/p2", "{\"position\":1}").status, 409);

    r = svc_call(h, SVC_USER, "GET", "/benchmarks/cup/problems?limit=2", NULL);
    assert_string_equal(svc_str(&r, "/items/1/id"), "p3");
    char next[128];
    snprintf(next, sizeof next, "/benchmarks/cup/problems?limit=2&cursor=%s", svc_str(&r, "/next_cursor"));
    r = svc_call(h, SVC_USER, "GET", next, NULL);
    assert_int_equal(svc_len(&r, "/items"), 1);
    assert_string_equal(svc_str(&r, "/items/0/id"), "p2");

    r = svc_call(h, SVC_INSTRUCTOR, "PUT", "/problems/p3/tests", "{\"tests\":[{\"input\":\"a\\u0000b\",\"sample\":true},{\"input\":\"b\"}]}");
    assert_int_equal(r.status, 200);
    assert_int_equal(svc_int(&r, "/test_count"), 2);
    assert_int_equal(svc_int(&r, "/sample_count"), 1);
    assert_int_equal(last_manifest(h).tests.n, 2);
    r = svc_call(h, SVC_INSTRUCTOR, "PUT", "/problems/p3/tests", "{\"tests\":[{\"points\":-1}]}");
    assert_int_equal(r.status, 400);
    r = svc_call(h, SVC_INSTRUCTOR, "PUT", "/problems/p3/tests", "{\"tests\":[{\"points\":0}]}");
    assert_true(svc_faulted(&r, "/tests/0/points"));

    assert_int_equal(svc_call(h, SVC_INSTRUCTOR, "DELETE", "/problems/p1", NULL).status, 204);
    assert_true(last_problem(h).deleted);
    assert_int_equal(svc_call(h, SVC_INSTRUCTOR, "GET", "/problems/p1", NULL).status, 404);
    r = svc_call(h, SVC_USER, "GET", "/benchmarks/cup", NULL);
    assert_int_equal(svc_len(&r, "/problems"), 2);
    assert_int_equal(svc_call(h, SVC_INSTRUCTOR, "DELETE", "/benchmarks/cup", NULL).status, 204);
    assert_int_equal(svc_call(h, SVC_ADMIN, "GET", "/benchmarks/cup", NULL).status, 404);
    assert_int_equal(svc_call(h, SVC_ADMIN, "GET", "/problems/p2", NULL).status, 404);
    assert_true(last_problem(h).deleted);
    assert_int_equal(svc_count_events(h, "problem.changed"), 3 + 1 + 1 + 1 + 2);
    assert_int_equal(svc_call(h, SVC_INSTRUCTOR, "POST", "/benchmarks", "{\"id\":\"cup\"}").status, 409);
}

static void a_harness_is_shown_to_judges_only(void **state)
{
    struct svc *h = *state;
    assert_int_equal(svc_call(h, SVC_INSTRUCTOR, "POST", "/benchmarks", "{\"id\":\"b\"}").status, 201);
    struct svc_reply r = svc_call(h, SVC_INSTRUCTOR, "POST", "/benchmarks/b/problems",
                                  "{\"id\":\"p\",\"name\":\"P\",\"mode\":\"harness\",\"harness\":{\"language\":\"python\",\"source\":\"print(1)\"},"
                                  "\"tests\":[{\"expected_output\":\"1\\n\"}]}");
    assert_int_equal(r.status, 201);
    assert_string_equal(svc_str(&r, "/harness/source"), "print(1)");
    r = svc_call(h, SVC_USER, "GET", "/problems/p", NULL);
    assert_string_equal(svc_str(&r, "/harness/language"), "python");
    assert_false(svc_has(&r, "/harness/source"));
    struct assay_manifest m = last_manifest(h);
    assert_true(m.mode == ASSAY_JUDGE_HARNESS && assay_str_is(m.harness_language, "python") && m.harness_ref.n == 64);
    /* a change of something else keeps it; null takes it away, with the mode */
    r = svc_call(h, SVC_INSTRUCTOR, "PATCH", "/problems/p", "{\"stop_on_failure\":true}");
    assert_string_equal(svc_str(&r, "/harness/source"), "print(1)");
    r = svc_call(h, SVC_INSTRUCTOR, "PATCH", "/problems/p", "{\"harness\":null}");
    assert_true(svc_faulted(&r, "/harness"));
    r = svc_call(h, SVC_INSTRUCTOR, "PATCH", "/problems/p", "{\"harness\":null,\"mode\":\"program\"}");
    assert_int_equal(r.status, 200);
    assert_true(last_manifest(h).harness_ref.n == 0 && last_manifest(h).stop_on_failure);
}

static void private_benchmarks_are_seen_by_owner_staff_and_entrants(void **state)
{
    struct svc *h = *state;
    assert_int_equal(svc_call(h, SVC_INSTRUCTOR, "POST", "/benchmarks",
                              "{\"id\":\"secret\",\"visibility\":\"private\",\"entrants\":[\"bot\",\"other-bot\"],"
                              "\"tests\":[{\"input\":\"1\",\"sample\":true}]}").status, 201);
    assert_int_equal(svc_call(h, SVC_INSTRUCTOR, "POST", "/benchmarks", "{\"id\":\"open\"}").status, 201);
    assert_int_equal(svc_call(h, SVC_USER, "GET", "/benchmarks/secret", NULL).status, 404);
    assert_int_equal(svc_call(h, SVC_USER, "GET", "/benchmarks/secret/problems", NULL).status, 404);
    struct svc_reply r = svc_call(h, SVC_USER, "GET", "/benchmarks", NULL);
    assert_int_equal(svc_len(&r, "/items"), 1);
    r = svc_call(h, SVC_ADMIN, "GET", "/benchmarks?visibility=private", NULL);
    assert_int_equal(svc_len(&r, "/items"), 1);
    assert_int_equal(svc_int(&r, "/items/0/entrant_count"), 2);

    /* word comes that "bot" is the user's */
    char payload[160];
    snprintf(payload, sizeof payload, "{\"owner_id\":\"%s\",\"name\":\"Bot\",\"deleted\":false}", svc_user.user_id.p);
    svc_publish(h, "agent.changed", "bot", svc_user.user_id.p, payload);
    svc_pump(h);
    r = svc_call(h, SVC_USER, "GET", "/benchmarks/secret", NULL);
    assert_int_equal(r.status, 200);
    assert_int_equal(svc_len(&r, "/entrants"), 2);
    r = svc_call(h, SVC_USER, "GET", "/benchmarks", NULL);
    assert_int_equal(svc_len(&r, "/items"), 2);
    assert_int_equal(svc_call(h, SVC_USER2, "GET", "/benchmarks/secret", NULL).status, 404);
    struct assay_principal token = {.authenticated = true, .role = ASSAY_ROLE_AGENT, .user_id = svc_user2.user_id,
                                    .agent_id = ASSAY_STR("other-bot"), .scopes = ASSAY_STR("benchmarks:read")};
    assert_int_equal(svc_call(h, &token, "GET", "/benchmarks/secret", NULL).status, 200);
    r = svc_call(h, &token, "GET", "/benchmarks", NULL);
    assert_int_equal(svc_len(&r, "/items"), 2);
    token.scopes = ASSAY_STR("results:read");
    assert_int_equal(svc_call(h, &token, "GET", "/benchmarks/secret", NULL).status, 403);

    /* struck off the list */
    r = svc_call(h, SVC_INSTRUCTOR, "PATCH", "/benchmarks/secret", "{\"entrants\":null}");
    assert_int_equal(r.status, 200);
    assert_int_equal(svc_len(&r, "/entrants"), 0);
    assert_int_equal(svc_call(h, SVC_USER, "GET", "/benchmarks/secret", NULL).status, 404);
}

static void long_lists_of_entrants_are_kept_whole(void **state)
{
    struct svc *h = *state;
    struct assay_buf b = ASSAY_BUF_INIT;
    assay_buf_puts(&b, "{\"id\":\"big\",\"visibility\":\"private\",\"entrants\":[");
    for (int i = 0; i < 1000; i++)
        assay_buf_fmt(&b, "%s\"agent-%d-%s\"", i ? "," : "", i, i % 2 ? "x" : "a-rather-long-slug");
    assay_buf_puts(&b, "]}");
    assert_int_equal(svc_call(h, SVC_INSTRUCTOR, "POST", "/benchmarks", b.p).status, 201);
    assay_buf_free(&b);
    struct assay_principal token = {.authenticated = true, .role = ASSAY_ROLE_AGENT, .user_id = svc_user.user_id,
                                    .scopes = ASSAY_STR("benchmarks:read")};
    static const char *const ids[] = {"agent-0-a-rather-long-slug", "agent-199-x", "agent-200-a-rather-long-slug", "agent-999-x"};
    for (size_t i = 0; i < 4; i++) {
        token.agent_id = assay_str(ids[i]);
        struct svc_reply r = svc_call(h, &token, "GET", "/benchmarks", NULL);
        assert_int_equal(svc_len(&r, "/items"), 1);
    }
    token.agent_id = ASSAY_STR("agent-199");
    struct svc_reply r = svc_call(h, &token, "GET", "/benchmarks", NULL);
    assert_int_equal(svc_len(&r, "/items"), 0);
}

static void problems_are_secret_until_the_start(void **state)
{
    struct svc *h = *state;
    struct svc_reply r = svc_call(h, SVC_INSTRUCTOR, "POST", "/benchmarks",
                                  "{\"id\":\"later\",\"starts_at\":\"2999-01-01T00:00:00Z\",\"ends_at\":\"2999-01-02T00:00:00Z\","
                                  "\"statement\":\"secret\",\"tests\":[{\"sample\":true}]}");
    char path[96];
    snprintf(path, sizeof path, "/problems/%s", svc_str(&r, "/problems/0/id"));
    assert_int_equal(svc_call(h, SVC_USER, "GET", path, NULL).status, 404);
    assert_int_equal(svc_call(h, SVC_ADMIN, "GET", path, NULL).status, 200);
    assert_int_equal(svc_call(h, SVC_USER, "GET", "/benchmarks/later/problems", NULL).status, 403);
    r = svc_call(h, SVC_USER, "GET", "/benchmarks/later", NULL);
    assert_int_equal(r.status, 200);
    assert_int_equal(svc_len(&r, "/problems"), 0);
    r = svc_call(h, SVC_INSTRUCTOR, "PATCH", "/benchmarks/later", "{\"starts_at\":null}");
    assert_int_equal(r.status, 200);
    assert_string_equal(svc_str(&r, "/ends_at"), "2999-01-02T00:00:00.000Z");
    assert_int_equal(svc_call(h, SVC_USER, "GET", path, NULL).status, 200);
    r = svc_call(h, SVC_INSTRUCTOR, "PATCH", "/benchmarks/later", "{\"starts_at\":\"2999-01-03T00:00:00Z\"}");
    assert_true(svc_faulted(&r, "/ends_at"));
}

static void a_benchmark_pins_how_interpreters_begin(void **state)
{
    struct svc *h = *state;
    struct assay_ev_benchmark b;
    struct svc_reply r = svc_call(h, SVC_INSTRUCTOR, "POST", "/benchmarks", "{\"id\":\"any\"}");
    assert_int_equal(r.status, 201);
    assert_string_equal(svc_str(&r, "/warm_interpreters"), "auto");
    r = svc_call(h, SVC_INSTRUCTOR, "POST", "/benchmarks", "{\"id\":\"cold\",\"warm_interpreters\":\"off\"}");
    assert_int_equal(r.status, 201);
    assert_string_equal(svc_str(&r, "/warm_interpreters"), "off");
    r = svc_call(h, SVC_INSTRUCTOR, "PATCH", "/benchmarks/cold", "{\"name\":\"kept\"}");
    assert_string_equal(svc_str(&r, "/warm_interpreters"), "off");
    assert_int_equal(assay_ev_benchmark_decode(svc_event(h, "benchmark.changed", 0)->ev.payload, svc_arena(h), &b, NULL), 0);
    assert_int_equal(b.warm_interpreters, ASSAY_WARM_OFF);
    r = svc_call(h, SVC_INSTRUCTOR, "PATCH", "/benchmarks/cold", "{\"warm_interpreters\":\"on\"}");
    assert_int_equal(r.status, 200);
    r = svc_call(h, SVC_USER, "GET", "/benchmarks/cold", NULL);
    assert_string_equal(svc_str(&r, "/warm_interpreters"), "on");
    assert_int_equal(svc_int(&r, "/priority"), ASSAY_PRIORITY_DEFAULT);
    assert_int_equal(b.priority, ASSAY_PRIORITY_DEFAULT);
    r = svc_call(h, SVC_INSTRUCTOR, "PATCH", "/benchmarks/cold", "{\"priority\":11}");
    assert_int_equal(r.status, 400);
    assert_true(svc_faulted(&r, "/priority"));
    r = svc_call(h, SVC_ADMIN, "PATCH", "/benchmarks/cold", "{\"priority\":70}");
    assert_int_equal(r.status, 200);
    r = svc_call(h, SVC_INSTRUCTOR, "PATCH", "/benchmarks/cold", "{\"name\":\"Cold\"}");
    assert_int_equal(r.status, 200);
    assert_int_equal(svc_int(&r, "/priority"), 70);
    assert_int_equal(assay_ev_benchmark_decode(svc_event(h, "benchmark.changed", 0)->ev.payload, svc_arena(h), &b, NULL), 0);
    assert_int_equal(b.priority, 70);
    r = svc_call(h, SVC_INSTRUCTOR, "PATCH", "/benchmarks/cold", "{\"warm_interpreters\":\"maybe\"}");
    assert_int_equal(r.status, 400);
    assert_true(svc_faulted(&r, "/warm_interpreters"));
}

static void only_owner_and_admin_change(void **state)
{
    struct svc *h = *state;
    svc_call(h, SVC_INSTRUCTOR, "POST", "/benchmarks", "{\"id\":\"mine\"}");
    struct assay_principal other = svc_instructor;
    other.user_id = ASSAY_STR("00000000-0000-7000-8000-0000000000bb");
    assert_int_equal(svc_call(h, &other, "PATCH", "/benchmarks/mine", "{\"name\":\"x\"}").status, 403);
    assert_int_equal(svc_call(h, &other, "DELETE", "/benchmarks/mine", NULL).status, 403);
    assert_int_equal(svc_call(h, &other, "POST", "/benchmarks/mine/problems", "{\"name\":\"x\"}").status, 403);
    assert_int_equal(svc_call(h, SVC_ADMIN, "PATCH", "/benchmarks/mine", "{\"name\":\"x\"}").status, 200);
    struct assay_ev_benchmark b;
    assert_int_equal(assay_ev_benchmark_decode(svc_event(h, "benchmark.changed", 0)->ev.payload, svc_arena(h), &b, NULL), 0);
    assert_true(assay_str_is(b.name, "x") && assay_str_eq(b.owner_id, svc_instructor.user_id));
}

static void a_retried_creation_gives_the_first_answer(void **state)
{
    struct svc *h = *state;
    struct svc_reply a = svc_call_as(h, SVC_INSTRUCTOR, "POST", "/benchmarks", SUM, "k", NULL);
    struct svc_reply b = svc_call_as(h, SVC_INSTRUCTOR, "POST", "/benchmarks", SUM, "k", NULL);
    assert_int_equal(a.status, 201);
    assert_true(b.status == 201 && assay_str_eq(a.body, b.body));
    assert_int_equal(svc_call_as(h, SVC_INSTRUCTOR, "POST", "/benchmarks", "{\"id\":\"x\"}", "k", NULL).status, 422);
    a = svc_call_as(h, SVC_INSTRUCTOR, "POST", "/benchmarks/sum/problems", "{\"name\":\"two\"}", "k", NULL);
    b = svc_call_as(h, SVC_INSTRUCTOR, "POST", "/benchmarks/sum/problems", "{\"name\":\"two\"}", "k", NULL);
    assert_int_equal(a.status, 201);
    assert_true(assay_str_eq(a.body, b.body));
    struct svc_reply r = svc_call(h, SVC_USER, "GET", "/benchmarks/sum", NULL);
    assert_int_equal(svc_len(&r, "/problems"), 2);
}

struct adder {
    struct svc *h;
    pthread_t thread;
    int made;
};

static void *add_problems(void *arg)
{
    struct adder *a = arg;
    for (int i = 0; i < 5; i++) {
        struct svc_reply r = svc_call(a->h, SVC_INSTRUCTOR, "POST", "/benchmarks/race/problems", "{\"name\":\"x\",\"tests\":[{\"input\":\"1\"}]}");
        if (r.status == 503) /* overtaken eight times: a client tries again */
            i--;
        else
            a->made += r.status == 201;
    }
    return NULL;
}

static void concurrent_additions_never_share_a_position(void **state)
{
    struct svc *h = *state;
    svc_call(h, SVC_INSTRUCTOR, "POST", "/benchmarks", "{\"id\":\"race\"}");
    struct adder a[4];
    for (int i = 0; i < 4; i++) {
        a[i] = (struct adder){.h = h};
        assert_int_equal(pthread_create(&a[i].thread, NULL, add_problems, &a[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(a[i].thread, NULL);
        assert_int_equal(a[i].made, 5);
    }
    struct svc_reply r = svc_call(h, SVC_ADMIN, "GET", "/benchmarks/race/problems?limit=100", NULL);
    assert_int_equal(svc_len(&r, "/items"), 20);
    for (int i = 0; i < 20; i++) {
        char pointer[40];
        snprintf(pointer, sizeof pointer, "/items/%d/position", i);
        assert_int_equal(svc_int(&r, pointer), i + 1);
    }
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(a_benchmark_with_tests_is_one_problem_at_once),
        T(hidden_tests_stay_hidden),
        T(all_faults_come_at_once_and_nothing_is_stored),
        T(problems_are_added_changed_moved_and_removed),
        T(a_harness_is_shown_to_judges_only),
        T(private_benchmarks_are_seen_by_owner_staff_and_entrants),
        T(long_lists_of_entrants_are_kept_whole),
        T(problems_are_secret_until_the_start),
        T(a_benchmark_pins_how_interpreters_begin),
        T(only_owner_and_admin_change),
        T(a_retried_creation_gives_the_first_answer),
        T(concurrent_additions_never_share_a_position),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
