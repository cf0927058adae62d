/*
 * HTTP over libcurl: blocking calls with bounds on time and size, which another thread can end at once.
 *
 * A slot is a curl multi handle with one easy handle in it.  A call takes an idle slot or makes one; the slot keeps its
 * connection for the next call.  The wait is curl_multi_poll, which curl_multi_wakeup ends from any thread: so
 * a long poll of 20 s does not hold up the end of the server.  Slots in use are on a list, for aws_http_stop.
 *
 * What comes is taken into a builder with the caller's bound; a body that says that it is longer is not read at all.
 */
#include "aws.h"

#include <curl/curl.h>
#include <pthread.h>
#include <stdlib.h>

#include <assay/value.h>

#define IDLE_MAX 16
#define CONNECT_MS 5000L
#define STALL_BYTES 1024L
#define POLL_MS 1000
#define ERROR_MAX ((size_t)64 << 10)

struct slot {
    CURLM *multi;
    CURL *easy;
    struct slot *next;
};

struct aws_http {
    char *ca_file;
    pthread_mutex_t lock; /* guards all below */
    struct slot *idle, *busy;
    size_t n_idle;
    bool stopped;
};

/* One exchange under way. */
struct exchange {
    struct aws_http_reply *rp;
    size_t max, got;
    bool too_large, error; /* error: the answer is no 2xx, and its body an explanation of bounded length */
};

struct aws_http *aws_http_new(const char *ca_file)
{
    /* once for each driver, on the host's main thread, before it has others */
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != 0)
        return NULL;
    struct aws_http *h = calloc(1, sizeof *h);
    if (h == NULL)
        return NULL;
    pthread_mutex_init(&h->lock, NULL);
    h->ca_file = strdup(ca_file);
    if (h->ca_file == NULL) {
        aws_http_free(h);
        return NULL;
    }
    return h;
}

static void slot_free(struct slot *s)
{
    if (s == NULL)
        return;
    if (s->easy != NULL)
        curl_easy_cleanup(s->easy);
    if (s->multi != NULL)
        (void)curl_multi_cleanup(s->multi);
    free(s);
}

void aws_http_free(struct aws_http *h)
{
    if (h == NULL)
        return;
    while (h->idle != NULL) {
        struct slot *s = h->idle;
        h->idle = s->next;
        slot_free(s);
    }
    pthread_mutex_destroy(&h->lock);
    free(h->ca_file);
    free(h);
}

void aws_http_stop(struct aws_http *h)
{
    pthread_mutex_lock(&h->lock);
    h->stopped = true;
    for (struct slot *s = h->busy; s != NULL; s = s->next)
        (void)curl_multi_wakeup(s->multi);
    pthread_mutex_unlock(&h->lock);
}

static bool stopped(struct aws_http *h)
{
    pthread_mutex_lock(&h->lock);
    bool is = h->stopped;
    pthread_mutex_unlock(&h->lock);
    return is;
}

static struct slot *slot_take(struct aws_http *h)
{
    pthread_mutex_lock(&h->lock);
    struct slot *s = h->idle;
    if (s != NULL) {
        h->idle = s->next;
        h->n_idle--;
    }
    pthread_mutex_unlock(&h->lock);
    if (s == NULL) {
        s = calloc(1, sizeof *s);
        if (s == NULL || (s->easy = curl_easy_init()) == NULL || (s->multi = curl_multi_init()) == NULL) {
            slot_free(s);
            return NULL;
        }
    }
    pthread_mutex_lock(&h->lock);
    s->next = h->busy;
    h->busy = s;
    pthread_mutex_unlock(&h->lock);
    return s;
}

static void slot_back(struct aws_http *h, struct slot *s)
{
    curl_easy_reset(s->easy);
    pthread_mutex_lock(&h->lock);
    for (struct slot **at = &h->busy; *at != NULL; at = &(*at)->next)
        if (*at == s) {
            *at = s->next;
            break;
        }
    bool keep = h->n_idle < IDLE_MAX;
    if (keep) {
        s->next = h->idle;
        h->idle = s;
        h->n_idle++;
    }
    pthread_mutex_unlock(&h->lock);
    if (!keep)
        slot_free(s);
}

/* ---- callbacks ---- */

static size_t on_body(char *p, size_t size, size_t n, void *arg)
{
    struct exchange *x = arg;
    (void)size;
    if (x->error) {
        size_t room = ERROR_MAX - x->got;
        x->got += n < room ? n : room;
        assay_buf_add(&x->rp->body, p, n < room ? n : room);
        return n;
    }
    if (n > x->max - x->got || (x->rp->length > 0 && (uint64_t)x->rp->length > x->max)) {
        x->too_large = true;
        return 0;
    }
    if (x->got == 0 && x->rp->length > 0) /* what says its length has its memory at once */
        (void)assay_buf_reserve(&x->rp->body, (size_t)x->rp->length);
    x->got += n;
    assay_buf_add(&x->rp->body, p, n);
    return x->rp->body.failed ? 0 : n;
}

static bool header_is(struct assay_str line, const char *name, struct assay_str *value)
{
    size_t n = strlen(name);
    if (line.n <= n || line.p[n] != ':' || !assay_str_ieq((struct assay_str){line.p, n}, name))
        return false;
    struct assay_str v = {line.p + n + 1, line.n - n - 1};
    while (v.n > 0 && (v.p[0] == ' ' || v.p[0] == '\t'))
        v.p++, v.n--;
    while (v.n > 0 && (unsigned char)v.p[v.n - 1] <= ' ')
        v.n--;
    *value = v;
    return true;
}

static void keep(char *out, size_t room, struct assay_str v)
{
    size_t n = v.n < room ? v.n : room - 1;
    for (size_t i = 0; i < n; i++)
        out[i] = v.p[i] >= ' ' && v.p[i] < 127 ? v.p[i] : '?';
    out[n] = '\0';
}

static size_t on_header(char *p, size_t size, size_t n, void *arg)
{
    struct exchange *x = arg;
    struct assay_str line = {p, n}, v;
    (void)size;
    if (assay_str_starts(line, "HTTP/")) { /* another answer begins, after 100 Continue for one */
        const char *code = memchr(p, ' ', n);
        x->error = code == NULL || code + 1 == p + n || code[1] != '2';
        x->rp->length = -1;
        x->rp->etag[0] = x->rp->request_id[0] = x->rp->region[0] = x->rp->error[0] = '\0';
    } else if (header_is(line, "content-length", &v)) {
        if (assay_parse_i64(v, 0, INT64_MAX, &x->rp->length, NULL) != 0)
            x->rp->length = -1;
    } else if (header_is(line, "date", &v)) {
        char text[64];
        keep(text, sizeof text, v);
        time_t t = curl_getdate(text, NULL);
        x->rp->date_ms = t > 0 ? (int64_t)t * 1000 : 0;
    } else if (header_is(line, "etag", &v)) {
        keep(x->rp->etag, sizeof x->rp->etag, v);
    } else if (header_is(line, "x-amz-request-id", &v) || header_is(line, "x-amzn-requestid", &v)) {
        keep(x->rp->request_id, sizeof x->rp->request_id, v);
    } else if (header_is(line, "x-amz-bucket-region", &v)) {
        keep(x->rp->region, sizeof x->rp->region, v);
    } else if (header_is(line, "x-amzn-query-error", &v)) {
        keep(x->rp->error, sizeof x->rp->error, v);
    }
    return n;
}

/* ---- an exchange ---- */

static struct curl_slist *slist_of(struct assay_str lines, bool *failed)
{
    struct curl_slist *list = curl_slist_append(NULL, "Expect:"); /* no round trip before a body */
    bool typed = false;
    *failed = list == NULL;
    for (size_t at = 0; at < lines.n && !*failed; at += strlen(lines.p + at) + 1) {
        struct curl_slist *longer = curl_slist_append(list, lines.p + at);
        typed = typed || strncasecmp(lines.p + at, "content-type", 12) == 0;
        *failed = longer == NULL;
        list = longer != NULL ? longer : list;
    }
    if (!typed && !*failed) { /* a type that nobody named would not be signed */
        struct curl_slist *longer = curl_slist_append(list, "Content-Type:");
        *failed = longer == NULL;
        list = longer != NULL ? longer : list;
    }
    return list;
}

static void prepare(struct aws_http *h, CURL *c, const struct aws_http_request *rq, struct exchange *x, struct curl_slist *list)
{
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_URL, rq->url);
    curl_easy_setopt(c, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(c, CURLOPT_HTTPHEADER, list);
    curl_easy_setopt(c, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(c, CURLOPT_USERAGENT, "assay");
    curl_easy_setopt(c, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, rq->timeout_ms < CONNECT_MS ? (long)rq->timeout_ms : CONNECT_MS);
    curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, (long)rq->timeout_ms);
    if (rq->stall_ms > 0) {
        curl_easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, STALL_BYTES);
        curl_easy_setopt(c, CURLOPT_LOW_SPEED_TIME, (long)((rq->stall_ms + 999) / 1000));
    }
    if (rq->no_proxy)
        curl_easy_setopt(c, CURLOPT_PROXY, "");
    if (h->ca_file[0] != '\0')
        curl_easy_setopt(c, CURLOPT_CAINFO, h->ca_file);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, x);
    curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(c, CURLOPT_HEADERDATA, x);
    if (strcmp(rq->method, "HEAD") == 0) {
        curl_easy_setopt(c, CURLOPT_NOBODY, 1L);
    } else {
        if (strcmp(rq->method, "GET") != 0 && strcmp(rq->method, "DELETE") != 0) {
            curl_easy_setopt(c, CURLOPT_POST, 1L);
            curl_easy_setopt(c, CURLOPT_POSTFIELDS, rq->body.n > 0 ? rq->body.p : ""); /* sent from where it lies */
            curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)rq->body.n);
        }
        curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, rq->method);
    }
}

/* A body that says it is too long is not begun. */
static bool announced_too_large(struct exchange *x, const char *method)
{
    if (strcmp(method, "HEAD") == 0 || x->error || x->rp->length < 0)
        return false;
    return (uint64_t)x->rp->length > x->max;
}

static CURLcode run(struct aws_http *h, struct slot *s, const struct aws_http_request *rq, struct exchange *x, bool *gone)
{
    CURLcode result = CURLE_OK;
    int running = 1;
    if (curl_multi_add_handle(s->multi, s->easy) != CURLM_OK)
        return CURLE_OUT_OF_MEMORY;
    while (running > 0) {
        if (curl_multi_perform(s->multi, &running) != CURLM_OK) {
            result = CURLE_OUT_OF_MEMORY;
            break;
        }
        if (running > 0 && announced_too_large(x, rq->method)) {
            x->too_large = true;
            break;
        }
        if (running > 0 && (*gone = stopped(h)))
            break;
        if (running > 0)
            (void)curl_multi_poll(s->multi, NULL, 0, POLL_MS, NULL);
    }
    for (int left; running == 0;) {
        CURLMsg *m = curl_multi_info_read(s->multi, &left);
        if (m == NULL)
            break;
        if (m->msg == CURLMSG_DONE)
            result = m->data.result;
    }
    (void)curl_multi_remove_handle(s->multi, s->easy);
    return result;
}

int aws_http_do(struct aws_http *h, const struct aws_http_request *rq, struct aws_http_reply *rp, struct assay_err *err)
{
    struct exchange x = {.rp = rp, .max = rq->reply_max};
    bool gone = false, failed = false;
    long status = 0;
    *rp = (struct aws_http_reply){.length = -1};
    assay_buf_init(&rp->body, (rq->reply_max > ERROR_MAX ? rq->reply_max : ERROR_MAX) + 1);
    if (stopped(h))
        return assay_err_set(err, ASSAY_E_GONE, "the server is stopping");
    struct slot *s = slot_take(h);
    struct curl_slist *list = s != NULL ? slist_of(rq->lines, &failed) : NULL;
    CURLcode rc = CURLE_OUT_OF_MEMORY;
    if (s != NULL && !failed) {
        prepare(h, s->easy, rq, &x, list);
        rc = run(h, s, rq, &x, &gone);
        curl_easy_getinfo(s->easy, CURLINFO_RESPONSE_CODE, &status);
    }
    curl_slist_free_all(list);
    if (s != NULL)
        slot_back(h, s);
    rp->status = (int)status;
    if (gone)
        return assay_err_set(err, ASSAY_E_GONE, "the server is stopping");
    if (x.too_large)
        return assay_err_set(err, ASSAY_E_TOO_LARGE, "the answer has more than %zu bytes", rq->reply_max);
    if (rc == CURLE_OUT_OF_MEMORY || rp->body.failed)
        return assay_err_set(err, ASSAY_E_NOMEM, "no memory for an HTTP exchange");
    if (rc == CURLE_OPERATION_TIMEDOUT)
        return assay_err_set(err, ASSAY_E_TIMEOUT, status == 0 ? "no answer in time" : "the answer stalled");
    if (rc != CURLE_OK)
        return assay_err_set(err, ASSAY_E_IO, "%s", curl_easy_strerror(rc));
    return 0;
}
