/*
 * The runner: verdicts as pure functions, then whole submissions through the real store, the real
 * languages and a real warden, over a host that is a struct.  Where no warden can be started the
 * second part says so and is skipped.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "local.h"
#include "svc_harness.h"

#include <math.h>

/* ---- domain ------------------------------------------------------------------------------------- */

static void test_a_run_becomes_a_verdict(void **state)
{
    (void)state;
    struct assay_str oom[] = {ASSAY_STR("MemoryError")}, last[] = {ASSAY_STR("SyntaxError:")};
    struct signatures s = {{oom, 1}, 1, ASSAY_STR("  File"), {last, 1}};
    struct assay_str none = ASSAY_STR("");
    struct assay_box_outcome o = {.end = ASSAY_BOX_EXITED};
    assert_int_equal(verdict_of_run(&o, &s, none, none), VERDICT_OK);
    o.exit_code = 1;
    assert_int_equal(verdict_of_run(&o, &s, none, none), VERDICT_RE);
    assert_int_equal(verdict_of_run(&o, &s, none, ASSAY_STR("Traceback\nMemoryError\n")), VERDICT_ML);
    assert_int_equal(verdict_of_run(&o, &s, none, ASSAY_STR("  File \"x\"\nSyntaxError: bad\n")), VERDICT_BF);
    assert_int_equal(verdict_of_run(&o, &s, ASSAY_STR("x"), ASSAY_STR("  File \"x\"\nSyntaxError: bad\n")), VERDICT_RE);
    assert_int_equal(verdict_of_run(&o, &s, none, ASSAY_STR("Traceback\n  File\nSyntaxError: bad\n")), VERDICT_RE);
    /* the working directory has another name where there are no namespaces */
    s.load_prefix = ASSAY_STR("  File \"/box/main.py\", line ");
    assert_int_equal(verdict_of_run(&o, &s, none, ASSAY_STR("  File \"/box/main.py\", line 1\nSyntaxError: bad\n")), VERDICT_BF);
    assert_int_equal(verdict_of_run(&o, &s, none, ASSAY_STR("  File \"/tmp/a/0/box/main.py\", line 1\nSyntaxError: bad\n")), VERDICT_BF);
    assert_int_equal(verdict_of_run(&o, &s, none, ASSAY_STR("  File \"/tmp/a/0/box/other.py\", line 1\nSyntaxError: bad\n")), VERDICT_RE);
    assert_int_equal(verdict_of_run(&o, &s, none, ASSAY_STR("  File \"x\n/box/main.py\", line 1\nSyntaxError: bad\n")), VERDICT_RE);
    o.exit_code = 0; /* who exits with 0 has not run out of memory, whatever it prints */
    assert_int_equal(verdict_of_run(&o, &s, none, ASSAY_STR("MemoryError")), VERDICT_OK);
    const struct {
        enum assay_box_end end;
        enum verdict v;
    } rest[] = {{ASSAY_BOX_SIGNALLED, VERDICT_RE}, {ASSAY_BOX_CPU, VERDICT_TL},    {ASSAY_BOX_WALL, VERDICT_TL},
                {ASSAY_BOX_MEMORY, VERDICT_ML},    {ASSAY_BOX_OUTPUT, VERDICT_OL}, {ASSAY_BOX_FAILED, VERDICT_IE}};
    for (size_t i = 0; i < sizeof rest / sizeof rest[0]; i++) {
        o.end = rest[i].end;
        assert_int_equal(verdict_of_run(&o, &s, none, none), rest[i].v);
    }
}

static void test_a_run_is_tried_again_only_when_it_was_near_and_disturbed(void **state)
{
    (void)state;
    const struct assay_box_limits limits = {.cpu_ms = 1000, .cpu_hard_ms = 1200, .wall_ms = 3000};
    const struct assay_box_outcome near = {
        .end = ASSAY_BOX_CPU, .finished = true, .cpu_us = 1050000, .wall_us = 1300000, .forced_switches = 200};
    const struct disturbance quiet = {0, 0}, robbed = {65000, 0}, crowded = {0, 260000}, hardly = {64999, 259999};
    assert_int_equal(over_limit_of(&near), OVER_CPU);
    assert_true(time_ratio(near.cpu_us, limits.cpu_ms) == 1.05);
    assert_true(time_ratio(1234567, 1000) == 1.235);
    assert_true(time_ratio(5, 0) == 0);
    assert_false(run_was_disturbed(&near, &limits, &quiet));
    assert_false(run_was_disturbed(&near, &limits, &hardly));
    assert_true(run_was_disturbed(&near, &limits, &robbed));
    assert_true(run_was_disturbed(&near, &limits, &crowded));
    struct assay_box_outcome o = near;
    o.forced_switches = 64; /* others waited, but this one kept its core */
    assert_false(run_was_disturbed(&o, &limits, &crowded));
    o = near;
    o.finished = false; /* it ran into the hard limit: nobody knows how far it would have gone */
    assert_false(run_was_disturbed(&o, &limits, &robbed));
    /* by the clock: only when others may have had the time that was missing */
    o = (struct assay_box_outcome){.end = ASSAY_BOX_WALL, .cpu_us = 900000, .wall_us = 3000000, .forced_switches = 900};
    const struct disturbance long_wait = {0, 1500000};
    assert_int_equal(over_limit_of(&o), OVER_WALL);
    assert_true(run_was_disturbed(&o, &limits, &long_wait));
    o.wall_us = 5000000; /* it slept: the others' part does not explain it */
    assert_false(run_was_disturbed(&o, &limits, &long_wait));
    o = near;
    o.end = ASSAY_BOX_EXITED;
    assert_int_equal(over_limit_of(&o), OVER_NOTHING);
    assert_false(run_was_disturbed(&o, &limits, &robbed));
    o.wall_us = 0;
    assert_false(run_was_disturbed(&o, &limits, &robbed));
}

static bool bit(const uint64_t *mask, unsigned n)
{
    return (mask[n / 64] >> (n % 64) & 1) != 0;
}

static void test_lanes_have_processors_of_their_own(void **state)
{
    (void)state;
    static bool set[PROCESSORS_MAX];
    static struct processors p;
    uint64_t mask[ASSAY_BOX_CPU_WORDS];
    struct assay_err err;
    static const char *const bad[] = {"", "a", "1,", ",1", "3-1", "1-", "1 2", "1024", "0-1024", "99999999999999999999"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_false(processors_parse(bad[i], set));
        assert_int_equal(processors_choose(bad[i], &p, &err), ASSAY_E_CONFIG);
    }
    assert_true(processors_parse("0-2,64,1023", set));
    assert_true(set[0] && set[1] && set[2] && !set[3] && !set[63] && set[64] && set[1023]);
    assert_int_equal(processors_choose("off", &p, &err), ASSAY_OK);
    processors_of_lane(&p, 1, 0, true, mask);
    assert_true(!bit(mask, 0) && !bit(mask, 1));
    assert_int_equal(processors_choose("auto", &p, &err), ASSAY_OK);
    assert_true(p.n >= 1 && p.n_cores >= 1 && p.n_cores <= p.n);
    /* four cores of two threads each */
    p = (struct processors){.n = 8, .n_cores = 4, .cpu = {0, 1, 2, 3, 4, 5, 6, 70}};
    processors_of_lane(&p, 4, 3, false, mask);
    assert_true(bit(mask, 3) && !bit(mask, 70) && !bit(mask, 0));
    processors_of_lane(&p, 4, 3, true, mask);
    assert_true(bit(mask, 3) && bit(mask, 70) && !bit(mask, 2));
    for (unsigned slot = 0; slot < 8; slot++) {
        processors_of_lane(&p, 8, slot, true, mask);
        for (unsigned i = 0; i < 8; i++)
            assert_true(bit(mask, p.cpu[i]) == (i == slot));
    }
    processors_of_lane(&p, 9, 0, false, mask); /* more slots than processors: the scheduler does it better */
    assert_false(bit(mask, 0));
}

static void test_scores(void **state)
{
    (void)state;
    struct scored t[] = {{1, NAN, VERDICT_OK, NO_GROUP}, {2, NAN, VERDICT_WA, NO_GROUP}, {1, NAN, VERDICT_OK, NO_GROUP}};
    struct points p;
    points_count(t, 3, NULL, 0, &p);
    assert_true(p.score == 50 && p.awarded == 2 && p.all == 4);
    t[1].verdict = VERDICT_NONE;
    points_count(t, 3, NULL, 0, &p);
    assert_true(p.score == 50);
    t[1].part = 0.5; /* what was not run has no part, whatever is said */
    points_count(t, 3, NULL, 0, &p);
    assert_true(p.score == 50);
    t[1].verdict = VERDICT_WA; /* a checker's partial points */
    points_count(t, 3, NULL, 0, &p);
    assert_true(p.score == 75 && p.awarded == 3);
    t[1] = (struct scored){2, NAN, VERDICT_OK, NO_GROUP};
    points_count(t, 3, NULL, 0, &p);
    assert_true(p.score == 100);
    points_count(t, 0, NULL, 0, &p);
    assert_true(p.score == 100 && p.all == 0);
}

static void test_groups_make_points_of_their_tests(void **state)
{
    (void)state;
    struct scored t[] = {{1, NAN, VERDICT_OK, 0}, {1, NAN, VERDICT_OK, 1}, {3, NAN, VERDICT_WA, 1}, {1, NAN, VERDICT_OK, 2},
                         {1, 0.25, VERDICT_WA, 2}, {1, NAN, VERDICT_TL, 3}, {1, 0.5, VERDICT_OK, 3}, {6, NAN, VERDICT_OK, NO_GROUP}};
    struct group g[] = {{.aggregate = ASSAY_AGGREGATE_SUM, .points = 0},
                        {.aggregate = ASSAY_AGGREGATE_SUM, .points = 20},
                        {.aggregate = ASSAY_AGGREGATE_MIN, .points = 40},
                        {.aggregate = ASSAY_AGGREGATE_MAX, .points = 10}};
    struct points p;
    points_count(t, 8, g, 4, &p);
    assert_true(g[0].awarded == 0 && g[0].verdict == VERDICT_OK);
    assert_true(g[1].awarded == 5 && g[1].verdict == VERDICT_WA && g[1].passed == 1 && g[1].tests == 2);
    assert_true(g[2].awarded == 10 && g[2].verdict == VERDICT_WA);
    assert_true(g[3].awarded == 5 && g[3].verdict == VERDICT_TL);
    assert_true(p.all == 76 && p.awarded == 26);
    assert_true(fabs(p.score - 100.0 * 26 / 76) < 1e-9);
    t[3].verdict = t[4].verdict = VERDICT_NONE; /* not run: worth nothing, and its verdict is "-" */
    points_count(t, 8, g, 4, &p);
    assert_true(g[2].awarded == 0 && g[2].verdict == VERDICT_NONE);
    for (size_t i = 0; i < 8; i++)
        t[i] = (struct scored){1, NAN, VERDICT_OK, t[i].group};
    points_count(t, 8, g, 4, &p);
    assert_true(p.score == 100 && p.awarded == p.all);
}

static void test_a_group_ends_and_waits_for_others(void **state)
{
    (void)state;
    const size_t first[] = {0}, second[] = {1};
    struct group g[] = {{.stop = false}, {.stop = true, .needs = first, .n_needs = 1}, {.needs = second, .n_needs = 1}};
    struct scored t[] = {{1, NAN, VERDICT_OK, 0}, {1, NAN, VERDICT_OK, 0}, {1, NAN, VERDICT_OK, 1}, {1, NAN, VERDICT_OK, 1},
                         {1, NAN, VERDICT_NONE, 2}, {1, NAN, VERDICT_NONE, NO_GROUP}};
    for (size_t i = 0; i < 6; i++)
        assert_true(test_is_due(t, i, g));
    t[0].verdict = VERDICT_WA; /* group 0 goes on, and nothing depends on what has failed */
    assert_true(test_is_due(t, 1, g));
    assert_false(test_is_due(t, 2, g));
    t[0].verdict = VERDICT_OK;
    t[2].verdict = VERDICT_RE;
    assert_false(test_is_due(t, 3, g));
    t[3].verdict = VERDICT_NONE; /* and what was left out has not passed */
    assert_false(test_is_due(t, 4, g));
    assert_true(test_is_due(t, 5, g));
}

static void test_a_version_is_shown_as_a_whole_number_of_parts(void **state)
{
    (void)state;
    static const struct {
        const char *line, *wanted;
        bool shows;
    } row[] = {
        {"Python 3.11.2", "3.11.2", true},
        {"Python 3.11.2", "3.11", true},
        {"Python 3.11.2", "3", true},
        {"Python 3.11.2", "11.2", false},
        {"Python 3.11.2", "3.1", false},
        {"Python 3.11.2", "3.11.22", false},
        {"Python 3.110", "3.11", false},
        {"Python 13.11", "3.11", false},
        {"Python 3.11.2", "Python", true},
        {"Python 3.11.2", "ython", false},
        {"go version go1.19.8 linux/amd64", "1.19", true},
        {"v20.20.2", "20", true},
        {"gcc-12 (Debian 12.2.0-14+deb12u1) 12.2.0", "12.2.0-14+deb12u1", true},
        {"openjdk 17.0.15 2025-04-15", "17.0.15", true},
        {"Python 3.11.2", "", false},
        {"", "3", false},
    };
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        if (version_shows(row[i].line, assay_str(row[i].wanted)) != row[i].shows)
            fail_msg("%s in %s", row[i].wanted, row[i].line);
    }
}

static void test_hidden_tests_stay_hidden(void **state)
{
    (void)state;
    for (int f = ASSAY_FEEDBACK_NONE; f <= ASSAY_FEEDBACK_FULL; f++) {
        assert_int_equal(test_sight(f, false, false).details, f == ASSAY_FEEDBACK_FULL);
        assert_int_equal(test_sight(f, false, true).details, f >= ASSAY_FEEDBACK_SAMPLES);
        assert_int_equal(test_sight(f, false, false).verdict, f >= ASSAY_FEEDBACK_SAMPLES);
        assert_true(test_sight(f, true, false).details);
    }
}

/* ---- whole submissions ---------------------------------------------------------------------------- */

/*
 * A warden dies with the thread that made it, as it must die with a boxkeeper.  The runner's workers come
 * and go, so one thread that stays makes all of them: the boxkeeper of this test.
 */
static pid_t warden[256];
static atomic_size_t n_wardens;
static pthread_mutex_t keeper_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t keeper_turn = PTHREAD_COND_INITIALIZER;
static int wanted_fd = -1; /* the warden's end of a stream; -1: nothing to do */
static char wanted_base[300];
static atomic_int image_digest; /* of every image, as the keeper says it */
static pid_t made;
static char shared_option[400] = "--shared=/nowhere"; /* what the boxkeeper would say of the data directory */

static void *keeper(void *arg)
{
    (void)arg;
    const char *path = getenv("ASSAY_WARDEN");
    pthread_mutex_lock(&keeper_lock);
    for (;;) {
        while (wanted_fd < 0)
            pthread_cond_wait(&keeper_turn, &keeper_lock);
        /* a uid each, as the boxkeeper gives them: RLIMIT_NPROC counts by uid, and other tests run beside this one */
        static unsigned serial;
        char uid[32], gid[32];
        (void)snprintf(uid, sizeof uid, "--uid=%u", 1000000u + (unsigned)getpid() * 64u + serial % 64u);
        (void)snprintf(gid, sizeof gid, "--gid=%u", 1000000u + (unsigned)getpid() * 64u + serial++ % 64u);
        made = fork();
        if (made == 0) {
            char *argv[] = {(char *)(uintptr_t)(path != NULL ? path : "./assay-warden"),
                            (char *)(uintptr_t)(geteuid() == 0 ? "--mode=native" : "--mode=userns"),
                            uid,
                            gid,
                            (char *)(uintptr_t)"--bind-try=/etc/alternatives",
                            (char *)(uintptr_t)"--bind-try=/etc/java-17-openjdk",
                            (char *)(uintptr_t)"--boxes=40", /* some are replaced while the tests go on */
                            wanted_base,
                            shared_option,
                            NULL};
            int keep = fcntl(wanted_fd, F_DUPFD_CLOEXEC, 20);
            if (keep < 0 || dup2(keep, 3) < 0)
                _exit(90);
            execv(argv[0], argv);
            _exit(91);
        }
        wanted_fd = -1;
        pthread_cond_broadcast(&keeper_turn);
    }
    return NULL;
}

static int open_warden(void *ctx, struct assay_str driver, struct assay_str image, int64_t timeout_ms, int *fd,
                       struct assay_buf *place, struct assay_err *err)
{
    static pthread_t thread;
    static bool started;
    (void)ctx;
    (void)driver;
    (void)timeout_ms;
    int pair[2];
    size_t n = atomic_load(&n_wardens);
    if (image.n != 0 && (image.n > 200 || image.p[0] != '/'))
        return assay_err_set(err, ASSAY_E_UNSUPPORTED, "there is no image %.*s here", ASSAY_FMT(image));
    if (n == sizeof warden / sizeof warden[0])
        return assay_err_set(err, ASSAY_E_BUSY, "enough wardens");
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return assay_err_set(err, ASSAY_E_IO, "no socketpair");
    pthread_mutex_lock(&keeper_lock);
    if (!started)
        started = pthread_create(&thread, NULL, keeper, NULL) == 0;
    while (wanted_fd >= 0)
        pthread_cond_wait(&keeper_turn, &keeper_lock);
    wanted_fd = pair[1];
    (void)snprintf(wanted_base, sizeof wanted_base, "--base=%.*s", ASSAY_FMT(image.n != 0 ? image : ASSAY_STR("/")));
    pthread_cond_broadcast(&keeper_turn);
    while (wanted_fd >= 0)
        pthread_cond_wait(&keeper_turn, &keeper_lock);
    pid_t pid = made;
    if (pid > 0)
        warden[atomic_fetch_add(&n_wardens, 1)] = pid;
    pthread_mutex_unlock(&keeper_lock);
    close(pair[1]);
    if (pid < 0) {
        close(pair[0]);
        return assay_err_set(err, ASSAY_E_IO, "no process");
    }
    *fd = pair[0];
    if (place != NULL && image.n != 0)
        assay_buf_fmt(place, "{\"driver\":\"test\",\"mode\":\"native\",\"image\":\"%.*s\",\"digest\":\"sha256:%064x\",\"notes\":[]}",
                      ASSAY_FMT(image), (unsigned)atomic_load(&image_digest));
    else if (place != NULL)
        assay_buf_puts(place, "{\"driver\":\"test\",\"mode\":\"native\",\"image\":null,\"digest\":null,\"notes\":[\"a test\"]}");
    return ASSAY_OK;
}

static void put_blob(struct svc *h, const char *text, char ref[ASSAY_BLOB_REF])
{
    struct assay_err err;
    assert_int_equal(assay_blob_put(svc_blobs(h), assay_str(text), ref, &err), 0);
}

#define USER "00000000-0000-7000-8000-000000000001"
#define OWNER "00000000-0000-7000-8000-00000000000c"

struct given {
    const char *id;
    int mode, compare, feedback;
    bool stop;
    const char *test[6][2]; /* input, expected */
};

/* toolchains: a JSON object, or "" */
static void publish_pinned(struct svc *h, const struct given *g, const char *toolchains, int warm_interpreters)
{
    struct assay_manifest_test test[6];
    char ref[6][2][ASSAY_BLOB_REF], problem[80], manifest_ref[ASSAY_BLOB_REF];
    struct assay_err err;
    memset(test, 0, sizeof test);
    snprintf(problem, sizeof problem, "%s-1", g->id);
    struct assay_manifest m = {.benchmark_id = assay_str(g->id),
                               .problem_id = assay_str(problem),
                               .version = 1,
                               .mode = g->mode,
                               .compare = g->compare,
                               .stop_on_failure = g->stop,
                               .time_limit_ms = 1000,
                               .wall_limit_ms = 2500,
                               .memory_limit_bytes = 64 << 20,
                               .output_limit_bytes = 65536,
                               .process_limit = 16,
                               .tests = {test, 0}};
    for (size_t i = 0; i < 6 && g->test[i][1] != NULL; i++) {
        put_blob(h, g->test[i][0], ref[i][0]);
        put_blob(h, g->test[i][1], ref[i][1]);
        test[i] = (struct assay_manifest_test){.number = (int64_t)i + 1,
                                               .name = ASSAY_STR("t"),
                                               .sample = i == 0,
                                               .points = 1,
                                               .input_ref = assay_str(ref[i][0]),
                                               .expected_ref = assay_str(ref[i][1])};
        m.tests.n = i + 1;
    }
    struct assay_buf buf = ASSAY_BUF_INIT;
    assert_int_equal(assay_manifest_encode(&m, &buf, &err), 0);
    put_blob(h, buf.p, manifest_ref);
    assay_buf_reset(&buf);
    struct assay_ev_benchmark b = {
        .owner_id = ASSAY_STR(OWNER), .name = ASSAY_STR("n"), .visibility = ASSAY_VISIBLE_PUBLIC, .feedback = g->feedback,
        .toolchains = assay_str(toolchains), .warm_interpreters = warm_interpreters};
    assert_int_equal(assay_ev_benchmark_encode(&b, &buf, &err), 0);
    svc_publish(h, "benchmark.changed", g->id, OWNER, buf.p);
    assay_buf_reset(&buf);
    struct assay_ev_problem p = {.benchmark_id = assay_str(g->id),
                                 .name = ASSAY_STR("p"),
                                 .manifest_ref = assay_str(manifest_ref),
                                 .position = 1,
                                 .mode = g->mode,
                                 .version = 1};
    assert_int_equal(assay_ev_problem_encode(&p, &buf, &err), 0);
    svc_publish(h, "problem.changed", problem, OWNER, buf.p);
    assay_buf_free(&buf);
}

static void publish(struct svc *h, const struct given *g)
{
    publish_pinned(h, g, "", ASSAY_WARM_AUTO);
}

static const struct given sum = {"sum",
                                 ASSAY_JUDGE_PROGRAM,
                                 ASSAY_COMPARE_TOKENS,
                                 ASSAY_FEEDBACK_FULL,
                                 true,
                                 {{"1 2 3\n", "6\n"}, {"10 -5 7\n", "12\n"}, {"\n", "0\n"}}};

/* options: name, value, ..., NULL */
static struct svc *world_with(const char *const *options)
{
    signal(SIGPIPE, SIG_IGN);
    struct svc *h = svc_new();
    const char *root = getenv("top_srcdir");
    svc_option(h, "share_dir", root != NULL ? root : ".");
    svc_option(h, "runner_drain", "1s");
    svc_option(h, "warm", "false");
    for (; options != NULL && options[0] != NULL; options += 2)
        svc_option(h, options[0], options[1]);
    svc_plugin(h, "submissions");
    svc_plugin(h, "runner");
    ((struct assay_host *)(uintptr_t)svc_host(h))->warden_open = open_warden;
    svc_start(h);
    publish(h, &sum);
    svc_publish(h, "agent.changed", "a1", USER, "{\"owner_id\":\"" USER "\",\"name\":\"a\"}");
    svc_pump(h);
    return h;
}

static struct svc *world(void)
{
    return world_with(NULL);
}

/* A diagnostic. cmocka cuts a message at 1,024 bytes, newline and all, and the next line of TAP would stick to it. */
static void tell(const char *what, struct assay_str text)
{
    size_t n = text.n < 4000 ? text.n : 4000;
    (void)printf("# %s ", what);
    for (size_t i = 0; i < n; i++) {
        (void)putchar(text.p[i]);
        if (text.p[i] == '\n')
            (void)fputs("# ", stdout);
    }
    (void)putchar('\n');
}

static void end(struct svc *h)
{
    svc_free(h);
    /* killed, not only waited for: a test that failed left its world, and with it its streams, open */
    while (atomic_load(&n_wardens) > 0) {
        pid_t pid = warden[atomic_fetch_sub(&n_wardens, 1) - 1];
        (void)kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
    }
}

static void quoted(struct assay_buf *b, const char *text)
{
    assay_buf_putc(b, '"');
    for (const char *c = text; *c != '\0'; c++) {
        if (*c == '\n')
            assay_buf_puts(b, "\\n");
        else if (*c == '"' || *c == '\\')
            assay_buf_fmt(b, "\\%c", *c);
        else
            assay_buf_putc(b, *c);
    }
    assay_buf_putc(b, '"');
}

static const char *submit(struct svc *h, const char *benchmark, const char *language, const char *source)
{
    struct assay_buf b = ASSAY_BUF_INIT;
    assay_buf_fmt(&b, "{\"benchmark_id\":\"%s\",\"agent_id\":\"a1\",", benchmark);
    if (language != NULL)
        assay_buf_fmt(&b, "\"language\":\"%s\",\"source\":", language);
    else
        assay_buf_puts(&b, "\"payload\":");
    quoted(&b, source);
    assay_buf_putc(&b, '}');
    struct svc_reply r = svc_call(h, SVC_USER, "POST", "/submissions", b.p);
    if (r.status != 202)
        tell("", r.body);
    assert_int_equal(r.status, 202);
    assay_buf_free(&b);
    return svc_str(&r, "/id");
}

static struct svc_reply see(struct svc *h, const struct assay_principal *who, const char *path, const char *id)
{
    char target[128];
    snprintf(target, sizeof target, "%s%s", path, id);
    return svc_call(h, who, "GET", target, NULL);
}

/* Delivers events, and so rings the runner, until the submission has ended. */
static const char *ended(struct svc *h, const char *id)
{
    for (int i = 0; i < 3000; i++) {
        svc_pump(h);
        struct svc_reply r = see(h, SVC_ADMIN, "/submissions/", id);
        const char *status = svc_str(&r, "/status");
        if (strcmp(status, "queued") != 0 && strcmp(status, "running") != 0)
            return status;
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
    tell("", assay_str(svc_log_text(h)));
    fail_msg("%s never ended", id);
    return "";
}

static void expect_verdict(struct svc *h, const char *id, const char *verdict)
{
    (void)ended(h, id);
    struct svc_reply r = see(h, SVC_ADMIN, "/results/", id);
    if (r.status != 200 || strcmp(svc_str(&r, "/verdict"), verdict) != 0) {
        tell(verdict, r.body);
        tell("", assay_str(svc_log_text(h)));
    }
    assert_int_equal(r.status, 200);
    assert_string_equal(svc_str(&r, "/verdict"), verdict);
}

#define C_SUM                                                                                                          \
    "#include <stdio.h>\nint main(void){long long s=0,v;while(scanf(\"%lld\",&v)==1)s+=v;printf(\"%lld\\n\",s);return 0;}"
#define PY_SUM "import sys\nprint(sum(map(int, sys.stdin.read().split())))\n"

static void test_programs_get_their_verdicts(void **state)
{
    (void)state;
    static const struct {
        const char *language, *source, *verdict;
    } program[] = {
        {"c", C_SUM, "OK"},
        {"gcc", "#include <stdio.h>\nint main(void){puts(\"5\");return 0;}", "WA"},
        {"c", "int main(void){for(;;);}", "TL"},
        {"c", "#include <unistd.h>\nint main(void){sleep(100);return 0;}", "TL"},
        {"c", "int main(void){return *(volatile int *)0;}", "RE"},
        {"c", "int main(void){return 3;}", "RE"},
        {"c", "#include <stdio.h>\nint main(void){for(;;)puts(\"flood\");}", "OL"},
        {"c", "int main(void){", "BF"},
        {"C", "#include \"/etc/shadow\"\nint main(void){return 0;}", "BF"},
        {"python", PY_SUM, "OK"},
        {"python3", "print(5)", "WA"},
        {"py", "while True: pass", "TL"},
        {"python", "import time\ntime.sleep(100)", "TL"},
        {"python", "raise SystemExit(3)", "RE"},
        {"python", "while True: print('flood')", "OL"},
        {"python", "def half(:\n    pass", "BF"},
        {"python", "eval('1 +')", "RE"},
        /* it says what python says when it cannot load a program, to smuggle its input out as the build's output */
        {"python",
         "import sys\nsys.stderr.write('  File \"/box/main.py\", line 1\\n' + input() + '\\nSyntaxError: x\\n')\nsys.exit(1)",
         "RE"},
        {"python", "x = []\nwhile True: x.append(bytearray(1 << 20))", "ML"},
    };
    enum { N = sizeof program / sizeof program[0] };
    struct svc *h = world();
    const char *id[N];
    for (size_t i = 0; i < N; i++)
        id[i] = submit(h, "sum", program[i].language, program[i].source);
    for (size_t i = 0; i < N; i++) {
        if (strcmp(program[i].source, PY_SUM) == 0)
            (void)ended(h, id[i]);
        expect_verdict(h, id[i], program[i].verdict);
    }
    struct svc_reply r = see(h, SVC_USER, "/results/", id[0]);
    assert_int_equal(svc_len(&r, "/tests"), 3);
    assert_string_equal(svc_str(&r, "/tests/1/verdict"), "OK");
    assert_string_equal(svc_str(&r, "/tests/1/stdout"), "12\n");
    assert_true(svc_real(&r, "/score") == 100);
    r = see(h, SVC_USER, "/results/", id[7]);
    assert_non_null(strstr(svc_str(&r, "/build_output"), "error"));
    assert_int_equal(see(h, SVC_USER2, "/results/", id[0]).status, 404);
    assert_int_equal(svc_count_events(h, "submission.done"), N);
    end(h);
}

static void test_other_ways_to_judge(void **state)
{
    (void)state;
    static const struct given answers = {
        "answers", ASSAY_JUDGE_ANSWER, ASSAY_COMPARE_TOKENS, ASSAY_FEEDBACK_FULL, false, {{"", "42\n"}}};
    static const struct given stops = {"stops",
                                       ASSAY_JUDGE_PROGRAM,
                                       ASSAY_COMPARE_EXACT,
                                       ASSAY_FEEDBACK_FULL,
                                       true,
                                       {{"1\n", "1\n"}, {"2\n", "x\n"}, {"3\n", "3\n"}}};
    static const struct given hidden = {"hidden",
                                        ASSAY_JUDGE_PROGRAM,
                                        ASSAY_COMPARE_EXACT,
                                        ASSAY_FEEDBACK_SAMPLES,
                                        false,
                                        {{"1\n", "1\n"}, {"secret\n", "secret\n"}}};
    static const struct given silent = {"silent",
                                        ASSAY_JUDGE_PROGRAM,
                                        ASSAY_COMPARE_EXACT,
                                        ASSAY_FEEDBACK_NONE,
                                        false,
                                        {{"1\n", "1\n"}}};
    struct svc *h = world();
    publish(h, &answers);
    publish(h, &stops);
    publish(h, &hidden);
    publish(h, &silent);
    svc_pump(h);
    expect_verdict(h, submit(h, "answers", NULL, " 42 "), "OK");
    expect_verdict(h, submit(h, "answers", NULL, "41"), "WA");

    const char *echo = "import sys\nsys.stdout.write(sys.stdin.read())\n";
    const char *id = submit(h, "stops", "python", echo);
    expect_verdict(h, id, "WA");
    struct svc_reply r = see(h, SVC_USER, "/results/", id);
    assert_string_equal(svc_str(&r, "/tests/0/verdict"), "OK");
    assert_string_equal(svc_str(&r, "/tests/1/verdict"), "WA");
    assert_string_equal(svc_str(&r, "/tests/2/verdict"), "-");
    assert_int_equal(svc_int(&r, "/first_failure/number"), 2);

    id = submit(h, "hidden", "python", echo);
    expect_verdict(h, id, "OK");
    r = see(h, SVC_USER, "/results/", id);
    assert_string_equal(svc_str(&r, "/tests/0/stdout"), "1\n");
    assert_string_equal(svc_str(&r, "/tests/1/verdict"), "OK");
    assert_false(svc_has(&r, "/tests/1/stdout"));
    assert_false(svc_has(&r, "/tests/1/exit_code"));
    assert_null(memmem(r.body.p, r.body.n, "secret", 6));
    r = see(h, SVC_ADMIN, "/results/", id);
    assert_string_equal(svc_str(&r, "/tests/1/stdout"), "secret\n");

    id = submit(h, "silent", "python", echo);
    expect_verdict(h, id, "OK");
    r = see(h, SVC_USER, "/results/", id);
    assert_int_equal(r.status, 200);
    assert_null(svc_str(&r, "/verdict"));
    assert_false(svc_has(&r, "/tests"));
    /* two answers, two of "stops" ("-" is no news), two of "hidden"; silence is kept */
    assert_int_equal(svc_count_events(h, "submission.test"), 2 + 2 + 2);

    /* bytes that are not text come back whole */
    id = submit(h, "sum", "python", "import sys\nsys.stdout.buffer.write(b'\\xff\\x00ok')\n");
    expect_verdict(h, id, "WA");
    r = see(h, SVC_USER, "/results/", id);
    assert_string_equal(svc_str(&r, "/tests/0/stdout_base64"), "/wBvaw==");

    struct svc_reply task = svc_call(h, SVC_USER, "POST", "/task",
                                     "{\"translator\":\"Python3\",\"code\":\"print(input()[::-1])\",\"input\":\"abc\\n\"}");
    assert_int_equal(task.status, 201);
    char path[64];
    assert_string_equal(ended(h, svc_str(&task, "/task_id")), "done");
    snprintf(path, sizeof path, "/result/%s", svc_str(&task, "/task_id"));
    r = svc_call(h, SVC_USER, "GET", path, NULL);
    assert_string_equal(svc_str(&r, "/result"), "cba\n");
    r = svc_call(h, SVC_USER, "POST", "/task", "{\"translator\":\"cobol\",\"code\":\"x\"}");
    assert_int_equal(r.status, 400);
    assert_true(svc_faulted(&r, "/translator"));
    end(h);
}

static void test_a_program_of_several_files(void **state)
{
    (void)state;
    struct svc *h = world();
    struct svc_reply r = svc_call(
        h, SVC_USER, "POST", "/submissions",
        "{\"benchmark_id\":\"sum\",\"agent_id\":\"a1\",\"language\":\"c\",\"files\":{"
        "\"add.h\":\"long long add(long long, long long);\","
        "\"add.c\":\"#include \\\"add.h\\\"\\nlong long add(long long a, long long b){return a+b;}\","
        "\"main.c\":\"#include <stdio.h>\\n#include \\\"add.h\\\"\\nint main(void){long long s=0,v;"
        "while(scanf(\\\"%lld\\\",&v)==1)s=add(s,v);printf(\\\"%lld\\\\n\\\",s);return 0;}\"}}");
    assert_int_equal(r.status, 202);
    expect_verdict(h, svc_str(&r, "/id"), "OK");
    r = svc_call(h, SVC_USER, "POST", "/submissions",
                 "{\"benchmark_id\":\"sum\",\"agent_id\":\"a1\",\"language\":\"python\",\"files\":{\"x.py\":\"print(1)\"}}");
    assert_int_equal(r.status, 202);
    expect_verdict(h, svc_str(&r, "/id"), "BF");
    end(h);
}

static void expect_build(struct svc *h, const char *source, const char *verdict, int cached)
{
    const char *id = submit(h, "sum", "c", source);
    expect_verdict(h, id, verdict);
    struct svc_reply r = see(h, SVC_ADMIN, "/results/", id);
    if (svc_bool(&r, "/build_cached") != cached)
        tell(source, assay_str(svc_log_text(h)));
    assert_int_equal(svc_bool(&r, "/build_cached"), cached);
    r = see(h, SVC_USER, "/results/", id);
    assert_false(svc_has(&r, "/build_cached")); /* it would tell that somebody had submitted the same */
}

/* The files of the build cache; when they are to be spoilt a byte near the end of each, which is the artefact's. */
static int cached_files(struct svc *h, bool spoil)
{
    char path[4200], folder[4096];
    int n = 0;
    snprintf(folder, sizeof folder, "%s/builds", svc_host(h)->option_str(svc_host(h)->ctx, "data_dir"));
    DIR *d = opendir(folder);
    assert_non_null(d);
    for (const struct dirent *e; (e = readdir(d)) != NULL;) {
        struct stat st;
        snprintf(path, sizeof path, "%s/%.64s", folder, e->d_name);
        if (stat(path, &st) != 0 || !S_ISREG(st.st_mode) || strncmp(e->d_name, "tmp.", 4) == 0)
            continue;
        n++;
        if (!spoil)
            continue;
        assert_int_equal(chmod(path, 0600), 0);
        int fd = open(path, O_RDWR);
        char c = 0;
        assert_int_equal(pread(fd, &c, 1, st.st_size - 100), 1);
        c = (char)(c ^ 1);
        assert_int_equal(pwrite(fd, &c, 1, st.st_size - 100), 1);
        close(fd);
    }
    closedir(d);
    return n;
}

/* Keeping comes after the verdict. */
static void wait_for_files(struct svc *h, int n)
{
    for (int i = 0; i < 1000 && cached_files(h, false) < n; i++)
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    assert_int_equal(cached_files(h, false), n);
}

#define SELF_MODIFYING                                                                                                 \
    "#include <stdio.h>\n#include <unistd.h>\n#include <fcntl.h>\nint main(void){int fd=open(\"app/main\",O_WRONLY);"      \
    "if(fd>=0||unlink(\"app/main\")==0||rename(\"app\",\"x\")==0||open(\"app/new\",O_CREAT|O_WRONLY,0600)>=0){" \
    "puts(\"poisoned\");return 0;}long long s=0,v;while(scanf(\"%lld\",&v)==1)s+=v;printf(\"%lld\\n\",s);return 0;}"

static void test_the_same_source_is_built_once(void **state)
{
    (void)state;
    struct svc *h = world();
    expect_build(h, C_SUM, "OK", 0);
    wait_for_files(h, 1);
    expect_build(h, C_SUM, "OK", 1);
    expect_build(h, C_SUM "\n", "OK", 0); /* one byte more is another source */
    wait_for_files(h, 2);
    expect_build(h, "int main(void){", "BF", 0); /* a failure is never kept */
    expect_build(h, "int main(void){", "BF", 0);
    expect_build(h, SELF_MODIFYING, "OK", 0); /* what a program does to its files reaches nobody */
    wait_for_files(h, 3);
    expect_build(h, SELF_MODIFYING, "OK", 1);
    /* a hit and a build are alike also to a program that asks when it was built */
    expect_build(h, "#include <stdio.h>\nint main(void){puts(__DATE__ __TIME__);return 0;}", "WA", 0);
    wait_for_files(h, 4);

    h = svc_restart(h); /* new wardens: the bytes come from the disk */
    expect_build(h, C_SUM, "OK", 1);
    expect_build(h, C_SUM, "OK", 1);

    h = svc_restart(h);
    assert_int_equal(cached_files(h, true), 4);
    expect_build(h, C_SUM, "OK", 0);
    assert_non_null(strstr(svc_log_text(h), "build_cache_damaged"));
    wait_for_files(h, 4);
    expect_build(h, C_SUM, "OK", 1);

    svc_option(h, "build_memory_limit", "1g"); /* another limit, another build */
    h = svc_restart(h);
    expect_build(h, C_SUM, "OK", 0);
    wait_for_files(h, 5);
    svc_option(h, "build_cache", "0");
    h = svc_restart(h);
    expect_build(h, C_SUM, "OK", 0);
    expect_build(h, C_SUM, "OK", 0);
    assert_int_equal(cached_files(h, false), 5);
    end(h);
}

static void write_text(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static void wait_for_log(struct svc *h, const char *text)
{
    for (int i = 0; i < 3000 && strstr(svc_log_text(h), text) == NULL; i++)
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    if (strstr(svc_log_text(h), text) == NULL)
        tell(text, assay_str(svc_log_text(h)));
    assert_non_null(strstr(svc_log_text(h), text));
}

/* What a language's file says is made once is seen by its programs and changed by none; what is damaged is made again. */
static void test_warm_material_is_made_kept_and_checked(void **state)
{
    (void)state;
    static const char *const language =
        "{\"name\":\"c\",\"title\":\"C\",\"source\":\"main.c\",\"extensions\":[\".c\"],\"tools\":{\"cc\":\"gcc\"},"
        "\"version\":[\"{cc}\",\"--version\"],\"build\":{\"argv\":[\"{cc}\",\"-o\",\"main\",\"{sources}\"],\"artefacts\":[\"main\"]},"
        "\"warm\":{\"argv\":[\"{cc}\",\"-c\",\"-o\",\"d/stamp\",\"d/x.c\"],\"files\":{\"d/x.c\":\"int x;\\n\"},\"artefacts\":[\"d\"]},"
        "\"run\":{\"argv\":[\"{artefact}/main\",\"{warm}/d/stamp\"]},"
        "\"sample\":{\"source\":\"int main(void){return 0;}\",\"output\":\"\"}}";
    static const char *const source =
        "#include <stdio.h>\n#include <unistd.h>\n#include <fcntl.h>\nint main(int n, char **a) { (void)n; long long s = 0, v;"
        "if (access(a[1], R_OK) != 0 || open(a[1], O_WRONLY) >= 0 || unlink(a[1]) == 0) { puts(\"cold\"); return 0; }"
        "while (scanf(\"%lld\", &v) == 1) s += v; printf(\"%lld\\n\", s); return 0; }";
    char path[4400], share[4200];
    signal(SIGPIPE, SIG_IGN);
    struct svc *h = svc_new();
    const char *dir = svc_host(h)->option_str(svc_host(h)->ctx, "data_dir");
    snprintf(share, sizeof share, "%.200s/share", dir);
    snprintf(shared_option, sizeof shared_option, "--shared=%.200s/warm", dir);
    assert_int_equal(mkdir(share, 0755), 0);
    snprintf(path, sizeof path, "%s/processors", share);
    assert_int_equal(mkdir(path, 0755), 0);
    snprintf(path, sizeof path, "%s/languages", share);
    assert_int_equal(mkdir(path, 0755), 0);
    snprintf(path, sizeof path, "%s/languages/c.json", share);
    write_text(path, language);
    svc_option(h, "share_dir", share);
    svc_plugin(h, "submissions");
    svc_plugin(h, "runner");
    ((struct assay_host *)(uintptr_t)svc_host(h))->warden_open = open_warden;
    svc_start(h);
    publish(h, &sum);
    svc_publish(h, "agent.changed", "a1", USER, "{\"owner_id\":\"" USER "\",\"name\":\"a\"}");
    svc_pump(h);
    expect_build(h, source, "WA", 0); /* it is offered before */
    wait_for_log(h, "language_warm");
    expect_build(h, source, "OK", 1); /* the build does not ask for it, so that it is the same build */

    h = svc_restart(h);
    expect_build(h, source, "OK", 1); /* the self-test has found it */
    wait_for_log(h, "language_warm");

    snprintf(path, sizeof path, "%.200s/warm", svc_host(h)->option_str(svc_host(h)->ctx, "data_dir"));
    DIR *d = opendir(path);
    char stamp[4400] = "";
    int trees = 0;
    assert_non_null(d);
    for (const struct dirent *e; (e = readdir(d)) != NULL;) {
        if (strlen(e->d_name) == 64) {
            trees++;
            snprintf(stamp, sizeof stamp, "%.300s/%.64s/d/stamp", path, e->d_name);
        }
    }
    closedir(d);
    assert_int_equal(trees, 1);
    assert_int_equal(chmod(stamp, 0644), 0);
    write_text(stamp, "damaged");
    h = svc_restart(h);
    expect_build(h, source, "WA", 1); /* rather without than with that */
    wait_for_log(h, "warm_damaged");
    wait_for_log(h, "language_warm");
    expect_build(h, source, "OK", 1);
    snprintf(shared_option, sizeof shared_option, "--shared=/nowhere");
    h = svc_restart(h);
    expect_build(h, source, "WA", 0); /* wardens that share nothing: another place, and no warm material */
    end(h);
}

static void test_a_cancel_ends_a_running_program(void **state)
{
    (void)state;
    struct svc *h = world();
    const char *id = submit(h, "sum", "python", "import time\ntime.sleep(2)");
    for (int i = 0; i < 1000 && svc_count_events(h, "submission.running") == 0; i++) {
        svc_pump(h);
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    }
    char path[128];
    snprintf(path, sizeof path, "/submissions/%s/cancel", id);
    assert_int_equal(svc_call(h, SVC_USER, "POST", path, NULL).status, 202);
    assert_string_equal(ended(h, id), "cancelled");
    assert_int_equal(svc_count_events(h, "submission.done"), 0);
    expect_verdict(h, submit(h, "sum", "python", PY_SUM), "OK");
    end(h);
}

static void test_killed_wardens_cost_no_submission(void **state)
{
    (void)state;
    enum { N = 12 };
    struct svc *h = world();
    const char *id[N];
    for (int i = 0; i < N; i++)
        id[i] = submit(h, "sum", i % 2 == 0 ? "python" : "c", i % 2 == 0 ? "import time\ntime.sleep(0.1)\n" PY_SUM : C_SUM);
    for (int k = 0; k < 2; k++) {
        for (int i = 0; i < 30; i++) {
            svc_pump(h);
            nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
        }
        pthread_mutex_lock(&keeper_lock); /* more may come at any time */
        size_t last = atomic_load(&n_wardens);
        for (size_t i = last > 2 ? last - 2 : 0; i < last; i++)
            kill(warden[i], SIGKILL);
        pthread_mutex_unlock(&keeper_lock);
    }
    for (int i = 0; i < N; i++)
        expect_verdict(h, id[i], "OK");
    assert_int_equal(svc_count_events(h, "submission.done"), N);
    end(h);
}

/* A fault of ours is retried, ends as IE, and says why to staff only. */
static void test_what_cannot_be_judged_ends_as_IE(void **state)
{
    (void)state;
    struct svc *h = world();
    struct assay_ev_problem p = {.benchmark_id = ASSAY_STR("sum"),
                                 .name = ASSAY_STR("p"),
                                 .manifest_ref = ASSAY_STR("00000000000000000000000000000000000000000000000000000000deadbeef"),
                                 .position = 1,
                                 .mode = ASSAY_JUDGE_PROGRAM,
                                 .version = 2};
    struct assay_buf buf = ASSAY_BUF_INIT;
    struct assay_err err;
    assert_int_equal(assay_ev_problem_encode(&p, &buf, &err), 0);
    svc_publish(h, "problem.changed", "sum-1", OWNER, buf.p);
    assay_buf_free(&buf);
    svc_pump(h);
    const char *id = submit(h, "sum", "python", PY_SUM);
    assert_string_equal(ended(h, id), "error");
    struct svc_reply r = see(h, SVC_ADMIN, "/results/", id);
    assert_int_equal(r.status, 200);
    assert_string_equal(svc_str(&r, "/verdict"), "IE");
    assert_non_null(strstr(svc_str(&r, "/fault"), "manifest"));
    r = see(h, SVC_USER, "/results/", id);
    assert_string_equal(svc_str(&r, "/verdict"), "IE");
    assert_false(svc_has(&r, "/fault"));
    r = see(h, SVC_USER, "/submissions/", id);
    assert_int_equal(svc_int(&r, "/attempts"), 3);
    assert_int_equal(svc_count_events(h, "submission.done"), 1);
    end(h);
}

static void test_a_stop_hands_work_back(void **state)
{
    (void)state;
    struct svc *h = world();
    char id[6][ASSAY_ID_SIZE];
    for (int i = 0; i < 6; i++)
        snprintf(id[i], sizeof id[i], "%s", submit(h, "sum", "python", "import time\ntime.sleep(0.8)\n" PY_SUM));
    for (int i = 0; i < 30; i++) {
        svc_pump(h);
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
    h = svc_restart(h);
    for (int i = 0; i < 6; i++)
        expect_verdict(h, id[i], "OK");
    assert_int_equal(svc_count_events(h, "submission.done"), 6);
    end(h);
}

static void test_languages_are_tried_before_they_are_offered(void **state)
{
    (void)state;
    struct svc *h = world();
    struct svc_reply r;
    bool testing = true;
    for (int i = 0; i < 600 && testing; i++) {
        nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
        r = svc_call(h, SVC_ADMIN, "GET", "/languages", NULL);
        testing = memmem(r.body.p, r.body.n, "\"testing\"", 9) != NULL;
    }
    assert_false(testing);
    for (int i = 0; i < svc_len(&r, "/items"); i++) {
        char at[48], version[48], reason[48];
        snprintf(version, sizeof version, "/items/%d/version", i);
        snprintf(reason, sizeof reason, "/items/%d/reason", i);
        snprintf(at, sizeof at, "/items/%d/name", i);
        print_message("# %s: %s %s\n", svc_str(&r, at), svc_str(&r, version), svc_str(&r, reason));
        snprintf(at, sizeof at, "/items/%d/name", i);
        const char *name = svc_str(&r, at);
        snprintf(at, sizeof at, "/items/%d/offered", i);
        if (strcmp(name, "python") == 0 || strcmp(name, "c") == 0)
            assert_int_equal(svc_bool(&r, at), 1);
    }
    bool ready = false; /* a warden that has asked for it is being replaced */
    for (int i = 0; i < 400 && !ready; i++) {
        nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
        r = svc_call(h, SVC_ADMIN, "GET", "/runners", NULL);
        ready = svc_int(&r, "/items/0/slots") == svc_int(&r, "/items/0/slots_ready");
    }
    assert_true(ready);
    end(h);
}

/* A root without any program in it: a static program needs no more. */
static void empty_root(char dir[static 40])
{
    char usr[64];
    (void)snprintf(dir, 40, "/tmp/assay-root-XXXXXX");
    assert_non_null(mkdtemp(dir));
    assert_int_equal(chmod(dir, 0755), 0);
    (void)snprintf(usr, sizeof usr, "%s/usr", dir);
    assert_int_equal(mkdir(usr, 0755), 0);
}

static void remove_root(const char *dir)
{
    char usr[64];
    (void)snprintf(usr, sizeof usr, "%s/usr", dir);
    (void)rmdir(usr);
    (void)rmdir(dir);
}

/* The value of a member of the item of that name. */
static const char *language_says(struct svc *h, const char *name, const char *member)
{
    struct svc_reply r = svc_call(h, SVC_ADMIN, "GET", "/languages", NULL);
    for (int i = 0; i < svc_len(&r, "/items"); i++) {
        char at[64];
        (void)snprintf(at, sizeof at, "/items/%d/name", i);
        if (strcmp(svc_str(&r, at), name) != 0)
            continue;
        (void)snprintf(at, sizeof at, "/items/%d/%s", i, member);
        const char *text = svc_str(&r, at);
        return text != NULL ? text : "";
    }
    return "";
}

static void wait_for_language(struct svc *h, const char *name, const char *state)
{
    for (int i = 0; i < 1500 && strcmp(language_says(h, name, "state"), state) != 0; i++)
        nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    assert_string_equal(language_says(h, name, "state"), state);
}

/* It builds where the compiler is and runs where there is none; the result says both. */
static void test_a_program_runs_in_another_image_than_its_build(void **state)
{
    (void)state;
    char root[40];
    empty_root(root);
    const char *const options[] = {"c_run_image", root, "python_image", root, "runner_wardens", "1", NULL};
    struct svc *h = world_with(options);
    static const char source[] = "#include <stdio.h>\n#include <unistd.h>\nint main(void){long long s=0,v;"
                                 "while(scanf(\"%lld\",&v)==1)s+=v;"
                                 "if(access(\"/usr/bin\",F_OK)==0)puts(\"a compiler may be here\");"
                                 "printf(\"%lld\\n\",s);return 0;}";
    for (int i = 0; i < 3; i++) { /* the second and third are from the build cache */
        const char *id = submit(h, "sum", "c", source);
        expect_verdict(h, id, "OK");
        struct svc_reply r = see(h, SVC_USER, "/results/", id);
        assert_string_equal(svc_str(&r, "/environment/language"), "c");
        assert_string_equal(svc_str(&r, "/environment/run/place/image"), root);
        assert_null(svc_str(&r, "/environment/build/place/image"));
        assert_string_equal(svc_str(&r, "/environment/build/place/notes/0"), "a test");
        assert_string_equal(svc_str(&r, "/environment/run/argv/0"), "app/main");
        assert_int_equal(svc_str(&r, "/environment/build/argv/0")[0], '/');
        assert_non_null(strstr(svc_str(&r, "/environment/toolchain"), "gcc"));
        assert_non_null(strstr(svc_str(&r, "/environment/kernel"), "Linux "));
        assert_true(svc_str(&r, "/environment/cpu_model")[0] != '\0');
    }
    expect_verdict(h, submit(h, "sum", "c", "int main(void){"), "BF");
    wait_for_language(h, "python", "unavailable");
    assert_non_null(strstr(language_says(h, "python", "reason"), "none of these is installed where a box can run it: python3"));
    assert_string_equal(language_says(h, "c", "run_place/image"), root);
    end(h);
    remove_root(root);
}

/* An image that points to other contents is looked at again. */
static void test_an_image_that_changed_is_looked_at_again(void **state)
{
    (void)state;
    char root[40];
    empty_root(root);
    const char *const options[] = {"c_run_image", root, NULL};
    struct svc *h = world_with(options);
    atomic_store(&image_digest, 0);
    expect_verdict(h, submit(h, "sum", "c", C_SUM), "OK");
    assert_null(strstr(svc_log_text(h), "environment_changed"));
    atomic_store(&image_digest, 7);
    pthread_mutex_lock(&keeper_lock);
    for (size_t i = atomic_load(&n_wardens); i > 0; i--)
        kill(warden[i - 1], SIGKILL);
    pthread_mutex_unlock(&keeper_lock);
    struct svc_reply r = {.status = 0};
    for (int i = 0; i < 20 && strstr(svc_log_text(h), "environment_changed") == NULL; i++) {
        const char *id = submit(h, "sum", "c", C_SUM);
        expect_verdict(h, id, "OK");
        r = see(h, SVC_USER, "/results/", id);
    }
    assert_non_null(strstr(svc_log_text(h), "environment_changed"));
    expect_verdict(h, submit(h, "sum", "c", C_SUM), "OK");
    assert_non_null(strstr(svc_str(&r, "/environment/run/place/digest"), "sha256:"));
    end(h);
    remove_root(root);
}

static void test_a_missing_image_is_our_fault_and_says_why(void **state)
{
    (void)state;
    const char *const options[] = {"c_image", "no-such-image:1", NULL};
    struct svc *h = world_with(options);
    const char *id = submit(h, "sum", "c", C_SUM);
    assert_string_equal(ended(h, id), "error");
    struct svc_reply r = see(h, SVC_ADMIN, "/results/", id);
    assert_string_equal(svc_str(&r, "/verdict"), "IE");
    assert_non_null(strstr(svc_str(&r, "/fault"), "no-such-image:1: there is no image no-such-image:1 here"));
    r = see(h, SVC_USER, "/submissions/", id);
    assert_int_equal(svc_int(&r, "/attempts"), 3);
    assert_non_null(strstr(language_says(h, "c", "reason"), "no image"));
    expect_verdict(h, submit(h, "sum", "python", PY_SUM), "OK"); /* the others are not held up */
    end(h);
}

static void test_a_pinned_toolchain_is_used_or_the_job_refused(void **state)
{
    (void)state;
    static const struct given here = {
        "here", ASSAY_JUDGE_PROGRAM, ASSAY_COMPARE_TOKENS, ASSAY_FEEDBACK_FULL, true, {{"1 2 3\n", "6\n"}}};
    struct given other = here, image = here;
    other.id = "other";
    image.id = "image";
    const char *const options[] = {"pin_refusals", "3", NULL};
    struct svc *h = world_with(options);
    publish_pinned(h, &here, "{\"py\":\"3\",\"c\":\"99\"}", ASSAY_WARM_AUTO);
    publish_pinned(h, &other, "{\"python\":\"3.999\"}", ASSAY_WARM_AUTO);
    publish_pinned(h, &image, "{\"python\":\"sha256:0000000000000000000000000000000000000000000000000000000000000001\"}", ASSAY_WARM_AUTO);
    svc_pump(h);
    expect_verdict(h, submit(h, "here", "python", PY_SUM), "OK");
    const char *id = submit(h, "other", "python", PY_SUM);
    expect_verdict(h, submit(h, "sum", "python", PY_SUM), "OK"); /* who is refused is in nobody's way */
    assert_string_equal(ended(h, id), "error");
    struct svc_reply r = see(h, SVC_ADMIN, "/results/", id);
    assert_string_equal(svc_str(&r, "/verdict"), "IE");
    assert_non_null(strstr(svc_str(&r, "/fault"), "the benchmark pins python to 3.999, here is Python 3."));
    r = see(h, SVC_USER, "/submissions/", id);
    assert_int_equal(svc_int(&r, "/attempts"), 1); /* the end itself; to be handed back costs none */
    id = submit(h, "image", "python", PY_SUM);
    assert_string_equal(ended(h, id), "error");
    r = see(h, SVC_ADMIN, "/results/", id);
    assert_non_null(strstr(svc_str(&r, "/fault"), "here are no image and no image"));
    /* a cancel ends the wait */
    id = submit(h, "other", "python", PY_SUM);
    char path[128];
    snprintf(path, sizeof path, "/submissions/%s/cancel", id);
    (void)svc_call(h, SVC_USER, "POST", path, NULL);
    assert_string_equal(ended(h, id), "cancelled");
    end(h);
}

static bool forked(struct svc *h, const char *benchmark)
{
    const char *id = submit(h, benchmark, "python", PY_SUM);
    expect_verdict(h, id, "OK");
    struct svc_reply r = see(h, SVC_ADMIN, "/results/", id);
    return svc_bool(&r, "/sandbox/warm");
}

static void test_a_benchmark_pins_how_interpreters_begin(void **state)
{
    (void)state;
    static const struct given off = {
        "off", ASSAY_JUDGE_PROGRAM, ASSAY_COMPARE_TOKENS, ASSAY_FEEDBACK_FULL, true, {{"1 2 3\n", "6\n"}}};
    struct given on = off;
    on.id = "on";
    struct svc *h = world();
    publish_pinned(h, &off, "", ASSAY_WARM_OFF);
    publish_pinned(h, &on, "", ASSAY_WARM_ON);
    svc_pump(h);
    wait_for_log(h, "interpreter_warm");
    assert_true(forked(h, "sum"));
    assert_false(forked(h, "off"));
    assert_true(forked(h, "on"));
    publish_pinned(h, &off, "", ASSAY_WARM_ON);
    publish_pinned(h, &on, "", ASSAY_WARM_OFF);
    svc_pump(h);
    assert_true(forked(h, "off"));
    assert_false(forked(h, "on"));
    end(h);
}

static bool warden_works(void)
{
    int fd;
    struct assay_err err;
    if (open_warden(NULL, ASSAY_STR(""), ASSAY_STR(""), 1000, &fd, NULL, &err) < 0)
        return false;
    char hello[8];
    ssize_t n = read(fd, hello, sizeof hello);
    close(fd);
    waitpid(warden[atomic_fetch_sub(&n_wardens, 1) - 1], NULL, 0);
    return n == (ssize_t)sizeof hello;
}

int main(void)
{
    const struct CMUnitTest pure[] = {
        cmocka_unit_test(test_a_run_becomes_a_verdict),
        cmocka_unit_test(test_a_run_is_tried_again_only_when_it_was_near_and_disturbed),
        cmocka_unit_test(test_lanes_have_processors_of_their_own),
        cmocka_unit_test(test_scores),
        cmocka_unit_test(test_groups_make_points_of_their_tests),
        cmocka_unit_test(test_a_group_ends_and_waits_for_others),
        cmocka_unit_test(test_a_version_is_shown_as_a_whole_number_of_parts),
        cmocka_unit_test(test_hidden_tests_stay_hidden),
    };
    const struct CMUnitTest whole[] = {
        cmocka_unit_test(test_a_run_becomes_a_verdict),
        cmocka_unit_test(test_a_run_is_tried_again_only_when_it_was_near_and_disturbed),
        cmocka_unit_test(test_lanes_have_processors_of_their_own),
        cmocka_unit_test(test_scores),
        cmocka_unit_test(test_a_version_is_shown_as_a_whole_number_of_parts),
        cmocka_unit_test(test_hidden_tests_stay_hidden),
        cmocka_unit_test(test_programs_get_their_verdicts),
        cmocka_unit_test(test_other_ways_to_judge),
        cmocka_unit_test(test_a_program_of_several_files),
        cmocka_unit_test(test_the_same_source_is_built_once),
        cmocka_unit_test(test_warm_material_is_made_kept_and_checked),
        cmocka_unit_test(test_a_cancel_ends_a_running_program),
        cmocka_unit_test(test_killed_wardens_cost_no_submission),
        cmocka_unit_test(test_what_cannot_be_judged_ends_as_IE),
        cmocka_unit_test(test_a_stop_hands_work_back),
        cmocka_unit_test(test_languages_are_tried_before_they_are_offered),
        cmocka_unit_test(test_a_program_runs_in_another_image_than_its_build),
        cmocka_unit_test(test_an_image_that_changed_is_looked_at_again),
        cmocka_unit_test(test_a_missing_image_is_our_fault_and_says_why),
        cmocka_unit_test(test_a_pinned_toolchain_is_used_or_the_job_refused),
        cmocka_unit_test(test_a_benchmark_pins_how_interpreters_begin),
    };
    if (warden_works())
        return cmocka_run_group_tests_name("runner", whole, NULL, NULL);
    print_message("# no warden can be started here: whole submissions are not run\n");
    return cmocka_run_group_tests_name("runner, pure parts", pure, NULL, NULL);
}
