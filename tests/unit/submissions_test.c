/*
 * The submissions service over the real store: what is taken and what is refused and why, and above
 * all that a submission ends exactly once, whoever leases, crashes, cancels or comes late.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "local.h"
#include "svc_harness.h"
#include <assay/events.h>
#include <assay/jobs.h>
#include <assay/value.h>

#define USER "00000000-0000-7000-8000-000000000001"
#define USER2 "00000000-0000-7000-8000-000000000002"
#define OWNER "00000000-0000-7000-8000-00000000000b"

static void benchmark(struct svc *h, const char *id, const char *more)
{
    char json[1024];
    snprintf(json, sizeof json, "{\"owner_id\":\"" OWNER "\",\"name\":\"n\"%s%s%s%s}",
             strstr(more, "visibility") != NULL ? "" : ",\"visibility\":\"public\"",
             strstr(more, "feedback") != NULL ? "" : ",\"feedback\":\"full\"", more[0] ? "," : "", more);
    svc_publish(h, "benchmark.changed", id, OWNER, json);
}

static void problem(struct svc *h, const char *id, const char *of, const char *mode)
{
    char json[1024];
    snprintf(json, sizeof json,
             "{\"benchmark_id\":\"%s\",\"name\":\"p\",\"manifest_ref\":\"m-%s\",\"position\":1,\"mode\":\"%s\",\"version\":1}",
             of, id, mode);
    svc_publish(h, "problem.changed", id, OWNER, json);
}

static void agent(struct svc *h, const char *id, const char *owner)
{
    char json[256];
    snprintf(json, sizeof json, "{\"owner_id\":\"%s\",\"name\":\"a\"}", owner);
    svc_publish(h, "agent.changed", id, owner, json);
}

static struct svc *world(void)
{
    struct svc *h = svc_new();
    svc_plugin(h, "submissions");
    svc_start(h);
    benchmark(h, "sum", "");
    problem(h, "sum-1", "sum", "program");
    agent(h, "a1", USER);
    agent(h, "a2", USER2);
    svc_pump(h);
    return h;
}

#define SUM "{\"benchmark_id\":\"sum\",\"agent_id\":\"a1\",\"language\":\"c\",\"source\":\"int main(){}\"}"

static const char *submit(struct svc *h)
{
    struct svc_reply r = svc_call(h, SVC_USER, "POST", "/submissions", SUM);
    assert_int_equal(r.status, 202);
    return svc_str(&r, "/id");
}

static struct svc_reply get(struct svc *h, const struct assay_principal *who, const char *id, const char *tail)
{
    char path[128];
    snprintf(path, sizeof path, "/submissions/%s%s", id, tail);
    return svc_call(h, who, "GET", path, NULL);
}

static struct svc_reply act(struct svc *h, const struct assay_principal *who, const char *method, const char *id,
                            const char *tail)
{
    char path[128];
    snprintf(path, sizeof path, "/submissions/%s%s", id, tail);
    return svc_call(h, who, method, path, NULL);
}

static void expect_status(struct svc *h, const char *id, const char *status)
{
    struct svc_reply r = get(h, SVC_USER, id, "");
    assert_int_equal(r.status, 200);
    assert_string_equal(svc_str(&r, "/status"), status);
}

/* ---- the runner's side --------------------------------------------------------------------------- */

static const struct assay_jobs_ops *jobs_of(struct svc *h, void **self)
{
    const struct assay_jobs_ops *ops = svc_interface(h, ASSAY_JOBS_INTERFACE, self);
    assert_non_null(ops);
    return ops;
}

static size_t lease(struct svc *h, size_t max, struct assay_job **out)
{
    void *self;
    const struct assay_jobs_ops *ops = jobs_of(h, &self);
    size_t n = 0;
    struct assay_err err;
    assert_int_equal(ops->lease(self, ASSAY_STR("w"), max, 60000, svc_arena(h), out, &n, &err), 0);
    return n;
}

static int finish(struct svc *h, const struct assay_job *job, const char *verdict, double score)
{
    void *self;
    const struct assay_jobs_ops *ops = jobs_of(h, &self);
    struct assay_tx *tx = assay_tx_new(svc_arena(h), "test.finish");
    struct assay_job_end end = {.verdict = assay_str(verdict), .score = score, .summary = ASSAY_STR("{\"passed\":1}")};
    struct assay_err err;
    int rc = ops->finish(self, job, &end, tx, &err);
    return rc < 0 ? rc : assay_store_exec(svc_store(h), tx, &err);
}

static int give_back(struct svc *h, const struct assay_job *job, bool charge)
{
    void *self;
    const struct assay_jobs_ops *ops = jobs_of(h, &self);
    struct assay_tx *tx = assay_tx_new(svc_arena(h), "test.give_back");
    struct assay_err err;
    int rc = ops->give_back(self, job, charge, ASSAY_STR("test"), tx, &err);
    return rc < 0 ? rc : assay_store_exec(svc_store(h), tx, &err);
}

/* ---- taking --------------------------------------------------------------------------------------- */

static void test_a_submission_is_taken_and_seen(void **state)
{
    (void)state;
    struct svc *h = world();
    struct svc_reply r = svc_call(h, SVC_USER, "POST", "/submissions", SUM);
    assert_int_equal(r.status, 202);
    assert_string_equal(svc_str(&r, "/status"), "queued");
    const char *id = svc_str(&r, "/id");
    char location[64];
    snprintf(location, sizeof location, "/submissions/%s", id);
    assert_string_equal(r.location, location);

    r = get(h, SVC_USER, id, "");
    assert_int_equal(r.status, 200);
    assert_string_equal(svc_str(&r, "/status"), "queued");
    assert_string_equal(svc_str(&r, "/problem_id"), "sum-1");
    assert_int_equal(get(h, SVC_USER2, id, "").status, 404);
    assert_int_equal(get(h, SVC_INSTRUCTOR, id, "").status, 200);

    const struct assay_event_row *ev = svc_event(h, "submission.created", 0);
    assert_non_null(ev);
    assert_true(assay_str_is(ev->ev.subject, id));
    assert_true(assay_str_is(ev->ev.owner, USER));
    assert_true(assay_str_is(ev->ev.benchmark, "sum"));
    svc_free(h);
}

static void expect_refused(struct svc *h, const struct assay_principal *who, const char *body, int status, const char *pointer)
{
    size_t before = svc_count_events(h, "submission.created");
    struct svc_reply r = svc_call(h, who, "POST", "/submissions", body);
    if (r.status != status || !svc_faulted(&r, pointer))
        print_message("# %s\n# gave %d %.*s\n", body, r.status, ASSAY_FMT(r.body));
    assert_int_equal(r.status, status);
    assert_true(svc_faulted(&r, pointer));
    assert_int_equal(svc_count_events(h, "submission.created"), before);
}

static void test_a_refusal_names_what_is_wrong(void **state)
{
    (void)state;
    struct svc *h = world();
    benchmark(h, "early", "\"starts_ms\":99999999999999");
    problem(h, "early-1", "early", "program");
    benchmark(h, "late", "\"ends_ms\":1000");
    problem(h, "late-1", "late", "program");
    char ends[64];
    snprintf(ends, sizeof ends, "\"ends_ms\":%lld", (long long)svc_host(h)->now_ms(svc_host(h)->ctx));
    benchmark(h, "just-closed", ends);
    problem(h, "just-closed-1", "just-closed", "program");
    benchmark(h, "pythonic", "\"languages\":[\"python\",\"go\"]");
    problem(h, "pythonic-1", "pythonic", "program");
    benchmark(h, "invited", "\"entrants\":[\"a2\",\"xa1\",\"a1x\"]");
    problem(h, "invited-1", "invited", "program");
    benchmark(h, "hidden", "\"visibility\":\"private\"");
    problem(h, "hidden-1", "hidden", "program");
    benchmark(h, "empty", "");
    benchmark(h, "two", "");
    problem(h, "two-1", "two", "program");
    problem(h, "two-2", "two", "program");
    benchmark(h, "gone", "\"deleted\":true");
    problem(h, "gone-1", "gone", "program");
    benchmark(h, "answers", "");
    problem(h, "answers-1", "answers", "answer");
    svc_pump(h);

#define PROGRAM(b) "{\"benchmark_id\":\"" b "\",\"agent_id\":\"a1\",\"language\":\"c\",\"source\":\"x\"}"
    expect_refused(h, SVC_USER, PROGRAM("nosuch"), 404, "/benchmark_id");
    expect_refused(h, SVC_USER, PROGRAM("gone"), 404, "/benchmark_id");
    expect_refused(h, SVC_USER, PROGRAM("just-closed"), 403, "/benchmark_id");
    expect_refused(h, SVC_USER, PROGRAM("hidden"), 404, "/benchmark_id");
    expect_refused(h, SVC_USER, PROGRAM("early"), 403, "/benchmark_id");
    expect_refused(h, SVC_USER, PROGRAM("late"), 403, "/benchmark_id");
    expect_refused(h, SVC_USER, PROGRAM("pythonic"), 400, "/language");
    expect_refused(h, SVC_USER, PROGRAM("invited"), 403, "/agent_id");
    expect_refused(h, SVC_USER, PROGRAM("empty"), 409, "/benchmark_id");
    expect_refused(h, SVC_USER, PROGRAM("two"), 400, "/problem_id");
    expect_refused(h, SVC_USER, PROGRAM("answers"), 400, "/source");
#define WITH(more) "{\"benchmark_id\":\"sum\"," more "}"
    expect_refused(h, SVC_USER, WITH("\"agent_id\":\"a2\",\"language\":\"c\",\"source\":\"x\""), 404, "/agent_id");
    expect_refused(h, SVC_USER, WITH("\"agent_id\":\"nosuch\",\"language\":\"c\",\"source\":\"x\""), 404, "/agent_id");
    expect_refused(h, SVC_USER, WITH("\"agent_id\":\"a1\",\"problem_id\":\"two-1\",\"language\":\"c\",\"source\":\"x\""), 404,
                   "/problem_id");
    expect_refused(h, SVC_USER, WITH("\"agent_id\":\"a1\",\"payload\":\"x\""), 400, "/payload");
    expect_refused(h, SVC_USER, WITH("\"language\":\"c\",\"source\":\"x\""), 400, "/agent_id");
    expect_refused(h, SVC_USER, WITH("\"agent_id\":\"a1\",\"source\":\"x\""), 400, "/language");
    expect_refused(h, SVC_USER, WITH("\"agent_id\":\"a1\",\"language\":\"c\""), 400, "/source");
    expect_refused(h, SVC_USER, WITH("\"agent_id\":\"a1\",\"language\":\"c\",\"source\":\"\""), 400, "/source");
    expect_refused(h, SVC_USER, WITH("\"agent_id\":\"a1\",\"language\":\"c\",\"source\":\"x\",\"payload\":\"y\""), 400, "/payload");
    expect_refused(h, SVC_USER, WITH("\"agent_id\":\"a1\",\"language\":\"c\",\"files\":{\"../x.c\":\"\"}"), 400, "/files");
    expect_refused(h, SVC_USER, WITH("\"agent_id\":\"a1\",\"language\":\"c\",\"files\":{\"-o.c\":\"\"}"), 400, "/files");
    /* what only the server decides is refused, never stored */
    expect_refused(h, SVC_USER, WITH("\"agent_id\":\"a1\",\"language\":\"c\",\"source\":\"x\",\"verdict\":\"OK\""), 400, "/verdict");
    expect_refused(h, SVC_USER, WITH("\"agent_id\":\"a1\",\"language\":\"c\",\"source\":\"x\",\"owner_id\":\"b\""), 400,
                   "/owner_id");
    assert_int_equal(svc_call(h, SVC_USER, "POST", "/submissions?wait=61", SUM).status, 400);
    assert_int_equal(svc_call(h, SVC_USER, "POST", "/submissions?wiat=6", SUM).status, 400);

    /* and what is right is taken */
    assert_int_equal(svc_call(h, SVC_USER, "POST", "/submissions",
                              "{\"benchmark_id\":\"two\",\"problem_id\":\"two-2\",\"agent_id\":\"a1\",\"language\":\"c\","
                              "\"source\":\"x\"}")
                         .status,
                     202);
    assert_int_equal(
        svc_call(h, SVC_USER, "POST", "/submissions", "{\"benchmark_id\":\"answers\",\"agent_id\":\"a1\",\"payload\":\"\"}")
            .status,
        202);
    assert_int_equal(svc_call(h, SVC_USER2, "POST", "/submissions",
                              "{\"benchmark_id\":\"invited\",\"agent_id\":\"a2\",\"language\":\"c\",\"source\":\"x\"}")
                         .status,
                     202);
    assert_int_equal(svc_call(h, SVC_INSTRUCTOR, "POST", "/submissions", PROGRAM("hidden")).status, 202);
    svc_free(h);
}

static void test_the_same_key_gives_the_same_submission(void **state)
{
    (void)state;
    struct svc *h = world();
    struct svc_reply a = svc_call_as(h, SVC_USER, "POST", "/submissions", SUM, "key-1", NULL);
    struct svc_reply b = svc_call_as(h, SVC_USER, "POST", "/submissions", SUM, "key-1", NULL);
    assert_int_equal(a.status, 202);
    assert_int_equal(b.status, 202);
    assert_string_equal(svc_str(&a, "/id"), svc_str(&b, "/id"));
    assert_string_equal(a.location, b.location);
    assert_string_equal(b.replayed, "true");
    assert_int_equal(svc_count_events(h, "submission.created"), 1);
    struct svc_reply c = svc_call_as(h, SVC_USER, "POST", "/submissions",
                                     "{\"benchmark_id\":\"sum\",\"agent_id\":\"a1\",\"language\":\"c\",\"source\":\"y\"}",
                                     "key-1", NULL);
    assert_int_equal(c.status, 422);
    assert_int_equal(svc_count_events(h, "submission.created"), 1);
    /* a refused request leaves its key free */
    struct svc_reply d = svc_call_as(h, SVC_USER, "POST", "/submissions", PROGRAM("nosuch"), "key-2", NULL);
    assert_int_equal(d.status, 404);
    benchmark(h, "nosuch", "");
    problem(h, "nosuch-1", "nosuch", "program");
    svc_pump(h);
    d = svc_call_as(h, SVC_USER, "POST", "/submissions", PROGRAM("nosuch"), "key-2", NULL);
    assert_int_equal(d.status, 202);
    svc_free(h);
}

static void test_each_item_of_a_batch_is_its_own(void **state)
{
    (void)state;
    struct svc *h = world();
    const char *body = "{\"items\":[" SUM "," PROGRAM("nosuch") "," SUM "]}";
    struct svc_reply r = svc_call_as(h, SVC_USER, "POST", "/submissions/batch", body, "k", NULL);
    assert_int_equal(r.status, 200);
    assert_int_equal(svc_len(&r, "/items"), 3);
    assert_int_equal(svc_int(&r, "/items/0/status"), 202);
    assert_int_equal(svc_int(&r, "/items/1/status"), 404);
    assert_string_equal(svc_str(&r, "/items/1/error/errors/0/pointer"), "/benchmark_id");
    assert_int_equal(svc_int(&r, "/items/2/status"), 202);
    assert_int_equal(svc_count_events(h, "submission.created"), 2);
    struct svc_reply again = svc_call_as(h, SVC_USER, "POST", "/submissions/batch", body, "k", NULL);
    assert_string_equal(svc_str(&again, "/items/2/submission/id"), svc_str(&r, "/items/2/submission/id"));
    assert_int_equal(svc_count_events(h, "submission.created"), 2);
    r = svc_call(h, SVC_USER, "POST", "/submissions/batch", "{\"items\":[" SUM ",{\"benchmark_id\":\"sum\"}]}");
    assert_int_equal(r.status, 400);
    assert_true(svc_faulted(&r, "/items/1/agent_id"));
    assert_int_equal(svc_count_events(h, "submission.created"), 2);
    svc_free(h);
}

static void test_large_sources_become_blobs(void **state)
{
    (void)state;
    struct svc *h = world();
    size_t n = 300000;
    char *body = malloc(n + 200);
    assert_non_null(body);
    int at = snprintf(body, 200, "{\"benchmark_id\":\"sum\",\"agent_id\":\"a1\",\"language\":\"c\",\"source\":\"");
    memset(body + at, 'x', n);
    memcpy(body + (size_t)at + n, "\"}", 3);
    struct svc_reply r = svc_call(h, SVC_USER, "POST", "/submissions", body);
    assert_int_equal(r.status, 202);
    struct assay_job *job;
    assert_int_equal(lease(h, 1, &job), 1);
    assert_int_equal(job->source.n, 0);
    struct assay_str got;
    struct assay_err err;
    assert_int_equal(assay_blob_get(svc_blobs(h), job->source_ref, 1 << 20, svc_arena(h), &got, &err), 0);
    assert_int_equal(got.n, n);
    r = get(h, SVC_USER, svc_str(&r, "/id"), "/source");
    assert_int_equal(r.status, 200);
    assert_int_equal(strlen(svc_str(&r, "/source")), n);
    free(body);
    svc_free(h);
}

static void test_owners_read_back_what_they_sent(void **state)
{
    (void)state;
    struct svc *h = world();
    problem(h, "answers-1", "answers", "answer");
    benchmark(h, "answers", "");
    svc_pump(h);
    const char *id = submit(h);
    struct svc_reply r = get(h, SVC_USER, id, "/source");
    assert_int_equal(r.status, 200);
    assert_string_equal(svc_str(&r, "/id"), id);
    assert_string_equal(svc_str(&r, "/language"), "c");
    assert_string_equal(svc_str(&r, "/source"), "int main(){}");
    assert_true(svc_has(&r, "/files") && svc_str(&r, "/payload") == NULL);

    /* staff too; nobody else; an agent's token what its agent sent and no more */
    assert_int_equal(get(h, SVC_INSTRUCTOR, id, "/source").status, 200);
    assert_int_equal(get(h, SVC_USER2, id, "/source").status, 404);
    struct assay_principal of_agent = svc_user;
    of_agent.agent_id = ASSAY_STR("a1");
    of_agent.scopes = ASSAY_STR("submissions:read");
    assert_int_equal(get(h, &of_agent, id, "/source").status, 200);
    of_agent.agent_id = ASSAY_STR("another");
    assert_int_equal(get(h, &of_agent, id, "/source").status, 404);
    assert_int_equal(get(h, SVC_USER, id, "/source?pretty=1").status, 400);

    r = svc_call(h, SVC_USER, "POST", "/submissions",
                 "{\"benchmark_id\":\"sum\",\"agent_id\":\"a1\",\"language\":\"c\",\"files\":{\"main.c\":\"a\\u0000b\",\"lib/x.h\":\"\"}}");
    assert_int_equal(r.status, 202);
    r = get(h, SVC_USER, svc_str(&r, "/id"), "/source");
    assert_int_equal(svc_len(&r, "/files"), 2);
    assert_true(svc_str(&r, "/source") == NULL && svc_has(&r, "/source"));
    const char *body = assay_arena_z(svc_arena(h), r.body);
    assert_non_null(strstr(body, "a\\u0000b"));
    assert_non_null(strstr(body, "\"lib/x.h\":\"\""));

    r = svc_call(h, SVC_USER, "POST", "/submissions", "{\"benchmark_id\":\"answers\",\"agent_id\":\"a1\",\"payload\":\"\"}");
    assert_int_equal(r.status, 202);
    r = get(h, SVC_USER, svc_str(&r, "/id"), "/source");
    assert_string_equal(svc_str(&r, "/payload"), "");
    assert_true(svc_str(&r, "/language") == NULL && svc_str(&r, "/source") == NULL);

    r = svc_call(h, SVC_USER, "POST", "/task", "{\"translator\":\"c\",\"code\":\"main(){}\",\"input\":\"42\"}");
    assert_int_equal(r.status, 201);
    r = get(h, SVC_USER, svc_str(&r, "/task_id"), "/source");
    assert_string_equal(svc_str(&r, "/source"), "main(){}");
    assert_string_equal(svc_str(&r, "/payload"), "42");

    /* what was deleted is gone */
    assert_int_equal(act(h, SVC_USER, "POST", id, "/cancel").status, 200);
    assert_int_equal(get(h, SVC_USER, id, "/source").status, 200);
    assert_int_equal(act(h, SVC_USER, "DELETE", id, "").status, 204);
    assert_int_equal(get(h, SVC_USER, id, "/source").status, 404);
    svc_free(h);
}

/* ---- exactly once ----------------------------------------------------------------------------------- */

static void test_a_lease_carries_all_that_a_runner_needs(void **state)
{
    (void)state;
    struct svc *h = world();
    const char *first = submit(h), *second = submit(h);
    struct assay_job *job;
    assert_int_equal(lease(h, 5, &job), 2);
    assert_true(assay_str_is(job[0].submission_id, first));
    assert_true(assay_str_is(job[1].submission_id, second));
    assert_true(assay_str_is(job[0].source, "int main(){}"));
    assert_true(assay_str_is(job[0].language, "c"));
    assert_true(assay_str_is(job[0].manifest_ref, "m-sum-1"));
    assert_true(assay_str_is(job[0].problem_id, "sum-1"));
    assert_int_equal(job[0].fence, 1);
    assert_int_equal(job[0].attempt, 1);
    assert_int_equal(lease(h, 5, &job), 0);
    expect_status(h, first, "running");
    svc_free(h);
}

static void test_only_the_holder_of_the_fence_ends_it(void **state)
{
    (void)state;
    struct svc *h = world();
    const char *id = submit(h);
    struct assay_job *old, *now;
    assert_int_equal(lease(h, 1, &old), 1);
    assert_int_equal(give_back(h, old, false), 0);
    expect_status(h, id, "queued");
    assert_int_equal(lease(h, 1, &now), 1);
    assert_int_equal(now->fence, 2);
    assert_int_equal(now->attempt, 1); /* not charged, */
    assert_int_equal(now->interruptions, 1); /* but counted */
    assert_int_equal(finish(h, old, "OK", 100), ASSAY_E_GUARD);
    assert_int_equal(give_back(h, old, true), ASSAY_E_GUARD);
    expect_status(h, id, "running");
    assert_int_equal(finish(h, now, "WA", 0), 0);
    assert_int_equal(finish(h, now, "OK", 100), ASSAY_E_GUARD);
    assert_int_equal(give_back(h, now, false), ASSAY_E_GUARD);
    struct svc_reply r = get(h, SVC_USER, id, "");
    assert_string_equal(svc_str(&r, "/status"), "done");
    assert_string_equal(svc_str(&r, "/verdict"), "WA");
    assert_int_equal(svc_count_events(h, "submission.done"), 1);
    struct assay_ev_done done;
    memset(&done, 0, sizeof done);
    struct assay_err err;
    assert_int_equal(assay_ev_done_decode(svc_event(h, "submission.done", 0)->ev.payload, svc_arena(h), &done, &err), 0);
    assert_true(assay_str_is(done.verdict, "WA"));
    assert_true(assay_str_is(done.problem_id, "sum-1"));
    assert_true(assay_str_is(done.owner_id, USER));
    svc_free(h);
}

static void test_faults_of_ours_end_as_IE_after_the_attempts(void **state)
{
    (void)state;
    struct svc *h = world();
    const char *id = submit(h);
    struct assay_job *job;
    for (int i = 1; i <= 3; i++) {
        assert_int_equal(lease(h, 1, &job), 1);
        assert_int_equal(job->attempt, i);
        assert_int_equal(give_back(h, job, true), 0);
    }
    assert_int_equal(lease(h, 1, &job), 0);
    struct svc_reply r = get(h, SVC_USER, id, "");
    assert_string_equal(svc_str(&r, "/status"), "error");
    assert_string_equal(svc_str(&r, "/verdict"), "IE");
    assert_int_equal(svc_int(&r, "/attempts"), 3);
    assert_int_equal(svc_count_events(h, "submission.done"), 1);
    svc_free(h);
}

static void test_a_restart_voids_leases_and_is_not_charged(void **state)
{
    (void)state;
    struct svc *h = svc_new();
    svc_option(h, "max_interruptions", "2");
    svc_plugin(h, "submissions");
    svc_start(h);
    benchmark(h, "sum", "");
    problem(h, "sum-1", "sum", "program");
    agent(h, "a1", USER);
    svc_pump(h);
    char id[ASSAY_ID_SIZE];
    snprintf(id, sizeof id, "%s", submit(h));
    struct assay_job *job;
    for (int i = 1; i <= 3; i++) {
        assert_int_equal(lease(h, 1, &job), 1);
        assert_int_equal(job->attempt, 1);
        assert_int_equal(job->fence, i);
        h = svc_restart(h);
        expect_status(h, id, i < 3 ? "queued" : "error");
    }
    assert_int_equal(svc_count_events(h, "submission.done"), 1);
    assert_int_equal(lease(h, 1, &job), 0);
    h = svc_restart(h);
    assert_int_equal(svc_count_events(h, "submission.done"), 1);
    svc_free(h);
}

static void wait_for(struct svc *h, const char *id, const char *status)
{
    for (int i = 0; i < 400; i++) {
        struct svc_reply r = get(h, SVC_USER, id, "");
        if (strcmp(svc_str(&r, "/status"), status) == 0)
            return;
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
    fail_msg("%s never became %s", id, status);
}

static void test_an_expired_lease_comes_back_charged(void **state)
{
    (void)state;
    struct svc *h = world();
    const char *id = submit(h);
    struct assay_job *job, *again;
    assert_int_equal(lease(h, 1, &job), 1);
    void *self;
    const struct assay_jobs_ops *ops = jobs_of(h, &self);
    struct assay_err err;
    svc_advance_ms(h, 59000);
    assert_int_equal(ops->renew(self, job->submission_id, job->fence, 60000, &err), 0);
    assert_int_equal(ops->renew(self, job->submission_id, job->fence + 1, 60000, &err), ASSAY_E_GUARD);
    svc_advance_ms(h, 55000);
    nanosleep(&(struct timespec){.tv_sec = 1, .tv_nsec = 200000000}, NULL);
    expect_status(h, id, "running"); /* it was renewed */
    svc_advance_ms(h, 8000);
    wait_for(h, id, "queued");
    assert_int_equal(lease(h, 1, &again), 1);
    assert_int_equal(again->attempt, 2);
    assert_int_equal(finish(h, job, "OK", 100), ASSAY_E_GUARD);
    assert_int_equal(finish(h, again, "OK", 100), 0);
    assert_int_equal(svc_count_events(h, "submission.done"), 1);
    svc_free(h);
}

static void test_what_nobody_holds_comes_back_uncharged(void **state)
{
    (void)state;
    struct svc *h = world();
    const char *dropped = submit(h);
    struct assay_job *job, *held, *again;
    void *self;
    const struct assay_jobs_ops *ops = jobs_of(h, &self);
    assert_int_equal(lease(h, 1, &job), 1);
    const char *kept = submit(h);
    assert_int_equal(lease(h, 1, &held), 1);
    ops->drop(self, job->submission_id, job->fence);
    wait_for(h, dropped, "queued");
    expect_status(h, kept, "running"); /* that one has a holder */
    assert_int_equal(lease(h, 2, &again), 1);
    assert_true(assay_str_is(again->submission_id, dropped));
    assert_int_equal(again->attempt, 1);
    assert_int_equal(again->interruptions, 0);
    assert_int_equal(finish(h, job, "OK", 100), ASSAY_E_GUARD);
    assert_int_equal(finish(h, again, "OK", 100), 0);
    assert_int_equal(finish(h, held, "OK", 100), 0);
    assert_int_equal(svc_count_events(h, "submission.done"), 2);
    svc_free(h);
}

static void test_cancelling(void **state)
{
    (void)state;
    struct svc *h = world();
    void *self;
    const struct assay_jobs_ops *ops = jobs_of(h, &self);
    struct assay_job *job;

    const char *queued = submit(h);
    assert_int_equal(act(h, SVC_USER2, "POST", queued, "/cancel").status, 404);
    struct svc_reply r = act(h, SVC_USER, "POST", queued, "/cancel");
    assert_int_equal(r.status, 200);
    assert_string_equal(svc_str(&r, "/status"), "cancelled");
    assert_int_equal(lease(h, 1, &job), 0);
    assert_int_equal(act(h, SVC_USER, "POST", queued, "/cancel").status, 409);

    const char *running = submit(h);
    assert_int_equal(lease(h, 1, &job), 1);
    assert_false(ops->cancelled(self, job->submission_id));
    r = act(h, SVC_USER, "POST", running, "/cancel");
    assert_int_equal(r.status, 202);
    assert_true(ops->cancelled(self, job->submission_id));
    assert_int_equal(give_back(h, job, false), 0); /* what was cancelled is not queued again */
    expect_status(h, running, "cancelled");
    assert_int_equal(svc_count_events(h, "submission.cancelled"), 2);
    assert_int_equal(svc_count_events(h, "submission.done"), 0);

    /* a wish that comes after the runner decided to give the job back, and before that is written, wins too */
    const char *between = submit(h);
    struct assay_err err;
    assert_int_equal(lease(h, 1, &job), 1);
    struct assay_tx *tx = assay_tx_new(svc_arena(h), "test.give_back");
    assert_int_equal(ops->give_back(self, job, false, ASSAY_STR("test"), tx, &err), 0);
    assert_int_equal(act(h, SVC_USER, "POST", between, "/cancel").status, 202);
    assert_int_equal(assay_store_exec(svc_store(h), tx, &err), ASSAY_E_GUARD);
    assert_int_equal(give_back(h, job, false), 0);
    expect_status(h, between, "cancelled");

    char asked[ASSAY_ID_SIZE];
    snprintf(asked, sizeof asked, "%s", submit(h));
    assert_int_equal(lease(h, 1, &job), 1);
    assert_int_equal(act(h, SVC_USER, "POST", asked, "/cancel").status, 202);
    h = svc_restart(h); /* the wish outlives the process */
    expect_status(h, asked, "cancelled");
    svc_free(h);
}

static void test_rejudge_and_delete(void **state)
{
    (void)state;
    struct svc *h = world();
    const char *id = submit(h);
    struct assay_job *job;
    assert_int_equal(act(h, SVC_USER, "DELETE", id, "").status, 409);
    assert_int_equal(act(h, SVC_INSTRUCTOR, "POST", id, "/rejudge").status, 409);
    assert_int_equal(lease(h, 1, &job), 1);
    assert_int_equal(finish(h, job, "WA", 0), 0);
    assert_int_equal(act(h, SVC_USER, "POST", id, "/rejudge").status, 403);
    assert_int_equal(act(h, SVC_INSTRUCTOR, "POST", id, "/rejudge").status, 202);
    struct svc_reply r = get(h, SVC_USER, id, "");
    assert_string_equal(svc_str(&r, "/status"), "queued");
    assert_false(svc_str(&r, "/verdict"));
    assert_int_equal(lease(h, 1, &job), 1);
    assert_int_equal(job->fence, 2);
    assert_int_equal(finish(h, job, "OK", 100), 0);
    assert_int_equal(svc_count_events(h, "submission.done"), 2);
    assert_int_equal(act(h, SVC_USER2, "DELETE", id, "").status, 404);
    assert_int_equal(act(h, SVC_USER, "DELETE", id, "").status, 204);
    assert_int_equal(get(h, SVC_USER, id, "").status, 404);
    assert_int_equal(act(h, SVC_USER, "DELETE", id, "").status, 404);
    svc_free(h);
}

/* ---- seeing ------------------------------------------------------------------------------------------ */

static void test_the_feedback_policy_holds(void **state)
{
    (void)state;
    struct svc *h = world();
    benchmark(h, "blind", "\"feedback\":\"none\"");
    problem(h, "blind-1", "blind", "program");
    benchmark(h, "terse", "\"feedback\":\"verdict\"");
    problem(h, "terse-1", "terse", "program");
    svc_pump(h);
    struct svc_reply r = svc_call(h, SVC_USER, "POST", "/submissions", PROGRAM("blind"));
    const char *blind = svc_str(&r, "/id");
    r = svc_call(h, SVC_USER, "POST", "/submissions", PROGRAM("terse"));
    const char *terse = svc_str(&r, "/id");
    struct assay_job *job;
    assert_int_equal(lease(h, 5, &job), 2);
    assert_int_equal(finish(h, &job[0], "OK", 100), 0);
    assert_int_equal(finish(h, &job[1], "OK", 100), 0);
    r = get(h, SVC_USER, blind, "");
    assert_string_equal(svc_str(&r, "/status"), "done");
    assert_null(svc_str(&r, "/verdict"));
    assert_false(svc_has(&r, "/summary/passed"));
    r = get(h, SVC_USER, terse, "");
    assert_string_equal(svc_str(&r, "/verdict"), "OK");
    assert_false(svc_has(&r, "/summary/passed"));
    r = get(h, SVC_INSTRUCTOR, blind, "");
    assert_string_equal(svc_str(&r, "/verdict"), "OK");
    assert_int_equal(svc_int(&r, "/summary/passed"), 1);
    /* a filter must not tell what the member hides */
    r = svc_call(h, SVC_USER, "GET", "/submissions?verdict=OK", NULL);
    assert_int_equal(svc_len(&r, "/items"), 1);
    r = svc_call(h, SVC_INSTRUCTOR, "GET", "/submissions?verdict=OK", NULL);
    assert_int_equal(svc_len(&r, "/items"), 2);
    svc_free(h);
}

static void test_lists_are_paged_and_filtered(void **state)
{
    (void)state;
    struct svc *h = world();
    for (int i = 0; i < 5; i++)
        submit(h);
    svc_call(h, SVC_USER2, "POST", "/submissions",
             "{\"benchmark_id\":\"sum\",\"agent_id\":\"a2\",\"language\":\"c\",\"source\":\"x\"}");
    char target[256];
    size_t seen = 0;
    char cursor[128] = "", last[ASSAY_ID_SIZE] = "~";
    for (int page = 0; page < 10; page++) {
        snprintf(target, sizeof target, "/submissions?limit=2%s%s", cursor[0] ? "&cursor=" : "", cursor);
        struct svc_reply r = svc_call(h, SVC_USER, "GET", target, NULL);
        assert_int_equal(r.status, 200);
        for (int i = 0; i < svc_len(&r, "/items"); i++) {
            char at[32];
            snprintf(at, sizeof at, "/items/%d/id", i);
            assert_true(strcmp(svc_str(&r, at), last) < 0);
            snprintf(last, sizeof last, "%s", svc_str(&r, at));
            seen++;
        }
        if (svc_str(&r, "/next_cursor") == NULL)
            break;
        snprintf(cursor, sizeof cursor, "%s", svc_str(&r, "/next_cursor"));
    }
    assert_int_equal(seen, 5);
    struct svc_reply r = svc_call(h, SVC_INSTRUCTOR, "GET", "/submissions?benchmark_id=sum", NULL);
    assert_int_equal(svc_len(&r, "/items"), 6);
    r = svc_call(h, SVC_INSTRUCTOR, "GET", "/submissions?agent_id=a2", NULL);
    assert_int_equal(svc_len(&r, "/items"), 1);
    r = svc_call(h, SVC_USER, "GET", "/submissions?agent_id=a2", NULL);
    assert_int_equal(svc_len(&r, "/items"), 0);
    r = svc_call(h, SVC_USER, "GET", "/submissions?status=done", NULL);
    assert_int_equal(svc_len(&r, "/items"), 0);
    r = svc_call(h, SVC_USER, "GET", "/submissions?since=2099-01-01T00:00:00Z", NULL);
    assert_int_equal(svc_len(&r, "/items"), 0);
    assert_int_equal(svc_call(h, SVC_USER, "GET", "/submissions?status=finished", NULL).status, 400);
    assert_int_equal(svc_call(h, SVC_USER, "GET", "/submissions?limit=0", NULL).status, 400);
    assert_int_equal(svc_call(h, SVC_USER, "GET", "/submissions?cursor=%25", NULL).status, 400);
    svc_free(h);
}

static void test_the_short_form(void **state)
{
    (void)state;
    struct svc *h = world();
    struct svc_reply r = svc_call(h, SVC_USER, "POST", "/task", "{\"translator\":\"python3\",\"code\":\"print(1)\"}");
    assert_int_equal(r.status, 201);
    const char *id = svc_str(&r, "/task_id");
    char status[64], result[64], del[64];
    snprintf(status, sizeof status, "/status/%s", id);
    snprintf(result, sizeof result, "/result/%s", id);
    snprintf(del, sizeof del, "/task?id=%s", id);
    r = svc_call(h, SVC_USER, "GET", status, NULL);
    assert_string_equal(svc_str(&r, "/status"), "in_progress");
    r = svc_call(h, SVC_USER, "GET", result, NULL);
    assert_string_equal(svc_str(&r, "/result"), "");
    assert_int_equal(svc_call(h, SVC_USER2, "GET", status, NULL).status, 404);
    assert_int_equal(svc_call(h, SVC_USER, "GET", "/status/nonsense", NULL).status, 400);
    assert_int_equal(svc_call(h, SVC_USER, "GET", "/status/00000000-0000-7000-8000-000000000000", NULL).status, 404);
    assert_int_equal(svc_call(h, SVC_USER, "POST", "/task", "{\"code\":\"print(1)\"}").status, 400);
    assert_int_equal(svc_call(h, SVC_USER, "POST", "/task", "{\"lang\":\"c\",\"translator\":\"c\",\"code\":\"x\"}").status, 400);

    struct assay_job *job;
    assert_int_equal(lease(h, 1, &job), 1);
    assert_int_equal(job->kind, ASSAY_JOB_TASK);
    assert_true(assay_str_is(job->source, "print(1)"));
    void *self;
    const struct assay_jobs_ops *ops = jobs_of(h, &self);
    struct assay_tx *tx = assay_tx_new(svc_arena(h), "test.finish");
    struct assay_job_end end = {
        .verdict = ASSAY_STR("OK"), .score = 100, .summary = ASSAY_STR("{}"), .output = ASSAY_STR("1\n")};
    struct assay_err err;
    assert_int_equal(ops->finish(self, job, &end, tx, &err), 0);
    assert_int_equal(assay_store_exec(svc_store(h), tx, &err), 0);
    r = svc_call(h, SVC_USER, "GET", status, NULL);
    assert_string_equal(svc_str(&r, "/status"), "ready");
    r = svc_call(h, SVC_USER, "GET", result, NULL);
    assert_string_equal(svc_str(&r, "/result"), "1\n");
    assert_int_equal(svc_call(h, SVC_USER2, "DELETE", del, NULL).status, 404);
    assert_int_equal(svc_call(h, SVC_USER, "DELETE", del, NULL).status, 204);
    assert_int_equal(svc_call(h, SVC_USER, "GET", status, NULL).status, 404);
    assert_int_equal(svc_call(h, SVC_USER, "DELETE", del, NULL).status, 404);
    assert_int_equal(svc_call(h, SVC_USER, "DELETE", "/task?id=x", NULL).status, 400);
    assert_int_equal(svc_call(h, SVC_USER, "DELETE", "/task", NULL).status, 400);
    svc_free(h);
}

/* ---- domain ------------------------------------------------------------------------------------------ */

static void test_file_names(void **state)
{
    (void)state;
    static const char *const good[] = {"main.c", "src/a.py", "a-b_c+d.1.x"};
    static const char *const bad[] = {"",     "/etc/x", "../x", "a/../b", "a//b", "a/",   ".hidden",
                                      "a/.b", "-o",     "a b",  "a;b",    "$x",   "a\nb", "\xc3\xa4.c"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        assert_null(draft_path_fault(assay_str(good[i])));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_non_null(draft_path_fault(assay_str(bad[i])));
    assert_non_null(draft_path_fault((struct assay_str){"a\0b", 3}));
}

static void test_what_becomes_of_a_returned_job(void **state)
{
    (void)state;
    /* charge, interrupted, cancelled, attempts, interruptions, of 3, of 2 */
    assert_int_equal(job_returns(true, false, false, 0, 0, 3, 2), RETURN_QUEUED);
    assert_int_equal(job_returns(true, false, false, 1, 9, 3, 2), RETURN_QUEUED);
    assert_int_equal(job_returns(true, false, false, 2, 0, 3, 2), RETURN_ERROR);
    assert_int_equal(job_returns(false, true, false, 9, 1, 3, 2), RETURN_QUEUED);
    assert_int_equal(job_returns(false, true, false, 0, 2, 3, 2), RETURN_ERROR);
    assert_int_equal(job_returns(true, true, true, 9, 9, 3, 2), RETURN_CANCELLED);
    assert_true(list_has(ASSAY_STR(" a1 b2 "), ASSAY_STR("a1")));
    assert_true(list_has(ASSAY_STR(" a1 b2 "), ASSAY_STR("b2")));
    assert_false(list_has(ASSAY_STR(" xa1 a1x "), ASSAY_STR("a1")));
    assert_false(list_has(ASSAY_STR(""), ASSAY_STR("a1")));
}

/* ---- news on its way ------------------------------------------------------------------------------------ */

static void *pumps_soon(void *arg)
{
    nanosleep(&(struct timespec){.tv_nsec = 150000000}, NULL);
    svc_pump(arg);
    return NULL;
}

static void test_what_has_just_been_made_can_be_used_at_once(void **state)
{
    (void)state;
    struct svc *h = world();
    /* published, but not yet delivered to this service */
    benchmark(h, "fresh", "");
    problem(h, "fresh-1", "fresh", "program");
    pthread_t t;
    assert_int_equal(pthread_create(&t, NULL, pumps_soon, h), 0);
    struct svc_reply r = svc_call(h, SVC_USER, "POST", "/submissions", PROGRAM("fresh"));
    pthread_join(t, NULL);
    assert_int_equal(r.status, 202);
    svc_free(h);
}

/* ---- ?wait --------------------------------------------------------------------------------------------- */

static void *ends_it_soon(void *arg)
{
    struct svc *h = arg;
    void *self;
    const struct assay_jobs_ops *ops = jobs_of(h, &self);
    struct assay_arena *arena = assay_arena_new(0);
    struct assay_job *job;
    struct assay_err err;
    size_t n = 0;
    while (n == 0) {
        assert_int_equal(ops->lease(self, ASSAY_STR("w"), 1, 60000, arena, &job, &n, &err), 0);
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    struct assay_tx *tx = assay_tx_new(arena, "test.finish");
    struct assay_job_end end = {.verdict = ASSAY_STR("OK"), .score = 100, .summary = ASSAY_STR("{}")};
    assert_int_equal(ops->finish(self, job, &end, tx, &err), 0);
    assert_int_equal(assay_store_exec(svc_store(h), tx, &err), 0);
    svc_pump(h); /* the caller is inside svc_call, waiting */
    assay_arena_free(arena);
    return NULL;
}

static void test_wait_answers_when_it_is_done_or_time_is_up(void **state)
{
    (void)state;
    struct svc *h = world();
    struct svc_reply r = svc_call(h, SVC_USER, "POST", "/submissions?wait=1", SUM);
    assert_int_equal(r.status, 202);
    assert_int_equal(act(h, SVC_USER, "POST", svc_str(&r, "/id"), "/cancel").status, 200);
    svc_pump(h);
    pthread_t t;
    assert_int_equal(pthread_create(&t, NULL, ends_it_soon, h), 0);
    r = svc_call(h, SVC_USER, "POST", "/submissions?wait=30", SUM);
    pthread_join(t, NULL);
    assert_int_equal(r.status, 200);
    assert_string_equal(svc_str(&r, "/status"), "done");
    assert_string_equal(svc_str(&r, "/verdict"), "OK");
    svc_free(h);
}

/* ---- many at once --------------------------------------------------------------------------------------- */

struct crowd {
    struct svc *h;
    unsigned seed;
    int ended;
};

/* A runner that ends, returns, forgets and repeats itself. */
static void *careless_runner(void *arg)
{
    struct crowd *c = arg;
    void *self;
    const struct assay_jobs_ops *ops = jobs_of(c->h, &self);
    for (int idle = 0; idle < 50;) {
        struct assay_arena *arena = assay_arena_new(0);
        struct assay_job *job;
        struct assay_err err;
        size_t n = 0;
        assert_int_equal(ops->lease(self, ASSAY_STR("w"), 3, 60000, arena, &job, &n, &err), 0);
        idle = n == 0 ? idle + 1 : 0;
        for (size_t i = 0; i < n; i++) {
            c->seed = c->seed * 1103515245u + 12345u;
            unsigned dice = c->seed >> 16 & 7;
            bool twice = dice == 0;
            for (int k = 0; k < (twice ? 2 : 1); k++) {
                struct assay_tx *tx = assay_tx_new(arena, "crowd");
                struct assay_job_end end = {.verdict = ASSAY_STR("OK"), .score = 100, .summary = ASSAY_STR("{}")};
                int rc = dice == 1 ? ops->give_back(self, &job[i], false, ASSAY_STR("again"), tx, &err)
                                   : ops->finish(self, &job[i], &end, tx, &err);
                assert_int_equal(rc, 0);
                rc = assay_store_exec(svc_store(c->h), tx, &err);
                assert_int_equal(rc, k == 0 ? 0 : ASSAY_E_GUARD);
                c->ended += k == 0 && dice != 1;
            }
        }
        assay_arena_free(arena);
    }
    return NULL;
}

static void test_each_of_many_ends_exactly_once(void **state)
{
    (void)state;
    enum { MANY = 200, RUNNERS = 4 };
    struct svc *h = world();
    for (int i = 0; i < MANY; i++)
        submit(h);
    pthread_t t[RUNNERS];
    struct crowd c[RUNNERS];
    for (unsigned i = 0; i < RUNNERS; i++) {
        c[i] = (struct crowd){.h = h, .seed = i + 1};
        assert_int_equal(pthread_create(&t[i], NULL, careless_runner, &c[i]), 0);
    }
    int ended = 0;
    for (int i = 0; i < RUNNERS; i++) {
        pthread_join(t[i], NULL);
        ended += c[i].ended;
    }
    assert_int_equal(ended, MANY);
    assert_int_equal(svc_count_events(h, "submission.done"), MANY);
    struct svc_reply r = svc_call(h, SVC_USER, "GET", "/submissions?limit=500&status=done", NULL);
    assert_int_equal(svc_len(&r, "/items"), MANY);
    svc_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_submission_is_taken_and_seen),
        cmocka_unit_test(test_a_refusal_names_what_is_wrong),
        cmocka_unit_test(test_the_same_key_gives_the_same_submission),
        cmocka_unit_test(test_each_item_of_a_batch_is_its_own),
        cmocka_unit_test(test_large_sources_become_blobs),
        cmocka_unit_test(test_owners_read_back_what_they_sent),
        cmocka_unit_test(test_a_lease_carries_all_that_a_runner_needs),
        cmocka_unit_test(test_only_the_holder_of_the_fence_ends_it),
        cmocka_unit_test(test_faults_of_ours_end_as_IE_after_the_attempts),
        cmocka_unit_test(test_a_restart_voids_leases_and_is_not_charged),
        cmocka_unit_test(test_an_expired_lease_comes_back_charged),
        cmocka_unit_test(test_what_nobody_holds_comes_back_uncharged),
        cmocka_unit_test(test_cancelling),
        cmocka_unit_test(test_rejudge_and_delete),
        cmocka_unit_test(test_the_feedback_policy_holds),
        cmocka_unit_test(test_lists_are_paged_and_filtered),
        cmocka_unit_test(test_the_short_form),
        cmocka_unit_test(test_file_names),
        cmocka_unit_test(test_what_becomes_of_a_returned_job),
        cmocka_unit_test(test_what_has_just_been_made_can_be_used_at_once),
        cmocka_unit_test(test_wait_answers_when_it_is_done_or_time_is_up),
        cmocka_unit_test(test_each_of_many_ends_exactly_once),
    };
    return cmocka_run_group_tests_name("submissions", tests, NULL, NULL);
}
