/*
 * The sender: one thread that drives all requests through one libcurl multi handle.
 *
 * Each turn: answers that have come are written down, in one transaction; then what is due is claimed, in another, and
 * sent.  At most FLIGHTS requests are under way, at most PER_HOOK of one hook, and hooks are gone through in a ring, so a receiver
 * that hangs holds up its own events only.  The time of a request is bounded as a whole.
 *
 * Whom it may call.  Redirects are not followed and no proxy is used, so the only address that matters is the one that a socket
 * is connected to; the callback that makes the socket sees exactly that one, after the name has been resolved, and refuses what
 * is neither public nor allowed by webhook_allow.  A name that resolves to something else the next time is looked at again.
 */
#include "local.h"

#include <curl/curl.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#define FLIGHTS 64
#define PER_HOOK 4
#define HOOKS_AT_ONCE 64
#define ANSWER_MAX ((size_t)64 << 10) /* of a receiver; it is read and dropped */
#define LOOK_BUSY_MS 50
#define LOOK_IDLE_MS 1000
#define BUSY_FOR_MS 2000 /* after a nudge: the rows are committed a moment after the event */
#define PURGE_MS 600000

struct flight {
    struct wh_sender *s;
    struct flight *next;
    CURL *curl;
    struct curl_slist *headers;
    char hook[ASSAY_ID_SIZE];
    int64_t seq, attempts, began_ns;
    struct assay_buf body;
    size_t answered;
    bool refused;
};

struct wh_sender {
    const struct assay_host *host;
    struct wh_networks allow;
    int64_t attempts_max, pause_ms, pause_max_ms, timeout_ms, keep_ms;
    char agent[64], ca[512];
    CURLM *multi;
    pthread_t thread;
    bool started;
    atomic_bool stop;
    _Atomic int64_t busy_until_ms; /* monotonic */
    /* the thread's own */
    struct flight *list;
    size_t n;
    char last_hook[ASSAY_ID_SIZE];
    int64_t purge_at_ms;
};

static int64_t mono_ms(const struct wh_sender *s)
{
    return s->host->mono_ns(s->host->ctx) / 1000000;
}

static int no_memory(struct assay_err *err)
{
    return assay_err_set(err, ASSAY_E_NOMEM, "no memory for webhooks");
}

/* ---- whom ------------------------------------------------------------------------------------------- */

static bool address_of(const struct sockaddr *sa, unsigned char out[16])
{
    if (sa->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)sa;
        memset(out, 0, 10);
        out[10] = out[11] = 0xff;
        memcpy(out + 12, &in->sin_addr, 4);
        return true;
    }
    if (sa->sa_family == AF_INET6) {
        memcpy(out, &((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr, 16);
        return true;
    }
    return false;
}

static curl_socket_t on_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
    struct flight *f = arg;
    unsigned char at[16];
    if (purpose != CURLSOCKTYPE_IPCXN || !address_of(&address->addr, at) || !wh_address_allowed(&f->s->allow, at)) {
        f->refused = true;
        return CURL_SOCKET_BAD;
    }
    int fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
    return fd < 0 ? CURL_SOCKET_BAD : fd;
}

/* A part that is not there is NULL. */
static void part(CURLU *u, CURLUPart what, char **out, bool *no_memory)
{
    *out = NULL;
    if (curl_url_get(u, what, out, 0) == CURLUE_OUT_OF_MEMORY)
        *no_memory = true;
}

const char *wh_url_fault(const struct wh_sender *s, const char *url, bool *no_memory)
{
    CURLU *u = curl_url();
    CURLUcode rc = u != NULL ? curl_url_set(u, CURLUPART_URL, url, 0) : CURLUE_OUT_OF_MEMORY;
    char *scheme = NULL, *host = NULL, *user = NULL, *fragment = NULL;
    unsigned char at[16];
    const char *fault = NULL;
    *no_memory = rc == CURLUE_OUT_OF_MEMORY;
    if (rc == CURLUE_OK) {
        part(u, CURLUPART_SCHEME, &scheme, no_memory);
        part(u, CURLUPART_HOST, &host, no_memory);
        part(u, CURLUPART_USER, &user, no_memory);
        part(u, CURLUPART_FRAGMENT, &fragment, no_memory);
    }
    if (rc != CURLUE_OK)
        fault = "is not a URL such as https://example.com/hook";
    else if (scheme == NULL || (strcmp(scheme, "https") != 0 && strcmp(scheme, "http") != 0))
        fault = "must begin with https:// or http://";
    else if (host == NULL || host[0] == '\0')
        fault = "names no host";
    else if (user != NULL)
        fault = "must not hold a user or password: what is sent is signed";
    else if (fragment != NULL)
        fault = "must not have a fragment (#)";
    if (fault == NULL) {
        size_t n = strlen(host);
        bool bracketed = host[0] == '[' && host[n - 1] == ']';
        if (bracketed)
            host[n - 1] = '\0';
        if (wh_address_parse(host + (bracketed ? 1 : 0), at) && !wh_address_allowed(&s->allow, at))
            fault = "is an address that is not public, and webhook_allow does not name it";
    }
    curl_free(scheme);
    curl_free(host);
    curl_free(user);
    curl_free(fragment);
    curl_url_cleanup(u);
    return fault;
}

/* ---- a request ------------------------------------------------------------------------------------------ */

static size_t on_answer(char *p, size_t size, size_t n, void *arg)
{
    struct flight *f = arg;
    (void)p;
    f->answered += size * n;
    return f->answered > ANSWER_MAX ? 0 : size * n;
}

static void flight_free(struct flight *f)
{
    if (f == NULL)
        return;
    if (f->curl != NULL)
        curl_easy_cleanup(f->curl);
    curl_slist_free_all(f->headers);
    assay_buf_free(&f->body);
    free(f);
}

static bool header(struct flight *f, const char *line)
{
    struct curl_slist *more = curl_slist_append(f->headers, line);
    if (more != NULL)
        f->headers = more;
    return more != NULL;
}

struct parcel {
    struct assay_str hook, url, secret, event_id, body;
    int64_t seq, attempts; /* attempts: with this one */
};

static int flight_new(struct wh_sender *s, const struct parcel *p, struct flight **out, struct assay_err *err)
{
    struct flight *f = calloc(1, sizeof *f);
    char id[ASSAY_ID_SIZE], url[WH_URL_MAX + 1], line[256];
    ASSAY_CLEANUP_BUF struct assay_buf sign = ASSAY_BUF_INIT;
    int64_t seconds = s->host->now_ms(s->host->ctx) / 1000;
    if (f == NULL)
        return no_memory(err);
    f->s = s;
    f->seq = p->seq;
    f->attempts = p->attempts;
    (void)snprintf(f->hook, sizeof f->hook, "%.*s", ASSAY_FMT(p->hook));
    (void)snprintf(id, sizeof id, "%.*s", ASSAY_FMT(p->event_id));
    (void)snprintf(url, sizeof url, "%.*s", ASSAY_FMT(p->url));
    assay_buf_str(&f->body, p->body);
    int rc = wh_sign(p->secret, id, seconds, p->body, &sign, err);
    if (rc != 0) {
        flight_free(f);
        return rc;
    }
    f->curl = curl_easy_init();
    bool ok = f->curl != NULL && !f->body.failed && header(f, "Content-Type: application/json") && header(f, "Expect:") && header(f, "Accept:");
    (void)snprintf(line, sizeof line, "webhook-id: %s", id);
    ok = ok && header(f, line);
    (void)snprintf(line, sizeof line, "webhook-timestamp: %lld", (long long)seconds);
    ok = ok && header(f, line);
    (void)snprintf(line, sizeof line, "webhook-signature: %.*s", ASSAY_FMT(assay_buf_view(&sign)));
    ok = ok && header(f, line);
    if (!ok) {
        flight_free(f);
        return no_memory(err);
    }
    CURLcode c = curl_easy_setopt(f->curl, CURLOPT_URL, url);
#define SET(option, value) c = c == CURLE_OK ? curl_easy_setopt(f->curl, option, value) : c
    SET(CURLOPT_PRIVATE, f);
    SET(CURLOPT_PROTOCOLS_STR, "http,https");
    SET(CURLOPT_FOLLOWLOCATION, 0L);
    SET(CURLOPT_PROXY, "");
    SET(CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_OPENSOCKETFUNCTION, on_socket);
    SET(CURLOPT_OPENSOCKETDATA, f);
    SET(CURLOPT_TIMEOUT_MS, (long)s->timeout_ms);
    SET(CURLOPT_USERAGENT, s->agent);
    SET(CURLOPT_HTTPHEADER, f->headers);
    SET(CURLOPT_POST, 1L);
    SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)f->body.n);
    SET(CURLOPT_POSTFIELDS, f->body.p);
    SET(CURLOPT_WRITEFUNCTION, on_answer);
    SET(CURLOPT_WRITEDATA, f);
    /* a connection that is kept is one that was looked at; but its name may mean another address by now */
    SET(CURLOPT_FORBID_REUSE, 1L);
    if (s->ca[0] != '\0')
        SET(CURLOPT_CAINFO, s->ca);
#undef SET
    if (c != CURLE_OK || curl_multi_add_handle(s->multi, f->curl) != CURLM_OK) {
        flight_free(f);
        return assay_err_set(err, ASSAY_E_INTERNAL, "libcurl does not take a request: %s", curl_easy_strerror(c));
    }
    f->began_ns = s->host->mono_ns(s->host->ctx);
    f->next = s->list;
    s->list = f;
    s->n++;
    *out = f;
    return 0;
}

static void forget(struct wh_sender *s, struct flight *f)
{
    for (struct flight **at = &s->list; *at != NULL; at = &(*at)->next) {
        if (*at != f)
            continue;
        *at = f->next;
        s->n--;
        break;
    }
    (void)curl_multi_remove_handle(s->multi, f->curl);
    flight_free(f);
}

static size_t flights_of(const struct wh_sender *s, struct assay_str hook)
{
    size_t n = 0;
    for (const struct flight *f = s->list; f != NULL; f = f->next)
        n += assay_str_is(hook, f->hook);
    return n;
}

/* ---- what came of it --------------------------------------------------------------------------------------- */

struct outcome {
    int64_t state, next_ms, status;
    char error[200];
    bool gone;
    const char *label;
};

static void judge(const struct wh_sender *s, const struct flight *f, CURLcode code, struct outcome *o)
{
    long status = 0;
    curl_off_t retry_after_s = 0;
    int64_t now = s->host->now_ms(s->host->ctx);
    *o = (struct outcome){.state = WH_WAITING, .label = "retried"};
    (void)curl_easy_getinfo(f->curl, CURLINFO_RESPONSE_CODE, &status);
    (void)curl_easy_getinfo(f->curl, CURLINFO_RETRY_AFTER, &retry_after_s);
    o->status = status;
    if (code == CURLE_OK && status >= 200 && status < 300) {
        o->state = WH_DELIVERED;
        o->next_ms = now;
        o->label = "delivered";
        return;
    }
    if (f->refused && code != CURLE_OK)
        (void)snprintf(o->error, sizeof o->error, "its address is not public, and webhook_allow does not name it: nothing was sent");
    else if (f->answered > ANSWER_MAX)
        (void)snprintf(o->error, sizeof o->error, "its answer is longer than %zu KiB", ANSWER_MAX >> 10);
    else if (code != CURLE_OK)
        (void)snprintf(o->error, sizeof o->error, "%s", curl_easy_strerror(code));
    else if (status >= 300 && status < 400)
        (void)snprintf(o->error, sizeof o->error, "it answered %ld: redirects are not followed", status);
    else
        (void)snprintf(o->error, sizeof o->error, "it answered %ld", status);
    o->gone = code == CURLE_OK && status == 410;
    if (o->gone || f->attempts >= s->attempts_max) {
        o->state = WH_FAILED;
        o->next_ms = now;
        o->label = "failed";
        return;
    }
    int64_t pause = wh_pause_ms(f->attempts, s->pause_ms, s->pause_max_ms);
    /* a fifth more or less, so that what failed together does not come back together */
    char hex[9];
    assay_random_hex(hex, 4);
    pause = pause * (800 + (int64_t)(strtoul(hex, NULL, 16) % 401)) / 1000;
    if (code == CURLE_OK && retry_after_s > 0 && retry_after_s * 1000 > pause)
        pause = retry_after_s * 1000 < s->pause_max_ms ? retry_after_s * 1000 : s->pause_max_ms;
    o->next_ms = now + pause;
}

static void settle(struct wh_sender *s)
{
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = NULL;
    struct assay_tx *tx = NULL;
    struct assay_err err = {0, ""};
    struct flight *done[FLIGHTS];
    size_t n = 0;
    int left;
    for (CURLMsg *m; n < FLIGHTS && (m = curl_multi_info_read(s->multi, &left)) != NULL;) {
        struct flight *f = NULL;
        struct outcome o;
        if (m->msg != CURLMSG_DONE || curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&f) != CURLE_OK || f == NULL)
            continue;
        judge(s, f, m->data.result, &o);
        if (tx == NULL) {
            arena = assay_arena_new(0);
            tx = arena != NULL ? assay_tx_new(arena, "webhooks.settle") : NULL;
        }
        done[n++] = f;
        const char *label[] = {o.label};
        s->host->metric_add(s->host->ctx, &wh_metrics[WH_METRIC_DELIVERIES], label, 1);
        s->host->metric_observe(s->host->ctx, &wh_metrics[WH_METRIC_SECONDS], NULL, (double)(s->host->mono_ns(s->host->ctx) - f->began_ns) / 1e9);
        if (o.state == WH_FAILED)
            assay_log(s->host, ASSAY_LOG_WARN, "webhook_failed", ASSAY_KZ("webhook_id", f->hook), ASSAY_KI("event_seq", f->seq),
                      ASSAY_KI("attempts", f->attempts), ASSAY_KZ("error", o.error));
        if (tx == NULL)
            continue; /* no memory: its claim runs out, and it is sent again */
        struct assay_str error = assay_arena_str(arena, assay_str(o.error));
        ASSAY_TX(tx, &wh_q_settle, ASSAY_EXPECT_ANY, ASSAY_VZ(f->hook), ASSAY_VI(f->seq), ASSAY_VI(f->attempts), ASSAY_VI(o.state),
                 ASSAY_VI(o.next_ms), ASSAY_VI(o.status), ASSAY_VT(error.p != NULL ? error : ASSAY_STR("")), ASSAY_VI(s->host->now_ms(s->host->ctx)));
        if (o.gone)
            ASSAY_TX(tx, &wh_q_gone, ASSAY_EXPECT_ANY, ASSAY_VZ(f->hook), ASSAY_VT(ASSAY_STR("the receiver answered 410: it wants no more")),
                     ASSAY_VI(s->host->now_ms(s->host->ctx)));
    }
    if (n == 0)
        return;
    if (tx != NULL && assay_store_exec(s->host->store, tx, &err) != 0)
        assay_log(s->host, ASSAY_LOG_WARN, "webhook_outcomes_not_kept", ASSAY_KI("deliveries", n), ASSAY_KZ("error", err.msg));
    for (size_t i = 0; i < n; i++)
        forget(s, done[i]);
}

/* ---- what is due --------------------------------------------------------------------------------------------- */

static int gather(struct wh_sender *s, struct assay_arena *arena, struct parcel *out, size_t room, size_t *n, struct assay_err *err)
{
    int64_t now = s->host->now_ms(s->host->ctx);
    struct assay_rows hooks, due;
    int rc = ASSAY_QUERY(s->host->store, &wh_q_due_hooks, arena, &hooks, err, ASSAY_VZ(s->last_hook), ASSAY_VI(now), ASSAY_VI(HOOKS_AT_ONCE));
    if (rc < 0)
        return rc;
    if (hooks.n < HOOKS_AT_ONCE)
        s->last_hook[0] = '\0'; /* the ring's end: from its beginning the next time */
    for (size_t i = 0; i < hooks.n && *n < room; i++) {
        const struct assay_val *h = hooks.row[i].col;
        size_t busy = flights_of(s, h[0].s);
        if (hooks.n == HOOKS_AT_ONCE)
            (void)snprintf(s->last_hook, sizeof s->last_hook, "%.*s", ASSAY_FMT(h[0].s));
        if (busy >= PER_HOOK)
            continue;
        rc = ASSAY_QUERY(s->host->store, &wh_q_due, arena, &due, err, ASSAY_VT(h[0].s), ASSAY_VI(now), ASSAY_VI((int64_t)(PER_HOOK - busy)));
        if (rc < 0)
            return rc;
        for (size_t k = 0; k < due.n && *n < room; k++) {
            const struct assay_val *d = due.row[k].col;
            out[(*n)++] = (struct parcel){.hook = h[0].s, .url = h[1].s, .secret = h[2].s, .seq = d[0].i, .event_id = d[1].s, .body = d[2].s,
                                          .attempts = d[3].i + 1};
        }
    }
    return 0;
}

static int send_due(struct wh_sender *s, size_t *sent, struct assay_err *err)
{
    struct parcel p[FLIGHTS];
    size_t n = 0;
    *sent = 0;
    if (s->n >= FLIGHTS)
        return 0;
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
    if (arena == NULL)
        return no_memory(err);
    int rc = gather(s, arena, p, FLIGHTS - s->n, &n, err);
    if (rc < 0 || n == 0)
        return rc;
    struct assay_tx *tx = assay_tx_new(arena, "webhooks.claim");
    if (tx == NULL)
        return no_memory(err);
    int64_t now = s->host->now_ms(s->host->ctx);
    for (size_t i = 0; i < n; i++)
        ASSAY_TX(tx, &wh_q_claim, ASSAY_EXPECT_ANY, ASSAY_VT(p[i].hook), ASSAY_VI(p[i].seq), ASSAY_VI(p[i].attempts - 1), ASSAY_VI(now),
                 ASSAY_VI(now + 2 * s->timeout_ms + 5000));
    rc = assay_store_exec(s->host->store, tx, err);
    for (size_t i = 0; rc == 0 && i < n; i++) {
        struct flight *f;
        struct assay_err why = {0, ""};
        if (tx->op[i].touched == 0)
            continue; /* another process was first, or it was replayed or removed meanwhile */
        if (flight_new(s, &p[i], &f, &why) != 0)
            assay_log(s->host, ASSAY_LOG_WARN, "webhook_not_sent", ASSAY_KS("webhook_id", p[i].hook), ASSAY_KZ("error", why.msg));
        else
            (*sent)++;
    }
    return rc;
}

static void purge(struct wh_sender *s)
{
    int64_t now = mono_ms(s);
    struct assay_err err = {0, ""};
    if (now < s->purge_at_ms)
        return;
    ASSAY_CLEANUP_ARENA struct assay_arena *arena = assay_arena_new(0);
    struct assay_tx *tx = arena != NULL ? assay_tx_new(arena, "webhooks.purge") : NULL;
    s->purge_at_ms = now + PURGE_MS;
    if (tx == NULL)
        return;
    int64_t before = s->host->now_ms(s->host->ctx) - s->keep_ms;
    int bite = ASSAY_TX(tx, &wh_q_purge, ASSAY_EXPECT_ANY, ASSAY_VI(before));
    ASSAY_TX(tx, &wh_q_purge_hooks, ASSAY_EXPECT_ANY, ASSAY_VI(before));
    if (assay_store_exec(s->host->store, tx, &err) != 0)
        assay_log(s->host, ASSAY_LOG_WARN, "webhook_purge_failed", ASSAY_KZ("error", err.msg));
    else if (tx->op[bite].touched >= 500)
        s->purge_at_ms = now + 1000;
}

static void *run(void *arg)
{
    struct wh_sender *s = arg;
    bool well = true;
    while (!atomic_load(&s->stop)) {
        int running = 0, ready = 0;
        size_t sent = 0;
        struct assay_err err = {0, ""};
        (void)curl_multi_perform(s->multi, &running);
        settle(s);
        int rc = send_due(s, &sent, &err);
        if (rc < 0 && well) /* once, until it works again: the store says more */
            assay_log(s->host, ASSAY_LOG_WARN, "webhooks_not_read", ASSAY_KZ("error", err.msg));
        well = rc >= 0;
        purge(s);
        bool busy = mono_ms(s) < atomic_load(&s->busy_until_ms) || s->last_hook[0] != '\0';
        if (sent == 0)
            (void)curl_multi_poll(s->multi, NULL, 0, well && busy ? LOOK_BUSY_MS : LOOK_IDLE_MS, &ready);
    }
    return NULL;
}

/* ---- life ---------------------------------------------------------------------------------------------------------- */

void wh_sender_nudge(struct wh_sender *s)
{
    int64_t until = mono_ms(s) + BUSY_FOR_MS;
    int64_t was = atomic_exchange(&s->busy_until_ms, until);
    if (was < until - BUSY_FOR_MS) /* it sleeps for longer */
        (void)curl_multi_wakeup(s->multi);
}

int wh_sender_new(const struct assay_host *host, struct wh_sender **out, struct assay_err *err)
{
    struct wh_sender *s = calloc(1, sizeof *s);
    if (s == NULL)
        return no_memory(err);
    s->host = host;
    s->attempts_max = host->option_int(host->ctx, "webhook_attempts");
    s->pause_ms = host->option_int(host->ctx, "webhook_pause");
    s->pause_max_ms = host->option_int(host->ctx, "webhook_pause_max");
    s->timeout_ms = host->option_int(host->ctx, "webhook_timeout");
    s->keep_ms = host->option_int(host->ctx, "webhook_keep");
    (void)snprintf(s->agent, sizeof s->agent, "Assay-Webhooks/%.32s", host->version);
    (void)snprintf(s->ca, sizeof s->ca, "%.500s", host->option_str(host->ctx, "webhook_ca_file"));
    int rc = wh_networks_parse(host->option_str(host->ctx, "webhook_allow"), &s->allow, err);
    if (rc == 0 && curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        rc = assay_err_set(err, ASSAY_E_INTERNAL, "libcurl cannot be initialised");
    if (rc == 0 && (s->multi = curl_multi_init()) == NULL)
        rc = no_memory(err);
    if (rc != 0) {
        wh_sender_free(s);
        return rc;
    }
    *out = s;
    return 0;
}

int wh_sender_start(struct wh_sender *s, struct assay_err *err)
{
    int e = pthread_create(&s->thread, NULL, run, s);
    if (e != 0)
        return assay_err_errno(err, ASSAY_E_NOMEM, e, "starting the sender of webhooks");
    s->started = true;
    return 0;
}

void wh_sender_stop(struct wh_sender *s)
{
    if (s == NULL || !s->started)
        return;
    atomic_store(&s->stop, true);
    (void)curl_multi_wakeup(s->multi);
    (void)pthread_join(s->thread, NULL);
    s->started = false;
}

void wh_sender_free(struct wh_sender *s)
{
    if (s == NULL)
        return;
    wh_sender_stop(s);
    while (s->list != NULL)
        forget(s, s->list);
    if (s->multi != NULL)
        (void)curl_multi_cleanup(s->multi);
    free(s);
}
