/*
 * Runners elsewhere, as the gateway sees them: what they are given, what of their answers is believed, and that of several
 * answers one counts.  This test plays the runner.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "remote.h"
#include "svc_harness.h"

#define USER "00000000-0000-7000-8000-000000000001"

#define WORKER(id)                                                                                                     \
    {.authenticated = true, .role = ASSAY_ROLE_AGENT, .role_name = ASSAY_STR("agent"), .user_id = ASSAY_STR(USER),     \
     .agent_id = ASSAY_STR(id), .scopes = ASSAY_STR("jobs:lease results:write")}
static const struct assay_principal w1 = WORKER("w1"), w2 = WORKER("w2");
static const struct assay_principal writes_only = {.authenticated = true, .role = ASSAY_ROLE_AGENT, .role_name = ASSAY_STR("agent"),
                                                   .user_id = ASSAY_STR(USER), .agent_id = ASSAY_STR("w1"),
                                                   .scopes = ASSAY_STR("submissions:write")};

static void blob(struct svc *h, const char *text, char ref[ASSAY_BLOB_REF])
{
    struct assay_err err;
    assert_int_equal(assay_blob_put(svc_blobs(h), assay_str(text), ref, &err), 0);
}

static char input_ref[ASSAY_BLOB_REF];

/* A problem of n tests, the first of which is worth three times as much as any other. */
static void problem(struct svc *h, const char *id, int n, int feedback)
{
    static struct assay_manifest_test test[200];
    static char json[400], expected_ref[ASSAY_BLOB_REF], manifest_ref[ASSAY_BLOB_REF];
    blob(h, "1 2 3\n", input_ref);
    blob(h, "6\n", expected_ref);
    for (int i = 0; i < n; i++)
        test[i] = (struct assay_manifest_test){.number = i + 1, .name = ASSAY_STR("t"), .points = i == 0 ? 3 : 1, .sample = i == 0,
                                               .input_ref = assay_str(input_ref), .expected_ref = assay_str(expected_ref)};
    struct assay_manifest m = {.benchmark_id = assay_str(id), .problem_id = assay_str(id), .version = 1,
                               .compare = ASSAY_COMPARE_TOKENS, .time_limit_ms = 1000, .memory_limit_bytes = 64 << 20,
                               .tests = {test, (size_t)n}};
    struct assay_buf b = ASSAY_BUF_INIT;
    struct assay_err err;
    assert_int_equal(assay_manifest_encode(&m, &b, &err), 0);
    assert_int_equal(assay_blob_put(svc_blobs(h), assay_buf_view(&b), manifest_ref, &err), 0);
    assay_buf_free(&b);
    snprintf(json, sizeof json, "{\"owner_id\":\"%s\",\"name\":\"n\",\"visibility\":\"public\",\"feedback\":\"%s\",\"toolchains\":{\"python\":\"3.11\"}}",
             "00000000-0000-7000-8000-00000000000b", assay_feedback_names[feedback]);
    svc_publish(h, "benchmark.changed", id, USER, json);
    snprintf(json, sizeof json, "{\"benchmark_id\":\"%s\",\"name\":\"p\",\"manifest_ref\":\"%s\",\"position\":1,\"mode\":\"program\",\"version\":1}",
             id, manifest_ref);
    svc_publish(h, "problem.changed", id, USER, json);
}

static struct svc *world(void)
{
    struct svc *h = svc_new();
    const char *root = getenv("top_srcdir");
    svc_option(h, "share_dir", root != NULL ? root : ".");
    svc_option(h, "boxkeeper", "0");
    svc_option(h, "warm", "false");
    svc_plugin(h, "submissions");
    svc_plugin(h, "agents");
    svc_plugin(h, "runner");
    svc_start(h);
    problem(h, "sum", 3, ASSAY_FEEDBACK_FULL);
    svc_publish(h, "agent.changed", "a1", USER, "{\"owner_id\":\"" USER "\",\"name\":\"a\"}");
    assert_int_equal(svc_call(h, SVC_USER, "POST", "/agents", "{\"id\":\"w1\",\"name\":\"W\"}").status, 201);
    svc_pump(h);
    return h;
}

static void submit(struct svc *h, const char *benchmark, const char *language, char id[ASSAY_ID_SIZE])
{
    char json[256];
    snprintf(json, sizeof json, "{\"benchmark_id\":\"%s\",\"agent_id\":\"a1\",\"language\":\"%s\",\"source\":\"print(6)\"}", benchmark, language);
    struct svc_reply r = svc_call(h, SVC_USER, "POST", "/submissions", json);
    assert_int_equal(r.status, 202);
    snprintf(id, ASSAY_ID_SIZE, "%s", svc_str(&r, "/id"));
}

static struct svc_reply lease(struct svc *h, const char *body)
{
    struct svc_reply r = svc_call(h, &w1, "POST", "/agents/w1/lease", body);
    assert_int_equal(r.status, 200);
    return r;
}

static struct svc_reply get(struct svc *h, const struct assay_principal *who, const char *what, const char *id)
{
    char path[128];
    snprintf(path, sizeof path, "/%s/%s", what, id);
    return svc_call(h, who, "GET", path, NULL);
}

#define RAN(n, v) "{\"number\":" n ",\"verdict\":\"" v "\",\"ran\":true,\"end\":\"exited\",\"cpu_us\":1500,\"wall_us\":2500,\"memory_peak_bytes\":4096,\"stdout\":\"Ngo=\",\"stdout_bytes\":2,\"end_ms\":3}"
#define NOT_RUN(n) "{\"number\":" n ",\"verdict\":\"-\"}"

/* An answer as a runner gives it; member: the rest of "assay" after its first three members. */
static struct svc_reply answer_as(struct svc *h, const struct assay_principal *who, const char *path, const char *id, int fence,
                                  const char *verdict, const char *more, const char *tests)
{
    static char json[200000];
    snprintf(json, sizeof json,
             "{\"submission_id\":\"%s\",\"fence\":%d,\"result\":{\"id\":\"%s\",\"status\":\"%s\",\"timestamp\":\"2026-01-01T00:00:00.000Z\","
             "\"assay\":{\"submission_id\":\"%s\",\"fence\":%d,\"verdict\":\"%s\",\"mode\":\"native\",\"total_ms\":20%s,\"tests\":[%s]}}}",
             id, fence, id, verdict, id, fence, verdict, more, tests);
    return svc_call(h, who, "POST", path, json);
}

static struct svc_reply answer(struct svc *h, const char *id, int fence, const char *verdict, const char *tests)
{
    return answer_as(h, &w1, "/results", id, fence, verdict, "", tests);
}

static void test_a_worker_is_given_all_that_it_needs(void **state)
{
    (void)state;
    struct svc *h = world();
    char id[ASSAY_ID_SIZE], path[128];
    submit(h, "sum", "python", id);
    assert_int_equal(svc_call(h, &w2, "POST", "/agents/w1/lease", "{}").status, 403);
    assert_int_equal(svc_call(h, &writes_only, "POST", "/agents/w1/lease", "{}").status, 403);
    assert_int_equal(svc_call(h, &w1, "POST", "/agents/w1/lease", "{\"max\":17}").status, 400);
    struct svc_reply r = svc_call(h, &w1, "POST", "/agents/w1/lease", "{\"languages\":[\"c d\"]}");
    assert_int_equal(r.status, 400);
    assert_true(svc_faulted(&r, "/languages/0"));
    r = lease(h, "{\"languages\":[\"c\",\"go\"]}");
    assert_int_equal(svc_len(&r, "/jobs"), 0);
    r = lease(h, "{\"languages\":[\"c\",\"PY\"],\"max\":5}"); /* an alias will do */
    assert_int_equal(svc_len(&r, "/jobs"), 1);
    assert_string_equal(svc_str(&r, "/jobs/0/submission_id"), id);
    assert_int_equal(svc_int(&r, "/jobs/0/fence"), 1);
    assert_true(svc_int(&r, "/lease_ms") > 0);
    assert_string_equal(svc_str(&r, "/jobs/0/script/id"), id);
    assert_string_equal(svc_str(&r, "/jobs/0/script/language"), "python");
    assert_string_equal(svc_str(&r, "/jobs/0/script/source"), "print(6)");
    assert_string_equal(svc_str(&r, "/jobs/0/script/assay/feedback"), "full");
    assert_string_equal(svc_str(&r, "/jobs/0/script/assay/toolchains/python"), "3.11");
    assert_int_equal(svc_len(&r, "/jobs/0/script/assay/manifest/tests"), 3);
    assert_int_equal(svc_count_events(h, "submission.running"), 1);
    char ref[ASSAY_BLOB_REF];
    blob(h, "[6]", ref);
    snprintf(path, sizeof path, "/blobs/%s", ref);
    r = svc_call(h, &w1, "GET", path, NULL);
    assert_int_equal(r.status, 200);
    assert_true(assay_str_is(r.body, "[6]"));
    assert_int_equal(svc_call(h, SVC_ADMIN, "GET", path, NULL).status, 403);
    assert_int_equal(svc_call(h, &writes_only, "GET", path, NULL).status, 403);
    assert_int_equal(svc_call(h, &w1, "GET", "/blobs/abc", NULL).status, 404);
    path[8] = path[8] == 'a' ? 'b' : 'a';
    assert_int_equal(svc_call(h, &w1, "GET", path, NULL).status, 404);
    svc_free(h);
}

static void *submits_soon(void *arg)
{
    char id[ASSAY_ID_SIZE];
    nanosleep(&(struct timespec){.tv_nsec = 300000000}, NULL);
    submit(arg, "sum", "c", id);
    return NULL;
}

static void test_a_lease_waits_for_work(void **state)
{
    (void)state;
    struct svc *h = world();
    pthread_t t;
    struct svc_reply r = lease(h, "{\"wait_s\":1}");
    assert_int_equal(svc_len(&r, "/jobs"), 0);
    assert_int_equal(pthread_create(&t, NULL, submits_soon, h), 0);
    r = lease(h, "{\"wait_s\":60}");
    pthread_join(t, NULL);
    assert_int_equal(svc_len(&r, "/jobs"), 1);
    svc_free(h);
}

static void test_a_result_is_written_as_if_judged_here_and_only_once(void **state)
{
    (void)state;
    struct svc *h = world();
    char id[ASSAY_ID_SIZE];
    submit(h, "sum", "python", id);
    lease(h, "{}");
    assert_int_equal(answer_as(h, &w2, "/results", id, 1, "OK", "", RAN("1", "OK") "," RAN("2", "OK") "," RAN("3", "OK")).status, 409);
    assert_int_equal(answer(h, id, 2, "OK", RAN("1", "OK") "," RAN("2", "OK") "," RAN("3", "OK")).status, 409);
    /* its own opinion of the whole does not count */
    struct svc_reply r = answer(h, id, 1, "OK", RAN("1", "OK") "," RAN("2", "WA") "," NOT_RUN("3"));
    assert_int_equal(r.status, 200);
    assert_int_equal(answer(h, id, 1, "OK", RAN("1", "OK") "," RAN("2", "OK") "," RAN("3", "OK")).status, 409);
    r = get(h, SVC_USER, "submissions", id);
    assert_string_equal(svc_str(&r, "/status"), "done");
    assert_string_equal(svc_str(&r, "/verdict"), "WA");
    assert_int_equal((int)svc_real(&r, "/score"), 60);
    r = get(h, SVC_USER, "results", id);
    assert_int_equal(r.status, 200);
    assert_string_equal(svc_str(&r, "/runner"), "agent:w1");
    assert_int_equal(svc_len(&r, "/tests"), 3);
    assert_string_equal(svc_str(&r, "/tests/0/stdout"), "6\n");
    assert_int_equal(svc_int(&r, "/tests/0/cpu_us"), 1500);
    assert_string_equal(svc_str(&r, "/tests/1/verdict"), "WA");
    assert_string_equal(svc_str(&r, "/tests/2/verdict"), "-");
    assert_int_equal(svc_int(&r, "/first_failure/number"), 2);
    assert_int_equal(svc_count_events(h, "submission.done"), 1);
    assert_int_equal(svc_count_events(h, "submission.test"), 2);
    svc_free(h);
}

static void refused(struct svc *h, const char *id, const char *more, const char *verdict, const char *tests)
{
    struct svc_reply r = answer_as(h, &w1, "/results", id, 1, verdict, more, tests);
    if (r.status != 400)
        print_message("# %s %s %s: %d %.*s\n", more, verdict, tests, r.status, ASSAY_FMT(r.body));
    assert_int_equal(r.status, 400);
    assert_int_equal(svc_count_events(h, "submission.done"), 0);
}

static void test_what_cannot_be_a_result_of_the_job_changes_nothing(void **state)
{
    (void)state;
    struct svc *h = world();
    char id[ASSAY_ID_SIZE], body[200];
    submit(h, "sum", "python", id);
    lease(h, "{}");
    refused(h, id, "", "OK", "");
    refused(h, id, "", "OK", RAN("1", "OK") "," RAN("2", "OK"));
    refused(h, id, "", "OK", RAN("1", "OK") "," RAN("3", "OK") "," RAN("2", "OK"));
    refused(h, id, "", "OK", RAN("1", "OK") "," RAN("2", "OK") "," NOT_RUN("3"));
    refused(h, id, "", "OK", NOT_RUN("1") "," NOT_RUN("2") "," NOT_RUN("3"));
    refused(h, id, "", "OK", RAN("1", "OK") "," RAN("2", "BF") "," NOT_RUN("3"));
    refused(h, id, "", "OK", RAN("1", "OK") "," RAN("2", "AC") "," RAN("3", "OK"));
    refused(h, id, "", "OK", RAN("1", "OK") ",{\"number\":2,\"verdict\":\"OK\"}," RAN("3", "OK"));
    refused(h, id, "", "OK", RAN("1", "OK") ",{\"number\":2,\"verdict\":\"OK\",\"ran\":true,\"cpu_us\":-1}," RAN("3", "OK"));
    refused(h, id, ",\"memory_limit_bytes\":-1", "OK", RAN("1", "OK") "," RAN("2", "OK") "," RAN("3", "OK"));
    refused(h, id, "", "XX", RAN("1", "OK") "," RAN("2", "OK") "," RAN("3", "OK"));
    static char large[130000], test[140000];
    memset(large, 'A', 120000);
    snprintf(test, sizeof test, "{\"number\":1,\"verdict\":\"OK\",\"ran\":true,\"stdout\":\"%s\"}," RAN("2", "OK") "," RAN("3", "OK"), large);
    refused(h, id, "", "OK", test);
    snprintf(body, sizeof body, "{\"submission_id\":\"%s\",\"fence\":1}", id);
    assert_int_equal(svc_call(h, &w1, "POST", "/results", body).status, 400);
    snprintf(body, sizeof body, "{\"submission_id\":\"%s\",\"result\":{\"id\":\"x\"}}", id);
    struct svc_reply r = svc_call(h, &w1, "POST", "/results", body);
    assert_true(r.status == 400 && svc_faulted(&r, "/fence"));
    assert_int_equal(svc_call(h, &w1, "POST", "/results", "{\"submission_id\":\"x\",\"fence\":1,\"result\":{}}").status, 400);
    assert_int_equal(svc_call(h, SVC_ADMIN, "POST", "/results", body).status, 403);
    assert_int_equal(answer(h, id, 1, "OK", RAN("1", "OK") "," RAN("2", "OK") "," RAN("3", "OK")).status, 200);
    assert_int_equal(svc_count_events(h, "submission.done"), 1);
    svc_free(h);
}

static void test_what_comes_back_unfinished_is_judged_again(void **state)
{
    (void)state;
    struct svc *h = world();
    char id[ASSAY_ID_SIZE], body[200];
    submit(h, "sum", "python", id);
    lease(h, "{}");
    snprintf(body, sizeof body, "{\"submission_id\":\"%s\",\"fence\":1,\"returned\":{\"reason\":\"stopping\"}}", id);
    assert_int_equal(svc_call(h, &w1, "POST", "/results", body).status, 200);
    assert_int_equal(svc_call(h, &w1, "POST", "/results", body).status, 409);
    struct svc_reply r = lease(h, "{}");
    assert_int_equal(svc_int(&r, "/jobs/0/attempt"), 1);
    assert_int_equal(answer(h, id, 2, "IE", "").status, 200); /* its fault, not the program's */
    r = lease(h, "{}");
    assert_int_equal(svc_int(&r, "/jobs/0/attempt"), 2);
    assert_int_equal(answer(h, id, 3, "IE", "").status, 200);
    lease(h, "{}");
    assert_int_equal(answer_as(h, &w1, "/results", id, 4, "IE", ",\"fault\":\"no compiler\"", "").status, 200);
    r = get(h, SVC_USER, "submissions", id);
    assert_string_equal(svc_str(&r, "/status"), "error");
    r = get(h, SVC_ADMIN, "results", id);
    assert_string_equal(svc_str(&r, "/verdict"), "IE");
    assert_string_equal(svc_str(&r, "/fault"), "no compiler");
    assert_int_equal(svc_count_events(h, "submission.done"), 1);
    svc_free(h);
}

static void test_the_wire_format_alone_is_enough(void **state)
{
    (void)state;
    struct svc *h = world();
    char id[ASSAY_ID_SIZE], body[800];
    submit(h, "sum", "python", id);
    lease(h, "{}");
    snprintf(body, sizeof body,
             "{\"submission_id\":\"%s\",\"fence\":1,\"result\":{\"id\":\"%s\",\"status\":\"TL\",\"tests\":[{\"number\":1,\"status\":\"OK\","
             "\"duration_ms\":7,\"stdout\":\"6\"},{\"number\":2,\"status\":\"TL\",\"duration_ms\":1100},{\"number\":3,\"status\":\"-\"}]}}",
             id, id);
    assert_int_equal(svc_call(h, &w1, "POST", "/results", body).status, 200);
    struct svc_reply r = get(h, SVC_USER, "results", id);
    assert_string_equal(svc_str(&r, "/verdict"), "TL");
    assert_int_equal(svc_int(&r, "/tests/0/wall_ms"), 7);
    svc_free(h);
}

static void test_a_task_and_its_older_route(void **state)
{
    (void)state;
    struct svc *h = world();
    struct svc_reply r = svc_call(h, SVC_USER, "POST", "/task", "{\"translator\":\"python3\",\"code\":\"print(6)\",\"input\":\"abc\"}");
    assert_int_equal(r.status, 201);
    const char *id = svc_str(&r, "/task_id");
    r = lease(h, "{}");
    assert_string_equal(svc_str(&r, "/jobs/0/script/assay/kind"), "task");
    assert_string_equal(svc_str(&r, "/jobs/0/script/assay/payload"), "abc");
    char body[400];
    snprintf(body, sizeof body, "{\"task_id\":\"%s\",\"fence\":1,\"result\":{\"id\":\"%s\",\"status\":\"OK\",\"stdout\":\"6\\n\"}}", id, id);
    assert_int_equal(svc_call(h, &w1, "POST", "/commit", body).status, 200);
    r = get(h, SVC_USER, "result", id);
    assert_string_equal(svc_str(&r, "/result"), "6\n");
    svc_free(h);
}

static void test_many_tests_and_a_failed_build(void **state)
{
    (void)state;
    struct svc *h = world();
    problem(h, "many", 200, ASSAY_FEEDBACK_VERDICT);
    svc_pump(h);
    char id[ASSAY_ID_SIZE];
    static char tests[100000];
    size_t n = 0;
    for (int i = 1; i <= 200; i++)
        n += (size_t)snprintf(tests + n, sizeof tests - n, "%s{\"number\":%d,\"verdict\":\"OK\",\"ran\":true}", i > 1 ? "," : "", i);
    submit(h, "many", "python", id);
    lease(h, "{}");
    assert_int_equal(answer(h, id, 1, "OK", tests).status, 200);
    struct svc_reply r = get(h, SVC_ADMIN, "results", id);
    assert_int_equal(svc_len(&r, "/tests"), 200);
    r = get(h, SVC_USER, "results", id); /* hidden tests stay hidden */
    assert_string_equal(svc_str(&r, "/verdict"), "OK");
    assert_false(svc_has(&r, "/tests"));
    assert_int_equal(svc_count_events(h, "submission.test"), 0);
    submit(h, "sum", "c", id);
    lease(h, "{}");
    assert_int_equal(answer_as(h, &w1, "/results", id, 1, "BF", ",\"build_output\":\"YmFkCg==\"", "").status, 200);
    r = get(h, SVC_USER, "results", id);
    assert_string_equal(svc_str(&r, "/verdict"), "BF");
    assert_string_equal(svc_str(&r, "/build_output"), "bad\n");
    svc_free(h);
}

static void test_a_heartbeat_renews_and_tells(void **state)
{
    (void)state;
    struct svc *h = world();
    char a[ASSAY_ID_SIZE], b[ASSAY_ID_SIZE], body[500], path[100];
    submit(h, "sum", "c", a);
    submit(h, "sum", "c", b);
    lease(h, "{\"max\":2}");
    snprintf(path, sizeof path, "/submissions/%s/cancel", b);
    assert_int_equal(svc_call(h, SVC_USER, "POST", path, NULL).status, 202);
    snprintf(body, sizeof body, "{\"status\":\"busy\",\"leases\":[{\"submission_id\":\"%s\",\"fence\":1},{\"submission_id\":\"%s\",\"fence\":1},"
             "{\"submission_id\":\"%s\",\"fence\":7}]}", a, b, a);
    struct svc_reply r = svc_call(h, &w1, "POST", "/agents/w1/heartbeat", body);
    assert_int_equal(r.status, 200);
    assert_string_equal(svc_str(&r, "/worker/status"), "busy");
    assert_string_equal(svc_str(&r, "/leases/0/state"), "held");
    assert_string_equal(svc_str(&r, "/leases/1/state"), "cancelled");
    assert_string_equal(svc_str(&r, "/leases/2/state"), "lost");
    assert_int_equal(svc_call(h, SVC_ADMIN, "POST", "/agents/w1/heartbeat", body).status, 400); /* not its to renew */
    assert_int_equal(svc_call(h, SVC_ADMIN, "POST", "/agents/w1/heartbeat", "{\"status\":\"idle\"}").status, 200);
    /* nobody wants the result of what was cancelled */
    assert_int_equal(answer(h, b, 1, "OK", RAN("1", "OK") "," RAN("2", "OK") "," RAN("3", "OK")).status, 200);
    r = get(h, SVC_USER, "submissions", b);
    assert_string_equal(svc_str(&r, "/status"), "cancelled");
    svc_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_worker_is_given_all_that_it_needs),
        cmocka_unit_test(test_a_lease_waits_for_work),
        cmocka_unit_test(test_a_result_is_written_as_if_judged_here_and_only_once),
        cmocka_unit_test(test_what_cannot_be_a_result_of_the_job_changes_nothing),
        cmocka_unit_test(test_what_comes_back_unfinished_is_judged_again),
        cmocka_unit_test(test_the_wire_format_alone_is_enough),
        cmocka_unit_test(test_a_task_and_its_older_route),
        cmocka_unit_test(test_many_tests_and_a_failed_build),
        cmocka_unit_test(test_a_heartbeat_renews_and_tells),
    };
    return cmocka_run_group_tests_name("remote", tests, NULL, NULL);
}
