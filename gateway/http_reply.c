/*
 * From an answer to bytes.
 *
 * Theory of operation.  There is one way out, emit(): a status line, the headers that every answer of ours
 * has, those of the handler, and the body with its length.  A handler's headers are checked, not trusted:
 * one with a control character in it would end the head and begin another answer (response splitting).
 * Errors become problem documents; the message of an error that is ours goes to the log and, outside
 * development, not to the client.
 */
#include "http_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

struct answer {
    int status;
    const char *type;       /* NULL: no Content-Type */
    struct assay_buf *body; /* NULL: none */
    struct assay_str fixed; /* a body in its place that need not be copied */
    const struct assay_json_pair *header;
    size_t n_headers;
    bool stream; /* the body comes later, in pieces */
};

/* ---- small pieces --------------------------------------------------------------------------------- */

static void put_number(struct assay_buf *out, size_t v)
{
    char digits[20];
    size_t n = sizeof digits;
    do {
        digits[--n] = (char)('0' + v % 10);
        v /= 10;
    } while (v);
    assay_buf_add(out, digits + n, sizeof digits - n);
}

#define PUT(out, literal) assay_buf_add((out), (literal), sizeof(literal) - 1)

/* RFC 9110, 6.6.1; the text of a second is made once. strftime() would follow the locale. */
static void put_date(struct loop *l)
{
    static const char day[] = "SunMonTueWedThuFriSat", month[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    if (!l->date_n || l->now_ns - l->date_ns >= S_NS) {
        time_t t = (time_t)(assay_now_ms() / 1000);
        struct tm tm;
        if (!gmtime_r(&t, &tm))
            return;
        int n = snprintf(l->date, sizeof l->date, "Date: %.3s, %02d %.3s %04d %02d:%02d:%02d GMT\r\n", day + tm.tm_wday * 3,
                         tm.tm_mday, month + tm.tm_mon * 3, tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
        l->date_n = n > 0 && (size_t)n < sizeof l->date ? (size_t)n : 0;
        l->date_ns = l->now_ns;
    }
    assay_buf_add(&l->out, l->date, l->date_n);
}

static void put_status(struct assay_buf *out, int status)
{
    PUT(out, "HTTP/1.1 ");
    put_number(out, (size_t)status);
    PUT(out, " ");
    assay_buf_puts(out, assay_status_text(status));
    PUT(out, "\r\n");
}

static bool header_ok(const struct assay_json_pair *h)
{
    if (h->key.n == 0 || h->key.n > 64 || h->value.n > 4096)
        return false;
    for (size_t i = 0; i < h->key.n; i++) {
        char c = h->key.p[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-'))
            return false;
    }
    for (size_t i = 0; i < h->value.n; i++)
        if (((unsigned char)h->value.p[i] < 0x20 && h->value.p[i] != '\t') || h->value.p[i] == 0x7f)
            return false;
    /* what frames a message is the front's to say */
    return !assay_str_ieq(h->key, "content-length") && !assay_str_ieq(h->key, "transfer-encoding") &&
           !assay_str_ieq(h->key, "connection") && !assay_str_ieq(h->key, "date");
}

static struct assay_str answer_header(const struct answer *a, const char *name)
{
    for (size_t i = 0; i < a->n_headers; i++)
        if (assay_str_ieq(a->header[i].key, name))
            return a->header[i].value;
    return ASSAY_STR_NULL;
}

/* ---- CORS ----------------------------------------------------------------------------------------- */

/* "http://localhost:8081", with or without a port. */
static bool of_this_machine(struct assay_str origin)
{
    static const char *const hosts[] = {"http://localhost", "http://127.0.0.1", "http://[::1]",
                                        "https://localhost", "https://127.0.0.1", "https://[::1]"};
    for (size_t i = 0; i < sizeof hosts / sizeof hosts[0]; i++) {
        size_t n = strlen(hosts[i]);
        int64_t port;
        if (assay_str_starts(origin, hosts[i]) &&
            (origin.n == n || (origin.p[n] == ':' && assay_parse_i64((struct assay_str){origin.p + n + 1, origin.n - n - 1}, 1, 65535, &port, NULL) == 0)))
            return true;
    }
    return false;
}

/* Tokens travel in a header that scripts must set themselves, so credentials (cookies) are never allowed. */
static void put_cors(struct exchange *x, struct assay_buf *out, bool preflight)
{
    const char *const *origin = x->loop->front->cfg.cors_origins;
    if (!origin || !origin[0])
        return;
    PUT(out, "Vary: Origin\r\n");
    if (!x->origin.n)
        return;
    bool any = false, allowed = false;
    for (; *origin && !allowed; origin++) {
        any = assay_str_is(ASSAY_STR("*"), *origin);
        allowed = any || assay_str_is(x->origin, *origin) || (assay_str_is(ASSAY_STR("localhost"), *origin) && of_this_machine(x->origin));
    }
    if (!allowed)
        return;
    PUT(out, "Access-Control-Allow-Origin: ");
    if (any)
        PUT(out, "*");
    else
        assay_buf_str(out, x->origin);
    PUT(out, "\r\nAccess-Control-Expose-Headers: X-Request-Id, Traceparent, Location, Retry-After, RateLimit, RateLimit-Policy, ETag\r\n");
    if (!preflight)
        return;
    char methods[ASSAY_ALLOW_SIZE];
    size_t n = assay_router_allow(x->allow, methods);
    PUT(out, "Access-Control-Allow-Methods: ");
    assay_buf_add(out, methods, n);
    PUT(out, "\r\nAccess-Control-Allow-Headers: Authorization, Content-Type, Idempotency-Key, If-None-Match, "
             "Last-Event-ID, Traceparent, X-Request-Id\r\nAccess-Control-Max-Age: 600\r\n");
}

/* ---- the one way out ------------------------------------------------------------------------------ */

void assay_reply_record(struct exchange *x, int status, size_t bytes_out)
{
    const struct assay_front_config *cfg = &x->loop->front->cfg;
    count(&x->loop->requests, 1);
    if (!cfg->done)
        return;
    struct assay_front_record r = {.loop = x->loop->index,
                                   .route = x->rq.route,
                                   .method = assay_str(x->method),
                                   .path = x->rq.path,
                                   .request_id = x->rq.request_id,
                                   .remote = x->rq.remote,
                                   .user_id = x->who.user_id,
                                   .traceparent = x->rq.traceparent,
                                   .trace_parent = x->trace_parent,
                                   .tls = x->conn && x->conn->tls_version ? x->conn->tls_version : "",
                                   .status = status,
                                   .duration_ns = assay_mono_ns() - x->rq.started_mono_ns,
                                   .bytes_in = (size_t)x->body_total,
                                   .bytes_out = bytes_out};
    cfg->done(cfg->ctx, &r);
}

/* What keeps a browser from doing more with an answer than showing it.  The one place: a route that serves pages brings
 * its own policy as a header, which then stands instead. */
static void put_protection(const struct answer *a, struct assay_buf *out)
{
    PUT(out, "X-Content-Type-Options: nosniff\r\n"
             "X-Frame-Options: DENY\r\n"
             "Referrer-Policy: no-referrer\r\n"
             "Cross-Origin-Resource-Policy: same-origin\r\n");
    if (!answer_header(a, "content-security-policy").p)
        PUT(out, "Content-Security-Policy: default-src 'none'; frame-ancestors 'none'\r\n");
}

static void put_head(struct exchange *x, const struct answer *a, size_t length, bool bodiless, bool keep)
{
    struct loop *l = x->loop;
    struct assay_buf *out = &l->out;

    put_status(out, a->status);
    put_date(l);
    if (a->type && !bodiless) {
        PUT(out, "Content-Type: ");
        assay_buf_puts(out, a->type);
        PUT(out, "\r\n");
    }
    if (a->stream) {
        if (!x->http10)
            PUT(out, "Transfer-Encoding: chunked\r\n");
    } else if (!bodiless) {
        PUT(out, "Content-Length: ");
        put_number(out, length);
        PUT(out, "\r\n");
    }
    put_protection(a, out);
    if (x->conn && x->conn->tls)
        assay_buf_puts(out, l->front->hsts);
    if (!answer_header(a, "cache-control").p)
        PUT(out, "Cache-Control: no-store\r\n");
    PUT(out, "X-Request-Id: ");
    assay_buf_str(out, x->rq.request_id);
    PUT(out, "\r\n");
    if (x->rq.traceparent.n > 0) {
        PUT(out, "Traceparent: ");
        assay_buf_str(out, x->rq.traceparent);
        PUT(out, "\r\n");
    }
    if (!keep)
        PUT(out, "Connection: close\r\n");
    else if (x->http10)
        PUT(out, "Connection: keep-alive\r\n");
    if (a->status == 401)
        PUT(out, "WWW-Authenticate: Bearer realm=\"assay\"\r\n");
    if ((a->status == 503 || a->status == 429) && !answer_header(a, "retry-after").p)
        assay_buf_fmt(out, "Retry-After: %lld\r\n", (long long)(x->limit.retry_s > 0 ? x->limit.retry_s : 1));
    if (x->limit.n)
        assay_limits_headers(l->front->cfg.limits, &x->limit, out);
    bool options = a->status == 204 && x->rq_method == 0;
    if (a->status == 405 || options) {
        char allow[ASSAY_ALLOW_SIZE];
        size_t n = assay_router_allow(x->allow, allow);
        PUT(out, "Allow: ");
        assay_buf_add(out, allow, n);
        PUT(out, "\r\n");
    }
    put_cors(x, out, options);
    for (size_t i = 0; i < a->n_headers; i++) {
        assay_buf_str(out, a->header[i].key);
        PUT(out, ": ");
        assay_buf_str(out, a->header[i].value);
        PUT(out, "\r\n");
    }
    PUT(out, "\r\n");
}

static void emit(struct exchange *x, const struct answer *a)
{
    struct loop *l = x->loop;
    struct conn *c = x->conn;
    struct assay_buf *out = &l->out;
    size_t length = a->fixed.n ? a->fixed.n : a->body ? a->body->n : 0;
    bool keep = x->keep_alive && !l->draining;
    bool bodiless = a->status == 204 || a->status == 304;
    put_head(x, a, length, bodiless, keep);
    size_t sent = bodiless || x->head_only ? 0 : length;
    assay_reply_record(x, a->status, sent);
    if (sent && sent <= BODY_COPY_MAX)
        assay_buf_add(out, a->fixed.n ? a->fixed.p : a->body->p, sent);
    else if (sent && a->fixed.n)
        assay_conn_flush_fixed(c, a->fixed);
    else if (sent)
        assay_conn_flush(c, a->body);
    c->x = NULL;
    assay_exchange_free(x);
    assay_conn_answered(c, keep);
}

/* ---- problems ------------------------------------------------------------------------------------- */

static void log_failure(struct exchange *x, int rc, struct assay_str message)
{
    const struct assay_kv kv[] = {
        ASSAY_KS("request_id", x->rq.request_id),
        ASSAY_KZ("route", x->rq.route ? x->rq.route->operation_id : ""),
        ASSAY_KZ("error", assay_err_word(rc)),
        ASSAY_KS("message", message),
    };
    assay_loop_log(x->loop, ASSAY_LOG_ERROR, "request_failed", kv, sizeof kv / sizeof kv[0]);
}

static void emit_problem(struct exchange *x, const struct assay_problem *p, const struct assay_json_pair *header, size_t n)
{
    ASSAY_CLEANUP_BUF struct assay_buf body = ASSAY_BUF_INIT;
    char bare[ASSAY_PROBLEM_BARE];
    struct assay_problem full = *p;
    full.instance = x->rq.path;
    full.request_id = x->rq.request_id;
    bool written = assay_problem_write(&full, &body, NULL) == 0;
    struct assay_buf little = {.p = bare};
    if (!written)
        little.n = assay_problem_bare(p->status, p->word, bare);
    struct answer a = {.status = p->status,
                       .type = ASSAY_PROBLEM_TYPE,
                       .body = written ? &body : &little, /* short enough to be copied */
                       .header = header,
                       .n_headers = n};
    emit(x, &a);
}

static void reply_error(struct exchange *x, int rc, const struct assay_response *rs, struct assay_str message)
{
    bool front_of_house = assay_problem_public(rc);
    int status = rs->status >= 400 && rs->status <= 599 ? rs->status : assay_err_http(rc);
    if (!front_of_house)
        log_failure(x, rc, message);
    struct assay_problem p = {.status = status, .word = assay_err_word(rc), .faults = rs->faults};
    /* a status that the handler chose says more than its code: then the word is the status's */
    if (status != assay_err_http(rc))
        p.word = NULL;
    if (front_of_house || x->loop->front->development)
        p.detail = message;
    else
        p.detail = ASSAY_STR("the server failed to do this; the log says why, under the request id");
    /* handlers say where the new thing is before the store has said yes; a refusal has made none */
    struct assay_json_pair kept[sizeof rs->header / sizeof rs->header[0]];
    size_t n = 0;
    for (size_t i = 0; i < rs->n_headers; i++)
        if (!assay_str_ieq(rs->header[i].key, "location"))
            kept[n++] = rs->header[i];
    for (size_t i = 0; i < n; i++)
        if (!header_ok(&kept[i]))
            n = 0;
    emit_problem(x, &p, kept, n);
}

/* RFC 9110, 13.1.2: weak comparison, "*" matches anything that exists. */
static bool not_modified(struct exchange *x, const struct answer *a)
{
    struct assay_str etag = answer_header(a, "etag"), list = assay_head_get(x, "if-none-match");
    if (a->status != 200 || x->rq_method != ASSAY_GET || !etag.n || !list.n)
        return false;
    if (assay_str_is(list, "*"))
        return true;
    if (assay_str_starts(etag, "W/"))
        etag = (struct assay_str){etag.p + 2, etag.n - 2};
    const char *at = memmem(list.p, list.n, etag.p, etag.n);
    return etag.n > 2 && at != NULL;
}

int assay_reply_check_stream(const struct assay_response *rs, struct assay_err *err)
{
    if (rs->status != 0 && (rs->status < 200 || rs->status > 299 || rs->status == 204 || rs->status == 205))
        return assay_err_set(err, ASSAY_E_INTERNAL, "an answer with status %d has no stream", rs->status);
    for (size_t i = 0; i < rs->n_headers; i++)
        if (!header_ok(&rs->header[i]))
            return assay_err_set(err, ASSAY_E_INTERNAL, "the handler made a malformed header");
    return rs->body.failed ? assay_err_set(err, ASSAY_E_NOMEM, "no memory for the answer") : 0;
}

void assay_reply_stream_head(struct exchange *x, const struct assay_response *rs)
{
    struct answer a = {.status = rs->status ? rs->status : 200,
                       .type = rs->content_type ? rs->content_type : "application/json",
                       .header = rs->header,
                       .n_headers = rs->n_headers,
                       .stream = true};
    put_head(x, &a, 0, false, x->keep_alive && !x->loop->draining && (!x->http10 || x->head_only));
}

void assay_reply(struct exchange *x, int rc, struct assay_response *rs, struct assay_str message)
{
    struct assay_response mine = *rs;
    *rs = (struct assay_response){.status = 0};
    if (rc >= 0 && mine.body.failed) {
        rc = ASSAY_E_NOMEM;
        message = ASSAY_STR("no memory for the answer");
    }
    if (rc >= 0 && mine.body.n > ASSAY_BUF_CAP) { /* a builder holds no more, unless a plugin has its own way with it */
        rc = ASSAY_E_INTERNAL;
        message = ASSAY_STR("the handler made an answer of more than 64 MiB: what is larger is streamed");
    }
    if (rc >= 0 && mine.status != 0 && (mine.status < 200 || mine.status > 599)) {
        rc = ASSAY_E_INTERNAL;
        message = ASSAY_STR("the handler chose a status that does not exist");
    }
    for (size_t i = 0; rc >= 0 && i < mine.n_headers; i++)
        if (!header_ok(&mine.header[i])) {
            rc = ASSAY_E_INTERNAL;
            message = ASSAY_STR("the handler made a malformed header");
        }
    if (rc < 0) {
        if (rc == ASSAY_E_INTERNAL || rc == ASSAY_E_NOMEM)
            mine.status = 0;
        reply_error(x, rc, &mine, message);
    } else {
        struct answer a = {.status = mine.status ? mine.status : 200,
                           .type = mine.body.n || x->fixed.n ? mine.content_type ? mine.content_type : "application/json" : NULL,
                           .body = &mine.body,
                           .fixed = x->fixed,
                           .header = mine.header,
                           .n_headers = mine.n_headers};
        if (not_modified(x, &a))
            a.status = 304;
        emit(x, &a);
    }
    assay_response_clear(&mine);
}

void assay_reply_early(struct exchange *x, const struct early *e)
{
    struct early answer = *e; /* it may be x->early, and x goes away */
    if (!x->rq.request_id.n)
        assay_head_request_id(x, ASSAY_STR(""));
    if (answer.status == 204) {
        struct answer a = {.status = 204};
        emit(x, &a);
        return;
    }
    struct assay_problem p = {.status = answer.status, .detail = answer.detail};
    emit_problem(x, &p, NULL, 0);
}
