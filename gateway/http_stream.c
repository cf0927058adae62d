/*
 * Answers in pieces: what a ticket's holder writes until it says that it was all.
 *
 * Theory of operation.  The holder and the loop share one struct stream.  A write frames its bytes as a chunk, puts
 * it behind `pending` and rings the loop (one mail, posted only when it is not under way).  The loop takes all of
 * pending at once, but only when the connection has nothing unsent: so what a stream holds is bounded by what is
 * on its way to the client plus what may be pending, and a client that reads slowly makes the writer wait, not the
 * memory grow.  Little may be pending of a stream that has no end of its own: there are thousands of those, all written to
 * at the same moment, and their holders can always come back later.  The rate that any answer must be taken at
 * (http_conn.c) holds for streams too.
 *
 * The exchange is `away` from the handler's ticket to the end, so neither it nor its stream can vanish under the
 * holder; when the client goes only `gone` is set.  The end comes through the same swap of the ticket's
 * generation as any answer, so it comes once; the loop's mailbox is first in first out, so the mail of the last
 * write has been run before that of the end.
 *
 * HTTP/1.1 gets chunks (RFC 9112, 7.1); HTTP/1.0 gets the bytes and the end of the connection.  A stream that
 * fails is cut off without its last chunk, which no client can mistake for the end.
 */
#include "http_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include <event2/buffer.h>

#define STREAM_PENDING_MAX ((size_t)64 << 10)
#define ENDLESS_PENDING_MAX ((size_t)8 << 10)
#define CHUNK_FRAME 24 /* what a chunk costs besides its bytes, at most */

struct stream {
    struct exchange *x;
    struct assay_mail mail;
    void (*writable)(void *arg);
    void *arg;
    struct assay_response rs; /* its head; the loop's from the first mail on */
    bool begun;               /* the loop's: the head has gone out */
    size_t sent;              /* the loop's */

    pthread_mutex_t lock; /* guards what follows, and that writable is not called after the end */
    pthread_cond_t room;
    struct assay_buf pending;
    bool posted; /* the mail is under way */
    bool gone;   /* nobody reads any more */
    bool wanted; /* a write met a full stream */
    bool ended;
};

/* It is a stream of events, not of a file: it has no end of its own. */
static bool ends_with_the_server(const struct exchange *x)
{
    return (x->bound->route->flags & ASSAY_ROUTE_STREAM) != 0;
}

/* ---- the holder's side ---------------------------------------------------------------------------- */

/* RFC 9112, 7.1.  A chunk of no bytes would be the last one. */
static void frame(struct stream *st, const void *p, size_t n)
{
    bool chunked = !st->x->http10;
    if (n == 0 || !assay_buf_reserve(&st->pending, n + CHUNK_FRAME))
        return; /* no memory: the buffer has failed */
    if (chunked)
        assay_buf_fmt(&st->pending, "%zx\r\n", n);
    assay_buf_add(&st->pending, p, n);
    if (chunked)
        assay_buf_add(&st->pending, "\r\n", 2);
}

/* With the lock held; true: the caller posts, without it. */
static bool must_post(struct stream *st)
{
    bool post = !st->posted;
    st->posted = true;
    return post;
}

static void post(struct stream *st)
{
    /* only freeing the front closes its boxes, and by contract nobody holds a ticket then */
    int rc = assay_mailbox_post(st->x->loop->box, &st->mail);
    assert(rc == 0);
}

static void on_stream_mail(struct assay_mail *m);

static struct stream *stream_new(struct exchange *x)
{
    struct stream *st = calloc(1, sizeof *st);
    pthread_condattr_t attr;
    if (!st)
        return NULL;
    st->x = x;
    st->mail.run = on_stream_mail;
    pthread_mutex_init(&st->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&st->room, &attr);
    pthread_condattr_destroy(&attr);
    return st;
}

void assay_stream_free(struct stream *st)
{
    if (!st)
        return;
    assay_response_clear(&st->rs);
    assay_buf_free(&st->pending);
    pthread_cond_destroy(&st->room);
    pthread_mutex_destroy(&st->lock);
    free(st);
}

int assay_front_stream_begin(struct assay_front *f, assay_ticket t, struct assay_response *rs, void (*writable)(void *arg), void *arg,
                             struct assay_err *err)
{
    struct exchange *x = assay_loop_ticket_holder(f, t);
    int rc = 0;
    if (!x)
        rc = assay_err_set(err, ASSAY_E_GONE, "this request was answered before");
    else if (x->stream)
        rc = assay_err_set(err, ASSAY_E_INTERNAL, "the stream has begun before");
    else
        rc = assay_reply_check_stream(rs, err);
    struct stream *st = rc == 0 ? stream_new(x) : NULL;
    if (rc == 0 && !st)
        rc = assay_err_set(err, ASSAY_E_NOMEM, "no memory for a stream");
    if (st) {
        frame(st, rs->body.p, rs->body.n);
        if (st->pending.failed)
            rc = assay_err_set(err, ASSAY_E_NOMEM, "no memory for a stream");
    }
    if (rc || !st) {
        assay_stream_free(st);
        assay_response_clear(rs);
        return rc;
    }
    st->rs = *rs;
    *rs = (struct assay_response){.status = 0};
    assay_buf_free(&st->rs.body);
    st->writable = writable;
    st->arg = arg;
    x->stream = st;
    st->posted = true;
    post(st);
    return 0;
}

static bool fits(const struct stream *st, size_t n)
{
    return st->pending.n == 0 || st->pending.n + n <= (ends_with_the_server(st->x) ? ENDLESS_PENDING_MAX : STREAM_PENDING_MAX);
}

static void wait_for_room(struct stream *st, size_t n, int64_t wait_ms)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += wait_ms / 1000;
    until.tv_nsec += wait_ms % 1000 * MS_NS;
    if (until.tv_nsec >= S_NS) {
        until.tv_sec++;
        until.tv_nsec -= S_NS;
    }
    while (!st->gone && !fits(st, n))
        if (pthread_cond_timedwait(&st->room, &st->lock, &until) == ETIMEDOUT)
            return;
}

int assay_front_stream_write(struct assay_front *f, assay_ticket t, const void *p, size_t n, int64_t wait_ms)
{
    struct exchange *x = assay_loop_ticket_holder(f, t);
    struct stream *st = x ? x->stream : NULL;
    int rc = 0;
    bool ring = false;
    if (!st)
        return ASSAY_E_GONE;
    if (n == 0 || n > ASSAY_STREAM_WRITE_MAX)
        return ASSAY_E_INVALID;
    pthread_mutex_lock(&st->lock);
    if (!fits(st, n) && wait_ms > 0)
        wait_for_room(st, n, wait_ms);
    if (st->gone) {
        rc = ASSAY_E_GONE;
    } else if (!fits(st, n)) {
        st->wanted = true;
        rc = ASSAY_E_BUSY;
    } else {
        size_t before = st->pending.n;
        frame(st, p, n);
        if (st->pending.failed) {
            st->pending.n = before;
            st->pending.failed = false;
            rc = ASSAY_E_NOMEM;
        } else {
            ring = must_post(st);
        }
    }
    pthread_mutex_unlock(&st->lock);
    if (ring)
        post(st);
    return rc;
}

void assay_front_stream_end(struct assay_front *f, assay_ticket t, int status)
{
    struct exchange *x = assay_loop_ticket_holder(f, t);
    if (!x)
        return;
    if (x->stream) {
        pthread_mutex_lock(&x->stream->lock);
        x->stream->ended = true;
        pthread_mutex_unlock(&x->stream->lock);
    }
    assay_front_resume(f, t, status, NULL, NULL);
}

/* ---- the loop's side ------------------------------------------------------------------------------ */

/* Under the lock, so that it cannot come after the end. */
static void tell(struct stream *st)
{
    if (st->writable && !st->ended && !atomic_load_explicit(&st->x->loop->front->freeing, memory_order_relaxed))
        st->writable(st->arg);
}

void assay_stream_gone(struct exchange *x)
{
    struct stream *st = x->stream;
    pthread_mutex_lock(&st->lock);
    bool news = !st->gone;
    st->gone = true;
    assay_buf_free(&st->pending);
    pthread_cond_broadcast(&st->room);
    if (news)
        tell(st);
    pthread_mutex_unlock(&st->lock);
}

static void begin(struct exchange *x)
{
    struct stream *st = x->stream;
    struct conn *c = x->conn;
    st->begun = true;
    x->streams = true;
    c->phase = PHASE_STREAM;
    c->deadline_ns = INT64_MAX / 2; /* a stream has none but the rate it must be read at */
    assay_reply_stream_head(x, &st->rs);
    if (x->head_only || (x->loop->draining && ends_with_the_server(x)) || (c->eof && ends_with_the_server(x)))
        assay_stream_gone(x);
}

static void take_pending(struct stream *st, struct assay_buf *out)
{
    pthread_mutex_lock(&st->lock);
    *out = st->pending;
    st->pending = (struct assay_buf)ASSAY_BUF_INIT;
    pthread_cond_broadcast(&st->room);
    if (st->wanted && out->n) {
        st->wanted = false;
        tell(st);
    }
    pthread_mutex_unlock(&st->lock);
    st->sent += out->n;
}

void assay_stream_pump(struct exchange *x)
{
    struct conn *c = x->conn;
    ASSAY_CLEANUP_BUF struct assay_buf piece = ASSAY_BUF_INIT;
    if (!x->stream->begun)
        begin(x);
    if (c->dead || evbuffer_get_length(c->out) > 0)
        return; /* on_write comes back */
    take_pending(x->stream, &piece);
    assay_conn_flush(c, &piece);
}

static void on_stream_mail(struct assay_mail *m)
{
    struct stream *st = (struct stream *)(void *)((char *)m - offsetof(struct stream, mail));
    struct exchange *x = exchange_check(st->x);
    loop_own(x->loop);
    pthread_mutex_lock(&st->lock);
    st->posted = false;
    pthread_mutex_unlock(&st->lock);
    struct conn *c = x->conn;
    if (!c) {
        assay_stream_gone(x);
        return;
    }
    assay_conn_begin(c);
    assay_stream_pump(x);
    assay_conn_end(c);
}

void assay_stream_finish(struct exchange *x)
{
    struct stream *st = x->stream;
    struct conn *c = x->conn;
    ASSAY_CLEANUP_BUF struct assay_buf rest = ASSAY_BUF_INIT;
    if (!c) {
        assay_exchange_free(x);
        return;
    }
    assert(st->begun);
    bool whole = x->rc >= 0, keep = x->keep_alive && (!x->http10 || x->head_only);
    assay_conn_begin(c);
    take_pending(st, &rest);
    if (whole && !x->head_only && !x->http10)
        assay_buf_puts(&rest, "0\r\n\r\n");
    if (rest.failed)
        whole = false;
    assay_conn_flush(c, &rest);
    if (!whole) {
        c->dead = true;
        const struct assay_kv kv[] = {ASSAY_KS("request_id", x->rq.request_id), ASSAY_KZ("route", x->rq.route->operation_id),
                                      ASSAY_KZ("error", assay_err_word(x->rc))};
        assay_loop_log(x->loop, ASSAY_LOG_WARN, "stream_cut_off", kv, sizeof kv / sizeof kv[0]);
    }
    assay_reply_record(x, st->rs.status ? st->rs.status : 200, st->sent);
    c->x = NULL;
    assay_exchange_free(x);
    assay_conn_answered(c, keep);
    assay_conn_consume(c);
    assay_conn_end(c);
}

/* The server stops: streams that have no end of their own are told. */
void assay_stream_drain(struct conn *c)
{
    if (c->phase == PHASE_STREAM && ends_with_the_server(c->x))
        assay_stream_gone(c->x);
}
