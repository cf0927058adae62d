/* See runner_world.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "runner_world.h"

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

void publish_pinned(struct svc *h, const struct given *g, const char *toolchains, int warm_interpreters)
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

void publish(struct svc *h, const struct given *g)
{
    publish_pinned(h, g, "", ASSAY_WARM_AUTO);
}

static const struct given sum = {"sum",
                                 ASSAY_JUDGE_PROGRAM,
                                 ASSAY_COMPARE_TOKENS,
                                 ASSAY_FEEDBACK_FULL,
                                 true,
                                 {{"1 2 3\n", "6\n"}, {"10 -5 7\n", "12\n"}, {"\n", "0\n"}}};

void world_begin(struct svc *h)
{
    svc_plugin(h, "submissions");
    svc_plugin(h, "runner");
    ((struct assay_host *)(uintptr_t)svc_host(h))->warden_open = open_warden;
    svc_start(h);
    publish(h, &sum);
    svc_publish(h, "agent.changed", "a1", USER, "{\"owner_id\":\"" USER "\",\"name\":\"a\"}");
    svc_pump(h);
}

struct svc *world_with(const char *const *options)
{
    signal(SIGPIPE, SIG_IGN);
    struct svc *h = svc_new();
    const char *root = getenv("top_srcdir");
    svc_option(h, "share_dir", root != NULL ? root : ".");
    svc_option(h, "runner_drain", "1s");
    svc_option(h, "warm", "false");
    for (; options != NULL && options[0] != NULL; options += 2)
        svc_option(h, options[0], options[1]);
    world_begin(h);
    return h;
}

struct svc *world(void)
{
    return world_with(NULL);
}

/* A diagnostic. cmocka cuts a message at 1,024 bytes, newline and all, and the next line of TAP would stick to it. */
void tell(const char *what, struct assay_str text)
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

void end(struct svc *h)
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

const char *submit(struct svc *h, const char *benchmark, const char *language, const char *source)
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

struct svc_reply see(struct svc *h, const struct assay_principal *who, const char *path, const char *id)
{
    char target[128];
    snprintf(target, sizeof target, "%s%s", path, id);
    return svc_call(h, who, "GET", target, NULL);
}

const char *ended(struct svc *h, const char *id)
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

void expect_verdict(struct svc *h, const char *id, const char *verdict)
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

void wait_for_log(struct svc *h, const char *text)
{
    for (int i = 0; i < 3000 && strstr(svc_log_text(h), text) == NULL; i++)
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    if (strstr(svc_log_text(h), text) == NULL)
        tell(text, assay_str(svc_log_text(h)));
    assert_non_null(strstr(svc_log_text(h), text));
}

void world_kill_wardens(size_t n)
{
    pthread_mutex_lock(&keeper_lock); /* more may come at any time */
    size_t last = atomic_load(&n_wardens);
    for (size_t i = last > n ? last - n : 0; i < last; i++)
        kill(warden[i], SIGKILL);
    pthread_mutex_unlock(&keeper_lock);
}

void world_shared(const char *dir)
{
    (void)snprintf(shared_option, sizeof shared_option, "--shared=%.380s", dir != NULL ? dir : "/nowhere");
}

void world_image_digest(int digest)
{
    atomic_store(&image_digest, digest);
}

bool warden_works(void)
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

int world_skip(void)
{
    (void)puts("1..0 # SKIP no warden can be started here");
    return 0;
}
