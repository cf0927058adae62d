/*
 * The intake and the outlet of the submissions service between a broker that does what brokers do (fake_broker.h) and a
 * runner that is this test: each message is judged once and answered, whatever is repeated, lost, refused or crashes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include <assay/jobs.h>
#include <assay/script.h>
#include <assay/value.h>

#include "fake_broker.h"
#include "svc_harness.h"

#define WAIT_MS 60000
#define RESULTS ASSAY_CHANNEL_RESULTS
#define WORK ASSAY_CHANNEL_WORK

static struct svc *h;
static struct fake_broker *b;
static struct assay_arena *arena;

static int resolve(void *self, struct assay_str name, struct assay_str *canonical, struct assay_err *err)
{
    (void)self;
    if (!assay_str_ieq(name, "python"))
        return assay_err_set(err, ASSAY_E_NOT_FOUND, "there is no language of that name");
    *canonical = ASSAY_STR("python");
    return ASSAY_OK;
}
static const struct assay_languages_ops languages = {.size = sizeof languages, .resolve = resolve};

static const struct assay_jobs_ops *jobs(void **self)
{
    const struct assay_jobs_ops *ops = svc_interface(h, ASSAY_JOBS_INTERFACE, self);
    assert_non_null(ops);
    return ops;
}

static void know_languages(void)
{
    void *self;
    const struct assay_jobs_ops *ops = jobs(&self);
    ops->set_languages(self, &languages, NULL);
}

static void begin_with(const char *const *option)
{
    arena = assay_arena_new(0);
    b = fake_broker_new();
    h = svc_new();
    svc_plugin(h, "submissions");
    svc_option(h, "intake", "fake");
    svc_option(h, "intake_in_flight", "8");
    for (; option != NULL && option[0] != NULL; option += 2)
        svc_option(h, option[0], option[1]);
    svc_broker(h, "fake", b);
    svc_start(h);
    know_languages();
}

static void begin(void)
{
    begin_with(NULL);
}

static void end(void)
{
    svc_free(h);
    fake_broker_free(b);
    assay_arena_free(arena);
}

static void restart(void)
{
    h = svc_restart(h);
    know_languages();
}

static size_t send_script(const char *id)
{
    char body[300];
    snprintf(body, sizeof body, "{\"type\":\"script\",\"id\":\"%s\",\"language\":\"Python\",\"source\":\"print(1)\"}", id);
    return fake_broker_send(b, WORK, id, body);
}

static void nap(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
}

static size_t lease(struct assay_job *out, size_t max)
{
    void *self;
    const struct assay_jobs_ops *ops = jobs(&self);
    struct assay_job *list;
    size_t n;
    struct assay_err err = {0, ""};
    if (ops->lease(self, ASSAY_STR("test"), max, 60000, arena, &list, &n, &err) != 0)
        fail_msg("lease: %s", err.msg);
    assert_true(n <= max);
    memcpy(out, list, n * sizeof *out);
    return n;
}

static struct assay_job lease_one(void)
{
    struct assay_job job;
    for (int i = 0; i < WAIT_MS / 5; i++, nap()) {
        if (lease(&job, 1) == 1)
            return job;
    }
    fail_msg("no work came");
    return job;
}

static void finish(const struct assay_job *job, const char *verdict)
{
    void *self;
    const struct assay_jobs_ops *ops = jobs(&self);
    struct assay_err err = {0, ""};
    struct assay_tx *tx = assay_tx_new(arena, "test.finish");
    struct assay_job_end e = {.verdict = assay_str(verdict), .summary = ASSAY_STR("{}")};
    e.output = assay_arena_fmt(arena, "{\"id\":\"%.*s\",\"status\":\"%s\",\"exit_code\":0}", ASSAY_FMT(job->request_id), verdict);
    if (ops->finish(self, job, &e, tx, &err) != 0 || assay_store_exec(svc_store(h), tx, &err) != 0)
        fail_msg("finish: %s", err.msg);
    svc_pump(h);
}

static void give_back(const struct assay_job *job, const char *reason)
{
    void *self;
    const struct assay_jobs_ops *ops = jobs(&self);
    struct assay_err err = {0, ""};
    struct assay_tx *tx = assay_tx_new(arena, "test.give_back");
    if (ops->give_back(self, job, true, assay_str(reason), tx, &err) != 0 || assay_store_exec(svc_store(h), tx, &err) != 0)
        fail_msg("give_back: %s", err.msg);
    svc_pump(h);
}

static struct assay_script_result result(size_t i)
{
    struct assay_script_result r;
    struct assay_err err = {0, ""};
    if (assay_script_result_decode(fake_broker_publication(b, RESULTS, i)->body, arena, &r, &err) != 0)
        fail_msg("%s", err.msg);
    return r;
}

static void str_is(struct assay_str s, const char *z)
{
    if (!assay_str_is(s, z))
        fail_msg("\"%.*s\" is not \"%s\"", ASSAY_FMT(s), z);
}

static void eventually(bool (*so)(const char *), const char *arg, const char *what)
{
    for (int i = 0; i < WAIT_MS / 5; i++, nap()) {
        if (so(arg))
            return;
    }
    fail_msg("never: %s", what);
}

static bool row_is(const char *arg) /* "id state" */
{
    char target[80];
    snprintf(target, sizeof target, "/submissions/%.36s", arg);
    struct svc_reply r = svc_call(h, SVC_ADMIN, "GET", target, NULL);
    const char *state = svc_str(&r, "/status");
    return strcmp(arg + 37, r.status == 404 ? "none" : state != NULL ? state : "") == 0;
}

static void wait_state(struct assay_str id, const char *state)
{
    struct assay_str arg = assay_arena_fmt(arena, "%.*s %s", ASSAY_FMT(id), state);
    eventually(row_is, arg.p, arg.p);
}

static const char *created(size_t n_last)
{
    const struct assay_event_row *ev = svc_event(h, "submission.created", n_last);
    assert_non_null(ev);
    return assay_arena_z(arena, ev->ev.subject);
}

static bool created_are(const char *n)
{
    return svc_count_events(h, "submission.created") == strtoul(n, NULL, 10);
}

/* ---- one message ------------------------------------------------------------------------------------------ */

static void a_message_is_judged_and_answered(void **state)
{
    (void)state;
    begin();
    size_t m = fake_broker_send_from(b, WORK, "the-key", "{\"id\":\"the-id\",\"language\":\"PYTHON\",\"source\":\"print(1)\"}", "reply-here", "corr-7");
    struct assay_job job = lease_one();
    assert_int_equal(job.kind, ASSAY_JOB_SCRIPT);
    str_is(job.language, "python");
    str_is(job.request_id, "the-id");
    struct assay_script s;
    struct assay_err err;
    assert_int_equal(assay_script_decode(job.payload, arena, &s, &err), 0);
    str_is(s.source, "print(1)");
    assert_int_equal(fake_broker_published(b, RESULTS), 0);
    assert_int_equal(fake_broker_state(b, m), FAKE_HELD);
    finish(&job, "WA");
    fake_broker_wait_settled(b, m);
    assert_int_equal(fake_broker_state(b, m), FAKE_DONE);
    assert_int_equal(fake_broker_published(b, RESULTS), 1);
    const struct fake_publication *p = fake_broker_publication(b, RESULTS, 0);
    str_is(p->key, "the-id");
    str_is(p->reply_to, "reply-here");
    str_is(p->correlation, "corr-7");
    assert_true(p->answers != 0);
    struct assay_script_result r = result(0);
    str_is(r.id, "the-id");
    str_is(r.status, "WA");
    assert_int_equal(r.event_id.n, 36);
    assert_true(assay_id_valid(r.event_id));
    end();
}

static void a_message_is_settled_only_when_its_result_is_confirmed(void **state)
{
    (void)state;
    begin();
    fake_broker_hold_confirms(b, true);
    size_t m = send_script("a");
    struct assay_job job = lease_one();
    finish(&job, "OK");
    fake_broker_wait_published(b, RESULTS, 1);
    for (int i = 0; i < 20; i++, nap())
        assert_int_equal(fake_broker_state(b, m), FAKE_HELD);
    fake_broker_hold_confirms(b, false);
    fake_broker_wait_settled(b, m);
    end();
}

static void the_id_is_the_key_or_else_the_name(void **state)
{
    (void)state;
    begin();
    fake_broker_send(b, WORK, "the-key", "{\"language\":\"python\",\"source\":\"1\"}");
    struct assay_job job = lease_one();
    str_is(job.request_id, "the-key");
    finish(&job, "OK");
    fake_broker_send(b, WORK, "", "{\"language\":\"python\",\"source\":\"1\"}");
    job = lease_one();
    str_is(job.request_id, "fake:0:1");
    finish(&job, "OK");
    fake_broker_wait_published(b, RESULTS, 2);
    end();
}

/* ---- poison ------------------------------------------------------------------------------------------------- */

static void what_is_no_script_is_answered_with_an_error(void **state)
{
    (void)state;
    begin();
    static const struct {
        const char *key, *body, *id, *says;
        enum fake_state state;
    } bad[] = {
        {"k1", "this is not JSON", "k1", "no script", FAKE_DEAD},
        {"", "{", "fake:0:1", "no script", FAKE_DEAD},
        {"k", "{\"id\":\"i1\",\"source\":5}", "i1", "/source", FAKE_DEAD},
        {"k", "{\"id\":\"i2\",\"type\":\"what\"}", "i2", "/type", FAKE_DEAD},
        {"k", "{\"id\":\"i3\",\"language\":\"python\",\"source\":\"\"}", "i3", "empty source", FAKE_DONE},
        {"k", "{\"id\":\"i4\",\"source\":\"x\"}", "i4", "no language", FAKE_DONE},
        {"k", "{\"id\":\"i5\",\"language\":\"cobol\",\"source\":\"x\"}", "i5", "unknown language: cobol", FAKE_DONE},
        {"k", "{\"id\":\"i6\",\"language\":\"python\",\"files\":{\"../x\":\"1\"}}", "i6", "file name", FAKE_DONE},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        size_t m = fake_broker_send(b, WORK, bad[i].key, bad[i].body);
        fake_broker_wait_settled(b, m);
        assert_int_equal(fake_broker_state(b, m), bad[i].state);
        assert_int_equal(fake_broker_published(b, RESULTS), i + 1);
        struct assay_script_result r = result(i);
        str_is(r.id, bad[i].id);
        str_is(r.status, "");
        assert_true(r.timestamp_ms > 0);
        if (memmem(r.error.p, r.error.n, bad[i].says, strlen(bad[i].says)) == NULL)
            fail_msg("%s: \"%.*s\" does not say \"%s\"", bad[i].body, ASSAY_FMT(r.error), bad[i].says);
    }
    assert_int_equal(svc_count_events(h, "submission.created"), 0);
    /* and what comes after it is judged */
    size_t m = send_script("good");
    struct assay_job job = lease_one();
    finish(&job, "OK");
    fake_broker_wait_settled(b, m);
    end();
}

static void a_job_that_cannot_be_judged_ends_among_the_dead(void **state)
{
    (void)state;
    for (int strict = 0; strict < 2; strict++) {
        const char *option[] = {"broker_strict", strict ? "1" : "0", NULL};
        begin_with(option);
        size_t m = send_script("deadly");
        for (int i = 0; i < 3; i++) {
            struct assay_job job = lease_one();
            assert_int_equal(job.attempt, i + 1);
            give_back(&job, "it kills its runner");
        }
        fake_broker_wait_settled(b, m);
        assert_int_equal(fake_broker_state(b, m), FAKE_DEAD);
        assert_int_equal(fake_broker_published(b, RESULTS), 1);
        struct assay_script_result r = result(0);
        str_is(r.id, "deadly");
        str_is(r.status, strict ? "" : "IE");
        str_is(r.error, "it kills its runner");
        end();
    }
}

static void a_cancelled_one_is_answered_with_an_error(void **state)
{
    (void)state;
    begin();
    size_t m = send_script("a");
    eventually(created_are, "1", "a submission");
    char target[100];
    snprintf(target, sizeof target, "/submissions/%s/cancel", created(0));
    assert_int_equal(svc_call(h, SVC_ADMIN, "POST", target, NULL).status, 200);
    svc_pump(h);
    fake_broker_wait_settled(b, m);
    struct assay_script_result r = result(0);
    str_is(r.status, "");
    str_is(r.error, "cancelled");
    end();
}

/* ---- repeated ------------------------------------------------------------------------------------------------ */

static void a_message_that_is_repeated_is_judged_once(void **state)
{
    (void)state;
    begin();
    size_t m = send_script("a");
    fake_broker_wait_taken(b, m, 1);
    fake_broker_repeat(b, m); /* while it waits */
    fake_broker_wait_taken(b, m, 2);
    struct assay_job job = lease_one();
    fake_broker_repeat(b, m); /* while it runs */
    fake_broker_wait_taken(b, m, 3);
    finish(&job, "OK");
    fake_broker_wait_idle(b);
    fake_broker_repeat(b, m); /* after the answer */
    fake_broker_wait_taken(b, m, 4);
    fake_broker_wait_idle(b);
    assert_int_equal(svc_count_events(h, "submission.created"), 1);
    assert_int_equal(fake_broker_published(b, RESULTS), 1);
    assert_int_equal(lease(&job, 1), 0);
    end();
}

static void an_answer_is_remembered_over_restarts(void **state)
{
    (void)state;
    begin();
    size_t m = send_script("a");
    struct assay_job job = lease_one();
    finish(&job, "OK");
    fake_broker_wait_settled(b, m);
    restart();
    fake_broker_repeat(b, m);
    fake_broker_wait_taken(b, m, 2);
    fake_broker_wait_idle(b);
    assert_int_equal(fake_broker_published(b, RESULTS), 1);
    assert_int_equal(svc_count_events(h, "submission.created"), 1);
    end();
}

static void another_message_with_the_same_id_has_its_own_result(void **state)
{
    (void)state;
    begin();
    send_script("a");
    send_script("a");
    for (int i = 0; i < 2; i++) {
        struct assay_job job = lease_one();
        finish(&job, "OK");
    }
    fake_broker_wait_idle(b);
    assert_int_equal(fake_broker_published(b, RESULTS), 2);
    struct assay_str one = result(0).event_id, two = result(1).event_id;
    assert_false(assay_str_eq(one, two));
    end();
}

/* Each of many messages comes one to five times, in any order, also after its answer: R11. */
static void duplicated_and_shuffled_deliveries_have_their_effect_once(void **state)
{
    (void)state;
    enum { N = 60 };
    begin();
    unsigned seed = 20261128;
    size_t message[N], answered = 0;
    fake_broker_pause(b, true);
    fake_broker_shuffle(b, seed);
    for (size_t i = 0; i < N; i++) {
        char id[20];
        snprintf(id, sizeof id, "m%zu", i);
        message[i] = send_script(id);
        for (int k = rand_r(&seed) % 5; k > 0; k--)
            fake_broker_repeat(b, message[i]);
    }
    fake_broker_pause(b, false);
    for (int tries = 0; answered < N; tries++, nap()) {
        struct assay_job job[4];
        size_t n = lease(job, 4);
        for (size_t i = 0; i < n; i++) {
            finish(&job[i], "OK");
            fake_broker_repeat(b, message[(size_t)rand_r(&seed) % N]);
        }
        answered += n;
        assert_true(tries < WAIT_MS / 5);
    }
    fake_broker_wait_idle(b);
    assert_int_equal(svc_count_events(h, "submission.created"), N);
    assert_int_equal(svc_count_events(h, "submission.done"), N);
    assert_int_equal(fake_broker_published(b, RESULTS), N);
    bool seen[N] = {false};
    for (size_t i = 0; i < N; i++) {
        unsigned long k = strtoul(result(i).id.p + 1, NULL, 10);
        assert_in_range(k, 0, N - 1);
        assert_false(seen[k]);
        seen[k] = true;
    }
    end();
}

/* ---- crashes ------------------------------------------------------------------------------------------------- */

static void a_crash_before_the_mark_publishes_the_same_event_again(void **state)
{
    (void)state;
    begin();
    fake_broker_hold_confirms(b, true); /* it is there, and nobody has been told */
    size_t m = send_script("a");
    struct assay_job job = lease_one();
    finish(&job, "TL");
    fake_broker_wait_published(b, RESULTS, 1);
    restart();
    fake_broker_hold_confirms(b, false);
    fake_broker_wait_settled(b, m);
    assert_int_equal(fake_broker_published(b, RESULTS), 2);
    struct assay_str one = result(0).event_id, two = result(1).event_id;
    assert_true(assay_str_eq(one, two));
    str_is(result(1).status, "TL");
    assert_int_equal(svc_count_events(h, "submission.created"), 1);
    assert_int_equal(svc_count_events(h, "submission.done"), 1);
    end();
}

static void a_restart_while_it_runs_judges_it_again_and_answers_once(void **state)
{
    (void)state;
    begin();
    size_t m = send_script("a");
    struct assay_job first = lease_one();
    restart();
    fake_broker_wait_taken(b, m, 2);
    struct assay_job second = lease_one();
    assert_true(assay_str_eq(first.submission_id, second.submission_id));
    finish(&second, "OK");
    fake_broker_wait_settled(b, m);
    assert_int_equal(fake_broker_published(b, RESULTS), 1);
    end();
}

static void what_waits_at_a_stop_goes_back_and_is_taken_up_again(void **state)
{
    (void)state;
    const char *option[] = {"drain_timeout", "30000", NULL};
    begin_with(option);
    size_t m = send_script("a");
    eventually(created_are, "1", "a submission");
    restart();
    assert_int_equal(svc_count_events(h, "submission.cancelled"), 1); /* nobody judges here what another may have by now */
    struct assay_job job = lease_one();
    finish(&job, "OK");
    fake_broker_wait_settled(b, m);
    assert_int_equal(fake_broker_published(b, RESULTS), 1);
    str_is(result(0).status, "OK");
    assert_int_equal(svc_count_events(h, "submission.created"), 1);
    end();
}

/* ---- lost ---------------------------------------------------------------------------------------------------- */

static void a_lost_message_that_has_not_begun_is_cancelled(void **state)
{
    (void)state;
    begin();
    size_t m = send_script("a");
    eventually(created_are, "1", "a submission");
    fake_broker_lose(b, m, false);
    wait_state(assay_str(created(0)), "cancelled");
    struct assay_job job;
    svc_pump(h);
    for (int i = 0; i < 20; i++, nap())
        assert_int_equal(lease(&job, 1), 0);
    assert_int_equal(fake_broker_published(b, RESULTS), 0);
    end();
}

static void a_lost_message_that_comes_again_is_answered_once(void **state)
{
    (void)state;
    begin();
    size_t m = send_script("a");
    eventually(created_are, "1", "a submission");
    fake_broker_lose(b, m, true);
    fake_broker_wait_taken(b, m, 2);
    struct assay_job job = lease_one();
    finish(&job, "OK");
    fake_broker_wait_settled(b, m);
    assert_int_equal(fake_broker_published(b, RESULTS), 1);
    assert_int_equal(svc_count_events(h, "submission.created"), 1);
    end();
}

static void a_result_of_a_lost_message_is_kept_for_its_return(void **state)
{
    (void)state;
    begin();
    size_t m = send_script("a");
    struct assay_job job = lease_one();
    fake_broker_pause(b, true);
    fake_broker_lose(b, m, true);
    finish(&job, "OK");
    for (int i = 0; i < 40; i++, nap())
        assert_int_equal(fake_broker_published(b, RESULTS), 0);
    fake_broker_pause(b, false);
    fake_broker_wait_settled(b, m);
    assert_int_equal(fake_broker_published(b, RESULTS), 1);
    assert_int_equal(svc_count_events(h, "submission.done"), 1);
    end();
}

/* ---- a broker in trouble --------------------------------------------------------------------------------------- */

static void what_is_not_confirmed_is_published_again(void **state)
{
    (void)state;
    for (int there = 0; there < 2; there++) {
        begin();
        fake_broker_fail(b, 2, ASSAY_E_IO, there != 0);
        size_t m = send_script("a");
        struct assay_job job = lease_one();
        finish(&job, "OK");
        fake_broker_wait_settled(b, m);
        size_t n = fake_broker_published(b, RESULTS);
        assert_int_equal(n, there != 0 ? 3 : 1);
        for (size_t i = 1; i < n; i++) {
            struct assay_str one = result(0).event_id, other = result(i).event_id;
            assert_true(assay_str_eq(one, other));
        }
        end();
    }
}

static void a_refused_publication_is_tried_again(void **state)
{
    (void)state;
    begin();
    fake_broker_refuse(b, 3);
    size_t m = send_script("a");
    struct assay_job job = lease_one();
    finish(&job, "OK");
    fake_broker_wait_settled(b, m);
    assert_int_equal(fake_broker_published(b, RESULTS), 1);
    end();
}

static void a_result_that_can_never_go_out_does_not_block_the_rest(void **state)
{
    (void)state;
    begin();
    fake_broker_fail(b, 1, ASSAY_E_GONE, false);
    size_t m = send_script("a");
    struct assay_job job = lease_one();
    finish(&job, "OK");
    fake_broker_wait_settled(b, m);
    size_t other = send_script("b");
    job = lease_one();
    finish(&job, "OK");
    fake_broker_wait_settled(b, other);
    assert_int_equal(fake_broker_published(b, RESULTS), 1);
    end();
}

static void more_than_the_bound_is_held_back_and_comes_later(void **state)
{
    (void)state;
    const char *option[] = {"intake_in_flight", "2", NULL};
    begin_with(option);
    fake_broker_greedy(b);
    for (int i = 0; i < 6; i++) {
        char id[16];
        snprintf(id, sizeof id, "m%d", i);
        send_script(id);
    }
    eventually(created_are, "2", "two submissions");
    for (int i = 0; i < 40 && fake_broker_busy(b) == 0; i++)
        nap();
    assert_true(fake_broker_busy(b) > 0);
    assert_int_equal(svc_count_events(h, "submission.created"), 2);
    for (int i = 0; i < 6; i++) {
        struct assay_job job = lease_one();
        finish(&job, "OK");
    }
    fake_broker_wait_idle(b);
    assert_int_equal(fake_broker_published(b, RESULTS), 6);
    end();
}

static void readiness_is_the_brokers_health(void **state)
{
    (void)state;
    begin();
    struct assay_err err = {0, ""};
    assert_int_equal(svc_ready(h, "submissions", &err), ASSAY_OK);
    fake_broker_sick(b, "no route to it");
    assert_int_equal(svc_ready(h, "submissions", &err), ASSAY_E_IO);
    assert_non_null(strstr(err.msg, "broker fake: no route to it"));
    end();
}

/* ---- the end --------------------------------------------------------------------------------------------------- */

static bool has_quit(const char *arg)
{
    (void)arg;
    return svc_quit(h) != NULL;
}

static bool is_quiet(const char *arg)
{
    (void)arg;
    return fake_broker_quiet(b);
}

static void a_done_message_ends_a_worker_after_what_it_holds(void **state)
{
    (void)state;
    const char *option[] = {"only", "runner", NULL};
    begin_with(option);
    size_t m = send_script("a");
    eventually(created_are, "1", "a submission");
    size_t done = fake_broker_send(b, WORK, "", "{\"type\":\"done\"}");
    eventually(is_quiet, NULL, "the stop of deliveries");
    size_t late = send_script("late");
    for (int i = 0; i < 20; i++, nap())
        assert_null(svc_quit(h));
    struct assay_job job = lease_one();
    finish(&job, "OK");
    eventually(has_quit, NULL, "an end");
    fake_broker_wait_settled(b, done);
    assert_int_equal(fake_broker_state(b, m), FAKE_DONE);
    assert_int_equal(fake_broker_state(b, late), FAKE_READY); /* somebody else's */
    end();
}

static void a_done_message_does_not_end_a_whole_server(void **state)
{
    (void)state;
    begin();
    size_t done = fake_broker_send(b, WORK, "", "{\"type\":\"done\"}");
    fake_broker_wait_settled(b, done);
    size_t m = send_script("a");
    struct assay_job job = lease_one();
    finish(&job, "OK");
    fake_broker_wait_settled(b, m);
    assert_null(svc_quit(h));
    end();
}

static void a_worker_ends_after_as_many_results_as_expected(void **state)
{
    (void)state;
    const char *option[] = {"script_expected", "3", NULL};
    begin_with(option);
    send_script("a");
    fake_broker_send(b, WORK, "k", "poison counts: it has a result");
    for (int i = 0; i < 1; i++) {
        struct assay_job job = lease_one();
        finish(&job, "OK");
    }
    fake_broker_wait_idle(b);
    assert_null(svc_quit(h));
    send_script("b");
    struct assay_job job = lease_one();
    finish(&job, "OK");
    eventually(has_quit, NULL, "an end");
    assert_int_equal(fake_broker_published(b, RESULTS), 3);
    end();
}

static void what_has_ended_is_forgotten_after_a_while(void **state)
{
    (void)state;
    const char *option[] = {"intake_keep", "1h", NULL};
    begin_with(option);
    size_t m = send_script("old");
    struct assay_job old = lease_one();
    finish(&old, "OK");
    fake_broker_wait_settled(b, m);
    send_script("running");
    struct assay_job running = lease_one();
    svc_advance_ms(h, 7200000);
    wait_state(old.submission_id, "none");
    assert_int_equal(svc_count_events(h, "submission.deleted"), 1);
    wait_state(running.submission_id, "running"); /* it is still to be answered */
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_is_judged_and_answered),
        cmocka_unit_test(a_message_is_settled_only_when_its_result_is_confirmed),
        cmocka_unit_test(the_id_is_the_key_or_else_the_name),
        cmocka_unit_test(what_is_no_script_is_answered_with_an_error),
        cmocka_unit_test(a_job_that_cannot_be_judged_ends_among_the_dead),
        cmocka_unit_test(a_cancelled_one_is_answered_with_an_error),
        cmocka_unit_test(a_message_that_is_repeated_is_judged_once),
        cmocka_unit_test(an_answer_is_remembered_over_restarts),
        cmocka_unit_test(another_message_with_the_same_id_has_its_own_result),
        cmocka_unit_test(duplicated_and_shuffled_deliveries_have_their_effect_once),
        cmocka_unit_test(a_crash_before_the_mark_publishes_the_same_event_again),
        cmocka_unit_test(a_restart_while_it_runs_judges_it_again_and_answers_once),
        cmocka_unit_test(what_waits_at_a_stop_goes_back_and_is_taken_up_again),
        cmocka_unit_test(a_lost_message_that_has_not_begun_is_cancelled),
        cmocka_unit_test(a_lost_message_that_comes_again_is_answered_once),
        cmocka_unit_test(a_result_of_a_lost_message_is_kept_for_its_return),
        cmocka_unit_test(what_is_not_confirmed_is_published_again),
        cmocka_unit_test(a_refused_publication_is_tried_again),
        cmocka_unit_test(a_result_that_can_never_go_out_does_not_block_the_rest),
        cmocka_unit_test(more_than_the_bound_is_held_back_and_comes_later),
        cmocka_unit_test(readiness_is_the_brokers_health),
        cmocka_unit_test(a_done_message_ends_a_worker_after_what_it_holds),
        cmocka_unit_test(a_done_message_does_not_end_a_whole_server),
        cmocka_unit_test(a_worker_ends_after_as_many_results_as_expected),
        cmocka_unit_test(what_has_ended_is_forgotten_after_a_while),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
