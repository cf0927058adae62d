/*
 * The thread of a link: makes its connection and makes it anew, waits for the broker and for other threads, and hands frames
 * on.  The wait for the next try doubles from 0.2 s to amqp_reconnect_max, and varies by a quarter, so that
 * many processes do not come back at one moment.
 */
#include "local.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define FIRST_WAIT_MS 200
#define FRAMES 512      /* of the broker in a row before others have their turn */
#define STOP_MS 3000    /* to settle and to publish what is waiting when the end has come */
#define MS ((int64_t)1000000)

int aq_link_init(struct aq_link *l, struct aq_driver *d, const struct aq_link_ops *ops, struct assay_err *err)
{
    l->d = d;
    l->ops = ops;
    l->fd = -1;
    l->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (l->wake < 0)
        return assay_err_errno(err, ASSAY_E_IO, errno, "an eventfd");
    if (pthread_mutex_init(&l->lock, NULL) != 0) {
        (void)close(l->wake);
        l->wake = -1;
        return assay_err_set(err, ASSAY_E_NOMEM, "no lock");
    }
    (void)snprintf(l->why, sizeof l->why, "not connected yet");
    return 0;
}

void aq_link_wake(struct aq_link *l)
{
    uint64_t one = 1;
    (void)!write(l->wake, &one, sizeof one);
}

void aq_link_note(struct aq_link *l, const char *fmt, ...)
{
    char text[300];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    (void)pthread_mutex_lock(&l->lock);
    bool same = strcmp(text, l->note) == 0;
    memcpy(l->note, text, sizeof text);
    (void)pthread_mutex_unlock(&l->lock);
    if (!same)
        assay_log(l->d->host, ASSAY_LOG_WARN, "amqp_note", ASSAY_KZ("link", l->ops->name), ASSAY_KZ("note", text));
}

static void say(struct aq_link *l, bool connected, const char *why)
{
    (void)pthread_mutex_lock(&l->lock);
    l->connected = connected;
    l->blocked = false;
    (void)snprintf(l->why, sizeof l->why, "%s", why);
    (void)pthread_mutex_unlock(&l->lock);
    l->d->host->metric_set(l->d->host->ctx, &aq_metrics[AQ_M_CONNECTED], (const char *const[]){l->ops->name}, connected ? 1 : 0);
}

static int64_t backoff_ms(struct aq_link *l)
{
    int64_t ms = FIRST_WAIT_MS;
    for (unsigned i = 1; i < l->tries && ms < l->d->backoff_max_ms; i++)
        ms *= 2;
    if (ms > l->d->backoff_max_ms)
        ms = l->d->backoff_max_ms;
    char hex[9];
    assay_random_hex(hex, 4);
    int64_t spread = ms / 2;
    return ms - ms / 4 + (spread != 0 ? (int64_t)(strtoul(hex, NULL, 16)) % spread : 0);
}

static void lose(struct aq_link *l, const struct assay_err *why)
{
    aq_disconnect(l, false);
    l->tries++;
    int64_t wait = backoff_ms(l);
    l->next_ns = assay_mono_ns() + wait * MS;
    say(l, false, why->msg);
    if (!atomic_load(&l->stopping))
        assay_log(l->d->host, ASSAY_LOG_WARN, "amqp_disconnected", ASSAY_KZ("link", l->ops->name), ASSAY_KZ("reason", why->msg),
                  ASSAY_KI("retry_ms", wait));
    l->ops->closed(l, why);
}

static void try_connect(struct aq_link *l)
{
    struct assay_err err = {0};
    int st = aq_connect(l, &err);
    aq_count(l->d, AQ_M_CONNECTS, l->ops->name, st == 0 ? "ok" : "failed");
    if (st == 0)
        st = l->ops->opened(l, &err);
    if (st != 0) {
        lose(l, &err);
        return;
    }
    l->tries = 0;
    say(l, true, "");
    assay_log(l->d->host, ASSAY_LOG_INFO, "amqp_connected", ASSAY_KZ("link", l->ops->name), ASSAY_KZ("peer", l->peer));
}

/* What every connection may be told. 1: not one of these. */
static int common_frame(struct aq_link *l, const amqp_frame_t *f, struct assay_err *err)
{
    switch (f->payload.method.id) {
    case AMQP_CONNECTION_BLOCKED_METHOD: {
        const amqp_connection_blocked_t *b = f->payload.method.decoded;
        (void)pthread_mutex_lock(&l->lock);
        l->blocked = true;
        (void)snprintf(l->why, sizeof l->why, "RabbitMQ takes nothing at the moment: %.*s", ASSAY_FMT(aq_str(b->reason)));
        (void)pthread_mutex_unlock(&l->lock);
        assay_log(l->d->host, ASSAY_LOG_WARN, "amqp_blocked", ASSAY_KZ("link", l->ops->name), ASSAY_KS("reason", aq_str(b->reason)));
        return 0;
    }
    case AMQP_CONNECTION_UNBLOCKED_METHOD:
        (void)pthread_mutex_lock(&l->lock);
        l->blocked = false;
        (void)pthread_mutex_unlock(&l->lock);
        assay_log(l->d->host, ASSAY_LOG_INFO, "amqp_unblocked", ASSAY_KZ("link", l->ops->name));
        return 0;
    case AMQP_CONNECTION_CLOSE_METHOD: {
        amqp_connection_close_ok_t ok = {.dummy = 0};
        int st = aq_closed_by(f, NULL, err);
        (void)amqp_send_method(l->conn, 0, AMQP_CONNECTION_CLOSE_OK_METHOD, &ok);
        return st;
    }
    default:
        return 1;
    }
}

static int read_frames(struct aq_link *l, struct assay_err *err)
{
    for (int i = 0; i < FRAMES; i++) {
        amqp_frame_t f;
        struct timeval now = {0, 0};
        amqp_maybe_release_buffers(l->conn);
        int rc = amqp_simple_wait_frame_noblock(l->conn, &f, &now);
        if (rc == AMQP_STATUS_TIMEOUT)
            return 0;
        int st = aq_status(rc, err, "reading from RabbitMQ");
        if (st != 0)
            return st;
        if (f.frame_type != AMQP_FRAME_METHOD)
            continue; /* what is left of a channel that is closed */
        st = common_frame(l, &f, err);
        if (st == 1)
            st = l->ops->frame(l, &f, err);
        if (st != 0)
            return st;
    }
    return 0;
}

static void wait_for_something(struct aq_link *l, int64_t wait_ms)
{
    struct pollfd p[2] = {{l->wake, POLLIN, 0}, {-1, POLLIN, 0}};
    if (l->conn) {
        p[1].fd = amqp_get_sockfd(l->conn);
        if (amqp_frames_enqueued(l->conn) || amqp_data_in_buffer(l->conn))
            wait_ms = 0;
    } else {
        int64_t left = (l->next_ns - assay_mono_ns()) / MS + 1;
        wait_ms = left < 1 ? 1 : left < wait_ms ? left : wait_ms;
    }
    uint64_t many;
    if (poll(p, 2, (int)wait_ms) > 0 && p[0].revents != 0)
        (void)!read(l->wake, &many, sizeof many);
}

static void *link_main(void *arg)
{
    struct aq_link *l = arg;
    for (;;) {
        if (atomic_load(&l->stopping)) {
            int64_t now = assay_mono_ns();
            if (l->stop_ns == 0)
                l->stop_ns = now + STOP_MS * MS;
            if (!l->conn || now >= l->stop_ns || l->ops->idle(l))
                break;
        }
        struct assay_err err = {0};
        int64_t wait_ms = 1000; /* heartbeats are looked after at each turn */
        if (!l->conn && !atomic_load(&l->stopping) && assay_mono_ns() >= l->next_ns)
            try_connect(l);
        int st = l->ops->work(l, &wait_ms, &err);
        if (st == 0)
            wait_for_something(l, atomic_load(&l->stopping) && wait_ms > 50 ? 50 : wait_ms);
        if (st == 0 && l->conn)
            st = read_frames(l, &err);
        if (st != 0) {
            (void)assay_err_prefix(&err, "%s", l->peer);
            lose(l, &err);
        }
    }
    aq_disconnect(l, true);
    say(l, false, "stopped");
    (void)pthread_mutex_lock(&l->lock);
    l->ended = true;
    (void)pthread_mutex_unlock(&l->lock);
    return NULL;
}

int aq_link_start(struct aq_link *l, struct assay_err *err)
{
    sigset_t all, old;
    (void)pthread_mutex_lock(&l->lock);
    int rc = 0;
    if (!l->started && !atomic_load(&l->stopping)) {
        (void)sigfillset(&all);
        (void)pthread_sigmask(SIG_SETMASK, &all, &old);
        rc = pthread_create(&l->thread, NULL, link_main, l);
        (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
        l->started = rc == 0;
    }
    if (l->started) {
        char name[16];
        (void)snprintf(name, sizeof name, "amqp-%s", l->ops->name);
        (void)pthread_setname_np(l->thread, name); /* only a name */
    }
    (void)pthread_mutex_unlock(&l->lock);
    return rc == 0 ? 0 : assay_err_errno(err, ASSAY_E_IO, rc, "starting a thread");
}

void aq_link_stop(struct aq_link *l)
{
    if (l->wake < 0)
        return;
    (void)pthread_mutex_lock(&l->lock);
    atomic_store(&l->stopping, true);
    bool started = l->started;
    (void)pthread_mutex_unlock(&l->lock);
    if (!started)
        return;
    aq_link_wake(l);
    bool ended = false;
    for (int i = 0; i < 200 && !ended; i++) { /* then the connection is broken off under it; one that is not up yet at once */
        struct timespec ts = {.tv_nsec = 20 * MS};
        (void)pthread_mutex_lock(&l->lock);
        ended = l->ended;
        if (!ended && (i == 199 || !l->connected) && l->fd >= 0)
            (void)shutdown(l->fd, SHUT_RDWR);
        (void)pthread_mutex_unlock(&l->lock);
        if (!ended)
            (void)nanosleep(&ts, NULL);
    }
    (void)pthread_join(l->thread, NULL);
    l->started = false;
}

void aq_link_free(struct aq_link *l)
{
    if (l->wake < 0)
        return;
    (void)close(l->wake);
    (void)pthread_mutex_destroy(&l->lock);
    l->wake = -1;
}
