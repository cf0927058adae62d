/*
 * assay-boxkeeper: the small privileged process behind the server.
 *
 * Theory of operation.  One thread, one poll loop over: the supervisor's control socket, the
 * server's socket (peer.c), a signalfd and one descriptor of each sandbox driver.  The server asks
 * for wardens; a driver makes them; the stream to a warden goes to the server as a descriptor, and
 * from then on the boxkeeper sees nothing of what is run.
 *
 * It parses no HTTP, opens no listening socket, reads no file that a client can write, and takes
 * nothing from the server but fixed packets with the names of a driver and an image in them.
 *
 * Life: the control socket's end or SIGTERM ends it in order (wardens are killed, their cgroups
 * removed); the supervisor's death brings SIGTERM too (PR_SET_PDEATHSIG).  kill -9 at any moment is made good
 * by the reap at the next start.  Interrupts of the terminal are ignored: the supervisor gets the
 * same one and decides the order.  An end that hangs is cut short by an alarm.
 */
#include "local.h"

#include <assay/value.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#define TICK_MS 1000
#define END_SECONDS 8 /* at most this long for an orderly end */

static const struct assay_option core_options[] = {
    {.name = "sandbox", .type = ASSAY_OPT_STRING, .default_text = "auto", .help = "Driver: auto, native, docker, or reduced (boxes without namespaces)."},
};
static const struct assay_table core_table = ASSAY_TABLE(core_options);

static const double open_buckets[] = {0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 0};
const struct assay_metric bk_metric_opens = {.name = "assay_boxkeeper_opens_total", .type = ASSAY_METRIC_COUNTER,
    .help = "Wardens asked for by the server.", .labels = "driver,outcome"};
const struct assay_metric bk_metric_open_seconds = {.name = "assay_boxkeeper_open_seconds", .type = ASSAY_METRIC_HISTOGRAM,
    .help = "Time to hand out a warden.", .labels = "", .buckets = open_buckets};
const struct assay_metric bk_metric_garbage = {.name = "assay_boxkeeper_garbage_packets_total", .type = ASSAY_METRIC_COUNTER,
    .help = "Packets that broke the form.", .labels = ""};
const struct assay_metric bk_metric_peers = {.name = "assay_boxkeeper_peers_total", .type = ASSAY_METRIC_COUNTER,
    .help = "Servers that this boxkeeper has served.", .labels = ""};

/* ---- the reduced host ---- */

static void host_log(void *ctx, enum assay_log_level level, const char *event, const struct assay_kv *kv, size_t n)
{
    (void)ctx;
    bk_log(level, event, kv, n);
}
static int64_t host_now(void *ctx)
{
    (void)ctx;
    return assay_now_ms();
}
static int64_t host_mono(void *ctx)
{
    (void)ctx;
    return assay_mono_ns();
}
static const char *host_option_str(void *ctx, const char *name)
{
    return bk_options_str(((struct bk *)ctx)->options, name);
}
static int64_t host_option_int(void *ctx, const char *name)
{
    return bk_options_int(((struct bk *)ctx)->options, name);
}
static void host_add(void *ctx, const struct assay_metric *m, const char *const *labels, double by)
{
    bk_metrics_add(((struct bk *)ctx)->metrics, m, labels, by);
}
static void host_set(void *ctx, const struct assay_metric *m, const char *const *labels, double to)
{
    bk_metrics_set(((struct bk *)ctx)->metrics, m, labels, to);
}
static void host_observe(void *ctx, const struct assay_metric *m, const char *const *labels, double v)
{
    bk_metrics_observe(((struct bk *)ctx)->metrics, m, labels, v);
}

static void host_make(struct bk *bk)
{
    assay_id_new(bk->instance_id);
    bk->host = (struct assay_host){.size = sizeof(struct assay_host), .abi_major = ASSAY_ABI_MAJOR,
        .abi_minor = ASSAY_ABI_MINOR, .ctx = bk, .log = host_log, .now_ms = host_now, .mono_ns = host_mono,
        .option_str = host_option_str, .option_int = host_option_int, .metric_add = host_add, .metric_set = host_set,
        .metric_observe = host_observe, .version = BK_VERSION, .instance_id = bk->instance_id};
}

/* ---- start ---- */

static int arguments(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        puts("assay-boxkeeper " BK_VERSION);
        exit(0);
    }
    if (argc > 1) {
        fprintf(stderr, "assay-boxkeeper: %s is not understood. It is started by assayd and takes no options.\n", argv[1]);
        return -1;
    }
    if (fcntl(ASSAY_BK_CONTROL_FD, F_SETFD, FD_CLOEXEC) != 0) {
        fprintf(stderr, "assay-boxkeeper: there is no control socket. It is started by assayd, not by hand.\n");
        return -1;
    }
    return 0;
}

static void log_setup(const struct bk_options *o)
{
    static const char *const names[] = {"debug", "info", "warn", "error"};
    const char *level = bk_options_str(o, "log_level");
    const char *format = bk_options_str(o, "log_format");
    enum assay_log_level least = ASSAY_LOG_INFO;

    for (int i = 0; i < 4; i++)
        if (strcmp(level, names[i]) == 0)
            least = (enum assay_log_level)i;
    bk_log_setup(least, strcmp(format, "json") == 0 || (strcmp(format, "logfmt") != 0 && !isatty(STDERR_FILENO)));
}

static int signals_open(struct assay_err *err)
{
    sigset_t set;
    int fd;

    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGQUIT);
    if (sigprocmask(SIG_BLOCK, &set, NULL) != 0 || signal(SIGPIPE, SIG_IGN) == SIG_ERR)
        return assay_err_errno(err, ASSAY_E_INTERNAL, errno, "sigprocmask");
    fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return fd >= 0 ? fd : assay_err_errno(err, ASSAY_E_INTERNAL, errno, "signalfd");
}

static void descriptors_raise(void)
{
    struct rlimit r;

    /* some twenty descriptors a warden; the soft limit of 1024 is a limit of select(), which is not used here */
    if (getrlimit(RLIMIT_NOFILE, &r) == 0 && r.rlim_cur < r.rlim_max) {
        r.rlim_cur = r.rlim_max < 16384 ? r.rlim_max : 16384;
        if (setrlimit(RLIMIT_NOFILE, &r) != 0)
            BK_LOG(ASSAY_LOG_WARN, "descriptor_limit", ASSAY_KI("errno", errno));
    }
}

/* ---- the loop ---- */

static void reap_children(struct bk *bk)
{
    for (;;) {
        int status = 0;
        pid_t pid = waitpid(-1, &status, WNOHANG);
        bool known = false;

        if (pid <= 0)
            return;
        for (size_t i = 0; i < bk->n_drivers && !known; i++)
            known = bk->driver[i].up && bk->driver[i].ops->reaped(bk->driver[i].self, pid, status);
        if (!known)
            BK_LOG(ASSAY_LOG_DEBUG, "unknown_child", ASSAY_KI("pid", pid), ASSAY_KI("status", status));
    }
}

static void on_signals(struct bk *bk)
{
    struct signalfd_siginfo si;

    while (read(bk->signals, &si, sizeof(si)) == (ssize_t)sizeof(si)) {
        if (si.ssi_signo == SIGTERM) {
            BK_LOG(ASSAY_LOG_INFO, "stopping", ASSAY_KZ("reason", "SIGTERM"));
            bk->stop = true;
        }
    }
    reap_children(bk); /* several SIGCHLD may have become one */
}

static void on_control(struct bk *bk)
{
    static unsigned char in[ASSAY_BK_PACKET_MAX];
    struct assay_bk_packet msg;
    struct assay_err err = {0, ""};
    int fd = -1;
    int rc = assay_bk_recv(bk->control, in, sizeof(in), &msg, &fd, &err);

    if (rc == ASSAY_E_AGAIN)
        return;
    if (rc == 0 && msg.type == ASSAY_BK_PEER && fd >= 0) {
        BK_LOG(ASSAY_LOG_INFO, "peer_new", ASSAY_KI("descriptor", fd));
        bk_peer_replace(bk, fd);
        return;
    }
    if (fd >= 0)
        close(fd);
    if (rc == 0 || rc == ASSAY_E_CORRUPT) {
        bk_metrics_add(bk->metrics, &bk_metric_garbage, NULL, 1);
        BK_LOG(ASSAY_LOG_WARN, "garbage_control", ASSAY_KZ("reason", rc == 0 ? "unexpected type" : err.msg));
        return;
    }
    BK_LOG(ASSAY_LOG_INFO, "stopping", ASSAY_KZ("reason", rc == ASSAY_E_GONE ? "the supervisor is gone" : err.msg));
    bk->stop = true;
}

static void loop(struct bk *bk)
{
    struct pollfd p[3 + BK_DRIVERS_MAX];
    int64_t tick_ns = 0;

    while (!bk->stop) {
        int64_t now = assay_mono_ns();
        int64_t wait_ms = tick_ns > now ? (tick_ns - now) / 1000000 + 1 : 0;
        int peer = bk->peer;

        p[0] = (struct pollfd){.fd = bk->control, .events = POLLIN};
        p[1] = (struct pollfd){.fd = peer, .events = bk_peer_events(bk)}; /* fd -1 is passed over */
        p[2] = (struct pollfd){.fd = bk->signals, .events = POLLIN};
        for (size_t i = 0; i < bk->n_drivers; i++)
            p[3 + i] = (struct pollfd){
                .fd = bk->driver[i].up ? bk->driver[i].ops->pollfd(bk->driver[i].self) : -1, .events = POLLIN};
        if (poll(p, 3 + bk->n_drivers, (int)wait_ms) < 0) {
            if (errno == EINTR)
                continue;
            BK_LOG(ASSAY_LOG_ERROR, "poll_failed", ASSAY_KI("errno", errno));
            return;
        }
        if (p[2].revents != 0)
            on_signals(bk);
        if (p[0].revents != 0)
            on_control(bk);
        if (p[1].revents != 0 && bk->peer == peer && peer >= 0)
            bk_peer_ready(bk, p[1].revents);
        now = assay_mono_ns();
        for (size_t i = 0; i < bk->n_drivers; i++)
            if (bk->driver[i].up && (p[3 + i].revents != 0 || now >= tick_ns))
                bk->driver[i].ops->tick(bk->driver[i].self);
        if (now >= tick_ns)
            tick_ns = now + (int64_t)TICK_MS * 1000000;
    }
}

static int ready_send(struct bk *bk, struct assay_err *err)
{
    struct assay_bk_packet p = {.type = ASSAY_BK_READY};
    char text[400];

    snprintf(text, sizeof(text), "driver=%s (%s)", bk->driver[bk->chosen].name, bk->why);
    p.text = assay_str(text);
    return assay_bk_send(bk->control, &p, -1, err);
}

static int start(struct bk *bk, int options_fd, struct assay_err *err)
{
    int rc = bk_options_new(options_fd, &bk->options, err);

    if (rc != 0)
        return rc;
    log_setup(bk->options);
    rc = bk_options_table(bk->options, &core_table, err);
    if (rc != 0)
        return rc;
    descriptors_raise();
    rc = bk_privilege_trim(&bk->privilege, err);
    if (rc != 0)
        return rc;
    rc = signals_open(err);
    if (rc < 0)
        return rc;
    bk->signals = rc;
    host_make(bk);
    bk->metrics = bk_metrics_new();
    if (bk->metrics == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for metrics");
    rc = bk_peer_new(bk, err);
    if (rc == 0)
        rc = bk_drivers_load(bk, err);
    if (rc == 0)
        rc = bk_drivers_choose(bk, err);
    for (size_t i = 0; rc == 0 && i < bk->n_drivers; i++) {
        struct assay_err why = {0, ""};

        if (bk->driver[i].up && bk->driver[i].ops->reap(bk->driver[i].self, &why) != 0)
            BK_LOG(ASSAY_LOG_WARN, "reap_incomplete", ASSAY_KZ("driver", bk->driver[i].name),
                   ASSAY_KZ("reason", why.msg));
    }
    if (rc == 0)
        rc = ready_send(bk, err);
    return rc;
}

int main(int argc, char **argv)
{
    static struct bk bk = {.control = ASSAY_BK_CONTROL_FD, .peer = -1, .signals = -1};
    struct assay_err err = {0, ""};
    struct assay_err why = {0, ""};
    int options_fd = fcntl(ASSAY_BK_OPTIONS_FD, F_SETFD, FD_CLOEXEC) == 0 ? ASSAY_BK_OPTIONS_FD : -1;
    pid_t parent = getppid();
    int rc;

    if (arguments(argc, argv) != 0)
        return ASSAY_BK_EXIT_CONFIG;
    /* SIGTERM, not SIGKILL: an orderly end also removes cgroups.  A hang is cut by the alarm below. */
    if (prctl(PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0) != 0 || getppid() != parent)
        return 1;
    rc = start(&bk, options_fd, &err);
    if (options_fd >= 0)
        close(options_fd);
    if (rc == 0) {
        const struct bk_driver *d = &bk.driver[bk.chosen];
        int usable = d->up ? d->ops->usable(d->self, &why) : ASSAY_E_UNSUPPORTED;

        BK_LOG(ASSAY_LOG_INFO, "boxkeeper_ready", ASSAY_KZ("driver", d->name), ASSAY_KZ("because", bk.why),
               ASSAY_KZ("privilege", bk.privilege.root ? "root" : "ordinary user"),
               ASSAY_KI("capabilities_dropped", bk.privilege.dropped));
        if (usable != 0)
            BK_LOG(ASSAY_LOG_ERROR, "no_box_can_open", ASSAY_KZ("driver", d->name),
                   ASSAY_KZ("reason", why.msg[0] != '\0' ? why.msg : "the driver did not start"));
        loop(&bk);
    } else if (rc != ASSAY_E_GONE) {
        BK_LOG(ASSAY_LOG_ERROR, "boxkeeper_failed", ASSAY_KZ("code", assay_err_word(rc)), ASSAY_KZ("reason", err.msg));
    }
    alarm(END_SECONDS);
    bk_peer_free(&bk);
    bk_drivers_end(&bk);
    bk_metrics_free(bk.metrics);
    bk_options_free(bk.options);
    if (rc == 0 || rc == ASSAY_E_GONE)
        return 0;
    return rc == ASSAY_E_CONFIG || rc == ASSAY_E_UNSUPPORTED || rc == ASSAY_E_INVALID ? ASSAY_BK_EXIT_CONFIG : 1;
}
