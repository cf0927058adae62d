/*
 * Calls of a service: signed, with a deadline over all tries, and tried again where that can help.
 *
 * What is tried again: no connection, a cut or late answer, 5xx, 429 and the codes by which a service throttles; once, a
 * refusal for the clock (the service's Date sets our skew) or for the keys (the chain asks for new ones).  The pause is drawn evenly
 * from zero to a bound that doubles, so that clients that failed together do not come back together.  All that is asked of
 * these services here is safe to do twice.
 */
#include "aws.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include <sys/random.h>

#include <assay/value.h>

#define PAUSE_FIRST_MS 50
#define PAUSE_MAX_MS 5000
#define TRIES 4
#define SKEW_MIN_MS 60000 /* less is within what services allow, and within the second that Date is cut to */

struct aws_client {
    const struct assay_host *host;
    struct aws_client_options o;
    char *service, *region, *scheme, *name; /* name: host and port */
    struct aws_http *http;
    struct aws_chain *chain;
    _Atomic int64_t skew_ms;
    pthread_mutex_t lock; /* guards the pause's end */
    pthread_cond_t wake;
    bool stopped;
};

int aws_base_url(const char *option, const char *url, struct assay_str *scheme, struct assay_str *host, struct assay_err *err)
{
    struct assay_str u = assay_str(url);
    size_t skip = assay_str_starts(u, "https://") ? 8 : assay_str_starts(u, "http://") ? 7 : 0;
    struct assay_str h = {u.p + skip, u.n - skip};
    if (h.n > 0 && h.p[h.n - 1] == '/')
        h.n--;
    bool good = skip > 0 && h.n > 0 && h.n < 256;
    for (size_t i = 0; i < h.n && good; i++)
        good = (unsigned char)h.p[i] > ' ' && (unsigned char)h.p[i] < 127 && strchr("/?#@\\\"", h.p[i]) == NULL;
    if (!good)
        return assay_err_set(err, ASSAY_E_CONFIG, "%s is \"%.100s\" and must be http://HOST[:PORT] or https://HOST[:PORT]", option, url);
    *scheme = (struct assay_str){u.p, skip - 3};
    *host = h;
    return 0;
}

static char *copy(struct assay_str s)
{
    return strndup(s.p, s.n);
}

void aws_client_free(struct aws_client *c)
{
    if (c == NULL)
        return;
    aws_http_free(c->http);
    aws_chain_free(c->chain);
    pthread_cond_destroy(&c->wake);
    pthread_mutex_destroy(&c->lock);
    free(c->service);
    free(c->region);
    free(c->scheme);
    free(c->name);
    free(c);
}

int aws_client_new(const struct assay_host *host, const struct aws_client_options *o, struct aws_client **out, struct assay_err *err)
{
    struct assay_str scheme, name;
    int rc = aws_base_url("the endpoint", o->base, &scheme, &name, err);
    if (rc != 0)
        return rc;
    struct aws_client *c = calloc(1, sizeof *c);
    if (c == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for a client of %s", o->service);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->wake, &attr);
    pthread_condattr_destroy(&attr);
    c->host = host;
    c->o = *o;
    c->service = strdup(o->service);
    c->region = strdup(o->region);
    c->scheme = copy(scheme);
    c->name = copy(name);
    c->http = aws_http_new(o->ca_file);
    c->chain = aws_chain_new(host);
    if (c->service == NULL || c->region == NULL || c->scheme == NULL || c->name == NULL || c->http == NULL || c->chain == NULL) {
        aws_client_free(c);
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for a client of %s", o->service);
    }
    *out = c;
    return 0;
}

void aws_client_stop(struct aws_client *c)
{
    aws_http_stop(c->http);
    pthread_mutex_lock(&c->lock);
    c->stopped = true;
    pthread_cond_broadcast(&c->wake);
    pthread_mutex_unlock(&c->lock);
}

struct aws_chain *aws_client_chain(struct aws_client *c)
{
    return c->chain;
}

const char *aws_client_host(const struct aws_client *c)
{
    return c->name;
}

int64_t aws_client_skew_ms(const struct aws_client *c)
{
    return atomic_load(&c->skew_ms);
}

void aws_answer_free(struct aws_answer *a)
{
    assay_buf_free(&a->http.body);
}

/* ---- one try ---- */

static int once(struct aws_client *c, const struct aws_call *call, const char *sha256, int64_t timeout_ms, struct aws_answer *a,
                struct assay_err *err)
{
    AWS_CLEANUP_KEYS struct aws_keys keys;
    ASSAY_CLEANUP_BUF struct assay_buf url = ASSAY_BUF_INIT, lines = ASSAY_BUF_INIT;
    keys.id[0] = keys.secret[0] = keys.token[0] = '\0';
    int rc = aws_chain_get(c->chain, &keys, err);
    if (rc != 0)
        return rc;
    struct assay_str host = call->host.n > 0 ? call->host : assay_str(c->name);
    const struct aws_to_sign r = {
        .method = call->method, .region = c->region, .service = c->service, .host = host, .path = call->path, .query = call->query,
        .n_query = call->n_query, .headers = call->headers, .n_headers = call->n_headers, .payload_sha256 = assay_str(sha256),
        .now_ms = c->host->now_ms(c->host->ctx) + atomic_load(&c->skew_ms)};
    assay_buf_fmt(&url, "%s://%.*s", c->scheme, ASSAY_FMT(host));
    rc = aws_sign(&r, &keys, &url, &lines, err);
    if (rc != 0)
        return rc;
    const struct aws_http_request rq = {.method = call->method, .url = url.p, .lines = assay_buf_view(&lines), .body = call->body,
                                        .timeout_ms = timeout_ms, .stall_ms = call->stall_ms, .reply_max = call->reply_max};
    int64_t began = assay_mono_ns();
    rc = aws_http_do(c->http, &rq, &a->http, err);
    if (c->o.told != NULL && rc != ASSAY_E_GONE)
        c->o.told(c->o.arg, call->operation, rc == 0 ? a->http.status : 0, (double)(assay_mono_ns() - began) / 1e9);
    /* the header lines hold a signature and perhaps a token */
    if (lines.p != NULL)
        explicit_bzero(lines.p, lines.n);
    return rc;
}

static bool is_one_of(const char *code, const char *const *list)
{
    for (; *list != NULL; list++)
        if (strcmp(code, *list) == 0)
            return true;
    return false;
}

static bool throttled(int status, const char *code)
{
    static const char *const codes[] = {"Throttling", "ThrottlingException", "ThrottledException", "RequestThrottled",
                                        "RequestThrottledException", "RequestLimitExceeded", "BandwidthLimitExceeded", "SlowDown",
                                        "TooManyRequestsException", "RequestTimeout", "RequestTimeoutException", NULL};
    return status == 429 || status == 408 || is_one_of(code, codes);
}

/* The service's clock against ours, if that is why it refuses. */
static bool mind_clock(struct aws_client *c, const struct aws_answer *a)
{
    static const char *const codes[] = {"RequestTimeTooSkewed", "RequestExpired", "InvalidSignatureException", "SignatureDoesNotMatch",
                                        "AuthFailure", "RequestInTheFuture", "AccessDenied", NULL};
    if (a->http.date_ms == 0 || (a->code[0] != '\0' && !is_one_of(a->code, codes)))
        return false;
    int64_t skew = a->http.date_ms - c->host->now_ms(c->host->ctx), old = atomic_load(&c->skew_ms), more = skew - old;
    if (more > -SKEW_MIN_MS && more < SKEW_MIN_MS)
        return false;
    atomic_store(&c->skew_ms, skew);
    assay_log(c->host, ASSAY_LOG_WARN, "aws_clock_skew", ASSAY_KZ("service", c->service), ASSAY_KI("skew_ms", skew));
    return true;
}

static bool mind_keys(struct aws_client *c, const struct aws_answer *a)
{
    static const char *const codes[] = {"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "InvalidToken",
                                        "InvalidClientTokenId", "UnrecognizedClientException", "InvalidAccessKeyId", NULL};
    if (!is_one_of(a->code, codes))
        return false;
    aws_chain_refused(c->chain);
    return true;
}

/* Waits; false when the client was stopped. */
static bool rest(struct aws_client *c, int64_t ms)
{
    int64_t until = assay_mono_ns() + ms * 1000000;
    const struct timespec t = {.tv_sec = (time_t)(until / 1000000000), .tv_nsec = (long)(until % 1000000000)};
    pthread_mutex_lock(&c->lock);
    while (!c->stopped && assay_mono_ns() < until)
        (void)pthread_cond_timedwait(&c->wake, &c->lock, &t);
    bool go = !c->stopped;
    pthread_mutex_unlock(&c->lock);
    return go;
}

static int64_t pause_ms(int tried)
{
    uint32_t r = 0;
    int64_t bound = tried < 8 ? (int64_t)PAUSE_FIRST_MS << tried : PAUSE_MAX_MS;
    (void)!getrandom(&r, sizeof r, 0);
    return (int64_t)(r % (uint64_t)((bound < PAUSE_MAX_MS ? bound : PAUSE_MAX_MS) + 1));
}

/* What the last word of the service means to the caller. */
static int verdict(const struct aws_client *c, const struct aws_call *call, const struct aws_answer *a, struct assay_err *err)
{
    int s = a->http.status, code = ASSAY_E_INVALID;
    if (s == 404)
        code = ASSAY_E_NOT_FOUND;
    else if (s == 409 || s == 412)
        code = ASSAY_E_CONFLICT;
    else if (s == 401 || s == 403)
        code = ASSAY_E_FORBIDDEN;
    else if (s == 413)
        code = ASSAY_E_TOO_LARGE;
    else if (s >= 500 || throttled(s, a->code))
        code = ASSAY_E_BUSY;
    if (s >= 300 && s < 400)
        return assay_err_set(err, ASSAY_E_CONFIG, "%s at %s sends %s elsewhere (%d): the region or the endpoint is another one%s%s",
                             c->service, c->name, call->operation, s, a->http.region[0] != '\0' ? ": the region is " : "", a->http.region);
    return assay_err_set(err, code, "%s at %s answers %d to %s%s%s%s%.200s%s%s%s", c->service, c->name, s, call->operation,
                         a->code[0] != '\0' ? ": " : "", a->code, a->message[0] != '\0' ? ": " : "", a->message,
                         a->http.request_id[0] != '\0' ? " (request " : "", a->http.request_id, a->http.request_id[0] != '\0' ? ")" : "");
}

int aws_call(struct aws_client *c, const struct aws_call *call, struct aws_answer *a, struct assay_err *err)
{
    char computed[ASSAY_SHA256_HEX];
    const char *sha256 = call->body_sha256;
    int64_t deadline = assay_mono_ns() + call->timeout_ms * 1000000;
    int tries = call->tries > 0 ? call->tries : TRIES;
    bool minded_clock = false, minded_keys = false;
    if (sha256 == NULL) {
        assay_sha256_hex(call->body, computed);
        sha256 = computed;
    }
    *a = (struct aws_answer){.code = ""};
    for (int tried = 0;; tried++) {
        struct assay_err why = {0, ""};
        int64_t left = (deadline - assay_mono_ns()) / 1000000;
        int64_t mine = call->try_ms > 0 && call->try_ms < left ? call->try_ms : left;
        aws_answer_free(a);
        *a = (struct aws_answer){.code = ""};
        int rc = once(c, call, sha256, mine > 1 ? mine : 1, a, &why);
        if (rc == ASSAY_E_GONE || rc == ASSAY_E_TOO_LARGE || rc == ASSAY_E_NOMEM || rc == ASSAY_E_CONFIG || rc == ASSAY_E_INVALID ||
            rc == ASSAY_E_INTERNAL) {
            return assay_err_set(err, rc, "%s of %s: %s", call->operation, c->service, why.msg);
        }
        bool again = true;
        if (rc == 0) {
            int s = a->http.status;
            if (s >= 200 && s < 300)
                return 0;
            if (c->o.explain != NULL)
                c->o.explain(assay_buf_view(&a->http.body), a->code, a->message);
            if (!minded_clock && (s == 403 || s == 400 || s == 401) && mind_clock(c, a)) {
                minded_clock = true;
                continue;
            }
            if (!minded_keys && (s == 403 || s == 400 || s == 401) && mind_keys(c, a)) {
                minded_keys = true;
                continue;
            }
            again = s >= 500 || throttled(s, a->code);
            rc = verdict(c, call, a, &why);
        } else if (rc != ASSAY_E_BUSY) { /* BUSY: the place of the keys does not answer, and says so itself */
            struct assay_err said = why;
            rc = assay_err_set(&why, ASSAY_E_BUSY, "%s at %s: %s: %s", c->service, c->name, call->operation, said.msg);
        }
        int64_t pause = pause_ms(tried);
        if (!again || tried + 1 >= tries || assay_mono_ns() + pause * 1000000 >= deadline)
            return assay_err_set(err, rc, "%s", why.msg);
        if (!rest(c, pause))
            return assay_err_set(err, ASSAY_E_GONE, "the server is stopping");
    }
}

int aws_client_presign(struct aws_client *c, const struct aws_call *call, const char *base, int64_t expires_s, struct assay_buf *out,
                       struct assay_err *err)
{
    AWS_CLEANUP_KEYS struct aws_keys keys;
    struct assay_str scheme = assay_str(c->scheme), host = call->host.n > 0 ? call->host : assay_str(c->name);
    keys.id[0] = keys.secret[0] = keys.token[0] = '\0';
    int rc = aws_chain_get(c->chain, &keys, err);
    if (rc == 0 && base[0] != '\0')
        rc = aws_base_url("the public URL", base, &scheme, &host, err);
    if (rc != 0)
        return rc;
    int64_t now = c->host->now_ms(c->host->ctx);
    if (keys.expires_ms != 0 && keys.expires_ms < now + expires_s * 1000 && keys.expires_ms > now)
        expires_s = (keys.expires_ms - now) / 1000 > 0 ? (keys.expires_ms - now) / 1000 : 1; /* it dies with its keys anyway */
    const struct aws_to_sign r = {
        .method = call->method, .region = c->region, .service = c->service, .host = host, .path = call->path, .query = call->query,
        .n_query = call->n_query, .headers = call->headers, .n_headers = call->n_headers, .payload_sha256 = AWS_UNSIGNED_PAYLOAD,
        .now_ms = now + atomic_load(&c->skew_ms)};
    assay_buf_fmt(out, "%.*s://%.*s", ASSAY_FMT(scheme), ASSAY_FMT(host));
    return aws_presign(&r, &keys, expires_s, out, err);
}

void aws_lacks(struct assay_buf *list, const char *what)
{
    assay_buf_fmt(list, "%s%s", list->n > 0 ? "; " : "", what);
}

void aws_lacks_keys(const struct assay_host *h, struct assay_buf *list)
{
    struct aws_chain *chain = aws_chain_new(h);
    AWS_CLEANUP_KEYS struct aws_keys keys = {.expires_ms = 0};
    struct assay_err why = {0, ""};
    if (chain != NULL && aws_chain_get(chain, &keys, &why) == ASSAY_E_CONFIG)
        aws_lacks(list, why.msg);
    aws_chain_free(chain);
}

const char *aws_outcome(int status)
{
    return status == 0 ? "unreachable" : status < 300 ? "ok" : status < 500 ? "refused" : "failed";
}
