/* The traces service: its rules alone, and the whole over the real store. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "local.h"
#include "svc_harness.h"

/* ---- rules -------------------------------------------------------------------------------------- */

static struct tr_span span(const char *name, const char *parent)
{
    return (struct tr_span){.name = assay_str(name), .parent = assay_str(parent), .first = -1, .last = -1, .next = -1};
}

static void spans_become_a_tree(void **state)
{
    (void)state;
    struct tr_span s[] = {span("submission", ""), span("build", "submission"), span("link", "build"),
                          span("run", "nowhere"), span("link", "run"),         span("deep", "link"),
                          span("self", "self")};
    tr_link(s, 1, 7);
    assert_int_equal(s[0].first, 1); /* build: "submission" is not of the same source, so the root */
    assert_int_equal(s[1].first, 2);
    assert_int_equal(s[1].next, 3);
    assert_int_equal(s[3].first, 4);
    assert_int_equal(s[4].first, 5); /* the nearest of that name */
    assert_int_equal(s[2].first, -1);
    assert_int_equal(s[3].next, 6);
    assert_int_equal(s[6].first, -1);
}

static void deep_chains_end_at_the_root(void **state)
{
    (void)state;
    enum { N = 300 };
    static struct tr_span s[N];
    char name[N][16];
    s[0] = span("submission", "");
    for (int i = 1; i < N; i++) {
        (void)snprintf(name[i], sizeof name[i], "s%d", i);
        s[i] = span(name[i], i > 1 ? name[i - 1] : "");
    }
    tr_link(s, 1, N);
    int seen = 0, deepest = 0;
    for (int c = s[0].first; c >= 0; c = s[c].next) {
        int depth = 0;
        for (int d = c; d >= 0; d = s[d].first)
            depth++;
        seen += depth;
        deepest = depth > deepest ? depth : deepest;
    }
    assert_int_equal(seen, N - 1);
    assert_int_equal(deepest, TRACES_DEPTH_MAX);
}

static void events_tell_the_stages(void **state)
{
    (void)state;
    struct tr_event ev[] = {{100, ASSAY_STR("submission.created"), ASSAY_STR("")},
                            {200, ASSAY_STR("submission.running"), ASSAY_STR("")},
                            {300, ASSAY_STR("submission.queued"), ASSAY_STR("worker died")},
                            {400, ASSAY_STR("submission.running"), ASSAY_STR("")},
                            {500, ASSAY_STR("submission.done"), ASSAY_STR("")}};
    struct tr_span out[5];
    assert_int_equal(tr_stages(ev, 5, out), 4);
    assert_true(assay_str_is(out[0].name, "queued") && out[0].start_ms == 100 && out[0].end_ms == 200);
    assert_true(assay_str_is(out[1].name, "judging") && out[1].end_ms == 300);
    assert_true(assay_str_is(out[3].name, "judging") && out[3].end_ms == 500);
    assert_int_equal(tr_stages(ev, 2, out), 2);
    assert_int_equal(out[1].end_ms, 0);
}

static void feedback_decides_what_is_seen(void **state)
{
    (void)state;
    struct tr_submission s = {.level = ASSAY_FEEDBACK_NONE};
    assert_false(tr_verdict_visible(&s));
    assert_true(tr_span_visible(&s, ASSAY_STR("build")));
    assert_false(tr_span_visible(&s, ASSAY_STR("test 1")));
    s.level = ASSAY_FEEDBACK_FIRST_FAILURE;
    assert_true(tr_verdict_visible(&s));
    assert_false(tr_span_visible(&s, ASSAY_STR("test 1")));
    s.level = ASSAY_FEEDBACK_SAMPLES;
    assert_true(tr_span_visible(&s, ASSAY_STR("test 1")));
}

static void stored_spans_come_back(void **state)
{
    (void)state;
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
    struct assay_json_pair attr = {ASSAY_STR("model"), ASSAY_STR("a\"b")};
    struct tr_post_span in[] = {{.name = ASSAY_STR("think"), .started_ms = 10, .ended_ms = 30, .ended = true, .attributes = {&attr, 1}},
                                {.name = ASSAY_STR("ask"), .parent = ASSAY_STR("think"), .started_ms = 15}};
    struct assay_str json;
    struct tr_span *out;
    size_t n;
    assert_int_equal(tr_spans_encode(in, 2, arena, &json, NULL), 0);
    assert_int_equal(tr_spans_decode(json, arena, &out, &n, NULL), 0);
    assert_int_equal(n, 2);
    assert_true(out[0].end_ms == 30 && assay_str_is(out[0].attrs, "{\"model\":\"a\\\"b\"}"));
    assert_true(assay_str_is(out[1].parent, "think") && out[1].end_ms == 0);
    assert_int_equal(tr_spans_decode(ASSAY_STR("[{\"name\":1}]"), arena, &out, &n, NULL), ASSAY_E_INVALID);
    assert_int_equal(tr_spans_decode(ASSAY_STR("{}"), arena, &out, &n, NULL), ASSAY_E_INVALID);
}

/* ---- the service --------------------------------------------------------------------------------- */

#define U1 "00000000-0000-7000-8000-000000000001"
#define S(n) "01900000-0000-7000-8000-0000000000" n

static void say(struct svc *h, const char *topic, const char *id, const char *payload)
{
    svc_publish(h, topic, id, U1, payload);
}

static int setup(void **state)
{
    struct svc *h = svc_new();
    svc_plugin(h, "traces");
    svc_start(h);
    svc_publish(h, "benchmark.changed", "sum", "",
                "{\"owner_id\":\"00000000-0000-7000-8000-00000000000b\",\"visibility\":\"public\",\"feedback\":\"verdict\"}");
    say(h, "submission.created", S("01"), "{\"agent_id\":\"ada\",\"language\":\"c\"}");
    say(h, "submission.running", S("01"), "{\"attempt\":1}");
    svc_pump(h);
    *state = h;
    return 0;
}

static int teardown(void **state)
{
    svc_free(*state);
    return 0;
}

#define DONE                                                                                                           \
    "{\"problem_id\":\"p\",\"agent_id\":\"ada\",\"owner_id\":\"" U1 "\",\"benchmark_id\":\"sum\",\"verdict\":\"WA\","   \
    "\"score\":50,\"attempt\":1,\"created_ms\":1700000000000,\"finished_ms\":1700000002000,\"summary\":{\"tests\":2,"   \
    "\"spans\":[{\"name\":\"submission\",\"start_ms\":1700000000000,\"end_ms\":1700000002000},"                        \
    "{\"name\":\"build\",\"parent\":\"submission\",\"start_ms\":1700000000100,\"end_ms\":1700000000400,\"attrs\":{\"cpu_ms\":290}}," \
    "{\"name\":\"test 1\",\"parent\":\"submission\",\"start_ms\":1700000000400,\"end_ms\":1700000000410,\"attrs\":{\"verdict\":\"OK\"}}]}}"

static void a_trace_grows_with_its_submission(void **state)
{
    struct svc *h = *state;
    struct svc_reply r = svc_call(h, SVC_USER, "GET", "/traces?submission_id=" S("01"), NULL);
    assert_int_equal(r.status, 200);
    assert_int_equal(svc_len(&r, "/items"), 1);
    assert_string_equal(svc_str(&r, "/items/0/status"), "running");
    assert_string_equal(svc_str(&r, "/items/0/agent_id"), "ada");
    assert_int_equal(svc_len(&r, "/items/0/events"), 2);
    assert_int_equal(svc_len(&r, "/items/0/spans/0/children"), 2);
    assert_string_equal(svc_str(&r, "/items/0/spans/0/children/1/name"), "judging");
    assert_null(svc_str(&r, "/items/0/spans/0/children/1/ended_at"));
    svc_publish(h, "submission.done", S("01"), U1, DONE);
    svc_pump(h);
    r = svc_call(h, SVC_ADMIN, "GET", "/traces?submission_id=" S("01"), NULL);
    assert_string_equal(svc_str(&r, "/items/0/status"), "done");
    assert_string_equal(svc_str(&r, "/items/0/verdict"), "WA");
    assert_int_equal(svc_len(&r, "/items/0/spans"), 1);
    assert_string_equal(svc_str(&r, "/items/0/spans/0/name"), "submission");
    assert_int_equal(svc_len(&r, "/items/0/spans/0/children"), 2);
    assert_string_equal(svc_str(&r, "/items/0/spans/0/children/0/name"), "build");
    assert_int_equal(svc_int(&r, "/items/0/spans/0/children/0/duration_ms"), 300);
    assert_int_equal(svc_int(&r, "/items/0/spans/0/children/0/attributes/cpu_ms"), 290);
    assert_string_equal(svc_str(&r, "/items/0/spans/0/children/1/attributes/verdict"), "OK");
}

static void a_strange_summary_costs_no_trace(void **state)
{
    struct svc *h = *state;
    svc_publish(h, "submission.done", S("01"), U1,
                "{\"benchmark_id\":\"sum\",\"verdict\":\"IE\",\"summary\":{\"spans\":[{\"name\":7}]}}");
    svc_pump(h);
    struct svc_reply r = svc_call(h, SVC_USER, "GET", "/traces?submission_id=" S("01"), NULL);
    assert_string_equal(svc_str(&r, "/items/0/status"), "error");
    assert_int_equal(svc_len(&r, "/items/0/spans/0/children"), 2);
    assert_non_null(strstr(svc_log_text(h), "trace_spans_unreadable"));
}

static void strangers_see_nothing_and_owners_what_they_may(void **state)
{
    struct svc *h = *state;
    svc_publish(h, "submission.done", S("01"), U1, DONE);
    svc_pump(h);
    assert_int_equal(svc_call(h, SVC_USER2, "GET", "/traces?submission_id=" S("01"), NULL).status, 404);
    assert_int_equal(svc_call(h, SVC_VIEWER, "GET", "/traces?submission_id=" S("01"), NULL).status, 404);
    assert_int_equal(svc_call(h, SVC_USER, "GET", "/traces?submission_id=" S("77"), NULL).status, 404);
    struct svc_reply r = svc_call(h, SVC_USER2, "GET", "/traces", NULL);
    assert_int_equal(svc_len(&r, "/items"), 0);
    r = svc_call(h, SVC_USER2, "GET", "/traces?agent_id=ada", NULL);
    assert_int_equal(svc_len(&r, "/items"), 0);
    r = svc_call(h, SVC_USER, "GET", "/traces?submission_id=" S("01"), NULL);
    assert_int_equal(r.status, 200);
}

static void a_policy_hides_tests_from_owners(void **state)
{
    struct svc *h = *state;
    /* published with its benchmark, as the submissions service does */
    struct assay_tx *tx = assay_tx_new(svc_arena(h), "publish");
    assay_tx_event(tx, (struct assay_event){.topic = ASSAY_STR("submission.created"), .subject = ASSAY_STR(S("09")),
                                            .owner = ASSAY_STR(U1), .benchmark = ASSAY_STR("sum"), .payload = ASSAY_STR("{}")});
    assay_tx_event(tx, (struct assay_event){.topic = ASSAY_STR("submission.done"), .subject = ASSAY_STR(S("09")),
                                            .owner = ASSAY_STR(U1), .benchmark = ASSAY_STR("sum"), .payload = ASSAY_STR(DONE)});
    assert_int_equal(assay_store_exec(svc_store(h), tx, NULL), 0);
    svc_pump(h);
    struct svc_reply r = svc_call(h, SVC_USER, "GET", "/traces?submission_id=" S("09"), NULL);
    assert_string_equal(svc_str(&r, "/items/0/verdict"), "WA");
    assert_int_equal(svc_len(&r, "/items/0/spans/0/children"), 1);
    r = svc_call(h, SVC_INSTRUCTOR, "GET", "/traces?submission_id=" S("09"), NULL);
    assert_int_equal(svc_len(&r, "/items/0/spans/0/children"), 2);
    svc_publish(h, "benchmark.changed", "sum", "", "{\"owner_id\":\"x\",\"visibility\":\"public\",\"feedback\":\"none\"}");
    svc_pump(h);
    r = svc_call(h, SVC_USER, "GET", "/traces?submission_id=" S("09"), NULL);
    assert_null(svc_str(&r, "/items/0/verdict"));
    assert_string_equal(svc_str(&r, "/items/0/status"), "done");
}

static void messages_and_spans_are_added(void **state)
{
    struct svc *h = *state;
    struct svc_reply r = svc_call(h, SVC_USER, "POST", "/traces",
                                  "{\"submission_id\":\"" S("01") "\",\"message\":\"hello\",\"level\":\"INFO\","
                                  "\"spans\":[{\"name\":\"plan\",\"started_at\":\"2026-01-01T00:00:00Z\",\"ended_at\":\"2026-01-01T00:00:01Z\","
                                  "\"attributes\":{\"model\":\"m1\"}},"
                                  "{\"name\":\"step\",\"parent\":\"plan\",\"started_at\":\"2026-01-01T00:00:00.5Z\"}]}");
    assert_int_equal(r.status, 201);
    assert_string_equal(svc_str(&r, "/level"), "info");
    assert_string_equal(r.location, "/traces?submission_id=" S("01"));
    r = svc_call(h, SVC_ADMIN, "POST", "/traces", "{\"submission_id\":\"" S("01") "\",\"message\":\"seen\",\"level\":\"warning\"}");
    assert_int_equal(r.status, 201);
    r = svc_call(h, SVC_USER, "GET", "/traces?submission_id=" S("01"), NULL);
    assert_int_equal(svc_len(&r, "/items/0/messages"), 2);
    assert_string_equal(svc_str(&r, "/items/0/messages/0/message"), "hello");
    assert_string_equal(svc_str(&r, "/items/0/messages/1/level"), "warn");
    assert_int_equal(svc_len(&r, "/items/0/spans/0/children"), 3);
    assert_string_equal(svc_str(&r, "/items/0/spans/0/children/2/name"), "plan");
    assert_string_equal(svc_str(&r, "/items/0/spans/0/children/2/children/0/name"), "step");
    assert_string_equal(svc_str(&r, "/items/0/spans/0/children/2/attributes/model"), "m1");
    /* not one's own */
    static const char mine[] = "{\"submission_id\":\"" S("01") "\",\"message\":\"x\"}";
    assert_int_equal(svc_call(h, SVC_USER2, "POST", "/traces", mine).status, 404);
    assert_int_equal(svc_call(h, SVC_VIEWER, "POST", "/traces", mine).status, 403);
}

static void faulty_posts_are_refused_by_field(void **state)
{
    struct svc *h = *state;
    static const struct {
        const char *body, *pointer;
    } bad[] = {
        {"{\"message\":\"x\"}", "/submission_id"},
        {"{\"submission_id\":\"" S("01") "\"}", "/message"},
        {"{\"submission_id\":\"" S("01") "\",\"message\":\"\"}", "/message"},
        {"{\"submission_id\":\"" S("01") "\",\"message\":\"x\",\"level\":\"loud\"}", "/level"},
        {"{\"submission_id\":\"" S("01") "\",\"message\":\"x\",\"owner_id\":\"me\"}", "/owner_id"},
        {"{\"submission_id\":\"" S("01") "\",\"message\":\"x\",\"spans\":[{\"name\":\"a\"}]}", "/spans/0/started_at"},
        {"{\"submission_id\":\"" S("01") "\",\"message\":\"x\",\"spans\":[{\"name\":\"a\",\"started_at\":\"2026-01-01T00:00:01Z\","
         "\"ended_at\":\"2026-01-01T00:00:00Z\"}]}", "/spans/0/ended_at"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct svc_reply r = svc_call(h, SVC_USER, "POST", "/traces", bad[i].body);
        assert_int_equal(r.status, 400);
        assert_true(svc_faulted(&r, bad[i].pointer));
    }
    assert_int_equal(svc_call(h, SVC_USER, "GET", "/traces?colour=red", NULL).status, 400);
}

static void a_repeated_post_is_one(void **state)
{
    struct svc *h = *state;
    static const char body[] = "{\"submission_id\":\"" S("01") "\",\"message\":\"once\"}";
    struct svc_reply a = svc_call_as(h, SVC_USER, "POST", "/traces", body, "key-1", NULL);
    struct svc_reply b = svc_call_as(h, SVC_USER, "POST", "/traces", body, "key-1", NULL);
    assert_int_equal(a.status, 201);
    assert_int_equal(b.status, 201);
    assert_string_equal(svc_str(&a, "/id"), svc_str(&b, "/id"));
    struct svc_reply r = svc_call(h, SVC_USER, "GET", "/traces?submission_id=" S("01"), NULL);
    assert_int_equal(svc_len(&r, "/items/0/messages"), 1);
    r = svc_call_as(h, SVC_USER, "POST", "/traces", "{\"submission_id\":\"" S("01") "\",\"message\":\"other\"}", "key-1", NULL);
    assert_int_equal(r.status, 422);
}

static void messages_are_bounded(void **state)
{
    struct svc *h = *state;
    static const char body[] = "{\"submission_id\":\"" S("01") "\",\"message\":\"m\"}";
    for (int i = 0; i < TRACES_NOTES_MAX; i++)
        assert_int_equal(svc_call(h, SVC_USER, "POST", "/traces", body).status, 201);
    assert_int_equal(svc_call(h, SVC_USER, "POST", "/traces", body).status, 409);
}

static void lists_page_and_deletion_removes(void **state)
{
    struct svc *h = *state;
    say(h, "submission.created", S("02"), "{\"agent_id\":\"bob\"}");
    say(h, "submission.created", S("03"), "{\"agent_id\":\"ada\"}");
    svc_pump(h);
    struct svc_reply r = svc_call(h, SVC_USER, "GET", "/traces?limit=2", NULL);
    assert_int_equal(svc_len(&r, "/items"), 2);
    assert_string_equal(svc_str(&r, "/items/0/submission_id"), S("03"));
    assert_false(svc_has(&r, "/items/0/spans"));
    char target[200];
    (void)snprintf(target, sizeof target, "/traces?limit=2&cursor=%s", svc_str(&r, "/next_cursor"));
    r = svc_call(h, SVC_USER, "GET", target, NULL);
    assert_int_equal(svc_len(&r, "/items"), 1);
    assert_null(svc_str(&r, "/next_cursor"));
    r = svc_call(h, SVC_ADMIN, "GET", "/traces?agent_id=ada", NULL);
    assert_int_equal(svc_len(&r, "/items"), 2);
    say(h, "submission.deleted", S("01"), "{}");
    svc_pump(h);
    assert_int_equal(svc_call(h, SVC_USER, "GET", "/traces?submission_id=" S("01"), NULL).status, 404);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(spans_become_a_tree),
        cmocka_unit_test(deep_chains_end_at_the_root),
        cmocka_unit_test(events_tell_the_stages),
        cmocka_unit_test(feedback_decides_what_is_seen),
        cmocka_unit_test(stored_spans_come_back),
        T(a_trace_grows_with_its_submission),
        T(a_strange_summary_costs_no_trace),
        T(strangers_see_nothing_and_owners_what_they_may),
        T(a_policy_hides_tests_from_owners),
        T(messages_and_spans_are_added),
        T(faulty_posts_are_refused_by_field),
        T(a_repeated_post_is_one),
        T(messages_are_bounded),
        T(lists_page_and_deletion_removes),
    };
    return cmocka_run_group_tests_name("traces", tests, NULL, NULL);
}
