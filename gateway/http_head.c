/*
 * From bytes to a request.
 *
 * Theory of operation.  llhttp (strict build) drives; it is paused at the end of the head and at the end
 * of the message, so that everything that decides something runs in straight lines outside its callbacks.
 * The callbacks only copy: the target and the headers into one block of text with a table of offsets.
 *
 * llhttp, even strict, lets through what proxies disagree about, and disagreement is what request
 * smuggling lives on.  So two more layers stand behind it.  The guard walks over the raw bytes of each
 * head: every LF after a CR, every CR before a LF, no folded lines (RFC 9112, 5.2), no control bytes.  Then
 * assay_head_finish() holds the whole head to the rules: one Host, one Content-Length or one
 * `Transfer-Encoding: chunked` but not both, none of the latter on HTTP/1.0, a target in origin form,
 * singletons single.  Whatever breaks one is 400 and the connection is closed: after such a head nobody
 * knows where the next request begins.
 */
#include "http_impl.h"

#include <stdio.h>
#include <stdlib.h>

#define FAULT(status_, text) ((struct early){(status_), ASSAY_STR(text)})

/* ---- copying ------------------------------------------------------------------------------------ */

static struct conn *conn_of(const llhttp_t *p)
{
    return conn_check(p->data);
}

static int stop(struct conn *c, struct early fault)
{
    c->fault = fault;
    return HPE_USER;
}

static int out_of_memory(struct conn *c)
{
    return stop(c, FAULT(503, "no memory for this request now"));
}

static bool head_room(struct exchange *x, size_t n)
{
    if (x->head_n + n <= x->head_room)
        return true;
    size_t room = (size_t)x->head_room * 2 + n;
    char *grown = room <= UINT32_MAX ? assay_arena_alloc(x->arena, room) : NULL;
    if (!grown)
        return false;
    memcpy(grown, x->head, x->head_n);
    x->head = grown;
    x->head_room = (uint32_t)room;
    return true;
}

static bool append(struct exchange *x, const char *p, size_t n)
{
    if (!head_room(x, n))
        return false;
    memcpy(x->head + x->head_n, p, n);
    x->head_n += (uint32_t)n;
    return true;
}

static int on_message_begin(llhttp_t *p)
{
    struct conn *c = conn_of(p);
    assert(!c->x);
    c->x = assay_exchange_new(c);
    return c->x ? 0 : out_of_memory(c);
}

static int on_url(llhttp_t *p, const char *at, size_t n)
{
    struct conn *c = conn_of(p);
    if (!append(c->x, at, n))
        return out_of_memory(c);
    c->x->target_n = c->x->head_n;
    return 0;
}

static bool fields_room(struct exchange *x)
{
    if (x->n_fields < x->field_room)
        return true;
    struct field *grown = assay_arena_array(x->arena, (size_t)x->field_room * 2, sizeof *grown);
    if (!grown)
        return false;
    memcpy(grown, x->field, x->n_fields * sizeof *grown);
    x->field = grown;
    x->field_room *= 2;
    return true;
}

/* Trailers come through the same callbacks once the body has begun; they are parsed, bounded with the
 * body, and dropped: merging them into the headers would let them speak after the checks were made. */
static bool in_trailers(const struct conn *c)
{
    return c->phase == PHASE_BODY;
}

static int on_header_field(llhttp_t *p, const char *at, size_t n)
{
    struct conn *c = conn_of(p);
    struct exchange *x = c->x;
    if (in_trailers(c))
        return 0;
    if (!x->has_name) {
        if (x->n_fields >= c->loop->front->cfg.header_count_max)
            return stop(c, FAULT(431, "there are too many header fields"));
        if (!fields_room(x))
            return out_of_memory(c);
        x->field[x->n_fields++] = (struct field){.name = x->head_n};
        x->has_name = true;
        x->in_value = false;
    }
    if (!append(x, at, n))
        return out_of_memory(c);
    struct field *f = &x->field[x->n_fields - 1];
    f->name_n += (uint32_t)n;
    for (char *q = x->head + x->head_n - n; q < x->head + x->head_n; q++)
        if (*q >= 'A' && *q <= 'Z')
            *q = (char)(*q | 0x20);
    return 0;
}

/* The field whose value comes; NULL when it has no name: llhttp takes a line that begins with its colon. */
static struct field *field_of_value(struct exchange *x)
{
    struct field *f = x->has_name ? &x->field[x->n_fields - 1] : NULL;
    if (!f || f->name_n == 0)
        return NULL;
    if (!x->in_value)
        f->value = x->head_n;
    x->in_value = true;
    return f;
}

static int on_header_value(llhttp_t *p, const char *at, size_t n)
{
    struct conn *c = conn_of(p);
    struct exchange *x = c->x;
    if (in_trailers(c))
        return 0;
    struct field *f = field_of_value(x);
    if (!f)
        return stop(c, FAULT(400, "a header field has no name"));
    if (!append(x, at, n))
        return out_of_memory(c);
    f->value_n += (uint32_t)n;
    return 0;
}

static int on_header_value_complete(llhttp_t *p)
{
    struct conn *c = conn_of(p);
    struct exchange *x = c->x;
    if (in_trailers(c))
        return 0;
    struct field *f = field_of_value(x);
    if (!f)
        return stop(c, FAULT(400, "a header field has no name"));
    x->has_name = false;
    while (f->value_n && (x->head[f->value + f->value_n - 1] == ' ' || x->head[f->value + f->value_n - 1] == '\t'))
        f->value_n--;
    return 0;
}

static int on_headers_complete(llhttp_t *p)
{
    /* we never change protocols; without this the parser would stop behind the message and wait for it */
    p->upgrade = 0;
    return HPE_PAUSED;
}

static int on_body(llhttp_t *p, const char *at, size_t n)
{
    struct conn *c = conn_of(p);
    struct exchange *x = c->x;
    struct loop *l = c->loop;
    /* The length was checked when it was announced; chunks announce nothing. */
    if (n > x->bound->route->body_max - x->body_total)
        return stop(c, FAULT(413, "the body is longer than this route takes"));
    if (l->body_bytes + n > l->front->cfg.body_memory_max / l->front->n_loops)
        return stop(c, FAULT(503, "too many bodies are under way"));
    l->body_bytes += n;
    x->body_counted += n;
    x->body_total += n;
    if (l->front->cfg.spool_dir && x->body_total > l->front->cfg.spool_over)
        x->spools = true; /* chunks do not say beforehand how much they will be */
    assay_buf_add(&x->body, at, n);
    return x->body.failed ? out_of_memory(c) : 0;
}

static int on_message_complete(llhttp_t *p)
{
    (void)p;
    return HPE_PAUSED;
}

static const llhttp_settings_t settings = {
    .on_message_begin = on_message_begin,
    .on_url = on_url,
    .on_header_field = on_header_field,
    .on_header_value = on_header_value,
    .on_header_value_complete = on_header_value_complete,
    .on_headers_complete = on_headers_complete,
    .on_body = on_body,
    .on_message_complete = on_message_complete,
};

void assay_head_init(struct conn *c)
{
    llhttp_init(&c->parser, HTTP_REQUEST, &settings);
    c->parser.data = c;
    c->last = 0;
}

/* ---- the guard ---------------------------------------------------------------------------------- */

/* RFC 9112, 2.2 and 5; false on the first byte that does not belong. */
static bool guard(char *last, const char *p, size_t n)
{
    char before = *last;
    for (size_t i = 0; i < n; i++) {
        char c = p[i];
        bool ok;
        if (before == '\r')
            ok = c == '\n';
        else if (c == '\n')
            ok = false; /* without its CR */
        else if (before == '\n')
            ok = c != ' ' && c != '\t' && ((unsigned char)c >= 0x20 || c == '\r') && c != 0x7f;
        else
            ok = ((unsigned char)c >= 0x20 && c != 0x7f) || c == '\r' || c == '\t';
        if (!ok)
            return false;
        before = c;
    }
    *last = before;
    return true;
}

/* ---- feeding ------------------------------------------------------------------------------------ */

static struct early parser_fault(const struct conn *c, llhttp_errno_t e)
{
    switch ((int)e) {
    case HPE_USER:
        return c->fault;
    case HPE_INVALID_VERSION:
        return FAULT(505, "this server speaks HTTP 1.1 and 1.0");
    case HPE_PAUSED_H2_UPGRADE:
        return FAULT(505, "this server speaks HTTP 1.1 and 1.0");
    case HPE_INVALID_METHOD:
        return FAULT(400, "the request does not begin with a method");
    case HPE_INVALID_URL:
        return FAULT(400, "the request target is malformed");
    case HPE_INVALID_CONTENT_LENGTH:
        if (strcmp(llhttp_get_error_reason(&c->parser), "Content-Length overflow") == 0)
            return FAULT(413, "the body is longer than any server takes");
        return FAULT(400, "Content-Length is not a number");
    case HPE_UNEXPECTED_CONTENT_LENGTH:
        return FAULT(400, "Content-Length is given twice, or beside Transfer-Encoding");
    case HPE_INVALID_TRANSFER_ENCODING:
        return FAULT(400, "Transfer-Encoding must be \"chunked\" and nothing else");
    case HPE_INVALID_CHUNK_SIZE:
        return FAULT(400, "a chunk has a malformed size");
    default: /* a callback that has no piece of the text stops the parser with a code of its own */
        return c->fault.status != 0 ? c->fault : FAULT(400, "the request is not well-formed HTTP");
    }
}

static enum parsed bad(struct conn *c, struct early fault)
{
    c->fault = fault;
    return PARSED_BAD;
}

static enum parsed head_fed(struct conn *c, const char *p, size_t used, llhttp_errno_t e)
{
    const struct assay_front_config *cfg = &c->loop->front->cfg;
    c->head_wire += used;
    if (e != HPE_OK && e != HPE_PAUSED)
        return bad(c, parser_fault(c, e));
    if (!guard(&c->last, p, used))
        return bad(c, FAULT(400, "the head has a bare CR or LF, a folded line or a control character"));
    /* white space that the parser skips is counted too */
    if (c->head_wire > cfg->header_bytes_max)
        return bad(c, c->x && c->x->target_n > c->head_wire / 2 ? FAULT(414, "the request target is too long")
                                                   : FAULT(431, "the header fields are too long"));
    return e == HPE_PAUSED ? PARSED_HEAD : PARSED_MORE;
}

static enum parsed body_fed(struct conn *c, size_t used, llhttp_errno_t e)
{
    struct exchange *x = c->x;
    x->body_wire += used;
    if (e != HPE_OK && e != HPE_PAUSED)
        return bad(c, parser_fault(c, e));
    /* chunks of one byte are five times as long on the wire; more than that is no body any more */
    if (x->chunked && x->body_wire > x->body_total * 8 + c->loop->front->cfg.header_bytes_max)
        return bad(c, FAULT(400, "the chunks hold more framing than data"));
    return e == HPE_PAUSED ? PARSED_MESSAGE : PARSED_MORE;
}

enum parsed assay_head_feed(struct conn *c, const char *p, size_t n, size_t *used)
{
    llhttp_errno_t e = llhttp_execute(&c->parser, p, n);
    const char *pos = e == HPE_OK ? p + n : llhttp_get_error_pos(&c->parser);
    *used = pos >= p && pos <= p + n ? (size_t)(pos - p) : n;
    enum parsed got = c->phase == PHASE_BODY ? body_fed(c, *used, e) : head_fed(c, p, *used, e);
    if (e == HPE_PAUSED)
        llhttp_resume(&c->parser);
    return got;
}

/* ---- the rules ---------------------------------------------------------------------------------- */

static struct assay_str field_value(const struct exchange *x, const struct field *f)
{
    return (struct assay_str){x->head + f->value, f->value_n};
}

struct assay_str assay_head_get(const struct exchange *x, const char *name)
{
    size_t n = strlen(name);
    for (uint32_t i = 0; i < x->n_fields; i++)
        if (x->field[i].name_n == n && memcmp(x->head + x->field[i].name, name, n) == 0)
            return field_value(x, &x->field[i]);
    return ASSAY_STR("");
}

static struct assay_str header(const struct assay_request *rq, const char *name)
{
    const struct exchange *x = exchange_check(rq->impl);
    return strcmp(name, ":scheme") == 0 ? x->scheme : assay_head_get(x, name);
}

/* Fields that mean something to us and of which a second one could mean something else to another. */
enum singleton {
    S_HOST,
    S_CONTENT_LENGTH,
    S_TRANSFER_ENCODING,
    S_CONTENT_TYPE,
    S_CONTENT_ENCODING,
    S_AUTHORIZATION,
    S_EXPECT,
    S_IDEMPOTENCY_KEY,
    S_REQUEST_ID,
    S_TRACEPARENT,
    S_ORIGIN,
    S_COUNT,
};
static const struct assay_str singleton_name[S_COUNT] = {
    [S_HOST] = {"host", 4},
    [S_CONTENT_LENGTH] = {"content-length", 14},
    [S_TRANSFER_ENCODING] = {"transfer-encoding", 17},
    [S_CONTENT_TYPE] = {"content-type", 12},
    [S_CONTENT_ENCODING] = {"content-encoding", 16},
    [S_AUTHORIZATION] = {"authorization", 13},
    [S_EXPECT] = {"expect", 6},
    [S_IDEMPOTENCY_KEY] = {"idempotency-key", 15},
    [S_REQUEST_ID] = {"x-request-id", 12},
    [S_TRACEPARENT] = {"traceparent", 11},
    [S_ORIGIN] = {"origin", 6},
};

static bool early(struct exchange *x, struct early e)
{
    x->early = e;
    return false;
}

static bool collect(struct exchange *x, struct assay_str got[S_COUNT])
{
    for (uint32_t i = 0; i < x->n_fields; i++) {
        struct assay_str name = {x->head + x->field[i].name, x->field[i].name_n};
        for (size_t s = 0; s < S_COUNT; s++) {
            if (name.n != singleton_name[s].n || memcmp(name.p, singleton_name[s].p, name.n) != 0)
                continue;
            if (got[s].p)
                return early(x, (struct early){400, assay_arena_fmt(x->arena, "the header %s is given twice", singleton_name[s].p)});
            got[s] = field_value(x, &x->field[i]);
            break;
        }
    }
    return true;
}

static bool in_set(struct assay_str s, const char *also)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        bool alnum = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!alnum && (c == 0 || !strchr(also, c)))
            return false;
    }
    return true;
}

static bool framing(struct exchange *x, const struct assay_str got[S_COUNT])
{
    struct assay_str te = got[S_TRANSFER_ENCODING], length = got[S_CONTENT_LENGTH];
    if (te.p) {
        if (x->http10)
            return early(x, FAULT(400, "HTTP/1.0 knows no Transfer-Encoding"));
        if (length.p)
            return early(x, FAULT(400, "Content-Length and Transfer-Encoding exclude each other"));
        if (!assay_str_ieq(te, "chunked"))
            return early(x, FAULT(400, "Transfer-Encoding must be \"chunked\" and nothing else"));
        x->chunked = true;
    }
    if (length.p) {
        int64_t n;
        for (size_t i = 0; i < length.n; i++)
            if (length.p[i] < '0' || length.p[i] > '9')
                return early(x, FAULT(400, "Content-Length is not a number"));
        if (length.n == 0)
            return early(x, FAULT(400, "Content-Length is empty"));
        if (assay_parse_i64(length, 0, INT64_MAX, &n, NULL) != 0)
            return early(x, FAULT(413, "the body is longer than any server takes"));
        x->content_length = (uint64_t)n;
    }
    struct assay_str coding = got[S_CONTENT_ENCODING];
    if (coding.n && !assay_str_ieq(coding, "identity"))
        return early(x, FAULT(415, "bodies are taken as they are, without a Content-Encoding"));
    struct assay_str expect = got[S_EXPECT];
    if (expect.p && !x->http10) {
        if (!assay_str_ieq(expect, "100-continue"))
            return early(x, FAULT(417, "no expectation but 100-continue is known here"));
        x->wants_continue = true;
    }
    return true;
}

/* The authority must be nothing but one: what a cache or a proxy keys on. */
static bool host(struct exchange *x, struct assay_str h)
{
    if (!h.p)
        return x->http10 || early(x, FAULT(400, "the Host header is missing"));
    if (h.n == 0 || h.n > 255 + 6 || !in_set(h, "-._~%!$&'()*+,;=:[]"))
        return early(x, FAULT(400, "the Host header is malformed"));
    return true;
}

static bool target(struct exchange *x, bool options)
{
    struct assay_str t = {x->head, x->target_n};
    if (options && assay_str_is(t, "*")) {
        x->rq.path = t;
        return true;
    }
    if (t.n == 0 || t.p[0] != '/')
        return early(x, FAULT(400, "the request target must be a path"));
    for (size_t i = 0; i < t.n; i++)
        if ((unsigned char)t.p[i] <= 0x20 || (unsigned char)t.p[i] >= 0x7f || t.p[i] == '#' || t.p[i] == '\\')
            return early(x, FAULT(400, "the request target has a character that must be percent-encoded"));
    const char *mark = memchr(t.p, '?', t.n);
    struct assay_str raw = {t.p, mark ? (size_t)(mark - t.p) : t.n};
    if (mark)
        x->rq.query = (struct assay_str){mark + 1, t.n - raw.n - 1};
    x->rq.path = raw;
    if (!memchr(raw.p, '%', raw.n))
        return true;
    struct assay_err err;
    char *decoded = assay_arena_alloc(x->arena, raw.n);
    size_t n;
    if (!decoded)
        return early(x, FAULT(503, "no memory for this request now"));
    if (assay_path_decode(raw, decoded, &n, &err) != 0)
        return early(x, (struct early){400, assay_arena_str(x->arena, assay_str(err.msg))});
    x->rq.path = (struct assay_str){decoded, n};
    return true;
}

/* What the client said of its trace, and from here on the context of this request in it. */
static void traced(struct exchange *x, struct assay_str given)
{
    const struct assay_front_config *cfg = &x->loop->front->cfg;
    x->trace_parent = assay_trace_valid(given) ? given : ASSAY_STR("");
    x->rq.traceparent = x->trace_parent;
    if (cfg->trace != NULL && cfg->trace(cfg->ctx, x->trace_parent, x->trace))
        x->rq.traceparent = (struct assay_str){x->trace, ASSAY_TRACEPARENT - 1};
}

size_t assay_loop_request_id(struct loop *l, char out[ASSAY_REQUEST_ID])
{
    uint64_t number = ++l->next_request;
    static const char hex[] = "0123456789abcdef";
    size_t n;
    memcpy(out, l->front->id_prefix, 16);
    out[16] = hex[l->index >> 4 & 15];
    out[17] = hex[l->index & 15];
    for (n = 18; n < ASSAY_REQUEST_ID - 1; n++)
        out[n] = hex[number >> (4 * (29 - n)) & 15];
    out[n] = 0;
    return n;
}

void assay_head_request_id(struct exchange *x, struct assay_str given)
{
    size_t n = given.n;
    if (n > 0 && n < sizeof x->request_id && in_set(given, "-._")) {
        memcpy(x->request_id, given.p, n);
        x->request_id[n] = 0;
    } else {
        n = assay_loop_request_id(x->loop, x->request_id);
    }
    x->rq.request_id = (struct assay_str){x->request_id, n};
}

static enum assay_method method_of(uint8_t m, const char **name)
{
    switch (m) {
    case HTTP_GET:
        *name = "GET";
        return ASSAY_GET;
    case HTTP_HEAD:
        *name = "HEAD";
        return ASSAY_GET;
    case HTTP_POST:
        *name = "POST";
        return ASSAY_POST;
    case HTTP_PUT:
        *name = "PUT";
        return ASSAY_PUT;
    case HTTP_PATCH:
        *name = "PATCH";
        return ASSAY_PATCH;
    case HTTP_DELETE:
        *name = "DELETE";
        return ASSAY_DELETE;
    case HTTP_OPTIONS:
        *name = "OPTIONS";
        return 0;
    default:
        *name = NULL;
        return 0;
    }
}

/* The peer is a proxy of ours: the address that it vouches for. The lines of one field are one list, the last line
 * its end (RFC 9110, 5.3). */
static void client_behind(struct exchange *x)
{
    const struct assay_front_config *cfg = &x->loop->front->cfg;
    const char *name = cfg->proxy_forwarded ? "forwarded" : "x-forwarded-for";
    char address[ASSAY_ADDRESS_SIZE];
    (void)snprintf(address, sizeof address, "%s", x->conn->remote);
    for (uint32_t i = x->n_fields; i-- > 0;) {
        struct assay_str at = {x->head + x->field[i].name, x->field[i].name_n};
        if (assay_str_is(at, name) && !assay_proxies_walk(cfg->proxies, cfg->proxy_forwarded, field_value(x, &x->field[i]), address))
            break;
    }
    struct assay_str said = assay_arena_str(x->arena, assay_str(address));
    if (said.p)
        x->rq.remote = said;
}

/* ... and how the client reached it: the last line is what the proxy itself wrote. */
static struct assay_str scheme_behind(struct exchange *x)
{
    bool forwarded = x->loop->front->cfg.proxy_forwarded;
    for (uint32_t i = x->n_fields; i-- > 0;) {
        struct assay_str at = {x->head + x->field[i].name, x->field[i].name_n};
        if (assay_str_is(at, forwarded ? "forwarded" : "x-forwarded-proto"))
            return assay_proxies_https(forwarded, field_value(x, &x->field[i])) ? ASSAY_STR("https") : ASSAY_STR("http");
    }
    return x->scheme;
}

bool assay_head_finish(struct exchange *x)
{
    const llhttp_t *p = &x->conn->parser;
    struct assay_str got[S_COUNT] = {ASSAY_STR_NULL};
    x->rq.header = header;
    x->rq.impl = x;
    x->http10 = p->http_major == 1 && p->http_minor == 0;
    x->keep_alive = llhttp_should_keep_alive(p) != 0;
    x->head_only = x->rq.head = p->method == HTTP_HEAD;
    bool known = collect(x, got);
    assay_head_request_id(x, got[S_REQUEST_ID]);
    traced(x, got[S_TRACEPARENT]);
    const char *name;
    x->rq_method = method_of(p->method, &name);
    if (name)
        x->method = name;
    x->rq.path = (struct assay_str){x->head, x->target_n};
    if (!known)
        return false;
    if (p->http_major != 1 || p->http_minor > 1)
        return early(x, FAULT(505, "this server speaks HTTP 1.1 and 1.0"));
    if (!host(x, got[S_HOST]) || !framing(x, got) || !target(x, p->method == HTTP_OPTIONS))
        return false;
    if (!name)
        return early(x, FAULT(501, "this method is not known here"));
    x->rq.content_type = got[S_CONTENT_TYPE];
    x->rq.idempotency_key = got[S_IDEMPOTENCY_KEY].p ? got[S_IDEMPOTENCY_KEY] : ASSAY_STR("");
    x->authorization = got[S_AUTHORIZATION];
    x->origin = got[S_ORIGIN];
    x->scheme = x->conn->tls ? ASSAY_STR("https") : ASSAY_STR("http");
    if (x->conn->trusted) {
        client_behind(x);
        x->scheme = scheme_behind(x);
    }
    return true;
}

/* ---- the probe ---------------------------------------------------------------------------------- */

struct probe {
    const char *name, *text;
};

/* Forms that a loose build takes and a strict one refuses. */
static const struct probe probes[] = {
    {"a bare CR as the end of a line", "GET / HTTP/1.1\rHost: a\r\n\r\n"},
    {"a header name with a space in it", "GET / HTTP/1.1\r\nHo st: a\r\n\r\n"},
    {"a space before the colon", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 1\r\n\r\n"},
    {"a chunk without its CRLF", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab0\r\n\r\n"},
    {"a byte over 0x7f in the target", "GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n"},
    {"Content-Length beside Transfer-Encoding",
     "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
    {"two values of Content-Length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"},
};

int assay_front_parser_probe(struct assay_err *err)
{
    static const llhttp_settings_t nothing;
    for (size_t i = 0; i < sizeof probes / sizeof probes[0]; i++) {
        llhttp_t p;
        llhttp_init(&p, HTTP_REQUEST, &nothing);
        if (llhttp_execute(&p, probes[i].text, strlen(probes[i].text)) == HPE_OK)
            return assay_err_set(err, ASSAY_E_UNSUPPORTED, "the HTTP parser was built loose: it takes %s", probes[i].name);
    }
    llhttp_t p;
    static const char sound[] = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    llhttp_init(&p, HTTP_REQUEST, &nothing);
    if (llhttp_execute(&p, sound, sizeof sound - 1) != HPE_OK)
        return assay_err_set(err, ASSAY_E_UNSUPPORTED, "the HTTP parser does not take a plain request");
    return 0;
}
