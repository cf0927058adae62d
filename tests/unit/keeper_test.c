/*
 * The boxkeeper, driven as the supervisor and the server drive it: the real program with the real
 * sandbox_native, and a warden that runs nothing (keeper_warden_fake.c); the last tests use
 * the real one.  What needs root or cgroups is skipped without, and says so.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "ordinary.h"

#include <assay/box.h>
#include <assay/boxkeeper_wire.h>
#include <assay/value.h>
#include <assay/warden_wire.h>

#define PROGRAM "./assay-boxkeeper"
#define PLUGINS "./plugins/sandbox_native/.libs"
#define FAKE "./tests/unit/keeper_warden_fake"
#define REAL "./assay-warden"
#define WAIT_MS 10000

struct keeper {
    pid_t pid;
    int control, peer;
    uint64_t request;
};

static pid_t live; /* a test that failed left it running; it must not spoil the next */
static char top[PATH_MAX]; /* of this test: data directory, named wardens */
static unsigned char in[ASSAY_BK_PACKET_MAX];

static void path_of(char out[PATH_MAX], const char *name)
{
    assert_true(snprintf(out, PATH_MAX, "%s/%s", top, name) < PATH_MAX);
}

/* ---- life ---- */

static void peer_new(struct keeper *k)
{
    int pair[2];
    struct assay_bk_packet p = {.type = ASSAY_BK_PEER};

    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(assay_bk_send(k->control, &p, pair[1], NULL), 0);
    close(pair[1]);
    k->peer = pair[0];
}

/* more: lines of options. uid 0: as we are. */
static void spawn(struct keeper *k, const char *warden, const char *more, uid_t uid)
{
    int pair[2], options = memfd_create("options", MFD_CLOEXEC);
    char text[4096 + 2 * PATH_MAX], plugins[PATH_MAX], program[PATH_MAX];
    int n;

    assert_non_null(realpath(PLUGINS, plugins));
    assert_non_null(realpath(PROGRAM, program));
    n = snprintf(text, sizeof(text), "%sdata_dir=%s\nplugin_path=%s\nwarden_path=%s\nlog_level=%s\nlog_format=logfmt\n", more,
                 top, plugins, warden, getenv("KEEPER_LOG") != NULL ? "debug" : "error"); /* the first of a name counts */
    assert_true(options >= 0 && write(options, text, (size_t)n) == n);
    assert_int_equal(lseek(options, 0, SEEK_SET), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    if (live > 0) {
        kill(live, SIGKILL);
        waitpid(live, NULL, 0);
    }
    k->request = 0;
    k->peer = -1;
    k->control = pair[0];
    k->pid = fork();
    assert_true(k->pid >= 0);
    if (k->pid == 0) {
        int a = fcntl(pair[1], F_DUPFD_CLOEXEC, 20), b = fcntl(options, F_DUPFD_CLOEXEC, 20);

        if (uid != 0 && (setgid(uid) != 0 || setuid(uid) != 0))
            _exit(99);
        if (dup2(a, ASSAY_BK_CONTROL_FD) < 0 || dup2(b, ASSAY_BK_OPTIONS_FD) < 0)
            _exit(99);
        if (getenv("KEEPER_LOG") == NULL && freopen("/dev/null", "w", stderr) == NULL)
            _exit(99);
        execl(program, "assay-boxkeeper", (char *)NULL);
        _exit(99);
    }
    live = k->pid;
    close(pair[1]);
    close(options);
}

static void wait_readable(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    assert_int_equal(poll(&p, 1, WAIT_MS), 1);
}

static void start_as(struct keeper *k, const char *warden, const char *more, uid_t uid)
{
    struct assay_bk_packet p;
    int fd = -1;

    spawn(k, warden, more, uid);
    wait_readable(k->control);
    assert_int_equal(assay_bk_recv(k->control, in, sizeof(in), &p, &fd, NULL), 0);
    assert_int_equal(p.type, ASSAY_BK_READY);
    peer_new(k);
}

static void start(struct keeper *k, const char *warden, const char *more)
{
    start_as(k, warden, more, 0);
}

static int wait_exit(struct keeper *k)
{
    int status = 0;

    for (int i = 0; i < WAIT_MS / 10; i++) {
        pid_t p = waitpid(k->pid, &status, WNOHANG);

        if (p == k->pid) {
            k->pid = live = -1;
            return status;
        }
        assert_int_equal(p, 0);
        usleep(10000);
    }
    kill(k->pid, SIGKILL);
    waitpid(k->pid, NULL, 0);
    fail_msg("the boxkeeper did not end");
    return -1;
}

static void stop(struct keeper *k)
{
    int status;

    close(k->control);
    if (k->peer >= 0)
        close(k->peer);
    status = wait_exit(k);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* ---- requests ---- */

static void ask(struct keeper *k, int type, const char *text)
{
    struct assay_bk_packet p = {.type = (uint16_t)type, .request = ++k->request, .text = assay_str(text)};

    assert_int_equal(assay_bk_send(k->peer, &p, -1, NULL), 0);
}

/* The reply's status; its text is in `in`. */
static int answer(struct keeper *k, struct assay_bk_packet *p, int *fd)
{
    int none = -1;
    int *where = fd != NULL ? fd : &none;

    wait_readable(k->peer);
    assert_int_equal(assay_bk_recv(k->peer, in, sizeof(in), p, where, NULL), 0);
    assert_true(p->type & ASSAY_BK_REPLY);
    assert_int_equal(none, -1);
    return p->status;
}

static int open_one(struct keeper *k, int *fd, char *why, size_t room)
{
    struct assay_bk_packet p;
    int rc;

    ask(k, ASSAY_BK_OPEN, "");
    rc = answer(k, &p, fd);
    assert_int_equal(p.request, k->request);
    assert_int_equal(rc == 0, *fd >= 0);
    if (why != NULL)
        snprintf(why, room, "%.*s", ASSAY_FMT(p.text));
    return rc;
}

static void open_ok(struct keeper *k, int *fd)
{
    char why[600];

    if (open_one(k, fd, why, sizeof(why)) != 0)
        fail_msg("open: %s", why);
}

static void text_of(struct keeper *k, int type, char *out, size_t room)
{
    struct assay_bk_packet p;

    ask(k, type, "");
    assert_int_equal(answer(k, &p, NULL), 0);
    snprintf(out, room, "%.*s", ASSAY_FMT(p.text));
}

static void hello_of(int fd)
{
    struct {
        struct assay_warden_frame f;
        struct assay_warden_hello h;
    } h;

    wait_readable(fd);
    assert_int_equal(recv(fd, &h, sizeof(h), MSG_WAITALL), sizeof(h));
    assert_int_equal(h.f.type, ASSAY_WARDEN_HELLO);
    assert_int_equal(h.h.protocol, ASSAY_WARDEN_PROTOCOL);
}

static void tell(int fd, char letter, char *out, size_t room)
{
    ssize_t n;

    assert_int_equal(write(fd, &letter, 1), 1);
    if (out == NULL)
        return;
    wait_readable(fd);
    n = read(fd, out, room - 1);
    assert_true(n > 0);
    out[n] = '\0';
}

static void wait_eof(int fd)
{
    char c;

    do
        wait_readable(fd);
    while (read(fd, &c, 1) > 0);
}

/* ---- what the machine shows ---- */

static void group_name(char out[32])
{
    char hex[ASSAY_SHA256_HEX], real[PATH_MAX];

    assert_non_null(realpath(top, real));
    assay_sha256_hex(assay_str(real), hex);
    snprintf(out, 32, "assay-%.16s", hex);
}

/* The wardens of this data directory. */
static int wardens(void)
{
    DIR *d = opendir("/proc");
    char mark[64], group[32];
    int n = 0;

    group_name(group);
    snprintf(mark, sizeof(mark), "--name=%s-", group);
    assert_non_null(d);
    for (const struct dirent *e; (e = readdir(d)) != NULL;) {
        char path[300], line[2048];
        ssize_t got;
        int fd;

        snprintf(path, sizeof(path), "/proc/%s/cmdline", e->d_name);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            continue;
        got = read(fd, line, sizeof(line));
        close(fd);
        if (got > 0 && memmem(line, (size_t)got, mark, strlen(mark)) != NULL)
            n++;
    }
    closedir(d);
    return n;
}

/* The version of cgroups that root can make leaves in here; 0: none, or not root. */
static int cgroups_here(void)
{
    if (geteuid() != 0)
        return 0;
    if (access("/sys/fs/cgroup/memory/cgroup.procs", W_OK) == 0 && access("/sys/fs/cgroup/pids/cgroup.procs", W_OK) == 0)
        return 1;
    /* only at the real root, which has no cgroup.type: elsewhere it depends on what was delegated */
    return access("/sys/fs/cgroup/cgroup.subtree_control", W_OK) == 0 && access("/sys/fs/cgroup/cgroup.type", F_OK) != 0 &&
                   access("/sys/fs/cgroup/memory.stat", F_OK) == 0
               ? 2
               : 0;
}

/* Leaves of this data directory in one hierarchy; -1 when the group is not there. */
static int leaves_in(const char *hierarchy)
{
    char path[PATH_MAX], group[32];
    DIR *d;
    int n = 0;

    group_name(group);
    if (cgroups_here() == 2)
        snprintf(path, sizeof(path), "/sys/fs/cgroup/%s", group);
    else
        snprintf(path, sizeof(path), "/sys/fs/cgroup/%s/%s", hierarchy, group);
    d = opendir(path);
    if (d == NULL)
        return -1;
    for (const struct dirent *e; (e = readdir(d)) != NULL;)
        if (e->d_type == DT_DIR && e->d_name[0] != '.')
            n++;
    closedir(d);
    return n;
}

static void until(int (*what)(void), int value)
{
    for (int i = 0; i < WAIT_MS / 20; i++) {
        if (what() == value)
            return;
        usleep(20000);
    }
    assert_int_equal(what(), value);
}

/* Without root there is no cgroup to demand here. */
#define RELAXED "require=none\n"

static char fake[PATH_MAX], fake_die[PATH_MAX], fake_alien[PATH_MAX], fake_garbage[PATH_MAX];

static int setup(void **state)
{
    char real[PATH_MAX];
    const char *base = getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/tmp";

    (void)state;
    snprintf(top, sizeof(top), "%s/keeper_test.XXXXXX", base);
    if (mkdtemp(top) == NULL || chmod(top, 0755) != 0 || realpath(FAKE, real) == NULL)
        return -1;
    path_of(fake, "assay-warden");
    path_of(fake_die, "assay-warden-die");
    path_of(fake_alien, "assay-warden-alien");
    path_of(fake_garbage, "assay-warden-garbage");
    return symlink(real, fake) != 0 || symlink(real, fake_die) != 0 || symlink(real, fake_alien) != 0 ||
                   symlink(real, fake_garbage) != 0
               ? -1
               : 0;
}

static int teardown(void **state)
{
    (void)state;
    unlink(fake);
    unlink(fake_die);
    unlink(fake_alien);
    unlink(fake_garbage);
    return rmdir(top);
}

/* ---- the tests ---- */

static void packets_come_back_as_they_went(void **state)
{
    unsigned char buf[256];
    struct assay_bk_packet p = {.type = ASSAY_BK_OPEN, .request = 0x1122334455667788u, .status = -42, .text = ASSAY_STR("native")};
    struct assay_bk_packet q;
    size_t n = assay_bk_encode(&p, buf, sizeof(buf));

    (void)state;
    assert_int_equal(n, ASSAY_BK_HEAD + 6);
    assert_int_equal(assay_bk_decode(buf, n, &q, NULL), 0);
    assert_int_equal(q.type, p.type);
    assert_true(q.request == p.request);
    assert_int_equal(q.status, p.status);
    assert_true(assay_str_is(q.text, "native"));
    assert_int_equal(assay_bk_encode(&p, buf, ASSAY_BK_HEAD + 5), 0);
    for (size_t cut = 0; cut < n; cut++)
        assert_int_equal(assay_bk_decode(buf, cut, &q, NULL), ASSAY_E_CORRUPT);
    for (size_t i = 0; i < 6; i++) { /* magic and version */
        buf[i] ^= 0x40;
        assert_int_equal(assay_bk_decode(buf, n, &q, NULL), ASSAY_E_CORRUPT);
        buf[i] ^= 0x40;
    }
    buf[20]++;
    assert_int_equal(assay_bk_decode(buf, n, &q, NULL), ASSAY_E_CORRUPT);
}

static void a_warden_is_opened_and_its_end_frees_the_slot(void **state)
{
    struct keeper k;
    int fd = -1;

    (void)state;
    start(&k, fake, RELAXED "max_wardens=1\npool_min=0\npool_max=0\n");
    for (int i = 0; i < 5; i++) {
        fd = -1;
        /* the slot is free again when the keeper has reaped the one before */
        for (int turn = 0; turn < 200 && open_one(&k, &fd, NULL, 0) == ASSAY_E_BUSY; turn++)
            usleep(10000);
        assert_true(fd >= 0);
        hello_of(fd);
        close(fd);
    }
    stop(&k);
    assert_int_equal(wardens(), 0);
}

static void no_more_wardens_than_allowed(void **state)
{
    struct keeper k;
    int fd[3] = {-1, -1, -1}, more = -1;
    char why[600];

    (void)state;
    start(&k, fake, RELAXED "max_wardens=3\npool_min=1\npool_max=2\n");
    for (int i = 0; i < 3; i++)
        open_ok(&k, &fd[i]);
    assert_int_equal(open_one(&k, &more, why, sizeof(why)), ASSAY_E_BUSY);
    assert_non_null(strstr(why, "max_wardens"));
    for (int i = 0; i < 3; i++) {
        hello_of(fd[i]);
        close(fd[i]);
    }
    stop(&k);
}

static void the_pool_is_filled_off_the_way_and_follows_demand(void **state)
{
    struct keeper k;
    int fd[4] = {-1, -1, -1, -1};

    (void)state;
    start(&k, fake, RELAXED "max_wardens=16\npool_min=1\npool_max=4\n");
    until(wardens, 1);
    for (int i = 0; i < 4; i++)
        open_ok(&k, &fd[i]);
    until(wardens, 8); /* four in use, four warm */
    for (int i = 0; i < 4; i++)
        close(fd[i]);
    until(wardens, 4);
    stop(&k);
    assert_int_equal(wardens(), 0);
}

static void info_doctor_and_metrics_answer(void **state)
{
    struct keeper k;
    char text[ASSAY_BK_TEXT_MAX];
    int fd = -1;

    (void)state;
    start(&k, fake, RELAXED);
    open_ok(&k, &fd);
    text_of(&k, ASSAY_BK_INFO, text, sizeof(text));
    assert_non_null(strstr(text, "\"driver\":\"native\""));
    assert_non_null(strstr(text, "docker is not installed; native is usable"));
    assert_non_null(strstr(text, "\"usable\":true"));
    text_of(&k, ASSAY_BK_DOCTOR, text, sizeof(text));
    assert_non_null(strstr(text, "\"name\":\"cgroup\""));
    assert_non_null(strstr(text, "\"name\":\"namespaces\""));
    text_of(&k, ASSAY_BK_METRICS, text, sizeof(text));
    assert_non_null(strstr(text, "assay_boxkeeper_opens_total{driver=\"native\",outcome=\"ok\"} 1"));
    assert_non_null(strstr(text, "# TYPE assay_boxkeeper_open_seconds histogram"));
    assert_non_null(strstr(text, "assay_native_wardens{state=\"in_use\"}"));
    close(fd);
    stop(&k);
}

static void what_boxes_see_follows_the_options(void **state)
{
    struct keeper k;
    char text[ASSAY_BK_TEXT_MAX];

    (void)state;
    start(&k, fake, RELAXED "native_binds=/usr/local,/var/tmp:/data\nnative_hide=/usr/local,/usr/src,/usr/none-such\n");
    text_of(&k, ASSAY_BK_DOCTOR, text, sizeof(text));
    assert_non_null(strstr(text, "\"--bind=/usr/local\""));
    assert_non_null(strstr(text, "\"--bind=/var/tmp:/data\""));
    assert_int_equal(strstr(text, "\"--hide=/usr/src\"") != NULL, access("/usr/src", F_OK) == 0);
    assert_null(strstr(text, "--hide=/usr/local")); /* what is asked for is shown */
    assert_null(strstr(text, "none-such"));
    stop(&k);
    start(&k, fake, RELAXED);
    text_of(&k, ASSAY_BK_DOCTOR, text, sizeof(text));
    assert_int_equal(strstr(text, "\"--hide=/usr/local\"") != NULL, access("/usr/local", F_OK) == 0);
    stop(&k);
}

static int descriptors(pid_t pid)
{
    char path[64];
    DIR *d;
    int n = 0;

    snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
    d = opendir(path);
    assert_non_null(d);
    while (readdir(d) != NULL)
        n++;
    closedir(d);
    return n;
}

static void no_descriptor_is_lost_over_many_wardens(void **state)
{
    struct keeper k;
    char text[ASSAY_BK_TEXT_MAX];
    int before;

    (void)state;
    start(&k, fake, RELAXED "max_wardens=8\npool_min=0\npool_max=0\n");
    text_of(&k, ASSAY_BK_INFO, text, sizeof(text)); /* so it has our socket by now */
    before = descriptors(k.pid);
    for (int i = 0; i < 200; i++) {
        int fd = -1;

        for (int turn = 0; turn < 500 && open_one(&k, &fd, NULL, 0) == ASSAY_E_BUSY; turn++)
            usleep(2000);
        assert_true(fd >= 0);
        close(fd);
    }
    until(wardens, 0);
    for (int turn = 0; turn < 200 && descriptors(k.pid) != before; turn++)
        usleep(10000);
    assert_int_equal(descriptors(k.pid), before);
    stop(&k);
}

static void an_unknown_driver_is_not_found(void **state)
{
    struct keeper k;
    struct assay_bk_packet p;
    char name[ASSAY_BK_NAME_MAX + 2];

    (void)state;
    start(&k, fake, RELAXED);
    ask(&k, ASSAY_BK_OPEN, "moon");
    assert_int_equal(answer(&k, &p, NULL), ASSAY_E_NOT_FOUND);
    memset(name, 'x', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    ask(&k, ASSAY_BK_OPEN, name);
    assert_int_equal(answer(&k, &p, NULL), ASSAY_E_NOT_FOUND);
    stop(&k);
}

static void an_image_is_a_drivers_affair_and_a_place_says_where(void **state)
{
    struct keeper k;
    struct assay_bk_packet p;
    char text[ASSAY_BK_IMAGE_MAX + 20];
    int fd = -1;

    (void)state;
    start(&k, fake, RELAXED);
    ask(&k, ASSAY_BK_OPEN, "native\ndebian:12");
    assert_int_equal(answer(&k, &p, NULL), ASSAY_E_UNSUPPORTED);
    snprintf(text, sizeof(text), "%.*s", ASSAY_FMT(p.text));
    assert_non_null(strstr(text, "debian:12"));
    ask(&k, ASSAY_BK_OPEN, "native\n/usr");
    assert_int_equal(answer(&k, &p, NULL), ASSAY_E_UNSUPPORTED);
    snprintf(text, sizeof(text), "%.*s", ASSAY_FMT(p.text));
    assert_non_null(strstr(text, "native_images"));
    ask(&k, ASSAY_BK_OPEN, "native\na b");
    assert_int_equal(answer(&k, &p, NULL), ASSAY_E_INVALID);
    ask(&k, ASSAY_BK_OPEN, "\n\n");
    assert_int_equal(answer(&k, &p, NULL), ASSAY_E_INVALID);
    memset(text, 'x', sizeof(text));
    memcpy(text, "native\n", 7);
    text[7 + ASSAY_BK_IMAGE_MAX + 1] = '\0';
    ask(&k, ASSAY_BK_OPEN, text);
    assert_int_equal(answer(&k, &p, NULL), ASSAY_E_INVALID);
    ask(&k, ASSAY_BK_OPEN, "native\n");
    assert_int_equal(answer(&k, &p, &fd), 0);
    snprintf(text, sizeof(text), "%.*s", ASSAY_FMT(p.text));
    assert_non_null(strstr(text, "{\"driver\":\"native\",\"mode\":\"native"));
    assert_non_null(strstr(text, "\"image\":null,\"digest\":null,\"cgroup\":"));
    close(fd);
    stop(&k);
}

static void garbage_is_counted_and_survived(void **state)
{
    struct keeper k;
    struct assay_bk_packet p = {.type = 999, .request = 7};
    unsigned char junk[ASSAY_BK_PACKET_MAX + 100];
    char text[ASSAY_BK_TEXT_MAX];
    uint32_t seed = 12345;
    int fd = -1;

    (void)state;
    start(&k, fake, RELAXED);
    for (size_t i = 0; i < sizeof(junk); i++) {
        seed = seed * 1664525u + 1013904223u;
        junk[i] = (unsigned char)(seed >> 24);
    }
    for (size_t n = 1; n <= sizeof(junk); n = n * 3 + 1) {
        assert_int_equal(send(k.peer, junk, n, 0), (ssize_t)n);
        assert_int_equal(send(k.control, junk, n, 0), (ssize_t)n);
    }
    assert_int_equal(send(k.peer, junk, sizeof(junk), 0), (ssize_t)sizeof(junk));
    /* well formed, but of no type that either socket takes; and descriptors nobody asked for */
    assert_int_equal(assay_bk_send(k.peer, &p, STDIN_FILENO, NULL), 0);
    assert_int_equal(answer(&k, &p, NULL), ASSAY_E_UNSUPPORTED);
    assert_true(p.request == 7);
    p = (struct assay_bk_packet){.type = ASSAY_BK_OPEN};
    assert_int_equal(assay_bk_send(k.control, &p, STDIN_FILENO, NULL), 0);
    p = (struct assay_bk_packet){.type = ASSAY_BK_PEER};
    assert_int_equal(assay_bk_send(k.control, &p, -1, NULL), 0);
    open_ok(&k, &fd);
    hello_of(fd);
    close(fd);
    text_of(&k, ASSAY_BK_METRICS, text, sizeof(text));
    assert_non_null(strstr(text, "assay_boxkeeper_garbage_packets_total"));
    stop(&k);
}

static void a_server_that_does_not_read_holds_up_only_itself(void **state)
{
    struct keeper k;
    struct assay_bk_packet p = {.type = ASSAY_BK_DOCTOR};
    int sent = 0, got = 0, fd = -1;

    (void)state;
    start(&k, fake, RELAXED);
    for (int full = 0; sent < 5000 && full < 20;) {
        struct pollfd w = {.fd = k.peer, .events = POLLOUT};

        if (poll(&w, 1, 50) == 1) {
            p.request = (uint64_t)++sent;
            assert_int_equal(assay_bk_send(k.peer, &p, -1, NULL), 0);
            full = 0;
        } else {
            full++;
        }
    }
    assert_true(sent > 0 && sent < 5000);
    while (got < sent) {
        assert_int_equal(answer(&k, &p, NULL), 0);
        assert_true(p.request == (uint64_t)++got);
    }
    k.request = (uint64_t)sent;
    open_ok(&k, &fd);
    close(fd);
    stop(&k);
}

static void a_new_server_ends_the_wardens_of_the_old(void **state)
{
    struct keeper k;
    int a = -1, b = -1, old;

    (void)state;
    start(&k, fake, RELAXED "pool_min=0\npool_max=0\n");
    open_ok(&k, &a);
    open_ok(&k, &b);
    hello_of(a);
    old = k.peer;
    peer_new(&k);
    wait_eof(a);
    wait_eof(b);
    close(a);
    close(b);
    close(old);
    a = -1;
    open_ok(&k, &a); /* the new one is served */
    hello_of(a);
    /* and when its end is closed without another in sight, its wardens end too */
    close(k.peer);
    k.peer = -1;
    wait_eof(a);
    close(a);
    stop(&k);
}

static void the_end_of_the_supervisor_ends_everything(void **state)
{
    struct keeper k;
    int fd = -1;

    (void)state;
    start(&k, fake, RELAXED);
    open_ok(&k, &fd);
    hello_of(fd);
    close(k.control);
    wait_eof(fd);
    assert_int_equal(wait_exit(&k), 0);
    assert_int_equal(wardens(), 0);
    close(fd);
    close(k.peer);
}

static void sigterm_ends_it_in_order(void **state)
{
    struct keeper k;

    (void)state;
    start(&k, fake, RELAXED);
    kill(k.pid, SIGINT); /* the terminal's interrupt is the supervisor's affair */
    kill(k.pid, SIGTERM);
    assert_int_equal(wait_exit(&k), 0);
    assert_int_equal(wardens(), 0);
    assert_int_equal(leaves_in("memory"), -1);
    close(k.control);
    close(k.peer);
}

static void wardens_that_die_at_once_are_reported(void **state)
{
    struct keeper k;
    char why[600] = "";
    int fd = -1, rc = 0;

    (void)state;
    start(&k, fake_die, RELAXED "pool_min=1\npool_max=1\n");
    for (int i = 0; i < 100; i++) {
        rc = open_one(&k, &fd, why, sizeof(why));
        if (rc != 0)
            break;
        close(fd);
        fd = -1;
        usleep(50000);
    }
    assert_int_equal(rc, ASSAY_E_UNSUPPORTED);
    assert_non_null(strstr(why, "wardens do not start"));
    stop(&k);
}

static void a_warden_of_another_protocol_is_refused(void **state)
{
    struct keeper k;
    char why[600] = "", text[ASSAY_BK_TEXT_MAX];
    int fd = -1;

    (void)state;
    start(&k, fake_alien, RELAXED "pool_min=1\npool_max=1\n");
    for (int i = 0; i < 100; i++) { /* three attempts, one a tick */
        text_of(&k, ASSAY_BK_INFO, text, sizeof(text));
        if (strstr(text, "wardens do not start") != NULL)
            break;
        usleep(50000);
    }
    assert_int_equal(open_one(&k, &fd, why, sizeof(why)), ASSAY_E_UNSUPPORTED);
    assert_non_null(strstr(why, "another protocol"));
    stop(&k);
}

static void a_warden_that_talks_nonsense_is_ended(void **state)
{
    struct keeper k;
    int fd = -1;

    (void)state;
    start(&k, fake_garbage, RELAXED "pool_min=0\npool_max=0\n");
    open_ok(&k, &fd);
    wait_eof(fd);
    close(fd);
    stop(&k);
}

static void a_missing_warden_is_named(void **state)
{
    struct keeper k;
    char why[600] = "";
    int fd = -1;

    (void)state;
    start(&k, "/nonexistent/assay-warden", RELAXED);
    assert_int_equal(open_one(&k, &fd, why, sizeof(why)), ASSAY_E_UNSUPPORTED);
    assert_non_null(strstr(why, "/nonexistent/assay-warden"));
    assert_non_null(strstr(why, "warden_path"));
    stop(&k);
}

static void what_cannot_work_ends_with_a_status_of_its_own(void **state)
{
    static const char *const wrong[] = {
        "max_wardens=0\n", "box_uid_base=7\n", "sandbox=moon\n", "require=namespaces,luck\n", "pool_min=9\npool_max=2\n",
        "native_binds=relative\n", "native_hide=/usr/../etc\n", "pool_min=many\n", "plugin_path=/nonexistent\n",
        "native_rootfs=usr\n", "native_rootfs=/nonexistent\n", "native_rootfs=/etc/passwd\n", "native_rootfs=/proc/self\n"};
    struct keeper k;

    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        int status;

        spawn(&k, fake, wrong[i], 0);
        status = wait_exit(&k);
        if (!WIFEXITED(status) || WEXITSTATUS(status) != ASSAY_BK_EXIT_CONFIG)
            fail_msg("%s: status %x", wrong[i], (unsigned)status);
        close(k.control);
    }
}

static void a_required_layer_that_is_missing_closes_the_door(void **state)
{
    struct keeper k;
    char why[600] = "";
    int fd = -1;

    (void)state;
    if (cgroups_here() == 0)
        skip();
    start(&k, fake, "require=cgroup\nnative_cgroup_parent=no-such-parent\n");
    assert_int_equal(open_one(&k, &fd, why, sizeof(why)), ASSAY_E_UNSUPPORTED);
    assert_non_null(strstr(why, "cgroup is required"));
    assert_non_null(strstr(why, "remedy"));
    stop(&k);
}

static void leaves_are_given_replaced_and_removed(void **state)
{
    struct keeper k;
    char text[64];
    int fd = -1, ahead, have = 0, descriptors = 0;

    (void)state;
    if (cgroups_here() == 0)
        skip();
    start(&k, fake, "require=cgroup\npool_min=0\npool_max=0\nmax_wardens=2\n");
    open_ok(&k, &fd);
    hello_of(fd);
    tell(fd, 'L', text, sizeof(text));
    /* version 2 has one in use and one ahead */
    ahead = cgroups_here();
    assert_int_equal(sscanf(text, "%d %d", &have, &descriptors), 2);
    assert_int_equal(have, ahead);
    /* swap is not counted everywhere, and memory.peak is of kernel 5.19 */
    if (ahead == 1)
        assert_int_equal(descriptors, access("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes", F_OK) == 0 ? 12 : 11);
    else
        assert_in_range(descriptors, 2 * 8, 2 * 10);
    assert_int_equal(leaves_in("memory"), ahead);
    assert_int_equal(leaves_in("cpuacct"), ahead);
    assert_int_equal(leaves_in("pids"), ahead);
    for (int i = ahead + 1; i < 30; i++) {
        have = 0;
        tell(fd, 'S', NULL, 0);
        for (int turn = 0; turn < 200 && have != i; turn++) {
            usleep(2000);
            tell(fd, 'L', text, sizeof(text));
            have = (int)strtol(text, NULL, 10);
        }
        assert_int_equal(have, i);
        assert_int_equal(leaves_in("memory"), ahead);
    }
    close(fd);
    until(wardens, 0);
    stop(&k);
    assert_int_equal(leaves_in("memory"), -1);
    assert_int_equal(leaves_in("pids"), -1);
}

static int process_there;
static int joined_there(void)
{
    return kill((pid_t)process_there, 0) == 0;
}

static void what_a_warden_leaves_in_its_leaf_dies_with_it(void **state)
{
    struct keeper k;
    char text[64];
    int fd = -1;

    (void)state;
    if (cgroups_here() == 0)
        skip();
    start(&k, fake, "require=cgroup\npool_min=0\npool_max=0\nmax_wardens=1\n");
    open_ok(&k, &fd);
    hello_of(fd);
    tell(fd, 'J', text, sizeof(text));
    process_there = (int)strtol(text, NULL, 10);
    assert_true(process_there > 1);
    assert_true(joined_there());
    usleep(50000);
    close(fd);
    until(joined_there, 0);
    fd = -1;
    for (int turn = 0; turn < 500 && open_one(&k, &fd, NULL, 0) == ASSAY_E_BUSY; turn++)
        usleep(10000);
    assert_true(fd >= 0);
    close(fd);
    stop(&k);
    assert_int_equal(leaves_in("memory"), -1);
}

static void a_killed_boxkeeper_leaves_nothing_after_the_next_start(void **state)
{
    struct keeper k;
    char text[64];
    int fd[3] = {-1, -1, -1};

    (void)state;
    if (cgroups_here() == 0)
        skip();
    start(&k, fake, "require=cgroup\npool_min=2\npool_max=2\nmax_wardens=8\n");
    for (int i = 0; i < 3; i++) {
        open_ok(&k, &fd[i]);
        hello_of(fd[i]);
    }
    tell(fd[0], 'J', text, sizeof(text));
    process_there = (int)strtol(text, NULL, 10);
    usleep(50000);
    kill(k.pid, SIGKILL);
    waitpid(k.pid, NULL, 0);
    live = -1;
    close(k.control);
    close(k.peer);
    until(wardens, 0); /* PR_SET_PDEATHSIG */
    assert_true(leaves_in("memory") >= 3);
    assert_true(joined_there());
    start(&k, fake, "require=cgroup\npool_min=0\npool_max=0\nmax_wardens=8\n");
    assert_int_equal(leaves_in("memory"), 0);
    assert_int_equal(leaves_in("cpuacct"), 0);
    assert_int_equal(leaves_in("pids"), 0);
    until(joined_there, 0);
    stop(&k);
    assert_int_equal(leaves_in("memory"), -1);
    for (int i = 0; i < 3; i++)
        close(fd[i]);
}

static void an_ordinary_user_gets_wardens_without_leaves(void **state)
{
    struct keeper k;
    char text[ASSAY_BK_TEXT_MAX], small[64];
    int fd = -1;

    (void)state;
    if (geteuid() != 0 || !ordinary_user_can(fake)) /* not root: then every other test was one */
        skip();
    start_as(&k, fake, "require=none\npool_min=0\npool_max=0\n", 65534);
    text_of(&k, ASSAY_BK_INFO, text, sizeof(text));
    assert_non_null(strstr(text, "\"mode\":\"native-userns\""));
    open_ok(&k, &fd);
    hello_of(fd);
    if (cgroups_here() != 0) {
        tell(fd, 'L', small, sizeof(small));
        assert_string_equal(small, "0 0\n");
    }
    text_of(&k, ASSAY_BK_DOCTOR, text, sizeof(text));
    assert_non_null(strstr(text, "native_cgroup_parent"));
    close(fd);
    stop(&k);
}

/* ---- with the real warden ---- */

static void run_hello(int fd, struct assay_box_outcome *outcome)
{
    static const struct assay_box_events none;
    struct assay_box_client *c = assay_box_client_new(fd, &none, NULL);
    struct assay_str argv[] = {ASSAY_STR("/bin/echo"), ASSAY_STR("hello")};
    struct assay_box_spec spec = {.argv = argv, .n_argv = 2,
        .limits = {.cpu_ms = 2000, .wall_ms = 5000, .memory_bytes = 64 << 20, .stdout_bytes = 4096, .stderr_bytes = 4096}};
    struct assay_box_outcome o = {.end = ASSAY_BOX_FAILED};
    ASSAY_CLEANUP_BUF struct assay_buf out = ASSAY_BUF_INIT;
    ASSAY_CLEANUP_BUF struct assay_buf errout = ASSAY_BUF_INIT;
    struct assay_err err = {0, ""};

    assert_non_null(c);
    if (assay_box_client_run_sync(c, &spec, &out, &errout, &o, &err) != 0)
        fail_msg("run: %s", err.msg);
    if (o.end != ASSAY_BOX_EXITED || o.exit_code != 0)
        fail_msg("end %d, exit %d, %s, %.*s", (int)o.end, o.exit_code, o.message, ASSAY_FMT(assay_buf_view(&errout)));
    assert_true(assay_str_is(assay_buf_view(&out), "hello\n"));
    assay_box_client_free(c);
    *outcome = o;
}

static void the_real_warden_runs_a_program(void **state)
{
    struct keeper k;
    struct assay_box_outcome o;
    char real[PATH_MAX];

    (void)state;
    if (geteuid() != 0 || realpath(REAL, real) == NULL)
        skip();
    start(&k, real, cgroups_here() != 0 ? "require=auto\n" : "require=namespaces,seccomp\n");
    for (int i = 0; i < 3; i++) {
        int fd = -1;

        open_ok(&k, &fd);
        run_hello(fd, &o);
        if (cgroups_here() != 0)
            assert_int_equal(o.precision, 7); /* CPU, memory and pids come from the leaf */
    }
    stop(&k);
    until(wardens, 0); /* boxes made ahead die with their warden, a moment later */
}

static void the_real_warden_serves_an_ordinary_user(void **state)
{
    struct keeper k;
    struct assay_box_outcome o;
    char real[PATH_MAX], why[600];
    bool delegated = getenv("KEEPER_DELEGATED") != NULL; /* whoever set it gave us a cgroup of our own */
    int fd = -1;

    (void)state;
    if (realpath(REAL, real) == NULL || !ordinary_user_can(real))
        skip();
    start_as(&k, real, delegated ? "require=namespaces,seccomp,cgroup\n" : "require=namespaces,seccomp\n",
             geteuid() == 0 ? 65534 : 0);
    if (open_one(&k, &fd, why, sizeof(why)) != 0 && !delegated) { /* a machine that forbids user namespaces says so */
        assert_non_null(strstr(why, "namespace"));
        stop(&k);
        skip();
    }
    run_hello(fd, &o);
    assert_int_equal(o.precision, delegated ? 7 : 0);
    stop(&k);
    until(wardens, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(packets_come_back_as_they_went),
        cmocka_unit_test(what_cannot_work_ends_with_a_status_of_its_own),
        cmocka_unit_test(a_warden_is_opened_and_its_end_frees_the_slot),
        cmocka_unit_test(no_more_wardens_than_allowed),
        cmocka_unit_test(the_pool_is_filled_off_the_way_and_follows_demand),
        cmocka_unit_test(info_doctor_and_metrics_answer),
        cmocka_unit_test(what_boxes_see_follows_the_options),
        cmocka_unit_test(no_descriptor_is_lost_over_many_wardens),
        cmocka_unit_test(an_unknown_driver_is_not_found),
        cmocka_unit_test(an_image_is_a_drivers_affair_and_a_place_says_where),
        cmocka_unit_test(garbage_is_counted_and_survived),
        cmocka_unit_test(a_server_that_does_not_read_holds_up_only_itself),
        cmocka_unit_test(a_new_server_ends_the_wardens_of_the_old),
        cmocka_unit_test(the_end_of_the_supervisor_ends_everything),
        cmocka_unit_test(sigterm_ends_it_in_order),
        cmocka_unit_test(wardens_that_die_at_once_are_reported),
        cmocka_unit_test(a_warden_of_another_protocol_is_refused),
        cmocka_unit_test(a_warden_that_talks_nonsense_is_ended),
        cmocka_unit_test(a_missing_warden_is_named),
        cmocka_unit_test(a_required_layer_that_is_missing_closes_the_door),
        cmocka_unit_test(leaves_are_given_replaced_and_removed),
        cmocka_unit_test(what_a_warden_leaves_in_its_leaf_dies_with_it),
        cmocka_unit_test(a_killed_boxkeeper_leaves_nothing_after_the_next_start),
        cmocka_unit_test(an_ordinary_user_gets_wardens_without_leaves),
        cmocka_unit_test(the_real_warden_runs_a_program),
        cmocka_unit_test(the_real_warden_serves_an_ordinary_user),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests_name("keeper", tests, setup, teardown);
}
