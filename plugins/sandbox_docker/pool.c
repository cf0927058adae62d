/*
 * The slots: each at most one container with one warden.
 *
 *     FREE ──▶ MAKING ──▶ LIVE ──▶ ENDING ──▶ GONE ──leaves empty──▶ FREE
 *               │ a worker   │ dies, or is let go   │ a worker removes the container, as often as it takes
 *               └──failed────┴──────────────────────┘
 *
 * The runner's end of the stream exists from the slot's first moment, so a warden can be handed out
 * before its container has started: the runner waits for the HELLO, as it does anyway.  The warden gets its
 * end when it joins: it connects to our socket, which is mounted into its container, and says its
 * token; the connection is its control socket from then on.
 *
 * Which way the stream takes is found out by the first containers: when one cannot be made or its warden
 * does not join because the engine does not see our file system, all go by the API's attach (attach.c), without
 * leaves.  Only a socket on which something joined makes the other way certain.
 */
#include "local.h"

#include <assay/value.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define JOIN_NS (30LL * 1000000000)    /* a container that runs and says nothing for so long will not */
#define TAKE_NS (5LL * 1000000000)    /* for a boxkeeper before us to let go of the folder */
#define SAY_NS (5LL * 1000000000)      /* a connection that does not say whose it is */
#define END_RETRY_NS (2LL * 1000000000)
#define FAILURES_MAX 3
#define MESSAGES_PER_TURN 64

void sd_metric(const struct sd_driver *d, enum sd_metric_row row, const char *label, double by)
{
    d->host->metric_add(d->host->ctx, &sd_metrics[row], label != NULL ? (const char *const[]){label, NULL} : NULL, by);
}

int sd_watch_add(struct sd_driver *d, int fd, enum sd_watch what, size_t index)
{
    struct epoll_event ev = {.events = EPOLLIN | (what == SD_WATCH_STREAM ? EPOLLONESHOT : 0),
                             .data.u64 = (uint64_t)what << 32 | index};

    return epoll_ctl(d->epoll, EPOLL_CTL_ADD, fd, &ev);
}

/* Removed by hand: a copy of the descriptor in another process would keep it in the set. */
void sd_watch_remove(struct sd_driver *d, int fd)
{
    if (epoll_ctl(d->epoll, EPOLL_CTL_DEL, fd, NULL) != 0 && errno != ENOENT)
        assay_log(d->host, ASSAY_LOG_WARN, "unwatch_failed", ASSAY_KI("errno", errno));
}

static size_t slot_of(const struct sd_driver *d, const struct sd_warden *w)
{
    return (size_t)(w - d->w);
}

static void close_one(struct sd_driver *d, int *fd, bool watched)
{
    if (*fd < 0)
        return;
    if (watched)
        sd_watch_remove(d, *fd);
    close(*fd);
    *fd = -1;
}

static void close_ends(struct sd_driver *d, struct sd_warden *w)
{
    close_one(d, &w->control, true);
    close_one(d, &w->ours, true);
    close_one(d, &w->theirs, false);
}

/* Wardens that fail at once: after some in a row attempts are spaced out, up to half a minute. */
void sd_failed_once(struct sd_driver *d, const char *why)
{
    int64_t pause_ns = 500000000;

    d->failures++;
    for (unsigned i = FAILURES_MAX; i < d->failures && pause_ns < 30LL * 1000000000; i++)
        pause_ns *= 2;
    if (d->failures >= FAILURES_MAX)
        d->retry_ns = assay_mono_ns() + pause_ns;
    snprintf(d->failure, sizeof(d->failure), "%s", why);
    assay_log(d->host, ASSAY_LOG_ERROR, "warden_failed", ASSAY_KZ("reason", why), ASSAY_KI("in_a_row", d->failures));
}

/* ---- making ---- */

static bool by_attach(const struct sd_driver *d)
{
    return d->transport == SD_BY_ATTACH;
}

int sd_warden_make(struct sd_driver *d, size_t image, struct sd_warden **out, struct assay_err *err)
{
    struct sd_task *t = sd_task_new(SD_START);
    struct sd_warden *w = NULL;
    int stream[2] = {-1, -1}, life[2] = {-1, -1};
    struct stat st;
    int rc = 0;

    if (t == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for a container");
    for (size_t i = 0; i < d->max_wardens && w == NULL; i++)
        if (d->w[i].state == SD_FREE)
            w = &d->w[i];
    if (w == NULL) {
        free(t);
        return assay_err_set(err, ASSAY_E_BUSY, "all %zu containers are in use (docker_max_wardens)", d->max_wardens);
    }
    *w = (struct sd_warden){.ours = -1, .theirs = -1, .control = -1, .image = image, .generation = d->images[image].generation};
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, stream) != 0 ||
        (by_attach(d) && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, life) != 0))
        rc = assay_err_errno(err, ASSAY_E_IO, errno, "sockets for a warden");
    if (rc == 0 && (sd_watch_add(d, stream[0], SD_WATCH_STREAM, slot_of(d, w)) != 0 ||
                    (life[0] >= 0 && sd_watch_add(d, life[0], SD_WATCH_CONTROL, slot_of(d, w)) != 0)))
        rc = assay_err_errno(err, ASSAY_E_IO, errno, "epoll for a warden");
    if (rc != 0) {
        for (int i = 0; i < 2; i++) {
            if (stream[i] >= 0)
                close(stream[i]);
            if (life[i] >= 0)
                close(life[i]);
        }
        free(t);
        return rc;
    }
    w->id = d->next_id++;
    w->stream = fstat(stream[0], &st) == 0 ? (uint64_t)st.st_ino : 0;
    w->state = SD_MAKING;
    w->busy = true;
    w->born_ns = assay_mono_ns();
    w->ours = stream[0];
    assay_random_hex(w->token, ASSAY_WARDEN_TOKEN / 2);
    t->index = slot_of(d, w);
    t->id = w->id;
    t->u.start = (struct sd_start){.stream = -1, .life = -1, .leaf = d->leaves.version > 0 && !by_attach(d), .attach = by_attach(d), .single = d->single};
    if (by_attach(d)) {
        t->u.start.stream = stream[1];
        t->u.start.life = life[1];
        w->control = life[0];
        w->joined = true;
    } else {
        w->theirs = stream[1];
    }
    snprintf(t->u.start.derived, sizeof(t->u.start.derived), "%s", d->images[image].facts.derived);
    snprintf(t->u.start.token, sizeof(t->u.start.token), "%s", w->token);
    snprintf(t->u.start.name, sizeof(t->u.start.name), "assay-%.8s-%s-%llu", d->setup.data_id, d->setup.life, (unsigned long long)w->id);
    sd_work_give(d->work, t);
    *out = w;
    return 0;
}

static void give_end(struct sd_driver *d, struct sd_warden *w, bool ask)
{
    struct sd_task *t = sd_task_new(SD_END);

    if (t == NULL) { /* tick tries again */
        w->retry_ns = assay_mono_ns() + END_RETRY_NS;
        return;
    }
    w->busy = true;
    t->index = slot_of(d, w);
    t->id = w->id;
    t->u.end.ask = ask;
    memcpy(t->u.end.container, w->container, sizeof(t->u.end.container));
    sd_work_give(d->work, t);
}

static void end_slot(struct sd_driver *d, struct sd_warden *w, bool ask)
{
    close_ends(d, w);
    if (w->busy) { /* its task comes back first */
        w->doomed = true;
        w->state = SD_ENDING;
        return;
    }
    w->state = SD_ENDING;
    if (w->container[0] == '\0')
        w->state = SD_GONE;
    else
        give_end(d, w, ask);
}

void sd_warden_end(struct sd_driver *d, struct sd_warden *w)
{
    if (w->state == SD_MAKING || w->state == SD_LIVE)
        end_slot(d, w, false);
}

/* Its words say that there are no namespaces to be had inside a container. */
static bool nesting_refused(const char *words)
{
    return strstr(words, "cannot make a user namespace") != NULL || strstr(words, "cannot make namespaces") != NULL ||
           strstr(words, "cannot make the mounts private") != NULL;
}

/* Then a container is what holds one job, in a reduced box, and is thrown away after it. */
static void go_single(struct sd_driver *d, const char *why)
{
    d->single = true;
    snprintf(d->single_why, sizeof(d->single_why), "%.190s", why);
    assay_log(d->host, ASSAY_LOG_WARN, "docker_single", ASSAY_KZ("reason", why),
              ASSAY_KZ("effect", "a container for each submission, and reduced boxes in it"));
    for (size_t i = 0; i < d->max_wardens; i++)
        if (!d->w[i].out)
            sd_warden_end(d, &d->w[i]);
}

void sd_warden_died(struct sd_driver *d, struct sd_warden *w)
{
    bool early = !w->greeted && !w->out;

    if (w->state != SD_MAKING && w->state != SD_LIVE)
        return;
    if (!d->single && nesting_refused(w->grief))
        go_single(d, w->grief);
    else if (early || w->grief[0] != '\0')
        sd_failed_once(d, w->grief[0] != '\0' ? w->grief : "a warden ended before it said hello");
    if (w->state == SD_MAKING || w->state == SD_LIVE)
        end_slot(d, w, w->state == SD_LIVE && w->out);
}

/* True when the words of a failed start say that the engine cannot mount what we have here. */
static bool mount_refused(const char *words)
{
    return strstr(words, "bind source path does not exist") != NULL || strstr(words, "invalid mount config") != NULL ||
           strstr(words, "error while creating mount source") != NULL;
}

static void go_by_attach(struct sd_driver *d, const char *why)
{
    d->transport = SD_BY_ATTACH;
    snprintf(d->transport_why, sizeof(d->transport_why), "%.280s", why);
    assay_log(d->host, ASSAY_LOG_WARN, "docker_attach", ASSAY_KZ("reason", why),
              ASSAY_KZ("effect", "streams go through the engine, and boxes have no cgroup leaf"));
    for (size_t i = 0; i < d->max_wardens; i++) /* those under way would wait in vain */
        if (!d->w[i].joined)
            sd_warden_end(d, &d->w[i]);
}

void sd_warden_started(struct sd_driver *d, struct sd_task *t)
{
    struct sd_warden *w = &d->w[t->index];

    w->busy = false;
    memcpy(w->container, t->u.start.container, sizeof(w->container));
    sd_metric(d, SD_M_STARTS, t->status == 0 ? "ok" : "failed", 1);
    if (t->status != 0 && !w->doomed) {
        if (d->transport == SD_BY_UNKNOWN && !t->u.start.attach && d->transport_wanted == SD_BY_UNKNOWN && mount_refused(t->err.msg))
            go_by_attach(d, t->err.msg);
        else
            sd_failed_once(d, t->err.msg);
        if (t->status == ASSAY_E_NOT_FOUND) /* the derived image was removed under us: look again */
            d->images[w->image].checked_ns = 0;
        w->doomed = true;
    }
    if (w->doomed) {
        end_slot(d, w, false);
        return;
    }
    w->state = SD_LIVE;
}

void sd_warden_ended(struct sd_driver *d, struct sd_task *t)
{
    struct sd_warden *w = &d->w[t->index];
    bool restarted = w->born_ns < d->lost_ns; /* it lived while the engine went down */

    w->busy = false;
    if (t->u.end.ask) {
        struct sd_fate *f = &d->fate[d->n_fates++ % SD_FATES_MAX];

        f->stream = w->stream;
        f->outside = t->u.end.outside || restarted;
        snprintf(f->why, sizeof(f->why), "%s", restarted ? "the Docker engine went down" : t->u.end.why);
        sd_metric(d, SD_M_ENDS, f->outside ? "outside" : t->u.end.clean ? "clean" : "failed", 1);
        if (f->outside || !t->u.end.clean)
            assay_log(d->host, ASSAY_LOG_WARN, "warden_died", ASSAY_KI("warden", w->id), ASSAY_KZ("reason", f->why));
    } else if (t->status == 0) {
        sd_metric(d, SD_M_ENDS, "ended", 1);
    }
    if (t->status != 0) { /* the engine is away, or slow: until it is done */
        w->retry_ns = assay_mono_ns() + END_RETRY_NS;
        assay_log(d->host, ASSAY_LOG_DEBUG, "container_stays", ASSAY_KZ("reason", t->err.msg));
        return;
    }
    w->state = assay_leaf_set_empty(&d->leaves, &w->leaves) ? SD_FREE : SD_GONE;
}

/* ---- what wardens say ---- */

/* Makes and opens the folder, and locks it.  BUSY: another boxkeeper has it, or has removed it between. */
static int dir_take(struct sd_driver *d, struct assay_err *err)
{
    const char *dir = d->setup.socket_dir;
    struct stat st, now;

    if (mkdir(dir, 0711) != 0 && errno != EEXIST)
        return assay_err_errno(err, ASSAY_E_CONFIG, errno, "cannot make %s (docker_socket_dir)", dir);
    d->socket_dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (d->socket_dir_fd < 0 && errno == ENOENT)
        return assay_err_set(err, ASSAY_E_BUSY, "%s was removed", dir);
    if (d->socket_dir_fd < 0 || fstat(d->socket_dir_fd, &st) != 0)
        return assay_err_errno(err, ASSAY_E_CONFIG, errno, "cannot open %s (docker_socket_dir)", dir);
    if (st.st_uid != geteuid() || (st.st_mode & 022) != 0)
        return assay_err_set(err, ASSAY_E_CONFIG, "%s must belong to the boxkeeper's user and be writable for nobody else; remove it "
                             "or name another folder in docker_socket_dir", dir);
    if (flock(d->socket_dir_fd, LOCK_EX | LOCK_NB) == 0 && lstat(dir, &now) == 0 && now.st_ino == st.st_ino && now.st_dev == st.st_dev)
        return 0;
    close(d->socket_dir_fd);
    d->socket_dir_fd = -1;
    return assay_err_set(err, ASSAY_E_BUSY, "%s (docker_socket_dir) is in use by another boxkeeper", dir);
}

int sd_listen_open(struct sd_driver *d, struct assay_err *err)
{
    struct sockaddr_un where = {.sun_family = AF_UNIX};
    int64_t end = assay_mono_ns() + TAKE_NS;
    int fd, rc;

    /* The boxkeeper of the life before, whose supervisor was killed, may be clearing up yet: what it removes must not be ours. */
    while ((rc = dir_take(d, err)) == ASSAY_E_BUSY && assay_mono_ns() < end)
        usleep(10000);
    if (rc != 0)
        return rc;
    if (fchmod(d->socket_dir_fd, 0711) != 0)
        return assay_err_errno(err, ASSAY_E_CONFIG, errno, "chmod of %s", d->setup.socket_dir);
    if (unlinkat(d->socket_dir_fd, "s", 0) != 0 && errno != ENOENT)
        return assay_err_errno(err, ASSAY_E_CONFIG, errno, "cannot remove the old socket in %s", d->setup.socket_dir);
    /* through the descriptor: the folder's own path may be longer than a socket's may */
    snprintf(where.sun_path, sizeof(where.sun_path), "/proc/self/fd/%d/s", d->socket_dir_fd);
    fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&where, sizeof(where)) != 0 || fchmodat(d->socket_dir_fd, "s", 0666, 0) != 0 ||
        listen(fd, 128) != 0 || sd_watch_add(d, fd, SD_WATCH_LISTENER, 0) != 0) {
        int e = errno;

        if (fd >= 0)
            close(fd);
        return assay_err_errno(err, ASSAY_E_CONFIG, e, "cannot listen in %s (docker_socket_dir)", d->setup.socket_dir);
    }
    d->listener = fd;
    return 0;
}

void sd_listen_close(struct sd_driver *d)
{
    for (size_t i = 0; i < sizeof(d->joining) / sizeof(d->joining[0]); i++)
        close_one(d, &d->joining[i].fd, true);
    close_one(d, &d->listener, true);
    if (d->socket_dir_fd >= 0) {
        (void)unlinkat(d->socket_dir_fd, "s", 0);
        (void)rmdir(d->setup.socket_dir); /* one that is not empty is not ours to remove */
        close(d->socket_dir_fd);          /* gives the lock back, so it comes last */
        d->socket_dir_fd = -1;
    }
}

void sd_listen_ready(struct sd_driver *d)
{
    for (int n = 0; n < MESSAGES_PER_TURN; n++) {
        int fd = accept4(d->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        size_t free_at = SIZE_MAX;

        if (fd < 0)
            return;
        for (size_t i = 0; i < sizeof(d->joining) / sizeof(d->joining[0]); i++)
            if (d->joining[i].fd < 0)
                free_at = i;
        if (free_at == SIZE_MAX || sd_watch_add(d, fd, SD_WATCH_JOINING, free_at) != 0) {
            close(fd); /* its warden dies, and another is made */
            continue;
        }
        d->joining[free_at].fd = fd;
        d->joining[free_at].since_ns = assay_mono_ns();
    }
}

static bool give_stream(struct sd_driver *d, struct sd_warden *w)
{
    struct assay_warden_stream msg = {.type = ASSAY_WARDEN_STREAM, .leaves = d->leaves.version > 0 ? 1 : 0};
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } ancillary;
    struct iovec iov = {&msg, sizeof(msg)};
    struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = ancillary.bytes, .msg_controllen = sizeof(ancillary.bytes)};
    struct cmsghdr *c;
    struct assay_err err = {0, ""};

    memset(&ancillary, 0, sizeof(ancillary));
    c = CMSG_FIRSTHDR(&mh);
    if (c == NULL)
        return false;
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(c), &w->theirs, sizeof(int));
    if (sendmsg(w->control, &mh, MSG_NOSIGNAL) != (ssize_t)sizeof(msg))
        return false;
    close_one(d, &w->theirs, false);
    if (assay_leaf_set_fill(&d->leaves, &w->leaves, w->control, &err) != 0) {
        snprintf(w->grief, sizeof(w->grief), "no cgroup leaf for a warden: %.150s", err.msg);
        return false;
    }
    return true;
}

void sd_joining_ready(struct sd_driver *d, size_t i)
{
    struct assay_warden_join join;
    int fd = d->joining[i].fd;
    ssize_t n = fd >= 0 ? recv(fd, &join, sizeof(join), MSG_DONTWAIT | MSG_TRUNC) : -1;
    struct sd_warden *w = NULL;

    if (fd < 0 || (n < 0 && (errno == EAGAIN || errno == EINTR)))
        return;
    for (size_t k = 0; k < d->max_wardens && n == (ssize_t)sizeof(join) && join.type == ASSAY_WARDEN_JOIN && w == NULL; k++) {
        struct sd_warden *c = &d->w[k];

        if ((c->state == SD_MAKING || c->state == SD_LIVE) && !c->joined && c->theirs >= 0 &&
            assay_equal_ct((struct assay_str){join.token, ASSAY_WARDEN_TOKEN}, assay_str(c->token)))
            w = c;
    }
    sd_watch_remove(d, fd);
    d->joining[i].fd = -1;
    if (w == NULL || sd_watch_add(d, fd, SD_WATCH_CONTROL, slot_of(d, w)) != 0) {
        assay_log(d->host, ASSAY_LOG_WARN, "unknown_warden", ASSAY_KI("bytes", n));
        close(fd);
        return;
    }
    w->control = fd;
    w->joined = true;
    if (d->transport == SD_BY_UNKNOWN)
        d->transport = SD_BY_SOCKET;
    if (!give_stream(d, w))
        sd_warden_died(d, w);
}

void sd_control_ready(struct sd_driver *d, struct sd_warden *w)
{
    for (int i = 0; i < MESSAGES_PER_TURN && w->control >= 0; i++) {
        union {
            uint32_t type;
            struct assay_warden_spent spent;
            struct assay_warden_grief grief;
        } msg;
        struct assay_err err = {0, ""};
        /* no ancillary room: descriptors that a warden might send are closed by the kernel */
        ssize_t n = recv(w->control, &msg, sizeof(msg), MSG_DONTWAIT | MSG_TRUNC);

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n <= 0) {
            sd_warden_died(d, w);
            return;
        }
        if (n == (ssize_t)sizeof(msg.grief) && msg.type == ASSAY_WARDEN_GRIEF) {
            size_t k = 0;

            for (; k < sizeof(w->grief) - 1 && k < sizeof(msg.grief.text) && msg.grief.text[k] != '\0'; k++)
                w->grief[k] = msg.grief.text[k] >= ' ' && msg.grief.text[k] <= '~' ? msg.grief.text[k] : '?';
            w->grief[k] = '\0';
            continue;
        }
        if (n != (ssize_t)sizeof(msg.spent) || msg.type != ASSAY_WARDEN_SPENT || !assay_leaf_set_has(&w->leaves, msg.spent.id)) {
            assay_log(d->host, ASSAY_LOG_ERROR, "warden_garbage", ASSAY_KI("warden", w->id), ASSAY_KI("bytes", n));
            sd_warden_end(d, w);
            return;
        }
        sd_metric(d, SD_M_SPENT, msg.spent.dirty ? "yes" : "no", 1);
        if (!assay_leaf_set_spent(&d->leaves, &w->leaves, msg.spent.id)) {
            assay_log(d->host, ASSAY_LOG_ERROR, "leaves_do_not_empty", ASSAY_KI("warden", w->id));
            sd_warden_end(d, w);
            return;
        }
        if (assay_leaf_set_fill(&d->leaves, &w->leaves, w->control, &err) != 0) /* tick tries again */
            assay_log(d->host, ASSAY_LOG_WARN, "leaf_not_given", ASSAY_KI("warden", w->id), ASSAY_KZ("reason", err.msg));
    }
}

/* One that waits in the pool has said something: the HELLO, left in place for the runner. */
void sd_stream_ready(struct sd_driver *d, struct sd_warden *w)
{
    struct {
        struct assay_warden_frame f;
        struct assay_warden_hello h;
    } in;
    ssize_t n;

    if (w->ours < 0)
        return;
    n = recv(w->ours, &in, sizeof(in), MSG_PEEK | MSG_DONTWAIT);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
        if (by_attach(d)) /* otherwise the control socket tells, and with it the warden's words */
            sd_warden_died(d, w);
        return;
    }
    if (n != (ssize_t)sizeof(in) || in.f.type != ASSAY_WARDEN_HELLO || in.f.length != sizeof(in.h) ||
        in.h.protocol != ASSAY_WARDEN_PROTOCOL) {
        sd_failed_once(d, "a warden speaks another protocol: is it of the same version?");
        sd_warden_end(d, w);
        return;
    }
    w->greeted = true;
    d->failures = 0;
    d->features = in.h.features;
    d->features_known = true;
}

void sd_wardens_tick(struct sd_driver *d, int64_t now)
{
    for (size_t i = 0; i < sizeof(d->joining) / sizeof(d->joining[0]); i++)
        if (d->joining[i].fd >= 0 && now - d->joining[i].since_ns > SAY_NS)
            close_one(d, &d->joining[i].fd, true);
    for (size_t i = 0; i < d->max_wardens; i++) {
        struct sd_warden *w = &d->w[i];
        struct assay_err err;

        if (w->state == SD_ENDING && !w->busy && now >= w->retry_ns)
            give_end(d, w, false);
        if (w->state == SD_GONE && assay_leaf_set_empty(&d->leaves, &w->leaves))
            w->state = SD_FREE;
        if (w->state != SD_LIVE)
            continue;
        assay_leaf_set_sweep(&d->leaves, &w->leaves);
        if (w->joined && !by_attach(d) && w->control >= 0 && assay_leaf_set_fill(&d->leaves, &w->leaves, w->control, &err) != 0)
            assay_log(d->host, ASSAY_LOG_DEBUG, "leaf_not_given", ASSAY_KZ("reason", err.msg));
        if (!w->joined && now - w->born_ns > JOIN_NS) {
            if (d->transport == SD_BY_UNKNOWN && d->transport_wanted == SD_BY_UNKNOWN) {
                go_by_attach(d, "no warden reached our socket from its container");
            } else {
                sd_failed_once(d, "a container runs, and its warden does not join");
                sd_warden_end(d, w);
            }
        }
        if (!w->out && d->images[w->image].generation != w->generation) /* the name means another image by now */
            sd_warden_end(d, w);
    }
}
