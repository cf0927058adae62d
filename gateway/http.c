/*
 * The front: its loops, their threads, and tickets.
 *
 * Theory of operation.  Each loop is a thread with an event base of its own (no locks: nothing of a base is
 * touched from outside) that accepts from its listening sockets and keeps its connections for life.  Two
 * ways lead in from other threads, both through the loop's mailbox: the mail of an exchange that comes
 * back from a worker or from a ticket's holder, and the main thread's drain and stop.
 *
 * Tickets.  A ticket names {loop, slot, generation}.  A slot's generation is odd while its ticket is out.
 * Answering begins with a compare-and-swap of the generation from the ticket's odd value to the next even
 * one: exactly one caller can win that, so a second answer, or one that comes with an old ticket, finds the
 * generation changed and drops its response without touching any exchange.  The winner owns the exchange
 * until its mail is posted.  Slots live in chunks that are never moved or freed while the front lives, so
 * the look-up needs no lock.  Memory order: the loop writes slot.x and the exchange before it publishes
 * the odd generation (release); the winner's swap acquires it; the mailbox carries the exchange back.
 *
 * The order of the end is drain (stop accepting, close what idles, wait for the rest), then free (stop and
 * join the loops, close what is left).  Exchanges that were never answered are freed with the slots.
 */
#include "http_impl.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <event2/listener.h>

#define ACCEPT_PAUSE_NS (200 * MS_NS) /* without descriptors: the listener would spin */

_Thread_local struct loop *assay_this_loop;

const char *const assay_tls_failure_names[ASSAY_TLS_FAILURES] = {
    [ASSAY_TLS_TIMEOUT] = "timeout", [ASSAY_TLS_CLOSED] = "closed", [ASSAY_TLS_PLAIN_HTTP] = "plain_http",
    [ASSAY_TLS_GARBAGE] = "not_tls", [ASSAY_TLS_VERSION] = "version", [ASSAY_TLS_CIPHER] = "cipher",
    [ASSAY_TLS_ALPN] = "alpn",       [ASSAY_TLS_REFUSED] = "refused_by_client", [ASSAY_TLS_OTHER] = "other",
};

void assay_loop_log(struct loop *l, enum assay_log_level level, const char *event, const struct assay_kv *kv, size_t n)
{
    const struct assay_front_config *cfg = &l->front->cfg;
    if (cfg->log)
        cfg->log(cfg->ctx, level, event, kv, n);
}

/* ---- tickets -------------------------------------------------------------------------------------- */

#define TICKET_LOOP_SHIFT 56
#define TICKET_SLOT_SHIFT 32
#define TICKET_SLOT_MASK 0xffffffu

static struct slot *slot_at(struct loop *l, uint32_t index, memory_order order)
{
    struct slot *chunk = index / SLOT_CHUNK < SLOT_CHUNKS ? atomic_load_explicit(&l->chunk[index / SLOT_CHUNK], order) : NULL;
    return chunk ? &chunk[index % SLOT_CHUNK] : NULL;
}

/* A slot that the loop itself has made. */
static struct slot *slot_own(struct loop *l, uint32_t index)
{
    struct slot *s = slot_at(l, index, memory_order_relaxed);
    assert(s);
    return s;
}

static bool slots_grow(struct loop *l)
{
    uint32_t at = l->n_slots / SLOT_CHUNK;
    struct slot *chunk = at < SLOT_CHUNKS ? calloc(SLOT_CHUNK, sizeof *chunk) : NULL;
    if (!chunk)
        return false;
    for (uint32_t i = 0; i < SLOT_CHUNK; i++) {
        chunk[i].next_free = l->free_slot;
        l->free_slot = l->n_slots + i + 1;
    }
    l->n_slots += SLOT_CHUNK;
    atomic_store_explicit(&l->chunk[at], chunk, memory_order_release);
    return true;
}

assay_ticket assay_loop_ticket(struct loop *l, struct exchange *x)
{
    loop_own(l);
    assert(!x->ticket);
    if (!l->free_slot && !slots_grow(l))
        return 0;
    uint32_t index = l->free_slot - 1;
    struct slot *s = slot_own(l, index);
    l->free_slot = s->next_free;
    uint32_t generation = atomic_load_explicit(&s->generation, memory_order_relaxed) + 1;
    s->x = x;
    x->slot = index;
    x->ticket = (uint64_t)l->index << TICKET_LOOP_SHIFT | (uint64_t)index << TICKET_SLOT_SHIFT | generation;
    atomic_store_explicit(&s->generation, generation, memory_order_release);
    return x->ticket;
}

void assay_loop_ticket_back(struct loop *l, struct exchange *x)
{
    struct slot *s = slot_own(l, x->slot);
    uint32_t generation = (uint32_t)x->ticket;
    /* it may have been used up by an answer, or not (the pool was full) */
    (void)atomic_compare_exchange_strong_explicit(&s->generation, &generation, generation + 1, memory_order_relaxed, memory_order_relaxed);
    s->x = NULL;
    s->next_free = l->free_slot;
    l->free_slot = x->slot + 1;
    x->ticket = 0;
}

struct exchange *assay_loop_ticket_holder(struct assay_front *f, assay_ticket t)
{
    unsigned number = (unsigned)(t >> TICKET_LOOP_SHIFT);
    struct loop *l = number < f->n_loops ? f->loop[number] : NULL;
    struct slot *s = l && (t & 1) ? slot_at(l, (uint32_t)(t >> TICKET_SLOT_SHIFT) & TICKET_SLOT_MASK, memory_order_acquire) : NULL;
    if (!s || atomic_load_explicit(&s->generation, memory_order_acquire) != (uint32_t)t)
        return NULL;
    return exchange_check(s->x);
}

void assay_front_resume(struct assay_front *f, assay_ticket t, int status, struct assay_response *rs, const struct assay_err *err)
{
    unsigned number = (unsigned)(t >> TICKET_LOOP_SHIFT);
    uint32_t generation = (uint32_t)t;
    struct loop *l = number < f->n_loops ? f->loop[number] : NULL;
    struct slot *s = l && (generation & 1) ? slot_at(l, (uint32_t)(t >> TICKET_SLOT_SHIFT) & TICKET_SLOT_MASK, memory_order_acquire) : NULL;
    if (!s || !atomic_compare_exchange_strong_explicit(&s->generation, &generation, generation + 1, memory_order_acq_rel, memory_order_relaxed)) {
        if (rs)
            assay_response_clear(rs);
        return;
    }
    struct exchange *x = exchange_check(s->x);
    x->rc = status == ASSAY_DEFERRED ? ASSAY_E_INTERNAL : status;
    if (rs) {
        x->rs = *rs;
        *rs = (struct assay_response){.status = 0};
    }
    x->message = err && status < 0 ? assay_arena_str(x->arena, assay_str(err->msg)) : ASSAY_STR("");
    /* only freeing the front closes its boxes, and by contract nobody can resume then */
    int rc = assay_mailbox_post(l->box, &x->mail);
    assert(rc == 0);
}

/* ---- accepting ------------------------------------------------------------------------------------ */

static void remote_text(const struct sockaddr *sa, char *out, size_t n)
{
    const void *addr = NULL;
    if (sa->sa_family == AF_INET)
        addr = &((const struct sockaddr_in *)(const void *)sa)->sin_addr;
    else if (sa->sa_family == AF_INET6)
        addr = &((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr;
    if (!addr || !inet_ntop(sa->sa_family, addr, out, (socklen_t)n))
        (void)snprintf(out, n, "local");
}

static void refuse_connection(struct loop *l, int fd, bool tls)
{
    char id[ASSAY_REQUEST_ID], body[256], full[512];
    (void)assay_loop_request_id(l, id);
    int n = snprintf(body, sizeof body,
                     "{\"type\":\"urn:assay:problem:busy\",\"title\":\"Service Unavailable\",\"status\":503,"
                     "\"detail\":\"too many connections\",\"request_id\":\"%s\"}",
                     id);
    n = snprintf(full, sizeof full,
                 "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\nContent-Length: %d\r\n"
                 "X-Request-Id: %s\r\nRetry-After: 1\r\nConnection: close\r\n\r\n%s",
                 n, id, body);
    assert(n > 0 && (size_t)n < sizeof full);
    count(&l->refused, 1);
    /* over TLS it would have to shake hands first */
    if (!tls)
        (void)!send(fd, full, (size_t)n, MSG_NOSIGNAL | MSG_DONTWAIT);
    (void)close(fd);
}

static void on_accept(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *sa, int n, void *arg)
{
    const struct door *door = arg;
    struct loop *l = door->loop;
    char remote[46];
    (void)listener;
    (void)n;
    loop_own(l);
    l->now_ns = assay_mono_ns();
    if (atomic_load_explicit(&l->front->conns, memory_order_relaxed) >= l->front->cfg.connections_max) {
        refuse_connection(l, fd, door->tls);
        return;
    }
    remote_text(sa, remote, sizeof remote);
    assay_conn_new(l, fd, remote, door->tls);
}

static void listeners_enable(struct loop *l, bool on)
{
    for (size_t i = 0; i < l->n_listeners; i++)
        (void)(on ? evconnlistener_enable(l->listener[i]) : evconnlistener_disable(l->listener[i]));
}

static void on_accept_error(struct evconnlistener *listener, void *arg)
{
    struct loop *l = ((const struct door *)arg)->loop;
    int errnum = errno;
    (void)listener;
    l->now_ns = assay_mono_ns();
    l->listeners_off_until_ns = l->now_ns + ACCEPT_PAUSE_NS;
    listeners_enable(l, false);
    const struct assay_kv kv[] = {ASSAY_KI("loop", l->index), ASSAY_KI("errno", errnum), ASSAY_KI("connections", l->conns)};
    assay_loop_log(l, ASSAY_LOG_WARN, "accept_failed", kv, sizeof kv / sizeof kv[0]);
}

/* ---- a loop --------------------------------------------------------------------------------------- */

static void on_mail(evutil_socket_t fd, short what, void *arg)
{
    struct loop *l = arg;
    (void)fd;
    (void)what;
    (void)assay_mailbox_run(l->box);
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    struct loop *l = arg;
    (void)fd;
    (void)what;
    l->now_ns = assay_mono_ns();
    if (l->listeners_off_until_ns && l->listeners_off_until_ns <= l->now_ns && !l->draining) {
        l->listeners_off_until_ns = 0;
        listeners_enable(l, true);
    }
    assay_conn_tick(l);
}

static void on_again(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    assay_conn_again(arg);
}

static void on_drain(struct assay_mail *m)
{
    struct loop *l = (struct loop *)(void *)((char *)m - offsetof(struct loop, drain_mail));
    loop_own(l);
    l->draining = true;
    listeners_enable(l, false);
    assay_conn_drain(l);
}

static void on_stop(struct assay_mail *m)
{
    struct loop *l = (struct loop *)(void *)((char *)m - offsetof(struct loop, stop_mail));
    loop_own(l);
    (void)event_base_loopbreak(l->base);
}

static int loop_listen(struct loop *l, int fd, bool tls, struct assay_err *err)
{
    struct evconnlistener *e = evconnlistener_new(l->base, on_accept, &l->door[tls], LEV_OPT_CLOSE_ON_EXEC | LEV_OPT_DISABLED, 0, fd);
    if (!e)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for a listener");
    evconnlistener_set_error_cb(e, on_accept_error);
    l->listener[l->n_listeners++] = e;
    return 0;
}

/* Loop i takes the sockets whose number modulo loops is i; with fewer sockets than loops they are shared. */
static int loop_take(struct loop *l, const int *fds, size_t n, bool tls, struct assay_err *err)
{
    unsigned loops = l->front->cfg.loops;
    if (n > 0 && n < loops)
        return loop_listen(l, fds[l->index % n], tls, err);
    int rc = 0;
    for (size_t i = l->index; i < n && rc == 0; i += loops)
        rc = loop_listen(l, fds[i], tls, err);
    return rc;
}

static int loop_listeners(struct loop *l, struct assay_err *err)
{
    const struct assay_front_config *cfg = &l->front->cfg;
    if (cfg->n_listen_fds + cfg->n_tls_fds == 0)
        return 0;
    l->listener = calloc(cfg->n_listen_fds + cfg->n_tls_fds, sizeof(struct evconnlistener *));
    if (!l->listener)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for the listeners");
    int rc = loop_take(l, cfg->listen_fds, cfg->n_listen_fds, false, err);
    return rc != 0 ? rc : loop_take(l, cfg->tls_fds, cfg->n_tls_fds, true, err);
}

static int loop_init(struct loop *l, struct assay_err *err)
{
    static const struct timeval tick = {0, TICK_NS / 1000};
    struct event_config *ec = event_config_new();
    if (ec) {
        (void)event_config_set_flag(ec, EVENT_BASE_FLAG_NOLOCK);
        (void)event_config_set_flag(ec, EVENT_BASE_FLAG_IGNORE_ENV);
        l->base = event_base_new_with_config(ec);
        event_config_free(ec);
    }
    if (!l->base)
        return assay_err_set(err, ASSAY_E_NOMEM, "no event base");
    l->box = assay_mailbox_new(err);
    if (!l->box)
        return err ? err->code : ASSAY_E_NOMEM;
    if (l->front->cfg.gate) {
        l->cache = assay_gate_cache_new(l->front->cfg.gate);
        if (!l->cache)
            return assay_err_set(err, ASSAY_E_NOMEM, "no memory for the token cache");
    }
    l->box_event = event_new(l->base, assay_mailbox_fd(l->box), EV_READ | EV_PERSIST, on_mail, l);
    l->tick_event = event_new(l->base, -1, EV_PERSIST, on_tick, l);
    l->again_event = event_new(l->base, -1, 0, on_again, l);
    if (!l->box_event || !l->tick_event || !l->again_event || event_add(l->box_event, NULL) != 0 || event_add(l->tick_event, &tick) != 0)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for the events of a loop");
    assay_buf_init(&l->out, 0);
    for (int tls = 0; tls < 2; tls++)
        l->door[tls] = (struct door){l, tls != 0};
    l->drain_mail.run = on_drain;
    l->stop_mail.run = on_stop;
    l->now_ns = assay_mono_ns();
    l->tick = l->now_ns / TICK_NS;
    return loop_listeners(l, err);
}

/* Only when its thread is gone: what nobody will answer any more. */
static void slots_free(struct loop *l)
{
    for (uint32_t i = 0; i < l->n_slots; i++) {
        struct slot *s = slot_own(l, i);
        if (s->x) {
            s->x->away = false;
            assay_exchange_free(s->x);
        }
    }
    for (size_t i = 0; i < SLOT_CHUNKS; i++)
        free(atomic_load_explicit(&l->chunk[i], memory_order_relaxed));
}

static void loop_free(struct loop *l)
{
    if (!l)
        return;
    /* the main thread has joined it and now is it */
    assay_this_loop = l;
    assay_conn_close_all(l);
    if (l->box) {
        /* mail that came after the last round: exchanges whose clients are gone by now */
        for (struct assay_mail *m = assay_mailbox_close(l->box), *next; m; m = next) {
            next = m->next;
            if (m != &l->drain_mail && m != &l->stop_mail)
                m->run(m);
        }
    }
    slots_free(l);
    while (l->spare) {
        struct exchange *x = l->spare;
        l->spare = x->next_spare;
        free(x);
    }
    for (size_t i = 0; i < l->n_listeners; i++)
        evconnlistener_free(l->listener[i]);
    free(l->listener);
    struct event *const events[] = {l->box_event, l->tick_event, l->again_event};
    for (size_t i = 0; i < sizeof events / sizeof events[0]; i++)
        if (events[i])
            event_free(events[i]);
    assay_gate_cache_free(l->cache);
    assay_mailbox_free(l->box);
    if (l->base)
        event_base_free(l->base);
    assay_buf_free(&l->out);
    assay_this_loop = NULL;
    free(l);
}

static void *loop_main(void *arg)
{
    struct loop *l = arg;
    assay_this_loop = l;
    listeners_enable(l, true);
    (void)event_base_dispatch(l->base);
    assay_this_loop = NULL;
    return NULL;
}

/* ---- the front ------------------------------------------------------------------------------------ */

static void fill_defaults(struct assay_front_config *c)
{
#define DEFAULT(member, value)                                                                                         \
    do {                                                                                                               \
        if (c->member <= 0)                                                                                            \
            c->member = (value);                                                                                       \
    } while (0)
    if (c->loops == 0)
        c->loops = 1;
    if (c->header_bytes_max == 0)
        c->header_bytes_max = (size_t)16 << 10;
    if (c->header_count_max == 0)
        c->header_count_max = 100;
    if (c->connections_max == 0)
        c->connections_max = 10000;
    if (c->pipelined_max == 0)
        c->pipelined_max = 32;
    if (c->unsent_max == 0)
        c->unsent_max = (size_t)256 << 20;
    if (c->body_memory_max == 0)
        c->body_memory_max = (size_t)256 << 20;
    if (c->spool_over == 0)
        c->spool_over = (size_t)1 << 20;
    if (c->spool_max == 0)
        c->spool_max = UINT64_C(1) << 30;
    DEFAULT(header_deadline_ms, 10 * 1000);
    DEFAULT(body_grace_ms, 20 * 1000);
    DEFAULT(body_min_rate, 1000);
    DEFAULT(body_deadline_ms, 10 * 60 * 1000);
    DEFAULT(answer_deadline_ms, 120 * 1000);
    DEFAULT(idle_ms, 75 * 1000);
#undef DEFAULT
}

static int front_init(struct assay_front *f, struct assay_err *err)
{
    int rc = assay_front_parser_probe(err);
    if (rc == 0)
        rc = assay_router_new(f->cfg.routes, f->cfg.n_routes, &f->router, err);
    for (unsigned i = 0; i < f->cfg.loops && rc == 0; i++) {
        struct loop *l = calloc(1, sizeof *l);
        if (!l)
            return assay_err_set(err, ASSAY_E_NOMEM, "no memory for a loop");
        l->front = f;
        l->index = i;
        f->loop[f->n_loops++] = l;
        rc = loop_init(l, err);
    }
    return rc;
}

int assay_front_new(const struct assay_front_config *cfg, struct assay_front **ret, struct assay_err *err)
{
    if (cfg->loops > LOOPS_MAX)
        return assay_err_set(err, ASSAY_E_CONFIG, "at most %u event loops", LOOPS_MAX);
    if (cfg->n_tls_fds > 0 && !cfg->tls)
        return assay_err_set(err, ASSAY_E_INTERNAL, "listeners over TLS, and no certificate");
    assay_libevent_memory();
    struct assay_front *f = calloc(1, sizeof *f);
    if (!f)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for the front");
    f->cfg = *cfg;
    fill_defaults(&f->cfg);
    f->development = cfg->environment && strcmp(cfg->environment, "development") == 0;
    if (cfg->tls && cfg->hsts_s > 0)
        (void)snprintf(f->hsts, sizeof f->hsts, "Strict-Transport-Security: max-age=%lld\r\n", (long long)cfg->hsts_s);
    assay_random_hex(f->id_prefix, 8);
    pthread_mutex_init(&f->drain_lock, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&f->drained, &attr);
    pthread_condattr_destroy(&attr);
    int rc = front_init(f, err);
    if (rc) {
        assay_front_free(f);
        return rc;
    }
    *ret = f;
    return 0;
}

int assay_front_start(struct assay_front *f, struct assay_err *err)
{
    /* signals are the main thread's; and a peer that has gone must not kill us by SIGPIPE */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = 0;
    for (unsigned i = 0; i < f->n_loops && rc == 0; i++) {
        int errnum = pthread_create(&f->loop[i]->thread, NULL, loop_main, f->loop[i]);
        f->loop[i]->running = errnum == 0;
        if (errnum)
            rc = assay_err_errno(err, ASSAY_E_IO, errnum, "cannot start an event loop");
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc;
}

size_t assay_front_drain(struct assay_front *f, int64_t timeout_ms)
{
    if (!atomic_exchange(&f->draining, true))
        for (unsigned i = 0; i < f->n_loops; i++)
            if (f->loop[i]->running && assay_mailbox_post(f->loop[i]->box, &f->loop[i]->drain_mail) != 0)
                return atomic_load(&f->conns);
    struct timespec until;
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += timeout_ms / 1000;
    until.tv_nsec += timeout_ms % 1000 * MS_NS;
    if (until.tv_nsec >= S_NS) {
        until.tv_sec++;
        until.tv_nsec -= S_NS;
    }
    pthread_mutex_lock(&f->drain_lock);
    while (atomic_load(&f->conns) > 0)
        if (pthread_cond_timedwait(&f->drained, &f->drain_lock, &until) == ETIMEDOUT)
            break;
    pthread_mutex_unlock(&f->drain_lock);
    return atomic_load(&f->conns);
}

void assay_front_free(struct assay_front *f)
{
    if (!f)
        return;
    atomic_store(&f->freeing, true);
    for (unsigned i = 0; i < f->n_loops; i++)
        if (f->loop[i]->running) {
            int rc = assay_mailbox_post(f->loop[i]->box, &f->loop[i]->stop_mail);
            assert(rc == 0);
        }
    for (unsigned i = 0; i < f->n_loops; i++)
        if (f->loop[i]->running)
            (void)pthread_join(f->loop[i]->thread, NULL);
    for (unsigned i = 0; i < f->n_loops; i++)
        loop_free(f->loop[i]);
    assay_router_free(f->router);
    pthread_cond_destroy(&f->drained);
    pthread_mutex_destroy(&f->drain_lock);
    free(f);
}

void assay_front_stats(const struct assay_front *f, struct assay_front_stats *out)
{
    *out = (struct assay_front_stats){.connections_open = atomic_load_explicit(&f->conns, memory_order_relaxed)};
    for (unsigned i = 0; i < f->n_loops; i++) {
        const struct loop *l = f->loop[i];
        out->connections_accepted += atomic_load_explicit(&l->accepted, memory_order_relaxed);
        out->connections_refused += atomic_load_explicit(&l->refused, memory_order_relaxed);
        out->requests += atomic_load_explicit(&l->requests, memory_order_relaxed);
        out->requests_waiting += atomic_load_explicit(&l->waiting, memory_order_relaxed);
        out->parse_errors += atomic_load_explicit(&l->parse_errors, memory_order_relaxed);
        out->timeouts += atomic_load_explicit(&l->timeouts, memory_order_relaxed);
        out->late_answers += atomic_load_explicit(&l->late, memory_order_relaxed);
        for (size_t k = 0; k < 4; k++)
            out->tls_handshakes[k / 2][k % 2] += atomic_load_explicit(&l->tls_handshakes[k / 2][k % 2], memory_order_relaxed);
        for (size_t k = 0; k < ASSAY_TLS_FAILURES; k++)
            out->tls_failures[k] += atomic_load_explicit(&l->tls_failures[k], memory_order_relaxed);
    }
}

/* ---- driven by hand ------------------------------------------------------------------------------- */

static void adopt(struct assay_front *f, int fd, bool tls)
{
    assay_this_loop = f->loop[0];
    f->loop[0]->now_ns = assay_mono_ns();
    assay_conn_new(f->loop[0], fd, "local", tls);
}

void assay_front_adopt(struct assay_front *f, int fd)
{
    adopt(f, fd, false);
}

void assay_front_adopt_tls(struct assay_front *f, int fd)
{
    adopt(f, fd, true);
}

void assay_front_turn(struct assay_front *f)
{
    assay_this_loop = f->loop[0];
    (void)event_base_loop(f->loop[0]->base, EVLOOP_NONBLOCK);
}
