/*
 * Theory of operation.  A call puts itself on a list under the lock, sends its packet, and waits on
 * its condition.  The reader thread matches replies by request id.  When the end dies or is replaced,
 * every call on the list is marked unsent; a caller that finds itself unsent while there is an end
 * sends again.  Sending happens under the lock too: the socket is non-blocking, and a full one counts
 * as unsent and is tried again when the next reply has made room, or after 10 ms.
 *
 * An OPEN whose caller gave up may still be answered: its warden's stream is closed at once, and the
 * warden exits by itself.
 */
#include "boxes.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <assay/value.h>

struct call {
    struct call *next;
    uint64_t id;
    enum assay_bk_type type;
    struct assay_str text;
    bool sent, done;
    int status;
    int fd;
    struct assay_buf reply; /* text, or the message of a failure */
    pthread_cond_t ready;
};

struct assay_boxes {
    int control, wake;
    void (*lost)(void *arg);
    void *arg;
    pthread_t thread;

    pthread_mutex_t lock; /* guards all below */
    int end;              /* -1: none at present */
    uint64_t next_id;
    struct call *calls;
    bool stop;
};

static void unsend_all(struct assay_boxes *b)
{
    for (struct call *c = b->calls; c != NULL; c = c->next) {
        c->sent = false;
        if (!c->done)
            pthread_cond_signal(&c->ready);
    }
}

/* Takes over a new end (or -1). Lock held. */
static void replace_end(struct assay_boxes *b, int fd)
{
    if (b->end >= 0)
        close(b->end);
    b->end = fd;
    if (fd >= 0 && fcntl(fd, F_SETFL, O_NONBLOCK) != 0) {
        close(fd);
        b->end = -1;
    }
    unsend_all(b);
}

static void take_reply(struct assay_boxes *b, const struct assay_bk_packet *p, int fd)
{
    pthread_mutex_lock(&b->lock);
    struct call *c = b->calls;
    while (c != NULL && c->id != p->request)
        c = c->next;
    if (c != NULL && !c->done && p->type == ((unsigned)c->type | ASSAY_BK_REPLY)) {
        c->done = true;
        c->status = p->status;
        c->fd = fd;
        fd = -1;
        assay_buf_str(&c->reply, p->text);
        pthread_cond_signal(&c->ready);
    }
    pthread_mutex_unlock(&b->lock);
    if (fd >= 0)
        close(fd);
}

static void *reader(void *arg)
{
    struct assay_boxes *b = arg;
    unsigned char *buf = malloc(ASSAY_BK_PACKET_MAX);
    bool told = false;
    for (;;) {
        pthread_mutex_lock(&b->lock);
        int end = b->end;
        bool stop = b->stop;
        pthread_mutex_unlock(&b->lock);
        if (stop)
            break;
        struct pollfd p[3] = {{b->wake, POLLIN, 0}, {told ? -1 : b->control, POLLIN, 0}, {end, POLLIN, 0}};
        if (poll(p, 3, -1) < 0 || buf == NULL) {
            if (errno == EINTR)
                continue;
            break;
        }
        struct assay_bk_packet packet;
        int fd = -1;
        if (p[0].revents != 0) {
            uint64_t n;
            (void)!read(b->wake, &n, sizeof n);
        }
        if (p[1].revents != 0) {
            int rc = assay_bk_recv(b->control, buf, ASSAY_BK_PACKET_MAX, &packet, &fd, NULL);
            if (rc == 0 && packet.type == ASSAY_BK_PEER && fd >= 0) {
                pthread_mutex_lock(&b->lock);
                replace_end(b, fd);
                pthread_mutex_unlock(&b->lock);
                continue; /* the end that was polled is closed */
            }
            if (fd >= 0)
                close(fd);
            if (rc == ASSAY_E_GONE || rc == ASSAY_E_IO) {
                told = true;
                b->lost(b->arg);
            }
        }
        if (p[2].revents != 0) {
            fd = -1;
            int rc = assay_bk_recv(end, buf, ASSAY_BK_PACKET_MAX, &packet, &fd, NULL);
            if (rc == 0) {
                take_reply(b, &packet, fd);
            } else if (rc == ASSAY_E_GONE || rc == ASSAY_E_IO) {
                pthread_mutex_lock(&b->lock);
                replace_end(b, -1);
                pthread_mutex_unlock(&b->lock);
            }
        }
    }
    free(buf);
    return NULL;
}

int assay_boxes_new(int control, void (*lost)(void *arg), void *arg, struct assay_boxes **ret, struct assay_err *err)
{
    struct assay_boxes *b = calloc(1, sizeof *b);
    if (b == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "out of memory");
    b->control = control;
    b->lost = lost;
    b->arg = arg;
    b->end = -1;
    b->next_id = 1;
    b->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int e = b->wake < 0 ? errno : pthread_mutex_init(&b->lock, NULL);
    if (e == 0)
        e = pthread_create(&b->thread, NULL, reader, b);
    if (e != 0) {
        if (b->wake >= 0)
            close(b->wake);
        free(b);
        return assay_err_errno(err, ASSAY_E_INTERNAL, e, "cannot start the boxes' thread");
    }
    (void)pthread_setname_np(b->thread, "boxes");
    *ret = b;
    return 0;
}

static void wake(struct assay_boxes *b)
{
    uint64_t one = 1;
    (void)!write(b->wake, &one, sizeof one);
}

void assay_boxes_stop(struct assay_boxes *b)
{
    if (b == NULL)
        return;
    pthread_mutex_lock(&b->lock);
    b->stop = true;
    unsend_all(b);
    pthread_mutex_unlock(&b->lock);
    wake(b);
}

void assay_boxes_free(struct assay_boxes *b)
{
    if (b == NULL)
        return;
    assay_boxes_stop(b);
    (void)pthread_join(b->thread, NULL);
    if (b->end >= 0)
        close(b->end);
    close(b->wake);
    (void)pthread_mutex_destroy(&b->lock);
    free(b);
}

bool assay_boxes_connected(struct assay_boxes *b)
{
    pthread_mutex_lock(&b->lock);
    bool yes = b->end >= 0;
    pthread_mutex_unlock(&b->lock);
    return yes;
}

static struct timespec at_ns(int64_t ns)
{
    return (struct timespec){.tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000)};
}

/* Sends c if there is an end that takes it. Lock held. */
static void try_send(struct assay_boxes *b, struct call *c)
{
    struct assay_bk_packet p = {.type = (uint16_t)c->type, .request = c->id, .text = c->text};
    if (b->end < 0)
        return;
    int rc = assay_bk_send(b->end, &p, -1, NULL);
    if (rc == 0)
        c->sent = true;
    else if (rc != ASSAY_E_AGAIN)
        wake(b); /* the reader sees the end's death itself */
}

static int run_call(struct assay_boxes *b, struct call *c, int64_t timeout_ms, struct assay_err *err)
{
    pthread_condattr_t attr;
    int64_t deadline = assay_mono_ns() + timeout_ms * 1000000;
    int rc = 0;
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&c->ready, &attr);
    (void)pthread_condattr_destroy(&attr);
    assay_buf_init(&c->reply, ASSAY_BK_TEXT_MAX);
    c->fd = -1;

    pthread_mutex_lock(&b->lock);
    c->id = b->next_id++;
    c->next = b->calls;
    b->calls = c;
    while (!c->done) {
        if (b->stop) {
            rc = assay_err_set(err, ASSAY_E_GONE, "the server is stopping");
            break;
        }
        if (!c->sent)
            try_send(b, c);
        int64_t now = assay_mono_ns();
        if (now >= deadline) {
            rc = assay_err_set(err, ASSAY_E_TIMEOUT, b->end < 0 ? "there is no boxkeeper at present"
                                                                : "the boxkeeper did not answer in time");
            break;
        }
        int64_t until = c->sent || b->end < 0 || deadline - now < 10000000 ? deadline : now + 10000000;
        struct timespec ts = at_ns(until);
        (void)pthread_cond_timedwait(&c->ready, &b->lock, &ts);
    }
    struct call **at = &b->calls;
    while (*at != c)
        at = &(*at)->next;
    *at = c->next;
    pthread_mutex_unlock(&b->lock);

    (void)pthread_cond_destroy(&c->ready);
    if (rc == 0 && c->reply.failed)
        rc = assay_err_set(err, ASSAY_E_NOMEM, "out of memory");
    if (rc == 0 && c->status != 0)
        rc = assay_err_set(err, c->status, "%.*s", (int)(c->reply.n < 400 ? c->reply.n : 400),
                           c->reply.p != NULL ? c->reply.p : "the boxkeeper refused");
    if (rc != 0 && c->fd >= 0) {
        close(c->fd);
        c->fd = -1;
    }
    return rc;
}

int assay_boxes_open(struct assay_boxes *b, struct assay_str driver, struct assay_str image, int64_t timeout_ms, int *fd,
                     struct assay_buf *place, struct assay_err *err)
{
    char text[ASSAY_BK_NAME_MAX + 1 + ASSAY_BK_IMAGE_MAX + 1];
    if (driver.n > ASSAY_BK_NAME_MAX || image.n > ASSAY_BK_IMAGE_MAX)
        return assay_err_set(err, ASSAY_E_INVALID, "a sandbox driver's name is at most %u bytes, an image's %u",
                             ASSAY_BK_NAME_MAX, ASSAY_BK_IMAGE_MAX);
    if (assay_str_has_nul(driver) || assay_str_has_nul(image) || (driver.n > 0 && memchr(driver.p, '\n', driver.n) != NULL) ||
        (image.n > 0 && memchr(image.p, '\n', image.n) != NULL))
        return assay_err_set(err, ASSAY_E_INVALID, "a name of a sandbox driver or an image holds a newline or a NUL");
    int n = snprintf(text, sizeof text, image.n > 0 ? "%.*s\n%.*s" : "%.*s", ASSAY_FMT(driver), ASSAY_FMT(image));
    struct call c = {.type = ASSAY_BK_OPEN, .text = {text, (size_t)n}};
    int rc = run_call(b, &c, timeout_ms, err);
    if (rc == 0 && c.fd < 0)
        rc = assay_err_set(err, ASSAY_E_CORRUPT, "the boxkeeper answered without a warden's stream");
    if (rc == 0 && place != NULL)
        assay_buf_str(place, assay_buf_view(&c.reply));
    if (rc == 0)
        *fd = c.fd;
    assay_buf_free(&c.reply);
    return rc;
}

int assay_boxes_fate(struct assay_boxes *b, uint64_t stream, int64_t timeout_ms, bool *outside, struct assay_buf *why,
                     struct assay_err *err)
{
    char text[24];
    int64_t deadline = assay_mono_ns() + timeout_ms * 1000000;
    (void)snprintf(text, sizeof text, "%llu", (unsigned long long)stream);
    for (;;) {
        struct call c = {.type = ASSAY_BK_FATE, .text = assay_str(text)};
        int64_t left_ms = (deadline - assay_mono_ns()) / 1000000;
        int rc = run_call(b, &c, left_ms > 0 ? left_ms : 0, err);
        struct assay_str said = assay_buf_view(&c.reply);
        if (c.fd >= 0)
            close(c.fd);
        if (rc == 0 && !assay_str_starts(said, "outside ") && !assay_str_starts(said, "inside "))
            rc = assay_err_set(err, ASSAY_E_CORRUPT, "the boxkeeper answered something else than a warden's fate");
        if (rc == 0) {
            *outside = said.p[0] == 'o';
            size_t word = *outside ? sizeof "outside " - 1 : sizeof "inside " - 1;
            assay_buf_add(why, said.p + word, said.n - word);
        }
        assay_buf_free(&c.reply);
        if (rc != ASSAY_E_AGAIN || assay_mono_ns() + 20000000 >= deadline)
            return rc;
        (void)usleep(20000); /* the driver asks its engine, off its thread */
    }
}

int assay_boxes_ask(struct assay_boxes *b, enum assay_bk_type what, int64_t timeout_ms, struct assay_buf *out,
                    struct assay_err *err)
{
    struct call c = {.type = what};
    int rc = run_call(b, &c, timeout_ms, err);
    if (rc == 0)
        assay_buf_str(out, assay_buf_view(&c.reply));
    if (c.fd >= 0)
        close(c.fd);
    assay_buf_free(&c.reply);
    return rc;
}
