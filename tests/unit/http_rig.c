#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <assay/value.h>

#include "http_rig.h"

/* ---- handlers --------------------------------------------------------------------------------------- */

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
    assay_reply_header(rs, ASSAY_STR("Location"), ASSAY_STR("/made/1"));
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

/* What belongs to the server and is never copied. */
static int fixed(void *self, struct assay_request *rq, struct assay_response *rs, struct assay_err *err)
{
    static char bytes[BIG];
    (void)self;
    (void)rs;
    (void)err;
    memset(bytes, 'f', sizeof bytes);
    assay_front_reply_fixed(rq, (struct assay_str){bytes, sizeof bytes});
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
    ROUTE(GET, "/fixed", ASSAY_ROLES_PUBLIC, NULL, ASSAY_ROUTE_INLINE, 0, fixed),
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
static const struct assay_accounts_ops accounts = {.size = sizeof accounts, .get = account_get};

void front_make(struct fixture *f, struct assay_front_config cfg)
{
    struct assay_err err = {0};
    f->secret = assay_secret_new(ASSAY_STR("0123456789abcdef0123456789abcdef"));
    const struct assay_gate_key keys[] = {{"k", f->secret}};
    struct assay_gate_config gc = {.keys = keys, .n_keys = 1};
    assert_int_equal(assay_gate_new(&gc, &f->gate, &err), 0);
    assay_gate_services(f->gate, &accounts, NULL, NULL, NULL);
    _Static_assert(ROUTES <= sizeof f->bound / sizeof f->bound[0], "room for every route");
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

void front_unmake(struct fixture *f)
{
    if (f->app.pool)
        assert_int_equal(assay_pool_drain(f->app.pool, 5000, NULL), 0);
    assay_front_free(f->app.front);
    assay_pool_free(f->app.pool);
    assay_gate_free(f->gate);
    assay_secret_free(f->secret);
    free(f);
}

struct assay_str token_for(struct fixture *f, struct assay_buf *out, const char *user)
{
    struct assay_err err;
    assay_buf_reset(out);
    assert_int_equal(assay_gate_sign(f->gate, assay_str(user), ASSAY_STR("user"), 1, 600, out, &err), 0);
    return assay_buf_view(out);
}

/* ---- by hand ---------------------------------------------------------------------------------------- */

void hand_connect(struct fixture *f)
{
    int pair[2];
    if (f->fd >= 0)
        (void)close(f->fd);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    f->fd = pair[0];
    assay_front_adopt(f->app.front, pair[1]);
}

struct fixture *hand_make(struct assay_front_config cfg)
{
    struct fixture *f = calloc(1, sizeof *f);
    f->fd = -1;
    front_make(f, cfg);
    hand_connect(f);
    return f;
}

int hand_setup(void **state)
{
    *state = hand_make((struct assay_front_config){.loops = 1});
    return 0;
}

int hand_teardown(void **state)
{
    struct fixture *f = *state;
    if (f->fd >= 0)
        (void)close(f->fd);
    front_unmake(f);
    return 0;
}

void hand_read(struct fixture *f, struct got *g)
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
void hand_send(struct fixture *f, const char *p, size_t n, size_t step, struct got *g)
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

void ask(struct fixture *f, const char *text, struct got *g)
{
    hand_send(f, text, strlen(text), strlen(text) ? strlen(text) : 1, g);
}

int status_of(const char *text)
{
    int64_t v = 0;
    if (strncmp(text, "HTTP/1.1 ", 9) != 0 || assay_parse_i64((struct assay_str){text + 9, 3}, 100, 599, &v, NULL) != 0)
        return -1;
    return (int)v;
}

const char *nth_answer(const char *text, unsigned n)
{
    const char *at = text;
    while (n-- && at)
        at = strstr(at + 1, "HTTP/1.1 ");
    return at;
}

void assert_has(const struct got *g, const char *what)
{
    if (!strstr(g->text, what))
        fail_msg("no \"%s\" in: %s", what, g->text);
}

void assert_lacks(const struct got *g, const char *what)
{
    if (strstr(g->text, what))
        fail_msg("\"%s\" in: %s", what, g->text);
}

static void on_writable(void *arg)
{
    atomic_fetch_add((atomic_uint *)arg, 1);
}

void stream_open(struct fixture *f, const char *first, atomic_uint *writable)
{
    struct assay_err err = {0};
    struct assay_response rs = {.content_type = "text/event-stream"};
    assay_buf_puts(&rs.body, first);
    assert_int_equal(assay_front_stream_begin(f->app.front, f->app.kept, &rs, writable ? on_writable : NULL, writable, &err), 0);
}
