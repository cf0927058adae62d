/*
 * Work that goes out through a broker, and what comes back: once, whatever the broker repeats, loses or refuses.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "fake_broker.h"
#include "remote.h"
#include "svc_harness.h"

#define USER "00000000-0000-7000-8000-000000000001"

static void problem(struct svc *h)
{
    char json[400], in[ASSAY_BLOB_REF], out[ASSAY_BLOB_REF], ref[ASSAY_BLOB_REF];
    struct assay_err err;
    assert_int_equal(assay_blob_put(svc_blobs(h), ASSAY_STR("1 2\n"), in, &err), 0);
    assert_int_equal(assay_blob_put(svc_blobs(h), ASSAY_STR("3\n"), out, &err), 0);
    struct assay_manifest_test t = {.number = 1, .points = 1, .sample = true, .input_ref = assay_str(in), .expected_ref = assay_str(out)};
    struct assay_manifest m = {.benchmark_id = ASSAY_STR("sum"), .problem_id = ASSAY_STR("sum"), .version = 1, .time_limit_ms = 1000,
                               .memory_limit_bytes = 64 << 20, .tests = {&t, 1}};
    struct assay_buf b = ASSAY_BUF_INIT;
    assert_int_equal(assay_manifest_encode(&m, &b, &err), 0);
    assert_int_equal(assay_blob_put(svc_blobs(h), assay_buf_view(&b), ref, &err), 0);
    assay_buf_free(&b);
    svc_publish(h, "benchmark.changed", "sum", USER,
                "{\"owner_id\":\"" USER "\",\"name\":\"n\",\"visibility\":\"public\",\"feedback\":\"full\"}");
    snprintf(json, sizeof json, "{\"benchmark_id\":\"sum\",\"name\":\"p\",\"manifest_ref\":\"%s\",\"position\":1,\"mode\":\"program\",\"version\":1}", ref);
    svc_publish(h, "problem.changed", "sum", USER, json);
    svc_publish(h, "agent.changed", "a1", USER, "{\"owner_id\":\"" USER "\",\"name\":\"a\"}");
    svc_pump(h);
}

static struct svc *world(struct fake_broker *b)
{
    struct svc *h = svc_new();
    const char *root = getenv("top_srcdir");
    svc_option(h, "share_dir", root != NULL ? root : ".");
    svc_option(h, "boxkeeper", "0");
    svc_option(h, "warm", "false");
    svc_option(h, "dispatch", "kafka");
    svc_option(h, "dispatch_timeout", "10s");
    svc_broker(h, "kafka", b);
    svc_plugin(h, "submissions");
    svc_plugin(h, "runner");
    svc_start(h);
    problem(h);
    return h;
}

static void submit(struct svc *h, char id[ASSAY_ID_SIZE])
{
    struct svc_reply r = svc_call(h, SVC_USER, "POST", "/submissions",
                                  "{\"benchmark_id\":\"sum\",\"agent_id\":\"a1\",\"language\":\"python\",\"source\":\"print(3)\"}");
    assert_int_equal(r.status, 202);
    snprintf(id, ASSAY_ID_SIZE, "%s", svc_str(&r, "/id"));
    svc_pump(h);
}

static void result(char *out, size_t room, const char *id, int fence, const char *verdict)
{
    snprintf(out, room,
             "{\"id\":\"%s\",\"status\":\"%s\",\"assay\":{\"submission_id\":\"%s\",\"fence\":%d,\"verdict\":\"%s\",\"tests\":[{\"number\":1,"
             "\"verdict\":\"%s\",\"ran\":true,\"stdout\":\"Mwo=\",\"stdout_bytes\":2}]}}",
             id, verdict, id, fence, verdict, verdict);
}

static void expect(struct svc *h, const char *id, const char *status, const char *verdict)
{
    char path[64];
    snprintf(path, sizeof path, "/submissions/%s", id);
    struct svc_reply r = svc_call(h, SVC_USER, "GET", path, NULL);
    assert_string_equal(svc_str(&r, "/status"), status);
    if (verdict != NULL)
        assert_string_equal(svc_str(&r, "/verdict"), verdict);
}

static void test_a_submission_goes_out_whole_and_its_first_result_counts(void **state)
{
    (void)state;
    struct fake_broker *b = fake_broker_new();
    struct svc *h = world(b);
    char id[ASSAY_ID_SIZE], body[1000];
    submit(h, id);
    fake_broker_wait_published(b, ASSAY_CHANNEL_WORK, 1);
    const struct fake_publication *p = fake_broker_publication(b, ASSAY_CHANNEL_WORK, 0);
    assert_true(assay_str_is(p->key, id));
    struct assay_script s;
    struct assay_err err;
    assert_int_equal(assay_script_decode(p->body, svc_arena(h), &s, &err), 0);
    assert_true(assay_str_is(s.id, id));
    assert_true(assay_str_is(s.source, "print(3)"));
    assert_true(memmem(s.assay.p, s.assay.n, "\"MSAyCg==\"", 10) != NULL); /* the input, for who cannot fetch it */
    expect(h, id, "running", NULL);
    result(body, sizeof body, id, 1, "OK");
    size_t first = fake_broker_send(b, ASSAY_CHANNEL_RESULTS, id, body);
    fake_broker_wait_settled(b, first);
    result(body, sizeof body, id, 1, "WA"); /* another runner's opinion */
    size_t second = fake_broker_send(b, ASSAY_CHANNEL_RESULTS, id, body);
    fake_broker_wait_settled(b, second);
    fake_broker_repeat(b, first);
    fake_broker_wait_taken(b, first, 2);
    fake_broker_wait_settled(b, first);
    expect(h, id, "done", "OK");
    assert_int_equal(svc_count_events(h, "submission.done"), 1);
    svc_free(h);
    fake_broker_free(b);
}

static void test_results_that_are_none_change_nothing(void **state)
{
    (void)state;
    struct fake_broker *b = fake_broker_new();
    struct svc *h = world(b);
    char id[ASSAY_ID_SIZE], body[1000];
    submit(h, id);
    fake_broker_wait_published(b, ASSAY_CHANNEL_WORK, 1);
    size_t m = fake_broker_send(b, ASSAY_CHANNEL_RESULTS, "k", "nonsense");
    fake_broker_wait_settled(b, m);
    assert_int_equal(fake_broker_state(b, m), FAKE_DEAD);
    m = fake_broker_send(b, ASSAY_CHANNEL_RESULTS, "k", "{\"id\":\"somebody-else\",\"status\":\"OK\"}");
    fake_broker_wait_settled(b, m);
    assert_int_equal(fake_broker_state(b, m), FAKE_DONE);
    result(body, sizeof body, id, 7, "OK"); /* a fence that never was */
    m = fake_broker_send(b, ASSAY_CHANNEL_RESULTS, id, body);
    fake_broker_wait_settled(b, m);
    expect(h, id, "running", NULL);
    /* a worker that knows only the older format */
    snprintf(body, sizeof body, "{\"id\":\"%s\",\"status\":\"WA\",\"tests\":[{\"number\":1,\"status\":\"WA\",\"stdout\":\"4\"}]}", id);
    m = fake_broker_send(b, ASSAY_CHANNEL_RESULTS, id, body);
    fake_broker_wait_settled(b, m);
    expect(h, id, "done", "WA");
    svc_free(h);
    fake_broker_free(b);
}

static void test_what_is_never_answered_goes_out_again_under_a_new_fence(void **state)
{
    (void)state;
    struct fake_broker *b = fake_broker_new();
    struct svc *h = world(b);
    char id[ASSAY_ID_SIZE], body[1000];
    submit(h, id);
    fake_broker_wait_published(b, ASSAY_CHANNEL_WORK, 1);
    nanosleep(&(struct timespec){.tv_sec = 2, .tv_nsec = 500000000}, NULL); /* the lease is seen */
    svc_advance_ms(h, 10100);
    for (int i = 0; i < 3000 && fake_broker_published(b, ASSAY_CHANNEL_WORK) < 2; i++) {
        svc_pump(h);
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
    assert_int_equal(fake_broker_published(b, ASSAY_CHANNEL_WORK), 2);
    result(body, sizeof body, id, 1, "WA"); /* the first one, late */
    size_t m = fake_broker_send(b, ASSAY_CHANNEL_RESULTS, id, body);
    fake_broker_wait_settled(b, m);
    expect(h, id, "running", NULL);
    result(body, sizeof body, id, 2, "OK");
    m = fake_broker_send(b, ASSAY_CHANNEL_RESULTS, id, body);
    fake_broker_wait_settled(b, m);
    expect(h, id, "done", "OK");
    char path[64];
    snprintf(path, sizeof path, "/submissions/%s", id);
    struct svc_reply r = svc_call(h, SVC_USER, "GET", path, NULL);
    assert_int_equal(svc_int(&r, "/attempts"), 1); /* that a broker took long is not the job's fault */
    svc_free(h);
    fake_broker_free(b);
}

static void test_what_is_out_survives_a_restart(void **state)
{
    (void)state;
    struct fake_broker *b = fake_broker_new();
    struct svc *h = world(b);
    char id[ASSAY_ID_SIZE], body[1000];
    submit(h, id);
    fake_broker_wait_published(b, ASSAY_CHANNEL_WORK, 1);
    h = svc_restart(h);
    expect(h, id, "running", NULL);
    result(body, sizeof body, id, 1, "OK");
    size_t m = fake_broker_send(b, ASSAY_CHANNEL_RESULTS, id, body);
    fake_broker_wait_settled(b, m);
    expect(h, id, "done", "OK");
    assert_int_equal(fake_broker_published(b, ASSAY_CHANNEL_WORK), 1);
    svc_free(h);
    fake_broker_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_submission_goes_out_whole_and_its_first_result_counts),
        cmocka_unit_test(test_results_that_are_none_change_nothing),
        cmocka_unit_test(test_what_is_never_answered_goes_out_again_under_a_new_fence),
        cmocka_unit_test(test_what_is_out_survives_a_restart),
    };
    return cmocka_run_group_tests_name("remote_dispatch", tests, NULL, NULL);
}
