/*
 * A connection: phases, deadlines, reads and writes.
 *
 * Theory of operation.  One request of a connection is under way at a time; what a client pipelines behind
 * it waits, first in the bufferevent (INPUT_MAX), then in the kernel, so answers are in order by
 * construction and no queue of requests exists.  After pipelined_max requests in one turn others have
 * their turn first.
 *
 * Work happens in turns, between assay_conn_begin() and assay_conn_end().  What a turn says is collected in
 * the loop's one `out`, and sent by one send() at its end; only what the kernel does not take goes
 * through the output buffer.  An idle connection therefore owns no buffer at all.  Over TLS both buffers are filled and
 * emptied by http_tls.c, and all else is the same.  A connection
 * that is to be destroyed is marked dead and destroyed at the end of its turn, so no function needs to
 * tell its caller that the connection has gone.
 *
 * Deadlines are absolute, as a timeout that restarts with every byte is none against a client that sends a
 * byte now and then.  They live in a wheel of WHEEL_SLOTS slots that turns every TICK_NS: a deadline that
 * moves later (what happens on every request) is only stored, and found out when its old slot comes up;
 * one that moves earlier moves the connection.  Every connection is always in the wheel, which is also
 * the list of all connections.
 *
 * Closing: when the client may still be sending (a body we refused), closing at once would make the kernel
 * send a reset, and a reset discards the answer that the client has not read yet.  So we shut our side,
 * throw away what comes for LINGER_NS or LINGER_BYTES, and then close (RFC 9112, 9.6).
 */
#include "http_impl.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/buffer.h>

/* ---- the wheel ----------------------------------------------------------------------------------- */

static void wheel_out(struct conn *c)
{
    *c->link = c->next;
    if (c->next)
        c->next->link = c->link;
}

static void wheel_in(struct conn *c, int64_t tick)
{
    struct loop *l = c->loop;
    int64_t last = l->tick + (int64_t)WHEEL_SLOTS - 1;
    if (tick <= l->tick)
        tick = l->tick + 1;
    if (tick > last)
        tick = last; /* looked at again then */
    struct conn **slot = &l->wheel[(uint64_t)tick % WHEEL_SLOTS];
    c->due_tick = tick;
    c->next = *slot;
    c->link = slot;
    if (c->next)
        c->next->link = &c->next;
    *slot = c;
}

static int64_t due_ns(const struct conn *c)
{
    /* a client that is still being told something does not idle */
    bool write_first = c->write_deadline_ns && (c->phase == PHASE_IDLE || c->write_deadline_ns < c->deadline_ns);
    return write_first ? c->write_deadline_ns : c->deadline_ns;
}

static int64_t due_tick(const struct conn *c)
{
    return due_ns(c) / TICK_NS + 1;
}

/* ---- birth and death ------------------------------------------------------------------------------ */

static void on_read(struct bufferevent *bev, void *arg);
static void on_write(struct bufferevent *bev, void *arg);
static void on_event(struct bufferevent *bev, short what, void *arg);

static bool conn_start(struct conn *c, bool tls)
{
    struct loop *l = c->loop;
    if (tls)
        return assay_tls_start(c, l->front->cfg.tls);
    c->bev = bufferevent_socket_new(l->base, c->fd, BEV_OPT_CLOSE_ON_FREE);
    if (!c->bev)
        return false;
    c->in = bufferevent_get_input(c->bev);
    c->out = bufferevent_get_output(c->bev);
    bufferevent_setcb(c->bev, on_read, on_write, on_event, c);
    return assay_bound_input(c->bev, INPUT_MAX) && bufferevent_enable(c->bev, EV_READ | EV_WRITE) == 0;
}

static void conn_release(struct conn *c)
{
    if (c->bev) {
        bufferevent_free(c->bev); /* closes it */
    } else {
        assay_tls_end(c);
        (void)close(c->fd);
    }
    c->magic = 0;
    free(c);
}

void assay_conn_new(struct loop *l, int fd, const char *remote, bool tls)
{
    struct conn *c = calloc(1, sizeof *c);
    if (!c) {
        (void)close(fd);
        return;
    }
    /* answers are written whole: nothing is won by waiting for more (a no-op on other kinds of socket) */
    int on = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    c->magic = CONN_MAGIC;
    c->loop = l;
    c->fd = fd;
    (void)snprintf(c->remote, sizeof c->remote, "%s", remote);
    c->trusted = assay_proxies_trusts(l->front->cfg.proxies, assay_str(c->remote));
    if (!conn_start(c, tls)) {
        conn_release(c);
        return;
    }
    assay_head_init(c);
    l->conns++;
    atomic_fetch_add_explicit(&l->front->conns, 1, memory_order_relaxed);
    count(&l->accepted, 1);
    c->phase = PHASE_IDLE;
    c->deadline_ns = l->now_ns + l->front->cfg.header_deadline_ms * MS_NS;
    wheel_in(c, due_tick(c));
}

static void again_out(struct conn *c)
{
    struct conn **at = &c->loop->again;
    while (*at != c)
        at = &(*at)->next_again;
    *at = c->next_again;
}

static void settle(struct conn *c, size_t unsent);

static void conn_destroy(struct conn *c)
{
    struct loop *l = c->loop;
    struct assay_front *f = l->front;
    settle(c, 0);
    if (c->x)
        assay_exchange_detach(c->x, 499);
    if (c->queued_again)
        again_out(c);
    wheel_out(c);
    conn_release(c);
    l->conns--;
    if (atomic_fetch_sub_explicit(&f->conns, 1, memory_order_acq_rel) == 1 && atomic_load_explicit(&f->draining, memory_order_relaxed)) {
        pthread_mutex_lock(&f->drain_lock);
        pthread_cond_signal(&f->drained);
        pthread_mutex_unlock(&f->drain_lock);
    }
}

/* ---- writing -------------------------------------------------------------------------------------- */

static void free_body(const void *data, size_t n, void *start)
{
    (void)data;
    (void)n;
    free(start);
}

/* What the kernel takes at once of p..p+n. */
static size_t send_now(struct conn *c, const char *p, size_t n, int flags)
{
    if (evbuffer_get_length(c->out))
        return 0; /* in order: behind what already waits */
    if (c->tls)
        return assay_tls_send(c, p, n);
    ssize_t sent;
    do
        sent = send(c->fd, p, n, MSG_NOSIGNAL | MSG_DONTWAIT | flags);
    while (sent < 0 && errno == EINTR);
    if (sent >= 0)
        return (size_t)sent;
    if (errno != EAGAIN && errno != EWOULDBLOCK)
        c->dead = true;
    return 0;
}

/* A client must take what we say as fast as it must send: so a deadline for what is unsent. */
static void owe(struct conn *c, size_t n)
{
    const struct assay_front_config *cfg = &c->loop->front->cfg;
    if (c->cut)
        return;
    if (!c->write_deadline_ns)
        c->write_deadline_ns = c->loop->now_ns + cfg->body_grace_ms * MS_NS;
    c->write_deadline_ns += (int64_t)n * S_NS / cfg->body_min_rate;
}

static void owed_out(struct conn *c)
{
    struct loop *l = c->loop;
    *(c->owed_before ? &c->owed_before->owed_after : &l->owed_first) = c->owed_after;
    *(c->owed_after ? &c->owed_after->owed_before : &l->owed_last) = c->owed_before;
    c->owed_before = c->owed_after = NULL;
}

/* Counts what is unsent now, and in memory.  All together it is bounded, for a client that reads a byte a second costs as much memory as the
 * longest answer it may ask for: over the bound, whoever has been taking longest is given up.  Its end comes with
 * the next turn of the wheel, so that no connection but the one in hand is ever destroyed. */
static void settle(struct conn *c, size_t unsent)
{
    struct loop *l = c->loop;
    if (c->cut)
        return;
    bool grown = unsent > c->unsent;
    if (c->unsent == 0 && unsent > 0) {
        c->owed_before = l->owed_last;
        *(l->owed_last ? &l->owed_last->owed_after : &l->owed_first) = c;
        l->owed_last = c;
    } else if (c->unsent > 0 && unsent == 0) {
        owed_out(c);
    }
    l->unsent = l->unsent - c->unsent + unsent;
    c->unsent = unsent;
    while (grown && l->unsent > l->front->cfg.unsent_max / l->front->n_loops && l->owed_first) {
        struct conn *longest = l->owed_first;
        owed_out(longest);
        l->unsent -= longest->unsent;
        longest->unsent = 0;
        longest->cut = true;
        longest->write_deadline_ns = l->now_ns;
        wheel_out(longest);
        wheel_in(longest, l->tick + 1);
    }
}

/* What waits to be sent and is in memory for this connection's sake.  Of fixed bytes the last piece alone is known: of an earlier
 * one that still waits at most OUTPUT_MAX are counted for memory, and are none. */
static size_t unsent_memory(const struct conn *c)
{
    size_t n = evbuffer_get_length(c->out);
    uint64_t gone = c->put - n, from = c->fixed_from > gone ? c->fixed_from : gone;
    return c->fixed_to > from ? n - (size_t)(c->fixed_to - from) : n;
}

static void flush_out(struct conn *c, bool more)
{
    struct assay_buf *out = &c->loop->out;
    if (out->failed)
        c->dead = true; /* half an answer must not go out */
    if (out->n && !c->dead) {
        size_t sent = send_now(c, out->p, out->n, more ? MSG_MORE : 0);
        if (!c->dead && sent < out->n) {
            if (evbuffer_add(c->out, out->p + sent, out->n - sent) != 0)
                c->dead = true;
            c->put += out->n - sent;
            owe(c, out->n - sent);
        }
    }
    assay_buf_reset(out);
    if (out->room > OUTPUT_MAX)
        assay_buf_free(out);
}

void assay_conn_flush(struct conn *c, struct assay_buf *body)
{
    bool more = body && body->n;
    flush_out(c, more);
    if (!more || c->dead)
        return;
    size_t sent = send_now(c, body->p, body->n, 0);
    if (c->dead || sent == body->n)
        return;
    size_t n;
    char *p = assay_buf_steal(body, &n);
    if (!p || evbuffer_add_reference(c->out, p + sent, n - sent, free_body, p) != 0) {
        free(p);
        c->dead = true;
        return;
    }
    c->put += n - sent;
    owe(c, n - sent);
}

void assay_conn_flush_fixed(struct conn *c, struct assay_str bytes)
{
    flush_out(c, true);
    if (c->dead)
        return;
    size_t sent = send_now(c, bytes.p, bytes.n, 0);
    if (c->dead || sent == bytes.n)
        return;
    if (evbuffer_add_reference(c->out, bytes.p + sent, bytes.n - sent, NULL, NULL) != 0) {
        c->dead = true;
        return;
    }
    c->fixed_from = c->put;
    c->put += bytes.n - sent;
    c->fixed_to = c->put;
    owe(c, bytes.n - sent);
}

/* ---- phases --------------------------------------------------------------------------------------- */

static bool parses(const struct conn *c)
{
    return c->phase == PHASE_IDLE || c->phase == PHASE_HEAD || c->phase == PHASE_BODY;
}

static void throw_away(struct conn *c)
{
    struct evbuffer *in = c->in;
    size_t n = evbuffer_get_length(in);
    (void)evbuffer_drain(in, n);
    c->lingered += n;
    if (c->eof || c->lingered > LINGER_BYTES)
        c->dead = true;
}

/* Nothing is owed to the client: where there is a way to say goodbye, it is said. */
static void close_idle(struct conn *c)
{
    if (c->tls)
        (void)assay_tls_bye(c);
    c->dead = true;
}

/* All has gone out. */
static void shut(struct conn *c)
{
    if (c->tls && !assay_tls_bye(c)) {
        /* the end of the answer is still in the kernel; its turn comes when that is read */
        int64_t last = c->loop->now_ns + c->loop->front->cfg.body_grace_ms * MS_NS;
        c->deadline_ns = c->deadline_ns < last ? c->deadline_ns : last;
        return;
    }
    if (!c->linger || c->eof) {
        c->dead = true;
        return;
    }
    (void)shutdown(c->fd, SHUT_WR);
    c->phase = PHASE_LINGER;
    c->deadline_ns = c->loop->now_ns + LINGER_NS;
    throw_away(c);
}

void assay_conn_answered(struct conn *c, bool keep)
{
    struct loop *l = c->loop;
    if (!keep || l->draining) {
        c->linger |= l->draining; /* the client did not ask for the end and may be sending its next request */
        c->phase = PHASE_CLOSING;
        c->deadline_ns = l->now_ns + l->front->cfg.body_deadline_ms * MS_NS; /* the write deadline comes first */
        return;
    }
    c->phase = PHASE_IDLE;
    c->head_wire = 0;
    c->last = 0;
    c->deadline_ns = l->now_ns + l->front->cfg.idle_ms * MS_NS;
}

void assay_conn_refuse(struct conn *c, int status, struct assay_str detail)
{
    /* a head that broke before it began has no exchange to answer with */
    if (!c->x)
        c->x = assay_exchange_new(c);
    if (!c->x) {
        c->dead = true;
        return;
    }
    c->linger = true;
    c->x->keep_alive = false;
    assay_reply_early(c->x, &(struct early){status, detail});
}

void assay_conn_body_deadline(struct conn *c)
{
    const struct assay_front_config *cfg = &c->loop->front->cfg;
    const struct exchange *x = c->x;
    int64_t by_rate = x->body_started_ns + cfg->body_grace_ms * MS_NS + (int64_t)(x->body_total / (uint64_t)cfg->body_min_rate) * S_NS;
    int64_t last = x->body_started_ns + cfg->body_deadline_ms * MS_NS;
    c->deadline_ns = by_rate < last ? by_rate : last;
}

static void more_is_needed(struct conn *c)
{
    const struct assay_front_config *cfg = &c->loop->front->cfg;
    if (c->phase == PHASE_IDLE && c->x) {
        c->phase = PHASE_HEAD;
        c->deadline_ns = c->x->rq.started_mono_ns + cfg->header_deadline_ms * MS_NS;
    } else if (c->phase == PHASE_BODY) {
        assay_conn_body_deadline(c);
        if (c->x->spools && c->x->body.n >= SPOOL_PIECE)
            assay_spool_out(c->x, false);
    }
}

void assay_conn_go_on(struct conn *c)
{
    static const struct timeval at_once = {0, 0};
    struct loop *l = c->loop;
    if (c->queued_again)
        return;
    c->queued_again = true;
    c->next_again = l->again;
    l->again = c;
    /* a timer, not event_active(): so the loop looks at its descriptors before it comes back here */
    (void)event_add(l->again_event, &at_once);
}

void assay_conn_consume(struct conn *c)
{
    struct evbuffer *in = c->in;
    unsigned served = 0;
    while (!c->dead && parses(c)) {
        struct evbuffer_iovec v = {.iov_base = NULL, .iov_len = 0};
        bool have = evbuffer_peek(in, -1, NULL, &v, 1) > 0 && v.iov_len > 0;
        if (!have && !c->parser_owes)
            break;
        if (c->phase == PHASE_IDLE && (c->loop->out.n > OUTPUT_MAX || evbuffer_get_length(c->out) > OUTPUT_MAX)) {
            assay_conn_flush(c, NULL);
            if (evbuffer_get_length(c->out))
                return; /* on_write goes on */
            continue;
        }
        c->parser_owes = false;
        size_t used = 0;
        enum parsed got = assay_head_feed(c, have ? v.iov_base : "", have ? v.iov_len : 0, &used);
        if (used)
            (void)evbuffer_drain(in, used);
        switch (got) {
        case PARSED_MORE:
            more_is_needed(c);
            break;
        case PARSED_HEAD:
            assay_exchange_head(c->x);
            break;
        case PARSED_MESSAGE:
            if (c->x->spools)
                assay_spool_out(c->x, true);
            else
                assay_exchange_dispatch(c->x);
            if (++served >= c->loop->front->cfg.pipelined_max && evbuffer_get_length(in)) {
                assay_conn_go_on(c);
                return;
            }
            break;
        case PARSED_BAD:
            count(&c->loop->parse_errors, 1);
            assay_conn_refuse(c, c->fault.status, c->fault.detail);
            break;
        }
    }
}

/* ---- turns ---------------------------------------------------------------------------------------- */

void assay_conn_begin(struct conn *c)
{
    loop_own(c->loop);
    c->loop->now_ns = assay_mono_ns();
}

void assay_conn_end(struct conn *c)
{
    assay_conn_flush(c, NULL);
    if (!c->dead && evbuffer_get_length(c->out) == 0) {
        if (c->write_deadline_ns && c->phase == PHASE_IDLE)
            c->deadline_ns = c->loop->now_ns + c->loop->front->cfg.idle_ms * MS_NS;
        c->write_deadline_ns = 0;
        c->cut = false;
        if (c->phase == PHASE_CLOSING)
            shut(c);
        else if (c->eof && parses(c) && !c->queued_again)
            close_idle(c); /* no more will come, and what came is answered */
    }
    if (c->dead) {
        conn_destroy(c);
        return;
    }
    settle(c, unsent_memory(c));
    if (c->tls)
        assay_tls_settle(c);
    int64_t tick = due_tick(c);
    if (tick < c->due_tick) {
        wheel_out(c);
        wheel_in(c, tick);
    }
}

void assay_conn_readable(struct conn *c)
{
    if (c->phase == PHASE_LINGER)
        throw_away(c);
    else if (c->phase == PHASE_CLOSING)
        (void)evbuffer_drain(c->in, evbuffer_get_length(c->in));
    else if (!c->queued_again)
        assay_conn_consume(c);
}

/* The output has gone out. */
void assay_conn_writable(struct conn *c)
{
    if (evbuffer_get_length(c->out) == 0 && c->phase == PHASE_IDLE && !c->queued_again)
        assay_conn_consume(c);
    else if (c->phase == PHASE_STREAM)
        assay_stream_pump(c->x);
}

void assay_conn_ended(struct conn *c)
{
    /* half closed: what was asked before is still answered */
    c->eof = true;
    if (c->phase == PHASE_LINGER)
        c->dead = true;
    /* who waits for events and closes has left; who waits for a file may have shut only its own side */
    if (c->phase == PHASE_STREAM && (c->x->bound->route->flags & ASSAY_ROUTE_STREAM))
        c->dead = true;
}

static void on_read(struct bufferevent *bev, void *arg)
{
    struct conn *c = conn_check(arg);
    (void)bev;
    assay_conn_begin(c);
    assay_conn_readable(c);
    assay_conn_end(c);
}

static void on_write(struct bufferevent *bev, void *arg)
{
    struct conn *c = conn_check(arg);
    (void)bev;
    assay_conn_begin(c);
    assay_conn_writable(c);
    assay_conn_end(c);
}

static void on_event(struct bufferevent *bev, short what, void *arg)
{
    struct conn *c = conn_check(arg);
    (void)bev;
    assay_conn_begin(c);
    if (what & BEV_EVENT_ERROR)
        c->dead = true;
    if (what & BEV_EVENT_EOF)
        assay_conn_ended(c);
    assay_conn_end(c);
}

void assay_conn_again(struct loop *l)
{
    struct conn *list = l->again;
    l->again = NULL;
    /* nothing in here destroys another connection than the one in hand, so the rest of the list holds */
    while (list) {
        struct conn *c = list;
        list = c->next_again;
        c->queued_again = false;
        assay_conn_begin(c);
        if (c->tls)
            assay_tls_again(c);
        else
            assay_conn_readable(c);
        assay_conn_end(c);
    }
}

/* ---- deadlines ------------------------------------------------------------------------------------ */

static void expire(struct conn *c)
{
    struct loop *l = c->loop;
    assay_conn_begin(c);
    if (c->write_deadline_ns && c->write_deadline_ns <= l->now_ns) {
        count(&l->timeouts, 1);
        c->dead = true;
    } else {
        switch ((enum phase)c->phase) {
        case PHASE_HEAD:
        case PHASE_BODY:
            count(&l->timeouts, 1);
            assay_conn_refuse(c, 408, ASSAY_STR("the request took too long to arrive"));
            break;
        case PHASE_GATE:
        case PHASE_SPOOL:
        case PHASE_WAIT:
            count(&l->timeouts, 1);
            assay_exchange_give_up(c->x);
            break;
        case PHASE_IDLE:
            if (c->tls)
                assay_tls_timed_out(c);
            close_idle(c);
            break;
        case PHASE_STREAM: /* only its write deadline can come */
        case PHASE_CLOSING:
        case PHASE_LINGER:
            c->dead = true;
            break;
        }
    }
    assay_conn_end(c);
}

static void turn_slot(struct loop *l, int64_t tick)
{
    struct conn **slot = &l->wheel[(uint64_t)tick % WHEEL_SLOTS];
    /* taken off first: what is put in again lands in a later slot */
    struct conn *list = *slot;
    *slot = NULL;
    if (list)
        list->link = &list;
    while (list) {
        struct conn *c = list;
        wheel_out(c);
        wheel_in(c, due_tick(c));
        if (due_ns(c) <= l->now_ns)
            expire(c);
    }
}

void assay_conn_tick(struct loop *l)
{
    int64_t now = l->now_ns / TICK_NS;
    /* after a long sleep one round sees every slot */
    if (now - l->tick > (int64_t)WHEEL_SLOTS)
        l->tick = now - (int64_t)WHEEL_SLOTS;
    while (l->tick < now) {
        l->tick++;
        turn_slot(l, l->tick);
    }
}

/* ---- the end -------------------------------------------------------------------------------------- */

static bool is_idle(const struct conn *c)
{
    return c->phase == PHASE_IDLE && evbuffer_get_length(c->out) == 0 && evbuffer_get_length(c->in) == 0 && !c->queued_again;
}

static void each(struct loop *l, bool (*which)(const struct conn *c))
{
    for (size_t i = 0; i < WHEEL_SLOTS; i++)
        for (struct conn *c = l->wheel[i], *next; c; c = next) {
            next = c->next;
            assay_conn_begin(c);
            if (which(c)) {
                if (is_idle(c))
                    close_idle(c);
                c->dead = true;
            }
            assay_conn_end(c);
        }
}

static bool always(const struct conn *c)
{
    (void)c;
    return true;
}

void assay_conn_drain(struct loop *l)
{
    for (size_t i = 0; i < WHEEL_SLOTS; i++)
        for (struct conn *c = l->wheel[i]; c; c = c->next)
            assay_stream_drain(c);
    each(l, is_idle);
}

void assay_conn_close_all(struct loop *l)
{
    each(l, always);
}
