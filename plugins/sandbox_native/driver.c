/*
 * The driver: slots of wardens, a pool of warm ones, and the leaves they hold.
 *
 * Theory of operation.  A slot is a uid and at most one warden:
 *
 *     FREE --spawn--> POOL --open--> OUT --close--> ENDING --reaped--> GONE --leaves empty--> FREE
 *
 * (a warden that dies by itself goes straight to GONE).  A slot, and so its uid, is used again only
 * when the warden is reaped and nothing is left in its leaves.
 *
 * Making a warden costs a fork and an exec and, in the warden, namespaces; so some wait in the pool.
 * Its size follows demand: the most that were asked for in a window of ten seconds, halved with each
 * quiet window, between pool_min and pool_max.  open takes one that has said HELLO, else one that is
 * still starting, else starts one.  Refilling happens in tick, two at a time.
 *
 * A warden that gives up right after its start is our trouble (a mount that fails, a missing
 * library): after three of these in a row open refuses with the reason, and new attempts are spaced
 * out up to half a minute.
 *
 * What the configuration requires and the machine lacks makes open refuse: fail closed.
 */
#include "local.h"

#include <assay/value.h>

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define WINDOW_NS (10LL * 1000000000)
#define EARLY_NS (5LL * 1000000000) /* a warden that dies younger than this, unused, was never well */
#define FAILURES_MAX 3
#define REFILL_PER_TICK 2
#define SPENT_PER_TURN 64
#define PATIENCE_NS (3LL * 1000000000) /* a reduced warden that was asked to end and clear up */

enum watch { WATCH_CONTROL, WATCH_STREAM };

static void metric(const struct sn_driver *d, enum sn_metric_row row, const char *label, double by)
{
    d->host->metric_add(d->host->ctx, &sn_metrics[row], label != NULL ? (const char *const[]){label, NULL} : NULL, by);
}

static size_t slot_of(const struct sn_driver *d, const struct sn_warden *w)
{
    return (size_t)(w - d->w);
}

static int watch(struct sn_driver *d, const struct sn_warden *w, int fd, enum watch what)
{
    struct epoll_event ev = {.events = EPOLLIN | (what == WATCH_STREAM ? EPOLLONESHOT : 0),
                             .data.u64 = slot_of(d, w) * 2 + (uint64_t)what};

    return epoll_ctl(d->epoll, EPOLL_CTL_ADD, fd, &ev);
}

/* Removed by hand: a copy of the descriptor in another process would keep it in the epoll set. */
static void unwatch(struct sn_driver *d, int fd)
{
    if (epoll_ctl(d->epoll, EPOLL_CTL_DEL, fd, NULL) != 0 && errno != ENOENT)
        assay_log(d->host, ASSAY_LOG_WARN, "unwatch_failed", ASSAY_KI("errno", errno));
}

static void close_ends(struct sn_driver *d, struct sn_warden *w)
{
    if (w->control >= 0) {
        unwatch(d, w->control);
        close(w->control);
        w->control = -1;
    }
    if (w->stream >= 0) {
        unwatch(d, w->stream);
        close(w->stream);
        w->stream = -1;
    }
}

/* ---- making and ending ---- */

static struct sn_warden *slot_free(struct sn_driver *d)
{
    for (size_t i = 0; i < d->max_wardens; i++) { /* round robin, so that a uid rests before it is used again */
        struct sn_warden *w = &d->w[(d->next_slot + i) % d->max_wardens];

        if (w->state == SN_FREE) {
            d->next_slot = (slot_of(d, w) + 1) % d->max_wardens;
            return w;
        }
    }
    return NULL;
}

static void end_warden(struct sn_driver *d, struct sn_warden *w)
{
    if (w->state != SN_POOL && w->state != SN_OUT)
        return;
    /* with a pid namespace the kernel ends all of a box at once; without, the warden has to do it */
    if (kill(w->pid, d->reduced ? SIGTERM : SIGKILL) != 0 && errno != ESRCH)
        assay_log(d->host, ASSAY_LOG_ERROR, "warden_not_killed", ASSAY_KI("pid", w->pid), ASSAY_KI("errno", errno));
    w->kill_ns = d->reduced ? assay_mono_ns() + PATIENCE_NS : 0;
    close_ends(d, w);
    w->state = SN_ENDING;
}

static void end_impatiently(struct sn_driver *d, struct sn_warden *w)
{
    if (kill(w->pid, SIGKILL) != 0 && errno != ESRCH)
        assay_log(d->host, ASSAY_LOG_ERROR, "warden_not_killed", ASSAY_KI("pid", w->pid), ASSAY_KI("errno", errno));
    w->kill_ns = 0;
}

static int exec_warden(struct sn_driver *d, struct sn_warden *w, const struct sn_paths *paths, int stream, int control,
                       struct assay_err *err)
{
    char mode[32], name[80], uid[40], gid[40], leaf[32], program[SN_PATH], place[SN_PATH + 32], at[SN_PATH + 48];
    char *argv[SN_ARGS + 10];
    size_t n = 0;
    unsigned who = d->uid_base + (unsigned)slot_of(d, w);

    snprintf(program, sizeof(program), "%s", d->warden_path);
    snprintf(mode, sizeof(mode), "--mode=%s", d->reduced ? "reduced" : d->root ? "native" : "userns");
    snprintf(name, sizeof(name), "--name=%s-%zu", d->name, slot_of(d, w));
    snprintf(uid, sizeof(uid), "--uid=%u", who);
    snprintf(gid, sizeof(gid), "--gid=%u", who);
    snprintf(leaf, sizeof(leaf), "--leaf=%s",
             d->leaves.version == 0 ? "none" : d->require & SN_CGROUP ? "required" : "optional");
    argv[n++] = program;
    argv[n++] = mode;
    argv[n++] = name;
    if (d->root) {
        argv[n++] = uid;
        argv[n++] = gid;
    }
    argv[n++] = leaf;
    if (d->reduced) {
        /* one for each slot: so whatever is found there is of the slot's own user */
        snprintf(place, sizeof(place), "%s/%zu", d->reduced_dir, slot_of(d, w));
        snprintf(at, sizeof(at), "--mount-at=%s", place);
        if (mkdir(place, 0711) != 0 && errno != EEXIST)
            return assay_err_errno(err, ASSAY_E_IO, errno, "%s", place);
        argv[n++] = at;
    }
    for (size_t i = 0; i < paths->n; i++)
        argv[n++] = paths->arg[i];
    argv[n] = NULL;
    return sn_spawn(d->warden_path, argv, stream, control, &w->pid, err);
}

static int spawn_warden(struct sn_driver *d, const struct sn_paths *paths, struct sn_warden **out, struct assay_err *err)
{
    struct sn_warden *w = slot_free(d);
    int stream[2] = {-1, -1}, control[2] = {-1, -1};
    int rc = 0;

    if (w == NULL)
        return assay_err_set(err, ASSAY_E_BUSY, "all %zu wardens are in use (max_wardens)", d->max_wardens);
    *w = (struct sn_warden){.pid = -1, .stream = -1, .control = -1};
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, stream) != 0 ||
        socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, control) != 0 || fcntl(control[0], F_SETFL, O_NONBLOCK) != 0)
        rc = assay_err_errno(err, ASSAY_E_IO, errno, "sockets for a warden");
    w->stream = stream[0];
    w->control = control[0];
    if (rc == 0) { /* before it starts: it looks for a leaf before its HELLO */
        rc = assay_leaf_set_fill(&d->leaves, &w->leaves, w->control, err);
        if (rc != 0 && !(d->require & SN_CGROUP)) {
            assay_log(d->host, ASSAY_LOG_WARN, "warden_without_leaf", ASSAY_KZ("reason", err != NULL ? err->msg : ""));
            rc = 0;
        }
    }
    if (rc == 0 && (watch(d, w, w->control, WATCH_CONTROL) != 0 || watch(d, w, w->stream, WATCH_STREAM) != 0))
        rc = assay_err_errno(err, ASSAY_E_IO, errno, "epoll for a warden");
    if (rc == 0)
        rc = exec_warden(d, w, paths, stream[1], control[1], err);
    if (stream[1] >= 0)
        close(stream[1]);
    if (control[1] >= 0)
        close(control[1]);
    metric(d, SN_M_SPAWNS, rc == 0 ? "ok" : "failed", 1);
    if (rc != 0) {
        close_ends(d, w);
        w->state = assay_leaf_set_empty(&d->leaves, &w->leaves) ? SN_FREE : SN_GONE;
        return rc;
    }
    w->id = d->next_id++;
    w->born_ns = assay_mono_ns();
    w->state = SN_POOL;
    *out = w;
    return 0;
}

static void failed_once(struct sn_driver *d, const char *why)
{
    int64_t wait_ms = d->failures < 8 ? 100LL << d->failures : 30000;

    d->failures++;
    d->retry_ns = assay_mono_ns() + (wait_ms > 30000 ? 30000 : wait_ms) * 1000000;
    snprintf(d->failure, sizeof(d->failure), "%s", why);
    assay_log(d->host, ASSAY_LOG_ERROR, "warden_start_failed", ASSAY_KI("in_a_row", d->failures), ASSAY_KZ("reason", why));
}

/* ---- what wardens say ---- */

/* Looks at the HELLO without taking it: the stream belongs to the runner. */
static void on_stream(struct sn_driver *d, struct sn_warden *w)
{
    struct {
        struct assay_warden_frame f;
        struct assay_warden_hello h;
    } in;
    ssize_t n;

    if (w->state != SN_POOL)
        return;
    n = recv(w->stream, &in, sizeof(in), MSG_PEEK | MSG_DONTWAIT);
    if (n <= 0)
        return; /* its death is on the way as SIGCHLD */
    if (n != (ssize_t)sizeof(in) || in.f.type != ASSAY_WARDEN_HELLO || in.f.length != sizeof(in.h) ||
        in.h.protocol != ASSAY_WARDEN_PROTOCOL) {
        char why[160];

        snprintf(why, sizeof(why), "%.100s speaks another protocol: is it of the same version?", d->warden_path);
        failed_once(d, why);
        end_warden(d, w);
        return;
    }
    w->greeted = true;
    d->failures = 0;
    d->features = in.h.features;
    d->features_known = true;
}

static void on_control(struct sn_driver *d, struct sn_warden *w)
{
    for (int i = 0; i < SPENT_PER_TURN && w->control >= 0; i++) {
        struct assay_warden_spent msg;
        struct assay_err err = {0, ""};
        /* no ancillary room: descriptors that a warden might send are closed by the kernel */
        ssize_t n = recv(w->control, &msg, sizeof(msg), MSG_DONTWAIT | MSG_TRUNC);

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n <= 0) { /* it ends; watching a closed socket would spin */
            unwatch(d, w->control);
            close(w->control);
            w->control = -1;
            return;
        }
        if (n != (ssize_t)sizeof(msg) || msg.type != ASSAY_WARDEN_SPENT || !assay_leaf_set_has(&w->leaves, msg.id)) {
            assay_log(d->host, ASSAY_LOG_ERROR, "warden_garbage", ASSAY_KI("pid", w->pid), ASSAY_KI("bytes", n));
            end_warden(d, w);
            return;
        }
        metric(d, SN_M_SPENT, msg.dirty ? "yes" : "no", 1);
        if (!assay_leaf_set_spent(&d->leaves, &w->leaves, msg.id)) {
            assay_log(d->host, ASSAY_LOG_ERROR, "leaves_do_not_empty", ASSAY_KI("pid", w->pid));
            end_warden(d, w);
            return;
        }
        if (assay_leaf_set_fill(&d->leaves, &w->leaves, w->control, &err) != 0) /* tick tries again */
            assay_log(d->host, ASSAY_LOG_WARN, "leaf_not_given", ASSAY_KI("pid", w->pid), ASSAY_KZ("reason", err.msg));
    }
}

/* ---- the driver's operations ---- */

int sn_usable(void *self, struct assay_err *err)
{
    const struct sn_driver *d = self;

    if (d->warden_path[0] == '\0' || access(d->warden_path, X_OK) != 0)
        return assay_err_set(err, ASSAY_E_UNSUPPORTED, "the program %s is missing or cannot be run; install it, or name it in "
                             "warden_path", d->warden_path[0] != '\0' ? d->warden_path : "assay-warden");
    if ((d->require & SN_NAMESPACES) && !d->probe.namespaces)
        return assay_err_set(err, ASSAY_E_UNSUPPORTED, "namespaces are required and missing here: %s", d->probe.namespaces_why);
    if ((d->require & SN_SECCOMP) && (!d->probe.seccomp || (d->features_known && !(d->features & (1u << 3)))))
        return assay_err_set(err, ASSAY_E_UNSUPPORTED, "seccomp is required and missing here: %s",
                             d->probe.seccomp ? "the warden cannot use it" : d->probe.seccomp_why);
    if ((d->require & SN_CGROUP) && (d->leaves.version == 0 || d->leaves.trouble[0] != '\0'))
        return assay_err_set(err, ASSAY_E_UNSUPPORTED, "cgroup is required and missing here: %s (remedy: %s)",
                             d->leaves.trouble, d->leaves.remedy);
    if ((d->require & SN_CGROUP) && d->features_known && (d->features & 7u) != 7u)
        return assay_err_set(err, ASSAY_E_UNSUPPORTED, "cgroup is required, and wardens cannot use the leaves they are given");
    if (d->failures >= FAILURES_MAX && assay_mono_ns() < d->retry_ns)
        return assay_err_set(err, ASSAY_E_UNSUPPORTED, "wardens do not start: %s", d->failure);
    return 0;
}

static struct sn_warden *from_pool(struct sn_driver *d)
{
    struct sn_warden *any = NULL;

    for (size_t i = 0; i < d->max_wardens; i++) {
        struct sn_warden *w = &d->w[i];

        if (w->state != SN_POOL)
            continue;
        if (w->greeted)
            return w;
        any = w;
    }
    return any;
}

/* An image is a root in a folder of this machine: one that an option allows, since who asks is less trusted. */
static int image_allowed(const struct sn_driver *d, struct assay_str image, char base[PATH_MAX], struct assay_err *err)
{
    char path[SN_PATH], folder[SN_PATH], real[PATH_MAX], usr[PATH_MAX + 8];

    snprintf(path, sizeof(path), "%.*s", (int)(image.n < sizeof(path) ? image.n : sizeof(path) - 1), image.p);
    if (image.p[0] != '/' || image.n >= sizeof(path))
        return assay_err_set(err, ASSAY_E_UNSUPPORTED, "the native sandbox has no image %.100s: its images are folders, named by an "
                             "absolute path; for images by name switch to sandbox=docker", path);
    if (realpath(path, base) == NULL)
        return assay_err_errno(err, ASSAY_E_UNSUPPORTED, errno, "the image %.200s", path);
    for (const char *s = d->images; *s != '\0';) {
        size_t n = strcspn(s, ",");

        snprintf(folder, sizeof(folder), "%.*s", (int)n, s);
        s += n + (s[n] == ',');
        if (n == 0 || realpath(folder, real) == NULL)
            continue;
        n = strlen(real);
        if (strcmp(real, "/") == 0 || strncmp(base, real, n) != 0 || (base[n] != '/' && base[n] != '\0'))
            continue;
        snprintf(usr, sizeof(usr), "%s/usr", base);
        if (access(usr, X_OK) != 0)
            return assay_err_set(err, ASSAY_E_UNSUPPORTED, "the image %.200s is no root: it has no usr", path);
        return 0;
    }
    return assay_err_set(err, ASSAY_E_UNSUPPORTED, "the image %.200s is not allowed: name its folder in native_images", path);
}

static int sn_open(void *self, struct assay_str image, struct assay_warden *out, struct assay_buf *place, struct assay_err *err)
{
    struct sn_driver *d = self;
    struct sn_warden *w = image.n > 0 ? NULL : from_pool(d);
    struct sn_paths paths = {.n = 0};
    char base[PATH_MAX] = "";
    int rc = sn_usable(d, err);

    if (rc == 0 && image.n > 0) {
        rc = image_allowed(d, image, base, err);
        if (rc == 0)
            rc = sn_paths_make(&paths, base, d->binds, "", d->data_dir, err);
    }
    if (rc == 0)
        rc = sn_place(d, image.n > 0 ? base : d->rootfs, place, err);
    if (rc == 0 && w == NULL) {
        metric(d, SN_M_POOL_MISSES, NULL, image.n == 0);
        rc = spawn_warden(d, image.n > 0 ? &paths : &d->paths, &w, err);
        if (rc != 0 && rc != ASSAY_E_BUSY)
            failed_once(d, err != NULL ? err->msg : "spawn failed");
        if (rc == 0)
            w->image = image.n > 0;
    }
    sn_paths_free(&paths);
    if (rc != 0)
        return rc;
    d->opens_now += image.n == 0;
    unwatch(d, w->stream);
    out->fd = w->stream;
    out->id = w->id;
    w->stream = -1;
    w->state = SN_OUT;
    return 0;
}

static void sn_close(void *self, uint64_t id)
{
    struct sn_driver *d = self;

    for (size_t i = 0; i < d->max_wardens; i++)
        if (d->w[i].state == SN_OUT && (id == 0 || d->w[i].id == id))
            end_warden(d, &d->w[i]);
}

static int sn_pollfd(void *self)
{
    return ((struct sn_driver *)self)->epoll;
}

void sn_count(const struct sn_driver *d, size_t by_state[SN_GONE + 1])
{
    for (int s = SN_FREE; s <= SN_GONE; s++)
        by_state[s] = 0;
    for (size_t i = 0; i < d->max_wardens; i++)
        by_state[d->w[i].state]++;
}

static void pool_adapt(struct sn_driver *d, int64_t now)
{
    if (d->opens_now > d->opens_peak)
        d->opens_peak = d->opens_now;
    d->pool_target = d->opens_peak < d->pool_min ? d->pool_min : d->opens_peak > d->pool_max ? d->pool_max : d->opens_peak;
    if (now - d->window_ns >= WINDOW_NS) {
        d->opens_peak = d->opens_now > d->opens_peak / 2 ? d->opens_now : d->opens_peak / 2;
        d->opens_now = 0;
        d->window_ns = now;
    }
}

static void pool_fill(struct sn_driver *d, size_t waiting, int64_t now)
{
    for (int i = 0; i < REFILL_PER_TICK && waiting < d->pool_target && now >= d->retry_ns; i++, waiting++) {
        struct assay_err err = {0, ""};
        struct sn_warden *w;
        int rc;

        /* a layer that is required and missing will not come back by starting processes */
        if (sn_usable(d, NULL) != 0)
            return;
        rc = spawn_warden(d, &d->paths, &w, &err);
        if (rc == ASSAY_E_BUSY)
            return;
        if (rc != 0) {
            failed_once(d, err.msg);
            return;
        }
    }
    /* fewer are wanted: the idle ones go, one at a time */
    if (waiting > d->pool_target + 1) {
        struct sn_warden *w = from_pool(d);

        if (w != NULL)
            end_warden(d, w);
    }
}

static void sn_tick(void *self)
{
    static const char *const state_names[] = {"free", "waiting", "in_use", "ending", "emptying"};
    struct sn_driver *d = self;
    struct epoll_event ev[64];
    size_t count[SN_GONE + 1];
    int64_t now = assay_mono_ns();
    int n = epoll_wait(d->epoll, ev, (int)(sizeof(ev) / sizeof(ev[0])), 0);

    for (int i = 0; i < n; i++) {
        struct sn_warden *w = &d->w[ev[i].data.u64 / 2];

        if (ev[i].data.u64 % 2 == WATCH_STREAM)
            on_stream(d, w);
        else
            on_control(d, w);
    }
    for (size_t i = 0; i < d->max_wardens; i++) {
        struct sn_warden *w = &d->w[i];
        struct assay_err err;

        if (w->state == SN_GONE && assay_leaf_set_empty(&d->leaves, &w->leaves))
            w->state = SN_FREE;
        if (w->state == SN_ENDING && w->kill_ns != 0 && now >= w->kill_ns)
            end_impatiently(d, w);
        if (w->state == SN_POOL || w->state == SN_OUT) {
            assay_leaf_set_sweep(&d->leaves, &w->leaves);
            if (w->control >= 0 && assay_leaf_set_fill(&d->leaves, &w->leaves, w->control, &err) != 0)
                assay_log(d->host, ASSAY_LOG_DEBUG, "leaf_not_given", ASSAY_KZ("reason", err.msg));
        }
    }
    sn_count(d, count);
    pool_adapt(d, now);
    pool_fill(d, count[SN_POOL], now);
    sn_count(d, count);
    for (int s = SN_FREE; s <= SN_GONE; s++)
        d->host->metric_set(d->host->ctx, &sn_metrics[SN_M_WARDENS], (const char *const[]){state_names[s], NULL},
                            (double)count[s]);
    d->host->metric_set(d->host->ctx, &sn_metrics[SN_M_LEAVES], NULL, (double)d->leaves.count);
}

static bool sn_reaped(void *self, pid_t pid, int status)
{
    struct sn_driver *d = self;

    for (size_t i = 0; i < d->max_wardens; i++) {
        struct sn_warden *w = &d->w[i];
        bool clean = WIFEXITED(status) && WEXITSTATUS(status) == 0;
        int64_t age = assay_mono_ns() - w->born_ns;

        if (w->pid != pid || w->state == SN_FREE || w->state == SN_GONE)
            continue;
        metric(d, SN_M_DEATHS, w->state == SN_ENDING ? "ended" : clean ? "clean" : WIFSIGNALED(status) ? "signal" : "error", 1);
        if (w->state != SN_ENDING && !clean) {
            char why[160];

            if (WIFSIGNALED(status))
                snprintf(why, sizeof(why), "a warden was killed by signal %d", WTERMSIG(status));
            else
                snprintf(why, sizeof(why), "a warden ended with status %d; its own line on stderr says why",
                         WEXITSTATUS(status));
            assay_log(d->host, ASSAY_LOG_WARN, "warden_died", ASSAY_KI("pid", pid), ASSAY_KI("age_ms", age / 1000000),
                      ASSAY_KZ("reason", why));
            /* one that is in use and killed is somebody's doing; one that gives up by itself never was well */
            if (!w->greeted && !w->image && age < EARLY_NS && (w->state == SN_POOL || WIFEXITED(status)))
                failed_once(d, why);
        }
        close_ends(d, w);
        w->pid = -1;
        w->state = assay_leaf_set_empty(&d->leaves, &w->leaves) ? SN_FREE : SN_GONE;
        return true;
    }
    return false;
}

static int sn_reap(void *self, struct assay_err *err)
{
    struct sn_driver *d = self;
    size_t strays = sn_probe_strays(d->name), left = 0;
    size_t leaves = assay_leaves_reap(&d->leaves, &left);

    metric(d, SN_M_REAPED, "warden", (double)strays);
    metric(d, SN_M_REAPED, "leaf", (double)leaves);
    if (strays + leaves > 0)
        assay_log(d->host, ASSAY_LOG_INFO, "reaped", ASSAY_KI("wardens", strays), ASSAY_KI("leaves", leaves));
    if (left > 0)
        return assay_err_set(err, ASSAY_E_BUSY, "%zu old cgroup leaves of %s do not empty", left, d->name);
    return 0;
}

const struct assay_sandbox_ops sn_ops = {
    .size = sizeof(struct assay_sandbox_ops),
    .reap = sn_reap,
    .open = sn_open,
    .close = sn_close,
    .pollfd = sn_pollfd,
    .tick = sn_tick,
    .reaped = sn_reaped,
    .doctor = sn_doctor,
    .usable = sn_usable,
    .info = sn_info,
};

/* ---- life ---- */

static int require_parse(const char *text, struct sn_driver *d, struct assay_err *err)
{
    static const struct {
        const char *name;
        uint32_t bit;
    } layers[] = {{"namespaces", SN_NAMESPACES}, {"seccomp", SN_SECCOMP}, {"cgroup", SN_CGROUP}, {"none", 0}};

    d->require = 0;
    if (strcmp(text, "auto") == 0) {
        d->require = d->reduced ? SN_SECCOMP : SN_NAMESPACES | SN_SECCOMP | (d->root ? SN_CGROUP : 0);
        return 0;
    }
    for (const char *s = text; *s != '\0';) {
        size_t n = strcspn(s, ","), i;

        for (i = 0; i < sizeof(layers) / sizeof(layers[0]); i++)
            if (strlen(layers[i].name) == n && memcmp(layers[i].name, s, n) == 0)
                break;
        if (i == sizeof(layers) / sizeof(layers[0]))
            return assay_err_set(err, ASSAY_E_CONFIG,
                                 "option require: \"%.*s\" is none of namespaces, seccomp, cgroup, none, auto",
                                 (int)(n > 40 ? 40 : n), s);
        d->require |= layers[i].bit;
        s += n + (s[n] == ',');
    }
    return 0;
}

static int rootfs_given(struct sn_driver *d, const char *path, struct assay_err *err)
{
    char real[PATH_MAX], usr[PATH_MAX + 8];

    if (path[0] == '\0')
        return 0;
    if (path[0] != '/')
        return assay_err_set(err, ASSAY_E_CONFIG, "option native_rootfs: %.300s is relative; give an absolute path", path);
    if (realpath(path, real) == NULL)
        return assay_err_errno(err, ASSAY_E_CONFIG, errno, "option native_rootfs: %.300s", path);
    if (strlen(real) >= sizeof(d->rootfs))
        return assay_err_set(err, ASSAY_E_CONFIG, "option native_rootfs: %.300s is too long a path", path);
    snprintf(usr, sizeof(usr), "%s/usr", real);
    if (access(usr, X_OK) != 0)
        return assay_err_errno(err, ASSAY_E_CONFIG, errno,
                               "option native_rootfs: %.300s is no root, such as assay-images makes: its folder usr", path);
    memcpy(d->rootfs, real, strlen(real) + 1);
    return 0;
}

int sn_init(const struct assay_host *host, void **self, struct assay_err *err)
{
    struct sn_driver *d = calloc(1, sizeof(*d));
    const char *data_dir = host->option_str(host->ctx, "data_dir");
    char real[PATH_MAX], hex[ASSAY_SHA256_HEX];
    int rc;

    if (d == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for the driver");
    *self = d;
    d->host = host;
    d->epoll = -1;
    d->images = host->option_str(host->ctx, "native_images");
    d->binds = host->option_str(host->ctx, "native_binds");
    d->data_dir = data_dir;
    d->next_id = 1;
    d->root = geteuid() == 0;
    d->reduced = strcmp(host->option_str(host->ctx, "sandbox"), "reduced") == 0;
    d->mode = d->reduced ? "reduced" : d->root ? "native" : "native-userns";
    d->uid_base = (uint32_t)host->option_int(host->ctx, "box_uid_base");
    d->max_wardens = (size_t)host->option_int(host->ctx, "max_wardens");
    d->pool_min = (size_t)host->option_int(host->ctx, "pool_min");
    d->pool_max = (size_t)host->option_int(host->ctx, "pool_max");
    if (d->pool_max < d->pool_min)
        return assay_err_set(err, ASSAY_E_CONFIG, "pool_max (%zu) is under pool_min (%zu)", d->pool_max, d->pool_min);
    d->pool_target = d->pool_min;
    assay_sandbox_find_warden(host, d->warden_path, sizeof(d->warden_path));
    rc = require_parse(host->option_str(host->ctx, "require"), d, err);
    if (rc == 0)
        rc = rootfs_given(d, host->option_str(host->ctx, "native_rootfs"), err);
    if (rc == 0)
        rc = sn_paths_make(&d->paths, d->rootfs, d->binds,
                           host->option_str(host->ctx, "native_hide"), data_dir, err);
    if (rc != 0)
        return rc;
    d->w = calloc(d->max_wardens, sizeof(*d->w));
    if (d->w == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for %zu wardens", d->max_wardens);
    for (size_t i = 0; i < d->max_wardens; i++)
        d->w[i] = (struct sn_warden){.pid = -1, .stream = -1, .control = -1};
    d->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (d->epoll < 0)
        return assay_err_errno(err, ASSAY_E_INTERNAL, errno, "epoll_create1");
    if (realpath(data_dir, real) == NULL)
        snprintf(real, sizeof(real), "%s", data_dir);
    assay_sha256_hex(assay_str(real), hex);
    sn_probe_run(&d->probe, d->root);
    assay_leaves_open(&d->leaves, host, hex, host->option_str(host->ctx, "native_cgroup_parent"), "native_cgroup_parent",
                      d->max_wardens);
    memcpy(d->name, d->leaves.name, sizeof(d->name));
    if (d->reduced) {
        const char *dir = host->option_str(host->ctx, "reduced_dir");

        snprintf(d->reduced_dir, sizeof(d->reduced_dir), "%s%s", dir[0] != '\0' ? dir : "/tmp/", dir[0] != '\0' ? "" : d->name);
        rc = sn_reduced_dir(d->reduced_dir, d->root, err);
        if (rc != 0)
            return rc;
        assay_log(host, ASSAY_LOG_WARN, "reduced_boxes", ASSAY_KZ("lack", "namespaces, a root of their own, a bound on all files "
                  "together; see doctor"));
    }
    if (d->leaves.trouble[0] != '\0')
        assay_log(host, ASSAY_LOG_WARN, "cgroup_incomplete", ASSAY_KZ("reason", d->leaves.trouble),
                  ASSAY_KZ("remedy", d->leaves.remedy));
    return 0;
}

void sn_drain(void *self)
{
    struct sn_driver *d = self;

    for (size_t i = 0; i < d->max_wardens; i++)
        end_warden(d, &d->w[i]);
    for (size_t i = 0; i < d->max_wardens; i++) {
        struct sn_warden *w = &d->w[i];

        for (int turn = 0; w->state == SN_ENDING && w->kill_ns != 0 && turn < 100; turn++) {
            if (waitpid(w->pid, NULL, WNOHANG) == w->pid)
                w->state = SN_GONE;
            else
                usleep(20000);
        }
        if (w->state == SN_ENDING && w->kill_ns != 0)
            end_impatiently(d, w);
        if (w->state == SN_ENDING) /* killed, so this is short; the boxkeeper's alarm bounds it */
            while (waitpid(w->pid, NULL, 0) < 0 && errno == EINTR)
                ;
        if (w->state != SN_FREE)
            w->state = SN_GONE;
    }
    for (int turn = 0; turn < 100; turn++) {
        bool all = true;

        for (size_t i = 0; i < d->max_wardens; i++)
            if (d->w[i].state == SN_GONE && assay_leaf_set_empty(&d->leaves, &d->w[i].leaves))
                d->w[i].state = SN_FREE;
            else
                all = all && d->w[i].state == SN_FREE;
        if (all)
            break;
        usleep(10000);
    }
    if (d->leaves.count > 0)
        assay_log(d->host, ASSAY_LOG_WARN, "leaves_stay", ASSAY_KI("count", d->leaves.count));
    assay_leaves_close(&d->leaves);
}

void sn_fini(void *self)
{
    struct sn_driver *d = self;

    if (d == NULL)
        return;
    if (d->w != NULL)
        for (size_t i = 0; i < d->max_wardens; i++)
            assert(d->w[i].state == SN_FREE || d->w[i].state == SN_GONE);
    if (d->epoll >= 0)
        close(d->epoll);
    sn_paths_free(&d->paths);
    free(d->w);
    free(d);
}
