/*
 * The server's socket.
 *
 * Requests are answered in the turn in which they are read; none of them takes longer than a fork
 * and exec.  A reply that does not fit into the socket waits in a bounded outbox, with its
 * descriptor; while the outbox is full no request is read, so a server that does not read slows
 * itself and nothing else.  A packet that breaks the form is counted and dropped: the server is
 * less trusted than this process, since it talks to the world.
 */
#include "local.h"

#include <assay/value.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#define READS_PER_TURN 16 /* so that children, ticks and the supervisor get their turn under a flood */

struct reply {
    struct assay_bk_packet packet; /* text is owned (malloc) when not empty */
    int fd;                        /* owned; -1: none */
    uint64_t warden;               /* to end when the reply cannot be delivered; 0: none */
    struct bk_driver *driver;
};

struct bk_outbox {
    struct reply ring[BK_OUTBOX_MAX];
    size_t first, n;
    unsigned char in[ASSAY_BK_PACKET_MAX];
};

static void reply_clear(struct reply *r, bool delivered)
{
    union {
        const char *in;
        void *out;
    } text = {.in = r->packet.text.p};

    if (r->packet.text.n > 0)
        free(text.out);
    if (r->fd >= 0)
        close(r->fd);
    if (!delivered && r->warden != 0)
        r->driver->ops->close(r->driver->self, r->warden);
    *r = (struct reply){.fd = -1};
}

int bk_peer_new(struct bk *bk, struct assay_err *err)
{
    bk->peer = -1;
    bk->outbox = calloc(1, sizeof(*bk->outbox));
    return bk->outbox != NULL ? 0 : assay_err_set(err, ASSAY_E_NOMEM, "no memory for the outbox");
}

static void outbox_drop(struct bk *bk)
{
    for (; bk->outbox->n > 0; bk->outbox->n--) {
        reply_clear(&bk->outbox->ring[bk->outbox->first], false);
        bk->outbox->first = (bk->outbox->first + 1) % BK_OUTBOX_MAX;
    }
}

void bk_peer_free(struct bk *bk)
{
    if (bk->outbox == NULL)
        return;
    outbox_drop(bk);
    free(bk->outbox);
    bk->outbox = NULL;
    if (bk->peer >= 0)
        close(bk->peer);
    bk->peer = -1;
}

void bk_peer_replace(struct bk *bk, int fd)
{
    if (bk->peer >= 0)
        close(bk->peer);
    outbox_drop(bk);
    for (size_t i = 0; i < bk->n_drivers; i++)
        if (bk->driver[i].up)
            bk->driver[i].ops->close(bk->driver[i].self, 0);
    if (fd >= 0) {
        int flags = fcntl(fd, F_GETFL);

        if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0) {
            BK_LOG(ASSAY_LOG_ERROR, "peer_refused", ASSAY_KI("errno", errno));
            close(fd);
            fd = -1;
        }
    }
    bk->peer = fd;
    if (fd >= 0)
        bk_metrics_add(bk->metrics, &bk_metric_peers, NULL, 1);
}

short bk_peer_events(const struct bk *bk)
{
    return (short)((bk->outbox->n < BK_OUTBOX_MAX ? POLLIN : 0) | (bk->outbox->n > 0 ? POLLOUT : 0));
}

/* Sends what waits, oldest first. False when the peer is gone. */
static bool flush(struct bk *bk)
{
    while (bk->outbox->n > 0) {
        struct reply *r = &bk->outbox->ring[bk->outbox->first];
        struct assay_err err;
        int rc = assay_bk_send(bk->peer, &r->packet, r->fd, &err);

        if (rc == ASSAY_E_AGAIN)
            return true;
        if (rc != 0) {
            if (rc != ASSAY_E_GONE)
                BK_LOG(ASSAY_LOG_ERROR, "peer_send_failed", ASSAY_KZ("reason", err.msg));
            return false;
        }
        reply_clear(r, true);
        bk->outbox->first = (bk->outbox->first + 1) % BK_OUTBOX_MAX;
        bk->outbox->n--;
    }
    return true;
}

static void reply_add(struct bk *bk, const struct assay_bk_packet *rq, int status, struct assay_buf *text, int fd,
                      struct bk_driver *driver, uint64_t warden)
{
    struct reply *r = &bk->outbox->ring[(bk->outbox->first + bk->outbox->n) % BK_OUTBOX_MAX];
    size_t n = 0;

    *r = (struct reply){.packet = {.type = (uint16_t)(rq->type | ASSAY_BK_REPLY), .request = rq->request, .status = status},
                        .fd = fd, .warden = warden, .driver = driver};
    bk->outbox->n++;
    if (text->failed || text->n > ASSAY_BK_TEXT_MAX) {
        r->packet.status = text->failed ? ASSAY_E_NOMEM : ASSAY_E_TOO_LARGE;
    } else if (text->n > 0) {
        r->packet.text.p = assay_buf_steal(text, &n);
        r->packet.text.n = r->packet.text.p != NULL ? n : 0;
    }
}

/* It comes from the process that talks to the world and goes into a driver's requests: nothing but visible ASCII. */
static bool image_ok(struct assay_str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] <= ' ' || s.p[i] > '~')
            return false;
    return s.n <= ASSAY_BK_IMAGE_MAX;
}

static void open_warden(struct bk *bk, const struct assay_bk_packet *rq)
{
    ASSAY_CLEANUP_BUF struct assay_buf text = ASSAY_BUF_INIT;
    const char *newline = rq->text.n > 0 ? memchr(rq->text.p, '\n', rq->text.n) : NULL;
    struct assay_str name = {rq->text.p, newline != NULL ? (size_t)(newline - rq->text.p) : rq->text.n};
    struct assay_str image = newline != NULL ? (struct assay_str){newline + 1, rq->text.n - name.n - 1} : ASSAY_STR("");
    struct bk_driver *d = name.n <= ASSAY_BK_NAME_MAX ? bk_driver_find(bk, name) : NULL;
    struct assay_warden w = {.fd = -1};
    struct assay_err err = {0, ""};
    int64_t before = assay_mono_ns();
    int rc;

    if (d == NULL)
        rc = assay_err_set(&err, ASSAY_E_NOT_FOUND, "there is no sandbox driver of that name");
    else if (!image_ok(image))
        rc = assay_err_set(&err, ASSAY_E_INVALID, "an image's name is at most %u printable bytes", ASSAY_BK_IMAGE_MAX);
    else if (!d->up)
        rc = assay_err_set(&err, ASSAY_E_UNSUPPORTED, "sandbox driver %s did not start; the log says why", d->name);
    else
        rc = d->ops->open(d->self, image, &w, &text, &err);
    if (rc != 0) {
        assay_buf_reset(&text);
        assay_buf_puts(&text, err.msg);
    }
    bk_metrics_observe(bk->metrics, &bk_metric_open_seconds, NULL, (double)(assay_mono_ns() - before) / 1e9);
    bk_metrics_add(bk->metrics, &bk_metric_opens,
                   (const char *const[]){d != NULL ? d->name : "unknown", rc == 0 ? "ok" : assay_err_word(rc)}, 1);
    if (rc != 0)
        BK_LOG(rc == ASSAY_E_BUSY ? ASSAY_LOG_WARN : ASSAY_LOG_ERROR, "open_refused",
               ASSAY_KZ("driver", d != NULL ? d->name : "unknown"), ASSAY_KZ("code", assay_err_word(rc)),
               ASSAY_KZ("reason", err.msg));
    reply_add(bk, rq, rc, &text, rc == 0 ? w.fd : -1, d, rc == 0 ? w.id : 0);
}

static void answer_text(struct bk *bk, const struct assay_bk_packet *rq,
                        int (*make)(struct bk *bk, struct assay_buf *out, struct assay_err *err))
{
    ASSAY_CLEANUP_BUF struct assay_buf text = ASSAY_BUF_INIT;
    struct assay_err err = {0, ""};
    int rc = make(bk, &text, &err);

    if (rc != 0) {
        assay_buf_reset(&text);
        assay_buf_puts(&text, err.msg);
    }
    reply_add(bk, rq, rc, &text, -1, NULL, 0);
}

static int make_metrics(struct bk *bk, struct assay_buf *out, struct assay_err *err)
{
    bk_metrics_render(bk->metrics, out);
    return out->failed ? assay_err_set(err, ASSAY_E_NOMEM, "no memory for metrics") : 0;
}

static void garbage(struct bk *bk, const char *what)
{
    bk_metrics_add(bk->metrics, &bk_metric_garbage, NULL, 1);
    BK_LOG(ASSAY_LOG_WARN, "garbage_packet", ASSAY_KZ("reason", what));
}

static void tell_fate(struct bk *bk, const struct assay_bk_packet *rq)
{
    ASSAY_CLEANUP_BUF struct assay_buf text = ASSAY_BUF_INIT, why = ASSAY_BUF_INIT;
    struct assay_err err = {0, ""};
    int64_t stream = 0;
    int rc = assay_parse_i64(rq->text, 1, INT64_MAX, &stream, &err), found = ASSAY_E_NOT_FOUND;
    bool outside = false;

    for (size_t i = 0; rc == 0 && i < bk->n_drivers && found == ASSAY_E_NOT_FOUND; i++)
        if (bk->driver[i].up && bk->driver[i].ops->fate != NULL)
            found = bk->driver[i].ops->fate(bk->driver[i].self, (uint64_t)stream, &outside, &why, &err);
    if (rc == 0)
        rc = found;
    if (rc != 0)
        assay_buf_puts(&text, err.msg[0] != '\0' ? err.msg : "no driver knows");
    else
        assay_buf_fmt(&text, "%s %.*s", outside ? "outside" : "inside", ASSAY_FMT(assay_buf_view(&why)));
    reply_add(bk, rq, rc, &text, -1, NULL, 0);
}

static void serve(struct bk *bk, const struct assay_bk_packet *rq)
{
    switch (rq->type) {
    case ASSAY_BK_OPEN:
        open_warden(bk, rq);
        break;
    case ASSAY_BK_INFO:
        answer_text(bk, rq, bk_drivers_info);
        break;
    case ASSAY_BK_DOCTOR:
        answer_text(bk, rq, bk_drivers_doctor);
        break;
    case ASSAY_BK_METRICS:
        answer_text(bk, rq, make_metrics);
        break;
    case ASSAY_BK_FATE:
        tell_fate(bk, rq);
        break;
    default: {
        ASSAY_CLEANUP_BUF struct assay_buf text = ASSAY_BUF_INIT;

        /* a well-formed packet of a newer server: it waits for an answer */
        garbage(bk, "unknown type");
        assay_buf_puts(&text, "the boxkeeper does not know this request");
        reply_add(bk, rq, ASSAY_E_UNSUPPORTED, &text, -1, NULL, 0);
    }
    }
}

void bk_peer_ready(struct bk *bk, short revents)
{
    if ((revents & POLLOUT) && !flush(bk)) {
        bk_peer_replace(bk, -1);
        return;
    }
    if (!(revents & (POLLIN | POLLHUP | POLLERR)))
        return;
    for (int i = 0; i < READS_PER_TURN && bk->outbox->n < BK_OUTBOX_MAX; i++) {
        struct assay_bk_packet rq;
        struct assay_err err = {0, ""};
        int fd = -1;
        int rc = assay_bk_recv(bk->peer, bk->outbox->in, sizeof(bk->outbox->in), &rq, &fd, &err);

        if (fd >= 0) /* no request brings one */
            close(fd);
        if (rc == ASSAY_E_AGAIN)
            break;
        if (rc == ASSAY_E_CORRUPT) {
            garbage(bk, err.msg);
            continue;
        }
        if (rc != 0) {
            BK_LOG(ASSAY_LOG_INFO, "peer_gone", ASSAY_KZ("reason", err.msg));
            bk_peer_replace(bk, -1);
            return;
        }
        serve(bk, &rq);
        if (!flush(bk)) {
            bk_peer_replace(bk, -1);
            return;
        }
    }
}
