/*
 * The rules of boards: a contest checked by hand, freeze and thaw, and random histories under every rule against a place
 * computed from nothing (services/leaderboard/replay.c).
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "local.h"
#include "stats.h"
#include "svc_harness.h"

#define U1 "00000000-0000-7000-8000-000000000001"
#define HOUR INT64_C(3600000)
#define MINUTE INT64_C(60000)

struct rules {
    const char *scoring, *ranking;
    int64_t penalty, k, starts, freezes, thaws;
};

static void benchmark(struct svc *h, const char *id, const struct rules *r)
{
    char payload[600];
    (void)snprintf(payload, sizeof payload,
                   "{\"owner_id\":\"00000000-0000-7000-8000-00000000000b\",\"visibility\":\"public\",\"feedback\":\"full\","
                   "\"scoring\":\"%s\",\"ranking\":\"%s\",\"penalty_minutes\":%lld,\"pass_k\":%lld,\"starts_ms\":%lld,"
                   "\"freezes_ms\":%lld,\"thaws_ms\":%lld}",
                   r->scoring, r->ranking, (long long)r->penalty, (long long)r->k, (long long)r->starts, (long long)r->freezes,
                   (long long)r->thaws);
    svc_publish(h, "benchmark.changed", id, "", payload);
}

static void problem(struct svc *h, const char *id, const char *benchmark_id, int position, bool deleted)
{
    char payload[300];
    (void)snprintf(payload, sizeof payload, "{\"benchmark_id\":\"%s\",\"name\":\"%s\",\"position\":%d,\"version\":1,\"deleted\":%s}",
                   benchmark_id, id, position, deleted ? "true" : "false");
    svc_publish(h, "problem.changed", id, "", payload);
}

static const char *name_of(int submission)
{
    static char id[8][40];
    static int at;
    char *out = id[at++ % 8];
    (void)snprintf(out, sizeof id[0], "01900000-0000-7000-8000-%012d", submission);
    return out;
}

static void score(struct svc *h, int submission, const char *benchmark_id, const char *agent_id, const char *problem_id,
                  const char *verdict, double points, int64_t created_ms, int64_t cpu_ms, const char *more)
{
    char payload[1200];
    (void)snprintf(payload, sizeof payload,
                   "{\"submission_id\":\"%s\",\"problem_id\":\"%s\",\"agent_id\":\"%s\",\"owner_id\":\"" U1
                   "\",\"benchmark_id\":\"%s\",\"verdict\":\"%s\",\"score\":%.17g,\"created_ms\":%lld,\"cpu_ms\":%lld%s}",
                   name_of(submission), problem_id, agent_id, benchmark_id, verdict, points, (long long)created_ms,
                   (long long)cpu_ms, more);
    svc_publish(h, "score.calculated", name_of(submission), U1, payload);
}

static int setup(void **state)
{
    struct svc *h = svc_new();
    svc_plugin(h, "leaderboard");
    svc_start(h);
    *state = h;
    return 0;
}

static int teardown(void **state)
{
    svc_free(*state);
    return 0;
}

/* "rank:agent:score:penalty ..." */
static const char *contest(struct svc *h, const struct assay_principal *who, const char *target)
{
    static char text[2][2000];
    static int at;
    char *out = text[at++ % 2];
    struct svc_reply r = svc_call(h, who, "GET", target, NULL);
    size_t n = (size_t)snprintf(out, sizeof text[0], "%s", r.status == 200 ? "" : "failed");
    for (int i = 0; i < svc_len(&r, "/items"); i++) {
        char a[40], s[40], p[60];
        (void)snprintf(a, sizeof a, "/items/%d/agent_id", i);
        (void)snprintf(s, sizeof s, "/items/%d/score", i);
        (void)snprintf(p, sizeof p, "/items/%d/penalty_minutes", i);
        n += (size_t)snprintf(out + n, sizeof text[0] - n, "%s%d:%s:%g:%lld", i ? " " : "", i + 1, svc_str(&r, a), svc_real(&r, s),
                              (long long)svc_int(&r, p));
    }
    return out;
}

/*
 * A contest of five hours, frozen for the last, counted by hand.  Minutes of submission, + accepted, - rejected, c failed build:
 *
 *          A                B            C           before the freeze        in the end
 *   red    -10 -20 +30      +100         -250 +290   2 solved, 30+40+100=170  3 solved, 170 + 290 + 20 = 480
 *   blue   +30              c50 +140     +299        2 solved, 170            3 solved, 170 + 299 = 469
 *   green  +45                           -241        1 solved, 45             1 solved, 45
 *   white  -5 -6 -7                                  0 solved                 0 solved
 *   black  +60              -70 +241                 1 solved, 60             2 solved, 60 + 241 + 20 = 321
 *
 * Red and blue have 170 minutes each before the freeze: red's last accepted one is the earlier (100 against 140).
 */
static void a_contest_checked_by_hand(void **state)
{
    struct svc *h = *state;
    int64_t start = svc_host(h)->now_ms(svc_host(h)->ctx) - 30 * HOUR;
    struct rules r = {"best", "icpc", 20, 1, start, start + 4 * HOUR, start + 100 * HOUR};
    static const struct {
        const char *agent, *problem, *verdict;
        int minute;
    } tried[] = {{"red", "a", "WA", 10},   {"red", "a", "TL", 20},   {"red", "a", "OK", 30},   {"red", "b", "OK", 100},
                 {"red", "c", "RE", 250},  {"red", "c", "OK", 290},  {"blue", "a", "OK", 30},  {"blue", "b", "BF", 50},
                 {"blue", "b", "OK", 140}, {"blue", "c", "OK", 299}, {"green", "a", "OK", 45}, {"green", "c", "WA", 241},
                 {"white", "a", "WA", 5},  {"white", "a", "WA", 6},  {"white", "a", "WA", 7},  {"black", "a", "OK", 60},
                 {"black", "b", "WA", 70}, {"black", "b", "OK", 241},
                 {"red", "a", "WA", 200}}; /* after it was accepted: costs nothing */
    benchmark(h, "final", &r);
    problem(h, "a", "final", 1, false);
    problem(h, "b", "final", 2, false);
    problem(h, "c", "final", 3, false);
    for (int i = 0; i < (int)(sizeof tried / sizeof tried[0]); i++)
        /* 59 seconds on top: a minute counts when it is over */
        score(h, i + 1, "final", tried[i].agent, tried[i].problem, tried[i].verdict, strcmp(tried[i].verdict, "OK") == 0 ? 100 : 0,
              start + tried[i].minute * MINUTE + 59000, 7, "");
    svc_pump(h);
    const char *frozen = "1:red:2:170 2:blue:2:170 3:green:1:45 4:black:1:60 5:white:0:0";
    const char *thawed = "1:blue:3:469 2:red:3:480 3:black:2:321 4:green:1:45 5:white:0:0";
    assert_string_equal(contest(h, SVC_VIEWER, "/leaderboard?benchmark_id=final"), frozen);
    assert_string_equal(contest(h, SVC_ADMIN, "/leaderboard?benchmark_id=final"), thawed); /* the jury sees behind it */
    assert_string_equal(contest(h, SVC_ADMIN, "/leaderboard?benchmark_id=final&view=public"), frozen);
    assert_string_equal(contest(h, SVC_VIEWER, "/leaderboard?benchmark_id=final&view=jury"), "failed");
    assert_string_equal(contest(h, SVC_VIEWER, "/leaderboard?benchmark_id=final&agent_id=black"), "1:black:1:60");
    struct svc_reply one = svc_call(h, SVC_VIEWER, "GET", "/leaderboard?benchmark_id=final&agent_id=black&with=problems", NULL);
    assert_int_equal(svc_bool(&one, "/frozen"), 1);
    assert_int_equal(svc_int(&one, "/items/0/rank"), 4);
    assert_int_equal(svc_int(&one, "/items/0/problems/1/pending"), 1); /* that it tried is seen, not how it went */
    assert_int_equal(svc_int(&one, "/items/0/problems/1/rejected"), 1);
    assert_int_equal(svc_int(&one, "/items/0/problems/1/correct"), 0);
    one = svc_call(h, SVC_VIEWER, "GET", "/leaderboard?benchmark_id=final&agent_id=red&with=problems", NULL);
    assert_int_equal(svc_int(&one, "/items/0/problems/0/submissions"), 4);
    assert_int_equal(svc_int(&one, "/items/0/problems/0/rejected"), 2);
    r.thaws = start + 5 * HOUR; /* the jury thaws it */
    benchmark(h, "final", &r);
    svc_pump(h);
    assert_string_equal(contest(h, SVC_VIEWER, "/leaderboard?benchmark_id=final"), thawed);
    one = svc_call(h, SVC_VIEWER, "GET", "/leaderboard?benchmark_id=final", NULL);
    assert_int_equal(svc_bool(&one, "/frozen"), 0);
    problem(h, "c", "final", 3, true); /* a problem that is taken out takes its scores along */
    r.penalty = 0;
    benchmark(h, "final", &r);
    svc_pump(h);
    assert_string_equal(contest(h, SVC_VIEWER, "/leaderboard?benchmark_id=final"),
                        "1:red:2:130 2:blue:2:170 3:black:2:301 4:green:1:45 5:white:0:0");
}

static void a_frozen_board_is_not_on_the_list_of_all(void **state)
{
    struct svc *h = *state;
    int64_t now = svc_host(h)->now_ms(svc_host(h)->ctx);
    struct rules r = {"best", "score", 20, 1, 0, now - HOUR, 0};
    benchmark(h, "cold", &r);
    score(h, 1, "cold", "ada", "p", "WA", 40, now - 2 * HOUR, 1, "");
    score(h, 2, "cold", "ada", "p", "OK", 100, now - MINUTE, 1, "");
    svc_pump(h);
    assert_int_equal(svc_count_events(h, "leaderboard.updated"), 1); /* of both */
    assert_true(assay_str_is(svc_event(h, "leaderboard.updated", 0)->ev.payload, "{}")); /* not whose nor how it went */
    assert_string_equal(contest(h, SVC_VIEWER, "/leaderboard?benchmark_id=cold"), "1:ada:40:-1");
    assert_string_equal(contest(h, SVC_VIEWER, "/leaderboard"), "");
    assert_string_equal(contest(h, SVC_VIEWER, "/leaderboard?agent_id=ada"), "");
    assert_string_equal(contest(h, SVC_ADMIN, "/leaderboard"), "1:ada:100:-1");
}

static void metrics_become_columns(void **state)
{
    struct svc *h = *state;
    struct rules r = {"best", "score", 20, 1, 0, 0, 0};
    benchmark(h, "lab", &r);
    svc_publish(h, "submission.created", name_of(1), U1, "{\"kind\":\"benchmark\",\"metrics\":[{\"name\":\"cost_usd\",\"value\":0.25},{\"name\":\"tokens\",\"value\":1000}]}");
    svc_publish(h, "submission.created", name_of(2), U1, "{\"metrics\":[{\"name\":\"cost_usd\",\"value\":0.5}]}");
    svc_publish(h, "submission.created", name_of(3), U1, "{\"metrics\":[{\"name\":\"cost_usd\",\"value\":9}]}"); /* not judged: counts not */
    score(h, 1, "lab", "bot", "p", "OK", 100, 1000, 1, "");
    score(h, 2, "lab", "bot", "q", "WA", 0, 2000, 1, "");
    svc_pump(h);
    struct svc_reply a = svc_call(h, SVC_VIEWER, "GET", "/leaderboard?benchmark_id=lab&with=metrics,problems", NULL);
    assert_int_equal(svc_len(&a, "/items/0/metrics"), 2);
    assert_string_equal(svc_str(&a, "/items/0/metrics/0/name"), "cost_usd");
    assert_true(svc_real(&a, "/items/0/metrics/0/sum") == 0.75 && svc_real(&a, "/items/0/metrics/0/mean") == 0.375);
    assert_int_equal(svc_int(&a, "/items/0/metrics/1/submissions"), 1);
    assert_int_equal(svc_len(&a, "/items/0/problems"), 2);
    assert_int_equal(svc_call(h, SVC_VIEWER, "GET", "/leaderboard?benchmark_id=lab&with=money", NULL).status, 400);
    assert_int_equal(svc_call(h, SVC_VIEWER, "GET", "/leaderboard?with=metrics", NULL).status, 400);
}

static void statistics_comparison_and_history(void **state)
{
    struct svc *h = *state;
    struct rules r = {"best", "sum", 20, 1, 0, 0, 0};
    benchmark(h, "lab", &r);
    int id = 1;
    for (int p = 0; p < 10; p++) { /* ada solves all but the first, in the second try; bob the first two; cy none */
        char name[16];
        (void)snprintf(name, sizeof name, "q%d", p);
        problem(h, name, "lab", p + 1, false);
        score(h, id++, "lab", "ada", name, "WA", 50, 1000 + p, 5, "");
        if (p > 0)
            score(h, id++, "lab", "ada", name, "OK", 100, 2000 + p, 5, "");
        score(h, id++, "lab", "bob", name, p < 2 ? "OK" : "WA", p < 2 ? 100 : 0, 3000 + p, 5, "");
        score(h, id++, "lab", "cy", name, "WA", 0, 4000 + p, 5, "");
    }
    svc_pump(h);
    struct svc_reply a = svc_call(h, SVC_VIEWER, "GET", "/leaderboard/statistics?benchmark_id=lab&seed=3", NULL);
    assert_int_equal(a.status, 200);
    assert_int_equal(svc_len(&a, "/items"), 3);
    assert_string_equal(svc_str(&a, "/items/0/agent_id"), "ada");
    assert_int_equal(svc_int(&a, "/items/0/submissions"), 19);
    assert_int_equal(svc_int(&a, "/items/0/correct"), 9);
    /* Wilson, 9 of 19: by the formula 0.27326, 0.68288 */
    assert_true(fabs(svc_real(&a, "/items/0/pass_rate/low") - 0.27326) < 5e-4 && fabs(svc_real(&a, "/items/0/pass_rate/high") - 0.68288) < 5e-4);
    assert_true(fabs(svc_real(&a, "/items/0/mean_score/estimate") - 1400.0 / 19) < 1e-9);
    assert_true(svc_real(&a, "/items/0/mean_score/low") < 1400.0 / 19 && svc_real(&a, "/items/0/mean_score/high") > 1400.0 / 19);
    assert_int_equal(svc_int(&a, "/items/0/rank_best"), 1);
    assert_int_equal(svc_int(&a, "/items/0/rank_worst"), 1); /* 73.7 and 20 do not overlap; 20 and 0 do */
    assert_int_equal(svc_int(&a, "/items/1/rank_best"), 2);
    assert_int_equal(svc_int(&a, "/items/1/rank_worst"), 3);
    struct svc_reply again = svc_call(h, SVC_VIEWER, "GET", "/leaderboard/statistics?benchmark_id=lab&seed=3", NULL);
    assert_true(assay_str_eq(a.body, again.body)); /* the same seed, the same numbers */
    a = svc_call(h, SVC_VIEWER, "GET", "/leaderboard/compare?benchmark_id=lab&a=ada&b=bob&confidence=0.9", NULL);
    assert_int_equal(a.status, 200);
    assert_int_equal(svc_int(&a, "/problems"), 10);
    assert_int_equal(svc_int(&a, "/solved_by_both"), 1);
    assert_int_equal(svc_int(&a, "/solved_by_a_alone"), 8);
    assert_int_equal(svc_int(&a, "/solved_by_b_alone"), 1);
    assert_true(fabs(svc_real(&a, "/mcnemar_p") - 20.0 / 512) < 1e-12); /* 2 (1 + 9) / 2^9 */
    assert_true(svc_real(&a, "/score_difference/estimate") == 75); /* 950 - 200 over ten */
    a = svc_call(h, SVC_VIEWER, "GET", "/leaderboard/history?benchmark_id=lab&agent_id=ada", NULL);
    assert_int_equal(svc_len(&a, "/items"), 19);
    assert_true(svc_real(&a, "/items/0/score") == 50 && svc_real(&a, "/items/9/score") == 500 && svc_real(&a, "/items/18/score") == 950);
    assert_int_equal(svc_int(&a, "/items/18/solved"), 9);
    static const char *const bad[] = {"/leaderboard/statistics", "/leaderboard/statistics?benchmark_id=lab&draws=1",
                                      "/leaderboard/statistics?benchmark_id=lab&confidence=1", "/leaderboard/compare?benchmark_id=lab&a=ada",
                                      "/leaderboard/history?benchmark_id=lab", "/leaderboard/statistics?benchmark_id=lab&seed=x"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(svc_call(h, SVC_VIEWER, "GET", bad[i], NULL).status, 400);
    assert_int_equal(svc_call(h, SVC_VIEWER, "GET", "/leaderboard/history?benchmark_id=none&agent_id=a", NULL).status, 404);
}

/* Intervals of a board far beyond a page, at night of ten thousand agents: the same numbers as for a few, ranks among all. */
static void intervals_of_a_whole_board(void **state)
{
    struct svc *h = *state;
    const char *night = getenv("ASSAY_NIGHT");
    int agents = night != NULL && strcmp(night, "0") != 0 ? 10000 : 1200, tried = 3;
    struct rules r = {"best", "sum", 20, 1, 0, 0, 0};
    benchmark(h, "wide", &r);
    for (int p = 0; p < tried; p++) {
        char name[16];
        (void)snprintf(name, sizeof name, "w%d", p);
        problem(h, name, "wide", p + 1, false);
    }
    for (int a = 0; a < agents; a++) { /* later agents are worse; the last has tried one problem */
        char who[16];
        (void)snprintf(who, sizeof who, "w-%05d", a);
        for (int p = 0; p < (a + 1 == agents ? 1 : tried); p++) {
            char name[16];
            double points = 100 - 100.0 * a / agents - p;
            (void)snprintf(name, sizeof name, "w%d", p);
            score(h, a * tried + p, "wide", who, name, points == 100 ? "OK" : "WA", points < 0 ? 0 : points, 1000 + a, 5, "");
        }
    }
    svc_pump(h);
    assert_true(svc_metric(h, "assay_board_scores_total") == agents * tried - 2);
    assert_true(svc_metric(h, "assay_board_cells_total") == agents * tried - 2); /* each is another */
    struct svc_reply few = svc_call(h, SVC_VIEWER, "GET", "/leaderboard/statistics?benchmark_id=wide&draws=200", NULL);
    assert_int_equal(few.status, 200);
    assert_int_equal(svc_len(&few, "/items"), 200);
    assert_int_equal(svc_bool(&few, "/whole"), 0);
    struct svc_reply all = svc_call(h, SVC_VIEWER, "GET", "/leaderboard/statistics?benchmark_id=wide&draws=200&limit=10000", NULL);
    assert_int_equal(all.status, 200);
    assert_int_equal(svc_bool(&all, "/whole"), 1);
    assert_int_equal(svc_len(&all, "/items"), agents);
    for (int i = 0; i < 200; i += 7) { /* by pages of the whole board and agent by agent: the same */
        static const char *const same[] = {"mean_score/low", "mean_score/high", "pass_rate/high"};
        char at[60];
        for (size_t k = 0; k < 3; k++) {
            (void)snprintf(at, sizeof at, "/items/%d/%s", i, same[k]);
            assert_true(svc_real(&few, at) == svc_real(&all, at));
        }
        (void)snprintf(at, sizeof at, "/items/%d/agent_id", i);
        assert_string_equal(svc_str(&few, at), svc_str(&all, at));
    }
    /* the problems of an agent are a point apart, so an interval is some two points wide, and agents lie 100 / agents apart */
    char at[60];
    (void)snprintf(at, sizeof at, "/items/%d/rank_best", agents / 2);
    int64_t best = svc_int(&all, at);
    (void)snprintf(at, sizeof at, "/items/%d/rank_worst", agents / 2);
    int64_t worst = svc_int(&all, at), span = agents * 2 / 100;
    assert_true(best < agents / 2 - span / 2 && best > agents / 2 - 3 * span && worst > agents / 2 + span / 2 && worst < agents / 2 + 3 * span);
    (void)snprintf(at, sizeof at, "/items/%d/problems", agents - 1);
    assert_int_equal(svc_int(&all, at), 1);
    all = svc_call(h, SVC_VIEWER, "GET", "/leaderboard/statistics?benchmark_id=wide&limit=3", NULL);
    assert_int_equal(svc_len(&all, "/items"), 3);
    assert_int_equal(svc_int(&all, "/items/2/rank_worst"), 3); /* among those */
    assert_int_equal(svc_call(h, SVC_VIEWER, "GET", "/leaderboard/statistics?benchmark_id=wide&limit=10001", NULL).status, 400);
}

static void shared_draws_give_the_same_intervals(void **state)
{
    (void)state;
    enum { DRAWS = 300, MOST = 40 };
    static uint16_t index[DRAWS * MOST];
    static double room[DRAWS];
    for (size_t n = 1; n <= MOST; n++) {
        struct lb_cluster c[MOST];
        for (size_t i = 0; i < n; i++)
            c[i] = (struct lb_cluster){(double)(i * 37 % 11) * 3.7, 1 + (double)(i % 3)};
        lb_draws_make(index, n, DRAWS, n);
        struct lb_interval a = lb_bootstrap(c, n, 0.9, DRAWS, n, room), b = lb_bootstrap_drawn(c, n, 0.9, index, DRAWS, room);
        assert_true(a.low == b.low && a.high == b.high);
    }
}

/* ---- random histories ------------------------------------------------------------------------------------- */

enum { SUBMISSIONS = 160, AGENTS = 5, PROBLEMS = 4 };
static const char *const agents[AGENTS] = {"a0", "a1", "a2", "a3", "a4"};
static const char *const problems[PROBLEMS] = {"p0", "p1", "p2", "p3"};
static const char *const verdicts[] = {"OK", "WA", "BF", "TL"};

struct model {
    bool there, grouped;
    int agent, problem, verdict;
    double score, group[2];
    int64_t created, cpu;
};
static unsigned seed;
static unsigned below(unsigned n)
{
    seed = seed * 1103515245u + 12345u;
    return (seed >> 8) % n;
}

static void tell(struct svc *h, const struct model *m, int i)
{
    char more[200] = "";
    if (m->grouped)
        (void)snprintf(more, sizeof more, ",\"groups\":[{\"name\":\"one\",\"value\":%.17g},{\"name\":\"two \\u00e9\",\"value\":%.17g}]",
                       m->group[0], m->group[1]);
    score(h, i, "b", agents[m->agent], problems[m->problem], verdicts[m->verdict], m->score, m->created, m->cpu, more);
}

static void change(struct svc *h, struct model *m, int i)
{
    if (m->there && below(5) == 0) {
        svc_publish(h, "submission.deleted", name_of(i), U1, "{}");
        m->there = false;
        return;
    }
    if (!m->there) {
        m->agent = (int)below(AGENTS);
        m->problem = (int)below(PROBLEMS);
        m->created = 1000000 + (int64_t)below(40) * 30000;
    }
    m->there = true;
    m->verdict = (int)below(4);
    m->score = m->verdict == 0 ? 100 : m->verdict == 2 ? 0 : (double)below(300) / 3;
    m->cpu = below(6) == 0 ? -1 : (int64_t)below(50);
    m->grouped = below(3) != 0;
    m->group[0] = below(4) * 10;
    m->group[1] = below(7) * 5.5;
    tell(h, m, i);
}

struct placed {
    struct lb_standing s;
    int agent;
};
static int by_key(const void *x, const void *y)
{
    const struct lb_standing *a = &((const struct placed *)x)->s, *b = &((const struct placed *)y)->s;
    if (a->down != b->down)
        return a->down < b->down ? -1 : 1;
    if (a->tie != b->tie)
        return a->tie < b->tie ? -1 : 1;
    return assay_str_cmp(a->submission_id, b->submission_id);
}

static void compare(struct svc *h, const struct model *m, const struct lb_benchmark *b, int64_t until, const char *target)
{
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
    struct placed want[AGENTS];
    size_t n_want = 0;
    for (int a = 0; a < AGENTS; a++) {
        struct lb_submission s[SUBMISSIONS];
        struct assay_ev_number g[SUBMISSIONS][2];
        struct lb_standing st[SUBMISSIONS];
        size_t n = 0;
        for (int i = 0; i < SUBMISSIONS; i++) {
            if (!m[i].there || m[i].agent != a || m[i].created >= until)
                continue;
            g[n][0] = (struct assay_ev_number){ASSAY_STR("one"), m[i].group[0]};
            g[n][1] = (struct assay_ev_number){ASSAY_STR("two"), m[i].group[1]};
            s[n] = (struct lb_submission){.submission_id = assay_arena_str(arena, assay_str(name_of(i))), .problem_id = assay_str(problems[m[i].problem]),
                                          .verdict = assay_str(verdicts[m[i].verdict]), .score = m[i].score,
                                          .created_ms = m[i].created, .cpu_ms = m[i].cpu, .group = g[n], .n_groups = m[i].grouped ? 2 : 0};
            n++;
        }
        assert_int_equal(lb_replay(b, s, n, arena, st, NULL), 0);
        if (n > 0)
            want[n_want++] = (struct placed){st[n - 1], a};
    }
    qsort(want, n_want, sizeof *want, by_key);
    struct svc_reply r = svc_call(h, SVC_ADMIN, "GET", target, NULL);
    assert_int_equal(r.status, 200);
    assert_int_equal(svc_len(&r, "/items"), n_want);
    for (size_t i = 0; i < n_want; i++) {
        char at[60];
#define AT(member) ((void)snprintf(at, sizeof at, "/items/%zu/" member, i), at)
        double per = b->rules.ranking == ASSAY_RANKING_PASS_AT_K ? 100.0 / PROBLEMS : 1;
        if (strcmp(svc_str(&r, AT("agent_id")), agents[want[i].agent]) != 0)
            print_error("%s, scoring %d, ranking %d, row %zu: want %s with %.17g, is %s with %.17g\n", target, b->rules.scoring,
                        b->rules.ranking, i, agents[want[i].agent], per * want[i].s.score, svc_str(&r, AT("agent_id")),
                        svc_real(&r, AT("score")));
        assert_string_equal(svc_str(&r, AT("agent_id")), agents[want[i].agent]);
        assert_true(fabs(svc_real(&r, AT("score")) - per * want[i].s.score) < 1e-9);
        assert_int_equal(svc_int(&r, AT("solved")), want[i].s.solved);
        assert_true(assay_str_is(want[i].s.submission_id, svc_str(&r, AT("submission_id"))));
        if (b->rules.ranking == ASSAY_RANKING_ICPC)
            assert_int_equal(svc_int(&r, AT("penalty_minutes")), want[i].s.penalty_minutes);
    }
}

/* However scores come, go and change, under whatever rules, and however the rules change: the board and the frozen board are what
 * a computation from nothing gives. */
static void every_rule_equals_a_computation_from_nothing(void **state)
{
    struct svc *h = *state;
    static struct model m[SUBMISSIONS];
    memset(m, 0, sizeof m);
    seed = 20261128;
    for (int p = 0; p < PROBLEMS; p++)
        problem(h, problems[p], "b", p + 1, false);
    for (int round = 0; round < 24; round++) {
        struct lb_benchmark b = {.rules = {.scoring = round / 6, .ranking = round % 6, .penalty_minutes = 20 * (round % 3),
                                           .pass_k = 1 + round % 4},
                                 .starts_ms = 1000000 - 90000,
                                 .freezes_ms = round % 4 == 3 ? 0 : 1000000 + (round % 5 + 2) * 150000,
                                 .problems = PROBLEMS};
        struct rules r = {assay_scoring_names[b.rules.scoring], assay_ranking_names[b.rules.ranking], b.rules.penalty_minutes,
                          b.rules.pass_k, b.starts_ms, b.freezes_ms, 0};
        benchmark(h, "b", &r); /* another rule over what is there: the board is made anew */
        if (round % 2 == 0) {
            svc_pump(h);
            compare(h, m, &b, INT64_MAX, "/leaderboard?benchmark_id=b&view=jury");
        }
        for (int k = 0; k < 40; k++) {
            int i = (int)below(SUBMISSIONS);
            change(h, &m[i], i);
        }
        svc_pump(h);
        compare(h, m, &b, INT64_MAX, "/leaderboard?benchmark_id=b&view=jury");
        if (b.freezes_ms > 0)
            compare(h, m, &b, b.freezes_ms, "/leaderboard?benchmark_id=b&view=public");
    }
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(a_contest_checked_by_hand),
        T(a_frozen_board_is_not_on_the_list_of_all),
        T(metrics_become_columns),
        T(statistics_comparison_and_history),
        T(intervals_of_a_whole_board),
        T(shared_draws_give_the_same_intervals),
        T(every_rule_equals_a_computation_from_nothing),
    };
    return cmocka_run_group_tests_name("leaderboard_rules", tests, NULL, NULL);
}
