/*
 * The queue of the submissions service over the real store: who waits for whom, how much may wait, and that
 * counting it is right after a restart and after all that can happen to a row.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "local.h"
#include "svc_harness.h"
#include <assay/events.h>
#include <assay/jobs.h>

#define USER "00000000-0000-7000-8000-000000000001"
#define USER2 "00000000-0000-7000-8000-000000000002"
#define OWNER "00000000-0000-7000-8000-00000000000b"

static void agent(struct svc *h, const char *id, const char *owner)
{
    char json[256];
    snprintf(json, sizeof json, "{\"owner_id\":\"%s\",\"name\":\"a\"}", owner);
    svc_publish(h, "agent.changed", id, owner, json);
}

static void benchmark(struct svc *h, const char *id)
{
    char problem[64], json[256];
    snprintf(problem, sizeof problem, "%s-1", id);
    svc_publish(h, "benchmark.changed", id, OWNER,
                "{\"owner_id\":\"" OWNER "\",\"name\":\"n\",\"visibility\":\"public\",\"feedback\":\"full\"}");
    snprintf(json, sizeof json,
             "{\"benchmark_id\":\"%s\",\"name\":\"p\",\"manifest_ref\":\"m\",\"position\":1,\"mode\":\"program\",\"version\":1}", id);
    svc_publish(h, "problem.changed", problem, OWNER, json);
}

/* options: pairs of name and value, ended by NULL */
static struct svc *world(const char *const *options)
{
    struct svc *h = svc_new();
    for (; options != NULL && options[0] != NULL; options += 2)
        svc_option(h, options[0], options[1]);
    svc_plugin(h, "submissions");
    svc_start(h);
    benchmark(h, "sum");
    benchmark(h, "other");
    agent(h, "a1", USER);
    agent(h, "a2", USER2);
    agent(h, "a3", USER);
    svc_pump(h);
    return h;
}

static struct svc_reply send_to(struct svc *h, const struct assay_principal *who, const char *agent_id, const char *benchmark_id,
                                const char *source, const char *key)
{
    char body[512];
    snprintf(body, sizeof body, "{\"benchmark_id\":\"%s\",\"agent_id\":\"%s\",\"language\":\"c\",\"source\":\"%s\"}", benchmark_id,
             agent_id, source);
    return svc_call_as(h, who, "POST", "/submissions", body, key, NULL);
}

static const char *submit(struct svc *h, const struct assay_principal *who, const char *agent_id)
{
    struct svc_reply r = send_to(h, who, agent_id, "sum", "s", NULL);
    assert_int_equal(r.status, 202);
    return svc_str(&r, "/id");
}

static struct svc_reply act(struct svc *h, const struct assay_principal *who, const char *method, const char *id, const char *tail)
{
    char path[128];
    snprintf(path, sizeof path, "/submissions/%s%s", id, tail);
    return svc_call(h, who, method, path, NULL);
}

/* ---- the runner's side --------------------------------------------------------------------------- */

static size_t lease(struct svc *h, size_t max, struct assay_job **out)
{
    void *self;
    const struct assay_jobs_ops *ops = svc_interface(h, ASSAY_JOBS_INTERFACE, &self);
    size_t n = 0;
    struct assay_err err;
    assert_int_equal(ops->lease(self, ASSAY_STR("w"), max, 60000, svc_arena(h), out, &n, &err), 0);
    return n;
}

static void finish(struct svc *h, const struct assay_job *job)
{
    void *self;
    const struct assay_jobs_ops *ops = svc_interface(h, ASSAY_JOBS_INTERFACE, &self);
    struct assay_tx *tx = assay_tx_new(svc_arena(h), "test.finish");
    struct assay_job_end end = {.verdict = ASSAY_STR("OK"), .score = 100, .summary = ASSAY_STR("{\"passed\":1}")};
    struct assay_err err;
    assert_int_equal(ops->finish(self, job, &end, tx, &err), 0);
    assert_int_equal(assay_store_exec(svc_store(h), tx, &err), 0);
}

static void give_back(struct svc *h, const struct assay_job *job)
{
    void *self;
    const struct assay_jobs_ops *ops = svc_interface(h, ASSAY_JOBS_INTERFACE, &self);
    struct assay_tx *tx = assay_tx_new(svc_arena(h), "test.give_back");
    struct assay_err err;
    assert_int_equal(ops->give_back(self, job, false, ASSAY_STR("test"), tx, &err), 0);
    assert_int_equal(assay_store_exec(svc_store(h), tx, &err), 0);
}

static void expect_jobs(const struct assay_job *job, const char *const *ids, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (!assay_str_is(job[i].submission_id, ids[i]))
            fail_msg("lease %zu is %.*s and not %s", i, ASSAY_FMT(job[i].submission_id), ids[i]);
    }
}

/* ---- whose turn it is ----------------------------------------------------------------------------- */

static void test_submitters_take_turns(void **state)
{
    (void)state;
    struct svc *h = world(NULL);
    struct assay_job *job;
    const char *many[20], *few[3];
    for (int i = 0; i < 20; i++)
        many[i] = submit(h, SVC_USER, "a1");
    assert_int_equal(lease(h, 4, &job), 4);
    expect_jobs(job, many, 4);
    for (int i = 0; i < 3; i++)
        few[i] = submit(h, SVC_USER2, "a2");
    /* who came with three waits for one of the other's before each of them, not for sixteen */
    assert_int_equal(lease(h, 7, &job), 7);
    expect_jobs(job, (const char *const[]){many[4], few[0], many[5], few[1], many[6], few[2], many[7]}, 7);
    /* what comes back is next, and its owner's later work is not */
    give_back(h, &job[6]);
    const char *late = submit(h, SVC_USER, "a1"), *new = submit(h, SVC_USER2, "a2");
    assert_int_equal(lease(h, 15, &job), 15);
    expect_jobs(job, (const char *const[]){many[7], many[8], new, many[9]}, 4);
    expect_jobs(&job[14], &late, 1);
    svc_free(h);
}

static void test_a_row_that_came_back_gives_its_submitter_no_lead(void **state)
{
    (void)state;
    struct svc *h = world(NULL);
    struct assay_job *job;
    const char *back = submit(h, SVC_USER2, "a2"), *first[6], *then[2];
    assert_int_equal(lease(h, 1, &job), 1);
    for (int i = 0; i < 6; i++)
        first[i] = submit(h, SVC_USER, "a1");
    struct assay_job *some;
    assert_int_equal(lease(h, 3, &some), 3);
    give_back(h, &job[0]);
    for (int i = 0; i < 2; i++)
        then[i] = submit(h, SVC_USER2, "a2");
    assert_int_equal(lease(h, 9, &job), 6);
    expect_jobs(job, (const char *const[]){back, first[3], then[0], first[4], then[1], first[5]}, 6);
    svc_free(h);
}

static void test_agents_of_staff_take_turns_and_those_of_others_do_not(void **state)
{
    (void)state;
    struct svc *h = world(NULL);
    struct assay_job *job;
    const char *first = submit(h, SVC_ADMIN, "a1"), *second = submit(h, SVC_ADMIN, "a1"), *other = submit(h, SVC_ADMIN, "a2");
    assert_int_equal(lease(h, 9, &job), 3);
    expect_jobs(job, (const char *const[]){first, other, second}, 3);
    first = submit(h, SVC_USER, "a1"), second = submit(h, SVC_USER, "a1"), other = submit(h, SVC_USER, "a3");
    assert_int_equal(lease(h, 9, &job), 3);
    expect_jobs(job, (const char *const[]){first, second, other}, 3);
    svc_free(h);
}

static void test_what_was_never_begun_is_put_back_as_often_as_it_takes(void **state)
{
    (void)state;
    struct svc *h = world((const char *const[]){"max_interruptions", "2", NULL});
    submit(h, SVC_USER, "a1");
    struct assay_job *job;
    for (int i = 0; i < 10; i++) {
        void *self;
        const struct assay_jobs_ops *ops = svc_interface(h, ASSAY_JOBS_INTERFACE, &self);
        assert_int_equal(lease(h, 1, &job), 1);
        assert_int_equal(job->attempt, 1);
        assert_int_equal(job->interruptions, 0);
        struct assay_tx *tx = assay_tx_new(svc_arena(h), "test.put_back");
        struct assay_err err;
        assert_int_equal(ops->put_back(self, job, ASSAY_STR("the server is stopping"), tx, &err), 0);
        assert_int_equal(assay_store_exec(svc_store(h), tx, &err), 0);
        assert_int_equal(assay_store_exec(svc_store(h), tx, &err), ASSAY_E_GUARD); /* once */
    }
    assert_int_equal(lease(h, 1, &job), 1);
    finish(h, job);
    svc_free(h);
}

static void test_a_rejudge_waits_for_all_others(void **state)
{
    (void)state;
    struct svc *h = world(NULL);
    struct assay_job *job;
    const char *old = submit(h, SVC_USER, "a1");
    assert_int_equal(lease(h, 1, &job), 1);
    finish(h, job);
    assert_int_equal(act(h, SVC_ADMIN, "POST", old, "/rejudge").status, 202);
    const char *new[] = {submit(h, SVC_USER, "a1"), submit(h, SVC_USER, "a1"), submit(h, SVC_USER2, "a2")};
    assert_int_equal(lease(h, 9, &job), 4);
    expect_jobs(job, (const char *const[]){new[0], new[2], new[1], old}, 4);
    svc_free(h);
}

/* ---- how much may wait ------------------------------------------------------------------------------ */

static int64_t seconds(const char *header)
{
    int64_t s = -1;
    struct assay_err err;
    return header != NULL && assay_parse_i64(assay_str(header), 0, 1000, &s, &err) == 0 ? s : -1;
}

/* The answer to what finds no place. */
static void expect_refusal(const struct svc_reply *r, int status, const char *type, const char *bound, int64_t limit)
{
    assert_int_equal(r->status, status);
    assert_string_equal(svc_str(r, "/type"), type);
    assert_int_equal(svc_int(r, "/status"), status);
    assert_string_equal(svc_str(r, "/bound"), bound);
    assert_int_equal(svc_int(r, "/limit"), limit);
    assert_non_null(strstr(svc_str(r, "/detail"), bound));
    assert_non_null(r->retry_after);
    assert_true(seconds(r->retry_after) >= 1 && seconds(r->retry_after) <= 120);
    assert_int_equal(svc_int(r, "/retry_after_s"), seconds(r->retry_after));
    assert_null(r->location);
}
#define EXPECT_YOURS(r, limit) expect_refusal(&(r), 429, "urn:assay:problem:rate_limited", "queue_max_per_user", (limit))
#define EXPECT_ALL(r, bound, limit) expect_refusal(&(r), 503, "urn:assay:problem:busy", (bound), (limit))

static void test_bounds_of_one_and_of_all(void **state)
{
    (void)state;
    struct svc *h = world((const char *const[]){"queue_max", "5", "queue_max_per_user", "3", "queue_max_per_benchmark", "4", NULL});
    for (int i = 0; i < 3; i++)
        submit(h, SVC_USER, i < 2 ? "a1" : "a3");
    struct svc_reply r = send_to(h, SVC_USER, "a1", "sum", "s", NULL);
    EXPECT_YOURS(r, 3);
    submit(h, SVC_USER2, "a2");
    r = send_to(h, SVC_USER2, "a2", "sum", "s", NULL);
    EXPECT_ALL(r, "queue_max_per_benchmark", 4);
    r = svc_call(h, SVC_USER2, "POST", "/task", "{\"lang\":\"c\",\"code\":\"s\"}");
    assert_int_equal(r.status, 201);
    r = send_to(h, SVC_USER2, "a2", "other", "s", NULL);
    EXPECT_ALL(r, "queue_max", 5);
    r = svc_call(h, SVC_USER2, "POST", "/task", "{\"lang\":\"c\",\"code\":\"s\"}");
    EXPECT_ALL(r, "queue_max", 5);
    /* nothing of what was refused is there, and a place is free as soon as something is leased */
    struct assay_job *job;
    assert_int_equal(lease(h, 1, &job), 1);
    r = send_to(h, SVC_USER2, "a2", "other", "s", NULL);
    assert_int_equal(r.status, 202);
    assert_int_equal(lease(h, 9, &job), 5);
    assert_int_equal(svc_count_events(h, "submission.created"), 6);
    svc_free(h);
}

static void test_a_bound_of_bytes(void **state)
{
    (void)state;
    struct svc *h = world((const char *const[]){"queue_max_bytes", "10", NULL});
    struct svc_reply r = send_to(h, SVC_USER, "a1", "sum", "larger than the bound, and alone", NULL);
    assert_int_equal(r.status, 202);
    r = send_to(h, SVC_USER, "a1", "sum", "s", NULL);
    EXPECT_ALL(r, "queue_max_bytes", 10);
    struct assay_job *job;
    assert_int_equal(lease(h, 1, &job), 1);
    for (int i = 0; i < 2; i++) {
        r = send_to(h, SVC_USER, "a1", "sum", "12345", NULL);
        assert_int_equal(r.status, 202);
    }
    r = send_to(h, SVC_USER, "a1", "sum", "s", NULL);
    EXPECT_ALL(r, "queue_max_bytes", 10);
    svc_free(h);
}

static void test_what_was_refused_for_another_reason_holds_no_place(void **state)
{
    (void)state;
    struct svc *h = world((const char *const[]){"queue_max", "1", NULL});
    for (int i = 0; i < 3; i++) {
        struct svc_reply r = send_to(h, SVC_USER, "a2", "sum", "s", NULL);
        assert_int_equal(r.status, 404);
        r = send_to(h, SVC_USER, "a1", "nothing", "s", NULL);
        assert_int_equal(r.status, 404);
    }
    struct svc_reply r = send_to(h, SVC_USER, "a1", "sum", "s", NULL);
    assert_int_equal(r.status, 202);
    svc_free(h);
}

static void test_what_was_accepted_is_never_refused(void **state)
{
    (void)state;
    struct svc *h = world((const char *const[]){"queue_max", "1", NULL});
    struct svc_reply first = send_to(h, SVC_USER, "a1", "sum", "s", "key-1");
    assert_int_equal(first.status, 202);
    struct svc_reply again = send_to(h, SVC_USER, "a1", "sum", "s", "key-1");
    assert_int_equal(again.status, 202);
    assert_string_equal(svc_str(&again, "/id"), svc_str(&first, "/id"));
    assert_non_null(again.replayed);
    struct svc_reply r = send_to(h, SVC_USER, "a1", "sum", "another", "key-1");
    assert_int_equal(r.status, 422);
    r = send_to(h, SVC_USER, "a1", "sum", "s", "key-2");
    EXPECT_ALL(r, "queue_max", 1);
    /* a refusal is not kept: the same key is taken when there is room */
    struct assay_job *job;
    assert_int_equal(lease(h, 1, &job), 1);
    r = send_to(h, SVC_USER, "a1", "sum", "s", "key-2");
    assert_int_equal(r.status, 202);
    /* a replay takes no place */
    again = send_to(h, SVC_USER, "a1", "sum", "s", "key-1");
    assert_int_equal(again.status, 202);
    assert_int_equal(lease(h, 9, &job), 1);
    r = send_to(h, SVC_USER, "a1", "sum", "s", NULL);
    assert_int_equal(r.status, 202);
    svc_free(h);
}

#define ITEM "{\"benchmark_id\":\"sum\",\"agent_id\":\"a1\",\"language\":\"c\",\"source\":\"s\"}"

static void test_a_batch_is_taken_as_far_as_there_are_places(void **state)
{
    (void)state;
    struct svc *h = world((const char *const[]){"queue_max_per_user", "2", NULL});
    static const char three[] = "{\"items\":[" ITEM "," ITEM "," ITEM "]}";
    struct svc_reply r = svc_call_as(h, SVC_USER, "POST", "/submissions/batch", three, "key-1", NULL);
    assert_int_equal(r.status, 200);
    assert_int_equal(svc_int(&r, "/items/0/status"), 202);
    assert_int_equal(svc_int(&r, "/items/1/status"), 202);
    assert_int_equal(svc_int(&r, "/items/2/status"), 429);
    assert_string_equal(svc_str(&r, "/items/2/error/bound"), "queue_max_per_user");
    assert_int_equal(svc_int(&r, "/items/2/error/retry_after_s"), seconds(r.retry_after));
    /* the same again: what was taken is what was taken */
    struct svc_reply again = svc_call_as(h, SVC_USER, "POST", "/submissions/batch", three, "key-1", NULL);
    assert_int_equal(again.status, 200);
    assert_string_equal(svc_str(&again, "/items/1/submission/id"), svc_str(&r, "/items/1/submission/id"));
    assert_int_equal(svc_int(&again, "/items/2/status"), 429);
    /* of another nothing finds a place: the whole is refused */
    r = svc_call(h, SVC_USER, "POST", "/submissions/batch", three);
    EXPECT_YOURS(r, 2);
    struct assay_job *job;
    assert_int_equal(lease(h, 9, &job), 2);
    again = svc_call_as(h, SVC_USER, "POST", "/submissions/batch", three, "key-1", NULL);
    assert_int_equal(svc_int(&again, "/items/2/status"), 202);
    svc_free(h);
}

static void test_the_count_follows_all_that_happens_to_a_row(void **state)
{
    (void)state;
    struct svc *h = world((const char *const[]){"queue_max", "2", NULL});
    struct assay_job *job, *other;
    const char *first = submit(h, SVC_USER, "a1"), *second = submit(h, SVC_USER, "a1");
#define FULL()                                                                                                         \
    do {                                                                                                               \
        svc_pump(h);                                                                                                   \
        struct svc_reply full = send_to(h, SVC_USER, "a1", "sum", "s", NULL);                                          \
        EXPECT_ALL(full, "queue_max", 2);                                                                              \
    } while (0)
    FULL();
    assert_int_equal(act(h, SVC_USER, "POST", first, "/cancel").status, 200);
    first = submit(h, SVC_USER, "a1");
    FULL();
    /* one comes back while another has taken its place: it was accepted, so there are three */
    assert_int_equal(lease(h, 1, &job), 1);
    submit(h, SVC_USER, "a1");
    give_back(h, job);
    FULL();
    assert_int_equal(lease(h, 1, &job), 1);
    FULL();
    assert_int_equal(lease(h, 1, &other), 1);
    submit(h, SVC_USER, "a1");
    FULL();
    /* what is judged again asks for a place, and takes one */
    finish(h, job);
    char ended[64];
    snprintf(ended, sizeof ended, "%.*s", ASSAY_FMT(job->submission_id));
    struct svc_reply r = act(h, SVC_ADMIN, "POST", ended, "/rejudge");
    EXPECT_ALL(r, "queue_max", 2);
    assert_int_equal(lease(h, 1, &job), 1);
    assert_int_equal(act(h, SVC_ADMIN, "POST", ended, "/rejudge").status, 202);
    FULL();
    /* after a restart it is what the rows say: one running comes back, and there are three */
    h = svc_restart(h);
    FULL();
    assert_int_equal(lease(h, 9, &job), 4);
    submit(h, SVC_USER, "a1");
    submit(h, SVC_USER, "a1");
    FULL();
    assert_null(strstr(svc_log_text(h), "queue_count_mended"));
    (void)second;
    svc_free(h);
}

static void test_what_other_processes_take_is_counted_too(void **state)
{
    (void)state;
    struct svc *h = world((const char *const[]){"queue_max", "4", NULL});
    static const struct assay_stmt elsewhere = {
        .name = "test.elsewhere",
        .sql = "INSERT INTO submissions (id, kind, benchmark_id, problem_id, agent_id, owner_id, language, source_kind, source_ref,"
               " payload_ref, state, request_id, traceparent, created_ms, updated_ms, submitter)"
               " VALUES ($1, 1, '', '', '', '" USER2 "', 'c', 0, '', '', 'queued', '', '', 1, 1, '" USER2 "')",
        .params = "t",
        .columns = "",
        .write = true};
    submit(h, SVC_USER, "a1");
    for (int i = 0; i < 3; i++) {
        char id[ASSAY_ID_SIZE];
        struct assay_err err;
        struct assay_tx *tx = assay_tx_new(svc_arena(h), "test.elsewhere");
        assay_id_new(id);
        ASSAY_TX(tx, &elsewhere, ASSAY_EXPECT_ONE, ASSAY_VZ(id));
        assay_tx_event(tx, (struct assay_event){.topic = ASSAY_STR("submission.created"), .subject = assay_str(id),
                                                .owner = ASSAY_STR(USER2), .payload = ASSAY_STR("{}")});
        assert_int_equal(assay_store_exec(svc_store(h), tx, &err), 0);
    }
    svc_pump(h);
    svc_advance_ms(h, 10000); /* the sweep counts */
    struct svc_reply r = {.status = 0};
    for (int i = 0; i < 500 && r.status != 503; i++) {
        struct timespec t = {.tv_nsec = 20000000};
        nanosleep(&t, NULL);
        r = send_to(h, SVC_USER, "a1", "nothing", "s", NULL);
    }
    EXPECT_ALL(r, "queue_max", 4);
    svc_free(h);
}

/* ---- Retry-After, by the table alone ------------------------------------------------------------------ */

static void test_retry_after_is_made_of_the_rate(void **state)
{
    (void)state;
    const struct admission_bounds bounds = {.all = 1000, .per_user = 500};
    struct admission *a = admission_new(&bounds, 1000);
    struct place one = {.submitter = ASSAY_STR("one"), .benchmark_id = ASSAY_STR("b"), .bytes = 7};
    struct place two = {.submitter = ASSAY_STR("two"), .benchmark_id = ASSAY_STR("b"), .bytes = 7};
    struct admission_refusal why;
    for (int i = 0; i < 500; i++) {
        assert_true(admission_enter(a, &one, 1000, &why));
        admission_written(a, &one, true);
    }
    assert_false(admission_enter(a, &one, 1000, &why));
    assert_int_equal(why.bound, BOUND_USER);
    assert_int_equal(why.retry_after_s, 5); /* nothing is known yet */
    for (int s = 0; s < 60; s++) {          /* two a second */
        admission_ended(a, 2000 + s * 1000);
        admission_ended(a, 2000 + s * 1000);
    }
    assert_false(admission_enter(a, &one, 61000, &why));
    assert_int_equal(why.retry_after_s, 3); /* five places, all turns his */
    for (int i = 0; i < 500; i++) {
        assert_true(admission_enter(a, &two, 61000, &why));
        admission_written(a, &two, true);
    }
    assert_false(admission_enter(a, &one, 61000, &why));
    assert_int_equal(why.retry_after_s, 5); /* every other turn his */
    struct place three = {.submitter = ASSAY_STR("three"), .benchmark_id = ASSAY_STR("b"), .bytes = 7};
    assert_false(admission_enter(a, &three, 61000, &why));
    assert_int_equal(why.bound, BOUND_ALL);
    assert_int_equal(why.retry_after_s, 5); /* ten places */
    for (int i = 0; i < 100; i++)
        assert_false(admission_enter(a, &three, 61000, &why));
    assert_false(admission_enter(a, &three, 62000, &why));
    assert_true(why.retry_after_s > 40 && why.retry_after_s < 60); /* a hundred will be back */
    assert_false(admission_enter(a, &three, 200000, &why));
    assert_int_equal(why.retry_after_s, 120); /* nothing has ended for a minute */
    struct admission_state st = admission_state(a, 200000);
    assert_int_equal(st.queued, 1000);
    assert_int_equal(st.bytes, 7000);
    assert_int_equal(st.submitters, 2);
    for (int i = 0; i < 500; i++) {
        admission_leave(a, &one);
        admission_leave(a, &two);
    }
    st = admission_state(a, 200000);
    assert_int_equal(st.queued, 0);
    assert_int_equal(st.bytes, 0);
    assert_int_equal(st.submitters, 0);
    admission_free(a);
}

static void test_a_count_replaces_what_memory_says_only_when_nothing_was_under_way(void **state)
{
    (void)state;
    const struct admission_bounds bounds = {.all = 0};
    struct admission *a = admission_new(&bounds, 0);
    struct admission_refusal why;
    char name[500][24];
    int64_t off_by;
    for (int i = 0; i < 500; i++) { /* more than the table begins with */
        snprintf(name[i], sizeof name[i], "user-%d", i);
        struct place p = {.submitter = assay_str(name[i]), .benchmark_id = ASSAY_STR(""), .bytes = 1};
        assert_true(admission_enter(a, &p, 0, &why));
        admission_written(a, &p, true);
    }
    assert_int_equal(admission_state(a, 0).submitters, 500);
    const struct admission_row rows[] = {{.submitter = ASSAY_STR("user-7"), .benchmark_id = ASSAY_STR("b"), .n = 3, .bytes = 30, .oldest_ms = 99},
                                         {.submitter = ASSAY_STR("x"), .benchmark_id = ASSAY_STR(""), .n = 4, .bytes = 40, .oldest_ms = 50}};
    uint64_t at = admission_count_begin(a);
    struct place p = {.submitter = ASSAY_STR("user-7"), .benchmark_id = ASSAY_STR("b"), .bytes = 5};
    assert_true(admission_enter(a, &p, 0, &why));
    assert_false(admission_count_end(a, at, rows, 2, &off_by)); /* something came in between */
    assert_int_equal(admission_state(a, 0).queued, 501);
    at = admission_count_begin(a);
    assert_false(admission_count_end(a, at, rows, 2, &off_by)); /* it is still being written */
    admission_written(a, &p, false);
    admission_begin(a);
    at = admission_count_begin(a);
    admission_end(a);
    assert_false(admission_count_end(a, at, rows, 2, &off_by));
    at = admission_count_begin(a);
    assert_true(admission_count_end(a, at, rows, 2, &off_by));
    assert_int_equal(off_by, 7 - 500);
    struct admission_state st = admission_state(a, 0);
    assert_int_equal(st.queued, 7);
    assert_int_equal(st.bytes, 70);
    assert_int_equal(st.submitters, 2);
    assert_int_equal(st.oldest_ms, 50);
    admission_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_submitters_take_turns),
        cmocka_unit_test(test_a_row_that_came_back_gives_its_submitter_no_lead),
        cmocka_unit_test(test_agents_of_staff_take_turns_and_those_of_others_do_not),
        cmocka_unit_test(test_a_rejudge_waits_for_all_others),
        cmocka_unit_test(test_what_was_never_begun_is_put_back_as_often_as_it_takes),
        cmocka_unit_test(test_bounds_of_one_and_of_all),
        cmocka_unit_test(test_a_bound_of_bytes),
        cmocka_unit_test(test_what_was_refused_for_another_reason_holds_no_place),
        cmocka_unit_test(test_what_was_accepted_is_never_refused),
        cmocka_unit_test(test_a_batch_is_taken_as_far_as_there_are_places),
        cmocka_unit_test(test_the_count_follows_all_that_happens_to_a_row),
        cmocka_unit_test(test_what_other_processes_take_is_counted_too),
        cmocka_unit_test(test_retry_after_is_made_of_the_rate),
        cmocka_unit_test(test_a_count_replaces_what_memory_says_only_when_nothing_was_under_way),
    };
    return cmocka_run_group_tests_name("submissions_queue", tests, NULL, NULL);
}
