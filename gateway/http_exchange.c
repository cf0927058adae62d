/*
 * A request's way from its head to its answer.
 *
 * Theory of operation.  When the head is whole the front decides all it can before a byte of the body is
 * read: does the route exist, who asks, may they, may the body be that long.  A refusal of a message with
 * a body is answered at once and closes the connection; one without a body is answered when its (empty)
 * message is over, and the connection lives on.
 *
 * When the message is whole the handler runs: inline on the loop, or on a worker.  From the moment an
 * exchange is handed out (`away`) until its mail comes back the loop only ever writes x->conn.  Whoever
 * answers first wins the ticket (see http.c) and with it the right to fill in rc, rs and message and to
 * post the mail.  If the client goes meanwhile, the exchange is detached and dies when the mail arrives.
 *
 * A handler that defers may be answered by another thread before it has returned, so nothing of the
 * exchange is touched after a handler said ASSAY_DEFERRED; whether it had the right to say so is told by
 * a thread-local note of the last ticket taken on this thread.
 */
#include "http_impl.h"

#include <stddef.h>
#include <stdlib.h>

#include <event2/buffer.h>

#include "gateway/log.h"
#include "gateway/text.h"

static _Thread_local assay_ticket deferred_here;

/* ---- making and unmaking ------------------------------------------------------------------------- */

struct exchange *assay_exchange_new(struct conn *c)
{
    struct loop *l = c->loop;
    struct exchange *x = l->spare;
    struct assay_arena *arena = assay_arena_new(0);
    if (!arena)
        return NULL;
    if (x) {
        l->spare = x->next_spare;
        l->n_spare--;
    } else {
        x = malloc(sizeof *x);
    }
    if (!x) {
        assay_arena_free(arena);
        return NULL;
    }
    /* everything but the inline blocks, which are written before they are read */
    memset(x, 0, offsetof(struct exchange, inline_head));
    x->magic = EXCHANGE_MAGIC;
    x->loop = l;
    x->conn = c;
    x->arena = arena;
    x->head = x->inline_head;
    x->head_room = sizeof x->inline_head;
    x->field = x->inline_field;
    x->field_room = sizeof x->inline_field / sizeof x->inline_field[0];
    x->method = "";
    x->rq.arena = arena;
    x->rq.who = &x->who;
    x->rq.remote = assay_str(c->remote);
    x->rq.started_mono_ns = l->now_ns;
    x->rq.body_fd = -1;
    return x;
}

void assay_exchange_free(struct exchange *x)
{
    struct loop *l = x->loop;
    assert(!x->away);
    if (x->ticket)
        assay_loop_ticket_back(l, x);
    l->body_bytes -= x->body_counted;
    assay_spool_free(x);
    assay_stream_free(x->stream);
    assay_buf_free(&x->body);
    assay_response_clear(&x->rs);
    assay_arena_free(x->arena);
    x->magic = 0;
    if (l->n_spare < SPARE_EXCHANGES) {
        x->next_spare = l->spare;
        l->spare = x;
        l->n_spare++;
    } else {
        free(x);
    }
}

void assay_exchange_detach(struct exchange *x, int status)
{
    assay_reply_record(x, status, 0);
    x->conn->x = NULL;
    x->conn = NULL;
    if (x->streams)
        assay_stream_gone(x);
    if (!x->away)
        assay_exchange_free(x);
}

void assay_exchange_give_up(struct exchange *x)
{
    struct conn *c = x->conn;
    assert(x->away);
    x->conn = NULL;
    c->x = NULL;
    struct exchange *y = assay_exchange_new(c);
    if (!y) {
        c->dead = true;
        return;
    }
    c->x = y;
    /* the holder of x may be reading these too, but nobody writes them any more */
    y->method = x->method;
    y->rq_method = x->rq_method;
    y->head_only = x->head_only;
    y->bound = x->bound;
    y->rq.route = x->rq.route;
    y->rq.started_mono_ns = x->rq.started_mono_ns;
    y->rq.path = assay_arena_str(y->arena, x->rq.path);
    assay_head_request_id(y, x->rq.request_id);
    assay_conn_refuse(c, 504, ASSAY_STR("the answer took too long to make"));
}

static void lend(struct exchange *x)
{
    x->away = true;
    count(&x->loop->waiting, 1);
}

static void come_back(struct exchange *x)
{
    x->away = false;
    count(&x->loop->waiting, -1);
}

/* ---- the head is whole --------------------------------------------------------------------------- */

static bool has_body(const struct exchange *x)
{
    return x->chunked || x->content_length > 0;
}

/* A refusal. With a body still to come the connection cannot be used on. */
static void refuse(struct exchange *x, int status, struct assay_str detail)
{
    x->early = (struct early){status, detail};
    if (has_body(x)) {
        assay_conn_refuse(x->conn, status, detail);
        return;
    }
    x->conn->phase = PHASE_BODY;
    x->conn->parser_owes = true;
}

static void refuse_err(struct exchange *x, int rc, const struct assay_err *err)
{
    refuse(x, assay_err_http(rc), assay_arena_str(x->arena, assay_str(err->msg)));
}

/* Charges the rate limits; false: refused. */
static bool within_limits(struct exchange *x, enum assay_limit_subject subject, struct assay_str who)
{
    struct assay_limits *l = x->loop->front->cfg.limits;
    if (!l || assay_limits_take(l, subject, who, x->rq.route, x->loop->now_ns, &x->limit))
        return true;
    static const char *const whose[] = {"from this address", "of this account", "of this agent"};
    refuse(x, 429, assay_arena_fmt(x->arena, "too many requests %s; try again in %lld s", whose[subject], (long long)x->limit.retry_s));
    return false;
}

/* Who asks is known: may they, and may the body be that long? Then on to the body. */
static void admit(struct exchange *x)
{
    const struct assay_route *route = x->bound->route;
    struct conn *c = x->conn;
    struct assay_err err = {0};
    int rc = assay_gate_permit(route, &x->who, &err);
    if (rc) {
        refuse_err(x, rc, &err);
        return;
    }
    if (!within_limits(x, ASSAY_LIMIT_ACCOUNT, x->who.user_id) || !within_limits(x, ASSAY_LIMIT_AGENT, x->who.agent_id))
        return;
    if (route->body_max == 0 && has_body(x)) {
        refuse(x, 413, ASSAY_STR("this route takes no body"));
        return;
    }
    if (x->content_length > route->body_max) {
        refuse(x, 413, assay_arena_fmt(x->arena, "the body is longer than the %zu bytes that this route takes", route->body_max));
        return;
    }
    assay_buf_init(&x->body, route->body_max);
    const struct assay_front_config *cfg = &x->loop->front->cfg;
    x->spools = cfg->spool_dir && ((route->flags & ASSAY_ROUTE_SPOOL) || x->content_length > cfg->spool_over);
    if (x->content_length && !assay_buf_reserve(&x->body, x->content_length < INPUT_MAX ? (size_t)x->content_length : INPUT_MAX)) {
        refuse(x, 503, ASSAY_STR("no memory for this request now"));
        return;
    }
    if (x->wants_continue && has_body(x) && evbuffer_get_length(c->in) == 0)
        assay_buf_puts(&x->loop->out, "HTTP/1.1 100 Continue\r\n\r\n");
    c->phase = PHASE_BODY;
    c->parser_owes = true;
    x->body_started_ns = x->loop->now_ns;
}

/* On a worker. */
static void look_up(void *arg)
{
    struct exchange *x = exchange_check(arg);
    struct assay_err err = {0};
    x->rc = assay_gate_lookup(x->loop->front->cfg.gate, x->token, x->arena, &x->verdict, &err);
    if (x->rc)
        x->message = assay_arena_str(x->arena, assay_str(err.msg));
    /* only a front that is being freed closes its boxes, and by its contract nobody works for it then */
    int rc = assay_mailbox_post(x->loop->box, &x->mail);
    assert(rc == 0);
}

/* Back on the loop. */
static void looked_up(struct assay_mail *m)
{
    struct exchange *x = exchange_check((char *)m - offsetof(struct exchange, mail));
    loop_own(x->loop);
    come_back(x);
    if (x->rc == 0)
        assay_gate_remember(x->loop->cache, x->token, &x->verdict);
    struct conn *c = x->conn;
    if (!c) {
        assay_exchange_free(x);
        return;
    }
    assay_conn_begin(c);
    if (x->rc == 0) {
        x->who = x->verdict.who;
        admit(x);
    } else {
        refuse(x, assay_err_http(x->rc), assay_problem_public(x->rc) ? x->message : ASSAY_STR(""));
    }
    assay_conn_consume(c);
    assay_conn_end(c);
}

static void authenticate(struct exchange *x)
{
    const struct assay_front_config *cfg = &x->loop->front->cfg;
    struct assay_err err = {0};
    /* without a gate nobody can be told from anybody, and admit() lets only public routes through */
    if (!x->authorization.p || !cfg->gate) {
        admit(x);
        return;
    }
    int rc = assay_gate_bearer(x->authorization, &x->token, &err);
    if (rc == 0)
        rc = assay_gate_try(x->loop->cache, x->token, x->arena, &x->who, &err);
    if (rc == 0) {
        admit(x);
    } else if (rc == ASSAY_E_AGAIN) {
        x->conn->phase = PHASE_GATE;
        x->conn->deadline_ns = x->loop->now_ns + cfg->answer_deadline_ms * MS_NS;
        x->mail.run = looked_up;
        lend(x);
        if (cfg->offload(cfg->ctx, look_up, x) != 0) {
            come_back(x);
            refuse(x, 503, ASSAY_STR("the server is busy"));
        }
    } else {
        refuse_err(x, rc, &err);
    }
}

/* CORS preflight and plain OPTIONS are answered from the route table. */
static void answer_options(struct exchange *x)
{
    struct assay_match m;
    if (assay_str_is(x->rq.path, "*")) {
        x->allow = 1u << ASSAY_GET | 1u << ASSAY_POST | 1u << ASSAY_PUT | 1u << ASSAY_PATCH | 1u << ASSAY_DELETE;
        refuse(x, 204, ASSAY_STR(""));
        return;
    }
    if (assay_router_match(x->loop->front->router, 0, x->rq.path, &m) == ASSAY_MATCH_NO_PATH) {
        refuse(x, 404, ASSAY_STR("there is nothing at this path"));
        return;
    }
    x->allow = m.allow;
    refuse(x, 204, ASSAY_STR(""));
}

void assay_exchange_head(struct exchange *x)
{
    if (!assay_head_finish(x)) {
        /* the framing cannot be trusted: whatever follows is not read */
        assay_conn_refuse(x->conn, x->early.status, x->early.detail);
        return;
    }
    if (x->rq_method == 0) {
        answer_options(x);
        return;
    }
    struct assay_match m;
    switch (assay_router_match(x->loop->front->router, x->rq_method, x->rq.path, &m)) {
    case ASSAY_MATCH_NO_PATH:
        refuse(x, 404, ASSAY_STR("there is nothing at this path"));
        return;
    case ASSAY_MATCH_NO_METHOD:
        x->allow = m.allow;
        refuse(x, 405, ASSAY_STR("this path does not know the method"));
        return;
    case ASSAY_MATCH_FOUND:
        break;
    }
    x->bound = m.bound;
    x->allow = m.allow;
    x->rq.route = m.bound->route;
    memcpy(x->rq.param, m.param, sizeof x->rq.param);
    if (within_limits(x, ASSAY_LIMIT_ADDRESS, x->rq.remote))
        authenticate(x);
}

/* ---- the message is whole ------------------------------------------------------------------------ */

/* The loop's half of assay_front_resume(). */
static void resumed(struct assay_mail *m)
{
    struct exchange *x = exchange_check((char *)m - offsetof(struct exchange, mail));
    struct loop *l = x->loop;
    loop_own(l);
    come_back(x);
    if (x->stream) {
        assay_stream_finish(x);
        return;
    }
    struct conn *c = x->conn;
    if (!c) {
        count(&l->late, 1);
        assay_exchange_free(x);
        return;
    }
    assay_conn_begin(c);
    assay_reply(x, x->rc, &x->rs, x->message);
    assay_conn_consume(c);
    assay_conn_end(c);
}

/* Runs the handler on this thread. True: it has answered with *rc; false: it deferred, and x is not ours. */
static bool run_handler(struct exchange *x, struct assay_response *rs, int *rc, struct assay_err *err)
{
    const struct assay_bound_route *bound = x->bound;
    deferred_here = 0;
    /* a copy: a handler that defers may go on logging while somebody else answers and frees the exchange */
    char id[128];
    struct assay_str rid = assay_text_cut(x->rq.request_id, sizeof id);
    if (rid.n > 0)
        memcpy(id, rid.p, rid.n);
    const struct assay_log_context here = {.request_id = {id, rid.n}};
    const struct assay_log_context *before = assay_log_enter(&here);
    static const char *const none[] = {NULL};
    *rc = (bound->route->flags & ASSAY_ROUTE_NO_QUERY) != 0 ? assay_query_only(&x->rq, rs, none, err) : 0;
    if (*rc == 0)
        *rc = bound->route->handle(bound->self, &x->rq, rs, err);
    (void)assay_log_enter(before);
    if (*rc != ASSAY_DEFERRED)
        return true;
    if (deferred_here != 0) {
        assay_response_clear(rs); /* the resumer brings its own */
        return false;
    }
    *rc = assay_err_set(err, ASSAY_E_INTERNAL, "the handler of %s says that it deferred, but took no ticket",
                        bound->route->operation_id);
    return true;
}

static void work(void *arg)
{
    struct exchange *x = exchange_check(arg);
    struct assay_front *f = x->loop->front;
    assay_ticket t = x->ticket;
    struct assay_response rs = {.status = 0};
    struct assay_err err = {0};
    int rc;
    if (run_handler(x, &rs, &rc, &err))
        assay_front_resume(f, t, rc, &rs, rc < 0 ? &err : NULL);
}

static void wait_for_answer(struct exchange *x)
{
    x->conn->phase = PHASE_WAIT;
    x->conn->deadline_ns = x->loop->now_ns + x->loop->front->cfg.answer_deadline_ms * MS_NS;
}

static void dispatch_inline(struct exchange *x)
{
    struct assay_response rs = {.status = 0};
    struct assay_err err = {0};
    int rc;
    if (run_handler(x, &rs, &rc, &err)) {
        if (x->ticket) {
            /* it took a ticket and answered all the same: the ticket must not answer a second time */
            assay_front_resume(x->loop->front, x->ticket, rc, &rs, rc < 0 ? &err : NULL);
            wait_for_answer(x);
            return;
        }
        assay_reply(x, rc, &rs, rc < 0 ? assay_str(err.msg) : ASSAY_STR(""));
        return;
    }
    wait_for_answer(x); /* its mail cannot have been run: this is the loop's thread */
}

void assay_exchange_dispatch(struct exchange *x)
{
    struct loop *l = x->loop;
    const struct assay_front_config *cfg = &l->front->cfg;
    if (x->early.status) {
        assay_reply_early(x, &x->early);
        return;
    }
    if (!x->spools)
        x->rq.body = assay_buf_view(&x->body);
    x->mail.run = resumed;
    if (x->bound->route->flags & ASSAY_ROUTE_INLINE) {
        dispatch_inline(x);
        return;
    }
    static const struct early busy = {503, {"the server is busy", sizeof "the server is busy" - 1}};
    /* taken here, on the loop, so that a worker never touches the table of tickets */
    if (!assay_loop_ticket(l, x)) {
        assay_reply_early(x, &busy);
        return;
    }
    wait_for_answer(x);
    lend(x);
    if (cfg->offload(cfg->ctx, work, x) != 0) {
        come_back(x);
        assay_reply_early(x, &busy);
    }
}

void assay_front_reply_fixed(struct assay_request *rq, struct assay_str bytes)
{
    exchange_check(rq->impl)->fixed = bytes;
}

/* ---- tickets ------------------------------------------------------------------------------------- */

assay_ticket assay_front_defer(struct assay_request *rq)
{
    struct exchange *x = exchange_check(rq->impl);
    if (!x->ticket) {
        /* an inline handler: we are on the loop's thread */
        loop_own(x->loop);
        if (assay_loop_ticket(x->loop, x))
            lend(x);
    }
    deferred_here = x->ticket;
    return x->ticket;
}
