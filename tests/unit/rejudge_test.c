/*
 * Sets of submissions that are judged again: nothing changes before they are applied, cancelling leaves no trace, and the board
 * after applying is the board computed from what the submissions say.  Half of all are one agent's.  ASSAY_REJUDGE says how many
 * submissions (300; at night 10,000).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "svc_harness.h"
#include <assay/jobs.h>

#define USER "00000000-0000-7000-8000-000000000001"
#define OWNER "00000000-0000-7000-8000-00000000000b"
enum { AGENTS = 7, BATCH = 100 };

struct taken {
    char id[40];
    int agent;
    double score;
};
static struct taken *all;
static int n_all;

static int wanted(void)
{
    const char *text = getenv("ASSAY_REJUDGE");
    const char *night = getenv("ASSAY_NIGHT");
    return text != NULL ? (int)strtol(text, NULL, 10) : night != NULL && strcmp(night, "0") != 0 ? 10000 : 300;
}

static int agent_of(int i)
{
    return i % 2 == 0 ? 0 : i / 2 % AGENTS;
}

static int by_id(const void *a, const void *b)
{
    return strcmp(((const struct taken *)a)->id, ((const struct taken *)b)->id);
}

static const struct assay_jobs_ops *jobs(struct svc *h, void **self)
{
    return svc_interface(h, ASSAY_JOBS_INTERFACE, self);
}

/* Runs what waits, each scored by what `score` says of how many came before it; -1 is a fault of ours. */
static int run_all(struct svc *h, double (*score)(int), int most)
{
    void *self;
    const struct assay_jobs_ops *ops = jobs(h, &self);
    int done = 0;
    while (done < most) {
        ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
        struct assay_job *job;
        struct assay_err err;
        size_t n = 0;
        assert_int_equal(ops->lease(self, ASSAY_STR("w"), 50, 60000, arena, &job, &n, &err), 0);
        if (n == 0)
            break;
        struct assay_tx *tx = assay_tx_new(arena, "test.finish");
        for (size_t i = 0; i < n; i++, done++) {
            double points = score(done);
            struct assay_job_end end = {.verdict = assay_str(points < 0 ? "IE" : points == 100 ? "OK" : "WA"), .score = points,
                                        .summary = ASSAY_STR("{\"cpu_ms\":1}")};
            assert_int_equal(ops->finish(self, &job[i], &end, tx, &err), 0);
        }
        assert_int_equal(assay_store_exec(svc_store(h), tx, &err), 0);
    }
    return done;
}

static double first_score(int i)
{
    return i * 37 % 97;
}
static double second_score(int i)
{
    return i % 11 == 3 ? -1 : i % 3 == 0 ? i * 37 % 97 : 100 - i % 50;
}

static int setup(void **state)
{
    struct svc *h = svc_new();
    svc_plugin(h, "submissions");
    svc_plugin(h, "scoring");
    svc_plugin(h, "leaderboard");
    svc_start(h);
    svc_publish(h, "benchmark.changed", "sum", OWNER, "{\"owner_id\":\"" OWNER "\",\"name\":\"n\",\"visibility\":\"public\",\"feedback\":\"full\"}");
    svc_publish(h, "problem.changed", "sum-1", OWNER, "{\"benchmark_id\":\"sum\",\"name\":\"p\",\"manifest_ref\":\"m\",\"position\":1,\"mode\":\"program\",\"version\":1}");
    for (int a = 0; a < AGENTS; a++) {
        char id[16];
        snprintf(id, sizeof id, "a%d", a);
        svc_publish(h, "agent.changed", id, USER, "{\"owner_id\":\"" USER "\",\"name\":\"a\"}");
    }
    svc_pump(h);
    n_all = wanted();
    all = calloc((size_t)n_all + BATCH, sizeof *all);
    for (int at = 0; at < n_all; at += BATCH) {
        static char body[BATCH * 300];
        size_t len = (size_t)snprintf(body, sizeof body, "{\"items\":[");
        int k = 0;
        for (; k < BATCH && at + k < n_all; k++)
            len += (size_t)snprintf(body + len, sizeof body - len, "%s{\"benchmark_id\":\"sum\",\"agent_id\":\"a%d\",\"language\":\"c\",\"source\":\"s%d\","
                                    "\"metrics\":[{\"name\":\"cost\",\"value\":0.5}]}",
                                    k ? "," : "", agent_of(at + k), at + k);
        snprintf(body + len, sizeof body - len, "]}");
        struct svc_reply r = svc_call(h, SVC_USER, "POST", "/submissions/batch", body);
        assert_int_equal(r.status, 200);
        for (int i = 0; i < k; i++) {
            char at_id[60];
            snprintf(at_id, sizeof at_id, "/items/%d/submission/id", i);
            snprintf(all[at + i].id, sizeof all[0].id, "%s", svc_str(&r, at_id));
            all[at + i].agent = agent_of(at + i);
        }
    }
    assert_int_equal(run_all(h, first_score, n_all), n_all);
    svc_pump(h);
    *state = h;
    return 0;
}

static int teardown(void **state)
{
    svc_free(*state);
    free(all);
    return 0;
}

static const struct assay_stmt rows_stmt = {
    .name = "test.rows",
    .sql = "SELECT (SELECT COUNT(*) FROM submissions), (SELECT COUNT(*) FROM submissions_sources), (SELECT COUNT(*) FROM submissions_rejudged),"
           " (SELECT COUNT(*) FROM scoring_scores), (SELECT COUNT(*) FROM leaderboard_scores), (SELECT COUNT(*) FROM leaderboard_cells)",
    .params = "",
    .columns = "iiiiii"};

/* All that anybody can see of the submissions, their scores and the board, and how many rows there are. */
static char *everything(struct svc *h)
{
    ASSAY_CLEANUP_BUF struct assay_buf b = ASSAY_BUF_INIT;
    static const char *const lists[] = {"/submissions?benchmark_id=sum&limit=100", "/scores?benchmark_id=sum&limit=100"};
    size_t n;
    for (size_t i = 0; i < 2; i++) {
        char target[400];
        snprintf(target, sizeof target, "%s", lists[i]);
        for (;;) {
            struct svc_reply r = svc_call(h, SVC_ADMIN, "GET", target, NULL);
            assert_int_equal(r.status, 200);
            assay_buf_str(&b, r.body);
            const char *next = svc_str(&r, "/next_cursor");
            if (next == NULL)
                break;
            snprintf(target, sizeof target, "%s&cursor=%s", lists[i], next);
        }
    }
    struct svc_reply board = svc_call(h, SVC_ADMIN, "GET", "/leaderboard?benchmark_id=sum&with=problems", NULL);
    assay_buf_str(&b, board.body);
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
    struct assay_rows rows;
    assert_int_equal(assay_store_query(svc_store(h), &rows_stmt, NULL, 0, arena, &rows, NULL), 0);
    for (size_t i = 0; i < 6; i++)
        assay_buf_fmt(&b, " %lld", (long long)rows.row[0].col[i].i);
    return assay_buf_steal(&b, &n);
}

static const char *make(struct svc *h, const char *body, int submissions)
{
    static char id[40];
    struct svc_reply r = svc_call(h, SVC_INSTRUCTOR, "POST", "/rejudgings", body);
    assert_int_equal(r.status, 201);
    assert_int_equal(svc_int(&r, "/submissions"), submissions);
    snprintf(id, sizeof id, "%s", svc_str(&r, "/id"));
    return id;
}

static struct svc_reply on(struct svc *h, const char *method, const char *id, const char *tail)
{
    char target[120];
    snprintf(target, sizeof target, "/rejudgings/%s%s", id, tail);
    return svc_call(h, SVC_INSTRUCTOR, method, target, NULL);
}

static void cancelling_leaves_no_trace(void **state)
{
    struct svc *h = *state;
    char *before = everything(h);
    char id[40];
    snprintf(id, sizeof id, "%s", make(h, "{\"benchmark_id\":\"sum\",\"reason\":\"tests were wrong\"}", n_all));
    struct svc_reply columns = svc_call(h, SVC_ADMIN, "GET", "/leaderboard?benchmark_id=sum&with=metrics&agent_id=a0", NULL);
    assert_string_equal(svc_str(&columns, "/items/0/metrics/0/name"), "cost"); /* from the submission to the board */
    int of_first = 0;
    for (int i = 0; i < n_all; i++)
        of_first += agent_of(i) == 0;
    assert_int_equal(svc_int(&columns, "/items/0/metrics/0/submissions"), of_first);
    assert_int_equal(on(h, "POST", id, "/apply").status, 409); /* nothing is judged yet */
    assert_int_equal(run_all(h, second_score, n_all / 2), (n_all / 2 + 49) / 50 * 50);
    svc_pump(h);
    struct svc_reply r = on(h, "GET", id, "");
    assert_true(svc_int(&r, "/judged") >= n_all / 2 && svc_int(&r, "/changed") > 0 && svc_int(&r, "/failed") > 0);
    r = on(h, "GET", id, "/changes?limit=10");
    assert_int_equal(svc_len(&r, "/items"), 10);
    r = on(h, "POST", id, "/cancel");
    assert_int_equal(r.status, 200);
    assert_string_equal(svc_str(&r, "/state"), "cancelled");
    svc_pump(h);
    char *after = everything(h);
    assert_string_equal(before, after);
    assert_int_equal(run_all(h, second_score, n_all), 0); /* what waited is gone */
    assert_int_equal(on(h, "POST", id, "/cancel").status, 200); /* again is the same */
    assert_int_equal(on(h, "POST", id, "/apply").status, 409);
    r = on(h, "GET", id, ""); /* that it was there stays, for whoever asks who did what */
    assert_string_equal(svc_str(&r, "/reason"), "tests were wrong");
    assert_true(svc_str(&r, "/ended_by") != NULL);
    free(before);
    free(after);
}

static void the_board_after_applying_is_that_of_the_verdicts(void **state)
{
    struct svc *h = *state;
    char *before = everything(h), id[40];
    snprintf(id, sizeof id, "%s", make(h, "{\"benchmark_id\":\"sum\"}", n_all));
    assert_int_equal(run_all(h, second_score, n_all), n_all);
    svc_pump(h);
    struct svc_reply r = svc_call(h, SVC_ADMIN, "GET", "/leaderboard?benchmark_id=sum&with=problems", NULL);
    assert_non_null(strstr(before, r.body.p)); /* judged, and nobody sees it yet */
    r = on(h, "GET", id, "");
    int64_t judged = svc_int(&r, "/judged"), failed = svc_int(&r, "/failed");
    assert_int_equal(judged, n_all);
    assert_true(failed > 0);
    r = on(h, "POST", id, "/apply");
    assert_int_equal(r.status, 200);
    assert_string_equal(svc_str(&r, "/state"), "applied");
    svc_pump(h);
    /* what the submissions say now, and what the board must be made of it */
    double best[AGENTS] = {0};
    char first[AGENTS][40];
    memset(first, 0, sizeof first);
    qsort(all, (size_t)n_all, sizeof *all, by_id);
    int changed = 0;
    char target[400] = "/submissions?benchmark_id=sum&limit=100";
    for (int seen = 0; seen < n_all;) {
        r = svc_call(h, SVC_ADMIN, "GET", target, NULL);
        int n = svc_len(&r, "/items");
        assert_true(n > 0);
        for (int i = 0; i < n; i++, seen++) {
            char at[40];
            struct taken key;
            snprintf(at, sizeof at, "/items/%d/id", i);
            snprintf(key.id, sizeof key.id, "%s", svc_str(&r, at));
            struct taken *t = bsearch(&key, all, (size_t)n_all, sizeof *all, by_id);
            if (t == NULL) { /* no copy among them */
                fail_msg("%s is none of the submissions", key.id);
                return;
            }
            snprintf(at, sizeof at, "/items/%d/verdict", i);
            assert_string_not_equal(svc_str(&r, at), "IE"); /* a fault of ours changes nobody's verdict */
            snprintf(at, sizeof at, "/items/%d/score", i);
            t->score = svc_real(&r, at);
            changed += t->score >= 51; /* most of the new ones are */
            if (first[t->agent][0] == '\0' || t->score >= best[t->agent]) { /* newest first: of equals the last seen is the earliest */
                best[t->agent] = t->score;
                snprintf(first[t->agent], sizeof first[0], "%s", t->id);
            }
        }
        const char *next = svc_str(&r, "/next_cursor");
        snprintf(target, sizeof target, "/submissions?benchmark_id=sum&limit=100&cursor=%s", next != NULL ? next : "");
    }
    assert_true(changed > n_all / 3);
    r = svc_call(h, SVC_ADMIN, "GET", "/leaderboard?benchmark_id=sum", NULL);
    assert_int_equal(svc_len(&r, "/items"), AGENTS);
    double last = 101;
    for (int i = 0; i < AGENTS; i++) {
        char at[40];
        snprintf(at, sizeof at, "/items/%d/agent_id", i);
        int agent = svc_str(&r, at)[1] - '0';
        snprintf(at, sizeof at, "/items/%d/score", i);
        assert_true(svc_real(&r, at) == best[agent] && best[agent] <= last);
        last = best[agent];
        snprintf(at, sizeof at, "/items/%d/submission_id", i);
        assert_string_equal(svc_str(&r, at), first[agent]);
    }
    r = on(h, "GET", id, "/changes?all=true&limit=1000");
    int applied = 0, kept = 0;
    for (int i = 0; i < svc_len(&r, "/items"); i++) {
        char at[40];
        snprintf(at, sizeof at, "/items/%d/outcome", i);
        applied += strcmp(svc_str(&r, at), "applied") == 0;
        kept += strcmp(svc_str(&r, at), "kept") == 0;
    }
    assert_true(n_all > 1000 || (applied == n_all - failed && kept == failed));
    assert_true(svc_metric(h, "assay_rejudgings_total") == 2); /* made, applied */
    assert_true(svc_metric(h, "assay_rejudged_submissions_total") == n_all);
    free(before);
}

static void one_of_a_filter_and_what_was_judged_meanwhile(void **state)
{
    struct svc *h = *state;
    char body[200], id[40], target[100];
    snprintf(body, sizeof body, "{\"benchmark_id\":\"sum\",\"submission_id\":\"%s\"}", all[5].id);
    snprintf(id, sizeof id, "%s", make(h, body, 1));
    assert_int_equal(run_all(h, second_score, 1), 1); /* 0 */
    snprintf(target, sizeof target, "/submissions/%s/rejudge", all[5].id);
    assert_int_equal(svc_call(h, SVC_INSTRUCTOR, "POST", target, NULL).status, 202);
    assert_int_equal(run_all(h, first_score, 1), 1);
    svc_pump(h);
    assert_int_equal(on(h, "POST", id, "/apply").status, 200);
    struct svc_reply r = on(h, "GET", id, "/changes?all=true");
    assert_string_equal(svc_str(&r, "/items/0/outcome"), "overtaken"); /* it had a later verdict by itself */
    assert_int_equal(svc_call(h, SVC_INSTRUCTOR, "POST", "/rejudgings", "{\"benchmark_id\":\"sum\",\"agent_id\":\"nobody\"}").status, 409);
    assert_int_equal(svc_call(h, SVC_INSTRUCTOR, "POST", "/rejudgings", "{\"benchmark_id\":\"sum\",\"verdict\":\"XX\"}").status, 400);
    assert_int_equal(svc_call(h, SVC_USER, "POST", "/rejudgings", "{\"benchmark_id\":\"sum\"}").status, 403);
    assert_int_equal(on(h, "GET", all[0].id, "").status, 404);
    r = svc_call(h, SVC_INSTRUCTOR, "GET", "/rejudgings?limit=1", NULL);
    assert_int_equal(svc_len(&r, "/items"), 1);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(cancelling_leaves_no_trace),
        T(the_board_after_applying_is_that_of_the_verdicts),
        T(one_of_a_filter_and_what_was_judged_meanwhile),
    };
    return cmocka_run_group_tests_name("rejudge", tests, NULL, NULL);
}
