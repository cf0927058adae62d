/*
 * The HTTP front against raw bytes.
 *
 * Two harnesses.  By hand: a front without threads over a socketpair, turned until it has nothing more to do, so
 * that every fragmentation of a request can be tried.  And the real thing: loops, a worker pool and TCP, for
 * what needs time or threads.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <assay/identity.h>
#include <assay/value.h>

#include "gateway/gate.h"
#include "gateway/http.h"
#include "gateway/pool.h"
#include "gateway/proxies.h"

#define ADMIN "0193a1b2-0000-7000-8000-00000000000a"
#define USER "0193a1b2-0000-7000-8000-00000000000b"
#define HOST "Host: assay.test\r\n"

/* ---- handlers --------------------------------------------------------------------------------------- */

struct app {
    struct assay_front *front;
    struct assay_pool *pool; /* NULL: offloaded work is done at once, on the same thread */
    bool busy;               /* the pool says BUSY */
    atomic_uint handled;
    _Atomic assay_ticket kept; /* of /keep */
    atomic_uint done;
    int last_status;
    char last_path[64], last_method[16], last_id[80];
    const struct assay_route *last_route;
    atomic_uint logged;
};

static int hello(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    struct app *app = self;
    (void)rq;
    (void)err;
    atomic_fetch_add(&app->handled, 1);
    assay_buf_puts(&rs->body, "{\"hello\":\"world\"}");
    return 0;
}

static int echo(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    struct app *app = self;
    (void)err;
    atomic_fetch_add(&app->handled, 1);
    rs->status = 201;
    rs->content_type = "application/octet-stream";
    assay_buf_str(&rs->body, rq->body);
    return 0;
}

static int show(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    (void)self;
    (void)err;
    assay_buf_fmt(&rs->body, "%.*s|%.*s|%.*s|%.*s|%.*s|%.*s", ASSAY_FMT(rq->path), ASSAY_FMT(rq->query), ASSAY_FMT(rq->param[0]),
                  ASSAY_FMT(rq->who->user_id), ASSAY_FMT(rq->header(rq, "x-odd")), ASSAY_FMT(rq->traceparent));
    return 0;
}

static int keep(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    struct app *app = self;
    (void)rs;
    (void)err;
    app->kept = assay_front_defer(rq);
    return ASSAY_DEFERRED;
}

/* What a body that came as a file looks like to a handler; answers with its length and a sum of its bytes. */
static int sum(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    uint64_t sum = 0;
    char first = 0;
    (void)self;
    (void)err;
    for (size_t i = 0; i < rq->body.n; i++)
        sum += (unsigned char)rq->body.p[i];
    bool same = rq->body_fd >= 0 && rq->body.n && pread(rq->body_fd, &first, 1, 0) == 1 && first == rq->body.p[0];
    assay_buf_fmt(&rs->body, "{\"n\":%zu,\"sum\":%llu,\"file\":%s}", rq->body.n, (unsigned long long)sum, same ? "true" : "false");
    return 0;
}

/* On a worker: an answer of STREAMED bytes, written as fast as the client takes it. */
#define STREAMED ((size_t)24 << 20)
static int pour(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    static _Thread_local char piece[50000];
    struct app *app = self;
    assay_ticket t = assay_front_defer(rq);
    memset(piece, 'p', sizeof piece);
    rs->content_type = "application/octet-stream";
    int rc = assay_front_stream_begin(app->front, t, rs, NULL, NULL, err);
    for (size_t n = 0; rc == 0 && n < STREAMED; n += sizeof piece)
        rc = assay_front_stream_write(app->front, t, piece, STREAMED - n < sizeof piece ? STREAMED - n : sizeof piece, 10000);
    assay_front_stream_end(app->front, t, rc);
    return ASSAY_DEFERRED;
}

static int keep_and_answer(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    (void)keep(self, rq, rs, err);
    assay_buf_puts(&rs->body, "\"mine\"");
    return 0;
}

static int liar(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    (void)self;
    (void)rq;
    (void)rs;
    (void)err;
    return ASSAY_DEFERRED;
}

static int fails(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    (void)self;
    (void)rq;
    (void)rs;
    return assay_err_set(err, ASSAY_E_IO, "the disk in /secret/place is gone");
}

static int faults(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    (void)self;
    return assay_fault(rq, rs, err, "/language", "is not known");
}

static int splitting(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    (void)self;
    (void)rq;
    (void)err;
    assay_reply_header(rs, ASSAY_STR("Location"), ASSAY_STR("/x\r\nSet-Cookie: a=b"));
    return 0;
}

static int etag(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    (void)self;
    (void)rq;
    (void)err;
    assay_reply_header(rs, ASSAY_STR("ETag"), ASSAY_STR("\"v1\""));
    assay_reply_header(rs, ASSAY_STR("Cache-Control"), ASSAY_STR("max-age=60"));
    assay_buf_puts(&rs->body, "{}");
    return 0;
}

#define BIG ((size_t)3 << 20)
static int big(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    (void)self;
    (void)rq;
    (void)err;
    char *p = assay_buf_reserve(&rs->body, BIG);
    memset(p, 'x', BIG);
    rs->body.n = BIG;
    return 0;
}

static int slow(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    (void)usleep(300 * 1000);
    return hello(self, rq, rs, err);
}

struct later {
    struct app *app;
    assay_ticket t;
};
static void answer_later(void *arg)
{
    struct later *l = arg;
    struct assay_response rs = {.status = 202};
    assay_buf_puts(&rs.body, "\"later\"");
    assay_front_resume(l->app->front, l->t, 0, &rs, NULL);
    rs = (struct assay_response){.status = 200};
    assay_buf_puts(&rs.body, "\"again\"");
    assay_front_resume(l->app->front, l->t, 0, &rs, NULL);
    free(l);
}

/* Answered twice by another thread, perhaps before the handler has returned. */
static int defer(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    struct app *app = self;
    (void)rs;
    struct later *l = malloc(sizeof *l);
    *l = (struct later){app, assay_front_defer(rq)};
    if (assay_pool_submit(app->pool, answer_later, l) != 0) {
        free(l);
        return assay_err_set(err, ASSAY_E_BUSY, "busy");
    }
    return ASSAY_DEFERRED;
}

#define ROUTE(m, p, r, s, f, b, h)                                                                                     \
    {.method = ASSAY_##m, .path = (p), .roles = (r), .scope = (s), .flags = (f), .body_max = (b), .handle = (h), .operation_id = #h}
static const struct assay_route routes[] = {
    ROUTE(GET, "/hello", ASSAY_ROLES_PUBLIC, NULL, ASSAY_ROUTE_INLINE, 0, hello),
    ROUTE(GET, "/plain", ASSAY_ROLES_PUBLIC, NULL, ASSAY_ROUTE_INLINE | ASSAY_ROUTE_NO_QUERY, 0, hello),
    ROUTE(GET, "/plain-worker", ASSAY_ROLES_PUBLIC, NULL, ASSAY_ROUTE_NO_QUERY, 0, hello),
    ROUTE(GET, "/hello-worker", ASSAY_ROLES_PUBLIC, NULL, 0, 0, hello),
    ROUTE(POST, "/echo", ASSAY_ROLES_PUBLIC, NULL, ASSAY_ROUTE_INLINE, 4096, echo),
    ROUTE(POST, "/echo-worker", ASSAY_ROLES_PUBLIC, NULL, 0, 1 << 20, echo),
    ROUTE(GET, "/show/{id}", ASSAY_ROLES_PUBLIC, NULL, ASSAY_ROUTE_INLINE, 0, show),
    ROUTE(GET, "/me/{id}", ASSAY_ROLES_ANY, "me:read", ASSAY_ROUTE_INLINE, 0, show),
    ROUTE(POST, "/admin", ASSAY_ROLE_ADMIN, NULL, 0, 1 << 20, echo),
    ROUTE(GET, "/keep", ASSAY_ROLES_PUBLIC, NULL, ASSAY_ROUTE_INLINE, 0, keep),
    ROUTE(GET, "/events", ASSAY_ROLES_PUBLIC, NULL, ASSAY_ROUTE_INLINE | ASSAY_ROUTE_STREAM, 0, keep),
    ROUTE(GET, "/pour", ASSAY_ROLES_PUBLIC, NULL, 0, 0, pour),
    ROUTE(POST, "/sum", ASSAY_ROLES_PUBLIC, NULL, ASSAY_ROUTE_INLINE, 4 << 20, sum),
    ROUTE(POST, "/sum-file", ASSAY_ROLES_PUBLIC, NULL, ASSAY_ROUTE_SPOOL, 4 << 20, sum),
    ROUTE(GET, "/keep-worker", ASSAY_ROLES_PUBLIC, NULL, 0, 0, keep),
    ROUTE(GET, "/keep-and-answer", ASSAY_ROLES_PUBLIC, NULL, ASSAY_ROUTE_INLINE, 0, keep_and_answer),
    ROUTE(GET, "/keep-and-answer-worker", ASSAY_ROLES_PUBLIC, NULL, 0, 0, keep_and_answer),
    ROUTE(GET, "/liar", ASSAY_ROLES_PUBLIC, NULL, ASSAY_ROUTE_INLINE, 0, liar),
    ROUTE(GET, "/liar-worker", ASSAY_ROLES_PUBLIC, NULL, 0, 0, liar),
    ROUTE(GET, "/fails", ASSAY_ROLES_PUBLIC, NULL, ASSAY_ROUTE_INLINE, 0, fails),
    ROUTE(GET, "/faults", ASSAY_ROLES_PUBLIC, NULL, ASSAY_ROUTE_INLINE, 0, faults),
    ROUTE(GET, "/splitting", ASSAY_ROLES_PUBLIC, NULL, ASSAY_ROUTE_INLINE, 0, splitting),
    ROUTE(GET, "/etag", ASSAY_ROLES_PUBLIC, NULL, ASSAY_ROUTE_INLINE, 0, etag),
    ROUTE(GET, "/big", ASSAY_ROLES_PUBLIC, NULL, ASSAY_ROUTE_INLINE, 0, big),
    ROUTE(GET, "/slow", ASSAY_ROLES_PUBLIC, NULL, 0, 0, slow),
    ROUTE(GET, "/defer", ASSAY_ROLES_PUBLIC, NULL, ASSAY_ROUTE_INLINE, 0, defer),
    ROUTE(GET, "/defer-worker", ASSAY_ROLES_PUBLIC, NULL, 0, 0, defer),
};
#define ROUTES (sizeof routes / sizeof routes[0])

/* ---- the host --------------------------------------------------------------------------------------- */

static int offload(void *ctx, void (*fn)(void *arg), void *arg)
{
    struct app *app = ctx;
    if (app->busy)
        return ASSAY_E_BUSY;
    if (app->pool)
        return assay_pool_submit(app->pool, fn, arg);
    fn(arg);
    return 0;
}

static void on_log(void *ctx, enum assay_log_level level, const char *event, const struct assay_kv *kv, size_t n)
{
    struct app *app = ctx;
    (void)level;
    (void)event;
    (void)kv;
    (void)n;
    atomic_fetch_add(&app->logged, 1);
}

static void on_done(void *ctx, const struct assay_front_record *r)
{
    struct app *app = ctx;
    if (!app->pool) { /* by hand: one thread */
        app->last_status = r->status;
        app->last_route = r->route;
        (void)snprintf(app->last_path, sizeof app->last_path, "%.*s", ASSAY_FMT(r->path));
        (void)snprintf(app->last_method, sizeof app->last_method, "%.*s", ASSAY_FMT(r->method));
        (void)snprintf(app->last_id, sizeof app->last_id, "%.*s", ASSAY_FMT(r->request_id));
    }
    assert_true(r->duration_ns >= 0);
    atomic_fetch_add(&app->done, 1);
}

static int account_get(void *self, struct assay_str id, struct assay_arena *arena, struct assay_account *out, struct assay_err *err)
{
    (void)self;
    (void)arena;
    if (!assay_str_is(id, ADMIN) && !assay_str_is(id, USER))
        return assay_err_set(err, ASSAY_E_NOT_FOUND, "no such account");
    *out = (struct assay_account){.user_id = id, .role = assay_str_is(id, ADMIN) ? ASSAY_ROLE_ADMIN : ASSAY_ROLE_USER, .epoch = 1};
    return 0;
}
static const struct assay_accounts_ops accounts = {sizeof accounts, account_get};

struct fixture {
    struct app app;
    struct assay_gate *gate;
    struct assay_secret *secret;
    struct assay_bound_route bound[ROUTES];
    int listen_fd, port;
    int fd; /* by hand: our end */
};

static void front_make(struct fixture *f, struct assay_front_config cfg)
{
    struct assay_err err = {0};
    f->secret = assay_secret_new(ASSAY_STR("0123456789abcdef0123456789abcdef"));
    const struct assay_gate_key keys[] = {{"k", f->secret}};
    struct assay_gate_config gc = {.keys = keys, .n_keys = 1};
    assert_int_equal(assay_gate_new(&gc, &f->gate, &err), 0);
    assay_gate_services(f->gate, &accounts, NULL, NULL, NULL);
    for (size_t i = 0; i < ROUTES; i++)
        f->bound[i] = (struct assay_bound_route){&routes[i], &f->app, "test"};
    cfg.routes = f->bound;
    cfg.n_routes = ROUTES;
    cfg.gate = f->gate;
    cfg.ctx = &f->app;
    cfg.offload = offload;
    cfg.log = on_log;
    cfg.done = on_done;
    assert_int_equal(assay_front_new(&cfg, &f->app.front, &err), 0);
}

static void front_unmake(struct fixture *f)
{
    if (f->app.pool)
        assert_int_equal(assay_pool_drain(f->app.pool, 5000, NULL), 0);
    assay_front_free(f->app.front);
    assay_pool_free(f->app.pool);
    assay_gate_free(f->gate);
    assay_secret_free(f->secret);
    free(f);
}

static struct assay_str token_for(struct fixture *f, struct assay_buf *out, const char *user)
{
    struct assay_err err;
    assay_buf_reset(out);
    assert_int_equal(assay_gate_sign(f->gate, assay_str(user), ASSAY_STR("user"), 1, 600, out, &err), 0);
    return assay_buf_view(out);
}

/* ---- by hand ---------------------------------------------------------------------------------------- */

static void hand_connect(struct fixture *f)
{
    int pair[2];
    if (f->fd >= 0)
        (void)close(f->fd);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    f->fd = pair[0];
    assay_front_adopt(f->app.front, pair[1]);
}

static struct fixture *hand_make(struct assay_front_config cfg)
{
    struct fixture *f = calloc(1, sizeof *f);
    f->fd = -1;
    front_make(f, cfg);
    hand_connect(f);
    return f;
}

static int hand_setup(void **state)
{
    *state = hand_make((struct assay_front_config){.loops = 1});
    return 0;
}

static int hand_teardown(void **state)
{
    struct fixture *f = *state;
    if (f->fd >= 0)
        (void)close(f->fd);
    front_unmake(f);
    return 0;
}

struct got {
    char text[65536];
    size_t n;
    bool closed;
};

static void hand_read(struct fixture *f, struct got *g)
{
    for (unsigned quiet = 0; quiet < 3;) {
        assay_front_turn(f->app.front);
        ssize_t n = recv(f->fd, g->text + g->n, sizeof g->text - 1 - g->n, MSG_DONTWAIT);
        if (n > 0) {
            g->n += (size_t)n;
            quiet = 0;
        } else {
            g->closed |= n == 0;
            quiet++;
        }
    }
    g->text[g->n] = 0;
}

/* Sends in pieces of `step` bytes and reads what comes. */
static void hand_send(struct fixture *f, const char *p, size_t n, size_t step, struct got *g)
{
    *g = (struct got){.n = 0};
    for (size_t i = 0; i < n; i += step) {
        size_t piece = n - i < step ? n - i : step;
        if (send(f->fd, p + i, piece, MSG_NOSIGNAL) < 0)
            break; /* it has closed: what it said is still there to read */
        assay_front_turn(f->app.front);
    }
    hand_read(f, g);
}

static void ask(struct fixture *f, const char *text, struct got *g)
{
    hand_send(f, text, strlen(text), strlen(text) ? strlen(text) : 1, g);
}

static int status_of(const char *text)
{
    int64_t v = 0;
    if (strncmp(text, "HTTP/1.1 ", 9) != 0 || assay_parse_i64((struct assay_str){text + 9, 3}, 100, 599, &v, NULL) != 0)
        return -1;
    return (int)v;
}

static const char *nth_answer(const char *text, unsigned n)
{
    const char *at = text;
    while (n-- && at)
        at = strstr(at + 1, "HTTP/1.1 ");
    return at;
}

static void assert_has(const struct got *g, const char *what)
{
    if (!strstr(g->text, what))
        fail_msg("no \"%s\" in: %s", what, g->text);
}

static void assert_lacks(const struct got *g, const char *what)
{
    if (strstr(g->text, what))
        fail_msg("\"%s\" in: %s", what, g->text);
}

struct raw {
    const char *what, *text;
    size_t n; /* 0: strlen */
    int status;
};
#define RAW(what, text, status) {what, text, sizeof(text) - 1, status}
#define POST_HEAD "POST /echo HTTP/1.1\r\n" HOST

/* Refused, and the connection closed behind it: nobody knows where the next request would begin. */
static const struct raw refused[] = {
    RAW("two Content-Length", POST_HEAD "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400),
    RAW("two equal Content-Length", POST_HEAD "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 400),
    RAW("CL list", POST_HEAD "Content-Length: 3, 3\r\n\r\nabc", 400),
    RAW("CL and TE", POST_HEAD "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    RAW("TE and CL", POST_HEAD "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n", 400),
    RAW("space before colon", POST_HEAD "Content-Length : 3\r\n\r\nabc", 400),
    RAW("tab before colon", POST_HEAD "Content-Length\t: 3\r\n\r\nabc", 400),
    RAW("CL +3", POST_HEAD "Content-Length: +3\r\n\r\nabc", 400),
    RAW("CL -1", POST_HEAD "Content-Length: -1\r\n\r\nabc", 400),
    RAW("CL 0x3", POST_HEAD "Content-Length: 0x3\r\n\r\nabc", 400),
    RAW("CL vertical tab", POST_HEAD "Content-Length: \v3\r\n\r\nabc", 400),
    RAW("CL empty", POST_HEAD "Content-Length: \r\n\r\n", 400),
    RAW("CL 1 2", POST_HEAD "Content-Length: 1 2\r\n\r\nab", 400),
    RAW("CL too long", POST_HEAD "Content-Length: 99999999999999999999\r\n\r\n", 413),
    RAW("CL 2^63", POST_HEAD "Content-Length: 9223372036854775808\r\n\r\n", 413),
    RAW("TE gzip, chunked", POST_HEAD "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400),
    RAW("TE chunked, identity", POST_HEAD "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 400),
    RAW("TE xchunked", POST_HEAD "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400),
    RAW("TE twice", POST_HEAD "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    RAW("TE identity", POST_HEAD "Transfer-Encoding: identity\r\n\r\n", 400),
    RAW("TE on 1.0", "POST /echo HTTP/1.0\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    RAW("chunk 0x3", POST_HEAD "Transfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n", 400),
    RAW("chunk +3", POST_HEAD "Transfer-Encoding: chunked\r\n\r\n+3\r\nabc\r\n0\r\n\r\n", 400),
    RAW("chunk space", POST_HEAD "Transfer-Encoding: chunked\r\n\r\n 3\r\nabc\r\n0\r\n\r\n", 400),
    RAW("chunk -1", POST_HEAD "Transfer-Encoding: chunked\r\n\r\n-1\r\nabc\r\n0\r\n\r\n", 400),
    RAW("chunk too big", POST_HEAD "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nabc\r\n0\r\n\r\n", 400),
    RAW("chunk without CRLF", POST_HEAD "Transfer-Encoding: chunked\r\n\r\n3\r\nabcd0\r\n\r\n", 400),
    RAW("chunk bare LF", POST_HEAD "Transfer-Encoding: chunked\r\n\r\n3\nabc\n0\n\n", 400),
    RAW("NUL in a value", "GET /hello HTTP/1.1\r\n" HOST "X-A: a\0b\r\n\r\n", 400),
    RAW("NUL in the target", "GET /hel\0lo HTTP/1.1\r\n" HOST "\r\n", 400),
    RAW("bare CR in a value", "GET /hello HTTP/1.1\r\n" HOST "X-A: a\rb\r\n\r\n", 400),
    RAW("bell in a value", "GET /hello HTTP/1.1\r\n" HOST "X-A: \a\r\n\r\n", 400),
    RAW("DEL in a value", "GET /hello HTTP/1.1\r\n" HOST "X-A: \x7f\r\n\r\n", 400),
    RAW("obs-fold", "GET /hello HTTP/1.1\r\n" HOST "X-A: a\r\n b\r\n\r\n", 400),
    RAW("obs-fold with tab", "GET /hello HTTP/1.1\r\n" HOST "X-A: a\r\n\tb\r\n\r\n", 400),
    RAW("obs-fold of the first header", "GET /hello HTTP/1.1\r\n X-A: a\r\n" HOST "\r\n", 400),
    RAW("bare LF lines", "GET /hello HTTP/1.1\nHost: a\n\n", 400),
    RAW("one bare LF", "GET /hello HTTP/1.1\r\nHost: a\nX-A: b\r\n\r\n", 400),
    RAW("bare LF at the end", "GET /hello HTTP/1.1\r\nHost: a\r\n\n", 400),
    RAW("space in a name", "GET /hello HTTP/1.1\r\n" HOST "X A: b\r\n\r\n", 400),
    RAW("empty name", "GET /hello HTTP/1.1\r\n" HOST ": b\r\n\r\n", 400),
    RAW("no colon", "GET /hello HTTP/1.1\r\n" HOST "nothing\r\n\r\n", 400),
    RAW("byte over 0x7f in a name", "GET /hello HTTP/1.1\r\n" HOST "X-\xc3\xa4: b\r\n\r\n", 400),
    RAW("no Host", "GET /hello HTTP/1.1\r\n\r\n", 400),
    RAW("two Hosts", "GET /hello HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    RAW("empty Host", "GET /hello HTTP/1.1\r\nHost: \r\n\r\n", 400),
    RAW("Host with a path", "GET /hello HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
    RAW("Host with a user", "GET /hello HTTP/1.1\r\nHost: a@b\r\n\r\n", 400),
    RAW("Host list", "GET /hello HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
    RAW("two Authorization", "GET /hello HTTP/1.1\r\n" HOST "Authorization: Bearer a\r\nAuthorization: Bearer b\r\n\r\n", 400),
    RAW("two Content-Type", POST_HEAD "Content-Type: a/b\r\nContent-Type: c/d\r\n\r\n", 400),
    RAW("raw space in the target", "GET /hel lo HTTP/1.1\r\n" HOST "\r\n", 400),
    RAW("0xff in the target", "GET /\xff HTTP/1.1\r\n" HOST "\r\n", 400),
    RAW("fragment in the target", "GET /hello#a HTTP/1.1\r\n" HOST "\r\n", 400),
    RAW("backslash in the target", "GET \\hello HTTP/1.1\r\n" HOST "\r\n", 400),
    RAW("backslash in the path", "GET /hello\\a HTTP/1.1\r\n" HOST "\r\n", 400),
    RAW("absolute form", "GET http://assay.test/hello HTTP/1.1\r\n" HOST "\r\n", 400),
    RAW("authority form", "GET assay.test:80 HTTP/1.1\r\n" HOST "\r\n", 400),
    RAW("asterisk with GET", "GET * HTTP/1.1\r\n" HOST "\r\n", 400),
    RAW("encoded NUL", "GET /hello%00 HTTP/1.1\r\n" HOST "\r\n", 400),
    RAW("encoded slash", "GET /show%2fa HTTP/1.1\r\n" HOST "\r\n", 400),
    RAW("broken escape", "GET /show/%zz HTTP/1.1\r\n" HOST "\r\n", 400),
    RAW("not UTF-8", "GET /show/%ff HTTP/1.1\r\n" HOST "\r\n", 400),
    RAW("HTTP/1.9", "GET /hello HTTP/1.9\r\n" HOST "\r\n", 505),
    RAW("HTTP/2.0", "GET /hello HTTP/2.0\r\n" HOST "\r\n", 505),
    RAW("HTTP/0.9", "GET /hello HTTP/0.9\r\n" HOST "\r\n", 505),
    RAW("HTTP/3", "GET /hello HTTP/3\r\n" HOST "\r\n", 505),
    RAW("no version", "GET /hello\r\n\r\n", 505),
    RAW("HTP", "GET /hello HTP/1.1\r\n" HOST "\r\n", 400),
    RAW("HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    RAW("garbage", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    RAW("lower-case method", "get /hello HTTP/1.1\r\n" HOST "\r\n", 400),
    RAW("made-up method", "BREW /hello HTTP/1.1\r\n" HOST "\r\n", 400),
    RAW("TRACE", "TRACE /hello HTTP/1.1\r\n" HOST "\r\n", 501),
    RAW("PROPFIND", "PROPFIND /hello HTTP/1.1\r\n" HOST "\r\n", 501),
    RAW("CONNECT", "CONNECT assay.test:443 HTTP/1.1\r\n" HOST "\r\n", 400),
    RAW("gzip body", POST_HEAD "Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc", 415),
    RAW("strange expectation", POST_HEAD "Expect: a-miracle\r\nContent-Length: 3\r\n\r\nabc", 417),
};

static void what_smuggling_is_made_of_is_refused(void **state)
{
    struct fixture *f = *state;
    static struct got g;
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++)
        for (size_t step = 1; step <= refused[i].n; step = step < 4 ? step + 1 : step * 4) {
            hand_connect(f);
            unsigned before = atomic_load(&f->app.handled);
            hand_send(f, refused[i].text, refused[i].n, step, &g);
            if (status_of(g.text) != refused[i].status || !g.closed || nth_answer(g.text, 1))
                fail_msg("%s in steps of %zu: %s, answered: %s", refused[i].what, step, g.closed ? "closed" : "open", g.text);
            assert_int_equal(atomic_load(&f->app.handled), before);
            assert_has(&g, "Connection: close\r\n");
            assert_has(&g, "application/problem+json");
        }
}

static const struct raw taken[] = {
    RAW("plain", "GET /hello HTTP/1.1\r\n" HOST "\r\n", 200),
    RAW("a CRLF before", "\r\n\r\nGET /hello HTTP/1.1\r\n" HOST "\r\n", 200),
    RAW("spaces around a value", "GET /hello HTTP/1.1\r\nHost: \t assay.test \t \r\n\r\n", 200),
    RAW("empty value", "GET /hello HTTP/1.1\r\n" HOST "X-Empty:\r\nX-Odd: \r\n\r\n", 200),
    RAW("tab in a value", "GET /hello HTTP/1.1\r\n" HOST "X-A: a\tb\r\n\r\n", 200),
    RAW("UTF-8 in a value", "GET /hello HTTP/1.1\r\n" HOST "X-A: \xc3\xa4\r\n\r\n", 200),
    RAW("HEAD", "HEAD /hello HTTP/1.1\r\n" HOST "\r\n", 200),
    RAW("query", "GET /hello?a=b&c={d} HTTP/1.1\r\n" HOST "\r\n", 200),
    RAW("escapes", "GET /h%65llo HTTP/1.1\r\n" HOST "\r\n", 200),
    RAW("body", POST_HEAD "Content-Length: 3\r\n\r\nabc", 201),
    RAW("no body", POST_HEAD "\r\n", 201),
    RAW("chunks", POST_HEAD "Transfer-Encoding: Chunked\r\n\r\n1\r\na\r\n2;x=y\r\nbc\r\n0\r\nX-Trailer: t\r\n\r\n", 201),
    RAW("upgrade that we do not take", "GET /hello HTTP/1.1\r\n" HOST "Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n", 200),
    RAW("unknown path", "GET /nothing HTTP/1.1\r\n" HOST "\r\n", 404),
    RAW("dots", "GET /hello/../hello HTTP/1.1\r\n" HOST "\r\n", 404),
    RAW("encoded dots", "GET /x/%2e%2e/hello HTTP/1.1\r\n" HOST "\r\n", 404),
    RAW("wrong method", "DELETE /hello HTTP/1.1\r\n" HOST "\r\n", 405),
    RAW("OPTIONS", "OPTIONS /hello HTTP/1.1\r\n" HOST "\r\n", 204),
    RAW("OPTIONS *", "OPTIONS * HTTP/1.1\r\n" HOST "\r\n", 204),
    RAW("HTTP/1.0 kept", "GET /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", 200),
};

static void sound_requests_are_answered_however_they_are_cut(void **state)
{
    struct fixture *f = *state;
    static struct got g;
    for (size_t i = 0; i < sizeof taken / sizeof taken[0]; i++)
        for (size_t step = 1; step <= taken[i].n; step++) {
            /* each twice on one connection: the first must leave it sound */
            hand_connect(f);
            for (int round = 0; round < 2; round++) {
                hand_send(f, taken[i].text, taken[i].n, step, &g);
                if (status_of(g.text) != taken[i].status || g.closed || nth_answer(g.text, 1))
                    fail_msg("%s in steps of %zu: %s, answered: %s", taken[i].what, step, g.closed ? "closed" : "open", g.text);
                assert_has(&g, "X-Content-Type-Options: nosniff\r\n");
                assert_has(&g, "Cache-Control: no-store\r\n");
                assert_has(&g, "X-Request-Id: ");
                assert_has(&g, "Date: ");
                if (taken[i].status != 204)
                    assert_has(&g, "Content-Length: ");
            }
        }
}

static void answers_hold_what_was_asked(void **state)
{
    struct fixture *f = *state;
    static struct got g;
    ask(f, "GET /show/an-id?q=1 HTTP/1.1\r\n" HOST "x-ODD: seen \r\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\r\n", &g);
    assert_has(&g, "/show/an-id|q=1|an-id||seen|00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    ask(f, "GET /show/an-id HTTP/1.1\r\n" HOST "traceparent: 00-00000000000000000000000000000000-b7ad6b7169203331-01\r\n\r\n", &g);
    assert_has(&g, "/show/an-id||an-id|||");
    assert_lacks(&g, "b7ad6b");
    ask(f, POST_HEAD "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n", &g);
    assert_has(&g, "Content-Length: 6\r\n");
    assert_has(&g, "\r\n\r\nabcdef");
    ask(f, "HEAD /hello HTTP/1.1\r\n" HOST "\r\n", &g);
    assert_has(&g, "Content-Length: 17\r\n");
    assert_lacks(&g, "world");
    ask(f, "DELETE /echo HTTP/1.1\r\n" HOST "\r\n", &g);
    assert_has(&g, "Allow: POST, OPTIONS\r\n");
    ask(f, "OPTIONS /hello HTTP/1.1\r\n" HOST "\r\n", &g);
    assert_has(&g, "Allow: GET, HEAD, OPTIONS\r\n");
    assert_lacks(&g, "Content-Length");
    ask(f, "GET /etag HTTP/1.1\r\n" HOST "\r\n", &g);
    assert_has(&g, "Cache-Control: max-age=60\r\n");
    assert_lacks(&g, "no-store");
    ask(f, "GET /etag HTTP/1.1\r\n" HOST "If-None-Match: \"v0\", W/\"v1\"\r\n\r\n", &g);
    assert_int_equal(status_of(g.text), 304);
    assert_lacks(&g, "{}");
    ask(f, "GET /etag HTTP/1.1\r\n" HOST "If-None-Match: \"v11\"\r\n\r\n", &g);
    assert_int_equal(status_of(g.text), 200);
}

static void request_ids_are_taken_when_sane(void **state)
{
    struct fixture *f = *state;
    static struct got g;
    ask(f, "GET /hello HTTP/1.1\r\n" HOST "X-Request-Id: abc-DEF_1.2\r\n\r\n", &g);
    assert_has(&g, "X-Request-Id: abc-DEF_1.2\r\n");
    assert_string_equal(f->app.last_id, "abc-DEF_1.2");
    static const char *const bad[] = {"a b", "<script>", "a\"b", "0123456789012345678901234567890123456789012345678901234567890123x", ""};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char text[256], needle[128];
        (void)snprintf(text, sizeof text, "GET /hello HTTP/1.1\r\n" HOST "X-Request-Id: %s\r\n\r\n", bad[i]);
        ask(f, text, &g);
        (void)snprintf(needle, sizeof needle, "X-Request-Id: %s\r\n", bad[i]);
        assert_int_equal(status_of(g.text), 200);
        assert_lacks(&g, needle);
        assert_int_equal(strlen(f->app.last_id), 30);
    }
}

static void every_request_is_recorded_once(void **state)
{
    struct fixture *f = *state;
    static struct got g;
    ask(f, "GET /hello?token=secret HTTP/1.1\r\n" HOST "\r\n", &g);
    assert_int_equal(atomic_load(&f->app.done), 1);
    assert_string_equal(f->app.last_path, "/hello");
    assert_string_equal(f->app.last_method, "GET");
    assert_ptr_equal(f->app.last_route, &routes[0]);
    ask(f, "GET /none HTTP/1.1\r\n" HOST "\r\n", &g);
    assert_int_equal(atomic_load(&f->app.done), 2);
    assert_int_equal(f->app.last_status, 404);
    assert_null(f->app.last_route);
    ask(f, "nonsense\r\n\r\n", &g);
    assert_int_equal(atomic_load(&f->app.done), 3);
    assert_int_equal(f->app.last_status, 400);
    struct assay_front_stats st;
    assay_front_stats(f->app.front, &st);
    assert_int_equal(st.requests, 3);
    assert_int_equal(st.parse_errors, 1);
    assert_int_equal(st.requests_waiting, 0);
}

static void pipelined_requests_are_answered_in_order(void **state)
{
    struct fixture *f = *state;
    static struct got g;
    struct assay_buf b = ASSAY_BUF_INIT;
    for (int i = 0; i < 100; i++) {
        assay_buf_fmt(&b, "GET /show/n%d HTTP/1.1\r\n" HOST "\r\n", i);
        assay_buf_fmt(&b, "POST /echo-worker HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\n<%03d>", i);
    }
    hand_send(f, b.p, b.n, b.n, &g);
    for (unsigned i = 0; i < 100; i++) {
        char shown[32], echoed[32];
        (void)snprintf(shown, sizeof shown, "/show/n%u||n%u|", i, i);
        (void)snprintf(echoed, sizeof echoed, "\r\n\r\n<%03u>", i);
        const char *one = nth_answer(g.text, 2 * i), *two = nth_answer(g.text, 2 * i + 1);
        assert_non_null(one);
        assert_non_null(two);
        const char *a = strstr(one, shown), *e = strstr(two, echoed);
        assert_true(a && a < two);
        assert_non_null(e);
    }
    assert_null(nth_answer(g.text, 200));
    assert_false(g.closed);
    assay_buf_free(&b);
}

static void what_follows_connection_close_is_not_read(void **state)
{
    struct fixture *f = *state;
    static struct got g;
    ask(f, "GET /hello HTTP/1.1\r\n" HOST "Connection: close\r\n\r\nGET /hello HTTP/1.1\r\n" HOST "\r\n", &g);
    assert_true(g.closed);
    assert_null(nth_answer(g.text, 1));
    assert_has(&g, "Connection: close\r\n");
    hand_connect(f);
    ask(f, "GET /hello HTTP/1.0\r\n\r\n", &g);
    assert_int_equal(status_of(g.text), 200);
    assert_true(g.closed);
    hand_connect(f);
    ask(f, "GET /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", &g);
    assert_has(&g, "Connection: keep-alive\r\n");
    assert_false(g.closed);
}

static void a_half_closed_client_still_gets_its_answers(void **state)
{
    struct fixture *f = *state;
    static struct got g = {.n = 0};
    static const char two[] = "GET /hello-worker HTTP/1.1\r\n" HOST "\r\nGET /hello HTTP/1.1\r\n" HOST "\r\n";
    assert_int_equal(send(f->fd, two, sizeof two - 1, 0), sizeof two - 1);
    assert_int_equal(shutdown(f->fd, SHUT_WR), 0);
    hand_read(f, &g);
    assert_non_null(nth_answer(g.text, 1));
    assert_true(g.closed);
}

static void bodies_are_refused_before_they_are_read(void **state)
{
    struct fixture *f = *state;
    static struct got g;
    static const struct raw row[] = {
        RAW("over the route's limit", POST_HEAD "Content-Length: 4097\r\n\r\n", 413),
        RAW("with an expectation", POST_HEAD "Content-Length: 4097\r\nExpect: 100-continue\r\n\r\n", 413),
        RAW("where none is taken", "GET /hello HTTP/1.1\r\n" HOST "Content-Length: 1\r\n\r\n", 413),
        RAW("chunked where none is taken", "GET /hello HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n", 413),
        RAW("not signed in", "POST /admin HTTP/1.1\r\n" HOST "Content-Length: 1000\r\n\r\n", 401),
        RAW("bad token", "POST /echo HTTP/1.1\r\n" HOST "Authorization: Bearer a.b.c\r\nContent-Length: 1000\r\n\r\n", 401),
        RAW("no such path", "POST /none HTTP/1.1\r\n" HOST "Content-Length: 1000\r\n\r\n", 404),
        RAW("no such method", "PUT /echo HTTP/1.1\r\n" HOST "Content-Length: 1000\r\n\r\n", 405),
    };
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        hand_connect(f);
        hand_send(f, row[i].text, row[i].n, row[i].n, &g);
        if (status_of(g.text) != row[i].status || !g.closed)
            fail_msg("%s: %s", row[i].what, g.text);
        assert_lacks(&g, "100 Continue");
    }
    assert_int_equal(atomic_load(&f->app.handled), 0);
    /* chunks that grow over the limit */
    hand_connect(f);
    struct assay_buf b = ASSAY_BUF_INIT;
    assay_buf_puts(&b, POST_HEAD "Transfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < 17; i++)
        assay_buf_fmt(&b, "100\r\n%0256d\r\n", i);
    hand_send(f, b.p, b.n, b.n, &g);
    assert_int_equal(status_of(g.text), 413);
    assay_buf_free(&b);
}

static void chunks_that_are_nearly_all_framing_are_refused(void **state)
{
    struct fixture *f = *state;
    static struct got g;
    struct assay_buf b = ASSAY_BUF_INIT;
    assay_buf_puts(&b, POST_HEAD "Transfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < 3000; i++)
        assay_buf_puts(&b, "1;extension=0123456789\r\na\r\n");
    hand_send(f, b.p, b.n, 4096, &g);
    assert_int_equal(status_of(g.text), 400);
    assert_true(g.closed);
    assay_buf_free(&b);
}

static void heads_are_bounded(void **state)
{
    struct fixture *f = *state;
    static struct got g;
    struct assay_buf b = ASSAY_BUF_INIT;
    static const struct {
        const char *before, *unit;
        unsigned times;
        const char *after;
        int status;
    } row[] = {
        {"GET /", "aaaaaaaaaa", 2000, " HTTP/1.1\r\n" HOST "\r\n", 414},
        {"GET /hello HTTP/1.1\r\n" HOST "X-A: ", "aaaaaaaaaa", 2000, "\r\n\r\n", 431},
        {"GET /hello HTTP/1.1\r\n" HOST "X-A:", "          ", 2000, "\r\n\r\n", 431},
        {"GET /hello HTTP/1.1\r\n" HOST, "X-A: b\r\n", 101, "\r\n", 431},
        {"GET /hello HTTP/1.1\r\n" HOST, "X-A: b\r\n", 99, "\r\n", 200},
        {"GET /hello HTTP/1.1\r\n" HOST "X-A: ", "aaaaaaaaaa", 1600, "\r\n\r\n", 200},
        {"", "\r\n", 20000, "GET /hello HTTP/1.1\r\n" HOST "\r\n", 431},
    };
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++)
        for (size_t step = 1000; step <= 50000; step *= 50) {
            hand_connect(f);
            assay_buf_reset(&b);
            assay_buf_puts(&b, row[i].before);
            for (unsigned k = 0; k < row[i].times; k++)
                assay_buf_puts(&b, row[i].unit);
            assay_buf_puts(&b, row[i].after);
            hand_send(f, b.p, b.n, step, &g);
            if (status_of(g.text) != row[i].status)
                fail_msg("row %zu in steps of %zu: %s", i, step, g.text);
        }
    assay_buf_free(&b);
}

static void one_hundred_continue(void **state)
{
    struct fixture *f = *state;
    static struct got g;
    ask(f, POST_HEAD "Content-Length: 3\r\nExpect: 100-Continue\r\n\r\n", &g);
    assert_string_equal(g.text, "HTTP/1.1 100 Continue\r\n\r\n");
    ask(f, "abc", &g);
    assert_int_equal(status_of(g.text), 201);
    ask(f, POST_HEAD "Content-Length: 3\r\nExpect: 100-continue\r\n\r\nabc", &g); /* it did not wait */
    assert_int_equal(status_of(g.text), 201);
    ask(f, "POST /echo HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n", &g);
    assert_int_equal(g.n, 0);
    ask(f, "abc", &g);
    assert_int_equal(status_of(g.text), 201);
}

static void who_may_what_is_asked_before_the_handler(void **state)
{
    struct fixture *f = *state;
    static struct got g;
    struct assay_buf t = ASSAY_BUF_INIT, text = ASSAY_BUF_INIT;
    ask(f, "GET /me/x HTTP/1.1\r\n" HOST "\r\n", &g);
    assert_int_equal(status_of(g.text), 401);
    assert_has(&g, "WWW-Authenticate: Bearer");
    assert_false(g.closed);
    struct assay_str token = token_for(f, &t, USER);
    for (int i = 0; i < 3; i++) { /* looked up, then cached */
        assay_buf_reset(&text);
        assay_buf_fmt(&text, "GET /me/x HTTP/1.1\r\n" HOST "Authorization: Bearer %.*s\r\n\r\n", ASSAY_FMT(token));
        hand_send(f, text.p, text.n, 7, &g);
        assert_has(&g, "/me/x||x|" USER "|");
    }
    assay_buf_reset(&text);
    assay_buf_fmt(&text, "POST /admin HTTP/1.1\r\n" HOST "Authorization: Bearer %.*s\r\nContent-Length: 3\r\n\r\n", ASSAY_FMT(token));
    hand_send(f, text.p, text.n, text.n, &g);
    assert_int_equal(status_of(g.text), 403);
    assert_true(g.closed);
    hand_connect(f);
    token = token_for(f, &t, ADMIN);
    assay_buf_reset(&text);
    assay_buf_fmt(&text, "POST /admin HTTP/1.1\r\n" HOST "Authorization: Bearer %.*s\r\nContent-Length: 3\r\n\r\nabc", ASSAY_FMT(token));
    for (int i = 0; i < 2; i++) {
        hand_send(f, text.p, text.n, 9, &g);
        assert_int_equal(status_of(g.text), 201);
    }
    token = token_for(f, &t, "0193a1b2-0000-7000-8000-0000000000ff");
    assay_buf_reset(&text);
    assay_buf_fmt(&text, "GET /hello HTTP/1.1\r\n" HOST "Authorization: Bearer %.*s\r\n\r\n", ASSAY_FMT(token));
    hand_send(f, text.p, text.n, text.n, &g);
    assert_int_equal(status_of(g.text), 401); /* a token that is sent is checked, on public routes too */
    assay_buf_free(&t);
    assay_buf_free(&text);
}

static void a_full_pool_is_503(void **state)
{
    struct fixture *f = *state;
    static struct got g;
    f->app.busy = true;
    ask(f, "GET /hello-worker HTTP/1.1\r\n" HOST "\r\n", &g);
    assert_int_equal(status_of(g.text), 503);
    assert_has(&g, "Retry-After: 1\r\n");
    assert_false(g.closed);
    struct assay_buf t = ASSAY_BUF_INIT, text = ASSAY_BUF_INIT;
    struct assay_str token = token_for(f, &t, USER);
    assay_buf_fmt(&text, "GET /me/x HTTP/1.1\r\n" HOST "Authorization: Bearer %.*s\r\n\r\n", ASSAY_FMT(token));
    hand_send(f, text.p, text.n, text.n, &g);
    assert_int_equal(status_of(g.text), 503);
    f->app.busy = false;
    ask(f, "GET /hello-worker HTTP/1.1\r\n" HOST "\r\n", &g);
    assert_int_equal(status_of(g.text), 200);
    assay_buf_free(&t);
    assay_buf_free(&text);
}

static void errors_say_what_a_client_may_know(void **state)
{
    struct fixture *f = *state;
    static struct got g;
    ask(f, "GET /fails HTTP/1.1\r\n" HOST "X-Request-Id: find-me\r\n\r\n", &g);
    assert_int_equal(status_of(g.text), 500);
    assert_lacks(&g, "secret");
    assert_has(&g, "\"request_id\":\"find-me\"");
    assert_int_equal(atomic_load(&f->app.logged), 1);
    ask(f, "GET /faults HTTP/1.1\r\n" HOST "\r\n", &g);
    assert_int_equal(status_of(g.text), 400);
    assert_has(&g, "\"errors\":[{\"pointer\":\"/language\",\"detail\":\"is not known\"}]");
    assert_has(&g, "\"instance\":\"/faults\"");
    assert_has(&g, "\"type\":\"urn:assay:problem:invalid\"");
    ask(f, "GET /splitting HTTP/1.1\r\n" HOST "\r\n", &g);
    assert_int_equal(status_of(g.text), 500);
    assert_lacks(&g, "Set-Cookie");
    ask(f, "GET /liar HTTP/1.1\r\n" HOST "\r\n", &g);
    assert_int_equal(status_of(g.text), 500);
    ask(f, "GET /liar-worker HTTP/1.1\r\n" HOST "\r\n", &g);
    assert_int_equal(status_of(g.text), 500);
}

static void resume_hello(struct fixture *f)
{
    struct assay_response rs = {.status = 203};
    assay_buf_puts(&rs.body, "\"resumed\"");
    assay_front_resume(f->app.front, f->app.kept, 0, &rs, NULL);
    assert_null(rs.body.p); /* consumed, whether it was used or not */
}

static void a_ticket_answers_once(void **state)
{
    struct fixture *f = *state;
    static struct got g;
    static const char *const path[] = {"/keep", "/keep-worker"};
    for (size_t i = 0; i < 2; i++) {
        char text[128];
        (void)snprintf(text, sizeof text, "GET %s HTTP/1.1\r\n" HOST "\r\nGET /hello HTTP/1.1\r\n" HOST "\r\n", path[i]);
        ask(f, text, &g);
        assert_int_equal(g.n, 0);
        resume_hello(f);
        resume_hello(f); /* before and after the first one was delivered */
        ask(f, "", &g);
        assert_int_equal(status_of(g.text), 203);
        assert_has(&g, "\"resumed\"");
        assert_int_equal(status_of(nth_answer(g.text, 1)), 200); /* what was pipelined behind it */
        assert_null(nth_answer(g.text, 2));
        resume_hello(f);
        assay_ticket old = f->app.kept;
        ask(f, "GET /keep HTTP/1.1\r\n" HOST "\r\n", &g); /* the slot again, another generation */
        assert_true(f->app.kept != old);
        assay_front_resume(f->app.front, old, 0, NULL, NULL);
        assay_front_resume(f->app.front, 0, 0, NULL, NULL);
        assay_front_resume(f->app.front, UINT64_MAX, 0, NULL, NULL);
        ask(f, "", &g);
        assert_int_equal(g.n, 0);
        struct assay_err err;
        assay_front_resume(f->app.front, f->app.kept, assay_err_set(&err, ASSAY_E_NOT_FOUND, "no such thing"), NULL, &err);
        ask(f, "", &g);
        assert_int_equal(status_of(g.text), 404);
        assert_has(&g, "no such thing");
    }
}

static void a_handler_that_defers_and_answers_answers_once(void **state)
{
    struct fixture *f = *state;
    static struct got g;
    static const char *const path[] = {"/keep-and-answer", "/keep-and-answer-worker"};
    for (size_t i = 0; i < 2; i++) {
        char text[128];
        (void)snprintf(text, sizeof text, "GET %s HTTP/1.1\r\n" HOST "\r\n", path[i]);
        ask(f, text, &g);
        assert_int_equal(status_of(g.text), 200);
        assert_has(&g, "\"mine\"");
        resume_hello(f);
        ask(f, "", &g);
        assert_int_equal(g.n, 0);
    }
}

static void a_late_answer_is_harmless(void **state)
{
    struct fixture *f = *state;
    static struct got g;
    struct assay_front_stats st;
    ask(f, "GET /keep HTTP/1.1\r\n" HOST "\r\n", &g);
    assay_front_stats(f->app.front, &st);
    assert_int_equal(st.requests_waiting, 1);
    struct linger hard = {1, 0};
    (void)setsockopt(f->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    assay_ticket t = f->app.kept;
    hand_connect(f); /* closes the old one: a half-closed peer, then one that cannot be written to */
    assay_front_turn(f->app.front);
    f->app.kept = t;
    resume_hello(f);
    ask(f, "GET /hello HTTP/1.1\r\n" HOST "\r\n", &g);
    assert_int_equal(status_of(g.text), 200);
    assay_front_stats(f->app.front, &st);
    assert_int_equal(st.requests_waiting, 0);
    assert_int_equal(st.connections_open, 1);
}

static void a_request_that_nobody_answers_is_freed_in_the_end(void **state)
{
    struct fixture *f = *state;
    static struct got g;
    ask(f, "GET /keep HTTP/1.1\r\n" HOST "\r\n", &g);
    assert_int_equal(g.n, 0); /* the teardown, under a leak checker, is the test */
}

static void a_route_without_parameters_refuses_any(void **state)
{
    static struct got g;
    struct fixture *f = *state;
    for (int worker = 0; worker < 2; worker++) {
        unsigned before = f->app.handled;
        ask(f, worker ? "GET /plain-worker?colour=red HTTP/1.1\r\n" HOST "\r\n" : "GET /plain?colour=red HTTP/1.1\r\n" HOST "\r\n", &g);
        assert_int_equal(status_of(g.text), 400);
        assert_has(&g, "the query parameter \\\"colour\\\" is not known here");
        assert_int_equal(f->app.handled, before);
        ask(f, worker ? "GET /plain-worker? HTTP/1.1\r\n" HOST "\r\n" : "GET /plain HTTP/1.1\r\n" HOST "\r\n", &g);
        assert_int_equal(status_of(g.text), 200);
        assert_int_equal(f->app.handled, before + 1);
    }
    ask(f, "GET /hello?colour=red HTTP/1.1\r\n" HOST "\r\n", &g);
    assert_int_equal(status_of(g.text), 200);
}

static void cross_origin(void **state)
{
    static struct got g;
    static const char *const origins[] = {"http://localhost:3000", NULL}, *const any[] = {"*", NULL};
    struct fixture *f = hand_make((struct assay_front_config){.cors_origins = origins});
    ask(f, "OPTIONS /echo HTTP/1.1\r\n" HOST "Origin: http://localhost:3000\r\nAccess-Control-Request-Method: POST\r\n\r\n", &g);
    assert_int_equal(status_of(g.text), 204);
    assert_has(&g, "Access-Control-Allow-Origin: http://localhost:3000\r\n");
    assert_has(&g, "Access-Control-Allow-Methods: POST, OPTIONS\r\n");
    assert_has(&g, "Authorization");
    ask(f, "GET /hello HTTP/1.1\r\n" HOST "Origin: http://localhost:3000\r\n\r\n", &g);
    assert_has(&g, "Access-Control-Allow-Origin: http://localhost:3000\r\n");
    assert_has(&g, "Vary: Origin\r\n");
    ask(f, "GET /hello HTTP/1.1\r\n" HOST "Origin: http://evil.test\r\n\r\n", &g);
    assert_lacks(&g, "Access-Control-Allow");
    void *state2 = f;
    (void)hand_teardown(&state2);
    f = hand_make((struct assay_front_config){.cors_origins = any});
    ask(f, "GET /hello HTTP/1.1\r\n" HOST "Origin: http://evil.test\r\n\r\n", &g);
    assert_has(&g, "Access-Control-Allow-Origin: *\r\n");
    assert_lacks(&g, "Credentials");
    state2 = f;
    (void)hand_teardown(&state2);
    f = *state;
    ask(f, "GET /hello HTTP/1.1\r\n" HOST "Origin: http://localhost:3000\r\n\r\n", &g);
    assert_lacks(&g, "Access-Control");

    /* in development: any port of this machine, and nothing that only looks like it */
    static const char *const local[] = {"localhost", NULL};
    static const char *const mine[] = {"http://localhost", "http://localhost:8081", "http://127.0.0.1:5500", "http://[::1]:3000"};
    static const char *const others[] = {"http://localhost.evil.test", "http://localhost:80.evil.test", "http://localhost:", "null",
                                         "http://127.0.0.1:0", "http://evil.test/http://localhost", "http://localhost:99999"};
    f = hand_make((struct assay_front_config){.cors_origins = local});
    for (size_t i = 0; i < sizeof mine / sizeof mine[0] + sizeof others / sizeof others[0]; i++) {
        bool is_mine = i < sizeof mine / sizeof mine[0];
        const char *origin = is_mine ? mine[i] : others[i - sizeof mine / sizeof mine[0]];
        struct assay_buf b = ASSAY_BUF_INIT;
        assay_buf_fmt(&b, "OPTIONS /echo HTTP/1.1\r\n" HOST "Origin: %s\r\nAccess-Control-Request-Method: POST\r\n\r\n", origin);
        ask(f, b.p, &g);
        assert_int_equal(status_of(g.text), 204);
        if (is_mine) {
            assert_has(&g, "Access-Control-Allow-Methods: POST, OPTIONS\r\n");
            assert_has(&g, "Access-Control-Max-Age: 600\r\n");
            assert_has(&g, "Idempotency-Key");
        } else {
            assert_lacks(&g, "Access-Control");
        }
        assert_lacks(&g, "Credentials");
        assay_buf_free(&b);
    }
    state2 = f;
    (void)hand_teardown(&state2);
}

/* ---- answers in pieces ------------------------------------------------------------------------------ */

static void on_writable(void *arg)
{
    atomic_fetch_add((atomic_uint *)arg, 1);
}

static void stream_open(struct fixture *f, const char *first, atomic_uint *writable)
{
    struct assay_err err = {0};
    struct assay_response rs = {.content_type = "text/event-stream"};
    assay_buf_puts(&rs.body, first);
    assert_int_equal(assay_front_stream_begin(f->app.front, f->app.kept, &rs, writable ? on_writable : NULL, writable, &err), 0);
}

static void a_stream_is_chunked_and_the_connection_lives_on(void **state)
{
    struct fixture *f = *state;
    static struct got g;
    struct assay_err err = {0};
    ask(f, "GET /keep HTTP/1.1\r\n" HOST "\r\nGET /hello HTTP/1.1\r\n" HOST "\r\n", &g);
    assert_int_equal(g.n, 0);
    assay_ticket t = f->app.kept;
    assert_int_equal(assay_front_stream_write(f->app.front, t, "x", 1, 0), ASSAY_E_GONE); /* not begun */
    stream_open(f, "first", NULL);
    ask(f, "", &g);
    assert_int_equal(status_of(g.text), 200);
    assert_has(&g, "Transfer-Encoding: chunked\r\n");
    assert_has(&g, "Content-Type: text/event-stream\r\n");
    assert_lacks(&g, "Content-Length");
    assert_has(&g, "\r\n\r\n5\r\nfirst\r\n");
    assert_int_equal(assay_front_stream_write(f->app.front, t, "", 0, 0), ASSAY_E_INVALID);
    assert_int_equal(assay_front_stream_write(f->app.front, t, "sixteen bytes ok", 16, 0), 0);
    assert_int_equal(assay_front_stream_write(f->app.front, t, "ab", 2, 0), 0);
    ask(f, "", &g);
    assert_string_equal(g.text, "10\r\nsixteen bytes ok\r\n2\r\nab\r\n");
    struct assay_response again = {.status = 200};
    assert_int_equal(assay_front_stream_begin(f->app.front, t, &again, NULL, NULL, &err), ASSAY_E_INTERNAL);
    assert_int_equal(assay_front_stream_write(f->app.front, t, "z", 1, 0), 0);
    assay_front_stream_end(f->app.front, t, 0);
    assay_front_stream_end(f->app.front, t, 0);
    assert_int_equal(assay_front_stream_write(f->app.front, t, "late", 4, 0), ASSAY_E_GONE);
    ask(f, "", &g);
    assert_int_equal(strncmp(g.text, "1\r\nz\r\n0\r\n\r\nHTTP/1.1 200", 23), 0); /* and what was pipelined behind it */
    assert_int_equal(f->app.last_status, 200);
    struct assay_front_stats st;
    assay_front_stats(f->app.front, &st);
    assert_int_equal(st.requests_waiting, 0);
}

static void a_stream_to_an_old_client_ends_with_its_connection(void **state)
{
    struct fixture *f = *state;
    static struct got g;
    ask(f, "GET /keep HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", &g);
    stream_open(f, "first", NULL);
    assert_int_equal(assay_front_stream_write(f->app.front, f->app.kept, " second", 7, 0), 0);
    assay_front_stream_end(f->app.front, f->app.kept, 0);
    ask(f, "", &g);
    assert_lacks(&g, "Transfer-Encoding");
    assert_has(&g, "Connection: close\r\n");
    assert_has(&g, "\r\n\r\nfirst second");
    assert_true(g.closed);
}

static void nobody_reads_the_stream_of_a_head(void **state)
{
    struct fixture *f = *state;
    static struct got g;
    ask(f, "HEAD /keep HTTP/1.1\r\n" HOST "\r\n", &g);
    stream_open(f, "first", NULL);
    ask(f, "", &g);
    assert_int_equal(status_of(g.text), 200);
    assert_int_equal(assay_front_stream_write(f->app.front, f->app.kept, "x", 1, 0), ASSAY_E_GONE);
    assay_front_stream_end(f->app.front, f->app.kept, 0);
    ask(f, "GET /hello HTTP/1.1\r\n" HOST "\r\n", &g);
    assert_int_equal(strncmp(g.text, "HTTP/1.1 200", 12), 0);
}

static void a_stream_that_fails_is_cut_off(void **state)
{
    struct fixture *f = *state;
    static struct got g;
    struct assay_err err = {0};
    ask(f, "GET /keep HTTP/1.1\r\n" HOST "\r\n", &g);
    struct assay_response bad = {.status = 204}, split = {.n_headers = 1, .header = {{ASSAY_STR("X-A"), ASSAY_STR("a\r\nb: c")}}};
    assert_int_equal(assay_front_stream_begin(f->app.front, f->app.kept, &bad, NULL, NULL, &err), ASSAY_E_INTERNAL);
    assert_int_equal(assay_front_stream_begin(f->app.front, f->app.kept, &split, NULL, NULL, &err), ASSAY_E_INTERNAL);
    stream_open(f, "half", NULL);
    assay_front_stream_end(f->app.front, f->app.kept, ASSAY_E_IO);
    ask(f, "", &g);
    assert_has(&g, "4\r\nhalf\r\n");
    assert_lacks(&g, "0\r\n\r\n");
    assert_true(g.closed);
    assert_int_equal(assay_front_stream_begin(f->app.front, f->app.kept, &bad, NULL, NULL, &err), ASSAY_E_GONE);
}

static void a_slow_reader_makes_the_writer_wait(void **state)
{
    struct fixture *f = *state;
    static struct got g;
    static char piece[ASSAY_STREAM_WRITE_MAX];
    atomic_uint writable = 0;
    size_t written = 0, got = 0;
    int rc = 0;
    ask(f, "GET /keep HTTP/1.1\r\n" HOST "\r\n", &g);
    memset(piece, 'p', sizeof piece);
    stream_open(f, "", &writable);
    while (rc == 0 && written < ((size_t)64 << 20)) {
        rc = assay_front_stream_write(f->app.front, f->app.kept, piece, sizeof piece, 0);
        written += rc == 0 ? sizeof piece : 0;
        assay_front_turn(f->app.front);
    }
    assert_int_equal(rc, ASSAY_E_BUSY);
    assert_true(written < (size_t)2 << 20); /* the socket's buffers and ours */
    assert_int_equal(assay_front_stream_write(f->app.front, f->app.kept, piece, 1, 30), ASSAY_E_BUSY);
    assert_int_equal(atomic_load(&writable), 0);
    for (unsigned i = 0; i < 2000 && atomic_load(&writable) == 0; i++) {
        g.n = 0;
        ssize_t n = recv(f->fd, g.text, sizeof g.text, MSG_DONTWAIT);
        got += n > 0 ? (size_t)n : 0;
        assay_front_turn(f->app.front);
    }
    assert_int_equal(atomic_load(&writable), 1);
    assert_int_equal(assay_front_stream_write(f->app.front, f->app.kept, piece, sizeof piece, 0), 0);
    written += sizeof piece;
    assay_front_stream_end(f->app.front, f->app.kept, 0);
    for (unsigned quiet = 0; quiet < 3;) {
        assay_front_turn(f->app.front);
        ssize_t n = recv(f->fd, g.text, sizeof g.text, MSG_DONTWAIT);
        quiet = n > 0 ? 0 : quiet + 1;
        got += n > 0 ? (size_t)n : 0;
    }
    size_t framing = written / sizeof piece * (sizeof "10000\r\n\r\n" - 1) + 5;
    assert_true(got > written + framing && got < written + framing + 500); /* and the head */
    assert_int_equal(atomic_load(&writable), 1);
}

static void a_stream_hears_that_its_client_has_gone(void **state)
{
    struct fixture *f = *state;
    static struct got g;
    static const char *const path[] = {"/keep", "/events"};
    for (size_t i = 0; i < 2; i++) {
        char text[64];
        atomic_uint writable = 0;
        (void)snprintf(text, sizeof text, "GET %s HTTP/1.1\r\n" HOST "\r\n", path[i]);
        ask(f, text, &g);
        stream_open(f, "x", &writable);
        ask(f, "", &g);
        assay_ticket t = f->app.kept;
        hand_connect(f); /* closes the old one */
        for (int k = 0; k < 10; k++) {
            if (i == 0) /* a plain answer may be for a client that only shut its side: a write finds out */
                (void)!assay_front_stream_write(f->app.front, t, "y", 1, 0);
            assay_front_turn(f->app.front);
        }
        assert_int_equal(assay_front_stream_write(f->app.front, t, "y", 1, 0), ASSAY_E_GONE);
        assert_int_equal(atomic_load(&writable), 1);
        assay_front_stream_end(f->app.front, t, 0);
        ask(f, "GET /hello HTTP/1.1\r\n" HOST "\r\n", &g);
        assert_int_equal(status_of(g.text), 200);
    }
    ask(f, "GET /keep HTTP/1.1\r\n" HOST "\r\n", &g);
    stream_open(f, "never ended", NULL); /* freed with the front: the leak checker is the test */
}

/* ---- long bodies -------------------------------------------------------------------------------------- */

static char *spool_folder(void)
{
    static char folder[64];
    (void)snprintf(folder, sizeof folder, "/tmp/assay-spool-XXXXXX");
    assert_non_null(mkdtemp(folder));
    return folder;
}

static void ask_body(struct fixture *f, const char *path, size_t n, size_t chunk, struct got *g)
{
    struct assay_buf b = ASSAY_BUF_INIT;
    assay_buf_fmt(&b, "POST %s HTTP/1.1\r\n" HOST, path);
    if (!chunk)
        assay_buf_fmt(&b, "Content-Length: %zu\r\n\r\n", n);
    else
        assay_buf_puts(&b, "Transfer-Encoding: chunked\r\n\r\n");
    for (size_t i = 0; i < n;) {
        size_t piece = chunk && chunk < n - i ? chunk : n - i;
        if (chunk)
            assay_buf_fmt(&b, "%zx\r\n", piece);
        memset(assay_buf_reserve(&b, piece), 'a', piece);
        b.n += piece;
        if (chunk)
            assay_buf_puts(&b, "\r\n");
        i += piece;
    }
    if (chunk)
        assay_buf_puts(&b, "0\r\n\r\n");
    assert_false(b.failed);
    hand_send(f, b.p, b.n, 8192, g);
    assay_buf_free(&b);
}

static void long_bodies_go_to_a_file(void **state)
{
    static struct got g;
    static const struct {
        const char *path;
        size_t n, chunk;
        bool file;
    } cases[] = {{"/sum", 1000, 0, false},        {"/sum", 65536, 0, false},     {"/sum", 65537, 0, true},
                 {"/sum", 1 << 20, 0, true},      {"/sum", 1 << 20, 999, true},  {"/sum", 262144, 0, true},
                 {"/sum", 524288, 8192, true},    {"/sum-file", 5, 0, true},     {"/sum-file", 3 << 20, 4000, true},
                 {"/sum-file", 4 << 20, 0, true}, {"/sum-file", 0, 7, false}};
    (void)state;
    char *folder = spool_folder();
    /* less memory for bodies than the bodies have: only a piece of each is in memory */
    struct fixture *f = hand_make((struct assay_front_config){.spool_dir = folder, .spool_over = 65536, .body_memory_max = 400000});
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char want[128];
        ask_body(f, cases[i].path, cases[i].n, cases[i].chunk, &g);
        (void)snprintf(want, sizeof want, "{\"n\":%zu,\"sum\":%zu,\"file\":%s}", cases[i].n, cases[i].n * 'a', cases[i].file ? "true" : "false");
        assert_int_equal(status_of(g.text), 200);
        assert_has(&g, want);
    }
    ask_body(f, "/sum-file", (4 << 20) + 1, 60000, &g); /* over the route's limit, found out on the way */
    assert_int_equal(status_of(g.text), 413);
    hand_connect(f);
    /* a client that goes in the middle leaves nothing */
    ask(f, "POST /sum HTTP/1.1\r\n" HOST "Content-Length: 1000000\r\n\r\n", &g);
    hand_connect(f);
    ask(f, "GET /hello HTTP/1.1\r\n" HOST "\r\n", &g);
    assert_int_equal(status_of(g.text), 200);
    void *state2 = f;
    (void)hand_teardown(&state2);
    assert_int_equal(rmdir(folder), 0);
}

static void files_of_bodies_are_bounded(void **state)
{
    static struct got g;
    (void)state;
    char *folder = spool_folder();
    struct fixture *f = hand_make((struct assay_front_config){.spool_dir = folder, .spool_over = 65536, .spool_max = 600000});
    for (int i = 0; i < 3; i++) { /* what was freed can be used again */
        ask_body(f, "/sum", 500000, 0, &g);
        assert_int_equal(status_of(g.text), 200);
        ask_body(f, "/sum", 700000, 0, &g);
        assert_int_equal(status_of(g.text), 503);
        assert_has(&g, "Retry-After");
        hand_connect(f);
    }
    /* a disk that is full: the kernel's limit on a file's size says EFBIG */
    struct rlimit old, small;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = old;
    small.rlim_cur = 100000;
    (void)signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    ask_body(f, "/sum", 500000, 0, &g);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_int_equal(status_of(g.text), 507);
    hand_connect(f);
    assert_int_equal(rmdir(folder), 0);
    ask_body(f, "/sum", 500000, 0, &g); /* no folder any more: ours, and not told in detail */
    assert_int_equal(status_of(g.text), 500);
    assert_lacks(&g, folder);
    void *state2 = f;
    (void)hand_teardown(&state2);
}

/* ---- who is behind a proxy ------------------------------------------------------------------------------ */

static void proxies_are_believed_as_far_as_they_are_listed(void **state)
{
    static const struct {
        bool forwarded;
        const char *value, *want;
    } cases[] = {
        {false, "198.51.100.7", "198.51.100.7"},
        {false, "6.6.6.6, 198.51.100.7", "198.51.100.7"},            /* the client wrote the first */
        {false, "6.6.6.6, 198.51.100.7, 10.1.2.3", "198.51.100.7"},  /* two proxies of ours */
        {false, "10.9.9.9, 10.1.2.3", "10.9.9.9"},                   /* all ours: the farthest */
        {false, "6.6.6.6, nonsense, 10.1.2.3", "10.1.2.3"},          /* nobody vouches for what is left of nonsense */
        {false, "2001:db8::5", "2001:db8::5"},
        {false, "[2001:db8::5]:443", "2001:db8::5"},
        {false, "198.51.100.7:1234", "198.51.100.7"},
        {false, "::ffff:198.51.100.7", "198.51.100.7"},
        {false, "", "192.0.2.1"},
        {false, " , ,", "192.0.2.1"},
        {false, "127.0.0.1\n", "192.0.2.1"},
        {true, "for=198.51.100.7;proto=https", "198.51.100.7"},
        {true, "for=6.6.6.6, proto=http;For=\"[2001:db8::5]:80\"", "2001:db8::5"},
        {true, "for=198.51.100.7, for=10.0.0.1", "198.51.100.7"},
        {true, "for=unknown", "192.0.2.1"},
        {true, "for=_hidden, for=10.0.0.1", "10.0.0.1"},
        {true, "by=10.0.0.1", "192.0.2.1"},
    };
    struct assay_proxies *p = NULL;
    struct assay_err err;
    (void)state;
    assert_int_equal(assay_proxies_new("10.0.0.0/8, 192.0.2.1,2001:db8:1::/48", &p, &err), 0);
    assert_true(assay_proxies_trusts(p, ASSAY_STR("10.255.0.1")) && assay_proxies_trusts(p, ASSAY_STR("::ffff:10.0.0.1")));
    assert_true(assay_proxies_trusts(p, ASSAY_STR("2001:db8:1:ffff::1")));
    assert_false(assay_proxies_trusts(p, ASSAY_STR("11.0.0.1")) || assay_proxies_trusts(p, ASSAY_STR("192.0.2.2")));
    assert_false(assay_proxies_trusts(p, ASSAY_STR("2001:db8:2::1")) || assay_proxies_trusts(p, ASSAY_STR("local")));
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char out[ASSAY_ADDRESS_SIZE] = "192.0.2.1";
        (void)assay_proxies_walk(p, cases[i].forwarded, assay_str(cases[i].value), out);
        assert_string_equal(out, cases[i].want);
    }
    assay_proxies_free(p);
    static const char *const bad[] = {"10.0.0.0/33", "10.0.0", "example.org", "10.0.0.1/", "::1/129", "10.0.0.0/-1", "1.2.3.4;5.6.7.8"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(assay_proxies_new(bad[i], &p, &err), ASSAY_E_CONFIG);
    assert_int_equal(assay_proxies_new("", &p, &err), 0);
    assert_null(p);
    assert_false(assay_proxies_trusts(NULL, ASSAY_STR("127.0.0.1")));
}

static void bodies_share_a_budget(void **state)
{
    static struct got g;
    (void)state;
    struct fixture *f = hand_make((struct assay_front_config){.body_memory_max = 1000});
    struct assay_buf b = ASSAY_BUF_INIT;
    assay_buf_fmt(&b, POST_HEAD "Content-Length: 1001\r\n\r\n%01001d", 0);
    hand_send(f, b.p, b.n, b.n, &g);
    assert_int_equal(status_of(g.text), 503);
    assert_has(&g, "Retry-After");
    hand_connect(f);
    for (int i = 0; i < 3; i++) { /* what was freed can be used again */
        assay_buf_reset(&b);
        assay_buf_fmt(&b, POST_HEAD "Content-Length: 1000\r\n\r\n%01000d", 0);
        hand_send(f, b.p, b.n, 100, &g);
        assert_int_equal(status_of(g.text), 201);
    }
    assay_buf_free(&b);
    void *state2 = f;
    (void)hand_teardown(&state2);
}

static void the_parser_is_strict(void **state)
{
    struct assay_err err;
    (void)state;
    assert_int_equal(assay_front_parser_probe(&err), 0);
}

/* ---- with threads ----------------------------------------------------------------------------------- */

static struct fixture *server_make(struct assay_front_config cfg)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    struct assay_err err;
    f->fd = -1;
    f->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(f->listen_fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(f->listen_fd, 512), 0);
    assert_int_equal(getsockname(f->listen_fd, (struct sockaddr *)&a, &n), 0);
    f->port = ntohs(a.sin_port);
    f->app.pool = assay_pool_new(4, 1024, 0, &err);
    assert_non_null(f->app.pool);
    cfg.listen_fds = &f->listen_fd;
    cfg.n_listen_fds = 1;
    front_make(f, cfg);
    assert_int_equal(assay_front_start(f->app.front, &err), 0);
    return f;
}

static void server_unmake(struct fixture *f)
{
    int fd = f->listen_fd;
    front_unmake(f);
    (void)close(fd);
}

static int client(const struct fixture *f, int timeout_ms)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)f->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval tv = {timeout_ms / 1000, timeout_ms % 1000 * 1000};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    return fd;
}

static void say(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* Reads one answer by its Content-Length; its status, 0 for EOF before it, -1 for a time-out. */
static int one_answer(int fd, char *out, size_t room)
{
    size_t n = 0;
    char *end = NULL;
    while (n < room - 1) {
        ssize_t got = recv(fd, out + n, 1, 0);
        if (got <= 0)
            return got == 0 ? 0 : -1;
        out[++n] = 0;
        end = strstr(out, "\r\n\r\n");
        if (end)
            break;
    }
    const char *length = strstr(out, "Content-Length: ");
    size_t left = length ? strtoul(length + 16, NULL, 10) : 0;
    while (left) {
        char sink[65536];
        size_t want = left < sizeof sink ? left : sizeof sink;
        ssize_t got = recv(fd, sink, want, 0);
        if (got <= 0)
            return -1;
        left -= (size_t)got;
        if (n + (size_t)got < room) {
            memcpy(out + n, sink, (size_t)got);
            n += (size_t)got;
            out[n] = 0;
        }
    }
    return status_of(out);
}

static bool closes_within(int fd)
{
    char sink[4096];
    ssize_t n;
    while ((n = recv(fd, sink, sizeof sink, 0)) > 0)
        ;
    return n == 0 || errno == ECONNRESET;
}

struct hammer {
    struct fixture *f;
    unsigned rounds;
    atomic_uint *good;
};

static void *hammer_run(void *arg)
{
    struct hammer *h = arg;
    static const char *const path[] = {"/hello", "/hello-worker", "/defer", "/defer-worker", "/me/x"};
    struct assay_buf t = ASSAY_BUF_INIT, text = ASSAY_BUF_INIT;
    struct assay_err err;
    char answer[2048];
    assert_int_equal(assay_gate_sign(h->f->gate, ASSAY_STR(USER), ASSAY_STR("user"), 1, 600, &t, &err), 0);
    int fd = client(h->f, 10000);
    for (unsigned i = 0; i < h->rounds; i++) {
        assay_buf_reset(&text);
        assay_buf_fmt(&text, "GET %s HTTP/1.1\r\n" HOST "Authorization: Bearer %s\r\n\r\n", path[i % 5], t.p);
        (void)!send(fd, text.p, text.n, MSG_NOSIGNAL);
        int status = one_answer(fd, answer, sizeof answer);
        if (status == (i % 5 == 2 || i % 5 == 3 ? 202 : 200))
            atomic_fetch_add(h->good, 1);
        if (i % 37 == 36) { /* go away in the middle of one */
            (void)!send(fd, text.p, text.n, MSG_NOSIGNAL);
            (void)close(fd);
            fd = client(h->f, 10000);
        }
        if (i % 50 == 49)
            assay_gate_account_changed(h->f->gate, ASSAY_STR(USER));
    }
    (void)close(fd);
    assay_buf_free(&t);
    assay_buf_free(&text);
    return NULL;
}

static void many_clients_all_get_their_answers(void **state)
{
    (void)state;
    struct fixture *f = server_make((struct assay_front_config){.loops = 2});
    pthread_t thread[8];
    atomic_uint good = 0;
    struct hammer h = {f, 300, &good};
    for (size_t i = 0; i < 8; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, hammer_run, &h), 0);
    for (size_t i = 0; i < 8; i++)
        (void)pthread_join(thread[i], NULL);
    assert_int_equal(atomic_load(&good), 8 * 300);
    server_unmake(f);
}

static void a_large_answer_arrives_whole(void **state)
{
    (void)state;
    struct fixture *f = server_make((struct assay_front_config){.loops = 1});
    char answer[1024];
    int fd = client(f, 5000);
    for (int i = 0; i < 3; i++) {
        say(fd, "GET /big HTTP/1.1\r\n" HOST "\r\n");
        (void)usleep(50 * 1000); /* let the socket fill */
        assert_int_equal(one_answer(fd, answer, sizeof answer), 200);
    }
    (void)close(fd);
    server_unmake(f);
}

static void slow_clients_meet_absolute_deadlines(void **state)
{
    (void)state;
    struct fixture *f = server_make((struct assay_front_config){.loops = 1,
                                                                .header_deadline_ms = 400,
                                                                .body_grace_ms = 400,
                                                                .body_min_rate = 1000000,
                                                                .answer_deadline_ms = 300,
                                                                .idle_ms = 300});
    char answer[2048];
    /* a byte now and then: the deadline does not restart with it */
    int head = client(f, 3000), body = client(f, 3000), silent = client(f, 3000), idle = client(f, 3000), late = client(f, 3000),
        reader = client(f, 3000);
    int64_t begun = assay_mono_ns();
    say(body, "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 3000\r\n\r\n");
    say(idle, "GET /hello HTTP/1.1\r\n" HOST "\r\n");
    assert_int_equal(one_answer(idle, answer, sizeof answer), 200);
    say(late, "GET /keep HTTP/1.1\r\n" HOST "X-Request-Id: late-one\r\n\r\n");
    for (int i = 0; i < 20; i++)
        say(reader, "GET /big HTTP/1.1\r\n" HOST "\r\n"); /* and does not read */
    for (int i = 0; i < 12; i++) {
        (void)!send(head, i == 0 ? "GET /hello HTTP/1.1\r\n" : "X: y\r\n", i == 0 ? 21 : 6, MSG_NOSIGNAL);
        (void)!send(body, "a", 1, MSG_NOSIGNAL);
        (void)usleep(100 * 1000);
    }
    assert_int_equal(one_answer(head, answer, sizeof answer), 408);
    assert_int_equal(one_answer(body, answer, sizeof answer), 408);
    assert_int_equal(one_answer(late, answer, sizeof answer), 504);
    assert_non_null(strstr(answer, "late-one"));
    assert_true(closes_within(head) && closes_within(body) && closes_within(silent) && closes_within(idle) && closes_within(late));
    assert_true(assay_mono_ns() - begun < INT64_C(4000000000));
    /* 60 MB at 1 MB/s were asked for and nothing was read: grace and what the rate allows for what was unsent */
    struct assay_front_stats st;
    for (int i = 0; i < 60; i++) {
        assay_front_stats(f->app.front, &st);
        if (st.connections_open == 0)
            break;
        (void)usleep(100 * 1000);
    }
    assert_int_equal(st.connections_open, 0);
    assert_true(st.timeouts >= 4);
    int fds[] = {head, body, silent, idle, late, reader};
    for (size_t i = 0; i < 6; i++)
        (void)close(fds[i]);
    struct assay_response rs = {.status = 200};
    assay_front_resume(f->app.front, f->app.kept, 0, &rs, NULL);
    server_unmake(f);
}

static void connections_are_bounded(void **state)
{
    (void)state;
    struct fixture *f = server_make((struct assay_front_config){.loops = 1, .connections_max = 4});
    char answer[2048];
    int fd[5];
    for (size_t i = 0; i < 4; i++) {
        fd[i] = client(f, 3000);
        say(fd[i], "GET /hello HTTP/1.1\r\n" HOST "\r\n");
        assert_int_equal(one_answer(fd[i], answer, sizeof answer), 200);
    }
    fd[4] = client(f, 3000);
    assert_int_equal(one_answer(fd[4], answer, sizeof answer), 503);
    assert_non_null(strstr(answer, "Retry-After: 1\r\n"));
    assert_true(closes_within(fd[4]));
    (void)close(fd[4]);
    (void)close(fd[0]);
    (void)usleep(100 * 1000);
    fd[0] = client(f, 3000);
    say(fd[0], "GET /hello HTTP/1.1\r\n" HOST "\r\n");
    assert_int_equal(one_answer(fd[0], answer, sizeof answer), 200);
    for (size_t i = 0; i < 4; i++)
        (void)close(fd[i]);
    server_unmake(f);
}

static void a_long_stream_meets_its_reader(void **state)
{
    (void)state;
    struct fixture *f = server_make((struct assay_front_config){.loops = 1});
    static char sink[1 << 16];
    struct assay_front_stats st;
    for (int round = 0; round < 3; round++) {
        size_t got = 0;
        int fd = client(f, 10000);
        say(fd, "GET /pour HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n");
        for (ssize_t n; (n = recv(fd, sink, sizeof sink, 0)) > 0;) {
            got += (size_t)n;
            if (round == 1 && got > (4 << 20))
                break; /* goes away in the middle */
            if (round == 2 && got < (1 << 20))
                (void)usleep(2000);
        }
        (void)close(fd);
        if (round != 1)
            assert_true(got > STREAMED && got < STREAMED + 16384);
    }
    for (int i = 0; i < 200; i++) {
        assay_front_stats(f->app.front, &st);
        if (st.requests_waiting == 0)
            break;
        (void)usleep(10 * 1000);
    }
    assert_int_equal(st.requests_waiting, 0);
    server_unmake(f);
}

static void draining_ends_streams_that_would_not_end(void **state)
{
    (void)state;
    struct fixture *f = server_make((struct assay_front_config){.loops = 1});
    atomic_uint writable = 0;
    static char sink[4096];
    int fd = client(f, 3000);
    say(fd, "GET /events HTTP/1.1\r\n" HOST "\r\n");
    (void)usleep(100 * 1000);
    stream_open(f, "x", &writable);
    (void)usleep(100 * 1000);
    assert_int_equal(assay_front_drain(f->app.front, 100), 1);
    assert_int_equal(atomic_load(&writable), 1);
    assert_int_equal(assay_front_stream_write(f->app.front, f->app.kept, "y", 1, 0), ASSAY_E_GONE);
    assay_front_stream_end(f->app.front, f->app.kept, 0);
    size_t n = 0;
    for (ssize_t got; n < sizeof sink - 1 && (got = recv(fd, sink + n, sizeof sink - 1 - n, 0)) > 0;)
        n += (size_t)got;
    sink[n] = 0;
    assert_non_null(strstr(sink, "1\r\nx\r\n0\r\n\r\n")); /* whole, so the client knows that it may come back */
    (void)close(fd);
    assert_int_equal(assay_front_drain(f->app.front, 3000), 0);
    server_unmake(f);
}

struct under_load {
    struct fixture *f;
    atomic_uint asked, whole, torn;
};

static void *load_run(void *arg)
{
    struct under_load *u = arg;
    char answer[2048];
    for (;;) {
        struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)u->f->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        struct timeval tv = {5, 0};
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), status = 0;
        (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
        if (connect(fd, (struct sockaddr *)&a, sizeof a) != 0) {
            (void)close(fd);
            return NULL;
        }
        for (int i = 0; i < 1000000; i++) {
            const char *text = i % 2 ? "GET /hello HTTP/1.1\r\n" HOST "\r\n" : "GET /defer HTTP/1.1\r\n" HOST "\r\n";
            if (send(fd, text, strlen(text), MSG_NOSIGNAL) < 0)
                break;
            atomic_fetch_add(&u->asked, 1);
            answer[0] = 0;
            status = one_answer(fd, answer, sizeof answer);
            if (status == 200 || status == 202)
                atomic_fetch_add(&u->whole, 1);
            else if (answer[0])
                atomic_fetch_add(&u->torn, 1); /* half an answer */
            if (status <= 0 || strstr(answer, "Connection: close\r\n"))
                break;
        }
        (void)close(fd);
        if (status <= 0 || strstr(answer, "Connection: close\r\n"))
            return NULL;
    }
}

static void draining_under_load_tears_no_answer(void **state)
{
    (void)state;
    struct under_load u = {.f = server_make((struct assay_front_config){.loops = 2})};
    pthread_t thread[8];
    for (size_t i = 0; i < 8; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, load_run, &u), 0);
    (void)usleep(300 * 1000);
    assert_int_equal(assay_front_drain(u.f->app.front, 5000), 0);
    /* what waits in the kernel's backlog was never accepted: nothing is lost with it */
    (void)shutdown(u.f->listen_fd, SHUT_RDWR);
    for (size_t i = 0; i < 8; i++)
        (void)pthread_join(thread[i], NULL);
    assert_int_equal(atomic_load(&u.torn), 0);
    assert_true(atomic_load(&u.whole) > 100);
    server_unmake(u.f);
}

static void draining_finishes_what_is_under_way(void **state)
{
    (void)state;
    struct fixture *f = server_make((struct assay_front_config){.loops = 2});
    char answer[2048];
    int idle = client(f, 3000), busy = client(f, 3000);
    say(idle, "GET /hello HTTP/1.1\r\n" HOST "\r\n");
    assert_int_equal(one_answer(idle, answer, sizeof answer), 200);
    say(busy, "GET /slow HTTP/1.1\r\n" HOST "\r\n");
    (void)usleep(100 * 1000);
    assert_int_equal(assay_front_drain(f->app.front, 50), 1); /* the time is up before it is over */
    assert_true(closes_within(idle));
    assert_int_equal(one_answer(busy, answer, sizeof answer), 200);
    assert_non_null(strstr(answer, "Connection: close\r\n"));
    assert_true(closes_within(busy));
    (void)close(busy);
    assert_int_equal(assay_front_drain(f->app.front, 3000), 0);
    (void)close(idle);
    server_unmake(f);
}

static void pipelining_does_not_starve_others(void **state)
{
    (void)state;
    struct fixture *f = server_make((struct assay_front_config){.loops = 1, .pipelined_max = 8});
    char answer[2048];
    int greedy = client(f, 10000), modest = client(f, 10000);
    struct assay_buf b = ASSAY_BUF_INIT;
    for (int i = 0; i < 2000; i++)
        assay_buf_puts(&b, "GET /hello HTTP/1.1\r\n" HOST "\r\n");
    assert_int_equal(send(greedy, b.p, b.n, 0), b.n);
    say(modest, "GET /hello HTTP/1.1\r\n" HOST "\r\n");
    assert_int_equal(one_answer(modest, answer, sizeof answer), 200);
    for (int i = 0; i < 2000; i++)
        assert_int_equal(one_answer(greedy, answer, sizeof answer), 200);
    assay_buf_free(&b);
    (void)close(greedy);
    (void)close(modest);
    server_unmake(f);
}

#define T(f) cmocka_unit_test_setup_teardown(f, hand_setup, hand_teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_parser_is_strict),
        T(sound_requests_are_answered_however_they_are_cut),
        T(answers_hold_what_was_asked),
        T(what_smuggling_is_made_of_is_refused),
        T(heads_are_bounded),
        T(bodies_are_refused_before_they_are_read),
        T(chunks_that_are_nearly_all_framing_are_refused),
        cmocka_unit_test(bodies_share_a_budget),
        T(one_hundred_continue),
        T(pipelined_requests_are_answered_in_order),
        T(what_follows_connection_close_is_not_read),
        T(a_half_closed_client_still_gets_its_answers),
        T(request_ids_are_taken_when_sane),
        T(every_request_is_recorded_once),
        T(who_may_what_is_asked_before_the_handler),
        T(a_full_pool_is_503),
        T(errors_say_what_a_client_may_know),
        T(a_route_without_parameters_refuses_any),
        T(a_ticket_answers_once),
        T(a_handler_that_defers_and_answers_answers_once),
        T(a_late_answer_is_harmless),
        T(a_request_that_nobody_answers_is_freed_in_the_end),
        T(cross_origin),
        T(a_stream_is_chunked_and_the_connection_lives_on),
        T(a_stream_to_an_old_client_ends_with_its_connection),
        T(nobody_reads_the_stream_of_a_head),
        T(a_stream_that_fails_is_cut_off),
        T(a_slow_reader_makes_the_writer_wait),
        T(a_stream_hears_that_its_client_has_gone),
        cmocka_unit_test(long_bodies_go_to_a_file),
        cmocka_unit_test(files_of_bodies_are_bounded),
        cmocka_unit_test(proxies_are_believed_as_far_as_they_are_listed),
        cmocka_unit_test(a_long_stream_meets_its_reader),
        cmocka_unit_test(draining_ends_streams_that_would_not_end),
        cmocka_unit_test(draining_under_load_tears_no_answer),
        cmocka_unit_test(many_clients_all_get_their_answers),
        cmocka_unit_test(a_large_answer_arrives_whole),
        cmocka_unit_test(slow_clients_meet_absolute_deadlines),
        cmocka_unit_test(connections_are_bounded),
        cmocka_unit_test(draining_finishes_what_is_under_way),
        cmocka_unit_test(pipelining_does_not_starve_others),
    };
    return cmocka_run_group_tests_name("http", tests, NULL, NULL);
}
