/*
 * Who holds a lease, and when it is over: gateways that share a store, and holders outside of any.
 *
 * A second gateway is played by its row among the instances, which this test beats or lets be silent.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>
#include <time.h>

#include "svc_harness.h"
#include <assay/jobs.h>
#include <assay/value.h>

#define USER "00000000-0000-7000-8000-000000000001"
#define OTHER "00000000-0000-7000-8000-0000000000ff"

static const struct assay_stmt other_lives = {
    .name = "test.other_lives",
    .sql = "INSERT INTO submissions_instances (id, home, beat, lease_ms, started_ms) VALUES ('" OTHER "', 'elsewhere', 1, 12000, 0)"
           " ON CONFLICT (id) DO UPDATE SET beat = submissions_instances.beat + 1",
    .params = "", .columns = "", .write = true};
static const struct assay_stmt other_has_all = {.name = "test.other_has_all",
                                                .sql = "UPDATE submissions SET lease_boot = '" OTHER "' WHERE state = 'running'",
                                                .params = "", .columns = "", .write = true};
static const struct assay_stmt beats_of_me = {.name = "test.beats_of_me",
                                              .sql = "SELECT beat FROM submissions_instances WHERE id = $1",
                                              .params = "t", .columns = "i"};
static const struct assay_stmt drop_me = {
    .name = "test.drop_me", .sql = "DELETE FROM submissions_instances WHERE id = $1", .params = "t", .columns = "", .write = true};

static void run(struct svc *h, const struct assay_stmt *stmt, const char *arg)
{
    struct assay_tx *tx = assay_tx_new(svc_arena(h), stmt->name);
    struct assay_err err;
    struct assay_val v = ASSAY_VT(assay_str(arg != NULL ? arg : ""));
    assay_tx_add(tx, stmt, ASSAY_EXPECT_ANY, &v, arg != NULL ? 1 : 0);
    assert_int_equal(assay_store_exec(svc_store(h), tx, &err), 0);
}

static int64_t my_beat(struct svc *h)
{
    struct assay_rows rows;
    struct assay_err err;
    assert_int_equal(ASSAY_QUERY(svc_store(h), &beats_of_me, svc_arena(h), &rows, &err, ASSAY_VZ(svc_host(h)->instance_id)), 0);
    return rows.n != 0 ? rows.row[0].col[0].i : -1;
}

static struct svc *world(void)
{
    struct svc *h = svc_new();
    svc_option(h, "max_attempts", "2");
    svc_option(h, "instance_silence", "5s");
    svc_plugin(h, "submissions");
    svc_start(h);
    svc_publish(h, "benchmark.changed", "sum", USER,
                "{\"owner_id\":\"" USER "\",\"name\":\"n\",\"visibility\":\"public\",\"feedback\":\"full\"}");
    svc_publish(h, "problem.changed", "sum-1", USER,
                "{\"benchmark_id\":\"sum\",\"name\":\"p\",\"manifest_ref\":\"m\",\"position\":1,\"mode\":\"program\",\"version\":1}");
    svc_publish(h, "agent.changed", "a1", USER, "{\"owner_id\":\"" USER "\",\"name\":\"a\"}");
    svc_pump(h);
    return h;
}

static void submit(struct svc *h, const char *language, char id[ASSAY_ID_SIZE])
{
    char json[256];
    snprintf(json, sizeof json, "{\"benchmark_id\":\"sum\",\"agent_id\":\"a1\",\"language\":\"%s\",\"source\":\"x\"}", language);
    struct svc_reply r = svc_call(h, SVC_USER, "POST", "/submissions", json);
    assert_int_equal(r.status, 202);
    snprintf(id, ASSAY_ID_SIZE, "%s", svc_str(&r, "/id"));
}

static const struct assay_jobs_ops *jobs_of(struct svc *h, void **self)
{
    const struct assay_jobs_ops *ops = svc_interface(h, ASSAY_JOBS_INTERFACE, self);
    assert_non_null(ops);
    return ops;
}

static bool has_status(struct svc *h, const char *id, const char *status)
{
    char path[64];
    snprintf(path, sizeof path, "/submissions/%s", id);
    struct svc_reply r = svc_call(h, SVC_USER, "GET", path, NULL);
    assert_int_equal(r.status, 200);
    return strcmp(svc_str(&r, "/status"), status) == 0;
}

static void wait_for(struct svc *h, const char *id, const char *status)
{
    for (int i = 0; i < 2000 && !has_status(h, id, status); i++)
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    assert_true(has_status(h, id, status));
}

/* Long enough for a look of the sweep that began after the call. */
static void let_it_look(void)
{
    nanosleep(&(struct timespec){.tv_sec = 2, .tv_nsec = 200000000}, NULL);
}

static size_t lease(struct svc *h, struct assay_job **out)
{
    void *self;
    const struct assay_jobs_ops *ops = jobs_of(h, &self);
    size_t n = 0;
    struct assay_err err;
    assert_int_equal(ops->lease(self, ASSAY_STR("w"), 9, 60000, svc_arena(h), out, &n, &err), 0);
    return n;
}

static size_t lease_away(struct svc *h, const char *holder, const char *languages, const char *kinds, struct assay_job **out)
{
    void *self;
    const struct assay_jobs_ops *ops = jobs_of(h, &self);
    struct assay_lease_ask ask = {
        .holder = assay_str(holder), .languages = assay_str(languages), .kinds = assay_str(kinds), .max = 9, .lease_ms = 12000};
    size_t n = 0;
    struct assay_err err;
    assert_int_equal(ops->lease_away(self, &ask, svc_arena(h), out, &n, &err), 0);
    return n;
}

static int renew(struct svc *h, const char *holder, struct assay_str id, int64_t fence)
{
    void *self;
    const struct assay_jobs_ops *ops = jobs_of(h, &self);
    struct assay_err err;
    struct assay_lease l = {.submission_id = id, .fence = fence, .state = -1};
    assert_int_equal(ops->renew_away(self, assay_str(holder), &l, 1, &err), 0);
    return l.state;
}

static int held(struct svc *h, const char *holder, struct assay_str id, int64_t fence, struct assay_job *out)
{
    void *self;
    const struct assay_jobs_ops *ops = jobs_of(h, &self);
    struct assay_err err;
    return ops->held_away(self, assay_str(holder), id, fence, svc_arena(h), out, &err);
}

static int finish(struct svc *h, const struct assay_job *job)
{
    void *self;
    const struct assay_jobs_ops *ops = jobs_of(h, &self);
    struct assay_tx *tx = assay_tx_new(svc_arena(h), "test.finish");
    struct assay_job_end end = {.verdict = ASSAY_STR("OK"), .score = 100, .summary = ASSAY_STR("{}")};
    struct assay_err err;
    int rc = ops->finish(self, job, &end, tx, &err);
    return rc < 0 ? rc : assay_store_exec(svc_store(h), tx, &err);
}

static void test_the_leases_of_a_living_gateway_are_left_alone(void **state)
{
    (void)state;
    struct svc *h = world();
    char id[ASSAY_ID_SIZE];
    submit(h, "c", id);
    struct assay_job *job;
    assert_int_equal(lease(h, &job), 1);
    run(h, &other_lives, NULL);
    run(h, &other_has_all, NULL);
    h = svc_restart(h);
    assert_true(has_status(h, id, "running"));
    for (int i = 0; i < 3; i++) { /* 15 s by our clock, each with a sign of life */
        svc_advance_ms(h, 5000);
        run(h, &other_lives, NULL);
        let_it_look();
        assert_true(has_status(h, id, "running"));
    }
    assert_true(my_beat(h) > 1); /* and we showed that we live */
    svc_advance_ms(h, 12100);
    wait_for(h, id, "queued");
    assert_int_equal(lease(h, &job), 1);
    assert_int_equal(job->attempt, 1); /* an interruption is not an attempt */
    assert_int_equal(job->fence, 2);
    svc_free(h);
}

static void test_time_in_which_nobody_could_look_does_not_count(void **state)
{
    (void)state;
    struct svc *h = world();
    char id[ASSAY_ID_SIZE];
    submit(h, "c", id);
    struct assay_job *job;
    assert_int_equal(lease(h, &job), 1);
    run(h, &other_lives, NULL);
    run(h, &other_has_all, NULL);
    h = svc_restart(h);
    let_it_look();
    svc_advance_ms(h, 3600000); /* as after a suspend */
    let_it_look();
    assert_true(has_status(h, id, "running"));
    svc_advance_ms(h, 12100);
    wait_for(h, id, "queued");
    svc_free(h);
}

static void test_who_is_alone_writes_no_beats_and_who_was_thought_dead_comes_back(void **state)
{
    (void)state;
    struct svc *h = world();
    assert_int_equal(my_beat(h), 1);
    svc_advance_ms(h, 9000);
    let_it_look();
    assert_int_equal(my_beat(h), 1);
    run(h, &drop_me, svc_host(h)->instance_id);
    let_it_look();
    assert_int_equal(my_beat(h), 1);
    char id[ASSAY_ID_SIZE];
    struct assay_job *job;
    submit(h, "c", id);
    assert_int_equal(lease(h, &job), 1);
    let_it_look();
    assert_int_equal(finish(h, job), 0);
    svc_free(h);
}

static void test_what_is_away_is_chosen_by_language_and_kind(void **state)
{
    (void)state;
    struct svc *h = world();
    char c[ASSAY_ID_SIZE], python[ASSAY_ID_SIZE];
    submit(h, "c", c);
    submit(h, "python", python);
    assert_int_equal(svc_call(h, SVC_USER, "POST", "/task", "{\"language\":\"c\",\"code\":\"x\"}").status, 201);
    struct assay_job *job;
    assert_int_equal(lease_away(h, "agent:w1", " go cpp python3 ", "", &job), 0);
    assert_int_equal(lease_away(h, "agent:w1", " go python ", "", &job), 1);
    assert_true(assay_str_is(job->submission_id, python));
    assert_true(assay_str_is(job->source, "x"));
    assert_int_equal(lease_away(h, "agent:w1", " c ", " 1 ", &job), 1);
    assert_int_equal(job->kind, ASSAY_JOB_TASK);
    assert_int_equal(lease_away(h, "agent:w1", "", " 1 2 ", &job), 0);
    void *self;
    struct assay_err err;
    assert_int_equal(jobs_of(h, &self)->keep_local(self, " 1 ", &err), 0);
    assert_int_equal(lease(h, &job), 0); /* benchmark work goes elsewhere */
    assert_int_equal(jobs_of(h, &self)->keep_local(self, "", &err), 0);
    assert_int_equal(lease(h, &job), 1);
    assert_true(assay_str_is(job->submission_id, c));
    svc_free(h);
}

static void test_what_is_away_outlives_a_restart_and_expires_by_time(void **state)
{
    (void)state;
    struct svc *h = world();
    char id[ASSAY_ID_SIZE];
    submit(h, "c", id);
    struct assay_job *job, mine;
    assert_int_equal(lease_away(h, "agent:w1", "", "", &job), 1);
    let_it_look();
    svc_advance_ms(h, 7000);
    h = svc_restart(h);
    svc_advance_ms(h, 7000); /* a full period from the restart on */
    let_it_look();
    assert_true(has_status(h, id, "running"));
    struct assay_str sid = assay_str(id);
    assert_int_equal(renew(h, "agent:w2", sid, 1), ASSAY_LEASE_LOST);
    assert_int_equal(renew(h, "agent:w1", sid, 2), ASSAY_LEASE_LOST);
    assert_int_equal(renew(h, "agent:w1", sid, 1), ASSAY_LEASE_HELD);
    let_it_look();
    svc_advance_ms(h, 3000);
    let_it_look();
    assert_true(has_status(h, id, "running"));
    assert_int_equal(held(h, "agent:w2", sid, 1, &mine), ASSAY_E_GUARD);
    assert_int_equal(held(h, "agent:w1", sid, 1, &mine), 0);
    assert_int_equal(mine.attempt, 1);
    svc_advance_ms(h, 12100);
    wait_for(h, id, "queued");
    assert_int_equal(renew(h, "agent:w1", sid, 1), ASSAY_LEASE_LOST);
    assert_int_equal(finish(h, &mine), ASSAY_E_GUARD); /* a zombie */
    assert_int_equal(lease_away(h, "agent:w2", "", "", &job), 1);
    assert_int_equal(job->attempt, 2);
    assert_int_equal(held(h, "agent:w2", sid, 2, &mine), 0);
    assert_int_equal(finish(h, &mine), 0);
    assert_int_equal(finish(h, &mine), ASSAY_E_GUARD);
    assert_int_equal(svc_count_events(h, "submission.done"), 1);
    assert_true(has_status(h, id, "done"));
    svc_free(h);
}

static void test_a_lease_that_was_never_renewed_is_not_charged(void **state)
{
    (void)state;
    struct svc *h = world();
    char id[ASSAY_ID_SIZE];
    submit(h, "c", id);
    struct assay_job *job;
    for (int64_t fence = 1; fence <= 5; fence++) { /* more often than max_attempts */
        assert_int_equal(lease_away(h, "agent:w1", "", "", &job), 1);
        assert_int_equal(job->fence, fence);
        assert_int_equal(job->attempt, 1);
        let_it_look();
        svc_advance_ms(h, 12100);
        wait_for(h, id, "queued");
    }
    assert_int_equal(lease_away(h, "agent:w1", "", "", &job), 1);
    assert_int_equal(job->attempt, 1);
    /* once renewed, its holder has it, and its silence may be the job's doing; beats of earlier leases do not count */
    assert_int_equal(renew(h, "agent:w1", assay_str(id), 6), ASSAY_LEASE_HELD);
    let_it_look();
    svc_advance_ms(h, 12100);
    wait_for(h, id, "queued");
    assert_int_equal(lease_away(h, "agent:w1", "", "", &job), 1);
    assert_int_equal(job->attempt, 2);
    let_it_look();
    svc_advance_ms(h, 12100);
    wait_for(h, id, "queued");
    assert_int_equal(lease_away(h, "agent:w1", "", "", &job), 1);
    assert_int_equal(job->attempt, 2);
    svc_free(h);
}

static void test_who_holds_it_outside_hears_of_a_cancel(void **state)
{
    (void)state;
    struct svc *h = world();
    char id[ASSAY_ID_SIZE], path[64];
    submit(h, "c", id);
    struct assay_job *job, mine;
    assert_int_equal(lease_away(h, "agent:w1", "", "", &job), 1);
    snprintf(path, sizeof path, "/submissions/%s/cancel", id);
    assert_int_equal(svc_call(h, SVC_USER, "POST", path, NULL).status, 202);
    assert_int_equal(renew(h, "agent:w1", assay_str(id), 1), ASSAY_LEASE_CANCELLED);
    assert_int_equal(held(h, "agent:w1", assay_str(id), 1, &mine), 0);
    assert_true(mine.cancel_requested);
    void *self;
    const struct assay_jobs_ops *ops = jobs_of(h, &self);
    struct assay_tx *tx = assay_tx_new(svc_arena(h), "test.give_back");
    struct assay_err err;
    assert_int_equal(ops->give_back(self, &mine, false, ASSAY_STR("cancelled"), tx, &err), 0);
    assert_int_equal(assay_store_exec(svc_store(h), tx, &err), 0);
    assert_true(has_status(h, id, "cancelled"));
    svc_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_leases_of_a_living_gateway_are_left_alone),
        cmocka_unit_test(test_time_in_which_nobody_could_look_does_not_count),
        cmocka_unit_test(test_who_is_alone_writes_no_beats_and_who_was_thought_dead_comes_back),
        cmocka_unit_test(test_what_is_away_is_chosen_by_language_and_kind),
        cmocka_unit_test(test_what_is_away_outlives_a_restart_and_expires_by_time),
        cmocka_unit_test(test_a_lease_that_was_never_renewed_is_not_charged),
        cmocka_unit_test(test_who_holds_it_outside_hears_of_a_cancel),
    };
    return cmocka_run_group_tests_name("leases", tests, NULL, NULL);
}
