#include "svc_impl.h"

#include "fake_broker.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <assay/identity.h>

static void host_log(void *ctx, enum assay_log_level level, const char *event, const struct assay_kv *kv, size_t n)
{
    static const char *const names[] = {"debug", "info", "warn", "error"};
    struct svc *h = ctx;
    pthread_mutex_lock(&h->lock);
    assay_buf_fmt(&h->log, "%s %s", names[level], event);
    for (size_t i = 0; i < n; i++) {
        if (kv[i].type == 's')
            assay_buf_fmt(&h->log, " %s=%.*s", kv[i].key, ASSAY_FMT(kv[i].s));
        else if (kv[i].type == 'i')
            assay_buf_fmt(&h->log, " %s=%lld", kv[i].key, (long long)kv[i].i);
        else
            assay_buf_fmt(&h->log, " %s=%g", kv[i].key, kv[i].r);
    }
    assay_buf_putc(&h->log, '\n');
    pthread_mutex_unlock(&h->lock);
}

static int64_t host_now_ms(void *ctx)
{
    struct svc *h = ctx;
    pthread_mutex_lock(&h->lock);
    int64_t v = h->ahead_ms;
    pthread_mutex_unlock(&h->lock);
    return assay_now_ms() + v;
}

static int64_t host_mono_ns(void *ctx)
{
    struct svc *h = ctx;
    pthread_mutex_lock(&h->lock);
    int64_t v = h->ahead_ms;
    pthread_mutex_unlock(&h->lock);
    return assay_mono_ns() + v * 1000000;
}

static const struct assay_option *find_option(struct svc *h, const char *name)
{
    for (size_t p = 0; p < h->n_plugins; p++) {
        const struct assay_table *t = &h->plugin[p].pl->options;
        for (uint32_t i = 0; i < t->count; i++) {
            const struct assay_option *o = (const void *)((const char *)t->rows + (size_t)i * t->stride);
            if (strcmp(o->name, name) == 0)
                return o;
        }
    }
    return NULL;
}

static const char *host_option_str(void *ctx, const char *name)
{
    struct svc *h = ctx;
    for (size_t i = h->n_options; i-- > 0;) {
        if (strcmp(h->option[i].name, name) == 0)
            return h->option[i].value;
    }
    const struct assay_option *o = find_option(h, name);
    return o != NULL && o->default_text != NULL ? o->default_text : "";
}

static int64_t host_option_int(void *ctx, const char *name)
{
    struct svc *h = ctx;
    const struct assay_option *o = find_option(h, name);
    struct assay_str text = assay_str(host_option_str(ctx, name));
    struct assay_err err;
    int64_t v = 0;
    bool b = false;
    int rc;
    if (text.n == 0)
        return 0;
    switch (o != NULL ? o->type : ASSAY_OPT_INT) {
    case ASSAY_OPT_BOOL:
        rc = assay_parse_bool(text, &b, &err);
        v = b;
        break;
    case ASSAY_OPT_DURATION:
        rc = assay_parse_duration_ms(text, o->bare_unit_ms != 0 ? o->bare_unit_ms : 1000, &v, &err);
        break;
    case ASSAY_OPT_BYTES:
        rc = assay_parse_bytes(text, &v, &err);
        break;
    case ASSAY_OPT_INT:
    case ASSAY_OPT_STRING:
    case ASSAY_OPT_CHOICE:
    default:
        rc = assay_parse_i64(text, INT64_MIN, INT64_MAX, &v, &err);
        break;
    }
    if (rc < 0)
        svc_die("option %s: %s", name, err.msg);
    return v;
}

static void metric(struct svc *h, const struct assay_metric *m, const char *const *labels, double v, bool set)
{
    char text[160] = "";
    size_t n = 0, i = 0;
    assert(m != NULL && m->name != NULL);
    for (const char *p = m->labels; labels != NULL && p != NULL && *p != '\0' && n < sizeof text; i++) {
        int w = snprintf(text + n, sizeof text - n, "%s,", labels[i]);
        n += w > 0 ? (size_t)w : 0;
        p += strcspn(p, ",");
        p += *p == ',';
    }
    pthread_mutex_lock(&h->lock);
    i = 0;
    while (i < h->n_metrics && (h->metric[i].row != m || strcmp(h->metric[i].labels, text) != 0))
        i++;
    if (i == MAX_METRICS)
        svc_die("too many series of metrics");
    if (i == h->n_metrics) {
        h->metric[h->n_metrics++].row = m;
        snprintf(h->metric[i].labels, sizeof h->metric[i].labels, "%s", text);
    }
    h->metric[i].value = set ? v : h->metric[i].value + v;
    pthread_mutex_unlock(&h->lock);
}

static void host_metric(void *ctx, const struct assay_metric *m, const char *const *labels, double v)
{
    metric(ctx, m, labels, v, false);
}

static void host_metric_set(void *ctx, const struct assay_metric *m, const char *const *labels, double v)
{
    metric(ctx, m, labels, v, true);
}

static int host_broker(void *ctx, struct assay_str name, struct assay_broker *out, struct assay_err *err)
{
    struct svc *h = ctx;
    for (size_t i = 0; i < h->n_brokers; i++) {
        if (assay_str_is(name, h->broker[i].name)) {
            *out = fake_broker_lend(h->broker[i].broker);
            return ASSAY_OK;
        }
    }
    return assay_err_set(err, ASSAY_E_NOT_FOUND, "the broker %.*s is not configured", ASSAY_FMT(name));
}

static void host_quit(void *ctx, const char *why)
{
    struct svc *h = ctx;
    pthread_mutex_lock(&h->lock);
    if (h->quit[0] == '\0')
        snprintf(h->quit, sizeof h->quit, "%s", why);
    pthread_mutex_unlock(&h->lock);
}

static void *job_main(void *arg)
{
    struct job *j = arg;
    struct svc *h = j->h;
    bool go = true;
    if (j->delay_ms > 0) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        int64_t ns = until.tv_nsec + (j->delay_ms % 1000) * 1000000;
        until.tv_sec += j->delay_ms / 1000 + ns / 1000000000;
        until.tv_nsec = ns % 1000000000;
        pthread_mutex_lock(&h->lock);
        int rc = 0;
        while (!h->stopping && rc != ETIMEDOUT)
            rc = pthread_cond_timedwait(&h->woken, &h->lock, &until);
        go = !h->stopping;
        pthread_mutex_unlock(&h->lock);
    }
    if (go)
        j->fn(j->arg);
    return NULL;
}

static int host_after(void *ctx, int64_t delay_ms, void (*fn)(void *arg), void *arg)
{
    struct svc *h = ctx;
    struct job *j = calloc(1, sizeof *j);
    if (j == NULL)
        return ASSAY_E_BUSY;
    *j = (struct job){.h = h, .delay_ms = delay_ms, .fn = fn, .arg = arg};
    int rc = ASSAY_OK;
    pthread_mutex_lock(&h->lock);
    if (h->stopping || pthread_create(&j->thread, NULL, job_main, j) != 0) {
        free(j);
        rc = ASSAY_E_BUSY;
    } else {
        j->next = h->jobs;
        h->jobs = j;
    }
    pthread_mutex_unlock(&h->lock);
    return rc;
}

static int host_offload(void *ctx, void (*fn)(void *arg), void *arg)
{
    return host_after(ctx, 0, fn, arg);
}

static assay_ticket host_defer(void *ctx, struct assay_request *rq)
{
    struct svc *h = ctx;
    struct call *c = rq->impl;
    pthread_mutex_lock(&h->lock);
    assert(!c->deferred);
    c->deferred = true;
    c->ticket = ++h->last_ticket;
    assay_ticket t = c->ticket;
    pthread_mutex_unlock(&h->lock);
    return t;
}

static void host_resume(void *ctx, assay_ticket t, int status, struct assay_response *rs, const struct assay_err *err)
{
    struct svc *h = ctx;
    pthread_mutex_lock(&h->lock);
    for (struct call *c = h->calls; c != NULL; c = c->next) {
        if (c->ticket != t || !c->deferred)
            continue;
        assert(!c->done);
        if (rs != NULL && rs != &c->rs) {
            assay_buf_free(&c->rs.body);
            c->rs = *rs;
        }
        c->rc = status;
        if (err != NULL)
            c->err = *err;
        c->done = true;
    }
    pthread_cond_broadcast(&h->woken);
    pthread_mutex_unlock(&h->lock);
}

static const void *host_need(void *ctx, const char *name, void **provider_self)
{
    return svc_interface(ctx, name, provider_self);
}

static int host_sign_token(void *ctx, struct assay_str sub, struct assay_str role, int64_t epoch, int64_t ttl_s,
                           struct assay_buf *out, struct assay_err *err)
{
    (void)ctx;
    (void)err;
    assay_buf_fmt(out, "signed.%.*s.%.*s.%lld.%lld", ASSAY_FMT(sub), ASSAY_FMT(role), (long long)epoch, (long long)ttl_s);
    return ASSAY_OK;
}

static int host_sign_session(void *ctx, struct assay_str sub, struct assay_str role, int64_t epoch, struct assay_str session, int64_t ttl_s,
                             struct assay_buf *out, struct assay_err *err)
{
    (void)session;
    return host_sign_token(ctx, sub, role, epoch, ttl_s, out, err);
}

static int host_warden_open(void *ctx, struct assay_str driver, struct assay_str image, int64_t timeout_ms, int *fd,
                            struct assay_buf *place, struct assay_err *err)
{
    (void)ctx;
    (void)driver;
    (void)image;
    (void)place;
    (void)timeout_ms;
    (void)fd;
    return assay_err_set(err, ASSAY_E_UNSUPPORTED, "the harness has no boxkeeper");
}

static int host_warden_fate(void *ctx, uint64_t stream, int64_t timeout_ms, bool *outside, struct assay_buf *why,
                            struct assay_err *err)
{
    (void)ctx;
    (void)stream;
    (void)timeout_ms;
    (void)outside;
    (void)why;
    return assay_err_set(err, ASSAY_E_NOT_FOUND, "the harness has no boxkeeper");
}

static int host_sandbox_info(void *ctx, struct assay_buf *out, struct assay_err *err)
{
    (void)ctx;
    (void)err;
    assay_buf_puts(out, "{\"driver\":\"none\"}");
    return ASSAY_OK;
}

const struct assay_host svc_host_functions = {
    .size = sizeof(struct assay_host), .abi_major = ASSAY_ABI_MAJOR, .abi_minor = ASSAY_ABI_MINOR, .log = host_log,
    .now_ms = host_now_ms, .mono_ns = host_mono_ns, .option_str = host_option_str, .option_int = host_option_int,
    .metric_add = host_metric, .metric_set = host_metric_set, .metric_observe = host_metric, .offload = host_offload,
    .after = host_after, .defer = host_defer, .resume = host_resume, .need = host_need, .sign_token = host_sign_token,
    .sign_session = host_sign_session, .warden_open = host_warden_open, .warden_fate = host_warden_fate,
    .sandbox_info = host_sandbox_info, .version = "0.1.0", .broker = host_broker, .quit = host_quit};
