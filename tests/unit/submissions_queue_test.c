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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_submitters_take_turns),
        cmocka_unit_test(test_a_row_that_came_back_gives_its_submitter_no_lead),
        cmocka_unit_test(test_agents_of_staff_take_turns_and_those_of_others_do_not),
        cmocka_unit_test(test_a_rejudge_waits_for_all_others),
    };
    return cmocka_run_group_tests_name("submissions_queue", tests, NULL, NULL);
}
