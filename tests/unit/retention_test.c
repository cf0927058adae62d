/*
 * What retention removes, and what it never does: uploads that somebody waits for, runs or may still confirm.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "svc_harness.h"
#include <assay/jobs.h>

#define HOUR INT64_C(3600000)

static int setup(void **state)
{
    struct svc *h = svc_new();
    svc_option(h, "retention_every", "100ms");
    svc_option(h, "uploads_keep", "1h");
    svc_option(h, "logs_keep", "2h");
    svc_option(h, "uploads_keep_unconfirmed", "72h");
    svc_plugin(h, "submissions");
    svc_start(h);
    *state = h;
    return 0;
}

static int teardown(void **state)
{
    svc_free(*state);
    return 0;
}

static bool there(struct svc *h, const char *key)
{
    const struct assay_blobs *b = svc_blobs(h);
    int64_t bytes;
    struct assay_err err;
    return b->ops->stat(b->self, assay_str(key), &bytes, &err) == 0;
}

static void goes(struct svc *h, const char *key)
{
    for (int i = 0; i < 20000 && there(h, key); i++)
        (void)usleep(1000);
    assert_false(there(h, key));
}

/* Long enough for several looks. */
static void stays(struct svc *h, const char *key)
{
    (void)usleep(400000);
    assert_true(there(h, key));
}

static void put(struct svc *h, const char *key)
{
    const struct assay_blobs *b = svc_blobs(h);
    struct assay_err err;
    assert_int_equal(b->ops->put(b->self, assay_str(key), ASSAY_STR("PK"), &err), 0);
}

static const char *upload(struct svc *h, char key[300])
{
    struct svc_reply r = svc_call(h, SVC_USER, "POST", "/submissions/request-upload", "{\"pitId\":\"p\"}");
    assert_int_equal(r.status, 201);
    (void)snprintf(key, 300, "%s", svc_str(&r, "/fileKey"));
    put(h, key);
    return key;
}

static int confirm(struct svc *h, const char *key, char id[40])
{
    char body[400];
    (void)snprintf(body, sizeof body, "{\"pitId\":\"p\",\"fileKey\":\"%s\"}", key);
    struct svc_reply r = svc_call(h, SVC_USER, "POST", "/submissions/confirm", body);
    if (r.status == 201)
        (void)snprintf(id, 40, "%s", svc_str(&r, "/submissionId"));
    return r.status;
}

static void lease(struct svc *h, struct assay_arena *arena, struct assay_job **job)
{
    void *self;
    const struct assay_jobs_ops *ops = svc_interface(h, ASSAY_JOBS_INTERFACE, &self);
    struct assay_err err;
    size_t n = 0;
    assert_int_equal(ops->lease(self, ASSAY_STR("w"), 1, 100 * HOUR, arena, job, &n, &err), 0);
    assert_int_equal(n, 1);
}

static void finish(struct svc *h, struct assay_arena *arena, const struct assay_job *job)
{
    void *self;
    const struct assay_jobs_ops *ops = svc_interface(h, ASSAY_JOBS_INTERFACE, &self);
    struct assay_err err;
    struct assay_tx *tx = assay_tx_new(arena, "test.finish");
    struct assay_job_end end = {.verdict = ASSAY_STR("OK"), .score = 100, .summary = ASSAY_STR("{}")};
    assert_int_equal(ops->finish(self, job, &end, tx, &err), 0);
    assert_int_equal(assay_store_exec(svc_store(h), tx, &err), 0);
}

static void what_nobody_confirms_goes_after_its_time(void **state)
{
    struct svc *h = *state;
    char forgotten[300], taken[300], id[40];
    upload(h, forgotten);
    upload(h, taken);
    assert_int_equal(confirm(h, taken, id), 201);
    svc_advance_ms(h, 71 * HOUR);
    stays(h, forgotten);
    svc_advance_ms(h, 2 * HOUR);
    goes(h, forgotten);
    stays(h, taken); /* it waits to be judged */
    put(h, forgotten); /* however late it comes, it is not taken any more */
    assert_int_equal(confirm(h, forgotten, id), 409);
    assert_int_equal(confirm(h, taken, id), 201); /* as before */
}

static void what_a_job_needs_stays_and_goes_when_its_time_is_over(void **state)
{
    struct svc *h = *state;
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
    struct assay_job *job;
    char key[300], id[40], log[80], again[100];
    upload(h, key);
    assert_int_equal(confirm(h, key, id), 201);
    (void)snprintf(log, sizeof log, "logs/%s/run.log", id);
    (void)snprintf(again, sizeof again, "/submissions/%s/rejudge", id);
    svc_advance_ms(h, 3 * HOUR);
    stays(h, key); /* queued */
    lease(h, arena, &job);
    svc_advance_ms(h, 3 * HOUR);
    stays(h, key); /* running */
    put(h, log);
    finish(h, arena, job);
    svc_advance_ms(h, HOUR / 2);
    stays(h, key); /* ended, and may be judged again */
    assert_int_equal(svc_call(h, SVC_ADMIN, "POST", again, NULL).status, 202);
    svc_advance_ms(h, 3 * HOUR);
    stays(h, key); /* queued again */
    stays(h, log);
    lease(h, arena, &job);
    finish(h, arena, job);
    svc_advance_ms(h, HOUR + HOUR / 2);
    goes(h, key);
    stays(h, log); /* by a rule of its own */
    assert_int_equal(svc_call(h, SVC_ADMIN, "POST", again, NULL).status, 409);
    svc_advance_ms(h, HOUR);
    goes(h, log);
    char target[100];
    (void)snprintf(target, sizeof target, "/submissions/feedback/%s", id);
    struct svc_reply r = svc_call(h, SVC_USER, "GET", target, NULL);
    assert_string_equal(svc_str(&r, "/status"), "DONE"); /* what came of it stays */
    assert_true(svc_metric(h, "assay_retention_removed_total") == 2);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(what_nobody_confirms_goes_after_its_time),
        T(what_a_job_needs_stays_and_goes_when_its_time_is_over),
    };
    return cmocka_run_group_tests_name("retention", tests, NULL, NULL);
}
