/*
 * A connection over TLS: OpenSSL between its socket and the two buffers that the rest of the front knows.
 *
 * Theory of operation.  libevent's own bufferevent over OpenSSL is not used: it stops reading at the bound of a
 * buffer with bytes left inside OpenSSL and then waits for a socket that has no more to say.  Here two plain events drive the
 * SSL object: readable() makes the handshake and then fills c->in up to INPUT_MAX, writable() empties c->out; all else of a
 * connection (phases, deadlines, limits) is http_conn.c's and does not know the difference.
 *
 * Where reading stops because c->in is full, `more` is set: OpenSSL may hold bytes that no event will ever tell of, so the
 * end of the turn that has made room (assay_tls_settle) puts the connection into the loop's list of those that go on.  One
 * turn reads no more than c->in holds, so no client keeps a loop from the others.
 *
 * Writing goes straight into OpenSSL while nothing waits (assay_tls_send), as send() does for plain connections.  What OpenSSL
 * has begun and the kernel has not taken must be offered again with the same bytes first: they are then the first of c->out,
 * in one piece, since a piece is added whole to an empty buffer and goes only when it was taken.
 *
 * The handshake has the time of a request's head (http_conn.c: PHASE_IDLE, from the accept), so who says nothing, or a byte now
 * and then, is held like any slow client and ended as one.
 *
 * The end: close_notify goes out where an answer is whole or none is under way (assay_tls_bye), and never after what was cut
 * off, so that a client that reads to the end can tell.
 */
#include "http_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/buffer.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include "tls.h"

#define RECORD ((size_t)16 << 10)
#define WRITE_TURN ((size_t)512 << 10) /* sent to one client before others have their turn */

struct conn_tls {
    SSL *ssl;
    struct event *readable, *writable;
    bool open;   /* the handshake is over */
    bool broken; /* after a failure nothing more may be said, not even goodbye */
    bool bye;    /* said */
    bool bye_owed; /* ... and the kernel has not taken it: behind an answer that is not read yet */
    bool plain;  /* it spoke HTTP without TLS and was told: what still comes is thrown away as it is */
    bool seen;   /* the first byte has been looked at */
    bool more;   /* reading stopped for want of room */
    bool read_wants_write;
};

static void fail(struct conn *c, enum assay_tls_failure why)
{
    struct loop *l = c->loop;
    c->tls->broken = true;
    c->dead = true;
    count(&l->tls_failures[why], 1);
    const struct assay_kv kv[] = {ASSAY_KZ("reason", assay_tls_failure_names[why]), ASSAY_KZ("remote", c->remote)};
    assay_loop_log(l, ASSAY_LOG_DEBUG, "tls_handshake_failed", kv, sizeof kv / sizeof kv[0]);
}

static enum assay_tls_failure reason_of(int how)
{
    unsigned long e = ERR_peek_error();
    int r = ERR_GET_REASON(e);
    if (how == SSL_ERROR_ZERO_RETURN || (how == SSL_ERROR_SYSCALL && e == 0))
        return ASSAY_TLS_CLOSED;
    if (ERR_GET_LIB(e) != ERR_LIB_SSL)
        return how == SSL_ERROR_SYSCALL ? ASSAY_TLS_CLOSED : ASSAY_TLS_OTHER;
    if (r == SSL_R_UNSUPPORTED_PROTOCOL || r == SSL_R_VERSION_TOO_LOW || r == SSL_R_WRONG_VERSION_NUMBER || r == SSL_R_WRONG_SSL_VERSION)
        return ASSAY_TLS_VERSION;
    if (r == SSL_R_NO_SHARED_CIPHER || r == SSL_R_NO_SUITABLE_KEY_SHARE || r == SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM || r == SSL_R_NO_SHARED_GROUPS)
        return ASSAY_TLS_CIPHER;
    if (r == SSL_R_NO_APPLICATION_PROTOCOL)
        return ASSAY_TLS_ALPN;
    if (r == SSL_R_UNEXPECTED_EOF_WHILE_READING)
        return ASSAY_TLS_CLOSED;
    /* RFC 8446, 6: an alert of the client's, such as one about a certificate that it does not trust */
    return r > SSL_AD_REASON_OFFSET ? ASSAY_TLS_REFUSED : ASSAY_TLS_OTHER;
}

/* ---- who does not speak TLS ------------------------------------------------------------------------ */

static void tell_plain(struct conn *c)
{
#define PLAIN_BODY "{\"type\":\"urn:assay:problem:invalid\",\"title\":\"Bad Request\",\"status\":400,\"detail\":\"this port speaks TLS: use https://\"}\n"
    static const char text[] = "HTTP/1.1 400 Bad Request\r\nContent-Type: application/problem+json\r\n"
                               "Content-Length: 118\r\nConnection: close\r\n\r\n" PLAIN_BODY;
    _Static_assert(sizeof PLAIN_BODY - 1 == 118, "the length that the head announces");
#undef PLAIN_BODY
    fail(c, ASSAY_TLS_PLAIN_HTTP);
    if (send(c->fd, text, sizeof text - 1, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)sizeof text - 1)
        return;
    c->tls->plain = true;
    c->dead = false;
    c->linger = true;
    c->phase = PHASE_CLOSING; /* its end of turn shuts our side */
}

/* RFC 8446, 5.1: what begins a handshake is 22.  False: it is something else, and was dealt with. */
static bool speaks_tls(struct conn *c)
{
    unsigned char first = 0;
    ssize_t n = recv(c->fd, &first, 1, MSG_PEEK | MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    c->tls->seen = true;
    if (n == 1 && first == 22)
        return true;
    if (n == 1 && first >= 'A' && first <= 'Z')
        tell_plain(c);
    else
        fail(c, n == 1 ? ASSAY_TLS_GARBAGE : ASSAY_TLS_CLOSED);
    return false;
}

/* ---- the handshake --------------------------------------------------------------------------------- */

static void watch(struct event *e, bool on)
{
    if (on != (event_pending(e, EV_READ | EV_WRITE, NULL) != 0))
        (void)(on ? event_add(e, NULL) : event_del(e));
}

static void handshake(struct conn *c)
{
    struct conn_tls *t = c->tls;
    struct loop *l = c->loop;
    if (!t->seen && !speaks_tls(c))
        return;
    ERR_clear_error();
    int rc = SSL_do_handshake(t->ssl);
    int how = rc == 1 ? SSL_ERROR_NONE : SSL_get_error(t->ssl, rc);
    watch(t->writable, how == SSL_ERROR_WANT_WRITE);
    if (how == SSL_ERROR_WANT_READ || how == SSL_ERROR_WANT_WRITE)
        return;
    if (how != SSL_ERROR_NONE) {
        fail(c, reason_of(how));
        ERR_clear_error();
        return;
    }
    t->open = true;
    c->tls_version = SSL_version(t->ssl) == TLS1_3_VERSION ? "1.3" : "1.2";
    count(&l->tls_handshakes[SSL_version(t->ssl) == TLS1_3_VERSION][SSL_session_reused(t->ssl) == 1], 1);
    c->deadline_ns = l->now_ns + l->front->cfg.header_deadline_ms * MS_NS;
}

void assay_tls_timed_out(struct conn *c)
{
    if (!c->tls->open && !c->tls->plain) {
        count(&c->loop->timeouts, 1);
        fail(c, ASSAY_TLS_TIMEOUT);
    }
}

/* ---- reading --------------------------------------------------------------------------------------- */

/* What came in the clear after our answer to it. */
static bool pull_plain(struct conn *c)
{
    char buf[4096];
    ssize_t n = recv(c->fd, buf, sizeof buf, MSG_DONTWAIT);
    if (n > 0 && evbuffer_add(c->in, buf, (size_t)n) != 0)
        c->dead = true;
    return n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR);
}

/* Fills c->in; true: no more will come. */
static bool pull(struct conn *c)
{
    struct conn_tls *t = c->tls;
    char buf[RECORD];
    t->more = false;
    t->read_wants_write = false;
    if (t->plain)
        return pull_plain(c);
    for (;;) {
        size_t room = INPUT_MAX - evbuffer_get_length(c->in);
        if (room == 0) {
            t->more = true;
            return false;
        }
        ERR_clear_error();
        int n = SSL_read(t->ssl, buf, (int)(room < sizeof buf ? room : sizeof buf));
        if (n > 0) {
            if (evbuffer_add(c->in, buf, (size_t)n) != 0) {
                c->dead = true;
                return false;
            }
            /* the rest is in the kernel, which tells */
            if (!SSL_has_pending(t->ssl))
                return false;
            continue;
        }
        switch (SSL_get_error(t->ssl, n)) {
        case SSL_ERROR_WANT_READ:
            return false;
        case SSL_ERROR_WANT_WRITE: /* an answer of the protocol's own */
            t->read_wants_write = true;
            return false;
        case SSL_ERROR_ZERO_RETURN:
            return true;
        default:
            ERR_clear_error();
            t->broken = true;
            c->dead = true;
            return false;
        }
    }
}

static void take_input(struct conn *c)
{
    bool ended = !c->eof && pull(c);
    if (!c->dead)
        assay_conn_readable(c);
    if (ended)
        assay_conn_ended(c);
}

void assay_tls_again(struct conn *c)
{
    if (c->tls->more)
        take_input(c);
    else
        assay_conn_readable(c);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct conn *c = conn_check(arg);
    (void)fd;
    (void)what;
    assay_conn_begin(c);
    if (!c->tls->open && !c->tls->plain)
        handshake(c);
    if (!c->dead && (c->tls->open || c->tls->plain))
        take_input(c);
    assay_conn_end(c);
}

/* ---- writing --------------------------------------------------------------------------------------- */

/* What is taken at once of p..p+n. */
size_t assay_tls_send(struct conn *c, const char *p, size_t n)
{
    struct conn_tls *t = c->tls;
    size_t done = 0;
    while (done < n && t->open && !t->broken && !t->bye) {
        ERR_clear_error();
        int w = SSL_write(t->ssl, p + done, (int)(n - done < RECORD ? n - done : RECORD));
        if (w > 0) {
            done += (size_t)w;
            continue;
        }
        int how = SSL_get_error(t->ssl, w);
        if (how == SSL_ERROR_WANT_WRITE || how == SSL_ERROR_WANT_READ)
            break;
        ERR_clear_error();
        t->broken = true;
        c->dead = true;
        break;
    }
    return done;
}

static void push(struct conn *c)
{
    for (size_t sent = 0; sent < WRITE_TURN && !c->dead;) {
        struct evbuffer_iovec v = {.iov_base = NULL, .iov_len = 0};
        if (evbuffer_peek(c->out, -1, NULL, &v, 1) < 1 || v.iov_len == 0)
            return;
        size_t most = v.iov_len < WRITE_TURN ? v.iov_len : WRITE_TURN;
        size_t n = assay_tls_send(c, v.iov_base, most);
        (void)evbuffer_drain(c->out, n);
        sent += n;
        if (n < most)
            return;
    }
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    struct conn *c = conn_check(arg);
    struct conn_tls *t = c->tls;
    (void)fd;
    (void)what;
    assay_conn_begin(c);
    if (!t->open && !t->plain)
        handshake(c);
    if (!c->dead && t->open) {
        bool owed = evbuffer_get_length(c->out) > 0;
        push(c);
        if (t->read_wants_write && !c->dead)
            take_input(c);
        if (owed && !c->dead && evbuffer_get_length(c->out) == 0)
            assay_conn_writable(c);
    }
    assay_conn_end(c);
}

void assay_tls_settle(struct conn *c)
{
    struct conn_tls *t = c->tls;
    bool room = evbuffer_get_length(c->in) < INPUT_MAX;
    watch(t->readable, !c->eof && !t->more);
    if (t->open)
        watch(t->writable, t->read_wants_write || t->bye_owed || evbuffer_get_length(c->out) > 0);
    if (t->more && room && !c->eof)
        assay_conn_go_on(c);
}

/* ---- birth and death ------------------------------------------------------------------------------- */

bool assay_tls_bye(struct conn *c)
{
    struct conn_tls *t = c->tls;
    if (!t->open || t->broken || (t->bye && !t->bye_owed))
        return true;
    t->bye = true;
    ERR_clear_error();
    int rc = SSL_shutdown(t->ssl);
    t->bye_owed = rc < 0 && SSL_get_error(t->ssl, rc) == SSL_ERROR_WANT_WRITE;
    ERR_clear_error();
    return !t->bye_owed;
}

bool assay_tls_start(struct conn *c, struct assay_tls *from)
{
    struct conn_tls *t = calloc(1, sizeof *t);
    c->tls = t;
    if (!t)
        return false;
    c->in = evbuffer_new();
    c->out = evbuffer_new();
    t->ssl = assay_tls_session(from);
    t->readable = event_new(c->loop->base, c->fd, EV_READ | EV_PERSIST, on_readable, c);
    t->writable = event_new(c->loop->base, c->fd, EV_WRITE | EV_PERSIST, on_writable, c);
    if (!c->in || !c->out || !t->ssl || !t->readable || !t->writable || SSL_set_fd(t->ssl, c->fd) != 1) {
        ERR_clear_error();
        return false;
    }
    SSL_set_accept_state(t->ssl);
    return event_add(t->readable, NULL) == 0;
}

void assay_tls_end(struct conn *c)
{
    struct conn_tls *t = c->tls;
    if (!t) /* start found no memory */
        return;
    if (t->readable)
        event_free(t->readable);
    if (t->writable)
        event_free(t->writable);
    SSL_free(t->ssl);
    if (c->in)
        evbuffer_free(c->in);
    if (c->out)
        evbuffer_free(c->out);
    free(t);
    c->tls = NULL;
}
