/*
 * Whose turn it is among benchmarks, over the real store: the rule of services/submissions/turns.h against a model that knows
 * nothing of SQL, with seeded arrivals; shares by priority, nobody starved, submitters within a benchmark, restarts; and what a lease
 * costs when thousands wait (ASSAY_QUEUED=100000 for more).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "svc_harness.h"
#include "turns.h"
#include <assay/events.h>
#include <assay/jobs.h>

#define OWNER "00000000-0000-7000-8000-00000000000b"
#define LINES 6
#define SUBMITTERS 4

static void set_priority(struct svc *h, const char *id, int priority)
{
    char json[256], member[40] = "";
    if (priority != 0)
        snprintf(member, sizeof member, ",\"priority\":%d", priority);
    snprintf(json, sizeof json, "{\"owner_id\":\"" OWNER "\",\"name\":\"n\",\"visibility\":\"public\",\"feedback\":\"full\"%s}", member);
    svc_publish(h, "benchmark.changed", id, OWNER, json);
}

/* 0: an event of a program that knows no priorities */
static void benchmark(struct svc *h, const char *id, int priority)
{
    char problem[64], json[256];
    set_priority(h, id, priority);
    snprintf(problem, sizeof problem, "%s-1", id);
    snprintf(json, sizeof json,
             "{\"benchmark_id\":\"%s\",\"name\":\"p\",\"manifest_ref\":\"m\",\"position\":1,\"mode\":\"program\",\"version\":1}", id);
    svc_publish(h, "problem.changed", problem, OWNER, json);
}

static struct svc *world(void)
{
    struct svc *h = svc_new();
    static const char *const none[] = {"queue_max", "queue_max_bytes", "queue_max_per_user"};
    for (size_t i = 0; i < 3; i++)
        svc_option(h, none[i], "0");
    svc_plugin(h, "submissions");
    svc_start(h);
    for (int i = 0; i < SUBMITTERS; i++) { /* members of staff submit for agents, each of which has turns of its own */
        char id[16], json[128];
        snprintf(id, sizeof id, "a%d", i);
        snprintf(json, sizeof json, "{\"owner_id\":\"" OWNER "\",\"name\":\"%s\"}", id);
        svc_publish(h, "agent.changed", id, OWNER, json);
    }
    return h;
}

static const char *submit(struct svc *h, const char *benchmark_id, int agent)
{
    char body[200];
    snprintf(body, sizeof body, "{\"benchmark_id\":\"%s\",\"agent_id\":\"a%d\",\"language\":\"%s\",\"source\":\"s\"}", benchmark_id, agent,
             agent == 3 ? "python" : "c");
    struct svc_reply r = svc_call(h, SVC_ADMIN, "POST", "/submissions", body);
    assert_int_equal(r.status, 202);
    return svc_str(&r, "/id");
}

/* n of them by batches */
static void fill(struct svc *h, const char *benchmark_id, int agent, int n)
{
    for (; n > 0; n -= 100) {
        ASSAY_CLEANUP_BUF struct assay_buf body = ASSAY_BUF_INIT;
        assay_buf_str(&body, ASSAY_STR("{\"items\":["));
        for (int i = 0; i < 100 && i < n; i++)
            assay_buf_fmt(&body, "%s{\"benchmark_id\":\"%s\",\"agent_id\":\"a%d\",\"language\":\"c\",\"source\":\"s\"}", i != 0 ? "," : "",
                          benchmark_id, agent);
        assay_buf_str(&body, ASSAY_STR("]}"));
        assay_buf_putc(&body, '\0');
        assert_false(body.failed);
        assert_int_equal(svc_call(h, SVC_ADMIN, "POST", "/submissions/batch", assay_buf_view(&body).p).status, 200);
    }
}

static size_t lease(struct svc *h, size_t max, struct assay_job **out)
{
    void *self;
    const struct assay_jobs_ops *ops = svc_interface(h, ASSAY_JOBS_INTERFACE, &self);
    size_t n = 0;
    struct assay_err err;
    assert_int_equal(ops->lease(self, ASSAY_STR("w"), max, 60000, svc_arena(h), out, &n, &err), 0);
    assert_true(n <= max);
    return n;
}

static size_t lease_away(struct svc *h, size_t max, const char *languages, const char *kinds, struct assay_job **out)
{
    void *self;
    const struct assay_jobs_ops *ops = svc_interface(h, ASSAY_JOBS_INTERFACE, &self);
    struct assay_lease_ask ask = {.holder = ASSAY_STR("agent:x"), .languages = assay_str(languages), .kinds = assay_str(kinds), .max = max,
                                  .lease_ms = 60000};
    size_t n = 0;
    struct assay_err err;
    assert_int_equal(ops->lease_away(self, &ask, svc_arena(h), out, &n, &err), 0);
    assert_true(n <= max);
    return n;
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

/* The benchmarks of what is leased, as a text: "aabab". */
static const char *order(struct svc *h, size_t max)
{
    static char text[200];
    struct assay_job *job;
    size_t n = lease(h, max, &job);
    for (size_t i = 0; i < n; i++)
        text[i] = job[i].benchmark_id.n != 0 ? job[i].benchmark_id.p[0] : '-';
    text[n] = '\0';
    return text;
}

/* ---- by example ------------------------------------------------------------------------------------- */

static void test_one_of_another_benchmark_waits_for_few(void **state)
{
    (void)state;
    struct svc *h = world();
    benchmark(h, "a", 0);
    benchmark(h, "b", 10);
    svc_pump(h);
    fill(h, "a", 0, 1000);
    assert_string_equal(order(h, 5), "aaaaa");
    submit(h, "b", 1);
    assert_string_equal(order(h, 3), "baa");
    /* also when it is one lease at a time, and through a restart */
    submit(h, "b", 1);
    submit(h, "b", 1);
    assert_string_equal(order(h, 1), "b");
    h = svc_restart(h);
    /* the nine and the two that were out come first, nine and two of them or not */
    assert_string_equal(order(h, 6), "ababab");
    submit(h, "b", 1);
    assert_string_equal(order(h, 3), "aba");
    svc_free(h);
}

static void test_turns_go_by_priority_and_a_change_counts_at_once(void **state)
{
    (void)state;
    struct svc *h = world();
    benchmark(h, "a", 10);
    benchmark(h, "b", 30);
    svc_pump(h);
    fill(h, "a", 0, 100);
    fill(h, "b", 0, 100);
    assert_string_equal(order(h, 9), "abbbabbba");
    set_priority(h, "a", 30);
    set_priority(h, "b", 10);
    svc_pump(h);
    const char *after = order(h, 40);
    int a = 0;
    for (const char *c = after; *c != '\0'; c++)
        a += *c == 'a';
    assert_int_equal(strlen(after), 40);
    assert_in_range(a, 28, 31);
    svc_free(h);
}

static void test_what_was_served_before_is_not_held_against_a_line(void **state)
{
    (void)state;
    struct svc *h = world();
    benchmark(h, "a", 1); /* each of its turns moves it far */
    benchmark(h, "b", 10);
    svc_pump(h);
    for (int i = 0; i < 20; i++) {
        submit(h, "a", 0);
        assert_string_equal(order(h, 1), "a");
    }
    fill(h, "b", 0, 30);
    submit(h, "a", 0);
    /* at most ten of b's, as often as its priority is a's, before the one of a */
    const char *text = order(h, 31);
    size_t at = strcspn(text, "a");
    assert_true(at <= 11);
    /* and who was away longer has saved up nothing */
    fill(h, "b", 0, 20);
    assert_string_equal(order(h, 5), "bbbbb");
    submit(h, "a", 0);
    submit(h, "a", 1);
    text = order(h, 17);
    assert_true(strchr(text, 'a') != NULL && strstr(text, "aa") == NULL);
    svc_free(h);
}

static void test_a_turn_that_came_to_nothing_is_not_counted(void **state)
{
    (void)state;
    struct svc *h = world();
    benchmark(h, "a", 10);
    benchmark(h, "b", 10);
    svc_pump(h);
    struct assay_job *job;
    const char *first = submit(h, "a", 0);
    submit(h, "a", 1);
    submit(h, "b", 0);
    submit(h, "b", 0);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(lease(h, 1, &job), 1);
        assert_true(assay_str_is(job->submission_id, first));
        give_back(h, job);
    }
    assert_string_equal(order(h, 9), "abab");
    /* the last of its line comes back to a line that does not wait any more */
    submit(h, "a", 0);
    assert_int_equal(lease(h, 9, &job), 1);
    submit(h, "b", 0);
    give_back(h, job);
    assert_string_equal(order(h, 9), "ab");
    svc_free(h);
}

static void test_rejudges_and_tasks(void **state)
{
    (void)state;
    struct svc *h = world();
    benchmark(h, "a", 10);
    benchmark(h, "b", 10);
    svc_pump(h);
    struct assay_job *job;
    char path[2][80];
    for (int i = 0; i < 2; i++) {
        const char *id = submit(h, i == 0 ? "a" : "b", 0);
        assert_int_equal(lease(h, 1, &job), 1);
        finish(h, job);
        snprintf(path[i], sizeof path[i], "/submissions/%s/rejudge", id);
    }
    svc_pump(h);
    assert_int_equal(svc_call(h, SVC_ADMIN, "POST", path[0], NULL).status, 202);
    assert_int_equal(svc_call(h, SVC_ADMIN, "POST", path[1], NULL).status, 202);
    for (int i = 0; i < 3; i++) {
        submit(h, "b", 0);
        assert_int_equal(svc_call(h, SVC_USER, "POST", "/task", "{\"lang\":\"c\",\"code\":\"s\"}").status, 201);
    }
    /* what has no benchmark is a line beside theirs; rejudges come last, by turns among themselves */
    const char *text = order(h, 9);
    assert_int_equal(strlen(text), 8);
    assert_string_equal(text, "--b-bbab"); /* b has had a turn at this tag before */
    svc_free(h);
}

static void test_leases_of_some_languages_and_kinds(void **state)
{
    (void)state;
    struct svc *h = world();
    benchmark(h, "a", 10);
    benchmark(h, "b", 10);
    svc_pump(h);
    struct assay_job *job;
    fill(h, "a", 0, 20);
    submit(h, "a", 3); /* python */
    submit(h, "b", 3);
    submit(h, "b", 3);
    assert_int_equal(svc_call(h, SVC_USER, "POST", "/task", "{\"lang\":\"c\",\"code\":\"s\"}").status, 201);
    assert_int_equal(lease_away(h, 9, " rust ", "", &job), 0);
    assert_int_equal(lease_away(h, 9, " python ", " 0 ", &job), 3);
    assert_true(job[0].benchmark_id.p[0] != job[1].benchmark_id.p[0]);
    assert_int_equal(lease_away(h, 9, "", " 1 5 ", &job), 1);
    assert_int_equal(job->kind, ASSAY_JOB_TASK);
    assert_int_equal(lease_away(h, 9, "", " 1 5 ", &job), 0);
    /* nobody's turn is spent by those that found nothing */
    assert_int_equal(lease(h, 30, &job), 20);
    svc_free(h);
}

/* Rows that a line does not tell of: as if two gateways had changed it at the same moment. */
static const struct assay_stmt mute = {
    .name = "test.mute", .sql = "UPDATE submissions_lines SET waiting = 0", .params = "", .columns = "", .write = true};
static const struct assay_stmt loud = {
    .name = "test.loud", .sql = "UPDATE submissions_lines SET waiting = 1", .params = "", .columns = "", .write = true};

static void put(struct svc *h, const struct assay_stmt *stmt)
{
    struct assay_tx *tx = assay_tx_new(svc_arena(h), "test.put");
    struct assay_err err;
    assay_tx_add(tx, stmt, ASSAY_EXPECT_ANY, NULL, 0);
    assert_int_equal(assay_store_exec(svc_store(h), tx, &err), 0);
}

static void test_a_line_that_says_nothing_is_found(void **state)
{
    (void)state;
    struct svc *h = world();
    benchmark(h, "a", 10);
    benchmark(h, "b", 10);
    svc_pump(h);
    fill(h, "a", 0, 10);
    fill(h, "b", 0, 10);
    put(h, &mute);
    assert_int_equal(strlen(order(h, 4)), 1); /* one at a time, whichever */
    assert_int_equal(strlen(order(h, 4)), 1);
    h = svc_restart(h); /* counts, and mends */
    const char *text = order(h, 6);
    assert_string_equal(text, "ababab");
    /* and lines that say that they wait and do not are passed over */
    put(h, &loud);
    assert_int_equal(strlen(order(h, 20)), 14);
    put(h, &loud);
    submit(h, "b", 0);
    assert_string_equal(order(h, 4), "b");
    svc_free(h);
}

/* ---- by model --------------------------------------------------------------------------------------------- */

static uint32_t seed;
static uint32_t dice(uint32_t n)
{
    seed ^= seed << 13, seed ^= seed >> 17, seed ^= seed << 5;
    return seed % n;
}

struct model {
    struct turn_line line[LINES];
    int64_t clock;
    int waits[LINES][SUBMITTERS];
};

static char name_of(int line)
{
    return (char)('a' + line);
}

static void model_submit(struct model *m, struct svc *h, int line, int agent)
{
    const char name[] = {name_of(line), '\0'};
    submit(h, name, agent);
    if (m->line[line].waiting++ == 0)
        turns_begin(&m->line[line], m->clock);
    m->waits[line][agent]++;
}

/* One lease, which must be the one that the model has next. */
static int model_lease(struct model *m, const struct assay_job *job)
{
    size_t i = turns_next(m->line, LINES);
    assert_true(i < LINES);
    if (job->benchmark_id.p[0] != name_of((int)i))
        fail_msg("seed %u: %c was leased and not %c", seed, job->benchmark_id.p[0], name_of((int)i));
    if (m->clock < m->line[i].pass)
        m->clock = m->line[i].pass;
    turns_served(&m->line[i]);
    m->waits[i][job->agent_id.p[1] - '0']--;
    return (int)i;
}

static void property(uint32_t from)
{
    struct svc *h = world();
    struct model m = {.clock = 0};
    struct assay_job *job;
    seed = from;
    for (int i = 0; i < LINES; i++) {
        const char name[] = {name_of(i), '\0'};
        m.line[i].priority = 1 + dice(i % 2 != 0 ? 100 : 12);
        benchmark(h, name, (int)m.line[i].priority);
    }
    svc_pump(h);
    for (int round = 0; round < 150; round++) {
        int come = (int)dice(6);
        while (come-- > 0)
            model_submit(&m, h, dice(3) != 0 ? (int)dice(2) : (int)dice(LINES), (int)dice(SUBMITTERS));
        size_t n = lease(h, dice(5), &job);
        for (size_t k = 0; k < n; k++)
            model_lease(&m, &job[k]);
        if (n != 0 && dice(8) == 0) { /* the last one comes back: its turn was none */
            int line = job[n - 1].benchmark_id.p[0] - 'a';
            give_back(h, &job[n - 1]);
            struct turn_line *l = &m.line[line];
            l->waiting++;
            l->pass -= TURNS_SCALE / l->priority;
            turns_begin(l, m.clock);
            n--;
            m.waits[line][job[n].agent_id.p[1] - '0']++;
        }
        for (size_t k = 0; k < n; k++) /* or else they come back with a restart */
            finish(h, &job[k]);
        if (dice(20) == 0) {
            int line = (int)dice(LINES);
            const char name[] = {name_of(line), '\0'};
            m.line[line].priority = 1 + dice(100);
            set_priority(h, name, (int)m.line[line].priority);
            svc_pump(h);
        }
        if (dice(50) == 0)
            h = svc_restart(h);
    }
    /* all that is left comes, and the model and the store end together */
    size_t n;
    while ((n = lease(h, 16, &job)) != 0)
        for (size_t k = 0; k < n; k++)
            model_lease(&m, &job[k]);
    assert_int_equal(turns_next(m.line, LINES), LINES);
    svc_free(h);
}

static void test_the_store_follows_the_model(void **state)
{
    (void)state;
    for (uint32_t i = 1; i <= 4; i++)
        property(i * 2654435761u);
}

static void test_shares_nobody_starved_and_submitters(void **state)
{
    (void)state;
    struct svc *h = world();
    static const int priority[LINES] = {1, 3, 10, 10, 25, 51};
    int had[LINES] = {0}, by[LINES][SUBMITTERS] = {{0}}, last[LINES] = {0}, turns = 0, all = 0;
    struct assay_job *job;
    for (int i = 0; i < LINES; i++) {
        const char name[] = {name_of(i), '\0'};
        benchmark(h, name, priority[i]);
        all += priority[i];
    }
    svc_pump(h);
    for (int i = 0; i < LINES; i++) {
        const char name[] = {name_of(i), '\0'};
        fill(h, name, 0, 500); /* one who has sent much, and first */
        for (int k = 1; k < 3; k++)
            fill(h, name, k, 100);
    }
    for (int k = 0; k < 40; k++) {
        size_t n = lease(h, 16, &job);
        assert_int_equal(n, 16);
        for (size_t i = 0; i < n; i++, turns++) {
            int line = job[i].benchmark_id.p[0] - 'a';
            had[line]++;
            by[line][job[i].agent_id.p[1] - '0']++;
            /* never longer than as if all the others came before each of its turns, and once more */
            assert_true(turns - last[line] <= all / priority[line] + LINES + 1);
            last[line] = turns;
        }
    }
    for (int i = 0; i < LINES; i++) {
        double due = (double)turns * priority[i] / all;
        if (had[i] < due * 0.9 - 1 || had[i] > due * 1.1 + 1)
            fail_msg("%c of priority %d had %d turns of %d, and %.1f were its own", name_of(i), priority[i], had[i], turns, due);
        for (int k = 1; k < 3; k++) { /* the three take turns, while each has something */
            int most = by[i][0] > by[i][k] ? by[i][0] - by[i][k] : by[i][k] - by[i][0];
            assert_true(most <= 1 || by[i][k] == 100);
        }
    }
    svc_free(h);
}

/* ---- what a lease costs ------------------------------------------------------------------------------------- */

#define LEASES 200

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* The median, in microseconds: most of it is the disk's. */
static double lease_us(struct svc *h)
{
    struct assay_job *job;
    double us[LEASES];
    for (int i = 0; i < LEASES; i++) {
        int64_t begun = assay_mono_ns();
        assert_int_equal(lease(h, 1, &job), 1);
        us[i] = (double)(assay_mono_ns() - begun) / 1e3;
    }
    qsort(us, LEASES, sizeof us[0], by_size);
    return us[LEASES / 2];
}

static void test_a_lease_costs_the_same_however_many_wait(void **state)
{
    (void)state;
    const char *asked = getenv("ASSAY_QUEUED");
    int64_t many = 3000;
    if (asked != NULL)
        assert_int_equal(assay_parse_i64(assay_str(asked), 100, 1000000, &many, NULL), 0);
    struct svc *h = world();
    benchmark(h, "a", 10);
    benchmark(h, "b", 10);
    svc_pump(h);
    fill(h, "a", 0, LEASES);
    fill(h, "b", 1, LEASES);
    svc_pump(h); /* the projections follow, as they do in a server */
    double few = lease_us(h);
    fill(h, "a", 0, (int)many);
    fill(h, "b", 1, LEASES);
    svc_pump(h);
    double full = lease_us(h);
    print_message("# a lease takes %.0f us with 400 queued and %.0f us with %lld\n", few, full, (long long)many);
    assert_true(full < 4 * few + 2000); /* a walk along the queue would be far beyond, with thousands */
    svc_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_of_another_benchmark_waits_for_few),
        cmocka_unit_test(test_turns_go_by_priority_and_a_change_counts_at_once),
        cmocka_unit_test(test_what_was_served_before_is_not_held_against_a_line),
        cmocka_unit_test(test_a_turn_that_came_to_nothing_is_not_counted),
        cmocka_unit_test(test_rejudges_and_tasks),
        cmocka_unit_test(test_leases_of_some_languages_and_kinds),
        cmocka_unit_test(test_a_line_that_says_nothing_is_found),
        cmocka_unit_test(test_the_store_follows_the_model),
        cmocka_unit_test(test_shares_nobody_starved_and_submitters),
        cmocka_unit_test(test_a_lease_costs_the_same_however_many_wait),
    };
    return cmocka_run_group_tests_name("turns", tests, NULL, NULL);
}
