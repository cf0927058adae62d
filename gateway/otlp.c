/*
 * The exporter.  Theory of operation.
 *
 *   span() ──▶ queue (bounded; full: dropped, counted) ──▶ the thread: batch ──▶ POST ──▶ over, or tried again later
 *
 * One batch of spans is under way at a time.  It is sent when it is full or when its oldest span has waited for the delay.
 * What the collector may take later (no connection, 429, 502, 503, 504) is tried again with growing pauses, or when its
 * Retry-After says, TRIES times in all; then it is given up and counted.  Anything else is over at once.  Meanwhile the
 * queue fills and drops the newest, so that memory is bounded by queue_max + batch_max spans.
 *
 * Metrics are sums since the start, so a report that fails is not sent again: the next says it all.
 *
 * The end: what is queued is sent, without second tries, until ASSAY_OTLP_END_MS have passed; then a request under way is
 * broken off.  The lock guards the queue and stop, and is never held over a request.
 */
#include "gateway/otlp.h"

#include <assert.h>
#include <curl/curl.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#define ZLIB_CONST
#include <zlib.h>

#include <assay/value.h>

#define MAGIC 0x6f746c70u /* "otlp" */
#define PAIRS 64
#define TRIES 5
#define PAUSE_MS 1000
#define PAUSE_MAX_MS 30000
#define ANSWER_MAX 2048
#define MS_NS INT64_C(1000000)

static const double seconds[] = {0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 0};
enum { M_SPANS, M_EXPORTS, M_SECONDS, M_QUEUED };
static const struct assay_metric metric[] = {
    [M_SPANS] = {"assay_otlp_spans_total", ASSAY_METRIC_COUNTER,
                 "Spans by what became of them: exported, dropped (the queue was full), failed (the collector did not take them).", "outcome", NULL},
    [M_EXPORTS] = {"assay_otlp_exports_total", ASSAY_METRIC_COUNTER,
                   "Requests to the collector by signal (traces, metrics) and outcome: ok, unreachable (or not now), refused.", "signal,outcome",
                   NULL},
    [M_SECONDS] = {"assay_otlp_export_seconds", ASSAY_METRIC_HISTOGRAM, "Time of a request to the collector.", "signal", seconds},
    [M_QUEUED] = {"assay_otlp_queued_spans", ASSAY_METRIC_GAUGE, "Spans that wait to be sent.", "", NULL},
};

enum sampler { SAMPLE_ALL, SAMPLE_NONE, SAMPLE_RATIO };

struct way { /* where and how a signal is sent */
    const char *signal;
    char *url, *ca_file; /* url "": it is off */
    struct curl_slist *headers;
    bool json, gzip;
    int64_t timeout_ms;
};

struct assay_otlp {
    unsigned magic;
    struct assay_metrics *metrics;
    struct assay_logger *log;
    struct way traces, reports;
    char *version;
    void (*more)(void *arg, struct assay_buf *out);
    void *more_arg;
    struct assay_otlp_pair resource[PAIRS];
    size_t n_resource;
    enum sampler sampler;
    bool parent_based;
    uint64_t below; /* SAMPLE_RATIO: sampled when the last 56 bits of the trace's id are */
    int64_t delay_ms, interval_ms, start_ns;
    size_t queue_max, batch_max;

    pthread_t thread;
    bool started;
    pthread_mutex_t lock; /* guards the queue and stop */
    pthread_cond_t wake;
    struct assay_otlp_item *first, *last;
    size_t n;
    int64_t oldest_ns; /* when the first came */
    bool stop;
    _Atomic int64_t end_ns; /* 0, or when a request under way is broken off: asked by libcurl */

    /* the thread's own */
    CURL *curl;
    struct assay_otlp_item *batch;
    size_t n_batch;
    int tries;
    int64_t retry_ns;
    int64_t report_ns; /* the next report of the metrics */
    bool away;         /* the last request failed: said once */
};

static void count(struct assay_otlp *o, const char *outcome, size_t n)
{
    if (n > 0)
        assay_metrics_add(o->metrics, &metric[M_SPANS], &outcome, (double)n);
}

static void items_free(struct assay_otlp_item *i)
{
    while (i != NULL) {
        struct assay_otlp_item *next = i->next;
        free(i);
        i = next;
    }
}

/* ---- spans in -------------------------------------------------------------------------------------- */

static bool sample(const struct assay_otlp *o, const char *context)
{
    if (o->sampler != SAMPLE_RATIO)
        return o->sampler == SAMPLE_ALL;
    char last[15]; /* 14 digits: the bits that are random in anybody's id */
    memcpy(last, context + 3 + 18, 14);
    last[14] = '\0';
    return strtoull(last, NULL, 16) < o->below;
}

bool assay_otlp_child(struct assay_otlp *o, struct assay_str parent, char out[ASSAY_TRACEPARENT])
{
    if (o == NULL || o->traces.url[0] == '\0')
        return false;
    assert(o->magic == MAGIC);
    assay_trace_child(parent, false, out);
    bool sampled = o->parent_based && assay_trace_valid(parent) ? assay_trace_sampled(parent) : sample(o, out);
    out[54] = sampled ? '1' : '0';
    return true;
}

void assay_otlp_span(struct assay_otlp *o, const struct assay_span *s)
{
    if (o == NULL || o->traces.url[0] == '\0' || !assay_trace_sampled(s->context))
        return;
    assert(o->magic == MAGIC);
    struct assay_otlp_item *item = assay_otlp_item(s);
    int r = pthread_mutex_lock(&o->lock);
    assert(r == 0);
    bool room = item != NULL && o->n < o->queue_max && !o->stop;
    if (room) {
        if (o->last != NULL)
            o->last->next = item;
        else
            o->first = item;
        o->last = item;
        if (o->n++ == 0)
            o->oldest_ns = assay_mono_ns();
        if (o->n == 1 || o->n == o->batch_max)
            (void)pthread_cond_signal(&o->wake);
    }
    (void)pthread_mutex_unlock(&o->lock);
    if (!room) {
        free(item);
        count(o, "dropped", 1);
    }
}

/* ---- one request ----------------------------------------------------------------------------------- */

struct answer {
    size_t n;
    char text[ANSWER_MAX + 1];
};

static size_t take(char *p, size_t size, size_t n, void *arg)
{
    struct answer *a = arg;
    size_t room = ANSWER_MAX - a->n, all = size * n, keep = all < room ? all : room;
    memcpy(a->text + a->n, p, keep);
    a->n += keep;
    a->text[a->n] = '\0';
    return all;
}

static int progress(void *arg, curl_off_t dl, curl_off_t dn, curl_off_t ul, curl_off_t un)
{
    struct assay_otlp *o = arg;
    (void)dl, (void)dn, (void)ul, (void)un;
    int64_t end = atomic_load(&o->end_ns);
    return end != 0 && assay_mono_ns() >= end;
}

static CURLcode perform(struct assay_otlp *o, const struct way *way, struct assay_str body, struct answer *answer, char *why)
{
    int64_t timeout = way->timeout_ms, end = atomic_load(&o->end_ns);
    if (end != 0 && (end - assay_mono_ns()) / MS_NS < timeout)
        timeout = (end - assay_mono_ns()) / MS_NS;
    if (timeout <= 0)
        return CURLE_OPERATION_TIMEDOUT;
    CURL *c = o->curl;
    curl_easy_reset(c); /* keeps connections */
    (void)curl_easy_setopt(c, CURLOPT_URL, way->url);
#if LIBCURL_VERSION_NUM >= 0x075500
    (void)curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
#else
    (void)curl_easy_setopt(c, CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
    (void)curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(c, CURLOPT_HTTPHEADER, way->headers);
    (void)curl_easy_setopt(c, CURLOPT_POSTFIELDS, body.p);
    (void)curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body.n);
    (void)curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, (long)timeout);
    (void)curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, take);
    (void)curl_easy_setopt(c, CURLOPT_WRITEDATA, answer);
    (void)curl_easy_setopt(c, CURLOPT_ERRORBUFFER, why);
    (void)curl_easy_setopt(c, CURLOPT_NOPROGRESS, 0L);
    (void)curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, progress);
    (void)curl_easy_setopt(c, CURLOPT_XFERINFODATA, o);
    if (way->ca_file[0] != '\0')
        (void)curl_easy_setopt(c, CURLOPT_CAINFO, way->ca_file);
    CURLcode rc = curl_easy_perform(c);
    (void)curl_easy_setopt(c, CURLOPT_ERRORBUFFER, NULL);
    return rc;
}

enum sent { SENT, SENT_LATER, SENT_NEVER };

/* RFC 1952. */
static int compress_body(struct assay_buf *body, struct assay_err *err)
{
    ASSAY_CLEANUP_BUF struct assay_buf small = ASSAY_BUF_INIT;
    z_stream z = {.next_in = (const Bytef *)body->p, .avail_in = (uInt)body->n}; /* a builder holds less than 4 GiB */
    if (deflateInit2(&z, Z_BEST_SPEED, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory to compress an export");
    uLong most = deflateBound(&z, body->n);
    char *to = assay_buf_reserve(&small, most);
    z.next_out = (Bytef *)to;
    z.avail_out = to != NULL ? (uInt)most : 0;
    int r = to != NULL ? deflate(&z, Z_FINISH) : Z_MEM_ERROR;
    (void)deflateEnd(&z);
    if (r != Z_STREAM_END)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory to compress an export");
    assay_buf_reset(body);
    assay_buf_add(body, to, z.total_out);
    return body->failed ? assay_err_set(err, ASSAY_E_NOMEM, "no memory to compress an export") : 0;
}

/* Export…ServiceResponse: partial_success = 1 {rejected = 1, error_message = 2}. Whether some of it was refused, or there is
 * advice; text is then the message, or "". */
static bool partial(const struct way *way, const struct answer *a, struct assay_str *text)
{
    *text = (struct assay_str){a->text, a->n};
    if (way->json)
        return strstr(a->text, "\"rejected") != NULL || strstr(a->text, "\"errorMessage") != NULL;
    const unsigned char *p = (const unsigned char *)a->text, *end = p + a->n;
    *text = ASSAY_STR("");
    if (a->n < 3 || p[0] != 0x0a)
        return false;
    for (p++; p < end && (*p & 0x80) != 0; p++) /* the message's length, */
        ;
    p++;
    if (p < end && *p == 0x08) { /* how many, */
        for (p++; p < end && (*p & 0x80) != 0; p++)
            ;
        p++;
    }
    if (p < end && *p == 0x12) { /* and why: short, or cut off here */
        size_t length = 0;
        unsigned shift = 0;
        for (p++; p < end && (*p & 0x80) != 0 && shift < 14; p++, shift += 7)
            length |= (size_t)(*p & 0x7f) << shift;
        if (p < end) {
            length |= (size_t)(*p++ & 0x7f) << shift;
            *text = (struct assay_str){(const char *)p, length < (size_t)(end - p) ? length : (size_t)(end - p)};
        }
    }
    return true;
}

/* Compresses the body first, where that is asked for. */
static enum sent post(struct assay_otlp *o, const struct way *way, struct assay_buf *body, int64_t *pause_ms)
{
    const char *signal = way->signal, *url = way->url;
    struct assay_str advice;
    struct assay_err err = {0, ""};
    struct answer answer = {0, ""};
    char why[CURL_ERROR_SIZE] = "";
    long status = 0;
    curl_off_t after = 0;
    int64_t begun = assay_mono_ns();
    *pause_ms = 0;
    if (way->gzip && compress_body(body, &err) != 0)
        return SENT_NEVER;
    CURLcode rc = perform(o, way, assay_buf_view(body), &answer, why);
    if (rc == CURLE_OK) {
        (void)curl_easy_getinfo(o->curl, CURLINFO_RESPONSE_CODE, &status);
        (void)curl_easy_getinfo(o->curl, CURLINFO_RETRY_AFTER, &after);
        (void)snprintf(why, sizeof why, "HTTP %ld %.180s", status, answer.text);
    } else if (why[0] == '\0') {
        (void)snprintf(why, sizeof why, "%s", curl_easy_strerror(rc));
    }
    *pause_ms = after > 0 && after <= PAUSE_MAX_MS / 1000 ? (int64_t)after * 1000 : 0;
    bool ok = status >= 200 && status < 300;
    bool later = rc != CURLE_OK || status == 429 || status == 502 || status == 503 || status == 504;
    assay_metrics_observe(o->metrics, &metric[M_SECONDS], &signal, (double)(assay_mono_ns() - begun) / 1e9);
    const char *labels[] = {signal, ok ? "ok" : later ? "unreachable" : "refused"};
    assay_metrics_add(o->metrics, &metric[M_EXPORTS], labels, 1);
    if (o->log != NULL) {
        if (!ok && !o->away)
            ASSAY_LOG(o->log, ASSAY_LOG_WARN, "otlp", "otlp_away", ASSAY_KZ("signal", signal), ASSAY_KZ("url", url), ASSAY_KZ("error", why));
        if (ok && o->away)
            ASSAY_LOG(o->log, ASSAY_LOG_INFO, "otlp", "otlp_back", ASSAY_KZ("url", url));
        /* "partialSuccess": some of it was refused, or there is advice; not to be sent again either way */
        if (ok && partial(way, &answer, &advice))
            ASSAY_LOG(o->log, ASSAY_LOG_WARN, "otlp", "otlp_partial", ASSAY_KZ("signal", signal), ASSAY_KS("answer", advice));
    }
    o->away = !ok;
    return ok ? SENT : later ? SENT_LATER : SENT_NEVER;
}

/* ---- the thread ------------------------------------------------------------------------------------ */

static void send_batch(struct assay_otlp *o, bool last)
{
    ASSAY_CLEANUP_BUF struct assay_buf body = ASSAY_BUF_INIT;
    struct assay_err err;
    int64_t pause = 0;
    enum sent sent = SENT_NEVER;
    const struct assay_otlp_from from = {o->resource, o->n_resource, o->version};
    if ((o->traces.json ? assay_otlp_json_traces : assay_otlp_proto_traces)(&from, o->batch, &body, &err) == 0)
        sent = post(o, &o->traces, &body, &pause);
    if (sent == SENT_LATER && !last && ++o->tries < TRIES) {
        int64_t growing = (int64_t)PAUSE_MS << (o->tries - 1);
        o->retry_ns = assay_mono_ns() + MS_NS * (pause > 0 ? pause : growing < PAUSE_MAX_MS ? growing : PAUSE_MAX_MS);
        return;
    }
    count(o, sent == SENT ? "exported" : "failed", o->n_batch);
    items_free(o->batch);
    o->batch = NULL;
    o->n_batch = 0;
    o->tries = 0;
    o->retry_ns = 0;
}

static void send_metrics(struct assay_otlp *o)
{
    ASSAY_CLEANUP_BUF struct assay_buf body = ASSAY_BUF_INIT;
    ASSAY_CLEANUP_BUF struct assay_buf more = ASSAY_BUF_INIT;
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
    struct assay_err err = {0, "no memory"};
    int64_t pause;
    if (o->more != NULL)
        o->more(o->more_arg, &more);
    const struct assay_otlp_from from = {o->resource, o->n_resource, o->version};
    const struct assay_otlp_report report = {.m = o->metrics, .more = assay_buf_view(&more), .arena = arena, .start_ns = o->start_ns,
                                             .now_ns = assay_now_ms() * MS_NS};
    if (arena != NULL && (o->reports.json ? assay_otlp_json_metrics : assay_otlp_proto_metrics)(&from, &report, &body, &err) == 0)
        (void)post(o, &o->reports, &body, &pause);
    else if (o->log != NULL)
        ASSAY_LOG(o->log, ASSAY_LOG_WARN, "otlp", "otlp_report_failed", ASSAY_KZ("error", err.msg));
}

/* With the lock held. */
static void fill_batch(struct assay_otlp *o)
{
    struct assay_otlp_item **end = &o->batch;
    while (o->first != NULL && o->n_batch < o->batch_max) {
        *end = o->first;
        o->first = o->first->next;
        end = &(*end)->next;
        o->n_batch++;
        o->n--;
    }
    *end = NULL;
    if (o->first == NULL)
        o->last = NULL;
    o->oldest_ns = assay_mono_ns(); /* of those that are left, about */
}

static void wait_until(struct assay_otlp *o, int64_t ns)
{
    struct timespec ts = {.tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000)};
    (void)pthread_cond_timedwait(&o->wake, &o->lock, &ts);
}

static int64_t sooner(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static void *run(void *arg)
{
    struct assay_otlp *o = arg;
    bool reports = o->reports.url[0] != '\0';
    (void)pthread_mutex_lock(&o->lock);
    for (;;) {
        int64_t now = assay_mono_ns(), next = now + 3600 * 1000 * MS_NS;
        bool stop = o->stop;
        if (o->batch == NULL && o->n > 0 && (stop || o->n >= o->batch_max || now >= o->oldest_ns + o->delay_ms * MS_NS))
            fill_batch(o);
        bool batch = o->batch != NULL && (stop || now >= o->retry_ns);
        bool report = reports && (stop || now >= o->report_ns);
        if (batch || report) {
            (void)pthread_mutex_unlock(&o->lock);
            if (batch)
                send_batch(o, stop);
            if (report) {
                o->report_ns = now + o->interval_ms * MS_NS;
                reports = !stop; /* else it was the last */
                send_metrics(o);
            }
            (void)pthread_mutex_lock(&o->lock);
            continue;
        }
        if (stop)
            break;
        if (o->batch != NULL)
            next = sooner(next, o->retry_ns);
        else if (o->n > 0)
            next = sooner(next, o->oldest_ns + o->delay_ms * MS_NS);
        if (reports)
            next = sooner(next, o->report_ns);
        wait_until(o, next);
    }
    (void)pthread_mutex_unlock(&o->lock);
    return NULL;
}

/* ---- life ------------------------------------------------------------------------------------------ */

static void on_scrape(void *arg)
{
    struct assay_otlp *o = arg;
    (void)pthread_mutex_lock(&o->lock);
    double n = (double)o->n;
    (void)pthread_mutex_unlock(&o->lock);
    assay_metrics_set(o->metrics, &metric[M_QUEUED], NULL, n);
}

static int url_check(const char *url, const char *signal, struct assay_err *err)
{
    CURLU *u = curl_url();
    char *host = NULL, *scheme = NULL;
    bool ok = u != NULL && curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK && curl_url_get(u, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
              curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK && (strcmp(scheme, "http") == 0 || strcmp(scheme, "https") == 0);
    curl_free(host);
    curl_free(scheme);
    curl_url_cleanup(u);
    return ok ? 0 : assay_err_set(err, ASSAY_E_CONFIG, "otel_exporter_otlp_endpoint (%s): not the http:// or https:// URL of a collector", signal);
}

static int sampler_set(struct assay_otlp *o, const char *name, const char *arg, struct assay_err *err)
{
    static const struct {
        const char *name;
        enum sampler sampler;
        bool parent_based;
    } known[] = {{"parentbased_always_on", SAMPLE_ALL, true},      {"parentbased_always_off", SAMPLE_NONE, true},
                 {"parentbased_traceidratio", SAMPLE_RATIO, true}, {"always_on", SAMPLE_ALL, false},
                 {"always_off", SAMPLE_NONE, false},               {"traceidratio", SAMPLE_RATIO, false}};
    double ratio = 1;
    char *rest = NULL;
    size_t i = 0;
    while (i < sizeof known / sizeof known[0] && strcmp(known[i].name, name) != 0)
        i++;
    if (i == sizeof known / sizeof known[0])
        return assay_err_set(err, ASSAY_E_CONFIG,
                             "otel_traces_sampler: \"%s\" is none of parentbased_always_on, parentbased_always_off, "
                             "parentbased_traceidratio, always_on, always_off and traceidratio",
                             name);
    if (known[i].sampler == SAMPLE_RATIO && arg[0] != '\0') {
        ratio = strtod(arg, &rest);
        if (*rest != '\0' || !(ratio >= 0 && ratio <= 1))
            return assay_err_set(err, ASSAY_E_CONFIG, "otel_traces_sampler_arg: \"%s\" is no number from 0 to 1", arg);
    }
    o->sampler = known[i].sampler;
    o->parent_based = known[i].parent_based;
    o->below = (uint64_t)(ratio * (double)((uint64_t)1 << 56));
    return 0;
}

static const char *or_text(const char *s, const char *otherwise)
{
    return s != NULL && s[0] != '\0' ? s : otherwise;
}

/* replaces: the value of one that is there is replaced. */
static int resource_add(struct assay_otlp *o, const char *key, const char *value, bool replaces, struct assay_err *err)
{
    size_t at = 0;
    while (at < o->n_resource && strcmp(o->resource[at].key, key) != 0)
        at++;
    if (at < o->n_resource && !replaces)
        return 0;
    if (at == PAIRS)
        return assay_err_set(err, ASSAY_E_CONFIG, "otel_resource_attributes: more than %d", PAIRS - 4);
    struct assay_otlp_pair made = {strdup(key), strdup(value)};
    if (made.key == NULL || made.value == NULL) {
        free(made.key);
        free(made.value);
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    }
    if (at == o->n_resource) {
        o->n_resource++;
    } else {
        free(o->resource[at].key);
        free(o->resource[at].value);
    }
    o->resource[at] = made;
    return 0;
}

static int resource_set(struct assay_otlp *o, const struct assay_otlp_config *cfg, struct assay_err *err)
{
    char host[256] = "";
    (void)gethostname(host, sizeof host - 1);
    const char *name = or_text(cfg->service_name, "");
    int rc = assay_otlp_pairs(or_text(cfg->attributes, ""), "otel_resource_attributes", o->resource, PAIRS, &o->n_resource, err);
    if (rc == 0)
        rc = resource_add(o, "service.name", or_text(name, "assay"), name[0] != '\0', err); /* its own option goes first */
    if (rc == 0)
        rc = resource_add(o, "service.version", or_text(cfg->version, ""), false, err);
    if (rc == 0)
        rc = resource_add(o, "service.instance.id", or_text(cfg->instance_id, ""), false, err);
    return rc == 0 ? resource_add(o, "host.name", host, false, err) : rc;
}

static int header_add(struct way *w, const char *line, struct assay_err *err)
{
    struct curl_slist *longer = curl_slist_append(w->headers, line);
    if (longer == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    w->headers = longer;
    return 0;
}

static int headers_set(struct way *w, const char *text, struct assay_err *err)
{
    struct assay_otlp_pair pair[PAIRS];
    size_t n = 0;
    int rc = header_add(w, w->json ? "Content-Type: application/json" : "Content-Type: application/x-protobuf", err);
    if (rc == 0)
        rc = header_add(w, "Expect:", err);
    if (rc == 0 && w->gzip)
        rc = header_add(w, "Content-Encoding: gzip", err);
    if (rc == 0)
        rc = assay_otlp_pairs(text, "otel_exporter_otlp_headers", pair, PAIRS, &n, err);
    for (size_t i = 0; i < n; i++) {
        ASSAY_CLEANUP_BUF struct assay_buf line = ASSAY_BUF_INIT;
        assay_buf_fmt(&line, "%s: %s", pair[i].key, pair[i].value);
        assay_buf_putc(&line, '\0');
        if (rc == 0)
            rc = line.failed ? assay_err_set(err, ASSAY_E_NOMEM, "no memory") : header_add(w, line.p, err);
        free(pair[i].key);
        free(pair[i].value);
    }
    return rc;
}

static int way_set(struct way *w, const char *signal, const struct assay_otlp_way *cfg, struct assay_err *err)
{
    const char *protocol = or_text(cfg->protocol, "http/protobuf"), *compression = or_text(cfg->compression, "none");
    w->signal = signal;
    w->timeout_ms = cfg->timeout_ms > 0 ? cfg->timeout_ms : 10000;
    w->json = strcmp(protocol, "http/json") == 0;
    w->gzip = strcmp(compression, "gzip") == 0;
    w->url = strdup(or_text(cfg->url, ""));
    w->ca_file = strdup(or_text(cfg->ca_file, ""));
    if (w->url == NULL || w->ca_file == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    if (w->url[0] == '\0')
        return 0; /* it is not sent: the rest does not matter */
    if (!w->json && strcmp(protocol, "http/protobuf") != 0)
        return assay_err_set(err, ASSAY_E_CONFIG, "otel_exporter_otlp_protocol (%s): \"%s\" is not spoken here, only http/protobuf and http/json are; what "
                             "takes grpc on port 4317 takes these on 4318", signal, protocol);
    if (!w->gzip && strcmp(compression, "none") != 0)
        return assay_err_set(err, ASSAY_E_CONFIG, "otel_exporter_otlp_compression (%s): \"%s\" is neither gzip nor none", signal, compression);
    int rc = url_check(w->url, signal, err);
    return rc != 0 ? rc : headers_set(w, or_text(cfg->headers, ""), err);
}

static void way_free(struct way *w)
{
    curl_slist_free_all(w->headers);
    free(w->url);
    free(w->ca_file);
}

static void members_free(struct assay_otlp *o)
{
    for (size_t i = 0; i < o->n_resource; i++) {
        free(o->resource[i].key);
        free(o->resource[i].value);
    }
    way_free(&o->traces);
    way_free(&o->reports);
    curl_easy_cleanup(o->curl);
    free(o->version);
    (void)pthread_cond_destroy(&o->wake);
    (void)pthread_mutex_destroy(&o->lock);
    o->magic = 0;
    free(o);
}

static int configure(struct assay_otlp *o, const struct assay_otlp_config *cfg, struct assay_err *err)
{
    o->delay_ms = cfg->delay_ms > 0 ? cfg->delay_ms : 5000;
    o->interval_ms = cfg->interval_ms > 0 ? cfg->interval_ms : 60000;
    o->queue_max = cfg->queue_max > 0 ? cfg->queue_max : 2048;
    o->batch_max = cfg->batch_max > 0 ? cfg->batch_max : 512;
    if (o->batch_max > o->queue_max)
        o->batch_max = o->queue_max;
    o->start_ns = assay_now_ms() * MS_NS;
    o->more = cfg->more;
    o->more_arg = cfg->more_arg;
    o->version = strdup(or_text(cfg->version, ""));
    o->curl = curl_easy_init();
    if (o->version == NULL || o->curl == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    int rc = way_set(&o->traces, "traces", &cfg->traces, err);
    if (rc == 0)
        rc = way_set(&o->reports, "metrics", &cfg->metrics, err);
    if (rc == 0)
        rc = sampler_set(o, or_text(cfg->sampler, "parentbased_always_on"), or_text(cfg->sampler_arg, ""), err);
    return rc == 0 ? resource_set(o, cfg, err) : rc;
}

int assay_otlp_new(const struct assay_otlp_config *cfg, struct assay_metrics *m, struct assay_logger *log, struct assay_otlp **ret,
                   struct assay_err *err)
{
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return assay_err_set(err, ASSAY_E_INTERNAL, "libcurl does not start");
    struct assay_otlp *o = calloc(1, sizeof *o);
    if (o == NULL)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory");
    pthread_condattr_t attr;
    int r = pthread_condattr_init(&attr);
    assert(r == 0);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    r = pthread_cond_init(&o->wake, &attr);
    assert(r == 0);
    (void)pthread_condattr_destroy(&attr);
    r = pthread_mutex_init(&o->lock, NULL);
    assert(r == 0);
    o->magic = MAGIC;
    o->metrics = m;
    o->log = log;
    int rc = configure(o, cfg, err);
    if (rc == 0)
        rc = assay_metrics_register(m, (struct assay_table)ASSAY_TABLE(metric), err);
    if (rc == 0)
        rc = assay_metrics_on_scrape(m, on_scrape, o, err);
    if (rc != 0) {
        members_free(o);
        return rc;
    }
    *ret = o;
    return 0;
}

int assay_otlp_start(struct assay_otlp *o, struct assay_err *err)
{
    o->report_ns = assay_mono_ns() + o->interval_ms * MS_NS;
    int r = pthread_create(&o->thread, NULL, run, o);
    if (r != 0)
        return assay_err_errno(err, ASSAY_E_INTERNAL, r, "cannot start the thread of the telemetry");
    o->started = true;
    return 0;
}

void assay_otlp_stop(struct assay_otlp *o)
{
    if (o == NULL || !o->started)
        return;
    assert(o->magic == MAGIC);
    atomic_store(&o->end_ns, assay_mono_ns() + ASSAY_OTLP_END_MS * MS_NS);
    int r = pthread_mutex_lock(&o->lock);
    assert(r == 0);
    o->stop = true;
    (void)pthread_cond_signal(&o->wake);
    (void)pthread_mutex_unlock(&o->lock);
    r = pthread_join(o->thread, NULL);
    assert(r == 0);
    o->started = false;
}

void assay_otlp_free(struct assay_otlp *o)
{
    if (o == NULL)
        return;
    assay_otlp_stop(o);
    items_free(o->first);
    items_free(o->batch);
    members_free(o);
}
